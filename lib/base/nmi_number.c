/* SPDX-License-Identifier: MIT */
/* The host's locale may write numbers with a comma, so the syntax is checked here and strtod() is
 * only given what it understands in that locale. */
#include "nmi_number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 256 };

typedef struct span {
    const char *first;
    size_t length;
} span;

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

bool nmi_number_int(const char *first, size_t length, int64_t *out)
{
    const span text = {first, length};
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

bool nmi_number_real(const char *first, size_t length, double *out)
{
    const span text = {first, length};
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
