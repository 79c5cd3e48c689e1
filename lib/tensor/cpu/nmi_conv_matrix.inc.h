/* SPDX-License-Identifier: MIT */
/*
 * Convolutions in bf16 on matrix tiles; nmi_rows_kernel.inc.h includes it behind
 * nmi_amx_kernel.inc.h, which has the operations, and nmi_kernels.h says what the functions
 * compute.
 *
 * A tile of rows is 16 positions of an image in bf16, loaded from where they lie: neighbours are
 * one pixel apart, so lines of the tile overlap. A product keeps the multipliers for 16 cycles, and
 * the next one with the same sums waits for 52: hence four sums at once, of 4 x 1 or 2 x 2 tiles.
 *
 * The including file also has pair_up(a, b), the pairs of two vectors' numbers, and transpose(v),
 * of 16 vectors of 16 floats in place.
 */

/* --- operands ----------------------------------------------------------------------------- */

static void round_pixels(int64_t pixels, int64_t channels, const float *x, int64_t x_step,
                         float *pairs, int64_t step)
{
    if (x_step == channels && 2 * step == channels) {
        channels *= pixels; /* as one */
        pixels = 1;
    }
    for (int64_t i = 0; i < pixels; i++, x += x_step, pairs += step) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) {
            const half_vec rounded = halves(load(x + c));
            memcpy(pairs + c / 2, &rounded, sizeof rounded);
        }
        if (c < channels) {
            const half_vec rounded = halves(load_part(x + c, (int)(channels - c)));
            memcpy(pairs + c / 2, &rounded, sizeof rounded);
        }
    }
}

/* Up to 16 numbers of two pixels as pairs. */
INLINE vec pair_of(const bool whole, const float *const *pixels, int64_t channel, int count)
{
    const vec a = fetch_part(whole, pixels[0] + channel, count);
    const vec b = fetch_part(whole, pixels[1] + channel, count);
    return pair_up(a, b);
}

INLINE void transpose_channels(const bool whole, const float *const *pixels, int64_t channel,
                               int count, int64_t plane, uint16_t *planes)
{
    vec v[SIDE];
    UNROLL
    for (int i = 0; i < SIDE; i++)
        v[i] = pair_of(whole, pixels + 2 * i, channel, count);
    transpose(v);
    UNROLL
    for (int i = 0; i < SIDE; i++)
        if (whole || i < count)
            memcpy(planes + (channel + i) * plane, &v[i], sizeof v[i]);
}

static void transpose_pixels(const float *const *pixels, int64_t channels, int64_t plane,
                             uint16_t *planes)
{
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES)
        transpose_channels(true, pixels, c, LANES, plane, planes);
    if (c < channels)
        transpose_channels(false, pixels, c, (int)(channels - c), plane, planes);
}

INLINE void pair_channels(const bool whole, const float *const *pixels, int64_t channel, int count,
                          int64_t line, float *pairs, float *odd)
{
    uvec before = odd != NULL ? (uvec)load(pairs - line) : (uvec)splat(0.0f);
    for (int i = 0; i < SIDE; i++) {
        const vec pair = pair_of(whole, pixels + 2 * i, channel, count);
        store(pairs + i * line, pair);
        if (odd != NULL)
            store(odd + i * line, (vec)(before >> 16 | (uvec)pair << 16));
        before = (uvec)pair;
    }
}

static void pair_pixels(const float *const *pixels, int64_t channels, int64_t line, float *pairs,
                        float *odd)
{
    for (int64_t c = 0; c < channels; c += LANES) {
        float *to = odd != NULL ? odd + c : NULL;
        if (c + LANES <= channels)
            pair_channels(true, pixels, c, LANES, line, pairs + c, to);
        else
            pair_channels(false, pixels, c, (int)(channels - c), line, pairs + c, to);
    }
}

/* --- products ----------------------------------------------------------------------------- */

/* Where the next tile of positions begins. Tiles keep to lines if that takes no more of them. */
typedef struct strip_cursor {
    const nmi_strip *strip;
    int64_t item, line, column, left; /* left: positions up to the end */
    bool by_line;
} strip_cursor;

/* `count` positions from an output's on, or from behind the last of a line. */
typedef struct strip_tile {
    int64_t at, item, line, column;
    int count;
} strip_tile;

static strip_cursor strip_start(const nmi_strip *strip)
{
    const int64_t end = (strip->items - 1) * strip->item_pitch +
                        (strip->lines - 1) * strip->line_pitch + strip->columns;
    const int64_t across = (strip->columns + SIDE - 1) / SIDE;
    return (strip_cursor){.strip = strip,
                          .left = end,
                          .by_line =
                              strip->items * strip->lines * across <= (end + SIDE - 1) / SIDE};
}

/* To the first column of the next line, which is without outputs after the last one of an item. */
static void strip_next_line(const nmi_strip *strip, int64_t *item, int64_t *line)
{
    if (++*line * strip->line_pitch == strip->item_pitch) {
        *line = 0;
        ++*item;
    }
}

static strip_tile take_tile(strip_cursor *at)
{
    const nmi_strip *strip = at->strip;
    const int64_t left = at->by_line ? strip->columns - at->column : at->left;
    strip_tile tile = {.at =
                           at->item * strip->item_pitch + at->line * strip->line_pitch + at->column,
                       .item = at->item,
                       .line = at->line,
                       .column = at->column,
                       .count = left < SIDE ? (int)left : SIDE};
    int64_t step = tile.count;
    if (at->by_line && left == tile.count) {
        step = strip->line_pitch - at->column;
        if (at->line + 1 == strip->lines) /* lines without outputs */
            step += strip->item_pitch - strip->lines * strip->line_pitch;
    }
    at->left -= step;
    for (at->column += step; at->column >= strip->line_pitch; at->column -= strip->line_pitch)
        strip_next_line(strip, &at->item, &at->line);
    return tile;
}

/* A call, and the columns at work: 16 or, in two tiles, up to 32. */
typedef struct strip_job {
    const nmi_strip *strip;
    const float *w[2];
    forward_job columns[2];
    int64_t y_item, y_line, y_step;
} strip_job;

/* Epilogue of `count` neighbours at `at` of y. */
static void finish_run(const forward_job *job, int64_t at, int64_t step, int count,
                       float (*sums)[SIDE])
{
    for (int r = 0; r < count; r += TILE_MIDDLE) {
        vec sum[TILE_ROWS][2];
        row_tile tile;
        UNROLL
        for (int i = 0; i < TILE_MIDDLE; i++) {
            const int row = r + i < count ? r + i : r; /* missing rows repeat one */
            tile.at[i] = at + row * step;
            sum[i][0] = load(sums[row]);
        }
        if (job->columns == LANES)
            finish(true, TILE_MIDDLE, 1, job, &tile, sum);
        else
            finish(false, TILE_MIDDLE, 1, job, &tile, sum);
    }
}

/* Epilogue of those positions of a tile that have outputs. */
static void strip_finish(const strip_job *job, const strip_tile *tile, int half,
                         float (*sums)[SIDE])
{
    const nmi_strip *strip = job->strip;
    int64_t item = tile->item, line = tile->line, column = tile->column;
    for (int64_t r = 0; r < tile->count; column = 0, strip_next_line(strip, &item, &line)) {
        int64_t run = strip->columns - column;
        run = run < tile->count - r ? run : tile->count - r;
        if (line < strip->lines && run > 0)
            finish_run(&job->columns[half],
                       item * job->y_item + line * job->y_line + column * job->y_step, job->y_step,
                       (int)run, sums + r);
        r += strip->line_pitch - column;
    }
}

#define FINISH_STRIP(t, row, half)                                                                 \
    if ((row) < rows) {                                                                            \
        MATRIX_STORE(t, room[0], SIDE);                                                            \
        strip_finish(job, &tiles[row], half, room);                                                \
    }

/* Up to four tiles of positions and 16 columns. */
INLINE void strip_narrow(const int rows, const strip_job *job, const strip_tile *tiles)
{
    _Alignas(64) float room[SIDE][SIDE];
    const float *w = job->w[0];
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->strip->step_count; s++, w += SIDE * SIDE) {
        const nmi_strip_step step = job->strip->steps[s];
        const float *x = job->strip->pairs + step.at;
        MATRIX_LOAD(7, w, SIDE);
        MATRIX_LOAD(4, x + tiles[0].at * step.position, step.position);
        MATRIX_ADD(0, 4, 7);
        if (rows > 1) {
            MATRIX_LOAD(5, x + tiles[1].at * step.position, step.position);
            MATRIX_ADD(1, 5, 7);
        }
        if (rows > 2) {
            MATRIX_LOAD(6, x + tiles[2].at * step.position, step.position);
            MATRIX_ADD(2, 6, 7);
        }
        if (rows > 3) {
            MATRIX_LOAD(4, x + tiles[3].at * step.position, step.position);
            MATRIX_ADD(3, 4, 7);
        }
    }
    FINISH_STRIP(0, 0, 0)
    FINISH_STRIP(1, 1, 0)
    FINISH_STRIP(2, 2, 0)
    FINISH_STRIP(3, 3, 0)
}

/* Up to two tiles of positions and 32 columns. */
INLINE void strip_wide(const int rows, const strip_job *job, const strip_tile *tiles)
{
    _Alignas(64) float room[SIDE][SIDE];
    const float *w[2] = {job->w[0], job->w[1]};
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->strip->step_count; s++) {
        const nmi_strip_step step = job->strip->steps[s];
        const float *x = job->strip->pairs + step.at;
        MATRIX_LOAD(6, w[0] + s * SIDE * SIDE, SIDE);
        MATRIX_LOAD(4, x + tiles[0].at * step.position, step.position);
        MATRIX_ADD(0, 4, 6);
        MATRIX_LOAD(7, w[1] + s * SIDE * SIDE, SIDE);
        MATRIX_ADD(1, 4, 7);
        if (rows > 1) {
            MATRIX_LOAD(5, x + tiles[1].at * step.position, step.position);
            MATRIX_ADD(2, 5, 6);
            MATRIX_ADD(3, 5, 7);
        }
    }
    FINISH_STRIP(0, 0, 0)
    FINISH_STRIP(1, 0, 1)
    FINISH_STRIP(2, 1, 0)
    FINISH_STRIP(3, 1, 1)
}

static void strip_block(const bool wide, int rows, const strip_job *job, const strip_tile *tiles)
{
    if (wide && rows == 2)
        strip_wide(2, job, tiles);
    else if (wide)
        strip_wide(1, job, tiles);
    else if (rows == 4)
        strip_narrow(4, job, tiles);
    else if (rows == 3)
        strip_narrow(3, job, tiles);
    else if (rows == 2)
        strip_narrow(2, job, tiles);
    else
        strip_narrow(1, job, tiles);
}

/* All positions and up to two tiles of columns from `first` on. */
static void strip_columns(strip_job *job, const float *packed, int64_t first, int64_t columns,
                          const nmi_epilogue *epilogue, float *y)
{
    const bool wide = columns - first > SIDE;
    const int64_t depth = job->strip->step_count * 2 * SIDE; /* numbers along a sum */
    nmi_epilogue moved[2];
    for (int half = 0; half <= wide; half++) {
        const int64_t column = first + half * SIDE, left = columns - column;
        moved[half] = nmi_epilogue_moved(epilogue, column, column);
        job->w[half] = packed + column * depth / 2;
        job->columns[half] = (forward_job){
            .epilogue = &moved[half], .y = y + column, .columns = left < SIDE ? (int)left : SIDE};
    }
    strip_cursor next = strip_start(job->strip);
    while (next.left > 0) {
        strip_tile tiles[4];
        int rows = 0;
        while (rows < (wide ? 2 : 4) && next.left > 0)
            tiles[rows++] = take_tile(&next);
        strip_block(wide, rows, job, tiles);
    }
}

static void strip_products(const nmi_strip *strip, const float *packed, int64_t columns,
                           const nmi_epilogue *epilogue, float *y, int64_t y_item, int64_t y_line,
                           int64_t y_step)
{
    strip_job job = {.strip = strip, .y_item = y_item, .y_line = y_line, .y_step = y_step};
    MATRIX_CONFIGURE(SIDE, SIDE, SIDE);
    for (int64_t first = 0; first < columns; first += 2 * SIDE)
        strip_columns(&job, packed, first, columns, epilogue, y);
    MATRIX_RELEASE();
}

/* --- weight gradient ---------------------------------------------------------------------- */

/* One or two line tiles, some column tiles, and all positions. */
typedef struct strip_gradient_job {
    const nmi_strip_sums *sums;
    const uint16_t *lines[2];
    const float *columns[4];
    float *dw; /* of the first of both */
} strip_gradient_job;

#define SUMS_AT(line, column) (job->dw + ((line)*job->sums->column_tiles + (column)) * SIDE * SIDE)

#define LOAD_SUMS_OF(t, line, column)                                                              \
    if ((column) < columns)                                                                        \
        MATRIX_LOAD(t, SUMS_AT(line, column), SIDE);

#define STORE_SUMS_OF(t, line, column)                                                             \
    if ((column) < columns)                                                                        \
        MATRIX_STORE(t, SUMS_AT(line, column), SIDE);

/* One line tile and up to four column tiles. */
INLINE void strip_gradient_narrow(const int columns, const strip_gradient_job *job)
{
    const int64_t plane = job->sums->plane / 2, line = job->sums->line;
    LOAD_SUMS_OF(0, 0, 0)
    LOAD_SUMS_OF(1, 0, 1)
    LOAD_SUMS_OF(2, 0, 2)
    LOAD_SUMS_OF(3, 0, 3)
    for (int64_t s = 0; s < job->sums->steps; s++) {
        const int64_t at = s * SIDE * line;
        MATRIX_LOAD(7, job->lines[0] + s * NMI_STRIP_PIXELS, plane);
        MATRIX_LOAD(4, job->columns[0] + at, line);
        MATRIX_ADD(0, 7, 4);
        if (columns > 1) {
            MATRIX_LOAD(5, job->columns[1] + at, line);
            MATRIX_ADD(1, 7, 5);
        }
        if (columns > 2) {
            MATRIX_LOAD(6, job->columns[2] + at, line);
            MATRIX_ADD(2, 7, 6);
        }
        if (columns > 3) {
            MATRIX_LOAD(4, job->columns[3] + at, line);
            MATRIX_ADD(3, 7, 4);
        }
    }
    STORE_SUMS_OF(0, 0, 0)
    STORE_SUMS_OF(1, 0, 1)
    STORE_SUMS_OF(2, 0, 2)
    STORE_SUMS_OF(3, 0, 3)
}

/* Two line tiles and up to two column tiles. */
INLINE void strip_gradient_wide(const int columns, const strip_gradient_job *job)
{
    const int64_t plane = job->sums->plane / 2, line = job->sums->line;
    LOAD_SUMS_OF(0, 0, 0)
    LOAD_SUMS_OF(1, 1, 0)
    LOAD_SUMS_OF(2, 0, 1)
    LOAD_SUMS_OF(3, 1, 1)
    for (int64_t s = 0; s < job->sums->steps; s++) {
        const int64_t at = s * SIDE * line;
        MATRIX_LOAD(4, job->lines[0] + s * NMI_STRIP_PIXELS, plane);
        MATRIX_LOAD(6, job->columns[0] + at, line);
        MATRIX_ADD(0, 4, 6);
        MATRIX_LOAD(5, job->lines[1] + s * NMI_STRIP_PIXELS, plane);
        MATRIX_ADD(1, 5, 6);
        if (columns > 1) {
            MATRIX_LOAD(7, job->columns[1] + at, line);
            MATRIX_ADD(2, 4, 7);
            MATRIX_ADD(3, 5, 7);
        }
    }
    STORE_SUMS_OF(0, 0, 0)
    STORE_SUMS_OF(1, 1, 0)
    STORE_SUMS_OF(2, 0, 1)
    STORE_SUMS_OF(3, 1, 1)
}

static void strip_gradient_block(const bool wide, int columns, const strip_gradient_job *job)
{
    if (wide && columns == 2)
        strip_gradient_wide(2, job);
    else if (wide)
        strip_gradient_wide(1, job);
    else if (columns == 4)
        strip_gradient_narrow(4, job);
    else if (columns == 3)
        strip_gradient_narrow(3, job);
    else if (columns == 2)
        strip_gradient_narrow(2, job);
    else
        strip_gradient_narrow(1, job);
}

static void strip_gradient(const nmi_strip_sums *sums, float *dw)
{
    const int64_t columns = sums->column_tiles;
    MATRIX_CONFIGURE(SIDE, SIDE, SIDE);
    for (int64_t line = 0; line < sums->line_tiles; line += 2) {
        const bool wide = line + 1 < sums->line_tiles;
        const uint16_t *planes = sums->planes + line * SIDE * sums->plane;
        /* Blocks of equal size rather than a last one with a single sum, which has to wait. */
        const int64_t most = wide ? 2 : 4, blocks = (columns + most - 1) / most;
        for (int64_t b = 0, first = 0; b < blocks; b++) {
            const int64_t end = columns * (b + 1) / blocks;
            strip_gradient_job job = {.sums = sums,
                                      .lines = {planes, planes + SIDE * sums->plane},
                                      .dw = dw + (line * columns + first) * SIDE * SIDE};
            for (int64_t i = first; i < end; i++)
                job.columns[i - first] = sums->pairs + sums->columns[i];
            strip_gradient_block(wide, (int)(end - first), &job);
            first = end;
        }
    }
    MATRIX_RELEASE();
}

static const nmi_matrix_kernels matrix_kernels = {.round_pixels = round_pixels,
                                                  .transpose_pixels = transpose_pixels,
                                                  .pair_pixels = pair_pixels,
                                                  .products = strip_products,
                                                  .gradient = strip_gradient};
