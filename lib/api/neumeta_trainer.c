/* SPDX-License-Identifier: MIT */
/* Public calls on trainers. */
#include "nmi_api.h"
#include "nmi_trainer.h"

neumeta_status neumeta_trainer_create(neumeta_manifold *manifold, neumeta_network *reference,
                                      const neumeta_schedule *schedule, neumeta_dataset *dataset,
                                      const neumeta_options *options, neumeta_trainer **trainer)
{
    NMI_API_CLEAR(trainer);
    nmi_context *ctx = nmi_api_context(manifold);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_OPTIONAL(ctx, reference)) == NEUMETA_OK &&
        (status = NMI_API_HANDLE(ctx, schedule)) == NEUMETA_OK &&
        (status = NMI_API_HANDLE(ctx, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK &&
        (status = NMI_API_NEED(ctx, trainer)) == NEUMETA_OK)
        status = nmi_trainer_create(ctx, manifold, reference, schedule, dataset, options, trainer);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_trainer_create_plain(neumeta_network *network,
                                            const neumeta_schedule *schedule,
                                            neumeta_dataset *dataset,
                                            const neumeta_options *options,
                                            neumeta_trainer **trainer)
{
    NMI_API_CLEAR(trainer);
    nmi_context *ctx = nmi_api_context(network);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_HANDLE(ctx, schedule)) == NEUMETA_OK &&
        (status = NMI_API_HANDLE(ctx, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK &&
        (status = NMI_API_NEED(ctx, trainer)) == NEUMETA_OK)
        status = nmi_trainer_create(ctx, NULL, network, schedule, dataset, options, trainer);
    return nmi_api_end(ctx, status);
}

void neumeta_trainer_free(neumeta_trainer *trainer)
{
    nmi_trainer_release(trainer);
}

neumeta_status neumeta_trainer_set_progress(neumeta_trainer *trainer, neumeta_progress_fn progress,
                                            void *user)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    trainer->progress = progress;
    trainer->progress_user = user;
    return nmi_api_end(ctx, NEUMETA_OK);
}

neumeta_status neumeta_trainer_set_teacher(neumeta_trainer *trainer, neumeta_network *teacher)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_HANDLE(ctx, teacher)) == NEUMETA_OK)
        status = nmi_trainer_set_teacher(trainer, teacher);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_trainer_run(neumeta_trainer *trainer)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_object_retain(&trainer->object); /* a callback may free it */
    status = nmi_api_end(ctx, nmi_trainer_run(trainer));
    nmi_trainer_release(trainer);
    return status;
}

neumeta_status neumeta_trainer_step(neumeta_trainer *trainer)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    nmi_object_retain(&trainer->object); /* a callback may free it */
    status = nmi_api_end(ctx, nmi_trainer_step(trainer));
    nmi_trainer_release(trainer);
    return status;
}

void neumeta_trainer_cancel(neumeta_trainer *trainer)
{
    if (trainer != NULL)
        atomic_store(&trainer->cancelled, true);
}

/* Does not claim the context: the progress callback calls it while neumeta_trainer_run() has it. */
neumeta_status neumeta_trainer_metric(const neumeta_trainer *trainer, int32_t metric, double *value)
{
    if (trainer == NULL || value == NULL)
        return NEUMETA_ERR_ARGUMENT;
    return nmi_trainer_metric(trainer, metric, value);
}

neumeta_status neumeta_trainer_save(neumeta_trainer *trainer, const char *path)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, path)) == NEUMETA_OK)
        status = nmi_trainer_save(trainer, path);
    return nmi_api_end(ctx, status);
}

neumeta_status neumeta_trainer_restore(neumeta_trainer *trainer, const char *path)
{
    nmi_context *ctx = nmi_api_context(trainer);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, path)) == NEUMETA_OK)
        status = nmi_trainer_restore(trainer, path);
    return nmi_api_end(ctx, status);
}
