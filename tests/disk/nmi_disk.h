/* SPDX-License-Identifier: MIT */
/*
 * A failing disk. A test program with nmi_disk.c among its sources has its own open(), stat(),
 * fstat(), read(), write(), fsync(), rename() and close() in front of the C library's, and so has
 * the library that it tests.
 */
#ifndef NMI_DISK_H
#define NMI_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* What the chosen call does. SHORT transfers one byte; ENDED says that there is no more. Calls that
 * transfer nothing work under these two. */
typedef enum disk_fault {
    DISK_INTERRUPTED, /* EINTR */
    DISK_BROKEN,      /* EIO */
    DISK_FULL,        /* ENOSPC */
    DISK_SHORT,
    DISK_ENDED,
    DISK_FAULTS
} disk_fault;

typedef struct disk {
    bool watched; /* only then are calls counted, and fail */
    disk_fault fault;
    int64_t fail_at;    /* number, from 1, of the call that fails; 0: none */
    int64_t calls;      /* so far */
    const char *failed; /* name of the function that failed, or NULL */
} disk;

/* The disk of this process. */
extern disk nmi_disk;

#endif
