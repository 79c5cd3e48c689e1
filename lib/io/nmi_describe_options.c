/* SPDX-License-Identifier: MIT */
/* Settings as JSON: a file keeps names, not numbers, so that people can read them. */
#include "nmi_describe.h"

#include "nmi_json.h"

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

static neumeta_status set_ints(nmi_context *context, nmi_options *options, const nmi_key *key,
                               const json_t *list)
{
    size_t count = json_array_size(list);
    neumeta_status status = json_is_array(list) ? NEUMETA_OK : refuse_type(context, "a list");
    if (status < 0)
        return status;
    int64_t *values = nmi_alloc_array(context, (int64_t)count, sizeof *values);
    if (values == NULL)
        return NEUMETA_ERR_MEMORY;
    for (size_t i = 0; status == NEUMETA_OK && i < count; i++) {
        const json_t *item = json_array_get(list, i);
        values[i] = json_integer_value(item);
        if (!json_is_integer(item))
            status = refuse_type(context, "a list of whole numbers");
    }
    if (status == NEUMETA_OK)
        status = nmi_options_set_ints(options, key->number, values, (int64_t)count);
    nmi_free(context, values);
    return status;
}

static neumeta_status set_reals(nmi_context *context, nmi_options *options, const nmi_key *key,
                                const json_t *list)
{
    size_t count = json_array_size(list);
    neumeta_status status = json_is_array(list) ? NEUMETA_OK : refuse_type(context, "a list");
    if (status < 0)
        return status;
    double *values = nmi_alloc_array(context, (int64_t)count, sizeof *values);
    if (values == NULL)
        return NEUMETA_ERR_MEMORY;
    for (size_t i = 0; status == NEUMETA_OK && i < count; i++) {
        const json_t *item = json_array_get(list, i);
        values[i] = json_number_value(item);
        if (!json_is_number(item))
            status = refuse_type(context, "a list of numbers");
    }
    if (status == NEUMETA_OK)
        status = nmi_options_set_reals(options, key->number, values, (int64_t)count);
    nmi_free(context, values);
    return status;
}

static neumeta_status set_setting(nmi_context *context, nmi_options *options, const nmi_key *key,
                                  const json_t *value)
{
    switch (key->type) {
    case NEUMETA_TYPE_INT:
        return json_is_integer(value)
                   ? nmi_options_set_int(options, key->number, json_integer_value(value))
                   : refuse_type(context, "a whole number");
    case NEUMETA_TYPE_BOOL:
        return json_is_boolean(value)
                   ? nmi_options_set_int(options, key->number, json_is_true(value))
                   : refuse_type(context, "true or false");
    case NEUMETA_TYPE_REAL:
        return json_is_number(value)
                   ? nmi_options_set_real(options, key->number, json_number_value(value))
                   : refuse_type(context, "a number");
    case NEUMETA_TYPE_TEXT:
    case NEUMETA_TYPE_CHOICE:
        return json_is_string(value)
                   ? nmi_options_set_text(options, key->number, json_string_value(value))
                   : refuse_type(context, "a string");
    case NEUMETA_TYPE_INTS:
        return set_ints(context, options, key, value);
    default:
        return set_reals(context, options, key, value);
    }
}

static neumeta_status set_all(nmi_context *context, nmi_options *options, json_t *root)
{
    const char *name;
    json_t *value;
    json_object_foreach (root, name, value) {
        const nmi_key *key = nmi_key_named(name);
        if (key == NULL || strcmp(key->name, name) != 0)
            return nmi_fail(context, NEUMETA_ERR_FORMAT, "setting '%.64s' is unknown", name);
        neumeta_status status = set_setting(context, options, key, value);
        if (status < 0)
            return nmi_fail_within(context, nmi_json_blame_file(status), "setting '%s'", name);
    }
    return NEUMETA_OK;
}

neumeta_status nmi_options_from_json(nmi_context *context, const char *text, nmi_options **out)
{
    json_t *root;
    nmi_options *options = NULL;
    *out = NULL;
    neumeta_status status = nmi_json_parse(context, "settings", text, strlen(text), &root);
    if (status == NEUMETA_OK)
        status = nmi_options_create(context, &options);
    if (status == NEUMETA_OK)
        status = set_all(context, options, root);
    if (status == NEUMETA_OK)
        *out = options;
    else
        nmi_options_release(options);
    json_decref(root);
    return status;
}
