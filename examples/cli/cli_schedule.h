/* SPDX-License-Identifier: MIT */
/* The schedule that the options of `neumeta train` describe. */
#ifndef CLI_SCHEDULE_H
#define CLI_SCHEDULE_H

#include "cli.h"

/* From "phases" of the settings file, from --recipe (a name or a file with "phases"), or one phase
 * of all the settings given. `manifold`: recipes name manifolds' trainings. */
int cli_schedule(const cli *c, const neumeta_topology *topology, bool manifold,
                 neumeta_schedule **schedule);

#endif
