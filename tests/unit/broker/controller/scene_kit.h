/* tests/unit/broker/controller/scene_kit.h - scenes with one topic on the brokers of cluster_kit.h: t-0 on 6, 7, 8. */
#ifndef TESTS_UNIT_BROKER_CONTROLLER_SCENE_KIT_H
#define TESTS_UNIT_BROKER_CONTROLLER_SCENE_KIT_H

#include "tests/unit/broker/controller/cluster_kit.h"

static struct cluster cl;

static inline void setup(void)
{
    cluster_new(&cl);
    cluster_up(&cl, "unclean.leader.election.enable=false");
}

static inline void teardown(void)
{
    kit_down(&cl.k);
    cluster_end(&cl);
}

/* It answers again: first what it held. */
static inline void peer_release(int32_t id)
{
    struct peer_seen *s = &cl.seen[id - BROKER - 1];
    struct control_request *req, *next;

    lock_take(&cl.lock);
    s->holds = false;
    req = s->channel != NULL ? peer_take_held(s->channel) : NULL;
    for (struct control_request *r = req; r != NULL; r = r->next)
        peer_answer(s, r);
    lock_drop(&cl.lock);
    for (; req != NULL; req = next) {
        next = req->next;
        req->done(req);
    }
}

/* It ends and is back, and nobody sees it without its node. */
static inline void peer_bounce(int32_t id)
{
    struct store_call *call = store_call_new(NULL, NULL);
    char *text = peer_node(id, 9090 + id);

    store_delete(call, zpath_broker(id).z, STORE_ANY_VERSION);
    store_create(call, zpath_broker(id).z, (struct bytes){ (const uint8_t *)text, strlen(text) }, 0);
    ck_assert_int_eq(store_run(cl.k.store, call), OK);
    store_call_free(&call);
    free(text);
}

static inline bool same_isr(const int32_t *a, int32_t an, const int32_t *b, int32_t bn)
{
    for (int32_t i = 0; i < an; i++) {
        bool found = false;

        for (int32_t k = 0; k < bn && !found; k++)
            found = a[i] == b[k];
        if (!found)
            return false;
    }
    return an == bn;
}

static inline const char *isr_text(const int32_t *v, int32_t n, char *out)
{
    out[0] = '\0';
    for (int32_t i = 0; i < n; i++)
        snprintf(out + strlen(out), 16, " %d", v[i]);
    return out;
}

static inline void one_partition_of(const char *name)
{
    static const int32_t on[] = { 6, 7, 8 };
    struct topic_op_assignment as = { .index = 0, .brokers = on, .brokers_n = 3 };
    struct topic_op_topic t = { .name = str_of(name), .partitions = -1, .replication = -1, .assignments = &as,
                                .assignments_n = 1 };
    struct kit_op ko = { .done = false };

    kit_op_run(&cl.k, &ko, TOPIC_OP_CREATE, &t, 1, PATIENT_MS);
    ck_assert_int_eq(t.error, KERR_NONE);
    kit_op_end(&ko);
    cluster_settle(&cl);
}

/* t-0 on 6, 7, 8, led by 6. */
static inline void one_partition(void)
{
    for (int32_t b = 6; b <= 8; b++)
        peer_register(&cl, b);
    cluster_settle(&cl);
    one_partition_of("t");
}

static inline void stands(int32_t leader, int32_t epoch, const int32_t *isr, int32_t n)
{
    struct view v = cluster_state(&cl, "t", 0, NULL);
    char x[64], y[64];

    ck_assert_msg(v.leader == leader && v.epoch == epoch && same_isr(v.isr, v.isr_n, isr, n),
                  "leader %d, epoch %d, isr%s; want %d, %d,%s", v.leader, v.epoch, isr_text(v.isr, v.isr_n, x), leader,
                  epoch, isr_text(isr, n, y));
}

#define STANDS(leader, epoch, ...)                                                                                     \
    stands(leader, epoch, (const int32_t[]){ __VA_ARGS__ }, sizeof((const int32_t[]){ __VA_ARGS__ }) / 4)

static inline void write_state(int32_t leader, int32_t epoch, int32_t controller_epoch, const int32_t *isr, int32_t n)
{
    struct znode_state st = { .leader = leader, .leader_epoch = epoch, .controller_epoch = controller_epoch,
                              .isr = { (int32_t *)(uintptr_t)isr, n } };
    char *text = znode_state_write(&st);

    ck_assert_int_eq(cluster_write(&cl, STORE_SET, zpath_state(STR_LIT("t"), 0).z, text), OK);
    free(text);
}

static inline void offline_for_all(int32_t digits)
{
    lock_take(&cl.lock);
    for (int i = 0; i < PEERS - 1; i++)
        if (!cl.seen[i].holds)
            ck_assert_msg(cl.seen[i].offline[0] == digits, "broker %d was told that %d are offline, not %d",
                          BROKER + 1 + i, cl.seen[i].offline[0], digits);
    lock_drop(&cl.lock);
}

#endif
