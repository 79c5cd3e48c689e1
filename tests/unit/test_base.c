/* SPDX-License-Identifier: MIT */
/* Memory, messages, references, random numbers and workers of the base unit. */
#include "nmi_context.h"
#include "nmi_random.h"
#include "nmi_test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static nmi_context *make(test_allocator *allocator)
{
    nmi_context *context = NULL;
    ck_assert_int_eq(nmi_context_create(test_allocate, test_release, allocator, &context), 0);
    return context;
}

static void drop(nmi_context *context, const test_allocator *allocator)
{
    nmi_context_release(context);
    ck_assert_int_eq(allocator->blocks, 0);
    ck_assert_int_eq(allocator->bytes, 0);
}

START_TEST(products_and_sums_that_overflow_are_refused)
{
    int64_t value = 0;
    ck_assert(nmi_multiply(3, 7, &value) && value == 21);
    ck_assert(nmi_multiply(INT64_MAX, 1, &value) && value == INT64_MAX);
    ck_assert(nmi_multiply(INT64_MAX, 0, &value) && value == 0);
    ck_assert(nmi_multiply(0, INT64_MAX, &value) && value == 0);
    ck_assert(!nmi_multiply(INT64_MAX / 2 + 1, 2, &value));
    ck_assert(!nmi_multiply(-1, 2, &value) && !nmi_multiply(2, -1, &value));
    ck_assert(nmi_add(INT64_MAX - 1, 1, &value) && value == INT64_MAX);
    ck_assert(!nmi_add(INT64_MAX, 1, &value) && !nmi_add(-1, 1, &value) && !nmi_add(1, -1, &value));
}
END_TEST

START_TEST(memory_is_aligned_and_given_back)
{
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    for (size_t size = 0; size < 300; size += 7) {
        char *memory = nmi_alloc_zero(context, size);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % NMI_ALIGNMENT, 0);
        for (size_t i = 0; i < size; i++)
            ck_assert_int_eq(memory[i], 0);
        nmi_free(context, memory);
    }
    int64_t *items = nmi_alloc_zero_array(context, 5, sizeof *items);
    ck_assert(items[0] == 0 && items[4] == 0);
    nmi_free(context, items);
    nmi_free(context, NULL);
    char *copy = nmi_text_copy(context, "widths and depths");
    ck_assert_str_eq(copy, "widths and depths");
    nmi_free(context, copy);
    drop(context, &allocator);
}
END_TEST

START_TEST(the_default_allocator_aligns)
{
    nmi_context *context = test_context();
    for (size_t size = 1; size < 1000; size = size * 3 + 1) {
        char *memory = nmi_alloc(context, size);
        ck_assert_uint_eq((uintptr_t)memory % NMI_ALIGNMENT, 0);
        memset(memory, 1, size);
        nmi_free(context, memory);
    }
    nmi_context_release(context);
}
END_TEST

START_TEST(a_failed_allocation_says_how_much_was_wanted)
{
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    allocator.fail_at = allocator.calls + 1;
    ck_assert_ptr_null(nmi_alloc(context, 12345));
    ck_assert_str_eq(context->message, "out of memory: 12345 bytes were wanted");
    allocator.fail_at = allocator.calls + 1;
    ck_assert_ptr_null(nmi_alloc_matrix(context, 3, 5, 4));
    assert_message_contains(context, "60 bytes");
    ck_assert_ptr_null(nmi_alloc_array(context, -1, 4));
    assert_message_contains(context, "-1 items of 4 bytes");
    ck_assert_ptr_null(nmi_alloc_zero_array(context, INT64_MAX / 2, 4));
    assert_message_contains(context, "out of memory");
    ck_assert_ptr_null(nmi_alloc_matrix(context, INT64_C(1) << 40, INT64_C(1) << 40, 1));
    assert_message_contains(context, "1099511627776 x 1099511627776");
    ck_assert_ptr_null(nmi_alloc(context, SIZE_MAX));
    assert_message_contains(context, "out of memory");
    drop(context, &allocator);
}
END_TEST

START_TEST(a_context_needs_both_functions_or_none)
{
    nmi_context *context = (nmi_context *)&context;
    ck_assert_int_eq(nmi_context_create(test_allocate, NULL, NULL, &context), NEUMETA_ERR_ARGUMENT);
    ck_assert_ptr_null(context);
    test_allocator allocator = {.fail_at = 1};
    ck_assert_int_eq(nmi_context_create(test_allocate, test_release, &allocator, &context),
                     NEUMETA_ERR_MEMORY);
    ck_assert_ptr_null(context);
}
END_TEST

START_TEST(messages_are_prefixed_from_within_outwards)
{
    nmi_context *context = test_context();
    ck_assert_int_eq(nmi_fail(context, NEUMETA_ERR_SHAPE, "width is %d, must be %d", 3, 4),
                     NEUMETA_ERR_SHAPE);
    ck_assert_int_eq(nmi_fail_within(context, NEUMETA_ERR_FORMAT, "node '%s'", "conv1"),
                     NEUMETA_ERR_FORMAT);
    nmi_fail_within(context, NEUMETA_ERR_FORMAT, "file %d", 7);
    ck_assert_str_eq(context->message, "file 7: node 'conv1': width is 3, must be 4");
    nmi_context_release(context);
}
END_TEST

START_TEST(long_messages_are_cut_and_long_prefixes_dropped)
{
    nmi_context *context = test_context();
    nmi_fail(context, NEUMETA_ERR_IO, "%02000d", 1);
    ck_assert_uint_eq(strlen(context->message), NMI_MESSAGE_SIZE - 1);
    nmi_fail_within(context, NEUMETA_ERR_IO, "%s", "path");
    ck_assert_uint_eq(strlen(context->message), NMI_MESSAGE_SIZE - 1);
    ck_assert(strncmp(context->message, "path: 000", 9) == 0);
    nmi_fail(context, NEUMETA_ERR_IO, "short");
    nmi_fail_within(context, NEUMETA_ERR_IO, "%0600d", 1);
    ck_assert_str_eq(context->message, "short");
    nmi_context_release(context);
}
END_TEST

static void count_lines(void *user, int32_t level, const char *message)
{
    int *lines = user;
    lines[level]++;
    ck_assert_str_eq(message, "line 4");
}

/* Wide characters that no locale has. */
START_TEST(a_sentence_that_cannot_be_printed_is_empty)
{
    static const wchar_t none[] = {0x7fffffff, 0};
    int lines[5] = {0};
    nmi_context *context = test_context();
    nmi_fail(context, NEUMETA_ERR_IO, "text");
    ck_assert_int_eq(nmi_fail_within(context, NEUMETA_ERR_IO, "%ls", none), NEUMETA_ERR_IO);
    ck_assert_str_eq(context->message, "text");
    nmi_fail_within(context, NEUMETA_ERR_IO, "%s", "");
    ck_assert_str_eq(context->message, "text");
    ck_assert_int_eq(nmi_fail(context, NEUMETA_ERR_IO, "%ls", none), NEUMETA_ERR_IO);
    ck_assert_str_eq(context->message, "");
    context->log = count_lines;
    context->log_user = lines;
    context->log_level = NEUMETA_LOG_DEBUG;
    nmi_log(context, NEUMETA_LOG_ERROR, "%ls", none);
    ck_assert_int_eq(lines[NEUMETA_LOG_ERROR], 0);
    nmi_context_release(context);
}
END_TEST

START_TEST(the_log_gets_lines_up_to_its_level)
{
    int lines[5] = {0};
    nmi_context *context = test_context();
    nmi_log(context, NEUMETA_LOG_ERROR, "line %d", 4);
    context->log = count_lines;
    context->log_user = lines;
    context->log_level = NEUMETA_LOG_WARNING;
    for (int32_t level = NEUMETA_LOG_ERROR; level <= NEUMETA_LOG_DEBUG; level++)
        nmi_log(context, level, "line %d", 4);
    ck_assert(lines[1] == 1 && lines[2] == 1 && lines[3] == 0 && lines[4] == 0);
    nmi_context_release(context);
}
END_TEST

START_TEST(a_context_lives_as_long_as_its_last_object)
{
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    nmi_object object;
    nmi_object_init(&object, context);
    nmi_context_release(context);
    ck_assert_int_eq(allocator.blocks, 1);
    nmi_object_retain(&object);
    ck_assert(!nmi_object_release(&object));
    ck_assert(nmi_object_release(&object));
    drop(object.context, &allocator);
}
END_TEST

typedef struct shared_object {
    nmi_object object;
    int64_t written[4];
} shared_object;

typedef struct releaser {
    shared_object *shared;
    int place;
} releaser;

static void *write_and_release(void *argument)
{
    releaser *self = argument;
    self->shared->written[self->place] = 1;
    if (nmi_object_release(&self->shared->object)) {
        nmi_context *context = self->shared->object.context;
        for (int i = 0; i < 4; i++)
            self->shared->written[i]++;
        nmi_free(context, self->shared);
        nmi_context_release(context);
    }
    return NULL;
}

START_TEST(the_last_of_several_threads_frees)
{
    for (int round = 0; round < 50; round++) {
        test_allocator allocator = {0};
        nmi_context *context = make(&allocator);
        shared_object *shared = nmi_alloc_zero(context, sizeof *shared);
        nmi_object_init(&shared->object, context);
        nmi_context_release(context);
        pthread_t threads[4];
        releaser releasers[4];
        for (int i = 0; i < 3; i++)
            nmi_object_retain(&shared->object);
        for (int i = 0; i < 4; i++) {
            releasers[i] = (releaser){shared, i};
            ck_assert(pthread_create(&threads[i], NULL, write_and_release, &releasers[i]) == 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        ck_assert_int_eq(allocator.blocks, 0);
    }
}
END_TEST

typedef struct claim {
    nmi_context *context;
    atomic_int *refused;
    int64_t *plain;
} claim;

static void *claim_often(void *argument)
{
    claim *self = argument;
    for (int done = 0; done < 500;) {
        if (!nmi_enter(self->context)) {
            atomic_fetch_add(self->refused, 1);
            continue;
        }
        /* Not atomic: the thread sanitizer would see two owners. */
        ++*self->plain;
        done++;
        nmi_leave(self->context);
    }
    return NULL;
}

START_TEST(only_one_thread_claims_a_context)
{
    nmi_context *context = test_context();
    ck_assert(nmi_enter(context) && !nmi_enter(context));
    nmi_leave(context);
    atomic_int refused = 0;
    int64_t plain = 0;
    pthread_t threads[3];
    claim argument = {context, &refused, &plain};
    for (int i = 0; i < 3; i++)
        ck_assert(pthread_create(&threads[i], NULL, claim_often, &argument) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(plain, 1500);
    nmi_context_release(context);
}
END_TEST

/* The first outputs of the published generator for the seeds 1234567 and 0. */
START_TEST(random_numbers_are_those_of_splitmix64)
{
    nmi_random random = nmi_random_start(1234567);
    ck_assert_uint_eq(nmi_random_next(&random), UINT64_C(6457827717110365317));
    ck_assert_uint_eq(nmi_random_next(&random), UINT64_C(3203168211198807973));
    ck_assert_uint_eq(nmi_random_next(&random), UINT64_C(9817491932198370423));
    ck_assert_uint_eq(nmi_random_at(0, 0), UINT64_C(0xE220A8397B1DCDAF));
    ck_assert_uint_eq(random.position, 3);
    ck_assert_uint_eq(nmi_random_at(1234567, 2), UINT64_C(9817491932198370423));
}
END_TEST

START_TEST(keys_differ_in_every_part)
{
    uint64_t keys[4] = {nmi_random_key(1, 2, 3), nmi_random_key(2, 2, 3), nmi_random_key(1, 3, 3),
                        nmi_random_key(1, 2, 2)};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(keys[i], keys[j]);
    ck_assert_uint_eq(keys[0], nmi_random_key(1, 2, 3));
    ck_assert_uint_ne(nmi_random_key(1, 2, 0), nmi_random_key(2, 1, 0));
}
END_TEST

/* Tolerances are five standard errors of 100000 draws. */
START_TEST(distributions_have_their_moments)
{
    enum { DRAWS = 100000 };
    nmi_random random = nmi_random_start(nmi_random_key(0, NMI_RANDOM_WEIGHTS, 0));
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t position = random.position;
        double value = nmi_random_uniform(&random);
        ck_assert(value >= 0 && value < 1);
        ck_assert_double_eq(value, nmi_random_uniform_at(random.key, position));
        sum += value;
        squares += value * value;
    }
    ck_assert_double_eq_tol(sum / DRAWS, 0.5, 5 * 0.2887 / sqrt(DRAWS));
    ck_assert_double_eq_tol(squares / DRAWS, 1.0 / 3, 5 * 0.2981 / sqrt(DRAWS));
    sum = squares = 0;
    for (int i = 0; i < DRAWS; i++) {
        double value = nmi_random_normal(&random);
        ck_assert(isfinite(value));
        sum += value;
        squares += value * value;
    }
    ck_assert_double_eq_tol(sum / DRAWS, 0, 5 / sqrt(DRAWS));
    ck_assert_double_eq_tol(squares / DRAWS, 1, 5 * 1.4142 / sqrt(DRAWS));
    ck_assert_uint_eq(random.position, 3 * (uint64_t)DRAWS);
}
END_TEST

START_TEST(bounded_numbers_cover_their_range)
{
    nmi_random random = nmi_random_start(9);
    int64_t counts[7] = {0};
    for (int i = 0; i < 70000; i++)
        counts[nmi_random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++)
        ck_assert(counts[i] > 9500 && counts[i] < 10500); /* 5.4 standard deviations */
    ck_assert_int_eq(nmi_random_below(&random, 1), 0);
    for (int i = 0; i < 100; i++) {
        int64_t value = nmi_random_below(&random, INT64_MAX);
        ck_assert(value >= 0 && value < INT64_MAX);
    }
    /* Fits three times into 2^64, so a quarter of the draws is refused. */
    const int64_t bound = (INT64_C(1) << 62) + 1;
    const uint64_t before = random.position;
    for (int i = 0; i < 300; i++)
        ck_assert_int_lt(nmi_random_below(&random, bound), bound);
    const uint64_t draws = random.position - before;
    ck_assert(draws > 340 && draws < 460); /* 400, and 5.2 standard deviations */
}
END_TEST

START_TEST(a_shuffle_reaches_every_order)
{
    nmi_random random = nmi_random_start(4);
    int64_t orders[6] = {0};
    for (int i = 0; i < 6000; i++) {
        int64_t items[3] = {0, 1, 2};
        nmi_random_shuffle(&random, items, 3);
        ck_assert_int_eq((1 << items[0]) | (1 << items[1]) | (1 << items[2]), 7);
        orders[items[0] * 2 + (items[1] > items[2])]++;
    }
    for (int i = 0; i < 6; i++)
        ck_assert(orders[i] > 850 && orders[i] < 1150); /* 5.2 standard deviations */
    nmi_random_shuffle(&random, NULL, 0);
}
END_TEST

enum { TASKS_MAX = 1000 };

typedef struct job {
    int32_t lanes;
    int32_t runs[TASKS_MAX]; /* how often each task ran */
    double results[TASKS_MAX];
    int64_t scratch[64]; /* one for each worker: not atomic on purpose */
    int64_t nap;         /* nanoseconds that every third task sleeps */
    atomic_bool bad_worker;
} job;

static void nap(int64_t nanoseconds)
{
    struct timespec pause = {0, (long)nanoseconds};
    nanosleep(&pause, NULL);
}

static void run_task(void *argument, int64_t index, int32_t worker)
{
    job *self = argument;
    if (worker < 0 || worker >= self->lanes) {
        atomic_store(&self->bad_worker, true);
        return;
    }
    self->scratch[worker]++;
    self->runs[index]++;
    double sum = 0;
    for (int i = 1; i < 20; i++)
        sum += 1.0 / (double)(index + i);
    self->results[index] = sum;
    if (self->nap > 0 && index % 3 == 1)
        nap(self->nap);
}

static void run_and_check(nmi_context *context, job *self, int64_t count)
{
    memset(self->runs, 0, sizeof self->runs);
    memset(self->scratch, 0, sizeof self->scratch);
    self->lanes = nmi_worker_count(context);
    nmi_run(context, count, run_task, self);
    int64_t total = 0;
    for (int i = 0; i < 64; i++)
        total += self->scratch[i];
    ck_assert_int_eq(total, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_int_eq(self->runs[i], 1);
    ck_assert(!atomic_load(&self->bad_worker));
}

START_TEST(every_task_runs_once_on_any_number_of_lanes)
{
    static job self;
    for (int32_t lanes = 1; lanes <= 9; lanes++) {
        test_allocator allocator = {0};
        nmi_context *context = make(&allocator);
        ck_assert_int_eq(nmi_worker_count(context), 1);
        assert_ok(context, nmi_workers_set_lanes(context, lanes));
        ck_assert_int_eq(nmi_worker_count(context), lanes);
        for (int64_t count = 0; count < 40; count++)
            run_and_check(context, &self, count);
        run_and_check(context, &self, TASKS_MAX);
        drop(context, &allocator);
    }
}
END_TEST

START_TEST(results_have_equal_bits_on_any_number_of_lanes)
{
    static job first;
    static job other;
    nmi_context *context = test_context();
    run_and_check(context, &first, TASKS_MAX);
    for (int32_t lanes = 2; lanes <= 5; lanes++) {
        assert_ok(context, nmi_workers_set_lanes(context, lanes));
        run_and_check(context, &other, TASKS_MAX);
        ck_assert_mem_eq(first.results, other.results, sizeof first.results);
    }
    nmi_context_release(context);
}
END_TEST

START_TEST(many_short_jobs_follow_each_other)
{
    static job self;
    nmi_context *context = test_context();
    assert_ok(context, nmi_workers_set_lanes(context, 4));
    for (int round = 0; round < 5000; round++)
        run_and_check(context, &self, round % 9);
    nmi_context_release(context);
}
END_TEST

START_TEST(helpers_that_fell_asleep_are_woken)
{
    static job self;
    nmi_context *context = test_context();
    int64_t by_helpers = 0;
    self.nap = 500000;
    assert_ok(context, nmi_workers_set_lanes(context, 3));
    for (int round = 0; round < 40; round++) {
        nap(3000000);
        run_and_check(context, &self, 12);
        by_helpers += 12 - self.scratch[0];
    }
    ck_assert_int_gt(by_helpers, 0);
    nmi_context_release(context);
}
END_TEST

START_TEST(the_caller_sleeps_until_slow_tasks_have_ended)
{
    static job self;
    nmi_context *context = test_context();
    self.nap = 3000000;
    assert_ok(context, nmi_workers_set_lanes(context, 4));
    for (int round = 0; round < 20; round++)
        run_and_check(context, &self, 4 + round % 3);
    nmi_context_release(context);
}
END_TEST

START_TEST(helpers_do_join_long_jobs)
{
    static job self;
    nmi_context *context = test_context();
    self.nap = 2000000;
    assert_ok(context, nmi_workers_set_lanes(context, 3));
    run_and_check(context, &self, 60);
    ck_assert(self.scratch[0] < 60);
    nmi_context_release(context);
}
END_TEST

/* A child has none of the helpers: it works alone, and does not wait for them at the end. */
START_TEST(a_forked_child_works_alone_and_ends)
{
    static job self;
    nmi_context *context = test_context();
    self.nap = 0;
    assert_ok(context, nmi_workers_set_lanes(context, 3));
    run_and_check(context, &self, 12);
    nap(20000000); /* until the helpers sleep */
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        for (int round = 0; round < 3; round++)
            run_and_check(context, &self, 12);
        nmi_context_release(context);
        _exit(0);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    run_and_check(context, &self, 12);
    nmi_context_release(context);
}
END_TEST

START_TEST(threads_are_capped_at_the_processors)
{
    nmi_context *context = test_context();
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    assert_ok(context, nmi_workers_set_threads(context, 1));
    ck_assert_int_eq(nmi_worker_count(context), 1);
    assert_ok(context, nmi_workers_set_threads(context, INT32_MAX));
    ck_assert_int_eq(nmi_worker_count(context), processors);
    assert_ok(context, nmi_workers_set_threads(context, 0));
    ck_assert_int_eq(nmi_worker_count(context), processors);
    assert_status(context, nmi_workers_set_threads(context, -1), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "threads is -1, must be 0");
    ck_assert_int_eq(nmi_worker_count(context), processors);
    nmi_context_release(context);
}
END_TEST

START_TEST(refused_memory_keeps_the_old_workers)
{
    static job self;
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    assert_ok(context, nmi_workers_set_lanes(context, 2));
    allocator.fail_at = allocator.calls + 1;
    assert_status(context, nmi_workers_set_lanes(context, 3), NEUMETA_ERR_MEMORY);
    assert_message_contains(context, "out of memory");
    ck_assert_int_eq(nmi_worker_count(context), 2);
    run_and_check(context, &self, 100);
    drop(context, &allocator);
}
END_TEST

/* Without address space for stacks the system refuses threads. */
START_TEST(refused_threads_keep_the_old_workers)
{
#ifdef SANITIZED
    fprintf(stderr, "SKIP: sanitizers need the address space that this test takes away\n");
#else
    static job self;
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    assert_ok(context, nmi_workers_set_lanes(context, 2));
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    struct rlimit low = {.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &low), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &low), 0);
    neumeta_status status = nmi_workers_set_lanes(context, 40);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    if (low.rlim_cur == 1 << 20) {
        ck_assert_int_eq(status, NEUMETA_ERR_MEMORY);
        assert_message_contains(context, "refused to start thread");
        ck_assert_int_eq(nmi_worker_count(context), 2);
    } else {
        fprintf(stderr, "SKIP: this system, or its emulation, does not limit address spaces\n");
    }
    run_and_check(context, &self, 100);
    drop(context, &allocator);
#endif
}
END_TEST

typedef struct host {
    int64_t most; /* lanes it is willing to run; 0: all */
    int64_t calls;
    int64_t lanes; /* asked for last */
} host;

typedef struct host_lane {
    neumeta_task_fn task;
    void *argument;
    int64_t index;
} host_lane;

static void *run_host_thread(void *argument)
{
    host_lane *lane = argument;
    lane->task(lane->argument, lane->index);
    return NULL;
}

static void run_on_host(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    host *self = user;
    pthread_t threads[64];
    host_lane lanes[64];
    self->calls++;
    self->lanes = count;
    if (self->most > 0 && count > self->most)
        count = self->most;
    for (int64_t i = 0; i < count; i++) {
        lanes[i] = (host_lane){task, argument, i};
        ck_assert(pthread_create(&threads[i], NULL, run_host_thread, &lanes[i]) == 0);
    }
    for (int64_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

START_TEST(the_host_may_lend_its_threads)
{
    static job self;
    static job plain;
    test_allocator allocator = {0};
    nmi_context *context = make(&allocator);
    run_and_check(context, &plain, TASKS_MAX);
    host pool = {0};
    assert_ok(context, nmi_workers_set_parallel(context, run_on_host, &pool, 6));
    ck_assert_int_eq(nmi_worker_count(context), 6);
    run_and_check(context, &self, TASKS_MAX);
    ck_assert_mem_eq(self.results, plain.results, sizeof self.results);
    ck_assert(pool.calls == 1 && pool.lanes == 6);
    run_and_check(context, &self, 3);
    ck_assert(pool.calls == 2 && pool.lanes == 3);
    run_and_check(context, &self, 1);
    ck_assert_int_eq(pool.calls, 2);
    pool.most = 1;
    run_and_check(context, &self, 100);
    drop(context, &allocator);
    context = make(&allocator);
    allocator.fail_at = allocator.calls + 1;
    assert_status(context, nmi_workers_set_parallel(context, run_on_host, &pool, 6),
                  NEUMETA_ERR_MEMORY);
    assert_message_contains(context, "out of memory");
    ck_assert_int_eq(nmi_worker_count(context), 1);
    drop(context, &allocator);
}
END_TEST

static void run_nothing(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    (void)user, (void)task, (void)argument, (void)count;
}

START_TEST(host_and_own_threads_replace_each_other)
{
    static job self;
    nmi_context *context = test_context();
    host pool = {0};
    assert_ok(context, nmi_workers_set_lanes(context, 3));
    assert_ok(context, nmi_workers_set_parallel(context, run_on_host, &pool, 2));
    ck_assert_int_eq(nmi_worker_count(context), 2);
    assert_ok(context, nmi_workers_set_lanes(context, 4));
    ck_assert_int_eq(nmi_worker_count(context), 2);
    run_and_check(context, &self, 10);
    ck_assert_int_eq(pool.calls, 1);
    assert_ok(context, nmi_workers_set_parallel(context, NULL, NULL, 0));
    ck_assert_int_eq(nmi_worker_count(context), 4);
    run_and_check(context, &self, 10);
    ck_assert_int_eq(pool.calls, 1);
    assert_ok(context, nmi_workers_set_parallel(context, run_nothing, NULL, 5));
    run_and_check(context, &self, 10);
    assert_status(context, nmi_workers_set_parallel(context, run_on_host, &pool, 4097),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "lanes is 4097, must lie in [1, 4096]");
    assert_status(context, nmi_workers_set_parallel(context, run_on_host, &pool, 0),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "lanes is 0, must lie in [1, 4096]");
    ck_assert_int_eq(nmi_worker_count(context), 5);
    nmi_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *memory = tcase_create("memory and messages");
    tcase_add_test(memory, products_and_sums_that_overflow_are_refused);
    tcase_add_test(memory, memory_is_aligned_and_given_back);
    tcase_add_test(memory, the_default_allocator_aligns);
    tcase_add_test(memory, a_failed_allocation_says_how_much_was_wanted);
    tcase_add_test(memory, a_context_needs_both_functions_or_none);
    tcase_add_test(memory, messages_are_prefixed_from_within_outwards);
    tcase_add_test(memory, long_messages_are_cut_and_long_prefixes_dropped);
    tcase_add_test(memory, a_sentence_that_cannot_be_printed_is_empty);
    tcase_add_test(memory, the_log_gets_lines_up_to_its_level);
    tcase_add_test(memory, a_context_lives_as_long_as_its_last_object);
    tcase_add_test(memory, the_last_of_several_threads_frees);
    tcase_add_test(memory, only_one_thread_claims_a_context);
    suite_add_tcase(suite, memory);
    TCase *random = tcase_create("random");
    tcase_add_test(random, random_numbers_are_those_of_splitmix64);
    tcase_add_test(random, keys_differ_in_every_part);
    tcase_add_test(random, distributions_have_their_moments);
    tcase_add_test(random, bounded_numbers_cover_their_range);
    tcase_add_test(random, a_shuffle_reaches_every_order);
    suite_add_tcase(suite, random);
    TCase *workers = tcase_create("workers");
    tcase_add_test(workers, every_task_runs_once_on_any_number_of_lanes);
    tcase_add_test(workers, results_have_equal_bits_on_any_number_of_lanes);
    tcase_add_test(workers, many_short_jobs_follow_each_other);
    tcase_add_test(workers, helpers_that_fell_asleep_are_woken);
    tcase_add_test(workers, the_caller_sleeps_until_slow_tasks_have_ended);
    tcase_add_test(workers, helpers_do_join_long_jobs);
    tcase_add_test(workers, a_forked_child_works_alone_and_ends);
    tcase_add_test(workers, threads_are_capped_at_the_processors);
    tcase_add_test(workers, refused_memory_keeps_the_old_workers);
    tcase_add_test(workers, refused_threads_keep_the_old_workers);
    tcase_add_test(workers, the_host_may_lend_its_threads);
    tcase_add_test(workers, host_and_own_threads_replace_each_other);
    suite_add_tcase(suite, workers);
    return test_main(suite);
}
