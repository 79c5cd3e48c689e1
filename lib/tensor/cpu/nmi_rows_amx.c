/* SPDX-License-Identifier: MIT */
/* The kernels for x86-64 with AMX for bf16 beside AVX-512: products of pairs on matrix tiles. */
#include "nmi_avx512.inc.h"

#define TABLE nmi_kernels_amx
#define NAME "amx"
#define MATRIX_TILES
#include "nmi_amx.inc.h"
#include "nmi_avx512bf16.inc.h"

#include "nmi_rows_kernel.inc.h"
