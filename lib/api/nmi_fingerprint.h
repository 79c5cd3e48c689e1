/* SPDX-License-Identifier: MIT */
/* What names a network: joins io, which describes topologies, and net. */
#ifndef NMI_FINGERPRINT_H
#define NMI_FINGERPRINT_H

#include "nmi_hash.h"
#include "nmi_network.h"

/* SHA-256 of topology, sizes and all tensors; docs/formats.md says of which bytes. */
neumeta_status nmi_network_fingerprint(const nmi_network *network,
                                       unsigned char out[NMI_SHA256_BYTES]);

#endif
