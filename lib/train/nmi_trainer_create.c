/* SPDX-License-Identifier: MIT */
/* What a trainer is made of: parts that must fit each other, tables, and their end. */
#include "nmi_trainer.h"

#include "nmi_describe.h"
#include "nmi_random.h"

#include <math.h>
#include <string.h>

static neumeta_status check_dataset(nmi_context *context, const nmi_topology *topology,
                                    const nmi_network *network, const nmi_dataset *dataset)
{
    const neumeta_status status = nmi_dataset_check_training(dataset, topology);
    const nmi_shape *output = &network->shapes[topology->output];
    if (status == NEUMETA_OK && (output->height != 1 || output->width != 1))
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "the network's output is %lld x %lld pixels; training needs one value a "
                        "class",
                        (long long)output->height, (long long)output->width);
    return status;
}

static neumeta_status check_reference(nmi_context *context, const nmi_manifold *manifold,
                                      const nmi_network *reference, const int64_t *full)
{
    const nmi_topology *ours = manifold->topology, *theirs = reference->topology;
    if (ours == theirs &&
        memcmp(reference->sizes, full, (size_t)ours->axis_count * sizeof *full) == 0)
        return NEUMETA_OK;
    if (ours->tensor_count != theirs->tensor_count || ours->axis_count != theirs->axis_count)
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "the reference has %d tensors on %d axes, the manifold %d on %d",
                        (int)theirs->tensor_count, (int)theirs->axis_count, (int)ours->tensor_count,
                        (int)ours->axis_count);
    for (int32_t a = 0; a < ours->axis_count; a++)
        if (reference->sizes[a] != full[a])
            return nmi_fail(context, NEUMETA_ERR_SHAPE,
                            "the reference has size %lld on axis '%s', must be full: %lld",
                            (long long)reference->sizes[a], ours->axes[a].name, (long long)full[a]);
    for (int32_t t = 0; t < ours->tensor_count; t++)
        if (strcmp(ours->tensors[t].name, theirs->tensors[t].name) != 0)
            return nmi_fail(context, NEUMETA_ERR_SHAPE,
                            "the reference has tensor '%s' where the manifold has '%s'",
                            theirs->tensors[t].name, ours->tensors[t].name);
    return NEUMETA_OK;
}

/* Equal names may still hide other kernels, and other nodes between them. */
static neumeta_status check_shapes(const nmi_network *ours, const nmi_network *reference)
{
    nmi_context *context = ours->object.context;
    for (int32_t t = 0; t < ours->topology->tensor_count; t++)
        if (ours->tensors[t].rank != reference->tensors[t].rank ||
            memcmp(ours->tensors[t].dims, reference->tensors[t].dims,
                   sizeof ours->tensors[t].dims) != 0)
            return nmi_fail(context, NEUMETA_ERR_SHAPE,
                            "tensor '%s' of the reference has another shape than the manifold's",
                            ours->topology->tensors[t].name);
    if (nmi_network_input_floats(ours) != nmi_network_input_floats(reference) ||
        nmi_network_output_floats(ours) != nmi_network_output_floats(reference))
        return nmi_fail(context, NEUMETA_ERR_SHAPE,
                        "the reference takes or gives other shapes than the manifold's networks");
    return NEUMETA_OK;
}

/* Every INR must be trained by some phase: an untrained one would emit noise. */
static neumeta_status check_coverage(const nmi_trainer *trainer)
{
    const nmi_topology *topology = trainer->topology;
    for (int32_t t = 0; t < topology->tensor_count; t++) {
        if (trainer->manifold == NULL || !trainer->manifold->fields[t].morphing)
            continue;
        int32_t block = nmi_trainer_block(topology, t);
        bool covered = false;
        for (int32_t p = 0; p < trainer->phase_count; p++)
            covered |=
                block >= trainer->phases[p].first_block && block <= trainer->phases[p].last_block;
        if (!covered)
            return nmi_fail(trainer->object.context, NEUMETA_ERR_ARGUMENT,
                            "block '%s' morphs, but no phase of the schedule trains it",
                            topology->blocks[block]);
    }
    return NEUMETA_OK;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3); /* FNV-1a */
    return hash;
}

static uint64_t mix_real(uint64_t hash, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return nmi_random_key(hash, bits, 0);
}

/* What the INRs compute from equal parameters. MLPs come first and alone: checkpoints from before
 * there were other kinds go on. */
static uint64_t mix_inrs(uint64_t hash, const nmi_manifold *manifold)
{
    const nmi_inr_settings *inr = &manifold->settings;
    const double values[] = {
        inr->encoding,       inr->function,        (double)inr->hidden,
        (double)inr->layers, (double)inr->octaves, (double)inr->coordinate_scale,
        inr->noise,          inr->noise_clamp,     (double)inr->extent_octaves};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        hash = mix_real(hash, values[i]);
    if (inr->kind == NMI_INR_MLP && manifold->counts[NMI_INR_SEPARABLE] == 0 &&
        manifold->counts[NMI_INR_TRUNK] == 0)
        return hash;
    for (int32_t b = 0; b < manifold->topology->block_count; b++)
        hash = mix_real(hash, manifold->block_kinds[b]);
    hash = mix_real(mix_real(hash, inr->gauge), inr->terms);
    return manifold->counts[NMI_INR_SEPARABLE] > 0 ? mix_real(hash, (double)inr->rank) : hash;
}

uint64_t nmi_trainer_mix_weights(uint64_t hash, const nmi_network *network)
{
    for (int32_t t = 0; t < network->topology->tensor_count; t++)
        for (int64_t i = 0; i < network->tensors[t].count; i++) {
            uint32_t bits;
            memcpy(&bits, &network->tensors[t].data[i], sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    return hash;
}

/* A number that changes with anything a checkpoint's position would not fit any more. */
static neumeta_status take_fingerprint(nmi_trainer *trainer)
{
    nmi_context *context = trainer->object.context;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char *text = NULL;
    neumeta_status status = nmi_topology_to_json(trainer->topology, &text);
    if (status == NEUMETA_OK)
        hash = mix_text(hash, text);
    nmi_free(context, text);
    for (int32_t p = 0; p < trainer->phase_count && status == NEUMETA_OK; p++) {
        const nmi_phase *phase = &trainer->schedule->phases[p];
        text = NULL;
        status = nmi_options_to_json(context, phase->options, &text);
        if (status == NEUMETA_OK)
            hash = mix_text(mix_text(hash, phase->name), text);
        nmi_free(context, text);
        hash = nmi_random_key(hash, (uint64_t)(uint32_t)trainer->phases[p].first_block,
                              (uint64_t)(uint32_t)trainer->phases[p].last_block);
        if (trainer->phases[p].statistics == NMI_NORM_FITTED)
            hash = nmi_random_key(hash, (uint64_t)trainer->calibrate_sizes,
                                  (uint64_t)trainer->calibrate_items);
    }
    if (trainer->manifold != NULL)
        hash = mix_inrs(hash, trainer->manifold);
    if (trainer->reference != NULL)
        hash = nmi_trainer_mix_weights(hash, trainer->reference);
    int64_t train = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_TRAIN);
    trainer->fingerprint = nmi_random_key(hash, (uint64_t)train, trainer->seed);
    return status;
}

static neumeta_status copy_schedule(nmi_trainer *trainer, const nmi_schedule *schedule)
{
    nmi_context *context = trainer->object.context;
    if (schedule->count == 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "the schedule has no phase");
    neumeta_status status = nmi_schedule_create(context, &trainer->schedule);
    for (int32_t p = 0; p < schedule->count && status == NEUMETA_OK; p++) {
        const nmi_phase *phase = &schedule->phases[p];
        status = nmi_schedule_add_phase(trainer->schedule, phase->name, phase->first_block,
                                        phase->last_block, phase->options);
    }
    return status;
}

/* What one optimiser has gathered means nothing to another. */
static neumeta_status check_moments(const nmi_trainer *trainer, int32_t phase)
{
    const nmi_settings *settings = &trainer->phases[phase];
    if (!settings->keep_moments || settings->optimizer == settings[-1].optimizer)
        return NEUMETA_OK;
    return nmi_fail(trainer->object.context, NEUMETA_ERR_ARGUMENT,
                    "phase '%s': KEEP_MOMENTS needs the OPTIMIZER of the phase before",
                    settings->name);
}

static neumeta_status read_settings(nmi_trainer *trainer, const nmi_schedule *schedule)
{
    nmi_context *context = trainer->object.context;
    neumeta_status status = copy_schedule(trainer, schedule);
    if (status != NEUMETA_OK)
        return status;
    trainer->phases = nmi_alloc_zero_array(context, schedule->count, sizeof *trainer->phases);
    if (trainer->phases == NULL)
        return NEUMETA_ERR_MEMORY;
    trainer->phase_count = schedule->count;
    trainer->phase_varies =
        nmi_alloc_matrix(context, schedule->count, trainer->topology->axis_count, sizeof(bool));
    if (trainer->phase_varies == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_setting_scope scope = {
        .topology = trainer->topology,
        .manifold = trainer->manifold != NULL,
        .reference = trainer->reference != NULL,
        .copies = trainer->manifold != NULL && !nmi_manifold_has_mlps(trainer->manifold),
        .solves = trainer->manifold != NULL && trainer->manifold->counts[NMI_INR_MLP] == 0 &&
                  trainer->manifold->counts[NMI_INR_TRUNK] == 0,
        .held_out = nmi_dataset_count(trainer->dataset, NEUMETA_SPLIT_HELD_OUT) > 0,
    };
    for (int32_t p = 0; p < trainer->phase_count && status == NEUMETA_OK; p++) {
        status =
            nmi_settings_read(context, &trainer->schedule->phases[p], &scope, &trainer->phases[p]);
        if (status == NEUMETA_OK && p > 0)
            status = check_moments(trainer, p);
    }
    return status;
}

static nmi_slot_kind kind_of_field(const nmi_topology *topology, const nmi_field *field,
                                   int32_t tensor)
{
    if (field->parameter_count == 0)
        return NMI_SLOT_NONE;
    if (field->morphing)
        return NMI_SLOT_MAIN;
    return topology->tensors[tensor].role == NMI_ROLE_SCALE ? NMI_SLOT_RESIDUAL : NMI_SLOT_DIRECT;
}

static void describe_slots(nmi_trainer *trainer)
{
    for (int32_t t = 0; t < trainer->slot_count; t++) {
        nmi_slot *slot = &trainer->slots[t];
        if (trainer->manifold != NULL) {
            nmi_field *field = &trainer->manifold->fields[t];
            slot->kind = kind_of_field(trainer->topology, field, t);
            slot->count = field->parameter_count;
            slot->values = field->parameters;
        } else {
            nmi_tensor *tensor = &trainer->network->tensors[t];
            bool trainable = nmi_role_is_trainable(trainer->topology->tensors[t].role);
            slot->kind = tensor->rank == 0 ? NMI_SLOT_NONE
                         : trainable       ? NMI_SLOT_MAIN
                                           : NMI_SLOT_BUFFER;
            slot->count = tensor->count;
            slot->values = tensor->data;
        }
    }
}

static neumeta_status take_tables(nmi_trainer *trainer)
{
    nmi_context *context = trainer->object.context;
    int64_t tensors = trainer->topology->tensor_count, axes = trainer->topology->axis_count;
    trainer->slot_count = trainer->manifold != NULL ? trainer->manifold->field_count
                                                    : trainer->topology->tensor_count;
    trainer->slots = nmi_alloc_zero_array(context, trainer->slot_count, sizeof *trainer->slots);
    trainer->reached = nmi_alloc_zero_array(context, tensors, sizeof(bool));
    trainer->carried = nmi_alloc_zero_array(context, tensors, sizeof(bool));
    trainer->held = nmi_alloc_zero_array(context, tensors, sizeof(bool));
    trainer->batch_norm =
        nmi_alloc_zero_array(context, trainer->topology->node_count, sizeof(bool));
    trainer->redrawn = nmi_alloc_zero_array(context, tensors, sizeof(bool));
    trainer->varies = nmi_alloc_zero_array(context, axes, sizeof(bool));
    trainer->weight_gradients = nmi_alloc_zero_array(context, tensors, sizeof(float *));
    trainer->pass_gradients = nmi_alloc_zero_array(context, tensors, sizeof(float *));
    trainer->slot_gradients = nmi_alloc_zero_array(context, trainer->slot_count, sizeof(float *));
    trainer->sizes = nmi_alloc_zero_array(context, axes, sizeof(int64_t));
    trainer->full_sizes = nmi_alloc_zero_array(context, axes, sizeof(int64_t));
    bool complete = trainer->slots != NULL && trainer->reached != NULL &&
                    trainer->carried != NULL && trainer->held != NULL && trainer->redrawn != NULL &&
                    trainer->batch_norm != NULL && trainer->varies != NULL &&
                    trainer->weight_gradients != NULL && trainer->pass_gradients != NULL &&
                    trainer->slot_gradients != NULL && trainer->sizes != NULL &&
                    trainer->full_sizes != NULL;
    return complete ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

static neumeta_status take_networks(nmi_trainer *trainer, nmi_network *network)
{
    nmi_context *context = trainer->object.context;
    nmi_graph_full_sizes(trainer->topology, trainer->full_sizes);
    if (trainer->manifold == NULL) {
        if (nmi_network_is_shared(network))
            return nmi_fail(context, NEUMETA_ERR_STATE,
                            "the network shares its weights, which training would change");
        nmi_network_retain(network);
        trainer->network = network;
        memcpy(trainer->full_sizes, network->sizes,
               (size_t)trainer->topology->axis_count * sizeof(int64_t));
        return check_dataset(context, trainer->topology, network, trainer->dataset);
    }
    neumeta_status status = NEUMETA_OK;
    if (network != NULL)
        status = check_reference(context, trainer->manifold, network, trainer->full_sizes);
    if (status == NEUMETA_OK && network != NULL) {
        nmi_network_retain(network);
        trainer->reference = network;
        nmi_topology_retain(network->topology);
        trainer->reference_topology = network->topology;
    }
    if (status == NEUMETA_OK)
        status =
            nmi_network_create(context, trainer->topology, trainer->full_sizes, &trainer->network);
    if (status == NEUMETA_OK && network != NULL)
        status = check_shapes(trainer->network, network);
    if (status == NEUMETA_OK)
        status = check_dataset(context, trainer->topology, trainer->network, trainer->dataset);
    return status;
}

/* Whether a phase begins with a calibration, if its settings are given. */
static neumeta_status check_calibration(const nmi_trainer *trainer, const nmi_options *options)
{
    static const int32_t keys[] = {NEUMETA_KEY_CALIBRATE_SIZES, NEUMETA_KEY_CALIBRATE_ITEMS};
    for (int32_t p = 0; p < trainer->phase_count; p++)
        if (trainer->phases[p].statistics == NMI_NORM_FITTED)
            return NEUMETA_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (nmi_options_has(options, keys[i]))
            return nmi_fail(trainer->object.context, NEUMETA_ERR_ARGUMENT,
                            "%s has no effect without a phase whose NORM_STATISTICS is 'fitted'",
                            nmi_key_find(keys[i])->name);
    return NEUMETA_OK;
}

static neumeta_status read_options(nmi_trainer *trainer, const nmi_options *options)
{
    static const int32_t allowed[] = {NEUMETA_KEY_CHECKPOINT_PATH, NEUMETA_KEY_CHECKPOINT_SECONDS,
                                      NEUMETA_KEY_SEED, NEUMETA_KEY_CALIBRATE_SIZES,
                                      NEUMETA_KEY_CALIBRATE_ITEMS};
    nmi_context *context = trainer->object.context;
    neumeta_status status = nmi_options_allow(context, options, "trainer_create", allowed,
                                              trainer->manifold != NULL ? 5 : 3);
    if (status != NEUMETA_OK)
        return status;
    trainer->calibrate_sizes = nmi_options_int(options, NEUMETA_KEY_CALIBRATE_SIZES);
    trainer->calibrate_items = nmi_options_int(options, NEUMETA_KEY_CALIBRATE_ITEMS);
    const char *path = nmi_options_text(options, NEUMETA_KEY_CHECKPOINT_PATH);
    if (path == NULL && nmi_options_has(options, NEUMETA_KEY_CHECKPOINT_SECONDS))
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "CHECKPOINT_SECONDS has no effect without CHECKPOINT_PATH");
    if (path != NULL) {
        trainer->checkpoint_path = nmi_text_copy(context, path);
        if (trainer->checkpoint_path == NULL)
            return NEUMETA_ERR_MEMORY;
    }
    trainer->checkpoint_seconds = nmi_options_real(options, NEUMETA_KEY_CHECKPOINT_SECONDS);
    trainer->seed = nmi_options_seed(options, context);
    return NEUMETA_OK;
}

neumeta_status nmi_trainer_create(nmi_context *context, nmi_manifold *manifold,
                                  nmi_network *network, const nmi_schedule *schedule,
                                  nmi_dataset *dataset, const nmi_options *options,
                                  nmi_trainer **out)
{
    *out = NULL;
    nmi_trainer *trainer = nmi_alloc_zero(context, sizeof *trainer);
    if (trainer == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&trainer->object, context);
    trainer->topology = manifold != NULL ? manifold->topology : network->topology;
    nmi_topology_retain(trainer->topology);
    nmi_dataset_retain(dataset);
    trainer->dataset = dataset;
    trainer->metrics.score = trainer->metrics.best_score = NAN;
    trainer->fitted = NAN;
    trainer->batch.order_epoch = -1;
    if (manifold != NULL) {
        nmi_manifold_retain(manifold);
        trainer->manifold = manifold;
    }
    neumeta_status status = read_options(trainer, options);
    if (status == NEUMETA_OK)
        status = take_tables(trainer);
    if (status == NEUMETA_OK)
        status = take_networks(trainer, network);
    if (status == NEUMETA_OK)
        status = read_settings(trainer, schedule);
    if (status == NEUMETA_OK)
        status = check_calibration(trainer, options);
    if (status == NEUMETA_OK)
        status = check_coverage(trainer);
    if (status == NEUMETA_OK)
        status = take_fingerprint(trainer);
    if (status == NEUMETA_OK) {
        describe_slots(trainer);
        status = nmi_trainer_check_phases(trainer);
    }
    if (status == NEUMETA_OK)
        status = nmi_trainer_prepare(trainer);
    if (status != NEUMETA_OK) {
        nmi_trainer_release(trainer);
        return status;
    }
    if (manifold != NULL && trainer->reference != NULL) {
        nmi_manifold_hold(manifold, trainer->reference);
        nmi_manifold_forget_statistics(manifold);
    }
    *out = trainer;
    return NEUMETA_OK;
}

static void free_tables(nmi_trainer *trainer)
{
    nmi_context *context = trainer->object.context;
    for (int32_t s = 0; trainer->slots != NULL && s < trainer->slot_count; s++)
        nmi_slot_free(context, &trainer->slots[s]);
    for (int32_t t = 0; trainer->weight_gradients != NULL && t < trainer->topology->tensor_count;
         t++)
        nmi_free(context, trainer->weight_gradients[t]);
    nmi_free(context, trainer->slots);
    nmi_free(context, trainer->reached);
    nmi_free(context, trainer->carried);
    nmi_free(context, trainer->held);
    nmi_free(context, trainer->batch_norm);
    nmi_free(context, trainer->redrawn);
    nmi_free(context, trainer->varies);
    nmi_free(context, trainer->weight_gradients);
    nmi_free(context, trainer->pass_gradients);
    nmi_free(context, trainer->slot_gradients);
    nmi_free(context, trainer->sizes);
    nmi_free(context, trainer->full_sizes);
}

void nmi_trainer_release(nmi_trainer *trainer)
{
    if (trainer == NULL || !nmi_object_release(&trainer->object))
        return;
    nmi_context *context = trainer->object.context;
    free_tables(trainer);
    nmi_free(context, trainer->batch.inputs);
    nmi_free(context, trainer->batch.targets);
    nmi_free(context, trainer->batch.order);
    nmi_free(context, trainer->batch.output_gradients);
    nmi_free(context, trainer->batch.teacher);
    nmi_free(context, trainer->batch.losses);
    nmi_moments_free(trainer->moments);
    nmi_pass_free(trainer->pass);
    nmi_free(context, trainer->phases);
    nmi_free(context, trainer->phase_varies);
    nmi_schedule_release(trainer->schedule);
    nmi_free(context, trainer->checkpoint_path);
    nmi_network_release(trainer->judge);
    nmi_network_release(trainer->network);
    nmi_network_release(trainer->reference);
    nmi_network_release(trainer->teacher);
    nmi_topology_release(trainer->reference_topology);
    nmi_manifold_release(trainer->manifold);
    nmi_dataset_release(trainer->dataset);
    nmi_topology_release(trainer->topology);
    nmi_free(context, trainer);
    nmi_context_release(context);
}
