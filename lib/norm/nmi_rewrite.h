/* SPDX-License-Identifier: MIT */
/*
 * Rewriting a network into another one. A rewriting is two functions: one puts what shall stand for
 * an old node into the new topology, called for each old node in order; the other gives values to
 * what the old network does not have under the same name, once the new one is made.
 *
 * Axes and blocks are those of the source, so sizes and block numbers keep their meaning.
 */
#ifndef NMI_REWRITE_H
#define NMI_REWRITE_H

#include "nmi_network.h"

typedef struct nmi_rewrite {
    nmi_context *context;
    const nmi_network *source; /* borrowed */
    nmi_topology *topology;    /* the new one, sealed when values are asked for */
    int32_t *map;              /* [nodes of the source]: new node that stands for an old one */
    int32_t *inputs;           /* new numbers of the inputs of the next nmi_rewrite_put() */
    void *user;
} nmi_rewrite;

/* Must set rewrite->map[old], most often through nmi_rewrite_put(). */
typedef neumeta_status (*nmi_rewrite_node)(nmi_rewrite *rewrite, int32_t old);
/* Tensors that have name and role in common are copied by then; new SCALE tensors have their
 * node's value, other new ones are zero. Tensors of nodes that are not live have no data. */
typedef neumeta_status (*nmi_rewrite_values)(nmi_rewrite *rewrite, int32_t old,
                                             nmi_network *result);

/* The new network at the source's sizes; `values` NULL: nothing to add. */
neumeta_status nmi_rewrite_run(const nmi_network *source, nmi_rewrite_node node,
                               nmi_rewrite_values values, void *user, nmi_network **out);

/* Sets rewrite->inputs to what stands for the inputs of an old node; they may be changed then. */
void nmi_rewrite_inputs(nmi_rewrite *rewrite, int32_t old);
/* Appends *node with rewrite->inputs as its inputs; it stands for the old node from now on. */
neumeta_status nmi_rewrite_put(nmi_rewrite *rewrite, int32_t old, const nmi_node *node);
/* Puts the old node as it is. */
neumeta_status nmi_rewrite_copy(nmi_rewrite *rewrite, int32_t old);
/* Appends a SCALE or GAIN node of this value behind the new node *number, and sets *number to it.
 * Block and depth are those of the old node `beside`; the name is that of its block (outside of
 * blocks: its own) and the suffix, with a number behind where that is taken. */
neumeta_status nmi_rewrite_insert(nmi_rewrite *rewrite, int32_t op, const char *suffix,
                                  int32_t beside, double value, int32_t *number);

/* Consumers of a node; being the output counts as one. */
int32_t nmi_rewrite_uses(const nmi_topology *topology, int32_t node);
/* Whether it is a convolution or linear node. */
bool nmi_rewrite_has_kernel(const nmi_node *node);
/* Tensor of what stands for an old node, without data where that is not live; NULL if there is
 * no tensor of this role. */
nmi_tensor *nmi_rewrite_tensor(const nmi_rewrite *rewrite, nmi_network *result, int32_t old,
                               nmi_role role);

#endif
