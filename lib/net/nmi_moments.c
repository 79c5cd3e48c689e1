/* SPDX-License-Identifier: MIT */
/* Running statistics of a network out of data; see nmi_moments.h. */
#include "nmi_moments.h"

#include <math.h>
#include <string.h>

struct nmi_moments {
    nmi_context *context;   /* retained */
    nmi_topology *topology; /* retained */
    bool *norms;            /* [node_count] */
    int64_t items, batches, item_floats;
    float *inputs; /* [items], in the order of the minibatches */
    double *sums;  /* [sum_count]: for each norm, at sum_offset, [2][channels at full sizes] */
    int64_t *sum_offset; /* [node_count] */
    int64_t sum_count;
};

void nmi_moments_free(nmi_moments *moments)
{
    if (moments == NULL)
        return;
    nmi_context *context = moments->context;
    nmi_free(context, moments->norms);
    nmi_free(context, moments->inputs);
    nmi_free(context, moments->sums);
    nmi_free(context, moments->sum_offset);
    nmi_topology_release(moments->topology);
    nmi_free(context, moments);
    nmi_context_release(context);
}

/* Room for the sums of each norm at full sizes. */
static neumeta_status place_sums(nmi_moments *moments)
{
    const nmi_topology *topology = moments->topology;
    nmi_shape *shapes;
    const neumeta_status status = nmi_graph_full_shapes(topology, &shapes);
    for (int32_t n = 0; n < topology->node_count && status == NEUMETA_OK; n++) {
        moments->norms[n] = topology->nodes[n].op == NEUMETA_OP_NORM;
        moments->sum_offset[n] = moments->sum_count;
        moments->sum_count += moments->norms[n] ? 2 * shapes[n].channels : 0;
    }
    nmi_free(moments->context, shapes);
    return status;
}

static int64_t first_item(const nmi_moments *moments, int64_t batch)
{
    return batch * moments->items / moments->batches;
}

/* Minibatch b gets every batches-th of the chosen items, so that each looks like the whole split
 * even if the items are sorted. */
static neumeta_status fetch_items(nmi_moments *moments, nmi_dataset *dataset)
{
    nmi_context *context = moments->context;
    const int64_t train = nmi_dataset_count(dataset, NEUMETA_SPLIT_TRAIN);
    const int64_t apart = train / moments->items, rest = train % moments->items;
    int64_t *indices = nmi_alloc_array(context, moments->items, sizeof *indices);
    if (indices == NULL)
        return NEUMETA_ERR_MEMORY;
    int64_t place = 0;
    for (int64_t b = 0; b < moments->batches; b++)
        for (int64_t i = b; i < moments->items; i += moments->batches)
            indices[place++] = i * apart + i * rest / moments->items;
    const neumeta_status status = nmi_dataset_fetch(
        dataset, NEUMETA_SPLIT_TRAIN, indices, moments->items, 0, false, moments->inputs, NULL);
    nmi_free(context, indices);
    return status;
}

neumeta_status nmi_moments_create(nmi_topology *topology, nmi_dataset *dataset, int64_t items,
                                  int64_t batch, nmi_moments **out)
{
    nmi_context *context = topology->object.context;
    const int64_t train = nmi_dataset_count(dataset, NEUMETA_SPLIT_TRAIN);
    *out = NULL;
    neumeta_status status = nmi_dataset_check_training(dataset, topology);
    if (status != NEUMETA_OK)
        return status;
    nmi_moments *moments = nmi_alloc_zero(context, sizeof *moments);
    if (moments == NULL)
        return NEUMETA_ERR_MEMORY;
    moments->context = nmi_context_retain(context);
    nmi_topology_retain(topology);
    moments->topology = topology;
    moments->items = items < train ? items : train;
    moments->batches = (moments->items + batch - 1) / batch;
    moments->item_floats = nmi_dataset_item_floats(dataset);
    moments->norms = nmi_alloc_zero_array(context, topology->node_count, sizeof(bool));
    moments->sum_offset = nmi_alloc_zero_array(context, topology->node_count, sizeof(int64_t));
    moments->inputs =
        nmi_alloc_matrix(context, moments->items, moments->item_floats, sizeof(float));
    status = NEUMETA_ERR_MEMORY;
    if (moments->norms != NULL && moments->sum_offset != NULL && moments->inputs != NULL)
        status = place_sums(moments);
    if (status == NEUMETA_OK) {
        moments->sums = nmi_alloc_array(context, moments->sum_count, sizeof(double));
        status = moments->sums != NULL ? fetch_items(moments, dataset) : NEUMETA_ERR_MEMORY;
    }
    if (status == NEUMETA_OK)
        *out = moments;
    else
        nmi_moments_free(moments);
    return status;
}

/* Adds the last forward's sums of every live norm. */
static void add_sums(nmi_moments *moments, const nmi_pass *pass, const nmi_network *network)
{
    for (int32_t n = 0; n < moments->topology->node_count; n++) {
        const int64_t count = 2 * network->shapes[n].channels;
        if (!moments->norms[n] || count == 0)
            continue;
        const double *sums = nmi_pass_norm_sums(pass, n);
        for (int64_t i = 0; i < count; i++)
            moments->sums[moments->sum_offset[n] + i] += sums[i];
    }
}

static neumeta_status set_statistics(const nmi_moments *moments, nmi_network *network, int32_t node)
{
    const nmi_topology *topology = moments->topology;
    const nmi_shape *shape = &network->shapes[node];
    float *mean =
        network->tensors[nmi_graph_node_tensor(topology, node, NMI_ROLE_RUNNING_MEAN)].data;
    float *variance =
        network->tensors[nmi_graph_node_tensor(topology, node, NMI_ROLE_RUNNING_VAR)].data;
    const double *sums = moments->sums + moments->sum_offset[node];
    const double count = (double)(moments->items * shape->height * shape->width);
    for (int64_t c = 0; c < shape->channels; c++) {
        const double m = sums[c] / count;
        const double spread = fmax(sums[shape->channels + c] / count - m * m, 0);
        mean[c] = (float)m;
        variance[c] = (float)(count > 1 ? spread * count / (count - 1) : spread);
        if (!isfinite(mean[c]) || !isfinite(variance[c]))
            return nmi_fail(moments->context, NEUMETA_ERR_NUMERIC,
                            "the input of norm '%s', channel %lld, is not finite",
                            topology->nodes[node].name, (long long)c);
    }
    return NEUMETA_OK;
}

neumeta_status nmi_moments_measure(nmi_moments *moments, nmi_pass *pass, nmi_network *network)
{
    neumeta_status status = NEUMETA_OK;
    memset(moments->sums, 0, (size_t)moments->sum_count * sizeof *moments->sums);
    for (int64_t b = 0; b < moments->batches; b++) {
        const int64_t first = first_item(moments, b);
        nmi_pass_forward(pass, network, moments->inputs + first * moments->item_floats,
                         first_item(moments, b + 1) - first, moments->norms);
        add_sums(moments, pass, network);
    }
    for (int32_t n = 0; n < moments->topology->node_count && status == NEUMETA_OK; n++)
        if (moments->norms[n] && network->shapes[n].channels > 0)
            status = set_statistics(moments, network, n);
    nmi_network_touch(network);
    return status;
}
