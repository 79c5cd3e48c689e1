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
    int lines[MODEL_TILES], width[MODEL_TILES]; /* in floats */
} model;

static float (*model_tile(int t))[MODEL_SIDE]
{
    if (t < 0 || t >= MODEL_TILES || model.lines[t] == 0)
        abort();
    return model.tiles[t];
}

static void model_release(void)
{
    if (model.lines[0] == 0)
        abort();
    memset(&model, 0, sizeof model);
}

static void model_configure(int first, int second, int depth)
{
    const int lines[MODEL_TILES] = {first, first, second, second, first, second, depth, depth};
    if (model.lines[0] != 0)
        abort();
    memset(&model, 0, sizeof model);
    for (int t = 0; t < MODEL_TILES; t++) {
        if (lines[t] < 1 || lines[t] > MODEL_SIDE)
            abort();
        model.lines[t] = lines[t];
        model.width[t] = t == 4 || t == 5 ? depth : MODEL_SIDE;
    }
}

/* From any address, like the instruction. What lies beyond a tile's lines becomes zero. */
static void model_load(int t, const void *from, int64_t stride)
{
    memset(model_tile(t), 0, sizeof model.tiles[t]);
    for (int line = 0; line < model.lines[t]; line++)
        memcpy(model_tile(t)[line], (const char *)from + line * stride * (int64_t)sizeof(float),
               (size_t)model.width[t] * sizeof(float));
}

static void model_store(int t, float *to, int64_t stride)
{
    for (int line = 0; line < model.lines[t]; line++)
        memcpy(to + line * stride, model_tile(t)[line], (size_t)model.width[t] * sizeof *to);
}

static void model_add(int c, int a, int b)
{
    if (model.lines[c] != model.lines[a] || model.width[a] != model.lines[b])
        abort();
    for (int m = 0; m < model.lines[c]; m++)
        for (int p = 0; p < model.width[a]; p++)
            for (int n = 0; n < model.width[c]; n++) {
                const float x = model_tile(a)[m][p], y = model_tile(b)[p][n];
                model_tile(c)[m][n] += nmi_pair_first(x) * nmi_pair_first(y);
                model_tile(c)[m][n] += nmi_pair_second(x) * nmi_pair_second(y);
            }
}

static vec pair_up(vec first, vec second)
{
    return (vec)(rounded_bits(first) >> 16 | (rounded_bits(second) & 0xffff0000u));
}

static vec lanes_from(vec v, int first)
{
    vec from = {0};
    for (int i = first; i < LANES; i++)
        from[i - first] = v[i];
    return from;
}

static void transpose(vec v[LANES])
{
    for (int i = 0; i < LANES; i++) {
        for (int j = 0; j < i; j++) {
            const float swap = v[i][j];
            v[i][j] = v[j][i];
            v[j][i] = swap;
        }
    }
}

#define MATRIX_CONFIGURE(first, second, depth) model_configure(first, second, depth)
#define MATRIX_RELEASE() model_release()
#define MATRIX_ZERO(t) memset(model_tile(t), 0, sizeof model.tiles[t])
#define MATRIX_LOAD(t, from, stride) model_load(t, from, stride)
#define MATRIX_STREAM(t, from, stride) model_load(t, from, stride)
#define MATRIX_STORE(t, to, stride) model_store(t, to, stride)
#define MATRIX_ADD(c, a, b) model_add(c, a, b)

#include "cpu/nmi_rows_kernel.inc.h"
