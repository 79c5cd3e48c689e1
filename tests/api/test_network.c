/* SPDX-License-Identifier: MIT */
/* Networks through the public header: files, sizes, runs, evaluation, sharing, bad input. */
#include "nmi_test.h"

#include <math.h>
#include <pthread.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 3, ITEMS = 30 };

static neumeta_options *options_of(neumeta_context *context, const char *const *pairs)
{
    neumeta_options *options = NULL;
    assert_ok(context, neumeta_options_create(context, &options));
    for (int i = 0; pairs[i] != NULL; i += 2)
        assert_ok(context, neumeta_options_parse(options, pairs[i], pairs[i + 1]));
    return options;
}
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A node whose settings are pairs; fails through *status, which it leaves alone once bad. */
static int32_t add(neumeta_context *context, neumeta_topology *topology, const char *name,
                   int32_t op, int32_t input, int32_t axis, const char *const *pairs,
                   neumeta_status *status)
{
    neumeta_options *options = NULL;
    int32_t node = -1;
    if (*status == NEUMETA_OK)
        *status = neumeta_options_create(context, &options);
    for (int i = 0; *status == NEUMETA_OK && pairs[i] != NULL; i += 2)
        *status = neumeta_options_parse(options, pairs[i], pairs[i + 1]);
    if (*status == NEUMETA_OK)
        *status =
            neumeta_topology_add_node(topology, name, op, &input, input >= 0, axis, options, &node);
    neumeta_options_free(options);
    return node;
}

/* conv "stem" of 2 to 6 channels, 1 to 3 repetitions of conv and norm, pooling, linear "head". */
static neumeta_status build(neumeta_context *context, neumeta_topology **out)
{
    neumeta_topology *t = NULL;
    int32_t width = -1;
    int32_t depth = -1;
    int32_t classes = -1;
    neumeta_status status = neumeta_topology_create(context, &t);
    if (status == NEUMETA_OK)
        status = neumeta_topology_add_axis(t, "width", NEUMETA_AXIS_WIDTH, 2, 6, 2, &width);
    if (status == NEUMETA_OK)
        status = neumeta_topology_add_axis(t, "depth", NEUMETA_AXIS_DEPTH, 0, 3, 1, &depth);
    if (status == NEUMETA_OK)
        status = neumeta_topology_add_axis(t, "classes", NEUMETA_AXIS_WIDTH, CLASSES, CLASSES, 1,
                                           &classes);
    int32_t x = add(context, t, "input", NEUMETA_OP_INPUT, -1, -1,
                    PAIRS("input-channels", "1", "input-height", "8", "input-width", "8"), &status);
    x = add(context, t, "stem", NEUMETA_OP_CONV, x, width, PAIRS("padding", "1"), &status);
    if (status == NEUMETA_OK)
        status = neumeta_topology_begin_repeat(t, "body", depth, 0, x);
    int32_t y = add(context, t, "conv", NEUMETA_OP_CONV, x, width,
                    PAIRS("padding", "1", "bias", "0"), &status);
    y = add(context, t, "norm", NEUMETA_OP_NORM, y, -1, PAIRS(NULL), &status);
    y = add(context, t, "relu", NEUMETA_OP_ACTIVATION, y, -1, PAIRS(NULL), &status);
    if (status == NEUMETA_OK)
        status = neumeta_topology_end_repeat(t, y, &x);
    x = add(context, t, "pool", NEUMETA_OP_POOL_GLOBAL, x, -1, PAIRS(NULL), &status);
    x = add(context, t, "head", NEUMETA_OP_LINEAR, x, classes, PAIRS(NULL), &status);
    if (status == NEUMETA_OK)
        status = neumeta_topology_seal(t, x);
    if (status != NEUMETA_OK) {
        neumeta_topology_free(t);
        t = NULL;
    }
    *out = t;
    return status;
}

typedef struct fixture {
    neumeta_context *context;
    neumeta_topology *topology;
    char *directory, *path;
} fixture;

static fixture setup(void)
{
    fixture f = {.context = test_context()};
    assert_ok(f.context, build(f.context, &f.topology));
    f.directory = test_directory();
    f.path = test_path(f.directory, "network.safetensors");
    return f;
}

static void teardown(fixture *f)
{
    neumeta_topology_free(f->topology);
    neumeta_context_free(f->context);
    test_directory_remove(f->directory);
    free(f->path);
}

static neumeta_network *create(const fixture *f, const int64_t *sizes)
{
    neumeta_network *network = NULL;
    assert_ok(f->context,
              neumeta_network_create(f->topology, sizes, sizes != NULL ? 3 : 0, &network));
    return network;
}

/* --- sizes and files ------------------------------------------------------------------------- */

START_TEST(a_saved_network_comes_back_bit_for_bit_at_its_sizes)
{
    static const int64_t cases[][3] = {{6, 3, CLASSES}, {2, 1, CLASSES}, {4, 0, CLASSES}};
    fixture f = setup();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t sizes[3];
        neumeta_network *network = create(&f, cases[i]);
        neumeta_network *loaded = NULL;
        assert_ok(f.context, neumeta_network_save(network, f.path));
        assert_ok(f.context, neumeta_network_load(f.topology, f.path, NULL, &loaded));
        assert_ok(f.context, neumeta_network_sizes(loaded, sizes, 3));
        ck_assert_mem_eq(sizes, cases[i], sizeof sizes);
        int32_t count = neumeta_network_tensor_count(network);
        ck_assert_int_eq(count, 4 + 5 * cases[i][1]);
        ck_assert_int_eq(neumeta_network_tensor_count(loaded), count);
        for (int32_t t = 0; t < count; t++) {
            const char *names[2];
            int64_t dims[2][4];
            int32_t ranks[2];
            const float *data[2];
            assert_ok(f.context,
                      neumeta_network_tensor(network, t, &names[0], dims[0], &ranks[0], &data[0]));
            assert_ok(f.context,
                      neumeta_network_tensor(loaded, t, &names[1], dims[1], &ranks[1], &data[1]));
            ck_assert_str_eq(names[0], names[1]);
            ck_assert_int_eq(ranks[0], ranks[1]);
            ck_assert_mem_eq(dims[0], dims[1], sizeof dims[0]);
            ck_assert_mem_eq(data[0], data[1],
                             (size_t)(dims[0][0] * dims[0][1] * dims[0][2] * dims[0][3]) *
                                 sizeof(float));
        }
        neumeta_network_free(network);
        neumeta_network_free(loaded);
    }
    teardown(&f);
}
END_TEST

START_TEST(wrong_sizes_are_refused_by_name)
{
    fixture f = setup();
    neumeta_network *network = NULL;
    assert_status(f.context,
                  neumeta_network_create(f.topology, (int64_t[]){5, 1, CLASSES}, 3, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "width");
    ck_assert_ptr_null(network);
    assert_status(f.context,
                  neumeta_network_create(f.topology, (int64_t[]){4, 9, CLASSES}, 3, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "depth");
    assert_status(f.context, neumeta_network_create(f.topology, (int64_t[]){4, 1}, 2, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "2");
    teardown(&f);
}
END_TEST

START_TEST(an_unsealed_topology_makes_no_network)
{
    neumeta_context *context = test_context();
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    assert_ok(context, neumeta_topology_create(context, &topology));
    assert_status(context, neumeta_network_create(topology, NULL, 0, &network), NEUMETA_ERR_STATE);
    assert_status(context, neumeta_network_load(topology, "x", NULL, &network), NEUMETA_ERR_STATE);
    assert_message_contains(context, "not sealed");
    neumeta_topology_free(topology);
    neumeta_context_free(context);
}
END_TEST

/* Writes a safetensors file of zeros from JSON with single quotes. */
static void write_file(const char *path, const char *json, int64_t data)
{
    size_t length = strlen(json);
    size_t header = (length + 7) / 8 * 8;
    unsigned char *bytes = calloc(1, 8 + header + (size_t)data);
    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(header >> (8 * i) & 0xFF);
    memset(bytes + 8, ' ', header);
    for (size_t i = 0; i < length; i++)
        bytes[8 + i] = (unsigned char)(json[i] == '\'' ? '"' : json[i]);
    test_write_file(path, bytes, (int64_t)(8 + header) + data);
    free(bytes);
}

#define TENSOR(name, shape, from, to)                                                              \
    "'" name "':{'dtype':'F32','shape':" shape ",'data_offsets':[" from "," to "]}"
#define STEM                                                                                       \
    TENSOR("stem.weight", "[2,1,3,3]", "0", "72") "," TENSOR("stem.bias", "[2]", "72", "80")
#define HEAD                                                                                       \
    TENSOR("head.weight", "[3,2]", "80", "104") "," TENSOR("head.bias", "[3]", "104", "116")

static const struct {
    const char *json;
    int64_t data;
    neumeta_status status;
    const char *message;
} files[] = {
    {"{" STEM "," HEAD "}", 116, NEUMETA_OK, ""},
    {"{" STEM "," TENSOR("head.weight", "[3,2]", "80", "104") "}", 104, NEUMETA_ERR_FORMAT,
     "tensor 'head.bias' is missing"},
    {"{" STEM "," HEAD "," TENSOR("extra", "[1]", "116", "120") "}", 120, NEUMETA_ERR_FORMAT,
     "tensor 'extra' does not belong"},
    {"{" STEM "," TENSOR("head.weight", "[3,4]", "80", "128") "," TENSOR("head.bias", "[3]", "128",
                                                                         "140") "}",
     140, NEUMETA_ERR_FORMAT, "tensor 'head.weight' is [3, 4], expected [3, 2]"},
    {"{" STEM
     "," TENSOR("head.weight", "[6]", "80", "104") "," TENSOR("head.bias", "[3]", "104", "116") "}",
     116, NEUMETA_ERR_FORMAT, "tensor 'head.weight' is [6], expected [3, 2]"},
    {"{" TENSOR("stem.weight", "[3,1,3,3]", "0", "108") "}", 108, NEUMETA_ERR_FORMAT,
     "axis 'width' (2 to 6 in steps of 2)"},
    {"{" STEM "," HEAD "," TENSOR("body.1.conv.weight", "[2,2,3,3]", "116", "260") "}", 260,
     NEUMETA_ERR_FORMAT, "tensor 'body.0.conv.weight' is missing"},
    {"{'stem.weight':{'dtype':'F64','shape':[2,1,3,3],'data_offsets':[0,144]},"
     "'stem.bias':{'dtype':'F16','shape':[2],'data_offsets':[144,148]},"
     "'head.weight':{'dtype':'BF16','shape':[3,2],'data_offsets':[148,160]}," TENSOR(
         "head.bias", "[3]", "160", "172") "}",
     172, NEUMETA_OK, ""},
    {"{" STEM ",'head.weight':{'dtype':'I32','shape':[3,2],'data_offsets':[80,104]}," TENSOR(
         "head.bias", "[3]", "104", "116") "}",
     116, NEUMETA_ERR_FORMAT, "tensor 'head.weight' is of type I32"},
};
enum { FILES = sizeof files / sizeof files[0] };

START_TEST(files_that_do_not_fit_are_refused_with_the_reason)
{
    fixture f = setup();
    neumeta_network *network = NULL;
    write_file(f.path, files[_i].json, files[_i].data);
    assert_status(f.context, neumeta_network_load(f.topology, f.path, NULL, &network),
                  files[_i].status);
    assert_message_contains(f.context, files[_i].message);
    ck_assert((network != NULL) == (files[_i].status == NEUMETA_OK));
    if (files[_i].status != NEUMETA_OK)
        assert_message_contains(f.context, "network.safetensors");
    neumeta_network_free(network);
    teardown(&f);
}
END_TEST

START_TEST(narrow_floats_are_converted)
{
    /* head.bias as F16: 1, -2, the smallest subnormal. */
    static const unsigned char halves[] = {0x00, 0x3C, 0x00, 0xC0, 0x01, 0x00};
    fixture f = setup();
    int64_t size;
    neumeta_network *network = NULL;
    const float *data;
    write_file(f.path,
               "{" STEM "," TENSOR(
                   "head.weight", "[3,2]", "80",
                   "104") ",'head.bias':{'dtype':'F16','shape':[3],'data_offsets':[104,110]}}",
               110);
    unsigned char *bytes = test_read_file(f.path, &size);
    memcpy(bytes + size - 6, halves, sizeof halves);
    assert_ok(f.context, neumeta_network_load_memory(f.topology, bytes, size, NULL, &network));
    assert_ok(f.context, neumeta_network_tensor(network, 3, NULL, NULL, NULL, &data));
    ck_assert_float_eq(data[0], 1.0f);
    ck_assert_float_eq(data[1], -2.0f);
    ck_assert_float_eq(data[2], 0x1p-24f);
    free(bytes);
    neumeta_network_free(network);
    teardown(&f);
}
END_TEST

START_TEST(a_name_map_renames_tensors_and_its_mistakes_are_told)
{
    static const struct {
        const char *map;
        neumeta_status status;
        const char *message;
    } cases[] = {
        {"module.*=*,fc.weight=head.weight,fc.bias=head.bias", NEUMETA_OK, ""},
        {"module.*=*,fc.*=head.*", NEUMETA_OK, ""},
        {"module.*=*", NEUMETA_ERR_FORMAT, "tensor 'fc.weight' does not belong"},
        {"module.*=*,fc.*=head.*,other=stem.bias", NEUMETA_ERR_ARGUMENT, "fits 'other'"},
        {"module.*=stem", NEUMETA_ERR_ARGUMENT, "rule 1 is not of the form"},
        {"module.*=*,fc", NEUMETA_ERR_ARGUMENT, "rule 2 is not of the form"},
        {"module.*=*,fc.weight=head.bias,fc.bias=head.bias", NEUMETA_ERR_FORMAT,
         "both stand for 'head.bias'"},
    };
    fixture f = setup();
    write_file(f.path,
               "{" TENSOR("module.stem.weight", "[2,1,3,3]", "0", "72") "," TENSOR(
                   "module.stem.bias", "[2]", "72",
                   "80") "," TENSOR("fc.weight", "[3,2]", "80", "104") "," TENSOR("fc.bias", "[3]",
                                                                                  "104", "116") "}",
               116);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        neumeta_network *network = NULL;
        neumeta_options *options = NULL;
        assert_ok(f.context, neumeta_options_create(f.context, &options));
        assert_ok(f.context, neumeta_options_set_text(options, NEUMETA_KEY_NAME_MAP, cases[i].map));
        assert_status(f.context, neumeta_network_load(f.topology, f.path, options, &network),
                      cases[i].status);
        assert_message_contains(f.context, cases[i].message);
        neumeta_network_free(network);
        neumeta_options_free(options);
    }
    neumeta_network *network = NULL;
    neumeta_options *options = options_of(f.context, PAIRS("epochs", "3"));
    assert_status(f.context, neumeta_network_load(f.topology, f.path, options, &network),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "EPOCHS");
    neumeta_options_free(options);
    teardown(&f);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_refused)
{
    fixture f = setup();
    neumeta_network *network = create(&f, (int64_t[]){2, 1, CLASSES});
    int64_t size;
    assert_ok(f.context, neumeta_network_save(network, f.path));
    neumeta_network_free(network);
    unsigned char *bytes = test_read_file(f.path, &size);
    for (int64_t cut = 0; cut < size; cut += 1 + size / 97) {
        network = NULL;
        assert_status(f.context,
                      neumeta_network_load_memory(f.topology, bytes, cut, NULL, &network),
                      NEUMETA_ERR_FORMAT);
        ck_assert_ptr_null(network);
    }
    free(bytes);
    assert_status(f.context, neumeta_network_load(f.topology, "/nowhere/x", NULL, &network),
                  NEUMETA_ERR_IO);
    assert_message_contains(f.context, "/nowhere/x");
    teardown(&f);
}
END_TEST

/* --- runs ------------------------------------------------------------------------------------ */

START_TEST(runs_check_their_buffers)
{
    fixture f = setup();
    float inputs[2 * PIXELS] = {0};
    float outputs[2 * CLASSES];
    int64_t bytes;
    neumeta_network *network = create(&f, NULL);
    assert_ok(f.context, neumeta_network_run(network, inputs, 2, outputs, 2 * CLASSES));
    assert_status(f.context, neumeta_network_run(network, inputs, 2, outputs, 2 * CLASSES - 1),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "the outputs need 6 floats");
    assert_status(f.context, neumeta_network_run(network, inputs, 0, outputs, 6),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "batch is 0");
    assert_status(f.context, neumeta_network_run(network, NULL, 1, outputs, 6),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "inputs");
    assert_status(f.context, neumeta_network_memory(network, -1, &bytes), NEUMETA_ERR_ARGUMENT);
    assert_status(f.context, neumeta_network_tensor(network, 99, NULL, NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(f.context, "index is 99");
    assert_status(f.context, neumeta_network_sizes(network, &bytes, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_network_tensor_count(NULL), -1);
    neumeta_network_free(network);
    neumeta_network_free(NULL);
    teardown(&f);
}
END_TEST

typedef struct source {
    int64_t calls, fail_at;
    int64_t target; /* of every item; -1: item number modulo CLASSES */
    bool spoil;     /* one input is not a number */
} source;

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    source *s = user;
    if (++s->calls == s->fail_at)
        return 42;
    for (int64_t n = 0; n < count; n++) {
        test_fill(inputs + n * PIXELS, PIXELS, (uint64_t)(indices[n] + 1000 * split), -1.0f, 1.0f);
        targets[n] = s->target >= 0 ? s->target : indices[n] % CLASSES;
    }
    if (s->spoil)
        inputs[count * PIXELS - 1] = NAN;
    return 0;
}

static neumeta_status make_dataset(neumeta_context *context, source *s, int64_t items,
                                   neumeta_dataset **dataset)
{
    neumeta_options *options = NULL;
    neumeta_status status = neumeta_options_create(context, &options);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_int(options, NEUMETA_KEY_INPUT_CHANNELS, 1);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_int(options, NEUMETA_KEY_INPUT_HEIGHT, SIDE);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_int(options, NEUMETA_KEY_INPUT_WIDTH, SIDE);
    if (status == NEUMETA_OK)
        status = neumeta_dataset_create(context, 0, items, fetch, s, options, dataset);
    neumeta_options_free(options);
    return status;
}

START_TEST(evaluation_equals_single_runs_at_any_thread_count)
{
    fixture f = setup();
    source s = {.target = -1};
    neumeta_dataset *dataset = NULL;
    neumeta_network *network = create(&f, NULL);
    double loss[2];
    double score[2];
    double expected = 0.0;
    int64_t right = 0;
    assert_ok(f.context, make_dataset(f.context, &s, 450, &dataset));
    for (int32_t threads = 1; threads <= 2; threads++) {
        assert_ok(f.context, neumeta_context_set_threads(f.context, threads));
        assert_ok(f.context, neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TEST,
                                                      &loss[threads - 1], &score[threads - 1]));
    }
    ck_assert_int_eq(s.calls, 6); /* batches of at most 200, twice */
    for (int64_t i = 0; i < 450; i++) {
        float input[PIXELS];
        float z[CLASSES];
        int64_t target;
        fetch(&(source){.target = -1}, NEUMETA_SPLIT_TEST, &i, 1, input, &target);
        assert_ok(f.context, neumeta_network_run(network, input, 1, z, CLASSES));
        double sum = exp((double)z[0]) + exp((double)z[1]) + exp((double)z[2]);
        expected += (log(sum) - (double)z[target]) / 450.0;
        int best = z[1] > z[0] ? 1 : 0;
        best = z[2] > z[best] ? 2 : best;
        right += best == target;
    }
    ck_assert(loss[0] == loss[1] && score[0] == score[1]);
    ck_assert_double_eq_tol(loss[0], expected, 1e-6);
    ck_assert_double_eq_tol(score[0], (double)right / 450.0, 1e-12);
    neumeta_dataset_free(dataset);
    neumeta_network_free(network);
    teardown(&f);
}
END_TEST

START_TEST(bad_data_stops_an_evaluation_with_the_reason)
{
    static const struct {
        source source;
        neumeta_status status;
        const char *message;
    } cases[] = {
        {{.fail_at = 1, .target = -1}, NEUMETA_ERR_CALLBACK, "returned 42"},
        {{.target = CLASSES}, NEUMETA_ERR_CALLBACK, "item 0 has the target 3"},
        {{.target = -1, .spoil = true}, NEUMETA_ERR_CALLBACK, "test item 29: input value 63"},
        {{.target = 0}, NEUMETA_OK, ""},
    };
    fixture f = setup();
    neumeta_network *network = create(&f, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        source s = cases[i].source;
        neumeta_dataset *dataset = NULL;
        double loss = -1.0;
        assert_ok(f.context, make_dataset(f.context, &s, ITEMS, &dataset));
        assert_status(f.context,
                      neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TEST, &loss, NULL),
                      cases[i].status);
        assert_message_contains(f.context, cases[i].message);
        ck_assert((loss >= 0.0) == (cases[i].status == NEUMETA_OK));
        assert_status(f.context,
                      neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TRAIN, &loss, NULL),
                      NEUMETA_ERR_STATE);
        assert_message_contains(f.context, "no items");
        assert_status(f.context, neumeta_network_evaluate(network, dataset, 9, &loss, NULL),
                      NEUMETA_ERR_ARGUMENT);
        neumeta_dataset_free(dataset);
    }
    neumeta_network_free(network);
    teardown(&f);
}
END_TEST

START_TEST(items_of_another_shape_are_refused)
{
    fixture f = setup();
    float input[2] = {0};
    int64_t target = 0;
    neumeta_dataset *dataset = NULL;
    neumeta_network *network = create(&f, NULL);
    neumeta_options *options = options_of(
        f.context, PAIRS("input-channels", "1", "input-height", "1", "input-width", "2"));
    assert_ok(f.context,
              neumeta_dataset_create_memory(f.context, input, &target, 0, 1, options, &dataset));
    assert_status(f.context,
                  neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TEST, NULL, NULL),
                  NEUMETA_ERR_SHAPE);
    assert_message_contains(f.context, "[1, 1, 2], the network takes [1, 8, 8]");
    neumeta_options_free(options);
    neumeta_dataset_free(dataset);
    neumeta_network_free(network);
    teardown(&f);
}
END_TEST

/* --- sharing --------------------------------------------------------------------------------- */

typedef struct lane {
    neumeta_context *context;
    neumeta_network *network;
    const float *input;
    float outputs[CLASSES];
    neumeta_status status;
} lane;

static void *run_lane(void *argument)
{
    lane *l = argument;
    for (int i = 0; i < 50 && l->status == NEUMETA_OK; i++)
        l->status = neumeta_network_run(l->network, l->input, 1, l->outputs, CLASSES);
    return NULL;
}

START_TEST(shared_weights_serve_two_threads_and_outlive_their_network)
{
    fixture f = setup();
    float input[PIXELS];
    lane lanes[2] = {{.context = f.context, .input = input}, {.input = input}};
    pthread_t thread;
    test_fill(input, PIXELS, 1, -1.0f, 1.0f);
    lanes[0].network = create(&f, NULL);
    lanes[1].context = test_context();
    assert_ok(f.context,
              neumeta_network_share(lanes[0].network, lanes[1].context, &lanes[1].network));
    ck_assert_int_eq(pthread_create(&thread, NULL, run_lane, &lanes[1]), 0);
    run_lane(&lanes[0]);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    assert_ok(f.context, lanes[0].status);
    assert_ok(lanes[1].context, lanes[1].status);
    ck_assert_mem_eq(lanes[0].outputs, lanes[1].outputs, sizeof lanes[0].outputs);
    neumeta_network_free(lanes[0].network);
    run_lane(&lanes[1]);
    assert_ok(lanes[1].context, lanes[1].status);
    neumeta_network_free(lanes[1].network);
    neumeta_context_free(lanes[1].context);
    teardown(&f);
}
END_TEST

/* --- memory ---------------------------------------------------------------------------------- */

static neumeta_status use_everything(test_allocator *allocator, void *user)
{
    neumeta_context *contexts[2] = {NULL, NULL};
    neumeta_topology *topology = NULL;
    neumeta_network *networks[3] = {NULL, NULL, NULL};
    neumeta_dataset *dataset = NULL;
    source s = {.target = -1};
    float input[PIXELS] = {0};
    float outputs[CLASSES];
    int64_t bytes;
    neumeta_status status = NEUMETA_OK;
    for (int i = 0; i < 2 && status == NEUMETA_OK; i++)
        status = test_context_create(allocator, &contexts[i]);
    if (status == NEUMETA_OK)
        status = build(contexts[0], &topology);
    if (status == NEUMETA_OK)
        status = neumeta_network_create(topology, NULL, 0, &networks[0]);
    if (status == NEUMETA_OK)
        status = neumeta_network_memory(networks[0], 3, &bytes);
    if (status == NEUMETA_OK)
        status = neumeta_network_save(networks[0], user);
    if (status == NEUMETA_OK)
        status = neumeta_network_load(topology, user, NULL, &networks[1]);
    if (status == NEUMETA_OK)
        status = neumeta_network_share(networks[1], contexts[1], &networks[2]);
    if (status == NEUMETA_OK)
        status = neumeta_network_run(networks[2], input, 1, outputs, CLASSES);
    if (status == NEUMETA_OK)
        status = make_dataset(contexts[0], &s, 4, &dataset);
    if (status == NEUMETA_OK)
        status = neumeta_network_evaluate(networks[0], dataset, NEUMETA_SPLIT_TEST, NULL, NULL);
    neumeta_dataset_free(dataset);
    for (int i = 0; i < 3; i++)
        neumeta_network_free(networks[i]);
    neumeta_topology_free(topology);
    for (int i = 0; i < 2; i++)
        neumeta_context_free(contexts[i]);
    return status;
}

START_TEST(any_failing_allocation_is_reported_and_nothing_leaks)
{
    char *directory = test_directory();
    char *path = test_path(directory, "network.safetensors");
    ck_assert_int_gt(test_every_allocation(use_everything, path), 50);
    free(path);
    test_directory_remove(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("networks");
    TCase *tests = tcase_create("public calls");
    tcase_add_test(tests, a_saved_network_comes_back_bit_for_bit_at_its_sizes);
    tcase_add_test(tests, wrong_sizes_are_refused_by_name);
    tcase_add_test(tests, an_unsealed_topology_makes_no_network);
    tcase_add_loop_test(tests, files_that_do_not_fit_are_refused_with_the_reason, 0, FILES);
    tcase_add_test(tests, narrow_floats_are_converted);
    tcase_add_test(tests, a_name_map_renames_tensors_and_its_mistakes_are_told);
    tcase_add_test(tests, a_file_cut_anywhere_is_refused);
    tcase_add_test(tests, runs_check_their_buffers);
    tcase_add_test(tests, evaluation_equals_single_runs_at_any_thread_count);
    tcase_add_test(tests, bad_data_stops_an_evaluation_with_the_reason);
    tcase_add_test(tests, items_of_another_shape_are_refused);
    tcase_add_test(tests, shared_weights_serve_two_threads_and_outlive_their_network);
    tcase_add_test(tests, any_failing_allocation_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
