/* SPDX-License-Identifier: MIT */
/* Checksums that fit a damaged file, without which nothing behind them would ever be reached. */
#include "nmi_checksum.h"
#include "nmi_fuzz.h"
#include "nmi_json_read.h"

#include <stdlib.h>
#include <string.h>

/* What stands in front of the digits; docs/formats.md. */
#define BEGINNING "{\"__metadata__\":{\"" NMI_CHECKSUM_KEY "\":\""
enum { FIRST_DIGIT = 8 + sizeof BEGINNING - 1 };

typedef struct piece {
    int64_t begin, end;
    const char *name;
} piece;

static int compare(const void *first, const void *second)
{
    const piece *a = first, *b = second;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Pieces of `size` bytes of data in the order of the data, for free(); those that do not lie in it
 * are left out. */
static piece *list_pieces(const char *root, int64_t size, size_t *count)
{
    nmi_json_walk members = nmi_json_open(root);
    piece *pieces = calloc(nmi_json_count(root) + 1, sizeof *pieces);
    require(pieces != NULL);
    *count = 0;
    while (nmi_json_next(&members)) {
        nmi_json_walk offsets = nmi_json_open(nmi_json_get(members.value, "data_offsets"));
        piece found = {.begin = -1, .end = -1, .name = members.name};
        if (nmi_json_next(&offsets))
            nmi_json_integer(offsets.value, &found.begin);
        if (nmi_json_next(&offsets))
            nmi_json_integer(offsets.value, &found.end);
        if (found.begin >= 0 && found.begin <= found.end && found.end <= size)
            pieces[(*count)++] = found;
    }
    qsort(pieces, *count, sizeof *pieces, compare);
    return pieces;
}

static void sign_tensors(neumeta_context *context, uint8_t *file, size_t size, size_t begin)
{
    char *header = malloc(begin);
    const char *root = NULL;
    size_t count = 0;
    require(header != NULL);
    memcpy(header, file + 8, begin - 8);
    nmi_json_read(context, "header", header, begin - 8, &root);
    piece *pieces = list_pieces(root, (int64_t)(size - begin), &count);
    const char *end = memchr(file + FIRST_DIGIT, '"', begin - FIRST_DIGIT);
    const size_t room = end == NULL ? 0 : (size_t)((const uint8_t *)end - file) - FIRST_DIGIT;
    for (size_t i = 0; i < count && (i + 2) * NMI_CHECKSUM_DIGITS <= room; i++)
        nmi_checksum_print(
            nmi_checksum_tensor(file + begin + pieces[i].begin, pieces[i].end - pieces[i].begin),
            (char *)file + FIRST_DIGIT + (i + 1) * NMI_CHECKSUM_DIGITS);
    free(pieces);
    free(header);
}

uint8_t *fuzz_sign(neumeta_context *context, const uint8_t *data, size_t size)
{
    uint64_t header = 0;
    uint8_t *file = malloc(size > 0 ? size : 1);
    require(file != NULL);
    if (size > 0)
        memcpy(file, data, size);
    for (int i = 7; i >= 0 && size >= 8; i--)
        header = header << 8 | data[i];
    if (size < 8 || header > size - 8 || !nmi_checksum_is_there(file, 8 + (size_t)header))
        return file;
    sign_tensors(context, file, size, 8 + (size_t)header);
    nmi_checksum_sign(file, 8 + (size_t)header);
    return file;
}
