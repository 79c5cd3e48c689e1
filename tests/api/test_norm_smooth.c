/* SPDX-License-Identifier: MIT */
/* Replacing batch norm and smoothing through the public API: bad calls, and real networks. */
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

static neumeta_context *context;

static void set_up(void)
{
    context = test_context();
}

static void tear_down(void)
{
    neumeta_context_free(context);
}

static neumeta_network *builtin(const char *name)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, name, NULL, &topology));
    assert_ok(context, neumeta_network_create(topology, NULL, 0, &network));
    neumeta_topology_free(topology);
    return network;
}

START_TEST(handles_that_are_missing_are_refused)
{
    double roughness;
    neumeta_network *network = builtin("lenet");
    assert_status(NULL, neumeta_network_replace_norm(NULL, NEUMETA_NORM_FOLD, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_network_smooth(NULL, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_network_roughness(NULL, &roughness), NEUMETA_ERR_ARGUMENT);
    assert_status(context, neumeta_network_roughness(network, NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "total_variation is NULL");
    neumeta_network_free(network);
}
END_TEST

START_TEST(options_of_another_context_are_refused)
{
    neumeta_context *other = test_context();
    neumeta_options *options = NULL;
    neumeta_network *network = builtin("lenet");
    assert_ok(other, neumeta_options_create(other, &options));
    assert_status(context, neumeta_network_smooth(network, options), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "options belongs to another context");
    assert_status(context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, options),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_options_free(options);
    neumeta_network_free(network);
    neumeta_context_free(other);
}
END_TEST

START_TEST(settings_that_a_pass_does_not_use_are_refused)
{
    neumeta_options *options = NULL;
    neumeta_network *network = builtin("resnet20-cifar");
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_SEED, 4));
    assert_status(context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "SEED");
    neumeta_options_free(options);
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_set_real(options, NEUMETA_KEY_RESIDUAL_SCALE, 0.5));
    assert_status(context, neumeta_network_smooth(network, options), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "RESIDUAL_SCALE");
    assert_status(context, neumeta_network_replace_norm(network, 99, NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "method is 99");
    neumeta_options_free(options);
    neumeta_network_free(network);
}
END_TEST

START_TEST(shared_weights_cannot_change)
{
    neumeta_context *other = test_context();
    neumeta_network *network = builtin("lenet");
    neumeta_network *copy = NULL;
    assert_ok(other, neumeta_network_share(network, other, &copy));
    assert_status(context, neumeta_network_smooth(network, NULL), NEUMETA_ERR_STATE);
    assert_message_contains(context, "shared");
    assert_status(context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, NULL),
                  NEUMETA_ERR_STATE);
    assert_status(other, neumeta_network_smooth(copy, NULL), NEUMETA_ERR_STATE);
    neumeta_network_free(network);
    assert_ok(other, neumeta_network_replace_norm(copy, NEUMETA_NORM_FOLD, NULL));
    neumeta_network_free(copy);
    neumeta_context_free(other);
}
END_TEST

START_TEST(the_topology_follows_the_network)
{
    neumeta_network *network = builtin("resnet20-cifar");
    neumeta_topology *before = NULL;
    neumeta_topology *after = NULL;
    int64_t parameters[2];
    int64_t flops[2];
    int64_t *sizes;
    assert_ok(context, neumeta_network_topology(network, &before));
    int32_t count = neumeta_topology_axis_count(before);
    assert_ok(context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, NULL));
    assert_ok(context, neumeta_network_topology(network, &after));
    ck_assert_int_eq(neumeta_topology_axis_count(after), count);
    sizes = calloc((size_t)count, sizeof *sizes);
    assert_ok(context, neumeta_network_sizes(network, sizes, count));
    assert_ok(context, neumeta_topology_cost(before, sizes, count, &parameters[0], &flops[0]));
    assert_ok(context, neumeta_topology_cost(after, sizes, count, &parameters[1], &flops[1]));
    /* Two tensors of each norm (688 channels) have become one bias; with as much arithmetic. */
    ck_assert_int_eq(parameters[0] - parameters[1], 688);
    ck_assert_int_eq(flops[0], flops[1]);
    free(sizes);
    neumeta_topology_free(before);
    neumeta_topology_free(after);
    neumeta_network_free(network);
}
END_TEST

/* --- the pretrained ResNet-20 --- */

enum { IMAGES = 8, PIXELS = 3 * 32 * 32, CLASSES = 10 };

static neumeta_network *pretrained(void)
{
    char *path = test_shared_path("pretrained/resnet20_cifar10.safetensors");
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    if (path == NULL)
        return NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, neumeta_network_load(topology, path, NULL, &network));
    neumeta_topology_free(topology);
    free(path);
    return network;
}

/* The first test images, normalised as the network was trained; to be freed; NULL if absent. */
static float *test_images(void)
{
    static const double mean[] = {0.485, 0.456, 0.406};
    static const double std[] = {0.229, 0.224, 0.225};
    char *path = test_shared_path("data/cifar10/test_first256.bin");
    int64_t size = 0;
    if (path == NULL)
        return NULL;
    unsigned char *records = test_read_file(path, &size);
    ck_assert_int_ge(size, IMAGES * (1 + PIXELS));
    float *images = malloc(IMAGES * PIXELS * sizeof *images);
    for (int64_t i = 0; i < IMAGES; i++)
        for (int64_t p = 0; p < PIXELS; p++) {
            double pixel = records[i * (1 + PIXELS) + 1 + p] / 255.0;
            images[i * PIXELS + p] = (float)((pixel - mean[p / 1024]) / std[p / 1024]);
        }
    free(records);
    free(path);
    return images;
}

static void assert_logits(neumeta_network *network, const float *images, const float *expected,
                          const char *what)
{
    float logits[IMAGES * CLASSES];
    double largest = 0;
    assert_ok(context, neumeta_network_run(network, images, IMAGES, logits, IMAGES * CLASSES));
    for (int32_t i = 0; i < IMAGES * CLASSES; i++)
        largest = test_larger(largest, fabs((double)logits[i] - (double)expected[i]));
    fprintf(stderr, "ResNet-20, %s: largest change of a logit %.2g\n", what, largest);
    assert_near(logits, expected, IMAGES * CLASSES, 1e-4, 0);
}

/* Logits lie in +-15; 1e-4 is a hundred roundings of the largest. */
START_TEST(a_trained_network_keeps_its_logits_and_becomes_smoother)
{
    static const char *const names[] = {"fold", "skip-init", "sqrt-half", "affine", "norm kept"};
    static const int32_t methods[] = {NEUMETA_NORM_FOLD, NEUMETA_NORM_SKIP_INIT,
                                      NEUMETA_NORM_SQRT_HALF, NEUMETA_NORM_AFFINE, 0};
    float *images = test_images();
    neumeta_network *network = images != NULL ? pretrained() : NULL;
    if (network == NULL) {
        free(images);
        return;
    }
    float expected[IMAGES * CLASSES];
    double before;
    double after;
    assert_ok(context, neumeta_network_run(network, images, IMAGES, expected, IMAGES * CLASSES));
    if (methods[_i] != 0) {
        assert_ok(context, neumeta_network_replace_norm(network, methods[_i], NULL));
        assert_logits(network, images, expected, names[_i]);
    }
    assert_ok(context, neumeta_network_roughness(network, &before));
    assert_ok(context, neumeta_network_smooth(network, NULL));
    assert_ok(context, neumeta_network_roughness(network, &after));
    assert_logits(network, images, expected, "smoothed");
    fprintf(stderr, "ResNet-20, %s: total variation %.1f -> %.1f (%.1f %%)\n", names[_i], before,
            after, 100 * (after / before - 1));
    ck_assert_double_lt(after, 0.95 * before);
    neumeta_network_free(network);
    free(images);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("norm and smooth");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, set_up, tear_down);
    tcase_add_test(calls, handles_that_are_missing_are_refused);
    tcase_add_test(calls, options_of_another_context_are_refused);
    tcase_add_test(calls, settings_that_a_pass_does_not_use_are_refused);
    tcase_add_test(calls, shared_weights_cannot_change);
    tcase_add_test(calls, the_topology_follows_the_network);
    tcase_add_loop_test(calls, a_trained_network_keeps_its_logits_and_becomes_smoother, 0, 5);
    suite_add_tcase(suite, calls);
    return test_main(suite);
}
