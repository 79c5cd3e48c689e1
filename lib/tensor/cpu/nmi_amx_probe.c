/* SPDX-License-Identifier: MIT */
/*
 * Whether this process may use the tiles of AMX: the processor must have them, the system must keep
 * them when it switches threads, and since they are large, Linux wants to be asked first. Nothing
 * is tried out: a library must not catch the signal of an instruction that is not there, and these
 * answers leave none to guess.
 */
#include "nmi_cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>

enum { ARCH_PRCTL = 158, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

static bool processor_has_tiles(void)
{
    const unsigned wanted = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & wanted) == wanted;
}

/* Of the tiles' shapes and of their data, as the system has set it. */
static bool system_keeps_tiles(void)
{
    const unsigned osxsave = 1u << 27, wanted = 1u << 17 | 1u << 18;
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0)
        return false;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & wanted) == wanted;
}

/* arch_prctl(), which C libraries hide. */
static bool system_permits_tiles(void)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)ARCH_PRCTL), "D"((long)ARCH_REQ_XCOMP_PERM),
                       "S"((long)XFEATURE_XTILEDATA)
                     : "rcx", "r11", "memory");
    return result == 0;
}

bool nmi_amx_usable(void)
{
    return processor_has_tiles() && system_keeps_tiles() && system_permits_tiles();
}

#else

bool nmi_amx_usable(void)
{
    return false;
}

#endif
