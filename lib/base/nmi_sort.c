/* SPDX-License-Identifier: MIT */
/* Heap sort. */
#include "nmi_sort.h"

static void sift_down(uint32_t *order, size_t parent, size_t count, nmi_before before,
                      const void *user)
{
    for (size_t child; (child = 2 * parent + 1) < count; parent = child) {
        if (child + 1 < count && before(user, order[child], order[child + 1]))
            child++;
        if (!before(user, order[parent], order[child]))
            return;
        const uint32_t moved = order[parent];
        order[parent] = order[child];
        order[child] = moved;
    }
}

void nmi_sort(uint32_t *order, size_t count, nmi_before before, const void *user)
{
    for (size_t i = count / 2; i > 0; i--)
        sift_down(order, i - 1, count, before, user);
    for (size_t last = count; last > 1; last--) {
        const uint32_t largest = order[0];
        order[0] = order[last - 1];
        order[last - 1] = largest;
        sift_down(order, 0, last - 1, before, user);
    }
}
