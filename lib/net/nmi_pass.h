/* SPDX-License-Identifier: MIT */
/*
 * One training pass: forward with kept activations, backward to the weights.
 *
 * All memory is taken by nmi_pass_create(); a pass then serves any network of the topology at any
 * sizes up to those, and any number of items up to the batch, without allocating.
 * Work is split over fixed chunks of items and partial gradients are summed in chunk order, so the
 * bits do not depend on the thread count.
 */
#ifndef NMI_PASS_H
#define NMI_PASS_H

#include "nmi_kernels.h"
#include "nmi_network.h"

typedef struct nmi_pass nmi_pass;

/* `precision` is NMI_FP32 or NMI_BF16: that of the operands of convolutions, forward and backward.
 */
neumeta_status nmi_pass_create(nmi_context *context, nmi_topology *topology,
                               const int64_t *largest_sizes, int64_t batch, int32_t precision,
                               nmi_pass **out);
void nmi_pass_free(nmi_pass *pass);

/*
 * inputs: NCHW, normalised, [items, C, H, W]. `batch_norm` [node_count] marks the NORM nodes that
 * use and track batch statistics (NULL: none; the others use running statistics). The running
 * statistics of `network` are updated for the marked nodes.
 * Returns the outputs [items, O * H' * W'] (NCHW), owned by the pass until the next forward.
 */
const float *nmi_pass_forward(nmi_pass *pass, nmi_network *network, const float *inputs,
                              int64_t items, const bool *batch_norm);

/*
 * The same once more for the inputs of the last forward, which must still be there, on the same
 * network with other sizes or other values of the tensors marked in `changed` ([tensor_count]).
 * Nodes in front of the first one that either concerns keep their activations; the outputs are
 * those that nmi_pass_forward() would give, to the bit.
 */
const float *nmi_pass_forward_again(nmi_pass *pass, nmi_network *network, const bool *changed);

/*
 * After a forward with the same network: adds d loss / d tensor to gradients[t] (OIHW, the
 * tensor's present count) for each tensor t with gradients[t] != NULL. Nodes below the lowest such
 * tensor are not visited, and nothing is computed for tensors with NULL.
 */
void nmi_pass_backward(nmi_pass *pass, nmi_network *network, const float *output_gradients,
                       float *const *gradients);

/* After a forward: sums and sums of squares, each [channels], of the input of a live norm that was
 * marked, over all items and pixels. Owned by the pass until the next call. */
const double *nmi_pass_norm_sums(const nmi_pass *pass, int32_t node);

/* Activation of a live node after a forward, converted to NCHW [items, C, H, W]: for tests. A
 * node whose only reader is computed together with it, or in its place, gives that reader's; what
 * a norm yields is not there if it is for one convolution or linear node only. */
void nmi_pass_activation(const nmi_pass *pass, const nmi_network *network, int32_t node,
                         float *nchw);

#endif
