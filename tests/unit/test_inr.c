/* SPDX-License-Identifier: MIT */
/* Coordinates, encodings, fields, starts and emission of the inr unit, case by case. */
#include "nmi_resample.h"
#include "nmi_test.h"
#include "nmi_test_kernels.h"

#include "nmi_manifold.h"

#include <math.h>

/* --- coordinates and noise --------------------------------------------------------------- */

START_TEST(coordinates_are_those_of_the_table)
{
    const nmi_grid grid = {2, 4, 10, 8, 64};
    double x[12];
    nmi_coordinate_rows(&grid, NULL, 8 * 3 + 5, 2, x); /* o = 3, i = 5 and 6 */
    const double expected[6] = {2.0 / 4, 3.0 / 10, 5.0 / 8, 4.0 / 64, 10.0 / 64, 8.0 / 64};
    for (int j = 0; j < 6; j++)
        ck_assert_double_eq(x[j], expected[j]);
    ck_assert_double_eq(x[8], 6.0 / 8);

    const nmi_grid bias = {3, 4, 10, 1, 64};
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
    nmi_grid grid = {tensor, (int64_t)extent, (int64_t)extent, 1, (int64_t)extent};
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
    const nmi_grid grid = {0, 1, 1000, 1, 1};
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
    const nmi_grid grid = {1, 4, 8, 4, 16};
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
    const nmi_grid grid = {1, 3, 13, 7, 16};
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
    const nmi_grid grid = {0, 1, 4096, 4096, 4096};
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
    const nmi_grid grid = {0, 4, 64, 64, 64};
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
    const nmi_grid grid = {0, 4, 64, 64, 64};
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
    const nmi_grid narrow = {0, 4, 32, 64, 64};
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

/* --- manifolds --------------------------------------------------------------------------- */

static int32_t add(neumeta_topology *t, const char *name, int32_t op, int32_t first, int32_t second,
                   int32_t axis, int64_t kernel)
{
    neumeta_context *ctx = t->object.context;
    const int32_t inputs[2] = {first, second};
    nmi_options *options = NULL;
    int32_t number;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    if (op == NEUMETA_OP_CONV) {
        assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_KERNEL, kernel));
        assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_PADDING, kernel / 2));
    }
    assert_ok(ctx, neumeta_topology_add_node(t, name, op, inputs, (first >= 0) + (second >= 0),
                                             axis, options, &number));
    nmi_options_release(options);
    return number;
}

/* A stem, a block of two convolutions on inner width h (2..14), and a block with the classifier. */
static neumeta_topology *make_topology(neumeta_context *ctx, bool norm)
{
    neumeta_topology *t = NULL;
    int32_t s, h, c;
    assert_ok(ctx, neumeta_topology_create(ctx, &t));
    assert_ok(ctx, neumeta_topology_add_axis(t, "s", NEUMETA_AXIS_WIDTH, 12, 16, 2, &s));
    assert_ok(ctx, neumeta_topology_add_axis(t, "h", NEUMETA_AXIS_WIDTH, 2, 14, 1, &h));
    assert_ok(ctx, neumeta_topology_add_axis(t, "c", NEUMETA_AXIS_WIDTH, 20, 20, 1, &c));
    int32_t n = add(t, "in", NEUMETA_OP_INPUT, -1, -1, -1, 0);
    int32_t stem = add(t, "stem", NEUMETA_OP_CONV, n, -1, s, 3);
    assert_ok(ctx, neumeta_topology_begin_block(t, "body"));
    n = add(t, "a", NEUMETA_OP_CONV, stem, -1, h, 3);
    if (norm)
        n = add(t, "bn", NEUMETA_OP_NORM, n, -1, -1, 0);
    n = add(t, "relu", NEUMETA_OP_ACTIVATION, n, -1, -1, 0);
    n = add(t, "b", NEUMETA_OP_CONV, n, -1, s, 1);
    n = add(t, "scale", NEUMETA_OP_SCALE, n, -1, -1, 0);
    n = add(t, "add", NEUMETA_OP_ADD, stem, n, -1, 0);
    assert_ok(ctx, neumeta_topology_begin_block(t, "head"));
    n = add(t, "pool", NEUMETA_OP_POOL_GLOBAL, n, -1, -1, 0);
    n = add(t, "fc", NEUMETA_OP_LINEAR, n, -1, c, 0);
    assert_ok(ctx, neumeta_topology_seal(t, n));
    return t;
}

/* `settings`: "NAME=value NAME=value". */
static nmi_options *make_options(neumeta_context *ctx, const char *settings)
{
    nmi_options *options = NULL;
    char *text = strdup(settings), *rest = text;
    assert_ok(ctx, nmi_options_create(ctx, &options));
    for (char *key = strtok_r(text, " =", &rest); key != NULL; key = strtok_r(NULL, " =", &rest))
        assert_ok(ctx, nmi_options_parse(options, key, strtok_r(NULL, " ", &rest)));
    free(text);
    return options;
}

static neumeta_status try_manifold(neumeta_context *ctx, neumeta_topology *t, const char *settings,
                                   nmi_manifold **manifold)
{
    nmi_options *options = make_options(ctx, settings);
    neumeta_status status = nmi_manifold_create(ctx, t, options, manifold);
    nmi_options_release(options);
    return status;
}

static nmi_manifold *make_manifold(neumeta_context *ctx, neumeta_topology *t, const char *settings)
{
    nmi_manifold *manifold = NULL;
    assert_ok(ctx, try_manifold(ctx, t, settings, &manifold));
    return manifold;
}

static int32_t tensor(const nmi_topology *t, const char *name)
{
    const int32_t number = nmi_graph_find_tensor(t, name);
    ck_assert_msg(number >= 0, "no tensor %s", name);
    return number;
}

#define SMALL "INR_HIDDEN=24 INR_LAYERS=3 INR_OCTAVES=5 "

START_TEST(convolutions_and_linear_layers_of_chosen_blocks_morph)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=-2");
    const char *morphing[] = {"a.weight", "a.bias", "b.weight", "b.bias"};
    const char *held[] = {"stem.weight", "stem.bias", "scale.scale", "fc.weight", "fc.bias"};
    const int64_t held_counts[] = {16 * 3 * 9, 16, 1, 20 * 16, 20};
    ck_assert_int_eq(m->morphing_count, 4);
    ck_assert_int_eq(m->settings.coordinate_scale, 16);
    ck_assert_int_eq(m->inr.outputs, 9);
    int64_t total = 0;
    for (int i = 0; i < 4; i++) {
        const nmi_field *field = &m->fields[tensor(t, morphing[i])];
        ck_assert(field->morphing);
        ck_assert_int_eq(field->index, i);
        /* P = 66; 24 * 66 + 24; two layers of 24 * 24 + 24 + 1; 9 * 24 + 9. */
        ck_assert_int_eq(field->parameter_count, 1608 + 2 * 601 + 225);
        total += field->parameter_count;
    }
    for (int i = 0; i < 5; i++) {
        const nmi_field *field = &m->fields[tensor(t, held[i])];
        ck_assert(!field->morphing);
        ck_assert_int_eq(field->index, -1);
        ck_assert_int_eq(field->parameter_count, held_counts[i]);
        total += field->parameter_count;
    }
    ck_assert_int_eq(nmi_manifold_parameter_count(m), total);
    nmi_manifold_release(m);
    m = make_manifold(ctx, t, SMALL);
    ck_assert_int_eq(m->morphing_count, 6);
    ck_assert(!m->fields[tensor(t, "stem.weight")].morphing);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(parts_cover_the_parameters_and_start_in_their_bounds)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=3");
    const float *parameters = m->fields[tensor(t, "a.bias")].parameters;
    nmi_inr_part part;
    int64_t end = 0;
    int32_t p = 0;
    for (; m->kind->part(&m->inr, p, &part); p++) {
        double largest = 0;
        ck_assert_int_eq(part.offset, end);
        end += part.count;
        for (int64_t i = part.offset; i < end; i++)
            largest = test_larger(largest, fabs((double)parameters[i]));
        if (strstr(part.name, "scale") != NULL) {
            ck_assert_double_eq(largest, 0.25);
            continue;
        }
        const double bound = strncmp(part.name, "inr.0", 5) == 0 ? 1 / sqrt(66) : 1 / sqrt(24);
        ck_assert_double_le(largest, bound);
        ck_assert_double_ge(largest, 0.5 * bound);
    }
    ck_assert_int_eq(p, 10);
    ck_assert_int_eq(end, m->kind->parameter_count(&m->inr));
    nmi_manifold *same = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=3");
    nmi_manifold *other = make_manifold(ctx, t, SMALL "INR_SCALAR=0.25 SEED=4");
    const size_t bytes = (size_t)end * sizeof(float);
    const int32_t a = tensor(t, "a.weight"), b = tensor(t, "b.weight");
    ck_assert_mem_eq(m->fields[a].parameters, same->fields[a].parameters, bytes);
    ck_assert_mem_ne(m->fields[a].parameters, other->fields[a].parameters, bytes);
    ck_assert_mem_ne(m->fields[a].parameters, m->fields[b].parameters, bytes);
    nmi_manifold_release(m);
    nmi_manifold_release(same);
    nmi_manifold_release(other);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(unfit_settings_and_topologies_are_refused_with_a_reason)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false), *normed = make_topology(ctx, true);
    nmi_manifold *m = NULL;
    assert_status(ctx, try_manifold(ctx, normed, SMALL, &m), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "'bn'");
    assert_message_contains(ctx, "replace the norm first");
    assert_status(ctx, try_manifold(ctx, t, SMALL "MORPH_BLOCKS=0,2", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "MORPH_BLOCKS");
    assert_message_contains(ctx, "2");
    assert_status(ctx, try_manifold(ctx, t, SMALL "EPOCHS=2", &m), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "EPOCHS");
    assert_status(ctx, try_manifold(ctx, t, "INR_OCTAVES=40 COORDINATE_SCALE=1", &m),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "COORDINATE_SCALE 1 is too small for 20 channels");
    assert_status(ctx, try_manifold(ctx, t, "INR_EXTENT_OCTAVES=40 COORDINATE_SCALE=1", &m),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "40 octaves of the extents");
    ck_assert_ptr_null(m);
    neumeta_topology_free(t);
    neumeta_topology_free(normed);
    neumeta_context_free(ctx);
}
END_TEST

/* --- starts ------------------------------------------------------------------------------ */

static nmi_network *make_network(neumeta_context *ctx, neumeta_topology *t, int64_t s, int64_t h)
{
    const int64_t sizes[3] = {s, h, 20};
    nmi_network *network = NULL;
    assert_ok(ctx, nmi_network_create(ctx, t, sizes, &network));
    return network;
}

START_TEST(clones_equal_their_source_and_held_tensors_have_none)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    const int32_t a = tensor(t, "a.weight"), b = tensor(t, "b.weight");
    const int32_t stem = tensor(t, "stem.weight");
    assert_ok(ctx, nmi_manifold_clone(m, a, b));
    assert_ok(ctx, nmi_manifold_clone(m, a, a));
    ck_assert_mem_eq(m->fields[a].parameters, m->fields[b].parameters,
                     (size_t)m->fields[a].parameter_count * sizeof(float));
    assert_status(ctx, nmi_manifold_clone(m, a, stem), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(ctx, "'stem.weight' is held directly");
    assert_status(ctx, nmi_manifold_clone(m, stem, a), NEUMETA_ERR_UNSUPPORTED);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(held_tensors_are_copied_from_the_reference_and_back)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=0");
    nmi_network *reference = make_network(ctx, t, 16, 14);
    nmi_network *network = make_network(ctx, t, 16, 5);
    nmi_network_initialize(reference, 9);
    nmi_manifold_hold(m, reference);
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL));
    const char *held[] = {"stem.weight", "stem.bias", "scale.scale", "fc.weight", "fc.bias"};
    for (int i = 0; i < 5; i++) {
        const int32_t n = tensor(t, held[i]);
        ck_assert_mem_eq(network->tensors[n].data, reference->tensors[n].data,
                         (size_t)network->tensors[n].count * sizeof(float));
    }
    nmi_network_release(reference);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

static double squared_error(const nmi_network *a, const nmi_network *b, int32_t t)
{
    double sum = 0;
    for (int64_t i = 0; i < a->tensors[t].count; i++)
        sum += pow((double)a->tensors[t].data[i] - (double)b->tensors[t].data[i], 2);
    return sum;
}

/* Channel o of a narrow layer is the wide one's at the same relative place, and fewer inputs weigh
 * more: the narrow network computes what every n-th channel of the wide one does. */
START_TEST(resampling_keeps_relative_places_and_sums)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_network *wide = make_network(ctx, t, 16, 14), *narrow = make_network(ctx, t, 8, 7);
    const int32_t a = tensor(t, "a.weight"), fc = tensor(t, "fc.weight");
    nmi_network_initialize(wide, 9);
    nmi_resample_tensor(wide, narrow, a);
    nmi_resample_tensor(wide, narrow, fc);
    const nmi_tensor *from = &wide->tensors[a], *to = &narrow->tensors[a];
    const int64_t taps = to->dims[2] * to->dims[3];
    const float gain = (float)from->dims[1] / (float)to->dims[1];
    const int64_t step_o = from->dims[0] / to->dims[0], step_i = from->dims[1] / to->dims[1];
    for (int64_t o = 0; o < to->dims[0]; o++)
        for (int64_t i = 0; i < to->dims[1]; i++)
            for (int64_t k = 0; k < taps; k++)
                ck_assert_float_eq(
                    to->data[(o * to->dims[1] + i) * taps + k],
                    gain * from->data[(o * step_o * from->dims[1] + i * step_i) * taps + k]);
    for (int64_t i = 0; i < narrow->tensors[fc].count; i++)
        ck_assert(isfinite(narrow->tensors[fc].data[i]));
    nmi_network_release(wide);
    nmi_network_release(narrow);
    nmi_topology_release(t);
    neumeta_context_free(ctx);
}
END_TEST

START_TEST(fitting_approaches_the_reference)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, "INR_HIDDEN=48 INR_LAYERS=3 INR_OCTAVES=6 NOISE=0");
    nmi_network *reference = make_network(ctx, t, 16, 14), *network = make_network(ctx, t, 16, 14);
    const int32_t a = tensor(t, "a.weight"), fc = tensor(t, "fc.weight");
    bool only[16] = {false};
    only[a] = only[tensor(t, "a.bias")] = true;
    nmi_network_initialize(reference, 9);
    for (int64_t i = 0; i < reference->tensors[a].count; i++) /* smooth along both channels */
        reference->tensors[a].data[i] = 0.1f * sinf(0.02f * (float)i);
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL));
    const double before = squared_error(network, reference, a);
    const double other = squared_error(network, reference, fc);
    const nmi_fit_target target = {reference, network, reference->sizes, 1};
    nmi_fit fit = {.steps = 300, .rate = 3e-3, .key = 4};
    assert_ok(ctx, nmi_manifold_fit(m, only, &target, &fit));
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL));
    ck_assert_double_lt(squared_error(network, reference, a), 0.02 * before);
    ck_assert_double_eq(squared_error(network, reference, fc), other);

    float *kept = malloc((size_t)m->fields[a].parameter_count * sizeof(float));
    memcpy(kept, m->fields[a].parameters, (size_t)m->fields[a].parameter_count * sizeof(float));
    reference->tensors[a].data[3] = NAN;
    fit.steps = 10;
    assert_status(ctx, nmi_manifold_fit(m, only, &target, &fit), NEUMETA_ERR_NUMERIC);
    assert_message_contains(ctx, "'a.weight'");
    ck_assert_mem_eq(kept, m->fields[a].parameters,
                     (size_t)m->fields[a].parameter_count * sizeof(float));
    free(kept);
    nmi_network_release(reference);
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* --- emission ---------------------------------------------------------------------------- */

START_TEST(only_marked_tensors_are_written)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    nmi_network *network = make_network(ctx, t, 16, 9);
    bool only[16] = {false};
    const int32_t b = tensor(t, "b.weight");
    only[b] = true;
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < network->tensors[i].count; k++)
            network->tensors[i].data[k] = 7;
    assert_ok(ctx, nmi_manifold_emit(m, network, only, NULL));
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < network->tensors[i].count; k++)
            ck_assert((network->tensors[i].data[k] == 7) == (i != b));
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

/* `draws` numbered draws, with a clean emission before them or not. */
static void average_is_that_of(bool clean, int draws)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    nmi_network *average = make_network(ctx, t, 16, 9), *one = make_network(ctx, t, 16, 9);
    const int32_t a = tensor(t, "a.weight");
    const int64_t count = one->tensors[a].count;
    const int samples = draws + (clean ? 1 : 0);
    nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8, .draw = NMI_DRAW_ANTITHETIC};
    double *sum = calloc((size_t)count, sizeof *sum);
    for (int s = clean ? -1 : 0; s < draws; s++) {
        noise.sample = s;
        assert_ok(ctx, nmi_manifold_emit(m, one, NULL, s < 0 ? NULL : &noise));
        for (int64_t i = 0; i < count; i++)
            sum[i] += (double)one->tensors[a].data[i] / samples;
    }
    noise.sample = 0;
    assert_ok(ctx, nmi_manifold_emit_average(m, average, NULL, &noise, samples, clean));
    for (int64_t i = 0; i < count; i++)
        ck_assert_double_eq_tol((double)average->tensors[a].data[i], sum[i], 1e-8); /* float */
    free(sum);
    nmi_network_release(average);
    nmi_network_release(one);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

START_TEST(the_average_is_that_of_a_clean_and_numbered_draws)
{
    average_is_that_of(true, 4);
    average_is_that_of(true, 0);
    average_is_that_of(false, 4);
    average_is_that_of(false, 1);
}
END_TEST

/* Everything that runs on workers, into one array: an average, gradients, a fit. */
static float *everything(int32_t threads, int64_t *total)
{
    neumeta_context *ctx = test_context();
    assert_ok(ctx, neumeta_context_set_threads(ctx, threads));
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "INR_FUNCTION=elu");
    nmi_network *network = make_network(ctx, t, 16, 13), *full = make_network(ctx, t, 16, 14);
    const nmi_noise noise = {.amplitude = 1, .clamp = 1, .key = 8};
    float *gradients[16] = {NULL}, *weights[16] = {NULL};
    assert_ok(ctx, nmi_manifold_emit_average(m, network, NULL, &noise, 4, true));
    nmi_network_initialize(full, 3);
    *total = 0;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
        /* the stem and the classifier's width are at the maximum: all have room */
        test_fill(weights[i], network->tensors[i].count, 5, -1, 1);
        *total += network->tensors[i].count + 2 * m->fields[i].parameter_count;
    }
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, &noise, weights, gradients));
    nmi_network *room = NULL;
    assert_ok(ctx, nmi_network_copy(full, &room));
    const nmi_fit_target target = {full, room, full->sizes, 1};
    const nmi_fit fit = {.steps = 3, .rate = 1e-3, .key = 4};
    assert_ok(ctx, nmi_manifold_fit(m, NULL, &target, &fit));
    nmi_network_release(room);
    float *all = calloc((size_t)*total, sizeof(float)), *at = all;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const size_t values = (size_t)network->tensors[i].count;
        const size_t parameters = (size_t)m->fields[i].parameter_count;
        memcpy(at, network->tensors[i].data, values * sizeof *at);
        memcpy(at + values, gradients[i], parameters * sizeof *at);
        memcpy(at + values + parameters, m->fields[i].parameters, parameters * sizeof *at);
        at += values + 2 * parameters;
        free(gradients[i]);
        free(weights[i]);
    }
    nmi_network_release(network);
    nmi_network_release(full);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
    return all;
}

START_TEST(bits_do_not_depend_on_threads)
{
    int64_t total, again;
    float *one = everything(1, &total), *two = everything(2, &again);
    ck_assert_int_eq(total, again);
    ck_assert_mem_eq(one, two, (size_t)total * sizeof(float));
    free(one);
    free(two);
}
END_TEST

START_TEST(nothing_is_allocated_after_the_first_call)
{
    test_allocator allocator = {0};
    neumeta_context *ctx = NULL;
    assert_ok(NULL, test_context_create(&allocator, &ctx));
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL);
    nmi_network *network = make_network(ctx, t, 16, 14);
    const int64_t smaller[3] = {16, 6, 20};
    float *weights[16] = {NULL}, *gradients[16] = {NULL};
    for (int32_t i = 0; i < t->tensor_count; i++) {
        gradients[i] = calloc((size_t)m->fields[i].parameter_count, sizeof(float));
        weights[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
    }
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, weights, gradients));
    const int64_t calls = allocator.calls;
    assert_ok(ctx, nmi_network_resize(network, smaller));
    assert_ok(ctx, nmi_manifold_emit(m, network, NULL, NULL));
    assert_ok(ctx, nmi_manifold_backward(m, network, NULL, NULL, weights, gradients));
    ck_assert_int_eq(allocator.calls, calls);
    for (int32_t i = 0; i < t->tensor_count; i++) {
        free(gradients[i]);
        free(weights[i]);
    }
    nmi_network_release(network);
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

START_TEST(sizes_that_a_held_tensor_fixes_are_named)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, false);
    nmi_manifold *m = make_manifold(ctx, t, SMALL "MORPH_BLOCKS=0");
    const int64_t inner[3] = {16, 3, 20}, stream[3] = {14, 14, 20};
    assert_ok(ctx, nmi_manifold_check_sizes(m, inner));
    assert_status(ctx, nmi_manifold_check_sizes(m, stream), NEUMETA_ERR_SHAPE);
    assert_message_contains(ctx, "axis 's' is 14, must be at its maximum 16");
    assert_message_contains(ctx, "stem.weight");
    nmi_manifold_release(m);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inr");
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
    TCase *fields = tcase_create("fields and starts");
    tcase_set_timeout(fields, 60);
    tcase_add_test(fields, convolutions_and_linear_layers_of_chosen_blocks_morph);
    tcase_add_test(fields, parts_cover_the_parameters_and_start_in_their_bounds);
    tcase_add_test(fields, unfit_settings_and_topologies_are_refused_with_a_reason);
    tcase_add_test(fields, clones_equal_their_source_and_held_tensors_have_none);
    tcase_add_test(fields, held_tensors_are_copied_from_the_reference_and_back);
    tcase_add_test(fields, resampling_keeps_relative_places_and_sums);
    tcase_add_test(fields, fitting_approaches_the_reference);
    suite_add_tcase(suite, fields);
    TCase *emission = tcase_create("emission");
    tcase_set_timeout(emission, 60);
    tcase_add_test(emission, only_marked_tensors_are_written);
    tcase_add_test(emission, the_average_is_that_of_a_clean_and_numbered_draws);
    tcase_add_test(emission, bits_do_not_depend_on_threads);
    tcase_add_test(emission, nothing_is_allocated_after_the_first_call);
    tcase_add_test(emission, sizes_that_a_held_tensor_fixes_are_named);
    suite_add_tcase(suite, emission);
    return test_main(suite);
}
