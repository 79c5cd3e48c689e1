/* SPDX-License-Identifier: MIT */
/*
 * What only time shows: many threads at one manifold and at the weights of one network, and many
 * networks one after the other without growing. Short unless NEUMETA_TEST_SECONDS and
 * NEUMETA_TEST_CYCLES say otherwise.
 */
#include "nmi_training.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 64, SIZES = 6, AXES = 64, BATCH = 3, OUTPUTS = BATCH * PROBLEM_CLASSES };

static int64_t number_of(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL && text[0] != '\0' ? strtoll(text, NULL, 10) : otherwise;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* --- threads ---------------------------------------------------------------------------------- */

typedef struct soak {
    test_problem problem;
    int32_t axes;
    int64_t sizes[SIZES][AXES];
    float expected[SIZES][OUTPUTS]; /* of the networks of the manifold */
    float whole[OUTPUTS];           /* of the network that all share */
    double end;
    atomic_llong runs, turned_away, wrong;
} soak;

typedef struct soaked {
    soak *all;
    neumeta_context *context; /* one thread's own */
    neumeta_network *shared;
    pthread_t thread;
    uint32_t number;
} soaked;

/* Nobody waits for a context: who finds it busy is turned away, and comes again. */
#define INSIST(all, call)                                                                          \
    do {                                                                                           \
        neumeta_status status_;                                                                    \
        while ((status_ = (call)) == NEUMETA_ERR_STATE) {                                          \
            atomic_fetch_add(&(all)->turned_away, 1);                                              \
            sched_yield();                                                                         \
        }                                                                                          \
        if (status_ != NEUMETA_OK)                                                                 \
            atomic_fetch_add(&(all)->wrong, 1);                                                    \
    } while (0)

static void run_and_compare(soak *all, neumeta_network *network, const float *expected)
{
    float outputs[OUTPUTS] = {0};
    const neumeta_status status =
        neumeta_network_run(network, all->problem.inputs, BATCH, outputs, OUTPUTS);
    if (status != NEUMETA_OK || memcmp(outputs, expected, sizeof outputs) != 0)
        atomic_fetch_add(&all->wrong, 1);
    atomic_fetch_add(&all->runs, 1);
}

static void *use(void *user)
{
    soaked *self = user;
    soak *all = self->all;
    uint32_t size = self->number;
    do {
        neumeta_network *made = NULL, *own = NULL;
        size = size * 1664525u + 1013904223u;
        const uint32_t chosen = (size >> 16) % SIZES;
        INSIST(all, neumeta_manifold_materialize(all->problem.manifold, all->sizes[chosen],
                                                 all->axes, NULL, &made));
        INSIST(all, neumeta_network_share(made, self->context, &own));
        neumeta_network_free(made);
        run_and_compare(all, own, all->expected[chosen]);
        neumeta_network_free(own);
        run_and_compare(all, self->shared, all->whole);
    } while (now() < all->end);
    return NULL;
}

static void expect(soak *all)
{
    const test_problem *p = &all->problem;
    all->axes = neumeta_topology_axis_count(p->topology);
    ck_assert_int_le(all->axes, AXES);
    assert_ok(p->context, neumeta_network_run(p->network, p->inputs, BATCH, all->whole, OUTPUTS));
    for (uint32_t s = 0; s < SIZES; s++) {
        neumeta_network *network = NULL;
        assert_ok(p->context, neumeta_topology_sizes_at(p->topology, (double)s / SIZES,
                                                        all->sizes[s], all->axes));
        assert_ok(p->context, neumeta_manifold_materialize(p->manifold, all->sizes[s], all->axes,
                                                           NULL, &network));
        assert_ok(p->context,
                  neumeta_network_run(network, p->inputs, BATCH, all->expected[s], OUTPUTS));
        neumeta_network_free(network);
    }
}

START_TEST(many_threads_use_one_manifold)
{
    static soak all;
    soaked each[THREADS];
    problem_create(&all.problem, 2, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&all.problem, 8);
    expect(&all);
    all.end = now() + (double)number_of("NEUMETA_TEST_SECONDS", 1);
    for (uint32_t i = 0; i < THREADS; i++) {
        each[i] = (soaked){.all = &all, .number = i};
        each[i].context = test_context();
        assert_ok(all.problem.context,
                  neumeta_network_share(all.problem.network, each[i].context, &each[i].shared));
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&each[i].thread, NULL, use, &each[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(each[i].thread, NULL);
        neumeta_network_free(each[i].shared);
        neumeta_context_free(each[i].context);
    }
    printf("soak: %lld runs by %d threads, %lld calls turned away\n", (long long)all.runs, THREADS,
           (long long)all.turned_away);
    ck_assert_int_eq(all.wrong, 0);
    ck_assert_int_ge(all.runs, 2 * THREADS);
    problem_free(&all.problem);
}
END_TEST

/* --- cycles ----------------------------------------------------------------------------------- */

/* Bytes of this process in memory; 0 where nobody tells. */
static int64_t resident(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Any sizes that the manifold has. */
static void draw_sizes(const neumeta_manifold *manifold, const neumeta_topology *topology,
                       uint64_t seed, int64_t *sizes)
{
    float draws[AXES];
    int64_t smallest[AXES];
    const int32_t axes = neumeta_topology_axis_count(topology);
    ck_assert_int_le(axes, AXES);
    test_fill(draws, axes, seed, 0, 1);
    neumeta_manifold_sizes_at(manifold, 0.999, smallest, axes);
    for (int32_t a = 0; a < axes; a++) {
        int64_t max, step;
        neumeta_topology_axis(topology, a, NULL, NULL, NULL, &max, &step);
        const int64_t count = (max - smallest[a]) / step + 1;
        const int64_t place = (int64_t)(draws[a] * (float)count);
        sizes[a] = smallest[a] + step * (place < count ? place : count - 1);
    }
}

static void live(neumeta_manifold *manifold, neumeta_context *context,
                 const neumeta_topology *topology, const float *inputs, const int64_t *sizes)
{
    float outputs[OUTPUTS];
    neumeta_network *network = NULL;
    assert_ok(context, neumeta_manifold_materialize(
                           manifold, sizes, neumeta_topology_axis_count(topology), NULL, &network));
    assert_ok(context, neumeta_network_run(network, inputs, BATCH, outputs, OUTPUTS));
    neumeta_network_free(network);
}

/* From this many on, what a cycle leaves behind would show in the process' memory. */
enum { CYCLES = 300, CYCLES_THAT_SHOW = 10000, SLACK = 1 << 20 };

START_TEST(networks_come_and_go_without_a_trace)
{
    const int64_t cycles = number_of("NEUMETA_TEST_CYCLES", CYCLES);
    test_problem p;
    test_allocator allocator = {0};
    neumeta_context *context = NULL;
    neumeta_manifold *manifold = NULL;
    int64_t sizes[AXES], before = 0;
    problem_create(&p, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&p, 8);
    char *folder = test_directory(), *path = test_path(folder, "manifold");
    assert_ok(p.context, neumeta_manifold_save(p.manifold, path));
    assert_ok(NULL, test_context_create(&allocator, &context));
    assert_ok(context, neumeta_manifold_load(context, path, &manifold));
    neumeta_topology_sizes_at(p.topology, 0, sizes, neumeta_topology_axis_count(p.topology));
    live(manifold, context, p.topology, p.inputs, sizes);
    const long long bytes = allocator.bytes;
    for (int64_t cycle = 0; cycle < cycles; cycle++) {
        draw_sizes(manifold, p.topology, (uint64_t)cycle, sizes);
        live(manifold, context, p.topology, p.inputs, sizes);
        ck_assert_int_eq(allocator.bytes, bytes);
        if (cycle == cycles / 10)
            before = resident();
    }
    const int64_t growth = resident() - before;
    printf("soak: %lld networks, resident memory grew by %lld of %lld bytes\n", (long long)cycles,
           (long long)growth, (long long)before);
    if (cycles >= CYCLES_THAT_SHOW)
        ck_assert_int_le(growth, SLACK);
    neumeta_manifold_free(manifold);
    neumeta_context_free(context);
    ck_assert_int_eq(allocator.bytes, 0);
    free(path);
    test_directory_remove(folder);
    problem_free(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("soak");
    TCase *cases = tcase_create("time");
    tcase_set_timeout(cases, 3600);
    tcase_add_test(cases, many_threads_use_one_manifold);
    tcase_add_test(cases, networks_come_and_go_without_a_trace);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
