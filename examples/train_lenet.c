/* SPDX-License-Identifier: MIT */
/*
 * Plain training of one network: LeNet on images in IDX files (MNIST, Fashion-MNIST), unpacked.
 *
 *     train_lenet TRAIN-IMAGES TRAIN-LABELS TEST-IMAGES TEST-LABELS [lenet.safetensors]
 *     train_lenet                           a small set made up here, for a look within a second
 */
#include "example.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10 };

typedef struct images {
    int64_t count;
    unsigned char *pixels; /* [count, 28, 28] */
    unsigned char *labels; /* [count] */
} images;

/* The items of an IDX file, behind a header of big-endian numbers. */
static unsigned char *read_idx(const char *path, size_t header, size_t item, int64_t *count)
{
    unsigned char head[16], *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fread(head, header, 1, file) == 1) {
        *count = (int64_t)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
        bytes = malloc((size_t)*count * item);
    }
    if (bytes == NULL || fread(bytes, item, (size_t)*count, file) != (size_t)*count) {
        fprintf(stderr, "train_lenet: %s is not an unpacked IDX file of this kind\n", path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    return bytes;
}

static void read_images(const char *pixels, const char *labels, images *out)
{
    int64_t count = 0;
    out->pixels = read_idx(pixels, 16, PIXELS, &out->count);
    out->labels = read_idx(labels, 8, 1, &count);
    out->count = count < out->count ? count : out->count;
}

/* Class c has a bright band at its own height, on noise. */
static void make_images(int64_t count, uint32_t seed, images *out)
{
    *out = (images){count, malloc((size_t)count * PIXELS), malloc((size_t)count)};
    for (int64_t i = 0; i < count && out->pixels != NULL && out->labels != NULL; i++) {
        out->labels[i] = (unsigned char)(i % CLASSES);
        for (int p = 0; p < PIXELS; p++) {
            seed = seed * 1664525u + 1013904223u;
            out->pixels[i * PIXELS + p] =
                (unsigned char)((seed >> 25) + (p * CLASSES / PIXELS == i % CLASSES ? 100 : 0));
        }
    }
}

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    const images *set = (const images *)user + (split == NEUMETA_SPLIT_TEST);
    for (int64_t i = 0; i < count; i++) {
        for (int p = 0; p < PIXELS; p++)
            inputs[i * PIXELS + p] = (float)set->pixels[indices[i] * PIXELS + p] / 255;
        targets[i] = set->labels[indices[i]];
    }
    return 0;
}

static int32_t progress(void *user, neumeta_trainer *trainer)
{
    double *shown = user, epoch = 0, loss = 0;
    neumeta_trainer_metric(trainer, NEUMETA_METRIC_EPOCH, &epoch);
    neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS, &loss);
    if (epoch >= *shown + 1)
        printf("epoch %.0f: loss %.3f\n", *shown = (double)(int64_t)epoch, loss);
    return 0;
}

int main(int argc, char **argv)
{
    neumeta_context *context = NULL;
    images sets[2]; /* training, test */
    for (int i = 0; i < 2; i++) {
        if (argc < 5)
            make_images(i == 0 ? 640 : 200, 1 + (uint32_t)i, &sets[i]);
        else
            read_images(argv[1 + 2 * i], argv[2 + 2 * i], &sets[i]);
        if (sets[i].pixels == NULL || sets[i].labels == NULL)
            return EXIT_FAILURE;
    }
    must(context, neumeta_context_create(NULL, NULL, NULL, &context));
    must(context, neumeta_context_set_threads(context, 0));

    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    must(context, neumeta_topology_create_builtin(context, "lenet", NULL, &topology));
    must(context, neumeta_network_create(topology, NULL, 0, &network));
    neumeta_options *items =
        settings(context, SETTINGS("input-channels", "1", "input-height", "28", "input-width", "28",
                                   "data-mean", "0.3", "data-std", "0.3"));
    neumeta_dataset *dataset = NULL;
    must(context, neumeta_dataset_create(context, sets[0].count, sets[1].count, fetch, sets, items,
                                         &dataset));

    neumeta_options *phase =
        settings(context, SETTINGS("epochs", "3", "batch", "64", "optimizer", "sgd",
                                   "learning-rate", "0.05", "rate", "cosine"));
    neumeta_schedule *schedule = NULL;
    must(context, neumeta_schedule_create(context, &schedule));
    must(context, neumeta_schedule_add_phase(schedule, "all", 0, -1, phase));

    double shown = 0, score = 0;
    neumeta_trainer *trainer = NULL;
    must(context, neumeta_trainer_create_plain(network, schedule, dataset, NULL, &trainer));
    must(context, neumeta_trainer_set_progress(trainer, progress, &shown));
    must(context, neumeta_trainer_run(trainer));
    must(context, neumeta_network_evaluate(network, dataset, NEUMETA_SPLIT_TEST, NULL, &score));
    printf("test accuracy %.2f %%\n", 100 * score);
    if (argc > 5)
        must(context, neumeta_network_save(network, argv[5]));

    neumeta_context_free(context); /* in any order: each handle keeps alive what it needs */
    neumeta_options_free(items);
    neumeta_options_free(phase);
    neumeta_topology_free(topology);
    neumeta_network_free(network);
    neumeta_dataset_free(dataset);
    neumeta_schedule_free(schedule);
    neumeta_trainer_free(trainer);
    for (int i = 0; i < 2; i++) {
        free(sets[i].pixels);
        free(sets[i].labels);
    }
    return score > 0.5 ? EXIT_SUCCESS : EXIT_FAILURE;
}
