/* SPDX-License-Identifier: MIT */
/* Manifolds through the public calls: creation, materialisation, files, and every refusal. */
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

/* --- a small residual network ------------------------------------------------------------ */

static neumeta_options *options_of(neumeta_context *ctx, const char *settings)
{
    neumeta_options *options = NULL;
    char text[256], *rest = text;
    if (neumeta_options_create(ctx, &options) < 0)
        return NULL;
    snprintf(text, sizeof text, "%s", settings);
    for (char *key = strtok_r(text, " =", &rest); key != NULL; key = strtok_r(NULL, " =", &rest))
        if (neumeta_options_parse(options, key, strtok_r(NULL, " ", &rest)) < 0) {
            neumeta_options_free(options);
            return NULL;
        }
    return options;
}

static neumeta_status add(neumeta_context *ctx, neumeta_topology *t, const char *name, int32_t op,
                          int32_t first, int32_t second, int32_t axis, const char *settings,
                          int32_t *node)
{
    const int32_t inputs[2] = {first, second};
    neumeta_options *options = options_of(ctx, settings);
    if (options == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = neumeta_topology_add_node(
        t, name, op, inputs, (first >= 0) + (second >= 0), axis, options, node);
    neumeta_options_free(options);
    return status;
}

/* Stem, block "body" with inner width h in 2..8, block "head". `norm` puts a batch norm in. */
static neumeta_status build(neumeta_context *ctx, bool seal, neumeta_topology **out)
{
    const char *conv = "KERNEL=3 PADDING=1";
    neumeta_topology *t = NULL;
    neumeta_status s;
    int32_t stream, h, classes, n, stem;
    *out = NULL;
    if ((s = neumeta_topology_create(ctx, &t)) < 0)
        return s;
    if ((s = neumeta_topology_add_axis(t, "stream", NEUMETA_AXIS_WIDTH, 4, 6, 1, &stream)) < 0 ||
        (s = neumeta_topology_add_axis(t, "h", NEUMETA_AXIS_WIDTH, 2, 8, 1, &h)) < 0 ||
        (s = neumeta_topology_add_axis(t, "classes", NEUMETA_AXIS_WIDTH, 3, 3, 1, &classes)) < 0 ||
        (s = add(ctx, t, "in", NEUMETA_OP_INPUT, -1, -1, -1,
                 "INPUT_CHANNELS=2 INPUT_HEIGHT=5 INPUT_WIDTH=5", &n)) < 0 ||
        (s = add(ctx, t, "stem", NEUMETA_OP_CONV, n, -1, stream, conv, &stem)) < 0 ||
        (s = neumeta_topology_begin_block(t, "body")) < 0 ||
        (s = add(ctx, t, "a", NEUMETA_OP_CONV, stem, -1, h, conv, &n)) < 0 ||
        (s = add(ctx, t, "relu", NEUMETA_OP_ACTIVATION, n, -1, -1, "", &n)) < 0 ||
        (s = add(ctx, t, "b", NEUMETA_OP_CONV, n, -1, stream, conv, &n)) < 0 ||
        (s = add(ctx, t, "sum", NEUMETA_OP_ADD, stem, n, -1, "", &n)) < 0 ||
        (s = neumeta_topology_begin_block(t, "head")) < 0 ||
        (s = add(ctx, t, "pool", NEUMETA_OP_POOL_GLOBAL, n, -1, -1, "", &n)) < 0 ||
        (s = add(ctx, t, "fc", NEUMETA_OP_LINEAR, n, -1, classes, "", &n)) < 0 ||
        (seal && (s = neumeta_topology_seal(t, n)) < 0)) {
        neumeta_topology_free(t);
        return s;
    }
    *out = t;
    return NEUMETA_OK;
}

static neumeta_topology *make_topology(neumeta_context *ctx)
{
    neumeta_topology *topology = NULL;
    assert_ok(ctx, build(ctx, true, &topology));
    return topology;
}

static neumeta_status try_create(neumeta_context *ctx, const neumeta_topology *topology,
                                 const char *settings, neumeta_manifold **manifold)
{
    neumeta_options *options = options_of(ctx, settings);
    if (options == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = neumeta_manifold_create(topology, options, manifold);
    neumeta_options_free(options);
    return status;
}

#define SMALL "INR_HIDDEN=12 INR_LAYERS=3 INR_OCTAVES=4 MORPH_BLOCKS=0 "

static neumeta_manifold *make_manifold(neumeta_context *ctx, const char *settings)
{
    neumeta_topology *topology = make_topology(ctx);
    neumeta_manifold *manifold = NULL;
    assert_ok(ctx, try_create(ctx, topology, settings, &manifold));
    neumeta_topology_free(topology);
    return manifold;
}

static neumeta_status try_materialize(neumeta_context *ctx, neumeta_manifold *manifold,
                                      int64_t stream, int64_t h, const char *settings,
                                      neumeta_network **network)
{
    const int64_t sizes[3] = {stream, h, 3};
    neumeta_options *options = options_of(ctx, settings);
    if (options == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = neumeta_manifold_materialize(manifold, sizes, 3, options, network);
    neumeta_options_free(options);
    return status;
}

static neumeta_network *materialize(neumeta_context *ctx, neumeta_manifold *manifold, int64_t h,
                                    const char *settings)
{
    neumeta_network *network = NULL;
    assert_ok(ctx, try_materialize(ctx, manifold, 6, h, settings, &network));
    return network;
}

/* Number of values that differ between two networks of equal sizes. */
static int64_t differences(const neumeta_network *a, const neumeta_network *b)
{
    int64_t count = 0;
    ck_assert_int_eq(neumeta_network_tensor_count(a), neumeta_network_tensor_count(b));
    for (int32_t t = 0; t < neumeta_network_tensor_count(a); t++) {
        const char *name;
        const float *x, *y;
        int64_t dims[4], other[4], total = 1;
        int32_t rank, other_rank;
        assert_ok(NULL, neumeta_network_tensor(a, t, &name, dims, &rank, &x));
        assert_ok(NULL, neumeta_network_tensor(b, t, &name, other, &other_rank, &y));
        ck_assert_int_eq(rank, other_rank);
        for (int32_t d = 0; d < rank; d++) {
            ck_assert_int_eq(dims[d], other[d]);
            total *= dims[d];
        }
        for (int64_t i = 0; i < total; i++)
            count += memcmp(&x[i], &y[i], sizeof *x) != 0;
    }
    return count;
}

/* --- materialisation --------------------------------------------------------------------- */

START_TEST(a_materialised_network_runs_and_outlives_its_manifold)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *manifold = make_manifold(ctx, SMALL);
    int64_t parameters = 0;
    assert_ok(ctx, neumeta_manifold_parameters(manifold, &parameters));
    /* P = 54: 12 * 55 + 2 * (12 * 13 + 1) + 9 * 13 for 4 tensors; stem 6 * 19; head 3 * 7. */
    ck_assert_int_eq(parameters, 4 * (660 + 314 + 117) + 114 + 21);
    neumeta_network *network = materialize(ctx, manifold, 5, "");
    neumeta_manifold_free(manifold);
    int64_t sizes[3];
    assert_ok(ctx, neumeta_network_sizes(network, sizes, 3));
    ck_assert_int_eq(sizes[1], 5);
    float inputs[2 * 25], outputs[3] = {NAN, NAN, NAN};
    test_fill(inputs, 50, 1, -1, 1);
    assert_ok(ctx, neumeta_network_run(network, inputs, 1, outputs, 3));
    for (int i = 0; i < 3; i++)
        ck_assert(isfinite(outputs[i]));
    neumeta_network_free(network);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(samples_draw_noise_from_the_seed)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL);
    neumeta_network *clean = materialize(ctx, m, 5, "");
    const struct {
        const char *settings, *other;
        bool equal;
    } cases[] = {
        {"SAMPLES=1 NOISE=0.3", "", true}, /* the only sample is the clean one */
        {"SAMPLES=4 NOISE=0", "", true},
        {"SAMPLES=4", "", false},
        {"SAMPLES=4 SEED=5", "SAMPLES=4 SEED=5", true},
        {"SAMPLES=4 SEED=5", "SAMPLES=4 SEED=6", false},
        {"SAMPLES=4 NOISE=1", "SAMPLES=4", true}, /* 1 is what the manifold was made with */
        {"SAMPLES=4 NOISE=0.5", "SAMPLES=4", false},
        {"SAMPLES=4 NOISE_CLAMP=0.2", "SAMPLES=4", false},
        {"SAMPLES=4 NOISE_DRAW=antithetic", "SAMPLES=4", false},
        {"SAMPLES=4 NOISE_DRAW=quasi-random", "SAMPLES=4 NOISE_DRAW=antithetic", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        neumeta_network *a = materialize(ctx, m, 5, cases[i].settings);
        neumeta_network *b = materialize(ctx, m, 5, cases[i].other);
        ck_assert_msg((differences(a, b) == 0) == cases[i].equal, "'%s' against '%s'",
                      cases[i].settings, cases[i].other);
        neumeta_network_free(a);
        neumeta_network_free(b);
    }
    neumeta_network_free(clean);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(networks_do_not_depend_on_threads)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL "INR_FUNCTION=elu");
    neumeta_network *one = materialize(ctx, m, 7, "SAMPLES=3");
    assert_ok(ctx, neumeta_context_set_threads(ctx, 2));
    neumeta_network *two = materialize(ctx, m, 7, "SAMPLES=3");
    ck_assert_int_eq(differences(one, two), 0);
    neumeta_network_free(one);
    neumeta_network_free(two);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(unfit_sizes_are_refused_by_name)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL);
    const int64_t sizes[3] = {6, 5, 3};
    neumeta_network *network = NULL;
    assert_status(ctx, neumeta_manifold_materialize(m, sizes, 2, NULL, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "2 sizes are given, must be 3");
    assert_status(ctx, try_materialize(ctx, m, 6, 9, "", &network), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "'h'");
    assert_status(ctx, try_materialize(ctx, m, 5, 8, "", &network), NEUMETA_ERR_SHAPE);
    assert_message_contains(ctx, "axis 'stream' is 5, must be at its maximum 6");
    ck_assert_ptr_null(network);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(settings_without_effect_are_refused)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *plain = make_manifold(ctx, SMALL);
    neumeta_manifold *integrated = make_manifold(ctx, SMALL "INR_ENCODING=integrated");
    neumeta_network *network = NULL;
    assert_status(ctx, try_materialize(ctx, plain, 6, 5, "INR_HIDDEN=3", &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "INR_HIDDEN");
    assert_status(ctx, try_materialize(ctx, integrated, 6, 5, "SAMPLES=2", &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "SAMPLES is 2, must be 1");
    assert_status(ctx, try_materialize(ctx, integrated, 6, 5, "NOISE=1", &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "NOISE");
    assert_ok(ctx, try_materialize(ctx, integrated, 6, 5, "SAMPLES=1", &network));
    neumeta_network_free(network);
    neumeta_manifold_free(plain);
    neumeta_manifold_free(integrated);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(creation_is_refused_with_a_reason)
{
    neumeta_context *ctx = test_context(), *other = test_context();
    neumeta_topology *topology = make_topology(ctx), *open = NULL;
    neumeta_manifold *m = NULL;
    neumeta_options *foreign = NULL;
    assert_ok(ctx, build(ctx, false, &open));
    assert_ok(other, neumeta_options_create(other, &foreign));
    assert_status(ctx, try_create(ctx, open, SMALL, &m), NEUMETA_ERR_STATE);
    assert_message_contains(ctx, "not sealed");
    assert_status(ctx, try_create(ctx, topology, "MORPH_BLOCKS=-3", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "MORPH_BLOCKS");
    assert_message_contains(ctx, "-3");
    assert_status(ctx, try_create(ctx, topology, "SAMPLES=3", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "SAMPLES");
    assert_status(ctx, neumeta_manifold_create(topology, foreign, &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "options belongs to another context");
    assert_status(NULL, neumeta_manifold_create(NULL, NULL, &m), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_create(topology, NULL, NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "manifold is NULL");
    ck_assert_ptr_null(m);
    neumeta_options_free(foreign);
    neumeta_topology_free(topology);
    neumeta_topology_free(open);
    neumeta_context_free(ctx);
    neumeta_context_free(other);
}
END_TEST

START_TEST(null_arguments_are_refused)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *none = m;
    const int64_t sizes[3] = {6, 5, 3};
    assert_status(ctx, neumeta_manifold_load(ctx, NULL, &none), NEUMETA_ERR_ARGUMENT);
    ck_assert_ptr_null(none);
    assert_status(ctx, neumeta_manifold_load_memory(ctx, NULL, 3, &none), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_load_memory(ctx, "", -1, &none), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "size is -1");
    assert_status(ctx, neumeta_manifold_save(m, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_topology(m, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_parameters(m, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_materialize(m, NULL, 3, NULL, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(ctx, neumeta_manifold_materialize(m, sizes, 3, NULL, NULL), NEUMETA_ERR_ARGUMENT);
    assert_status(NULL, neumeta_manifold_save(NULL, "x"), NEUMETA_ERR_ARGUMENT);
    neumeta_manifold_free(NULL);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

/* --- files ------------------------------------------------------------------------------- */

typedef struct image {
    unsigned char *bytes;
    int64_t size;
} image;

/* The file of a manifold with these settings. */
static image file_of(neumeta_context *ctx, const neumeta_manifold *manifold)
{
    char *directory = test_directory(), *path = test_path(directory, "m.safetensors");
    image file = {NULL, 0};
    assert_ok(ctx, neumeta_manifold_save(manifold, path));
    file.bytes = test_read_file(path, &file.size);
    ck_assert_ptr_nonnull(file.bytes);
    free(path);
    test_directory_remove(directory);
    return file;
}

typedef struct receiver {
    unsigned char *bytes;
    int64_t size, limit; /* fails past this many bytes */
} receiver;

static int32_t receive(void *user, const void *data, int64_t size)
{
    receiver *to = user;
    if (to->size + size > to->limit)
        return 28;
    to->bytes = realloc(to->bytes, (size_t)(to->size + size));
    ck_assert_ptr_nonnull(to->bytes);
    memcpy(to->bytes + to->size, data, (size_t)size);
    to->size += size;
    return 0;
}

START_TEST(a_callback_receives_what_the_file_would_hold)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    image file = file_of(ctx, m);
    receiver to = {.limit = INT64_MAX}, full = {.limit = file.size / 2};
    assert_ok(ctx, neumeta_manifold_write(m, receive, &to));
    ck_assert_int_eq(to.size, file.size);
    ck_assert_mem_eq(to.bytes, file.bytes, (size_t)file.size);
    assert_ok(ctx, neumeta_manifold_load_memory(ctx, to.bytes, to.size, &loaded));
    assert_status(ctx, neumeta_manifold_write(m, receive, &full), NEUMETA_ERR_CALLBACK);
    assert_message_contains(ctx, "the write callback failed with 28");
    assert_ok(ctx, neumeta_manifold_write(loaded, receive, &to));
    free(to.bytes);
    free(full.bytes);
    free(file.bytes);
    neumeta_manifold_free(loaded);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(files_keep_every_bit)
{
    neumeta_context *ctx = test_context();
    const char *settings[] = {
        SMALL "INR_FUNCTION=elu NOISE_CLAMP=0.49",
        "INR_HIDDEN=7 INR_LAYERS=1 INR_ENCODING=integrated COORDINATE_SCALE=10 NOISE=0.9",
    };
    for (int i = 0; i < 2; i++) {
        neumeta_manifold *m = make_manifold(ctx, settings[i]), *loaded = NULL;
        image file = file_of(ctx, m);
        assert_ok(ctx, neumeta_manifold_load_memory(ctx, file.bytes, file.size, &loaded));
        image again = file_of(ctx, loaded);
        ck_assert_int_eq(file.size, again.size);
        ck_assert_mem_eq(file.bytes, again.bytes, (size_t)file.size);
        neumeta_network *a = materialize(ctx, m, 4, i == 0 ? "SAMPLES=3" : "");
        neumeta_network *b = materialize(ctx, loaded, 4, i == 0 ? "SAMPLES=3" : "");
        ck_assert_int_eq(differences(a, b), 0);
        neumeta_network_free(a);
        neumeta_network_free(b);
        neumeta_manifold_free(m);
        neumeta_manifold_free(loaded);
        free(file.bytes);
        free(again.bytes);
    }
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(a_loaded_topology_equals_the_saved_one)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    neumeta_topology *topology = NULL;
    char *directory = test_directory(), *path = test_path(directory, "m.safetensors");
    assert_ok(ctx, neumeta_manifold_save(m, path));
    assert_ok(ctx, neumeta_manifold_load(ctx, path, &loaded));
    assert_ok(ctx, neumeta_manifold_topology(loaded, &topology));
    neumeta_manifold_free(loaded);
    const char *name;
    int64_t least, most;
    ck_assert_int_eq(neumeta_topology_axis_count(topology), 3);
    assert_ok(ctx, neumeta_topology_axis(topology, 1, &name, NULL, &least, &most, NULL));
    ck_assert_str_eq(name, "h");
    ck_assert_int_eq(least, 2);
    ck_assert_int_eq(most, 8);
    ck_assert_str_eq(neumeta_topology_block_name(topology, 1), "head");
    assert_status(ctx, neumeta_manifold_load(ctx, "/nowhere/m.safetensors", &loaded),
                  NEUMETA_ERR_IO);
    assert_message_contains(ctx, "/nowhere/m.safetensors");
    assert_status(ctx, neumeta_manifold_save(m, "/nowhere/m.safetensors"), NEUMETA_ERR_IO);
    free(path);
    test_directory_remove(directory);
    neumeta_topology_free(topology);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

/* Replaces the first `from` in the file by `to` of equal length and loads it. */
static neumeta_status load_edited(neumeta_context *ctx, const image *file, const char *from,
                                  const char *to)
{
    const size_t length = strlen(from);
    unsigned char *copy = malloc((size_t)file->size);
    neumeta_manifold *manifold = NULL;
    ck_assert_uint_eq(length, strlen(to));
    memcpy(copy, file->bytes, (size_t)file->size);
    test_forget_checksums(copy, file->size);
    size_t at = 0;
    while (at + length <= (size_t)file->size && memcmp(copy + at, from, length) != 0)
        at++;
    ck_assert_msg(at + length <= (size_t)file->size, "'%s' is not in the file", from);
    memcpy(copy + at, to, length);
    neumeta_status status = neumeta_manifold_load_memory(ctx, copy, file->size, &manifold);
    ck_assert((status == NEUMETA_OK) == (manifold != NULL));
    neumeta_manifold_free(manifold);
    free(copy);
    return status;
}

START_TEST(edited_files_are_refused_with_a_reason)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL);
    const image file = file_of(ctx, m);
    const struct {
        const char *from, *to;
        neumeta_status status;
        const char *message;
    } cases[] = {
        {"a.weight/inr.0.weight", "a.weight/inr.0.weighs", NEUMETA_ERR_FORMAT,
         "'a.weight/inr.0.weight'"},
        {"\"b.bias/inr.1.scale\"", "\"b.bias/inr.1.scald\"", NEUMETA_ERR_FORMAT,
         "'b.bias/inr.1.scale'"},
        {"[12,54]", "[54,12]", NEUMETA_ERR_FORMAT, "inr.0.weight'"},
        {"INR_HIDDEN\\\":12", "INR_HIDDEN\\\":11", NEUMETA_ERR_FORMAT, "inr.0.weight'"},
        {"INR_HIDDEN\\\":12", "INR_HIDDEN\\\":99", NEUMETA_ERR_FORMAT, "[99, 54]"},
        {"INR_LAYERS\\\":3", "INR_LAYERS\\\":2", NEUMETA_ERR_FORMAT, "does not belong"},
        {"INR_LAYERS\\\":3", "INR_LAYERS\\\":0", NEUMETA_ERR_FORMAT, "INR_LAYERS"},
        {"INR_LAYERS\\\":3", "INR_LAIERS\\\":3", NEUMETA_ERR_FORMAT, "INR_LAIERS"},
        {"MORPH_BLOCKS\\\":[0]", "MORPH_BLOCKS\\\":[7]", NEUMETA_ERR_FORMAT, "MORPH_BLOCKS"},
        {"neumeta.options", "neumeta.optiong", NEUMETA_ERR_FORMAT, "neumeta.options"},
        {"\"manifold\"", "\"moonifed\"", NEUMETA_ERR_FORMAT, "moonifed"},
        {"neumeta.format\":\"1\"", "neumeta.format\":\"9\"", NEUMETA_ERR_VERSION, "9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_status(ctx, load_edited(ctx, &file, cases[i].from, cases[i].to), cases[i].status);
        assert_message_contains(ctx, cases[i].message);
    }
    assert_ok(ctx, load_edited(ctx, &file, "NOISE", "NOISE"));
    free(file.bytes);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(truncated_files_are_refused)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    const image file = file_of(ctx, m);
    for (int64_t size = 0; size < file.size; size += size < 64 ? 1 : 61) {
        assert_status(ctx, neumeta_manifold_load_memory(ctx, file.bytes, size, &loaded),
                      NEUMETA_ERR_FORMAT);
        ck_assert_ptr_null(loaded);
    }
    free(file.bytes);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(damaged_headers_never_crash)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    const image file = file_of(ctx, m);
    test_forget_checksums(file.bytes, file.size);
    const unsigned char *header_end = file.bytes;
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | header_end[i];
    uint64_t draw = 1;
    for (int n = 0; n < 3000; n++) {
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        const size_t at = (size_t)((draw >> 33) % (header + 8));
        const unsigned char kept = file.bytes[at];
        file.bytes[at] = (unsigned char)(draw >> 20);
        neumeta_status status = neumeta_manifold_load_memory(ctx, file.bytes, file.size, &loaded);
        ck_assert((status == NEUMETA_OK) == (loaded != NULL));
        ck_assert(status <= 0);
        neumeta_manifold_free(loaded);
        file.bytes[at] = kept;
    }
    free(file.bytes);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(a_network_file_is_no_manifold)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    neumeta_network *network = materialize(ctx, m, 5, "");
    char *directory = test_directory(), *path = test_path(directory, "n.safetensors");
    assert_ok(ctx, neumeta_network_save(network, path));
    assert_status(ctx, neumeta_manifold_load(ctx, path, &loaded), NEUMETA_ERR_FORMAT);
    assert_message_contains(ctx, "it is a file of kind 'network', not 'manifold'");
    free(path);
    test_directory_remove(directory);
    neumeta_network_free(network);
    neumeta_manifold_free(m);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(parameters_that_are_not_finite_are_told_by_tensor)
{
    neumeta_context *ctx = test_context();
    neumeta_manifold *m = make_manifold(ctx, SMALL), *loaded = NULL;
    neumeta_network *network = NULL;
    image file = file_of(ctx, m);
    test_forget_checksums(file.bytes, file.size);
    const char *name = "\"b.weight/inr.out.bias\"", *offsets = "\"data_offsets\":[";
    char *text = (char *)file.bytes + 8;
    char *at = strstr(text, name);
    ck_assert_ptr_nonnull(at);
    at = strstr(at, offsets);
    ck_assert_ptr_nonnull(at);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | file.bytes[i];
    const long long begin = strtoll(at + strlen(offsets), NULL, 10);
    const float bad = NAN;
    memcpy(file.bytes + 8 + header + begin, &bad, sizeof bad);
    assert_ok(ctx, neumeta_manifold_load_memory(ctx, file.bytes, file.size, &loaded));
    assert_status(ctx, try_materialize(ctx, loaded, 6, 5, "", &network), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "tensor 'b.weight'");
    ck_assert_ptr_null(network);
    free(file.bytes);
    neumeta_manifold_free(m);
    neumeta_manifold_free(loaded);
    neumeta_context_free(ctx);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------ */

/* Create, save, load and materialise; `user` is the path. */
static neumeta_status whole_life(test_allocator *allocator, void *user)
{
    neumeta_context *ctx = NULL;
    neumeta_topology *topology = NULL;
    neumeta_manifold *manifold = NULL, *loaded = NULL;
    neumeta_network *network = NULL;
    neumeta_options *storage = NULL;
    uint8_t fingerprint[NEUMETA_FINGERPRINT_BYTES];
    neumeta_status status = test_context_create(allocator, &ctx);
    if (status == NEUMETA_OK)
        status = build(ctx, true, &topology);
    if (status == NEUMETA_OK)
        status = try_create(ctx, topology, SMALL, &manifold);
    if (status == NEUMETA_OK) {
        storage = options_of(ctx, "STORAGE=f16");
        status = storage != NULL ? neumeta_manifold_save_as(manifold, user, storage)
                                 : NEUMETA_ERR_MEMORY;
    }
    if (status == NEUMETA_OK)
        status = neumeta_manifold_load(ctx, user, &loaded);
    if (status == NEUMETA_OK)
        status = try_materialize(ctx, loaded, 6, 5, "SAMPLES=2", &network);
    if (status == NEUMETA_OK)
        status = neumeta_network_fingerprint(network, fingerprint, sizeof fingerprint);
    neumeta_options_free(storage);
    neumeta_network_free(network);
    neumeta_manifold_free(loaded);
    neumeta_manifold_free(manifold);
    neumeta_topology_free(topology);
    neumeta_context_free(ctx);
    return status;
}

START_TEST(any_allocation_may_fail)
{
    char *directory = test_directory(), *path = test_path(directory, "m.safetensors");
    ck_assert_int_gt(test_every_allocation(whole_life, path), 50);
    free(path);
    test_directory_remove(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manifold");
    TCase *use = tcase_create("materialisation");
    tcase_add_test(use, a_materialised_network_runs_and_outlives_its_manifold);
    tcase_add_test(use, samples_draw_noise_from_the_seed);
    tcase_add_test(use, networks_do_not_depend_on_threads);
    tcase_add_test(use, unfit_sizes_are_refused_by_name);
    tcase_add_test(use, settings_without_effect_are_refused);
    tcase_add_test(use, creation_is_refused_with_a_reason);
    tcase_add_test(use, null_arguments_are_refused);
    suite_add_tcase(suite, use);
    TCase *files = tcase_create("files");
    tcase_add_test(files, a_callback_receives_what_the_file_would_hold);
    tcase_add_test(files, files_keep_every_bit);
    tcase_add_test(files, a_loaded_topology_equals_the_saved_one);
    tcase_add_test(files, edited_files_are_refused_with_a_reason);
    tcase_add_test(files, truncated_files_are_refused);
    tcase_add_test(files, damaged_headers_never_crash);
    tcase_add_test(files, a_network_file_is_no_manifold);
    tcase_add_test(files, parameters_that_are_not_finite_are_told_by_tensor);
    tcase_add_test(files, any_allocation_may_fail);
    suite_add_tcase(suite, files);
    return test_main(suite);
}
