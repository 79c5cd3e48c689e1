/* SPDX-License-Identifier: MIT */
/* Borders, lifetimes and places of values; see nmi_layout.h. */
#include "nmi_layout.h"

neumeta_status nmi_layout_create(nmi_context *context, const nmi_topology *topology,
                                 nmi_layout *out)
{
    int32_t nodes = topology->node_count;
    out->offset = nmi_alloc_array(context, nodes, sizeof *out->offset);
    out->border = nmi_alloc_array(context, nodes, sizeof *out->border);
    out->unclear = nmi_alloc_array(context, nodes, sizeof *out->unclear);
    out->spans = nmi_alloc_array(context, nodes, sizeof *out->spans);
    out->home = nmi_alloc_array(context, nodes, sizeof *out->home);
    if (out->offset != NULL && out->border != NULL && out->unclear != NULL && out->spans != NULL &&
        out->home != NULL)
        return NEUMETA_OK;
    nmi_layout_free(context, out);
    return NEUMETA_ERR_MEMORY;
}

void nmi_layout_free(nmi_context *context, nmi_layout *layout)
{
    nmi_free(context, layout->offset);
    nmi_free(context, layout->border);
    nmi_free(context, layout->unclear);
    nmi_free(context, layout->spans);
    nmi_free(context, layout->home);
    *layout = (nmi_layout){0};
}

int64_t nmi_layout_bytes(const nmi_topology *topology)
{
    return (int64_t)topology->node_count *
           (int64_t)(2 * sizeof(int64_t) + sizeof(bool) + sizeof(nmi_span) + sizeof(int32_t));
}

static bool is_live(const nmi_network *network, int32_t node)
{
    return network->shapes[node].channels > 0;
}

/* Makes both the larger; true if one changed. */
static bool level(int64_t *a, int64_t *b)
{
    if (*a == *b)
        return false;
    *a = *b = *a > *b ? *a : *b;
    return true;
}

/* What convolutions read needs their padding; a residual is addressed like the sum. */
static void plan_borders(nmi_layout *layout, const nmi_network *network, const nmi_steps *steps)
{
    const nmi_topology *topology = network->topology;
    for (int32_t s = 0; s < steps->count; s++) {
        const nmi_node *node = &topology->nodes[steps->steps[s].node];
        if (node->op != NEUMETA_OP_CONV || !is_live(network, steps->steps[s].node))
            continue;
        int64_t *border = &layout->border[steps->source[node->inputs[0]]];
        *border = node->padding > *border ? node->padding : *border;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (int32_t s = 0; s < steps->count; s++) {
            const nmi_step *step = &steps->steps[s];
            if (step->add < 0 || !is_live(network, step->end))
                continue;
            int32_t residual = nmi_step_residual(topology, steps, step);
            if (level(&layout->border[step->end], &layout->border[residual]))
                changed = true;
        }
    }
}

static void plan_lives(nmi_layout *layout, const nmi_network *network, const nmi_steps *steps)
{
    const nmi_topology *topology = network->topology;
    for (int32_t n = 0; n < topology->node_count; n++) {
        const nmi_node *node = &topology->nodes[n];
        if (!is_live(network, n) || node->op == NEUMETA_OP_SELECT)
            continue;
        if (steps->end[n] == n)
            layout->spans[n].size =
                nmi_aligned_floats(nmi_bordered_floats(&network->shapes[n], layout->border[n]));
        for (int32_t k = 0; k < node->input_count; k++) {
            nmi_span *read = &layout->spans[steps->source[node->inputs[k]]];
            if (read->last < steps->end[n])
                read->last = steps->end[n];
        }
    }
    layout->spans[steps->source[topology->output]].last = topology->node_count;
}

/* Sums whose other term nobody needs afterwards take its place, chains of them the first one's. */
static void share_places(nmi_layout *layout, const nmi_network *network, const nmi_steps *steps)
{
    for (int32_t s = 0; s < steps->count; s++) {
        const nmi_step *step = &steps->steps[s];
        if (step->add < 0 || !is_live(network, step->end))
            continue;
        int32_t residual = nmi_step_residual(network->topology, steps, step);
        int32_t read = steps->source[network->topology->nodes[step->node].inputs[0]];
        if (layout->spans[residual].last != step->end || read == residual)
            continue;
        int32_t home = layout->home[residual];
        layout->home[step->end] = home;
        layout->spans[home].last = layout->spans[step->end].last;
        layout->spans[step->end].size = 0;
    }
}

/* Whether a value must write the zeros of its border: not if the last one that lay there, or partly
 * there, had the same shape and place and so left them. */
static bool is_unclear(const nmi_layout *layout, const nmi_network *network, int32_t node)
{
    const nmi_span *span = &layout->spans[layout->home[node]];
    if (layout->border[node] == 0)
        return false;
    for (int32_t other = node - 1; other >= 0; other--) {
        const nmi_span *before = &layout->spans[layout->home[other]];
        const nmi_shape *a = &network->shapes[node];
        const nmi_shape *b = &network->shapes[other];
        if (before->size == 0 || before->offset + before->size <= span->offset ||
            span->offset + span->size <= before->offset)
            continue;
        return before->offset != span->offset || a->channels != b->channels ||
               a->height != b->height || a->width != b->width ||
               layout->border[node] != layout->border[other];
    }
    return true;
}

void nmi_layout_plan(nmi_layout *layout, const nmi_network *network, const nmi_steps *steps,
                     bool bordered)
{
    int32_t nodes = network->topology->node_count;
    for (int32_t n = 0; n < nodes; n++) {
        layout->spans[n] = (nmi_span){.first = n, .last = n};
        layout->home[n] = n;
        layout->border[n] = 0;
    }
    if (bordered)
        plan_borders(layout, network, steps);
    plan_lives(layout, network, steps);
    share_places(layout, network, steps);
    layout->floats = nmi_spans_arrange(layout->spans, nodes);
    for (int32_t n = 0; n < nodes; n++)
        layout->offset[n] = layout->spans[layout->home[steps->end[n]]].offset;
    for (int32_t n = 0; n < nodes; n++)
        layout->unclear[n] = is_unclear(layout, network, n);
}
