/* SPDX-License-Identifier: MIT */
/* Exact and local solvers of the path problem: see nmi_path.h. */
#include "nmi_path.h"

#include "nmi_random.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum {
    STARTS = 8,       /* nearest-neighbour paths tried */
    LONGEST_MOVE = 3, /* items that Or-opt moves together */
    KICK_WINDOW = 50, /* items among which a random exchange takes place */
    EXCHANGES = 2,    /* of them before each repair: one alone is often undone by it */
    KICKS_LEAST = 600,
    KICKS_PER_ITEM = 20
};

/* Link costs evaluated by all exchanges together, roughly: about a second. */
static const double work_limit = 2e8;

/* Cost of having b at slot k behind a; none at both ends. */
static double step_cost(const nmi_path *path, int64_t k, int64_t a, int64_t b)
{
    return path->step[k] != NULL ? (double)path->step[k][a * path->count + b] : 0.0;
}

static double place_cost(const nmi_path *path, int64_t k, int64_t a)
{
    return path->place[k] != NULL ? (double)path->place[k][a] : 0.0;
}

double nmi_path_cost(const nmi_path *path, const int64_t *order)
{
    double cost = place_cost(path, 0, order[0]);
    for (int64_t k = 1; k < path->count; k++)
        cost += step_cost(path, k, order[k - 1], order[k]) + place_cost(path, k, order[k]);
    return cost;
}

/* --- exact --- */

/* best[set * n + last]: cheapest way to fill the first |set| slots with the set, ending with last;
 * before[..]: the item in front of it. */
static void fill_table(const nmi_path *path, double *best, uint8_t *before)
{
    int64_t n = path->count;
    int64_t sets = INT64_C(1) << n;
    for (int64_t i = 0; i < sets * n; i++)
        best[i] = INFINITY;
    for (int64_t first = 0; first < n; first++)
        best[(INT64_C(1) << first) * n + first] = place_cost(path, 0, first);
    for (int64_t set = 1; set < sets; set++) {
        int64_t slot = __builtin_popcountll((unsigned long long)set);
        for (int64_t last = 0; last < n; last++) {
            double cost = best[set * n + last];
            for (int64_t next = 0; cost < INFINITY && next < n; next++) {
                if ((set >> next & 1) != 0)
                    continue;
                int64_t after = (set | INT64_C(1) << next) * n + next;
                double sum =
                    cost + step_cost(path, slot, last, next) + place_cost(path, slot, next);
                if (sum < best[after]) {
                    best[after] = sum;
                    before[after] = (uint8_t)last;
                }
            }
        }
    }
}

neumeta_status nmi_path_exact(nmi_context *context, const nmi_path *path, int64_t *order)
{
    int64_t n = path->count;
    NMI_ASSERT(n <= NMI_PATH_EXACT_MAX);
    int64_t sets = INT64_C(1) << n;
    double *best = nmi_alloc_matrix(context, sets, n, sizeof *best);
    uint8_t *before = nmi_alloc_matrix(context, sets, n, sizeof *before);
    neumeta_status status = best != NULL && before != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK) {
        fill_table(path, best, before);
        int64_t set = sets - 1;
        int64_t last = 0;
        for (int64_t item = 1; item < n; item++)
            if (best[set * n + item] < best[set * n + last])
                last = item;
        for (int64_t slot = n - 1; slot >= 0; slot--) {
            order[slot] = last;
            int64_t rest = set & ~(INT64_C(1) << last);
            last = before[set * n + last];
            set = rest;
        }
    }
    nmi_free(context, best);
    nmi_free(context, before);
    return status;
}

/* --- local: moves --- */

/*
 * Slots lo..hi change: the runs P = [lo, cut) and Q = [cut, hi] become Q P, each turned round if
 * its flag says so. An empty P and a turned Q is a reversal; a short P or Q is a move of items.
 */
typedef struct run_move {
    int64_t lo, cut, hi;
    bool turn_p, turn_q;
} run_move;

typedef struct path_search {
    const nmi_path *path;
    int64_t
        *uniform;   /* [count] last slot up to which all inner steps are alike and free of places */
    int64_t *order; /* [count] */
    int64_t *slot_of; /* [count] of each item */
    int64_t *scratch; /* [count] */
    int64_t *queue;   /* [count] ring of items whose surroundings have changed */
    bool *queued;     /* [count] */
    int64_t queue_first, queue_count;
    double cost;
    double least; /* gains below this are rounding */
    struct timespec deadline;
} path_search;

static bool is_late(const path_search *search)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > search->deadline.tv_sec ||
           (now.tv_sec == search->deadline.tv_sec && now.tv_nsec >= search->deadline.tv_nsec);
}

/* The item that stands at slot k after the move. */
static int64_t item_after(const path_search *search, const run_move *move, int64_t k)
{
    if (k < move->lo || k > move->hi)
        return search->order[k];
    int64_t index = k - move->lo;
    int64_t run = move->hi - move->cut + 1;
    if (index < run)
        return search->order[move->turn_q ? move->hi - index : move->cut + index];
    index -= run;
    return search->order[move->turn_p ? move->cut - 1 - index : move->lo + index];
}

/* Cost of a step to slot k between the items of two slots, none beyond the ends. */
static double link_cost(const path_search *search, int64_t k, int64_t a, int64_t b)
{
    return k > 0 && k < search->path->count ? step_cost(search->path, k, a, b) : 0.0;
}

/* Where steps are alike and symmetric and there are no places, only the ends of P and Q count. */
static double uniform_change(const path_search *search, const run_move *move)
{
    const int64_t *order = search->order;
    int64_t left = move->lo > 0 ? order[move->lo - 1] : 0;
    int64_t right = move->hi + 1 < search->path->count ? order[move->hi + 1] : 0;
    int64_t first = order[move->turn_q ? move->hi : move->cut];
    int64_t last = order[move->turn_q ? move->cut : move->hi];
    double change = link_cost(search, move->lo, left, first) -
                    link_cost(search, move->lo, left, order[move->lo]) -
                    link_cost(search, move->hi + 1, order[move->hi], right);
    if (move->cut > move->lo) {
        int64_t seam = order[move->turn_p ? move->cut - 1 : move->lo];
        change += link_cost(search, move->cut, last, seam) -
                  link_cost(search, move->cut, order[move->cut - 1], order[move->cut]);
        last = order[move->turn_p ? move->lo : move->cut - 1];
    }
    return change + link_cost(search, move->hi + 1, last, right);
}

/* Cost after the move minus cost before: O(1) where the slots are uniform, else O(hi - lo). */
static double change_of(const path_search *search, const run_move *move)
{
    if (move->hi <= search->uniform[move->lo])
        return uniform_change(search, move);
    const nmi_path *path = search->path;
    int64_t before = move->lo > 0 ? search->order[move->lo - 1] : 0;
    int64_t after = before;
    double change = 0;
    for (int64_t k = move->lo; k <= move->hi + 1 && k < path->count; k++) {
        int64_t old = search->order[k];
        int64_t new = item_after(search, move, k);
        change += link_cost(search, k, after, new) + place_cost(path, k, new) -
                  link_cost(search, k, before, old) - place_cost(path, k, old);
        before = old;
        after = new;
    }
    return change;
}

static void enqueue(path_search *search, int64_t slot)
{
    int64_t count = search->path->count;
    if (slot < 0 || slot >= count || search->queued[search->order[slot]])
        return;
    int64_t item = search->order[slot];
    search->queued[item] = true;
    search->queue[(search->queue_first + search->queue_count++) % count] = item;
}

static void apply(path_search *search, const run_move *move)
{
    search->cost += change_of(search, move);
    for (int64_t k = move->lo; k <= move->hi; k++)
        search->scratch[k] = item_after(search, move, k);
    for (int64_t k = move->lo; k <= move->hi; k++) {
        search->order[k] = search->scratch[k];
        search->slot_of[search->order[k]] = k;
    }
    int64_t seam = move->lo + move->hi - move->cut + 1;
    enqueue(search, move->lo - 1);
    enqueue(search, move->lo);
    enqueue(search, seam - 1);
    enqueue(search, seam);
    enqueue(search, move->hi);
    enqueue(search, move->hi + 1);
}

/* --- local: descent --- */

static void consider(const path_search *search, const run_move *candidate, run_move *best,
                     double *change)
{
    double value = change_of(search, candidate);
    if (value < *change) {
        *change = value;
        *best = *candidate;
    }
}

/* The best reversal that ends or begins at slot i, and the best move of the items from i on. */
static double best_move(const path_search *search, int64_t i, run_move *best)
{
    int64_t count = search->path->count;
    double change = 0;
    for (int64_t j = 0; j < count; j++) {
        run_move reversal = {j < i ? j : i, j < i ? j : i, j < i ? i : j, false, true};
        if (j != i)
            consider(search, &reversal, best, &change);
    }
    for (int64_t length = 1; length <= LONGEST_MOVE && i + length <= count; length++)
        for (int32_t turned = 0; turned < (length > 1 ? 2 : 1); turned++) {
            for (int64_t hi = i + length; hi < count; hi++) {
                run_move later = {i, i + length, hi, turned != 0, false};
                consider(search, &later, best, &change);
            }
            for (int64_t lo = 0; lo < i; lo++) {
                run_move earlier = {lo, i, i + length - 1, false, turned != 0};
                consider(search, &earlier, best, &change);
            }
        }
    return change;
}

/* Until no move of a queued item helps; false if time is up. */
static bool descend(path_search *search)
{
    int64_t count = search->path->count;
    while (search->queue_count > 0) {
        if (is_late(search))
            return false;
        int64_t item = search->queue[search->queue_first];
        search->queue_first = (search->queue_first + 1) % count;
        search->queue_count--;
        search->queued[item] = false;
        run_move best = {0, 0, 0, false, false};
        while (best_move(search, search->slot_of[item], &best) < -search->least) {
            apply(search, &best);
            enqueue(search, search->slot_of[item]);
        }
    }
    return true;
}

/* --- local: starts and exchanges --- */

static void adopt(path_search *search, const int64_t *order)
{
    memcpy(search->order, order, (size_t)search->path->count * sizeof *order);
    for (int64_t k = 0; k < search->path->count; k++)
        search->slot_of[order[k]] = k;
    search->cost = nmi_path_cost(search->path, order);
    for (int64_t k = search->queue_first; search->queue_count > 0; search->queue_count--, k++)
        search->queued[search->queue[k % search->path->count]] = false;
}

/* Cheapest next item at each slot, from a given first one; across a cut by the last matrix. */
static void nearest_neighbours(path_search *search, int64_t first, int64_t *order)
{
    const nmi_path *path = search->path;
    const float *matrix = NULL;
    memset(search->queued, 0, (size_t)path->count * sizeof *search->queued);
    order[0] = first;
    search->queued[first] = true; /* here: used */
    for (int64_t k = 1; k < path->count; k++) {
        double least = INFINITY;
        matrix = path->step[k] != NULL ? path->step[k] : matrix;
        for (int64_t item = 0; item < path->count; item++) {
            double cost = place_cost(path, k, item);
            if (matrix != NULL)
                cost += (double)matrix[order[k - 1] * path->count + item];
            if (!search->queued[item] && cost < least) {
                least = cost;
                order[k] = item;
            }
        }
        search->queued[order[k]] = true;
    }
    memset(search->queued, 0, (size_t)path->count * sizeof *search->queued);
}

/* Begins with the cheapest of the given order and a few nearest-neighbour paths. */
static void choose_start(path_search *search, nmi_random *random, int64_t *best)
{
    int64_t count = search->path->count;
    double least = nmi_path_cost(search->path, best);
    for (int64_t start = 0; start < STARTS && start < count; start++) {
        nearest_neighbours(search, nmi_random_below(random, count), search->scratch);
        double cost = nmi_path_cost(search->path, search->scratch);
        if (cost < least) {
            least = cost;
            memcpy(best, search->scratch, (size_t)count * sizeof *best);
        }
    }
    adopt(search, best);
    search->least = 1e-9 * least;
    for (int64_t k = 0; k < count; k++)
        enqueue(search, k);
}

/* Three different ends of two neighbouring runs, within a window. */
static run_move draw_exchange(const path_search *search, nmi_random *random)
{
    int64_t count = search->path->count;
    int64_t window = count < KICK_WINDOW ? count : KICK_WINDOW;
    int64_t from = nmi_random_below(random, count - window + 1);
    int64_t ends[3];
    do {
        for (int32_t i = 0; i < 3; i++)
            ends[i] = nmi_random_below(random, window + 1);
    } while (!(ends[0] < ends[1] && ends[1] < ends[2]));
    return (run_move){from + ends[0], from + ends[1], from + ends[2] - 1, false, false};
}

static int64_t count_kicks(const path_search *search)
{
    double count = (double)search->path->count;
    bool plain = search->uniform[0] == search->path->count - 1;
    double one_kick = plain ? 64 * count : 32 * count * count;
    double most = work_limit / one_kick;
    if (count < 4)
        return 0;
    double wanted = fmax(KICKS_LEAST, KICKS_PER_ITEM * count);
    return (int64_t)fmin(most, wanted);
}

static void improve(path_search *search, nmi_random *random, int64_t *best)
{
    size_t bytes = (size_t)search->path->count * sizeof *best;
    choose_start(search, random, best);
    bool in_time = descend(search);
    double least = search->cost;
    memcpy(best, search->order, bytes);
    for (int64_t kicks = count_kicks(search); kicks > 0 && in_time; kicks--) {
        for (int32_t i = 0; i < EXCHANGES; i++) {
            run_move exchange = draw_exchange(search, random);
            apply(search, &exchange);
        }
        in_time = descend(search);
        if (search->cost < least - search->least) {
            least = search->cost;
            memcpy(best, search->order, bytes);
        } else {
            adopt(search, best);
        }
    }
}

static void find_uniform(const nmi_path *path, int64_t *uniform)
{
    for (int64_t k = path->count - 1; k >= 0; k--) {
        uniform[k] = k;
        if (k + 1 < path->count && path->place[k] == NULL && path->place[k + 1] == NULL &&
            (uniform[k + 1] == k + 1 || path->step[k + 1] == path->step[k + 2]))
            uniform[k] = uniform[k + 1];
    }
}

neumeta_status nmi_path_local(nmi_context *context, const nmi_path *path, uint64_t key,
                              double seconds, int64_t *order)
{
    int64_t count = path->count;
    path_search search = {.path = path};
    nmi_random random = nmi_random_start(key);
    int64_t *numbers = nmi_alloc_matrix(context, 5, count, sizeof *numbers);
    search.queued = nmi_alloc_zero_array(context, count, sizeof *search.queued);
    neumeta_status status =
        numbers != NULL && search.queued != NULL ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
    if (status == NEUMETA_OK && count > 1) {
        search.order = numbers;
        search.slot_of = numbers + count;
        search.scratch = numbers + 2 * count;
        search.queue = numbers + 3 * count;
        search.uniform = numbers + 4 * count;
        find_uniform(path, search.uniform);
        clock_gettime(CLOCK_MONOTONIC, &search.deadline);
        double whole = floor(seconds);
        search.deadline.tv_sec += (time_t)whole;
        search.deadline.tv_nsec += (long)((seconds - whole) * 1e9);
        if (search.deadline.tv_nsec >= 1000000000) {
            search.deadline.tv_sec++;
            search.deadline.tv_nsec -= 1000000000;
        }
        improve(&search, &random, order);
    }
    nmi_free(context, numbers);
    nmi_free(context, search.queued);
    return status;
}
