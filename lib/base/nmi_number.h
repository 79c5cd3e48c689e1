/* SPDX-License-Identifier: MIT */
/* Numbers from text, whatever the host's locale takes for a decimal point. */
#ifndef NMI_NUMBER_H
#define NMI_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* [sign] digits. False for anything else and beyond 64 bits. */
bool nmi_number_int(const char *text, size_t length, int64_t *out);
/* [sign] digits [. digits] [e [sign] digits], one digit before the exponent at least, and 255
 * characters at most. Infinite if it is too large. False for anything else. */
bool nmi_number_real(const char *text, size_t length, double *out);

#endif
