/* tests/unit/broker/group/model_calls.h - the model (model.h): what it does when it is asked, written to its log, or
 * when time passes.
 */
#ifndef TESTS_UNIT_BROKER_GROUP_MODEL_CALLS_H
#define TESTS_UNIT_BROKER_GROUP_MODEL_CALLS_H

#include "tests/unit/broker/group/model.h"

/* ---- requests -------------------- */

struct m_join {
    int  label, instance, session, rebalance;
    const struct variant *v;
    bool ask_id, can_skip;
};

static void m_await(struct mm *m, struct told *t)
{
    m_fail_join(m, KERR_REBALANCE_IN_PROGRESS, m->label);
    m->join = t;
}

static void m_add(const struct m_join *in, int label, struct told *t)
{
    struct mm *m = &M.m[M.n++];

    *m = (struct mm){ .label = label, .instance = in->instance, .order = M.next_order++, .due = now + 300000,
                      .session = in->session, .rebalance = in->rebalance, .v = in->v, .join = t, .is_new = true };
    if (M.leader == NOBODY)
        M.leader = label;
    if (M.state == GROUP_PREPARING_REBALANCE && M.generation == 0)
        M.newcomer = true;
    m_maybe_prepare();
}

static void m_replace(struct mm *m, const struct m_join *in, struct told *t)
{
    struct mw w = { .what = GROUP_WANTS_STATIC, .generation = M.generation, .label = M.next_label,
                    .old_label = m->label, .old_session = m->session, .old_rebalance = m->rebalance, .join = t,
                    .was_leader = M.leader == m->label, .can_skip = in->can_skip };

    m_fail_join(m, KERR_FENCED_INSTANCE_ID, m->label);
    m_fail_sync(m, KERR_FENCED_INSTANCE_ID);
    if (M.leader == m->label)
        M.leader = M.next_label;
    m->label = M.next_label++;
    m->order = M.next_order++;
    m->session = in->session;
    m->rebalance = in->rebalance;
    m->v = in->v;
    m->join = t;
    m_alive(m);
    if (M.state == GROUP_COMPLETING_REBALANCE) {
        m_prepare();
    } else if (M.state == GROUP_STABLE && m_choose() != M.protocol) {
        m_prepare();
    } else if (M.state == GROUP_STABLE) {
        m->unsynced = false;
        if (!m_unsynced())
            M.sync_due = NEVER;
        m_write(w);
    }
}

static void m_rejoin(struct mm *m, const struct m_join *in, struct told *t)
{
    bool same = m->v == in->v, leads = M.leader == m->label;

    if ((M.state == GROUP_COMPLETING_REBALANCE && same) || (M.state == GROUP_STABLE && same && !leads)) {
        t_generation(t, m);
        return;
    }
    m->v = in->v;
    m->session = in->session;
    m->rebalance = in->rebalance;
    m_await(m, t);
    m_maybe_prepare();
}

static void m_join(const struct m_join *in, struct told *t)
{
    struct mm *m = m_find(in->label), *other = m_static(in->instance);
    bool settled = M.state == GROUP_COMPLETING_REBALANCE || M.state == GROUP_STABLE;
    int p = m_pending(in->label);

    if ((settled && m == NULL && M.n >= limits.max_size) ||
        (M.state == GROUP_PREPARING_REBALANCE && (m == NULL || m->join == NULL) && m_awaiting() >= limits.max_size)) {
        if (m != NULL)
            m_remove(m);
        if (p != NOBODY)
            M.pending[p] = M.pending[--M.pending_n];
        t_fail(t, KERR_GROUP_MAX_SIZE_REACHED, NOBODY);
    } else if (!m_supported(in->v)) {
        t_fail(t, KERR_INCONSISTENT_GROUP_PROTOCOL, in->label);
    } else if (in->label == NOBODY && other != NULL) {
        m_replace(other, in, t);
    } else if (in->label == NOBODY && in->ask_id && in->instance == NOBODY) {
        M.pending[M.pending_n].label = M.next_label;
        M.pending[M.pending_n++].due = now + in->session;
        t_fail(t, KERR_MEMBER_ID_REQUIRED, M.next_label++);
    } else if (in->label == NOBODY) {
        m_add(in, M.next_label++, t);
    } else if (p != NOBODY) {
        M.pending[p] = M.pending[--M.pending_n];
        m_add(in, in->label, t);
    } else if (in->instance != NOBODY && other != NULL && other->label != in->label) {
        t_fail(t, KERR_FENCED_INSTANCE_ID, in->label);
    } else if (m == NULL || (in->instance != NOBODY && other == NULL)) {
        t_fail(t, KERR_UNKNOWN_MEMBER_ID, in->label);
    } else {
        m_rejoin(m, in, t);
    }
    m_try();
}

static int m_check(int label, int instance, int generation, struct mm **m)
{
    struct mm *s = m_static(instance);

    *m = m_find(label);
    if (instance != NOBODY && s == NULL)
        return KERR_UNKNOWN_MEMBER_ID;
    if (s != NULL && s->label != label)
        return KERR_FENCED_INSTANCE_ID;
    if (*m == NULL)
        return KERR_UNKNOWN_MEMBER_ID;
    return generation != M.generation ? KERR_ILLEGAL_GENERATION : KERR_NONE;
}

/* given: labels of whom the leader gives something, which is "<generation>-<label>". */
static void m_sync(int label, int instance, int generation, const int *given, int given_n, struct told *t)
{
    struct mm *m;
    int code = m_check(label, instance, generation, &m);

    if (code != KERR_NONE) {
        t_fail(t, code, NOBODY);
    } else if (M.state == GROUP_PREPARING_REBALANCE) {
        t_fail(t, KERR_REBALANCE_IN_PROGRESS, NOBODY);
    } else {
        m->unsynced = false;
        if (!m_unsynced())
            M.sync_due = NEVER;
    }
    if (t->done)
        return;
    if (M.state == GROUP_STABLE) {
        *t = (struct told){ .done = true };
        memcpy(t->assignment, m->assignment, sizeof t->assignment);
        m_alive(m);
        return;
    }
    m_fail_sync(m, KERR_REBALANCE_IN_PROGRESS);
    m->sync = t;
    if (M.leader != label || M.sync_taken)
        return;
    for (int i = 0; i < given_n; i++) {
        struct mm *to = m_find(given[i]);

        if (to != NULL)
            snprintf(to->next, sizeof to->next, "%d-%d", generation, given[i]);
    }
    M.sync_taken = true;
    m_write((struct mw){ .what = GROUP_WANTS_SYNC, .generation = M.generation });
}

static int m_heartbeat(int label, int instance, int generation)
{
    struct mm *m;
    int code = m_check(label, instance, generation, &m);

    if (code != KERR_NONE)
        return code;
    m_alive(m);
    return M.state == GROUP_PREPARING_REBALANCE ? KERR_REBALANCE_IN_PROGRESS : KERR_NONE;
}

static int m_leave(int label, int instance)
{
    struct mm *m = m_static(instance);
    int p = m_pending(label), code;

    if (p != NOBODY) {
        M.pending[p] = M.pending[--M.pending_n];
        m_try();
        return KERR_NONE;
    }
    if (label == NOBODY)
        code = m != NULL ? KERR_NONE : KERR_UNKNOWN_MEMBER_ID;
    else
        code = m_check(label, instance, M.generation, &m);
    if (code == KERR_NONE) {
        m_remove(m);
        m_shrunk();
    }
    return code;
}

static int m_commit(int label, int instance, int generation, bool txn)
{
    struct mm *m;
    int code;

    if (generation < 0 && M.state == GROUP_EMPTY)
        return KERR_NONE;
    if (generation < 0 && label == NOBODY && instance == NOBODY)
        return txn ? KERR_NONE : KERR_UNKNOWN_MEMBER_ID;
    code = m_check(label, instance, generation, &m);
    if (code != KERR_NONE || txn)
        return code;
    if (M.state == GROUP_COMPLETING_REBALANCE)
        return KERR_REBALANCE_IN_PROGRESS;
    m_alive(m);
    return KERR_NONE;
}

/* ---- writes and time -------------------- */

static void m_written_static(const struct mw *w, int code)
{
    struct mm *m = m_find(w->label);

    if (m == NULL || m->join != w->join || M.state != GROUP_STABLE)
        return;
    t_generation(m->join, m);
    if (code == KERR_NONE) {
        m_alive(m);
        m->join->skip = w->can_skip && m->join->leads;
        m->join->leads = m->join->skip;
        if (w->was_leader && !w->can_skip)
            m->join->leader = w->old_label;
        m->join = NULL;
        return;
    }
    m->join->code = code;
    m->join->label = NOBODY;
    m->join->leads = false;
    if (w->was_leader)
        m->join->leader = w->old_label;
    m->join = NULL;
    m->session = w->old_session;
    m->rebalance = w->old_rebalance;
    m_alive(m);
    if (M.leader == m->label)
        M.leader = w->old_label;
    m->label = w->old_label;
    m->order = M.next_order++;
}

static void m_written(int i, int code)
{
    struct mw w = M.w[i];

    memmove(&M.w[i], &M.w[i + 1], (size_t)(--M.w_n - i) * sizeof M.w[0]);
    if (w.what == GROUP_WANTS_STATIC) {
        m_written_static(&w, code);
    } else if (w.what == GROUP_WANTS_SYNC && M.state == GROUP_COMPLETING_REBALANCE && w.generation == M.generation) {
        if (code == KERR_NONE)
            M.state = GROUP_STABLE;
        for (int k = 0; k < M.n; k++) {
            struct mm *m = &M.m[k];

            if (m->sync != NULL)
                m_alive(m);
            if (code != KERR_NONE) {
                m_fail_sync(m, code);
                continue;
            }
            memcpy(m->assignment, m->next, sizeof m->assignment);
            m->next[0] = '\0';
            if (m->sync != NULL) {
                *m->sync = (struct told){ .done = true };
                memcpy(m->sync->assignment, m->assignment, sizeof m->assignment);
                m->sync = NULL;
            }
        }
        if (code != KERR_NONE)
            m_prepare();
    }
}

static int64_t m_due(void)
{
    int64_t due = M.join_due < M.sync_due ? M.join_due : M.sync_due;

    for (int i = 0; i < M.n; i++)
        due = M.m[i].due < due ? M.m[i].due : due;
    for (int i = 0; i < M.pending_n; i++)
        due = M.pending[i].due < due ? M.pending[i].due : due;
    return due;
}

static void m_expire(void)
{
    int gone = 0, ids = 0;

    for (int i = M.n - 1; i >= 0; i--) {
        struct mm *m = &M.m[i];

        if (m->due > now)
            continue;
        if (m->is_new || (m->join == NULL && m->sync == NULL)) {
            m_remove(m);
            gone++;
        } else {
            m->due = NEVER;
        }
    }
    for (int i = M.pending_n - 1; i >= 0; i--)
        if (M.pending[i].due <= now) {
            M.pending[i] = M.pending[--M.pending_n];
            ids++;
        }
    if (gone > 0)
        m_shrunk();
    else if (ids > 0)
        m_try();
}

/* Whatever is due now, and what that makes due. */
static void m_tick(void)
{
    m_expire();
    if (M.join_due <= now) {
        int former = M.delay;

        if (M.initial && M.newcomer && M.remaining > 0) {
            M.newcomer = false;
            M.delay = limits.initial_delay_ms < M.remaining ? limits.initial_delay_ms : M.remaining;
            M.remaining = M.remaining > former ? M.remaining - former : 0;
            M.join_due = now + M.delay;
        } else {
            m_complete();
        }
    }
    if (M.sync_due <= now) {
        for (int i = M.n - 1; i >= 0; i--)
            if (M.m[i].unsynced)
                m_remove(&M.m[i]);
        m_prepare();
    }
}

#endif
