/* SPDX-License-Identifier: MIT */
/*
 * The weight gradient of a convolution in bf16 by the kernels' matrix tiles. It sums over positions
 * (nmi_conv_planes.h), so tiles must hold 16 channels of 32 positions: x is transposed, each
 * channel a line of numbers, and dy laid out in pairs of positions, in which a tap is a distance.
 * Tiles whose lines cross lines of the cache would load several times as slowly; hence it is dy
 * that is moved, in two copies, for even distances and odd ones.
 */
#include "nmi_conv_planes.h"

#include <string.h>

/* Numbers of a group, whose operands are to stay in the second-level cache. */
enum { GROUP_NUMBERS = 80 << 10 };

/* Columns behind the last whole tile that are laid out as windows: so few that this takes less than
 * half of the tiles. */
static int64_t few_columns(int64_t reach, int64_t columns)
{
    const int64_t left = columns % NMI_TILE_SIDE, taps = reach * reach;
    return 2 * nmi_whole(taps * left, NMI_TILE_SIDE) < taps * NMI_TILE_SIDE ? left : 0;
}

/*
 * Places in the workspace, in floats: column tiles, one pixel of zeros, channels of x, and dy in
 * pairs. These are (0, 1), (2, 3), ..., for taps an odd distance off (-1, 0), (1, 2), ..., and for
 * few channels windows of (0, 1), (2, 3), ..., copied from pairs of all neighbours.
 */
typedef struct sums_room {
    int64_t items, phases, reach;
    int64_t most, few;
    int64_t line, run, window; /* floats of a line of pairs; of a window's line, and a window */
    int64_t positions;         /* whole steps */
    int64_t before;            /* positions of zeros before those of dy, a window or more */
    int64_t plane;             /* numbers of a channel's line */
    int64_t zeros, x, dy, odd, pixels, pairs, windows, end;
} sums_room;

static sums_room sums_room_of(const nmi_conv_shape *s, const nmi_plane *p)
{
    const int64_t reach = nmi_conv_reach(s), few = few_columns(reach, s->out_channels);
    sums_room r = {.phases = nmi_conv_phases(s),
                   .reach = reach,
                   .most = s->out_channels - few,
                   .few = few,
                   .run = reach * few};
    r.line = nmi_whole(r.most, NMI_TILE_SIDE);
    r.window = nmi_whole(reach * r.run, NMI_TILE_SIDE);
    const int64_t planes = r.phases * r.phases * s->in_channels;
    r.items = nmi_plane_items(p, GROUP_NUMBERS, nmi_larger(planes, r.line + r.window));
    r.positions = nmi_whole(r.items * nmi_plane_pitch(p), NMI_STRIP_PIXELS);
    r.before = nmi_whole((reach - 1) * (p->x.pitch + 1), NMI_STRIP_PIXELS);
    r.plane = r.positions;
    if (r.plane % (2 * NMI_STRIP_PIXELS) == 0)
        r.plane += NMI_STRIP_PIXELS; /* lines of a tile in different lines of the cache */
    const int64_t tiles = (s->kernel * s->kernel * r.line + r.window) / NMI_TILE_SIDE;
    r.zeros =
        nmi_whole(tiles * (int64_t)(sizeof(nmi_strip_columns) / sizeof(float)), NMI_TILE_SIDE);
    r.x = r.zeros + nmi_whole(nmi_larger(s->in_channels, s->out_channels), NMI_TILE_SIDE);
    /* The last tile may look beyond its channels. */
    r.dy = r.x + (planes + NMI_TILE_SIDE) * r.plane / 2;
    r.odd = r.dy + (r.before + r.positions) / 2 * r.line;
    r.pixels = reach > 1 ? 2 * r.odd - r.dy : r.odd;
    const int64_t slack = 2 * NMI_TILE_SIDE, numbers = (r.before + r.positions) * few;
    r.pairs = r.pixels + nmi_whole(numbers / 2, NMI_TILE_SIDE) + slack;
    r.windows = r.pairs + nmi_whole(numbers, NMI_TILE_SIDE) + slack;
    r.end = few > 0 ? r.windows + r.positions / 2 * r.window + slack : r.pixels;
    return r;
}

/* Steps through the positions of `items` images. */
typedef struct walk {
    const nmi_plane *plane;
    const float *x, *zeros, *line_x; /* line_x: first pixel of the line, NULL where there is none */
    int64_t items, item, line, column;
} walk;

static void enter_line(walk *w)
{
    const nmi_plane_axis *y = &w->plane->y, *x = &w->plane->x;
    const int64_t line = w->line - y->first;
    w->column = 0;
    w->line_x = NULL;
    if (w->item < w->items && line >= 0 && line < y->count)
        w->line_x =
            w->x + ((w->item * w->plane->height + y->start + line * y->step) * w->plane->width +
                    x->start) *
                       w->plane->channels;
}

static void next_line(walk *w)
{
    if (++w->line == w->plane->y.pitch) {
        w->line = 0;
        w->item++;
    }
    enter_line(w);
}

/* `count` pointers from `pixel` on, `step` apart. */
static int64_t point_to(const float **pixels, int64_t count, const float *pixel, int64_t step)
{
    for (int64_t i = 0; i < count; i++)
        pixels[i] = pixel + i * step;
    return count;
}

/* The pixels at the next positions, zeros where there are none. */
static void take_pixels(walk *w, const float **pixels)
{
    const nmi_plane_axis *x = &w->plane->x;
    const int64_t step = x->step * w->plane->channels;
    for (int64_t i = 0; i < NMI_STRIP_PIXELS;) {
        const int64_t column = w->column, begin = w->line_x != NULL ? x->first : x->pitch;
        const int64_t end = x->first + x->count, room = NMI_STRIP_PIXELS - i;
        if (column < begin)
            w->column += point_to(pixels + i, nmi_smaller(begin - column, room), w->zeros, 0);
        else if (column < end)
            w->column += point_to(pixels + i, nmi_smaller(end - column, room),
                                  w->line_x + (column - begin) * step, step);
        else
            w->column += point_to(pixels + i, nmi_smaller(x->pitch - column, room), w->zeros, 0);
        i += w->column - column;
        if (w->column == x->pitch)
            next_line(w);
    }
}

static walk walk_of(const nmi_plane *p, const float *x, int64_t items, const float *zeros)
{
    walk w = {.plane = p, .x = x, .zeros = zeros, .items = items};
    enter_line(&w);
    return w;
}

/* x of a group, transposed. */
static void transpose_group(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                            const sums_room *r, int64_t items, int64_t positions, const float *x,
                            float *workspace)
{
    uint16_t *to = (void *)(workspace + r->x);
    for (int64_t n = 0; n < r->phases * r->phases; n++, to += shape->in_channels * r->plane) {
        const nmi_plane p = nmi_plane_of_input(shape, n / r->phases, n % r->phases);
        walk w = walk_of(&p, x, items, workspace + r->zeros);
        for (int64_t at = 0; at < positions; at += NMI_STRIP_PIXELS) {
            const float *pixels[NMI_STRIP_PIXELS];
            take_pixels(&w, pixels);
            kernels->matrix->transpose_pixels(pixels, shape->in_channels, r->plane, to + at);
        }
    }
}

/* Most channels of dy of a group, behind the zeros. */
static void pair_group(const nmi_kernels *kernels, const nmi_plane *p, const sums_room *r,
                       int64_t items, int64_t positions, const float *dy, float *workspace)
{
    walk w = walk_of(p, dy, items, workspace + r->zeros);
    for (int64_t at = 0; at < positions; at += NMI_STRIP_PIXELS) {
        const float *pixels[NMI_STRIP_PIXELS];
        const int64_t line = (r->before + at) / 2 * r->line;
        take_pixels(&w, pixels);
        kernels->matrix->pair_pixels(pixels, r->most, r->line, workspace + r->dy + line,
                                     r->odd < r->pixels ? workspace + r->odd + line : NULL);
    }
}

/* Few channels of dy of a group: its positions from `before` on. */
static void window_group(const nmi_kernels *kernels, const nmi_plane *p, const sums_room *r,
                         int64_t items, int64_t positions, const float *dy, float *workspace)
{
    const int64_t line = p->width * p->channels, numbers = (r->before + positions) * r->few;
    const int64_t first = r->before - (r->reach - 1) * (p->x.pitch + 1);
    uint16_t *pixels = (void *)(workspace + r->pixels);
    float *pairs = workspace + r->pairs;
    const nmi_strip_windows windows = {.lines = r->reach,
                                       .run = 2 * r->run,
                                       .pitch = 2 * p->x.pitch * r->few,
                                       .from_step = 4 * r->few,
                                       .to_step = 2 * r->window};
    memset(pixels, 0, (size_t)(numbers + r->few) * sizeof *pixels);
    for (int64_t i = 0; i < items; i++)
        for (int64_t l = 0; l < p->y.count; l++)
            kernels->matrix->round_pixels(
                p->x.count, r->few, dy + (i * p->height + l) * line + r->most, p->channels,
                pixels + (r->before + i * nmi_plane_pitch(p) + l * p->x.pitch) * r->few, r->few);
    kernels->interleave(numbers, (void *)pixels, (void *)(pixels + r->few), pairs);
    kernels->matrix->copy_windows(&windows, positions / 2, (void *)(pairs + first * r->few),
                                  (void *)(workspace + r->windows));
}

/* Where the column tiles of a phase begin: those of dy a tap's distance before its x, by tap, then
 * channel, and those of windows. Returns their number. */
static int64_t fill_columns(const sums_room *r, const nmi_segments *s, int64_t pitch,
                            nmi_strip_columns *columns)
{
    int64_t count = 0;
    for (int64_t tap = 0; tap < s->lines * s->taps; tap++) {
        const int64_t from = r->before - (tap / s->taps * pitch + tap % s->taps);
        const int64_t at = from % 2 == 0 ? 0 : r->odd - r->dy;
        for (int64_t n = 0; n < r->line; n += NMI_TILE_SIDE)
            columns[count++] = (nmi_strip_columns){at + (from + 1) / 2 * r->line + n, r->line};
    }
    for (int64_t n = 0; n < r->window; n += NMI_TILE_SIDE)
        columns[count++] = (nmi_strip_columns){r->windows - r->dy + n, r->window};
    return count;
}

/* Line tiles are equally high: a product takes the less time the fewer lines it has. */
static int64_t line_tiles(int64_t channels)
{
    return (channels + NMI_TILE_SIDE - 1) / NMI_TILE_SIDE;
}

static int64_t line_height(int64_t channels)
{
    return (channels + line_tiles(channels) - 1) / line_tiles(channels);
}

/* The products of a group, one phase of x after another. */
static void sum_group(const nmi_kernels *kernels, const nmi_conv_shape *shape, const sums_room *r,
                      int64_t pitch, int64_t positions, float *dw, float *workspace)
{
    nmi_strip_sums sums = {.planes = (const void *)(workspace + r->x),
                           .plane = r->plane,
                           .height = line_height(shape->in_channels),
                           .line_tiles = line_tiles(shape->in_channels),
                           .pairs = workspace + r->dy,
                           .columns = (const void *)workspace,
                           .steps = positions / NMI_STRIP_PIXELS};
    for (int64_t n = 0; n < r->phases * r->phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / r->phases, n % r->phases);
        sums.column_tiles = fill_columns(r, &s, pitch, (void *)workspace);
        kernels->matrix->gradient(&sums, dw);
        dw += sums.line_tiles * sums.column_tiles * NMI_TILE_FLOATS;
        sums.planes += shape->in_channels * r->plane;
    }
}

void nmi_conv_matrix_backward_weight(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                     int64_t items, const float *x, const float *dy, float *dw,
                                     float *workspace)
{
    const nmi_plane p = nmi_plane_of_gradient(shape);
    const sums_room r = sums_room_of(shape, &p);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t out = shape->out_height * shape->out_width * shape->out_channels;
    const size_t before = (size_t)(r.before / 2 * r.line) * sizeof *workspace;
    memset(workspace + r.zeros, 0, (size_t)(r.x - r.zeros) * sizeof *workspace);
    memset(workspace + r.dy, 0, before);
    if (r.odd < r.pixels)
        memset(workspace + r.odd, 0, before);
    for (int64_t i = 0; i < items; i += r.items) {
        const int64_t present = nmi_smaller(items - i, r.items);
        const int64_t positions = nmi_whole(present * nmi_plane_pitch(&p), NMI_STRIP_PIXELS);
        transpose_group(kernels, shape, &r, present, positions, x + i * in, workspace);
        if (r.most > 0)
            pair_group(kernels, &p, &r, present, positions, dy + i * out, workspace);
        if (r.few > 0)
            window_group(kernels, &p, &r, present, positions, dy + i * out, workspace);
        sum_group(kernels, shape, &r, p.x.pitch, positions, dw, workspace);
    }
}

/* Of a phase. */
static int64_t gradient_floats(const nmi_segments *s)
{
    const int64_t few = few_columns(s->reach, s->columns);
    const int64_t line = nmi_whole(s->columns - few, NMI_TILE_SIDE);
    const int64_t window = nmi_whole(s->reach * s->reach * few, NMI_TILE_SIDE);
    return line_tiles(s->channels) * (s->lines * s->taps * line + window) * NMI_TILE_SIDE;
}

size_t nmi_conv_matrix_gradient_floats(const nmi_conv_shape *shape)
{
    const int64_t phases = nmi_conv_phases(shape);
    int64_t floats = 0;
    for (int64_t phase = 0; phase < phases * phases; phase++) {
        const nmi_segments s = nmi_segments_of(shape, phase / phases, phase % phases);
        floats += gradient_floats(&s);
    }
    return (size_t)floats;
}

/* Adds `columns` columns of a tile to a tap. */
static void unpack_columns(const nmi_segments *s, int64_t lines, int64_t columns, const float *dw,
                           float *w)
{
    for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < columns; j++)
            w[i * s->channel_stride + j * s->column_stride] += dw[i * NMI_TILE_SIDE + j];
}

/* The same of tiles of windows, of which there is a tap in every `few` columns, the last one first,
 * and whose taps are more than those of the phase. */
static void unpack_windows(const nmi_segments *s, int64_t few, int64_t lines, const float *dw,
                           float *w)
{
    for (int64_t n = 0; n < s->reach * s->reach * few; n++) {
        const int64_t line = s->reach - 1 - n / few / s->reach;
        const int64_t tap = s->reach - 1 - n / few % s->reach;
        if (line < s->lines && tap < s->taps)
            unpack_columns(
                s, lines, 1, dw + n / NMI_TILE_SIDE * NMI_TILE_FLOATS + n % NMI_TILE_SIDE,
                w + line * s->line_stride + tap * s->tap_stride + n % few * s->column_stride);
    }
}

/* A line tile of a phase. */
static void unpack_line(const nmi_segments *s, int64_t lines, const float *dw, float *w)
{
    const int64_t few = few_columns(s->reach, s->columns), most = s->columns - few;
    for (int64_t tap = 0; tap < s->lines * s->taps; tap++)
        for (int64_t n = 0; n < most; n += NMI_TILE_SIDE, dw += NMI_TILE_FLOATS)
            unpack_columns(s, lines, nmi_smaller(NMI_TILE_SIDE, most - n), dw,
                           w + tap / s->taps * s->line_stride + tap % s->taps * s->tap_stride +
                               n * s->column_stride);
    unpack_windows(s, few, lines, dw, w + most * s->column_stride);
}

void nmi_conv_matrix_unpack_gradient(const nmi_conv_shape *shape, const float *dw, float *oihw)
{
    const int64_t phases = nmi_conv_phases(shape), height = line_height(shape->in_channels);
    for (int64_t phase = 0; phase < phases * phases; phase++) {
        const nmi_segments s = nmi_segments_of(shape, phase / phases, phase % phases);
        float *first = oihw + phase / phases * shape->kernel + phase % phases;
        for (int64_t c = 0; c < s.channels; c += height) {
            unpack_line(&s, nmi_smaller(height, s.channels - c), dw, first + c * s.channel_stride);
            dw += gradient_floats(&s) / line_tiles(s.channels);
        }
    }
}

size_t nmi_conv_matrix_weight_workspace_floats(const nmi_conv_shape *shape)
{
    const nmi_plane p = nmi_plane_of_gradient(shape);
    return (size_t)sums_room_of(shape, &p).end;
}
