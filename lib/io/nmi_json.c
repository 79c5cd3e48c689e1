/* SPDX-License-Identifier: MIT */
/* Puts jansson behind our statuses: it tells lack of memory and bad text by the same NULL,
 * so texts are checked before. Only what we write passes through it. */
#include "nmi_json.h"

#include "nmi_utf8.h"

#include <stdbool.h>
#include <stdio.h>
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

/* --- text ------------------------------------------------------------------------------------- */

/* Text in the making; first only its length is found. */
typedef struct printer {
    char *text; /* NULL: only counted */
    size_t length, room;
    bool failed;
} printer;

static void emit(printer *p, const char *bytes, size_t count)
{
    if (p->text != NULL && count <= p->room - p->length)
        memcpy(p->text + p->length, bytes, count);
    p->length += count;
}

/* 17 digits with a point, "0.1" being 0.10000000000000001: what jansson prints differs from one of
 * its versions to the next, and fingerprints are of this text. */
static void emit_real(printer *p, double value)
{
    char digits[40];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%.17g", value);
    bool whole = true;
    for (size_t i = 0; i < length; i++) {
        const bool exponent = digits[i] == 'e';
        whole = whole && !exponent && (digits[i] == '-' || (digits[i] >= '0' && digits[i] <= '9'));
        if (!exponent && digits[i] != '-' && digits[i] != '+' &&
            (digits[i] < '0' || digits[i] > '9'))
            digits[i] = '.'; /* whatever the locale has */
        if (!exponent)
            continue;
        size_t to = i + 1; /* "e+07" is "e7", "e-07" is "e-7" */
        to += digits[to] == '-';
        size_t from = to + (digits[to] == '+');
        while (digits[from] == '0' && from + 1 < length)
            from++;
        memmove(digits + to, digits + from, length - from);
        length -= from - to;
        break;
    }
    emit(p, digits, length);
    if (whole)
        emit(p, ".0", 2);
}

static void emit_scalar(printer *p, const json_t *value)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    const size_t length = json_dumpb(value, NULL, 0, flags);
    p->failed = p->failed || length == 0;
    if (p->text != NULL && length <= p->room - p->length)
        p->failed = json_dumpb(value, p->text + p->length, length, flags) != length || p->failed;
    p->length += length;
}

static void emit_key(printer *p, const char *key)
{
    json_t *text = json_string(key);
    p->failed = p->failed || text == NULL;
    if (text != NULL)
        emit_scalar(p, text);
    json_decref(text);
    emit(p, ":", 1);
}

static void emit_value(printer *p, const json_t *value)
{
    const char *key;
    json_t *item;
    size_t i = 0;
    if (json_is_real(value)) {
        emit_real(p, json_real_value(value));
    } else if (json_is_array(value)) {
        for (emit(p, "[", 1); i < json_array_size(value); i++) {
            emit(p, ",", i > 0);
            emit_value(p, json_array_get(value, i));
        }
        emit(p, "]", 1);
    } else if (json_is_object(value)) {
        emit(p, "{", 1);
        json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
            emit(p, ",", i++ > 0);
            emit_key(p, key);
            emit_value(p, item);
        }
        emit(p, "}", 1);
    } else {
        emit_scalar(p, value);
    }
}

neumeta_status nmi_json_print(nmi_context *context, const json_t *root, char **text, size_t *size)
{
    printer p = {.text = NULL};
    *text = NULL;
    emit_value(&p, root);
    if (p.failed)
        return nmi_json_memory(context);
    p.room = p.length;
    p.length = 0;
    p.text = nmi_alloc(context, p.room + 1);
    if (p.text == NULL)
        return NEUMETA_ERR_MEMORY;
    emit_value(&p, root);
    if (p.failed || p.length != p.room) {
        nmi_free(context, p.text);
        return nmi_json_memory(context);
    }
    p.text[p.length] = '\0';
    *text = p.text;
    if (size != NULL)
        *size = p.length;
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
