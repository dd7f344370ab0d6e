/* tests/unit/broker/controller/test_cluster.c - the controller of several brokers: who leads and who is in sync after
 * brokers came, went, asked to go, or could not be reached; random sequences of it against a model.
 */
#include "tests/unit/broker/controller/scene_kit.h"

#include "broker/controller/priv.h"

#define PARTS 12
#define RF    3
#define ROUNDS 150

/* ---- the model: 4.3 to 4.6 of zookeeper-layout.md, and what unreachable brokers lose ------------------------ */

struct mpart {
    int32_t replicas[RF];
    int32_t leader, epoch, isr[IN_ISR_MAX], isr_n;
    bool    offline, recovering;
};

struct model {
    bool         live[PEERS + 1], shutting[PEERS + 1], far[PEERS + 1];
    bool         unclean;
    struct mpart p[PARTS];
};

static bool m_online(const struct model *m, int32_t b)
{
    return b >= 0 && m->live[b - BROKER] && !m->shutting[b - BROKER];
}

static bool m_in(const struct mpart *p, int32_t b)
{
    for (int32_t i = 0; i < p->isr_n; i++)
        if (p->isr[i] == b)
            return true;
    return false;
}

static bool m_hosts(const struct mpart *p, int32_t b)
{
    for (int i = 0; i < RF; i++)
        if (p->replicas[i] == b)
            return true;
    return false;
}

static int32_t m_first(const struct model *m, const struct mpart *p, bool in_sync)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < RF; i++) {
            int32_t b = p->replicas[i];

            if (m_online(m, b) && (!in_sync || m_in(p, b)) && (pass == 1 || !m->far[b - BROKER]))
                return b;
        }
    return -1;
}

/* Out of the ISR: those for which go() says yes, but not the leader. */
static void m_keep(const struct model *m, struct mpart *p, bool (*stays)(const struct model *, int32_t))
{
    int32_t n = 0;

    for (int32_t i = 0; i < p->isr_n; i++)
        if (p->isr[i] == p->leader || stays(m, p->isr[i]))
            p->isr[n++] = p->isr[i];
    p->isr_n = n;
}

static bool m_near(const struct model *m, int32_t b)
{
    return !m->far[b - BROKER];
}

static bool m_not_shutting(const struct model *m, int32_t b)
{
    return !m->shutting[b - BROKER];
}

static void m_elect_offline(struct model *m)
{
    for (int i = 0; i < PARTS; i++) {
        struct mpart *p = &m->p[i];
        int32_t clean = m_first(m, p, true), any = m->unclean ? m_first(m, p, false) : -1;

        if (!p->offline || (clean < 0 && any < 0))
            continue;
        p->epoch++;
        p->offline = false;
        p->leader = clean >= 0 ? clean : any;
        if (clean >= 0) {
            m_keep(m, p, m_online);
        } else {
            p->recovering = true;
            p->isr[0] = any;
            p->isr_n = 1;
        }
    }
}

/* The replica on b leaves the ISR. */
static void m_leave(struct mpart *p, int32_t b)
{
    if (!m_in(p, b))
        return;
    p->epoch++;
    if (p->leader == b)
        p->leader = -1;
    for (int32_t i = 0, n = 0; i < p->isr_n && p->isr_n > 1; i++) {
        if (p->isr[i] != b)
            p->isr[n++] = p->isr[i];
        if (i == p->isr_n - 1) {
            p->isr_n = n;
            break;
        }
    }
}

static void m_die(struct model *m, int32_t b)
{
    m->live[b - BROKER] = m->shutting[b - BROKER] = m->far[b - BROKER] = false;
    for (int i = 0; i < PARTS; i++)
        m->p[i].offline |= !m_online(m, m->p[i].leader);
    m_elect_offline(m);
    for (int i = 0; i < PARTS; i++)
        if (m_hosts(&m->p[i], b))
            m_leave(&m->p[i], b);
}

static void m_move_far(struct model *m)
{
    for (int i = 0; i < PARTS; i++) {
        struct mpart *p = &m->p[i];
        int32_t heir = -1;

        if (p->leader >= 0 && !m->far[p->leader - BROKER]) {
            int32_t before = p->isr_n;

            m_keep(m, p, m_near);
            p->epoch += p->isr_n != before;
            continue;
        }
        for (int k = 0; k < RF && heir < 0 && p->leader >= 0; k++)
            if (m_online(m, p->replicas[k]) && m_in(p, p->replicas[k]) && m_near(m, p->replicas[k]))
                heir = p->replicas[k];
        if (heir < 0)
            continue;
        p->leader = heir;
        p->epoch++;
        p->offline = false;
        m_keep(m, p, m_near);
    }
}

static void m_start(struct model *m, int32_t b)
{
    bool any_far = false;

    m->live[b - BROKER] = true;
    for (int i = 0; i <= PEERS; i++)
        any_far |= m->far[i];
    if (any_far)
        m_move_far(m);
    m_elect_offline(m);
}

static void m_shutdown(struct model *m, int32_t b)
{
    bool led[PARTS];

    m->shutting[b - BROKER] = true;
    for (int i = 0; i < PARTS; i++) {
        struct mpart *p = &m->p[i];
        int32_t to = m_first(m, p, true);

        led[i] = p->leader == b;
        if (!led[i] || to < 0)
            continue;
        p->leader = to;
        p->epoch++;
        p->offline = false;
        m_keep(m, p, m_not_shutting);
    }
    for (int i = 0; i < PARTS; i++)
        if (!led[i] && m_hosts(&m->p[i], b))
            m_leave(&m->p[i], b);
}

/* ---- the model and what stands ------------------------------------------------------------------------------ */

static void check(const struct model *m, const char *after)
{
    char x[64], y[64];

    cluster_settle(&cl);
    for (int i = 0; i < PARTS; i++) {
        const struct mpart *p = &m->p[i];
        struct view v = cluster_state(&cl, "t", i, NULL);

        ck_assert_msg(v.leader == p->leader && v.epoch == p->epoch && same_isr(v.isr, v.isr_n, p->isr, p->isr_n),
                      "after %s: t-%d: leader %d epoch %d isr%s, want %d, %d,%s", after, i, v.leader, v.epoch,
                      isr_text(v.isr, v.isr_n, x), p->leader, p->epoch, isr_text(p->isr, p->isr_n, y));
        lock_take(&cl.lock);
        for (int32_t b = BROKER + 1; b <= BROKER + PEERS; b++) {
            const struct peer_seen *s = &cl.seen[b - BROKER - 1];

            if (!m->live[b - BROKER] || s->holds)
                continue;
            ck_assert_msg(s->um[i].leader == v.leader && s->um[i].epoch == v.epoch &&
                          same_isr(s->um[i].isr, s->um[i].isr_n, v.isr, v.isr_n),
                          "after %s: t-%d: broker %d knows leader %d, epoch %d; stands %d, %d", after, i, b,
                          s->um[i].leader, s->um[i].epoch, v.leader, v.epoch);
            if (m_online(m, b) && m_hosts(p, b))
                ck_assert_msg(s->lai[i].leader == v.leader && s->lai[i].epoch == v.epoch,
                              "after %s: t-%d: broker %d was told leader %d, epoch %d; stands %d, %d", after, i, b,
                              s->lai[i].leader, s->lai[i].epoch, v.leader, v.epoch);
        }
        lock_drop(&cl.lock);
    }
}

static void model_begin(struct model *m)
{
    struct topic_op_topic t = { .name = STR_LIT("t"), .partitions = PARTS, .replication = RF };
    struct kit_op ko = { .done = false };
    struct znode_topic z;
    struct arena a;
    char *text;

    memset(m, 0, sizeof *m);
    m->live[0] = true;
    for (int32_t b = BROKER + 1; b <= BROKER + PEERS; b++) {
        peer_register(&cl, b);
        m->live[b - BROKER] = true;
    }
    cluster_settle(&cl);
    kit_op_run(&cl.k, &ko, TOPIC_OP_CREATE, &t, 1, PATIENT_MS);
    ck_assert_int_eq(t.error, KERR_NONE);
    kit_op_end(&ko);
    arena_init(&a, (size_t)1 << 20);
    text = kit_node(&cl.k, "/brokers/topics/t");
    ck_assert_int_eq(znode_topic_read((struct bytes){ (uint8_t *)text, strlen(text) }, &a, &z), OK);
    free(text);
    for (int i = 0; i < PARTS; i++) {
        ck_assert_int_eq(z.partitions[i].replicas.n, RF);
        memcpy(m->p[i].replicas, z.partitions[i].replicas.v, sizeof m->p[i].replicas);
        memcpy(m->p[i].isr, m->p[i].replicas, sizeof m->p[i].replicas);
        m->p[i].isr_n = RF;
        m->p[i].leader = m->p[i].replicas[0];
    }
    arena_fini(&a);
    check(m, "the creation");
}

/* ---- what happens ---------------------------------------------------------------------------------------- */

static int16_t shut_down(int32_t id, int64_t epoch, int32_t *remaining)
{
    struct controlled_shutdown_request req;
    struct controlled_shutdown_response resp;
    struct waited_ask w;

    controlled_shutdown_request_init(&req);
    controlled_shutdown_response_init(&resp);
    req.broker_id = id;
    req.broker_epoch = epoch;
    ask_and_wait(&cl, &w, ASK_CONTROLLED_SHUTDOWN, 3, &req, &resp);
    *remaining = resp.remaining_partitions_n;
    arena_fini(&w.arena);
    return resp.error_code;
}

struct change {
    int32_t        broker, partition, leader_epoch, partition_epoch;
    int64_t        broker_epoch;
    const int32_t *isr;
    int32_t        isr_n;
    const int64_t *isr_epochs;          /* NULL: version 0 */
    int8_t         recovery;
    /* the answer */
    int16_t        top;
    int32_t        got_epoch, got_partition_epoch, got_isr_n;
};

static int16_t alter(struct change *ch)
{
    struct alter_partition_request_broker_state with[IN_ISR_MAX];
    struct alter_partition_request_partition_data p;
    struct alter_partition_request_topic_data t;
    struct alter_partition_request req;
    struct alter_partition_response resp;
    struct waited_ask w;
    int16_t error = KERR_NONE;

    alter_partition_request_init(&req);
    alter_partition_request_topic_data_init(&t);
    alter_partition_request_partition_data_init(&p);
    alter_partition_response_init(&resp);
    p.partition_index = ch->partition;
    p.leader_epoch = ch->leader_epoch;
    p.partition_epoch = ch->partition_epoch;
    p.leader_recovery_state = ch->recovery;
    for (int32_t i = 0; i < ch->isr_n && ch->isr_epochs != NULL; i++)
        with[i] = (struct alter_partition_request_broker_state){ .broker_id = ch->isr[i],
                                                                 .broker_epoch = ch->isr_epochs[i] };
    p.new_isr = (int32_t *)(uintptr_t)ch->isr;
    p.new_isr_n = ch->isr_epochs == NULL ? ch->isr_n : 0;
    p.new_isr_with_epochs = with;
    p.new_isr_with_epochs_n = ch->isr_epochs != NULL ? ch->isr_n : 0;
    t.topic_name = STR_LIT("t");
    if (ch->isr_epochs != NULL) {
        struct metadata *md = metadata_get(cl.k.cache);

        t.topic_id = metadata_topic(md, STR_LIT("t"))->id;
        metadata_put(&md);
    }
    t.partitions = &p;
    t.partitions_n = 1;
    req.broker_id = ch->broker;
    req.broker_epoch = ch->broker_epoch;
    req.topics = &t;
    req.topics_n = 1;
    ask_and_wait(&cl, &w, ASK_ALTER_PARTITION, ch->isr_epochs != NULL ? 3 : 0, &req, &resp);
    ch->top = resp.error_code;
    if (resp.error_code == KERR_NONE) {
        ck_assert_int_eq(resp.topics_n, 1);
        ck_assert_int_eq(resp.topics[0].partitions_n, 1);
        error = resp.topics[0].partitions[0].error_code;
        ch->got_epoch = resp.topics[0].partitions[0].leader_epoch;
        ch->got_partition_epoch = resp.topics[0].partitions[0].partition_epoch;
        ch->got_isr_n = resp.topics[0].partitions[0].isr_n;
    }
    arena_fini(&w.arena);
    return error;
}

static uint32_t seed;

static uint32_t next_random(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* A leader takes into its ISR whoever it likes; who is out of reach does not come in. */
static void random_isr(struct model *m)
{
    int index = (int)next_random(PARTS);
    struct mpart *p = &m->p[index];
    int32_t want[RF], n = 0, version = -1;
    struct change ch = { .broker = p->leader, .partition = index, .leader_epoch = p->epoch, .isr = want };
    bool all_online = true;
    int16_t error;

    if (p->leader < 0 || !m->live[p->leader - BROKER] || m->far[p->leader - BROKER])
        return;
    for (int i = 0; i < RF; i++)
        if (p->replicas[i] == p->leader || next_random(3) > 0) {
            want[n++] = p->replicas[i];
            all_online = all_online && m_online(m, p->replicas[i]) &&
                         (!m->far[p->replicas[i] - BROKER] || m_in(p, p->replicas[i]));
        }
    cluster_state(&cl, "t", index, &version);
    ch.partition_epoch = version;
    ch.broker_epoch = p->leader == BROKER ? cl.k.epoch : peer_epoch(&cl, p->leader);
    ch.isr_n = n;
    error = alter(&ch);
    ck_assert_int_eq(ch.top, KERR_NONE);
    if (same_isr(want, n, p->isr, p->isr_n) && !p->recovering)
        ck_assert_int_eq(error, KERR_NONE);
    else
        ck_assert_int_eq(error, all_online ? KERR_NONE : KERR_OPERATION_NOT_ATTEMPTED);
    if (error == KERR_NONE) {
        memcpy(p->isr, want, sizeof want);
        p->isr_n = n;
        p->recovering = false;
    }
}

static void random_step(struct model *m, char what[64])
{
    int32_t b = BROKER + 1 + (int32_t)next_random(PEERS), remaining;
    struct peer_seen *s = &cl.seen[b - BROKER - 1];
    bool live = m->live[b - BROKER];
    uint32_t kind = next_random(8);

    snprintf(what, 64, "step %u of broker %d", kind, b);
    if (!live) {
        peer_register(&cl, b);
        m_start(m, b);
    } else if (kind == 0) {
        peer_vanish(&cl, b);
        s->holds = false;
        m_die(m, b);
    } else if (kind == 1) {                                     /* bounced, and nobody saw it away */
        struct store_call *call = store_call_new(NULL, NULL);
        char *text = peer_node(b, 9090 + b);

        s->holds = false;
        store_delete(call, zpath_broker(b).z, STORE_ANY_VERSION);
        store_create(call, zpath_broker(b).z, (struct bytes){ (uint8_t *)text, strlen(text) }, 0);
        ck_assert_int_eq(store_run(cl.k.store, call), OK);
        store_call_free(&call);
        free(text);
        m_die(m, b);
        m_start(m, b);
    } else if (kind == 2 && !m->far[b - BROKER]) {
        lock_take(&cl.lock);
        s->holds = true;
        lock_drop(&cl.lock);
        controller_link_down(cl.k.ctl, b, peer_epoch(&cl, b));
        m->far[b - BROKER] = true;
        m_move_far(m);
    } else if (kind == 2 || kind == 3) {
        peer_release(b);
        if (m->far[b - BROKER]) {
            m->far[b - BROKER] = false;
            m_move_far(m);
        }
    } else if (kind == 4 && !m->shutting[b - BROKER]) {
        ck_assert_int_eq(shut_down(b, peer_epoch(&cl, b), &remaining), KERR_NONE);
        m_shutdown(m, b);
    } else {
        for (int i = 0; i < 8; i++)
            random_isr(m);
    }
}

static void random_rounds(bool unclean)
{
    struct model m;
    char what[64];

    model_begin(&m);
    m.unclean = unclean;
    for (int i = 0; i < ROUNDS; i++) {
        random_step(&m, what);
        check(&m, what);
    }
}

START_TEST(whatever_happens_it_is_as_in_the_model)
{
    seed = (uint32_t)_i * 7919u + 1u;
    random_rounds(false);
}
END_TEST

START_TEST(with_unclean_elections_too)
{
    kit_down(&cl.k);
    cluster_up(&cl, "unclean.leader.election.enable=true");
    seed = (uint32_t)_i * 104729u + 3u;
    random_rounds(true);
}
END_TEST

/* ---- one thing at a time ----------------------------------------------------------------------------------- */

START_TEST(a_new_broker_learns_of_everything)
{
    one_partition();
    STANDS(6, 0, 6, 7, 8);
    peer_register(&cl, 9);
    cluster_settle(&cl);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[3].um[0].leader, 6);
    ck_assert_int_eq(cl.seen[3].brokers_n, 5);
    ck_assert_int_eq(cl.seen[0].brokers_n, 5);
    ck_assert_uint_eq(cl.seen[3].lai_partitions, 0);
    lock_drop(&cl.lock);
}
END_TEST

START_TEST(nodes_that_are_none_of_brokers)
{
    char *text = peer_node(9, 9099);

    one_partition();
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_BROKER_IDS "/09", text), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_BROKER_IDS "/-1", text), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_BROKER_IDS "/99999999999", text), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_BROKER_IDS "/kafka", "x"), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_BROKER_IDS "/9", "{\"version\":5,\"endpoints\":[7]}"), OK);
    cluster_settle(&cl);
    ck_assert_int_eq(cl.seen[3].opened, 0);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[0].brokers_n, 4);
    lock_drop(&cl.lock);
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_BROKER_IDS "/9", text), OK);     /* mended */
    cluster_settle(&cl);
    ck_assert_int_eq(cl.seen[3].opened, 1);
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_BROKER_IDS "/6", "not json"), OK);
    cluster_settle(&cl);
    STANDS(6, 0, 6, 7, 8);                      /* taken for what it was */
    ck_assert_int_eq(cl.seen[0].closed, 0);
    free(text);
}
END_TEST

START_TEST(listeners_that_change)
{
    char *text = peer_node(6, 19096);

    one_partition();
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_BROKER_IDS "/6", text), OK);
    cluster_settle(&cl);
    STANDS(6, 0, 6, 7, 8);                      /* no election: the registration is the same */
    ck_assert_int_eq(cl.seen[0].opened, 2);
    ck_assert_int_eq(cl.seen[0].closed, 1);
    free(text);
}
END_TEST

static void hold(int32_t id)
{
    lock_take(&cl.lock);
    cl.seen[id - BROKER - 1].holds = true;
    lock_drop(&cl.lock);
}

/* What it had not answered goes with its old channel. */
static void change_listeners(int32_t id)
{
    char *text = peer_node(id, 19090 + id);

    lock_take(&cl.lock);
    cl.seen[id - BROKER - 1].holds = false;             /* from the next request on */
    lock_drop(&cl.lock);
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, zpath_broker(id).z, text), OK);
    cluster_settle(&cl);
    free(text);
}

START_TEST(what_is_not_answered_when_listeners_change)
{
    one_partition();
    hold(7);
    peer_vanish(&cl, 6);
    cluster_settle(&cl);
    STANDS(7, 1, 7, 8);
    change_listeners(7);
    STANDS(7, 1, 7, 8);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[1].lai[0].leader, 7);
    ck_assert_int_eq(cl.seen[1].lai[0].epoch, 1);
    lock_drop(&cl.lock);
    peer_register(&cl, 6);
    cluster_settle(&cl);
    hold(8);
    ck_assert_int_eq(kit_delete(&cl.k, "t", 0), KERR_REQUEST_TIMED_OUT);
    cluster_settle(&cl);
    kit_check_node(&cl.k, "/admin/delete_topics/t", "");
    change_listeners(8);
    kit_wait_gone(&cl.k, "/admin/delete_topics/t");
}
END_TEST

START_TEST(a_controlled_shutdown)
{
    int64_t epoch;
    int32_t left;

    one_partition();
    epoch = peer_epoch(&cl, 6);
    ck_assert_int_eq(shut_down(9, -1, &left), KERR_BROKER_NOT_AVAILABLE);
    ck_assert_int_eq(shut_down(6, epoch - 1, &left), KERR_STALE_BROKER_EPOCH);
    STANDS(6, 0, 6, 7, 8);
    ck_assert_int_eq(shut_down(6, epoch, &left), KERR_NONE);
    ck_assert_int_eq(left, 0);
    STANDS(7, 1, 7, 8);
    ck_assert_int_eq(shut_down(8, peer_epoch(&cl, 8), &left), KERR_NONE);
    STANDS(7, 2, 7);
    ck_assert(cl.seen[2].stopped[0]);
    ck_assert_int_eq(shut_down(7, peer_epoch(&cl, 7), &left), KERR_NONE);
    ck_assert_int_eq(left, 1);                  /* nobody else is in sync */
    STANDS(7, 2, 7);
    peer_vanish(&cl, 7);
    cluster_settle(&cl);
    STANDS(-1, 3, 7);
    peer_register(&cl, 7);
    cluster_settle(&cl);
    STANDS(7, 4, 7);
}
END_TEST

START_TEST(who_may_change_an_isr)
{
    static const int32_t all[] = { 6, 7, 8 }, two[] = { 6, 7 }, foreign[] = { 6, 9 }, twice[] = { 6, 6 },
                         headless[] = { 7, 8 };
    int64_t epochs[3];
    struct change ch;

    one_partition();
    peer_register(&cl, 9);
    cluster_settle(&cl);
    ch = (struct change){ .broker = 6, .broker_epoch = peer_epoch(&cl, 6), .isr = two, .isr_n = 2 };
    ch.broker_epoch--;
    (void)alter(&ch);
    ck_assert_int_eq(ch.top, KERR_STALE_BROKER_EPOCH);
    ch.broker_epoch++;
    ch.leader_epoch = 1;
    ck_assert_int_eq(alter(&ch), KERR_NOT_CONTROLLER);
    ch.leader_epoch = -1;
    ck_assert_int_eq(alter(&ch), KERR_FENCED_LEADER_EPOCH);
    ch.leader_epoch = 0;
    ch.partition_epoch = 1;
    ck_assert_int_eq(alter(&ch), KERR_NOT_CONTROLLER);
    ch.partition_epoch = -1;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_UPDATE_VERSION);
    ch.isr = all, ch.isr_n = 3;
    ck_assert_int_eq(alter(&ch), KERR_NONE);                    /* as it stands */
    ch.partition_epoch = 0;
    ch.isr = foreign, ch.isr_n = 2;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);
    ch.isr = twice;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);
    ch.isr = headless;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);
    ch.isr_n = 0;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);
    ch.isr = two, ch.isr_n = 2, ch.recovery = 1;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);
    ch.recovery = 0, ch.partition = 1;
    ck_assert_int_eq(alter(&ch), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ch.partition = 0;
    ck_assert_int_eq(alter(&ch), KERR_NONE);
    ck_assert_int_eq(ch.got_partition_epoch, 1);
    ck_assert_int_eq(ch.got_isr_n, 2);
    STANDS(6, 0, 6, 7);
    ch.broker = 7, ch.broker_epoch = peer_epoch(&cl, 7), ch.partition_epoch = 1;
    ck_assert_int_eq(alter(&ch), KERR_INVALID_REQUEST);         /* it does not lead */
    /* R6: 8 has registered anew since it was seen to catch up */
    for (int i = 0; i < 3; i++)
        epochs[i] = peer_epoch(&cl, all[i]);
    peer_vanish(&cl, 8);
    peer_register(&cl, 8);
    cluster_settle(&cl);
    ch = (struct change){ .broker = 6, .broker_epoch = epochs[0], .isr = all, .isr_n = 3, .isr_epochs = epochs,
                          .partition_epoch = 1 };
    ck_assert_int_eq(alter(&ch), KERR_INELIGIBLE_REPLICA);
    epochs[2] = peer_epoch(&cl, 8);
    ck_assert_int_eq(alter(&ch), KERR_NONE);
    STANDS(6, 0, 6, 7, 8);
}
END_TEST

START_TEST(a_state_that_somebody_else_has_written)
{
    static const int32_t two[] = { 6, 8 };

    one_partition();
    write_state(6, 0, 1, two, 2);               /* a leader of old that changed its ISR by itself */
    peer_vanish(&cl, 6);
    cluster_settle(&cl);
    STANDS(8, 1, 8);
}
END_TEST

START_TEST(leaders_that_write_their_isrs_tell_by_a_notice)
{
    static const int32_t two[] = { 6, 8 };

    one_partition();
    write_state(6, 0, 1, two, 2);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_ISR_CHANGES "/isr_change_0000000001",
                                   "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0},"
                                   "{\"topic\":\"u\",\"partition\":0},{\"topic\":\"t\",\"partition\":7}]}"), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_ISR_CHANGES "/isr_change_0000000002", "no notice"), OK);
    cluster_settle(&cl);
    kit_check_node(&cl.k, ZK_ISR_CHANGES "/isr_change_0000000001", NULL);
    kit_check_node(&cl.k, ZK_ISR_CHANGES "/isr_change_0000000002", NULL);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[1].um[0].isr_n, 2);
    lock_drop(&cl.lock);
    STANDS(6, 0, 6, 8);
}
END_TEST

START_TEST(a_lost_directory_on_another_broker)
{
    one_partition();
    lock_take(&cl.lock);
    cl.seen[0].lai_error = KERR_KAFKA_STORAGE_ERROR;
    lock_drop(&cl.lock);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, ZK_LOG_DIR_EVENTS "/log_dir_event_0000000000",
                                   "{\"version\":1,\"broker\":6,\"event\":1}"), OK);
    cluster_settle(&cl);
    STANDS(7, 1, 7, 8);
    kit_check_node(&cl.k, ZK_LOG_DIR_EVENTS "/log_dir_event_0000000000", NULL);
}
END_TEST

static void storage(int32_t id, int16_t error, const char *notice)
{
    char path[128], text[128];

    lock_take(&cl.lock);
    cl.seen[id - BROKER - 1].lai_error = error;
    lock_drop(&cl.lock);
    snprintf(path, sizeof path, ZK_LOG_DIR_EVENTS "/log_dir_event_000000000%s", notice);
    snprintf(text, sizeof text, "{\"version\":1,\"broker\":%d,\"event\":1}", id);
    ck_assert_int_eq(cluster_write(&cl, STORE_CREATE, path, text), OK);
    cluster_settle(&cl);
}

/* Its disk was full, and is not any more: it hosts the replica without another start, and leads if nobody else does. */
START_TEST(a_replica_that_is_found_again)
{
    one_partition();
    storage(6, KERR_KAFKA_STORAGE_ERROR, "1");
    STANDS(7, 1, 7, 8);
    offline_for_all(6);
    storage(6, KERR_NONE, "2");
    STANDS(7, 1, 7, 8);                         /* its leader takes it into the ISR when it has caught up */
    offline_for_all(0);
    storage(8, KERR_KAFKA_STORAGE_ERROR, "3");
    STANDS(7, 2, 7);
    storage(7, KERR_KAFKA_STORAGE_ERROR, "4");
    STANDS(-1, 3, 7);
    storage(8, KERR_NONE, "5");
    STANDS(-1, 3, 7);
    storage(7, KERR_NONE, "6");
    STANDS(7, 4, 7);
    offline_for_all(0);
}
END_TEST

/* Before it ended it said that it had lost its log. The start that is registered now has not. */
START_TEST(what_an_earlier_start_has_lost)
{
    one_partition();
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    cl.seen[0].last_words = KERR_KAFKA_STORAGE_ERROR;
    lock_drop(&cl.lock);
    storage(6, KERR_NONE, "1");
    lock_take(&cl.lock);
    cl.seen[0].holds = false;                   /* the next one answers at once */
    lock_drop(&cl.lock);
    peer_bounce(6);
    cluster_settle(&cl);
    STANDS(7, 1, 7, 8);
    offline_for_all(0);
    ck_assert_int_eq(cl.seen[0].stops, 0);
}
END_TEST

START_TEST(a_broker_out_of_reach)
{
    static const int32_t all[] = { 6, 7, 8 };
    struct change ch = { .broker = 7, .isr = all, .isr_n = 3, .leader_epoch = 1 };

    one_partition();
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6) - 1);  /* of an earlier registration */
    controller_link_down(cl.k.ctl, 9, -1);                      /* nobody */
    controller_link_down(cl.k.ctl, BROKER, -1);                 /* this one */
    cluster_settle(&cl);
    STANDS(6, 0, 6, 7, 8);
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6));
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6));
    cluster_settle(&cl);
    STANDS(7, 1, 7, 8);
    ck_assert_int_eq(cl.seen[0].closed, 0);     /* it is still a broker */
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[1].brokers_n, 4);
    lock_drop(&cl.lock);
    peer_release(6);                       /* it was alive: it follows, catches up, and comes back */
    cluster_settle(&cl);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[0].lai[0].leader, 7);
    ck_assert_int_eq(cl.seen[0].lai[0].epoch, 1);
    lock_drop(&cl.lock);
    cluster_state(&cl, "t", 0, &ch.partition_epoch);
    ch.broker_epoch = peer_epoch(&cl, 7);
    ck_assert_int_eq(alter(&ch), KERR_NONE);
    STANDS(7, 1, 6, 7, 8);
    peer_vanish(&cl, 7);
    cluster_settle(&cl);
    STANDS(6, 2, 6, 8);
}
END_TEST

static void out_of_reach_and_back(int32_t id)
{
    lock_take(&cl.lock);
    cl.seen[id - BROKER - 1].holds = true;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, id, peer_epoch(&cl, id));
    cluster_settle(&cl);
    offline_for_all(id);
    peer_release(id);
    cluster_settle(&cl);
    offline_for_all(0);
}

/* Whether it leads, is not in sync, or is the only one that is: everybody hears at once that its replica is offline. */
START_TEST(replicas_out_of_reach_are_offline)
{
    static const int32_t alone[] = { 7 };
    struct change ch = { .broker = 7, .isr = alone, .isr_n = 1, .leader_epoch = 1 };

    one_partition();
    offline_for_all(0);
    out_of_reach_and_back(6);
    STANDS(7, 1, 7, 8);
    out_of_reach_and_back(6);
    cluster_state(&cl, "t", 0, &ch.partition_epoch);
    ch.broker_epoch = peer_epoch(&cl, 7);
    ck_assert_int_eq(alter(&ch), KERR_NONE);
    out_of_reach_and_back(7);
    STANDS(7, 1, 7);
}
END_TEST

START_TEST(a_new_topic_while_a_broker_is_out_of_reach)
{
    for (int32_t b = 6; b <= 8; b++)
        peer_register(&cl, b);
    cluster_settle(&cl);
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6));
    one_partition_of("t");
    STANDS(7, 0, 7, 8);
    peer_release(6);
    cluster_settle(&cl);
    lock_take(&cl.lock);
    ck_assert_int_eq(cl.seen[0].lai[0].leader, 7);      /* it follows */
    lock_drop(&cl.lock);
}
END_TEST

START_TEST(no_other_in_sync_means_no_election)
{
    static const int32_t alone[] = { 6 };
    struct change ch = { .broker = 6, .isr = alone, .isr_n = 1 };

    one_partition();
    ch.broker_epoch = peer_epoch(&cl, 6);
    ck_assert_int_eq(alter(&ch), KERR_NONE);
    controller_link_down(cl.k.ctl, 6, ch.broker_epoch);
    cluster_settle(&cl);
    STANDS(6, 0, 6);
}
END_TEST

START_TEST(another_controller_has_taken_over)
{
    one_partition();
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER_EPOCH, "7"), OK);
    peer_vanish(&cl, 6);                        /* the first write is refused: it resigns, and is elected anew */
    while (cluster_state(&cl, "t", 0, NULL).epoch == 0)
        cluster_settle(&cl);
    cluster_settle(&cl);
    kit_check_node(&cl.k, ZK_CONTROLLER_EPOCH, "8");
    kit_check_node(&cl.k, "/brokers/topics/t/partitions/0/state",
                   "{\"controller_epoch\":8,\"leader\":7,\"version\":1,\"leader_epoch\":1,\"isr\":[7,8]}");
    ck_assert(controller_active(cl.k.ctl));
    ck_assert_int_eq(cl.seen[1].closed, 1);
    ck_assert_int_eq(cl.seen[1].opened, 2);
}
END_TEST

/* A partition's state that a later controller has written ends this term half-way; the node is our own still. */
START_TEST(a_term_that_cannot_go_on)
{
    static const int32_t two[] = { 6, 8 }, all[] = { 6, 7, 8 };

    one_partition();
    write_state(6, 0, 99, two, 2);
    peer_vanish(&cl, 6);
    store_barrier(cl.k.store);
    write_state(6, 3, 1, all, 3);               /* and somebody has mended it */
    while (cluster_state(&cl, "t", 0, NULL).epoch == 3)
        cluster_settle(&cl);
    STANDS(7, 4, 7, 8);
    ck_assert(controller_active(cl.k.ctl));
}
END_TEST

/* Another broker is the controller, and its links break. */
START_TEST(a_controller_out_of_reach)
{
    size_t told, led;

    one_partition();
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER_EPOCH, "7"), OK);
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER, "{\"version\":2,\"brokerid\":6,\"timestamp\":\"1\","
                                   "\"kraftControllerEpoch\":4}"), OK);
    cluster_settle(&cl);
    ck_assert(!controller_active(cl.k.ctl));
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, 6, -1);      /* one of KRaft's is not ours to depose */
    controller_link_down(cl.k.ctl, 7, -1);
    cluster_settle(&cl);
    ck_assert(!controller_active(cl.k.ctl));
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, ZK_CONTROLLER, "{\"version\":2,\"brokerid\":6,\"timestamp\":\"1\","
                                   "\"kraftControllerEpoch\":-1}"), OK);
    cluster_settle(&cl);
    lock_take(&cl.lock);
    told = cl.seen[1].lai_partitions;
    led = cl.seen[1].led;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, 6, -1);
    while (!controller_active(cl.k.ctl))
        cluster_settle(&cl);
    cluster_settle(&cl);
    kit_check_node(&cl.k, ZK_CONTROLLER_EPOCH, "8");
    STANDS(7, 1, 7, 8);                         /* what it led has been moved as well */
    lock_take(&cl.lock);
    told = cl.seen[1].lai_partitions - told;
    led = cl.seen[1].led - led;
    lock_drop(&cl.lock);
    ck_assert(led > 0 && led == told);          /* before anybody was told of anything else */
    peer_release(6);
}
END_TEST

static int64_t allocate(int32_t broker, int64_t epoch, int16_t *error)
{
    struct allocate_producer_ids_request req;
    struct allocate_producer_ids_response resp;
    struct waited_ask w;

    allocate_producer_ids_request_init(&req);
    allocate_producer_ids_response_init(&resp);
    req.broker_id = broker;
    req.broker_epoch = epoch;
    ask_and_wait(&cl, &w, ASK_PRODUCER_IDS, 0, &req, &resp);
    arena_fini(&w.arena);
    *error = resp.error_code;
    return resp.producer_id_len == 1000 ? resp.producer_id_start : -1;
}

START_TEST(blocks_of_producer_ids)
{
    int16_t error;

    one_partition();
    ck_assert_int_eq(allocate(9, 1, &error), -1);
    ck_assert_int_eq(error, KERR_BROKER_ID_NOT_REGISTERED);
    ck_assert_int_eq(allocate(6, 1, &error), -1);
    ck_assert_int_eq(error, KERR_STALE_BROKER_EPOCH);
    ck_assert_int_eq(allocate(6, peer_epoch(&cl, 6), &error), 0);
    ck_assert_int_eq(allocate(7, peer_epoch(&cl, 7), &error), 1000);
    kit_check_node(&cl.k, "/latest_producer_id_block",
                   "{\"version\":1,\"broker\":7,\"block_start\":\"1000\",\"block_end\":\"1999\"}");
    ck_assert_int_eq(cluster_write(&cl, STORE_SET, "/latest_producer_id_block", "garbage"), OK);
    ck_assert_int_eq(allocate(6, peer_epoch(&cl, 6), &error), -1);
    ck_assert_int_eq(error, KERR_UNKNOWN_SERVER_ERROR);
}
END_TEST

/* ---- how fast ----------------------------------------------------------------------------------------------- */

#define MANY_TOPICS 1000

static void create_many(void)
{
    static char names[MANY_TOPICS][16];
    struct topic_op_topic *t = calloc(MANY_TOPICS, sizeof *t);
    struct kit_op ko = { .done = false };

    for (int i = 0; i < MANY_TOPICS; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        t[i] = (struct topic_op_topic){ .name = str_of(names[i]), .partitions = 10, .replication = 3 };
    }
    kit_op_run(&cl.k, &ko, TOPIC_OP_CREATE, t, MANY_TOPICS, PATIENT_MS);
    kit_op_end(&ko);
    for (int i = 0; i < MANY_TOPICS; i++)
        ck_assert_int_eq(t[i].error, KERR_NONE);
    free(t);
}

/* Whoever does not want it says so with a time that no clock can reach: it is not due again and again. */
START_TEST(a_balance_that_is_hardly_ever_due)
{
    kit_down(&cl.k);
    cluster_up(&cl, "leader.imbalance.check.interval.seconds=9223372036854775807");
    one_partition();
    ck_assert_int_eq(event_post(cl.k.ctl, EV_BALANCE, NULL), OK);
    cluster_settle(&cl);
    ck_assert(cl.k.ctl->balance_at_ns > mono_ns() && cl.k.ctl->balance_at_ns < INT64_MAX);   /* not due, nor begun */
    STANDS(6, 0, 6, 7, 8);
}
END_TEST

START_TEST(ten_thousand_partitions)
{
    int64_t began = mono_ms(), made, failed_over, moved;

    one_partition();
    create_many();
    cluster_settle(&cl);
    made = mono_ms();
    ck_assert_int_eq(cluster_write(&cl, STORE_DELETE, ZK_CONTROLLER, NULL), OK);
    cluster_settle(&cl);
    cluster_settle(&cl);
    ck_assert(controller_active(cl.k.ctl));
    failed_over = mono_ms();
    lock_take(&cl.lock);
    cl.seen[0].holds = true;
    lock_drop(&cl.lock);
    controller_link_down(cl.k.ctl, 6, peer_epoch(&cl, 6));
    cluster_settle(&cl);
    moved = mono_ms();
    STANDS(7, 1, 7, 8);
    printf("1,000 topics of 10 partitions, RF 3: %d ms; another term: %d ms; a broker out of reach: %d ms\n",
           (int)(made - began), (int)(failed_over - made), (int)(moved - failed_over));
}
END_TEST

/* ---- the main ---------------------------------------------------------------------------------------------- */

int main(void)
{
    Suite *s = suite_create("broker/controller/cluster");
    TCase *tc = tcase_create("model"), *one = tcase_create("one");
    SRunner *sr;
    int failed;

    log_threshold = LOG_FATAL;
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, whatever_happens_it_is_as_in_the_model, 0, 4);
    tcase_add_loop_test(tc, with_unclean_elections_too, 0, 2);
    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(one, setup, teardown);
    tcase_set_timeout(one, 120);
    tcase_add_test(one, a_new_broker_learns_of_everything);
    tcase_add_test(one, nodes_that_are_none_of_brokers);
    tcase_add_test(one, listeners_that_change);
    tcase_add_test(one, what_is_not_answered_when_listeners_change);
    tcase_add_test(one, a_controlled_shutdown);
    tcase_add_test(one, who_may_change_an_isr);
    tcase_add_test(one, a_state_that_somebody_else_has_written);
    tcase_add_test(one, leaders_that_write_their_isrs_tell_by_a_notice);
    tcase_add_test(one, a_lost_directory_on_another_broker);
    tcase_add_test(one, a_replica_that_is_found_again);
    tcase_add_test(one, what_an_earlier_start_has_lost);
    tcase_add_test(one, a_broker_out_of_reach);
    tcase_add_test(one, replicas_out_of_reach_are_offline);
    tcase_add_test(one, a_new_topic_while_a_broker_is_out_of_reach);
    tcase_add_test(one, no_other_in_sync_means_no_election);
    tcase_add_test(one, another_controller_has_taken_over);
    tcase_add_test(one, a_term_that_cannot_go_on);
    tcase_add_test(one, a_controller_out_of_reach);
    tcase_add_test(one, blocks_of_producer_ids);
    tcase_add_test(one, a_balance_that_is_hardly_ever_due);
    tcase_add_test(one, ten_thousand_partitions);
    suite_add_tcase(s, one);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
