/* SPDX-License-Identifier: MIT */
/*
 * Training passes of whole networks against central differences in double. A plain evaluator in
 * double, written here from the operators' definitions alone, gives outputs and differences; the
 * library's inference, forward and backward must agree with it on graphs that together use every
 * operator, shared outputs, repeats and batch statistics.
 */
#include "nmi_pass.h"
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

enum { ITEMS_MOST = 19 };

/* Float kernels against double: some hundred roundings of 6e-8 each, relative to the largest. */
#define TOLERANCE 1e-4

/* --- the evaluator --------------------------------------------------------------------------- */

typedef struct evaluator {
    const nmi_network *network;
    const bool *batch_norm; /* NULL: running statistics */
    int64_t items;
    double **tensors; /* [tensor_count] */
    double **values;  /* [node_count] NCHW */
} evaluator;

static const double *tensor_of(const evaluator *e, int32_t node, nmi_role role)
{
    int32_t tensor = nmi_graph_node_tensor(e->network->topology, node, role);
    return tensor >= 0 ? e->tensors[tensor] : NULL;
}

static int32_t source_of(const evaluator *e, int32_t node)
{
    const nmi_topology *topology = e->network->topology;
    while (topology->nodes[node].op == NEUMETA_OP_SELECT)
        node = nmi_graph_source(topology, e->network->sizes, node);
    return node;
}

static int64_t floats_of(const evaluator *e, int32_t node)
{
    const nmi_shape *shape = &e->network->shapes[node];
    return shape->channels * shape->height * shape->width;
}

static double pixel(const nmi_shape *shape, const double *x, int64_t i, int64_t c, int64_t row,
                    int64_t column)
{
    if (row < 0 || column < 0 || row >= shape->height || column >= shape->width)
        return 0.0;
    return x[((i * shape->channels + c) * shape->height + row) * shape->width + column];
}

/* One element of a convolution or linear node. */
static double product_at(const evaluator *e, int32_t n, const nmi_shape *in, const double *x,
                         int64_t i, int64_t o, int64_t row, int64_t column)
{
    const nmi_node *node = &e->network->topology->nodes[n];
    const double *w = tensor_of(e, n, NMI_ROLE_WEIGHT);
    const double *b = tensor_of(e, n, NMI_ROLE_BIAS);
    int64_t k = node->op == NEUMETA_OP_CONV ? node->kernel : 1;
    double sum = b != NULL ? b[o] : 0.0;
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = 0; y < k; y++)
            for (int64_t z = 0; z < k; z++)
                sum += w[((o * in->channels + c) * k + y) * k + z] *
                       pixel(in, x, i, c, row * node->stride - node->padding + y,
                             column * node->stride - node->padding + z);
    return sum;
}

static double pool_at(const nmi_node *node, const nmi_shape *in, const double *x, int64_t i,
                      int64_t c, int64_t row, int64_t column)
{
    bool global = node->op == NEUMETA_OP_POOL_GLOBAL;
    int64_t top = global ? 0 : row * node->stride - node->padding;
    int64_t left = global ? 0 : column * node->stride - node->padding;
    int64_t high = global ? in->height : node->kernel;
    int64_t wide = global ? in->width : node->kernel;
    double sum = 0.0;
    double most = -INFINITY;
    int64_t valid = 0;
    for (int64_t y = top; y < top + high; y++)
        for (int64_t z = left; z < left + wide; z++)
            if (y >= 0 && z >= 0 && y < in->height && z < in->width) {
                double value = pixel(in, x, i, c, y, z);
                sum += value;
                most = test_larger(most, value);
                valid++;
            }
    return node->op == NEUMETA_OP_POOL_MAX ? most : sum / (double)valid;
}

/* Mean and biased variance of a channel over the batch. */
static void statistics(const evaluator *e, int32_t n, const double *x, int64_t c, double *mean,
                       double *variance)
{
    const nmi_shape *s = &e->network->shapes[n];
    int64_t pixels = s->height * s->width;
    double count = (double)(e->items * pixels);
    *mean = *variance = 0.0;
    for (int64_t i = 0; i < e->items; i++)
        for (int64_t p = 0; p < pixels; p++)
            *mean += x[(i * s->channels + c) * pixels + p] / count;
    for (int64_t i = 0; i < e->items; i++)
        for (int64_t p = 0; p < pixels; p++) {
            double d = x[(i * s->channels + c) * pixels + p] - *mean;
            *variance += d * d / count;
        }
}

/* Mean and biased variance of one item over the group of channel c. */
static void group_statistics(const evaluator *e, int32_t n, const double *x, int64_t i, int64_t c,
                             double *mean, double *variance)
{
    const nmi_shape *s = &e->network->shapes[n];
    const int64_t size = e->network->topology->nodes[n].group, pixels = s->height * s->width;
    const int64_t groups = s->channels / size > 0 ? s->channels / size : 1;
    const int64_t group = c / size < groups ? c / size : groups - 1;
    const int64_t first = group * size, end = group < groups - 1 ? first + size : s->channels;
    const double count = (double)((end - first) * pixels);
    const double *values = x + (i * s->channels + first) * pixels;
    *mean = *variance = 0.0;
    for (int64_t p = 0; p < (end - first) * pixels; p++)
        *mean += values[p] / count;
    for (int64_t p = 0; p < (end - first) * pixels; p++)
        *variance += (values[p] - *mean) * (values[p] - *mean) / count;
}

/* Operators that treat each channel of an item alike: y = scale x + shift. */
static void channel_line(const evaluator *e, int32_t n, const double *x, int64_t i, int64_t c,
                         double *scale, double *shift)
{
    const nmi_node *node = &e->network->topology->nodes[n];
    *shift = 0.0;
    if (node->op == NEUMETA_OP_NORM) {
        double mean = tensor_of(e, n, NMI_ROLE_RUNNING_MEAN)[c];
        double variance = tensor_of(e, n, NMI_ROLE_RUNNING_VAR)[c];
        if (e->batch_norm != NULL && e->batch_norm[n])
            statistics(e, n, x, c, &mean, &variance);
        *scale = tensor_of(e, n, NMI_ROLE_NORM_WEIGHT)[c] / sqrt(variance + node->epsilon);
        *shift = tensor_of(e, n, NMI_ROLE_NORM_BIAS)[c] - mean * *scale;
    } else if (node->op == NEUMETA_OP_GROUP_NORM) {
        double mean, variance;
        group_statistics(e, n, x, i, c, &mean, &variance);
        *scale = tensor_of(e, n, NMI_ROLE_NORM_WEIGHT)[c] / sqrt(variance + node->epsilon);
        *shift = tensor_of(e, n, NMI_ROLE_NORM_BIAS)[c] - mean * *scale;
    } else if (node->op == NEUMETA_OP_AFFINE) {
        *scale = tensor_of(e, n, NMI_ROLE_AFFINE_WEIGHT)[c];
        *shift = tensor_of(e, n, NMI_ROLE_AFFINE_BIAS)[c];
    } else {
        *scale = node->op == NEUMETA_OP_SCALE ? *tensor_of(e, n, NMI_ROLE_SCALE) : node->value;
    }
}

/* Sum, concatenation and everything that maps element to element. */
static double element_at(const evaluator *e, int32_t n, int64_t i, int64_t c, int64_t row,
                         int64_t column)
{
    const nmi_node *node = &e->network->topology->nodes[n];
    double sum = 0.0;
    for (int32_t k = 0; k < node->input_count; k++) {
        int32_t source = source_of(e, node->inputs[k]);
        const nmi_shape *in = &e->network->shapes[source];
        const double *x = e->values[source];
        if (node->op == NEUMETA_OP_ADD) {
            sum += pixel(in, x, i, c, row, column);
        } else if (node->op == NEUMETA_OP_CONCAT) {
            if (c >= 0 && c < in->channels)
                return pixel(in, x, i, c, row, column);
            c -= in->channels;
        } else if (node->op == NEUMETA_OP_SHORTCUT) {
            int64_t from = c - (e->network->shapes[n].channels - in->channels) / 2;
            return from < 0 || from >= in->channels
                       ? 0.0
                       : pixel(in, x, i, from, row * node->stride, column * node->stride);
        } else { /* ACTIVATION */
            double value = pixel(in, x, i, c, row, column);
            return value > 0.0 ? value : node->function == 0 ? 0.0 : exp(value) - 1.0;
        }
    }
    return sum;
}

static void evaluate_node(const evaluator *e, int32_t n)
{
    const nmi_node *node = &e->network->topology->nodes[n];
    const nmi_shape *out = &e->network->shapes[n];
    int32_t source = source_of(e, node->inputs[0]);
    const nmi_shape *in = &e->network->shapes[source];
    const double *x = e->values[source];
    double *y = e->values[n];
    if (node->op == NEUMETA_OP_FLATTEN) {
        memcpy(y, x, (size_t)(e->items * floats_of(e, n)) * sizeof *y);
        return;
    }
    bool line = node->op == NEUMETA_OP_NORM || node->op == NEUMETA_OP_GROUP_NORM ||
                node->op == NEUMETA_OP_AFFINE || node->op == NEUMETA_OP_SCALE ||
                node->op == NEUMETA_OP_GAIN;
    bool product = node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR;
    bool pool = node->op >= NEUMETA_OP_POOL_MAX && node->op <= NEUMETA_OP_POOL_GLOBAL;
    for (int64_t c = 0; c < out->channels; c++) {
        for (int64_t i = 0; i < e->items; i++) {
            double scale = 1.0;
            double shift = 0.0;
            /* Statistics of the batch are the same for each item. */
            if (line)
                channel_line(e, n, x, i, c, &scale, &shift);
            for (int64_t row = 0; row < out->height; row++)
                for (int64_t column = 0; column < out->width; column++)
                    y[((i * out->channels + c) * out->height + row) * out->width + column] =
                        line      ? scale * pixel(in, x, i, c, row, column) + shift
                        : product ? product_at(e, n, in, x, i, c, row, column)
                        : pool    ? pool_at(node, in, x, i, c, row, column)
                                  : element_at(e, n, i, c, row, column);
        }
    }
}

static const double *evaluate(const evaluator *e)
{
    const nmi_topology *topology = e->network->topology;
    for (int32_t n = 1; n < topology->node_count; n++)
        if (topology->nodes[n].op != NEUMETA_OP_SELECT && e->network->shapes[n].channels > 0)
            evaluate_node(e, n);
    return e->values[source_of(e, topology->output)];
}

static evaluator evaluator_create(const nmi_network *network, const bool *batch_norm, int64_t items,
                                  const float *inputs)
{
    const nmi_topology *topology = network->topology;
    evaluator e = {.network = network, .batch_norm = batch_norm, .items = items};
    e.tensors = calloc((size_t)topology->tensor_count + 1, sizeof *e.tensors);
    e.values = calloc((size_t)topology->node_count, sizeof *e.values);
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        e.tensors[t] = calloc((size_t)network->tensors[t].count + 1, sizeof **e.tensors);
        for (int64_t i = 0; i < network->tensors[t].count; i++)
            e.tensors[t][i] = (double)network->tensors[t].data[i];
    }
    for (int32_t n = 0; n < topology->node_count; n++)
        e.values[n] = calloc((size_t)(items * floats_of(&e, n)) + 1, sizeof **e.values);
    for (int64_t i = 0; i < items * floats_of(&e, 0); i++)
        e.values[0][i] = (double)inputs[i];
    return e;
}

static void evaluator_free(evaluator *e)
{
    for (int32_t t = 0; t < e->network->topology->tensor_count; t++)
        free(e->tensors[t]);
    for (int32_t n = 0; n < e->network->topology->node_count; n++)
        free(e->values[n]);
    free(e->tensors);
    free(e->values);
}

/* --- graphs ---------------------------------------------------------------------------------- */

typedef struct builder {
    neumeta_context *context;
    neumeta_topology *topology;
} builder;

/* Settings as "NAME=value NAME=value"; inputs as an array closed by -1. */
static int32_t add(const builder *b, const char *name, int32_t op, const int32_t *inputs,
                   int32_t axis, const char *settings)
{
    neumeta_options *options = NULL;
    int32_t count = 0;
    int32_t node = -1;
    char key[32];
    char value[32];
    int length;
    while (inputs[count] >= 0)
        count++;
    assert_ok(b->context, neumeta_options_create(b->context, &options));
    while (sscanf(settings, " %31[^=]=%31s%n", key, value, &length) == 2) {
        assert_ok(b->context, neumeta_options_parse(options, key, value));
        settings += length;
    }
    assert_ok(b->context, neumeta_topology_add_node(b->topology, name, op, inputs, count, axis,
                                                    options, &node));
    neumeta_options_free(options);
    return node;
}
#define FROM(...) ((const int32_t[]){__VA_ARGS__, -1})

static int32_t width(const builder *b, const char *name, int64_t min, int64_t max)
{
    int32_t axis = -1;
    assert_ok(b->context,
              neumeta_topology_add_axis(b->topology, name, NEUMETA_AXIS_WIDTH, min, max, 1, &axis));
    return axis;
}

#define CONV3 "KERNEL=3 PADDING=1 BIAS=0"

/* Convolutions, norms, both activations, max pooling, flatten, linear. */
static int32_t build_chain(const builder *b)
{
    int32_t x = add(b, "x", NEUMETA_OP_INPUT, FROM(-1), -1,
                    "INPUT_CHANNELS=3 INPUT_HEIGHT=9 INPUT_WIDTH=7");
    x = add(b, "c1", NEUMETA_OP_CONV, FROM(x), width(b, "a", 2, 5), CONV3);
    x = add(b, "n1", NEUMETA_OP_NORM, FROM(x), -1, "");
    x = add(b, "r1", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    x = add(b, "c2", NEUMETA_OP_CONV, FROM(x), width(b, "b", 3, 6), "KERNEL=3 STRIDE=2");
    x = add(b, "n2", NEUMETA_OP_NORM, FROM(x), -1, "EPSILON=0.001");
    x = add(b, "r2", NEUMETA_OP_ACTIVATION, FROM(x), -1, "FUNCTION=elu");
    x = add(b, "p", NEUMETA_OP_POOL_MAX, FROM(x), -1, "KERNEL=2 STRIDE=1");
    x = add(b, "f", NEUMETA_OP_FLATTEN, FROM(x), -1, "");
    x = add(b, "l1", NEUMETA_OP_LINEAR, FROM(x), width(b, "h", 4, 8), "BIAS=0");
    x = add(b, "r3", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    return add(b, "l2", NEUMETA_OP_LINEAR, FROM(x), width(b, "o", 4, 4), "");
}

/* Residual blocks with norms; outputs shared by branch, sum and shortcut; scale and gain. */
static int32_t build_residual(const builder *b)
{
    int32_t stream = width(b, "stream", 4, 4);
    int32_t x = add(b, "x", NEUMETA_OP_INPUT, FROM(-1), -1,
                    "INPUT_CHANNELS=2 INPUT_HEIGHT=6 INPUT_WIDTH=6");
    x = add(b, "c0", NEUMETA_OP_CONV, FROM(x), stream, CONV3);
    x = add(b, "r0", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    int32_t y = add(b, "c1", NEUMETA_OP_CONV, FROM(x), width(b, "inner", 1, 5), CONV3);
    y = add(b, "n1", NEUMETA_OP_NORM, FROM(y), -1, "");
    y = add(b, "r1", NEUMETA_OP_ACTIVATION, FROM(y), -1, "");
    y = add(b, "c2", NEUMETA_OP_CONV, FROM(y), stream, CONV3);
    y = add(b, "n2", NEUMETA_OP_NORM, FROM(y), -1, "");
    y = add(b, "s2", NEUMETA_OP_SCALE, FROM(y), -1, "VALUE=0.7");
    x = add(b, "add2", NEUMETA_OP_ADD, FROM(y, x), -1, "");
    x = add(b, "r2", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    int32_t wide = width(b, "wide", 8, 8);
    y = add(b, "c3", NEUMETA_OP_CONV, FROM(x), wide, "KERNEL=3 PADDING=1 STRIDE=2");
    int32_t s = add(b, "short", NEUMETA_OP_SHORTCUT, FROM(x), wide, "STRIDE=2");
    int32_t p = add(b, "proj", NEUMETA_OP_CONV, FROM(x), wide, "KERNEL=1 STRIDE=2 BIAS=0");
    p = add(b, "np", NEUMETA_OP_NORM, FROM(p), -1, "");
    x = add(b, "add3", NEUMETA_OP_ADD, FROM(s, y, p), -1, "");
    x = add(b, "g3", NEUMETA_OP_GAIN, FROM(x), -1, "VALUE=0.7071");
    x = add(b, "r3", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    x = add(b, "pool", NEUMETA_OP_POOL_GLOBAL, FROM(x), -1, "");
    return add(b, "l", NEUMETA_OP_LINEAR, FROM(x), width(b, "o", 3, 3), "");
}

/* No norms: sums and activations computed with the convolutions; affine; concatenation; average
 * pooling; an image as output. */
static int32_t build_branches(const builder *b)
{
    int32_t c = width(b, "c", 3, 4);
    int32_t x = add(b, "x", NEUMETA_OP_INPUT, FROM(-1), -1,
                    "INPUT_CHANNELS=1 INPUT_HEIGHT=5 INPUT_WIDTH=8");
    x = add(b, "c0", NEUMETA_OP_CONV, FROM(x), c, "KERNEL=3 PADDING=1");
    x = add(b, "r0", NEUMETA_OP_ACTIVATION, FROM(x), -1, "FUNCTION=elu");
    int32_t y = add(b, "c1", NEUMETA_OP_CONV, FROM(x), c, "KERNEL=3 PADDING=1");
    y = add(b, "add1", NEUMETA_OP_ADD, FROM(x, y), -1, "");
    y = add(b, "r1", NEUMETA_OP_ACTIVATION, FROM(y), -1, "");
    int32_t z = add(b, "affine", NEUMETA_OP_AFFINE, FROM(x), -1, "");
    z = add(b, "pool", NEUMETA_OP_POOL_AVERAGE, FROM(z), -1, "KERNEL=3 PADDING=1");
    x = add(b, "cat", NEUMETA_OP_CONCAT, FROM(z, y, x), -1, "");
    x = add(b, "c2", NEUMETA_OP_CONV, FROM(x), c, "KERNEL=3 PADDING=1 MULTIPLE=2");
    x = add(b, "affine2", NEUMETA_OP_AFFINE, FROM(x), -1, "");
    x = add(b, "r2", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    x = add(b, "twice", NEUMETA_OP_ADD, FROM(x, x), -1, "");
    return add(b, "c3", NEUMETA_OP_CONV, FROM(x), width(b, "o", 2, 2), "KERNEL=3 STRIDE=2");
}

/* Two repeats, one behind the other, with and without norms, each after a fixed block. */
static int32_t build_repeats(const builder *b)
{
    int32_t stream = width(b, "stream", 3, 3);
    int32_t depth;
    int32_t x = add(b, "x", NEUMETA_OP_INPUT, FROM(-1), -1,
                    "INPUT_CHANNELS=2 INPUT_HEIGHT=5 INPUT_WIDTH=5");
    x = add(b, "c0", NEUMETA_OP_CONV, FROM(x), stream, CONV3);
    for (int r = 0; r < 2; r++) {
        assert_ok(b->context, neumeta_topology_add_axis(b->topology, r == 0 ? "d1" : "d2",
                                                        NEUMETA_AXIS_DEPTH, 1, 3, 1, &depth));
        assert_ok(b->context,
                  neumeta_topology_begin_repeat(b->topology, r == 0 ? "a" : "b", depth, 1, x));
        int32_t y = add(b, "r", NEUMETA_OP_ACTIVATION, FROM(x), -1, "FUNCTION=elu");
        y = add(b, "c1", NEUMETA_OP_CONV, FROM(y), width(b, "w", 1, 3), CONV3);
        if (r == 0)
            y = add(b, "n", NEUMETA_OP_NORM, FROM(y), -1, "");
        y = add(b, "r1", NEUMETA_OP_ACTIVATION, FROM(y), -1, "");
        y = add(b, "c2", NEUMETA_OP_CONV, FROM(y), stream, "KERNEL=3 PADDING=1");
        y = add(b, "add", NEUMETA_OP_ADD, FROM(x, y), -1, "");
        assert_ok(b->context, neumeta_topology_end_repeat(b->topology, y, &x));
    }
    x = add(b, "last", NEUMETA_OP_ACTIVATION, FROM(x), -1, "");
    return add(b, "pool", NEUMETA_OP_POOL_GLOBAL, FROM(x), -1, "");
}

/* Group norms of several groups, of one, with a group that has what is left over, behind
 * convolutions and sums, in a repeat, and of single values. */
static int32_t build_groups(const builder *b)
{
    int32_t stream = width(b, "stream", 4, 7), depth;
    int32_t x = add(b, "x", NEUMETA_OP_INPUT, FROM(-1), -1,
                    "INPUT_CHANNELS=2 INPUT_HEIGHT=5 INPUT_WIDTH=6");
    x = add(b, "c0", NEUMETA_OP_CONV, FROM(x), stream, CONV3);
    x = add(b, "n0", NEUMETA_OP_GROUP_NORM, FROM(x), -1, "GROUP_CHANNELS=2");
    x = add(b, "r0", NEUMETA_OP_ACTIVATION, FROM(x), -1, "FUNCTION=elu");
    assert_ok(b->context,
              neumeta_topology_add_axis(b->topology, "d", NEUMETA_AXIS_DEPTH, 1, 3, 1, &depth));
    assert_ok(b->context, neumeta_topology_begin_repeat(b->topology, "a", depth, 1, x));
    int32_t y = add(b, "c1", NEUMETA_OP_CONV, FROM(x), width(b, "w", 1, 6), CONV3);
    y = add(b, "n1", NEUMETA_OP_GROUP_NORM, FROM(y), -1, "EPSILON=0.01 GROUP_CHANNELS=3");
    y = add(b, "r1", NEUMETA_OP_ACTIVATION, FROM(y), -1, "FUNCTION=elu");
    y = add(b, "c2", NEUMETA_OP_CONV, FROM(y), stream, CONV3);
    y = add(b, "n2", NEUMETA_OP_GROUP_NORM, FROM(y), -1, "");
    y = add(b, "add", NEUMETA_OP_ADD, FROM(x, y), -1, "");
    y = add(b, "n3", NEUMETA_OP_GROUP_NORM, FROM(y), -1, "GROUP_CHANNELS=4");
    assert_ok(b->context, neumeta_topology_end_repeat(b->topology, y, &x));
    y = add(b, "pool", NEUMETA_OP_POOL_GLOBAL, FROM(x), -1, "");
    y = add(b, "n4", NEUMETA_OP_GROUP_NORM, FROM(y), -1, "GROUP_CHANNELS=3");
    return add(b, "l", NEUMETA_OP_LINEAR, FROM(y), width(b, "o", 3, 3), "");
}

static int32_t (*const graphs[])(const builder *) = {build_chain, build_residual, build_branches,
                                                     build_repeats, build_groups};
enum { GRAPHS = sizeof graphs / sizeof graphs[0] };

/* --- comparison ------------------------------------------------------------------------------ */

typedef struct setup {
    neumeta_context *context;
    neumeta_topology *topology;
    nmi_network *network;
    nmi_pass *pass;
    bool *norms; /* every other NORM uses batch statistics, from the first */
    float **gradients;
    float *inputs, *direction; /* d loss / d outputs */
} setup;

static void fill_weights(const nmi_network *network)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++) {
        nmi_role role = network->topology->tensors[t].role;
        bool near_one = role == NMI_ROLE_NORM_WEIGHT || role == NMI_ROLE_RUNNING_VAR ||
                        role == NMI_ROLE_AFFINE_WEIGHT || role == NMI_ROLE_SCALE;
        test_fill(network->tensors[t].data, network->tensors[t].count, 100 + (uint64_t)t,
                  near_one ? 0.6f : -0.5f, near_one ? 1.4f : 0.5f);
    }
}

static setup setup_create(int graph, int64_t batch)
{
    setup s = {.context = test_context()};
    assert_ok(s.context, neumeta_context_set_threads(s.context, 2));
    assert_ok(s.context, neumeta_topology_create(s.context, &s.topology));
    int32_t output = graphs[graph](&(builder){s.context, s.topology});
    assert_ok(s.context, neumeta_topology_seal(s.topology, output));
    assert_ok(s.context, neumeta_network_create(s.topology, NULL, 0, &s.network));
    assert_ok(s.context,
              nmi_pass_create(s.context, s.topology, s.network->sizes, batch, NMI_FP32, &s.pass));
    s.norms = calloc((size_t)s.topology->node_count, sizeof *s.norms);
    s.gradients = calloc((size_t)s.topology->tensor_count + 1, sizeof *s.gradients);
    bool on = true;
    for (int32_t n = 0; n < s.topology->node_count; n++)
        if (s.topology->nodes[n].op == NEUMETA_OP_NORM) {
            s.norms[n] = on;
            on = !on;
        }
    for (int32_t t = 0; t < s.topology->tensor_count; t++)
        if (nmi_role_is_trainable(s.topology->tensors[t].role))
            s.gradients[t] = calloc((size_t)s.network->tensors[t].count, sizeof(float));
    int64_t inputs = batch * nmi_network_input_floats(s.network);
    int64_t outputs = batch * nmi_network_output_floats(s.network);
    s.inputs = malloc((size_t)inputs * sizeof *s.inputs);
    s.direction = malloc((size_t)outputs * sizeof *s.direction);
    test_fill(s.inputs, inputs, 7, -1.0f, 1.0f);
    test_fill(s.direction, outputs, 8, -1.0f, 1.0f);
    fill_weights(s.network);
    nmi_network_touch(s.network);
    return s;
}

static void setup_free(setup *s)
{
    for (int32_t t = 0; t < s->topology->tensor_count; t++)
        free(s->gradients[t]);
    free(s->gradients);
    free(s->norms);
    free(s->inputs);
    free(s->direction);
    nmi_pass_free(s->pass);
    neumeta_network_free(s->network);
    neumeta_topology_free(s->topology);
    neumeta_context_free(s->context);
}

static double loss_of(const evaluator *e, const float *direction, int64_t count)
{
    const double *outputs = evaluate(e);
    double loss = 0.0;
    for (int64_t i = 0; i < count; i++)
        loss += outputs[i] * (double)direction[i];
    return loss;
}

static void compare_outputs(const setup *s, const evaluator *e, const float *actual)
{
    int64_t count = e->items * nmi_network_output_floats(s->network);
    const double *exact = evaluate(e);
    for (int64_t i = 0; i < count; i++)
        ck_assert_double_eq_tol((double)actual[i], exact[i], TOLERANCE * (1.0 + fabs(exact[i])));
}

/* Derivative of the loss by one element. */
static double difference_at(const setup *s, evaluator *e, int32_t tensor, int64_t i)
{
    const double step = 1e-6;
    int64_t outputs = e->items * nmi_network_output_floats(s->network);
    double *w = &e->tensors[tensor][i];
    double kept = *w;
    *w = kept + step;
    double above = loss_of(e, s->direction, outputs);
    *w = kept - step;
    double below = loss_of(e, s->direction, outputs);
    *w = kept;
    return (above - below) / (2.0 * step);
}

/* Some twenty elements of each tensor, at a stride that meets all positions of a kernel. */
static void compare_gradient(const setup *s, evaluator *e, int32_t tensor)
{
    const float *gradient = s->gradients[tensor];
    int64_t count = s->network->tensors[tensor].count;
    double largest = 0.01;
    for (int64_t i = 0; i < count; i++)
        largest = test_larger(largest, fabs((double)gradient[i]));
    for (int64_t i = 0; i < count; i += 2 * (count / 40) + 1) {
        double exact = difference_at(s, e, tensor, i);
        ck_assert_msg(fabs((double)gradient[i] - exact) <= TOLERANCE * largest,
                      "%s[%d] is %g, differences give %g", s->topology->tensors[tensor].name,
                      (int)i, (double)gradient[i], exact);
    }
}

static void clear_gradients(const setup *s)
{
    for (int32_t t = 0; t < s->topology->tensor_count; t++)
        if (s->gradients[t] != NULL && s->network->tensors[t].count > 0)
            memset(s->gradients[t], 0, (size_t)s->network->tensors[t].count * sizeof(float));
}

static void compare_all(setup *s, int64_t items)
{
    float *outputs =
        malloc((size_t)(items * nmi_network_output_floats(s->network)) * sizeof *outputs);
    evaluator fixed = evaluator_create(s->network, NULL, items, s->inputs);
    assert_ok(s->context, nmi_network_run(s->network, s->inputs, items, outputs));
    compare_outputs(s, &fixed, outputs);
    compare_outputs(s, &fixed, nmi_pass_forward(s->pass, s->network, s->inputs, items, NULL));
    evaluator_free(&fixed);

    evaluator trained = evaluator_create(s->network, s->norms, items, s->inputs);
    clear_gradients(s);
    compare_outputs(s, &trained, nmi_pass_forward(s->pass, s->network, s->inputs, items, s->norms));
    nmi_pass_backward(s->pass, s->network, s->direction, s->gradients);
    for (int32_t t = 0; t < s->topology->tensor_count; t++)
        if (s->gradients[t] != NULL && s->network->tensors[t].rank > 0)
            compare_gradient(s, &trained, t);
    evaluator_free(&trained);
    free(outputs);
}

START_TEST(passes_agree_with_central_differences)
{
    static const int64_t items[] = {3, ITEMS_MOST}; /* the last chunk is not full */
    setup s = setup_create(_i, ITEMS_MOST);
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        compare_all(&s, items[i]);
    setup_free(&s);
}
END_TEST

START_TEST(a_pass_serves_smaller_sizes)
{
    setup s = setup_create(_i, 4);
    int64_t sizes[16];
    ck_assert_int_le(s.topology->axis_count, 16);
    for (int round = 0; round < 3; round++) {
        for (int32_t a = 0; a < s.topology->axis_count; a++) {
            const nmi_axis *axis = &s.topology->axes[a];
            sizes[a] = round == 0 ? axis->min : axis->max - (a + round) % 2;
            if (sizes[a] < axis->min)
                sizes[a] = axis->min;
        }
        assert_ok(s.context, nmi_network_resize(s.network, sizes));
        fill_weights(s.network);
        nmi_network_touch(s.network);
        compare_all(&s, 4);
    }
    setup_free(&s);
}
END_TEST

START_TEST(gradients_are_added_and_only_where_wanted)
{
    setup s = setup_create(_i, 5);
    float **wanted = calloc((size_t)s.topology->tensor_count + 1, sizeof *wanted);
    nmi_pass_forward(s.pass, s.network, s.inputs, 5, s.norms);
    nmi_pass_backward(s.pass, s.network, s.direction, s.gradients);
    for (int32_t t = 0; t < s.topology->tensor_count; t++) {
        int64_t count = s.network->tensors[t].count;
        if (s.gradients[t] == NULL)
            continue;
        wanted[t] = malloc((size_t)count * sizeof(float));
        for (int64_t i = 0; i < count; i++)
            wanted[t][i] = 1.0f;
        nmi_pass_backward(s.pass, s.network, s.direction, wanted);
        for (int64_t i = 0; i < count; i++)
            ck_assert_float_eq(wanted[t][i], 1.0f + s.gradients[t][i]);
        free(wanted[t]);
        wanted[t] = NULL;
    }
    free(wanted);
    setup_free(&s);
}
END_TEST

/* Outputs and gradients of a forward again, against those of a pass that knows nothing. */
static void compare_again(setup *s, const bool *changed)
{
    nmi_pass *fresh = NULL;
    const size_t outputs = (size_t)(5 * nmi_network_output_floats(s->network)) * sizeof(float);
    float **expected = calloc((size_t)s->topology->tensor_count + 1, sizeof *expected);
    const float *again = nmi_pass_forward_again(s->pass, s->network, changed);
    clear_gradients(s);
    nmi_pass_backward(s->pass, s->network, s->direction, s->gradients);
    assert_ok(s->context,
              nmi_pass_create(s->context, s->topology, s->network->sizes, 5, NMI_FP32, &fresh));
    ck_assert_mem_eq(again, nmi_pass_forward(fresh, s->network, s->inputs, 5, NULL), outputs);
    for (int32_t t = 0; t < s->topology->tensor_count; t++)
        if (s->gradients[t] != NULL)
            expected[t] = calloc((size_t)s->network->tensors[t].count + 1, sizeof(float));
    nmi_pass_backward(fresh, s->network, s->direction, expected);
    for (int32_t t = 0; t < s->topology->tensor_count; t++) {
        if (expected[t] != NULL && s->network->tensors[t].count > 0)
            ck_assert_mem_eq(s->gradients[t], expected[t],
                             (size_t)s->network->tensors[t].count * sizeof(float));
        free(expected[t]);
    }
    free(expected);
    nmi_pass_free(fresh);
}

START_TEST(a_forward_again_equals_a_fresh_one_to_the_bit)
{
    setup s = setup_create(_i, 5);
    bool *changed = calloc((size_t)s.topology->tensor_count + 1, sizeof *changed);
    int64_t sizes[16], full[16];
    ck_assert_int_le(s.topology->axis_count, 16);
    nmi_graph_full_sizes(s.topology, full);
    nmi_pass_forward(s.pass, s.network, s.inputs, 5, NULL);
    for (int32_t t = 0; t < s.topology->tensor_count; t++) {
        const nmi_tensor *tensor = &s.network->tensors[t];
        for (int64_t i = 0; i < tensor->count; i++)
            tensor->data[i] = 1.1f * tensor->data[i] + 0.01f;
        changed[t] = true;
        compare_again(&s, changed);
        changed[t] = false;
    }
    fill_weights(s.network);
    nmi_pass_forward(s.pass, s.network, s.inputs, 5, NULL);
    for (int32_t a = 0; a < s.topology->axis_count; a++) {
        nmi_graph_full_sizes(s.topology, sizes);
        sizes[a] = s.topology->axes[a].min;
        for (int there = 1; there >= 0; there--) { /* and back */
            assert_ok(s.context, nmi_network_resize(s.network, there ? sizes : full));
            fill_weights(s.network);
            compare_again(&s, changed); /* nothing is marked: shapes tell */
        }
    }
    free(changed);
    setup_free(&s);
}
END_TEST

START_TEST(running_statistics_follow_the_batch)
{
    setup s = setup_create(0, 6);
    evaluator e = evaluator_create(s.network, s.norms, 6, s.inputs);
    evaluate(&e);
    nmi_pass_forward(s.pass, s.network, s.inputs, 6, s.norms);
    for (int32_t n = 0; n < s.topology->node_count; n++) {
        const nmi_node *node = &s.topology->nodes[n];
        if (node->op != NEUMETA_OP_NORM)
            continue;
        int32_t mean_tensor = nmi_graph_node_tensor(s.topology, n, NMI_ROLE_RUNNING_MEAN);
        int32_t variance_tensor = nmi_graph_node_tensor(s.topology, n, NMI_ROLE_RUNNING_VAR);
        const nmi_shape *shape = &s.network->shapes[n];
        double count = (double)(6 * shape->height * shape->width);
        double momentum = s.norms[n] ? node->momentum : 0.0;
        for (int64_t c = 0; c < shape->channels; c++) {
            double mean;
            double variance;
            statistics(&e, n, e.values[node->inputs[0]], c, &mean, &variance);
            variance *= count / (count - 1.0);
            mean = (1.0 - momentum) * e.tensors[mean_tensor][c] + momentum * mean;
            variance = (1.0 - momentum) * e.tensors[variance_tensor][c] + momentum * variance;
            ck_assert_double_eq_tol((double)s.network->tensors[mean_tensor].data[c], mean, 1e-6);
            ck_assert_double_eq_tol((double)s.network->tensors[variance_tensor].data[c], variance,
                                    1e-6);
        }
    }
    evaluator_free(&e);
    setup_free(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("network gradients");
    TCase *tests = tcase_create("differences");
    TCase *threads = tcase_create("threads");
    tcase_set_tags(tests, "sequential");
    tcase_add_loop_test(tests, passes_agree_with_central_differences, 0, GRAPHS);
    tcase_add_loop_test(threads, a_pass_serves_smaller_sizes, 0, GRAPHS);
    tcase_add_loop_test(threads, gradients_are_added_and_only_where_wanted, 0, GRAPHS);
    tcase_add_loop_test(threads, a_forward_again_equals_a_fresh_one_to_the_bit, 0, GRAPHS);
    tcase_add_test(threads, running_statistics_follow_the_batch);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, threads);
    return test_main(suite);
}
