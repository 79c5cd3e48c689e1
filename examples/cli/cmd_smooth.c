/* SPDX-License-Identifier: MIT */
/* neumeta smooth: replaces the norm and reorders the channels of a network file. */
#include "cli.h"

static const cli_option options[] = {
    {"output", "FILE", "the smoothed network, as safetensors"},
    {"topology", "NAME", "the file's built-in topology"},
    {"norm", "NAME",
     "the file's norm: none, batch, or how it was replaced: fold, skip-init, "
     "sqrt-half, affine, group (default batch)"},
    {"replace-norm", "NAME",
     "replace batch norm first: fold, skip-init, sqrt-half, affine or group"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT},
    {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
    {NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_SMOOTH_TIME_LIMIT},
    {0, 0},
};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"roughness_before", "roughness before", 1, 2},
    {"roughness_after", "after", 1, 2},
    {"seconds", "seconds", 1, 1},
    {NULL, NULL, 0, 0},
};

static int run(cli *c)
{
    const char *output;
    neumeta_network *network = NULL;
    double before = 0, after = 0;
    int code = cli_require(c, "output", &output);
    if (code == CLI_OK && c->operand_count != 1)
        code = cli_usage(c, "give one network file");
    if (code == CLI_OK)
        code = cli_check_apart(c, &(cli_file){"--output", output}, 1, false);
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    if (code == CLI_OK)
        code = cli_network(c, NULL, "topology", c->operands[0], &network);
    if (code == CLI_OK)
        code = cli_replace_norm(c, network);
    double start = cli_seconds();
    if (code == CLI_OK)
        code = cli_smooth(c, network, &before, &after);
    double seconds = cli_seconds() - start;
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_save(network, output), NULL);
    if (code == CLI_OK) {
        json_t *rows = json_pack("[{s:s, s:f, s:f, s:f}]", "output", output, "roughness_before",
                                 before, "roughness_after", after, "seconds", seconds);
        cli_print_rows(c, rows, columns);
        json_decref(rows);
    }
    neumeta_network_free(network);
    return code;
}

const cli_command cmd_smooth = {
    .name = "smooth",
    .summary = "reorder the channels of a network so that neighbours are alike, or by importance",
    .synopsis = "FILE --topology NAME --output FILE [OPTION...]",
    .text =
        "The network computes the same as before; a manifold learns smooth weights more easily. "
        "Prints the\ntotal variation before and after. Give the output's --norm to the commands "
        "that read it: what\n--replace-norm said here, if it was given.\n",
    .examples =
        "  neumeta smooth lenet.safetensors --topology lenet --replace-norm fold --output "
        "s.safetensors\n"
        "  neumeta smooth r20.safetensors --topology resnet20-cifar --smooth-time-limit 30 \\\n"
        "      --output s.safetensors\n",
    .options = options,
    .keys = keys,
    .run = run,
};
