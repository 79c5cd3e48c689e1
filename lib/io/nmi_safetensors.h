/* SPDX-License-Identifier: MIT */
/*
 * The safetensors container: named arrays and metadata strings in one file.
 * docs/formats.md describes the bytes and the limits.
 */
#ifndef NMI_SAFETENSORS_H
#define NMI_SAFETENSORS_H

#include "nmi_file.h"

enum {
    NMI_SAFETENSORS_RANK = 8,                 /* most dimensions of a tensor */
    NMI_SAFETENSORS_NAME = 384,               /* most bytes of a tensor's name or metadata key */
    NMI_SAFETENSORS_HEADER = 8 * 1024 * 1024, /* most bytes of the JSON header */
    NMI_SAFETENSORS_ALIGNMENT = 64            /* where the writer starts the data */
};

/* Types of elements, as files name them. */
enum {
    NMI_DTYPE_F32 = 1,
    NMI_DTYPE_F64,
    NMI_DTYPE_I64,
    NMI_DTYPE_U64,
    NMI_DTYPE_U8,
    NMI_DTYPE_I32,
    NMI_DTYPE_U32,
    NMI_DTYPE_I16,
    NMI_DTYPE_U16,
    NMI_DTYPE_I8,
    NMI_DTYPE_BOOL,
    NMI_DTYPE_F16,
    NMI_DTYPE_BF16
};

const char *nmi_dtype_name(int32_t dtype); /* "F32"; NULL if unknown */
int32_t nmi_dtype_size(int32_t dtype);     /* bytes of one element; 0 if unknown */

/* --- reading ----------------------------------------------------------------------------- */

typedef struct nmi_safetensors nmi_safetensors;

typedef struct nmi_tensor_entry {
    const char *name;
    int32_t dtype; /* NMI_DTYPE_* */
    int32_t rank;  /* 0: one element */
    int64_t dims[NMI_SAFETENSORS_RANK];
    int64_t elements;
    int64_t bytes;
    const unsigned char *data; /* little-endian and of any alignment: nmi_tensor_copy() */
} nmi_tensor_entry;

/* Checks the whole container, checksums included if it has them, and keeps pointers into `data`,
 * which is borrowed until the reader ends. `file_name` leads the sentences of failures ("" for
 * none). Takes at most the header's size of memory, and as much again for what is in it.
 * NEUMETA_ERR_FORMAT names the tensor and what is wrong; NEUMETA_ERR_MEMORY. */
neumeta_status nmi_safetensors_parse(nmi_context *context, const char *file_name, const void *data,
                                     int64_t size, nmi_safetensors **out);
/* The same for a file, whose bytes the reader owns. NEUMETA_ERR_IO. */
neumeta_status nmi_safetensors_open(nmi_context *context, const char *path, nmi_safetensors **out);
void nmi_safetensors_free(nmi_safetensors *file); /* NULL is fine */

int32_t nmi_safetensors_count(const nmi_safetensors *file);
/* Number of the tensor in the order of the data; -1 if there is none. */
int32_t nmi_safetensors_index(const nmi_safetensors *file, const char *name);
/* False if there is none. What `out` points to lives as long as the reader. */
bool nmi_safetensors_at(const nmi_safetensors *file, int32_t index, nmi_tensor_entry *out);
bool nmi_safetensors_find(const nmi_safetensors *file, const char *name, nmi_tensor_entry *out);
/* The metadata string of `key`; NULL if there is none. */
const char *nmi_safetensors_text(const nmi_safetensors *file, const char *key);
/* Puts the file's name, if it has one, before the sentence of a failure; returns `status`. */
neumeta_status nmi_safetensors_within(const nmi_safetensors *file, neumeta_status status);
nmi_context *nmi_safetensors_context(const nmi_safetensors *file);
/* Whether the file has checksums, which have then been verified. */
bool nmi_safetensors_is_signed(const nmi_safetensors *file);

/* Copies all elements in the host's byte order; `out` holds entry->bytes. */
void nmi_tensor_copy(const nmi_tensor_entry *entry, void *out);
/* Whether its elements are F32, F16, BF16 or F64. */
bool nmi_tensor_has_floats(const nmi_tensor_entry *entry);
/* The same as floats, of which F16 and BF16 are some and F64 is rounded to one; `out` has
 * entry->elements. False for any other type but F32. */
bool nmi_tensor_copy_floats(const nmi_tensor_entry *entry, float *out);
/* Whether the tensor `name` has exactly this type and shape: NEUMETA_ERR_FORMAT naming what is
 * there instead. `dims` may be NULL when `rank` is 0. Asked for all tensors before memory is taken
 * for them, it keeps that memory within what the file has. */
neumeta_status nmi_safetensors_expect(const nmi_safetensors *file, const char *name, int32_t dtype,
                                      int32_t rank, const int64_t *dims);
/* The same for a tensor of F32, F16, BF16, or I8 with its scales. */
neumeta_status nmi_safetensors_expect_floats(const nmi_safetensors *file, const char *name,
                                             int32_t rank, const int64_t *dims);
/* Such a tensor, copied to `out`. */
neumeta_status nmi_safetensors_read(const nmi_safetensors *file, const char *name, int32_t dtype,
                                    int32_t rank, const int64_t *dims, void *out);
neumeta_status nmi_safetensors_read_floats(const nmi_safetensors *file, const char *name,
                                           int32_t rank, const int64_t *dims, float *out);
/* Sets marks[i] for number i of this tensor and, if it has scales, for theirs. */
void nmi_safetensors_mark(const nmi_safetensors *file, const char *name, bool *marks);

/* --- writing ----------------------------------------------------------------------------- */

/* Collects tensors and metadata. Equal calls in equal order give equal bytes. Failures name the
 * tensor: NEUMETA_ERR_ARGUMENT (name empty, too long, used twice, or not printable UTF-8; header
 * above its limit), NEUMETA_ERR_MEMORY. */
typedef struct nmi_safetensors_writer nmi_safetensors_writer;

neumeta_status nmi_safetensors_writer_create(nmi_context *context, nmi_safetensors_writer **out);
/* The file shall have checksums; to be called before any metadata is added. */
neumeta_status nmi_safetensors_sign(nmi_safetensors_writer *writer);
void nmi_safetensors_writer_free(nmi_safetensors_writer *writer); /* NULL is fine */
nmi_context *nmi_safetensors_writer_context(const nmi_safetensors_writer *writer);

/* `value` is copied. */
neumeta_status nmi_safetensors_add_text(nmi_safetensors_writer *writer, const char *key,
                                        const char *value);
/* `data` (host byte order) is borrowed until the writer ends; NULL is fine if a dimension is 0.
 * A name that is used twice is noticed when writing. */
neumeta_status nmi_safetensors_add(nmi_safetensors_writer *writer, const char *name, int32_t dtype,
                                   int32_t rank, const int64_t *dims, const void *data);

/* Floats as elements of `dtype`, F32, F16, BF16 or I8, all but the first rounded, and so copied.
 * I8 has a scale for each row, along the first dimension, in a second tensor "<name>/scale"; what
 * has fewer than two dimensions is F16 in its place.
 * NEUMETA_ERR_NUMERIC names a value that is not finite or, once rounded, would not be. */
neumeta_status nmi_safetensors_add_floats(nmi_safetensors_writer *writer, const char *name,
                                          int32_t dtype, int32_t rank, const int64_t *dims,
                                          const float *values);

/* Each may be called any number of times. nmi_safetensors_save() is atomic. */
neumeta_status nmi_safetensors_write(nmi_safetensors_writer *writer, nmi_sink sink, void *user);
neumeta_status nmi_safetensors_save(nmi_safetensors_writer *writer, const char *path);
/* `*bytes` belongs to the caller (nmi_free). */
neumeta_status nmi_safetensors_to_memory(nmi_safetensors_writer *writer, unsigned char **bytes,
                                         int64_t *size);

#endif
