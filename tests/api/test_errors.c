/* SPDX-License-Identifier: MIT */
/* What callers get wrong, call by call: missing arguments, sizes, settings, data. Each refusal is
 * read, and each leaves its handles as they were. Damaged files and threads: test_faults.c. */
#include "nmi_faults.h"

#include <math.h>
#include <stdio.h>

/* --- NULL --- */

#define no_handle(call) ck_assert_msg((call) == NEUMETA_ERR_ARGUMENT, #call)

START_TEST(a_call_without_its_handle_is_refused)
{
    int64_t number = 0;
    int32_t small = 0;
    double real = 0;
    float value = 0;
    neumeta_topology *topology = (neumeta_topology *)&number;
    neumeta_network *network = (neumeta_network *)&number;
    neumeta_manifold *manifold = (neumeta_manifold *)&number;
    neumeta_schedule *schedule = (neumeta_schedule *)&number;
    neumeta_dataset *dataset = (neumeta_dataset *)&number;
    neumeta_trainer *trainer = (neumeta_trainer *)&number;
    no_handle(neumeta_topology_create(NULL, &topology));
    ck_assert_ptr_null(topology);
    no_handle(neumeta_topology_create_builtin(NULL, "lenet", NULL, &topology));
    no_handle(neumeta_topology_add_axis(NULL, "a", NEUMETA_AXIS_WIDTH, 1, 1, 1, &small));
    no_handle(neumeta_topology_begin_block(NULL, "b"));
    no_handle(neumeta_topology_add_node(NULL, "n", NEUMETA_OP_INPUT, NULL, 0, -1, NULL, &small));
    no_handle(neumeta_topology_begin_repeat(NULL, "r", 0, 0, 0));
    no_handle(neumeta_topology_end_repeat(NULL, 0, &small));
    no_handle(neumeta_topology_seal(NULL, 0));
    no_handle(neumeta_topology_axis(NULL, 0, NULL, NULL, NULL, NULL, NULL));
    no_handle(neumeta_topology_cost(NULL, &number, 1, &number, &number));
    no_handle(neumeta_topology_shapes(NULL, NULL, 0, NULL, NULL));
    no_handle(neumeta_topology_sizes_at(NULL, 0, &number, 1));
    ck_assert_int_eq(neumeta_topology_axis_count(NULL), -1);
    ck_assert_int_eq(neumeta_topology_block_count(NULL), -1);
    ck_assert_ptr_null(neumeta_topology_block_name(NULL, 0));
    no_handle(neumeta_network_create(NULL, NULL, 0, &network));
    ck_assert_ptr_null(network);
    no_handle(neumeta_network_load(NULL, "f", NULL, &network));
    no_handle(neumeta_network_load_memory(NULL, &number, 8, NULL, &network));
    no_handle(neumeta_network_topology(NULL, &topology));
    no_handle(neumeta_network_sizes(NULL, &number, 1));
    no_handle(neumeta_network_replace_norm(NULL, NEUMETA_NORM_FOLD, NULL));
    no_handle(neumeta_network_smooth(NULL, NULL));
    no_handle(neumeta_network_roughness(NULL, &real));
    no_handle(neumeta_network_run(NULL, &value, 1, &value, 1));
    no_handle(neumeta_network_memory(NULL, 1, &number));
    no_handle(neumeta_network_evaluate(NULL, NULL, NEUMETA_SPLIT_TEST, &real, &real));
    no_handle(neumeta_network_share(NULL, NULL, &network));
    no_handle(neumeta_network_save(NULL, "f"));
    no_handle(neumeta_network_tensor(NULL, 0, NULL, NULL, NULL, NULL));
    ck_assert_int_eq(neumeta_network_tensor_count(NULL), -1);
    no_handle(neumeta_dataset_create(NULL, 1, 1, NULL, NULL, NULL, &dataset));
    ck_assert_ptr_null(dataset);
    no_handle(neumeta_dataset_create_memory(NULL, &value, &number, 1, 1, NULL, &dataset));
    no_handle(neumeta_manifold_create(NULL, NULL, &manifold));
    ck_assert_ptr_null(manifold);
    no_handle(neumeta_manifold_load(NULL, "f", &manifold));
    no_handle(neumeta_manifold_load_memory(NULL, &number, 8, &manifold));
    no_handle(neumeta_manifold_save(NULL, "f"));
    no_handle(neumeta_manifold_write(NULL, NULL, NULL));
    no_handle(neumeta_manifold_topology(NULL, &topology));
    no_handle(neumeta_manifold_parameters(NULL, &number));
    no_handle(neumeta_manifold_sizes_at(NULL, 0, &number, 1));
    no_handle(neumeta_manifold_materialize(NULL, &number, 1, NULL, &network));
    no_handle(neumeta_schedule_create(NULL, &schedule));
    ck_assert_ptr_null(schedule);
    no_handle(neumeta_schedule_create_recipe(NULL, "nm", NULL, 0, NULL, &schedule));
    no_handle(neumeta_schedule_add_phase(NULL, "p", 0, -1, NULL));
    ck_assert_int_eq(neumeta_schedule_phase_count(NULL), -1);
    ck_assert_ptr_null(neumeta_schedule_phase_name(NULL, 0));
    no_handle(neumeta_trainer_create(NULL, NULL, NULL, NULL, NULL, &trainer));
    ck_assert_ptr_null(trainer);
    no_handle(neumeta_trainer_create_plain(NULL, NULL, NULL, NULL, &trainer));
    no_handle(neumeta_trainer_set_progress(NULL, NULL, NULL));
    no_handle(neumeta_trainer_set_teacher(NULL, NULL));
    no_handle(neumeta_trainer_run(NULL));
    no_handle(neumeta_trainer_step(NULL));
    no_handle(neumeta_trainer_metric(NULL, NEUMETA_METRIC_LOSS, &real));
    no_handle(neumeta_trainer_save(NULL, "f"));
    no_handle(neumeta_trainer_restore(NULL, "f"));
    neumeta_trainer_cancel(NULL);
    neumeta_topology_free(NULL);
    neumeta_network_free(NULL);
    neumeta_dataset_free(NULL);
    neumeta_manifold_free(NULL);
    neumeta_schedule_free(NULL);
    neumeta_trainer_free(NULL);
}
END_TEST

static int32_t never_fetched(void *user, int32_t split, const int64_t *indices, int64_t count,
                             float *inputs, int64_t *targets)
{
    (void)user, (void)split, (void)indices, (void)count, (void)inputs, (void)targets;
    ck_abort_msg("the callback was called");
    return 1;
}

START_TEST(missing_arguments_are_named_while_building)
{
    faults *f = fault_create();
    int32_t number = 0;
    fault_context(f);
    refuse(f, neumeta_topology_create(f->context, NULL), "topology is NULL");
    refuse(f, neumeta_topology_create_builtin(f->context, NULL, NULL, &f->topology),
           "name is NULL");
    refuse(f, neumeta_topology_create_builtin(f->context, "lenet", NULL, NULL), "topology is NULL");
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    refuse(f, neumeta_topology_add_axis(f->topology, NULL, 1, 1, 1, 1, &number), "name is NULL");
    refuse(f, neumeta_topology_add_axis(f->topology, "a", 1, 1, 1, 1, NULL), "axis is NULL");
    refuse(f, neumeta_topology_begin_block(f->topology, NULL), "name is NULL");
    refuse(f, neumeta_topology_add_node(f->topology, NULL, 1, NULL, 0, -1, NULL, &number),
           "name is NULL");
    refuse(f, neumeta_topology_add_node(f->topology, "n", 1, NULL, 0, -1, NULL, NULL),
           "node is NULL");
    refuse(f, neumeta_topology_add_node(f->topology, "n", 2, NULL, 1, -1, NULL, &number),
           "inputs is NULL");
    refuse(f, neumeta_topology_begin_repeat(f->topology, NULL, 0, 0, 0), "name is NULL");
    refuse(f, neumeta_topology_end_repeat(f->topology, 0, NULL), "node is NULL");
    refuse(f, neumeta_schedule_create(f->context, NULL), "schedule is NULL");
    refuse(f, neumeta_dataset_create(f->context, 1, 1, NULL, NULL, NULL, &f->dataset),
           "fetch is NULL");
    refuse(f, neumeta_dataset_create(f->context, 1, 1, never_fetched, NULL, NULL, NULL),
           "dataset is NULL");
    refuse(f, neumeta_dataset_create_memory(f->context, NULL, f->targets, 1, 1, NULL, &f->dataset),
           "inputs is NULL");
    refuse(f, neumeta_dataset_create_memory(f->context, f->inputs, NULL, 1, 1, NULL, &f->dataset),
           "targets is NULL");
    refuse(f, neumeta_dataset_create_memory(f->context, f->inputs, f->targets, 1, 1, NULL, NULL),
           "dataset is NULL");
    refuse(f, neumeta_manifold_load(f->context, NULL, &f->manifold), "path is NULL");
    refuse(f, neumeta_manifold_load(f->context, "f", NULL), "manifold is NULL");
    refuse(f, neumeta_manifold_load_memory(f->context, NULL, 8, &f->manifold), "data is NULL");
    refuse(f, neumeta_manifold_load_memory(f->context, f->inputs, 8, NULL), "manifold is NULL");
    refuse(f, neumeta_manifold_load_memory(f->context, f->inputs, -8, &f->manifold), "size is -8");
    fault_free(f);
}
END_TEST

START_TEST(missing_arguments_are_named_of_networks)
{
    faults *f = fault_start(NEUMETA_NORM_FOLD);
    float outputs[FAULT_CLASSES];
    neumeta_network *copy = NULL;
    refuse(f, neumeta_network_create(f->topology, NULL, 0, NULL), "network is NULL");
    refuse(f, neumeta_network_load(f->topology, NULL, NULL, &copy), "path is NULL");
    refuse(f, neumeta_network_load(f->topology, "f", NULL, NULL), "network is NULL");
    refuse(f, neumeta_network_load_memory(f->topology, NULL, 8, NULL, &copy), "data is NULL");
    refuse(f, neumeta_network_load_memory(f->topology, outputs, 8, NULL, NULL), "network is NULL");
    refuse(f, neumeta_network_load_memory(f->topology, outputs, -1, NULL, &copy), "size is -1");
    refuse(f, neumeta_network_topology(f->network, NULL), "topology is NULL");
    refuse(f, neumeta_network_sizes(f->network, NULL, 5), "sizes is NULL");
    refuse(f, neumeta_network_roughness(f->network, NULL), "total_variation is NULL");
    refuse(f, neumeta_network_run(f->network, NULL, 1, outputs, 3), "inputs is NULL");
    refuse(f, neumeta_network_run(f->network, f->inputs, 1, NULL, 3), "outputs is NULL");
    refuse(f, neumeta_network_memory(f->network, 1, NULL), "bytes is NULL");
    refuse(f, neumeta_network_evaluate(f->network, NULL, NEUMETA_SPLIT_TEST, NULL, NULL),
           "dataset is NULL");
    refuse(f, neumeta_network_share(f->network, NULL, &copy), "context is NULL");
    refuse(f, neumeta_network_share(f->network, f->context, NULL), "copy is NULL");
    refuse(f, neumeta_network_save(f->network, NULL), "path is NULL");
    refuse(f, neumeta_topology_cost(f->topology, NULL, 5, NULL, NULL), "sizes is NULL");
    refuse(f, neumeta_topology_sizes_at(f->topology, 0.5, NULL, 5), "sizes is NULL");
    assert_ok(f->context, neumeta_network_tensor(f->network, 0, NULL, NULL, NULL, NULL));
    assert_ok(f->context, neumeta_topology_axis(f->topology, 0, NULL, NULL, NULL, NULL, NULL));
    fault_free(f);
}
END_TEST

START_TEST(missing_arguments_are_named_of_training)
{
    faults *f = fault_start_manifold();
    const int64_t sizes[] = {4, FAULT_CLASSES, 2, 3, 2};
    refuse(f, neumeta_manifold_create(f->topology, NULL, NULL), "manifold is NULL");
    refuse(f, neumeta_manifold_save(f->manifold, NULL), "path is NULL");
    refuse(f, neumeta_manifold_write(f->manifold, NULL, NULL), "write is NULL");
    refuse(f, neumeta_manifold_topology(f->manifold, NULL), "topology is NULL");
    refuse(f, neumeta_manifold_parameters(f->manifold, NULL), "parameters is NULL");
    refuse(f, neumeta_manifold_sizes_at(f->manifold, 0.5, NULL, 5), "sizes is NULL");
    neumeta_network *network = NULL;
    neumeta_schedule *schedule = NULL;
    refuse(f, neumeta_manifold_materialize(f->manifold, NULL, 5, NULL, &network), "sizes is NULL");
    refuse(f, neumeta_manifold_materialize(f->manifold, sizes, 5, NULL, NULL), "network is NULL");
    refuse(f, neumeta_schedule_create_recipe(f->topology, NULL, NULL, 0, NULL, &schedule),
           "recipe is NULL");
    refuse(f, neumeta_schedule_create_recipe(f->topology, "nm", NULL, 0, NULL, NULL),
           "schedule is NULL");
    refuse(f, neumeta_schedule_create_recipe(f->topology, "nm", NULL, 2, NULL, &schedule),
           "blocks is NULL");
    neumeta_schedule_free(f->schedule);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    refuse(f, neumeta_schedule_add_phase(f->schedule, NULL, 0, -1, NULL), "name is NULL");
    refuse(f, neumeta_trainer_create(f->manifold, NULL, NULL, f->dataset, NULL, &f->trainer),
           "schedule is NULL");
    refuse(f, neumeta_trainer_create(f->manifold, NULL, f->schedule, NULL, NULL, &f->trainer),
           "dataset is NULL");
    refuse(f, neumeta_trainer_create(f->manifold, NULL, f->schedule, f->dataset, NULL, NULL),
           "trainer is NULL");
    refuse(f, neumeta_trainer_create_plain(f->network, NULL, f->dataset, NULL, &f->trainer),
           "schedule is NULL");
    refuse(f, neumeta_trainer_create_plain(f->network, f->schedule, NULL, NULL, &f->trainer),
           "dataset is NULL");
    refuse(f, neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, NULL),
           "trainer is NULL");
    refuse(f, neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer),
           "the schedule has no phase");
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 0, -1, NULL));
    attempt_new(
        f, &f->trainer,
        neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &f->trainer));
    ck_assert_int_eq(neumeta_trainer_metric(f->trainer, NEUMETA_METRIC_LOSS, NULL),
                     NEUMETA_ERR_ARGUMENT);
    double value = 0;
    ck_assert_int_eq(neumeta_trainer_metric(f->trainer, 99, &value), NEUMETA_ERR_ARGUMENT);
    refuse(f, neumeta_trainer_save(f->trainer, NULL), "path is NULL");
    refuse(f, neumeta_trainer_restore(f->trainer, NULL), "path is NULL");
    assert_ok(f->context, neumeta_trainer_set_progress(f->trainer, NULL, NULL));
    fault_free(f);
}
END_TEST

/* --- sizes --- */

START_TEST(wrong_sizes_are_told_by_axis)
{
    static const struct {
        int64_t sizes[5];
        int32_t count;
        const char *message;
    } cases[] = {
        {{4, 3, 2, 3, 2}, 4, "4 sizes are given, must be 5"},
        {{4, 3, 2, 3, 2}, -1, "-1 sizes are given, must be 5"},
        {{4, 3, 2, 1, 2}, 5, "axis 'body.0.inner' (number 3): size is 1, must lie in [2, 4]"},
        {{4, 3, 2, 3, 5}, 5, "axis 'body.1.inner' (number 4): size is 5, must lie in [2, 4]"},
        {{4, 3, 3, 3, 2}, 5, "axis 'depth' (number 2): size is 3, must lie in [1, 2]"},
        {{INT64_MAX, 3, 2, 3, 2}, 5, "must lie in [4, 4]"},
        {{4, INT64_MIN, 2, 3, 2}, 5, "must lie in [3, 3]"},
    };
    faults *f = fault_start_manifold();
    neumeta_network *network = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuse(f, neumeta_network_create(f->topology, cases[i].sizes, cases[i].count, &network),
               cases[i].message);
        refuse(f, neumeta_topology_cost(f->topology, cases[i].sizes, cases[i].count, NULL, NULL),
               cases[i].message);
        refuse(f, neumeta_topology_shapes(f->topology, cases[i].sizes, cases[i].count, NULL, NULL),
               cases[i].message);
        refuse(f,
               neumeta_manifold_materialize(f->manifold, cases[i].sizes, cases[i].count, NULL,
                                            &network),
               cases[i].message);
        ck_assert_ptr_null(network);
    }
    int64_t sizes[5];
    const double gammas[] = {-0.1, 1.0, 1e300, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof gammas / sizeof *gammas; i++) {
        refuse(f, neumeta_topology_sizes_at(f->topology, gammas[i], sizes, 5), "gamma is");
        refuse(f, neumeta_manifold_sizes_at(f->manifold, gammas[i], sizes, 5),
               "must lie in [0, 1)");
    }
    refuse(f, neumeta_topology_sizes_at(f->topology, 0.5, sizes, 4), "count is 4, must be 5");
    refuse(f, neumeta_manifold_sizes_at(f->manifold, 0.5, sizes, 6), "count is 6, must be 5");
    refuse(f, neumeta_network_sizes(f->network, sizes, 3), "count is 3, the network has 5 axes");
    fault_free(f);
}
END_TEST

START_TEST(sizes_between_steps_are_told)
{
    faults *f = fault_create();
    int32_t axis, node, conv;
    const int64_t between[] = {5};
    fault_context(f);
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    attempt(f, neumeta_topology_add_axis(f->topology, "a", NEUMETA_AXIS_WIDTH, 2, 8, 2, &axis));
    attempt(
        f, neumeta_topology_add_node(f->topology, "x", NEUMETA_OP_INPUT, NULL, 0, -1, NULL, &node));
    attempt(f, neumeta_topology_add_node(f->topology, "c", NEUMETA_OP_CONV, &node, 1, axis, NULL,
                                         &conv));
    assert_status(f->context, neumeta_network_create(f->topology, NULL, 0, &f->network),
                  NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "not sealed");
    attempt(f, neumeta_topology_seal(f->topology, conv));
    refuse(f, neumeta_network_create(f->topology, between, 1, &f->network),
           "axis 'a' (number 0): size is 5, must be 2 plus a multiple of 2");
    fault_free(f);
}
END_TEST

START_TEST(wrong_batches_and_rooms_are_refused)
{
    faults *f = fault_start(0);
    float outputs[2 * FAULT_CLASSES];
    int64_t bytes;
    refuse(f, neumeta_network_run(f->network, f->inputs, 0, outputs, 6), "batch is 0, must lie in");
    refuse(f, neumeta_network_run(f->network, f->inputs, -4, outputs, 6), "batch is -4");
    refuse(f, neumeta_network_run(f->network, f->inputs, INT64_MAX, outputs, 6), "batch is 9223");
    refuse(f, neumeta_network_memory(f->network, INT64_MAX, &bytes), "batch is 9223");
    refuse(f, neumeta_network_run(f->network, f->inputs, 2, outputs, 5),
           "capacity is 5, the outputs need 6 floats");
    refuse(f, neumeta_network_run(f->network, f->inputs, 2, outputs, -1), "capacity is -1");
    refuse(f, neumeta_network_tensor(f->network, -1, NULL, NULL, NULL, NULL), "index is -1");
    refuse(f, neumeta_network_tensor(f->network, 999, NULL, NULL, NULL, NULL), "index is 999");
    refuse(f, neumeta_network_replace_norm(f->network, 0, NULL), "0");
    refuse(f, neumeta_network_replace_norm(f->network, 77, NULL), "77");
    refuse(f, neumeta_network_evaluate(f->network, f->dataset, 0, NULL, NULL), "split is 0");
    refuse(f, neumeta_network_evaluate(f->network, f->dataset, 4, NULL, NULL), "split is 4");
    assert_ok(f->context, neumeta_network_run(f->network, f->inputs, 2, outputs, 6));
    fault_free(f);
}
END_TEST

/* --- settings that a call does not use --- */

/* Sets the key to some value in its range. */
static void set_valid(faults *f, int32_t key)
{
    int32_t type = 0;
    double minimum = 0, maximum = 0;
    char text[64];
    assert_ok(f->context, neumeta_key_bounds(key, &type, &minimum, &maximum, NULL));
    snprintf(text, sizeof text, "%.10g", minimum);
    if (type == NEUMETA_TYPE_TEXT)
        snprintf(text, sizeof text, "a=b");
    if (type == NEUMETA_TYPE_CHOICE)
        snprintf(text, sizeof text, "%.*s", (int)strcspn(neumeta_key_unit(key), "|"),
                 neumeta_key_unit(key));
    fault_options(f, FAULT_PAIRS(neumeta_key_name(key), text));
}

typedef neumeta_status (*options_call)(faults *f);

static neumeta_status call_builtin(faults *f)
{
    return neumeta_topology_create_builtin(f->context, "lenet", f->options, &f->topology);
}

static neumeta_status call_conv(faults *f)
{
    const int32_t input = 0;
    int32_t node;
    return neumeta_topology_add_node(f->topology, "c", NEUMETA_OP_CONV, &input, 1, 0, f->options,
                                     &node);
}

static neumeta_status call_add(faults *f)
{
    const int32_t inputs[] = {0, 0};
    int32_t node;
    return neumeta_topology_add_node(f->topology, "s", NEUMETA_OP_ADD, inputs, 2, -1, f->options,
                                     &node);
}

static neumeta_status call_load(faults *f)
{
    int64_t size = 0;
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    neumeta_network *network = NULL;
    neumeta_status status =
        neumeta_network_load_memory(f->topology, bytes, size, f->options, &network);
    free(bytes);
    ck_assert_ptr_null(network);
    return status;
}

static neumeta_status call_load_file(faults *f)
{
    neumeta_network *network = NULL;
    return neumeta_network_load(f->topology, f->path, f->options, &network);
}

static neumeta_status call_fold(faults *f)
{
    return neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, f->options);
}

static neumeta_status call_skip_init(faults *f)
{
    return neumeta_network_replace_norm(f->network, NEUMETA_NORM_SKIP_INIT, f->options);
}

static neumeta_status call_sqrt_half(faults *f)
{
    return neumeta_network_replace_norm(f->network, NEUMETA_NORM_SQRT_HALF, f->options);
}

static neumeta_status call_smooth(faults *f)
{
    return neumeta_network_smooth(f->network, f->options);
}

static neumeta_status call_dataset(faults *f)
{
    neumeta_dataset *dataset = NULL;
    return neumeta_dataset_create(f->context, 4, 4, never_fetched, NULL, f->options, &dataset);
}

static neumeta_status call_dataset_memory(faults *f)
{
    neumeta_dataset *dataset = NULL;
    return neumeta_dataset_create_memory(f->context, f->inputs, f->targets, 4, 4, f->options,
                                         &dataset);
}

static neumeta_status call_manifold(faults *f)
{
    neumeta_manifold *manifold = NULL;
    return neumeta_manifold_create(f->topology, f->options, &manifold);
}

static neumeta_status call_materialize(faults *f)
{
    const int64_t sizes[] = {4, FAULT_CLASSES, 2, 3, 2};
    neumeta_network *network = NULL;
    return neumeta_manifold_materialize(f->manifold, sizes, 5, f->options, &network);
}

static neumeta_status call_calibrate(faults *f)
{
    return neumeta_manifold_calibrate(f->manifold, f->dataset, f->options, NULL, NULL, NULL);
}

static neumeta_status call_calibrate_network(faults *f)
{
    return neumeta_network_calibrate(f->network, f->dataset, f->options);
}

static neumeta_status call_search(faults *f)
{
    return neumeta_manifold_search(f->manifold, f->dataset, f->options, NULL, NULL);
}

static neumeta_status call_fit_budget(faults *f)
{
    int64_t sizes[FAULT_AXES];
    return neumeta_manifold_fit_budget(f->manifold, f->options, sizes,
                                       neumeta_topology_axis_count(f->topology), NULL, NULL);
}

static neumeta_status call_recipe(faults *f)
{
    neumeta_schedule *schedule = NULL;
    return neumeta_schedule_create_recipe(f->topology, "nm", NULL, 0, f->options, &schedule);
}

static neumeta_status call_phase(faults *f)
{
    return neumeta_schedule_add_phase(f->schedule, "p", 0, -1, f->options);
}

static neumeta_status call_trainer(faults *f)
{
    neumeta_trainer *trainer = NULL;
    return neumeta_trainer_create(f->manifold, NULL, f->schedule, f->dataset, f->options, &trainer);
}

static neumeta_status call_plain(faults *f)
{
    neumeta_trainer *trainer = NULL;
    return neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, f->options, &trainer);
}

/* `used`: ranges of keys that the call takes; those are tested where they do something. */
typedef struct use {
    const char *name;
    options_call call;
    int32_t used[6][2];
} use;

static void refuse_unused(faults *f, const use *u)
{
    int32_t key, refused = 0;
    for (int32_t i = 0; (key = neumeta_key_at(i)) != 0; i++) {
        bool used = false;
        for (int r = 0; r < 6; r++)
            used = used || (key >= u->used[r][0] && key <= u->used[r][1]);
        if (used)
            continue;
        set_valid(f, key);
        neumeta_status status = u->call(f);
        ck_assert_msg(status == NEUMETA_ERR_ARGUMENT, "%s with %s gave %d: %s", u->name,
                      neumeta_key_name(key), (int)status, neumeta_context_message(f->context));
        assert_message_contains(f->context, neumeta_key_name(key));
        refused++;
    }
    ck_assert_int_gt(refused, 10);
}

START_TEST(every_call_refuses_every_setting_that_it_does_not_use)
{
    static const use open[] = {
        {"create_builtin", call_builtin, {{20, 24}, {26, 26}}},
        {"add_node CONV", call_conv, {{1, 5}}},
        {"add_node ADD", call_add, {{0, 0}}},
    };
    static const use made[] = {
        {"network_load", call_load_file, {{40, 40}}},
        {"network_load_memory", call_load, {{40, 40}}},
        {"replace_norm FOLD", call_fold, {{0, 0}}},
        {"replace_norm SKIP_INIT", call_skip_init, {{41, 41}}},
        {"replace_norm SQRT_HALF", call_sqrt_half, {{42, 42}}},
        {"dataset_create", call_dataset, {{21, 23}, {27, 31}}},
        {"dataset_create_memory", call_dataset_memory, {{21, 23}, {27, 31}}},
    };
    static const use trained[] = {
        {"smooth", call_smooth, {{43, 45}}},
        {"manifold_create", call_manifold, {{45, 45}, {60, 68}, {70, 71}, {73, 73}}},
        {"manifold_materialize", call_materialize, {{45, 45}, {69, 72}, {74, 74}, {150, 150}}},
        {"manifold_calibrate", call_calibrate, {{45, 45}, {127, 130}, {145, 147}, {170, 171}}},
        {"network_calibrate", call_calibrate_network, {{171, 171}}},
        {"manifold_search",
         call_search,
         {{45, 45}, {127, 127}, {129, 129}, {145, 145}, {147, 147}, {180, 184}}},
        {"manifold_fit_budget", call_fit_budget, {{190, 194}}},
        {"schedule_create_recipe", call_recipe, {{100, 159}}},
        {"schedule_add_phase", call_phase, {{100, 159}}},
        {"trainer_create", call_trainer, {{45, 45}, {160, 161}}},
        {"trainer_create_plain", call_plain, {{45, 45}, {160, 161}}},
    };
    faults *f = fault_create();
    int32_t axis, node;
    fault_context(f);
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    attempt(f, neumeta_topology_add_axis(f->topology, "a", NEUMETA_AXIS_WIDTH, 2, 8, 2, &axis));
    attempt(
        f, neumeta_topology_add_node(f->topology, "x", NEUMETA_OP_INPUT, NULL, 0, -1, NULL, &node));
    for (size_t i = sizeof open / sizeof *open; i-- > 1;)
        refuse_unused(f, &open[i]);
    neumeta_topology_free(f->topology);
    f->topology = NULL;
    refuse_unused(f, &open[0]);
    fault_free(f);

    f = fault_start(0);
    fault_folder(f);
    attempt(f, neumeta_network_save(f->network, f->path));
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        refuse_unused(f, &made[i]);
    fault_free(f);

    f = fault_start_manifold();
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++)
        refuse_unused(f, &trained[i]);
    ck_assert_int_eq(neumeta_schedule_phase_count(f->schedule), 1);
    fault_free(f);
}
END_TEST

/* Bounds of every number, through the public setters. */
START_TEST(settings_out_of_their_range_are_refused)
{
    faults *f = fault_create();
    int32_t key;
    fault_context(f);
    fault_options(f, FAULT_PAIRS("epochs", "3"));
    for (int32_t i = 0; (key = neumeta_key_at(i)) != 0; i++) {
        int32_t type = 0;
        double minimum = 0, maximum = 0;
        const char *name = neumeta_key_name(key);
        assert_ok(f->context, neumeta_key_bounds(key, &type, &minimum, &maximum, NULL));
        if (type == NEUMETA_TYPE_INT || type == NEUMETA_TYPE_BOOL) {
            refuse(f, neumeta_options_set_int(f->options, key, (int64_t)minimum - 1), name);
            refuse(f, neumeta_options_set_int(f->options, key, (int64_t)maximum + 1), name);
            refuse(f, neumeta_options_set_int(f->options, key, INT64_MIN), "must");
        } else if (type == NEUMETA_TYPE_REAL) {
            refuse(f, neumeta_options_set_real(f->options, key, minimum - 1), name);
            refuse(f, neumeta_options_set_real(f->options, key, 2 * maximum + 1), "must lie in");
            refuse(f, neumeta_options_set_real(f->options, key, (double)NAN), name);
        } else if (type == NEUMETA_TYPE_CHOICE) {
            refuse(f, neumeta_options_set_text(f->options, key, "nonsense"), name);
            refuse(f, neumeta_options_set_text(f->options, key, NULL), name);
        } else if (type == NEUMETA_TYPE_INTS) {
            const int64_t values[] = {(int64_t)minimum, (int64_t)maximum + 1};
            refuse(f, neumeta_options_set_ints(f->options, key, values, 2), name);
            refuse(f, neumeta_options_set_ints(f->options, key, values, -1), name);
            refuse(f, neumeta_options_set_ints(f->options, key, values, INT64_MAX), name);
        } else if (type == NEUMETA_TYPE_REALS) {
            const double values[] = {minimum, (double)NAN};
            refuse(f, neumeta_options_set_reals(f->options, key, values, 2), name);
            refuse(f, neumeta_options_set_reals(f->options, key, values, INT64_MAX), name);
        }
    }
    fault_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors");
    TCase *cases = tcase_create("errors");
    tcase_add_test(cases, a_call_without_its_handle_is_refused);
    tcase_add_test(cases, missing_arguments_are_named_while_building);
    tcase_add_test(cases, missing_arguments_are_named_of_networks);
    tcase_add_test(cases, missing_arguments_are_named_of_training);
    tcase_add_test(cases, wrong_sizes_are_told_by_axis);
    tcase_add_test(cases, sizes_between_steps_are_told);
    tcase_add_test(cases, wrong_batches_and_rooms_are_refused);
    tcase_add_test(cases, every_call_refuses_every_setting_that_it_does_not_use);
    tcase_add_test(cases, settings_out_of_their_range_are_refused);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
