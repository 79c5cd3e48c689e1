/* SPDX-License-Identifier: MIT */
/*
 * A program of the time of version 0.1: written and compiled against the header beside it, which
 * nobody edits any more. It goes the whole way from a topology to a network of another size, and
 * must do so with every later library of the same ABI number.
 */
#include "neumeta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 48, PIXELS = 28 * 28, CLASSES = 10, AXES = 16 };

static neumeta_context *context;
static const char *path;

static void must(neumeta_status status)
{
    if (status == NEUMETA_OK)
        return;
    fprintf(stderr, "%s: %s\n", neumeta_status_name(status), neumeta_context_message(context));
    exit(EXIT_FAILURE);
}

static void require(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "it does not hold that %s\n", what);
    exit(EXIT_FAILURE);
}

static void *allocate(void *user, uint64_t size, uint64_t alignment)
{
    *(int64_t *)user += 1;
    return aligned_alloc((size_t)alignment,
                         (size_t)((size + alignment - 1) / alignment * alignment));
}

static void release(void *user, void *memory)
{
    *(int64_t *)user -= 1;
    free(memory);
}

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    (void)user, (void)split;
    for (int64_t i = 0; i < count; i++) {
        targets[i] = indices[i] % CLASSES;
        for (int64_t p = 0; p < PIXELS; p++)
            inputs[i * PIXELS + p] = (float)((p * (targets[i] + 3)) % 17) / 17.0f;
    }
    return 0;
}

static neumeta_options *options(const char *const *pairs)
{
    neumeta_options *made = NULL;
    must(neumeta_options_create(context, &made));
    for (; pairs[0] != NULL; pairs += 2)
        must(neumeta_options_parse(made, pairs[0], pairs[1]));
    return made;
}
#define OPTIONS(...) options((const char *[]){__VA_ARGS__, NULL})

static neumeta_dataset *make_dataset(void)
{
    neumeta_dataset *dataset = NULL;
    neumeta_options *shape = OPTIONS("input-channels", "1", "input-height", "28", "input-width",
                                     "28", "held-out", "8", "data-mean", "0.5");
    must(neumeta_dataset_create(context, ITEMS, 8, fetch, NULL, shape, &dataset));
    neumeta_options_free(shape);
    return dataset;
}

/* Folded, smoothed, written and read again: what a manifold is trained with. */
static neumeta_network *make_reference(neumeta_topology **topology)
{
    neumeta_network *made = NULL, *read = NULL;
    neumeta_options *shape = OPTIONS("channels", "4");
    must(neumeta_topology_create_builtin(context, "lenet", shape, topology));
    must(neumeta_network_create(*topology, NULL, 0, &made));
    must(neumeta_network_replace_norm(made, NEUMETA_NORM_FOLD, NULL));
    must(neumeta_network_smooth(made, NULL));
    neumeta_topology_free(*topology);
    must(neumeta_network_topology(made, topology));
    must(neumeta_network_save(made, path));
    must(neumeta_network_load(*topology, path, NULL, &read));
    neumeta_network_free(made);
    neumeta_options_free(shape);
    return read;
}

static void train(neumeta_manifold *manifold, neumeta_network *reference, neumeta_dataset *dataset)
{
    double steps = 0;
    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    neumeta_options *phase = OPTIONS("epochs", "0.5", "batch", "10", "loss-reconstruction", "1");
    must(neumeta_options_set_real(phase, NEUMETA_KEY_LEARNING_RATE, 1e-3));
    must(neumeta_options_set_text(phase, NEUMETA_KEY_SIZE_DRAW, "uniform"));
    must(neumeta_schedule_create(context, &schedule));
    must(neumeta_schedule_add_phase(schedule, "all", 0, -1, phase));
    must(neumeta_trainer_create(manifold, reference, schedule, dataset, NULL, &trainer));
    must(neumeta_trainer_step(trainer));
    must(neumeta_trainer_save(trainer, path));
    must(neumeta_trainer_restore(trainer, path));
    must(neumeta_trainer_run(trainer));
    must(neumeta_trainer_metric(trainer, NEUMETA_METRIC_STEP, &steps));
    require(steps == 2, "20 of 40 items in batches of 10 are two steps");
    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    neumeta_options_free(phase);
}

static void use(const neumeta_topology *topology, neumeta_manifold *manifold,
                neumeta_dataset *dataset)
{
    int64_t sizes[AXES], parameters[2], flops;
    double loss = 0, score = -1;
    float input[PIXELS] = {0}, outputs[CLASSES];
    neumeta_network *half = NULL;
    const int32_t axes = neumeta_topology_axis_count(topology);
    require(axes > 0 && axes <= AXES, "lenet has a few axes");
    for (int i = 0; i < 2; i++) {
        must(neumeta_topology_sizes_at(topology, 0.5 * i, sizes, axes));
        must(neumeta_topology_cost(topology, sizes, axes, &parameters[i], &flops));
    }
    require(parameters[1] < parameters[0], "half the width is fewer parameters");
    must(neumeta_manifold_materialize(manifold, sizes, axes, NULL, &half));
    must(neumeta_network_run(half, input, 1, outputs, CLASSES));
    must(neumeta_network_evaluate(half, dataset, NEUMETA_SPLIT_TEST, &loss, &score));
    require(score >= 0 && score <= 1, "an accuracy is a share");
    require(neumeta_network_run(half, input, -1, outputs, CLASSES) == NEUMETA_ERR_ARGUMENT,
            "a negative batch is refused");
    neumeta_network_free(half);
}

int main(int count, char **arguments)
{
    int64_t blocks = 0;
    neumeta_topology *topology = NULL;
    neumeta_manifold *manifold = NULL, *loaded = NULL;
    path = count > 1 ? arguments[1] : "client.safetensors";
    must(neumeta_context_create(allocate, release, &blocks, &context));
    must(neumeta_context_set_threads(context, 2));
    must(neumeta_context_set_seed(context, 5));
    neumeta_dataset *dataset = make_dataset();
    neumeta_network *reference = make_reference(&topology);
    neumeta_options *inrs = OPTIONS("inr-hidden", "8", "inr-layers", "2", "inr-octaves", "2");
    must(neumeta_manifold_create(topology, inrs, &manifold));
    train(manifold, reference, dataset);
    must(neumeta_manifold_save(manifold, path));
    must(neumeta_manifold_load(context, path, &loaded));
    use(topology, loaded, dataset);
    neumeta_manifold_free(manifold);
    neumeta_manifold_free(loaded);
    neumeta_options_free(inrs);
    neumeta_network_free(reference);
    neumeta_topology_free(topology);
    neumeta_dataset_free(dataset);
    neumeta_context_free(context);
    require(blocks == 0, "everything is given back");
    printf("client of header %d.%d with library %s\n", NEUMETA_VERSION_MAJOR, NEUMETA_VERSION_MINOR,
           neumeta_version());
    return remove(path) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
