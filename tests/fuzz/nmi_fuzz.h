/* SPDX-License-Identifier: MIT */
/*
 * What all fuzz targets share. A target defines fuzz_one(); each input reaches it once with all the
 * memory it wants, and once more while one allocation, which follows from the input, is refused.
 * Afterwards everything must have been given back.
 */
#ifndef NMI_FUZZ_H
#define NMI_FUZZ_H

#include <neumeta.h>

#include <stdbool.h>
#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The target. The context's allocator refuses single blocks above FUZZ_BLOCK and all memory above
 * FUZZ_MEMORY. */
void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size);
enum { FUZZ_BLOCK = 64 << 20, FUZZ_MEMORY = 256 << 20 };

/* Ends the process, which is how a target says that something is wrong. */
void require(bool condition);

/* A target calls this once its own preparations are made: from here on allocations count, and one
 * is refused. */
void fuzz_begin(void);
/* One input in `times`, chosen by what is in it, for what takes too long for all. */
bool fuzz_seldom(uint32_t times);
/* Bytes that lived at once since fuzz_begin(), beyond those that lived then. */
size_t fuzz_peak(void);
/* The most that reading a file of `size` bytes may take: docs/formats.md promises it. */
#define FUZZ_SHARE(size) (34 * (size) + (1 << 20))
/* Whether `status` is a failure for which a refused allocation is the reason. */
bool fuzz_starved(neumeta_status status);
/* A failure has a sentence, and lack of memory its reason. */
void fuzz_check(const neumeta_context *context, neumeta_status status);

/* Numbers of the input, taken one after the other; zeros after its end. */
typedef struct fuzz_bytes {
    const uint8_t *data;
    size_t size;
} fuzz_bytes;
uint32_t fuzz_byte(fuzz_bytes *bytes);
/* Below `count`. */
uint32_t fuzz_choice(fuzz_bytes *bytes, uint32_t count);
/* The rest of the input up to `end`, which is skipped, as text for free(). */
char *fuzz_text(fuzz_bytes *bytes, char end);

/* Writes the bytes to a file of this process, for readers that need one; its path. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* A copy of a file, for free(), whose checksums, if it has them, fit what is in it. */
uint8_t *fuzz_sign(neumeta_context *context, const uint8_t *data, size_t size);

#endif
