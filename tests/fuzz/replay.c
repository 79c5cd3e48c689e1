/* SPDX-License-Identifier: MIT */
/*
 * Drives a fuzz target where libFuzzer is not at hand: runs it on every file of a corpus, and on
 * damaged forms of each, so that loaders meet truncated and corrupted files in every test run.
 *
 *     replay [-runs=N] FILE|FOLDER...      N damaged forms of each file, 200 unless told
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t files_seen, inputs_run;

/* SplitMix64: the same damage in every run. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A copy of exactly `size` bytes, so that AddressSanitizer sees any read past the end. */
static void run_copy(const uint8_t *data, size_t size, const size_t *positions, uint64_t bits,
                     size_t count)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        fprintf(stderr, "no memory for an input of %zu bytes\n", size);
        exit(2);
    }
    if (size > 0)
        memcpy(copy, data, size);
    for (size_t i = 0; i < count; i++)
        copy[positions[i] % size] ^= (uint8_t)(bits >> (8 * i));
    LLVMFuzzerTestOneInput(copy, size);
    inputs_run++;
    free(copy);
}

/* Half of the damaged forms are cut short, half have one to four bytes changed. Most damage falls
 * on the first KiB: headers lie there. */
static void run_damaged(const uint8_t *data, size_t size, long runs)
{
    uint64_t state = size;
    for (long i = 0; i < runs && size > 0; i++) {
        size_t reach = i % 4 < 3 && size > 1024 ? 1024 : size;
        if (i % 2 == 0) {
            run_copy(data, (size_t)(next_random(&state) % reach), NULL, 0, 0);
        } else {
            size_t positions[4];
            size_t count = 1 + (size_t)(next_random(&state) % 4);
            for (size_t k = 0; k < count; k++)
                positions[k] = (size_t)(next_random(&state) % reach);
            run_copy(data, size, positions, next_random(&state) | 0x01010101u, count);
        }
    }
}

static int run_file(const char *path, long runs)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "cannot read %s\n", path);
        if (file != NULL)
            fclose(file);
        return 1;
    }
    long length = ftell(file);
    rewind(file);
    uint8_t *data = malloc(length > 0 ? (size_t)length : 1);
    int failed =
        length < 0 || data == NULL || fread(data, 1, (size_t)length, file) != (size_t)length;
    fclose(file);
    if (failed) {
        fprintf(stderr, "cannot read %s\n", path);
    } else {
        run_copy(data, (size_t)length, NULL, 0, 0);
        run_damaged(data, (size_t)length, runs);
        files_seen++;
    }
    free(data);
    return failed;
}

static int run_path(const char *path, long runs)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return run_file(path, runs);
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        failed |= run_file(name, runs);
    }
    closedir(folder);
    return failed;
}

int main(int count, char **arguments)
{
    long runs = 200;
    int failed = 0;
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "-runs=", 6) == 0)
            runs = strtol(arguments[i] + 6, NULL, 10);
        else
            failed |= run_path(arguments[i], runs);
    }
    printf("%zu files, %zu inputs\n", files_seen, inputs_run);
    return failed || files_seen == 0;
}
