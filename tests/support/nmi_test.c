/* SPDX-License-Identifier: MIT */
/* Helpers of all test programs; see nmi_test.h. */
#include "nmi_test.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#ifndef NMI_SOURCE_ROOT
#define NMI_SOURCE_ROOT "."
#endif

/* In front of each block, as far as its alignment asks: its size, for the counts. */
enum { BLOCK_HEADER = 64 };

/* Check's own limit of 4 s a test is too short for a busy machine; nothing here may hang so long. */
__attribute__((constructor)) static void be_patient(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "300", 0);
}

static void choose_kernels(neumeta_context *context)
{
    const char *name = getenv("NEUMETA_TEST_KERNELS");
    if (name != NULL && name[0] != '\0')
        assert_ok(context, neumeta_context_set_kernels(context, name));
}

neumeta_context *test_context(void)
{
    neumeta_context *context = NULL;
    neumeta_status status = neumeta_context_create(NULL, NULL, NULL, &context);
    ck_assert_msg(status == NEUMETA_OK, "no context: %s", neumeta_status_name(status));
    choose_kernels(context);
    return context;
}

neumeta_status test_context_create(test_allocator *allocator, neumeta_context **context)
{
    neumeta_status status = neumeta_context_create(test_allocate, test_release, allocator, context);
    if (status == NEUMETA_OK)
        choose_kernels(*context);
    return status;
}

void *test_allocate(void *allocator, uint64_t size, uint64_t alignment)
{
    test_allocator *self = allocator;
    self->calls++;
    if (self->fail_at > 0 &&
        (self->calls == self->fail_at || (self->sticky && self->calls > self->fail_at))) {
        self->failed = true;
        return NULL;
    }
    if (alignment > BLOCK_HEADER || size > (uint64_t)INT64_MAX / 2)
        return NULL;
    uint64_t whole = (size + 2 * BLOCK_HEADER - 1) / BLOCK_HEADER * BLOCK_HEADER;
    unsigned char *block = aligned_alloc(BLOCK_HEADER, (size_t)whole);
    if (block == NULL)
        return NULL;
    memcpy(block, &size, sizeof size);
    /* What nobody has written must not look like zeros. */
    memset(block + BLOCK_HEADER, 0xA5, (size_t)size);
    atomic_fetch_add(&self->blocks, 1);
    const long long alive = atomic_fetch_add(&self->bytes, (long long)size) + (long long)size;
    long long peak = atomic_load(&self->peak);
    while (alive > peak && !atomic_compare_exchange_weak(&self->peak, &peak, alive))
        ;
    return block + BLOCK_HEADER;
}

void test_release(void *allocator, void *memory)
{
    test_allocator *self = allocator;
    unsigned char *block = (unsigned char *)memory - BLOCK_HEADER;
    uint64_t size;
    memcpy(&size, block, sizeof size);
    atomic_fetch_sub(&self->blocks, 1);
    atomic_fetch_sub(&self->bytes, (long long)size);
    free(block);
}

int64_t test_every_allocation(neumeta_status (*attempt)(test_allocator *allocator, void *user),
                              void *user)
{
    for (int64_t n = 1;; n++) {
        bool refused = false;
        int64_t calls = 0;
        for (int sticky = 0; sticky < 2; sticky++) {
            test_allocator allocator = {.fail_at = n, .sticky = sticky != 0};
            neumeta_status status = attempt(&allocator, user);
            ck_assert_msg(status == NEUMETA_OK ||
                              (allocator.failed && status == NEUMETA_ERR_MEMORY),
                          "allocation %lld refused (sticky %d): status %d (%s)", (long long)n,
                          sticky, (int)status, neumeta_status_name(status));
            ck_assert_msg(allocator.blocks == 0 && allocator.bytes == 0,
                          "allocation %lld refused (sticky %d): %lld blocks, %lld bytes stay",
                          (long long)n, sticky, (long long)allocator.blocks,
                          (long long)allocator.bytes);
            refused = refused || allocator.failed;
            calls = allocator.calls;
        }
        if (!refused)
            return calls;
    }
}

/* A linear congruential generator; its upper bits are good enough to fill tensors. */
void test_fill(float *values, int64_t count, uint64_t seed, float low, float high)
{
    uint64_t state = seed * 2 + 1;
    for (int64_t i = 0; i < count + 4; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double share = (double)(state >> 40) / 16777216.0;
        /* The first four still show the seed. */
        if (i >= 4)
            values[i - 4] = (float)((double)low + share * ((double)high - (double)low));
    }
}

void test_assert_near(const float *actual, const float *expected, int64_t count, double absolute,
                      double relative, const char *name, const char *file, int line)
{
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)actual[i] - (double)expected[i]);
        double allowed = absolute + relative * fabs((double)expected[i]);
        /* Written so that a NaN fails. */
        if (!(difference <= allowed))
            ck_abort_msg("%s:%d: %s[%lld] is %.9g, expected %.9g within %.3g", file, line, name,
                         (long long)i, (double)actual[i], (double)expected[i], allowed);
    }
}

double test_largest(const float *values, int64_t count)
{
    double found = 0;
    for (int64_t i = 0; i < count; i++)
        found = test_larger(found, fabs((double)values[i]));
    return found;
}

const char *const test_levels[TEST_LEVELS] = {"base",   "neon",       "avx2",
                                              "avx512", "avx512bf16", "amx"};

bool test_choose_level(const char *level)
{
    neumeta_context *context = NULL;
    bool chosen = neumeta_context_create(NULL, NULL, NULL, &context) == NEUMETA_OK &&
                  neumeta_context_set_kernels(context, level) == NEUMETA_OK;
    neumeta_context_free(context);
    return chosen && setenv("NEUMETA_TEST_KERNELS", level, 1) == 0;
}

static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *format_text(const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    ck_assert_int_ge(length, 0);
    char *text = malloc((size_t)length + 1);
    ck_assert_ptr_nonnull(text);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

char *test_shared_path(const char *relative)
{
    const char *folder = getenv("NEUMETA_SHARED");
    char *path = folder != NULL && folder[0] != '\0'
                     ? format_text("%s/%s", folder, relative)
                     : format_text("%s/../shared/%s", NMI_SOURCE_ROOT, relative);
    if (access(path, R_OK) == 0)
        return path;
    fprintf(stderr, "SKIP: %s cannot be read\n", path);
    free(path);
    return NULL;
}

char *test_directory(void)
{
    const char *parent = getenv("TMPDIR");
    char *directory =
        format_text("%s/neumeta-XXXXXX", parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    ck_assert_msg(mkdtemp(directory) != NULL, "no directory %s", directory);
    return directory;
}

void test_directory_remove(char *directory)
{
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *item = readdir(listing); item != NULL; item = readdir(listing)) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        char *path = test_path(directory, item->d_name);
        unlink(path);
        free(path);
    }
    closedir(listing);
    ck_assert_msg(rmdir(directory) == 0, "%s cannot be removed", directory);
    free(directory);
}

char *test_path(const char *directory, const char *name)
{
    return format_text("%s/%s", directory, name);
}

unsigned char *test_read_file(const char *path, int64_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    unsigned char *data = NULL;
    long length = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (length >= 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc((size_t)length + 1);
    if (data != NULL && fread(data, 1, (size_t)length, file) != (size_t)length) {
        free(data);
        data = NULL;
    }
    if (data != NULL) {
        data[length] = '\0';
        *size = length;
    }
    fclose(file);
    return data;
}

void test_write_file(const char *path, const void *data, int64_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s cannot be written", path);
    ck_assert(fwrite(data, 1, (size_t)size, file) == (size_t)size);
    ck_assert_int_eq(fclose(file), 0);
}

/* The place of a text that must be there. */
static char *find_text(char *bytes, int64_t size, const char *text)
{
    const size_t length = strlen(text);
    size_t at = 0;
    while (at + length <= (size_t)size && memcmp(bytes + at, text, length) != 0)
        at++;
    ck_assert_msg(at + length <= (size_t)size, "'%s' is not in the file", text);
    return bytes + at;
}

void test_forget_checksums(void *bytes, int64_t size)
{
    static const char key[] = "neumeta.checksums", format[] = "neumeta.format\":\"2\"";
    memcpy(find_text(bytes, size, key), "somebody.else.did", sizeof key - 1);
    memcpy(find_text(bytes, size, format), "neumeta.format\":\"1\"", sizeof format - 1);
}

int test_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
