/* SPDX-License-Identifier: MIT */
/* The table of settings, made from nmi_keys.def and checked against the public numbers. */
#include "nmi_options.h"

#define NMI_KEY(number, name, type, minimum, maximum, initial, unit, help)                         \
    _Static_assert(NEUMETA_KEY_##name == (number), "nmi_keys.def and neumeta.h differ: " #name);
#include "nmi_keys.def"
#undef NMI_KEY

/* In ascending order of the numbers: nmi_key_find() halves. */
static const nmi_key keys[] = {
#define NMI_KEY(number, name, type, minimum, maximum, initial, unit, help)                         \
    {number, NEUMETA_TYPE_##type, #name, minimum, maximum, initial, unit, help},
#include "nmi_keys.def"
#undef NMI_KEY
};

int32_t nmi_key_count(void)
{
    return (int32_t)(sizeof keys / sizeof *keys);
}

const nmi_key *nmi_key_at(int32_t index)
{
    return index >= 0 && index < nmi_key_count() ? &keys[index] : NULL;
}

const nmi_key *nmi_key_find(int32_t number)
{
    int32_t low = 0;
    int32_t high = nmi_key_count();
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (keys[middle].number == number)
            return &keys[middle];
        if (keys[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Not toupper(): the host's locale must not decide which names are equal. */
static char plain_letter(char letter)
{
    if (letter >= 'a' && letter <= 'z')
        return (char)(letter - 'a' + 'A');
    return letter == '-' ? '_' : letter;
}

static bool same_name(const char *a, const char *b)
{
    while (*a != '\0' && plain_letter(*a) == plain_letter(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

const nmi_key *nmi_key_named(const char *name)
{
    for (int32_t i = 0; i < nmi_key_count(); i++)
        if (same_name(keys[i].name, name))
            return &keys[i];
    return NULL;
}
