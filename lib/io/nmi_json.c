/* SPDX-License-Identifier: MIT */
/* Puts jansson behind our statuses: it tells lack of memory and bad text by the same NULL,
 * so texts are checked before. Only what we write passes through it. */
#include "nmi_json.h"

#include "nmi_utf8.h"

#include <string.h>

neumeta_status nmi_json_memory(nmi_context *context)
{
    return nmi_fail(context, NEUMETA_ERR_MEMORY, "out of memory for JSON text");
}

neumeta_status nmi_json_blame_file(neumeta_status status)
{
    return status == NEUMETA_ERR_MEMORY || status == NEUMETA_ERR_VERSION ? status
                                                                         : NEUMETA_ERR_FORMAT;
}

neumeta_status nmi_json_print(nmi_context *context, const json_t *root, char **text, size_t *size)
{
    *text = NULL;
    size_t length = json_dumpb(root, NULL, 0, JSON_COMPACT);
    if (length == 0)
        return nmi_json_memory(context);
    char *buffer = nmi_alloc(context, length + 1);
    if (buffer == NULL)
        return NEUMETA_ERR_MEMORY;
    if (json_dumpb(root, buffer, length, JSON_COMPACT) != length) {
        nmi_free(context, buffer);
        return nmi_json_memory(context);
    }
    buffer[length] = '\0';
    *text = buffer;
    if (size != NULL)
        *size = length;
    return NEUMETA_OK;
}

neumeta_status nmi_json_put(nmi_context *context, json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0 ? NEUMETA_OK : nmi_json_memory(context);
}

neumeta_status nmi_json_put_text(nmi_context *context, json_t *object, const char *key,
                                 const char *value, const char *what)
{
    neumeta_status status = nmi_json_check_text(context, value, what);
    return status < 0 ? status : nmi_json_put(context, object, key, json_string(value));
}

neumeta_status nmi_json_check_text(nmi_context *context, const char *text, const char *what)
{
    const unsigned char *bytes = (const unsigned char *)text;
    const size_t size = strlen(text);
    for (size_t at = 0, length; at < size; at += length) {
        length = nmi_utf8_length(bytes + at, size - at);
        if (length == 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is not valid UTF-8", what);
    }
    return NEUMETA_OK;
}

neumeta_status nmi_json_append(nmi_context *context, json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0 ? NEUMETA_OK : nmi_json_memory(context);
}
