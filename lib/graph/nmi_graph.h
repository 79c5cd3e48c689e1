/* SPDX-License-Identifier: MIT */
/*
 * Topologies: a flat list of nodes in order of evaluation, whose widths and depths are axes.
 *
 * A repeat is expanded while it is built: each repetition has nodes, axes and tensors of its
 * own, live while the depth axis exceeds its number, and one SELECT node passes on the output of
 * the last live repetition. So everything downstream (shapes, cost, networks, passes, manifolds)
 * sees a plain list and asks only whether a node is live.
 */
#ifndef NMI_GRAPH_H
#define NMI_GRAPH_H

#include "nmi_context.h"
#include "nmi_options.h"

typedef struct neumeta_topology nmi_topology;

typedef struct nmi_axis {
    char *name;
    int32_t kind; /* NEUMETA_AXIS_* */
    int64_t min, max, step;
    bool summed; /* once sealed: whether the channels of an ADD node follow it */
} nmi_axis;

typedef struct nmi_node {
    char *name;
    int32_t op; /* NEUMETA_OP_* */
    int32_t *inputs;
    int32_t input_count;
    int32_t axis;     /* width axis of the output channels, -1: they follow from the inputs */
    int64_t multiple; /* output channels per unit of the axis */
    int64_t kernel, stride, padding;
    bool bias;
    int32_t function;                /* ACTIVATION: 0 relu, 1 elu */
    double epsilon, momentum;        /* NORM; GROUP_NORM has the first */
    int64_t group;                   /* GROUP_NORM: channels of a group */
    double value;                    /* GAIN: factor; SCALE: first value */
    int64_t channels, height, width; /* INPUT */
    int32_t block;                   /* -1 before the first block */
    int32_t depth_axis;              /* -1: always live; SELECT: the axis that selects */
    int64_t depth_number; /* live while sizes[depth_axis] > depth_number; SELECT: always live, and
                             takes inputs[sizes[depth_axis] - depth_number] */
} nmi_node;

/* Shape of one item at a node; all zero where the node is not live. */
typedef struct nmi_shape {
    int64_t channels, height, width;
} nmi_shape;

typedef enum nmi_role {
    NMI_ROLE_WEIGHT,        /* conv [O, I, k, k], linear [O, I] */
    NMI_ROLE_BIAS,          /* conv, linear [O] */
    NMI_ROLE_NORM_WEIGHT,   /* [C], also of GROUP_NORM */
    NMI_ROLE_NORM_BIAS,     /* [C], also of GROUP_NORM */
    NMI_ROLE_RUNNING_MEAN,  /* [C], not trainable */
    NMI_ROLE_RUNNING_VAR,   /* [C], not trainable */
    NMI_ROLE_SCALE,         /* [1] */
    NMI_ROLE_AFFINE_WEIGHT, /* [C] */
    NMI_ROLE_AFFINE_BIAS    /* [C] */
} nmi_role;

typedef struct nmi_tensor_info {
    char *name;
    int32_t node;
    nmi_role role;
} nmi_tensor_info;

struct neumeta_topology {
    nmi_object object;
    bool sealed;
    nmi_axis *axes;
    int32_t axis_count, axis_capacity;
    nmi_node *nodes;
    int32_t node_count, node_capacity;
    char **blocks;
    int32_t block_count, block_capacity;
    int32_t output;           /* node; set by seal */
    nmi_tensor_info *tensors; /* in node order, within a node in order of role; set by seal */
    int32_t tensor_count;
    uint64_t *follows; /* [node_count][follow_words] bits: axes that the node's channels
                          follow; set by seal */
    int32_t follow_words;
    int32_t open_block;        /* block of the nodes that add_node makes, -1: none yet */
    struct nmi_repeat *repeat; /* while a repeat is open */
};

/* --- building (nmi_topology.c) --------------------------------------------------------------- */

neumeta_status nmi_topology_create(nmi_context *context, nmi_topology **out);
void nmi_topology_retain(nmi_topology *topology);
void nmi_topology_release(nmi_topology *topology); /* NULL is fine */
neumeta_status nmi_topology_add_axis(nmi_topology *topology, const char *name, int32_t kind,
                                     int64_t min, int64_t max, int64_t step, int32_t *axis);
neumeta_status nmi_topology_begin_block(nmi_topology *topology, const char *name);
neumeta_status nmi_topology_add_node(nmi_topology *topology, const char *name, int32_t op,
                                     const int32_t *inputs, int32_t count, int32_t axis,
                                     const nmi_options *options, int32_t *node);
/* add_node with the settings in the fields of *node, of which op, multiple to value and the INPUT
 * shape are read: for code that builds topologies. */
neumeta_status nmi_topology_place(nmi_topology *topology, const char *name, const nmi_node *node,
                                  const int32_t *inputs, int32_t count, int32_t axis,
                                  int32_t *number);
neumeta_status nmi_topology_begin_repeat(nmi_topology *topology, const char *name,
                                         int32_t depth_axis, int32_t first, int32_t node);
neumeta_status nmi_topology_end_repeat(nmi_topology *topology, int32_t last, int32_t *node);
neumeta_status nmi_topology_seal(nmi_topology *topology, int32_t output);

/* Bounds that keep every later product of sizes within 63 bits, and the table of who follows whom
 * within 8 MiB. */
enum {
    NMI_GRAPH_NODES_MAX = 16384,
    NMI_GRAPH_WIDTH_MAX = 1 << 20,
    NMI_GRAPH_DEPTH_MAX = 4096,
    NMI_GRAPH_PAIRS_MAX = 1 << 26 /* of a node and an axis */
};

/* A SHORTCUT's narrower side lies centred in the wider one: output channel c is input channel c -
 * this, floor((out - in) / 2). Negative: so many input channels come before the first that is
 * passed on. */
static inline int64_t nmi_shortcut_offset(int64_t out, int64_t in)
{
    const int64_t more = out - in;
    return more >= 0 ? more / 2 : -((1 - more) / 2);
}

/* Low-level forms for rewriting and for reading files: validated exactly like the calls above.
 * append_node copies *node with its strings and inputs, block and depth fields included (SELECT is
 * allowed here); append_block adds a block without opening it. copy_frame makes an unsealed
 * topology with the axes and blocks of another, and no nodes. reserve, for an empty one, takes the
 * room for so many at once. */
neumeta_status nmi_topology_reserve(nmi_topology *topology, int64_t axes, int64_t blocks,
                                    int64_t nodes);
neumeta_status nmi_topology_append_block(nmi_topology *topology, const char *name);
neumeta_status nmi_topology_append_node(nmi_topology *topology, const nmi_node *node,
                                        int32_t *number);
neumeta_status nmi_topology_copy_frame(const nmi_topology *topology, nmi_topology **out);
bool nmi_topology_has_node(const nmi_topology *topology, const char *name);
/* The same topology, sealed as it is, made from another context. */
neumeta_status nmi_topology_copy(const nmi_topology *topology, nmi_context *context,
                                 nmi_topology **out);
/* An nmi_node with every field at its default (no strings, no inputs). Fields that the operator
 * does not use are ignored when a node is appended. */
nmi_node nmi_node_default(int32_t op);
const char *nmi_op_name(int32_t op); /* "conv" */

/* --- built-in topologies (builtin/) ------------------------------------------------------ */

neumeta_status nmi_topology_create_builtin(nmi_context *context, const char *name,
                                           const nmi_options *options, nmi_topology **out);
const char *nmi_topology_builtin_name(int32_t index);

/* --- questions to a sealed topology (nmi_shape.c, nmi_cost.c) ------------------------------ */

/* Count must equal the axes, each size must lie on its axis; the message names the axis. */
neumeta_status nmi_graph_check_sizes(const nmi_topology *topology, const int64_t *sizes,
                                     int32_t count);
void nmi_graph_full_sizes(const nmi_topology *topology, int64_t *sizes);
bool nmi_graph_live(const nmi_topology *topology, const int64_t *sizes, int32_t node);
/* SELECT: the node it passes on; any other node: itself. */
int32_t nmi_graph_source(const nmi_topology *topology, const int64_t *sizes, int32_t node);
/* `shapes` has node_count entries. Fails with NEUMETA_ERR_SHAPE naming the node. */
neumeta_status nmi_graph_shapes(const nmi_topology *topology, const int64_t *sizes,
                                nmi_shape *shapes);
/* The same at full sizes; freed by the caller, NULL on failure. */
neumeta_status nmi_graph_full_shapes(const nmi_topology *topology, nmi_shape **shapes);
/* Rank of a tensor and its dims (4 entries, ones behind the rank); 0 if its node is not live. */
int32_t nmi_graph_tensor_dims(const nmi_topology *topology, const int64_t *sizes,
                              const nmi_shape *shapes, int32_t tensor, int64_t dims[4]);
bool nmi_role_is_trainable(nmi_role role);
int32_t nmi_graph_find_tensor(const nmi_topology *topology, const char *name); /* or -1 */
/* First tensor of the node with this role, or -1. */
int32_t nmi_graph_node_tensor(const nmi_topology *topology, int32_t node, nmi_role role);
/* Whether the tensor's dims follow the axis. */
bool nmi_graph_tensor_depends(const nmi_topology *topology, int32_t tensor, int32_t axis);
/* What an axis of a sealed topology is to those who choose sizes. */
typedef enum nmi_axis_group {
    NMI_AXIS_INNER,  /* width that no ADD node's channels follow: of a block's inside */
    NMI_AXIS_STREAM, /* width that an ADD node's channels follow: of a residual stream */
    NMI_AXIS_DEPTH,
    NMI_AXIS_FIXED /* width of one size only */
} nmi_axis_group;
nmi_axis_group nmi_graph_axis_group(const nmi_topology *topology, int32_t axis);
bool nmi_graph_axis_is_inner(const nmi_topology *topology, int32_t axis);
bool nmi_graph_axis_is_stream(const nmi_topology *topology, int32_t axis);
void nmi_graph_sizes_at(const nmi_topology *topology, double gamma, int64_t *sizes);
/* max * (1 - gamma), rounded, clamped into the axis and onto its steps. */
int64_t nmi_axis_size_at(const nmi_axis *axis, double gamma);
bool nmi_axis_has(const nmi_axis *axis, int64_t size);
typedef struct nmi_costs {
    int64_t parameters, values; /* trainable ones, and those of all tensors */
    int64_t multiply_adds;      /* of convolutions and linear nodes, for one item */
} nmi_costs;
/* With output channels counted in whole multiples of `vector` where work is concerned; 1: as they
 * are. */
neumeta_status nmi_graph_costs(const nmi_topology *topology, const int64_t *sizes, int64_t vector,
                               nmi_costs *out);
/* As neumeta_topology_cost() tells it. */
neumeta_status nmi_graph_cost(const nmi_topology *topology, const int64_t *sizes,
                              int64_t *parameters, int64_t *flops);
/* -1 counts from the end; NEUMETA_ERR_ARGUMENT names the number and the range. */
neumeta_status nmi_graph_block_number(const nmi_topology *topology, int64_t number, int32_t *out);
/* Whether `block` goes on with the stage of block `before`: its output has the same shape, and it
 * has no more weights (a stage's first block may have those of its shortcut as well). */
bool nmi_graph_same_stage(const nmi_topology *topology, const nmi_shape *shapes, int32_t before,
                          int32_t block);

/* --- ties (nmi_ties.c) --------------------------------------------------------------------- */

/*
 * Which channels share one index, at full sizes. Channel c of node n belongs to class
 * class_of[offset[n] + c]; two channels with equal class must move together in every permutation.
 * CONV and LINEAR make new classes, ADD unites its inputs, SHORTCUT unites what it passes
 * on (its zero channels are new classes), CONCAT and FLATTEN copy (a flattened channel occurs once
 * for each of its pixels, in pixel order). Classes of the input and of the output are fixed.
 */
typedef struct nmi_ties {
    int64_t class_count;
    int64_t *offset;   /* [node_count + 1] */
    int64_t *class_of; /* [offset[node_count]] */
    bool *fixed;       /* [class_count] */
} nmi_ties;

neumeta_status nmi_ties_create(const nmi_topology *topology, nmi_ties *out);
/* The same at other sizes (checked), where nodes that are not live have no channels. */
neumeta_status nmi_ties_create_at(const nmi_topology *topology, const int64_t *sizes,
                                  nmi_ties *out);
void nmi_ties_free(nmi_context *context, nmi_ties *ties);

#endif
