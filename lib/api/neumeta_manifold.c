/* SPDX-License-Identifier: MIT */
/* Public calls of manifolds: arguments are checked here, the work is done in the inr unit. */
#include "nmi_api.h"
#include "nmi_manifold.h"
#include "nmi_trained_range.h"

neumeta_status neumeta_manifold_create(const neumeta_topology *topology,
                                       const neumeta_options *options, neumeta_manifold **manifold)
{
    NMI_API_CLEAR(manifold);
    nmi_context *ctx = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, manifold)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK)
        status = nmi_api_sealed(ctx, topology);
    if (status == NEUMETA_OK) /* which counts its references, and stays as it is otherwise */
        status = nmi_manifold_create(ctx, (nmi_topology *)topology, options, manifold);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_load(neumeta_context *context, const char *path,
                                     neumeta_manifold **manifold)
{
    NMI_API_CLEAR(manifold);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, path)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, manifold)) == NEUMETA_OK)
        status = nmi_manifold_load(context, path, manifold);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_manifold_load_memory(neumeta_context *context, const void *data,
                                            int64_t size, neumeta_manifold **manifold)
{
    NMI_API_CLEAR(manifold);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, data)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, manifold)) == NEUMETA_OK && size < 0)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT, "size is %lld, must not be negative",
                          (long long)size);
    if (status == NEUMETA_OK)
        status = nmi_manifold_load_memory(context, data, size, manifold);
    return nmi_api_end(context, status);
}

void neumeta_manifold_free(neumeta_manifold *manifold)
{
    nmi_manifold_release(manifold);
}

neumeta_status neumeta_manifold_save_as(const neumeta_manifold *manifold, const char *path,
                                        const neumeta_options *options)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, path)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK)
        status = nmi_manifold_save(manifold, path, options);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_save(const neumeta_manifold *manifold, const char *path)
{
    return neumeta_manifold_save_as(manifold, path, NULL);
}

typedef struct receiver {
    nmi_context *context;
    neumeta_write_fn write;
    void *user;
} receiver;

static neumeta_status pass_on(void *user, const void *data, size_t size)
{
    const receiver *to = user;
    const int32_t result = to->write(to->user, data, (int64_t)size);
    if (result == 0)
        return NEUMETA_OK;
    return nmi_fail(to->context, NEUMETA_ERR_CALLBACK,
                    "the write callback failed with %d on %lld bytes", (int)result,
                    (long long)size);
}

neumeta_status neumeta_manifold_write(const neumeta_manifold *manifold, neumeta_write_fn write,
                                      void *user)
{
    nmi_context *ctx = nmi_api_context(manifold);
    receiver to = {ctx, write, user};
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_manifold *held = (nmi_manifold *)(uintptr_t)manifold;
    nmi_manifold_retain(held); /* a callback may free it */
    status = write == NULL ? nmi_fail(ctx, NEUMETA_ERR_ARGUMENT, "write is NULL")
                           : nmi_manifold_write(manifold, pass_on, &to);
    status = nmi_api_end(ctx, status);
    nmi_manifold_release(held);
    return status;
}

neumeta_status neumeta_manifold_topology(const neumeta_manifold *manifold,
                                         neumeta_topology **topology)
{
    NMI_API_CLEAR(topology);
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, topology)) == NEUMETA_OK) {
        nmi_topology_retain(manifold->topology);
        *topology = manifold->topology;
    }
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_parameters(const neumeta_manifold *manifold, int64_t *parameters)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, parameters)) == NEUMETA_OK)
        *parameters = nmi_manifold_parameter_count(manifold);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_sizes_at(const neumeta_manifold *manifold, double gamma,
                                         int64_t *sizes, int32_t count)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_api_gamma(manifold->topology, gamma, sizes, count);
    if (status == NEUMETA_OK)
        nmi_manifold_sizes_at(manifold, gamma, sizes);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_trained_sizes(const neumeta_manifold *manifold, int64_t *least,
                                              int32_t count)
{
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, least)) == NEUMETA_OK)
        status = nmi_api_axes(manifold->topology, count);
    if (status == NEUMETA_OK && !manifold->trained.known)
        status = nmi_fail(ctx, NEUMETA_ERR_STATE,
                          "it is not known which sizes the manifold was trained for: it was not "
                          "trained, or by a library before 0.4");
    if (status == NEUMETA_OK)
        nmi_trained_least(manifold, least);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_manifold_materialize(neumeta_manifold *manifold, const int64_t *sizes,
                                            int32_t count, const neumeta_options *options,
                                            neumeta_network **network)
{
    NMI_API_CLEAR(network);
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, sizes)) == NEUMETA_OK &&
        (status = NMI_API_NEED(ctx, network)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK &&
        (status = nmi_graph_check_sizes(manifold->topology, sizes, count)) == NEUMETA_OK)
        status = nmi_manifold_materialize(manifold, sizes, options, network);
    return nmi_api_end(ctx, status);
}
