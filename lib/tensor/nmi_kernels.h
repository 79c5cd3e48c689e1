/* SPDX-License-Identifier: MIT */
/*
 * The family of kernels everything hot rests on: products of "rows" with a packed matrix, and a
 * few element-wise sweeps. One source (cpu/nmi_rows_kernel.inc.h), compiled for each instruction
 * set: the levels. A context has one of them from its beginning (nmi_kernels_choose()), and what
 * is made from the context reads it there: packed matrices hold for the level that packed them.
 *
 * A row is a vector of K floats that lies in memory as `segments` runs of `segment_length`
 * consecutive floats, `segment_stride` floats apart: the window of a convolution in a zero-bordered
 * NHWC image (one run per kernel line), or simply one line of a matrix (one run). Rows form a
 * grid of height * width; row (i, j) starts at x + i * x_line + j * x_step.
 *
 * Products also come in bf16 (nmi_bf16.h): "_pairs" means that rows and packed matrix, or rows and
 * gradients, hold pairs, and that K, or the rows summed over, are counted in pairs. Sums, epilogue
 * and results are floats as ever. Every level has these products, with or without instructions
 * for them.
 *
 * Nothing here allocates, fails or starts threads. The value of an output row does not depend
 * on which other rows are computed in the same call.
 */
#ifndef NMI_KERNELS_H
#define NMI_KERNELS_H

#include "nmi_bf16.h"
#include "nmi_context.h"

enum { NMI_FP32 = 0, NMI_BF16 = 1 }; /* index of PRECISION */
/* NEUMETA_ERR_UNSUPPORTED on machines that cannot have it. */
neumeta_status nmi_precision_check(nmi_context *context, int32_t precision);
enum { NMI_ACTIVATION_NONE = 0, NMI_ACTIVATION_RELU = 1, NMI_ACTIVATION_ELU = 2 };

typedef struct nmi_rows {
    const float *x;
    int64_t height, width;  /* grid of rows; a plain matrix has height 1 */
    int64_t x_line, x_step; /* floats between lines and between neighbours of the grid */
    int64_t segments, segment_length, segment_stride; /* K = segments * segment_length >= 0 */
} nmi_rows;

/*
 * What happens to a sum before it is stored. With v = sum + bias[n]:
 *   residual_inside:  y = act(v + residual)                   (residual network block)
 *   otherwise:        y = residual + scale * act(v)           (residual layer of an INR)
 * A missing residual is 0. `activated`, if not NULL, receives act(v) (resp. act(v + residual)) as
 * well: the backward of the second form needs it. `residual` and `activated` have y's shape and
 * strides; residual may be y itself (accumulation). `rounded`, if not NULL, receives y as pairs
 * along its lines, with half of y's strides, which must be even then; an odd last column is paired
 * with zero. A NULL epilogue means y = sum.
 * Start from NMI_EPILOGUE_NONE: scale is 1 there.
 */
typedef struct nmi_epilogue {
    const float *bias;     /* n floats or NULL */
    const float *residual; /* or NULL */
    float *activated;      /* or NULL */
    float scale;           /* only without residual_inside */
    int32_t activation;    /* NMI_ACTIVATION_* */
    bool residual_inside;
    float *rounded; /* or NULL */
} nmi_epilogue;

#define NMI_EPILOGUE_NONE ((nmi_epilogue){NULL, NULL, NULL, 1.0f, NMI_ACTIVATION_NONE, false, NULL})

/* Most columns that pack_columns() takes. */
enum { NMI_PACKED_AT_ONCE = 16 };

/* Products of a tile and a pair of channels in Winograd's F(2 x 2, 3 x 3), and its taps. */
enum { NMI_WINOGRAD_PLACES = 16, NMI_WINOGRAD_TAPS = 9 };

/*
 * Images for a convolution with 3 x 3 taps, stride 1 and a border of one zero, so that outputs have
 * the extents of inputs: NHWC, without gaps between pixels. `bordered`: the zeros lie in memory
 * around each image; otherwise there is nothing there.
 */
typedef struct nmi_tiles {
    const float *x;               /* pixel (0, 0) of the first image */
    int64_t items, height, width; /* height and width even */
    int64_t x_item, x_line;       /* floats between images and between lines */
    int64_t channels;
    bool bordered;
} nmi_tiles;

/*
 * Backward of a norm of batch statistics down to its sums, over rows of NHWC activations. With
 * g = dy act'(y), act being what follows the norm, and with a sum of two terms between them:
 *   dgamma[c] += sum_r g (x - mean) inverse        dbeta[c] += sum_r g
 * g takes the place of dy, and is the gradient of the sum's other term as well.
 */
typedef struct nmi_norm_gradient {
    int64_t rows, channels;
    const float *x;              /* input of the norm */
    const float *mean, *inverse; /* [channels] */
    int32_t activation;          /* NMI_ACTIVATION_* */
    const float *y;              /* output of the activation; NULL without one */
    float *dy;
    float *other; /* the other term's gradient, or NULL */
    bool add;     /* other += g; else other = g */
} nmi_norm_gradient;

/* Behind those sums: dx (+)= scale dy + slope (x - mean) + offset, each [channels]. */
typedef struct nmi_norm_slope {
    const float *scale, *mean, *slope, *offset;
} nmi_norm_slope;

/* 16 pairs in the window of position 0, and floats from there to those of the next. */
typedef struct nmi_strip_step {
    int64_t at, position;
} nmi_strip_step;

/*
 * Outputs whose taps are columns: the sum at position p has taps * columns columns, [tap][column],
 * no more than 16, and the output is that of tap 0 at p, of tap 1 at p + 1, and so on, added in
 * this order. Such sums pass through memory, 16 floats for each position up to the last output's
 * and for 15 + taps more.
 */
typedef struct nmi_strip_spread {
    const nmi_strip_step *steps;
    int64_t step_count;
    int64_t columns, taps;
    float *sums;
} nmi_strip_spread;

/*
 * Images in bf16, end to end in one line of positions: output (i, l, c) of a convolution belongs to
 * position i * item_pitch + l * line_pitch + c, and is a sum over steps. Positions between lines
 * and items have no output. What 15 positions behind the last output see must be readable; pairs
 * that do not belong to the window meet weights of zero.
 */
typedef struct nmi_strip {
    const float *pairs;
    const nmi_strip_step *steps;
    int64_t step_count;
    nmi_strip_spread spread; /* the last columns, behind a multiple of 16; or none */
    int64_t items, lines, columns;
    int64_t item_pitch, line_pitch; /* the first a multiple of the second */
} nmi_strip;

/* 16 numbers of the first pair of positions, and floats from there to those of the next pair. */
typedef struct nmi_strip_columns {
    int64_t at, line;
} nmi_strip_columns;

/*
 * Sums over 32 * steps positions of products of numbers, which lie in lines of positions, `plane`
 * numbers apart, an even count, with pairs of positions, which lie in lines of numbers. `height` of
 * the former, up to 16, make a line tile; columns[i], from `pairs` on, a column tile.
 */
typedef struct nmi_strip_sums {
    const uint16_t *planes;
    int64_t plane, height, line_tiles;
    const float *pairs;
    const nmi_strip_columns *columns;
    int64_t column_tiles;
    int64_t steps;
} nmi_strip_sums;

/* Windows of `lines` runs of `run` numbers, whose beginnings are `pitch` apart; the next window
 * begins `from_step` on, and is to begin `to_step` on, lines * run or more. */
typedef struct nmi_strip_windows {
    int64_t lines, run, pitch, from_step, to_step;
} nmi_strip_windows;

/* Pixels that transposing and pairing take at once. */
enum { NMI_STRIP_PIXELS = 32 };

/*
 * Convolutions in bf16 at a level with matrix tiles, 16 lines of 16 pairs or sums; operands are
 * laid out by nmi_conv_matrix.c.
 */
typedef struct nmi_matrix_kernels {
    /* Pixels of `channels` floats, x_step apart, in bf16, `step` numbers apart. Each takes whole
     * vectors of 16 numbers, zeros at its end, over which the next pixel may be written. */
    void (*round_pixels)(int64_t pixels, int64_t channels, const float *x, int64_t x_step,
                         uint16_t *to, int64_t step);
    /* Copies windows, one run after another. Up to 31 numbers behind a run are read and written. */
    void (*copy_windows)(const nmi_strip_windows *windows, int64_t count, const uint16_t *from,
                         uint16_t *to);
    /* planes[c * plane + i] = pixels[i][c] in bf16, i < NMI_STRIP_PIXELS. */
    void (*transpose_pixels)(const float *const *pixels, int64_t channels, int64_t plane,
                             uint16_t *planes);
    /* pairs[i * line + c] = (pixels[2 i][c], pixels[2 i + 1][c]), with zeros to whole vectors, and
     * odd[i * line + c] = (pixels[2 i - 1][c], pixels[2 i][c]), or NULL; the pixel before the first
     * is in the line before `pairs`. */
    void (*pair_pixels)(const float *const *pixels, int64_t channels, int64_t line, float *pairs,
                        float *odd);
    /* y(i, l, c)[n] = epilogue(sum over steps and pairs of strip * w[n]) at y + i * y_item +
     * l * y_line + c * y_step. w packed: [16 columns][step][pair][16] pairs, spread columns behind
     * the others. */
    void (*products)(const nmi_strip *strip, const float *packed, int64_t columns,
                     const nmi_epilogue *epilogue, float *y, int64_t y_item, int64_t y_line,
                     int64_t y_step);
    /* dw[line tile][column tile][16][16] += sums, of which the first `height` lines are there. */
    void (*gradient)(const nmi_strip_sums *sums, float *dw);
} nmi_matrix_kernels;

typedef struct nmi_kernels {
    const char *name;
    int32_t lanes; /* floats in a vector, V */
    int32_t panel; /* columns of a full panel of a packed matrix, a multiple of V */

    /* y(row)[n] = epilogue(sum_k row[k] * w[k][n]), 0 <= n < columns; w packed (see below).
     * Row (i, j) of y starts at y + i * y_line + j * y_step. 2 * rows * K * columns FLOP. */
    void (*forward)(const nmi_rows *rows, const float *packed, int64_t columns,
                    const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step);
    /* dw[k][n] += sum_rows row[k] * dy(row)[n]; dw packed (its padding columns become
     * undefined), dy addressed like y above. Rows are added in grid order. Same cost. */
    void (*backward_weight)(const nmi_rows *rows, const float *dy, int64_t dy_line, int64_t dy_step,
                            int64_t columns, float *dw_packed);
    /* The same two of pairs. */
    void (*forward_pairs)(const nmi_rows *rows, const float *packed, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step);
    void (*backward_weight_pairs)(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw_packed);
    /* pairs[i] = (x[2 i], x[2 i + 1]) of a line of `count` floats, for forward_pairs; an odd last
     * one is paired with zero. */
    void (*round_line)(int64_t count, const float *x, float *pairs);
    /* pairs[i] = (line[i], next[i]) of two lines of `count` numbers in pairs, for
     * backward_weight_pairs; without `next`, with zeros. */
    void (*interleave)(int64_t count, const float *line, const float *next, float *pairs);
    /* Some columns of a panel of pairs, `columns` <= NMI_PACKED_AT_ONCE, from lines of `inputs`
     * numbers: packed[p * width + n] = (w[n * w_stride + 2 p], w[n * w_stride + 2 p + 1]) for n <
     * present, an odd last number paired with zero; zero for the columns from there on. */
    void (*pack_columns)(int64_t inputs, int64_t present, int64_t columns, const float *w,
                         int64_t w_stride, int64_t width, float *packed);
    /*
     * Convolutions of nmi_tiles by Winograd's F(2 x 2, 3 x 3); see cpu/nmi_winograd.inc.h. `work`
     * has winograd_work() floats, or winograd_gradient_work() for the gradient. A transformed
     * weight is a packed matrix with K = 16 * channels; winograd_pack() makes each of its panels of
     * `width` columns, in place, from one with K = 9 * channels (tap, then channel) that lies at
     * the end of it. Pixel (i, j) of item n of y starts at y + n * y_item + i * y_line + j *
     * y_step. 2 * items * height * width * 4 * channels * columns FLOP in the products.
     */
    size_t (*winograd_work)(int64_t channels);
    size_t (*winograd_gradient_work)(int64_t channels, int64_t columns);
    void (*winograd_pack)(int64_t channels, int64_t width, float *panel);
    void (*winograd_forward)(const nmi_tiles *tiles, const float *packed, int64_t columns,
                             const nmi_epilogue *epilogue, float *y, int64_t y_item, int64_t y_line,
                             int64_t y_step, float *work);
    /* dw += gradient of the taps, a packed matrix with K = 9 * channels (its padding columns become
     * undefined); dy NHWC without gaps. */
    void (*winograd_backward_weight)(const nmi_tiles *tiles, const float *dy, int64_t columns,
                                     float *dw_packed, float *work);
    const nmi_matrix_kernels *matrix; /* NULL: there are no tiles */
    /* sums[n] += sum_r x[r * stride + n], 0 <= n < columns, in the order of r. */
    void (*column_sums)(int64_t rows, int64_t columns, const float *x, int64_t stride, float *sums);
    /* y = act(x); y may be x. */
    void (*activate)(int32_t activation, int64_t count, const float *x, float *y);
    /* y = act(a + b); `pairs`, if not NULL, receives y as pairs, an odd last one with zero. */
    void (*add_activate)(int32_t activation, int64_t count, const float *a, const float *b,
                         float *y, float *pairs);
    /* dx = dy * act'(.) with the derivative taken from the output y of the activation:
     * ReLU (y > 0), ELU (y > 0 ? 1 : y + 1). dx may be dy. */
    void (*activate_backward)(int32_t activation, int64_t count, const float *y, const float *dy,
                              float *dx);
    /* Back through s z, z = act(v): dv = s * g * act'(.), which may be g; returns the gradient of
     * s, the sum of g z. */
    double (*branch_backward)(int32_t activation, int64_t count, float s, const float *z,
                              const float *g, float *dv);
    /* y[i] += a * x[i] */
    void (*add_scaled)(int64_t count, float a, const float *x, float *y);
    /* sum[c] += sum_r x, square[c] += sum_r x^2, in double, of x [rows][channels]. */
    void (*moments)(int64_t rows, int64_t channels, const float *x, double *sum, double *square);
    /* y[r][c] = act(scale[c] x[r][c] + shift[c] + residual[r][c]); residual may be NULL, and y any
     * of the two. */
    void (*affine)(int64_t rows, int64_t channels, const float *scale, const float *shift,
                   const float *residual, int32_t activation, const float *x, float *y);
    /* See nmi_norm_gradient and nmi_norm_slope. dx may be dy if not accumulating. */
    void (*norm_backward_sums)(const nmi_norm_gradient *norm, double *dgamma, double *dbeta);
    void (*norm_backward_input)(int64_t rows, int64_t channels, const nmi_norm_slope *norm,
                                const float *x, const float *dy, bool accumulate, float *dx);
    /* sine[i] = sin(pi x[i]), cosine[i] = cos(pi x[i]); see nmi_sincospi.h. */
    void (*sincospi)(const double *x, float *sine, float *cosine, int64_t count);
} nmi_kernels;

/* The levels that some build may have, narrow ones first; NULL from NMI_KERNEL_LEVELS on. */
enum { NMI_KERNEL_LEVELS = 6 };
const char *nmi_kernels_name(int32_t level);
/* A level by name; NULL if unknown or if this processor or build lacks it. */
const nmi_kernels *nmi_kernels_named(const char *name);
/* The widest level of this processor and build; never NULL. */
const nmi_kernels *nmi_kernels_best(void);
/* Gives the context the level of that name, or the best one for "auto". Fails with
 * NEUMETA_ERR_ARGUMENT for an unknown name, NEUMETA_ERR_UNSUPPORTED for a level that is not here,
 * and NEUMETA_ERR_STATE while anything but `held` references holds the context: handles, which may
 * have packed matrices. */
neumeta_status nmi_kernels_choose(nmi_context *context, int32_t held, const char *name);

/*
 * A packed matrix [K][columns]: panels of `panel` columns one after another, within a panel K
 * lines of that many floats; the last panel is only as many whole vectors wide as it needs.
 * Padding columns are zero after packing. Alignment to 64 bytes is advised, not required.
 */
size_t nmi_packed_floats(const nmi_kernels *kernels, int64_t depth, int64_t columns);
/* Width in floats of the panel that starts at `column`. */
int64_t nmi_panel_width(const nmi_kernels *kernels, int64_t columns, int64_t column);
/* Columns [*first, *first + count) of share `part` of `parts`: whole panels, so that the share's
 * packed matrix starts at packed + *first * K. Returns the count, which may be 0. */
int64_t nmi_panel_share(const nmi_kernels *kernels, int64_t columns, int64_t part, int64_t parts,
                        int64_t *first);
/* How k walks an unpacked array: k = (i * count[1] + j) * count[2] + l reads element
 * i * stride[0] + j * stride[1] + l * stride[2]; strides may be negative. K = the product. */
typedef struct nmi_depth {
    int64_t count[3], stride[3];
} nmi_depth;
/* packed[k][n] = a[walk(k) + n * column_stride] for all k < K, n < columns. */
void nmi_pack(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
              int64_t column_stride, const float *a, float *packed);
/* The same with the innermost numbers of the walk in pairs, an odd last one with zero. */
void nmi_pack_pairs(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
                    int64_t column_stride, const float *a, float *packed);
/* a[walk(k) + n * column_stride] += packed[k][n]. */
void nmi_unpack_add(const nmi_kernels *kernels, const nmi_depth *depth, int64_t columns,
                    int64_t column_stride, const float *packed, float *a);

/* The epilogue (NULL: none) of a part of y that starts `offset` floats on, at column `column`. */
nmi_epilogue nmi_epilogue_moved(const nmi_epilogue *epilogue, int64_t offset, int64_t column);
/* The epilogue in plain loops, over rows of sums held in y at y_step floats from one another;
 * residual and activated have the same step. */
void nmi_epilogue_apply(const nmi_epilogue *epilogue, int64_t rows, int64_t columns, float *y,
                        int64_t y_step);
/* The two products in plain loops over an unpacked w [K][columns] (row-major): the reference. */
void nmi_rows_forward_ref(const nmi_rows *rows, const float *w, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step);
void nmi_rows_backward_weight_ref(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw);
void nmi_rows_forward_pairs_ref(const nmi_rows *rows, const float *w, int64_t columns,
                                const nmi_epilogue *epilogue, float *y, int64_t y_line,
                                int64_t y_step);
void nmi_rows_backward_weight_pairs_ref(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                        int64_t dy_step, int64_t columns, float *dw);

#endif
