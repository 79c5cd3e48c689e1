/* SPDX-License-Identifier: MIT */
/* Fronts in files of manifolds. */
#ifndef NMI_FRONT_FILE_H
#define NMI_FRONT_FILE_H

#include "nmi_archive.h"
#include "nmi_manifold.h"

/* Tensors of a front in a file. */
enum { NMI_FRONT_TENSORS = 3 };
extern const char *const nmi_front_tensors[NMI_FRONT_TENSORS];

/* Everything, to a writer that borrows the arrays. */
neumeta_status nmi_front_add(const nmi_front *front, nmi_safetensors_writer *writer);

/* The file's front, checked against the manifold's topology and axes; NULL if it has none. */
neumeta_status nmi_front_read(const nmi_safetensors *file, const nmi_manifold *manifold,
                              nmi_front **out);

#endif
