/* SPDX-License-Identifier: MIT */
/*
 * A narrower network out of a wide one without training: what INRs are fitted to at sizes for which
 * there is no reference.
 *
 * Row (o, i) of a tensor [O, I] takes its taps from row (round(o O'/O), round(i I'/I)) of the wide
 * tensor [O', I'] - equal relative coordinates - times I'/I, so that sums over fewer channels keep
 * their size. It is the network that an INR of relative coordinates yields if it has learned the
 * full width exactly, its divisor I included.
 */
#ifndef NMI_RESAMPLE_H
#define NMI_RESAMPLE_H

#include "nmi_network.h"

/* Fills one live tensor of `narrow`, a network of the same topology at any sizes. */
void nmi_resample_tensor(const nmi_network *wide, nmi_network *narrow, int32_t tensor);

#endif
