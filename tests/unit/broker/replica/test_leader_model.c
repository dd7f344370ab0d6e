/* tests/unit/broker/replica/test_leader_model.c - random histories of one leader, five followers and a controller,
 * beside a model of what each of them really has.
 *
 * After every step: start <= LSO <= HW <= LEO; the high watermark has not gone back; where it has moved, every member
 * of the ISR that the controller has committed - not the leader's idea of it - has all below; and who was let into the
 * ISR has it. Answers come late, get lost, or are refused; followers lag, vanish, and come back with what they had or
 * with an empty disk and a new broker epoch.
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/replica/isr.h"
#include "broker/replica/leader.h"
#include "broker/replica/partition_priv.h"
#include "proto/gen/update_metadata_request.h"
#include "tests/unit/broker/replica/kit.h"

enum { FOLLOWERS = 5, FIRST = 2, STEPS = 4000, HISTORIES = 12 };

/* What is true of a follower. */
struct truth {
    int64_t leo;                        /* of its log */
    int64_t epoch;                      /* its registration */
    bool    known;                      /* the leader has heard of this incarnation */
    bool    up;
};

static struct truth       follower[FOLLOWERS];
static int32_t            isr[FOLLOWERS + 2];           /* as committed; ends with -1 */
static int32_t            leader_epoch, node_version;
static struct isr_change *questions;
static struct partition  *p;
static int64_t            leo, last_hw;
static unsigned           seed;

static unsigned dice(unsigned n)
{
    seed = seed * 1103515245U + 12345U;
    return (seed >> 16) % n;
}

static struct truth *of(int32_t id)
{
    return &follower[id - FIRST];
}

static bool in_isr(int32_t id)
{
    for (int i = 0; isr[i] != -1; i++)
        if (isr[i] == id)
            return true;
    return false;
}

/* ---- the controller ---------------------------------------------------------------------------------------------- */

static void on_submit(struct isr_changer *c, struct isr_change *ch)
{
    (void)c;
    ck_assert_ptr_null(questions);      /* one at a time, but for those of an earlier leader epoch */
    ch->next = questions;
    questions = ch;
}

static struct isr_changer fake = { on_submit };
static struct isr_change *stale[64];
static int                stale_n;

/* As the controller does it: by epochs, and by the registration of each member. */
static enum isr_outcome judge(struct isr_change *ch)
{
    if (ch->leader_epoch != leader_epoch || ch->partition_epoch != node_version)
        return ISR_WAIT;
    for (int32_t i = 0; i < ch->isr_n; i++) {
        int32_t id = ch->isr[i].id;

        if (id != SELF && !in_isr(id) && (!of(id)->up || of(id)->epoch != ch->isr[i].broker_epoch))
            return ISR_REVERT;
    }
    return ISR_DONE;
}

static void commit(const struct isr_change *ch)
{
    int n = 0;

    for (int32_t i = 0; i < ch->isr_n; i++) {
        if (ch->isr[i].id != SELF && !in_isr(ch->isr[i].id))
            ck_assert_int_ge(of(ch->isr[i].id)->leo, last_hw);          /* it has all that is committed */
    }
    for (int32_t i = 0; i < ch->isr_n; i++)
        isr[n++] = ch->isr[i].id;
    isr[n] = -1;
    node_version++;
}

static void reply(struct isr_change *ch, enum isr_outcome outcome)
{
    ch->outcome = outcome;
    ch->kerr = outcome == ISR_DONE ? KERR_NONE : KERR_INELIGIBLE_REPLICA;
    ch->got_leader_epoch = leader_epoch;
    ch->got_partition_epoch = node_version;
    ch->got_isr = isr;
    ch->got_isr_n = count(isr);
    ch->done(ch);
}

static void announce(void)
{
    int32_t replicas[FOLLOWERS + 2] = { SELF }, told_isr[FOLLOWERS + 2];

    for (int i = 0; i < FOLLOWERS; i++)
        replicas[i + 1] = FIRST + i;
    replicas[FOLLOWERS + 1] = -1;
    memcpy(told_isr, isr, sizeof isr);
    partition_epoch = node_version;
    ck_assert_int_eq(tell((struct say){ 1, SELF, leader_epoch, replicas, told_isr, topic_id }), KERR_NONE);
}

/* A new epoch for the same leader; who is down has left the ISR. */
static void elect(void)
{
    int n = 0;

    for (int i = 0; isr[i] != -1; i++)
        if (isr[i] == SELF || of(isr[i])->up)
            isr[n++] = isr[i];
    isr[n] = -1;
    leader_epoch++;
    node_version++;
    if (questions != NULL) {
        if (stale_n < 64)
            stale[stale_n++] = questions;
        else
            reply(questions, ISR_DROPPED);
        questions = NULL;
    }
    announce();
}

static void answer_some(void)
{
    struct isr_change *ch = questions;
    unsigned how = dice(10);
    enum isr_outcome outcome;

    if (dice(4) == 0 && stale_n > 0) {
        ch = stale[--stale_n];
        ch->kerr = KERR_FENCED_LEADER_EPOCH;
        reply(ch, dice(2) == 0 ? ISR_WAIT : ISR_RETRY);
        return;
    }
    if (ch == NULL)
        return;
    questions = NULL;
    if (how == 0) {                     /* done or not, the answer is lost: asked again with the same versions */
        if (judge(ch) == ISR_DONE)
            commit(ch);
        reply(ch, ISR_RETRY);
        return;
    }
    if (how == 1) {
        reply(ch, ISR_RETRY);
        return;
    }
    outcome = judge(ch);
    if (outcome == ISR_DONE)
        commit(ch);
    reply(ch, outcome);
    if (outcome == ISR_WAIT && dice(2) == 0)
        elect();
}

/* ---- followers --------------------------------------------------------------------------------------------------- */

static void told_alive(void)
{
    struct update_metadata_request req;
    struct update_metadata_request_update_metadata_broker brokers[FOLLOWERS];

    update_metadata_request_init(&req);
    req.live_brokers = brokers;
    for (int i = 0; i < FOLLOWERS; i++) {
        if (!follower[i].up)
            continue;
        update_metadata_request_update_metadata_broker_init(&brokers[req.live_brokers_n]);
        brokers[req.live_brokers_n++].id = FIRST + i;
    }
    ck_assert_int_eq(metadata_cache_update(metacache, &req), OK);
}

static void follower_fetches(int32_t id)
{
    struct truth *f = of(id);
    struct follower_fetch in = { .id = id, .broker_epoch = f->epoch, .leader_epoch = leader_epoch, .last_epoch = -1,
                                 .offset = f->leo, .log_start = 0, .now_ms = mono_ms() - (int64_t)dice(3) * 20000 };

    if (!f->up)
        return;
    if (dice(30) == 0)
        in.leader_epoch = leader_epoch - 1;
    if (dice(30) == 0 && f->epoch > 1) {        /* an earlier incarnation's, late */
        bool known = f->known;

        in.broker_epoch--;
        in.offset = in_isr(id) ? f->leo : leo;
        ck_assert_int_eq(partition_follower_fetched(p, &in),
                         known && in.leader_epoch == leader_epoch ? KERR_NOT_LEADER_OR_FOLLOWER
                         : in.leader_epoch == leader_epoch        ? KERR_NONE
                                                                  : KERR_FENCED_LEADER_EPOCH);
        return;
    }
    if (partition_follower_fetched(p, &in) != KERR_NONE)
        return;
    f->known = true;
    f->leo += dice(2) == 0 ? leo - f->leo : (int64_t)dice((unsigned)(leo - f->leo) + 1);
}

static void follower_dies_or_returns(int32_t id)
{
    struct truth *f = of(id);

    if (f->up) {
        f->up = false;
    } else {
        f->up = true;
        f->epoch += 2;
        if (!in_isr(id) && dice(2) == 0)
            f->leo = 0;                 /* its disk is lost; in the ISR, that would be for the operator */
        f->known = false;
    }
    if (dice(3) != 0)
        told_alive();
}

/* ---- histories --------------------------------------------------------------------------------------------------- */

static void check(void)
{
    struct plog_offsets o = partition_offsets(p);

    ck_assert_int_le(o.start, o.lso);
    ck_assert_int_le(o.lso, o.hw);
    ck_assert_int_le(o.hw, o.leo);
    ck_assert_int_ge(o.hw, last_hw);
    if (o.hw > last_hw) {
        for (int i = 0; isr[i] != -1; i++)
            if (isr[i] != SELF)
                ck_assert_msg(of(isr[i])->leo >= o.hw, "broker %d has %lld, hw is %lld", isr[i],
                              (long long)of(isr[i])->leo, (long long)o.hw);
    }
    last_hw = o.hw;
}

static void step(void)
{
    struct plog_appended done;
    int32_t who = (int32_t)(FIRST + dice(FOLLOWERS));

    switch (dice(12)) {
    case 0:
    case 1:
        ck_assert_int_eq(append(p, (int)dice(3) + 1, 1, &done), KERR_NONE);
        leo = done.offsets.leo;
        break;
    case 2:
        answer_some();
        break;
    case 3:
        partition_shrink_isr(p, mono_ms() + (int64_t)dice(4) * 15000);
        break;
    case 4:
        if (dice(10) == 0)
            elect();
        break;
    case 5:
        if (dice(10) == 0)
            follower_dies_or_returns(who);
        break;
    case 6:
        atomic_store(&p->min_isr, (int32_t)dice(3) + 1);
        partition_recheck(p);
        break;
    default:
        follower_fetches(who);
        break;
    }
    arena_reset(&arena);
}

START_TEST(random_histories)
{
    seed = (unsigned)_i * 7919 + 1;
    questions = NULL;
    stale_n = 0;
    leader_epoch = 0;
    node_version = 0;
    leo = last_hw = 0;
    for (int i = 0; i < FOLLOWERS; i++)
        follower[i] = (struct truth){ .epoch = 1, .up = true };
    isr[0] = SELF;
    isr[1] = FIRST;
    isr[2] = FIRST + 1;
    isr[3] = -1;
    told_alive();
    announce();
    p = find();
    for (int i = 0; i < STEPS; i++) {
        step();
        check();
    }
    ck_assert_int_gt(last_hw, 100);
    if (questions != NULL)
        reply(questions, ISR_DROPPED);
    while (stale_n > 0)
        reply(stale[--stale_n], ISR_DROPPED);
    partition_unref(&p);
}
END_TEST

static void setup_model(void)
{
    changer = &fake;
    atomic_store(&log_threshold, LOG_ERROR);
    setup();
}

int main(void)
{
    Suite *s = suite_create("leader model");
    TCase *tc = tcase_create("model");
    SRunner *sr = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(tc, setup_model, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, random_histories, 0, HISTORIES);
    suite_add_tcase(s, tc);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
