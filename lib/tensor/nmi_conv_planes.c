/* SPDX-License-Identifier: MIT */
/* Which pixels lie where in the planes of a convolution on matrix tiles. */
#include "nmi_conv_planes.h"

/* Images of a group at most. */
enum { MOST_ITEMS = 16 };

/* Pixels of the input that taps phase, phase + s, ... see, and the least pitch: the zeros behind
 * the last one reach as far as the window of the last output, into the next line's first. */
static nmi_plane_axis input_phase(const nmi_conv_shape *s, int64_t phase, int64_t in, int64_t out)
{
    const int64_t before = s->padding - phase;
    nmi_plane_axis a = {.first = before > 0 ? (before + s->stride - 1) / s->stride : 0,
                        .step = s->stride};
    const int64_t reach = out + (s->kernel - 1 - phase) / s->stride;
    const int64_t end = in - 1 + before < 0 ? 0 : (in - 1 + before) / s->stride + 1;
    a.start = a.first * s->stride - before;
    a.count = nmi_larger(nmi_smaller(end, reach) - a.first, 0);
    a.pitch = nmi_larger(nmi_larger(out, reach - a.first), a.first + a.count);
    return a;
}

int64_t nmi_conv_phases(const nmi_conv_shape *s)
{
    return nmi_smaller(s->stride, s->kernel);
}

static int64_t input_pitch(const nmi_conv_shape *s, int64_t in, int64_t out)
{
    int64_t pitch = 0;
    for (int64_t phase = 0; phase < nmi_conv_phases(s); phase++)
        pitch = nmi_larger(pitch, input_phase(s, phase, in, out).pitch);
    return pitch;
}

static nmi_plane_axis input_axis(const nmi_conv_shape *s, int64_t phase, int64_t in, int64_t out)
{
    nmi_plane_axis a = input_phase(s, phase, in, out);
    a.pitch = input_pitch(s, in, out);
    return a;
}

/* Pixels of dy for the gradient of the input. */
static nmi_plane_axis output_axis(const nmi_conv_shape *s, int64_t in, int64_t out)
{
    const int64_t first = (s->kernel - 1) / s->stride;
    return (nmi_plane_axis){.first = first,
                            .count = out,
                            .step = 1,
                            .pitch =
                                nmi_larger(first + out, (in - 1 + s->padding) / s->stride + 1)};
}

nmi_plane nmi_plane_of_input(const nmi_conv_shape *s, int64_t line_phase, int64_t column_phase)
{
    return (nmi_plane){.width = s->in_width,
                       .height = s->in_height,
                       .channels = s->in_channels,
                       .y = input_axis(s, line_phase, s->in_height, s->out_height),
                       .x = input_axis(s, column_phase, s->in_width, s->out_width)};
}

nmi_plane nmi_plane_of_output(const nmi_conv_shape *s)
{
    return (nmi_plane){.width = s->out_width,
                       .height = s->out_height,
                       .channels = s->out_channels,
                       .y = output_axis(s, s->in_height, s->out_height),
                       .x = output_axis(s, s->in_width, s->out_width)};
}

nmi_plane nmi_plane_of_gradient(const nmi_conv_shape *s)
{
    nmi_plane p = nmi_plane_of_input(s, 0, 0);
    p.width = s->out_width;
    p.height = s->out_height;
    p.channels = s->out_channels;
    p.y = (nmi_plane_axis){.count = s->out_height, .step = 1, .pitch = p.y.pitch};
    p.x = (nmi_plane_axis){.count = s->out_width, .step = 1, .pitch = p.x.pitch};
    return p;
}

int64_t nmi_plane_pitch(const nmi_plane *p)
{
    return p->y.pitch * p->x.pitch;
}

int64_t nmi_plane_items(const nmi_plane *p, int64_t numbers, int64_t channels)
{
    return nmi_larger(1, nmi_smaller(MOST_ITEMS, numbers / (nmi_plane_pitch(p) * channels)));
}

int64_t nmi_conv_reach(const nmi_conv_shape *s)
{
    return (s->kernel - 1) / s->stride + 1;
}

nmi_segments nmi_segments_of(const nmi_conv_shape *s, int64_t line_phase, int64_t column_phase)
{
    const int64_t k = s->kernel;
    return (nmi_segments){.lines = (k - 1 - line_phase) / s->stride + 1,
                          .taps = (k - 1 - column_phase) / s->stride + 1,
                          .channels = s->in_channels,
                          .columns = s->out_channels,
                          .reach = nmi_conv_reach(s),
                          .line_stride = s->stride * k,
                          .tap_stride = s->stride,
                          .channel_stride = k * k,
                          .column_stride = s->in_channels * k * k};
}
