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
 * The including file also has pair_up(a, b), the pairs of two vectors' numbers, transpose(v), of 16
 * vectors of 16 floats in place, and lanes_from(v, n), lane n and those behind it.
 */

/* --- operands ----------------------------------------------------------------------------- */

static void round_pixels(int64_t pixels, int64_t channels, const float *x, int64_t x_step,
                         uint16_t *to, int64_t step)
{
    if (x_step == channels && step == channels) {
        channels *= pixels; /* as one */
        pixels = 1;
    }
    for (int64_t i = 0; i < pixels; i++, x += x_step, to += step) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) {
            const half_vec rounded = halves(load(x + c));
            memcpy(to + c, &rounded, sizeof rounded);
        }
        if (c < channels) {
            const half_vec rounded = halves(load_part(x + c, (int)(channels - c)));
            memcpy(to + c, &rounded, sizeof rounded);
        }
    }
}

/* In moves of `size` numbers; what one writes too much, the next one covers. */
INLINE void copy_windows_by(const int size, const nmi_strip_windows *windows, int64_t count,
                            const uint16_t *from, uint16_t *to)
{
    const nmi_strip_windows w = *windows; /* what is written might be the original */
    for (; count > 0; count--, from += w.from_step, to += w.to_step) {
        const uint16_t *line = from;
        uint16_t *run = to;
        for (int64_t l = w.lines; l > 0; l--, line += w.pitch, run += w.run)
            for (int64_t n = 0; n < w.run; n += size)
                memcpy(run + n, line + n, (size_t)size * sizeof *to);
    }
}

static void copy_windows(const nmi_strip_windows *windows, int64_t count, const uint16_t *from,
                         uint16_t *to)
{
    if (windows->run <= 4)
        copy_windows_by(4, windows, count, from, to);
    else if (windows->run <= 8)
        copy_windows_by(8, windows, count, from, to);
    else if (windows->run <= 16)
        copy_windows_by(16, windows, count, from, to);
    else
        copy_windows_by(32, windows, count, from, to);
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

/* Positions up to the last output's. */
static int64_t strip_end(const nmi_strip *strip)
{
    return (strip->items - 1) * strip->item_pitch + (strip->lines - 1) * strip->line_pitch +
           strip->columns;
}

static strip_cursor strip_start(const nmi_strip *strip)
{
    const int64_t end = strip_end(strip), across = (strip->columns + SIDE - 1) / SIDE;
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
    const nmi_strip_step *steps;
    int64_t step_count;
    const float *w[2];
    forward_job columns[2];
    int64_t y_item, y_line, y_step;
} strip_job;

/* Up to `rows` neighbours at `at` of y: sums, with those of further taps from the lines behind
 * them, and their epilogue. Missing rows repeat one. */
INLINE void finish_neighbours(const int rows, const forward_job *job, int taps, int64_t at,
                              int64_t step, int count, const float *sums)
{
    vec sum[TILE_ROWS][2];
    row_tile tile;
    int row[TILE_ROWS];
    EACH_ROW
    {
        row[r] = r < count ? r : 0;
        tile.at[r] = at + row[r] * step;
        sum[r][0] = load(sums + row[r] * SIDE);
    }
    for (int tap = 1; tap < taps; tap++)
        EACH_ROW sum[r][0] += lanes_from(load(sums + (row[r] + tap) * SIDE), tap * job->columns);
    if (job->columns == LANES)
        finish(true, rows, 1, job, &tile, sum);
    else
        finish(false, rows, 1, job, &tile, sum);
}

/* Epilogue of `count` neighbours at `at` of y, whose sums are lines of a tile. */
static void finish_run(const forward_job *job, int64_t taps, int64_t at, int64_t step,
                       int64_t count, const float *sums)
{
    while (count > 0) {
        const int size = count > TILE_SMALL ? TILE_MIDDLE : TILE_SMALL;
        const int present = count < size ? (int)count : size;
        if (size == TILE_MIDDLE)
            finish_neighbours(TILE_MIDDLE, job, (int)taps, at, step, present, sums);
        else
            finish_neighbours(TILE_SMALL, job, (int)taps, at, step, present, sums);
        count -= size;
        at += size * step;
        sums += size * SIDE;
    }
}

/* Epilogue of those positions of a tile that have outputs. */
static void strip_finish(const strip_job *job, const strip_tile *tile, int half, const float *sums)
{
    const nmi_strip *strip = job->strip;
    int64_t item = tile->item, line = tile->line, column = tile->column;
    for (int64_t r = 0; r < tile->count; column = 0, strip_next_line(strip, &item, &line)) {
        int64_t run = strip->columns - column;
        run = run < tile->count - r ? run : tile->count - r;
        if (line < strip->lines && run > 0)
            finish_run(&job->columns[half], 1,
                       item * job->y_item + line * job->y_line + column * job->y_step, job->y_step,
                       run, sums + r * SIDE);
        r += strip->line_pitch - column;
    }
}

#define FINISH_STRIP(t, row, half)                                                                 \
    if ((row) < rows) {                                                                            \
        MATRIX_STORE(t, room, SIDE);                                                               \
        strip_finish(job, &tiles[row], half, room);                                                \
    }

#define FINISH_SPREAD(t, row)                                                                      \
    if ((row) < rows) {                                                                            \
        if (spread)                                                                                \
            MATRIX_STORE(t, job->strip->spread.sums + tiles[row].at * SIDE, SIDE);                 \
        else                                                                                       \
            FINISH_STRIP(t, row, 0)                                                                \
    }

/* Up to four tiles of positions and 16 columns. */
INLINE void strip_narrow(const int rows, const bool spread, const strip_job *job,
                         const strip_tile *tiles)
{
    _Alignas(64) float room[SIDE * SIDE];
    const float *w = job->w[0];
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->step_count; s++, w += SIDE * SIDE) {
        const nmi_strip_step step = job->steps[s];
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
    FINISH_SPREAD(0, 0)
    FINISH_SPREAD(1, 1)
    FINISH_SPREAD(2, 2)
    FINISH_SPREAD(3, 3)
}

/* Up to two tiles of positions and 32 columns. */
INLINE void strip_wide(const int rows, const strip_job *job, const strip_tile *tiles)
{
    _Alignas(64) float room[SIDE * SIDE];
    const float *w[2] = {job->w[0], job->w[1]};
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->step_count; s++) {
        const nmi_strip_step step = job->steps[s];
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

static void strip_narrow_block(const bool spread, int rows, const strip_job *job,
                               const strip_tile *tiles)
{
    if (rows == 4)
        strip_narrow(4, spread, job, tiles);
    else if (rows == 3)
        strip_narrow(3, spread, job, tiles);
    else if (rows == 2)
        strip_narrow(2, spread, job, tiles);
    else
        strip_narrow(1, spread, job, tiles);
}

static void strip_block(const bool wide, int rows, const strip_job *job, const strip_tile *tiles)
{
    if (wide && rows == 2)
        strip_wide(2, job, tiles);
    else if (wide)
        strip_wide(1, job, tiles);
    else
        strip_narrow_block(false, rows, job, tiles);
}

/* All positions and up to two tiles of columns from `first` on. */
static void strip_columns(strip_job *job, const float *packed, int64_t first, int64_t columns,
                          const nmi_epilogue *epilogue, float *y)
{
    const bool wide = columns - first > SIDE;
    nmi_epilogue moved[2];
    for (int half = 0; half <= wide; half++) {
        const int64_t column = first + half * SIDE, left = columns - column;
        moved[half] = nmi_epilogue_moved(epilogue, column, column);
        job->w[half] = packed + column * job->step_count * SIDE;
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

/* Spread sums of all positions, then what becomes of them. */
static void strip_spread(strip_job *job, const float *packed, const nmi_epilogue *epilogue,
                         float *y)
{
    const nmi_strip *strip = job->strip;
    const int64_t end = strip_end(strip) + strip->spread.taps - 1;
    job->w[0] = packed;
    job->columns[0] =
        (forward_job){.epilogue = epilogue, .y = y, .columns = (int)strip->spread.columns};
    for (int64_t at = 0; at < end; at += 4 * SIDE) {
        strip_tile tiles[4];
        int rows = 0;
        for (; rows < 4 && at + rows * SIDE < end; rows++)
            tiles[rows].at = at + rows * SIDE;
        strip_narrow_block(true, rows, job, tiles);
    }
    for (int64_t item = 0; item < strip->items; item++)
        for (int64_t line = 0; line < strip->lines; line++)
            finish_run(&job->columns[0], strip->spread.taps,
                       item * job->y_item + line * job->y_line, job->y_step, strip->columns,
                       strip->spread.sums +
                           (item * strip->item_pitch + line * strip->line_pitch) * SIDE);
}

static void strip_products(const nmi_strip *strip, const float *packed, int64_t columns,
                           const nmi_epilogue *epilogue, float *y, int64_t y_item, int64_t y_line,
                           int64_t y_step)
{
    const int64_t whole = columns - strip->spread.columns;
    const nmi_epilogue moved = nmi_epilogue_moved(epilogue, whole, whole);
    strip_job job = {.strip = strip,
                     .steps = strip->steps,
                     .step_count = strip->step_count,
                     .y_item = y_item,
                     .y_line = y_line,
                     .y_step = y_step};
    MATRIX_CONFIGURE(SIDE, SIDE, SIDE);
    for (int64_t first = 0; first < whole; first += 2 * SIDE)
        strip_columns(&job, packed, first, whole, epilogue, y);
    job.steps = strip->spread.steps;
    job.step_count = strip->spread.step_count;
    if (strip->spread.columns > 0)
        strip_spread(&job, packed + whole * strip->step_count * SIDE, &moved, y + whole);
    MATRIX_RELEASE();
}

/* --- weight gradient ---------------------------------------------------------------------- */

/* One or two line tiles, some column tiles, and all positions. */
typedef struct strip_gradient_job {
    const nmi_strip_sums *sums;
    const uint16_t *lines[2];
    const nmi_strip_columns *columns;
    float *dw; /* of the first of both */
} strip_gradient_job;

#define SUMS_AT(line, column) (job->dw + ((line)*job->sums->column_tiles + (column)) * SIDE * SIDE)

#define LOAD_SUMS_OF(t, line, column)                                                              \
    if ((column) < columns)                                                                        \
        MATRIX_LOAD(t, SUMS_AT(line, column), SIDE);

#define STORE_SUMS_OF(t, line, column)                                                             \
    if ((column) < columns)                                                                        \
        MATRIX_STORE(t, SUMS_AT(line, column), SIDE);

#define LOAD_COLUMN(t, column)                                                                     \
    MATRIX_LOAD(t, job->sums->pairs + job->columns[column].at + s * SIDE * line[column],           \
                line[column])

/* One line tile and up to four column tiles. */
INLINE void strip_gradient_narrow(const int columns, const strip_gradient_job *job)
{
    const int64_t plane = job->sums->plane / 2;
    int64_t line[4];
    for (int i = 0; i < columns; i++)
        line[i] = job->columns[i].line;
    LOAD_SUMS_OF(0, 0, 0)
    LOAD_SUMS_OF(1, 0, 1)
    LOAD_SUMS_OF(2, 0, 2)
    LOAD_SUMS_OF(3, 0, 3)
    for (int64_t s = 0; s < job->sums->steps; s++) {
        MATRIX_LOAD(4, job->lines[0] + s * NMI_STRIP_PIXELS, plane);
        LOAD_COLUMN(6, 0);
        MATRIX_ADD(0, 4, 6);
        if (columns > 1) {
            LOAD_COLUMN(7, 1);
            MATRIX_ADD(1, 4, 7);
        }
        if (columns > 2) {
            LOAD_COLUMN(6, 2);
            MATRIX_ADD(2, 4, 6);
        }
        if (columns > 3) {
            LOAD_COLUMN(7, 3);
            MATRIX_ADD(3, 4, 7);
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
    const int64_t plane = job->sums->plane / 2;
    int64_t line[2];
    for (int i = 0; i < columns; i++)
        line[i] = job->columns[i].line;
    LOAD_SUMS_OF(0, 0, 0)
    LOAD_SUMS_OF(1, 1, 0)
    LOAD_SUMS_OF(2, 0, 1)
    LOAD_SUMS_OF(3, 1, 1)
    for (int64_t s = 0; s < job->sums->steps; s++) {
        MATRIX_LOAD(4, job->lines[0] + s * NMI_STRIP_PIXELS, plane);
        LOAD_COLUMN(6, 0);
        MATRIX_ADD(0, 4, 6);
        MATRIX_LOAD(5, job->lines[1] + s * NMI_STRIP_PIXELS, plane);
        MATRIX_ADD(1, 5, 6);
        if (columns > 1) {
            LOAD_COLUMN(7, 1);
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
    MATRIX_CONFIGURE((int)sums->height, (int)sums->height, SIDE);
    for (int64_t line = 0; line < sums->line_tiles; line += 2) {
        const bool wide = line + 1 < sums->line_tiles;
        const uint16_t *planes = sums->planes + line * sums->height * sums->plane;
        /* Blocks of equal size rather than a last one with a single sum, which has to wait. */
        const int64_t most = wide ? 2 : 4, blocks = (columns + most - 1) / most;
        for (int64_t b = 0, first = 0; b < blocks; b++) {
            const int64_t end = columns * (b + 1) / blocks;
            const strip_gradient_job job = {.sums = sums,
                                            .lines = {planes, planes + sums->height * sums->plane},
                                            .columns = sums->columns + first,
                                            .dw = dw + (line * columns + first) * SIDE * SIDE};
            strip_gradient_block(wide, (int)(end - first), &job);
            first = end;
        }
    }
    MATRIX_RELEASE();
}

static const nmi_matrix_kernels matrix_kernels = {.round_pixels = round_pixels,
                                                  .copy_windows = copy_windows,
                                                  .transpose_pixels = transpose_pixels,
                                                  .pair_pixels = pair_pixels,
                                                  .products = strip_products,
                                                  .gradient = strip_gradient};
