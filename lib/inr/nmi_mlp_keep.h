/* SPDX-License-Identifier: MIT */
/*
 * What an emission keeps for the backward that follows it: the branches and encoded rows of as many
 * MLPs, in floats, as NMI_KEEP_BYTES hold. The others are run again. A backward finds only what was
 * kept with the same noise at the same extents, and only once; changed parameters drop all of it.
 */
#ifndef NMI_MLP_KEEP_H
#define NMI_MLP_KEEP_H

#include "nmi_emission.h"

enum { NMI_KEEP_BYTES = 64 << 20 }; /* of a kind; one block of 64 channels has 52 MiB */

typedef struct nmi_mlp_keep nmi_mlp_keep;

/* Room for the MLPs of a kind at full sizes, as far as the bound goes. */
neumeta_status nmi_mlp_keep_create(const nmi_manifold *manifold, int32_t kind, nmi_mlp_keep **out);
void nmi_mlp_keep_free(nmi_mlp_keep *keep); /* NULL is fine */

/* Drops all, for emissions with this noise (NULL: clean). */
void nmi_mlp_keep_start(nmi_mlp_keep *keep, const nmi_noise *noise);
/* Room for the blocks of a tensor, one nmi_mlp_keep_stride() after another; NULL if there is none
 * left. */
float *nmi_mlp_keep_add(nmi_mlp_keep *keep, int32_t tensor, const nmi_grid *grid, int64_t blocks);
/* What was kept of the tensor, which is dropped by it; NULL if nothing was. */
float *nmi_mlp_keep_take(nmi_mlp_keep *keep, int32_t tensor, const nmi_grid *grid,
                         const nmi_noise *noise);
int64_t nmi_mlp_keep_stride(const nmi_mlp_keep *keep);

#endif
