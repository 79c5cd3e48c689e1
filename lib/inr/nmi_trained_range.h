/* SPDX-License-Identifier: MIT */
/*
 * The sizes that a manifold was trained for: what calibration and search go by unless told
 * otherwise, and what callers can tell other sizes from.
 */
#ifndef NMI_TRAINED_RANGE_H
#define NMI_TRAINED_RANGE_H

#include "nmi_manifold.h"
#include "nmi_safetensors.h"

/* Notes that training drew sizes of these axes ([axis_count]) in this range, besides what was noted
 * before. */
void nmi_trained_extend(nmi_manifold *manifold, const bool *moves, const nmi_size_range *drawn);

/* For INRs that all start anew. */
void nmi_trained_forget(nmi_manifold *manifold);

/* The smallest size of each axis that was drawn; the manifold's range must be known. */
void nmi_trained_least(const nmi_manifold *manifold, int64_t *sizes);
/* The range of options; its largest compressions are those of training where they are not set. */
nmi_size_range nmi_trained_size_range(const nmi_manifold *manifold, const nmi_options *options);

/* Metadata of a manifold's file. Of one without, the range is that of its statistics, if any. */
neumeta_status nmi_trained_add(const nmi_manifold *manifold, nmi_safetensors_writer *writer);
neumeta_status nmi_trained_read(const nmi_safetensors *file, nmi_manifold *manifold);

#endif
