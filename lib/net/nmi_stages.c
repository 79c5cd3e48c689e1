/* SPDX-License-Identifier: MIT */
/* One word of claims and one counter for each stage; see nmi_stages.h. */
#include "nmi_stages.h"

#include <sched.h>

/* Turns of the waiting loop, of 10 to 50 ns, before a thread lets others have its processor: as
 * long as the longest part of a small network's layer. */
enum { SPIN_TURNS = 4000 };

typedef struct stages_job {
    nmi_stage *stages;
    int32_t count;
    int64_t lanes;
    nmi_stage_task task;
    void *argument;
} stages_job;

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool take(nmi_stage *stage, int64_t index)
{
    unsigned long long bit = 1ULL << index;
    if ((atomic_load_explicit(&stage->taken, memory_order_relaxed) & bit) != 0)
        return false;
    return (atomic_fetch_or_explicit(&stage->taken, bit, memory_order_relaxed) & bit) == 0;
}

static void wait_for_end(nmi_stage *stage)
{
    for (int turn = 0; atomic_load_explicit(&stage->ended, memory_order_acquire) < stage->tasks;) {
        if (turn < SPIN_TURNS) {
            turn++;
            relax();
        } else {
            sched_yield();
        }
    }
}

/* Task: one lane's way through the stages. */
static void walk_stages(void *argument, int64_t lane, int32_t worker)
{
    const stages_job *job = argument;
    (void)worker;
    for (int32_t s = 0; s < job->count; s++) {
        nmi_stage *stage = &job->stages[s];
        const int64_t tasks = stage->tasks;
        const int64_t own = tasks * lane / job->lanes;
        for (int64_t k = 0; k < tasks; k++) {
            int64_t index = own + k < tasks ? own + k : own + k - tasks;
            if (!take(stage, index))
                continue;
            job->task(job->argument, stage, index);
            atomic_fetch_add_explicit(&stage->ended, 1, memory_order_release);
        }
        wait_for_end(stage);
    }
}

void nmi_run_stages(nmi_context *context, nmi_stage *stages, int32_t count, nmi_stage_task task,
                    void *argument)
{
    stages_job job = {stages, count, 1, task, argument};
    const int64_t workers = nmi_worker_count(context);
    for (int32_t s = 0; s < count; s++) {
        NMI_ASSERT(stages[s].tasks >= 1 && stages[s].tasks <= NMI_STAGE_TASKS);
        if (job.lanes < stages[s].tasks)
            job.lanes = stages[s].tasks < workers ? stages[s].tasks : workers;
        atomic_store_explicit(&stages[s].ended, 0, memory_order_relaxed);
        atomic_store_explicit(&stages[s].taken, 0, memory_order_relaxed);
    }
    nmi_run(context, job.lanes, walk_stages, &job);
}
