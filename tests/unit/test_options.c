/* SPDX-License-Identifier: MIT */
/* The table of settings, and options: checks, messages, text, copies. */
#include "nmi_options.h"
#include "nmi_test.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>

static nmi_context *ctx;
static nmi_options *options;

static void make(void)
{
    ctx = test_context();
    assert_ok(ctx, nmi_options_create(ctx, &options));
}

static void drop(void)
{
    nmi_options_release(options);
    nmi_context_release(ctx);
}

/* Fails unless `call` is refused with exactly this message. */
#define assert_refused(call, text)                                                                 \
    do {                                                                                           \
        assert_status(ctx, call, NEUMETA_ERR_ARGUMENT);                                            \
        ck_assert_str_eq(neumeta_context_message(ctx), text);                                      \
    } while (0)

static bool holds_default(const nmi_key *key)
{
    if (key->type == NEUMETA_TYPE_CHOICE) {
        int words = 1;
        for (const char *at = key->choices; *at != '\0'; at++)
            words += *at == '|';
        return key->initial >= 0 && key->initial < words && key->choices[0] != '\0';
    }
    if (key->type == NEUMETA_TYPE_TEXT)
        return true;
    return key->initial >= key->minimum && key->initial <= key->maximum;
}

START_TEST(the_table_ascends_and_its_defaults_lie_in_their_bounds)
{
    int32_t last = 0;
    ck_assert_int_gt(nmi_key_count(), 80);
    for (int32_t i = 0; i < nmi_key_count(); i++) {
        const nmi_key *key = nmi_key_at(i);
        ck_assert_msg(key->number > last, "%s is out of order", key->name);
        last = key->number;
        ck_assert_msg(holds_default(key), "the default of %s", key->name);
        ck_assert(key->minimum <= key->maximum);
        ck_assert(key->type >= NEUMETA_TYPE_INT && key->type <= NEUMETA_TYPE_REALS);
        ck_assert_str_ne(key->help, "");
        ck_assert_ptr_eq(nmi_key_find(key->number), key);
        ck_assert_ptr_eq(nmi_key_named(key->name), key);
    }
    ck_assert_ptr_null(nmi_key_at(-1));
    ck_assert_ptr_null(nmi_key_at(nmi_key_count()));
    ck_assert_ptr_null(nmi_key_find(0));
    ck_assert_ptr_null(nmi_key_find(19));
    ck_assert_ptr_null(nmi_key_find(INT32_MAX));
}
END_TEST

START_TEST(names_ignore_case_and_kind_of_dash)
{
    ck_assert_int_eq(nmi_key_named("learning-rate")->number, NEUMETA_KEY_LEARNING_RATE);
    ck_assert_int_eq(nmi_key_named("Learning_Rate")->number, NEUMETA_KEY_LEARNING_RATE);
    ck_assert_ptr_null(nmi_key_named("learning"));
    ck_assert_ptr_null(nmi_key_named("learning-rates"));
    ck_assert_ptr_null(nmi_key_named(""));
    ck_assert_ptr_null(nmi_key_named("{seed}"));
}
END_TEST

START_TEST(unset_keys_answer_with_their_defaults)
{
    const nmi_options *both[] = {NULL, options};
    for (int i = 0; i < 2; i++) {
        int64_t count = 5;
        ck_assert_int_eq(nmi_options_int(both[i], NEUMETA_KEY_BATCH), 128);
        ck_assert_int_eq(nmi_options_int(both[i], NEUMETA_KEY_BIAS), 1);
        ck_assert_double_eq(nmi_options_real(both[i], NEUMETA_KEY_LEARNING_RATE), 1e-3);
        ck_assert_int_eq(nmi_options_choice(both[i], NEUMETA_KEY_OPTIMIZER), 1);
        ck_assert_ptr_null(nmi_options_text(both[i], NEUMETA_KEY_NAME_MAP));
        ck_assert_ptr_null(nmi_options_ints(both[i], NEUMETA_KEY_MILESTONES, &count));
        ck_assert_int_eq(count, 0);
        ck_assert_ptr_null(nmi_options_reals(both[i], NEUMETA_KEY_DATA_MEAN, &count));
        ck_assert(!nmi_options_has(both[i], NEUMETA_KEY_BATCH));
        ck_assert_ptr_null(nmi_options_set_at(both[i], 0));
    }
}
END_TEST

START_TEST(set_keys_answer_with_their_values)
{
    int64_t stones[] = {100, 150};
    double means[] = {0.5, -0.25, 0.125};
    int64_t count = 0;
    assert_ok(ctx, nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, 0.25));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_BATCH, 64));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_BIAS, 0));
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_OPTIMIZER, "sgd"));
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_NAME_MAP, "a=b"));
    assert_ok(ctx, nmi_options_set_ints(options, NEUMETA_KEY_MILESTONES, stones, 2));
    assert_ok(ctx, nmi_options_set_reals(options, NEUMETA_KEY_DATA_MEAN, means, 3));
    stones[0] = 7;
    means[0] = 7;
    ck_assert_double_eq(nmi_options_real(options, NEUMETA_KEY_LEARNING_RATE), 0.25);
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BATCH), 64);
    ck_assert(nmi_options_has(options, NEUMETA_KEY_BIAS));
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BIAS), 0);
    ck_assert_int_eq(nmi_options_choice(options, NEUMETA_KEY_OPTIMIZER), 0);
    ck_assert_str_eq(nmi_options_text(options, NEUMETA_KEY_OPTIMIZER), "sgd");
    ck_assert_str_eq(nmi_options_text(options, NEUMETA_KEY_NAME_MAP), "a=b");
    const int64_t *ints = nmi_options_ints(options, NEUMETA_KEY_MILESTONES, &count);
    ck_assert(count == 2 && ints[0] == 100 && ints[1] == 150);
    const double *reals = nmi_options_reals(options, NEUMETA_KEY_DATA_MEAN, &count);
    ck_assert(count == 3 && reals[0] == 0.5 && reals[1] == -0.25 && reals[2] == 0.125);
    const int32_t walk[] = {NEUMETA_KEY_BIAS,      NEUMETA_KEY_DATA_MEAN, NEUMETA_KEY_NAME_MAP,
                            NEUMETA_KEY_BATCH,     NEUMETA_KEY_OPTIMIZER, NEUMETA_KEY_LEARNING_RATE,
                            NEUMETA_KEY_MILESTONES};
    for (int32_t i = 0; i < 7; i++)
        ck_assert_int_eq(nmi_options_set_at(options, i)->number, walk[i]);
    ck_assert_ptr_null(nmi_options_set_at(options, 7));
    ck_assert_ptr_null(nmi_options_set_at(options, -1));
}
END_TEST

START_TEST(a_key_that_is_set_again_is_replaced)
{
    int64_t count = 0;
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_NAME_MAP, "a=b"));
    assert_ok(ctx, nmi_options_set_text(options, NEUMETA_KEY_NAME_MAP, "long.name=other.name"));
    ck_assert_str_eq(nmi_options_text(options, NEUMETA_KEY_NAME_MAP), "long.name=other.name");
    assert_ok(ctx, nmi_options_set_ints(options, NEUMETA_KEY_SIZE_AXES, (int64_t[]){1, 2, 3}, 3));
    assert_ok(ctx, nmi_options_set_ints(options, NEUMETA_KEY_SIZE_AXES, (int64_t[]){4}, 1));
    const int64_t *ints = nmi_options_ints(options, NEUMETA_KEY_SIZE_AXES, &count);
    ck_assert(count == 1 && ints[0] == 4);
    ck_assert_ptr_null(nmi_options_set_at(options, 2));
    assert_refused(nmi_options_set_ints(options, NEUMETA_KEY_SIZE_AXES, (int64_t[]){5, -1}, 2),
                   "entry 1 of SIZE_AXES is -1, must lie in [0, 1000000]");
    ints = nmi_options_ints(options, NEUMETA_KEY_SIZE_AXES, &count);
    ck_assert(count == 1 && ints[0] == 4);
}
END_TEST

START_TEST(both_bounds_belong_to_the_range)
{
    assert_ok(ctx, nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, 0));
    assert_ok(ctx, nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, 10));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_KERNEL, 1));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_KERNEL, 31));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_SEED, INT64_C(9007199254740991)));
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_SEED, INT64_C(9007199254740992)),
                   "SEED is 9007199254740992, must lie in [0, 9007199254740991]");
}
END_TEST

START_TEST(values_out_of_range_are_refused_by_name)
{
    assert_refused(nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, -0.1),
                   "LEARNING_RATE is -0.1, must lie in [0, 10]");
    assert_status(ctx, nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, NAN),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(ctx, "nan");
    assert_refused(nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, INFINITY),
                   "LEARNING_RATE is inf, must lie in [0, 10]");
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_KERNEL, 0),
                   "KERNEL is 0, must lie in [1, 31]");
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_KERNEL, 32),
                   "KERNEL is 32, must lie in [1, 31]");
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_BIAS, 2), "BIAS is 2, must be 0 or 1");
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_OPTIMIZER, "adam"),
                   "OPTIMIZER is 'adam', must be one of sgd|adamw");
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_OPTIMIZER, "sgd|adamw"),
                   "OPTIMIZER is 'sgd|adamw', must be one of sgd|adamw");
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_OPTIMIZER, ""),
                   "OPTIMIZER is '', must be one of sgd|adamw");
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_CHECKPOINT_PATH, ""),
                   "CHECKPOINT_PATH has 0 bytes, must have between 1 and 4096");
    char path[4098];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_CHECKPOINT_PATH, path),
                   "CHECKPOINT_PATH has 4097 bytes, must have between 1 and 4096");
    assert_refused(nmi_options_set_reals(options, NEUMETA_KEY_DATA_STD, (double[]){1, 0}, 2),
                   "entry 1 of DATA_STD is 0, must lie in [1e-06, 1e+06]");
    ck_assert_ptr_null(nmi_options_set_at(options, 0));
}
END_TEST

START_TEST(wrong_types_are_refused_by_name)
{
    assert_refused(nmi_options_set_real(options, NEUMETA_KEY_MILESTONES, 3),
                   "MILESTONES takes a list of integers, not a real number");
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_LEARNING_RATE, 1),
                   "LEARNING_RATE takes a real number, not an integer");
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_BIAS, "yes"),
                   "BIAS takes 0 or 1, not a text");
    assert_refused(nmi_options_set_int(options, NEUMETA_KEY_OPTIMIZER, 0),
                   "OPTIMIZER takes a word, not an integer");
    assert_refused(nmi_options_set_reals(options, NEUMETA_KEY_NAME_MAP, (double[]){1}, 1),
                   "NAME_MAP takes a text, not a list of real numbers");
    assert_refused(nmi_options_set_ints(options, NEUMETA_KEY_DATA_MEAN, (int64_t[]){1}, 1),
                   "DATA_MEAN takes a list of real numbers, not a list of integers");
    assert_refused(nmi_options_set_int(options, 999, 0), "there is no setting number 999");
    assert_refused(nmi_options_set_int(options, -5, 0), "there is no setting number -5");
}
END_TEST

START_TEST(missing_values_are_refused)
{
    assert_refused(nmi_options_set_text(options, NEUMETA_KEY_NAME_MAP, NULL),
                   "the value of NAME_MAP is NULL");
    assert_refused(nmi_options_set_ints(options, NEUMETA_KEY_MILESTONES, NULL, 2),
                   "the values of MILESTONES are NULL");
    assert_refused(nmi_options_set_ints(options, NEUMETA_KEY_MILESTONES, (int64_t[]){1}, 0),
                   "MILESTONES has 0 entries, must have 1 to 16384");
    assert_refused(nmi_options_set_ints(options, NEUMETA_KEY_MILESTONES, (int64_t[]){1}, 16385),
                   "MILESTONES has 16385 entries, must have 1 to 16384");
    assert_refused(nmi_options_set_reals(options, NEUMETA_KEY_DATA_MEAN, (double[]){1}, -3),
                   "DATA_MEAN has -3 entries, must have 1 to 16384");
}
END_TEST

START_TEST(text_is_parsed_by_the_type_of_its_key)
{
    static const char *const yes[] = {"1", "true", "yes", "on", " \ton\t "};
    static const char *const no[] = {"0", "false", "no", "off"};
    int64_t count = 0;
    assert_ok(ctx, nmi_options_parse(options, "learning-rate", "1e-2"));
    ck_assert_double_eq(nmi_options_real(options, NEUMETA_KEY_LEARNING_RATE), 0.01);
    assert_ok(ctx, nmi_options_parse(options, "batch", "+32"));
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BATCH), 32);
    for (int i = 0; i < 5; i++) {
        assert_ok(ctx, nmi_options_parse(options, "train_earlier", yes[i]));
        ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_TRAIN_EARLIER), 1);
    }
    for (int i = 0; i < 4; i++) {
        assert_ok(ctx, nmi_options_parse(options, "train_earlier", no[i]));
        ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_TRAIN_EARLIER), 0);
    }
    assert_ok(ctx, nmi_options_parse(options, "optimizer", "sgd"));
    ck_assert_int_eq(nmi_options_choice(options, NEUMETA_KEY_OPTIMIZER), 0);
    assert_ok(ctx, nmi_options_parse(options, "name-map", " a = b,c=d"));
    ck_assert_str_eq(nmi_options_text(options, NEUMETA_KEY_NAME_MAP), " a = b,c=d");
    assert_ok(ctx, nmi_options_parse(options, "morph-blocks", "-3, -2,1"));
    const int64_t *ints = nmi_options_ints(options, NEUMETA_KEY_MORPH_BLOCKS, &count);
    ck_assert(count == 3 && ints[0] == -3 && ints[1] == -2 && ints[2] == 1);
    assert_ok(ctx, nmi_options_parse(options, "data-mean", "0.4914,.5,-2.,3E+2"));
    const double *reals = nmi_options_reals(options, NEUMETA_KEY_DATA_MEAN, &count);
    ck_assert(count == 4 && reals[0] == 0.4914 && reals[1] == 0.5 && reals[2] == -2 &&
              reals[3] == 300);
}
END_TEST

START_TEST(text_that_is_no_value_is_refused)
{
    static const char *const no_reals[] = {"",   " ",    ".",    "e5",  "1e",  "1e+",     "nan",
                                           "-",  "inf",  "0x10", "1,5", "1 2", "1.2.3",   "--1",
                                           "1f", "1e5.", "+",    "abc", "1e-", "infinity"};
    static const char *const no_ints[] = {"",
                                          "-",
                                          "1.0",
                                          "1e3",
                                          "0x1",
                                          "9223372036854775808",
                                          "-9223372036854775809",
                                          "99999999999999999999999"};
    static const char *const no_lists[] = {"", ",", "1,", ",1", "1,,2", "1;2", "1.5"};
    for (size_t i = 0; i < sizeof no_reals / sizeof *no_reals; i++) {
        assert_status(ctx, nmi_options_parse(options, "EPOCHS", no_reals[i]), NEUMETA_ERR_ARGUMENT);
        assert_message_contains(ctx, "must be a real number");
    }
    for (size_t i = 0; i < sizeof no_ints / sizeof *no_ints; i++) {
        assert_status(ctx, nmi_options_parse(options, "BATCH", no_ints[i]), NEUMETA_ERR_ARGUMENT);
        assert_message_contains(ctx, "must be an integer");
    }
    for (size_t i = 0; i < sizeof no_lists / sizeof *no_lists; i++) {
        assert_status(ctx, nmi_options_parse(options, "MILESTONES", no_lists[i]),
                      NEUMETA_ERR_ARGUMENT);
        assert_message_contains(ctx, "must be integers with commas between");
    }
    assert_refused(nmi_options_parse(options, "data_std", "1,x"),
                   "DATA_STD is '1,x', must be real numbers with commas between");
    assert_refused(nmi_options_parse(options, "bias", "maybe"),
                   "BIAS is 'maybe', must be one of 0|1|false|true|no|yes|off|on");
    assert_refused(nmi_options_parse(options, "rate", "linear"),
                   "RATE is 'linear', must be one of constant|multistep|cosine");
    assert_refused(nmi_options_parse(options, "lerning_rate", "1"),
                   "there is no setting named 'lerning_rate'");
    assert_refused(nmi_options_parse(options, "batch", "9223372036854775807"),
                   "BATCH is 9223372036854775807, must lie in [1, 65536]");
    assert_refused(nmi_options_parse(options, "morph_blocks", "-9223372036854775808"),
                   "entry 0 of MORPH_BLOCKS is -9223372036854775808, must lie in "
                   "[-1000000, 1000000]");
    assert_refused(nmi_options_parse(options, "epochs", "1e999"),
                   "EPOCHS is inf, must lie in [0, 1e+06]");
    ck_assert_ptr_null(nmi_options_set_at(options, 0));
}
END_TEST

START_TEST(a_real_number_may_not_be_endless)
{
    char digits[400];
    memset(digits, '0', sizeof digits - 1);
    digits[sizeof digits - 1] = '\0';
    assert_status(ctx, nmi_options_parse(options, "EPOCHS", digits), NEUMETA_ERR_ARGUMENT);
    digits[200] = '\0';
    assert_ok(ctx, nmi_options_parse(options, "EPOCHS", digits));
}
END_TEST

START_TEST(numbers_have_a_point_whatever_the_locale)
{
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8",
                                          "fr_FR.utf8",  "de_DE",      "nl_NL.UTF-8"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof locales / sizeof *locales && found == NULL; i++)
        found = setlocale(LC_NUMERIC, locales[i]);
    if (found == NULL) {
        fprintf(stderr, "SKIP: no locale with a decimal comma is installed\n");
        return;
    }
    int64_t count = 0;
    ck_assert_str_eq(localeconv()->decimal_point, ",");
    assert_ok(ctx, nmi_options_parse(options, "learning-rate", "0.125"));
    assert_ok(ctx, nmi_options_parse(options, "data-mean", "0.5,1.5"));
    assert_status(ctx, nmi_options_parse(options, "epochs", "0,5"), NEUMETA_ERR_ARGUMENT);
    const double *reals = nmi_options_reals(options, NEUMETA_KEY_DATA_MEAN, &count);
    ck_assert(count == 2 && reals[0] == 0.5 && reals[1] == 1.5);
    ck_assert_double_eq(nmi_options_real(options, NEUMETA_KEY_LEARNING_RATE), 0.125);
    setlocale(LC_NUMERIC, "C");
}
END_TEST

START_TEST(a_copy_stays_as_it_was_made)
{
    nmi_context *other = test_context();
    nmi_options *copy = NULL;
    int64_t count = 0;
    assert_ok(ctx, nmi_options_parse(options, "morph-blocks", "1,2"));
    assert_ok(ctx, nmi_options_parse(options, "name-map", "a=b"));
    assert_ok(ctx, nmi_options_parse(options, "batch", "7"));
    assert_ok(other, nmi_options_copy(options, other, &copy));
    assert_ok(ctx, nmi_options_parse(options, "morph-blocks", "5"));
    assert_ok(ctx, nmi_options_parse(options, "batch", "8"));
    drop();
    const int64_t *ints = nmi_options_ints(copy, NEUMETA_KEY_MORPH_BLOCKS, &count);
    ck_assert(count == 2 && ints[0] == 1 && ints[1] == 2);
    ck_assert_str_eq(nmi_options_text(copy, NEUMETA_KEY_NAME_MAP), "a=b");
    ck_assert_int_eq(nmi_options_int(copy, NEUMETA_KEY_BATCH), 7);
    assert_ok(other, nmi_options_parse(copy, "bias", "no"));
    nmi_options_release(copy);
    assert_ok(other, nmi_options_copy(NULL, other, &copy));
    ck_assert_ptr_null(copy);
    nmi_context_release(other);
    make();
}
END_TEST

START_TEST(a_key_can_be_unset)
{
    nmi_options_unset(options, NEUMETA_KEY_BATCH);
    assert_ok(ctx, nmi_options_parse(options, "batch", "7"));
    assert_ok(ctx, nmi_options_parse(options, "name-map", "a=b"));
    assert_ok(ctx, nmi_options_parse(options, "epochs", "2"));
    nmi_options_unset(options, NEUMETA_KEY_SEED);
    nmi_options_unset(options, NEUMETA_KEY_NAME_MAP);
    ck_assert_ptr_null(nmi_options_text(options, NEUMETA_KEY_NAME_MAP));
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BATCH), 7);
    nmi_options_unset(options, NEUMETA_KEY_BATCH);
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BATCH), 128);
    ck_assert_int_eq(nmi_options_set_at(options, 0)->number, NEUMETA_KEY_EPOCHS);
    ck_assert_ptr_null(nmi_options_set_at(options, 1));
}
END_TEST

START_TEST(settings_of_others_come_first)
{
    nmi_options *others = NULL;
    assert_ok(ctx, nmi_options_parse(options, "batch", "7"));
    assert_ok(ctx, nmi_options_parse(options, "bias", "no"));
    assert_ok(ctx, nmi_options_merge(options, NULL));
    assert_ok(ctx, nmi_options_create(ctx, &others));
    assert_ok(ctx, nmi_options_parse(others, "batch", "9"));
    assert_ok(ctx, nmi_options_parse(others, "name-map", "a=b"));
    assert_ok(ctx, nmi_options_merge(options, others));
    nmi_options_release(others);
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BATCH), 9);
    ck_assert_int_eq(nmi_options_int(options, NEUMETA_KEY_BIAS), 0);
    ck_assert_str_eq(nmi_options_text(options, NEUMETA_KEY_NAME_MAP), "a=b");
}
END_TEST

START_TEST(an_empty_copy_can_be_filled)
{
    nmi_options *copy = NULL;
    assert_ok(ctx, nmi_options_copy(options, ctx, &copy));
    assert_ok(ctx, nmi_options_parse(copy, "bias", "no"));
    ck_assert_int_eq(nmi_options_int(copy, NEUMETA_KEY_BIAS), 0);
    nmi_options_release(copy);
}
END_TEST

START_TEST(a_key_that_a_call_does_not_use_is_refused)
{
    static const int32_t allowed[] = {NEUMETA_KEY_SEED, NEUMETA_KEY_KERNEL};
    assert_ok(ctx, nmi_options_allow(ctx, NULL, "call", NULL, 0));
    assert_ok(ctx, nmi_options_allow(ctx, options, "call", NULL, 0));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_KERNEL, 5));
    assert_ok(ctx, nmi_options_allow(ctx, options, "call", allowed, 2));
    assert_ok(ctx, nmi_options_set_int(options, NEUMETA_KEY_BATCH, 5));
    assert_refused(nmi_options_allow(ctx, options, "neumeta_network_smooth", allowed, 2),
                   "neumeta_network_smooth does not use BATCH");
}
END_TEST

static neumeta_status use_all(test_allocator *allocator, void *user)
{
    (void)user;
    static const char *const settings[][2] = {
        {"batch", "4"},  {"epochs", "2"},      {"data-mean", "1,2"}, {"seed", "1"},
        {"bias", "0"},   {"name-map", "a=b"},  {"norm", "none"},     {"milestones", "3,4"},
        {"kernel", "5"}, {"name-map", "cc=d"}, {"milestones", "9"},
    };
    nmi_context *context = NULL;
    nmi_options *made = NULL;
    nmi_options *copy = NULL;
    neumeta_status status = nmi_context_create(test_allocate, test_release, allocator, &context);
    if (status != NEUMETA_OK)
        return status;
    status = nmi_options_create(context, &made);
    for (size_t i = 0; i < sizeof settings / sizeof *settings && status == NEUMETA_OK; i++)
        status = nmi_options_parse(made, settings[i][0], settings[i][1]);
    if (status == NEUMETA_OK)
        status = nmi_options_copy(made, context, &copy);
    if (status == NEUMETA_ERR_MEMORY)
        assert_message_contains(context, "out of memory: ");
    nmi_options_release(copy);
    nmi_options_release(made);
    nmi_context_release(context);
    return status;
}

START_TEST(every_refused_allocation_is_reported_and_nothing_leaks)
{
    ck_assert_int_gt(test_every_allocation(use_all, NULL), 15);
}
END_TEST

START_TEST(a_refused_allocation_leaves_the_options_as_they_were)
{
    test_allocator allocator = {0};
    nmi_context *context = NULL;
    nmi_options *made = NULL;
    ck_assert_int_eq(nmi_context_create(test_allocate, test_release, &allocator, &context), 0);
    assert_ok(context, nmi_options_create(context, &made));
    assert_ok(context, nmi_options_set_text(made, NEUMETA_KEY_NAME_MAP, "a=b"));
    allocator.fail_at = allocator.calls + 1;
    assert_status(context, nmi_options_set_text(made, NEUMETA_KEY_NAME_MAP, "c=d"),
                  NEUMETA_ERR_MEMORY);
    ck_assert_str_eq(nmi_options_text(made, NEUMETA_KEY_NAME_MAP), "a=b");
    allocator.fail_at = allocator.calls + 1;
    assert_status(context, nmi_options_parse(made, "milestones", "1"), NEUMETA_ERR_MEMORY);
    ck_assert(!nmi_options_has(made, NEUMETA_KEY_MILESTONES));
    nmi_options_release(made);
    nmi_context_release(context);
    ck_assert_int_eq(allocator.blocks, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *all = tcase_create("options");
    tcase_add_checked_fixture(all, make, drop);
    tcase_add_test(all, the_table_ascends_and_its_defaults_lie_in_their_bounds);
    tcase_add_test(all, names_ignore_case_and_kind_of_dash);
    tcase_add_test(all, unset_keys_answer_with_their_defaults);
    tcase_add_test(all, set_keys_answer_with_their_values);
    tcase_add_test(all, a_key_that_is_set_again_is_replaced);
    tcase_add_test(all, both_bounds_belong_to_the_range);
    tcase_add_test(all, values_out_of_range_are_refused_by_name);
    tcase_add_test(all, wrong_types_are_refused_by_name);
    tcase_add_test(all, missing_values_are_refused);
    tcase_add_test(all, text_is_parsed_by_the_type_of_its_key);
    tcase_add_test(all, text_that_is_no_value_is_refused);
    tcase_add_test(all, a_real_number_may_not_be_endless);
    tcase_add_test(all, numbers_have_a_point_whatever_the_locale);
    tcase_add_test(all, a_copy_stays_as_it_was_made);
    tcase_add_test(all, a_key_can_be_unset);
    tcase_add_test(all, settings_of_others_come_first);
    tcase_add_test(all, an_empty_copy_can_be_filled);
    tcase_add_test(all, a_key_that_a_call_does_not_use_is_refused);
    tcase_add_test(all, every_refused_allocation_is_reported_and_nothing_leaks);
    tcase_add_test(all, a_refused_allocation_leaves_the_options_as_they_were);
    suite_add_tcase(suite, all);
    return test_main(suite);
}
