/* SPDX-License-Identifier: MIT */
/*
 * What reading a file may take: at most so many bytes for each of the file's, whatever they are.
 * Most files are as bad as can be: as many as possible of the smallest piece that takes memory.
 * Sizes are those that the allocator was asked for.
 */
#include "nmi_faults.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>

/* docs/formats.md promises these: of a file, of one of 16 bits that is read from the disk, and of
 * the description of its topology. */
enum { TIMES_FILE = 2, TIMES_SHORT_FILE = 3, TIMES_BYTES_FILE = 5, TIMES_TOPOLOGY = 32, ANYWAY = 1 << 20 };

/* --- files -------------------------------------------------------------------------------- */

typedef struct text {
    char *bytes;
    size_t length, room;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...)
{
    enum { MOST = 512 };
    if (t->room - t->length < MOST) {
        t->room = 2 * t->room + MOST;
        t->bytes = realloc(t->bytes, t->room);
        ck_assert_ptr_nonnull(t->bytes);
    }
    va_list arguments;
    va_start(arguments, format);
    t->length += (size_t)vsnprintf(t->bytes + t->length, MOST, format, arguments);
    va_end(arguments);
}

static const char *comma(int i)
{
    return i > 0 ? "," : "";
}

typedef void (*make_fn)(text *t, int count);

static void many_tensors(text *t, int count)
{
    put(t, "{");
    for (int i = 0; i < count; i++)
        put(t, "%s\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", comma(i), i);
    put(t, "}");
}

static void many_keys(text *t, int count)
{
    put(t, "{\"__metadata__\":{");
    for (int i = 0; i < count; i++)
        put(t, "%s\"%x\":\"\"", comma(i), i);
    put(t, "}}");
}

/* Of a manifold up to its axes, blocks and nodes; Q is a quote in its description. */
#define Q "\\\""
static void begin_axes(text *t)
{
    put(t, "{\"__metadata__\":{\"neumeta.format\":\"1\",\"neumeta.kind\":\"manifold\","
           "\"neumeta.topology\":\"{" Q "format" Q ":1," Q "axes" Q ":[");
}

static void put_axes(text *t, int count)
{
    for (int i = 0; i < count; i++)
        put(t,
            "%s{" Q "name" Q ":" Q "%x" Q "," Q "kind" Q ":" Q "width" Q "," Q "min" Q ":1," Q
            "max" Q ":2," Q "step" Q ":1}",
            comma(i), i);
}

static void begin_blocks(text *t)
{
    put(t, "]," Q "blocks" Q ":[");
}

static void put_node(text *t, const char *name, int number, const char *op, const char *rest)
{
    put(t, ",{" Q "name" Q ":" Q "%s%x" Q "," Q "op" Q ":" Q "%s" Q "%s}", name, number, op, rest);
}

/* The first node's number is 0. */
static void begin_nodes(text *t)
{
    put(t, "]," Q "nodes" Q ":[{" Q "name" Q ":" Q "x" Q "," Q "op" Q ":" Q "input" Q "," Q
           "inputs" Q ":[]," Q "channels" Q ":1," Q "height" Q ":1," Q "width" Q ":1}");
}

static void end_nodes(text *t, int output, const char *metadata)
{
    put(t, "]," Q "output" Q ":%d}\",%s}}", output, metadata);
}

static void put_nodes(text *t, const char *op, int count)
{
    for (int i = 0; i < count; i++)
        put_node(t, "", i, op, "," Q "inputs" Q ":[0]");
}

static const char no_options[] = "\"neumeta.options\":\"{}\"";
static const char one_conv[] = "," Q "inputs" Q ":[0]," Q "axis" Q ":0," Q "block" Q ":0";

/* A manifold of one convolution. */
static void small_manifold(text *t, const char *op, int count, const char *metadata)
{
    begin_axes(t);
    put_axes(t, 1);
    begin_blocks(t);
    put(t, Q "b" Q);
    begin_nodes(t);
    put_node(t, "-", 0, "conv", one_conv);
    put_nodes(t, op, count);
    end_nodes(t, 1, metadata);
}

static void many_norms(text *t, int count)
{
    small_manifold(t, "norm", count, no_options);
}

static void many_gains(text *t, int count)
{
    small_manifold(t, "gain", count, no_options);
}

static void many_axes(text *t, int count)
{
    begin_axes(t);
    put_axes(t, count);
    begin_blocks(t);
    begin_nodes(t);
    put_nodes(t, "gain", count);
    end_nodes(t, 0, no_options);
}

static void many_blocks(text *t, int count)
{
    begin_axes(t);
    begin_blocks(t);
    for (int i = 0; i < count; i++)
        put(t, "%s" Q "%x" Q, comma(i), i);
    begin_nodes(t);
    end_nodes(t, 0, no_options);
}

static void long_setting(text *t, int count)
{
    small_manifold(t, "gain", 0, "\"neumeta.options\":\"{" Q "MORPH_BLOCKS" Q ":[0");
    t->length -= 2;
    for (int i = 1; i < count; i++)
        put(t, ",0");
    put(t, "]}\"}}");
}

/* A front whose tensor of sizes has one of many axes' sizes. */
static void wide_front(text *t, int count)
{
    begin_axes(t);
    put_axes(t, count);
    begin_blocks(t);
    put(t, Q "b" Q);
    begin_nodes(t);
    put_node(t, "-", 0, "conv", one_conv);
    end_nodes(
        t, 1,
        "\"neumeta.options\":\"{}\",\"neumeta.front\":\"base\",\"neumeta.front.items\":\"1\"");
    t->length--;
    put(t, ",\"front.sizes\":{\"dtype\":\"U8\",\"shape\":[4096,0],\"data_offsets\":[0,0]}}");
}

/* Half of the nodes are norms that depend on the widths of all the others. */
static void many_dependences(text *t, int count)
{
    enum { JOINED = 63 };
    const int convs = count / 2, joins = (convs + JOINED - 1) / JOINED;
    char rest[64];
    begin_axes(t);
    put_axes(t, convs);
    begin_blocks(t);
    put(t, Q "b" Q);
    begin_nodes(t);
    for (int i = 0; i < convs; i++) {
        snprintf(rest, sizeof rest, "," Q "inputs" Q ":[0]," Q "axis" Q ":%d," Q "block" Q ":0", i);
        put_node(t, "c", i, "conv", rest);
    }
    for (int j = 0; j < joins; j++) {
        put_node(t, "j", j, "concat", "," Q "inputs" Q ":[0");
        t->length--;
        for (int i = j * JOINED + 1; i < (j + 1) * JOINED && i <= convs; i++)
            put(t, ",%d", i);
        if (j > 0)
            put(t, ",%d", convs + j);
        put(t, "]}");
    }
    for (int i = 0; i < count / 2; i++) {
        snprintf(rest, sizeof rest, "," Q "inputs" Q ":[%d]", convs + joins);
        put_node(t, "n", i, "norm", rest);
    }
    end_nodes(t, convs + joins,
              "\"neumeta.options\":\"{}\",\"neumeta.statistics\":\"{" Q "SIZE_AXES" Q ":[0");
    t->length -= 2;
    for (int i = 1; i < convs; i++)
        put(t, ",%d", i);
    put(t, "]," Q "GAMMA_MAX" Q ":0.5}\"}}");
}
#undef Q

/* --- what they take ----------------------------------------------------------------------- */

/* What the description of its topology has of a file, as it stands there. */
static int64_t topology_size(const char *bytes, int64_t size)
{
    static const char key[] = "\"neumeta.topology\":\"";
    const char *end = bytes + size, *at = bytes;
    while (end - at > (int64_t)sizeof key && memcmp(at, key, sizeof key - 1) != 0)
        at++;
    const char *begin = at;
    while (end - at > 1 && !(at[0] == '}' && at[1] == '"'))
        at++;
    return end - begin > (int64_t)sizeof key ? at - begin : 0;
}

static void assert_little(const char *what, const char *bytes, int64_t size, int64_t peak,
                          int times)
{
    const int64_t topology = topology_size(bytes, size);
    const int64_t most = times * size + ANYWAY + TIMES_TOPOLOGY * topology;
    ck_assert_msg(peak <= most, "%s of %lld bytes, topology %lld, took %lld: more than %lld", what,
                  (long long)size, (long long)topology, (long long)peak, (long long)most);
}

/* From memory if `path` is NULL. */
static int64_t peak_as_manifold(const char *bytes, int64_t size, const char *path, bool *good)
{
    test_allocator allocator = {0};
    neumeta_context *context = NULL;
    neumeta_manifold *manifold = NULL;
    assert_ok(NULL, test_context_create(&allocator, &context));
    const long long before = allocator.bytes;
    allocator.peak = before;
    const neumeta_status status =
        path != NULL ? neumeta_manifold_load(context, path, &manifold)
                     : neumeta_manifold_load_memory(context, bytes, size, &manifold);
    const long long peak = allocator.peak - before;
    neumeta_manifold_free(manifold);
    ck_assert_int_eq(allocator.bytes, before);
    neumeta_context_free(context);
    *good = status == NEUMETA_OK;
    return peak;
}

static int64_t peak_as_network(const char *bytes, int64_t size, const char *path)
{
    test_allocator allocator = {0};
    neumeta_context *context = NULL;
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    assert_ok(NULL, test_context_create(&allocator, &context));
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    const long long before = allocator.bytes;
    allocator.peak = before;
    path != NULL ? neumeta_network_load(topology, path, NULL, &network)
                 : neumeta_network_load_memory(topology, bytes, size, NULL, &network);
    const long long peak = allocator.peak - before;
    neumeta_network_free(network);
    ck_assert_int_eq(allocator.bytes, before);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
    return peak;
}

/* Of a trainer with a manifold, which the file may be a checkpoint of. */
static int64_t peak_as_checkpoint(faults *f, const char *path)
{
    const long long before = f->allocator.bytes;
    f->allocator.peak = before;
    neumeta_trainer_restore(f->trainer, path);
    return f->allocator.peak - before;
}

/* Whether it is a manifold's. `times` holds for reading from the disk. */
static bool assert_all(const char *what, const char *bytes, int64_t size, const char *path,
                       int times)
{
    bool good;
    assert_little(what, bytes, size, peak_as_manifold(bytes, size, NULL, &good), TIMES_FILE);
    assert_little(what, bytes, size, peak_as_manifold(bytes, size, path, &good), times);
    assert_little(what, bytes, size, peak_as_network(bytes, size, NULL), TIMES_FILE);
    assert_little(what, bytes, size, peak_as_network(bytes, size, path), times);
    return good;
}

static const struct {
    const char *name;
    make_fn make;
    int most;
} hostile[] = {
    {"many tensors", many_tensors, 120000},
    {"many keys", many_keys, 600000},
    {"many norms", many_norms, 8000},
    {"many gains", many_gains, 8000},
    {"many axes", many_axes, 8191},
    {"many axes, too many", many_axes, 16383},
    {"many blocks", many_blocks, 16384},
    {"a long setting", long_setting, 16384},
    {"a longer setting", long_setting, 1000000},
    {"a wide front", wide_front, 16384},
    {"many dependences", many_dependences, 700},
    {"many dependences, too many", many_dependences, 4000},
};

static char *folder, *path;

static void set_up(void)
{
    folder = test_directory();
    path = test_path(folder, "file");
}

static void tear_down(void)
{
    free(path);
    test_directory_remove(folder);
}

/* A header of so many pieces, and no data. */
static text make_file(make_fn make, int count)
{
    text t = {NULL, 0, 0};
    put(&t, "%8s", "");
    make(&t, count);
    for (int i = 0; i < 8; i++)
        t.bytes[i] = (char)((t.length - 8) >> (8 * i) & 0xff);
    return t;
}

START_TEST(no_header_takes_more_than_its_share)
{
    const int most = hostile[_i].most;
    for (int count = 1; count <= most;
         count = 8 * count < most || count == most ? 8 * count : most) {
        text t = make_file(hostile[_i].make, count);
        test_write_file(path, t.bytes, (int64_t)t.length);
        assert_all(hostile[_i].name, t.bytes, (int64_t)t.length, path, TIMES_FILE);
        free(t.bytes);
    }
}
END_TEST

START_TEST(a_few_bytes_never_take_a_megabyte)
{
    enum { FEW = 15000, MEGABYTE = 1000000 };
    for (int count = 1;; count += 1 + count / 4) {
        bool good;
        text t = make_file(hostile[_i].make, count);
        const int64_t size = (int64_t)t.length;
        if (size <= FEW) {
            ck_assert_int_lt(peak_as_manifold(t.bytes, size, NULL, &good), MEGABYTE);
            ck_assert_int_lt(peak_as_network(t.bytes, size, NULL), MEGABYTE);
        }
        free(t.bytes);
        if (size > FEW)
            break;
    }
}
END_TEST

/* The network itself would be more than a megabyte. */
START_TEST(one_tensor_does_not_ask_for_all_the_others)
{
    static const char header[] =
        "{\"classifier.bias\":{\"dtype\":\"U8\",\"shape\":[10],\"data_offsets\":[0,10]}}";
    char bytes[8 + sizeof header - 1 + 10] = {(char)(sizeof header - 1)};
    memcpy(bytes + 8, header, sizeof header - 1);
    ck_assert_int_lt(peak_as_network(bytes, sizeof bytes, NULL), 100000);
}
END_TEST

/* --- our own files ------------------------------------------------------------------------ */

static void assert_stored(const char *what, bool is_manifold, int times)
{
    int64_t size;
    char *bytes = (char *)test_read_file(path, &size);
    ck_assert_ptr_nonnull(bytes);
    ck_assert(assert_all(what, bytes, size, path, times) == is_manifold);
    free(bytes);
}

START_TEST(what_we_write_takes_no_more)
{
    static const char *const storages[] = {"f32", "f16", "bf16"};
    neumeta_context *context = test_context();
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    neumeta_manifold *manifold = NULL;
    neumeta_options *options = NULL;
    assert_ok(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    assert_ok(context, neumeta_network_create(topology, NULL, 0, &network));
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_INR_HIDDEN, 24));
    assert_ok(context, neumeta_manifold_create(topology, options, &manifold));
    neumeta_options_free(options);
    assert_ok(context, neumeta_options_create(context, &options));
    for (int i = 0; i < 3; i++) {
        const int times = i == 0 ? TIMES_FILE : TIMES_SHORT_FILE;
        assert_ok(context, neumeta_options_parse(options, "storage", storages[i]));
        assert_ok(context, neumeta_network_save_as(network, path, options));
        assert_stored("a network", false, times);
        assert_ok(context, neumeta_manifold_save_as(manifold, path, options));
        assert_stored("a manifold", true, times);
    }
    assert_ok(context, neumeta_options_parse(options, "storage", "i8"));
    assert_ok(context, neumeta_manifold_save_as(manifold, path, options));
    assert_stored("a manifold", true, TIMES_BYTES_FILE);
    neumeta_options_free(options);
    neumeta_manifold_free(manifold);
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
}
END_TEST

static void restore(const char *what, faults *f, const char *name)
{
    int64_t size;
    char *bytes = (char *)test_read_file(name, &size);
    ck_assert_ptr_nonnull(bytes);
    assert_little(what, bytes, size, peak_as_checkpoint(f, name), TIMES_FILE);
    free(bytes);
}

START_TEST(checkpoints_take_no_more)
{
    faults *f = fault_start_manifold();
    neumeta_trainer *trainer = NULL;
    assert_ok(f->context, neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset,
                                                 NULL, &f->trainer));
    assert_ok(f->context, neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset,
                                                 NULL, &trainer));
    assert_ok(f->context, neumeta_trainer_step(trainer));
    assert_ok(f->context, neumeta_trainer_save(trainer, path));
    neumeta_trainer_free(trainer);
    restore("a checkpoint", f, path);
    for (size_t k = 0; k < sizeof hostile / sizeof *hostile; k++) {
        text t = make_file(hostile[k].make, hostile[k].most / 8);
        test_write_file(path, t.bytes, (int64_t)t.length);
        restore(hostile[k].name, f, path);
        free(t.bytes);
    }
    fault_free(f);
}
END_TEST

static void read_corpus(const char *kind)
{
    char *corpus = test_path(NMI_SOURCE_ROOT "/tests/fuzz/corpus", kind);
    DIR *entries = opendir(corpus);
    ck_assert_ptr_nonnull(entries);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        int64_t size;
        char *name = test_path(corpus, entry->d_name);
        char *bytes = entry->d_name[0] != '.' ? (char *)test_read_file(name, &size) : NULL;
        if (bytes != NULL)
            assert_all(name, bytes, size, name, TIMES_SHORT_FILE);
        free(bytes);
        free(name);
    }
    closedir(entries);
    free(corpus);
}

START_TEST(no_file_of_the_corpora_takes_more)
{
    read_corpus("safetensors");
    read_corpus("manifold");
    read_corpus("checkpoint");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("load");
    TCase *cases = tcase_create("memory");
    const int count = (int)(sizeof hostile / sizeof *hostile);
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_loop_test(cases, no_header_takes_more_than_its_share, 0, count);
    tcase_add_loop_test(cases, a_few_bytes_never_take_a_megabyte, 0, count);
    tcase_add_test(cases, one_tensor_does_not_ask_for_all_the_others);
    tcase_add_test(cases, what_we_write_takes_no_more);
    tcase_add_test(cases, checkpoints_take_no_more);
    tcase_add_test(cases, no_file_of_the_corpora_takes_more);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
