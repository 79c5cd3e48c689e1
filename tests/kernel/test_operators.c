/* SPDX-License-Identifier: MIT */
/* Plain operators, losses and optimisers against cases worked by hand or in double. */
#include "nmi_elementwise.h"
#include "nmi_loss.h"
#include "nmi_norm_op.h"
#include "nmi_optimizer.h"
#include "nmi_pool.h"
#include "nmi_test_kernels.h"

#include <math.h>

/* A handful of float operations on numbers around 1. */
static const double close = 2e-6;

START_TEST(max_pool_takes_the_first_maximum_and_ignores_padding)
{
    nmi_pool_shape s = {1, 3, 3, 0, 0, 3, 2, 1};
    ck_assert(nmi_pool_shape_complete(&s));
    ck_assert(s.out_height == 2 && s.out_width == 2);
    const float x[9] = {-5, -4, -3, -2, -2, -1, -9, -8, -7};
    float y[4], dx[9];
    nmi_pool_max_forward(&s, 1, x, y);
    const float expected[4] = {-2, -1, -2, -1};
    ck_assert_mem_eq(y, expected, sizeof y);
    const float dy[4] = {1, 2, 4, 8};
    nmi_pool_max_backward(&s, 1, x, dy, false, dx);
    const float gradient[9] = {0, 0, 0, 5, 0, 10, 0, 0, 0};
    ck_assert_mem_eq(dx, gradient, sizeof dx);
    float bad[9] = {1, 2, 3, 4, NAN, 6, 7, 8, 9};
    nmi_pool_max_forward(&s, 1, bad, y);
    ck_assert(isnan(y[0]) && isnan(y[3]));
}
END_TEST

START_TEST(average_pool_does_not_count_padding)
{
    nmi_pool_shape s = {2, 2, 2, 0, 0, 3, 2, 1};
    ck_assert(nmi_pool_shape_complete(&s));
    const float x[8] = {1, 10, 2, 20, 3, 30, 4, 40};
    float y[2];
    nmi_pool_average_forward(&s, 1, x, y);
    ck_assert(y[0] == 2.5f && y[1] == 25.0f);
    nmi_pool_global_forward(1, 4, 2, x, y);
    ck_assert(y[0] == 2.5f && y[1] == 25.0f);
    float dx[8];
    const float dy[2] = {4, 8};
    nmi_pool_global_backward(1, 4, 2, dy, false, dx);
    for (int i = 0; i < 8; i++)
        ck_assert(dx[i] == (i % 2 == 0 ? 1.0f : 2.0f));
    s.padding = 2; /* the widest border with which each window still sees a pixel */
    ck_assert(nmi_pool_shape_complete(&s));
    ck_assert_int_eq(s.out_height, 2);
    const float expected[8] = {1, 10, 1.5f, 15, 2, 20, 2.5f, 25};
    float corners[8];
    nmi_pool_average_forward(&s, 1, x, corners);
    ck_assert_mem_eq(corners, expected, sizeof expected);
    s.padding = 3;
    ck_assert(!nmi_pool_shape_complete(&s));
}
END_TEST

/* Lines of an image that lies within a wider one, computed from the last to the first. */
START_TEST(pools_of_single_lines_equal_those_of_images)
{
    enum { CHANNELS = 3, SIDE = 7, X_LINE = 30, Y_LINE = 14 };
    nmi_pool_shape s = {CHANNELS, SIDE, SIDE, 0, 0, 3, 2, 1};
    ck_assert(nmi_pool_shape_complete(&s));
    ck_assert_int_eq(s.out_width, 4);
    float x[SIDE * SIDE * CHANNELS], wide[SIDE * X_LINE], y[2][4 * 4 * CHANNELS], lines[4 * Y_LINE];
    test_fill(x, SIDE * SIDE * CHANNELS, 3, -1.0f, 1.0f);
    for (int i = 0; i < SIDE * X_LINE; i++)
        wide[i] = i % X_LINE < SIDE * CHANNELS ? x[i / X_LINE * SIDE * CHANNELS + i % X_LINE] : NAN;
    nmi_pool_max_forward(&s, 1, x, y[0]);
    nmi_pool_average_forward(&s, 1, x, y[1]);
    for (int way = 0; way < 2; way++) {
        for (int64_t line = 3; line >= 0; line--)
            (way == 0 ? nmi_pool_max_lines : nmi_pool_average_lines)(&s, line, 1, wide, X_LINE,
                                                                     lines, Y_LINE);
        for (int line = 0; line < 4; line++)
            ck_assert_mem_eq(lines + line * Y_LINE, y[way] + line * 4 * CHANNELS,
                             4 * CHANNELS * sizeof *lines);
    }
}
END_TEST

START_TEST(matrices_are_transposed_within_larger_ones)
{
    enum { ROWS = 19, COLUMNS = 21, X_LINE = 25, Y_LINE = 30 };
    float x[ROWS * X_LINE], y[COLUMNS * Y_LINE];
    test_fill(x, ROWS * X_LINE, 1, -1.0f, 1.0f);
    for (int i = 0; i < COLUMNS * Y_LINE; i++)
        y[i] = 7.0f;
    nmi_transpose(ROWS, COLUMNS, x, X_LINE, y, Y_LINE);
    for (int c = 0; c < COLUMNS; c++)
        for (int r = 0; r < Y_LINE; r++)
            ck_assert_float_eq(y[c * Y_LINE + r], r < ROWS ? x[r * X_LINE + c] : 7.0f);
}
END_TEST

START_TEST(shortcuts_centre_or_crop_channels)
{
    /* p = floor((5 - 2) / 2) = 1; pixels (0,0) and (0,2) of 1 x 3 */
    nmi_shortcut_shape s = {2, 1, 3, 5, 2};
    const float x[6] = {1, 2, 3, 4, 5, 6};
    float y[10];
    nmi_shortcut_forward(&s, 1, x, y);
    const float wide[10] = {0, 1, 2, 0, 0, 0, 5, 6, 0, 0};
    ck_assert_mem_eq(y, wide, sizeof y);
    /* p = floor((1 - 4) / 2) = -2: output channel 0 is input channel 2 */
    s = (nmi_shortcut_shape){4, 1, 1, 1, 1};
    nmi_shortcut_forward(&s, 1, x, y);
    ck_assert(y[0] == 3.0f);
    s.out_channels = 2; /* p = -1 */
    nmi_shortcut_forward(&s, 1, x, y);
    ck_assert(y[0] == 2.0f && y[1] == 3.0f);
}
END_TEST

START_TEST(batch_norm_uses_biased_and_stores_unbiased_variance)
{
    const float x[4] = {1, 2, 3, 6}; /* mean 3, biased variance 3.5, unbiased 14/3 */
    double sum = 0.0, square = 0.0;
    nmi_norm_sums(2, 1, x, &sum, &square);
    nmi_norm_sums(2, 1, x + 2, &sum, &square);
    const float gamma = 2.0f, beta = 1.0f;
    float mean, inverse, scale, shift, running_mean = 1.0f, running_variance = 1.0f, y[4];
    nmi_norm_finish(1, 4, &sum, &square, &gamma, &beta, 0.5f, 0.1f, &mean, &inverse, &scale, &shift,
                    &running_mean, &running_variance);
    nmi_affine_forward(test_kernels(), 4, 1, &scale, &shift, NULL, NMI_ACTIVATION_NONE, x, y);
    const float expected[4] = {-1, 0, 1, 4}; /* 1 + 2 (x - 3) / sqrt(3.5 + 0.5) */
    assert_near(y, expected, 4, close, 0.0);
    ck_assert_float_eq_tol(running_mean, 1.2f, 1e-6f);
    ck_assert_float_eq_tol(running_variance, 0.9f + 1.4f / 3.0f, 1e-6f);
    const float variance = 3.5f, three = 3.0f;
    nmi_norm_fold(1, &gamma, &beta, &three, &variance, 0.5f, &scale, &shift);
    ck_assert(scale == 1.0f && shift == -2.0f);
}
END_TEST

START_TEST(losses_of_known_cases)
{
    const float z[4] = {0, 0, 0, 0}, far[2] = {1000.0f, -1000.0f};
    const int64_t label = 2, first = 1;
    double loss;
    float d[4];
    nmi_cross_entropy(1, 4, z, &label, 0.0f, 1.0f, false, &loss, d);
    ck_assert_double_eq_tol(loss, log(4.0), 1e-12);
    const float expected[4] = {0.25f, 0.25f, -0.75f, 0.25f};
    assert_near(d, expected, 4, 1e-7, 0.0);
    nmi_cross_entropy(1, 4, z, &label, 0.1f, 1.0f, true, &loss, d);
    ck_assert_double_eq_tol(loss, log(4.0), 1e-7);
    ck_assert_float_eq_tol(d[2], -0.75f + 0.25f - 0.925f, 1e-6f);
    nmi_cross_entropy(1, 2, far, &first, 0.0f, 1.0f, false, &loss, NULL);
    ck_assert_double_eq_tol(loss, 2000.0, 1e-9);
    nmi_distillation(1, 4, z, z, 4.0f, 1.0f, false, &loss, d);
    ck_assert_double_eq_tol(loss, 0.0, 1e-12);
    const float w[3] = {3, 0, 4};
    float dw[3] = {1, 1, 1};
    ck_assert_double_eq_tol(nmi_loss_norm(3, w, 0.5f, dw), 5.0, 1e-12);
    ck_assert_float_eq_tol(dw[0], 1.3f, 1e-6f);
    const float target[3] = {1, 0, 2};
    ck_assert_double_eq_tol(nmi_loss_reconstruction(3, w, target, false, 1.0f, NULL), 8.0 / 3.0,
                            1e-12);
    ck_assert_double_eq_tol(nmi_loss_reconstruction(3, w, target, true, 1.0f, NULL), 2.0, 1e-5);
    int64_t best;
    const float no_number[] = {1, NAN, 2, NAN, 0, 0};
    int64_t none[2];
    nmi_argmax(2, 3, no_number, none);
    ck_assert(none[0] == -1 && none[1] == -1);
    nmi_argmax(1, 4, expected, &best);
    ck_assert_int_eq(best, 0);
}
END_TEST

START_TEST(sgd_follows_its_formula)
{
    float w = 1.0f, m = 99.0f;
    const float g = 0.5f;
    nmi_sgd s = {0.1f, 0.9f, 0.01f, true, true};
    nmi_sgd_step(&s, 1, &g, &m, &w);
    /* g' = 0.51, m = 0.51, step = 0.51 + 0.9 * 0.51 = 0.969 */
    ck_assert_float_eq_tol(m, 0.51f, 1e-6f);
    ck_assert_float_eq_tol(w, 1.0f - 0.0969f, 1e-6f);
    s.first = false;
    s.nesterov = false;
    nmi_sgd_step(&s, 1, &g, &m, &w);
    const double gradient = 0.5 + 0.01 * (1.0 - 0.0969);
    ck_assert_double_eq_tol((double)m, 0.9 * 0.51 + gradient, 1e-6);
    ck_assert_double_eq_tol((double)w, 1.0 - 0.0969 - 0.1 * (0.9 * 0.51 + gradient), 1e-6);
    s = (nmi_sgd){0.1f, 0.0f, 0.0f, false, true};
    w = 1.0f;
    nmi_sgd_step(&s, 1, &g, NULL, &w);
    ck_assert_float_eq_tol(w, 0.95f, 1e-7f);
}
END_TEST

START_TEST(adamw_follows_its_formula)
{
    enum { N = 37 };
    float w[N], g[N], m[N] = {0}, v[N] = {0};
    double we[N], me[N] = {0}, ve[N] = {0};
    test_fill(w, N, 1, -1.0f, 1.0f);
    for (int i = 0; i < N; i++)
        we[i] = (double)w[i];
    for (int64_t step = 1; step <= 20; step++) {
        const nmi_adamw s = {1e-2f, 0.9f, 0.999f, 1e-8f, 1e-1f, step};
        test_fill(g, N, 1 + (uint64_t)step, -1.0f, 1.0f);
        nmi_adamw_step(&s, N, g, m, v, w);
        for (int i = 0; i < N; i++) {
            const double b1 = (double)s.beta1, b2 = (double)s.beta2, d = (double)g[i];
            const double rate = (double)s.rate;
            we[i] *= 1.0 - rate * (double)s.decay;
            me[i] = b1 * me[i] + (1.0 - b1) * d;
            ve[i] = b2 * ve[i] + (1.0 - b2) * d * d;
            we[i] -= rate * (me[i] / (1.0 - pow(b1, (double)step))) /
                     (sqrt(ve[i] / (1.0 - pow(b2, (double)step))) + (double)s.epsilon);
        }
    }
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol((double)w[i], we[i], close);
}
END_TEST

START_TEST(arrays_are_clipped_averaged_and_measured)
{
    enum { N = 3000 };
    static float x[N], average[N];
    test_fill(x, N, 1, -1.0f, 1.0f);
    double sum = 0.0;
    for (int i = 0; i < N; i++)
        sum += (double)x[i] * (double)x[i];
    ck_assert_double_eq_tol(nmi_squared_norm(N, x), sum, 1e-9);
    nmi_ema_update(N, 0.75f, x, average);
    ck_assert_float_eq_tol(average[7], 0.25f * x[7], 1e-7f);
    ck_assert(nmi_all_finite(N, x));
    for (int count = 0; count < N; count += 1 + count / 3) {
        static float apart[N], together[N];
        memcpy(apart, x, sizeof x);
        memcpy(together, x, sizeof x);
        nmi_clip_value(count, 0.75f, apart);
        ck_assert_double_eq(nmi_clipped_norm(count, 0.75f, together),
                            nmi_squared_norm(count, apart));
        ck_assert_mem_eq(apart, together, sizeof x);
    }
    x[N - 1] = -INFINITY;
    ck_assert(!nmi_all_finite(N, x));
    static float clipped[N];
    memcpy(clipped, x, sizeof x);
    ck_assert(isnan(nmi_clipped_norm(N, 0.5f, clipped))); /* not hidden by the clipping */
    x[0] = NAN;
    nmi_clip_value(N, 0.5f, x);
    ck_assert(isnan(x[0]) && x[N - 1] == -0.5f);
    for (int i = 1; i < N; i++)
        ck_assert(fabsf(x[i]) <= 0.5f);
    ck_assert(!nmi_all_finite(N, x));
    float pair[2] = {2.0f, 3.0f};
    nmi_scale_array(2, 2.0f, pair);
    test_kernels()->add_scaled(2, -1.0f, pair, pair);
    ck_assert(pair[0] == 0.0f && pair[1] == 0.0f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operators");
    TCase *tests = tcase_create("operators");
    tcase_add_test(tests, max_pool_takes_the_first_maximum_and_ignores_padding);
    tcase_add_test(tests, average_pool_does_not_count_padding);
    tcase_add_test(tests, pools_of_single_lines_equal_those_of_images);
    tcase_add_test(tests, matrices_are_transposed_within_larger_ones);
    tcase_add_test(tests, shortcuts_centre_or_crop_channels);
    tcase_add_test(tests, batch_norm_uses_biased_and_stores_unbiased_variance);
    tcase_add_test(tests, losses_of_known_cases);
    tcase_add_test(tests, sgd_follows_its_formula);
    tcase_add_test(tests, adamw_follows_its_formula);
    tcase_add_test(tests, arrays_are_clipped_averaged_and_measured);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
