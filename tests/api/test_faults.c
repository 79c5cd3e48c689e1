/* SPDX-License-Identifier: MIT */
/* What the world gets wrong: damaged files, full disks, calls from other threads and from inside
 * callbacks. */
#include "nmi_faults.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static faults *start(int32_t method)
{
    faults *f = fault_create();
    fault_context(f);
    fault_topology(f);
    fault_network(f, method);
    fault_dataset(f);
    fault_folder(f);
    return f;
}

static faults *start_training(const char *epochs, const char *path)
{
    faults *f = start(NEUMETA_NORM_SKIP_INIT);
    fault_manifold(f);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", epochs, "batch", "4", "ema", "0.5", "residual-rate",
                                 "0.01", "validate-epochs", "1"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 1, 2, f->options));
    if (path != NULL)
        fault_options(f, FAULT_PAIRS("checkpoint-path", path, "checkpoint-seconds", "0"));
    else
        fault_options(f, FAULT_PAIRS(NULL));
    attempt_new(f, &f->trainer,
                neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, f->options,
                                       &f->trainer));
    return f;
}

/* --- files of networks --- */

/* A safetensors file of a header and as many zero bytes. */
static unsigned char *make_file(const char *header, int64_t data, int64_t *size)
{
    const int64_t length = (int64_t)strlen(header);
    *size = 8 + length + data;
    unsigned char *bytes = calloc(1, (size_t)*size);
    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> (8 * i));
    memcpy(bytes + 8, header, (size_t)length);
    return bytes;
}

/* Three inputs, a linear layer of two outputs: l.weight [2, 3], l.bias [2]. */
static void make_linear(faults *f)
{
    int32_t axis, input, linear;
    fault_context(f);
    attempt_new(f, &f->topology, neumeta_topology_create(f->context, &f->topology));
    attempt(f, neumeta_topology_add_axis(f->topology, "out", NEUMETA_AXIS_WIDTH, 2, 6, 2, &axis));
    fault_options(f, FAULT_PAIRS("input-height", "1", "input-width", "1"));
    attempt(f, neumeta_topology_add_node(f->topology, "x", NEUMETA_OP_INPUT, NULL, 0, -1,
                                         f->options, &input));
    attempt(f, neumeta_topology_add_node(f->topology, "l", NEUMETA_OP_LINEAR, &input, 1, axis, NULL,
                                         &linear));
    attempt(f, neumeta_topology_seal(f->topology, linear));
}

#define WEIGHT "\"l.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define BIAS "\"l.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}"

START_TEST(network_files_with_the_wrong_tensors_are_refused_by_name)
{
    static const struct {
        const char *header;
        int64_t data;
        const char *message; /* NULL: the file is right */
    } cases[] = {
        {"{" WEIGHT "," BIAS "}", 32, NULL},
        {"{" WEIGHT "}", 24, "tensor 'l.bias' is missing"},
        {"{}", 0, "is missing"},
        {"{" WEIGHT ",\"l.shift\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}}", 32,
         "tensor 'l.shift' does not belong to the topology"},
        {"{" WEIGHT "," BIAS ",\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[32,36]}}",
         36, "tensor 'z' does not belong to the topology"},
        {"{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}," BIAS "}", 32,
         "tensor 'l.weight' is [3, 2], its first dimension must be 1 times a size of axis 'out'"},
        {"{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"
         "\"l.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[32,40]}}",
         40, "tensor 'l.weight' is [2, 4], expected [2, 3]"},
        {"{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}," BIAS "}", 32,
         "tensor 'l.weight' is [6], expected [6, 3]"},
        {"{" WEIGHT ",\"l.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[24,40]}}", 40,
         "tensor 'l.bias' is [4], expected [2]"},
        {"{" WEIGHT ",\"l.bias\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[24,32]}}", 32,
         "tensor 'l.bias' is of type I32, expected F32, F64, F16 or BF16"},
        {"{" WEIGHT ",\"l.bias\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[24,28]}}", 28,
         NULL},
        {"{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]},"
         "\"l.bias\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
         0, "its first dimension must be"},
        {"{\"l.weight\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,16],"
         "\"data_offsets\":[0,0]}," BIAS "}",
         32, "l.weight"},
    };
    faults *f = fault_create();
    make_linear(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t size;
        unsigned char *bytes = make_file(cases[i].header, cases[i].data, &size);
        neumeta_network *network = NULL;
        neumeta_status status =
            neumeta_network_load_memory(f->topology, bytes, size, NULL, &network);
        free(bytes);
        ck_assert_msg(status == (cases[i].message == NULL ? NEUMETA_OK : NEUMETA_ERR_FORMAT),
                      "%s gave %d: %s", cases[i].header, (int)status,
                      neumeta_context_message(f->context));
        if (cases[i].message != NULL)
            assert_message_contains(f->context, cases[i].message);
        neumeta_network_free(network);
    }
    fault_free(f);
}
END_TEST

/* A shortcut has no tensor: what reads it shows its width. */
START_TEST(the_width_of_a_shortcut_is_found)
{
    faults *f = fault_start(0);
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL, *loaded = NULL;
    int32_t wide, out, node;
    int64_t sizes[2] = {5, 2}, found[2];
    assert_ok(f->context, neumeta_topology_create(f->context, &topology));
    assert_ok(f->context,
              neumeta_topology_add_axis(topology, "wide", NEUMETA_AXIS_WIDTH, 4, 8, 1, &wide));
    assert_ok(f->context,
              neumeta_topology_add_axis(topology, "out", NEUMETA_AXIS_WIDTH, 2, 2, 1, &out));
    assert_ok(f->context, neumeta_topology_begin_block(topology, "block"));
    assert_ok(f->context, neumeta_topology_add_node(topology, "input", NEUMETA_OP_INPUT, NULL, 0,
                                                    -1, NULL, &node));
    assert_ok(f->context, neumeta_topology_add_node(topology, "shortcut", NEUMETA_OP_SHORTCUT,
                                                    &node, 1, wide, NULL, &node));
    assert_ok(f->context, neumeta_topology_add_node(topology, "conv", NEUMETA_OP_CONV, &node, 1,
                                                    out, NULL, &node));
    assert_ok(f->context, neumeta_topology_seal(topology, node));
    assert_ok(f->context, neumeta_network_create(topology, sizes, 2, &network));
    fault_folder(f);
    assert_ok(f->context, neumeta_network_save(network, f->path));
    assert_ok(f->context, neumeta_network_load(topology, f->path, NULL, &loaded));
    assert_ok(f->context, neumeta_network_sizes(loaded, found, 2));
    ck_assert_mem_eq(found, sizes, sizeof sizes);
    neumeta_network_free(network);
    neumeta_network_free(loaded);
    neumeta_topology_free(topology);
    fault_free(f);
}
END_TEST

static int32_t add(const faults *f, neumeta_topology *topology, const char *name, int32_t op,
                   const int32_t *inputs, int32_t count, int32_t axis)
{
    int32_t node = -1;
    assert_ok(f->context,
              neumeta_topology_add_node(topology, name, op, inputs, count, axis, NULL, &node));
    return node;
}

/* Convolutions of two shortcuts, side by side, and of the second alone; or, without them, a
 * shortcut as the output, which nothing reads. `swapped`: the second one's axis is made first. */
static neumeta_topology *make_shortcuts(const faults *f, bool read, bool swapped, int32_t axes[2])
{
    neumeta_topology *topology = NULL;
    int32_t out;
    assert_ok(f->context, neumeta_topology_create(f->context, &topology));
    for (int i = 0; i < 2; i++)
        assert_ok(f->context,
                  neumeta_topology_add_axis(topology, i == 0 ? "first" : "second",
                                            NEUMETA_AXIS_WIDTH, 4, 8, 1, &axes[i ^ swapped]));
    assert_ok(f->context,
              neumeta_topology_add_axis(topology, "out", NEUMETA_AXIS_WIDTH, 2, 2, 1, &out));
    int32_t n = add(f, topology, "input", NEUMETA_OP_INPUT, NULL, 0, -1);
    assert_ok(f->context, neumeta_topology_begin_block(topology, "block"));
    const int32_t both[] = {add(f, topology, "a", NEUMETA_OP_SHORTCUT, &n, 1, axes[0]),
                            add(f, topology, "b", NEUMETA_OP_SHORTCUT, &n, 1, axes[1])};
    if (read) {
        n = add(f, topology, "beside", NEUMETA_OP_CONCAT, both, 2, -1);
        const int32_t sums[] = {add(f, topology, "wide", NEUMETA_OP_CONV, &n, 1, out),
                                add(f, topology, "narrow", NEUMETA_OP_CONV, &both[1], 1, out)};
        n = add(f, topology, "sum", NEUMETA_OP_ADD, sums, 2, -1);
    } else {
        n = add(f, topology, "alone", NEUMETA_OP_CONV, &n, 1, out);
        n = add(f, topology, "end", NEUMETA_OP_SHORTCUT, &n, 1, axes[0]);
    }
    assert_ok(f->context, neumeta_topology_seal(topology, n));
    return topology;
}

/* In any order, and where no tensor tells it: `_i` bit 0 swaps the axes, bit 1 takes the readers
 * away. */
START_TEST(a_network_comes_back_at_its_sizes)
{
    faults *f = fault_start(0);
    int32_t axes[2];
    neumeta_topology *topology = make_shortcuts(f, (_i & 2) == 0, (_i & 1) != 0, axes);
    fault_folder(f);
    for (int64_t first = 4; first <= 8; first += 2)
        for (int64_t second = 5; second <= 8; second += 3) {
            neumeta_network *network = NULL, *loaded = NULL;
            uint8_t prints[2][NEUMETA_FINGERPRINT_BYTES];
            int64_t sizes[3] = {0, 0, 2}, found[3];
            sizes[axes[0]] = first;
            sizes[axes[1]] = second;
            assert_ok(f->context, neumeta_network_create(topology, sizes, 3, &network));
            assert_ok(f->context, neumeta_network_save(network, f->path));
            assert_ok(f->context, neumeta_network_load(topology, f->path, NULL, &loaded));
            assert_ok(f->context, neumeta_network_sizes(loaded, found, 3));
            ck_assert_mem_eq(found, sizes, sizeof sizes);
            assert_ok(f->context,
                      neumeta_network_fingerprint(network, prints[0], sizeof prints[0]));
            assert_ok(f->context, neumeta_network_fingerprint(loaded, prints[1], sizeof prints[1]));
            ck_assert_mem_eq(prints[0], prints[1], sizeof prints[0]);
            neumeta_network_free(network);
            neumeta_network_free(loaded);
        }
    neumeta_topology_free(topology);
    fault_free(f);
}
END_TEST

START_TEST(name_maps_are_checked)
{
    static const struct {
        const char *map, *message;
    } cases[] = {
        {"l.weight", "rule 1 is not of the form"},
        {"l.*=l.", "rule 1 is not of the form"},
        {"=l.weight", "rule 1 is not of the form"},
        {"q.*=l.*", "no tensor of the file fits 'q.'"},
        {"l.weight=l.weight,a=b", "no tensor of the file fits 'a'"},
        {"l.*=m.*", "does not belong to the topology"},
        {"l.weight=l.bias", "both stand for 'l.bias'"},
    };
    faults *f = fault_create();
    int64_t size;
    make_linear(f);
    unsigned char *bytes = make_file("{" WEIGHT "," BIAS "}", 32, &size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        neumeta_network *network = NULL;
        fault_options(f, FAULT_PAIRS("name-map", cases[i].map));
        neumeta_status status =
            neumeta_network_load_memory(f->topology, bytes, size, f->options, &network);
        ck_assert_msg(status == NEUMETA_ERR_ARGUMENT || status == NEUMETA_ERR_FORMAT, "%s gave %d",
                      cases[i].map, (int)status);
        assert_message_contains(f->context, cases[i].message);
        ck_assert_ptr_null(network);
    }
    free(bytes);
    fault_free(f);
}
END_TEST

/* --- damage --- */

enum { KIND_NETWORK, KIND_MANIFOLD, KIND_CHECKPOINT, KINDS };

static neumeta_status save(faults *f, int kind)
{
    return kind == KIND_NETWORK    ? neumeta_network_save(f->network, f->path)
           : kind == KIND_MANIFOLD ? neumeta_manifold_save(f->manifold, f->path)
                                   : neumeta_trainer_save(f->trainer, f->path);
}

/* Loads what lies at the path and uses what comes of it. */
static neumeta_status load(faults *f, int kind)
{
    neumeta_network *network = NULL;
    neumeta_manifold *manifold = NULL;
    float output[FAULT_CLASSES];
    neumeta_status status;
    if (kind == KIND_CHECKPOINT) {
        status = neumeta_trainer_restore(f->trainer, f->path);
        if (status == NEUMETA_OK)
            neumeta_trainer_step(f->trainer);
        return status;
    }
    if (kind == KIND_NETWORK) {
        status = neumeta_network_load(f->topology, f->path, NULL, &network);
    } else {
        status = neumeta_manifold_load(f->context, f->path, &manifold);
        neumeta_topology *topology = NULL;
        int64_t sizes[FAULT_AXES];
        if (status == NEUMETA_OK) {
            assert_ok(f->context, neumeta_manifold_topology(manifold, &topology));
            int32_t axes = neumeta_topology_axis_count(topology);
            if (axes <= FAULT_AXES &&
                neumeta_manifold_sizes_at(manifold, 0.3, sizes, axes) == NEUMETA_OK)
                neumeta_manifold_materialize(manifold, sizes, axes, NULL, &network);
        }
        neumeta_topology_free(topology);
    }
    if (network != NULL)
        neumeta_network_run(network, f->inputs, 1, output, FAULT_CLASSES);
    neumeta_network_free(network);
    neumeta_manifold_free(manifold);
    return status;
}

START_TEST(truncated_files_are_refused)
{
    faults *f = start_training("2", NULL);
    int64_t size = 0;
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    assert_ok(f->context, save(f, _i));
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    for (int64_t cut = 0; cut < size; cut += cut < 64 ? 1 : 61) {
        test_write_file(f->path, bytes, cut);
        assert_status(f->context, load(f, _i), NEUMETA_ERR_FORMAT);
        assert_message_contains(f->context, f->path);
    }
    test_write_file(f->path, bytes, size);
    assert_ok(f->context, load(f, _i));
    free(bytes);
    fault_free(f);
}
END_TEST

START_TEST(flipped_bits_are_refused_or_harmless)
{
    faults *f = start_training("2", NULL);
    int64_t size = 0, refused = 0, passed = 0;
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    assert_ok(f->context, save(f, _i));
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    test_forget_checksums(bytes, size);
    int64_t header = 8;
    for (int i = 0; i < 4; i++)
        header += (int64_t)bytes[i] << (8 * i);
    ck_assert_int_lt(header, size);
    for (int64_t at = 0, turn = 0; at < size; at += at < header ? 3 : 97, turn++) {
        const unsigned char old = bytes[at];
        bytes[at] ^= (unsigned char)(1u << (turn % 8));
        test_write_file(f->path, bytes, size);
        neumeta_status status = load(f, _i);
        ck_assert_msg(status == NEUMETA_OK || status == NEUMETA_ERR_FORMAT ||
                          status == NEUMETA_ERR_VERSION || status == NEUMETA_ERR_STATE,
                      "byte %lld changed gave %d: %s", (long long)at, (int)status,
                      neumeta_context_message(f->context));
        ck_assert(status == NEUMETA_OK || neumeta_context_message(f->context)[0] != '\0');
        if (status == NEUMETA_OK)
            passed++;
        else
            refused++;
        bytes[at] = old;
    }
    ck_assert_int_gt(refused, 20);
    test_write_file(f->path, bytes, size);
    assert_ok(f->context, load(f, _i));
    free(bytes);
    fault_free(f);
    (void)passed;
}
END_TEST

/* --- full disks --- */

static int count_files(const char *folder)
{
    int count = 0;
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *item = readdir(listing); item != NULL; item = readdir(listing))
        count += item->d_name[0] != '.' || strlen(item->d_name) > 2;
    closedir(listing);
    return count;
}

static void limit_files(rlim_t bytes, struct rlimit *before)
{
    struct rlimit tight;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, before), 0);
    tight = *before;
    tight.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
}

static void assert_file_is(const char *path, const unsigned char *bytes, int64_t size)
{
    int64_t present = 0;
    unsigned char *now = test_read_file(path, &present);
    ck_assert_ptr_nonnull(now);
    ck_assert_int_eq(present, size);
    ck_assert_int_eq(memcmp(now, bytes, (size_t)size), 0);
    free(now);
}

START_TEST(a_full_disk_leaves_the_old_file)
{
    faults *f = start_training("2", NULL);
    struct rlimit before;
    int64_t size = 0;
    assert_ok(f->context, save(f, _i));
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    for (int64_t room = 0; room < size; room += size / 5 + 1) {
        limit_files((rlim_t)room, &before);
        neumeta_status status = save(f, _i);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_status(f->context, status, NEUMETA_ERR_IO);
        assert_message_contains(f->context, f->path);
        assert_file_is(f->path, bytes, size);
        ck_assert_int_eq(count_files(f->folder), 1);
    }
    assert_ok(f->context, save(f, _i));
    assert_ok(f->context, load(f, _i));
    free(bytes);
    fault_free(f);
}
END_TEST

START_TEST(training_survives_a_full_disk_and_writes_its_last_checkpoint_later)
{
    char *folder = test_directory(), *path = test_path(folder, "auto");
    faults *f = start_training("1", path);
    struct rlimit before;
    double progress = 0;
    int failures = 0;
    neumeta_status status = NEUMETA_ERR_IO;
    limit_files(100, &before);
    while (status == NEUMETA_ERR_IO && failures < 3) {
        status = neumeta_trainer_run(f->trainer);
        failures += status == NEUMETA_ERR_IO;
    }
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_status(f->context, status, NEUMETA_ERR_IO);
    assert_message_contains(f->context, path);
    ck_assert_int_eq(count_files(folder), 0);
    assert_ok(f->context, neumeta_trainer_run(f->trainer));
    assert_ok(f->context, neumeta_trainer_metric(f->trainer, NEUMETA_METRIC_PROGRESS, &progress));
    ck_assert(progress == 1);
    assert_ok(f->context, neumeta_trainer_restore(f->trainer, path));
    assert_status(f->context, neumeta_trainer_step(f->trainer), NEUMETA_CANCELLED);
    fault_free(f);
    free(path);
    test_directory_remove(folder);
}
END_TEST

START_TEST(paths_that_lead_nowhere_are_told)
{
    faults *f = start_training("1", NULL);
    neumeta_network *network = NULL;
    neumeta_manifold *manifold = NULL;
    const char *nowhere = "/nonexistent/folder/file";
    assert_status(f->context, neumeta_network_save(f->network, nowhere), NEUMETA_ERR_IO);
    assert_message_contains(f->context, nowhere);
    assert_status(f->context, neumeta_manifold_save(f->manifold, nowhere), NEUMETA_ERR_IO);
    assert_status(f->context, neumeta_trainer_save(f->trainer, nowhere), NEUMETA_ERR_IO);
    assert_status(f->context, neumeta_network_load(f->topology, nowhere, NULL, &network),
                  NEUMETA_ERR_IO);
    assert_message_contains(f->context, nowhere);
    assert_status(f->context, neumeta_manifold_load(f->context, f->folder, &manifold),
                  NEUMETA_ERR_IO);
    assert_message_contains(f->context, f->folder);
    assert_status(f->context, neumeta_trainer_restore(f->trainer, nowhere), NEUMETA_ERR_IO);
    ck_assert(network == NULL && manifold == NULL);
    /* What stands in a sentence must not command a terminal: ESC, DEL, and CSI in UTF-8. */
    assert_status(f->context,
                  neumeta_manifold_load(f->context, "no\x1b[31m\x7f\xc2\x9b\xc3\xa9", &manifold),
                  NEUMETA_ERR_IO);
    assert_message_contains(f->context, "no?[31m???\xc3\xa9");
    fault_free(f);
}
END_TEST

/* --- threads --- */

/* A run that waits inside its first progress report until it is let go. */
typedef struct gate {
    faults *f;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool inside, open;
    neumeta_status result;
} gate;

static int32_t wait_at_gate(void *user, neumeta_trainer *trainer)
{
    gate *g = user;
    double steps = 0;
    ck_assert_int_eq(neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &steps), NEUMETA_OK);
    pthread_mutex_lock(&g->mutex);
    g->inside = true;
    pthread_cond_broadcast(&g->changed);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return 0;
}

static void *run_trainer(void *user)
{
    gate *g = user;
    g->result = neumeta_trainer_run(g->f->trainer);
    return NULL;
}

static void start_gate(gate *g, faults *f, pthread_t *thread)
{
    *g = (gate){.f = f, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert_ok(f->context, neumeta_trainer_set_progress(f->trainer, wait_at_gate, g));
    ck_assert_int_eq(pthread_create(thread, NULL, run_trainer, g), 0);
    pthread_mutex_lock(&g->mutex);
    while (!g->inside)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void open_gate(gate *g, pthread_t thread)
{
    pthread_mutex_lock(&g->mutex);
    g->open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    pthread_join(thread, NULL);
}

#define busy(call) ck_assert_msg((call) == NEUMETA_ERR_STATE, #call)

/* Every call that claims the context, while another thread or the callback's own call has it. */
static void everything_is_busy(faults *f)
{
    float output[FAULT_CLASSES];
    int64_t sizes[5] = {0};
    double real;
    int32_t number;
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    neumeta_manifold *manifold = NULL;
    neumeta_dataset *dataset = NULL;
    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    neumeta_options *options = NULL;
    busy(neumeta_context_set_seed(f->context, 1));
    busy(neumeta_context_set_threads(f->context, 2));
    busy(neumeta_context_set_log(f->context, NULL, NULL, 1));
    busy(neumeta_context_set_parallel(f->context, NULL, NULL, 1));
    busy(neumeta_options_create(f->context, &options));
    busy(neumeta_options_parse(f->options, "seed", "1"));
    busy(neumeta_topology_create(f->context, &topology));
    busy(neumeta_topology_create_builtin(f->context, "lenet", NULL, &topology));
    busy(neumeta_topology_add_axis(f->topology, "a", 1, 1, 1, 1, &number));
    busy(neumeta_topology_cost(f->topology, sizes, 5, NULL, NULL));
    busy(neumeta_topology_shapes(f->topology, sizes, 5, NULL, NULL));
    busy(neumeta_network_create(f->topology, NULL, 0, &network));
    busy(neumeta_network_load(f->topology, f->path, NULL, &network));
    busy(neumeta_network_topology(f->network, &topology));
    busy(neumeta_network_sizes(f->network, sizes, 5));
    busy(neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, NULL));
    busy(neumeta_network_smooth(f->network, NULL));
    busy(neumeta_network_roughness(f->network, &real));
    busy(neumeta_network_run(f->network, f->inputs, 1, output, FAULT_CLASSES));
    busy(neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_TEST, &real, &real));
    busy(neumeta_network_share(f->network, f->context, &network));
    busy(neumeta_network_save(f->network, f->path));
    busy(neumeta_network_tensor(f->network, 0, NULL, NULL, NULL, NULL));
    busy(neumeta_dataset_create_memory(f->context, f->inputs, f->targets, 1, 1, NULL, &dataset));
    busy(neumeta_manifold_create(f->topology, NULL, &manifold));
    busy(neumeta_manifold_load(f->context, f->path, &manifold));
    busy(neumeta_manifold_save(f->manifold, f->path));
    busy(neumeta_manifold_write(f->manifold, NULL, NULL));
    busy(neumeta_manifold_parameters(f->manifold, sizes));
    busy(neumeta_manifold_materialize(f->manifold, sizes, 5, NULL, &network));
    busy(neumeta_schedule_create(f->context, &schedule));
    busy(neumeta_schedule_create_recipe(f->topology, "nm", NULL, 0, NULL, &schedule));
    busy(neumeta_schedule_add_phase(f->schedule, "p", 0, -1, NULL));
    busy(neumeta_trainer_create(f->manifold, NULL, f->schedule, f->dataset, NULL, &trainer));
    busy(neumeta_trainer_create_plain(f->network, f->schedule, f->dataset, NULL, &trainer));
    busy(neumeta_trainer_set_progress(f->trainer, NULL, NULL));
    busy(neumeta_trainer_run(f->trainer));
    busy(neumeta_trainer_step(f->trainer));
    busy(neumeta_trainer_save(f->trainer, f->path));
    busy(neumeta_trainer_restore(f->trainer, f->path));
    ck_assert(topology == NULL && network == NULL && manifold == NULL && dataset == NULL &&
              schedule == NULL && trainer == NULL && options == NULL);
}

START_TEST(a_second_thread_is_turned_away_while_training_runs)
{
    faults *f = start_training("2", NULL);
    pthread_t thread;
    gate g;
    start_gate(&g, f, &thread);
    everything_is_busy(f);
    open_gate(&g, thread);
    ck_assert_int_eq(g.result, NEUMETA_OK);
    fault_free(f);
}
END_TEST

START_TEST(another_thread_cancels_and_the_run_goes_on_later)
{
    uint64_t digests[2];
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        faults *f = start_training("4", NULL);
        int64_t sizes[5];
        pthread_t thread;
        gate g;
        start_gate(&g, f, &thread);
        if (cancelled != 0)
            neumeta_trainer_cancel(f->trainer);
        open_gate(&g, thread);
        ck_assert_int_eq(g.result, cancelled != 0 ? NEUMETA_CANCELLED : NEUMETA_OK);
        assert_ok(f->context, neumeta_trainer_run(f->trainer));
        neumeta_network_free(f->network);
        f->network = NULL;
        assert_ok(f->context, neumeta_manifold_sizes_at(f->manifold, 0.5, sizes, 5));
        attempt_new(f, &f->network,
                    neumeta_manifold_materialize(f->manifold, sizes, 5, NULL, &f->network));
        fault_digest_network(f, f->network);
        digests[cancelled] = f->digest;
        fault_free(f);
    }
    ck_assert(digests[0] == digests[1]);
}
END_TEST

START_TEST(handles_are_freed_by_another_thread_while_training_runs)
{
    faults *f = start_training("2", NULL);
    pthread_t thread;
    gate g;
    start_gate(&g, f, &thread);
    neumeta_dataset_free(f->dataset);
    neumeta_context_free(f->context);
    neumeta_network_free(f->network);
    neumeta_topology_free(f->topology);
    neumeta_schedule_free(f->schedule);
    neumeta_options_free(f->options);
    neumeta_manifold_free(f->manifold);
    neumeta_trainer_free(f->trainer);
    f->dataset = NULL;
    f->context = NULL;
    f->network = NULL;
    f->topology = NULL;
    f->schedule = NULL;
    f->options = NULL;
    f->manifold = NULL;
    open_gate(&g, thread);
    ck_assert_int_eq(g.result, NEUMETA_OK);
    f->trainer = NULL;
    fault_free(f);
}
END_TEST

/* --- callbacks --- */

typedef struct intruder {
    faults *f;
    int calls;
} intruder;

static int32_t intrude(void *user, neumeta_trainer *trainer)
{
    intruder *self = user;
    double value = 0;
    for (int32_t metric = NEUMETA_METRIC_PHASE; metric <= NEUMETA_METRIC_FIT; metric++)
        ck_assert_int_eq(neumeta_trainer_metric(trainer, metric, &value), NEUMETA_OK);
    everything_is_busy(self->f);
    if (++self->calls == 2)
        neumeta_trainer_cancel(trainer);
    return self->calls == 3;
}

START_TEST(a_progress_callback_may_read_and_cancel_nothing_else)
{
    faults *f = start_training("4", NULL);
    intruder self = {.f = f};
    assert_ok(f->context, neumeta_trainer_set_progress(f->trainer, intrude, &self));
    assert_status(f->context, neumeta_trainer_run(f->trainer), NEUMETA_CANCELLED);
    ck_assert_int_eq(self.calls, 2);
    assert_status(f->context, neumeta_trainer_run(f->trainer), NEUMETA_CANCELLED);
    ck_assert_int_eq(self.calls, 3);
    assert_ok(f->context, neumeta_trainer_run(f->trainer));
    fault_free(f);
}
END_TEST

static int32_t fetch_and_intrude(void *user, int32_t split, const int64_t *indices, int64_t count,
                                 float *inputs, int64_t *targets)
{
    intruder *self = user;
    (void)split, (void)indices;
    everything_is_busy(self->f);
    memset(inputs, 0, (size_t)(count * FAULT_PIXELS) * sizeof *inputs);
    memset(targets, 0, (size_t)count * sizeof *targets);
    /* Whatever is freed from here must live on until the call ends. */
    neumeta_dataset_free(self->f->dataset);
    self->f->dataset = NULL;
    return self->calls++;
}

START_TEST(a_fetch_callback_may_call_nothing_and_free_what_it_likes)
{
    faults *f = start_training("2", NULL);
    intruder self = {.f = f};
    fault_options(f, FAULT_PAIRS("input-channels", "1", "input-height", "6", "input-width", "6"));
    neumeta_dataset *dataset = f->dataset;
    attempt_new(f, &f->dataset,
                neumeta_dataset_create(f->context, 4, 4, fetch_and_intrude, &self, f->options,
                                       &f->dataset));
    assert_ok(f->context,
              neumeta_network_evaluate(f->network, f->dataset, NEUMETA_SPLIT_TEST, NULL, NULL));
    ck_assert_int_eq(self.calls, 1);
    ck_assert_ptr_null(f->dataset);
    f->dataset = dataset;
    fault_free(f);
}
END_TEST

static int32_t free_trainer(void *user, neumeta_trainer *trainer)
{
    faults *f = user;
    neumeta_trainer_free(f->trainer);
    f->trainer = NULL;
    neumeta_trainer_cancel(trainer);
    return 0;
}

START_TEST(a_trainer_that_is_freed_in_its_callback_ends_its_run_first)
{
    faults *f = start_training("2", NULL);
    assert_ok(f->context, neumeta_trainer_set_progress(f->trainer, free_trainer, f));
    assert_status(f->context, neumeta_trainer_run(f->trainer), NEUMETA_CANCELLED);
    ck_assert_ptr_null(f->trainer);
    fault_free(f);
}
END_TEST

/* --- shared weights --- */

enum { SHARERS = 3, SHARED_RUNS = 20 };

typedef struct sharer {
    test_allocator allocator;
    neumeta_context *context;
    neumeta_network *network;
    const float *inputs;
    float outputs[FAULT_TEST * FAULT_CLASSES];
} sharer;

static void *run_shared(void *user)
{
    sharer *self = user;
    for (int i = 0; i < SHARED_RUNS; i++)
        ck_assert_int_eq(neumeta_network_run(self->network, self->inputs, FAULT_TEST, self->outputs,
                                             FAULT_TEST * FAULT_CLASSES),
                         NEUMETA_OK);
    neumeta_network_free(self->network);
    neumeta_context_free(self->context);
    return NULL;
}

START_TEST(shared_weights_run_in_several_threads_at_once)
{
    faults *f = start(0);
    sharer *sharers = calloc(SHARERS, sizeof *sharers);
    pthread_t threads[SHARERS];
    float expected[FAULT_TEST * FAULT_CLASSES];
    ck_assert_ptr_nonnull(sharers);
    assert_ok(f->context, neumeta_network_run(f->network, f->inputs, FAULT_TEST, expected,
                                              FAULT_TEST * FAULT_CLASSES));
    for (int i = 0; i < SHARERS; i++) {
        sharer *s = &sharers[i];
        s->inputs = f->inputs;
        ck_assert_int_eq(test_context_create(&s->allocator, &s->context), NEUMETA_OK);
        ck_assert_int_eq(neumeta_context_set_threads(s->context, 1 + i % 2), NEUMETA_OK);
        assert_ok(f->context, neumeta_network_share(f->network, s->context, &s->network));
    }
    assert_status(f->context, neumeta_network_smooth(f->network, NULL), NEUMETA_ERR_STATE);
    assert_message_contains(f->context, "share");
    assert_status(f->context, neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, NULL),
                  NEUMETA_ERR_STATE);
    assert_status(sharers[0].context,
                  neumeta_network_replace_norm(sharers[0].network, NEUMETA_NORM_FOLD, NULL),
                  NEUMETA_ERR_STATE);
    for (int i = 0; i < SHARERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_shared, &sharers[i]), 0);
    /* The lender goes first: its weights stay as long as anyone runs on them. */
    neumeta_network_free(f->network);
    f->network = NULL;
    for (int i = 0; i < SHARERS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(memcmp(sharers[i].outputs, expected, sizeof expected), 0);
        ck_assert_int_eq(sharers[i].allocator.blocks, 0);
    }
    free(sharers);
    fault_free(f);
}
END_TEST

START_TEST(weights_that_nobody_shares_any_more_may_change_again)
{
    faults *f = start(0);
    neumeta_context *other = test_context();
    neumeta_network *copy = NULL;
    assert_ok(f->context, neumeta_network_share(f->network, other, &copy));
    assert_status(f->context, neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, NULL),
                  NEUMETA_ERR_STATE);
    neumeta_network_free(copy);
    neumeta_context_free(other);
    assert_ok(f->context, neumeta_network_replace_norm(f->network, NEUMETA_NORM_FOLD, NULL));
    fault_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *cases = tcase_create("faults");
    tcase_add_test(cases, network_files_with_the_wrong_tensors_are_refused_by_name);
    tcase_add_test(cases, the_width_of_a_shortcut_is_found);
    tcase_add_loop_test(cases, a_network_comes_back_at_its_sizes, 0, 4);
    tcase_add_test(cases, name_maps_are_checked);
    tcase_add_loop_test(cases, truncated_files_are_refused, 0, KINDS);
    tcase_add_loop_test(cases, flipped_bits_are_refused_or_harmless, 0, KINDS);
    tcase_add_loop_test(cases, a_full_disk_leaves_the_old_file, 0, KINDS);
    tcase_add_test(cases, training_survives_a_full_disk_and_writes_its_last_checkpoint_later);
    tcase_add_test(cases, paths_that_lead_nowhere_are_told);
    tcase_add_test(cases, a_second_thread_is_turned_away_while_training_runs);
    tcase_add_test(cases, another_thread_cancels_and_the_run_goes_on_later);
    tcase_add_test(cases, handles_are_freed_by_another_thread_while_training_runs);
    tcase_add_test(cases, a_progress_callback_may_read_and_cancel_nothing_else);
    tcase_add_test(cases, a_fetch_callback_may_call_nothing_and_free_what_it_likes);
    tcase_add_test(cases, a_trainer_that_is_freed_in_its_callback_ends_its_run_first);
    tcase_add_test(cases, shared_weights_run_in_several_threads_at_once);
    tcase_add_test(cases, weights_that_nobody_shares_any_more_may_change_again);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
