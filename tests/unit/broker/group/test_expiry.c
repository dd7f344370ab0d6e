/* tests/unit/broker/group/test_expiry.c - which offsets expire, by state of the group and time; what the log says then;
 * and groups that have nothing left.
 */
#include "tests/unit/broker/group/coord_kit.h"

#include "broker/group/expiry.h"

#define DAY_MS  ((int64_t)86400000)
#define HOUR_MS ((int64_t)3600000)

static int64_t now_ms;                  /* Unix ms */

/* Taken up anew, by way of another leader. */
static void reload(const char *group, int32_t p)
{
    static int32_t epoch = 100;

    tell(p, OTHER, epoch++, false);
    wait_for(group, KERR_NOT_COORDINATOR);
    tell(p, SELF, epoch++, false);
    wait_for(group, KERR_NONE);
}

static int32_t begin(const char *group)
{
    world_new("offsets.topic.num.partitions=1", "offsets.commit.timeout.ms=3600000");
    now_ms = wall_ms();
    return lead_for(group, 0);
}

/* A commit of that age, in the log and in memory; expire_ms -1: by the broker's retention. */
static void committed_at(int32_t p, const char *group, const char *topic, int32_t partition, int64_t commit_ms,
                         int64_t expire_ms)
{
    struct committed c = { .offset = 5, .commit_ms = commit_ms, .expire_ms = expire_ms, .leader_epoch = -1,
                           .metadata = STR_LIT("") };
    struct group_session s;
    struct group_record r;

    ok(offset_record(groups_versions(w.gs), &w.arena, str_of(group), str_of(topic), partition, &c, &r));
    append(p, -1, &r, 1);
    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_OR_NEW, &s), KERR_NONE);
    ok(group_offsets_put(s.g->offsets, str_of(topic), partition, &c));
    groups_leave(&s);
}

/* ---- members ---------------------------------------------------------------------------------------------------- */

struct member {
    struct join_waiter jw;              /* first */
    struct sync_waiter sw;
    char               id[128];
    int32_t            generation;
    atomic_bool        joined, synced;
};

static void on_joined(struct join_waiter *jw, const struct join_result *res)
{
    struct member *m = (struct member *)jw;

    if (res->error == KERR_NONE) {
        snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(res->member_id));
        m->generation = res->generation;
    }
    atomic_store(&m->joined, true);
}

static void on_synced(struct sync_waiter *sw, const struct sync_result *res)
{
    struct member *m = (struct member *)((char *)sw - offsetof(struct member, sw));

    (void)res;
    atomic_store(&m->synced, true);
}

static void wait_flag(atomic_bool *flag)
{
    int64_t until = mono_ms() + WAIT_MS;

    while (!atomic_load(flag) && mono_ms() < until)
        poll(NULL, 0, 1);
    ck_assert(atomic_load(flag));
}

/* Joins; reads the topic "read". */
static void join(const char *group, struct member *m, const char *type)
{
    static const uint8_t subscription[] = { 0, 0, 0, 0, 0, 1, 0, 4, 'r', 'e', 'a', 'd', 0xff, 0xff, 0xff, 0xff };
    struct group_protocol p = { STR_LIT("range"), { subscription, sizeof subscription } };
    struct join_args in = { .member_id = str_of(m->id), .client_id = STR_LIT("c"), .client_host = STR_LIT("/::1"),
                            .protocol_type = str_of(type), .protocols = &p, .protocols_n = 1,
                            .session_timeout_ms = 300000, .rebalance_timeout_ms = 300000 };
    struct group_session s;

    m->jw.done = on_joined;
    m->sw.done = on_synced;
    atomic_store(&m->joined, false);
    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_OR_NEW, &s), KERR_NONE);
    group_join(s.g, &in, &m->jw, mono_ms());
    groups_leave(&s);
}

static void sync_up(const char *group, struct member *m)
{
    struct sync_args in = { .member_id = str_of(m->id), .generation = m->generation };
    struct group_session s;

    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_EXISTING, &s), KERR_NONE);
    group_sync(s.g, &in, &m->sw, mono_ms());
    groups_leave(&s);
    wait_flag(&m->synced);
}

static void enter(const char *group, struct member *m, const char *type)
{
    *m = (struct member){ .generation = -1 };
    join(group, m, type);
    wait_flag(&m->joined);
    sync_up(group, m);
}

static void leave(const char *group, const struct member *m)
{
    struct group_session s;

    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_EXISTING, &s), KERR_NONE);
    ck_assert_int_eq(group_leave(s.g, str_of(m->id), (struct str){ NULL, 0 }, (struct str){ NULL, 0 }, mono_ms()),
                     KERR_NONE);
    groups_leave(&s);
}

/* ---- rules ---------------------------------------------------------------------------------------------------- */

START_TEST(of_simple_groups_by_age)
{
    int32_t p = begin("g");

    committed_at(p, "g", "t", 0, now_ms - DAY_MS, -1);
    committed_at(p, "g", "t", 1, now_ms - DAY_MS + 1, -1);
    committed_at(p, "g", "t", 2, now_ms, now_ms);                   /* its own time has come */
    committed_at(p, "g", "t", 3, now_ms - 9 * DAY_MS, now_ms + 1);  /* it has not */
    committed_at(p, "g", "t", 4, INT64_MIN, -1);
    committed_at(p, "g", "t", 5, INT64_MAX, -1);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms, DAY_MS), 2);
    for (int i = 0; i < 2; i++) {
        static const int64_t left[] = { -1, 5, -1, 5, 5, 5 };

        for (int32_t k = 0; k < 6; k++)
            ck_assert_int_eq(offset_of("g", "t", k), left[k]);
        reload("g", p);                 /* the tombstones are in the log */
    }
    world_end();
}
END_TEST

START_TEST(of_an_empty_group_from_when_it_became_so)
{
    int32_t p = begin("g");
    struct member m;

    enter("g", &m, "consumer");
    committed_at(p, "g", "t", 0, now_ms - 100 * DAY_MS, -1);
    leave("g", &m);
    ck_assert_uint_eq(groups_expire(w.gs, wall_ms() + DAY_MS - HOUR_MS, DAY_MS), 0);
    reload("g", p);
    ck_assert_uint_eq(groups_expire(w.gs, wall_ms() + DAY_MS - HOUR_MS, DAY_MS), 0);
    ck_assert_int_eq(offset_of("g", "t", 0), 5);
    ck_assert_uint_eq(groups_expire(w.gs, wall_ms() + DAY_MS, DAY_MS), 1);
    ck_assert(!is_here("g"));
    reload("g", p);
    ck_assert(!is_here("g"));
    world_end();
}
END_TEST

START_TEST(of_an_empty_group_of_old_days_by_age)
{
    int32_t p = begin("g");
    struct group_session s;
    struct member m;

    enter("g", &m, "consumer");
    committed_at(p, "g", "t", 0, now_ms - DAY_MS, -1);
    committed_at(p, "g", "t", 1, now_ms, -1);
    leave("g", &m);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_EXISTING, &s), KERR_NONE);
    s.g->state_since_ms = -1;           /* as records before version 2 have it */
    groups_leave(&s);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms, DAY_MS), 1);
    ck_assert_int_eq(offset_of("g", "t", 0), -1);
    ck_assert_int_eq(offset_of("g", "t", 1), 5);
    world_end();
}
END_TEST

START_TEST(of_stable_consumers_only_what_nobody_reads)
{
    int32_t p = begin("g");
    struct member m, other;

    enter("g", &m, "consumer");
    enter("connect", &other, "connect");
    committed_at(p, "g", "read", 0, now_ms - DAY_MS, now_ms - 1);
    committed_at(p, "g", "read", 1, now_ms - DAY_MS, -1);
    committed_at(p, "g", "left", 0, now_ms - DAY_MS, -1);
    committed_at(p, "g", "left", 1, now_ms - DAY_MS + 1, -1);
    committed_at(p, "connect", "left", 0, now_ms - DAY_MS, now_ms - 1);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms, DAY_MS), 1);
    ck_assert_int_eq(offset_of("g", "left", 0), -1);
    ck_assert_int_eq(offset_of("g", "left", 1), 5);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 1000 * DAY_MS, DAY_MS), 1);
    ck_assert_int_eq(offset_of("g", "read", 0), 5);
    ck_assert_int_eq(offset_of("g", "read", 1), 5);
    ck_assert_int_eq(offset_of("connect", "left", 0), 5);
    reload("g", p);                     /* and a member that was loaded still reads */
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 1000 * DAY_MS, DAY_MS), 0);
    ck_assert_int_eq(offset_of("g", "read", 1), 5);
    world_end();
}
END_TEST

START_TEST(of_a_group_that_rebalances_never)
{
    int32_t p = begin("g");
    struct member m, second = { .generation = -1 };

    enter("g", &m, "consumer");
    committed_at(p, "g", "left", 0, now_ms - DAY_MS, now_ms - 1);
    join("g", &second, "consumer");     /* PreparingRebalance */
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 1000 * DAY_MS, DAY_MS), 0);
    join("g", &m, "consumer");          /* CompletingRebalance */
    wait_flag(&m.joined);
    wait_flag(&second.joined);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 1000 * DAY_MS, DAY_MS), 0);
    ck_assert_int_eq(offset_of("g", "left", 0), 5);
    leave("g", &m);
    leave("g", &second);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 1000 * DAY_MS, DAY_MS), 1);
    ck_assert(!is_here("g"));
    world_end();
}
END_TEST

START_TEST(of_what_is_pending_never)
{
    int32_t p = begin("g");
    struct committed c = { .offset = 6, .commit_ms = now_ms, .expire_ms = -1, .metadata = STR_LIT("") };
    struct group_session s;
    uint64_t ticket;

    committed_at(p, "g", "t", 0, 0, -1);
    committed_at(p, "g", "t", 1, 0, -1);
    committed_at(p, "g", "t", 2, 0, -1);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_EXISTING, &s), KERR_NONE);
    ok(group_offsets_pend(s.g->offsets, 7, STR_LIT("t"), 0, &c));
    ok(group_offsets_begin(s.g->offsets, STR_LIT("t"), 1, &ticket));
    groups_leave(&s);
    ck_assert_uint_eq(groups_expire(w.gs, now_ms, DAY_MS), 1);
    ck_assert_int_eq(offset_of("g", "t", 0), 5);
    ck_assert_int_eq(offset_of("g", "t", 1), 5);
    ck_assert_int_eq(offset_of("g", "t", 2), -1);
    world_end();
}
END_TEST

START_TEST(an_empty_group_without_offsets_goes)
{
    int32_t p = begin("g");
    struct group_session s;
    struct member m;

    enter("g", &m, "consumer");
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("new"), GROUPS_OR_NEW, &s), KERR_NONE);
    groups_leave(&s);
    groups_expire(w.gs, now_ms, DAY_MS);
    ck_assert(is_here("g") && !is_here("new"));
    leave("g", &m);
    groups_expire(w.gs, now_ms, DAY_MS);
    ck_assert(!is_here("g"));
    reload("g", p);
    ck_assert(!is_here("g"));
    world_end();
}
END_TEST

/* ---- many ---------------------------------------------------------------------------------------------------- */

/* More tombstones than one batch may have. */
START_TEST(any_number_goes_at_once)
{
    enum { MANY = 30000 };
    struct group_record *v = calloc(MANY, sizeof *v);
    struct offset_key *keys = calloc(MANY, sizeof *keys);
    int32_t p = begin("expires");

    ck_assert(v != NULL && keys != NULL);
    for (int g = 0; g < 3; g++) {
        static const char *const names[] = { "expires", "forgets", "removed" };

        for (int32_t at = 0; at < MANY; at += 5000) {
            for (int32_t i = at; i < at + 5000; i++)
                v[i] = a_commit(names[g], "a-topic-with-a-name-of-some-length", i, 1);
            append(p, -1, v + at, 5000);
        }
    }
    reload("expires", p);
    for (int32_t i = 0; i < MANY; i++)
        keys[i] = (struct offset_key){ STR_LIT("a-topic-with-a-name-of-some-length"), i };
    for (int g = 0; g < 3; g++) {
        static const char *const names[] = { "forgets", "removed", "expires" };
        struct group_session s;

        ck_assert_int_eq(groups_enter(w.gs, str_of(names[g]), GROUPS_EXISTING, &s), KERR_NONE);
        ck_assert_uint_eq(group_offsets_n(s.g->offsets), MANY);
        if (g == 0)
            ck_assert_uint_eq(group_forget(&s, keys, MANY), MANY);
        else if (g == 1)
            groups_remove(&s);
        groups_leave(&s);
    }
    ck_assert_uint_eq(groups_expire(w.gs, now_ms + 2 * DAY_MS, DAY_MS), MANY);
    reload("expires", p);
    ck_assert(!is_here("expires") && !is_here("forgets") && !is_here("removed"));
    world_end();
    free(keys);
    free(v);
}
END_TEST

START_TEST(deleted_partitions_are_forgotten_by_all)
{
    struct offset_key gone[] = { { STR_LIT("t"), 0 }, { STR_LIT("t"), 1 }, { STR_LIT("u"), 7 } };
    int32_t p = begin("a");

    committed_at(p, "a", "t", 0, now_ms, -1);
    committed_at(p, "a", "t", 1, now_ms, -1);
    committed_at(p, "b", "t", 1, now_ms, -1);
    committed_at(p, "b", "t", 2, now_ms, -1);
    committed_at(p, "c", "u", 0, now_ms, -1);
    groups_forget(w.gs, gone, 3);
    for (int i = 0; i < 2; i++) {
        ck_assert(!is_here("a"));
        ck_assert_int_eq(offset_of("b", "t", 1), -1);
        ck_assert_int_eq(offset_of("b", "t", 2), 5);
        ck_assert_int_eq(offset_of("c", "u", 0), 5);
        reload("a", p);
    }
    world_end();
}
END_TEST

/* ---- on its way ------------------------------------------------------------------------------------------------ */

struct slow_commit {
    struct group_write w;               /* first */
    uint64_t           ticket;
    struct committed   c;
    atomic_int         kerr;            /* -2: it waits */
};

static void slow_end(struct group_write *gw, struct group *g, int16_t kerr, int64_t base_offset)
{
    struct slow_commit *c = (struct slow_commit *)gw;

    c->c.log_offset = base_offset;
    if (g->state != GROUP_DEAD && kerr == KERR_NONE)
        ok(group_offsets_land(g->offsets, STR_LIT("t"), 0, &c->c, c->ticket));
    else if (g->state != GROUP_DEAD)
        group_offsets_abandon(g->offsets, STR_LIT("t"), 0);
    atomic_store(&c->kerr, kerr);
}

/* A commit of t-0 that waits for OTHER, who never fetches. */
static void commit_slowly(const char *group, struct slow_commit *c)
{
    struct group_session s;
    struct group_record r;

    *c = (struct slow_commit){ .w.done = slow_end, .c = { .offset = 9, .commit_ms = now_ms, .expire_ms = -1,
                                                          .leader_epoch = -1, .metadata = STR_LIT("") } };
    atomic_store(&c->kerr, -2);
    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_OR_NEW, &s), KERR_NONE);
    ok(offset_record(groups_versions(w.gs), &w.arena, str_of(group), STR_LIT("t"), 0, &c->c, &r));
    ck_assert_int_eq(groups_write(&s, &r, 1, -1, &c->w), KERR_NONE);
    ck_assert_int_eq(atomic_load(&c->kerr), -2);
    ok(group_offsets_begin(s.g->offsets, STR_LIT("t"), 0, &c->ticket));
    groups_leave(&s);
}

START_TEST(what_is_deleted_on_its_way_stays_deleted)
{
    struct offset_key key = { STR_LIT("t"), 0 };
    static struct slow_commit v[4];
    static const char *const names[] = { "forget", "remove", "expire", "kept" };
    int32_t p = begin("g");
    struct group_session s;

    tell(p, SELF, 1, true);
    wait_for("g", KERR_NONE);
    for (int i = 0; i < 4; i++)
        commit_slowly(names[i], &v[i]);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("forget"), GROUPS_EXISTING, &s), KERR_NONE);
    ck_assert_uint_eq(group_forget(&s, &key, 1), 1);
    groups_leave(&s);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("remove"), GROUPS_EXISTING, &s), KERR_NONE);
    groups_remove(&s);
    groups_leave(&s);
    groups_expire(w.gs, now_ms + 10 * DAY_MS, DAY_MS);
    ck_assert(is_here("forget") && is_here("expire") && is_here("kept") && !is_here("remove"));
    tell(p, SELF, 2, false);            /* OTHER is out of sync: all is committed */
    for (int i = 0; i < 4; i++) {
        int64_t until = mono_ms() + WAIT_MS;

        while (atomic_load(&v[i].kerr) == -2 && mono_ms() < until)
            poll(NULL, 0, 1);
        ck_assert_str_eq(kerr_name((int16_t)atomic_load(&v[i].kerr)), "NONE");
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(offset_of("forget", "t", 0), -1);
        ck_assert(!is_here("remove"));
        ck_assert_int_eq(offset_of("expire", "t", 0), 9);
        ck_assert_int_eq(offset_of("kept", "t", 0), 9);
        reload("g", p);
    }
    world_end();
}
END_TEST

int main(void)
{
    const TTest *const v[] = {
        of_simple_groups_by_age, of_an_empty_group_from_when_it_became_so, of_an_empty_group_of_old_days_by_age,
        of_stable_consumers_only_what_nobody_reads, of_a_group_that_rebalances_never, of_what_is_pending_never,
        an_empty_group_without_offsets_goes, any_number_goes_at_once, deleted_partitions_are_forgotten_by_all,
        what_is_deleted_on_its_way_stays_deleted,
    };

    return kit_run("broker/group/expiry", v, sizeof v / sizeof v[0]);
}
