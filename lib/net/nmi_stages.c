/* SPDX-License-Identifier: MIT */
/* One word of claims and one counter for each stage; see nmi_stages.h. */
#include "nmi_stages.h"

#include <pthread.h>
#include <time.h>

/* Turns of the waiting loop, of 10 to 50 ns, before a thread sleeps: as long as the longest part of
 * a small network's layer. */
enum { SPIN_TURNS = 4000 };

/* Longest time that a lane stays away: afterwards it tries again whether it is worth its while. */
enum { AWAY_MOST = 100000000 }; /* nanoseconds */

typedef struct stages_job {
    nmi_stage *stages;
    int32_t count;
    int64_t lanes;
    nmi_stage_task task;
    void *argument;
    atomic_llong slept; /* nanoseconds, by all lanes */
    atomic_llong ended; /* when the first lane came to the end */
    atomic_int sleepers;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the last task of a stage has ended */
} stages_job;

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool take(nmi_stage *stage, int64_t index)
{
    unsigned long long bit = 1ULL << index;
    if ((atomic_load_explicit(&stage->taken, memory_order_relaxed) & bit) != 0)
        return false;
    return (atomic_fetch_or_explicit(&stage->taken, bit, memory_order_relaxed) & bit) == 0;
}

static bool has_ended(nmi_stage *stage)
{
    return atomic_load(&stage->ended) == stage->tasks;
}

static void wait_for_end(stages_job *job, nmi_stage *stage)
{
    for (int turn = 0; turn < SPIN_TURNS; turn++) {
        if (has_ended(stage))
            return;
        nmi_relax();
    }
    const int64_t begin = nanoseconds();
    pthread_mutex_lock(&job->lock);
    /* Sequentially consistent against end_task(): either it sees a sleeper, or we see the end. */
    atomic_fetch_add(&job->sleepers, 1);
    while (!has_ended(stage))
        pthread_cond_wait(&job->wake, &job->lock);
    atomic_fetch_sub(&job->sleepers, 1);
    pthread_mutex_unlock(&job->lock);
    atomic_fetch_add(&job->slept, nanoseconds() - begin);
}

static void end_task(stages_job *job, nmi_stage *stage)
{
    if (atomic_fetch_add(&stage->ended, 1) + 1 < stage->tasks || atomic_load(&job->sleepers) == 0)
        return;
    pthread_mutex_lock(&job->lock);
    pthread_cond_broadcast(&job->wake);
    pthread_mutex_unlock(&job->lock);
}

/* Task: one lane's way through the stages. */
static void walk_stages(void *argument, int64_t lane, int32_t worker)
{
    stages_job *job = argument;
    (void)worker;
    for (int32_t s = 0; s < job->count; s++) {
        nmi_stage *stage = &job->stages[s];
        const int64_t tasks = stage->tasks;
        const int64_t own = tasks * lane / job->lanes;
        for (int64_t k = 0; k < tasks; k++) {
            int64_t index = own + k < tasks ? own + k : own + k - tasks;
            if (!take(stage, index))
                continue;
            job->task(job->argument, stage, index, lane);
            end_task(job, stage);
        }
        wait_for_end(job, stage);
    }
    long long none = 0;
    atomic_compare_exchange_strong(&job->ended, &none, nanoseconds());
}

/* If lanes waited for one that had lost its processor for most of the time since `begin`, one fewer
 * would have been faster. It stays away as long as they waited, and twice as long as the last time
 * if that did not help for longer. */
static void judge(stages_job *job, int64_t begin, nmi_stage_pause *pause)
{
    const int64_t end = nanoseconds();
    if (job->lanes < 2)
        return;
    const int64_t waited =
        atomic_load(&job->slept) / (job->lanes - 1) + end - atomic_load(&job->ended);
    if (waited <= (end - begin) / 2)
        return;
    const bool again = begin < pause->until + 4 * pause->length;
    pause->length = again ? 2 * pause->length : waited;
    if (pause->length > AWAY_MOST)
        pause->length = AWAY_MOST;
    pause->until = end + pause->length;
}

void nmi_run_stages(nmi_context *context, nmi_stage *stages, int32_t count, nmi_stage_task task,
                    void *argument, nmi_stage_pause *pause)
{
    const int64_t begin = nanoseconds();
    stages_job job = {
        .stages = stages, .count = count, .lanes = 1, .task = task, .argument = argument};
    const int64_t workers = nmi_worker_count(context);
    for (int32_t s = 0; s < count; s++) {
        NMI_ASSERT(stages[s].tasks >= 1 && stages[s].tasks <= NMI_STAGE_TASKS);
        if (job.lanes < stages[s].tasks)
            job.lanes = stages[s].tasks < workers ? stages[s].tasks : workers;
        atomic_store_explicit(&stages[s].ended, 0, memory_order_relaxed);
        atomic_store_explicit(&stages[s].taken, 0, memory_order_relaxed);
    }
    if (job.lanes > 1 && begin < pause->until)
        job.lanes--;
    atomic_init(&job.slept, 0);
    atomic_init(&job.ended, 0);
    atomic_init(&job.sleepers, 0);
    /* With default attributes none of these can fail on the systems that have them. */
    pthread_mutex_init(&job.lock, NULL);
    pthread_cond_init(&job.wake, NULL);
    nmi_run(context, job.lanes, walk_stages, &job);
    judge(&job, begin, pause);
    pthread_cond_destroy(&job.wake);
    pthread_mutex_destroy(&job.lock);
}
