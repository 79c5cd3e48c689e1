/* SPDX-License-Identifier: MIT */
/*
 * Helpers of all test programs. They use the public API only, so every test may link
 * tests/support/nmi_test.c, whatever else it links.
 */
#ifndef NMI_TEST_H
#define NMI_TEST_H

#include <neumeta.h>

#include <check.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A context on the C allocator; fails the test if there is none. Like every context of a test that
 * computes, it has the kernels that the variable NEUMETA_TEST_KERNELS names, if that is set. */
neumeta_context *test_context(void);

/* Fails unless `call` returns `expected`; prints both statuses and the message of `context`
 * (which may be NULL). `call` is evaluated once. */
#define assert_status(context, call, expected)                                                     \
    do {                                                                                           \
        const neumeta_context *context_ = (context);                                               \
        neumeta_status status_ = (call);                                                           \
        ck_assert_msg(status_ == (expected), "%s gave %d (%s), not %d; message: '%s'", #call,      \
                      (int)status_, neumeta_status_name(status_), (int)(expected),                 \
                      context_ != NULL ? neumeta_context_message(context_) : "");                  \
    } while (0)
#define assert_ok(context, call) assert_status(context, call, NEUMETA_OK)

/* Fails unless the context's message contains `text`. */
#define assert_message_contains(context, text)                                                     \
    ck_assert_msg(strstr(neumeta_context_message(context), (text)) != NULL,                        \
                  "'%s' is not in the message '%s'", (text), neumeta_context_message(context))

/* An allocator that counts what lives and fails on demand: zero it, set fail_at, then give
 * test_allocate, test_release and its address to neumeta_context_create(). */
typedef struct test_allocator {
    int64_t fail_at;            /* number, from 1, of the allocation that fails; 0: none */
    bool sticky;                /* whether all later ones fail too */
    int64_t calls;              /* allocations asked for so far */
    bool failed;                /* whether one was refused */
    atomic_llong blocks, bytes; /* alive now */
    atomic_llong peak;          /* most bytes that were, since it was set */
} test_allocator;
void *test_allocate(void *allocator, uint64_t size, uint64_t alignment);
void test_release(void *allocator, void *memory);
/* neumeta_context_create() on such an allocator, with the kernels of test_context(). */
neumeta_status test_context_create(test_allocator *allocator, neumeta_context **context);

/*
 * Runs `attempt` with the 1st, 2nd, ... allocation refused, once alone and once with all later
 * ones, until it succeeds without a refusal. `attempt` makes everything itself (from a context on
 * the given allocator), frees everything, and returns the first failing status. Fails the test
 * if a refusal leads to anything but NEUMETA_ERR_MEMORY or success, or if memory stays behind.
 * Returns the number of allocations of the successful run.
 */
int64_t test_every_allocation(neumeta_status (*attempt)(test_allocator *allocator, void *user),
                              void *user);

/* Reproducible numbers, uniform in [low, high): equal seeds give equal values everywhere. */
void test_fill(float *values, int64_t count, uint64_t seed, float low, float high);

/* Fails with the first index where |a - b| > absolute + relative * |b|, or where either is NaN. */
#define assert_near(actual, expected, count, absolute, relative)                                   \
    test_assert_near((actual), (expected), (count), (absolute), (relative), #actual, __FILE__,     \
                     __LINE__)
void test_assert_near(const float *actual, const float *expected, int64_t count, double absolute,
                      double relative, const char *name, const char *file, int line);

/* The largest absolute value, and a comparison up to `share` of that of `expected`, which must not
 * be all zero. */
double test_largest(const float *values, int64_t count);
#define assert_within(actual, expected, count, share)                                              \
    do {                                                                                           \
        ck_assert(test_largest((expected), (count)) > 1e-6);                                       \
        assert_near(actual, expected, count, (share)*test_largest((expected), (count)), 0);        \
    } while (0)

/* Names of all levels of kernels. */
enum { TEST_LEVELS = 6 };
extern const char *const test_levels[TEST_LEVELS];
/* From now on test_context() computes at this level; false if it is not here. May be called outside
 * tests: nothing is asserted. */
bool test_choose_level(const char *level);

/* The larger number: fmax() in a loop is more than gcc 12 can compile for AArch64. */
static inline double test_larger(double a, double b)
{
    return b > a ? b : a;
}

/* The path of a file of the reference folder ($NEUMETA_SHARED, else ../shared beside the source
 * tree, known by -DNMI_SOURCE_ROOT), to be freed; NULL after a visible "SKIP: ..." line on stderr
 * if the file is absent: the test then returns. */
char *test_shared_path(const char *relative);

/* A new empty directory; test_directory_remove() deletes it with the files in it, and frees the
 * name. */
char *test_directory(void);
void test_directory_remove(char *directory);
/* "directory/name", to be freed. */
char *test_path(const char *directory, const char *name);

/* A file's bytes (to be freed; a NUL follows them), or NULL. */
unsigned char *test_read_file(const char *path, int64_t *size);
void test_write_file(const char *path, const void *data, int64_t size);
/* Makes a file of ours in memory one of format 1, which has no checksums, so that whatever a test
 * then damages is found by other checks. */
void test_forget_checksums(void *bytes, int64_t size);

/* Runs a suite the way every test program ends: `return test_main(suite);`. */
int test_main(Suite *suite);

#endif
