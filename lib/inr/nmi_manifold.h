/* SPDX-License-Identifier: MIT */
/*
 * The manifold: for each trainable tensor of a topology either an INR that emits it at any size, or
 * the tensor itself, held directly at full size.
 *
 * Source: Neural Metamorphosis, arXiv 2410.11878, section 3: coordinates, encoding, residual MLP,
 * averaged sampling.
 */
#ifndef NMI_MANIFOLD_H
#define NMI_MANIFOLD_H

#include "nmi_channel_map.h"
#include "nmi_file.h"
#include "nmi_front.h"
#include "nmi_graph.h"
#include "nmi_inr.h"
#include "nmi_inr_mlp.h"
#include "nmi_network.h"
#include "nmi_statistics.h"

typedef struct nmi_inr_settings {
    int32_t kind; /* NMI_INR_*: of morphing blocks that have none of their own */
    /* grids */
    int32_t gauge; /* NMI_GAUGE_* */
    bool terms;    /* a grid for each axis that varies */
    /* separable INRs */
    int64_t rank; /* products that are summed */
    /* MLPs, those of separable INRs too */
    int32_t encoding; /* 0 plain, 1 integrated */
    int32_t function; /* 0 relu, 1 elu */
    int64_t hidden, layers;
    int64_t octaves, extent_octaves; /* of o, i, l and of their extents; the latter resolved */
    double scalar;                   /* first value of the residual scalars */
    int64_t coordinate_scale;        /* M; unset: the largest width axis that varies */
    double noise, noise_clamp;       /* of training; materialisation may choose others */
} nmi_inr_settings;

/* How one tensor of the topology is held, or what all tensors of a kind share. Every field is a
 * flat vector of parameters, so that optimisers, averages and checkpoints need not know what is in
 * it. */
typedef struct nmi_field {
    const nmi_inr_kind *kind; /* NULL: held directly, as the tensor's values at full size */
    bool morphing;            /* kind != NULL */
    int32_t index;            /* l, the number among the tensors of its kind; -1: none, or shared */
    int64_t parameter_count;  /* 0 for running statistics, which are not trained */
    float *parameters;        /* [parameter_count] */
} nmi_field;

/* Sizes that training drew: nmi_trained_range.h. */
typedef struct nmi_trained_range {
    bool known;
    bool *moves;          /* [axis_count] axes that were not always full */
    nmi_size_range range; /* of which the largest compressions are known */
} nmi_trained_range;

struct neumeta_manifold {
    nmi_object object;
    nmi_topology *topology; /* retained */
    nmi_inr_settings settings;
    nmi_field *fields;             /* [field_count]: of tensors, then what kinds share */
    int32_t field_count;           /* tensor_count and more */
    int32_t counts[NMI_INR_KINDS]; /* tensors of each kind; of MLPs: L */
    int32_t shared[NMI_INR_KINDS]; /* field of what the kind's tensors share; -1: none */
    int32_t *block_kinds;          /* [block_count] NMI_INR_*; -1: held */
    bool *varies;                  /* [axis_count] widths that may be below their maximum */
    int64_t *full_sizes;           /* [axis_count] */
    nmi_shape *full_shapes;        /* [node_count] at these */
    uint64_t start_key;            /* of its random start; 0 if it was read from a file */
    nmi_mlp mlp;                   /* what all MLPs have in common */
    nmi_mlp factors;               /* what those of separable INRs have in common */
    nmi_mlp trunk;                 /* what those that share a trunk have in common */
    nmi_channel_map map;           /* what the channels of narrow networks are */
    nmi_statistics *statistics;    /* of norms, for the present parameters; NULL: not calibrated */
    nmi_trained_range trained;
    nmi_front *front; /* of the present parameters; NULL: not searched */
    /* per-worker buffers, sized when threads are known */
    struct nmi_mlp_scratch *mlp_scratch[NMI_INR_KINDS];
    struct nmi_mlp_keep *mlp_keep[NMI_INR_KINDS]; /* of the last emission for training, or NULL */
    struct nmi_grid_scratch *grid_scratch;
    struct nmi_separable_scratch *separable_scratch;
};

/* Called by what takes long with the share done, up to 1; true stops it. */
typedef bool (*nmi_watch)(void *user, double done);

/* INRs are random, directly held tensors zero. */
neumeta_status nmi_manifold_create(nmi_context *context, nmi_topology *topology,
                                   const nmi_options *options, nmi_manifold **out);
void nmi_manifold_retain(nmi_manifold *manifold);
void nmi_manifold_release(nmi_manifold *manifold);

/*
 * Writes the tensors marked in `fields` ([tensor_count]; NULL: all) into `network`, whose topology
 * is the manifold's, at the network's present sizes. Morphing tensors of nodes that are not live
 * are skipped; directly held ones are copied; running statistics stay. Does not allocate after the
 * first call with the context's thread count. Calls nmi_network_touch(). `noise` may be NULL:
 * clean. `precision` is NMI_FP32 or NMI_BF16, that of the products of the INRs.
 */
neumeta_status nmi_manifold_emit(nmi_manifold *manifold, nmi_network *network, const bool *fields,
                                 const nmi_noise *noise, int32_t precision);

/* The same before an nmi_manifold_backward() with the same noise and precision, which need not run
 * the MLPs again as far as they were kept (nmi_mlp_keep.h). Its bits are the same either way. */
neumeta_status nmi_manifold_emit_keeping(nmi_manifold *manifold, nmi_network *network,
                                         const bool *fields, const nmi_noise *noise,
                                         int32_t precision);

/* Writes the average of `samples` emissions instead, summed in double: draws of the noise, numbered
 * from 0, the first of them replaced by a clean emission if so wanted. */
neumeta_status nmi_manifold_emit_average(nmi_manifold *manifold, nmi_network *network,
                                         const bool *fields, const nmi_noise *noise,
                                         int32_t precision, int64_t samples, bool clean_first);

/*
 * Carries weight gradients to parameters: for each tensor t marked in `fields`, adds to
 * parameter_gradients[t] ([parameter_count]) the product of weight_gradients[t] (as the network's
 * tensor) with the derivative of the emission with the same noise; and to that of what its kind
 * shares, which need be there only if some tensor of the kind is marked. MLPs whose activations
 * were not kept are run again, block by block of rows. Bits do not depend on threads. Tensors that
 * are not live are skipped. Allocates like nmi_manifold_emit().
 */
neumeta_status nmi_manifold_backward(nmi_manifold *manifold, const nmi_network *network,
                                     const bool *fields, const nmi_noise *noise, int32_t precision,
                                     float *const *weight_gradients,
                                     float *const *parameter_gradients);

/* INR start, per field. Fresh random parameters, from (start_key, field), as their parts say. A
 * directly held tensor becomes zero. */
void nmi_manifold_initialize(nmi_manifold *manifold, int32_t field);
/* The name of the tensor, or of the kind whose tensors share the field. */
const char *nmi_manifold_field_name(const nmi_manifold *manifold, int32_t field);
/* Another field's parameters, as far as their shapes differ interpolated: NEUMETA_ERR_UNSUPPORTED
 * unless both are INRs of one kind. */
neumeta_status nmi_manifold_clone(nmi_manifold *manifold, int32_t from, int32_t to);
/* What INRs are fitted to: a reference at full sizes, and what nmi_resample() makes of it at
 * `count` other sizes ([count][axis_count]), for which `narrow` is the room. */
struct nmi_fit_target {
    const nmi_network *reference;
    nmi_network *narrow; /* of the same topology, with room for all the sizes */
    const int64_t *sizes;
    int32_t count;
};

struct nmi_fit {
    int64_t steps; /* for each INR */
    double rate;
    uint64_t key;
    const bool *settled; /* [tensor_count] INRs that must stay what they are; NULL: none */
    nmi_watch watch;     /* after each step; may be NULL */
    void *user;
};

/*
 * Grids copy the reference and ignore `fit`. Separable INRs: see nmi_separable_fit.c. MLPs:
 * regression of each marked one, from its random start (start_key), onto the target's tensor, at
 * its sizes in turn: `steps` steps of AdamW, whose rate falls along half a cosine to zero, on the
 * mean squared error over up to 8 blocks of rows, relative to the tensor's mean square, with the
 * coordinate noise of training. The draws come from `key`: made again, whatever became of it, it
 * ends alike. Those that share a trunk are fitted at once, the trunk with them unless one of its
 * tensors is settled. NEUMETA_ERR_NUMERIC if it diverges, NEUMETA_CANCELLED if it is stopped: the
 * fields at hand are as they were, earlier ones are fitted.
 */
neumeta_status nmi_manifold_fit(nmi_manifold *manifold, const bool *fields,
                                const nmi_fit_target *target, const nmi_fit *fit);
/* Copies the directly held tensors out of a network at full sizes. */
void nmi_manifold_hold(nmi_manifold *manifold, const nmi_network *reference);

/* Fails naming the first axis that a directly held tensor depends on and that is not at its
 * maximum. Sizes must have been checked against the axes. */
neumeta_status nmi_manifold_check_sizes(const nmi_manifold *manifold, const int64_t *sizes);
/* Name of a directly held tensor that follows the axis, NULL if there is none. */
const char *nmi_manifold_held_tensor(const nmi_manifold *manifold, int32_t axis);
/* Which axes vary: those of SIZE_AXES, else the usual ones, as far as no tensor is fixed that
 * follows them. NEUMETA_ERR_ARGUMENT names an axis that cannot vary, or a setting that no axis
 * takes notice of. */
typedef struct nmi_axis_choice {
    const nmi_topology *topology;
    const nmi_size_range *range;
    bool (*usual)(const void *user, int32_t axis);
    const char *(*fixed_tensor)(const void *user, int32_t axis); /* its name; NULL: none */
    const char *why_fixed;                                       /* "is held directly" */
    const void *user;
} nmi_axis_choice;
neumeta_status nmi_axes_choose(const nmi_axis_choice *choice, const nmi_options *options,
                               bool *moves);
/* Whether an axis varies in this range unless SIZE_AXES says otherwise. */
bool nmi_axis_is_usual(const nmi_topology *topology, const nmi_size_range *range, int32_t axis);
/* The axes whose sizes a call varies, for options that may have SIZE_AXES: those it names, else the
 * ones that training varied or, of what it did not, the usual ones, as far as no directly held
 * tensor follows them. */
neumeta_status nmi_manifold_mark_axes(const nmi_manifold *manifold, const nmi_options *options,
                                      const nmi_size_range *range, bool *moves);
/* nmi_graph_sizes_at() on the axes that no directly held tensor follows. */
void nmi_manifold_sizes_at(const nmi_manifold *manifold, double gamma, int64_t *sizes);

/* Whether some INR is an MLP, or made of MLPs. */
bool nmi_manifold_has_mlps(const nmi_manifold *manifold);
/* Whether emissions depend on noise: some MLP has the plain encoding. */
bool nmi_manifold_samples(const nmi_manifold *manifold);
bool nmi_manifold_has_norms(const nmi_manifold *manifold);
/* Lets statistics go by the channels that the manifold's grids give narrow networks, where they are
 * those of the full one: before memory is taken for them. */
void nmi_manifold_map_statistics(const nmi_manifold *manifold, nmi_statistics *statistics);
/* What every change of parameters must be followed by: the front is forgotten, too. */
void nmi_manifold_forget_statistics(nmi_manifold *manifold);
/* Where parameters change and statistics are kept. */
void nmi_manifold_forget_front(nmi_manifold *manifold);

/* Parameters of all fields. */
int64_t nmi_manifold_parameter_count(const nmi_manifold *manifold);

/* The network at these sizes, independent of the manifold. Options: SAMPLES, CLEAN_SAMPLE, NOISE,
 * NOISE_CLAMP, NOISE_DRAW, SEED; the integrated encoding, which leaves nothing to sample, takes
 * only SAMPLES 1, SEED and PRECISION, grids only SAMPLES 1 and SEED. NEUMETA_ERR_STATE if there are
 * norms without statistics; NEUMETA_ERR_NUMERIC names the first tensor that is not finite. */
neumeta_status nmi_manifold_materialize(nmi_manifold *manifold, const int64_t *sizes,
                                        const nmi_options *options, nmi_network **out);

/* One safetensors file; docs/methods/inr.md lists its tensors. Reading refuses any tensor that is
 * missing, surplus or of another shape than topology and settings demand. Option: STORAGE. */
neumeta_status nmi_manifold_save(const nmi_manifold *manifold, const char *path,
                                 const nmi_options *options);
neumeta_status nmi_manifold_write(const nmi_manifold *manifold, nmi_sink sink, void *user);
neumeta_status nmi_manifold_load_memory(nmi_context *context, const void *data, int64_t size,
                                        nmi_manifold **out);
neumeta_status nmi_manifold_load(nmi_context *context, const char *path, nmi_manifold **out);

#endif
