/* SPDX-License-Identifier: MIT */
/* For tests that see the library's inside and have no context: the kernels of test_context(). */
#ifndef NMI_TEST_KERNELS_H
#define NMI_TEST_KERNELS_H

#include "nmi_kernels.h"
#include "nmi_test.h"

static inline const nmi_kernels *test_kernels(void)
{
    const char *name = getenv("NEUMETA_TEST_KERNELS");
    if (name == NULL || name[0] == '\0' || strcmp(name, "auto") == 0)
        return nmi_kernels_best();
    const nmi_kernels *kernels = nmi_kernels_named(name);
    ck_assert_msg(kernels != NULL, "NEUMETA_TEST_KERNELS is '%s', which is not here", name);
    return kernels;
}

#endif
