/* SPDX-License-Identifier: MIT */
/* One place that knows how our files introduce themselves, and refuses those it cannot read. */
#include "nmi_archive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_TEXT = 32, FORMAT_WITH_CHECKSUMS = 2 };

neumeta_status nmi_archive_create(nmi_context *context, const char *kind,
                                  nmi_safetensors_writer **out)
{
    nmi_safetensors_writer *writer;
    *out = NULL;
    neumeta_status status = nmi_safetensors_writer_create(context, &writer);
    if (status < 0)
        return status;
    status = nmi_safetensors_sign(writer);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_number(writer, NMI_META_FORMAT, NMI_ARCHIVE_FORMAT);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add_text(writer, NMI_META_KIND, kind);
    if (status == NEUMETA_OK)
        *out = writer;
    else
        nmi_safetensors_writer_free(writer);
    return status;
}

neumeta_status nmi_archive_add_topology(nmi_safetensors_writer *writer,
                                        const nmi_topology *topology)
{
    char *text;
    neumeta_status status = nmi_topology_to_json(topology, &text);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add_text(writer, NMI_META_TOPOLOGY, text);
    nmi_free(topology->object.context, text);
    return status;
}

neumeta_status nmi_archive_add_options(nmi_safetensors_writer *writer, const char *key,
                                       const nmi_options *options)
{
    nmi_context *context = nmi_safetensors_writer_context(writer);
    char *text;
    neumeta_status status = nmi_options_to_json(context, options, &text);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add_text(writer, key, text);
    nmi_free(context, text);
    return status;
}

neumeta_status nmi_archive_add_number(nmi_safetensors_writer *writer, const char *key,
                                      int64_t value)
{
    char text[NUMBER_TEXT];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return nmi_safetensors_add_text(writer, key, text);
}

neumeta_status nmi_archive_storage(nmi_context *context, const nmi_options *options,
                                   const char *call, int32_t *dtype)
{
    static const int32_t dtypes[] = {NMI_DTYPE_F32, NMI_DTYPE_F16, NMI_DTYPE_BF16, NMI_DTYPE_I8};
    static const int32_t keys[] = {NEUMETA_KEY_STORAGE};
    *dtype = dtypes[nmi_options_choice(options, NEUMETA_KEY_STORAGE)];
    return nmi_options_allow(context, options, call, keys, 1);
}

/* The text of a key, or NULL after a message. */
static const char *require(const nmi_safetensors *file, const char *key)
{
    const char *text = nmi_safetensors_text(file, key);
    if (text == NULL)
        nmi_safetensors_within(file, nmi_fail(nmi_safetensors_context(file), NEUMETA_ERR_FORMAT,
                                              "metadata '%s' is missing", key));
    return text;
}

neumeta_status nmi_archive_check(const nmi_safetensors *file, const char *kind, bool foreign)
{
    nmi_context *context = nmi_safetensors_context(file);
    neumeta_status status = NEUMETA_OK;
    int64_t format;
    if (foreign && nmi_safetensors_text(file, NMI_META_FORMAT) == NULL &&
        nmi_safetensors_text(file, NMI_META_KIND) == NULL)
        return NEUMETA_OK;
    status = nmi_archive_number(file, NMI_META_FORMAT, &format);
    if (status < 0)
        return status;
    if (format < 1)
        status = nmi_fail(context, NEUMETA_ERR_FORMAT, "format %lld is none, they begin at 1",
                          (long long)format);
    else if (format > NMI_ARCHIVE_FORMAT)
        status = nmi_fail(context, NEUMETA_ERR_VERSION,
                          "format %lld is newer than this library, which reads up to %d",
                          (long long)format, (int)NMI_ARCHIVE_FORMAT);
    else if (format >= FORMAT_WITH_CHECKSUMS && !nmi_safetensors_is_signed(file))
        status = nmi_fail(context, NEUMETA_ERR_FORMAT,
                          "damaged: a file of format %lld has checksums, and this one has none",
                          (long long)format);
    if (status < 0)
        return nmi_safetensors_within(file, status);
    const char *found = require(file, NMI_META_KIND);
    if (found == NULL)
        return NEUMETA_ERR_FORMAT;
    if (strcmp(found, kind) != 0)
        status = nmi_fail(context, NEUMETA_ERR_FORMAT, "it is a file of kind '%.64s', not '%s'",
                          found, kind);
    return nmi_safetensors_within(file, status);
}

neumeta_status nmi_archive_topology(const nmi_safetensors *file, nmi_topology **out)
{
    const char *text = require(file, NMI_META_TOPOLOGY);
    *out = NULL;
    if (text == NULL)
        return NEUMETA_ERR_FORMAT;
    return nmi_safetensors_within(file,
                                  nmi_topology_from_json(nmi_safetensors_context(file), text, out));
}

neumeta_status nmi_archive_options(const nmi_safetensors *file, const char *key, nmi_options **out)
{
    nmi_context *context = nmi_safetensors_context(file);
    const char *text = require(file, key);
    *out = NULL;
    if (text == NULL)
        return NEUMETA_ERR_FORMAT;
    neumeta_status status = nmi_options_from_json(context, text, out);
    if (status < 0)
        nmi_fail_within(context, status, "metadata '%s'", key);
    return nmi_safetensors_within(file, status);
}

neumeta_status nmi_archive_number(const nmi_safetensors *file, const char *key, int64_t *out)
{
    const char *text = require(file, key);
    char again[NUMBER_TEXT];
    *out = 0;
    if (text == NULL)
        return NEUMETA_ERR_FORMAT;
    /* Only the form that is written is read: no spaces, no plus, no leading zeros. */
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    snprintf(again, sizeof again, "%lld", value);
    if (errno != 0 || strcmp(text, again) != 0)
        return nmi_safetensors_within(
            file, nmi_fail(nmi_safetensors_context(file), NEUMETA_ERR_FORMAT,
                           "metadata '%s' is '%.32s', not a whole number", key, text));
    *out = value;
    return NEUMETA_OK;
}
