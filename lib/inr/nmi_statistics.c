/* SPDX-License-Identifier: MIT */
/* What the statistics of each norm depend on, and their values at given sizes. */
#include "nmi_statistics.h"

#include <math.h>
#include <string.h>

/* --- terms ------------------------------------------------------------------------------------ */

/* Most pieces of a mean and of a logarithm, which is smoother. */
enum { PIECES_MEAN = 48, PIECES_LOGARITHM = 16, PIECES_OLDER = 32 };

/* So many widths further in front have terms of their own. */
enum { NEAREST = 2 };

/* Terms, or only their number where `values` is NULL. */
typedef struct term_list {
    double *values;
    bool *chained; /* or NULL */
    int32_t count;
} term_list;

static void put(term_list *list, double value)
{
    if (list->values != NULL)
        list->values[list->count] = value;
    if (list->chained != NULL)
        list->chained[list->count] = false;
    list->count++;
}

static bool is_depth(const nmi_topology *topology, int32_t axis)
{
    return topology->axes[axis].kind == NEUMETA_AXIS_DEPTH;
}

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
 * last one it stays. A knot for each step of the width, if there are no more than `most`. */
static void put_pieces(const nmi_statistics *s, int32_t axis, int64_t most, double u,
                       term_list *list)
{
    const nmi_axis *a = &s->topology->axes[axis];
    const int64_t last = nmi_size_range_least(&s->measured, s->topology, axis),
                  steps = (a->max - last) / a->step;
    const int64_t pieces = steps < most ? steps : most;
    const double end = 1 - (double)last / (double)a->max;
    for (int64_t j = 1; j <= pieces; j++) {
        put(list, fmax(1 - fabs(fmin(u / end, 1) * (double)pieces - (double)j), 0));
        if (list->chained != NULL)
            list->chained[list->count - 1] = j > 1;
    }
}

static void put_powers(double u, term_list *list)
{
    put(list, u);
    put(list, u * u);
}

/* Compressions of the widths further in front: their sum, and the nearest ones. */
typedef struct nearest {
    int32_t widths;
    double sum;
    int32_t nodes[NEAREST]; /* falling */
    double compressions[NEAREST];
} nearest;

static void insert(nearest *n, int32_t node, double u)
{
    n->widths++;
    n->sum += u;
    for (int32_t i = 0; i < NEAREST; i++)
        if (node > n->nodes[i]) {
            const int32_t moved = n->nodes[i];
            const double lesser = n->compressions[i];
            n->nodes[i] = node;
            n->compressions[i] = u;
            node = moved;
            u = lesser;
        }
}

/* Terms of single axes further in front; returns what the widths among them give together. */
static nearest put_others(const nmi_statistics *s, const nmi_norm_function *f, const int64_t *sizes,
                          term_list *list)
{
    nearest n = {.nodes = {-1, -1}};
    for (int32_t i = f->direct_count + f->own_count; i < f->axis_count; i++) {
        const nmi_axis *axis = &s->topology->axes[f->axes[i]];
        const bool depth = is_depth(s->topology, f->axes[i]);
        const double u = depth ? 0 : compression(s->topology, f, sizes, i);
        for (int64_t d = axis->min; depth && d < axis->max; d++)
            put(list, sizes[f->axes[i]] <= d);
        if (!depth && s->older)
            put_powers(u, list);
        if (!depth)
            insert(&n, f->nodes[i], u);
    }
    return n;
}

static void put_terms(const nmi_statistics *s, const nmi_norm_function *f, int target,
                      const int64_t *sizes, term_list *list)
{
    put(list, 1);
    const nearest others = put_others(s, f, sizes, list);
    if (others.widths > 0)
        put_powers(others.sum / others.widths, list);
    for (int32_t i = 0; i < NEAREST && i < others.widths && others.widths > 1; i++)
        put_powers(others.compressions[i], list);
    for (int32_t i = 0; i < f->direct_count + f->own_count; i++) {
        const double u = compression(s->topology, f, sizes, i);
        if (i >= f->direct_count)
            put_powers(u, list);
        else
            put_pieces(s, f->axes[i], target == NMI_MEAN ? PIECES_MEAN : PIECES_LOGARITHM, u, list);
    }
}

/* The terms of a file of format 1. */
static void put_older_terms(const nmi_statistics *s, const nmi_norm_function *f,
                            const int64_t *sizes, term_list *list)
{
    put(list, 1);
    const nearest others = put_others(s, f, sizes, list);
    const double mean = others.widths > 0 ? others.sum / others.widths : 0;
    if (others.widths > 1) {
        put(list, mean * mean);
        put(list, mean * mean * mean);
    }
    for (int32_t i = 0; i < f->direct_count + f->own_count; i++) {
        const double u = compression(s->topology, f, sizes, i);
        put_powers(u, list);
        if (i >= f->direct_count)
            continue;
        put_pieces(s, f->axes[i], PIECES_OLDER, u, list);
        if (others.widths > 0)
            put(list, u * mean);
    }
}

static void list_terms(const nmi_statistics *s, const nmi_norm_function *f, int target,
                       const int64_t *sizes, term_list *list)
{
    if (s->older)
        put_older_terms(s, f, sizes, list);
    else
        put_terms(s, f, target, sizes, list);
}

void nmi_statistics_terms(const nmi_statistics *statistics, int32_t norm, int target,
                          const int64_t *sizes, double *terms)
{
    term_list list = {.values = terms};
    list_terms(statistics, &statistics->norms[norm], target, sizes, &list);
    NMI_ASSERT(list.count == statistics->norms[norm].terms[target]);
}

void nmi_statistics_chains(const nmi_statistics *statistics, int32_t norm, int target,
                           const int64_t *sizes, bool *chained)
{
    term_list list = {.chained = chained};
    list_terms(statistics, &statistics->norms[norm], target, sizes, &list);
}

/* Whether what is drawn leaves out all of the gap in what was measured. */
static bool avoids_gap(const nmi_range *measured, const nmi_range *drawn)
{
    const double *gap = measured->gap;
    return gap[1] <= 0 || drawn->max < gap[0] || drawn->min > gap[1] ||
           (drawn->gap[0] <= gap[0] && drawn->gap[1] >= gap[1]);
}

static bool covers(const nmi_range *measured, const nmi_range *drawn)
{
    return drawn->max <= measured->max && drawn->min >= measured->min &&
           avoids_gap(measured, drawn);
}

bool nmi_statistics_cover(const nmi_statistics *statistics, const bool *moves,
                          const nmi_size_range *drawn)
{
    const nmi_topology *topology = statistics->topology;
    bool covered = true;
    for (int32_t a = 0; a < topology->axis_count && covered; a++) {
        const nmi_range measured = nmi_size_range_of(&statistics->measured, topology, a);
        const nmi_range wanted = nmi_size_range_of(drawn, topology, a);
        covered = !moves[a] || (statistics->moves[a] && covers(&measured, &wanted));
    }
    return covered;
}

/* --- dependences ------------------------------------------------------------------------------ */

/* What creation works with. */
typedef struct plan {
    nmi_shape *full; /* at full sizes, which are */
    int64_t *sizes;
    int64_t *least;   /* [axis_count] the smallest sizes */
    bool *sources;    /* [node_count] that the present norm's input is computed from */
    int32_t *firsts;  /* [axis_count] the first of them with this width, or that selects by this
                         depth;  -1: none */
    int64_t axis_sum; /* of all norms */
    int64_t work;     /* nodes and inputs looked at for all norms */
} plan;

/* Each norm looks at all nodes in front of it: about a second. */
enum { MOST_WORK = 1 << 29 };

/* A file must not make us ask for more than what describes its topology can be the reason for: each
 * norm has a list of axes. Enough for residual networks of a thousand layers. */
static int64_t most_axes(const nmi_topology *topology)
{
    return (1 << 16) + (int64_t)128 * topology->node_count;
}

static void find_sources(const nmi_statistics *s, int32_t node, plan *p)
{
    const nmi_topology *topology = s->topology;
    p->work += topology->node_count;
    memset(p->sources, 0, (size_t)topology->node_count * sizeof *p->sources);
    for (int32_t a = 0; a < topology->axis_count; a++)
        p->firsts[a] = -1;
    p->sources[node] = true;
    for (int32_t n = node; n >= 0; n--) {
        const nmi_node *source = &topology->nodes[n];
        const int32_t axis = source->op == NEUMETA_OP_SELECT ? source->depth_axis : source->axis;
        if (!p->sources[n])
            continue;
        /* A node that is always there tells an axis' size wherever others share it. */
        if (axis >= 0 && s->moves[axis] &&
            (p->firsts[axis] < 0 || nmi_graph_live(topology, p->least, n)))
            p->firsts[axis] = n;
        p->work += source->input_count;
        for (int32_t k = 0; k < source->input_count; k++)
            p->sources[source->inputs[k]] = true;
    }
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
    if (p->work > MOST_WORK)
        return nmi_fail(s->context, NEUMETA_ERR_UNSUPPORTED,
                        "the norms have more than %d nodes in front of them in all",
                        (int)MOST_WORK);
    if (p->axis_sum > most_axes(topology))
        return nmi_fail(s->context, NEUMETA_ERR_UNSUPPORTED,
                        "the statistics of the norms depend on more than %lld axes in all",
                        (long long)most_axes(topology));
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

static neumeta_status count_terms(nmi_statistics *s, nmi_norm_function *norm, const plan *p)
{
    for (int target = 0; target < NMI_TARGETS; target++) {
        int64_t coefficients;
        term_list list = {.values = NULL};
        list_terms(s, norm, target, p->sizes, &list);
        norm->terms[target] = list.count;
        s->most_terms = list.count > s->most_terms ? list.count : s->most_terms;
        if (!nmi_multiply(list.count, norm->channels, &coefficients) ||
            !nmi_add(s->coefficient_count, coefficients, &s->coefficient_count))
            return nmi_fail(s->context, NEUMETA_ERR_UNSUPPORTED,
                            "the statistics of the norms have more than 2^63 coefficients");
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
    return status == NEUMETA_OK ? count_terms(s, norm, p) : status;
}

static neumeta_status plan_norms(nmi_statistics *s)
{
    const nmi_topology *topology = s->topology;
    nmi_context *context = s->context;
    plan p = {
        .sources = nmi_alloc_array(context, topology->node_count, sizeof *p.sources),
        .firsts = nmi_alloc_array(context, topology->axis_count, sizeof *p.firsts),
        .sizes = nmi_alloc_array(context, topology->axis_count, sizeof *p.sizes),
        .least = nmi_alloc_array(context, topology->axis_count, sizeof *p.least),
    };
    neumeta_status status = NEUMETA_ERR_MEMORY;
    if (p.sources != NULL && p.firsts != NULL && p.sizes != NULL && p.least != NULL) {
        nmi_graph_full_sizes(topology, p.sizes);
        for (int32_t a = 0; a < topology->axis_count; a++)
            p.least[a] = topology->axes[a].min;
        status = nmi_graph_full_shapes(topology, &p.full);
    }
    for (int32_t n = 0; n < topology->node_count && status == NEUMETA_OK; n++)
        if (topology->nodes[n].op == NEUMETA_OP_NORM)
            status = plan_norm(s, n, &p);
    nmi_free(context, p.least);
    nmi_free(context, p.sizes);
    nmi_free(context, p.firsts);
    nmi_free(context, p.sources);
    nmi_free(context, p.full);
    return status;
}

neumeta_status nmi_statistics_create(const nmi_topology *topology, const bool *moves,
                                     const nmi_size_range *measured, bool older,
                                     nmi_statistics **out)
{
    nmi_context *context = topology->object.context;
    *out = NULL;
    nmi_statistics *s = nmi_alloc_zero(context, sizeof *s);
    if (s == NULL)
        return NEUMETA_ERR_MEMORY;
    s->context = context;
    s->topology = topology;
    s->measured = *measured;
    s->older = older;
    s->moves = nmi_alloc_array(context, topology->axis_count, sizeof *s->moves);
    int64_t norms = 0;
    for (int32_t n = 0; n < topology->node_count; n++)
        norms += topology->nodes[n].op == NEUMETA_OP_NORM;
    s->norms = nmi_alloc_zero_array(context, norms, sizeof *s->norms);
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
    const int64_t room = statistics->map != NULL ? statistics->map->largest : 0;
    const int64_t most = room > statistics->channels ? room : statistics->channels;
    statistics->origins = nmi_alloc_array(context, most, sizeof *statistics->origins);
    statistics->used = nmi_alloc_array(context, most, sizeof *statistics->used);
    statistics->coefficients =
        nmi_alloc_zero_array(context, statistics->coefficient_count, sizeof(float));
    if (statistics->terms == NULL || statistics->sums == NULL || statistics->origins == NULL ||
        statistics->used == NULL || statistics->coefficients == NULL)
        return NEUMETA_ERR_MEMORY;
    float *next = statistics->coefficients;
    for (int32_t i = 0; i < statistics->norm_count; i++)
        for (int target = 0; target < NMI_TARGETS; target++) {
            nmi_norm_function *norm = &statistics->norms[i];
            norm->coefficients[target] = next;
            next += norm->terms[target] * norm->channels;
        }
    return NEUMETA_OK;
}

void nmi_statistics_free(nmi_statistics *statistics)
{
    if (statistics == NULL)
        return;
    nmi_context *context = statistics->context;
    for (int32_t i = 0; i < statistics->norm_count; i++)
        nmi_free(context, statistics->norms[i].axes);
    nmi_free(context, statistics->norms);
    nmi_free(context, statistics->moves);
    nmi_free(context, statistics->terms);
    nmi_free(context, statistics->sums);
    nmi_free(context, statistics->origins);
    nmi_free(context, statistics->used);
    nmi_free(context, statistics->coefficients);
    nmi_free(context, statistics);
}

/* --- values ----------------------------------------------------------------------------------- */

/* sums[c] = sum_k phi_k coefficients[k, c]; most hats are 0. */
static void add_up(const nmi_statistics *s, int32_t norm, int target, const int64_t *sizes)
{
    const nmi_norm_function *f = &s->norms[norm];
    double *sums = s->sums;
    nmi_statistics_terms(s, norm, target, sizes, s->terms);
    memset(sums, 0, (size_t)f->channels * sizeof *sums);
    for (int32_t k = 0; k < f->terms[target]; k++) {
        const float *row = f->coefficients[target] + k * f->channels;
        const double term = s->terms[k];
        for (int64_t c = 0; c < f->channels && term != 0; c++)
            sums[c] += term * (double)row[c];
    }
}

/* The channels of the full network that those of a norm are, in statistics->origins. */
static void find_origins(const nmi_statistics *statistics, const nmi_norm_function *f,
                         const nmi_network *network)
{
    const int64_t count = network->tensors[f->mean].count;
    if (f->mapped)
        nmi_channel_origins(statistics->map, NMI_GAUGE_ABSOLUTE, network, f->node,
                            statistics->origins, statistics->used);
    for (int64_t c = 0; c < count && !f->mapped; c++)
        statistics->origins[c].at = (int32_t)c;
}

void nmi_statistics_emit(const nmi_statistics *statistics, nmi_network *network)
{
    const double *sums = statistics->sums;
    const nmi_origin *origins = statistics->origins;
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        const nmi_norm_function *f = &statistics->norms[i];
        const nmi_tensor *mean = &network->tensors[f->mean];
        const nmi_tensor *variance = &network->tensors[f->variance];
        const double epsilon = statistics->topology->nodes[f->node].epsilon;
        if (mean->rank == 0)
            continue;
        find_origins(statistics, f, network);
        add_up(statistics, i, NMI_MEAN, network->sizes);
        for (int64_t c = 0; c < mean->count; c++)
            mean->data[c] = (float)sums[origins[c].at];
        add_up(statistics, i, NMI_LOGARITHM, network->sizes);
        for (int64_t c = 0; c < mean->count; c++)
            variance->data[c] = (float)fmax(exp(sums[origins[c].at]) - epsilon, 0);
    }
    nmi_network_touch(network);
}

void nmi_statistics_take(const nmi_statistics *statistics, const nmi_network *network,
                         nmi_statistics_samples *samples, int64_t index)
{
    const int64_t channels = statistics->channels, axes = statistics->topology->axis_count;
    memcpy(samples->sizes + index * axes, network->sizes, (size_t)axes * sizeof *samples->sizes);
    memset(samples->present + index * channels, 0, (size_t)channels * sizeof *samples->present);
    for (int32_t i = 0; i < statistics->norm_count; i++) {
        const nmi_norm_function *f = &statistics->norms[i];
        const nmi_tensor *mean = &network->tensors[f->mean];
        const nmi_tensor *variance = &network->tensors[f->variance];
        if (mean->rank == 0)
            continue;
        find_origins(statistics, f, network);
        for (int64_t c = 0; c < mean->count; c++) {
            const int64_t at = index * channels + f->first + statistics->origins[c].at;
            samples->present[at] = true;
            samples->means[at] = mean->data[c];
            samples->variances[at] = variance->data[c];
        }
    }
}
