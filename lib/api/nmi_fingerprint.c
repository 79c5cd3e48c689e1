/* SPDX-License-Identifier: MIT */
/* The bytes that a fingerprint covers are the same on all hosts. */
#include "nmi_fingerprint.h"

#include "nmi_describe.h"
#include "nmi_float16.h"

#include <string.h>

static void add_number(nmi_sha256 *hash, int64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> (8 * i) & 0xff);
    nmi_sha256_add(hash, bytes, sizeof bytes);
}

static void add_values(nmi_sha256 *hash, const nmi_tensor *tensor)
{
    enum { PIECE = 128 };
    unsigned char bytes[4 * PIECE];
    for (int64_t i = 0; i < tensor->count; i += PIECE) {
        const int64_t count = tensor->count - i < PIECE ? tensor->count - i : PIECE;
        for (int64_t k = 0; k < 4 * count; k++)
            bytes[k] =
                (unsigned char)(nmi_float_bits(tensor->data[i + k / 4]) >> (8 * (k % 4)) & 0xff);
        nmi_sha256_add(hash, bytes, (size_t)(4 * count));
    }
}

/* Whether any node that is there has the axis. The others are widths of repetitions that are left
 * out, which a file does not tell. */
static bool is_present(const nmi_network *network, int32_t axis)
{
    const nmi_topology *topology = network->topology;
    bool present = topology->axes[axis].kind == NEUMETA_AXIS_DEPTH;
    for (int32_t n = 0; n < topology->node_count && !present; n++)
        present = topology->nodes[n].axis == axis && nmi_graph_live(topology, network->sizes, n);
    return present;
}

neumeta_status nmi_network_fingerprint(const nmi_network *network,
                                       unsigned char out[NMI_SHA256_BYTES])
{
    static const char version[] = "neumeta network 1";
    const nmi_topology *topology = network->topology;
    nmi_sha256 hash;
    char *text;
    const neumeta_status status = nmi_topology_to_json(topology, &text);
    if (status != NEUMETA_OK)
        return status;
    nmi_sha256_start(&hash);
    nmi_sha256_add(&hash, version, sizeof version);
    nmi_sha256_add(&hash, text, strlen(text) + 1);
    nmi_free(topology->object.context, text);
    for (int32_t a = 0; a < topology->axis_count; a++)
        add_number(&hash, is_present(network, a) ? network->sizes[a] : topology->axes[a].max);
    for (int32_t t = 0; t < topology->tensor_count; t++)
        if (network->tensors[t].rank > 0)
            add_values(&hash, &network->tensors[t]);
    nmi_sha256_end(&hash, out);
    return NEUMETA_OK;
}
