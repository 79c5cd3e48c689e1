/* SPDX-License-Identifier: MIT */
/*
 * The table of operators and the checks of one node. Every setting of a node has a key, so its
 * range is known from the table of settings: nodes from options, from code and from files pass
 * through the same loop.
 */
#include "nmi_build.h"

#include <inttypes.h>
#include <string.h>

enum { INPUTS_MAX = NMI_OP_INPUTS_MAX, SELECT_MAX = NMI_GRAPH_DEPTH_MAX + 1 };

#define K(name) NEUMETA_KEY_##name
static const nmi_op_rule rules[] = {
    [NEUMETA_OP_INPUT] =
        {"input", 0, 0, false, {K(INPUT_CHANNELS), K(INPUT_HEIGHT), K(INPUT_WIDTH)}},
    [NEUMETA_OP_CONV] =
        {"conv", 1, 1, true, {K(KERNEL), K(STRIDE), K(PADDING), K(BIAS), K(MULTIPLE)}},
    [NEUMETA_OP_LINEAR] = {"linear", 1, 1, true, {K(BIAS), K(MULTIPLE)}},
    [NEUMETA_OP_NORM] = {"norm", 1, 1, false, {K(EPSILON), K(NORM_MOMENTUM)}},
    [NEUMETA_OP_ACTIVATION] = {"activation", 1, 1, false, {K(FUNCTION)}},
    [NEUMETA_OP_ADD] = {"add", 2, INPUTS_MAX, false, {0}},
    [NEUMETA_OP_CONCAT] = {"concat", 2, INPUTS_MAX, false, {0}},
    [NEUMETA_OP_POOL_MAX] = {"pool-max", 1, 1, false, {K(KERNEL), K(STRIDE), K(PADDING)}},
    [NEUMETA_OP_POOL_AVERAGE] = {"pool-average", 1, 1, false, {K(KERNEL), K(STRIDE), K(PADDING)}},
    [NEUMETA_OP_POOL_GLOBAL] = {"pool-global", 1, 1, false, {0}},
    [NEUMETA_OP_FLATTEN] = {"flatten", 1, 1, false, {0}},
    [NEUMETA_OP_SHORTCUT] = {"shortcut", 1, 1, true, {K(STRIDE), K(MULTIPLE)}},
    [NEUMETA_OP_SCALE] = {"scale", 1, 1, false, {K(VALUE)}},
    [NEUMETA_OP_AFFINE] = {"affine", 1, 1, false, {0}},
    [NEUMETA_OP_GAIN] = {"gain", 1, 1, false, {K(VALUE)}},
    [NEUMETA_OP_SELECT] = {"select", 2, SELECT_MAX, false, {0}},
    [NEUMETA_OP_GROUP_NORM] = {"group-norm", 1, 1, false, {K(EPSILON), K(GROUP_CHANNELS)}},
};
#undef K

const nmi_op_rule *nmi_op_rule_of(int32_t op)
{
    if (op < 1 || op >= (int32_t)(sizeof rules / sizeof *rules))
        return NULL;
    return &rules[op];
}

int32_t nmi_op_key_count(const nmi_op_rule *rule)
{
    int32_t count = 0;
    while (count < NMI_OP_KEYS_MAX && rule->keys[count] != 0)
        count++;
    return count;
}

const char *nmi_op_name(int32_t op)
{
    const nmi_op_rule *rule = nmi_op_rule_of(op);
    return rule != NULL ? rule->name : "unknown";
}

double nmi_node_setting(const nmi_node *node, int32_t key)
{
    switch (key) {
    case NEUMETA_KEY_KERNEL:
        return (double)node->kernel;
    case NEUMETA_KEY_STRIDE:
        return (double)node->stride;
    case NEUMETA_KEY_PADDING:
        return (double)node->padding;
    case NEUMETA_KEY_BIAS:
        return node->bias ? 1.0 : 0.0;
    case NEUMETA_KEY_MULTIPLE:
        return (double)node->multiple;
    case NEUMETA_KEY_FUNCTION:
        return (double)node->function;
    case NEUMETA_KEY_EPSILON:
        return node->epsilon;
    case NEUMETA_KEY_NORM_MOMENTUM:
        return node->momentum;
    case NEUMETA_KEY_VALUE:
        return node->value;
    case NEUMETA_KEY_GROUP_CHANNELS:
        return (double)node->group;
    case NEUMETA_KEY_INPUT_CHANNELS:
        return (double)node->channels;
    case NEUMETA_KEY_INPUT_HEIGHT:
        return (double)node->height;
    default:
        return (double)node->width;
    }
}

void nmi_node_set(nmi_node *node, int32_t key, double value)
{
    switch (key) {
    case NEUMETA_KEY_KERNEL:
        node->kernel = (int64_t)value;
        break;
    case NEUMETA_KEY_STRIDE:
        node->stride = (int64_t)value;
        break;
    case NEUMETA_KEY_PADDING:
        node->padding = (int64_t)value;
        break;
    case NEUMETA_KEY_BIAS:
        node->bias = value > 0.0;
        break;
    case NEUMETA_KEY_MULTIPLE:
        node->multiple = (int64_t)value;
        break;
    case NEUMETA_KEY_FUNCTION:
        node->function = (int32_t)value;
        break;
    case NEUMETA_KEY_EPSILON:
        node->epsilon = value;
        break;
    case NEUMETA_KEY_NORM_MOMENTUM:
        node->momentum = value;
        break;
    case NEUMETA_KEY_VALUE:
        node->value = value;
        break;
    case NEUMETA_KEY_GROUP_CHANNELS:
        node->group = (int64_t)value;
        break;
    case NEUMETA_KEY_INPUT_CHANNELS:
        node->channels = (int64_t)value;
        break;
    case NEUMETA_KEY_INPUT_HEIGHT:
        node->height = (int64_t)value;
        break;
    default:
        node->width = (int64_t)value;
        break;
    }
}

nmi_node nmi_node_default(int32_t op)
{
    nmi_node node = {.op = op,
                     .axis = -1,
                     .multiple = 1,
                     .kernel = 1,
                     .stride = 1,
                     .block = -1,
                     .depth_axis = -1};
    const nmi_op_rule *rule = nmi_op_rule_of(op);
    for (int32_t i = 0; rule != NULL && i < nmi_op_key_count(rule); i++)
        nmi_node_set(&node, rule->keys[i], nmi_key_find(rule->keys[i])->initial);
    return node;
}

neumeta_status nmi_node_from_options(nmi_context *context, const char *name, int32_t op,
                                     const nmi_options *options, nmi_node *node)
{
    const nmi_op_rule *rule = nmi_op_rule_of(op);
    if (rule == NULL || op == NEUMETA_OP_SELECT)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': operator %" PRId32 " is not one of NEUMETA_OP_INPUT to "
                        "NEUMETA_OP_GAIN, nor NEUMETA_OP_GROUP_NORM",
                        name, op);
    *node = nmi_node_default(op);
    int32_t count = nmi_op_key_count(rule);
    neumeta_status status = nmi_options_allow(context, options, rule->name, rule->keys, count);
    if (status != NEUMETA_OK)
        return nmi_fail_within(context, status, "node '%s'", name);
    for (int32_t i = 0; i < count; i++) {
        int32_t key = rule->keys[i];
        int32_t type = nmi_key_find(key)->type;
        nmi_node_set(node, key,
                     type == NEUMETA_TYPE_REAL     ? nmi_options_real(options, key)
                     : type == NEUMETA_TYPE_CHOICE ? (double)nmi_options_choice(options, key)
                                                   : (double)nmi_options_int(options, key));
    }
    return NEUMETA_OK;
}

void nmi_node_normalize(const nmi_node *node, nmi_node *out)
{
    *out = nmi_node_default(node->op);
    const nmi_op_rule *rule = nmi_op_rule_of(node->op);
    for (int32_t i = 0; i < nmi_op_key_count(rule); i++)
        nmi_node_set(out, rule->keys[i], nmi_node_setting(node, rule->keys[i]));
    out->name = node->name;
    out->inputs = node->inputs;
    out->input_count = node->input_count;
    out->axis = rule->axis ? node->axis : -1;
    out->block = node->block;
    out->depth_axis = node->depth_axis;
    out->depth_number = node->depth_axis >= 0 ? node->depth_number : 0;
}

/* --- checks ---------------------------------------------------------------------------------- */

static int32_t choice_count(const nmi_key *key)
{
    int32_t count = 1;
    for (const char *c = key->choices; *c != '\0'; c++)
        count += *c == '|' ? 1 : 0;
    return count;
}

static neumeta_status check_settings(nmi_context *context, const nmi_node *node,
                                     const nmi_op_rule *rule)
{
    for (int32_t i = 0; i < nmi_op_key_count(rule); i++) {
        const nmi_key *key = nmi_key_find(rule->keys[i]);
        bool choice = key->type == NEUMETA_TYPE_CHOICE;
        double low = choice ? 0.0 : key->minimum;
        double high = choice ? choice_count(key) - 1 : key->maximum;
        double value = nmi_node_setting(node, key->number);
        if (!(value >= low && value <= high))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "node '%s': %s is %g, must lie in [%g, %g]", node->name, key->name,
                            value, low, high);
    }
    const bool slides = node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_POOL_MAX ||
                        node->op == NEUMETA_OP_POOL_AVERAGE;
    if (slides && node->padding >= node->kernel)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': PADDING is %" PRId64 ", must be below KERNEL (%" PRId64
                        "), or a window would see no pixel",
                        node->name, node->padding, node->kernel);
    return NEUMETA_OK;
}

/* Whether `input` is live wherever its reader is: `number` is the lowest repetition that reads. */
static bool input_is_live(const nmi_node *input, int32_t depth_axis, int64_t number)
{
    if (input->depth_axis < 0 || input->op == NEUMETA_OP_SELECT)
        return true;
    return input->depth_axis == depth_axis && input->depth_number <= number;
}

static neumeta_status check_inputs(const nmi_topology *topology, const nmi_node *node,
                                   const nmi_op_rule *rule)
{
    nmi_context *context = topology->object.context;
    if (node->input_count < rule->inputs_min || node->input_count > rule->inputs_max)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': %s takes %" PRId32 " to %" PRId32 " inputs, not %" PRId32,
                        node->name, rule->name, rule->inputs_min, rule->inputs_max,
                        node->input_count);
    bool select = node->op == NEUMETA_OP_SELECT;
    for (int32_t i = 0; i < node->input_count; i++) {
        int32_t input = node->inputs[i];
        if (input < 0 || input >= topology->node_count)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "node '%s': input %" PRId32 " is node %" PRId32
                            ", must be one of the %" PRId32 " nodes before it",
                            node->name, i, input, topology->node_count);
        /* SELECT reads input i at depth depth_number + i, where repetitions below that are live. */
        int64_t number = select ? node->depth_number + i - 1 : node->depth_number;
        if (!input_is_live(&topology->nodes[input], node->depth_axis, number))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "node '%s': input '%s' is inside a repeat and not always present; use "
                            "the node that ends the repeat",
                            node->name, topology->nodes[input].name);
    }
    return NEUMETA_OK;
}

static neumeta_status check_axis(const nmi_topology *topology, const nmi_node *node,
                                 const nmi_op_rule *rule)
{
    nmi_context *context = topology->object.context;
    if (!rule->axis) {
        if (node->axis == -1)
            return NEUMETA_OK;
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': %s takes its channels from its inputs, so axis must be -1, "
                        "not %" PRId32,
                        node->name, rule->name, node->axis);
    }
    if (node->axis < 0 || node->axis >= topology->axis_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': axis is %" PRId32 ", must be one of the %" PRId32
                        " axes added so far",
                        node->name, node->axis, topology->axis_count);
    if (topology->axes[node->axis].kind != NEUMETA_AXIS_WIDTH)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': axis '%s' is a depth, must be a width", node->name,
                        topology->axes[node->axis].name);
    return NEUMETA_OK;
}

static neumeta_status check_depth(const nmi_topology *topology, const nmi_node *node)
{
    nmi_context *context = topology->object.context;
    bool select = node->op == NEUMETA_OP_SELECT;
    if (node->depth_axis == -1 && !select)
        return NEUMETA_OK;
    if (node->depth_axis < 0 || node->depth_axis >= topology->axis_count ||
        topology->axes[node->depth_axis].kind != NEUMETA_AXIS_DEPTH)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': depth axis %" PRId32 " is not an axis of kind depth",
                        node->name, node->depth_axis);
    const nmi_axis *axis = &topology->axes[node->depth_axis];
    int64_t last = select ? axis->min : axis->max - 1;
    if (node->depth_number < 0 || node->depth_number > last)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': number on depth axis '%s' is %" PRId64
                        ", must lie in [0, %" PRId64 "]",
                        node->name, axis->name, node->depth_number, last);
    if (select && node->input_count != axis->max - node->depth_number + 1)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': select has %" PRId32
                        " inputs, must have one for each depth, %" PRId64,
                        node->name, node->input_count, axis->max - node->depth_number + 1);
    if (node->op == NEUMETA_OP_INPUT)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': an input node cannot be inside a repeat", node->name);
    return NEUMETA_OK;
}

static neumeta_status check_place(const nmi_topology *topology, const nmi_node *node)
{
    nmi_context *context = topology->object.context;
    if (topology->node_count >= NMI_GRAPH_NODES_MAX)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "node '%s': a topology has at most %d nodes",
                        node->name, (int)NMI_GRAPH_NODES_MAX);
    if (nmi_topology_has_node(topology, node->name))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "node '%s': the name is taken", node->name);
    if (node->block < -1 || node->block >= topology->block_count)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': block is %" PRId32 ", must lie in [-1, %" PRId32 "]",
                        node->name, node->block, topology->block_count - 1);
    if (node->op == NEUMETA_OP_INPUT && topology->node_count > 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': a topology has one input node, '%s', which comes first",
                        node->name, topology->nodes[0].name);
    return NEUMETA_OK;
}

neumeta_status nmi_node_check(const nmi_topology *topology, const nmi_node *node)
{
    nmi_context *context = topology->object.context;
    neumeta_status status = nmi_name_check(context, "node", node->name);
    if (status != NEUMETA_OK)
        return status;
    const nmi_op_rule *rule = nmi_op_rule_of(node->op);
    if (rule == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "node '%s': operator %" PRId32 " does not exist", node->name, node->op);
    if ((status = check_place(topology, node)) == NEUMETA_OK &&
        (status = check_depth(topology, node)) == NEUMETA_OK &&
        (status = check_inputs(topology, node, rule)) == NEUMETA_OK &&
        (status = check_axis(topology, node, rule)) == NEUMETA_OK)
        status = check_settings(context, node, rule);
    return status;
}
