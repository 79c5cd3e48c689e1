/* SPDX-License-Identifier: MIT */
/* Manifolds of separable INRs: what they hold, where they start, what they are fitted to. */
#include "nmi_cp.h"
#include "nmi_manifolds.h"
#include "nmi_networks.h"
#include "nmi_optimizer.h"

#include <stdio.h>

#define SEPARABLE "INR_KIND=separable " SMALL

static void release(nmi_manifold *m, neumeta_topology *t, neumeta_context *ctx)
{
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

/* --- what is held ------------------------------------------------------------------------ */

START_TEST(all_that_computes_morphs_and_parts_have_names)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SEPARABLE "INR_RANK=6");
    const int32_t a = tensor(t, "a.weight"), bias = tensor(t, "a.bias");
    /* P = 6 + 2 * 6 * 5 features, three hidden layers of 24, and outputs */
    const int64_t hidden = 24 * 67 + 2 * (24 * 25 + 1);
    const int64_t side = hidden + 6 * 25;
    const char *const names[] = {"f.inr.0.weight", "f.inr.out.bias", "g.inr.0.weight", "factors"};
    const int32_t numbers[] = {0, 9, 10, 20};
    nmi_inr_part part;
    ck_assert_int_eq(m->counts[NMI_INR_SEPARABLE], 8); /* all but the scale, the stem too */
    ck_assert(!m->fields[tensor(t, "scale.scale")].morphing);
    ck_assert_int_eq(m->fields[a].parameter_count, 2 * side + 9 * 6);
    ck_assert_int_eq(m->fields[bias].parameter_count, hidden + 25);
    for (int i = 0; i < 4; i++) {
        ck_assert(m->fields[a].kind->part(m, a, numbers[i], &part));
        ck_assert_str_eq(part.name, names[i]);
    }
    ck_assert_int_eq(part.offset, 2 * side);
    ck_assert_int_eq(part.count, 9 * 6);
    ck_assert(!m->fields[a].kind->part(m, a, 21, &part));
    ck_assert(!m->fields[bias].kind->part(m, bias, 10, &part));
    release(m, t, ctx);
}
END_TEST

START_TEST(kinds_mix_by_block)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m =
        make_manifold(ctx, t, "INR_KIND=grid " SMALL "SEPARABLE_BLOCKS=0 MLP_BLOCKS=1 INR_RANK=3");
    nmi_network *network = make_network(ctx, t, 16, 9);
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8};
    ck_assert_int_eq(m->counts[NMI_INR_SEPARABLE], 6);
    ck_assert_int_eq(m->counts[NMI_INR_MLP], 2);
    ck_assert_int_eq(m->counts[NMI_INR_GRID], 0);
    assert_ok(ctx, nmi_manifold_emit_average(m, network, NULL, &noise, NMI_BF16, 3, false));
    for (int32_t i = 0; i < t->tensor_count; i++)
        ck_assert(nmi_all_finite(network->tensors[i].count, network->tensors[i].data));
    nmi_network_release(network);
    release(m, t, ctx);
}
END_TEST

START_TEST(settings_of_other_kinds_are_refused)
{
    const refused_settings cases[] = {
        {"INR_RANK=3", "INR_RANK has no effect while INR_KIND is mlp and SEPARABLE_BLOCKS names"},
        {"INR_KIND=separable GRID_TERMS=1", "GRID_TERMS has no effect while INR_KIND is separable"},
        {"INR_KIND=separable SEPARABLE_BLOCKS=0", "SEPARABLE_BLOCKS has no effect while INR_KIND"},
        {"INR_KIND=grid SEPARABLE_BLOCKS=0 MLP_BLOCKS=0", "block 0 is of kind mlp by another"},
        {"SEPARABLE_BLOCKS=5", "SEPARABLE_BLOCKS: block 5 does not exist"},
        {"MORPH_BLOCKS=0 SEPARABLE_BLOCKS=1", "block 1 is not among MORPH_BLOCKS"},
    };
    assert_settings_refused(cases, sizeof cases / sizeof *cases);
}
END_TEST

/* --- starts ------------------------------------------------------------------------------ */

START_TEST(a_random_start_has_about_the_usual_spread)
{
    static const char *const settings[] = {"INR_KIND=separable", "INR_KIND=separable INR_RANK=8",
                                           "INR_KIND=separable INR_ENCODING=integrated"};
    assert_usual_spread(settings[_i]);
}
END_TEST

START_TEST(clones_equal_their_source_or_are_refused)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SEPARABLE);
    const int32_t stem = tensor(t, "stem.weight"), a = tensor(t, "a.weight");
    assert_ok(ctx, nmi_manifold_clone(m, stem, a));
    ck_assert_mem_eq(m->fields[stem].parameters, m->fields[a].parameters,
                     (size_t)m->fields[a].parameter_count * sizeof(float));
    assert_ok(ctx, nmi_manifold_clone(m, tensor(t, "a.bias"), tensor(t, "fc.bias")));
    assert_status(ctx, nmi_manifold_clone(m, a, tensor(t, "b.weight")), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "cannot clone tensor 'a.weight' to 'b.weight': one has 9 taps");
    assert_status(ctx, nmi_manifold_clone(m, tensor(t, "a.bias"), tensor(t, "b.weight")),
                  NEUMETA_ERR_UNSUPPORTED);
    release(m, t, ctx);
}
END_TEST

/* --- decomposition and fit --------------------------------------------------------------- */

START_TEST(a_linear_system_is_solved)
{
    double matrix[] = {4, 0, 0, 2, 5, 0, 1, 3, 6}; /* lower half of a symmetric one */
    double sides[] = {4 * 1 + 2 * 2 + 1 * 3, 2 * 1 + 5 * 2 + 3 * 3, 1 * 1 + 3 * 2 + 6 * 3, 0, 0, 0};
    nmi_solve_ridge(3, matrix, 1e-14, 2, sides);
    for (int i = 0; i < 3; i++) {
        ck_assert_double_eq_tol(sides[i], i + 1, 1e-10);
        ck_assert(sides[3 + i] == 0);
    }
    double zero[] = {0, 0, 0, 0}, none[] = {0, 0};
    nmi_solve_ridge(2, zero, 1e-6, 1, none);
    ck_assert(none[0] == 0 && none[1] == 0);
}
END_TEST

/* A sum of four products is found again by four, and by more. */
START_TEST(a_sum_of_products_is_decomposed)
{
    enum { O = 7, I = 5, K = 9, R = 4 };
    neumeta_context *ctx = test_context();
    const int64_t dims[NMI_CP_AXES] = {O, I, K};
    float factors[(O + I + K) * R], values[O * I * K];
    test_fill(factors, (O + I + K) * R, 3, -1, 1);
    for (int v = 0; v < O * I * K; v++) {
        values[v] = 0;
        for (int r = 0; r < R; r++)
            values[v] += factors[v / (I * K) * R + r] * factors[(O + v / K % I) * R + r] *
                         factors[(O + I + v % K) * R + r];
    }
    for (int64_t rank = R; rank <= 3 * R; rank += 2 * R) {
        nmi_cp cp;
        double error = 0, square = 0;
        assert_ok(ctx, nmi_cp_create(ctx, dims, rank, values, 300, 1, &cp));
        for (int v = 0; v < O * I * K; v++) {
            double value = 0;
            for (int64_t r = 0; r < rank; r++)
                value += cp.factors[0][v / (I * K) * rank + r] *
                         cp.factors[1][v / K % I * rank + r] * cp.factors[2][v % K * rank + r];
            error += pow(value - (double)values[v], 2);
            square += pow((double)values[v], 2);
        }
        ck_assert_msg(error < 1e-4 * square, "relative error %g", sqrt(error / square));
        nmi_cp_free(ctx, &cp);
    }
    neumeta_context_free(ctx);
}
END_TEST

static double error_of(const nmi_network *made, const nmi_network *reference, int32_t tensor)
{
    double error = 0;
    for (int64_t i = 0; i < reference->tensors[tensor].count; i++)
        error += pow(
            (double)made->tensors[tensor].data[i] - (double)reference->tensors[tensor].data[i], 2);
    return sqrt(error / nmi_squared_norm(reference->tensors[tensor].count,
                                         reference->tensors[tensor].data));
}

#define AMPLE "INR_KIND=separable INR_HIDDEN=96 INR_LAYERS=2 INR_OCTAVES=6 INR_RANK=80 NOISE=0 "

static bool stop_at_third(void *user, double done)
{
    int *calls = user;
    ck_assert(done > 0 && done <= 1);
    return ++*calls == 3;
}

/* With hidden units and products enough, nothing is lost at full size. */
START_TEST(fitting_meets_the_reference)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, AMPLE);
    nmi_network *reference = make_network(ctx, t, 16, 14), *made = make_network(ctx, t, 16, 14);
    nmi_network *room = NULL;
    const int32_t fc = tensor(t, "fc.weight"), stem = tensor(t, "stem.weight");
    test_randomize(reference, 4);
    assert_ok(ctx, nmi_network_copy(reference, &room));
    const nmi_fit_target target = {reference, room, reference->sizes, 1};
    nmi_fit how = {.key = 4};
    assert_ok(ctx, nmi_manifold_fit(m, NULL, &target, &how));
    assert_ok(ctx, nmi_manifold_emit(m, made, NULL, NULL, NMI_FP32));
    for (int32_t i = 0; i < t->tensor_count; i++)
        if (m->fields[i].morphing) {
            const double error = error_of(made, reference, i);
            ck_assert_msg(error < 0.03, "%s is off by %g", t->tensors[i].name, error);
        }

    /* What is damaged is named and stays as it was; what is stopped has done what it reported. */
    float *kept = malloc((size_t)m->fields[fc].parameter_count * sizeof(float));
    memcpy(kept, m->fields[fc].parameters, (size_t)m->fields[fc].parameter_count * sizeof(float));
    reference->tensors[fc].data[3] = NAN;
    assert_status(ctx, nmi_manifold_fit(m, NULL, &target, &how), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "tensor 'fc.weight' of the reference is not finite");
    int calls = 0;
    how = (nmi_fit){.key = 5, .watch = stop_at_third, .user = &calls};
    const float first = m->fields[stem].parameters[0];
    ck_assert_int_eq(nmi_manifold_fit(m, NULL, &target, &how), NEUMETA_CANCELLED);
    ck_assert_int_eq(calls, 3);
    ck_assert(m->fields[stem].parameters[0] == first); /* drawn from the start key again */
    ck_assert_mem_eq(kept, m->fields[fc].parameters,
                     (size_t)m->fields[fc].parameter_count * sizeof(float));
    free(kept);
    nmi_network_release(reference);
    nmi_network_release(made);
    nmi_network_release(room);
    release(m, t, ctx);
}
END_TEST

/* A reference that is smooth along its channels is met at narrower sizes, too. */
START_TEST(several_sizes_are_fitted)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, AMPLE "INR_EXTENT_OCTAVES=0 MORPH_BLOCKS=0");
    nmi_network *reference = make_network(ctx, t, 16, 14), *room = NULL;
    nmi_network *narrow = make_network(ctx, t, 16, 7), *wanted = make_network(ctx, t, 16, 7);
    const int64_t sizes[] = {16, 14, 20, 16, 10, 20, 16, 7, 20};
    const int32_t a = tensor(t, "a.weight");
    nmi_network_initialize(reference, 4);
    for (int64_t i = 0; i < reference->tensors[a].count; i++)
        reference->tensors[a].data[i] = sinf(0.2f * (float)(i / 144) + 0.1f * (float)(i % 144 / 9));
    for (int64_t i = 0; i < wanted->tensors[a].count; i++)
        wanted->tensors[a].data[i] = sinf(0.4f * (float)(i / 144) + 0.1f * (float)(i % 144 / 9));
    assert_ok(ctx, nmi_network_copy(reference, &room));
    const nmi_fit_target target = {reference, room, sizes, 3};
    assert_ok(ctx, nmi_manifold_fit(m, NULL, &target, &(nmi_fit){.key = 4}));
    assert_ok(ctx, nmi_manifold_emit(m, narrow, NULL, NULL, NMI_FP32));
    ck_assert_double_lt(error_of(narrow, wanted, a), 0.2);
    nmi_network_release(reference);
    nmi_network_release(room);
    nmi_network_release(narrow);
    nmi_network_release(wanted);
    release(m, t, ctx);
}
END_TEST

/* --- materialisation --------------------------------------------------------------------- */

START_TEST(draws_are_averaged_where_there_is_noise)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *plain = make_manifold(ctx, t, SEPARABLE);
    nmi_manifold *clean = make_manifold(ctx, t, SEPARABLE "INR_ENCODING=integrated");
    nmi_options *options = make_options(ctx, "SAMPLES=3 SEED=2");
    const int64_t sizes[3] = {14, 9, 20};
    nmi_network *network = NULL;
    assert_ok(ctx, nmi_manifold_materialize(plain, sizes, options, &network));
    nmi_network_release(network);
    assert_status(ctx, nmi_manifold_materialize(clean, sizes, options, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "the integrated encoding has averaged the noise already");
    nmi_options_release(options);
    nmi_manifold_release(clean);
    release(plain, t, ctx);
}
END_TEST

/* --- workers, memory, files -------------------------------------------------------------- */

static const char *const forms[] = {
    SEPARABLE "INR_RANK=9", SEPARABLE "INR_RANK=5 INR_ENCODING=integrated INR_FUNCTION=elu",
    "INR_KIND=grid " SMALL "INR_RANK=3 SEPARABLE_BLOCKS=0", SEPARABLE "MLP_BLOCKS=-1 INR_RANK=2"};
enum { FORMS = sizeof forms / sizeof *forms };

START_TEST(bits_do_not_depend_on_threads)
{
    int64_t total, again;
    float *one = everything(forms[_i], 1, 9, 3, false, 2, &total);
    float *two = everything(forms[_i], 2, 9, 3, false, 2, &again);
    ck_assert_int_eq(total, again);
    ck_assert_mem_eq(one, two, (size_t)total * sizeof(float));
    free(one);
    free(two);
}
END_TEST

START_TEST(nothing_is_allocated_after_the_first_call)
{
    check_no_allocation(forms[_i], 16, true);
}
END_TEST

START_TEST(files_are_read_back_to_the_bit_and_damage_is_named)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, forms[_i]), *read = NULL;
    test_file file = {NULL, 0}, again = {NULL, 0};
    assert_ok(ctx, nmi_manifold_write(m, test_collect, &file));
    assert_ok(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read));
    assert_ok(ctx, nmi_manifold_write(read, test_collect, &again));
    ck_assert_uint_eq(file.size, again.size);
    ck_assert_mem_eq(file.data, again.data, file.size);
    for (int32_t i = 0; i < t->tensor_count; i++) {
        ck_assert_ptr_eq(m->fields[i].kind, read->fields[i].kind);
        ck_assert_int_eq(m->fields[i].parameter_count, read->fields[i].parameter_count);
    }
    nmi_manifold_release(read);
    test_forget_checksums(file.data, (int64_t)file.size);
    test_find(&file, "a.weight/factors")[9] = 'F';
    assert_status(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "a.weight/");
    ck_assert_ptr_null(read);
    free(file.data);
    free(again.data);
    release(m, t, ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("separable");
    TCase *tests = tcase_create("separable");
    tcase_add_test(tests, all_that_computes_morphs_and_parts_have_names);
    tcase_add_test(tests, kinds_mix_by_block);
    tcase_add_test(tests, settings_of_other_kinds_are_refused);
    tcase_add_loop_test(tests, a_random_start_has_about_the_usual_spread, 0, 3);
    tcase_add_test(tests, clones_equal_their_source_or_are_refused);
    tcase_add_test(tests, a_linear_system_is_solved);
    tcase_add_test(tests, a_sum_of_products_is_decomposed);
    tcase_add_test(tests, fitting_meets_the_reference);
    tcase_add_test(tests, several_sizes_are_fitted);
    tcase_add_test(tests, draws_are_averaged_where_there_is_noise);
    tcase_add_loop_test(tests, bits_do_not_depend_on_threads, 0, FORMS);
    tcase_add_loop_test(tests, nothing_is_allocated_after_the_first_call, 0, FORMS);
    tcase_add_loop_test(tests, files_are_read_back_to_the_bit_and_damage_is_named, 0, FORMS);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
