/* SPDX-License-Identifier: MIT */
/* Loss and accuracy of a network over a split of a dataset. */
#include "nmi_dataset.h"
#include "nmi_loss.h"
#include "nmi_network.h"

#include <inttypes.h>

enum { EVALUATE_BATCH = 200 };

typedef struct batch_buffers {
    float *inputs, *outputs;
    int64_t *indices, *targets, *classes;
    double *losses;
} batch_buffers;

static neumeta_status take_buffers(nmi_context *context, const nmi_network *network,
                                   batch_buffers *out)
{
    out->inputs =
        nmi_alloc_matrix(context, EVALUATE_BATCH, nmi_network_input_floats(network), sizeof(float));
    out->outputs = nmi_alloc_matrix(context, EVALUATE_BATCH, nmi_network_output_floats(network),
                                    sizeof(float));
    out->indices = nmi_alloc_array(context, EVALUATE_BATCH, sizeof *out->indices);
    out->targets = nmi_alloc_array(context, EVALUATE_BATCH, sizeof *out->targets);
    out->classes = nmi_alloc_array(context, EVALUATE_BATCH, sizeof *out->classes);
    out->losses = nmi_alloc_array(context, EVALUATE_BATCH, sizeof *out->losses);
    return out->inputs != NULL && out->outputs != NULL && out->indices != NULL &&
                   out->targets != NULL && out->classes != NULL && out->losses != NULL
               ? NEUMETA_OK
               : NEUMETA_ERR_MEMORY;
}

static void give_buffers(nmi_context *context, const batch_buffers *buffers)
{
    nmi_free(context, buffers->inputs);
    nmi_free(context, buffers->outputs);
    nmi_free(context, buffers->indices);
    nmi_free(context, buffers->targets);
    nmi_free(context, buffers->classes);
    nmi_free(context, buffers->losses);
}

static neumeta_status check_shapes(const nmi_network *network, const nmi_dataset *dataset,
                                   int32_t split)
{
    nmi_context *context = network->object.context;
    const nmi_shape *input = &network->shapes[0];
    const nmi_shape *output = &network->shapes[network->topology->output];
    int64_t shape[3];
    nmi_dataset_shape(dataset, shape);
    if (shape[0] != input->channels || shape[1] != input->height || shape[2] != input->width)
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "evaluate: items of the dataset are [%" PRId64 ", %" PRId64 ", %" PRId64
                        "], the network takes [%" PRId64 ", %" PRId64 ", %" PRId64 "]",
                        shape[0], shape[1], shape[2], input->channels, input->height, input->width);
    if (output->height != 1 || output->width != 1)
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "evaluate: the network's output is %" PRId64 " x %" PRId64
                        " pixels, must be one value a class",
                        output->height, output->width);
    if (nmi_dataset_count(dataset, split) == 0)
        return nmi_fail(context, NEUMETA_ERR_STATE, "evaluate: the split has no items");
    return NEUMETA_OK;
}

/* Adds loss and right answers of `count` items from item `first` on. */
static neumeta_status evaluate_batch(nmi_network *network, nmi_dataset *dataset, int32_t split,
                                     int64_t first, int64_t count, const batch_buffers *buffers,
                                     double *loss, int64_t *right)
{
    int64_t classes = nmi_network_output_floats(network);
    for (int64_t i = 0; i < count; i++)
        buffers->indices[i] = first + i;
    neumeta_status status = nmi_dataset_fetch(dataset, split, buffers->indices, count, 0, false,
                                              buffers->inputs, buffers->targets);
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++)
        if (buffers->targets[i] >= classes)
            status = nmi_fail(network->object.context, NEUMETA_ERR_CALLBACK,
                              "evaluate: item %" PRId64 " has the target %" PRId64
                              ", the network tells %" PRId64 " classes apart",
                              first + i, buffers->targets[i], classes);
    if (status == NEUMETA_OK)
        status = nmi_network_run(network, buffers->inputs, count, buffers->outputs);
    if (status != NEUMETA_OK)
        return status;
    nmi_cross_entropy(count, classes, buffers->outputs, buffers->targets, 0.0f, 1.0f, false,
                      buffers->losses, NULL);
    nmi_argmax(count, classes, buffers->outputs, buffers->classes);
    for (int64_t i = 0; i < count; i++) {
        *loss += buffers->losses[i];
        *right += buffers->classes[i] == buffers->targets[i];
    }
    return NEUMETA_OK;
}

neumeta_status nmi_network_evaluate_some(nmi_network *network, nmi_dataset *dataset, int32_t split,
                                         int64_t items, double *loss, double *score)
{
    nmi_context *context = network->object.context;
    batch_buffers buffers = {0};
    double sum = 0.0;
    int64_t right = 0;
    neumeta_status status = check_shapes(network, dataset, split);
    if (status == NEUMETA_OK)
        status = take_buffers(context, network, &buffers);
    for (int64_t first = 0; first < items && status == NEUMETA_OK; first += EVALUATE_BATCH) {
        int64_t count = items - first < EVALUATE_BATCH ? items - first : EVALUATE_BATCH;
        status = evaluate_batch(network, dataset, split, first, count, &buffers, &sum, &right);
    }
    give_buffers(context, &buffers);
    if (status == NEUMETA_OK && loss != NULL)
        *loss = sum / (double)items;
    if (status == NEUMETA_OK && score != NULL)
        *score = (double)right / (double)items;
    return status;
}

neumeta_status nmi_network_evaluate(nmi_network *network, nmi_dataset *dataset, int32_t split,
                                    double *loss, double *score)
{
    return nmi_network_evaluate_some(network, dataset, split, nmi_dataset_count(dataset, split),
                                     loss, score);
}
