/* SPDX-License-Identifier: MIT */
/* All memory of the library: one place that asks the allocator, checks sizes and reports. */
#include "nmi_context.h"

#include <inttypes.h>
#include <string.h>

bool nmi_multiply(int64_t a, int64_t b, int64_t *out)
{
    if (a < 0 || b < 0 || (b != 0 && a > INT64_MAX / b))
        return false;
    *out = a * b;
    return true;
}

bool nmi_add(int64_t a, int64_t b, int64_t *out)
{
    if (a < 0 || b < 0 || a > INT64_MAX - b)
        return false;
    *out = a + b;
    return true;
}

void *nmi_alloc(nmi_context *context, size_t bytes)
{
    void *memory = NULL;
    /* Pointer differences must fit, so nothing larger than PTRDIFF_MAX is an object. */
    if (bytes <= (size_t)PTRDIFF_MAX - NMI_ALIGNMENT)
        memory = context->allocate(context->allocator_user, bytes > 0 ? bytes : 1, NMI_ALIGNMENT);
    if (memory == NULL)
        nmi_fail(context, NEUMETA_ERR_MEMORY, "out of memory: %zu bytes were wanted", bytes);
    return memory;
}

void *nmi_alloc_zero(nmi_context *context, size_t bytes)
{
    void *memory = nmi_alloc(context, bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void *nmi_alloc_matrix(nmi_context *context, int64_t rows, int64_t columns, size_t item)
{
    int64_t count;
    int64_t bytes;
    if (!nmi_multiply(rows, columns, &count) || !nmi_multiply(count, (int64_t)item, &bytes) ||
        (uint64_t)bytes > SIZE_MAX) {
        nmi_fail(context, NEUMETA_ERR_MEMORY,
                 "out of memory: %" PRId64 " x %" PRId64 " items of %zu bytes were wanted", rows,
                 columns, item);
        return NULL;
    }
    return nmi_alloc(context, (size_t)bytes);
}

void *nmi_alloc_array(nmi_context *context, int64_t count, size_t item)
{
    return nmi_alloc_matrix(context, 1, count, item);
}

void *nmi_alloc_zero_array(nmi_context *context, int64_t count, size_t item)
{
    void *memory = nmi_alloc_array(context, count, item);
    if (memory != NULL)
        memset(memory, 0, (size_t)count * item);
    return memory;
}

void nmi_free(nmi_context *context, void *memory)
{
    if (memory != NULL)
        context->release(context->allocator_user, memory);
}

char *nmi_text_copy(nmi_context *context, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = nmi_alloc(context, size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}
