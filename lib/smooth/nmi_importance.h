/* SPDX-License-Identifier: MIT */
/*
 * Channels sorted by importance, so that a narrow network that has the first of them has those that
 * matter most. With the tied channels c of a group,
 *
 *     importance(c) = sqrt( sum over what makes c:  |filter_c|^2 + bias_c^2 )
 *                   * sqrt( sum over what reads c:  |weights of c|^2 )
 *
 * An affine map or a batch norm behind a convolution counts with it. It scales the weights of what
 * is read; and behind a norm values have mean shift and deviation scale whatever the filter's size,
 * so the first sum has their mean square instead, or that of max(0, value) in front of a ReLU, as
 * if they were normally distributed: with z = shift/scale,
 *
 *     (shift^2 + scale^2) Phi(z) + shift scale phi(z)
 */
#ifndef NMI_IMPORTANCE_H
#define NMI_IMPORTANCE_H

#include "nmi_clique.h"

/* Squared importance of each class of the cliques' ties; the caller frees *out. */
neumeta_status nmi_importance_of(const nmi_network *network, const nmi_cliques *cliques,
                                 double **out);
/* Puts each group's channels in falling order; equals keep theirs. Moves cliques->content only. */
neumeta_status nmi_importance_sort(const nmi_network *network, nmi_cliques *cliques);

#endif
