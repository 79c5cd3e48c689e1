/* SPDX-License-Identifier: MIT */
/*
 * Headers of safetensors that are nearly right. The input does not hold a file: it chooses one,
 * tensor by tensor, and at most one mistake in it. A file without a mistake must be read, one with
 * a mistake must be refused, so that every check behind the syntax is reached.
 */
#include "nmi_fuzz.h"
#include "nmi_safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TENSORS = 7, SIDE = 4, HEADER_SIZE = 8192, DATA_SIZE = TENSORS * 8 * SIDE * SIDE * SIDE };

typedef enum mistake {
    NONE,
    NAME_TWICE,
    NAME_EMPTY,
    NAME_CONTROL,
    TYPE_UNKNOWN,
    TYPE_NUMBER,
    SHAPE_NEGATIVE,
    SHAPE_FRACTION,
    SHAPE_HUGE,
    SHAPE_OTHER,
    RANK_NINE,
    SHIFTED,
    SHORTENED,
    LENGTHENED,
    SWAPPED,
    THREE_OFFSETS,
    MEMBER_MORE,
    MEMBER_LESS,
    NO_OBJECT,
    METADATA_NUMBER,
    BYTE_MORE,
    BYTE_LESS,
    HEADER_SHORT,
    AFTER_END,
    MISTAKES
} mistake;

typedef struct maker {
    char text[HEADER_SIZE];
    size_t length;
    int64_t offset; /* bytes of data so far */
} maker;

static void put(maker *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(maker *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(m->text + m->length, HEADER_SIZE - m->length, format, arguments);
    va_end(arguments);
    require(length >= 0 && m->length + (size_t)length < HEADER_SIZE);
    m->length += (size_t)length;
}

/* Returns the number of elements. */
static int64_t put_shape(maker *m, fuzz_bytes *bytes, mistake wrong)
{
    static const char *const bad[MISTAKES] = {[SHAPE_NEGATIVE] = "-1",
                                              [SHAPE_FRACTION] = "1.0",
                                              [SHAPE_HUGE] = "4611686018427387904,4",
                                              [SHAPE_OTHER] = "77",
                                              [RANK_NINE] = "1,1,1,1,1,1,1,1,1"};
    int64_t elements = 1;
    const uint32_t rank = bad[wrong] != NULL ? 0 : fuzz_choice(bytes, 4);
    put(m, "\"shape\":[%s", bad[wrong] != NULL ? bad[wrong] : "");
    for (uint32_t i = 0; i < rank; i++) {
        const uint32_t side = fuzz_choice(bytes, SIDE + 1);
        put(m, "%s%u", i > 0 ? "," : "", side);
        elements *= side;
    }
    put(m, "]");
    return elements;
}

static void put_offsets(maker *m, int64_t size, mistake wrong)
{
    int64_t begin = m->offset, end = m->offset + size;
    begin += wrong == SHIFTED;
    end += (wrong == SHIFTED) - (wrong == SHORTENED) + (wrong == LENGTHENED);
    if (wrong == SWAPPED)
        put(m, "\"data_offsets\":[%lld,%lld]", (long long)end + 1, (long long)begin);
    else
        put(m, "\"data_offsets\":[%lld,%lld%s]", (long long)begin, (long long)end,
            wrong == THREE_OFFSETS ? ",0" : "");
    m->offset += size;
}

/* Returns the mistake that was made: a tensor without data may lie at any seam. */
static mistake put_tensor(maker *m, fuzz_bytes *bytes, uint32_t number, mistake wrong)
{
    const int32_t dtype = 1 + (int32_t)fuzz_choice(bytes, NMI_DTYPE_BF16);
    const char *name = nmi_dtype_name(dtype);
    const char *text = wrong == TYPE_UNKNOWN ? "\"F31\"" : wrong == TYPE_NUMBER ? "32" : NULL;
    if (wrong == NAME_EMPTY || wrong == NAME_CONTROL)
        put(m, "\"%s\":", wrong == NAME_EMPTY ? "" : "a\\u0001");
    else
        put(m, "\"tensor%u\":", wrong == NAME_TWICE ? 0 : number);
    if (wrong == NO_OBJECT) {
        put(m, "[]");
        return wrong;
    }
    put(m, "{");
    const int64_t elements = put_shape(m, bytes, wrong);
    if (wrong != MEMBER_LESS) {
        text != NULL ? put(m, ",\"dtype\":%s", text) : put(m, ",\"dtype\":\"%s\"", name);
    }
    put(m, "%s,", wrong == MEMBER_MORE ? ",\"device\":\"cpu\"" : "");
    if (elements == 0 && wrong == SHIFTED)
        wrong = NONE;
    put_offsets(m, elements * nmi_dtype_size(dtype), wrong);
    put(m, "}");
    return wrong;
}

/* Returns the mistake that was made after all: some need a second tensor. */
static mistake make(maker *m, fuzz_bytes *bytes)
{
    mistake wrong = fuzz_choice(bytes, 2) == 0 ? NONE : (mistake)fuzz_choice(bytes, MISTAKES);
    const uint32_t count = fuzz_choice(bytes, TENSORS + 1), place = fuzz_choice(bytes, TENSORS);
    if (wrong < METADATA_NUMBER && (place >= count || (wrong == NAME_TWICE && place == 0)))
        wrong = NONE;
    put(m, "{");
    if (wrong == METADATA_NUMBER || fuzz_choice(bytes, 2) == 1)
        put(m, "\"__metadata__\":{\"a\":%s}%s", wrong == METADATA_NUMBER ? "1" : "\"b\"",
            count > 0 ? "," : "");
    for (uint32_t i = 0; i < count; i++) {
        if (i == place)
            wrong = put_tensor(m, bytes, i, wrong);
        else
            put_tensor(m, bytes, i, NONE);
        put(m, "%s", i + 1 < count ? "," : "");
    }
    put(m, "}%*s%s", (int)fuzz_choice(bytes, 9), "", wrong == AFTER_END ? "{" : "");
    return wrong;
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    static uint8_t file[8 + HEADER_SIZE + DATA_SIZE + 1];
    static maker m;
    nmi_safetensors *read = NULL;
    fuzz_bytes bytes = {data, size};
    m.length = 0;
    m.offset = 0;
    const mistake wrong = make(&m, &bytes);
    const uint64_t header = m.length - (wrong == HEADER_SHORT);
    int64_t whole = 8 + (int64_t)m.length + m.offset + (wrong == BYTE_MORE);
    memset(file, 0, sizeof file);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(header >> (8 * i));
    memcpy(file + 8, m.text, m.length);
    whole -= wrong == BYTE_LESS;
    fuzz_begin();
    const neumeta_status status = nmi_safetensors_parse(context, "f", file, whole, &read);
    fuzz_check(context, status);
    require(fuzz_starved(status) || status == (wrong == NONE ? NEUMETA_OK : NEUMETA_ERR_FORMAT));
    nmi_safetensors_free(read);
}
