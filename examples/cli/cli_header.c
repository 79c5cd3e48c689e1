/* SPDX-License-Identifier: MIT */
/* Reads the header of a safetensors file: what kind it is, and for inspect what is inside. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const cli_keys cli_storage_keys[] = {{NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE}, {0, 0}};

static const uint64_t header_max = 8u << 20; /* as the library's: see docs/formats.md */

/* Bytes of the whole file by its header; 0 if that is wrong. */
static int64_t announced(uint64_t length, const json_t *header)
{
    int64_t data = 0;
    const char *name;
    json_t *entry;
    json_object_foreach ((json_t *)(uintptr_t)header, name, entry) {
        const json_t *end = json_array_get(json_object_get(entry, "data_offsets"), 1);
        const int64_t last = json_integer_value(end);
        if (last < 0 || last > INT64_MAX / 2)
            return 0;
        data = last > data ? last : data;
    }
    return 8 + (int64_t)length + data;
}

/* The length of the header and the header itself, which is NULL if there is none. */
static uint64_t read_header(FILE *file, json_t **header)
{
    unsigned char bytes[8];
    uint64_t length = 0;
    if (fread(bytes, 1, 8, file) != 8)
        return 0;
    for (int i = 7; i >= 0; i--)
        length = (length << 8) | bytes[i];
    char *text = length >= 2 && length <= header_max ? malloc((size_t)length) : NULL;
    if (text != NULL && fread(text, 1, (size_t)length, file) == length)
        *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    return length;
}

int cli_header(const cli *c, const char *path, json_t **header)
{
    struct stat about;
    FILE *file = fopen(path, "rb");
    *header = NULL;
    if (file == NULL)
        return cli_fail(c, "%s cannot be opened: %s", path, strerror(errno));
    if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
        fclose(file);
        return cli_fail(c, "%s is no regular file", path);
    }
    const uint64_t length = read_header(file, header);
    const int64_t size = (int64_t)about.st_size;
    fclose(file);
    const int64_t whole = json_is_object(*header) ? announced(length, *header) : 0;
    if (whole > 0 && size >= whole)
        return CLI_OK;
    json_decref(*header);
    *header = NULL;
    if (whole > 0)
        return cli_fail(c, "%s is cut short: it has %lld bytes, its header announces %lld", path,
                        (long long)size, (long long)whole);
    if (length > header_max && length <= (uint64_t)size)
        return cli_fail(c, "%s has a header of %llu bytes, must be at most %llu", path,
                        (unsigned long long)length, (unsigned long long)header_max);
    if (length > (uint64_t)size && length <= header_max)
        return cli_fail(c, "%s is no safetensors file, or cut short within its header", path);
    return cli_fail(c, "%s is no safetensors file", path);
}

const char *cli_header_kind(const json_t *header)
{
    const json_t *metadata = json_object_get(header, "__metadata__");
    const char *kind = json_string_value(json_object_get(metadata, "neumeta.kind"));
    return kind != NULL ? kind : "";
}

/* By which --storage the parameters of a manifold are as they are in this file. */
static const char *storage_of(const json_t *header)
{
    const char *name, *storage = "f32";
    json_t *tensor;
    json_object_foreach ((json_t *)(uintptr_t)header, name, tensor) {
        const char *type = json_string_value(json_object_get(tensor, "dtype"));
        if (type == NULL || strcmp(name, "statistics") == 0 || strncmp(name, "front.", 6) == 0)
            continue;
        if (strcmp(type, "I8") == 0)
            return "i8";
        if (strcmp(type, "F16") == 0 || strcmp(type, "BF16") == 0)
            storage = type[0] == 'F' ? "f16" : "bf16";
    }
    return storage;
}

int cli_save_again(const cli *c, const neumeta_manifold *manifold, const char *file,
                   const char *output)
{
    json_t *header = NULL;
    neumeta_options *storage = NULL;
    int code = cli_header(c, file, &header);
    if (code == CLI_OK)
        code = cli_settings(c, cli_storage_keys, &storage);
    if (code == CLI_OK && !cli_flag(c, "storage"))
        code = cli_check(
            c, neumeta_options_set_text(storage, NEUMETA_KEY_STORAGE, storage_of(header)), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_save_as(manifold, output, storage), NULL);
    neumeta_options_free(storage);
    json_decref(header);
    return code;
}
