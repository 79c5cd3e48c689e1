/* SPDX-License-Identifier: MIT */
/*
 * Sweeps of norms over rows of channels. nmi_rows_kernel.inc.h includes it for each instruction
 * set; nmi_kernels.h says what the functions compute. They are bound by the memory they read, so
 * each does all that can be done while a value is in a register.
 *
 * Sums over rows are kept in double: vectors of channels, over blocks of rows that stay in the
 * first-level cache while the next channels are summed.
 */

enum {
    SWEEP_ROWS = 64,  /* of a block */
    FETCH_AHEAD = 512 /* floats: half a page, since processors stop fetching ahead at each */
};

/* sum += x */
INLINE void add_wide(wide_vec sum[2], vec x)
{
    wide_vec values[2];
    widen(x, values);
    UNROLL
    for (int i = 0; i < 2; i++)
        sum[i] += values[i];
}

/* total[c] += sum[c] of `count` channels */
INLINE void add_total(double *total, int count, const wide_vec sum[2])
{
    double values[LANES];
    memcpy(values, sum, sizeof values);
    for (int c = 0; c < count; c++)
        total[c] += values[c];
}

INLINE void store_part_of(const bool whole, float *p, int count, vec x)
{
    if (whole)
        store(p, x);
    else
        store_part(p, count, x);
}

/* --- forward ------------------------------------------------------------------------------ */

/* Squares are exact in double, so that the variance survives a mean far from zero. */
INLINE void add_moments(wide_vec sum[2], wide_vec square[2], vec x)
{
    wide_vec values[2];
    widen(x, values);
    UNROLL
    for (int i = 0; i < 2; i++) {
        sum[i] += values[i];
        square[i] += values[i] * values[i];
    }
}

/* Two running sums of each kind hide the latency of an addition. */
INLINE void moments_of_block(const bool whole, int count, int64_t rows, int64_t stride,
                             const float *x, double *sum, double *square)
{
    wide_vec sums[2][2] = {{{0}}}, squares[2][2] = {{{0}}};
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2, x += 2 * stride) {
        add_moments(sums[0], squares[0], fetch_part(whole, x, count));
        add_moments(sums[1], squares[1], fetch_part(whole, x + stride, count));
    }
    if (r < rows)
        add_moments(sums[0], squares[0], fetch_part(whole, x, count));
    UNROLL
    for (int i = 0; i < 2; i++) {
        sums[0][i] += sums[1][i];
        squares[0][i] += squares[1][i];
    }
    add_total(sum, count, sums[0]);
    add_total(square, count, squares[0]);
}

static void moments(int64_t rows, int64_t channels, const float *x, double *sum, double *square)
{
    for (int64_t r = 0; r < rows; r += SWEEP_ROWS, x += SWEEP_ROWS * channels) {
        const int64_t block = rows - r < SWEEP_ROWS ? rows - r : SWEEP_ROWS;
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            moments_of_block(true, LANES, block, channels, x + c, sum + c, square + c);
        if (c < channels)
            moments_of_block(false, (int)(channels - c), block, channels, x + c, sum + c,
                             square + c);
    }
}

INLINE void affine_vector(const bool whole, int count, const float *scale, const float *shift,
                          const float *residual, int32_t activation, const float *x, float *y)
{
    __builtin_prefetch(x + FETCH_AHEAD);
    vec value = fetch_part(whole, scale, count) * fetch_part(whole, x, count) +
                fetch_part(whole, shift, count);
    if (residual != NULL)
        value += fetch_part(whole, residual, count);
    store_part_of(whole, y, count, apply(activation, value));
}

static void affine(int64_t rows, int64_t channels, const float *scale, const float *shift,
                   const float *residual, int32_t activation, const float *x, float *y)
{
    for (int64_t r = 0; r < rows; r++, x += channels, y += channels) {
        const float *term = residual != NULL ? residual + r * channels : NULL;
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            affine_vector(true, LANES, scale + c, shift + c, term != NULL ? term + c : NULL,
                          activation, x + c, y + c);
        if (c < channels)
            affine_vector(false, (int)(channels - c), scale + c, shift + c,
                          term != NULL ? term + c : NULL, activation, x + c, y + c);
    }
}

/* --- backward ----------------------------------------------------------------------------- */

/* g of LANES channels of a row, put where it belongs. */
INLINE vec take_gradient(const bool whole, int count, const nmi_norm_gradient *norm, int64_t at)
{
    __builtin_prefetch(norm->x + at + FETCH_AHEAD);
    vec g = fetch_part(whole, norm->dy + at, count);
    if (norm->activation != NMI_ACTIVATION_NONE) {
        g = slope(norm->activation, fetch_part(whole, norm->y + at, count), g);
        store_part_of(whole, norm->dy + at, count, g);
    }
    if (norm->other != NULL && norm->add)
        store_part_of(whole, norm->other + at, count,
                      fetch_part(whole, norm->other + at, count) + g);
    else if (norm->other != NULL)
        store_part_of(whole, norm->other + at, count, g);
    return g;
}

INLINE void gradients_of_block(const bool whole, int count, const nmi_norm_gradient *norm,
                               int64_t row, int64_t rows, int64_t c, double *dgamma, double *dbeta)
{
    const vec mean = fetch_part(whole, norm->mean + c, count);
    const vec inverse = fetch_part(whole, norm->inverse + c, count);
    int64_t at = row * norm->channels + c;
    wide_vec normal[2] = {{0}}, plain[2] = {{0}};
    for (int64_t r = 0; r < rows; r++, at += norm->channels) {
        const vec g = take_gradient(whole, count, norm, at);
        add_wide(normal, g * ((fetch_part(whole, norm->x + at, count) - mean) * inverse));
        add_wide(plain, g);
    }
    add_total(dgamma + c, count, normal);
    add_total(dbeta + c, count, plain);
}

static void norm_backward_sums(const nmi_norm_gradient *given, double *dgamma, double *dbeta)
{
    const nmi_norm_gradient norm = *given; /* no store of floats can change a copy */
    for (int64_t r = 0; r < norm.rows; r += SWEEP_ROWS) {
        const int64_t block = norm.rows - r < SWEEP_ROWS ? norm.rows - r : SWEEP_ROWS;
        int64_t c = 0;
        for (; c + LANES <= norm.channels; c += LANES)
            gradients_of_block(true, LANES, &norm, r, block, c, dgamma, dbeta);
        if (c < norm.channels)
            gradients_of_block(false, (int)(norm.channels - c), &norm, r, block, c, dgamma, dbeta);
    }
}

INLINE void norm_input_vector(const bool whole, int count, const nmi_norm_slope *norm, int64_t c,
                              const float *x, const float *dy, bool accumulate, float *dx)
{
    __builtin_prefetch(x + c + FETCH_AHEAD);
    __builtin_prefetch(dy + c + FETCH_AHEAD);
    const vec centred = fetch_part(whole, x + c, count) - fetch_part(whole, norm->mean + c, count);
    vec value = fetch_part(whole, norm->scale + c, count) * fetch_part(whole, dy + c, count) +
                (fetch_part(whole, norm->slope + c, count) * centred +
                 fetch_part(whole, norm->offset + c, count));
    if (accumulate)
        value += fetch_part(whole, dx + c, count);
    store_part_of(whole, dx + c, count, value);
}

static void norm_backward_input(int64_t rows, int64_t channels, const nmi_norm_slope *given,
                                const float *x, const float *dy, bool accumulate, float *dx)
{
    const nmi_norm_slope norm = *given;
    for (int64_t r = 0; r < rows; r++, x += channels, dy += channels, dx += channels) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            norm_input_vector(true, LANES, &norm, c, x, dy, accumulate, dx);
        if (c < channels)
            norm_input_vector(false, (int)(channels - c), &norm, c, x, dy, accumulate, dx);
    }
}
