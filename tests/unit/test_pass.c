/* SPDX-License-Identifier: MIT */
/* A training pass at a size whose chunks are cut into slices, which the gradients' graphs are too
 * small for. */
#include "nmi_networks.h"
#include "nmi_pass.h"

enum { CHANNELS = 16, SIDE = 32, ITEMS = 128, CLASSES = 4 };

/* What a norm yields goes to a convolution that is computed with a later sum. `late`: the
 * convolution of the other branch comes between the two, so that a stretch ends there. */
static nmi_network *make_block(nmi_context *context, bool late)
{
    nmi_topology *t = test_topology(context);
    const int32_t width = test_axis(t, "width", NEUMETA_AXIS_WIDTH, CHANNELS, CHANNELS);
    const int32_t classes = test_axis(t, "classes", NEUMETA_AXIS_WIDTH, CLASSES, CLASSES);
    const int32_t stem = test_conv(t, "stem", test_input(t, 3, SIDE), width);
    int32_t n =
        test_unary(t, "relu", NEUMETA_OP_ACTIVATION, test_unary(t, "norm", NEUMETA_OP_NORM, stem));
    int32_t branch = late ? -1 : test_conv(t, "branch", stem, width);
    n = test_conv(t, "main", n, width);
    branch = late ? test_conv(t, "branch", stem, width) : branch;
    n = test_unary(t, "pool", NEUMETA_OP_POOL_GLOBAL,
                   test_join(t, "sum", NEUMETA_OP_ADD, n, branch));
    return test_sealed(t, test_linear(t, "fc", n, classes), 5);
}

typedef struct step {
    nmi_network *network;
    float *outputs, *gradients[16]; /* of the tensors */
} step;

static step take_step(nmi_context *context, nmi_network *network, const float *inputs)
{
    nmi_topology *t = network->topology;
    step s = {.network = network, .outputs = malloc(ITEMS * CLASSES * sizeof(float))};
    float *direction = malloc(ITEMS * CLASSES * sizeof *direction);
    bool *norms = calloc((size_t)t->node_count, sizeof *norms);
    nmi_pass *pass = NULL;
    ck_assert_int_le(t->tensor_count, 16);
    for (int32_t n = 0; n < t->node_count; n++)
        norms[n] = t->nodes[n].op == NEUMETA_OP_NORM;
    for (int32_t i = 0; i < t->tensor_count; i++)
        s.gradients[i] = calloc((size_t)network->tensors[i].count, sizeof(float));
    test_fill(direction, ITEMS * CLASSES, 7, -1, 1);
    assert_ok(context, nmi_pass_create(context, t, network->sizes, ITEMS, NMI_FP32, &pass));
    memcpy(s.outputs, nmi_pass_forward(pass, network, inputs, ITEMS, norms),
           ITEMS * CLASSES * sizeof *s.outputs);
    nmi_pass_backward(pass, network, direction, s.gradients);
    nmi_pass_free(pass);
    free(norms);
    free(direction);
    return s;
}

static void free_step(step *s)
{
    for (int32_t i = 0; i < s->network->topology->tensor_count; i++)
        free(s->gradients[i]);
    free(s->outputs);
    nmi_network_release(s->network);
}

static void assert_close(const char *what, const float *a, const float *b, int64_t count)
{
    float most = 0, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        most = fmaxf(most, fabsf(b[i]));
        difference = fmaxf(difference, fabsf(a[i] - b[i]));
    }
    ck_assert_msg(difference <= 1e-4f * most, "%s: off by %g of %g", what, (double)difference,
                  (double)most);
}

START_TEST(the_order_of_branches_changes_nothing)
{
    nmi_context *context = test_context();
    nmi_network *networks[] = {make_block(context, false), make_block(context, true)};
    float *inputs = malloc((size_t)ITEMS * 3 * SIDE * SIDE * sizeof *inputs);
    test_fill(inputs, (int64_t)ITEMS * 3 * SIDE * SIDE, 6, -1, 1);
    const nmi_topology *t = networks[0]->topology;
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const nmi_tensor *from = &networks[0]->tensors[i];
        memcpy(nmi_network_find(networks[1], t->tensors[i].name)->data, from->data,
               (size_t)from->count * sizeof(float));
    }
    nmi_network_touch(networks[1]);
    step early = take_step(context, networks[0], inputs);
    step late = take_step(context, networks[1], inputs);
    assert_close("outputs", late.outputs, early.outputs, ITEMS * CLASSES);
    for (int32_t i = 0; i < t->tensor_count; i++) {
        const char *name = t->tensors[i].name;
        const int32_t other = nmi_graph_find_tensor(networks[1]->topology, name);
        assert_close(name, late.gradients[other], early.gradients[i],
                     networks[0]->tensors[i].count);
    }
    free_step(&early);
    free_step(&late);
    free(inputs);
    nmi_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("passes");
    TCase *cases = tcase_create("passes");
    tcase_add_test(cases, the_order_of_branches_changes_nothing);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
