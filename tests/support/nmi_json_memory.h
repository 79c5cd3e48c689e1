/* SPDX-License-Identifier: MIT */
/* Runs what writes JSON with each allocation of jansson refused. */
#ifndef NMI_JSON_MEMORY_H
#define NMI_JSON_MEMORY_H

#include "nmi_test.h"

#include <jansson.h>

static struct {
    int64_t calls, fail_at, alive;
} test_json_memory;

static inline void *test_json_allocate(size_t size)
{
    const bool refused = ++test_json_memory.calls == test_json_memory.fail_at;
    void *memory = refused ? NULL : malloc(size);
    test_json_memory.alive += memory != NULL;
    return memory;
}

static inline void test_json_release(void *memory)
{
    test_json_memory.alive -= memory != NULL;
    free(memory);
}

/* `write` must fail each time for lack of memory, with a message, and leave nothing of jansson's
 * behind; without a refusal it must succeed. Returns the number of allocations. */
static inline int64_t test_every_json_allocation(neumeta_status (*write)(neumeta_context *context,
                                                                         void *user),
                                                 neumeta_context *context, void *user)
{
    json_set_alloc_funcs(test_json_allocate, test_json_release);
    test_json_memory.fail_at = 0;
    do {
        test_json_memory.calls = 0;
        test_json_memory.fail_at++;
        const neumeta_status status = write(context, user);
        if (test_json_memory.calls >= test_json_memory.fail_at) {
            assert_status(context, status, NEUMETA_ERR_MEMORY);
            assert_message_contains(context, "out of memory for JSON text");
        } else {
            assert_ok(context, status);
        }
        ck_assert_int_eq(test_json_memory.alive, 0);
    } while (test_json_memory.calls >= test_json_memory.fail_at);
    json_set_alloc_funcs(malloc, free);
    return test_json_memory.calls;
}

#endif
