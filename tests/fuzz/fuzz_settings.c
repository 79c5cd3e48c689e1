/* SPDX-License-Identifier: MIT */
/* Any bytes as a settings file of the command, for `neumeta train`: refused with a sentence, or its
 * settings are taken by an options handle or refused there. */
#include "cli.h"
#include "nmi_fuzz.h"

#include <getopt.h>

const cli_command *const cli_commands[] = {&cmd_train, NULL};

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    char path[128], name[] = "train", option[] = "--settings";
    char *arguments[] = {name, option, path, NULL};
    cli c = {.command = &cmd_train, .program = "neumeta"};
    neumeta_options *options = NULL;
    snprintf(path, sizeof path, "%s", fuzz_file(data, size));
    optind = 0; /* begin anew, for each input */
    int code = cli_arguments(&c, 3, arguments);
    require(code == -1 || code == CLI_FAILED || code == CLI_USAGE);
    if (code == -1) {
        c.context = context;
        fuzz_begin();
        code = cli_settings(&c, cmd_train.keys, &options);
        require((code == CLI_OK) == (options != NULL));
        neumeta_options_free(options);
        c.context = NULL; /* which is the driver's */
    }
    cli_release(&c);
}
