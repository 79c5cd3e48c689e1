/* SPDX-License-Identifier: MIT */
/* The present model and its predecessors that still have work to do. */
#include "serve_models.h"

#include "example.h"

#include <pthread.h>
#include <stdbool.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards `present` and all users */
static model *present;

model *model_make(neumeta_context *context, neumeta_manifold *manifold, const int64_t *sizes,
                  int32_t axes, int level)
{
    neumeta_network *network = NULL;
    model *made = calloc(1, sizeof *made);
    if (made == NULL)
        exit(EXIT_FAILURE);
    must(context, neumeta_manifold_materialize(manifold, sizes, axes, NULL, &network));
    made->level = level;
    made->users = 1;
    for (int w = 0; w < WORKERS; w++) {
        must(NULL, neumeta_context_create(NULL, NULL, NULL, &made->contexts[w]));
        must(context, neumeta_network_share(network, made->contexts[w], &made->networks[w]));
    }
    neumeta_network_free(network);
    return made;
}

void model_leave(model *used)
{
    pthread_mutex_lock(&lock);
    const bool last = --used->users == 0;
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    for (int w = 0; w < WORKERS; w++) {
        neumeta_network_free(used->networks[w]);
        neumeta_context_free(used->contexts[w]);
    }
    free(used);
}

void model_replace(model *with)
{
    pthread_mutex_lock(&lock);
    model *old = present;
    present = with;
    pthread_mutex_unlock(&lock);
    if (old != NULL)
        model_leave(old);
}

model *model_take(void)
{
    pthread_mutex_lock(&lock);
    model *taken = present;
    taken->users++;
    pthread_mutex_unlock(&lock);
    return taken;
}
