/* SPDX-License-Identifier: MIT */
/* SplitMix64 as a function of (key, position), and the distributions drawn from it. */
#include "nmi_random.h"

#include <math.h>

/* The increment is 2^64 divided by the golden ratio, made odd. */
static const uint64_t increment = UINT64_C(0x9E3779B97F4A7C15);

/* The output function of SplitMix64: a bijection in which every input bit reaches every output
 * bit. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

uint64_t nmi_random_at(uint64_t key, uint64_t position)
{
    return mix(key + (position + 1) * increment);
}

uint64_t nmi_random_key(uint64_t seed, uint64_t purpose, uint64_t index)
{
    return nmi_random_at(nmi_random_at(nmi_random_at(0, seed), purpose), index);
}

static double to_uniform(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

double nmi_random_uniform_at(uint64_t key, uint64_t position)
{
    return to_uniform(nmi_random_at(key, position));
}

nmi_random nmi_random_start(uint64_t key)
{
    return (nmi_random){.key = key, .position = 0};
}

uint64_t nmi_random_next(nmi_random *random)
{
    return nmi_random_at(random->key, random->position++);
}

double nmi_random_uniform(nmi_random *random)
{
    return to_uniform(nmi_random_next(random));
}

/* Box and Muller's transform; its second value is thrown away so that the state stays a
 * position. 1 - u lies in (0, 1], where the logarithm is finite. */
double nmi_random_normal(nmi_random *random)
{
    const double two_pi = 6.283185307179586;
    double radius = sqrt(-2.0 * log(1.0 - nmi_random_uniform(random)));
    return radius * cos(two_pi * nmi_random_uniform(random));
}

/* The lowest 2^64 mod bound values are refused: the rest splits evenly. */
int64_t nmi_random_below(nmi_random *random, int64_t bound)
{
    uint64_t range = (uint64_t)bound;
    uint64_t refused = (UINT64_MAX - range + 1) % range;
    uint64_t bits;
    do {
        bits = nmi_random_next(random);
    } while (bits < refused);
    return (int64_t)(bits % range);
}

void nmi_random_shuffle(nmi_random *random, int64_t *items, int64_t count)
{
    for (int64_t last = count - 1; last > 0; last--) {
        int64_t other = nmi_random_below(random, last + 1);
        int64_t moved = items[last];
        items[last] = items[other];
        items[other] = moved;
    }
}
