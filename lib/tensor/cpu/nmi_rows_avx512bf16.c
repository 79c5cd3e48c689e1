/* SPDX-License-Identifier: MIT */
/* The kernels for x86-64 with AVX-512 F, VL, DQ, BW and BF16: products of pairs have an instruction
 * that does twice the work of a multiply-add. */
#include "nmi_avx512.inc.h"

#define TABLE nmi_kernels_avx512bf16
#define NAME "avx512bf16"
#include "nmi_avx512bf16.inc.h"

#include "nmi_rows_kernel.inc.h"
