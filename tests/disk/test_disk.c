/* SPDX-License-Identifier: MIT */
/*
 * Saving, loading and checkpoints on a failing disk: each call to the operating system fails once,
 * in each way. The public call then either succeeds or says what went wrong, leaves the old file or
 * the whole new one and no other, no memory and no open file; made again it succeeds, and all ends
 * with the same result as without the failure.
 */
#include "nmi_disk.h"
#include "nmi_faults.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

static const char old_text[] = "what was there before";

typedef struct scenario {
    const char *name;
    void (*prepare)(faults *f);
    neumeta_status (*call)(faults *f); /* the one whose system calls fail */
    void (*finish)(faults *f);         /* digests what became of it */
    bool trains;                       /* in which case it may write more than one file */
} scenario;

/* --- scenarios --- */

static void prepare_network(faults *f)
{
    fault_context(f);
    fault_topology(f);
    fault_network(f, NEUMETA_NORM_FOLD);
    fault_folder(f);
    test_write_file(f->path, old_text, sizeof old_text);
}

static neumeta_status save_network(faults *f)
{
    return neumeta_network_save(f->network, f->path);
}

static void digest_file(faults *f)
{
    int64_t size = 0;
    unsigned char *bytes = test_read_file(f->path, &size);
    ck_assert_ptr_nonnull(bytes);
    fault_digest(f, bytes, (size_t)size);
    free(bytes);
}

static void prepare_network_file(faults *f)
{
    prepare_network(f);
    attempt(f, save_network(f));
    neumeta_network_free(f->network);
    f->network = NULL;
}

static neumeta_status load_network(faults *f)
{
    return neumeta_network_load(f->topology, f->path, NULL, &f->network);
}

static void finish_network(faults *f)
{
    fault_digest_network(f, f->network);
}

static void prepare_manifold(faults *f)
{
    prepare_network(f);
    fault_manifold(f);
}

static neumeta_status save_manifold(faults *f)
{
    return neumeta_manifold_save(f->manifold, f->path);
}

static void prepare_manifold_file(faults *f)
{
    prepare_manifold(f);
    attempt(f, save_manifold(f));
    neumeta_manifold_free(f->manifold);
    f->manifold = NULL;
}

static neumeta_status load_manifold(faults *f)
{
    return neumeta_manifold_load(f->context, f->path, &f->manifold);
}

static int32_t take(void *user, const void *data, int64_t size)
{
    fault_digest(user, data, (size_t)size);
    return 0;
}

static void finish_manifold(faults *f)
{
    attempt(f, neumeta_manifold_write(f->manifold, take, f));
}

/* Two steps, with a checkpoint after each if wanted. */
static void prepare_trainer(faults *f, bool checkpoints)
{
    prepare_manifold(f);
    fault_dataset(f);
    attempt_new(f, &f->schedule, neumeta_schedule_create(f->context, &f->schedule));
    fault_options(f, FAULT_PAIRS("epochs", "1", "batch", "4"));
    attempt(f, neumeta_schedule_add_phase(f->schedule, "only", 1, 2, f->options));
    fault_options(
        f, FAULT_PAIRS(checkpoints ? "checkpoint-path" : NULL, f->path, "checkpoint-seconds", "0"));
    attempt_new(f, &f->trainer,
                neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, f->options,
                                       &f->trainer));
}

static void prepare_step(faults *f)
{
    prepare_trainer(f, false);
    attempt(f, neumeta_trainer_step(f->trainer));
}

static neumeta_status save_trainer(faults *f)
{
    return neumeta_trainer_save(f->trainer, f->path);
}

static neumeta_status restore_trainer(faults *f)
{
    return neumeta_trainer_restore(f->trainer, f->path);
}

static neumeta_status run_trainer(faults *f)
{
    return neumeta_trainer_run(f->trainer);
}

static void finish_training(faults *f)
{
    attempt(f, run_trainer(f));
    finish_manifold(f);
}

/* A step too far, and back to what was saved. */
static void finish_saving(faults *f)
{
    attempt(f, neumeta_trainer_step(f->trainer));
    attempt(f, restore_trainer(f));
    finish_training(f);
}

static void prepare_checkpoint(faults *f)
{
    prepare_step(f);
    attempt(f, save_trainer(f));
    attempt(f, neumeta_trainer_step(f->trainer));
}

static void prepare_run(faults *f)
{
    prepare_trainer(f, true);
}

static const scenario scenarios[] = {
    {"saving a network", prepare_network, save_network, digest_file, false},
    {"loading a network", prepare_network_file, load_network, finish_network, false},
    {"saving a manifold", prepare_manifold, save_manifold, digest_file, false},
    {"loading a manifold", prepare_manifold_file, load_manifold, finish_manifold, false},
    {"saving a trainer", prepare_step, save_trainer, finish_saving, false},
    {"restoring a trainer", prepare_checkpoint, restore_trainer, finish_training, false},
    {"training with checkpoints", prepare_run, run_trainer, finish_training, true},
};

/* --- one failure --- */

static int32_t entries(const char *folder)
{
    int32_t count = 0;
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    while (readdir(listing) != NULL)
        count++;
    closedir(listing);
    return count - 2;
}

/* Files that this process has open, the listing among them. */
static int32_t open_files(void)
{
    return entries("/proc/self/fd");
}

/* Bytes of the file before the call, to be compared with those after it. */
typedef struct snapshot {
    unsigned char *bytes;
    int64_t size;
    long long blocks;
    int32_t files;
} snapshot;

static snapshot look(faults *f)
{
    snapshot seen = {.blocks = f->allocator.blocks, .files = open_files()};
    seen.bytes = test_read_file(f->path, &seen.size);
    ck_assert_ptr_nonnull(seen.bytes);
    return seen;
}

/* Whatever stands under the name after an interrupted training is a checkpoint: a trainer of
 * another manifold can go on from it. */
static void assert_checkpoint(faults *f)
{
    neumeta_manifold *own = f->manifold;
    neumeta_trainer *other = NULL;
    fault_manifold(f);
    attempt_new(
        f, &other,
        neumeta_trainer_create(f->manifold, f->network, f->schedule, f->dataset, NULL, &other));
    attempt(f, neumeta_trainer_restore(other, f->path));
    neumeta_trainer_free(other);
    neumeta_manifold_free(f->manifold);
    f->manifold = own;
}

static void assert_failure(const scenario *s, faults *f, const snapshot *before)
{
    static const char *const reasons[] = {
        [DISK_INTERRUPTED] = "Interrupted system call",
        [DISK_BROKEN] = "Input/output error",
        [DISK_FULL] = "No space left on device",
        [DISK_SHORT] = "",
        [DISK_ENDED] = "",
    };
    const snapshot after = look(f);
    const bool replaced = strstr(neumeta_context_message(f->context), "is written, but") != NULL;
    assert_message_contains(f->context, f->path);
    assert_message_contains(f->context, reasons[nmi_disk.fault]);
    const bool same =
        after.size == before->size && memcmp(after.bytes, before->bytes, (size_t)after.size) == 0;
    if (s->trains && !same)
        assert_checkpoint(f);
    else
        ck_assert_msg(same || replaced, "%s: another file after %s()", s->name, nmi_disk.failed);
    if (!s->trains)
        ck_assert_msg(after.blocks == before->blocks, "%s: memory stays after %s()", s->name,
                      nmi_disk.failed);
    free(after.bytes);
}

/* Interrupted and short transfers are gone on with; only rename() and questions are asked once. */
static void assert_status_of(const scenario *s, faults *f, neumeta_status status)
{
    const bool gone_on = (nmi_disk.fault == DISK_INTERRUPTED || nmi_disk.fault == DISK_SHORT) &&
                         strcmp(nmi_disk.failed, "rename") != 0 &&
                         strcmp(nmi_disk.failed, "fstat") != 0;
    ck_assert_msg(status == NEUMETA_OK || (status == NEUMETA_ERR_IO && !gone_on),
                  "%s: status %d after %s() failed: %s", s->name, (int)status, nmi_disk.failed,
                  neumeta_context_message(f->context));
}

/* Returns whether a call failed. */
static bool run_once(const scenario *s, disk_fault fault, int64_t n, uint64_t *digest)
{
    faults *f = fault_create();
    s->prepare(f);
    const snapshot before = look(f);
    nmi_disk = (disk){.watched = true, .fault = fault, .fail_at = n};
    const neumeta_status status = s->call(f);
    nmi_disk.watched = false;
    const bool failed = nmi_disk.failed != NULL;
    if (failed)
        assert_status_of(s, f, status);
    if (failed && status != NEUMETA_OK) {
        assert_failure(s, f, &before);
        attempt(f, s->call(f));
    } else {
        assert_ok(f->context, status);
    }
    ck_assert_msg(entries(f->folder) == 1, "%s: a temporary file stays", s->name);
    ck_assert_msg(open_files() == before.files, "%s: a file stays open after %s()", s->name,
                  failed ? nmi_disk.failed : "success");
    s->finish(f);
    *digest = f->digest;
    free(before.bytes);
    fault_free(f);
    return failed;
}

START_TEST(any_call_to_the_system_may_fail_once)
{
    const scenario *s = &scenarios[_i];
    uint64_t expected = 0, digest = 0;
    int64_t failures = 0;
    run_once(s, DISK_BROKEN, 0, &expected);
    const int64_t calls = nmi_disk.calls;
    ck_assert_int_ge(calls, 4);
    for (int fault = 0; fault < DISK_FAULTS; fault++)
        for (int64_t n = 1; n <= calls; n++) {
            failures += run_once(s, (disk_fault)fault, n, &digest);
            ck_assert_msg(digest == expected, "%s: another result after call %lld, fault %d",
                          s->name, (long long)n, fault);
        }
    printf("faults: %s: %lld system calls, %lld failures\n", s->name, (long long)calls,
           (long long)failures);
    fflush(stdout);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *cases = tcase_create("scenarios");
    tcase_add_loop_test(cases, any_call_to_the_system_may_fail_once, 0,
                        (int)(sizeof scenarios / sizeof *scenarios));
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
