/* tests/unit/broker/group/test_group_record.c - what a group has written, what follows when that fails or comes late,
 * what it becomes from a record; and which topics its members subscribe to.
 */
#include "tests/unit/broker/group/kit.h"

static struct client a, b, c;
static struct client *three[] = { &a, &b, &c };

static void setup(void)
{
    begin();
    client(&a, "a");
    client(&b, "b");
    client_static(&c, "c", "inst");
}

static void teardown(void)
{
    arena_fini(&record_arena);
    end();
}

static struct client *joined_all(void)
{
    for (int i = 0; i < 3; i++)
        ck_assert(!join(three[i]));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    return a.leads ? &a : b.leads ? &b : &c;
}

/* ---- writing -------------------- */

START_TEST(the_record_says_what_will_be)
{
    struct client *leader = joined_all();

    c.in.rebalance_timeout_ms = 60000;
    hold = true;
    ck_assert(!sync_leader(leader, three, 3));
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert(str_is(record.protocol_type, "consumer"));
    ck_assert(str_is(record.protocol, "range"));
    ck_assert(str_is(record.leader, leader->id));
    ck_assert_int_eq(record.generation, 1);
    ck_assert_int_eq(record.current_state_timestamp, g.state_since_ms);
    ck_assert_int_eq(record.members_n, 3);
    for (int i = 0; i < 3; i++) {
        struct group_metadata_value_member_metadata *m = &record.members[i];

        ck_assert(str_is(m->member_id, three[i]->id));
        ck_assert(str_is(m->client_id, three[i]->client_id));
        ck_assert(str_is(m->client_host, "/10.0.0.1"));
        ck_assert_int_eq(m->session_timeout, 10000);
        ck_assert_int_eq(m->rebalance_timeout, 60000);
        ck_assert_uint_eq(m->subscription.len, 4);
        ck_assert_uint_eq(m->assignment.len, 1);
        ck_assert_int_eq(m->assignment.p[0], three[i]->client_id[0]);
    }
    ck_assert_ptr_null(record.members[0].group_instance_id.p);
    ck_assert(str_is(record.members[2].group_instance_id, "inst"));
    written(KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_str_eq(leader->assignment, leader->client_id);
}
END_TEST

START_TEST(records_of_all_versions)
{
    settle(three, 3);
    g.rebalance->want = GROUP_WANTS_STATIC;
    take_record((int16_t)_i);
    held_n = 0;
    ck_assert_int_eq(record.members_n, 3);
    ck_assert(str_is(record.members[0].member_id, a.id));
    ck_assert((record.members[2].group_instance_id.p != NULL) == (_i >= 3));
    ck_assert_int_eq(record.members[0].rebalance_timeout, _i >= 1 ? 60000 : -1);
    ck_assert_int_eq(record.current_state_timestamp, _i >= 2 ? g.state_since_ms : -1);
}
END_TEST

START_TEST(assignments_that_cannot_be_written)
{
    static const struct { int16_t append, told; } v[] = {
        { KERR_UNKNOWN_TOPIC_OR_PARTITION, KERR_COORDINATOR_NOT_AVAILABLE },
        { KERR_NOT_ENOUGH_REPLICAS, KERR_COORDINATOR_NOT_AVAILABLE },
        { KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, KERR_COORDINATOR_NOT_AVAILABLE },
        { KERR_NOT_LEADER_OR_FOLLOWER, KERR_NOT_COORDINATOR },
        { KERR_KAFKA_STORAGE_ERROR, KERR_NOT_COORDINATOR },
        { KERR_REQUEST_TIMED_OUT, KERR_REBALANCE_IN_PROGRESS },
        { KERR_MESSAGE_TOO_LARGE, KERR_UNKNOWN_SERVER_ERROR },
        { KERR_RECORD_LIST_TOO_LARGE, KERR_UNKNOWN_SERVER_ERROR },
        { KERR_INVALID_FETCH_SIZE, KERR_UNKNOWN_SERVER_ERROR },
        { KERR_CORRUPT_MESSAGE, KERR_CORRUPT_MESSAGE },
        { KERR_UNKNOWN_SERVER_ERROR, KERR_UNKNOWN_SERVER_ERROR },
    };
    struct client *leader = joined_all(), *other = leader == &a ? &b : &a;

    ck_assert(!sync_group(other));
    hold = true;
    ck_assert(!sync_leader(leader, three, 3));
    written(v[_i].append);
    ck_assert_int_eq(leader->sync_error, v[_i].told);
    ck_assert_int_eq(other->sync_error, v[_i].told);
    ck_assert_str_eq(leader->assignment, "");
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    for (struct group_member *m = g.members; m != NULL; m = m->hh.next)
        ck_assert(m->assignment.p == NULL && m->next_assignment.p == NULL);
}
END_TEST

START_TEST(a_rebalance_begins_while_assignments_are_written)
{
    struct client *leader = joined_all(), *other = leader == &a ? &b : &a;

    hold = true;
    ck_assert(!sync_leader(leader, three, 3));
    ck_assert_int_eq(leave(other), KERR_NONE);
    ck_assert_int_eq(leader->sync_error, KERR_REBALANCE_IN_PROGRESS);
    for (int i = 0; i < 3; i++)
        if (three[i] != other)
            join(three[i]);
    ck_assert_int_eq(g.generation, 2);
    struct client *second = g.leader == member_find(&g, str_of(leader->id)) ? leader : NULL;
    ck_assert_ptr_nonnull(second);
    if (_i == 0) {
        written(KERR_NONE);             /* late, of generation 1 */
        ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    }
    leader->syncs = 0;
    ck_assert(!sync_leader(leader, three, 3));
    ck_assert_int_eq(record.generation, 2);
    ck_assert_int_eq(record.members_n, 2);
    if (_i == 1) {
        written(KERR_NOT_ENOUGH_REPLICAS);
        ck_assert_int_eq(leader->syncs, 0);
    }
    written(KERR_NONE);
    ck_assert_int_eq(leader->sync_error, KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_STABLE);
}
END_TEST

START_TEST(the_leader_asks_twice)
{
    struct client *leader = joined_all(), again = *leader;

    hold = true;
    ck_assert(!sync_leader(leader, three, 3));
    ck_assert(!sync_leader(&again, three, 1));
    ck_assert_int_eq(leader->sync_error, KERR_REBALANCE_IN_PROGRESS);
    ck_assert_int_eq(held_n, 1);
    written(KERR_NONE);
    ck_assert_str_eq(again.assignment, leader->client_id);
    ck_assert_int_eq(again.sync_error, KERR_NONE);
}
END_TEST

START_TEST(who_is_not_mentioned_gets_nothing)
{
    struct client *leader = joined_all();
    struct sync_assignment v[] = { { str_of(a.id), { (const uint8_t *)"first", 5 } },
                                   { STR_LIT("nobody"), { (const uint8_t *)"x", 1 } },
                                   { STR_LIT(""), { (const uint8_t *)"x", 1 } },
                                   { str_of(a.id), { (const uint8_t *)"second", 6 } } };

    for (int i = 0; i < 3; i++)
        if (three[i] != leader)
            ck_assert(!sync_group(three[i]));
    ck_assert(sync_with(leader, v, 4));
    ck_assert_str_eq(a.assignment, "second");
    ck_assert_str_eq(b.assignment, "");
    ck_assert_int_eq(b.sync_error, KERR_NONE);
    ck_assert_int_eq(record.members_n, 3);
}
END_TEST

START_TEST(that_it_is_empty_cannot_be_written)
{
    settle((struct client *[]){ &a }, 1);
    write_kerr = KERR_NOT_ENOUGH_REPLICAS;
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(group_want(&g), GROUP_WANTS_NOTHING);
}
END_TEST

/* ---- the same member from two connections -------------------- */

START_TEST(nobody_hangs_when_a_member_asks_twice)
{
    struct client again;

    settle(three, 3);
    a.protocols[0].metadata.len = 1;
    ck_assert(!join(&a));
    again = a;
    again.in.protocols = again.protocols;
    ck_assert(!join(&again));
    ck_assert_int_eq(a.join_error, KERR_REBALANCE_IN_PROGRESS);
    ck_assert(!join(&b));
    ck_assert(join(&c));
    ck_assert_int_eq(again.join_error, KERR_NONE);
    ck_assert_int_eq(a.join_error, KERR_REBALANCE_IN_PROGRESS);
    struct client *follower = b.leads ? &c : &b, second = *follower;
    ck_assert(!sync_group(follower));
    ck_assert(!sync_group(&second));
    ck_assert_int_eq(follower->sync_error, KERR_REBALANCE_IN_PROGRESS);
    ck_assert_int_eq(leave(follower), KERR_NONE);
    ck_assert_int_eq(second.sync_error, KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

/* ---- from the log -------------------- */

static struct group_metadata_value_member_metadata from_log[3];

static struct group_metadata_value value_of(int n)
{
    struct group_metadata_value v;
    static char names[3][2] = { "x", "y", "z" };

    group_metadata_value_init(&v);
    v.protocol_type = STR_LIT("consumer");
    v.protocol = STR_LIT("range");
    v.leader = STR_LIT("y");
    v.generation = 7;
    v.current_state_timestamp = 1234;
    v.members = from_log;
    v.members_n = n;
    for (int i = 0; i < 3; i++) {
        group_metadata_value_member_metadata_init(&from_log[i]);
        from_log[i].member_id = str_of(names[i]);
        from_log[i].client_id = STR_LIT("client");
        from_log[i].client_host = STR_LIT("/127.0.0.1");
        from_log[i].session_timeout = 10000;
        from_log[i].rebalance_timeout = 60000;
        from_log[i].subscription = (struct bytes){ (const uint8_t *)"meta", 4 };
        from_log[i].assignment = (struct bytes){ (const uint8_t *)names[i], 1 };
    }
    return v;
}

START_TEST(stable_from_the_log)
{
    struct group_metadata_value v = value_of(3);
    const struct group_member *pos = NULL;
    struct group_member_view m;

    from_log[2].group_instance_id = STR_LIT("inst");
    ok(group_restore(&g, &v, now));
    ok(group_restore(&g, &v, now));     /* the last record counts */
    kit_check();
    ck_assert_int_eq(g.state, GROUP_STABLE);
    ck_assert_int_eq(g.generation, 7);
    ck_assert_int_eq(g.state_since_ms, 1234);
    ck_assert(str_is(g.leader->id, "y"));
    ck_assert(group_next_member(&g, &pos, &m));
    ck_assert(str_is(m.member_id, "x"));
    ck_assert_uint_eq(m.metadata.len, 4);
    ck_assert_uint_eq(m.assignment.len, 1);
    ck_assert_int_eq(group_heartbeat(&g, STR_LIT("x"), NULL_STR, 7, now), KERR_NONE);
    ck_assert_int_eq(group_heartbeat(&g, STR_LIT("z"), STR_LIT("inst"), 7, now), KERR_NONE);
    snprintf(a.id, sizeof a.id, "x");
    ck_assert(join(&a));                /* the same metadata: goes on */
    ck_assert_int_eq(a.join_error, KERR_NONE);
    ck_assert_int_eq(a.generation, 7);
    ck_assert(sync_group(&a));
    ck_assert_str_eq(a.assignment, "x");
    pass(10000);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(g.generation, 8);
}
END_TEST

START_TEST(empty_from_the_log)
{
    struct group_metadata_value v = value_of(0);

    v.protocol = v.leader = NULL_STR;
    if (_i == 1)
        v.protocol_type = STR_LIT("");
    ok(group_restore(&g, &v, now));
    kit_check();
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(g.generation, 7);
    ck_assert((g.protocol_type.p == NULL) == (_i == 1));
    ck_assert_int_eq(group_due(&g), NEVER);
    ck_assert(!join(&a));
    pass(3000);
    ck_assert_int_eq(a.generation, 8);
}
END_TEST

START_TEST(odd_records)
{
    struct group_metadata_value v = value_of(3);
    int want = OK;

    switch (_i) {
    case 0: v.leader = STR_LIT("nobody"); break;
    case 1: v.leader = NULL_STR; break;
    case 2: from_log[0].rebalance_timeout = -1; break;
    case 3: from_log[0].session_timeout = INT32_MIN; break;
    case 4: v.generation = -100; break;
    case 5: from_log[0].session_timeout = from_log[0].rebalance_timeout = INT32_MAX; break;
    case 6: v.protocol = NULL_STR; want = ERR_CORRUPT; break;
    case 7: from_log[1].member_id = STR_LIT("x"); want = ERR_CORRUPT; break;
    case 8: from_log[0].group_instance_id = from_log[1].group_instance_id = STR_LIT("i"); want = ERR_CORRUPT; break;
    default: from_log[1].member_id = STR_LIT(""); want = ERR_CORRUPT; break;
    }
    ck_assert_int_eq(group_restore(&g, &v, now), want);
    kit_check();
    ck_assert_int_eq(g.state, want == OK ? GROUP_STABLE : GROUP_EMPTY);
    if (want == OK && _i < 2)
        ck_assert(str_is(g.leader->id, "x"));
    if (_i == 2)
        ck_assert_int_eq(member_find(&g, STR_LIT("x"))->rebalance_timeout_ms, 10000);
    pass(60000);
    if (_i == 4)
        ck_assert_int_eq(g.generation, 1);
}
END_TEST

START_TEST(too_many_from_the_log)
{
    struct group_metadata_value v = value_of(3);

    limits.max_size = 2;
    ok(group_restore(&g, &v, now));
    kit_check();
    ck_assert_int_eq(g.state, GROUP_PREPARING_REBALANCE);
    for (int i = 0; i < 3; i++) {
        struct client *cl = three[i];

        cl->in.instance_id = NULL_STR;
        snprintf(cl->id, sizeof cl->id, "%.*s", STR_ARG(from_log[i].member_id));
        join(cl);
    }
    ck_assert_int_eq(c.join_error, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert_str_eq(c.fail_id, "");
    ck_assert_int_eq(a.join_error, KERR_NONE);
    ck_assert_int_eq(b.join_error, KERR_NONE);
    ck_assert_uint_eq(g.members_n, 2);
}
END_TEST

/* ---- topics -------------------- */

static const uint8_t topics_ab[] = { 0, 1, 0, 0, 0, 2, 0, 1, 'a', 0, 2, 'b', 'b', 255, 255, 255, 255, 9, 9, 9 };
static const uint8_t topics_c[] = { 0, 0, 0, 0, 0, 1, 0, 1, 'c', 0, 0, 0, 1, 7 };
static const uint8_t topics_none[] = { 0, 3, 0, 0, 0, 0, 255, 255, 255, 255 };
static const uint8_t bad_version[] = { 255, 255, 0, 0, 0, 0, 255, 255, 255, 255 };
static const uint8_t bad_count[] = { 0, 0, 0x7f, 255, 255, 255, 0, 1, 'a' };
static const uint8_t bad_end[] = { 0, 0, 0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 9 };

#define BYTES(x) ((struct bytes){ (x), sizeof(x) })

START_TEST(topics_of_members)
{
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("a")), GROUP_SUBSCRIBES_UNKNOWN);
    a.protocols[0].metadata = BYTES(topics_ab);
    b.protocols[0].metadata = BYTES(topics_c);
    c.protocols[0].metadata = BYTES(topics_none);
    ck_assert(!join(&a));
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("a")), GROUP_SUBSCRIBES_UNKNOWN);     /* nothing chosen yet */
    ck_assert(!join(&b));
    ck_assert(!join(&c));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(group_subscribes(&g, STR_LIT("a")), GROUP_SUBSCRIBES_YES);
        ck_assert_int_eq(group_subscribes(&g, STR_LIT("bb")), GROUP_SUBSCRIBES_YES);
        ck_assert_int_eq(group_subscribes(&g, STR_LIT("b")), GROUP_SUBSCRIBES_NO);
        ck_assert_int_eq(group_subscribes(&g, STR_LIT("c")), GROUP_SUBSCRIBES_YES);
        ck_assert_int_eq(group_subscribes(&g, STR_LIT("")), GROUP_SUBSCRIBES_NO);
    }
    ck_assert_int_eq(leave(&b), KERR_NONE);
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("c")), GROUP_SUBSCRIBES_NO);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_int_eq(leave(&c), KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("a")), GROUP_SUBSCRIBES_NO);
}
END_TEST

START_TEST(topics_that_cannot_be_read)
{
    const struct bytes v[] = { BYTES(bad_version), BYTES(bad_count), BYTES(bad_end), { (const uint8_t *)"", 0 },
                               { bad_end, 1 } };

    a.protocols[0].metadata = BYTES(topics_ab);
    b.protocols[0].metadata = v[_i];
    settle((struct client *[]){ &a, &b }, 2);
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("zzz")), GROUP_SUBSCRIBES_UNKNOWN);
    ck_assert_int_eq(leave(&b), KERR_NONE);
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("zzz")), GROUP_SUBSCRIBES_NO);
}
END_TEST

START_TEST(topics_of_other_types)
{
    a.in.protocol_type = STR_LIT("connect");
    a.protocols[0].metadata = BYTES(topics_ab);
    settle((struct client *[]){ &a }, 1);
    ck_assert_int_eq(group_subscribes(&g, STR_LIT("zzz")), GROUP_SUBSCRIBES_UNKNOWN);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/record");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_record_says_what_will_be);
    tcase_add_loop_test(t, records_of_all_versions, 0, 5);
    tcase_add_loop_test(t, assignments_that_cannot_be_written, 0, 11);
    tcase_add_loop_test(t, a_rebalance_begins_while_assignments_are_written, 0, 2);
    tcase_add_test(t, the_leader_asks_twice);
    tcase_add_test(t, who_is_not_mentioned_gets_nothing);
    tcase_add_test(t, that_it_is_empty_cannot_be_written);
    tcase_add_test(t, nobody_hangs_when_a_member_asks_twice);
    tcase_add_test(t, stable_from_the_log);
    tcase_add_loop_test(t, empty_from_the_log, 0, 2);
    tcase_add_loop_test(t, odd_records, 0, 10);
    tcase_add_test(t, too_many_from_the_log);
    tcase_add_test(t, topics_of_members);
    tcase_add_loop_test(t, topics_that_cannot_be_read, 0, 5);
    tcase_add_test(t, topics_of_other_types);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
