/* SPDX-License-Identifier: MIT */
/* Any text as the description of a topology: refused with a sentence, or a topology whose own
 * description yields it again. */
#include "nmi_describe.h"
#include "nmi_fuzz.h"

#include <stdlib.h>
#include <string.h>

/* What was read can be written, and read and written again as the same. */
static neumeta_status describe_twice(nmi_context *context, const nmi_topology *topology)
{
    nmi_topology *again = NULL;
    char *first = NULL, *second = NULL;
    neumeta_status status = nmi_topology_to_json(topology, &first);
    if (status == NEUMETA_OK)
        status = nmi_topology_from_json(context, first, &again);
    if (status == NEUMETA_OK)
        status = nmi_topology_to_json(again, &second);
    require(status != NEUMETA_OK || strcmp(first, second) == 0);
    nmi_topology_release(again);
    nmi_free(context, first);
    nmi_free(context, second);
    return status;
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    nmi_topology *topology;
    fuzz_begin();
    char *text = fuzz_text(&(fuzz_bytes){data, size}, '\0');
    const neumeta_status status = nmi_topology_from_json(context, text, &topology);
    fuzz_check(context, status);
    if (status == NEUMETA_OK) {
        const neumeta_status again = describe_twice(context, topology);
        require(again == NEUMETA_OK || fuzz_starved(again));
        nmi_topology_release(topology);
    } else {
        require(topology == NULL);
    }
    free(text);
}
