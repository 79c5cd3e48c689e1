/* SPDX-License-Identifier: MIT */
/*
 * From one ResNet-20 to a family: its last residual block comes from a manifold at any width.
 *
 *     morph_resnet20 [resnet20_cifar10.safetensors [manifold.safetensors]]
 *
 * So that it runs anywhere within seconds, the images are noise and their labels are what the
 * network itself says about them: the scores tell how well narrower networks imitate it, no more.
 */
#include "example.h"

#include <inttypes.h>

enum { TRAIN = 96, TEST = 32, IMAGE = 3 * 32 * 32, CLASSES = 10, AXES_MAX = 64 };

/* Noise, and the class that the network sees in it. */
static void make_items(neumeta_context *context, neumeta_network *network, float *images,
                       int64_t *targets)
{
    static float outputs[(TRAIN + TEST) * CLASSES];
    uint32_t seed = 1;
    for (int i = 0; i < (TRAIN + TEST) * IMAGE; i++) {
        seed = seed * 1664525u + 1013904223u;
        images[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
    must(context,
         neumeta_network_run(network, images, TRAIN + TEST, outputs, (TRAIN + TEST) * CLASSES));
    for (int i = 0; i < TRAIN + TEST; i++)
        for (int c = 1; c < CLASSES; c++)
            if (outputs[i * CLASSES + c] > outputs[i * CLASSES + targets[i]])
                targets[i] = c;
}

static void show(neumeta_context *context, neumeta_manifold *manifold, neumeta_dataset *dataset,
                 double gamma)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    int64_t sizes[AXES_MAX], parameters = 0, flops = 0;
    double score = 0;
    must(context, neumeta_manifold_topology(manifold, &topology));
    int32_t axes = neumeta_topology_axis_count(topology);
    must(context, neumeta_manifold_sizes_at(manifold, gamma, sizes, axes));
    must(context, neumeta_topology_cost(topology, sizes, axes, &parameters, &flops));
    must(context, neumeta_manifold_materialize(manifold, sizes, axes, NULL, &network));
    must(context, neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TEST, NULL, &score));
    printf("gamma %.2f  %6" PRId64 " parameters  %8" PRId64 " multiply-adds  agrees on %3.0f %%\n",
           gamma, parameters, flops / 2, 100 * score);
    neumeta_network_free(network);
    neumeta_topology_free(topology);
}

int main(int argc, char **argv)
{
    neumeta_context *context = NULL;
    static float images[(TRAIN + TEST) * IMAGE];
    static int64_t targets[TRAIN + TEST];
    neumeta_topology *topology = NULL, *folded = NULL;
    neumeta_network *network = NULL;
    must(context, neumeta_context_create(NULL, NULL, NULL, &context));
    must(context, neumeta_context_set_threads(context, 0));
    must(context, neumeta_topology_create_builtin(context, "resnet20-cifar", NULL, &topology));
    if (argc > 1)
        must(context, neumeta_network_load(topology, argv[1], NULL, &network));
    else
        must(context, neumeta_network_create(topology, NULL, 0, &network));

    double before = 0, after = 0;
    neumeta_options *smooth = settings(context, SETTINGS("smooth-time-limit", "0.1"));
    must(context, neumeta_network_replace_norm(network, NEUMETA_NORM_FOLD, NULL));
    must(context, neumeta_network_roughness(network, &before));
    must(context, neumeta_network_smooth(network, smooth));
    must(context, neumeta_network_roughness(network, &after));
    printf("smoothing: total variation %.0f, was %.0f\n", after, before);
    make_items(context, network, images, targets);

    /* Block -1 is the classifier, block -2 the last residual block. */
    neumeta_dataset *dataset = NULL;
    neumeta_manifold *manifold = NULL;
    neumeta_options *inr = settings(context, SETTINGS("morph-blocks", "-2", "inr-hidden", "48",
                                                      "inr-layers", "3", "inr-octaves", "8"));
    must(context,
         neumeta_dataset_create_memory(context, images, targets, TRAIN, TEST, NULL, &dataset));
    must(context,
         neumeta_network_topology(network, &folded)); /* the norms are gone from this one */
    must(context, neumeta_manifold_create(folded, inr, &manifold));

    neumeta_schedule *schedule = NULL;
    neumeta_trainer *trainer = NULL;
    neumeta_options *few =
        settings(context, SETTINGS("epochs", "2", "batch", "16", "rate", "constant", "ema", "0",
                                   "inr-init", "fitted", "fit-steps", "150", "fit-rate", "3e-3"));
    must(context,
         neumeta_schedule_create_recipe(folded, "nm", (const int64_t[]){-2}, 1, few, &schedule));
    must(context, neumeta_trainer_create(manifold, network, schedule, dataset, NULL, &trainer));
    must(context, neumeta_trainer_run(trainer));
    for (int i = 0; i < 3; i++)
        show(context, manifold, dataset, 0.25 * i);
    if (argc > 2)
        must(context, neumeta_manifold_save(manifold, argv[2]));

    neumeta_trainer_free(trainer);
    neumeta_schedule_free(schedule);
    neumeta_manifold_free(manifold);
    neumeta_dataset_free(dataset);
    neumeta_network_free(network);
    neumeta_topology_free(folded);
    neumeta_topology_free(topology);
    neumeta_options_free(few);
    neumeta_options_free(inr);
    neumeta_options_free(smooth);
    neumeta_context_free(context);
    return after <= before ? EXIT_SUCCESS : EXIT_FAILURE;
}
