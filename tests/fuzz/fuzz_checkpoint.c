/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a checkpoint: refused with a sentence and without a trace, or a trainer that goes on
 * with what it was given. The corpus belongs to the training below; `fuzz_checkpoint` writes it
 * when NMI_FUZZ_WRITE names a file.
 */
#include "nmi_fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS = 8, PIXELS = 4, CLASSES = 2 };

typedef struct training {
    neumeta_context *context;
    neumeta_topology *topology;
    neumeta_manifold *manifold;
    neumeta_dataset *dataset;
    neumeta_schedule *schedule;
    neumeta_trainer *trainer;
    float inputs[ITEMS * PIXELS];
    int64_t targets[ITEMS];
} training;

static neumeta_options *parse(neumeta_context *context, const char *const *pairs)
{
    neumeta_options *options;
    require(neumeta_options_create(context, &options) == NEUMETA_OK);
    for (; pairs[0] != NULL; pairs += 2)
        require(neumeta_options_parse(options, pairs[0], pairs[1]) == NEUMETA_OK);
    return options;
}
#define PARSE(context, ...) parse((context), (const char *const[]){__VA_ARGS__, NULL})

/* One convolution of two to four channels that morphs, and a classifier that does not. */
static void make_topology(training *t)
{
    int32_t width, classes, input, conv, pool, linear;
    neumeta_options *shape =
        PARSE(t->context, "input-channels", "1", "input-height", "2", "input-width", "2");
    neumeta_options *point = PARSE(t->context, "kernel", "1");
    neumeta_status ok = NEUMETA_OK;
    ok |= neumeta_topology_create(t->context, &t->topology);
    ok |= neumeta_topology_add_axis(t->topology, "w", NEUMETA_AXIS_WIDTH, 2, 4, 1, &width);
    ok |= neumeta_topology_add_axis(t->topology, "o", NEUMETA_AXIS_WIDTH, 2, 2, 1, &classes);
    ok |= neumeta_topology_begin_block(t->topology, "b");
    ok |= neumeta_topology_add_node(t->topology, "x", NEUMETA_OP_INPUT, NULL, 0, -1, shape, &input);
    ok |= neumeta_topology_add_node(t->topology, "c", NEUMETA_OP_CONV, &input, 1, width, point,
                                    &conv);
    ok |= neumeta_topology_add_node(t->topology, "p", NEUMETA_OP_POOL_GLOBAL, &conv, 1, -1, NULL,
                                    &pool);
    ok |= neumeta_topology_add_node(t->topology, "l", NEUMETA_OP_LINEAR, &pool, 1, classes, NULL,
                                    &linear);
    ok |= neumeta_topology_seal(t->topology, linear);
    require(ok == NEUMETA_OK);
    neumeta_options_free(point);
    neumeta_options_free(shape);
}

static void make_training(training *t, neumeta_context *context)
{
    memset(t, 0, sizeof *t);
    t->context = context;
    for (int i = 0; i < ITEMS; i++)
        t->targets[i] = i % CLASSES;
    for (int i = 0; i < ITEMS * PIXELS; i++)
        t->inputs[i] = (float)(i * 7 % 11) / 11.0f;
    make_topology(t);
    neumeta_options *inr =
        PARSE(t->context, "inr-hidden", "2", "inr-layers", "2", "inr-octaves", "0");
    neumeta_options *data = PARSE(t->context, "input-channels", "1", "input-height", "2",
                                  "input-width", "2", "held-out", "4");
    neumeta_options *phase = PARSE(t->context, "epochs", "4", "batch", "2", "ema", "0.5",
                                   "validate-epochs", "1", "continue-from", "best");
    neumeta_status ok = NEUMETA_OK;
    ok |= neumeta_manifold_create(t->topology, inr, &t->manifold);
    ok |= neumeta_dataset_create_memory(t->context, t->inputs, t->targets, ITEMS, 0, data,
                                        &t->dataset);
    ok |= neumeta_schedule_create(t->context, &t->schedule);
    ok |= neumeta_schedule_add_phase(t->schedule, "a", 0, -1, phase);
    ok |= neumeta_schedule_add_phase(t->schedule, "z", 0, -1, NULL);
    require(ok == NEUMETA_OK);
    require(neumeta_trainer_create(t->manifold, NULL, t->schedule, t->dataset, NULL, &t->trainer) ==
            NEUMETA_OK);
    neumeta_options_free(phase);
    neumeta_options_free(data);
    neumeta_options_free(inr);
}

static void end_training(training *t)
{
    neumeta_trainer_free(t->trainer);
    neumeta_schedule_free(t->schedule);
    neumeta_dataset_free(t->dataset);
    neumeta_manifold_free(t->manifold);
    neumeta_topology_free(t->topology);
}

/* Two steps of the trainer, whatever came in, unless the numbers are none. */
static void go_on(const training *t, bool restored)
{
    for (int step = 0; step < 2; step++) {
        const neumeta_status made = neumeta_trainer_step(t->trainer);
        fuzz_check(t->context, made);
        require(made == NEUMETA_OK || fuzz_starved(made) ||
                (restored && (made == NEUMETA_CANCELLED || made == NEUMETA_ERR_NUMERIC)));
    }
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    training t;
    const char *corpus = getenv("NMI_FUZZ_WRITE");
    make_training(&t, context);
    if (corpus != NULL) {
        for (int step = 0; step < 3; step++)
            require(neumeta_trainer_step(t.trainer) == NEUMETA_OK);
        require(neumeta_trainer_save(t.trainer, corpus) == NEUMETA_OK);
    }
    uint8_t *file = fuzz_sign(context, data, size);
    const char *path = fuzz_file(file, size);
    free(file);
    fuzz_begin();
    const neumeta_status status = neumeta_trainer_restore(t.trainer, path);
    fuzz_check(context, status);
    go_on(&t, status == NEUMETA_OK);
    end_training(&t);
}
