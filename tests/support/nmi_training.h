/* SPDX-License-Identifier: MIT */
/*
 * A small, learnable training problem for tests: images of 1 x 8 x 8 whose class is the quadrant
 * with the brightest patch, a residual network of few channels, and a manifold over its inner
 * widths.
 */
#ifndef NMI_TRAINING_H
#define NMI_TRAINING_H

#include "nmi_test.h"

enum { PROBLEM_ITEMS = 160, PROBLEM_TEST = 40, PROBLEM_PIXELS = 64, PROBLEM_CLASSES = 4 };

typedef struct test_problem {
    neumeta_context *context;
    neumeta_topology *topology; /* of the network as it is now */
    neumeta_network *network;
    neumeta_manifold *manifold; /* NULL until problem_manifold() */
    neumeta_dataset *dataset;
    float *inputs;
    int64_t *targets;
    int64_t fetches, fail_at; /* the fail_at-th fetch fails; 0: none */
} test_problem;

/* Equal seeds make equal problems. `method`: NEUMETA_NORM_*, or 0 to keep batch norm. `held_out`
 * items are kept aside. */
void problem_create(test_problem *problem, int32_t threads, int32_t method, int64_t held_out);
/* A manifold of INRs with so many hidden units over all blocks but "stem" and "classifier". */
void problem_manifold(test_problem *problem, int64_t hidden);
/* A manifold of grids over all blocks, streams among what may vary, with these settings besides. */
void problem_grids(test_problem *problem, const char *const *pairs);
void problem_free(test_problem *problem);

/* Number of the axis of that name. */
int32_t problem_axis(const test_problem *problem, const char *name);
/* Calibrates the manifold, or searches its front, by such pairs. */
neumeta_status problem_calibrate(test_problem *problem, const char *const *pairs,
                                 neumeta_watch_fn watch, void *user, double *error);
neumeta_status problem_search(test_problem *problem, const char *const *pairs,
                              neumeta_watch_fn watch, void *user);

/* Options from name, value, name, value, ..., NULL; to be freed. */
neumeta_options *problem_options(neumeta_context *context, const char *const *pairs);
/* One phase over the blocks from such pairs. */
neumeta_schedule *problem_schedule(test_problem *problem, int32_t first, int32_t last,
                                   const char *const *pairs);
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* All weights of a network, or of the manifold's network at compression gamma, in one array, to be
 * freed. */
float *problem_weights(const neumeta_network *network, int64_t *count);
float *problem_morphed(test_problem *problem, double gamma, int64_t *count);

#endif
