/* SPDX-License-Identifier: MIT */
/*
 * The settings of one phase as plain values, checked against the topology and the kind of training.
 */
#ifndef NMI_SETTINGS_H
#define NMI_SETTINGS_H

#include "nmi_range.h"
#include "nmi_schedule.h"

enum { NMI_OPTIMIZER_SGD = 0, NMI_OPTIMIZER_ADAMW = 1 };
enum { NMI_RATE_CONSTANT = 0, NMI_RATE_MULTISTEP = 1, NMI_RATE_COSINE = 2 };
enum { NMI_TEACHER_REFERENCE = 0, NMI_TEACHER_WIDEST = 1, NMI_TEACHER_NETWORK = 2 };
enum { NMI_DRAW_UNIFORM = 0, NMI_DRAW_FULL_FIRST = 1, NMI_DRAW_SANDWICH = 2, NMI_DRAW_CORNERS = 3 };
enum { NMI_NORM_BATCH = 0, NMI_NORM_FITTED = 1 };
enum { NMI_START_RANDOM = 0, NMI_START_CLONED = 1, NMI_START_FITTED = 2 };

typedef struct nmi_settings {
    const char *name;           /* of the phase, borrowed */
    const nmi_options *options; /* for the lists: milestones, axes, gammas; borrowed */
    int32_t first_block, last_block;
    int64_t batch, group;
    double epochs;
    int32_t optimizer;
    double rate, decay, momentum, beta1, beta2, epsilon;
    int32_t course;
    double factor, warmup;
    double clip_value, clip_norm, average;
    double task, norm, reconstruction, reconstruction_end, distillation, temperature;
    bool weighted;
    int32_t teacher;
    double smoothing;
    int32_t draw;
    nmi_size_range range;
    double non_uniform;
    int32_t start;
    int64_t fit_steps;
    double fit_rate;
    int32_t fit_sizes;
    bool has_residual_start;
    double residual_start, residual_rate, direct_rate, direct_decay;
    bool train_earlier, keep_moments, continue_best;
    double validate_epochs;
    int32_t precision; /* NMI_FP32 or NMI_BF16 */
    int64_t validate_items;
    int32_t statistics; /* NMI_NORM_* */
} nmi_settings;

/* What a phase may rely on. */
typedef struct nmi_setting_scope {
    const nmi_topology *topology;
    bool manifold;  /* false: plain training, which has no INRs and sizes */
    bool reference; /* whether there is a reference network */
    bool copies;    /* all INRs are grids, which copy the reference instead of being fitted */
    bool solves;    /* no INR is an MLP, which alone is fitted step by step */
    bool held_out;  /* whether the dataset keeps items aside */
} nmi_setting_scope;

/* Fails with a sentence that starts "phase 'name': ". `out` borrows from `phase`. */
neumeta_status nmi_settings_read(nmi_context *context, const nmi_phase *phase,
                                 const nmi_setting_scope *scope, nmi_settings *out);

/* The next setting, from *position = 0 on, that is set but without effect beside the others; NULL
 * at the end. */
const nmi_key *nmi_settings_idle(const nmi_options *options, int32_t *position);

/* Whether the sizes of a group share their items, the widest in front: sandwich and corners. */
bool nmi_settings_is_sandwich(const nmi_settings *settings);
bool nmi_settings_has_block(const nmi_settings *settings, int32_t block);
/* Learning rate at `epoch` (fraction included), for a step of `width` epochs. */
double nmi_settings_rate_at(const nmi_settings *settings, double epoch, double width);
/* Weight of the reconstruction at `epoch`. */
double nmi_settings_reconstruction_at(const nmi_settings *settings, double epoch);

/* Sizes of the index-th minibatch of a group: axes with varies[axis] follow SIZE_DRAW, the others
 * are at their maximum. Each axis takes one of its sizes between the compressions with equal
 * probability; one draw serves all inner widths, another all streams, a third all depths, unless NON_UNIFORM
 * says otherwise.
 */
void nmi_settings_draw_sizes(const nmi_settings *settings, const nmi_topology *topology,
                             const bool *varies, int64_t index, uint64_t key, int64_t *sizes);

#endif
