/* tests/unit/base/test_queue.c - the bounded queue and the lock-free list, under threads. */
#include "base/queue.h"

#include "base/clock.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define ITEMS     20000
#define PRODUCERS 3
#define WORKERS   4

struct item {
    struct qnode node;
    int          owner, no;
};

struct field {
    struct queue queue;
    struct mpsc  done;
    atomic_int   taken;
    atomic_int   rooms;
};

static struct field f;
static struct item items[PRODUCERS][ITEMS];

static void on_room(void *arg)
{
    atomic_fetch_add(&((struct field *)arg)->rooms, 1);
}

static void *produce(void *arg)
{
    int owner = *(int *)arg;

    for (int i = 0; i < ITEMS; i++) {
        items[owner][i] = (struct item){ .owner = owner, .no = i };
        while (!queue_push(&f.queue, &items[owner][i].node))
            poll(NULL, 0, 1);
    }
    return NULL;
}

/* Every other time a worker announces itself before it comes back. */
static void *work(void *arg)
{
    struct qnode *q = queue_pop(&f.queue);

    (void)arg;
    for (bool announce = false; q != NULL; announce = !announce) {
        if (announce)
            queue_announce(&f.queue);
        mpsc_push(&f.done, q);
        atomic_fetch_add(&f.taken, 1);
        q = announce ? queue_pop_announced(&f.queue) : queue_pop(&f.queue);
    }
    return NULL;
}

START_TEST(everything_arrives_once)
{
    pthread_t producers[PRODUCERS], workers[WORKERS];
    int owners[PRODUCERS], seen[PRODUCERS] = { 0 };

    queue_init(&f.queue, 64, on_room, &f);
    mpsc_init(&f.done);
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work, NULL);
    for (int i = 0; i < PRODUCERS; i++) {
        owners[i] = i;
        pthread_create(&producers[i], NULL, produce, &owners[i]);
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i], NULL);
    queue_close(&f.queue);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    ck_assert_uint_eq(atomic_load(&f.queue.announced), 0);
    for (struct qnode *q = mpsc_take(&f.done); q != NULL; q = q->next)
        seen[((struct item *)q)->owner]++;
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(seen[i], ITEMS);
    ck_assert(mpsc_empty(&f.done));
    queue_fini(&f.queue);
}
END_TEST

START_TEST(bounded_but_for_what_was_let_in)
{
    struct item a[4];

    atomic_store(&f.rooms, 0);
    queue_init(&f.queue, 2, on_room, &f);
    ck_assert(queue_push(&f.queue, &a[0].node));
    ck_assert(queue_push(&f.queue, &a[1].node));
    ck_assert(!queue_push(&f.queue, &a[2].node));
    queue_push_over(&f.queue, &a[3].node);
    ck_assert_uint_eq(queue_len(&f.queue), 3);
    ck_assert_ptr_eq(queue_pop(&f.queue), &a[0].node);
    ck_assert_int_eq(atomic_load(&f.rooms), 0);         /* two of two are still there */
    ck_assert_ptr_eq(queue_pop(&f.queue), &a[1].node);
    ck_assert_int_eq(atomic_load(&f.rooms), 1);
    ck_assert_ptr_eq(queue_pop(&f.queue), &a[3].node);
    ck_assert_int_eq(atomic_load(&f.rooms), 1);         /* told once */
    queue_close(&f.queue);
    ck_assert(!queue_push(&f.queue, &a[0].node));
    ck_assert_ptr_null(queue_pop(&f.queue));
    queue_fini(&f.queue);
}
END_TEST

START_TEST(list_keeps_the_order_of_pushes)
{
    struct item a[3];
    struct mpsc m;
    struct qnode *q;

    mpsc_init(&m);
    ck_assert_ptr_null(mpsc_take(&m));
    ck_assert(mpsc_push(&m, &a[0].node));
    ck_assert(!mpsc_push(&m, &a[1].node));
    ck_assert(!mpsc_push(&m, &a[2].node));
    q = mpsc_take(&m);
    for (int i = 0; i < 3; i++, q = q->next)
        ck_assert_ptr_eq(q, &a[i].node);
    ck_assert_ptr_null(q);
    ck_assert(mpsc_push(&m, &a[0].node));
}
END_TEST

/* A worker that is woken finds more and wakes the next: with everybody asleep, all the work is done at once. */
static atomic_int busy, busiest;

static void *work_together(void *arg)
{
    (void)arg;
    while (queue_pop(&f.queue) != NULL) {
        int n = atomic_fetch_add(&busy, 1) + 1;

        while (n < WORKERS && atomic_load(&busiest) < WORKERS) {
            if (n > atomic_load(&busiest))
                atomic_store(&busiest, n);
            poll(NULL, 0, 1);
            n = atomic_load(&busy);
        }
        atomic_store(&busiest, WORKERS);
    }
    return NULL;
}

START_TEST(sleepers_are_woken_while_there_is_work)
{
    pthread_t workers[WORKERS];
    struct item a[WORKERS];

    queue_init(&f.queue, 64, NULL, NULL);
    for (int i = 0; i < WORKERS; i++)
        pthread_create(&workers[i], NULL, work_together, NULL);
    for (int i = 0; i < WORKERS; i++)
        ck_assert(queue_push(&f.queue, &a[i].node));
    queue_close(&f.queue);
    for (int i = 0; i < WORKERS; i++)   /* ends only if all of them were at work together */
        pthread_join(workers[i], NULL);
    queue_fini(&f.queue);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("queue");
    TCase *t = tcase_create("queue");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, everything_arrives_once);
    tcase_add_test(t, bounded_but_for_what_was_let_in);
    tcase_add_test(t, list_keeps_the_order_of_pushes);
    tcase_add_test(t, sleepers_are_woken_while_there_is_work);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
