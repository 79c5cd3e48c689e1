/* SPDX-License-Identifier: MIT */
/*
 * Reads JSON without a tree, so that the text of a stranger takes no memory but its own: it is
 * checked as a whole and tightened in place, and then walked.
 *
 * A value is a pointer into tightened text, where nothing stands between tokens and a string is a
 * quote, its decoded bytes and a zero. Whatever takes a value takes NULL for one that is absent.
 * Included by this unit's own files only.
 */
#ifndef NMI_JSON_READ_H
#define NMI_JSON_READ_H

#include "nmi_context.h"

enum { NMI_JSON_DEPTH = 64 }; /* lists and objects in one another */

/* Checks and tightens `size` bytes that hold one object, which `*out` is. `what` begins the
 * sentence of NEUMETA_ERR_FORMAT. Names that occur twice are left to the caller. */
neumeta_status nmi_json_read(nmi_context *context, const char *what, char *text, size_t size,
                             const char **out);

bool nmi_json_is_object(const char *value);
bool nmi_json_is_list(const char *value);
const char *nmi_json_string(const char *value); /* NULL if it is none */
/* Whether the value is a whole number, any number, or true or false; `*out` is 0 if not. */
bool nmi_json_integer(const char *value, int64_t *out);
bool nmi_json_number(const char *value, double *out);
bool nmi_json_boolean(const char *value, bool *out);

/* A walk through what a list or object holds: nothing, if it is something else. */
typedef struct nmi_json_walk {
    const char *at; /* behind the present value; at first, the container */
    bool object;
    const char *name; /* of the present member; NULL in lists */
    const char *value;
} nmi_json_walk;
nmi_json_walk nmi_json_open(const char *container);
bool nmi_json_next(nmi_json_walk *walk);

size_t nmi_json_count(const char *container);
/* The member of that name, the first if there are more; NULL if there is none. */
const char *nmi_json_get(const char *object, const char *name);
/* `*name` is one that occurs twice, or NULL. NEUMETA_ERR_MEMORY. */
neumeta_status nmi_json_repeated(nmi_context *context, const char *object, const char **name);

#endif
