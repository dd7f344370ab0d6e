/* tests/unit/broker/controller/test_reassign.c - replicas that move and leaders that go home, with brokers that only
 * note what they are told; and a controller that may end after any of its writes.
 */
#include "tests/unit/broker/cluster_asks.h"

#define SEED_ENV "KLAMM_TEST_SEED"

static struct cluster cl;

static void setup(void)
{
    cluster_new(&cl, 6, "auto.leader.rebalance.enable=false");
}

static void teardown(void)
{
    cluster_stop(&cl);
    cluster_end(&cl);
}

/* ---- looking ---- */

static void make_topic(int32_t partitions, const int32_t *ids, int32_t n)
{
    struct topic_op_assignment as[PARTITIONS_MAX];
    struct topic_op_topic t = { .name = STR_LIT("t"), .partitions = -1, .replication = -1, .assignments = as,
                                .assignments_n = partitions };
    struct kit_op ko = { .done = false };

    for (int32_t i = 0; i < partitions; i++)
        as[i] = (struct topic_op_assignment){ i, ids, n };
    kit_op_run(&cl.kit, &ko, TOPIC_OP_CREATE, &t, 1, PATIENT_MS);
    ck_assert_int_eq(t.error, KERR_NONE);
    kit_op_end(&ko);
}

/* The node of the topic without its id. */
static void topic_node(char out[1024])
{
    char *text = kit_node(&cl.kit, "/brokers/topics/t"), *id;

    ck_assert_ptr_nonnull(text);
    snprintf(out, 1024, "%s", text);
    free(text);
    id = strstr(out, "\"topic_id\"");
    ck_assert_ptr_nonnull(id);
    memmove(id, strchr(id, ',') + 1, strlen(strchr(id, ',')));
}

static void check_topic(const char *want)
{
    char got[1024];

    topic_node(got);
    ck_assert_str_eq(got, want);
}

static void wait_node(const char *part)
{
    int64_t until = mono_ms() + 60000;
    char got[1024] = "";

    while (strstr(got, part) == NULL) {
        topic_node(got);
        ck_assert_msg(mono_ms() < until, "the topic's node does not get %s: %s", part, got);
    }
}

static bool settled(void)
{
    char got[1024];

    topic_node(got);
    return strstr(got, "\"adding_replicas\":{},\"removing_replicas\":{}") != NULL;
}

static void wait_settled(void)
{
    int64_t until = mono_ms() + 60000;

    while (!settled()) {
        for (int32_t i = 0; i < PARTITIONS_MAX; i++)
            (void)cluster_expand(&cl, i);
        ck_assert_msg(mono_ms() < until, "the move does not end");
    }
}

static void wait_host(int32_t id, bool log)
{
    int64_t until = mono_ms() + 60000;
    bool is = !log;

    while (is != log) {
        lock_take(&cl.lock);
        is = cl.host[id][0].log;
        lock_drop(&cl.lock);
        ck_assert_msg(mono_ms() < until, "broker %d %s", id, log ? "has no log" : "still has its log");
    }
}

static void check_state(int32_t leader, int32_t isr_n)
{
    struct arena a;
    struct znode_state s;
    int32_t version;

    arena_init(&a, 1 << 20);
    ck_assert(cluster_state(&cl, &a, 0, &s, &version));
    if (leader >= 0)
        ck_assert_int_eq(s.leader, leader);
    ck_assert_int_eq(s.isr.n, isr_n);
    arena_fini(&a);
}

static void wait_isr(int32_t n)
{
    int64_t until = mono_ms() + 60000;
    struct arena a;
    struct znode_state s = { .isr.n = -1 };
    int32_t version;

    arena_init(&a, 1 << 20);
    while (s.isr.n != n) {
        ck_assert(cluster_state(&cl, &a, 0, &s, &version));
        ck_assert_msg(mono_ms() < until, "the ISR has %d replicas", s.isr.n);
        arena_reset(&a);
    }
    arena_fini(&a);
}

/* Writes the topic's node as a tool of 2.7 would, and waits until it has its id again. */
static void drop_id(const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int64_t until = mono_ms() + 60000;
    bool back = false;

    store_set(call, "/brokers/topics/t", (struct bytes){ (const uint8_t *)text, strlen(text) }, STORE_ANY_VERSION);
    ck_assert_int_eq(store_run(cl.kit.store, call), OK);
    store_call_free(&call);
    while (!back) {
        char *now = kit_node(&cl.kit, "/brokers/topics/t");

        back = strstr(now, "\"topic_id\"") != NULL;
        free(now);
        ck_assert_msg(mono_ms() < until, "the topic does not get its id back");
    }
}

/* It leaves StopReplica until cluster_hurry(). */
static void make_slow(int32_t id)
{
    lock_take(&cl.lock);
    cl.slow[id] = true;
    lock_drop(&cl.lock);
}

static struct hosted host(int32_t id)
{
    struct hosted h;

    lock_take(&cl.lock);
    h = cl.host[id][0];
    lock_drop(&cl.lock);
    return h;
}

static int32_t moving_count(void)
{
    struct list_partition_reassignments_request req = { .topics_n = -1 };
    struct list_partition_reassignments_response resp;
    struct cluster_ask ca;
    int32_t n = 0;

    list_partition_reassignments_response_init(&resp);
    cluster_ask_run(&cl, &ca, ASK_LIST_REASSIGNMENTS, 0, &req, &resp);
    for (int32_t i = 0; i < resp.topics_n; i++)
        n += resp.topics[i].partitions_n;
    cluster_ask_end(&ca);
    return n;
}

#define IDS(...) ((int32_t[]){ __VA_ARGS__ })
#define IDS_N(...) IDS(__VA_ARGS__), (int32_t)(sizeof IDS(__VA_ARGS__) / sizeof(int32_t))
#define MOVE(...) cluster_reassign(&cl, "t", 0, IDS_N(__VA_ARGS__))

/* ---- moves ---- */

START_TEST(the_replication_factor_grows)
{
    make_topic(1, IDS_N(1));
    ck_assert_int_eq(MOVE(1, 2), KERR_NONE);
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{\"0\":[2]},\"removing_replicas\":{},"
                "\"version\":3}");
    ck_assert_int_eq(moving_count(), 1);
    ck_assert(host(2).log && host(2).was_new && host(2).adding_n == 1);
    ck_assert(!host(1).was_new && host(1).replicas_n == 2);
    ck_assert_int_eq(host(1).leader_epoch, 1);
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    check_state(1, 2);
    ck_assert_int_eq(moving_count(), 0);
    ck_assert_int_eq(MOVE(1, 2), KERR_NONE);            /* there already */
}
END_TEST

START_TEST(all_replicas_move)
{
    make_topic(1, IDS_N(1, 2, 3));
    ck_assert_int_eq(MOVE(4, 5, 6), KERR_NONE);
    check_topic("{\"partitions\":{\"0\":[4,5,6,1,2,3]},\"adding_replicas\":{\"0\":[4,5,6]},"
                "\"removing_replicas\":{\"0\":[1,2,3]},\"version\":3}");
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[4,5,6]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    check_state(4, 3);
    for (int32_t id = 1; id <= 3; id++)
        wait_host(id, false);
    ck_assert(host(4).full && host(5).full && host(6).full);
    ck_assert_int_eq(host(4).replicas_n, 3);
    ck_assert_int_eq(host(4).adding_n + host(4).removing_n, 0);
}
END_TEST

START_TEST(a_move_is_cancelled_or_replaced)
{
    make_topic(1, IDS_N(1, 2, 3));
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_NO_REASSIGNMENT_IN_PROGRESS);
    ck_assert_int_eq(MOVE(1, 2, 4), KERR_NONE);
    ck_assert(host(4).log);
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_NONE);
    check_topic("{\"partitions\":{\"0\":[1,2,3]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    wait_host(4, false);
    ck_assert_int_eq(MOVE(4, 5, 1), KERR_NONE);
    ck_assert_int_eq(MOVE(5, 6, 1), KERR_NONE);
    check_topic("{\"partitions\":{\"0\":[5,6,1,2,3]},\"adding_replicas\":{\"0\":[5,6]},"
                "\"removing_replicas\":{\"0\":[2,3]},\"version\":3}");
    wait_host(4, false);
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[5,6,1]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    check_state(1, 3);                                  /* who leads is a target: it stays */
}
END_TEST

static void check_isr_is(int32_t id)
{
    struct arena a;
    struct znode_state s;
    int32_t version;

    arena_init(&a, 1 << 20);
    ck_assert(cluster_state(&cl, &a, 0, &s, &version));
    ck_assert(s.isr.n == 1 && s.isr.v[0] == id);
    arena_fini(&a);
}

/* What the move was adding is all that has the records by now: it is not deleted, whatever is asked for. */
START_TEST(the_last_replica_in_sync_is_not_given_up)
{
    static const char *const moving = "{\"partitions\":{\"0\":[3,2,1]},\"adding_replicas\":{\"0\":[3]},"
                                      "\"removing_replicas\":{\"0\":[1]},\"version\":3}";

    make_topic(1, IDS_N(1, 2));
    cluster_unregister(&cl, 2);
    wait_isr(1);
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3,2]}]}");
    wait_host(3, true);
    ck_assert(cluster_expand(&cl, 0));                  /* 1 and 3 */
    cluster_unregister(&cl, 1);
    wait_isr(1);
    check_isr_is(3);
    check_topic(moving);
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(MOVE(4, 5), KERR_INVALID_REPLICA_ASSIGNMENT);
    check_topic(moving);
    check_state(3, 1);
    ck_assert(host(3).log && host(3).full);
    ck_assert_int_eq(moving_count(), 1);
    cluster_register(&cl, 2);                           /* it ends as it was begun */
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[3,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    ck_assert(host(2).full && host(3).full);
}
END_TEST

/* As if somebody else had written it. */
static void write_state(int32_t leader, int32_t *isr, int32_t n)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct znode_state s;
    int32_t version;
    char *text;

    ck_assert(cluster_state(&cl, &call->arena, 0, &s, &version));
    s.leader = leader;
    s.isr = (struct znode_replicas){ isr, n };
    text = znode_state_write(&s);
    store_set(call, zpath_state(STR_LIT("t"), 0).z, (struct bytes){ (uint8_t *)text, strlen(text) }, version);
    ck_assert_int_eq(store_run(cl.kit.store, call), OK);
    store_call_free(&call);
    free(text);
}

/* Nor is it given up because there is another in sync that cannot lead: it is not assigned. */
START_TEST(who_is_not_assigned_is_not_enough)
{
    make_topic(1, IDS_N(1, 2));
    cluster_unregister(&cl, 2);
    wait_isr(1);
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[4,2]}]}");
    wait_host(4, true);
    ck_assert(cluster_expand(&cl, 0));                  /* 1 and 4 */
    write_state(1, IDS_N(1, 5, 4));
    cluster_unregister(&cl, 1);
    wait_isr(2);
    check_state(4, 2);                                  /* 5 and 4 */
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert(host(4).log && host(4).full);
}
END_TEST

/* The leader has made its ISR smaller by itself, and nobody has heard of it (inter.broker.protocol.version < 2.7-IV2):
 * the log stays, and can be had back. */
START_TEST(the_last_log_is_not_deleted)
{
    make_topic(1, IDS_N(1, 2));
    cluster_unregister(&cl, 2);
    wait_isr(1);
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3,2]}]}");
    wait_host(3, true);
    ck_assert(cluster_expand(&cl, 0));                  /* 1 and 3 */
    write_state(3, IDS_N(3));
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_NONE);
    check_isr_is(3);
    ck_assert_int_eq(moving_count(), 0);
    ck_assert(host(3).log && host(3).full);
    ck_assert_int_eq(MOVE(3, 1), KERR_NONE);
    ck_assert_int_eq(cluster_elect(&cl, "t", 0, 0), KERR_NONE);
    check_state(3, 1);
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[3,1]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    check_state(3, 2);
    ck_assert(host(3).full && host(1).full);
}
END_TEST

/* The topic's node is one for all partitions: what is written for one that has arrived must not tell that another has,
 * whose old replica is still to be deleted. A controller that ends then would leave its log for ever. */
START_TEST(a_move_that_waits_is_not_written_with_another)
{
    make_topic(2, IDS_N(1, 2));
    make_slow(2);
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    ck_assert(cluster_expand(&cl, 0));
    ck_assert_int_eq(cluster_reassign(&cl, "t", 1, IDS_N(2, 3)), KERR_NONE);
    ck_assert(cluster_expand(&cl, 1));
    wait_node("\"1\":[2,3]}");
    check_topic("{\"partitions\":{\"0\":[1,3,2],\"1\":[2,3]},\"adding_replicas\":{\"0\":[3]},"
                "\"removing_replicas\":{\"0\":[2]},\"version\":3}");
    ck_assert(host(2).log);
    cluster_stop(&cl);
    cluster_start(&cl, -1);
    wait_settled();
    wait_host(2, false);
    check_topic("{\"partitions\":{\"0\":[1,3],\"1\":[2,3]},\"adding_replicas\":{},\"removing_replicas\":{},"
                "\"version\":3}");
}
END_TEST

/* ... nor is it written by who gives the topic its id back. */
START_TEST(a_move_that_waits_is_not_written_with_the_id)
{
    static const char *const moving = "{\"partitions\":{\"0\":[1,3,2],\"1\":[1,2]},\"adding_replicas\":{\"0\":[3]},"
                                      "\"removing_replicas\":{\"0\":[2]},\"version\":3}";

    make_topic(2, IDS_N(1, 2));
    make_slow(2);
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    ck_assert(cluster_expand(&cl, 0));
    while (moving_count() > 0)
        ;
    drop_id(moving);
    check_topic(moving);
    cluster_hurry(&cl, 2);
    wait_settled();
    ck_assert(!host(2).log);
}
END_TEST

/* The broker from which a replica is being taken is to have one again. */
START_TEST(a_move_goes_back_while_the_old_log_is_deleted)
{
    int64_t until = mono_ms() + 60000;

    make_topic(1, IDS_N(1, 2));
    make_slow(2);
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    ck_assert(cluster_expand(&cl, 0));
    while (moving_count() > 0)
        ;
    ck_assert_int_eq(MOVE(1, 2), KERR_NONE);
    check_topic("{\"partitions\":{\"0\":[1,2,3]},\"adding_replicas\":{\"0\":[2]},\"removing_replicas\":{\"0\":[3]},"
                "\"version\":3}");
    cluster_hurry(&cl, 2);
    wait_host(2, true);
    wait_settled();
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    wait_host(3, false);
    ck_assert(host(2).log && host(2).full);
    /* It counts as one that lives: it is told when it comes back. */
    cluster_unregister(&cl, 2);
    wait_isr(1);
    lock_take(&cl.lock);
    cl.host[2][0].leader = -1;
    lock_drop(&cl.lock);
    cluster_register(&cl, 2);
    while (host(2).leader != 1)
        ck_assert_msg(mono_ms() < until, "broker 2 is not told to follow");
}
END_TEST

/* To 3; 2 has its log still. */
static void move_from_2_that_is_down(void)
{
    make_topic(1, IDS_N(1, 2));
    cluster_unregister(&cl, 2);
    wait_isr(1);
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    wait_settled();
    ck_assert(host(2).log);
}

/* Its broker is down when a replica is taken away: nobody waits for it, and it is told when it is back. */
START_TEST(who_was_down_deletes_its_log_when_it_is_back)
{
    move_from_2_that_is_down();
    check_topic("{\"partitions\":{\"0\":[1,3]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
    cluster_register(&cl, 2);
    wait_host(2, false);
    ck_assert(host(1).log && host(3).log);
    ck_assert_int_eq(MOVE(1, 2), KERR_NONE);            /* it is a broker like any other */
    wait_settled();
    wait_host(3, false);
    ck_assert(host(2).log && host(2).full);
}
END_TEST

/* It registers other listeners, and the channel goes on which it was told. */
START_TEST(who_changes_its_listeners_deletes_its_log)
{
    struct store_call *call = store_call_new(NULL, NULL);
    char *text, *port;

    make_topic(1, IDS_N(1, 2));
    make_slow(2);
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    ck_assert(cluster_expand(&cl, 0));
    while (moving_count() > 0)
        ;
    ck_assert(host(2).log && !settled());
    text = kit_node(&cl.kit, zpath_broker(2).z);
    while ((port = strstr(text, "9092")) != NULL)
        *port = '8';
    store_set(call, zpath_broker(2).z, (struct bytes){ (uint8_t *)text, strlen(text) }, STORE_ANY_VERSION);
    ck_assert_int_eq(store_run(cl.kit.store, call), OK);
    store_call_free(&call);
    free(text);
    wait_settled();
    wait_host(2, false);
}
END_TEST

/* ... so with what a move has begun to add that was cancelled while it was down. */
START_TEST(who_was_down_deletes_what_is_not_wanted_any_more)
{
    make_topic(1, IDS_N(1, 2));
    ck_assert_int_eq(MOVE(1, 3), KERR_NONE);
    ck_assert(host(3).log);
    cluster_unregister(&cl, 3);
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, NULL, 0), KERR_NONE);
    wait_settled();
    ck_assert(host(3).log);
    cluster_register(&cl, 3);
    wait_host(3, false);
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
}
END_TEST

/* A later move has given it the replica back before. */
START_TEST(who_was_down_keeps_what_is_wanted_again)
{
    move_from_2_that_is_down();
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, IDS_N(1, 2)), KERR_INVALID_REPLICA_ASSIGNMENT);   /* it is down */
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[1,2]}]}");
    wait_node("\"adding_replicas\":{\"0\":[2]}");
    ck_assert_int_eq(moving_count(), 1);
    cluster_register(&cl, 2);
    wait_settled();
    wait_host(3, false);
    ck_assert(host(2).log && host(2).full);
    ck_assert_int_eq(host(2).leader, 1);
}
END_TEST

/* The topic goes while the broker is down that it was moved away from: its deletion does not wait. */
START_TEST(a_topics_deletion_does_not_wait_for_who_had_it_before)
{
    move_from_2_that_is_down();
    cluster_unregister(&cl, 3);
    wait_isr(1);
    ck_assert_int_eq(kit_delete(&cl.kit, "t", 0), KERR_REQUEST_TIMED_OUT);
    wait_host(1, false);                                /* it waits for 3, which is assigned */
    kit_check_node(&cl.kit, "/admin/delete_topics/t", "");
    cluster_register(&cl, 2);
    wait_host(2, false);
    cluster_unregister(&cl, 2);
    cluster_register(&cl, 3);
    kit_wait_gone(&cl.kit, "/admin/delete_topics/t");
    wait_host(3, false);
}
END_TEST

START_TEST(errors_come_in_kafkas_order)
{
    static int32_t many[2000000];                       /* all different: none is looked for in all the others */

    for (int32_t i = 0; i < (int32_t)(sizeof many / sizeof *many); i++)
        many[i] = i;
    make_topic(1, IDS_N(1, 2));
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, IDS(1), 0), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(MOVE(1, 1), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(MOVE(1, -2), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(MOVE(1, 9), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(cluster_reassign(&cl, "t", 0, many, sizeof many / sizeof *many), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(cluster_reassign(&cl, "t", 7, IDS_N(1)), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(cluster_reassign(&cl, "u", 0, IDS_N(1)), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(cluster_reassign(&cl, "u", 0, IDS_N(1, 9)), KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_int_eq(cluster_reassign(&cl, "u", 0, NULL, 0), KERR_NO_REASSIGNMENT_IN_PROGRESS);
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
}
END_TEST

START_TEST(a_tools_list_is_worked_off)
{
    make_topic(2, IDS_N(1, 2));
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3,2]},"
                  "{\"topic\":\"t\",\"partition\":1,\"replicas\":[]},"
                  "{\"topic\":\"u\",\"partition\":0,\"replicas\":[1]},"
                  "{\"topic\":\"t\",\"partition\":9,\"replicas\":[1]}]}");
    wait_host(3, true);
    wait_settled();
    kit_wait_gone(&cl.kit, "/admin/reassign_partitions");
    check_topic("{\"partitions\":{\"0\":[3,2],\"1\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},"
                "\"version\":3}");
    /* The next list is seen as well, and what is asked for by request is taken out of it. */
    cluster_write(&cl, "/admin/reassign_partitions",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[4,2]}]}");
    wait_host(4, true);
    ck_assert_int_eq(MOVE(5, 2), KERR_NONE);
    kit_check_node(&cl.kit, "/admin/reassign_partitions", NULL);
    wait_settled();
    wait_host(4, false);
    check_topic("{\"partitions\":{\"0\":[5,2],\"1\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},"
                "\"version\":3}");
}
END_TEST

START_TEST(a_list_that_cannot_be_read_stays)
{
    static const char *const bad[] = {
        "", "[]", "{\"version\":1}", "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":\"0\"}]}",
        "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[1,\"2\"]}]}",
        "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3],\"log_dirs\":[\"any\"]}]}",
        "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[-3]}]}",
    };

    make_topic(1, IDS_N(1, 2));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct store_call *call;

        cluster_write(&cl, "/admin/reassign_partitions", bad[i]);
        ck_assert_int_eq(moving_count(), 0);
        ck_assert_int_eq(MOVE(2, 1), KERR_NONE);        /* goes on all the same */
        ck_assert_int_eq(MOVE(1, 2), KERR_NONE);
        kit_check_node(&cl.kit, "/admin/reassign_partitions", bad[i]);
        call = store_call_new(NULL, NULL);
        store_delete(call, "/admin/reassign_partitions", STORE_ANY_VERSION);
        ck_assert_int_eq(store_run(cl.kit.store, call), OK);
        store_call_free(&call);
    }
    check_topic("{\"partitions\":{\"0\":[1,2]},\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}");
}
END_TEST

START_TEST(a_topic_goes_when_its_move_has_ended)
{
    make_topic(1, IDS_N(1, 2));
    ck_assert_int_eq(MOVE(3, 2), KERR_NONE);
    ck_assert_int_eq(kit_delete(&cl.kit, "t", 0), KERR_REQUEST_TIMED_OUT);
    ck_assert_int_eq(moving_count(), 1);                /* the deletion has been seen, and waits */
    ck_assert_int_eq(MOVE(1, 2), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(cluster_elect(&cl, "t", 0, 0), KERR_INVALID_TOPIC_EXCEPTION);
    while (kit_delete(&cl.kit, "t", 0) != KERR_UNKNOWN_TOPIC_OR_PARTITION)
        (void)cluster_expand(&cl, 0);
    kit_wait_gone(&cl.kit, "/admin/delete_topics/t");
    for (int32_t id = 1; id <= 3; id++)
        wait_host(id, false);
}
END_TEST

/* ---- leaders ---- */

START_TEST(leaders_go_home_when_asked)
{
    make_topic(1, IDS_N(1, 2));
    ck_assert_int_eq(cluster_elect(&cl, "t", 0, 0), KERR_ELECTION_NOT_NEEDED);
    ck_assert_int_eq(cluster_elect(&cl, "t", 0, 1), KERR_ELECTION_NOT_NEEDED);
    ck_assert_int_eq(cluster_elect(&cl, "t", 3, 0), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(MOVE(2, 1), KERR_NONE);            /* only the order */
    check_state(1, 2);
    ck_assert_int_eq(cluster_elect(&cl, "t", 0, 0), KERR_NONE);
    check_state(2, 2);
    ck_assert_int_eq(MOVE(1, 2), KERR_NONE);
    cluster_write(&cl, "/admin/preferred_replica_election",
                  "{\"version\":1,\"partitions\":[{\"topic\":\"u\",\"partition\":0},"
                  "{\"topic\":\"t\",\"partition\":0}]}");
    kit_wait_gone(&cl.kit, "/admin/preferred_replica_election");
    check_state(1, 2);
    cluster_write(&cl, "/admin/preferred_replica_election", "no list");
    kit_wait_gone(&cl.kit, "/admin/preferred_replica_election");
}
END_TEST

START_TEST(leaders_go_home_by_themselves)
{
    int64_t until = mono_ms() + 60000;
    int32_t leader = 1;

    cluster_stop(&cl);
    cl.override = NULL;
    cluster_start(&cl, -1);
    make_topic(1, IDS_N(1, 2));
    ck_assert_int_eq(MOVE(2, 1), KERR_NONE);
    while (leader != 2) {
        struct arena a;
        struct znode_state s;
        int32_t version;

        arena_init(&a, 1 << 20);
        ck_assert(cluster_state(&cl, &a, 0, &s, &version));
        leader = s.leader;
        arena_fini(&a);
        ck_assert_msg(mono_ms() < until, "the leader stays where it is");
    }
}
END_TEST

/* ---- a controller that ends anywhere ---- */

/* No replica in sync lacks what was acknowledged; and never does a partition have less than all of its old or all of
 * its new replicas. */
static void check_invariants(int32_t partition, const int32_t *from, const int32_t *to, int32_t n)
{
    struct arena a;
    struct znode_state s, later;
    struct hosted h[BROKERS_MAX + 1];
    int32_t version, again, old = 0, new = 0;

    arena_init(&a, 1 << 20);
    do {                                                /* the state and the logs of one moment */
        ck_assert(cluster_state(&cl, &a, partition, &s, &version));
        lock_take(&cl.lock);
        for (int32_t id = 0; id <= BROKERS_MAX; id++)
            h[id] = cl.host[id][partition];
        lock_drop(&cl.lock);
        ck_assert(cluster_state(&cl, &a, partition, &later, &again));
    } while (version != again);
    for (int32_t i = 0; i < s.isr.n; i++)
        ck_assert_msg(h[s.isr.v[i]].full, "broker %d is in sync without its records", s.isr.v[i]);
    for (int32_t i = 0; i < n; i++) {
        old += h[from[i]].full;
        new += h[to[i]].full;
    }
    ck_assert_msg(old == n || new == n, "partition %d: %d old replicas and %d new ones of %d", partition, old, new, n);
    arena_fini(&a);
}

static int deaths_total;

static void pick(int32_t *out, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        bool again = true;

        while (again) {
            out[i] = 1 + (int32_t)(random() % 6);
            again = false;
            for (int32_t k = 0; k < i; k++)
                again |= out[k] == out[i];
        }
    }
}

/* Where each partition is in the end: on the old brokers or on the new ones, and nowhere else. */
static void check_places(const int32_t *from, const int32_t *to, int32_t n)
{
    struct arena a;
    struct znode_topic z;

    arena_init(&a, 1 << 20);
    z = cluster_topic(&cl, &a);
    for (int32_t p = 0; p < 2; p++) {
        const struct znode_replicas *now = &z.partitions[p].replicas;
        int32_t old = 0;

        ck_assert_int_eq(now->n, n);
        for (int32_t i = 0; i < n; i++)
            for (int32_t k = 0; k < n; k++)
                old += now->v[i] == from[k];
        ck_assert_msg(old == n || memcmp(now->v, to, (size_t)n * sizeof *to) == 0, "partition %d is elsewhere", p);
        lock_take(&cl.lock);
        for (int32_t id = 1; id <= cl.n; id++) {
            bool assigned = false;

            for (int32_t i = 0; i < n; i++)
                assigned |= now->v[i] == id;
            ck_assert_msg(cl.host[id][p].log == assigned, "broker %d: partition %d %s", id, p,
                          assigned ? "has no log" : "has left a log");
        }
        lock_drop(&cl.lock);
    }
    arena_fini(&a);
}

/* Followers catch up until the move has ended, or the controller. */
static void go_along(const int32_t *from, const int32_t *to, int32_t n, bool change_of_mind)
{
    int64_t until = mono_ms() + 60000;

    while (!cluster_dead(&cl) && (!settled() || moving_count() > 0)) {
        if (change_of_mind && random() % 8 == 0) {
            change_of_mind = false;
            (void)cluster_reassign(&cl, "t", 0, random() % 2 == 0 ? NULL : IDS(to[0], to[1], to[2]), n);
        }
        for (int32_t p = 0; p < 2; p++) {
            (void)cluster_expand(&cl, p);
            check_invariants(p, from, to, n);
        }
        ck_assert_msg(mono_ms() < until, "the move does not end");
    }
}

static void list_both(const int32_t *to)
{
    char text[512];

    snprintf(text, sizeof text,
             "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[%d,%d,%d]},"
             "{\"topic\":\"t\",\"partition\":1,\"replicas\":[%d,%d,%d]}]}",
             to[0], to[1], to[2], to[0], to[1], to[2]);
    cluster_write(&cl, "/admin/reassign_partitions", text);
}

/* Two partitions move from one random place to another; the controller is cut off after `writes`, and the next ones
 * after a few more; then one lives, and the move ends. */
static void one_round(int writes, bool by_list)
{
    int32_t from[3], to[3];

    pick(from, 3);
    pick(to, 3);
    cluster_new(&cl, 6, "auto.leader.rebalance.enable=false");
    make_topic(2, from, 3);
    atomic_store(&cl.mortal.left, writes);
    if (by_list)
        list_both(to);
    for (int32_t p = 0; p < 2 && !by_list; p++)
        (void)cluster_reassign(&cl, "t", p, to, 3);
    go_along(from, to, 3, !by_list && random() % 4 == 0);
    for (int k = 0; k < 3; k++) {
        bool last = k == 2;

        deaths_total += cluster_dead(&cl);
        cluster_stop(&cl);
        cluster_start(&cl, last ? -1 : (int)(random() % 14));
        go_along(from, to, 3, false);
    }
    wait_settled();
    kit_wait_gone(&cl.kit, "/admin/reassign_partitions");
    for (int32_t p = 0; p < 2; p++)
        check_invariants(p, from, to, 3);
    ck_assert_int_eq(moving_count(), 0);
    check_places(from, to, 3);
    cluster_stop(&cl);
    cluster_end(&cl);
}

START_TEST(a_controller_may_end_after_any_write)
{
    for (int writes = 0; writes < 16; writes++) {
        one_round(writes, false);
        one_round(writes, true);
    }
    printf("controllers that were cut off: %d\n", deaths_total);
    ck_assert_int_gt(deaths_total, 16);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller/reassign");
    TCase *t = tcase_create("moves"), *kills = tcase_create("kills");
    SRunner *r = srunner_create(s);
    const char *seed = getenv(SEED_ENV);
    unsigned with = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)wall_ms();
    int failed;

    srandom(with);
    log_threshold = LOG_ERROR;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_replication_factor_grows);
    tcase_add_test(t, all_replicas_move);
    tcase_add_test(t, a_move_is_cancelled_or_replaced);
    tcase_add_test(t, the_last_replica_in_sync_is_not_given_up);
    tcase_add_test(t, who_is_not_assigned_is_not_enough);
    tcase_add_test(t, the_last_log_is_not_deleted);
    tcase_add_test(t, a_move_that_waits_is_not_written_with_another);
    tcase_add_test(t, a_move_that_waits_is_not_written_with_the_id);
    tcase_add_test(t, a_move_goes_back_while_the_old_log_is_deleted);
    tcase_add_test(t, who_was_down_deletes_its_log_when_it_is_back);
    tcase_add_test(t, who_changes_its_listeners_deletes_its_log);
    tcase_add_test(t, who_was_down_deletes_what_is_not_wanted_any_more);
    tcase_add_test(t, who_was_down_keeps_what_is_wanted_again);
    tcase_add_test(t, a_topics_deletion_does_not_wait_for_who_had_it_before);
    tcase_add_test(t, errors_come_in_kafkas_order);
    tcase_add_test(t, a_tools_list_is_worked_off);
    tcase_add_test(t, a_list_that_cannot_be_read_stays);
    tcase_add_test(t, a_topic_goes_when_its_move_has_ended);
    tcase_add_test(t, leaders_go_home_when_asked);
    tcase_add_test(t, leaders_go_home_by_themselves);
    suite_add_tcase(s, t);
    tcase_set_timeout(kills, 120);
    tcase_add_test(kills, a_controller_may_end_after_any_write);
    suite_add_tcase(s, kills);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    if (failed > 0)
        fprintf(stderr, SEED_ENV "=%u\n", with);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
