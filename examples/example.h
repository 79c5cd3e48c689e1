/* SPDX-License-Identifier: MIT */
/* What the examples share: an end at the first failure, and settings written in one line. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <neumeta.h>

#include <stdio.h>
#include <stdlib.h>

/* Ends the program unless `status` is NEUMETA_OK, with the library's sentence about it. */
static inline void must(neumeta_context *context, neumeta_status status)
{
    if (status == NEUMETA_OK)
        return;
    fprintf(stderr, "%s: %s\n", neumeta_status_name(status), neumeta_context_message(context));
    exit(EXIT_FAILURE);
}

/* Options from pairs of name and value, which end with NULL. */
static inline neumeta_options *settings(neumeta_context *context, const char *const *pairs)
{
    neumeta_options *options = NULL;
    must(context, neumeta_options_create(context, &options));
    for (; *pairs != NULL; pairs += 2)
        must(context, neumeta_options_parse(options, pairs[0], pairs[1]));
    return options;
}

#define SETTINGS(...) ((const char *[]){__VA_ARGS__, NULL})

#endif
