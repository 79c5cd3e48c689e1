/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a data set: the first byte says which of the four IDX files is made of the rest, the
 * others being those of a small set, or that the rest is CIFAR's test batch. The reader refuses it
 * with a sentence, or yields as many items as it says.
 */
#include "cli.h"
#include "nmi_fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const cli_command *const cli_commands[] = {NULL};

enum { IDX_FILES = 4, CIFAR_FILES = 6, RECORD = 3073 };

static const char *const idx_names[IDX_FILES] = {
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte"};
/* Two images of 1 x 2, and their labels. */
static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6};
static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
static const char *const cifar_names[CIFAR_FILES] = {"data_batch_1.bin", "data_batch_2.bin",
                                                     "data_batch_3.bin", "data_batch_4.bin",
                                                     "data_batch_5.bin", "test_batch.bin"};

static char folder[64];

static void write_part(const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    require(file != NULL && (size == 0 || fwrite(data, 1, size, file) == size));
    require(fclose(file) == 0);
}

static void remove_parts(void)
{
    char path[128];
    for (int i = 0; i < IDX_FILES + CIFAR_FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder,
                 i < IDX_FILES ? idx_names[i] : cifar_names[i - IDX_FILES]);
        remove(path);
    }
}

static void remove_folder(void)
{
    remove_parts();
    rmdir(folder);
}

static void make_folder(void)
{
    if (folder[0] != '\0')
        return;
    snprintf(folder, sizeof folder, "%s/neumeta-fuzz-data-%ld",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    require(mkdir(folder, 0700) == 0);
    atexit(remove_folder);
}

static int read_idx(const cli *c, cli_data *data, uint32_t which, const fuzz_bytes *bytes)
{
    for (uint32_t i = 0; i < IDX_FILES; i++) {
        if (i == which)
            write_part(idx_names[i], bytes->data, bytes->size);
        else
            write_part(idx_names[i], i % 2 == 0 ? images : labels,
                       i % 2 == 0 ? sizeof images : sizeof labels);
    }
    return data_idx_read(c, folder, data);
}

static int read_cifar(const cli *c, cli_data *data, const fuzz_bytes *bytes)
{
    static uint8_t record[RECORD];
    for (int i = 0; i < CIFAR_FILES - 1; i++)
        write_part(cifar_names[i], record, RECORD);
    write_part(cifar_names[CIFAR_FILES - 1], bytes->data, bytes->size);
    return data_cifar_read(c, folder, data);
}

/* Each byte that is promised can be read. */
static void use(const cli_data *data)
{
    const size_t items = (size_t)(data->train + data->test);
    uint32_t sum = 0;
    require(data->train > 0 && data->test > 0 && data->channels > 0);
    for (size_t i = 0; i < items * (size_t)(data->channels * data->height * data->width); i++)
        sum += data->pixels[i];
    for (size_t i = 0; i < items; i++)
        require(data->labels[i] < data->classes && sum < UINT32_MAX);
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    cli c = {.command = &cmd_train, .program = "neumeta", .context = context};
    cli_data set = {.channels = 0};
    fuzz_bytes bytes = {data, size};
    make_folder();
    const uint32_t which = fuzz_choice(&bytes, IDX_FILES + 1);
    const int code =
        which < IDX_FILES ? read_idx(&c, &set, which, &bytes) : read_cifar(&c, &set, &bytes);
    require(code == CLI_OK || code == CLI_FAILED || code == CLI_ABSENT);
    if (code == CLI_OK)
        use(&set);
    cli_data_release(&set);
    remove_parts();
}
