/* SPDX-License-Identifier: MIT */
/* Any bytes as a safetensors file: refused with a sentence, or every tensor can be copied and what
 * is written from it is read as the same. */
#include "nmi_archive.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

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

static void write_again(nmi_context *context, const nmi_safetensors *file)
{
    int32_t count = nmi_safetensors_count(file);
    nmi_safetensors_writer *writer;
    nmi_safetensors *again;
    unsigned char *bytes;
    int64_t size;
    require(nmi_safetensors_writer_create(context, &writer) == NEUMETA_OK);
    for (int32_t i = 0; i < count; i++) {
        const nmi_tensor_entry *entry = nmi_safetensors_at(file, i);
        unsigned char *copy = malloc(entry->bytes > 0 ? (size_t)entry->bytes : 1);
        require(copy != NULL);
        nmi_tensor_copy(entry, copy);
        free(copy);
        require(nmi_safetensors_add(writer, entry->name, entry->dtype, entry->rank, entry->dims,
                                    entry->data) == NEUMETA_OK);
    }
    require(nmi_safetensors_to_memory(writer, &bytes, &size) == NEUMETA_OK);
    require(nmi_safetensors_parse(context, "", bytes, size, &again) == NEUMETA_OK);
    require(nmi_safetensors_count(again) == count);
    for (int32_t i = 0; i < count; i++) {
        const nmi_tensor_entry *entry = nmi_safetensors_at(file, i);
        const nmi_tensor_entry *other = nmi_safetensors_find(again, entry->name);
        require(other != NULL && other->dtype == entry->dtype && other->bytes == entry->bytes);
        require(entry->bytes == 0 || memcmp(other->data, entry->data, (size_t)entry->bytes) == 0);
    }
    nmi_safetensors_free(again);
    nmi_safetensors_writer_free(writer);
    nmi_free(context, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nmi_context *context;
    nmi_safetensors *file;
    require(nmi_context_create(NULL, NULL, NULL, &context) == NEUMETA_OK);
    neumeta_status status = nmi_safetensors_parse(context, "f", data, (int64_t)size, &file);
    if (status == NEUMETA_OK) {
        use_metadata(file);
        write_again(context, file);
    } else {
        require(status == NEUMETA_ERR_FORMAT && context->message[0] != '\0');
    }
    nmi_safetensors_free(file);
    nmi_context_release(context);
    return 0;
}
