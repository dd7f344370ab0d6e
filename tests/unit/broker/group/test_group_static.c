/* tests/unit/broker/group/test_group_static.c - static members (KIP-345, KIP-814): taking over, fencing, what is
 * written, and what happens when it cannot be.
 */
#include "tests/unit/broker/group/kit.h"

static struct client a, b, s, s2, s3;
static struct client *three[] = { &a, &b, &s };

static void setup(void)
{
    begin();
    client(&a, "a");
    client(&b, "b");
    client_static(&s, "s", "inst");
    client_static(&s2, "s2", "inst");
    client_static(&s3, "s3", "inst");
}

static struct client *leader_of(void)
{
    for (int i = 0; i < 3; i++)
        if (three[i]->leads)
            return three[i];
    ck_abort();
    return NULL;
}

START_TEST(ids_are_made_of_the_instance)
{
    settle(three, 3);
    ck_assert_int_eq(strncmp(s.id, "inst-", 5), 0);
    ck_assert_uint_eq(strlen(s.id), 5 + 36);
}
END_TEST

START_TEST(back_in_a_stable_group_without_a_rebalance)
{
    settle(three, 3);
    s2.in.can_skip_assignment = _i == 1;
    ck_assert(join(&s2));
    ck_assert_int_eq(s2.join_error, KERR_NONE);
    ck_assert_int_eq(s2.generation, 1);
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_str_ne(s2.id, s.id);
    ck_assert_uint_eq(g.members_n, 3);
    ck_assert_int_eq(record.members_n, 3);
    ck_assert(str_is(record.members[2].member_id, s2.id));
    ck_assert(str_is(record.members[2].group_instance_id, "inst"));
    ck_assert_uint_eq(record.members[2].assignment.len, 1);
    ck_assert_int_eq(record.members[2].assignment.p[0], 's');
    ck_assert(sync_group(&s2));
    ck_assert_str_eq(s2.assignment, "s");
    /* the former id is fenced wherever it is used */
    ck_assert_int_eq(heartbeat(&s), KERR_FENCED_INSTANCE_ID);
    ck_assert_int_eq(commit(&s), KERR_FENCED_INSTANCE_ID);
    ck_assert_int_eq(leave(&s), KERR_FENCED_INSTANCE_ID);
    ck_assert(sync_group(&s));
    ck_assert_int_eq(s.sync_error, KERR_FENCED_INSTANCE_ID);
    join_fails(&s, KERR_FENCED_INSTANCE_ID);
}
END_TEST

/* A leader that comes back: below v9 it is not told that it leads, from v9 on that it has nothing to assign. */
START_TEST(a_leader_that_comes_back)
{
    settle((struct client *[]){ &s, &a, &b }, 3);
    ck_assert(s.leads);                 /* it came first */
    s2.in.can_skip_assignment = _i == 1;
    ck_assert(join(&s2));
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert(str_is(g.leader->id, s2.id));
    ck_assert(str_is(record.leader, s2.id));
    if (_i == 1) {
        ck_assert(s2.skip);
        ck_assert_uint_eq(s2.members_n, 3);
        ck_assert_str_eq(s2.leader, s2.id);
    } else {
        ck_assert(!s2.skip);
        ck_assert(!s2.leads);
        ck_assert_str_eq(s2.leader, s.id);
    }
}
END_TEST

START_TEST(back_with_other_metadata_in_a_stable_group)
{
    settle(three, 3);
    s2.protocols[0].metadata = (struct bytes){ (const uint8_t *)"other", 5 };
    ck_assert(join(&s2));               /* the protocol stays: no rebalance, as Apache Kafka */
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_uint_eq(record.members[2].subscription.len, 5);
}
END_TEST

static void two_protocols(struct client *c, const char *first, const char *second)
{
    c->protocols[0] = (struct group_protocol){ str_of(first), { (const uint8_t *)"1", 1 } };
    c->protocols[1] = (struct group_protocol){ str_of(second), { (const uint8_t *)"2", 1 } };
    c->in.protocols_n = 2;
}

START_TEST(back_with_another_vote_in_a_stable_group)
{
    two_protocols(&a, "range", "sticky");
    two_protocols(&s, "range", "sticky");
    two_protocols(&s2, "sticky", "other");
    settle((struct client *[]){ &a, &s }, 2);
    ck_assert_str_eq(a.protocol, "range");
    ck_assert(!join(&s2));
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert(join(&a));
    ck_assert_str_eq(a.protocol, "sticky");
    ck_assert_int_eq(s2.join_error, KERR_NONE);
    ck_assert_int_eq(s2.generation, 2);
}
END_TEST

START_TEST(back_while_assignments_are_made)
{
    for (int i = 0; i < 3; i++)
        ck_assert(!join(three[i]));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    if (!s.leads)
        ck_assert(!sync_group(&s));
    struct client *other = a.leads ? &b : &a;
    ck_assert(!sync_group(other));
    ck_assert(!join(&s2));
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    if (!s.leads)
        ck_assert_int_eq(s.sync_error, KERR_FENCED_INSTANCE_ID);
    ck_assert_int_eq(other->sync_error, KERR_REBALANCE_IN_PROGRESS);
    ck_assert(!join(&a));
    ck_assert(join(&b));
    ck_assert_int_eq(s2.generation, 2);
}
END_TEST

START_TEST(back_while_joining)
{
    ck_assert(!join(&s));
    ck_assert(!join(&s2));
    ck_assert_int_eq(s.join_error, KERR_FENCED_INSTANCE_ID);
    ck_assert_uint_eq(g.members_n, 1);
    ck_assert(!join(&s3));
    ck_assert_int_eq(s2.join_error, KERR_FENCED_INSTANCE_ID);
    pass(3000);
    ck_assert_int_eq(s3.join_error, KERR_NONE);
    ck_assert_str_eq(s3.leader, s3.id);
}
END_TEST

START_TEST(it_keeps_its_place_when_it_does_not_join_again)
{
    for (int i = 0; i < 3; i++)
        three[i]->in.session_timeout_ms = 300000;
    settle(three, 3);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert(!join(&b));
    pass(60000);
    ck_assert_int_eq(b.join_error, KERR_NONE);
    ck_assert_int_eq(b.generation, 2);
    ck_assert(b.leads);
    ck_assert_uint_eq(b.members_n, 2);  /* s too */
    ck_assert(sync_leader(&b, (struct client *[]){ &b, &s }, 2));
    ck_assert_int_eq(heartbeat(&s), KERR_ILLEGAL_GENERATION);
    pass(59999);                        /* but it has to fetch its assignment, then */
    ck_assert_int_eq(heartbeat(&b), KERR_NONE);
    ck_assert_uint_eq(g.members_n, 2);
    pass(1);
    ck_assert_uint_eq(g.members_n, 1);
}
END_TEST

START_TEST(none_is_back_and_the_wait_goes_on)
{
    settle(&(struct client *){ &s }, 1);
    s.in.session_timeout_ms = 1800000;
    ck_assert(!join(&a));
    ck_assert(join(&s));
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    pass(60000);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    pass(60000);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert(join(&s));
    ck_assert_int_eq(s.generation, 3);
}
END_TEST

/* The clock's thread must not be kept busy by it. */
START_TEST(none_is_back_and_the_rebalance_timeout_is_zero)
{
    settle((struct client *[]){ &s, &a }, 2);
    for (struct group_member *m = g.members; m != NULL; m = m->hh.next)
        m->rebalance_timeout_ms = 0;
    ck_assert_int_eq(leave(&a), KERR_NONE);
    pass(0);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(group_due(&g), now + 1000);
    pass(9999);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    pass(1);                            /* its session */
    ck_assert_int_eq(g.state, GROUP_EMPTY);
}
END_TEST

START_TEST(an_administrator_removes_it)
{
    settle(three, 3);
    ck_assert_int_eq(group_leave(&g, STR_LIT(""), STR_LIT("inst"), NULL_STR, now), KERR_NONE);
    leave_session();
    ck_assert_uint_eq(g.members_n, 2);
    ck_assert_int_eq(heartbeat(&s), KERR_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(group_leave(&g, STR_LIT(""), STR_LIT("inst"), NULL_STR, now), KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

/* It was still to fetch its assignment; the new one is not removed for what the former did not do. */
START_TEST(back_before_it_has_fetched_its_assignment)
{
    for (int i = 0; i < 3; i++) {
        three[i]->in.session_timeout_ms = 300000;
        ck_assert(!join(three[i]));
    }
    s2.in.session_timeout_ms = 300000;
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    struct client *leader = leader_of();
    if (leader == &s)
        return;
    ck_assert(!sync_group(leader == &a ? &b : &a));
    ck_assert(sync_leader(leader, three, 3));
    pass(59000);
    ck_assert(join(&s2));
    ck_assert_int_eq(s2.join_error, KERR_NONE);
    pass(100000);
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_uint_eq(g.members_n, 3);
}
END_TEST

/* ---- its new id is being written -------------------- */

START_TEST(the_former_id_stays_when_the_new_one_cannot_be_written)
{
    settle(three, 3);
    s2.in.session_timeout_ms = 20000;
    write_kerr = KERR_NOT_ENOUGH_REPLICAS;
    join_fails(&s2, KERR_COORDINATOR_NOT_AVAILABLE);
    ck_assert_str_eq(s2.fail_id, "");
    ck_assert_int_eq(s2.generation, 1);
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_int_eq(heartbeat(&s), KERR_NONE);
    ck_assert_int_eq(member_find(&g, str_of(s.id))->session_timeout_ms, 10000);
    ck_assert_uint_eq(g.members_n, 3);
}
END_TEST

static void hold_one(void)
{
    settle(three, 3);
    hold = true;
    ck_assert(!join(&s2));
    ck_assert_int_eq(held_n, 1);
}

START_TEST(answered_when_it_is_written)
{
    hold_one();
    pass(9999);
    ck_assert_int_eq(heartbeat(&a) + heartbeat(&b), 0);
    pass(8000);                         /* longer than its session: it waits for us */
    ck_assert_int_eq(g.state, GROUP_STABLE);
    written(KERR_NONE);
    ck_assert_int_eq(s2.join_error, KERR_NONE);
    pass(1999);
    ck_assert_int_eq(heartbeat(&a) + heartbeat(&b), 0);
    pass(8000);
    ck_assert_int_eq(g.state, GROUP_STABLE);
    pass(1);
    ck_assert_uint_eq(g.members_n, 2);
}
END_TEST

START_TEST(replaced_again_meanwhile)
{
    hold_one();
    ck_assert(!join(&s3));
    ck_assert_int_eq(s2.join_error, KERR_FENCED_INSTANCE_ID);
    ck_assert_int_eq(held_n, 2);
    written(_i == 0 ? KERR_NONE : KERR_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(s3.joins, 0);
    written(KERR_NONE);
    ck_assert_int_eq(s3.join_error, KERR_NONE);
    ck_assert_int_eq(heartbeat(&s3), KERR_NONE);
}
END_TEST

START_TEST(a_rebalance_begins_meanwhile)
{
    hold_one();
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    if (_i < 2) {
        written(_i == 0 ? KERR_NONE : KERR_NOT_ENOUGH_REPLICAS);
        ck_assert_int_eq(s2.joins, 0);  /* it waits for the next generation */
    }
    ck_assert(join(&b));
    ck_assert_int_eq(s2.join_error, KERR_NONE);
    ck_assert_int_eq(s2.generation, 2);
    if (_i >= 2)
        written(_i == 2 ? KERR_NONE : KERR_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(s2.joins, 1);
    ck_assert(str_is(member_find_static(&g, STR_LIT("inst"))->id, s2.id));
}
END_TEST

START_TEST(it_is_removed_meanwhile)
{
    hold_one();
    ck_assert_int_eq(group_leave(&g, STR_LIT(""), STR_LIT("inst"), NULL_STR, now), KERR_NONE);
    leave_session();
    ck_assert_int_eq(s2.join_error, KERR_UNKNOWN_MEMBER_ID);
    written(_i == 0 ? KERR_NONE : KERR_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(s2.joins, 1);
}
END_TEST

START_TEST(the_group_goes_meanwhile)
{
    hold_one();
    group_end(&g, KERR_NOT_COORDINATOR);
    ck_assert_int_eq(s2.join_error, KERR_NOT_COORDINATOR);
    group_written(&g, GROUP_WANTS_STATIC, 1, KERR_NONE, now);
    ck_assert_int_eq(s2.joins, 1);
}
END_TEST

START_TEST(the_write_of_an_unknown_generation_changes_nothing)
{
    hold_one();
    group_written(&g, GROUP_WANTS_STATIC, 77, KERR_NONE, now);
    ck_assert_int_eq(s2.joins, 0);
    group_written(&g, GROUP_WANTS_STATIC, 1, KERR_NONE, now);
    ck_assert_int_eq(s2.joins, 1);
    group_written(&g, GROUP_WANTS_STATIC, 1, KERR_NONE, now);
    held_n = 0;
}
END_TEST

int main(void)
{
    Suite *st = suite_create("broker/group/static");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(st);
    int failed;

    tcase_add_checked_fixture(t, setup, end);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ids_are_made_of_the_instance);
    tcase_add_loop_test(t, back_in_a_stable_group_without_a_rebalance, 0, 2);
    tcase_add_loop_test(t, a_leader_that_comes_back, 0, 2);
    tcase_add_test(t, back_with_other_metadata_in_a_stable_group);
    tcase_add_test(t, back_with_another_vote_in_a_stable_group);
    tcase_add_test(t, back_while_assignments_are_made);
    tcase_add_test(t, back_while_joining);
    tcase_add_test(t, it_keeps_its_place_when_it_does_not_join_again);
    tcase_add_test(t, none_is_back_and_the_wait_goes_on);
    tcase_add_test(t, none_is_back_and_the_rebalance_timeout_is_zero);
    tcase_add_test(t, an_administrator_removes_it);
    tcase_add_test(t, back_before_it_has_fetched_its_assignment);
    tcase_add_test(t, the_former_id_stays_when_the_new_one_cannot_be_written);
    tcase_add_test(t, answered_when_it_is_written);
    tcase_add_loop_test(t, replaced_again_meanwhile, 0, 2);
    tcase_add_loop_test(t, a_rebalance_begins_meanwhile, 0, 4);
    tcase_add_loop_test(t, it_is_removed_meanwhile, 0, 2);
    tcase_add_test(t, the_group_goes_meanwhile);
    tcase_add_test(t, the_write_of_an_unknown_generation_changes_nothing);
    suite_add_tcase(st, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
