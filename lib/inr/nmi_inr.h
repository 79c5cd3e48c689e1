/* SPDX-License-Identifier: MIT */
/*
 * Implicit neural representations: functions with parameters that give a tensor at any size. A
 * kind of INR is what fills an nmi_inr_kind; each tensor of a manifold has a kind of its own, and
 * the manifold knows nothing else about it.
 */
#ifndef NMI_INR_H
#define NMI_INR_H

#include "nmi_coordinate.h"
#include "nmi_network.h"

typedef struct neumeta_manifold nmi_manifold;
typedef struct nmi_fit_target nmi_fit_target;
typedef struct nmi_fit nmi_fit;

/* A piece of an INR's parameters with a name of its own in files. */
typedef struct nmi_inr_part {
    char name[32]; /* "inr.0.weight" */
    int32_t rank;
    int64_t dims[4];
    int64_t offset, count; /* in the flat parameters */
    double bound;          /* starts uniform in +-bound; 0: starts at `value` */
    double value;
} nmi_inr_part;

/* What an emission is to write: the tensors marked in `fields` (NULL: all) that are live. */
typedef struct nmi_emission {
    const bool *fields;
    const nmi_noise *noise; /* NULL: clean */
    int32_t precision;      /* NMI_FP32 or NMI_BF16, where there are products */
    int64_t samples;        /* draws that are averaged */
    bool clean_first;       /* the first of them has no noise */
    bool keep;              /* what a backward with the same noise will want */
} nmi_emission;

/* Every call works on those tensors of the manifold that have this kind, and on no others. */
typedef struct nmi_inr_kind {
    const char *name; /* the word of INR_KIND */
    /* The list of blocks that have it while INR_KIND is another; 0: there is none. */
    int32_t blocks_key;
    /* Its tensors have parameters in common, a field of their own behind those of the tensors. */
    bool shares;
    /* Settles what its tensors have in common, and how many parameters each has. */
    neumeta_status (*plan)(nmi_manifold *manifold);
    /* The index-th part of a field's parameters; false past the last one. */
    bool (*part)(const nmi_manifold *manifold, int32_t field, int32_t index, nmi_inr_part *out);

    /* Memory for the context's present threads, kept until they change or release(). */
    neumeta_status (*prepare)(nmi_manifold *manifold, bool backward);
    void (*release)(nmi_manifold *manifold);
    /* After prepare(). */
    void (*emit)(const nmi_manifold *manifold, const nmi_emission *emission, nmi_network *network);
    void (*backward)(const nmi_manifold *manifold, const nmi_emission *emission,
                     const nmi_network *network, float *const *weight_gradients,
                     float *const *parameter_gradients);

    /* nmi_manifold_clone() between two tensors, nmi_manifold_fit() of the marked ones. */
    neumeta_status (*clone)(nmi_manifold *manifold, int32_t from, int32_t to);
    neumeta_status (*fit)(nmi_manifold *manifold, const bool *fields, const nmi_fit_target *target,
                          const nmi_fit *fit);
} nmi_inr_kind;

/* Kinds by index of INR_KIND. */
enum {
    NMI_INR_MLP = 0,
    NMI_INR_GRID = 1,
    NMI_INR_SEPARABLE = 2,
    NMI_INR_TRUNK = 3,
    NMI_INR_KINDS = 4
};
const nmi_inr_kind *nmi_inr_kind_at(int32_t index);

#endif
