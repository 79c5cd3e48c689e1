/* SPDX-License-Identifier: MIT */
/* Reads safetensors. The file is hostile: nothing in it is used before it is checked. */
#include "nmi_safetensors.h"

#include "nmi_checksum.h"
#include "nmi_json.h"
#include "nmi_safetensors_bytes.h"

#include <stdio.h>
#include <string.h>

struct nmi_safetensors {
    nmi_context *context; /* retained */
    char *name;
    unsigned char *owned; /* the file's bytes, or NULL if they are borrowed */
    json_t *root;         /* holds all names */
    const json_t *metadata;
    nmi_tensor_entry *entries;        /* in the order of the data */
    const nmi_tensor_entry **by_name; /* the same in that of names */
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

static neumeta_status parse_dtype(nmi_context *context, const json_t *object,
                                  nmi_tensor_entry *entry)
{
    const char *text = json_string_value(json_object_get(object, "dtype"));
    if (text == NULL)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "dtype is missing or not a string");
    for (int32_t i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(text, dtypes[i].name) == 0)
            entry->dtype = dtypes[i].dtype;
    if (entry->dtype == 0)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "dtype '%.32s' is unknown", text);
    return NEUMETA_OK;
}

static neumeta_status parse_shape(nmi_context *context, const json_t *object,
                                  nmi_tensor_entry *entry)
{
    const json_t *shape = json_object_get(object, "shape");
    if (!json_is_array(shape))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape is missing or not a list");
    if (json_array_size(shape) > NMI_SAFETENSORS_RANK)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has %zu dimensions, at most %d can be",
                        json_array_size(shape), (int)NMI_SAFETENSORS_RANK);
    entry->rank = (int32_t)json_array_size(shape);
    entry->elements = 1;
    for (int32_t i = 0; i < entry->rank; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT,
                            "dimension %d of the shape is not a non-negative whole number", (int)i);
        entry->dims[i] = json_integer_value(dim);
        if (!nmi_multiply(entry->elements, entry->dims[i], &entry->elements))
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has too many elements to count");
    }
    if (!nmi_multiply(entry->elements, nmi_dtype_size(entry->dtype), &entry->bytes))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "shape has too many bytes to count");
    return NEUMETA_OK;
}

static neumeta_status parse_offsets(nmi_context *context, const json_t *object,
                                    const unsigned char *data, int64_t size,
                                    nmi_tensor_entry *entry)
{
    const json_t *offsets = json_object_get(object, "data_offsets");
    const json_t *first = json_array_get(offsets, 0);
    const json_t *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "data_offsets is missing or not a pair of whole numbers");
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || begin > end || end > size)
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "data_offsets are [%lld, %lld], must rise within the %lld bytes of data",
                        (long long)begin, (long long)end, (long long)size);
    if (end - begin != entry->bytes)
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "data_offsets span %lld bytes, but dtype and shape make %lld",
                        (long long)(end - begin), (long long)entry->bytes);
    entry->data = data + begin;
    return NEUMETA_OK;
}

static neumeta_status parse_entry(nmi_context *context, const char *name, const json_t *object,
                                  const unsigned char *data, int64_t size, nmi_tensor_entry *entry)
{
    neumeta_status status = NEUMETA_OK;
    if (!nmi_tensor_name_is_clean(name))
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "tensor name '%.64s' is empty, longer than %d bytes or not printable", name,
                        (int)NMI_SAFETENSORS_NAME);
    entry->name = name;
    /* A further field could change what the known ones mean. */
    if (!json_is_object(object) || json_object_size(object) != 3)
        status = nmi_fail(context, NEUMETA_ERR_FORMAT,
                          "must be an object of exactly dtype, shape and data_offsets");
    if (status == NEUMETA_OK)
        status = parse_dtype(context, object, entry);
    if (status == NEUMETA_OK)
        status = parse_shape(context, object, entry);
    if (status == NEUMETA_OK)
        status = parse_offsets(context, object, data, size, entry);
    if (status < 0)
        nmi_fail_within(context, status, "tensor '%s'", name);
    return status;
}

static neumeta_status check_metadata(nmi_context *context, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, NMI_SAFETENSORS_METADATA " is not an object");
    json_object_foreach (metadata, key, value) {
        if (!json_is_string(value))
            return nmi_fail(context, NEUMETA_ERR_FORMAT,
                            "value of '%.64s' in " NMI_SAFETENSORS_METADATA " is not a string",
                            key);
    }
    return NEUMETA_OK;
}

typedef bool (*before_fn)(const nmi_tensor_entry *a, const nmi_tensor_entry *b);

static bool name_comes_before(const nmi_tensor_entry *a, const nmi_tensor_entry *b)
{
    return strcmp(a->name, b->name) < 0;
}

static bool data_comes_before(const nmi_tensor_entry *a, const nmi_tensor_entry *b)
{
    if (a->data != b->data)
        return a->data < b->data;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes;
    return name_comes_before(a, b);
}

static void sift_down(const nmi_tensor_entry **order, int32_t parent, int32_t count,
                      before_fn before)
{
    for (int32_t child; (child = 2 * parent + 1) < count; parent = child) {
        if (child + 1 < count && before(order[child], order[child + 1]))
            child++;
        if (!before(order[parent], order[child]))
            return;
        const nmi_tensor_entry *moved = order[parent];
        order[parent] = order[child];
        order[child] = moved;
    }
}

/* Heap sort: a hostile order costs no more than another, and qsort() may allocate. The count is
 * bounded by the header's length, so 2 * parent + 1 does not overflow. */
static void sort_entries(const nmi_tensor_entry **order, int32_t count, before_fn before)
{
    for (int32_t i = count / 2 - 1; i >= 0; i--)
        sift_down(order, i, count, before);
    for (int32_t i = count - 1; i > 0; i--) {
        const nmi_tensor_entry *last = order[i];
        order[i] = order[0];
        order[0] = last;
        sift_down(order, 0, i, before);
    }
}

/* Puts the entries into the order of the data, and makes that of the names: looking each tensor up
 * must not take the square of their number. */
static neumeta_status order_entries(nmi_safetensors *file)
{
    nmi_tensor_entry *found = file->entries;
    const nmi_tensor_entry **order =
        nmi_alloc_array(file->context, file->count, sizeof *file->by_name);
    nmi_tensor_entry *sorted = nmi_alloc_array(file->context, file->count, sizeof *sorted);
    if (order == NULL || sorted == NULL) {
        nmi_free(file->context, order);
        nmi_free(file->context, sorted);
        return NEUMETA_ERR_MEMORY;
    }
    for (int32_t i = 0; i < file->count; i++)
        order[i] = &found[i];
    sort_entries(order, file->count, data_comes_before);
    for (int32_t i = 0; i < file->count; i++)
        sorted[i] = *order[i];
    for (int32_t i = 0; i < file->count; i++)
        order[i] = &sorted[i];
    sort_entries(order, file->count, name_comes_before);
    file->entries = sorted;
    file->by_name = order;
    nmi_free(file->context, found);
    return NEUMETA_OK;
}

/* Tensors must tile the data: neither overlaps nor bytes that belong to nobody. */
static neumeta_status check_tiling(const nmi_safetensors *file, const unsigned char *data,
                                   int64_t size)
{
    const unsigned char *position = data;
    for (int32_t i = 0; i < file->count; i++) {
        const nmi_tensor_entry *entry = &file->entries[i];
        if (entry->data < position)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s': data overlaps that of tensor '%s'", entry->name,
                            file->entries[i - 1].name);
        if (entry->data > position)
            return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s': %lld bytes before its data belong to no tensor",
                            entry->name, (long long)(entry->data - position));
        position += entry->bytes;
    }
    if (position != data + size)
        return nmi_fail(file->context, NEUMETA_ERR_FORMAT,
                        "the last %lld bytes belong to no tensor",
                        (long long)(data + size - position));
    return NEUMETA_OK;
}

static neumeta_status parse_entries(nmi_safetensors *file, const unsigned char *data, int64_t size)
{
    const char *name;
    json_t *value;
    file->entries = nmi_alloc_zero_array(file->context, (int64_t)json_object_size(file->root),
                                         sizeof *file->entries);
    if (file->entries == NULL)
        return NEUMETA_ERR_MEMORY;
    json_object_foreach (file->root, name, value) {
        neumeta_status status;
        if (strcmp(name, NMI_SAFETENSORS_METADATA) == 0) {
            status = check_metadata(file->context, value);
            file->metadata = value;
        } else {
            status =
                parse_entry(file->context, name, value, data, size, &file->entries[file->count]);
            file->count++;
        }
        if (status < 0)
            return status;
    }
    const neumeta_status status = order_entries(file);
    return status == NEUMETA_OK ? check_tiling(file, data, size) : status;
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
    file->is_signed = nmi_checksum_is_there(bytes, begin);
    neumeta_status status = NEUMETA_OK;
    if (file->is_signed)
        status = nmi_checksum_verify_header(file->context, bytes, begin);
    if (status == NEUMETA_OK)
        status = nmi_json_parse(file->context, "header", (const char *)bytes + 8, (size_t)header,
                                &file->root);
    if (status == NEUMETA_OK)
        status = parse_entries(file, bytes + begin, size - (int64_t)begin);
    if (status == NEUMETA_OK && file->is_signed)
        status =
            nmi_checksum_verify_tensors(file->context, nmi_safetensors_text(file, NMI_CHECKSUM_KEY),
                                        file->entries, file->count);
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
    json_decref(file->root);
    nmi_free(context, file->by_name);
    nmi_free(context, file->entries);
    nmi_free(context, file->name);
    nmi_free(context, file->owned);
    nmi_free(context, file);
    nmi_context_release(context);
}

int32_t nmi_safetensors_count(const nmi_safetensors *file)
{
    return file->count;
}

const nmi_tensor_entry *nmi_safetensors_at(const nmi_safetensors *file, int32_t index)
{
    return index >= 0 && index < file->count ? &file->entries[index] : NULL;
}

const nmi_tensor_entry *nmi_safetensors_find(const nmi_safetensors *file, const char *name)
{
    int32_t low = 0, high = file->count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int difference = strcmp(file->by_name[middle]->name, name);
        if (difference == 0)
            return file->by_name[middle];
        difference < 0 ? (low = middle + 1) : (high = middle);
    }
    return NULL;
}

const char *nmi_safetensors_text(const nmi_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
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
