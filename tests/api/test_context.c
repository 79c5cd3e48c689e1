/* SPDX-License-Identifier: MIT */
/* The library, contexts, options and keys through <neumeta.h> alone. */
#include "nmi_test.h"

#include <pthread.h>
#include <stdio.h>

START_TEST(header_library_and_project_have_one_version)
{
    char expected[64];
    snprintf(expected, sizeof expected, "%d.%d.%d", NEUMETA_VERSION_MAJOR, NEUMETA_VERSION_MINOR,
             NEUMETA_VERSION_PATCH);
    ck_assert_str_eq(neumeta_version(), expected);
    ck_assert_str_eq(NMI_PROJECT_VERSION, expected);
}
END_TEST

START_TEST(every_status_has_a_name_of_its_own)
{
    for (neumeta_status i = NEUMETA_ERR_INFEASIBLE; i <= NEUMETA_CANCELLED; i++) {
        ck_assert_str_ne(neumeta_status_name(i), "unknown status");
        for (neumeta_status j = NEUMETA_ERR_INFEASIBLE; j < i; j++)
            ck_assert_str_ne(neumeta_status_name(i), neumeta_status_name(j));
    }
    ck_assert_str_eq(neumeta_status_name(12345), "unknown status");
    ck_assert_str_eq(neumeta_status_name(NEUMETA_ERR_SHAPE), "shape does not fit");
}
END_TEST

START_TEST(null_handles_are_refused_or_fine)
{
    double minimum;
    neumeta_options *options = (neumeta_options *)&minimum;
    ck_assert_int_eq(neumeta_context_create(NULL, NULL, NULL, NULL), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_context_set_threads(NULL, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_context_set_seed(NULL, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_context_set_kernels(NULL, "auto"), NEUMETA_ERR_ARGUMENT);
    ck_assert_str_eq(neumeta_context_kernels(NULL), "");
    ck_assert_int_eq(neumeta_context_set_log(NULL, NULL, NULL, 0), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_context_set_parallel(NULL, NULL, NULL, 0), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_create(NULL, &options), NEUMETA_ERR_ARGUMENT);
    ck_assert_ptr_null(options);
    ck_assert_int_eq(neumeta_options_set_int(NULL, 1, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_set_real(NULL, 1, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_set_text(NULL, 1, ""), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_set_ints(NULL, 1, NULL, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_set_reals(NULL, 1, NULL, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(neumeta_options_parse(NULL, "", ""), NEUMETA_ERR_ARGUMENT);
    ck_assert_str_eq(neumeta_context_message(NULL), "");
    neumeta_context_free(NULL);
    neumeta_options_free(NULL);
}
END_TEST

START_TEST(missing_arguments_are_named)
{
    neumeta_context *context = test_context();
    neumeta_options *options = NULL;
    ck_assert_str_eq(neumeta_context_message(context), "");
    assert_status(context, neumeta_options_create(context, NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "options is NULL");
    assert_ok(context, neumeta_options_create(context, &options));
    ck_assert_str_eq(neumeta_context_message(context), "");
    assert_status(context, neumeta_options_parse(options, NULL, "1"), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "name is NULL");
    assert_status(context, neumeta_options_parse(options, "batch", NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "value is NULL");
    neumeta_options_free(options);
    neumeta_context_free(context);
}
END_TEST

START_TEST(one_function_of_an_allocator_is_not_enough)
{
    test_allocator allocator = {0};
    neumeta_context *context = (neumeta_context *)&allocator;
    ck_assert_int_eq(neumeta_context_create(test_allocate, NULL, &allocator, &context),
                     NEUMETA_ERR_ARGUMENT);
    ck_assert_ptr_null(context);
    ck_assert_int_eq(neumeta_context_create(NULL, test_release, &allocator, &context),
                     NEUMETA_ERR_ARGUMENT);
    allocator.fail_at = 1;
    ck_assert_int_eq(neumeta_context_create(test_allocate, test_release, &allocator, &context),
                     NEUMETA_ERR_MEMORY);
    ck_assert_ptr_null(context);
}
END_TEST

START_TEST(settings_of_a_context_are_checked)
{
    neumeta_context *context = test_context();
    assert_status(context, neumeta_context_set_threads(context, -1), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "threads is -1");
    assert_ok(context, neumeta_context_set_threads(context, 0));
    ck_assert_str_eq(neumeta_context_message(context), "");
    assert_ok(context, neumeta_context_set_threads(context, 1));
    assert_ok(context, neumeta_context_set_seed(context, UINT64_MAX));
    assert_ok(context, neumeta_context_set_log(context, NULL, NULL, 99));
    assert_ok(context, neumeta_context_set_parallel(context, NULL, NULL, -7));
    neumeta_context_free(context);
}
END_TEST

START_TEST(kernels_are_chosen_while_a_context_has_no_handles)
{
    neumeta_context *context = NULL;
    neumeta_options *options = NULL;
    assert_ok(NULL, neumeta_context_create(NULL, NULL, NULL, &context));
    const char *best = neumeta_context_kernels(context);
    assert_status(context, neumeta_context_set_kernels(context, NULL), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "name is NULL");
    assert_status(context, neumeta_context_set_kernels(context, "mmx"), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "there are no kernels 'mmx'; this processor and build offer "
                                     "auto, base");
    /* No processor has both. */
    const char *foreign = strcmp(best, "neon") == 0 ? "avx2" : "neon";
    assert_status(context, neumeta_context_set_kernels(context, foreign), NEUMETA_ERR_UNSUPPORTED);
    assert_message_contains(context, foreign);
    assert_message_contains(context, "offer auto, base");
    assert_message_contains(context, best);
    ck_assert_str_eq(neumeta_context_kernels(context), best);

    assert_ok(context, neumeta_context_set_kernels(context, "base"));
    ck_assert_str_eq(neumeta_context_kernels(context), "base");
    assert_ok(context, neumeta_options_create(context, &options));
    assert_status(context, neumeta_context_set_kernels(context, "auto"), NEUMETA_ERR_STATE);
    assert_message_contains(context, "free its handles first");
    ck_assert_str_eq(neumeta_context_kernels(context), "base");
    neumeta_options_free(options);
    assert_ok(context, neumeta_context_set_kernels(context, "auto"));
    ck_assert_str_eq(neumeta_context_kernels(context), best);
    assert_ok(context, neumeta_context_set_kernels(context, best));
    neumeta_context_free(context);
}
END_TEST

START_TEST(options_may_outlive_their_context)
{
    test_allocator allocator = {0};
    neumeta_context *context = NULL;
    neumeta_options *options = NULL;
    ck_assert_int_eq(neumeta_context_create(test_allocate, test_release, &allocator, &context),
                     NEUMETA_OK);
    assert_ok(context, neumeta_options_create(context, &options));
    neumeta_context_free(context);
    ck_assert_int_eq(neumeta_options_set_int(options, NEUMETA_KEY_BATCH, 5), NEUMETA_OK);
    ck_assert_int_gt(allocator.blocks, 0);
    neumeta_options_free(options);
    ck_assert_int_eq(allocator.blocks, 0);
    ck_assert_int_eq(allocator.bytes, 0);
}
END_TEST

START_TEST(every_setter_reaches_the_options)
{
    neumeta_context *context = test_context();
    neumeta_options *options = NULL;
    int64_t stones[] = {1, 2};
    double means[] = {1, 2};
    assert_ok(context, neumeta_options_create(context, &options));
    assert_ok(context, neumeta_options_set_int(options, NEUMETA_KEY_BATCH, 5));
    assert_ok(context, neumeta_options_set_real(options, NEUMETA_KEY_EPOCHS, 0.5));
    assert_ok(context, neumeta_options_set_text(options, NEUMETA_KEY_RATE, "cosine"));
    assert_ok(context, neumeta_options_set_ints(options, NEUMETA_KEY_MILESTONES, stones, 2));
    assert_ok(context, neumeta_options_set_reals(options, NEUMETA_KEY_DATA_MEAN, means, 2));
    assert_ok(context, neumeta_options_parse(options, "learning-rate", "0.5"));
    assert_status(context, neumeta_options_set_int(options, NEUMETA_KEY_BATCH, 0),
                  NEUMETA_ERR_ARGUMENT);
    ck_assert_str_eq(neumeta_context_message(context), "BATCH is 0, must lie in [1, 65536]");
    assert_status(context, neumeta_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, -0.1),
                  NEUMETA_ERR_ARGUMENT);
    ck_assert_str_eq(neumeta_context_message(context),
                     "LEARNING_RATE is -0.1, must lie in [0, 10]");
    assert_status(context, neumeta_options_set_text(options, NEUMETA_KEY_RATE, "linear"),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "constant|multistep|cosine");
    assert_status(context, neumeta_options_set_ints(options, NEUMETA_KEY_MILESTONES, NULL, 2),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "MILESTONES");
    assert_status(context, neumeta_options_set_reals(options, NEUMETA_KEY_MILESTONES, means, 2),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "MILESTONES takes a list of integers");
    assert_status(context, neumeta_options_parse(options, "learning", "0.5"), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "there is no setting named 'learning'");
    neumeta_options_free(options);
    neumeta_context_free(context);
}
END_TEST

START_TEST(all_keys_can_be_walked)
{
    int32_t count = 0;
    for (int32_t key; (key = neumeta_key_at(count)) != 0; count++) {
        int32_t type = 0;
        double minimum = 1;
        double maximum = 0;
        double initial = -1;
        ck_assert_int_eq(neumeta_key_bounds(key, &type, &minimum, &maximum, &initial), NEUMETA_OK);
        ck_assert_int_ne(type, 0);
        ck_assert(minimum <= maximum);
        ck_assert_ptr_nonnull(neumeta_key_name(key));
        ck_assert_ptr_nonnull(neumeta_key_help(key));
        ck_assert_ptr_nonnull(neumeta_key_unit(key));
    }
    ck_assert_int_gt(count, 80);
    ck_assert_int_eq(neumeta_key_at(-1), 0);
    ck_assert_str_eq(neumeta_key_name(NEUMETA_KEY_LEARNING_RATE), "LEARNING_RATE");
    ck_assert_str_eq(neumeta_key_unit(NEUMETA_KEY_OPTIMIZER), "sgd|adamw");
    ck_assert_str_eq(neumeta_key_unit(NEUMETA_KEY_KERNEL), "pixels");
    ck_assert_str_eq(neumeta_key_unit(NEUMETA_KEY_BATCH), "items");
    ck_assert_int_eq(neumeta_key_bounds(NEUMETA_KEY_BATCH, NULL, NULL, NULL, NULL), NEUMETA_OK);
    ck_assert_int_eq(neumeta_key_bounds(19, NULL, NULL, NULL, NULL), NEUMETA_ERR_ARGUMENT);
    ck_assert_ptr_null(neumeta_key_name(19));
    ck_assert_ptr_null(neumeta_key_help(19));
    ck_assert_ptr_null(neumeta_key_unit(19));
}
END_TEST

/* The log callback runs while its context is in use: the place from which to misuse it. */
typedef struct misuse {
    neumeta_context *context;
    neumeta_options *options; /* freed by the callback */
    neumeta_status inside, elsewhere, creation;
    neumeta_options *created;
    int lines;
    char line[256];
} misuse;

static void *call_elsewhere(void *argument)
{
    misuse *self = argument;
    self->elsewhere = neumeta_context_set_seed(self->context, 1);
    neumeta_options_free(self->options);
    return NULL;
}

static void misuse_context(void *user, int32_t level, const char *message)
{
    misuse *self = user;
    pthread_t thread;
    self->lines++;
    ck_assert_int_eq(level, NEUMETA_LOG_ERROR);
    snprintf(self->line, sizeof self->line, "%s", message);
    self->inside = neumeta_context_set_threads(self->context, 2);
    self->creation = neumeta_options_create(self->context, &self->created);
    ck_assert_int_eq(pthread_create(&thread, NULL, call_elsewhere, self), 0);
    pthread_join(thread, NULL);
}

START_TEST(a_context_in_use_refuses_calls_but_not_frees)
{
    test_allocator allocator = {0};
    misuse self = {0};
    ck_assert_int_eq(neumeta_context_create(test_allocate, test_release, &allocator, &self.context),
                     NEUMETA_OK);
    assert_ok(self.context, neumeta_options_create(self.context, &self.options));
    assert_status(self.context, neumeta_context_set_log(self.context, misuse_context, &self, 5),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(self.context, "level is 5, must lie in [1, 4]");
    ck_assert_int_eq(self.lines, 0);
    assert_ok(self.context,
              neumeta_context_set_log(self.context, misuse_context, &self, NEUMETA_LOG_ERROR));
    self.created = self.options;
    assert_status(self.context, neumeta_context_set_threads(self.context, -3),
                  NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(self.lines, 1);
    ck_assert_int_eq(self.inside, NEUMETA_ERR_STATE);
    ck_assert_int_eq(self.elsewhere, NEUMETA_ERR_STATE);
    ck_assert_int_eq(self.creation, NEUMETA_ERR_STATE);
    ck_assert_ptr_null(self.created);
    /* The refused calls did not touch the message of the one that ran. */
    assert_message_contains(self.context, "threads is -3");
    ck_assert_str_eq(self.line, neumeta_context_message(self.context));
    assert_ok(self.context, neumeta_context_set_log(self.context, NULL, NULL, 0));
    neumeta_context_free(self.context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

/* Frees all there is, while the call that failed has its context to leave. */
static void free_all(void *user, int32_t level, const char *message)
{
    misuse *self = user;
    (void)level;
    (void)message;
    neumeta_options_free(self->options);
    neumeta_context_free(self->context);
}

START_TEST(a_log_callback_may_free_everything)
{
    test_allocator allocator = {0};
    misuse self = {0};
    ck_assert_int_eq(neumeta_context_create(test_allocate, test_release, &allocator, &self.context),
                     NEUMETA_OK);
    assert_ok(self.context, neumeta_options_create(self.context, &self.options));
    assert_ok(self.context,
              neumeta_context_set_log(self.context, free_all, &self, NEUMETA_LOG_ERROR));
    ck_assert_int_eq(neumeta_options_set_int(self.options, 12345, 1), NEUMETA_ERR_ARGUMENT);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

static void *set_often(void *argument)
{
    neumeta_context *context = argument;
    neumeta_options *options = NULL;
    for (int i = 0; i < 300; i++) {
        neumeta_status status = neumeta_options_create(context, &options);
        ck_assert(status == NEUMETA_OK || (status == NEUMETA_ERR_STATE && options == NULL));
        if (status == NEUMETA_OK) {
            status = neumeta_options_set_text(options, NEUMETA_KEY_NAME_MAP, "a=b");
            ck_assert(status == NEUMETA_OK || status == NEUMETA_ERR_STATE);
        }
        neumeta_options_free(options);
    }
    return NULL;
}

START_TEST(two_threads_on_one_context_do_no_harm)
{
    neumeta_context *context = test_context();
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, set_often, context), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    neumeta_context_free(context);
}
END_TEST

static void run_serially(void *user, neumeta_task_fn task, void *argument, int64_t count)
{
    (void)user;
    for (int64_t i = 0; i < count; i++)
        task(argument, i);
}

static neumeta_status use_everything(test_allocator *allocator, void *user)
{
    (void)user;
    neumeta_context *context = NULL;
    neumeta_options *options = NULL;
    neumeta_status status =
        neumeta_context_create(test_allocate, test_release, allocator, &context);
    if (status == NEUMETA_OK)
        status = neumeta_context_set_threads(context, 2);
    if (status == NEUMETA_OK)
        status = neumeta_context_set_parallel(context, run_serially, NULL, 3);
    if (status == NEUMETA_OK)
        status = neumeta_options_create(context, &options);
    if (status == NEUMETA_OK)
        status = neumeta_options_set_text(options, NEUMETA_KEY_NAME_MAP, "a=b");
    if (status == NEUMETA_OK)
        status = neumeta_options_parse(options, "milestones", "1,2,3");
    if (status == NEUMETA_ERR_MEMORY && context != NULL) {
        assert_message_contains(context, "out of memory: ");
        assert_message_contains(context, " bytes were wanted");
    }
    neumeta_options_free(options);
    neumeta_context_free(context);
    return status;
}

START_TEST(every_refused_allocation_is_reported_and_nothing_leaks)
{
    ck_assert_int_gt(test_every_allocation(use_everything, NULL), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("context");
    TCase *all = tcase_create("context and options");
    tcase_add_test(all, header_library_and_project_have_one_version);
    tcase_add_test(all, every_status_has_a_name_of_its_own);
    tcase_add_test(all, null_handles_are_refused_or_fine);
    tcase_add_test(all, missing_arguments_are_named);
    tcase_add_test(all, one_function_of_an_allocator_is_not_enough);
    tcase_add_test(all, settings_of_a_context_are_checked);
    tcase_add_test(all, kernels_are_chosen_while_a_context_has_no_handles);
    tcase_add_test(all, options_may_outlive_their_context);
    tcase_add_test(all, every_setter_reaches_the_options);
    tcase_add_test(all, all_keys_can_be_walked);
    tcase_add_test(all, a_context_in_use_refuses_calls_but_not_frees);
    tcase_add_test(all, a_log_callback_may_free_everything);
    tcase_add_test(all, two_threads_on_one_context_do_no_harm);
    tcase_add_test(all, every_refused_allocation_is_reported_and_nothing_leaks);
    suite_add_tcase(suite, all);
    return test_main(suite);
}
