/* SPDX-License-Identifier: MIT */
/* neumeta plot: results as a picture. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES_MAX = 64 };

static const cli_option options[] = {
    {"output", "FILE", "SVG file to write; - for stdout"},
    {"x", "MEMBER", "member of the results along x (default multiply_adds)"},
    {"y", "MEMBER", "member along y (default accuracy, shown in percent)"},
    {"series", "MEMBER", "one line for each value of this member (default: one for each file)"},
    {"points", "NAME", "draw this line as points only; may be repeated"},
    {"title", "TEXT", "above the plot"},
    {"x-title", "TEXT", "below the x axis"},
    {"y-title", "TEXT", "beside the y axis"},
    {"log", NULL, "logarithmic x axis"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {{0, 0}};

typedef struct point {
    double x, y;
} point;

/* Takes "sizes.AXIS" too, whatever is in the axis' name. */
static const json_t *find_member(const json_t *row, const char *name)
{
    if (strncmp(name, "sizes.", 6) == 0)
        return json_object_get(json_object_get(row, "sizes"), name + 6);
    return json_object_get(row, name);
}

static cli_series *find_series(const cli *c, cli_plot *plot, const char *name)
{
    for (size_t i = 0; i < plot->count; i++)
        if (strcmp(plot->series[i].name, name) == 0)
            return &plot->series[i];
    char *copy = strdup(name);
    if (plot->count == SERIES_MAX || copy == NULL) {
        free(copy);
        cli_fail(c, "more than %d lines to plot", SERIES_MAX);
        return NULL;
    }
    plot->series[plot->count] = (cli_series){.name = copy};
    return &plot->series[plot->count++];
}

static int add_point(const cli *c, cli_series *series, double x, double y)
{
    double *xs = realloc(series->x, (series->count + 1) * sizeof *xs);
    series->x = xs != NULL ? xs : series->x;
    double *ys = realloc(series->y, (series->count + 1) * sizeof *ys);
    series->y = ys != NULL ? ys : series->y;
    if (xs == NULL || ys == NULL)
        return cli_no_memory(c);
    series->x[series->count] = x;
    series->y[series->count++] = y;
    return CLI_OK;
}

/* The legend's name of a file: "width" for "results/width.jsonl". */
static char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return strndup(name, dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name));
}

/* Rows without the members, such as reports of progress, are no points. */
static int add_row(const cli *c, const json_t *row, const char *file, cli_plot *plot)
{
    const char *x_name = cli_text(c, "x"), *y_name = cli_text(c, "y");
    const char *by = cli_text(c, "series");
    const json_t *x = find_member(row, x_name != NULL ? x_name : "multiply_adds");
    const json_t *y = find_member(row, y_name != NULL ? y_name : "accuracy");
    if (!json_is_number(x) || !json_is_number(y))
        return CLI_OK;
    double percent = y_name == NULL || strcmp(y_name, "accuracy") == 0 ? 100 : 1;
    double at_x = json_number_value(x), at_y = percent * json_number_value(y);
    if (!isfinite(at_y))
        return cli_fail(c, "%s: %g is too much to show in percent", file, json_number_value(y));
    if (cli_flag(c, "log") && at_x <= 0)
        return cli_fail(c, "%s: a logarithmic axis cannot show %g", file, at_x);
    char *name = by != NULL ? cli_json_text(find_member(row, by)) : base_name(file);
    cli_series *series = find_series(c, plot, name != NULL ? name : "");
    free(name);
    return series != NULL ? add_point(c, series, at_x, at_y) : CLI_FAILED;
}

static int read_file(const cli *c, const char *path, cli_plot *plot)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "r");
    if (file == NULL)
        return cli_fail(c, "%s cannot be opened: %s", path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    int code = CLI_OK;
    for (int number = 1; code == CLI_OK && getline(&line, &capacity, file) >= 0; number++) {
        if (line[strspn(line, " \t\r\n")] == '\0')
            continue;
        json_t *row = json_loads(line, 0, NULL);
        code = json_is_object(row) ? add_row(c, row, path, plot)
                                   : cli_fail(c, "%s, line %d is no JSON object", path, number);
        json_decref(row);
    }
    free(line);
    if (!standard)
        fclose(file);
    return code;
}

static int compare(const void *a, const void *b)
{
    const point *left = a, *right = b;
    return (left->x > right->x) - (left->x < right->x);
}

/* A line runs from left to right. */
static int sort_series(const cli *c, cli_series *series)
{
    point *points = malloc(series->count * sizeof *points);
    if (points == NULL)
        return cli_no_memory(c);
    for (size_t i = 0; i < series->count; i++)
        points[i] = (point){series->x[i], series->y[i]};
    qsort(points, series->count, sizeof *points, compare);
    for (size_t i = 0; i < series->count; i++) {
        series->x[i] = points[i].x;
        series->y[i] = points[i].y;
    }
    free(points);
    return CLI_OK;
}

/* Lines that --points names become points; a name that no line has is a mistake. */
static int mark_points(const cli *c, cli_plot *plot)
{
    size_t position = 0;
    const char *name;
    while ((name = cli_next(c, "points", &position)) != NULL) {
        bool found = false;
        for (size_t i = 0; i < plot->count; i++)
            if (strcmp(plot->series[i].name, name) == 0)
                found = plot->series[i].points = true;
        if (!found)
            return cli_usage(c, "--points: no line is named '%s'", name);
    }
    return CLI_OK;
}

static const char *title_of(const cli *c, const char *option, const char *member,
                            const char *initial)
{
    static const char *const titles[][2] = {
        {"multiply_adds", "multiply-adds of one image"},
        {"parameters", "parameters"},
        {"accuracy", "accuracy, %"},
        {"gamma", "compression gamma"},
        {"bytes", "bytes"},
        {"image_us", "microseconds an image"},
        {"materialize_ms", "milliseconds to materialise"},
    };
    const char *text = cli_text(c, option);
    const char *name = cli_text(c, member);
    name = name != NULL ? name : initial;
    for (size_t i = 0; text == NULL && i < sizeof titles / sizeof *titles; i++)
        if (strcmp(titles[i][0], name) == 0)
            text = titles[i][1];
    return text != NULL ? text : name;
}

static int run(cli *c)
{
    const char *output;
    cli_series series[SERIES_MAX];
    cli_plot plot = {
        .title = cli_text(c, "title"),
        .x_title = title_of(c, "x-title", "x", "multiply_adds"),
        .y_title = title_of(c, "y-title", "y", "accuracy"),
        .logarithmic = cli_flag(c, "log"),
        .series = series,
    };
    plot.title = plot.title != NULL ? plot.title : "";
    int code = cli_require(c, "output", &output);
    if (code == CLI_OK && c->operand_count == 0)
        code = cli_usage(c, "give at least one file of JSON lines, or - for stdin");
    if (code == CLI_OK && strcmp(output, "-") != 0)
        code = cli_check_apart(c, &(cli_file){"--output", output}, 1, false);
    for (int i = 0; i < c->operand_count && code == CLI_OK; i++)
        code = read_file(c, c->operands[i], &plot);
    if (code == CLI_OK && plot.count == 0)
        code = cli_fail(c, "no line has values for both axes, \"%s\" and \"%s\"", plot.x_title,
                        plot.y_title);
    if (code == CLI_OK)
        code = mark_points(c, &plot);
    for (size_t i = 0; i < plot.count && code == CLI_OK; i++)
        code = sort_series(c, &series[i]);
    if (code == CLI_OK)
        code = cli_svg_write(c, &plot, output);
    for (size_t i = 0; i < plot.count; i++) {
        free(series[i].name);
        free(series[i].x);
        free(series[i].y);
    }
    return code;
}

const cli_command cmd_plot = {
    .name = "plot",
    .summary = "draw results as SVG",
    .synopsis = "RESULTS... --output FILE.svg [OPTION...]",
    .text =
        "Reads JSON lines as `neumeta evaluate --json` prints them and draws one line for each "
        "file,\nnamed after it, or for each value of --series. The members of a line name what can "
        "be drawn: "
        "accuracy,\nloss, gamma, parameters, multiply_adds, bytes, image_us, materialize_ms, or "
        "the size\nof an axis as sizes.AXIS.\n",
    .examples =
        "  neumeta plot results.jsonl --output accuracy.svg\n"
        "  neumeta plot plain.jsonl integrated.jsonl --x sizes.layer3.2.inner --output width.svg\n",
    .options = options,
    .keys = keys,
    .run = run,
};
