/* tests/unit/broker/group/test_group.c - a group's life: from empty to stable and back, who leads, who is fenced. */
#include "tests/unit/broker/group/kit.h"

static struct client a, b, c;

static void setup(void)
{
    begin();
    client(&a, "a");
    client(&b, "b");
    client(&c, "c");
}

START_TEST(first_member_waits_the_initial_delay_and_leads)
{
    ck_assert(!join(&a));
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(group_due(&g), now + 3000);
    pass(2999);
    ck_assert_int_eq(a.joins, 0);
    pass(1);
    ck_assert_int_eq(a.joins, 1);
    ck_assert_int_eq(a.generation, 1);
    ck_assert_str_eq(a.leader, a.id);
    ck_assert_str_eq(a.protocol, "range");
    ck_assert_str_eq(a.type, "consumer");
    ck_assert_uint_eq(a.members_n, 1);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert(sync_leader(&a, (struct client *[]){ &a }, 1));
    ck_assert_str_eq(a.assignment, "a");
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_int_eq(heartbeat(&a), KERR_NONE);
}
END_TEST

START_TEST(member_ids_are_as_java_makes_them)
{
    ck_assert(!join(&a));
    pass(3000);
    ck_assert_uint_eq(strlen(a.id), 1 + 1 + 36);
    ck_assert_int_eq(strncmp(a.id, "a-", 2), 0);
    for (int i = 0; i < 36; i++) {
        char ch = a.id[2 + i];

        if (i == 8 || i == 13 || i == 18 || i == 23)
            ck_assert_int_eq(ch, '-');
        else
            ck_assert((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f'));
    }
    ck_assert_int_eq(a.id[2 + 14], '4');
}
END_TEST

START_TEST(three_share_and_one_leaves)
{
    struct client *all[] = { &a, &b, &c };

    settle(all, 3);
    ck_assert_int_eq(g.generation, 1);
    ck_assert_str_eq(b.assignment, "b");
    ck_assert_str_eq(c.assignment, "c");
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(heartbeat(&b), KERR_REBALANCE_IN_PROGRESS);
    ck_assert(!join(&b));
    ck_assert(join(&c));
    ck_assert_int_eq(b.generation, 2);
    ck_assert_str_eq(b.leader, c.leader);
    ck_assert_int_eq(heartbeat(&a), KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(the_last_to_leave_leaves_it_empty_and_that_is_written)
{
    struct client *all[] = { &a };

    settle(all, 1);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(g.generation, 2);
    ck_assert_int_eq(record.members_n, 0);
    ck_assert_int_eq(record.generation, 2);
    ck_assert_ptr_null(record.protocol.p);
    ck_assert_ptr_null(record.leader.p);
    ck_assert(str_is(record.protocol_type, "consumer"));
    ck_assert_int_eq(group_due(&g), NEVER);
}
END_TEST

START_TEST(a_client_that_can_is_told_its_id_first)
{
    a.in.needs_member_id = true;
    join_fails(&a, KERR_MEMBER_ID_REQUIRED);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(group_due(&g), now + 10000);
    ck_assert(!join(&a));
    pass(3000);
    ck_assert_int_eq(a.join_error, KERR_NONE);
    ck_assert_uint_eq(g.members_n, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/group");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, end);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, first_member_waits_the_initial_delay_and_leads);
    tcase_add_test(t, member_ids_are_as_java_makes_them);
    tcase_add_test(t, three_share_and_one_leaves);
    tcase_add_test(t, the_last_to_leave_leaves_it_empty_and_that_is_written);
    tcase_add_test(t, a_client_that_can_is_told_its_id_first);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
