/* SPDX-License-Identifier: MIT */
/*
 * The training recipes of the two papers as schedules (arXiv 2410.11878, section 4 and appendix;
 * arXiv 2505.05510, section 4). Every value can be replaced by the caller's options.
 */
#include "nmi_settings.h"

#include <math.h>
#include <string.h>

typedef struct setting {
    const char *name, *value;
} setting;

static const setting nm_settings[] = {
    {"EPOCHS", "200"},
    {"BATCH", "128"},
    {"LEARNING_RATE", "1e-3"},
    {"WEIGHT_DECAY", "1e-2"},
    {"RATE", "multistep"},
    {"CLIP_VALUE", "10"},
    {"EMA", "0.995"},
    {"LOSS_NORM", "1e-4"},
    {"LOSS_RECONSTRUCTION", "1"},
    {"RECONSTRUCTION_WEIGHTED", "1"},
    {"SIZE_DRAW", "uniform"},
    {"GAMMA_MAX", "0.5"},
};

static const setting ht_settings[] = {
    {"EPOCHS", "50"},
    {"BATCH", "128"},
    {"GROUP", "4"},
    {"LEARNING_RATE", "8e-4"},
    {"WEIGHT_DECAY", "1e-4"},
    {"CLIP_VALUE", "10"},
    {"LOSS_TASK", "100"},
    {"LOSS_NORM", "1e-3"},
    {"LOSS_RECONSTRUCTION", "1"},
    {"SIZE_DRAW", "full-first"},
    {"GAMMA_MAX", "0.5"},
    {"INR_INIT", "cloned"},
    {"RESIDUAL_START", "0"},
    {"RESIDUAL_RATE", "1e-4"},
    {"DIRECT_RATE", "7e-5"},
    {"DIRECT_DECAY", "1e-2"},
};
/* The papers' phases in epochs: where NM's rate falls, how long HT's rises where a stage begins. */
static const double nm_epochs = 200, nm_milestones[] = {100, 150};
static const double ht_epochs = 50, ht_warmup_epochs = 20;

static neumeta_status apply(nmi_options *options, const setting *settings, size_t count)
{
    neumeta_status status = NEUMETA_OK;
    for (size_t i = 0; i < count && status == NEUMETA_OK; i++)
        status = nmi_options_parse(options, settings[i].name, settings[i].value);
    return status;
}

/* Adds a phase with a recipe's settings, the caller's among them. What the caller's leave without
 * effect is dropped, unless the caller asked for it: then adding the phase says so. */
static neumeta_status add_phase(nmi_schedule *schedule, const char *name, int32_t first,
                                int32_t last, nmi_options *settings, const nmi_options *with)
{
    const nmi_key *idle;
    for (int32_t i = 0; (idle = nmi_settings_idle(settings, &i)) != NULL;)
        if (!nmi_options_has(with, idle->number))
            nmi_options_unset(settings, idle->number);
    return nmi_schedule_add_phase(schedule, name, first, last, settings);
}

/* A phase that is shorter or longer than the paper's has its milestones at the same shares; one too
 * short for any keeps its rate. */
static neumeta_status place_milestones(nmi_context *context, nmi_options *settings,
                                       const nmi_options *with)
{
    const double epochs = nmi_options_real(settings, NEUMETA_KEY_EPOCHS);
    int64_t milestones[2], count = 0;
    if (nmi_options_has(with, NEUMETA_KEY_MILESTONES) ||
        nmi_options_choice(settings, NEUMETA_KEY_RATE) != NMI_RATE_MULTISTEP)
        return NEUMETA_OK;
    for (size_t i = 0; i < sizeof nm_milestones / sizeof *nm_milestones; i++) {
        const double milestone = round(nm_milestones[i] / nm_epochs * epochs);
        const double before = count > 0 ? (double)milestones[count - 1] : 0;
        if (milestone > before && milestone < epochs)
            milestones[count++] = (int64_t)milestone;
    }
    if (count == 0)
        return nmi_options_has(with, NEUMETA_KEY_RATE) ||
                       nmi_options_has(with, NEUMETA_KEY_RATE_FACTOR)
                   ? nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                              "EPOCHS is %g, too few for the recipe's MILESTONES: give these, too",
                              epochs)
                   : nmi_options_parse(settings, "RATE", "constant");
    return nmi_options_set_ints(settings, NEUMETA_KEY_MILESTONES, milestones, count);
}

static neumeta_status add_nm(const nmi_topology *topology, const int32_t *blocks, int32_t count,
                             const nmi_options *with, nmi_schedule *schedule)
{
    nmi_context *context = topology->object.context;
    int32_t first = blocks[0], last = blocks[0];
    for (int32_t i = 1; i < count; i++) {
        first = blocks[i] < first ? blocks[i] : first;
        last = blocks[i] > last ? blocks[i] : last;
    }
    nmi_options *settings = NULL;
    neumeta_status status = nmi_options_create(context, &settings);
    if (status == NEUMETA_OK)
        status = apply(settings, nm_settings, sizeof nm_settings / sizeof *nm_settings);
    if (status == NEUMETA_OK)
        status = nmi_options_merge(settings, with);
    if (status == NEUMETA_OK)
        status = place_milestones(context, settings, with);
    if (status == NEUMETA_OK)
        status = add_phase(schedule, "nm", first, last, settings, with);
    nmi_options_release(settings);
    return status;
}

/* Blocks that hold tensors, do not morph and come after the last morphing one: the paper trains the
 * last block and the classifier directly. */
static neumeta_status set_direct_blocks(const nmi_topology *topology, const int32_t *blocks,
                                        int32_t count, nmi_options *settings)
{
    nmi_context *context = topology->object.context;
    int32_t last = blocks[0];
    for (int32_t i = 1; i < count; i++)
        last = blocks[i] > last ? blocks[i] : last;
    int32_t direct = topology->block_count - 1 - last;
    if (direct <= 0) {
        nmi_options_unset(settings, NEUMETA_KEY_DIRECT_RATE);
        nmi_options_unset(settings, NEUMETA_KEY_DIRECT_DECAY);
        return NEUMETA_OK;
    }
    int64_t *numbers = nmi_alloc_array(context, direct, sizeof *numbers);
    if (numbers == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; i < direct; i++)
        numbers[i] = last + 1 + i;
    neumeta_status status =
        nmi_options_set_ints(settings, NEUMETA_KEY_DIRECT_BLOCKS, numbers, direct);
    nmi_free(context, numbers);
    return status;
}

/* Only the first phase of a stage warms up, over the paper's share of its epochs or the caller's
 * WARMUP_EPOCHS. */
static neumeta_status set_warmup(nmi_options *settings, const nmi_options *with, bool stage_start)
{
    const double epochs = nmi_options_real(settings, NEUMETA_KEY_EPOCHS);
    if (!stage_start)
        nmi_options_unset(settings, NEUMETA_KEY_WARMUP_EPOCHS);
    else if (!nmi_options_has(with, NEUMETA_KEY_WARMUP_EPOCHS))
        return nmi_options_set_real(settings, NEUMETA_KEY_WARMUP_EPOCHS,
                                    ht_warmup_epochs / ht_epochs * epochs);
    return NEUMETA_OK;
}

static neumeta_status add_ht_phase(const nmi_topology *topology, const int32_t *blocks,
                                   int32_t count, int32_t block, bool stage_start,
                                   const nmi_options *with, nmi_schedule *schedule)
{
    nmi_options *settings = NULL;
    neumeta_status status = nmi_options_create(topology->object.context, &settings);
    if (status == NEUMETA_OK)
        status = apply(settings, ht_settings, sizeof ht_settings / sizeof *ht_settings);
    if (status == NEUMETA_OK)
        status = set_direct_blocks(topology, blocks, count, settings);
    if (status == NEUMETA_OK)
        status = nmi_options_merge(settings, with);
    if (status == NEUMETA_OK)
        status = set_warmup(settings, with, stage_start);
    if (status == NEUMETA_OK)
        status = add_phase(schedule, topology->blocks[block], block, block, settings, with);
    nmi_options_release(settings);
    return status;
}

static neumeta_status add_ht(const nmi_topology *topology, const int32_t *blocks, int32_t count,
                             const nmi_options *with, nmi_schedule *schedule)
{
    nmi_shape *shapes;
    neumeta_status status = nmi_graph_full_shapes(topology, &shapes);
    for (int32_t i = 0; i < count && status == NEUMETA_OK; i++) {
        bool stage_start =
            i == 0 || !nmi_graph_same_stage(topology, shapes, blocks[i - 1], blocks[i]);
        status = add_ht_phase(topology, blocks, count, blocks[i], stage_start, with, schedule);
    }
    nmi_free(topology->object.context, shapes);
    return status;
}

/* The given blocks as numbers from 0, or all blocks that hold weights. */
static neumeta_status resolve_blocks(const nmi_topology *topology, const int64_t *given,
                                     int64_t count, int32_t *blocks, int32_t *resolved)
{
    neumeta_status status = NEUMETA_OK;
    *resolved = 0;
    if (count > 0) {
        for (int64_t i = 0; i < count && status == NEUMETA_OK; i++)
            status = nmi_graph_block_number(topology, given[i], &blocks[(*resolved)++]);
        return status;
    }
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        int32_t block = topology->nodes[topology->tensors[t].node].block;
        if (topology->tensors[t].role == NMI_ROLE_WEIGHT && block >= 0 &&
            (*resolved == 0 || blocks[*resolved - 1] != block))
            blocks[(*resolved)++] = block;
    }
    return status;
}

neumeta_status nmi_schedule_create_recipe(const nmi_topology *topology, const char *recipe,
                                          const int64_t *blocks, int64_t count,
                                          const nmi_options *options, nmi_schedule **out)
{
    nmi_context *context = topology->object.context;
    *out = NULL;
    bool nm = strcmp(recipe, "nm") == 0;
    if (!nm && strcmp(recipe, "ht") != 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "recipe is '%s', must be nm or ht", recipe);
    int64_t room = count > topology->tensor_count ? count : topology->tensor_count;
    int32_t *numbers = nmi_alloc_array(context, room, sizeof *numbers);
    if (numbers == NULL)
        return NEUMETA_ERR_MEMORY;
    int32_t resolved = 0;
    nmi_schedule *schedule = NULL;
    neumeta_status status = resolve_blocks(topology, blocks, count, numbers, &resolved);
    if (status == NEUMETA_OK && resolved == 0)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT, "no block of the topology has weights");
    if (status == NEUMETA_OK)
        status = nmi_schedule_create(context, &schedule);
    if (status == NEUMETA_OK)
        status = nm ? add_nm(topology, numbers, resolved, options, schedule)
                    : add_ht(topology, numbers, resolved, options, schedule);
    nmi_free(context, numbers);
    if (status != NEUMETA_OK) {
        nmi_schedule_release(schedule);
        return status;
    }
    *out = schedule;
    return NEUMETA_OK;
}
