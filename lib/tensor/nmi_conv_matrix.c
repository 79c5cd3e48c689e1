/* SPDX-License-Identifier: MIT */
/*
 * Convolution in bf16 by the kernels' matrix tiles (nmi_matrix_kernels), forward and for the
 * gradient of the input, which is a convolution of dy for each of its s * s phases, as in
 * nmi_conv_direct.c. Some images at a time, a group, are rounded into planes (nmi_conv_planes.h).
 * There, the `taps` of a line and their channels are one run of numbers, the segment, which is
 * filled up to whole tiles with weights of zero. So what is not finite spreads to outputs a few
 * columns further than by definition.
 */
#include "nmi_conv_planes.h"

#include <string.h>

/* Numbers of a group, whose planes are to stay in the first-level cache. */
enum { GROUP_NUMBERS = 24 << 10 };

/* --- strips ------------------------------------------------------------------------------- */

/* Channels that lie together in a plane of their own. */
typedef struct share {
    int64_t first, channels, position; /* position: floats of one, pairs of channels */
} share;

enum { SHARES = 2 };

/* Positions are multiples of half a line of the cache, or tiles would load several times as slowly;
 * but up to eight channels that are left over lie densely, since they fill no step. */
static share share_of(int64_t channels, int number)
{
    const bool fill = channels % NMI_TILE_SIDE > NMI_TILE_SIDE / 2;
    const int64_t most = fill ? channels : channels - channels % NMI_TILE_SIDE;
    if (number == 0)
        return (share){0, most, nmi_whole(most, NMI_TILE_SIDE) / 2};
    return (share){most, channels - most, (channels - most + 1) / 2};
}

/* Places in the workspace, in floats: a table of steps, then planes, of which each has its shares.
 */
typedef struct strip_room {
    int64_t items, planes;
    int64_t table, share[SHARES], floats; /* of the table; of the shares of a plane; of all of it */
} strip_room;

/* Steps of 16 pairs that a segment of so many pixels takes. */
static int64_t segment_steps(int64_t taps, const share *s)
{
    return (taps * s->position + NMI_TILE_SIDE - 1) / NMI_TILE_SIDE;
}

/* At most: no segment has more than `kernel` taps, and lines have one for each phase. */
static int64_t table_floats(const nmi_conv_shape *s, int64_t channels)
{
    int64_t steps = 0;
    for (int n = 0; n < SHARES; n++) {
        const share part = share_of(channels, n);
        steps += s->kernel * nmi_conv_phases(s) * segment_steps(s->kernel, &part);
    }
    return nmi_whole(steps * (int64_t)(sizeof(nmi_strip_step) / sizeof(float)), NMI_TILE_SIDE);
}

static strip_room strip_room_of(const nmi_conv_shape *s, const nmi_plane *p, int64_t planes)
{
    strip_room r = {.planes = planes, .table = table_floats(s, p->channels)};
    r.items = nmi_plane_items(p, GROUP_NUMBERS, planes * p->channels);
    /* Behind the last line: the window's lines, the rest of a tile, and of a step. */
    const int64_t positions =
        (r.items * p->y.pitch + s->kernel) * p->x.pitch + s->kernel + NMI_TILE_SIDE;
    for (int n = 0; n < SHARES; n++) {
        r.share[n] =
            nmi_whole(positions * share_of(p->channels, n).position + NMI_TILE_SIDE, NMI_TILE_SIDE);
        r.floats += r.share[n];
    }
    return r;
}

static int64_t room_floats(const strip_room *r)
{
    return r->table + r->planes * r->floats;
}

/* Rounds some channels of `items` images into their part of a plane, whose zeros are there. */
static void fill_share(const nmi_kernels *kernels, const nmi_plane *p, const share *part,
                       int64_t items, const float *x, float *to)
{
    const int64_t line = p->width * p->channels;
    for (int64_t i = 0; i < items; i++) {
        for (int64_t l = 0; l < p->y.count && p->x.count > 0; l++) {
            const int64_t at = i * nmi_plane_pitch(p) + (p->y.first + l) * p->x.pitch + p->x.first;
            const float *from = x + (i * p->height + p->y.start + l * p->y.step) * line +
                                p->x.start * p->channels + part->first;
            kernels->matrix->round_pixels(p->x.count, part->channels, from, p->x.step * p->channels,
                                          to + at * part->position, part->position);
        }
    }
}

static void fill_plane(const nmi_kernels *kernels, const nmi_plane *p, const strip_room *r,
                       int64_t items, const float *x, float *to)
{
    for (int n = 0; n < SHARES; to += r->share[n++]) {
        const share part = share_of(p->channels, n);
        if (part.channels > 0)
            fill_share(kernels, p, &part, items, x, to);
    }
}

/* --- weights ------------------------------------------------------------------------------ */

/* Line of a packed tile: pair `pair` of a segment for up to 16 columns. */
static void pack_line(const nmi_segments *s, const share *part, int64_t pair, int64_t columns,
                      const float *w, float *packed)
{
    const int64_t tap = pair / part->position, channel = pair % part->position * 2;
    memset(packed, 0, NMI_TILE_SIDE * sizeof *packed);
    if (tap >= s->taps || channel >= part->channels)
        return;
    w += tap * s->tap_stride + channel * s->channel_stride;
    const bool both = channel + 1 < part->channels;
    for (int64_t n = 0; n < columns; n++, w += s->column_stride)
        packed[n] = nmi_pair(*w, both ? w[s->channel_stride] : 0.0f);
}

/* Packs a share of the segments from step *step on, of `steps` in all. */
static void pack_share(const nmi_segments *s, const share *part, const float *w, int64_t steps,
                       int64_t *step, float *packed)
{
    const int64_t pairs = segment_steps(s->taps, part) * NMI_TILE_SIDE;
    w += part->first * s->channel_stride;
    for (int64_t l = 0; l < s->lines; l++, w += s->line_stride) {
        for (int64_t first = 0; first < s->columns; first += NMI_TILE_SIDE) {
            float *to = packed + (first / NMI_TILE_SIDE * steps + *step) * NMI_TILE_FLOATS;
            const int64_t columns = nmi_smaller(s->columns - first, NMI_TILE_SIDE);
            for (int64_t pair = 0; pair < pairs; pair++, to += NMI_TILE_SIDE)
                pack_line(s, part, pair, columns, w + first * s->column_stride, to);
        }
        *step += pairs / NMI_TILE_SIDE;
    }
}

static void pack_segments(const nmi_segments *s, const float *w, int64_t steps, int64_t *step,
                          float *packed)
{
    for (int n = 0; n < SHARES; n++) {
        const share part = share_of(s->channels, n);
        pack_share(s, &part, w, steps, step, packed);
    }
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
                          .line_stride = -s->stride * k,
                          .tap_stride = -s->stride,
                          .channel_stride = s->in_channels * k * k,
                          .column_stride = k * k};
}

static int64_t steps_of(const nmi_segments *s)
{
    int64_t steps = 0;
    for (int n = 0; n < SHARES; n++) {
        const share part = share_of(s->channels, n);
        steps += s->lines * segment_steps(s->taps, &part);
    }
    return steps;
}

static int64_t forward_steps(const nmi_conv_shape *shape)
{
    const int64_t phases = nmi_conv_phases(shape);
    int64_t steps = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        steps += steps_of(&s);
    }
    return steps;
}

size_t nmi_conv_matrix_packed_floats(const nmi_conv_shape *shape)
{
    return (size_t)(nmi_whole(shape->out_channels, NMI_TILE_SIDE) * NMI_TILE_SIDE *
                    forward_steps(shape));
}

void nmi_conv_matrix_pack(const nmi_conv_shape *shape, const float *oihw, float *packed)
{
    const int64_t phases = nmi_conv_phases(shape), steps = forward_steps(shape);
    int64_t step = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        pack_segments(&s, oihw + n / phases * shape->kernel + n % phases, steps, &step, packed);
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

static int64_t backward_floats(const nmi_segments *s)
{
    return nmi_whole(s->columns, NMI_TILE_SIDE) * NMI_TILE_SIDE * steps_of(s);
}

size_t nmi_conv_matrix_packed_transposed_floats(const nmi_conv_shape *shape)
{
    const int64_t phases = nmi_conv_phases(shape); /* others have no taps */
    int64_t floats = 0;
    for (int64_t n = 0; n < phases * phases; n++) {
        nmi_conv_phase y, x;
        backward_phase(shape, n / phases, n % phases, &y, &x);
        const nmi_segments s = backward_segments(shape, &y, &x);
        floats += backward_floats(&s);
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
        int64_t step = 0;
        pack_segments(&s, oihw + line * k + tap, steps_of(&s), &step, packed);
        packed += backward_floats(&s);
    }
}

/* --- forward and input gradient ----------------------------------------------------------- */

/* Adds the steps of segments whose first lies `at` positions on in the plane at `floats`. */
static void add_steps(const nmi_segments *s, const strip_room *r, int64_t floats, int64_t at,
                      int64_t pitch, nmi_strip *strip, nmi_strip_step *table)
{
    for (int n = 0; n < SHARES; floats += r->share[n++]) {
        const share part = share_of(s->channels, n);
        const int64_t steps = segment_steps(s->taps, &part);
        for (int64_t l = 0; l < s->lines; l++)
            for (int64_t i = 0; i < steps; i++)
                table[strip->step_count++] = (nmi_strip_step){
                    floats + (at + l * pitch) * part.position + i * NMI_TILE_SIDE, part.position};
    }
}

static nmi_strip strip_of(const nmi_plane *p, const strip_room *r, const float *workspace)
{
    return (nmi_strip){.pairs = workspace + r->table,
                       .steps = (const void *)workspace,
                       .item_pitch = nmi_plane_pitch(p),
                       .line_pitch = p->x.pitch};
}

static strip_room forward_room(const nmi_conv_shape *s, const nmi_plane *p)
{
    return strip_room_of(s, p, nmi_conv_phases(s) * nmi_conv_phases(s));
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
    float *planes = workspace + r.table;
    nmi_strip strip = strip_of(&p, &r, workspace);
    strip.lines = shape->out_height;
    strip.columns = shape->out_width;
    for (int64_t n = 0; n < r.planes; n++) {
        const nmi_segments s = nmi_segments_of(shape, n / phases, n % phases);
        add_steps(&s, &r, n * r.floats, 0, p.x.pitch, &strip, (void *)workspace);
    }
    memset(planes, 0, (size_t)(r.planes * r.floats) * sizeof *planes);
    for (int64_t i = 0; i < items; i += r.items) {
        const nmi_epilogue moved = nmi_epilogue_moved(epilogue, i * out, 0);
        strip.items = nmi_smaller(items - i, r.items);
        for (int64_t n = 0; n < r.planes; n++) {
            const nmi_plane part = nmi_plane_of_input(shape, n / phases, n % phases);
            fill_plane(kernels, &part, &r, strip.items, x + i * in, planes + n * r.floats);
        }
        kernels->matrix->products(&strip, packed, shape->out_channels, &moved, y + i * out, out,
                                  line, shape->out_channels);
    }
}

/* dx of a group, one phase after another. */
static void input_gradient(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                           const nmi_plane *p, const strip_room *r, nmi_strip strip,
                           const float *packed, bool accumulate, float *dx, nmi_strip_step *table)
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
        if (accumulate)
            epilogue.residual = to;
        strip.step_count = 0;
        strip.lines = y.pixels;
        strip.columns = x.pixels;
        add_steps(&s, r, 0, (top + p->y.first) * p->x.pitch + left + p->x.first, p->x.pitch, &strip,
                  table);
        if (present)
            kernels->matrix->products(&strip, packed, shape->in_channels, &epilogue, to,
                                      shape->in_height * line, stride * line,
                                      stride * shape->in_channels);
        packed += backward_floats(&s);
    }
}

void nmi_conv_matrix_backward_input(const nmi_kernels *kernels, const nmi_conv_shape *shape,
                                    int64_t items, const float *dy, const float *packed_transposed,
                                    bool accumulate, float *dx, float *workspace)
{
    const nmi_plane p = nmi_plane_of_output(shape);
    const strip_room r = strip_room_of(shape, &p, 1);
    const int64_t in = shape->in_height * shape->in_width * shape->in_channels;
    const int64_t out = shape->out_height * shape->out_width * shape->out_channels;
    float *strip_floats = workspace + r.table;
    nmi_strip strip = strip_of(&p, &r, workspace);
    memset(strip_floats, 0, (size_t)r.floats * sizeof *strip_floats);
    for (int64_t i = 0; i < items; i += r.items) {
        strip.items = nmi_smaller(items - i, r.items);
        fill_plane(kernels, &p, &r, strip.items, dy + i * out, strip_floats);
        input_gradient(kernels, shape, &p, &r, strip, packed_transposed, accumulate, dx + i * in,
                       (void *)workspace);
    }
}

size_t nmi_conv_matrix_workspace_floats(const nmi_conv_shape *shape)
{
    const nmi_plane in = nmi_plane_of_input(shape, 0, 0), out = nmi_plane_of_output(shape);
    const strip_room forward = forward_room(shape, &in), backward = strip_room_of(shape, &out, 1);
    const int64_t strips = nmi_larger(room_floats(&forward), room_floats(&backward));
    return (size_t)nmi_larger(strips, (int64_t)nmi_conv_matrix_weight_workspace_floats(shape));
}
