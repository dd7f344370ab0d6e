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
 * be reached come first. Every election raises the leader epoch. A leader that was not assigned (returned.c) leaves
 * the ISR, for it is told to stop (rewrite.c). What is told goes to live brokers only (see batch.c).
 */
#include "broker/controller/leaders.h"

#include "base/log.h"
#include "broker/cluster/topic_configs.h"
#include "broker/controller/priv.h"
#include "broker/controller/rewrite.h"
#include "config/config.h"
#include "proto/kerr.h"

#include <stdlib.h>

static bool unclean_allowed(struct controller *c, const struct ctl_partition *p)
{
    struct topic_config_entry *e = topic_configs_get(c->opts.topic_configs, topic_str(p->topic));
    bool yes = e->cfg.unclean_leader_election_enable && !p->topic->settings_unknown;

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
    const struct context  *ctx;
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
    int32_t leader = first(c, p, how->candidate, true), dismissed = context_hosts(p, p->leader) ? -1 : p->leader;

    it->next.leader_epoch = p->leader_epoch + 1;
    if (leader >= 0) {
        it->next.leader = leader;
        it->next.isr.n = 0;
        for (int32_t i = 0; i < p->isr.n; i++)
            if ((how->stays(c, p, p->isr.v[i]) && p->isr.v[i] != dismissed) || p->isr.v[i] == leader)
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

/* By a broker that is stopping: it has a leader still. */
static bool led_to_the_end(const struct context *x, const struct ctl_partition *p)
{
    const struct ctl_broker *b = context_broker(x, p->leader);

    return b != NULL && b->live && b->shutting_down;
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
        if (w->error == how->error && !led_to_the_end(((struct electing *)rw)->ctx, w->p) && failed++ == 0)
            shown = w->p;
    }
    if (failed == 1 && how->unclean_config)
        log_warn("controller: %s-%d: no replica in sync is alive; it has no leader", shown->topic->name, shown->index);
    else if (failed > 1 && how->unclean_config)
        log_warn("controller: %s-%d and %zu other partitions: no replica in sync is alive; they have no leader",
                 shown->topic->name, shown->index, failed - 1);
}

/* ---- what the topics allow ---------------------------------------------------------------------------- */

#define READS_PER_CALL 256

/* This broker need not have replicas of them, and then nobody has told it their settings. */
struct asking {
    struct frame       f;
    struct ctl_topic **v;
    size_t             n;
};

static void asking_fini(struct frame *f)
{
    free(((struct asking *)f)->v);
}

static void settings_read(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic **v = subject;

    for (size_t i = 0; i < call->ops_n; i++)
        config_apply(c, topic_str(v[i]), &call->ops[i], &call->arena);
}

static enum step_next settings_ask(struct controller *c, struct frame *f)
{
    struct asking *ask = (struct asking *)f;

    for (size_t at = 0; at < ask->n; at += READS_PER_CALL) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        for (size_t i = at; i < ask->n && i < at + READS_PER_CALL; i++)
            store_get(call, zpath_topic_config(topic_str(ask->v[i])).z, 0);
        ctl_ask(c, call, settings_read, ask->v + at);
    }
    return STEP_NEXT;
}

/* Nobody in sync is there, but somebody else is. Where leaders write their ISRs themselves, who is in sync may turn out
 * only when the election's write is refused. */
static bool settings_matter(struct controller *c, const struct strategy *how, const struct ctl_partition *p)
{
    if (!p->has_leadership || first(c, p, how->candidate, false) < 0)
        return false;
    return !ibp_has(&c->ibp, IBP_ALTER_PARTITION) || first(c, p, how->candidate, true) < 0;
}

/* Only of topics on whose settings an election depends. */
static void ask_settings(struct controller *c, const struct strategy *how, const struct elect_wish *v, size_t n)
{
    static const struct step steps[] = { { "read the topics' settings", settings_ask }, { NULL, NULL } };
    struct asking *ask = NULL;

    for (size_t i = 0; i < n; i++) {
        struct ctl_partition *p = v[i].p;

        if (!settings_matter(c, how, p))
            continue;
        if (ask == NULL) {
            ask = frame_push(c, sizeof *ask, steps);
            if (ask == NULL)
                return;
            ask->f.fini = asking_fini;
            ask->v = calloc(n, sizeof(struct ctl_topic *));
            if (ask->v == NULL) {
                ctl_abort(c, ERR_NOMEM, steps[0].name);
                return;
            }
        }
        if (ask->n == 0 || ask->v[ask->n - 1] != p->topic)
            ask->v[ask->n++] = p->topic;
    }
}

void leaders_elect(struct controller *c, enum elect_how how, struct elect_wish *v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "its leader cannot be elected", .decide = decide,
                                              .settled = settled };
    struct electing *el = rewrite_push(c, &kind, n, sizeof *el);

    if (el == NULL)
        return;
    el->how = &strategies[how];
    el->ctx = &c->ctx;
    for (size_t i = 0; i < n; i++) {
        el->rw.v[i].p = v[i].p;
        el->rw.v[i].subject = &v[i];
        el->rw.v[i].error = v[i].p->has_leadership ? KERR_NONE : el->how->error;
    }
    el->rw.fini = elected;
    if (el->how->unclean_config && !el->how->unclean)
        ask_settings(c, el->how, v, n);
}
