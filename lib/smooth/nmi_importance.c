/* SPDX-License-Identifier: MIT */
/* One walk over convolutions and linear layers, which make some channels and read others. */
#include "nmi_importance.h"

#include <math.h>
#include <stdlib.h>

/* What stands behind a layer: a norm, an affine map, or nothing (all NULL). */
typedef struct follower {
    const float *scale, *shift, *variance;
    double epsilon;
    bool rectified; /* a ReLU comes next */
} follower;

static const float *data_of(const nmi_network *network, int32_t node, nmi_role role)
{
    const int32_t tensor = nmi_graph_node_tensor(network->topology, node, role);
    return tensor >= 0 ? network->tensors[tensor].data : NULL;
}

/* The first node of an operator that reads another, or -1. */
static int32_t find_reader(const nmi_topology *topology, int32_t node, int32_t op)
{
    for (int32_t n = node + 1; n < topology->node_count; n++)
        if (topology->nodes[n].op == op && topology->nodes[n].inputs[0] == node)
            return n;
    return -1;
}

static follower find_follower(const nmi_network *network, int32_t layer)
{
    const nmi_topology *topology = network->topology;
    const int32_t norm = find_reader(topology, layer, NEUMETA_OP_NORM);
    const int32_t affine = find_reader(topology, layer, NEUMETA_OP_AFFINE);
    if (norm >= 0) {
        const int32_t next = find_reader(topology, norm, NEUMETA_OP_ACTIVATION);
        return (follower){.scale = data_of(network, norm, NMI_ROLE_NORM_WEIGHT),
                          .shift = data_of(network, norm, NMI_ROLE_NORM_BIAS),
                          .variance = data_of(network, norm, NMI_ROLE_RUNNING_VAR),
                          .epsilon = topology->nodes[norm].epsilon,
                          .rectified = next >= 0 && topology->nodes[next].function == 0};
    }
    if (affine >= 0)
        return (follower){.scale = data_of(network, affine, NMI_ROLE_AFFINE_WEIGHT),
                          .shift = data_of(network, affine, NMI_ROLE_AFFINE_BIAS)};
    return (follower){0};
}

static double square(float value)
{
    return (double)value * (double)value;
}

/* By which squared factor the follower multiplies output o of the layer. */
static double squared_gain(const follower *f, int64_t o)
{
    if (f->scale == NULL)
        return 1;
    return square(f->scale[o]) / (f->variance != NULL ? (double)f->variance[o] + f->epsilon : 1);
}

/* Mean square of max(0, v), v normal. */
static double rectified_square(double mean, double deviation)
{
    if (deviation <= 0)
        return mean > 0 ? mean * mean : 0;
    const double z = mean / deviation, root = sqrt(0.5);
    const double density = exp(-0.5 * z * z) * 0.39894228040143268;
    return (mean * mean + deviation * deviation) * 0.5 * erfc(-z * root) +
           mean * deviation * density;
}

/* Squared size of output o behind the follower, given that of the layer's filter and bias. */
static double squared_output(const follower *f, int64_t o, double own)
{
    if (f->scale == NULL)
        return own;
    if (f->variance == NULL)
        return square(f->shift[o]) + own * square(f->scale[o]);
    if (f->rectified)
        return rectified_square((double)f->shift[o], fabs((double)f->scale[o]));
    return square(f->shift[o]) + square(f->scale[o]);
}

static void add_layer(const nmi_network *network, const nmi_ties *ties, int32_t layer, double *made,
                      double *read)
{
    const nmi_topology *topology = network->topology;
    const int32_t weight = nmi_graph_node_tensor(topology, layer, NMI_ROLE_WEIGHT);
    const float *bias = data_of(network, layer, NMI_ROLE_BIAS);
    const nmi_tensor *tensor = &network->tensors[weight];
    const int64_t *outputs = ties->class_of + ties->offset[layer];
    const int64_t *inputs = ties->class_of + ties->offset[topology->nodes[layer].inputs[0]];
    const int64_t taps = tensor->dims[2] * tensor->dims[3];
    const follower behind = find_follower(network, layer);
    const float *value = tensor->data;
    for (int64_t o = 0; o < tensor->dims[0]; o++) {
        const double gain = squared_gain(&behind, o);
        double own = bias != NULL ? square(bias[o]) : 0;
        for (int64_t i = 0; i < tensor->dims[1]; i++) {
            double sum = 0;
            for (int64_t k = 0; k < taps; k++)
                sum += square(*value++);
            own += sum;
            read[inputs[i]] += gain * sum;
        }
        made[outputs[o]] += squared_output(&behind, o, own);
    }
}

neumeta_status nmi_importance_of(const nmi_network *network, const nmi_cliques *cliques,
                                 double **out)
{
    const nmi_topology *topology = network->topology;
    nmi_context *context = network->object.context;
    const int64_t classes = cliques->ties.class_count;
    double *read = nmi_alloc_zero_array(context, classes, sizeof *read);
    double *made = nmi_alloc_zero_array(context, classes, sizeof *made);
    *out = made;
    for (int32_t n = 0; read != NULL && made != NULL && n < topology->node_count; n++)
        if ((topology->nodes[n].op == NEUMETA_OP_CONV ||
             topology->nodes[n].op == NEUMETA_OP_LINEAR) &&
            network->shapes[n].channels > 0)
            add_layer(network, &cliques->ties, n, made, read);
    for (int64_t c = 0; read != NULL && made != NULL && c < classes; c++)
        made[c] *= read[c];
    const neumeta_status status = read != NULL && made != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    nmi_free(context, read);
    return status;
}

typedef struct ranked {
    double importance;
    int64_t class;
    int64_t slot;
} ranked;

static int falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->importance != y->importance)
        return x->importance < y->importance ? 1 : -1;
    return x->slot > y->slot ? 1 : -1;
}

neumeta_status nmi_importance_sort(const nmi_network *network, nmi_cliques *cliques)
{
    nmi_context *context = network->object.context;
    double *importance = NULL;
    ranked *order = nmi_alloc_array(context, cliques->ties.class_count, sizeof *order);
    neumeta_status status = order != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = nmi_importance_of(network, cliques, &importance);
    for (int32_t g = 0; g < cliques->group_count && status == NEUMETA_OK; g++) {
        const int64_t *members = cliques->members + cliques->member_start[g];
        const int64_t count = cliques->member_start[g + 1] - cliques->member_start[g];
        for (int64_t k = 0; k < count; k++)
            order[k] = (ranked){importance[members[k]], members[k], k};
        qsort(order, (size_t)count, sizeof *order, falling);
        for (int64_t k = 0; k < count; k++)
            cliques->content[members[k]] = order[k].class;
    }
    nmi_free(context, importance);
    nmi_free(context, order);
    return status;
}
