/* tests/unit/broker/group/model.h - a second, simple account of what a group does: an array of members, everything
 * looked for from the beginning, no tables. Written from Apache Kafka's rules, to be compared with the real one step
 * by step.
 *
 * Members go by label (a number that is never used again) instead of by id, since only the real group makes ids.
 */
#ifndef TESTS_UNIT_BROKER_GROUP_MODEL_H
#define TESTS_UNIT_BROKER_GROUP_MODEL_H

#include "tests/unit/broker/group/kit.h"

enum { MODEL_MEMBERS = 200, NOBODY = -1 };

/* What one request is to be told, and whether. */
struct told {
    bool    done;
    int     code, generation, label, leader;
    bool    leads, skip;
    char    protocol;
    char    assignment[24];
};

struct variant { const char *names, *metas; };         /* one letter each */

static const struct variant variants[] = { { "xy", "11" }, { "yx", "11" }, { "x", "2" }, { "zx", "11" }, { "y", "1" },
                                           { "xx", "12" } };
enum { VARIANTS = 6 };

struct mm {                             /* a member */
    int     label, instance;            /* NOBODY: dynamic */
    int64_t order, due;
    int     session, rebalance;
    const struct variant *v;
    struct told *join, *sync;
    bool    is_new, unsynced;
    char    assignment[24], next[24];
};

struct mw {                             /* a write on its way */
    enum group_want what;
    int     generation;
    /* STATIC */
    int     label, old_label, old_session, old_rebalance;
    struct told *join;
    bool    was_leader, can_skip;
};

static struct model {
    enum group_state state;
    int     generation, leader;         /* label */
    char    protocol;                   /* 0: none */
    bool    typed;
    struct mm m[MODEL_MEMBERS];
    int     n;
    struct { int label; int64_t due; } pending[MODEL_MEMBERS];
    int     pending_n;
    int64_t join_due, sync_due, next_order;
    bool    initial, newcomer, sync_taken;
    int     delay, remaining, next_label;
    struct mw w[100];
    int     w_n;
} M;

static void m_begin(void)
{
    memset(&M, 0, sizeof M);
    M.leader = NOBODY;
    M.join_due = M.sync_due = NEVER;
}

/* ---- looking -------------------- */

static struct mm *m_find(int label)
{
    for (int i = 0; i < M.n; i++)
        if (M.m[i].label == label && label != NOBODY)
            return &M.m[i];
    return NULL;
}

static struct mm *m_static(int instance)
{
    for (int i = 0; i < M.n; i++)
        if (M.m[i].instance == instance && instance != NOBODY)
            return &M.m[i];
    return NULL;
}

static int m_pending(int label)
{
    for (int i = 0; i < M.pending_n; i++)
        if (M.pending[i].label == label)
            return i;
    return NOBODY;
}

static int m_supporters(char name)
{
    int n = 0;

    for (int i = 0; i < M.n; i++)
        n += strchr(M.m[i].v->names, name) != NULL;
    return n;
}

static bool m_supported(const struct variant *v)
{
    if (M.state == GROUP_EMPTY)
        return true;
    for (const char *p = v->names; *p != '\0'; p++)
        if (m_supporters(*p) == M.n)
            return true;
    return false;
}

static int m_awaiting(void)
{
    int n = 0;

    for (int i = 0; i < M.n; i++)
        n += M.m[i].join != NULL;
    return n;
}

/* By order of coming. */
static struct mm *m_first(bool awaiting)
{
    struct mm *best = NULL;

    for (int i = 0; i < M.n; i++)
        if ((!awaiting || M.m[i].join != NULL) && (best == NULL || M.m[i].order < best->order))
            best = &M.m[i];
    return best;
}

static char m_vote(const struct mm *m)
{
    for (const char *p = m->v->names; *p != '\0'; p++)
        if (m_supporters(*p) == M.n)
            return *p;
    ck_abort_msg("a member without a vote");
    return 0;
}

static char m_choose(void)
{
    int votes[128] = { 0 }, most = 0;
    const struct mm *best = NULL;

    for (int i = 0; i < M.n; i++)
        votes[(int)m_vote(&M.m[i])]++;
    for (int i = 0; i < 128; i++)
        most = votes[i] > most ? votes[i] : most;
    for (int i = 0; i < M.n; i++)
        if (votes[(int)m_vote(&M.m[i])] == most && (best == NULL || M.m[i].order < best->order))
            best = &M.m[i];
    return m_vote(best);
}

static int m_longest(void)
{
    int longest = 0;

    for (int i = 0; i < M.n; i++)
        longest = M.m[i].rebalance > longest ? M.m[i].rebalance : longest;
    return longest;
}

/* ---- answering -------------------- */

static void t_fail(struct told *t, int code, int label)
{
    *t = (struct told){ .done = true, .code = code, .generation = -1, .label = label, .leader = NOBODY };
}

static void m_fail_join(struct mm *m, int code, int label)
{
    if (m->join != NULL)
        t_fail(m->join, code, label);
    m->join = NULL;
}

static void m_fail_sync(struct mm *m, int code)
{
    if (m->sync != NULL)
        t_fail(m->sync, code, NOBODY);
    m->sync = NULL;
}

static void t_generation(struct told *t, const struct mm *m)
{
    *t = (struct told){ .done = true, .generation = M.generation, .label = m->label, .leader = M.leader,
                        .leads = m->label == M.leader, .protocol = M.protocol };
}

static void m_alive(struct mm *m)
{
    m->due = now + m->session;
}

/* ---- rebalance -------------------- */

static void m_remove(struct mm *m)
{
    int label = m->label;

    m_fail_join(m, KERR_UNKNOWN_MEMBER_ID, NOBODY);
    m_fail_sync(m, KERR_UNKNOWN_MEMBER_ID);
    *m = M.m[--M.n];
    if (M.leader == label)
        M.leader = M.n > 0 ? m_first(false)->label : NOBODY;
}

static bool m_unsynced(void)
{
    for (int i = 0; i < M.n; i++)
        if (M.m[i].unsynced)
            return true;
    return false;
}

static void m_write(struct mw w)
{
    M.w[M.w_n++] = w;
}

static void m_complete(void)
{
    for (int i = M.n - 1; i >= 0; i--)
        if (M.m[i].join == NULL && M.m[i].instance == NOBODY)
            m_remove(&M.m[i]);
    M.initial = false;
    if (M.n > 0 && m_awaiting() == 0) {
        M.join_due = now + (m_longest() > 1000 ? m_longest() : 1000);
        return;
    }
    if (M.n > 0 && m_find(M.leader)->join == NULL)
        M.leader = m_first(true)->label;
    M.join_due = NEVER;
    M.newcomer = M.sync_taken = false;
    M.generation++;
    if (M.n == 0) {
        M.state = GROUP_EMPTY;
        M.protocol = 0;
        m_write((struct mw){ .what = GROUP_WANTS_EMPTY, .generation = M.generation });
        return;
    }
    M.state = GROUP_COMPLETING_REBALANCE;
    M.protocol = m_choose();
    for (int i = 0; i < M.n; i++) {
        struct mm *m = &M.m[i];

        if (m->join != NULL)
            t_generation(m->join, m);
        m->join = NULL;
        m->is_new = false;
        m->unsynced = true;
        m_alive(m);
    }
    M.sync_due = now + m_longest();
}

static void m_try(void)
{
    if (M.state == GROUP_PREPARING_REBALANCE && !M.initial && m_awaiting() == M.n && M.pending_n == 0)
        m_complete();
}

static void m_prepare(void)
{
    int longest = m_longest();

    for (int i = 0; i < M.n; i++) {
        struct mm *m = &M.m[i];

        if (M.state == GROUP_COMPLETING_REBALANCE) {
            if (m->sync != NULL)
                m_alive(m);
            m_fail_sync(m, KERR_REBALANCE_IN_PROGRESS);
            m->assignment[0] = m->next[0] = '\0';
        }
        m->unsynced = false;
    }
    M.sync_due = NEVER;
    M.initial = M.state == GROUP_EMPTY;
    M.join_due = now + longest;
    if (M.initial) {
        M.delay = limits.initial_delay_ms;
        M.remaining = longest > M.delay ? longest - M.delay : 0;
        M.join_due = now + M.delay;
        M.newcomer = false;
    }
    M.state = GROUP_PREPARING_REBALANCE;
    m_try();
}

static void m_maybe_prepare(void)
{
    if (M.state == GROUP_EMPTY || M.state == GROUP_COMPLETING_REBALANCE || M.state == GROUP_STABLE)
        m_prepare();
}

static void m_shrunk(void)
{
    if (M.state == GROUP_COMPLETING_REBALANCE || M.state == GROUP_STABLE)
        m_prepare();
    else
        m_try();
}

#endif
