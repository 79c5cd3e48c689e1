/* SPDX-License-Identifier: MIT */
/* Fronts as rows, and the sizes that --max-... and --min-score ask for. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>

const cli_column cli_front_columns[] = {
    {"multiply_adds", "multiply-adds", 1, 0},
    {"parameters", "parameters", 1, 0},
    {"bytes", "tensor bytes", 1, 0},
    {"latency_us", "latency us", 1, 1},
    {"accuracy", "accuracy %", 100, 2},
    {"sizes", "sizes", 1, 0},
    {NULL, NULL, 0, 0},
};

static int add_entry(const cli *c, const cli_model *model, int32_t entry, int64_t *sizes,
                     json_t *rows)
{
    double score = 0, latency = 0;
    int64_t bytes = 0;
    int code = cli_check(c,
                         neumeta_manifold_front_entry(model->manifold, entry, sizes, model->axes,
                                                      &score, NULL, NULL, &bytes, &latency),
                         NULL);
    json_t *row = json_pack("{s:f, s:I, s:f}", "accuracy", score, "bytes", (json_int_t)bytes,
                            "latency_us", latency);
    if (code == CLI_OK)
        code = cli_describe(c, model->topology, sizes, NAN, row);
    json_array_append_new(rows, row);
    return code;
}

int cli_front(const cli *c, const cli_model *model, json_t *rows)
{
    int64_t *sizes = calloc((size_t)model->axes, sizeof *sizes);
    int code = sizes != NULL ? CLI_OK : cli_no_memory(c);
    for (int32_t i = 0; i < neumeta_manifold_front_count(model->manifold) && code == CLI_OK; i++)
        code = add_entry(c, model, i, sizes, rows);
    free(sizes);
    return code;
}

const cli_keys cli_budget_keys[] = {{NEUMETA_KEY_MAX_PARAMETERS, NEUMETA_KEY_MIN_SCORE}, {0, 0}};

bool cli_has_budget(const cli *c)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (c->values[i].key != 0 && cli_has_key(cli_budget_keys, c->values[i].key))
            return true;
    return false;
}

int cli_budget(const cli *c, const cli_model *model, int64_t *sizes, json_t *row)
{
    neumeta_options *budget = NULL;
    double score = NAN, latency = NAN;
    int code = cli_settings(c, cli_budget_keys, &budget);
    if (code == CLI_OK)
        code = cli_check(c,
                         neumeta_manifold_fit_budget(model->manifold, budget, sizes, model->axes,
                                                     &score, &latency),
                         NULL);
    if (isfinite(score))
        json_object_set_new(row, "accuracy", json_real(score));
    if (isfinite(latency))
        json_object_set_new(row, "latency_us", json_real(latency));
    neumeta_options_free(budget);
    return code;
}
