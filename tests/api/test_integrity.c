/* SPDX-License-Identifier: MIT */
/* Damage of files is found, whatever bit it hits; files of 16 bits; fingerprints of networks. */
#include "nmi_training.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

typedef struct image {
    unsigned char *bytes;
    int64_t size;
} image;

/* Files of a test, by name in its own folder. */
static char *folder, *path, *other_path;

static void set_up(void)
{
    folder = test_directory();
    path = test_path(folder, "file");
    other_path = test_path(folder, "other");
}

static void tear_down(void)
{
    free(path);
    free(other_path);
    test_directory_remove(folder);
}

static image read_image(const char *name)
{
    image file = {NULL, 0};
    file.bytes = test_read_file(name, &file.size);
    ck_assert_ptr_nonnull(file.bytes);
    return file;
}

static neumeta_status save_as(const test_problem *p, const char *name, const char *storage)
{
    neumeta_options *options = problem_options(p->context, PAIRS("storage", storage));
    const neumeta_status status = neumeta_manifold_save_as(p->manifold, name, options);
    neumeta_options_free(options);
    return status;
}

/* --- damage ---------------------------------------------------------------------------------- */

static neumeta_status load_bytes(const test_problem *p, const image *file)
{
    neumeta_manifold *manifold = NULL;
    const neumeta_status status =
        neumeta_manifold_load_memory(p->context, file->bytes, file->size, &manifold);
    ck_assert((status == NEUMETA_OK) == (manifold != NULL));
    neumeta_manifold_free(manifold);
    return status;
}

/* Flips every `step`-th bit of a manifold's file, one at a time. */
static void flip_bits(int64_t hidden, int64_t least, int64_t step)
{
    test_problem p;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, hidden);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    const image file = read_image(path);
    ck_assert_int_ge(file.size, least);
    for (int64_t bit = 0; bit < 8 * file.size; bit += step) {
        file.bytes[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        const neumeta_status status = load_bytes(&p, &file);
        ck_assert_msg(status == NEUMETA_ERR_FORMAT, "bit %lld of %lld flipped gave %d: %s",
                      (long long)bit, (long long)(8 * file.size), (int)status,
                      neumeta_context_message(p.context));
        file.bytes[bit / 8] ^= (unsigned char)(1u << (bit % 8));
    }
    assert_ok(p.context, load_bytes(&p, &file));
    free(file.bytes);
    problem_free(&p);
}

/* NEUMETA_TEST_ALL_BITS makes it all of them, which takes minutes. */
START_TEST(no_flipped_bit_of_a_manifold_passes)
{
    flip_bits(4, 64 * 1024, getenv("NEUMETA_TEST_ALL_BITS") != NULL ? 1 : 37);
}
END_TEST

/* Flips the lowest bit of the byte `back` bytes before the end. */
static void damage(const char *name, int64_t back)
{
    const image file = read_image(name);
    file.bytes[file.size - back] ^= 1;
    test_write_file(name, file.bytes, file.size);
    free(file.bytes);
}

START_TEST(file_and_tensor_are_named)
{
    test_problem p;
    neumeta_manifold *manifold = NULL;
    neumeta_network *network = NULL;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 2);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    damage(path, 1);
    assert_status(p.context, neumeta_manifold_load(p.context, path, &manifold), NEUMETA_ERR_FORMAT);
    assert_message_contains(p.context, path);
    assert_message_contains(p.context, "tensor 'linear.bias' is damaged: its checksum");
    assert_ok(p.context, neumeta_network_save(p.network, path));
    damage(path, 1);
    assert_status(p.context, neumeta_network_load(p.topology, path, NULL, &network),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(p.context, path);
    assert_message_contains(p.context, "tensor 'linear.bias' is damaged: its checksum");
    problem_free(&p);
}
END_TEST

START_TEST(files_without_checksums_are_those_of_format_1)
{
    test_problem p;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 2);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    const image file = read_image(path);
    test_forget_checksums(file.bytes, file.size);
    assert_ok(p.context, load_bytes(&p, &file));
    for (int64_t i = 0; i < file.size; i++)
        if (memcmp(file.bytes + i, "neumeta.format\":\"1", 18) == 0) {
            file.bytes[i + 17] = '2';
            break;
        }
    assert_status(p.context, load_bytes(&p, &file), NEUMETA_ERR_FORMAT);
    assert_message_contains(p.context, "has checksums, and this one has none");
    free(file.bytes);
    problem_free(&p);
}
END_TEST

/* --- 16 and 8 bits
 * --------------------------------------------------------------------------------- */

/* Rounding once is a relative error of up to `share`; the second time there is nothing to round. */
static void assert_rounded(const char *storage, int32_t shorter, double absolute, double share)
{
    test_problem p;
    int64_t count = 0, again_count = 0;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    neumeta_options *grids = problem_options(p.context, PAIRS("inr-kind", "grid"));
    assert_ok(p.context, neumeta_manifold_create(p.topology, grids, &p.manifold));
    neumeta_options_free(grids);
    assert_ok(p.context, neumeta_manifold_save(p.manifold, other_path));
    const image whole = read_image(other_path);
    float *weights = problem_morphed(&p, 0.4, &count);
    assert_ok(p.context, save_as(&p, path, storage));
    neumeta_manifold_free(p.manifold);
    assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
    float *rounded = problem_morphed(&p, 0.4, &again_count);
    ck_assert_int_eq(count, again_count);
    assert_near(rounded, weights, count, absolute, share);
    ck_assert_mem_ne(rounded, weights, (size_t)count * sizeof *weights);
    const image half = read_image(path);
    assert_ok(p.context, save_as(&p, other_path, storage));
    const image again = read_image(other_path);
    ck_assert_int_eq(half.size, again.size);
    ck_assert_mem_eq(half.bytes, again.bytes, (size_t)half.size);
    /* A part of the data, and a header that is about the same. */
    ck_assert_int_lt(half.size - whole.size / shorter, 16384);
    free(whole.bytes);
    free(half.bytes);
    free(again.bytes);
    free(weights);
    free(rounded);
    problem_free(&p);
}

START_TEST(manifolds_of_16_bits_are_rounded_once)
{
    assert_rounded("f16", 2, 1e-7, 0x1p-11);
    assert_rounded("bf16", 2, 1e-7, 0x1p-8);
}
END_TEST

/* Vectors are of 16 bits; rows of weights are off by half a step, of 127 to the largest, which is
 * below 1. */
START_TEST(manifolds_of_8_bits_are_rounded_once)
{
    assert_rounded("i8", 4, 0.5 / 127, 0x1p-11);
}
END_TEST

START_TEST(networks_of_16_bits_are_rounded)
{
    test_problem p;
    int64_t count = 0;
    neumeta_network *half = NULL;
    problem_create(&p, 1, 0, 0);
    neumeta_options *options = problem_options(p.context, PAIRS("storage", "f16"));
    assert_ok(p.context, neumeta_network_save_as(p.network, path, options));
    assert_ok(p.context, neumeta_network_load(p.topology, path, NULL, &half));
    assert_ok(p.context, neumeta_options_parse(options, "storage", "i8"));
    assert_status(p.context, neumeta_network_save_as(p.network, path, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "STORAGE i8 is for manifolds");
    float *weights = problem_weights(p.network, &count), *rounded = problem_weights(half, &count);
    assert_near(rounded, weights, count, 1e-7, 0x1p-11);
    ck_assert_mem_ne(rounded, weights, (size_t)count * sizeof *weights);
    free(weights);
    free(rounded);
    neumeta_options_free(options);
    neumeta_network_free(half);
    problem_free(&p);
}
END_TEST

/* Puts a value in the place of the last one in a file without checksums. */
static void put_last(const char *name, float value)
{
    const image file = read_image(name);
    test_forget_checksums(file.bytes, file.size);
    memcpy(file.bytes + file.size - sizeof value, &value, sizeof value);
    test_write_file(name, file.bytes, file.size);
    free(file.bytes);
}

START_TEST(what_16_bits_cannot_hold_is_refused_by_name)
{
    static const float values[] = {70000, -65520, INFINITY, NAN};
    test_problem p;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 2);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
        put_last(path, values[i]);
        neumeta_manifold_free(p.manifold);
        assert_ok(p.context, neumeta_manifold_load(p.context, path, &p.manifold));
        assert_status(p.context, save_as(&p, other_path, "f16"), NEUMETA_ERR_NUMERIC);
        assert_message_contains(p.context, "tensor 'linear.bias': value 3 is");
        assert_message_contains(p.context, "which F16 cannot hold: its largest number is 65504");
        ck_assert_int_ne(access(other_path, F_OK), 0);
        assert_status(p.context, save_as(&p, other_path, "bf16"),
                      isfinite(values[i]) ? NEUMETA_OK : NEUMETA_ERR_NUMERIC);
        unlink(other_path);
    }
    problem_free(&p);
}
END_TEST

START_TEST(options_of_files_are_checked)
{
    test_problem p;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 2);
    neumeta_options *options = problem_options(p.context, PAIRS("samples", "2"));
    assert_status(p.context, neumeta_manifold_save_as(p.manifold, path, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "SAMPLES");
    assert_status(p.context, neumeta_network_save_as(p.network, path, options),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(p.context, neumeta_manifold_save_as(p.manifold, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_manifold_save_as(NULL, path, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_network_save_as(NULL, path, NULL), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_ne(access(path, F_OK), 0);
    neumeta_options_free(options);
    problem_free(&p);
}
END_TEST

/* --- fingerprints ---------------------------------------------------------------------------- */

typedef struct fingerprint {
    uint8_t bytes[NEUMETA_FINGERPRINT_BYTES];
} fingerprint;

static fingerprint fingerprint_of(const test_problem *p, const neumeta_network *network)
{
    fingerprint f;
    memset(&f, 0, sizeof f);
    assert_ok(p->context, neumeta_network_fingerprint(network, f.bytes, sizeof f.bytes));
    return f;
}

static fingerprint fingerprint_at(const test_problem *p, double gamma)
{
    int64_t sizes[64];
    neumeta_network *network = NULL;
    const int32_t axes = neumeta_topology_axis_count(p->topology);
    assert_ok(p->context, neumeta_manifold_sizes_at(p->manifold, gamma, sizes, axes));
    assert_ok(p->context, neumeta_manifold_materialize(p->manifold, sizes, axes, NULL, &network));
    const fingerprint f = fingerprint_of(p, network);
    neumeta_network_free(network);
    return f;
}

START_TEST(fingerprints_name_networks)
{
    test_problem p;
    unsigned char short_of_room[16];
    neumeta_network *again = NULL;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 8);
    const fingerprint whole = fingerprint_of(&p, p.network), half = fingerprint_at(&p, 0.5),
                      other = fingerprint_at(&p, 0.4);
    assert_ok(p.context, neumeta_network_save(p.network, path));
    assert_ok(p.context, neumeta_network_load(p.topology, path, NULL, &again));
    const fingerprint loaded = fingerprint_of(&p, again);
    ck_assert_mem_eq(whole.bytes, loaded.bytes, sizeof whole.bytes);
    neumeta_network_free(again);
    /* One bit of one weight, which format 1 lets pass. */
    image file = read_image(path);
    test_forget_checksums(file.bytes, file.size);
    file.bytes[file.size - 4] ^= 1;
    assert_ok(p.context,
              neumeta_network_load_memory(p.topology, file.bytes, file.size, NULL, &again));
    const fingerprint changed = fingerprint_of(&p, again);
    const fingerprint all[] = {whole, half, other, changed};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            ck_assert_mem_ne(all[i].bytes, all[k].bytes, sizeof whole.bytes);
    neumeta_network_free(again);
    free(file.bytes);
    problem_free(&p);
    problem_create(&p, 4, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 8);
    const fingerprint threads = fingerprint_at(&p, 0.5);
    ck_assert_mem_eq(half.bytes, threads.bytes, sizeof half.bytes);
    assert_status(p.context,
                  neumeta_network_fingerprint(p.network, short_of_room, sizeof short_of_room),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(p.context, "count is 16, a fingerprint has 32 bytes");
    assert_status(p.context, neumeta_network_fingerprint(p.network, NULL, 32),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_network_fingerprint(NULL, NULL, 32), NEUMETA_ERR_ARGUMENT);
    problem_free(&p);
}
END_TEST

/* Widths of repetitions that are left out are in no file. */
START_TEST(fingerprints_outlive_files_at_any_depth)
{
    test_problem p;
    int64_t sizes[64];
    neumeta_network *network = NULL, *loaded = NULL;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 8);
    const int32_t axes = neumeta_topology_axis_count(p.topology);
    assert_ok(p.context, neumeta_manifold_sizes_at(p.manifold, 0.5, sizes, axes));
    for (int32_t a = 0; a < axes; a++) {
        int32_t kind;
        int64_t min;
        assert_ok(p.context, neumeta_topology_axis(p.topology, a, NULL, &kind, &min, NULL, NULL));
        if (kind == NEUMETA_AXIS_DEPTH)
            sizes[a] = min;
    }
    assert_ok(p.context, neumeta_manifold_materialize(p.manifold, sizes, axes, NULL, &network));
    assert_ok(p.context, neumeta_network_save(network, path));
    assert_ok(p.context, neumeta_network_load(p.topology, path, NULL, &loaded));
    const fingerprint before = fingerprint_of(&p, network), after = fingerprint_of(&p, loaded);
    ck_assert_mem_eq(before.bytes, after.bytes, sizeof before.bytes);
    neumeta_network_free(network);
    neumeta_network_free(loaded);
    problem_free(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("integrity");
    TCase *cases = tcase_create("integrity");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_test(cases, no_flipped_bit_of_a_manifold_passes);
    tcase_add_test(cases, file_and_tensor_are_named);
    tcase_add_test(cases, files_without_checksums_are_those_of_format_1);
    tcase_add_test(cases, manifolds_of_16_bits_are_rounded_once);
    tcase_add_test(cases, manifolds_of_8_bits_are_rounded_once);
    tcase_add_test(cases, networks_of_16_bits_are_rounded);
    tcase_add_test(cases, what_16_bits_cannot_hold_is_refused_by_name);
    tcase_add_test(cases, options_of_files_are_checked);
    tcase_add_test(cases, fingerprints_name_networks);
    tcase_add_test(cases, fingerprints_outlive_files_at_any_depth);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
