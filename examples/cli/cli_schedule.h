/* SPDX-License-Identifier: MIT */
/* The schedule that the options of `neumeta train` describe. */
#ifndef CLI_SCHEDULE_H
#define CLI_SCHEDULE_H

#include "cli.h"

/* From "phases" of the settings file, from --recipe (a name or a file with "phases"), or one phase
 * of all the settings given. `manifold`: recipes name manifolds' trainings. */
int cli_schedule(const cli *c, const neumeta_topology *topology, bool manifold,
                 neumeta_schedule **schedule);
/* The file of phases that --recipe names; NULL: it names a recipe of the library, or none. */
const char *cli_recipe_file(const cli *c);
/* CALIBRATE_* and which sizes the training draws: common settings, and those of the last phase. */
int cli_draw_settings(const cli *c, neumeta_options **options);
/* Whether some phase has NORM_STATISTICS 'fitted', and so begins with a calibration. */
int cli_calibrates(const cli *c, bool *calibrates);

#endif
