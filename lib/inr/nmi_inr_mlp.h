/* SPDX-License-Identifier: MIT */
/*
 * The residual MLP of Neural Metamorphosis (arXiv 2410.11878):
 *
 *   a = phi(A_0 e + b_0);   a <- a + s_m phi(A_m a + b_m), m = 1 .. layers - 1;   out = A a + b
 *
 * with e the encoded coordinates [P], A_0 [H][P], A_m [H][H], A [D][H], s_m scalars. Parameters are
 * stored A_0, b_0, (A_m, b_m, s_m) for each m, A, b. Forward 2 (P H + (layers - 1) H^2 + H taps)
 * FLOP a row; backward runs it again and costs about three times that. Rows without noise do
 * without most of the first layer's share (nmi_split.h).
 */
#ifndef NMI_INR_MLP_H
#define NMI_INR_MLP_H

#include "nmi_inr.h"

extern const nmi_inr_kind nmi_inr_mlp;

#endif
