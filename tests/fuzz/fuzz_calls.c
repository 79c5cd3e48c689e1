/* SPDX-License-Identifier: MIT */
/*
 * Random sequences of public calls: each byte chooses a call, the next ones its handles (NULL among
 * them) and arguments, and handles are freed in any order. Every call returns, with a status that
 * has a name and a sentence where it failed.
 */
#include "nmi_fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 3, CALLS_MAX = 48, SIZES = 40, ITEMS = 6, PIXELS = 16, OUTPUTS = 4096 };

/* Up to SLOTS handles of each kind. */
typedef struct world {
    neumeta_context *context;
    neumeta_options *options[SLOTS];
    neumeta_topology *topologies[SLOTS];
    neumeta_network *networks[SLOTS];
    neumeta_manifold *manifolds[SLOTS];
    neumeta_schedule *schedules[SLOTS];
    neumeta_dataset *datasets[SLOTS];
    neumeta_trainer *trainers[SLOTS];
    fuzz_bytes bytes;
    float inputs[ITEMS * PIXELS];
    int64_t targets[ITEMS];
} world;

/* One of the handles; often the first, which is there more often. */
#define ANY(w, kind) ((w)->kind[fuzz_choice(&(w)->bytes, 2 * SLOTS) % SLOTS])
/* Where a new one goes, the old one being freed. */
#define FRESH(w, kind, end)                                                                        \
    (end(*(place = fuzz_choice(&(w)->bytes, SLOTS), &(w)->kind[place])), &(w)->kind[place])

/* A number of the kind that is accepted, mostly. */
static int32_t number(world *w)
{
    static const int32_t rare[] = {-1, INT32_MIN, INT32_MAX, 257};
    const uint32_t byte = fuzz_byte(&w->bytes);
    return byte < 248 ? (int32_t)(byte % 7) - 1 : rare[byte % 4];
}

static void check(neumeta_status status)
{
    require(status >= NEUMETA_ERR_INFEASIBLE && status <= NEUMETA_CANCELLED);
    require(strcmp(neumeta_status_name(status), "unknown status") != 0);
}

/* Settings that keep everything small. */
static void set_option(world *w)
{
    static const char *const pairs[][2] = {
        {"epochs", "0.5"},
        {"batch", "2"},
        {"inr-hidden", "4"},
        {"inr-layers", "2"},
        {"inr-octaves", "1"},
        {"inr-kind", "grid"},
        {"held-out", "2"},
        {"input-channels", "1"},
        {"input-height", "4"},
        {"input-width", "4"},
        {"kernel", "1"},
        {"padding", "1"},
        {"stride", "2"},
        {"bias", "0"},
        {"multiple", "2"},
        {"ema", "0.5"},
        {"optimizer", "sgd"},
        {"samples", "2"},
        {"size-draw", "sandwich"},
        {"loss-distillation", "1"},
        {"loss-reconstruction", "1"},
        {"inr-init", "cloned"},
        {"morph-blocks", "0"},
        {"validate-epochs", "0.5"},
        {"name-map", "a=b"},
        {"calibrate-items", "2"},
        {"calibrate-sizes", "3"},
        {"precision", "bf16"},
        {"smooth-solver", "exact"},
        {"noise", "0.5"},
        {"data-mean", "0.5"},
        {"seed", "9"},
        {"gamma-max", "0.5"},
        {"clip-norm", "1"},
        {"norm-statistics", "fitted"},
        {"group", "2"},
        {"epochs", "nan"},
    };
    const char *const *pair = pairs[fuzz_choice(&w->bytes, sizeof pairs / sizeof *pairs)];
    check(neumeta_options_parse(ANY(w, options), pair[0], pair[1]));
}

static void set_any_option(world *w)
{
    neumeta_options *options = ANY(w, options);
    const int32_t key = (int32_t)fuzz_byte(&w->bytes);
    const int64_t whole[] = {number(w), number(w)};
    const double reals[] = {number(w) / 3.0, NAN};
    check(neumeta_options_set_int(options, key, whole[0]));
    check(neumeta_options_set_real(options, key, reals[fuzz_choice(&w->bytes, 2)]));
    check(neumeta_options_set_text(options, key, fuzz_choice(&w->bytes, 2) == 0 ? NULL : "sgd"));
    check(neumeta_options_set_ints(options, key, whole, number(w) % 3));
    check(neumeta_options_set_reals(options, key, reals, number(w) % 3));
}

static void add_node(world *w)
{
    char name[2] = {(char)('a' + fuzz_choice(&w->bytes, 26)), '\0'};
    const int32_t inputs[] = {number(w), number(w)};
    int32_t made = 0;
    neumeta_topology *topology = ANY(w, topologies);
    const int32_t op = 1 + (int32_t)fuzz_choice(&w->bytes, 17);
    const int32_t count = (int32_t)fuzz_choice(&w->bytes, 3);
    check(neumeta_topology_add_node(topology, name, op, inputs, count, number(w), ANY(w, options),
                                    &made));
}

static void add_axis(world *w)
{
    char name[2] = {(char)('a' + fuzz_choice(&w->bytes, 26)), '\0'};
    int32_t made = 0;
    const int64_t low = number(w), high = low + number(w);
    check(neumeta_topology_add_axis(ANY(w, topologies), name,
                                    1 + (int32_t)fuzz_choice(&w->bytes, 2), low, high,
                                    1 + (int32_t)fuzz_choice(&w->bytes, 2), &made));
}

static void repeat(world *w)
{
    int32_t node = 0;
    neumeta_topology *topology = ANY(w, topologies);
    switch (fuzz_choice(&w->bytes, 3)) {
    case 0:
        check(neumeta_topology_begin_block(topology, "block"));
        break;
    case 1:
        check(neumeta_topology_begin_repeat(topology, "body", number(w), number(w), number(w)));
        break;
    default:
        check(neumeta_topology_end_repeat(topology, number(w), &node));
    }
}

/* A whole topology in one call: sequences of single calls seldom end with one. */
static void build_topology(world *w)
{
    uint32_t place;
    int32_t axes[2] = {0}, node[6] = {0}; /* of calls that may fail */
    neumeta_topology **out = FRESH(w, topologies, neumeta_topology_free), *t;
    neumeta_options *shape = NULL;
    neumeta_status status = neumeta_topology_create(w->context, out);
    check(status);
    if (status == NEUMETA_OK)
        status = neumeta_options_create(w->context, &shape);
    t = *out;
    static const char *const sides[] = {"input-channels", "input-height", "input-width"};
    for (int i = 0; i < 3 && status == NEUMETA_OK; i++)
        status = neumeta_options_parse(shape, sides[i], i == 0 ? "1" : "4");
    const bool norm = fuzz_choice(&w->bytes, 2) == 1;
    if (status == NEUMETA_OK) {
        neumeta_topology_add_axis(t, "w", NEUMETA_AXIS_WIDTH, 1, 4, 1, &axes[0]);
        neumeta_topology_add_axis(t, "o", NEUMETA_AXIS_WIDTH, 3, 3, 1, &axes[1]);
        neumeta_topology_begin_block(t, "b");
        neumeta_topology_add_node(t, "x", NEUMETA_OP_INPUT, NULL, 0, -1, shape, &node[0]);
        neumeta_topology_add_node(t, "c", NEUMETA_OP_CONV, &node[0], 1, 0, NULL, &node[1]);
        neumeta_topology_add_node(t, "n", norm ? NEUMETA_OP_NORM : NEUMETA_OP_ACTIVATION, &node[1],
                                  1, -1, NULL, &node[2]);
        neumeta_topology_add_node(t, "p", NEUMETA_OP_POOL_GLOBAL, &node[2], 1, -1, NULL, &node[3]);
        neumeta_topology_add_node(t, "l", NEUMETA_OP_LINEAR, &node[3], 1, 1, NULL, &node[4]);
        check(neumeta_topology_seal(t, 4));
    }
    neumeta_options_free(shape);
}

static int32_t choose_sizes(world *w, const neumeta_topology *topology, int64_t *sizes)
{
    const int32_t axes = neumeta_topology_axis_count(topology);
    if (axes < 0 || axes > SIZES)
        return number(w) % SIZES;
    check(neumeta_topology_sizes_at(topology, fuzz_byte(&w->bytes) / 250.0, sizes, axes));
    if (axes > 0 && fuzz_choice(&w->bytes, 4) == 0)
        sizes[fuzz_choice(&w->bytes, (uint32_t)axes)] = number(w);
    return axes;
}

static void make_network(world *w)
{
    uint32_t place;
    int64_t sizes[SIZES] = {0}, cost[2], input[3], output[3];
    neumeta_topology *topology = ANY(w, topologies);
    const int32_t count = choose_sizes(w, topology, sizes);
    check(neumeta_topology_cost(topology, sizes, count, &cost[0], &cost[1]));
    check(neumeta_topology_shapes(topology, sizes, count, input, output));
    check(neumeta_network_create(topology, fuzz_choice(&w->bytes, 4) == 0 ? NULL : sizes, count,
                                 FRESH(w, networks, neumeta_network_free)));
}

static void use_network(world *w)
{
    float outputs[OUTPUTS];
    double figures[2];
    int64_t bytes = 0, sizes[SIZES];
    neumeta_network *network = ANY(w, networks);
    neumeta_dataset *dataset = ANY(w, datasets);
    switch (fuzz_choice(&w->bytes, 8)) {
    case 0: /* An item may be larger than any we have. */
        check(neumeta_network_run(network, NULL, number(w), outputs, OUTPUTS));
        break;
    case 1:
        check(neumeta_network_replace_norm(network, number(w), NULL));
        break;
    case 2:
        check(neumeta_network_smooth(network, NULL));
        break;
    case 3:
        check(neumeta_network_roughness(network, &figures[0]));
        break;
    case 4:
        check(neumeta_network_evaluate(network, dataset, number(w), &figures[0], &figures[1]));
        break;
    case 5:
        check(neumeta_network_calibrate(network, dataset, ANY(w, options)));
        break;
    case 6:
        check(neumeta_network_sizes(network, sizes, number(w) % SIZES));
        break;
    default:
        check(neumeta_network_memory(network, number(w), &bytes));
    }
}

static void share_network(world *w)
{
    uint32_t place;
    neumeta_network *network = ANY(w, networks), *copy = NULL;
    check(neumeta_network_share(network, w->context, &copy));
    *FRESH(w, networks, neumeta_network_free) = copy;
}

typedef struct buffer {
    unsigned char *bytes;
    int64_t size;
} buffer;

static int32_t collect(void *user, const void *data, int64_t size)
{
    buffer *to = user;
    unsigned char *more = realloc(to->bytes, (size_t)(to->size + size + 1));
    require(more != NULL);
    to->bytes = more;
    if (size > 0)
        memcpy(to->bytes + to->size, data, (size_t)size);
    to->size += size;
    return 0;
}

/* Written, damaged in one byte or not, and read. */
static void copy_manifold(world *w)
{
    uint32_t place;
    buffer file = {NULL, 0};
    const neumeta_status status = neumeta_manifold_write(ANY(w, manifolds), collect, &file);
    check(status);
    if (status == NEUMETA_OK && file.size > 0) {
        const uint32_t flipped = fuzz_byte(&w->bytes);
        file.bytes[(fuzz_byte(&w->bytes) * 256 + fuzz_byte(&w->bytes)) % file.size] ^=
            (uint8_t)flipped;
        check(neumeta_manifold_load_memory(w->context, file.bytes, file.size,
                                           FRESH(w, manifolds, neumeta_manifold_free)));
    }
    free(file.bytes);
}

static void use_manifold(world *w)
{
    uint32_t place;
    int64_t sizes[SIZES] = {0};
    double error;
    neumeta_topology *topology = NULL;
    neumeta_manifold *manifold = ANY(w, manifolds);
    check(neumeta_manifold_topology(manifold, &topology));
    const int32_t count = choose_sizes(w, topology, sizes);
    neumeta_topology_free(topology);
    if (fuzz_choice(&w->bytes, 3) == 0)
        check(neumeta_manifold_calibrate(manifold, ANY(w, datasets), ANY(w, options), NULL, NULL,
                                         &error));
    else
        check(neumeta_manifold_materialize(manifold, sizes, count, ANY(w, options),
                                           FRESH(w, networks, neumeta_network_free)));
}

static void make_dataset(world *w)
{
    uint32_t place;
    neumeta_options *shape = NULL;
    neumeta_status status = neumeta_options_create(w->context, &shape);
    static const char *const sides[] = {"input-channels", "input-height", "input-width"};
    for (int i = 0; i < 3 && status == NEUMETA_OK; i++)
        status = neumeta_options_parse(shape, sides[i], i == 0 ? "1" : "4");
    if (status == NEUMETA_OK)
        check(neumeta_dataset_create_memory(w->context, w->inputs, w->targets, ITEMS - 2, 2, shape,
                                            FRESH(w, datasets, neumeta_dataset_free)));
    neumeta_options_free(shape);
}

static void make_schedule(world *w)
{
    uint32_t place;
    if (fuzz_choice(&w->bytes, 2) == 0)
        check(neumeta_schedule_create(w->context, FRESH(w, schedules, neumeta_schedule_free)));
    check(neumeta_schedule_add_phase(ANY(w, schedules), "phase", number(w), number(w),
                                     ANY(w, options)));
}

static void make_trainer(world *w)
{
    uint32_t place;
    neumeta_trainer *trainer = NULL;
    neumeta_network *network = ANY(w, networks);
    neumeta_schedule *schedule = ANY(w, schedules);
    neumeta_dataset *dataset = ANY(w, datasets);
    const neumeta_status status =
        fuzz_choice(&w->bytes, 2) == 0
            ? neumeta_trainer_create_plain(network, schedule, dataset, NULL, &trainer)
            : neumeta_trainer_create(ANY(w, manifolds), network, schedule, dataset, NULL, &trainer);
    check(status);
    require((status == NEUMETA_OK) == (trainer != NULL));
    *FRESH(w, trainers, neumeta_trainer_free) = trainer;
}

static void use_trainer(world *w)
{
    double value;
    neumeta_trainer *trainer = ANY(w, trainers);
    switch (fuzz_choice(&w->bytes, 4)) {
    case 0:
        neumeta_trainer_cancel(trainer);
        break;
    case 1:
        check(neumeta_trainer_metric(trainer, number(w), &value));
        break;
    case 2:
        check(neumeta_trainer_set_teacher(trainer, ANY(w, networks)));
        break;
    default:
        for (int step = 0; step < 3; step++)
            check(neumeta_trainer_step(trainer));
    }
}

static void create_others(world *w)
{
    uint32_t place;
    switch (fuzz_choice(&w->bytes, 3)) {
    case 0:
        check(neumeta_topology_create(w->context, FRESH(w, topologies, neumeta_topology_free)));
        break;
    case 1:
        check(neumeta_topology_seal(ANY(w, topologies), number(w)));
        break;
    default:
        check(neumeta_manifold_create(ANY(w, topologies), ANY(w, options),
                                      FRESH(w, manifolds, neumeta_manifold_free)));
    }
}

static void create_options(world *w)
{
    uint32_t place;
    check(neumeta_options_create(w->context, FRESH(w, options, neumeta_options_free)));
}

static void release(world *w)
{
    const uint32_t place = fuzz_choice(&w->bytes, SLOTS);
#define RELEASE(kind, end) (end(w->kind[place]), w->kind[place] = NULL)
    switch (fuzz_choice(&w->bytes, 7)) {
    case 0:
        RELEASE(options, neumeta_options_free);
        break;
    case 1:
        RELEASE(topologies, neumeta_topology_free);
        break;
    case 2:
        RELEASE(networks, neumeta_network_free);
        break;
    case 3:
        RELEASE(manifolds, neumeta_manifold_free);
        break;
    case 4:
        RELEASE(schedules, neumeta_schedule_free);
        break;
    case 5:
        RELEASE(datasets, neumeta_dataset_free);
        break;
    default:
        RELEASE(trainers, neumeta_trainer_free);
    }
}

static void release_all(world *w)
{
    for (int place = 0; place < SLOTS; place++) {
        RELEASE(options, neumeta_options_free);
        RELEASE(topologies, neumeta_topology_free);
        RELEASE(datasets, neumeta_dataset_free);
        RELEASE(manifolds, neumeta_manifold_free);
        RELEASE(networks, neumeta_network_free);
        RELEASE(schedules, neumeta_schedule_free);
        RELEASE(trainers, neumeta_trainer_free);
    }
#undef RELEASE
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    static void (*const calls[])(world *) = {
        create_options, set_option,    set_any_option, build_topology, add_axis,      add_node,
        repeat,         create_others, make_network,   use_network,    share_network, use_manifold,
        copy_manifold,  make_dataset,  make_schedule,  make_trainer,   use_trainer,   release,
    };
    world w = {.context = context, .bytes = {data, size}};
    for (int i = 0; i < ITEMS; i++)
        w.targets[i] = i % 3;
    for (int i = 0; i < ITEMS * PIXELS; i++)
        w.inputs[i] = (float)(i % 13) / 13.0f;
    fuzz_begin();
    for (int made = 0; made < CALLS_MAX && w.bytes.size > 0; made++)
        calls[fuzz_choice(&w.bytes, sizeof calls / sizeof *calls)](&w);
    release_all(&w);
}
