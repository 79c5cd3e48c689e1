/* SPDX-License-Identifier: MIT */
/* Opens a folder of images as a dataset, whatever format its files have. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const cli_keys cli_data_keys[] = {{NEUMETA_KEY_HELD_OUT, NEUMETA_KEY_AUGMENT_FLIP}, {0, 0}};

static int32_t fetch(void *user, int32_t split, const int64_t *indices, int64_t count,
                     float *inputs, int64_t *targets)
{
    const cli_data *data = user;
    int64_t item = data->channels * data->height * data->width;
    for (int64_t i = 0; i < count; i++) {
        int64_t index = indices[i] + (split == NEUMETA_SPLIT_TEST ? data->train : 0);
        const unsigned char *pixels = data->pixels + index * item;
        for (int64_t p = 0; p < item; p++)
            inputs[i * item + p] = (float)pixels[p] / 255;
        targets[i] = data->labels[index];
    }
    return 0;
}

static int set_shape(const cli *c, const cli_data *data, neumeta_options *options)
{
    neumeta_status status =
        neumeta_options_set_int(options, NEUMETA_KEY_INPUT_CHANNELS, data->channels);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_int(options, NEUMETA_KEY_INPUT_HEIGHT, data->height);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_int(options, NEUMETA_KEY_INPUT_WIDTH, data->width);
    if (status == NEUMETA_OK && !cli_flag(c, "data-mean"))
        status =
            neumeta_options_set_reals(options, NEUMETA_KEY_DATA_MEAN, data->mean, data->channels);
    if (status == NEUMETA_OK && !cli_flag(c, "data-std"))
        status = neumeta_options_set_reals(options, NEUMETA_KEY_DATA_STD, data->deviation,
                                           data->channels);
    return cli_check(c, status, NULL);
}

int cli_data_open(const cli *c, cli_data *data, neumeta_dataset **dataset)
{
    const char *folder;
    neumeta_options *options = NULL;
    *dataset = NULL;
    memset(data, 0, sizeof *data);
    int code = cli_require(c, "data", &folder);
    if (code != CLI_OK)
        return code;
    if (access(folder, R_OK | X_OK) != 0)
        return cli_fail(c, "%s cannot be read: %s", folder, strerror(errno));
    code = data_idx_read(c, folder, data);
    if (code == CLI_ABSENT) {
        memset(data, 0, sizeof *data);
        code = data_cifar_read(c, folder, data);
    }
    if (code == CLI_ABSENT)
        code =
            cli_fail(c,
                     "%s holds neither IDX files (train-images-idx3-ubyte.gz ...) nor CIFAR-10's "
                     "(data_batch_1.bin ...); see neumeta fetch --help",
                     folder);
    if (code == CLI_OK)
        code = cli_settings(c, cli_data_keys, &options);
    if (code == CLI_OK)
        code = set_shape(c, data, options);
    if (code == CLI_OK)
        code = cli_check(c,
                         neumeta_dataset_create(c->context, data->train, data->test, fetch, data,
                                                options, dataset),
                         folder);
    neumeta_options_free(options);
    if (code != CLI_OK)
        cli_data_release(data);
    return code;
}

void cli_data_release(cli_data *data)
{
    free(data->pixels);
    free(data->labels);
    data->pixels = data->labels = NULL;
}
