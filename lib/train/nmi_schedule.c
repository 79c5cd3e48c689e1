/* SPDX-License-Identifier: MIT */
/* Phases are kept as given: what they mean depends on the topology they are used with. */
#include "nmi_schedule.h"

#include "nmi_range.h"

#include <string.h>

enum { FIRST_PHASE_KEY = NEUMETA_KEY_EPOCHS, LAST_PHASE_KEY = NEUMETA_KEY_NORM_STATISTICS };
enum { MAX_PHASES = 65536 };

neumeta_status nmi_schedule_create(nmi_context *context, nmi_schedule **out)
{
    *out = nmi_alloc_zero(context, sizeof **out);
    if (*out == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&(*out)->object, context);
    return NEUMETA_OK;
}

void nmi_schedule_release(nmi_schedule *schedule)
{
    if (schedule == NULL || !nmi_object_release(&schedule->object))
        return;
    nmi_context *context = schedule->object.context;
    for (int32_t i = 0; i < schedule->count; i++) {
        nmi_free(context, schedule->phases[i].name);
        nmi_options_release(schedule->phases[i].options);
    }
    nmi_free(context, schedule->phases);
    nmi_free(context, schedule);
    nmi_context_release(context);
}

static neumeta_status check_options(nmi_context *context, const nmi_options *options)
{
    const nmi_key *key;
    for (int32_t i = 0; (key = nmi_options_set_at(options, i)) != NULL; i++)
        if (key->number < FIRST_PHASE_KEY || key->number > LAST_PHASE_KEY)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is not a setting of a phase",
                            key->name);
    const nmi_size_range range = nmi_size_range_read(options);
    neumeta_status status = nmi_range_check(context, options, &range.widths);
    if (status != NEUMETA_OK)
        return status;
    int64_t count = 0;
    const int64_t *milestones = nmi_options_ints(options, NEUMETA_KEY_MILESTONES, &count);
    for (int64_t i = 1; i < count; i++)
        if (milestones[i] <= milestones[i - 1])
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "MILESTONES must rise from entry to "
                            "entry, but %lld follows %lld",
                            (long long)milestones[i], (long long)milestones[i - 1]);
    return NEUMETA_OK;
}

static neumeta_status reserve(nmi_schedule *schedule)
{
    nmi_context *context = schedule->object.context;
    if (schedule->count < schedule->capacity)
        return NEUMETA_OK;
    if (schedule->count >= MAX_PHASES)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "a schedule has at most %d phases",
                        (int)MAX_PHASES);
    int32_t capacity = schedule->capacity == 0 ? 8 : 2 * schedule->capacity;
    nmi_phase *phases = nmi_alloc_zero_array(context, capacity, sizeof *phases);
    if (phases == NULL)
        return NEUMETA_ERR_MEMORY;
    if (schedule->count > 0)
        memcpy(phases, schedule->phases, (size_t)schedule->count * sizeof *phases);
    nmi_free(context, schedule->phases);
    schedule->phases = phases;
    schedule->capacity = capacity;
    return NEUMETA_OK;
}

neumeta_status nmi_schedule_add_phase(nmi_schedule *schedule, const char *name, int32_t first_block,
                                      int32_t last_block, const nmi_options *options)
{
    nmi_context *context = schedule->object.context;
    neumeta_status status = check_options(context, options);
    if (status != NEUMETA_OK)
        return nmi_fail_within(context, status, "phase '%s'", name);
    status = reserve(schedule);
    if (status != NEUMETA_OK)
        return status;
    nmi_phase phase = {.first_block = first_block, .last_block = last_block};
    phase.name = nmi_text_copy(context, name);
    if (phase.name == NULL)
        return NEUMETA_ERR_MEMORY;
    status = nmi_options_copy(options, context, &phase.options);
    if (status != NEUMETA_OK) {
        nmi_free(context, phase.name);
        return status;
    }
    schedule->phases[schedule->count++] = phase;
    return NEUMETA_OK;
}
