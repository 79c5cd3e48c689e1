/* SPDX-License-Identifier: MIT */
/* Networks as safetensors files: what joins io, which knows no networks, and net, which knows no
 * files. */
#ifndef NMI_NETWORK_FILE_H
#define NMI_NETWORK_FILE_H

#include "nmi_network.h"
#include "nmi_safetensors.h"

/*
 * A network at the sizes that the file's tensors show: width axes from the first dimension of
 * weights and biases, depths from the repetitions present, anything else at its maximum. Every
 * tensor of the topology at those sizes must be there with its shape, and no other. F32 is copied,
 * F64, F16 and BF16 are converted. options: NAME_MAP. NEUMETA_ERR_FORMAT names file and tensor.
 */
neumeta_status nmi_network_read(nmi_topology *topology, const nmi_safetensors *file,
                                const nmi_options *options, nmi_network **out);
/* Option: STORAGE. */
neumeta_status nmi_network_write(const nmi_network *network, const char *path,
                                 const nmi_options *options);

#endif
