/* SPDX-License-Identifier: MIT */
/* MLPs of a manifold written plainly, in double, from the formulas alone. */
#ifndef NMI_PLAIN_MLP_H
#define NMI_PLAIN_MLP_H

#include "nmi_manifold.h"

#include <math.h>
#include <string.h>

enum { MOST_INPUTS = 512, MOST_HIDDEN = 64 };

/* e(x) of channels o and i of a tensor; `draws` are six noises. Returns its length. */
static inline int64_t plain_encode(const nmi_manifold *m, const nmi_mlp *mlp, const nmi_grid *g,
                                   int64_t o, int64_t i, const double *draws, double *e)
{
    const double pi = acos(-1), M = (double)m->settings.coordinate_scale;
    const bool integrated = m->settings.encoding == 1;
    double q[6] = {(double)g->tensor,  (double)o,          (double)i,
                   (double)g->tensors, (double)g->outputs, (double)g->inputs};
    const double extent[6] = {q[3], q[4], q[5], M, M, M};
    for (int j = 0; j < 6; j++)
        q[j] += draws[j];
    const double x[6] = {q[0] / q[3], q[1] / q[4], q[2] / q[5], q[3] / M, q[4] / M, q[5] / M};
    int64_t pairs = 0;
    for (int j = 0; j < 6; j++)
        pairs += mlp->encoding.octaves[j];
    int64_t f = 0;
    for (int j = 0; j < 6; j++)
        e[j] = x[j];
    for (int64_t k = 0; k < m->settings.octaves; k++)
        for (int j = 0; j < 6; j++) {
            if (k >= mlp->encoding.octaves[j])
                continue;
            const double w = pow(2, (double)k) * pi;
            const double p = w * m->settings.noise / (2 * extent[j]);
            const double gain = integrated && p > 0 ? sin(p) / p : 1;
            e[6 + f] = gain * sin(w * x[j]);
            e[6 + pairs + f] = gain * cos(w * x[j]);
            f++;
        }
    return 6 + 2 * pairs;
}

static inline double plain_phi(const nmi_manifold *m, double v)
{
    if (v > 0)
        return v;
    return m->settings.function == 1 ? expm1(v) : 0;
}

/* All outputs for encoded coordinates, from flat parameters in double. */
static inline void plain_outputs(const nmi_manifold *m, const nmi_mlp *mlp, const double *p,
                                 const double *e, int64_t inputs, double *out)
{
    const int64_t hidden = m->settings.hidden;
    double a[MOST_HIDDEN], next[MOST_HIDDEN];
    for (int64_t layer = 0; layer < m->settings.layers; layer++) {
        const int64_t width = layer == 0 ? inputs : hidden;
        const double *x = layer == 0 ? e : a, *bias = p + hidden * width;
        for (int64_t o = 0; o < hidden; o++) {
            double v = bias[o];
            for (int64_t i = 0; i < width; i++)
                v += p[o * width + i] * x[i];
            next[o] = layer == 0 ? plain_phi(m, v) : a[o] + bias[hidden] * plain_phi(m, v);
        }
        memcpy(a, next, sizeof a);
        p = bias + hidden + (layer > 0);
    }
    for (int64_t o = 0; o < mlp->outputs; o++) {
        out[o] = p[mlp->outputs * hidden + o];
        for (int64_t i = 0; i < hidden; i++)
            out[o] += p[o * hidden + i] * a[i];
    }
}

/* The noise of a row, as the library draws it; what it should be like is tested in test_encoding.
 */
static inline void plain_noise(const nmi_manifold *m, const nmi_grid *grid, const nmi_noise *noise,
                               int64_t row, double *draws)
{
    memset(draws, 0, 6 * sizeof *draws);
    if (noise == NULL || m->settings.encoding == 1)
        return;
    const uint64_t key =
        nmi_random_key(noise->key, (uint64_t)grid->tensor, (uint64_t)noise->sample);
    for (int j = 0; j < 6; j++) {
        double u = nmi_random_uniform_at(key, (uint64_t)(row * 6 + j)) - 0.5;
        draws[j] = fmax(-noise->clamp, fmin(noise->clamp, noise->amplitude * u));
    }
}

#endif
