/* SPDX-License-Identifier: MIT */
/*
 * Gradients of a manifold's parameters through batch statistics: the network of a training step is
 * emitted, run with norms of the minibatch, and run backward to the parameters. Along the gradient
 * g itself the loss must change by |g|^2 a unit, to what central differences in float can tell:
 * 1 %, and twice that where the step crosses kinks of ReLU.
 */
#include "nmi_manifolds.h"
#include "nmi_pass.h"

#include <math.h>

enum { ITEMS = 6, CLASSES = 20, TENSORS = 32 };

typedef struct step {
    nmi_manifold *manifold;
    nmi_network *network;
    nmi_pass *pass;
    float *inputs;
    float weights[ITEMS * CLASSES]; /* of the outputs in the loss */
    bool norms[32];
} step;

static double loss_of(step *s)
{
    double loss = 0;
    assert_ok(s->manifold->object.context,
              nmi_manifold_emit(s->manifold, s->network, NULL, NULL, NMI_FP32));
    const float *outputs = nmi_pass_forward(s->pass, s->network, s->inputs, ITEMS, s->norms);
    for (int i = 0; i < ITEMS * CLASSES; i++)
        loss += (double)s->weights[i] * (double)outputs[i];
    return loss;
}

static void move(step *s, float *const *gradients, double by)
{
    for (int32_t t = 0; t < s->manifold->topology->tensor_count; t++)
        for (int64_t i = 0; i < s->manifold->fields[t].parameter_count; i++)
            s->manifold->fields[t].parameters[i] += (float)(by * (double)gradients[t][i]);
}

static void check_gradient(const char *settings)
{
    neumeta_context *ctx = test_context();
    neumeta_topology *t = make_topology(ctx, true);
    nmi_network *full = make_network(ctx, t, 16, 14);
    step s = {.manifold = make_manifold(ctx, t, settings), .network = make_network(ctx, t, 16, 9)};
    float *weights[TENSORS] = {NULL}, *gradients[TENSORS] = {NULL};
    nmi_network_initialize(full, 3);
    nmi_manifold_hold(s.manifold, full);
    s.inputs = calloc(ITEMS * 3 * 32 * 32, sizeof(float));
    test_fill(s.inputs, ITEMS * 3 * 32 * 32, 6, -1, 1);
    test_fill(s.weights, ITEMS * CLASSES, 7, -1, 1);
    for (int32_t n = 0; n < t->node_count; n++)
        s.norms[n] = t->nodes[n].op == NEUMETA_OP_NORM;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        weights[i] = calloc((size_t)full->tensors[i].count, sizeof(float));
        gradients[i] = calloc((size_t)s.manifold->fields[i].parameter_count + 1, sizeof(float));
    }
    assert_ok(ctx, nmi_pass_create(ctx, t, full->sizes, ITEMS, NMI_FP32, &s.pass));
    loss_of(&s);
    nmi_pass_backward(s.pass, s.network, s.weights, weights);
    assert_ok(ctx, nmi_manifold_backward(s.manifold, s.network, NULL, NULL, NMI_FP32, weights,
                                         gradients));
    double squared = 0;
    for (int32_t i = 0; i < t->tensor_count; i++)
        for (int64_t k = 0; k < s.manifold->fields[i].parameter_count; k++)
            squared += (double)gradients[i][k] * (double)gradients[i][k];
    const double by = 5e-3 / sqrt(squared);
    move(&s, gradients, by);
    const double above = loss_of(&s);
    move(&s, gradients, -2 * by);
    const double below = loss_of(&s);
    const double slope = (above - below) / (2 * by);
    ck_assert_msg(squared > 0 && fabs(slope - squared) < 0.02 * squared, "%s: %g, must be %g",
                  settings, slope, squared);
    for (int32_t i = 0; i < t->tensor_count; i++) {
        free(weights[i]);
        free(gradients[i]);
    }
    free(s.inputs);
    nmi_pass_free(s.pass);
    nmi_network_release(s.network);
    nmi_network_release(full);
    nmi_manifold_release(s.manifold);
    neumeta_topology_free(t);
    neumeta_context_free(ctx);
}

START_TEST(parameters_of_inrs_feel_batch_statistics)
{
    check_gradient(SMALL "MORPH_BLOCKS=0");
    check_gradient("INR_KIND=grid GRID_TERMS=1 MORPH_BLOCKS=0");
    check_gradient("INR_KIND=grid GRID_GAUGE=relative MORPH_BLOCKS=0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("norm gradients");
    TCase *cases = tcase_create("norms");
    tcase_add_test(cases, parameters_of_inrs_feel_batch_statistics);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
