/* SPDX-License-Identifier: MIT */
/* Distillation from a network that the caller gives. */
#include "nmi_training.h"

#include <math.h>

#define TAUGHT(teacher)                                                                            \
    PAIRS("epochs", "1", "batch", "16", "group", "3", "size-draw", "sandwich", "gamma-max", "0.5", \
          "loss-distillation", "1", "distillation-temperature", "2", "distillation-teacher",       \
          teacher)
#define ALONE PAIRS("epochs", "0.5", "batch", "16", "learning-rate", "1e-2")
#define TAUGHT_ALONE                                                                               \
    PAIRS("epochs", "0.5", "batch", "16", "learning-rate", "1e-2", "loss-distillation", "1",       \
          "distillation-teacher", "network")

static neumeta_trainer *new_trainer(test_problem *problem, const char *const *pairs)
{
    neumeta_trainer *trainer = NULL;
    neumeta_schedule *schedule = problem_schedule(problem, 1, 9, pairs);
    neumeta_status status = problem->manifold != NULL
                                ? neumeta_trainer_create(problem->manifold, problem->network,
                                                         schedule, problem->dataset, NULL, &trainer)
                                : neumeta_trainer_create_plain(problem->network, schedule,
                                                               problem->dataset, NULL, &trainer);
    assert_ok(problem->context, status);
    neumeta_schedule_free(schedule);
    return trainer;
}

/* The reference once more, as another network of the same context. */
static neumeta_network *twin(const test_problem *problem)
{
    neumeta_network *copy = NULL;
    assert_ok(problem->context, neumeta_network_share(problem->network, problem->context, &copy));
    return copy;
}

/* Trains to the end; `given` hands a copy of the reference over as teacher. */
static float *weights_after(const char *teacher, bool given, int64_t *count)
{
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = new_trainer(&problem, TAUGHT(teacher));
    if (given) {
        neumeta_network *network = twin(&problem);
        assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, network));
        neumeta_network_free(network);
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    float *weights = problem_morphed(&problem, 0.5, count);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(the_reference_teaches_the_same_when_it_is_given)
{
    int64_t counts[3] = {0};
    float *reference = weights_after("reference", false, &counts[0]);
    float *network = weights_after("network", true, &counts[1]);
    float *widest = weights_after("widest", false, &counts[2]);
    size_t bytes = (size_t)counts[0] * sizeof *reference;
    ck_assert_int_eq(counts[0], counts[1]);
    ck_assert_int_eq(memcmp(reference, network, bytes), 0);
    ck_assert_int_ne(memcmp(reference, widest, bytes), 0);
    free(reference);
    free(network);
    free(widest);
}
END_TEST

/* Other weights than the network's, of another topology. */
static neumeta_network *other_network(const test_problem *problem, int64_t classes)
{
    neumeta_topology *topology = NULL;
    neumeta_network *network = NULL;
    neumeta_options *options = problem_options(
        problem->context, PAIRS("input-channels", "1", "input-height", "8", "input-width", "8",
                                "channels", "4", "norm", "none"));
    assert_ok(problem->context, neumeta_options_set_int(options, NEUMETA_KEY_CLASSES, classes));
    assert_ok(problem->context, neumeta_topology_create_builtin(problem->context, "resnet20-cifar",
                                                                options, &topology));
    assert_ok(problem->context, neumeta_network_create(topology, NULL, 0, &network));
    neumeta_topology_free(topology);
    neumeta_options_free(options);
    return network;
}

static float *plain_weights_after(bool taught, double *loss, int64_t *count)
{
    test_problem problem;
    problem_create(&problem, 1, 0, 0);
    neumeta_trainer *trainer = new_trainer(&problem, taught ? TAUGHT_ALONE : ALONE);
    if (taught) {
        neumeta_network *teacher = other_network(&problem, PROBLEM_CLASSES);
        assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, teacher));
        neumeta_network_free(teacher);
    }
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    assert_ok(problem.context, neumeta_trainer_metric(trainer, NEUMETA_METRIC_LOSS, loss));
    float *weights = problem_weights(problem.network, count);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
    return weights;
}

START_TEST(one_network_learns_from_another_topology)
{
    double loss = NAN, taught_loss = NAN;
    int64_t count = 0, taught_count = 0;
    float *alone = plain_weights_after(false, &loss, &count);
    float *taught = plain_weights_after(true, &taught_loss, &taught_count);
    ck_assert_int_eq(count, taught_count);
    ck_assert_int_ne(memcmp(alone, taught, (size_t)count * sizeof *alone), 0);
    ck_assert_msg(taught_loss > loss, "the divergence counts: %g and %g", taught_loss, loss);
    free(alone);
    free(taught);
}
END_TEST

START_TEST(a_teacher_that_does_not_fit_is_refused)
{
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_trainer *trainer = new_trainer(&problem, TAUGHT("network"));
    neumeta_network *teacher = twin(&problem), *wrong = other_network(&problem, 5);
    assert_status(problem.context, neumeta_trainer_run(trainer), NEUMETA_ERR_STATE);
    assert_status(problem.context, neumeta_trainer_step(trainer), NEUMETA_ERR_STATE);
    assert_status(problem.context, neumeta_trainer_set_teacher(trainer, NULL),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(problem.context, neumeta_trainer_set_teacher(trainer, wrong), NEUMETA_ERR_SHAPE);
    assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, teacher));
    assert_ok(problem.context, neumeta_trainer_step(trainer));
    assert_status(problem.context, neumeta_trainer_set_teacher(trainer, teacher),
                  NEUMETA_ERR_STATE);
    neumeta_trainer_free(trainer);
    trainer = new_trainer(&problem, TAUGHT("widest"));
    assert_status(problem.context, neumeta_trainer_set_teacher(trainer, teacher),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_trainer_free(trainer);
    neumeta_network_free(teacher);
    neumeta_network_free(wrong);
    problem_free(&problem);
}
END_TEST

START_TEST(a_network_cannot_teach_itself)
{
    test_problem problem;
    problem_create(&problem, 1, 0, 0);
    neumeta_trainer *trainer = new_trainer(&problem, TAUGHT_ALONE);
    assert_status(problem.context, neumeta_trainer_set_teacher(trainer, problem.network),
                  NEUMETA_ERR_ARGUMENT);
    neumeta_trainer_free(trainer);
    problem_free(&problem);
}
END_TEST

START_TEST(a_checkpoint_belongs_to_its_teacher)
{
    char *folder = test_directory(), *path = test_path(folder, "checkpoint");
    test_problem problem;
    problem_create(&problem, 1, NEUMETA_NORM_FOLD, 0);
    problem_manifold(&problem, 16);
    neumeta_network *teacher = twin(&problem), *other = other_network(&problem, PROBLEM_CLASSES);
    neumeta_trainer *trainer = new_trainer(&problem, TAUGHT("network"));
    assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, teacher));
    assert_ok(problem.context, neumeta_trainer_step(trainer));
    assert_ok(problem.context, neumeta_trainer_save(trainer, path));
    neumeta_trainer_free(trainer);

    trainer = new_trainer(&problem, TAUGHT("network"));
    assert_status(problem.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_STATE);
    assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, other));
    assert_status(problem.context, neumeta_trainer_restore(trainer, path), NEUMETA_ERR_STATE);
    assert_ok(problem.context, neumeta_trainer_set_teacher(trainer, teacher));
    assert_ok(problem.context, neumeta_trainer_restore(trainer, path));
    assert_ok(problem.context, neumeta_trainer_run(trainer));
    neumeta_trainer_free(trainer);
    neumeta_network_free(teacher);
    neumeta_network_free(other);
    problem_free(&problem);
    free(path);
    test_directory_remove(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("teacher");
    TCase *cases = tcase_create("teacher");
    tcase_add_test(cases, the_reference_teaches_the_same_when_it_is_given);
    tcase_add_test(cases, one_network_learns_from_another_topology);
    tcase_add_test(cases, a_teacher_that_does_not_fit_is_refused);
    tcase_add_test(cases, a_network_cannot_teach_itself);
    tcase_add_test(cases, a_checkpoint_belongs_to_its_teacher);
    suite_add_tcase(suite, cases);
    return test_main(suite);
}
