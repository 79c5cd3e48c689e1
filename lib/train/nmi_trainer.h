/* SPDX-License-Identifier: MIT */
/*
 * The trainer: one loop for manifolds and for plain networks.
 *
 * A step draws sizes, emits the weights, runs the network forward and backward, adds the
 * closed-form losses on weights, carries the gradients through the INRs and steps the optimisers.
 * Everything random is addressed by the seed and the step's number, so position and slots are the
 * whole state.
 */
#ifndef NMI_TRAINER_H
#define NMI_TRAINER_H

#include "nmi_calibrate.h"
#include "nmi_dataset.h"
#include "nmi_manifold.h"
#include "nmi_moments.h"
#include "nmi_pass.h"
#include "nmi_slot.h"

typedef struct neumeta_trainer nmi_trainer;

/* Running sums and last values that neumeta_trainer_metric() tells; doubles only, so that a
 * checkpoint can treat them as an array. */
typedef struct nmi_metrics {
    double loss_sum, task_sum, minibatches; /* of the present epoch */
    double reconstruction;
    double rate;
    double score, best_score; /* NaN: none yet */
    double seconds;           /* before the present run */
} nmi_metrics;

typedef struct nmi_position {
    int32_t phase;
    bool begun;    /* whether the present phase's INRs and moments were started */
    bool unjudged; /* whether the last step still waits for its turn of nmi_trainer_validate() */
    int64_t step;  /* in this phase */
    int64_t steps; /* in all phases */
    int64_t draws; /* minibatches drawn in all phases: addresses sizes and noise */
} nmi_position;

/* Buffers of a step, taken at the first step of a phase. */
typedef struct nmi_batch {
    int64_t items, minibatches; /* capacity */
    float *inputs;              /* [minibatches, items, C * H * W] */
    int64_t *targets;           /* [minibatches, items] */
    int64_t *order;             /* [train]: permutation of the epoch below */
    int64_t order_epoch;        /* -1: none yet */
    int32_t order_phase;
    float *output_gradients; /* [items, classes] */
    float *teacher;          /* [items, classes] */
    double *losses;          /* [items] */
} nmi_batch;

struct neumeta_trainer {
    nmi_object object;
    nmi_topology *topology; /* retained */
    nmi_manifold *manifold; /* retained; NULL: plain training */
    nmi_network *network;   /* plain: the caller's; otherwise the one that is emitted into */
    nmi_network *reference; /* retained; may be NULL */
    nmi_topology *reference_topology; /* retained: whether the reference is still what it was */
    nmi_network *teacher;             /* retained; NULL: none was given */
    nmi_network *judge;               /* for held-out items; made when first needed */
    nmi_moments *moments;             /* for the judge's norms, with the settings below */
    int64_t moments_items, moments_batch;
    nmi_dataset *dataset;   /* retained */
    nmi_schedule *schedule; /* own copy: settings borrow from it */
    nmi_pass *pass;
    int64_t pass_items;
    int32_t pass_precision;
    nmi_settings *phases; /* [phase_count] */
    int32_t phase_count;
    uint64_t seed;
    uint64_t fingerprint;  /* of all that a checkpoint must fit and does not hold, */
    uint64_t teacher_mark; /* and of the teacher; 0: none */

    nmi_slot *slots; /* [slot_count]: of tensors, then of what INRs share */
    int32_t slot_count;
    bool *reached;    /* [tensor_count]: morphing, and added by this or an earlier phase */
    bool *carried;    /* [tensor_count]: trained through an INR by this phase */
    bool *held;       /* [tensor_count]: emitted by the manifold (not copied from the reference) */
    bool *redrawn;    /* [tensor_count]: another value for each size of a step */
    bool *batch_norm; /* [node_count]: norms that use batch statistics */
    bool *varies;     /* [axis_count] */
    bool *phase_varies;       /* [phase_count][axis_count]: the same of each phase */
    float **weight_gradients; /* [tensor_count]: of emitted tensors, at full size; NULL: none */
    float **pass_gradients;   /* [tensor_count]: where the pass adds */
    float **slot_gradients;   /* [slot_count]: where the INRs add */
    int64_t *sizes, *full_sizes;

    nmi_batch batch;
    nmi_position position;
    nmi_metrics metrics;
    bool published;    /* averages stand in the manifold or network */
    bool ready;        /* derived state fits the present phase */
    double run_start;  /* wall clock of this run */
    int64_t run_items; /* trained in this run, in so many seconds of steps alone */
    double run_seconds;
    double last_checkpoint;
    char *checkpoint_path; /* NULL: none */
    double checkpoint_seconds;
    bool checkpoint_owed; /* the last one could not be written */
    int64_t calibrate_sizes, calibrate_items;
    double fitted; /* share of the regression that runs; NaN: none does */
    neumeta_progress_fn progress;
    void *progress_user;
    atomic_bool cancelled;
};

/* `manifold` NULL: plain training of `network`, which the trainer changes in place; otherwise
 * `network` is the reference, which may be NULL. */
neumeta_status nmi_trainer_create(nmi_context *context, nmi_manifold *manifold,
                                  nmi_network *network, const nmi_schedule *schedule,
                                  nmi_dataset *dataset, const nmi_options *options,
                                  nmi_trainer **out);
void nmi_trainer_release(nmi_trainer *trainer);
/* Adds the network's values, which the trainer only reads and so does not save, to a fingerprint.
 */
uint64_t nmi_trainer_mix_weights(uint64_t hash, const nmi_network *network);
/* Whether the networks still are what training relies on; each call below asks first. */
neumeta_status nmi_trainer_check(const nmi_trainer *trainer);
neumeta_status nmi_trainer_run(nmi_trainer *trainer);
neumeta_status nmi_trainer_step(nmi_trainer *trainer);
neumeta_status nmi_trainer_metric(const nmi_trainer *trainer, int32_t metric, double *value);
/* Tells the progress callback, if nmi_trainer_run() is what runs; true: stop as soon as possible.
 */
bool nmi_trainer_report(nmi_trainer *trainer);

/* --- nmi_trainer_phase.c ---------------------------------------------------------------------- */

const nmi_settings *nmi_trainer_settings(const nmi_trainer *trainer);
bool nmi_trainer_finished(const nmi_trainer *trainer);
/* Minibatches of data per step, per epoch, and steps of a phase. */
int64_t nmi_trainer_minibatches_of_step(const nmi_settings *settings);
int64_t nmi_trainer_minibatches_of_epoch(const nmi_trainer *trainer, const nmi_settings *settings);
/* Items of one minibatch: BATCH, or all training items if they are fewer. */
int64_t nmi_trainer_items(const nmi_trainer *trainer, const nmi_settings *settings);
/* Epochs that one step takes. */
double nmi_trainer_step_epochs(const nmi_trainer *trainer, const nmi_settings *settings);
int64_t nmi_trainer_steps_of_phase(const nmi_trainer *trainer, int32_t phase);
double nmi_trainer_epoch(const nmi_trainer *trainer);
/* Whether the settings of every phase fit the topology and what is trained by then. */
neumeta_status nmi_trainer_check_phases(nmi_trainer *trainer);
/* Tells the manifold which sizes the phases up to the present one draw. */
void nmi_trainer_note_ranges(nmi_trainer *trainer);
/* Derives everything that follows from the position: what is trained, what varies, buffers. After
 * creation, at each phase and after a restore. */
neumeta_status nmi_trainer_prepare(nmi_trainer *trainer);
/* Starts new INRs and moments, once a phase, after prepare. */
neumeta_status nmi_trainer_begin_phase(nmi_trainer *trainer);
/* The INRs that the phase adds (nmi_trainer_start.c), and the statistics that it keeps; with the
 * first phase all residual scalars. */
neumeta_status nmi_trainer_start_inrs(nmi_trainer *trainer);
/* The block of a tensor; nodes before the first block go with it. */
int32_t nmi_trainer_block(const nmi_topology *topology, int32_t tensor);
/* Size of an axis at a compression of the widths that vary in the phase; the others are full. */
int64_t nmi_trainer_size_at(const nmi_trainer *trainer, int32_t axis, double gamma);
/* Whether a phase before `phase` trains the block. */
bool nmi_trainer_reached_before(const nmi_trainer *trainer, int32_t phase, int32_t block);
/* Takes the best state if the phase wants it, and moves to the next phase. */
void nmi_trainer_end_phase(nmi_trainer *trainer);

/* --- nmi_teacher.c ---------------------------------------------------------------------------- */

/* Before the first step; a phase must want it. */
neumeta_status nmi_trainer_set_teacher(nmi_trainer *trainer, nmi_network *teacher);
/* Whether every phase that wants a network for its teacher has one. */
neumeta_status nmi_trainer_check_teacher(const nmi_trainer *trainer);
/* Puts the teacher's outputs for these inputs into batch.teacher, once for sizes that share them.
 * `outputs` are those of the step's index-th network, which may be the teacher of the others.
 * *distil: whether this network is to learn from what stands there. */
neumeta_status nmi_trainer_teach(nmi_trainer *trainer, const float *inputs, int64_t items,
                                 const float *outputs, int64_t index, bool *distil);

/* --- nmi_trainer_step.c, nmi_objective.c, nmi_validate.c, nmi_checkpoint.c ------------------ */

/* One step of the present phase, which must be prepared and begun. */
neumeta_status nmi_trainer_train(nmi_trainer *trainer);

/* Loss of one minibatch of the present step and d loss / d outputs into batch.output_gradients,
 * both times `share`. `distil` tells whether a teacher's outputs stand in batch.teacher. */
typedef struct nmi_loss {
    double total, task;
} nmi_loss;
nmi_loss nmi_trainer_output_loss(nmi_trainer *trainer, const float *outputs, int64_t minibatch,
                                 bool distil, double share);
/* Adds norm and reconstruction of the emitted tensors to weight_gradients; returns their loss. */
double nmi_trainer_weight_loss(nmi_trainer *trainer, double share);

/* Puts the emitted weights of `sizes` into `network`; noise may be NULL. `keep`: for a backward. */
neumeta_status nmi_trainer_emit(nmi_trainer *trainer, nmi_network *network, const int64_t *sizes,
                                const nmi_noise *noise, int32_t precision, bool keep);
/* Exchanges values and averages of all slots: the average is what is judged and handed out. */
void nmi_trainer_publish(nmi_trainer *trainer, bool publish);
/* Evaluates on held-out items and keeps the best state, if one is due after this step. */
neumeta_status nmi_trainer_validate(nmi_trainer *trainer);

neumeta_status nmi_trainer_save(nmi_trainer *trainer, const char *path);
neumeta_status nmi_trainer_restore(nmi_trainer *trainer, const char *path);

#endif
