/* tests/unit/broker/group/test_group_time.c - what a group does when time passes: the initial delay and its extension
 * (KIP-134), sessions, those who do not come back or do not fetch their assignment, promised ids; and timeouts at
 * the edge of what an integer holds.
 */
#include "tests/unit/broker/group/kit.h"

static struct client a, b, c, d;
static struct client *three[] = { &a, &b, &c };

static void setup(void)
{
    begin();
    client(&a, "a");
    client(&b, "b");
    client(&c, "c");
    client(&d, "d");
}

/* ---- the initial delay -------------------- */

static struct client many[10];

/* One more comes every second; gives back when the first generation is there. */
static int64_t first_generation(int comers)
{
    int64_t start = now;

    for (int i = 0; i < comers; i++) {
        client(&many[i], "m");
        many[i].in.rebalance_timeout_ms = a.in.rebalance_timeout_ms;
    }
    ck_assert(!join(&a));
    for (int i = 0; i < comers && g.generation == 0; i++) {
        pass(1000);
        if (g.generation == 0)
            ck_assert(!join(&many[i]));
    }
    while (g.generation == 0)
        pass(1);
    return now - start;
}

START_TEST(initial_delay_is_extended_while_newcomers_come)
{
    static const struct { int32_t timeout_ms; int comers; int64_t want_ms; } v[] = {
        { 60000, 0, 3000 },             /* nobody else */
        { 60000, 1, 6000 },             /* one: once more */
        { 60000, 2, 6000 },             /* the second within the first delay */
        { 60000, 3, 9000 },             /* the third at 3 s, just after it */
        { 60000, 9, 15000 },            /* the last at 9 s */
        { 10000, 9, 10000 },            /* 3 + 3 + 3 + what is left */
        { 7000, 9, 7000 },
        { 4000, 9, 4000 },
        { 3000, 9, 3000 },              /* nothing is left after the first */
        { 1000, 9, 3000 },              /* less than one delay: still one */
        { -5, 9, 3000 },
        { INT32_MIN, 9, 3000 },
        { INT32_MAX, 2, 6000 },
    };

    a.in.rebalance_timeout_ms = v[_i].timeout_ms;
    ck_assert_int_eq(first_generation(v[_i].comers), v[_i].want_ms);
}
END_TEST

START_TEST(a_group_that_was_used_waits_once_only)
{
    settle(&(struct client *){ &a }, 1);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    a.id[0] = '\0';
    ck_assert(!join(&a));
    pass(1000);
    ck_assert(!join(&b));               /* not the first generation: no extension */
    pass(1999);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    pass(1);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
}
END_TEST

START_TEST(no_delay_when_it_is_zero)
{
    limits.initial_delay_ms = 0;
    ck_assert(!join(&a));
    ck_assert_int_eq(group_due(&g), now);
    pass(0);
    ck_assert_int_eq(a.join_error, KERR_NONE);
}
END_TEST

START_TEST(all_gone_within_the_initial_delay)
{
    ck_assert(!join(&a));
    const char *id = g.members->id.p;
    snprintf(a.id, sizeof a.id, "%s", id);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(a.join_error, KERR_UNKNOWN_MEMBER_ID);
    ck_assert_str_eq(a.fail_id, "");
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    pass(3000);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(g.generation, 1);
    ck_assert_int_eq(record.members_n, 0);
}
END_TEST

/* ---- sessions -------------------- */

START_TEST(a_member_that_is_silent_is_removed)
{
    settle(three, 3);
    pass(5000);
    ck_assert_int_eq(heartbeat(&a), KERR_NONE);
    ck_assert_int_eq(heartbeat(&b), KERR_NONE);
    pass(4999);
    ck_assert_uint_eq(g.members_n, 3);
    pass(1);
    ck_assert_uint_eq(g.members_n, 2);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(heartbeat(&c), KERR_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(heartbeat(&a), KERR_REBALANCE_IN_PROGRESS);
    pass(9999);
    ck_assert_uint_eq(g.members_n, 1);  /* b's session had begun at 5 s */
    pass(1);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
}
END_TEST

START_TEST(commits_and_syncs_count_as_heartbeats)
{
    settle(three, 3);
    for (int i = 0; i < 5; i++) {
        pass(9000);
        ck_assert_int_eq(commit(&a), KERR_NONE);
        ck_assert_int_eq(heartbeat(&b), KERR_NONE);
        ck_assert(sync_group(&c));
    }
    ck_assert_uint_eq(g.members_n, 3);
    ck_assert_int_eq(g.state, GROUP_STABLE);
}
END_TEST

/* What does not belong to its generation must not keep a member alive. */
START_TEST(refused_requests_do_not_count)
{
    settle(&(struct client *){ &a }, 1);
    pass(9000);
    a.generation--;
    ck_assert_int_eq(heartbeat(&a), KERR_ILLEGAL_GENERATION);
    ck_assert_int_eq(commit(&a), KERR_ILLEGAL_GENERATION);
    ck_assert(sync_group(&a));
    a.generation++;
    ck_assert_int_eq(group_may_commit(&g, str_of(a.id), NULL_STR, a.generation, true, now), KERR_NONE);
    pass(1000);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
}
END_TEST

START_TEST(waiting_for_join_outlives_the_session)
{
    settle(three, 3);
    c.in.session_timeout_ms = 1000000;
    c.protocols[0].metadata.len--;
    ck_assert(!join(&c));               /* has other metadata: all must join */
    pass(9000);
    ck_assert_int_eq(heartbeat(&a), KERR_REBALANCE_IN_PROGRESS);
    ck_assert(!join(&b));
    pass(9000);
    ck_assert_int_eq(heartbeat(&a), KERR_REBALANCE_IN_PROGRESS);
    pass(9000);
    ck_assert_int_eq(heartbeat(&a), KERR_REBALANCE_IN_PROGRESS);
    ck_assert_uint_eq(g.members_n, 3);
    ck_assert(join(&a));
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    pass(9999);                         /* from here on all sessions count again */
    ck_assert_uint_eq(g.members_n, 3);
    pass(1);
    ck_assert_uint_eq(g.members_n, 1);
}
END_TEST

START_TEST(waiting_for_sync_outlives_the_session)
{
    for (int i = 0; i < 3; i++)
        ck_assert(!join(three[i]));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    struct client *leader = a.leads ? &a : b.leads ? &b : &c;
    for (int i = 0; i < 3; i++)
        if (three[i] != leader)
            ck_assert(!sync_group(three[i]));
    for (int i = 0; i < 5; i++) {
        pass(9000);
        ck_assert_int_eq(heartbeat(leader), KERR_NONE);
    }
    ck_assert_uint_eq(g.members_n, 3);
    ck_assert(sync_leader(leader, three, 3));
    pass(9999);
    ck_assert_uint_eq(g.members_n, 3);
    pass(1);
    ck_assert_uint_eq(g.members_n, 0);
}
END_TEST

/* ---- those who do not come back -------------------- */

START_TEST(who_does_not_join_again_in_time_is_removed)
{
    for (int i = 0; i < 3; i++)
        three[i]->in.session_timeout_ms = 300000;
    b.in.rebalance_timeout_ms = 70000;  /* the longest counts */
    settle(three, 3);
    ck_assert(!join(&d));
    pass(69999);
    ck_assert_uint_eq(g.members_n, 4);
    pass(1);
    ck_assert_uint_eq(g.members_n, 1);
    ck_assert_int_eq(d.join_error, KERR_NONE);
    ck_assert(d.leads);
    ck_assert_int_eq(d.generation, 2);
    ck_assert_int_eq(heartbeat(&a), KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(a_newcomer_waits_five_minutes_at_most)
{
    for (int i = 0; i < 3; i++) {
        three[i]->in.rebalance_timeout_ms = 600000;
        three[i]->in.session_timeout_ms = 1800000;
    }
    settle(three, 3);
    d.in.rebalance_timeout_ms = 600000;
    ck_assert(!join(&d));
    pass(299999);
    ck_assert_int_eq(d.joins, 0);
    pass(1);
    ck_assert_int_eq(d.join_error, KERR_UNKNOWN_MEMBER_ID);
    ck_assert_str_eq(d.fail_id, "");
    ck_assert_uint_eq(g.members_n, 3);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
}
END_TEST

START_TEST(who_does_not_fetch_its_assignment_is_removed)
{
    for (int i = 0; i < 3; i++) {
        three[i]->in.session_timeout_ms = 300000;
        ck_assert(!join(three[i]));
    }
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    struct client *leader = a.leads ? &a : b.leads ? &b : &c;
    struct client *lazy = leader == &c ? &a : &c;
    for (int i = 0; i < 3; i++)
        if (three[i] != leader && three[i] != lazy)
            ck_assert(!sync_group(three[i]));
    if (_i == 0)                        /* in STABLE; else in COMPLETING, and the leader is lazy as well */
        ck_assert(sync_leader(leader, three, 3));
    pass(59999);
    ck_assert_uint_eq(g.members_n, 3);
    pass(1);
    ck_assert_uint_eq(g.members_n, _i == 0 ? 2 : 1);
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    ck_assert_int_eq(heartbeat(lazy), KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(when_all_have_fetched_nobody_waits_for_them)
{
    for (int i = 0; i < 3; i++)
        three[i]->in.session_timeout_ms = 300000;
    settle(three, 3);
    ck_assert_int_eq(g.rebalance->sync_due_ms, NEVER);
    pass(200000);
    ck_assert_int_eq(g.state, GROUP_STABLE);
}
END_TEST

/* ---- promised ids -------------------- */

START_TEST(a_promised_id_is_kept_for_a_session)
{
    a.in.needs_member_id = true;
    join_fails(&a, KERR_MEMBER_ID_REQUIRED);
    pass(9999);
    ck_assert_int_eq(HASH_COUNT(g.rebalance->pending), 1);
    pass(1);
    ck_assert_int_eq(HASH_COUNT(g.rebalance->pending), 0);
    ck_assert_int_eq(group_due(&g), NEVER);
    join_fails(&a, KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(an_open_promise_holds_a_rebalance_up_until_its_end)
{
    settle(three, 3);
    d.in.needs_member_id = true;
    d.in.session_timeout_ms = 20000;
    join_fails(&d, KERR_MEMBER_ID_REQUIRED);
    for (int i = 0; i < 3; i++)
        three[i]->protocols[0].metadata.len = 3;
    for (int i = 0; i < 3; i++)
        ck_assert(!join(three[i]));
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    if (_i == 0)
        pass(20000);
    else if (_i == 1)
        ck_assert_int_eq(leave(&d), KERR_NONE);
    else
        ck_assert(join(&d));
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert_uint_eq(g.members_n, _i == 2 ? 4 : 3);
}
END_TEST

/* ---- numbers at their edge -------------------- */

START_TEST(the_longest_timeouts_do_not_wrap)
{
    limits.max_session_timeout_ms = INT32_MAX;
    limits.initial_delay_ms = _i == 0 ? 3000 : INT32_MAX;
    a.in.session_timeout_ms = a.in.rebalance_timeout_ms = INT32_MAX;
    b.in = a.in;
    ck_assert(!join(&a));
    ck_assert(!join(&b));
    ck_assert_int_eq(group_due(&g), now + (_i == 0 ? 3000 : 300000));
    if (_i == 1)
        return;
    pass(6000);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert_int_eq(g.rebalance->sync_due_ms, now + INT32_MAX);
    pass(INT32_MAX - 1);
    ck_assert_uint_eq(g.members_n, 2);
    pass(1);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
}
END_TEST

START_TEST(negative_rebalance_timeouts_are_zero)
{
    settle(three, 3);
    for (int i = 0; i < 3; i++) {
        three[i]->in.rebalance_timeout_ms = INT32_MIN;
        three[i]->protocols[0].metadata.len = (size_t)i;
    }
    ck_assert(!join(&a));
    ck_assert(!join(&b));
    pass(60000);                        /* still that of c and of the begin */
    ck_assert_int_eq(g.state, GROUP_EMPTY);
}
END_TEST

START_TEST(the_generation_after_the_last_is_the_first)
{
    settle(three, 3);
    g.generation = INT32_MAX;
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert(!join(&b));
    ck_assert(join(&c));
    ck_assert_int_eq(c.generation, 1);
}
END_TEST

/* However late the clock thread is, all that is due is done. */
START_TEST(a_late_tick_does_all_at_once)
{
    settle(three, 3);
    now += 10000000;
    group_tick(&g, now);
    leave_session();
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(group_due(&g), NEVER);
}
END_TEST

START_TEST(heartbeats_do_not_move_the_alarm)
{
    settle(three, 3);
    for (int i = 0; i < 1000; i++) {
        int64_t due = group_due(&g);

        now += 3;
        ck_assert_int_eq(heartbeat(three[i % 3]), KERR_NONE);
        ck_assert_int_eq(group_due(&g), due);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/time");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, end);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, initial_delay_is_extended_while_newcomers_come, 0, 13);
    tcase_add_test(t, a_group_that_was_used_waits_once_only);
    tcase_add_test(t, no_delay_when_it_is_zero);
    tcase_add_test(t, all_gone_within_the_initial_delay);
    tcase_add_test(t, a_member_that_is_silent_is_removed);
    tcase_add_test(t, commits_and_syncs_count_as_heartbeats);
    tcase_add_test(t, refused_requests_do_not_count);
    tcase_add_test(t, waiting_for_join_outlives_the_session);
    tcase_add_test(t, waiting_for_sync_outlives_the_session);
    tcase_add_test(t, who_does_not_join_again_in_time_is_removed);
    tcase_add_test(t, a_newcomer_waits_five_minutes_at_most);
    tcase_add_loop_test(t, who_does_not_fetch_its_assignment_is_removed, 0, 2);
    tcase_add_test(t, when_all_have_fetched_nobody_waits_for_them);
    tcase_add_test(t, a_promised_id_is_kept_for_a_session);
    tcase_add_loop_test(t, an_open_promise_holds_a_rebalance_up_until_its_end, 0, 3);
    tcase_add_loop_test(t, the_longest_timeouts_do_not_wrap, 0, 2);
    tcase_add_test(t, negative_rebalance_timeouts_are_zero);
    tcase_add_test(t, the_generation_after_the_last_is_the_first);
    tcase_add_test(t, a_late_tick_does_all_at_once);
    tcase_add_test(t, heartbeats_do_not_move_the_alarm);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
