/* SPDX-License-Identifier: MIT */
/*
 * Memory of a training pass. Everything is placed once, at the largest sizes. Activations are
 * kept until the backward, except those that a following node may overwrite; gradients share an
 * arena by their lifetimes. Which nodes share depends on the graph alone: where a SELECT could
 * read a node at some depth, the node counts as read, so that the places hold at any sizes.
 */
#include "nmi_pass_internal.h"

#include "nmi_dense.h"
#include "nmi_elementwise.h"
#include "nmi_group_norm.h"

/* --- values ---------------------------------------------------------------------------------- */

static const nmi_step *step_of(const nmi_pass *pass, int32_t end)
{
    int32_t low = 0;
    int32_t high = pass->steps.count - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (pass->steps.steps[middle].end < end)
            low = middle + 1;
        else
            high = middle;
    }
    return &pass->steps.steps[low];
}

/* The stretch of the step that ends in a node. */
static int64_t stretch_of(const nmi_pass *pass, int32_t node)
{
    return pass->stretch[step_of(pass, node) - pass->steps.steps];
}

/* Whether `reader` alone reads the step that ends in `node`, directly and whenever it is live. */
static bool reads_alone(const nmi_pass *pass, int32_t reader, int32_t node)
{
    const nmi_node *a = &pass->topology->nodes[reader];
    const nmi_node *b = &pass->topology->nodes[node];
    return pass->steps.sole[node] == reader && b->op != NEUMETA_OP_SELECT &&
           a->depth_axis == b->depth_axis && a->depth_number == b->depth_number;
}

/* Whether the backward of the step needs the step's own output. */
static bool needs_output(const nmi_pass *pass, const nmi_step *step)
{
    return step->activation >= 0 || pass->topology->nodes[step->node].op == NEUMETA_OP_ACTIVATION;
}

/* The input whose place a step may take for its output, or -1: that of a sum or an activation
 * that nobody else reads and nobody needs afterwards. */
static int32_t overwritable_input(const nmi_pass *pass, const nmi_step *step)
{
    const nmi_node *node = &pass->topology->nodes[step->node];
    if (node->op != NEUMETA_OP_ADD && node->op != NEUMETA_OP_ACTIVATION)
        return -1;
    for (int32_t k = 0; k < node->input_count; k++)
        if (reads_alone(pass, step->node, node->inputs[k]) &&
            !needs_output(pass, step_of(pass, node->inputs[k])))
            return node->inputs[k];
    return -1;
}

/* Whether a product of the same stretch is the only one to read what a norm yields. */
static bool is_passing(const nmi_pass *pass, const nmi_step *step)
{
    const int32_t reader = pass->steps.sole[step->end];
    if (pass->topology->nodes[step->node].op != NEUMETA_OP_NORM || step->add >= 0 || reader < 0)
        return false;
    const int32_t op = pass->topology->nodes[reader].op;
    return (op == NEUMETA_OP_CONV || op == NEUMETA_OP_LINEAR) &&
           stretch_of(pass, pass->steps.end[reader]) == stretch_of(pass, step->end) &&
           reads_alone(pass, reader, step->end);
}

/* The largest value of a slice of more than one item: with the two or three others of a step it
 * fills half of a second-level cache of 1 MiB. */
enum { SLICE_FLOATS = 32 * 1024 };

static int64_t slice_items(int64_t floats)
{
    return floats > 0 && floats < SLICE_FLOATS ? SLICE_FLOATS / floats : 1;
}

/* Room for a slice of a passing value of up to so many floats an item. */
static void need_passing(nmi_pass *pass, int64_t floats)
{
    const int64_t items = (pass->batch + NMI_PASS_CHUNKS - 1) / NMI_PASS_CHUNKS;
    int64_t room = floats;
    if (floats < SLICE_FLOATS)
        room =
            items < SLICE_FLOATS && floats * items < SLICE_FLOATS ? floats * items : SLICE_FLOATS;
    const int64_t bytes = nmi_aligned_floats(room) * (int64_t)sizeof(float);
    if (bytes > pass->passing_bytes)
        pass->passing_bytes = bytes;
}

static int64_t place_values(nmi_pass *pass, const nmi_shape *shapes)
{
    int64_t total = 0;
    for (int32_t s = 0; s < pass->steps.count; s++) {
        const nmi_step *step = &pass->steps.steps[s];
        const int64_t floats = nmi_shape_floats(&shapes[step->end]);
        if (is_passing(pass, step)) {
            pass->value_offset[step->end] = NMI_PASSING;
            need_passing(pass, floats);
            continue;
        }
        int32_t shared = overwritable_input(pass, step);
        if (shared >= 0) {
            pass->value_offset[step->end] = pass->value_offset[shared];
        } else {
            pass->value_offset[step->end] = total;
            total += nmi_aligned_floats(floats);
        }
    }
    for (int32_t n = 0; n < pass->topology->node_count; n++)
        pass->value_offset[n] = pass->value_offset[pass->steps.end[n]];
    return total;
}

/* --- gradients ------------------------------------------------------------------------------- */

/* Whether the node's backward may leave the gradient of its input where that of its output is. */
static bool passes_gradient_in_place(int32_t op)
{
    return op == NEUMETA_OP_ACTIVATION || op == NEUMETA_OP_NORM || op == NEUMETA_OP_AFFINE ||
           op == NEUMETA_OP_GROUP_NORM || op == NEUMETA_OP_SCALE || op == NEUMETA_OP_GAIN ||
           op == NEUMETA_OP_ADD;
}

/* owner[n]: the step end whose gradient's place that of n shares. */
static void share_gradients(const nmi_pass *pass, int32_t *owner)
{
    for (int32_t n = 0; n < pass->topology->node_count; n++)
        owner[n] = n;
    for (int32_t s = pass->steps.count - 1; s >= 0; s--) {
        const nmi_step *step = &pass->steps.steps[s];
        const nmi_node *node = &pass->topology->nodes[step->node];
        if (!passes_gradient_in_place(node->op))
            continue;
        for (int32_t k = 0; k < node->input_count; k++)
            if (reads_alone(pass, step->node, node->inputs[k])) {
                owner[node->inputs[k]] = owner[step->end];
                break;
            }
    }
}

/* The lowest stretch in which the backward of the step that ends in `node` reads its gradient. */
static int64_t lowest_stretch(const nmi_pass *pass, int32_t node)
{
    const nmi_step *step = step_of(pass, node);
    return stretch_of(pass, node) - (pass->topology->nodes[step->node].op == NEUMETA_OP_NORM);
}

/* Backward runs against the node numbers: a gradient lives from its last reader down to itself.
 * Slices are at different steps of a stretch at one time, so whole stretches count. */
static void span_gradients(const nmi_pass *pass, const nmi_shape *shapes, const int32_t *owner,
                           nmi_span *spans)
{
    const nmi_topology *topology = pass->topology;
    for (int32_t n = 0; n < topology->node_count; n++)
        spans[n] = (nmi_span){.first = lowest_stretch(pass, n), .last = stretch_of(pass, n)};
    spans[topology->output].last = stretch_of(pass, topology->node_count);
    for (int32_t n = topology->node_count - 1; n >= 0; n--) {
        const nmi_node *node = &topology->nodes[n];
        int64_t time =
            node->op == NEUMETA_OP_SELECT ? spans[n].last : stretch_of(pass, pass->steps.end[n]);
        for (int32_t k = 0; k < node->input_count; k++)
            if (spans[node->inputs[k]].last < time)
                spans[node->inputs[k]].last = time;
    }
    for (int32_t n = topology->node_count - 1; n >= 0; n--) {
        nmi_span *span = &spans[owner[n]];
        if (pass->steps.end[n] != n || topology->nodes[n].op == NEUMETA_OP_SELECT)
            continue;
        if (span->last < spans[n].last)
            span->last = spans[n].last;
        if (span->first > spans[n].first)
            span->first = spans[n].first;
        if (owner[n] == n)
            span->size = nmi_aligned_floats(nmi_shape_floats(&shapes[n]));
    }
}

static neumeta_status place_gradients(nmi_pass *pass, const nmi_shape *shapes, int64_t *total)
{
    neumeta_status status = NEUMETA_ERR_MEMORY;
    int32_t nodes = pass->topology->node_count;
    int32_t *owner = nmi_alloc_array(pass->context, nodes, sizeof *owner);
    nmi_span *spans = nmi_alloc_array(pass->context, nodes, sizeof *spans);
    if (owner != NULL && spans != NULL) {
        share_gradients(pass, owner);
        span_gradients(pass, shapes, owner, spans);
        *total = nmi_spans_arrange(spans, nodes);
        for (int32_t n = 0; n < nodes; n++)
            pass->gradient_offset[n] = spans[owner[pass->steps.end[n]]].offset;
        status = NEUMETA_OK;
    }
    nmi_free(pass->context, owner);
    nmi_free(pass->context, spans);
    return status;
}

/* --- weights --------------------------------------------------------------------------------- */

typedef struct totals {
    int64_t values, gradients, packed, factors, sums;
} totals;

/* Room in each chunk's workspace. */
static void need_workspace(nmi_pass *pass, size_t bytes)
{
    const int64_t floats = ((int64_t)bytes + (int64_t)sizeof(float) - 1) / (int64_t)sizeof(float);
    const int64_t whole = nmi_aligned_floats(floats) * (int64_t)sizeof(float);
    if (whole > pass->workspace_bytes)
        pass->workspace_bytes = whole;
}

/* Channels at the smallest and at the largest sizes. */
typedef struct extremes {
    const nmi_shape *least, *most; /* [node_count] */
} extremes;

static nmi_conv_room conv_room(const nmi_pass *pass, const extremes *shapes, int32_t number)
{
    const nmi_conv_shape most =
        nmi_step_conv_shape(pass->topology, &pass->steps, shapes->most, number);
    nmi_conv_shape least = most;
    least.in_channels = shapes->least[nmi_pass_input(pass, number, 0)].channels;
    least.out_channels = shapes->least[number].channels;
    return nmi_conv_room_between(pass->kernels, pass->precision, &least, &most);
}

static void place_product(nmi_pass *pass, const extremes *both, int32_t number, totals *need)
{
    const nmi_shape *shapes = both->most;
    const nmi_node *node = &pass->topology->nodes[number];
    nmi_places *places = &pass->places[number];
    int64_t packed, transposed, gradient;
    if (node->op == NEUMETA_OP_CONV) {
        const nmi_conv_room room = conv_room(pass, both, number);
        packed = (int64_t)room.packed_floats;
        transposed = (int64_t)room.transposed_floats;
        gradient = (int64_t)room.gradient_floats;
        need_workspace(pass, room.workspace_bytes);
    } else {
        nmi_dense_shape shape = {shapes[nmi_pass_input(pass, number, 0)].channels,
                                 shapes[number].channels};
        packed = (int64_t)nmi_dense_packed_floats(pass->kernels, shape);
        transposed = (int64_t)nmi_dense_packed_transposed_floats(pass->kernels, shape);
        gradient = packed;
    }
    places->packed = need->packed;
    places->transposed = places->packed + nmi_aligned_floats(packed);
    need->packed = places->transposed_end = places->transposed + nmi_aligned_floats(transposed);
    places->partial = pass->partial_floats;
    places->bias = places->partial + nmi_aligned_floats(gradient);
    pass->partial_floats = places->bias + places->vector;
}

static void place_weights(nmi_pass *pass, const extremes *both, totals *need)
{
    const nmi_shape *shapes = both->most;
    for (int32_t n = 0; n < pass->topology->node_count; n++) {
        nmi_places *places = &pass->places[n];
        int64_t channels = shapes[n].channels;
        places->vector = nmi_aligned_floats(channels);
        places->sum = pass->sum_count;
        places->total = need->sums;
        places->factors = need->factors;
        if (channels == 0)
            continue;
        switch (pass->topology->nodes[n].op) {
        case NEUMETA_OP_CONV:
        case NEUMETA_OP_LINEAR:
            place_product(pass, both, n, need);
            break;
        case NEUMETA_OP_NORM:
            need->factors += 6 * places->vector;
            need->sums += 2 * channels;
            pass->sum_count += 2 * channels;
            break;
        case NEUMETA_OP_GROUP_NORM:
            need_workspace(pass, nmi_group_norm_workspace_bytes(channels));
            pass->sum_count += 2 * channels;
            break;
        case NEUMETA_OP_AFFINE:
            pass->sum_count += 2 * channels;
            break;
        case NEUMETA_OP_SCALE:
            pass->sum_count += 1;
            break;
        default:
            break;
        }
    }
}

static int32_t either(int32_t a, int32_t b)
{
    return a >= 0 ? a : b;
}

static void find_tensors(nmi_pass *pass)
{
    const nmi_topology *t = pass->topology;
    for (int32_t n = 0; n < t->node_count; n++) {
        int32_t weight = either(nmi_graph_node_tensor(t, n, NMI_ROLE_WEIGHT),
                                nmi_graph_node_tensor(t, n, NMI_ROLE_NORM_WEIGHT));
        int32_t bias = either(nmi_graph_node_tensor(t, n, NMI_ROLE_BIAS),
                              nmi_graph_node_tensor(t, n, NMI_ROLE_NORM_BIAS));
        weight = either(weight, nmi_graph_node_tensor(t, n, NMI_ROLE_AFFINE_WEIGHT));
        pass->tensors[n] = (nmi_node_tensors){
            .weight = either(weight, nmi_graph_node_tensor(t, n, NMI_ROLE_SCALE)),
            .bias = either(bias, nmi_graph_node_tensor(t, n, NMI_ROLE_AFFINE_BIAS)),
            .mean = nmi_graph_node_tensor(t, n, NMI_ROLE_RUNNING_MEAN),
            .variance = nmi_graph_node_tensor(t, n, NMI_ROLE_RUNNING_VAR)};
    }
}

/* --- life ------------------------------------------------------------------------------------ */

static void find_stretches(nmi_pass *pass)
{
    int32_t number = 0;
    bool product = false;
    for (int32_t s = 0; s < pass->steps.count; s++) {
        const int32_t op = pass->topology->nodes[pass->steps.steps[s].node].op;
        const bool another = op == NEUMETA_OP_CONV || op == NEUMETA_OP_LINEAR;
        if (op == NEUMETA_OP_NORM || (another && product)) {
            number++;
            product = false;
        }
        product = product || another;
        pass->stretch[s] = number;
    }
}

static neumeta_status allocate_tables(nmi_pass *pass)
{
    nmi_context *context = pass->context;
    int32_t nodes = pass->topology->node_count;
    int64_t inputs = 0;
    pass->stretch = nmi_alloc_array(context, nodes, sizeof *pass->stretch);
    pass->tensors = nmi_alloc_array(context, nodes, sizeof *pass->tensors);
    pass->places = nmi_alloc_zero_array(context, nodes, sizeof *pass->places);
    pass->value_offset = nmi_alloc_zero_array(context, nodes, sizeof *pass->value_offset);
    pass->gradient_offset = nmi_alloc_zero_array(context, nodes, sizeof *pass->gradient_offset);
    pass->first_input = nmi_alloc_array(context, nodes, sizeof *pass->first_input);
    pass->batch_norm = nmi_alloc_zero_array(context, nodes, sizeof *pass->batch_norm);
    pass->needed = nmi_alloc_zero_array(context, nodes, sizeof *pass->needed);
    pass->reached = nmi_alloc_zero_array(context, nodes, sizeof *pass->reached);
    pass->weights = nmi_alloc_zero_array(context, nodes, sizeof *pass->weights);
    pass->shapes = nmi_alloc_zero_array(context, nodes, sizeof *pass->shapes);
    if (pass->stretch == NULL || pass->tensors == NULL || pass->places == NULL ||
        pass->value_offset == NULL || pass->gradient_offset == NULL || pass->first_input == NULL ||
        pass->batch_norm == NULL || pass->needed == NULL || pass->reached == NULL ||
        pass->weights == NULL || pass->shapes == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t n = 0; n < nodes; n++) {
        pass->first_input[n] = (int32_t)inputs;
        inputs += pass->topology->nodes[n].input_count;
    }
    pass->flow = nmi_alloc_array(context, inputs, sizeof *pass->flow);
    if (pass->flow == NULL)
        return NEUMETA_ERR_MEMORY;
    const neumeta_status status = nmi_steps_create(context, pass->topology, false, &pass->steps);
    if (status == NEUMETA_OK)
        find_stretches(pass);
    return status;
}

static neumeta_status allocate_slabs(nmi_pass *pass, const nmi_shape *shapes, const totals *need)
{
    nmi_context *context = pass->context;
    int64_t outputs = nmi_shape_floats(&shapes[pass->topology->output]);
    pass->values = nmi_alloc_matrix(context, need->values, pass->batch, sizeof(float));
    pass->gradient_floats = need->gradients;
    pass->gradients = nmi_alloc_matrix(context, need->gradients, pass->batch, sizeof(float));
    pass->packed = nmi_alloc_array(context, need->packed, sizeof(float));
    pass->factors = nmi_alloc_array(context, need->factors, sizeof(float));
    pass->totals = nmi_alloc_array(context, need->sums, sizeof(double));
    pass->partials =
        nmi_alloc_matrix(context, pass->partial_floats, NMI_PASS_CHUNKS, sizeof(float));
    pass->sums = nmi_alloc_matrix(context, pass->sum_count, NMI_PASS_CHUNKS, sizeof(double));
    pass->workspaces = nmi_alloc_matrix(context, pass->workspace_bytes, NMI_PASS_CHUNKS, 1);
    pass->outputs = nmi_alloc_matrix(context, outputs, pass->batch, sizeof(float));
    if (pass->values == NULL || pass->gradients == NULL || pass->packed == NULL ||
        pass->factors == NULL || pass->totals == NULL || pass->partials == NULL ||
        pass->sums == NULL || pass->workspaces == NULL || pass->outputs == NULL)
        return NEUMETA_ERR_MEMORY;
    return NEUMETA_OK;
}

/* The shapes at the smallest widths. Widths that do not go together may do so at other sizes: then
 * any number of channels is taken for possible. */
static neumeta_status find_least(const nmi_pass *pass, const int64_t *sizes, nmi_shape *shapes)
{
    const nmi_topology *topology = pass->topology;
    int64_t *least = nmi_alloc_array(pass->context, topology->axis_count, sizeof *least);
    if (least == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t a = 0; a < topology->axis_count; a++)
        least[a] = topology->axes[a].kind == NEUMETA_AXIS_WIDTH ? topology->axes[a].min : sizes[a];
    if (nmi_graph_shapes(topology, least, shapes) != NEUMETA_OK)
        for (int32_t n = 0; n < topology->node_count; n++)
            shapes[n].channels = 1;
    nmi_free(pass->context, least);
    return NEUMETA_OK;
}

/* `least` and `most` have room for the shapes. */
static neumeta_status place_shapes(nmi_pass *pass, const int64_t *sizes, nmi_shape *least,
                                   nmi_shape *most)
{
    const extremes both = {least, most};
    totals need = {0};
    neumeta_status status = nmi_graph_shapes(pass->topology, sizes, most);
    if (status == NEUMETA_OK)
        status = find_least(pass, sizes, least);
    if (status != NEUMETA_OK)
        return status;
    nmi_steps_resolve(&pass->steps, pass->topology, sizes);
    find_tensors(pass);
    need.values = place_values(pass, most);
    place_weights(pass, &both, &need);
    pass->workspace_bytes += pass->passing_bytes;
    status = place_gradients(pass, most, &need.gradients);
    return status == NEUMETA_OK ? allocate_slabs(pass, most, &need) : status;
}

static neumeta_status place_everything(nmi_pass *pass, const int64_t *sizes)
{
    const int32_t nodes = pass->topology->node_count;
    nmi_shape *shapes = nmi_alloc_matrix(pass->context, 2, nodes, sizeof *shapes);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (shapes != NULL)
        status = place_shapes(pass, sizes, shapes, shapes + nodes);
    nmi_free(pass->context, shapes);
    return status;
}

neumeta_status nmi_pass_create(nmi_context *context, nmi_topology *topology,
                               const int64_t *largest_sizes, int64_t batch, int32_t precision,
                               nmi_pass **out)
{
    *out = NULL;
    nmi_pass *pass = nmi_alloc_zero(context, sizeof *pass);
    if (pass == NULL)
        return NEUMETA_ERR_MEMORY;
    pass->context = nmi_context_retain(context);
    nmi_topology_retain(topology);
    pass->topology = topology;
    pass->kernels = context->kernels;
    pass->precision = precision;
    pass->batch = batch;
    neumeta_status status = allocate_tables(pass);
    if (status == NEUMETA_OK)
        status = place_everything(pass, largest_sizes);
    if (status != NEUMETA_OK) {
        nmi_pass_free(pass);
        return status;
    }
    *out = pass;
    return status;
}

void nmi_pass_free(nmi_pass *pass)
{
    if (pass == NULL)
        return;
    nmi_context *context = pass->context;
    void *const parts[] = {pass->stretch,         pass->tensors, pass->places,   pass->value_offset,
                           pass->gradient_offset, pass->flow,    pass->needed,   pass->first_input,
                           pass->batch_norm,      pass->reached, pass->weights,  pass->values,
                           pass->gradients,       pass->packed,  pass->partials, pass->factors,
                           pass->outputs,         pass->sums,    pass->totals,   pass->workspaces,
                           pass->shapes};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        nmi_free(context, parts[i]);
    nmi_steps_free(context, &pass->steps);
    nmi_topology_release(pass->topology);
    nmi_free(context, pass);
    nmi_context_release(context);
}

/* --- what forward and backward share --------------------------------------------------------- */

bool nmi_pass_has_room(const nmi_pass *pass, int32_t node, nmi_conv_path path,
                       const nmi_conv_shape *shape)
{
    const nmi_places *places = &pass->places[node];
    return (int64_t)nmi_conv_workspace_bytes(path, shape) <=
               pass->workspace_bytes - pass->passing_bytes &&
           (int64_t)nmi_conv_packed_floats(path, shape) <= places->transposed - places->packed &&
           (int64_t)nmi_conv_packed_transposed_floats(path, shape) <=
               places->transposed_end - places->transposed &&
           (int64_t)nmi_conv_gradient_floats(path, shape) <= places->bias - places->partial;
}

void nmi_pass_run(nmi_pass *pass, nmi_task task)
{
    pass->descending = !pass->descending;
    nmi_run(pass->context, pass->chunks, task, pass);
}

int64_t nmi_pass_turn(const nmi_pass *pass, int64_t index)
{
    return pass->descending ? pass->chunks - 1 - index : index;
}

nmi_chunk nmi_pass_chunk(const nmi_pass *pass, int64_t index, int32_t worker, bool gradients)
{
    int64_t first = index * pass->chunk_items;
    int64_t left = pass->items - first;
    int64_t items = left < pass->chunk_items ? left : pass->chunk_items;
    /* Each chunk could have a workspace; few workers keep theirs in their caches. */
    int64_t desk = nmi_worker_count(pass->context) <= NMI_PASS_CHUNKS ? worker : index;
    nmi_chunk chunk = {.topology = pass->topology,
                       .steps = &pass->steps,
                       .shapes = pass->network->shapes,
                       .kernels = pass->kernels,
                       .precision = pass->precision,
                       .base = pass->values,
                       .offset = pass->value_offset,
                       .room = pass->batch,
                       .first = first,
                       .items = items,
                       .workspace = pass->workspaces + desk * pass->workspace_bytes};
    chunk.passing =
        (float *)(pass->workspaces + (desk + 1) * pass->workspace_bytes - pass->passing_bytes);
    if (gradients) {
        /* Nodes share places here, and chunks are at different nodes at one time: so each chunk has
         * a part of its own. */
        chunk.base = pass->gradients + first * pass->gradient_floats;
        chunk.offset = pass->gradient_offset;
        chunk.room = items;
        chunk.first = 0;
    }
    return chunk;
}

int64_t nmi_pass_slice_items(const nmi_pass *pass, int32_t first, int32_t last)
{
    int64_t most = 0;
    bool norms = false;
    while (first > 0 && pass->stretch[first - 1] == pass->stretch[first])
        first--;
    for (int32_t s = first; s <= last; s++) {
        const nmi_step *step = &pass->steps.steps[s];
        const int64_t floats = nmi_shape_floats(&pass->network->shapes[step->end]);
        most = floats > most ? floats : most;
        norms = norms || pass->topology->nodes[step->node].op == NEUMETA_OP_NORM;
    }
    return norms ? slice_items(most) : pass->chunk_items;
}

nmi_chunk nmi_pass_slice(const nmi_chunk *chunk, int64_t begin, int64_t items)
{
    nmi_chunk slice = *chunk;
    slice.first += begin;
    slice.items = chunk->items - begin < items ? chunk->items - begin : items;
    return slice;
}

bool nmi_pass_is_live(const nmi_pass *pass, const nmi_step *step)
{
    return pass->network->shapes[step->end].channels > 0;
}

bool nmi_pass_is_barrier(const nmi_pass *pass, const nmi_step *step)
{
    return pass->batch_norm[step->node] && nmi_pass_is_live(pass, step);
}

int32_t nmi_pass_input(const nmi_pass *pass, int32_t node, int32_t k)
{
    return pass->steps.source[pass->topology->nodes[node].inputs[k]];
}

double *nmi_pass_reduce_sums(const nmi_pass *pass, int32_t node, int64_t count)
{
    double *total = pass->sums + pass->places[node].sum;
    for (int64_t chunk = 1; chunk < pass->chunks; chunk++)
        for (int64_t i = 0; i < count; i++)
            total[i] += total[chunk * pass->sum_count + i];
    return total;
}

const double *nmi_pass_norm_sums(const nmi_pass *pass, int32_t node)
{
    return pass->sums + pass->places[node].sum; /* which the forward has reduced into */
}

void nmi_pass_activation(const nmi_pass *pass, const nmi_network *network, int32_t node,
                         float *nchw)
{
    int32_t end = pass->steps.end[pass->steps.source[node]];
    const nmi_shape *shape = &network->shapes[end];
    NMI_ASSERT(pass->value_offset[end] != NMI_PASSING);
    nmi_nhwc_to_nchw(pass->items, shape->channels, shape->height * shape->width,
                     pass->values + pass->value_offset[end] * pass->batch, nchw);
}
