/* tests/unit/broker/replica/test_refused.c - what is remembered of refused batches: of whom, how long, how many. */
#include "broker/replica/refused.h"

#include <check.h>
#include <stdlib.h>

static struct refused *rf;
static const struct str topic = { "t", 1 };

static void setup(void)
{
    ck_assert_int_eq(refused_new(&rf), OK);
}

static void teardown(void)
{
    refused_free(&rf);
}

static struct batch_head head(int64_t id, int16_t epoch, int32_t sequence)
{
    return (struct batch_head){ .producer_id = id, .producer_epoch = epoch, .base_sequence = sequence };
}

static void note(int64_t id, int16_t epoch, int32_t sequence, int64_t now_ms)
{
    struct batch_head h = head(id, epoch, sequence);

    refused_note(rf, topic, 3, &h, now_ms);
}

/* -1: nothing was refused. */
static int32_t lowest(struct str name, int32_t partition, int64_t id, int16_t epoch, int64_t now_ms)
{
    struct batch_head h = head(id, epoch, 0);
    int32_t sequence;

    return refused_before(rf, name, partition, &h, now_ms, &sequence) ? sequence : -1;
}

START_TEST(the_lowest_counts)
{
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 0), -1);
    note(7, 0, 30, 0);
    note(7, 0, 10, 0);
    note(7, 0, 20, 0);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 0), 10);
}
END_TEST

START_TEST(each_producer_epoch_and_partition_has_its_own)
{
    static const struct str other = { "u", 1 };

    note(7, 1, 5, 0);
    ck_assert_int_eq(lowest(topic, 3, 7, 1, 0), 5);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 0), -1);
    ck_assert_int_eq(lowest(topic, 3, 8, 1, 0), -1);
    ck_assert_int_eq(lowest(topic, 4, 7, 1, 0), -1);
    ck_assert_int_eq(lowest(other, 3, 7, 1, 0), -1);
}
END_TEST

START_TEST(who_was_taken_is_forgotten)
{
    struct batch_head h = head(7, 0, 0);

    note(7, 0, 0, 0);
    note(8, 0, 0, 0);
    refused_taken(rf, topic, 3, &h);
    refused_taken(rf, topic, 3, &h);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 0), -1);
    ck_assert_int_eq(lowest(topic, 3, 8, 0, 0), 0);
}
END_TEST

START_TEST(who_has_no_id_is_not_remembered)
{
    note(-1, -1, -1, 0);
    ck_assert_int_eq(lowest(topic, 3, -1, -1, 0), -1);
}
END_TEST

START_TEST(no_longer_than_what_was_under_way_needs_to_come)
{
    note(7, 0, 4, 1000);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 1000 + REFUSED_MS), 4);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 1001 + REFUSED_MS), -1);
    note(7, 0, 9, 1001 + REFUSED_MS);                   /* the old one does not count any more */
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 1001 + REFUSED_MS), 9);
}
END_TEST

START_TEST(another_refusal_renews_it)
{
    note(7, 0, 4, 0);
    note(8, 0, 1, 0);
    note(7, 0, 9, REFUSED_MS);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 2 * REFUSED_MS), 4);
    ck_assert_int_eq(lowest(topic, 3, 8, 0, 2 * REFUSED_MS), -1);
    ck_assert_int_eq(lowest(topic, 3, 7, 0, 2 * REFUSED_MS + 1), -1);
}
END_TEST

START_TEST(the_oldest_make_room)
{
    for (int i = 0; i <= REFUSED_MAX; i++)
        note(i, 0, 0, i);
    ck_assert_int_eq(lowest(topic, 3, 0, 0, REFUSED_MAX), -1);
    ck_assert_int_eq(lowest(topic, 3, 1, 0, REFUSED_MAX), 0);
    note(1, 0, 0, REFUSED_MAX);
    note(REFUSED_MAX + 1, 0, 0, REFUSED_MAX);
    ck_assert_int_eq(lowest(topic, 3, 1, 0, REFUSED_MAX), 0);
    ck_assert_int_eq(lowest(topic, 3, 2, 0, REFUSED_MAX), -1);
    ck_assert_int_eq(lowest(topic, 3, REFUSED_MAX, 0, REFUSED_MAX), 0);
}
END_TEST

START_TEST(a_name_that_is_none_is_not_remembered)
{
    char longest[300] = { 0 };
    struct str name = { longest, sizeof longest };
    struct batch_head h = head(7, 0, 0);

    refused_note(rf, name, 3, &h, 0);
    ck_assert_int_eq(lowest(name, 3, 7, 0, 0), -1);
    name = (struct str){ NULL, 0 };
    refused_note(rf, name, 3, &h, 0);
    ck_assert_int_eq(lowest(name, 3, 7, 0, 0), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("refused");
    TCase *tc = tcase_create("refused");
    SRunner *sr = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_lowest_counts);
    tcase_add_test(tc, each_producer_epoch_and_partition_has_its_own);
    tcase_add_test(tc, who_was_taken_is_forgotten);
    tcase_add_test(tc, who_has_no_id_is_not_remembered);
    tcase_add_test(tc, no_longer_than_what_was_under_way_needs_to_come);
    tcase_add_test(tc, another_refusal_renews_it);
    tcase_add_test(tc, the_oldest_make_room);
    tcase_add_test(tc, a_name_that_is_none_is_not_remembered);
    suite_add_tcase(s, tc);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
