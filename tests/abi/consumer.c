/* SPDX-License-Identifier: MIT */
/* A program outside: C and C++, through an installed library or as a Meson subproject. */
#include <neumeta.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    neumeta_context *context = NULL;
    neumeta_topology *topology = NULL;
    char header[32];
    int failed = 1;

    if (neumeta_context_create(NULL, NULL, NULL, &context) < 0)
        return 1;
    if (neumeta_topology_create_builtin(context, "lenet", NULL, &topology) < 0)
        fprintf(stderr, "%s\n", neumeta_context_message(context));
    else
        failed = neumeta_topology_axis_count(topology) <= 0;
    snprintf(header, sizeof header, "%d.%d.%d", NEUMETA_VERSION_MAJOR, NEUMETA_VERSION_MINOR,
             NEUMETA_VERSION_PATCH);
    if (strcmp(header, neumeta_version()) != 0)
        failed = 1;
    printf("neumeta %s: %d axes\n", neumeta_version(), (int)neumeta_topology_axis_count(topology));
    neumeta_topology_free(topology);
    neumeta_context_free(context);
    return failed;
}
