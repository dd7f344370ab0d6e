/* tests/unit/base/test_scheduler.c - jobs run when due, again and again, not twice at once, not after cancel. */
#include "base/clock.h"
#include "base/lock.h"
#include "base/scheduler.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct lock lock;
static struct cond cond;
static int runs, running, most;         /* under lock */
static bool hold;

static void setup(void)
{
    lock_init(&lock, LOCK_timer);
    cond_init(&cond);
    runs = running = most = 0;
    hold = false;
}

static void note(void *arg)
{
    (void)arg;
    lock_take(&lock);
    runs++;
    running++;
    most = running > most ? running : most;
    cond_broadcast(&cond);
    while (hold)
        cond_wait(&cond, &lock);
    running--;
    cond_broadcast(&cond);
    lock_drop(&lock);
}

static void wait_runs(int n)
{
    lock_take(&lock);
    while (runs < n)
        cond_wait(&cond, &lock);        /* the test's time limit ends it */
    lock_drop(&lock);
}

/* Those that were released have ended, too. */
static void wait_none_runs(void)
{
    lock_take(&lock);
    while (running > 0)
        cond_wait(&cond, &lock);
    lock_drop(&lock);
}

static void release(void)
{
    lock_take(&lock);
    hold = false;
    cond_broadcast(&cond);
    lock_drop(&lock);
}

START_TEST(a_job_runs_once_after_its_delay)
{
    struct scheduler *s;
    int64_t from = mono_ms();

    ck_assert_int_eq(scheduler_new(&s, 2), OK);
    ck_assert_int_eq(scheduler_add(s, "once", 30, 0, note, NULL, NULL), OK);
    wait_runs(1);
    ck_assert_int_ge(mono_ms() - from, 29);
    scheduler_free(&s);
    ck_assert_int_eq(runs, 1);
    ck_assert_ptr_null(s);
    scheduler_free(&s);
}
END_TEST

START_TEST(a_periodic_job_runs_again_until_cancelled)
{
    struct scheduler *s;
    struct job *j;
    int at;

    ck_assert_int_eq(scheduler_new(&s, 3), OK);
    ck_assert_int_eq(scheduler_add(s, "often", 0, 1, note, NULL, &j), OK);
    wait_runs(20);
    job_cancel(s, &j);
    ck_assert_ptr_null(j);
    job_cancel(s, &j);
    at = runs;
    scheduler_free(&s);
    ck_assert_int_eq(runs, at);
    ck_assert_int_eq(most, 1);
}
END_TEST

START_TEST(a_job_is_due_at_once_when_told)
{
    struct scheduler *s;
    struct job *j;

    ck_assert_int_eq(scheduler_new(&s, 2), OK);
    ck_assert_int_eq(scheduler_add(s, "late", 1000000, 1000000, note, NULL, &j), OK);
    job_now(s, j);
    wait_runs(1);
    hold = true;
    job_now(s, j);
    wait_runs(2);
    job_now(s, j);                      /* while it runs: once more, not beside it */
    release();
    wait_runs(3);
    job_cancel(s, &j);
    ck_assert_int_eq(most, 1);
    scheduler_free(&s);
}
END_TEST

static void *cancel(void *arg)
{
    void **v = arg;
    struct job *j = v[1];

    job_cancel(v[0], &j);
    return NULL;
}

START_TEST(cancel_waits_for_a_run_under_way)
{
    struct scheduler *s;
    struct job *j;
    pthread_t t;
    void *v[2];

    hold = true;
    ck_assert_int_eq(scheduler_new(&s, 1), OK);
    ck_assert_int_eq(scheduler_add(s, "held", 0, 1, note, NULL, &j), OK);
    wait_runs(1);
    v[0] = s;
    v[1] = j;
    ck_assert_int_eq(pthread_create(&t, NULL, cancel, v), 0);
    release();
    pthread_join(t, NULL);
    ck_assert_int_eq(running, 0);
    scheduler_free(&s);
}
END_TEST

/* One job that lasts does not keep the others waiting while a thread is free. */
START_TEST(jobs_run_beside_each_other)
{
    struct scheduler *s;

    for (int i = 0; i < 50; i++) {
        setup();
        hold = true;
        ck_assert_int_eq(scheduler_new(&s, 2), OK);
        ck_assert_int_eq(scheduler_add(s, "a", 1, 0, note, NULL, NULL), OK);
        ck_assert_int_eq(scheduler_add(s, "b", 2, 0, note, NULL, NULL), OK);
        wait_runs(2);
        release();
        scheduler_free(&s);
    }
    ck_assert_int_eq(most, 2);
}
END_TEST

START_TEST(threads_come_and_go)
{
    struct scheduler *s;
    struct job *j;

    ck_assert_int_eq(scheduler_new(&s, 1), OK);
    hold = true;
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(scheduler_add(s, "held", 0, 0, note, NULL, NULL), OK);
    wait_runs(1);
    ck_assert_int_eq(scheduler_resize(s, 4), OK);
    wait_runs(4);
    ck_assert_int_eq(scheduler_resize(s, 2), OK);       /* four run; two of them shall be the last */
    release();
    wait_runs(6);
    ck_assert_int_eq(scheduler_add(s, "often", 0, 1, note, NULL, &j), OK);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(scheduler_resize(s, 1 + i % 5), OK);
        wait_runs(7 + i);
    }
    job_cancel(s, &j);
    wait_none_runs();
    ck_assert_int_eq(scheduler_resize(s, 2), OK);
    runs = most = running = 0;
    hold = true;
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(scheduler_add(s, "held", 0, 0, note, NULL, NULL), OK);
    wait_runs(2);
    release();
    wait_runs(6);
    scheduler_free(&s);
    ck_assert_int_eq(most, 2);
}
END_TEST

START_TEST(what_is_not_due_is_dropped_at_the_end)
{
    struct scheduler *s;
    struct job *j;

    ck_assert_int_eq(scheduler_new(&s, 1), OK);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(scheduler_add(s, "late", 1000000, 0, note, NULL, NULL), OK);
    ck_assert_int_eq(scheduler_add(s, "late", 1000000, 5, note, NULL, &j), OK);
    scheduler_free(&s);
    ck_assert_int_eq(runs, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_job_runs_once_after_its_delay, a_periodic_job_runs_again_until_cancelled, a_job_is_due_at_once_when_told,
        cancel_waits_for_a_run_under_way, jobs_run_beside_each_other, threads_come_and_go,
        what_is_not_due_is_dropped_at_the_end,
    };
    Suite *s = suite_create("base/scheduler");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 30);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
