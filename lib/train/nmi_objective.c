/* SPDX-License-Identifier: MIT */
/*
 * The losses of a minibatch.
 *
 *     share * ( LOSS_TASK cross-entropy + LOSS_DISTILLATION divergence from the teacher
 *               + LOSS_NORM sum_l |W_l|_2
 *               + [full width] LOSS_RECONSTRUCTION mean_l mean_e a_e (w_e - w*_e)^2 )
 *
 * Sources: arXiv 2410.11878, section 3.3; arXiv 2505.05510, section 3 (weights 100, 1e-3, 1).
 */
#include "nmi_trainer.h"

#include "nmi_loss.h"

#include <string.h>

static double sum_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

nmi_loss nmi_trainer_output_loss(nmi_trainer *trainer, const float *outputs, int64_t minibatch,
                                 bool distil, double share)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    nmi_batch *batch = &trainer->batch;
    int64_t items = nmi_trainer_items(trainer, settings);
    int64_t classes = nmi_network_output_floats(trainer->network);
    double per_item = share / (double)items;
    nmi_cross_entropy(items, classes, outputs, batch->targets + minibatch * items,
                      (float)settings->smoothing, (float)(settings->task * per_item), false,
                      batch->losses, batch->output_gradients);
    nmi_loss loss = {.task = sum_of(batch->losses, items) / (double)items};
    loss.total = settings->task * loss.task * share;
    if (distil) {
        nmi_distillation(items, classes, outputs, batch->teacher, (float)settings->temperature,
                         (float)(settings->distillation * per_item), true, batch->losses,
                         batch->output_gradients);
        loss.total += settings->distillation * per_item * sum_of(batch->losses, items);
    }
    return loss;
}

static int64_t count_emitted(const nmi_trainer *trainer)
{
    int64_t count = 0;
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++)
        count += trainer->reached[t] && trainer->network->tensors[t].rank > 0;
    return count;
}

double nmi_trainer_weight_loss(nmi_trainer *trainer, double share)
{
    const nmi_settings *settings = nmi_trainer_settings(trainer);
    double weight = nmi_settings_reconstruction_at(settings, nmi_trainer_epoch(trainer));
    bool full = memcmp(trainer->sizes, trainer->full_sizes,
                       (size_t)trainer->topology->axis_count * sizeof(int64_t)) == 0;
    int64_t emitted = count_emitted(trainer);
    bool reconstruct = full && trainer->reference != NULL && weight > 0 && emitted > 0;
    double mean = reconstruct ? 1 / (double)emitted : 1;
    double norm = 0, reconstruction = 0;
    for (int32_t t = 0; t < trainer->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &trainer->network->tensors[t];
        if (!trainer->reached[t] || tensor->rank == 0)
            continue;
        float *gradient = trainer->carried[t] ? trainer->weight_gradients[t] : NULL;
        if (settings->norm > 0)
            norm += nmi_loss_norm(tensor->count, tensor->data, (float)(settings->norm * share),
                                  gradient);
        if (reconstruct)
            reconstruction += nmi_loss_reconstruction(
                tensor->count, tensor->data, trainer->reference->tensors[t].data,
                settings->weighted, (float)(weight * mean * share), gradient);
    }
    if (reconstruct)
        trainer->metrics.reconstruction = reconstruction * mean;
    return share * (settings->norm * norm + weight * mean * reconstruction);
}
