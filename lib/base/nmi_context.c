/* SPDX-License-Identifier: MIT */
/* Life of a context, its default allocator and the flag that keeps a second thread out. */
#include "nmi_context.h"

#include <stdlib.h>
#include <string.h>

static void *default_allocate(void *user, uint64_t size, uint64_t alignment)
{
    (void)user;
    /* C11 wants the size to be a multiple of the alignment; nmi_alloc() leaves room for it. */
    return aligned_alloc((size_t)alignment, (size_t)((size + alignment - 1) & ~(alignment - 1)));
}

static void default_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

neumeta_status nmi_context_create(neumeta_alloc_fn allocate, neumeta_release_fn release, void *user,
                                  nmi_context **out)
{
    *out = NULL;
    if ((allocate == NULL) != (release == NULL))
        return NEUMETA_ERR_ARGUMENT;
    if (allocate == NULL) {
        allocate = default_allocate;
        release = default_release;
    }
    nmi_context *context = allocate(user, sizeof *context, NMI_ALIGNMENT);
    if (context == NULL)
        return NEUMETA_ERR_MEMORY;
    memset(context, 0, sizeof *context);
    atomic_init(&context->references, 1);
    atomic_flag_clear(&context->busy);
    context->allocate = allocate;
    context->release = release;
    context->allocator_user = user;
    *out = context;
    return NEUMETA_OK;
}

nmi_context *nmi_context_retain(nmi_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void nmi_context_release(nmi_context *context)
{
    if (context == NULL)
        return;
    int before = atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel);
    NMI_ASSERT(before > 0);
    if (before != 1)
        return;
    nmi_workers_free(context);
    nmi_free(context, context);
}

bool nmi_enter(nmi_context *context)
{
    return !atomic_flag_test_and_set_explicit(&context->busy, memory_order_acquire);
}

void nmi_leave(nmi_context *context)
{
    atomic_flag_clear_explicit(&context->busy, memory_order_release);
}
