/* SPDX-License-Identifier: MIT */
/* Settings of phases: learning rates, decaying weights, sizes, recipes. */
#include "nmi_random.h"
#include "nmi_settings.h"
#include "nmi_test.h"

#include <math.h>

static nmi_topology *topology_of(neumeta_context *context)
{
    nmi_topology *topology = NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    return topology;
}

/* Settings of a manifold's phase over all blocks from name, value, ... pairs. */
static nmi_settings settings_of(neumeta_context *context, nmi_topology *topology, nmi_phase *phase,
                                const char *const *pairs)
{
    nmi_settings settings;
    nmi_setting_scope scope = {topology, true, true, false, false, true};
    static char name[] = "p";
    *phase = (nmi_phase){.name = name, .first_block = 0, .last_block = -1};
    assert_ok(context, nmi_options_create(context, &phase->options));
    for (; pairs[0] != NULL; pairs += 2)
        assert_ok(context, nmi_options_parse(phase->options, pairs[0], pairs[1]));
    assert_ok(context, nmi_settings_read(context, phase, &scope, &settings));
    return settings;
}

static void assert_rate(const nmi_settings *settings, double epoch, double width, double expected)
{
    double rate = nmi_settings_rate_at(settings, epoch, width);
    ck_assert_msg(fabs(rate - expected) < 1e-12, "the rate at epoch %g is %.9g, not %.9g", epoch,
                  rate, expected);
}

START_TEST(rates_follow_their_course)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_phase phase;
    nmi_settings s = settings_of(context, topology, &phase,
                                 (const char *const[]){"epochs", "200", "learning-rate", "1",
                                                       "rate", "multistep", "milestones", "100,150",
                                                       "rate-factor", "0.1", NULL});
    assert_rate(&s, 0, 0.1, 1);
    assert_rate(&s, 99.99, 0.1, 1);
    assert_rate(&s, 100, 0.1, 0.1);
    assert_rate(&s, 150, 0.1, 0.01);
    nmi_options_release(phase.options);
    s = settings_of(context, topology, &phase,
                    (const char *const[]){"epochs", "12", "learning-rate", "2", "rate", "cosine",
                                          "warmup-epochs", "2", NULL});
    assert_rate(&s, 0, 0.5, 0.5);
    assert_rate(&s, 1, 0.5, 1.5);
    assert_rate(&s, 2, 0.5, 2);
    assert_rate(&s, 7, 0.5, 1);
    assert_rate(&s, 12, 0.5, 0);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(the_reconstruction_weight_can_fall)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_phase phase;
    nmi_settings s = settings_of(context, topology, &phase,
                                 (const char *const[]){"epochs", "50", "loss-reconstruction", "1",
                                                       "loss-reconstruction-end", "0", NULL});
    ck_assert_double_eq_tol(nmi_settings_reconstruction_at(&s, 0), 1, 1e-12);
    ck_assert_double_eq_tol(nmi_settings_reconstruction_at(&s, 20), 0.6, 1e-12);
    ck_assert_double_eq_tol(nmi_settings_reconstruction_at(&s, 50), 0, 1e-12);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* Draws sizes of the last block's inner width many times and counts each. */
static void count_sizes(const nmi_settings *settings, const nmi_topology *topology, int32_t axis,
                        int64_t index, int64_t counts[65])
{
    int64_t sizes[64];
    bool varies[64] = {false};
    ck_assert_int_le(topology->axis_count, 64);
    varies[axis] = true;
    memset(counts, 0, 65 * sizeof *counts);
    for (uint64_t draw = 0; draw < 3300; draw++) {
        nmi_settings_draw_sizes(settings, topology, varies, index,
                                nmi_random_key(1, NMI_RANDOM_SIZES, draw), sizes);
        for (int32_t a = 0; a < topology->axis_count; a++)
            if (a != axis)
                ck_assert_int_eq(sizes[a], topology->axes[a].max);
        counts[sizes[axis]]++;
    }
}

static int32_t find_axis(const nmi_topology *topology, const char *name)
{
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (strcmp(topology->axes[a].name, name) == 0)
            return a;
    ck_abort_msg("no axis '%s'", name);
    return -1;
}

START_TEST(sizes_are_drawn_evenly_between_the_compressions)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    int32_t axis = find_axis(topology, "layer3.2.inner");
    int64_t counts[65];
    nmi_phase phase;
    nmi_settings s =
        settings_of(context, topology, &phase, (const char *const[]){"gamma-max", "0.5", NULL});
    count_sizes(&s, topology, axis, 0, counts);
    for (int64_t h = 0; h <= 64; h++)
        /* 3,300 draws of 33 sizes: 100 each, give or take five standard deviations. */
        ck_assert_msg(h < 32 ? counts[h] == 0 : counts[h] > 50 && counts[h] < 150,
                      "size %d was drawn %d times", (int)h, (int)counts[h]);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(a_gap_is_never_drawn_from)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    int32_t axis = find_axis(topology, "layer3.2.inner");
    int64_t counts[65];
    nmi_phase phase;
    nmi_settings s =
        settings_of(context, topology, &phase,
                    (const char *const[]){"gamma-max", "0.75", "gamma-gap", "0.4375,0.5625", NULL});
    count_sizes(&s, topology, axis, 0, counts);
    for (int64_t h = 0; h <= 64; h++) {
        bool drawn = (h >= 16 && h < 28) || h > 36;
        /* 3,300 draws of 12 + 28 sizes: 82 each. */
        ck_assert_msg(drawn ? counts[h] > 40 && counts[h] < 130 : counts[h] == 0,
                      "size %d was drawn %d times", (int)h, (int)counts[h]);
    }
    nmi_options_release(phase.options);
    s = settings_of(context, topology, &phase,
                    (const char *const[]){"size-draw", "sandwich", "group", "2", "gamma-max", "0.9",
                                          "gamma-gap", "0.4375,0.5625", NULL});
    count_sizes(&s, topology, axis, 0, counts);
    ck_assert_int_eq(counts[64], 3300);
    count_sizes(&s, topology, axis, 1, counts);
    ck_assert_int_eq(counts[6], 3300);
    nmi_options_release(phase.options);
    /* The narrowest size that is left, where the last one lies in the gap: 26 is 0.594. */
    s = settings_of(context, topology, &phase,
                    (const char *const[]){"size-draw", "sandwich", "group", "2", "gamma-max", "0.6",
                                          "gamma-gap", "0.4375,0.595", NULL});
    count_sizes(&s, topology, axis, 1, counts);
    ck_assert_int_eq(counts[37], 3300);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* Depths have a draw of their own, from full to what DEPTH_GAMMA_MAX leaves; sandwiches begin full
 * and shallow. */
START_TEST(depths_are_drawn_apart_from_widths)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    const int32_t axis = find_axis(topology, "layer3.2.inner");
    const int32_t depths[] = {find_axis(topology, "layer1.depth"),
                              find_axis(topology, "layer3.depth")};
    int64_t sizes[64], counts[65] = {0}, full_and_narrow = 0, unequal = 0;
    bool varies[64] = {false};
    nmi_phase phase;
    nmi_settings s = settings_of(context, topology, &phase,
                                 (const char *const[]){"depth-gamma-max", "0.67", NULL});
    varies[axis] = varies[depths[0]] = varies[depths[1]] = true;
    for (uint64_t draw = 0; draw < 3300; draw++) {
        nmi_settings_draw_sizes(&s, topology, varies, 0, nmi_random_key(1, NMI_RANDOM_SIZES, draw),
                                sizes);
        counts[sizes[depths[0]]]++;
        unequal += sizes[depths[0]] != sizes[depths[1]];
        full_and_narrow += sizes[depths[0]] == 3 && sizes[axis] < 40;
    }
    for (int64_t d = 1; d <= 3; d++)
        ck_assert_msg(counts[d] > 950 && counts[d] < 1250, "depth %d was drawn %d times", (int)d,
                      (int)counts[d]);
    ck_assert_int_eq(unequal, 0);
    ck_assert_int_gt(full_and_narrow, 200); /* a third of a quarter */
    nmi_options_release(phase.options);
    s = settings_of(context, topology, &phase,
                    (const char *const[]){"size-draw", "sandwich", "group", "3", "depth-gamma-max",
                                          "0.67", "non-uniform", "1", NULL});
    for (uint64_t draw = 0; draw < 50; draw++) {
        for (int64_t end = 0; end < 3; end++) {
            nmi_settings_draw_sizes(&s, topology, varies, end,
                                    nmi_random_key(1, NMI_RANDOM_SIZES, draw), sizes);
            if (end < 2)
                ck_assert_int_eq(sizes[depths[0]], end == 0 ? 3 : 1);
            unequal += sizes[depths[0]] != sizes[depths[1]];
        }
    }
    ck_assert_int_gt(unequal, 20);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* Streams have a draw and corners of their own if STREAM_GAMMA_MAX is set; else they go with the inner
 * widths. */
START_TEST(streams_are_drawn_apart_from_widths)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    const int32_t width = find_axis(topology, "layer3.2.inner");
    const int32_t depth = find_axis(topology, "layer1.depth");
    const int32_t streams[] = {find_axis(topology, "layer1.stream"),
                               find_axis(topology, "layer3.stream")};
    int64_t sizes[64], counts[65] = {0}, met[8] = {0}, narrow = 0;
    bool varies[64] = {false};
    nmi_phase phase;
    nmi_settings s = settings_of(context, topology, &phase,
                                 (const char *const[]){"size-draw", "corners", "group", "3",
                                                       "gamma-max", "0.75", "depth-gamma-max",
                                                       "0.67", "stream-gamma-max", "0.5", NULL});
    varies[width] = varies[depth] = varies[streams[0]] = varies[streams[1]] = true;
    for (uint64_t draw = 0; draw < 3500; draw++) {
        const uint64_t key = nmi_random_key(1, NMI_RANDOM_SIZES, draw);
        nmi_settings_draw_sizes(&s, topology, varies, 1, key, sizes);
        ck_assert(sizes[streams[0]] == 16 || sizes[streams[0]] == 8);
        ck_assert_int_eq(sizes[streams[1]], 4 * sizes[streams[0]]);
        met[(sizes[width] == 16) + 2 * (sizes[depth] == 1) + 4 * (sizes[streams[0]] == 8)]++;
        nmi_settings_draw_sizes(&s, topology, varies, 2, key, sizes);
        counts[sizes[streams[1]]]++;
        narrow += sizes[streams[1]] < 40 && sizes[width] > 40;
    }
    ck_assert_int_eq(met[0], 0);
    for (int32_t m = 1; m < 8; m++)
        ck_assert_msg(met[m] > 400, "corner %d was met %d times", (int)m, (int)met[m]);
    for (int64_t size = 1; size <= 64; size++)
        ck_assert_msg(size < 32 ? counts[size] == 0 : counts[size] > 60,
                      "a stream of %d was drawn %d times", (int)size, (int)counts[size]);
    ck_assert_int_gt(narrow, 300);
    nmi_options_release(phase.options);

    s = settings_of(context, topology, &phase, (const char *const[]){"gamma-max", "0.75", NULL});
    for (uint64_t draw = 0; draw < 100; draw++) {
        const uint64_t key = nmi_random_key(1, NMI_RANDOM_SIZES, draw);
        nmi_settings_draw_sizes(&s, topology, varies, 0, key, sizes);
        ck_assert_int_eq(sizes[streams[1]], sizes[width]);
    }
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* Each third of the second sizes is narrow, shallow, or both; where nothing but widths varies, all
 * are narrow. */
START_TEST(corners_are_met_in_turn)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    const int32_t width = find_axis(topology, "layer3.2.inner");
    const int32_t depth = find_axis(topology, "layer1.depth");
    int64_t sizes[64], met[2][2] = {{0}}, counts[65];
    bool varies[64] = {false};
    nmi_phase phase;
    nmi_settings s =
        settings_of(context, topology, &phase,
                    (const char *const[]){"size-draw", "corners", "group", "3", "gamma-max", "0.75",
                                          "depth-gamma-max", "0.67", NULL});
    varies[width] = varies[depth] = true;
    for (uint64_t draw = 0; draw < 3000; draw++) {
        const uint64_t key = nmi_random_key(1, NMI_RANDOM_SIZES, draw);
        nmi_settings_draw_sizes(&s, topology, varies, 0, key, sizes);
        ck_assert(sizes[width] == 64 && sizes[depth] == 3);
        nmi_settings_draw_sizes(&s, topology, varies, 1, key, sizes);
        ck_assert(sizes[width] == 64 || sizes[width] == 16);
        ck_assert(sizes[depth] == 3 || sizes[depth] == 1);
        met[sizes[width] == 16][sizes[depth] == 1]++;
    }
    ck_assert_int_eq(met[0][0], 0);
    ck_assert(met[0][1] > 900 && met[1][0] > 900 && met[1][1] > 900);
    count_sizes(&s, topology, width, 1, counts);
    ck_assert_int_eq(counts[16], 3300);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(groups_begin_full_and_sandwiches_have_two_ends)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    int32_t axis = find_axis(topology, "layer3.2.inner");
    int64_t counts[65];
    nmi_phase phase;
    nmi_settings s = settings_of(
        context, topology, &phase,
        (const char *const[]){"size-draw", "full-first", "gamma-min", "0.25", "group", "4", NULL});
    count_sizes(&s, topology, axis, 0, counts);
    ck_assert_int_eq(counts[64], 3300);
    count_sizes(&s, topology, axis, 1, counts);
    ck_assert_int_eq(counts[64], 0);
    nmi_options_release(phase.options);
    s = settings_of(context, topology, &phase,
                    (const char *const[]){"size-draw", "sandwich", "gamma-min", "0.25", "gamma-max",
                                          "0.75", "group", "3", NULL});
    count_sizes(&s, topology, axis, 0, counts);
    ck_assert_int_eq(counts[48], 3300);
    count_sizes(&s, topology, axis, 1, counts);
    ck_assert_int_eq(counts[16], 3300);
    nmi_options_release(phase.options);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(phases_have_rising_milestones_and_are_not_endless)
{
    enum { PHASES = 65536 };
    neumeta_context *context = test_context();
    neumeta_schedule *schedule = NULL;
    neumeta_options *options = NULL;
    assert_ok(context, neumeta_schedule_create(context, &schedule));
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_parse(options, "milestones", "3,5,5"));
    assert_status(context, neumeta_schedule_add_phase(schedule, "a", 0, -1, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "phase 'a': MILESTONES must rise from entry to entry, but 5");
    for (int i = 0; i < PHASES; i++)
        assert_ok(context, neumeta_schedule_add_phase(schedule, "a", 0, -1, NULL));
    assert_status(context, neumeta_schedule_add_phase(schedule, "a", 0, -1, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "a schedule has at most 65536 phases");
    ck_assert_int_eq(neumeta_schedule_phase_count(schedule), PHASES);
    ck_assert_ptr_null(neumeta_schedule_phase_name(schedule, PHASES));
    ck_assert_ptr_null(neumeta_schedule_phase_name(schedule, -1));
    neumeta_options_free(options);
    neumeta_schedule_free(schedule);
    neumeta_context_free(context);
}
END_TEST

START_TEST(recipes_need_a_whole_topology_and_its_blocks)
{
    const int64_t blocks[] = {1};
    neumeta_context *context = test_context();
    neumeta_schedule *schedule = NULL;
    neumeta_topology *topology = NULL;
    assert_ok(context, neumeta_topology_create(context, &topology));
    assert_status(context,
                  neumeta_schedule_create_recipe(topology, "nm", blocks, 1, NULL, &schedule),
                  NEUMETA_ERR_STATE);
    assert_message_contains(context, "the topology is not sealed");
    neumeta_topology_free(topology);
    topology = topology_of(context);
    for (int64_t count = -1; count < 1000; count += 1000) {
        assert_status(
            context, neumeta_schedule_create_recipe(topology, "nm", blocks, count, NULL, &schedule),
            NEUMETA_ERR_ARGUMENT);
        assert_message_contains(context, "must lie in [0, ");
    }
    assert_status(context, neumeta_schedule_create_recipe(topology, "nm", NULL, 1, NULL, &schedule),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "blocks");
    ck_assert_ptr_null(schedule);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(recipes_have_the_settings_of_the_papers)
{
    const int64_t last[] = {9};
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_schedule *schedule = NULL;
    assert_ok(context, nmi_schedule_create_recipe(topology, "nm", last, 1, NULL, &schedule));
    ck_assert_int_eq(schedule->count, 1);
    ck_assert_int_eq(schedule->phases[0].first_block, 9);
    ck_assert_int_eq(schedule->phases[0].last_block, 9);
    ck_assert_double_eq(nmi_options_real(schedule->phases[0].options, NEUMETA_KEY_EMA), 0.995);
    nmi_schedule_release(schedule);
    assert_ok(context, nmi_schedule_create_recipe(topology, "ht", NULL, 0, NULL, &schedule));
    ck_assert_int_eq(schedule->count, topology->block_count);
    const nmi_options *options = schedule->phases[1].options;
    ck_assert_double_eq(nmi_options_real(options, NEUMETA_KEY_LOSS_TASK), 100);
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_GROUP), 4);
    nmi_schedule_release(schedule);
    neumeta_options *mine = NULL;
    assert_ok(context, nmi_options_create(context, &mine));
    assert_ok(context, nmi_options_parse(mine, "rate", "cosine"));
    assert_ok(context, nmi_options_parse(mine, "loss-reconstruction", "0"));
    assert_ok(context, nmi_schedule_create_recipe(topology, "nm", last, 1, mine, &schedule));
    options = schedule->phases[0].options;
    ck_assert(!nmi_options_has(options, NEUMETA_KEY_MILESTONES));
    ck_assert(!nmi_options_has(options, NEUMETA_KEY_RECONSTRUCTION_WEIGHTED));
    nmi_schedule_release(schedule);
    nmi_options_release(mine);
    ck_assert_int_eq(nmi_schedule_create_recipe(topology, "adam", NULL, 0, NULL, &schedule),
                     NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "recipe is 'adam', must be nm or ht");
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

START_TEST(shorter_recipes_keep_the_shares_of_their_phases)
{
    neumeta_context *context = test_context();
    nmi_topology *topology = NULL;
    nmi_schedule *schedule = NULL;
    neumeta_options *mine = NULL;
    const int64_t last[] = {9};
    int64_t count = 0;
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, nmi_options_create(context, &mine));
    const struct {
        const char *epochs;
        int64_t count, milestones[2];
    } shares[] = {{"200", 2, {100, 150}},
                  {"40", 2, {20, 30}},
                  {"3", 1, {2, 0}},
                  {"2", 1, {1, 0}},
                  {"0.5", 0, {0, 0}}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        assert_ok(context, nmi_options_parse(mine, "epochs", shares[i].epochs));
        assert_ok(context, nmi_schedule_create_recipe(topology, "nm", last, 1, mine, &schedule));
        const nmi_options *options = schedule->phases[0].options;
        const int64_t *milestones = nmi_options_ints(options, NEUMETA_KEY_MILESTONES, &count);
        ck_assert_int_eq(nmi_options_choice(options, NEUMETA_KEY_RATE),
                         shares[i].count > 0 ? NMI_RATE_MULTISTEP : NMI_RATE_CONSTANT);
        ck_assert_int_eq(count, shares[i].count > 0 ? shares[i].count : 0);
        for (int64_t m = 0; m < shares[i].count; m++)
            ck_assert_int_eq(milestones[m], shares[i].milestones[m]);
        nmi_schedule_release(schedule);
    }
    /* HT warms up in the first phase of a stage alone, whoever says for how long. */
    for (int given = 0; given < 2; given++) {
        assert_ok(context, nmi_options_parse(mine, "epochs", "5"));
        if (given != 0)
            assert_ok(context, nmi_options_parse(mine, "warmup-epochs", "0.25"));
        assert_ok(context, nmi_schedule_create_recipe(topology, "ht", NULL, 0, mine, &schedule));
        for (int32_t p = 0; p < schedule->count; p++) {
            const nmi_phase *phase = &schedule->phases[p];
            const double warmup = nmi_options_real(phase->options, NEUMETA_KEY_WARMUP_EPOCHS);
            const bool within = strchr(phase->name, '.') != NULL && phase->name[7] != '0';
            ck_assert_double_eq(warmup, within ? 0 : given != 0 ? 0.25 : 2);
        }
        nmi_schedule_release(schedule);
    }
    nmi_options_release(mine);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* --- all values of the recipes ---------------------------------------------------------------- */

/* CHOICE: the index of the word. */
typedef struct recipe_value {
    int32_t key;
    double value;
} recipe_value;

/* What a phase trains with, whether the recipe sets it or leaves it at its default. */
static const recipe_value nm_values[] = {
    {NEUMETA_KEY_EPOCHS, 200},
    {NEUMETA_KEY_BATCH, 128},
    {NEUMETA_KEY_GROUP, 1},
    {NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_ADAMW},
    {NEUMETA_KEY_LEARNING_RATE, 1e-3},
    {NEUMETA_KEY_WEIGHT_DECAY, 1e-2},
    {NEUMETA_KEY_BETA1, 0.9},
    {NEUMETA_KEY_BETA2, 0.999},
    {NEUMETA_KEY_ADAM_EPSILON, 1e-8},
    {NEUMETA_KEY_RATE, NMI_RATE_MULTISTEP},
    {NEUMETA_KEY_RATE_FACTOR, 0.1},
    {NEUMETA_KEY_WARMUP_EPOCHS, 0},
    {NEUMETA_KEY_CLIP_VALUE, 10},
    {NEUMETA_KEY_CLIP_NORM, 0},
    {NEUMETA_KEY_EMA, 0.995},
    {NEUMETA_KEY_LOSS_TASK, 1},
    {NEUMETA_KEY_LOSS_NORM, 1e-4},
    {NEUMETA_KEY_LOSS_RECONSTRUCTION, 1},
    {NEUMETA_KEY_LOSS_RECONSTRUCTION_END, -1},
    {NEUMETA_KEY_RECONSTRUCTION_WEIGHTED, 1},
    {NEUMETA_KEY_LOSS_DISTILLATION, 0},
    {NEUMETA_KEY_LABEL_SMOOTHING, 0},
    {NEUMETA_KEY_SIZE_DRAW, NMI_DRAW_UNIFORM},
    {NEUMETA_KEY_GAMMA_MIN, 0},
    {NEUMETA_KEY_GAMMA_MAX, 0.5},
    {NEUMETA_KEY_NON_UNIFORM, 0},
    {NEUMETA_KEY_INR_INIT, NMI_START_RANDOM},
    {NEUMETA_KEY_RESIDUAL_RATE, 0},
    {NEUMETA_KEY_DIRECT_RATE, 0},
    {NEUMETA_KEY_CONTINUE_FROM, 0},
    {NEUMETA_KEY_VALIDATE_EPOCHS, 0},
};

/* WARMUP_EPOCHS differs from phase to phase. */
static const recipe_value ht_values[] = {
    {NEUMETA_KEY_EPOCHS, 50},
    {NEUMETA_KEY_BATCH, 128},
    {NEUMETA_KEY_GROUP, 4},
    {NEUMETA_KEY_OPTIMIZER, NMI_OPTIMIZER_ADAMW},
    {NEUMETA_KEY_LEARNING_RATE, 8e-4},
    {NEUMETA_KEY_WEIGHT_DECAY, 1e-4},
    {NEUMETA_KEY_BETA1, 0.9},
    {NEUMETA_KEY_BETA2, 0.999},
    {NEUMETA_KEY_ADAM_EPSILON, 1e-8},
    {NEUMETA_KEY_RATE, NMI_RATE_CONSTANT},
    {NEUMETA_KEY_CLIP_VALUE, 10},
    {NEUMETA_KEY_CLIP_NORM, 0},
    {NEUMETA_KEY_EMA, 0},
    {NEUMETA_KEY_LOSS_TASK, 100},
    {NEUMETA_KEY_LOSS_NORM, 1e-3},
    {NEUMETA_KEY_LOSS_RECONSTRUCTION, 1},
    {NEUMETA_KEY_LOSS_RECONSTRUCTION_END, -1},
    {NEUMETA_KEY_RECONSTRUCTION_WEIGHTED, 0},
    {NEUMETA_KEY_LOSS_DISTILLATION, 0},
    {NEUMETA_KEY_LABEL_SMOOTHING, 0},
    {NEUMETA_KEY_SIZE_DRAW, NMI_DRAW_FULL_FIRST},
    {NEUMETA_KEY_GAMMA_MIN, 0},
    {NEUMETA_KEY_GAMMA_MAX, 0.5},
    {NEUMETA_KEY_NON_UNIFORM, 0},
    {NEUMETA_KEY_INR_INIT, NMI_START_CLONED},
    {NEUMETA_KEY_RESIDUAL_START, 0},
    {NEUMETA_KEY_RESIDUAL_RATE, 1e-4},
    {NEUMETA_KEY_DIRECT_RATE, 7e-5},
    {NEUMETA_KEY_DIRECT_DECAY, 1e-2},
    {NEUMETA_KEY_TRAIN_EARLIER, 1},
    {NEUMETA_KEY_KEEP_MOMENTS, 0},
    {NEUMETA_KEY_CONTINUE_FROM, 0},
    {NEUMETA_KEY_VALIDATE_EPOCHS, 0},
};
enum {
    NM_VALUES = sizeof nm_values / sizeof *nm_values,
    HT_VALUES = sizeof ht_values / sizeof *ht_values
};

static double value_of(const nmi_options *options, const nmi_key *key)
{
    switch (key->type) {
    case NEUMETA_TYPE_CHOICE:
        return nmi_options_choice(options, key->number);
    case NEUMETA_TYPE_REAL:
        return nmi_options_real(options, key->number);
    default:
        return (double)nmi_options_int(options, key->number);
    }
}

static bool is_listed(const recipe_value *values, int count, int32_t key)
{
    for (int i = 0; i < count; i++)
        if (values[i].key == key)
            return true;
    return false;
}

/* Each value as listed, and nothing else set but keys of `others`, which are up to 0. */
static void assert_values(const nmi_phase *phase, const recipe_value *values, int count,
                          const int32_t *others)
{
    for (int i = 0; i < count; i++) {
        const nmi_key *key = nmi_key_find(values[i].key);
        double value = value_of(phase->options, key);
        ck_assert_msg(value == values[i].value, "phase '%s': %s is %g, not %g", phase->name,
                      key->name, value, values[i].value);
    }
    const nmi_key *set;
    for (int32_t i = 0; (set = nmi_options_set_at(phase->options, i)) != NULL; i++) {
        bool known = is_listed(values, count, set->number);
        for (const int32_t *other = others; *other != 0; other++)
            known |= *other == set->number;
        ck_assert_msg(known, "phase '%s' sets %s", phase->name, set->name);
    }
}

static void assert_ints(const nmi_phase *phase, int32_t key, const int64_t *expected, int64_t count)
{
    int64_t found = 0;
    const int64_t *values = nmi_options_ints(phase->options, key, &found);
    ck_assert_int_eq(found, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_int_eq(values[i], expected[i]);
}

START_TEST(the_nm_recipe_has_every_value_of_the_paper)
{
    static const int64_t blocks[] = {8, 9, 4}, milestones[] = {100, 150};
    static const int32_t others[] = {NEUMETA_KEY_MILESTONES, 0};
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_schedule *schedule = NULL;
    assert_ok(context, nmi_schedule_create_recipe(topology, "nm", blocks, 3, NULL, &schedule));
    ck_assert_int_eq(schedule->count, 1);
    ck_assert_int_eq(schedule->phases[0].first_block, 4);
    ck_assert_int_eq(schedule->phases[0].last_block, 9);
    assert_values(&schedule->phases[0], nm_values, NM_VALUES, others);
    assert_ints(&schedule->phases[0], NEUMETA_KEY_MILESTONES, milestones, 2);
    ck_assert(!nmi_options_has(schedule->phases[0].options, NEUMETA_KEY_RESIDUAL_START));
    nmi_schedule_release(schedule);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* A recipe's blocks, and what follows from them. */
typedef struct ht_case {
    int64_t blocks[9], count;
    int64_t direct[2], direct_count; /* the blocks behind the last one */
    int64_t stage_starts[3];
} ht_case;

static const ht_case ht_cases[] = {
    {{1, 2, 3, 4, 5, 6, 7, 8, 9}, 9, {10}, 1, {1, 4, 7}},
    /* As in the paper: all but the first block of each stage and the last one. */
    {{2, 3, 5, 6, 8}, 5, {9, 10}, 2, {2, 5, 8}},
};
enum { HT_CASES = sizeof ht_cases / sizeof *ht_cases };

static nmi_schedule *ht_schedule(nmi_topology *topology, const ht_case *c)
{
    nmi_schedule *schedule = NULL;
    assert_ok(topology->object.context,
              nmi_schedule_create_recipe(topology, "ht", c->blocks, c->count, NULL, &schedule));
    ck_assert_int_eq(schedule->count, c->count);
    return schedule;
}

START_TEST(the_ht_recipe_has_every_value_of_the_paper_in_each_phase)
{
    static const int32_t others[] = {NEUMETA_KEY_DIRECT_BLOCKS, NEUMETA_KEY_WARMUP_EPOCHS, 0};
    const ht_case *c = &ht_cases[_i];
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_schedule *schedule = ht_schedule(topology, c);
    for (int32_t p = 0; p < schedule->count; p++) {
        const nmi_phase *phase = &schedule->phases[p];
        ck_assert_int_eq(phase->first_block, c->blocks[p]);
        ck_assert_int_eq(phase->last_block, c->blocks[p]);
        assert_values(phase, ht_values, HT_VALUES, others);
        assert_ints(phase, NEUMETA_KEY_DIRECT_BLOCKS, c->direct, c->direct_count);
    }
    nmi_schedule_release(schedule);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

/* The first block of a stage differs from its others (it has fewer inputs), but it is one of it. */
START_TEST(the_ht_recipe_warms_up_at_the_first_morphing_block_of_each_stage)
{
    const ht_case *c = &ht_cases[_i];
    neumeta_context *context = test_context();
    nmi_topology *topology = topology_of(context);
    nmi_schedule *schedule = ht_schedule(topology, c);
    for (int32_t p = 0; p < schedule->count; p++) {
        const nmi_phase *phase = &schedule->phases[p];
        double warmup = nmi_options_real(phase->options, NEUMETA_KEY_WARMUP_EPOCHS);
        bool starts = false;
        for (int s = 0; s < 3; s++)
            starts |= c->stage_starts[s] == c->blocks[p];
        ck_assert_msg(warmup == (starts ? 20 : 0), "phase '%s' warms up for %g epochs, not %d",
                      phase->name, warmup, starts ? 20 : 0);
    }
    nmi_schedule_release(schedule);
    nmi_topology_release(topology);
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *cases = tcase_create("schedule");
    tcase_add_test(cases, rates_follow_their_course);
    tcase_add_test(cases, the_reconstruction_weight_can_fall);
    tcase_add_test(cases, sizes_are_drawn_evenly_between_the_compressions);
    tcase_add_test(cases, a_gap_is_never_drawn_from);
    tcase_add_test(cases, depths_are_drawn_apart_from_widths);
    tcase_add_test(cases, groups_begin_full_and_sandwiches_have_two_ends);
    tcase_add_test(cases, streams_are_drawn_apart_from_widths);
    tcase_add_test(cases, corners_are_met_in_turn);
    tcase_add_test(cases, phases_have_rising_milestones_and_are_not_endless);
    tcase_add_test(cases, recipes_need_a_whole_topology_and_its_blocks);
    tcase_add_test(cases, recipes_have_the_settings_of_the_papers);
    tcase_add_test(cases, shorter_recipes_keep_the_shares_of_their_phases);
    tcase_add_test(cases, the_nm_recipe_has_every_value_of_the_paper);
    tcase_add_loop_test(cases, the_ht_recipe_has_every_value_of_the_paper_in_each_phase, 0,
                        HT_CASES);
    tcase_add_loop_test(cases, the_ht_recipe_warms_up_at_the_first_morphing_block_of_each_stage, 0,
                        HT_CASES);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
