/* tests/unit/broker/net/test_rbuf.c - the pool of request buffers: reuse, giving back, the limit. */
#include "broker/net/rbuf.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

static struct rbuf_pool pool;
static int              rooms;

static void on_room(void *arg)
{
    (*(int *)arg)++;
}

static void setup(void)
{
    rooms = 0;
    rbuf_pool_init(&pool, 1000, on_room, &rooms);
}

static void teardown(void)
{
    rbuf_pool_fini(&pool);
}

START_TEST(the_last_one_back_is_the_next_one_out)
{
    static const size_t sizes[] = { 1, 4096, 4097, 65536, 65537, MIB, MIB + 200, 17 * MIB };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rbuf *a = rbuf_get(&pool, sizes[i]), *b = rbuf_get(&pool, sizes[i]), *first = a, *second = b;

        ck_assert_uint_ge(a->cap, sizes[i]);
        memset(a->data, 1, a->cap);
        memset(b->data, 2, b->cap);
        rbuf_put(&pool, &a);
        ck_assert_ptr_null(a);
        rbuf_put(&pool, &b);
        if (sizes[i] < 16 * MIB) {      /* two of the largest class are more than the pool keeps */
            a = rbuf_get(&pool, sizes[i]);
            b = rbuf_get(&pool, sizes[i]);
            ck_assert_ptr_eq(a, second);
            ck_assert_ptr_eq(b, first);
            rbuf_put(&pool, &a);
            rbuf_put(&pool, &b);
        }
        rbuf_trim(&pool);
        rbuf_trim(&pool);
        ck_assert_uint_eq(pool.idle_bytes, 0);
    }
    rbuf_put(&pool, &(struct rbuf *){ NULL });
}
END_TEST

START_TEST(trim_frees_what_was_not_needed)
{
    struct rbuf *v[6], *hot;

    for (int i = 0; i < 6; i++)
        v[i] = rbuf_get(&pool, MIB);
    hot = v[5];
    for (int i = 0; i < 6; i++)
        rbuf_put(&pool, &v[i]);
    rbuf_trim(&pool);                   /* all were in use since the last time */
    ck_assert_uint_eq(pool.classes[4].n, 6);
    for (int i = 0; i < 2; i++)
        v[i] = rbuf_get(&pool, MIB);
    for (int i = 1; i >= 0; i--)
        rbuf_put(&pool, &v[i]);
    rbuf_trim(&pool);                   /* four were not */
    ck_assert_uint_eq(pool.classes[4].n, 2);
    v[0] = rbuf_get(&pool, MIB);
    ck_assert_ptr_eq(v[0], hot);        /* the cold ones went */
    rbuf_put(&pool, &v[0]);
    rbuf_trim(&pool);
    ck_assert_uint_eq(pool.classes[4].n, 1);
    rbuf_trim(&pool);
    ck_assert_uint_eq(pool.idle_bytes, 0);
}
END_TEST

START_TEST(what_is_beyond_any_class_goes_back_at_once)
{
    struct rbuf *b = rbuf_get(&pool, 100 * MIB);

    ck_assert_uint_ge(b->cap, 100 * MIB);
    b->data[0] = b->data[100 * MIB - 1] = 1;
    rbuf_put(&pool, &b);
    ck_assert_uint_eq(pool.idle_bytes, 0);
}
END_TEST

START_TEST(the_limit_lets_the_last_one_over)
{
    struct rbuf *b;

    ck_assert(rbuf_reserve(&pool, 600));
    ck_assert(rbuf_reserve(&pool, 5000));       /* something was left */
    ck_assert(!rbuf_reserve(&pool, 1));
    ck_assert_int_eq(rooms, 0);
    rbuf_unreserve(&pool, 600);
    ck_assert_int_eq(rooms, 1);                 /* somebody waits: let him look */
    ck_assert(!rbuf_reserve(&pool, 1));
    b = rbuf_get(&pool, 5000);
    b->reserved = 5000;
    rbuf_put(&pool, &b);                        /* a buffer gives back what was reserved for it */
    ck_assert_int_eq(rooms, 2);
    ck_assert(rbuf_reserve(&pool, 1));
    rbuf_unreserve(&pool, 1);
    ck_assert_int_eq(rooms, 2);                 /* nobody waits */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/net/rbuf");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_last_one_back_is_the_next_one_out);
    tcase_add_test(t, trim_frees_what_was_not_needed);
    tcase_add_test(t, what_is_beyond_any_class_goes_back_at_once);
    tcase_add_test(t, the_limit_lets_the_last_one_over);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
