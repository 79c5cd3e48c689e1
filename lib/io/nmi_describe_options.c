/* SPDX-License-Identifier: MIT */
/* Settings as JSON: a file keeps names, not numbers, so that people can read them. */
#include "nmi_describe.h"

#include "nmi_json.h"
#include "nmi_json_read.h"

#include <string.h>

static neumeta_status put_list(nmi_context *context, json_t *object, const nmi_options *options,
                               const nmi_key *key)
{
    json_t *list = json_array();
    int64_t count;
    if (list == NULL)
        return nmi_json_memory(context);
    neumeta_status status = NEUMETA_OK;
    if (key->type == NEUMETA_TYPE_INTS) {
        const int64_t *values = nmi_options_ints(options, key->number, &count);
        for (int64_t i = 0; status == NEUMETA_OK && i < count; i++)
            status = nmi_json_append(context, list, json_integer(values[i]));
    } else {
        const double *values = nmi_options_reals(options, key->number, &count);
        for (int64_t i = 0; status == NEUMETA_OK && i < count; i++)
            status = nmi_json_append(context, list, json_real(values[i]));
    }
    if (status == NEUMETA_OK)
        return nmi_json_put(context, object, key->name, list);
    json_decref(list);
    return status;
}

static neumeta_status put_setting(nmi_context *context, json_t *object, const nmi_options *options,
                                  const nmi_key *key)
{
    switch (key->type) {
    case NEUMETA_TYPE_INT:
        return nmi_json_put(context, object, key->name,
                            json_integer(nmi_options_int(options, key->number)));
    case NEUMETA_TYPE_BOOL:
        return nmi_json_put(context, object, key->name,
                            json_boolean(nmi_options_int(options, key->number) != 0));
    case NEUMETA_TYPE_REAL:
        return nmi_json_put(context, object, key->name,
                            json_real(nmi_options_real(options, key->number)));
    case NEUMETA_TYPE_TEXT:
    case NEUMETA_TYPE_CHOICE:
        return nmi_json_put_text(context, object, key->name, nmi_options_text(options, key->number),
                                 key->name);
    default:
        return put_list(context, object, options, key);
    }
}

neumeta_status nmi_options_to_json(nmi_context *context, const nmi_options *options, char **text)
{
    json_t *object = json_object();
    neumeta_status status = object == NULL ? nmi_json_memory(context) : NEUMETA_OK;
    *text = NULL;
    for (int32_t i = 0; status == NEUMETA_OK && options != NULL; i++) {
        const nmi_key *key = nmi_options_set_at(options, i);
        if (key == NULL)
            break;
        status = put_setting(context, object, options, key);
    }
    if (status == NEUMETA_OK)
        status = nmi_json_print(context, object, text, NULL);
    json_decref(object);
    return status;
}

static neumeta_status refuse_type(nmi_context *context, const char *expected)
{
    return nmi_fail(context, NEUMETA_ERR_FORMAT, "value is not %s", expected);
}

/* How many entries a list has, before memory is taken for them. */
static neumeta_status count_entries(nmi_context *context, const char *list, int64_t *count)
{
    *count = (int64_t)nmi_json_count(list);
    if (!nmi_json_is_list(list))
        return refuse_type(context, "a list");
    if (*count > NMI_OPTIONS_ENTRIES)
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "list has %lld entries, at most %d can be",
                        (long long)*count, (int)NMI_OPTIONS_ENTRIES);
    return NEUMETA_OK;
}

static neumeta_status set_ints(nmi_context *context, nmi_options *options, const nmi_key *key,
                               const char *list)
{
    nmi_json_walk walk = nmi_json_open(list);
    int64_t count;
    neumeta_status status = count_entries(context, list, &count);
    if (status < 0)
        return status;
    int64_t *values = nmi_alloc_array(context, count, sizeof *values);
    if (values == NULL)
        return NEUMETA_ERR_MEMORY;
    for (size_t i = 0; status == NEUMETA_OK && nmi_json_next(&walk); i++)
        if (!nmi_json_integer(walk.value, &values[i]))
            status = refuse_type(context, "a list of whole numbers");
    if (status == NEUMETA_OK)
        status = nmi_options_set_ints(options, key->number, values, count);
    nmi_free(context, values);
    return status;
}

static neumeta_status set_reals(nmi_context *context, nmi_options *options, const nmi_key *key,
                                const char *list)
{
    nmi_json_walk walk = nmi_json_open(list);
    int64_t count;
    neumeta_status status = count_entries(context, list, &count);
    if (status < 0)
        return status;
    double *values = nmi_alloc_array(context, count, sizeof *values);
    if (values == NULL)
        return NEUMETA_ERR_MEMORY;
    for (size_t i = 0; status == NEUMETA_OK && nmi_json_next(&walk); i++)
        if (!nmi_json_number(walk.value, &values[i]))
            status = refuse_type(context, "a list of numbers");
    if (status == NEUMETA_OK)
        status = nmi_options_set_reals(options, key->number, values, count);
    nmi_free(context, values);
    return status;
}

static neumeta_status set_setting(nmi_context *context, nmi_options *options, const nmi_key *key,
                                  const char *value)
{
    const char *text = nmi_json_string(value);
    int64_t integer;
    double real;
    bool flag;
    switch (key->type) {
    case NEUMETA_TYPE_INT:
        return nmi_json_integer(value, &integer)
                   ? nmi_options_set_int(options, key->number, integer)
                   : refuse_type(context, "a whole number");
    case NEUMETA_TYPE_BOOL:
        return nmi_json_boolean(value, &flag) ? nmi_options_set_int(options, key->number, flag)
                                              : refuse_type(context, "true or false");
    case NEUMETA_TYPE_REAL:
        return nmi_json_number(value, &real) ? nmi_options_set_real(options, key->number, real)
                                             : refuse_type(context, "a number");
    case NEUMETA_TYPE_TEXT:
    case NEUMETA_TYPE_CHOICE:
        return text != NULL ? nmi_options_set_text(options, key->number, text)
                            : refuse_type(context, "a string");
    case NEUMETA_TYPE_INTS:
        return set_ints(context, options, key, value);
    default:
        return set_reals(context, options, key, value);
    }
}

static neumeta_status set_all(nmi_context *context, nmi_options *options, const char *root)
{
    nmi_json_walk walk = nmi_json_open(root);
    while (nmi_json_next(&walk)) {
        const nmi_key *key = nmi_key_named(walk.name);
        if (key == NULL || strcmp(key->name, walk.name) != 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "setting '%.64s' is unknown", walk.name);
        if (nmi_options_has(options, key->number))
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "setting '%s' occurs twice", walk.name);
        neumeta_status status = set_setting(context, options, key, walk.value);
        if (status < 0)
            return nmi_fail_within(context, nmi_json_blame_file(status), "setting '%s'", walk.name);
    }
    return NEUMETA_OK;
}

neumeta_status nmi_options_from_json(nmi_context *context, const char *text, nmi_options **out)
{
    const char *root;
    nmi_options *options = NULL;
    char *copy = nmi_text_copy(context, text);
    *out = NULL;
    if (copy == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = nmi_json_read(context, "settings", copy, strlen(text), &root);
    if (status == NEUMETA_OK)
        status = nmi_options_create(context, &options);
    if (status == NEUMETA_OK)
        status = set_all(context, options, root);
    if (status == NEUMETA_OK)
        *out = options;
    else
        nmi_options_release(options);
    nmi_free(context, copy);
    return status;
}
