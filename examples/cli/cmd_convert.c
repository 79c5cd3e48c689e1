/* SPDX-License-Identifier: MIT */
/* neumeta convert: a manifold or network in another type of numbers. */
#include "cli.h"

#include <sys/stat.h>

static const cli_option options[] = {
    {"output", "FILE", "the converted file, as safetensors"},
    {"topology", "NAME", "built-in topology of a network file"},
    {"norm", "NAME",
     "a network file's norm: none, batch, or how it was replaced: fold, skip-init, "
     "sqrt-half, affine, group (default batch)"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE},
    {NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT},
    {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
    {NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_RESIDUAL_LEARNED},
    {0, 0},
};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"file_bytes", "file bytes", 1, 0},
    {"file_bytes_before", "bytes before", 1, 0},
    {NULL, NULL, 0, 0},
};

static json_int_t bytes_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? (json_int_t)about.st_size : 0;
}

static int convert_manifold(const cli *c, const char *input, const char *output,
                            const neumeta_options *storage)
{
    neumeta_manifold *manifold = NULL;
    int code = cli_check_manifold_options(c);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_load(c->context, input, &manifold), input);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_save_as(manifold, output, storage), output);
    neumeta_manifold_free(manifold);
    return code;
}

static int convert_network(const cli *c, const char *input, const char *output,
                           const neumeta_options *storage)
{
    neumeta_network *network = NULL;
    int code = cli_network(c, NULL, "topology", input, &network);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_save_as(network, output, storage), output);
    neumeta_network_free(network);
    return code;
}

static int run(cli *c)
{
    const char *output, *input = c->operand_count == 1 ? c->operands[0] : NULL;
    json_t *header = NULL;
    neumeta_options *storage = NULL;
    int code = cli_require(c, "output", &output);
    if (code == CLI_OK && input == NULL)
        code = cli_usage(c, "give one manifold or network file");
    if (code == CLI_OK)
        code = cli_check_apart(c, &(cli_file){"--output", output}, 1, false);
    if (code == CLI_OK)
        code = cli_check_output(c, output, true);
    if (code == CLI_OK)
        code = cli_header(c, input, &header);
    const json_int_t before = code == CLI_OK ? bytes_of(input) : 0;
    if (code == CLI_OK)
        code = cli_settings(c, cli_storage_keys, &storage);
    if (code == CLI_OK)
        code = cli_header_kind(header)[0] == 'm' ? convert_manifold(c, input, output, storage)
                                                 : convert_network(c, input, output, storage);
    if (code == CLI_OK) {
        json_t *rows = json_pack("[{s:s, s:I, s:I}]", "output", output, "file_bytes",
                                 bytes_of(output), "file_bytes_before", before);
        cli_print_rows(c, rows, columns);
        json_decref(rows);
    }
    neumeta_options_free(storage);
    json_decref(header);
    return code;
}

const cli_command cmd_convert = {
    .name = "convert",
    .summary = "write a manifold or network in another type of numbers",
    .synopsis = "FILE --output FILE [--storage TYPE] [OPTION...]",
    .text =
        "With --storage f16 or bf16 a file takes half the bytes; its numbers are rounded, those "
        "of f16 to 11\nbinary digits and those of bf16 to 8. A network file needs --topology.\n",
    .examples = "  neumeta convert manifold.safetensors --storage f16 --output half.safetensors\n",
    .options = options,
    .keys = keys,
    .run = run,
};
