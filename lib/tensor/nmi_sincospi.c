/* SPDX-License-Identifier: MIT */
/* Sine and cosine of multiples of pi through the C library: the reference. */
#include "nmi_sincospi.h"

#include <math.h>

/* remainder() is exact, so the only error is that of pi times a number in [-1, 1]. */
void nmi_sincospi_ref(const double *x, float *sine, float *cosine, int64_t count)
{
    const double pi = 3.14159265358979323846;
    for (int64_t i = 0; i < count; i++) {
        double r = remainder(x[i], 2.0);
        sine[i] = (float)sin(pi * r);
        cosine[i] = (float)cos(pi * r);
    }
}
