/* SPDX-License-Identifier: MIT */
/* Any text as the description of a topology: refused with a sentence, or a topology whose own
 * description yields it again. */
#include "nmi_describe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nmi_context *context;
    nmi_topology *topology, *again;
    char *text = malloc(size + 1), *first, *second;
    require(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    require(nmi_context_create(NULL, NULL, NULL, &context) == NEUMETA_OK);
    if (nmi_topology_from_json(context, text, &topology) == NEUMETA_OK) {
        require(nmi_topology_to_json(topology, &first) == NEUMETA_OK);
        require(nmi_topology_from_json(context, first, &again) == NEUMETA_OK);
        require(nmi_topology_to_json(again, &second) == NEUMETA_OK);
        require(strcmp(first, second) == 0);
        nmi_topology_release(again);
        nmi_topology_release(topology);
        nmi_free(context, first);
        nmi_free(context, second);
    } else {
        require(topology == NULL && context->message[0] != '\0');
    }
    nmi_context_release(context);
    free(text);
    return 0;
}
