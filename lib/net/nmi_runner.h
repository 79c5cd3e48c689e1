/* SPDX-License-Identifier: MIT */
/* What inference keeps between runs: packed weights and working memory. See nmi_runner.c. */
#ifndef NMI_RUNNER_H
#define NMI_RUNNER_H

#include "nmi_network.h"

typedef struct nmi_runner nmi_runner;

void nmi_runner_free(nmi_context *context, nmi_runner *runner); /* NULL is fine */

#endif
