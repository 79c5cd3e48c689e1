/* SPDX-License-Identifier: MIT */
/*
 * Checkpoints: the position, the metrics and every vector of every slot, as one archive.
 *
 * A checkpoint is read completely and checked before anything of the trainer changes.
 */
#include "nmi_trainer.h"

#include "nmi_statistics_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define META_FINGERPRINT "neumeta.fingerprint"
#define POSITION_NAME "position"
#define METRICS_NAME "metrics"
#define STEPS_NAME "slots.steps"

enum { FLAG_BEGUN = 1, FLAG_UNJUDGED = 2 };
enum { POSITION_COUNT = 5, METRICS_COUNT = sizeof(nmi_metrics) / sizeof(double) };

/* The vectors of a slot by name; values come first, the others may be absent. */
enum { VECTOR_COUNT = 5 };
static const char *const vector_names[VECTOR_COUNT] = {"values", "moment1", "moment2", "average",
                                                       "best"};

static void list_vectors(nmi_slot *slot, float **vectors[VECTOR_COUNT])
{
    vectors[0] = &slot->values;
    vectors[1] = &slot->moment1;
    vectors[2] = &slot->moment2;
    vectors[3] = &slot->average;
    vectors[4] = &slot->best;
}

static int64_t fingerprint_of(const nmi_trainer *trainer)
{
    return (int64_t)((trainer->fingerprint ^ trainer->teacher_mark) >> 1);
}

/* "<tensor>/<vector>", or "<kind>/<vector>" of what tensors of a kind share: names of nodes have at
 * most 255 characters, so it is within the limit that docs/formats.md states. */
typedef struct vector_name {
    char text[NMI_SAFETENSORS_NAME + 1];
} vector_name;

static const char *slot_name(const nmi_trainer *trainer, int32_t slot)
{
    return trainer->manifold != NULL ? nmi_manifold_field_name(trainer->manifold, slot)
                                     : trainer->topology->tensors[slot].name;
}

static vector_name name_vector(const nmi_trainer *trainer, int32_t slot, int vector)
{
    vector_name name;
    snprintf(name.text, sizeof name.text, "%s/%s", slot_name(trainer, slot), vector_names[vector]);
    return name;
}

/* --- saving ---------------------------------------------------------------------------------- */

static neumeta_status add_slots(nmi_trainer *trainer, nmi_safetensors_writer *writer,
                                int64_t *steps)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t t = 0; t < trainer->slot_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        float **vectors[VECTOR_COUNT];
        list_vectors(slot, vectors);
        steps[t] = slot->steps;
        for (int v = 0; v < VECTOR_COUNT && status == NEUMETA_OK; v++) {
            if (slot->kind == NMI_SLOT_NONE || *vectors[v] == NULL)
                continue;
            const vector_name name = name_vector(trainer, t, v);
            status =
                nmi_safetensors_add(writer, name.text, NMI_DTYPE_F32, 1, &slot->count, *vectors[v]);
        }
    }
    return status;
}

static neumeta_status write_archive(nmi_trainer *trainer, nmi_safetensors_writer *writer,
                                    int64_t *steps, const char *path)
{
    const int64_t position_dims[] = {POSITION_COUNT}, metrics_dims[] = {METRICS_COUNT};
    const int64_t steps_dims[] = {trainer->slot_count};
    const nmi_position *at = &trainer->position;
    const int64_t flags = (at->begun ? FLAG_BEGUN : 0) + (at->unjudged ? FLAG_UNJUDGED : 0);
    const int64_t position[POSITION_COUNT] = {at->phase, flags, at->step, at->steps, at->draws};
    nmi_metrics metrics = trainer->metrics;
    double running = 0;
    nmi_trainer_metric(trainer, NEUMETA_METRIC_SECONDS, &running);
    metrics.seconds = running;
    neumeta_status status =
        nmi_archive_add_number(writer, META_FINGERPRINT, fingerprint_of(trainer));
    if (status == NEUMETA_OK)
        status =
            nmi_safetensors_add(writer, POSITION_NAME, NMI_DTYPE_I64, 1, position_dims, position);
    if (status == NEUMETA_OK)
        status =
            nmi_safetensors_add(writer, METRICS_NAME, NMI_DTYPE_F64, 1, metrics_dims, &metrics);
    if (status == NEUMETA_OK)
        status = add_slots(trainer, writer, steps);
    if (status == NEUMETA_OK && trainer->manifold != NULL && trainer->manifold->statistics != NULL)
        status = nmi_statistics_add(trainer->manifold->statistics, writer);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, STEPS_NAME, NMI_DTYPE_I64, 1, steps_dims, steps);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_save(writer, path);
    return status;
}

neumeta_status nmi_trainer_save(nmi_trainer *trainer, const char *path)
{
    nmi_context *context = trainer->object.context;
    bool published = trainer->published;
    nmi_safetensors_writer *writer = NULL;
    neumeta_status status = nmi_trainer_check(trainer);
    if (status != NEUMETA_OK)
        return status;
    int64_t *steps = nmi_alloc_array(context, trainer->slot_count, sizeof *steps);
    if (steps == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_trainer_publish(trainer, false);
    status = nmi_archive_create(context, NMI_KIND_CHECKPOINT, &writer);
    if (status == NEUMETA_OK)
        status = write_archive(trainer, writer, steps, path);
    nmi_safetensors_writer_free(writer);
    nmi_trainer_publish(trainer, published);
    nmi_free(context, steps);
    return status;
}

/* --- restoring -------------------------------------------------------------------------------- */

/* A checkpoint's small parts, read aside. */
typedef struct saved_state {
    int64_t position[POSITION_COUNT];
    nmi_metrics metrics;
    int64_t *steps;
    nmi_statistics *statistics; /* of a manifold's norms, or NULL */
} saved_state;

static neumeta_status check_fingerprint(const nmi_trainer *trainer, const nmi_safetensors *file)
{
    int64_t fingerprint = 0;
    neumeta_status status = nmi_archive_number(file, META_FINGERPRINT, &fingerprint);
    if (status == NEUMETA_OK && fingerprint != fingerprint_of(trainer))
        status =
            nmi_safetensors_within(file, nmi_fail(trainer->object.context, NEUMETA_ERR_STATE,
                                                  "the checkpoint belongs to another topology, "
                                                  "reference, teacher, schedule, dataset or "
                                                  "seed"));
    return status;
}

static neumeta_status check_position(const nmi_trainer *trainer,
                                     const int64_t position[POSITION_COUNT])
{
    int64_t phase = position[0];
    bool valid = phase >= 0 && phase <= trainer->phase_count && position[1] >= 0 &&
                 position[1] <= FLAG_BEGUN + FLAG_UNJUDGED && position[2] >= 0 &&
                 position[3] >= position[2] && position[4] >= position[3] &&
                 position[4] <= INT64_MAX / 2;
    if (valid)
        valid = phase == trainer->phase_count
                    ? position[2] == 0 && (position[1] & FLAG_UNJUDGED) == 0
                    : position[2] <= nmi_trainer_steps_of_phase(trainer, (int32_t)phase);
    if (!valid)
        return nmi_fail(trainer->object.context, NEUMETA_ERR_FORMAT,
                        "the position (phase %" PRId64 ", step %" PRId64
                        ") lies outside the schedule",
                        phase, position[2]);
    return NEUMETA_OK;
}

/* Every vector that the file has must fit its slot, and the values of each must be there. */
static neumeta_status check_slots(nmi_trainer *trainer, const nmi_safetensors *file,
                                  const saved_state *state)
{
    nmi_context *context = trainer->object.context;
    const int64_t *steps = state->steps;
    int32_t known = 3; /* position, metrics, steps */
    if (state->statistics != NULL)
        known += nmi_statistics_entry_count(state->statistics);
    for (int32_t t = 0; t < trainer->slot_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        if (steps[t] < 0 || steps[t] > INT64_MAX / 2)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "impossible step count of '%s'",
                            slot_name(trainer, t));
        for (int v = 0; v < VECTOR_COUNT && slot->kind != NMI_SLOT_NONE; v++) {
            const vector_name name = name_vector(trainer, t, v);
            nmi_tensor_entry entry;
            const bool there = nmi_safetensors_find(file, name.text, &entry);
            if (!there && v > 0)
                continue;
            if (!there || entry.dtype != NMI_DTYPE_F32 || entry.rank != 1 ||
                entry.dims[0] != slot->count)
                return nmi_fail(context, NEUMETA_ERR_FORMAT,
                                "tensor '%s' must be there as F32 [%" PRId64 "]", name.text,
                                slot->count);
            known++;
        }
    }
    if (known != nmi_safetensors_count(file))
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "%d tensors belong to no part of this training",
                        (int)(nmi_safetensors_count(file) - known));
    return NEUMETA_OK;
}

/* A phase that keeps statistics cannot go on without them. */
static neumeta_status read_statistics(const nmi_trainer *trainer, const nmi_safetensors *file,
                                      saved_state *state)
{
    const int64_t phase = state->position[0];
    if (trainer->manifold == NULL)
        return NEUMETA_OK;
    neumeta_status status = nmi_statistics_find(file, trainer->topology, &state->statistics);
    if (status == NEUMETA_OK && state->statistics != NULL) {
        nmi_manifold_map_statistics(trainer->manifold, state->statistics);
        status = nmi_statistics_read(file, state->statistics);
    }
    if (status == NEUMETA_OK && state->statistics == NULL && phase < trainer->phase_count &&
        (state->position[1] & FLAG_BEGUN) != 0 &&
        trainer->phases[phase].statistics == NMI_NORM_FITTED)
        status = nmi_safetensors_within(file, nmi_fail(trainer->object.context, NEUMETA_ERR_FORMAT,
                                                       "the statistics that phase '%s' keeps are "
                                                       "missing",
                                                       trainer->phases[phase].name));
    return status;
}

static neumeta_status read_state(nmi_trainer *trainer, const nmi_safetensors *file,
                                 saved_state *state)
{
    const int64_t position_dims[] = {POSITION_COUNT}, metrics_dims[] = {METRICS_COUNT};
    const int64_t steps_dims[] = {trainer->slot_count};
    neumeta_status status = nmi_archive_check(file, NMI_KIND_CHECKPOINT, false);
    if (status == NEUMETA_OK)
        status = check_fingerprint(trainer, file);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, POSITION_NAME, NMI_DTYPE_I64, 1, position_dims,
                                      state->position);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_within(file, check_position(trainer, state->position));
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, METRICS_NAME, NMI_DTYPE_F64, 1, metrics_dims,
                                      &state->metrics);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, STEPS_NAME, NMI_DTYPE_I64, 1, steps_dims, state->steps);
    if (status == NEUMETA_OK)
        status = read_statistics(trainer, file, state);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_within(file, check_slots(trainer, file, state));
    return status;
}

/* Vectors that the file has and the slot lacks are all taken before any is put in its place: a
 * stray average, for one, would be exchanged with the values. Those that only the slot has are
 * emptied afterwards. */
static neumeta_status take_missing_vectors(nmi_trainer *trainer, const nmi_safetensors *file)
{
    nmi_context *context = trainer->object.context;
    const int32_t count = trainer->slot_count;
    neumeta_status status = NEUMETA_OK;
    float **taken = nmi_alloc_zero_array(context, (int64_t)count * VECTOR_COUNT, sizeof *taken);
    if (taken == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t t = 0; t < count; t++) {
        float **vectors[VECTOR_COUNT];
        list_vectors(&trainer->slots[t], vectors);
        for (int v = 1; v < VECTOR_COUNT && status == NEUMETA_OK; v++) {
            const vector_name name = name_vector(trainer, t, v);
            if (*vectors[v] != NULL || nmi_safetensors_index(file, name.text) < 0)
                continue;
            float *vector = nmi_alloc_array(context, trainer->slots[t].count, sizeof *vector);
            taken[t * VECTOR_COUNT + v] = vector;
            status = vector != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
        }
    }
    for (int32_t t = 0; t < count; t++) {
        float **vectors[VECTOR_COUNT];
        list_vectors(&trainer->slots[t], vectors);
        for (int v = 1; v < VECTOR_COUNT; v++)
            if (status != NEUMETA_OK)
                nmi_free(context, taken[t * VECTOR_COUNT + v]);
            else if (taken[t * VECTOR_COUNT + v] != NULL)
                *vectors[v] = taken[t * VECTOR_COUNT + v];
    }
    nmi_free(context, taken);
    return status;
}

static void copy_slots(nmi_trainer *trainer, const nmi_safetensors *file, const int64_t *steps)
{
    for (int32_t t = 0; t < trainer->slot_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        float **vectors[VECTOR_COUNT];
        list_vectors(slot, vectors);
        slot->steps = steps[t];
        for (int v = 0; v < VECTOR_COUNT && slot->kind != NMI_SLOT_NONE; v++) {
            const vector_name name = name_vector(trainer, t, v);
            nmi_tensor_entry entry;
            if (nmi_safetensors_find(file, name.text, &entry)) {
                nmi_tensor_copy(&entry, *vectors[v]);
            } else {
                nmi_free(trainer->object.context, *vectors[v]);
                *vectors[v] = NULL;
            }
        }
    }
}

static neumeta_status apply(nmi_trainer *trainer, const nmi_safetensors *file, saved_state *state)
{
    neumeta_status status = take_missing_vectors(trainer, file);
    if (status != NEUMETA_OK)
        return status;
    trainer->published = trainer->checkpoint_owed = false;
    copy_slots(trainer, file, state->steps);
    trainer->position = (nmi_position){.phase = (int32_t)state->position[0],
                                       .begun = (state->position[1] & FLAG_BEGUN) != 0,
                                       .unjudged = (state->position[1] & FLAG_UNJUDGED) != 0,
                                       .step = state->position[2],
                                       .steps = state->position[3],
                                       .draws = state->position[4]};
    trainer->metrics = state->metrics;
    trainer->batch.order_epoch = -1;
    trainer->ready = false; /* the next step derives the rest from the position */
    if (trainer->manifold == NULL)
        nmi_network_touch(trainer->network);
    if (trainer->manifold != NULL) {
        nmi_manifold_forget_statistics(trainer->manifold);
        trainer->manifold->statistics = state->statistics;
        state->statistics = NULL;
    }
    if (trainer->position.begun || trainer->position.steps > 0)
        nmi_trainer_note_ranges(trainer);
    if (nmi_trainer_finished(trainer))
        nmi_trainer_publish(trainer, true);
    return NEUMETA_OK;
}

neumeta_status nmi_trainer_restore(nmi_trainer *trainer, const char *path)
{
    nmi_context *context = trainer->object.context;
    nmi_safetensors *file = NULL;
    neumeta_status status = nmi_trainer_check(trainer);
    if (status != NEUMETA_OK)
        return status;
    saved_state state = {.steps =
                             nmi_alloc_array(context, trainer->slot_count, sizeof *state.steps)};
    if (state.steps == NULL)
        return NEUMETA_ERR_MEMORY;
    status = nmi_safetensors_open(context, path, &file);
    if (status == NEUMETA_OK)
        status = read_state(trainer, file, &state);
    if (status == NEUMETA_OK)
        status = apply(trainer, file, &state);
    nmi_safetensors_free(file);
    nmi_statistics_free(state.statistics);
    nmi_free(context, state.steps);
    return status;
}
