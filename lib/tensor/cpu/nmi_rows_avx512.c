/* SPDX-License-Identifier: MIT */
/* The kernels for x86-64 with AVX-512 F, VL, DQ and BW. */
#include "nmi_avx512.inc.h"

#define TABLE nmi_kernels_avx512
#define NAME "avx512"
#include "nmi_pairs.inc.h"

#include "nmi_rows_kernel.inc.h"
