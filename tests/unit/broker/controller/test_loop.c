/* tests/unit/broker/controller/test_loop.c - posting to a loop that ends because of what was posted. */
#include "broker/controller/loop.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

struct last_item {
    struct loop_item item;
    struct loop     *loop;
    bool             ran;
};

static void run_last(struct loop_item *item, void *arg)
{
    (void)arg;
    ((struct last_item *)item)->ran = true;
}

static void *post_last(void *arg)
{
    struct last_item *last = arg;

    loop_post(last->loop, &last->item);
    return NULL;
}

START_TEST(a_loop_may_go_as_soon_as_its_last_item_ran)
{
    for (int i = 0; i < 2000; i++) {
        struct loop *l = malloc(sizeof *l);     /* on the heap: sanitizers see a poster that is late */
        struct last_item last = { .item = { .run = run_last }, .loop = l };
        pthread_t t;

        ck_assert_ptr_nonnull(l);
        loop_init(l);
        ck_assert_int_eq(pthread_create(&t, NULL, post_last, &last), 0);
        while (!last.ran)
            loop_turn(l, NULL, INT64_MAX);
        loop_fini(l);
        free(l);
        pthread_join(t, NULL);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller/loop");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_loop_may_go_as_soon_as_its_last_item_ran);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
