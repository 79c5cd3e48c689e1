/* SPDX-License-Identifier: MIT */
/*
 * Every backward of the tensor unit against central differences. The scalar is L = sum_i c_i y_i
 * with fixed random c, so that dL/dx is what the backward gives for dy = c.
 *
 * Operators that are linear (or bilinear, or linear between kinks far apart) in the differentiated
 * argument use the library's own forward with a step of 1/4: the difference quotient is then exact
 * up to float rounding. All others are written here again in double and differenced there with a
 * step of 1e-5, whose error is about 1e-9; what remains is the float rounding of the backward.
 */
#include "nmi_conv.h"
#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_loss.h"
#include "nmi_norm_op.h"
#include "nmi_pool.h"
#include "nmi_test_kernels.h"

#include <math.h>

static float *make(int64_t count, uint64_t seed)
{
    float *values = malloc((size_t)(count + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    test_fill(values, count, seed, -1.0f, 1.0f);
    return values;
}

/* L as a function of `x`, the argument under test; everything else comes with `user`. */
typedef double (*scalar)(const float *x, const void *user);

static double weighted(int64_t count, const float *c, const float *y)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)c[i] * (double)y[i];
    return sum;
}

/* Compares `gradient` with the quotients of an (almost) linear L. Float rounding of y: below 1e-4
 * for sums of a few hundred terms, divided by the step. */
static void check_linear(scalar function, const void *user, int64_t count, float *x,
                         const float *gradient, double step)
{
    for (int64_t i = 0; i < count; i++) {
        const float kept = x[i];
        x[i] = (float)((double)kept + step);
        const double up = (double)x[i], high = function(x, user);
        x[i] = (float)((double)kept - step);
        const double down = (double)x[i], low = function(x, user);
        x[i] = kept;
        const double expected = (high - low) / (up - down);
        ck_assert_msg(fabs(expected - (double)gradient[i]) <= 2e-4 + 2e-5 * fabs(expected),
                      "element %d: backward gives %g, differences %g", (int)i, (double)gradient[i],
                      expected);
    }
}

/* The same for L in double over doubles. */
typedef double (*smooth)(const double *x, const void *user);

static void check_smooth(smooth function, const void *user, int64_t count, const float *x,
                         const float *gradient)
{
    double *point = malloc((size_t)count * sizeof *point);
    ck_assert_ptr_nonnull(point);
    for (int64_t i = 0; i < count; i++)
        point[i] = (double)x[i];
    for (int64_t i = 0; i < count; i++) {
        const double kept = point[i], step = 1e-5;
        point[i] = kept + step;
        const double high = function(point, user);
        point[i] = kept - step;
        const double low = function(point, user);
        point[i] = kept;
        const double expected = (high - low) / (2.0 * step);
        ck_assert_msg(fabs(expected - (double)gradient[i]) <= 2e-6 + 1e-5 * fabs(expected),
                      "element %d: backward gives %g, differences %g", (int)i, (double)gradient[i],
                      expected);
    }
    free(point);
}

/* --- convolution and dense ---------------------------------------------------------------- */

typedef struct conv_case {
    nmi_conv_shape shape;
    nmi_conv_path path;
    int64_t items, outputs;
    float *x, *w, *bias, *c, *packed, *y;
    void *workspace;
} conv_case;

static double conv_loss(const conv_case *p, const float *x, const float *w, const float *bias)
{
    nmi_epilogue e = NMI_EPILOGUE_NONE;
    e.bias = bias;
    nmi_conv_pack(p->path, &p->shape, w, p->packed);
    nmi_conv_forward(p->path, &p->shape, p->items, x, p->packed, &e, p->y, p->workspace);
    return weighted(p->outputs, p->c, p->y);
}

static double conv_of_input(const float *x, const void *user)
{
    const conv_case *p = user;
    return conv_loss(p, x, p->w, p->bias);
}

static double conv_of_weights(const float *w, const void *user)
{
    const conv_case *p = user;
    return conv_loss(p, p->x, w, p->bias);
}

static double conv_of_bias(const float *bias, const void *user)
{
    const conv_case *p = user;
    return conv_loss(p, p->x, p->w, bias);
}

START_TEST(convolution)
{
    static const nmi_conv_shape shapes[] = {
        {3, 6, 5, 4, 0, 0, 3, 1, 1}, {2, 7, 7, 3, 0, 0, 3, 2, 1}, {4, 5, 6, 17, 0, 0, 1, 2, 0},
        {1, 8, 8, 2, 0, 0, 5, 1, 0}, {2, 8, 7, 3, 0, 0, 2, 3, 1}, {9, 8, 8, 10, 0, 0, 3, 1, 1}};
    conv_case p = {.shape = shapes[_i], .items = 2};
    ck_assert(nmi_conv_shape_complete(&p.shape));
    const nmi_conv_shape *s = &p.shape;
    p.path = nmi_conv_path_of(test_kernels(), NMI_FP32, s);
    const int64_t inputs = p.items * s->in_height * s->in_width * s->in_channels;
    const int64_t weights = s->out_channels * s->in_channels * s->kernel * s->kernel;
    p.outputs = p.items * s->out_height * s->out_width * s->out_channels;
    p.x = make(inputs, 1);
    p.w = make(weights, 2);
    p.bias = make(s->out_channels, 3);
    p.c = make(p.outputs, 4);
    p.y = make(p.outputs, 5);
    p.packed = make((int64_t)nmi_conv_packed_floats(p.path, s), 6);
    p.workspace = malloc(nmi_conv_workspace_bytes(p.path, s) + 1);
    float *transposed = make((int64_t)nmi_conv_packed_transposed_floats(p.path, s), 7);
    float *dx = make(inputs, 8), *dw = calloc((size_t)weights, sizeof *dw);
    float *db = calloc((size_t)s->out_channels, sizeof *db);
    ck_assert(p.workspace != NULL && dw != NULL && db != NULL);

    nmi_conv_pack_transposed(p.path, s, p.w, transposed);
    nmi_conv_backward_input(p.path, s, p.items, p.c, transposed, false, dx, p.workspace);
    check_linear(conv_of_input, &p, inputs, p.x, dx, 0.25);
    memset(p.packed, 0, nmi_conv_gradient_floats(p.path, s) * sizeof *p.packed);
    nmi_conv_backward_weight(p.path, s, p.items, p.x, p.c, p.packed, db, p.workspace);
    nmi_conv_unpack_gradient(p.path, s, p.packed, dw);
    check_linear(conv_of_weights, &p, weights, p.w, dw, 0.25);
    check_linear(conv_of_bias, &p, s->out_channels, p.bias, db, 0.25);

    float *all[] = {p.x, p.w, p.bias, p.c, p.y, p.packed, transposed, dx, dw, db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(p.workspace);
}
END_TEST

enum { ROWS = 5, INPUTS = 19, OUTPUTS = 18 };

typedef struct dense_case {
    float *x, *w, *c, *packed, *y;
} dense_case;

static double dense_loss(const dense_case *p, const float *x, const float *w)
{
    const nmi_dense_shape s = {INPUTS, OUTPUTS};
    nmi_dense_pack(test_kernels(), s, w, p->packed);
    nmi_dense_forward(test_kernels(), s, ROWS, x, INPUTS, p->packed, NULL, p->y, OUTPUTS);
    return weighted(ROWS * OUTPUTS, p->c, p->y);
}

static double dense_of_input(const float *x, const void *user)
{
    const dense_case *p = user;
    return dense_loss(p, x, p->w);
}

static double dense_of_weights(const float *w, const void *user)
{
    const dense_case *p = user;
    return dense_loss(p, p->x, w);
}

START_TEST(dense)
{
    const nmi_dense_shape s = {INPUTS, OUTPUTS};
    dense_case p = {make(ROWS * INPUTS, 1), make(INPUTS * OUTPUTS, 2), make(ROWS * OUTPUTS, 3),
                    make((int64_t)nmi_dense_packed_floats(test_kernels(), s), 4),
                    make(ROWS * OUTPUTS, 5)};
    float *transposed = make((int64_t)nmi_dense_packed_transposed_floats(test_kernels(), s), 6);
    float *dx = make(ROWS * INPUTS, 7), *dw = calloc(INPUTS * OUTPUTS, sizeof *dw);
    ck_assert_ptr_nonnull(dw);
    nmi_dense_pack_transposed(test_kernels(), s, p.w, transposed);
    nmi_dense_backward_input(test_kernels(), s, ROWS, p.c, OUTPUTS, transposed, false, dx, INPUTS);
    check_linear(dense_of_input, &p, ROWS * INPUTS, p.x, dx, 0.25);
    memset(p.packed, 0, nmi_dense_packed_floats(test_kernels(), s) * sizeof *p.packed);
    nmi_dense_backward_weight(test_kernels(), s, ROWS, p.x, INPUTS, p.c, OUTPUTS, p.packed, NULL);
    nmi_dense_unpack_gradient(test_kernels(), s, p.packed, dw);
    check_linear(dense_of_weights, &p, INPUTS * OUTPUTS, p.w, dw, 0.25);
    float *all[] = {p.x, p.w, p.c, p.packed, p.y, transposed, dx, dw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}
END_TEST

/* --- operators without parameters, and per-channel ones --------------------------------------- */

enum { CHANNELS = 5, HEIGHT = 7, WIDTH = 6, ITEMS = 2, PIXELS = HEIGHT * WIDTH };
enum { ELEMENTS = ITEMS * PIXELS * CHANNELS };

/* One operator: y = forward(x), dx (+)= backward(x, y, dy), and the size of y. */
typedef struct operator_case {
    const char *name;
    void (*forward)(const float *x, float *y);
    void (*backward)(const float *x, const float *y, const float *dy, bool accumulate, float *dx);
    int64_t outputs;
    double step; /* small if there are kinks */
} operator_case;

static nmi_pool_shape pool(void)
{
    nmi_pool_shape s = {CHANNELS, HEIGHT, WIDTH, 0, 0, 3, 2, 1};
    ck_assert(nmi_pool_shape_complete(&s));
    return s;
}

static void max_forward(const float *x, float *y)
{
    const nmi_pool_shape s = pool();
    nmi_pool_max_forward(&s, ITEMS, x, y);
}

static void max_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)y;
    const nmi_pool_shape s = pool();
    nmi_pool_max_backward(&s, ITEMS, x, dy, add, dx);
}

static void average_forward(const float *x, float *y)
{
    const nmi_pool_shape s = pool();
    nmi_pool_average_forward(&s, ITEMS, x, y);
}

static void average_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    const nmi_pool_shape s = pool();
    nmi_pool_average_backward(&s, ITEMS, dy, add, dx);
}

static void global_forward(const float *x, float *y)
{
    nmi_pool_global_forward(ITEMS, PIXELS, CHANNELS, x, y);
}

static void global_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_pool_global_backward(ITEMS, PIXELS, CHANNELS, dy, add, dx);
}

static void flatten_forward(const float *x, float *y)
{
    nmi_flatten_forward(ITEMS, CHANNELS, PIXELS, x, y);
}

static void flatten_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_flatten_backward(ITEMS, CHANNELS, PIXELS, dy, add, dx);
}

static void concat_forward(const float *x, float *y)
{
    memset(y, 0, sizeof *y * ITEMS * PIXELS * (CHANNELS + 3));
    nmi_concat_forward(ITEMS * PIXELS, CHANNELS, 2, CHANNELS + 3, x, y);
}

static void concat_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_concat_backward(test_kernels(), ITEMS * PIXELS, CHANNELS, 2, CHANNELS + 3, dy, add, dx);
}

static const nmi_shortcut_shape wider = {CHANNELS, HEIGHT, WIDTH, 8, 2};
static const nmi_shortcut_shape narrower = {CHANNELS, HEIGHT, WIDTH, 2, 2};

static void wider_forward(const float *x, float *y)
{
    nmi_shortcut_forward(&wider, ITEMS, x, y);
}

static void wider_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_shortcut_backward(&wider, ITEMS, dy, add, dx);
}

static void narrower_forward(const float *x, float *y)
{
    nmi_shortcut_forward(&narrower, ITEMS, x, y);
}

static void narrower_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_shortcut_backward(&narrower, ITEMS, dy, add, dx);
}

static void add_forward(const float *x, float *y)
{
    const float *inputs[3] = {x, x, x};
    nmi_add_forward(test_kernels(), 3, inputs, NMI_ACTIVATION_NONE, ELEMENTS, y);
}

static void add_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_add_backward(test_kernels(), ELEMENTS, dy, add, dx);
    nmi_add_backward(test_kernels(), ELEMENTS, dy, true, dx);
    nmi_add_backward(test_kernels(), ELEMENTS, dy, true, dx);
}

static void relu_forward(const float *x, float *y)
{
    nmi_activation_forward(test_kernels(), NMI_ACTIVATION_RELU, ELEMENTS, x, y);
}

static void relu_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    nmi_activation_backward(test_kernels(), NMI_ACTIVATION_RELU, ELEMENTS, y, dy, add, dx);
}

static void scale_forward(const float *x, float *y)
{
    nmi_scale_forward(ELEMENTS, -1.5f, x, y);
}

static void scale_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_scale_backward(test_kernels(), ELEMENTS, -1.5f, dy, add, dx);
}

static const float factors[CHANNELS] = {0.5f, -1.0f, 2.0f, 0.25f, -3.0f};
static const float offsets[CHANNELS] = {1.0f, 2.0f, -1.0f, 0.0f, 0.5f};

static void affine_forward(const float *x, float *y)
{
    nmi_affine_forward(test_kernels(), ITEMS * PIXELS, CHANNELS, factors, offsets, NULL,
                       NMI_ACTIVATION_NONE, x, y);
}

static void affine_backward(const float *x, const float *y, const float *dy, bool add, float *dx)
{
    (void)x;
    (void)y;
    nmi_affine_backward(ITEMS * PIXELS, CHANNELS, factors, dy, add, dx);
}

static const operator_case operators[] = {
    {"max pool", max_forward, max_backward, ITEMS * 4 * 3 * CHANNELS, 1e-5},
    {"average pool", average_forward, average_backward, ITEMS * 4 * 3 * CHANNELS, 0.25},
    {"global pool", global_forward, global_backward, ITEMS *CHANNELS, 0.25},
    {"flatten", flatten_forward, flatten_backward, ELEMENTS, 0.25},
    {"concat", concat_forward, concat_backward, ITEMS *PIXELS *(CHANNELS + 3), 0.25},
    {"wider shortcut", wider_forward, wider_backward, ITEMS * 4 * 3 * 8, 0.25},
    {"narrower shortcut", narrower_forward, narrower_backward, ITEMS * 4 * 3 * 2, 0.25},
    {"add", add_forward, add_backward, ELEMENTS, 0.25},
    {"relu", relu_forward, relu_backward, ELEMENTS, 1e-5},
    {"scale", scale_forward, scale_backward, ELEMENTS, 0.25},
    {"affine", affine_forward, affine_backward, ELEMENTS, 0.25},
};
enum { OPERATORS = sizeof operators / sizeof *operators };

typedef struct operator_run {
    const operator_case *op;
    float *c, *y;
} operator_run;

static double operator_loss(const float *x, const void *user)
{
    const operator_run *run = user;
    run->op->forward(x, run->y);
    return weighted(run->op->outputs, run->c, run->y);
}

START_TEST(operators_without_parameters)
{
    const operator_case *op = &operators[_i];
    operator_run run = {op, make(op->outputs, 2), make(op->outputs, 3)};
    float *x = make(ELEMENTS, 1), *dx = make(ELEMENTS, 4), *sum = make(ELEMENTS, 5);
    float *before = make(ELEMENTS, 5);
    /* Off the kinks: values a step apart could otherwise change places. */
    for (int i = 0; i < ELEMENTS; i++)
        x[i] = (float)((i * 37) % ELEMENTS) * 0.01f - 2.0f + 0.003f;
    op->forward(x, run.y);
    op->backward(x, run.y, run.c, false, dx);
    op->backward(x, run.y, run.c, true, sum);
    check_linear(operator_loss, &run, ELEMENTS, x, dx, op->step);
    for (int i = 0; i < ELEMENTS; i++)
        before[i] += dx[i];
    assert_near(sum, before, ELEMENTS, 1e-5, 0.0); /* a few float additions in another order */
    free(run.c);
    free(run.y);
    free(x);
    free(dx);
    free(sum);
    free(before);
}
END_TEST

START_TEST(scale_and_affine_parameters)
{
    float *x = make(ELEMENTS, 1), *c = make(ELEMENTS, 2);
    double alpha = 0.0, scale[CHANNELS] = {0.0}, shift[CHANNELS] = {0.0};
    double expected_scale[CHANNELS] = {0.0}, expected_shift[CHANNELS] = {0.0};
    for (int i = 0; i < ELEMENTS; i++) {
        alpha += (double)x[i] * (double)c[i];
        expected_scale[i % CHANNELS] += (double)x[i] * (double)c[i];
        expected_shift[i % CHANNELS] += (double)c[i];
    }
    ck_assert_double_eq_tol(nmi_scale_backward_alpha(ELEMENTS, x, c), alpha, 1e-12);
    nmi_affine_backward_parameters(ITEMS * PIXELS, CHANNELS, x, c, scale, shift);
    for (int k = 0; k < CHANNELS; k++) {
        ck_assert_double_eq_tol(scale[k], expected_scale[k], 1e-12);
        ck_assert_double_eq_tol(shift[k], expected_shift[k], 1e-12);
    }
    free(x);
    free(c);
}
END_TEST

/* --- functions that are not linear, again in double ----------------------------------------- */

static double elu_loss(const double *x, const void *user)
{
    const float *c = user;
    double sum = 0.0;
    for (int i = 0; i < ELEMENTS; i++)
        sum += (double)c[i] * (x[i] > 0.0 ? x[i] : expm1(x[i]));
    return sum;
}

START_TEST(elu)
{
    float *x = make(ELEMENTS, 1), *c = make(ELEMENTS, 2), *y = make(ELEMENTS, 3);
    float *dx = calloc(ELEMENTS, sizeof *dx), *sum = calloc(ELEMENTS, sizeof *sum);
    ck_assert(dx != NULL && sum != NULL);
    nmi_activation_forward(test_kernels(), NMI_ACTIVATION_ELU, ELEMENTS, x, y);
    nmi_activation_backward(test_kernels(), NMI_ACTIVATION_ELU, ELEMENTS, y, c, false, dx);
    check_smooth(elu_loss, c, ELEMENTS, x, dx);
    nmi_activation_backward(test_kernels(), NMI_ACTIVATION_ELU, ELEMENTS, y, c, true, sum);
    check_smooth(elu_loss, c, ELEMENTS, x, sum);
    free(x);
    free(c);
    free(y);
    free(dx);
    free(sum);
}
END_TEST

static const float epsilon = 0.01f;

typedef struct norm_case {
    const float *x, *c;
} norm_case;

/* parameters: gamma then beta. */
static double norm_value(const double *x, const double *parameters, const float *c)
{
    const int rows = ITEMS * PIXELS;
    double sum = 0.0;
    for (int k = 0; k < CHANNELS; k++) {
        double mean = 0.0, variance = 0.0;
        for (int r = 0; r < rows; r++)
            mean += x[r * CHANNELS + k] / rows;
        for (int r = 0; r < rows; r++)
            variance += pow(x[r * CHANNELS + k] - mean, 2.0) / rows;
        for (int r = 0; r < rows; r++)
            sum += (double)c[r * CHANNELS + k] * (parameters[k] * (x[r * CHANNELS + k] - mean) /
                                                      sqrt(variance + (double)epsilon) +
                                                  parameters[CHANNELS + k]);
    }
    return sum;
}

static double norm_of_input(const double *x, const void *user)
{
    double parameters[2 * CHANNELS];
    for (int k = 0; k < CHANNELS; k++) {
        parameters[k] = (double)factors[k];
        parameters[CHANNELS + k] = (double)offsets[k];
    }
    const norm_case *p = user;
    return norm_value(x, parameters, p->c);
}

static double norm_of_parameters(const double *parameters, const void *user)
{
    static double x[ELEMENTS];
    const norm_case *p = user;
    for (int i = 0; i < ELEMENTS; i++)
        x[i] = (double)p->x[i];
    return norm_value(x, parameters, p->c);
}

/* In two chunks, as the layers above run it. */
START_TEST(batch_norm_in_training)
{
    enum { HALF = PIXELS, PART = HALF * CHANNELS };
    float *x = make(ELEMENTS, 1), *c = make(ELEMENTS, 2), *dx = make(ELEMENTS, 3);
    double sum[CHANNELS] = {0.0}, square[CHANNELS] = {0.0};
    double dgamma[CHANNELS] = {0.0}, dbeta[CHANNELS] = {0.0};
    float mean[CHANNELS], inverse[CHANNELS], scale[CHANNELS], shift[CHANNELS];
    for (int h = 0; h < 2; h++)
        nmi_norm_sums(HALF, CHANNELS, x + h * PART, sum, square);
    nmi_norm_finish(CHANNELS, ITEMS * PIXELS, sum, square, factors, offsets, epsilon, 0.1f, mean,
                    inverse, scale, shift, NULL, NULL);
    for (int h = 0; h < 2; h++)
        nmi_norm_backward_sums(HALF, CHANNELS, x + h * PART, c + h * PART, mean, inverse, dgamma,
                               dbeta);
    for (int h = 0; h < 2; h++)
        nmi_norm_backward_input(HALF, CHANNELS, ITEMS * PIXELS, x + h * PART, c + h * PART, mean,
                                inverse, factors, dgamma, dbeta, false, dx + h * PART);
    const norm_case p = {x, c};
    check_smooth(norm_of_input, &p, ELEMENTS, x, dx);
    float parameters[2 * CHANNELS], gradient[2 * CHANNELS];
    for (int k = 0; k < CHANNELS; k++) {
        parameters[k] = factors[k];
        parameters[CHANNELS + k] = offsets[k];
        gradient[k] = (float)dgamma[k];
        gradient[CHANNELS + k] = (float)dbeta[k];
    }
    check_smooth(norm_of_parameters, &p, 2 * CHANNELS, parameters, gradient);
    free(x);
    free(c);
    free(dx);
}
END_TEST

enum { CLASSES = 7, LOGITS = ITEMS * CLASSES };
static const int64_t labels[ITEMS] = {3, 0};
static const float smoothing = 0.1f, temperature = 3.0f;

static double log_probability(const double *z, int k, double t)
{
    double sum = 0.0;
    for (int j = 0; j < CLASSES; j++)
        sum += exp(z[j] / t);
    return z[k] / t - log(sum);
}

static double entropy_loss(const double *z, const void *user)
{
    (void)user;
    double sum = 0.0;
    for (int i = 0; i < ITEMS; i++)
        for (int k = 0; k < CLASSES; k++) {
            double target =
                (double)smoothing / CLASSES + (k == labels[i] ? 1.0 - (double)smoothing : 0.0);
            sum -= 0.5 * target * log_probability(z + i * CLASSES, k, 1.0);
        }
    return sum;
}

static double distillation_loss(const double *z, const void *user)
{
    const float *teacher = user;
    const double t = (double)temperature;
    double sum = 0.0;
    for (int i = 0; i < ITEMS; i++) {
        double goal[CLASSES];
        for (int k = 0; k < CLASSES; k++)
            goal[k] = (double)teacher[i * CLASSES + k];
        for (int k = 0; k < CLASSES; k++) {
            double p = log_probability(goal, k, t);
            sum += 0.5 * t * t * exp(p) * (p - log_probability(z + i * CLASSES, k, t));
        }
    }
    return sum;
}

static double norm_loss(const double *w, const void *user)
{
    (void)user;
    double sum = 0.0;
    for (int i = 0; i < LOGITS; i++)
        sum += w[i] * w[i];
    return 0.5 * sqrt(sum);
}

static double reconstruction_loss(const double *w, const void *user)
{
    const float *target = user;
    double sum = 0.0, largest = 0.0;
    for (int i = 0; i < LOGITS; i++)
        largest = test_larger(largest, fabs((double)target[i]) + 1e-6);
    for (int i = 0; i < LOGITS; i++)
        sum += 0.5 * (fabs((double)target[i]) + 1e-6) / largest *
               pow(w[i] - (double)target[i], 2.0) / LOGITS;
    return sum;
}

START_TEST(losses)
{
    float *z = make(LOGITS, 1), *goal = make(LOGITS, 2), *d = make(LOGITS, 3);
    double point[LOGITS], loss[ITEMS];
    for (int i = 0; i < LOGITS; i++)
        point[i] = (double)z[i];

    nmi_cross_entropy(ITEMS, CLASSES, z, labels, smoothing, 0.5f, false, loss, d);
    ck_assert_double_eq_tol(0.5 * (loss[0] + loss[1]), entropy_loss(point, NULL), 1e-9);
    check_smooth(entropy_loss, NULL, LOGITS, z, d);

    nmi_distillation(ITEMS, CLASSES, z, goal, temperature, 0.5f, false, loss, d);
    ck_assert_double_eq_tol(0.5 * (loss[0] + loss[1]), distillation_loss(point, goal), 1e-9);
    check_smooth(distillation_loss, goal, LOGITS, z, d);

    memset(d, 0, LOGITS * sizeof *d);
    ck_assert_double_eq_tol(0.5 * nmi_loss_norm(LOGITS, z, 0.5f, d), norm_loss(point, NULL), 1e-9);
    check_smooth(norm_loss, NULL, LOGITS, z, d);

    memset(d, 0, LOGITS * sizeof *d);
    ck_assert_double_eq_tol(0.5 * nmi_loss_reconstruction(LOGITS, z, goal, true, 0.5f, d),
                            reconstruction_loss(point, goal), 1e-9);
    check_smooth(reconstruction_loss, goal, LOGITS, z, d);
    free(z);
    free(goal);
    free(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor gradients");
    TCase *tests = tcase_create("gradients");
    tcase_add_loop_test(tests, convolution, 0, 6);
    tcase_add_test(tests, dense);
    tcase_add_loop_test(tests, operators_without_parameters, 0, OPERATORS);
    tcase_add_test(tests, scale_and_affine_parameters);
    tcase_add_test(tests, elu);
    tcase_add_test(tests, batch_norm_in_training);
    tcase_add_test(tests, losses);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
