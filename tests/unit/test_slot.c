/* SPDX-License-Identifier: MIT */
/* A slot's end of a group, against its parts one after another. */
#include "nmi_optimizer.h"
#include "nmi_slot.h"
#include "nmi_test.h"

enum { COUNT = 20001, STEPS = 3 }; /* more than two blocks of a sweep, and an odd rest */

static nmi_slot make_slot(nmi_context *context, const nmi_settings *settings, nmi_slot_kind kind)
{
    nmi_slot slot = {.kind = kind, .count = COUNT, .trained = true};
    slot.values = malloc(COUNT * sizeof *slot.values);
    ck_assert_ptr_nonnull(slot.values);
    test_fill(slot.values, COUNT, 1, -1.0f, 1.0f);
    assert_ok(context, nmi_slot_prepare(context, &slot, settings));
    return slot;
}

static void free_slot(nmi_context *context, nmi_slot *slot)
{
    nmi_slot_free(context, slot);
    free(slot->values);
}

static void assert_same(const float *a, const float *b)
{
    ck_assert_int_eq(a == NULL, b == NULL);
    if (a != NULL)
        ck_assert_mem_eq(a, b, COUNT * sizeof *a);
}

START_TEST(one_sweep_gives_the_bits_of_its_parts)
{
    static const struct {
        nmi_slot_kind kind;
        int32_t optimizer;
        double average;
        float factor;
    } cases[] = {{NMI_SLOT_MAIN, NMI_OPTIMIZER_ADAMW, 0.9, 0.3f},
                 {NMI_SLOT_MAIN, NMI_OPTIMIZER_ADAMW, 0, 1},
                 {NMI_SLOT_MAIN, NMI_OPTIMIZER_SGD, 0.9, 0.3f},
                 {NMI_SLOT_DIRECT, NMI_OPTIMIZER_ADAMW, 0.9, 0.3f},
                 {NMI_SLOT_BUFFER, NMI_OPTIMIZER_ADAMW, 0.9, 0.3f},
                 {NMI_SLOT_BUFFER, NMI_OPTIMIZER_ADAMW, 0, 1}};
    const nmi_settings settings = {.optimizer = cases[_i].optimizer,
                                   .decay = 0.1,
                                   .momentum = 0.9,
                                   .beta1 = 0.9,
                                   .beta2 = 0.99,
                                   .epsilon = 1e-8,
                                   .average = cases[_i].average};
    nmi_context *context = test_context();
    const bool steps = cases[_i].kind == NMI_SLOT_MAIN;
    nmi_slot one = make_slot(context, &settings, cases[_i].kind);
    nmi_slot parts = make_slot(context, &settings, cases[_i].kind);
    for (int step = 0; step < STEPS; step++) {
        if (steps) {
            test_fill(one.gradient, COUNT, 10 + (uint64_t)step, -1.0f, 1.0f);
            memcpy(parts.gradient, one.gradient, COUNT * sizeof(float));
            nmi_scale_array(COUNT, cases[_i].factor, parts.gradient);
            nmi_slot_step(&parts, &settings, 0.01, settings.decay);
        }
        if (settings.average > 0)
            nmi_ema_update(COUNT, (float)settings.average, parts.values, parts.average);
        nmi_slot_finish(&one, &settings, 0.01, cases[_i].factor);
    }
    ck_assert_int_eq(one.steps, steps ? STEPS : 0);
    ck_assert_int_eq(one.steps, parts.steps);
    assert_same(one.values, parts.values);
    assert_same(one.moment1, parts.moment1);
    assert_same(one.moment2, parts.moment2);
    assert_same(one.average, parts.average);
    free_slot(context, &one);
    free_slot(context, &parts);
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slots");
    TCase *tests = tcase_create("sweeps");
    tcase_add_loop_test(tests, one_sweep_gives_the_bits_of_its_parts, 0, 6);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
