/* SPDX-License-Identifier: MIT */
/*
 * Features of coordinates: what an INR sees.
 *
 *   e(x) = [x (6 values); g_f sin(2^k pi x_j); g_f cos(2^k pi x_j)]
 *
 * All sines precede all cosines; within each, f counts pairs (k, j), k outermost.
 * P = 6 + 2 pairs.
 *
 * plain:      every octave k < F of every coordinate, g = 1.            Source: arXiv 2410.11878.
 * integrated: the mean of these features over the box noise u of the coordinate's numerator, in
 *             closed form: with q + u over an extent E, u uniform of full width a,
 *                 mean of sin(w (q + u)/E) = sin(w q/E) g,   g = sin(p)/p,   p = w a/(2E),
 *             and likewise for cosines. Octaves with p >= pi at the manifold's largest extent are
 *             left out: the noise erases them (at extent 64 and width 1 exactly, from k = 7 on).
 */
#ifndef NMI_ENCODING_H
#define NMI_ENCODING_H

#include "nmi_coordinate.h"
#include "nmi_kernels.h"

enum {
    NMI_ENCODING_PLAIN = 0, /* indices of INR_ENCODING */
    NMI_ENCODING_INTEGRATED = 1,
    NMI_ENCODING_PAIRS = 240 /* most pairs: 6 coordinates, 40 octaves */
};

typedef struct nmi_encoding {
    int32_t kind;     /* NMI_ENCODING_* */
    double amplitude; /* integrated: width a of the noise that is averaged */
    int64_t octaves[NMI_COORDINATES];
    int64_t pairs;
    int64_t inputs; /* P */
} nmi_encoding;

/* Octaves of the three relative coordinates, and of their extents. `largest`: tensors, outputs and
 * inputs at their largest over the manifold, and M. */
void nmi_encoding_plan(nmi_encoding *encoding, int32_t kind, int64_t octaves,
                       int64_t extent_octaves, double amplitude, const nmi_grid *largest);

/* Features by the coordinates they depend on. Without noise, rows of one output share all but those
 * of the input's coordinate, and every output has the same of these. */
enum { NMI_FEATURES_ALL = 0, NMI_FEATURES_INPUT = 1, NMI_FEATURES_OTHER = 2 };

int64_t nmi_encoding_count(const nmi_encoding *encoding, int32_t features);
/* Places of the features among all P, in increasing order: index [count]. */
void nmi_encoding_places(const nmi_encoding *encoding, int32_t features, int16_t *index);

/* Doubles that the next functions want as `work` for `rows` rows. */
int64_t nmi_encoding_work(const nmi_encoding *encoding, int64_t rows);
/* Rows first .. first + rows - 1 of the grid: encoded [rows], `stride` >= P floats apart. The
 * integrated encoding takes clean coordinates whatever the noise. */
void nmi_encoding_rows(const nmi_kernels *kernels, const nmi_encoding *encoding,
                       const nmi_grid *grid, const nmi_noise *noise, int64_t first, int64_t rows,
                       double *work, float *encoded, int64_t stride);
/* Only these features, one after another and clean, of rows first, first + step and so on. */
void nmi_encoding_clean(const nmi_kernels *kernels, const nmi_encoding *encoding,
                        const nmi_grid *grid, int32_t features, int64_t first, int64_t step,
                        int64_t rows, double *work, float *encoded, int64_t stride);

#endif
