/* SPDX-License-Identifier: MIT */
/* neumeta inspect: what is in a file, or in a built-in topology. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const cli_option options[] = {
    {"topology", "NAME", "built-in topology of a network file, or alone to look at"},
    {"norm", "NAME",
     "the file's norm: none, batch, or how it was replaced: fold, skip-init, "
     "sqrt-half, affine, group (default batch)"},
    {"tensors", NULL, "list the tensors, too"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT},
    {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
    {NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_RESIDUAL_LEARNED},
    {0, 0},
};
static const cli_column fact_columns[] = {
    {"name", "what", 1, 0}, {"value", "value", 1, 0}, {NULL, NULL, 0, 0}};
static const cli_column axis_columns[] = {
    {"number", "number", 1, 0}, {"axis", "axis", 1, 0},
    {"kind", "kind", 1, 0},     {"min", "min", 1, 0},
    {"max", "max", 1, 0},       {"step", "step", 1, 0},
    {"size", "size", 1, 0},     {"trained", "trained from", 1, 0},
    {NULL, NULL, 0, 0},
};
static const cli_column block_columns[] = {
    {"block", "block", 1, 0}, {"name", "name", 1, 0}, {NULL, NULL, 0, 0}};
static const cli_column tensor_columns[] = {
    {"tensor", "tensor", 1, 0},
    {"type", "type", 1, 0},
    {"shape", "shape", 1, 0},
    {NULL, NULL, 0, 0},
};

/* With --json all parts go into one object; else each is a table of its own. */
static void add_part(const cli *c, json_t *all, const char *name, json_t *rows,
                     const cli_column *columns)
{
    if (!c->json && json_array_size(rows) > 0) {
        cli_print_rows(c, rows, columns);
        printf("\n");
    }
    json_object_set_new(all, name, rows);
}

static void add_fact(json_t *facts, const char *name, json_t *value)
{
    json_array_append_new(facts, json_pack("{s:s, s:o}", "name", name, "value", value));
}

/* --- a topology ------------------------------------------------------------------------------ */

static int add_own_cost(const cli *c, const neumeta_topology *topology, const int64_t *sizes,
                        json_t *facts)
{
    int64_t parameters = 0, flops = 0;
    int code =
        cli_check(c,
                  neumeta_topology_cost(topology, sizes, neumeta_topology_axis_count(topology),
                                        &parameters, &flops),
                  NULL);
    add_fact(facts, "parameters", json_integer(parameters));
    add_fact(facts, "multiply-adds", json_integer(flops / 2));
    return code;
}

/* Of the topology at uniform compressions. */
static int add_costs(const cli *c, const neumeta_topology *topology, int64_t *sizes, json_t *facts)
{
    static const double gammas[] = {0, 0.25, 0.5, 0.75};
    int32_t axes = neumeta_topology_axis_count(topology);
    for (size_t i = 0; i < sizeof gammas / sizeof *gammas; i++) {
        char name[64];
        int64_t parameters = 0, flops = 0;
        neumeta_status status = neumeta_topology_sizes_at(topology, gammas[i], sizes, axes);
        if (status == NEUMETA_OK)
            status = neumeta_topology_cost(topology, sizes, axes, &parameters, &flops);
        if (status != NEUMETA_OK)
            return cli_check(c, status, NULL);
        snprintf(name, sizeof name, "parameters at gamma %g", gammas[i]);
        add_fact(facts, name, json_integer(parameters));
        snprintf(name, sizeof name, "multiply-adds at gamma %g", gammas[i]);
        add_fact(facts, name, json_integer(flops / 2));
    }
    return CLI_OK;
}

/* `network` may be NULL; its sizes are then not shown. `least` may be NULL, too: the smallest sizes
 * that training drew. */
static int show_topology(const cli *c, const neumeta_topology *topology,
                         const neumeta_network *network, const int64_t *least, json_t *all,
                         json_t *facts)
{
    int32_t axes = neumeta_topology_axis_count(topology);
    json_t *axis_rows = json_array(), *block_rows = json_array();
    int64_t sizes[4096];
    int code = axes <= 4096 ? CLI_OK : cli_fail(c, "more than 4096 axes");
    if (code == CLI_OK && network != NULL)
        code = cli_check(c, neumeta_network_sizes(network, sizes, axes), NULL);
    if (code == CLI_OK && network != NULL)
        code = add_own_cost(c, topology, sizes, facts);
    for (int32_t i = 0; i < axes && code == CLI_OK; i++) {
        const char *name = NULL;
        int32_t kind = 0;
        int64_t minimum = 0, maximum = 0, step = 0;
        neumeta_topology_axis(topology, i, &name, &kind, &minimum, &maximum, &step);
        json_t *row =
            json_pack("{s:i, s:s, s:s, s:I, s:I, s:I}", "number", i, "axis", name, "kind",
                      kind == NEUMETA_AXIS_DEPTH ? "depth" : "width", "min", (json_int_t)minimum,
                      "max", (json_int_t)maximum, "step", (json_int_t)step);
        if (network != NULL)
            json_object_set_new(row, "size", json_integer(sizes[i]));
        if (least != NULL)
            json_object_set_new(row, "trained", json_integer(least[i]));
        json_array_append_new(axis_rows, row);
    }
    for (int32_t i = 0; i < neumeta_topology_block_count(topology); i++)
        json_array_append_new(block_rows, json_pack("{s:i, s:s}", "block", i, "name",
                                                    neumeta_topology_block_name(topology, i)));
    if (code == CLI_OK)
        code = add_costs(c, topology, sizes, facts);
    add_part(c, all, "facts", json_incref(facts), fact_columns);
    add_part(c, all, "axes", axis_rows, axis_columns);
    add_part(c, all, "blocks", block_rows, block_columns);
    return code;
}

/* --- a file ---------------------------------------------------------------------------------- */

/* INT64_MAX: as many or more. */
static int64_t count_elements(const json_t *shape)
{
    int64_t elements = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const int64_t size = (int64_t)json_integer_value(json_array_get(shape, i));
        if (size <= 0)
            return 0;
        elements = elements > INT64_MAX / size ? INT64_MAX : elements * size;
    }
    return elements;
}

static json_t *list_tensors(const json_t *header, int64_t *elements)
{
    json_t *rows = json_array();
    const char *name;
    json_t *tensor;
    *elements = 0;
    json_object_foreach ((json_t *)header, name, tensor) {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        const json_t *shape = json_object_get(tensor, "shape");
        const char *type = json_string_value(json_object_get(tensor, "dtype"));
        json_array_append_new(rows, json_pack("{s:s, s:s, s:O?}", "tensor", name, "type",
                                              type != NULL ? type : "?", "shape", shape));
        const int64_t own = count_elements(shape);
        *elements = own > INT64_MAX - *elements ? INT64_MAX : *elements + own;
    }
    return rows;
}

/* Long ones, topologies and checksums, are left out. */
static void add_metadata(const json_t *header, json_t *facts)
{
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(header, "__metadata__"), name, value) {
        if (json_is_string(value) && strcmp(name, "neumeta.topology") != 0 &&
            strncmp(name, "neumeta.front", 13) != 0 && strcmp(name, "neumeta.checksums") != 0)
            add_fact(facts, name, json_incref(value));
    }
}

/* The front's table, and what was measured how. */
static int show_front(const cli *c, const cli_model *model, json_t *all, json_t *facts)
{
    int64_t items = 0;
    const char *kernels = NULL;
    json_t *rows = json_array();
    int code = cli_front(c, model, rows);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_front_origin(model->manifold, &items, &kernels), NULL);
    if (code == CLI_OK) {
        add_fact(facts, "items that judged the front", json_integer(items));
        add_fact(facts, "kernels of the front's latencies", json_string(kernels));
    }
    add_part(c, all, "front", rows, cli_front_columns);
    return code;
}

static int show_manifold_topology(const cli *c, const cli_model *model, json_t *all, json_t *facts)
{
    int64_t *least = calloc((size_t)model->axes, sizeof *least);
    if (least == NULL)
        return cli_no_memory(c);
    const bool known =
        neumeta_manifold_trained_sizes(model->manifold, least, model->axes) == NEUMETA_OK;
    const int code = show_topology(c, model->topology, NULL, known ? least : NULL, all, facts);
    free(least);
    return code;
}

static int show_manifold(const cli *c, const char *path, json_t *all, json_t *facts)
{
    cli_model model;
    int64_t parameters = 0;
    int code = cli_model_open(c, NULL, path, &model);
    if (code != CLI_OK)
        return code;
    code = cli_check(c, neumeta_manifold_parameters(model.manifold, &parameters), path);
    add_fact(facts, "parameters of the manifold", json_integer(parameters));
    if (code == CLI_OK && neumeta_manifold_front_count(model.manifold) > 0)
        code = show_front(c, &model, all, facts);
    if (code == CLI_OK)
        code = show_manifold_topology(c, &model, all, facts);
    cli_model_release(&model);
    return code;
}

static int show_network(const cli *c, const char *path, json_t *all, json_t *facts)
{
    neumeta_network *network = NULL;
    neumeta_topology *topology = NULL;
    int code = cli_network(c, NULL, "topology", path, &network);
    if (code == CLI_OK && path != NULL) {
        char fingerprint[CLI_FINGERPRINT];
        code = cli_fingerprint(c, network, fingerprint);
        add_fact(facts, "fingerprint", json_string(fingerprint));
    }
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_topology(network, &topology), NULL);
    if (code == CLI_OK)
        code = show_topology(c, topology, path != NULL ? network : NULL, NULL, all, facts);
    neumeta_topology_free(topology);
    neumeta_network_free(network);
    return code;
}

static int show_file(const cli *c, const char *path, json_t *all)
{
    json_t *header = NULL, *facts = json_array();
    int64_t elements = 0;
    int code = cli_header(c, path, &header);
    if (code == CLI_OK) {
        const char *kind = cli_header_kind(header);
        json_t *tensors = list_tensors(header, &elements);
        add_fact(facts, "file", json_string(path));
        add_fact(facts, "kind", json_string(kind[0] != '\0' ? kind : "foreign safetensors"));
        add_fact(facts, "tensors", json_integer((json_int_t)json_array_size(tensors)));
        add_fact(facts, "values",
                 elements < INT64_MAX ? json_integer(elements) : json_string("too many"));
        add_metadata(header, facts);
        if (strcmp(kind, "manifold") == 0)
            code = show_manifold(c, path, all, facts);
        else if (cli_flag(c, "topology"))
            code = show_network(c, path, all, facts);
        else
            add_part(c, all, "facts", json_incref(facts), fact_columns);
        /* A file that we know nothing else about shows its tensors. */
        bool wanted = cli_flag(c, "tensors") || (kind[0] == '\0' && !cli_flag(c, "topology"));
        if (code == CLI_OK && (wanted || c->json))
            add_part(c, all, "tensors", json_incref(tensors), tensor_columns);
        json_decref(tensors);
    }
    json_decref(facts);
    json_decref(header);
    return code;
}

static int run(cli *c)
{
    json_t *all = json_object();
    int code = CLI_OK;
    if (c->operand_count > 1 || (c->operand_count == 0 && !cli_flag(c, "topology"))) {
        code = cli_usage(c, "give one file, or --topology NAME alone");
    } else if (c->operand_count == 1) {
        code = show_file(c, c->operands[0], all);
    } else {
        json_t *facts = json_array();
        add_fact(facts, "topology", json_string(cli_text(c, "topology")));
        code = show_network(c, NULL, all, facts);
        json_decref(facts);
    }
    if (code == CLI_OK && c->json) {
        cli_put_json(stdout, all, 9);
    }
    json_decref(all);
    return code;
}

const cli_command cmd_inspect = {
    .name = "inspect",
    .summary = "show what a file holds, or what axes and blocks a topology has",
    .synopsis = "FILE | --topology NAME [OPTION...]",
    .text =
        "Knows networks, manifolds and checkpoints of this library and any other safetensors file. "
        "The axes of\na manifold or topology are what --size and --sizes of other commands name.\n",
    .examples = "  neumeta inspect manifold.safetensors\n"
                "  neumeta inspect --topology resnet20-cifar --channels 32\n"
                "  neumeta inspect lenet.safetensors --topology lenet --tensors\n",
    .options = options,
    .keys = keys,
    .run = run,
};
