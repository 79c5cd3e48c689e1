/* SPDX-License-Identifier: MIT */
/* The processor under a benchmark: its name, and how many multiply-adds it can do at best. */
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAVE_X86 1
#else
#define HAVE_X86 0
#endif

enum { THREADS_MAX = 4096, PEAK_RUNS = 15 };
static const double peak_seconds = 4e-3; /* of one run: short enough to miss a busy neighbour */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- multiply-adds --------------------------------------------------------------------------- */

/* x <- x m + a on independent vectors, `count` times; returns FLOP. Two units with a latency of
 * four cycles need eight vectors in flight. The sum keeps the compiler from leaving it out. */
typedef double (*fma_loop)(int64_t count, float *sum);

#define CHAINS 12 /* registers that hold an x: of sixteen, two are for m and a */

#if HAVE_X86
__attribute__((target("avx2,fma"))) static double loop_avx2(int64_t count, float *sum)
{
    __m256 x[CHAINS];
    const __m256 m = _mm256_set1_ps(0.999f), a = _mm256_set1_ps(0.001f);
    for (int j = 0; j < CHAINS; j++)
        x[j] = _mm256_set1_ps((float)j);
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < CHAINS; j++)
            x[j] = _mm256_fmadd_ps(x[j], m, a);
    for (int j = 0; j < CHAINS; j++)
        *sum += _mm256_cvtss_f32(x[j]);
    return 2.0 * 8 * CHAINS * (double)count;
}

__attribute__((target("avx512f"))) static double loop_avx512(int64_t count, float *sum)
{
    __m512 x[CHAINS];
    const __m512 m = _mm512_set1_ps(0.999f), a = _mm512_set1_ps(0.001f);
    for (int j = 0; j < CHAINS; j++)
        x[j] = _mm512_set1_ps((float)j);
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < CHAINS; j++)
            x[j] = _mm512_fmadd_ps(x[j], m, a);
    for (int j = 0; j < CHAINS; j++)
        *sum += _mm512_cvtss_f32(x[j]);
    return 2.0 * 16 * CHAINS * (double)count;
}
#endif

/* What the compiler makes of it: fused where the target's own level has that. */
static double loop_plain(int64_t count, float *sum)
{
    enum { LANES = 4 * CHAINS };
    float x[LANES];
    for (int j = 0; j < LANES; j++)
        x[j] = (float)j;
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < LANES; j++)
#if defined(__FP_FAST_FMAF) && defined(__GNUC__)
            x[j] = __builtin_fmaf(x[j], 0.999f, 0.001f);
#else
            x[j] = x[j] * 0.999f + 0.001f;
#endif
    for (int j = 0; j < LANES; j++)
        *sum += x[j];
    return 2.0 * LANES * (double)count;
}

static fma_loop choose_loop(const char **name)
{
    *name = "plain C";
#if HAVE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        *name = "AVX-512";
        return loop_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *name = "AVX2 and FMA";
        return loop_avx2;
    }
#endif
    return loop_plain;
}

const char *bench_peak_name(void)
{
    const char *name;
    choose_loop(&name);
    return name;
}

typedef struct peak_thread {
    pthread_t thread;
    fma_loop loop;
    int64_t count;
    double rates[PEAK_RUNS]; /* FLOP/s of each run */
    float sum;
} peak_thread;

static void *run_peak(void *argument)
{
    peak_thread *t = argument;
    for (int r = 0; r < PEAK_RUNS; r++) {
        double begin = seconds();
        double flop = t->loop(t->count, &t->sum);
        t->rates[r] = flop / (seconds() - begin);
    }
    return NULL;
}

/* Iterations that take about peak_seconds. */
static int64_t calibrate(fma_loop loop)
{
    float sum = 0;
    int64_t count = 1000;
    double spent = 0;
    while (spent < peak_seconds / 2 && count < INT64_C(1) << 40) {
        count *= 2;
        double begin = seconds();
        loop(count, &sum);
        spent = seconds() - begin;
    }
    /* Never below -1, but the compiler cannot know. */
    return sum < -1 ? 1 : (int64_t)((double)count * peak_seconds / spent);
}

/* The threads start together but for microseconds, so that equal runs are simultaneous. */
double bench_peak(int threads)
{
    const char *name;
    const fma_loop loop = choose_loop(&name);
    peak_thread *all = calloc((size_t)threads, sizeof *all);
    if (all == NULL)
        return 0;
    const int64_t count = calibrate(loop);
    int made = 0;
    for (bool good = true; made < threads && good; made += good) {
        all[made] = (peak_thread){.loop = loop, .count = count};
        good = pthread_create(&all[made].thread, NULL, run_peak, &all[made]) == 0;
    }
    for (int i = 0; i < made; i++)
        pthread_join(all[i].thread, NULL);
    double best = 0;
    for (int r = 0; r < PEAK_RUNS && made == threads; r++) {
        double sum = 0;
        for (int i = 0; i < threads; i++)
            sum += all[i].rates[r];
        best = sum > best ? sum : best;
    }
    free(all);
    return best;
}

/* --- facts ----------------------------------------------------------------------------------- */

/* The value of "key : value" in a file of such lines, as Linux has them. */
static bool read_fact(const char *path, const char *key, char *value, size_t size)
{
    FILE *file = fopen(path, "r");
    char line[512];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        found = strncmp(line, key, strlen(key)) == 0 && colon != NULL;
        if (found) {
            colon += 1 + strspn(colon + 1, " \t");
            snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        }
    }
    if (file != NULL)
        fclose(file);
    return found;
}

void bench_processor(char *name, size_t size)
{
    struct utsname system;
    if (read_fact("/proc/cpuinfo", "model name", name, size))
        return;
    snprintf(name, size, "%s", uname(&system) == 0 ? system.machine : "unknown");
}

int bench_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : (int)count;
}

/* VmHWM counts from the start of this program; getrusage() would count what ran before exec(), too.
 */
int64_t bench_peak_resident(void)
{
    char value[64];
    if (read_fact("/proc/self/status", "VmHWM", value, sizeof value))
        return 1024 * (int64_t)strtoll(value, NULL, 10);
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? 1024 * (int64_t)usage.ru_maxrss : 0;
}
