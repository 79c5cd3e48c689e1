/* SPDX-License-Identifier: MIT */
/*
 * A network that can be replaced while threads use it: whoever takes the present one keeps it until
 * it is done, and the last one to leave a replaced network frees it.
 */
#ifndef SERVE_MODELS_H
#define SERVE_MODELS_H

#include <neumeta.h>

enum { WORKERS = 2 };

/* A copy of the network for each worker, with a context of its own; the weights are shared. */
typedef struct model {
    neumeta_context *contexts[WORKERS];
    neumeta_network *networks[WORKERS];
    int level; /* what its maker calls it */
    int users; /* requests that it answers now, and one while it is the present model */
} model;

/* The manifold's network at these sizes. Workers go on meanwhile: it is made beside theirs. */
model *model_make(neumeta_context *context, neumeta_manifold *manifold, const int64_t *sizes,
                  int32_t axes, int level);
/* Makes it the present model, or none for NULL. */
void model_replace(model *with);
/* The present model, for one request, and the end of that request. */
model *model_take(void);
void model_leave(model *used);

#endif
