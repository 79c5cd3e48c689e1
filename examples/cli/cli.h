/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the `neumeta` command share.
 *
 * Functions that can fail return an exit code: 0, or after one sentence on stderr CLI_FAILED or
 * CLI_USAGE, so that a command returns what the call that failed returned.
 */
#ifndef CLI_H
#define CLI_H

#include <neumeta.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_CANCELLED = 130 };
/* Only between readers: what was looked for is not there. */
enum { CLI_ABSENT = -1 };

/* --- the command line (cli_arguments.c, cli_help.c) ------------------------------------------ */

typedef struct cli_option {
    const char *name;
    const char *argument; /* what --help calls the value; NULL: a flag */
    const char *help;
} cli_option;

/* Settings from one key to another, both included. */
typedef struct cli_keys {
    int32_t first, last;
} cli_keys;

typedef struct cli cli;

typedef struct cli_command {
    const char *name;
    const char *summary;  /* one line */
    const char *synopsis; /* what follows the name */
    const char *text;     /* paragraphs of --help */
    const char *examples;
    const cli_option *options; /* ends with a NULL name */
    const cli_keys *keys;      /* ends with {0, 0} */
    int (*run)(cli *);
} cli_command;

extern const cli_command cmd_fetch, cmd_train, cmd_calibrate, cmd_search, cmd_evaluate, cmd_inspect,
    cmd_materialize, cmd_convert, cmd_smooth, cmd_bench, cmd_plot;
extern const cli_command *const cli_commands[]; /* ends with NULL */
extern const cli_option cli_common_options[];   /* of every command */

/* One option that was given; `key` is 0 for options that are no library settings. */
typedef struct cli_value {
    const char *name;
    int32_t key;
    char *text;
    bool from_file;
} cli_value;

struct cli {
    const cli_command *command;
    const char *program; /* how this program was called */
    cli_value *values;   /* those of the settings file first */
    size_t value_count, value_capacity;
    json_t *phases; /* "phases" of the settings file, or NULL */
    char **operands;
    int operand_count;
    neumeta_context *context;
    bool json, quiet;
};

/* Reads options, settings file and operands. Returns -1 to go on, or the exit code. */
int cli_arguments(cli *c, int argc, char **argv);
void cli_release(cli *c);
void cli_help(const cli_command *command, FILE *out);
void cli_help_settings(const cli_command *command, FILE *out);
/* "learning-rate" for "LEARNING_RATE"; `size` is that of `option`. */
void cli_key_option(int32_t key, char *option, size_t size);

/* The value that counts: the last on the command line, else the file's; NULL if not given. */
const char *cli_text(const cli *c, const char *name);
bool cli_flag(const cli *c, const char *name);
/* The next value of an option that may be repeated, from *position = 0 on; NULL at the end. */
const char *cli_next(const cli *c, const char *name, size_t *position);
int cli_require(const cli *c, const char *name, const char **text);
int cli_number(const cli *c, const char *name, double minimum, double maximum, double initial,
               double *number);
/* Comma-separated numbers in [minimum, maximum]; *numbers (NULL if not given) goes to free(). */
int cli_numbers(const cli *c, const char *name, double minimum, double maximum, double **numbers,
                size_t *count);
/* Options with the given settings of these keys; free them. */
int cli_settings(const cli *c, const cli_keys *keys, neumeta_options **options);
bool cli_has_key(const cli_keys *keys, int32_t key);
/* Sets one JSON member, for settings of a file; `where` starts the sentence about a failure. */
int cli_set_json(const cli *c, neumeta_options *options, const char *where, const char *name,
                 const json_t *value);
/* The text of a JSON string, number, truth value or list of them, for free(); NULL if other. */
char *cli_json_text(const json_t *value);
int cli_read_json(const cli *c, const char *path, json_t **value);

/* --- saying things (cli_print.c, cli_report.c, cli_table.c, cli_watch.c) --- */

/* Makes each control character a '?', in place; returns the text. */
char *cli_clean(char *text);
/* One line, with so many digits of real numbers. */
void cli_put_json(FILE *out, const json_t *value, size_t digits);

#if defined(__GNUC__)
#define CLI_FORMAT __attribute__((format(printf, 2, 3)))
#else
#define CLI_FORMAT
#endif

/* "neumeta train: sentence" on stderr; returns CLI_FAILED or CLI_USAGE. */
int cli_fail(const cli *c, const char *format, ...) CLI_FORMAT;
int cli_usage(const cli *c, const char *format, ...) CLI_FORMAT;
int cli_no_memory(const cli *c);
/* CLI_OK for NEUMETA_OK, else says the context's sentence and returns CLI_USAGE if an argument was
 * wrong. `what` (may be NULL) starts the sentence unless it is named there. */
int cli_check(const cli *c, neumeta_status status, const char *what);
/* The same; `hint` ends the sentence. */
int cli_check_hint(const cli *c, neumeta_status status, const char *what, const char *hint);
/* What is being done, on stderr, unless --quiet. */
void cli_note(const cli *c, const char *format, ...) CLI_FORMAT;
/* What is being done, in the place of the terminal's present line; "" clears that. */
void cli_overwrite(const cli *c, const char *format, ...) CLI_FORMAT;
double cli_seconds(void); /* since some fixed moment */

/* From now on Ctrl-C and termination set a flag once instead of ending the process: for work that
 * looks at it and has something to keep. */
void cli_catch_signals(void);
bool cli_interrupted(void);

/* Between two JSON lines of progress, of anything that takes long. */
enum { CLI_LINE_SECONDS = 5 };

/* Watches a trainer: a bar on a terminal, JSON lines otherwise; stops it when interrupted. */
typedef struct cli_progress {
    const cli *c;
    const neumeta_schedule *schedule;
    const char *name; /* what is being trained */
    double deadline;  /* of cli_seconds(), 0: none */
    bool late;        /* whether the deadline stopped it */
    bool bar;
    double start;        /* time of the first call */
    double begun, first; /* time and share done at the first step, the last fit of INRs over */
    double next;
    double score; /* last held-out score told */
    int phase;
} cli_progress;
void cli_progress_begin(cli_progress *progress, const cli *c, const char *name);
int32_t cli_progress_step(void *progress, neumeta_trainer *trainer);
void cli_progress_end(cli_progress *progress);

/* The same for calls with a neumeta_watch_fn: catches signals from the beginning on. */
typedef struct cli_watch {
    const cli *c;
    const char *doing, *name; /* "calibrating", what */
    bool line;                /* progress on one line of a terminal, not as JSON lines */
    double start, next;
} cli_watch;
void cli_watch_begin(cli_watch *watch, const cli *c, const char *doing, const char *name);
int32_t cli_watch_step(void *watch, double done);
/* CLI_CANCELLED, without a sentence, if interrupted; else what cli_check() says. */
int cli_watch_end(const cli_watch *watch, neumeta_status status);

/* A column takes member `key` of each row; reals are shown times `scale` with `decimals`. */
typedef struct cli_column {
    const char *key, *title;
    double scale;
    int decimals;
} cli_column;

/* Prints rows (a list of JSON objects): JSON lines with --json, else a table of these columns
 * (which end with a NULL key), without those that no row has. */
void cli_print_rows(const cli *c, const json_t *rows, const cli_column *columns);
/* Writes rows as JSON lines; "-" is stdout. */
int cli_write_rows(const cli *c, const json_t *rows, const char *path);

/* --- data (cli_data.c, data_*.c) ----------------------------------------------------------- */

/* Images as bytes, [train + test, channels, height, width], training items first. */
typedef struct cli_data {
    int64_t channels, height, width, classes;
    int64_t train, test;
    unsigned char *pixels;
    unsigned char *labels;
    double mean[3], deviation[3]; /* used unless DATA_MEAN and DATA_STD say otherwise */
} cli_data;

/* Fill a data set from a folder; CLI_ABSENT, without a sentence, if it does not hold this kind. */
int data_idx_read(const cli *c, const char *folder, cli_data *data);
int data_cifar_read(const cli *c, const char *folder, cli_data *data);
/* Rewrites tall PNGs (a row an image, a column a pixel) and JSON labels as CIFAR's binary files. */
int data_cifar_from_png(const cli *c, const char *source, const char *target);
/* 8-bit RGB, [height, width, 3], for free(). */
int data_png_read(const cli *c, const char *path, int64_t *width, int64_t *height,
                  unsigned char **pixels);

/* Reads the folder that --data names; free both. The dataset borrows from `data`. */
int cli_data_open(const cli *c, cli_data *data, neumeta_dataset **dataset);
void cli_data_release(cli_data *data);

/* --- files (cli_files.c) --------------------------------------------------------------------- */

/* "folder/name", for free(). */
char *cli_path(const char *folder, const char *name);
bool cli_exists(const char *path);
/* Whether both names mean one file, or will once it is written. */
bool cli_same_file(const char *path, const char *other);
/* Whether a file can be written there later, so that no long work is lost. `replaced`: the library
 * writes it, which makes a new file beside it. */
int cli_check_output(const cli *c, const char *path, bool replaced);
/* A file that will be written, and what names it: "--output". */
typedef struct cli_file {
    const char *name, *path;
} cli_file;
/* Refuses files that would replace each other or one that is read: by an option, or, unless the
 * command may work `in_place`, as an operand. */
int cli_check_apart(const cli *c, const cli_file *written, size_t count, bool in_place);

/* --- other programs (cli_process.c) --------------------------------------------------------- */

/* Runs argv[0] (found in PATH, NULL-terminated) in `folder` (NULL: here). With `output`, takes up
 * to `size` - 1 bytes of its stdout. */
int cli_run(const cli *c, const char *folder, char *const *argv, char *output, size_t size);
bool cli_has_program(const char *name);
/* The checksum by sha256sum, 64 letters and a NUL. */
int cli_sha256(const cli *c, const char *path, char sum[65]);

/* --- networks and sizes (cli_network.c, cli_sizes.c, cli_header.c) --- */

extern const cli_keys cli_data_keys[];

/* A network of the topology that `option` names ("topology"), with its settings, whose norm is as
 * --norm says: from a file, or for path NULL a fresh one. The shape of the input and the classes
 * follow `data` unless it is NULL. */
int cli_network(const cli *c, const cli_data *data, const char *option, const char *path,
                neumeta_network **network);
extern const cli_keys cli_norm_keys[];   /* of the replacement of norms */
extern const cli_keys cli_smooth_keys[]; /* of smoothing */

/* CLI_USAGE if the command line has one of the settings, which need something else to be said. */
int cli_refuse_keys(const cli *c, const cli_keys *keys, const char *needed);
/* CLI_USAGE if options are given that describe the topology of a network file. */
int cli_check_manifold_options(const cli *c);
/* Applies --replace-norm, if given. */
int cli_replace_norm(const cli *c, neumeta_network *network);
/* Calibrates at sizes as training draws them, with progress under `name`; CLI_CANCELLED, without a
 * sentence, if interrupted. `error` receives that of sizes left out, NAN: none was. */
int cli_calibrate(const cli *c, neumeta_manifold *manifold, neumeta_dataset *dataset,
                  const char *name, double *error);
/* Reorders channels; `before` and `after` receive the total variation. */
int cli_smooth(const cli *c, neumeta_network *network, double *before, double *after);
/* Bytes of all tensors. */
int64_t cli_network_bytes(const neumeta_network *network);

/* What a command evaluates or exports: a network or a manifold; the other is NULL. */
typedef struct cli_model {
    neumeta_manifold *manifold;
    neumeta_network *network;
    neumeta_topology *topology;
    neumeta_options *sampling; /* of manifolds */
    int32_t axes;
} cli_model;
int cli_model_open(const cli *c, const cli_data *data, const char *path, cli_model *model);
/* The same, and refuses files of other kinds. */
int cli_manifold_open(const cli *c, const char *path, cli_model *model);
void cli_model_release(cli_model *model);
/* The network at these sizes (of a network: its own), to be freed, and the milliseconds that making
 * it took. */
int cli_model_network(const cli *c, const cli_model *model, const int64_t *sizes,
                      neumeta_network **network, double *milliseconds);

enum { CLI_FINGERPRINT = 2 * NEUMETA_FINGERPRINT_BYTES + 1 };
int cli_fingerprint(const cli *c, const neumeta_network *network, char text[CLI_FINGERPRINT]);

/* Sizes to evaluate, one after another in `sizes`, each with the gamma it came from (NaN: none). */
typedef struct cli_size_list {
    int64_t *sizes; /* [count, axes] */
    double *gammas;
    size_t count, capacity;
    int32_t axes;
} cli_size_list;
/* What --gamma, --size and --sizes ask for; without them the full sizes. */
int cli_sizes(const cli *c, const cli_model *model, cli_size_list *list);
/* The same where there may be only one. */
int cli_one_size(const cli *c, const cli_model *model, cli_size_list *list);
void cli_sizes_release(cli_size_list *list);
/* Whether an axis has more than one size. */
bool cli_axis_varies(const neumeta_topology *topology, int32_t axis);
/* Adds "outside" to the row, and returns true, if training drew no sizes as small as these. */
bool cli_mark_outside(const cli_model *model, const int64_t *sizes, json_t *row);
/* Adds "gamma" (unless NaN), "sizes" (of the axes that vary), "parameters", "multiply_adds". */
int cli_describe(const cli *c, const neumeta_topology *topology, const int64_t *sizes, double gamma,
                 json_t *row);

/* --- fronts and budgets (cli_front.c) --- */

extern const cli_column cli_front_columns[];
/* One row for each entry of the manifold's front. */
int cli_front(const cli *c, const cli_model *model, json_t *rows);
extern const cli_keys cli_budget_keys[];
/* Whether a budget is given, and the sizes for it; adds what is known of "accuracy" and
 * "latency_us" to the row. */
bool cli_has_budget(const cli *c);
int cli_budget(const cli *c, const cli_model *model, int64_t *sizes, json_t *row);

/* The JSON header of a safetensors file. */
int cli_header(const cli *c, const char *path, json_t **header);
/* "manifold", "network", "checkpoint", or "" of a foreign file. */
const char *cli_header_kind(const json_t *header);
extern const cli_keys cli_storage_keys[]; /* of what writes a manifold or network */
/* Writes a manifold of a file back, in the type of numbers of --storage or else of that file. */
int cli_save_again(const cli *c, const neumeta_manifold *manifold, const char *file,
                   const char *output);

/* --- plots (cli_svg.c) --------------------------------------------------------------------- */

typedef struct cli_series {
    char *name;
    bool points; /* without a line between them */
    double *x, *y;
    size_t count;
} cli_series;

typedef struct cli_plot {
    const char *title, *x_title, *y_title;
    bool logarithmic; /* the x axis */
    cli_series *series;
    size_t count;
} cli_plot;
/* The caller has checked that there are finite points, above 0 if the axis is logarithmic. */
int cli_svg_write(const cli *c, const cli_plot *plot, const char *path);

#endif
