/* SPDX-License-Identifier: MIT */
/* Public calls on datasets. */
#include "nmi_api.h"
#include "nmi_dataset.h"

#include <inttypes.h>

static neumeta_status check_counts(nmi_context *context, int64_t train, int64_t test,
                                   const nmi_options *options)
{
    static const int32_t allowed[] = {NEUMETA_KEY_INPUT_CHANNELS, NEUMETA_KEY_INPUT_HEIGHT,
                                      NEUMETA_KEY_INPUT_WIDTH,    NEUMETA_KEY_HELD_OUT,
                                      NEUMETA_KEY_DATA_MEAN,      NEUMETA_KEY_DATA_STD,
                                      NEUMETA_KEY_AUGMENT_SHIFT,  NEUMETA_KEY_AUGMENT_FLIP};
    const int64_t most = INT64_C(1000000000000);
    if (train < 0 || train > most || test < 0 || test > most || train + test == 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "dataset: %" PRId64 " training and %" PRId64 " test items; each must lie "
                        "in [0, %" PRId64 "], and not both be 0",
                        train, test, most);
    return nmi_options_allow(context, options, "dataset_create", allowed,
                             (int32_t)(sizeof allowed / sizeof allowed[0]));
}

neumeta_status neumeta_dataset_create(neumeta_context *context, int64_t train, int64_t test,
                                      neumeta_fetch_fn fetch, void *user,
                                      const neumeta_options *options, neumeta_dataset **dataset)
{
    NMI_API_CLEAR(dataset);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if (fetch == NULL)
        status = nmi_fail(context, NEUMETA_ERR_ARGUMENT, "fetch is NULL");
    else if ((status = NMI_API_NEED(context, dataset)) == NEUMETA_OK &&
             (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK &&
             (status = check_counts(context, train, test, options)) == NEUMETA_OK)
        status = nmi_dataset_create(context, train, test, fetch, user, options, dataset);
    return nmi_api_end(context, status);
}

neumeta_status neumeta_dataset_create_memory(neumeta_context *context, const float *inputs,
                                             const int64_t *targets, int64_t train, int64_t test,
                                             const neumeta_options *options,
                                             neumeta_dataset **dataset)
{
    NMI_API_CLEAR(dataset);
    neumeta_status status = nmi_api_begin(context);
    if (status != NEUMETA_OK)
        return status;
    if ((status = NMI_API_NEED(context, inputs)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, targets)) == NEUMETA_OK &&
        (status = NMI_API_NEED(context, dataset)) == NEUMETA_OK &&
        (status = NMI_API_OPTIONAL(context, options)) == NEUMETA_OK &&
        (status = check_counts(context, train, test, options)) == NEUMETA_OK)
        status = nmi_dataset_create_memory(context, inputs, targets, train, test, options, dataset);
    return nmi_api_end(context, status);
}

void neumeta_dataset_free(neumeta_dataset *dataset)
{
    nmi_dataset_release(dataset);
}
