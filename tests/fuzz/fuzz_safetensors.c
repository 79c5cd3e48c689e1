/* SPDX-License-Identifier: MIT */
/* Any bytes as a safetensors file: refused with a sentence, or every tensor can be copied and what
 * is written from it is read as the same. */
#include "nmi_archive.h"
#include "nmi_fuzz.h"

#include <stdlib.h>
#include <string.h>

static void use_metadata(const nmi_safetensors *file)
{
    nmi_topology *topology;
    nmi_options *options;
    int64_t number;
    nmi_archive_check(file, NMI_KIND_MANIFOLD, true);
    nmi_archive_number(file, NMI_META_FORMAT, &number);
    if (nmi_archive_topology(file, &topology) == NEUMETA_OK)
        nmi_topology_release(topology);
    if (nmi_archive_options(file, NMI_META_OPTIONS, &options) == NEUMETA_OK)
        nmi_options_release(options);
}

static neumeta_status write_bytes(nmi_safetensors_writer *writer, const nmi_safetensors *file,
                                  unsigned char **bytes, int64_t *size)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t i = 0; i < nmi_safetensors_count(file) && status == NEUMETA_OK; i++) {
        nmi_tensor_entry entry;
        require(nmi_safetensors_at(file, i, &entry));
        unsigned char *copy = malloc(entry.bytes > 0 ? (size_t)entry.bytes : 1);
        require(copy != NULL);
        nmi_tensor_copy(&entry, copy);
        free(copy);
        status = nmi_safetensors_add(writer, entry.name, entry.dtype, entry.rank, entry.dims,
                                     entry.data);
    }
    return status == NEUMETA_OK ? nmi_safetensors_to_memory(writer, bytes, size) : status;
}

static void compare(const nmi_safetensors *file, const nmi_safetensors *again)
{
    const int32_t count = nmi_safetensors_count(file);
    require(nmi_safetensors_count(again) == count);
    for (int32_t i = 0; i < count; i++) {
        nmi_tensor_entry entry, other;
        require(nmi_safetensors_at(file, i, &entry));
        require(nmi_safetensors_find(again, entry.name, &other));
        require(other.dtype == entry.dtype && other.bytes == entry.bytes);
        require(entry.bytes == 0 || memcmp(other.data, entry.data, (size_t)entry.bytes) == 0);
    }
}

static neumeta_status write_again(nmi_context *context, const nmi_safetensors *file)
{
    nmi_safetensors_writer *writer;
    nmi_safetensors *again = NULL;
    unsigned char *bytes = NULL;
    int64_t size = 0;
    neumeta_status status = nmi_safetensors_writer_create(context, &writer);
    if (status == NEUMETA_OK)
        status = write_bytes(writer, file, &bytes, &size);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_parse(context, "", bytes, size, &again);
    if (status == NEUMETA_OK)
        compare(file, again);
    nmi_safetensors_free(again);
    nmi_safetensors_writer_free(writer);
    nmi_free(context, bytes);
    return status;
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    nmi_safetensors *file;
    uint8_t *bytes = fuzz_sign(context, data, size);
    fuzz_begin();
    neumeta_status status = nmi_safetensors_parse(context, "f", bytes, (int64_t)size, &file);
    fuzz_check(context, status);
    require(fuzz_peak() <= FUZZ_SHARE(size));
    if (status == NEUMETA_OK) {
        use_metadata(file);
        status = write_again(context, file);
        require(status == NEUMETA_OK || fuzz_starved(status));
    } else {
        require(status == NEUMETA_ERR_FORMAT || fuzz_starved(status));
    }
    nmi_safetensors_free(file);
    free(bytes);
}
