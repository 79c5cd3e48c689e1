/* SPDX-License-Identifier: MIT */
/* Progress of calls that take long and are no training. */
#include "cli.h"

#include <math.h>
#include <unistd.h>

void cli_watch_begin(cli_watch *watch, const cli *c, const char *doing, const char *name)
{
    *watch = (cli_watch){.c = c, .doing = doing, .name = name, .start = cli_seconds()};
    watch->line = isatty(STDERR_FILENO) == 1;
    cli_catch_signals();
}

int32_t cli_watch_step(void *user, double done)
{
    cli_watch *w = user;
    const double now = cli_seconds();
    if (!w->c->quiet && w->line) {
        cli_overwrite(w->c, "%s: %s, %d %%", w->name, w->doing, (int)(100 * done));
    } else if (!w->c->quiet && (now >= w->next || done >= 1)) {
        json_t *row = json_pack("{s:s, s:s, s:f, s:f}", "event", "progress", w->doing, w->name,
                                "progress", done, "seconds", round(10 * (now - w->start)) / 10);
        cli_put_json(stderr, row, 6);
        json_decref(row);
        w->next = now + CLI_LINE_SECONDS;
    }
    return cli_interrupted();
}

int cli_watch_end(const cli_watch *watch, neumeta_status status)
{
    if (watch->line)
        cli_overwrite(watch->c, "%s", "");
    return status == NEUMETA_CANCELLED ? CLI_CANCELLED : cli_check(watch->c, status, watch->name);
}
