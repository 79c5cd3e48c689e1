/* SPDX-License-Identifier: MIT */
/* Failures, notes, signals, and the progress of a training: everything on stderr. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CELLS = 24 };
static const double bar_interval = 0.1, line_interval = CLI_LINE_SECONDS;

/* As vprintf() would print it, without control characters, for free(); NULL if memory ran out. */
static char *make_text(const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, values);
    return text != NULL ? cli_clean(text) : NULL;
}

static void say(const cli *c, const char *format, va_list values)
{
    char *text = make_text(format, values);
    fprintf(stderr, "neumeta %s: %s\n", c->command->name, text != NULL ? text : "out of memory");
    free(text);
}

int cli_fail(const cli *c, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(c, format, values);
    va_end(values);
    return CLI_FAILED;
}

int cli_usage(const cli *c, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    say(c, format, values);
    va_end(values);
    return CLI_USAGE;
}

int cli_no_memory(const cli *c)
{
    return cli_fail(c, "out of memory");
}

/* Whether the sentence names this file already, in the library's quotes. */
static bool names(const char *message, const char *what)
{
    size_t length = strlen(what);
    for (const char *at = strchr(message, '\''); at != NULL; at = strchr(at + 1, '\''))
        if (strncmp(at + 1, what, length) == 0 && at[1 + length] == '\'')
            return true;
    return false;
}

int cli_check_hint(const cli *c, neumeta_status status, const char *what, const char *hint)
{
    if (status == NEUMETA_OK)
        return CLI_OK;
    const char *message = neumeta_context_message(c->context);
    bool named = what == NULL || names(message, what);
    cli_fail(c, "%s%s%s%s", named ? "" : what, named ? "" : ": ",
             message[0] != '\0' ? message : neumeta_status_name(status), hint);
    return status == NEUMETA_CANCELLED      ? CLI_CANCELLED
           : status == NEUMETA_ERR_ARGUMENT ? CLI_USAGE
                                            : CLI_FAILED;
}

int cli_check(const cli *c, neumeta_status status, const char *what)
{
    return cli_check_hint(c, status, what, "");
}

void cli_note(const cli *c, const char *format, ...)
{
    va_list values;
    if (c->quiet)
        return;
    va_start(values, format);
    say(c, format, values);
    va_end(values);
}

void cli_overwrite(const cli *c, const char *format, ...)
{
    va_list values;
    if (c->quiet)
        return;
    va_start(values, format);
    char *text = make_text(format, values);
    va_end(values);
    fprintf(stderr, "\r%s\033[K", text != NULL ? text : "");
    free(text);
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- signals --------------------------------------------------------------------------------- */

/* The one mutable global: a signal handler reaches nothing else. */
static volatile sig_atomic_t interrupted;

static void catch_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void cli_catch_signals(void)
{
    /* A second signal ends the process, whatever it is doing. */
    struct sigaction action = {.sa_handler = catch_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

/* --- progress -------------------------------------------------------------------------------- */

typedef struct state {
    double share, epoch, loss, rate, score, speed;
    double fitted; /* share of the INRs' fit while it runs, else NaN */
    int phase;
    const char *phase_name;
} state;

void cli_progress_begin(cli_progress *progress, const cli *c, const char *name)
{
    progress->c = c;
    progress->name = name;
    progress->bar = isatty(STDERR_FILENO) == 1;
    progress->start = -1;
    progress->next = 0;
    progress->score = NAN;
    progress->phase = 0;
}

static double metric(const neumeta_trainer *trainer, int32_t which)
{
    double value = NAN;
    return neumeta_trainer_metric(trainer, which, &value) == NEUMETA_OK ? value : NAN;
}

static state read_state(const cli_progress *progress, const neumeta_trainer *trainer)
{
    double phase = metric(trainer, NEUMETA_METRIC_PHASE);
    state s = {
        .share = metric(trainer, NEUMETA_METRIC_PROGRESS),
        .epoch = metric(trainer, NEUMETA_METRIC_EPOCH),
        .loss = metric(trainer, NEUMETA_METRIC_LOSS),
        .rate = metric(trainer, NEUMETA_METRIC_LEARNING_RATE),
        .score = metric(trainer, NEUMETA_METRIC_HELD_OUT_SCORE),
        .speed = metric(trainer, NEUMETA_METRIC_ITEMS_PER_SECOND),
        .fitted = metric(trainer, NEUMETA_METRIC_FIT),
        .phase = isfinite(phase) ? (int)phase : 0,
    };
    const char *name = neumeta_schedule_phase_name(progress->schedule, s.phase);
    s.phase_name = name != NULL ? name : "";
    return s;
}

static const char *fill_bar(double share, char cells[BAR_CELLS + 1])
{
    int done = (int)(share * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        cells[i] = i < done ? '=' : i == done ? '>' : ' ';
    cells[BAR_CELLS] = '\0';
    return cells;
}

static void show_bar(const cli_progress *progress, const state *s, double now)
{
    char cells[BAR_CELLS + 1], score[32] = "", left[32] = "";
    if (isfinite(s->fitted)) {
        cli_overwrite(progress->c, "%s [%s] %3d %%  %s  fitting to the reference or data",
                      progress->name, fill_bar(s->fitted, cells), (int)(100 * s->fitted),
                      s->phase_name);
        return;
    }
    if (isfinite(s->score))
        snprintf(score, sizeof score, "  held out %.2f %%", 100 * s->score);
    double gone = s->share - progress->first;
    if (gone > 0.001 && now - progress->begun > 1) {
        int seconds = (int)((now - progress->begun) * (1 - s->share) / gone);
        snprintf(left, sizeof left, "  %d:%02d left", seconds / 60, seconds % 60);
    }
    cli_overwrite(progress->c, "%s [%s] %3d %%  %s  epoch %.1f  loss %.3f  %.0f images/s%s%s",
                  progress->name, fill_bar(s->share, cells), (int)(100 * s->share), s->phase_name,
                  s->epoch, s->loss, s->speed, score, left);
}

static void set_finite(json_t *row, const char *name, double value)
{
    if (isfinite(value))
        json_object_set_new(row, name, json_real(value));
}

static void show_line(const cli_progress *progress, const state *s, double now)
{
    json_t *row = json_pack("{s:s, s:s, s:i, s:s}", "event", "progress", "training", progress->name,
                            "phase", s->phase, "phase_name", s->phase_name);
    set_finite(row, "seconds", round(10 * (now - progress->start)) / 10);
    set_finite(row, "progress", s->share);
    set_finite(row, "fitted", s->fitted);
    if (!isfinite(s->fitted)) {
        set_finite(row, "epoch", s->epoch);
        set_finite(row, "loss", s->loss);
        set_finite(row, "learning_rate", s->rate);
        set_finite(row, "images_per_second", round(s->speed));
        set_finite(row, "held_out_score", s->score);
    }
    cli_put_json(stderr, row, 6);
    json_decref(row);
}

int32_t cli_progress_step(void *user, neumeta_trainer *trainer)
{
    cli_progress *progress = user;
    double now = cli_seconds();
    state s = read_state(progress, trainer);
    if (progress->start < 0 || isfinite(s.fitted)) {
        progress->begun = now;
        progress->first = s.share;
    }
    if (progress->start < 0)
        progress->start = now;
    /* A terminal wants life; a log wants what is new. */
    bool news = !progress->bar && (s.phase != progress->phase || s.share >= 1 ||
                                   (isfinite(s.score) && s.score != progress->score));
    if (!progress->c->quiet && (now >= progress->next || news)) {
        if (progress->bar)
            show_bar(progress, &s, now);
        else
            show_line(progress, &s, now);
        progress->next = now + (progress->bar ? bar_interval : line_interval);
        progress->score = s.score;
        progress->phase = s.phase;
    }
    progress->late = progress->deadline > 0 && now >= progress->deadline;
    return cli_interrupted() || progress->late;
}

void cli_progress_end(cli_progress *progress)
{
    if (progress->bar && !progress->c->quiet && progress->start >= 0)
        fputc('\n', stderr);
}
