/* SPDX-License-Identifier: MIT */
/*
 * Convolution with 3 x 3 taps by Winograd's minimal algorithm. nmi_rows_kernel.inc.h includes it
 * for each instruction set; nmi_kernels.h says what the functions compute.
 *
 * A tile is 2 x 2 outputs, which see 4 x 4 inputs. With the transforms
 *
 *         1  0 -1  0          1   0   0          1  1  1  0
 *   B' =  0  1  1  0     G = 1/2 1/2 1/2    A' = 0  1 -1 -1
 *         0 -1  1  0         1/2-1/2 1/2
 *         0  1  0 -1          0   0   1
 *
 * the outputs are A'[(G g G') (B' d B)]A, the product in brackets place by place: 16 products for
 * each pair of channels where the plain sum has 36. Tiles are taken in blocks; at each of the 16
 * places the transformed tiles of a block are the lines of a matrix, and the sums over channels a
 * product of matrices. The weight gradient is the adjoint, G'[sum over tiles (A dy A') (B' d B)]G.
 *
 * Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308.
 */

enum {
    PLACES = NMI_WINOGRAD_PLACES,
    TAPS = NMI_WINOGRAD_TAPS,
    TILES = 16,              /* tiles of a block, a multiple of NARROW_ROWS */
    GRADIENT_TILES = 32,     /* the same for the weight gradient, whose sums pass through memory */
    WIDE_ROWS = TILE_MIDDLE, /* lines of a register tile of two vectors */
    NARROW_ROWS = 2 * TILE_MIDDLE /* of one vector; a multiple of LANES as well */
};

/* Channels of a transformed tile in memory. */
INLINE int64_t padded(int64_t channels)
{
    return (channels + NARROW_ROWS - 1) / NARROW_ROWS * NARROW_ROWS;
}

/* Floats between the places of `tiles` tiles: no multiple of 4 KiB, or all sixteen places of a
 * tile would fall on the same lines of the first-level cache. */
INLINE int64_t place_stride(int64_t tiles, int64_t line)
{
    return tiles * line + LANES;
}

static size_t winograd_work(int64_t channels)
{
    const int64_t depth = padded(channels);
    return (size_t)(PLACES * (place_stride(TILES, depth) + place_stride(TILES, PANEL)));
}

static size_t winograd_gradient_work(int64_t channels, int64_t columns)
{
    const int64_t depth = padded(channels), lines = padded(columns);
    return (size_t)(PLACES * (place_stride(GRADIENT_TILES, depth) +
                              place_stride(GRADIENT_TILES, lines) + depth * lines));
}

/* --- transforms of a column ----------------------------------------------------------------- */

/* By B'. */
INLINE void transform_input(const vec d[4], vec out[4])
{
    out[0] = d[0] - d[2];
    out[1] = d[1] + d[2];
    out[2] = d[2] - d[1];
    out[3] = d[1] - d[3];
}

/* By A'. */
INLINE void transform_output(const vec m[4], vec out[2])
{
    out[0] = m[0] + m[1] + m[2];
    out[1] = m[1] - m[2] - m[3];
}

/* By A. */
INLINE void transform_gradient(const vec d[2], vec out[4])
{
    out[0] = d[0];
    out[1] = d[0] + d[1];
    out[2] = d[0] - d[1];
    out[3] = -d[1];
}

/* By G. */
INLINE void transform_taps(const vec g[3], vec out[4])
{
    const vec even = (g[0] + g[2]) * 0.5f, odd = g[1] * 0.5f;
    out[0] = g[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = g[2];
}

/* By G'. */
INLINE void transform_sums(const vec s[4], vec out[3])
{
    const vec even = (s[1] + s[2]) * 0.5f;
    out[0] = s[0] + even;
    out[1] = (s[1] - s[2]) * 0.5f;
    out[2] = even + s[3];
}

#define EACH_OF(i, n) UNROLL for (int i = 0; i < (n); i++)

/* --- tiles ---------------------------------------------------------------------------------- */

/* First output of a tile. */
typedef struct tile_cursor {
    int64_t item, line, column;
} tile_cursor;

INLINE void next_tile(const nmi_tiles *tiles, tile_cursor *at)
{
    at->column += 2;
    if (at->column < tiles->width)
        return;
    at->column = 0;
    at->line += 2;
    if (at->line < tiles->height)
        return;
    at->line = 0;
    at->item++;
}

INLINE int64_t tile_count(const nmi_tiles *tiles)
{
    return tiles->items * (tiles->height / 2) * (tiles->width / 2);
}

/* The 4 x 4 inputs of a tile, `line` and `step` floats from one another. Bit 4 i + j of `outside`
 * tells that line i, column j is not in memory but zero. */
typedef struct patch {
    const float *first;
    int64_t line, step;
    uint32_t outside;
} patch;

static patch patch_of(const nmi_tiles *tiles, const tile_cursor *at)
{
    patch p = {tiles->x + at->item * tiles->x_item + (at->line - 1) * tiles->x_line +
                   (at->column - 1) * tiles->channels,
               tiles->x_line, tiles->channels, 0};
    if (tiles->bordered)
        return p;
    p.outside |= at->line == 0 ? 0x000fu : 0;
    p.outside |= at->line + 2 == tiles->height ? 0xf000u : 0;
    p.outside |= at->column == 0 ? 0x1111u : 0;
    p.outside |= at->column + 2 == tiles->width ? 0x8888u : 0;
    return p;
}

/* --- inputs --------------------------------------------------------------------------------- */

INLINE vec fetch_part(const bool whole, const float *p, int count)
{
    return whole ? load(p) : load_part(p, count);
}

/* `count` channels of a patch, a vector or less, to their 16 places. */
INLINE void input_vector(const bool inside, const bool whole, int count, const patch *p,
                         int64_t channel, float *to, int64_t stride)
{
    const float *x = p->first + channel;
    const float *lines[4] = {x, x + p->line, x + 2 * p->line, x + 3 * p->line};
    vec columns[4][4];
    EACH_OF (j, 4) {
        vec d[4];
        EACH_OF (i, 4)
            d[i] = inside || (p->outside >> (4 * i + j) & 1) == 0
                       ? fetch_part(whole, lines[i] + j * p->step, count)
                       : splat(0.0f);
        transform_input(d, columns[j]);
    }
    EACH_OF (i, 4) {
        const vec d[4] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
        vec out[4];
        transform_input(d, out);
        EACH_OF (j, 4) {
            store(to, out[j]);
            to += stride;
        }
    }
}

INLINE void input_tile(const bool inside, const patch *p, int64_t channels, int64_t room, float *to,
                       int64_t stride)
{
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES)
        input_vector(inside, true, LANES, p, c, to + c * room, stride);
    if (c < channels)
        input_vector(inside, false, (int)(channels - c), p, c, to + c * room, stride);
}

/* Zeros for tiles first .. room - 1 of all places. */
static void clear_tiles(int64_t first, int64_t room, int64_t depth, float *to)
{
    for (int place = 0; place < PLACES && first < room; place++)
        for (int64_t c = 0; c < depth; c += LANES)
            memset(to + place * place_stride(room, depth) + c * room + first * LANES, 0,
                   (size_t)((room - first) * LANES) * sizeof *to);
}

/* `count` tiles from `at` on, which moves behind them: to[place][channel / LANES][tile][LANES],
 * zero where there is no channel and no tile. */
static void input_block(const nmi_tiles *tiles, tile_cursor *at, int64_t count, int64_t room,
                        float *to)
{
    const int64_t depth = padded(tiles->channels), stride = place_stride(room, depth);
    clear_tiles(tiles->channels > depth - LANES ? count : 0, room, depth, to);
    for (int64_t t = 0; t < count; t++, to += LANES, next_tile(tiles, at)) {
        const patch p = patch_of(tiles, at);
        if (p.outside == 0)
            input_tile(true, &p, tiles->channels, room, to, stride);
        else
            input_tile(false, &p, tiles->channels, room, to, stride);
    }
}

/* --- forward -------------------------------------------------------------------------------- */

typedef struct product_job {
    const float *x, *w;           /* transformed tiles and weights */
    float *y;                     /* [place][TILES][vectors] */
    int64_t depth, stride, count; /* channels, floats between places of x, tiles */
} product_job;

INLINE void product_tile(const int rows, const int vectors, const product_job *job, const float *x,
                         const float *w, float *y)
{
    vec sum[NARROW_ROWS][2];
    EACH sum[r][v] = splat(0.0f);
    for (int64_t left = job->depth; left > 0; left -= LANES, x += (TILES - 1) * LANES) {
        const float *end = x + (left < LANES ? left : LANES);
        UNROLL_4
        for (; x < end; x++, w += vectors * LANES) {
            vec weight[2];
            EACH_VECTOR weight[v] = load(w + v * LANES);
            EACH sum[r][v] += weight[v] * x[r * LANES];
        }
    }
    EACH store(y + (r * vectors + v) * LANES, sum[r][v]);
}

#define PRODUCTS(name, rows, vectors)                                                              \
    static __attribute__((noinline)) void name(const product_job *job)                             \
    {                                                                                              \
        for (int place = 0; place < PLACES; place++)                                               \
            for (int64_t t = 0; t < job->count; t += rows)                                         \
                product_tile(rows, vectors, job, job->x + place * job->stride + t * LANES,         \
                             job->w + place * job->depth * (vectors)*LANES,                        \
                             job->y + place * place_stride(TILES, (vectors)*LANES) +               \
                                 t * (vectors)*LANES);                                             \
    }
PRODUCTS(products_1, NARROW_ROWS, 1)
PRODUCTS(products_2, WIDE_ROWS, 2)

/* Sums of `count` tiles from `at` on to outputs. */
typedef struct output_job {
    forward_job panel;
    const nmi_tiles *tiles;
    tile_cursor at;
    int64_t count, y_item, y_line, y_step;
    const float *sums;
} output_job;

INLINE void output_tile(const bool whole, const int vectors, const forward_job *panel,
                        const row_tile *tile, const float *sums)
{
    const int64_t stride = place_stride(TILES, vectors * LANES);
    vec outputs[TILE_ROWS][2];
    EACH_VECTOR
    {
        vec columns[4][2];
        EACH_OF (j, 4) {
            vec m[4];
            EACH_OF (i, 4)
                m[i] = load(sums + (i * 4 + j) * stride + v * LANES);
            transform_output(m, columns[j]);
        }
        EACH_OF (i, 2) {
            const vec m[4] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
            vec out[2];
            transform_output(m, out);
            EACH_OF (j, 2)
                outputs[2 * i + j][v] = out[j];
        }
    }
    finish(whole, 4, vectors, panel, tile, outputs);
}

INLINE void output_tiles(const bool whole, const int vectors, const output_job *job)
{
    tile_cursor at = job->at;
    for (int64_t t = 0; t < job->count; t++, next_tile(job->tiles, &at)) {
        const int64_t first =
            at.item * job->y_item + at.line * job->y_line + at.column * job->y_step;
        row_tile tile;
        EACH_OF (r, 4)
            tile.at[r] = first + r / 2 * job->y_line + r % 2 * job->y_step;
        output_tile(whole, vectors, &job->panel, &tile, job->sums + t * vectors * LANES);
    }
}

static __attribute__((noinline)) void outputs_1(const output_job *job)
{
    if (job->panel.columns == LANES)
        output_tiles(true, 1, job);
    else
        output_tiles(false, 1, job);
}

static __attribute__((noinline)) void outputs_2(const output_job *job)
{
    if (job->panel.columns == 2 * LANES)
        output_tiles(true, 2, job);
    else
        output_tiles(false, 2, job);
}

static void winograd_forward(const nmi_tiles *tiles, const float *packed, int64_t columns,
                             const nmi_epilogue *epilogue, float *y, int64_t y_item, int64_t y_line,
                             int64_t y_step, float *work)
{
    const int64_t depth = padded(tiles->channels), total = tile_count(tiles);
    float *x = work, *sums = x + PLACES * place_stride(TILES, depth);
    tile_cursor at = {0, 0, 0};
    for (int64_t first = 0; first < total; first += TILES) {
        const int64_t count = total - first < TILES ? total - first : TILES;
        const tile_cursor begin = at;
        input_block(tiles, &at, count, TILES, x);
        for (int64_t column = 0; column < columns; column += PANEL) {
            const nmi_epilogue moved = nmi_epilogue_moved(epilogue, column, column);
            const int64_t left = columns - column;
            const float *w = packed + column * PLACES * tiles->channels;
            const product_job product = {x,    w, sums, tiles->channels, place_stride(TILES, depth),
                                         count};
            const output_job output = {
                {NULL, NULL, &moved, y + column, left < PANEL ? (int)left : PANEL},
                tiles,
                begin,
                count,
                y_item,
                y_line,
                y_step,
                sums};
            (left > LANES ? products_2 : products_1)(&product);
            (left > LANES ? outputs_2 : outputs_1)(&output);
        }
    }
}

/* --- weights -------------------------------------------------------------------------------- */

static void winograd_pack(int64_t channels, int64_t width, float *panel)
{
    const int64_t stride = channels * width;
    const float *taps = panel + (PLACES - TAPS) * stride;
    for (int64_t at = 0; at < stride; at += LANES) {
        vec columns[3][4];
        EACH_OF (j, 3) {
            vec g[3];
            EACH_OF (i, 3)
                g[i] = load(taps + (i * 3 + j) * stride + at);
            transform_taps(g, columns[j]);
        }
        EACH_OF (i, 4) {
            const vec g[3] = {columns[0][i], columns[1][i], columns[2][i]};
            vec out[4];
            transform_taps(g, out);
            EACH_OF (j, 4)
                store(panel + (i * 4 + j) * stride + at, out[j]);
        }
    }
}

/* --- weight gradient ------------------------------------------------------------------------ */

/* One vector of a tile of dy to its 16 places. */
INLINE void gradient_vector(const bool whole, int count, const float *dy, int64_t line,
                            int64_t step, float *to, int64_t stride)
{
    vec columns[2][4];
    EACH_OF (j, 2) {
        vec d[2];
        EACH_OF (i, 2)
            d[i] = fetch_part(whole, dy + i * line + j * step, count);
        transform_gradient(d, columns[j]);
    }
    EACH_OF (i, 4) {
        const vec d[2] = {columns[0][i], columns[1][i]};
        vec out[4];
        transform_gradient(d, out);
        EACH_OF (j, 4)
            store(to + (i * 4 + j) * stride, out[j]);
    }
}

/* Tiles of dy: to[place][tile][column]. */
static void gradient_block(const nmi_tiles *tiles, tile_cursor at, int64_t count, const float *dy,
                           int64_t dy_line, int64_t columns, float *to)
{
    const int64_t lines = padded(columns), stride = place_stride(GRADIENT_TILES, lines);
    const int64_t whole = columns / LANES * LANES, item = tiles->height * dy_line;
    for (int64_t t = 0; t < count; t++, next_tile(tiles, &at), to += lines) {
        const float *from = dy + at.item * item + at.line * dy_line + at.column * columns;
        int64_t c = 0;
        for (; c < whole; c += LANES)
            gradient_vector(true, LANES, from + c, dy_line, columns, to + c, stride);
        if (c < columns)
            gradient_vector(false, (int)(columns - c), from + c, dy_line, columns, to + c, stride);
    }
}

typedef struct sums_job {
    const float *x, *dy; /* transformed */
    float *sums;         /* of one panel: [place][depth][vectors] */
    int64_t depth, dy_line, channels, count;
} sums_job;

INLINE void sums_tile(const int rows, const int vectors, const sums_job *job, const float *x,
                      const float *dy, float *sums)
{
    vec sum[NARROW_ROWS][2];
    EACH sum[r][v] = load(sums + (r * vectors + v) * LANES);
    for (int64_t t = job->count; t > 0; t--, x += LANES, dy += job->dy_line) {
        vec gradient[2];
        EACH_VECTOR gradient[v] = load(dy + v * LANES);
        EACH sum[r][v] += gradient[v] * x[r / LANES * GRADIENT_TILES * LANES + r % LANES];
    }
    EACH store(sums + (r * vectors + v) * LANES, sum[r][v]);
}

#define SUMS(name, rows, vectors)                                                                  \
    static __attribute__((noinline)) void name(const sums_job *job)                                \
    {                                                                                              \
        for (int place = 0; place < PLACES; place++)                                               \
            for (int64_t c = 0; c < job->channels; c += rows)                                      \
                sums_tile(rows, vectors, job,                                                      \
                          job->x + place * place_stride(GRADIENT_TILES, job->depth) +              \
                              c / LANES * GRADIENT_TILES * LANES + c % LANES,                      \
                          job->dy + place * place_stride(GRADIENT_TILES, job->dy_line),            \
                          job->sums + (place * job->depth + c) * (vectors)*LANES);                 \
    }
SUMS(sums_1, NARROW_ROWS, 1)
SUMS(sums_2, WIDE_ROWS, 2)

/* Sums of a panel of `width` columns back to taps, which are added to dw. */
static void add_taps(int64_t channels, int64_t width, const float *sums, float *dw)
{
    const int64_t stride = channels * width, from = padded(channels) * width;
    for (int64_t at = 0; at < stride; at += LANES) {
        vec columns[4][3];
        EACH_OF (j, 4) {
            vec s[4];
            EACH_OF (i, 4)
                s[i] = load(sums + (i * 4 + j) * from + at);
            transform_sums(s, columns[j]);
        }
        EACH_OF (i, 3) {
            const vec s[4] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
            vec out[3];
            transform_sums(s, out);
            EACH_OF (j, 3) {
                float *to = dw + (i * 3 + j) * stride + at;
                store(to, load(to) + out[j]);
            }
        }
    }
}

static void winograd_backward_weight(const nmi_tiles *tiles, const float *dy, int64_t columns,
                                     float *dw_packed, float *work)
{
    const int64_t depth = padded(tiles->channels), lines = padded(columns);
    const int64_t total = tile_count(tiles);
    float *x = work;
    float *gradients = x + PLACES * place_stride(GRADIENT_TILES, depth);
    float *sums = gradients + PLACES * place_stride(GRADIENT_TILES, lines);
    tile_cursor at = {0, 0, 0};
    memset(sums, 0, (size_t)(PLACES * depth * lines) * sizeof *sums);
    for (int64_t first = 0; first < total; first += GRADIENT_TILES) {
        const int64_t count = total - first < GRADIENT_TILES ? total - first : GRADIENT_TILES;
        gradient_block(tiles, at, count, dy, tiles->width * columns, columns, gradients);
        input_block(tiles, &at, count, GRADIENT_TILES, x);
        for (int64_t column = 0; column < columns; column += PANEL) {
            const sums_job job = {x,
                                  gradients + column,
                                  sums + column * PLACES * depth,
                                  depth,
                                  lines,
                                  tiles->channels,
                                  count};
            (columns - column > LANES ? sums_2 : sums_1)(&job);
        }
    }
    for (int64_t column = 0; column < columns; column += PANEL)
        add_taps(tiles->channels, columns - column > LANES ? PANEL : LANES,
                 sums + column * PLACES * depth, dw_packed + column * TAPS * tiles->channels);
}
