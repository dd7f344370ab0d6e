/* broker/controller/leaders.c - choosing leaders. One table of strategies:
 *
 *   strategy      new leader                                   new ISR            who is told
 *   offline       the first assigned replica that is online    ISR and online     assigned, online
 *                 and in sync; if there is none, and the topic
 *                 allows it, the first that is online          that one alone
 *   unclean       the same, whether the topic allows it or not
 *   reassign      the first target replica online and in sync  stays              targets
 *   preferred     the head of the assignment, if it is online  stays              assigned
 *                 and in sync
 *   shutdown      the first assigned replica in sync whose     without those      assigned
 *                 broker is not shutting down                  shutting down
 *   unreachable   the first assigned replica in sync whose     without those      assigned
 *                 broker can be reached                        out of reach
 *
 * "online": its broker lives and is not shutting down, and has not lost its log. Among several, those whose broker can
 * be reached come first. Every election raises the leader epoch. What is told goes to live brokers only (see batch.c).
 */
#include "broker/controller/leaders.h"

#include "base/log.h"
#include "broker/cluster/topic_configs.h"
#include "broker/controller/priv.h"
#include "broker/controller/rewrite.h"
#include "config/config.h"
#include "proto/kerr.h"

static bool unclean_allowed(struct controller *c, const struct ctl_partition *p)
{
    struct topic_config_entry *e = topic_configs_get(c->opts.topic_configs, topic_str(p->topic));
    bool yes = e->cfg.unclean_leader_election_enable;

    topic_config_entry_put(&e);
    return yes;
}

/* ---- which replicas ----------------------------------------------------------------------------------- */

typedef bool replica_test(const struct controller *c, const struct ctl_partition *p, int32_t broker);

static bool any(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    (void)c, (void)p, (void)broker;
    return true;
}

static bool online(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    return context_replica_online(&c->ctx, p, broker);
}

static bool target(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    (void)c;
    return ids_have(&p->replicas, broker) && !ids_have(&p->removing, broker);
}

static bool online_target(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    return target(c, p, broker) && online(c, p, broker);
}

static bool preferred(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    return broker == p->replicas.v[0] && online(c, p, broker);
}

static bool not_shutting_down(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    (void)p;
    return b == NULL || !b->shutting_down;
}

static bool reachable(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    (void)p;
    return b == NULL || !b->unreachable;
}

static bool online_reachable(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    return online(c, p, broker) && reachable(c, p, broker);
}

/* ---- the strategies ----------------------------------------------------------------------------------- */

static const struct strategy {
    const char   *name;
    replica_test *candidate;            /* may lead, if it is in sync */
    replica_test *stays;                /* in the ISR */
    replica_test *told;
    bool          unclean_config, unclean;      /* one that is not in sync may lead: if the topic says so; always */
    int16_t       error;                /* there is no candidate */
} strategies[] = {
    [ELECT_OFFLINE] = { "offline", online, online, online, true, false, KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE },
    [ELECT_UNCLEAN] = { "unclean", online, online, online, true, true, KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE },
    [ELECT_REASSIGN] = { "reassign", online_target, any, target, false, false, KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE },
    [ELECT_PREFERRED] = { "preferred", preferred, any, any, false, false, KERR_PREFERRED_LEADER_NOT_AVAILABLE },
    [ELECT_SHUTDOWN] = { "controlled shutdown", online, not_shutting_down, any, false, false,
                         KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE },
    [ELECT_UNREACHABLE] = { "unreachable", online_reachable, reachable, any, false, false,
                            KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE },
};

struct electing {
    struct rewrite         rw;
    const struct strategy *how;
};

/* The first assigned replica that may lead, one that can be reached before one that cannot; -1: none. */
static int32_t first(struct controller *c, const struct ctl_partition *p, replica_test *candidate, bool in_sync)
{
    int32_t far = -1;

    for (int32_t i = 0; i < p->replicas.n; i++) {
        int32_t id = p->replicas.v[i];

        if (!candidate(c, p, id) || (in_sync && !ids_have(&p->isr, id)))
            continue;
        if (reachable(c, p, id))
            return id;
        if (far < 0)
            far = id;
    }
    return far;
}

static enum rewrite_verdict decide(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    const struct strategy *how = ((struct electing *)rw)->how;
    struct ctl_partition *p = it->p;
    int32_t leader = first(c, p, how->candidate, true);

    it->next.leader_epoch = p->leader_epoch + 1;
    if (leader >= 0) {
        it->next.leader = leader;
        it->next.isr.n = 0;
        for (int32_t i = 0; i < p->isr.n; i++)
            if (how->stays(c, p, p->isr.v[i]) || p->isr.v[i] == leader)
                it->next.isr.v[it->next.isr.n++] = p->isr.v[i];
        return REWRITE_WRITE;
    }
    if (how->unclean || (how->unclean_config && unclean_allowed(c, p)))
        leader = first(c, p, how->candidate, false);
    if (leader < 0) {
        it->error = how->error;
        return REWRITE_REFUSE;
    }
    log_warn("controller: %s-%d: no replica in sync is alive; broker %d is to lead, records may have been lost",
             p->topic->name, p->index, leader);
    it->next.leader = leader;
    it->next.isr.v[0] = leader;
    it->next.isr.n = 1;
    it->next.recovering = it->next.recovering || ibp_has(&c->ibp, IBP_LEADER_RECOVERY);
    return REWRITE_WRITE;
}

static void settled(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    const struct strategy *how = ((struct electing *)rw)->how;
    struct ctl_partition *p = it->p;

    (void)written;
    partition_elected(p);
    for (int32_t i = 0; i < p->replicas.n; i++)
        if (how->told(c, p, p->replicas.v[i]))
            batch_leader_and_isr(c, p->replicas.v[i], p, false);
}

/* The outcome goes to whoever asked; what concerns many partitions is said in one line. */
static void elected(struct rewrite *rw)
{
    const struct strategy *how = ((struct electing *)rw)->how;
    const struct ctl_partition *shown = NULL;
    size_t failed = 0;

    for (size_t i = 0; i < rw->n; i++) {
        struct elect_wish *w = rw->v[i].subject;

        w->error = rw->v[i].error;
        if (w->error == KERR_NONE && rw->v[i].pending)
            w->error = KERR_NOT_CONTROLLER;         /* cut off by an abort */
        if (w->error == how->error && failed++ == 0)
            shown = w->p;
    }
    if (failed == 1 && how->unclean_config)
        log_warn("controller: %s-%d: no replica in sync is alive; it has no leader", shown->topic->name, shown->index);
    else if (failed > 1 && how->unclean_config)
        log_warn("controller: %s-%d and %zu other partitions: no replica in sync is alive; they have no leader",
                 shown->topic->name, shown->index, failed - 1);
}

void leaders_elect(struct controller *c, enum elect_how how, struct elect_wish *v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "its leader cannot be elected", .decide = decide,
                                              .settled = settled };
    struct electing *el = rewrite_push(c, &kind, n, sizeof *el);

    if (el == NULL)
        return;
    el->how = &strategies[how];
    for (size_t i = 0; i < n; i++) {
        el->rw.v[i].p = v[i].p;
        el->rw.v[i].subject = &v[i];
        el->rw.v[i].error = v[i].p->has_leadership ? KERR_NONE : el->how->error;
    }
    el->rw.fini = elected;
}
