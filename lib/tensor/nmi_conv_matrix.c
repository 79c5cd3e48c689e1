/* SPDX-License-Identifier: MIT */
/*
 * Convolution in bf16 by the kernels' matrix tiles (nmi_matrix_kernels), forward and for the
 * gradient of the input, which is a convolution of dy for each of its s * s phases, as in
 * nmi_conv_direct.c. Some images at a time, a group, are rounded into planes (nmi_conv_planes.h).
 * There, the `taps` of a line and their channels are one run of numbers, the segment, which is
 * filled up to whole tiles with weights of zero. So what is not finite spreads to outputs a few
 * columns further than by definition. Where channels would leave tiles nearly empty, along the sum
 * or across the columns, further taps take their place.
 */
#include "nmi_conv_planes.h"

#include <string.h>

/* Numbers of a group, whose planes are to stay in the first-level cache. */
enum { GROUP_NUMBERS = 24 << 10 };

/* --- strips ------------------------------------------------------------------------------- */

/*
 * How the channels of a position lie. Most of them from one position to the next in whole halves of
 * a line of the cache, or tiles would load several times as slowly. Few channels behind them, which
 * would leave steps nearly empty, lie densely, and very few as windows, in which the lines of a
 * position's taps follow one another.
 */
typedef struct layout {
    int64_t most, position; /* floats */
    int64_t few, step;      /* of few channels: numbers from one position to the next, */
    int64_t lines, run;     /* lines of taps that lie together, numbers of one, */
    int64_t pitch;          /* and floats between positions */
} layout;

enum { STEP = 2 * NMI_TILE_SIDE }; /* numbers of a step */

static int64_t steps_for(int64_t numbers)
{
    return (numbers + STEP - 1) / STEP;
}

/* Steps of few channels, line by line. */
static int64_t dense_steps(int64_t reach, int64_t few)
{
    return reach * steps_for(reach * nmi_whole(few, 2));
}

/* Whether all taps of so many channels take less than half of these steps. */
static bool very_few(int64_t reach, int64_t few)
{
    return 2 * steps_for(reach * reach * few) < dense_steps(reach, few);
}

static layout layout_of(int64_t reach, int64_t channels)
{
    const int64_t left = channels % NMI_TILE_SIDE, whole = channels - left;
    const bool split = reach * steps_for(reach * whole) + dense_steps(reach, left) <
                       reach * steps_for(reach * nmi_whole(channels, NMI_TILE_SIDE));
    const bool windows = split && very_few(reach, left);
    layout l = {.few = split ? left : 0, .lines = windows ? reach : 1};
    l.most = channels - l.few;
    l.position = nmi_whole(l.most, NMI_TILE_SIDE) / 2;
    l.step = windows ? l.few : nmi_whole(l.few, 2);
    l.run = reach * l.step;
    l.pitch = windows ? nmi_whole(reach * l.run, NMI_TILE_SIDE) / 2 : l.step / 2;
    return l;
}

/* Columns whose weights are packed alike. Behind whole tiles of outputs, very few are several
 * columns each: a segment is a single pixel there, and its taps are columns. */
typedef struct band {
    int64_t first, columns, taps; /* taps: columns of an output */
} band;

enum { BANDS = 2 };

/* Columns of the last band. */
static int64_t last_columns(int64_t reach, int64_t columns)
{
    const int64_t left = columns % NMI_TILE_SIDE;
    return very_few(reach, left) && left * reach <= NMI_TILE_SIDE ? left : 0;
}

static band band_of(const nmi_segments *s, int number)
{
    const int64_t last = last_columns(s->reach, s->columns);
    if (number == 0)
        return (band){0, s->columns - last, 1};
    return (band){s->columns - last, last, s->reach};
}

/* Steps of 16 pairs that a segment of most channels takes. */
static int64_t segment_steps(const nmi_segments *s, const layout *l, const band *b)
{
    const int64_t taps = b->taps > 1 ? nmi_smaller(s->taps, 1) : s->taps;
    return (taps * l->position + NMI_TILE_SIDE - 1) / NMI_TILE_SIDE;
}

/* Parts of the sum over few channels, a line of taps or a window, and the steps of each. */
static int64_t few_parts(const nmi_segments *s, const layout *l)
{
    return l->lines > 1 ? nmi_smaller(s->lines, 1) : s->lines;
}

static int64_t few_steps(const layout *l)
{
    return steps_for(l->lines * l->run);
}

static int64_t steps_of(const nmi_segments *s, const band *b)
{
    const layout l = layout_of(s->reach, s->channels);
    return s->lines * segment_steps(s, &l, b) + few_parts(s, &l) * few_steps(&l);
}

/* Places in the workspace, in floats: tables of steps, sums of bands with taps, then planes, of
 * which each has its pixels of most channels, those of few, and their windows. */
typedef struct strip_room {
    layout layout;
    int64_t items, planes;
    int64_t sums, first;                 /* of the sums; of the planes */
    int64_t table, few, windows, floats; /* of a table; in a plane; of all of it */
} strip_room;

/* At most: no segment has more than `kernel` taps, and lines have one for each phase. */
static int64_t table_floats(const nmi_conv_shape *s, const layout *l)
{
    const int64_t steps = s->kernel * nmi_conv_phases(s) *
                          (s->kernel * l->position / NMI_TILE_SIDE + 1 + few_steps(l));
    return nmi_whole(steps * (int64_t)(sizeof(nmi_strip_step) / sizeof(float)), NMI_TILE_SIDE);
}

static strip_room strip_room_of(const nmi_conv_shape *s, const nmi_plane *p, int64_t planes,
                                int64_t columns)
{
    const int64_t reach = nmi_conv_reach(s);
    const layout l = layout_of(reach, p->channels);
    strip_room r = {.layout = l, .planes = planes, .table = table_floats(s, &l)};
    r.items = nmi_plane_items(p, GROUP_NUMBERS, planes * (2 * (l.position + l.pitch)));
    /* Behind the last line: the window's lines, the rest of a tile, and of a step. */
    const int64_t positions =
        (r.items * p->y.pitch + s->kernel) * p->x.pitch + s->kernel + NMI_TILE_SIDE;
    r.sums = BANDS * r.table;
    r.first = r.sums + (last_columns(reach, columns) > 0 ? positions * NMI_TILE_SIDE : 0);
    r.few = nmi_whole(positions * l.position + NMI_TILE_SIDE, NMI_TILE_SIDE);
    r.windows = r.few + nmi_whole(positions * l.step / 2 + 2 * NMI_TILE_SIDE, NMI_TILE_SIDE);
    r.floats = r.windows + (l.lines > 1 ? positions * l.pitch + NMI_TILE_SIDE : 0);
    return r;
}

static int64_t room_floats(const strip_room *r)
{
    return r->first + r->planes * r->floats;
}

/* Rounds a line of an image, most channels and few. */
static void round_pixels(const nmi_kernels *kernels, const nmi_plane *p, const layout *l,
                         int64_t position, const float *x, uint16_t *most, uint16_t *few)
{
    const int64_t step = p->x.step * p->channels;
    if (l->most > 0)
        kernels->matrix->round_pixels(p->x.count, l->most, x, step,
                                      most + 2 * position * l->position, 2 * l->position);
    if (l->few > 0)
        kernels->matrix->round_pixels(p->x.count, l->few, x + l->most, step,
                                      few + position * l->step, l->step);
}

/* Rounds `items` images to a plane, whose zeros are there. */
static void fill_plane(const nmi_kernels *kernels, const nmi_plane *p, const strip_room *r,
                       int64_t items, const float *x, float *to)
{
    const layout *l = &r->layout;
    const int64_t line = p->width * p->channels;
    uint16_t *few = (void *)(to + r->few);
    for (int64_t i = 0; i < items; i++)
        for (int64_t n = 0; n < p->y.count && p->x.count > 0; n++)
            round_pixels(
                kernels, p, l, i * nmi_plane_pitch(p) + (p->y.first + n) * p->x.pitch + p->x.first,
                x + (i * p->height + p->y.start + n * p->y.step) * line + p->x.start * p->channels,
                (void *)to, few);
    if (l->lines == 1)
        return;
    const nmi_strip_windows windows = {.lines = l->lines,
                                       .run = l->run,
                                       .pitch = p->x.pitch * l->step,
                                       .from_step = l->step,
                                       .to_step = 2 * l->pitch};
    /* Phases of few taps look a line and a pixel further. */
    kernels->matrix->copy_windows(&windows, items * nmi_plane_pitch(p) + p->x.pitch + 1, few,
                                  (void *)(to + r->windows));
}

/* --- weights ------------------------------------------------------------------------------ */

/* What the sum of a position and a line of taps multiplies with: a tap of a channel, or nothing. */
static const float *weight_at(const nmi_segments *s, const float *w, int64_t line, int64_t tap,
                              int64_t channel)
{
    if (line >= s->lines || tap >= s->taps)
        return NULL;
    return w + line * s->line_stride + tap * s->tap_stride + channel * s->channel_stride;
}

/* Pairs of weights for some columns; those that are not there are zero. */
static void pack_pairs(const nmi_segments *s, const float *first, const float *second,
                       int64_t columns, float *packed)
{
    for (int64_t n = 0; n < columns; n++) {
        const int64_t at = n * s->column_stride;
        packed[n] = nmi_pair(first != NULL ? first[at] : 0.0f, second != NULL ? second[at] : 0.0f);
    }
}

/* Line of a packed tile: pair `pair` of a line's segment, for up to 16 columns. */
static void pack_segment_line(const nmi_segments *s, const layout *l, const band *b, int64_t line,
                              int64_t pair, int64_t columns, const float *w, float *packed)
{
    const int64_t tap = pair / l->position, channel = pair % l->position * 2;
    if (channel >= l->most || (b->taps > 1 && tap > 0))
        return;
    for (int64_t n = 0; n < b->taps; n++) {
        const float *first = weight_at(s, w, line, tap + n, channel);
        const bool both = first != NULL && channel + 1 < l->most;
        pack_pairs(s, first, both ? first + s->channel_stride : NULL, columns,
                   packed + n * columns);
    }
}

/* The same of few channels: pair `pair` of the lines from `line` on, whose sums are whole. */
static void pack_few_line(const nmi_segments *s, const layout *l, int64_t line, int64_t pair,
                          int64_t columns, const float *w, float *packed)
{
    const float *from[2];
    for (int64_t i = 0; i < 2; i++) {
        const int64_t number = 2 * pair + i, channel = number % l->step;
        const bool present = number < l->lines * l->run && channel < l->few;
        from[i] = present ? weight_at(s, w, line + number / l->run, number % l->run / l->step,
                                      l->most + channel)
                          : NULL;
    }
    pack_pairs(s, from[0], from[1], columns, packed);
}

/* Packs the segments of a phase from step `step` on, of `steps` in all. */
static void pack_segments(const nmi_segments *s, const band *b, const float *w, int64_t step,
                          int64_t steps, float *packed)
{
    const layout l = layout_of(s->reach, s->channels);
    const int64_t pairs = segment_steps(s, &l, b) * NMI_TILE_SIDE;
    w += b->first * s->column_stride;
    packed += step * NMI_TILE_FLOATS;
    for (int64_t first = 0; first < b->columns; first += NMI_TILE_SIDE) {
        const int64_t columns = nmi_smaller(b->columns - first, NMI_TILE_SIDE);
        const float *from = w + first * s->column_stride;
        float *to = packed;
        memset(to, 0, (size_t)(steps_of(s, b) * NMI_TILE_FLOATS) * sizeof *to);
        for (int64_t line = 0; line < s->lines; line++)
            for (int64_t pair = 0; pair < pairs; pair++, to += NMI_TILE_SIDE)
                pack_segment_line(s, &l, b, line, pair, columns, from, to);
        for (int64_t line = 0; line < few_parts(s, &l); line++)
            for (int64_t pair = 0; pair < few_steps(&l) * NMI_TILE_SIDE;
                 pair++, to += NMI_TILE_SIDE)
                pack_few_line(s, &l, line, pair, columns, from, to);
        packed += steps * NMI_TILE_FLOATS;
    }
}

static int64_t band_floats(const band *b, int64_t steps)
{
    return nmi_whole(b->columns * b->taps, NMI_TILE_SIDE) * NMI_TILE_SIDE * steps;
}

/* Of a phase, all bands. */
static int64_t segments_floats(const nmi_segments *s)
{
    int64_t floats = 0;
    for (int n = 0; n < BANDS; n++) {
        const band b = band_of(s, n);
        floats += band_floats(&b, steps_of(s, &b));
    }
    return floats;
}

/* Those of a phase of the input, backwards, since dy is read forwards. */
static nmi_segments backward_segments(const nmi_conv_shape *s, const nmi_conv_phase *y,
                                      const nmi_conv_phase *x)
{
    const int64_t k = s->kernel;
    return (nmi_segments){.lines = y->taps,
                          .taps = x->taps,
                          .channels = s->out_channels,
                          .columns = s->in_channels,
                          .reach = nmi_conv_reach(s),
                          .line_stride = -s->stride * k,
                          .tap_stride = -s->stride,
                          .channel_stride = s->in_channels * k * k,
                          .column_stride = k * k};
}

/* Of all phases; they have the same bands. */
static int64_t forward_steps(const nmi_conv_shape *shape, const band *b)
{
    const int64_t phases = nmi_conv_phases(shape);
    int64_t steps = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        steps += steps_of(&s, b);
    }
    return steps;
}

size_t nmi_conv_matrix_packed_floats(const nmi_conv_shape *shape)
{
    const int64_t phases = nmi_conv_phases(shape);
    int64_t floats = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        floats += segments_floats(&s);
    }
    return (size_t)floats;
}

static void pack_band(const nmi_conv_shape *shape, const band *b, const float *oihw, float *packed)
{
    const int64_t phases = nmi_conv_phases(shape), steps = forward_steps(shape, b);
    int64_t step = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        pack_segments(&s, b, oihw + n / phases * shape->kernel + n % phases, step, steps, packed);
        step += steps_of(&s, b);
    }
}

void nmi_conv_matrix_pack(const nmi_conv_shape *shape, const float *oihw, float *packed)
{
    const nmi_segments s = nmi_segments_of(shape, 0, 0);
    for (int n = 0; n < BANDS; n++) {
        const band b = band_of(&s, n);
        pack_band(shape, &b, oihw, packed);
        packed += band_floats(&b, forward_steps(shape, &b));
    }
}

/* A phase of the input's gradient: false if there is none of its pixels. */
static bool backward_phase(const nmi_conv_shape *s, int64_t line, int64_t column, nmi_conv_phase *y,
                           nmi_conv_phase *x)
{
    *y = nmi_conv_phase_of(s, line, s->in_height);
    *x = nmi_conv_phase_of(s, column, s->in_width);
    if (y->taps == 0 || x->taps == 0)
        y->taps = x->taps = 0;
    return y->pixels > 0 && x->pixels > 0;
}

size_t nmi_conv_matrix_packed_transposed_floats(const nmi_conv_shape *shape)
{
    const int64_t phases = nmi_conv_phases(shape); /* others have no taps */
    int64_t floats = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        nmi_conv_phase y, x;
        backward_phase(shape, n / phases, n % phases, &y, &x);
        const nmi_segments s = backward_segments(shape, &y, &x);
        floats += segments_floats(&s);
    }
    return (size_t)floats;
}

void nmi_conv_matrix_pack_transposed(const nmi_conv_shape *shape, const float *oihw, float *packed)
{
    const int64_t k = shape->kernel, stride = shape->stride, phases = nmi_conv_phases(shape);
    for (int64_t n = 0; n < phases * phases; n++) {
        nmi_conv_phase y, x;
        backward_phase(shape, n / phases, n % phases, &y, &x);
        const nmi_segments s = backward_segments(shape, &y, &x);
        const int64_t line = y.first + (y.taps - 1) * stride, tap = x.first + (x.taps - 1) * stride;
        for (int i = 0; i < BANDS; i++) {
            const band b = band_of(&s, i);
            const int64_t steps = steps_of(&s, &b);
            pack_segments(&s, &b, oihw + line * k + tap, 0, steps, packed);
            packed += band_floats(&b, steps);
        }
    }
}

/* --- forward and input gradient ----------------------------------------------------------- */

/* Writes a band's steps of segments whose first lies `at` positions on in the plane at `floats`;
 * returns their number. */
static int64_t write_steps(const nmi_segments *s, const strip_room *r, const band *b,
                           int64_t floats, int64_t at, int64_t pitch, nmi_strip_step *table)
{
    const layout *l = &r->layout;
    for (int64_t line = 0; line < s->lines; line++)
        for (int64_t i = 0; i < segment_steps(s, l, b); i++)
            *table++ = (nmi_strip_step){
                floats + (at + line * pitch) * l->position + i * NMI_TILE_SIDE, l->position};
    floats += l->lines > 1 ? r->windows : r->few;
    for (int64_t line = 0; line < few_parts(s, l); line++)
        for (int64_t i = 0; i < few_steps(l); i++)
            *table++ = (nmi_strip_step){floats + (at + line * pitch) * l->pitch + i * NMI_TILE_SIDE,
                                        l->pitch};
    return steps_of(s, b);
}

/* Adds them to a strip. */
static void add_steps(const nmi_segments *s, const strip_room *r, int64_t floats, int64_t at,
                      nmi_strip *strip, float *workspace)
{
    const band whole = band_of(s, 0), spread = band_of(s, 1);
    nmi_strip_step *table = (void *)workspace, *behind = (void *)(workspace + r->table);
    strip->step_count +=
        write_steps(s, r, &whole, floats, at, strip->line_pitch, table + strip->step_count);
    strip->spread.step_count += write_steps(s, r, &spread, floats, at, strip->line_pitch,
                                            behind + strip->spread.step_count);
    strip->spread.columns = spread.columns;
    strip->spread.taps = spread.taps;
}

/* Without steps. */
static nmi_strip strip_of(const nmi_plane *p, const strip_room *r, int64_t items, int64_t lines,
                          int64_t columns, float *workspace)
{
    return (nmi_strip){
        .pairs = workspace + r->first,
        .steps = (const void *)workspace,
        .spread = {.steps = (const void *)(workspace + r->table), .sums = workspace + r->sums},
        .items = items,
        .lines = lines,
        .columns = columns,
        .item_pitch = nmi_plane_pitch(p),
        .line_pitch = p->x.pitch};
}

static strip_room forward_room(const nmi_conv_shape *s, const nmi_plane *p)
{
    return strip_room_of(s, p, nmi_conv_phases(s) * nmi_conv_phases(s), s->out_channels);
}

static strip_room backward_room(const nmi_conv_shape *s, const nmi_plane *p)
{
    return strip_room_of(s, p, 1, s->in_channels);
}

void nmi_conv_matrix_forward(const nmi_kernels *kernels, const nmi_conv_shape *shape, int64_t items,
                             const float *x, const float *packed, const nmi_epilogue *epilogue,
                             float *y, float *workspace)
{
    const int64_t phases = nmi_conv_phases(shape);
    const nmi_plane p = nmi_plane_of_input(shape, 0, 0);
    const strip_room r = forward_room(shape, &p);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t line = shape->out_width * shape->out_channels, out = shape->out_height * line;
    float *planes = workspace + r.first;
    memset(planes, 0, (size_t)(r.planes * r.floats) * sizeof *planes);
    for (int64_t i = 0; i < items; i += r.items) {
        const nmi_epilogue moved = nmi_epilogue_moved(epilogue, i * out, 0);
        const int64_t present = nmi_smaller(items - i, r.items);
        nmi_strip strip = strip_of(&p, &r, present, shape->out_height, shape->out_width, workspace);
        for (int64_t n = 0; n < r.planes; n++) {
            const nmi_plane part = nmi_plane_of_input(shape, n / phases, n % phases);
            const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
            fill_plane(kernels, &part, &r, present, x + i * in, planes + n * r.floats);
            add_steps(&s, &r, n * r.floats, 0, &strip, workspace);
        }
        kernels->matrix->products(&strip, packed, shape->out_channels, &moved, y + i * out, out,
                                  line, shape->out_channels);
    }
}

/* dx of a group, one phase after another. */
static void input_gradient(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                           const nmi_plane *p, const strip_room *r, int64_t items,
                           const float *packed, bool accumulate, float *dx, float *workspace)
{
    const int64_t line = shape->in_width * shape->in_channels, stride = shape->stride;
    for (int64_t n = 0; n < stride * stride; n++) {
        nmi_conv_phase y, x;
        const bool present = backward_phase(shape, n / stride, n % stride, &y, &x);
        const nmi_segments s = backward_segments(shape, &y, &x);
        /* Of dy, the first pixel sees lines up to (start + padding - first) / s. */
        const int64_t top = (y.start + shape->padding - y.first) / stride - y.taps + 1;
        const int64_t left = (x.start + shape->padding - x.first) / stride - x.taps + 1;
        float *to = dx + y.start * line + x.start * shape->in_channels;
        nmi_epilogue epilogue = NMI_EPILOGUE_NONE;
        nmi_strip strip = strip_of(p, r, items, y.pixels, x.pixels, workspace);
        if (accumulate)
            epilogue.residual = to;
        add_steps(&s, r, 0, (top + p->y.first) * p->x.pitch + left + p->x.first, &strip, workspace);
        if (present)
            kernels->matrix->products(&strip, packed, shape->in_channels, &epilogue, to,
                                      shape->in_height * line, stride * line,
                                      stride * shape->in_channels);
        packed += segments_floats(&s);
    }
}

void nmi_conv_matrix_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace)
{
    const nmi_plane p = nmi_plane_of_output(shape);
    const strip_room r = backward_room(shape, &p);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t out = shape->out_height * shape->out_width * shape->out_channels;
    float *plane = workspace + r.first;
    memset(plane, 0, (size_t)r.floats * sizeof *plane);
    for (int64_t i = 0; i < items; i += r.items) {
        const int64_t present = nmi_smaller(items - i, r.items);
        fill_plane(kernels, &p, &r, present, dy + i * out, plane);
        input_gradient(kernels, shape, &p, &r, present, packed_transposed, accumulate, dx + i * in,
                       workspace);
    }
}

size_t nmi_conv_matrix_workspace_floats(const nmi_conv_shape *shape)
{
    const nmi_plane in = nmi_plane_of_input(shape, 0, 0), out = nmi_plane_of_output(shape);
    const strip_room forward = forward_room(shape, &in), backward = backward_room(shape, &out);
    const int64_t strips = nmi_larger(room_floats(&forward), room_floats(&backward));
    return (size_t)nmi_larger(strips, (int64_t)nmi_conv_matrix_weight_workspace_floats(shape));
}
