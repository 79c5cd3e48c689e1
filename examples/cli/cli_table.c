/* SPDX-License-Identifier: MIT */
/* Results are JSON objects; here they become JSON lines or a table. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_MAX = 96, COLUMNS_MAX = 32 }; /* no table has as many columns */

/* "32 64 128" for {"conv1": 32, ...}: the axes are named once, below the table. */
static void write_sizes(const json_t *sizes, char cell[CELL_MAX])
{
    size_t length = 0;
    const char *name;
    json_t *value;
    cell[0] = '\0';
    json_object_foreach ((json_t *)sizes, name, value) {
        int written = snprintf(cell + length, CELL_MAX - length, "%s%" JSON_INTEGER_FORMAT,
                               length > 0 ? " " : "", json_integer_value(value));
        if (written < 0 || (size_t)written >= CELL_MAX - length) {
            memcpy(cell + CELL_MAX - 4, "...", 4);
            return;
        }
        length += (size_t)written;
    }
}

static void write_cell(const json_t *row, const cli_column *column, char cell[CELL_MAX])
{
    const json_t *value = json_object_get(row, column->key);
    double scale = column->scale != 0 ? column->scale : 1;
    if (json_is_string(value))
        snprintf(cell, CELL_MAX, "%s", json_string_value(value));
    else if (json_is_number(value))
        snprintf(cell, CELL_MAX, "%.*f", column->decimals, scale * json_number_value(value));
    else if (json_is_boolean(value))
        snprintf(cell, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_object(value))
        write_sizes(value, cell);
    else
        snprintf(cell, CELL_MAX, "-");
    cli_clean(cell);
}

/* How a column is shown. */
typedef struct layout {
    bool used; /* some row has it */
    bool left;
    int width;
} layout;

static layout lay_out(const json_t *rows, const cli_column *column)
{
    char cell[CELL_MAX];
    size_t width = strlen(column->title);
    const json_t *first = json_object_get(json_array_get(rows, 0), column->key);
    layout l = {.left = json_is_string(first) || json_is_object(first)};
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        l.used = l.used || json_object_get(row, column->key) != NULL;
        write_cell(row, column, cell);
        width = strlen(cell) > width ? strlen(cell) : width;
    }
    /* Nothing follows the last column, so it needs no blanks behind. */
    l.width = l.left && column[1].key == NULL ? 0 : (int)width;
    return l;
}

/* One line of the table; row NULL: the titles. */
static void print_line(const json_t *row, const cli_column *columns, const layout *layouts)
{
    char cell[CELL_MAX];
    bool first = true;
    for (size_t i = 0; columns[i].key != NULL; i++) {
        if (!layouts[i].used)
            continue;
        if (row != NULL)
            write_cell(row, &columns[i], cell);
        else
            snprintf(cell, sizeof cell, "%s", columns[i].title);
        printf(layouts[i].left ? "%s%-*s" : "%s%*s", first ? "" : "  ", layouts[i].width, cell);
        first = false;
    }
    printf("\n");
}

static void print_axes(const json_t *rows)
{
    const json_t *sizes = json_object_get(json_array_get(rows, 0), "sizes");
    if (json_object_size(sizes) == 0)
        return;
    const char *name;
    json_t *value;
    printf("sizes:");
    json_object_foreach ((json_t *)sizes, name, value) {
        char cell[CELL_MAX];
        snprintf(cell, sizeof cell, "%s", name);
        printf(" %s", cli_clean(cell));
    }
    printf("\n");
}

void cli_print_rows(const cli *c, const json_t *rows, const cli_column *columns)
{
    if (c->json) {
        cli_write_rows(c, rows, "-");
        return;
    }
    bool sizes = false;
    layout layouts[COLUMNS_MAX];
    for (size_t i = 0; columns[i].key != NULL; i++) {
        layouts[i] = lay_out(rows, &columns[i]);
        sizes = sizes || strcmp(columns[i].key, "sizes") == 0;
    }
    print_line(NULL, columns, layouts);
    for (size_t i = 0; i < json_array_size(rows); i++)
        print_line(json_array_get(rows, i), columns, layouts);
    if (sizes)
        print_axes(rows);
}

int cli_write_rows(const cli *c, const json_t *rows, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *out = standard ? stdout : fopen(path, "w");
    if (out == NULL)
        return cli_fail(c, "%s cannot be written: %s", path, strerror(errno));
    for (size_t i = 0; i < json_array_size(rows); i++)
        cli_put_json(out, json_array_get(rows, i), 9);
    bool failed = ferror(out) != 0;
    if (!standard)
        failed = fclose(out) != 0 || failed;
    return failed ? cli_fail(c, "%s could not be written", path) : CLI_OK;
}
