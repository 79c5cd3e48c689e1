/* SPDX-License-Identifier: MIT */
/*
 * Whole networks against what PyTorch computed in float64 from the same numbers (make_fixtures.py):
 * two residual networks with batch norm, one with each kind of shortcut, in inference, through one
 * training pass, and through three steps of the plain trainer.
 */
#include "nmi_loss.h"
#include "nmi_pass.h"
#include "nmi_safetensors.h"
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

enum { ITEMS = 6, CLASSES = 4, PIXELS = 64 };

/* Relative to the largest element of a tensor. Errors of float32 through 11 convolutions and
 * divisions by standard deviations stay below a tenth of it; a decay wrong by one hundredth shows.
 */
static const double tolerance = 2e-5;

typedef struct fixture {
    const char *key; /* the names in the file begin with it */
    nmi_safetensors *file;
    neumeta_context *context;
    nmi_network *network;
    float *inputs;
    int64_t labels[ITEMS];
} fixture;

static const char *const shortcuts[] = {"option-a", "projection"};
enum { SHORTCUTS = sizeof shortcuts / sizeof *shortcuts };

/* The values of KEY.name, to be freed. */
static float *recorded(const fixture *f, const char *name, int64_t *count)
{
    char key[2 * NMI_SAFETENSORS_NAME];
    snprintf(key, sizeof key, "%s.%s", f->key, name);
    nmi_tensor_entry entry;
    ck_assert_msg(nmi_safetensors_find(f->file, key, &entry), "there is no fixture '%s'", key);
    float *values = malloc((size_t)entry.bytes);
    ck_assert_ptr_nonnull(values);
    nmi_tensor_copy(&entry, values);
    *count = entry.elements;
    return values;
}

static void assert_recorded(const fixture *f, const char *name, const float *actual, int64_t count)
{
    int64_t expected_count = 0;
    float largest = 0;
    float *expected = recorded(f, name, &expected_count);
    ck_assert_int_eq(count, expected_count);
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(expected[i]));
    ck_assert_msg(largest > 1e-3f, "'%s' says nothing: it is zero", name);
    test_assert_near(actual, expected, count, tolerance * (double)largest, 0, name, __FILE__,
                     __LINE__);
    free(expected);
}

/* Every live tensor whose role is trainable (or is not) is as recorded in a group; `values` NULL:
 * the network's own. Returns their number. */
static int32_t assert_tensors(const fixture *f, const char *group, bool trainable,
                              float *const *values)
{
    const nmi_topology *topology = f->network->topology;
    int32_t compared = 0;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        const nmi_tensor *tensor = &f->network->tensors[t];
        char name[NMI_SAFETENSORS_NAME];
        if (tensor->rank == 0 || nmi_role_is_trainable(topology->tensors[t].role) != trainable)
            continue;
        snprintf(name, sizeof name, "%s.%s", group, topology->tensors[t].name);
        assert_recorded(f, name, values != NULL ? values[t] : tensor->data, tensor->count);
        compared++;
    }
    return compared;
}

static nmi_topology *topology_of(neumeta_context *context, const char *shortcut)
{
    static const char *const pairs[] = {"input-channels", "1", "input-height", "8",
                                        "input-width",    "8", "channels",     "2",
                                        "classes",        "4"};
    nmi_topology *topology = NULL;
    nmi_options *options = NULL;
    assert_ok(context, nmi_options_create(context, &options));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i += 2)
        assert_ok(context, nmi_options_parse(options, pairs[i], pairs[i + 1]));
    assert_ok(context, nmi_options_parse(options, "shortcut", shortcut));
    assert_ok(context, nmi_topology_create_builtin(context, "resnet20-cifar", options, &topology));
    nmi_options_release(options);
    return topology;
}

/* One, two and one blocks: the file stays small, and one repeat still repeats. */
static void create_network(fixture *f)
{
    nmi_topology *topology = topology_of(f->context, f->key);
    int64_t sizes[64];
    ck_assert_int_le(topology->axis_count, 64);
    nmi_graph_full_sizes(topology, sizes);
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (topology->axes[a].kind == NEUMETA_AXIS_DEPTH)
            sizes[a] = strcmp(topology->axes[a].name, "layer2.depth") == 0 ? 2 : 1;
    assert_ok(f->context, nmi_network_create(f->context, topology, sizes, &f->network));
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        nmi_tensor *tensor = &f->network->tensors[t];
        char name[NMI_SAFETENSORS_NAME];
        int64_t count = 0;
        if (tensor->rank == 0)
            continue;
        snprintf(name, sizeof name, "start.%s", topology->tensors[t].name);
        float *start = recorded(f, name, &count);
        ck_assert_int_eq(count, tensor->count);
        memcpy(tensor->data, start, (size_t)count * sizeof *start);
        free(start);
    }
    nmi_network_touch(f->network);
    nmi_topology_release(topology);
}

static fixture open_fixture(int32_t number)
{
    fixture f = {.key = shortcuts[number], .context = test_context()};
    int64_t count = 0;
    assert_ok(f.context,
              nmi_safetensors_open(f.context, NMI_SOURCE_ROOT "/tests/golden/network.safetensors",
                                   &f.file));
    f.inputs = recorded(&f, "inputs", &count);
    ck_assert_int_eq(count, ITEMS * PIXELS);
    float *labels = recorded(&f, "labels", &count);
    for (int64_t i = 0; i < ITEMS; i++)
        f.labels[i] = (int64_t)labels[i];
    free(labels);
    create_network(&f);
    return f;
}

static void close_fixture(fixture *f)
{
    free(f->inputs);
    nmi_network_release(f->network);
    nmi_safetensors_free(f->file);
    neumeta_context_free(f->context);
}

START_TEST(logits_agree_with_norms_folded_and_kept)
{
    fixture f = open_fixture(_i);
    float logits[ITEMS * CLASSES];
    nmi_pass *pass = NULL;
    assert_ok(f.context, nmi_network_run(f.network, f.inputs, ITEMS, logits));
    assert_recorded(&f, "logits", logits, ITEMS * CLASSES);
    assert_ok(f.context, nmi_pass_create(f.context, f.network->topology, f.network->sizes, ITEMS,
                                         NMI_FP32, &pass));
    assert_recorded(&f, "logits", nmi_pass_forward(pass, f.network, f.inputs, ITEMS, NULL),
                    ITEMS * CLASSES);
    nmi_pass_free(pass);
    close_fixture(&f);
}
END_TEST

/* Forward with batch statistics, and backward to `gradients`; returns the loss. */
static float pass_once(fixture *f, float **gradients)
{
    const nmi_topology *topology = f->network->topology;
    bool *norms = calloc((size_t)topology->node_count, sizeof *norms);
    double each[ITEMS], loss = 0;
    float dlogits[ITEMS * CLASSES];
    nmi_pass *pass = NULL;
    ck_assert_ptr_nonnull(norms);
    for (int32_t n = 0; n < topology->node_count; n++)
        norms[n] = topology->nodes[n].op == NEUMETA_OP_NORM;
    assert_ok(f->context, nmi_pass_create(f->context, f->network->topology, f->network->sizes,
                                          ITEMS, NMI_FP32, &pass));
    const float *logits = nmi_pass_forward(pass, f->network, f->inputs, ITEMS, norms);
    nmi_cross_entropy(ITEMS, CLASSES, logits, f->labels, 0, 1.0f / ITEMS, false, each, dlogits);
    for (int i = 0; i < ITEMS; i++)
        loss += each[i] / ITEMS;
    nmi_pass_backward(pass, f->network, dlogits, gradients);
    nmi_pass_free(pass);
    free(norms);
    return (float)loss;
}

/* Tensors of a network: stem, 4 blocks and classifier; each projection adds one convolution and
 * one norm. */
static void assert_counts(int32_t shortcut, int32_t trainable, int32_t statistics)
{
    const int32_t projections = shortcut == 1 ? 2 : 0;
    ck_assert_int_eq(trainable, 3 + 4 * 6 + 2 + 3 * projections);
    ck_assert_int_eq(statistics, 2 + 4 * 4 + 2 * projections);
}

START_TEST(a_training_pass_agrees)
{
    fixture f = open_fixture(_i);
    const nmi_topology *topology = f.network->topology;
    float **gradients = calloc((size_t)topology->tensor_count, sizeof *gradients);
    ck_assert_ptr_nonnull(gradients);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (f.network->tensors[t].rank > 0 && nmi_role_is_trainable(topology->tensors[t].role))
            gradients[t] = calloc((size_t)f.network->tensors[t].count, sizeof(float));
    float loss = pass_once(&f, gradients);
    assert_recorded(&f, "loss", &loss, 1);
    int32_t trainable = assert_tensors(&f, "gradient", true, gradients);
    int32_t statistics = assert_tensors(&f, "pass", false, NULL);
    assert_counts(_i, trainable, statistics);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        free(gradients[t]);
    free(gradients);
    close_fixture(&f);
}
END_TEST

static neumeta_dataset *dataset_of(const fixture *f)
{
    neumeta_options *options = NULL;
    neumeta_dataset *dataset = NULL;
    assert_ok(f->context, neumeta_options_create(f->context, &options));
    assert_ok(f->context, neumeta_options_parse(options, "input-channels", "1"));
    assert_ok(f->context, neumeta_options_parse(options, "input-height", "8"));
    assert_ok(f->context, neumeta_options_parse(options, "input-width", "8"));
    assert_ok(f->context, neumeta_dataset_create_memory(f->context, f->inputs, f->labels, ITEMS, 0,
                                                        options, &dataset));
    neumeta_options_free(options);
    return dataset;
}

/* A minibatch is the whole dataset: the order of the items, which the seed decides, changes sums by
 * roundings only. */
START_TEST(three_steps_of_sgd_agree)
{
    static const char *const pairs[] = {"epochs",    "3",   "batch",         "6",
                                        "optimizer", "sgd", "learning-rate", "0.05",
                                        "momentum",  "0.9", "weight-decay",  "0.01"};
    fixture f = open_fixture(_i);
    neumeta_dataset *dataset = dataset_of(&f);
    neumeta_options *options = NULL;
    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    double steps = 0;
    assert_ok(f.context, neumeta_options_create(f.context, &options));
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i += 2)
        assert_ok(f.context, neumeta_options_parse(options, pairs[i], pairs[i + 1]));
    assert_ok(f.context, neumeta_schedule_create(f.context, &schedule));
    assert_ok(f.context, neumeta_schedule_add_phase(schedule, "sgd", 0, -1, options));
    assert_ok(f.context,
              neumeta_trainer_create_plain(f.network, schedule, dataset, NULL, &trainer));
    assert_ok(f.context, neumeta_trainer_run(trainer));
    assert_ok(f.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &steps));
    ck_assert_double_eq(steps, 3);
    int32_t trainable = assert_tensors(&f, "trained", true, NULL);
    int32_t statistics = assert_tensors(&f, "trained", false, NULL);
    assert_counts(_i, trainable, statistics);
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    neumeta_options_free(options);
    neumeta_dataset_free(dataset);
    close_fixture(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fixture_network");
    TCase *cases = tcase_create("residual networks");
    tcase_add_loop_test(cases, logits_agree_with_norms_folded_and_kept, 0, SHORTCUTS);
    tcase_add_loop_test(cases, a_training_pass_agrees, 0, SHORTCUTS);
    tcase_add_loop_test(cases, three_steps_of_sgd_agree, 0, SHORTCUTS);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
