/* SPDX-License-Identifier: MIT */
/* CIFAR-10: its official binary files, and making them from the lossless PNG edition. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SIDE = 32, CHANNEL = SIDE * SIDE, IMAGE = 3 * CHANNEL, RECORD = IMAGE + 1, BATCHES = 6 };

static const char *const batch_names[BATCHES] = {"data_batch_1", "data_batch_2", "data_batch_3",
                                                 "data_batch_4", "data_batch_5", "test_batch"};

/* Records of the file, or -1 if it is not there or no whole number of records. */
static int64_t count_records(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0 || about.st_size == 0 || about.st_size % RECORD != 0)
        return -1;
    return (int64_t)about.st_size / RECORD;
}

static int read_batch(const cli *c, const char *path, int64_t count, unsigned char *pixels,
                      unsigned char *labels)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return cli_fail(c, "%s cannot be opened: %s", path, strerror(errno));
    int code = CLI_OK;
    for (int64_t i = 0; i < count && code == CLI_OK; i++) {
        if (fread(labels + i, 1, 1, file) != 1 ||
            fread(pixels + i * IMAGE, 1, IMAGE, file) != IMAGE)
            code = cli_fail(c, "%s could not be read", path);
        else if (labels[i] > 9)
            code = cli_fail(c, "%s: record %lld has the class %d, must be 0 to 9", path,
                            (long long)i, labels[i]);
    }
    fclose(file);
    return code;
}

static char *batch_path(const char *folder, int batch, const char *ending)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s", batch_names[batch], ending);
    return cli_path(folder, name);
}

/* The normalisation with which the usual pretrained CIFAR networks were trained. */
static void set_shape(cli_data *data)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    data->channels = 3;
    data->height = data->width = SIDE;
    data->classes = 10;
    memcpy(data->mean, mean, sizeof mean);
    memcpy(data->deviation, deviation, sizeof deviation);
}

int data_cifar_read(const cli *c, const char *folder, cli_data *data)
{
    char *paths[BATCHES];
    int64_t counts[BATCHES];
    int missing = -1;
    bool any = false, memory = true;
    set_shape(data);
    for (int i = 0; i < BATCHES; i++) {
        paths[i] = batch_path(folder, i, "bin");
        memory = memory && paths[i] != NULL;
        counts[i] = paths[i] != NULL ? count_records(paths[i]) : -1;
        if (counts[i] < 0 && missing < 0)
            missing = i;
        any = any || (paths[i] != NULL && cli_exists(paths[i]));
        *(i < BATCHES - 1 ? &data->train : &data->test) += counts[i];
    }
    int code = !memory ? cli_no_memory(c) : missing < 0 ? CLI_OK : CLI_ABSENT;
    if (code == CLI_ABSENT && any)
        code = cli_fail(c, "%s %s", paths[missing],
                        cli_exists(paths[missing])
                            ? "has another length than a whole number of records of 3073 bytes"
                            : "is missing");
    if (code == CLI_OK) {
        data->pixels = malloc((size_t)(data->train + data->test) * IMAGE);
        data->labels = malloc((size_t)(data->train + data->test));
        code = data->pixels != NULL && data->labels != NULL ? CLI_OK : cli_no_memory(c);
    }
    for (int64_t i = 0, at = 0; i < BATCHES && code == CLI_OK; at += counts[i++])
        code = read_batch(c, paths[i], counts[i], data->pixels + at * IMAGE, data->labels + at);
    for (int i = 0; i < BATCHES; i++)
        free(paths[i]);
    return code;
}

/* --- from PNG -------------------------------------------------------------------------------- */

/* Row r of the picture is image r, its columns are the pixels in reading order. */
static int write_batch(const cli *c, const char *path, const unsigned char *pixels, int64_t images,
                       const json_t *labels, int64_t first_label)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return cli_fail(c, "%s cannot be written: %s", path, strerror(errno));
    unsigned char *record = malloc(RECORD);
    bool good = record != NULL;
    for (int64_t i = 0; i < images && good; i++) {
        json_int_t label = json_integer_value(json_array_get(labels, (size_t)(first_label + i)));
        record[0] = (unsigned char)label;
        for (int64_t p = 0; p < CHANNEL; p++)
            for (int64_t channel = 0; channel < 3; channel++)
                record[1 + channel * CHANNEL + p] = pixels[(i * CHANNEL + p) * 3 + channel];
        good = fwrite(record, RECORD, 1, file) == 1;
    }
    free(record);
    good = fclose(file) == 0 && good;
    return good ? CLI_OK : cli_fail(c, "%s could not be written", path);
}

/* Converts one batch; *label is the number of its first label, and moves on. */
static int convert(const cli *c, const char *source, const char *target, int batch,
                   const json_t *labels, int64_t *label)
{
    int64_t width = 0, height = 0;
    unsigned char *pixels = NULL;
    char *from = batch_path(source, batch, "png"), *to = batch_path(target, batch, "bin");
    int code = from != NULL && to != NULL ? CLI_OK : cli_no_memory(c);
    if (code == CLI_OK)
        code = data_png_read(c, from, &width, &height, &pixels);
    if (code == CLI_OK && (width != CHANNEL || *label + height > (int64_t)json_array_size(labels)))
        code =
            cli_fail(c,
                     "%s is %lld x %lld with %zu labels, expected one row of %d pixels an "
                     "image",
                     from, (long long)width, (long long)height, json_array_size(labels), CHANNEL);
    if (code == CLI_OK)
        code = write_batch(c, to, pixels, height, labels, *label);
    *label += height;
    free(pixels);
    free(from);
    free(to);
    return code;
}

static int read_labels(const cli *c, const char *source, const char *name, json_t **labels)
{
    char *path = cli_path(source, name);
    int code = path != NULL ? cli_read_json(c, path, labels) : cli_no_memory(c);
    if (code == CLI_OK && !json_is_array(*labels))
        code = cli_fail(c, "%s is no list of classes", path);
    free(path);
    return code;
}

int data_cifar_from_png(const cli *c, const char *source, const char *target)
{
    json_t *train = NULL, *test = NULL;
    int64_t label = 0;
    /* The misspelling is the files' own. */
    int code = read_labels(c, source, "train_lables.json", &train);
    if (code == CLI_OK)
        code = read_labels(c, source, "test_lables.json", &test);
    for (int i = 0; i < BATCHES && code == CLI_OK; i++) {
        label = i == BATCHES - 1 ? 0 : label;
        code = convert(c, source, target, i, i == BATCHES - 1 ? test : train, &label);
    }
    json_decref(train);
    json_decref(test);
    return code;
}
