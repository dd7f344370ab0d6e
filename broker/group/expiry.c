/* broker/group/expiry.c - the end of offsets: expired, deleted, or of a topic that is deleted; and of groups that have
 * nothing left.
 */
#include "broker/group/expiry.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "broker/group/tombs.h"
#include "config/config.h"

#include <stdlib.h>

enum { MINUTE_MS = 60000 };

struct group_expiry {
    struct groups    *gs;
    struct scheduler *sched;
    struct job       *job;
    int64_t           retention_ms;
};

static void remove_if_useless(struct group_session *s)
{
    if (s->g->state != GROUP_EMPTY || !group_offsets_none(s->g->offsets))
        return;
    log_some(LOG_INFO, "group %.*s: empty and without offsets: removed", STR_ARG(s->g->id));
    groups_remove(s);
}

/* ---- by time ---------------------------------------------------------------------------------------------------- */

struct expiry_run {
    int64_t       now_ms, retention_ms;
    size_t        n;
    /* of the group that is looked at */
    struct group *g;
    struct tombs *tombs;
    bool          by_state;             /* from when it became empty, if that is known */
    bool          unread;               /* only what no member reads */
};

/* Whether offsets of the group may expire at all, and what counts. */
static bool group_rules(struct expiry_run *run, struct group *g)
{
    run->g = g;
    run->by_state = false;
    run->unread = false;
    if (g->protocol_type.len == 0)
        return g->state == GROUP_EMPTY;
    if (g->state == GROUP_EMPTY)
        run->by_state = true;
    else if (g->state == GROUP_STABLE && str_is(g->protocol_type, "consumer"))
        run->unread = true;
    else
        return false;
    return true;
}

/* A time so far off that the difference has no number is nobody's clock: it does not count as old. */
static bool aged(int64_t since_ms, const struct expiry_run *run)
{
    int64_t age;

    return !__builtin_sub_overflow(run->now_ms, since_ms, &age) && age >= run->retention_ms;
}

static bool expires(void *arg, struct str topic, int32_t partition, const struct committed *c)
{
    struct expiry_run *run = arg;
    int64_t since = run->by_state && run->g->state_since_ms != -1 ? run->g->state_since_ms : c->commit_ms;

    if (c->expire_ms != -1 ? run->now_ms < c->expire_ms : !aged(since, run))
        return false;
    if (run->unread && group_subscribes(run->g, topic) != GROUP_SUBSCRIBES_NO)
        return false;
    tombs_add(run->tombs, topic, partition);
    return true;
}

static bool expire_group(void *arg, struct group_session *s)
{
    struct expiry_run *run = arg;
    struct tombs t;

    tombs_init(&t, s);
    run->tombs = &t;
    if (group_rules(run, s->g))
        run->n += group_offsets_remove_if(s->g->offsets, expires, run);
    tombs_end(&t);
    remove_if_useless(s);
    return true;
}

size_t groups_expire(struct groups *gs, int64_t now_ms, int64_t retention_ms)
{
    struct expiry_run run = { .now_ms = now_ms, .retention_ms = retention_ms };

    groups_each(gs, expire_group, &run, NULL);
    return run.n;
}

static void expiry_job(void *arg)
{
    struct group_expiry *e = arg;
    int64_t began = mono_ms();
    size_t n = groups_expire(e->gs, wall_ms(), e->retention_ms);

    if (n > 0)
        log_info("consumer groups: removed %zu expired offsets in %lld ms", n, (long long)(mono_ms() - began));
}

int group_expiry_new(struct group_expiry **out, struct groups *gs, const struct config *cfg, struct scheduler *sched)
{
    struct group_expiry *e = calloc(1, sizeof *e);
    int64_t every_ms = cfg->offsets_retention_check_interval_ms;
    int rc;

    if (e == NULL)
        return ERR_NOMEM;
    e->gs = gs;
    e->sched = sched;
    e->retention_ms = (int64_t)cfg->offsets_retention_minutes * MINUTE_MS;
    rc = scheduler_add(sched, "group-expiry", every_ms, every_ms, expiry_job, e, &e->job);
    if (rc != OK) {
        free(e);
        return rc;
    }
    *out = e;
    return OK;
}

void group_expiry_free(struct group_expiry **e)
{
    if (*e == NULL)
        return;
    job_cancel((*e)->sched, &(*e)->job);
    free(*e);
    *e = NULL;
}

/* ---- by name ---------------------------------------------------------------------------------------------------- */

size_t group_forget(struct group_session *s, const struct offset_key *v, size_t n)
{
    struct group_offsets *o = s->g->offsets;
    bool known = false;
    struct tombs t;
    size_t gone = 0;

    tombs_init(&t, s);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(v[i].topic, v[i - 1].topic))
            known = group_offsets_has_topic(o, v[i].topic);
        if (known && group_offsets_delete(o, v[i].topic, v[i].partition)) {
            tombs_add(&t, v[i].topic, v[i].partition);
            gone++;
        }
    }
    tombs_end(&t);
    remove_if_useless(s);
    return gone;
}

struct forgotten {
    const struct offset_key *v;
    size_t                   n, gone;
};

static bool forget_in(void *arg, struct group_session *s)
{
    struct forgotten *f = arg;

    if (!group_offsets_none(s->g->offsets))
        f->gone += group_forget(s, f->v, f->n);
    return true;
}

void groups_forget(struct groups *gs, const struct offset_key *v, size_t n)
{
    struct forgotten f = { v, n, 0 };

    groups_each(gs, forget_in, &f, NULL);
    if (f.gone > 0)
        log_info("consumer groups: removed %zu offsets of %zu deleted partitions", f.gone, n);
}
