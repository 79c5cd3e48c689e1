/* SPDX-License-Identifier: MIT */
/*
 * The command line and the settings file. Each library setting is an option too, named after its
 * key, so that a setting added to the library needs no line here.
 */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Options that may be given several times, which is a list in a settings file. */
static const char *const repeatable[] = {"size", "sizes", "points"};

enum { NAME_MAX_LENGTH = 64, FIRST_OPTION = 1000 };

const cli_option cli_common_options[] = {
    {"settings", "FILE", "JSON object with any of these options; the command line wins"},
    {"json", NULL, "print results as JSON lines"},
    {"threads", "N", "threads to compute with; 0: one for each processor (default 0)"},
    {"seed", "N", "seed of everything random (default 0)"},
    {"quiet", NULL, "no progress and no notes on stderr"},
    {"verbose", NULL, "say what the library does"},
    {"help", NULL, "print this help"},
    {"help-settings", NULL, "print the library settings that this command takes"},
    {NULL, NULL, NULL},
};

void cli_key_option(int32_t key, char *option, size_t size)
{
    const char *name = neumeta_key_name(key);
    size_t length = 0;
    for (; name != NULL && name[length] != '\0' && length + 1 < size; length++)
        option[length] = name[length] == '_' ? '-' : (char)tolower((unsigned char)name[length]);
    option[length] = '\0';
}

/* '-' equals '_', and case does not matter: "LEARNING_RATE" is "learning-rate". */
static bool same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        int left = *a == '_' ? '-' : tolower((unsigned char)*a);
        int right = *b == '_' ? '-' : tolower((unsigned char)*b);
        if (left != right)
            return false;
    }
    return *a == *b;
}

bool cli_has_key(const cli_keys *keys, int32_t key)
{
    for (; keys->first != 0; keys++)
        if (key >= keys->first && key <= keys->last)
            return true;
    return false;
}

static const cli_option *find_option(const cli_command *command, const char *name)
{
    for (const cli_option *o = command->options; o->name != NULL; o++)
        if (same_name(o->name, name))
            return o;
    for (const cli_option *o = cli_common_options; o->name != NULL; o++)
        if (same_name(o->name, name))
            return o;
    return NULL;
}

static int32_t find_key(const cli_command *command, const char *name)
{
    for (int32_t i = 0, key; (key = neumeta_key_at(i)) != 0; i++)
        if (cli_has_key(command->keys, key) && same_name(neumeta_key_name(key), name))
            return key;
    return 0;
}

static bool names_path(const cli_option *option)
{
    return option->argument != NULL &&
           (strcmp(option->argument, "FOLDER") == 0 || strstr(option->argument, "FILE") != NULL);
}

static int add_value(cli *c, const char *name, const char *text, bool from_file)
{
    if (c->value_count == c->value_capacity) {
        size_t capacity = 2 * c->value_capacity + 16;
        cli_value *values = realloc(c->values, capacity * sizeof *values);
        if (values == NULL)
            return cli_no_memory(c);
        c->values = values;
        c->value_capacity = capacity;
    }
    const cli_option *option = find_option(c->command, name);
    int32_t key = option == NULL ? find_key(c->command, name) : 0;
    /* Such as that of a variable that is not set: told before any work. */
    if (text[0] == '\0' && option != NULL && names_path(option))
        return cli_usage(c, "--%s is empty, must name a %s", option->name,
                         strcmp(option->argument, "FOLDER") == 0 ? "folder" : "file");
    char *copy = strdup(text);
    if (copy == NULL)
        return cli_no_memory(c);
    c->values[c->value_count++] = (cli_value){
        .name = option != NULL ? option->name : neumeta_key_name(key),
        .key = key,
        .text = copy,
        .from_file = from_file,
    };
    return CLI_OK;
}

/* --- settings file --------------------------------------------------------------------------- */

int cli_read_json(const cli *c, const char *path, json_t **value)
{
    json_error_t error;
    FILE *file = fopen(path, "r");
    *value = NULL;
    if (file == NULL)
        return cli_fail(c, "%s cannot be opened: %s", path, strerror(errno));
    struct stat about;
    if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        fclose(file);
        return cli_fail(c, "%s is a folder, not a JSON file", path);
    }
    *value = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
    fclose(file);
    if (*value == NULL)
        return cli_fail(c, "%s, line %d: %s", path, error.line, error.text);
    return CLI_OK;
}

static int append_text(const json_t *value, char *text, size_t size, size_t *length)
{
    int written = -1;
    char *room = text + *length;
    size_t left = size - *length;
    if (json_is_string(value))
        written = snprintf(room, left, "%s", json_string_value(value));
    else if (json_is_integer(value))
        written = snprintf(room, left, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        written = snprintf(room, left, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        written = snprintf(room, left, "%d", json_is_true(value));
    if (written < 0 || (size_t)written >= left)
        return CLI_FAILED;
    *length += (size_t)written;
    return CLI_OK;
}

char *cli_json_text(const json_t *value)
{
    size_t items = json_is_array(value) ? json_array_size(value) : 1;
    size_t size = 32 * items + 32;
    if (json_is_string(value))
        size += json_string_length(value);
    char *text = malloc(size);
    size_t length = 0;
    int code = text != NULL ? CLI_OK : CLI_FAILED;
    if (code == CLI_OK)
        text[0] = '\0';
    for (size_t i = 0; i < items && code == CLI_OK; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (i > 0)
            text[length++] = ',';
        code = append_text(item, text, size - 1, &length);
    }
    if (code == CLI_OK)
        return text;
    free(text);
    return NULL;
}

/* Whether the list is one of several values; numbers alone are one: [3, 4] is "3,4". */
static bool holds_values(const char *option, const json_t *list)
{
    bool several = false, numbers = json_array_size(list) > 0;
    for (size_t i = 0; i < sizeof repeatable / sizeof *repeatable; i++)
        several = several || strcmp(repeatable[i], option) == 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        numbers = numbers && json_is_number(json_array_get(list, i));
    return several && json_is_array(list) && !numbers;
}

static int add_json(cli *c, const char *path, const char *name, const json_t *value)
{
    char *text = cli_json_text(value);
    if (text == NULL)
        return cli_usage(c, "%s: '%s' must be a text, a number, or a list of numbers", path, name);
    int code = add_value(c, name, text, true);
    free(text);
    return code;
}

static int read_setting(cli *c, const char *path, const char *name, json_t *value)
{
    if (same_name(name, "phases") && strcmp(c->command->name, "train") == 0) {
        c->phases = json_incref(value);
        return CLI_OK;
    }
    const cli_option *option = find_option(c->command, name);
    if ((option == NULL && find_key(c->command, name) == 0) ||
        (option != NULL && strcmp(option->name, "settings") == 0))
        return cli_usage(c, "%s: '%s' is no option of this command", path, name);
    bool flag = option != NULL && option->argument == NULL;
    if (flag && !json_is_boolean(value))
        return cli_usage(c, "%s: '%s' must be true or false", path, name);
    if (flag)
        return json_is_true(value) ? add_value(c, name, "1", true) : CLI_OK;
    if (option == NULL || !holds_values(option->name, value))
        return add_json(c, path, name, value);
    int code = CLI_OK;
    for (size_t i = 0; i < json_array_size(value) && code == CLI_OK; i++)
        code = add_json(c, path, name, json_array_get(value, i));
    return code;
}

static int read_settings(cli *c, const char *path)
{
    json_t *root = NULL;
    int code = cli_read_json(c, path, &root);
    if (code == CLI_OK && !json_is_object(root))
        code = cli_usage(c, "%s: a settings file holds one JSON object", path);
    const char *name;
    json_t *value;
    json_object_foreach (root, name, value) {
        if (code == CLI_OK)
            code = read_setting(c, path, name, value);
    }
    json_decref(root);
    return code;
}

/* --- command line ---------------------------------------------------------------------------- */

/* The table for getopt_long(): common options, the command's, and one for each setting. `names`
 * holds the settings' names, NAME_MAX_LENGTH letters each. */
static size_t fill_table(const cli_command *command, struct option *table, char *names)
{
    size_t count = 0;
    const cli_option *lists[] = {cli_common_options, command->options};
    for (size_t l = 0; l < 2; l++)
        for (const cli_option *o = lists[l]; o->name != NULL; o++)
            table[count++] = (struct option){
                o->name, o->argument != NULL ? required_argument : no_argument, NULL, FIRST_OPTION};
    for (int32_t i = 0, key; (key = neumeta_key_at(i)) != 0; i++) {
        int32_t type = 0;
        if (!cli_has_key(command->keys, key) ||
            find_option(command, neumeta_key_name(key)) != NULL ||
            neumeta_key_bounds(key, &type, NULL, NULL, NULL) != NEUMETA_OK)
            continue;
        cli_key_option(key, names, NAME_MAX_LENGTH);
        table[count++] = (struct option){
            names, type == NEUMETA_TYPE_BOOL ? optional_argument : required_argument, NULL,
            FIRST_OPTION};
        names += NAME_MAX_LENGTH;
    }
    table[count] = (struct option){NULL, 0, NULL, 0};
    return count;
}

static size_t count_options(const cli_command *command)
{
    size_t count = 1;
    for (const cli_option *o = cli_common_options; o->name != NULL; o++)
        count++;
    for (const cli_option *o = command->options; o->name != NULL; o++)
        count++;
    for (int32_t i = 0; neumeta_key_at(i) != 0; i++)
        count++;
    return count;
}

/* The long option that a word with one dash spells; NULL: none. */
static const char *meant_option(const char *word, const struct option *table)
{
    const size_t length = word[0] == '-' ? strcspn(word + 1, "=") : 0;
    for (; table->name != NULL; table++)
        if (strlen(table->name) == length && strncmp(table->name, word + 1, length) == 0)
            return table->name;
    return NULL;
}

/* A letter is in optopt, and getopt_long() stays at its word while that has more of them. */
static int refuse_option(const cli *c, int argc, char **argv, const struct option *table)
{
    if (optopt == 0 || optopt == FIRST_OPTION)
        return cli_usage(c,
                         "'%s' is no option of this command, or not the whole of one; see "
                         "neumeta %s --help",
                         argv[optind - 1], c->command->name);
    const bool stays = optind < argc && strchr(argv[optind], optopt) != NULL;
    const char *meant = stays ? meant_option(argv[optind], table) : NULL;
    return cli_usage(c, "'-%c' is no option of this command%s%s%s; see neumeta %s --help",
                     isgraph((unsigned char)optopt) ? optopt : '?', meant != NULL ? ", but --" : "",
                     meant != NULL ? meant : "", meant != NULL ? " is" : "", c->command->name);
}

static int scan(cli *c, int argc, char **argv, const struct option *table)
{
    int code = CLI_OK, index = 0, found;
    opterr = 0;
    while (code == CLI_OK && (found = getopt_long(argc, argv, ":h", table, &index)) != -1) {
        if (found == ':')
            code = cli_usage(c, "%s needs a value", argv[optind - 1]);
        else if (found == 'h')
            code = add_value(c, "help", "1", false);
        else if (found != FIRST_OPTION)
            code = refuse_option(c, argc, argv, table);
        else
            code = add_value(c, table[index].name, optarg != NULL ? optarg : "1", false);
    }
    c->operands = argv + optind;
    c->operand_count = argc - optind;
    return code;
}

/* The file's values come first, so that later ones win everywhere. */
static int add_file(cli *c)
{
    const char *path = cli_text(c, "settings");
    if (path == NULL)
        return CLI_OK;
    cli_value *given = c->values;
    size_t count = c->value_count;
    c->values = NULL;
    c->value_count = c->value_capacity = 0;
    int code = read_settings(c, path);
    size_t total = c->value_count + count;
    cli_value *all = code == CLI_OK ? realloc(c->values, total * sizeof *all) : NULL;
    if (all != NULL) {
        memcpy(all + c->value_count, given, count * sizeof *all);
        c->values = all;
        c->value_count = c->value_capacity = total;
    } else {
        for (size_t i = 0; i < count; i++)
            free(given[i].text);
        code = code == CLI_OK ? cli_no_memory(c) : code;
    }
    free(given);
    return code;
}

int cli_arguments(cli *c, int argc, char **argv)
{
    size_t options = count_options(c->command);
    struct option *table = calloc(options, sizeof *table);
    char *names = calloc(options, NAME_MAX_LENGTH);
    int code = CLI_FAILED;
    if (table == NULL || names == NULL) {
        cli_no_memory(c);
    } else {
        fill_table(c->command, table, names);
        code = scan(c, argc, argv, table);
    }
    free(names);
    free(table);
    if (code != CLI_OK)
        return code;
    if (cli_flag(c, "help")) {
        cli_help(c->command, stdout);
        return CLI_OK;
    }
    if (cli_flag(c, "help-settings")) {
        cli_help_settings(c->command, stdout);
        return CLI_OK;
    }
    code = add_file(c);
    c->json = cli_flag(c, "json");
    c->quiet = cli_flag(c, "quiet");
    return code == CLI_OK ? -1 : code;
}

void cli_release(cli *c)
{
    for (size_t i = 0; i < c->value_count; i++)
        free(c->values[i].text);
    free(c->values);
    json_decref(c->phases);
    neumeta_context_free(c->context);
}

/* --- reading what was given ------------------------------------------------------------------ */

const char *cli_text(const cli *c, const char *name)
{
    for (size_t i = c->value_count; i-- > 0;)
        if (same_name(c->values[i].name, name))
            return c->values[i].text;
    return NULL;
}

bool cli_flag(const cli *c, const char *name)
{
    return cli_text(c, name) != NULL;
}

const char *cli_next(const cli *c, const char *name, size_t *position)
{
    bool on_line = false;
    for (size_t i = 0; i < c->value_count; i++)
        on_line = on_line || (!c->values[i].from_file && same_name(c->values[i].name, name));
    while (*position < c->value_count) {
        const cli_value *value = &c->values[(*position)++];
        if (same_name(value->name, name) && value->from_file != on_line)
            return value->text;
    }
    return NULL;
}

int cli_require(const cli *c, const char *name, const char **text)
{
    *text = cli_text(c, name);
    return *text != NULL ? CLI_OK : cli_usage(c, "--%s is missing", name);
}

static bool read_number(const char *text, double minimum, double maximum, double *number,
                        const char **end)
{
    char *after;
    *number = strtod(text, &after);
    *end = after;
    return after != text && *number >= minimum && *number <= maximum;
}

int cli_number(const cli *c, const char *name, double minimum, double maximum, double initial,
               double *number)
{
    const char *text = cli_text(c, name), *end;
    *number = initial;
    if (text == NULL || (read_number(text, minimum, maximum, number, &end) && *end == '\0'))
        return CLI_OK;
    return cli_usage(c, "--%s is '%s', must be a number from %g to %g", name, text, minimum,
                     maximum);
}

int cli_numbers(const cli *c, const char *name, double minimum, double maximum, double **numbers,
                size_t *count)
{
    const char *text = cli_text(c, name);
    *numbers = NULL;
    *count = 0;
    if (text == NULL)
        return CLI_OK;
    *numbers = malloc((strlen(text) + 1) * sizeof **numbers);
    if (*numbers == NULL)
        return cli_no_memory(c);
    const char *rest = text, *end = NULL;
    bool good = true;
    do {
        good = read_number(rest, minimum, maximum, &(*numbers)[(*count)++], &end);
        rest = end + 1;
    } while (good && *end == ',');
    if (good && *end == '\0')
        return CLI_OK;
    free(*numbers);
    *numbers = NULL;
    return cli_usage(c, "--%s is '%s', must be numbers from %g to %g with commas between", name,
                     text, minimum, maximum);
}

int cli_settings(const cli *c, const cli_keys *keys, neumeta_options **options)
{
    int code = cli_check(c, neumeta_options_create(c->context, options), NULL);
    for (size_t i = 0; i < c->value_count && code == CLI_OK; i++) {
        const cli_value *value = &c->values[i];
        if (value->key == 0 || !cli_has_key(keys, value->key))
            continue;
        if (neumeta_options_parse(*options, value->name, value->text) != NEUMETA_OK)
            code = cli_usage(c, "%s", neumeta_context_message(c->context));
    }
    if (code != CLI_OK) {
        neumeta_options_free(*options);
        *options = NULL;
    }
    return code;
}

int cli_set_json(const cli *c, neumeta_options *options, const char *where, const char *name,
                 const json_t *value)
{
    char *text = cli_json_text(value);
    int code = CLI_OK;
    if (text == NULL)
        code = cli_usage(c, "%s: '%s' must be a text, a number, or a list of numbers", where, name);
    else if (neumeta_options_parse(options, name, text) != NEUMETA_OK)
        code = cli_usage(c, "%s: %s", where, neumeta_context_message(c->context));
    free(text);
    return code;
}
