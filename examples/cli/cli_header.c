/* SPDX-License-Identifier: MIT */
/* Reads the header of a safetensors file: what kind it is, and for inspect what is inside. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t header_max = 100u << 20;

int cli_header(const cli *c, const char *path, json_t **header)
{
    unsigned char bytes[8];
    FILE *file = fopen(path, "rb");
    *header = NULL;
    if (file == NULL)
        return cli_fail(c, "%s cannot be opened: %s", path, strerror(errno));
    uint64_t length = 0;
    bool good = fread(bytes, 1, 8, file) == 8;
    for (int i = 7; i >= 0 && good; i--)
        length = (length << 8) | bytes[i];
    good = good && length >= 2 && length <= header_max;
    char *text = good ? malloc((size_t)length) : NULL;
    if (text != NULL && fread(text, 1, (size_t)length, file) == length)
        *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    fclose(file);
    if (json_is_object(*header))
        return CLI_OK;
    json_decref(*header);
    *header = NULL;
    return cli_fail(c, "%s is no safetensors file", path);
}

const char *cli_header_kind(const json_t *header)
{
    const json_t *metadata = json_object_get(header, "__metadata__");
    const char *kind = json_string_value(json_object_get(metadata, "neumeta.kind"));
    return kind != NULL ? kind : "";
}
