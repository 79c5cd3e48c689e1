/* SPDX-License-Identifier: MIT */
/*
 * The place of the digits is fixed, so that the header's own can be left out of what they cover:
 * they are XXH64 of all that follows them up to the data, with XXH64 of all before them as seed.
 */
#include "nmi_checksum.h"

#include "nmi_hash.h"
#include "nmi_safetensors_bytes.h"

#include <string.h>

/* What follows the length of the header. */
static const char beginning[] = "{\"" NMI_SAFETENSORS_METADATA "\":{\"" NMI_CHECKSUM_KEY "\":\"";

enum { PLACE = 8 + sizeof beginning - 1, END = PLACE + NMI_CHECKSUM_DIGITS };

void nmi_checksum_print(uint64_t checksum, char *digits)
{
    for (int i = 0; i < NMI_CHECKSUM_DIGITS; i++)
        digits[i] = "0123456789abcdef"[checksum >> (60 - 4 * i) & 15];
}

uint64_t nmi_checksum_tensor(const void *data, int64_t bytes)
{
    return nmi_xxh64(data, (size_t)bytes, 0);
}

static uint64_t of_header(const unsigned char *bytes, size_t size)
{
    return nmi_xxh64(bytes + END, size - END, nmi_xxh64(bytes, PLACE, 0));
}

bool nmi_checksum_is_there(const unsigned char *bytes, size_t size)
{
    return size > END && memcmp(bytes + 8, beginning, sizeof beginning - 1) == 0;
}

void nmi_checksum_sign(unsigned char *bytes, size_t size)
{
    nmi_checksum_print(of_header(bytes, size), (char *)bytes + PLACE);
}

static bool is_printed(uint64_t checksum, const void *digits)
{
    char expected[NMI_CHECKSUM_DIGITS];
    nmi_checksum_print(checksum, expected);
    return memcmp(digits, expected, sizeof expected) == 0;
}

neumeta_status nmi_checksum_verify_header(nmi_context *context, const unsigned char *bytes,
                                          size_t size)
{
    if (is_printed(of_header(bytes, size), bytes + PLACE))
        return NEUMETA_OK;
    return nmi_fail(context, NEUMETA_ERR_FORMAT,
                    "the header is damaged: its checksum is not the one it was written with");
}

neumeta_status nmi_checksum_verify_tensors(nmi_context *context, const char *digits,
                                           const nmi_safetensors *file)
{
    const int32_t count = nmi_safetensors_count(file);
    if (strlen(digits) != ((size_t)count + 1) * NMI_CHECKSUM_DIGITS)
        return nmi_fail(context, NEUMETA_ERR_FORMAT,
                        "metadata '" NMI_CHECKSUM_KEY "' has %zu digits, must have %d for the "
                        "header and for each of %d tensors",
                        strlen(digits), (int)NMI_CHECKSUM_DIGITS, (int)count);
    for (int32_t i = 0; i < count; i++) {
        digits += NMI_CHECKSUM_DIGITS;
        nmi_tensor_entry entry;
        if (!nmi_safetensors_at(file, i, &entry) ||
            !is_printed(nmi_checksum_tensor(entry.data, entry.bytes), digits))
            return nmi_fail(context, NEUMETA_ERR_FORMAT,
                            "tensor '%s' is damaged: its checksum is not the one it was written "
                            "with",
                            entry.name);
    }
    return NEUMETA_OK;
}
