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
    nmi_setting_scope scope = {topology, true, true, true};
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
    } shares[] = {
        {"200", 2, {100, 150}}, {"40", 2, {20, 30}}, {"2", 1, {1, 0}}, {"0.5", 0, {0, 0}}};
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

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *cases = tcase_create("schedule");
    tcase_add_test(cases, rates_follow_their_course);
    tcase_add_test(cases, the_reconstruction_weight_can_fall);
    tcase_add_test(cases, sizes_are_drawn_evenly_between_the_compressions);
    tcase_add_test(cases, groups_begin_full_and_sandwiches_have_two_ends);
    tcase_add_test(cases, recipes_have_the_settings_of_the_papers);
    tcase_add_test(cases, shorter_recipes_keep_the_shares_of_their_phases);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
