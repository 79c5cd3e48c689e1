/* SPDX-License-Identifier: MIT */
/* Takes each channel of a narrow network from the wide one's channel at the same relative place. */
#include "nmi_resample.h"

static int64_t nearest(int64_t index, int64_t count, int64_t wide)
{
    int64_t at = (2 * index * wide + count) / (2 * count);
    return at < wide ? at : wide - 1;
}

/* Inputs of a tensor that belong to one channel: the pixels of a flattened image, else 1. */
static int64_t inputs_of_channel(const nmi_network *network, int32_t node)
{
    const nmi_topology *topology = network->topology;
    int32_t input = nmi_graph_source(topology, network->sizes, topology->nodes[node].inputs[0]);
    if (topology->nodes[input].op != NEUMETA_OP_FLATTEN)
        return 1;
    int32_t image = nmi_graph_source(topology, network->sizes, topology->nodes[input].inputs[0]);
    return network->shapes[image].height * network->shapes[image].width;
}

void nmi_resample_tensor(const nmi_network *wide_network, nmi_network *network, int32_t tensor)
{
    const nmi_tensor *wide = &wide_network->tensors[tensor];
    const nmi_tensor *narrow = &network->tensors[tensor];
    int32_t node = network->topology->tensors[tensor].node;
    int64_t pixels = narrow->rank == 2 ? inputs_of_channel(network, node) : 1;
    int64_t taps = narrow->dims[2] * narrow->dims[3];
    int64_t inputs = narrow->rank > 1 ? narrow->dims[1] : 1;
    int64_t wide_inputs = narrow->rank > 1 ? wide->dims[1] : 1;
    float gain = (float)wide_inputs / (float)inputs;
    for (int64_t o = 0; o < narrow->dims[0]; o++) {
        int64_t from_o = nearest(o, narrow->dims[0], wide->dims[0]);
        for (int64_t i = 0; i < inputs; i++) {
            int64_t channel = nearest(i / pixels, inputs / pixels, wide_inputs / pixels);
            const float *from =
                wide->data + (from_o * wide_inputs + channel * pixels + i % pixels) * taps;
            float *to = narrow->data + (o * inputs + i) * taps;
            for (int64_t k = 0; k < taps; k++)
                to[k] = gain * from[k];
        }
    }
}
