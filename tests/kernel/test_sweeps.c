/* SPDX-License-Identifier: MIT */
/* Element-wise kernels at every level, sine and cosine, and the general matrix product. */
#include "nmi_elementwise.h"
#include "nmi_gemm.h"
#include "nmi_kernels.h"
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
    tcase_add_loop_test(tests, column_sums_and_scaled_additions_equal_the_plain_loops, 0, LEVELS);
    tcase_add_loop_test(tests, sines_and_cosines_of_large_arguments_are_accurate, 0, LEVELS);
    tcase_add_test(tests, the_matrix_product_equals_the_plain_loops);
    tcase_add_test(tests, layouts_are_exchanged_and_restored);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
