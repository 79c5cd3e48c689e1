/* SPDX-License-Identifier: MIT */
/* Public calls on networks, except the passes that rewrite them. */
#include "nmi_api.h"
#include "nmi_dataset.h"
#include "nmi_fingerprint.h"
#include "nmi_network_file.h"
#include "nmi_random.h"

#include <inttypes.h>

static neumeta_status create_network(nmi_context *context, nmi_topology *topology,
                                     const int64_t *sizes, int32_t count, nmi_network **out)
{
    int64_t *full = NULL;
    neumeta_status status = nmi_api_sealed(context, topology);
    if (status != NEUMETA_OK)
        return status;
    if (sizes == NULL) {
        full = nmi_alloc_array(context, topology->axis_count, sizeof *full);
        if (full == NULL)
            return NEUMETA_ERR_MEMORY;
        nmi_graph_full_sizes(topology, full);
    } else {
        status = nmi_graph_check_sizes(topology, sizes, count);
    }
    if (status == NEUMETA_OK)
        status = nmi_network_create(context, topology, sizes != NULL ? sizes : full, out);
    if (status == NEUMETA_OK)
        nmi_network_initialize(*out, nmi_random_key(context->seed, NMI_RANDOM_WEIGHTS, 0));
    nmi_free(context, full);
    return status;
}

neumeta_status neumeta_network_create(const neumeta_topology *topology, const int64_t *sizes,
                                      int32_t count, neumeta_network **network)
{
    NMI_API_CLEAR(network);
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, network)) == NEUMETA_OK)
        status =
            create_network(context, (nmi_topology *)(uintptr_t)topology, sizes, count, network);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_load(const neumeta_topology *topology, const char *path,
                                    const neumeta_options *options, neumeta_network **network)
{
    NMI_API_CLEAR(network);
    nmi_safetensors *file = NULL;
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, path)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, network)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK &&
        (status = nmi_api_sealed(context, topology)) == NEUMETA_OK &&
        (status = nmi_safetensors_open(context, path, &file)) == NEUMETA_OK)
        status = nmi_network_read((nmi_topology *)(uintptr_t)topology, file, options, network);
    nmi_safetensors_free(file);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_load_memory(const neumeta_topology *topology, const void *data,
                                           int64_t size, const neumeta_options *options,
                                           neumeta_network **network)
{
    NMI_API_CLEAR(network);
    nmi_safetensors *file = NULL;
    nmi_context *context = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (size < 0)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "size is %" PRId64 ", must not be negative", size);
    else if ((status = NMI_API_NEED(context, data)) == NEUMETA_OK &&
             (status = NMI_API_NEED(context, network)) == NEUMETA_OK &&
             (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK &&
             (status = nmi_api_sealed(context, topology)) == NEUMETA_OK &&
             (status = nmi_safetensors_parse(context, "", data, size, &file)) == NEUMETA_OK)
        status = nmi_network_read((nmi_topology *)(uintptr_t)topology, file, options, network);
    nmi_safetensors_free(file);
    return nmi_api_end(context, status);
}

void neumeta_network_free(neumeta_network *network)
{
    nmi_network_release(network);
}

neumeta_status neumeta_network_topology(const neumeta_network *network, neumeta_topology **topology)
{
    NMI_API_CLEAR(topology);
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, topology)) == NEUMETA_OK) {
        nmi_topology_retain(network->topology);
        *topology = network->topology;
    }
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_sizes(const neumeta_network *network, int64_t *sizes, int32_t count)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (count != network->topology->axis_count)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "count is %" PRId32 ", the network has %" PRId32 " axes", count,
                          network->topology->axis_count);
    else if ((status = NMI_API_NEED(context, sizes)) == NEUMETA_OK)
        for (int32_t axis = 0; axis < count; axis++)
            sizes[axis] = network->sizes[axis];
    return nmi_api_end(context, status);
}

/* --- inference ------------------------------------------------------------------------------- */

static neumeta_status check_batch(nmi_context *context, int64_t batch)
{
    /* Bounds every product with the floats of a node. */
    const int64_t most = INT64_C(1) << 24;
    if (batch < 1 || batch > most)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "batch is %" PRId64 ", must lie in [1, %" PRId64 "]", batch, most);
    return NEUMETA_OK;
}

neumeta_status neumeta_network_run(neumeta_network *network, const float *inputs, int64_t batch,
                                   float *outputs, int64_t capacity)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, inputs)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, outputs)) == NEUMETA_OK &&
        (status = check_batch(context, batch)) == NEUMETA_OK) {
        int64_t needed = batch * nmi_network_output_floats(network);
        if (capacity < needed)
            status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                              "capacity is %" PRId64 ", the outputs need %" PRId64 " floats",
                              capacity, needed);
        else
            status = nmi_network_run(network, inputs, batch, outputs);
    }
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_memory(const neumeta_network *network, int64_t batch, int64_t *bytes)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, bytes)) == NEUMETA_OK &&
        (status = check_batch(context, batch)) == NEUMETA_OK)
        status = nmi_network_memory(network, batch, bytes);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_evaluate(neumeta_network *network, neumeta_dataset *dataset,
                                        int32_t split, double *loss, double *score)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (split < NEUMETA_SPLIT_TRAIN || split > NEUMETA_SPLIT_TEST)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "split is %" PRId32 ", must be one of NEUMETA_SPLIT_*", split);
    else if ((status = NMI_API_HANDLE(context, dataset)) == NEUMETA_OK) {
        /* The callback may free either. */
        nmi_network_retain(network);
        nmi_dataset_retain(dataset);
        status = nmi_api_end(context, nmi_network_evaluate(network, dataset, split, loss, score));
        nmi_dataset_release(dataset);
        nmi_network_release(network);
        return status;
    }
    return nmi_api_end(context, status);
}

/* --- sharing and files ----------------------------------------------------------------------- */

neumeta_status neumeta_network_share(const neumeta_network *network, neumeta_context *context,
                                     neumeta_network **copy)
{
    NMI_API_CLEAR(copy);
    nmi_context *own = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(own);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(own, context)) == NEUMETA_OK &&
        (status = NMI_API_NEED(own, copy)) == NEUMETA_OK) {
        if (context == own) {
            status = nmi_network_share(network, context, copy);
        } else if (!nmi_enter(context)) {
            status = nmi_fail(own, NEUMETA_ERR_STATE, "the other context is in use");
        } else {
            nmi_context_retain(context); /* which nmi_api_end() lets go of */
            context->message[0] = '\0';
            status = nmi_network_share(network, context, copy);
            if (status != NEUMETA_OK)
                nmi_fail(own, status, "%s", context->message);
            nmi_api_end(context, status);
        }
    }
    return nmi_api_end(own, status);
}

neumeta_status neumeta_network_save_as(const neumeta_network *network, const char *path,
                                       const neumeta_options *options)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, path)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK)
        status = nmi_network_write(network, path, options);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_network_save(const neumeta_network *network, const char *path)
{
    return neumeta_network_save_as(network, path, NULL);
}

neumeta_status neumeta_network_fingerprint(const neumeta_network *network, uint8_t *fingerprint,
                                           int64_t count)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (count != NEUMETA_FINGERPRINT_BYTES)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "count is %" PRId64 ", a fingerprint has %d bytes", count,
                          NEUMETA_FINGERPRINT_BYTES);
    else if ((status = NMI_API_NEED(context, fingerprint)) == NEUMETA_OK)
        status = nmi_network_fingerprint(network, fingerprint);
    return nmi_api_end(context, status);
}

/* --- tensors: numbered over those that are live ---------------------------------------------- */

int32_t neumeta_network_tensor_count(const neumeta_network *network)
{
    int32_t count = 0;
    if (network == NULL)
        return -1;
    for (int32_t t = 0; t < network->topology->tensor_count; t++)
        count += network->tensors[t].rank > 0;
    return count;
}

static const nmi_tensor *live_tensor(const nmi_network *network, int32_t index)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++)
        if (network->tensors[t].rank > 0 && index-- == 0)
            return &network->tensors[t];
    return NULL;
}

neumeta_status neumeta_network_tensor(const neumeta_network *network, int32_t index,
                                      const char **name, int64_t *dims, int32_t *rank,
                                      const float **data)
{
    nmi_context *context = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    const nmi_tensor *tensor = index >= 0 ? live_tensor(network, index) : NULL;
    if (tensor == NULL) {
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "index is %" PRId32 ", the network has %" PRId32 " tensors", index,
                          neumeta_network_tensor_count(network));
    } else {
        if (name != NULL)
            *name = network->topology->tensors[tensor - network->tensors].name;
        for (int32_t i = 0; i < 4 && dims != NULL; i++)
            dims[i] = tensor->dims[i];
        if (rank != NULL)
            *rank = tensor->rank;
        if (data != NULL)
            *data = tensor->data;
    }
    return nmi_api_end(context, status);
}
