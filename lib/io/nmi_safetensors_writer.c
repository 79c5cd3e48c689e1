/* SPDX-License-Identifier: MIT */
/* Writes safetensors: collects tensors and metadata, then gives the bytes to a sink. */
#include "nmi_safetensors.h"

#include "nmi_checksum.h"
#include "nmi_json.h"
#include "nmi_safetensors_bytes.h"

#include <string.h>

struct nmi_safetensors_writer {
    nmi_context *context;      /* retained */
    json_t *metadata;          /* in order of the calls */
    nmi_tensor_entry *entries; /* names are owned; data is in the host's byte order */
    int32_t count, capacity;
    bool is_signed;
    struct kept *kept;
};

/* Values that the writer owns because it rounded them. */
struct kept {
    struct kept *next;
    unsigned char bytes[];
};

neumeta_status nmi_safetensors_writer_create(nmi_context *context, nmi_safetensors_writer **out)
{
    *out = NULL;
    nmi_safetensors_writer *writer = nmi_alloc_zero(context, sizeof *writer);
    if (writer == NULL)
        return NEUMETA_ERR_MEMORY;
    writer->metadata = json_object();
    if (writer->metadata == NULL) {
        nmi_free(context, writer);
        return nmi_json_memory(context);
    }
    writer->context = nmi_context_retain(context);
    *out = writer;
    return NEUMETA_OK;
}

static char *owned_name(const nmi_tensor_entry *entry)
{
    return (char *)(uintptr_t)entry->name;
}

void nmi_safetensors_writer_free(nmi_safetensors_writer *writer)
{
    if (writer == NULL)
        return;
    nmi_context *context = writer->context;
    for (int32_t i = 0; i < writer->count; i++)
        nmi_free(context, owned_name(&writer->entries[i]));
    while (writer->kept != NULL) {
        struct kept *next = writer->kept->next;
        nmi_free(context, writer->kept);
        writer->kept = next;
    }
    nmi_free(context, writer->entries);
    json_decref(writer->metadata);
    nmi_free(context, writer);
    nmi_context_release(context);
}

nmi_context *nmi_safetensors_writer_context(const nmi_safetensors_writer *writer)
{
    return writer->context;
}

static neumeta_status check_name(nmi_context *context, const char *kind, const char *name)
{
    if (nmi_tensor_name_is_clean(name) && strcmp(name, NMI_SAFETENSORS_METADATA) != 0)
        return nmi_json_check_text(context, name, kind);
    return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                    "%s '%.64s' cannot be written: it must be 1 to %d printable bytes other than "
                    "'" NMI_SAFETENSORS_METADATA "'",
                    kind, name, (int)NMI_SAFETENSORS_NAME);
}

neumeta_status nmi_safetensors_add_text(nmi_safetensors_writer *writer, const char *key,
                                        const char *value)
{
    nmi_context *context = writer->context;
    neumeta_status status = check_name(context, "metadata key", key);
    if (status < 0)
        return status;
    if (json_object_get(writer->metadata, key) != NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "metadata key '%s' is used twice", key);
    status = nmi_json_put_text(context, writer->metadata, key, value, "value");
    return status < 0 ? nmi_fail_within(context, status, "metadata '%s'", key) : status;
}

neumeta_status nmi_safetensors_sign(nmi_safetensors_writer *writer)
{
    NMI_ASSERT(json_object_size(writer->metadata) == 0);
    writer->is_signed = true;
    return nmi_safetensors_add_text(writer, NMI_CHECKSUM_KEY, ""); /* make_header() fills it */
}

static neumeta_status grow(nmi_safetensors_writer *writer)
{
    if (writer->count < writer->capacity)
        return NEUMETA_OK;
    int32_t capacity = writer->capacity == 0 ? 16 : 2 * writer->capacity;
    nmi_tensor_entry *entries =
        nmi_alloc_zero_array(writer->context, capacity, sizeof *writer->entries);
    if (entries == NULL)
        return NEUMETA_ERR_MEMORY;
    if (writer->count > 0)
        memcpy(entries, writer->entries, (size_t)writer->count * sizeof *entries);
    nmi_free(writer->context, writer->entries);
    writer->entries = entries;
    writer->capacity = capacity;
    return NEUMETA_OK;
}

static neumeta_status measure(nmi_context *context, nmi_tensor_entry *entry, const int64_t *dims)
{
    if (nmi_dtype_name(entry->dtype) == NULL || entry->rank < 0 ||
        entry->rank > NMI_SAFETENSORS_RANK)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "type %d or rank %d cannot be written",
                        (int)entry->dtype, (int)entry->rank);
    entry->elements = 1;
    for (int32_t i = 0; i < entry->rank; i++) {
        entry->dims[i] = dims[i];
        if (!nmi_multiply(entry->elements, dims[i], &entry->elements))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "dimension %d is %lld: negative or too large", (int)i,
                            (long long)dims[i]);
    }
    if (!nmi_multiply(entry->elements, nmi_dtype_size(entry->dtype), &entry->bytes))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "it has too many bytes to count");
    return NEUMETA_OK;
}

neumeta_status nmi_safetensors_add(nmi_safetensors_writer *writer, const char *name, int32_t dtype,
                                   int32_t rank, const int64_t *dims, const void *data)
{
    nmi_context *context = writer->context;
    nmi_tensor_entry entry = {.dtype = dtype, .rank = rank, .data = data};
    neumeta_status status = check_name(context, "tensor name", name);
    if (status < 0)
        return status;
    status = measure(context, &entry, dims);
    if (status < 0)
        return nmi_fail_within(context, status, "tensor '%s'", name);
    status = grow(writer);
    if (status < 0)
        return status;
    entry.name = nmi_text_copy(context, name);
    if (entry.name == NULL)
        return NEUMETA_ERR_MEMORY;
    writer->entries[writer->count++] = entry;
    return NEUMETA_OK;
}

/* Memory that lives as long as the writer; NULL after a message. */
static void *keep(nmi_safetensors_writer *writer, size_t bytes)
{
    struct kept *kept = nmi_alloc(writer->context, sizeof *kept + bytes);
    if (kept == NULL)
        return NULL;
    kept->next = writer->kept;
    writer->kept = kept;
    return kept->bytes;
}

static neumeta_status add_halves(nmi_safetensors_writer *writer, const char *name, int32_t dtype,
                                 int32_t rank, const int64_t *dims, const float *values)
{
    neumeta_status status = nmi_safetensors_add(writer, name, dtype, rank, dims, values);
    if (status < 0)
        return status;
    nmi_tensor_entry *entry = &writer->entries[writer->count - 1];
    uint16_t *halves = keep(writer, (size_t)entry->bytes);
    if (halves == NULL)
        return NEUMETA_ERR_MEMORY;
    entry->data = (const unsigned char *)halves;
    status = nmi_floats_round(writer->context, dtype, entry->elements, values, halves);
    return status < 0 ? nmi_fail_within(writer->context, status, "tensor '%s'", name) : status;
}

/* The matrix, and its rows' scales as a tensor of their own. */
static neumeta_status add_scaled(nmi_safetensors_writer *writer, const char *name, int32_t rank,
                                 const int64_t *dims, const float *values)
{
    char scale_name[NMI_SAFETENSORS_SCALE_NAME];
    neumeta_status status = nmi_safetensors_add(writer, name, NMI_DTYPE_I8, rank, dims, values);
    if (status < 0)
        return status;
    nmi_tensor_entry *entry = &writer->entries[writer->count - 1];
    const int64_t rows = dims[0], columns = rows > 0 ? entry->elements / rows : 0;
    float *scales = keep(writer, (size_t)rows * sizeof *scales);
    int8_t *bytes = keep(writer, (size_t)entry->elements);
    if (scales == NULL || bytes == NULL)
        return NEUMETA_ERR_MEMORY;
    entry->data = (const unsigned char *)bytes;
    status = nmi_floats_scale(writer->context, rows, columns, values, bytes, scales);
    if (status < 0)
        return nmi_fail_within(writer->context, status, "tensor '%s'", name);
    nmi_tensor_scale_name(name, scale_name);
    return nmi_safetensors_add(writer, scale_name, NMI_DTYPE_F32, 1, &rows, scales);
}

neumeta_status nmi_safetensors_add_floats(nmi_safetensors_writer *writer, const char *name,
                                          int32_t dtype, int32_t rank, const int64_t *dims,
                                          const float *values)
{
    if (dtype == NMI_DTYPE_F32)
        return nmi_safetensors_add(writer, name, dtype, rank, dims, values);
    if (dtype == NMI_DTYPE_I8 && rank >= NMI_SAFETENSORS_SCALED)
        return add_scaled(writer, name, rank, dims, values);
    return add_halves(writer, name, dtype == NMI_DTYPE_I8 ? NMI_DTYPE_F16 : dtype, rank, dims,
                      values);
}

/* --- header --- */

static neumeta_status describe(nmi_context *context, json_t *root, const nmi_tensor_entry *entry,
                               int64_t begin)
{
    json_t *object = json_object(), *shape = json_array(), *offsets = json_array();
    neumeta_status status =
        object != NULL && shape != NULL && offsets != NULL ? NEUMETA_OK : nmi_json_memory(context);
    for (int32_t i = 0; status == NEUMETA_OK && i < entry->rank; i++)
        status = nmi_json_append(context, shape, json_integer(entry->dims[i]));
    if (status == NEUMETA_OK)
        status = nmi_json_append(context, offsets, json_integer(begin));
    if (status == NEUMETA_OK)
        status = nmi_json_append(context, offsets, json_integer(begin + entry->bytes));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "dtype", json_string(nmi_dtype_name(entry->dtype)));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "shape", json_incref(shape));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "data_offsets", json_incref(offsets));
    if (status == NEUMETA_OK && json_object_get(root, entry->name) != NULL)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT, "the name is used twice");
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, root, entry->name, json_incref(object));
    json_decref(object);
    json_decref(shape);
    json_decref(offsets);
    return status;
}

typedef neumeta_status (*visit_fn)(void *user, const nmi_tensor_entry *entry);

/* Visits tensors in the order of their data: by falling size of element, so that each is aligned
 * in the file, and within a size as they were added. */
static neumeta_status visit_all(const nmi_safetensors_writer *writer, visit_fn visit, void *user)
{
    for (int32_t size = 8; size >= 1; size /= 2)
        for (int32_t i = 0; i < writer->count; i++) {
            if (nmi_dtype_size(writer->entries[i].dtype) != size)
                continue;
            neumeta_status status = visit(user, &writer->entries[i]);
            if (status < 0)
                return status;
        }
    return NEUMETA_OK;
}

typedef struct header {
    nmi_context *context;
    json_t *root;
    int64_t end; /* of the data described so far; no header makes that too much to count */
} header;

static neumeta_status add_to_header(void *user, const nmi_tensor_entry *entry)
{
    header *state = user;
    int64_t end;
    neumeta_status status;
    if (nmi_add(state->end, entry->bytes, &end) && end <= INT64_MAX - NMI_SAFETENSORS_HEADER - 8)
        status = describe(state->context, state->root, entry, state->end);
    else
        status = nmi_fail(state->context, NEUMETA_ERR_ARGUMENT, "the file becomes too large");
    if (status < 0)
        return nmi_fail_within(state->context, status, "tensor '%s'", entry->name);
    state->end = end;
    return NEUMETA_OK;
}

/* Checksum of a tensor's bytes in the file, which are those in memory on most hosts. */
static neumeta_status sum_up(nmi_context *context, const nmi_tensor_entry *entry, uint64_t *sum)
{
    if (nmi_host_is_little_endian()) {
        *sum = nmi_checksum_tensor(entry->data, entry->bytes);
        return NEUMETA_OK;
    }
    unsigned char *swapped = nmi_alloc(context, (size_t)entry->bytes);
    if (swapped == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_copy_swapped(swapped, entry->data, entry->elements, nmi_dtype_size(entry->dtype));
    *sum = nmi_checksum_tensor(swapped, entry->bytes);
    nmi_free(context, swapped);
    return NEUMETA_OK;
}

typedef struct digits {
    nmi_context *context;
    char *next;
} digits;

static neumeta_status add_digits(void *user, const nmi_tensor_entry *entry)
{
    digits *state = user;
    uint64_t sum = 0;
    neumeta_status status = sum_up(state->context, entry, &sum);
    nmi_checksum_print(sum, state->next);
    state->next += NMI_CHECKSUM_DIGITS;
    return status;
}

/* The header's own digits are left for later. */
static neumeta_status put_checksums(const nmi_safetensors_writer *writer)
{
    nmi_context *context = writer->context;
    const size_t length = ((size_t)writer->count + 1) * NMI_CHECKSUM_DIGITS;
    char *text = nmi_alloc_zero(context, length + 1);
    if (text == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_checksum_print(0, text);
    digits state = {.context = context, .next = text + NMI_CHECKSUM_DIGITS};
    neumeta_status status = visit_all(writer, add_digits, &state);
    if (status == NEUMETA_OK) /* in its old place, the first */
        status = nmi_json_put(context, writer->metadata, NMI_CHECKSUM_KEY, json_string(text));
    nmi_free(context, text);
    return status;
}

/* The length, the JSON text and spaces up to where the data starts. */
static neumeta_status lay_out(nmi_context *context, const json_t *root, unsigned char **bytes,
                              size_t *size)
{
    char *text;
    size_t length;
    neumeta_status status = nmi_json_print(context, root, &text, &length);
    if (status < 0)
        return status;
    size_t total = length + 8 + (NMI_SAFETENSORS_ALIGNMENT - 1);
    total -= total % NMI_SAFETENSORS_ALIGNMENT;
    if (total - 8 > NMI_SAFETENSORS_HEADER) {
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "header has %zu bytes, at most %d can be written", total - 8,
                          (int)NMI_SAFETENSORS_HEADER);
        goto done;
    }
    unsigned char *header_bytes = nmi_alloc(context, total);
    if (header_bytes == NULL) {
        status = NEUMETA_ERR_MEMORY;
        goto done;
    }
    for (int32_t i = 0; i < 8; i++)
        header_bytes[i] = (unsigned char)((uint64_t)(total - 8) >> (8 * i) & 0xff);
    memcpy(header_bytes + 8, text, length);
    memset(header_bytes + 8 + length, ' ', total - 8 - length);
    *bytes = header_bytes;
    *size = total;
done:
    nmi_free(context, text);
    return status;
}

static neumeta_status make_header(const nmi_safetensors_writer *writer, unsigned char **bytes,
                                  size_t *size, int64_t *data_size)
{
    nmi_context *context = writer->context;
    header state = {.context = context, .root = json_object()};
    neumeta_status status = state.root != NULL ? NEUMETA_OK : nmi_json_memory(context);
    *bytes = NULL;
    if (status == NEUMETA_OK && writer->is_signed)
        status = put_checksums(writer);
    if (status == NEUMETA_OK && json_object_size(writer->metadata) > 0)
        status = nmi_json_put(context, state.root, NMI_SAFETENSORS_METADATA,
                              json_incref(writer->metadata));
    if (status == NEUMETA_OK)
        status = visit_all(writer, add_to_header, &state);
    if (status == NEUMETA_OK)
        status = lay_out(context, state.root, bytes, size);
    if (status == NEUMETA_OK && writer->is_signed)
        nmi_checksum_sign(*bytes, *size);
    *data_size = state.end;
    json_decref(state.root);
    return status;
}

/* --- output --- */

typedef struct output {
    nmi_sink sink;
    void *user;
} output;

static neumeta_status put_swapped(const output *out, const nmi_tensor_entry *entry)
{
    unsigned char piece[512];
    int32_t size = nmi_dtype_size(entry->dtype);
    int64_t step = (int64_t)sizeof piece / size;
    for (int64_t i = 0; i < entry->elements; i += step) {
        int64_t count = entry->elements - i < step ? entry->elements - i : step;
        nmi_copy_swapped(piece, entry->data + i * size, count, size);
        neumeta_status status = out->sink(out->user, piece, (size_t)(count * size));
        if (status < 0)
            return status;
    }
    return NEUMETA_OK;
}

static neumeta_status put_data(void *user, const nmi_tensor_entry *entry)
{
    const output *out = user;
    if (entry->bytes == 0)
        return NEUMETA_OK;
    if (!nmi_host_is_little_endian())
        return put_swapped(out, entry);
    return out->sink(out->user, entry->data, (size_t)entry->bytes);
}

neumeta_status nmi_safetensors_write(nmi_safetensors_writer *writer, nmi_sink sink, void *user)
{
    unsigned char *bytes;
    size_t size = 0;
    int64_t data_size;
    output out = {.sink = sink, .user = user};
    neumeta_status status = make_header(writer, &bytes, &size, &data_size);
    if (status == NEUMETA_OK)
        status = sink(user, bytes, size);
    if (status == NEUMETA_OK)
        status = visit_all(writer, put_data, &out);
    nmi_free(writer->context, bytes);
    return status;
}

neumeta_status nmi_safetensors_save(nmi_safetensors_writer *writer, const char *path)
{
    nmi_file_writer *file;
    neumeta_status status = nmi_file_writer_create(writer->context, path, &file);
    if (status < 0)
        return status;
    status = nmi_safetensors_write(writer, nmi_file_write, file);
    if (status == NEUMETA_OK)
        status = nmi_file_commit(file);
    nmi_file_writer_free(file);
    return status;
}

static neumeta_status put_in_memory(void *user, const void *data, size_t size)
{
    unsigned char **position = user;
    memcpy(*position, data, size);
    *position += size;
    return NEUMETA_OK;
}

neumeta_status nmi_safetensors_to_memory(nmi_safetensors_writer *writer, unsigned char **bytes,
                                         int64_t *size)
{
    unsigned char *head;
    size_t head_size = 0;
    int64_t data_size;
    *bytes = NULL;
    *size = 0;
    neumeta_status status = make_header(writer, &head, &head_size, &data_size);
    if (status < 0)
        return status;
    const int64_t total = (int64_t)head_size + data_size;
    unsigned char *memory = nmi_alloc_array(writer->context, total, 1);
    if (memory == NULL) {
        status = NEUMETA_ERR_MEMORY;
        goto done;
    }
    unsigned char *position = memory + head_size;
    output out = {.sink = put_in_memory, .user = &position};
    memcpy(memory, head, head_size);
    visit_all(writer, put_data, &out);
    *bytes = memory;
    *size = total;
done:
    nmi_free(writer->context, head);
    return status;
}
