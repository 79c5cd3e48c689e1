/* SPDX-License-Identifier: MIT */
/* Parts that do not fit together: handles, references, phases, data, numbers. Each refusal is read,
 * and each leaves its handles as they were. */
#include "nmi_faults.h"

#include <math.h>

static int32_t never_fetched(void *user, int32_t split, const int64_t *indices, int64_t count,
                             float *inputs, int64_t *targets)
{
    (void)user, (void)split, (void)indices, (void)count, (void)inputs, (void)targets;
    ck_abort_msg("the callback was called");
    return 1;
}

/* --- handles and networks --- */

START_TEST(handles_of_two_contexts_do_not_mix)
{
    faults *f = fault_start_manifold(), *g = fault_start_manifold();
    const int64_t sizes[] = {4, FAULT_CLASSES, 2, 3, 2};
    const char *message = "belongs to another context";
    neumeta_network *network = NULL;
    refuse(f, neumeta_network_evaluate(f->network, g->dataset, NEUMETA_SPLIT_TEST, NULL, NULL),
           message);
    refuse(f, neumeta_manifold_materialize(f->manifold, sizes, 5, g->options, &network), message);
    neumeta_manifold *manifold = NULL;
    refuse(f, neumeta_manifold_create(f->topology, g->options, &manifold), message);
    refuse(f, neumeta_schedule_add_phase(f->schedule, "p", 0, -1, g->options), message);
    refuse(
        f,
        neumeta_trainer_create(f->manifold, g->network, f->schedule, f->dataset, NULL, &f->trainer),
        message);
    refuse(f, neumeta_trainer_create(f->manifold, NULL, g->schedule, f->dataset, NULL, &f->trainer),
           message);
    refuse(f, neumeta_trainer_create(f->manifold, NULL, f->schedule, g->dataset, NULL, &f->trainer),
           message);
    refuse(
        f,
        neumeta_trainer_create(f->manifold, NULL, f->schedule, f->dataset, g->options, &f->trainer),
        message);
    refuse(f, neumeta_trainer_create_plain(f->network, g->schedule, f->dataset, NULL, &f->trainer),
           message);
    fault_free(f);
    fault_free(g);
}
END_TEST

static void refuse_reference(faults *f, const char *message)
{
    assert_status(
        f->context,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &f->trainer),
        NEUMETA_ERR_SHAPE);
    assert_message_contains(f->context, message);
    neumeta_network_free(f->network);
    f->network = NULL;
}

/* Input, a convolution and a classifier under the names of the manifold that is to be betrayed. */
static void make_pair(faults *f, const char *kernel, const char *padding, const char *pixels)
{
    int32_t axis, out, input, conv, pool, linear;
    neumeta_topology_free(f->topology);
    f->topology = NULL;
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    attempt(f, neumeta_topology_add_axis(f->topology, "a", NEUMETA_AXIS_WIDTH, 2, 4, 1, &axis));
    attempt(f, neumeta_topology_add_axis(f->topology, "o", NEUMETA_AXIS_WIDTH, 3, 3, 1, &out));
    attempt(f, neumeta_topology_begin_block(f->topology, "b"));
    fault_options(f,
                  FAULT_PAIRS("input-channels", "1", "input-height", pixels, "input-width", "6"));
    attempt(f, neumeta_topology_add_node(f->topology, "x", NEUMETA_OP_INPUT, NULL, 0, -1,
                                         f->options, &input));
    fault_options(f, FAULT_PAIRS("kernel", kernel, "padding", padding));
    attempt(f, neumeta_topology_add_node(f->topology, "c", NEUMETA_OP_CONV, &input, 1, axis,
                                         f->options, &conv));
    attempt(f, neumeta_topology_add_node(f->topology, "p", NEUMETA_OP_POOL_GLOBAL, &conv, 1, -1,
                                         NULL, &pool));
    attempt(f, neumeta_topology_add_node(f->topology, "l", NEUMETA_OP_LINEAR, &pool, 1, out, NULL,
                                         &linear));
    attempt(f, neumeta_topology_seal(f->topology, linear));
}

START_TEST(a_reference_of_another_kind_is_refused)
{
    faults *f = fault_start_manifold();
    const int64_t sizes[] = {4, FAULT_CLASSES, 2, 3, 4};
    neumeta_network_free(f->network);
    f->network = NULL;
    attempt_new(f, &f->network, neumeta_network_create(f->topology, sizes, 5, &f->network));
    refuse_reference(f, "size 3 on axis 'body.0.inner', must be full: 4");
    make_pair(f, "3", "1", "6");
    attempt_new(f, &f->network, neumeta_network_create(f->topology, NULL, 0, &f->network));
    refuse_reference(f, "the reference has 4 tensors on 2 axes");
    /* Equal names and counts, another kernel or image: what tables of names do not show. */
    neumeta_manifold_free(f->manifold);
    attempt_new(f, &f->manifold, neumeta_manifold_create(f->topology, NULL, &f->manifold));
    neumeta_schedule_free(f->schedule);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 0, -1, NULL));
    make_pair(f, "5", "2", "6");
    attempt_new(f, &f->network, neumeta_network_create(f->topology, NULL, 0, &f->network));
    refuse_reference(f, "tensor 'c.weight' of the reference has another shape");
    make_pair(f, "3", "1", "7");
    attempt_new(f, &f->network, neumeta_network_create(f->topology, NULL, 0, &f->network));
    refuse_reference(f, "takes or gives other shapes");
    fault_free(f);
}
END_TEST

START_TEST(every_phase_is_checked_before_the_first_step)
{
    faults *f = fault_start_manifold();
    fault_options(f, FAULT_PAIRS("size-axes", "99"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "later", 1, 2, f->options));
    refuse(
        f,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &f->trainer),
        "phase 'later': SIZE_AXES names axis 99");
    neumeta_schedule_free(f->schedule);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "first", 1, 2, NULL));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "far", 0, 44, NULL));
    refuse(
        f,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &f->trainer),
        "phase 'far'");
    neumeta_schedule_free(f->schedule);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("optimizer", "sgd"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "first", 1, 2, f->options));
    fault_options(f, FAULT_PAIRS("optimizer", "adamw", "keep-moments", "1"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "other", 1, 2, f->options));
    refuse(
        f,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &f->trainer),
        "phase 'other': KEEP_MOMENTS needs the OPTIMIZER of the phase before");
    fault_free(f);
}
END_TEST

START_TEST(networks_that_change_under_a_trainer_stop_it)
{
    faults *f = fault_start(0);
    neumeta_network *copy = NULL;
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "2", "batch", "4"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 0, -1, f->options));
    attempt_new(
        f, &f->trainer,
        neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    attempt_new(f, &copy, neumeta_network_share(f->network, f->context, &copy));
    assert_status(f->context, neumeta_trainer_step(f->trainer), NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "shares its weights");
    neumeta_trainer *other = NULL;
    assert_status(f->context,
                  neumeta_trainer_create_plain(copy, f->schedule, f->dataset, NULL, &other),
                  NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "shares its weights");
    neumeta_network_free(copy);
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    assert_ok(f->context, neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, NULL));
    assert_status(f->context, neumeta_trainer_run(f->trainer), NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "norm was replaced");
    assert_status(f->context, neumeta_trainer_save(f->trainer, "/nonexistent/f"),
                  NEUMETA_ERR_STATE);
    assert_status(f->context, neumeta_trainer_restore(f->trainer, "/nonexistent/f"),
                  NEUMETA_ERR_STATE);
    fault_free(f);
}
END_TEST

/* --- data --- */

enum { REFUSE, NOT_A_NUMBER, ENDLESS, NEGATIVE, TOO_LARGE };

/* A callback that does what it is told at its n-th call. */
typedef struct bad_data {
    const faults *f;
    int64_t calls, bad_call;
    int how;
} bad_data;

static int32_t fetch_badly(void *user, int32_t split, const int64_t *indices, int64_t count,
                           float *inputs, int64_t *targets)
{
    bad_data *data = user;
    (void)split;
    for (int64_t i = 0; i < count; i++) {
        memcpy(inputs + i * FAULT_PIXELS, data->f->inputs + indices[i] * FAULT_PIXELS,
               FAULT_PIXELS * sizeof *inputs);
        targets[i] = data->f->targets[indices[i]];
    }
    if (++data->calls != data->bad_call)
        return 0;
    switch (data->how) {
    case REFUSE:
        return -5;
    case NOT_A_NUMBER:
        inputs[3] = NAN;
        break;
    case ENDLESS:
        inputs[3] = -INFINITY;
        break;
    case NEGATIVE:
        targets[0] = -1;
        break;
    default:
        targets[0] = FAULT_CLASSES;
        break;
    }
    return 0;
}

START_TEST(bad_data_fails_the_call_and_changes_nothing)
{
    static const struct {
        int how;
        const char *message;
    } cases[] = {
        {REFUSE, "the fetch callback returned -5"},
        {NOT_A_NUMBER, "input value 3 is not finite"},
        {ENDLESS, "input value 3 is not finite"},
        {NEGATIVE, "has the target -1"},
        {TOO_LARGE, "target 3"},
    };
    uint64_t expected = 0;
    for (int i = -1; i < (int)(sizeof cases / sizeof *cases); i++) {
        faults *f = fault_start(0);
        bad_data data = {.f = f, .bad_call = -1};
        double loss = 0;
        neumeta_dataset_free(f->dataset);
        fault_options(f, FAULT_PAIRS("input-channels", "1", "input-height", "6", "input-width", "6",
                                     "held-out", "4"));
        attempt_new(f, &f->dataset,
                    neumeta_dataset_create(f->context, FAULT_TRAIN, FAULT_TEST, fetch_badly, &data,
                                           f->options, &f->dataset));
        attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
        fault_options(f, FAULT_PAIRS("epochs", "2", "batch", "4", "group", "2", "validate-epochs",
                                     "1", "continue-from", "best", "ema", "0.5"));
        attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 0, -1, f->options));
        attempt_new(
            f, &f->trainer,
            neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
        if (i >= 0) {
            data.how = cases[i].how;
            data.bad_call = 1;
            neumeta_status status =
                neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_TEST, &loss, NULL);
            ck_assert_int_eq(status, NEUMETA_ERR_CALLBACK);
            assert_message_contains(f->context, cases[i].message);
            /* In the first and second minibatch of the first step, and in its validation. */
            for (int64_t call = 1; call <= 3; call++) {
                data.bad_call = data.calls + call;
                status = neumeta_trainer_run(f->trainer);
                ck_assert_msg(status == NEUMETA_ERR_CALLBACK, "case %d, call %d: %d %s", i,
                              (int)call, (int)status, neumeta_context_message(f->context));
                assert_message_contains(f->context, cases[i].message);
            }
            data.bad_call = -1;
        }
        assert_ok(f->context, neumeta_trainer_run(f->trainer));
        fault_digest_network(f, f->network);
        if (i < 0)
            expected = f->digest;
        ck_assert_msg(f->digest == expected, "case %d: another result", i);
        fault_free(f);
    }
}
END_TEST

START_TEST(datasets_that_do_not_fit_are_refused)
{
    faults *f = fault_start_manifold();
    neumeta_dataset *dataset = NULL;
    const char *shape[] = {"input-channels", "1", "input-height", "6", "input-width", "6"};
    refuse(f, neumeta_dataset_create(f->context, 0, 0, never_fetched, NULL, NULL, &dataset),
           "0 training and 0 test items");
    refuse(f, neumeta_dataset_create(f->context, -1, 5, never_fetched, NULL, NULL, &dataset),
           "-1 training");
    refuse(f, neumeta_dataset_create(f->context, 1, INT64_MAX, never_fetched, NULL, NULL, &dataset),
           "must lie in");
    fault_options(f, FAULT_PAIRS("held-out", "4"));
    refuse(f, neumeta_dataset_create(f->context, 4, 1, never_fetched, NULL, f->options, &dataset),
           "HELD_OUT is 4, must be below the 4 training items");
    fault_options(f, FAULT_PAIRS("data-mean", "0.1,0.2"));
    refuse(f, neumeta_dataset_create(f->context, 4, 1, never_fetched, NULL, f->options, &dataset),
           "DATA_MEAN has 2 entries");
    attempt_new(f, &dataset,
                neumeta_dataset_create(f->context, 4, 1, never_fetched, NULL, NULL, &dataset));
    assert_status(f->context,
                  neumeta_network_evaluate(f->network, dataset, NEUMETA_SPLIT_TEST, NULL, NULL),
                  NEUMETA_ERR_SHAPE);
    assert_message_contains(f->context, "items of the dataset are [3, 32, 32]");
    assert_status(
        f->context,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, dataset, NULL, &f->trainer),
        NEUMETA_ERR_SHAPE);
    assert_message_contains(f->context, "the dataset's items are 3 x 32 x 32");
    neumeta_dataset_free(dataset);
    fault_options(f, FAULT_PAIRS(shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]));
    attempt_new(
        f, &dataset,
        neumeta_dataset_create(f->context, 0, 4, never_fetched, NULL, f->options, &dataset));
    assert_status(f->context,
                  neumeta_network_evaluate(f->network, dataset, NEUMETA_SPLIT_HELD_OUT, NULL, NULL),
                  NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "has no items");
    refuse(f,
           neumeta_trainer_create(f->manifold, f->network, f->schedule, dataset, NULL, &f->trainer),
           "the dataset has no training items");
    neumeta_dataset_free(dataset);
    fault_free(f);
}
END_TEST

/* --- numbers --- */

START_TEST(a_step_that_is_not_finite_leaves_the_weights_of_the_one_before)
{
    faults *f = fault_start(0);
    neumeta_status status = NEUMETA_OK;
    uint64_t before = 0;
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "2000", "batch", "4", "optimizer", "sgd",
                                 "learning-rate", "10", "weight-decay", "10"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "steep", 0, -1, f->options));
    attempt_new(
        f, &f->trainer,
        neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
    while (status == NEUMETA_OK) {
        f->digest = 1;
        fault_digest_network(f, f->network);
        before = f->digest;
        status = neumeta_trainer_step(f->trainer);
    }
    assert_status(f->context, status, NEUMETA_ERR_NUMERIC);
    assert_message_contains(f->context, "phase 'steep', epoch");
    assert_message_contains(f->context, "is not finite; a lower LEARNING_RATE");
    f->digest = 1;
    fault_digest_network(f, f->network);
    ck_assert_msg(f->digest == before, "the failed step changed the network");
    assert_status(f->context, neumeta_trainer_step(f->trainer), NEUMETA_ERR_NUMERIC);
    fault_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("misfits");
    TCase *cases = tcase_create("misfits");
    tcase_add_test(cases, handles_of_two_contexts_do_not_mix);
    tcase_add_test(cases, a_reference_of_another_kind_is_refused);
    tcase_add_test(cases, every_phase_is_checked_before_the_first_step);
    tcase_add_test(cases, networks_that_change_under_a_trainer_stop_it);
    tcase_add_test(cases, bad_data_fails_the_call_and_changes_nothing);
    tcase_add_test(cases, datasets_that_do_not_fit_are_refused);
    tcase_add_test(cases, a_step_that_is_not_finite_leaves_the_weights_of_the_one_before);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
