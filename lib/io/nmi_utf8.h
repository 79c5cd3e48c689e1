/* SPDX-License-Identifier: MIT */
/* UTF-8. Included by this unit's own files only. */
#ifndef NMI_UTF8_H
#define NMI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the sequence that begins `size` bytes; 0 if it is none. */
size_t nmi_utf8_length(const unsigned char *text, size_t size);
/* Writes the sequence of a code point, of up to 4 bytes; its length. */
size_t nmi_utf8_put(uint32_t point, char *out);

#endif
