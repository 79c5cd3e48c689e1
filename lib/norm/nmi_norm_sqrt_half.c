/* SPDX-License-Identifier: MIT */
/*
 * Square root of one half: fold, then y = relu((x + F(x)) / sqrt 2), or relu((s x + F(x)) / sqrt 2)
 * with a learnable s, as among the replacements tried for arXiv 2505.05510.
 *
 * So that the outputs stay as they are, each node now holds its old value divided by 2^(e/2), where
 * e counts the halved sums on the way. Everything between two convolutions but ELU passes such a
 * factor on; biases are divided by it; the last convolution or linear node gives it back. Where
 * ways with different e meet (a CONCAT, or a SELECT of different depths), gains level them, so
 * that the function is the same at every depth.
 */
#include "nmi_norm.h"
#include "nmi_residual.h"

#include <math.h>

typedef struct rewrite_plan {
    const int32_t *branch; /* [node_count] as nmi_residual_branches() */
    int32_t *exponent;     /* [node_count] e of what stands for an old node */
    int32_t last;          /* the node that gives the factor back */
    bool learned;          /* RESIDUAL_LEARNED */
} rewrite_plan;

/* 2^(e/2) */
static double factor(int32_t exponent)
{
    return exp2(0.5 * (double)exponent);
}

/* The convolution or linear node that alone makes the output, -1 if there is none. */
static int32_t find_last(const nmi_topology *topology)
{
    int32_t node = topology->output;
    while (nmi_rewrite_uses(topology, node) == 1) {
        if (nmi_rewrite_has_kernel(&topology->nodes[node]))
            return node;
        if (topology->nodes[node].input_count != 1)
            break;
        node = topology->nodes[node].inputs[0];
    }
    return -1;
}

/* e of the sums, before gains: what all inputs are levelled to. */
static int32_t input_exponent(const nmi_node *node, const int32_t *exponent)
{
    int32_t most = 0;
    for (int32_t input = 0; input < node->input_count; input++)
        if (exponent[node->inputs[input]] > most)
            most = exponent[node->inputs[input]];
    return most;
}

static int32_t output_exponent(const nmi_topology *topology, const rewrite_plan *plan, int32_t node)
{
    if (node == plan->last)
        return 0;
    return input_exponent(&topology->nodes[node], plan->exponent) + (plan->branch[node] >= 0);
}

static neumeta_status check_homogeneous(const nmi_network *network, rewrite_plan *plan)
{
    const nmi_topology *topology = network->topology;
    for (int32_t number = 0; number < topology->node_count; number++) {
        const nmi_node *node = &topology->nodes[number];
        plan->exponent[number] = output_exponent(topology, plan, number);
        if (node->op == NEUMETA_OP_GROUP_NORM && plan->exponent[number] > 0)
            return nmi_fail(network->object.context, NEUMETA_ERR_UNSUPPORTED,
                            "'%s' comes after a residual sum and is a group norm: the factor of "
                            "the sum cannot be carried through it",
                            node->name);
        if (node->op == NEUMETA_OP_ACTIVATION && node->function != 0 && plan->exponent[number] > 0)
            return nmi_fail(network->object.context, NEUMETA_ERR_UNSUPPORTED,
                            "'%s' comes after a residual sum and is no relu: the factor of the "
                            "sum cannot be carried through it",
                            node->name);
    }
    return NEUMETA_OK;
}

/* The caller frees both arrays of *plan, also after a failure. */
static neumeta_status make_plan(const nmi_network *network, int32_t **branch, rewrite_plan *plan)
{
    nmi_context *context = network->object.context;
    const nmi_topology *topology = network->topology;
    neumeta_status status = nmi_residual_branches(context, topology, branch);
    if (status != NEUMETA_OK)
        return status;
    plan->branch = *branch;
    plan->last = find_last(topology);
    if (plan->last < 0)
        return nmi_fail(context, NEUMETA_ERR_UNSUPPORTED,
                        "no convolution or linear node alone makes the output '%s', so that none "
                        "can take up the factors of the residual sums",
                        topology->nodes[topology->output].name);
    plan->exponent = nmi_alloc_array(context, topology->node_count, sizeof *plan->exponent);
    if (plan->exponent == NULL)
        return NEUMETA_ERR_MEMORY;
    return check_homogeneous(network, plan);
}

static neumeta_status sqrt_half_matches(const nmi_network *network)
{
    nmi_context *context = network->object.context;
    rewrite_plan plan = {NULL, NULL, -1, false};
    int32_t *branch = NULL;
    neumeta_status status = nmi_norm_method_fold.matches(network);
    if (status == NEUMETA_OK)
        status = make_plan(network, &branch, &plan);
    nmi_free(context, branch);
    nmi_free(context, plan.exponent);
    return status;
}

/* Inputs of smaller e than the others get a gain of 2^-((most - e)/2). */
static neumeta_status level_inputs(nmi_rewrite *rewrite, int32_t old)
{
    const rewrite_plan *plan = rewrite->user;
    const nmi_node *node = &rewrite->source->topology->nodes[old];
    int32_t most = input_exponent(node, plan->exponent);
    neumeta_status status = NEUMETA_OK;
    for (int32_t input = 0; input < node->input_count && status == NEUMETA_OK; input++) {
        int32_t source = node->inputs[input];
        if (plan->exponent[source] < most)
            status =
                nmi_rewrite_insert(rewrite, NEUMETA_OP_GAIN, "level", source,
                                   factor(plan->exponent[source] - most), &rewrite->inputs[input]);
    }
    return status;
}

static neumeta_status sqrt_half_node(nmi_rewrite *rewrite, int32_t old)
{
    const rewrite_plan *plan = rewrite->user;
    int32_t branch = plan->branch[old];
    nmi_rewrite_inputs(rewrite, old);
    neumeta_status status = level_inputs(rewrite, old);
    if (status == NEUMETA_OK && branch >= 0 && plan->learned)
        status = nmi_rewrite_insert(rewrite, NEUMETA_OP_SCALE, "skip", old, 1.0,
                                    &rewrite->inputs[1 - branch]);
    if (status == NEUMETA_OK)
        status = nmi_rewrite_put(rewrite, old, &rewrite->source->topology->nodes[old]);
    if (status == NEUMETA_OK && branch >= 0)
        status = nmi_rewrite_insert(rewrite, NEUMETA_OP_GAIN, "half", old, factor(-1),
                                    &rewrite->map[old]);
    return status;
}

static void multiply(nmi_tensor *tensor, double by)
{
    for (int64_t i = 0; tensor != NULL && i < tensor->count; i++)
        tensor->data[i] = (float)((double)tensor->data[i] * by);
}

static neumeta_status sqrt_half_values(nmi_rewrite *rewrite, int32_t old, nmi_network *result)
{
    const rewrite_plan *plan = rewrite->user;
    const nmi_node *node = &rewrite->source->topology->nodes[old];
    double carried = factor(input_exponent(node, plan->exponent));
    if (old == plan->last) {
        multiply(nmi_rewrite_tensor(rewrite, result, old, NMI_ROLE_WEIGHT), carried);
    } else {
        multiply(nmi_rewrite_tensor(rewrite, result, old, NMI_ROLE_BIAS), 1.0 / carried);
        multiply(nmi_rewrite_tensor(rewrite, result, old, NMI_ROLE_AFFINE_BIAS), 1.0 / carried);
    }
    return NEUMETA_OK;
}

static neumeta_status sqrt_half_rewrite(const nmi_network *network, const nmi_options *options,
                                        nmi_network **out)
{
    nmi_context *context = network->object.context;
    rewrite_plan plan = {NULL, NULL, -1,
                         nmi_options_int(options, NEUMETA_KEY_RESIDUAL_LEARNED) != 0};
    nmi_network *folded = NULL;
    int32_t *branch = NULL;
    neumeta_status status = nmi_norm_method_fold.rewrite(network, NULL, &folded);
    if (status == NEUMETA_OK)
        status = make_plan(folded, &branch, &plan);
    if (status == NEUMETA_OK)
        status = nmi_rewrite_run(folded, sqrt_half_node, sqrt_half_values, &plan, out);
    nmi_free(context, branch);
    nmi_free(context, plan.exponent);
    nmi_network_release(folded);
    return status;
}

const nmi_norm_method nmi_norm_method_sqrt_half = {
    .number = NEUMETA_NORM_SQRT_HALF,
    .name = "sqrt-half",
    .key = NEUMETA_KEY_RESIDUAL_LEARNED,
    .matches = sqrt_half_matches,
    .rewrite = sqrt_half_rewrite,
};
