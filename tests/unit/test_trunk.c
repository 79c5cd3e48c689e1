/* SPDX-License-Identifier: MIT */
/* Manifolds of INRs that share a trunk: what they hold, where they start, what they are fitted to.
 */
#include "nmi_manifolds.h"
#include "nmi_networks.h"
#include "nmi_optimizer.h"

#include <math.h>
#include <stdio.h>

#define TRUNK "INR_KIND=trunk " SMALL

static void release(nmi_manifold *m, neumeta_topology *t, neumeta_context *ctx)
{
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

static size_t bytes_of(const nmi_manifold *m, int32_t field)
{
    return (size_t)m->fields[field].parameter_count * sizeof(float);
}

static float *copy_of(const nmi_manifold *m, int32_t field)
{
    float *copy = malloc(bytes_of(m, field));
    memcpy(copy, m->fields[field].parameters, bytes_of(m, field));
    return copy;
}

/* --- what is held ------------------------------------------------------------------------ */

static void check_part(const nmi_manifold *m, int32_t field, int32_t index, const char *name,
                       int64_t offset, int64_t count)
{
    nmi_inr_part part;
    ck_assert(m->fields[field].kind->part(m, field, index, &part));
    ck_assert_str_eq(part.name, name);
    ck_assert_int_eq(part.offset, offset);
    ck_assert_int_eq(part.count, count);
}

START_TEST(tensors_have_their_ends_and_share_the_rest)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, TRUNK);
    const int32_t a = tensor(t, "a.weight"), bias = tensor(t, "a.bias");
    const int32_t shared = m->shared[NMI_INR_TRUNK];
    const int64_t own = 8 * 24 + (2 * 9 + 6) * 25; /* embeddings; outputs of all taps */
    nmi_inr_part part;
    ck_assert_int_eq(m->counts[NMI_INR_TRUNK], 8); /* all but the scale, the stem too */
    ck_assert(!m->fields[tensor(t, "scale.scale")].morphing);
    ck_assert_int_eq(m->field_count, t->tensor_count + 1);
    ck_assert_int_eq(shared, t->tensor_count);
    ck_assert_str_eq(nmi_manifold_field_name(m, shared), "trunk");
    ck_assert_str_eq(nmi_manifold_field_name(m, a), "a.weight");
    /* P = 6 + 2 * 6 * 5 features, three hidden layers of 24 */
    ck_assert_int_eq(m->fields[shared].parameter_count, 24 * 66 + 2 * (24 * 25 + 1));
    ck_assert_int_eq(m->fields[a].parameter_count, 24 + 9 * 25);
    ck_assert_int_eq(m->fields[bias].parameter_count, 24 + 25);
    ck_assert_int_eq(nmi_manifold_parameter_count(m), own + m->fields[shared].parameter_count + 1);
    check_part(m, a, 0, "inr.0.bias", 0, 24);
    check_part(m, a, 1, "inr.out.weight", 24, 9 * 24);
    check_part(m, a, 2, "inr.out.bias", 24 + 9 * 24, 9);
    ck_assert(!m->fields[a].kind->part(m, a, 3, &part));
    check_part(m, bias, 1, "inr.out.weight", 24, 24);
    check_part(m, shared, 0, "inr.0.weight", 0, 24 * 66);
    check_part(m, shared, 1, "inr.1.weight", 24 * 66, 24 * 24);
    check_part(m, shared, 6, "inr.2.scale", 24 * 66 + 24 * 25 + 1 + 24 * 25, 1);
    ck_assert(!m->fields[shared].kind->part(m, shared, 7, &part));
    release(m, t, ctx);
}
END_TEST

/* All kinds beside one another; what no tensor shares has no field. */
START_TEST(kinds_mix_by_block)
{
    static const struct {
        const char *settings;
        int32_t trunk, other, kind;
    } cases[] = {{"TRUNK_BLOCKS=0", 6, 2, NMI_INR_MLP}, /* the stem goes with its block */
                 {"INR_KIND=grid TRUNK_BLOCKS=1", 2, 6, NMI_INR_GRID},
                 {"INR_KIND=trunk SEPARABLE_BLOCKS=0 INR_RANK=3", 2, 6, NMI_INR_SEPARABLE},
                 {"INR_KIND=trunk MLP_BLOCKS=0", 2, 4, NMI_INR_MLP},
                 {"INR_KIND=separable", 0, 8, NMI_INR_SEPARABLE}};
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_network *network = make_network(ctx, t, 16, 9);
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8};
    nmi_manifold *m = make_manifold(ctx, t, cases[_i].settings);
    ck_assert_int_eq(m->counts[NMI_INR_TRUNK], cases[_i].trunk);
    ck_assert_int_eq(m->counts[cases[_i].kind], cases[_i].other);
    ck_assert_int_eq(m->field_count, t->tensor_count + (cases[_i].trunk > 0));
    ck_assert_int_eq(m->shared[cases[_i].kind], -1);
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
        {"INR_KIND=trunk GRID_TERMS=1", "GRID_TERMS has no effect while INR_KIND is trunk"},
        {"INR_KIND=trunk INR_RANK=3", "INR_RANK has no effect while INR_KIND is trunk and"},
        {"INR_KIND=trunk TRUNK_BLOCKS=0", "TRUNK_BLOCKS has no effect while INR_KIND is trunk"},
        {"INR_KIND=grid TRUNK_BLOCKS=0 MLP_BLOCKS=0", "block 0 is of kind mlp by another"},
        {"TRUNK_BLOCKS=5", "TRUNK_BLOCKS: block 5 does not exist"},
        {"MORPH_BLOCKS=0 TRUNK_BLOCKS=1", "block 1 is not among MORPH_BLOCKS"},
        {"INR_KIND=grid INR_HIDDEN=3", "nor do SEPARABLE_BLOCKS and TRUNK_BLOCKS"},
    };
    assert_settings_refused(cases, sizeof cases / sizeof *cases);
}
END_TEST

/* --- starts ------------------------------------------------------------------------------ */

START_TEST(a_random_start_has_about_the_usual_spread)
{
    static const char *const settings[] = {"INR_KIND=trunk", "INR_KIND=trunk INR_FUNCTION=elu",
                                           "INR_KIND=trunk INR_ENCODING=integrated"};
    assert_usual_spread(settings[_i]);
}
END_TEST

/* What is shared is nobody's to clone. */
START_TEST(clones_equal_their_source_or_are_refused)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, TRUNK);
    const int32_t stem = tensor(t, "stem.weight"), a = tensor(t, "a.weight");
    const int32_t shared = m->shared[NMI_INR_TRUNK];
    float *kept = copy_of(m, shared);
    assert_ok(ctx, nmi_manifold_clone(m, stem, a));
    ck_assert_mem_eq(m->fields[stem].parameters, m->fields[a].parameters, bytes_of(m, a));
    assert_ok(ctx, nmi_manifold_clone(m, tensor(t, "a.bias"), tensor(t, "fc.bias")));
    assert_status(ctx, nmi_manifold_clone(m, a, tensor(t, "b.weight")), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "cannot clone tensor 'a.weight' to 'b.weight': one has 9 taps");
    ck_assert_mem_eq(kept, m->fields[shared].parameters, bytes_of(m, shared));
    free(kept);
    release(m, t, ctx);
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

/* Waves along the channels of each tensor, of a length of its own. */
static void make_smooth(nmi_network *reference)
{
    for (int32_t t = 0; t < reference->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &reference->tensors[t];
        const int64_t line = tensor->count / tensor->dims[0];
        for (int64_t i = 0; i < tensor->count; i++)
            tensor->data[i] = 0.2f * sinf((0.2f + 0.02f * (float)t) * (float)(i / line) +
                                          0.1f * (float)(i % line));
    }
}

#define AMPLE "INR_KIND=trunk INR_HIDDEN=48 INR_LAYERS=3 INR_OCTAVES=5 NOISE=0 "

static bool stop_at_third(void *user, double done)
{
    int *calls = user;
    ck_assert(done > 0 && done <= 1);
    return ++*calls == 3;
}

/* All tensors at once come near a smooth reference. Those of earlier phases are left alone, and so
 * is what they share; what fails or is stopped changes nothing. */
START_TEST(fitting_comes_near_the_reference)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, AMPLE);
    nmi_network *reference = make_network(ctx, t, 16, 14), *made = make_network(ctx, t, 16, 14);
    nmi_network *room = NULL;
    const int32_t fc = tensor(t, "fc.weight"), a = tensor(t, "a.weight");
    const int32_t shared = m->shared[NMI_INR_TRUNK];
    bool settled[16] = {false}, fresh[16] = {false};
    make_smooth(reference);
    assert_ok(ctx, nmi_network_copy(reference, &room));
    const nmi_fit_target target = {reference, room, reference->sizes, 1};
    nmi_fit how = {.steps = 300, .rate = 5e-3, .key = 4};
    assert_ok(ctx, nmi_manifold_fit(m, NULL, &target, &how));
    assert_ok(ctx, nmi_manifold_emit(m, made, NULL, NULL, NMI_FP32));
    for (int32_t i = 0; i < t->tensor_count; i++)
        if (m->fields[i].morphing) {
            const double error = error_of(made, reference, i);
            ck_assert_msg(error < 0.25, "%s is off by %g", t->tensors[i].name, error);
        }

    float *trunk = copy_of(m, shared), *of_a = copy_of(m, a), *of_fc = copy_of(m, fc);
    settled[a] = fresh[fc] = true;
    how = (nmi_fit){.steps = 100, .rate = 5e-3, .key = 5, .settled = settled};
    assert_ok(ctx, nmi_manifold_fit(m, fresh, &target, &how));
    ck_assert_mem_eq(trunk, m->fields[shared].parameters, bytes_of(m, shared));
    ck_assert_mem_eq(of_a, m->fields[a].parameters, bytes_of(m, a));
    assert_ok(ctx, nmi_manifold_emit(m, made, NULL, NULL, NMI_FP32));
    ck_assert_double_lt(error_of(made, reference, fc), 0.8);

    int calls = 0;
    free(of_fc);
    of_fc = copy_of(m, fc);
    how = (nmi_fit){.steps = 9, .rate = 1e-3, .watch = stop_at_third, .user = &calls};
    ck_assert_int_eq(nmi_manifold_fit(m, NULL, &target, &how), NEUMETA_CANCELLED);
    ck_assert_int_eq(calls, 3);
    reference->tensors[fc].data[3] = NAN;
    how = (nmi_fit){.steps = 2, .rate = 1e-3};
    assert_status(ctx, nmi_manifold_fit(m, NULL, &target, &how), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "diverged");
    ck_assert_mem_eq(of_fc, m->fields[fc].parameters, bytes_of(m, fc));
    ck_assert_mem_eq(trunk, m->fields[shared].parameters, bytes_of(m, shared));
    free(trunk);
    free(of_a);
    free(of_fc);
    nmi_network_release(reference);
    nmi_network_release(made);
    nmi_network_release(room);
    release(m, t, ctx);
}
END_TEST

/* --- workers, memory, files -------------------------------------------------------------- */

static const char *const forms[] = {TRUNK, TRUNK "INR_ENCODING=integrated INR_FUNCTION=elu",
                                    "INR_KIND=grid " SMALL "TRUNK_BLOCKS=0", TRUNK "MLP_BLOCKS=-1",
                                    "INR_KIND=separable " SMALL "TRUNK_BLOCKS=-1 INR_RANK=2"};
enum { FORMS = sizeof forms / sizeof *forms };

START_TEST(bits_do_not_depend_on_threads)
{
    int64_t total, again;
    float *one = everything(forms[_i], 1, 9, 3, false, 2, &total);
    for (int32_t threads = 2; threads <= 5; threads += 3) {
        float *other = everything(forms[_i], threads, 9, 3, false, 2, &again);
        ck_assert_int_eq(total, again);
        ck_assert_mem_eq(one, other, (size_t)total * sizeof(float));
        free(other);
    }
    free(one);
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
    ck_assert_int_eq(m->field_count, read->field_count);
    for (int32_t i = 0; i < m->field_count; i++) {
        ck_assert_ptr_eq(m->fields[i].kind, read->fields[i].kind);
        ck_assert_int_eq(m->fields[i].parameter_count, read->fields[i].parameter_count);
    }
    nmi_manifold_release(read);
    test_forget_checksums(file.data, (int64_t)file.size);
    test_find(&file, "trunk/inr.1.bias")[6] = 'x';
    assert_status(ctx, nmi_manifold_load_memory(ctx, file.data, (int64_t)file.size, &read),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "trunk/");
    ck_assert_ptr_null(read);
    free(file.data);
    free(again.data);
    release(m, t, ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trunk");
    TCase *tests = tcase_create("trunk");
    tcase_add_test(tests, tensors_have_their_ends_and_share_the_rest);
    tcase_add_loop_test(tests, kinds_mix_by_block, 0, 5);
    tcase_add_test(tests, settings_of_other_kinds_are_refused);
    tcase_add_loop_test(tests, a_random_start_has_about_the_usual_spread, 0, 3);
    tcase_add_test(tests, clones_equal_their_source_or_are_refused);
    tcase_add_test(tests, fitting_comes_near_the_reference);
    tcase_add_loop_test(tests, bits_do_not_depend_on_threads, 0, FORMS);
    tcase_add_loop_test(tests, nothing_is_allocated_after_the_first_call, 0, FORMS);
    tcase_add_loop_test(tests, files_are_read_back_to_the_bit_and_damage_is_named, 0, FORMS);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
