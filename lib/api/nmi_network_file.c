/* SPDX-License-Identifier: MIT */
/* Reading networks from safetensors files, whose sizes follow from the tensors, and writing. */
#include "nmi_network_file.h"

#include "nmi_archive.h"
#include "nmi_number.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define META_SIZES "neumeta.sizes"

enum { SHAPE_TEXT = 192 };

typedef struct reader {
    nmi_context *context;
    nmi_topology *topology;
    const nmi_safetensors *file;
    int32_t *entries; /* [tensor_count] of the topology: number in the file; -1: not there */
    int64_t *sizes;   /* [axis_count] */
    bool *known;      /* [axis_count] widths that are fixed or that a tensor has shown */
} reader;

/* --- names ----------------------------------------------------------------------------------- */

/* One 'file=ours' of a NAME_MAP. */
typedef struct rename_rule {
    const char *from, *to;
    size_t from_length, to_length;
    bool prefix;
} rename_rule;

/* Takes the next rule off *text; false at its end or, with *wrong set, at a malformed rule. */
static bool next_rule(const char **text, rename_rule *rule, bool *wrong)
{
    const char *begin = *text;
    if (*begin == '\0')
        return false;
    const char *end = strchr(begin, ',');
    if (end == NULL)
        end = begin + strlen(begin);
    const char *equals = memchr(begin, '=', (size_t)(end - begin));
    *wrong = equals == NULL || equals == begin;
    if (*wrong)
        return false;
    *rule = (rename_rule){begin, equals + 1, (size_t)(equals - begin), (size_t)(end - equals - 1),
                          equals[-1] == '*'};
    bool target_prefix = rule->to_length > 0 && end[-1] == '*';
    *wrong = rule->prefix != target_prefix;
    rule->from_length -= rule->prefix;
    rule->to_length -= target_prefix;
    *text = *end == ',' ? end + 1 : end;
    return !*wrong;
}

/* `name` by the first rule that fits it, into `out`; NULL if the new name is too long. Marks the
 * rule in `used` (a bit for each of the first 64 rules). */
static const char *rename_tensor(const char *map, const char *name, char *out, uint64_t *used)
{
    rename_rule rule;
    bool wrong = false;
    for (int32_t number = 0; next_rule(&map, &rule, &wrong); number++) {
        size_t length = strlen(name);
        if (strncmp(name, rule.from, rule.from_length) != 0 ||
            (!rule.prefix && length != rule.from_length))
            continue;
        size_t rest = length - rule.from_length;
        if (number < 64)
            *used |= UINT64_C(1) << number;
        if (rule.to_length + rest > NMI_SAFETENSORS_NAME)
            return NULL;
        memcpy(out, rule.to, rule.to_length);
        memcpy(out + rule.to_length, name + rule.from_length, rest + 1);
        return out;
    }
    return name;
}

static neumeta_status check_map(nmi_context *context, const char *map)
{
    rename_rule rule;
    bool wrong = false;
    int32_t number = 1;
    while (next_rule(&map, &rule, &wrong))
        number++;
    if (wrong)
        return nmi_fail(
            context, NEUMETA_ERR_ARGUMENT,
            "NAME_MAP: rule %" PRId32 " is not of the form 'file=ours' or 'file*=ours*'", number);
    return NEUMETA_OK;
}

static neumeta_status check_rules_used(nmi_context *context, const char *map, uint64_t used)
{
    rename_rule rule;
    bool wrong = false;
    for (int32_t number = 0; number < 64 && next_rule(&map, &rule, &wrong); number++)
        if ((used >> number & 1) == 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                            "NAME_MAP: no tensor of the file fits '%.*s'", (int)rule.from_length,
                            rule.from);
    return NEUMETA_OK;
}

/* Finds the topology's tensor of each tensor of the file. */
static neumeta_status match_names(const reader *r, const char *map)
{
    char renamed[NMI_SAFETENSORS_NAME + 1];
    uint64_t used = 0;
    neumeta_status status = check_map(r->context, map);
    if (status != NEUMETA_OK)
        return status;
    nmi_tensor_entry entry, other;
    for (int32_t i = 0; nmi_safetensors_at(r->file, i, &entry); i++) {
        const char *name = rename_tensor(map, entry.name, renamed, &used);
        int32_t tensor = name != NULL ? nmi_graph_find_tensor(r->topology, name) : -1;
        if (tensor < 0)
            return nmi_fail(r->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s' does not belong to the topology", entry.name);
        if (nmi_safetensors_at(r->file, r->entries[tensor], &other))
            return nmi_fail(r->context, NEUMETA_ERR_FORMAT,
                            "tensors '%s' and '%s' both stand for '%s'", other.name, entry.name,
                            r->topology->tensors[tensor].name);
        r->entries[tensor] = i;
    }
    return check_rules_used(r->context, map, used);
}

/* Sizes that the file's tensors show are its own fault. */
static neumeta_status blame_file(neumeta_status status)
{
    return status == NEUMETA_ERR_ARGUMENT || status == NEUMETA_ERR_SHAPE ? NEUMETA_ERR_FORMAT
                                                                         : status;
}

/* --- sizes ----------------------------------------------------------------------------------- */

/* "[16, 3, 3, 3]" */
static const char *shape_text(int32_t rank, const int64_t *dims, char *text)
{
    int length = snprintf(text, SHAPE_TEXT, "[");
    for (int32_t i = 0; i < rank; i++)
        length += snprintf(text + length, SHAPE_TEXT - (size_t)length, "%s%" PRId64,
                           i > 0 ? ", " : "", dims[i]);
    snprintf(text + length, SHAPE_TEXT - (size_t)length, "]");
    return text;
}

/* The depth that the repetitions present show; none present: the least. */
static void infer_depth(const reader *r, int32_t axis)
{
    int64_t depth = -1;
    for (int32_t t = 0; t < r->topology->tensor_count; t++) {
        const nmi_node *node = &r->topology->nodes[r->topology->tensors[t].node];
        if (node->depth_axis != axis)
            continue;
        if (depth < 0)
            depth = r->topology->axes[axis].min;
        if (r->entries[t] >= 0 && depth <= node->depth_number)
            depth = node->depth_number + 1;
    }
    if (depth >= 0)
        r->sizes[axis] = depth;
}

/* The width that the first tensor of its nodes shows. Tensors that disagree are found when shapes
 * are compared. */
static neumeta_status infer_width(const reader *r, int32_t axis)
{
    char text[SHAPE_TEXT];
    const nmi_axis *a = &r->topology->axes[axis];
    r->known[axis] = a->min == a->max;
    for (int32_t t = 0; t < r->topology->tensor_count && !r->known[axis]; t++) {
        const nmi_tensor_info *info = &r->topology->tensors[t];
        const nmi_node *node = &r->topology->nodes[info->node];
        nmi_tensor_entry entry;
        if (node->axis != axis || !nmi_safetensors_at(r->file, r->entries[t], &entry) ||
            entry.rank == 0 || (info->role != NMI_ROLE_WEIGHT && info->role != NMI_ROLE_BIAS))
            continue;
        int64_t width = entry.dims[0] / node->multiple;
        if (entry.dims[0] % node->multiple != 0 || !nmi_axis_has(a, width))
            return nmi_fail(r->context, NEUMETA_ERR_FORMAT,
                            "tensor '%s' is %s, its first dimension must be %" PRId64
                            " times a size of axis '%s' (%" PRId64 " to %" PRId64
                            " in steps of %" PRId64 ")",
                            entry.name, shape_text(entry.rank, entry.dims, text), node->multiple,
                            a->name, a->min, a->max, a->step);
        r->sizes[axis] = width;
        r->known[axis] = true;
        return NEUMETA_OK;
    }
    return NEUMETA_OK;
}

/* Whether the axis is the only one of those not known that a tensor of the file follows. */
static bool shows_alone(const reader *r, int32_t tensor, int32_t axis)
{
    if (r->entries[tensor] < 0 || !nmi_graph_tensor_depends(r->topology, tensor, axis))
        return false;
    for (int32_t a = 0; a < r->topology->axis_count; a++)
        if (a != axis && !r->known[a] && nmi_graph_tensor_depends(r->topology, tensor, a))
            return false;
    return true;
}

/* Dimensions of a tensor with the axis at `size`; false where sizes do not go together. */
static bool dims_with(const reader *r, int32_t tensor, int32_t axis, int64_t size,
                      nmi_shape *shapes, int64_t dims[4])
{
    const int64_t before = r->sizes[axis];
    r->sizes[axis] = size;
    const bool fits = nmi_graph_shapes(r->topology, r->sizes, shapes) == NEUMETA_OK;
    r->sizes[axis] = before;
    return fits && nmi_graph_tensor_dims(r->topology, r->sizes, shapes, tensor, dims) > 0;
}

/* The width of a shortcut has no tensor of its own: whatever reads its channels shows it, and grows
 * with it in proportion. What does not come out is found when shapes are compared. */
static void infer_from_reader(const reader *r, int32_t axis, nmi_shape *shapes)
{
    const nmi_axis *a = &r->topology->axes[axis];
    int32_t t = 0;
    while (t < r->topology->tensor_count && !shows_alone(r, t, axis))
        t++;
    nmi_tensor_entry entry;
    int64_t low[4] = {0}, high[4] = {0};
    if (t == r->topology->tensor_count || !nmi_safetensors_at(r->file, r->entries[t], &entry) ||
        !dims_with(r, t, axis, a->min, shapes, low) || !dims_with(r, t, axis, a->max, shapes, high))
        return;
    for (int32_t d = 0; d < entry.rank && d < 4; d++) {
        if (high[d] == low[d] || entry.dims[d] < low[d] || entry.dims[d] > high[d])
            continue;
        r->sizes[axis] = a->min + (entry.dims[d] - low[d]) * (a->max - a->min) / (high[d] - low[d]);
        r->known[axis] = true;
        return;
    }
}

/* A width that nothing has shown yet. */
static bool is_unknown(const reader *r, int32_t axis)
{
    return !r->known[axis] && r->topology->axes[axis].kind == NEUMETA_AXIS_WIDTH;
}

static int32_t count_unknown(const reader *r)
{
    int32_t count = 0;
    for (int32_t a = 0; a < r->topology->axis_count; a++)
        count += is_unknown(r, a);
    return count;
}

/* Each width that is found may show others. */
static neumeta_status infer_from_readers(const reader *r)
{
    int32_t left = count_unknown(r), before = left + 1;
    nmi_shape *shapes =
        left > 0 ? nmi_alloc_array(r->context, r->topology->node_count, sizeof *shapes) : NULL;
    if (left > 0 && shapes == NULL)
        return NEUMETA_ERR_MEMORY;
    while (left > 0 && left < before) {
        before = left;
        for (int32_t a = 0; a < r->topology->axis_count; a++)
            if (is_unknown(r, a))
                infer_from_reader(r, a, shapes);
        left = count_unknown(r);
    }
    nmi_free(r->context, shapes);
    return NEUMETA_OK;
}

/* Widths that no tensor shows are as the file notes them, if it does for such a topology. */
static void take_noted(const reader *r)
{
    const nmi_topology *topology = r->topology;
    const char *text = nmi_safetensors_text(r->file, META_SIZES);
    for (int32_t a = 0; a < topology->axis_count && text != NULL; a++) {
        const char *end = strchr(text, ',');
        const size_t length = end != NULL ? (size_t)(end - text) : strlen(text);
        int64_t size;
        if (!nmi_number_int(text, length, &size))
            return;
        if (is_unknown(r, a) && nmi_axis_has(&topology->axes[a], size))
            r->sizes[a] = size;
        text = end != NULL ? end + 1 : NULL;
    }
}

static neumeta_status infer_sizes(const reader *r)
{
    neumeta_status status = NEUMETA_OK;
    nmi_graph_full_sizes(r->topology, r->sizes);
    for (int32_t axis = 0; axis < r->topology->axis_count && status == NEUMETA_OK; axis++)
        if (r->topology->axes[axis].kind == NEUMETA_AXIS_DEPTH)
            infer_depth(r, axis);
        else
            status = infer_width(r, axis);
    if (status == NEUMETA_OK)
        status = infer_from_readers(r);
    if (status == NEUMETA_OK) {
        take_noted(r);
        status = blame_file(nmi_graph_check_sizes(r->topology, r->sizes, r->topology->axis_count));
    }
    return status;
}

/* --- values ---------------------------------------------------------------------------------- */

static neumeta_status check_tensor(const reader *r, const nmi_tensor_entry *entry, int32_t rank,
                                   const int64_t *dims)
{
    char text[SHAPE_TEXT];
    char wanted[SHAPE_TEXT];
    bool same = entry->rank == rank;
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++) {
        same = same && entry->dims[i] == dims[i];
        count *= dims[i];
    }
    /* Frameworks keep single numbers as scalars. */
    if (!same && !(entry->rank == 0 && rank == 1 && count == 1))
        return nmi_fail(r->context, NEUMETA_ERR_FORMAT, "tensor '%s' is %s, expected %s",
                        entry->name, shape_text(entry->rank, entry->dims, text),
                        shape_text(rank, dims, wanted));
    if (!nmi_tensor_has_floats(entry))
        return nmi_fail(r->context, NEUMETA_ERR_FORMAT,
                        "tensor '%s' is of type %s, expected F32, F64, F16 or BF16", entry->name,
                        nmi_dtype_name(entry->dtype));
    return NEUMETA_OK;
}

/* Before memory is taken: a small file must not make us ask for a large network. */
static neumeta_status check_tensors(const reader *r)
{
    nmi_shape *shapes = nmi_alloc_array(r->context, r->topology->node_count, sizeof *shapes);
    if (shapes == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = blame_file(nmi_graph_shapes(r->topology, r->sizes, shapes));
    for (int32_t t = 0; t < r->topology->tensor_count && status == NEUMETA_OK; t++) {
        int64_t dims[4];
        const int32_t rank = nmi_graph_tensor_dims(r->topology, r->sizes, shapes, t, dims);
        nmi_tensor_entry entry;
        if (rank == 0)
            continue;
        if (nmi_safetensors_at(r->file, r->entries[t], &entry))
            status = check_tensor(r, &entry, rank, dims);
        else
            status = nmi_fail(r->context, NEUMETA_ERR_FORMAT, "tensor '%s' is missing",
                              r->topology->tensors[t].name);
    }
    nmi_free(r->context, shapes);
    return status;
}

static void read_tensors(const reader *r, const nmi_network *network)
{
    nmi_tensor_entry entry;
    for (int32_t t = 0; t < r->topology->tensor_count; t++)
        if (network->tensors[t].rank > 0 && nmi_safetensors_at(r->file, r->entries[t], &entry))
            nmi_tensor_copy_floats(&entry, network->tensors[t].data);
}

neumeta_status nmi_network_read(nmi_topology *topology, const nmi_safetensors *file,
                                const nmi_options *options, nmi_network **out)
{
    static const int32_t allowed[] = {NEUMETA_KEY_NAME_MAP};
    nmi_context *context = topology->object.context;
    nmi_network *network = NULL;
    reader r = {.context = context, .topology = topology, .file = file};
    const char *map = nmi_options_text(options, NEUMETA_KEY_NAME_MAP);
    neumeta_status status = nmi_options_allow(context, options, "network_load", allowed, 1);
    if (status == NEUMETA_OK)
        status = nmi_archive_check(file, NMI_KIND_NETWORK, true);
    *out = NULL;
    if (status != NEUMETA_OK)
        return status;
    r.entries = nmi_alloc_array(context, topology->tensor_count, sizeof *r.entries);
    r.sizes = nmi_alloc_array(context, topology->axis_count, sizeof *r.sizes);
    for (int32_t t = 0; t < topology->tensor_count && r.entries != NULL; t++)
        r.entries[t] = -1;
    r.known = nmi_alloc_zero_array(context, topology->axis_count, sizeof *r.known);
    status = r.entries != NULL && r.sizes != NULL && r.known != NULL
                 ? match_names(&r, map != NULL ? map : "")
                 : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status = infer_sizes(&r);
    if (status == NEUMETA_OK)
        status = check_tensors(&r);
    if (status == NEUMETA_OK)
        status = nmi_network_create(context, topology, r.sizes, &network);
    if (status == NEUMETA_OK)
        read_tensors(&r, network);
    if (status == NEUMETA_ERR_FORMAT)
        nmi_safetensors_within(file, status);
    nmi_free(context, r.entries);
    nmi_free(context, r.sizes);
    nmi_free(context, r.known);
    *out = network;
    return status;
}

/* For readers that cannot tell them all from the tensors. */
static neumeta_status note_sizes(const nmi_network *network, nmi_safetensors_writer *writer)
{
    enum { DIGITS = 24 };
    const int32_t axes = network->topology->axis_count;
    char *text = nmi_alloc_array(network->object.context, (int64_t)axes + 1, DIGITS);
    if (text == NULL)
        return NEUMETA_ERR_MEMORY;
    size_t length = 0;
    text[0] = '\0';
    for (int32_t a = 0; a < axes; a++)
        length += (size_t)snprintf(text + length, DIGITS, "%s%" PRId64, a > 0 ? "," : "",
                                   network->sizes[a]);
    const neumeta_status status = nmi_safetensors_add_text(writer, META_SIZES, text);
    nmi_free(network->object.context, text);
    return status;
}

neumeta_status nmi_network_write(const nmi_network *network, const char *path,
                                 const nmi_options *options)
{
    const nmi_topology *topology = network->topology;
    nmi_context *context = network->object.context;
    nmi_safetensors_writer *writer = NULL;
    int32_t dtype;
    neumeta_status status = nmi_archive_storage(context, options, "network save", &dtype);
    if (status == NEUMETA_OK && dtype == NMI_DTYPE_I8)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                          "STORAGE i8 is for manifolds; networks are of f32, f16 or bf16");
    if (status == NEUMETA_OK)
        status = nmi_archive_create(context, NMI_KIND_NETWORK, &writer);
    if (status == NEUMETA_OK)
        status = note_sizes(network, writer);
    for (int32_t t = 0; t < topology->tensor_count && status == NEUMETA_OK; t++) {
        const nmi_tensor *tensor = &network->tensors[t];
        if (tensor->rank > 0)
            status = nmi_safetensors_add_floats(writer, topology->tensors[t].name, dtype,
                                                tensor->rank, tensor->dims, tensor->data);
    }
    if (status == NEUMETA_OK)
        status = nmi_safetensors_save(writer, path);
    nmi_safetensors_writer_free(writer);
    return status;
}
