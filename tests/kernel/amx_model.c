/* SPDX-License-Identifier: MIT */
/*
 * The kernels of AMX on a model of its tiles in plain C, for processors without them: the same
 * source but for the operations, and but for vectors as the compiler makes them.
 */
#define LANES 16
#define TILE_ROWS 12
#define TILE_MIDDLE 8
#define TILE_SMALL 4
#define TABLE nmi_kernels_amx_model
#define NAME "amx-model"
#define MATRIX_TILES
#include "cpu/nmi_vector.inc.h"

#include "nmi_bf16.h"

#include <stdlib.h>

static vec load_part(const float *p, int n)
{
    vec v = {0};
    memcpy(&v, p, (size_t)(n < LANES ? n : LANES) * sizeof *p);
    return v;
}

static void store_part(float *p, int n, vec v)
{
    memcpy(p, &v, (size_t)(n < LANES ? n : LANES) * sizeof *p);
}

static void widen(vec x, wide_vec out[2])
{
    for (int i = 0; i < LANES; i++)
        out[i / (LANES / 2)][i % (LANES / 2)] = (double)x[i];
}

#include "cpu/nmi_pairs.inc.h"

enum { MODEL_TILES = 8, MODEL_SIDE = 16 };

/* Of the one thread of a test. Between release and configuration there are no tiles. */
static struct model {
    float tiles[MODEL_TILES][MODEL_SIDE][MODEL_SIDE];
    int configured;
} model;

static float (*model_tile(int t))[MODEL_SIDE]
{
    if (!model.configured || t < 0 || t >= MODEL_TILES)
        abort();
    return model.tiles[t];
}

static void model_configure(int configured)
{
    if (model.configured == configured)
        abort();
    memset(&model, 0, sizeof model);
    model.configured = configured;
}

static void model_load(int t, const float *from, int64_t stride)
{
    for (int line = 0; line < MODEL_SIDE; line++)
        memcpy(model_tile(t)[line], from + line * stride, sizeof *model.tiles[t]);
}

static void model_store(int t, float *to, int64_t stride)
{
    for (int line = 0; line < MODEL_SIDE; line++)
        memcpy(to + line * stride, model_tile(t)[line], sizeof *model.tiles[t]);
}

static void model_add(int c, int a, int b)
{
    for (int m = 0; m < MODEL_SIDE; m++)
        for (int p = 0; p < MODEL_SIDE; p++)
            for (int n = 0; n < MODEL_SIDE; n++) {
                const float x = model_tile(a)[m][p], y = model_tile(b)[p][n];
                model_tile(c)[m][n] += nmi_pair_first(x) * nmi_pair_first(y);
                model_tile(c)[m][n] += nmi_pair_second(x) * nmi_pair_second(y);
            }
}

#define MATRIX_CONFIGURE() model_configure(1)
#define MATRIX_RELEASE() model_configure(0)
#define MATRIX_ZERO(t) memset(model_tile(t), 0, sizeof model.tiles[t])
#define MATRIX_LOAD(t, from, stride) model_load(t, from, stride)
#define MATRIX_STORE(t, to, stride) model_store(t, to, stride)
#define MATRIX_ADD(c, a, b) model_add(c, a, b)

#include "cpu/nmi_rows_kernel.inc.h"
