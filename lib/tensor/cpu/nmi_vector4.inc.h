/* SPDX-License-Identifier: MIT */
/* Vectors of four floats, for processors without masked loads: parts and halves go float by float.
 */
#include "nmi_vector.inc.h"

static inline vec load_part(const float *p, int n)
{
    if (n >= LANES)
        return load(p);
    vec v = {n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f};
    return v;
}

static inline void store_part(float *p, int n, vec v)
{
    if (n >= LANES) {
        store(p, v);
        return;
    }
    for (int i = 0; i < n; i++)
        p[i] = v[i];
}

static inline void widen(vec x, wide_vec out[2])
{
    out[0] = (wide_vec){(double)x[0], (double)x[1]};
    out[1] = (wide_vec){(double)x[2], (double)x[3]};
}
