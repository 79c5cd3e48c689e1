/* SPDX-License-Identifier: MIT */
/*
 * Making a manifold: which tensors of a topology morph, and what its INRs look like.
 */
#include "nmi_emission.h"
#include "nmi_mlp_keep.h"

#include <stdio.h>
#include <string.h>

/* --- which tensors morph ----------------------------------------------------------------- */

/* Whether a block may get `kind` from this list: it morphs, and no other list has given it one. */
static neumeta_status check_block(const nmi_manifold *manifold, int32_t key, int32_t kind,
                                  int32_t block, int64_t number)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t present = manifold->block_kinds[block];
    if (key == NEUMETA_KEY_MORPH_BLOCKS || present == manifold->settings.kind || present == kind)
        return NEUMETA_OK;
    if (present < 0)
        return nmi_fail(ctx, NEUMETA_ERR_ARGUMENT, "block %lld is not among MORPH_BLOCKS",
                        (long long)number);
    return nmi_fail(ctx, NEUMETA_ERR_ARGUMENT, "block %lld is of kind %s by another setting",
                    (long long)number, nmi_inr_kind_at(present)->name);
}

/* Gives `kind` to the blocks of a list, or to all if it is not set. */
static neumeta_status mark_blocks(nmi_manifold *manifold, const nmi_options *options, int32_t key,
                                  int32_t kind)
{
    const nmi_topology *topology = manifold->topology;
    int64_t count = 0;
    const int64_t *numbers = nmi_options_ints(options, key, &count);
    neumeta_status status = NEUMETA_OK;
    for (int32_t b = 0; b < topology->block_count && !nmi_options_has(options, key); b++)
        manifold->block_kinds[b] = kind;
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++) {
        int32_t block = 0;
        status = nmi_graph_block_number(topology, numbers[i], &block);
        if (status == NEUMETA_OK)
            status = check_block(manifold, key, kind, block, numbers[i]);
        if (status == NEUMETA_OK)
            manifold->block_kinds[block] = kind;
    }
    return status == NEUMETA_OK
               ? status
               : nmi_fail_within(topology->object.context, status, "%s", nmi_key_find(key)->name);
}

static neumeta_status choose_kinds(nmi_manifold *manifold, const nmi_options *options)
{
    const int32_t blocks = manifold->topology->block_count;
    manifold->block_kinds =
        nmi_alloc_array(manifold->object.context, blocks, sizeof *manifold->block_kinds);
    if (manifold->block_kinds == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t b = 0; b < blocks; b++)
        manifold->block_kinds[b] = -1;
    neumeta_status status =
        mark_blocks(manifold, options, NEUMETA_KEY_MORPH_BLOCKS, manifold->settings.kind);
    for (int32_t k = 0; k < NMI_INR_KINDS && status == NEUMETA_OK; k++) {
        const int32_t key = nmi_inr_kind_at(k)->blocks_key;
        if (key != 0 && nmi_options_has(options, key))
            status = mark_blocks(manifold, options, key, k);
    }
    return status;
}

static bool varies(const nmi_axis *axis)
{
    return axis->kind == NEUMETA_AXIS_WIDTH && axis->min < axis->max;
}

/* Kind of the INRs of a node, or -1. Nodes before the first block go with it, but are held where
 * its INRs are MLPs, as in the papers. */
static int32_t kind_of_node(const nmi_manifold *manifold, const nmi_node *node)
{
    if (node->block >= 0)
        return manifold->block_kinds[node->block];
    const int32_t first = manifold->topology->block_count > 0 ? manifold->block_kinds[0] : -1;
    return first != NMI_INR_MLP ? first : -1;
}

/* Convolutions and linear layers of morphing blocks, and the trained vectors of norms and affine
 * nodes whose length varies. */
static bool morphs(const nmi_manifold *manifold, int32_t tensor)
{
    const nmi_topology *topology = manifold->topology;
    const nmi_node *node = &topology->nodes[topology->tensors[tensor].node];
    if (kind_of_node(manifold, node) < 0 || !nmi_role_is_trainable(topology->tensors[tensor].role))
        return false;
    if (node->op == NEUMETA_OP_CONV || node->op == NEUMETA_OP_LINEAR)
        return true;
    const bool vector = node->op == NEUMETA_OP_AFFINE || node->op == NEUMETA_OP_NORM ||
                        node->op == NEUMETA_OP_GROUP_NORM;
    for (int32_t a = 0; vector && a < topology->axis_count; a++)
        if (varies(&topology->axes[a]) && nmi_graph_tensor_depends(topology, tensor, a))
            return true;
    return false;
}

/* Gives each tensor its kind, numbers those of a kind, and counts the values of the held ones. */
static void mark_fields(nmi_manifold *manifold)
{
    const nmi_topology *topology = manifold->topology;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        nmi_field *field = &manifold->fields[t];
        int64_t dims[4];
        nmi_graph_tensor_dims(topology, manifold->full_sizes, manifold->full_shapes, t, dims);
        if (nmi_role_is_trainable(topology->tensors[t].role))
            field->parameter_count = dims[0] * dims[1] * dims[2] * dims[3];
        field->morphing = morphs(manifold, t);
        field->index = -1;
        if (!field->morphing)
            continue;
        const int32_t kind = kind_of_node(manifold, &topology->nodes[topology->tensors[t].node]);
        field->kind = nmi_inr_kind_at(kind);
        field->index = manifold->counts[kind]++;
    }
    for (int32_t a = 0; a < topology->axis_count; a++)
        manifold->varies[a] =
            varies(&topology->axes[a]) && nmi_manifold_held_tensor(manifold, a) == NULL;
}

/* Fields behind those of the tensors, whose parameters the kinds count. */
static void add_shared(nmi_manifold *manifold)
{
    manifold->field_count = manifold->topology->tensor_count;
    for (int32_t k = 0; k < NMI_INR_KINDS; k++) {
        manifold->shared[k] = -1;
        if (!nmi_inr_kind_at(k)->shares || manifold->counts[k] == 0)
            continue;
        manifold->shared[k] = manifold->field_count++;
        manifold->fields[manifold->shared[k]] =
            (nmi_field){.kind = nmi_inr_kind_at(k), .morphing = true, .index = -1};
    }
}

/* --- settings ---------------------------------------------------------------------------- */

static const int32_t common_keys[] = {NEUMETA_KEY_INR_KIND, NEUMETA_KEY_MORPH_BLOCKS,
                                      NEUMETA_KEY_SEED};
static const int32_t grid_keys[] = {NEUMETA_KEY_GRID_GAUGE, NEUMETA_KEY_GRID_TERMS};
static const int32_t separable_keys[] = {NEUMETA_KEY_INR_RANK};
static const int32_t block_keys[] = {NEUMETA_KEY_MLP_BLOCKS, NEUMETA_KEY_SEPARABLE_BLOCKS,
                                     NEUMETA_KEY_TRUNK_BLOCKS};
static const int32_t mlp_keys[] = {
    NEUMETA_KEY_INR_ENCODING, NEUMETA_KEY_INR_HIDDEN,         NEUMETA_KEY_INR_LAYERS,
    NEUMETA_KEY_INR_OCTAVES,  NEUMETA_KEY_INR_EXTENT_OCTAVES, NEUMETA_KEY_INR_FUNCTION,
    NEUMETA_KEY_INR_SCALAR,   NEUMETA_KEY_COORDINATE_SCALE,   NEUMETA_KEY_NOISE,
    NEUMETA_KEY_NOISE_CLAMP};

enum { COMMON_KEYS = 3, GRID_KEYS = 2, SEPARABLE_KEYS = 1, BLOCK_KEYS = 3, MLP_KEYS = 10 };

static neumeta_status check_idle(nmi_context *context, const nmi_options *options,
                                 const int32_t *keys, int32_t count, const char *why)
{
    for (int32_t i = 0; i < count; i++)
        if (nmi_options_has(options, keys[i]))
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s has no effect while %s",
                            nmi_key_find(keys[i])->name, why);
    return NEUMETA_OK;
}

/* Whether some block could be of the kind. */
static bool is_wanted(const nmi_options *options, int32_t kind)
{
    const int32_t key = nmi_inr_kind_at(kind)->blocks_key;
    return nmi_options_choice(options, NEUMETA_KEY_INR_KIND) == kind ||
           (key != 0 && nmi_options_has(options, key));
}

/* Settings of kinds that no block has. */
static neumeta_status check_kinds(nmi_context *context, const nmi_options *options)
{
    const int32_t kind = nmi_options_choice(options, NEUMETA_KEY_INR_KIND);
    const bool separable = is_wanted(options, NMI_INR_SEPARABLE);
    char why[128];
    snprintf(why, sizeof why, "INR_KIND is %s", nmi_inr_kind_at(kind)->name);
    const int32_t own = nmi_inr_kind_at(kind)->blocks_key;
    neumeta_status status = own != 0 ? check_idle(context, options, &own, 1, why) : NEUMETA_OK;
    if (status == NEUMETA_OK && kind != NMI_INR_GRID)
        status = check_idle(context, options, grid_keys, GRID_KEYS, why);
    if (status == NEUMETA_OK && !separable) {
        snprintf(why, sizeof why, "INR_KIND is %s and SEPARABLE_BLOCKS names no block",
                 nmi_inr_kind_at(kind)->name);
        status = check_idle(context, options, separable_keys, SEPARABLE_KEYS, why);
    }
    if (status == NEUMETA_OK && !separable && !is_wanted(options, NMI_INR_MLP) &&
        !is_wanted(options, NMI_INR_TRUNK))
        status = check_idle(context, options, mlp_keys, MLP_KEYS,
                            "INR_KIND is grid and MLP_BLOCKS names no block, nor do "
                            "SEPARABLE_BLOCKS and TRUNK_BLOCKS");
    return status;
}

static neumeta_status check_settings(nmi_context *context, const nmi_options *options)
{
    static const struct {
        const int32_t *keys;
        int32_t count;
    } lists[] = {{common_keys, COMMON_KEYS},
                 {grid_keys, GRID_KEYS},
                 {separable_keys, SEPARABLE_KEYS},
                 {block_keys, BLOCK_KEYS},
                 {mlp_keys, MLP_KEYS}};
    int32_t allowed[COMMON_KEYS + GRID_KEYS + SEPARABLE_KEYS + BLOCK_KEYS + MLP_KEYS], count = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; count += lists[i++].count)
        memcpy(allowed + count, lists[i].keys, (size_t)lists[i].count * sizeof *allowed);
    const neumeta_status status =
        nmi_options_allow(context, options, "manifold create", allowed, count);
    return status == NEUMETA_OK ? check_kinds(context, options) : status;
}

static void read_settings(nmi_manifold *manifold, const nmi_options *options)
{
    nmi_inr_settings *s = &manifold->settings;
    s->kind = nmi_options_choice(options, NEUMETA_KEY_INR_KIND);
    s->gauge = nmi_options_choice(options, NEUMETA_KEY_GRID_GAUGE);
    s->terms = nmi_options_int(options, NEUMETA_KEY_GRID_TERMS) != 0;
    s->rank = nmi_options_int(options, NEUMETA_KEY_INR_RANK);
    s->encoding = nmi_options_choice(options, NEUMETA_KEY_INR_ENCODING);
    s->function = nmi_options_choice(options, NEUMETA_KEY_INR_FUNCTION);
    s->hidden = nmi_options_int(options, NEUMETA_KEY_INR_HIDDEN);
    s->layers = nmi_options_int(options, NEUMETA_KEY_INR_LAYERS);
    s->octaves = nmi_options_int(options, NEUMETA_KEY_INR_OCTAVES);
    s->extent_octaves = nmi_options_int(options, NEUMETA_KEY_INR_EXTENT_OCTAVES);
    if (s->extent_octaves < 0)
        s->extent_octaves = s->octaves;
    s->scalar = nmi_options_real(options, NEUMETA_KEY_INR_SCALAR);
    s->coordinate_scale = nmi_options_int(options, NEUMETA_KEY_COORDINATE_SCALE);
    s->noise = nmi_options_real(options, NEUMETA_KEY_NOISE);
    s->noise_clamp = nmi_options_real(options, NEUMETA_KEY_NOISE_CLAMP);
}

/* --- life -------------------------------------------------------------------------------- */

static neumeta_status take_tables(nmi_manifold *manifold)
{
    nmi_context *ctx = manifold->object.context;
    const nmi_topology *topology = manifold->topology;
    manifold->fields = nmi_alloc_zero_array(ctx, topology->tensor_count + (int64_t)NMI_INR_KINDS,
                                            sizeof *manifold->fields);
    manifold->varies = nmi_alloc_zero_array(ctx, topology->axis_count, sizeof(bool));
    manifold->trained.moves = nmi_alloc_zero_array(ctx, topology->axis_count, sizeof(bool));
    manifold->full_sizes = nmi_alloc_array(ctx, topology->axis_count, sizeof *manifold->full_sizes);
    manifold->full_shapes =
        nmi_alloc_array(ctx, topology->node_count, sizeof *manifold->full_shapes);
    if (manifold->fields == NULL || manifold->varies == NULL || manifold->trained.moves == NULL ||
        manifold->full_sizes == NULL || manifold->full_shapes == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_graph_full_sizes(topology, manifold->full_sizes);
    const neumeta_status status =
        nmi_graph_shapes(topology, manifold->full_sizes, manifold->full_shapes);
    return status == NEUMETA_OK
               ? nmi_channel_map_create(ctx, topology, manifold->full_shapes, &manifold->map)
               : status;
}

static neumeta_status plan_kinds(nmi_manifold *manifold)
{
    neumeta_status status = NEUMETA_OK;
    bool any = false;
    for (int32_t k = 0; k < NMI_INR_KINDS && status == NEUMETA_OK; k++) {
        any = any || manifold->counts[k] > 0;
        if (manifold->counts[k] > 0)
            status = nmi_inr_kind_at(k)->plan(manifold);
    }
    if (status == NEUMETA_OK && !any)
        status =
            nmi_fail(manifold->object.context, NEUMETA_ERR_ARGUMENT,
                     "nothing morphs: the blocks of MORPH_BLOCKS have no convolution or linear "
                     "node");
    return status;
}

neumeta_status nmi_manifold_plan(nmi_context *context, nmi_topology *topology,
                                 const nmi_options *options, nmi_manifold **out)
{
    *out = NULL;
    neumeta_status status = check_settings(context, options);
    if (status != NEUMETA_OK)
        return status;
    nmi_manifold *manifold = nmi_alloc_zero(context, sizeof *manifold);
    if (manifold == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&manifold->object, context);
    nmi_topology_retain(topology);
    manifold->topology = topology;
    read_settings(manifold, options);
    status = take_tables(manifold);
    if (status == NEUMETA_OK)
        status = choose_kinds(manifold, options);
    if (status == NEUMETA_OK) {
        mark_fields(manifold);
        add_shared(manifold);
        status = plan_kinds(manifold);
    }
    if (status == NEUMETA_OK)
        *out = manifold;
    else
        nmi_manifold_release(manifold);
    return status;
}

neumeta_status nmi_manifold_allocate(nmi_manifold *manifold)
{
    for (int32_t f = 0; f < manifold->field_count; f++) {
        nmi_field *field = &manifold->fields[f];
        field->parameters =
            nmi_alloc_zero_array(manifold->object.context, field->parameter_count, sizeof(float));
        if (field->parameters == NULL)
            return NEUMETA_ERR_MEMORY;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_manifold_create(nmi_context *context, nmi_topology *topology,
                                   const nmi_options *options, nmi_manifold **out)
{
    neumeta_status status = nmi_manifold_plan(context, topology, options, out);
    if (status == NEUMETA_OK)
        status = nmi_manifold_allocate(*out);
    if (status != NEUMETA_OK) {
        nmi_manifold_release(*out);
        *out = NULL;
        return status;
    }
    const uint64_t seed = nmi_options_seed(options, context);
    (*out)->start_key = nmi_random_key(seed, NMI_RANDOM_WEIGHTS, 0);
    for (int32_t f = 0; f < (*out)->field_count; f++)
        nmi_manifold_initialize(*out, f);
    return NEUMETA_OK;
}

void nmi_manifold_retain(nmi_manifold *manifold)
{
    nmi_object_retain(&manifold->object);
}

void nmi_manifold_release(nmi_manifold *manifold)
{
    if (manifold == NULL || !nmi_object_release(&manifold->object))
        return;
    nmi_context *context = manifold->object.context;
    for (int32_t k = 0; k < NMI_INR_KINDS; k++)
        nmi_inr_kind_at(k)->release(manifold);
    nmi_statistics_free(manifold->statistics);
    nmi_front_free(manifold->front);
    nmi_free(context, manifold->trained.moves);
    for (int32_t f = 0; f < manifold->field_count; f++)
        nmi_free(context, manifold->fields[f].parameters);
    nmi_free(context, manifold->fields);
    nmi_channel_map_free(context, &manifold->map);
    nmi_free(context, manifold->block_kinds);
    nmi_free(context, manifold->varies);
    nmi_free(context, manifold->full_sizes);
    nmi_free(context, manifold->full_shapes);
    nmi_topology_release(manifold->topology);
    nmi_free(context, manifold);
    nmi_context_release(context);
}

/* --- questions --------------------------------------------------------------------------- */

bool nmi_manifold_has_mlps(const nmi_manifold *manifold)
{
    return manifold->counts[NMI_INR_MLP] + manifold->counts[NMI_INR_SEPARABLE] +
               manifold->counts[NMI_INR_TRUNK] >
           0;
}

bool nmi_manifold_samples(const nmi_manifold *manifold)
{
    return nmi_manifold_has_mlps(manifold) && manifold->settings.encoding == NMI_ENCODING_PLAIN;
}

int64_t nmi_manifold_parameter_count(const nmi_manifold *manifold)
{
    int64_t total = 0;
    for (int32_t f = 0; f < manifold->field_count; f++)
        total += manifold->fields[f].parameter_count;
    return total;
}

const char *nmi_manifold_field_name(const nmi_manifold *manifold, int32_t field)
{
    return field < manifold->topology->tensor_count ? manifold->topology->tensors[field].name
                                                    : manifold->fields[field].kind->name;
}

bool nmi_manifold_has_norms(const nmi_manifold *manifold)
{
    for (int32_t n = 0; n < manifold->topology->node_count; n++)
        if (manifold->topology->nodes[n].op == NEUMETA_OP_NORM)
            return true;
    return false;
}

void nmi_manifold_map_statistics(const nmi_manifold *manifold, nmi_statistics *statistics)
{
    const nmi_topology *topology = manifold->topology;
    statistics->map = &manifold->map;
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        nmi_norm_function *norm = &statistics->norms[i];
        const int32_t weight = nmi_graph_node_tensor(topology, norm->node, NMI_ROLE_NORM_WEIGHT);
        norm->mapped = !statistics->older && manifold->settings.gauge == NMI_GAUGE_ABSOLUTE &&
                       weight >= 0 && manifold->fields[weight].kind == &nmi_inr_grid;
    }
}

void nmi_manifold_forget_statistics(nmi_manifold *manifold)
{
    nmi_statistics_free(manifold->statistics);
    manifold->statistics = NULL;
    nmi_manifold_forget_front(manifold);
}

void nmi_manifold_forget_front(nmi_manifold *manifold)
{
    nmi_front_free(manifold->front);
    manifold->front = NULL;
    for (int32_t k = 0; k < NMI_INR_KINDS; k++)
        if (manifold->mlp_keep[k] != NULL)
            nmi_mlp_keep_start(manifold->mlp_keep[k], NULL);
}
