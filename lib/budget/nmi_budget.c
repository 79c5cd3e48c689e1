/* SPDX-License-Identifier: MIT */
/*
 * Budgets: the best entry of a front that keeps the bounds, widened towards the next better one as
 * far as they allow. A manifold without a front gives the uniform sizes that fit.
 */
#include "nmi_budget.h"

#include "nmi_latency.h"

#include <math.h>
#include <string.h>

enum {
    UNIFORM = 64,  /* compressions that stand in for a front */
    STEPS = 64,    /* of the way from one entry to the next */
    ATTEMPTS = 3,  /* least number of measurements, however long they take */
    MEASURED = 16, /* most entries that are measured, and the quickest */
    TRIALS = 4096, /* sizes tried to fill what a bound leaves */
};
/* Measuring lasts so many microseconds once an answer is there, and so many without one, or so many
 * times the bound: slow networks must not be refused because the first of them took all the time.
 */
static const double patience = 25e3, most_patience = 40e3, most_runs = 8;

static const int32_t cost_keys[NMI_COSTS] = {NEUMETA_KEY_MAX_PARAMETERS,
                                             NEUMETA_KEY_MAX_MULTIPLY_ADDS, NEUMETA_KEY_MAX_BYTES};
static const char *const cost_names[NMI_COSTS] = {"parameters", "multiply-adds", "bytes"};

typedef struct fit {
    nmi_context *context;
    const nmi_front *front;
    int64_t most[NMI_COSTS]; /* INT64_MAX: no bound */
    double most_latency;     /* INFINITY: no bound */
    double least_score;      /* 0: none */
    int32_t attempts;        /* measurements */
    int32_t known_count;
    int32_t known[MEASURED + 1];   /* entries that were measured here, */
    double measured[MEASURED + 1]; /* and their latencies */
} fit;

static neumeta_status read_options(fit *f, const nmi_options *options)
{
    static const int32_t keys[] = {NEUMETA_KEY_MAX_PARAMETERS, NEUMETA_KEY_MAX_MULTIPLY_ADDS,
                                   NEUMETA_KEY_MAX_BYTES, NEUMETA_KEY_MAX_LATENCY_US,
                                   NEUMETA_KEY_MIN_SCORE};
    for (int32_t c = 0; c < NMI_COSTS; c++)
        f->most[c] = nmi_options_has(options, cost_keys[c]) ? nmi_options_int(options, cost_keys[c])
                                                            : INT64_MAX;
    f->most_latency = nmi_options_has(options, NEUMETA_KEY_MAX_LATENCY_US)
                          ? nmi_options_real(options, NEUMETA_KEY_MAX_LATENCY_US)
                          : (double)INFINITY;
    f->least_score = nmi_options_real(options, NEUMETA_KEY_MIN_SCORE);
    return nmi_options_allow(f->context, options, "manifold fit_budget", keys,
                             (int32_t)(sizeof keys / sizeof *keys));
}

/* --- uniform sizes, where there is no front --------------------------------------------------- */

static neumeta_status make_uniform(const nmi_manifold *manifold, nmi_front **out)
{
    const nmi_topology *topology = manifold->topology;
    const size_t row = (size_t)topology->axis_count * sizeof(int64_t);
    neumeta_status status = nmi_front_create(topology, UNIFORM, out);
    int32_t count = 0;
    for (int32_t i = 1; i <= UNIFORM && status == NEUMETA_OK; i++) {
        int64_t *sizes = (*out)->sizes + (int64_t)count * topology->axis_count;
        int64_t *costs = (*out)->costs + (int64_t)count * NMI_COSTS;
        nmi_manifold_sizes_at(manifold, 1 - (double)i / UNIFORM, sizes);
        if (count > 0 && memcmp(sizes, sizes - topology->axis_count, row) == 0)
            continue;
        status = nmi_front_measure(topology, sizes, costs);
        (*out)->scores[count] = (double)NAN;
        /* Only their proportions count before one has been measured. */
        (*out)->latencies[count] = (double)costs[NMI_COST_MULTIPLY_ADDS] + 1;
        count++;
    }
    if (status == NEUMETA_OK) {
        (*out)->count = count;
        return status;
    }
    nmi_front_free(*out);
    *out = NULL;
    return status;
}

/* --- the best entry that keeps the bounds ---------------------------------------------------- */

static bool keeps(const fit *f, const int64_t *costs)
{
    for (int32_t c = 0; c < NMI_COSTS; c++)
        if (costs[c] > f->most[c])
            return false;
    return true;
}

static bool is_candidate(const fit *f, int32_t entry)
{
    return keeps(f, nmi_front_costs(f->front, entry)) &&
           (f->least_score <= 0 || f->front->scores[entry] >= f->least_score);
}

static int32_t find_known(const fit *f, int32_t entry)
{
    int32_t k = 0;
    while (k < f->known_count && f->known[k] != entry)
        k++;
    return k < f->known_count ? k : -1;
}

/* As measured, or between what was measured of those whose stored latencies are next below and
 * above, or in proportion to one of them. Until one is known, as stored. */
static double latency_of(const fit *f, int32_t entry)
{
    const double *stored = f->front->latencies, mine = stored[entry];
    int32_t below = -1, above = -1;
    for (int32_t k = 0; k < f->known_count; k++) {
        const double theirs = stored[f->known[k]];
        if (f->known[k] == entry)
            return f->measured[k];
        if (theirs <= mine && (below < 0 || theirs > stored[f->known[below]]))
            below = k;
        if (theirs > mine && (above < 0 || theirs < stored[f->known[above]]))
            above = k;
    }
    if (below < 0 && above < 0)
        return mine;
    if (below < 0 || above < 0) {
        const int32_t one = below < 0 ? above : below;
        return mine * f->measured[one] / stored[f->known[one]];
    }
    const double start = stored[f->known[below]], end = stored[f->known[above]];
    return f->measured[below] +
           (f->measured[above] - f->measured[below]) * (mine - start) / (end - start);
}

/* Entries are in the order of their multiply-adds: the fewest that reach a score, the best score
 * with the fewest multiply-adds, or where no score is known the most multiply-adds. */
static bool is_better(const fit *f, int32_t entry, int32_t than)
{
    const double *scores = f->front->scores;
    if (than < 0)
        return true;
    if (f->least_score > 0)
        return false;
    return isnan(scores[entry]) || scores[entry] > scores[than];
}

/* Which candidates may be chosen: all, those whose latency should do, or those that did. */
enum { ANY, PROMISING, PROVEN };

static int32_t choose(const fit *f, int32_t among)
{
    int32_t best = -1;
    for (int32_t i = 0; i < f->front->count; i++)
        if (is_candidate(f, i) && (among != PROVEN || find_known(f, i) >= 0) &&
            (among == ANY || latency_of(f, i) <= f->most_latency) && is_better(f, i, best))
            best = i;
    return best;
}

static int32_t quickest(const fit *f)
{
    int32_t best = -1;
    for (int32_t i = 0; i < f->front->count; i++)
        if (is_candidate(f, i) && (best < 0 || latency_of(f, i) < latency_of(f, best)))
            best = i;
    return best;
}

/* Names the first bound that nothing keeps, with the least that there is. */
static neumeta_status explain(const fit *f)
{
    const nmi_front *front = f->front;
    double best = 0;
    for (int32_t c = 0; c < NMI_COSTS; c++) {
        int64_t least = INT64_MAX;
        for (int32_t i = 0; i < front->count; i++)
            least = nmi_front_costs(front, i)[c] < least ? nmi_front_costs(front, i)[c] : least;
        if (least > f->most[c])
            return nmi_fail(f->context, NEUMETA_ERR_INFEASIBLE,
                            "%s is %lld, the smallest network on offer has %lld %s",
                            nmi_key_find(cost_keys[c])->name, (long long)f->most[c],
                            (long long)least, cost_names[c]);
    }
    for (int32_t i = 0; i < front->count; i++)
        if (keeps(f, nmi_front_costs(front, i)) && front->scores[i] > best)
            best = front->scores[i];
    if (f->least_score > 0 && best < f->least_score)
        return nmi_fail(f->context, NEUMETA_ERR_INFEASIBLE,
                        "MIN_SCORE is %g, the best network on offer that keeps all bounds has %g",
                        f->least_score, best);
    return nmi_fail(f->context, NEUMETA_ERR_INFEASIBLE,
                    "each bound can be kept, but no network on offer keeps them all");
}

/* --- latency --------------------------------------------------------------------------------- */

/* An entry that was measured before is measured again, and the less counts: whatever else the
 * machine does can only add. */
static neumeta_status measure(fit *f, nmi_latency *latency, int32_t entry)
{
    double found = 0;
    int32_t k = find_known(f, entry);
    neumeta_status status = nmi_latency_measure(latency, nmi_front_sizes(f->front, entry), &found);
    if (status != NEUMETA_OK)
        return status;
    f->attempts++;
    if (k < 0) {
        k = f->known_count++;
        f->known[k] = entry;
        f->measured[k] = found;
    }
    f->measured[k] = fmin(f->measured[k], found);
    return status;
}

/* Whether there is no room or time to measure more, but for the one that must decide. */
static bool is_over(const fit *f, double spent)
{
    const double most = fmax(most_patience, most_runs * f->most_latency);
    if (choose(f, PROVEN) >= 0)
        return f->known_count >= MEASURED || spent > patience;
    return f->known_count >= MEASURED || (f->attempts >= ATTEMPTS && spent > most);
}

/* The entry to measure next, -1 if it is settled which to take: the best one that promises to keep
 * the bound, or the quickest one. Nothing is refused before `least` has been measured. */
static int32_t next_to_measure(const fit *f, double spent, int32_t least)
{
    const int32_t best = choose(f, PROMISING);
    if (best >= 0 && find_known(f, best) >= 0)
        return -1;
    if (!is_over(f, spent))
        return best >= 0 ? best : quickest(f);
    return choose(f, PROVEN) < 0 && find_known(f, least) < 0 ? least : -1;
}

static double least_measured(const fit *f)
{
    double least = f->measured[0];
    for (int32_t k = 1; k < f->known_count; k++)
        least = fmin(least, f->measured[k]);
    return least;
}

/* Measures whatever looks best by the latencies known so far until that is settled. What stands in
 * for a front has nothing but an order: there both ends come first. */
static neumeta_status choose_by_latency(fit *f, nmi_topology *topology, bool stored, int32_t *entry)
{
    nmi_latency *latency = NULL;
    const int32_t least = quickest(f);
    neumeta_status status = nmi_latency_create(topology, &latency);
    if (status == NEUMETA_OK && !stored) {
        status = measure(f, latency, choose(f, ANY));
        if (status == NEUMETA_OK)
            status = measure(f, latency, least);
    }
    while (status == NEUMETA_OK) {
        const int32_t next = next_to_measure(f, nmi_latency_spent(latency), least);
        if (next < 0)
            break;
        status = measure(f, latency, next);
    }
    nmi_latency_free(latency);
    if (status != NEUMETA_OK)
        return status;
    *entry = choose(f, PROVEN);
    if (*entry < 0)
        return nmi_fail(f->context, NEUMETA_ERR_INFEASIBLE,
                        "MAX_LATENCY_US is %g, the quickest network on offer takes %.4g "
                        "microseconds here",
                        f->most_latency, least_measured(f));
    return NEUMETA_OK;
}

/* --- slack ----------------------------------------------------------------------------------- */

/* The next entry that promises more than this one; -1 if it is the best. */
static int32_t next_better(const fit *f, int32_t entry)
{
    const double *scores = f->front->scores;
    for (int32_t i = entry + 1; i < f->front->count; i++)
        if (isnan(scores[i]) || scores[i] > scores[entry])
            return i;
    return -1;
}

/* Sizes between two entries need not go together: such a step is one that does not fit. */
static neumeta_status try_sizes(const fit *f, const int64_t *sizes, bool *fits)
{
    int64_t costs[NMI_COSTS];
    neumeta_status status = nmi_front_measure(f->front->topology, sizes, costs);
    *fits = status == NEUMETA_OK && keeps(f, costs);
    return status == NEUMETA_ERR_SHAPE ? NEUMETA_OK : status;
}

/* Sizes `step` STEPS-ths of the way from `a` to `b`, on the axes' steps. */
static void interpolate(const nmi_topology *topology, const int64_t *a, const int64_t *b,
                        int64_t step, int64_t *sizes)
{
    for (int32_t i = 0; i < topology->axis_count; i++) {
        const int64_t unit = topology->axes[i].step;
        sizes[i] = a[i] + (b[i] - a[i]) / unit * step / STEPS * unit;
    }
}

/* The largest power of two in the steps that any axis has left. */
static int64_t first_stride(const nmi_topology *topology, const int64_t *sizes,
                            const int64_t *limit)
{
    int64_t most = 0, stride = 1;
    for (int32_t i = 0; i < topology->axis_count; i++) {
        const int64_t left = (limit[i] - sizes[i]) / topology->axes[i].step;
        most = left > most ? left : most;
    }
    while (stride <= most / 2)
        stride *= 2;
    return stride;
}

/* Widens `sizes` an axis after the other up to `limit`, while that fits: by ever smaller strides,
 * as ranges may be long, and single steps in the end. */
static neumeta_status widen(const fit *f, const int64_t *limit, int64_t *sizes)
{
    const nmi_topology *topology = f->front->topology;
    neumeta_status status = NEUMETA_OK;
    int64_t trials = 0;
    for (int64_t stride = first_stride(topology, sizes, limit); stride > 0; stride /= 2)
        for (int32_t i = 0; i < topology->axis_count && status == NEUMETA_OK; i++) {
            const int64_t more = stride * topology->axes[i].step;
            bool fits = false;
            if (more > limit[i] - sizes[i] || trials++ >= TRIALS)
                continue;
            sizes[i] += more;
            status = try_sizes(f, sizes, &fits);
            if (!fits)
                sizes[i] -= more;
        }
    return status;
}

static neumeta_status fill(const fit *f, int32_t entry, int64_t *sizes)
{
    const nmi_topology *topology = f->front->topology;
    const int32_t next = next_better(f, entry);
    const int64_t *from = nmi_front_sizes(f->front, entry);
    neumeta_status status = NEUMETA_OK;
    bool fits = false;
    if (next < 0)
        return status;
    const int64_t *to = nmi_front_sizes(f->front, next);
    for (int64_t step = STEPS - 1; step >= 0 && !fits && status == NEUMETA_OK; step--) {
        interpolate(topology, from, to, step, sizes);
        status = try_sizes(f, sizes, &fits);
    }
    return status == NEUMETA_OK ? widen(f, to, sizes) : status;
}

/* --- all together ---------------------------------------------------------------------------- */

static neumeta_status fit_front(fit *f, nmi_topology *topology, bool stored, int64_t *sizes,
                                double *score, double *latency)
{
    const bool timed = isfinite(f->most_latency);
    int32_t entry = quickest(f);
    neumeta_status status = NEUMETA_OK;
    if (entry < 0)
        return explain(f);
    if (timed)
        status = choose_by_latency(f, topology, stored, &entry);
    else
        entry = choose(f, ANY);
    if (status != NEUMETA_OK)
        return status;
    memcpy(sizes, nmi_front_sizes(f->front, entry), (size_t)topology->axis_count * sizeof *sizes);
    *score = f->front->scores[entry];
    *latency = timed ? latency_of(f, entry) : (double)NAN;
    return timed || f->least_score > 0 ? NEUMETA_OK : fill(f, entry, sizes);
}

neumeta_status nmi_budget_fit(const nmi_manifold *manifold, const nmi_options *options,
                              int64_t *sizes, double *score, double *latency)
{
    nmi_context *context = manifold->object.context;
    fit f = {.context = context, .front = manifold->front};
    nmi_front *uniform = NULL;
    neumeta_status status = read_options(&f, options);
    if (status == NEUMETA_OK && f.front == NULL && f.least_score > 0)
        status = nmi_fail(context, NEUMETA_ERR_STATE,
                          "MIN_SCORE needs a front, which neumeta_manifold_search() finds");
    if (status == NEUMETA_OK && f.front == NULL) {
        status = make_uniform(manifold, &uniform);
        f.front = uniform;
    }
    const int32_t axes = manifold->topology->axis_count;
    int64_t *found =
        nmi_alloc_array(context, axes, sizeof *found); /* `sizes` only if all goes well */
    double found_score = 0, found_latency = 0;
    if (status == NEUMETA_OK && found == NULL)
        status = NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK)
        status =
            fit_front(&f, manifold->topology, uniform == NULL, found, &found_score, &found_latency);
    if (status == NEUMETA_OK) {
        memcpy(sizes, found, (size_t)axes * sizeof *sizes);
        *score = found_score;
        *latency = found_latency;
    }
    nmi_free(context, found);
    nmi_front_free(uniform);
    return status;
}
