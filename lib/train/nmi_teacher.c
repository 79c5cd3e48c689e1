/* SPDX-License-Identifier: MIT */
/* Teachers of distillation: whose outputs a step's networks are to have. */
#include "nmi_trainer.h"

#include <string.h>

static bool wants_network(const nmi_settings *settings)
{
    return settings->distillation > 0 && settings->teacher == NMI_TEACHER_NETWORK;
}

neumeta_status nmi_trainer_check_teacher(const nmi_trainer *trainer)
{
    for (int32_t p = 0; p < trainer->phase_count && trainer->teacher == NULL; p++)
        if (wants_network(&trainer->phases[p]))
            return nmi_fail(trainer->object.context, NEUMETA_ERR_STATE,
                            "phase '%s' has DISTILLATION_TEACHER 'network', and "
                            "neumeta_trainer_set_teacher() has not given one",
                            trainer->phases[p].name);
    return NEUMETA_OK;
}

static neumeta_status check_fit(const nmi_trainer *trainer, const nmi_network *teacher)
{
    nmi_context *context = trainer->object.context;
    bool wanted = false;
    for (int32_t p = 0; p < trainer->phase_count; p++)
        wanted = wanted || wants_network(&trainer->phases[p]);
    if (!wanted)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "a teacher has no effect without a phase that distils from "
                        "DISTILLATION_TEACHER 'network'");
    if (trainer->position.begun || trainer->position.steps > 0)
        return nmi_fail(context, NEUMETA_ERR_STATE, "the training has begun without this teacher");
    if (teacher == trainer->network)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "a network cannot be its own teacher");
    if (nmi_network_input_floats(teacher) != nmi_network_input_floats(trainer->network))
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "the teacher takes %lld numbers an item, the trained network %lld",
                        (long long)nmi_network_input_floats(teacher),
                        (long long)nmi_network_input_floats(trainer->network));
    if (nmi_network_output_floats(teacher) != nmi_network_output_floats(trainer->network))
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "the teacher has %lld outputs, the trained network %lld",
                        (long long)nmi_network_output_floats(teacher),
                        (long long)nmi_network_output_floats(trainer->network));
    return NEUMETA_OK;
}

neumeta_status nmi_trainer_set_teacher(nmi_trainer *trainer, nmi_network *teacher)
{
    neumeta_status status = check_fit(trainer, teacher);
    if (status != NEUMETA_OK)
        return status;
    nmi_network_retain(teacher);
    nmi_network_release(trainer->teacher);
    trainer->teacher = teacher;
    trainer->teacher_mark = nmi_trainer_mix_weights(UINT64_C(0xcbf29ce484222325), teacher);
    return NEUMETA_OK;
}

neumeta_status nmi_trainer_teach(nmi_trainer *trainer, const float *inputs, int64_t items,
                                 const float *outputs, int64_t index, bool *distil)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    *distil = settings->distillation > 0 && (settings->teacher != NMI_TEACHER_WIDEST || index > 0);
    if (settings->distillation <= 0)
        return NEUMETA_OK;
    if (settings->teacher == NMI_TEACHER_WIDEST) {
        size_t bytes =
            (size_t)(items * nmi_network_output_floats(trainer->network)) * sizeof(float);
        if (index == 0)
            memcpy(trainer->batch.teacher, outputs, bytes);
        return NEUMETA_OK;
    }
    /* The sizes of a sandwich share their items, and so the teacher's outputs. */
    if (nmi_settings_is_sandwich(settings) && index > 0)
        return NEUMETA_OK;
    return nmi_network_run(settings->teacher == NMI_TEACHER_NETWORK ? trainer->teacher
                                                                    : trainer->reference,
                           inputs, items, trainer->batch.teacher);
}
