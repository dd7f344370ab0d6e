/* tests/unit/broker/controller/test_terms.c - what a controller finds at the start of its term, unseen by any:
 * brokers that have gone, or have come back, while there was none; and what it goes by when it elects leaders.
 */
#include "tests/unit/broker/controller/scene_kit.h"

#include "broker/controller/priv.h"

/* Another one is the controller meanwhile, and dies. */
static void another_term(void (*meanwhile)(void))
{
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER, "{\"version\":2,\"brokerid\":9,\"timestamp\":\"1\","
                                   "\"kraftControllerEpoch\":-1}"), OK);
    cluster_settle(&cl);
    ck_assert(!controller_active(cl.k.ctl));
    meanwhile();
    ck_assert_int_eq(cluster_write(&cl, STORE_DELETE, ZK_CONTROLLER, NULL), OK);
    while (!controller_active(cl.k.ctl))
        cluster_settle(&cl);
    cluster_settle(&cl);
}

static void bounce_6(void)
{
    peer_vanish(&cl, 6);
    peer_register(&cl, 6);
}

static void bounce_7(void)
{
    peer_vanish(&cl, 7);
    peer_register(&cl, 7);
}

static void bounce_all(void)
{
    for (int32_t b = 6; b <= 8; b++) {
        peer_vanish(&cl, b);
        peer_register(&cl, b);
    }
}

static void bounce_and_lose(void)
{
    bounce_6();
    peer_vanish(&cl, 7);
    peer_vanish(&cl, 8);
}

static void nothing(void)
{
}

/* It leads, and was away; the controller that could have seen it died in the same moment. */
START_TEST(a_leader_that_was_away_between_two_terms)
{
    one_partition();
    another_term(nothing);
    STANDS(6, 0, 6, 7, 8);
    another_term(bounce_6);
    STANDS(7, 1, 7, 8);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[0].lai[0].leader, 7);      /* nobody was told to follow it */
    ck_assert_int_eq(cl.seen[0].lai[0].epoch, 1);
    ck_assert_uint_eq(cl.seen[0].led, 2);               /* the creation, the term in which nothing had happened */
    ck_assert_int_eq(cl.seen[1].lai[0].leader, 7);
    ck_assert_int_eq(cl.seen[2].lai[0].leader, 7);
    lock_drop(&cl.lock);
    another_term(nothing);                              /* it is not in the ISR any more */
    STANDS(7, 1, 7, 8);
}
END_TEST

START_TEST(a_follower_that_was_away_between_two_terms)
{
    one_partition();
    another_term(bounce_7);
    STANDS(6, 1, 6, 8);
}
END_TEST

/* Nobody is better than the others: the leader leads on, but the logs are compared. */
START_TEST(all_were_away_between_two_terms)
{
    one_partition();
    another_term(bounce_all);
    STANDS(6, 1, 6, 7, 8);
    another_term(nothing);
    STANDS(6, 1, 6, 7, 8);
}
END_TEST

START_TEST(nobody_is_left_but_who_was_away)
{
    one_partition();
    another_term(bounce_and_lose);
    STANDS(6, 1, 6);
}
END_TEST

static void lose_6(void)
{
    peer_vanish(&cl, 6);
}

static void lose_7(void)
{
    peer_vanish(&cl, 7);
}

static void lose_8(void)
{
    peer_vanish(&cl, 8);
}

/* Its broker died with the controller, or while nobody was: the leader does not wait for it with acks=all. */
START_TEST(members_that_have_gone_between_two_terms)
{
    size_t led;

    one_partition();
    another_term(lose_7);
    STANDS(6, 1, 6, 8);
    another_term(lose_6);
    STANDS(8, 2, 8);
    another_term(lose_8);
    STANDS(8, 2, 8);                            /* the last one stays */
    lock_take(&cl.lock);
    led = cl.seen[2].led;
    lock_drop(&cl.lock);
    peer_register(&cl, 8);
    cluster_settle(&cl);
    STANDS(8, 3, 8);
    lock_take(&cl.lock);
    ck_assert_uint_eq(cl.seen[2].led, led + 1); /* not in the epoch in which it went */
    ck_assert_int_eq(cl.seen[2].lai[0].epoch, 3);
    lock_drop(&cl.lock);
}
END_TEST

static void lose_all_but_9(void)
{
    peer_register(&cl, 9);
    lose_6();
    lose_7();
    lose_8();
}

/* None of its replicas is there, but everybody knows that it is. */
START_TEST(a_partition_without_a_live_replica_between_two_terms)
{
    one_partition();
    another_term(lose_all_but_9);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[3].um[0].leader, 6);
    ck_assert_int_eq(cl.seen[3].offline[0], 678);
    lock_drop(&cl.lock);
}
END_TEST

/* The move to 9 had been cancelled, but 9 not yet been taken out of the ISR. */
static const int32_t with_9[] = { 6, 7, 9 }, with_9_and_6[] = { 6, 9 };

static void leave_9_in_sync(void)
{
    peer_register(&cl, 9);
    write_state(6, 3, 2, with_9, 3);
}

static void leave_9_as_leader(void)
{
    write_state(9, 4, 3, with_9, 3);
}

static void leave_9_and_nobody(void)
{
    write_state(9, 5, 4, with_9_and_6, 2);
    peer_vanish(&cl, 6);
}

/* Who is in sync, but not assigned, cannot lead, and nobody could read what only it and the leader have: it goes with
 * the term in which that is found, where somebody is in sync who is assigned. */
START_TEST(who_is_in_sync_without_being_assigned)
{
    one_partition();
    another_term(leave_9_in_sync);
    STANDS(6, 4, 6, 7);
    another_term(leave_9_as_leader);
    STANDS(6, 5, 6, 7);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[0].lai[0].leader, 6);
    ck_assert_int_eq(cl.seen[0].lai[0].epoch, 5);
    lock_drop(&cl.lock);
    another_term(leave_9_and_nobody);
    STANDS(9, 5, 6, 9);                                 /* 6 has all records: it must not be forgotten */
}
END_TEST

/* ... and with the first write that takes somebody out; but it is no reason to let the last one go that can lead. */
START_TEST(the_last_in_sync_is_one_that_may_lead)
{
    one_partition();
    peer_register(&cl, 9);
    cluster_settle(&cl);
    write_state(6, 3, 1, with_9, 3);
    peer_vanish(&cl, 7);
    cluster_settle(&cl);
    STANDS(6, 4, 6);
    write_state(6, 5, 1, with_9_and_6, 2);
    peer_vanish(&cl, 6);
    cluster_settle(&cl);
    STANDS(-1, 6, 6);
    peer_register(&cl, 6);
    cluster_settle(&cl);
    STANDS(6, 7, 6);
}
END_TEST

START_TEST(a_leader_that_is_not_assigned_stays_in_sync)
{
    one_partition();
    peer_register(&cl, 9);
    cluster_settle(&cl);
    write_state(9, 3, 1, with_9, 3);
    peer_vanish(&cl, 7);
    cluster_settle(&cl);
    STANDS(9, 4, 6, 9);
}
END_TEST

/* It would take records from clients that know nothing else, for nobody tells it with those who are assigned. It lives,
 * so it was told before anybody leads in the new epoch. */
static void told_to_stop(int32_t id, int32_t leader, int32_t epoch)
{
    const struct peer_seen *s = &cl.seen[id - BROKER - 1];

    lock_take(&cl.lock);
    ck_assert_int_eq(s->lai[0].leader, leader);
    ck_assert_int_eq(s->lai[0].epoch, epoch);
    ck_assert(s->among[0]);
    ck_assert(s->stopped[0]);
    ck_assert_int_eq(s->deletes, 0);
    lock_drop(&cl.lock);
}

static void leave_9_leading(void)
{
    peer_register(&cl, 9);
    write_state(9, 4, 2, with_9, 3);
}

START_TEST(a_leader_that_is_not_assigned_hears_of_the_next_one)
{
    one_partition();
    another_term(leave_9_leading);
    STANDS(6, 5, 6, 7);
    told_to_stop(9, 6, 5);
}
END_TEST

static void leave_9_leading_and_bounce_the_others(void)
{
    leave_9_leading();
    bounce_6();
    bounce_7();
}

static int16_t elect_preferred(void)
{
    struct elect_leaders_request_topic_partitions of = { .topic = STR_LIT("t"), .partitions = (int32_t[]){ 0 },
                                                         .partitions_n = 1 };
    struct elect_leaders_request req;
    struct elect_leaders_response resp;
    struct waited_ask w;
    int16_t error;

    elect_leaders_request_init(&req);
    elect_leaders_response_init(&resp);
    req.topic_partitions = &of;
    req.topic_partitions_n = 1;
    req.timeout_ms = 0;
    ask_and_wait(&cl, &w, ASK_ELECT_LEADERS, 2, &req, &resp);
    error = resp.error_code != KERR_NONE ? resp.error_code
                                         : resp.replica_election_results[0].partition_result[0].error_code;
    arena_fini(&w.arena);
    return error;
}

/* Nobody was better at the start of the term; later somebody else is elected. */
START_TEST(a_leader_that_is_not_assigned_hears_of_an_election)
{
    one_partition();
    another_term(leave_9_leading_and_bounce_the_others);
    STANDS(9, 4, 6, 7, 9);
    ck_assert_int_eq(elect_preferred(), KERR_NONE);
    cluster_settle(&cl);
    STANDS(6, 5, 6, 7);
    told_to_stop(9, 6, 5);
}
END_TEST

static void leave_9_beside_the_only_one(void)
{
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, "/brokers/topics/t",
                                   "{\"version\":3,\"topic_id\":\"AAAAAAAAQACAAAAAAAAABQ\",\"adding_replicas\":{},"
                                   "\"removing_replicas\":{},\"partitions\":{\"0\":[6]}}"), OK);
    peer_register(&cl, 9);
    write_state(6, 3, 2, with_9_and_6, 2);
}

START_TEST(one_replica_and_one_that_is_not_assigned)
{
    one_partition();
    another_term(leave_9_beside_the_only_one);
    STANDS(6, 4, 6);
}
END_TEST

/* Deleted and made again, and this broker has not heard of it. */
static void make_anew(void)
{
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, "/brokers/topics/t",
                                   "{\"version\":3,\"topic_id\":\"AAAAAAAAQACAAAAAAAAABQ\",\"adding_replicas\":{},"
                                   "\"removing_replicas\":{},\"partitions\":{\"0\":[6,7,8]}}"), OK);
}

/* What is known of the old topic beyond the tree is no reason to speak of the new one as deleted. */
START_TEST(a_topic_of_another_id_is_not_taken_for_deleted)
{
    one_partition();
    another_term(make_anew);
    lock_take(&cl.lock);
    for (size_t i = 0; i < 3; i++)
        ck_assert(cl.seen[i].um[0].leader == 6 && !cl.seen[i].gone[0]);
    lock_drop(&cl.lock);
}
END_TEST

static void remove_nodes(void)
{
    static const char *const nodes[] = { "/brokers/topics/t/partitions/0/state", "/brokers/topics/t/partitions/0",
                                         "/brokers/topics/t/partitions", "/brokers/topics/t" };

    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        ck_assert_int_eq(cluster_write(&cl, STORE_DELETE, nodes[i], NULL), OK);
}

START_TEST(a_topic_that_was_removed_by_hand_is_forgotten)
{
    one_partition();
    another_term(remove_nodes);
    lock_take(&cl.lock);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(cl.seen[i].um[0].leader, -2);
    lock_drop(&cl.lock);
}
END_TEST

/* ---- what the topic's settings say of an election ------------------------------------------------------- */

static void settings(const char *text)
{
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONFIG_TOPICS "/t", text), OK);
}

/* Leaders write their ISRs themselves, and the controller hears of this one only when its own write is refused. */
START_TEST(an_isr_that_was_not_known_and_a_topic_that_allows_unclean_elections)
{
    static const int32_t alone[] = { 6 };

    kit_down(&cl.k);
    cluster_up(&cl, "inter.broker.protocol.version=2.6");
    one_partition();
    settings("{\"version\":1,\"config\":{\"unclean.leader.election.enable\":\"true\"}}");
    write_state(6, 0, 1, alone, 1);
    peer_vanish(&cl, 6);
    cluster_settle(&cl);
    STANDS(7, 1, 7);
}
END_TEST

static void lose_6_who_was_in_sync_alone(void)
{
    static const int32_t alone[] = { 6 };

    write_state(6, 3, 2, alone, 1);
    peer_vanish(&cl, 6);
}

static const char *const no_settings[] = {
    "garbage", "{\"version\":1,\"config\":{\"unclean.leader.election.enable\":\"perhaps\"}}",
};

/* Where the server allows it, broker 6, the only one in sync, is lost when a term begins: of the topic nothing can be
 * understood, and the server's default is not what its owner wanted, as far as anybody knows. */
static void wait_for_settings(const char *text)
{
    kit_down(&cl.k);
    cluster_up(&cl, "unclean.leader.election.enable=true");
    one_partition();
    settings(text);
    another_term(lose_6_who_was_in_sync_alone);
    STANDS(6, 3, 6);
    settings("{\"version\":1,\"config\":{}}");
}

START_TEST(settings_that_cannot_be_understood_allow_no_unclean_election)
{
    wait_for_settings(no_settings[_i]);
    another_term(nothing);
    STANDS(7, 4, 7);
}
END_TEST

/* What holds is what held before, the server's default, but now it may be gone by. */
START_TEST(settings_that_are_mended_may_allow_an_unclean_election)
{
    wait_for_settings(no_settings[_i]);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_CONFIG_CHANGES "/" ZK_CONFIG_CHANGE "0000000007",
                                   "{\"version\":2,\"entity_path\":\"topics/t\"}"), OK);
    cluster_settle(&cl);
    STANDS(7, 4, 7);
}
END_TEST

/* ---- another broker is the controller, and its links break ---------------------------------------------- */

static void controller_is(int32_t id)
{
    char text[128];

    snprintf(text, sizeof text, "{\"version\":2,\"brokerid\":%d,\"timestamp\":\"1\",\"kraftControllerEpoch\":-1}", id);
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER, text), OK);
    cluster_settle(&cl);
    ck_assert(!controller_active(cl.k.ctl));
}

static void be_elected(void)
{
    while (!controller_active(cl.k.ctl))
        cluster_settle(&cl);
    cluster_settle(&cl);
}

/* Keeps the controller's thread until it is opened: what happens meanwhile is found in the order in which it came. */
struct gate {
    struct controller_ask ask;
    struct arena          arena;
    struct lock           lock;
    /* under lock */
    struct cond           cond;
    bool                  shut, open, left;
};

static void gate_stand(struct controller_ask *ask)
{
    struct gate *g = ask->arg;

    lock_take(&g->lock);
    g->shut = true;
    cond_broadcast(&g->cond);
    while (!g->open)
        cond_wait(&g->cond, &g->lock);
    g->left = true;
    cond_broadcast(&g->cond);
    lock_drop(&g->lock);
}

static void gate_shut(struct gate *g)
{
    static struct allocate_producer_ids_request req;
    static struct allocate_producer_ids_response resp;

    allocate_producer_ids_request_init(&req);
    allocate_producer_ids_response_init(&resp);
    arena_init(&g->arena, (size_t)1 << 20);
    lock_init(&g->lock, LOCK_log);
    cond_init(&g->cond);
    g->shut = g->open = g->left = false;
    g->ask = (struct controller_ask){ .kind = ASK_PRODUCER_IDS, .req = &req, .resp = &resp, .arena = &g->arena,
                                      .done = gate_stand, .arg = g };
    controller_ask(cl.k.ctl, &g->ask);
    lock_take(&g->lock);
    while (!g->shut)
        cond_wait(&g->cond, &g->lock);
    lock_drop(&g->lock);
}

static void gate_open(struct gate *g)
{
    lock_take(&g->lock);
    g->open = true;
    cond_broadcast(&g->cond);
    while (!g->left)
        cond_wait(&g->cond, &g->lock);
    lock_drop(&g->lock);
    cond_fini(&g->cond);
    lock_fini(&g->lock);
    arena_fini(&g->arena);
}

/* Somebody else was faster to remove it, but this broker is elected: it knows all the same who is out of reach. */
START_TEST(a_controller_out_of_reach_that_another_broker_has_removed)
{
    struct gate g;

    one_partition();
    controller_is(6);
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    lock_drop(&cl.lock);
    gate_shut(&g);
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6));
    ck_assert_int_eq(cluster_write(&cl, STORE_DELETE, ZK_CONTROLLER, NULL), OK);
    gate_open(&g);
    be_elected();
    STANDS(7, 1, 7, 8);
    peer_release(6);
}
END_TEST

/* Its links broke for a moment. Others were the controller since; it may have been registered all the time. */
START_TEST(a_controller_that_was_out_of_reach_long_ago)
{
    int64_t before, later;
    struct gate g;

    kit_down(&cl.k);
    cluster_up(&cl, "zookeeper.session.timeout.ms=100");
    for (int32_t b = 6; b <= 8; b++)
        peer_register(&cl, b);
    controller_is(6);
    before = mono_ns();
    controller_link_down(cl.k.ctl, 6, -1);
    be_elected();
    one_partition_of("t");
    STANDS(6, 0, 6, 7, 8);
    controller_is(6);
    gate_shut(&g);                                  /* its thread reads what is written here */
    ck_assert_int_gt(cl.k.ctl->depose_again_ns, before);
    cl.k.ctl->depose_again_ns = INT64_MAX;          /* as if no time had passed, however long all this took */
    gate_open(&g);
    controller_link_down(cl.k.ctl, 6, -1);          /* it has just been removed: not again so soon */
    cluster_settle(&cl);
    ck_assert(!controller_active(cl.k.ctl));
    later = mono_ms() + 100;
    controller_is(9);
    while (mono_ms() <= later)
        cluster_settle(&cl);
    ck_assert_int_eq(cluster_write(&cl, STORE_DELETE, ZK_CONTROLLER, NULL), OK);
    be_elected();
    STANDS(6, 0, 6, 7, 8);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller/terms");
    TCase *tc = tcase_create("all");
    SRunner *sr;
    int failed;

    log_threshold = LOG_FATAL;
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_leader_that_was_away_between_two_terms);
    tcase_add_test(tc, a_follower_that_was_away_between_two_terms);
    tcase_add_test(tc, all_were_away_between_two_terms);
    tcase_add_test(tc, nobody_is_left_but_who_was_away);
    tcase_add_test(tc, members_that_have_gone_between_two_terms);
    tcase_add_test(tc, a_partition_without_a_live_replica_between_two_terms);
    tcase_add_test(tc, who_is_in_sync_without_being_assigned);
    tcase_add_test(tc, the_last_in_sync_is_one_that_may_lead);
    tcase_add_test(tc, a_leader_that_is_not_assigned_stays_in_sync);
    tcase_add_test(tc, a_leader_that_is_not_assigned_hears_of_the_next_one);
    tcase_add_test(tc, a_leader_that_is_not_assigned_hears_of_an_election);
    tcase_add_test(tc, one_replica_and_one_that_is_not_assigned);
    tcase_add_test(tc, a_topic_of_another_id_is_not_taken_for_deleted);
    tcase_add_test(tc, a_topic_that_was_removed_by_hand_is_forgotten);
    tcase_add_test(tc, an_isr_that_was_not_known_and_a_topic_that_allows_unclean_elections);
    tcase_add_loop_test(tc, settings_that_cannot_be_understood_allow_no_unclean_election, 0, 2);
    tcase_add_loop_test(tc, settings_that_are_mended_may_allow_an_unclean_election, 0, 2);
    tcase_add_test(tc, a_controller_out_of_reach_that_another_broker_has_removed);
    tcase_add_test(tc, a_controller_that_was_out_of_reach_long_ago);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
