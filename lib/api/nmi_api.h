/* SPDX-License-Identifier: MIT */
/*
 * What every public call does before and after its work. A call reads like this:
 *
 *     neumeta_status neumeta_network_load(const neumeta_topology *topology, const char *path,
 *                                         const neumeta_options *options,
 *                                         neumeta_network **network)
 *     {
 *         NMI_API_CLEAR(network);
 *         nmi_context *ctx = nmi_api_context(topology);
 *         neumeta_status status = nmi_api_begin(ctx);
 *         if (status != NEUMETA_OK)
 *             return status;
 *         if ((status = NMI_API_NEED(ctx, path)) == NEUMETA_OK &&
 *             (status = NMI_API_NEED(ctx, network)) == NEUMETA_OK &&
 *             (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK)
 *             status = nmi_network_load(topology, path, options, network);
 *         return nmi_api_end(ctx, status);
 *     }
 *
 * Between begin and end the context belongs to the call; nothing may return in between. Calls
 * made by a callback meanwhile get NEUMETA_ERR_STATE by themselves. Not claimed: `_free` (any
 * thread, any time: release the reference and return), calls without a status that only read what
 * never changes, and neumeta_trainer_metric() and neumeta_trainer_cancel(), which callbacks may
 * use. A call with two contexts (neumeta_network_share) begins and ends both, once if they are
 * equal.
 */
#ifndef NMI_API_H
#define NMI_API_H

#include "nmi_graph.h"

/* *out = NULL, before anything can fail. */
#define NMI_API_CLEAR(out)                                                                         \
    do {                                                                                           \
        if ((out) != NULL)                                                                         \
            *(out) = NULL;                                                                         \
    } while (0)

/* A pointer that must not be NULL. */
#define NMI_API_NEED(context, argument) nmi_api_need((context), (argument), #argument)
/* A handle that must not be NULL and must come from this context. */
#define NMI_API_HANDLE(context, handle) nmi_api_handle((context), (handle), #handle)
/* The same, but NULL is fine. */
#define NMI_API_OPTIONAL(context, handle)                                                          \
    ((handle) == NULL ? NEUMETA_OK : nmi_api_handle((context), (handle), #handle))

/* The context of any handle but a context (each starts with an nmi_object); NULL for NULL. */
static inline nmi_context *nmi_api_context(const void *handle)
{
    return handle != NULL ? ((const nmi_object *)handle)->context : NULL;
}

/* Claims the context and clears its message. On failure there is nothing to end, and the message
 * is left alone, since it belongs to the call that runs. */
static inline neumeta_status nmi_api_begin(nmi_context *context)
{
    if (context == NULL)
        return NEUMETA_ERR_ARGUMENT;
    if (!nmi_enter(context))
        return NEUMETA_ERR_STATE;
    nmi_context_retain(context); /* a callback may let go of the last handle */
    context->message[0] = '\0';
    return NEUMETA_OK;
}

/* Logs a failure, gives the context back and returns `status`. What was tried on the way to a
 * success and failed is no failure of the call. */
static inline neumeta_status nmi_api_end(nmi_context *context, neumeta_status status)
{
    if (status < 0)
        nmi_log(context, NEUMETA_LOG_ERROR, "%s", context->message);
    else
        context->message[0] = '\0';
    nmi_leave(context);
    nmi_context_release(context);
    return status;
}

static inline neumeta_status nmi_api_need(nmi_context *context, const void *pointer,
                                          const char *name)
{
    if (pointer == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is NULL", name);
    return NEUMETA_OK;
}

/* Handles of two contexts may be in use by two threads, so one call never mixes them. */
static inline neumeta_status nmi_api_handle(nmi_context *context, const void *handle,
                                            const char *name)
{
    neumeta_status status = nmi_api_need(context, handle, name);
    if (status == NEUMETA_OK && nmi_api_context(handle) != context)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s belongs to another context", name);
    return status;
}

static inline neumeta_status nmi_api_sealed(nmi_context *context, const nmi_topology *topology)
{
    return topology->sealed
               ? NEUMETA_OK
               : nmi_fail(context, NEUMETA_ERR_STATE, "the topology is not sealed yet");
}

/* Whether an array of sizes has one for each axis. */
static inline neumeta_status nmi_api_axes(const nmi_topology *topology, int32_t count)
{
    if (count == topology->axis_count)
        return NEUMETA_OK;
    return nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                    "count is %d, must be %d, the number of axes", (int)count,
                    (int)topology->axis_count);
}

/* The arguments of a call that fills `sizes` for a compression. */
static inline neumeta_status nmi_api_gamma(const nmi_topology *topology, double gamma,
                                           const int64_t *sizes, int32_t count)
{
    nmi_context *context = topology->object.context;
    if (!(gamma >= 0.0 && gamma < 1.0))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "gamma is %g, must lie in [0, 1)", gamma);
    const neumeta_status status = nmi_api_axes(topology, count);
    return status == NEUMETA_OK ? NMI_API_NEED(context, sizes) : status;
}

/* A neumeta_watch_fn, or none, as the nmi_watch of calls that take long. */
typedef struct nmi_api_watcher {
    neumeta_watch_fn watch;
    void *user;
} nmi_api_watcher;

static inline bool nmi_api_pass_on(void *user, double done)
{
    const nmi_api_watcher *to = user;
    return to->watch != NULL && to->watch(to->user, done) != 0;
}

#endif
