/* tests/unit/base/test_lock.c - ranks are enforced where the build checks them, and waiting works. */
#include "base/lock.h"

#include "base/clock.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>

START_TEST(rising_ranks_are_fine)
{
    struct lock a, b;

    lock_init(&a, LOCK_partition);
    lock_init(&b, LOCK_plog);
    lock_take(&a);
    lock_take(&b);
    lock_assert(&a);
    lock_drop(&a);              /* order of release is free */
    lock_drop(&b);
    ck_assert(lock_try(&b));
    lock_drop(&b);
    lock_assert_none();
    lock_fini(&a);
    lock_fini(&b);
}
END_TEST

#ifdef KLAMM_CHECK_LOCKS
START_TEST(a_falling_rank_aborts)
{
    struct lock a, b;

    lock_init(&a, LOCK_partition);
    lock_init(&b, LOCK_plog);
    lock_take(&b);
    lock_take(&a);
}
END_TEST

START_TEST(asserting_a_lock_not_held_aborts)
{
    struct lock a;

    lock_init(&a, LOCK_partition);
    lock_assert(&a);
}
END_TEST
#endif

START_TEST(a_wait_ends_at_its_time_or_when_signalled)
{
    struct lock l;
    struct cond c;
    int64_t start = mono_ns();

    lock_init(&l, LOCK_timer);
    cond_init(&c);
    lock_take(&l);
    ck_assert(!cond_wait_until(&c, &l, start + 5000000));
    ck_assert_int_ge(mono_ns() - start, 5000000);
    lock_assert(&l);
    lock_drop(&l);
    cond_fini(&c);
    lock_fini(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/lock");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, rising_ranks_are_fine);
#ifdef KLAMM_CHECK_LOCKS
    tcase_add_test_raise_signal(t, a_falling_rank_aborts, SIGABRT);
    tcase_add_test_raise_signal(t, asserting_a_lock_not_held_aborts, SIGABRT);
#endif
    tcase_add_test(t, a_wait_ends_at_its_time_or_when_signalled);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
