/* SPDX-License-Identifier: MIT */
/* Public calls on options and on the table of settings. */
#include "nmi_api.h"
#include "nmi_options.h"

neumeta_status neumeta_options_create(neumeta_context *context, neumeta_options **options)
{
    NMI_API_CLEAR(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    status = NMI_API_NEED(context, options);
    if (status == NEUMETA_OK)
        status = nmi_options_create(context, options);
    return nmi_api_end(context, status);
}

void neumeta_options_free(neumeta_options *options)
{
    nmi_options_release(options);
}

neumeta_status neumeta_options_set_int(neumeta_options *options, int32_t key, int64_t value)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_options_set_int(options, key, value));
}

neumeta_status neumeta_options_set_real(neumeta_options *options, int32_t key, double value)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_options_set_real(options, key, value));
}

neumeta_status neumeta_options_set_text(neumeta_options *options, int32_t key, const char *value)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_options_set_text(options, key, value));
}

neumeta_status neumeta_options_set_ints(neumeta_options *options, int32_t key,
                                        const int64_t *values, int64_t count)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_options_set_ints(options, key, values, count));
}

neumeta_status neumeta_options_set_reals(neumeta_options *options, int32_t key,
                                         const double *values, int64_t count)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    return nmi_api_end(context, nmi_options_set_reals(options, key, values, count));
}

neumeta_status neumeta_options_parse(neumeta_options *options, const char *name, const char *value)
{
    nmi_context *context = nmi_api_context(options);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, name)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, value)) == NEUMETA_OK)
        status = nmi_options_parse(options, name, value);
    return nmi_api_end(context, status);
}

int32_t neumeta_key_at(int32_t index)
{
    const nmi_key *key = nmi_key_at(index);
    return key != NULL ? key->number : 0;
}

const char *neumeta_key_name(int32_t number)
{
    const nmi_key *key = nmi_key_find(number);
    return key != NULL ? key->name : NULL;
}

const char *neumeta_key_help(int32_t number)
{
    const nmi_key *key = nmi_key_find(number);
    return key != NULL ? key->help : NULL;
}

const char *neumeta_key_unit(int32_t number)
{
    const nmi_key *key = nmi_key_find(number);
    return key != NULL ? key->choices : NULL;
}

neumeta_status neumeta_key_bounds(int32_t number, int32_t *type, double *minimum, double *maximum,
                                  double *initial)
{
    const nmi_key *key = nmi_key_find(number);
    if (key == NULL)
        return NEUMETA_ERR_ARGUMENT;
    if (type != NULL)
        *type = key->type;
    if (minimum != NULL)
        *minimum = key->minimum;
    if (maximum != NULL)
        *maximum = key->maximum;
    if (initial != NULL)
        *initial = key->initial;
    return NEUMETA_OK;
}
