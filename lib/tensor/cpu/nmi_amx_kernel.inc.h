/* SPDX-License-Identifier: MIT */
/*
 * The products of pairs on matrix tiles, registers of 16 lines of 16 pairs or sums each, whose one
 * operation is
 *
 *     c[m][n] += sum over 16 pairs p of a[m][p] . b[p][n]
 *
 * Included by nmi_rows_kernel.inc.h where LANES is 16, once the including file has defined
 *   MATRIX_CONFIGURE()           eight tiles of that shape for this thread
 *   MATRIX_RELEASE()             back to none
 *   MATRIX_ZERO(t)
 *   MATRIX_LOAD(t, at, stride)   16 lines, `stride` floats apart
 *   MATRIX_STORE(t, at, stride)
 *   MATRIX_ADD(c, a, b)          the operation
 * with numbers of tiles as literals: as instructions (nmi_amx.inc.h), or as a model of them in
 * plain C for tests.
 *
 * Tiles 0 to 3 hold the sums of two times 16 rows (or k values) and one panel of two times 16
 * columns, so that four operations, each of which takes three turns of the unit, are under way at
 * once. Tiles 4 and 5 hold a, 6 and 7 hold b. What does not fill a tile goes through a room of its
 * size in memory, with zeros in its place.
 */

enum { SIDE = 16 };

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

/* --- forward ------------------------------------------------------------------------------ */

/* Pairs `offset` and later of some rows: tile a. */
static matrix_source row_source(const forward_job *job, const matrix_lines *rows, int64_t offset,
                                int count, float room[SIDE][SIDE])
{
    if (rows->even && count == SIDE)
        return (matrix_source){rows->x[0] + offset, job->rows->x_step};
    return lines_of(rows->x, rows->present, offset, count, room);
}

/* `count` lines of a packed panel: tile b. */
static matrix_source panel_source(const float *packed, int64_t width, int count,
                                  float room[SIDE][SIDE])
{
    if (count == SIDE)
        return (matrix_source){packed, width};
    for (int k = 0; k < SIDE; k++)
        store(room[k], k < count ? load(packed + k * width) : splat(0.0f));
    return (matrix_source){room[0], SIDE};
}

/* The products of one step along the sums. */
static void matrix_add(const bool wide)
{
    MATRIX_ADD(0, 4, 6);
    MATRIX_ADD(2, 5, 6);
    if (wide) {
        MATRIX_ADD(1, 4, 7);
        MATRIX_ADD(3, 5, 7);
    }
}

/* Epilogue of 16 columns, from `first` on in the panel, of a tile of sums in memory. */
static void matrix_finish(const forward_job *job, const matrix_lines *rows, int first,
                          float room[SIDE][SIDE])
{
    const nmi_epilogue moved = nmi_epilogue_moved(job->epilogue, first, first);
    const int columns = job->columns - first < LANES ? job->columns - first : LANES;
    const forward_job part = {job->rows, job->w, &moved, job->y + first, columns};
    for (int r = 0; r < rows->present; r += TILE_MIDDLE) {
        vec sum[TILE_ROWS][2];
        row_tile tile;
        for (int i = 0; i < TILE_MIDDLE; i++) {
            const int row = r + i < rows->present ? r + i : r; /* missing rows repeat one */
            tile.at[i] = rows->at[row];
            sum[i][0] = load(room[row]);
        }
        if (columns == LANES)
            finish(true, TILE_MIDDLE, 1, &part, &tile, sum);
        else
            finish(false, TILE_MIDDLE, 1, &part, &tile, sum);
    }
}

#define FINISH(t, half, first)                                                                     \
    if (rows[half].present > 0 && job->columns > (first)) {                                        \
        MATRIX_STORE(t, room[0], SIDE);                                                            \
        matrix_finish(job, &rows[half], first, room);                                              \
    }

static void matrix_forward(const forward_job *job, const matrix_lines rows[2])
{
    _Alignas(64) float room[SIDE][SIDE];
    const bool wide = job->columns > LANES;
    const int64_t width = wide ? PANEL : LANES, length = job->rows->segment_length;
    const float *w = job->w;
    MATRIX_ZERO(0);
    MATRIX_ZERO(1);
    MATRIX_ZERO(2);
    MATRIX_ZERO(3);
    for (int64_t s = 0; s < job->rows->segments; s++) {
        for (int64_t k = 0; k < length; k += SIDE) {
            const int count = length - k < SIDE ? (int)(length - k) : SIDE;
            const int64_t offset = s * job->rows->segment_stride + k;
            matrix_source from = row_source(job, &rows[0], offset, count, room);
            MATRIX_LOAD(4, from.at, from.stride);
            from = row_source(job, &rows[1], offset, count, room);
            MATRIX_LOAD(5, from.at, from.stride);
            from = panel_source(w, width, count, room);
            MATRIX_LOAD(6, from.at, from.stride);
            if (wide) {
                from = panel_source(w + LANES, width, count, room);
                MATRIX_LOAD(7, from.at, from.stride);
            }
            matrix_add(wide);
            w += count * width;
        }
    }
    FINISH(0, 0, 0)
    FINISH(1, 0, LANES)
    FINISH(2, 1, 0)
    FINISH(3, 1, LANES)
}

static void forward_pairs(const nmi_rows *rows, const float *packed, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    const int64_t depth = rows->segments * rows->segment_length;
    const int64_t total = rows->height * rows->width;
    MATRIX_CONFIGURE();
    for (int64_t column = 0; column < columns; column += PANEL) {
        const nmi_epilogue moved = nmi_epilogue_moved(epilogue, column, column);
        const int64_t left = columns - column;
        const forward_job job = {rows, packed + column * depth, &moved, y + column,
                                 left < PANEL ? (int)left : PANEL};
        cursor next = {rows, rows->x, 0, y_line, y_step, 0};
        for (int64_t r = 0; r < total; r += 2 * SIDE) {
            matrix_lines lines[2];
            lines[0] = take_lines(&next, total - r);
            lines[1] = take_lines(&next, total - r - lines[0].present);
            matrix_forward(&job, lines);
        }
    }
    MATRIX_RELEASE();
}

/* --- weight gradient ---------------------------------------------------------------------- */

/* k values `offset` and later, `count` of them, of some lines, which become columns: tile a. */
static matrix_source transposed(const matrix_lines *lines, int64_t offset, int count,
                                float room[SIDE][SIDE])
{
    for (int r = 0; r < SIDE; r++)
        for (int k = 0; k < SIDE; k++)
            room[k][r] = r < lines->present && k < count ? lines->x[r][offset + k] : 0.0f;
    return (matrix_source){room[0], SIDE};
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

/* Two times up to 16 values of k, `count` in all, and one panel of dw, over the whole grid. */
typedef struct matrix_job {
    const nmi_rows *rows;
    const float *dy;
    int64_t dy_line, dy_step;
    float *dw;      /* first line */
    int64_t offset; /* of the first k in a row */
    int count;
    int columns; /* of this panel */
} matrix_job;

static int part_of(int count, int half)
{
    const int left = count - half * SIDE;
    return left < 0 ? 0 : left < SIDE ? left : SIDE;
}

/* Lines that are not there are read as zero, and not written. */
static matrix_source sum_source(const float *dw, int64_t width, int count, float room[SIDE][SIDE])
{
    return panel_source(dw, width, count, room);
}

#define LOAD_SUMS(t, half, first)                                                                  \
    from = sum_source(job->dw + (half)*SIDE * width + (first), width, part_of(job->count, half),   \
                      room);                                                                       \
    MATRIX_LOAD(t, from.at, from.stride);

#define STORE_SUMS(t, half, first)                                                                 \
    MATRIX_STORE(t, room[0], SIDE);                                                                \
    for (int k = 0; k < part_of(job->count, half); k++)                                            \
        store(job->dw + ((half)*SIDE + k) * width + (first), load(room[k]));

static void matrix_weights(const matrix_job *job)
{
    _Alignas(64) float room[SIDE][SIDE];
    const bool wide = job->columns > LANES;
    const int64_t width = wide ? PANEL : LANES, total = job->rows->height * job->rows->width;
    cursor next = {job->rows, job->rows->x, 0, job->dy_line, job->dy_step, 0};
    matrix_source from;
    LOAD_SUMS(0, 0, 0)
    LOAD_SUMS(2, 1, 0)
    if (wide) {
        LOAD_SUMS(1, 0, LANES)
        LOAD_SUMS(3, 1, LANES)
    }
    for (int64_t r = 0; r < total; r += SIDE) {
        const matrix_lines lines = take_lines(&next, total - r);
        from = transposed(&lines, job->offset, part_of(job->count, 0), room);
        MATRIX_LOAD(4, from.at, from.stride);
        from = transposed(&lines, job->offset + SIDE, part_of(job->count, 1), room);
        MATRIX_LOAD(5, from.at, from.stride);
        from = gradient_source(&lines, job->dy, job->dy_step, job->columns, room);
        MATRIX_LOAD(6, from.at, from.stride);
        if (wide) {
            from =
                gradient_source(&lines, job->dy + LANES, job->dy_step, job->columns - LANES, room);
            MATRIX_LOAD(7, from.at, from.stride);
        }
        matrix_add(wide);
    }
    STORE_SUMS(0, 0, 0)
    STORE_SUMS(2, 1, 0)
    if (wide) {
        STORE_SUMS(1, 0, LANES)
        STORE_SUMS(3, 1, LANES)
    }
}

static void backward_weight_pairs(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw_packed)
{
    const int64_t length = rows->segment_length, depth = rows->segments * length;
    MATRIX_CONFIGURE();
    for (int64_t column = 0; column < columns; column += PANEL) {
        const int64_t left = columns - column, width = left > LANES ? PANEL : LANES;
        for (int64_t s = 0; s < rows->segments; s++) {
            for (int64_t k = 0; k < length; k += 2 * SIDE) {
                const matrix_job job = {.rows = rows,
                                        .dy = dy + column,
                                        .dy_line = dy_line,
                                        .dy_step = dy_step,
                                        .dw = dw_packed + column * depth + (s * length + k) * width,
                                        .offset = s * rows->segment_stride + k,
                                        .count =
                                            length - k < 2 * SIDE ? (int)(length - k) : 2 * SIDE,
                                        .columns = left < PANEL ? (int)left : PANEL};
                matrix_weights(&job);
            }
        }
    }
    MATRIX_RELEASE();
}
