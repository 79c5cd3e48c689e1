/* SPDX-License-Identifier: MIT */
/*
 * The positional encoding of coordinates, plain or averaged over the noise in closed form.
 */
#include "nmi_encoding.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

static double extent_of(const nmi_grid *grid, int coordinate)
{
    switch (coordinate) {
    case 0:
        return (double)grid->tensors;
    case 1:
        return (double)grid->outputs;
    case 2:
        return (double)grid->inputs;
    default:
        return (double)grid->scale;
    }
}

/* p/pi of nmi_encoding.h: the noise's half width in half waves of octave k. */
static double half_waves(double amplitude, int64_t octave, double extent)
{
    return ldexp(amplitude, (int)octave - 1) / extent;
}

void nmi_encoding_plan(nmi_encoding *encoding, int32_t kind, int64_t octaves,
                       int64_t extent_octaves, double amplitude, const nmi_grid *largest)
{
    encoding->kind = kind;
    encoding->amplitude = kind == NMI_ENCODING_INTEGRATED ? amplitude : 0;
    encoding->pairs = 0;
    for (int j = 0; j < NMI_COORDINATES; j++) {
        int64_t count = 0;
        const int64_t most = j < 3 ? octaves : extent_octaves;
        while (count < most && half_waves(encoding->amplitude, count, extent_of(largest, j)) < 1)
            count++;
        encoding->octaves[j] = count;
        encoding->pairs += count;
    }
    encoding->inputs = NMI_COORDINATES + 2 * encoding->pairs;
}

int64_t nmi_encoding_work(const nmi_encoding *encoding, int64_t rows)
{
    return rows * NMI_COORDINATES + encoding->pairs;
}

/* Gains of all pairs, in their order; they depend on the extents only. */
static void integrated_gains(const nmi_encoding *encoding, const nmi_grid *grid, float *gains)
{
    const double pi = 3.14159265358979323846;
    for (int64_t f = 0, k = 0; f < encoding->pairs; k++)
        for (int j = 0; j < NMI_COORDINATES; j++)
            if (k < encoding->octaves[j]) {
                double p = pi * half_waves(encoding->amplitude, k, extent_of(grid, j));
                gains[f++] = p == 0 ? 1.0f : (float)(sin(p) / p);
            }
}

void nmi_encoding_rows(const nmi_kernels *kernels, const nmi_encoding *encoding,
                       const nmi_grid *grid, const nmi_noise *noise, int64_t first, int64_t rows,
                       double *work, float *encoded, int64_t stride)
{
    const bool integrated = encoding->kind == NMI_ENCODING_INTEGRATED;
    const int64_t pairs = encoding->pairs;
    double *x = work, *arguments = work + rows * NMI_COORDINATES;
    float gains[NMI_ENCODING_PAIRS];
    if (integrated)
        integrated_gains(encoding, grid, gains);
    nmi_coordinate_rows(grid, integrated ? NULL : noise, first, rows, x);
    for (int64_t r = 0; r < rows; r++, x += NMI_COORDINATES, encoded += stride) {
        float *sine = encoded + NMI_COORDINATES, *cosine = sine + pairs;
        double octave = 1;
        for (int64_t f = 0, k = 0; f < pairs; k++, octave *= 2)
            for (int j = 0; j < NMI_COORDINATES; j++)
                if (k < encoding->octaves[j])
                    arguments[f++] = x[j] * octave;
        for (int j = 0; j < NMI_COORDINATES; j++)
            encoded[j] = (float)x[j];
        kernels->sincospi(arguments, sine, cosine, pairs);
        if (integrated)
            for (int64_t f = 0; f < pairs; f++) {
                sine[f] *= gains[f];
                cosine[f] *= gains[f];
            }
    }
}
