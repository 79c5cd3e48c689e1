/* SPDX-License-Identifier: MIT */
/*
 * Slots: what training keeps for one flat vector of parameters, be it an INR, a directly held
 * tensor or a tensor of a plain network. Everything above treats all of them alike.
 */
#ifndef NMI_SLOT_H
#define NMI_SLOT_H

#include "nmi_settings.h"

typedef enum nmi_slot_kind {
    NMI_SLOT_NONE,     /* nothing to keep: the tensor is made elsewhere */
    NMI_SLOT_MAIN,     /* an INR, or a weight of a plain network: one step a group */
    NMI_SLOT_RESIDUAL, /* a residual scalar of a manifold: one step a minibatch */
    NMI_SLOT_DIRECT,   /* a directly held tensor of a manifold: one step a minibatch */
    NMI_SLOT_BUFFER    /* running statistics: no gradient, but state to average and to save */
} nmi_slot_kind;

typedef struct nmi_slot {
    nmi_slot_kind kind;
    int64_t count;
    float *values;   /* borrowed from the manifold or network */
    float *gradient; /* the following are NULL until a phase trains the slot */
    float *moment1, *moment2;
    float *average; /* exponential moving average, or the raw values while published */
    float *best;    /* of the phase, by the score on held-out items */
    float *before;  /* what changes within a step, as it was before; NULL: nothing does */
    int64_t steps_before;
    int64_t steps;  /* that the moments have seen */
    double squared; /* norm of a group's gradient */
    bool trained;   /* by the present phase */
} nmi_slot;

/* Takes the vectors that training with these settings needs and that are not there yet. */
neumeta_status nmi_slot_prepare(nmi_context *context, nmi_slot *slot, const nmi_settings *settings);
void nmi_slot_free(nmi_context *context, nmi_slot *slot);
/* Keeps what changes before the step is known to succeed, and puts it back. */
void nmi_slot_remember(nmi_slot *slot);
void nmi_slot_undo(nmi_slot *slot);
/* Forgets the moments. */
void nmi_slot_restart(nmi_slot *slot);
/* One optimiser step with the gradient, which it leaves as it is. MAIN slots follow the phase's
 * optimiser, the others AdamW, as arXiv 2505.05510 does. */
void nmi_slot_step(nmi_slot *slot, const nmi_settings *settings, double rate, double decay);
/* What the end of a group does to a trained slot, in one sweep: MAIN ones step with factor times
 * the gradient, which is spoilt, and all go into their averages. */
void nmi_slot_finish(nmi_slot *slot, const nmi_settings *settings, double rate, float factor);
void nmi_slot_swap_average(nmi_slot *slot);

#endif
