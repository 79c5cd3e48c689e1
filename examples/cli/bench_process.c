/* SPDX-License-Identifier: MIT */
/* The parts of neumeta bench that measure processes from their start to their end. */
#include "bench_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AXES_MAX = 1024 };

/* As a network is deployed. */
static int open_plain(const bench *b, const char *name, neumeta_topology **topology)
{
    neumeta_options *norm = NULL;
    neumeta_context *context = b->c->context;
    neumeta_status status = neumeta_options_create(context, &norm);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_text(norm, NEUMETA_KEY_NORM, "none");
    if (status == NEUMETA_OK)
        status = neumeta_topology_create_builtin(context, name, norm, topology);
    neumeta_options_free(norm);
    return cli_check(b->c, status, NULL);
}

static int make_file(const bench *b, char *path, size_t size)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/neumeta-bench-XXXXXX", folder != NULL ? folder : "/tmp");
    int file = mkstemp(path);
    if (file < 0)
        return cli_fail(b->c, "%s cannot be made: %s", path, strerror(errno));
    close(file);
    return CLI_OK;
}

/* A manifold of grids, whose weights are random, in a file of its own. */
static int write_manifold(const bench *b, const char *name, char *path, size_t size)
{
    neumeta_topology *topology = NULL;
    neumeta_options *grid = NULL;
    neumeta_manifold *manifold = NULL;
    int code = make_file(b, path, size);
    if (code == CLI_OK)
        code = open_plain(b, name, &topology);
    if (code == CLI_OK) {
        neumeta_status status = neumeta_options_create(b->c->context, &grid);
        if (status == NEUMETA_OK)
            status = neumeta_options_set_text(grid, NEUMETA_KEY_INR_KIND, "grid");
        if (status == NEUMETA_OK)
            status = neumeta_manifold_create(topology, grid, &manifold);
        if (status == NEUMETA_OK)
            status = neumeta_manifold_save(manifold, path);
        code = cli_check(b->c, status, NULL);
    }
    neumeta_manifold_free(manifold);
    neumeta_options_free(grid);
    neumeta_topology_free(topology);
    return code;
}

/* Puts fresh weights into a file of their own; a row (NULL: none) gets what they and a run take. */
static int write_network(const bench *b, const char *name, int64_t batch, char *path, size_t size,
                         json_t *row)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    int64_t bytes = 0;
    int code = make_file(b, path, size);
    if (code == CLI_OK)
        code = open_plain(b, name, &topology);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_create(topology, NULL, 0, &network), NULL);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_memory(network, batch, &bytes), NULL);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_save(network, path), NULL);
    if (code == CLI_OK && row != NULL) {
        json_object_set_new(row, "memory_bytes", json_integer(bytes));
        json_object_set_new(row, "weight_bytes", json_integer(cli_network_bytes(network)));
    }
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    return code;
}

/* What `neumeta bench --once` or `--grow` says about itself. */
static int start_process(const bench *b, const char *option, const char *name, const char *path,
                         int64_t batch, json_t **said)
{
    char threads[16], images[24], output[1024];
    snprintf(threads, sizeof threads, "%d", b->threads);
    snprintf(images, sizeof images, "%lld", (long long)batch);
    const char *argv[] = {b->c->program, "bench", option,      path,    "--topology", name,
                          "--batch",     images,  "--threads", threads, "--json",     NULL};
    int code = cli_run(b->c, NULL, (char *const *)argv, output, sizeof output);
    *said = code == CLI_OK ? json_loads(output, 0, NULL) : NULL;
    return code != CLI_OK || *said != NULL ? code : cli_fail(b->c, "%s said nothing", argv[0]);
}

static int measure_memory(const bench *b, const char *topology, int64_t batch)
{
    char path[4096], name[128];
    json_t *said = NULL;
    snprintf(name, sizeof name, "%s, batch %d", topology, (int)batch);
    json_t *row = bench_add_row(b, "memory", name, topology);
    json_object_set_new(row, "batch", json_integer(batch));
    int code = write_network(b, topology, batch, path, sizeof path, row);
    if (code == CLI_OK)
        code = start_process(b, "--once", topology, path, batch, &said);
    unlink(path);
    if (code == CLI_OK)
        json_object_set(row, "peak_resident_bytes", json_object_get(said, "peak_resident_bytes"));
    json_decref(said);
    return code;
}

int bench_memory(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (size_t i = 0; i < b->batch_count && code == CLI_OK; i++)
            code = measure_memory(b, b->topologies[t], (int64_t)b->batches[i]);
    return code;
}

/* The median of what processes said under a name; none if they did not. */
static void set_median(json_t *row, const char *key, double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, bench_compare);
    if (values[count / 2] > 0)
        json_object_set_new(row, key, json_real(values[count / 2]));
}

/* Whole processes, from their start to their end, on a network's or a manifold's file. */
static int measure_start(const bench *b, const char *topology, bool grown)
{
    double times[BENCH_TIMES], inside[BENCH_TIMES], materialize[BENCH_TIMES], peak = 0;
    char path[4096], name[128];
    snprintf(name, sizeof name, "%s%s, process to first output", topology,
             grown ? ", grown from its grids" : "");
    json_t *row = bench_add_row(b, "start", name, topology);
    int code = grown ? write_manifold(b, topology, path, sizeof path)
                     : write_network(b, topology, 1, path, sizeof path, NULL);
    for (int r = -1; r < b->repetitions && code == CLI_OK; r++) {
        json_t *said = NULL;
        double begin = cli_seconds();
        code = start_process(b, grown ? "--grow" : "--once", topology, path, 1, &said);
        if (r >= 0) {
            times[r] = cli_seconds() - begin;
            inside[r] = json_number_value(json_object_get(said, "library_ms"));
            materialize[r] = json_number_value(json_object_get(said, "materialize_ms"));
            const double bytes = json_number_value(json_object_get(said, "peak_resident_bytes"));
            peak = bytes > peak ? bytes : peak;
        }
        json_decref(said);
    }
    unlink(path);
    if (code == CLI_OK) {
        bench_set_times(row, times, b->repetitions);
        set_median(row, "library_ms", inside, b->repetitions);
        set_median(row, "materialize_ms", materialize, b->repetitions);
        json_object_set_new(row, "peak_resident_bytes", json_integer((json_int_t)peak));
    }
    return code;
}

int bench_start(const bench *b)
{
    int code = CLI_OK;
    for (size_t t = 0; t < b->topology_count; t++)
        for (int grown = 0; grown < 2 && code == CLI_OK; grown++)
            code = measure_start(b, b->topologies[t], grown);
    return code;
}

static int load_plain(const bench *b, const char *path, neumeta_network **network)
{
    neumeta_topology *topology = NULL;
    int code = open_plain(b, b->topologies[0], &topology);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_network_load(topology, path, NULL, network), NULL);
    neumeta_topology_free(topology);
    return code;
}

/* Whether the manifold takes our images and tells our classes. */
static int check_shapes(const bench *b, const char *path, const neumeta_topology *topology)
{
    int64_t in[3], out[3];
    int code = cli_check(b->c, neumeta_topology_shapes(topology, NULL, 0, in, out), NULL);
    if (code == CLI_OK && (in[0] != BENCH_CHANNELS || in[1] != BENCH_SIDE || in[2] != BENCH_SIDE))
        code = cli_fail(b->c, "%s takes images of %lld x %lld x %lld, must be %d x %d x %d", path,
                        (long long)in[0], (long long)in[1], (long long)in[2], BENCH_CHANNELS,
                        BENCH_SIDE, BENCH_SIDE);
    if (code == CLI_OK && out[0] * out[1] * out[2] > BENCH_CLASSES)
        code = cli_fail(b->c, "%s returns %lld x %lld x %lld numbers, must be at most %d", path,
                        (long long)out[0], (long long)out[1], (long long)out[2], BENCH_CLASSES);
    return code;
}

static int grow(const bench *b, const char *path, double *seconds, neumeta_network **network)
{
    int64_t sizes[AXES_MAX];
    neumeta_manifold *manifold = NULL;
    neumeta_topology *topology = NULL;
    int code = cli_check(b->c, neumeta_manifold_load(b->c->context, path, &manifold), NULL);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_manifold_topology(manifold, &topology), NULL);
    if (code == CLI_OK)
        code = check_shapes(b, path, topology);
    const int32_t axes = code == CLI_OK ? neumeta_topology_axis_count(topology) : 0;
    if (axes > AXES_MAX)
        code = cli_fail(b->c, "%s has more than %d axes", path, AXES_MAX);
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_manifold_sizes_at(manifold, 0, sizes, axes), NULL);
    const double begin = cli_seconds();
    if (code == CLI_OK)
        code = cli_check(b->c, neumeta_manifold_materialize(manifold, sizes, axes, NULL, network),
                         NULL);
    *seconds = cli_seconds() - begin;
    neumeta_topology_free(topology);
    neumeta_manifold_free(manifold);
    return code;
}

/* The process that these parts start: loads the file of a network or manifold and runs a batch. */
int bench_process(const bench *b, const char *path, bool grown)
{
    const int64_t batch = (int64_t)b->batches[0];
    double materialize = 0;
    neumeta_network *network = NULL;
    float *inputs = malloc((size_t)(batch * BENCH_ITEM) * sizeof *inputs);
    float *outputs = malloc((size_t)(batch * BENCH_CLASSES) * sizeof *outputs);
    int64_t *targets = malloc((size_t)batch * sizeof *targets);
    bool memory = inputs != NULL && outputs != NULL && targets != NULL;
    int code = memory ? CLI_OK : cli_no_memory(b->c);
    if (code == CLI_OK)
        bench_items(batch, inputs, targets);
    const double begin = cli_seconds();
    if (code == CLI_OK)
        code = grown ? grow(b, path, &materialize, &network) : load_plain(b, path, &network);
    if (code == CLI_OK)
        code = cli_check(
            b->c, neumeta_network_run(network, inputs, batch, outputs, batch * BENCH_CLASSES),
            NULL);
    json_t *row = bench_add_row(b, "once", path, b->topologies[0]);
    json_object_set_new(row, "library_ms", json_real(1e3 * (cli_seconds() - begin)));
    if (grown)
        json_object_set_new(row, "materialize_ms", json_real(1e3 * materialize));
    json_object_set_new(row, "peak_resident_bytes", json_integer(bench_peak_resident()));
    neumeta_network_free(network);
    free(inputs);
    free(outputs);
    free(targets);
    return code;
}
