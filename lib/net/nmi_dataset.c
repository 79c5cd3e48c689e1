/* SPDX-License-Identifier: MIT */
/*
 * Datasets. What a callback delivers is checked here, once, so that a bad item is reported with its
 * number and never reaches a network; then it is augmented and normalised.
 */
#include "nmi_dataset.h"

#include "nmi_random.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct neumeta_dataset {
    nmi_object object;
    int64_t train, test, held_out;
    int64_t shape[3];
    int64_t floats;         /* of one item */
    neumeta_fetch_fn fetch; /* NULL: in memory */
    void *user;
    const float *memory_inputs;    /* borrowed */
    const int64_t *memory_targets; /* borrowed */
    int64_t shift;
    bool flip;
    float *mean;      /* [channels] */
    float *inverse;   /* [channels] 1 / standard deviation */
    float *item;      /* room for one item while it moves */
    int64_t *numbers; /* item numbers as the callback knows them */
    int64_t numbers_room;
};

static const char *split_name(int32_t split)
{
    return split == NEUMETA_SPLIT_TEST       ? "test"
           : split == NEUMETA_SPLIT_HELD_OUT ? "held-out"
                                             : "training";
}

/* --- life ------------------------------------------------------------------------------------ */

static neumeta_status check_options(nmi_context *context, const nmi_options *options,
                                    const nmi_dataset *dataset)
{
    static const int32_t per_channel[] = {NEUMETA_KEY_DATA_MEAN, NEUMETA_KEY_DATA_STD};
    for (size_t i = 0; i < sizeof per_channel / sizeof per_channel[0]; i++) {
        int64_t count;
        nmi_options_reals(options, per_channel[i], &count);
        if (count > 1 && count != dataset->shape[0])
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "dataset: %s has %" PRId64 " entries, must have 1 or one for each of "
                            "the %" PRId64 " channels",
                            nmi_key_find(per_channel[i])->name, count, dataset->shape[0]);
    }
    if (dataset->held_out > 0 && dataset->held_out >= dataset->train)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "dataset: HELD_OUT is %" PRId64 ", must be below the %" PRId64
                        " training items",
                        dataset->held_out, dataset->train);
    return NEUMETA_OK;
}

static neumeta_status set_options(nmi_context *context, const nmi_options *options,
                                  nmi_dataset *dataset)
{
    int64_t means;
    int64_t deviations;
    dataset->shape[0] = nmi_options_int(options, NEUMETA_KEY_INPUT_CHANNELS);
    dataset->shape[1] = nmi_options_int(options, NEUMETA_KEY_INPUT_HEIGHT);
    dataset->shape[2] = nmi_options_int(options, NEUMETA_KEY_INPUT_WIDTH);
    dataset->floats = dataset->shape[0] * dataset->shape[1] * dataset->shape[2];
    dataset->held_out = nmi_options_int(options, NEUMETA_KEY_HELD_OUT);
    dataset->shift = nmi_options_int(options, NEUMETA_KEY_AUGMENT_SHIFT);
    dataset->flip = nmi_options_int(options, NEUMETA_KEY_AUGMENT_FLIP) != 0;
    neumeta_status status = check_options(context, options, dataset);
    if (status != NEUMETA_OK)
        return status;
    dataset->mean = nmi_alloc_array(context, dataset->shape[0], sizeof(float));
    dataset->inverse = nmi_alloc_array(context, dataset->shape[0], sizeof(float));
    dataset->item = nmi_alloc_array(context, dataset->floats, sizeof(float));
    if (dataset->mean == NULL || dataset->inverse == NULL || dataset->item == NULL)
        return NEUMETA_ERR_MEMORY;
    const double *mean = nmi_options_reals(options, NEUMETA_KEY_DATA_MEAN, &means);
    const double *deviation = nmi_options_reals(options, NEUMETA_KEY_DATA_STD, &deviations);
    for (int64_t c = 0; c < dataset->shape[0]; c++) {
        dataset->mean[c] = means > 0 ? (float)mean[means > 1 ? c : 0] : 0.0f;
        dataset->inverse[c] =
            deviations > 0 ? (float)(1.0 / deviation[deviations > 1 ? c : 0]) : 1.0f;
    }
    return NEUMETA_OK;
}

static neumeta_status create(nmi_context *context, const nmi_dataset *parts,
                             const nmi_options *options, nmi_dataset **out)
{
    *out = NULL;
    nmi_dataset *dataset = nmi_alloc(context, sizeof *dataset);
    if (dataset == NULL)
        return NEUMETA_ERR_MEMORY;
    *dataset = *parts;
    nmi_object_init(&dataset->object, context);
    neumeta_status status = set_options(context, options, dataset);
    if (status != NEUMETA_OK) {
        nmi_dataset_release(dataset);
        return status;
    }
    *out = dataset;
    return status;
}

neumeta_status nmi_dataset_create(nmi_context *context, int64_t train, int64_t test,
                                  neumeta_fetch_fn fetch, void *user, const nmi_options *options,
                                  nmi_dataset **out)
{
    nmi_dataset parts = {.train = train, .test = test, .fetch = fetch, .user = user};
    return create(context, &parts, options, out);
}

neumeta_status nmi_dataset_create_memory(nmi_context *context, const float *inputs,
                                         const int64_t *targets, int64_t train, int64_t test,
                                         const nmi_options *options, nmi_dataset **out)
{
    nmi_dataset parts = {
        .train = train, .test = test, .memory_inputs = inputs, .memory_targets = targets};
    return create(context, &parts, options, out);
}

void nmi_dataset_retain(nmi_dataset *dataset)
{
    nmi_object_retain(&dataset->object);
}

void nmi_dataset_release(nmi_dataset *dataset)
{
    if (dataset == NULL || !nmi_object_release(&dataset->object))
        return;
    nmi_context *context = dataset->object.context;
    nmi_free(context, dataset->mean);
    nmi_free(context, dataset->inverse);
    nmi_free(context, dataset->item);
    nmi_free(context, dataset->numbers);
    nmi_free(context, dataset);
    nmi_context_release(context);
}

/* --- questions ------------------------------------------------------------------------------- */

int64_t nmi_dataset_count(const nmi_dataset *dataset, int32_t split)
{
    if (split == NEUMETA_SPLIT_TEST)
        return dataset->test;
    return split == NEUMETA_SPLIT_HELD_OUT ? dataset->held_out : dataset->train - dataset->held_out;
}

int64_t nmi_dataset_item_floats(const nmi_dataset *dataset)
{
    return dataset->floats;
}

void nmi_dataset_shape(const nmi_dataset *dataset, int64_t shape[3])
{
    memcpy(shape, dataset->shape, sizeof dataset->shape);
}

neumeta_status nmi_dataset_check_training(const nmi_dataset *dataset, const nmi_topology *topology)
{
    nmi_context *context = topology->object.context;
    int64_t shape[3];
    nmi_dataset_shape(dataset, shape);
    for (int32_t n = 0; n < topology->node_count; n++) {
        const nmi_node *node = &topology->nodes[n];
        if (node->op == NEUMETA_OP_INPUT &&
            (node->channels != shape[0] || node->height != shape[1] || node->width != shape[2]))
            return nmi_fail(context, NEUMETA_ERR_SHAPE,
                            "the dataset's items are %lld x %lld x %lld, the network takes "
                            "%lld x %lld x %lld",
                            (long long)shape[0], (long long)shape[1], (long long)shape[2],
                            (long long)node->channels, (long long)node->height,
                            (long long)node->width);
    }
    if (nmi_dataset_count(dataset, NEUMETA_SPLIT_TRAIN) < 1)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "the dataset has no training items");
    return NEUMETA_OK;
}

/* --- items ----------------------------------------------------------------------------------- */

/* Moves the image by (down, right), zeros entering, and mirrors it. */
static void augment_item(nmi_dataset *dataset, int64_t down, int64_t right, bool mirror,
                         float *item)
{
    int64_t height = dataset->shape[1];
    int64_t width = dataset->shape[2];
    memcpy(dataset->item, item, (size_t)dataset->floats * sizeof *item);
    for (int64_t c = 0; c < dataset->shape[0]; c++)
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++) {
                int64_t row = i - down;
                int64_t column = (mirror ? width - 1 - j : j) - right;
                bool inside = row >= 0 && row < height && column >= 0 && column < width;
                item[(c * height + i) * width + j] =
                    inside ? dataset->item[(c * height + row) * width + column] : 0.0f;
            }
}

static void augment(nmi_dataset *dataset, uint64_t key, int64_t count, float *inputs)
{
    for (int64_t n = 0; n < count; n++) {
        nmi_random random = nmi_random_start(nmi_random_key(key, NMI_RANDOM_AUGMENT, (uint64_t)n));
        int64_t down = nmi_random_below(&random, 2 * dataset->shift + 1) - dataset->shift;
        int64_t right = nmi_random_below(&random, 2 * dataset->shift + 1) - dataset->shift;
        bool mirror = dataset->flip && nmi_random_below(&random, 2) != 0;
        if (down != 0 || right != 0 || mirror)
            augment_item(dataset, down, right, mirror, inputs + n * dataset->floats);
    }
}

static void normalise(const nmi_dataset *dataset, int64_t count, float *inputs)
{
    int64_t pixels = dataset->shape[1] * dataset->shape[2];
    for (int64_t n = 0; n < count; n++)
        for (int64_t c = 0; c < dataset->shape[0]; c++) {
            float *plane = inputs + n * dataset->floats + c * pixels;
            for (int64_t i = 0; i < pixels; i++)
                plane[i] = (plane[i] - dataset->mean[c]) * dataset->inverse[c];
        }
}

static neumeta_status check_items(const nmi_dataset *dataset, int32_t split, const int64_t *indices,
                                  int64_t count, const float *inputs, const int64_t *targets)
{
    nmi_context *context = dataset->object.context;
    for (int64_t n = 0; n < count; n++) {
        if (targets != NULL && targets[n] < 0)
            return nmi_fail(context, NEUMETA_ERR_CALLBACK,
                            "dataset: %s item %" PRId64 " has the target %" PRId64
                            ", must be a class number from 0",
                            split_name(split), indices[n], targets[n]);
        for (int64_t i = 0; i < dataset->floats; i++)
            if (!isfinite(inputs[n * dataset->floats + i]))
                return nmi_fail(context, NEUMETA_ERR_CALLBACK,
                                "dataset: %s item %" PRId64 ": input value %" PRId64
                                " is not finite",
                                split_name(split), indices[n], i);
    }
    return NEUMETA_OK;
}

/* Item numbers as the callback knows them: held-out items are the last training items. */
static neumeta_status number_items(nmi_dataset *dataset, int32_t split, const int64_t *indices,
                                   int64_t count)
{
    nmi_context *context = dataset->object.context;
    int64_t start = split == NEUMETA_SPLIT_HELD_OUT ? dataset->train - dataset->held_out : 0;
    if (count > dataset->numbers_room) {
        nmi_free(context, dataset->numbers);
        dataset->numbers = nmi_alloc_matrix(context, count, 2, sizeof *dataset->numbers);
        dataset->numbers_room = dataset->numbers != NULL ? count : 0;
        if (dataset->numbers == NULL)
            return NEUMETA_ERR_MEMORY;
    }
    for (int64_t n = 0; n < count; n++) {
        NMI_ASSERT(indices[n] >= 0 && indices[n] < nmi_dataset_count(dataset, split));
        dataset->numbers[n] = start + indices[n];
    }
    return NEUMETA_OK;
}

static neumeta_status read_items(const nmi_dataset *dataset, int32_t split, int64_t count,
                                 float *inputs, int64_t *targets)
{
    nmi_context *context = dataset->object.context;
    bool test = split == NEUMETA_SPLIT_TEST;
    if (dataset->fetch == NULL) {
        for (int64_t n = 0; n < count; n++) {
            int64_t number = dataset->numbers[n] + (test ? dataset->train : 0);
            memcpy(inputs + n * dataset->floats, dataset->memory_inputs + number * dataset->floats,
                   (size_t)dataset->floats * sizeof *inputs);
            targets[n] = dataset->memory_targets[number];
        }
        return NEUMETA_OK;
    }
    int32_t result = dataset->fetch(dataset->user, test ? NEUMETA_SPLIT_TEST : NEUMETA_SPLIT_TRAIN,
                                    dataset->numbers, count, inputs, targets);
    if (result != 0)
        return nmi_fail(context, NEUMETA_ERR_CALLBACK,
                        "dataset: the fetch callback returned %" PRId32 " for %" PRId64
                        " %s items from item %" PRId64 " on",
                        result, count, split_name(split), dataset->numbers[0]);
    return NEUMETA_OK;
}

neumeta_status nmi_dataset_fetch(nmi_dataset *dataset, int32_t split, const int64_t *indices,
                                 int64_t count, uint64_t augment_key, bool augmented, float *inputs,
                                 int64_t *targets)
{
    if (count == 0)
        return NEUMETA_OK;
    neumeta_status status = number_items(dataset, split, indices, count);
    if (status == NEUMETA_OK)
        status = read_items(dataset, split, count, inputs,
                            targets != NULL ? targets : dataset->numbers + dataset->numbers_room);
    if (status == NEUMETA_OK)
        status = check_items(dataset, split, indices, count, inputs, targets);
    if (status != NEUMETA_OK)
        return status;
    if (augmented && (dataset->shift > 0 || dataset->flip))
        augment(dataset, augment_key, count, inputs);
    normalise(dataset, count, inputs);
    return NEUMETA_OK;
}
