/* SPDX-License-Identifier: MIT */
/*
 * Checksums of our own files: XXH64 of the header and of each tensor, as hexadecimal digits in the
 * first string of the metadata. Included by this unit's own files only; docs/formats.md defines
 * them.
 */
#ifndef NMI_CHECKSUM_H
#define NMI_CHECKSUM_H

#include "nmi_safetensors.h"

#define NMI_CHECKSUM_KEY "neumeta.checksums"

enum { NMI_CHECKSUM_DIGITS = 16 };

/* Writes NMI_CHECKSUM_DIGITS digits, without a zero behind them. */
void nmi_checksum_print(uint64_t checksum, char *digits);
uint64_t nmi_checksum_tensor(const void *data, int64_t bytes); /* as they are in the file */

/* Whether a file begins as one with checksums does. `size` counts all bytes up to the data. */
bool nmi_checksum_is_there(const unsigned char *bytes, size_t size);
/* Completes the digits of such a beginning, in which those of the tensors are there. */
void nmi_checksum_sign(unsigned char *bytes, size_t size);
/* NEUMETA_ERR_FORMAT if such a beginning is not what it was. */
neumeta_status nmi_checksum_verify_header(nmi_context *context, const unsigned char *bytes,
                                          size_t size);
/* The same for the tensors of a file; `digits` is the metadata's string. */
neumeta_status nmi_checksum_verify_tensors(nmi_context *context, const char *digits,
                                           const nmi_safetensors *file);

#endif
