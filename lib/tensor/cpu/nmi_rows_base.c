/* SPDX-License-Identifier: MIT */
/* The kernels for any processor, in plain C: vectors of four floats, however it computes them, and
 * tiles for sixteen registers. */
#define LANES 4
#define TILE_ROWS 6
#define TILE_MIDDLE 4
#define TILE_SMALL 2
#define TABLE nmi_kernels_base
#define NAME "base"
#include "nmi_vector4.inc.h"

#include "nmi_pairs.inc.h"
#include "nmi_rows_kernel.inc.h"
