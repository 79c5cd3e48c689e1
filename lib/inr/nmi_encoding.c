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

static bool among(int32_t features, int coordinate)
{
    return features == NMI_FEATURES_ALL || (coordinate == 2) == (features == NMI_FEATURES_INPUT);
}

int64_t nmi_encoding_count(const nmi_encoding *encoding, int32_t features)
{
    int64_t count = 0;
    for (int j = 0; j < NMI_COORDINATES; j++)
        if (among(features, j))
            count += 1 + 2 * encoding->octaves[j];
    return count;
}

void nmi_encoding_places(const nmi_encoding *encoding, int32_t features, int16_t *index)
{
    for (int j = 0; j < NMI_COORDINATES; j++)
        if (among(features, j))
            *index++ = (int16_t)j;
    int64_t place = NMI_COORDINATES;
    for (int half = 0; half < 2; half++) /* sines, cosines */
        for (int64_t f = 0, k = 0; f < encoding->pairs; k++)
            for (int j = 0; j < NMI_COORDINATES; j++) {
                if (k >= encoding->octaves[j])
                    continue;
                if (among(features, j))
                    *index++ = (int16_t)place;
                place++;
                f++;
            }
}

int64_t nmi_encoding_work(const nmi_encoding *encoding, int64_t rows)
{
    return rows * NMI_COORDINATES + encoding->pairs;
}

/* Gains of the features' pairs, in their order; they depend on the extents only. */
static void integrated_gains(const nmi_encoding *encoding, const nmi_grid *grid, int32_t features,
                             float *gains)
{
    const double pi = 3.14159265358979323846;
    for (int64_t f = 0, k = 0; f < encoding->pairs; k++)
        for (int j = 0; j < NMI_COORDINATES; j++) {
            if (k >= encoding->octaves[j])
                continue;
            f++;
            double p = pi * half_waves(encoding->amplitude, k, extent_of(grid, j));
            if (among(features, j))
                *gains++ = p == 0 ? 1.0f : (float)(sin(p) / p);
        }
}

/* One row: features of coordinates x. `arguments` is room for all pairs. */
static void encode(const nmi_kernels *kernels, const nmi_encoding *encoding, int32_t features,
                   const double *x, const float *gains, double *arguments, float *encoded)
{
    int64_t pairs = 0;
    double octave = 1;
    for (int64_t f = 0, k = 0; f < encoding->pairs; k++, octave *= 2)
        for (int j = 0; j < NMI_COORDINATES; j++) {
            if (k >= encoding->octaves[j])
                continue;
            f++;
            if (among(features, j))
                arguments[pairs++] = x[j] * octave;
        }
    for (int j = 0; j < NMI_COORDINATES; j++)
        if (among(features, j))
            *encoded++ = (float)x[j];
    float *sine = encoded, *cosine = encoded + pairs;
    kernels->sincospi(arguments, sine, cosine, pairs);
    if (encoding->kind == NMI_ENCODING_INTEGRATED)
        for (int64_t f = 0; f < pairs; f++) {
            sine[f] *= gains[f];
            cosine[f] *= gains[f];
        }
}

void nmi_encoding_rows(const nmi_kernels *kernels, const nmi_encoding *encoding,
                       const nmi_grid *grid, const nmi_noise *noise, int64_t first, int64_t rows,
                       double *work, float *encoded, int64_t stride)
{
    const bool integrated = encoding->kind == NMI_ENCODING_INTEGRATED;
    double *x = work, *arguments = work + rows * NMI_COORDINATES;
    float gains[NMI_ENCODING_PAIRS];
    if (integrated)
        integrated_gains(encoding, grid, NMI_FEATURES_ALL, gains);
    nmi_coordinate_rows(grid, integrated ? NULL : noise, first, rows, x);
    for (int64_t r = 0; r < rows; r++)
        encode(kernels, encoding, NMI_FEATURES_ALL, x + r * NMI_COORDINATES, gains, arguments,
               encoded + r * stride);
}

void nmi_encoding_clean(const nmi_kernels *kernels, const nmi_encoding *encoding,
                        const nmi_grid *grid, int32_t features, int64_t first, int64_t step,
                        int64_t rows, double *work, float *encoded, int64_t stride)
{
    float gains[NMI_ENCODING_PAIRS];
    if (encoding->kind == NMI_ENCODING_INTEGRATED)
        integrated_gains(encoding, grid, features, gains);
    for (int64_t r = 0; r < rows; r++) {
        nmi_coordinate_rows(grid, NULL, first + r * step, 1, work);
        encode(kernels, encoding, features, work, gains, work + NMI_COORDINATES,
               encoded + r * stride);
    }
}
