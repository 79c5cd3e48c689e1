/* SPDX-License-Identifier: MIT */
/* Reference counts of handles. Dropping is a release and the last drop an acquire, so that the
 * thread which frees sees everything that other threads did to the handle before. */
#include "nmi_context.h"

void nmi_object_init(nmi_object *object, nmi_context *context)
{
    atomic_init(&object->references, 1);
    object->context = nmi_context_retain(context);
}

void nmi_object_retain(nmi_object *object)
{
    atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
}

bool nmi_object_release(nmi_object *object)
{
    int before = atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel);
    NMI_ASSERT(before > 0);
    return before == 1;
}
