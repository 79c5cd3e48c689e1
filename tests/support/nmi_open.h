/* SPDX-License-Identifier: MIT */
/* For programs with an open() of their own in front of the C library's. */
#ifndef NMI_OPEN_H
#define NMI_OPEN_H

#include <fcntl.h>
#include <stdarg.h>

/* The mode of a new file, which follows `flags` only if these create one. */
static inline mode_t open_mode(int flags, va_list more)
{
    return (flags & O_CREAT) != 0 ? (mode_t)va_arg(more, unsigned) : 0;
}

#endif
