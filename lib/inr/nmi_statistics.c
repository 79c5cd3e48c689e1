/* SPDX-License-Identifier: MIT */
/* What the statistics of each norm depend on, and their values at given sizes. */
#include "nmi_statistics.h"

#include <math.h>
#include <string.h>

enum { PIECES = 32 };

/* --- dependences ------------------------------------------------------------------------------ */

static bool is_depth(const nmi_topology *topology, int32_t axis)
{
    return topology->axes[axis].kind == NEUMETA_AXIS_DEPTH;
}

/* What creation works with. */
typedef struct plan {
    nmi_shape *full;  /* at full sizes */
    bool *sources;    /* [node_count] that the present norm's input is computed from */
    int32_t *firsts;  /* [axis_count] the first of them with this width, or that selects by this
                         depth;  -1: none */
    int64_t axis_sum; /* of all norms */
} plan;

/* A file must not make us ask for more than it could fill. */
enum { MOST_AXES = 1 << 20 };

static void find_sources(const nmi_statistics *s, int32_t node, const plan *p)
{
    const nmi_topology *topology = s->topology;
    memset(p->sources, 0, (size_t)topology->node_count * sizeof *p->sources);
    for (int32_t a = 0; a < topology->axis_count; a++)
        p->firsts[a] = -1;
    p->sources[node] = true;
    for (int32_t n = node; n >= 0; n--) {
        const nmi_node *source = &topology->nodes[n];
        const int32_t axis = source->op == NEUMETA_OP_SELECT ? source->depth_axis : source->axis;
        if (!p->sources[n])
            continue;
        if (axis >= 0 && s->moves[axis])
            p->firsts[axis] = n;
        for (int32_t k = 0; k < source->input_count; k++)
            p->sources[source->inputs[k]] = true;
    }
}

/* Steps of a width within reach, as far as each can have a piece of its own. */
static int32_t count_pieces(const nmi_statistics *s, int32_t axis)
{
    const nmi_axis *a = &s->topology->axes[axis];
    const int64_t steps = (a->max - nmi_axis_size_at(a, s->reach)) / a->step;
    return (int32_t)(steps < PIECES ? steps : PIECES);
}

static int32_t count_widths(const nmi_topology *topology, const nmi_norm_function *norm)
{
    int32_t widths = 0;
    for (int32_t i = norm->direct_count + norm->own_count; i < norm->axis_count; i++)
        widths += !is_depth(topology, norm->axes[i]);
    return widths;
}

static int32_t count_terms(const nmi_statistics *s, const nmi_norm_function *norm)
{
    const int32_t widths = count_widths(s->topology, norm);
    int32_t terms = 1 + (widths > 1 ? 2 : 0);
    for (int32_t i = 0; i < norm->axis_count; i++) {
        const nmi_axis *axis = &s->topology->axes[norm->axes[i]];
        if (is_depth(s->topology, norm->axes[i]))
            terms += (int32_t)(axis->max - axis->min);
        else
            terms += 2;
        if (i < norm->direct_count)
            terms += count_pieces(s, norm->axes[i]) + (widths > 0 ? 1 : 0);
    }
    return terms;
}

/* Which of the groups above an axis belongs to: 0 direct, 1 own, 2 further in front. */
static int group_of(const nmi_topology *topology, int32_t node, int32_t axis)
{
    const int32_t own = nmi_graph_node_tensor(topology, node, NMI_ROLE_NORM_WEIGHT);
    const int32_t product =
        nmi_graph_node_tensor(topology, topology->nodes[node].inputs[0], NMI_ROLE_WEIGHT);
    if (nmi_graph_tensor_depends(topology, own, axis))
        return 1;
    return product >= 0 && nmi_graph_tensor_depends(topology, product, axis) ? 0 : 2;
}

static neumeta_status list_axes(nmi_statistics *s, nmi_norm_function *norm, plan *p)
{
    const nmi_topology *topology = s->topology;
    int64_t count = 0;
    for (int32_t a = 0; a < topology->axis_count; a++)
        count += p->firsts[a] >= 0;
    p->axis_sum += count;
    if (p->axis_sum > MOST_AXES)
        return nmi_fail(s->context, NEUMETA_ERR_UNSUPPORTED,
                        "the statistics of the norms depend on more than %d axes in all",
                        (int)MOST_AXES);
    norm->axes = nmi_alloc_matrix(s->context, 2, count, sizeof *norm->axes);
    if (norm->axes == NULL)
        return NEUMETA_ERR_MEMORY;
    norm->nodes = norm->axes + count;
    for (int group = 0; group < 3; group++)
        for (int32_t a = 0; a < topology->axis_count; a++) {
            if (p->firsts[a] < 0 || group_of(topology, norm->node, a) != group)
                continue;
            norm->nodes[norm->axis_count] = p->firsts[a];
            norm->axes[norm->axis_count++] = a;
            norm->direct_count += group == 0;
            norm->own_count += group == 1;
        }
    return NEUMETA_OK;
}

static neumeta_status plan_norm(nmi_statistics *s, int32_t node, plan *p)
{
    const nmi_topology *topology = s->topology;
    nmi_norm_function *norm = &s->norms[s->norm_count++];
    norm->node = node;
    norm->mean = nmi_graph_node_tensor(topology, node, NMI_ROLE_RUNNING_MEAN);
    norm->variance = nmi_graph_node_tensor(topology, node, NMI_ROLE_RUNNING_VAR);
    norm->channels = p->full[node].channels;
    norm->first = s->channels;
    s->channels += norm->channels;
    find_sources(s, node, p);
    const neumeta_status status = list_axes(s, norm, p);
    if (status != NEUMETA_OK)
        return status;
    norm->terms = count_terms(s, norm);
    s->most_terms = norm->terms > s->most_terms ? norm->terms : s->most_terms;
    s->coefficient_count += 2 * norm->terms * norm->channels;
    return NEUMETA_OK;
}

static neumeta_status plan_norms(nmi_statistics *s)
{
    const nmi_topology *topology = s->topology;
    nmi_context *context = s->context;
    plan p = {
        .sources = nmi_alloc_array(context, topology->node_count, sizeof *p.sources),
        .firsts = nmi_alloc_array(context, topology->axis_count, sizeof *p.firsts),
    };
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (p.sources != NULL && p.firsts != NULL)
        status = nmi_graph_full_shapes(topology, &p.full);
    for (int32_t n = 0; n < topology->node_count && status == NEUMETA_OK; n++)
        if (topology->nodes[n].op == NEUMETA_OP_NORM)
            status = plan_norm(s, n, &p);
    nmi_free(context, p.firsts);
    nmi_free(context, p.sources);
    nmi_free(context, p.full);
    return status;
}

neumeta_status nmi_statistics_create(const nmi_topology *topology, const bool *moves, double reach,
                                     nmi_statistics **out)
{
    nmi_context *context = topology->object.context;
    *out = NULL;
    nmi_statistics *s = nmi_alloc_zero(context, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    s->context = context;
    s->topology = topology;
    s->reach = reach;
    s->moves = nmi_alloc_array(context, topology->axis_count, sizeof *s->moves);
    s->norms = nmi_alloc_zero_array(context, topology->node_count, sizeof *s->norms);
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (s->moves != NULL && s->norms != NULL) {
        memcpy(s->moves, moves, (size_t)topology->axis_count * sizeof *moves);
        status = plan_norms(s);
    }
    if (status == NEUMETA_OK)
        *out = s;
    else
        nmi_statistics_free(s);
    return status;
}

neumeta_status nmi_statistics_allocate(nmi_statistics *statistics)
{
    nmi_context *context = statistics->context;
    statistics->terms = nmi_alloc_array(context, statistics->most_terms, sizeof(double));
    statistics->sums = nmi_alloc_array(context, statistics->channels, sizeof(double));
    if (statistics->terms == NULL || statistics->sums == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        nmi_norm_function *norm = &statistics->norms[i];
        norm->coefficients = nmi_alloc_zero_array(
            statistics->context, 2 * norm->terms * norm->channels, sizeof *norm->coefficients);
        if (norm->coefficients == NULL)
            return NEUMETA_ERR_MEMORY;
    }
    return NEUMETA_OK;
}

void nmi_statistics_free(nmi_statistics *statistics)
{
    if (statistics == NULL)
        return;
    nmi_context *context = statistics->context;
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        nmi_free(context, statistics->norms[i].axes);
        nmi_free(context, statistics->norms[i].coefficients);
    }
    nmi_free(context, statistics->norms);
    nmi_free(context, statistics->moves);
    nmi_free(context, statistics->terms);
    nmi_free(context, statistics->sums);
    nmi_free(context, statistics);
}

/* --- values ----------------------------------------------------------------------------------- */

/* Share of the index-th axis that is left out: 0 at full size, and where what it is the width of is
 * not there. */
static double compression(const nmi_topology *topology, const nmi_norm_function *norm,
                          const int64_t *sizes, int32_t index)
{
    const int32_t axis = norm->axes[index];
    if (!nmi_graph_live(topology, sizes, norm->nodes[index]))
        return 0;
    return 1 - (double)sizes[axis] / (double)topology->axes[axis].max;
}

/* Hats on n knots up to the reach, of which the first, at 0, is left to the constant; behind the
 * last one it stays. */
static double *add_pieces(const nmi_statistics *s, int32_t axis, double u, double *terms)
{
    const nmi_axis *a = &s->topology->axes[axis];
    const int32_t pieces = count_pieces(s, axis);
    const double end = 1 - (double)nmi_axis_size_at(a, s->reach) / (double)a->max;
    for (int32_t j = 1; j <= pieces; j++) {
        const double distance = fabs(fmin(u / end, 1) * pieces - j);
        *terms++ = fmax(1 - distance, 0);
    }
    return terms;
}

/* Terms of the axes further in front; returns the mean compression of the widths among them. */
static double add_others(const nmi_statistics *s, const nmi_norm_function *f, const int64_t *sizes,
                         double **terms)
{
    const nmi_topology *topology = s->topology;
    const int32_t widths = count_widths(topology, f);
    double sum = 0;
    for (int32_t i = f->direct_count + f->own_count; i < f->axis_count; i++) {
        const nmi_axis *axis = &topology->axes[f->axes[i]];
        const bool depth = is_depth(topology, f->axes[i]);
        const double u = depth ? 0 : compression(topology, f, sizes, i);
        for (int64_t d = axis->min; depth && d < axis->max; d++)
            *(*terms)++ = sizes[f->axes[i]] <= d;
        if (depth)
            continue;
        *(*terms)++ = u;
        *(*terms)++ = u * u;
        sum += u;
    }
    const double mean = widths > 0 ? sum / widths : 0;
    if (widths > 1) {
        *(*terms)++ = mean * mean;
        *(*terms)++ = mean * mean * mean;
    }
    return mean;
}

void nmi_statistics_terms(const nmi_statistics *statistics, int32_t norm, const int64_t *sizes,
                          double *terms)
{
    const nmi_norm_function *f = &statistics->norms[norm];
    double *next = terms;
    *next++ = 1;
    const double mean = add_others(statistics, f, sizes, &next);
    for (int32_t i = 0; i < f->direct_count + f->own_count; i++) {
        const double u = compression(statistics->topology, f, sizes, i);
        *next++ = u;
        *next++ = u * u;
        if (i >= f->direct_count)
            continue;
        next = add_pieces(statistics, f->axes[i], u, next);
        if (count_widths(statistics->topology, f) > 0)
            *next++ = u * mean;
    }
    NMI_ASSERT(next - terms == f->terms);
}

/* sums[c] = sum_k terms[k] coefficients[k, c]; most hats are 0. */
static void add_up(const nmi_norm_function *f, const double *terms, const float *coefficients,
                   double *sums)
{
    memset(sums, 0, (size_t)f->channels * sizeof *sums);
    for (int32_t k = 0; k < f->terms; k++) {
        const float *row = coefficients + k * f->channels;
        const double term = terms[k];
        for (int64_t c = 0; c < f->channels && term != 0; c++)
            sums[c] += term * (double)row[c];
    }
}

void nmi_statistics_emit(const nmi_statistics *statistics, nmi_network *network)
{
    double *terms = statistics->terms, *sums = statistics->sums;
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        const nmi_norm_function *f = &statistics->norms[i];
        const nmi_tensor *mean = &network->tensors[f->mean];
        const nmi_tensor *variance = &network->tensors[f->variance];
        const double epsilon = statistics->topology->nodes[f->node].epsilon;
        if (mean->rank == 0)
            continue;
        nmi_statistics_terms(statistics, i, network->sizes, terms);
        add_up(f, terms, f->coefficients, sums);
        for (int64_t c = 0; c < mean->count; c++)
            mean->data[c] = (float)sums[c];
        add_up(f, terms, f->coefficients + f->terms * f->channels, sums);
        for (int64_t c = 0; c < mean->count; c++)
            variance->data[c] = (float)fmax(exp(sums[c]) - epsilon, 0);
    }
    nmi_network_touch(network);
}
