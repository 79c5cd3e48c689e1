/* SPDX-License-Identifier: MIT */
/* Reads a phase's options into plain values, and what follows from those alone: rates, sizes. */
#include "nmi_settings.h"

#include "nmi_kernels.h"
#include "nmi_random.h"

#include <math.h>

/* Settings without a meaning where a network's own weights are trained. */
static const int32_t manifold_keys[] = {
    NEUMETA_KEY_LOSS_NORM,
    NEUMETA_KEY_LOSS_RECONSTRUCTION,
    NEUMETA_KEY_LOSS_RECONSTRUCTION_END,
    NEUMETA_KEY_RECONSTRUCTION_WEIGHTED,
    NEUMETA_KEY_SIZE_DRAW,
    NEUMETA_KEY_SIZE_AXES,
    NEUMETA_KEY_GAMMA_MIN,
    NEUMETA_KEY_GAMMA_MAX,
    NEUMETA_KEY_GAMMA_GAP,
    NEUMETA_KEY_NON_UNIFORM,
    NEUMETA_KEY_STREAM_GAMMA_MAX,
    NEUMETA_KEY_DEPTH_GAMMA_MAX,
    NEUMETA_KEY_INR_INIT,
    NEUMETA_KEY_FIT_STEPS,
    NEUMETA_KEY_FIT_RATE,
    NEUMETA_KEY_FIT_SIZES,
    NEUMETA_KEY_RESIDUAL_START,
    NEUMETA_KEY_RESIDUAL_RATE,
    NEUMETA_KEY_DIRECT_RATE,
    NEUMETA_KEY_DIRECT_DECAY,
    NEUMETA_KEY_DIRECT_BLOCKS,
    NEUMETA_KEY_VALIDATE_GAMMAS,
    NEUMETA_KEY_VALIDATE_ITEMS,
    NEUMETA_KEY_NORM_STATISTICS,
};

/* Settings that say something only beside another one. */
static const struct dependence {
    int32_t key, needs, choice; /* choice: the index `needs` must have; -1: it must not be 0 */
} dependences[] = {
    {NEUMETA_KEY_MOMENTUM, NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_SGD},
    {NEUMETA_KEY_BETA1, NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_ADAMW},
    {NEUMETA_KEY_BETA2, NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_ADAMW},
    {NEUMETA_KEY_ADAM_EPSILON, NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_ADAMW},
    {NEUMETA_KEY_MILESTONES, NEUMETA_KEY_RATE, NMI_RATE_MULTISTEP},
    {NEUMETA_KEY_RATE_FACTOR, NEUMETA_KEY_RATE, NMI_RATE_MULTISTEP},
    {NEUMETA_KEY_LABEL_SMOOTHING, NEUMETA_KEY_LOSS_TASK, -1},
    {NEUMETA_KEY_FIT_STEPS, NEUMETA_KEY_INR_INIT, NMI_START_FITTED},
    {NEUMETA_KEY_FIT_RATE, NEUMETA_KEY_INR_INIT, NMI_START_FITTED},
    {NEUMETA_KEY_FIT_SIZES, NEUMETA_KEY_INR_INIT, NMI_START_FITTED},
    {NEUMETA_KEY_LOSS_RECONSTRUCTION_END, NEUMETA_KEY_LOSS_RECONSTRUCTION, -1},
    {NEUMETA_KEY_RECONSTRUCTION_WEIGHTED, NEUMETA_KEY_LOSS_RECONSTRUCTION, -1},
    {NEUMETA_KEY_DISTILLATION_TEMPERATURE, NEUMETA_KEY_LOSS_DISTILLATION, -1},
    {NEUMETA_KEY_DISTILLATION_TEACHER, NEUMETA_KEY_LOSS_DISTILLATION, -1},
    {NEUMETA_KEY_DIRECT_DECAY, NEUMETA_KEY_DIRECT_RATE, -1},
    {NEUMETA_KEY_DIRECT_BLOCKS, NEUMETA_KEY_DIRECT_RATE, -1},
    {NEUMETA_KEY_VALIDATE_GAMMAS, NEUMETA_KEY_VALIDATE_EPOCHS, -1},
    {NEUMETA_KEY_VALIDATE_ITEMS, NEUMETA_KEY_VALIDATE_EPOCHS, -1},
    {NEUMETA_KEY_VALIDATE_ITEMS, NEUMETA_KEY_NORM_STATISTICS, NMI_NORM_BATCH},
};

const nmi_key *nmi_settings_idle(const nmi_options *options, int32_t *position)
{
    const int32_t count = (int32_t)(sizeof dependences / sizeof *dependences);
    while (*position < count) {
        const struct dependence *d = &dependences[(*position)++];
        bool met = d->choice >= 0 ? nmi_options_choice(options, d->needs) == d->choice
                                  : nmi_options_real(options, d->needs) > 0;
        if (nmi_options_has(options, d->key) && !met)
            return nmi_key_find(d->key);
    }
    return NULL;
}

static neumeta_status check_dependences(nmi_context *context, const nmi_options *options)
{
    int32_t position = 0;
    const nmi_key *idle = nmi_settings_idle(options, &position);
    if (idle == NULL)
        return NEUMETA_OK;
    const nmi_key *needs = nmi_key_find(dependences[position - 1].needs);
    const char *present =
        needs->type == NEUMETA_TYPE_CHOICE ? nmi_options_text(options, needs->number) : "0";
    return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s has no effect while %s is %s", idle->name,
                    needs->name, present != NULL ? present : "at its default");
}

/* What is copied takes no steps and no other sizes; what is solved takes no steps. */
static neumeta_status check_fit(nmi_context *context, const nmi_settings *s,
                                const nmi_setting_scope *scope)
{
    static const int32_t keys[] = {NEUMETA_KEY_FIT_STEPS, NEUMETA_KEY_FIT_RATE,
                                   NEUMETA_KEY_FIT_SIZES};
    const int idle = scope->copies ? 3 : scope->solves ? 2 : 0;
    for (int i = 0; i < idle; i++)
        if (nmi_options_has(s->options, keys[i]))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s has no effect on %s",
                            nmi_key_find(keys[i])->name,
                            scope->copies ? "grids, which copy the reference"
                                          : "separable INRs, which are fitted by least squares");
    return NEUMETA_OK;
}

static neumeta_status check_scope(nmi_context *context, const nmi_settings *s,
                                  const nmi_setting_scope *scope)
{
    if (!scope->manifold)
        for (size_t i = 0; i < sizeof manifold_keys / sizeof *manifold_keys; i++)
            if (nmi_options_has(s->options, manifold_keys[i]))
                return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                                "%s is a setting of manifolds; this trains one network",
                                nmi_key_find(manifold_keys[i])->name);
    const char *missing = s->reconstruction > 0 ? "LOSS_RECONSTRUCTION"
                          : s->distillation > 0 && s->teacher == NMI_TEACHER_REFERENCE
                              ? "LOSS_DISTILLATION"
                          : s->start == NMI_START_FITTED ? "INR_INIT 'fitted'"
                                                         : NULL;
    if (missing != NULL && !scope->reference)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s needs a reference network", missing);
    if (s->distillation > 0 && s->teacher == NMI_TEACHER_WIDEST && !nmi_settings_is_sandwich(s))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "DISTILLATION_TEACHER 'widest' needs "
                        "SIZE_DRAW 'sandwich' or 'corners', whose sizes share their items");
    const neumeta_status status = nmi_precision_check(context, s->precision);
    if (status != NEUMETA_OK)
        return status;
    if (nmi_settings_is_sandwich(s) && s->group < 2)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "SIZE_DRAW 'sandwich' or 'corners' needs a GROUP of at least 2, not %lld",
                        (long long)s->group);
    if (s->validate_epochs > 0 && !scope->held_out)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "VALIDATE_EPOCHS needs a dataset with HELD_OUT items");
    if (s->course == NMI_RATE_MULTISTEP && !nmi_options_has(s->options, NEUMETA_KEY_MILESTONES))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "RATE 'multistep' needs MILESTONES");
    if (s->continue_best && s->validate_epochs <= 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "CONTINUE_FROM 'best' needs VALIDATE_EPOCHS above 0");
    return NEUMETA_OK;
}

static void read_optimizer(const nmi_options *options, nmi_settings *s)
{
    s->batch = nmi_options_int(options, NEUMETA_KEY_BATCH);
    s->group = nmi_options_int(options, NEUMETA_KEY_GROUP);
    s->epochs = nmi_options_real(options, NEUMETA_KEY_EPOCHS);
    s->optimizer = nmi_options_choice(options, NEUMETA_KEY_OPTIMIZER);
    s->rate = nmi_options_real(options, NEUMETA_KEY_LEARNING_RATE);
    s->decay = nmi_options_real(options, NEUMETA_KEY_WEIGHT_DECAY);
    s->momentum = nmi_options_real(options, NEUMETA_KEY_MOMENTUM);
    s->beta1 = nmi_options_real(options, NEUMETA_KEY_BETA1);
    s->beta2 = nmi_options_real(options, NEUMETA_KEY_BETA2);
    s->epsilon = nmi_options_real(options, NEUMETA_KEY_ADAM_EPSILON);
    s->course = nmi_options_choice(options, NEUMETA_KEY_RATE);
    s->factor = nmi_options_real(options, NEUMETA_KEY_RATE_FACTOR);
    s->warmup = nmi_options_real(options, NEUMETA_KEY_WARMUP_EPOCHS);
    s->clip_value = nmi_options_real(options, NEUMETA_KEY_CLIP_VALUE);
    s->clip_norm = nmi_options_real(options, NEUMETA_KEY_CLIP_NORM);
    s->average = nmi_options_real(options, NEUMETA_KEY_EMA);
    s->train_earlier = nmi_options_int(options, NEUMETA_KEY_TRAIN_EARLIER) != 0;
    s->keep_moments = nmi_options_int(options, NEUMETA_KEY_KEEP_MOMENTS) != 0;
    s->continue_best = nmi_options_choice(options, NEUMETA_KEY_CONTINUE_FROM) == 1;
    s->validate_epochs = nmi_options_real(options, NEUMETA_KEY_VALIDATE_EPOCHS);
    s->precision = nmi_options_choice(options, NEUMETA_KEY_PRECISION);
    s->statistics = nmi_options_choice(options, NEUMETA_KEY_NORM_STATISTICS);
    s->validate_items = nmi_options_int(options, NEUMETA_KEY_VALIDATE_ITEMS);
}

static void read_objective(const nmi_options *options, nmi_settings *s)
{
    s->task = nmi_options_real(options, NEUMETA_KEY_LOSS_TASK);
    s->norm = nmi_options_real(options, NEUMETA_KEY_LOSS_NORM);
    s->reconstruction = nmi_options_real(options, NEUMETA_KEY_LOSS_RECONSTRUCTION);
    s->reconstruction_end = nmi_options_real(options, NEUMETA_KEY_LOSS_RECONSTRUCTION_END);
    s->weighted = nmi_options_int(options, NEUMETA_KEY_RECONSTRUCTION_WEIGHTED) != 0;
    s->distillation = nmi_options_real(options, NEUMETA_KEY_LOSS_DISTILLATION);
    s->temperature = nmi_options_real(options, NEUMETA_KEY_DISTILLATION_TEMPERATURE);
    s->teacher = nmi_options_choice(options, NEUMETA_KEY_DISTILLATION_TEACHER);
    s->smoothing = nmi_options_real(options, NEUMETA_KEY_LABEL_SMOOTHING);
    s->draw = nmi_options_choice(options, NEUMETA_KEY_SIZE_DRAW);
    s->range = nmi_size_range_read(options);
    s->non_uniform = nmi_options_real(options, NEUMETA_KEY_NON_UNIFORM);
    s->start = nmi_options_choice(options, NEUMETA_KEY_INR_INIT);
    s->fit_steps = nmi_options_int(options, NEUMETA_KEY_FIT_STEPS);
    s->fit_rate = nmi_options_real(options, NEUMETA_KEY_FIT_RATE);
    s->fit_sizes = (int32_t)nmi_options_int(options, NEUMETA_KEY_FIT_SIZES);
    s->has_residual_start = nmi_options_has(options, NEUMETA_KEY_RESIDUAL_START);
    s->residual_start = nmi_options_real(options, NEUMETA_KEY_RESIDUAL_START);
    s->residual_rate = nmi_options_real(options, NEUMETA_KEY_RESIDUAL_RATE);
    s->direct_rate = nmi_options_real(options, NEUMETA_KEY_DIRECT_RATE);
    s->direct_decay = nmi_options_real(options, NEUMETA_KEY_DIRECT_DECAY);
}

static neumeta_status read_blocks(const nmi_phase *phase, const nmi_topology *topology,
                                  nmi_settings *s)
{
    neumeta_status status = nmi_graph_block_number(topology, phase->first_block, &s->first_block);
    if (status == NEUMETA_OK)
        status = nmi_graph_block_number(topology, phase->last_block, &s->last_block);
    if (status == NEUMETA_OK && s->first_block > s->last_block)
        status = nmi_fail(topology->object.context, NEUMETA_ERR_ARGUMENT,
                          "the first block (%d) comes after the last (%d)", (int)s->first_block,
                          (int)s->last_block);
    return status;
}

neumeta_status nmi_settings_read(nmi_context *context, const nmi_phase *phase,
                                 const nmi_setting_scope *scope, nmi_settings *out)
{
    *out = (nmi_settings){.name = phase->name, .options = phase->options};
    read_optimizer(phase->options, out);
    read_objective(phase->options, out);
    neumeta_status status = read_blocks(phase, scope->topology, out);
    if (status == NEUMETA_OK)
        status = check_scope(context, out, scope);
    if (status == NEUMETA_OK)
        status = check_fit(context, out, scope);
    if (status == NEUMETA_OK)
        status = check_dependences(context, phase->options);
    if (status != NEUMETA_OK)
        return nmi_fail_within(context, status, "phase '%s'", phase->name);
    return NEUMETA_OK;
}

bool nmi_settings_has_block(const nmi_settings *settings, int32_t block)
{
    return block >= settings->first_block && block <= settings->last_block;
}

static double course_at(const nmi_settings *s, double epoch)
{
    if (s->course == NMI_RATE_MULTISTEP) {
        int64_t count = 0;
        const int64_t *milestones = nmi_options_ints(s->options, NEUMETA_KEY_MILESTONES, &count);
        double factor = 1;
        for (int64_t i = 0; i < count && epoch >= (double)milestones[i]; i++)
            factor *= s->factor;
        return factor;
    }
    if (s->course == NMI_RATE_COSINE && s->epochs > s->warmup) {
        double share = (epoch - s->warmup) / (s->epochs - s->warmup);
        share = fmin(fmax(share, 0), 1);
        return 0.5 * (1 + cos(3.14159265358979323846 * share));
    }
    return 1;
}

double nmi_settings_rate_at(const nmi_settings *settings, double epoch, double width)
{
    if (settings->warmup > 0 && epoch < settings->warmup)
        return settings->rate * fmin(1, (epoch + width) / settings->warmup);
    return settings->rate * course_at(settings, epoch);
}

double nmi_settings_reconstruction_at(const nmi_settings *settings, double epoch)
{
    if (settings->reconstruction_end < 0 || settings->epochs <= 0)
        return settings->reconstruction;
    double share = fmin(epoch / settings->epochs, 1);
    return settings->reconstruction +
           share * (settings->reconstruction_end - settings->reconstruction);
}

bool nmi_settings_is_sandwich(const nmi_settings *settings)
{
    return settings->draw == NMI_DRAW_SANDWICH || settings->draw == NMI_DRAW_CORNERS;
}

/* Groups of axes, each with one random number in common where sizes are uniform. */
enum { GROUPS = NMI_AXIS_FIXED };

/* Streams without a range of their own go with inner widths. */
static nmi_axis_group drawn_group(const nmi_settings *settings, const nmi_topology *topology,
                                  int32_t axis)
{
    const nmi_axis_group group = nmi_graph_axis_group(topology, axis);
    const bool own =
        group == NMI_AXIS_DEPTH || (group == NMI_AXIS_STREAM && settings->range.streams > 0);
    return own ? group : NMI_AXIS_INNER;
}

/* Axes of a size of a group that are at an end of their range. */
typedef struct group_ends {
    bool smallest[GROUPS];
    bool fixed; /* nothing is random: an axis that is not at the smallest is at the largest */
} group_ends;

/* A corner is small in some of the groups that vary: each choice of them but none is as probable.
 * They come in the order of a Gray code. */
static void draw_corner(const bool vary[GROUPS], double draw, bool smallest[GROUPS])
{
    int32_t count = 0, bit = 0;
    for (int32_t k = 0; k < GROUPS; k++)
        count += vary[k];
    const int32_t choices = (1 << count) - 1;
    const int32_t number = 1 + (int32_t)(draw * choices), choice = number ^ (number >> 1);
    for (int32_t k = 0; k < GROUPS; k++)
        if (vary[k])
            smallest[k] = (choice >> bit++ & 1) != 0;
}

static group_ends draw_ends(const nmi_settings *settings, const nmi_topology *topology,
                            const bool *varies, int64_t index, uint64_t key)
{
    group_ends ends = {.fixed = nmi_settings_is_sandwich(settings) && index < 2};
    bool vary[GROUPS] = {false};
    if (!ends.fixed || index == 0)
        return ends;
    for (int32_t k = 0; k < GROUPS; k++)
        ends.smallest[k] = true;
    for (int32_t a = 0; a < topology->axis_count; a++)
        vary[drawn_group(settings, topology, a)] |= varies[a];
    if (settings->draw == NMI_DRAW_CORNERS)
        draw_corner(vary, nmi_random_uniform_at(nmi_random_key(key, NMI_RANDOM_SIZES, 2), 0),
                    ends.smallest);
    return ends;
}

void nmi_settings_draw_sizes(const nmi_settings *settings, const nmi_topology *topology,
                             const bool *varies, int64_t index, uint64_t key, int64_t *sizes)
{
    nmi_random random = nmi_random_start(key);
    double common[GROUPS];
    common[NMI_AXIS_INNER] = nmi_random_uniform(&random);
    bool own = nmi_random_uniform(&random) < settings->non_uniform;
    common[NMI_AXIS_DEPTH] = nmi_random_uniform_at(nmi_random_key(key, NMI_RANDOM_SIZES, 1), 0);
    common[NMI_AXIS_STREAM] = nmi_random_uniform_at(nmi_random_key(key, NMI_RANDOM_SIZES, 3), 0);
    const group_ends ends = draw_ends(settings, topology, varies, index, key);
    nmi_graph_full_sizes(topology, sizes);
    if (settings->draw == NMI_DRAW_FULL_FIRST && index == 0)
        return;
    for (int32_t a = 0; a < topology->axis_count; a++) {
        const nmi_axis_group group = drawn_group(settings, topology, a);
        double draw = common[group];
        if (ends.fixed)
            draw = ends.smallest[group] ? 0 : 1;
        else if (own)
            draw = nmi_random_uniform(&random);
        const nmi_range range = nmi_size_range_of(&settings->range, topology, a);
        if (varies[a])
            sizes[a] = nmi_range_size(&range, &topology->axes[a], draw);
    }
}
