/* SPDX-License-Identifier: MIT */
/* Reads whole files and replaces files atomically, so that a full disk costs no old result. */
#include "nmi_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    REASON_SIZE = 128,
    TEMPORARY_NAMES = 1000,     /* tried before giving up: others may be left from crashes */
    TRANSFER_MAXIMUM = 1 << 30, /* bytes per call: some systems refuse more than INT_MAX */
    LINKS_MAXIMUM = 40,         /* of links that lead to links, as Linux has it */
    LINK_LENGTH = 4096
};

struct nmi_file_writer {
    nmi_context *context; /* retained */
    char *path;
    char *folder;
    char *temporary;
    int descriptor; /* -1 once closed */
    bool present;   /* the temporary file is there */
};

/* Any variant of strerror_r leads to a text here: one that does not fill the buffer yields the
 * number. */
static const char *reason(int error, char *buffer)
{
    buffer[0] = '\0';
    if (strerror_r(error, buffer, REASON_SIZE) != 0 || buffer[0] == '\0')
        snprintf(buffer, REASON_SIZE, "error %d", error);
    return buffer;
}

static neumeta_status fail_system(nmi_context *context, const char *action, const char *path,
                                  int error)
{
    char buffer[REASON_SIZE];
    return nmi_fail(context, NEUMETA_ERR_IO, "cannot %s '%s': %s", action, path,
                    reason(error, buffer));
}

static int open_retrying(const char *path, int flags, mode_t mode)
{
    int descriptor;
    do {
        descriptor = open(path, flags | O_CLOEXEC, mode);
    } while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

static int stat_retrying(const char *path, struct stat *status)
{
    int result;
    do {
        result = stat(path, status);
    } while (result < 0 && errno == EINTR);
    return result;
}

static ssize_t readlink_retrying(const char *path, char *target, size_t size)
{
    ssize_t length;
    do {
        length = readlink(path, target, size);
    } while (length < 0 && errno == EINTR);
    return length;
}

static int sync_retrying(int descriptor)
{
    int result;
    do {
        result = fsync(descriptor);
    } while (result < 0 && errno == EINTR);
    return result;
}

/* --- reading --- */

static neumeta_status measure(nmi_context *context, int descriptor, const char *path, int64_t *size)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return fail_system(context, "read", path, errno);
    if (!S_ISREG(status.st_mode))
        return nmi_fail(context, NEUMETA_ERR_IO, "cannot read '%s': it is not a regular file",
                        path);
    if ((uint64_t)status.st_size > SIZE_MAX / 2)
        return nmi_fail(context, NEUMETA_ERR_MEMORY, "'%s' has %lld bytes, too many for memory",
                        path, (long long)status.st_size);
    *size = (int64_t)status.st_size;
    return NEUMETA_OK;
}

static neumeta_status read_fully(nmi_context *context, int descriptor, const char *path,
                                 unsigned char *bytes, int64_t size)
{
    for (int64_t done = 0; done < size;) {
        int64_t rest = size - done;
        size_t step = rest < TRANSFER_MAXIMUM ? (size_t)rest : TRANSFER_MAXIMUM;
        ssize_t got = read(descriptor, bytes + done, step);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_system(context, "read", path, errno);
        if (got == 0)
            return nmi_fail(context, NEUMETA_ERR_IO,
                            "cannot read '%s': it shrank to %lld of %lld bytes meanwhile", path,
                            (long long)done, (long long)size);
        done += got;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_file_read(nmi_context *context, const char *path, unsigned char **bytes,
                             int64_t *size)
{
    unsigned char *memory = NULL;
    int64_t length = 0;
    neumeta_status status;
    *bytes = NULL;
    *size = 0;
    /* Without blocking, so that a pipe is refused instead of waited for. */
    int descriptor = open_retrying(path, O_RDONLY | O_NONBLOCK, 0);
    if (descriptor < 0)
        return fail_system(context, "open", path, errno);
    status = measure(context, descriptor, path, &length);
    if (status < 0)
        goto done;
    memory = nmi_alloc(context, (size_t)length);
    status =
        memory == NULL ? NEUMETA_ERR_MEMORY : read_fully(context, descriptor, path, memory, length);
    if (status < 0)
        goto done;
    *bytes = memory;
    *size = length;
    memory = NULL;
done:
    nmi_free(context, memory);
    close(descriptor);
    return status;
}

/* --- writing --- */

/* Whether a name leads to nothing, as far as can be told; a file system that fails tells nothing.
 */
static bool is_absent(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

/* What a symbolic link leads to, as seen from its folder: `target` if that is absolute. */
static char *join_link(nmi_context *context, const char *link, const char *target)
{
    const char *slash = strrchr(link, '/');
    const size_t folder = target[0] == '/' || slash == NULL ? 0 : (size_t)(slash - link) + 1;
    char *joined = nmi_alloc(context, folder + strlen(target) + 1);
    if (joined == NULL)
        return NULL;
    memcpy(joined, link, folder);
    memcpy(joined + folder, target, strlen(target) + 1);
    return joined;
}

/* Leaves the name of the file itself in writer->path, for links to stay where they are. */
static neumeta_status follow_links(nmi_file_writer *writer, const char *path)
{
    nmi_context *context = writer->context;
    char *target = nmi_alloc(context, LINK_LENGTH);
    neumeta_status status = target != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    writer->path = nmi_text_copy(context, path);
    for (int32_t i = 0; status == NEUMETA_OK && writer->path != NULL; i++) {
        const ssize_t length = readlink_retrying(writer->path, target, LINK_LENGTH - 1);
        if (length < 0 && errno != EINVAL && !is_absent(errno))
            status = fail_system(context, "write", path, errno);
        if (length < 0)
            break; /* no link */
        if (i == LINKS_MAXIMUM) {
            status = fail_system(context, "write", path, ELOOP);
            break;
        }
        target[length] = '\0';
        char *next = join_link(context, writer->path, target);
        nmi_free(context, writer->path);
        writer->path = next;
    }
    nmi_free(context, target);
    return status == NEUMETA_OK && writer->path == NULL ? NEUMETA_ERR_MEMORY : status;
}

/* The folder of writer->path and a name in it, whose length does not depend on the target's. */
static neumeta_status name_parts(nmi_file_writer *writer)
{
    nmi_context *context = writer->context;
    const char *path = writer->path, *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    writer->folder = nmi_alloc(context, length + 1);
    writer->temporary = nmi_alloc(context, length + 64);
    if (writer->folder == NULL || writer->temporary == NULL)
        return NEUMETA_ERR_MEMORY;
    memcpy(writer->folder, slash == NULL ? "." : path, length);
    writer->folder[length] = '\0';
    return NEUMETA_OK;
}

static neumeta_status open_temporary(nmi_file_writer *writer, mode_t mode)
{
    size_t capacity = strlen(writer->folder) + 64;
    for (int32_t number = 0; number < TEMPORARY_NAMES; number++) {
        snprintf(writer->temporary, capacity, "%s/.neumeta-%lld-%d.tmp", writer->folder,
                 (long long)getpid(), (int)number);
        writer->descriptor = open_retrying(writer->temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
        if (writer->descriptor >= 0) {
            writer->present = true;
            return NEUMETA_OK;
        }
        if (errno != EEXIST)
            break;
    }
    return fail_system(writer->context, "create a file beside", writer->path, errno);
}

neumeta_status nmi_file_writer_create(nmi_context *context, const char *path, nmi_file_writer **out)
{
    struct stat target;
    const bool replaces = stat_retrying(path, &target) == 0;
    const mode_t mode = replaces ? target.st_mode & 0777 : 0666;
    *out = NULL;
    if (!replaces && !is_absent(errno))
        return fail_system(context, "write", path, errno);
    if (replaces && !S_ISREG(target.st_mode))
        return nmi_fail(context, NEUMETA_ERR_IO, "cannot write '%s': it is not a regular file",
                        path);
    nmi_file_writer *writer = nmi_alloc_zero(context, sizeof *writer);
    if (writer == NULL)
        return NEUMETA_ERR_MEMORY;
    writer->context = nmi_context_retain(context);
    writer->descriptor = -1;
    neumeta_status status = follow_links(writer, path);
    if (status == NEUMETA_OK)
        status = name_parts(writer);
    if (status == NEUMETA_OK)
        status = open_temporary(writer, mode);
    /* What was private stays so. Where a file system has no such rights nothing is lost. */
    if (status == NEUMETA_OK && replaces)
        (void)!fchmod(writer->descriptor, mode);
    if (status == NEUMETA_OK)
        *out = writer;
    else
        nmi_file_writer_free(writer);
    return status;
}

neumeta_status nmi_file_write(void *user, const void *data, size_t size)
{
    nmi_file_writer *writer = user;
    const unsigned char *bytes = data;
    for (size_t done = 0; done < size;) {
        size_t rest = size - done;
        size_t step = rest < TRANSFER_MAXIMUM ? rest : TRANSFER_MAXIMUM;
        ssize_t put = write(writer->descriptor, bytes + done, step);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return fail_system(writer->context, "write", writer->path, put < 0 ? errno : EIO);
        done += (size_t)put;
    }
    return NEUMETA_OK;
}

/* Makes the new name itself durable. Folders that cannot be opened or flushed at all are no
 * failure: their file system gives no such promise to anybody. */
static neumeta_status sync_folder(nmi_file_writer *writer)
{
    int descriptor = open_retrying(writer->folder, O_RDONLY | O_DIRECTORY, 0);
    if (descriptor < 0)
        return NEUMETA_OK;
    int error = sync_retrying(descriptor) < 0 ? errno : 0;
    close(descriptor);
    if (error == 0 || error == EINVAL || error == ENOTSUP)
        return NEUMETA_OK;
    char buffer[REASON_SIZE];
    return nmi_fail(writer->context, NEUMETA_ERR_IO,
                    "'%s' is written, but its folder could not be flushed to the disk: %s",
                    writer->path, reason(error, buffer));
}

neumeta_status nmi_file_commit(nmi_file_writer *writer)
{
    if (sync_retrying(writer->descriptor) < 0)
        return fail_system(writer->context, "write", writer->path, errno);
    int closed = close(writer->descriptor);
    writer->descriptor = -1;
    if (closed < 0 && errno != EINTR)
        return fail_system(writer->context, "write", writer->path, errno);
    if (rename(writer->temporary, writer->path) < 0)
        return fail_system(writer->context, "replace", writer->path, errno);
    writer->present = false;
    return sync_folder(writer);
}

void nmi_file_writer_free(nmi_file_writer *writer)
{
    if (writer == NULL)
        return;
    nmi_context *context = writer->context;
    if (writer->descriptor >= 0)
        close(writer->descriptor);
    if (writer->present)
        unlink(writer->temporary);
    nmi_free(context, writer->path);
    nmi_free(context, writer->folder);
    nmi_free(context, writer->temporary);
    nmi_free(context, writer);
    nmi_context_release(context);
}
