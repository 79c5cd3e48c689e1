/* SPDX-License-Identifier: MIT */
/*
 * What the io unit needs around jansson to write JSON: its failures turned into sentences.
 * nmi_json_read.h reads. Included by this unit's own files only.
 */
#ifndef NMI_JSON_H
#define NMI_JSON_H

#include "nmi_context.h"

#include <jansson.h>

/* Compact text, ended by a zero that `*size` (may be NULL) does not count; nmi_free(). */
neumeta_status nmi_json_print(nmi_context *context, const json_t *root, char **text, size_t *size);
/* Each puts a value into an object. A `value` of NULL means that making it failed: memory. */
neumeta_status nmi_json_put(nmi_context *context, json_t *object, const char *key, json_t *value);
/* Fails like nmi_json_check_text(); `what` names the text. */
neumeta_status nmi_json_put_text(nmi_context *context, json_t *object, const char *key,
                                 const char *value, const char *what);
neumeta_status nmi_json_append(nmi_context *context, json_t *array, json_t *value);

/* NEUMETA_ERR_ARGUMENT if the text is not UTF-8. */
neumeta_status nmi_json_check_text(nmi_context *context, const char *text, const char *what);

/* What a failure means when the values came from a file: NEUMETA_ERR_MEMORY and _VERSION stay,
 * anything else is NEUMETA_ERR_FORMAT. */
neumeta_status nmi_json_blame_file(neumeta_status status);

/* NEUMETA_ERR_MEMORY with its sentence. */
neumeta_status nmi_json_memory(nmi_context *context);

#endif
