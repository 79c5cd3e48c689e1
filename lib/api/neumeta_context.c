/* SPDX-License-Identifier: MIT */
/* Public calls on the library and on contexts. */
#include "nmi_api.h"
#include "nmi_kernels.h"

#define TEXT_OF(number) #number
#define VERSION(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *neumeta_version(void)
{
    return VERSION(NEUMETA_VERSION_MAJOR, NEUMETA_VERSION_MINOR, NEUMETA_VERSION_PATCH);
}

const char *neumeta_status_name(neumeta_status status)
{
    switch (status) {
    case NEUMETA_OK:
        return "done";
    case NEUMETA_CANCELLED:
        return "stopped on purpose";
    case NEUMETA_ERR_ARGUMENT:
        return "argument out of range";
    case NEUMETA_ERR_MEMORY:
        return "out of memory";
    case NEUMETA_ERR_STATE:
        return "not possible in this state";
    case NEUMETA_ERR_SHAPE:
        return "shape does not fit";
    case NEUMETA_ERR_FORMAT:
        return "damaged or foreign file";
    case NEUMETA_ERR_VERSION:
        return "file of a newer library";
    case NEUMETA_ERR_IO:
        return "reading or writing failed";
    case NEUMETA_ERR_CALLBACK:
        return "a callback failed";
    case NEUMETA_ERR_NUMERIC:
        return "value not finite";
    case NEUMETA_ERR_INFEASIBLE:
        return "no network fits";
    case NEUMETA_ERR_UNSUPPORTED:
        return "not supported";
    default:
        return "unknown status";
    }
}

neumeta_status neumeta_context_create(neumeta_alloc_fn allocate, neumeta_release_fn release,
                                      void *user, neumeta_context **context)
{
    if (context == NULL)
        return NEUMETA_ERR_ARGUMENT;
    neumeta_status status = nmi_context_create(allocate, release, user, context);
    return status == NEUMETA_OK ? nmi_kernels_choose(*context, 1, "auto") : status;
}

void neumeta_context_free(neumeta_context *context)
{
    nmi_context_release(context);
}

const char *neumeta_context_message(const neumeta_context *context)
{
    return context != NULL ? context->message : "";
}

neumeta_status neumeta_context_set_log(neumeta_context *context, neumeta_log_fn log, void *user,
                                       int32_t level)
{
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (log != NULL && (level < NEUMETA_LOG_ERROR || level > NEUMETA_LOG_DEBUG)) {
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "level is %d, must lie in [%d, %d], as NEUMETA_LOG_ERROR and the others",
                          (int)level, NEUMETA_LOG_ERROR, NEUMETA_LOG_DEBUG);
    } else {
        context->log = log;
        context->log_user = user;
        context->log_level = level;
    }
    return nmi_api_end(context, status);
}

neumeta_status neumeta_context_set_threads(neumeta_context *context, int32_t threads)
{
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_workers_set_threads(context, threads));
}

neumeta_status neumeta_context_set_parallel(neumeta_context *context, neumeta_parallel_fn parallel,
                                            void *user, int32_t lanes)
{
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_workers_set_parallel(context, parallel, user, lanes));
}

neumeta_status neumeta_context_set_seed(neumeta_context *context, uint64_t seed)
{
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    context->seed = seed;
    return nmi_api_end(context, NEUMETA_OK);
}

neumeta_status neumeta_context_set_kernels(neumeta_context *context, const char *name)
{
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, name)) == NEUMETA_OK)
        status = nmi_kernels_choose(context, 2, name); /* its maker's reference and this call's */
    return nmi_api_end(context, status);
}

const char *neumeta_context_kernels(const neumeta_context *context)
{
    return context != NULL ? context->kernels->name : "";
}
