/* SPDX-License-Identifier: MIT */
/*
 * Schedules: ordered phases over blocks, each with settings of its own.
 */
#ifndef NMI_SCHEDULE_H
#define NMI_SCHEDULE_H

#include "nmi_graph.h"
#include "nmi_options.h"

typedef struct neumeta_schedule nmi_schedule;

typedef struct nmi_phase {
    char *name;
    int32_t first_block, last_block; /* as given: negative counts from the end */
    nmi_options *options;            /* may be NULL: all defaults */
} nmi_phase;

struct neumeta_schedule {
    nmi_object object;
    nmi_phase *phases;
    int32_t count, capacity;
};

neumeta_status nmi_schedule_create(nmi_context *context, nmi_schedule **out);
void nmi_schedule_release(nmi_schedule *schedule);
/* Copies name and options; refuses keys that are not settings of a phase, and bounds that
 * contradict each other. Block numbers are checked against the topology by nmi_settings_read(). */
neumeta_status nmi_schedule_add_phase(nmi_schedule *schedule, const char *name, int32_t first_block,
                                      int32_t last_block, const nmi_options *options);
/* "nm" or "ht"; see neumeta_schedule_create_recipe(). */
neumeta_status nmi_schedule_create_recipe(const nmi_topology *topology, const char *recipe,
                                          const int64_t *blocks, int64_t count,
                                          const nmi_options *options, nmi_schedule **out);

#endif
