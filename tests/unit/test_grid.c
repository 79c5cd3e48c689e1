/* SPDX-License-Identifier: MIT */
/* Manifolds of grids: what they hold, where they start, and what narrow networks they yield. */
#include "nmi_manifolds.h"
#include "nmi_networks.h"

#define GRID "INR_KIND=grid "

/* --- what is held ------------------------------------------------------------------------ */

START_TEST(all_that_computes_morphs_and_terms_follow_the_axes)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *plain = make_manifold(ctx, t, GRID);
    nmi_manifold *terms = make_manifold(ctx, t, GRID "GRID_TERMS=1");
    nmi_manifold *some = make_manifold(ctx, t, GRID "GRID_TERMS=1 MORPH_BLOCKS=0");
    /* Grids of each tensor: with s and h varying, and with the classifier held, which fixes s. */
    const struct {
        const char *name;
        int64_t count, grids, fewer;
    } cases[] = {
        {"stem.weight", 16 * 3 * 9, 2, 1}, {"stem.bias", 16, 2, 1},
        {"a.weight", 14 * 16 * 9, 3, 2},   {"a.bias", 14, 2, 2},
        {"b.weight", 16 * 14, 3, 2},       {"b.bias", 16, 2, 1},
        {"fc.weight", 20 * 16, 2, 1},      {"fc.bias", 20, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int32_t number = tensor(t, cases[i].name);
        ck_assert(plain->fields[number].morphing);
        ck_assert_int_eq(plain->fields[number].parameter_count, cases[i].count);
        ck_assert_int_eq(terms->fields[number].parameter_count, cases[i].count * cases[i].grids);
        ck_assert_int_eq(some->fields[number].parameter_count, cases[i].count * cases[i].fewer);
    }
    ck_assert(!plain->fields[tensor(t, "scale.scale")].morphing);
    ck_assert(!some->fields[tensor(t, "fc.weight")].morphing);
    const int64_t stream[3] = {12, 2, 20};
    assert_ok(ctx, nmi_manifold_check_sizes(plain, stream));
    assert_status(ctx, nmi_manifold_check_sizes(some, stream), NEUMETA_ERR_SHAPE);
    nmi_manifold_release(plain);
    nmi_manifold_release(terms);
    nmi_manifold_release(some);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(kinds_mix_by_block)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, GRID SMALL "MLP_BLOCKS=-1");
    nmi_manifold *first = make_manifold(ctx, t, GRID SMALL "MLP_BLOCKS=0");
    nmi_network *network = make_network(ctx, t, 14, 9);
    ck_assert_int_eq(m->counts[NMI_INR_GRID], 6);
    ck_assert_int_eq(m->counts[NMI_INR_MLP], 2);
    ck_assert_int_eq(m->mlp.outputs, 1);
    ck_assert_int_eq(m->fields[tensor(t, "fc.weight")].index, 0);
    ck_assert(!first->fields[tensor(t, "stem.weight")].morphing);
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8};
    assert_ok(ctx, nmi_manifold_emit_average(m, network, NULL, &noise, NMI_FP32, 3, false));
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < network->tensors[i].count; k++)
            ck_assert(isfinite(network->tensors[i].data[k]));
    assert_status(ctx, nmi_manifold_clone(m, tensor(t, "a.bias"), tensor(t, "fc.bias")),
                  NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "'a.bias', of kind grid, to 'fc.bias', of kind mlp");
    nmi_network_release(network);
    nmi_manifold_release(m);
    nmi_manifold_release(first);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(settings_of_the_other_kind_are_refused)
{
    const refused_settings cases[] = {
        {GRID "INR_HIDDEN=8", "INR_HIDDEN has no effect while INR_KIND is grid"},
        {GRID "NOISE=0", "NOISE has no effect while INR_KIND is grid and MLP_BLOCKS names no"},
        {GRID "INR_ENCODING=integrated", "INR_ENCODING has no effect"},
        {"GRID_GAUGE=relative", "GRID_GAUGE has no effect while INR_KIND is mlp"},
        {"GRID_TERMS=1", "GRID_TERMS has no effect while INR_KIND is mlp"},
        {"MLP_BLOCKS=0", "MLP_BLOCKS has no effect while INR_KIND is mlp"},
        {GRID "MLP_BLOCKS=2", "MLP_BLOCKS: block 2 does not exist"},
        {GRID "MORPH_BLOCKS=0 MLP_BLOCKS=1", "MLP_BLOCKS: block 1 is not among MORPH_BLOCKS"},
    };
    assert_settings_refused(cases, sizeof cases / sizeof *cases);
}
END_TEST

/* --- starts ------------------------------------------------------------------------------ */

START_TEST(a_random_start_has_the_usual_spread)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, GRID "GRID_TERMS=1 SEED=3");
    const int32_t a = tensor(t, "a.weight");
    const int64_t count = 14 * 16 * 9;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += pow((double)m->fields[a].parameters[i], 2);
    ck_assert_double_eq_tol(sum / (double)count, 2.0 / (16 * 9), 0.1 * 2 / (16 * 9));
    for (int64_t i = count; i < m->fields[a].parameter_count; i++)
        ck_assert(m->fields[a].parameters[i] == 0);
    for (int64_t i = 0; i < 14; i++)
        ck_assert(m->fields[tensor(t, "a.bias")].parameters[i] == 0);
    for (int64_t i = 0; i < 20; i++)
        ck_assert(fabs((double)m->fields[tensor(t, "fc.bias")].parameters[i]) <= 0.25);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

static void fit(nmi_manifold *m, const nmi_network *reference, const bool *fields)
{
    const nmi_fit_target target = {.reference = reference};
    const nmi_fit how = {0};
    assert_ok(reference->object.context, nmi_manifold_fit(m, fields, &target, &how));
}

static const char *const forms[] = {GRID, GRID "GRID_TERMS=1", GRID "GRID_GAUGE=relative",
                                    GRID "GRID_GAUGE=relative GRID_TERMS=1"};
enum { FORMS = sizeof forms / sizeof *forms };

/* Negative zeros and all. */
START_TEST(a_fitted_manifold_is_its_reference_to_the_bit)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, forms[_i]);
    nmi_network *reference = make_network(ctx, t, 16, 14), *made = make_network(ctx, t, 16, 14);
    test_randomize(reference, 4);
    reference->tensors[tensor(t, "a.weight")].data[5] = -0.0f;
    nmi_manifold_hold(m, reference);
    fit(m, reference, NULL);
    assert_ok(ctx, nmi_manifold_emit(m, made, NULL, NULL, NMI_FP32));
    for (int32_t i = 0; i < t->tensor_count; i++)
        ck_assert_mem_eq(made->tensors[i].data, reference->tensors[i].data,
                         (size_t)made->tensors[i].count * sizeof(float));
    reference->tensors[tensor(t, "b.bias")].data[0] = NAN;
    const nmi_fit_target target = {.reference = reference};
    const nmi_fit how = {0};
    assert_status(ctx, nmi_manifold_fit(m, NULL, &target, &how), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "tensor 'b.bias' of the reference is not finite");
    nmi_network_release(reference);
    nmi_network_release(made);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(clones_are_interpolated_or_refused)
{
    neumeta_context *ctx = test_context();
    nmi_topology *t = test_topology(ctx);
    const int32_t four = test_axis(t, "four", NEUMETA_AXIS_WIDTH, 1, 4);
    const int32_t eight = test_axis(t, "eight", NEUMETA_AXIS_WIDTH, 1, 8);
    const int32_t in = test_input(t, 2, 4);
    assert_ok(ctx, nmi_topology_begin_block(t, "all"));
    int32_t n = test_conv(t, "small", in, four);
    n = test_conv(t, "same", n, four);
    n = test_conv(t, "wide", n, eight);
    n = test_unary(t, "pool", NEUMETA_OP_POOL_GLOBAL, n);
    n = test_linear(t, "fc", n, four);
    assert_ok(ctx, nmi_topology_seal(t, n));
    nmi_manifold *m = make_manifold(ctx, t, GRID);
    const int32_t same = tensor(t, "same.weight"), wide = tensor(t, "wide.weight");
    const int32_t small = tensor(t, "small.weight"), fc = tensor(t, "fc.weight");
    /* From [4, 2] to [4, 4]: as many outputs, inputs 0, 0.25, 0.75 and 1 at half the weight. */
    assert_ok(ctx, nmi_manifold_clone(m, small, same));
    const float *from = m->fields[small].parameters, *to = m->fields[same].parameters;
    const float places[] = {0, 0.25f, 0.75f, 1};
    for (int64_t v = 0; v < 4 * 4 * 9; v++) {
        const float *at = from + (v / 36 * 2) * 9 + v % 9, place = places[v / 9 % 4];
        ck_assert_float_eq_tol(to[v], 0.5f * ((1 - place) * at[0] + place * at[9]), 1e-6f);
    }
    assert_ok(ctx, nmi_manifold_clone(m, same, wide));
    assert_ok(ctx, nmi_manifold_clone(m, same, same));
    assert_status(ctx, nmi_manifold_clone(m, same, fc), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "cannot clone tensor 'same.weight' to 'fc.weight'");
    nmi_manifold_release(m);
    nmi_topology_release(t);
    neumeta_context_free(ctx);
}
END_TEST

/* --- narrow networks --------------------------------------------------------------------- */

/* Sets to zero what makes the channels of the full network that the narrow one lacks. */
static void silence(nmi_network *full, const nmi_network *narrow, const nmi_manifold *m)
{
    static nmi_origin origins[256];
    static bool used[256], kept[256];
    for (int32_t t = 0; t < full->topology->tensor_count; t++) {
        const int32_t node = full->topology->tensors[t].node;
        nmi_tensor *tensor = &full->tensors[t];
        const int64_t row = tensor->count / tensor->dims[0];
        memset(kept, 0, sizeof kept);
        nmi_channel_origins(&m->map, NMI_GAUGE_ABSOLUTE, narrow, node, origins, used);
        for (int64_t c = 0; c < narrow->shapes[node].channels; c++)
            kept[origins[c].at] = true;
        for (int64_t o = 0; o < tensor->dims[0]; o++)
            if (!kept[o])
                memset(tensor->data + o * row, 0, (size_t)row * sizeof(float));
    }
    nmi_network_touch(full);
}

/* By the absolute gauge, a narrow network is the full one without some channels, also where streams
 * of different widths are tied by shortcuts: `_i` 0 option A, 1 projections. */
START_TEST(a_narrow_network_is_a_part_of_the_full_one)
{
    neumeta_context *ctx = test_context();
    nmi_options *options =
        test_options(ctx, NEUMETA_KEY_CHANNELS, 6, NEUMETA_KEY_SHORTCUT, _i, NEUMETA_KEY_NORM, 0);
    nmi_network *full = test_builtin(ctx, "resnet20-cifar", options, 3);
    nmi_topology *t = full->topology;
    nmi_manifold *m = make_manifold(ctx, t, GRID);
    fit(m, full, NULL);
    for (uint64_t draw = 0; draw < 6; draw++) {
        int64_t sizes[64];
        nmi_network *narrow = NULL, *silent = NULL;
        nmi_random random = nmi_random_start(draw);
        nmi_graph_full_sizes(t, sizes);
        for (int32_t a = 0; a < t->axis_count; a++)
            if (t->axes[a].kind == NEUMETA_AXIS_WIDTH && t->axes[a].min < t->axes[a].max)
                sizes[a] -= nmi_random_below(&random, sizes[a] / 2 + 1);
        assert_ok(ctx, nmi_network_create(ctx, t, sizes, &narrow));
        assert_ok(ctx, nmi_manifold_emit(m, narrow, NULL, NULL, NMI_FP32));
        assert_ok(ctx, nmi_network_copy(full, &silent));
        silence(silent, narrow, m);
        test_same_outputs(narrow, test_outputs(silent), 1e-5);
        nmi_network_release(silent);
        nmi_network_release(narrow);
    }
    nmi_manifold_release(m);
    nmi_network_release(full);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(depths_are_left_out)
{
    neumeta_context *ctx = test_context();
    nmi_options *options = test_options(ctx, NEUMETA_KEY_CHANNELS, 4, NEUMETA_KEY_NORM, 0, 0, 0);
    nmi_network *full = test_builtin(ctx, "resnet20-cifar", options, 3), *shallow = NULL;
    nmi_topology *t = full->topology;
    nmi_manifold *m = make_manifold(ctx, t, GRID);
    int64_t sizes[64];
    fit(m, full, NULL);
    nmi_graph_full_sizes(t, sizes);
    for (int32_t a = 0; a < t->axis_count; a++)
        if (t->axes[a].kind == NEUMETA_AXIS_DEPTH)
            sizes[a] = 2;
    assert_ok(ctx, nmi_manifold_materialize(m, sizes, NULL, &shallow));
    int32_t absent = 0;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        absent += shallow->tensors[i].rank == 0;
        if (shallow->tensors[i].rank > 0)
            ck_assert_mem_eq(shallow->tensors[i].data, full->tensors[i].data,
                             (size_t)full->tensors[i].count * sizeof(float));
    }
    ck_assert_int_eq(absent, 3 * 4); /* two convolutions with their biases in each stage */
    free(test_outputs(shallow));
    nmi_network_release(shallow);
    nmi_manifold_release(m);
    nmi_network_release(full);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(there_is_nothing_to_sample)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, GRID);
    const int64_t sizes[3] = {14, 9, 20};
    const struct {
        const char *settings, *message;
    } cases[] = {
        {"SAMPLES=2", "SAMPLES is 2, must be 1: grids have no noise to average"},
        {"NOISE=0.5", "manifold materialize of grids"},
        {"CLEAN_SAMPLE=1", "CLEAN_SAMPLE"},
    };
    nmi_network *network = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nmi_options *options = make_options(ctx, cases[i].settings);
        assert_status(ctx, nmi_manifold_materialize(m, sizes, options, &network),
                      NEUMETA_ERR_ARGUMENT);
        assert_message_contains(ctx, cases[i].message);
        nmi_options_release(options);
    }
    nmi_options *options = make_options(ctx, "SAMPLES=1 SEED=3");
    assert_ok(ctx, nmi_manifold_materialize(m, sizes, options, &network));
    nmi_options_release(options);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* --- workers and memory ------------------------------------------------------------------ */

/* Values and gradients on so many threads, in one array. */
static float *values_and_gradients(const char *settings, int32_t threads, int64_t *total)
{
    neumeta_context *ctx = test_context();
    assert_ok(ctx, neumeta_context_set_threads(ctx, threads));
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings);
    nmi_network *network = make_network(ctx, t, 14, 9);
    float *gradients[16] = {NULL}, *weights[16] = {NULL};
    *total = 0;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        test_fill(weights[i], network->tensors[i].count, 5, -1, 1);
        test_fill(m->fields[i].parameters, m->fields[i].parameter_count, 6, -1, 1);
        *total += network->tensors[i].count + m->fields[i].parameter_count;
    }
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, NMI_FP32, weights, gradients));
    float *all = calloc((size_t)*total, sizeof(float)), *at = all;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const size_t values = (size_t)network->tensors[i].count;
        const size_t parameters = (size_t)m->fields[i].parameter_count;
        memcpy(at, network->tensors[i].data, values * sizeof *at);
        memcpy(at + values, gradients[i], parameters * sizeof *at);
        at += values + parameters;
        free(gradients[i]);
        free(weights[i]);
    }
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
    return all;
}

START_TEST(bits_do_not_depend_on_threads)
{
    int64_t total, again;
    float *one = values_and_gradients(forms[_i], 1, &total),
          *two = values_and_gradients(forms[_i], 2, &again);
    ck_assert_int_eq(total, again);
    ck_assert_mem_eq(one, two, (size_t)total * sizeof(float));
    free(one);
    free(two);
}
END_TEST

START_TEST(nothing_is_allocated_after_the_first_call)
{
    check_no_allocation(forms[_i], 14, false);
}
END_TEST

/* --- files ------------------------------------------------------------------------------- */

START_TEST(files_are_read_back_to_the_bit_and_damage_is_named)
{
    static const char *const settings[] = {GRID, GRID "GRID_GAUGE=relative GRID_TERMS=1",
                                           GRID SMALL "MLP_BLOCKS=-1 NOISE=0.5"};
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, settings[_i]), *read = NULL;
    test_file file = {NULL, 0}, again = {NULL, 0};
    assert_ok(ctx, nmi_manifold_write(m, test_collect, &file));
    assert_ok(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read));
    assert_ok(ctx, nmi_manifold_write(read, test_collect, &again));
    ck_assert_uint_eq(file.size, again.size);
    ck_assert_mem_eq(file.data, again.data, file.size);
    for (int32_t i = 0; i < t->tensor_count; i++) {
        ck_assert_int_eq(m->fields[i].parameter_count, read->fields[i].parameter_count);
        ck_assert_ptr_eq(m->fields[i].kind, read->fields[i].kind);
        ck_assert_mem_eq(m->fields[i].parameters, read->fields[i].parameters,
                         (size_t)m->fields[i].parameter_count * sizeof(float));
    }
    nmi_manifold_release(read);
    test_forget_checksums(file.data, (int64_t)file.size);
    test_find(&file, "a.weight/grid.0")[14] = '7';
    assert_status(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "a.weight/grid.0");
    test_find(&file, "a.weight/grid.7")[14] = '0';
    memcpy(test_find(&file, "\\\"grid\\\""), "\\\"grip\\\"", 8);
    assert_status(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "INR_KIND");
    ck_assert_ptr_null(read);
    free(file.data);
    free(again.data);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grid");
    TCase *tests = tcase_create("grid");
    tcase_add_test(tests, all_that_computes_morphs_and_terms_follow_the_axes);
    tcase_add_test(tests, kinds_mix_by_block);
    tcase_add_test(tests, settings_of_the_other_kind_are_refused);
    tcase_add_test(tests, a_random_start_has_the_usual_spread);
    tcase_add_loop_test(tests, a_fitted_manifold_is_its_reference_to_the_bit, 0, FORMS);
    tcase_add_test(tests, clones_are_interpolated_or_refused);
    tcase_add_loop_test(tests, a_narrow_network_is_a_part_of_the_full_one, 0, 2);
    tcase_add_test(tests, depths_are_left_out);
    tcase_add_test(tests, there_is_nothing_to_sample);
    tcase_add_loop_test(tests, bits_do_not_depend_on_threads, 0, FORMS);
    tcase_add_loop_test(tests, nothing_is_allocated_after_the_first_call, 0, FORMS);
    tcase_add_loop_test(tests, files_are_read_back_to_the_bit_and_damage_is_named, 0, 3);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
