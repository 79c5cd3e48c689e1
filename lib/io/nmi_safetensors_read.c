/* SPDX-License-Identifier: MIT */
/* Takes tensors out of a file that was read: bits as they are, or any type of numbers as floats. */
#include "nmi_safetensors.h"

#include "nmi_safetensors_bytes.h"

#include <stdio.h>
#include <string.h>

void nmi_tensor_copy(const nmi_tensor_entry *entry, void *out)
{
    if (entry->bytes == 0)
        return;
    if (nmi_host_is_little_endian())
        memcpy(out, entry->data, (size_t)entry->bytes);
    else
        nmi_copy_swapped(out, entry->data, entry->elements, nmi_dtype_size(entry->dtype));
}

/* Elements of any type in between. */
union piece {
    unsigned char bytes[1024];
    double doubles[128];
};

bool nmi_tensor_has_floats(const nmi_tensor_entry *entry)
{
    return entry->dtype == NMI_DTYPE_F32 || entry->dtype == NMI_DTYPE_F16 ||
           entry->dtype == NMI_DTYPE_BF16 || entry->dtype == NMI_DTYPE_F64;
}

bool nmi_tensor_copy_floats(const nmi_tensor_entry *entry, float *out)
{
    union piece piece;
    const int32_t size = nmi_dtype_size(entry->dtype);
    const int64_t step = (int64_t)sizeof piece / size;
    if (entry->dtype == NMI_DTYPE_F32) {
        nmi_tensor_copy(entry, out);
        return true;
    }
    if (!nmi_tensor_has_floats(entry))
        return false;
    for (int64_t i = 0; i < entry->elements; i += step) {
        nmi_tensor_entry part = *entry;
        part.elements = entry->elements - i < step ? entry->elements - i : step;
        part.bytes = part.elements * size;
        part.data = entry->data + i * size;
        nmi_tensor_copy(&part, piece.bytes);
        nmi_floats_widen(entry->dtype, part.elements, &piece, out + i);
    }
    return true;
}

static void shape_text(int32_t rank, const int64_t *dims, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int32_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "",
                                 (long long)dims[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

enum { ANY_FLOATS = 0 }; /* in place of a type: one that 32 bits or fewer hold */

static bool is_of_type(const nmi_tensor_entry *entry, int32_t dtype)
{
    if (dtype != ANY_FLOATS)
        return entry->dtype == dtype;
    return nmi_tensor_has_floats(entry) && entry->dtype != NMI_DTYPE_F64;
}

static neumeta_status compare(nmi_context *context, const nmi_tensor_entry *entry, int32_t dtype,
                              int32_t rank, const int64_t *dims)
{
    enum { SHAPE_TEXT = 200 }; /* 8 numbers of up to 19 digits, with what separates them */
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    bool equal = is_of_type(entry, dtype) && entry->rank == rank;
    for (int32_t i = 0; equal && i < rank; i++)
        equal = entry->dims[i] == dims[i];
    if (equal)
        return NEUMETA_OK;
    shape_text(entry->rank, entry->dims, found, sizeof found);
    shape_text(rank, dims, wanted, sizeof wanted);
    return nmi_fail(context, NEUMETA_ERR_FORMAT, "is %s %s, must be %s %s",
                    nmi_dtype_name(entry->dtype), found,
                    dtype != ANY_FLOATS ? nmi_dtype_name(dtype) : "F32, F16, BF16 or I8", wanted);
}

/* The entry of this type and shape. */
static neumeta_status find(const nmi_safetensors *file, const char *name, int32_t dtype,
                           int32_t rank, const int64_t *dims, nmi_tensor_entry *out)
{
    nmi_context *context = nmi_safetensors_context(file);
    const neumeta_status status = nmi_safetensors_find(file, name, out)
                                      ? compare(context, out, dtype, rank, dims)
                                      : nmi_fail(context, NEUMETA_ERR_FORMAT, "is missing");
    if (status < 0)
        nmi_fail_within(context, status, "tensor '%s'", name);
    return nmi_safetensors_within(file, status);
}

neumeta_status nmi_safetensors_expect(const nmi_safetensors *file, const char *name, int32_t dtype,
                                      int32_t rank, const int64_t *dims)
{
    nmi_tensor_entry entry;
    return find(file, name, dtype, rank, dims, &entry);
}

void nmi_tensor_scale_name(const char *name, char out[NMI_SAFETENSORS_SCALE_NAME])
{
    snprintf(out, NMI_SAFETENSORS_SCALE_NAME, "%s/scale", name);
}

/* A tensor of floats, or of I8 and then its scales, which otherwise have no data. */
static neumeta_status find_floats(const nmi_safetensors *file, const char *name, int32_t rank,
                                  const int64_t *dims, nmi_tensor_entry *out,
                                  nmi_tensor_entry *scales)
{
    char text[NMI_SAFETENSORS_SCALE_NAME];
    *scales = (nmi_tensor_entry){.data = NULL};
    if (rank < NMI_SAFETENSORS_SCALED || !nmi_safetensors_find(file, name, out) ||
        out->dtype != NMI_DTYPE_I8)
        return find(file, name, ANY_FLOATS, rank, dims, out);
    neumeta_status status = find(file, name, NMI_DTYPE_I8, rank, dims, out);
    nmi_tensor_scale_name(name, text);
    return status == NEUMETA_OK ? find(file, text, NMI_DTYPE_F32, 1, dims, scales) : status;
}

neumeta_status nmi_safetensors_expect_floats(const nmi_safetensors *file, const char *name,
                                             int32_t rank, const int64_t *dims)
{
    nmi_tensor_entry entry, scales;
    return find_floats(file, name, rank, dims, &entry, &scales);
}

neumeta_status nmi_safetensors_read(const nmi_safetensors *file, const char *name, int32_t dtype,
                                    int32_t rank, const int64_t *dims, void *out)
{
    nmi_tensor_entry entry;
    const neumeta_status status = find(file, name, dtype, rank, dims, &entry);
    if (status == NEUMETA_OK)
        nmi_tensor_copy(&entry, out);
    return status;
}

static void copy_scaled(const nmi_tensor_entry *entry, const nmi_tensor_entry *scales, float *out)
{
    const int64_t rows = scales->elements, columns = rows > 0 ? entry->elements / rows : 0;
    for (int64_t r = 0; r < rows; r++) {
        float scale;
        nmi_tensor_entry one = *scales;
        one.elements = 1;
        one.bytes = (int64_t)sizeof scale;
        one.data = scales->data + r * one.bytes;
        nmi_tensor_copy(&one, &scale);
        for (int64_t i = r * columns; i < (r + 1) * columns; i++)
            out[i] = scale * (float)(int8_t)entry->data[i];
    }
}

neumeta_status nmi_safetensors_read_floats(const nmi_safetensors *file, const char *name,
                                           int32_t rank, const int64_t *dims, float *out)
{
    nmi_tensor_entry entry, scales;
    const neumeta_status status = find_floats(file, name, rank, dims, &entry, &scales);
    if (status == NEUMETA_OK && scales.data != NULL)
        copy_scaled(&entry, &scales, out);
    else if (status == NEUMETA_OK)
        nmi_tensor_copy_floats(&entry, out);
    return status;
}

void nmi_safetensors_mark(const nmi_safetensors *file, const char *name, bool *marks)
{
    char text[NMI_SAFETENSORS_SCALE_NAME];
    nmi_tensor_entry entry;
    int32_t index = nmi_safetensors_index(file, name);
    if (index < 0 || !nmi_safetensors_at(file, index, &entry))
        return;
    marks[index] = true;
    nmi_tensor_scale_name(name, text);
    index = entry.dtype == NMI_DTYPE_I8 ? nmi_safetensors_index(file, text) : -1;
    if (index >= 0)
        marks[index] = true;
}
