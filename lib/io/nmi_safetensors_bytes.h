/* SPDX-License-Identifier: MIT */
/* What the reader and the writer of safetensors share. Included by this unit's own files only. */
#ifndef NMI_SAFETENSORS_BYTES_H
#define NMI_SAFETENSORS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Metadata sits in the header under this name, which no tensor may have. */
#define NMI_SAFETENSORS_METADATA "__metadata__"

/* 1 to NMI_SAFETENSORS_NAME bytes without control characters. */
bool nmi_tensor_name_is_clean(const char *name);

bool nmi_host_is_little_endian(void);
/* Copies `count` elements of `size` bytes, the bytes of each in reverse; no overlap. */
void nmi_copy_swapped(void *out, const void *in, int64_t count, int32_t size);

#endif
