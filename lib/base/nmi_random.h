/* SPDX-License-Identifier: MIT */
/*
 * Seeded random numbers, addressable by position: value n of a stream is a hash of (key, n), so
 * any row of any tensor can be drawn on any thread, and a checkpoint stores two integers.
 * The hash is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * OOPSLA 2014).
 */
#ifndef NMI_RANDOM_H
#define NMI_RANDOM_H

#include <stdint.h>

typedef struct nmi_random {
    uint64_t key;
    uint64_t position;
} nmi_random;

/* A key for one purpose: equal (seed, purpose, index) give equal keys, others unrelated ones. */
uint64_t nmi_random_key(uint64_t seed, uint64_t purpose, uint64_t index);

/* Purposes: fixed numbers, since checkpoints and reproducibility depend on them. */
enum {
    NMI_RANDOM_WEIGHTS = 1,
    NMI_RANDOM_NOISE = 2,
    NMI_RANDOM_SIZES = 3,
    NMI_RANDOM_ORDER = 4,
    NMI_RANDOM_AUGMENT = 5,
    NMI_RANDOM_SMOOTH = 6,
    NMI_RANDOM_FIT = 7,
    NMI_RANDOM_SEARCH = 8
};

uint64_t nmi_random_at(uint64_t key, uint64_t position);
double nmi_random_uniform_at(uint64_t key, uint64_t position); /* [0, 1), 53 bits */

nmi_random nmi_random_start(uint64_t key);
uint64_t nmi_random_next(nmi_random *random);
double nmi_random_uniform(nmi_random *random);               /* [0, 1) */
double nmi_random_normal(nmi_random *random);                /* mean 0, variance 1 */
int64_t nmi_random_below(nmi_random *random, int64_t bound); /* [0, bound), unbiased */
void nmi_random_shuffle(nmi_random *random, int64_t *items, int64_t count);

#endif
