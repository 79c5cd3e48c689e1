/* SPDX-License-Identifier: MIT */
/*
 * Hashes of bytes: a fast one against accidents, and one that nobody can forge.
 *
 * XXH64 (Collet, xxHash fast digest algorithm, 64 bits) finds damage: it runs at the speed of
 * memory without tables or special instructions. SHA-256 (FIPS 180-4) names contents.
 */
#ifndef NMI_HASH_H
#define NMI_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Equal on hosts of any byte order. */
uint64_t nmi_xxh64(const void *data, size_t size, uint64_t seed);

enum { NMI_SHA256_BYTES = 32 };

typedef struct nmi_sha256 {
    uint32_t state[8];
    uint64_t size;           /* bytes so far */
    unsigned char block[64]; /* the last size % 64 of them */
} nmi_sha256;

void nmi_sha256_start(nmi_sha256 *hash);
void nmi_sha256_add(nmi_sha256 *hash, const void *data, size_t size);
void nmi_sha256_end(nmi_sha256 *hash, unsigned char out[NMI_SHA256_BYTES]);

#endif
