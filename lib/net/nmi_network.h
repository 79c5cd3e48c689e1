/* SPDX-License-Identifier: MIT */
/*
 * Networks: a topology at given sizes with its weights, in inference.
 *
 * Public tensors keep the framework order (OIHW); the kernels' packed copies and NHWC activations
 * are made here and nobody else sees them.
 */
#ifndef NMI_NETWORK_H
#define NMI_NETWORK_H

#include "nmi_graph.h"

typedef struct neumeta_network nmi_network;
typedef struct neumeta_dataset nmi_dataset;

typedef struct nmi_tensor {
    float *data;     /* OIHW; NULL where the tensor's node is not live */
    int64_t dims[4]; /* ones behind the rank */
    int32_t rank;    /* 0: not live */
    int64_t count;   /* elements at the present sizes */
} nmi_tensor;

struct nmi_weights; /* storage, counted, shared by neumeta_network_share() */
struct nmi_runner;  /* packed weights and arena of inference, made at the first run */

struct neumeta_network {
    nmi_object object;
    nmi_topology *topology; /* retained */
    int64_t *sizes;         /* [axis_count] */
    nmi_shape *shapes;      /* [node_count] at these sizes */
    nmi_tensor *tensors;    /* [tensor_count] of the topology */
    struct nmi_weights *weights;
    struct nmi_runner *runner;
    uint64_t generation; /* changes with the weights: see nmi_network_touch() */
};

/* Room for `sizes` is allocated once; weights are zero, running variances one. */
neumeta_status nmi_network_create(nmi_context *context, nmi_topology *topology,
                                  const int64_t *sizes, nmi_network **out);
/* Fresh weights as neumeta_network_create() describes, from the key. */
void nmi_network_initialize(nmi_network *network, uint64_t key);
void nmi_network_retain(nmi_network *network);
void nmi_network_release(nmi_network *network);
/* Other sizes within the room that creation took; nothing is allocated, the values of
 * tensors are undefined afterwards. Sizes must have been checked. */
neumeta_status nmi_network_resize(nmi_network *network, const int64_t *sizes);
/* Independent weights: topology, sizes and values copied. */
neumeta_status nmi_network_copy(const nmi_network *network, nmi_network **out);
neumeta_status nmi_network_share(const nmi_network *network, nmi_context *context,
                                 nmi_network **out);
bool nmi_network_is_shared(const nmi_network *network);
/* Takes over topology and weights of `from` (same context), which the call consumes: how norm
 * passes replace a network in place. Cannot fail. */
void nmi_network_become(nmi_network *network, nmi_network *from);
/* Must follow every direct write to tensors, before the next run. */
void nmi_network_touch(nmi_network *network);
/* Tensor by name, NULL if absent or not live. */
nmi_tensor *nmi_network_find(nmi_network *network, const char *name);

/* Inference. inputs [batch, C, H, W] normalised; outputs [batch, O, H', W'], both NCHW. Batches
 * are split over the workers by images, the last few images within themselves; results do not
 * depend on the split. */
neumeta_status nmi_network_run(nmi_network *network, const float *inputs, int64_t batch,
                               float *outputs);
neumeta_status nmi_network_memory(const nmi_network *network, int64_t batch, int64_t *bytes);
int64_t nmi_network_output_floats(const nmi_network *network); /* of one item */
int64_t nmi_network_input_floats(const nmi_network *network);
neumeta_status nmi_network_evaluate(nmi_network *network, nmi_dataset *dataset, int32_t split,
                                    double *loss, double *score);
/* The same over the first `items` of the split, of which there must be so many. */
neumeta_status nmi_network_evaluate_some(nmi_network *network, nmi_dataset *dataset, int32_t split,
                                         int64_t items, double *loss, double *score);

#endif
