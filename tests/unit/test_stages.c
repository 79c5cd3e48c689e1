/* SPDX-License-Identifier: MIT */
/* Stages within one job of the workers: order, completeness, and workers that do not come. */
#include "nmi_stages.h"
#include "nmi_test.h"

#include <time.h>

enum { STAGES = 40, TASKS = NMI_STAGE_TASKS, LANES = 6 };

typedef struct work {
    nmi_stage stages[STAGES];
    int runs[STAGES][TASKS];
    long nap; /* nanoseconds that some tasks take */
    nmi_stage_pause pause;
    atomic_int most_lane; /* that had a task */
    int sums[STAGES];     /* of the runs of the stage before, as a task of this stage saw them */
    atomic_bool busy[LANES];
    atomic_int wrong_lanes; /* too large, or busy with another task */
} work;

/* Plain reads of what the stage before wrote: ThreadSanitizer sees whether they are in order. */
static void run_task(void *argument, const nmi_stage *stage, int64_t index, int64_t lane)
{
    work *self = argument;
    int32_t number = stage->begin;
    int sum = 0;
    if (lane < 0 || lane >= LANES || atomic_exchange(&self->busy[lane], true))
        self->wrong_lanes++;
    for (int most = self->most_lane; most < lane;)
        atomic_compare_exchange_weak(&self->most_lane, &most, (int)lane);
    self->runs[number][index]++;
    for (int64_t k = 0; number > 0 && k < self->stages[number - 1].tasks; k++)
        sum += self->runs[number - 1][k];
    if (index == 0)
        self->sums[number] = sum;
    if (self->nap > 0 && (number + index) % 8 == 0)
        nanosleep(&(struct timespec){.tv_nsec = self->nap}, NULL);
    if (lane >= 0 && lane < LANES)
        atomic_store(&self->busy[lane], false);
}

static void run_and_check(nmi_context *context, work *self)
{
    memset(self->runs, 0, sizeof self->runs);
    self->most_lane = 0;
    nmi_run_stages(context, self->stages, STAGES, run_task, self, &self->pause);
    int wrong = self->wrong_lanes;
    for (int s = 0; s < STAGES; s++) {
        for (int k = 0; k < TASKS; k++)
            wrong += self->runs[s][k] != (k < self->stages[s].tasks ? 1 : 0);
        wrong += self->sums[s] != (s > 0 ? self->stages[s - 1].tasks : 0);
    }
    ck_assert_int_eq(wrong, 0);
}

static void plan(work *self)
{
    for (int s = 0; s < STAGES; s++)
        self->stages[s] = (nmi_stage){.begin = s, .tasks = s % 7 == 3 ? TASKS : 1 + s % 5};
}

START_TEST(stages_run_in_order_and_every_task_once)
{
    static work self;
    nmi_context *context = test_context();
    plan(&self);
    assert_ok(context, nmi_workers_set_lanes(context, 1 + _i));
    for (int round = 0; round < 200; round++)
        run_and_check(context, &self);
    neumeta_context_free(context);
}
END_TEST

START_TEST(workers_sleep_until_a_slow_stage_has_ended)
{
    static work self;
    nmi_context *context = test_context();
    plan(&self);
    self.nap = 2000000; /* beyond any spinning */
    assert_ok(context, nmi_workers_set_lanes(context, 4));
    for (int round = 0; round < 5; round++)
        run_and_check(context, &self);
    neumeta_context_free(context);
}
END_TEST

/* Tasks that nap are like threads that have lost their processor. */
START_TEST(a_lane_stays_away_after_waits)
{
    static work self;
    nmi_context *context = test_context();
    for (int s = 0; s < STAGES; s++)
        self.stages[s] = (nmi_stage){.begin = s, .tasks = 2};
    self.nap = 2000000;
    assert_ok(context, nmi_workers_set_lanes(context, 2));
    for (int round = 0; round < 50 && self.pause.until == 0; round++)
        run_and_check(context, &self); /* until the helper has come early enough to wait */
    ck_assert_int_gt(self.pause.length, 0);
    self.nap = 0;
    self.pause.until = INT64_MAX / 2;
    run_and_check(context, &self);
    ck_assert_int_eq(self.most_lane, 0);
    self.pause.until = 1; /* long ago */
    run_and_check(context, &self);
    neumeta_context_free(context);
}
END_TEST

/* Runs only some of the lanes, the last one first. */
static void run_some(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    const int64_t *most = user;
    for (int64_t i = count < *most ? count : *most; i > 0; i--)
        task(argument, i - 1);
}

START_TEST(a_pool_that_runs_lanes_in_turn_cannot_block)
{
    static work self;
    nmi_context *context = test_context();
    plan(&self);
    for (int64_t most = 0; most <= 4; most++) {
        assert_ok(context, nmi_workers_set_parallel(context, run_some, &most, 4));
        run_and_check(context, &self);
    }
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stages");
    TCase *tests = tcase_create("stages");
    tcase_add_loop_test(tests, stages_run_in_order_and_every_task_once, 0, LANES);
    tcase_add_test(tests, workers_sleep_until_a_slow_stage_has_ended);
    tcase_add_test(tests, a_lane_stays_away_after_waits);
    tcase_add_test(tests, a_pool_that_runs_lanes_in_turn_cannot_block);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
