/* SPDX-License-Identifier: MIT */
/* What a dataset does to items on their way: numbering, augmentation, normalisation. */
#include "nmi_dataset.h"
#include "nmi_test.h"

enum { TRAIN = 6, TEST = 3, PIXELS = 4 * 5, FLOATS = 2 * PIXELS };

/* Item n's value at offset i is 100 n + i + 1 (never 0), test items continue after training ones.
 */
static void fill_items(float *inputs, int64_t *targets)
{
    for (int64_t n = 0; n < TRAIN + TEST; n++) {
        targets[n] = n;
        for (int64_t i = 0; i < FLOATS; i++)
            inputs[n * FLOATS + i] = (float)(100 * n + i + 1);
    }
}

static nmi_dataset *make_dataset(neumeta_context *context, const float *inputs,
                                 const int64_t *targets, const char *const *pairs)
{
    static const char *const shape[] = {
        "input-channels", "2", "input-height", "4", "input-width", "5", NULL};
    neumeta_options *options = NULL;
    neumeta_dataset *dataset = NULL;
    assert_ok(context, neumeta_options_create(context, &options));
    for (int i = 0; shape[i] != NULL; i += 2)
        assert_ok(context, neumeta_options_parse(options, shape[i], shape[i + 1]));
    for (int i = 0; pairs[i] != NULL; i += 2)
        assert_ok(context, neumeta_options_parse(options, pairs[i], pairs[i + 1]));
    assert_ok(context,
              nmi_dataset_create_memory(context, inputs, targets, TRAIN, TEST, options, &dataset));
    neumeta_options_free(options);
    return dataset;
}
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

START_TEST(splits_number_their_items_from_zero)
{
    static const struct {
        int32_t split;
        int64_t count, first;
    } cases[] = {
        {NEUMETA_SPLIT_TRAIN, 4, 0}, {NEUMETA_SPLIT_HELD_OUT, 2, 4}, {NEUMETA_SPLIT_TEST, 3, 6}};
    neumeta_context *context = test_context();
    float inputs[(TRAIN + TEST) * FLOATS];
    int64_t targets[TRAIN + TEST];
    float item[FLOATS];
    int64_t target;
    fill_items(inputs, targets);
    nmi_dataset *dataset = make_dataset(context, inputs, targets, PAIRS("held-out", "2"));
    for (size_t i = 0; i < 3; i++) {
        int64_t last = cases[i].count - 1;
        ck_assert_int_eq(nmi_dataset_count(dataset, cases[i].split), cases[i].count);
        assert_ok(context,
                  nmi_dataset_fetch(dataset, cases[i].split, &last, 1, 0, false, item, &target));
        ck_assert_int_eq(target, cases[i].first + last);
        ck_assert_float_eq(item[0], (float)(100 * target + 1));
    }
    nmi_dataset_release(dataset);
    neumeta_context_free(context);
}
END_TEST

START_TEST(channels_are_normalised_one_by_one)
{
    neumeta_context *context = test_context();
    float inputs[(TRAIN + TEST) * FLOATS];
    int64_t targets[TRAIN + TEST];
    float item[FLOATS];
    int64_t target;
    int64_t index = 1;
    fill_items(inputs, targets);
    nmi_dataset *dataset =
        make_dataset(context, inputs, targets, PAIRS("data-mean", "1,2", "data-std", "0.5"));
    assert_ok(context,
              nmi_dataset_fetch(dataset, NEUMETA_SPLIT_TRAIN, &index, 1, 0, false, item, &target));
    ck_assert_float_eq(item[0], (101.0f - 1.0f) * 2.0f);
    ck_assert_float_eq(item[PIXELS], (101.0f + PIXELS - 2.0f) * 2.0f);
    nmi_dataset_release(dataset);
    neumeta_context_free(context);
}
END_TEST

/* Whether `moved` is `item` moved by (down, right), mirrored or not, zeros having entered. */
static bool is_moved(const float *moved, const float *item, int64_t down, int64_t right,
                     bool mirror)
{
    for (int64_t c = 0; c < 2; c++)
        for (int64_t i = 0; i < 4; i++)
            for (int64_t j = 0; j < 5; j++) {
                int64_t row = i - down;
                int64_t column = (mirror ? 4 - j : j) - right;
                bool inside = row >= 0 && row < 4 && column >= 0 && column < 5;
                float wanted = inside ? item[c * PIXELS + row * 5 + column] : 0.0f;
                if (moved[c * PIXELS + i * 5 + j] != wanted)
                    return false;
            }
    return true;
}

START_TEST(augmentation_draws_every_shift_and_mirror_from_the_key_alone)
{
    neumeta_context *context = test_context();
    float inputs[(TRAIN + TEST) * FLOATS];
    int64_t targets[TRAIN + TEST];
    float item[2 * FLOATS];
    float again[2 * FLOATS];
    int64_t target[2];
    int64_t indices[2] = {3, 1};
    int32_t seen[3][3][2] = {{{0}}};
    fill_items(inputs, targets);
    nmi_dataset *dataset =
        make_dataset(context, inputs, targets, PAIRS("augment-shift", "1", "augment-flip", "1"));
    for (uint64_t key = 0; key < 300; key++) {
        int32_t matches = 0;
        assert_ok(context, nmi_dataset_fetch(dataset, NEUMETA_SPLIT_TRAIN, indices, 2, key, true,
                                             item, target));
        for (int64_t down = -1; down <= 1; down++)
            for (int64_t right = -1; right <= 1; right++)
                for (int32_t mirror = 0; mirror < 2; mirror++)
                    if (is_moved(item, inputs + 3 * FLOATS, down, right, mirror)) {
                        seen[down + 1][right + 1][mirror]++;
                        matches++;
                    }
        ck_assert_int_eq(matches, 1);
        assert_ok(context, nmi_dataset_fetch(dataset, NEUMETA_SPLIT_TRAIN, indices, 1, key, true,
                                             again, target));
        ck_assert_mem_eq(item, again, FLOATS * sizeof(float));
    }
    for (int i = 0; i < 18; i++) /* 300 / 18 expected: none is missing, none dominates */
        ck_assert(seen[i / 6][i / 2 % 3][i % 2] > 2 && seen[i / 6][i / 2 % 3][i % 2] < 50);
    nmi_dataset_release(dataset);
    neumeta_context_free(context);
}
END_TEST

START_TEST(zeros_enter_before_the_normalisation)
{
    neumeta_context *context = test_context();
    float inputs[(TRAIN + TEST) * FLOATS];
    int64_t targets[TRAIN + TEST];
    float item[FLOATS];
    int64_t target;
    int64_t index = 0;
    int32_t borders = 0;
    fill_items(inputs, targets);
    nmi_dataset *dataset =
        make_dataset(context, inputs, targets, PAIRS("augment-shift", "3", "data-mean", "7"));
    for (uint64_t key = 0; key < 20; key++) {
        assert_ok(context, nmi_dataset_fetch(dataset, NEUMETA_SPLIT_TRAIN, &index, 1, key, true,
                                             item, &target));
        for (int64_t i = 0; i < FLOATS; i++) {
            ck_assert_float_ge(item[i], -7.0f);
            borders += item[i] == -7.0f;
        }
    }
    ck_assert_int_gt(borders, 0);
    nmi_dataset_release(dataset);
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tests = tcase_create("items");
    tcase_add_test(tests, splits_number_their_items_from_zero);
    tcase_add_test(tests, channels_are_normalised_one_by_one);
    tcase_add_test(tests, augmentation_draws_every_shift_and_mirror_from_the_key_alone);
    tcase_add_test(tests, zeros_enter_before_the_normalisation);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
