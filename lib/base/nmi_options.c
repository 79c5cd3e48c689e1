/* SPDX-License-Identifier: MIT */
/* Settings that were given, each checked against the table when it is set, sorted by key. */
#include "nmi_options.h"

#include <inttypes.h>
#include <string.h>

typedef struct entry {
    const nmi_key *key;
    int64_t integer; /* INT, BOOL; index of a CHOICE */
    double real;     /* REAL */
    int64_t count;   /* entries of INTS and REALS, bytes of TEXT and CHOICE with the NUL */
    void *block;     /* of INTS, REALS, TEXT and CHOICE */
} entry;

struct neumeta_options {
    nmi_object object;
    entry *entries; /* ascending keys */
    int32_t count;
    int32_t capacity;
};

static const char *type_words(int32_t type)
{
    switch (type) {
    case NEUMETA_TYPE_INT:
        return "an integer";
    case NEUMETA_TYPE_REAL:
        return "a real number";
    case NEUMETA_TYPE_BOOL:
        return "0 or 1";
    case NEUMETA_TYPE_TEXT:
        return "a text";
    case NEUMETA_TYPE_CHOICE:
        return "a word";
    case NEUMETA_TYPE_INTS:
        return "a list of integers";
    default:
        return "a list of real numbers";
    }
}

/* Bytes of one item of a block. */
static size_t item_size(int32_t type)
{
    if (type == NEUMETA_TYPE_INTS)
        return sizeof(int64_t);
    return type == NEUMETA_TYPE_REALS ? sizeof(double) : 1;
}

neumeta_status nmi_options_create(nmi_context *context, nmi_options **out)
{
    *out = nmi_alloc_zero(context, sizeof **out);
    if (*out == NULL)
        return NEUMETA_ERR_MEMORY;
    nmi_object_init(&(*out)->object, context);
    return NEUMETA_OK;
}

void nmi_options_release(nmi_options *options)
{
    if (options == NULL || !nmi_object_release(&options->object))
        return;
    nmi_context *context = options->object.context;
    for (int32_t i = 0; i < options->count; i++)
        nmi_free(context, options->entries[i].block);
    nmi_free(context, options->entries);
    nmi_free(context, options);
    nmi_context_release(context);
}

/* The first index whose key is not below `key`. */
static int32_t position_of(const nmi_options *options, int32_t key)
{
    int32_t index = 0;
    while (index < options->count && options->entries[index].key->number < key)
        index++;
    return index;
}

static const entry *find(const nmi_options *options, int32_t key)
{
    if (options == NULL)
        return NULL;
    int32_t index = position_of(options, key);
    if (index == options->count || options->entries[index].key->number != key)
        return NULL;
    return &options->entries[index];
}

static neumeta_status grow(nmi_options *options)
{
    nmi_context *context = options->object.context;
    const int32_t capacity = options->capacity * 2 + 4;
    entry *larger = nmi_alloc_array(context, capacity, sizeof *larger);
    if (larger == NULL)
        return NEUMETA_ERR_MEMORY;
    if (options->count > 0)
        memcpy(larger, options->entries, (size_t)options->count * sizeof *larger);
    nmi_free(context, options->entries);
    options->entries = larger;
    options->capacity = capacity;
    return NEUMETA_OK;
}

/* Puts a checked entry in its place, instead of an older one of the same key, with a copy of
 * `block` (NULL for single numbers). A failure leaves the options as they were. */
static neumeta_status put(nmi_options *options, entry added, const void *block)
{
    nmi_context *context = options->object.context;
    int32_t index = position_of(options, added.key->number);
    bool replaces = index < options->count && options->entries[index].key == added.key;
    if (!replaces && options->count == options->capacity) {
        neumeta_status status = grow(options);
        if (status != NEUMETA_OK)
            return status;
    }
    added.block = NULL;
    if (block != NULL) {
        size_t item = item_size(added.key->type);
        added.block = nmi_alloc_array(context, added.count, item);
        if (added.block == NULL)
            return NEUMETA_ERR_MEMORY;
        memcpy(added.block, block, (size_t)added.count * item);
    }
    entry *place = &options->entries[index];
    if (replaces) {
        nmi_free(context, place->block);
    } else {
        memmove(place + 1, place, (size_t)(options->count - index) * sizeof *place);
        options->count++;
    }
    *place = added;
    return NEUMETA_OK;
}

neumeta_status nmi_options_merge(nmi_options *options, const nmi_options *with)
{
    neumeta_status status = NEUMETA_OK;
    for (int32_t i = 0; with != NULL && i < with->count && status == NEUMETA_OK; i++)
        status = put(options, with->entries[i], with->entries[i].block);
    return status;
}

void nmi_options_unset(nmi_options *options, int32_t key)
{
    int32_t index = position_of(options, key);
    if (index == options->count || options->entries[index].key->number != key)
        return;
    entry *place = &options->entries[index];
    nmi_free(options->object.context, place->block);
    options->count--;
    memmove(place, place + 1, (size_t)(options->count - index) * sizeof *place);
}

neumeta_status nmi_options_copy(const nmi_options *options, nmi_context *context, nmi_options **out)
{
    *out = NULL;
    if (options == NULL)
        return NEUMETA_OK;
    nmi_options *copy = NULL;
    neumeta_status status = nmi_options_create(context, &copy);
    if (status == NEUMETA_OK)
        status = nmi_options_merge(copy, options);
    if (status != NEUMETA_OK) {
        nmi_options_release(copy);
        return status;
    }
    *out = copy;
    return NEUMETA_OK;
}

/* The table's line of a key that must have one of two types; `given` is the caller's type. */
static neumeta_status find_key(nmi_options *options, int32_t number, int32_t given, int32_t also,
                               const nmi_key **key)
{
    nmi_context *context = options->object.context;
    *key = nmi_key_find(number);
    if (*key == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "there is no setting number %d",
                        (int)number);
    if ((*key)->type != given && (*key)->type != also)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s takes %s, not %s", (*key)->name,
                        type_words((*key)->type), type_words(given));
    return NEUMETA_OK;
}

static neumeta_status check_list(nmi_options *options, const nmi_key *key, const void *values,
                                 int64_t count)
{
    nmi_context *context = options->object.context;
    if (count < 1 || count > NMI_OPTIONS_ENTRIES)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has %" PRId64 " entries, must have 1 to %d", key->name, count,
                        (int)NMI_OPTIONS_ENTRIES);
    if (values == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "the values of %s are NULL", key->name);
    return NEUMETA_OK;
}

/* `place` is the number of the list's entry, or -1 for a single number. */
static neumeta_status check_int(nmi_options *options, const nmi_key *key, int64_t value,
                                int64_t place)
{
    nmi_context *context = options->object.context;
    if ((double)value >= key->minimum && (double)value <= key->maximum)
        return NEUMETA_OK;
    neumeta_status status = NEUMETA_ERR_ARGUMENT;
    if (place >= 0)
        return nmi_fail(context, status,
                        "entry %" PRId64 " of %s is %" PRId64 ", must lie in [%.0f, %.0f]", place,
                        key->name, value, key->minimum, key->maximum);
    if (key->type == NEUMETA_TYPE_BOOL)
        return nmi_fail(context, status, "%s is %" PRId64 ", must be 0 or 1", key->name, value);
    return nmi_fail(context, status, "%s is %" PRId64 ", must lie in [%.0f, %.0f]", key->name,
                    value, key->minimum, key->maximum);
}

static neumeta_status check_real(nmi_options *options, const nmi_key *key, double value,
                                 int64_t place)
{
    nmi_context *context = options->object.context;
    /* False for a NaN as well. */
    if (value >= key->minimum && value <= key->maximum)
        return NEUMETA_OK;
    if (place >= 0)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "entry %" PRId64 " of %s is %.9g, must lie in [%g, %g]", place, key->name,
                        value, key->minimum, key->maximum);
    return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is %.9g, must lie in [%g, %g]", key->name,
                    value, key->minimum, key->maximum);
}

neumeta_status nmi_options_set_int(nmi_options *options, int32_t key, int64_t value)
{
    const nmi_key *line;
    neumeta_status status = find_key(options, key, NEUMETA_TYPE_INT, NEUMETA_TYPE_BOOL, &line);
    if (status == NEUMETA_OK)
        status = check_int(options, line, value, -1);
    if (status == NEUMETA_OK)
        status = put(options, (entry){.key = line, .integer = value}, NULL);
    return status;
}

neumeta_status nmi_options_set_real(nmi_options *options, int32_t key, double value)
{
    const nmi_key *line;
    neumeta_status status = find_key(options, key, NEUMETA_TYPE_REAL, NEUMETA_TYPE_REAL, &line);
    if (status == NEUMETA_OK)
        status = check_real(options, line, value, -1);
    if (status == NEUMETA_OK)
        status = put(options, (entry){.key = line, .real = value}, NULL);
    return status;
}

/* Index of a word in "first|second", or -1. */
static int32_t choice_index(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (int32_t index = 0;; index++) {
        size_t span = strcspn(choices, "|");
        if (span == length && memcmp(choices, word, length) == 0)
            return index;
        if (choices[span] == '\0')
            return -1;
        choices += span + 1;
    }
}

neumeta_status nmi_options_set_text(nmi_options *options, int32_t key, const char *value)
{
    nmi_context *context = options->object.context;
    const nmi_key *line;
    neumeta_status status = find_key(options, key, NEUMETA_TYPE_TEXT, NEUMETA_TYPE_CHOICE, &line);
    if (status != NEUMETA_OK)
        return status;
    if (value == NULL)
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "the value of %s is NULL", line->name);
    size_t length = strlen(value);
    entry added = {.key = line, .count = (int64_t)length + 1};
    if (line->type == NEUMETA_TYPE_CHOICE) {
        added.integer = choice_index(line->choices, value);
        if (added.integer < 0)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s is '%.100s', must be one of %s",
                            line->name, value, line->choices);
    } else if ((double)length < line->minimum || (double)length > line->maximum) {
        return nmi_fail(context, NEUMETA_ERR_ARGUMENT,
                        "%s has %zu bytes, must have between %.0f and %.0f", line->name, length,
                        line->minimum, line->maximum);
    }
    return put(options, added, value);
}

neumeta_status nmi_options_set_ints(nmi_options *options, int32_t key, const int64_t *values,
                                    int64_t count)
{
    const nmi_key *line;
    neumeta_status status = find_key(options, key, NEUMETA_TYPE_INTS, NEUMETA_TYPE_INTS, &line);
    if (status == NEUMETA_OK)
        status = check_list(options, line, values, count);
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++)
        status = check_int(options, line, values[i], i);
    if (status == NEUMETA_OK)
        status = put(options, (entry){.key = line, .count = count}, values);
    return status;
}

neumeta_status nmi_options_set_marks(nmi_options *options, int32_t key, const bool *marks,
                                     int32_t count)
{
    nmi_context *context = options->object.context;
    int64_t *numbers = nmi_alloc_array(context, count, sizeof *numbers);
    int64_t set = 0;
    if (numbers == NULL)
        return NEUMETA_ERR_MEMORY;
    for (int32_t i = 0; i < count; i++)
        if (marks[i])
            numbers[set++] = i;
    const neumeta_status status =
        set > 0 ? nmi_options_set_ints(options, key, numbers, set) : NEUMETA_OK;
    nmi_free(context, numbers);
    return status;
}

neumeta_status nmi_options_marks(nmi_context *context, const nmi_options *options, int32_t key,
                                 bool *marks, int32_t count)
{
    int64_t set = 0;
    const int64_t *numbers = nmi_options_ints(options, key, &set);
    for (int64_t i = 0; i < set; i++) {
        if (numbers[i] < 0 || numbers[i] >= count)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s names %lld, there are 0 to %d",
                            nmi_key_find(key)->name, (long long)numbers[i], (int)count - 1);
        marks[numbers[i]] = true;
    }
    return NEUMETA_OK;
}

neumeta_status nmi_options_set_reals(nmi_options *options, int32_t key, const double *values,
                                     int64_t count)
{
    const nmi_key *line;
    neumeta_status status = find_key(options, key, NEUMETA_TYPE_REALS, NEUMETA_TYPE_REALS, &line);
    if (status == NEUMETA_OK)
        status = check_list(options, line, values, count);
    for (int64_t i = 0; i < count && status == NEUMETA_OK; i++)
        status = check_real(options, line, values[i], i);
    if (status == NEUMETA_OK)
        status = put(options, (entry){.key = line, .count = count}, values);
    return status;
}

neumeta_status nmi_options_allow(nmi_context *context, const nmi_options *options, const char *call,
                                 const int32_t *allowed, int32_t count)
{
    for (int32_t i = 0; options != NULL && i < options->count; i++) {
        const nmi_key *key = options->entries[i].key;
        int32_t place = 0;
        while (place < count && allowed[place] != key->number)
            place++;
        if (place == count)
            return nmi_fail(context, NEUMETA_ERR_ARGUMENT, "%s does not use %s", call, key->name);
    }
    return NEUMETA_OK;
}

bool nmi_options_has(const nmi_options *options, int32_t key)
{
    return find(options, key) != NULL;
}

int64_t nmi_options_int(const nmi_options *options, int32_t key)
{
    const entry *set = find(options, key);
    return set != NULL ? set->integer : (int64_t)nmi_key_find(key)->initial;
}

uint64_t nmi_options_seed(const nmi_options *options, const nmi_context *context)
{
    return nmi_options_has(options, NEUMETA_KEY_SEED)
               ? (uint64_t)nmi_options_int(options, NEUMETA_KEY_SEED)
               : context->seed;
}

double nmi_options_real(const nmi_options *options, int32_t key)
{
    const entry *set = find(options, key);
    return set != NULL ? set->real : nmi_key_find(key)->initial;
}

int32_t nmi_options_choice(const nmi_options *options, int32_t key)
{
    return (int32_t)nmi_options_int(options, key);
}

const char *nmi_options_text(const nmi_options *options, int32_t key)
{
    const entry *set = find(options, key);
    return set != NULL ? set->block : NULL;
}

static const void *list_of(const nmi_options *options, int32_t key, int64_t *count)
{
    const entry *set = find(options, key);
    *count = set != NULL ? set->count : 0;
    return set != NULL ? set->block : NULL;
}

const int64_t *nmi_options_ints(const nmi_options *options, int32_t key, int64_t *count)
{
    return list_of(options, key, count);
}

const double *nmi_options_reals(const nmi_options *options, int32_t key, int64_t *count)
{
    return list_of(options, key, count);
}

const nmi_key *nmi_options_set_at(const nmi_options *options, int32_t index)
{
    if (options == NULL || index < 0 || index >= options->count)
        return NULL;
    return options->entries[index].key;
}
