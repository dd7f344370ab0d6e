/* broker/controller/topics.c - topics as they appear in the store: at the start of a term, when one is
 * created, when one gets more partitions.
 *
 * Becoming the controller (failover):
 *   1. /feature, the brokers, the names of all topics, the deletions asked for        (one read)
 *   2. brokers, topics, then the state of every partition                             (pipelined reads)
 *   3. topics without an id get one; deletions are queued
 *   4. UpdateMetadata without partitions, so that brokers know each other before they are told to lead or
 *   follow 5. replicas of live brokers go Online, which sends them LeaderAndIsr; partitions get their first
 *      state here, and those without a leader are given one if that is possible
 *   6. deletions go on; /feature is brought up to date
 */
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"

#include "base/clock.h"
#include "base/log.h"
#include "metadata/topic_name.h"
#include "config/config.h"

#include <stdlib.h>

#define STATES_PER_CALL  256
#define FIRST_BALANCE_NS ((int64_t)5000000000)

/* ---- taking in topics: reads their nodes, gives ids to those that have none --------------------------- */

struct intake {
    struct frame       f;
    struct ctl_topic **topics;
    size_t             n, cap;
    struct ctl_topic  *grown;           /* EV_TOPIC: the one that is known already */
    struct ctl_partition **fresh;       /* what to bring online */
    size_t             fresh_n, fresh_cap;
};

static void intake_fini(struct frame *f)
{
    struct intake *in = (struct intake *)f;

    free(in->topics);
    free(in->fresh);
}

static bool intake_add(struct controller *c, struct intake *in, struct ctl_topic *t)
{
    if (in->n == in->cap) {
        size_t cap = in->cap == 0 ? 16 : in->cap * 2;
        struct ctl_topic **v = realloc(in->topics, cap * sizeof *v);

        if (v == NULL) {
            ctl_abort(c, ERR_NOMEM, "reading topics");
            return false;
        }
        in->topics = v;
        in->cap = cap;
    }
    in->topics[in->n++] = t;
    return true;
}

static bool fresh_add(struct controller *c, struct intake *in, struct ctl_partition *p)
{
    if (in->fresh_n == in->fresh_cap) {
        size_t cap = in->fresh_cap == 0 ? 64 : in->fresh_cap * 2;
        struct ctl_partition **v = realloc(in->fresh, cap * sizeof *v);

        if (v == NULL) {
            ctl_abort(c, ERR_NOMEM, "reading topics");
            return false;
        }
        in->fresh = v;
        in->fresh_cap = cap;
    }
    in->fresh[in->fresh_n++] = p;
    return true;
}

/* A name of the tree becomes a topic of ours, unless it would be a danger to the log directories. */
static void topic_met(struct controller *c, struct intake *in, struct str name)
{
    char buf[512];
    const char *fault = topic_name_fault(name, buf, sizeof buf);
    struct ctl_topic *t;

    if (fault != NULL) {
        log_error(ZK_BROKER_TOPICS ": topic name is invalid: %s; the node is ignored", fault);
        return;
    }
    if (context_topic_add(&c->ctx, name, &t) != OK)
        ctl_abort(c, ERR_NOMEM, "reading topics");
    else
        (void)intake_add(c, in, t);
}

static void topic_read(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic *t = subject;
    struct znode_topic z;
    int32_t added;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_topic_read(call->ops[0].value, &call->arena, &z);
    if (rc == OK) {
        if (uuid_is_zero(t->id))
            rc = context_topic_identify(&c->ctx, t, z.id);
        if (rc == ERR_EXISTS)
            log_error(ZK_BROKER_TOPICS "/%s: has the id of another topic, and gets one of its own", t->name);
    }
    if (rc == OK || rc == ERR_EXISTS) {
        rc = context_topic_grow(t, &z, &added);
    }
    if (rc == ERR_NOMEM)
        ctl_abort(c, rc, "reading topics");
    else if (rc != OK && rc != ERR_NOENT)
        log_error(ZK_BROKER_TOPICS "/%s: cannot be read: %s; the topic has no partitions until it is mended", t->name,
                  err_text(rc));
}

static enum step_next intake_read(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    for (size_t i = 0; i < in->n; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_get(call, zpath_topic(topic_str(in->topics[i])).z, STORE_WATCH);
        ctl_ask(c, call, topic_read, in->topics[i]);
    }
    return STEP_NEXT;
}

/* The topic's node with the partitions that we know and `id`. */
static char *topic_node(const struct ctl_topic *t, struct uuid id)
{
    struct znode_topic z = { .id = id, .partitions_n = t->partitions_n };
    char *text;

    z.partitions = calloc((size_t)t->partitions_n + 1, sizeof *z.partitions);
    if (z.partitions == NULL)
        return NULL;
    for (int32_t i = 0; i < t->partitions_n; i++)
        z.partitions[i] = (struct znode_partition){
            .index = t->partitions[i].index,
            .replicas = { t->partitions[i].replicas.v, t->partitions[i].replicas.n },
            .adding = { t->partitions[i].adding.v, t->partitions[i].adding.n },
            .removing = { t->partitions[i].removing.v, t->partitions[i].removing.n },
        };
    text = znode_topic_write(&z);
    free(z.partitions);
    return text;
}

/* Writes the topic's node from what we know of it. */
static void topic_write(struct controller *c, struct ctl_topic *t, answer_fn *fn)
{
    char *text = topic_node(t, t->id);
    struct store_call *call = text != NULL ? ctl_fenced_call(c) : NULL;

    if (call != NULL) {
        store_set(call, zpath_topic(topic_str(t)).z, (struct bytes){ (uint8_t *)text, strlen(text) },
                  STORE_ANY_VERSION);
        ctl_ask(c, call, fn, t);
    } else {
        ctl_abort(c, ERR_NOMEM, "writing a topic");
    }
    free(text);
}

static void id_written(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic *t = subject;

    if (call->rc == OK)
        return;
    context_topic_unidentify(&c->ctx, t);
    log_error(ZK_BROKER_TOPICS "/%s: cannot be given a topic id: %s", t->name, err_text(call->rc));
}

/* Topics made by tools older than 2.8 have none. */
static enum step_next intake_ids(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    for (size_t i = 0; i < in->n; i++) {
        struct ctl_topic *t = in->topics[i];

        if (!uuid_is_zero(t->id) || t->partitions_n == 0 || !ibp_has(&c->ibp, IBP_TOPIC_IDS))
            continue;
        if (context_topic_identify(&c->ctx, t, uuid_random()) == OK)
            topic_write(c, t, id_written);
        else
            ctl_abort(c, ERR_NOMEM, "giving ids to topics");
    }
    return STEP_NEXT;
}

/* ---- new partitions ----------------------------------------------------------------------------------- */

static bool replicas_of(struct controller *c, struct ctl_partition *const *v, size_t n, struct replica_ref **out,
                        size_t *out_n)
{
    size_t total = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        total += (size_t)v[i]->replicas.n;
    *out = calloc(total + 1, sizeof **out);
    *out_n = total;
    if (*out == NULL) {
        ctl_abort(c, ERR_NOMEM, "listing replicas");
        return false;
    }
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < v[i]->replicas.n; k++)
            (*out)[at++] = (struct replica_ref){ v[i], v[i]->replicas.v[k] };
    return true;
}

static void replicas_all_to(struct controller *c, const struct intake *in, enum replica_state to)
{
    struct replica_ref *refs;
    size_t n;

    if (!replicas_of(c, in->fresh, in->fresh_n, &refs, &n))
        return;
    replicas_to(c, refs, n, to);
    free(refs);
}

static enum step_next partitions_new(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    for (size_t i = 0; i < in->n; i++)
        for (int32_t k = 0; k < in->topics[i]->partitions_n; k++)
            if (!fresh_add(c, in, &in->topics[i]->partitions[k]))
                return STEP_END;
    if (in->fresh_n == 0)
        return STEP_END;
    partitions_to(c, in->fresh, in->fresh_n, PARTITION_NEW);
    replicas_all_to(c, in, REPLICA_NEW);
    partitions_online(c, in->fresh, in->fresh_n);
    return STEP_NEXT;
}

static enum step_next replicas_online(struct controller *c, struct frame *f)
{
    replicas_all_to(c, (struct intake *)f, REPLICA_ONLINE);
    return STEP_NEXT;
}

/* ---- EV_TOPICS: the children of /brokers/topics ------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct str *)a)->p, ((const struct str *)b)->p);
}

static void names_read(struct controller *c, struct store_call *call, void *subject)
{
    struct intake *in = subject;
    const struct store_op *op = &call->ops[0];
    struct ctl_topic *t, *next;

    if (call->rc != OK) {
        ctl_abort(c, call->rc, "reading " ZK_BROKER_TOPICS);
        return;
    }
    for (size_t i = 0; i < op->children_n; i++)
        if (context_topic(&c->ctx, op->children[i]) == NULL)
            topic_met(c, in, op->children[i]);
    HASH_ITER(hh, c->ctx.topics, t, next) {
        struct str name = topic_str(t);

        if (bsearch(&name, op->children, op->children_n, sizeof name, by_text) == NULL) {
            log_info("topic %s has vanished from the metadata store", t->name);
            context_topic_drop(&c->ctx, t);
        }
    }
}

static enum step_next names_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_BROKER_TOPICS, STORE_WATCH);
    ctl_ask(c, call, names_read, f);
    return STEP_NEXT;
}

void topics_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the topics", names_ask },      { "read the new ones", intake_read }, { "give ids", intake_ids },
        { "make partitions", partitions_new }, { "replicas online", replicas_online }, { NULL, NULL },
    };
    struct intake *in = frame_push(c, sizeof *in, steps);

    if (in != NULL)
        in->f.fini = intake_fini;
}

/* ---- EV_TOPIC: the data of a topic's node ------------------------------------------------------------- */

static void restored(struct controller *c, struct store_call *call, void *subject)
{
    const struct ctl_topic *t = subject;

    (void)c;
    if (call->rc != OK && call->rc != ERR_NOENT)
        log_warn(ZK_BROKER_TOPICS "/%s: cannot be restored: %s", t->name, err_text(call->rc));
}

static void grown_read(struct controller *c, struct store_call *call, void *subject)
{
    struct intake *in = subject;
    struct ctl_topic *t = in->grown;
    struct znode_topic z;
    int32_t added;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_topic_read(call->ops[0].value, &call->arena, &z);
    if (rc != OK) {
        if (rc != ERR_NOENT)
            log_error("%s: cannot be read: %s; the change is ignored", call->ops[0].path, err_text(rc));
        return;
    }
    if (t->queued) {
        if (z.partitions_n > t->partitions_n) {
            log_warn("topic %s is being deleted; the partitions that were added to it are not made", t->name);
            topic_write(c, t, restored);
        }
        return;
    }
    if (context_topic_grow(t, &z, &added) != OK) {
        ctl_abort(c, ERR_NOMEM, "reading a topic");
        return;
    }
    for (int32_t i = added; i < t->partitions_n; i++)
        (void)fresh_add(c, in, &t->partitions[i]);
    if (uuid_is_zero(z.id) && !uuid_is_zero(t->id))     /* a tool of 2.7 drops the id; brokers have it on disk */
        topic_write(c, t, restored);
}

static enum step_next grown_ask(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;
    struct store_call *call;

    in->grown = context_topic(&c->ctx, str_of(c->event->topic));
    call = in->grown != NULL ? ctl_call(c) : NULL;
    if (call == NULL)
        return STEP_END;
    store_get(call, zpath_topic(topic_str(in->grown)).z, STORE_WATCH);
    ctl_ask(c, call, grown_read, in);
    return STEP_NEXT;
}

void topic_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "read the topic", grown_ask }, { "make partitions", partitions_new }, { "replicas online", replicas_online },
        { NULL, NULL },
    };
    struct intake *in = frame_push(c, sizeof *in, steps);

    if (in != NULL)
        in->f.fini = intake_fini;
}

/* ---- EV_RETRY: partitions that have no leader because a write failed ---------------------------------- */

void retry_partitions(struct controller *c)
{
    struct ctl_partition **v = NULL;
    size_t n = 0, total = 0;

    for (const struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        total += (size_t)t->partitions_n;
    v = calloc(total + 1, sizeof *v);
    if (v == NULL) {
        ctl_abort(c, ERR_NOMEM, "looking for partitions without a leader");
        return;
    }
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n && !t->queued; i++)
            if (t->partitions[i].state == PARTITION_NEW || t->partitions[i].state == PARTITION_OFFLINE)
                v[n++] = &t->partitions[i];
    if (n > 0)
        partitions_online(c, v, n);
    free(v);
}

/* ---- failover ----------------------------------------------------------------------------------------- */

struct failover {
    struct intake in;
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
        topic_met(c, &fo->in, topics->children[i]);
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
        if (rc == ERR_NOMEM) {
            ctl_abort(c, rc, "reading the states of partitions");
            return;
        }
        if (rc != OK)
            log_error("%s: cannot be read: %s; the partition stays without a leader", op->path, err_text(rc));
    }
}

static enum step_next states_ask(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;
    struct intake *in = &fo->in;

    for (size_t i = 0; i < in->n; i++)
        for (int32_t k = 0; k < in->topics[i]->partitions_n; k++)
            if (!fresh_add(c, in, &in->topics[i]->partitions[k]))
                return STEP_END;
    for (size_t i = 0; i < in->fresh_n; i += STATES_PER_CALL) {
        struct store_call *call = ctl_call(c);
        struct span *span = call != NULL ? arena_alloc(&call->arena, sizeof *span) : NULL;

        if (span == NULL) {
            store_call_free(&call);
            ctl_abort(c, ERR_NOMEM, "reading the states of partitions");
            return STEP_END;
        }
        *span = (struct span){ fo, i };
        for (size_t k = i; k < in->fresh_n && k < i + STATES_PER_CALL; k++)
            store_get(call, zpath_state(topic_str(in->fresh[k]->topic), in->fresh[k]->index).z, 0);
        ctl_ask(c, call, states_read, span);
    }
    return STEP_NEXT;
}

static enum step_next queue_deletions(struct controller *c, struct frame *f)
{
    struct failover *fo = (struct failover *)f;

    deletion_init(c, fo->deletions, fo->deletions_n);
    return STEP_NEXT;
}

/* First what is known, then who leads what. Replicas of live brokers are Online at once: from NonExistent,
 * which no later event may do. */
static enum step_next states_start(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    batch_begin(c);
    batch_update_brokers(c);
    batch_send(c);
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
    suspect_recall(c);
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
        { "read the topics", intake_read },        { "give ids", intake_ids },
        { "read the states", states_ask },         { "queue deletions", queue_deletions },
        { "drop old notices", notices_start },
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
