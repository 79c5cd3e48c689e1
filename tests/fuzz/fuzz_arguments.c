/* SPDX-License-Identifier: MIT */
/* Any words as the arguments of a command, which the first byte chooses: refused with a sentence,
 * or its settings, numbers and sizes are taken or refused there. No word may name a file elsewhere.
 */
#include "cli.h"
#include "nmi_fuzz.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 32 };

const cli_command *const cli_commands[] = {
    &cmd_fetch,       &cmd_train,   &cmd_calibrate, &cmd_search, &cmd_evaluate, &cmd_inspect,
    &cmd_materialize, &cmd_convert, &cmd_smooth,    &cmd_bench,  &cmd_plot,     NULL,
};
enum { COMMANDS = sizeof cli_commands / sizeof *cli_commands - 1 };

static void require_told(int code)
{
    require(code == CLI_OK || code == CLI_FAILED || code == CLI_USAGE);
}

/* Every option with a value as a number, and as a list of them. */
static void read_numbers(const cli *c)
{
    for (const cli_option *o = c->command->options; o->name != NULL; o++) {
        double number, *numbers = NULL;
        size_t count = 0;
        if (o->argument == NULL)
            continue;
        require_told(cli_number(c, o->name, -1, 1e6, 0, &number));
        const int code = cli_numbers(c, o->name, 0, 1, &numbers, &count);
        require_told(code);
        require(numbers == NULL || (code == CLI_OK && count > 0));
        free(numbers);
    }
}

static void read_sizes(const cli *c, neumeta_topology *topology)
{
    const cli_model model = {.topology = topology, .axes = neumeta_topology_axis_count(topology)};
    cli_size_list list;
    const int code = cli_sizes(c, &model, &list);
    require_told(code);
    require(code != CLI_OK || list.count > 0);
    cli_sizes_release(&list);
}

static void read_all(cli *c, neumeta_context *context)
{
    neumeta_topology *topology = NULL;
    neumeta_options *settings = NULL;
    c->context = context;
    require(neumeta_topology_create_builtin(context, "lenet", NULL, &topology) == NEUMETA_OK);
    fuzz_begin();
    require_told(cli_settings(c, c->command->keys, &settings));
    read_numbers(c);
    read_sizes(c, topology);
    neumeta_options_free(settings);
    neumeta_topology_free(topology);
    c->context = NULL; /* which is the driver's */
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    fuzz_bytes bytes = {data, size};
    char *words[WORDS + 1] = {NULL};
    int count = 1;
    if (size > 0 && memchr(data, '/', size) != NULL)
        return;
    cli c = {.command = cli_commands[fuzz_choice(&bytes, COMMANDS)], .program = "neumeta"};
    words[0] = strdup(c.command->name);
    require(words[0] != NULL);
    while (count < WORDS && bytes.size > 0)
        words[count++] = fuzz_text(&bytes, '\n');
    optind = 0; /* begin anew, for each input */
    const int code = cli_arguments(&c, count, words);
    require(code == -1 || code == CLI_OK || code == CLI_FAILED || code == CLI_USAGE);
    if (code == -1)
        read_all(&c, context);
    cli_release(&c);
    for (int i = 0; i < count; i++)
        free(words[i]);
}
