/* SPDX-License-Identifier: MIT */
/*
 * docs/settings.md from the library's own table of settings.
 *
 *     settings >docs/settings.md     writes the page
 *     settings docs/settings.md      fails unless the page is up to date
 */
#include <neumeta.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 1 << 17 };

typedef struct page {
    char text[PAGE_MAX];
    size_t length;
} page;

/* Where a run of numbers begins, and who reads those settings. */
static const struct group {
    int32_t first;
    const char *title, *about;
} groups[] = {
    {1, "Nodes of a topology",
     "`neumeta_topology_add_node()`; its comment says which operator takes which."},
    {20, "Built-in topologies and data",
     "`neumeta_topology_create_builtin()` (CLASSES to NORM) and `neumeta_dataset_create()`\n"
     "(INPUT_CHANNELS to INPUT_WIDTH and HELD_OUT to AUGMENT_FLIP). Unset, `lenet` has an input "
     "of\n"
     "1 x 28 x 28 and CHANNELS 32."},
    {40, "Loading and passes",
     "`neumeta_network_load()` (NAME_MAP), `neumeta_network_replace_norm()` (RESIDUAL_SCALE,\n"
     "RESIDUAL_LEARNED), `neumeta_network_smooth()` (SMOOTH_SOLVER, SMOOTH_TIME_LIMIT, SEED). SEED "
     "also\n"
     "serves manifolds, materialisation and trainers."},
    {60, "Manifolds",
     "`neumeta_manifold_create()` (all but SAMPLES, CLEAN_SAMPLE and NOISE_DRAW) "
     "and\n`neumeta_manifold_materialize()` "
     "(SAMPLES, CLEAN_SAMPLE, NOISE, NOISE_CLAMP, NOISE_DRAW,\nand PRECISION, which stands among "
     "the "
     "settings of phases)."},
    {100, "Phases of a schedule",
     "`neumeta_schedule_add_phase()` and `neumeta_schedule_create_recipe()`. Plain training "
     "refuses what\n"
     "concerns INRs. [methods/training.md](methods/training.md) says what they do."},
    {160, "Trainers", "`neumeta_trainer_create()` and `neumeta_trainer_create_plain()`."},
    {170, "Calibration",
     "`neumeta_manifold_calibrate()`, with GAMMA_MIN, GAMMA_MAX, GAMMA_GAP, NON_UNIFORM, "
     "STREAM_GAMMA_MAX,\nDEPTH_GAMMA_MAX, SIZE_AXES and SEED; `neumeta_network_calibrate()` "
     "(CALIBRATE_ITEMS); `neumeta_trainer_create()`."},
    {180, "Fronts and budgets",
     "`neumeta_manifold_search()` (SEARCH_EVALUATIONS to FRONT_SCORES, with GAMMA_MAX, "
     "STREAM_GAMMA_MAX,\nDEPTH_GAMMA_MAX, SIZE_AXES and SEED) and `neumeta_manifold_fit_budget()` "
     "(MAX_PARAMETERS to "
     "MIN_SCORE).\n[methods/budgets.md](methods/budgets.md) says what they do."},
    {210, "Files", "`neumeta_manifold_save_as()` and `neumeta_network_save_as()`."},
};

static void put(page *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(out->text + out->length, PAGE_MAX - out->length, format, arguments);
    va_end(arguments);
    if (written < 0 || (size_t)written >= PAGE_MAX - out->length)
        exit(EXIT_FAILURE);
    out->length += (size_t)written;
}

/* Words between bars, as a list; the one that is the default is marked. */
static void put_choices(page *out, const char *words, int32_t initial)
{
    for (int32_t i = 0; *words != '\0'; i++) {
        size_t length = strcspn(words, "|");
        const char *mark = i == initial ? "**" : "";
        put(out, "%s%s`%.*s`%s", i > 0 ? ", " : "", mark, (int)length, words, mark);
        words += length + (words[length] == '|');
    }
}

static void put_key(page *out, int32_t key)
{
    int32_t type = 0;
    double minimum = 0, maximum = 0, initial = 0;
    neumeta_key_bounds(key, &type, &minimum, &maximum, &initial);
    const char *unit = neumeta_key_unit(key);
    const char *const names[] = {"", "int", "real", "bool", "text", "choice", "ints", "reals"};
    put(out, "| %d | `%s` | %s | ", (int)key, neumeta_key_name(key), names[type]);
    if (type == NEUMETA_TYPE_CHOICE)
        put_choices(out, unit, (int32_t)initial);
    else if (type == NEUMETA_TYPE_BOOL)
        put(out, "0, 1");
    else if (type == NEUMETA_TYPE_TEXT)
        put(out, "%g to %g bytes", minimum, maximum);
    else
        put(out, "%.16g to %.16g%s", minimum, maximum,
            type == NEUMETA_TYPE_INTS || type == NEUMETA_TYPE_REALS ? " each" : "");
    if (type == NEUMETA_TYPE_INT || type == NEUMETA_TYPE_REAL || type == NEUMETA_TYPE_BOOL)
        put(out, " | %.16g", initial);
    else
        put(out, " | %s", type == NEUMETA_TYPE_CHOICE ? "(bold)" : "unset");
    put(out, " | %s | %s |\n", type == NEUMETA_TYPE_CHOICE ? "" : unit, neumeta_key_help(key));
}

static void write_page(page *out)
{
    put(out, "<!-- SPDX-License-Identifier: MIT -->\n"
             "<!-- Written by docs/settings.c; a test fails when it is out of date. -->\n"
             "# Settings\n\n"
             "Every setting of the library, by the call that reads it. The constant of a key is\n"
             "`NEUMETA_KEY_` and its name; `neumeta_options_parse()`, settings files and the "
             "command line\n"
             "take the name in any case, with `-` or `_`. A setting given to a call that does not "
             "use it is\n"
             "an error, and so is one outside its range: nothing is ignored or clipped.\n\n"
             "Types: `int`, `real`, `bool` (set with `neumeta_options_set_int()`), `text`, "
             "`choice` (set with\n"
             "`neumeta_options_set_text()`), `ints` and `reals` (lists).\n");
    size_t group = 0;
    int32_t key;
    for (int32_t i = 0; (key = neumeta_key_at(i)) != 0; i++) {
        if (group < sizeof groups / sizeof *groups && key >= groups[group].first) {
            put(out, "\n## %s\n\n%s\n\n", groups[group].title, groups[group].about);
            put(out, "| number | name | type | range | default | unit | meaning |\n"
                     "| --- | --- | --- | --- | --- | --- | --- |\n");
            group++;
        }
        put_key(out, key);
    }
}

int main(int argc, char **argv)
{
    static page made, found;
    write_page(&made);
    if (argc < 2)
        return fwrite(made.text, 1, made.length, stdout) == made.length ? EXIT_SUCCESS
                                                                        : EXIT_FAILURE;
    FILE *file = fopen(argv[1], "rb");
    if (file != NULL) {
        found.length = fread(found.text, 1, PAGE_MAX, file);
        fclose(file);
    }
    if (found.length == made.length && memcmp(found.text, made.text, made.length) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "%s is out of date: write it anew with this program\n", argv[1]);
    return EXIT_FAILURE;
}
