/* SPDX-License-Identifier: MIT */
/* Coordinates, their noise, and the encodings of both. */
#include "nmi_test.h"
#include "nmi_test_kernels.h"

#include "nmi_manifold.h"

#include <math.h>

/* --- coordinates and noise --------------------------------------------------------------- */

START_TEST(coordinates_are_those_of_the_table)
{
    const nmi_grid grid = {2, 4, 10, 8, 64, 0};
    double x[12];
    nmi_coordinate_rows(&grid, NULL, 8 * 3 + 5, 2, x); /* o = 3, i = 5 and 6 */
    const double expected[6] = {2.0 / 4, 3.0 / 10, 5.0 / 8, 4.0 / 64, 10.0 / 64, 8.0 / 64};
    for (int j = 0; j < 6; j++)
        ck_assert_double_eq(x[j], expected[j]);
    ck_assert_double_eq(x[8], 6.0 / 8);

    const nmi_grid outputs = {2, 4, 10, 8, 64, NMI_EDGE_OUTPUTS};
    const nmi_grid inputs = {2, 4, 10, 8, 64, NMI_EDGE_INPUTS};
    nmi_coordinate_rows(&outputs, NULL, 7, 1, x);
    ck_assert(x[1] == 0.7 && x[2] == 0 && x[4] == 10.0 / 64 && x[5] == 8.0 / 64);
    nmi_coordinate_rows(&inputs, NULL, 7, 1, x);
    ck_assert(x[1] == 0 && x[2] == 7.0 / 8 && x[4] == 10.0 / 64 && x[5] == 8.0 / 64);
    const nmi_grid bias = {3, 4, 10, 1, 64, 0};
    nmi_coordinate_rows(&bias, NULL, 7, 1, x);
    ck_assert_double_eq(x[1], 0.7);
    ck_assert_double_eq(x[2], 0);
    ck_assert_double_eq(x[5], 1.0 / 64);
}
END_TEST

enum { ROWS = 4096 };

/* The noise u of raw coordinate `axis` (0 to 2) of many rows: with an extent of 2^40, noise on it
 * does not show. */
static double *noise_of(const nmi_noise *noise, int64_t tensor, int axis)
{
    const double extent = ldexp(1, 40);
    nmi_grid grid = {tensor, (int64_t)extent, (int64_t)extent, 1, (int64_t)extent, 0};
    double *x = calloc(6 * ROWS, sizeof *x), *u = calloc(ROWS, sizeof *u);
    nmi_coordinate_rows(&grid, noise, 0, ROWS, x);
    for (int64_t r = 0; r < ROWS; r++)
        u[r] = x[6 * r + axis] * extent - (double)(axis == 0 ? tensor : r);
    free(x);
    return u;
}

static double largest_difference(const double *a, const double *b, double sign)
{
    double largest = 0;
    for (int r = 0; r < ROWS; r++)
        largest = test_larger(largest, fabs(a[r] - sign * b[r]));
    return largest;
}

START_TEST(noise_is_uniform_and_clamped)
{
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 5};
    for (int axis = 0; axis < 2; axis++) {
        double *u = noise_of(&noise, 3, axis), sum = 0, squares = 0;
        for (int r = 0; r < ROWS; r++) {
            ck_assert_double_le(fabs(u[r]), 0.5 + 1e-3);
            sum += u[r];
            squares += u[r] * u[r];
        }
        /* Means of 4,096: standard deviations 0.0045 and 0.0012. */
        ck_assert_double_eq_tol(sum / ROWS, 0, 0.02);
        ck_assert_double_eq_tol(squares / ROWS, 1.0 / 12, 0.006);
        free(u);
    }
    noise.clamp = 0.125;
    double *u = noise_of(&noise, 3, 1);
    int at_bound = 0;
    for (int r = 0; r < ROWS; r++) {
        ck_assert_double_le(fabs(u[r]), 0.125 + 1e-3);
        at_bound += fabs(u[r]) > 0.124;
    }
    ck_assert_int_gt(at_bound, ROWS / 2);
    free(u);
}
END_TEST

START_TEST(noise_differs_by_tensor_sample_key_and_coordinate)
{
    const nmi_noise base = {.amplitude = 1, .clamp = 1, .key = 5, .samples = 9};
    nmi_noise sample = base, key = base;
    sample.sample = 1;
    key.key = 6;
    double *all[] = {noise_of(&base, 3, 1), noise_of(&base, 2, 1), noise_of(&sample, 3, 1),
                     noise_of(&key, 3, 1), noise_of(&base, 3, 0)};
    double *again = noise_of(&base, 3, 1);
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < a; b++)
            ck_assert_double_gt(largest_difference(all[a], all[b], 1), 0.5);
    ck_assert_double_eq(largest_difference(all[0], again, 1), 0);
    for (int a = 0; a < 5; a++)
        free(all[a]);
    free(again);
}
END_TEST

START_TEST(antithetic_draws_come_in_opposite_pairs)
{
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 5, .draw = NMI_DRAW_ANTITHETIC};
    double *draws[4];
    for (int s = 0; s < 4; s++) {
        noise.sample = s;
        draws[s] = noise_of(&noise, 0, 1);
    }
    ck_assert_double_le(largest_difference(draws[0], draws[1], -1), 1e-3);
    ck_assert_double_le(largest_difference(draws[2], draws[3], -1), 1e-3);
    ck_assert_double_gt(largest_difference(draws[0], draws[2], 1), 0.5);
    for (int s = 0; s < 4; s++)
        free(draws[s]);
}
END_TEST

/* Mean over rows of the squared mean of 64 draws: 1/(12 * 64) when independent. */
static double spread_of_means(int32_t draw)
{
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 5, .draw = draw, .samples = 64};
    double *mean = calloc(ROWS, sizeof *mean), total = 0;
    for (int s = 0; s < 64; s++) {
        noise.sample = s;
        double *u = noise_of(&noise, 0, 1);
        for (int r = 0; r < ROWS; r++)
            mean[r] += u[r] / 64;
        free(u);
    }
    for (int r = 0; r < ROWS; r++)
        total += mean[r] * mean[r] / ROWS;
    free(mean);
    return total;
}

START_TEST(quasi_random_draws_spread_more_evenly)
{
    const double independent = spread_of_means(NMI_DRAW_INDEPENDENT);
    ck_assert_double_eq_tol(independent, 1 / (12.0 * 64), 0.15 / (12.0 * 64));
    ck_assert_double_lt(spread_of_means(NMI_DRAW_QUASI_RANDOM), independent / 8);
}
END_TEST

START_TEST(wide_noise_keeps_extents_above_one_half)
{
    const nmi_noise noise = {.amplitude = 2, .clamp = 1, .key = 5};
    const nmi_grid grid = {0, 1, 1000, 1, 1, 0};
    double x[6 * 1000];
    nmi_coordinate_rows(&grid, &noise, 0, 1000, x);
    for (int r = 0; r < 1000; r++) {
        ck_assert_double_ge(x[6 * r + 3], 0.5);
        ck_assert_double_ge(x[6 * r + 5], 0.5);
        ck_assert_double_le(fabs(x[6 * r]), 2);
    }
}
END_TEST

/* --- encodings --------------------------------------------------------------------------- */

START_TEST(plain_features_are_sines_and_cosines_of_octaves)
{
    const nmi_grid grid = {1, 4, 8, 4, 16, 0};
    nmi_encoding e;
    double work[6 + 18];
    float out[42];
    nmi_encoding_plan(&e, NMI_ENCODING_PLAIN, 3, 3, 1, &grid);
    ck_assert_int_eq(e.inputs, 6 + 12 * 3);
    ck_assert_int_le(nmi_encoding_work(&e, 1), 24);
    nmi_encoding_rows(test_kernels(), &e, &grid, NULL, 4 * 3 + 1, 1, work, out,
                      42); /* o = 3, i = 1 */
    const double pi = acos(-1), x[6] = {0.25, 0.375, 0.25, 0.25, 0.5, 0.25};
    for (int j = 0; j < 6; j++) {
        ck_assert_float_eq(out[j], (float)x[j]);
        for (int k = 0; k < 3; k++) {
            const double angle = ldexp(pi, k) * x[j];
            ck_assert_float_eq_tol(out[6 + 6 * k + j], (float)sin(angle), 3e-7f);
            ck_assert_float_eq_tol(out[24 + 6 * k + j], (float)cos(angle), 3e-7f);
        }
    }
}
END_TEST

START_TEST(integrated_features_are_averages_over_the_numerators_noise)
{
    enum { STEPS = 2000 };
    const nmi_grid grid = {1, 3, 13, 7, 16, 0};
    const double extents[6] = {3, 13, 7, 16, 16, 16}, pi = acos(-1);
    const double q[6] = {1, 5, 2, 3, 13, 7};
    const double amplitude = 0.8;
    nmi_encoding e;
    double work[6 + NMI_ENCODING_PAIRS];
    float out[6 + 2 * NMI_ENCODING_PAIRS];
    nmi_encoding_plan(&e, NMI_ENCODING_INTEGRATED, 6, 6, amplitude, &grid);
    nmi_encoding_rows(test_kernels(), &e, &grid, NULL, 7 * 5 + 2, 1, work, out,
                      6 + 2 * NMI_ENCODING_PAIRS);
    int64_t f = 0;
    for (int k = 0; k < 6; k++)
        for (int j = 0; j < 6; j++) {
            if (k >= e.octaves[j])
                continue;
            double sine = 0, cosine = 0;
            for (int s = 0; s < STEPS; s++) {
                const double u = amplitude * ((s + 0.5) / STEPS - 0.5);
                sine += sin(ldexp(pi, k) * (q[j] + u) / extents[j]) / STEPS;
                cosine += cos(ldexp(pi, k) * (q[j] + u) / extents[j]) / STEPS;
            }
            /* The midpoint rule is good to 1e-6 here, the features to 3e-7. */
            ck_assert_double_eq_tol((double)out[6 + f], sine, 2e-6);
            ck_assert_double_eq_tol((double)out[6 + e.pairs + f], cosine, 2e-6);
            f++;
        }
    ck_assert_int_eq(f, e.pairs);
}
END_TEST

START_TEST(sampled_features_average_to_the_integrated_ones)
{
    enum { SAMPLES = 20000, OCTAVES = 13, PAIRS = 6 * OCTAVES };
    /* At o = 7 and i = 9 of 4,096, the noise of the denominators does not count. */
    const nmi_grid grid = {0, 1, 4096, 4096, 4096, 0};
    const int64_t row = 4096 * 7 + 9;
    nmi_encoding plain, integrated;
    double work[6 + NMI_ENCODING_PAIRS], mean[2 * PAIRS] = {0};
    float exact[6 + 2 * NMI_ENCODING_PAIRS], drawn[6 + 2 * NMI_ENCODING_PAIRS];
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 11, .draw = NMI_DRAW_QUASI_RANDOM};
    nmi_encoding_plan(&integrated, NMI_ENCODING_INTEGRATED, 40, 40, 1, &grid);
    nmi_encoding_plan(&plain, NMI_ENCODING_PLAIN, OCTAVES, OCTAVES, 1, &grid);
    nmi_encoding_rows(test_kernels(), &integrated, &grid, NULL, row, 1, work, exact, 0);
    for (int s = 0; s < SAMPLES; s++) {
        noise.sample = s;
        nmi_encoding_rows(test_kernels(), &plain, &grid, &noise, row, 1, work, drawn, 0);
        for (int f = 0; f < 2 * PAIRS; f++)
            mean[f] += (double)drawn[6 + f] / SAMPLES;
    }
    int64_t f = 0;
    for (int k = 0; k < OCTAVES; k++)
        for (int j = 0; j < 6; j++) {
            if (k >= integrated.octaves[j])
                continue;
            if (j > 0) { /* l/L = 0/1 is dominated by its denominator */
                ck_assert_double_eq_tol(mean[6 * k + j], (double)exact[6 + f], 2e-3);
                ck_assert_double_eq_tol(mean[PAIRS + 6 * k + j],
                                        (double)exact[6 + integrated.pairs + f], 2e-3);
            }
            f++;
        }
    ck_assert_int_eq(f, 1 + 5 * OCTAVES);
}
END_TEST

START_TEST(integrated_encoding_drops_octaves_that_noise_erases)
{
    /* One block of 64 channels: 4 tensors. */
    const nmi_grid grid = {0, 4, 64, 64, 64, 0};
    nmi_encoding e;
    nmi_encoding_plan(&e, NMI_ENCODING_INTEGRATED, 16, 16, 1, &grid);
    const int64_t octaves[6] = {3, 7, 7, 7, 7, 7};
    for (int j = 0; j < 6; j++)
        ck_assert_int_eq(e.octaves[j], octaves[j]);
    ck_assert_int_eq(e.inputs, 82);
    nmi_encoding_plan(&e, NMI_ENCODING_INTEGRATED, 4, 4, 1, &grid);
    ck_assert_int_eq(e.octaves[1], 4);
    nmi_encoding_plan(&e, NMI_ENCODING_INTEGRATED, 16, 16, 0, &grid); /* no noise erases nothing */
    ck_assert_int_eq(e.inputs, 6 + 12 * 16);
}
END_TEST

START_TEST(extents_can_have_octaves_of_their_own)
{
    const nmi_grid grid = {0, 4, 64, 64, 64, 0};
    nmi_encoding e;
    nmi_encoding_plan(&e, NMI_ENCODING_PLAIN, 5, 0, 1, &grid);
    const int64_t octaves[6] = {5, 5, 5, 0, 0, 0};
    for (int j = 0; j < 6; j++)
        ck_assert_int_eq(e.octaves[j], octaves[j]);
    ck_assert_int_eq(e.inputs, 6 + 2 * 15);
    nmi_encoding_plan(&e, NMI_ENCODING_INTEGRATED, 16, 2, 1, &grid);
    ck_assert_int_eq(e.octaves[1], 7);
    ck_assert_int_eq(e.octaves[4], 2);

    /* With none, a row sees an extent only as one number: nothing else differs between two widths
     * at the same relative place. */
    nmi_encoding_plan(&e, NMI_ENCODING_PLAIN, 3, 0, 1, &grid);
    const nmi_grid narrow = {0, 4, 32, 64, 64, 0};
    double work[6 + 9];
    float wide_row[24], narrow_row[24];
    ck_assert_int_eq(e.inputs, 24);
    ck_assert_int_le(nmi_encoding_work(&e, 1), 15);
    nmi_encoding_rows(test_kernels(), &e, &grid, NULL, 40 * 64 + 5, 1, work, wide_row, 24);
    nmi_encoding_rows(test_kernels(), &e, &narrow, NULL, 20 * 64 + 5, 1, work, narrow_row, 24);
    for (int i = 0; i < 24; i++)
        if (i != 4) /* O / M */
            ck_assert_float_eq(wide_row[i], narrow_row[i]);
    ck_assert_float_eq(wide_row[4], 1.0f);
    ck_assert_float_eq(narrow_row[4], 0.5f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encoding");
    TCase *coordinates = tcase_create("coordinates and encodings");
    tcase_add_test(coordinates, coordinates_are_those_of_the_table);
    tcase_add_test(coordinates, noise_is_uniform_and_clamped);
    tcase_add_test(coordinates, noise_differs_by_tensor_sample_key_and_coordinate);
    tcase_add_test(coordinates, antithetic_draws_come_in_opposite_pairs);
    tcase_add_test(coordinates, quasi_random_draws_spread_more_evenly);
    tcase_add_test(coordinates, wide_noise_keeps_extents_above_one_half);
    tcase_add_test(coordinates, plain_features_are_sines_and_cosines_of_octaves);
    tcase_add_test(coordinates, integrated_features_are_averages_over_the_numerators_noise);
    tcase_add_test(coordinates, sampled_features_average_to_the_integrated_ones);
    tcase_add_test(coordinates, integrated_encoding_drops_octaves_that_noise_erases);
    tcase_add_test(coordinates, extents_can_have_octaves_of_their_own);
    suite_add_tcase(suite, coordinates);
    return test_main(suite);
}
