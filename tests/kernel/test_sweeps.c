/* SPDX-License-Identifier: MIT */
/* Element-wise kernels at every level, sine and cosine, and the general matrix product. */
#include "nmi_elementwise.h"
#include "nmi_gemm.h"
#include "nmi_kernels.h"
#include "nmi_norm_op.h"
#include "nmi_optimizer.h"
#include "nmi_sincospi.h"
#include "nmi_test.h"

#include <math.h>

enum { LEVELS = NMI_KERNEL_LEVELS, COUNT = 1003 };

static float *make(int64_t count, uint64_t seed, float bound)
{
    float *values = malloc((size_t)count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    test_fill(values, count, seed, -bound, bound);
    return values;
}

START_TEST(activations_equal_the_plain_loops)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    float *x = make(COUNT, 1, 30.0f);
    float *dy = make(COUNT, 2, 1.0f);
    float *y = make(COUNT, 3, 1.0f), *expected = make(COUNT, 4, 1.0f), *dx = make(COUNT, 5, 1.0f);
    x[0] = 0.0f;
    x[1] = -1e-30f;
    x[2] = -1e4f;
    x[3] = 1e30f;
    for (int32_t activation = 0; activation <= NMI_ACTIVATION_ELU; activation++) {
        for (int64_t count = 0; count <= COUNT; count += count < 40 ? 1 : COUNT - 40) {
            y[count - (count == COUNT)] = 77.0f;
            nmi_activation_forward_ref(activation, count, x, expected);
            kernels->activate(activation, count, x, y);
            /* The stated error of ELU. */
            assert_near(y, expected, count, 2e-7, 0.0);
            ck_assert(count == COUNT || y[count] == 77.0f);
        }
        kernels->activate_backward(activation, COUNT, y, dy, dx);
        memset(expected, 0, COUNT * sizeof *expected);
        nmi_activation_backward(kernels, activation, COUNT, y, dy, true, expected);
        assert_near(dx, expected, COUNT, 2e-7, 0.0);
    }
    float bad[2] = {NAN, -INFINITY}, out[2];
    kernels->activate(NMI_ACTIVATION_RELU, 2, bad, out);
    ck_assert(isnan(out[0]) && out[1] == 0.0f);
    kernels->activate(NMI_ACTIVATION_ELU, 2, bad, out);
    ck_assert(isnan(out[0]) && out[1] == -1.0f);
    free(x);
    free(dy);
    free(y);
    free(expected);
    free(dx);
}
END_TEST

START_TEST(gradients_of_scaled_branches_equal_the_plain_loops)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    float *z = make(COUNT, 1, 1.0f), *g = make(COUNT, 2, 1.0f);
    float *dv = make(COUNT, 3, 1.0f), *expected = make(COUNT, 4, 1.0f);
    for (int32_t activation = 0; activation <= NMI_ACTIVATION_ELU; activation++)
        for (int64_t count = 0; count <= COUNT; count += count < 40 ? 1 : COUNT - 40) {
            double sum = 0;
            dv[count - (count == COUNT)] = 77.0f;
            memset(expected, 0, COUNT * sizeof *expected);
            nmi_activation_backward(kernels, activation, count, z, g, true, expected);
            for (int64_t i = 0; i < count; i++) {
                expected[i] *= 0.3f;
                sum += (double)g[i] * (double)z[i];
            }
            const double found = kernels->branch_backward(activation, count, 0.3f, z, g, dv);
            assert_near(dv, expected, count, 2e-7, 0.0);
            ck_assert(count == COUNT || dv[count] == 77.0f);
            ck_assert_double_eq_tol(found, sum, 2e-5); /* up to 1003 / 4 additions of size 1 */
        }
    free(z);
    free(g);
    free(dv);
    free(expected);
}
END_TEST

START_TEST(column_sums_and_scaled_additions_equal_the_plain_loops)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    for (int64_t columns = 1; columns < 40; columns += 3) {
        const int64_t rows = 3 + columns, stride = columns + 1;
        float *x = make(rows * stride - 1, 1, 1.0f);
        float *sums = make(columns, 2, 1.0f), *expected = make(columns, 2, 1.0f);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++)
                expected[c] += x[r * stride + c];
        kernels->column_sums(rows, columns, x, stride, sums);
        assert_near(sums, expected, columns, 1e-5, 0.0); /* 40 terms of size 1 in other orders */
        kernels->add_scaled(columns, 0.5f, x, sums);
        for (int64_t c = 0; c < columns; c++)
            expected[c] += 0.5f * x[c];
        assert_near(sums, expected, columns, 1e-5, 0.0);
        free(x);
        free(sums);
        free(expected);
    }
}
END_TEST

/* --- norms -------------------------------------------------------------------------------- */

enum { NORM_ROWS = 135, NORM_CHANNELS = 40, NORM_COUNT = NORM_ROWS * NORM_CHANNELS };

typedef struct norm_values {
    float *x, *y, *dy, *other, *dx;
    float mean[NORM_CHANNELS], inverse[NORM_CHANNELS], scale[NORM_CHANNELS], shift[NORM_CHANNELS];
} norm_values;

static norm_values make_norm(void)
{
    norm_values v;
    v.x = make(NORM_COUNT, 1, 1.0f);
    v.y = make(NORM_COUNT, 2, 1.0f);
    v.dy = make(NORM_COUNT, 3, 1.0f);
    v.other = make(NORM_COUNT, 4, 1.0f);
    v.dx = make(NORM_COUNT, 5, 1.0f);
    test_fill(v.mean, NORM_CHANNELS, 6, -0.5f, 0.5f);
    test_fill(v.inverse, NORM_CHANNELS, 7, 0.5f, 2.0f);
    test_fill(v.scale, NORM_CHANNELS, 8, -2.0f, 2.0f);
    test_fill(v.shift, NORM_CHANNELS, 9, -1.0f, 1.0f);
    return v;
}

static void free_norm(norm_values *v)
{
    free(v->x);
    free(v->y);
    free(v->dy);
    free(v->other);
    free(v->dx);
}

/* Mean 1000, deviation about 0.6: in floats the sum of squares would lose the variance. */
START_TEST(moments_survive_a_mean_far_from_zero)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    norm_values v = make_norm();
    for (int64_t i = 0; i < NORM_COUNT; i++)
        v.x[i] += 1000.0f;
    for (int64_t channels = 1; channels <= NORM_CHANNELS; channels += 3) {
        double sum[NORM_CHANNELS] = {1.0}, square[NORM_CHANNELS] = {2.0};
        double sum_expected[NORM_CHANNELS] = {1.0}, square_expected[NORM_CHANNELS] = {2.0};
        kernels->moments(NORM_ROWS, channels, v.x, sum, square);
        nmi_norm_sums(NORM_ROWS, channels, v.x, sum_expected, square_expected);
        for (int64_t c = 0; c < channels; c++) {
            /* Another order of 135 additions in double. */
            ck_assert_double_eq_tol(sum[c], sum_expected[c], 1e-13 * sum_expected[c]);
            ck_assert_double_eq_tol(square[c], square_expected[c], 1e-13 * square_expected[c]);
        }
    }
    free_norm(&v);
}
END_TEST

START_TEST(affine_sweeps_equal_the_plain_loops)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    norm_values v = make_norm();
    for (int64_t channels = 1; channels <= NORM_CHANNELS; channels += 3) {
        const int64_t count = NORM_ROWS * channels;
        for (int way = 0; way < 6; way++) {
            const int32_t activation = way / 2;
            const bool adds = way % 2 == 1;
            for (int64_t i = 0; i < count; i++)
                v.dx[i] = v.scale[i % channels] * v.x[i] + v.shift[i % channels] +
                          (adds ? v.other[i] : 0.0f);
            nmi_activation_forward_ref(activation, count, v.dx, v.y);
            memcpy(v.dy, adds ? v.other : v.x, (size_t)count * sizeof *v.dy);
            /* In the place of the residual or of x, and not behind it. */
            kernels->affine(NORM_ROWS - 1, channels, v.scale, v.shift, adds ? v.dy : NULL,
                            activation, adds ? v.x : v.dy, v.dy);
            assert_near(v.dy, v.y, count - channels, 1e-6, 0.0); /* three roundings of 4 */
            ck_assert_mem_eq(v.dy + count - channels, (adds ? v.other : v.x) + count - channels,
                             (size_t)channels * sizeof *v.dy);
        }
    }
    free_norm(&v);
}
END_TEST

/* The backward of a norm, a sum and an activation: each alone in plain loops, and at once. */
static void check_norm_backward(const nmi_kernels *kernels, norm_values *v, int64_t channels,
                                int32_t activation, bool add)
{
    const int64_t count = NORM_ROWS * channels;
    float *g = make(count, 10, 1.0f), *other = make(count, 11, 1.0f), *dx = make(count, 12, 1.0f);
    double dgamma[NORM_CHANNELS] = {0}, dbeta[NORM_CHANNELS] = {0};
    double dgamma_expected[NORM_CHANNELS] = {0}, dbeta_expected[NORM_CHANNELS] = {0};
    float slope[NORM_CHANNELS], offset[NORM_CHANNELS], gamma[NORM_CHANNELS];
    memset(g, 0, (size_t)count * sizeof *g);
    nmi_activation_backward(kernels, activation, count, v->y, v->dy, true, g);
    memcpy(v->other, other, (size_t)count * sizeof *other);
    nmi_add_backward(kernels, count, g, add, other);
    nmi_norm_backward_sums(NORM_ROWS, channels, v->x, g, v->mean, v->inverse, dgamma_expected,
                           dbeta_expected);
    const nmi_norm_gradient norm = {NORM_ROWS,  channels, v->x,  v->mean,  v->inverse,
                                    activation, v->y,     v->dy, v->other, add};
    kernels->norm_backward_sums(&norm, dgamma, dbeta);
    assert_near(v->dy, g, count, 2e-7, 0.0);
    assert_near(v->other, other, count, 4e-7, 0.0);
    for (int64_t c = 0; c < channels; c++) {
        /* 135 products below 3, each rounded to float. */
        ck_assert_double_eq_tol(dgamma[c], dgamma_expected[c], 2e-5);
        ck_assert_double_eq_tol(dbeta[c], dbeta_expected[c], 1e-5);
        gamma[c] = v->scale[c] / v->inverse[c];
    }
    nmi_norm_backward_finish(channels, NORM_ROWS, v->scale, v->inverse, dgamma, dbeta, slope,
                             offset);
    memcpy(dx, add ? v->dx : g, (size_t)count * sizeof *dx);
    nmi_norm_backward_input(NORM_ROWS, channels, NORM_ROWS, v->x, g, v->mean, v->inverse, gamma,
                            dgamma, dbeta, add, dx);
    const nmi_norm_slope sloped = {v->scale, v->mean, slope, offset};
    kernels->norm_backward_input(NORM_ROWS, channels, &sloped, v->x, v->dy, add,
                                 add ? v->dx : v->dy);
    assert_near(add ? v->dx : v->dy, dx, count, 2e-6, 0.0); /* a few roundings of 4 */
    free(g);
    free(other);
    free(dx);
}

START_TEST(backward_sweeps_of_norms_equal_the_plain_loops)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    for (int64_t channels = 1; channels <= NORM_CHANNELS; channels += 3)
        for (int way = 0; way < 6; way++) {
            norm_values v = make_norm();
            check_norm_backward(kernels, &v, channels, way / 2, way % 2 == 1);
            free_norm(&v);
        }
}
END_TEST

START_TEST(sines_and_cosines_of_large_arguments_are_accurate)
{
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i));
    if (kernels == NULL)
        return;
    static double x[COUNT];
    static float s[COUNT], c[COUNT], es[COUNT], ec[COUNT], u[COUNT];
    test_fill(u, COUNT, 1, -1.0f, 1.0f);
    for (int octave = 0; octave <= 40; octave++) {
        for (int i = 0; i < COUNT; i++)
            x[i] = ldexp((double)u[i] * 0.99 + 1e-3, octave);
        kernels->sincospi(x, s, c, COUNT);
        nmi_sincospi_ref(x, es, ec, COUNT);
        assert_near(s, es, COUNT, 2e-7, 0.0);
        assert_near(c, ec, COUNT, 2e-7, 0.0);
    }
    for (int i = 0; i < COUNT; i++)
        x[i] = 0.5 * (i - COUNT / 2);
    kernels->sincospi(x, s, c, COUNT);
    for (int i = 0; i < COUNT; i++) {
        static const float exact[4] = {0.0f, 1.0f, 0.0f, -1.0f};
        int quarter = (i - COUNT / 2) & 3;
        ck_assert(s[i] == exact[quarter] && c[i] == exact[(quarter + 1) & 3]);
    }
}
END_TEST

/* op(A) op(B) with every transposition, odd sizes and lines longer than needed. */
START_TEST(the_matrix_product_equals_the_plain_loops)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {33, 17, 65}, {64, 9, 256}, {3, 4, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
        const int64_t most = (m > n ? m : n) > k ? (m > n ? m : n) : k;
        const int64_t ld = most + 2;
        float *a = make(ld * ld, 1, 1.0f), *b = make(ld * ld, 2, 1.0f);
        float *c = make(ld * ld, 3, 1.0f), *expected = make(ld * ld, 3, 1.0f);
        for (int way = 0; way < 8; way++) {
            const float beta = way & 4 ? 0.5f : 0.0f;
            nmi_gemm_ref(way & 1, way & 2, m, n, k, 0.7f, a, ld, b, ld, beta, expected, ld);
            nmi_gemm(way & 1, way & 2, m, n, k, 0.7f, a, ld, b, ld, beta, c, ld);
            /* 256 products of numbers below 1, summed in different orders. */
            assert_near(c, expected, ld * ld, 2e-5, 0.0);
        }
        free(a);
        free(b);
        free(c);
        free(expected);
    }
}
END_TEST

START_TEST(layouts_are_exchanged_and_restored)
{
    const int64_t items = 2, channels = 19, pixels = 35;
    const int64_t count = items * channels * pixels;
    float *x = make(count, 1, 1.0f), *y = make(count, 2, 1.0f), *z = make(count, 3, 1.0f);
    nmi_nchw_to_nhwc(items, channels, pixels, x, y);
    ck_assert(y[(pixels + 3) * channels + 5] == x[(channels + 5) * pixels + 3]);
    nmi_nhwc_to_nchw(items, channels, pixels, y, z);
    ck_assert_mem_eq(x, z, (size_t)count * sizeof *x);
    nmi_flatten_forward(items, channels, pixels, y, z);
    ck_assert_mem_eq(x, z, (size_t)count * sizeof *x);
    free(x);
    free(y);
    free(z);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sweeps");
    TCase *tests = tcase_create("kernels");
    tcase_add_loop_test(tests, activations_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, gradients_of_scaled_branches_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, column_sums_and_scaled_additions_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, moments_survive_a_mean_far_from_zero, 0, LEVELS);
    tcase_add_loop_test(tests, affine_sweeps_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, backward_sweeps_of_norms_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, sines_and_cosines_of_large_arguments_are_accurate, 0, LEVELS);
    tcase_add_test(tests, the_matrix_product_equals_the_plain_loops);
    tcase_add_test(tests, layouts_are_exchanged_and_restored);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
