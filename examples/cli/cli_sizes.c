/* SPDX-License-Identifier: MIT */
/* Which sizes --gamma, --size and --sizes ask for. */
#include "cli.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool cli_axis_varies(const neumeta_topology *topology, int32_t axis)
{
    int64_t minimum = 0, maximum = 0;
    return neumeta_topology_axis(topology, axis, NULL, NULL, &minimum, &maximum, NULL) ==
               NEUMETA_OK &&
           minimum < maximum;
}

static int add_sizes(const cli *c, cli_size_list *list, const int64_t *sizes, double gamma)
{
    size_t axes = (size_t)list->axes;
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 16;
        int64_t *all = realloc(list->sizes, capacity * axes * sizeof *all);
        list->sizes = all != NULL ? all : list->sizes;
        double *gammas = realloc(list->gammas, capacity * sizeof *gammas);
        list->gammas = gammas != NULL ? gammas : list->gammas;
        if (all == NULL || gammas == NULL)
            return cli_no_memory(c);
        list->capacity = capacity;
    }
    memcpy(list->sizes + list->count * axes, sizes, axes * sizeof *sizes);
    list->gammas[list->count++] = gamma;
    return CLI_OK;
}

void cli_sizes_release(cli_size_list *list)
{
    free(list->sizes);
    free(list->gammas);
    memset(list, 0, sizeof *list);
}

/* --- --size NAME=SIZES ------------------------------------------------------------------------ */

typedef struct choice {
    int64_t *values;
    size_t count;
    char *pattern;
} choice;

static int add_choice_value(const cli *c, choice *out, int64_t value)
{
    int64_t *values = realloc(out->values, (out->count + 1) * sizeof *values);
    if (values == NULL)
        return cli_no_memory(c);
    out->values = values;
    values[out->count++] = value;
    return CLI_OK;
}

/* "16", "16,32,64", "8..64" or "8..64:4". */
static int read_choice(const cli *c, const char *text, choice *out)
{
    const char *equals = strchr(text, '=');
    const char *rest = equals != NULL ? equals + 1 : text;
    int code = equals != NULL && equals != text ? CLI_OK : CLI_USAGE;
    out->pattern = strndup(text, equals != NULL ? (size_t)(equals - text) : 0);
    if (out->pattern == NULL)
        return cli_no_memory(c);
    while (code == CLI_OK) {
        char *end;
        long long first = strtoll(rest, &end, 10), last = first, step = 1;
        bool good = end != rest;
        if (good && strncmp(end, "..", 2) == 0) {
            rest = end + 2;
            last = strtoll(rest, &end, 10);
            good = end != rest;
        }
        if (good && *end == ':') {
            rest = end + 1;
            step = strtoll(rest, &end, 10);
            good = end != rest;
        }
        if (!good || first < 0 || last < first || last > 1 << 20 || step < 1 || step > 1 << 20 ||
            (*end != ',' && *end != '\0'))
            code = CLI_USAGE;
        for (long long value = first; value <= last && code == CLI_OK; value += step)
            code = add_choice_value(c, out, value);
        if (*end == '\0')
            break;
        rest = end + 1;
    }
    if (code == CLI_USAGE)
        cli_usage(c, "--size is '%s', must be AXIS=16, AXIS=16,32, AXIS=8..64 or AXIS=8..64:4",
                  text);
    return code;
}

/* Sets all axes that the pattern matches; counts them. */
static int apply_choice(const cli *c, const cli_model *model, const choice *given, int64_t value,
                        int64_t *sizes)
{
    int matches = 0;
    for (int32_t axis = 0; axis < model->axes; axis++) {
        const char *name = NULL;
        neumeta_topology_axis(model->topology, axis, &name, NULL, NULL, NULL, NULL);
        if (cli_axis_varies(model->topology, axis) && fnmatch(given->pattern, name, 0) == 0) {
            sizes[axis] = value;
            matches++;
        }
    }
    return matches > 0 ? CLI_OK
                       : cli_usage(c,
                                   "--size: no axis that varies is named '%s'; neumeta inspect "
                                   "lists them",
                                   given->pattern);
}

/* Adds every combination of the choices; of those that name the same axis the last one holds. */
static int add_combinations(const cli *c, const cli_model *model, const choice *choices,
                            size_t count, const int64_t *base, int64_t *sizes, double gamma,
                            cli_size_list *list)
{
    size_t total = 1;
    for (size_t i = 0; i < count; i++) {
        if (choices[i].count > 100000 / total)
            return cli_usage(c, "--size: more than 100000 combinations");
        total *= choices[i].count;
    }
    int code = CLI_OK;
    for (size_t n = 0; n < total && code == CLI_OK; n++) {
        memcpy(sizes, base, (size_t)model->axes * sizeof *sizes);
        size_t step = total;
        for (size_t i = 0; i < count && code == CLI_OK; i++) {
            step /= choices[i].count; /* the last choice changes most often */
            code = apply_choice(c, model, &choices[i],
                                choices[i].values[n / step % choices[i].count], sizes);
        }
        if (code == CLI_OK)
            code = add_sizes(c, list, sizes, gamma);
    }
    return code;
}

/* --- --sizes N,N,... ------------------------------------------------------------------------- */

static int count_varying(const cli_model *model)
{
    int count = 0;
    for (int32_t axis = 0; axis < model->axes; axis++)
        count += cli_axis_varies(model->topology, axis);
    return count;
}

static int add_explicit(const cli *c, const cli_model *model, const char *text, const int64_t *full,
                        int64_t *sizes, cli_size_list *list)
{
    const char *rest = text;
    bool more = true;
    memcpy(sizes, full, (size_t)model->axes * sizeof *sizes);
    for (int32_t axis = 0; axis < model->axes; axis++) {
        char *end;
        if (!cli_axis_varies(model->topology, axis))
            continue;
        long long value = more ? strtoll(rest, &end, 10) : 0;
        if (!more || end == rest || (*end != ',' && *end != '\0'))
            return cli_usage(c,
                             "--sizes is '%s', must be %d numbers with commas between, one for "
                             "each axis that varies; neumeta inspect lists them",
                             text, count_varying(model));
        sizes[axis] = value;
        more = *end == ',';
        rest = end + 1;
    }
    if (more)
        return cli_usage(c,
                         "--sizes is '%s', which has more than %d numbers, one for each axis that "
                         "varies",
                         text, count_varying(model));
    return add_sizes(c, list, sizes, NAN);
}

/* --- all together ---------------------------------------------------------------------------- */

typedef struct work {
    int64_t *full, *base, *sizes;
    choice *choices;
    size_t choice_count;
    double *gammas;
    size_t gamma_count;
} work;

static int read_choices(const cli *c, work *w)
{
    size_t position = 0;
    const char *text;
    int code = CLI_OK;
    while (code == CLI_OK && (text = cli_next(c, "size", &position)) != NULL) {
        choice *choices = realloc(w->choices, (w->choice_count + 1) * sizeof *choices);
        if (choices == NULL)
            return cli_no_memory(c);
        w->choices = choices;
        choices[w->choice_count] = (choice){NULL, 0, NULL};
        code = read_choice(c, text, &choices[w->choice_count++]);
    }
    return code;
}

static int add_gammas(const cli *c, const cli_model *model, work *w, cli_size_list *list)
{
    size_t count = w->gamma_count > 0 ? w->gamma_count : 1;
    int code = CLI_OK;
    for (size_t i = 0; i < count && code == CLI_OK; i++) {
        double gamma = w->gamma_count > 0 ? w->gammas[i] : 0;
        code =
            cli_check(c,
                      model->manifold != NULL
                          ? neumeta_manifold_sizes_at(model->manifold, gamma, w->base, model->axes)
                          : neumeta_topology_sizes_at(model->topology, gamma, w->base, model->axes),
                      NULL);
        /* A size given beside the gamma makes it none. */
        double told = w->choice_count > 0 ? NAN : gamma;
        if (code == CLI_OK)
            code = add_combinations(c, model, w->choices, w->choice_count, w->base, w->sizes, told,
                                    list);
    }
    return code;
}

static int collect(const cli *c, const cli_model *model, work *w, cli_size_list *list)
{
    size_t position = 0;
    const char *text;
    int code =
        cli_check(c, neumeta_topology_sizes_at(model->topology, 0, w->full, model->axes), NULL);
    if (code == CLI_OK)
        code = cli_numbers(c, "gamma", 0, 0.999, &w->gammas, &w->gamma_count);
    if (code == CLI_OK)
        code = read_choices(c, w);
    bool explicit = cli_flag(c, "sizes");
    if (code == CLI_OK && (w->gamma_count > 0 || w->choice_count > 0 || !explicit))
        code = add_gammas(c, model, w, list);
    while (code == CLI_OK && (text = cli_next(c, "sizes", &position)) != NULL)
        code = add_explicit(c, model, text, w->full, w->sizes, list);
    return code;
}

int cli_sizes(const cli *c, const cli_model *model, cli_size_list *list)
{
    size_t axes = (size_t)model->axes;
    memset(list, 0, sizeof *list);
    list->axes = model->axes;
    work w = {.full = calloc(3 * axes, sizeof *w.full)};
    int code = CLI_OK;
    if (w.full == NULL) {
        code = cli_no_memory(c);
    } else if (model->network != NULL) {
        code = cli_check(c, neumeta_network_sizes(model->network, w.full, model->axes), NULL);
        if (code == CLI_OK)
            code = add_sizes(c, list, w.full, NAN);
    } else {
        w.base = w.full + axes;
        w.sizes = w.base + axes;
        code = collect(c, model, &w, list);
    }
    for (size_t i = 0; i < w.choice_count; i++) {
        free(w.choices[i].values);
        free(w.choices[i].pattern);
    }
    free(w.choices);
    free(w.gammas);
    free(w.full);
    if (code != CLI_OK)
        cli_sizes_release(list);
    return code;
}

int cli_one_size(const cli *c, const cli_model *model, cli_size_list *list)
{
    int code = cli_sizes(c, model, list);
    if (code == CLI_OK && list->count != 1)
        code = cli_usage(c, "these options ask for %zu networks, must be one", list->count);
    return code;
}

int cli_describe(const cli *c, const neumeta_topology *topology, const int64_t *sizes, double gamma,
                 json_t *row)
{
    int32_t axes = neumeta_topology_axis_count(topology);
    int64_t parameters = 0, flops = 0;
    int code =
        cli_check(c, neumeta_topology_cost(topology, sizes, axes, &parameters, &flops), NULL);
    if (code != CLI_OK)
        return code;
    if (isfinite(gamma))
        json_object_set_new(row, "gamma", json_real(gamma));
    json_t *object = json_object();
    for (int32_t axis = 0; axis < axes; axis++) {
        const char *name = NULL;
        neumeta_topology_axis(topology, axis, &name, NULL, NULL, NULL, NULL);
        if (cli_axis_varies(topology, axis))
            json_object_set_new(object, name, json_integer(sizes[axis]));
    }
    json_object_set_new(row, "sizes", object);
    json_object_set_new(row, "parameters", json_integer(parameters));
    json_object_set_new(row, "multiply_adds", json_integer(flops / 2));
    return CLI_OK;
}

bool cli_mark_outside(const cli_model *model, const int64_t *sizes, json_t *row)
{
    int64_t *least = calloc((size_t)model->axes, sizeof *least);
    bool outside = false;
    if (least != NULL && model->manifold != NULL &&
        neumeta_manifold_trained_sizes(model->manifold, least, model->axes) == NEUMETA_OK)
        for (int32_t a = 0; a < model->axes; a++)
            outside = outside || sizes[a] < least[a];
    free(least);
    if (outside)
        json_object_set_new(row, "outside", json_true());
    return outside;
}
