/* SPDX-License-Identifier: MIT */
/*
 * Whole files: read at once, written so that a reader sees either the old file or the new one.
 */
#ifndef NMI_FILE_H
#define NMI_FILE_H

#include "nmi_context.h"

/* Takes the next `size` bytes; a failure leaves its sentence in the context. */
typedef neumeta_status (*nmi_sink)(void *user, const void *data, size_t size);

/* All bytes of a regular file; `*bytes` belongs to the caller (nmi_free) and is never NULL on
 * success. NEUMETA_ERR_IO with path and reason; NEUMETA_ERR_MEMORY. */
neumeta_status nmi_file_read(nmi_context *context, const char *path, unsigned char **bytes,
                             int64_t *size);

/* A file in the making under a temporary name in the target's folder. */
typedef struct nmi_file_writer nmi_file_writer;

/* Refuses a target that exists and is not a regular file. Symbolic links stay; what they lead to is
 * written. Permissions are those of a file that is replaced, else 0666 less the process' mask. */
neumeta_status nmi_file_writer_create(nmi_context *context, const char *path,
                                      nmi_file_writer **out);
/* An nmi_sink: `writer` is the nmi_file_writer. */
neumeta_status nmi_file_write(void *writer, const void *data, size_t size);
/* Flushes to the disk and puts the file in the target's place. After a failure the target is what
 * it was before, unless the sentence says that only the folder could not be flushed. */
neumeta_status nmi_file_commit(nmi_file_writer *writer);
/* Ends the writer; what was not committed is removed. NULL is fine. */
void nmi_file_writer_free(nmi_file_writer *writer);

#endif
