/* SPDX-License-Identifier: MIT */
/* Sorting of numbers that stand for something else. */
#ifndef NMI_SORT_H
#define NMI_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef bool (*nmi_before)(const void *user, uint32_t a, uint32_t b);

/* Without memory of its own, and in no more than count * log(count) steps whatever the order was:
 * qsort() promises neither. */
void nmi_sort(uint32_t *order, size_t count, nmi_before before, const void *user);

#endif
