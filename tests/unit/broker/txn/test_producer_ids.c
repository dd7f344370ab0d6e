/* tests/unit/broker/txn/test_producer_ids.c - ids are given out once, blocks are claimed in turn, and a
 * node that cannot be read is an error. */
#include "broker/txn/producer_ids.h"

#include "metadata/lmdb_store.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NODE "/latest_producer_id_block"

static char          dir[64];
static struct store *store;

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/klamm-ids-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(lmdb_store_open(&store, dir), OK);
}

static void teardown(void)
{
    char path[128];

    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    unlink(path);
    rmdir(dir);
}

struct waiter {
    struct producer_id_waiter base;     /* first */
    atomic_bool done;
    int         rc;
    int64_t     id;
};

static void have_id(struct producer_id_waiter *w, int rc, int64_t id)
{
    struct waiter *me = (struct waiter *)w;

    me->rc = rc;
    me->id = id;
    atomic_store(&me->done, true);
}

static int64_t take(struct producer_ids *ids, int *rc)
{
    struct waiter w = { .base.done = have_id };

    producer_ids_take(ids, &w.base);
    while (!atomic_load(&w.done))
        sched_yield();
    *rc = w.rc;
    return w.id;
}

static void put_node(const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);

    store_create(call, NODE, (struct bytes){ (const uint8_t *)text, strlen(text) }, STORE_PERSISTENT);
    ck_assert_int_eq(store_run(store, call), OK);
    store_call_free(&call);
}

static void node_is(const char *want)
{
    struct store_call *call = store_call_new(NULL, NULL);

    store_get(call, NODE, 0);
    ck_assert_int_eq(store_run(store, call), OK);
    ck_assert_str_eq((const char *)call->ops[0].value.p, want);
    store_call_free(&call);
}

START_TEST(a_block_lasts_for_a_thousand)
{
    struct producer_ids *ids;
    int rc;

    put_node("");
    ck_assert_int_eq(producer_ids_new(&ids, store, 7), OK);
    for (int64_t i = 0; i < 1000; i++) {
        ck_assert_int_eq(take(ids, &rc), i);
        ck_assert_int_eq(rc, OK);
    }
    node_is("{\"version\":1,\"broker\":7,\"block_start\":\"0\",\"block_end\":\"999\"}");
    ck_assert_int_eq(take(ids, &rc), 1000);
    node_is("{\"version\":1,\"broker\":7,\"block_start\":\"1000\",\"block_end\":\"1999\"}");
    producer_ids_free(&ids);
}
END_TEST

START_TEST(goes_on_after_the_others)
{
    struct producer_ids *ids, *other;
    int rc;

    put_node("{\"version\":1,\"broker\":2,\"block_start\":\"3000\",\"block_end\":\"3999\"}");
    ck_assert_int_eq(producer_ids_new(&ids, store, 7), OK);
    ck_assert_int_eq(producer_ids_new(&other, store, 8), OK);
    ck_assert_int_eq(take(ids, &rc), 4000);
    ck_assert_int_eq(take(other, &rc), 5000);
    ck_assert_int_eq(take(ids, &rc), 4001);
    producer_ids_free(&ids);
    producer_ids_free(&other);
}
END_TEST

START_TEST(makes_a_node_that_is_missing)
{
    struct producer_ids *ids;
    int rc;

    ck_assert_int_eq(producer_ids_new(&ids, store, 1), OK);
    ck_assert_int_eq(take(ids, &rc), 0);
    ck_assert_int_eq(rc, OK);
    producer_ids_free(&ids);
}
END_TEST

START_TEST(what_cannot_be_read_is_an_error)
{
    static const char *const bad[] = {
        "x", "{}", "{\"block_end\":5}", "{\"block_end\":\"\"}", "{\"block_end\":\"-1\"}", "{\"block_end\":\"12x\"}",
        "{\"version\":1,\"broker\":0,\"block_start\":\"9223372036854774808\",\"block_end\":\"9223372036854775807\"}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct store_call *call = store_call_new(NULL, NULL);
        struct producer_ids *ids;
        int rc;

        if (i == 0)
            store_create(call, NODE, (struct bytes){ (const uint8_t *)bad[i], strlen(bad[i]) }, STORE_PERSISTENT);
        else
            store_set(call, NODE, (struct bytes){ (const uint8_t *)bad[i], strlen(bad[i]) }, STORE_ANY_VERSION);
        ck_assert_int_eq(store_run(store, call), OK);
        store_call_free(&call);
        ck_assert_int_eq(producer_ids_new(&ids, store, 1), OK);
        ck_assert_int_eq(take(ids, &rc), -1);
        ck_assert(rc == ERR_CORRUPT || rc == ERR_LIMIT);
        node_is(bad[i]);
        producer_ids_free(&ids);
    }
}
END_TEST

/* Two brokers with two threads each: nobody gets what another has. */
enum { EACH = 1500 };

struct taker {
    struct producer_ids *ids;
    int64_t              got[EACH];
};

static void *take_many(void *arg)
{
    struct taker *t = arg;
    int rc;

    for (int i = 0; i < EACH; i++)
        t->got[i] = take(t->ids, &rc);
    return NULL;
}

START_TEST(nobody_gets_the_same)
{
    struct producer_ids *ids[2];
    struct taker *t = calloc(4, sizeof *t);
    uint8_t *seen = calloc(100000, 1);
    pthread_t th[4];

    put_node("");
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(producer_ids_new(&ids[i], store, i), OK);
    for (int i = 0; i < 4; i++) {
        t[i].ids = ids[i % 2];
        ck_assert_int_eq(pthread_create(&th[i], NULL, take_many, &t[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < EACH; k++) {
            ck_assert(t[i].got[k] >= 0 && t[i].got[k] < 100000);
            ck_assert(!seen[t[i].got[k]]);
            seen[t[i].got[k]] = 1;
        }
    for (int i = 0; i < 2; i++)
        producer_ids_free(&ids[i]);
    free(seen);
    free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/txn/producer_ids");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_block_lasts_for_a_thousand);
    tcase_add_test(t, goes_on_after_the_others);
    tcase_add_test(t, makes_a_node_that_is_missing);
    tcase_add_test(t, what_cannot_be_read_is_an_error);
    tcase_add_test(t, nobody_gets_the_same);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
