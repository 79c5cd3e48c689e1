/* SPDX-License-Identifier: MIT */
/*
 * Pretrained networks against recorded outputs of another framework: logits, activations, and one
 * training pass with batch statistics. The files are too large for this tree; each test says so
 * and skips where the reference folder is absent.
 */
#include "custom_topologies.h"
#include "nmi_loss.h"
#include "nmi_pass.h"
#include "nmi_safetensors.h"
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

/* Logits in float32 and float64 differ by at most 1e-5 in the reference itself. */
#define LOGIT_TOLERANCE 1e-4

typedef struct reference_model {
    const char *name;
    const char *builtin; /* NULL: `build` makes it */
    neumeta_status (*build)(neumeta_context *context, neumeta_topology **topology);
    int64_t parameters;
} reference_model;

static neumeta_status build_b10(neumeta_context *context, neumeta_topology **topology)
{
    return custom_resnet20b(context, 10, topology);
}

static neumeta_status build_b100(neumeta_context *context, neumeta_topology **topology)
{
    return custom_resnet20b(context, 100, topology);
}

static const reference_model models[] = {
    {"resnet20_cifar10", "resnet20-cifar", NULL, 269722},
    {"resnet32_cifar10", "resnet32-cifar", NULL, 464154},
    {"resnet56_cifar10", "resnet56-cifar", NULL, 853018},
    {"resnet20b_cifar10", NULL, build_b10, 283754},
    {"resnet20b_cifar100", NULL, build_b100, 306884},
    {"lenet_mnist", NULL, custom_lenet_mnist, 21840},
};
enum { MODELS = sizeof models / sizeof models[0] };

static char *reference_path(const char *prefix, const char *name)
{
    char relative[128];
    snprintf(relative, sizeof relative, "pretrained/%s%s.safetensors", prefix, name);
    return test_shared_path(relative);
}

/* NULL after a visible skip. */
static neumeta_network *load_model(neumeta_context *context, const reference_model *model)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    char *path = reference_path("", model->name);
    if (path == NULL)
        return NULL;
    if (model->builtin != NULL)
        assert_ok(context,
                  neumeta_topology_create_builtin(context, model->builtin, NULL, &topology));
    else
        assert_ok(context, model->build(context, &topology));
    assert_ok(context, neumeta_network_load(topology, path, NULL, &network));
    neumeta_topology_free(topology);
    free(path);
    return network;
}

static nmi_safetensors *load_oracle(neumeta_context *context, const char *prefix, const char *name)
{
    nmi_safetensors *file = NULL;
    char *path = reference_path(prefix, name);
    if (path != NULL)
        assert_ok(context, nmi_safetensors_open(context, path, &file));
    free(path);
    return file;
}

/* An F32 or F64 tensor as floats, to be freed; NULL if the file lacks it. */
static float *read_floats(const nmi_safetensors *file, const char *name, int64_t *count)
{
    nmi_tensor_entry entry;
    if (!nmi_safetensors_find(file, name, &entry))
        return NULL;
    *count = entry.elements;
    float *floats = malloc((size_t)entry.elements * sizeof *floats);
    ck_assert_ptr_nonnull(floats);
    ck_assert(nmi_tensor_copy_floats(&entry, floats));
    return floats;
}

START_TEST(logits_equal_the_reference)
{
    const reference_model *model = &models[_i];
    neumeta_context *context = test_context();
    neumeta_network *network = load_model(context, model);
    nmi_safetensors *oracle = load_oracle(context, "oracle_", model->name);
    if (network != NULL && oracle != NULL) {
        int64_t inputs;
        int64_t logits;
        int64_t parameters;
        float *input = read_floats(oracle, "input", &inputs);
        float *expected = read_floats(oracle, "logits_f64", &logits);
        float *output = malloc((size_t)logits * sizeof *output);
        assert_ok(context, neumeta_topology_cost(network->topology, network->sizes,
                                                 network->topology->axis_count, &parameters, NULL));
        ck_assert_int_eq(parameters, model->parameters);
        for (int32_t threads = 1; threads <= 2; threads++) {
            assert_ok(context, neumeta_context_set_threads(context, threads));
            assert_ok(context, neumeta_network_run(network, input, 8, output, logits));
            assert_near(output, expected, logits, LOGIT_TOLERANCE, 0.0);
        }
        /* Kept batch norm, run as in training with its statistics fixed: nothing is folded. */
        nmi_pass *pass = NULL;
        assert_ok(context,
                  nmi_pass_create(context, network->topology, network->sizes, 8, NMI_FP32, &pass));
        assert_near(nmi_pass_forward(pass, network, input, 8, NULL), expected, logits,
                    LOGIT_TOLERANCE, 0.0);
        nmi_pass_free(pass);
        free(input);
        free(expected);
        free(output);
    }
    nmi_safetensors_free(oracle);
    neumeta_network_free(network);
    neumeta_context_free(context);
}
END_TEST

/* Number of the node, by name. */
static int32_t find_node(const nmi_topology *topology, const char *name)
{
    for (int32_t n = 0; n < topology->node_count; n++)
        if (strcmp(topology->nodes[n].name, name) == 0)
            return n;
    ck_abort_msg("the topology has no node '%s'", name);
    return -1;
}

/* Last live node of the kind in a stage of an option-A network. */
static int32_t stage_output(const nmi_network *network, const char *stage)
{
    int32_t found = -1;
    for (int32_t n = 0; n < network->topology->node_count; n++)
        if (strncmp(network->topology->nodes[n].name, stage, strlen(stage)) == 0 &&
            network->topology->nodes[n].op == NEUMETA_OP_ACTIVATION)
            found = n;
    ck_assert_int_ge(found, 0);
    return found;
}

START_TEST(activations_of_option_a_networks_equal_the_reference)
{
    static const char *const names[] = {"act0.stem", "act0.layer1", "act0.layer2", "act0.layer3"};
    const reference_model *model = &models[_i];
    neumeta_context *context = test_context();
    neumeta_network *network = load_model(context, model);
    nmi_safetensors *oracle = load_oracle(context, "oracle_", model->name);
    if (network != NULL && oracle != NULL) {
        int64_t inputs;
        float *input = read_floats(oracle, "input", &inputs);
        nmi_pass *pass = NULL;
        assert_ok(context,
                  nmi_pass_create(context, network->topology, network->sizes, 1, NMI_FP32, &pass));
        nmi_pass_forward(pass, network, input, 1, NULL);
        for (int i = 0; i < 4; i++) {
            int64_t count;
            float *expected = read_floats(oracle, names[i], &count);
            float *actual = malloc((size_t)count * sizeof *actual);
            int32_t node =
                i == 0 ? find_node(network->topology, "bn1") : stage_output(network, names[i] + 5);
            ck_assert_ptr_nonnull(expected);
            nmi_pass_activation(pass, network, node, actual);
            assert_near(actual, expected, count, 1e-4, 1e-5);
            free(actual);
            free(expected);
        }
        nmi_pass_free(pass);
        free(input);
    }
    nmi_safetensors_free(oracle);
    neumeta_network_free(network);
    neumeta_context_free(context);
}
END_TEST

/* --- one training pass ----------------------------------------------------------------------- */

typedef struct training_result {
    neumeta_network *network;
    float **gradients;
    float *logits;
    double loss;
} training_result;

static training_result train_once(neumeta_context *context, const nmi_safetensors *oracle)
{
    training_result result = {.network = load_model(context, &models[0])};
    const nmi_topology *topology = result.network->topology;
    int64_t inputs;
    int64_t labels[8];
    double losses[8];
    float dlogits[80];
    nmi_pass *pass = NULL;
    float *input = read_floats(oracle, "input", &inputs);
    bool *norms = calloc((size_t)topology->node_count, sizeof *norms);
    result.gradients = calloc((size_t)topology->tensor_count, sizeof *result.gradients);
    result.logits = malloc(80 * sizeof *result.logits);
    nmi_tensor_entry entry;
    ck_assert(nmi_safetensors_find(oracle, "labels", &entry));
    nmi_tensor_copy(&entry, labels);
    for (int32_t n = 0; n < topology->node_count; n++)
        norms[n] = topology->nodes[n].op == NEUMETA_OP_NORM;
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (nmi_role_is_trainable(topology->tensors[t].role))
            result.gradients[t] = calloc((size_t)result.network->tensors[t].count, sizeof(float));
    assert_ok(context, nmi_pass_create(context, result.network->topology, result.network->sizes, 8,
                                       NMI_FP32, &pass));
    memcpy(result.logits, nmi_pass_forward(pass, result.network, input, 8, norms),
           80 * sizeof *result.logits);
    nmi_cross_entropy(8, 10, result.logits, labels, 0.0f, 1.0f / 8.0f, false, losses, dlogits);
    for (int i = 0; i < 8; i++)
        result.loss += losses[i] / 8.0;
    nmi_pass_backward(pass, result.network, dlogits, result.gradients);
    nmi_pass_free(pass);
    free(norms);
    free(input);
    return result;
}

static void free_training(training_result *training)
{
    for (int32_t t = 0; t < training->network->topology->tensor_count; t++)
        free(training->gradients[t]);
    free(training->gradients);
    free(training->logits);
    neumeta_network_free(training->network);
}

static double largest(const float *values, int64_t count)
{
    double most = 0.0;
    for (int64_t i = 0; i < count; i++)
        most = test_larger(most, fabs((double)values[i]));
    return most;
}

static void compare_training(const training_result *training, const nmi_safetensors *oracle)
{
    const nmi_topology *topology = training->network->topology;
    int32_t gradients = 0;
    int32_t statistics = 0;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        char name[NMI_SAFETENSORS_NAME + 1];
        int64_t count;
        bool trained = training->gradients[t] != NULL;
        snprintf(name, sizeof name, "%s.%s", trained ? "grad" : "after", topology->tensors[t].name);
        float *expected = read_floats(oracle, name, &count);
        ck_assert_msg(expected != NULL, "the reference lacks %s", name);
        ck_assert_int_eq(count, training->network->tensors[t].count);
        test_assert_near(trained ? training->gradients[t] : training->network->tensors[t].data,
                         expected, count, 1e-4 * largest(expected, count), 0.0, name, __FILE__,
                         __LINE__);
        gradients += trained;
        statistics += !trained;
        free(expected);
    }
    ck_assert_int_eq(gradients, 59);
    ck_assert_int_eq(statistics, 38);
}

START_TEST(a_training_pass_equals_the_reference_at_any_thread_count)
{
    neumeta_context *context = test_context();
    nmi_safetensors *oracle = load_oracle(context, "oracle_grad_", models[0].name);
    if (oracle != NULL) {
        int64_t count;
        float *logits = read_floats(oracle, "logits", &count);
        float *loss = read_floats(oracle, "loss", &count);
        training_result one = train_once(context, oracle);
        assert_near(one.logits, logits, 80, LOGIT_TOLERANCE, 0.0);
        ck_assert_double_eq_tol(one.loss, (double)*loss, 1e-5);
        compare_training(&one, oracle);

        assert_ok(context, neumeta_context_set_threads(context, 2));
        training_result two = train_once(context, oracle);
        ck_assert_mem_eq(one.logits, two.logits, 80 * sizeof *one.logits);
        for (int32_t t = 0; t < one.network->topology->tensor_count; t++) {
            size_t bytes = (size_t)one.network->tensors[t].count * sizeof(float);
            ck_assert_mem_eq(one.network->tensors[t].data, two.network->tensors[t].data, bytes);
            if (one.gradients[t] != NULL)
                ck_assert_mem_eq(one.gradients[t], two.gradients[t], bytes);
        }
        free_training(&two);
        free_training(&one);
        free(loss);
        free(logits);
    }
    nmi_safetensors_free(oracle);
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("oracles");
    TCase *tests = tcase_create("pretrained networks");
    tcase_add_loop_test(tests, logits_equal_the_reference, 0, MODELS);
    tcase_add_loop_test(tests, activations_of_option_a_networks_equal_the_reference, 0, 3);
    tcase_add_test(tests, a_training_pass_equals_the_reference_at_any_thread_count);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
