/* SPDX-License-Identifier: MIT */
/*
 * Datasets: numbered items behind the caller's callback, normalised and augmented here.
 */
#ifndef NMI_DATASET_H
#define NMI_DATASET_H

#include "nmi_context.h"
#include "nmi_graph.h"
#include "nmi_options.h"

typedef struct neumeta_dataset nmi_dataset;

neumeta_status nmi_dataset_create(nmi_context *context, int64_t train, int64_t test,
                                  neumeta_fetch_fn fetch, void *user, const nmi_options *options,
                                  nmi_dataset **out);
neumeta_status nmi_dataset_create_memory(nmi_context *context, const float *inputs,
                                         const int64_t *targets, int64_t train, int64_t test,
                                         const nmi_options *options, nmi_dataset **out);
void nmi_dataset_retain(nmi_dataset *dataset);
void nmi_dataset_release(nmi_dataset *dataset);

/* Items of a split; HELD_OUT items are no longer counted in TRAIN. */
int64_t nmi_dataset_count(const nmi_dataset *dataset, int32_t split);
int64_t nmi_dataset_item_floats(const nmi_dataset *dataset);
/* C, H, W of an item. */
void nmi_dataset_shape(const nmi_dataset *dataset, int64_t shape[3]);
/* Whether its items are what the topology takes, and there are any to train with. */
neumeta_status nmi_dataset_check_training(const nmi_dataset *dataset, const nmi_topology *topology);

/*
 * Fetches items `indices` of the split (numbered from 0 within the split), shifts and mirrors the
 * n-th one by draws from (augment_key, n) alone if `augment` is set, and then normalises. Values
 * that are not finite, targets below 0 and a failing callback are errors that name split and item.
 */
neumeta_status nmi_dataset_fetch(nmi_dataset *dataset, int32_t split, const int64_t *indices,
                                 int64_t count, uint64_t augment_key, bool augment, float *inputs,
                                 int64_t *targets);

#endif
