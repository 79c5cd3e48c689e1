/* SPDX-License-Identifier: MIT */
/*
 * Settings and topologies as JSON text, for the metadata of files. Reading rebuilds them through
 * the setters and builders that serve every caller, so a file meets the same checks.
 */
#ifndef NMI_DESCRIBE_H
#define NMI_DESCRIBE_H

#include "nmi_graph.h"
#include "nmi_options.h"

/* Of a topology's text; newer ones are refused. */
enum { NMI_DESCRIBE_FORMAT = 1 };

/* What was set in `options` (NULL: nothing) as one JSON object, names to values in the order of
 * keys. `*text` belongs to the caller (nmi_free). NEUMETA_ERR_ARGUMENT for text that is not
 * UTF-8; NEUMETA_ERR_MEMORY. */
neumeta_status nmi_options_to_json(nmi_context *context, const nmi_options *options, char **text);
/* NEUMETA_ERR_FORMAT for text that is not such an object, a name no setting has, or a value that
 * its setting refuses. The caller releases `*out`. */
neumeta_status nmi_options_from_json(nmi_context *context, const char *text, nmi_options **out);

/* A sealed topology as one JSON object. `*text` belongs to the caller (nmi_free).
 * NEUMETA_ERR_ARGUMENT for names that are not UTF-8; NEUMETA_ERR_MEMORY. */
neumeta_status nmi_topology_to_json(const nmi_topology *topology, char **text);
/* The sealed topology that the text describes. NEUMETA_ERR_FORMAT; NEUMETA_ERR_VERSION for a newer
 * form of description. The caller releases `*out`. */
neumeta_status nmi_topology_from_json(nmi_context *context, const char *text, nmi_topology **out);

#endif
