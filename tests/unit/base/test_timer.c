/* tests/unit/base/test_timer.c - timeouts come once, never early, at every distance; stopped ones never come. */
#include "base/timer.h"

#include "base/clock.h"
#include "base/lock.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

struct probe {
    struct timer_entry entry;
    int64_t            due_ms;
    atomic_int         fired;
    atomic_int        *early, *total;
    struct timer      *timer;
    int                again;
};

static void probe_fire(struct timer_entry *e)
{
    struct probe *p = (struct probe *)e;
    atomic_int *total = p->total;

    if (mono_ms() < p->due_ms)
        atomic_fetch_add(p->early, 1);
    if (p->again-- > 0)
        timer_start(p->timer, e, 1);
    atomic_fetch_add(&p->fired, 1);     /* from here on who waits for it may use *p for something else */
    atomic_fetch_add(total, 1);
}

static void wait_until(const atomic_int *v, int want)
{
    while (atomic_load(v) < want)
        sched_yield();
}

START_TEST(fires_once_and_never_early)
{
    enum { N = 400 };
    struct timer *t;
    struct probe *p = calloc(N, sizeof *p);
    atomic_int early = 0, total = 0;

    ck_assert_int_eq(timer_new(&t), OK);
    for (int i = 0; i < N; i++) {
        int64_t delay = i < 300 ? i * 2 : i;        /* both sides of the border between the wheels */
        p[i] = (struct probe){ .entry.fire = probe_fire, .due_ms = mono_ms() + delay, .early = &early,
                               .total = &total };
        timer_start(t, &p[i].entry, delay);
    }
    wait_until(&total, N);
    ck_assert_int_eq(early, 0);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(p[i].fired, 1);
    ck_assert_uint_eq(timer_waiting(t), 0);
    timer_free(&t);
    ck_assert_ptr_null(t);
    free(p);
}
END_TEST

START_TEST(stopped_never_fires)
{
    struct timer *t;
    struct probe a = { .entry.fire = probe_fire }, b = a, far = a;
    atomic_int early = 0, total = 0;
    int late = 0;

    a.early = b.early = far.early = &early;
    a.total = b.total = far.total = &total;
    ck_assert_int_eq(timer_new(&t), OK);
    ck_assert(!timer_stop(t, &a.entry));
    timer_start(t, &far.entry, INT64_MAX);
    timer_start(t, &a.entry, 20);
    while (!timer_stop(t, &a.entry)) {          /* the machine stood still for so long: it has fired, or is about to */
        wait_until(&total, ++late);
        timer_start(t, &a.entry, 20);
    }
    ck_assert(!timer_stop(t, &a.entry));
    timer_start(t, &b.entry, 30);
    wait_until(&total, late + 1);
    ck_assert_int_eq(a.fired, late);
    ck_assert_int_eq(b.fired, 1);
    ck_assert(!timer_stop(t, &b.entry));
    ck_assert_uint_eq(timer_waiting(t), 1);
    ck_assert(timer_stop(t, &far.entry));
    timer_free(&t);
    timer_free(&t);
}
END_TEST

START_TEST(may_start_itself_again)
{
    struct timer *t;
    atomic_int early = 0, total = 0;
    struct probe a = { .entry.fire = probe_fire, .early = &early, .total = &total, .again = 9 };

    ck_assert_int_eq(timer_new(&t), OK);
    a.timer = t;
    timer_start(t, &a.entry, 1);
    wait_until(&total, 10);
    timer_free(&t);
    ck_assert_int_eq(a.fired, 10);
}
END_TEST

/* Two threads start and stop as long polls do; each entry is either stopped or fires, never both, never neither. */
struct churn {
    struct timer *t;
    atomic_int   *early, *total;
    int           stopped, rounds;
    unsigned      seed;
};

static void *churn_main(void *arg)
{
    struct churn *c = arg;
    struct probe p[32];

    for (int round = 0; round < c->rounds; round++) {
        for (int i = 0; i < 32; i++) {
            p[i] = (struct probe){ .entry.fire = probe_fire, .early = c->early, .total = c->total };
            timer_start(c->t, &p[i].entry, (int64_t)(rand_r(&c->seed) % 4) * (i % 3 == 0 ? 1 : 200) + 1);
        }
        for (int i = 0; i < 32; i++) {
            if (timer_stop(c->t, &p[i].entry))
                c->stopped++;
            else
                wait_until(&p[i].fired, 1);
        }
    }
    return NULL;
}

START_TEST(stop_and_fire_race)
{
    struct timer *t;
    atomic_int early = 0, total = 0;
    struct churn c[2];
    pthread_t th[2];

    ck_assert_int_eq(timer_new(&t), OK);
    for (int i = 0; i < 2; i++) {
        c[i] = (struct churn){ t, &early, &total, 0, 2000, (unsigned)i + 1 };
        ck_assert_int_eq(pthread_create(&th[i], NULL, churn_main, &c[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(th[i], NULL);
    wait_until(&total, 2 * 2000 * 32 - c[0].stopped - c[1].stopped);
    ck_assert_uint_eq(timer_waiting(t), 0);
    timer_free(&t);
    ck_assert_int_eq(c[0].stopped + c[1].stopped + total, 2 * 2000 * 32);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/timer");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, fires_once_and_never_early);
    tcase_add_test(t, stopped_never_fires);
    tcase_add_test(t, may_start_itself_again);
    tcase_add_test(t, stop_and_fire_race);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
