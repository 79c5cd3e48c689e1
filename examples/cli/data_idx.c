/* SPDX-License-Identifier: MIT */
/* Images and labels as IDX files, compressed with gzip or not: MNIST and data sets made like it. */
#include "cli.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { IMAGES_MAGIC = 2051, LABELS_MAGIC = 2049, SIDE_MAX = 4096, COUNT_MAX = 10000000 };
enum { FIRST_PIECE = 1 << 20 };

typedef struct idx {
    int64_t count, height, width;
    unsigned char *bytes;
} idx;

static int64_t big_endian(const unsigned char *bytes)
{
    return ((int64_t)bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
}

/* gzread() in pieces that an int counts. */
static bool read_all(gzFile file, unsigned char *bytes, size_t size)
{
    while (size > 0) {
        unsigned piece = size > (1u << 30) ? 1u << 30 : (unsigned)size;
        int got = gzread(file, bytes, piece);
        if (got <= 0)
            return false;
        bytes += got;
        size -= (size_t)got;
    }
    return true;
}

/* A header may promise anything: memory is taken as the bytes come, twice as much each time. */
static int read_items(const cli *c, gzFile file, const char *path, size_t size, idx *out)
{
    size_t room = 0;
    while (room < size) {
        const size_t more = room == 0 ? FIRST_PIECE : room;
        const size_t next = size - room > more ? room + more : size;
        unsigned char *bytes = realloc(out->bytes, next);
        if (bytes == NULL)
            return cli_no_memory(c);
        out->bytes = bytes;
        if (!read_all(file, bytes + room, next - room))
            return cli_fail(c, "%s ends early or is damaged: its header promises %zu bytes", path,
                            size);
        room = next;
    }
    return CLI_OK;
}

static int read_file(const cli *c, gzFile file, const char *path, int magic, idx *out)
{
    unsigned char header[16];
    unsigned char end;
    size_t header_size = magic == IMAGES_MAGIC ? 16 : 8;
    if (!read_all(file, header, header_size) || big_endian(header) != magic)
        return cli_fail(c, "%s is no IDX file of %s", path,
                        magic == IMAGES_MAGIC ? "images" : "labels");
    out->count = big_endian(header + 4);
    out->height = magic == IMAGES_MAGIC ? big_endian(header + 8) : 1;
    out->width = magic == IMAGES_MAGIC ? big_endian(header + 12) : 1;
    if (out->count < 1 || out->count > COUNT_MAX || out->height < 1 || out->height > SIDE_MAX ||
        out->width < 1 || out->width > SIDE_MAX)
        return cli_fail(c, "%s has %lld items of %lld x %lld, which is out of range", path,
                        (long long)out->count, (long long)out->height, (long long)out->width);
    const size_t item = (size_t)out->height * (size_t)out->width;
    if ((size_t)out->count > SIZE_MAX / item)
        return cli_no_memory(c);
    int code = read_items(c, file, path, (size_t)out->count * item, out);
    if (code != CLI_OK)
        return code;
    /* This read also makes zlib check the sum at the end. */
    if (gzread(file, &end, 1) != 0)
        return cli_fail(c, "%s is damaged or longer than its header says", path);
    return CLI_OK;
}

/* `name` with or without ".gz". */
static int find_and_read(const cli *c, const char *folder, const char *name, int magic, idx *out)
{
    static const char *const endings[] = {".gz", ""};
    for (int i = 0; i < 2; i++) {
        char full[64];
        snprintf(full, sizeof full, "%s%s", name, endings[i]);
        char *path = cli_path(folder, full);
        if (path == NULL)
            return cli_no_memory(c);
        gzFile file = cli_exists(path) ? gzopen(path, "rb") : NULL;
        int code = CLI_ABSENT;
        if (file != NULL) {
            code = read_file(c, file, path, magic, out);
            gzclose_r(file);
        }
        free(path);
        if (code != CLI_ABSENT)
            return code;
    }
    return CLI_ABSENT;
}

static int check_pair(const cli *c, const char *folder, const idx *images, const idx *labels,
                      const idx *first)
{
    if (images->count != labels->count)
        return cli_fail(c, "%s: %lld images, but %lld labels", folder, (long long)images->count,
                        (long long)labels->count);
    if (images->height != first->height || images->width != first->width)
        return cli_fail(c, "%s: training and test images differ in size", folder);
    return CLI_OK;
}

/* Mean and deviation over the training images, to the four digits usually quoted. */
static void measure(cli_data *data)
{
    int64_t size = data->train * data->height * data->width;
    int64_t sum = 0, squares = 0;
    for (int64_t i = 0; i < size; i++) {
        sum += data->pixels[i];
        squares += data->pixels[i] * data->pixels[i];
    }
    double mean = (double)sum / (double)size / 255;
    double square = (double)squares / (double)size / (255.0 * 255.0);
    double deviation = sqrt(fmax(square - mean * mean, 0));
    data->mean[0] = round(mean * 1e4) / 1e4;
    data->deviation[0] = fmax(round(deviation * 1e4) / 1e4, 1e-4);
}

static int join(const cli *c, const idx *images, const idx *labels, cli_data *data)
{
    int64_t item = images[0].height * images[0].width;
    data->channels = 1;
    data->height = images[0].height;
    data->width = images[0].width;
    data->train = images[0].count;
    data->test = images[1].count;
    size_t count = (size_t)(data->train + data->test);
    data->pixels = malloc(count * (size_t)item);
    data->labels = malloc(count);
    if (data->pixels == NULL || data->labels == NULL)
        return cli_no_memory(c);
    for (int64_t part = 0, at = 0; part < 2; at += images[part++].count) {
        memcpy(data->pixels + at * item, images[part].bytes, (size_t)(images[part].count * item));
        memcpy(data->labels + at, labels[part].bytes, (size_t)labels[part].count);
    }
    for (size_t i = 0; i < count; i++)
        data->classes = data->labels[i] >= data->classes ? data->labels[i] + 1 : data->classes;
    measure(data);
    return CLI_OK;
}

int data_idx_read(const cli *c, const char *folder, cli_data *data)
{
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    idx files[4] = {{0, 0, 0, NULL}};
    int code = CLI_OK;
    int found = 0;
    for (int i = 0; i < 4 && code == CLI_OK; i++) {
        int magic = i % 2 == 0 ? IMAGES_MAGIC : LABELS_MAGIC;
        code = find_and_read(c, folder, names[i], magic, &files[i]);
        found += code == CLI_OK;
    }
    if (code == CLI_ABSENT && found > 0)
        code = cli_fail(c, "%s: %s.gz is missing", folder, names[found]);
    idx images[2] = {files[0], files[2]};
    idx labels[2] = {files[1], files[3]};
    for (int part = 0; part < 2 && code == CLI_OK; part++)
        code = check_pair(c, folder, &images[part], &labels[part], &images[0]);
    if (code == CLI_OK)
        code = join(c, images, labels, data);
    for (int i = 0; i < 4; i++)
        free(files[i].bytes);
    return code;
}
