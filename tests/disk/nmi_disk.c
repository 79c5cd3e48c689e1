/* SPDX-License-Identifier: MIT */
/* The calls themselves are made by other names of the same service: closing a file has none in
 * POSIX, hence the system call. */
#define _GNU_SOURCE
#include "nmi_disk.h"
#include "nmi_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

disk nmi_disk;

/* Whether this call is the one that fails. */
static bool chosen(const char *name, bool transfers)
{
    if (!nmi_disk.watched || ++nmi_disk.calls != nmi_disk.fail_at)
        return false;
    if (!transfers && nmi_disk.fault >= DISK_SHORT)
        return false;
    nmi_disk.failed = name;
    return true;
}

static int fail(void)
{
    static const int errors[] = {
        [DISK_INTERRUPTED] = EINTR, [DISK_BROKEN] = EIO, [DISK_FULL] = ENOSPC};
    errno = errors[nmi_disk.fault];
    return -1;
}

/* The vector that is left of a transfer, and whether the call fails instead. */
static bool transfer_fails(const char *name, struct iovec *piece)
{
    if (!chosen(name, true))
        return false;
    if (nmi_disk.fault < DISK_SHORT)
        return true;
    piece->iov_len = nmi_disk.fault == DISK_SHORT && piece->iov_len > 0 ? 1 : 0;
    return false;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    const mode_t mode = open_mode(flags, more);
    va_end(more);
    return chosen("open", false) ? fail() : openat(AT_FDCWD, path, flags, mode);
}

int stat(const char *restrict path, struct stat *restrict status)
{
    return chosen("stat", false) ? fail() : fstatat(AT_FDCWD, path, status, 0);
}

int fstat(int descriptor, struct stat *status)
{
    return chosen("fstat", false) ? fail() : fstatat(descriptor, "", status, AT_EMPTY_PATH);
}

ssize_t read(int descriptor, void *data, size_t size)
{
    struct iovec piece = {.iov_base = data, .iov_len = size};
    return transfer_fails("read", &piece) ? fail() : readv(descriptor, &piece, 1);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return transfer_fails("write", &piece) ? fail() : writev(descriptor, &piece, 1);
}

int fsync(int descriptor)
{
    return chosen("fsync", false) ? fail() : fdatasync(descriptor);
}

int rename(const char *from, const char *to)
{
    return chosen("rename", false) ? fail() : renameat(AT_FDCWD, from, AT_FDCWD, to);
}

/* A descriptor is gone even where closing it fails. */
int close(int descriptor)
{
    const bool fails = chosen("close", false);
    const int result = (int)syscall(SYS_close, descriptor);
    return fails ? fail() : result;
}
