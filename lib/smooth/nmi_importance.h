/* SPDX-License-Identifier: MIT */
/*
 * Channels sorted by importance, so that a narrow network that has the first of them has those that
 * matter most. With the tied channels c of a group,
 *
 *     importance(c) = sqrt( sum over what makes c:  |filter_c|^2 + bias_c^2 )
 *                   * sqrt( sum over what reads c:  |weights of c|^2 )
 *
 * An affine map or a batch norm behind a convolution counts with it: it scales the weights of what
 * is read, and a norm makes its own energy, scale^2 + shift^2, whatever the filter's.
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
