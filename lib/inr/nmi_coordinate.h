/* SPDX-License-Identifier: MIT */
/*
 * Where a weight lies: six coordinates for each row (output channel, input channel) of a tensor.
 *
 *   q = (l, o, i, L, O, I)   tensor, output channel, input channel, and their extents
 *   x = [q0/q3, q1/q4, q2/q5, q3/M, q4/M, q5/M]    of q + u, u uniform noise on all six
 *
 * Source: Neural Metamorphosis, arXiv 2410.11878, sections 3.1 and 3.3. The published code
 * also takes the tensor and the divisor of its values from the noisy q0 and q5; here both come
 * from the clean ones.
 */
#ifndef NMI_COORDINATE_H
#define NMI_COORDINATE_H

#include "nmi_random.h"

#include <stdint.h>

enum { NMI_COORDINATES = 6 };

/* How the draws of several samples relate; the indices of NOISE_DRAW. */
enum { NMI_DRAW_INDEPENDENT = 0, NMI_DRAW_ANTITHETIC = 1, NMI_DRAW_QUASI_RANDOM = 2 };

/* One draw of coordinate noise: row r of tensor l at coordinate j depends on (key, l, r, j). */
typedef struct nmi_noise {
    double amplitude; /* full width of the uniform noise in index units; 0: clean coordinates */
    double clamp;     /* bound on its absolute value */
    uint64_t key;
    int32_t draw;   /* NMI_DRAW_*: independent; each odd sample minus the even one before it; or
                       samples spread evenly, shifted at random for each row */
    int64_t sample; /* number of this draw among `samples` */
    int64_t samples;
} nmi_noise;

/* Which rows of a tensor there are: all, or those along one edge of it, with the other channel 0.
 */
enum { NMI_EDGE_NONE = 0, NMI_EDGE_OUTPUTS = 1, NMI_EDGE_INPUTS = 2 };

/* The rows of one tensor, numbered o * inputs + i; along an edge o, or i. Biases have one input. */
typedef struct nmi_grid {
    int64_t tensor, tensors; /* l, L */
    int64_t outputs, inputs; /* O, I */
    int64_t scale;           /* M */
    int32_t edge;            /* NMI_EDGE_* */
} nmi_grid;

/* Coordinates of rows first .. first + rows - 1, x [rows][6]. `noise` NULL or of amplitude 0:
 * clean. Noisy extents are not let below 1/2, which only noise wider than the papers' could reach.
 */
void nmi_coordinate_rows(const nmi_grid *grid, const nmi_noise *noise, int64_t first, int64_t rows,
                         double *x);

#endif
