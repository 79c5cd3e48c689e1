/* SPDX-License-Identifier: MIT */
/*
 * Sine and cosine of multiples of pi, for the encodings of coordinates. The argument is reduced
 * exactly in double before anything is rounded to float, so that high octaves (x = 2^k u) keep
 * their accuracy; that is why the argument is not a float and not premultiplied by pi.
 */
#ifndef NMI_SINCOSPI_H
#define NMI_SINCOSPI_H

#include <stdint.h>

/* sine[i] = sin(pi x[i]), cosine[i] = cos(pi x[i]), |x[i]| <= 2^40, through the C library. The
 * `sincospi` of nmi_kernels.h has an absolute error below 2e-7 and is exact at multiples of 1/2;
 * its arrays must not overlap. */
void nmi_sincospi_ref(const double *x, float *sine, float *cosine, int64_t count);

#endif
