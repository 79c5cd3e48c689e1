/* SPDX-License-Identifier: MIT */
/*
 * Materialisation: an ordinary network out of a manifold, at any sizes.
 *
 * Source: Neural Metamorphosis, arXiv 2410.11878, section 3.3: the average of several noisy
 * samples of the manifold, the first one clean. Without CLEAN_SAMPLE all are noisy, as in How to
 * Train Your Metamorphic Deep Neural Network, arXiv 2505.05510.
 */
#include "nmi_manifold.h"
#include "nmi_optimizer.h"

/* Where there is no noise, or its average is there already, there is nothing to sample. */
static neumeta_status check_options(const nmi_manifold *manifold, const nmi_options *options)
{
    static const int32_t keys[] = {
        NEUMETA_KEY_SAMPLES,     NEUMETA_KEY_SEED,       NEUMETA_KEY_PRECISION,   NEUMETA_KEY_NOISE,
        NEUMETA_KEY_NOISE_CLAMP, NEUMETA_KEY_NOISE_DRAW, NEUMETA_KEY_CLEAN_SAMPLE};
    nmi_context *ctx = manifold->object.context;
    const bool mlps = nmi_manifold_has_mlps(manifold);
    const bool sampled = nmi_manifold_samples(manifold);
    const int64_t samples = nmi_options_int(options, NEUMETA_KEY_SAMPLES);
    if (!sampled && samples > 1)
        return nmi_fail(ctx, NEUMETA_ERR_ARGUMENT, "SAMPLES is %lld, must be 1: %s",
                        (long long)samples,
                        mlps ? "the integrated encoding has averaged the noise already"
                             : "grids have no noise to average");
    return nmi_options_allow(ctx, options,
                             sampled ? "manifold materialize"
                             : mlps  ? "manifold materialize with the integrated encoding"
                                     : "manifold materialize of grids",
                             keys,
                             sampled ? 7
                             : mlps  ? 3
                                     : 2);
}

/* Norms take the statistics that were fitted to measurements at other sizes: no data here. */
static neumeta_status check_statistics(const nmi_manifold *manifold)
{
    if (manifold->statistics != NULL || !nmi_manifold_has_norms(manifold))
        return NEUMETA_OK;
    return nmi_fail(manifold->object.context, NEUMETA_ERR_STATE,
                    "the manifold has batch norms and no statistics for its present parameters: "
                    "calibrate it after its training");
}

static neumeta_status check_finite(const nmi_manifold *manifold, const nmi_network *network)
{
    for (int32_t t = 0; t < manifold->topology->tensor_count; t++) {
        const nmi_tensor *tensor = &network->tensors[t];
        if (tensor->rank > 0 && !nmi_all_finite(tensor->count, tensor->data))
            return nmi_fail(manifold->object.context, NEUMETA_ERR_NUMERIC,
                            "tensor '%s' came out infinite or not a number: the manifold's "
                            "parameters for it are damaged",
                            manifold->topology->tensors[t].name);
    }
    return NEUMETA_OK;
}

/* Settings of this call, else those of the manifold's training. */
static nmi_noise choose_noise(const nmi_manifold *manifold, const nmi_options *options)
{
    const nmi_inr_settings *trained = &manifold->settings;
    const uint64_t seed = nmi_options_seed(options, manifold->object.context);
    nmi_noise noise = {
        .amplitude = nmi_options_has(options, NEUMETA_KEY_NOISE)
                         ? nmi_options_real(options, NEUMETA_KEY_NOISE)
                         : trained->noise,
        .clamp = nmi_options_has(options, NEUMETA_KEY_NOISE_CLAMP)
                     ? nmi_options_real(options, NEUMETA_KEY_NOISE_CLAMP)
                     : trained->noise_clamp,
        .key = nmi_random_key(seed, NMI_RANDOM_NOISE, 0),
        .draw = nmi_options_choice(options, NEUMETA_KEY_NOISE_DRAW),
        .samples = nmi_options_int(options, NEUMETA_KEY_SAMPLES) -
                   nmi_options_int(options, NEUMETA_KEY_CLEAN_SAMPLE),
    };
    return noise;
}

neumeta_status nmi_manifold_materialize(nmi_manifold *manifold, const int64_t *sizes,
                                        const nmi_options *options, nmi_network **out)
{
    nmi_context *ctx = manifold->object.context;
    nmi_network *network = NULL;
    *out = NULL;
    neumeta_status status =
        nmi_graph_check_sizes(manifold->topology, sizes, manifold->topology->axis_count);
    if (status == NEUMETA_OK)
        status = nmi_manifold_check_sizes(manifold, sizes);
    if (status == NEUMETA_OK)
        status = check_options(manifold, options);
    if (status == NEUMETA_OK)
        status = nmi_precision_check(ctx, nmi_options_choice(options, NEUMETA_KEY_PRECISION));
    if (status == NEUMETA_OK)
        status = check_statistics(manifold);
    if (status == NEUMETA_OK)
        status = nmi_network_create(ctx, manifold->topology, sizes, &network);
    if (status == NEUMETA_OK) {
        const nmi_noise noise = choose_noise(manifold, options);
        status = nmi_manifold_emit_average(manifold, network, NULL, &noise,
                                           nmi_options_choice(options, NEUMETA_KEY_PRECISION),
                                           nmi_options_int(options, NEUMETA_KEY_SAMPLES),
                                           nmi_options_int(options, NEUMETA_KEY_CLEAN_SAMPLE) != 0);
    }
    if (status == NEUMETA_OK && manifold->statistics != NULL)
        nmi_statistics_emit(manifold->statistics, network);
    if (status == NEUMETA_OK)
        status = check_finite(manifold, network);
    if (status == NEUMETA_OK)
        *out = network;
    else if (network != NULL)
        nmi_network_release(network);
    return status;
}
