/* SPDX-License-Identifier: MIT */
/* Statistics of norms: measured against a plain computation, and fitted as functions of the sizes.
 */
#include "nmi_moments.h"
#include "nmi_networks.h"
#include "nmi_statistics.h"

enum { ITEMS = 21, BATCH = 8, PIXELS = 64 };

static nmi_network *make_network(nmi_context *context)
{
    return test_builtin(context, "resnet20-cifar",
                        test_options(context, NEUMETA_KEY_CHANNELS, 4, NEUMETA_KEY_INPUT_CHANNELS,
                                     1, NEUMETA_KEY_INPUT_HEIGHT, 8),
                        3);
}

/* --- measuring -------------------------------------------------------------------------------- */

/* Mean and unbiased variance of one channel of [items][channels][pixels] values. */
static void plain_moments(const float *values, int64_t items, int64_t channels, int64_t pixels,
                          int64_t channel, double *sum, double *square, double *count)
{
    for (int64_t i = 0; i < items; i++)
        for (int64_t p = 0; p < pixels; p++) {
            const double v = (double)values[(i * channels + channel) * pixels + p];
            *sum += v;
            *square += v * v;
            *count += 1;
        }
}

START_TEST(moments_are_those_of_a_plain_computation)
{
    nmi_context *context = test_context();
    nmi_topology *t = test_topology(context);
    const int32_t w = test_axis(t, "w", NEUMETA_AXIS_WIDTH, 2, 5);
    int32_t n = test_conv(t, "a", test_input(t, 1, 8), w);
    const int32_t first = test_unary(t, "n1", NEUMETA_OP_NORM, n);
    n = test_unary(t, "relu", NEUMETA_OP_ACTIVATION, first);
    const int32_t product = test_conv(t, "b", n, w);
    const int32_t second = test_unary(t, "n2", NEUMETA_OP_NORM, product);
    nmi_network *network = test_sealed(t, second, 4);
    float inputs[ITEMS * PIXELS], values[ITEMS * 5 * PIXELS];
    int64_t targets[ITEMS] = {0};
    nmi_dataset *dataset = NULL;
    nmi_moments *moments = NULL;
    nmi_pass *pass = NULL;
    nmi_options *shape = test_options(context, NEUMETA_KEY_INPUT_CHANNELS, 1,
                                      NEUMETA_KEY_INPUT_HEIGHT, 8, NEUMETA_KEY_INPUT_WIDTH, 8);
    bool norms[8] = {false};
    norms[first] = norms[second] = true;
    test_fill(inputs, ITEMS * PIXELS, 5, -1, 2);
    assert_ok(context,
              nmi_dataset_create_memory(context, inputs, targets, ITEMS, 0, shape, &dataset));
    assert_ok(context,
              nmi_pass_create(context, network->topology, network->sizes, BATCH, NMI_FP32, &pass));
    assert_ok(context, nmi_moments_create(network->topology, dataset, 2 * BATCH, BATCH, &moments));
    assert_ok(context, nmi_moments_measure(moments, pass, network));
    float mean[5], variance[5];
    memcpy(mean, nmi_network_find(network, "n2.running_mean")->data, sizeof mean);
    memcpy(variance, nmi_network_find(network, "n2.running_var")->data, sizeof variance);
    /* Sixteen items spread over twenty-one, every other one in each of two minibatches. */
    double sum[5] = {0}, square[5] = {0}, count[5] = {0};
    for (int64_t b = 0; b < 2; b++) {
        float chosen[BATCH * PIXELS];
        for (int64_t i = 0; i < BATCH; i++)
            memcpy(chosen + i * PIXELS, inputs + (2 * i + b) * ITEMS / (2 * BATCH) * PIXELS,
                   PIXELS * sizeof(float));
        nmi_pass_forward(pass, network, chosen, BATCH, norms);
        nmi_pass_activation(pass, network, product, values);
        for (int64_t c = 0; c < 5; c++)
            plain_moments(values, BATCH, 5, PIXELS, c, &sum[c], &square[c], &count[c]);
    }
    for (int64_t c = 0; c < 5; c++) {
        const double m = sum[c] / count[c];
        /* Float rounding of the results. */
        ck_assert_double_eq_tol((double)mean[c], m, 1e-6);
        ck_assert_double_eq_tol((double)variance[c],
                                (square[c] / count[c] - m * m) * count[c] / (count[c] - 1), 1e-5);
    }
    nmi_moments_free(moments);
    nmi_pass_free(pass);
    nmi_options_release(shape);
    nmi_dataset_release(dataset);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

/* --- functions -------------------------------------------------------------------------------- */

static nmi_statistics *make_statistics(const nmi_topology *topology, bool depths)
{
    nmi_statistics *s = NULL;
    bool moves[64] = {false};
    for (int32_t a = 0; a < topology->axis_count; a++)
        moves[a] = nmi_graph_axis_is_inner(topology, a) ||
                   (depths && topology->axes[a].kind == NEUMETA_AXIS_DEPTH);
    assert_ok(topology->object.context, nmi_statistics_create(topology, moves, 0.75, &s));
    assert_ok(topology->object.context, nmi_statistics_allocate(s));
    return s;
}

static void draw_coefficients(nmi_statistics *s)
{
    for (int32_t i = 0; i < s->norm_count; i++)
        test_fill(s->norms[i].coefficients, 2 * s->norms[i].terms * s->norms[i].channels,
                  (uint64_t)i, -0.5f, 0.5f);
}

/* Sizes drawn over the whole range, and what the functions say there. */
static nmi_statistics_samples draw_samples(const nmi_statistics *s, int64_t count)
{
    const nmi_topology *topology = s->topology;
    nmi_statistics_samples samples = {.count = count};
    nmi_network *network = NULL;
    samples.sizes = calloc((size_t)(count * topology->axis_count), sizeof(int64_t));
    samples.present = calloc((size_t)(count * s->norm_count), sizeof(int64_t));
    samples.means = calloc((size_t)(count * s->channels), sizeof(float));
    samples.variances = calloc((size_t)(count * s->channels), sizeof(float));
    nmi_graph_full_sizes(topology, samples.sizes);
    assert_ok(s->context, nmi_network_create(s->context, (nmi_topology *)(uintptr_t)topology,
                                             samples.sizes, &network));
    for (int64_t i = 0; i < count; i++) {
        int64_t *sizes = samples.sizes + i * topology->axis_count;
        float draws[64];
        test_fill(draws, topology->axis_count, 100 + (uint64_t)i, 0, 1);
        for (int32_t a = 0; a < topology->axis_count; a++) {
            const nmi_axis *axis = &topology->axes[a];
            const int64_t low = nmi_axis_size_at(axis, 0.75);
            sizes[a] = s->moves[a] && i > 0
                           ? low + (int64_t)(draws[a] * (float)(axis->max - low + 1))
                           : axis->max;
        }
        assert_ok(s->context, nmi_network_resize(network, sizes));
        nmi_statistics_emit(s, network);
        for (int32_t n = 0; n < s->norm_count; n++) {
            const nmi_norm_function *norm = &s->norms[n];
            const nmi_tensor *mean = &network->tensors[norm->mean];
            if (mean->rank == 0)
                continue;
            samples.present[i * s->norm_count + n] = mean->count;
            memcpy(samples.means + i * s->channels + norm->first, mean->data,
                   (size_t)mean->count * sizeof(float));
            memcpy(samples.variances + i * s->channels + norm->first,
                   network->tensors[norm->variance].data, (size_t)mean->count * sizeof(float));
        }
    }
    nmi_network_release(network);
    return samples;
}

static void free_samples(nmi_statistics_samples *samples)
{
    free(samples->sizes);
    free(samples->present);
    free(samples->means);
    free(samples->variances);
}

static void fit_recovers(bool depths)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *truth = make_statistics(network->topology, depths);
    nmi_statistics *fitted = make_statistics(network->topology, depths);
    draw_coefficients(truth);
    nmi_statistics_samples samples = draw_samples(truth, 400);
    const double before = nmi_statistics_error(fitted, &samples, 5);
    assert_ok(context, nmi_statistics_fit(fitted, &samples, 5));
    const double after = nmi_statistics_error(fitted, &samples, 5);
    /* What is left is the ridge's bias, and channels that few samples have. */
    ck_assert_msg(after < 0.02 && before > 0.3, "error %g, %g before the fit", after, before);
    free_samples(&samples);
    nmi_statistics_free(truth);
    nmi_statistics_free(fitted);
    nmi_network_release(network);
    nmi_context_release(context);
}

START_TEST(what_the_terms_can_say_is_found)
{
    fit_recovers(false);
    fit_recovers(true);
}
END_TEST

/* The norm of a convolution's own channels and of what comes before. */
START_TEST(terms_follow_from_what_is_in_front)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *s = make_statistics(network->topology, false);
    double terms[64];
    ck_assert_int_eq(s->norm_count, 19);
    /* bn1 of the stem depends on nothing that moves; its statistics are one number a channel. */
    ck_assert_int_eq(s->norms[0].terms, 1);
    /* The first block's bn1 follows its own width (u, u^2), its bn2 reads that width: u, u^2, and
     * 3 pieces for the widths 4 to 1. */
    ck_assert_int_eq(s->norms[1].terms, 1 + 2);
    ck_assert_int_eq(s->norms[1].own_count, 1);
    ck_assert_int_eq(s->norms[2].terms, 1 + 2 + 3);
    ck_assert_int_eq(s->norms[2].direct_count, 1);
    int64_t sizes[64];
    nmi_graph_full_sizes(network->topology, sizes);
    nmi_statistics_terms(s, 2, sizes, terms);
    ck_assert_double_eq(terms[0], 1);
    for (int k = 1; k < 6; k++)
        ck_assert_double_eq(terms[k], 0);
    sizes[s->norms[2].axes[0]] = 2;
    nmi_statistics_terms(s, 2, sizes, terms);
    const double expected[] = {1, 0.5, 0.25, 0, 1, 0};
    for (int k = 0; k < 6; k++)
        ck_assert_double_eq_tol(terms[k], expected[k], 1e-12);
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

START_TEST(widths_of_a_block_that_is_not_there_count_as_full)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *s = make_statistics(network->topology, true);
    double one[64], other[64];
    int64_t sizes[64];
    const int32_t last = s->norm_count - 1;
    nmi_graph_full_sizes(network->topology, sizes);
    int32_t depth = -1, inner = -1;
    for (int32_t a = 0; a < network->topology->axis_count; a++) {
        const char *name = network->topology->axes[a].name;
        depth = strcmp(name, "layer1.depth") == 0 ? a : depth;
        inner = strcmp(name, "layer1.2.inner") == 0 ? a : inner;
    }
    ck_assert(depth >= 0 && inner >= 0);
    sizes[depth] = 1;
    nmi_statistics_terms(s, last, sizes, one);
    sizes[inner] = 1;
    nmi_statistics_terms(s, last, sizes, other);
    ck_assert_mem_eq(one, other, (size_t)s->norms[last].terms * sizeof(double));
    sizes[depth] = 3;
    nmi_statistics_terms(s, last, sizes, other);
    ck_assert_mem_ne(one, other, (size_t)s->norms[last].terms * sizeof(double));
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("statistics");
    TCase *cases = tcase_create("statistics");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, moments_are_those_of_a_plain_computation);
    tcase_add_test(cases, what_the_terms_can_say_is_found);
    tcase_add_test(cases, terms_follow_from_what_is_in_front);
    tcase_add_test(cases, widths_of_a_block_that_is_not_there_count_as_full);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
