/* SPDX-License-Identifier: MIT */
/*
 * For targets under clang's memory sanitizer, which must see every write: those of jansson, which
 * was not built with it, and of system calls that it does not know are told to it here.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <jansson.h>
#include <sanitizer/msan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* jansson looks for the point of a number in an array of its own. */
const char *__msan_default_options(void);
const char *__msan_default_options(void)
{
    return "intercept_strchr=0";
}

static void *allocate_zeros(size_t size)
{
    return calloc(1, size);
}

__attribute__((constructor)) static void start(void)
{
    json_set_alloc_funcs(allocate_zeros, free);
}

typedef struct text {
    char *bytes;
    size_t length, room;
} text;

static int take(const char *bytes, size_t length, void *user)
{
    text *to = user;
    __msan_unpoison(bytes, length);
    if (to->length < to->room)
        memcpy(to->bytes + to->length, bytes,
               length < to->room - to->length ? length : to->room - to->length);
    to->length += length;
    return 0;
}

size_t json_dumpb(const json_t *value, char *bytes, size_t size, size_t flags)
{
    text to = {bytes, 0, size};
    return json_dump_callback(value, take, &to, flags) == 0 ? to.length : 0;
}

int stat(const char *restrict path, struct stat *restrict status)
{
    memset(status, 0, sizeof *status);
    return fstatat(AT_FDCWD, path, status, 0);
}

int fstat(int descriptor, struct stat *status)
{
    memset(status, 0, sizeof *status);
    return fstatat(descriptor, "", status, AT_EMPTY_PATH);
}
