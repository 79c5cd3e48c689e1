/* SPDX-License-Identifier: MIT */
/* Between floats in memory and the types of numbers in files. */
#include "nmi_float16.h"
#include "nmi_safetensors.h"
#include "nmi_safetensors_bytes.h"

void nmi_floats_widen(int32_t dtype, int64_t count, const void *elements, float *out)
{
    const uint16_t *halves = elements;
    const double *doubles = elements;
    for (int64_t i = 0; i < count && dtype == NMI_DTYPE_F16; i++)
        out[i] = nmi_f16_from_bits(halves[i]);
    for (int64_t i = 0; i < count && dtype == NMI_DTYPE_BF16; i++)
        out[i] = nmi_bf16_from_bits(halves[i]);
    for (int64_t i = 0; i < count && dtype == NMI_DTYPE_F64; i++)
        out[i] = (float)doubles[i];
}

neumeta_status nmi_floats_round(nmi_context *context, int32_t dtype, int64_t count,
                                const float *values, uint16_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits =
            dtype == NMI_DTYPE_F16 ? nmi_f16_bits(values[i]) : nmi_bf16_bits(values[i]);
        const uint32_t infinity = dtype == NMI_DTYPE_F16 ? 0x7c00 : 0x7f80;
        if ((bits & infinity) == infinity)
            return nmi_fail(context, NEUMETA_ERR_NUMERIC,
                            "value %lld is %g, which %s cannot hold: its largest number is %g",
                            (long long)i, (double)values[i], nmi_dtype_name(dtype),
                            dtype == NMI_DTYPE_F16 ? 65504.0
                                                   : (double)nmi_bf16_from_bits(infinity - 1));
        out[i] = (uint16_t)bits;
    }
    return NEUMETA_OK;
}
