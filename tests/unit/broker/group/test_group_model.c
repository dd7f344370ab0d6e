/* tests/unit/broker/group/test_group_model.c - random requests, times and writes: the group and a simple model of it
 * (model.h) must tell everybody the same, and nobody may hang.
 */
#include "tests/unit/broker/group/model_calls.h"

enum { SLOTS = 10, REQUESTS = 4000, LABELS = 20000 };

/* A consumer: knows an id, perhaps an old one. */
static struct slot {
    int     label, generation, instance;
    bool    ask_id, can_skip;
    int     variant;
} slots[SLOTS];

/* One request that waits, or has waited. */
static struct req {
    struct client c;                    /* what the group is told */
    struct told   want;                 /* what the model is told */
    struct slot  *slot;
    bool          sync, seen;
} *reqs[REQUESTS];
static int reqs_n, reqs_old;            /* those before are answered */

static char ids[LABELS][ID_SIZE];          /* by label; "": not told yet */
static uint32_t rng;

static uint32_t rnd(uint32_t n)
{
    rng = rng * 1664525u + 1013904223u;
    return (rng >> 8) % n;
}

static struct str id_of(int label)
{
    return label == NOBODY ? STR_LIT("") : ids[label][0] == '\0' ? STR_LIT("not told yet") : str_of(ids[label]);
}

static struct str instance_of(int instance)
{
    static const char *const names[] = { "i0", "i1", "i2" };

    return instance == NOBODY ? NULL_STR : str_of(names[instance]);
}

static void same_id(int label, const char *id)
{
    if (label == NOBODY) {
        ck_assert_str_eq(id, "");
        return;
    }
    if (ids[label][0] == '\0')
        snprintf(ids[label], sizeof ids[label], "%s", id);
    ck_assert_str_eq(ids[label], id);
}

static void compare_join(struct req *q)
{
    const struct client *c = &q->c;

    ck_assert_int_eq(c->join_error, q->want.code);
    if (q->want.code == KERR_NONE || q->want.code == KERR_MEMBER_ID_REQUIRED) {
        same_id(q->want.label, c->id);
        q->slot->label = q->want.label;
    } else {
        same_id(q->want.label, c->fail_id);
        if (rnd(2) == 0)
            q->slot->label = NOBODY;
    }
    ck_assert_int_eq(c->generation, q->want.generation);
    if (q->want.code != KERR_NONE)
        return;
    q->slot->generation = c->generation;
    ck_assert_int_eq(c->protocol[0], q->want.protocol);
    ck_assert_int_eq(c->leads, q->want.leads);
    ck_assert_int_eq(c->skip, q->want.skip);
}

/* Leaders' ids are known only after all answers of the step. */
static void compare(void)
{
    for (int i = reqs_old; i < reqs_n; i++) {
        struct req *q = reqs[i];
        bool done = (q->sync ? q->c.syncs : q->c.joins) > 0;

        ck_assert_int_le(q->sync ? q->c.syncs : q->c.joins, 1);
        ck_assert_msg(done == q->want.done, "request %d of member %d (%s): answered %d, should be %d with %d", i,
                      q->slot->label, q->sync ? "sync" : "join", done, q->want.done, q->want.code);
        if (!done || q->seen)
            continue;
        if (!q->sync) {
            compare_join(q);
        } else {
            ck_assert_int_eq(q->c.sync_error, q->want.code);
            ck_assert_str_eq(q->c.assignment, q->want.assignment);
        }
    }
    for (int i = reqs_old; i < reqs_n; i++) {
        struct req *q = reqs[i];

        if (q->want.done && !q->seen && !q->sync && q->want.code == KERR_NONE)
            ck_assert(str_is(id_of(q->want.leader), q->c.leader));
        q->seen = q->want.done;
    }
    while (reqs_old < reqs_n && reqs[reqs_old]->seen)
        free(reqs[reqs_old++]);
    ck_assert_int_eq(g.state, M.state);
    ck_assert_int_eq(g.generation, M.generation);
    ck_assert_int_eq((int)g.members_n, M.n);
    ck_assert_int_eq((int)HASH_COUNT(g.rebalance->pending), M.pending_n);
    ck_assert(group_due(&g) <= m_due());
    kit_check();
}

static struct req *request(struct slot *s, bool sync)
{
    struct req *q = calloc(1, sizeof *q);

    client(&q->c, "m");
    q->slot = s;
    q->sync = sync;
    ck_assert_int_lt(reqs_n, REQUESTS);
    reqs[reqs_n++] = q;
    return q;
}

/* The group's wants join the model's list of writes, which has got its own. */
static void take_wants(void)
{
    while (group_want(&g) != GROUP_WANTS_NOTHING) {
        take_record(3);
        ck_assert_int_le(held_n, M.w_n);
        ck_assert_int_eq(held_what[held_n - 1], M.w[held_n - 1].what);
        ck_assert_int_eq(held_generation[held_n - 1], M.w[held_n - 1].generation);
        if (held_what[held_n - 1] != GROUP_WANTS_EMPTY)
            ck_assert_int_eq(record.members_n, M.n);
    }
    ck_assert_int_eq(held_n, M.w_n);
}

static void finish_write(int16_t kerr)
{
    /* those of one kind and generation end in order; others in any */
    int i = (int)rnd((uint32_t)held_n);

    for (int k = 0; k < i; k++)
        if (held_what[k] == held_what[i] && held_generation[k] == held_generation[i])
            i = k;
    enum group_want what = held_what[i];
    int32_t generation = held_generation[i];
    memmove(&held_what[i], &held_what[i + 1], (size_t)(held_n - i - 1) * sizeof held_what[0]);
    memmove(&held_generation[i], &held_generation[i + 1], (size_t)(held_n - i - 1) * sizeof held_generation[0]);
    held_n--;
    group_written(&g, what, generation, kerr, now);
    m_written(i, kerr == KERR_NOT_ENOUGH_REPLICAS ? KERR_COORDINATOR_NOT_AVAILABLE : kerr);
}

/* ---- steps -------------------- */

static int some_label(const struct slot *s)
{
    uint32_t dice = rnd(30);

    return dice == 0 ? NOBODY : dice == 1 ? slots[rnd(SLOTS)].label : s->label;
}

static int some_instance(const struct slot *s)
{
    return rnd(40) == 0 ? (int)rnd(4) - 1 : s->instance;
}

static void do_join(struct slot *s)
{
    static const int sessions[] = { 6000, 10000, 30000 }, rebalances[] = { 0, 5000, 20000, 60000 };
    struct req *q = request(s, false);
    struct m_join in = { .label = some_label(s), .instance = some_instance(s), .session = sessions[rnd(3)],
                         .rebalance = rebalances[rnd(4)], .ask_id = s->ask_id, .can_skip = s->can_skip };

    if (rnd(10) == 0)
        s->variant = (int)rnd(VARIANTS);
    if (m_pending(in.label) != NOBODY)
        in.instance = NOBODY;           /* a fault of its own, tried elsewhere */
    in.v = &variants[s->variant];
    q->c.in.member_id = id_of(in.label);
    q->c.in.instance_id = instance_of(in.instance);
    q->c.in.session_timeout_ms = in.session;
    q->c.in.rebalance_timeout_ms = in.rebalance;
    q->c.in.needs_member_id = in.ask_id;
    q->c.in.can_skip_assignment = in.can_skip;
    q->c.in.protocols_n = (int32_t)strlen(in.v->names);
    for (int i = 0; i < q->c.in.protocols_n; i++)
        q->c.protocols[i] = (struct group_protocol){ { &in.v->names[i], 1 }, { (const uint8_t *)&in.v->metas[i], 1 } };
    group_join(&g, &q->c.in, &q->c.jw, now);
    m_join(&in, &q->want);
}

static void do_sync(struct slot *s)
{
    struct sync_assignment v[MODEL_MEMBERS];
    char text[MODEL_MEMBERS][24];
    int given[MODEL_MEMBERS], n = 0, label = some_label(s), instance = some_instance(s);
    int generation = s->generation - (rnd(20) == 0);
    struct req *q = request(s, true);

    for (int i = 0; i < M.n && label == M.leader; i++) {
        if (rnd(5) == 0 || ids[M.m[i].label][0] == '\0')
            continue;
        given[n] = M.m[i].label;
        snprintf(text[n], sizeof text[n], "%d-%d", generation, given[n]);
        v[n] = (struct sync_assignment){ id_of(given[n]), { (const uint8_t *)text[n], strlen(text[n]) } };
        n++;
    }
    struct sync_args in = { .member_id = id_of(label), .instance_id = instance_of(instance), .generation = generation,
                            .assignments = v, .assignments_n = n };
    group_sync(&g, &in, &q->c.sw, now);
    m_sync(label, instance, generation, given, n, &q->want);
}

static void do_other(struct slot *s, uint32_t which)
{
    int label = some_label(s), instance = some_instance(s), generation = s->generation - (rnd(20) == 0);
    bool txn = rnd(3) == 0;

    switch (which) {
    case 0:
        ck_assert_int_eq(group_heartbeat(&g, id_of(label), instance_of(instance), generation, now),
                         m_heartbeat(label, instance, generation));
        break;
    case 1:
        ck_assert_int_eq(group_may_commit(&g, id_of(label), instance_of(instance), generation, txn, now),
                         m_commit(label, instance, generation, txn));
        break;
    default:
        ck_assert_int_eq(group_leave(&g, id_of(label), instance_of(instance), NULL_STR, now), m_leave(label, instance));
        break;
    }
}

static void do_time(int64_t ms)
{
    int64_t until = now + ms;

    for (;;) {
        int64_t due = m_due(), real = group_due(&g);

        if (real > until)
            break;
        if (real > now)
            now = real;
        if (due <= now)
            m_tick();
        group_tick(&g, now);
        take_wants();
        compare();
    }
    now = until;
}

static void step(void)
{
    struct slot *s = &slots[rnd(SLOTS)];
    uint32_t dice = rnd(100);

    if (dice < 30)
        do_join(s);
    else if (dice < 55)
        do_sync(s);
    else if (dice < 70)
        do_other(s, 0);
    else if (dice < 75)
        do_other(s, 1);
    else if (dice < 78)
        do_other(s, 2);
    else if (dice < 90 && held_n > 0)
        finish_write(rnd(6) == 0 ? KERR_NOT_ENOUGH_REPLICAS : KERR_NONE);
    else
        do_time(rnd(3) == 0 ? rnd(8000) : rnd(300));
    take_wants();
    compare();
}

static void forget_requests(void)
{
    for (; reqs_old < reqs_n; reqs_old++) {
        ck_assert_int_eq(reqs[reqs_old]->sync ? reqs[reqs_old]->c.syncs : reqs[reqs_old]->c.joins, 1);
        free(reqs[reqs_old]);
    }
    reqs_n = reqs_old = 0;
}

/* What a coordinator elsewhere makes of the record of a settled group is that group. */
static void compare_restored(void)
{
    static struct group other;
    const struct group_member *at = NULL, *at_other = NULL;
    struct group_member_view v, w;

    if (g.state != GROUP_STABLE || held_n > 0)
        return;
    g.rebalance->want = GROUP_WANTS_STATIC;
    take_record(3);
    held_n = 0;
    ok(group_init(&other, STR_LIT("grp"), &limits));
    lock_drop(&g.lock);
    lock_take(&other.lock);
    ok(group_restore(&other, &record, now));
    ck_assert_int_eq(other.generation, g.generation);
    ck_assert(str_eq(other.leader->id, g.leader->id));
    ck_assert(str_eq(other.protocol, g.protocol) && str_eq(other.protocol_type, g.protocol_type));
    while (group_next_member(&g, &at, &v)) {
        ck_assert(group_next_member(&other, &at_other, &w));
        ck_assert(str_eq(v.member_id, w.member_id) && str_eq(v.instance_id, w.instance_id));
        ck_assert(str_eq(v.client_id, w.client_id) && str_eq(v.client_host, w.client_host));
        ck_assert(v.metadata.len == w.metadata.len && memcmp(v.metadata.p, w.metadata.p, v.metadata.len) == 0);
        ck_assert_uint_eq(v.assignment.len, w.assignment.len);
        ck_assert_int_eq(memcmp(v.assignment.p, w.assignment.p, v.assignment.len), 0);
        ck_assert_int_eq(at->session_timeout_ms, at_other->session_timeout_ms);
        ck_assert_int_eq(at->rebalance_timeout_ms, at_other->rebalance_timeout_ms);
    }
    ck_assert(!group_next_member(&other, &at_other, &w));
    group_end(&other, KERR_NOT_COORDINATOR);
    lock_drop(&other.lock);
    group_fini(&other);
    lock_take(&g.lock);
}

#if defined __SANITIZE_THREAD__         /* which learns nothing here: there is one thread */
enum { ROUNDS = 1 };
#elif defined __SANITIZE_ADDRESS__
enum { ROUNDS = 3 };
#else
enum { ROUNDS = 12 };
#endif

START_TEST(random_lives)
{
    static int seen[GROUP_STATES_N], generations;

    for (int round = 0; round < ROUNDS; round++) {
        rng = (uint32_t)(_i * 1000 + round);
        begin();
        m_begin();
        memset(ids, 0, sizeof ids);
        limits.max_size = round % 3 == 0 ? 4 : 1000;
        limits.initial_delay_ms = (int32_t[]){ 3000, 0, 100 }[round % 3];
        for (int i = 0; i < SLOTS; i++)
            slots[i] = (struct slot){ .label = NOBODY, .generation = -1,
                                      .instance = i < 4 ? i % 3 : NOBODY, .ask_id = i % 2 == 0, .can_skip = i % 3 == 0,
                                      .variant = (int)rnd(3) };
        for (int i = 0; i < 2000; i++) {
            step();
            seen[g.state]++;
            if (i % 10 == 0)
                compare_restored();
        }
        generations += g.generation;
        group_end(&g, KERR_NOT_COORDINATOR);
        forget_requests();
        while (held_n > 0) {
            held_n--;
            group_written(&g, held_what[held_n], held_generation[held_n], KERR_NONE, now);
        }
        end();
    }
    arena_fini(&record_arena);
    for (int i = 0; i < GROUP_DEAD; i++)
        ck_assert_msg(seen[i] > 10 * ROUNDS, "%s seen %d times", group_state_name((enum group_state)i), seen[i]);
    ck_assert_int_gt(generations, 25 * ROUNDS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/model");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, random_lives, 0, 4);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
