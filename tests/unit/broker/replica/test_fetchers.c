/* tests/unit/broker/replica/test_fetchers.c - a partition that follows a leader: what is copied, cut and asked, with a
 * leader that is honest, old, slow, gone, or hostile. */
#include "tests/unit/broker/replica/fake_leader.h"

#include "base/log.h"
#include "broker/replica/follower.h"
#include "proto/gen/update_metadata_request.h"
#include "tests/unit/broker/replica/partition_bytes.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

static const char *ibp = "3.9-IV0";
static int32_t     wait_ms = 50;

static void quick(struct config *c)
{
    c->inter_broker_protocol_version = ibp;
    c->replica_fetch_backoff_ms = 20;
    c->replica_fetch_wait_max_ms = wait_ms;
}

static void announce(int32_t port)
{
    struct update_metadata_request req;
    struct update_metadata_request_update_metadata_broker b;
    struct update_metadata_request_update_metadata_endpoint ep;

    update_metadata_request_init(&req);
    update_metadata_request_update_metadata_broker_init(&b);
    update_metadata_request_update_metadata_endpoint_init(&ep);
    ep.host = STR_LIT("127.0.0.1");
    ep.port = port;
    ep.listener = STR_LIT("PLAINTEXT");
    b.id = 2;
    b.endpoints = &ep;
    b.endpoints_n = 1;
    req.live_brokers = &b;
    req.live_brokers_n = 1;
    ck_assert_int_eq(metadata_cache_update(metacache, &req), OK);
}

static void begin(void)
{
    atomic_store(&log_threshold, LOG_FATAL);
    adjust = quick;
    setup();
    fl_start();
    announce(fl.port);
}

static void end(void)
{
    teardown();
    fl_end_all();
    ibp = "3.9-IV0";
    wait_ms = 50;
}

static int16_t follow(int32_t epoch)
{
    return tell((struct say){ 1, 2, epoch, both, both, topic_id });
}

/* Until it is true, or the test's time is over. */
#define AWAIT(condition)                                                                                               \
    do {                                                                                                               \
        while (!(condition))                                                                                           \
            (void)poll(NULL, 0, 1);                                                                                    \
    } while (0)

/* The same of what the leader has seen. */
#define AWAIT_LEADER(condition)                                                                                        \
    do {                                                                                                               \
        bool is_;                                                                                                      \
        do {                                                                                                           \
            fl_lock();                                                                                                 \
            is_ = (condition);                                                                                         \
            fl_unlock();                                                                                               \
            (void)poll(NULL, 0, 1);                                                                                    \
        } while (!is_);                                                                                                \
    } while (0)

static bool same(struct partition *p)
{
    struct plog *l = partition_log(p);
    struct plog_offsets o = plog_offsets(l);
    bool yes;
    size_t n;
    uint8_t *v, *at;

    fl_lock();
    yes = o.leo == fl_end() && o.hw == (fl.hw >= 0 ? fl.hw : fl_end()) && o.start >= fl.start;
    if (yes && o.leo > o.start) {
        v = at = log_bytes(l, o.start, &n);
        for (int i = 0; i < fl.n && yes; i++) {
            if (fl.v[i].last < o.start)
                continue;
            yes = (size_t)(v + n - at) >= fl.v[i].n && memcmp(at, fl.v[i].p, fl.v[i].n) == 0;
            at += fl.v[i].n;
        }
        yes = yes && at == v + n;
        free(v);
    }
    fl_unlock();
    plog_unref(&l);
    return yes;
}

/* `n` batches of the leader's epoch. */
static void produce(int n)
{
    fl_lock();
    for (int i = 0; i < n; i++)
        fl_put(fl.epoch, 1 + i % 3, 100);
    fl_unlock();
}

static void lead_in(int32_t epoch)
{
    fl_lock();
    fl.epoch = epoch;
    fl_unlock();
}

/* ---- an honest leader ----------------------------------------------------------------------------------------- */

START_TEST(what_the_leader_has_is_copied)
{
    struct partition *p;

    begin();
    lead_in(3);
    produce(20);
    ck_assert_int_eq(follow(3), KERR_NONE);
    p = find();
    AWAIT(same(p));
    ck_assert_int_eq(partition_standing(p).role, ROLE_FOLLOWER);
    for (int i = 0; i < 50; i++) {
        produce(1 + i % 3);
        AWAIT(same(p));
    }
    fl_lock();
    ck_assert_int_eq(fl.full, 1);
    ck_assert_int_eq(fl.connections, 1);
    ck_assert(fl.by_id && fl.version == 17);
    fl_begin_at(30);                    /* DeleteRecords there */
    fl_put(3, 1, 10);
    fl_unlock();
    AWAIT(partition_offsets(p).start == 30);
    AWAIT(same(p));
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(the_high_watermark_is_the_leaders)
{
    struct partition *p;

    begin();
    lead_in(1);
    produce(10);
    fl_lock();
    fl.hw = 3;
    fl_unlock();
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    AWAIT(partition_offsets(p).hw == 3);
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    ck_assert_int_eq(partition_offsets(p).hw, 3);
    fl_lock();
    fl.hw = 7;
    fl.news = true;                     /* that alone is news */
    fl_unlock();
    AWAIT(partition_offsets(p).hw == 7);
    fl_lock();
    fl.hw = 2;                          /* a new leader that does not know yet */
    fl_put(1, 1, 10);
    fl_unlock();
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    ck_assert_int_eq(partition_offsets(p).hw, 7);
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(a_topic_without_an_id_goes_by_name)
{
    struct say s = { 1, 2, 1, both, both, { { 0 } } };
    struct partition *p;

    begin();
    lead_in(1);
    produce(5);
    ck_assert_int_eq(tell(s), KERR_NONE);
    p = find();
    AWAIT(same(p));
    fl_lock();
    ck_assert(!fl.by_id && fl.version == 12);
    fl_unlock();
    s.id = topic_id;
    (void)tell(s);                      /* the same epoch brings an id */
    AWAIT_LEADER(fl.by_id);
    produce(5);
    AWAIT(same(p));
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(without_sessions_all_is_asked_for_each_time)
{
    struct partition *p;

    begin();
    fl_lock();
    fl.sessions = false;
    fl.epoch = 1;
    fl_unlock();
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    for (int i = 0; i < 10; i++) {
        produce(3);
        AWAIT(same(p));
    }
    fl_lock();
    ck_assert_int_eq(fl.full, fl.fetches);
    fl_unlock();
    partition_unref(&p);
    end();
}
END_TEST

/* ---- where the leader is -------------------------------------------------------------------------------------- */

START_TEST(a_leader_whose_address_is_not_known_is_waited_for)
{
    struct partition *p;

    atomic_store(&log_threshold, LOG_FATAL);
    adjust = quick;
    setup();
    fl_start();
    lead_in(1);
    produce(5);
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    fl_lock();
    ck_assert_int_eq(fl.connections, 0);
    fl_unlock();
    announce(fl.port);
    AWAIT(same(p));
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(a_leader_may_move_and_may_be_away)
{
    struct partition *p;

    begin();
    lead_in(1);
    produce(5);
    announce(1);                        /* nobody listens there */
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    announce(fl.port);
    AWAIT(same(p));
    for (int i = 0; i < 5; i++) {
        fl_lock();
        fl.trick = FL_CLOSE;
        fl_unlock();
        produce(2);
        AWAIT(same(p));
    }
    fl_lock();
    ck_assert_int_ge(fl.connections, 5);
    fl_unlock();
    partition_unref(&p);
    end();
}
END_TEST

/* A Fetch that waits at the leader does not hold up who comes meanwhile. */
START_TEST(a_new_epoch_is_not_waited_for)
{
    struct partition *p;
    int64_t began;

    wait_ms = 20000;
    begin();
    lead_in(1);
    produce(5);
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    AWAIT(same(p));
    began = mono_ms();
    for (int32_t epoch = 2; epoch < 8; epoch++) {
        fl_lock();
        fl.epoch = epoch;
        fl_put(epoch, 1, 10);
        fl.leader_epoch = epoch;        /* (the Fetch that waits is no news to us) */
        fl.offset = fl_end();
        fl.last_epoch = -1;
        fl_unlock();
        ck_assert_int_eq(follow(epoch), KERR_NONE);
        AWAIT(same(p));
    }
    ck_assert_int_lt(mono_ms() - began, 60000);
    partition_unref(&p);
    end();
}
END_TEST

/* ---- logs that have parted ------------------------------------------------------------------------------------ */

/* What `epochs` and counts say, in the leader's log or (through appends as leader) in ours. */
struct run {
    int32_t epoch;
    int     batches;
};

static void ours(const struct run *v)
{
    struct plog_appended out;
    struct partition *p = NULL;

    for (; v->batches > 0; v++) {
        partition_unref(&p);
        ck_assert_int_eq(tell(lead(v->epoch)), KERR_NONE);
        p = find();
        for (int i = 0; i < v->batches; i++)
            ck_assert_int_eq(append(p, 1, 1, &out), KERR_NONE);
    }
    partition_unref(&p);
}

static void theirs(const struct run *v)
{
    fl_lock();
    for (; v->batches > 0; v++)
        for (int i = 0; i < v->batches; i++)
            fl_put(v->epoch, 1, 20);
    fl_unlock();
}

static const struct parting {
    const char *what;
    struct run  ours[6], theirs[6];
    int64_t     common;                 /* offset up to which ours stays; there the bytes differ */
} partings[] = {
    { "leader is ahead in our epoch", { { 1, 5 } }, { { 1, 9 } }, 5 },
    { "we have more of the last epoch", { { 1, 9 } }, { { 1, 5 } }, 5 },
    { "an epoch that the leader never had (KIP-279)", { { 1, 5 }, { 2, 4 } }, { { 1, 7 }, { 3, 4 } }, 5 },
    { "two fast failovers", { { 1, 3 }, { 4, 2 }, { 6, 5 } }, { { 1, 3 }, { 2, 4 }, { 5, 2 }, { 7, 1 } }, 3 },
    { "nothing in common", { { 2, 5 } }, { { 1, 3 }, { 3, 2 } }, 0 },
    { "the leader is empty", { { 1, 5 } }, { { 0, 0 } }, 0 },
    { "we are empty", { { 0, 0 } }, { { 1, 3 }, { 2, 2 } }, 0 },
    { "less of an epoch, and another after it", { { 1, 2 }, { 5, 2 }, { 9, 2 } }, { { 1, 2 }, { 5, 1 }, { 7, 3 } }, 3 },
};

static void part(const struct parting *t)
{
    struct partition *p;

    begin();
    ours(t->ours);
    theirs(t->theirs);
    lead_in(20);
    ck_assert_int_eq(follow(20), KERR_NONE);
    p = find();
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    produce(3);
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    fl_lock();
    {
        struct plog *l = partition_log(p);
        struct plog_epoch_end e = plog_epoch_end(l, 20);

        ck_assert_int_eq(plog_latest_epoch(l), 20);
        ck_assert_int_eq(e.end_offset, fl_end());
        ck_assert_msg(same_from(l, fl.v, fl.n) == t->common, "%s: theirs from %ld on", t->what,
                      (long)same_from(l, fl.v, fl.n));
        plog_unref(&l);
    }
    fl_unlock();
    partition_unref(&p);
    end();
}

START_TEST(what_has_parted_is_cut)
{
    for (size_t i = 0; i < sizeof partings / sizeof partings[0]; i++)
        part(&partings[i]);
}
END_TEST

START_TEST(it_is_with_old_leaders)
{
    for (size_t i = 0; i < sizeof partings / sizeof partings[0]; i++) {
        ibp = i % 2 == 0 ? "2.6-IV0" : "2.0-IV1";
        part(&partings[i]);
    }
    ibp = "2.6-IV0";
    begin();
    lead_in(1);
    produce(5);
    ours((struct run[]){ { 1, 3 }, { 0, 0 } });
    ck_assert_int_eq(follow(2), KERR_NONE);
    AWAIT_LEADER(fl.epochs > 0);
    end();
}
END_TEST

/* What the leader said of its log in an earlier epoch, and comes in a later one: it has been cut since. */
START_TEST(an_answer_of_an_earlier_epoch_is_not_believed)
{
    struct partition *p;
    struct plog *l;

    ibp = "2.6-IV0";
    begin();
    ours((struct run[]){ { 0, 10 }, { 0, 0 } });
    theirs((struct run[]){ { 0, 10 }, { 0, 0 } });
    fl_lock();
    fl.epoch = 1;
    fl.holds_epochs = true;
    fl_unlock();
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    AWAIT_LEADER(fl.epochs == 1);
    fl_lock();
    fl_cut(4);
    fl_unlock();
    theirs((struct run[]){ { 2, 8 }, { 0, 0 } });
    lead_in(3);
    ck_assert_int_eq(follow(3), KERR_NONE);
    fl_lock();
    fl.holds_epochs = false;
    pthread_cond_broadcast(&fl.changed);
    fl_unlock();
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    fl_lock();
    l = partition_log(p);
    ck_assert_int_eq(same_from(l, fl.v, fl.n), 4);
    ck_assert_int_eq(fl.connections, 1);                /* the answer is not taken for a bad one */
    plog_unref(&l);
    fl_unlock();
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(what_is_out_of_range_begins_where_the_leader_does)
{
    struct partition *p;

    begin();
    lead_in(5);
    produce(50);
    ck_assert_int_eq(follow(5), KERR_NONE);
    p = find();
    AWAIT(same(p));
    fl_lock();
    for (int i = 0; i < 20; i++)
        fl_put(5, 4, 10);
    fl_begin_at(fl_end() - 10);         /* before we have asked again */
    fl_unlock();
    AWAIT(same(p));
    ck_assert_int_ge(partition_offsets(p).start, 0);
    /* The same leader in the same epoch has lost its end, and nobody was told. */
    fl_lock();
    fl_cut(fl_end() - 5);
    fl_unlock();
    AWAIT(same(p));
    partition_unref(&p);
    end();
}
END_TEST

/* All of ours, which has `batches`, lies above what it has. */
static void lie_above(int batches)
{
    struct partition *p;

    begin();
    lead_in(5);
    fl_lock();
    fl_begin_at(100);
    fl_unlock();
    produce(batches);
    ck_assert_int_eq(follow(5), KERR_NONE);
    p = find();
    AWAIT(partition_offsets(p).start == 100 && same(p));
    lead_in(6);
    fl_lock();
    fl_begin_at(fl_end());
    fl_begin_at(0);
    for (int i = 0; i < 10; i++)
        fl_put(5, 3, 10);
    fl_unlock();
    produce(20);
    ck_assert_int_eq(follow(6), KERR_NONE);
    AWAIT(same(p));
    ck_assert_int_eq(partition_offsets(p).start, 0);
    partition_unref(&p);
    end();
}

/* Cut to where it ends, or has parted from ours, our log would begin there, and lack what the leader's has below. */
START_TEST(who_has_nothing_of_the_leaders_log_begins_where_it_does)
{
    lie_above(0);
    lie_above(7);
    ibp = "2.6-IV0";
    lie_above(7);
    ibp = "2.0-IV1";
    lie_above(7);
}
END_TEST

/* ---- a hostile or broken one ---------------------------------------------------------------------------------- */

START_TEST(no_answer_harms)
{
    struct partition *p;

    begin();
    lead_in(4);
    produce(5);
    ck_assert_int_eq(follow(4), KERR_NONE);
    p = find();
    AWAIT(same(p));
    for (int round = 0; round < 3; round++)
        for (enum fl_trick t = FL_CLOSE; t < FL_TRICKS_N; t++) {
            fl_lock();
            fl.trick = t;
            fl.error = KERR_UNKNOWN_SERVER_ERROR;
            for (int i = 0; i < 3; i++)
                fl_put(4, 2, (size_t)round * 50000);
            fl_unlock();
            AWAIT_LEADER(fl.trick == FL_HONEST);
            AWAIT(same(p));
        }
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(any_error_code_passes)
{
    struct partition *p;

    begin();
    lead_in(4);
    ck_assert_int_eq(follow(4), KERR_NONE);
    p = find();
    for (int16_t kerr = -1; kerr < 120; kerr++) {
        if (kerr == KERR_NONE)
            continue;
        for (enum fl_trick t = FL_TOP_ERROR; t <= FL_PART_ERROR; t++) {
            fl_lock();
            fl.trick = t;
            fl.error = kerr;
            fl_put(4, 1, 10);
            fl_unlock();
            AWAIT_LEADER(fl.trick == FL_HONEST);
            AWAIT(same(p));
        }
    }
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(a_batch_larger_than_asked_for_comes)
{
    struct partition *p;
    int32_t most = 0;

    begin();
    lead_in(4);
    fl_lock();
    fl_put(4, 1, 3 << 20);
    fl.trick = FL_HALF_BATCH;           /* as an old leader cuts it */
    fl_put(4, 1, 10);
    fl_unlock();
    ck_assert_int_eq(follow(4), KERR_NONE);
    p = find();
    while (!same(p)) {
        fl_lock();
        most = fl.max_bytes > most ? fl.max_bytes : most;
        fl_unlock();
        (void)poll(NULL, 0, 1);
    }
    partition_unref(&p);
    end();
}
END_TEST

/* ---- what the controller says meanwhile ----------------------------------------------------------------------- */

START_TEST(roles_change_under_it)
{
    struct plog_appended out;
    struct partition *p;

    begin();
    lead_in(1);
    produce(30);
    for (int32_t epoch = 1; epoch < 60; epoch += 2) {
        fl_lock();
        fl.epoch = epoch;
        fl_put(epoch, 2, 1000);
        fl_unlock();
        ck_assert_int_eq(follow(epoch), KERR_NONE);
        p = find();
        if (epoch % 4 == 1)
            AWAIT(same(p));
        ck_assert_int_eq(tell((struct say){ 1, SELF, epoch + 1, alone, alone, topic_id }), KERR_NONE);
        ck_assert_int_eq(append(p, 3, 1, &out), KERR_NONE);     /* which the other never gets */
        partition_unref(&p);
    }
    lead_in(90);
    ck_assert_int_eq(follow(90), KERR_NONE);
    p = find();
    AWAIT_LEADER(partition_offsets(p).leo == fl_end());
    AWAIT(same(p));
    partition_unref(&p);
    end();
}
END_TEST

START_TEST(it_is_deleted_while_it_is_fetched)
{
    begin();
    lead_in(1);
    produce(100);
    for (int32_t epoch = 1; epoch < 20; epoch++) {
        lead_in(epoch);
        ck_assert_int_eq(follow(epoch), KERR_NONE);
        if (epoch % 2 == 0) {
            struct partition *p = find();

            AWAIT(partition_offsets(p).leo > 0);
            partition_unref(&p);
        }
        ck_assert_int_eq(stop(1, epoch, true), KERR_NONE);
    }
    ck_assert_uint_eq(replicas_partitions(rs), 0);
    end();
}
END_TEST

struct role {
    int32_t leader, epoch;
};

/* LeaderAndIsr for t-1, as if there were one for each of these: the fetchers hear of none before the last. */
static void second_becomes(const struct role *v, int32_t n)
{
    struct leader_and_isr_request req;
    struct leader_and_isr_response resp;
    struct request_topic topic;
    struct request_state state[2];

    leader_and_isr_request_init(&req);
    leader_and_isr_request_leader_and_isr_topic_state_init(&topic);
    req.controller_epoch = 1;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = STR_LIT("t");
    topic.topic_id = topic_id;
    topic.partition_states = state;
    topic.partition_states_n = n;
    for (int32_t i = 0; i < n; i++) {
        leader_and_isr_request_leader_and_isr_partition_state_init(&state[i]);
        state[i].partition_index = 1;
        state[i].leader = v[i].leader;
        state[i].leader_epoch = v[i].epoch;
        state[i].replicas = state[i].isr = (int32_t *)both;
        state[i].replicas_n = state[i].isr_n = count(both);
    }
    ck_assert_int_eq(replicas_leader_and_isr(rs, &req, &resp, &arena), OK);
    for (int32_t i = 0; i < n; i++)
        ck_assert_int_eq(resp.topics[0].partition_errors[i].error_code, KERR_NONE);
}

/* It goes, comes back and goes again before the next Fetch is written: the leader is told that it has gone. */
START_TEST(who_comes_and_goes_between_two_fetches_leaves_the_session)
{
    struct partition *p;

    wait_ms = 20000;
    begin();
    lead_in(1);
    produce(5);
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    for (int32_t epoch = 1; epoch < 30; epoch += 3) {
        second_becomes((struct role[]){ { 2, epoch } }, 1);
        AWAIT_LEADER(fl.in_session && fl.second);
        second_becomes((struct role[]){ { 2, epoch + 1 }, { SELF, epoch + 2 } }, 2);
        for (int i = 0; i < 2; i++) {                   /* the second is got by a Fetch that has been written since */
            produce(1);
            AWAIT(same(p));
        }
        fl_lock();
        ck_assert(!fl.second);
        fl_unlock();
    }
    partition_unref(&p);
    end();
}
END_TEST

/* num.replica.fetchers changes: who has another thread than before goes on there, and nothing comes twice or not. */
START_TEST(the_number_of_fetchers_changes)
{
    struct partition *p;
    int32_t connections;

    wait_ms = 20000;                    /* nobody waits for an answer that does not come */
    begin();
    lead_in(1);
    produce(5);
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    AWAIT(same(p));
    fl_lock();
    connections = fl.connections;
    fl_unlock();
    for (int i = 0; i < 40; i++) {
        replicas_set_fetchers(rs, 1 + i * 5 % 8);
        produce(1 + i % 3);
        AWAIT(same(p));
    }
    fl_lock();
    ck_assert_int_gt(fl.connections, connections);
    fl_unlock();
    partition_unref(&p);
    end();
}
END_TEST

/* With flush.messages=1 a follower asks for what comes next when what came is on the disk. */
START_TEST(it_is_flushed_before_it_counts)
{
    struct partition *p;
    struct plog *l;

    begin();
    lead_in(1);
    ck_assert_int_eq(follow(1), KERR_NONE);
    p = find();
    l = partition_log(p);
    {
        struct log_opts o;

        log_opts_init(&o);
        o.flush_messages = 1;
        plog_set_opts(l, &o);
    }
    for (int i = 0; i < 10; i++) {
        produce(2);
        AWAIT(same(p));
        AWAIT_LEADER(fl.offset == fl_end());
        fl_lock();
        ck_assert_int_ge(plog_synced(l), fl_end());
        fl_unlock();
    }
    plog_unref(&l);
    partition_unref(&p);
    end();
}
END_TEST

static int64_t cpu_ms(void)
{
    struct timespec t;

    ck_assert_int_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All the descriptors are taken, or all but one: then the fetcher gets its bell, and no connection. */
static void without_descriptors(bool spare)
{
    enum { FILES = 256, LOOK_MS = 500, LOOKS = 4 };
    struct rlimit was, few;
    int64_t cpu, until;
    struct partition *p;
    int fds[FILES], n = 0;

    begin();
    lead_in(2);
    produce(5);
    ck_assert_int_eq(tell(lead(1)), KERR_NONE);         /* its log is there */
    p = find();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = FILES;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < FILES && (fds[n] = open("/dev/null", O_RDONLY)) >= 0)
        n++;
    ck_assert_int_gt(n, 0);
    if (spare)
        close(fds[--n]);
    ck_assert_int_eq(follow(2), KERR_NONE);
    cpu = LOOK_MS;                      /* a machine that stands still spoils a look, but not all of them */
    for (int i = 0; i < LOOKS && cpu >= LOOK_MS / 3; i++) {
        cpu = cpu_ms();
        until = mono_ms() + LOOK_MS;
        AWAIT(mono_ms() >= until);
        cpu = cpu_ms() - cpu;
    }
    while (n > 0)
        close(fds[--n]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    ck_assert_int_lt(cpu, LOOK_MS / 3);
    AWAIT(same(p));
    partition_unref(&p);
    end();
}

START_TEST(without_descriptors_it_is_tried_again_and_does_not_spin)
{
    without_descriptors(true);
    without_descriptors(false);
}
END_TEST

int main(void)
{
    const struct {
        const TTest *test;
        int          seconds;
    } tests[] = {
        { what_the_leader_has_is_copied, 240 }, { the_high_watermark_is_the_leaders, 240 },
        { a_topic_without_an_id_goes_by_name, 240 }, { without_sessions_all_is_asked_for_each_time, 240 },
        { a_leader_whose_address_is_not_known_is_waited_for, 240 }, { a_leader_may_move_and_may_be_away, 240 },
        { a_new_epoch_is_not_waited_for, 240 }, { what_has_parted_is_cut, 240 }, { it_is_with_old_leaders, 240 },
        { an_answer_of_an_earlier_epoch_is_not_believed, 240 },
        { what_is_out_of_range_begins_where_the_leader_does, 240 },
        { who_has_nothing_of_the_leaders_log_begins_where_it_does, 240 }, { no_answer_harms, 240 },
        { any_error_code_passes, 240 }, { a_batch_larger_than_asked_for_comes, 240 }, { roles_change_under_it, 240 },
        { it_is_deleted_while_it_is_fetched, 240 }, { the_number_of_fetchers_changes, 240 },
        { who_comes_and_goes_between_two_fetches_leaves_the_session, 240 },
        { it_is_flushed_before_it_counts, 240 },
        { without_descriptors_it_is_tried_again_and_does_not_spin, 240 },
    };
    Suite *s = suite_create("broker/replica/fetchers");
    SRunner *r;
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        TCase *tc = tcase_create(tests[i].test->name);

        tcase_set_timeout(tc, tests[i].seconds);
        tcase_add_test(tc, tests[i].test);
        suite_add_tcase(s, tc);
    }
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
