/* SPDX-License-Identifier: MIT */
/* Settings from text. */
#include "nmi_number.h"
#include "nmi_options.h"

#include <string.h>

typedef struct span {
    const char *first;
    size_t length;
} span;

/* Every handle starts with an nmi_object. */
static nmi_context *context_of(const nmi_options *options)
{
    return ((const nmi_object *)options)->context;
}

static span trim(const char *first, size_t length)
{
    while (length > 0 && (first[0] == ' ' || first[0] == '\t')) {
        first++;
        length--;
    }
    while (length > 0 && (first[length - 1] == ' ' || first[length - 1] == '\t'))
        length--;
    return (span){first, length};
}

static bool parse_bool(span text, int64_t *out)
{
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == text.length && memcmp(words[i], text.first, text.length) == 0) {
            *out = (int64_t)(i % 2);
            return true;
        }
    }
    return false;
}

static neumeta_status fail_syntax(nmi_options *options, const nmi_key *key, const char *value,
                                  const char *wanted)
{
    return nmi_fail(context_of(options), NEUMETA_ERR_ARGUMENT, "%s is '%.100s', must be %s",
                    key->name, value, wanted);
}

static neumeta_status parse_ints(nmi_options *options, const nmi_key *key, const char *value,
                                 int64_t *numbers, int64_t count)
{
    const char *rest = value;
    for (int64_t i = 0; i < count; i++) {
        size_t length = strcspn(rest, ",");
        const span text = trim(rest, length);
        if (!nmi_number_int(text.first, text.length, &numbers[i]))
            return fail_syntax(options, key, value, "integers with commas between, of at most 64 bits");
        rest += length + 1;
    }
    return nmi_options_set_ints(options, key->number, numbers, count);
}

static neumeta_status parse_reals(nmi_options *options, const nmi_key *key, const char *value,
                                  double *numbers, int64_t count)
{
    const char *rest = value;
    for (int64_t i = 0; i < count; i++) {
        size_t length = strcspn(rest, ",");
        const span text = trim(rest, length);
        if (!nmi_number_real(text.first, text.length, &numbers[i]))
            return fail_syntax(options, key, value, "real numbers with commas between");
        rest += length + 1;
    }
    return nmi_options_set_reals(options, key->number, numbers, count);
}

static neumeta_status parse_list(nmi_options *options, const nmi_key *key, const char *value)
{
    nmi_context *context = context_of(options);
    int64_t count = 1;
    for (const char *at = value; *at != '\0'; at++)
        count += *at == ',';
    bool ints = key->type == NEUMETA_TYPE_INTS;
    void *numbers = nmi_alloc_array(context, count, ints ? sizeof(int64_t) : sizeof(double));
    if (numbers == NULL)
        return NEUMETA_ERR_MEMORY;
    neumeta_status status = ints ? parse_ints(options, key, value, numbers, count)
                                 : parse_reals(options, key, value, numbers, count);
    nmi_free(context, numbers);
    return status;
}

neumeta_status nmi_options_parse(nmi_options *options, const char *name, const char *value)
{
    const nmi_key *key = nmi_key_named(name);
    if (key == NULL)
        return nmi_fail(context_of(options), NEUMETA_ERR_ARGUMENT,
                        "there is no setting named '%.100s'", name);
    span text = trim(value, strlen(value));
    int64_t integer;
    double real;
    switch (key->type) {
    case NEUMETA_TYPE_INT:
        if (!nmi_number_int(text.first, text.length, &integer))
            return fail_syntax(options, key, value, "an integer of at most 64 bits");
        return nmi_options_set_int(options, key->number, integer);
    case NEUMETA_TYPE_BOOL:
        if (!parse_bool(text, &integer))
            return fail_syntax(options, key, value, "one of 0|1|false|true|no|yes|off|on");
        return nmi_options_set_int(options, key->number, integer);
    case NEUMETA_TYPE_REAL:
        if (!nmi_number_real(text.first, text.length, &real))
            return fail_syntax(options, key, value, "a real number");
        return nmi_options_set_real(options, key->number, real);
    case NEUMETA_TYPE_INTS:
    case NEUMETA_TYPE_REALS:
        return parse_list(options, key, value);
    default:
        return nmi_options_set_text(options, key->number, value);
    }
}
