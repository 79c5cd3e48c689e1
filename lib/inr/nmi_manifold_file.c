/* SPDX-License-Identifier: MIT */
/*
 * Manifolds as safetensors files: topology and settings in the metadata, each INR split into its
 * layers ("conv.weight/inr.0.weight", "trunk/inr.0.weight"), directly held tensors under their own
 * names, and what nmi_statistics_file.c and nmi_front_file.c add.
 */
#include "nmi_archive.h"
#include "nmi_emission.h"
#include "nmi_front_file.h"
#include "nmi_statistics_file.h"
#include "nmi_trained_range.h"

#include <stdio.h>
#include <string.h>

/* A tensor of the file but for statistics and the front: one part of an INR, or a directly held
 * tensor. */
typedef struct entry {
    char name[2 * NMI_SAFETENSORS_NAME]; /* the writer refuses longer ones than it may have */
    int32_t rank;
    int64_t dims[4];
    float *data;
} entry;

/* Walks all these entries of a manifold in the order of the file. */
typedef struct walk {
    const nmi_manifold *manifold;
    int32_t field, part;
} walk;

static bool next_entry(walk *w, entry *out)
{
    const nmi_topology *topology = w->manifold->topology;
    for (; w->field < w->manifold->field_count; w->field++, w->part = 0) {
        const nmi_field *field = &w->manifold->fields[w->field];
        const char *name = nmi_manifold_field_name(w->manifold, w->field);
        nmi_inr_part part;
        if (field->morphing) {
            if (!field->kind->part(w->manifold, w->field, w->part, &part))
                continue;
            snprintf(out->name, sizeof out->name, "%s/%s", name, part.name);
            out->rank = part.rank;
            memcpy(out->dims, part.dims, sizeof part.dims);
            out->data = field->parameters != NULL ? field->parameters + part.offset : NULL;
            w->part++;
            return true;
        }
        if (w->part++ > 0 || field->parameter_count == 0)
            continue;
        snprintf(out->name, sizeof out->name, "%s", name);
        out->rank = nmi_graph_tensor_dims(topology, w->manifold->full_sizes,
                                          w->manifold->full_shapes, w->field, out->dims);
        out->data = field->parameters;
        return true;
    }
    return false;
}

static void rewind_walk(walk *w)
{
    w->field = 0;
    w->part = 0;
}

/* --- settings ---------------------------------------------------------------------------- */

static neumeta_status list_mlps(const nmi_manifold *manifold, nmi_options *options)
{
    static const char *const encodings[] = {"plain", "integrated"};
    static const char *const functions[] = {"relu", "elu"};
    const nmi_inr_settings *s = &manifold->settings;
    const struct {
        int32_t key;
        int64_t value;
    } whole[] = {
        {NEUMETA_KEY_INR_HIDDEN, s->hidden},
        {NEUMETA_KEY_INR_LAYERS, s->layers},
        {NEUMETA_KEY_INR_OCTAVES, s->octaves},
        {NEUMETA_KEY_INR_EXTENT_OCTAVES, s->extent_octaves},
        {NEUMETA_KEY_COORDINATE_SCALE, s->coordinate_scale},
    };
    const struct {
        int32_t key;
        double value;
    } real[] = {
        {NEUMETA_KEY_INR_SCALAR, s->scalar},
        {NEUMETA_KEY_NOISE, s->noise},
        {NEUMETA_KEY_NOISE_CLAMP, s->noise_clamp},
    };
    neumeta_status status = NEUMETA_OK;
    for (size_t i = 0; i < sizeof whole / sizeof *whole && status == NEUMETA_OK; i++)
        status = nmi_options_set_int(options, whole[i].key, whole[i].value);
    for (size_t i = 0; i < sizeof real / sizeof *real && status == NEUMETA_OK; i++)
        status = nmi_options_set_real(options, real[i].key, real[i].value);
    if (status == NEUMETA_OK)
        status = nmi_options_set_text(options, NEUMETA_KEY_INR_ENCODING, encodings[s->encoding]);
    if (status == NEUMETA_OK)
        status = nmi_options_set_text(options, NEUMETA_KEY_INR_FUNCTION, functions[s->function]);
    return status;
}

/* Numbers of the blocks of a kind, or of all that morph (kind -1). */
static neumeta_status list_blocks(const nmi_manifold *manifold, int32_t key, int32_t kind,
                                  nmi_options *options)
{
    nmi_context *ctx = manifold->object.context;
    const int32_t blocks = manifold->topology->block_count;
    int64_t *numbers = nmi_alloc_array(ctx, blocks, sizeof *numbers);
    int64_t count = 0;
    if (numbers == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t b = 0; b < blocks; b++)
        if (manifold->block_kinds[b] >= 0 && (kind < 0 || manifold->block_kinds[b] == kind))
            numbers[count++] = b;
    neumeta_status status = nmi_options_set_ints(options, key, numbers, count);
    nmi_free(ctx, numbers);
    return status;
}

static neumeta_status list_grids(const nmi_manifold *manifold, nmi_options *options)
{
    static const char *const gauges[] = {"absolute", "relative"};
    const nmi_inr_settings *s = &manifold->settings;
    neumeta_status status = nmi_options_set_text(options, NEUMETA_KEY_GRID_GAUGE, gauges[s->gauge]);
    if (status == NEUMETA_OK)
        status = nmi_options_set_int(options, NEUMETA_KEY_GRID_TERMS, s->terms);
    return status;
}

/* Blocks of another kind than INR_KIND. */
static neumeta_status list_own_kinds(const nmi_manifold *manifold, nmi_options *options)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t k = 0; k < NMI_INR_KINDS && status == NEUMETA_OK; k++)
        if (k != manifold->settings.kind && manifold->counts[k] > 0)
            status = list_blocks(manifold, nmi_inr_kind_at(k)->blocks_key, k, options);
    return status;
}

/* Every setting that has an effect, defaults included: they may change, the file may not. */
static neumeta_status list_settings(const nmi_manifold *manifold, nmi_options *options)
{
    const int32_t kind = manifold->settings.kind;
    neumeta_status status =
        nmi_options_set_text(options, NEUMETA_KEY_INR_KIND, nmi_inr_kind_at(kind)->name);
    if (status == NEUMETA_OK)
        status = list_blocks(manifold, NEUMETA_KEY_MORPH_BLOCKS, -1, options);
    if (status == NEUMETA_OK && kind == NMI_INR_GRID)
        status = list_grids(manifold, options);
    if (status == NEUMETA_OK)
        status = list_own_kinds(manifold, options);
    if (status == NEUMETA_OK && manifold->counts[NMI_INR_SEPARABLE] > 0)
        status = nmi_options_set_int(options, NEUMETA_KEY_INR_RANK, manifold->settings.rank);
    if (status == NEUMETA_OK && nmi_manifold_has_mlps(manifold))
        status = list_mlps(manifold, options);
    return status;
}

static neumeta_status add_settings(const nmi_manifold *manifold, nmi_safetensors_writer *writer)
{
    nmi_options *options = NULL;
    neumeta_status status = nmi_options_create(manifold->object.context, &options);
    if (status == NEUMETA_OK)
        status = list_settings(manifold, options);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_options(writer, NMI_META_OPTIONS, options);
    nmi_options_release(options);
    return status;
}

/* --- writing ----------------------------------------------------------------------------- */

/* A writer that holds all of the manifold, to be freed whatever the result. */
static neumeta_status collect(const nmi_manifold *manifold, int32_t dtype,
                              nmi_safetensors_writer **writer)
{
    walk w = {.manifold = manifold};
    entry e;
    *writer = NULL;
    neumeta_status status = nmi_archive_create(manifold->object.context, NMI_KIND_MANIFOLD, writer);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_topology(*writer, manifold->topology);
    if (status == NEUMETA_OK)
        status = add_settings(manifold, *writer);
    if (status == NEUMETA_OK)
        status = nmi_trained_add(manifold, *writer);
    while (status == NEUMETA_OK && next_entry(&w, &e))
        status = nmi_safetensors_add_floats(*writer, e.name, dtype, e.rank, e.dims, e.data);
    if (status == NEUMETA_OK && manifold->statistics != NULL)
        status = nmi_statistics_add(manifold->statistics, *writer);
    if (status == NEUMETA_OK && manifold->front != NULL)
        status = nmi_front_add(manifold->front, *writer);
    return status;
}

neumeta_status nmi_manifold_save(const nmi_manifold *manifold, const char *path,
                                 const nmi_options *options)
{
    nmi_safetensors_writer *writer = NULL;
    int32_t dtype;
    neumeta_status status =
        nmi_archive_storage(manifold->object.context, options, "manifold save", &dtype);
    if (status == NEUMETA_OK)
        status = collect(manifold, dtype, &writer);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_save(writer, path);
    nmi_safetensors_writer_free(writer);
    return status;
}

neumeta_status nmi_manifold_write(const nmi_manifold *manifold, nmi_sink sink, void *user)
{
    nmi_safetensors_writer *writer;
    neumeta_status status = collect(manifold, NMI_DTYPE_F32, &writer);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_write(writer, sink, user);
    nmi_safetensors_writer_free(writer);
    return status;
}

/* --- reading ----------------------------------------------------------------------------- */

/* Before memory is taken: a small file must not make us ask for a large manifold. */
static neumeta_status check_entries(const nmi_safetensors *file, walk *w)
{
    neumeta_status status = NEUMETA_OK;
    entry e;
    rewind_walk(w);
    while (status == NEUMETA_OK && next_entry(w, &e))
        status = nmi_safetensors_expect_floats(file, e.name, e.rank, e.dims);
    return status;
}

/* Names the first tensor that nobody asked for. */
static neumeta_status refuse_more(const nmi_safetensors *file, walk *w)
{
    nmi_context *context = w->manifold->object.context;
    const nmi_statistics *statistics = w->manifold->statistics;
    const int32_t count = nmi_safetensors_count(file);
    nmi_statistics_tensor tensor;
    entry e;
    int32_t stranger = 0;
    bool *expected = nmi_alloc_zero_array(context, count, sizeof *expected);
    if (expected == NULL)
        return NEUMETA_ERR_MEMORY;
    rewind_walk(w);
    while (next_entry(w, &e))
        nmi_safetensors_mark(file, e.name, expected);
    for (int32_t i = 0; statistics != NULL && nmi_statistics_entry(statistics, i, &tensor); i++)
        nmi_safetensors_mark(file, tensor.name, expected);
    for (int i = 0; w->manifold->front != NULL && i < NMI_FRONT_TENSORS; i++)
        nmi_safetensors_mark(file, nmi_front_tensors[i], expected);
    while (stranger < count && expected[stranger])
        stranger++;
    nmi_free(context, expected);
    nmi_tensor_entry found;
    if (!nmi_safetensors_at(file, stranger, &found))
        return NEUMETA_OK;
    return nmi_safetensors_within(file, nmi_fail(context, NEUMETA_ERR_FORMAT,
                                                 "tensor '%s' does not belong to this manifold",
                                                 found.name));
}

static neumeta_status read_entries(const nmi_safetensors *file, walk *w)
{
    nmi_statistics *statistics = w->manifold->statistics;
    neumeta_status status = statistics != NULL ? nmi_statistics_read(file, statistics) : NEUMETA_OK;
    entry e;
    rewind_walk(w);
    while (status == NEUMETA_OK && next_entry(w, &e))
        status = nmi_safetensors_read_floats(file, e.name, e.rank, e.dims, e.data);
    return status == NEUMETA_OK ? refuse_more(file, w) : status;
}

/* Topology and settings rebuild the manifold through the checks of any other. */
static neumeta_status read_plan(const nmi_safetensors *file, nmi_manifold **out)
{
    nmi_topology *topology = NULL;
    nmi_options *options = NULL;
    neumeta_status status = nmi_archive_check(file, NMI_KIND_MANIFOLD, false);
    if (status == NEUMETA_OK)
        status = nmi_archive_topology(file, &topology);
    if (status == NEUMETA_OK)
        status = nmi_archive_options(file, NMI_META_OPTIONS, &options);
    if (status == NEUMETA_OK)
        status = nmi_manifold_plan(nmi_safetensors_context(file), topology, options, out);
    if (status == NEUMETA_ERR_ARGUMENT || status == NEUMETA_ERR_UNSUPPORTED) {
        status = NEUMETA_ERR_FORMAT;
        nmi_safetensors_within(file, status);
    }
    nmi_options_release(options);
    nmi_topology_release(topology);
    return status;
}

static neumeta_status read_manifold(const nmi_safetensors *file, nmi_manifold **out)
{
    nmi_manifold *manifold = NULL;
    neumeta_status status = read_plan(file, &manifold);
    walk w = {.manifold = manifold};
    if (status == NEUMETA_OK)
        status = check_entries(file, &w);
    if (status == NEUMETA_OK)
        status = nmi_statistics_find(file, manifold->topology, &manifold->statistics);
    if (status == NEUMETA_OK && manifold->statistics != NULL)
        nmi_manifold_map_statistics(manifold, manifold->statistics);
    if (status == NEUMETA_OK)
        status = nmi_trained_read(file, manifold);
    if (status == NEUMETA_OK)
        status = nmi_front_read(file, manifold, &manifold->front);
    if (status == NEUMETA_OK)
        status = nmi_manifold_allocate(manifold);
    if (status == NEUMETA_OK)
        status = read_entries(file, &w);
    if (status == NEUMETA_OK)
        *out = manifold;
    else
        nmi_manifold_release(manifold);
    return status;
}

neumeta_status nmi_manifold_load_memory(nmi_context *context, const void *data, int64_t size,
                                        nmi_manifold **out)
{
    nmi_safetensors *file = NULL;
    *out = NULL;
    neumeta_status status = nmi_safetensors_parse(context, "", data, size, &file);
    if (status == NEUMETA_OK)
        status = read_manifold(file, out);
    nmi_safetensors_free(file);
    return status;
}

neumeta_status nmi_manifold_load(nmi_context *context, const char *path, nmi_manifold **out)
{
    nmi_safetensors *file = NULL;
    *out = NULL;
    neumeta_status status = nmi_safetensors_open(context, path, &file);
    if (status == NEUMETA_OK)
        status = read_manifold(file, out);
    nmi_safetensors_free(file);
    return status;
}
