/* SPDX-License-Identifier: MIT */
/* One table of what a sequence of each length is: its first byte's mark, and its least code point,
 * since a longer form than needed is not UTF-8. */
#include "nmi_utf8.h"

#include <stdbool.h>

static const struct {
    unsigned char mark;
    uint32_t least;
} forms[] = {{0, 0}, {0, 0}, {0xc0, 0x80}, {0xe0, 0x800}, {0xf0, 0x10000}};

size_t nmi_utf8_length(const unsigned char *text, size_t size)
{
    if (size == 0)
        return 0;
    if (text[0] < 0x80)
        return 1;
    const size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    uint32_t point = text[0] & (0x7fu >> length);
    if (text[0] < 0xc0 || text[0] >= 0xf8 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (text[i] & 0x3fu);
    }
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < forms[length].least || point > 0x10ffff || surrogate ? 0 : length;
}

size_t nmi_utf8_put(uint32_t point, char *out)
{
    size_t length = 1;
    while (length < 4 && point >= (length == 1 ? 0x80 : forms[length + 1].least))
        length++;
    if (length == 1) {
        out[0] = (char)point;
        return length;
    }
    for (size_t i = length; i-- > 1; point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(forms[length].mark | point);
    return length;
}
