/* SPDX-License-Identifier: MIT */
/* Statistics of norms: measured against a plain computation, and fitted as functions of the sizes.
 */
#include "nmi_float16.h"
#include "nmi_moments.h"
#include "nmi_networks.h"
#include "nmi_statistics.h"

#include <math.h>

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

enum { MANY = 5000, WIDTH = 32 }; /* in double i / MANY * MANY is not always i */

typedef struct visits {
    int64_t counts[MANY];
} visits;

static int32_t count_visits(void *user, int32_t split, const int64_t *indices, int64_t count,
                            float *inputs, int64_t *targets)
{
    visits *v = user;
    (void)split;
    for (int64_t i = 0; i < count; i++) {
        v->counts[indices[i]]++;
        targets[i] = -1; /* nobody wants to know */
    }
    memset(inputs, 0, (size_t)(count * 8 * WIDTH) * sizeof *inputs);
    return 0;
}

START_TEST(all_items_are_all_once)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_dataset *dataset = NULL;
    nmi_moments *moments = NULL;
    visits seen = {{0}};
    nmi_options *shape = test_options(context, NEUMETA_KEY_INPUT_CHANNELS, 1,
                                      NEUMETA_KEY_INPUT_HEIGHT, 8, NEUMETA_KEY_INPUT_WIDTH, WIDTH);
    assert_ok(context, nmi_dataset_create(context, MANY, 0, count_visits, &seen, shape, &dataset));
    assert_ok(context, nmi_moments_create(network->topology, dataset, MANY, BATCH, &moments));
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(seen.counts[i], 1);
    nmi_moments_free(moments);
    nmi_options_release(shape);
    nmi_dataset_release(dataset);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

/* --- functions -------------------------------------------------------------------------------- */

static const nmi_size_range measured = {.widths = {.max = 0.75}, .depths = 0.5};

static nmi_statistics *make_statistics(const nmi_topology *topology, bool depths, bool older)
{
    nmi_statistics *s = NULL;
    bool moves[64] = {false};
    for (int32_t a = 0; a < topology->axis_count; a++)
        moves[a] = nmi_graph_axis_is_inner(topology, a) ||
                   (depths && topology->axes[a].kind == NEUMETA_AXIS_DEPTH);
    assert_ok(topology->object.context,
              nmi_statistics_create(topology, moves, &measured, older, &s));
    assert_ok(topology->object.context, nmi_statistics_allocate(s));
    return s;
}

static void draw_coefficients(nmi_statistics *s)
{
    test_fill(s->coefficients, s->coefficient_count, 1, -0.5f, 0.5f);
}

/* Sizes drawn over the whole range, and what the functions say there. */
static nmi_statistics_samples draw_samples(const nmi_statistics *s, int64_t count)
{
    const nmi_topology *topology = s->topology;
    nmi_statistics_samples samples = {.count = count};
    nmi_network *network = NULL;
    samples.sizes = calloc((size_t)(count * topology->axis_count), sizeof(int64_t));
    samples.present = calloc((size_t)(count * s->channels), sizeof(bool));
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
        nmi_statistics_take(s, network, &samples, i);
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
    nmi_statistics *truth = make_statistics(network->topology, depths, false);
    nmi_statistics *fitted = make_statistics(network->topology, depths, false);
    draw_coefficients(truth);
    nmi_statistics_samples samples = draw_samples(truth, 400);
    const double before = nmi_statistics_error(fitted, &samples, 5);
    assert_ok(context, nmi_statistics_fit(fitted, &samples, 5));
    const double after = nmi_statistics_error(fitted, &samples, 5);
    /* What is left is the ridge's bias, and channels that few samples have. */
    ck_assert_msg(after < 0.02 && before > 0.3, "error %g, %g before the fit", after, before);
    for (int64_t i = 0; i < fitted->coefficient_count; i++) {
        const float x = fitted->coefficients[i];
        ck_assert(nmi_f16_from_bits(nmi_f16_bits(x)) == x);
    }
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

static void assert_terms(const nmi_statistics *s, int32_t norm, int target, const int64_t *sizes,
                         const double *expected, int32_t count)
{
    double terms[64];
    ck_assert_int_eq(s->norms[norm].terms[target], count);
    nmi_statistics_terms(s, norm, target, sizes, terms);
    for (int32_t k = 0; k < count; k++)
        ck_assert_double_eq_tol(terms[k], expected[k], 1e-12);
}

/* The first block's bn1 follows its own width, its bn2 reads that width: pieces for 3, 2 and 1. */
START_TEST(terms_follow_from_what_is_in_front)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *s = make_statistics(network->topology, false, false);
    int64_t sizes[64];
    nmi_graph_full_sizes(network->topology, sizes);
    ck_assert_int_eq(s->norm_count, 19);
    ck_assert_int_eq(s->norms[1].own_count, 1);
    ck_assert_int_eq(s->norms[2].direct_count, 1);
    const int32_t first = s->norms[2].axes[0], second = s->norms[4].axes[0];
    for (int target = 0; target < NMI_TARGETS; target++) {
        /* bn1 of the stem depends on nothing that moves; its statistics are numbers. */
        assert_terms(s, 0, target, sizes, (const double[]){1}, 1);
        assert_terms(s, 2, target, sizes, (const double[]){1, 0, 0, 0}, 4);
    }
    sizes[first] = 2;
    assert_terms(s, 1, NMI_MEAN, sizes, (const double[]){1, 0.5, 0.25}, 3);
    assert_terms(s, 2, NMI_MEAN, sizes, (const double[]){1, 0, 1, 0}, 4);
    /* The second block's: the mean of one width, and its own. */
    sizes[second] = 1;
    assert_terms(s, 3, NMI_MEAN, sizes, (const double[]){1, 0.5, 0.25, 0.75, 0.5625}, 5);
    /* The third block's bn1: the mean of two, the nearer one, the other, its own at full size. */
    assert_terms(s, 5, NMI_LOGARITHM, sizes,
                 (const double[]){1, 0.625, 0.390625, 0.75, 0.5625, 0.5, 0.25, 0, 0}, 9);
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

START_TEST(files_of_format_1_have_terms_of_their_own)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *s = make_statistics(network->topology, false, true);
    int64_t sizes[64];
    nmi_graph_full_sizes(network->topology, sizes);
    sizes[s->norms[2].axes[0]] = 2;
    sizes[s->norms[4].axes[0]] = 1;
    for (int target = 0; target < NMI_TARGETS; target++) {
        assert_terms(s, 2, target, sizes, (const double[]){1, 0.5, 0.25, 0, 1, 0}, 6);
        assert_terms(s, 4, target, sizes,
                     (const double[]){1, 0.5, 0.25, 0.75, 0.5625, 0, 0, 1, 0.375}, 9);
        assert_terms(s, 5, target, sizes,
                     (const double[]){1, 0.5, 0.25, 0.75, 0.5625, 0.390625, 0.244140625, 0, 0}, 9);
    }
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

START_TEST(widths_of_a_block_that_is_not_there_count_as_full)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    nmi_statistics *s = make_statistics(network->topology, true, false);
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
    nmi_statistics_terms(s, last, NMI_MEAN, sizes, one);
    sizes[inner] = 1;
    nmi_statistics_terms(s, last, NMI_MEAN, sizes, other);
    ck_assert_mem_eq(one, other, (size_t)s->norms[last].terms[NMI_MEAN] * sizeof(double));
    sizes[depth] = 3;
    nmi_statistics_terms(s, last, NMI_MEAN, sizes, other);
    ck_assert_mem_ne(one, other, (size_t)s->norms[last].terms[NMI_MEAN] * sizeof(double));
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

/* A norm behind a product with 64 inputs, whose statistics are straight lines of their number. */
START_TEST(widths_that_were_not_measured_lie_between_those_that_were)
{
    enum { WIDTHS = 64, FIRST = 28, LAST = 36 }; /* of those left out */
    nmi_context *context = test_context();
    nmi_topology *t = test_topology(context);
    const int32_t inner = test_axis(t, "inner", NEUMETA_AXIS_WIDTH, 1, WIDTHS);
    const int32_t out = test_axis(t, "out", NEUMETA_AXIS_WIDTH, 1, 1);
    int32_t n = test_conv(t, "b", test_conv(t, "a", test_input(t, 1, 8), inner), out);
    nmi_network *network = test_sealed(t, test_unary(t, "norm", NEUMETA_OP_NORM, n), 4);
    const bool moves[] = {true, false};
    nmi_statistics *s = NULL;
    int64_t sizes[2 * WIDTHS], count = 0;
    bool present[WIDTHS];
    float means[WIDTHS], variances[WIDTHS];
    assert_ok(context, nmi_statistics_create(network->topology, moves, &measured, false, &s));
    assert_ok(context, nmi_statistics_allocate(s));
    ck_assert_int_eq(s->channels, 1);
    for (int64_t width = WIDTHS; width >= WIDTHS / 4; width--) {
        if (width >= FIRST && width <= LAST)
            continue;
        sizes[2 * count] = width;
        sizes[2 * count + 1] = 1;
        present[count] = true;
        means[count] = 0.01f * (float)width - 0.2f;
        variances[count++] = expf(0.02f * (float)width);
    }
    const nmi_statistics_samples samples = {count, sizes, present, means, variances};
    assert_ok(context, nmi_statistics_fit(s, &samples, 0));
    for (int64_t width = WIDTHS / 4; width <= WIDTHS; width++) {
        assert_ok(context, nmi_network_resize(network, (const int64_t[]){width, 1}));
        nmi_statistics_emit(s, network);
        /* The penalty draws a little: 0.6 is the range of the means, 1 that of the logarithms. */
        ck_assert_float_eq_tol(nmi_network_find(network, "norm.running_mean")->data[0],
                               0.01f * (float)width - 0.2f, 0.01f);
        ck_assert_float_eq_tol(logf(nmi_network_find(network, "norm.running_var")->data[0]),
                               0.02f * (float)width, 0.03f);
    }
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

static bool covers(const nmi_statistics *s, const bool *moves, nmi_size_range drawn)
{
    return nmi_statistics_cover(s, moves, &drawn);
}

START_TEST(functions_cover_the_axes_and_compressions_that_they_were_fitted_for)
{
    nmi_context *context = test_context();
    nmi_network *network = make_network(context);
    const nmi_topology *topology = network->topology;
    nmi_statistics *s = make_statistics(topology, true, false);
    bool moves[64];
    memcpy(moves, s->moves, (size_t)topology->axis_count * sizeof *moves);
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.75}}));
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.76}}));
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.75}, .depths = 0.5}));
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.75}, .depths = 0.6}));
    s->measured.widths.min = 0.1;
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.75}}));
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.min = 0.2, .max = 0.75}}));
    s->measured = (nmi_size_range){.widths = {.max = 0.75, .gap = {0.3, 0.4}}};
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.75}}));
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.75, .gap = {0.35, 0.4}}}));
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.75, .gap = {0.3, 0.5}}}));
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}}));
    moves[s->norms[2].axes[0]] = false;
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}}));
    for (int32_t a = 0; a < topology->axis_count; a++)
        if (nmi_graph_axis_is_stream(topology, a))
            moves[a] = true;
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}}));
    memcpy(s->moves, moves, (size_t)topology->axis_count * sizeof *moves);
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}}));
    s->measured.streams = 0.2; /* until now measured as far as inner widths */
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}}));
    ck_assert(covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}, .streams = 0.2}));
    ck_assert(!covers(s, moves, (nmi_size_range){.widths = {.max = 0.25}, .streams = 0.3}));
    nmi_statistics_free(s);
    nmi_network_release(network);
    nmi_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("statistics");
    TCase *cases = tcase_create("statistics");
    tcase_add_test(cases, moments_are_those_of_a_plain_computation);
    tcase_add_test(cases, all_items_are_all_once);
    tcase_add_test(cases, what_the_terms_can_say_is_found);
    tcase_add_test(cases, terms_follow_from_what_is_in_front);
    tcase_add_test(cases, files_of_format_1_have_terms_of_their_own);
    tcase_add_test(cases, widths_of_a_block_that_is_not_there_count_as_full);
    tcase_add_test(cases, widths_that_were_not_measured_lie_between_those_that_were);
    tcase_add_test(cases, functions_cover_the_axes_and_compressions_that_they_were_fitted_for);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
