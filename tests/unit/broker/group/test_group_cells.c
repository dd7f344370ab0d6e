/* tests/unit/broker/group/test_group_cells.c - every state and every request, cell by cell: what Apache Kafka
 * 3.9.1 answers, and the state that follows.
 *
 * The group has a leader, a follower, a static member (instance s1), and somebody who was promised an id; in EMPTY all
 * but the last have left again, in PREPARING somebody new has come.
 */
#include "tests/unit/broker/group/kit.h"

#define WAITS (-1000)                   /* is not answered yet */

static struct client lead, foll, stat, pend, extra, fresh;

static void reach(enum group_state to)
{
    struct client *all[] = { &lead, &foll, &stat };

    begin();
    client(&lead, "lead");
    client(&foll, "foll");
    client_static(&stat, "stat", "s1");
    client(&pend, "pend");
    client(&extra, "extra");
    client(&fresh, "fresh");
    pend.in.needs_member_id = true;
    if (to == GROUP_COMPLETING_REBALANCE) {
        for (int i = 0; i < 3; i++)
            ck_assert(!join(all[i]));
        while (g.state == GROUP_PREPARING_REBALANCE)
            pass(group_due(&g) - now);
    } else {
        settle(all, 3);
    }
    if (to == GROUP_PREPARING_REBALANCE)
        ck_assert(!join(&fresh));
    for (int i = 0; i < 3 && to == GROUP_EMPTY; i++)
        ck_assert_int_eq(leave(all[i]), KERR_NONE);
    join_fails(&pend, KERR_MEMBER_ID_REQUIRED);
    if (to == GROUP_DEAD)
        group_end(&g, KERR_NOT_COORDINATOR);
    ck_assert_int_eq(g.state, to);
}

/* ---- requests: the code, or WAITS -------------------- */

static int do_join(struct client *c)
{
    return join(c) ? c->join_error : WAITS;
}

static int do_sync(struct client *c)
{
    return sync_group(c) ? c->sync_error : WAITS;
}

static int j_old_client(void) { return do_join(&extra); }
static int j_new_client(void) { extra.in.needs_member_id = true; return do_join(&extra); }
static int j_new_static(void) { extra.in.instance_id = STR_LIT("s2"); return do_join(&extra); }
static int j_new_static_v4(void) { extra.in.needs_member_id = true; return j_new_static(); }
static int j_known_static(void) { extra.in.instance_id = STR_LIT("s1"); return do_join(&extra); }
static int j_leader(void) { return do_join(&lead); }
static int j_follower(void) { return do_join(&foll); }
static int j_static(void) { return do_join(&stat); }
static int j_pending(void) { return do_join(&pend); }

static int changed(struct client *c)
{
    c->protocols[0].metadata = (struct bytes){ (const uint8_t *)"news", 4 };
    return do_join(c);
}
static int j_leader_changed(void) { return changed(&lead); }
static int j_follower_changed(void) { return changed(&foll); }

static int more(struct client *c)
{
    c->protocols[c->in.protocols_n++] = (struct group_protocol){ STR_LIT("sticky"), { (const uint8_t *)"m", 1 } };
    return do_join(c);
}
static int j_follower_more(void) { return more(&foll); }

static int with_id(struct client *c, const char *id)
{
    snprintf(c->id, sizeof c->id, "%s", id);
    return do_join(c);
}
static int j_unknown(void) { return with_id(&extra, "nobody"); }
static int j_static_wrong_id(void) { return with_id(&stat, foll.id); }
static int j_static_unknown_instance(void) { stat.in.instance_id = STR_LIT("s9"); return do_join(&stat); }
static int j_static_without_instance(void) { stat.in.instance_id = NULL_STR; return do_join(&stat); }
static int j_pending_static(void) { pend.in.instance_id = STR_LIT("s1"); return do_join(&pend); }
static int j_other_type(void) { extra.in.protocol_type = STR_LIT("connect"); return do_join(&extra); }
static int j_no_type(void) { extra.in.protocol_type = STR_LIT(""); return do_join(&extra); }
static int j_no_protocols(void) { extra.in.protocols_n = 0; return do_join(&extra); }
static int j_no_common(void) { extra.protocols[0].name = STR_LIT("sticky"); return do_join(&extra); }
static int j_follower_other_type(void) { foll.in.protocol_type = STR_LIT("connect"); return do_join(&foll); }
static int j_follower_no_common(void) { foll.protocols[0].name = STR_LIT("sticky"); return do_join(&foll); }
static int j_short(void) { extra.in.session_timeout_ms = 5999; return do_join(&extra); }
static int j_long(void) { extra.in.session_timeout_ms = 1800001; return do_join(&extra); }
static int j_negative(void) { extra.in.session_timeout_ms = INT32_MIN; return do_join(&extra); }
static int j_follower_short(void) { foll.in.session_timeout_ms = 0; return do_join(&foll); }

static int s_leader(void) { return do_sync(&lead); }
static int s_follower(void) { return do_sync(&foll); }
static int s_old(void) { foll.generation--; return do_sync(&foll); }
static int s_new(void) { foll.generation++; return do_sync(&foll); }
static int s_unknown(void) { snprintf(foll.id, sizeof foll.id, "nobody"); return do_sync(&foll); }
static int s_empty(void) { foll.id[0] = '\0'; return do_sync(&foll); }
static int s_pending(void) { pend.generation = g.generation; return do_sync(&pend); }
static int s_fenced(void) { foll.in.instance_id = STR_LIT("s1"); return do_sync(&foll); }
static int s_instance(void) { foll.in.instance_id = STR_LIT("s9"); return do_sync(&foll); }

static int sync_says(const char *type, const char *protocol)
{
    struct sync_args in = { .member_id = str_of(foll.id), .generation = foll.generation, .protocol_type = str_of(type),
                            .protocol = str_of(protocol) };
    int before = foll.syncs;

    group_sync(&g, &in, &foll.sw, now);
    return foll.syncs > before ? foll.sync_error : WAITS;
}
static int s_right_names(void) { return sync_says("consumer", "range"); }
static int s_wrong_type(void) { return sync_says("connect", "range"); }
static int s_wrong_protocol(void) { return sync_says("consumer", "sticky"); }
static int s_empty_type(void) { return sync_says("", "range"); }
static int s_empty_protocol(void) { return sync_says("consumer", ""); }

static int beat(struct str id, struct str instance, int32_t generation)
{
    return group_heartbeat(&g, id, instance, generation, now);
}
static int h_member(void) { return beat(str_of(foll.id), NULL_STR, foll.generation); }
static int h_static(void) { return beat(str_of(stat.id), STR_LIT("s1"), stat.generation); }
static int h_old(void) { return beat(str_of(foll.id), NULL_STR, foll.generation - 1); }
static int h_none(void) { return beat(str_of(foll.id), NULL_STR, -1); }
static int h_unknown(void) { return beat(STR_LIT("nobody"), NULL_STR, g.generation); }
static int h_empty(void) { return beat(STR_LIT(""), NULL_STR, g.generation); }
static int h_pending(void) { return beat(str_of(pend.id), NULL_STR, g.generation); }
static int h_fenced(void) { return beat(str_of(foll.id), STR_LIT("s1"), foll.generation); }
static int h_instance(void) { return beat(str_of(stat.id), STR_LIT("s9"), stat.generation); }

static int leaves(struct str id, struct str instance)
{
    int16_t kerr = group_leave(&g, id, instance, STR_LIT("bye"), now);

    leave_session();
    return kerr;
}
static int l_follower(void) { return leaves(str_of(foll.id), NULL_STR); }
static int l_leader(void) { return leaves(str_of(lead.id), NULL_STR); }
static int l_static(void) { return leaves(str_of(stat.id), STR_LIT("s1")); }
static int l_unknown(void) { return leaves(STR_LIT("nobody"), NULL_STR); }
static int l_pending(void) { return leaves(str_of(pend.id), NULL_STR); }
static int l_admin(void) { return leaves(STR_LIT(""), STR_LIT("s1")); }
static int l_admin_unknown(void) { return leaves(STR_LIT(""), STR_LIT("s9")); }
static int l_nothing(void) { return leaves(STR_LIT(""), NULL_STR); }
static int l_fenced(void) { return leaves(str_of(foll.id), STR_LIT("s1")); }
static int l_instance(void) { return leaves(str_of(stat.id), STR_LIT("s9")); }

static int commits(struct str id, struct str instance, int32_t generation, bool txn)
{
    return group_may_commit(&g, id, instance, generation, txn, now);
}
static int c_member(void) { return commits(str_of(foll.id), NULL_STR, foll.generation, false); }
static int c_static(void) { return commits(str_of(stat.id), STR_LIT("s1"), stat.generation, false); }
static int c_old(void) { return commits(str_of(foll.id), NULL_STR, foll.generation - 1, false); }
static int c_simple(void) { return commits(STR_LIT(""), NULL_STR, -1, false); }
static int c_very_negative(void) { return commits(STR_LIT(""), NULL_STR, INT32_MIN, false); }
static int c_unknown(void) { return commits(STR_LIT("nobody"), NULL_STR, g.generation, false); }
static int c_pending(void) { return commits(str_of(pend.id), NULL_STR, g.generation, false); }
static int c_no_generation(void) { return commits(str_of(foll.id), NULL_STR, -1, false); }
static int c_no_id(void) { return commits(STR_LIT(""), NULL_STR, g.generation, false); }
static int c_fenced(void) { return commits(str_of(foll.id), STR_LIT("s1"), foll.generation, false); }
static int c_instance_only(void) { return commits(STR_LIT(""), STR_LIT("s1"), -1, false); }
static int t_simple(void) { return commits(STR_LIT(""), NULL_STR, -1, true); }
static int t_member(void) { return commits(str_of(foll.id), NULL_STR, foll.generation, true); }
static int t_old(void) { return commits(str_of(foll.id), NULL_STR, foll.generation - 1, true); }
static int t_unknown(void) { return commits(STR_LIT("nobody"), NULL_STR, g.generation, true); }

/* ---- the cells -------------------- */

enum {
    E = GROUP_EMPTY, P = GROUP_PREPARING_REBALANCE, C = GROUP_COMPLETING_REBALANCE, S = GROUP_STABLE, D = GROUP_DEAD
};

#define OKAY KERR_NONE
#define UNKNOWN KERR_UNKNOWN_MEMBER_ID
#define ASKED KERR_MEMBER_ID_REQUIRED
#define BUSY KERR_REBALANCE_IN_PROGRESS
#define STALE KERR_ILLEGAL_GENERATION
#define FENCED KERR_FENCED_INSTANCE_ID
#define MIXED KERR_INCONSISTENT_GROUP_PROTOCOL
#define GONE KERR_COORDINATOR_NOT_AVAILABLE
#define SESSION KERR_INVALID_SESSION_TIMEOUT
#define FAULT KERR_UNKNOWN_SERVER_ERROR

static const struct row {
    const char *name;
    int       (*ask)(void);
    struct { int code, then; } cell[GROUP_STATES_N];
} rows[] = {
#define R(ask, ec, es, pc, ps, cc, cs, sc, ss, dc) \
    { #ask, ask, { { ec, es }, { pc, ps }, { cc, cs }, { sc, ss }, { dc, D } } }
    /*                          Empty       Preparing   Completing  Stable      Dead */
    R(j_old_client,             WAITS, P,   WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_new_client,             ASKED, E,   ASKED, P,   ASKED, C,   ASKED, S,   GONE),
    R(j_new_static,             WAITS, P,   WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_new_static_v4,          WAITS, P,   WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_known_static,           WAITS, P,   WAITS, P,   WAITS, P,   OKAY, S,    GONE),
    R(j_leader,                 UNKNOWN, E, WAITS, P,   OKAY, C,    WAITS, P,   GONE),
    R(j_leader_changed,         UNKNOWN, E, WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_follower,               UNKNOWN, E, WAITS, P,   OKAY, C,    OKAY, S,    GONE),
    R(j_follower_changed,       UNKNOWN, E, WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_follower_more,          UNKNOWN, E, WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_static,                 UNKNOWN, E, WAITS, P,   OKAY, C,    OKAY, S,    GONE),
    R(j_static_without_instance, UNKNOWN, E, WAITS, P,  OKAY, C,    OKAY, S,    GONE),
    R(j_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(j_static_wrong_id,        UNKNOWN, E, FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(j_static_unknown_instance, UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(j_pending,                WAITS, P,   WAITS, P,   WAITS, P,   WAITS, P,   GONE),
    R(j_pending_static,         FAULT, E,   FAULT, P,   FAULT, C,   FAULT, S,   GONE),
    R(j_other_type,             WAITS, P,   MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_no_type,                MIXED, E,   MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_no_protocols,           MIXED, E,   MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_no_common,              WAITS, P,   MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_follower_other_type,    UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_follower_no_common,     UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(j_short,                  SESSION, E, SESSION, P, SESSION, C, SESSION, S, SESSION),
    R(j_long,                   SESSION, E, SESSION, P, SESSION, C, SESSION, S, SESSION),
    R(j_negative,               SESSION, E, SESSION, P, SESSION, C, SESSION, S, SESSION),
    R(j_follower_short,         SESSION, E, SESSION, P, SESSION, C, SESSION, S, SESSION),

    R(s_leader,                 UNKNOWN, E, BUSY, P,    OKAY, S,    OKAY, S,    GONE),
    R(s_follower,               UNKNOWN, E, BUSY, P,    WAITS, C,   OKAY, S,    GONE),
    R(s_old,                    UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(s_new,                    UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(s_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(s_empty,                  UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(s_pending,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(s_fenced,                 UNKNOWN, E, FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(s_instance,               UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(s_right_names,            UNKNOWN, E, BUSY, P,    WAITS, C,   OKAY, S,    GONE),
    R(s_wrong_type,             UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(s_wrong_protocol,         UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(s_empty_type,             UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),
    R(s_empty_protocol,         UNKNOWN, E, MIXED, P,   MIXED, C,   MIXED, S,   GONE),

    R(h_member,                 UNKNOWN, E, BUSY, P,    OKAY, C,    OKAY, S,    GONE),
    R(h_static,                 UNKNOWN, E, BUSY, P,    OKAY, C,    OKAY, S,    GONE),
    R(h_old,                    UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(h_none,                   UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(h_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(h_empty,                  UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(h_pending,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(h_fenced,                 UNKNOWN, E, FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(h_instance,               UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),

    R(l_follower,               UNKNOWN, E, OKAY, P,    OKAY, P,    OKAY, P,    GONE),
    R(l_leader,                 UNKNOWN, E, OKAY, P,    OKAY, P,    OKAY, P,    GONE),
    R(l_static,                 UNKNOWN, E, OKAY, P,    OKAY, P,    OKAY, P,    GONE),
    R(l_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(l_pending,                OKAY, E,    OKAY, P,    OKAY, C,    OKAY, S,    GONE),
    R(l_admin,                  UNKNOWN, E, OKAY, P,    OKAY, P,    OKAY, P,    GONE),
    R(l_admin_unknown,          UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(l_nothing,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(l_fenced,                 UNKNOWN, E, FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(l_instance,               UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),

    R(c_member,                 UNKNOWN, E, OKAY, P,    BUSY, C,    OKAY, S,    GONE),
    R(c_static,                 UNKNOWN, E, OKAY, P,    BUSY, C,    OKAY, S,    GONE),
    R(c_old,                    UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(c_simple,                 OKAY, E,    UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(c_very_negative,          OKAY, E,    UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(c_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(c_pending,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(c_no_generation,          OKAY, E,    STALE, P,   STALE, C,   STALE, S,   GONE),
    R(c_no_id,                  UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
    R(c_fenced,                 UNKNOWN, E, FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(c_instance_only,          OKAY, E,    FENCED, P,  FENCED, C,  FENCED, S,  GONE),
    R(t_simple,                 OKAY, E,    OKAY, P,    OKAY, C,    OKAY, S,    GONE),
    R(t_member,                 UNKNOWN, E, OKAY, P,    OKAY, C,    OKAY, S,    GONE),
    R(t_old,                    UNKNOWN, E, STALE, P,   STALE, C,   STALE, S,   GONE),
    R(t_unknown,                UNKNOWN, E, UNKNOWN, P, UNKNOWN, C, UNKNOWN, S, GONE),
};

#define ROWS ((int)(sizeof rows / sizeof rows[0]))

static void try_cell(const struct row *row, enum group_state state)
{
    int code;

    reach(state);
    code = row->ask();
    if (state != GROUP_DEAD)
        kit_check();
    ck_assert_msg(code == row->cell[state].code && (int)g.state == row->cell[state].then,
                  "%s in %s: got %d and %s, want %d and %s", row->name, group_state_name(state), code,
                  group_state_name(g.state), row->cell[state].code,
                  group_state_name((enum group_state)row->cell[state].then));
    end();
}

START_TEST(cells_of_a_state)
{
    for (int i = 0; i < ROWS; i++)
        try_cell(&rows[i], (enum group_state)_i);
}
END_TEST

/* Nothing hangs: whoever waits is told when the group goes. */
START_TEST(who_waits_is_told_when_the_group_goes)
{
    struct client *all[] = { &lead, &foll, &stat, &pend, &extra, &fresh };
    enum group_state state = (enum group_state)_i;

    if (state == GROUP_DEAD)
        return;
    reach(state);
    ck_assert(!join(&pend));
    foll.syncs = 0;
    if (g.state == GROUP_COMPLETING_REBALANCE)
        ck_assert(!sync_group(&foll));
    for (int i = 0; i < 6; i++)
        all[i]->joins = 0;
    size_t waiting = g.rebalance->awaiting_n;
    group_end(&g, KERR_NOT_COORDINATOR);
    for (int i = 0; i < 6; i++)
        if (all[i]->joins > 0) {
            ck_assert_int_eq(all[i]->join_error, KERR_NOT_COORDINATOR);
            waiting--;
        }
    ck_assert_uint_eq(waiting, 0);
    ck_assert_int_eq(group_due(&g), NEVER);
    ck_assert_int_eq(group_want(&g), GROUP_WANTS_NOTHING);
    group_tick(&g, now + 1000000000);
    end();
}
END_TEST

START_TEST(states_are_entered_only_as_drawn)
{
    static const struct { int from, to; } legal[] = {
        { E, P }, { P, C }, { C, S }, { S, P }, { C, P }, { P, E }, { E, D }, { P, D }, { C, D }, { S, D },
    };

    begin();
    for (int from = 0; from < GROUP_STATES_N; from++)
        for (int to = 0; to < GROUP_STATES_N; to++) {
            bool may = false;

            for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++)
                may = may || (legal[i].from == from && legal[i].to == to);
            g.state = (enum group_state)from;
            ck_assert_int_eq(group_may_go(&g, (enum group_state)to), may);
        }
    g.state = GROUP_EMPTY;
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/cells");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, cells_of_a_state, 0, GROUP_STATES_N);
    tcase_add_loop_test(t, who_waits_is_told_when_the_group_goes, 0, GROUP_STATES_N);
    tcase_add_test(t, states_are_entered_only_as_drawn);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
