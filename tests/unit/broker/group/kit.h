/* tests/unit/broker/group/kit.h - a group with virtual time, and clients that remember what they were told.
 *
 * begin() makes the group and takes its lock; everything is written at once unless the test holds it back (`hold`).
 * After each step kit_check() looks at the invariants of group_private.h.
 */
#ifndef TESTS_UNIT_BROKER_GROUP_KIT_H
#define TESTS_UNIT_BROKER_GROUP_KIT_H

#define HASH_NONFATAL_OOM 1
#include "broker/group/group_private.h"

#include "base/log.h"
#include "broker/group/offsets.h"
#include "proto/gen/group_metadata_value.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ok(e) ck_assert_int_eq((e), OK)
#define NULL_STR ((struct str){ NULL, 0 })
#define ID_SIZE 200

static struct group_limits limits;
static struct group g;
static int64_t now;                     /* virtual, of both clocks */
static bool hold;                       /* writes wait for written() */
static int16_t write_kerr;              /* what the log says to those that do not wait */
static enum group_want held_what[100];
static int32_t held_generation[100];
static int held_n, written_n;
static int64_t kit_slack_ms;            /* by which a big group may be late */

/* One client: what it sends, and the last answers it got. */
struct client {
    struct join_waiter jw;
    struct sync_waiter sw;
    /* what it says */
    struct join_args in;
    struct group_protocol protocols[4];
    char client_id[40];
    /* what it was told */
    char    id[ID_SIZE], leader[ID_SIZE], protocol[40], type[40], assignment[100];
    char    fail_id[ID_SIZE];           /* the member id of an answer with an error */
    int16_t join_error, sync_error;
    int32_t generation;
    bool    skip, leads;
    int     joins, syncs;               /* answers so far */
    size_t  members_n;
};

static int64_t kit_wall(void)
{
    return now + 1000000;
}

static inline void put(char *to, size_t size, struct str s)
{
    snprintf(to, size, "%.*s", STR_ARG(s));
}

static void joined(struct join_waiter *w, const struct join_result *res)
{
    struct client *c = (struct client *)((char *)w - offsetof(struct client, jw));
    const struct group_member *pos = NULL;
    struct group_member_view v;

    c->joins++;
    c->join_error = res->error;
    c->generation = res->generation;
    if (res->error == KERR_NONE || res->error == KERR_MEMBER_ID_REQUIRED)
        put(c->id, sizeof c->id, res->member_id);
    else
        put(c->fail_id, sizeof c->fail_id, res->member_id);
    put(c->leader, sizeof c->leader, res->leader);
    put(c->protocol, sizeof c->protocol, res->protocol);
    put(c->type, sizeof c->type, res->protocol_type);
    c->skip = res->skip_assignment;
    c->leads = res->members != NULL;
    c->members_n = 0;
    while (res->members != NULL && group_next_member(res->members, &pos, &v))
        c->members_n++;
}

static void synced(struct sync_waiter *w, const struct sync_result *res)
{
    struct client *c = (struct client *)((char *)w - offsetof(struct client, sw));

    c->syncs++;
    c->sync_error = res->error;
    ck_assert_ptr_nonnull(res->assignment.p);
    ck_assert_uint_lt(res->assignment.len, sizeof c->assignment);
    memcpy(c->assignment, res->assignment.p, res->assignment.len);
    c->assignment[res->assignment.len] = '\0';
}

/* ---- the group -------------------- */

static inline void begin(void)
{
    log_threshold = LOG_FATAL;
    limits = (struct group_limits){ .min_session_timeout_ms = 6000, .max_session_timeout_ms = 1800000,
                                    .max_size = INT32_MAX, .initial_delay_ms = 3000, .wall_ms = kit_wall };
    now = 10000;
    hold = false;
    write_kerr = KERR_NONE;
    held_n = written_n = 0;
    ok(group_init(&g, STR_LIT("grp"), &limits));
    lock_take(&g.lock);
}

static inline void end(void)
{
    group_end(&g, KERR_NOT_COORDINATOR);
    lock_drop(&g.lock);
    group_fini(&g);
}

static inline void kit_check(void)
{
    const struct group_rebalance *r = g.rebalance;
    size_t members = 0, statics = 0, awaiting = 0, unsynced = 0, common = 0, supported = 0, counted = 0;
    bool leader = false;
    struct vote *v, *next;

    for (struct group_member *m = g.members; m != NULL; m = m->hh.next) {
        members++;
        statics += m->instance_id.p != NULL;
        awaiting += m->join != NULL;
        unsynced += m->unsynced;
        leader = leader || m == g.leader;
        supported += (size_t)m->protocols->n;
        if (m->sync != NULL)
            ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
        if (m->join != NULL && g.state != GROUP_PREPARING_REBALANCE) {
            ck_assert_int_eq(g.state, GROUP_STABLE);
            ck_assert_ptr_nonnull(m->writing);
        }
        if (m->writing != NULL)
            ck_assert_ptr_eq(m->writing->m, m);
        if (m->due_ms == NEVER && g.state != GROUP_DEAD)
            ck_assert(m->join != NULL || m->sync != NULL);
        if (g.state != GROUP_DEAD)
            ck_assert_int_le(r->earliest_ms, m->due_ms == NEVER ? NEVER : m->due_ms + kit_slack_ms);
    }
    HASH_ITER(hh, r->votes, v, next) {
        common += v->members == members;
        counted += v->refs;
    }
    ck_assert_uint_eq(members, g.members_n);
    ck_assert_uint_eq(members, HASH_COUNT(g.members));
    ck_assert_uint_eq(statics, HASH_CNT(hh_static, g.statics));
    ck_assert_uint_eq(awaiting, r->awaiting_n);
    ck_assert_uint_eq(unsynced, r->unsynced_n);
    ck_assert_uint_eq(supported, counted);
    ck_assert(leader == (members > 0));
    ck_assert(members == 0 || common > 0);
    if (g.state == GROUP_EMPTY)
        ck_assert_uint_eq(members, 0);
    ck_assert((r->join_due_ms != NEVER) == (g.state == GROUP_PREPARING_REBALANCE));
    if (r->unsynced_n == 0)
        ck_assert_int_eq(r->sync_due_ms, NEVER);
}

static inline void written(int16_t kerr)
{
    ck_assert_int_gt(held_n, 0);
    enum group_want what = held_what[0];
    int32_t generation = held_generation[0];

    held_n--;
    memmove(held_what, held_what + 1, (size_t)held_n * sizeof held_what[0]);
    memmove(held_generation, held_generation + 1, (size_t)held_n * sizeof held_generation[0]);
    group_written(&g, what, generation, kerr, now);
    kit_check();
}

static struct arena record_arena;
static struct group_metadata_value record;      /* the last that was wanted */

static inline void take_record(int16_t version)
{
    struct bytes value;
    struct cursor c;

    held_what[held_n] = group_want(&g);
    arena_fini(&record_arena);
    arena_init(&record_arena, 64 << 20);
    ok(group_take_record(&g, version, &record_arena, &value, &held_generation[held_n]));
    held_n++;
    written_n++;
    c = cur_ro(value.p, value.len);
    ck_assert_int_eq(cur_i16(&c), version);
    ok(group_metadata_value_read(&c, version, &record_arena, &record));
    ck_assert_uint_eq(cur_left(&c), 0);
}

/* As groups_leave(). */
static inline void leave_session(void)
{
    kit_check();
    while (group_want(&g) != GROUP_WANTS_NOTHING) {
        take_record(3);
        if (!hold)
            written(write_kerr);
    }
}

/* Time passes; whatever becomes due is done when it is. */
static inline void pass(int64_t ms)
{
    int64_t until = now + ms;

    while (group_due(&g) <= until) {
        if (group_due(&g) > now)
            now = group_due(&g);
        group_tick(&g, now);
        leave_session();
    }
    now = until;
}

/* ---- clients -------------------- */

static inline void client(struct client *c, const char *name)
{
    memset(c, 0, sizeof *c);
    c->jw.done = joined;
    c->sw.done = synced;
    c->join_error = c->sync_error = -100;
    snprintf(c->client_id, sizeof c->client_id, "%s", name);
    c->protocols[0] = (struct group_protocol){ STR_LIT("range"), { (const uint8_t *)"meta", 4 } };
    c->in = (struct join_args){ .client_id = str_of(c->client_id), .client_host = STR_LIT("/10.0.0.1"),
                                .protocol_type = STR_LIT("consumer"), .protocols = c->protocols, .protocols_n = 1,
                                .session_timeout_ms = 10000, .rebalance_timeout_ms = 60000 };
}

static inline void client_static(struct client *c, const char *name, const char *instance)
{
    client(c, name);
    c->in.instance_id = str_of(instance);
}

/* With the id it was given, if it was. false: it waits. */
static inline bool join(struct client *c)
{
    int before = c->joins;

    c->in.member_id = str_of(c->id);
    group_join(&g, &c->in, &c->jw, now);
    leave_session();
    return c->joins > before;
}

static inline void join_fails(struct client *c, int16_t kerr)
{
    ck_assert(join(c));
    ck_assert_int_eq(c->join_error, kerr);
}

static inline bool sync_with(struct client *c, const struct sync_assignment *v, int32_t n)
{
    struct sync_args in = { .member_id = str_of(c->id), .instance_id = c->in.instance_id,
                            .generation = c->generation, .assignments = v, .assignments_n = n };
    int before = c->syncs;

    group_sync(&g, &in, &c->sw, now);
    leave_session();
    return c->syncs > before;
}

static inline bool sync_group(struct client *c)
{
    return sync_with(c, NULL, 0);
}

/* The leader gives everybody its own client id. */
static inline bool sync_leader(struct client *c, struct client *const *v, int n)
{
    struct sync_assignment a[100];

    for (int i = 0; i < n; i++)
        a[i] = (struct sync_assignment){ str_of(v[i]->id),
                                         { (const uint8_t *)v[i]->client_id, strlen(v[i]->client_id) } };
    return sync_with(c, a, n);
}

static inline int16_t heartbeat(struct client *c)
{
    int16_t kerr = group_heartbeat(&g, str_of(c->id), c->in.instance_id, c->generation, now);

    leave_session();
    return kerr;
}

static inline int16_t leave(struct client *c)
{
    int16_t kerr = group_leave(&g, str_of(c->id), c->in.instance_id, NULL_STR, now);

    leave_session();
    return kerr;
}

static inline int16_t commit(struct client *c)
{
    int16_t kerr = group_may_commit(&g, str_of(c->id), c->in.instance_id, c->generation, false, now);

    leave_session();
    return kerr;
}

/* All of them join the empty group and get their assignments. */
static inline void settle(struct client *const *v, int n)
{
    struct client *leader = NULL;

    for (int i = 0; i < n; i++)
        ck_assert(!join(v[i]));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(v[i]->join_error, KERR_NONE);
        if (v[i]->leads)
            leader = v[i];
        else
            ck_assert(!sync_group(v[i]));
    }
    ck_assert_ptr_nonnull(leader);
    ck_assert(sync_leader(leader, v, n) || hold);
    if (!hold)
        ck_assert_int_eq(g.state, GROUP_STABLE);
}

#endif
