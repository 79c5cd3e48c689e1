/* SPDX-License-Identifier: MIT */
/*
 * Smoothing: channels change places so that neighbours have similar weights.
 */
#ifndef NMI_SMOOTH_H
#define NMI_SMOOTH_H

#include "nmi_network.h"

/* neumeta_network_smooth(). On failure the network is as it was. NEUMETA_ERR_ARGUMENT for settings
 * that it does not use; NEUMETA_ERR_STATE for shared weights; NEUMETA_ERR_NUMERIC for weights that
 * are not finite; NEUMETA_ERR_UNSUPPORTED where the exact solver is asked for a group that is too
 * large, channels are tied in more than one order, or a group norm has more than one group. */
neumeta_status nmi_smooth(nmi_network *network, const nmi_options *options);

#endif
