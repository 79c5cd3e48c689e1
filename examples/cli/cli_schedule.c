/* SPDX-License-Identifier: MIT */
/* Schedules from options, recipes and files of phases. */
#include "cli_schedule.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const cli_keys phase_keys[] = {{NEUMETA_KEY_EPOCHS, NEUMETA_KEY_NORM_STATISTICS}, {0, 0}};

static const cli_keys draw_keys[] = {{NEUMETA_KEY_SIZE_AXES, NEUMETA_KEY_NON_UNIFORM},
                                     {NEUMETA_KEY_DEPTH_GAMMA_MAX, NEUMETA_KEY_STREAM_GAMMA_MAX},
                                     {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS},
                                     {0, 0}};

/* --- phases of a file ------------------------------------------------------------------------ */

/* A block by number, negative from the end, or by name. */
static int read_block(const cli *c, const neumeta_topology *topology, const char *phase,
                      const json_t *value, int32_t *block)
{
    int32_t count = neumeta_topology_block_count(topology);
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        *block = number < -count || number >= count ? count : (int32_t)number;
        if (*block < count)
            return CLI_OK;
    }
    for (*block = 0; json_is_string(value) && *block < count; (*block)++)
        if (strcmp(neumeta_topology_block_name(topology, *block), json_string_value(value)) == 0)
            return CLI_OK;
    return cli_usage(
        c,
        "phase '%s': \"blocks\" must be a block or a list of the first and the last one, "
        "each a name or a number from %d to %d",
        phase, -count, count - 1);
}

static int read_blocks(const cli *c, const neumeta_topology *topology, const char *phase,
                       const json_t *value, int32_t *first, int32_t *last)
{
    bool range = json_is_array(value) && json_array_size(value) == 2;
    *first = 0;
    *last = -1;
    if (value == NULL)
        return CLI_OK;
    int code = read_block(c, topology, phase, range ? json_array_get(value, 0) : value, first);
    if (code == CLI_OK)
        code = read_block(c, topology, phase, range ? json_array_get(value, 1) : value, last);
    return code;
}

static bool on_command_line(const cli *c, const char *name)
{
    char option[64];
    for (size_t i = 0; i < c->value_count; i++) {
        const cli_value *value = &c->values[i];
        if (value->key == 0 || value->from_file)
            continue;
        cli_key_option(value->key, option, sizeof option);
        if (strcasecmp(value->name, name) == 0 || strcasecmp(option, name) == 0)
            return true;
    }
    return false;
}

static bool is_named(int32_t key, const char *name)
{
    char option[64];
    cli_key_option(key, option, sizeof option);
    return strcasecmp(neumeta_key_name(key), name) == 0 || strcasecmp(option, name) == 0;
}

/* The phase's settings over the file's common ones; the command line over both. */
static int add_phase(const cli *c, const neumeta_topology *topology, json_t *phase, size_t index,
                     neumeta_schedule *schedule)
{
    char number[48], where[128];
    int32_t first, last;
    neumeta_options *options = NULL;
    if (!json_is_object(phase))
        return cli_usage(c, "\"phases\" must be a list of JSON objects");
    snprintf(number, sizeof number, "phase %zu", index + 1);
    const char *name = json_string_value(json_object_get(phase, "name"));
    name = name != NULL ? name : number;
    snprintf(where, sizeof where, "phase '%s'", name);
    int code = read_blocks(c, topology, name, json_object_get(phase, "blocks"), &first, &last);
    if (code == CLI_OK)
        code = cli_settings(c, phase_keys, &options);
    const char *key;
    json_t *value;
    json_object_foreach (phase, key, value) {
        if (code == CLI_OK && strcmp(key, "name") != 0 && strcmp(key, "blocks") != 0 &&
            !on_command_line(c, key))
            code = cli_set_json(c, options, where, key, value);
    }
    if (code == CLI_OK)
        code = cli_check(c, neumeta_schedule_add_phase(schedule, name, first, last, options), NULL);
    neumeta_options_free(options);
    return code;
}

static int add_phases(const cli *c, const neumeta_topology *topology, const json_t *phases,
                      neumeta_schedule *schedule)
{
    int code = CLI_OK;
    if (!json_is_array(phases) || json_array_size(phases) == 0)
        return cli_usage(c, "\"phases\" must be a list of JSON objects");
    for (size_t i = 0; i < json_array_size(phases) && code == CLI_OK; i++)
        code = add_phase(c, topology, json_array_get(phases, i), i, schedule);
    return code;
}

static int from_phases(const cli *c, const neumeta_topology *topology, const json_t *phases,
                       neumeta_schedule **schedule)
{
    int code = cli_check(c, neumeta_schedule_create(c->context, schedule), NULL);
    return code == CLI_OK ? add_phases(c, topology, phases, *schedule) : code;
}

/* A file of phases: a list, or an object that has nothing else, since that would go unnoticed. */
static int read_recipe(const cli *c, const char *path, json_t **root, const json_t **phases)
{
    int code = cli_read_json(c, path, root);
    *phases = json_is_object(*root) ? json_object_get(*root, "phases") : *root;
    const char *name;
    json_t *value;
    json_object_foreach (*root, name, value) {
        if (code == CLI_OK && strcmp(name, "phases") != 0)
            code = cli_usage(c,
                             "%s: \"%s\" stands beside \"phases\"; settings that all phases share "
                             "are read from --settings, or stand in each phase",
                             path, name);
    }
    return code;
}

static int from_file(const cli *c, const neumeta_topology *topology, const char *path,
                     neumeta_schedule **schedule)
{
    json_t *root = NULL;
    const json_t *phases = NULL;
    int code = read_recipe(c, path, &root, &phases);
    if (code == CLI_OK)
        code = from_phases(c, topology, phases, schedule);
    json_decref(root);
    return code;
}

/* --- recipes and single phases ---------------------------------------------------------------- */

static int from_recipe(const cli *c, const neumeta_topology *topology, const char *recipe,
                       neumeta_schedule **schedule)
{
    double *numbers = NULL;
    size_t count = 0;
    neumeta_options *options = NULL;
    int code = cli_numbers(c, "morph-blocks", -1e6, 1e6, &numbers, &count);
    int64_t *blocks = calloc(count + 1, sizeof *blocks);
    if (code == CLI_OK && blocks == NULL)
        code = cli_no_memory(c);
    for (size_t i = 0; i < count && code == CLI_OK; i++)
        blocks[i] = (int64_t)numbers[i];
    if (code == CLI_OK)
        code = cli_settings(c, phase_keys, &options);
    /* Without a reference there is nothing to reconstruct, and the recipes would ask for it. */
    if (code == CLI_OK && !cli_flag(c, "reference") && !cli_flag(c, "loss-reconstruction"))
        code = cli_check(c, neumeta_options_set_real(options, NEUMETA_KEY_LOSS_RECONSTRUCTION, 0),
                         NULL);
    if (code == CLI_OK)
        code = cli_check(c,
                         neumeta_schedule_create_recipe(topology, recipe, count > 0 ? blocks : NULL,
                                                        (int64_t)count, options, schedule),
                         NULL);
    neumeta_options_free(options);
    free(blocks);
    free(numbers);
    return code;
}

static int from_settings(const cli *c, neumeta_schedule **schedule)
{
    neumeta_options *options = NULL;
    int code = cli_settings(c, phase_keys, &options);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_schedule_create(c->context, schedule), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_schedule_add_phase(*schedule, "all", 0, -1, options), NULL);
    neumeta_options_free(options);
    return code;
}

const char *cli_recipe_file(const cli *c)
{
    const char *recipe = cli_text(c, "recipe");
    const bool named = recipe == NULL || strcmp(recipe, "nm") == 0 || strcmp(recipe, "ht") == 0;
    return named ? NULL : recipe;
}

int cli_schedule(const cli *c, const neumeta_topology *topology, bool manifold,
                 neumeta_schedule **schedule)
{
    const char *recipe = cli_text(c, "recipe");
    bool named = recipe != NULL && cli_recipe_file(c) == NULL;
    *schedule = NULL;
    if (recipe != NULL && c->phases != NULL)
        return cli_usage(c, "--recipe and \"phases\" of the settings file exclude each other");
    if (named && !manifold)
        return cli_usage(c, "--recipe %s is for manifolds (--manifold)", recipe);
    int code = c->phases != NULL ? from_phases(c, topology, c->phases, schedule)
               : named           ? from_recipe(c, topology, recipe, schedule)
               : recipe != NULL  ? from_file(c, topology, recipe, schedule)
               : manifold        ? from_recipe(c, topology, "nm", schedule)
                                 : from_settings(c, schedule);
    if (code != CLI_OK) {
        neumeta_schedule_free(*schedule);
        *schedule = NULL;
    }
    return code;
}

/* --- what the phases draw -------------------------------------------------------------------- */

/* Settings of sizes that a phase has of its own. */
static int add_draw(const cli *c, const json_t *phase, neumeta_options *options)
{
    const char *name;
    json_t *value;
    int code = CLI_OK;
    json_object_foreach ((json_t *)phase, name, value) {
        bool wanted = false;
        for (const cli_keys *keys = draw_keys; keys->first != 0; keys++)
            for (int32_t key = keys->first; key <= keys->last; key++)
                wanted = wanted || is_named(key, name);
        if (code == CLI_OK && wanted && !on_command_line(c, name))
            code = cli_set_json(c, options, "the last phase", name, value);
    }
    return code;
}

/* "phases" of the settings file or of --recipe, borrowed from `root`, which the caller releases;
 * NULL: none are written out. */
static int read_phases(const cli *c, json_t **root, const json_t **phases)
{
    const char *file = cli_recipe_file(c);
    *phases = c->phases;
    return file == NULL ? CLI_OK : read_recipe(c, file, root, phases);
}

int cli_draw_settings(const cli *c, neumeta_options **options)
{
    json_t *root = NULL;
    const json_t *phases = NULL;
    int code = cli_settings(c, draw_keys, options);
    if (code == CLI_OK)
        code = read_phases(c, &root, &phases);
    if (code == CLI_OK && json_array_size(phases) > 0)
        code = add_draw(c, json_array_get(phases, json_array_size(phases) - 1), *options);
    json_decref(root);
    return code;
}

static bool is_fitted(const char *text)
{
    return text != NULL && strcmp(text, "fitted") == 0;
}

int cli_calibrates(const cli *c, bool *calibrates)
{
    json_t *root = NULL;
    const json_t *phases = NULL;
    char option[64];
    cli_key_option(NEUMETA_KEY_NORM_STATISTICS, option, sizeof option);
    int code = read_phases(c, &root, &phases);
    *calibrates = is_fitted(cli_text(c, option));
    for (size_t i = 0; code == CLI_OK && i < json_array_size(phases); i++) {
        const char *name;
        json_t *value;
        json_object_foreach (json_array_get(phases, i), name, value) {
            if (is_named(NEUMETA_KEY_NORM_STATISTICS, name) && !on_command_line(c, name))
                *calibrates = *calibrates || is_fitted(json_string_value(value));
        }
    }
    json_decref(root);
    return code;
}
