/* SPDX-License-Identifier: MIT */
/*
 * Settings by key. One table, nmi_keys.def, holds name, type, range, default and help; setters
 * validate against it, readers fall back to its defaults.
 */
#ifndef NMI_OPTIONS_H
#define NMI_OPTIONS_H

#include "nmi_context.h"

typedef struct neumeta_options nmi_options;

typedef struct nmi_key {
    int32_t number;
    int32_t type; /* NEUMETA_TYPE_* */
    const char *name;
    double minimum, maximum; /* of each number; of the length for TEXT */
    double initial;          /* numbers; index of the default for CHOICE */
    const char *choices;     /* CHOICE: "first|second"; otherwise the unit, "" if none */
    const char *help;
} nmi_key;

int32_t nmi_key_count(void);
const nmi_key *nmi_key_at(int32_t index);       /* NULL past the end */
const nmi_key *nmi_key_find(int32_t number);    /* NULL if unknown */
const nmi_key *nmi_key_named(const char *name); /* case-insensitive, '-' equals '_'; or NULL */

neumeta_status nmi_options_create(nmi_context *context, nmi_options **out);
void nmi_options_release(nmi_options *options);
/* A copy that later changes of the original do not reach; NULL copies to NULL (all defaults). */
neumeta_status nmi_options_copy(const nmi_options *options, nmi_context *context,
                                nmi_options **out);

neumeta_status nmi_options_set_int(nmi_options *options, int32_t key, int64_t value);
neumeta_status nmi_options_set_real(nmi_options *options, int32_t key, double value);
neumeta_status nmi_options_set_text(nmi_options *options, int32_t key, const char *value);
/* Most entries of a list: a topology has no more blocks. */
enum { NMI_OPTIONS_ENTRIES = 16384 };

neumeta_status nmi_options_set_ints(nmi_options *options, int32_t key, const int64_t *values,
                                    int64_t count);
/* The numbers of the marks, out of `count`, that are set; none: the key stays unset. */
neumeta_status nmi_options_set_marks(nmi_options *options, int32_t key, const bool *marks,
                                     int32_t count);
neumeta_status nmi_options_set_reals(nmi_options *options, int32_t key, const double *values,
                                     int64_t count);
/* Parses `value` by the key's type ("0.1", "1,2,3", "sgd"): settings files and command lines. */
neumeta_status nmi_options_parse(nmi_options *options, const char *name, const char *value);

/* Sets in `options` what is set in `with` (NULL: nothing), replacing what is there. After a failure
 * some of it may be set. */
neumeta_status nmi_options_merge(nmi_options *options, const nmi_options *with);
/* Back to the default; nothing if the key is not set. */
void nmi_options_unset(nmi_options *options, int32_t key);

/* Fails with NEUMETA_ERR_ARGUMENT naming the first key that is set but not among `allowed`:
 * a setting a call does not use is never ignored. `call` names the call in the message. */
neumeta_status nmi_options_allow(nmi_context *context, const nmi_options *options, const char *call,
                                 const int32_t *allowed, int32_t count);

/* Readers: `options` may be NULL, then and for unset keys the default answers. */
bool nmi_options_has(const nmi_options *options, int32_t key);
int64_t nmi_options_int(const nmi_options *options, int32_t key);    /* INT, BOOL */
double nmi_options_real(const nmi_options *options, int32_t key);    /* REAL */
int32_t nmi_options_choice(const nmi_options *options, int32_t key); /* CHOICE: index */
uint64_t nmi_options_seed(const nmi_options *options,
                          const nmi_context *context); /* SEED; unset: the context's */
const char *nmi_options_text(const nmi_options *options, int32_t key); /* TEXT, word of a CHOICE;
                                                                         NULL if unset */
/* NULL and a count of 0 if unset. Borrowed, as the text is, until the options change or end. */
const int64_t *nmi_options_ints(const nmi_options *options, int32_t key, int64_t *count);
/* Sets the marks whose numbers the key holds: NEUMETA_ERR_ARGUMENT if there are only `count`. */
neumeta_status nmi_options_marks(nmi_context *context, const nmi_options *options, int32_t key,
                                 bool *marks, int32_t count);
const double *nmi_options_reals(const nmi_options *options, int32_t key, int64_t *count);

/* Walks what was set, in the order of keys: index 0.. until NULL. */
const nmi_key *nmi_options_set_at(const nmi_options *options, int32_t index);

#endif
