/* SPDX-License-Identifier: MIT */
/*
 * Calls under a failing allocator. A scenario makes its public calls through attempt(): each that
 * fails for lack of memory is made again on the same handles, now with memory. Whatever
 * allocation was refused, the scenario must end with the same result, and with nothing left behind.
 *
 * The problem is as small as one can be that still has every kind of part: a residual network with
 * a depth axis on 6 x 6 images.
 */
#ifndef NMI_FAULTS_H
#define NMI_FAULTS_H

#include "nmi_test.h"

enum { FAULT_TRAIN = 12, FAULT_TEST = 5, FAULT_PIXELS = 36, FAULT_CLASSES = 3, FAULT_AXES = 8 };

typedef struct faults {
    test_allocator allocator;
    neumeta_context *context;
    neumeta_options *options;
    neumeta_topology *topology;
    neumeta_network *network;
    neumeta_manifold *manifold;
    neumeta_dataset *dataset;
    neumeta_schedule *schedule;
    neumeta_trainer *trainer;
    uint64_t digest; /* of all results; see fault_digest() */
    float inputs[(FAULT_TRAIN + FAULT_TEST) * FAULT_PIXELS];
    int64_t targets[FAULT_TRAIN + FAULT_TEST];
    char *path; /* of a file in a folder of its own */
    char *folder;
} faults;

typedef struct fault_scenario {
    const char *name;
    void (*prepare)(faults *f); /* before anything is refused; may be NULL */
    void (*run)(faults *f);
    int64_t stride; /* every how-manieth allocation is refused; 0 stands for 1 */
} fault_scenario;

/* Runs the scenario with each allocation refused, once alone and once with all that follow until
 * the call fails, and prints how many. Returns the number of allocations. */
int64_t fault_run(const fault_scenario *scenario);

/* A problem with nothing in it yet, and its end with all that it holds: no memory may stay. */
faults *fault_create(void);
void fault_free(faults *f);

/* What attempt() is made of. */
void fault_failed(faults *f, const void *out, neumeta_status status, const char *call);
/* `call` must succeed, if need be at the second try. */
#define attempt(f, call) attempt_new((f), NULL, call)
/* The same for a call that makes the handle *out, which a failure must leave NULL, without a trace
 * in memory. */
#define attempt_new(f, out, call)                                                                  \
    do {                                                                                           \
        long long blocks_ = (out) != NULL ? (long long)(f)->allocator.blocks : -1;                 \
        neumeta_status status_ = (call);                                                           \
        if (status_ != NEUMETA_OK) {                                                               \
            fault_failed((f), (out) != NULL ? *(void *const *)(const void *)(out) : NULL, status_, \
                         #call);                                                                   \
            ck_assert_msg(blocks_ < 0 || blocks_ == (long long)(f)->allocator.blocks,              \
                          "%s leaves %lld blocks", #call,                                          \
                          (long long)(f)->allocator.blocks - blocks_);                             \
            (f)->allocator.fail_at = 0;                                                            \
            status_ = (call);                                                                      \
        }                                                                                          \
        ck_assert_msg(status_ == NEUMETA_OK, "%s gave %d the second time: %s", #call,              \
                      (int)status_, neumeta_context_message((f)->context));                        \
    } while (0)

/* Adds bytes to the digest of results. */
void fault_digest(faults *f, const void *data, size_t bytes);
void fault_digest_network(faults *f, const neumeta_network *network);

/* Steps of preparation, each needing those before; they go through attempt() as well. */
void fault_context(faults *f);
/* With batch norm; `method` NEUMETA_NORM_* replaces it, 0 keeps it. */
void fault_topology(faults *f);
void fault_network(faults *f, int32_t method);
void fault_manifold(faults *f);
void fault_dataset(faults *f);
/* Options from name, value, ..., NULL in f->options, which it replaces. */
void fault_options(faults *f, const char *const *pairs);
#define FAULT_PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})
/* All of these at once: networks and data, and also a manifold with a schedule of one phase. */
faults *fault_start(int32_t method);
faults *fault_start_manifold(void);
/* A folder and a path in it; removed at the end. */
void fault_folder(faults *f);

/* `call` is refused as a wrong argument, and the message says `text`. */
#define refuse(f, call, text)                                                                      \
    do {                                                                                           \
        assert_status((f)->context, call, NEUMETA_ERR_ARGUMENT);                                   \
        assert_message_contains((f)->context, text);                                               \
    } while (0)

#endif
