/* SPDX-License-Identifier: MIT */
/* The kernels for AArch64, all of which have vectors of four floats, a fused multiply-add by one
 * lane of another register, and 32 registers: the tiles are twice those of the base level. */
#define LANES 4
#define TILE_ROWS 12
#define TILE_MIDDLE 8
#define TILE_SMALL 4
#define TABLE nmi_kernels_neon
#define NAME "neon"
#include "nmi_vector4.inc.h"

#include "nmi_rows_kernel.inc.h"
