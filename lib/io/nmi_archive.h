/* SPDX-License-Identifier: MIT */
/*
 * Our own safetensors files: what the metadata calls them, and which versions we can read.
 */
#ifndef NMI_ARCHIVE_H
#define NMI_ARCHIVE_H

#include "nmi_describe.h"
#include "nmi_safetensors.h"

/* Rises when an older library would misread a file; older numbers stay readable. From 2 on files
 * have checksums. */
enum { NMI_ARCHIVE_FORMAT = 2 };

/* Kinds of file. */
#define NMI_KIND_NETWORK "network"
#define NMI_KIND_MANIFOLD "manifold"
#define NMI_KIND_CHECKPOINT "checkpoint"

/* Metadata keys that more than one kind uses; docs/formats.md lists all. */
#define NMI_META_FORMAT "neumeta.format"
#define NMI_META_KIND "neumeta.kind"
#define NMI_META_TOPOLOGY "neumeta.topology"
#define NMI_META_OPTIONS "neumeta.options"

/* A writer whose metadata begins with checksums, format and kind. */
neumeta_status nmi_archive_create(nmi_context *context, const char *kind,
                                  nmi_safetensors_writer **out);
neumeta_status nmi_archive_add_topology(nmi_safetensors_writer *writer,
                                        const nmi_topology *topology);
/* `key`: NMI_META_OPTIONS, or a key of the unit's own. */
neumeta_status nmi_archive_add_options(nmi_safetensors_writer *writer, const char *key,
                                       const nmi_options *options);
/* Whole numbers that fit no tensor better, as decimal text. */
neumeta_status nmi_archive_add_number(nmi_safetensors_writer *writer, const char *key,
                                      int64_t value);

/* NMI_DTYPE_* by STORAGE, the only option that `call` takes; NULL options: F32. */
neumeta_status nmi_archive_storage(nmi_context *context, const nmi_options *options,
                                   const char *call, int32_t *dtype);

/* NEUMETA_ERR_VERSION if the file is of a newer format, NEUMETA_ERR_FORMAT if it is of another
 * kind or lacks the checksums of its format. A file without format and kind passes only if
 * `foreign` is set. */
neumeta_status nmi_archive_check(const nmi_safetensors *file, const char *kind, bool foreign);
/* Each fails with NEUMETA_ERR_FORMAT if the key is missing or its text is not what it should be;
 * the caller releases the outputs. */
neumeta_status nmi_archive_topology(const nmi_safetensors *file, nmi_topology **out);
neumeta_status nmi_archive_options(const nmi_safetensors *file, const char *key, nmi_options **out);
neumeta_status nmi_archive_number(const nmi_safetensors *file, const char *key, int64_t *out);

#endif
