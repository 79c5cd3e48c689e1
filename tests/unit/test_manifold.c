/* SPDX-License-Identifier: MIT */
/* What morphs and what a manifold refuses, and how weights are emitted. */
#include "nmi_archive.h"
#include "nmi_manifolds.h"

START_TEST(convolutions_and_linear_layers_of_chosen_blocks_morph)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=-2");
    const char *morphing[] = {"a.weight", "a.bias", "b.weight", "b.bias"};
    const char *held[] = {"stem.weight", "stem.bias", "scale.scale", "fc.weight", "fc.bias"};
    const int64_t held_counts[] = {16 * 3 * 9, 16, 1, 20 * 16, 20};
    ck_assert_int_eq(m->counts[NMI_INR_MLP], 4);
    ck_assert_int_eq(m->settings.coordinate_scale, 16);
    ck_assert_int_eq(m->mlp.outputs, 9);
    int64_t total = 0;
    for (int i = 0; i < 4; i++) {
        const nmi_field *field = &m->fields[tensor(t, morphing[i])];
        ck_assert(field->morphing);
        ck_assert_int_eq(field->index, i);
        /* P = 66; 24 * 66 + 24; two layers of 24 * 24 + 24 + 1; 9 * 24 + 9. */
        ck_assert_int_eq(field->parameter_count, 1608 + 2 * 601 + 225);
        total += field->parameter_count;
    }
    for (int i = 0; i < 5; i++) {
        const nmi_field *field = &m->fields[tensor(t, held[i])];
        ck_assert(!field->morphing);
        ck_assert_int_eq(field->index, -1);
        ck_assert_int_eq(field->parameter_count, held_counts[i]);
        total += field->parameter_count;
    }
    ck_assert_int_eq(nmi_manifold_parameter_count(m), total);
    nmi_manifold_release(m);
    m = make_manifold(ctx, t, SMALL);
    ck_assert_int_eq(m->counts[NMI_INR_MLP], 6);
    ck_assert(!m->fields[tensor(t, "stem.weight")].morphing);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(vectors_of_norms_morph_and_running_statistics_are_no_parameters)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, true);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=0");
    ck_assert_int_eq(m->counts[NMI_INR_MLP], 6);
    ck_assert(m->fields[tensor(t, "bn.weight")].morphing);
    ck_assert(m->fields[tensor(t, "bn.bias")].morphing);
    ck_assert_int_eq(m->fields[tensor(t, "bn.running_mean")].parameter_count, 0);
    ck_assert_int_eq(m->fields[tensor(t, "bn.running_var")].parameter_count, 0);
    ck_assert_ptr_null(nmi_manifold_held_tensor(m, 1));
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(unfit_settings_and_topologies_are_refused_with_a_reason)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = NULL;
    assert_status(ctx, try_manifold(ctx, t, SMALL "MORPH_BLOCKS=0,2", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "MORPH_BLOCKS");
    assert_message_contains(ctx, "2");
    assert_status(ctx, try_manifold(ctx, t, SMALL "EPOCHS=2", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "EPOCHS");
    assert_status(ctx, try_manifold(ctx, t, "INR_OCTAVES=40 COORDINATE_SCALE=1", &m),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "COORDINATE_SCALE 1 is too small for 20 channels");
    assert_status(ctx, try_manifold(ctx, t, "INR_EXTENT_OCTAVES=40 COORDINATE_SCALE=1", &m),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "40 octaves of the extents");
    ck_assert_ptr_null(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(sizes_that_a_held_tensor_fixes_are_named)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=0");
    const int64_t inner[3] = {16, 3, 20}, stream[3] = {14, 14, 20};
    assert_ok(ctx, nmi_manifold_check_sizes(m, inner));
    assert_status(ctx, nmi_manifold_check_sizes(m, stream), NEUMETA_ERR_SHAPE);
    assert_message_contains(ctx, "axis 's' is 14, must be at its maximum 16");
    assert_message_contains(ctx, "stem.weight");
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* --- emission --------------------------------------------------------------------------- */

START_TEST(only_marked_tensors_are_written)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    nmi_network *network = make_network(ctx, t, 16, 9);
    bool only[16] = {false};
    const int32_t b = tensor(t, "b.weight");
    only[b] = true;
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < network->tensors[i].count; k++)
            network->tensors[i].data[k] = 7;
    assert_ok(ctx, nmi_manifold_emit(m, network, only, NULL, NMI_FP32));
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < network->tensors[i].count; k++)
            ck_assert((network->tensors[i].data[k] == 7) == (i != b));
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* `draws` numbered draws, with a clean emission before them or not. */
static void average_is_that_of(bool clean, int draws)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    nmi_network *average = make_network(ctx, t, 16, 9), *one = make_network(ctx, t, 16, 9);
    const int32_t a = tensor(t, "a.weight");
    const int64_t count = one->tensors[a].count;
    const int samples = draws + (clean ? 1 : 0);
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8, .draw = NMI_DRAW_ANTITHETIC};
    double *sum = calloc((size_t)count, sizeof *sum);
    for (int s = clean ? -1 : 0; s < draws; s++) {
        noise.sample = s;
        assert_ok(ctx, nmi_manifold_emit(m, one, NULL, s < 0 ? NULL : &noise, NMI_FP32));
        for (int64_t i = 0; i < count; i++)
            sum[i] += (double)one->tensors[a].data[i] / samples;
    }
    noise.sample = 0;
    assert_ok(ctx, nmi_manifold_emit_average(m, average, NULL, &noise, NMI_FP32, samples, clean));
    for (int64_t i = 0; i < count; i++)
        ck_assert_double_eq_tol((double)average->tensors[a].data[i], sum[i], 1e-8); /* float */
    free(sum);
    nmi_network_release(average);
    nmi_network_release(one);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

START_TEST(the_average_is_that_of_a_clean_and_numbered_draws)
{
    average_is_that_of(true, 4);
    average_is_that_of(true, 0);
    average_is_that_of(false, 4);
    average_is_that_of(false, 1);
}
END_TEST

START_TEST(bits_do_not_depend_on_threads)
{
    int64_t total, again;
    float *one = everything(SMALL "INR_FUNCTION=elu", 1, 13, 4, true, 3, &total);
    float *two = everything(SMALL "INR_FUNCTION=elu", 2, 13, 4, true, 3, &again);
    ck_assert_int_eq(total, again);
    ck_assert_mem_eq(one, two, (size_t)total * sizeof(float));
    free(one);
    free(two);
}
END_TEST

START_TEST(nothing_is_allocated_after_the_first_call)
{
    check_no_allocation(SMALL, 16, true);
}
END_TEST

/* --- files ------------------------------------------------------------------------------- */

/* Writes the manifold's file again, with one tensor more. */
static void add_stranger(neumeta_context *ctx, const char *path)
{
    static const char *const keys[] = {NMI_META_TOPOLOGY, NMI_META_OPTIONS};
    const unsigned char none = 0;
    nmi_safetensors *file;
    nmi_safetensors_writer *writer;
    assert_ok(ctx, nmi_safetensors_open(ctx, path, &file));
    assert_ok(ctx, nmi_archive_create(ctx, NMI_KIND_MANIFOLD, &writer));
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        assert_ok(ctx,
                  nmi_safetensors_add_text(writer, keys[k], nmi_safetensors_text(file, keys[k])));
    for (int32_t i = 0; i < nmi_safetensors_count(file); i++) {
        nmi_tensor_entry entry;
        ck_assert(nmi_safetensors_at(file, i, &entry));
        assert_ok(ctx, nmi_safetensors_add(writer, entry.name, entry.dtype, entry.rank, entry.dims,
                                           entry.data));
    }
    assert_ok(ctx, nmi_safetensors_add(writer, "stranger", NMI_DTYPE_U8, 0, NULL, &none));
    assert_ok(ctx, nmi_safetensors_save(writer, path));
    nmi_safetensors_writer_free(writer);
    nmi_safetensors_free(file);
}

START_TEST(a_tensor_that_nobody_asked_for_is_named)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    neumeta_manifold *m = make_manifold(ctx, t, SMALL), *read = NULL;
    char *folder = test_directory(), *path = test_path(folder, "file");
    assert_ok(ctx, neumeta_manifold_save(m, path));
    add_stranger(ctx, path);
    assert_status(ctx, neumeta_manifold_load(ctx, path, &read), NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "tensor 'stranger' does not belong to this manifold");
    ck_assert_ptr_null(read);
    free(path);
    test_directory_remove(folder);
    neumeta_manifold_free(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manifold");
    TCase *fields = tcase_create("fields");
    tcase_add_test(fields, convolutions_and_linear_layers_of_chosen_blocks_morph);
    tcase_add_test(fields, vectors_of_norms_morph_and_running_statistics_are_no_parameters);
    tcase_add_test(fields, unfit_settings_and_topologies_are_refused_with_a_reason);
    tcase_add_test(fields, sizes_that_a_held_tensor_fixes_are_named);
    suite_add_tcase(suite, fields);
    TCase *emission = tcase_create("emission");
    tcase_add_test(emission, only_marked_tensors_are_written);
    tcase_add_test(emission, the_average_is_that_of_a_clean_and_numbered_draws);
    tcase_add_test(emission, bits_do_not_depend_on_threads);
    tcase_add_test(emission, nothing_is_allocated_after_the_first_call);
    tcase_add_test(emission, a_tensor_that_nobody_asked_for_is_named);
    suite_add_tcase(suite, emission);
    return test_main(suite);
}
