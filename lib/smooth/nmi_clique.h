/* SPDX-License-Identifier: MIT */
/*
 * Groups of channels that may change places.
 *
 * A class of nmi_ties is one channel with all places where it stands (a place is a channel of a
 * node). Classes that stand in the same nodes equally often form a group: any two of them may be
 * exchanged, all their places alike. The inner channels of a residual block are one group; a
 * residual stream is one too, or several where option-A shortcuts tie streams of different width.
 * Channels of input and output are in no group.
 */
#ifndef NMI_CLIQUE_H
#define NMI_CLIQUE_H

#include "nmi_network.h"

typedef struct nmi_cliques {
    nmi_context *context;
    nmi_ties ties;        /* at the network's sizes; places are numbered as in ties.class_of */
    int32_t *node_of;     /* [places] */
    int64_t *place_start; /* [classes + 1] into `places` */
    int64_t *places;      /* of each class, ascending */
    int64_t *rank;        /* [places] number of a place among those of its class */
    int64_t *content;     /* [classes] the class that stands where this one stood at first */
    int32_t *group_of;    /* [classes], -1: fixed */
    int64_t *slot_of;     /* [classes] number within the group, by first place */
    int32_t group_count;
    int64_t *member_start; /* [groups + 1] into `members` */
    int64_t *members;      /* classes of each group, in the order of their slots */
} nmi_cliques;

/* Nothing has moved yet: content[c] == c. nmi_cliques_free() must follow, also after a failure. */
neumeta_status nmi_cliques_create(const nmi_network *network, nmi_cliques *out);
void nmi_cliques_free(nmi_cliques *cliques);

/* The place whose original content stands at a place now. */
int64_t nmi_cliques_place(const nmi_cliques *cliques, int64_t place);
/* The same for a channel of a node; an nmi_content with the cliques as its user. */
int64_t nmi_cliques_content(const void *cliques, int32_t node, int64_t channel);

#endif
