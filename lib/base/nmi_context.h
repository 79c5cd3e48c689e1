/* SPDX-License-Identifier: MIT */
/*
 * The context: where memory, messages, threads and the seed of every handle come from.
 *
 * Every internal function that can fail takes the context, leaves one sentence in it through
 * nmi_fail() and returns the status. A context serves one thread at a time; the exceptions are
 * nmi_context_release(), nmi_free() and the atomics named below.
 */
#ifndef NMI_CONTEXT_H
#define NMI_CONTEXT_H

#include <neumeta.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NMI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define NMI_PRINTF(text, first)
#endif

#ifdef NDEBUG
#define NMI_ASSERT(condition) ((void)0)
#else
#define NMI_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

enum { NMI_MESSAGE_SIZE = 1024, NMI_ALIGNMENT = 64 };

typedef struct neumeta_context nmi_context;
typedef struct nmi_workers nmi_workers;
typedef struct nmi_kernels nmi_kernels; /* of the tensor unit */

struct neumeta_context {
    atomic_int references;
    atomic_flag busy; /* set while a public call runs: see nmi_enter() */
    neumeta_alloc_fn allocate;
    neumeta_release_fn release; /* may be called from any thread */
    void *allocator_user;
    neumeta_log_fn log;
    void *log_user;
    int32_t log_level;
    uint64_t seed;
    nmi_workers *workers;
    const nmi_kernels *kernels; /* what computes; changes only while there are no handles */
    char message[NMI_MESSAGE_SIZE];
};

/* Without kernels: whoever means to compute calls nmi_kernels_choose() next. */
neumeta_status nmi_context_create(neumeta_alloc_fn allocate, neumeta_release_fn release, void *user,
                                  nmi_context **out);
nmi_context *nmi_context_retain(nmi_context *context);
void nmi_context_release(nmi_context *context);

/* Claims the context for one public call; false (and nothing to undo) if another call runs. */
bool nmi_enter(nmi_context *context);
void nmi_leave(nmi_context *context);

/* Replaces the message by one sentence and returns `status`, so that failures read
 * `return nmi_fail(ctx, NEUMETA_ERR_SHAPE, "...", ...)`. */
neumeta_status nmi_fail(nmi_context *context, neumeta_status status, const char *format, ...)
    NMI_PRINTF(3, 4);
#if defined(__clang_analyzer__) /* sees one source at a time, and so not what it returns */
#define nmi_fail(context, status, ...) (nmi_fail(context, status, __VA_ARGS__), (status))
#endif

/* Puts "prefix: " before the present message: the caller knows where, the callee knew what. */
neumeta_status nmi_fail_within(nmi_context *context, neumeta_status status, const char *format, ...)
    NMI_PRINTF(3, 4);

/* Levels are NEUMETA_LOG_*. Silent without a callback. Never call it from a worker. */
void nmi_log(nmi_context *context, int32_t level, const char *format, ...) NMI_PRINTF(3, 4);

/* --- memory: 64-byte aligned, through the context's allocator --------------------------- */

/* Both return NULL after leaving a message; the caller returns NEUMETA_ERR_MEMORY.
 * A size of zero yields a pointer that may be freed. nmi_alloc_zero() clears the bytes. */
void *nmi_alloc(nmi_context *context, size_t bytes);
void *nmi_alloc_zero(nmi_context *context, size_t bytes);

/* count * item bytes with both products checked; negative counts and overflow fail like a
 * failed allocation. The three-factor form serves matrices. */
void *nmi_alloc_array(nmi_context *context, int64_t count, size_t item);
void *nmi_alloc_zero_array(nmi_context *context, int64_t count, size_t item);
void *nmi_alloc_matrix(nmi_context *context, int64_t rows, int64_t columns, size_t item);
void nmi_free(nmi_context *context, void *memory);
char *nmi_text_copy(nmi_context *context, const char *text);

/* a * b and a + b for non-negative values; false on overflow or a negative factor. */
bool nmi_multiply(int64_t a, int64_t b, int64_t *out);
bool nmi_add(int64_t a, int64_t b, int64_t *out);

/* --- objects: every handle starts with one --------------------------------------------- */

typedef struct nmi_object {
    atomic_int references;
    nmi_context *context; /* retained */
} nmi_object;

void nmi_object_init(nmi_object *object, nmi_context *context); /* one reference */
void nmi_object_retain(nmi_object *object);
/* True when the last reference went: the caller frees its parts and its struct with
 * object->context, and calls nmi_context_release() last. */
bool nmi_object_release(nmi_object *object);

/* --- workers ----------------------------------------------------------------------------- */

/* `index` is the task, `worker` in [0, nmi_worker_count()) owns scratch memory exclusively
 * while the task runs. Tasks must not call nmi_run(), nmi_fail() or allocate. */
typedef void (*nmi_task)(void *argument, int64_t index, int32_t worker);

/* Between two looks at what a thread waits for: lets the core's other thread have its units. */
static inline void nmi_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Runs tasks 0..count-1 on the context's workers and returns when all have ended. Which worker
 * runs a task is not fixed: results must depend on the index only, and reductions go over
 * per-index partial results in index order, so that bits do not depend on the thread count. */
void nmi_run(nmi_context *context, int64_t count, nmi_task task, void *argument);
int32_t nmi_worker_count(const nmi_context *context);
/* At most as many lanes as processors; 0: that many. A failure keeps the present workers. */
neumeta_status nmi_workers_set_threads(nmi_context *context, int32_t threads);
/* Exactly `lanes` (1 to 4096), even beyond the processors: what the above calls, and tests. */
neumeta_status nmi_workers_set_lanes(nmi_context *context, int32_t lanes);
neumeta_status nmi_workers_set_parallel(nmi_context *context, neumeta_parallel_fn fn, void *user,
                                        int32_t lanes);
void nmi_workers_free(nmi_context *context);

#endif
