/* tests/unit/broker/replica/test_purgatory.c - every parked operation is ended once, whoever comes
 * first, and no wake-up is missed. */
#include "broker/replica/purgatory.h"

#include "base/timer.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/* Something that grows and can be waited for. */
struct thing {
    struct watch_list list;
    _Atomic int64_t   value;
};

struct op {
    struct delayed   base;              /* first */
    struct watch     watches[4];
    struct thing    *things[4];
    int64_t          want[4];           /* ready when any thing has reached what is wanted of it */
    atomic_int       done;
    enum delayed_why why;
};

static struct timer *timer;
static struct purgatory *purg;

static bool op_ready(struct delayed *d, const struct watch *which)
{
    struct op *op = (struct op *)d;

    for (size_t i = 0; i < d->watches_n; i++)
        if ((which == NULL || which == &d->watches[i]) && atomic_load(&op->things[i]->value) >= op->want[i])
            return true;
    return false;
}

static void op_done(struct delayed *d, enum delayed_why why)
{
    struct op *op = (struct op *)d;

    op->why = why;
    atomic_fetch_add(&op->done, 1);
}

static void op_prepare(struct op *op, struct thing **things, size_t n, int64_t want)
{
    *op = (struct op){ .base = { .ready = op_ready, .done = op_done, .watches = op->watches, .watches_n = n } };
    for (size_t i = 0; i < n; i++) {
        op->things[i] = things[i];
        op->want[i] = want;
        op->watches[i].list = &things[i]->list;
    }
    purgatory_init(purg, &op->base);
}

static void grow(struct thing *t, int64_t to)
{
    atomic_store(&t->value, to);
    purgatory_wake(purg, &t->list);
}

static void setup(void)
{
    ck_assert_int_eq(timer_new(&timer), OK);
    ck_assert_int_eq(purgatory_new(&purg, timer), OK);
}

static void teardown(void)
{
    purgatory_stop(purg);
    ck_assert_uint_eq(purgatory_parked(purg), 0);
    ck_assert_uint_eq(timer_waiting(timer), 0);
    timer_free(&timer);
    purgatory_free(&purg);
}

static void wait_done(struct op *op)
{
    while (atomic_load(&op->done) == 0)
        sched_yield();
}

START_TEST(wakes_when_ready_only)
{
    struct thing a = { .value = 0 }, b = a, *both[] = { &a, &b };
    struct op op;

    op_prepare(&op, both, 2, 5);
    purgatory_park(&op.base, 60000);
    ck_assert(purgatory_watched(&a.list) && purgatory_watched(&b.list));
    grow(&a, 4);
    ck_assert_int_eq(op.done, 0);
    grow(&b, 5);
    ck_assert_int_eq(op.done, 1);
    ck_assert_int_eq(op.why, DELAYED_READY);
    ck_assert(!purgatory_watched(&a.list) && !purgatory_watched(&b.list));
    ck_assert_ptr_null(a.list.head);
    ck_assert_uint_eq(timer_waiting(timer), 0);
}
END_TEST

START_TEST(ready_already_ends_in_park)
{
    struct thing a = { .value = 9 }, *one[] = { &a };
    struct op op;

    op_prepare(&op, one, 1, 5);
    purgatory_park(&op.base, 60000);
    ck_assert_int_eq(op.done, 1);
    ck_assert_int_eq(op.why, DELAYED_READY);
}
END_TEST

START_TEST(times_out)
{
    struct thing a = { .value = 0 }, *one[] = { &a };
    struct op op;

    op_prepare(&op, one, 1, 5);
    purgatory_park(&op.base, 3);
    wait_done(&op);
    ck_assert_int_eq(op.why, DELAYED_TIMEOUT);
    ck_assert(!purgatory_watched(&a.list));
}
END_TEST

START_TEST(may_be_ended_before_it_is_parked)
{
    struct thing a = { .value = 0 }, *one[] = { &a };
    struct op op;

    op_prepare(&op, one, 1, 5);
    purgatory_end(&op.base, DELAYED_CLOSED);
    ck_assert_int_eq(op.done, 0);
    purgatory_park(&op.base, 60000);
    ck_assert_int_eq(op.done, 1);
    ck_assert_int_eq(op.why, DELAYED_CLOSED);
    ck_assert_uint_eq(timer_waiting(timer), 0);
}
END_TEST

START_TEST(stop_ends_all_and_what_comes_later)
{
    enum { N = 200 };
    struct thing a = { .value = 0 }, *one[] = { &a };
    struct op *ops = calloc(N + 1, sizeof *ops);

    for (int i = 0; i < N; i++) {
        op_prepare(&ops[i], one, i % 2 == 0 ? 1 : 0, 5);
        purgatory_park(&ops[i].base, 60000);
    }
    purgatory_stop(purg);
    op_prepare(&ops[N], one, 1, 5);
    purgatory_park(&ops[N].base, 60000);
    for (int i = 0; i <= N; i++) {
        ck_assert_int_eq(ops[i].done, 1);
        ck_assert_int_eq(ops[i].why, DELAYED_STOPPED);
    }
    free(ops);
}
END_TEST

/* More watchers than one batch of a wake-up, some of them not ready. */
START_TEST(one_wake_reaches_everybody)
{
    enum { N = 500 };
    struct thing a = { .value = 0 }, *one[] = { &a };
    struct op *ops = calloc(N, sizeof *ops);

    for (int i = 0; i < N; i++) {
        op_prepare(&ops[i], one, 1, i % 3 == 0 ? 10 : 5);
        purgatory_park(&ops[i].base, 60000);
    }
    grow(&a, 5);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(ops[i].done, i % 3 != 0);
    grow(&a, 10);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(ops[i].done, 1);
    free(ops);
}
END_TEST

/* Two growers, two parkers, a closer, and short timeouts. Each operation waits for values that do come, so that with
 * a long timeout a missed wake-up would show as a hang. */
enum { ROUNDS = 3000, THINGS = 3 };

struct race {
    struct thing  things[THINGS];
    atomic_bool   stop;
    _Atomic(struct op *) closing[2];
};

static void *grower(void *arg)
{
    struct race *r = arg;
    unsigned seed = 7;

    while (!atomic_load(&r->stop)) {
        struct thing *t = &r->things[(unsigned)rand_r(&seed) % THINGS];

        atomic_fetch_add(&t->value, 1);
        purgatory_wake(purg, &t->list);
        sched_yield();
    }
    return NULL;
}

static void park_some(struct race *r, int me)
{
    struct thing *list[THINGS] = { &r->things[0], &r->things[1], &r->things[2] };
    unsigned seed = (unsigned)me + 1;

    for (int i = 0; i < ROUNDS; i++) {
        struct op *op = calloc(1, sizeof *op);
        int kind = rand_r(&seed) % 4;
        size_t n = (size_t)(rand_r(&seed) % THINGS) + 1;

        op_prepare(op, list, n, 0);
        for (size_t k = 0; k < n; k++)
            op->want[k] = kind == 0 ? INT64_MAX : atomic_load(&list[k]->value) + rand_r(&seed) % 3;
        if (kind == 0)                  /* nothing will make it ready: the closer or the time will */
            atomic_store(&r->closing[me], op);
        purgatory_park(&op->base, kind <= 1 ? 1 : 60000);
        wait_done(op);
        if (kind == 0) {
            struct op *mine = op;       /* as the network does: the memory stays while the closer is at it */
            while (!atomic_compare_exchange_weak(&r->closing[me], &mine, NULL) && mine != NULL) {
                mine = op;
                sched_yield();
            }
        }
        ck_assert_int_eq(op->done, 1);
        ck_assert(kind != 0 || op->why != DELAYED_READY);
        free(op);
    }
}

static void *parker0(void *arg)
{
    park_some(arg, 0);
    return NULL;
}

static void *parker1(void *arg)
{
    park_some(arg, 1);
    return NULL;
}

static void *closer(void *arg)
{
    struct race *r = arg;
    static struct op busy;

    while (!atomic_load(&r->stop)) {
        for (int i = 0; i < 2; i++) {
            struct op *op = atomic_exchange(&r->closing[i], &busy);

            if (op != NULL && op != &busy)
                purgatory_end(&op->base, DELAYED_CLOSED);
            atomic_store(&r->closing[i], NULL);
        }
        sched_yield();
    }
    return NULL;
}

START_TEST(races_end_each_once)
{
    struct race r = { .stop = false };
    pthread_t th[5];
    void *(*fn[5])(void *) = { parker0, parker1, grower, grower, closer };

    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pthread_create(&th[i], NULL, fn[i], &r), 0);
    pthread_join(th[0], NULL);
    pthread_join(th[1], NULL);
    atomic_store(&r.stop, true);
    for (int i = 2; i < 5; i++)
        pthread_join(th[i], NULL);
    for (int i = 0; i < THINGS; i++) {
        ck_assert(!purgatory_watched(&r.things[i].list));
        ck_assert_ptr_null(r.things[i].list.head);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/replica/purgatory");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, wakes_when_ready_only);
    tcase_add_test(t, ready_already_ends_in_park);
    tcase_add_test(t, times_out);
    tcase_add_test(t, may_be_ended_before_it_is_parked);
    tcase_add_test(t, stop_ends_all_and_what_comes_later);
    tcase_add_test(t, one_wake_reaches_everybody);
    tcase_add_test(t, races_end_each_once);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
