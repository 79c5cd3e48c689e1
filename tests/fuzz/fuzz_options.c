/* SPDX-License-Identifier: MIT */
/* Any lines "name=value" as settings, then the rest as settings in JSON: refused with a sentence,
 * or settings that their own description yields again. */
#include "nmi_describe.h"
#include "nmi_fuzz.h"

#include <stdlib.h>
#include <string.h>

static void set_line(nmi_context *context, neumeta_options *options, char *line)
{
    char *value = strchr(line, '=');
    if (value != NULL)
        *value++ = '\0';
    const neumeta_status status = neumeta_options_parse(options, line, value);
    fuzz_check(context, status);
    require(status == NEUMETA_OK || status == NEUMETA_ERR_ARGUMENT || fuzz_starved(status));
}

static void describe_twice(nmi_context *context, const nmi_options *options)
{
    nmi_options *again = NULL;
    char *first = NULL, *second = NULL;
    neumeta_status status = nmi_options_to_json(context, options, &first);
    /* Text that is not UTF-8 can be set, not described. */
    require(status == NEUMETA_OK || status == NEUMETA_ERR_ARGUMENT || fuzz_starved(status));
    if (status == NEUMETA_OK) {
        status = nmi_options_from_json(context, first, &again);
        if (status == NEUMETA_OK)
            status = nmi_options_to_json(context, again, &second);
        require(status == NEUMETA_OK || fuzz_starved(status));
        require(status != NEUMETA_OK || strcmp(first, second) == 0);
    }
    nmi_options_release(again);
    nmi_free(context, first);
    nmi_free(context, second);
}

void fuzz_one(neumeta_context *context, const uint8_t *data, size_t size)
{
    fuzz_bytes bytes = {data, size};
    neumeta_options *options = NULL, *read = NULL;
    fuzz_begin();
    neumeta_status status = neumeta_options_create(context, &options);
    require(status == NEUMETA_OK || fuzz_starved(status));
    while (status == NEUMETA_OK && bytes.size > 0 && bytes.data[0] != '{') {
        char *line = fuzz_text(&bytes, '\n');
        set_line(context, options, line);
        free(line);
    }
    if (status == NEUMETA_OK)
        describe_twice(context, options);
    char *text = fuzz_text(&bytes, '\0');
    status = nmi_options_from_json(context, text, &read);
    fuzz_check(context, status);
    if (status == NEUMETA_OK)
        describe_twice(context, read);
    free(text);
    nmi_options_release(read);
    neumeta_options_free(options);
}
