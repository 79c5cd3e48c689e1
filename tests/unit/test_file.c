/* SPDX-License-Identifier: MIT */
/* Files are read whole and replaced atomically, whatever the system does meanwhile. */
#include "nmi_file.h"
#include "nmi_open.h"
#include "nmi_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* --- the operating system, made unreliable ------------------------------------------------- */

static struct {
    bool hesitant;   /* each write is interrupted once, then takes at most 7 bytes */
    int write_error; /* errno of write(), 0: works */
    int sync_error;
    int folder_error; /* errno of a folder's fsync() */
    int create_error; /* errno of open() for a new file */
    int rename_error;
    int64_t writes;
} weather;

int open(const char *name, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    const mode_t mode = open_mode(flags, more);
    va_end(more);
    if ((flags & O_CREAT) != 0 && weather.create_error != 0) {
        errno = weather.create_error;
        return -1;
    }
    return openat(AT_FDCWD, name, flags, mode);
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    if (weather.write_error != 0) {
        errno = weather.write_error;
        return -1;
    }
    if (weather.hesitant) {
        if (weather.writes++ % 2 == 0) {
            errno = EINTR;
            return -1;
        }
        piece.iov_len = size < 7 ? size : 7;
    }
    return writev(descriptor, &piece, 1);
}

int fsync(int descriptor)
{
    if (weather.hesitant && weather.writes++ % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    struct stat of;
    const bool is_folder = fstat(descriptor, &of) == 0 && S_ISDIR(of.st_mode);
    const int error = is_folder ? weather.folder_error : weather.sync_error;
    if (error != 0) {
        errno = error;
        return -1;
    }
    return fdatasync(descriptor);
}

int rename(const char *from, const char *to)
{
    if (weather.rename_error != 0) {
        errno = weather.rename_error;
        return -1;
    }
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

/* --- helpers ------------------------------------------------------------------------------- */

static nmi_context *context;
static char *folder;
static char *path; /* of a file in the folder */

static void set_up(void)
{
    context = test_context();
    folder = test_directory();
    path = test_path(folder, "file");
    memset(&weather, 0, sizeof weather);
}

static void tear_down(void)
{
    memset(&weather, 0, sizeof weather);
    free(path);
    test_directory_remove(folder);
    nmi_context_release(context);
}

static int32_t files_in_folder(void)
{
    int32_t count = 0;
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    while (readdir(listing) != NULL)
        count++;
    closedir(listing);
    return count - 2;
}

static neumeta_status write_file(const char *target, const void *data, size_t size)
{
    nmi_file_writer *writer;
    neumeta_status status = nmi_file_writer_create(context, target, &writer);
    if (status < 0) {
        ck_assert_ptr_null(writer);
        return status;
    }
    status = nmi_file_write(writer, data, size);
    if (status == NEUMETA_OK)
        status = nmi_file_commit(writer);
    nmi_file_writer_free(writer);
    return status;
}

static void assert_file(const char *name, const void *data, int64_t size)
{
    int64_t found;
    unsigned char *bytes = test_read_file(name, &found);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(found, size);
    ck_assert_mem_eq(bytes, data, (size_t)size);
    free(bytes);
}

/* --- files --------------------------------------------------------------------------------- */

START_TEST(a_file_is_read_back_as_it_was_written)
{
    unsigned char *bytes;
    int64_t size;
    assert_ok(context, write_file(path, "one", 3));
    assert_ok(context, write_file(path, "other\0text", 10));
    assert_ok(context, nmi_file_read(context, path, &bytes, &size));
    ck_assert_int_eq(size, 10);
    ck_assert_mem_eq(bytes, "other\0text", 10);
    nmi_free(context, bytes);
    ck_assert_int_eq(files_in_folder(), 1);
    assert_ok(context, write_file(path, "", 0));
    assert_ok(context, nmi_file_read(context, path, &bytes, &size));
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(size, 0);
    nmi_free(context, bytes);
}
END_TEST

START_TEST(what_cannot_be_read_says_why)
{
    unsigned char *bytes;
    int64_t size;
    assert_status(context, nmi_file_read(context, "/no/such/file", &bytes, &size), NEUMETA_ERR_IO);
    assert_message_contains(context, "cannot open '/no/such/file': No such file or directory");
    ck_assert_ptr_null(bytes);
    assert_status(context, nmi_file_read(context, folder, &bytes, &size), NEUMETA_ERR_IO);
    assert_message_contains(context, "it is not a regular file");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_status(context, nmi_file_read(context, path, &bytes, &size), NEUMETA_ERR_IO);
    assert_message_contains(context, "it is not a regular file");
}
END_TEST

START_TEST(what_cannot_be_written_says_why)
{
    assert_status(context, write_file("/no/such/file", "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "cannot create a file beside '/no/such/file': No such file");
    assert_status(context, write_file("/dev/full", "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "cannot write '/dev/full': it is not a regular file");
    assert_status(context, write_file(folder, "x", 1), NEUMETA_ERR_IO);
}
END_TEST

START_TEST(a_path_may_be_a_mere_name_or_lie_in_the_root)
{
    char *before = getcwd(NULL, 0);
    ck_assert_ptr_nonnull(before);
    ck_assert_int_eq(chdir(folder), 0);
    neumeta_status status = write_file("file", "here", 4);
    ck_assert_int_eq(chdir(before), 0);
    free(before);
    assert_ok(context, status);
    assert_file(path, "here", 4);
    ck_assert_int_eq(files_in_folder(), 1);
    weather.create_error = EACCES;
    assert_status(context, write_file("/file", "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "cannot create a file beside '/file': Permission denied");
}
END_TEST

START_TEST(names_of_temporary_files_run_out)
{
    weather.create_error = EEXIST;
    assert_status(context, write_file(path, "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "cannot create a file beside '");
    assert_message_contains(context, "File exists");
}
END_TEST

START_TEST(a_folder_may_be_unable_to_be_flushed)
{
    static const int errors[] = {EINVAL, ENOTSUP, EIO};
    for (int i = 0; i < 3; i++) {
        weather.folder_error = errors[i];
        assert_status(context, write_file(path, "text", 4),
                      errors[i] == EIO ? NEUMETA_ERR_IO : NEUMETA_OK);
        assert_file(path, "text", 4);
    }
    assert_message_contains(context, "is written, but its folder could not be flushed to the disk");
    assert_message_contains(context, "Input/output error");
}
END_TEST

START_TEST(an_unknown_reason_is_a_number)
{
    weather.rename_error = 99999;
    assert_status(context, write_file(path, "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "99999");
}
END_TEST

START_TEST(interruptions_and_short_writes_change_nothing)
{
    char text[1000];
    memset(text, 'x', sizeof text);
    text[999] = 'y';
    weather.hesitant = true;
    assert_ok(context, write_file(path, text, sizeof text));
    weather.hesitant = false;
    assert_file(path, text, sizeof text);
}
END_TEST

START_TEST(a_failure_at_any_stage_leaves_the_old_file)
{
    int *const errors[] = {&weather.write_error, &weather.sync_error, &weather.rename_error};
    const char *const messages[] = {"cannot write", "cannot write", "cannot replace"};
    assert_ok(context, write_file(path, "old", 3));
    for (size_t i = 0; i < 3; i++) {
        *errors[i] = ENOSPC;
        neumeta_status status = write_file(path, "newer", 5);
        *errors[i] = 0;
        assert_status(context, status, NEUMETA_ERR_IO);
        assert_message_contains(context, messages[i]);
        assert_message_contains(context, "No space left on device");
        assert_message_contains(context, path);
        assert_file(path, "old", 3);
        ck_assert_int_eq(files_in_folder(), 1);
    }
}
END_TEST

START_TEST(a_file_that_is_replaced_leaves_its_rights)
{
    static const mode_t modes[] = {0600, 0640, 0666, 0444};
    struct stat found;
    const mode_t before = umask(022);
    assert_ok(context, write_file(path, "old", 3));
    ck_assert_int_eq(stat(path, &found), 0);
    ck_assert_int_eq(found.st_mode & 0777, 0644);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        assert_ok(context, write_file(path, "new", 3));
        ck_assert_int_eq(stat(path, &found), 0);
        ck_assert_int_eq(found.st_mode & 0777, modes[i]);
    }
    umask(before);
}
END_TEST

/* Links to links, relative or not, stay, and so does one that leads to nothing yet; rings and names
 * that are too long are refused. */
START_TEST(links_stay_and_what_they_lead_to_is_written)
{
    char *link = test_path(folder, "link"), *ring = test_path(folder, "ring");
    char *other = test_path(folder, "other");
    struct stat found;
    ck_assert_int_eq(symlink(path, other), 0);
    ck_assert_int_eq(symlink("other", link), 0);
    assert_ok(context, write_file(link, "first", 5));
    assert_file(path, "first", 5);
    assert_ok(context, write_file(link, "second", 6));
    assert_file(path, "second", 6);
    ck_assert_int_eq(lstat(link, &found), 0);
    ck_assert(S_ISLNK(found.st_mode));
    ck_assert_int_eq(lstat(other, &found), 0);
    ck_assert(S_ISLNK(found.st_mode));
    ck_assert_int_eq(symlink("ring", ring), 0);
    assert_status(context, write_file(ring, "x", 1), NEUMETA_ERR_IO);
    assert_message_contains(context, "/ring'");
    ck_assert_int_eq(files_in_folder(), 4);
    free(other);
    free(ring);
    free(link);
}
END_TEST

START_TEST(a_writer_that_is_given_up_leaves_nothing)
{
    nmi_file_writer *writer, *other;
    assert_ok(context, nmi_file_writer_create(context, path, &writer));
    assert_ok(context, nmi_file_writer_create(context, path, &other));
    assert_ok(context, nmi_file_write(writer, "x", 1));
    ck_assert_int_eq(files_in_folder(), 2);
    nmi_file_writer_free(writer);
    nmi_file_writer_free(other);
    ck_assert_int_eq(files_in_folder(), 0);
    nmi_file_writer_free(NULL);
}
END_TEST

/* A limit on the size of files makes the system refuse for real, in the middle of a write. */
START_TEST(a_full_disk_leaves_the_old_file)
{
    static char text[20000];
    struct rlimit before, tight;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    assert_ok(context, write_file(path, "old", 3));
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = 5000;
    ck_assert_int_eq(sigaction(SIGXFSZ, &ignore, &old), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    neumeta_status status = write_file(path, text, sizeof text);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(sigaction(SIGXFSZ, &old, NULL), 0);
    assert_status(context, status, NEUMETA_ERR_IO);
    assert_message_contains(context, "File too large");
    assert_file(path, "old", 3);
    ck_assert_int_eq(files_in_folder(), 1);
    assert_ok(context, write_file(path, text, sizeof text));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, set_up, tear_down);
    tcase_add_test(files, a_file_is_read_back_as_it_was_written);
    tcase_add_test(files, what_cannot_be_read_says_why);
    tcase_add_test(files, what_cannot_be_written_says_why);
    tcase_add_test(files, a_path_may_be_a_mere_name_or_lie_in_the_root);
    tcase_add_test(files, names_of_temporary_files_run_out);
    tcase_add_test(files, a_folder_may_be_unable_to_be_flushed);
    tcase_add_test(files, an_unknown_reason_is_a_number);
    tcase_add_test(files, interruptions_and_short_writes_change_nothing);
    tcase_add_test(files, a_failure_at_any_stage_leaves_the_old_file);
    tcase_add_test(files, a_file_that_is_replaced_leaves_its_rights);
    tcase_add_test(files, links_stay_and_what_they_lead_to_is_written);
    tcase_add_test(files, a_writer_that_is_given_up_leaves_nothing);
    tcase_add_test(files, a_full_disk_leaves_the_old_file);
    suite_add_tcase(suite, files);
    return test_main(suite);
}
