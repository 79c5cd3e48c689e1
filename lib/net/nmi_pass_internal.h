/* SPDX-License-Identifier: MIT */
/* What the parts of a training pass share. See nmi_pass.h for what it does. */
#ifndef NMI_PASS_INTERNAL_H
#define NMI_PASS_INTERNAL_H

#include "nmi_pass.h"
#include "nmi_steps.h"

enum { NMI_PASS_CHUNKS = 16 }; /* a batch is cut into at most so many, whatever the threads */

/* What backward does with the gradient of an operator's input. */
enum { NMI_FLOW_NONE = 0, NMI_FLOW_WRITE, NMI_FLOW_ADD };

/* A node's tensors, -1 where it has none. */
typedef struct nmi_node_tensors {
    int32_t weight, bias; /* also those of norms and AFFINE, and the factor of a SCALE */
    int32_t mean, variance;
} nmi_node_tensors;

/* Places in the pass's slabs, in floats (doubles for `sum` and `total`); -1: none. */
typedef struct nmi_places {
    int64_t value, gradient;    /* of one item: see nmi_chunk */
    int64_t packed, transposed; /* weights of CONV and LINEAR */
    int64_t transposed_end;
    int64_t partial; /* within a chunk: packed weight gradient, then that of the bias */
    int64_t bias;    /* within a chunk */
    int64_t sum;     /* within a chunk: NORM, GROUP_NORM, AFFINE [2][C], SCALE [1] */
    int64_t total;   /* NORM: [2][C] sums over all chunks */
    int64_t factors; /* NORM: scale, shift, mean, inverse, slope and offset of the
                      * backward, each [C] at `vector` */
    int64_t vector;  /* [C] rounded up to whole alignment units */
} nmi_places;

struct nmi_pass {
    nmi_context *context;       /* retained */
    nmi_topology *topology;     /* retained */
    const nmi_kernels *kernels; /* of the context, which keeps them as long as there is a pass */
    int32_t precision;          /* of convolutions */
    int64_t batch;
    nmi_steps steps;
    int32_t *stretch;          /* [steps.count] number of its stretch: see nmi_pass_slice_items() */
    nmi_node_tensors *tensors; /* [node_count] */
    nmi_places *places;        /* [node_count] */
    int64_t *value_offset;     /* [node_count] of nmi_chunk */
    int64_t *gradient_offset;
    int32_t *first_input;      /* [node_count] in `flow` */
    uint8_t *flow;             /* [all inputs] NMI_FLOW_* */
    bool *batch_norm;          /* [node_count] as the last forward was told */
    bool *needed;              /* [node_count] a tensor at or below it is trained */
    bool *reached;             /* [node_count] its gradient has been written */
    nmi_step_weights *weights; /* [node_count], by node */
    nmi_shape *shapes;         /* [node_count] of the last forward */
    float *values, *gradients, *packed, *partials, *factors, *outputs;
    double *sums, *totals;
    unsigned char *workspaces;         /* one for each chunk that may run */
    int64_t gradient_floats;           /* of one item */
    int64_t partial_floats, sum_count; /* of one chunk */
    int64_t workspace_bytes;           /* the passing value included, which lies at its end */
    int64_t passing_bytes;
    /* the present pass */
    nmi_network *network;
    const float *inputs;
    const float *output_gradients;
    float *const *trained; /* [tensor_count] where gradients go, or NULL */
    int64_t items, chunk_items, chunks;
    int32_t begin, stop; /* steps of the running job */
    bool descending;     /* the running job takes the last chunk first: every other job does, and so
                          * finds in the cache what the one before it left there */
    bool resumed;        /* backward: the norm at `begin` has its sums already */
};

/* Whether what a convolution needs at the present sizes fits into its places: for assertions. */
bool nmi_pass_has_room(const nmi_pass *pass, int32_t node, nmi_conv_path path,
                       const nmi_conv_shape *shape);
/* Runs a task for every chunk, in turn up and down their numbers: the task's chunk is the
 * nmi_pass_turn() of its index. */
void nmi_pass_run(nmi_pass *pass, nmi_task task);
int64_t nmi_pass_turn(const nmi_pass *pass, int64_t index);
/* The chunk `index` with values, or with gradients. */
nmi_chunk nmi_pass_chunk(const nmi_pass *pass, int64_t index, int32_t worker, bool gradients);
/*
 * Steps are cut into stretches: a norm and what follows it up to the next norm, and in any case
 * with one product at most. A chunk goes through a stretch in slices, items whose values stay in a
 * core's cache from one step to the next, so that the sweeps around a product meet its operands
 * there. In the backward a norm with batch statistics ends its stretch with its sums, and begins
 * the one below with the gradient of its input. How many items: fixed by the shapes of the steps
 * [first, last].
 */
int64_t nmi_pass_slice_items(const nmi_pass *pass, int32_t first, int32_t last);
/* Items [begin, begin + items) of a chunk, but no more than it has. */
nmi_chunk nmi_pass_slice(const nmi_chunk *chunk, int64_t begin, int64_t items);
bool nmi_pass_is_live(const nmi_pass *pass, const nmi_step *step);
/* NORM with statistics of the batch: all chunks must have added their sums before any goes on. */
bool nmi_pass_is_barrier(const nmi_pass *pass, const nmi_step *step);
/* The source of a node's k-th input. */
int32_t nmi_pass_input(const nmi_pass *pass, int32_t node, int32_t k);
/* Sum of the chunks' sums of a node, in chunk order, into chunk 0's, which is returned. */
double *nmi_pass_reduce_sums(const nmi_pass *pass, int32_t node, int64_t count);

#endif
