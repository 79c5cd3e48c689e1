/* SPDX-License-Identifier: MIT */
/* How INRs start: at random, cloned, held, resampled and fitted. */
#include "nmi_manifolds.h"
#include "nmi_resample.h"

#include <math.h>

START_TEST(parts_cover_the_parameters_and_start_in_their_bounds)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=3");
    const float *parameters = m->fields[tensor(t, "a.bias")].parameters;
    nmi_inr_part part;
    int64_t end = 0;
    int32_t p = 0;
    for (; nmi_mlp_part(&m->mlp, p, &part); p++) {
        double largest = 0;
        ck_assert_int_eq(part.offset, end);
        end += part.count;
        for (int64_t i = part.offset; i < end; i++)
            largest = test_larger(largest, fabs((double)parameters[i]));
        if (strstr(part.name, "scale") != NULL) {
            ck_assert_double_eq(largest, 0.25);
            continue;
        }
        const double bound = strncmp(part.name, "inr.0", 5) == 0 ? 1 / sqrt(66) : 1 / sqrt(24);
        ck_assert_double_le(largest, bound);
        ck_assert_double_ge(largest, 0.5 * bound);
    }
    ck_assert_int_eq(p, 10);
    ck_assert_int_eq(end, nmi_mlp_parameter_count(&m->mlp));
    nmi_manifold *same = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=3");
    nmi_manifold *other = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=4");
    const size_t bytes = (size_t)end * sizeof(float);
    const int32_t a = tensor(t, "a.weight"), b = tensor(t, "b.weight");
    ck_assert_mem_eq(m->fields[a].parameters, same->fields[a].parameters, bytes);
    ck_assert_mem_ne(m->fields[a].parameters, other->fields[a].parameters, bytes);
    ck_assert_mem_ne(m->fields[a].parameters, m->fields[b].parameters, bytes);
    nmi_manifold_release(m);
    nmi_manifold_release(same);
    nmi_manifold_release(other);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(clones_equal_their_source_and_held_tensors_have_none)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    const int32_t a = tensor(t, "a.weight"), b = tensor(t, "b.weight");
    const int32_t stem = tensor(t, "stem.weight");
    assert_ok(ctx, nmi_manifold_clone(m, a, b));
    assert_ok(ctx, nmi_manifold_clone(m, a, a));
    ck_assert_mem_eq(m->fields[a].parameters, m->fields[b].parameters,
                     (size_t)m->fields[a].parameter_count * sizeof(float));
    assert_status(ctx, nmi_manifold_clone(m, a, stem), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "'stem.weight' is held directly");
    assert_status(ctx, nmi_manifold_clone(m, stem, a), NEUMETA_ERR_UNSUPPORTED);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(held_tensors_are_copied_from_the_reference_and_back)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=0");
    nmi_network *reference = make_network(ctx, t, 16, 14);
    nmi_network *network = make_network(ctx, t, 16, 5);
    nmi_network_initialize(reference, 9);
    nmi_manifold_hold(m, reference);
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    const char *held[] = {"stem.weight", "stem.bias", "scale.scale", "fc.weight", "fc.bias"};
    for (int i = 0; i < 5; i++) {
        const int32_t n = tensor(t, held[i]);
        ck_assert_mem_eq(network->tensors[n].data, reference->tensors[n].data,
                         (size_t)network->tensors[n].count * sizeof(float));
    }
    nmi_network_release(reference);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

static void resample(const nmi_network *wide, nmi_network *narrow, int32_t t)
{
    neumeta_context *ctx = wide->object.context;
    const float one = 1;
    nmi_channel_map map;
    nmi_resample_work work;
    assert_ok(ctx, nmi_channel_map_create(ctx, wide->topology, wide->shapes, &map));
    assert_ok(ctx, nmi_resample_work_create(&map, &work));
    const nmi_resampling r = nmi_resample_plan(&map, NMI_GAUGE_NEAREST, narrow, t, &work);
    nmi_resample(&r, wide->tensors[t].data, &one, 1, NULL, narrow->tensors[t].data);
    nmi_resample_work_free(ctx, &work);
    nmi_channel_map_free(ctx, &map);
}

/* Channel o of a narrow layer is the wide one's at the same relative place, and fewer inputs weigh
 * more: the narrow network computes what every n-th channel of the wide one does. */
START_TEST(resampling_keeps_relative_places_and_sums)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_network *wide = make_network(ctx, t, 16, 14), *narrow = make_network(ctx, t, 8, 7);
    const int32_t a = tensor(t, "a.weight"), fc = tensor(t, "fc.weight");
    nmi_network_initialize(wide, 9);
    resample(wide, narrow, a);
    resample(wide, narrow, fc);
    const nmi_tensor *from = &wide->tensors[a], *to = &narrow->tensors[a];
    const int64_t taps = to->dims[2] * to->dims[3];
    const float gain = (float)from->dims[1] / (float)to->dims[1];
    const int64_t step_o = from->dims[0] / to->dims[0], step_i = from->dims[1] / to->dims[1];
    for (int64_t o = 0; o < to->dims[0]; o++)
        for (int64_t i = 0; i < to->dims[1]; i++)
            for (int64_t k = 0; k < taps; k++)
                ck_assert_float_eq(
                    to->data[(o * to->dims[1] + i) * taps + k],
                    gain * from->data[(o * step_o * from->dims[1] + i * step_i) * taps + k]);
    for (int64_t i = 0; i < narrow->tensors[fc].count; i++)
        ck_assert(isfinite(narrow->tensors[fc].data[i]));
    nmi_network_release(wide);
    nmi_network_release(narrow);
    nmi_topology_release(t);
    neumeta_context_free(ctx);
}
END_TEST

static double squared_error(const nmi_network *a, const nmi_network *b, int32_t t)
{
    double sum = 0;
    for (int64_t i = 0; i < a->tensors[t].count; i++)
        sum += pow((double)a->tensors[t].data[i] - (double)b->tensors[t].data[i], 2);
    return sum;
}

START_TEST(fitting_approaches_the_reference)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, "INR_HIDDEN=48 INR_LAYERS=3 INR_OCTAVES=6 NOISE=0");
    nmi_network *reference = make_network(ctx, t, 16, 14), *network = make_network(ctx, t, 16, 14);
    const int32_t a = tensor(t, "a.weight"), fc = tensor(t, "fc.weight");
    bool only[16] = {false};
    only[a] = only[tensor(t, "a.bias")] = true;
    nmi_network_initialize(reference, 9);
    for (int64_t i = 0; i < reference->tensors[a].count; i++) /* smooth along both channels */
        reference->tensors[a].data[i] = 0.1f * sinf(0.02f * (float)i);
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    const double before = squared_error(network, reference, a);
    const double other = squared_error(network, reference, fc);
    const nmi_fit_target target = {reference, network, reference->sizes, 1};
    nmi_fit fit = {.steps = 300, .rate = 3e-3, .key = 4};
    assert_ok(ctx, nmi_manifold_fit(m, only, &target, &fit));
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL, NMI_FP32));
    ck_assert_double_lt(squared_error(network, reference, a), 0.02 * before);
    ck_assert_double_eq(squared_error(network, reference, fc), other);

    float *kept = malloc((size_t)m->fields[a].parameter_count * sizeof(float));
    memcpy(kept, m->fields[a].parameters, (size_t)m->fields[a].parameter_count * sizeof(float));
    reference->tensors[a].data[3] = NAN;
    fit.steps = 10;
    assert_status(ctx, nmi_manifold_fit(m, only, &target, &fit), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "'a.weight'");
    ck_assert_mem_eq(kept, m->fields[a].parameters,
                     (size_t)m->fields[a].parameter_count * sizeof(float));
    free(kept);
    nmi_network_release(reference);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("starts");
    TCase *starts = tcase_create("starts");
    tcase_add_test(starts, parts_cover_the_parameters_and_start_in_their_bounds);
    tcase_add_test(starts, clones_equal_their_source_and_held_tensors_have_none);
    tcase_add_test(starts, held_tensors_are_copied_from_the_reference_and_back);
    tcase_add_test(starts, resampling_keeps_relative_places_and_sums);
    tcase_add_test(starts, fitting_approaches_the_reference);
    suite_add_tcase(suite, starts);
    return test_main(suite);
}
