/* SPDX-License-Identifier: MIT */
/* Topologies as JSON, and back through the builder, which repeats every check of a caller. */
#include "nmi_describe.h"

#include "nmi_json.h"
#include "nmi_json_read.h"

#include <string.h>

/* Attributes of a node beyond name, op and inputs. The absent values belong to the format: what
 * equals them is left out. */
typedef struct field {
    const char *name;
    enum { FIELD_INT32, FIELD_INT64, FIELD_BOOL, FIELD_REAL } type;
    size_t offset;
    double absent;
} field;

#define FIELD(member, type, absent)                                                                \
    {                                                                                              \
#member, type, offsetof(nmi_node, member), absent                                          \
    }

static const field fields[] = {
    FIELD(axis, FIELD_INT32, -1),       FIELD(multiple, FIELD_INT64, 1),
    FIELD(kernel, FIELD_INT64, 1),      FIELD(stride, FIELD_INT64, 1),
    FIELD(padding, FIELD_INT64, 0),     FIELD(bias, FIELD_BOOL, 0),
    FIELD(function, FIELD_INT32, 0),    FIELD(epsilon, FIELD_REAL, 1e-5),
    FIELD(momentum, FIELD_REAL, 0.1),   FIELD(value, FIELD_REAL, 1),
    FIELD(channels, FIELD_INT64, 0),    FIELD(height, FIELD_INT64, 0),
    FIELD(width, FIELD_INT64, 0),       FIELD(block, FIELD_INT32, -1),
    FIELD(depth_axis, FIELD_INT32, -1), FIELD(depth_number, FIELD_INT64, 0),
    FIELD(group, FIELD_INT64, 0),
};

enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

static const char *const node_names[] = {"name", "op", "inputs", NULL};
static const char *const axis_names[] = {"name", "kind", "min", "max", "step", NULL};
static const char *const root_names[] = {"format", "axes", "blocks", "nodes", "output", NULL};

/* --- writing: names are printable ASCII --- */

/* The field of `node` as JSON; NULL if it can be left out, which `*absent` says, or memory is
 * short. */
static json_t *field_value(const nmi_node *node, const field *member, bool *absent)
{
    const char *place = (const char *)node + member->offset;
    int32_t small;
    int64_t large;
    bool flag;
    double real;
    switch (member->type) {
    case FIELD_INT32:
        memcpy(&small, place, sizeof small);
        *absent = small == (int32_t)member->absent;
        return *absent ? NULL : json_integer(small);
    case FIELD_INT64:
        memcpy(&large, place, sizeof large);
        *absent = large == (int64_t)member->absent;
        return *absent ? NULL : json_integer(large);
    case FIELD_BOOL:
        memcpy(&flag, place, sizeof flag);
        *absent = !flag;
        return *absent ? NULL : json_true();
    default:
        memcpy(&real, place, sizeof real);
        *absent = memcmp(&real, &member->absent, sizeof real) == 0;
        return *absent ? NULL : json_real(real);
    }
}

static neumeta_status put_fields(nmi_context *context, json_t *object, const nmi_node *node)
{
    for (int32_t i = 0; i < FIELD_COUNT; i++) {
        bool absent = false;
        json_t *value = field_value(node, &fields[i], &absent);
        if (absent)
            continue;
        neumeta_status status = nmi_json_put(context, object, fields[i].name, value);
        if (status < 0)
            return status;
    }
    return NEUMETA_OK;
}

/* A new list or object that `parent` (list: key NULL, or object) owns; NULL after a message. */
static json_t *open_value(nmi_context *context, json_t *parent, const char *key, json_t *value)
{
    neumeta_status status = key == NULL ? nmi_json_append(context, parent, value)
                                        : nmi_json_put(context, parent, key, value);
    return status < 0 ? NULL : value;
}

static neumeta_status put_node(nmi_context *context, json_t *list, const nmi_node *node)
{
    json_t *object = open_value(context, list, NULL, json_object());
    if (object == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = nmi_json_put(context, object, "name", json_string(node->name));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "op", json_string(nmi_op_name(node->op)));
    if (status < 0)
        return status;
    json_t *inputs = open_value(context, object, "inputs", json_array());
    if (inputs == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; status == NEUMETA_OK && i < node->input_count; i++)
        status = nmi_json_append(context, inputs, json_integer(node->inputs[i]));
    return status < 0 ? status : put_fields(context, object, node);
}

static neumeta_status put_axis(nmi_context *context, json_t *list, const nmi_axis *axis)
{
    json_t *object = open_value(context, list, NULL, json_object());
    if (object == NULL)
        return NEUMETA_ERR_MEMORY;
    const char *kind = axis->kind == NEUMETA_AXIS_DEPTH ? "depth" : "width";
    neumeta_status status = nmi_json_put(context, object, "name", json_string(axis->name));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "kind", json_string(kind));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "min", json_integer(axis->min));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "max", json_integer(axis->max));
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, object, "step", json_integer(axis->step));
    return status;
}

static neumeta_status describe(nmi_context *context, json_t *root, const nmi_topology *topology)
{
    neumeta_status status =
        nmi_json_put(context, root, "format", json_integer(NMI_DESCRIBE_FORMAT));
    if (status < 0)
        return status;
    json_t *axes = open_value(context, root, "axes", json_array());
    json_t *blocks = axes == NULL ? NULL : open_value(context, root, "blocks", json_array());
    json_t *nodes = blocks == NULL ? NULL : open_value(context, root, "nodes", json_array());
    if (nodes == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; status == NEUMETA_OK && i < topology->axis_count; i++)
        status = put_axis(context, axes, &topology->axes[i]);
    for (int32_t i = 0; status == NEUMETA_OK && i < topology->block_count; i++)
        status = nmi_json_append(context, blocks, json_string(topology->blocks[i]));
    for (int32_t i = 0; status == NEUMETA_OK && i < topology->node_count; i++)
        status = put_node(context, nodes, &topology->nodes[i]);
    if (status == NEUMETA_OK)
        status = nmi_json_put(context, root, "output", json_integer(topology->output));
    return status;
}

neumeta_status nmi_topology_to_json(const nmi_topology *topology, char **text)
{
    nmi_context *context = topology->object.context;
    NMI_ASSERT(topology->sealed);
    *text = NULL;
    json_t *root = json_object();
    if (root == NULL)
        return nmi_json_memory(context);
    neumeta_status status = describe(context, root, topology);
    if (status == NEUMETA_OK)
        status = nmi_json_print(context, root, text, NULL);
    json_decref(root);
    return status;
}

/* --- reading --- */

/* The place of a name among a list ended by NULL, which is its length if the name is not there. */
static int32_t find_name(const char *const *names, const char *name)
{
    int32_t i = 0;
    while (names[i] != NULL && strcmp(names[i], name) != 0)
        i++;
    return i;
}

static int32_t find_field(const char *name)
{
    int32_t i = 0;
    while (i < FIELD_COUNT && strcmp(fields[i].name, name) != 0)
        i++;
    return i;
}

/* An object of the given names, all of them there, and of node fields if `with_fields`; none of
 * them twice. */
static neumeta_status check_object(nmi_context *context, const char *object,
                                   const char *const *names, bool with_fields)
{
    nmi_json_walk walk = nmi_json_open(object);
    uint64_t seen = 0; /* a bit for each name, then for each field */
    const int32_t count = find_name(names, "");
    if (!nmi_json_is_object(object))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "is not an object");
    while (nmi_json_next(&walk)) {
        int32_t place = find_name(names, walk.name);
        if (place == count)
            place += with_fields ? find_field(walk.name) : FIELD_COUNT;
        if (place == count + FIELD_COUNT)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%.64s' is unknown", walk.name);
        if ((seen >> place & 1) != 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' occurs twice", walk.name);
        seen |= UINT64_C(1) << place;
    }
    for (int32_t i = 0; i < count; i++)
        if ((seen >> i & 1) == 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is missing", names[i]);
    return NEUMETA_OK;
}

static neumeta_status get_text(nmi_context *context, const char *object, const char *name,
                               const char **out)
{
    *out = nmi_json_string(nmi_json_get(object, name));
    if (*out == NULL)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is not a string", name);
    return NEUMETA_OK;
}

static neumeta_status get_integer(nmi_context *context, const char *value, const char *name,
                                  int64_t minimum, int64_t maximum, int64_t *out)
{
    if (!nmi_json_integer(value, out) || *out < minimum || *out > maximum)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is not a whole number from %lld to %lld",
                        name, (long long)minimum, (long long)maximum);
    return NEUMETA_OK;
}

static neumeta_status get_list(nmi_context *context, const char *object, const char *name,
                               const char **out)
{
    *out = nmi_json_get(object, name);
    if (!nmi_json_is_list(*out))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is not a list", name);
    return NEUMETA_OK;
}

static neumeta_status get_field(nmi_context *context, const char *object, const field *member,
                                nmi_node *node)
{
    char *place = (char *)node + member->offset;
    const char *value = nmi_json_get(object, member->name);
    int64_t integer = (int64_t)member->absent;
    double real = member->absent;
    bool flag = member->absent != 0;
    neumeta_status status = NEUMETA_OK;
    switch (member->type) {
    case FIELD_INT32:
        if (value != NULL)
            status = get_integer(context, value, member->name, INT32_MIN, INT32_MAX, &integer);
        memcpy(place, &(int32_t){(int32_t)integer}, sizeof(int32_t));
        return status;
    case FIELD_INT64:
        if (value != NULL)
            status = get_integer(context, value, member->name, INT64_MIN, INT64_MAX, &integer);
        memcpy(place, &integer, sizeof integer);
        return status;
    case FIELD_BOOL:
        if (value != NULL && !nmi_json_boolean(value, &flag))
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is not true or false", member->name);
        memcpy(place, &flag, sizeof flag);
        return status;
    default:
        if (value != NULL && !nmi_json_number(value, &real))
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "'%s' is not a number", member->name);
        memcpy(place, &real, sizeof real);
        return status;
    }
}

static neumeta_status get_op(nmi_context *context, const char *object, int32_t *op)
{
    const char *text;
    neumeta_status status = get_text(context, object, "op", &text);
    if (status < 0)
        return status;
    for (int32_t i = NEUMETA_OP_INPUT; i <= NEUMETA_OP_GROUP_NORM; i++)
        if (strcmp(nmi_op_name(i), text) == 0) {
            *op = i;
            return NEUMETA_OK;
        }
    return nmi_fail(context, NEUMETA_ERR_FORMAT, "op '%.64s' is unknown", text);
}

/* Fills `node`, whose name and inputs the caller frees. */
static neumeta_status get_node(nmi_context *context, const char *object, nmi_node *node)
{
    const char *name = NULL;
    const char *inputs = NULL;
    int32_t op = 0;
    neumeta_status status = check_object(context, object, node_names, true);
    if (status == NEUMETA_OK)
        status = get_text(context, object, "name", &name);
    if (status == NEUMETA_OK)
        status = get_op(context, object, &op);
    if (status == NEUMETA_OK)
        status = get_list(context, object, "inputs", &inputs);
    if (status < 0)
        return status;
    *node = nmi_node_default(op);
    for (int32_t i = 0; status == NEUMETA_OK && i < FIELD_COUNT; i++)
        status = get_field(context, object, &fields[i], node);
    if (status < 0)
        return status;
    nmi_json_walk walk = nmi_json_open(inputs);
    node->input_count = (int32_t)nmi_json_count(inputs);
    node->name = nmi_text_copy(context, name);
    node->inputs = nmi_alloc_array(context, node->input_count, sizeof *node->inputs);
    if (node->name == NULL || node->inputs == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; status == NEUMETA_OK && nmi_json_next(&walk); i++) {
        int64_t input;
        status = get_integer(context, walk.value, "inputs", 0, INT32_MAX, &input);
        node->inputs[i] = (int32_t)input;
    }
    return status;
}

static neumeta_status add_node(nmi_topology *topology, const char *object)
{
    nmi_context *context = topology->object.context;
    nmi_node node = {0};
    int32_t number;
    neumeta_status status = get_node(context, object, &node);
    if (status == NEUMETA_OK)
        status = nmi_topology_append_node(topology, &node, &number);
    nmi_free(context, node.name);
    nmi_free(context, node.inputs);
    return status;
}

static neumeta_status add_axis(nmi_topology *topology, const char *object)
{
    nmi_context *context = topology->object.context;
    const char *name = NULL, *kind = NULL;
    int64_t bounds[3] = {0};
    int32_t axis;
    neumeta_status status = check_object(context, object, axis_names, false);
    if (status == NEUMETA_OK)
        status = get_text(context, object, "name", &name);
    if (status == NEUMETA_OK)
        status = get_text(context, object, "kind", &kind);
    for (int32_t i = 0; status == NEUMETA_OK && i < 3; i++)
        status = get_integer(context, nmi_json_get(object, axis_names[2 + i]), axis_names[2 + i], 0,
                             INT64_MAX, &bounds[i]);
    if (status != NEUMETA_OK)
        return status;
    bool depth = strcmp(kind, "depth") == 0;
    if (!depth && strcmp(kind, "width") != 0)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "kind '%.64s' is unknown", kind);
    return nmi_topology_add_axis(topology, name, depth ? NEUMETA_AXIS_DEPTH : NEUMETA_AXIS_WIDTH,
                                 bounds[0], bounds[1], bounds[2], &axis);
}

static neumeta_status add_block(nmi_topology *topology, const char *value)
{
    const char *name = nmi_json_string(value);
    if (name == NULL)
        return nmi_fail(topology->object.context, NEUMETA_ERR_FORMAT, "is not a string");
    return nmi_topology_append_block(topology, name);
}

typedef neumeta_status (*add_fn)(nmi_topology *topology, const char *value);

static neumeta_status add_all(nmi_topology *topology, const char *root, const char *name,
                              const char *item, add_fn add)
{
    nmi_context *context = topology->object.context;
    const char *list;
    neumeta_status status = get_list(context, root, name, &list);
    if (status < 0)
        return status;
    nmi_json_walk walk = nmi_json_open(list);
    for (size_t i = 0; nmi_json_next(&walk); i++) {
        status = add(topology, walk.value);
        if (status < 0)
            return nmi_fail_within(context, status, "%s %zu", item, i);
    }
    return NEUMETA_OK;
}

static neumeta_status check_root(nmi_context *context, const char *root)
{
    int64_t format;
    neumeta_status status =
        get_integer(context, nmi_json_get(root, "format"), "format", 1, INT64_MAX, &format);
    if (status < 0)
        return status;
    if (format > NMI_DESCRIBE_FORMAT)
        return nmi_fail(context, NEUMETA_ERR_VERSION,
                        "format %lld is newer than this library, which reads up to %d",
                        (long long)format, (int)NMI_DESCRIBE_FORMAT);
    return check_object(context, root, root_names, false);
}

static neumeta_status rebuild(nmi_topology *topology, const char *root)
{
    nmi_context *context = topology->object.context;
    int64_t output = 0;
    neumeta_status status = check_root(context, root);
    if (status == NEUMETA_OK)
        status = nmi_topology_reserve(topology, (int64_t)nmi_json_count(nmi_json_get(root, "axes")),
                                      (int64_t)nmi_json_count(nmi_json_get(root, "blocks")),
                                      (int64_t)nmi_json_count(nmi_json_get(root, "nodes")));
    if (status == NEUMETA_OK)
        status = add_all(topology, root, "axes", "axis", add_axis);
    if (status == NEUMETA_OK)
        status = add_all(topology, root, "blocks", "block", add_block);
    if (status == NEUMETA_OK)
        status = add_all(topology, root, "nodes", "node", add_node);
    if (status == NEUMETA_OK)
        status =
            get_integer(context, nmi_json_get(root, "output"), "output", 0, INT32_MAX, &output);
    return status < 0 ? status : nmi_topology_seal(topology, (int32_t)output);
}

neumeta_status nmi_topology_from_json(nmi_context *context, const char *text, nmi_topology **out)
{
    const char *root;
    nmi_topology *topology = NULL;
    char *copy = nmi_text_copy(context, text);
    *out = NULL;
    if (copy == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status =
        nmi_json_read(context, "description of a topology", copy, strlen(text), &root);
    if (status == NEUMETA_OK)
        status = nmi_topology_create(context, &topology);
    if (status == NEUMETA_OK) {
        status = rebuild(topology, root);
        if (status < 0)
            status = nmi_fail_within(context, nmi_json_blame_file(status), "topology");
    }
    if (status == NEUMETA_OK)
        *out = topology;
    else
        nmi_topology_release(topology);
    nmi_free(context, copy);
    return status;
}
