/* tests/unit/broker/replica/test_follower_model.c - random histories of three replicas of one partition, on real
 * logs, with a controller that moves the leadership faster than they hear of it (KIP-101, KIP-279; B11 and B12).
 *
 * The replicas are t-0, t-1 and t-2 of one replica manager: each leads or follows as the controller last told
 * it, with the code of both sides; only the network between them is the test's. A LeaderAndIsr comes late or
 * never, so that leaders that were deposed go on, and followers go on with them.
 *
 * What is true whatever happens: what was below a leader's high watermark is the same record at that offset for
 * ever; in the end all three logs are the same bytes.
 */
#include "tests/unit/broker/replica/partition_bytes.h"

#include "base/log.h"
#include "broker/replica/follower.h"
#include "broker/replica/leader.h"

enum { REPLICAS = 3, STEPS = 700, HISTORIES = 15, RECORDS = 4096 };

static struct {
    struct partition *p;
    bool              up;
    int               leader;           /* as it was told; -1: none */
    int32_t           epoch;
    bool              agreed;           /* with an old leader: asked where the epochs end */
    int32_t           heard_epoch;      /* in which it has fetched last, to the leader's content, at ... */
    int64_t           heard_leo;
} rep[REPLICAS];

static int      now_leader;             /* the controller's */
static int32_t  now_epoch;
static bool     in_isr[REPLICAS];
static bool     by_fetch;               /* leaders tell of it in Fetch */
static uint64_t committed[RECORDS];
static uint64_t next_id;
static unsigned seed;

static unsigned dice(unsigned n)
{
    seed = seed * 1103515245U + 12345U;
    return (seed >> 16) % n;
}

/* ---- the controller
 * ---------------------------------------------------------------------------------------------- */

/* What the controller thinks now is told to r, who calls itself SELF and the others 100 and up. */
static void tell_one(int r)
{
    int32_t replicas[REPLICAS], isr[REPLICAS], n = 0;
    struct leader_and_isr_request req;
    struct leader_and_isr_response resp;
    struct request_topic topic;
    struct request_state state;

    if (!rep[r].up || rep[r].epoch == now_epoch)
        return;
    leader_and_isr_request_init(&req);
    leader_and_isr_request_leader_and_isr_topic_state_init(&topic);
    leader_and_isr_request_leader_and_isr_partition_state_init(&state);
    for (int i = 0; i < REPLICAS; i++) {
        replicas[i] = i == r ? SELF : 100 + i;
        if (in_isr[i])
            isr[n++] = replicas[i];
    }
    req.controller_epoch = 1;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = STR_LIT("t");
    topic.topic_id = topic_id;
    topic.partition_states = &state;
    topic.partition_states_n = 1;
    state.partition_index = r;
    state.partition_epoch = state.leader_epoch = now_epoch;
    state.leader = now_leader < 0 ? -1 : replicas[now_leader];
    state.replicas = replicas;
    state.replicas_n = REPLICAS;
    state.isr = isr;
    state.isr_n = n;
    ck_assert_int_eq(replicas_leader_and_isr(rs, &req, &resp, &arena), OK);
    ck_assert_int_eq(resp.topics[0].partition_errors[0].error_code, KERR_NONE);
    if (rep[r].p == NULL)
        rep[r].p = replicas_find(rs, STR_LIT("t"), r, NULL);
    ck_assert_ptr_nonnull(rep[r].p);
    rep[r].leader = now_leader;
    rep[r].epoch = now_epoch;
    rep[r].agreed = by_fetch;
}

static bool leads(int r)
{
    return rep[r].p != NULL && rep[r].leader == r;
}

/* Another leader out of the ISR, though the old one may live on; it leaves the ISR if somebody else is in it. */
static void elect(void)
{
    int to = (int)dice(REPLICAS);

    if (!in_isr[to] || !rep[to].up || to == now_leader)
        return;
    if (now_leader >= 0 && dice(2) == 0)
        in_isr[now_leader] = false;
    now_leader = to;
    now_epoch++;
    if (dice(3) > 0)
        tell_one(to);
}

/* The leader, which must hear of it at once, has one more or one fewer in its ISR. */
static void change_isr(void)
{
    int who = (int)dice(REPLICAS), l = now_leader;

    if (l < 0 || !rep[l].up || rep[l].epoch != now_epoch || who == l || rep[who].p == NULL)
        return;
    if (in_isr[who] && rep[who].up && dice(4) > 0)
        return;
    if (!in_isr[who] && (!rep[who].up || rep[who].heard_epoch != now_epoch ||
                         rep[who].heard_leo != partition_offsets(rep[l].p).leo))
        return;
    in_isr[who] = !in_isr[who];
    now_epoch++;
    tell_one(l);
}

/* ---- records
 * ----------------------------------------------------------------------------------------------------- */

static void produce(int r)
{
    struct plog_append in;
    struct plog_appended out;
    struct builder_opts o;
    struct builder b;
    struct bytes set;
    uint64_t id = ++next_id;

    if (!rep[r].up || !leads(r) || partition_offsets(rep[r].p).leo >= RECORDS - 1)
        return;
    builder_opts_init(&o);
    builder_init(&b, &o, &arena);
    builder_add(&b, &(struct record){ .offset = 0, .timestamp = 1, .value = { (const uint8_t *)&id, sizeof id } });
    ck_assert_int_eq(builder_finish(&b, &set), OK);
    builder_fini(&b);
    in = (struct plog_append){ .p = (uint8_t *)(uintptr_t)set.p, .len = set.len };
    ck_assert_int_eq(partition_append(rep[r].p, &in, 1, &out), KERR_NONE);
}

/* Value, then a byte for no headers, end each batch. */
static uint64_t id_of(const struct batch_iter *it)
{
    uint64_t id;

    memcpy(&id, it->p + it->head.size_bytes - 1 - sizeof id, sizeof id);
    return id;
}

/* What lies below the high watermark of r is the same as ever. */
static void check(int r)
{
    struct plog *l = partition_log(rep[r].p);
    struct plog_offsets o = plog_offsets(l);
    struct batch_iter it;
    size_t n;
    uint8_t *v = log_bytes(l, 0, &n);

    ck_assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
    batch_iter_init(&it, (struct bytes){ v, n });
    while (batch_iter_next(&it) && it.head.base_offset < o.hw) {
        uint64_t *is = &committed[it.head.base_offset], id = id_of(&it);

        ck_assert_msg(*is == 0 || *is == id, "offset %ld of replica %d: record %lu, but %lu was committed (seed %u)",
                      (long)it.head.base_offset, r, (unsigned long)id, (unsigned long)*is, seed);
        *is = id;
    }
    free(v);
    plog_unref(&l);
}

/* ---- the network between them
 * ------------------------------------------------------------------------------------ */

static void ask_epochs(int r, int l)
{
    struct plog_epoch_end end;
    struct follower_place at;
    int64_t leo;

    ck_assert_int_eq(follower_place(rep[r].p, rep[r].epoch, &at), OK);
    if (at.epoch < 0) {
        rep[r].agreed = true;
        return;
    }
    if (partition_epoch_end(rep[l].p, rep[r].epoch, at.epoch, &end) != KERR_NONE)
        return;
    ck_assert_int_eq(follower_part(rep[r].p, rep[r].epoch, end, &leo, &rep[r].agreed), OK);
}

static void take(int r, struct partition_read *io)
{
    size_t len = io->read.records.len;
    uint8_t *v = malloc(len + 1);
    struct follower_take t = { .leader_epoch = rep[r].epoch, .offset = io->offset, .hw = io->read.offsets.hw,
                               .start = io->read.offsets.start };

    if (len > 0)
        ck_assert_int_eq(fio_pread_all(io->read.records.file->fd, v, len, io->read.records.pos), OK);
    t.records = (struct bytes){ v, len };
    ck_assert_int_eq(follower_take(rep[r].p, &t), OK);
    free(v);
}

/* One Fetch of r to whom it believes to lead. */
static void fetch(int r)
{
    int l = rep[r].leader;
    struct follower_place at;
    struct follower_fetch in;
    struct partition_read io;
    int64_t leo;
    bool agreed;

    if (!rep[r].up || rep[r].p == NULL || l < 0 || l == r || !rep[l].up || !leads(l))
        return;
    if (!rep[r].agreed) {
        ask_epochs(r, l);
        return;
    }
    ck_assert_int_eq(follower_place(rep[r].p, rep[r].epoch, &at), OK);
    in = (struct follower_fetch){ .id = 100 + r, .broker_epoch = -1, .leader_epoch = rep[r].epoch,
                                  .last_epoch = by_fetch ? at.epoch : -1, .offset = at.offsets.leo,
                                  .log_start = at.offsets.start, .now_ms = mono_ms() };
    if (partition_follower_fetched(rep[l].p, &in) != KERR_NONE)
        return;
    io = (struct partition_read){ .offset = in.offset, .leader_epoch = in.leader_epoch, .last_epoch = in.last_epoch,
                                  .isolation = ISOLATION_LEO, .leader_only = true, .at_least_one = true,
                                  .max_bytes = 50 + dice(400) };
    if (partition_read(rep[l].p, &io) != KERR_NONE)
        return;
    if (io.diverging.end_offset >= 0)
        ck_assert_int_eq(follower_part(rep[r].p, rep[r].epoch, io.diverging, &leo, &agreed), OK);
    else
        take(r, &io);
    if (io.diverging.end_offset < 0) {
        rep[r].heard_epoch = in.leader_epoch;
        rep[r].heard_leo = in.offset;
    }
    plog_read_done(&io.read);
    check(l);
    check(r);
}

/* ---- histories
 * --------------------------------------------------------------------------------------------------- */

static void step(void)
{
    int r = (int)dice(REPLICAS);

    switch (dice(20)) {
    case 0:
        elect();
        break;
    case 1:
    case 2:
        change_isr();
        break;
    case 3:
        if (rep[r].up && dice(2) == 0) {
            rep[r].up = false;
            if (r == now_leader)
                elect();
        }
        break;
    case 4:
        rep[r].up = true;
        break;
    case 5:
    case 6:
    case 7:
        tell_one(r);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        produce(r);
        break;
    default:
        fetch(r);
        break;
    }
}

static bool settled(void)
{
    int64_t end = partition_offsets(rep[now_leader].p).leo;

    for (int r = 0; r < REPLICAS; r++)
        if (partition_offsets(rep[r].p).leo != end || partition_offsets(rep[r].p).hw != end)
            return false;
    return true;
}

/* All are up, all hear of the latest leader, who was in the ISR, and have its log. */
static void settle(void)
{
    size_t n[REPLICAS];
    uint8_t *v[REPLICAS];

    for (int r = 0; r < REPLICAS; r++)
        rep[r].up = true;
    for (int r = 0; r < REPLICAS; r++)
        tell_one(r);
    produce(now_leader);
    ck_assert(leads(now_leader));
    for (int i = 0; i < 3 * RECORDS && !settled(); i++)
        fetch(i % REPLICAS);
    for (int r = 0; r < REPLICAS; r++) {
        struct plog *l = partition_log(rep[r].p);

        v[r] = log_bytes(l, 0, &n[r]);
        check(r);
        ck_assert_uint_eq(n[r], n[0]);
        ck_assert_mem_eq(v[r], v[0], n[0]);
        plog_unref(&l);
    }
    for (int r = 0; r < REPLICAS; r++)
        free(v[r]);
}

static void history(unsigned first_seed)
{
    atomic_store(&log_threshold, LOG_FATAL);
    setup();
    seed = first_seed;
    memset(committed, 0, sizeof committed);
    memset(rep, 0, sizeof rep);
    now_leader = (int)dice(REPLICAS);
    now_epoch = 0;
    for (int r = 0; r < REPLICAS; r++) {
        rep[r].up = in_isr[r] = true;
        rep[r].epoch = rep[r].leader = rep[r].heard_epoch = -1;
    }
    for (int r = 0; r < REPLICAS; r++)
        tell_one(r);
    for (int i = 0; i < STEPS; i++)
        step();
    settle();
    for (int r = 0; r < REPLICAS; r++)
        partition_unref(&rep[r].p);
    teardown();
}

START_TEST(nothing_committed_is_lost_and_all_logs_agree)
{
    by_fetch = true;
    for (unsigned i = 1; i <= HISTORIES; i++)
        history(i * 7919);
}
END_TEST

START_TEST(so_it_is_when_leaders_are_asked_where_epochs_end)
{
    by_fetch = false;
    for (unsigned i = 1; i <= HISTORIES; i++)
        history(i * 104729);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/replica/follower_model");
    TCase *tc = tcase_create("histories");
    SRunner *r;
    int failed;

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, nothing_committed_is_lost_and_all_logs_agree);
    tcase_add_test(tc, so_it_is_when_leaders_are_asked_where_epochs_end);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
