/* SPDX-License-Identifier: MIT */
/* Networks and manifolds from files and from the options that describe their topology. */
#include "cli.h"

#include <string.h>

static const cli_keys builtin_keys[] = {{NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT}, {0, 0}};
static const cli_keys loading_keys[] = {{NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_NAME_MAP}, {0, 0}};
const cli_keys cli_norm_keys[] = {{NEUMETA_KEY_RESIDUAL_SCALE, NEUMETA_KEY_RESIDUAL_LEARNED},
                                  {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
                                  {0, 0}};
const cli_keys cli_smooth_keys[] = {{NEUMETA_KEY_SMOOTH_SOLVER, NEUMETA_KEY_SMOOTH_TIME_LIMIT},
                                    {0, 0}};
static const cli_keys sampling_keys[] = {{NEUMETA_KEY_SAMPLES, NEUMETA_KEY_NOISE_DRAW},
                                         {NEUMETA_KEY_CLEAN_SAMPLE, NEUMETA_KEY_CLEAN_SAMPLE},
                                         {NEUMETA_KEY_PRECISION, NEUMETA_KEY_PRECISION},
                                         {0, 0}};

static const struct norm_name {
    const char *name;
    int32_t method; /* 0: not a replacement */
} norm_names[] = {
    {"none", 0},
    {"batch", 0},
    {"fold", NEUMETA_NORM_FOLD},
    {"skip-init", NEUMETA_NORM_SKIP_INIT},
    {"sqrt-half", NEUMETA_NORM_SQRT_HALF},
    {"affine", NEUMETA_NORM_AFFINE},
    {"group", NEUMETA_NORM_GROUP},
};

static int read_norm(const cli *c, const char *option, const char *initial, bool replacement,
                     const char **name, int32_t *method)
{
    const char *text = cli_text(c, option);
    text = text != NULL ? text : initial;
    for (size_t i = 0; i < sizeof norm_names / sizeof *norm_names; i++)
        if (strcmp(text, norm_names[i].name) == 0 && (!replacement || norm_names[i].method != 0)) {
            *name = norm_names[i].name;
            *method = norm_names[i].method;
            return CLI_OK;
        }
    return cli_usage(c, "--%s is '%s', must be one of %sfold, skip-init, sqrt-half, affine, group",
                     option, text, replacement ? "" : "none, batch, ");
}

static int set_input(const cli *c, const cli_data *data, neumeta_options *options)
{
    const struct {
        int32_t key;
        const char *name;
        int64_t value;
    } facts[] = {
        {NEUMETA_KEY_CLASSES, "classes", data->classes},
        {NEUMETA_KEY_INPUT_CHANNELS, "input-channels", data->channels},
        {NEUMETA_KEY_INPUT_HEIGHT, "input-height", data->height},
        {NEUMETA_KEY_INPUT_WIDTH, "input-width", data->width},
    };
    int code = CLI_OK;
    for (size_t i = 0; i < 4 && code == CLI_OK; i++)
        if (!cli_flag(c, facts[i].name) && facts[i].value > (facts[i].key == facts[0].key))
            code =
                cli_check(c, neumeta_options_set_int(options, facts[i].key, facts[i].value), NULL);
    return code;
}

static int check_name(const cli *c, const char *option, const char *name)
{
    char names[512] = "";
    size_t length = 0;
    const char *known;
    for (int32_t i = 0; (known = neumeta_topology_builtin_name(i)) != NULL; i++) {
        if (strcmp(known, name) == 0)
            return CLI_OK;
        if (length < sizeof names)
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                       i > 0 ? ", " : "", known);
    }
    return cli_usage(c, "--%s is '%s', must be one of %s", option, name, names);
}

/* The built-in topology, before any norm was replaced. */
static int open_builtin(const cli *c, const cli_data *data, const char *option, const char *norm,
                        neumeta_topology **topology)
{
    const char *name;
    neumeta_options *options = NULL;
    int code = cli_require(c, option, &name);
    if (code == CLI_OK)
        code = check_name(c, option, name);
    if (code == CLI_OK)
        code = cli_settings(c, builtin_keys, &options);
    if (code == CLI_OK && data != NULL)
        code = set_input(c, data, options);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_options_set_text(options, NEUMETA_KEY_NORM, norm), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_topology_create_builtin(c->context, name, options, topology),
                         NULL);
    neumeta_options_free(options);
    return code;
}

static int replace(const cli *c, neumeta_network *network, int32_t method)
{
    neumeta_options *options = NULL;
    int code = cli_settings(c, cli_norm_keys, &options);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_replace_norm(network, method, options), NULL);
    neumeta_options_free(options);
    return code;
}

/* Tensors of another norm are the usual reason why a file does not fit its topology. */
static int load(const cli *c, const neumeta_topology *topology, const char *path,
                neumeta_network **network)
{
    neumeta_options *options = NULL;
    int code = cli_settings(c, loading_keys, &options);
    if (code != CLI_OK)
        return code;
    neumeta_status status = neumeta_network_load(topology, path, options, network);
    neumeta_options_free(options);
    bool foreign = status == NEUMETA_ERR_FORMAT &&
                   (strstr(neumeta_context_message(c->context), "does not belong") != NULL ||
                    strstr(neumeta_context_message(c->context), "is missing") != NULL);
    return cli_check_hint(c, status, path,
                          !foreign ? ""
                          : cli_flag(c, "norm")
                              ? "; is its norm another one (--norm batch, the default)?"
                              : "; if its norm was folded or replaced, say so: --norm fold");
}

int cli_network(const cli *c, const cli_data *data, const char *option, const char *path,
                neumeta_network **network)
{
    const char *norm = NULL;
    int32_t method = 0;
    neumeta_topology *topology = NULL;
    *network = NULL;
    int code = read_norm(c, "norm", "batch", false, &norm, &method);
    if (code == CLI_OK)
        code = open_builtin(c, data, option, method != 0 ? "batch" : norm, &topology);
    /* A pass changes the graph: the same pass over any weights gives the file's. */
    if (code == CLI_OK && (path == NULL || method != 0))
        code = cli_check(c, neumeta_network_create(topology, NULL, 0, network), NULL);
    if (code == CLI_OK && method != 0)
        code = replace(c, *network, method);
    if (code == CLI_OK && method != 0 && path != NULL) {
        neumeta_topology_free(topology);
        topology = NULL;
        code = cli_check(c, neumeta_network_topology(*network, &topology), NULL);
        neumeta_network_free(*network);
        *network = NULL;
    }
    if (code == CLI_OK && path != NULL)
        code = load(c, topology, path, network);
    neumeta_topology_free(topology);
    if (code != CLI_OK) {
        neumeta_network_free(*network);
        *network = NULL;
    }
    return code;
}

int cli_replace_norm(const cli *c, neumeta_network *network)
{
    const char *name = NULL;
    int32_t method = 0;
    if (!cli_flag(c, "replace-norm"))
        return CLI_OK;
    int code = read_norm(c, "replace-norm", "", true, &name, &method);
    return code == CLI_OK ? replace(c, network, method) : code;
}

int cli_smooth(const cli *c, neumeta_network *network, double *before, double *after)
{
    neumeta_options *options = NULL;
    int code = cli_settings(c, cli_smooth_keys, &options);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_roughness(network, before), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_smooth(network, options), NULL);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_roughness(network, after), NULL);
    neumeta_options_free(options);
    return code;
}

int64_t cli_network_bytes(const neumeta_network *network)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < neumeta_network_tensor_count(network); i++) {
        const char *name;
        const float *values;
        int64_t dims[4];
        int32_t rank;
        if (neumeta_network_tensor(network, i, &name, dims, &rank, &values) != NEUMETA_OK)
            continue;
        int64_t elements = 1;
        for (int32_t d = 0; d < rank; d++)
            elements *= dims[d];
        bytes += elements * (int64_t)sizeof *values;
    }
    return bytes;
}

int cli_refuse_keys(const cli *c, const cli_keys *keys, const char *needed)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (!c->values[i].from_file && cli_has_key(keys, c->values[i].key))
            return cli_usage(c, "%s says nothing without %s", c->values[i].name, needed);
    return CLI_OK;
}

int cli_check_manifold_options(const cli *c)
{
    static const char *const names[] = {"topology", "norm"};
    static const cli_keys *const lists[] = {builtin_keys, loading_keys, cli_norm_keys};
    int code = CLI_OK;
    for (size_t i = 0; i < 2; i++)
        if (cli_flag(c, names[i]))
            return cli_usage(c, "--%s says nothing of a manifold, whose file tells its topology",
                             names[i]);
    for (size_t i = 0; i < 3 && code == CLI_OK; i++)
        code = cli_refuse_keys(c, lists[i], "a network file; a manifold's tells its topology");
    return code;
}

int cli_model_open(const cli *c, const cli_data *data, const char *path, cli_model *model)
{
    json_t *header = NULL;
    memset(model, 0, sizeof *model);
    int code = cli_header(c, path, &header);
    bool manifold = strcmp(cli_header_kind(header), "manifold") == 0;
    json_decref(header);
    if (code == CLI_OK && manifold && c->operand_count == 1) /* of more, some may be networks */
        code = cli_check_manifold_options(c);
    if (code == CLI_OK && manifold) {
        code = cli_check(c, neumeta_manifold_load(c->context, path, &model->manifold), path);
        if (code == CLI_OK)
            code = cli_check(c, neumeta_manifold_topology(model->manifold, &model->topology), NULL);
        if (code == CLI_OK)
            code = cli_settings(c, sampling_keys, &model->sampling);
    } else if (code == CLI_OK) {
        code = cli_network(c, data, "topology", path, &model->network);
        if (code == CLI_OK)
            code = cli_check(c, neumeta_network_topology(model->network, &model->topology), NULL);
    }
    if (code == CLI_OK)
        model->axes = neumeta_topology_axis_count(model->topology);
    else
        cli_model_release(model);
    return code;
}

int cli_manifold_open(const cli *c, const char *path, cli_model *model)
{
    json_t *header = NULL;
    int code = cli_header(c, path, &header);
    if (code == CLI_OK && strcmp(cli_header_kind(header), "manifold") != 0)
        code = cli_fail(c, "%s is no manifold", path);
    json_decref(header);
    return code == CLI_OK ? cli_model_open(c, NULL, path, model) : code;
}

void cli_model_release(cli_model *model)
{
    neumeta_options_free(model->sampling);
    neumeta_topology_free(model->topology);
    neumeta_network_free(model->network);
    neumeta_manifold_free(model->manifold);
    memset(model, 0, sizeof *model);
}

int cli_fingerprint(const cli *c, const neumeta_network *network, char text[CLI_FINGERPRINT])
{
    uint8_t bytes[NEUMETA_FINGERPRINT_BYTES];
    text[0] = '\0';
    const int code = cli_check(c, neumeta_network_fingerprint(network, bytes, sizeof bytes), NULL);
    for (int i = 0; i < NEUMETA_FINGERPRINT_BYTES && code == CLI_OK; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return code;
}

int cli_model_network(const cli *c, const cli_model *model, const int64_t *sizes,
                      neumeta_network **network, double *milliseconds)
{
    double start = cli_seconds();
    neumeta_status status = model->manifold != NULL
                                ? neumeta_manifold_materialize(model->manifold, sizes, model->axes,
                                                               model->sampling, network)
                                : neumeta_network_share(model->network, c->context, network);
    *milliseconds = 1e3 * (cli_seconds() - start);
    return cli_check_hint(c, status, NULL,
                          status == NEUMETA_ERR_STATE ? " (neumeta calibrate)" : "");
}
