/* SPDX-License-Identifier: MIT */
/* Reads safetensors. The file is hostile: nothing in it is used before it is checked. */
#include "nmi_safetensors.h"

#include "nmi_checksum.h"
#include "nmi_json_read.h"
#include "nmi_safetensors_bytes.h"
#include "nmi_sort.h"

#include <stdio.h>
#include <string.h>

/* All that is kept of a tensor: the rest is read again where it is asked for, so that many small
 * tensors take no more memory than their description is long. */
typedef struct place {
    int64_t begin, end; /* in the data */
    uint32_t name;      /* in the header, in front of the description */
} place;

struct nmi_safetensors {
    nmi_context *context; /* retained */
    char *name;
    unsigned char *owned; /* the file's bytes, or NULL if they are borrowed */
    char *copy;           /* of the header of borrowed bytes, which has to be changed */
    const char *root;     /* the header, tightened */
    const char *metadata;
    const unsigned char *data;
    int64_t data_size;
    place *places;     /* in the order of the header */
    uint32_t *by_data; /* numbers of places in the order of the data */
    uint32_t *by_name; /* numbers of by_data in that of the names */
    int32_t count;
    bool is_signed;
};

static const struct {
    int32_t dtype, size;
    const char *name;
} dtypes[] = {
    {NMI_DTYPE_F32, 4, "F32"},   {NMI_DTYPE_F64, 8, "F64"},   {NMI_DTYPE_I64, 8, "I64"},
    {NMI_DTYPE_U64, 8, "U64"},   {NMI_DTYPE_U8, 1, "U8"},     {NMI_DTYPE_I32, 4, "I32"},
    {NMI_DTYPE_U32, 4, "U32"},   {NMI_DTYPE_I16, 2, "I16"},   {NMI_DTYPE_U16, 2, "U16"},
    {NMI_DTYPE_I8, 1, "I8"},     {NMI_DTYPE_BOOL, 1, "BOOL"}, {NMI_DTYPE_F16, 2, "F16"},
    {NMI_DTYPE_BF16, 2, "BF16"},
};

enum { DTYPE_COUNT = sizeof dtypes / sizeof dtypes[0] };

const char *nmi_dtype_name(int32_t dtype)
{
    return dtype >= 1 && dtype <= DTYPE_COUNT ? dtypes[dtype - 1].name : NULL;
}

int32_t nmi_dtype_size(int32_t dtype)
{
    return dtype >= 1 && dtype <= DTYPE_COUNT ? dtypes[dtype - 1].size : 0;
}

bool nmi_tensor_name_is_clean(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > NMI_SAFETENSORS_NAME)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

bool nmi_host_is_little_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

void nmi_copy_swapped(void *out, const void *in, int64_t count, int32_t size)
{
    unsigned char *target = out;
    const unsigned char *source = in;
    for (int64_t i = 0; i < count; i++)
        for (int32_t byte = 0; byte < size; byte++)
            target[i * size + byte] = source[i * size + size - 1 - byte];
}

/* --- checking --- */

static neumeta_status parse_dtype(nmi_context *context, const char *object, nmi_tensor_entry *entry)
{
    const char *text = nmi_json_string(nmi_json_get(object, "dtype"));
    if (text == NULL)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "dtype is missing or not a string");
    for (int32_t i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(text, dtypes[i].name) == 0)
            entry->dtype = dtypes[i].dtype;
    if (entry->dtype == 0)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "dtype '%.32s' is unknown", text);
    return NEUMETA_OK;
}

static neumeta_status parse_shape(nmi_context *context, const char *object, nmi_tensor_entry *entry)
{
    const char *shape = nmi_json_get(object, "shape");
    nmi_json_walk walk = nmi_json_open(shape);
    if (!nmi_json_is_list(shape))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape is missing or not a list");
    const size_t rank = nmi_json_count(shape);
    if (rank > NMI_SAFETENSORS_RANK)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has %zu dimensions, at most %d can be",
                        rank, (int)NMI_SAFETENSORS_RANK);
    entry->rank = (int32_t)rank;
    entry->elements = 1;
    for (int32_t i = 0; nmi_json_next(&walk); i++) {
        if (!nmi_json_integer(walk.value, &entry->dims[i]) || entry->dims[i] < 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT,
                            "dimension %d of the shape is not a non-negative whole number", (int)i);
        if (!nmi_multiply(entry->elements, entry->dims[i], &entry->elements))
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has too many elements to count");
    }
    if (!nmi_multiply(entry->elements, nmi_dtype_size(entry->dtype), &entry->bytes))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has too many bytes to count");
    return NEUMETA_OK;
}

static neumeta_status parse_offsets(const nmi_safetensors *file, const char *object,
                                    nmi_tensor_entry *entry)
{
    const char *offsets = nmi_json_get(object, "data_offsets");
    nmi_json_walk walk = nmi_json_open(offsets);
    int64_t ends[2] = {0, 0};
    bool good = nmi_json_is_list(offsets) && nmi_json_count(offsets) == 2;
    for (int i = 0; i < 2 && good; i++) {
        nmi_json_next(&walk);
        good = nmi_json_integer(walk.value, &ends[i]);
    }
    if (!good)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "data_offsets is missing or not a pair of whole numbers");
    if (ends[0] < 0 || ends[0] > ends[1] || ends[1] > file->data_size)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "data_offsets are [%lld, %lld], must rise within the %lld bytes of data",
                        (long long)ends[0], (long long)ends[1], (long long)file->data_size);
    if (ends[1] - ends[0] != entry->bytes)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "data_offsets span %lld bytes, but dtype and shape make %lld",
                        (long long)(ends[1] - ends[0]), (long long)entry->bytes);
    entry->data = file->data + ends[0];
    return NEUMETA_OK;
}

static neumeta_status parse_entry(const nmi_safetensors *file, const char *name, const char *object,
                                  nmi_tensor_entry *entry)
{
    nmi_context *context = file->context;
    neumeta_status status = NEUMETA_OK;
    *entry = (nmi_tensor_entry){.name = name};
    if (!nmi_tensor_name_is_clean(name))
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "tensor name '%.64s' is empty, longer than %d bytes or not printable", name,
                        (int)NMI_SAFETENSORS_NAME);
    /* A further field could change what the known ones mean. */
    if (!nmi_json_is_object(object) || nmi_json_count(object) != 3)
        status = nmi_fail(context, NEUMETA_ERR_FORMAT,
                          "must be an object of exactly dtype, shape and data_offsets");
    if (status == NEUMETA_OK)
        status = parse_dtype(context, object, entry);
    if (status == NEUMETA_OK)
        status = parse_shape(context, object, entry);
    if (status == NEUMETA_OK)
        status = parse_offsets(file, object, entry);
    if (status < 0)
        nmi_fail_within(context, status, "tensor '%s'", name);
    return status;
}

static neumeta_status check_metadata(const nmi_safetensors *file)
{
    const char *twice = NULL;
    nmi_json_walk walk = nmi_json_open(file->metadata);
    if (!nmi_json_is_object(file->metadata))
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        NMI_SAFETENSORS_METADATA " is not an object");
    while (nmi_json_next(&walk))
        if (nmi_json_string(walk.value) == NULL)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                            "value of '%.64s' in " NMI_SAFETENSORS_METADATA " is not a string",
                            walk.name);
    const neumeta_status status = nmi_json_repeated(file->context, file->metadata, &twice);
    if (status == NEUMETA_OK && twice != NULL)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "'%.64s' occurs twice in " NMI_SAFETENSORS_METADATA, twice);
    return status;
}

/* --- order --- */

static const place *place_at(const nmi_safetensors *file, uint32_t index)
{
    return &file->places[file->by_data[index]];
}

static const char *name_at(const nmi_safetensors *file, uint32_t index)
{
    return file->root + place_at(file, index)->name;
}

static bool data_comes_before(const void *user, uint32_t a, uint32_t b)
{
    const nmi_safetensors *file = user;
    const place *first = &file->places[a], *second = &file->places[b];
    if (first->begin != second->begin)
        return first->begin < second->begin;
    if (first->end != second->end)
        return first->end < second->end;
    return strcmp(file->root + first->name, file->root + second->name) < 0;
}

static bool name_comes_before(const void *user, uint32_t a, uint32_t b)
{
    return strcmp(name_at(user, a), name_at(user, b)) < 0;
}

/* Orders by data and by name, since looking each tensor up must not take the square of their
 * number. */
static neumeta_status order_places(nmi_safetensors *file)
{
    const uint32_t count = (uint32_t)file->count;
    file->by_data = nmi_alloc_array(file->context, file->count, sizeof *file->by_data);
    file->by_name = nmi_alloc_array(file->context, file->count, sizeof *file->by_name);
    if (file->by_data == NULL || file->by_name == NULL)
        return NEUMETA_ERR_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        file->by_data[i] = file->by_name[i] = i;
    nmi_sort(file->by_data, count, data_comes_before, file);
    nmi_sort(file->by_name, count, name_comes_before, file);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(name_at(file, file->by_name[i - 1]), name_at(file, file->by_name[i])) == 0)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT, "tensor '%s' occurs twice",
                            name_at(file, file->by_name[i]));
    return NEUMETA_OK;
}

/* Tensors must tile the data: neither overlaps nor bytes that belong to nobody. */
static neumeta_status check_tiling(const nmi_safetensors *file)
{
    int64_t position = 0;
    for (uint32_t i = 0; i < (uint32_t)file->count; i++) {
        const place *at = place_at(file, i);
        if (at->begin < position)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s': data overlaps that of tensor '%s'", name_at(file, i),
                            name_at(file, i - 1));
        if (at->begin > position)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s': %lld bytes before its data belong to no tensor",
                            name_at(file, i), (long long)(at->begin - position));
        position = at->end;
    }
    if (position != file->data_size)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "the last %lld bytes belong to no tensor",
                        (long long)(file->data_size - position));
    return NEUMETA_OK;
}

/* --- the whole --- */

static neumeta_status take_metadata(nmi_safetensors *file, const char *value)
{
    if (file->metadata != NULL)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        NMI_SAFETENSORS_METADATA " occurs twice");
    file->metadata = value;
    return check_metadata(file);
}

static neumeta_status take_tensor(nmi_safetensors *file, const char *name, const char *object)
{
    nmi_tensor_entry entry;
    const neumeta_status status = parse_entry(file, name, object, &entry);
    if (status < 0)
        return status;
    const int64_t begin = entry.data - file->data;
    file->places[file->count++] =
        (place){begin, begin + entry.bytes, (uint32_t)(name - file->root)};
    return NEUMETA_OK;
}

/* Checks all members of the header and notes where the tensors are. */
static neumeta_status parse_members(nmi_safetensors *file)
{
    nmi_json_walk walk = nmi_json_open(file->root);
    neumeta_status status = NEUMETA_OK;
    file->places =
        nmi_alloc_array(file->context, (int64_t)nmi_json_count(file->root), sizeof *file->places);
    if (file->places == NULL)
        return NEUMETA_ERR_MEMORY;
    while (status == NEUMETA_OK && nmi_json_next(&walk))
        status = strcmp(walk.name, NMI_SAFETENSORS_METADATA) == 0
                     ? take_metadata(file, walk.value)
                     : take_tensor(file, walk.name, walk.value);
    return status;
}

/* The header as text that may be changed: in the file's own bytes, or copied. */
static neumeta_status parse_header(nmi_safetensors *file, const unsigned char *bytes, size_t size)
{
    char *text = file->owned != NULL ? (char *)file->owned + 8 : nmi_alloc(file->context, size);
    if (text == NULL)
        return NEUMETA_ERR_MEMORY;
    if (file->owned == NULL) {
        file->copy = text;
        memcpy(text, bytes + 8, size);
    }
    return nmi_json_read(file->context, "header", text, size, &file->root);
}

static neumeta_status parse_file(nmi_safetensors *file, const unsigned char *bytes, int64_t size)
{
    uint64_t header = 0;
    if (size < 8)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "%lld bytes are too few for a safetensors file", (long long)size);
    for (int32_t i = 7; i >= 0; i--)
        header = header << 8 | bytes[i];
    if (header > NMI_SAFETENSORS_HEADER)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "not a safetensors file: header of %llu bytes, at most %d can be",
                        (unsigned long long)header, (int)NMI_SAFETENSORS_HEADER);
    if ((int64_t)header > size - 8)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "cut short: header of %llu bytes, but only %lld follow",
                        (unsigned long long)header, (long long)(size - 8));
    if (header == 0 || bytes[8] != '{')
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "not a safetensors file: the header does not begin with '{'");
    const size_t begin = 8 + (size_t)header;
    file->data = bytes + begin;
    file->data_size = size - (int64_t)begin;
    file->is_signed = nmi_checksum_is_there(bytes, begin);
    neumeta_status status = NEUMETA_OK;
    if (file->is_signed)
        status = nmi_checksum_verify_header(file->context, bytes, begin);
    if (status == NEUMETA_OK)
        status = parse_header(file, bytes, (size_t)header);
    if (status == NEUMETA_OK)
        status = parse_members(file);
    if (status == NEUMETA_OK)
        status = order_places(file);
    if (status == NEUMETA_OK)
        status = check_tiling(file);
    if (status == NEUMETA_OK && file->is_signed)
        status = nmi_checksum_verify_tensors(file->context,
                                             nmi_safetensors_text(file, NMI_CHECKSUM_KEY), file);
    return status;
}

/* --- entry points --- */

/* Takes `owned` (may be NULL) in any case. */
static neumeta_status create(nmi_context *context, const char *name, unsigned char *owned,
                             const void *data, int64_t size, nmi_safetensors **out)
{
    *out = NULL;
    nmi_safetensors *file = nmi_alloc_zero(context, sizeof *file);
    if (file == NULL) {
        nmi_free(context, owned);
        return NEUMETA_ERR_MEMORY;
    }
    file->context = nmi_context_retain(context);
    file->owned = owned;
    file->name = nmi_text_copy(context, name);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (file->name != NULL)
        status = parse_file(file, data, size);
    if (status == NEUMETA_OK) {
        *out = file;
        return status;
    }
    if (file->name != NULL)
        nmi_safetensors_within(file, status);
    nmi_safetensors_free(file);
    return status;
}

neumeta_status nmi_safetensors_parse(nmi_context *context, const char *file_name, const void *data,
                                     int64_t size, nmi_safetensors **out)
{
    return create(context, file_name, NULL, data, size, out);
}

neumeta_status nmi_safetensors_open(nmi_context *context, const char *path, nmi_safetensors **out)
{
    unsigned char *bytes;
    int64_t size;
    *out = NULL;
    neumeta_status status = nmi_file_read(context, path, &bytes, &size);
    return status < 0 ? status : create(context, path, bytes, bytes, size, out);
}

void nmi_safetensors_free(nmi_safetensors *file)
{
    if (file == NULL)
        return;
    nmi_context *context = file->context;
    nmi_free(context, file->by_name);
    nmi_free(context, file->by_data);
    nmi_free(context, file->places);
    nmi_free(context, file->copy);
    nmi_free(context, file->name);
    nmi_free(context, file->owned);
    nmi_free(context, file);
    nmi_context_release(context);
}

int32_t nmi_safetensors_count(const nmi_safetensors *file)
{
    return file->count;
}

bool nmi_safetensors_at(const nmi_safetensors *file, int32_t index, nmi_tensor_entry *out)
{
    if (index < 0 || index >= file->count)
        return false;
    const char *name = name_at(file, (uint32_t)index);
    const char *object = name + strlen(name) + 2; /* behind its zero and the colon */
    return parse_entry(file, name, object, out) == NEUMETA_OK;
}

int32_t nmi_safetensors_index(const nmi_safetensors *file, const char *name)
{
    int32_t low = 0, high = file->count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const uint32_t index = file->by_name[middle];
        const int difference = strcmp(name_at(file, index), name);
        if (difference == 0)
            return (int32_t)index;
        difference < 0 ? (low = middle + 1) : (high = middle);
    }
    return -1;
}

bool nmi_safetensors_find(const nmi_safetensors *file, const char *name, nmi_tensor_entry *out)
{
    return nmi_safetensors_at(file, nmi_safetensors_index(file, name), out);
}

const char *nmi_safetensors_text(const nmi_safetensors *file, const char *key)
{
    return nmi_json_string(nmi_json_get(file->metadata, key));
}

nmi_context *nmi_safetensors_context(const nmi_safetensors *file)
{
    return file->context;
}

bool nmi_safetensors_is_signed(const nmi_safetensors *file)
{
    return file->is_signed;
}

neumeta_status nmi_safetensors_within(const nmi_safetensors *file, neumeta_status status)
{
    if (status < 0 && file->name[0] != '\0')
        nmi_fail_within(file->context, status, "'%s'", file->name);
    return status;
}
