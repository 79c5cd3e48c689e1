/* SPDX-License-Identifier: MIT */
/**
 * @file neumeta.h
 * libneumeta: one trained manifold yields the weights of a network at any width and depth.
 *
 * Methods: Neural Metamorphosis (arXiv 2410.11878) for the weight manifold and the smoothing of
 * channels; How to Train Your Metamorphic Deep Neural Network (arXiv 2505.05510) for block-wise
 * incremental training, INR initialisation and the replacement of batch norm.
 *
 * The way of the data:
 *
 *     topology -> network (load, replace_norm, smooth) -> trainer trains manifold
 *              -> manifold_materialize -> network (run, save)
 *
 * **Handles.** Each handle is created by a `_create`, `_load` or `_materialize` call and ended by
 * its `_free`, which accepts NULL. A handle keeps what it was built from alive, so handles may be
 * freed in any order. When a call fails, its output handle is set to NULL and its other
 * arguments are as they were.
 *
 * **Errors.** A ::neumeta_status below zero is a failure; neumeta_context_message() then holds one
 * sentence that says what was wrong, where, and what was expected.
 *
 * **Threads.** A context and everything made from it belong to one thread at a time; a second
 * thread that calls meanwhile gets ::NEUMETA_ERR_STATE. Different contexts are independent.
 * Exceptions: every `_free` and neumeta_trainer_cancel() may be called from any thread.
 *
 * **Memory.** Everything comes from the context's allocator, except the packing buffers of BLIS
 * and what jansson takes to write descriptions, which use the C allocator.
 *
 * **Sizes.** A network's sizes are an `int64_t` array with one entry for each axis of its
 * topology, in the order of the axes. One multiply-add counts as 2 FLOPs.
 *
 * **Tensors** are float32, row-major; images are `[batch, channels, height, width]`.
 */
#ifndef NEUMETA_H
#define NEUMETA_H

#include <stdint.h>

/** @def NEUMETA_API
 *  Marks what the library exports. Users of a static library define NEUMETA_STATIC on Windows. */
#if defined(_WIN32) && !defined(NEUMETA_STATIC)
#ifdef NEUMETA_BUILD
#define NEUMETA_API __declspec(dllexport)
#else
#define NEUMETA_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define NEUMETA_API __attribute__((visibility("default")))
#else
#define NEUMETA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this header; neumeta_version() tells the library's. */
#define NEUMETA_VERSION_MAJOR 0
#define NEUMETA_VERSION_MINOR 4
#define NEUMETA_VERSION_PATCH 0

/** @name Constants (their numbers never change)
 *  @{ */

/** Result of a call: 0 done, positive stopped on purpose, negative failed. */
typedef int32_t neumeta_status;

#define NEUMETA_OK 0                /**< the call did what it should */
#define NEUMETA_CANCELLED 1         /**< stopped by the progress callback or by cancel */
#define NEUMETA_ERR_ARGUMENT (-1)   /**< an argument or setting is out of its range */
#define NEUMETA_ERR_MEMORY (-2)     /**< the allocator returned NULL */
#define NEUMETA_ERR_STATE (-3)      /**< the handle is in use, sealed, or not ready for this */
#define NEUMETA_ERR_SHAPE (-4)      /**< shapes or sizes do not fit together */
#define NEUMETA_ERR_FORMAT (-5)     /**< a file is damaged or not what it should be */
#define NEUMETA_ERR_VERSION (-6)    /**< a file was written by a newer library */
#define NEUMETA_ERR_IO (-7)         /**< the operating system failed to read or write */
#define NEUMETA_ERR_CALLBACK (-8)   /**< a callback of the caller reported failure */
#define NEUMETA_ERR_NUMERIC (-9)    /**< a value became infinite or not a number */
#define NEUMETA_ERR_UNSUPPORTED (-10) /**< valid, but this library cannot treat it */
#define NEUMETA_ERR_INFEASIBLE (-11)  /**< no network keeps the budget */

/** Levels of log lines; see neumeta_context_set_log(). */
#define NEUMETA_LOG_ERROR 1
#define NEUMETA_LOG_WARNING 2
#define NEUMETA_LOG_INFO 3
#define NEUMETA_LOG_DEBUG 4

/** Kinds of axis: a count of channels, or a count of repetitions. */
#define NEUMETA_AXIS_WIDTH 1
#define NEUMETA_AXIS_DEPTH 2

/** Operators of topology nodes; neumeta_topology_add_node() describes each. */
#define NEUMETA_OP_INPUT 1
#define NEUMETA_OP_CONV 2
#define NEUMETA_OP_LINEAR 3
#define NEUMETA_OP_NORM 4
#define NEUMETA_OP_ACTIVATION 5
#define NEUMETA_OP_ADD 6
#define NEUMETA_OP_CONCAT 7
#define NEUMETA_OP_POOL_MAX 8
#define NEUMETA_OP_POOL_AVERAGE 9
#define NEUMETA_OP_POOL_GLOBAL 10
#define NEUMETA_OP_FLATTEN 11
#define NEUMETA_OP_SHORTCUT 12
#define NEUMETA_OP_SCALE 13
#define NEUMETA_OP_AFFINE 14
#define NEUMETA_OP_GAIN 15
#define NEUMETA_OP_SELECT 16
#define NEUMETA_OP_GROUP_NORM 17

/** Ways to replace batch norm; see neumeta_network_replace_norm(). */
#define NEUMETA_NORM_FOLD 1
#define NEUMETA_NORM_SKIP_INIT 2
#define NEUMETA_NORM_SQRT_HALF 3
#define NEUMETA_NORM_AFFINE 4
#define NEUMETA_NORM_GROUP 5

/** Parts of a dataset. The held-out items are the last ones of the training items. */
#define NEUMETA_SPLIT_TRAIN 1
#define NEUMETA_SPLIT_HELD_OUT 2
#define NEUMETA_SPLIT_TEST 3

/** Types of settings; see neumeta_key_bounds(). BOOL is set as an integer, CHOICE as text. */
#define NEUMETA_TYPE_INT 1
#define NEUMETA_TYPE_REAL 2
#define NEUMETA_TYPE_BOOL 3
#define NEUMETA_TYPE_TEXT 4
#define NEUMETA_TYPE_CHOICE 5
#define NEUMETA_TYPE_INTS 6
#define NEUMETA_TYPE_REALS 7

/** What neumeta_trainer_metric() can tell; all are doubles. */
#define NEUMETA_METRIC_PHASE 1         /**< phase that runs, from 0 */
#define NEUMETA_METRIC_EPOCH 2         /**< epochs done in this phase, with fraction */
#define NEUMETA_METRIC_STEP 3          /**< optimiser steps done in all phases */
#define NEUMETA_METRIC_PROGRESS 4      /**< share of the whole schedule done, 0 to 1 */
#define NEUMETA_METRIC_LOSS 5          /**< total loss, running mean of the present epoch */
#define NEUMETA_METRIC_LOSS_TASK 6     /**< cross-entropy, running mean of the present epoch */
#define NEUMETA_METRIC_LOSS_RECONSTRUCTION 7 /**< last reconstruction error */
#define NEUMETA_METRIC_LEARNING_RATE 8 /**< rate of the last step */
#define NEUMETA_METRIC_HELD_OUT_SCORE 9 /**< last accuracy on held-out items, 0 to 1; NaN: none */
#define NEUMETA_METRIC_BEST_SCORE 10   /**< best of them in this phase; NaN: none */
#define NEUMETA_METRIC_ITEMS_PER_SECOND 11 /**< training items per second of steps, wall time */
#define NEUMETA_METRIC_SECONDS 12      /**< wall time spent training, checkpoints included */
#define NEUMETA_METRIC_FIT 13 /**< share done of what a phase begins with, the INRs' fit to the
                                   reference or a calibration; NaN: none runs */

/** Settings, by number. neumeta_key_help() describes each; docs/settings.md lists them. */
/* Nodes of a topology */
#define NEUMETA_KEY_KERNEL 1
#define NEUMETA_KEY_STRIDE 2
#define NEUMETA_KEY_PADDING 3
#define NEUMETA_KEY_BIAS 4
#define NEUMETA_KEY_MULTIPLE 5
#define NEUMETA_KEY_FUNCTION 6
#define NEUMETA_KEY_EPSILON 7
#define NEUMETA_KEY_NORM_MOMENTUM 8
#define NEUMETA_KEY_VALUE 9
#define NEUMETA_KEY_GROUP_CHANNELS 10
/* Built-in topologies and data */
#define NEUMETA_KEY_CLASSES 20
#define NEUMETA_KEY_INPUT_CHANNELS 21
#define NEUMETA_KEY_INPUT_HEIGHT 22
#define NEUMETA_KEY_INPUT_WIDTH 23
#define NEUMETA_KEY_CHANNELS 24
#define NEUMETA_KEY_SHORTCUT 25
#define NEUMETA_KEY_NORM 26
#define NEUMETA_KEY_HELD_OUT 27
#define NEUMETA_KEY_DATA_MEAN 28
#define NEUMETA_KEY_DATA_STD 29
#define NEUMETA_KEY_AUGMENT_SHIFT 30
#define NEUMETA_KEY_AUGMENT_FLIP 31
/* Loading and passes */
#define NEUMETA_KEY_NAME_MAP 40
#define NEUMETA_KEY_RESIDUAL_SCALE 41
#define NEUMETA_KEY_RESIDUAL_LEARNED 42
#define NEUMETA_KEY_SMOOTH_SOLVER 43
#define NEUMETA_KEY_SMOOTH_TIME_LIMIT 44
#define NEUMETA_KEY_SEED 45
/* Manifolds */
#define NEUMETA_KEY_INR_KIND 60
#define NEUMETA_KEY_INR_ENCODING 61
#define NEUMETA_KEY_INR_HIDDEN 62
#define NEUMETA_KEY_INR_LAYERS 63
#define NEUMETA_KEY_INR_OCTAVES 64
#define NEUMETA_KEY_INR_FUNCTION 65
#define NEUMETA_KEY_INR_SCALAR 66
#define NEUMETA_KEY_COORDINATE_SCALE 67
#define NEUMETA_KEY_MORPH_BLOCKS 68
#define NEUMETA_KEY_SAMPLES 69
#define NEUMETA_KEY_NOISE 70
#define NEUMETA_KEY_NOISE_CLAMP 71
#define NEUMETA_KEY_NOISE_DRAW 72
#define NEUMETA_KEY_INR_EXTENT_OCTAVES 73
#define NEUMETA_KEY_CLEAN_SAMPLE 74
#define NEUMETA_KEY_MLP_BLOCKS 75
#define NEUMETA_KEY_GRID_GAUGE 76
#define NEUMETA_KEY_GRID_TERMS 77
#define NEUMETA_KEY_INR_RANK 78
#define NEUMETA_KEY_SEPARABLE_BLOCKS 79
#define NEUMETA_KEY_TRUNK_BLOCKS 80
/* Phases of a schedule */
#define NEUMETA_KEY_EPOCHS 100
#define NEUMETA_KEY_BATCH 101
#define NEUMETA_KEY_GROUP 102
#define NEUMETA_KEY_OPTIMIZER 103
#define NEUMETA_KEY_LEARNING_RATE 104
#define NEUMETA_KEY_WEIGHT_DECAY 105
#define NEUMETA_KEY_MOMENTUM 106
#define NEUMETA_KEY_BETA1 107
#define NEUMETA_KEY_BETA2 108
#define NEUMETA_KEY_ADAM_EPSILON 109
#define NEUMETA_KEY_RATE 110
#define NEUMETA_KEY_MILESTONES 111
#define NEUMETA_KEY_RATE_FACTOR 112
#define NEUMETA_KEY_WARMUP_EPOCHS 113
#define NEUMETA_KEY_CLIP_VALUE 114
#define NEUMETA_KEY_CLIP_NORM 115
#define NEUMETA_KEY_EMA 116
#define NEUMETA_KEY_LOSS_TASK 117
#define NEUMETA_KEY_LOSS_NORM 118
#define NEUMETA_KEY_LOSS_RECONSTRUCTION 119
#define NEUMETA_KEY_LOSS_RECONSTRUCTION_END 120
#define NEUMETA_KEY_RECONSTRUCTION_WEIGHTED 121
#define NEUMETA_KEY_LOSS_DISTILLATION 122
#define NEUMETA_KEY_DISTILLATION_TEMPERATURE 123
#define NEUMETA_KEY_DISTILLATION_TEACHER 124
#define NEUMETA_KEY_LABEL_SMOOTHING 125
#define NEUMETA_KEY_SIZE_DRAW 126
#define NEUMETA_KEY_SIZE_AXES 127
#define NEUMETA_KEY_GAMMA_MIN 128
#define NEUMETA_KEY_GAMMA_MAX 129
#define NEUMETA_KEY_NON_UNIFORM 130
#define NEUMETA_KEY_INR_INIT 131
#define NEUMETA_KEY_FIT_STEPS 132
#define NEUMETA_KEY_FIT_RATE 133
#define NEUMETA_KEY_RESIDUAL_START 134
#define NEUMETA_KEY_RESIDUAL_RATE 135
#define NEUMETA_KEY_DIRECT_RATE 136
#define NEUMETA_KEY_DIRECT_DECAY 137
#define NEUMETA_KEY_TRAIN_EARLIER 138
#define NEUMETA_KEY_KEEP_MOMENTS 139
#define NEUMETA_KEY_CONTINUE_FROM 140
#define NEUMETA_KEY_VALIDATE_EPOCHS 141
#define NEUMETA_KEY_VALIDATE_GAMMAS 142
#define NEUMETA_KEY_DIRECT_BLOCKS 143
#define NEUMETA_KEY_FIT_SIZES 144
#define NEUMETA_KEY_DEPTH_GAMMA_MAX 145
#define NEUMETA_KEY_GAMMA_GAP 146
#define NEUMETA_KEY_STREAM_GAMMA_MAX 147
#define NEUMETA_KEY_PRECISION 150
#define NEUMETA_KEY_VALIDATE_ITEMS 151
#define NEUMETA_KEY_NORM_STATISTICS 152
/* Trainers */
#define NEUMETA_KEY_CHECKPOINT_PATH 160
#define NEUMETA_KEY_CHECKPOINT_SECONDS 161
/* Calibration */
#define NEUMETA_KEY_CALIBRATE_SIZES 170
#define NEUMETA_KEY_CALIBRATE_ITEMS 171
/* Fronts and budgets */
#define NEUMETA_KEY_SEARCH_EVALUATIONS 180
#define NEUMETA_KEY_SEARCH_ITEMS 181
#define NEUMETA_KEY_WIDTH_MULTIPLE 182
#define NEUMETA_KEY_FRONT_ENTRIES 183
#define NEUMETA_KEY_FRONT_SCORES 184
#define NEUMETA_KEY_MAX_PARAMETERS 190
#define NEUMETA_KEY_MAX_MULTIPLY_ADDS 191
#define NEUMETA_KEY_MAX_BYTES 192
#define NEUMETA_KEY_MAX_LATENCY_US 193
#define NEUMETA_KEY_MIN_SCORE 194
/* Files */
#define NEUMETA_KEY_STORAGE 210
/** @} */

/** @name Handles
 *  @{ */
typedef struct neumeta_context neumeta_context;   /**< allocator, log, threads, seed */
typedef struct neumeta_options neumeta_options;   /**< keyed settings */
typedef struct neumeta_topology neumeta_topology; /**< graph whose widths and depths are axes */
typedef struct neumeta_network neumeta_network;   /**< a topology at fixed sizes, with weights */
typedef struct neumeta_manifold neumeta_manifold; /**< INRs that yield the weight tensors */
typedef struct neumeta_schedule neumeta_schedule; /**< ordered training phases */
typedef struct neumeta_dataset neumeta_dataset;   /**< numbered items behind a callback */
typedef struct neumeta_trainer neumeta_trainer;   /**< training in progress */
/** @} */

/** @name Callbacks: `user` is the pointer given with the function
 *  @{ */

/** Returns `size` bytes aligned to `alignment` (a power of two), or NULL. Called by the
 *  context's thread. */
typedef void *(*neumeta_alloc_fn)(void *user, uint64_t size, uint64_t alignment);
/** Takes back what a ::neumeta_alloc_fn returned, never NULL. Any thread may call it. */
typedef void (*neumeta_release_fn)(void *user, void *memory);
/** Receives one line of log without a line feed; `level` is one of NEUMETA_LOG_*, `message` lives
 *  until the call returns. Called by the context's thread, while one of its calls runs. */
typedef void (*neumeta_log_fn)(void *user, int32_t level, const char *message);
/** One share of parallel work, made by the library and called by the host's threads. */
typedef void (*neumeta_task_fn)(void *argument, int64_t index);
/** Runs task(argument, i) once for each i in [0, count), on any threads, and returns when all
 *  have ended. Tasks do not depend on each other, do not call back and do not throw. */
typedef void (*neumeta_parallel_fn)(void *user, neumeta_task_fn task, void *argument,
                                    int64_t count);
/** Fills `inputs` ([count, channels, height, width], raw values before DATA_MEAN and DATA_STD)
 *  and `targets` ([count], class numbers) with the items whose numbers are in `indices`; `split` is
 *  NEUMETA_SPLIT_TRAIN (which includes the held-out items) or NEUMETA_SPLIT_TEST. Any result but 0
 *  fails the call that needed the data with NEUMETA_ERR_CALLBACK. */
typedef int32_t (*neumeta_fetch_fn)(void *user, int32_t split, const int64_t *indices,
                                    int64_t count, float *inputs, int64_t *targets);
/** Takes the next `size` bytes of a file, in order. Any result but 0 fails the call that writes with
 *  NEUMETA_ERR_CALLBACK. */
typedef int32_t (*neumeta_write_fn)(void *user, const void *data, int64_t size);
/** Called after each optimiser step, each step that fits INRs to the reference, and each size that
 *  a phase with NORM_STATISTICS fitted measures when it begins, by the thread that runs the trainer.
 *  It may read metrics and
 *  cancel, nothing else. Any result but 0 stops training with NEUMETA_CANCELLED. */
typedef int32_t (*neumeta_progress_fn)(void *user, neumeta_trainer *trainer);
/** Called after each size that neumeta_manifold_calibrate() has measured or
 *  neumeta_manifold_search() has judged, with the share done, up to 1. Any result but 0 stops it
 *  with NEUMETA_CANCELLED. */
typedef int32_t (*neumeta_watch_fn)(void *user, double done);
/** @} */

/** @name Library and context
 *  @{ */

/** "major.minor.patch" of the library at run time. Any thread. */
NEUMETA_API const char *neumeta_version(void);

/** A short English name of a status, such as "shape does not fit"; never NULL. Any thread. */
NEUMETA_API const char *neumeta_status_name(neumeta_status status);

/**
 * Create a context with one thread, seed 0 and no log.
 *
 * @param allocate  NULL with `release` NULL: the C allocator. Otherwise both must be given.
 * @param release   See `allocate`.
 * @param user      Handed to both; must stay valid until the last handle of the context has ended.
 * @param context   Receives the context.
 * @return NEUMETA_ERR_ARGUMENT if only one function is given; NEUMETA_ERR_MEMORY.
 */
NEUMETA_API neumeta_status neumeta_context_create(neumeta_alloc_fn allocate,
                                                  neumeta_release_fn release, void *user,
                                                  neumeta_context **context);
/** Lets go of the context; it ends with the last handle made from it. NULL is fine. Any thread. */
NEUMETA_API void neumeta_context_free(neumeta_context *context);

/** The sentence about the last failure, "" if none; valid until the next call with this context or
 *  a handle made from it. Where there is no context yet, neumeta_status_name() is what is left. */
NEUMETA_API const char *neumeta_context_message(const neumeta_context *context);

/** Send log lines up to `level` (NEUMETA_LOG_*) to `log`; NULL silences. A failure is logged as
 *  NEUMETA_LOG_ERROR with the sentence of neumeta_context_message(). `user` is handed to `log`.
 *  @return NEUMETA_ERR_ARGUMENT for an unknown level. */
NEUMETA_API neumeta_status neumeta_context_set_log(neumeta_context *context, neumeta_log_fn log,
                                                   void *user, int32_t level);

/** Use up to `threads` threads, the calling one included; 0: one for each processor. More than
 *  there are processors are not started. Results have the same bits at any number.
 *  @return NEUMETA_ERR_ARGUMENT below 0; NEUMETA_ERR_MEMORY. */
NEUMETA_API neumeta_status neumeta_context_set_threads(neumeta_context *context, int32_t threads);

/** Run parallel work on the host's own threads instead, at most `lanes` (1 to 4096) at a time;
 *  NULL: back to ours. Results have the same bits. `user` is handed to `parallel`.
 *  @return NEUMETA_ERR_ARGUMENT if `lanes` is out of range; NEUMETA_ERR_MEMORY. */
NEUMETA_API neumeta_status neumeta_context_set_parallel(neumeta_context *context,
                                                        neumeta_parallel_fn parallel, void *user,
                                                        int32_t lanes);

/** Seed of everything random that is created or run from now on. Equal seeds and inputs give
 *  equal bits on one type of processor. */
NEUMETA_API neumeta_status neumeta_context_set_seed(neumeta_context *context, uint64_t seed);

/** Compute with the kernels of that name instead of the best ones this processor has: "base" (plain
 *  C), "neon" (AArch64), "avx2", "avx512", "avx512bf16" or "amx" (x86-64), or "auto": the best ones,
 *  as at the start.
 *  To be called before anything is made from the context, since weights rearranged for some kernels
 *  serve no others. Results of two kinds of kernels differ in their last bits.
 *  @return NEUMETA_ERR_ARGUMENT for an unknown name, NEUMETA_ERR_UNSUPPORTED for kernels that this
 *  processor or build lacks: the message lists what they offer; NEUMETA_ERR_STATE while the context
 *  has handles. */
NEUMETA_API neumeta_status neumeta_context_set_kernels(neumeta_context *context, const char *name);
/** Name of the kernels that compute, never "auto"; "" for NULL. Static. */
NEUMETA_API const char *neumeta_context_kernels(const neumeta_context *context);
/** @} */

/** @name Options: receivers copy them; a key that a call does not use is an error
 *  @{ */

/** An empty set of settings. Where a call takes options, NULL means all defaults. Keys differ from
 *  call to call; docs/settings.md lists them all. */
NEUMETA_API neumeta_status neumeta_options_create(neumeta_context *context,
                                                  neumeta_options **options);
/** Ends the options; NULL is fine, any thread. */
NEUMETA_API void neumeta_options_free(neumeta_options *options);
/** For keys of type INT and BOOL. A second value replaces the first, here as below.
 *  @return NEUMETA_ERR_ARGUMENT, here as below, for an unknown key, one of another type, or a value
 *          out of the key's bounds; the options are then as they were. */
NEUMETA_API neumeta_status neumeta_options_set_int(neumeta_options *options, int32_t key,
                                                   int64_t value);
/** For keys of type REAL; NaN is refused. */
NEUMETA_API neumeta_status neumeta_options_set_real(neumeta_options *options, int32_t key,
                                                    double value);
/** For keys of type TEXT and CHOICE; the text is copied. */
NEUMETA_API neumeta_status neumeta_options_set_text(neumeta_options *options, int32_t key,
                                                    const char *value);
/** For keys of type INTS; the `count` values, 1 to 16,384, are copied. */
NEUMETA_API neumeta_status neumeta_options_set_ints(neumeta_options *options, int32_t key,
                                                    const int64_t *values, int64_t count);
/** For keys of type REALS; the `count` values, 1 to 16,384, are copied; NaN is refused. */
NEUMETA_API neumeta_status neumeta_options_set_reals(neumeta_options *options, int32_t key,
                                                     const double *values, int64_t count);
/** Set any key from text: `name` as neumeta_key_name() tells it, case ignored, '-' for '_'; lists
 *  are separated by commas. For command lines and settings files. */
NEUMETA_API neumeta_status neumeta_options_parse(neumeta_options *options, const char *name,
                                                 const char *value);

/** Number of the index-th key, from 0; 0 past the last one. This and the four calls below read a
 *  constant table: any thread, no context. */
NEUMETA_API int32_t neumeta_key_at(int32_t index);
/** Name such as "LEARNING_RATE"; NULL for an unknown key. */
NEUMETA_API const char *neumeta_key_name(int32_t key);
/** One sentence; NULL for an unknown key. */
NEUMETA_API const char *neumeta_key_help(int32_t key);
/** Unit of a number, or "first|second" for a CHOICE; "" if there is none; NULL if unknown. */
NEUMETA_API const char *neumeta_key_unit(int32_t key);
/** Type (NEUMETA_TYPE_*), bounds and default; for CHOICE the default is an index into
 *  neumeta_key_unit(). Outputs may be NULL. NEUMETA_ERR_ARGUMENT for an unknown key. */
NEUMETA_API neumeta_status neumeta_key_bounds(int32_t key, int32_t *type, double *minimum,
                                              double *maximum, double *initial);
/** @} */

/** @name Topologies
 *  @{ */

/** An empty graph, to be built node by node and sealed. Until then only the building calls accept
 *  it. A building call that fails leaves the graph as it was. */
NEUMETA_API neumeta_status neumeta_topology_create(neumeta_context *context,
                                                   neumeta_topology **topology);

/**
 * A sealed topology by name: "lenet", "resnet20-cifar", "resnet32-cifar", "resnet44-cifar",
 * "resnet56-cifar", "resnet110-cifar".
 *
 * @param options  CLASSES, INPUT_CHANNELS, INPUT_HEIGHT, INPUT_WIDTH, CHANNELS, NORM; the residual
 *                 ones also take SHORTCUT.
 * @return NEUMETA_ERR_ARGUMENT for an unknown name or setting; NEUMETA_ERR_SHAPE if an input is
 *         too small; NEUMETA_ERR_MEMORY.
 */
NEUMETA_API neumeta_status neumeta_topology_create_builtin(neumeta_context *context,
                                                           const char *name,
                                                           const neumeta_options *options,
                                                           neumeta_topology **topology);
/** Lets go of the topology, which lives on in what was made from it; NULL is fine, any thread. */
NEUMETA_API void neumeta_topology_free(neumeta_topology *topology);
/** Name of the index-th built-in topology, NULL past the last one. */
NEUMETA_API const char *neumeta_topology_builtin_name(int32_t index);

/**
 * Add an axis of sizes min, min + step, ... up to max. A fixed channel count is a width axis with
 * min = max. Inside a repeat the axis is made once for each repetition: `axis` is that of the
 * first, the others follow with consecutive numbers, named "<repeat>.<number>.<name>".
 *
 * @param name  1 to 255 printable ASCII characters, unique among the axes; copied.
 * @param kind  NEUMETA_AXIS_WIDTH (min >= 1) or NEUMETA_AXIS_DEPTH (min >= 0).
 * @param axis  Receives the number of the axis, from 0.
 */
NEUMETA_API neumeta_status neumeta_topology_add_axis(neumeta_topology *topology, const char *name,
                                                     int32_t kind, int64_t min, int64_t max,
                                                     int64_t step, int32_t *axis);

/** Nodes from here on belong to a new block `name`, until the next block or repeat. Blocks are what
 *  MORPH_BLOCKS and phases address, by number from 0; they do not change what is computed. */
NEUMETA_API neumeta_status neumeta_topology_begin_block(neumeta_topology *topology,
                                                        const char *name);

/**
 * Add an operator. Shapes are [channels, height, width] per item.
 *
 * | op | inputs | output | settings |
 * | --- | --- | --- | --- |
 * | INPUT | 0 | INPUT_CHANNELS x INPUT_HEIGHT x INPUT_WIDTH | these three |
 * | CONV | 1 | `axis` x MULTIPLE channels | KERNEL, STRIDE, PADDING, BIAS, MULTIPLE |
 * | LINEAR | 1, of height and width 1 | `axis` x MULTIPLE channels | BIAS, MULTIPLE |
 * | NORM | 1 | same | EPSILON, NORM_MOMENTUM: batch norm over a channel |
 * | ACTIVATION | 1 | same | FUNCTION |
 * | ADD | 2 or more of one shape | same | |
 * | CONCAT | 2 or more of one height and width | channels in input order | |
 * | POOL_MAX, POOL_AVERAGE | 1 | windowed | KERNEL, STRIDE, PADDING (average counts padding out) |
 * | POOL_GLOBAL | 1 | mean of each channel, 1 x 1 | |
 * | FLATTEN | 1 | channels x height x width features, channel-major | |
 * | SHORTCUT | 1 | `axis` x MULTIPLE channels, every STRIDE-th row and column, the input's channels centred among zeros (option A of He et al. 2015) | STRIDE, MULTIPLE |
 * | SCALE | 1 | input times one learnable scalar | VALUE: its first value |
 * | AFFINE | 1 | input times a scale plus a shift, learnable per channel | |
 * | GAIN | 1 | input times VALUE | VALUE |
 * | GROUP_NORM | 1 | same | EPSILON, GROUP_CHANNELS: an item's mean and variance over groups of so many channels, the last one with what is left over; a scale and shift per channel |
 *
 * Tensors are called `<name>.weight`, `<name>.bias`, `<name>.running_mean`,
 * `<name>.running_var` (NORM), `<name>.scale` (SCALE). Inside a repeat a node is named
 * "<repeat>.<number>.<name>".
 *
 * @param name    1 to 255 printable ASCII characters, unique among the nodes; copied.
 * @param op      NEUMETA_OP_*, except SELECT, which neumeta_topology_end_repeat() adds.
 * @param inputs  Numbers of `count` earlier nodes; NULL if `count` is 0.
 * @param axis    Width axis of the output channels, for CONV, LINEAR and SHORTCUT; otherwise -1.
 * @param node    Number of the new node.
 * @return NEUMETA_ERR_ARGUMENT naming the node and what is wrong with it; NEUMETA_ERR_STATE once
 *         sealed. Shapes are checked by neumeta_topology_seal().
 */
NEUMETA_API neumeta_status neumeta_topology_add_node(neumeta_topology *topology, const char *name,
                                                     int32_t op, const int32_t *inputs,
                                                     int32_t count, int32_t axis,
                                                     const neumeta_options *options,
                                                     int32_t *node);

/**
 * Open a run of nodes that is repeated, each repetition a block "<name>.<number>" with weights and
 * axes of its own, numbered from `first` to the depth axis' maximum - 1. At a given depth d the
 * repetitions with number < d are there. A repeat that follows one fixed block takes first = 1.
 *
 * @param depth_axis  Axis of kind NEUMETA_AXIS_DEPTH with min >= first.
 * @param node        Input of the first repetition; inside the run it stands for the output of the
 *                    repetition before, whose shape must be equal. Repeats cannot be nested.
 */
NEUMETA_API neumeta_status neumeta_topology_begin_repeat(neumeta_topology *topology,
                                                         const char *name, int32_t depth_axis,
                                                         int32_t first, int32_t node);
/** Close the run; `last` is the output of one repetition, `node` that of the last one present.
 *  Nodes inside the run cannot be inputs of nodes after it. */
NEUMETA_API neumeta_status neumeta_topology_end_repeat(neumeta_topology *topology, int32_t last,
                                                       int32_t *node);

/** Check every shape at the smallest and the largest sizes and make the topology immutable.
 *  `output` is the node whose values a run returns.
 *  @return NEUMETA_ERR_SHAPE naming the node that does not fit, and then the topology stays open;
 *          NEUMETA_ERR_ARGUMENT if the number of nodes times that of axes is above 2^26;
 *          NEUMETA_ERR_STATE if it is sealed already, empty, or a repeat is open. */
NEUMETA_API neumeta_status neumeta_topology_seal(neumeta_topology *topology, int32_t output);

/** Number of axes, and so the length of every array of sizes; -1 for NULL or a topology that is not
 *  sealed. */
NEUMETA_API int32_t neumeta_topology_axis_count(const neumeta_topology *topology);
/** Name, kind (NEUMETA_AXIS_*) and range of an axis of a sealed topology, by number from 0. Outputs
 *  may be NULL; `name` lives as long as the topology. */
NEUMETA_API neumeta_status neumeta_topology_axis(const neumeta_topology *topology, int32_t axis,
                                                 const char **name, int32_t *kind, int64_t *min,
                                                 int64_t *max, int64_t *step);
/** Number of blocks, repetitions at full depth included; -1 for NULL or a topology that is not
 *  sealed. */
NEUMETA_API int32_t neumeta_topology_block_count(const neumeta_topology *topology);
/** Name of a block by number from 0, which lives as long as the topology; NULL past the last
 *  one. */
NEUMETA_API const char *neumeta_topology_block_name(const neumeta_topology *topology,
                                                    int32_t block);
/** Trainable parameters and FLOPs of one item (multiplications and additions of convolutions and
 *  linear nodes; one multiply-add is 2). Outputs may be NULL. `count` must be the number of axes.
 *  @return NEUMETA_ERR_ARGUMENT naming the axis whose size is wrong; NEUMETA_ERR_SHAPE if the sizes
 *          do not fit together. */
NEUMETA_API neumeta_status neumeta_topology_cost(const neumeta_topology *topology,
                                                 const int64_t *sizes, int32_t count,
                                                 int64_t *parameters, int64_t *flops);
/** What a network of these sizes takes and returns: channels, height and width of one item. `input` and
 *  `output` have room for three numbers each, or are NULL. `sizes` NULL: every axis at its maximum;
 *  else `count` is the number of axes.
 *  @return NEUMETA_ERR_ARGUMENT naming the axis whose size is wrong; NEUMETA_ERR_SHAPE if the sizes
 *          do not fit together; NEUMETA_ERR_STATE if the topology is not sealed;
 *          NEUMETA_ERR_MEMORY. */
NEUMETA_API neumeta_status neumeta_topology_shapes(const neumeta_topology *topology,
                                                   const int64_t *sizes, int32_t count,
                                                   int64_t *input, int64_t *output);
/** Sizes with every inner width axis at compression gamma in [0, 1): round((1 - gamma) max), moved
 *  into the axis' range and onto its steps. Stream widths (axes that reach an ADD) and depths stay
 *  at their maximum. */
NEUMETA_API neumeta_status neumeta_topology_sizes_at(const neumeta_topology *topology,
                                                     double gamma, int64_t *sizes, int32_t count);
/** @} */

/** @name Networks
 *  @{ */

/** A network with fresh weights: He-normal convolutions, linear layers uniform in
 *  +-1/sqrt(fan_in), norms at identity. `sizes` NULL: every axis at its maximum; else `count` is
 *  the number of axes. The weights follow from the context's seed. */
NEUMETA_API neumeta_status neumeta_network_create(const neumeta_topology *topology,
                                                  const int64_t *sizes, int32_t count,
                                                  neumeta_network **network);
/** A network at the sizes the file's tensors show, read from a safetensors file whose
 *  tensors carry the topology's names and shapes. All tensors of the topology must be there;
 *  others are refused. F32, F64, F16 and BF16 are read; networks keep float32.
 *  @param topology  Sealed.
 *  @param path      File name in the encoding of the system.
 *  @param options   NAME_MAP.
 *  @param network   Receives the network.
 *  @return NEUMETA_ERR_IO; NEUMETA_ERR_FORMAT naming the file, the tensor and what was expected. */
NEUMETA_API neumeta_status neumeta_network_load(const neumeta_topology *topology, const char *path,
                                                const neumeta_options *options,
                                                neumeta_network **network);
/** The same from `size` bytes in memory, which are not kept. */
NEUMETA_API neumeta_status neumeta_network_load_memory(const neumeta_topology *topology,
                                                       const void *data, int64_t size,
                                                       const neumeta_options *options,
                                                       neumeta_network **network);
/** Lets go of the network; NULL is fine, any thread. */
NEUMETA_API void neumeta_network_free(neumeta_network *network);

/** The network's topology, which replace_norm changes; free it too. */
NEUMETA_API neumeta_status neumeta_network_topology(const neumeta_network *network,
                                                    neumeta_topology **topology);
/** Copies the sizes; `count` must be the number of axes. */
NEUMETA_API neumeta_status neumeta_network_sizes(const neumeta_network *network, int64_t *sizes,
                                                 int32_t count);

/**
 * Remove batch norm; the outputs do not change, except by GROUP.
 *
 * FOLD moves each norm into the convolution before it. SKIP_INIT also puts a learnable scalar
 * behind each residual branch. SQRT_HALF also rewrites each residual sum as (x + F)/sqrt 2, the
 * factors being carried through to the classifier. AFFINE leaves a scale and shift per channel.
 * GROUP puts group norm in its place, which takes its moments from each item as it runs: a start to
 * train from. Smooth before, since groups would tie the order of the channels.
 * Sources: arXiv 2410.11878 (fold), arXiv 2505.05510, batch-norm replacement.
 *
 * @param network  Changed in place; it then has a topology of its own: neumeta_network_topology().
 * @param method   NEUMETA_NORM_*.
 * @param options  RESIDUAL_SCALE (SKIP_INIT; other values than 1 do change the outputs),
 *                 RESIDUAL_LEARNED (SQRT_HALF), GROUP_CHANNELS (GROUP).
 * @return NEUMETA_ERR_UNSUPPORTED with the reason if a norm cannot be treated;
 *         NEUMETA_ERR_STATE if the weights are shared.
 */
NEUMETA_API neumeta_status neumeta_network_replace_norm(neumeta_network *network, int32_t method,
                                                        const neumeta_options *options);

/**
 * Reorder channels so that neighbouring weights are alike; the outputs do not change.
 *
 * Solves a shortest Hamiltonian path for each group of tied channels; SMOOTH_SOLVER importance
 * sorts each group instead, the channels that matter most first.
 * Source: Neural Metamorphosis, arXiv 2410.11878, weight smoothing.
 *
 * @param network  Changed in place; every tied tensor moves, running statistics included.
 * @param options  SMOOTH_SOLVER, SMOOTH_TIME_LIMIT, SEED.
 * @return NEUMETA_ERR_STATE if the weights are shared; NEUMETA_ERR_UNSUPPORTED with the reason.
 * @note Time O(groups * channels^2 * length).
 */
NEUMETA_API neumeta_status neumeta_network_smooth(neumeta_network *network,
                                                  const neumeta_options *options);
/** Total variation: the sum of absolute differences of channel neighbours over all tensors. What
 *  neumeta_network_smooth() makes smaller; only comparisons of one network with itself mean
 *  much. */
NEUMETA_API neumeta_status neumeta_network_roughness(const neumeta_network *network,
                                                     double *total_variation);

/**
 * Compute outputs in inference mode. Threads take whole items each; what is left when the batch is
 * no multiple of their number, a single item for one, they compute together if it is large enough.
 *
 * @param inputs    [batch, channels, height, width], already normalised.
 * @param outputs   [batch, output channels, output height, output width];
 *                  neumeta_topology_shapes() tells these.
 * @param batch     Items, 1 to 2^24.
 * @param capacity  Floats that `outputs` can hold.
 * @return NEUMETA_ERR_ARGUMENT if `capacity` is too small; NEUMETA_ERR_MEMORY.
 * @note Takes memory at the first run and when the batch grows, none otherwise; see
 *       neumeta_network_memory(). Thread: the context's.
 */
NEUMETA_API neumeta_status neumeta_network_run(neumeta_network *network, const float *inputs,
                                               int64_t batch, float *outputs, int64_t capacity);
/** Exact bytes of working memory that a run with this batch takes, and keeps until the network is
 *  freed: at the context's present number of threads. */
NEUMETA_API neumeta_status neumeta_network_memory(const neumeta_network *network, int64_t batch,
                                                  int64_t *bytes);
/** Mean cross-entropy and accuracy (0 to 1) over a split (NEUMETA_SPLIT_*); outputs may be NULL.
 *  Nothing is augmented.
 *  An item whose outputs are not all numbers counts as wrong.
 *  @return NEUMETA_ERR_SHAPE if the items do not fit, or outputs have more than one pixel;
 *          NEUMETA_ERR_STATE if the split is empty; NEUMETA_ERR_CALLBACK naming the item that could
 *          not be had, or whose target is no class. */
NEUMETA_API neumeta_status neumeta_network_evaluate(neumeta_network *network,
                                                    neumeta_dataset *dataset, int32_t split,
                                                    double *loss, double *score);
/**
 * Measure the running statistics of the network's norms on training items.
 *
 * The items, spread evenly over the training split, run through the network in batches that
 * normalise themselves, as in training but without augmentation. Weights do not change.
 *
 * @param options  CALIBRATE_ITEMS.
 * @return NEUMETA_ERR_UNSUPPORTED without norms; NEUMETA_ERR_STATE if weights are shared;
 *         NEUMETA_ERR_SHAPE; NEUMETA_ERR_CALLBACK; NEUMETA_ERR_NUMERIC.
 */
NEUMETA_API neumeta_status neumeta_network_calibrate(neumeta_network *network,
                                                     neumeta_dataset *dataset,
                                                     const neumeta_options *options);
/** A network with the same weights for another context, and so for another thread. Shared weights
 *  cannot be changed any more (NEUMETA_ERR_STATE) while more than one network has them. Both
 *  contexts must be idle during the call; afterwards the two networks are independent. */
NEUMETA_API neumeta_status neumeta_network_share(const neumeta_network *network,
                                                 neumeta_context *context, neumeta_network **copy);
/** Write all tensors as safetensors, atomically: after a failure (NEUMETA_ERR_IO) an older file of
 *  this name is as it was, unless the message says that only its folder could not be flushed.
 *  neumeta_network_load() reads it; so does any other reader of the format. */
NEUMETA_API neumeta_status neumeta_network_save(const neumeta_network *network, const char *path);
/** The same in fewer bits: what is loaded again is what rounding left.
 *  @param options  STORAGE; NULL: as neumeta_network_save().
 *  @return NEUMETA_ERR_NUMERIC naming the tensor with a number that the type cannot hold. */
NEUMETA_API neumeta_status neumeta_network_save_as(const neumeta_network *network, const char *path,
                                                   const neumeta_options *options);
/** Bytes of a network's fingerprint. */
#define NEUMETA_FINGERPRINT_BYTES 32
/**
 * What tells a network from any other: SHA-256 of its topology, sizes and tensors.
 *
 * Bits do not depend on threads or host, and files keep it; rounding to fewer bits changes it.
 *
 * @param fingerprint  Receives NEUMETA_FINGERPRINT_BYTES bytes.
 * @param count        That number.
 * @note Time: a few milliseconds for each million of parameters.
 */
NEUMETA_API neumeta_status neumeta_network_fingerprint(const neumeta_network *network,
                                                       uint8_t *fingerprint, int64_t count);
/** Number of tensors at the network's sizes, running statistics included; -1 for NULL. */
NEUMETA_API int32_t neumeta_network_tensor_count(const neumeta_network *network);
/** The index-th tensor, from 0: `dims` receives 4 entries, the first `rank` of them meaningful;
 *  convolutions are [out, in, height, width], linear nodes [out, in]. `data` is borrowed until the
 *  network changes or ends. Outputs may be NULL. */
NEUMETA_API neumeta_status neumeta_network_tensor(const neumeta_network *network, int32_t index,
                                                  const char **name, int64_t *dims, int32_t *rank,
                                                  const float **data);
/** @} */

/** @name Datasets
 *  @{ */

/**
 * Items 0..train-1 (training, held-out ones last) and 0..test-1 behind a callback.
 *
 * @param options  INPUT_CHANNELS, INPUT_HEIGHT, INPUT_WIDTH, HELD_OUT, DATA_MEAN, DATA_STD,
 *                 AUGMENT_SHIFT, AUGMENT_FLIP. Mean and standard deviation apply after the
 *                 augmentation, one entry for each channel (or one for all).
 * @param train    Training items, the HELD_OUT ones among them.
 * @param test     Test items; may be 0.
 * @param fetch    Called by the context's thread, in the middle of training or evaluation.
 * @param user     Handed to `fetch`; must stay valid until the dataset has ended.
 */
NEUMETA_API neumeta_status neumeta_dataset_create(neumeta_context *context, int64_t train,
                                                  int64_t test, neumeta_fetch_fn fetch, void *user,
                                                  const neumeta_options *options,
                                                  neumeta_dataset **dataset);
/** Items in memory: `inputs` [train + test, channels, height, width] and `targets`
 *  [train + test], both borrowed until the dataset has ended. */
NEUMETA_API neumeta_status neumeta_dataset_create_memory(neumeta_context *context,
                                                         const float *inputs,
                                                         const int64_t *targets, int64_t train,
                                                         int64_t test,
                                                         const neumeta_options *options,
                                                         neumeta_dataset **dataset);
/** Lets go of the dataset; NULL is fine, any thread. It ends with the last trainer that uses it. */
NEUMETA_API void neumeta_dataset_free(neumeta_dataset *dataset);
/** @} */

/** @name Manifolds
 *  @{ */

/**
 * A manifold with untrained INRs for the convolutions and linear layers of MORPH_BLOCKS, and
 * directly held tensors for everything else (zero until a trainer copies its reference there).
 *
 * Norms are held, too: their scale and shift like other vectors; their running statistics are
 * functions of the sizes, which neumeta_manifold_calibrate() finds after training.
 *
 * @param topology  Sealed; retained.
 * @param options   INR_KIND, MORPH_BLOCKS, MLP_BLOCKS, SEPARABLE_BLOCKS, TRUNK_BLOCKS, SEED; for
 *                  grids GRID_GAUGE, GRID_TERMS; for separable INRs INR_RANK; for all but grids
 *                  INR_ENCODING, INR_HIDDEN, INR_LAYERS, INR_OCTAVES, INR_FUNCTION, INR_SCALAR,
 *                  COORDINATE_SCALE, INR_EXTENT_OCTAVES, NOISE, NOISE_CLAMP.
 * @return NEUMETA_ERR_ARGUMENT; NEUMETA_ERR_STATE if the topology is not sealed;
 *         NEUMETA_ERR_MEMORY.
 */
NEUMETA_API neumeta_status neumeta_manifold_create(const neumeta_topology *topology,
                                                   const neumeta_options *options,
                                                   neumeta_manifold **manifold);
/** Read what neumeta_manifold_save() wrote, topology and settings included.
 *  @return NEUMETA_ERR_IO; NEUMETA_ERR_FORMAT naming the file and what is wrong with it;
 *          NEUMETA_ERR_VERSION for a file of a newer library. */
NEUMETA_API neumeta_status neumeta_manifold_load(neumeta_context *context, const char *path,
                                                 neumeta_manifold **manifold);
/** The same from `size` bytes in memory, which are not kept. */
NEUMETA_API neumeta_status neumeta_manifold_load_memory(neumeta_context *context,
                                                        const void *data, int64_t size,
                                                        neumeta_manifold **manifold);
/** Lets go of the manifold; NULL is fine, any thread. */
NEUMETA_API void neumeta_manifold_free(neumeta_manifold *manifold);
/** Write topology, settings and all parameters as safetensors, atomically. */
NEUMETA_API neumeta_status neumeta_manifold_save(const neumeta_manifold *manifold,
                                                 const char *path);
/** The same with all parameters in fewer bits: what is loaded again is what rounding left.
 *  @param options  STORAGE; NULL: as neumeta_manifold_save().
 *  @return NEUMETA_ERR_NUMERIC naming the tensor with a number that the type cannot hold. */
NEUMETA_API neumeta_status neumeta_manifold_save_as(const neumeta_manifold *manifold,
                                                    const char *path,
                                                    const neumeta_options *options);
/** Hand the same bytes to `write`, piece by piece, to be kept anywhere; `user` is handed to it. The
 *  counterpart of neumeta_manifold_load_memory().
 *  @return NEUMETA_ERR_CALLBACK if `write` failed; NEUMETA_ERR_MEMORY. */
NEUMETA_API neumeta_status neumeta_manifold_write(const neumeta_manifold *manifold,
                                                  neumeta_write_fn write, void *user);
/** The manifold's topology; free it too. */
NEUMETA_API neumeta_status neumeta_manifold_topology(const neumeta_manifold *manifold,
                                                     neumeta_topology **topology);
/** Parameters of all INRs and directly held tensors. */
NEUMETA_API neumeta_status neumeta_manifold_parameters(const neumeta_manifold *manifold,
                                                       int64_t *parameters);
/** Sizes with every inner width axis that only emitted tensors follow at compression gamma in
 *  [0, 1), as neumeta_topology_sizes_at() does; all other axes at their maximum. */
NEUMETA_API neumeta_status neumeta_manifold_sizes_at(const neumeta_manifold *manifold,
                                                     double gamma, int64_t *sizes, int32_t count);
/** The smallest size of each axis that training drew; an axis that it did not vary is at its maximum.
 *  Where trainings differed, each group of axes (inner widths, streams, depths) goes as far as any of
 *  them did.
 *  Networks of sizes below these have whatever accuracy they have.
 *  @param count  The number of axes.
 *  @return NEUMETA_ERR_STATE if that is not known: the manifold was not trained, or a library
 *          before 0.4 wrote its file and it has no statistics. */
NEUMETA_API neumeta_status neumeta_manifold_trained_sizes(const neumeta_manifold *manifold,
                                                          int64_t *least, int32_t count);
/**
 * The network at the given sizes; it does not need the manifold any more.
 *
 * @param sizes    One entry for each axis. Axes on which a directly held tensor depends must be at
 *                 their maximum. Sizes outside the trained range are extrapolated.
 * @param count    The number of axes.
 * @param options  SAMPLES, CLEAN_SAMPLE, NOISE, NOISE_CLAMP, NOISE_DRAW, SEED, PRECISION.
 * @return NEUMETA_ERR_ARGUMENT or NEUMETA_ERR_SHAPE naming the axis whose size is wrong;
 *         NEUMETA_ERR_STATE if norms were not calibrated since the manifold was last trained;
 *         NEUMETA_ERR_NUMERIC if the manifold yields something infinite.
 * @note Time O(SAMPLES * rows * INR_LAYERS * INR_HIDDEN^2), a row being one pair of an output and
 *       an input channel, for separable INRs an output or an input channel; for grids, that of
 *       copying the weights. Source: arXiv 2410.11878, averaged sampling of the manifold.
 */
NEUMETA_API neumeta_status neumeta_manifold_materialize(neumeta_manifold *manifold,
                                                        const int64_t *sizes, int32_t count,
                                                        const neumeta_options *options,
                                                        neumeta_network **network);
/**
 * Find the running statistics of the manifold's norms as functions of the sizes.
 *
 * Measures means and variances at drawn sizes on training items without augmentation, as
 * neumeta_network_calibrate() does, and fits a few terms of the sizes for each channel
 * (docs/methods/statistics.md). Materialisation then needs no data. Training makes the functions
 * invalid: they are dropped with its first step, and materialising fails until the next
 * calibration. Only phases whose NORM_STATISTICS is 'fitted' keep them, and train with them.
 *
 * @param dataset  Its training items without the held-out ones are used; targets are not.
 * @param options  CALIBRATE_SIZES, CALIBRATE_ITEMS, GAMMA_MIN, GAMMA_GAP, NON_UNIFORM (unset: 0.5),
 *                 SEED; GAMMA_MAX, STREAM_GAMMA_MAX, DEPTH_GAMMA_MAX and SIZE_AXES, unset: as in
 *                 training, where that is known.
 * @param watch    NULL: nobody. `user` is handed to it.
 * @param error    NULL, or receives how far off the functions are at sizes that were left out of a
 *                 first fit: the root mean square over channels of the mean's error in standard
 *                 deviations and of the error of the standard deviation's logarithm; NaN if
 *                 CALIBRATE_SIZES is below 5, which leaves out none.
 * @return NEUMETA_CANCELLED if `watch` stopped it; NEUMETA_ERR_UNSUPPORTED without norms;
 *         NEUMETA_ERR_SHAPE; NEUMETA_ERR_CALLBACK; NEUMETA_ERR_NUMERIC naming a norm whose input is
 *         not finite. The manifold is then as it was.
 * @note Time: CALIBRATE_SIZES * CALIBRATE_ITEMS forward passes of the drawn networks.
 */
NEUMETA_API neumeta_status neumeta_manifold_calibrate(neumeta_manifold *manifold,
                                                      neumeta_dataset *dataset,
                                                      const neumeta_options *options,
                                                      neumeta_watch_fn watch, void *user,
                                                      double *error);
/** Whether the manifold can be materialised as it is: 1 if it has no norms, or statistics of theirs
 *  for its present parameters; else 0. */
NEUMETA_API neumeta_status neumeta_manifold_calibrated(const neumeta_manifold *manifold,
                                                       int32_t *calibrated);
/** @} */

/** @name Fronts and budgets
 *  A front is a list of sizes that a search found to be worth having, each with its measured
 *  accuracy and its costs (docs/methods/budgets.md). The manifold keeps it, in its file too, until
 *  training or another calibration changes the networks that it yields.
 *  @{ */

/**
 * Search for the manifold's front: sizes, not uniform in general, than which no others that were
 * tried score better on held-out items at the same cost, in multiply-adds, parameters, bytes or
 * latency.
 *
 * @param dataset  Has held-out items, which training must not have seen. The front's scores are
 *                 accuracies over all of them; with FRONT_SCORES 'test', over all test items, which
 *                 take no part in the choice.
 * @param options  SEARCH_EVALUATIONS, SEARCH_ITEMS, WIDTH_MULTIPLE, FRONT_ENTRIES, FRONT_SCORES,
 *                 SEED; GAMMA_MAX, STREAM_GAMMA_MAX, DEPTH_GAMMA_MAX and SIZE_AXES, unset: as in
 *                 training, where that is known.
 * @param watch    NULL: nobody. `user` is handed to it.
 * @return NEUMETA_CANCELLED if `watch` stopped it; NEUMETA_ERR_STATE if nothing is held out, or if
 *         norms are not calibrated; NEUMETA_ERR_SHAPE; NEUMETA_ERR_CALLBACK. The manifold then has
 *         the front that it had.
 * @note Time: SEARCH_EVALUATIONS * SEARCH_ITEMS and 2 FRONT_ENTRIES * all held-out items, forward.
 *       Sizes and scores depend on SEED alone, latencies on the machine.
 */
NEUMETA_API neumeta_status neumeta_manifold_search(neumeta_manifold *manifold,
                                                   neumeta_dataset *dataset,
                                                   const neumeta_options *options,
                                                   neumeta_watch_fn watch, void *user);
/** Number of entries of the front; 0 if there is none, -1 for NULL. */
NEUMETA_API int32_t neumeta_manifold_front_count(const neumeta_manifold *manifold);
/** Held-out or test items that the scores are means of, and name of the kernels that the latencies were
 *  measured with, which lives as long as the front. Outputs may be NULL.
 *  @return NEUMETA_ERR_STATE if there is no front. */
NEUMETA_API neumeta_status neumeta_manifold_front_origin(const neumeta_manifold *manifold,
                                                         int64_t *items, const char **kernels);
/** The entry-th entry, from 0, by rising multiply-adds: sizes (`count` is the number of axes),
 *  accuracy from 0 to 1, trainable parameters, multiply-adds of one item (half of the FLOPs of
 *  neumeta_topology_cost()), bytes of all tensors, and microseconds for one item on one thread of
 *  the machine that searched. Outputs may be NULL.
 *  @return NEUMETA_ERR_STATE if there is no front; NEUMETA_ERR_ARGUMENT past the last entry. */
NEUMETA_API neumeta_status neumeta_manifold_front_entry(const neumeta_manifold *manifold,
                                                        int32_t entry, int64_t *sizes,
                                                        int32_t count, double *score,
                                                        int64_t *parameters,
                                                        int64_t *multiply_adds, int64_t *bytes,
                                                        double *latency_us);
/**
 * The best sizes for a budget: those of the front's entry with the highest score that keeps it,
 * enlarged towards the next better entry as far as the budget allows; with MIN_SCORE those of the
 * entry with the fewest multiply-adds that reaches it. A manifold without a front gives the largest
 * uniform sizes that keep the budget.
 *
 * @param budget      MAX_PARAMETERS, MAX_MULTIPLY_ADDS and MAX_BYTES, which are never exceeded;
 *                    MAX_LATENCY_US, for which entries are measured here, and not enlarged;
 *                    MIN_SCORE. What is not set is not bounded.
 * @param sizes       Receives the sizes, one for each axis.
 * @param count       The number of axes.
 * @param score       NULL, or receives the score of the entry; NaN without a front.
 * @param latency_us  NULL, or receives the latency measured here; NaN without MAX_LATENCY_US.
 * @return NEUMETA_ERR_INFEASIBLE naming a bound that no network on offer keeps and the least there
 *         is; NEUMETA_ERR_STATE for MIN_SCORE without a front.
 * @note Time: about a millisecond; with MAX_LATENCY_US 10 to 50 milliseconds, or up to about ten
 *       times the bound if that is more, in which a few entries are measured.
 */
NEUMETA_API neumeta_status neumeta_manifold_fit_budget(const neumeta_manifold *manifold,
                                                       const neumeta_options *budget,
                                                       int64_t *sizes, int32_t count,
                                                       double *score, double *latency_us);
/** @} */

/** @name Schedules
 *  @{ */

/** An empty schedule. It belongs to no topology: the trainer checks it against one. */
NEUMETA_API neumeta_status neumeta_schedule_create(neumeta_context *context,
                                                   neumeta_schedule **schedule);
/**
 * A recipe of the papers for a topology whose norm is replaced.
 *
 * @param recipe   "nm": all morphing blocks in one phase (arXiv 2410.11878);
 *                 "ht": block after block, INRs cloned, residual scalars (arXiv 2505.05510).
 * @param blocks   Morphing blocks in training order, as MORPH_BLOCKS; NULL with count 0: all.
 * @param options  Settings that replace the recipe's own in every phase.
 * @return NEUMETA_ERR_ARGUMENT for an unknown recipe, block or setting.
 */
NEUMETA_API neumeta_status neumeta_schedule_create_recipe(const neumeta_topology *topology,
                                                          const char *recipe,
                                                          const int64_t *blocks, int64_t count,
                                                          const neumeta_options *options,
                                                          neumeta_schedule **schedule);
/** Lets go of the schedule; NULL is fine, any thread. */
NEUMETA_API void neumeta_schedule_free(neumeta_schedule *schedule);
/** Add a phase that trains blocks `first_block` to `last_block` (negative: from the end).
 *  Phases run in the order in which they were added.
 *  @param schedule     Gets the phase; trainers that exist already have a copy and do not.
 *  @param name         For messages and neumeta_schedule_phase_name(); copied.
 *  @param first_block  Number of a block; the trainer checks it.
 *  @param last_block   The same; must not come before `first_block`.
 *  @param options      EPOCHS and any other setting of phases; NULL: all defaults. */
NEUMETA_API neumeta_status neumeta_schedule_add_phase(neumeta_schedule *schedule, const char *name,
                                                      int32_t first_block, int32_t last_block,
                                                      const neumeta_options *options);
/** Number of phases; -1 for NULL. */
NEUMETA_API int32_t neumeta_schedule_phase_count(const neumeta_schedule *schedule);
/** Name of a phase by number from 0, which lives as long as the schedule and until a phase is
 *  added; NULL past the last one. */
NEUMETA_API const char *neumeta_schedule_phase_name(const neumeta_schedule *schedule,
                                                    int32_t phase);
/** @} */

/** @name Training
 *  @{ */

/**
 * Train a manifold so that it yields networks of many sizes.
 *
 * @param manifold   Trained in place. After each neumeta_trainer_run() it may be used, and holds
 *                   the averages if EMA is set.
 * @param reference  Network at full sizes whose topology equals the manifold's; its weights are the
 *                   reconstruction target, the distillation teacher and the directly held tensors.
 *                   NULL: train from scratch, without those losses.
 * @param schedule   Copied.
 * @param options    CHECKPOINT_PATH, CHECKPOINT_SECONDS, SEED; for phases whose NORM_STATISTICS is
 *                   'fitted' also CALIBRATE_SIZES, CALIBRATE_ITEMS.
 * @return NEUMETA_ERR_ARGUMENT naming phase and setting; NEUMETA_ERR_SHAPE if dataset, reference
 *         and manifold do not fit together; NEUMETA_ERR_MEMORY.
 */
NEUMETA_API neumeta_status neumeta_trainer_create(neumeta_manifold *manifold,
                                                  neumeta_network *reference,
                                                  const neumeta_schedule *schedule,
                                                  neumeta_dataset *dataset,
                                                  const neumeta_options *options,
                                                  neumeta_trainer **trainer);
/** Train the weights of one network in place, batch norm in training mode. Settings that only
 *  concern INRs are refused. The phases' blocks bound what is trained; their norms keep their
 *  statistics fixed outside. */
NEUMETA_API neumeta_status neumeta_trainer_create_plain(neumeta_network *network,
                                                        const neumeta_schedule *schedule,
                                                        neumeta_dataset *dataset,
                                                        const neumeta_options *options,
                                                        neumeta_trainer **trainer);
/** Lets go of the trainer; NULL is fine, any thread. What was trained stays in the manifold or
 *  network. */
NEUMETA_API void neumeta_trainer_free(neumeta_trainer *trainer);
/** Have `progress` called as ::neumeta_progress_fn says, in neumeta_trainer_run(); NULL: nobody. `user` is handed to it. */
NEUMETA_API neumeta_status neumeta_trainer_set_progress(neumeta_trainer *trainer,
                                                        neumeta_progress_fn progress, void *user);
/** Give the network that phases with DISTILLATION_TEACHER 'network' learn from, of any topology: its
 *  outputs for a minibatch are what the trained networks are to have, too. Before the first step
 *  and before neumeta_trainer_restore(); a checkpoint fits only a trainer with the same teacher.
 *  @param teacher  Retained; must not change while it teaches.
 *  @return NEUMETA_ERR_ARGUMENT if no phase asks for it; NEUMETA_ERR_SHAPE if inputs or outputs
 *          differ in number; NEUMETA_ERR_STATE if training has begun. Without a teacher that a
 *          phase asks for, neumeta_trainer_run() and neumeta_trainer_step() return
 *          NEUMETA_ERR_STATE. */
NEUMETA_API neumeta_status neumeta_trainer_set_teacher(neumeta_trainer *trainer,
                                                       neumeta_network *teacher);
/** Train until the schedule ends (NEUMETA_OK), or until stopped (NEUMETA_CANCELLED; call again to
 *  go on). The trained state, averaged if EMA is set, is then in the manifold or network. With
 *  CHECKPOINT_PATH, a checkpoint is written at the end and whenever it stops on purpose, too.
 *  @return NEUMETA_ERR_CALLBACK if data could not be had, and calling again goes on;
 *          NEUMETA_ERR_NUMERIC naming phase, epoch and step where the loss or a gradient became
 *          infinite; NEUMETA_ERR_IO if a checkpoint could not be written; NEUMETA_ERR_MEMORY. */
NEUMETA_API neumeta_status neumeta_trainer_run(neumeta_trainer *trainer);
/** One optimiser step; NEUMETA_CANCELLED when the schedule has ended. Calls no progress callback
 *  and writes no checkpoint, and the averages of EMA stay aside until neumeta_trainer_run(). */
NEUMETA_API neumeta_status neumeta_trainer_step(neumeta_trainer *trainer);
/** Stop neumeta_trainer_run() after its present step; any thread may call this. What begins a
 *  phase, the regression of INRs and the measuring of statistics, then starts anew when training
 *  goes on, to the same end. */
NEUMETA_API void neumeta_trainer_cancel(neumeta_trainer *trainer);
/** One of NEUMETA_METRIC_*. The progress callback may call this.
 *  @return NEUMETA_ERR_ARGUMENT for an unknown metric or NULL; no message is left. */
NEUMETA_API neumeta_status neumeta_trainer_metric(const neumeta_trainer *trainer, int32_t metric,
                                                  double *value);
/** Write weights, moments, averages, random state and position, atomically: a trainer made from the
 *  same parts that restores it goes on bit for bit. */
NEUMETA_API neumeta_status neumeta_trainer_save(neumeta_trainer *trainer, const char *path);
/** Go on from a checkpoint. The trainer must have been made from an equal topology, schedule,
 *  reference, number of training items, seed and settings of the INRs, and from the same data,
 *  which cannot be checked.
 *  @return NEUMETA_ERR_STATE if the checkpoint belongs to another training; NEUMETA_ERR_IO;
 *          NEUMETA_ERR_FORMAT; NEUMETA_ERR_VERSION. On failure the trainer is as it was. */
NEUMETA_API neumeta_status neumeta_trainer_restore(neumeta_trainer *trainer, const char *path);
/** @} */

#ifdef __cplusplus
}
#endif
#endif
