/* SPDX-License-Identifier: MIT */
/* Public calls on schedules. */
#include "nmi_api.h"
#include "nmi_schedule.h"

neumeta_status neumeta_schedule_create(neumeta_context *context, neumeta_schedule **schedule)
{
    NMI_API_CLEAR(schedule);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, schedule)) == NEUMETA_OK)
        status = nmi_schedule_create(context, schedule);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_schedule_create_recipe(const neumeta_topology *topology, const char *recipe,
                                              const int64_t *blocks, int64_t count,
                                              const neumeta_options *options,
                                              neumeta_schedule **schedule)
{
    NMI_API_CLEAR(schedule);
    nmi_context *ctx = nmi_api_context(topology);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_api_sealed(ctx, topology);
    if (status == NEUMETA_OK && (count < 0 || count > topology->block_count))
        status = nmi_fail(ctx, NEUMETA_ERR_ARGUMENT, "count is %lld, must lie in [0, %d]",
                          (long long)count, (int)topology->block_count);
    if (status == NEUMETA_OK && count > 0)
        status = NMI_API_NEED(ctx, blocks);
    if (status == NEUMETA_OK && (status = NMI_API_NEED(ctx, recipe)) == NEUMETA_OK &&
        (status = NMI_API_NEED(ctx, schedule)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK)
        status = nmi_schedule_create_recipe(topology, recipe, blocks, count, options, schedule);
    return nmi_api_end(ctx, status);
}

void neumeta_schedule_free(neumeta_schedule *schedule)
{
    nmi_schedule_release(schedule);
}

neumeta_status neumeta_schedule_add_phase(neumeta_schedule *schedule, const char *name,
                                          int32_t first_block, int32_t last_block,
                                          const neumeta_options *options)
{
    nmi_context *ctx = nmi_api_context(schedule);
    neumeta_status status = nmi_api_begin(ctx);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(ctx, name)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(ctx, options)) == NEUMETA_OK)
        status = nmi_schedule_add_phase(schedule, name, first_block, last_block, options);
    return nmi_api_end(ctx, status);
}

int32_t neumeta_schedule_phase_count(const neumeta_schedule *schedule)
{
    return schedule != NULL ? schedule->count : -1;
}

const char *neumeta_schedule_phase_name(const neumeta_schedule *schedule, int32_t phase)
{
    if (schedule == NULL || phase < 0 || phase >= schedule->count)
        return NULL;
    return schedule->phases[phase].name;
}
