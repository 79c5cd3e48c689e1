/* SPDX-License-Identifier: MIT */
/*
 * Stages of tasks within one job of the workers: a stage begins when all tasks of the one before
 * have ended, and costs no hand-over of its own. No worker has to come: each takes what tasks of
 * the present stage are left, one that comes late joins at the stage that runs then, and the caller
 * alone would do them all. So neither a busy neighbour nor a host's pool that runs its lanes one
 * after the other can hold a job up for longer than the tasks it has taken.
 *
 * Where others want the processors, too, even that is long: a lane that loses its processor keeps
 * its task for a slice of the system's scheduler, some milliseconds, while the others wait. After a
 * job that went mostly that way one lane stays away for a while. That changes times, not results.
 */
#ifndef NMI_STAGES_H
#define NMI_STAGES_H

#include "nmi_context.h"

enum { NMI_STAGE_TASKS = 64 }; /* most tasks of a stage */

typedef struct nmi_stage {
    int32_t begin, end; /* for the caller's use: what the stage consists of */
    int32_t tasks;      /* 1 to NMI_STAGE_TASKS */
    atomic_int ended;
    atomic_ullong taken; /* bit k: task k */
} nmi_stage;

/* Like nmi_task; which worker runs a task is not fixed. `lane`, below the workers and the largest
 * number of tasks, has no other task at the time. Lanes prefer the same share of the tasks at every
 * stage, so what one wrote is likely to lie in the cache of the one that reads it. */
typedef void (*nmi_stage_task)(void *argument, const nmi_stage *stage, int64_t index, int64_t lane);

/* Until when one lane stays away, and how long that is; kept between calls, 0 at first. */
typedef struct nmi_stage_pause {
    int64_t until, length; /* nanoseconds */
} nmi_stage_pause;

/* Runs all tasks of all stages; `tasks` must be set, the counters are. */
void nmi_run_stages(nmi_context *context, nmi_stage *stages, int32_t count, nmi_stage_task task,
                    void *argument, nmi_stage_pause *pause);

#endif
