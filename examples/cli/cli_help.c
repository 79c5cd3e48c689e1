/* SPDX-License-Identifier: MIT */
/* What --help and --help-settings print. */
#include "cli.h"

#include <string.h>

enum { OPTION_WIDTH = 26, LINE_WIDTH = 96 };

/* "  --option ARGUMENT   help", broken between words and indented. */
static void print_entry(FILE *out, const char *option, const char *argument, const char *help)
{
    char head[128];
    snprintf(head, sizeof head, "--%s%s%s", option,
             argument[0] != '\0' && argument[0] != '[' ? " " : "", argument);
    int column = fprintf(out, "  %-*s", OPTION_WIDTH, head);
    if (strlen(head) >= OPTION_WIDTH)
        column = fprintf(out, "\n%*s", OPTION_WIDTH + 2, "") - 1;
    while (*help != '\0') {
        int length = (int)strcspn(help, " ");
        if (column + 1 + length > LINE_WIDTH)
            column = fprintf(out, "\n%*s", OPTION_WIDTH + 2, "") - 1;
        column += fprintf(out, " %.*s", length, help);
        help += length + (help[length] != '\0');
    }
    fprintf(out, "\n");
}

static bool is_option(const cli_command *command, const char *name)
{
    for (const cli_option *o = command->options; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return true;
    return false;
}

/* The word of a choice with this index in "first|second". */
static void choice_word(const char *choices, int index, char *word, size_t size)
{
    for (; index > 0 && strchr(choices, '|') != NULL; index--)
        choices = strchr(choices, '|') + 1;
    snprintf(word, size, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void print_setting(FILE *out, int32_t key)
{
    char option[64], argument[128] = "TEXT", initial[64], help[512];
    int32_t type = 0;
    double minimum = 0, maximum = 0, first = 0;
    const char *unit = neumeta_key_unit(key);
    if (neumeta_key_bounds(key, &type, &minimum, &maximum, &first) != NEUMETA_OK)
        return;
    cli_key_option(key, option, sizeof option);
    snprintf(help, sizeof help, "%s", neumeta_key_help(key));
    if (type == NEUMETA_TYPE_CHOICE) {
        snprintf(argument, sizeof argument, "%s", unit);
        choice_word(unit, (int)first, initial, sizeof initial);
        snprintf(help, sizeof help, "%s (default %s)", neumeta_key_help(key), initial);
    } else if (type == NEUMETA_TYPE_BOOL) {
        snprintf(help, sizeof help, "%s: 0 or 1 (default %g)", neumeta_key_help(key), first);
        snprintf(argument, sizeof argument, "%s", "[=0|1]");
    } else if (type != NEUMETA_TYPE_TEXT) {
        bool list = type == NEUMETA_TYPE_INTS || type == NEUMETA_TYPE_REALS;
        snprintf(argument, sizeof argument, "%s", list ? "N,..." : "N");
        snprintf(initial, sizeof initial, "; default %g", first);
        snprintf(help, sizeof help, "%s (%s%s%g to %g%s)", neumeta_key_help(key), unit,
                 unit[0] != '\0' ? ", " : "", minimum, maximum, list ? "" : initial);
    }
    print_entry(out, option, argument, help);
}

void cli_help_settings(const cli_command *command, FILE *out)
{
    fprintf(out, "Library settings that `neumeta %s` takes, as options or in a settings file:\n\n",
            command->name);
    for (int32_t i = 0, key; (key = neumeta_key_at(i)) != 0; i++) {
        char option[64];
        cli_key_option(key, option, sizeof option);
        if (cli_has_key(command->keys, key) && !is_option(command, option))
            print_setting(out, key);
    }
    fprintf(out, "\nRecipes, and the manifold of a file, have defaults of their own for some of "
                 "these.\n");
}

static void print_options(FILE *out, const cli_option *options)
{
    for (; options->name != NULL; options++)
        print_entry(out, options->name, options->argument != NULL ? options->argument : "",
                    options->help);
}

static void print_overview(FILE *out)
{
    fprintf(out, "neumeta: one trained manifold yields a network at any width and depth.\n\n"
                 "Usage: neumeta COMMAND [OPTION...]\n\nCommands:\n");
    for (int i = 0; cli_commands[i] != NULL; i++)
        fprintf(out, "  %-12s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fprintf(out,
            "\n`neumeta COMMAND --help` explains a command with examples; `neumeta --version` "
            "tells the version.\n\n"
            "The usual way, here with Fashion-MNIST:\n\n"
            "  neumeta fetch fashion-mnist --to data\n"
            "  neumeta train --data data --topology lenet --epochs 5 --output lenet.safetensors\n"
            "  neumeta train --manifold --data data --topology lenet --reference "
            "lenet.safetensors \\\n"
            "      --replace-norm fold --smooth --epochs 5 --output manifold.safetensors\n"
            "  neumeta evaluate manifold.safetensors --data data --gamma 0,0.25,0.5,0.75\n"
            "  neumeta materialize manifold.safetensors --gamma 0.5 --output half.safetensors\n\n"
            "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.\n");
}

void cli_help(const cli_command *command, FILE *out)
{
    if (command == NULL) {
        print_overview(out);
        return;
    }
    fprintf(out, "neumeta %s: %s\n\nUsage: neumeta %s %s\n\n%s\nExamples:\n\n%s\nOptions:\n",
            command->name, command->summary, command->name, command->synopsis, command->text,
            command->examples);
    print_options(out, command->options);
    fprintf(out, "\nOptions of every command:\n");
    print_options(out, cli_common_options);
    if (command->keys->first != 0)
        fprintf(out, "\nMore settings: neumeta %s --help-settings\n", command->name);
}
