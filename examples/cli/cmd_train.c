/* SPDX-License-Identifier: MIT */
/* neumeta train: one network, or a manifold that yields networks of many sizes. */
#include "cli_schedule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_option options[] = {
    {"data", "FOLDER", "folder with the images (see neumeta fetch)"},
    {"topology", "NAME", "built-in topology: lenet, resnet20-cifar, -32-, -44-, -56-, -110-cifar"},
    {"output", "FILE", "what is trained, as safetensors"},
    {"manifold", NULL, "train a manifold instead of one network"},
    {"gamma", "G", "one network: every inner width compressed by this share (default 0, full)"},
    {"size", "AXIS=N",
     "one network: size of an axis, which may hold *; repeat it for several axes"},
    {"sizes", "N,N,...", "one network: one size for each axis that varies"},
    {"reference", "FILE", "network to start from: a manifold learns to yield its weights first"},
    {"start", "FILE",
     "manifold to go on from, by phases whose inr-init is random; its file tells topology and "
     "kinds"},
    {"teacher", "FILE",
     "network whose outputs the trained ones are to have (distillation-teacher network), of the "
     "same norm"},
    {"teacher-topology", "NAME", "the teacher's topology (default that of --topology)"},
    {"norm", "NAME",
     "norm of the topology and of the reference file: none, batch, or how it was "
     "replaced: fold, skip-init, sqrt-half, affine, group (default batch)"},
    {"replace-norm", "NAME",
     "replace batch norm before training: fold, skip-init, sqrt-half, affine or group; a manifold "
     "that keeps it is calibrated at the end"},
    {"smooth", NULL, "reorder channels before training, so that neighbours are alike"},
    {"recipe", "NAME|FILE",
     "schedule of a manifold: nm (all blocks at once, default), ht (block after "
     "block), or a JSON file with \"phases\""},
    {"checkpoint", "FILE", "state of the training, to go on from (default OUTPUT.checkpoint)"},
    {"resume", NULL,
     "go on from the checkpoint if there is one; without this, one that is there is an error"},
    {"hours", "H", "stop after this time; the output then holds the present state"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {
    {NEUMETA_KEY_CLASSES, NEUMETA_KEY_SHORTCUT},
    {NEUMETA_KEY_GROUP_CHANNELS, NEUMETA_KEY_GROUP_CHANNELS},
    {NEUMETA_KEY_HELD_OUT, NEUMETA_KEY_AUGMENT_FLIP},
    {NEUMETA_KEY_NAME_MAP, NEUMETA_KEY_SMOOTH_TIME_LIMIT},
    {NEUMETA_KEY_INR_KIND, NEUMETA_KEY_MORPH_BLOCKS},
    {NEUMETA_KEY_NOISE, NEUMETA_KEY_NOISE_CLAMP},
    {NEUMETA_KEY_INR_EXTENT_OCTAVES, NEUMETA_KEY_INR_EXTENT_OCTAVES},
    {NEUMETA_KEY_MLP_BLOCKS, NEUMETA_KEY_TRUNK_BLOCKS},
    {NEUMETA_KEY_EPOCHS, NEUMETA_KEY_NORM_STATISTICS},
    {NEUMETA_KEY_CHECKPOINT_SECONDS, NEUMETA_KEY_CHECKPOINT_SECONDS},
    {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS},
    {NEUMETA_KEY_STORAGE, NEUMETA_KEY_STORAGE},
    {0, 0},
};
static const cli_keys calibration_keys[] = {
    {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS}, {0, 0}};
static const cli_keys manifold_keys[] = {
    {NEUMETA_KEY_INR_KIND, NEUMETA_KEY_MORPH_BLOCKS},
    {NEUMETA_KEY_NOISE, NEUMETA_KEY_NOISE_CLAMP},
    {NEUMETA_KEY_INR_EXTENT_OCTAVES, NEUMETA_KEY_INR_EXTENT_OCTAVES},
    {NEUMETA_KEY_MLP_BLOCKS, NEUMETA_KEY_TRUNK_BLOCKS},
    {0, 0}};
static const cli_keys trainer_keys[] = {
    {NEUMETA_KEY_CHECKPOINT_SECONDS, NEUMETA_KEY_CHECKPOINT_SECONDS}, {0, 0}};
static const cli_keys calibrating_keys[] = {
    {NEUMETA_KEY_CHECKPOINT_SECONDS, NEUMETA_KEY_CHECKPOINT_SECONDS},
    {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS},
    {0, 0}};
static const cli_column columns[] = {
    {"output", "output", 1, 0},
    {"finished", "finished", 1, 0},
    {"steps", "steps", 1, 0},
    {"loss", "loss", 1, 4},
    {"held_out_score", "held out %", 100, 2},
    {"seconds", "seconds", 1, 1},
    {NULL, NULL, 0, 0},
};

typedef struct job {
    bool manifold_wanted, resuming;
    bool prepared_used; /* whether `prepared` is this training's */
    const char *output;
    const char *start;           /* file of the manifold to go on from, or NULL */
    char *checkpoint, *prepared; /* files */
    cli_data data;
    neumeta_dataset *dataset;
    neumeta_network *network; /* trained, or the manifold's reference */
    neumeta_network *teacher;
    neumeta_topology *topology;
    neumeta_schedule *schedule;
    neumeta_manifold *manifold;
    neumeta_trainer *trainer;
} job;

static char *with_ending(const char *path, const char *ending)
{
    size_t size = strlen(path) + strlen(ending) + 1;
    char *text = malloc(size);
    if (text != NULL)
        snprintf(text, size, "%s%s", path, ending);
    return text;
}

static bool sizes_given(const cli *c)
{
    return cli_flag(c, "gamma") || cli_flag(c, "size") || cli_flag(c, "sizes");
}

/* Nothing may be said of a manifold that its file says, or that would undo what it has learned. */
static int check_start(const cli *c, const job *j)
{
    static const char *const excluded[] = {"topology", "reference", "replace-norm", "smooth"};
    if (j->start == NULL)
        return CLI_OK;
    if (!j->manifold_wanted)
        return cli_usage(c, "--start is for manifolds (--manifold)");
    for (size_t i = 0; i < sizeof excluded / sizeof *excluded; i++)
        if (cli_flag(c, excluded[i]))
            return cli_usage(c, "--%s is for a fresh manifold, not for one of --start",
                             excluded[i]);
    for (size_t i = 0; i < c->value_count; i++)
        if (cli_has_key(manifold_keys, c->values[i].key) &&
            c->values[i].key != NEUMETA_KEY_MORPH_BLOCKS) /* which the recipes read, too */
            return cli_usage(c, "%s is for a fresh manifold, not for one of --start",
                             c->values[i].name);
    const char *recipe = cli_text(c, "recipe");
    if (recipe != NULL && strcmp(recipe, "ht") == 0)
        return cli_usage(c, "--recipe ht starts blocks anew, which would undo what --start brings");
    if (cli_flag(c, "teacher") && !cli_flag(c, "teacher-topology"))
        return cli_usage(c, "--teacher needs --teacher-topology beside --start");
    return CLI_OK;
}

static int check_usage(const cli *c, job *j)
{
    const char *checkpoint = cli_text(c, "checkpoint");
    int code = cli_require(c, "output", &j->output);
    j->manifold_wanted = cli_flag(c, "manifold");
    if (code == CLI_OK && c->operand_count > 0)
        code = cli_usage(c, "'%s' is one word too many", c->operands[0]);
    for (size_t i = 0; i < c->value_count && code == CLI_OK && !j->manifold_wanted; i++)
        if (cli_has_key(manifold_keys, c->values[i].key) ||
            cli_has_key(calibration_keys, c->values[i].key))
            code = cli_usage(c, "%s is for manifolds (--manifold)", c->values[i].name);
    j->start = cli_text(c, "start");
    if (code == CLI_OK)
        code = check_start(c, j);
    if (code == CLI_OK && !cli_flag(c, "smooth"))
        code = cli_refuse_keys(c, cli_smooth_keys, "--smooth");
    if (code == CLI_OK && !cli_flag(c, "norm") && !cli_flag(c, "replace-norm"))
        code = cli_refuse_keys(c, cli_norm_keys, "--replace-norm or --norm");
    if (code == CLI_OK && cli_flag(c, "teacher-topology") && !cli_flag(c, "teacher"))
        code = cli_usage(c, "--teacher-topology says nothing without --teacher");
    if (code == CLI_OK && sizes_given(c) && (j->manifold_wanted || cli_flag(c, "reference")))
        code = cli_usage(c, "--gamma, --size and --sizes are for one network that starts anew, "
                            "without --manifold and --reference");
    if (code != CLI_OK)
        return code;
    j->checkpoint = with_ending(checkpoint != NULL ? checkpoint : j->output,
                                checkpoint != NULL ? "" : ".checkpoint");
    j->prepared = j->checkpoint != NULL ? with_ending(j->checkpoint, ".reference") : NULL;
    if (j->prepared == NULL)
        return cli_no_memory(c);
    j->resuming = cli_flag(c, "resume") && cli_exists(j->checkpoint);
    return CLI_OK;
}

/* Before hours of training: whether what they yield can be written, and what it would destroy. */
static int check_files(const cli *c, const job *j)
{
    const cli_file written[] = {
        {"--output", j->output},
        {"--checkpoint", j->checkpoint},
        {"--checkpoint with .reference behind it", j->prepared},
    };
    int code = cli_check_apart(c, written, sizeof written / sizeof *written, false);
    if (code != CLI_OK)
        return code;
    if (cli_exists(j->checkpoint) && !j->resuming)
        return cli_usage(c, "%s holds an interrupted training; add --resume to go on, or delete it",
                         j->checkpoint);
    code = cli_check_output(c, j->output, true);
    return code == CLI_OK ? cli_check_output(c, j->checkpoint, true) : code;
}

static int set_topology(const cli *c, job *j)
{
    neumeta_topology_free(j->topology);
    return cli_check(c, neumeta_network_topology(j->network, &j->topology), NULL);
}

/* The fresh network at the sizes asked for, in place of the full one. */
static int resize(const cli *c, job *j)
{
    cli_model model = {.topology = j->topology, .axes = neumeta_topology_axis_count(j->topology)};
    cli_size_list list = {.sizes = NULL};
    int code = cli_one_size(c, &model, &list);
    if (code == CLI_OK) {
        neumeta_network_free(j->network);
        j->network = NULL;
        code = cli_check(
            c, neumeta_network_create(j->topology, list.sizes, model.axes, &j->network), NULL);
    }
    cli_sizes_release(&list);
    return code;
}

/* Smoothing of wide layers ends by the clock, so a resumed training takes the network as it was. */
static int smooth(const cli *c, job *j)
{
    double before, after;
    if (j->resuming && cli_exists(j->prepared)) {
        j->prepared_used = true;
        neumeta_network_free(j->network);
        return cli_check(c, neumeta_network_load(j->topology, j->prepared, NULL, &j->network),
                         j->prepared);
    }
    int code = cli_smooth(c, j->network, &before, &after);
    if (code == CLI_OK)
        cli_note(c, "roughness %.4g before smoothing, %.4g after", before, after);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_network_save(j->network, j->prepared), j->prepared);
    j->prepared_used = code == CLI_OK;
    return code;
}

/* What is there before training: a manifold, or a network to train or to take weights from. */
static int load_start(const cli *c, job *j)
{
    int code = cli_check(c, neumeta_manifold_load(c->context, j->start, &j->manifold), j->start);
    return code == CLI_OK ? cli_check(c, neumeta_manifold_topology(j->manifold, &j->topology), NULL)
                          : code;
}

static int load_network(const cli *c, job *j)
{
    int code = cli_network(c, &j->data, "topology", cli_text(c, "reference"), &j->network);
    if (code == CLI_OK)
        code = cli_replace_norm(c, j->network);
    if (code == CLI_OK)
        code = set_topology(c, j);
    if (code == CLI_OK && sizes_given(c))
        code = resize(c, j);
    return code;
}

static int prepare(const cli *c, job *j)
{
    int code = cli_data_open(c, &j->data, &j->dataset);
    if (code == CLI_OK)
        code = j->start != NULL ? load_start(c, j) : load_network(c, j);
    if (code == CLI_OK)
        code = cli_schedule(c, j->topology, j->manifold_wanted, &j->schedule);
    if (code == CLI_OK && cli_flag(c, "smooth"))
        code = smooth(c, j);
    return code;
}

static int set_teacher(const cli *c, job *j)
{
    const char *topology = cli_flag(c, "teacher-topology") ? "teacher-topology" : "topology";
    int code = cli_network(c, &j->data, topology, cli_text(c, "teacher"), &j->teacher);
    return code == CLI_OK ? cli_check(c, neumeta_trainer_set_teacher(j->trainer, j->teacher), NULL)
                          : code;
}

static int create_manifold(const cli *c, job *j)
{
    neumeta_options *inrs = NULL;
    int code = cli_settings(c, manifold_keys, &inrs);
    if (code == CLI_OK)
        code = cli_check(c, neumeta_manifold_create(j->topology, inrs, &j->manifold), NULL);
    neumeta_options_free(inrs);
    return code;
}

/* A fresh manifold that needs no statistics has no norms. */
static int check_norms(const cli *c, const job *j)
{
    int32_t calibrated = 0;
    int code = cli_check(c, neumeta_manifold_calibrated(j->manifold, &calibrated), NULL);
    if (code == CLI_OK && calibrated)
        code = cli_refuse_keys(c, calibration_keys,
                               "batch norm, which --replace-norm or --norm took out,");
    return code;
}

static int create_trainer(const cli *c, job *j)
{
    neumeta_options *saving = NULL;
    bool calibrates = false;
    int code = j->manifold_wanted ? cli_calibrates(c, &calibrates) : CLI_OK;
    if (code == CLI_OK)
        code = cli_settings(c, calibrates ? calibrating_keys : trainer_keys, &saving);
    if (code == CLI_OK)
        code = cli_check(
            c, neumeta_options_set_text(saving, NEUMETA_KEY_CHECKPOINT_PATH, j->checkpoint), NULL);
    if (code == CLI_OK && j->manifold_wanted) {
        neumeta_network *reference = cli_flag(c, "reference") ? j->network : NULL;
        code = j->manifold == NULL ? create_manifold(c, j) : CLI_OK;
        if (code == CLI_OK && j->start == NULL)
            code = check_norms(c, j);
        if (code == CLI_OK)
            code = cli_check(c,
                             neumeta_trainer_create(j->manifold, reference, j->schedule, j->dataset,
                                                    saving, &j->trainer),
                             NULL);
    } else if (code == CLI_OK) {
        code = cli_check(
            c,
            neumeta_trainer_create_plain(j->network, j->schedule, j->dataset, saving, &j->trainer),
            NULL);
    }
    if (code == CLI_OK && cli_flag(c, "teacher"))
        code = set_teacher(c, j);
    if (code == CLI_OK && j->resuming)
        code = cli_check(c, neumeta_trainer_restore(j->trainer, j->checkpoint), j->checkpoint);
    neumeta_options_free(saving);
    return code;
}

/* A manifold with norms is no use without their statistics, so these come with every output. */
static int save_output(const cli *c, const job *j)
{
    int32_t calibrated = 1;
    double error = 0;
    int code = CLI_OK;
    if (j->manifold != NULL)
        code = cli_check(c, neumeta_manifold_calibrated(j->manifold, &calibrated), NULL);
    if (code == CLI_OK && !calibrated)
        code = cli_calibrate(c, j->manifold, j->dataset, j->output, &error);
    neumeta_options *storage = NULL;
    if (code == CLI_OK)
        code = cli_settings(c, cli_storage_keys, &storage);
    if (code == CLI_OK)
        code = cli_check(c,
                         j->manifold != NULL
                             ? neumeta_manifold_save_as(j->manifold, j->output, storage)
                             : neumeta_network_save_as(j->network, j->output, storage),
                         NULL);
    neumeta_options_free(storage);
    return code;
}

static void add_metric(const job *j, json_t *row, const char *name, int32_t metric)
{
    double value = NAN;
    if (neumeta_trainer_metric(j->trainer, metric, &value) == NEUMETA_OK && isfinite(value))
        json_object_set_new(row, name, json_real(value));
}

static void report(const cli *c, const job *j, bool finished)
{
    json_t *row = json_pack("{s:s, s:b}", "output", j->output, "finished", finished);
    double steps = 0;
    if (neumeta_trainer_metric(j->trainer, NEUMETA_METRIC_STEP, &steps) == NEUMETA_OK)
        json_object_set_new(row, "steps", json_integer((json_int_t)steps));
    add_metric(j, row, "loss", NEUMETA_METRIC_LOSS);
    add_metric(j, row, "held_out_score", NEUMETA_METRIC_HELD_OUT_SCORE);
    add_metric(j, row, "seconds", NEUMETA_METRIC_SECONDS);
    json_t *rows = json_pack("[o]", row);
    cli_print_rows(c, rows, columns);
    json_decref(rows);
}

/* After a stop: the checkpoint is what a later run needs; time that ran out leaves an output too.
 */
static int stop(const cli *c, const job *j, bool late)
{
    double share = 0;
    neumeta_trainer_metric(j->trainer, NEUMETA_METRIC_PROGRESS, &share);
    int code = cli_check(c, neumeta_trainer_save(j->trainer, j->checkpoint), NULL);
    if (code == CLI_OK && late)
        code = save_output(c, j);
    if (code != CLI_OK)
        return code;
    cli_note(c, "stopped at %.1f %%; the same command with --resume goes on", 100 * share);
    if (late)
        report(c, j, false);
    return late ? CLI_OK : CLI_CANCELLED;
}

static int train(const cli *c, job *j, double hours)
{
    cli_progress progress = {.schedule = j->schedule};
    cli_progress_begin(&progress, c, j->output);
    if (hours > 0)
        progress.deadline = cli_seconds() + 3600 * hours;
    int code =
        cli_check(c, neumeta_trainer_set_progress(j->trainer, cli_progress_step, &progress), NULL);
    if (code != CLI_OK)
        return code;
    cli_catch_signals();
    neumeta_status status = neumeta_trainer_run(j->trainer);
    cli_progress_end(&progress);
    if (status == NEUMETA_CANCELLED)
        return stop(c, j, progress.late && !cli_interrupted());
    code = cli_check_hint(c, status, NULL,
                          status == NEUMETA_ERR_STATE && !cli_flag(c, "teacher") &&
                                  strstr(neumeta_context_message(c->context), "set_teacher") != NULL
                              ? " (--teacher FILE)"
                              : "");
    if (code == CLI_OK)
        code = save_output(c, j);
    if (code == CLI_CANCELLED)
        return stop(c, j, false);
    if (code == CLI_OK) {
        unlink(j->checkpoint);
        if (j->prepared_used)
            unlink(j->prepared);
        report(c, j, true);
    }
    return code;
}

static int run(cli *c)
{
    job j = {.output = NULL};
    double hours;
    int code = cli_number(c, "hours", 0, 1e6, 0, &hours);
    if (code == CLI_OK)
        code = check_usage(c, &j);
    bool done = code == CLI_OK && cli_flag(c, "resume") && !j.resuming && cli_exists(j.output);
    if (done)
        cli_note(c, "%s is there and has no checkpoint: nothing is left to train", j.output);
    if (code == CLI_OK && !done)
        code = check_files(c, &j);
    if (code == CLI_OK && !done)
        code = prepare(c, &j);
    if (code == CLI_OK && !done)
        code = create_trainer(c, &j);
    if (code == CLI_OK && !done)
        code = train(c, &j, hours);
    neumeta_trainer_free(j.trainer);
    neumeta_manifold_free(j.manifold);
    neumeta_schedule_free(j.schedule);
    neumeta_topology_free(j.topology);
    neumeta_network_free(j.network);
    neumeta_network_free(j.teacher);
    neumeta_dataset_free(j.dataset);
    cli_data_release(&j.data);
    free(j.checkpoint);
    free(j.prepared);
    return code;
}

const cli_command cmd_train = {
    .name = "train",
    .summary = "train a network, or the manifold of a network",
    .synopsis = "--data FOLDER --topology NAME --output FILE [OPTION...]",
    .text =
        "Without --manifold, trains one network by the settings given. With it, trains a manifold: "
        "INRs that\nemit the weights of the topology at any width, first those of the reference "
        "network; with --start, a\nmanifold that is there goes on.\nBatch norm that --replace-norm "
        "does not take out is held, too: when training "
        "ends, its statistics are\nmeasured at --calibrate-sizes sizes, and the file then yields "
        "networks without any data.\n\n"
        "All settings of the library are options (--help-settings); a settings file may also "
        "hold \"phases\", a\nlist of objects with \"name\", \"blocks\" (one, or the first and the "
        "last) and settings, of which each\nreplaces the common one for that phase.\n\n"
        "Ctrl-C stops after the present step and leaves a checkpoint; --resume then goes on bit "
        "for "
        "bit.\nProgress goes to stderr: a bar on a terminal, JSON lines otherwise.\n",
    .examples =
        "  neumeta train --data data --topology lenet --epochs 5 --optimizer sgd --learning-rate "
        "0.05 "
        "\\\n      --rate cosine --output lenet.safetensors\n"
        "  neumeta train --manifold --data data --topology lenet --reference lenet.safetensors \\\n"
        "      --replace-norm fold --smooth --epochs 10 --output manifold.safetensors\n"
        "  neumeta train --manifold --data cifar --topology resnet20-cifar --reference "
        "r20.safetensors "
        "\\\n      --replace-norm fold --smooth --recipe nm --morph-blocks -2 --epochs 40 "
        "--held-out 5000 "
        "\\\n      --augment-shift 4 --augment-flip --hours 2 --resume --output m.safetensors\n"
        "  neumeta train --data cifar --topology resnet20-cifar --gamma 0.5 --recipe "
        "individual.json \\\n      --output half.safetensors\n"
        "  neumeta train --manifold --data cifar --start m.safetensors --recipe finish.json \\\n"
        "      --output finished.safetensors\n"
        "  neumeta train --settings experiment.json --learning-rate 5e-4\n",
    .options = options,
    .keys = keys,
    .run = run,
};
