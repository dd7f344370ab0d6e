/* tests/unit/broker/cluster/test_doubts.c - requests that wait while it is not known who leads: woken by new metadata,
 * by the end of the doubt, by time, and at the stop; each once.
 */
#include "broker/cluster/doubts.h"

#include "base/clock.h"
#include "base/log.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct timer *timer;
static struct doubts *d;
static atomic_int resumed;

static void on_resume(struct doubt_waiter *w)
{
    (void)w;
    atomic_fetch_add(&resumed, 1);
}

static void setup(void)
{
    ck_assert_int_eq(timer_new(&timer), OK);
    ck_assert_int_eq(doubts_new(&d, timer), OK);
    atomic_store(&resumed, 0);
}

static void teardown(void)
{
    doubts_stop(d);
    doubts_free(&d);
    timer_free(&timer);
}

START_TEST(nobody_is_in_doubt)
{
    struct doubt_waiter w = { .resume = on_resume };

    ck_assert_uint_eq(doubts_round(d), 0);
    doubts_wait(d, &w, 1);
    ck_assert_int_eq(atomic_load(&resumed), 1);
    ck_assert_uint_eq(doubts_round(NULL), 0);
    doubts_note(NULL, 1);
    doubts_end(NULL, 1);
    doubts_changed(NULL);
    doubts_stop(NULL);
}
END_TEST

START_TEST(new_metadata_ends_the_wait)
{
    struct doubt_waiter a = { .resume = on_resume }, b = { .resume = on_resume }, late = { .resume = on_resume };
    uint32_t round;
    int64_t began;
    bool about;

    do {                                        /* once more if the machine stands still until the doubt is over */
        began = mono_ms();
        doubts_note(d, 3);
        round = doubts_round(d);
        about = doubts_about(d, 3);
    } while (mono_ms() - began >= DOUBT_MS);
    ck_assert_uint_ne(round, 0);
    ck_assert(about);
    ck_assert(!doubts_about(d, 4));
    doubts_wait(d, &a, round);
    doubts_wait(d, &b, round);
    doubts_changed(d);
    while (atomic_load(&resumed) < 2)
        ;
    doubts_wait(d, &late, round);               /* the metadata came between the look and the wait */
    while (atomic_load(&resumed) < 3)
        ;
}
END_TEST

START_TEST(an_answer_ends_the_doubt)
{
    struct doubt_waiter w = { .resume = on_resume };

    doubts_note(d, 3);
    doubts_wait(d, &w, doubts_round(d));
    doubts_end(d, 4);
    doubts_end(d, 3);
    ck_assert(!doubts_about(d, 3));
    while (atomic_load(&resumed) < 1)
        ;
}
END_TEST

START_TEST(time_ends_both)
{
    struct doubt_waiter w = { .resume = on_resume };
    int64_t began = mono_ms();
    uint32_t round;

    doubts_note(d, 3);
    round = doubts_round(d);
    doubts_note(d, 3);                          /* the second time does not make it longer */
    doubts_wait(d, &w, round);
    while (atomic_load(&resumed) == 0)
        ck_assert_int_lt(mono_ms() - began, 60000);
    while (doubts_round(d) != 0)
        ck_assert_int_lt(mono_ms() - began, 60000);
}
END_TEST

START_TEST(the_stop_ends_all)
{
    struct doubt_waiter a = { .resume = on_resume }, late = { .resume = on_resume };
    uint32_t round;

    for (int32_t i = 0; i < 40; i++)            /* more than are kept */
        doubts_note(d, i);
    round = doubts_round(d);
    doubts_wait(d, &a, round);
    doubts_stop(d);
    while (atomic_load(&resumed) < 1)
        ;
    doubts_wait(d, &late, round);
    ck_assert_int_eq(atomic_load(&resumed), 2);
}
END_TEST

START_TEST(a_doubt_that_may_come_is_waited_for)
{
    struct doubt_waiter a = { .resume = on_resume }, b = { .resume = on_resume }, late = { .resume = on_resume };
    int64_t began = mono_ms();

    doubts_expect(d, &a);                       /* none comes */
    while (atomic_load(&resumed) < 1)
        ck_assert_int_lt(mono_ms() - began, 60000);
    ck_assert_int_ge(mono_ms() - began, DOUBT_COMES_MS - 1);
    doubts_expect(d, &b);
    doubts_changed(d);
    while (atomic_load(&resumed) < 2)
        ;
    doubts_stop(d);
    doubts_expect(d, &late);
    ck_assert_int_eq(atomic_load(&resumed), 3);
}
END_TEST

#define WAITERS 200

static void *waits(void *arg)
{
    struct doubt_waiter *w = arg;

    for (int i = 0; i < WAITERS; i++) {
        uint32_t round = doubts_round(d);

        w[i].resume = on_resume;
        doubts_note(d, i % 3);
        doubts_wait(d, &w[i], round);
    }
    return NULL;
}

START_TEST(many_threads)
{
    struct doubt_waiter *w = calloc(2 * WAITERS, sizeof *w);
    pthread_t t[2];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, waits, w + i * WAITERS), 0);
    for (int i = 0; i < 500; i++) {
        doubts_changed(d);
        doubts_end(d, i % 3);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    doubts_stop(d);
    while (atomic_load(&resumed) < 2 * WAITERS)
        ;
    ck_assert_int_eq(atomic_load(&resumed), 2 * WAITERS);
    free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/cluster/doubts");
    TCase *t = tcase_create("doubts");
    SRunner *r = srunner_create(s);
    int failed;

    log_threshold = LOG_WARN;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, nobody_is_in_doubt);
    tcase_add_test(t, new_metadata_ends_the_wait);
    tcase_add_test(t, an_answer_ends_the_doubt);
    tcase_add_test(t, time_ends_both);
    tcase_add_test(t, the_stop_ends_all);
    tcase_add_test(t, a_doubt_that_may_come_is_waited_for);
    tcase_add_test(t, many_threads);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
