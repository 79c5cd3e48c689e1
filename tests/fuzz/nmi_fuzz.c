/* SPDX-License-Identifier: MIT */
/* The two runs of an input, and the allocator that counts and refuses; see nmi_fuzz.h. */
#include "nmi_fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER = 64 }; /* in front of each block: its size */

static struct {
    int64_t calls, fail_at, wanted; /* fail_at 0: none; wanted: what it is after fuzz_begin() */
    size_t living, begun, peak;
    bool refused;
} memory;

static uint64_t hash; /* of the input */

#if defined(__clang__)
#define UNTRACED __attribute__((no_sanitize("coverage")))
#else
#define UNTRACED
#endif

void require(bool condition)
{
    if (!condition)
        abort();
}

static void *allocate(void *user, uint64_t size, uint64_t alignment)
{
    (void)user;
    if (alignment > HEADER || size > FUZZ_BLOCK || memory.living + size > FUZZ_MEMORY ||
        ++memory.calls == memory.fail_at) {
        memory.refused = true;
        return NULL;
    }
    unsigned char *block = aligned_alloc(HEADER, (size_t)(size + 2 * HEADER - 1) / HEADER * HEADER);
    require(block != NULL);
    memcpy(block, &size, sizeof size);
    memory.living += (size_t)size;
    if (memory.living > memory.peak)
        memory.peak = memory.living;
    return block + HEADER;
}

static void release(void *user, void *pointer)
{
    unsigned char *block = (unsigned char *)pointer - HEADER;
    uint64_t size;
    (void)user;
    memcpy(&size, block, sizeof size);
    memory.living -= (size_t)size;
    free(block);
}

void fuzz_begin(void)
{
    memory.calls = 0;
    memory.fail_at = memory.wanted;
    memory.begun = memory.peak = memory.living;
}

size_t fuzz_peak(void)
{
    return memory.peak - memory.begun;
}

bool fuzz_starved(neumeta_status status)
{
    return status == NEUMETA_ERR_MEMORY && memory.refused;
}

void fuzz_check(const neumeta_context *context, neumeta_status status)
{
    require(status >= NEUMETA_ERR_INFEASIBLE && status <= NEUMETA_CANCELLED);
    require(status >= 0 || neumeta_context_message(context)[0] != '\0');
    require(status != NEUMETA_ERR_MEMORY || memory.refused);
}

static int64_t run(const uint8_t *data, size_t size, int64_t fail_at)
{
    neumeta_context *context = NULL;
    memset(&memory, 0, sizeof memory);
    require(neumeta_context_create(allocate, release, NULL, &context) == NEUMETA_OK);
    memory.wanted = fail_at;
    fuzz_one(context, data, size);
    neumeta_context_free(context);
    require(memory.living == 0);
    return memory.calls;
}

/* A fuzzer that looked into it would learn nothing. */
UNTRACED static uint64_t hash_of(const uint8_t *data, size_t size)
{
    uint64_t result = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        result = (result ^ data[i]) * UINT64_C(0x100000001b3);
    return result;
}

bool fuzz_seldom(uint32_t times)
{
    return (hash >> 40) % times == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hash = hash_of(data, size);
    const int64_t calls = run(data, size, 0);
    if (calls > 0)
        run(data, size, 1 + (int64_t)((hash >> 16) % (uint64_t)calls));
    return 0;
}

uint32_t fuzz_byte(fuzz_bytes *bytes)
{
    if (bytes->size == 0)
        return 0;
    bytes->size--;
    return *bytes->data++;
}

uint32_t fuzz_choice(fuzz_bytes *bytes, uint32_t count)
{
    return fuzz_byte(bytes) % count;
}

char *fuzz_text(fuzz_bytes *bytes, char end)
{
    const uint8_t *stop = bytes->size > 0 ? memchr(bytes->data, end, bytes->size) : NULL;
    const size_t length = stop != NULL ? (size_t)(stop - bytes->data) : bytes->size;
    const size_t taken = stop != NULL ? length + 1 : length;
    char *text = calloc(length + 1, 1);
    require(text != NULL);
    if (length > 0)
        memcpy(text, bytes->data, length);
    if (taken > 0)
        bytes->data += taken;
    bytes->size -= taken;
    return text;
}

static char path[64];

static void remove_file(void)
{
    unlink(path);
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "%s/neumeta-fuzz-%ld",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
        atexit(remove_file);
    }
    FILE *file = fopen(path, "wb");
    require(file != NULL);
    require(size == 0 || fwrite(data, 1, size, file) == size);
    require(fclose(file) == 0);
    return path;
}
