/* SPDX-License-Identifier: MIT */
/* The reader of JSON (RFC 8259): one pass that checks and tightens, and the walk through what it
 * leaves. No recursion, no memory: tight text is never longer than what it was made of. */
#include "nmi_json_read.h"

#include "nmi_number.h"
#include "nmi_sort.h"
#include "nmi_utf8.h"

#include <math.h>
#include <string.h>

/* --- checking ---------------------------------------------------------------------------- */

typedef struct scan {
    const char *in, *end;
    char *out;        /* never behind `in` */
    uint64_t objects; /* a bit for each open container, the last one lowest: an object */
    int depth;
    const char *problem;
} scan;

static bool fail(scan *s, const char *problem)
{
    s->problem = problem;
    return false;
}

static bool is_next(const scan *s, char letter)
{
    return s->in < s->end && *s->in == letter;
}

static void skip_space(scan *s)
{
    while (is_next(s, ' ') || is_next(s, '\t') || is_next(s, '\n') || is_next(s, '\r'))
        s->in++;
}

/* Copies the letter if it comes next. */
static bool take(scan *s, char letter)
{
    if (!is_next(s, letter))
        return false;
    s->in++;
    *s->out++ = letter;
    return true;
}

/* Four hexadecimal digits; -1 if they are none. */
static int32_t take_unit(scan *s)
{
    int32_t unit = 0;
    if (s->end - s->in < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char letter = *s->in++;
        const char *digit = letter != '\0' ? strchr("0123456789abcdefABCDEF", letter) : NULL;
        if (digit == NULL)
            return -1;
        const int value = (int)(digit - "0123456789abcdefABCDEF");
        unit = unit << 4 | (value < 16 ? value : value - 6);
    }
    return unit;
}

/* What follows "\u": a code point, from two units if it needs them. */
static bool take_point(scan *s)
{
    int32_t point = take_unit(s);
    if (point >= 0xd800 && point <= 0xdbff && s->end - s->in >= 2 && memcmp(s->in, "\\u", 2) == 0) {
        s->in += 2;
        const int32_t low = take_unit(s);
        point =
            low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((point - 0xd800) << 10) + low - 0xdc00 : -1;
    }
    if (point <= 0 || (point >= 0xd800 && point <= 0xdfff))
        return fail(s, "a \\u without a character other than zero");
    s->out += nmi_utf8_put((uint32_t)point, s->out);
    return true;
}

static bool take_escape(scan *s)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    s->in++;
    if (is_next(s, 'u')) {
        s->in++;
        return take_point(s);
    }
    const char *found = s->in < s->end && *s->in != '\0' ? strchr(letters, *s->in) : NULL;
    if (found == NULL)
        return fail(s, "an unknown escape");
    s->in++;
    *s->out++ = values[found - letters];
    return true;
}

static bool take_string(scan *s)
{
    if (!take(s, '"'))
        return fail(s, "a string was expected");
    while (!is_next(s, '"')) {
        const unsigned char *text = (const unsigned char *)s->in;
        const size_t length = nmi_utf8_length(text, (size_t)(s->end - s->in));
        if (length == 0 || *text < 0x20)
            return fail(s,
                        "a string that does not end, or is not UTF-8 without control characters");
        if (*text == '\\') {
            if (!take_escape(s))
                return false;
            continue;
        }
        memmove(s->out, s->in, length);
        s->in += length;
        s->out += length;
    }
    s->in++;
    *s->out++ = '\0';
    return true;
}

static size_t take_digits(scan *s)
{
    const char *begin = s->in;
    while (s->in < s->end && *s->in >= '0' && *s->in <= '9')
        *s->out++ = *s->in++;
    return (size_t)(s->in - begin);
}

static bool take_number(scan *s)
{
    const char *begin = s->out;
    int64_t integer;
    double real;
    take(s, '-');
    bool good = take(s, '0') || take_digits(s) > 0, whole = true;
    if (good && take(s, '.')) {
        whole = false;
        good = take_digits(s) > 0;
    }
    if (good && (take(s, 'e') || take(s, 'E'))) {
        whole = false;
        if (!take(s, '+'))
            take(s, '-');
        good = take_digits(s) > 0;
    }
    const size_t length = (size_t)(s->out - begin);
    if (!good)
        return fail(s, "a value was expected");
    if (whole ? !nmi_number_int(begin, length, &integer)
              : !nmi_number_real(begin, length, &real) || !isfinite(real))
        return fail(s, "a number that is too large or too long");
    return true;
}

static bool take_word(scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        const size_t length = strlen(words[i]);
        if ((size_t)(s->end - s->in) >= length && memcmp(s->in, words[i], length) == 0) {
            memcpy(s->out, words[i], length);
            s->in += length;
            s->out += length;
            return true;
        }
    }
    return take_number(s);
}

static bool in_object(const scan *s)
{
    return s->depth > 0 && (s->objects & 1) != 0;
}

static bool take_end(scan *s)
{
    skip_space(s);
    if (s->depth == 0 || !take(s, in_object(s) ? '}' : ']'))
        return false;
    s->objects >>= 1;
    s->depth--;
    return true;
}

/* A whole value, or the beginning of a container that is not empty: `*open`. */
static bool take_value(scan *s, bool *open)
{
    skip_space(s);
    *open = false;
    if (is_next(s, '"'))
        return take_string(s);
    const bool object = is_next(s, '{');
    if (!take(s, '{') && !take(s, '['))
        return take_word(s);
    if (s->depth == NMI_JSON_DEPTH)
        return fail(s, "too many lists and objects in one another");
    s->objects = s->objects << 1 | (object ? 1 : 0);
    s->depth++;
    *open = !take_end(s);
    return true;
}

static bool take_name(scan *s)
{
    skip_space(s);
    if (!take_string(s))
        return false;
    skip_space(s);
    return take(s, ':') || fail(s, "':' was expected");
}

static bool take_text(scan *s)
{
    bool open = true;
    do {
        if (in_object(s) && !take_name(s))
            return false;
        if (!take_value(s, &open))
            return false;
        while (!open && take_end(s))
            ;
        if (!open && s->depth > 0 && !take(s, ','))
            return fail(s, in_object(s) ? "',' or '}' was expected" : "',' or ']' was expected");
    } while (s->depth > 0);
    skip_space(s);
    return s->in == s->end || fail(s, "the end was expected");
}

neumeta_status nmi_json_read(nmi_context *context, const char *what, char *text, size_t size,
                             const char **out)
{
    scan s = {.in = text, .end = text + size, .out = text};
    *out = NULL;
    if (!take_text(&s))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "%s is not valid JSON at byte %zu: %s", what,
                        (size_t)(s.in - text), s.problem);
    if (!nmi_json_is_object(text))
        return nmi_fail(context, NEUMETA_ERR_FORMAT, "%s is not a JSON object", what);
    *out = text;
    return NEUMETA_OK;
}

/* --- walking ----------------------------------------------------------------------------- */

bool nmi_json_is_object(const char *value)
{
    return value != NULL && *value == '{';
}

bool nmi_json_is_list(const char *value)
{
    return value != NULL && *value == '[';
}

const char *nmi_json_string(const char *value)
{
    return value != NULL && *value == '"' ? value + 1 : NULL;
}

/* Bytes up to what ends a number or a word in its container: no zero need ever follow. */
static size_t word_length(const char *at)
{
    size_t length = 0;
    while (at[length] != ',' && at[length] != '}' && at[length] != ']')
        length++;
    return length;
}

static size_t number_length(const char *value)
{
    return value != NULL && (*value == '-' || (*value >= '0' && *value <= '9')) ? word_length(value)
                                                                                : 0;
}

bool nmi_json_integer(const char *value, int64_t *out)
{
    *out = 0;
    return nmi_number_int(value, number_length(value), out);
}

bool nmi_json_number(const char *value, double *out)
{
    *out = 0;
    return nmi_number_real(value, number_length(value), out);
}

bool nmi_json_boolean(const char *value, bool *out)
{
    *out = value != NULL && *value == 't';
    return *out || (value != NULL && *value == 'f');
}

/* Behind the value. */
static const char *skip(const char *at)
{
    int64_t depth = 0;
    do {
        if (*at == '"') {
            at += strlen(at) + 1;
            continue;
        }
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at += depth > 0 || *at == '}' || *at == ']' ? 1 : word_length(at);
    } while (depth > 0);
    return at;
}

nmi_json_walk nmi_json_open(const char *container)
{
    const bool object = nmi_json_is_object(container);
    return (nmi_json_walk){.at = object || nmi_json_is_list(container) ? container : "]",
                           .object = object};
}

bool nmi_json_next(nmi_json_walk *walk)
{
    if (*walk->at == '{' || *walk->at == '[' || *walk->at == ',')
        walk->at++;
    if (*walk->at == '}' || *walk->at == ']')
        return false;
    walk->value = walk->at;
    if (walk->object) {
        walk->name = walk->at + 1;
        walk->value = walk->name + strlen(walk->name) + 2; /* its zero, and the colon */
    }
    walk->at = skip(walk->value);
    return true;
}

size_t nmi_json_count(const char *container)
{
    nmi_json_walk walk = nmi_json_open(container);
    size_t count = 0;
    while (nmi_json_next(&walk))
        count++;
    return count;
}

const char *nmi_json_get(const char *object, const char *name)
{
    nmi_json_walk walk = nmi_json_open(object);
    while (walk.object && nmi_json_next(&walk))
        if (strcmp(walk.name, name) == 0)
            return walk.value;
    return NULL;
}

static bool comes_before(const void *object, uint32_t a, uint32_t b)
{
    return strcmp((const char *)object + a, (const char *)object + b) < 0;
}

neumeta_status nmi_json_repeated(nmi_context *context, const char *object, const char **name)
{
    const size_t count = nmi_json_count(object);
    nmi_json_walk walk = nmi_json_open(object);
    *name = NULL;
    uint32_t *names = nmi_alloc_array(context, (int64_t)count, sizeof *names);
    if (names == NULL)
        return NEUMETA_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        nmi_json_next(&walk);
        names[i] = (uint32_t)(walk.name - object);
    }
    nmi_sort(names, count, comes_before, object);
    for (size_t i = 1; i < count && *name == NULL; i++)
        if (strcmp(object + names[i - 1], object + names[i]) == 0)
            *name = object + names[i];
    nmi_free(context, names);
    return NEUMETA_OK;
}
