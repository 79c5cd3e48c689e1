/* SPDX-License-Identifier: MIT */
/* The tables that nmi_kernels.c chooses from; the build defines NMI_HAVE_<SET> for those it
 * compiles. */
#ifndef NMI_CPU_H
#define NMI_CPU_H

#include "../nmi_kernels.h"

extern const nmi_kernels nmi_kernels_base;
#ifdef NMI_HAVE_NEON
extern const nmi_kernels nmi_kernels_neon;
#endif
#ifdef NMI_HAVE_AVX2
extern const nmi_kernels nmi_kernels_avx2;
#endif
#ifdef NMI_HAVE_AVX512
extern const nmi_kernels nmi_kernels_avx512;
#endif
#ifdef NMI_HAVE_AVX512BF16
extern const nmi_kernels nmi_kernels_avx512bf16;
#endif
#ifdef NMI_HAVE_AMX
extern const nmi_kernels nmi_kernels_amx;
#endif

bool nmi_amx_usable(void);

#endif
