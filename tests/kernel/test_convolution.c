/* SPDX-License-Identifier: MIT */
/* The paths of the convolution at every level against the plain loops; in bf16 on operands that are
 * bf16 already, whose products are exact. */
#include "nmi_conv.h"
#include "nmi_dense.h"
#include "nmi_test.h"

#include <math.h>

/* Every way but the column matrix with the kernels of each level and the model of AMX, then that.
 */
enum { WAYS = NMI_CONV_WAYS - 1, LEVELS = NMI_KERNEL_LEVELS + 1, PATHS = WAYS * LEVELS + 1 };

extern const nmi_kernels nmi_kernels_amx_model;

static const nmi_kernels *kernels_at(int level)
{
    return level < NMI_KERNEL_LEVELS ? nmi_kernels_named(nmi_kernels_name(level))
                                     : &nmi_kernels_amx_model;
}

/* in channels, height, width, out channels, -, -, kernel, stride, padding */
static const nmi_conv_shape shapes[] = {
    {3, 32, 32, 16, 0, 0, 3, 1, 1},  {1, 28, 28, 8, 0, 0, 5, 1, 0},
    {16, 8, 8, 17, 0, 0, 3, 1, 1},   {17, 7, 9, 33, 0, 0, 3, 2, 1},
    {33, 8, 8, 3, 0, 0, 1, 1, 0},    {16, 7, 7, 32, 0, 0, 1, 2, 0},
    {3, 8, 7, 1, 0, 0, 5, 2, 2},     {1, 5, 5, 1, 0, 0, 5, 1, 4},
    {16, 16, 16, 16, 0, 0, 3, 1, 1}, {2, 9, 11, 5, 0, 0, 2, 3, 0},
    {4, 6, 10, 3, 0, 0, 4, 3, 3},    {40, 8, 8, 64, 0, 0, 3, 1, 1},
    {5, 1, 1, 7, 0, 0, 3, 2, 1},     {23, 8, 8, 41, 0, 0, 3, 2, 1},
    {16, 3, 3, 16, 0, 0, 3, 1, 0},   {24, 16, 16, 33, 0, 0, 3, 1, 1},
    {33, 16, 16, 24, 0, 0, 3, 2, 1}, {11, 12, 8, 11, 0, 0, 5, 1, 2},
    {6, 31, 9, 18, 0, 0, 3, 1, 2},   {20, 9, 20, 34, 0, 0, 7, 2, 3},
    {64, 4, 4, 64, 0, 0, 3, 1, 1},   {33, 4, 6, 9, 0, 0, 3, 1, 1},
    {1, 2, 2, 1, 0, 0, 3, 1, 1},     {7, 10, 2, 70, 0, 0, 3, 1, 1},
    {33, 16, 16, 33, 0, 0, 3, 1, 1}, {49, 7, 5, 37, 0, 0, 3, 2, 0},
    {40, 6, 6, 20, 0, 0, 2, 2, 0},   {8, 13, 6, 23, 0, 0, 5, 2, 2},
    {19, 6, 6, 5, 0, 0, 3, 2, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Small images go to matrix tiles in groups of up to 16: a whole one, and then a part of one. */
static int64_t items_of(const nmi_conv_shape *shape)
{
    return shape->in_height * shape->in_width <= 40 ? 19 : 2;
}

static float *make(size_t count, uint64_t seed)
{
    float *values = malloc((count + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    test_fill(values, (int64_t)count, seed, -1.0f, 1.0f);
    return values;
}

static void round_all(size_t count, float *x)
{
    for (size_t i = 0; i < count; i++)
        x[i] = nmi_pair_first(nmi_pair(x[i], 0.0f));
}

typedef struct problem {
    nmi_conv_shape shape;
    nmi_conv_path path;
    int64_t items;
    size_t in, out, weights;
    float *x, *w, *dy, *bias, *packed, *transposed;
    void *workspace;
} problem;

static bool start(int index, problem *p)
{
    p->shape = shapes[index / PATHS];
    const int path = index % PATHS;
    const bool columns = path == PATHS - 1;
    p->path.way = columns ? NMI_CONV_COLUMNS : NMI_CONV_COLUMNS + 1 + path % WAYS;
    p->path.kernels = kernels_at(columns ? 0 : path / WAYS);
    if (p->path.kernels == NULL || !nmi_conv_fits(p->path, &p->shape))
        return false;
    const nmi_conv_shape *s = &p->shape;
    ck_assert(nmi_conv_shape_complete(&p->shape));
    p->items = items_of(s);
    p->in = (size_t)(p->items * s->in_height * s->in_width * s->in_channels);
    p->out = (size_t)(p->items * s->out_height * s->out_width * s->out_channels);
    p->weights = (size_t)(s->out_channels * s->in_channels * s->kernel * s->kernel);
    p->x = make(p->in, 1);
    p->w = make(p->weights, 2);
    p->dy = make(p->out, 3);
    p->bias = make((size_t)s->out_channels, 4);
    if (p->path.way == NMI_CONV_PAIRS || p->path.way == NMI_CONV_MATRIX) {
        round_all(p->in, p->x);
        round_all(p->weights, p->w);
        round_all(p->out, p->dy);
    }
    p->packed = make(nmi_conv_packed_floats(p->path, s), 5);
    p->transposed = make(nmi_conv_packed_transposed_floats(p->path, s), 6);
    /* What lies in the workspace beforehand must not matter. */
    size_t bytes = nmi_conv_workspace_bytes(p->path, s);
    p->workspace = malloc(bytes + 1);
    ck_assert_ptr_nonnull(p->workspace);
    memset(p->workspace, 0xff, bytes);
    nmi_conv_pack(p->path, s, p->w, p->packed);
    nmi_conv_pack_transposed(p->path, s, p->w, p->transposed);
    return true;
}

static void finish(problem *p)
{
    free(p->x);
    free(p->w);
    free(p->dy);
    free(p->bias);
    free(p->packed);
    free(p->transposed);
    free(p->workspace);
}

/* Each addition rounds a partial sum, of size sqrt(terms) here, by 6e-8 of it; of random
 * signs, sqrt(terms) such errors remain. */
static double tolerance(int64_t terms)
{
    return 1e-7 * (4.0 + (double)terms);
}

START_TEST(forward_equals_the_plain_loops)
{
    problem p;
    if (!start(_i, &p))
        return;
    float *expected = make(p.out, 7);
    float *actual = make(p.out, 8);
    for (int way = 0; way < 3; way++) {
        nmi_epilogue e = NMI_EPILOGUE_NONE;
        e.bias = way > 0 ? p.bias : NULL;
        e.residual = way > 1 ? p.dy : NULL;
        e.activation = way > 0 ? NMI_ACTIVATION_RELU : NMI_ACTIVATION_NONE;
        e.residual_inside = true;
        nmi_conv_forward_ref(&p.shape, p.items, p.x, p.w, &e, expected);
        nmi_conv_forward(p.path, &p.shape, p.items, p.x, p.packed, way > 0 ? &e : NULL, actual,
                         p.workspace);
        assert_near(actual, expected, (int64_t)p.out,
                    tolerance(p.shape.kernel * p.shape.kernel * p.shape.in_channels), 0.0);
    }
    free(expected);
    free(actual);
    finish(&p);
}
END_TEST

/* Wherever it enters: what is near may become NaN as well where zeros fill up windows. */
START_TEST(nan_reaches_all_that_sees_it)
{
    problem p;
    if (!start(_i, &p))
        return;
    float *expected = make(p.out, 7), *actual = make(p.out, 8);
    float *dx[2] = {make(p.in, 7), make(p.in, 8)};
    p.x[p.in / 2] = NAN;
    p.dy[p.out / 2] = NAN;
    nmi_conv_forward_ref(&p.shape, p.items, p.x, p.w, NULL, expected);
    nmi_conv_forward(p.path, &p.shape, p.items, p.x, p.packed, NULL, actual, p.workspace);
    for (size_t i = 0; i < p.out; i++)
        ck_assert(isnan(actual[i]) || !isnan(expected[i]));
    nmi_conv_backward_input_ref(&p.shape, p.items, p.dy, p.w, false, dx[0]);
    nmi_conv_backward_input(p.path, &p.shape, p.items, p.dy, p.transposed, false, dx[1],
                            p.workspace);
    for (size_t i = 0; i < p.in; i++)
        ck_assert(isnan(dx[1][i]) || !isnan(dx[0][i]));
    free(expected);
    free(actual);
    free(dx[0]);
    free(dx[1]);
    finish(&p);
}
END_TEST

START_TEST(a_residual_in_place_is_added)
{
    problem p;
    if (!start(_i, &p))
        return;
    float *expected = make(p.out, 7);
    float *actual = make(p.out, 9);
    float *residual = make(p.out, 9);
    nmi_epilogue e = {p.bias, residual, NULL, 1.0f, NMI_ACTIVATION_RELU, true, NULL};
    nmi_conv_forward_ref(&p.shape, p.items, p.x, p.w, &e, expected);
    e.residual = actual;
    nmi_conv_forward(p.path, &p.shape, p.items, p.x, p.packed, &e, actual, p.workspace);
    assert_near(actual, expected, (int64_t)p.out,
                tolerance(p.shape.kernel * p.shape.kernel * p.shape.in_channels), 0.0);
    free(expected);
    free(actual);
    free(residual);
    finish(&p);
}
END_TEST

/* One image with `border` pixels around it; what lies further out than the padding is NaN. */
static float *bordered(const nmi_conv_shape *s, const float *x, int64_t border)
{
    const int64_t line = (s->in_width + 2 * border) * s->in_channels;
    float *image = make((size_t)((s->in_height + 2 * border) * line), 1);
    for (int64_t y = -border; y < s->in_height + border; y++) {
        for (int64_t i = -border * s->in_channels; i < (s->in_width + border) * s->in_channels;
             i++) {
            const int64_t outer = s->padding * s->in_channels;
            const bool inside =
                y >= 0 && y < s->in_height && i >= 0 && i < s->in_width * s->in_channels;
            const bool near = y >= -s->padding && y < s->in_height + s->padding && i >= -outer &&
                              i < s->in_width * s->in_channels + outer;
            float *to = image + (y + border) * line + border * s->in_channels + i;
            *to = inside ? x[y * s->in_width * s->in_channels + i] : near ? 0.0f : NAN;
        }
    }
    return image;
}

START_TEST(shares_of_a_bordered_image_make_the_whole)
{
    problem p;
    if (!start(_i, &p))
        return;
    const nmi_conv_shape *s = &p.shape;
    const int64_t border = s->padding + 1, gap = 5;
    const int64_t line = s->out_width * s->out_channels, y_line = line + gap;
    const int64_t x_line = (s->in_width + 2 * border) * s->in_channels;
    float *image = bordered(s, p.x, border);
    float *whole = make(p.out, 7);
    float *shares = make((size_t)(s->out_height * y_line), 8);
    nmi_epilogue e = {p.bias, p.dy, NULL, 1.0f, NMI_ACTIVATION_RELU, true, NULL};
    nmi_conv_forward(p.path, s, 1, p.x, p.packed, &e, whole, p.workspace);
    e.residual = shares; /* in place */
    const bool shared = p.path.way == NMI_CONV_DIRECT || p.path.way == NMI_CONV_WINOGRAD;
    void *workspace = make(nmi_conv_part_workspace_bytes(p.path, s) / sizeof(float), 9);
    for (int64_t parts = 1; parts <= 5 && shared; parts++) {
        for (int64_t i = 0; i < s->out_height * y_line; i++)
            shares[i] = i % y_line < line ? p.dy[i / y_line * line + i % y_line] : 9.0f;
        for (int64_t part = parts - 1; part >= 0; part--) {
            nmi_conv_part share = nmi_conv_share(p.path, s, part, parts);
            nmi_conv_forward_part(p.path, s, &share, image + border * (x_line + s->in_channels),
                                  x_line, p.packed, &e, shares, y_line, workspace);
        }
        for (int64_t y = 0; y < s->out_height; y++) {
            ck_assert_mem_eq(shares + y * y_line, whole + y * line, (size_t)line * sizeof *whole);
            for (int64_t i = line; i < y_line; i++)
                ck_assert_float_eq(shares[y * y_line + i], 9.0f);
        }
    }
    free(workspace);
    free(image);
    free(whole);
    free(shares);
    finish(&p);
}
END_TEST

START_TEST(the_input_gradient_equals_the_plain_loops)
{
    problem p;
    if (!start(_i, &p))
        return;
    float *expected = make(p.in, 7);
    float *actual = make(p.in, 7);
    for (int accumulate = 1; accumulate >= 0; accumulate--) {
        nmi_conv_backward_input_ref(&p.shape, p.items, p.dy, p.w, accumulate, expected);
        nmi_conv_backward_input(p.path, &p.shape, p.items, p.dy, p.transposed, accumulate, actual,
                                p.workspace);
        assert_near(actual, expected, (int64_t)p.in,
                    tolerance(p.shape.kernel * p.shape.kernel * p.shape.out_channels), 0.0);
    }
    free(expected);
    free(actual);
    finish(&p);
}
END_TEST

START_TEST(the_weight_gradient_equals_the_plain_loops)
{
    problem p;
    if (!start(_i, &p))
        return;
    size_t floats = nmi_conv_gradient_floats(p.path, &p.shape);
    float *gradient = make(floats, 9);
    float *expected = make(p.weights, 7);
    float *actual = make(p.weights, 7);
    float *bias[2] = {make((size_t)p.shape.out_channels, 8), make((size_t)p.shape.out_channels, 8)};
    memset(gradient, 0, floats * sizeof *gradient);
    nmi_conv_backward_weight_ref(&p.shape, p.items, p.x, p.dy, expected, bias[0]);
    nmi_conv_backward_weight(p.path, &p.shape, p.items, p.x, p.dy, gradient, bias[1], p.workspace);
    nmi_conv_unpack_gradient(p.path, &p.shape, gradient, actual);
    double limit = tolerance(p.items * p.shape.out_height * p.shape.out_width);
    assert_near(actual, expected, (int64_t)p.weights, limit, 0.0);
    assert_near(bias[1], bias[0], p.shape.out_channels, limit, 0.0);
    free(gradient);
    free(expected);
    free(actual);
    free(bias[0]);
    free(bias[1]);
    finish(&p);
}
END_TEST

START_TEST(shapes_that_cannot_be_are_refused)
{
    nmi_conv_shape s = {3, 4, 4, 3, 0, 0, 3, 1, 1};
    ck_assert(nmi_conv_shape_complete(&s));
    ck_assert_int_eq(s.out_height, 4);
    s.kernel = 7; /* beyond the padded image */
    ck_assert(!nmi_conv_shape_complete(&s));
    s = (nmi_conv_shape){3, 4, 4, 3, 0, 0, 3, 0, 1};
    ck_assert(!nmi_conv_shape_complete(&s));
    s = (nmi_conv_shape){3, 4, 4, 3, 0, 0, 3, 1, 3};
    ck_assert(!nmi_conv_shape_complete(&s));
    s = (nmi_conv_shape){INT64_MAX / 2, 4, 4, 3, 0, 0, 3, 1, 1};
    ck_assert(!nmi_conv_shape_complete(&s));
    s = (nmi_conv_shape){3, INT64_MAX, 4, 3, 0, 0, 3, 1, 1};
    ck_assert(!nmi_conv_shape_complete(&s));
    s = (nmi_conv_shape){3, 4, 4, 3, 0, 0, INT64_MAX, 1, INT64_MAX - 1};
    ck_assert(!nmi_conv_shape_complete(&s));
}
END_TEST

static void assert_roomy(const nmi_kernels *kernels, int32_t precision, nmi_conv_room room,
                         const nmi_conv_shape *shape)
{
    const nmi_conv_path path = nmi_conv_path_of(kernels, precision, shape);
    ck_assert_msg(nmi_conv_workspace_bytes(path, shape) <= room.workspace_bytes &&
                      nmi_conv_packed_floats(path, shape) <= room.packed_floats &&
                      nmi_conv_packed_transposed_floats(path, shape) <= room.transposed_floats &&
                      nmi_conv_gradient_floats(path, shape) <= room.gradient_floats,
                  "%s: no room for %d to %d channels, side %d, kernel %d, stride %d", kernels->name,
                  (int)shape->in_channels, (int)shape->out_channels, (int)shape->in_height,
                  (int)shape->kernel, (int)shape->stride);
}

/* Fewer channels may need more: another path, or what matrix tiles leave over. */
START_TEST(room_for_many_channels_is_room_for_few)
{
    static const int64_t channels[] = {7, 8, 17, 33}, sides[] = {4, 8, 32};
    const nmi_kernels *kernels = kernels_at(_i);
    for (int n = 0; kernels != NULL && n < 4 * 4 * 3 * 4 * 2 * 2; n++) {
        const int32_t precision = n % 2 == 0 ? NMI_FP32 : NMI_BF16;
        const int64_t kernel = 2 * (n / 4 % 4) + 1, side = sides[n / 16 % 3];
        nmi_conv_shape most = {
            channels[n / 48 % 4], side,      side, channels[n / 192], 0, 0, kernel,
            1 + n / 2 % 2,        kernel / 2};
        ck_assert(nmi_conv_shape_complete(&most));
        nmi_conv_shape least = most, shape = most;
        least.in_channels = least.out_channels = 1;
        const nmi_conv_room room = nmi_conv_room_between(kernels, precision, &least, &most);
        for (shape.in_channels = 1; shape.in_channels <= most.in_channels; shape.in_channels++)
            for (shape.out_channels = 1; shape.out_channels <= most.out_channels;
                 shape.out_channels++)
                assert_roomy(kernels, precision, room, &shape);
        const nmi_conv_room exact = nmi_conv_room_between(kernels, precision, &most, &most);
        ck_assert_uint_eq(
            exact.workspace_bytes,
            nmi_conv_workspace_bytes(nmi_conv_path_of(kernels, precision, &most), &most));
    }
}
END_TEST

/* A dense layer is a 1x1 convolution of 1x1 images: that reference serves it too. */
START_TEST(dense_layers_equal_the_plain_loops)
{
    static const int64_t sizes[][3] = {{1, 64, 10}, {13, 198, 256}, {300, 31, 9}, {7, 400, 120}};
    const nmi_kernels *kernels = nmi_kernels_named(nmi_kernels_name(_i % NMI_KERNEL_LEVELS));
    if (kernels == NULL)
        return;
    const int64_t *size = sizes[_i / NMI_KERNEL_LEVELS];
    const int64_t rows = size[0];
    const nmi_dense_shape d = {size[1], size[2]};
    const nmi_conv_shape s = {d.inputs, 1, 1, d.outputs, 1, 1, 1, 1, 0};
    const size_t in = (size_t)(rows * d.inputs);
    const size_t out = (size_t)(rows * d.outputs);
    const size_t weights = (size_t)(d.inputs * d.outputs);
    float *x = make(in, 1), *w = make(weights, 2), *dy = make(out, 3);
    float *y[2] = {make(out, 4), make(out, 5)}, *dx[2] = {make(in, 6), make(in, 6)};
    float *dw[2] = {make(weights, 7), make(weights, 7)}, *db[2] = {make(out, 8), make(out, 8)};
    float *packed = make(nmi_dense_packed_floats(kernels, d), 9);
    float *transposed = make(nmi_dense_packed_transposed_floats(kernels, d), 9);
    nmi_dense_pack(kernels, d, w, packed);
    nmi_dense_pack_transposed(kernels, d, w, transposed);

    nmi_conv_forward_ref(&s, rows, x, w, NULL, y[0]);
    nmi_dense_forward(kernels, d, rows, x, d.inputs, packed, NULL, y[1], d.outputs);
    assert_near(y[1], y[0], (int64_t)out, tolerance(d.inputs), 0.0);

    for (int64_t part = 0; part < 3; part++)
        nmi_dense_forward_part(kernels, d, part, 3, rows, x, d.inputs, packed, NULL, y[0],
                               d.outputs);
    ck_assert_mem_eq(y[0], y[1], out * sizeof **y);

    nmi_conv_backward_input_ref(&s, rows, dy, w, true, dx[0]);
    nmi_dense_backward_input(kernels, d, rows, dy, d.outputs, transposed, true, dx[1], d.inputs);
    assert_near(dx[1], dx[0], (int64_t)in, tolerance(d.outputs), 0.0);

    memset(packed, 0, nmi_dense_packed_floats(kernels, d) * sizeof *packed);
    nmi_conv_backward_weight_ref(&s, rows, x, dy, dw[0], db[0]);
    nmi_dense_backward_weight(kernels, d, rows, x, d.inputs, dy, d.outputs, packed, db[1]);
    nmi_dense_unpack_gradient(kernels, d, packed, dw[1]);
    assert_near(dw[1], dw[0], (int64_t)weights, tolerance(rows), 0.0);
    assert_near(db[1], db[0], (int64_t)out, tolerance(rows), 0.0);

    float *all[] = {x,     w,     dy,    y[0],  y[1],   dx[0],     dx[1],
                    dw[0], dw[1], db[0], db[1], packed, transposed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("convolution");
    TCase *tests = tcase_create("paths");
    tcase_add_loop_test(tests, forward_equals_the_plain_loops, 0, SHAPES * PATHS);
    tcase_add_loop_test(tests, nan_reaches_all_that_sees_it, 0, SHAPES * PATHS);
    tcase_add_loop_test(tests, a_residual_in_place_is_added, 0, SHAPES * PATHS);
    tcase_add_loop_test(tests, shares_of_a_bordered_image_make_the_whole, 0, SHAPES * PATHS);
    tcase_add_loop_test(tests, the_input_gradient_equals_the_plain_loops, 0, SHAPES * PATHS);
    tcase_add_loop_test(tests, the_weight_gradient_equals_the_plain_loops, 0, SHAPES * PATHS);
    tcase_add_test(tests, shapes_that_cannot_be_are_refused);
    tcase_add_loop_test(tests, room_for_many_channels_is_room_for_few, 0, LEVELS);
    tcase_add_loop_test(tests, dense_layers_equal_the_plain_loops, 0, 4 * NMI_KERNEL_LEVELS);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
