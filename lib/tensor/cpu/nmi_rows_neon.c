/* SPDX-License-Identifier: MIT */
/* The kernels for AArch64, all of which have vectors of four floats, a multiply-add by one lane of
 * a register, and 32 registers. Eight rows need 26 of them: 16 sums, two weights and eight values
 * of x; with twelve gcc 12 kept a quarter of the sums in memory. */
#define LANES 4
#define TILE_ROWS 8
#define TILE_MIDDLE 4
#define TILE_SMALL 2
#define TABLE nmi_kernels_neon
#define NAME "neon"
#include "nmi_vector4.inc.h"

#include "nmi_pairs.inc.h"
#include "nmi_rows_kernel.inc.h"
