/* SPDX-License-Identifier: MIT */
/*
 * Coordinates of rows, and their noise. Noise is a function of (key, tensor, sample, row,
 * coordinate), never of the order of calls, so emission and its backward draw the same, and any
 * thread may take any row.
 */
#include "nmi_coordinate.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Powers 1/g, 1/g^2, ... 1/g^6 of the root g of g^7 = g + 1: the additive recurrence that spreads
 * points of six dimensions evenly, as multiples of the golden ratio do on a line. */
static const double spread[NMI_COORDINATES] = {
    0.89865371262869920, 0.80757849522134473, 0.72573341296975968,
    0.65218302594397148, 0.58608669757796927, 0.52668898670073572,
};

/* What the draws of one sample of one tensor share. */
typedef struct draws {
    uint64_t key;
    double amplitude, clamp, sign;
    double shift[NMI_COORDINATES]; /* quasi-random: added to each row's own point, modulo 1 */
} draws;

static draws start_draws(const nmi_noise *noise, int64_t tensor)
{
    draws d = {.amplitude = noise->amplitude, .clamp = noise->clamp, .sign = 1};
    int64_t stream = noise->sample;
    if (noise->draw == NMI_DRAW_ANTITHETIC) {
        d.sign = stream % 2 == 1 ? -1 : 1;
        stream -= stream % 2;
    } else if (noise->draw == NMI_DRAW_QUASI_RANDOM) {
        for (int j = 0; j < NMI_COORDINATES; j++)
            d.shift[j] = fmod((double)noise->sample * spread[j], 1);
        stream = 0;
    }
    d.key = nmi_random_key(noise->key, (uint64_t)tensor, (uint64_t)stream);
    return d;
}

static double draw_noise(const draws *d, int64_t row, int j)
{
    uint64_t position = (uint64_t)row * NMI_COORDINATES + (uint64_t)j;
    double unit = nmi_random_uniform_at(d->key, position) + d->shift[j];
    if (unit >= 1)
        unit -= 1;
    double u = d->sign * (unit - 0.5) * d->amplitude;
    return u > d->clamp ? d->clamp : u < -d->clamp ? -d->clamp : u;
}

void nmi_coordinate_rows(const nmi_grid *grid, const nmi_noise *noise, int64_t first, int64_t rows,
                         double *x)
{
    const bool noisy = noise != NULL && noise->amplitude > 0;
    draws d;
    if (noisy)
        d = start_draws(noise, grid->tensor);
    const double scale = (double)grid->scale;
    const int64_t inputs = grid->edge == NMI_EDGE_OUTPUTS  ? 1
                           : grid->edge == NMI_EDGE_INPUTS ? INT64_MAX
                                                           : grid->inputs;
    for (int64_t r = first; r < first + rows; r++, x += NMI_COORDINATES) {
        double q[NMI_COORDINATES] = {
            (double)grid->tensor,  (double)(r / inputs),  (double)(r % inputs),
            (double)grid->tensors, (double)grid->outputs, (double)grid->inputs,
        };
        if (noisy) {
            for (int j = 0; j < NMI_COORDINATES; j++)
                q[j] += draw_noise(&d, r, j);
            for (int j = 3; j < NMI_COORDINATES; j++)
                q[j] = q[j] < 0.5 ? 0.5 : q[j];
        }
        for (int j = 0; j < 3; j++) {
            x[j] = q[j] / q[j + 3];
            x[j + 3] = q[j + 3] / scale;
        }
    }
}
