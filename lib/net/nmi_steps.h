/* SPDX-License-Identifier: MIT */
/*
 * What of a topology runs as one step: an operator together with the cheap nodes behind it that
 * its kernel can finish while it stores (a sum, an activation, factors per channel). Which nodes
 * join depends on the topology alone, not on sizes. Inference and training share the forward.
 */
#ifndef NMI_STEPS_H
#define NMI_STEPS_H

#include "nmi_conv.h"
#include "nmi_group_norm.h"
#include "nmi_network.h"
#include "nmi_pool.h"

typedef struct nmi_step {
    int32_t node;       /* the operator */
    int32_t scaled;     /* last of the NORM, AFFINE, SCALE, GAIN nodes folded into it, or -1 */
    int32_t add;        /* ADD of two inputs computed with it, or -1 */
    int32_t activation; /* ACTIVATION computed with it, or -1 */
    int32_t end;        /* the last of all these: the step runs in its place and yields its value */
} nmi_step;

typedef struct nmi_steps {
    nmi_step *steps; /* in order of their ends; INPUT is a step, SELECT none */
    int32_t count;
    int32_t *sole;   /* [node_count] the only node that reads it, or -1; never the output's */
    int32_t *end;    /* [node_count] end of the step that computes it; a SELECT: itself */
    int32_t *source; /* [node_count] node whose value it passes on: see nmi_steps_resolve() */
} nmi_steps;

/* `fold`: factors per channel join convolutions and linear nodes (inference only). */
neumeta_status nmi_steps_create(nmi_context *context, const nmi_topology *topology, bool fold,
                                nmi_steps *out);
void nmi_steps_free(nmi_context *context, nmi_steps *steps); /* zeros are fine */
/* Bytes that creation took. */
int64_t nmi_steps_bytes(const nmi_topology *topology);
/* Fills `source` for these sizes: behind any SELECT nodes; else the node itself. */
void nmi_steps_resolve(nmi_steps *steps, const nmi_topology *topology, const int64_t *sizes);
/* The input of step->add that the step does not compute itself. */
int32_t nmi_step_residual(const nmi_topology *topology, const nmi_steps *steps,
                          const nmi_step *step);

/* A value's place in an arena that holds `size` floats from step `first` to step `last`. */
typedef struct nmi_span {
    int64_t first, last, size, offset;
    int32_t next; /* work of nmi_spans_arrange() */
} nmi_span;
/* Sets offsets so that spans that overlap in time do not in space; returns the floats needed. */
int64_t nmi_spans_arrange(nmi_span *spans, int32_t count);
/* `floats` rounded up to whole alignment units. */
int64_t nmi_aligned_floats(int64_t floats);

int64_t nmi_shape_floats(const nmi_shape *shape);
nmi_conv_shape nmi_step_conv_shape(const nmi_topology *topology, const nmi_steps *steps,
                                   const nmi_shape *shapes, int32_t node);
nmi_pool_shape nmi_step_pool_shape(const nmi_topology *topology, const nmi_steps *steps,
                                   const nmi_shape *shapes, int32_t node);
nmi_group_norm nmi_step_group_norm(const nmi_topology *topology, const nmi_shape *shapes,
                                   int32_t node);

/* Offset of a value that is read where it is made, and not kept. */
enum { NMI_PASSING = -1 };

/* Some items of a batch, and where the values of nodes lie: item i of node n starts at
 * base + offset[n] * room + i * floats of n. */
typedef struct nmi_chunk {
    const nmi_topology *topology;
    const nmi_steps *steps;
    const nmi_shape *shapes;
    const nmi_kernels *kernels;
    int32_t precision; /* of convolutions; inference: NMI_FP32 */
    float *base;
    const int64_t *offset; /* [node_count] floats of one item; nodes inside a step: as its end */
    int64_t room;          /* items the base has room for */
    int64_t first, items;
    float *passing;  /* training only: the value at offset NMI_PASSING, of these items alone */
    void *workspace; /* of convolutions, for parts of images if there are borders; of GROUP_NORM */
    /* Inference only: zero pixels around every image of a value, at least as many as the padding of
     * the convolutions that read it (NULL: none), and whether a step must write the zeros. */
    const int64_t *border; /* [node_count] */
    const bool *unclear;   /* [node_count] */
    int64_t part, parts;   /* share of each item that is computed; 0 parts: all, as for 1 */
} nmi_chunk;

/* A value in a chunk: pixel (0, 0) of its first image, floats between lines and between items. */
typedef struct nmi_image {
    float *first;
    int64_t line, item;
} nmi_image;

nmi_image nmi_chunk_image(const nmi_chunk *chunk, int32_t node);
/* Floats of one item with `border` pixels around it. */
int64_t nmi_bordered_floats(const nmi_shape *shape, int64_t border);
/* The chunk's part of a node's value (or gradient, if the base holds those). */
float *nmi_chunk_value(const nmi_chunk *chunk, int32_t node);
/* The value of an INPUT step from x, and y from a value, or the chunk's shares of them; x and y are
 * NCHW and start at the chunk's first item. */
void nmi_chunk_read(const nmi_chunk *chunk, const nmi_step *step, const float *x);
void nmi_chunk_write(const nmi_chunk *chunk, int32_t node, float *y);

/* What a step's forward needs of the weights; NULL or 0 where its operator has none. */
typedef struct nmi_step_weights {
    const float *packed;        /* CONV, LINEAR */
    const float *bias;          /* CONV, LINEAR, or NULL */
    const float *scale, *shift; /* NORM, AFFINE, GROUP_NORM (behind its moments): [C] */
    float factor;               /* SCALE, GAIN */
} nmi_step_weights;

/* Every operator but INPUT. With parts: the chunk's share of each item, which for operators that
 * nmi_step_divides() denies is everything if `part` is 0, else nothing. */
void nmi_step_forward(const nmi_chunk *chunk, const nmi_step *step,
                      const nmi_step_weights *weights);
bool nmi_step_divides(int32_t op);
/* NMI_ACTIVATION_* of an ACTIVATION node, or of none for -1. */
int32_t nmi_step_activation(const nmi_topology *topology, int32_t node);

#endif
