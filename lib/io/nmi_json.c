/* SPDX-License-Identifier: MIT */
/* Puts jansson behind our statuses: it tells lack of memory and bad text by the same NULL,
 * so texts are checked before. */
#include "nmi_json.h"

/* Most bytes of tree per byte of text (measured: 80, for a list of empty objects), and a start. */
enum { TREE_FACTOR = 96, TREE_START = 65536 };

neumeta_status nmi_json_memory(nmi_context *context)
{
    return nmi_fail(context, NEUMETA_ERR_MEMORY, "out of memory for JSON text");
}

neumeta_status nmi_json_blame_file(neumeta_status status)
{
    return status == NEUMETA_ERR_MEMORY || status == NEUMETA_ERR_VERSION ? status
                                                                         : NEUMETA_ERR_FORMAT;
}

/* Whether the tree of the text will find room. The lexer of jansson (up to 2.14 at least) damages
 * memory when the buffer of a token cannot grow; so no text may be what exhausts memory, and the
 * context's allocator is asked first, although the tree itself does not come from it. */
static bool room_is_there(nmi_context *context, size_t size)
{
    if (size > (SIZE_MAX - TREE_START) / TREE_FACTOR)
        return false;
    void *room = nmi_alloc(context, size * TREE_FACTOR + TREE_START);
    nmi_free(context, room);
    return room != NULL;
}

neumeta_status nmi_json_parse(nmi_context *context, const char *what, const char *text, size_t size,
                              json_t **out)
{
    json_error_t error;
    *out = NULL;
    if (!room_is_there(context, size))
        return nmi_json_memory(context);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        /* Some of jansson's allocations fail without any text or code. */
        if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
            return nmi_json_memory(context);
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "%s is not valid JSON at byte %d: %s", what,
                        error.position, error.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "%s is not a JSON object", what);
    }
    *out = root;
    return NEUMETA_OK;
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

/* Bytes of the UTF-8 sequence at `text`; 0 if it is none. */
static size_t sequence_length(const unsigned char *text)
{
    /* Least code point of each length: a longer form than needed is not UTF-8. */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (text[0] < 0x80)
        return 1;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    uint32_t point = text[0] & (0x7fu >> length);
    if (text[0] < 0xc0 || text[0] >= 0xf8)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) /* the ending zero, too */
            return 0;
        point = point << 6 | (text[i] & 0x3fu);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < least[length] || point > 0x10ffff || surrogate ? 0 : length;
}

neumeta_status nmi_json_check_text(nmi_context *context, const char *text, const char *what)
{
    const unsigned char *byte = (const unsigned char *)text;
    while (*byte != '\0') {
        size_t length = sequence_length(byte);
        if (length == 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is not valid UTF-8", what);
        byte += length;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_json_append(nmi_context *context, json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0 ? NEUMETA_OK : nmi_json_memory(context);
}
