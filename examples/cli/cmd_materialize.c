/* SPDX-License-Identifier: MIT */
/* neumeta materialize: one network out of a manifold, as a file of its own. */
#include "cli.h"

#include <sys/stat.h>

static const cli_option options[] = {
    {"output", "FILE", "the network, as safetensors"},
    {"gamma", "G", "every inner width compressed by this share, 0 is full"},
    {"size", "AXIS=N", "size of an axis, which may hold *; repeat it for several axes"},
    {"sizes", "N,N,...", "one size for each axis that varies"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {{NEUMETA_KEY_SAMPLES, NEUMETA_KEY_NOISE_DRAW},
                                {NEUMETA_KEY_CLEAN_SAMPLE, NEUMETA_KEY_CLEAN_SAMPLE},
                                {NEUMETA_KEY_PRECISION, NEUMETA_KEY_PRECISION},
                                {0, 0}};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"gamma", "gamma", 1, 3},
    {"sizes", "sizes", 1, 0},
    {"parameters", "parameters", 1, 0},
    {"multiply_adds", "multiply-adds", 1, 0},
    {"bytes", "bytes", 1, 0},
    {"materialize_ms", "make ms", 1, 2},
    {NULL, NULL, 0, 0},
};

static int report(const cli *c, const cli_model *model, const cli_size_list *list,
                  const char *output, double milliseconds)
{
    struct stat about;
    json_t *row = json_pack("{s:s}", "output", output);
    json_t *rows = json_pack("[o]", row);
    int code = cli_describe(c, model->topology, list->sizes, list->gammas[0], row);
    if (code == CLI_OK) {
        if (stat(output, &about) == 0)
            json_object_set_new(row, "bytes", json_integer((json_int_t)about.st_size));
        json_object_set_new(row, "materialize_ms", json_real(milliseconds));
        cli_print_rows(c, rows, columns);
    }
    json_decref(rows);
    return code;
}

static int run(cli *c)
{
    const char *output;
    cli_model model = {.manifold = NULL};
    cli_size_list list = {.sizes = NULL};
    neumeta_network *network = NULL;
    double milliseconds = 0;
    int code = cli_require(c, "output", &output);
    if (code == CLI_OK && c->operand_count != 1)
        code = cli_usage(c, "give one manifold file");
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    json_t *header = NULL;
    if (code == CLI_OK)
        code = cli_header(c, c->operands[0], &header);
    if (code == CLI_OK && cli_header_kind(header)[0] != 'm')
        code = cli_fail(c, "%s is no manifold", c->operands[0]);
    json_decref(header);
    if (code == CLI_OK)
        code = cli_model_open(c, NULL, c->operands[0], &model);
    if (code == CLI_OK)
        code = cli_sizes(c, &model, &list);
    if (code == CLI_OK && list.count != 1)
        code = cli_usage(c, "these options ask for %zu networks, must be one", list.count);
    if (code == CLI_OK)
        code = cli_model_network(c, &model, list.sizes, &network, &milliseconds);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_save(network, output), NULL);
    if (code == CLI_OK)
        code = report(c, &model, &list, output, milliseconds);
    neumeta_network_free(network);
    cli_sizes_release(&list);
    cli_model_release(&model);
    return code;
}

const cli_command cmd_materialize = {
    .name = "materialize",
    .summary = "make a network of a manifold at given sizes",
    .synopsis = "MANIFOLD --output FILE [OPTION...]",
    .text =
        "Writes an ordinary network, which needs the manifold no more. Without --gamma, --size or "
        "--sizes it\nis the full one; sizes outside the trained range are extrapolated. Prints "
        "parameters,\nmultiply-adds of one image, bytes of the file, and the time it took.\n",
    .examples = "  neumeta materialize manifold.safetensors --gamma 0.5 --output half.safetensors\n"
                "  neumeta materialize manifold.safetensors --size 'layer3.*=40' --samples 100 "
                "--output m40.safetensors\n",
    .options = options,
    .keys = keys,
    .run = run,
};
