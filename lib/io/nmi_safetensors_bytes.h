/* SPDX-License-Identifier: MIT */
/* What the reader and the writer of safetensors share. Included by this unit's own files only. */
#ifndef NMI_SAFETENSORS_BYTES_H
#define NMI_SAFETENSORS_BYTES_H

#include "nmi_safetensors.h"

/* Metadata sits in the header under this name, which no tensor may have. */
#define NMI_SAFETENSORS_METADATA "__metadata__"

/* The least rank of a tensor of I8 with scales, and room for the name of these, "<name>/scale", of
 * which too long ones are refused where they are used. */
enum { NMI_SAFETENSORS_SCALED = 2, NMI_SAFETENSORS_SCALE_NAME = 2 * NMI_SAFETENSORS_NAME };
void nmi_tensor_scale_name(const char *name, char out[NMI_SAFETENSORS_SCALE_NAME]);

/* 1 to NMI_SAFETENSORS_NAME bytes without control characters. */
bool nmi_tensor_name_is_clean(const char *name);

bool nmi_host_is_little_endian(void);
/* Copies `count` elements of `size` bytes, the bytes of each in reverse; no overlap. */
void nmi_copy_swapped(void *out, const void *in, int64_t count, int32_t size);

/* Elements of F16, BF16 or F64, in the host's byte order, as floats. */
void nmi_floats_widen(int32_t dtype, int64_t count, const void *elements, float *out);
/* Floats rounded to F16 or BF16. NEUMETA_ERR_NUMERIC names one that is none. */
neumeta_status nmi_floats_round(nmi_context *context, int32_t dtype, int64_t count,
                                const float *values, uint16_t *out);

/* Each row as whole numbers from -127 to 127 times a scale of its own, of 12 binary digits, so that
 * they are floats exactly and rounding them again changes nothing. NEUMETA_ERR_NUMERIC. */
neumeta_status nmi_floats_scale(nmi_context *context, int64_t rows, int64_t columns,
                                const float *values, int8_t *out, float *scales);

#endif
