/* SPDX-License-Identifier: MIT */
/* Creation of datasets through the public header: what is refused, and with which words. */
#include "nmi_test.h"

static int32_t fetch_nothing(void *user, int32_t split, const int64_t *indices, int64_t count,
                             float *inputs, int64_t *targets)
{
    (void)user, (void)split, (void)indices, (void)count, (void)inputs, (void)targets;
    return 0;
}

static const struct {
    int64_t train, test;
    const char *name, *value;
    neumeta_status status;
    const char *message;
} cases[] = {
    {10, 5, "held-out", "9", NEUMETA_OK, ""},
    {10, 5, "held-out", "10", NEUMETA_ERR_ARGUMENT, "HELD_OUT is 10, must be below the 10"},
    {0, 5, "held-out", "1", NEUMETA_ERR_ARGUMENT, "HELD_OUT is 1"},
    {10, 5, "data-mean", "0.5", NEUMETA_OK, ""},
    {10, 5, "data-mean", "0.1,0.2,0.3", NEUMETA_OK, ""},
    {10, 5, "data-mean", "0.1,0.2", NEUMETA_ERR_ARGUMENT, "DATA_MEAN has 2 entries"},
    {10, 5, "data-std", "1,1,1,1", NEUMETA_ERR_ARGUMENT, "DATA_STD has 4 entries"},
    {10, 5, "learning-rate", "0.1", NEUMETA_ERR_ARGUMENT, "LEARNING_RATE"},
    {0, 0, "augment-flip", "1", NEUMETA_ERR_ARGUMENT, "0 training and 0 test items"},
    {-1, 5, "augment-flip", "1", NEUMETA_ERR_ARGUMENT, "-1 training"},
    {1, INT64_MAX, "augment-flip", "1", NEUMETA_ERR_ARGUMENT, "each must lie in"},
};
enum { CASES = sizeof cases / sizeof cases[0] };

START_TEST(settings_are_checked)
{
    neumeta_context *context = test_context();
    neumeta_options *options = NULL;
    neumeta_dataset *dataset = NULL;
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_parse(options, cases[_i].name, cases[_i].value));
    assert_status(context,
                  neumeta_dataset_create(context, cases[_i].train, cases[_i].test, fetch_nothing,
                                         NULL, options, &dataset),
                  cases[_i].status);
    assert_message_contains(context, cases[_i].message);
    ck_assert((dataset != NULL) == (cases[_i].status == NEUMETA_OK));
    neumeta_dataset_free(dataset);
    neumeta_options_free(options);
    neumeta_context_free(context);
}
END_TEST

START_TEST(missing_pointers_are_named)
{
    neumeta_context *context = test_context();
    neumeta_context *other = test_context();
    neumeta_options *options = NULL;
    neumeta_dataset *dataset = NULL;
    float inputs[1] = {0};
    int64_t targets[1] = {0};
    assert_status(context, neumeta_dataset_create(context, 1, 1, NULL, NULL, NULL, &dataset),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "fetch is NULL");
    assert_status(context, neumeta_dataset_create(context, 1, 1, fetch_nothing, NULL, NULL, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "dataset is NULL");
    assert_status(context,
                  neumeta_dataset_create_memory(context, NULL, targets, 1, 0, NULL, &dataset),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "inputs is NULL");
    assert_status(context,
                  neumeta_dataset_create_memory(context, inputs, NULL, 1, 0, NULL, &dataset),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "targets is NULL");
    assert_ok(other, neumeta_options_create(other, &options));
    assert_status(context,
                  neumeta_dataset_create(context, 1, 1, fetch_nothing, NULL, options, &dataset),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "another context");
    ck_assert_ptr_null(dataset);
    neumeta_dataset_free(NULL);
    neumeta_options_free(options);
    neumeta_context_free(other);
    neumeta_context_free(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("datasets");
    TCase *tests = tcase_create("creation");
    tcase_add_loop_test(tests, settings_are_checked, 0, CASES);
    tcase_add_test(tests, missing_pointers_are_named);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
