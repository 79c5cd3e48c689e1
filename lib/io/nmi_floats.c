/* SPDX-License-Identifier: MIT */
/* Between floats in memory and the types of numbers in files. */
#include "nmi_float16.h"
#include "nmi_safetensors.h"
#include "nmi_safetensors_bytes.h"

#include <math.h>

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

/* The least number of 12 binary digits that is not below x >= 0. */
static float round_up(float x)
{
    const uint32_t low = 0xfff;
    return nmi_float_from_bits((nmi_float_bits(x) + low) & ~low);
}

neumeta_status nmi_floats_scale(nmi_context *context, int64_t rows, int64_t columns,
                                const float *values, int8_t *out, float *scales)
{
    const float most = 127;
    for (int64_t r = 0; r < rows; r++, values += columns, out += columns) {
        float largest = 0;
        for (int64_t i = 0; i < columns; i++) {
            largest = fmaxf(largest, fabsf(values[i]));
            if (!isfinite(values[i]))
                return nmi_fail(context, NEUMETA_ERR_NUMERIC,
                                "value %lld of row %lld is %g, which I8 cannot hold", (long long)i,
                                (long long)r, (double)values[i]);
        }
        scales[r] = round_up(largest / most);
        for (int64_t i = 0; i < columns; i++)
            out[i] = scales[r] > 0 ? (int8_t)lrintf(values[i] / scales[r]) : 0;
    }
    return NEUMETA_OK;
}
