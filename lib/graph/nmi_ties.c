/* SPDX-License-Identifier: MIT */
/* Ties: which channels of which nodes share one index, found by uniting channels along the graph.
 * Cost: nearly linear in the number of channels of all nodes. */
#include "nmi_build.h"

#include <string.h>

/* Union-find over all channels of all nodes; the root of a class is its first channel. */
static int64_t find(int64_t *parent, int64_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static void unite(int64_t *parent, int64_t a, int64_t b)
{
    a = find(parent, a);
    b = find(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

/* Ties channels 0..count-1 of two nodes, from the given channels on. */
static void unite_run(int64_t *parent, int64_t a, int64_t b, int64_t count)
{
    for (int64_t c = 0; c < count; c++)
        unite(parent, a + c, b + c);
}

static void unite_shortcut(int64_t *parent, int64_t out, int64_t out_channels, int64_t in,
                           int64_t in_channels)
{
    const int64_t offset = nmi_shortcut_offset(out_channels, in_channels);
    if (out_channels >= in_channels)
        unite_run(parent, out + offset, in, in_channels);
    else
        unite_run(parent, out, in - offset, out_channels);
}

static void unite_node(const nmi_topology *topology, const int64_t *offset, const nmi_shape *shapes,
                       int32_t n, int64_t *parent)
{
    const nmi_node *node = &topology->nodes[n];
    if (node->op == NEUMETA_OP_INPUT || node->op == NEUMETA_OP_CONV ||
        node->op == NEUMETA_OP_LINEAR || shapes[n].channels == 0)
        return;
    int64_t first = offset[n];
    int64_t channels = shapes[n].channels;
    int64_t in = offset[node->inputs[0]];
    const nmi_shape *shape = &shapes[node->inputs[0]];
    if (node->op == NEUMETA_OP_FLATTEN) {
        int64_t pixels = shape->height * shape->width;
        for (int64_t c = 0; c < channels; c++)
            unite(parent, first + c, in + c / pixels);
    } else if (node->op == NEUMETA_OP_SHORTCUT) {
        unite_shortcut(parent, first, channels, in, shape->channels);
    } else if (node->op == NEUMETA_OP_CONCAT) {
        for (int32_t i = 0; i < node->input_count; i++) {
            int64_t part = shapes[node->inputs[i]].channels;
            unite_run(parent, first, offset[node->inputs[i]], part);
            first += part;
        }
    } else {
        /* Inputs of a SELECT that are not live have no channels. */
        for (int32_t i = 0; i < node->input_count; i++)
            if (shapes[node->inputs[i]].channels > 0)
                unite_run(parent, first, offset[node->inputs[i]], channels);
    }
}

/* Numbers the classes in order of their first channels and marks those of input and output. In
 * place: roots come before their members, so a root's number stands before it is looked up. */
static neumeta_status number_classes(const nmi_topology *topology, nmi_ties *ties)
{
    int64_t total = ties->offset[topology->node_count];
    int64_t *class_of = ties->class_of;
    for (int64_t i = 0; i < total; i++)
        class_of[i] = find(class_of, i);
    for (int64_t i = 0; i < total; i++)
        class_of[i] = class_of[i] == i ? ties->class_count++ : class_of[class_of[i]];

    ties->fixed =
        nmi_alloc_zero_array(topology->object.context, ties->class_count, sizeof *ties->fixed);
    if (ties->fixed == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t n = 0; n < topology->node_count; n++)
        if (topology->nodes[n].op == NEUMETA_OP_INPUT || n == topology->output)
            for (int64_t i = ties->offset[n]; i < ties->offset[n + 1]; i++)
                ties->fixed[class_of[i]] = true;
    return NEUMETA_OK;
}

static neumeta_status fill(const nmi_topology *topology, const nmi_shape *shapes, nmi_ties *ties)
{
    nmi_context *context = topology->object.context;
    ties->offset =
        nmi_alloc_array(context, (int64_t)topology->node_count + 1, sizeof *ties->offset);
    if (ties->offset == NULL)
        return NEUMETA_ERR_MEMORY;
    ties->offset[0] = 0;
    for (int32_t n = 0; n < topology->node_count; n++)
        ties->offset[n + 1] = ties->offset[n] + shapes[n].channels;
    int64_t total = ties->offset[topology->node_count];
    ties->class_of = nmi_alloc_array(context, total, sizeof *ties->class_of);
    if (ties->class_of == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int64_t i = 0; i < total; i++)
        ties->class_of[i] = i;
    for (int32_t n = 0; n < topology->node_count; n++)
        unite_node(topology, ties->offset, shapes, n, ties->class_of);
    return number_classes(topology, ties);
}

neumeta_status nmi_ties_create_at(const nmi_topology *topology, const int64_t *sizes, nmi_ties *out)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = NEUMETA_ERR_MEMORY;
    memset(out, 0, sizeof *out);
    nmi_shape *shapes = nmi_alloc_array(context, topology->node_count, sizeof *shapes);
    if (shapes != NULL)
        status = nmi_graph_shapes(topology, sizes, shapes);
    if (status == NEUMETA_OK)
        status = fill(topology, shapes, out);
    nmi_free(context, shapes);
    if (status != NEUMETA_OK)
        nmi_ties_free(context, out);
    return status;
}

neumeta_status nmi_ties_create(const nmi_topology *topology, nmi_ties *out)
{
    nmi_context *context = topology->object.context;
    memset(out, 0, sizeof *out);
    int64_t *sizes = nmi_alloc_array(context, topology->axis_count, sizeof *sizes);
    if (sizes == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_graph_full_sizes(topology, sizes);
    neumeta_status status = nmi_ties_create_at(topology, sizes, out);
    nmi_free(context, sizes);
    return status;
}

void nmi_ties_free(nmi_context *context, nmi_ties *ties)
{
    nmi_free(context, ties->offset);
    nmi_free(context, ties->class_of);
    nmi_free(context, ties->fixed);
    memset(ties, 0, sizeof *ties);
}
