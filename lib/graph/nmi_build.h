/* SPDX-License-Identifier: MIT */
/* What the files of the graph unit share with each other and with nobody else. */
#ifndef NMI_BUILD_H
#define NMI_BUILD_H

#include "nmi_graph.h"

enum { NMI_NAME_MAX = 255, NMI_OP_KEYS_MAX = 5, NMI_OP_INPUTS_MAX = 64 };

/* What one operator takes. */
typedef struct nmi_op_rule {
    const char *name;
    int32_t inputs_min, inputs_max;
    bool axis;                     /* whether its channels come from a width axis */
    int32_t keys[NMI_OP_KEYS_MAX]; /* settings it reads, 0 behind the last */
} nmi_op_rule;

const nmi_op_rule *nmi_op_rule_of(int32_t op); /* NULL if there is no such operator */
int32_t nmi_op_key_count(const nmi_op_rule *rule);

/* The field of a node that holds a setting, as a number (CHOICE: its index). */
double nmi_node_setting(const nmi_node *node, int32_t key);
void nmi_node_set(nmi_node *node, int32_t key, double value);
/* Default node of the rule's operator with the settings of `options` (NULL: defaults). */
neumeta_status nmi_node_from_options(nmi_context *context, const char *name, int32_t op,
                                     const nmi_options *options, nmi_node *node);

/* Everything about a node that does not need shapes. Names the node and what is wrong. */
neumeta_status nmi_node_check(const nmi_topology *topology, const nmi_node *node);

/* Puts the settings that the operator uses into *out, everything else at its default. */
void nmi_node_normalize(const nmi_node *node, nmi_node *out);

/* An open run of repetitions; its nodes so far are those of the first one. */
struct nmi_repeat {
    char *name;
    int32_t depth_axis;
    int32_t first;       /* number of the first repetition */
    int32_t count;       /* repetitions at full depth */
    int32_t input;       /* node carried into the first repetition */
    int32_t first_node;  /* first node inside */
    int32_t first_axis;  /* first axis inside */
    int32_t first_block; /* block of the first repetition; the others follow */
};

void nmi_repeat_free(nmi_context *context, struct nmi_repeat *repeat);
/* "<repeat>.<number>.<name>", or "<repeat>.<number>" for a NULL name; room for NMI_NAME_MAX + 1
 * characters. NEUMETA_ERR_ARGUMENT if it is longer. */
neumeta_status nmi_repeat_name(nmi_context *context, const struct nmi_repeat *repeat,
                               int32_t number, const char *name, char *out);

/* NEUMETA_ERR_ARGUMENT unless `name` is 1 to NMI_NAME_MAX printable ASCII characters. */
neumeta_status nmi_name_check(nmi_context *context, const char *what, const char *name);
neumeta_status nmi_topology_open(const nmi_topology *topology); /* NEUMETA_ERR_STATE once sealed */
bool nmi_topology_has_block(const nmi_topology *topology, const char *name);
/* Ends and removes the nodes, axes or blocks from `count` on. */
void nmi_topology_drop_nodes(nmi_topology *topology, int32_t count);
void nmi_topology_drop_axes(nmi_topology *topology, int32_t count);
void nmi_topology_drop_blocks(nmi_topology *topology, int32_t count);
void nmi_tensors_free(nmi_context *context, nmi_tensor_info *tensors, int32_t count);

/* Elements of the weight of a CONV or LINEAR node; false beyond the bounds of the library. */
bool nmi_node_weights(const nmi_node *node, const nmi_shape *in, const nmi_shape *out,
                      int64_t *count);
/* Its multiply-adds for one item; false beyond the bounds. */
bool nmi_node_multiply_adds(const nmi_node *node, const nmi_shape *in, const nmi_shape *out,
                            int64_t *count);

#endif
