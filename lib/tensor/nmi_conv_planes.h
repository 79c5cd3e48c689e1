/* SPDX-License-Identifier: MIT */
/*
 * Images end to end in one line of positions, for convolutions on matrix tiles: all lines of all
 * images of a group follow one another, with zeros between them that serve the end of one line and
 * the beginning of the next. There, the window of the next output lies one position on, so any 16
 * neighbours are a tile, whatever the width of the image.
 *
 * With stride s, pixels go to s * s planes by their line and column modulo s, and each tap finds
 * its pixels in one of them, a fixed distance from the output's position. All planes have the same
 * positions.
 */
#ifndef NMI_CONV_PLANES_H
#define NMI_CONV_PLANES_H

#include "nmi_conv_paths.h"

enum {
    NMI_TILE_SIDE = 16, /* lines of a tile, and its pairs or sums in a line */
    NMI_TILE_FLOATS = NMI_TILE_SIDE * NMI_TILE_SIDE
};

/* One direction of a plane: of every `pitch` positions, `count` from `first` on hold the pixels
 * start, start + step, ... of the image; the others are zero. */
typedef struct nmi_plane_axis {
    int64_t first, count, start, step, pitch;
} nmi_plane_axis;

/* The images of a group in memory, and a plane of theirs. */
typedef struct nmi_plane {
    int64_t width, height, channels; /* of the images */
    nmi_plane_axis y, x;
} nmi_plane;

/* Phases of one direction that some tap sees. */
int64_t nmi_conv_phases(const nmi_conv_shape *shape);
nmi_plane nmi_plane_of_input(const nmi_conv_shape *shape, int64_t line_phase, int64_t column_phase);
/* dy for the gradient of the input. */
nmi_plane nmi_plane_of_output(const nmi_conv_shape *shape);
/* dy at the positions of the outputs in the planes of x. */
nmi_plane nmi_plane_of_gradient(const nmi_conv_shape *shape);
/* Positions of an image. */
int64_t nmi_plane_pitch(const nmi_plane *plane);
/* Images of a group: so many that their numbers do not exceed `numbers`, but one at least. */
int64_t nmi_plane_items(const nmi_plane *plane, int64_t numbers, int64_t channels);

/* Taps of a direction that meet in a plane at most. */
int64_t nmi_conv_reach(const nmi_conv_shape *shape);
/* `lines` segments of `taps` pixels, and where their weights lie. */
typedef struct nmi_segments {
    int64_t lines, taps, channels, columns;
    int64_t reach;
    int64_t line_stride, tap_stride, channel_stride, column_stride; /* of weights */
} nmi_segments;

/* The taps of a phase of x, forwards. */
nmi_segments nmi_segments_of(const nmi_conv_shape *shape, int64_t line_phase, int64_t column_phase);

static inline int64_t nmi_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t nmi_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* In whole units. */
static inline int64_t nmi_whole(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

#endif
