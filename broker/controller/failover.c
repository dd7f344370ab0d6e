/* broker/controller/failover.c - the start of a term: what is read first, and who leads what.
 *
 * Becoming the controller:
 *   1. /feature, the brokers, the names of all topics, the deletions asked for        (one read)
 *   2. brokers, topics                                                                (pipelined reads)
 *   3. topics without an id get one; deletions are queued
 *   4. partitions that nobody leads any more, as far as this broker knows, as clients wait for them: states are read,
 *      and whatever has somebody in sync is led again
 *   5. the state of every other partition (pipelined reads)
 *   6. replicas of live brokers go Online, which sends them LeaderAndIsr; partitions get their first state here, and
 *      those without a leader are given one if that is possible
 *   7. moves and deletions go on; /feature is brought up to date; who is out of reach leaves the ISRs
 * Before 4 and 6 tell anybody of a partition, who was away unseen by a controller leaves its ISR (returned.c).
 * The first that is told is UpdateMetadata, so that brokers know each other before they are told to lead or follow, and
 * forget the topics that are not in the tree any more (vanished.c). (But for a leader that is not assigned and ends to
 * lead: rewrite.c.)
 */
#include "broker/controller/intake.h"
#include "broker/controller/reassign.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "config/config.h"

#include <stdlib.h>

#define STATES_PER_CALL  256
#define FIRST_BALANCE_NS ((int64_t)5000000000)

struct failover {
    struct intake in;                   /* fresh: what is urgent comes first */
    size_t        urgent_n;
    struct arena  arena;                /* names of topics to delete */
    struct str   *deletions;
    size_t        deletions_n;
    char         *feature;              /* NULL: stays as it is */
    bool          feature_there;
    int32_t       feature_version;
    int64_t       started_ns;
};

static void failover_fini(struct frame *f)
{
    struct failover *fo = (struct failover *)f;

    free(fo->feature);
    arena_fini(&fo->arena);
    intake_fini(f);
}

static void overview_read(struct controller *c, struct store_call *call, void *subject)
{
    struct failover *fo = subject;
    const struct store_op *feature = &call->ops[0], *ids = &call->ops[1], *topics = &call->ops[2],
                          *deletions = &call->ops[3];
    struct znode_feature want = { .version = ibp_has(&c->ibp, IBP_FEATURE_NODE_V2) ? 2 : 1,
                                  .enabled = ibp_has(&c->ibp, IBP_FEATURE_VERSIONS) };
    int rc = OK;

    if (ids->rc != OK || topics->rc != OK || deletions->rc != OK) {
        ctl_abort(c, ERR_NOENT, "the top of the metadata tree is incomplete");
        return;
    }
    fo->feature_there = feature->rc == OK;
    fo->feature_version = feature->stat.version;
    if (znode_feature_update(feature->value, fo->feature_there, &want, &fo->feature) != OK)
        log_error(ZK_FEATURE ": cannot be understood; it stays as it is");
    for (size_t i = 0; i < ids->children_n && rc == OK; i++) {
        struct ctl_broker *b;
        int32_t id;

        if (broker_id_of(ids->children[i], &id))
            rc = context_broker_add(&c->ctx, id, &b);
    }
    for (size_t i = 0; i < topics->children_n && rc == OK; i++)
        intake_topic(c, &fo->in, topics->children[i]);
    fo->deletions = arena_array(&fo->arena, deletions->children_n + 1, sizeof *fo->deletions);
    if (fo->deletions == NULL)
        rc = ERR_NOMEM;
    for (size_t i = 0; i < deletions->children_n && rc == OK; i++)
        rc = arena_str(&fo->arena, deletions->children[i], &fo->deletions[fo->deletions_n++]);
    if (rc != OK)
        ctl_abort(c, rc, "reading the metadata tree");
}

static enum step_next overview_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_get(call, ZK_FEATURE, 0);
    store_children(call, ZK_BROKER_IDS, STORE_WATCH);
    store_children(call, ZK_BROKER_TOPICS, STORE_WATCH);
    store_children(call, ZK_DELETE_TOPICS, STORE_WATCH);
    ctl_ask(c, call, overview_read, f);
    return STEP_NEXT;
}

static void feature_written(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK)
        log_error(ZK_FEATURE ": cannot be written: %s", err_text(call->rc));
}

static enum step_next feature_write(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;
    struct bytes text = { (uint8_t *)fo->feature, fo->feature != NULL ? strlen(fo->feature) : 0 };
    struct store_call *call = fo->feature != NULL ? ctl_fenced_call(c) : NULL;

    if (call == NULL)
        return STEP_NEXT;
    if (fo->feature_there)
        store_set(call, ZK_FEATURE, text, fo->feature_version);
    else
        store_create(call, ZK_FEATURE, text, 0);
    ctl_ask(c, call, feature_written, NULL);
    return STEP_NEXT;
}

static void broker_read(struct controller *c, struct store_call *call, void *subject)
{
    if (call->rc != ERR_NOENT)                      /* gone since the list was read */
        (void)broker_take(c, (int32_t)(intptr_t)subject, &call->ops[0]);
}

static enum step_next brokers_ask(struct controller *c, struct frame *f)
{
    (void)f;
    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_get(call, zpath_broker(c->ctx.brokers[i].id).z, STORE_WATCH);
        ctl_ask(c, call, broker_read, (void *)(intptr_t)c->ctx.brokers[i].id);
    }
    return STEP_NEXT;
}

/* One call reads the states of up to STATES_PER_CALL partitions: those from `first` on. */
struct span {
    struct failover *fo;
    size_t           first;
};

static void states_read(struct controller *c, struct store_call *call, void *subject)
{
    const struct span *span = subject;

    for (size_t i = 0; i < call->ops_n; i++) {
        struct ctl_partition *p = span->fo->in.fresh[span->first + i];
        const struct store_op *op = &call->ops[i];
        struct znode_state s;
        int rc = op->rc;

        if (rc == ERR_NOENT)
            continue;
        if (rc == OK)
            rc = znode_state_read(op->value, &call->arena, &s);
        if (rc == OK)
            rc = context_leadership(p, &s, op->stat.version);
        p->state_zxid = op->stat.mzxid;
        if (rc == ERR_NOMEM) {
            ctl_abort(c, rc, "reading the states of partitions");
            return;
        }
        if (rc != OK)
            log_error("%s: cannot be read: %s; the partition stays without a leader", op->path, err_text(rc));
    }
}

/* The states of in.fresh[from .. end - 1]. */
static enum step_next states_ask(struct controller *c, struct failover *fo, size_t from, size_t end)
{
    struct intake *in = &fo->in;

    for (size_t i = from; i < end; i += STATES_PER_CALL) {
        struct store_call *call = ctl_call(c);
        struct span *span = call != NULL ? arena_alloc(&call->arena, sizeof *span) : NULL;

        if (span == NULL) {
            store_call_free(&call);
            ctl_abort(c, ERR_NOMEM, "reading the states of partitions");
            return STEP_END;
        }
        *span = (struct span){ fo, i };
        for (size_t k = i; k < end && k < i + STATES_PER_CALL; k++)
            store_get(call, zpath_state(topic_str(in->fresh[k]->topic), in->fresh[k]->index).z, 0);
        ctl_ask(c, call, states_read, span);
    }
    return STEP_NEXT;
}

static enum step_next queue_deletions(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;

    suspect_mark(c);
    deletion_init(c, fo->deletions, fo->deletions_n);
    return STEP_NEXT;
}

/* ---- what nobody leads any more ---- */

static bool can_lead(const struct controller *c, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    return b != NULL && b->live && !b->unreachable;
}

/* What this broker has been told may be old: it decides nothing but the order. */
static bool is_urgent(const struct controller *c, const struct metadata_topic *known, int32_t index)
{
    const struct metadata_partition *p = known != NULL ? metadata_partition(known, index) : NULL;

    return p != NULL && p->leader >= 0 && !can_lead(c, p->leader);
}

static bool fresh_add_all(struct controller *c, struct failover *fo, const struct metadata *md, bool urgent)
{
    for (size_t i = 0; i < fo->in.n; i++) {
        struct ctl_topic *t = fo->in.topics[i];
        const struct metadata_topic *known = metadata_topic(md, topic_str(t));

        for (int32_t k = 0; k < t->partitions_n; k++)
            if (is_urgent(c, known, t->partitions[k].index) == urgent && !intake_fresh(c, &fo->in, &t->partitions[k]))
                return false;
    }
    return true;
}

static enum step_next urgent_ask(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;
    struct metadata *md = metadata_get(c->opts.metacache);
    bool ok = fresh_add_all(c, fo, md, true);

    fo->urgent_n = fo->in.fresh_n;
    ok = ok && fresh_add_all(c, fo, md, false);
    metadata_put(&md);
    return ok ? states_ask(c, fo, 0, fo->urgent_n) : STEP_END;
}

static enum step_next urgent_returned(struct controller *c, struct frame *f)
{
    const struct failover *fo = (struct failover *)f;

    returned_start(c, fo->in.fresh, fo->urgent_n);
    return STEP_NEXT;
}

/* Those that have a leader after all, or again since it was looked who was away, are told of; those whose leader is out
 * of reach get another. */
static enum step_next urgent_start(struct controller *c, struct frame *f)
{
    const struct failover *fo = (struct failover *)f;
    struct ctl_partition **led = calloc(fo->urgent_n + 1, sizeof *led);
    size_t n = 0;

    if (led == NULL) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return STEP_END;
    }
    if (fo->urgent_n > 0)
        vanished_tell(c);
    for (size_t i = 0; i < fo->urgent_n; i++)
        if (fo->in.fresh[i]->has_leadership && can_lead(c, fo->in.fresh[i]->leader))
            led[n++] = fo->in.fresh[i];
    partitions_start(c, fo->in.fresh, fo->urgent_n);
    if (n > 0)
        replicas_start(c, led, n);
    free(led);
    if (fo->urgent_n > 0)
        unreachable_retry(c);
    return STEP_NEXT;
}

/* ---- everything ---- */

static enum step_next rest_ask(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;

    if (fo->urgent_n > 0)
        log_debug("controller: %zu partitions without a leader are seen to after %.1f ms", fo->urgent_n,
                  (double)(mono_ns() - fo->started_ns) / 1e6);
    return states_ask(c, fo, fo->urgent_n, fo->in.fresh_n);
}

static enum step_next rest_returned(struct controller *c, struct frame *f)
{
    const struct failover *fo = (struct failover *)f;

    returned_start(c, fo->in.fresh + fo->urgent_n, fo->in.fresh_n - fo->urgent_n);
    return STEP_NEXT;
}

/* First what is known, then who leads what. Replicas of live brokers are Online at once: from NonExistent,
 * which no later event may do. */
static enum step_next states_start(struct controller *c, struct frame *f)
{
    const struct intake *in = (struct intake *)f;

    if (((struct failover *)f)->urgent_n == 0)
        vanished_tell(c);
    replicas_start(c, in->fresh, in->fresh_n);
    partitions_start(c, in->fresh, in->fresh_n);
    retry_partitions(c);
    return STEP_NEXT;
}

static enum step_next deletions_start(struct controller *c, struct frame *f)
{
    (void)f;
    deletion_resume(c);
    return STEP_NEXT;
}

static enum step_next moves_start(struct controller *c, struct frame *f)
{
    (void)f;
    reassign_init(c);
    return STEP_NEXT;
}

static enum step_next elections_start(struct controller *c, struct frame *f)
{
    (void)f;
    elections_listed(c);
    return STEP_NEXT;
}

static enum step_next notices_start(struct controller *c, struct frame *f)
{
    (void)f;
    notices_init(c);
    return STEP_NEXT;
}

static enum step_next failover_done(struct controller *c, struct frame *f)
{
    const struct failover *fo = (struct failover *)f;

    log_info("controller: broker %d is the controller: epoch %d, %u topics, %zu partitions, %zu brokers, %.1f ms",
             c->opts.broker->id, c->epoch, HASH_COUNT(c->ctx.topics), fo->in.fresh_n, c->ctx.brokers_n,
             (double)(mono_ns() - fo->started_ns) / 1e6);
    c->failed_over = true;
    c->suspect = -1;
    unreachable_retry(c);               /* what it was in sync with, and what moves and elections have given it */
    if (c->opts.cfg->auto_leader_rebalance_enable)
        c->balance_at_ns = mono_ns() + FIRST_BALANCE_NS;
    if (c->sent_here == 0)
        controller_set_ready(c, OK);
    return STEP_NEXT;
}

void failover_begin(struct controller *c)
{
    static const struct step steps[] = {
        { "read the overview", overview_ask },     { "read the brokers", brokers_ask },
        { "read the topics", intake_read },        { "queue deletions", queue_deletions },
        { "drop old notices", notices_start },
        { "read what is urgent", urgent_ask },     { "look for who was away", urgent_returned },
        { "elect what is urgent", urgent_start },  { "read the other states", rest_ask },
        { "look for who was away", rest_returned },
        { "start the states", states_start },      { "go on with moves", moves_start },
        { "go on with deletions", deletions_start }, { "elect preferred leaders", elections_start },
        { "write /feature", feature_write },       { "done", failover_done },
        { NULL, NULL },
    };
    struct failover *fo = frame_push(c, sizeof *fo, steps);

    if (fo == NULL)
        return;
    fo->in.f.fini = failover_fini;
    arena_init(&fo->arena, SIZE_MAX / 2);
    fo->started_ns = mono_ns();
    brokers_disconnect(c);
    context_clear(&c->ctx);
}
