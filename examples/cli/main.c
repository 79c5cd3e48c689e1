/* SPDX-License-Identifier: MIT */
/* The `neumeta` command: finds the subcommand and gives it its arguments and a context. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

const cli_command *const cli_commands[] = {
    &cmd_fetch,       &cmd_train,   &cmd_calibrate, &cmd_search, &cmd_evaluate, &cmd_inspect,
    &cmd_materialize, &cmd_convert, &cmd_smooth,    &cmd_bench,  &cmd_plot,     NULL,
};

static void print_words(const char *before, const char *words, const char *after)
{
    char *copy = strdup(words);
    fprintf(stderr, "%s%s%s\n", before, copy != NULL ? cli_clean(copy) : "", after);
    free(copy);
}

static void print_log(void *user, int32_t level, const char *message)
{
    const cli *c = user;
    /* A failure comes as a status too, and is told by cli_check(). */
    if (!c->quiet && level != NEUMETA_LOG_ERROR)
        print_words("", message, "");
}

static int open_context(cli *c)
{
    double threads, seed;
    int code = cli_number(c, "threads", 0, 4096, 0, &threads);
    if (code == CLI_OK)
        code = cli_number(c, "seed", 0, 9007199254740991.0, 0, &seed);
    if (code != CLI_OK)
        return code;
    if (neumeta_context_create(NULL, NULL, NULL, &c->context) != NEUMETA_OK)
        return cli_no_memory(c);
    int32_t level = cli_flag(c, "verbose") ? NEUMETA_LOG_DEBUG : NEUMETA_LOG_WARNING;
    code = cli_check(c, neumeta_context_set_log(c->context, print_log, c, level), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_context_set_threads(c->context, (int32_t)threads), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_context_set_seed(c->context, (uint64_t)seed), NULL);
    return code;
}

static const cli_command *find_command(const char *name)
{
    for (int i = 0; cli_commands[i] != NULL; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

static int run_command(const cli_command *command, const char *program, int argc, char **argv)
{
    cli c = {.command = command, .program = program};
    int code = cli_arguments(&c, argc, argv);
    if (code < 0) {
        code = open_context(&c);
        if (code == CLI_OK)
            code = command->run(&c);
    }
    cli_release(&c);
    return code;
}

static int run_words(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--version") == 0) {
        printf("neumeta %s\n", neumeta_version());
        return CLI_OK;
    }
    const cli_command *command = find_command(name);
    if (command != NULL)
        return run_command(command, argv[0], argc - 1, argv + 1);
    if (strcmp(name, "help") == 0 && argc > 2 && (command = find_command(argv[2])) != NULL) {
        cli_help(command, stdout);
        return CLI_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        cli_help(NULL, argc > 1 ? stdout : stderr);
        return argc > 1 ? CLI_OK : CLI_USAGE;
    }
    print_words("neumeta: there is no command '", name, "'; see neumeta --help");
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    const int code = run_words(argc, argv);
    /* A full disk or a closed pipe shows up here at the latest. */
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "neumeta: the output could not be written\n");
    return code == CLI_OK ? CLI_FAILED : code;
}
