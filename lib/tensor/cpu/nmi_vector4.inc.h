/* SPDX-License-Identifier: MIT */
/* Vectors of four floats, for processors without masked loads: parts go float by float. */
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
