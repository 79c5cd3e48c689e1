/* SPDX-License-Identifier: MIT */
/*
 * Ways to replace batch norm. A way is one file that fills an nmi_norm_method, and one line in the
 * table of nmi_norm.c.
 */
#ifndef NMI_NORM_H
#define NMI_NORM_H

#include "nmi_rewrite.h"

typedef struct nmi_norm_method {
    int32_t number;   /* NEUMETA_NORM_* */
    const char *name; /* begins each of its messages */
    int32_t key;      /* the one setting it takes, 0: none */
    /* NEUMETA_ERR_UNSUPPORTED with the reason if the network cannot be treated. */
    neumeta_status (*matches)(const nmi_network *network);
    /* A new network, with the same outputs except by `group`; called only if it matches. */
    neumeta_status (*rewrite)(const nmi_network *network, const nmi_options *options,
                              nmi_network **out);
} nmi_norm_method;

extern const nmi_norm_method nmi_norm_method_fold;
extern const nmi_norm_method nmi_norm_method_skip_init;
extern const nmi_norm_method nmi_norm_method_sqrt_half;
extern const nmi_norm_method nmi_norm_method_affine;
extern const nmi_norm_method nmi_norm_method_group;

/* neumeta_network_replace_norm(). On failure the network is as it was. NEUMETA_ERR_ARGUMENT for
 * an unknown method or a setting that it does not use; NEUMETA_ERR_STATE for shared weights;
 * NEUMETA_ERR_NUMERIC where a norm divides by the root of something not positive. */
neumeta_status nmi_norm_replace(nmi_network *network, int32_t method, const nmi_options *options);

/*
 * A norm in inference as the map x -> scale x + shift of each channel:
 * scale = gamma / sqrt(var + eps), shift = beta - scale mean; without `own` the same for gamma 1
 * and beta 0. *out: [2 channels] of scale, shift, scale, ...; freed by the caller; NULL (and no
 * failure) where the norm is not live.
 */
neumeta_status nmi_norm_factors(const nmi_network *network, int32_t norm, bool own, double **out);
/* Whether the node is a convolution or linear node behind which a norm stands. */
bool nmi_norm_takes_up(const nmi_topology *topology, int32_t node);
/* Puts a norm's factors into what stands for the node before it: W' = scale W, b' = shift + scale
 * b. Of the result; weight and bias are copies of the old ones, a new bias is zero. */
void nmi_norm_take_up(const nmi_rewrite *rewrite, int32_t norm, const double *factors,
                      nmi_network *result);

#endif
