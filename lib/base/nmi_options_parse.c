/* SPDX-License-Identifier: MIT */
/* Settings from text. The host's locale may write numbers with a comma, so the syntax is checked
 * here and strtod() is only given what it understands in that locale. */
#include "nmi_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 256 };

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

static bool is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

static size_t count_digits(span text, size_t from)
{
    size_t end = from;
    while (end < text.length && is_digit(text.first[end]))
        end++;
    return end - from;
}

static bool is_sign(span text, size_t at)
{
    return at < text.length && (text.first[at] == '-' || text.first[at] == '+');
}

static bool parse_int(span text, int64_t *out)
{
    size_t at = is_sign(text, 0) ? 1 : 0;
    bool negative = at == 1 && text.first[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    uint64_t value = 0;
    if (at == text.length || count_digits(text, at) != text.length - at)
        return false;
    for (; at < text.length; at++) {
        uint64_t digit = (uint64_t)(text.first[at] - '0');
        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (negative)
        *out = value == limit ? INT64_MIN : -(int64_t)value;
    else
        *out = (int64_t)value;
    return true;
}

/* Whether the text is [sign] digits [. digits] [e [sign] digits], one digit before the exponent at
 * least; `point` receives the place of the point, or the length. */
static bool is_real(span text, size_t *point)
{
    size_t at = is_sign(text, 0) ? 1 : 0;
    size_t digits = count_digits(text, at);
    at += digits;
    *point = text.length;
    if (at < text.length && text.first[at] == '.') {
        *point = at++;
        size_t fraction = count_digits(text, at);
        digits += fraction;
        at += fraction;
    }
    if (digits > 0 && at < text.length && (text.first[at] == 'e' || text.first[at] == 'E')) {
        at++;
        at += is_sign(text, at) ? 1 : 0;
        digits = count_digits(text, at);
        at += digits;
    }
    return digits > 0 && at == text.length;
}

static bool parse_real(span text, double *out)
{
    char sample[32]; /* one half, as the locale writes it */
    char number[NUMBER_MAX + sizeof sample];
    size_t point;
    int written = snprintf(sample, sizeof sample, "%.1f", 0.5);
    if (written < 3 || (size_t)written >= sizeof sample || text.length >= NUMBER_MAX ||
        !is_real(text, &point))
        return false;
    size_t mark = (size_t)written - 2;
    memcpy(number, text.first, point);
    size_t size = point;
    if (point < text.length) {
        memcpy(number + size, sample + 1, mark);
        size += mark;
        memcpy(number + size, text.first + point + 1, text.length - point - 1);
        size += text.length - point - 1;
    }
    number[size] = '\0';
    char *end;
    *out = strtod(number, &end);
    return *end == '\0';
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
        if (!parse_int(trim(rest, length), &numbers[i]))
            return fail_syntax(options, key, value, "integers with commas between");
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
        if (!parse_real(trim(rest, length), &numbers[i]))
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
        if (!parse_int(text, &integer))
            return fail_syntax(options, key, value, "an integer");
        return nmi_options_set_int(options, key->number, integer);
    case NEUMETA_TYPE_BOOL:
        if (!parse_bool(text, &integer))
            return fail_syntax(options, key, value, "one of 0|1|false|true|no|yes|off|on");
        return nmi_options_set_int(options, key->number, integer);
    case NEUMETA_TYPE_REAL:
        if (!parse_real(text, &real))
            return fail_syntax(options, key, value, "a real number");
        return nmi_options_set_real(options, key->number, real);
    case NEUMETA_TYPE_INTS:
    case NEUMETA_TYPE_REALS:
        return parse_list(options, key, value);
    default:
        return nmi_options_set_text(options, key->number, value);
    }
}
