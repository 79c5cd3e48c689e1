/* SPDX-License-Identifier: MIT */
/* Statistics of norms in files of manifolds and in checkpoints. */
#ifndef NMI_STATISTICS_FILE_H
#define NMI_STATISTICS_FILE_H

#include "nmi_archive.h"
#include "nmi_statistics.h"

/* A tensor of a file that holds coefficients. */
typedef struct nmi_statistics_tensor {
    char name[2 * NMI_SAFETENSORS_NAME]; /* the writer refuses longer ones than it may have */
    int32_t rank;
    int64_t dims[2];
    float *data; /* NULL until nmi_statistics_allocate() */
} nmi_statistics_tensor;

/* The index-th of them; false past the last one. */
bool nmi_statistics_entry(const nmi_statistics *statistics, int32_t index,
                          nmi_statistics_tensor *out);
int32_t nmi_statistics_entry_count(const nmi_statistics *statistics);

/* Everything, to a writer that borrows the coefficients. */
neumeta_status nmi_statistics_add(const nmi_statistics *statistics, nmi_safetensors_writer *writer);

/* What the file's statistics depend on, without coefficients; NULL if it has none. */
neumeta_status nmi_statistics_find(const nmi_safetensors *file, const nmi_topology *topology,
                                   nmi_statistics **out);
neumeta_status nmi_statistics_read(const nmi_safetensors *file, nmi_statistics *statistics);

#endif
