/* SPDX-License-Identifier: MIT */
/*
 * The products of pairs on matrix tiles, registers of up to 16 lines of 16 pairs or sums each,
 * whose one operation is
 *
 *     c[m][n] += sum over pairs p of a[m][p] . b[p][n]
 *
 * Included by nmi_rows_kernel.inc.h where LANES is 16, once the including file has defined, for
 * numbers of tiles as literals, as instructions (nmi_amx.inc.h) or as a model of them in plain C for
 * tests:
 *
 *   MATRIX_CONFIGURE(first, second, depth)
 *                                 tiles for this thread: 0 and 1 of `first` lines of sums, 2 and 3
 *                                 of `second`; 4 and 5 of as many lines of `depth` pairs; 6 and 7 of
 *                                 `depth` lines; each from 1 to 16
 *   MATRIX_RELEASE()              back to none
 *   MATRIX_ZERO(t)
 *   MATRIX_LOAD(t, at, stride)    the tile's lines, `stride` floats apart
 *   MATRIX_STREAM(t, at, stride)  the same of what soon leaves the first-level cache anyway
 *   MATRIX_STORE(t, at, stride)
 *   MATRIX_ADD(c, a, b)           the operation
 *
 * and transpose(v), 16 vectors of 16 floats in place.
 *
 * Tiles 0 to 3 hold the sums of a block, two times up to 16 rows (or k values) and one panel of two
 * times 16 columns, so that four operations, each of which takes 16 turns of the unit, are under
 * way at once. Tiles 4 and 5 hold a, 6 and 7 hold b. Loads that cross lines of the caches cost more
 * than the operations, so rows of pairs should begin at multiples of 64 bytes.
 */

enum { SIDE = 16 };

/* Lines shared out evenly over blocks: the last block is moved back to end with the lines. */
typedef struct matrix_share {
    int64_t lines;     /* of a block, up to 2 * SIDE */
    int first, second; /* of its two tiles; the second may have none */
} matrix_share;

static matrix_share share_out(int64_t lines)
{
    const int64_t blocks = (lines + 2 * SIDE - 1) / (2 * SIDE);
    const int64_t each = (lines + blocks - 1) / blocks;
    return (matrix_share){each, (int)(each + 1) / 2, (int)each / 2};
}

static void configure(const matrix_share *share, int depth)
{
    MATRIX_CONFIGURE(share->first, share->second > 0 ? share->second : 1, depth);
}

/* The products of one step along the sums. */
INLINE void matrix_add(const bool tall, const bool wide)
{
    MATRIX_ADD(0, 4, 6);
    if (tall)
        MATRIX_ADD(2, 5, 6);
    if (wide)
        MATRIX_ADD(1, 4, 7);
    if (tall && wide)
        MATRIX_ADD(3, 5, 7);
}

/* --- packing ------------------------------------------------------------------------------ */

/* Whole tiles are rounded line by line and turned around; the rest as at other levels. */
static void pack_columns_of_tiles(int64_t inputs, int64_t present, int64_t columns, const float *w,
                                  int64_t w_stride, int64_t width, float *packed)
{
    const int64_t whole = present == SIDE ? inputs / (2 * SIDE) * (2 * SIDE) : 0;
    for (int64_t k = 0; k < whole; k += 2 * SIDE, packed += SIDE * width) {
        vec v[SIDE];
        UNROLL
        for (int n = 0; n < SIDE; n++) {
            const float *line = w + n * w_stride + k;
            const half_vec both[2] = {halves(load(line)), halves(load(line + SIDE))};
            memcpy(&v[n], both, sizeof v[n]);
        }
        transpose(v);
        UNROLL
        for (int p = 0; p < SIDE; p++)
            store(packed + p * width, v[p]);
    }
    pack_columns(inputs - whole, present, columns, w + whole, w_stride, width, packed);
}

/* --- forward ------------------------------------------------------------------------------ */

/* Sums of a block between the tiles and y. */
typedef struct matrix_sums {
    _Alignas(64) float at[2 * SIDE][PANEL];
    nmi_epilogue epilogue; /* pointers already moved to the block, like y */
    float *y;
    int64_t y_step;
    int columns;
    int next, end; /* rows whose epilogue is still to come */
} matrix_sums;

/* Vectors of a row, of which the last has `last` columns unless the row is whole. */
INLINE vec fetch_of(const bool whole, const int vectors, const int last, const float *p, int v)
{
    return whole || v < vectors - 1 ? load(p + v * LANES) : load_part(p + v * LANES, last);
}

INLINE void put_to(const bool whole, const int vectors, const int last, float *p, int v, vec x)
{
    if (whole || v < vectors - 1)
        store(p + v * LANES, x);
    else
        store_part(p + v * LANES, last, x);
}

/* Rounded, as pairs; what pads the last pair is zero, as the sum is there. */
INLINE void put_rounded(const bool whole, const int vectors, const int last, float *p, int v, vec x)
{
    const half_vec rounded = halves(x);
    if (whole || v < vectors - 1)
        memcpy(p + v * LANES / 2, &rounded, sizeof rounded);
    else
        memcpy(p + v * LANES / 2, &rounded, (size_t)((last + 1) / 2) * sizeof *p);
}

#define FETCH(p) fetch_of(whole, vectors, last, p, v)
#define PUT(p) put_to(whole, vectors, last, p, v, sum[v])

/* As finish(), for the next rows of a block, one by one. */
INLINE void finish_rows(const bool whole, const int vectors, matrix_sums *sums, int rows)
{
    const nmi_epilogue e = sums->epilogue;
    const int last = sums->columns - (vectors - 1) * LANES;
    const int end = sums->end - sums->next < rows ? sums->end : sums->next + rows;
    const int64_t step = sums->y_step;
    int64_t offset = sums->next * step;
    vec bias[2];
    EACH_VECTOR bias[v] = e.bias != NULL ? FETCH(e.bias) : splat(0.0f);
    for (int r = sums->next; r < end; r++, offset += step) {
        vec sum[2];
        EACH_VECTOR sum[v] = load(sums->at[r] + v * LANES) + bias[v];
        if (e.residual_inside && e.residual != NULL)
            EACH_VECTOR sum[v] += FETCH(e.residual + offset);
        if (e.activation == NMI_ACTIVATION_RELU)
            EACH_VECTOR sum[v] = relu(sum[v]);
        else if (e.activation != NMI_ACTIVATION_NONE)
            EACH_VECTOR sum[v] = apply(e.activation, sum[v]);
        if (e.activated != NULL)
            EACH_VECTOR PUT(e.activated + offset);
        if (!e.residual_inside && e.residual != NULL)
            EACH_VECTOR sum[v] = sum[v] * e.scale + FETCH(e.residual + offset);
        else if (!e.residual_inside)
            EACH_VECTOR sum[v] *= e.scale;
        EACH_VECTOR PUT(sums->y + offset);
        if (e.rounded != NULL)
            EACH_VECTOR put_rounded(whole, vectors, last, e.rounded + offset / 2, v, sum[v]);
    }
    sums->next = end;
}

#define FINISH(name, whole, vectors)                                                               \
    static __attribute__((noinline)) void name(matrix_sums *sums, int rows)                        \
    {                                                                                              \
        finish_rows(whole, vectors, sums, rows);                                                   \
    }
FINISH(finish_2, true, 2)
FINISH(finish_2_part, false, 2)
FINISH(finish_1, true, 1)
FINISH(finish_1_part, false, 1)

static void finish_some(matrix_sums *sums, int rows)
{
    if (sums->columns == PANEL)
        finish_2(sums, rows);
    else if (sums->columns > LANES)
        finish_2_part(sums, rows);
    else if (sums->columns == LANES)
        finish_1(sums, rows);
    else
        finish_1_part(sums, rows);
}

/* A block of rows from x on, at equal distances, and a panel of the packed matrix. */
typedef struct matrix_job {
    const nmi_rows *rows;
    const float *x, *w;
    matrix_share share;
    int step;    /* pairs of a tile */
    int columns; /* of this panel */
} matrix_job;

/* Steps along a run of pairs all have `step` of them: the last one is moved back to end with the
 * run, and the lines of w for pairs that were summed before are zero in the room. */
static const float *last_lines(const matrix_job *job, const float *w, int64_t width, int left,
                               float room[SIDE][PANEL])
{
    const int repeated = job->step - left;
    for (int k = 0; k < job->step; k++)
        for (int64_t v = 0; v < width; v += LANES)
            store(room[k] + v, k < repeated ? splat(0.0f) : load(w + (k - repeated) * width + v));
    return room[0];
}

INLINE void block_products(const bool tall, const bool wide, const matrix_job *job,
                           matrix_sums *before)
{
    _Alignas(64) float room[SIDE][PANEL];
    const int64_t width = wide ? PANEL : LANES, length = job->rows->segment_length;
    const int64_t steps = job->rows->segments * ((length + job->step - 1) / job->step);
    const int rows =
        (int)((2 * SIDE / TILE_SMALL + steps - 1) / (steps > 0 ? steps : 1)) * TILE_SMALL;
    const int64_t stride = job->rows->x_step;
    const float *w = job->w;
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->rows->segments; s++) {
        const float *x = job->x + s * job->rows->segment_stride;
        for (int64_t k = 0; k < length; k += job->step) {
            const int left = length - k < job->step ? (int)(length - k) : job->step;
            const float *a = x + k + left - job->step, *b = w,
                        *next = a + job->share.first * stride;
            int64_t line = width;
            if (left < job->step) {
                b = last_lines(job, w, width, left, room);
                line = PANEL;
            }
            MATRIX_LOAD(6, b, line);
            MATRIX_STREAM(4, a, stride);
            if (wide)
                MATRIX_LOAD(7, b + LANES, line);
            if (tall)
                MATRIX_STREAM(5, next, stride);
            matrix_add(tall, wide);
            w += left * width;
            finish_some(before, rows);
        }
    }
    finish_some(before, 2 * SIDE);
    MATRIX_STORE(0, before->at[0], PANEL);
    if (wide)
        MATRIX_STORE(1, before->at[0] + LANES, PANEL);
    if (tall)
        MATRIX_STORE(2, before->at[job->share.first], PANEL);
    if (tall && wide)
        MATRIX_STORE(3, before->at[job->share.first] + LANES, PANEL);
}

/* Meanwhile, the epilogue of the block before. */
static void matrix_forward(const matrix_job *job, matrix_sums *before)
{
    const bool tall = job->share.second > 0, wide = job->columns > LANES;
    if (tall && wide)
        block_products(true, true, job, before);
    else if (tall)
        block_products(true, false, job, before);
    else if (wide)
        block_products(false, true, job, before);
    else
        block_products(false, false, job, before);
}

/* Lines of the grid that follow each other at the distance of rows are one. */
static nmi_rows joined(const nmi_rows *rows, int64_t y_line, int64_t y_step)
{
    nmi_rows grid = *rows;
    if (rows->x_line == rows->width * rows->x_step && y_line == rows->width * y_step) {
        grid.width *= grid.height;
        grid.height = 1;
    }
    return grid;
}

static void forward_pairs(const nmi_rows *rows, const float *packed, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    const nmi_rows grid = joined(rows, y_line, y_step);
    const int64_t length = rows->segment_length, depth = rows->segments * length;
    if (grid.width == 0 || grid.height == 0)
        return;
    matrix_job job = {.rows = &grid, .share = share_out(grid.width)};
    job.step = length < 1 ? 1 : length < SIDE ? (int)length : SIDE;
    matrix_sums sums;
    sums.epilogue = NMI_EPILOGUE_NONE; /* nothing is finished before the first sums are there */
    sums.y_step = y_step;
    sums.columns = sums.next = sums.end = 0;
    configure(&job.share, job.step);
    for (int64_t column = 0; column < columns; column += PANEL) {
        job.columns = columns - column < PANEL ? (int)(columns - column) : PANEL;
        job.w = packed + column * depth;
        for (int64_t line = 0; line < grid.height; line++) {
            for (int64_t r = 0; r < grid.width; r += job.share.lines) {
                const int64_t left = grid.width - r;
                const int64_t first = left < job.share.lines ? grid.width - job.share.lines : r;
                job.x = grid.x + line * grid.x_line + first * grid.x_step;
                matrix_forward(&job, &sums);
                const int64_t offset = line * y_line + first * y_step + column;
                sums.epilogue = nmi_epilogue_moved(epilogue, offset, column);
                sums.y = y + offset;
                sums.columns = job.columns;
                sums.next = (int)(r - first);
                sums.end = (int)job.share.lines;
            }
        }
    }
    finish_some(&sums, 2 * SIDE);
    MATRIX_RELEASE();
}

/* --- weight gradient ---------------------------------------------------------------------- */

/* Where a tile is loaded from: lines `stride` floats apart. */
typedef struct matrix_source {
    const float *at;
    int64_t stride;
} matrix_source;

/* Lines of a grid that one tile takes: `present` of them, `even` if they are SIDE and lie at equal
 * distances. */
typedef struct matrix_lines {
    const float *x[SIDE];
    int64_t at[SIDE]; /* offsets in y, or in dy */
    int present;
    bool even;
} matrix_lines;

/* The next lines of the grid, up to SIDE and `left`. */
static matrix_lines take_lines(cursor *next, int64_t left)
{
    matrix_lines lines = {.present = left < SIDE ? (int)left : SIDE};
    lines.even = lines.present == SIDE && next->column + SIDE <= next->rows->width;
    for (int r = 0; r < lines.present; r++) {
        lines.x[r] = next->x;
        lines.at[r] = next->at;
        next_row(next);
    }
    return lines;
}

/* The first `count` floats at `offset` of each line, as a tile. */
static matrix_source lines_of(const float *const *x, int present, int64_t offset, int count,
                              float room[SIDE][SIDE])
{
    for (int r = 0; r < SIDE; r++)
        store(room[r], r < present ? load_part(x[r] + offset, count) : splat(0.0f));
    return (matrix_source){room[0], SIDE};
}

/* `count` lines of a packed panel as a tile, the others zero. */
static matrix_source panel_source(const float *packed, int64_t width, int count,
                                  float room[SIDE][SIDE])
{
    if (count == SIDE)
        return (matrix_source){packed, width};
    for (int k = 0; k < SIDE; k++)
        store(room[k], k < count ? load(packed + k * width) : splat(0.0f));
    return (matrix_source){room[0], SIDE};
}

/* k values `offset` and later, `count` of them, of some lines, which become columns: tile a. */
static void transpose_lines(const matrix_lines *lines, int64_t offset, int count,
                            float to[SIDE][SIDE])
{
    if (lines->present == SIDE && count == SIDE) {
        vec v[SIDE];
        UNROLL
        for (int r = 0; r < SIDE; r++)
            v[r] = load(lines->x[r] + offset);
        transpose(v);
        UNROLL
        for (int k = 0; k < SIDE; k++)
            store(to[k], v[k]);
        return;
    }
    for (int r = 0; r < SIDE; r++)
        for (int k = 0; k < SIDE; k++)
            to[k][r] = r < lines->present && k < count ? lines->x[r][offset + k] : 0.0f;
}

/* Up to 16 columns of dy on the same lines: tile b. */
static matrix_source gradient_source(const matrix_lines *lines, const float *dy, int64_t dy_step,
                                     int columns, float room[SIDE][SIDE])
{
    const float *x[SIDE];
    if (lines->even && columns >= LANES)
        return (matrix_source){dy + lines->at[0], dy_step};
    for (int r = 0; r < lines->present; r++)
        x[r] = dy + lines->at[r];
    return lines_of(x, lines->present, 0, columns < LANES ? columns : LANES, room);
}

/* Lines of the grid, and two times 16 values of k of them as tiles, which all panels share. */
enum { CHUNK = 4 };
typedef struct matrix_chunk {
    matrix_lines lines[CHUNK];
    int count; /* of them */
    _Alignas(64) float x[CHUNK][2][SIDE][SIDE];
} matrix_chunk;

/* The gradient of up to two times 16 values of k, `count` in all, and one panel. */
typedef struct weight_tiles_job {
    const matrix_chunk *chunk;
    const float *dy; /* first column of the panel */
    int64_t dy_step;
    float *dw; /* first line */
    int count;
    int columns; /* of this panel */
} weight_tiles_job;

static int part_of(int count, int half)
{
    const int left = count - half * SIDE;
    return left < 0 ? 0 : left < SIDE ? left : SIDE;
}

#define LOAD_SUMS(t, half, first)                                                                  \
    from = panel_source(job->dw + (half)*SIDE * width + (first), width, part_of(job->count, half), \
                        room);                                                                     \
    MATRIX_LOAD(t, from.at, from.stride);

#define STORE_SUMS(t, half, first)                                                                 \
    MATRIX_STORE(t, room[0], SIDE);                                                                \
    for (int k = 0; k < part_of(job->count, half); k++)                                            \
        store(job->dw + ((half)*SIDE + k) * width + (first), load(room[k]));

static void matrix_weights(const weight_tiles_job *job)
{
    _Alignas(64) float room[SIDE][SIDE];
    const bool wide = job->columns > LANES;
    const int64_t width = wide ? PANEL : LANES;
    const matrix_chunk *chunk = job->chunk;
    matrix_source from;
    LOAD_SUMS(0, 0, 0)
    LOAD_SUMS(2, 1, 0)
    if (wide) {
        LOAD_SUMS(1, 0, LANES)
        LOAD_SUMS(3, 1, LANES)
    }
    for (int i = 0; i < chunk->count; i++) {
        const matrix_lines *lines = &chunk->lines[i];
        MATRIX_LOAD(4, chunk->x[i][0][0], SIDE);
        MATRIX_LOAD(5, chunk->x[i][1][0], SIDE);
        from = gradient_source(lines, job->dy, job->dy_step, job->columns, room);
        MATRIX_LOAD(6, from.at, from.stride);
        if (wide) {
            from =
                gradient_source(lines, job->dy + LANES, job->dy_step, job->columns - LANES, room);
            MATRIX_LOAD(7, from.at, from.stride);
        }
        matrix_add(true, wide);
    }
    STORE_SUMS(0, 0, 0)
    STORE_SUMS(2, 1, 0)
    if (wide) {
        STORE_SUMS(1, 0, LANES)
        STORE_SUMS(3, 1, LANES)
    }
}

/* The next lines of the grid, up to `left`. */
static void take_chunk(matrix_chunk *chunk, cursor *next, int64_t left)
{
    chunk->count = 0;
    for (; left > 0 && chunk->count < CHUNK; left -= SIDE)
        chunk->lines[chunk->count++] = take_lines(next, left);
}

/* All panels of two times 16 values of k. */
static void chunk_weights(weight_tiles_job job, int64_t offset, int64_t columns, int64_t depth,
                          int64_t first, matrix_chunk *chunk, float *dw_packed)
{
    const float *dy = job.dy;
    for (int i = 0; i < chunk->count; i++)
        for (int half = 0; half < 2; half++)
            transpose_lines(&chunk->lines[i], offset + half * SIDE, part_of(job.count, half),
                            chunk->x[i][half]);
    job.chunk = chunk;
    for (int64_t column = 0; column < columns; column += PANEL) {
        const int64_t left = columns - column, width = left > LANES ? PANEL : LANES;
        job.dy = dy + column;
        job.dw = dw_packed + column * depth + first * width;
        job.columns = left < PANEL ? (int)left : PANEL;
        matrix_weights(&job);
    }
}

static void backward_weight_pairs(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw_packed)
{
    const int64_t length = rows->segment_length, depth = rows->segments * length;
    const int64_t total = rows->height * rows->width;
    cursor next = {rows, rows->x, 0, dy_line, dy_step, 0};
    matrix_chunk chunk;
    MATRIX_CONFIGURE(SIDE, SIDE, SIDE);
    for (int64_t r = 0; r < total; r += CHUNK * SIDE) {
        take_chunk(&chunk, &next, total - r);
        for (int64_t s = 0; s < rows->segments; s++)
            for (int64_t k = 0; k < length; k += 2 * SIDE) {
                const int64_t left = length - k;
                const weight_tiles_job job = {
                    .dy = dy, .dy_step = dy_step, .count = left < 2 * SIDE ? (int)left : 2 * SIDE};
                chunk_weights(job, s * rows->segment_stride + k, columns, depth, s * length + k,
                              &chunk, dw_packed);
            }
    }
    MATRIX_RELEASE();
}
