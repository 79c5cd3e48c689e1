/* SPDX-License-Identifier: MIT */
/*
 * A pool of threads that share one job at a time by drawing task numbers from a counter.
 *
 * Helpers join a job of their own accord, and the caller waits only for those that did: a helper
 * that the system has not scheduled yet costs nothing. All of this goes through one word, `state`:
 * the job's number (upper half), whether it may be joined, whether the caller sleeps until the
 * last helper has left, and how many helpers are inside. Only the caller opens and closes jobs;
 * only while a job is open can a helper enter it, so when the job is closed and nobody is inside
 * the caller alone owns the job's fields.
 */
#include "nmi_context.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define STATE_INSIDE UINT64_C(0xFFFF)
#define STATE_OPEN UINT64_C(0x10000)
#define STATE_WAITED UINT64_C(0x20000)
#define STATE_JOB UINT64_C(0x100000000)

/* Turns of the waiting loops before a thread sleeps; a turn takes 10 to 50 ns. Layers of a small
 * network follow each other within this time. */
enum { SPIN_TURNS = 1000, LANES_MAX = 4096 };

typedef struct helper {
    nmi_workers *pool;
    int32_t number; /* of the worker; the caller is 0 */
    pthread_t thread;
} helper;

struct nmi_workers {
    neumeta_parallel_fn host; /* NULL: our own helpers */
    void *host_user;
    int32_t host_lanes;
    int32_t lanes;   /* our own, the caller included */
    int32_t started; /* helpers that run */
    pid_t process;   /* where they do: a fork has none of them */
    nmi_task task;
    void *argument;
    int64_t count;
    _Alignas(NMI_ALIGNMENT) atomic_llong next; /* task to be drawn */
    _Alignas(NMI_ALIGNMENT) atomic_ullong state;
    atomic_int sleepers;
    atomic_bool quit;
    _Alignas(NMI_ALIGNMENT) pthread_mutex_t lock;
    pthread_cond_t wake; /* a job was opened, or quit */
    pthread_cond_t left; /* the last helper has left a closed job */
    helper helpers[];
};

static void draw_tasks(nmi_workers *pool, int32_t worker)
{
    for (;;) {
        int64_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= pool->count)
            return;
        pool->task(pool->argument, index, worker);
    }
}

/* Whether there is something to do for a helper that has seen job `seen`. */
static bool is_called(nmi_workers *pool, uint64_t seen)
{
    uint64_t state = atomic_load(&pool->state);
    return ((state & STATE_OPEN) != 0 && state / STATE_JOB != seen) || atomic_load(&pool->quit);
}

static void wait_for_job(nmi_workers *pool, uint64_t seen)
{
    for (int turn = 0; turn < SPIN_TURNS; turn++) {
        if (is_called(pool, seen))
            return;
        nmi_relax();
    }
    pthread_mutex_lock(&pool->lock);
    /* Sequentially consistent against open_job(): either it sees a sleeper, or we see its job. */
    atomic_fetch_add(&pool->sleepers, 1);
    while (!is_called(pool, seen))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Enters the open job, if it still is one; returns the number of the job seen. */
static uint64_t try_enter(nmi_workers *pool, bool *entered)
{
    unsigned long long state = atomic_load(&pool->state);
    *entered = false;
    while ((state & STATE_OPEN) != 0 && !*entered)
        *entered = atomic_compare_exchange_weak(&pool->state, &state, state + 1);
    return state / STATE_JOB;
}

static void leave_job(nmi_workers *pool)
{
    uint64_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & STATE_INSIDE) != 1 || (before & STATE_WAITED) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->lock);
}

static void *run_helper(void *argument)
{
    const helper *self = argument;
    nmi_workers *pool = self->pool;
    uint64_t seen = 0;
    for (;;) {
        bool entered;
        wait_for_job(pool, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        seen = try_enter(pool, &entered);
        if (entered) {
            draw_tasks(pool, self->number);
            leave_job(pool);
        }
    }
}

static void open_job(nmi_workers *pool)
{
    uint64_t job = atomic_load(&pool->state) / STATE_JOB + 1;
    atomic_store(&pool->state, job * STATE_JOB + STATE_OPEN);
    if (atomic_load(&pool->sleepers) == 0 || pool->process != getpid())
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void close_job(nmi_workers *pool)
{
    uint64_t state = atomic_fetch_and(&pool->state, ~(unsigned long long)STATE_OPEN);
    for (int turn = 0; (state & STATE_INSIDE) != 0 && turn < SPIN_TURNS; turn++) {
        nmi_relax();
        state = atomic_load(&pool->state);
    }
    if ((state & STATE_INSIDE) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_or(&pool->state, STATE_WAITED);
    while ((atomic_load(&pool->state) & STATE_INSIDE) != 0)
        pthread_cond_wait(&pool->left, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void run_host_lane(void *argument, int64_t lane)
{
    draw_tasks(argument, (int32_t)lane);
}

void nmi_run(nmi_context *context, int64_t count, nmi_task task, void *argument)
{
    nmi_workers *pool = context->workers;
    int32_t lanes = nmi_worker_count(context);
    if (count <= 1 || lanes <= 1) {
        for (int64_t i = 0; i < count; i++)
            task(argument, i, 0);
        return;
    }
    pool->task = task;
    pool->argument = argument;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    if (pool->host != NULL) {
        pool->host(pool->host_user, run_host_lane, pool, count < lanes ? count : lanes);
        /* A host that ran fewer lanes than asked costs speed, never results. */
        draw_tasks(pool, 0);
        return;
    }
    open_job(pool);
    draw_tasks(pool, 0);
    close_job(pool);
}

int32_t nmi_worker_count(const nmi_context *context)
{
    const nmi_workers *pool = context->workers;
    if (pool == NULL)
        return 1;
    return pool->host != NULL ? pool->host_lanes : pool->lanes;
}

static void free_pool(nmi_context *context, nmi_workers *pool)
{
    if (pool == NULL)
        return;
    if (pool->process != getpid()) { /* nobody to wait for, and locks as they were at the fork */
        nmi_free(context, pool);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->quit, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int32_t i = 0; i < pool->started; i++)
        pthread_join(pool->helpers[i].thread, NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    nmi_free(context, pool);
}

static neumeta_status start_helpers(nmi_context *context, nmi_workers *pool)
{
    /* Signals sent to the process are for the host's threads. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* fails for an unknown way only */
    int error = 0;
    while (error == 0 && pool->started < pool->lanes - 1) {
        helper *next = &pool->helpers[pool->started];
        next->pool = pool;
        next->number = pool->started + 1;
        error = pthread_create(&next->thread, NULL, run_helper, next);
        if (error == 0)
            pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return nmi_fail(context, NEUMETA_ERR_MEMORY,
                        "the system refused to start thread %d of %d (error %d)",
                        (int)pool->started + 2, (int)pool->lanes, error);
    return NEUMETA_OK;
}

/* A pool with `lanes` lanes and the host of the present one. */
static neumeta_status create_pool(nmi_context *context, int32_t lanes, nmi_workers **out)
{
    const nmi_workers *present = context->workers;
    size_t size = sizeof(nmi_workers) + (size_t)(lanes - 1) * sizeof(helper);
    nmi_workers *pool = nmi_alloc_zero(context, size);
    if (pool == NULL)
        return NEUMETA_ERR_MEMORY;
    pool->lanes = lanes;
    pool->process = getpid();
    if (present != NULL) {
        pool->host = present->host;
        pool->host_user = present->host_user;
        pool->host_lanes = present->host_lanes;
    }
    atomic_init(&pool->next, 0);
    atomic_init(&pool->state, 0);
    atomic_init(&pool->sleepers, 0);
    atomic_init(&pool->quit, false);
    /* With default attributes none of these can fail on the systems that have them. */
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->left, NULL);
    neumeta_status status = start_helpers(context, pool);
    if (status != NEUMETA_OK) {
        free_pool(context, pool);
        return status;
    }
    *out = pool;
    return NEUMETA_OK;
}

neumeta_status nmi_workers_set_threads(nmi_context *context, int32_t threads)
{
    if (threads < 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "threads is %d, must be 0 (one for each processor) or more", (int)threads);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors < 1)
        processors = 1;
    if (processors > LANES_MAX)
        processors = LANES_MAX;
    return nmi_workers_set_lanes(context, threads == 0 || threads > processors ? (int32_t)processors
                                                                               : threads);
}

neumeta_status nmi_workers_set_lanes(nmi_context *context, int32_t lanes)
{
    nmi_workers *pool = NULL;
    neumeta_status status = create_pool(context, lanes, &pool);
    if (status != NEUMETA_OK)
        return status;
    free_pool(context, context->workers);
    context->workers = pool;
    return NEUMETA_OK;
}

neumeta_status nmi_workers_set_parallel(nmi_context *context, neumeta_parallel_fn fn, void *user,
                                        int32_t lanes)
{
    if (fn != NULL && (lanes < 1 || lanes > LANES_MAX))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "lanes is %d, must lie in [1, %d]",
                        (int)lanes, (int)LANES_MAX);
    if (context->workers == NULL) {
        neumeta_status status = create_pool(context, 1, &context->workers);
        if (status != NEUMETA_OK)
            return status;
    }
    context->workers->host = fn;
    context->workers->host_user = user;
    context->workers->host_lanes = lanes;
    return NEUMETA_OK;
}

void nmi_workers_free(nmi_context *context)
{
    free_pool(context, context->workers);
    context->workers = NULL;
}
