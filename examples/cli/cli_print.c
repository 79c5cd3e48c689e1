/* SPDX-License-Identifier: MIT */
/* What strangers' files say must not command the terminal that it is printed on. */
#include "cli.h"

#include <string.h>

/* Bytes of the control character that the text begins with; 0: it begins with none. Those from
 * U+0080 to U+009F are two bytes. */
static size_t control_length(const char *text, size_t size)
{
    const unsigned char first = (unsigned char)text[0];
    const unsigned char second = size > 1 ? (unsigned char)text[1] : 0;
    if (first == 0xc2 && second >= 0x80 && second <= 0x9f)
        return 2;
    return first < 0x20 || first == 0x7f;
}

char *cli_clean(char *text)
{
    char *out = text;
    size_t left = strlen(text);
    for (const char *in = text; left > 0;) {
        const size_t control = control_length(in, left), length = control > 0 ? control : 1;
        *out++ = control > 0 ? '?' : *in;
        in += length;
        left -= length;
    }
    *out = '\0';
    return text;
}

/* jansson leaves all controls from DEL on as they are. */
static int put_escaped(const char *text, size_t size, void *out)
{
    size_t written = 0;
    for (size_t i = 0; i < size; i++) {
        const size_t control = control_length(text + i, size - i);
        if (control == 0)
            continue;
        fwrite(text + written, 1, i - written, out);
        written = i + control;
        i = written - 1;
        fprintf(out, "\\u%04x", (unsigned char)text[i]);
    }
    fwrite(text + written, 1, size - written, out);
    return 0;
}

void cli_put_json(FILE *out, const json_t *value, size_t digits)
{
    json_dump_callback(value, put_escaped, out, JSON_COMPACT | JSON_REAL_PRECISION(digits));
    fputc('\n', out);
}
