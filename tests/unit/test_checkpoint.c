/* SPDX-License-Identifier: MIT */
/* Checkpoints that fit a training in all but one number or name: each is refused with a sentence,
 * and the trainer goes on as if it had never been read. */
#include "nmi_faults.h"
#include "nmi_safetensors.h"

#include <stdio.h>

static faults *f;
static unsigned char *bytes; /* of a checkpoint after one step */
static int64_t size;

static void set_up(void)
{
    f = fault_start_manifold();
    fault_folder(f);
    assert_ok(f->context, neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset,
                                                 NULL, &f->trainer));
    assert_ok(f->context, neumeta_trainer_step(f->trainer));
    assert_ok(f->context, neumeta_trainer_save(f->trainer, f->path));
    bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    test_forget_checksums(bytes, size);
}

static void tear_down(void)
{
    free(bytes);
    fault_free(f);
}

static unsigned char *data_of(const char *tensor)
{
    nmi_safetensors *file = NULL;
    nmi_tensor_entry entry;
    assert_ok(f->context, nmi_safetensors_parse(f->context, "", bytes, size, &file));
    ck_assert(nmi_safetensors_find(file, tensor, &entry));
    nmi_safetensors_free(file);
    return bytes + (entry.data - bytes);
}

static void refuse_file(const char *message)
{
    test_write_file(f->path, bytes, size);
    assert_status(f->context, neumeta_trainer_restore(f->trainer, f->path), NEUMETA_ERR_FORMAT);
    assert_message_contains(f->context, message);
    assert_message_contains(f->context, f->path);
}

static int32_t take(void *user, const void *data, int64_t length)
{
    fault_digest(user, data, (size_t)length);
    return 0;
}

static uint64_t digest_of_rest(void)
{
    f->digest = 0;
    assert_ok(f->context, neumeta_trainer_run(f->trainer));
    assert_ok(f->context, neumeta_manifold_write(f->manifold, take, f));
    return f->digest;
}

/* The trainer after one step ends as one does that meets nothing but the good file. */
static void assert_untouched(void)
{
    const uint64_t found = digest_of_rest();
    assert_ok(f->context, neumeta_trainer_restore(f->trainer, f->path));
    ck_assert_uint_eq(found, digest_of_rest());
}

START_TEST(impossible_numbers_are_refused)
{
    static const char outside[] = "lies outside the schedule";
    static const struct {
        const char *tensor, *message;
        int64_t place, value;
    } damages[] = {
        {"position", outside, 0, -1},
        {"position", outside, 0, 2},
        {"position", outside, 0, 1}, /* the end, but with a step made in it */
        {"position", outside, 1, -1},
        {"position", outside, 1, 4},
        {"position", outside, 2, -1},
        {"position", outside, 2, 2}, /* more than in all */
        {"position", outside, 3, 2}, /* more than there were draws */
        {"position", outside, 4, INT64_MAX},
        {"slots.steps", "impossible step count of 'conv.weight'", 0, -1},
        {"slots.steps", "impossible step count of 'conv.weight'", 0, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        unsigned char *place = data_of(damages[i].tensor) + 8 * damages[i].place;
        int64_t good;
        memcpy(&good, place, sizeof good);
        memcpy(place, &damages[i].value, sizeof good);
        refuse_file(damages[i].message);
        memcpy(place, &good, sizeof good);
    }
    test_write_file(f->path, bytes, size);
    assert_untouched();
}
END_TEST

/* At the end nothing waits to be judged: there is no phase to judge it by. */
START_TEST(an_end_that_waits_for_its_judgement_is_refused)
{
    unsigned char *position = data_of("position");
    const int64_t end[] = {1, 2, 0};
    memcpy(position, end, sizeof end);
    refuse_file("the position (phase 1, step 0) lies outside the schedule");
}
END_TEST

START_TEST(a_step_beyond_its_phase_is_refused)
{
    unsigned char *position = data_of("position");
    const int64_t far[] = {1000, 1000, 1000};
    memcpy(position + 2 * 8, far, sizeof far);
    refuse_file("the position (phase 0, step 1000) lies outside the schedule");
}
END_TEST

/* In the header, where both have one length. */
static void rename_text(const char *from, const char *to)
{
    const size_t length = strlen(from);
    int64_t at = 0;
    ck_assert_uint_eq(length, strlen(to));
    while (at + (int64_t)length <= size && memcmp(bytes + at, from, length) != 0)
        at++;
    ck_assert_msg(at + (int64_t)length <= size, "no %s", from);
    memcpy(bytes + at, to, length);
}

START_TEST(vectors_of_other_names_or_types_are_refused)
{
    static const struct {
        const char *from, *to, *message;
    } damages[] = {
        {"\"position\"", "\"positron\"", "tensor 'position': is missing"},
        {"\"metrics\"", "\"metrica\"", "tensor 'metrics': is missing"},
        {"\"slots.steps\"", "\"slots.stepz\"", "tensor 'slots.steps': is missing"},
        {"neumeta.fingerprint", "neumeta.fingerprinz", "'neumeta.fingerprint' is missing"},
        {"body.0.conv1.weight/values\"", "body.0.conv1.weight/valuez\"",
         "tensor 'body.0.conv1.weight/values' must be there as F32"},
        {"body.0.conv1.weight/moment1\"", "body.0.conv1.weight/momenta\"",
         "1 tensors belong to no part of this training"},
        {"body.0.conv1.weight/moment1\":{\"dtype\":\"F32\"",
         "body.0.conv1.weight/moment1\":{\"dtype\":\"I32\"",
         "tensor 'body.0.conv1.weight/moment1' must be there as F32"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        rename_text(damages[i].from, damages[i].to);
        refuse_file(damages[i].message);
        rename_text(damages[i].to, damages[i].from);
    }
    test_write_file(f->path, bytes, size);
    assert_untouched();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *cases = tcase_create("damage");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_test(cases, impossible_numbers_are_refused);
    tcase_add_test(cases, a_step_beyond_its_phase_is_refused);
    tcase_add_test(cases, an_end_that_waits_for_its_judgement_is_refused);
    tcase_add_test(cases, vectors_of_other_names_or_types_are_refused);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
