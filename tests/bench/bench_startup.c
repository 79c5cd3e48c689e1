/* SPDX-License-Identifier: MIT */
/*
 * From the start of a process to its first inference of a ResNet-20 that it reads from a
 * safetensors file: time and peak resident memory, on one thread and on all. Each measurement is a
 * process of its own. Usage: bench_startup [repetitions].
 */
#include <neumeta.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 101, INPUTS = 3 * 32 * 32, CLASSES = 10 };

static double clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

static void check(neumeta_context *context, neumeta_status status)
{
    if (status == NEUMETA_OK)
        return;
    fprintf(stderr, "%s\n", context != NULL ? neumeta_context_message(context) : "no context");
    exit(1);
}

static neumeta_context *create_context(int32_t threads)
{
    neumeta_context *context = NULL;
    check(NULL, neumeta_context_create(NULL, NULL, NULL, &context));
    if (threads != 1)
        check(context, neumeta_context_set_threads(context, threads));
    return context;
}

static int write_file(const char *path)
{
    neumeta_context *context = create_context(1);
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    check(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    check(context, neumeta_network_create(topology, NULL, 0, &network));
    check(context, neumeta_network_save(network, path));
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
    return 0;
}

/* Prints the seconds since `begin` at each station, those of processor time, and the peak memory in
 * KiB. */
static int run_file(const char *path, double begin, int32_t threads)
{
    static float inputs[INPUTS];
    float outputs[CLASSES];
    double stations[5];
    struct rusage usage;
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    stations[0] = now() - begin;
    neumeta_context *context = create_context(threads);
    check(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    stations[1] = now() - begin;
    check(context, neumeta_network_load(topology, path, NULL, &network));
    stations[2] = now() - begin;
    check(context, neumeta_network_run(network, inputs, 1, outputs, CLASSES));
    stations[3] = now() - begin;
    stations[4] = clock_seconds(CLOCK_PROCESS_CPUTIME_ID); /* what a loaded machine leaves alone */
    getrusage(RUSAGE_SELF, &usage);
    for (int s = 0; s < 5; s++)
        printf("%.9f ", stations[s]);
    printf("%ld\n", (long)usage.ru_maxrss);
    neumeta_network_free(network);
    neumeta_topology_free(topology);
    neumeta_context_free(context);
    return 0;
}

/* Runs this program again with these arguments and returns what it prints. */
static void run_self(const char *self, const char *mode, const char *path, const char *begin,
                     const char *threads, char *line, int size)
{
    int pipes[2];
    int result;
    if (pipe(pipes) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execl(self, self, mode, path, begin, threads, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    FILE *stream = fdopen(pipes[0], "r");
    if (stream == NULL || fgets(line, size, stream) == NULL)
        line[0] = '\0';
    if (stream != NULL)
        fclose(stream);
    if (child < 0 || waitpid(child, &result, 0) != child || result != 0) {
        fprintf(stderr, "the measured process failed\n");
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *self, const char *path, int repetitions, const char *threads)
{
    static const char *const names[] = {"main", "topology", "loaded", "first output",
                                        "then (processor)"};
    double seconds[5][MOST];
    long memory = 0;
    for (int r = 0; r < repetitions; r++) {
        char begin[64], line[256];
        snprintf(begin, sizeof begin, "%.9f", now());
        run_self(self, "run", path, begin, threads, line, (int)sizeof line);
        char *next = line;
        for (int s = 0; s < 5; s++)
            seconds[s][r] = strtod(next, &next);
        long kilobytes = strtol(next, NULL, 10);
        memory = kilobytes > memory ? kilobytes : memory;
    }
    printf("start to first output, resnet20, threads %s (0: all)  peak %.1f MiB\n", threads,
           (double)memory / 1024.0);
    for (int s = 0; s < 5; s++) {
        qsort(seconds[s], (size_t)repetitions, sizeof seconds[s][0], by_value);
        printf("  until %-16s %7.2f ms (%.2f to %.2f)\n", names[s],
               seconds[s][repetitions / 2] * 1e3, seconds[s][0] * 1e3,
               seconds[s][repetitions - 1] * 1e3);
    }
}

int main(int count, char **arguments)
{
    if (count >= 3 && strcmp(arguments[1], "write") == 0)
        return write_file(arguments[2]);
    if (count == 5 && strcmp(arguments[1], "run") == 0)
        return run_file(arguments[2], atof(arguments[3]), atoi(arguments[4]));
    int repetitions = count > 1 ? atoi(arguments[1]) : 21;
    char directory[] = "/tmp/bench_startup.XXXXXX";
    char path[64], line[256];
    if (repetitions < 1 || repetitions > MOST || mkdtemp(directory) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/network.safetensors", directory);
    /* Another process writes it, so that this one stays small: peaks pass to the children. */
    run_self(arguments[0], "write", path, "", "", line, (int)sizeof line);
    report(arguments[0], path, repetitions, "1");
    report(arguments[0], path, repetitions, "0");
    unlink(path);
    rmdir(directory);
    return 0;
}
