/* SPDX-License-Identifier: MIT */
/*
 * The kernels of nmi_kernels.h, written once in vector extensions and compiled once for each
 * instruction set. The including file defines
 *   LANES        floats in a vector
 *   TILE_ROWS    rows (or k values) of the largest register tile, TILE_MIDDLE and TILE_SMALL of
 *                the smaller ones; two vectors of columns go with each
 *   TABLE, NAME  symbol and name of the table
 *   BROAD        optional: tiles of half the rows with two panels, where there are two
 *   AHEAD        optional: for how many later k weights are fetched into the first-level cache
 *   MATRIX_TILES optional: products of pairs are those of nmi_amx_kernel.inc.h
 *   load_part(p, n), store_part(p, n, v) for 1 <= n <= LANES floats, no access beyond them
 *   widen(x, out)  the two halves of x in double
 *   add_pairs(sum, a, b), halves(x)  sums of products of pairs, and rounding to bf16
 * after it has included nmi_vector.inc.h (or nmi_vector4.inc.h, which has load_part, store_part and
 * widen); nmi_pairs.inc.h has the last two.
 *
 * Register tiles: TILE_ROWS x 2 accumulators, two weights and one broadcast fill the register
 * file; each k costs TILE_ROWS + 2 loads for 2 * TILE_ROWS multiply-adds, so the multipliers, not
 * the loads, set the pace. A broad tile, TILE_ROWS / 2 x 4, takes two registers more and
 * TILE_ROWS / 2 + 4 loads for as many multiply-adds, which counts where another thread shares the
 * core.
 */
#include "../nmi_kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define PANEL (2 * LANES)

enum {
    BLOCK_ROWS = 20 * TILE_ROWS, /* rows swept with one panel of weights before the next panel */
    FETCHED = 4,                 /* floats of later weights fetched for each k */
    WEIGHT_BLOCK_ROWS = 128      /* rows summed in registers before a tile of dw is stored */
};

INLINE vec select_bits(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

INLINE vec relu(vec x)
{
    return (vec)((ivec)x & ~(ivec)(x < 0.0f)); /* NaN is not below zero: it stays */
}

/* exp(x) - 1 for x <= 0 as 2^n (e^r - 1) + (2^n - 1), |r| <= ln(2)/2, Taylor to r^7: no
 * cancellation near zero, absolute error about one unit of 6e-8. */
INLINE vec exp_minus_one(vec x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = select_bits((ivec)(x < -87.0f), splat(-87.0f), x);
    vec shifted = x * 1.44269504f + magic;
    vec n = shifted - magic;
    vec r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vec p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
    p = p * r + (1.0f / 120.0f);
    p = p * r + (1.0f / 24.0f);
    p = p * r + (1.0f / 6.0f);
    p = p * r + 0.5f;
    vec q = p * (r * r) + r;
    vec power = (vec)(((ivec)shifted - (ivec)splat(magic) + 127) << 23);
    return power * q + (power - 1.0f);
}

INLINE vec apply(int32_t activation, vec x)
{
    if (activation == NMI_ACTIVATION_RELU)
        return relu(x);
    if (activation == NMI_ACTIVATION_ELU)
        return select_bits((ivec)(x > 0.0f), x, exp_minus_one(x));
    return x;
}

/* --- forward ------------------------------------------------------------------------------ */

/* The rows of a tile. Missing ones repeat the first. */
typedef struct row_tile {
    const float *x[TILE_ROWS];
    int64_t at[TILE_ROWS]; /* offset of the row in y */
    const float *later;    /* weights that are wanted after those of this tile */
} row_tile;

/* Where the next row lies: the grid is walked, not divided. */
typedef struct cursor {
    const nmi_rows *rows;
    const float *x;
    int64_t at, y_line, y_step;
    int64_t column;
} cursor;

typedef struct forward_job {
    const nmi_rows *rows;
    const float *w;
    const nmi_epilogue *epilogue; /* pointers already moved to the panel's first column */
    float *y;
    int columns; /* of this panel */
} forward_job;

/* Columns of the panel in memory; only the last vector may be less than whole. */
INLINE vec fetch(const bool whole, const int vectors, const forward_job *job, const float *p, int v)
{
    p += v * LANES;
    return whole || v < vectors - 1 ? load(p) : load_part(p, job->columns - v * LANES);
}

INLINE void put(const bool whole, const int vectors, const forward_job *job, float *p, int v, vec x)
{
    p += v * LANES;
    if (whole || v < vectors - 1)
        store(p, x);
    else
        store_part(p, job->columns - v * LANES, x);
}

/* The same of x rounded, as pairs. What pads the last pair is zero, as x is there. */
INLINE void put_pairs(const bool whole, const int vectors, const forward_job *job, float *p, int v,
                      vec x)
{
    const half_vec rounded = halves(x);
    p += v * (LANES / 2);
    if (whole || v < vectors - 1)
        memcpy(p, &rounded, sizeof rounded);
    else
        memcpy(p, &rounded, (size_t)((job->columns - v * LANES + 1) / 2) * sizeof *p);
}

#define EACH_ROW UNROLL for (int r = 0; r < rows; r++)
#define EACH_VECTOR UNROLL for (int v = 0; v < vectors; v++)
#define EACH EACH_ROW EACH_VECTOR

/* The epilogue of a tile, step by step over all of its sums, so that each choice is made once. All
 * loads precede the stores to y: the residual may be y itself, and rows may repeat. */
INLINE void finish(const bool whole, const int rows, const int vectors, const forward_job *job,
                   const row_tile *tile, vec sum[TILE_ROWS][2])
{
    const nmi_epilogue e = *job->epilogue;
    if (e.bias != NULL) {
        vec bias[2];
        EACH_VECTOR bias[v] = fetch(whole, vectors, job, e.bias, v);
        EACH sum[r][v] += bias[v];
    }
    if (e.residual_inside && e.residual != NULL)
        EACH sum[r][v] += fetch(whole, vectors, job, e.residual + tile->at[r], v);
    if (e.activation == NMI_ACTIVATION_RELU)
        EACH sum[r][v] = relu(sum[r][v]);
    else if (e.activation != NMI_ACTIVATION_NONE)
        EACH sum[r][v] = apply(e.activation, sum[r][v]);
    if (e.activated != NULL)
        EACH put(whole, vectors, job, e.activated + tile->at[r], v, sum[r][v]);
    if (!e.residual_inside) {
        if (e.residual != NULL)
            EACH sum[r][v] =
                sum[r][v] * e.scale + fetch(whole, vectors, job, e.residual + tile->at[r], v);
        else if (e.scale != 1.0f)
            EACH sum[r][v] *= e.scale;
    }
    EACH put(whole, vectors, job, job->y + tile->at[r], v, sum[r][v]);
    if (e.rounded != NULL)
        EACH put_pairs(whole, vectors, job, e.rounded + tile->at[r] / 2, v, sum[r][v]);
}

/* sum + a * b, b in all lanes; of pairs both products. */
INLINE vec add_product(const bool pairs, vec sum, vec a, const float *b)
{
    return pairs ? add_pairs(sum, a, splat_pair(b)) : sum + a * *b;
}

#define EACH_PANEL UNROLL for (int p = 0; p < panels; p++)

/* One k: sum[p * rows + r] belongs to row r and panel p. */
INLINE void forward_step(const bool pairs, const int panels, const int rows, const int vectors,
                         const float *const x[TILE_ROWS], int64_t k, const float *const w[2],
                         vec sum[TILE_ROWS][2])
{
    vec weight[2][2];
    EACH_PANEL EACH_VECTOR weight[p][v] = load(w[p] + v * LANES);
#ifdef AHEAD
    EACH_PANEL __builtin_prefetch(w[p] + AHEAD * vectors * LANES);
#endif
    EACH_ROW EACH_PANEL EACH_VECTOR sum[p * rows + r][v] =
        add_product(pairs, sum[p * rows + r][v], weight[p][v], x[r] + k);
}

/* A tile of `rows` rows and one panel, or two (job[0] and job[1]). On the way some of the weights
 * that come later are fetched into the second-level cache, each line again for a few k, which is
 * cheaper than a loop in steps of them: the first tile to use those weights would wait for the
 * third level all along. */
INLINE void forward_tile(const bool pairs, const int panels, const int rows, const int vectors,
                         const forward_job *job, const row_tile *tile)
{
    const float *x[TILE_ROWS], *w[2], *later = tile->later;
    vec sum[TILE_ROWS][2];
    EACH_ROW x[r] = tile->x[r];
    EACH_PANEL w[p] = job[p].w;
    EACH_PANEL EACH sum[p * rows + r][v] = splat(0.0f);
    const int64_t length = job->rows->segment_length;
    const int64_t stride = job->rows->segment_stride;
    for (int64_t s = job->rows->segments; s > 0; s--) {
        UNROLL_4
        for (int64_t k = 0; k < length; k++, later += FETCHED) {
            __builtin_prefetch(later, 0, 2);
            forward_step(pairs, panels, rows, vectors, x, k, w, sum);
            EACH_PANEL w[p] += vectors * LANES;
        }
        EACH_ROW x[r] += stride;
    }
    EACH_PANEL
    {
        if (job[p].columns == vectors * LANES)
            finish(true, rows, vectors, &job[p], tile, sum + p * rows);
        else
            finish(false, rows, vectors, &job[p], tile, sum + p * rows);
    }
}

typedef void forward_fn(const forward_job *job, const row_tile *tile);

#define FORWARD(name, pairs, panels, rows, vectors)                                                \
    static __attribute__((noinline)) void name(const forward_job *job, const row_tile *tile)       \
    {                                                                                              \
        forward_tile(pairs, panels, rows, vectors, job, tile);                                     \
    }
#ifdef BROAD
#define FORWARD_BROAD FORWARD
#define BROAD_TILE(name) name
enum { PANELS = 2 }; /* of a tile at most */
#else
#define FORWARD_BROAD(name, pairs, panels, rows, vectors)
#define BROAD_TILE(name) NULL
enum { PANELS = 1 };
#endif
#define FORWARD_ALL(name, pairs, rows)                                                             \
    FORWARD(name##_1, pairs, 1, rows, 1)                                                           \
    FORWARD(name##_2, pairs, 1, rows, 2)                                                           \
    FORWARD_BROAD(name##_broad, pairs, 2, (rows) / 2, 2)
#define FORWARD_TILES(name)                                                                        \
    {                                                                                              \
        name##_1, name##_2, BROAD_TILE(name##_broad)                                               \
    }
FORWARD_ALL(forward_large, false, TILE_ROWS)
FORWARD_ALL(forward_middle, false, TILE_MIDDLE)
FORWARD_ALL(forward_small, false, TILE_SMALL)
FORWARD_ALL(pairs_large, true, TILE_ROWS)
FORWARD_ALL(pairs_middle, true, TILE_MIDDLE)
FORWARD_ALL(pairs_small, true, TILE_SMALL)

/* [pairs][large, middle, small][vectors - 1, or 2: broad] */
static forward_fn *const forward_tiles[2][3][3] = {
    {FORWARD_TILES(forward_large), FORWARD_TILES(forward_middle), FORWARD_TILES(forward_small)},
    {FORWARD_TILES(pairs_large), FORWARD_TILES(pairs_middle), FORWARD_TILES(pairs_small)}};

INLINE void next_row(cursor *at)
{
    at->x += at->rows->x_step;
    at->at += at->y_step;
    if (++at->column == at->rows->width) {
        at->column = 0;
        at->x += at->rows->x_line - at->rows->width * at->rows->x_step;
        at->at += at->y_line - at->rows->width * at->y_step;
    }
}

/* Rows times one panel, or two. The tiles share the fetching of as many weights again. */
static void forward_panels(const bool pairs, const int panels, const forward_job job[PANELS],
                           cursor at, int64_t rows)
{
    static const int sizes[3] = {TILE_ROWS, TILE_MIDDLE, TILE_SMALL};
    const int kind = panels > 1 ? 2 : job->columns > LANES ? 1 : 0;
    const int64_t depth = job->rows->segments * job->rows->segment_length;
    const int64_t weights = depth * (kind > 0 ? panels * PANEL : LANES);
    const float *later = job->w + weights, *end = later + weights;
    for (int64_t left = rows; left > 0;) {
        row_tile tile;
        const int choice = left > TILE_MIDDLE / panels ? 0 : left > TILE_SMALL / panels ? 1 : 2;
        const int size = sizes[choice] / panels;
        int present = left < size ? (int)left : size;
        for (int r = 0; r < size; r++) {
            tile.x[r] = r < present ? at.x : tile.x[0];
            tile.at[r] = r < present ? at.at : tile.at[0];
            if (r < present)
                next_row(&at);
        }
        tile.later = later < end ? later : end;
        later += depth * FETCHED;
        forward_tiles[pairs][choice][kind](job, &tile);
        left -= present;
    }
}

static void forward_grid(const bool pairs, const nmi_rows *rows, const float *packed,
                         int64_t columns, const nmi_epilogue *epilogue, float *y, int64_t y_line,
                         int64_t y_step)
{
    const int64_t depth = rows->segments * rows->segment_length;
    const int64_t total = rows->height * rows->width;
    cursor start = {rows, rows->x, 0, y_line, y_step, 0};
    for (int64_t first = 0; first < total; first += BLOCK_ROWS) {
        int64_t count = total - first < BLOCK_ROWS ? total - first : BLOCK_ROWS;
        int panels;
        for (int64_t column = 0; column < columns; column += panels * PANEL) {
            nmi_epilogue moved[PANELS];
            forward_job job[PANELS];
            panels = columns - column > PANEL + LANES ? PANELS : 1;
            for (int p = 0; p < panels; p++) {
                const int64_t at = column + p * PANEL, left = columns - at;
                moved[p] = nmi_epilogue_moved(epilogue, at, at);
                job[p] = (forward_job){.rows = rows,
                                       .w = packed + at * depth,
                                       .epilogue = &moved[p],
                                       .y = y + at,
                                       .columns = left < PANEL ? (int)left : PANEL};
            }
            forward_panels(pairs, panels, job, start, count);
        }
        for (int64_t r = 0; r < count; r++)
            next_row(&start);
    }
}

static void forward(const nmi_rows *rows, const float *packed, int64_t columns,
                    const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    forward_grid(false, rows, packed, columns, epilogue, y, y_line, y_step);
}

/* --- weight gradient ---------------------------------------------------------------------- */

/* A part of the grid and, within it, one tile of dw: `size` values of k times one panel, or half as
 * many times two. */
typedef struct weight_job {
    const float *x, *dy; /* first row; x already at the tile's first k */
    int64_t height, width, x_line, x_step, dy_line, dy_step;
    float *dw;
    int64_t next; /* from dw to that of the second panel */
    int columns;  /* of the last panel */
    int skip;     /* leading values of k that another tile has summed already */
} weight_job;

#define EACH_K UNROLL for (int t = 0; t < size; t++)

/* One row: sum[p * size + t] belongs to panel p and value t of k. */
INLINE void weight_step(const bool pairs, const int panels, const int size, const int vectors,
                        const weight_job *job, const float *x, const float *dy,
                        vec sum[TILE_ROWS][2])
{
    vec gradient[2][2];
    EACH_PANEL EACH_VECTOR gradient[p][v] =
        p == panels - 1 && v == vectors - 1
            ? load_part(dy + p * PANEL + v * LANES, job->columns - v * LANES)
            : load(dy + p * PANEL + v * LANES);
    EACH_K EACH_PANEL EACH_VECTOR sum[p * size + t][v] =
        add_product(pairs, sum[p * size + t][v], gradient[p][v], x + t);
}

INLINE void weight_tile(const bool pairs, const int panels, const int size, const int vectors,
                        const weight_job *given)
{
    const weight_job job = *given;
    vec sum[TILE_ROWS][2];
    EACH_PANEL EACH_K EACH_VECTOR sum[p * size + t][v] =
        load(job.dw + p * job.next + (t * vectors + v) * LANES);
    for (int64_t i = 0; i < job.height; i++) {
        const float *x = job.x + i * job.x_line;
        const float *dy = job.dy + i * job.dy_line;
        for (int64_t j = 0; j < job.width; j++) {
            weight_step(pairs, panels, size, vectors, &job, x, dy, sum);
            x += job.x_step;
            dy += job.dy_step;
        }
    }
    EACH_PANEL EACH_K
    {
        if (t < job.skip)
            continue;
        EACH_VECTOR store(job.dw + p * job.next + (t * vectors + v) * LANES, sum[p * size + t][v]);
    }
}

typedef void weight_fn(const weight_job *job);

#define WEIGHT(name, pairs, panels, size, vectors)                                                 \
    static __attribute__((noinline)) void name(const weight_job *job)                              \
    {                                                                                              \
        weight_tile(pairs, panels, size, vectors, job);                                            \
    }
#ifdef BROAD
#define WEIGHT_BROAD WEIGHT
#else
#define WEIGHT_BROAD(name, pairs, panels, size, vectors)
#endif
#define WEIGHT_ALL(name, pairs, size)                                                              \
    WEIGHT(name##_1, pairs, 1, size, 1)                                                            \
    WEIGHT(name##_2, pairs, 1, size, 2)
#define WEIGHT_TILES(name, broad)                                                                  \
    {                                                                                              \
        name##_1, name##_2, broad                                                                  \
    }
WEIGHT_ALL(weight_large, false, TILE_ROWS)
WEIGHT_ALL(weight_small, false, TILE_SMALL)
WEIGHT_ALL(weight_single, false, 1)
WEIGHT_BROAD(weight_large_broad, false, 2, TILE_ROWS / 2, 2)
WEIGHT_BROAD(weight_small_broad, false, 2, TILE_SMALL, 2)
WEIGHT_BROAD(weight_single_broad, false, 2, 1, 2)
WEIGHT_ALL(weight_pairs_large, true, TILE_ROWS)
WEIGHT_ALL(weight_pairs_small, true, TILE_SMALL)
WEIGHT_ALL(weight_pairs_single, true, 1)

/* [pairs][large, small, single][vectors - 1, or 2: broad] */
static weight_fn *const weight_tiles[2][3][3] = {
    {WEIGHT_TILES(weight_large, BROAD_TILE(weight_large_broad)),
     WEIGHT_TILES(weight_small, BROAD_TILE(weight_small_broad)),
     WEIGHT_TILES(weight_single, BROAD_TILE(weight_single_broad))},
    {WEIGHT_TILES(weight_pairs_large, NULL), WEIGHT_TILES(weight_pairs_small, NULL),
     WEIGHT_TILES(weight_pairs_single, NULL)}};

/* All k of one run. A run that is no multiple of the tile ends with a tile moved back to fit,
 * so that nothing is read beyond the run; what it repeats is skipped on storing. */
static void weight_segment(const bool pairs, const int panels, weight_job job, int64_t length)
{
    const int sizes[3] = {TILE_ROWS / panels, TILE_SMALL, 1}, large = sizes[0];
    const int kind = panels > 1 ? 2 : job.columns > LANES ? 1 : 0;
    const int64_t line = kind > 0 ? PANEL : LANES;
    const float *x = job.x;
    float *dw = job.dw;
    for (int64_t k = 0; k < length;) {
        int64_t left = length - k;
        int choice = 0;
        if (left < large && (length < large || left <= TILE_SMALL))
            choice = left >= TILE_SMALL || length >= TILE_SMALL ? 1 : 2;
        const int size = sizes[choice];
        int64_t start = left < size ? length - size : k;
        job.skip = (int)(k - start);
        job.x = x + start;
        job.dw = dw + start * line;
        weight_tiles[pairs][choice][kind](&job);
        k = start + size;
    }
}

static void weight_block(const bool pairs, const nmi_rows *rows, weight_job job, const float *dy,
                         int64_t columns, float *dw_packed)
{
    const int64_t depth = rows->segments * rows->segment_length;
    const float *x = job.x;
    int panels;
    for (int64_t column = 0; column < columns; column += panels * PANEL) {
        const int64_t left = columns - column;
        panels = !pairs && left > PANEL + LANES ? PANELS : 1;
        job.columns = (int)(left < panels * PANEL ? left - (panels - 1) * PANEL : PANEL);
        job.dy = dy + column;
        job.next = depth * PANEL;
        const int64_t line = left > LANES ? PANEL : LANES;
        for (int64_t s = 0; s < rows->segments; s++) {
            job.x = x + s * rows->segment_stride;
            job.dw = dw_packed + column * depth + s * rows->segment_length * line;
            weight_segment(pairs, panels, job, rows->segment_length);
        }
    }
}

static void weight_grid(const bool pairs, const nmi_rows *rows, const float *dy, int64_t dy_line,
                        int64_t dy_step, int64_t columns, float *dw_packed)
{
    /* Blocks of whole lines, or pieces of the line if the grid has one only. */
    const int64_t across = rows->height == 1 ? WEIGHT_BLOCK_ROWS : rows->width;
    int64_t down = across > 0 ? WEIGHT_BLOCK_ROWS / across : 0;
    down = down > 0 ? down : 1;
    for (int64_t i = 0; i < rows->height; i += down) {
        for (int64_t j = 0; j < rows->width; j += across) {
            weight_job job = {.x = rows->x + i * rows->x_line + j * rows->x_step,
                              .height = rows->height - i < down ? rows->height - i : down,
                              .width = rows->width - j < across ? rows->width - j : across,
                              .x_line = rows->x_line,
                              .x_step = rows->x_step,
                              .dy_line = dy_line,
                              .dy_step = dy_step};
            weight_block(pairs, rows, job, dy + i * dy_line + j * dy_step, columns, dw_packed);
        }
    }
}

static void backward_weight(const nmi_rows *rows, const float *dy, int64_t dy_line, int64_t dy_step,
                            int64_t columns, float *dw_packed)
{
    weight_grid(false, rows, dy, dy_line, dy_step, columns, dw_packed);
}

/* --- pairs -------------------------------------------------------------------------------- */

static void round_line(int64_t count, const float *x, float *pairs)
{
    for (int64_t i = 0; i < count; i += LANES) {
        const int64_t left = count - i < LANES ? count - i : LANES;
        const half_vec rounded = halves(left < LANES ? load_part(x + i, (int)left) : load(x + i));
        if (left < LANES)
            memcpy(pairs + i / 2, &rounded, (size_t)((left + 1) / 2) * sizeof *pairs);
        else
            memcpy(pairs + i / 2, &rounded, sizeof rounded);
    }
}

static void pack_columns(int64_t inputs, int64_t present, int64_t columns, const float *w,
                         int64_t w_stride, int64_t width, float *packed)
{
    enum { SPAN = 32 }; /* numbers rounded at once */
    float pairs[NMI_PACKED_AT_ONCE][SPAN / 2] = {{0}};
    for (int64_t k = 0; k < inputs; k += SPAN) {
        const int64_t count = inputs - k < SPAN ? inputs - k : SPAN;
        for (int64_t n = 0; n < present; n++)
            round_line(count, w + n * w_stride + k, pairs[n]);
        for (int64_t p = 0; p < (count + 1) / 2; p++, packed += width)
            for (int64_t n = 0; n < columns; n++)
                packed[n] = pairs[n][p];
    }
}

#ifdef MATRIX_TILES
#include "nmi_amx_kernel.inc.h"
#define PACK_COLUMNS pack_columns_of_tiles
#else
#define PACK_COLUMNS pack_columns

static void forward_pairs(const nmi_rows *rows, const float *packed, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    forward_grid(true, rows, packed, columns, epilogue, y, y_line, y_step);
}

static void backward_weight_pairs(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw_packed)
{
    weight_grid(true, rows, dy, dy_line, dy_step, columns, dw_packed);
}
#endif

/* --- sweeps ------------------------------------------------------------------------------- */

/* Four running sums hide the latency of an addition; they are joined in a fixed order. */
static void column_sums(int64_t rows, int64_t columns, const float *x, int64_t stride, float *sums)
{
    for (int64_t c = 0; c < columns; c += LANES) {
        int count = columns - c < LANES ? (int)(columns - c) : LANES;
        vec sum[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
        const float *line = x + c;
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            UNROLL
            for (int i = 0; i < 4; i++)
                sum[i] += load_part(line + i * stride, count);
            line += 4 * stride;
        }
        for (; r < rows; r++, line += stride)
            sum[0] += load_part(line, count);
        vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        store_part(sums + c, count, load_part(sums + c, count) + all);
    }
}

static void activate(int32_t activation, int64_t count, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(y + i, apply(activation, load(x + i)));
    if (i < count)
        store_part(y + i, (int)(count - i), apply(activation, load_part(x + i, (int)(count - i))));
}

static void add_activate(int32_t activation, int64_t count, const float *a, const float *b,
                         float *y, float *pairs)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const vec sum = apply(activation, load(a + i) + load(b + i));
        store(y + i, sum);
        if (pairs != NULL) {
            const half_vec rounded = halves(sum);
            memcpy(pairs + i / 2, &rounded, sizeof rounded);
        }
    }
    if (i < count) {
        const int left = (int)(count - i);
        store_part(y + i, left, apply(activation, load_part(a + i, left) + load_part(b + i, left)));
        if (pairs != NULL)
            round_line(left, y + i, pairs + i / 2);
    }
}

INLINE vec slope(int32_t activation, vec y, vec dy)
{
    if (activation == NMI_ACTIVATION_RELU)
        return (vec)((ivec)dy & (ivec)(y > 0.0f));
    if (activation == NMI_ACTIVATION_ELU)
        return select_bits((ivec)(y > 0.0f), dy, dy * y + dy);
    return dy;
}

static void activate_backward(int32_t activation, int64_t count, const float *y, const float *dy,
                              float *dx)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(dx + i, slope(activation, load(y + i), load(dy + i)));
    if (i < count) {
        int left = (int)(count - i);
        store_part(dx + i, left,
                   slope(activation, load_part(y + i, left), load_part(dy + i, left)));
    }
}

static double branch_backward(int32_t activation, int64_t count, float s, const float *z,
                              const float *g, float *dv)
{
    vec sum = splat(0.0f);
    double total = 0;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const vec y = load(z + i), dy = load(g + i);
        sum += dy * y;
        store(dv + i, slope(activation, y, dy) * s);
    }
    if (i < count) {
        const int left = (int)(count - i);
        const vec y = load_part(z + i, left), dy = load_part(g + i, left);
        sum += dy * y;
        store_part(dv + i, left, slope(activation, y, dy) * s);
    }
    for (int lane = 0; lane < LANES; lane++)
        total += (double)sum[lane];
    return total;
}

static void add_scaled(int64_t count, float a, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(y + i, load(x + i) * a + load(y + i));
    if (i < count) {
        int left = (int)(count - i);
        store_part(y + i, left, load_part(x + i, left) * a + load_part(y + i, left));
    }
}

static void interleave(int64_t count, const float *line, const float *next, float *pairs)
{
    const char *first = (const char *)line, *second = (const char *)next;
    for (int64_t i = 0; i < count; i += LANES) {
        const int64_t left = count - i < LANES ? count - i : LANES;
        half_vec a = {0}, b = {0};
        memcpy(&a, first + 2 * i, left < LANES ? 2 * (size_t)left : sizeof a);
        if (next != NULL)
            memcpy(&b, second + 2 * i, left < LANES ? 2 * (size_t)left : sizeof b);
        const vec both =
            (vec)(__builtin_convertvector(a, uvec) | __builtin_convertvector(b, uvec) << 16);
        if (left < LANES)
            store_part(pairs + i, (int)left, both);
        else
            store(pairs + i, both);
    }
}

/*
 * With k = round(2 x), r = x - k/2 lies in [-1/4, 1/4] exactly; k mod 4 says which of +-sin, +-cos
 * of pi r is wanted. Polynomials: Taylor series, truncated below 2e-9. Plain arithmetic
 * throughout, so that the compiler turns the loop into vectors.
 */
static void sincospi(const double *restrict x, float *restrict sine, float *restrict cosine,
                     int64_t count)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    for (int64_t i = 0; i < count; i++) {
        double shifted = 2.0 * x[i] + magic;
        float r = (float)(x[i] - 0.5 * (shifted - magic));
        int64_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        uint32_t k = (uint32_t)bits; /* the lowest bits of the mantissa, modulo 2^32 */
        float t = r * r;
        float s = 0.0821458866f * t - 0.599264529f;
        s = s * t + 2.55016404f;
        s = s * t - 5.16771278f;
        s = (s * t + 3.14159265f) * r;
        float c = -0.0258068913f * t + 0.235330630f;
        c = c * t - 1.33526277f;
        c = c * t + 4.05871213f;
        c = c * t - 4.93480220f;
        c = c * t + 1.0f;
        uint32_t odd = 0u - (k & 1u), s_bits, c_bits;
        memcpy(&s_bits, &s, sizeof s);
        memcpy(&c_bits, &c, sizeof c);
        uint32_t sine_bits = (s_bits & ~odd) | (c_bits & odd);
        uint32_t cosine_bits = (c_bits & ~odd) | (s_bits & odd);
        sine_bits ^= (k & 2u) << 30;
        cosine_bits ^= ((k + 1u) & 2u) << 30;
        memcpy(&sine[i], &sine_bits, sizeof sine_bits);
        memcpy(&cosine[i], &cosine_bits, sizeof cosine_bits);
    }
}

#include "nmi_winograd.inc.h"

#include "nmi_sweeps.inc.h" /* with the loads of parts of the former */

#ifdef MATRIX_TILES
#include "nmi_conv_matrix.inc.h"
#define MATRIX_KERNELS &matrix_kernels
#else
#define MATRIX_KERNELS NULL
#endif

extern const nmi_kernels TABLE;
const nmi_kernels TABLE = {.name = NAME,
                           .lanes = LANES,
                           .panel = PANEL,
                           .forward = forward,
                           .backward_weight = backward_weight,
                           .forward_pairs = forward_pairs,
                           .backward_weight_pairs = backward_weight_pairs,
                           .round_line = round_line,
                           .interleave = interleave,
                           .pack_columns = PACK_COLUMNS,
                           .winograd_work = winograd_work,
                           .winograd_gradient_work = winograd_gradient_work,
                           .winograd_pack = winograd_pack,
                           .winograd_forward = winograd_forward,
                           .winograd_backward_weight = winograd_backward_weight,
                           .matrix = MATRIX_KERNELS,
                           .column_sums = column_sums,
                           .activate = activate,
                           .add_activate = add_activate,
                           .activate_backward = activate_backward,
                           .branch_backward = branch_backward,
                           .add_scaled = add_scaled,
                           .moments = moments,
                           .affine = affine,
                           .norm_backward_sums = norm_backward_sums,
                           .norm_backward_input = norm_backward_input,
                           .sincospi = sincospi};
