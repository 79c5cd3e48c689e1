/* SPDX-License-Identifier: MIT */
/* Vector types of LANES floats, loads and stores without alignment, and loop unrolling. */
#include <stdint.h>
#include <string.h>

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t half_vec __attribute__((vector_size(LANES * 2))); /* of bf16 */
typedef double wide_vec __attribute__((vector_size(LANES * 4)));   /* half as many numbers */
typedef float loose_vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_4 _Pragma("GCC unroll 4")
#endif

static inline __attribute__((always_inline)) vec load(const float *p)
{
    return *(const loose_vec *)p;
}

static inline __attribute__((always_inline)) void store(float *p, vec v)
{
    *(loose_vec *)p = v;
}

static inline __attribute__((always_inline)) vec splat(float value)
{
    return value - (vec){0};
}

/* The same of a pair of bf16, whose bits are no number. */
static inline __attribute__((always_inline)) vec splat_pair(const float *p)
{
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return (vec)(bits - (uvec){0});
}
