/* SPDX-License-Identifier: MIT */
/*
 * Classifications under a deadline: when requests pile up, a controller puts smaller networks of
 * one manifold in the place of the present one, and larger ones again when it is quiet. No request
 * waits for that or is lost.
 *
 *     serve_budget [manifold.safetensors]      without one: an untrained one
 */
#include "example.h"
#include "serve_models.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

enum { QUIET = 120, RUSH = 800, REQUESTS = 2 * QUIET + RUSH };
enum { LEVELS = 4, AXES_MAX = 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static pthread_cond_t arrival = PTHREAD_COND_INITIALIZER;
static int arrived, taken;
static struct request {
    double arrived, answered; /* milliseconds */
    int level;
} requests[REQUESTS];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

/* What a worker needs: its number, an image of zeros, and room for what a network returns. */
typedef struct worker {
    int number;
    float *image, *scores;
    int64_t capacity;
} worker;

static void *work(void *argument)
{
    const worker *own = argument;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (taken == arrived && arrived < REQUESTS)
            pthread_cond_wait(&arrival, &lock);
        struct request *request = taken < REQUESTS ? &requests[taken++] : NULL;
        pthread_mutex_unlock(&lock);
        if (request == NULL)
            return NULL;
        model *used = model_take();
        must(used->contexts[own->number],
             neumeta_network_run(used->networks[own->number], own->image, 1, own->scores,
                                 own->capacity));
        request->level = used->level;
        request->answered = now();
        model_leave(used);
    }
}

/* A quiet beginning, a rush that grows beyond any network's pace, and a quiet end; `latency` is
 * that of the largest network. */
static double interval_after(int request, double latency)
{
    const int rush = request - QUIET;
    return rush < 0 || rush >= RUSH ? 4 * latency : latency * (RUSH - rush) / (2 * RUSH);
}

/* Lets requests arrive that are due, and tells how long the oldest one has been waiting; -1: all
 * are taken, and no more will come. */
static double look(double latency)
{
    static double due;
    pthread_mutex_lock(&lock);
    due = due > 0 ? due : now();
    while (arrived < REQUESTS && now() >= due) {
        due += interval_after(arrived, latency);
        requests[arrived++].arrived = now();
    }
    const double wait = taken < arrived ? now() - requests[taken].arrived : 0;
    const bool over = taken == REQUESTS;
    pthread_cond_broadcast(&arrival);
    pthread_mutex_unlock(&lock);
    return over ? -1 : wait;
}

/* What the controller chooses from. */
typedef struct ladder {
    int64_t sizes[LEVELS][AXES_MAX], multiply_adds[LEVELS];
    int32_t axes;
    int count;
    double latency; /* of the first one, milliseconds */
} ladder;

/* The best network, and the best ones with shares of its multiply-adds, as far as there are any. */
static void make_ladder(neumeta_context *context, neumeta_manifold *manifold, ladder *l)
{
    static const double shares[LEVELS] = {1, 0.6, 0.35, 0.2};
    neumeta_topology *topology = NULL;
    must(context, neumeta_manifold_topology(manifold, &topology));
    l->axes = neumeta_topology_axis_count(topology);
    if (l->axes > AXES_MAX) {
        fprintf(stderr, "the manifold has %d axes, must have at most %d\n", (int)l->axes, AXES_MAX);
        exit(EXIT_FAILURE);
    }
    for (l->count = 0; l->count < LEVELS; l->count++) {
        int64_t *sizes = l->sizes[l->count], flops = 0;
        double latency = 0;
        char most[32];
        snprintf(most, sizeof most, "%.0f", shares[l->count] * (double)l->multiply_adds[0]);
        neumeta_options *budget =
            settings(context, l->count == 0 ? SETTINGS("max-latency-us", "1e9")
                                            : SETTINGS("max-multiply-adds", most));
        neumeta_status status =
            neumeta_manifold_fit_budget(manifold, budget, sizes, l->axes, NULL, &latency);
        neumeta_options_free(budget);
        if (status == NEUMETA_ERR_INFEASIBLE)
            break;
        must(context, status);
        must(context, neumeta_topology_cost(topology, sizes, l->axes, NULL, &flops));
        l->multiply_adds[l->count] = flops / 2;
        l->latency = l->count == 0 ? latency / 1e3 : l->latency;
    }
    neumeta_topology_free(topology);
}

/* Smaller when a request has waited for half of the deadline, larger when none has for all of it.
 * Returns how often the size changed. */
static int control(neumeta_context *context, neumeta_manifold *manifold, const ladder *l,
                   double deadline)
{
    const double start = now();
    double changed = start, waited = start, wait;
    int level = 0, changes = 0;
    while ((wait = look(l->latency)) >= 0) {
        const double time = now();
        int wanted = level;
        waited = wait > l->latency ? time : waited;
        if (wait > deadline / 2 && time > changed + deadline / 2 && level + 1 < l->count)
            wanted = level + 1;
        if (time > waited + deadline && time > changed + deadline && level > 0)
            wanted = level - 1;
        if (wanted != level) {
            level = wanted;
            model_replace(model_make(context, manifold, l->sizes[level], l->axes, level));
            changed = now();
            changes++;
            printf("%7.1f ms: one waits for %5.1f ms; %9lld multiply-adds, made in %.2f ms\n",
                   time - start, wait, (long long)l->multiply_adds[level], changed - time);
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return changes;
}

static int count_answers(const ladder *l, double deadline)
{
    int answered = 0;
    for (int level = 0; level < l->count; level++) {
        int count = 0, late = 0;
        for (int i = 0; i < REQUESTS; i++)
            if (requests[i].answered > 0 && requests[i].level == level) {
                count++;
                late += requests[i].answered - requests[i].arrived > deadline;
            }
        printf("%9lld multiply-adds: %4d requests, %4d late\n", (long long)l->multiply_adds[level],
               count, late);
        answered += count;
    }
    return answered;
}

/* An untrained manifold of a small ResNet: its answers are noise, its times are not. */
static void make_manifold(neumeta_context *context, neumeta_manifold **manifold)
{
    neumeta_topology *topology = NULL;
    neumeta_options *plain = settings(context, SETTINGS("norm", "none"));
    neumeta_options *grid = settings(context, SETTINGS("inr-kind", "grid"));
    must(context, neumeta_topology_create_builtin(context, "resnet20-cifar", plain, &topology));
    must(context, neumeta_manifold_create(topology, grid, manifold));
    neumeta_topology_free(topology);
    neumeta_options_free(plain);
    neumeta_options_free(grid);
}

static void make_worker(neumeta_context *context, const neumeta_manifold *manifold, int number,
                        worker *own)
{
    neumeta_topology *topology = NULL;
    int64_t in[3], out[3];
    must(context, neumeta_manifold_topology(manifold, &topology));
    must(context, neumeta_topology_shapes(topology, NULL, 0, in, out));
    neumeta_topology_free(topology);
    own->number = number;
    own->capacity = out[0] * out[1] * out[2];
    own->image = calloc((size_t)(in[0] * in[1] * in[2]), sizeof *own->image);
    own->scores = calloc((size_t)own->capacity, sizeof *own->scores);
    if (own->image == NULL || own->scores == NULL)
        exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    static ladder l;
    static worker workers[WORKERS];
    neumeta_context *context = NULL;
    neumeta_manifold *manifold = NULL;
    pthread_t threads[WORKERS];
    must(NULL, neumeta_context_create(NULL, NULL, NULL, &context));
    if (argc > 1)
        must(context, neumeta_manifold_load(context, argv[1], &manifold));
    else
        make_manifold(context, &manifold);
    make_ladder(context, manifold, &l);
    const double deadline = 20 * l.latency;
    printf("%.2f ms an image, deadline %.1f ms\n", l.latency, deadline);
    model_replace(model_make(context, manifold, l.sizes[0], l.axes, 0));
    for (int w = 0; w < WORKERS; w++) {
        make_worker(context, manifold, w, &workers[w]);
        if (pthread_create(&threads[w], NULL, work, &workers[w]) != 0)
            return EXIT_FAILURE;
    }
    const int changes = control(context, manifold, &l, deadline);
    for (int w = 0; w < WORKERS; w++) {
        pthread_join(threads[w], NULL);
        free(workers[w].image);
        free(workers[w].scores);
    }
    model_replace(NULL);
    const int answered = count_answers(&l, deadline);
    printf("%d of %d requests answered, %d changes of size\n", answered, REQUESTS, changes);
    neumeta_manifold_free(manifold);
    neumeta_context_free(context);
    return answered == REQUESTS && changes > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
