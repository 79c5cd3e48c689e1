/* SPDX-License-Identifier: MIT */
/*
 * Implicit neural representations: functions with parameters that give the taps of a tensor's
 * rows. A kind of INR is one file that fills an nmi_inr_kind; the manifold knows nothing else.
 */
#ifndef NMI_INR_H
#define NMI_INR_H

#include "nmi_encoding.h"
#include "nmi_kernels.h"

#include <stdbool.h>
#include <stddef.h>

/* What all INRs of a manifold have in common, so that any may be cloned from any other. */
typedef struct nmi_inr {
    const nmi_kernels
        *kernels; /* of the context, which keeps them as long as there is a manifold */
    nmi_encoding encoding;
    int64_t hidden, layers; /* H; hidden layers, the first included */
    int64_t outputs;        /* D: taps of the largest kernel of the manifold */
    int32_t activation;     /* NMI_ACTIVATION_* */
    double scalar;          /* first value of the residual scalars */
    int64_t block_rows;     /* rows that run through all layers at once */
} nmi_inr;

/* The outputs a tensor uses: its taps, the central ones of D. */
typedef struct nmi_inr_slice {
    int64_t first, count;
} nmi_inr_slice;

/* A piece of an INR's parameters with a name of its own in files. */
typedef struct nmi_inr_part {
    char name[32]; /* "inr.0.weight" */
    int32_t rank;
    int64_t dims[2];
    int64_t offset, count; /* in the flat parameters */
    double bound;          /* starts uniform in +-bound; 0: starts at `value` */
    double value;
} nmi_inr_part;

/*
 * Rows first .. first + rows - 1 (rows <= block_rows) of one tensor. `packed` comes from pack()
 * with the same slice, grid, precision and `clean`; `work` has work_floats() floats, aligned to 64
 * bytes, for one thread.
 */
typedef struct nmi_inr_rows {
    const nmi_inr *inr;
    const float *parameters, *packed;
    nmi_inr_slice slice;
    nmi_grid grid;
    const nmi_noise *noise; /* NULL: clean */
    int32_t precision;      /* NMI_FP32 or NMI_BF16 */
    bool clean;             /* all rows of the tensor that are emitted with `packed` are clean */
    int64_t first, rows;
    float scale; /* of the emitted values: 1/I */
    float *work;
} nmi_inr_rows;

typedef struct nmi_inr_kind {
    const char *name;
    int64_t (*parameter_count)(const nmi_inr *inr);
    /* The index-th part; false past the last one. */
    bool (*part)(const nmi_inr *inr, int32_t index, nmi_inr_part *out);

    /* Parameters rearranged for the kernels; with `backward` also what backward() needs. Of `rows`,
     * pack() and reduce() look only at what a tensor's blocks of rows have in common. */
    size_t (*packed_floats)(const nmi_inr *inr, bool backward);
    void (*pack)(const nmi_inr_rows *rows, bool backward, float *packed);
    size_t (*work_floats)(const nmi_inr *inr, bool backward);

    /* values[row][tap] = scale * output, [rows][slice.count]. */
    void (*emit)(const nmi_inr_rows *rows, float *values);

    /* The same, keeping in `work` what backward() of the same rows will want. `values` may be
     * NULL. */
    void (*emit_keeping)(const nmi_inr_rows *rows, float *values);
    /* Adds to `lane` (lane_floats() floats, zero at first) the gradient of the parameters, given
     * that of the values [rows][slice.count]. */
    void (*backward)(const nmi_inr_rows *rows, const float *value_gradients, float *lane);
    size_t (*lane_floats)(const nmi_inr *inr);
    /* A share of: gradient += sum of `count` lanes, `stride` floats apart, in order. The lanes are
     * spoilt. Shares 0 .. shares() - 1 may run at once. */
    int64_t (*shares)(const nmi_inr *inr);
    void (*reduce)(const nmi_inr_rows *rows, float *lanes, int64_t stride, int64_t count,
                   int64_t share, float *gradient);
} nmi_inr_kind;

/* Kind by index of INR_KIND. */
const nmi_inr_kind *nmi_inr_kind_at(int32_t index);

#endif
