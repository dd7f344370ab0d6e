/* broker/controller/preferred.c - leaders where they belong: what administrators ask for by ElectLeaders or by a tool's
 * list in /admin/preferred_replica_election, and what the controller does of itself from time to time.
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/controller/ask.h"
#include "broker/controller/leaders.h"
#include "broker/controller/reassign.h"
#include "proto/gen/elect_leaders_request.h"
#include "proto/gen/elect_leaders_response.h"
#include "proto/kerr.h"

#define ELECT_TYPE_PREFERRED 0          /* on the wire */
#define BALANCE_MAX_S        ((int64_t)1 << 32)     /* a longer interval is as good as never */

struct elections {
    struct frame       f;
    struct arena       arena;
    struct elect_wish *v;
    size_t             n;
    /* of ElectLeaders */
    struct controller_ask                           *ask;
    struct elect_leaders_response_partition_result **out;   /* of each wish */
    bool                                             preferred;
};

static void elections_fini(struct frame *f)
{
    arena_fini(&((struct elections *)f)->arena);
}

static struct elections *elections_push(struct controller *c, const struct step *steps)
{
    struct elections *el = frame_push(c, sizeof *el, steps);

    if (el == NULL)
        return NULL;
    el->f.fini = elections_fini;
    arena_init(&el->arena, SIZE_MAX / 2);
    return el;
}

static void out_of_memory(struct controller *c)
{
    ctl_abort(c, ERR_NOMEM, "electing leaders");
}

static struct ctl_partition *find(struct controller *c, struct str topic, int32_t index)
{
    struct ctl_topic *t = context_topic(&c->ctx, topic);

    return t != NULL ? context_partition(t, index) : NULL;
}

static bool on_preferred(const struct ctl_partition *p)
{
    return p->has_leadership && p->replicas.n > 0 && p->leader == p->replicas.v[0];
}

static enum step_next elect_preferred(struct controller *c, struct frame *f)
{
    struct elections *el = (struct elections *)f;

    if (el->n > 0)
        leaders_elect(c, ELECT_PREFERRED, el->v, el->n);
    return STEP_NEXT;
}

/* ---- ElectLeaders ------------------------------------------------------------------------------------- */

#define request   elect_leaders_request
#define response  elect_leaders_response
#define topic_in  elect_leaders_request_topic_partitions
#define topic_out elect_leaders_response_replica_election_result
#define part_out  elect_leaders_response_partition_result

static void fail(struct part_out *out, int16_t error, const char *message)
{
    out->error_code = error;
    out->error_message = str_of(message != NULL ? message : kerr_message(error));
}

static bool needed(const struct controller *c, const struct ctl_partition *p, bool preferred)
{
    if (preferred)
        return !on_preferred(p);
    return p->leader < 0 || !context_online(&c->ctx, p->leader);
}

static void wish(struct controller *c, struct elections *el, struct str topic, struct part_out *out)
{
    struct ctl_partition *p = find(c, topic, out->partition_id);

    if (p == NULL) {
        fail(out, KERR_UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.");
    } else if (p->topic->queued) {
        fail(out, KERR_INVALID_TOPIC_EXCEPTION, "The topic is being deleted");
    } else if (!needed(c, p, el->preferred)) {
        fail(out, KERR_ELECTION_NOT_NEEDED, NULL);
    } else {
        el->out[el->n] = out;
        el->v[el->n++].p = p;
    }
}

static int wishes(struct controller *c, struct elections *el, const struct request *req, struct response *resp)
{
    struct arena *a = el->ask->arena;
    size_t total = 0;

    for (int32_t i = 0; i < req->topic_partitions_n; i++)
        total += (size_t)req->topic_partitions[i].partitions_n;
    el->v = arena_array(&el->arena, total + 1, sizeof *el->v);
    el->out = arena_array(&el->arena, total + 1, sizeof(struct part_out *));
    resp->replica_election_results = arena_array(a, (size_t)req->topic_partitions_n + 1,
                                                 sizeof *resp->replica_election_results);
    if (el->v == NULL || el->out == NULL || resp->replica_election_results == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < req->topic_partitions_n; i++) {
        const struct topic_in *in = &req->topic_partitions[i];
        struct topic_out *to = &resp->replica_election_results[resp->replica_election_results_n++];

        elect_leaders_response_replica_election_result_init(to);
        to->topic = in->topic;
        to->partition_result = arena_array(a, (size_t)in->partitions_n + 1, sizeof *to->partition_result);
        if (to->partition_result == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < in->partitions_n; k++) {
            struct part_out *out = &to->partition_result[to->partition_result_n++];

            elect_leaders_response_partition_result_init(out);
            out->partition_id = in->partitions[k];
            wish(c, el, in->topic, out);
        }
    }
    return OK;
}

static enum step_next asked_elect(struct controller *c, struct frame *f)
{
    struct elections *el = (struct elections *)f;

    if (el->n > 0)
        leaders_elect(c, el->preferred ? ELECT_PREFERRED : ELECT_UNCLEAN, el->v, el->n);
    return STEP_NEXT;
}

static enum step_next asked_answer(struct controller *c, struct frame *f)
{
    struct elections *el = (struct elections *)f;
    const char *strategy = el->preferred ? "PreferredReplicaPartitionLeaderElectionStrategy"
                                         : "OfflinePartitionLeaderElectionStrategy(true)";
    int16_t unavailable = el->preferred ? KERR_PREFERRED_LEADER_NOT_AVAILABLE : KERR_ELIGIBLE_LEADERS_NOT_AVAILABLE;

    (void)c;
    for (size_t i = 0; i < el->n; i++) {
        const struct ctl_partition *p = el->v[i].p;

        if (el->v[i].error == unavailable)
            fail(el->out[i], unavailable,
                 arena_printf(el->ask->arena, "Failed to elect leader for partition %s-%d under strategy %s",
                              p->topic->name, p->index, strategy));
        else if (el->v[i].error != KERR_NONE)
            fail(el->out[i], el->v[i].error, NULL);
    }
    return STEP_NEXT;
}

/* ---- its answer: when this broker knows the new leaders, so that a client that asks again sees them ------- */

struct elections_wait {
    struct elections_wait *next;
    struct controller_ask *ask;
    int64_t                deadline_ns;
    struct awaited {
        struct str       topic;         /* of the request */
        int32_t          leader;
        struct part_out *out;
        bool             seen;
    } *v;
    size_t n;
};

/* false: no memory for it, so nobody waits. */
static bool wait_begin(struct controller *c, const struct elections *el)
{
    const struct request *req = el->ask->req;
    struct elections_wait *w = arena_zalloc(el->ask->arena, sizeof *w);

    if (w == NULL || (w->v = arena_array(el->ask->arena, el->n + 1, sizeof *w->v)) == NULL)
        return false;
    for (size_t i = 0; i < el->n; i++)
        if (el->v[i].error == KERR_NONE) {
            struct awaited *aw = &w->v[w->n++];

            *aw = (struct awaited){ .leader = el->v[i].p->leader, .out = el->out[i] };
            if (arena_str(el->ask->arena, topic_str(el->v[i].p->topic), &aw->topic) != OK)
                return false;
        }
    if (w->n == 0)
        return false;
    w->ask = el->ask;
    w->deadline_ns = mono_ns() + (int64_t)req->timeout_ms * 1000000;
    w->next = c->elections;
    c->elections = w;
    c->event->ask = NULL;                           /* answered by elections_recheck() */
    return true;
}

static bool seen(const struct metadata *md, struct awaited *aw)
{
    const struct metadata_topic *t = aw->seen ? NULL : metadata_topic(md, aw->topic);
    const struct metadata_partition *p = t != NULL ? metadata_partition(t, aw->out->partition_id) : NULL;

    aw->seen |= p != NULL && p->leader == aw->leader;
    return aw->seen;
}

void elections_recheck(struct controller *c, bool end)
{
    struct metadata *md = c->elections != NULL ? metadata_get(c->opts.metacache) : NULL;
    struct elections_wait **at = &c->elections;

    while (*at != NULL) {
        struct elections_wait *w = *at;
        bool late = end || mono_ns() >= w->deadline_ns, all = true;

        for (size_t i = 0; i < w->n; i++)
            if (!seen(md, &w->v[i])) {
                all = false;
                if (late)
                    fail(w->v[i].out, KERR_REQUEST_TIMED_OUT, NULL);
            }
        if (!all && !late) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        ask_end(w->ask, false);                     /* w is in its memory */
    }
    metadata_put(&md);
}

int64_t elections_deadline(const struct controller *c)
{
    int64_t at = INT64_MAX;

    for (const struct elections_wait *w = c->elections; w != NULL; w = w->next)
        if (w->deadline_ns < at)
            at = w->deadline_ns;
    return at;
}

static enum step_next asked_wait(struct controller *c, struct frame *f)
{
    if (wait_begin(c, (struct elections *)f))
        elections_recheck(c, c->stopping);          /* nobody looks again after the stop */
    return STEP_NEXT;
}

void elections_asked(struct controller *c, struct controller_ask *ask)
{
    static const struct step steps[] = {
        { "elect", asked_elect }, { "answer", asked_answer }, { "wait", asked_wait }, { NULL, NULL },
    };
    const struct request *req = ask->req;
    struct elections *el = elections_push(c, steps);

    if (el == NULL)
        return;
    el->ask = ask;
    el->preferred = ask->version < 1 || req->election_type == ELECT_TYPE_PREFERRED;
    if (wishes(c, el, req, ask->resp) == OK)
        return;
    el->n = 0;
    elect_leaders_response_init(ask->resp);
    ((struct response *)ask->resp)->error_code = KERR_UNKNOWN_SERVER_ERROR;
}

/* ---- /admin/preferred_replica_election ------------------------------------------------------------------ */

static void list_take(struct controller *c, struct elections *el, const struct znode_list *l)
{
    size_t unknown = 0;

    el->v = arena_array(&el->arena, l->n + 1, sizeof *el->v);
    if (el->v == NULL) {
        out_of_memory(c);
        return;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct ctl_partition *p = find(c, l->v[i].topic, l->v[i].partition);

        if (p == NULL || p->topic->queued)
            unknown++;
        else if (!on_preferred(p))
            el->v[el->n++].p = p;
    }
    if (unknown > 0)
        log_warn(ZK_PREFERRED_ELECTION ": %zu partitions that it names do not exist, or are being deleted", unknown);
    log_info("controller: %zu leaders are to move, as " ZK_PREFERRED_ELECTION " asks", el->n);
}

struct election_list {
    struct elections el;
    bool             there;
};

static void list_read(struct controller *c, struct store_call *call, void *subject)
{
    struct election_list *li = subject;
    struct znode_list l;
    int rc = call->ops[1].rc;

    li->there = rc == OK;
    if (!li->there)
        return;
    rc = znode_election_read(call->ops[1].value, &call->arena, &l);
    if (rc == OK)
        list_take(c, &li->el, &l);
    else
        log_error(ZK_PREFERRED_ELECTION ": cannot be read: %s; it is removed", err_text(rc));
}

static enum step_next list_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_exists(call, ZK_PREFERRED_ELECTION, STORE_WATCH);
    store_get(call, ZK_PREFERRED_ELECTION, 0);
    ctl_ask(c, call, list_read, f);
    return STEP_NEXT;
}

/* The watch tells of the removal, and then it is looked for the next list. */
static void list_removed(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_NOENT)
        log_error(ZK_PREFERRED_ELECTION ": cannot be removed: %s", err_text(call->rc));
}

static enum step_next list_remove(struct controller *c, struct frame *f)
{
    struct election_list *li = (struct election_list *)f;
    struct store_call *call = li->there ? ctl_fenced_call(c) : NULL;

    for (size_t i = 0; i < li->el.n; i++)
        if (li->el.v[i].error != KERR_NONE)
            log_warn("%s-%d: its preferred leader cannot be elected: %s", li->el.v[i].p->topic->name,
                     li->el.v[i].p->index, kerr_name(li->el.v[i].error));
    if (call == NULL)
        return STEP_NEXT;
    store_delete(call, ZK_PREFERRED_ELECTION, STORE_ANY_VERSION);
    ctl_ask(c, call, list_removed, NULL);
    return STEP_NEXT;
}

void elections_listed(struct controller *c)
{
    static const struct step steps[] = {
        { "read the list", list_ask }, { "elect", elect_preferred }, { "remove the list", list_remove },
        { NULL, NULL },
    };
    struct election_list *li = frame_push(c, sizeof *li, steps);

    if (li == NULL)
        return;
    li->el.f.fini = elections_fini;
    arena_init(&li->el.arena, SIZE_MAX / 2);
}

/* ---- the balance of leaders ----------------------------------------------------------------------------- */

struct share {
    size_t preferred;                   /* partitions that the broker should lead */
    size_t away;                        /* of these, led by others */
};

static bool counts(const struct ctl_partition *p)
{
    return !p->topic->queued && p->has_leadership && p->replicas.n > 0;
}

/* The place of the broker that should lead p; -1: it is not registered. */
static int64_t place(const struct controller *c, const struct ctl_partition *p)
{
    const struct ctl_broker *b = context_broker(&c->ctx, p->replicas.v[0]);

    return b != NULL ? b - c->ctx.brokers : -1;
}

static size_t shares(const struct controller *c, struct share *v)
{
    size_t total = 0;

    for (const struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++) {
            const struct ctl_partition *p = &t->partitions[i];
            int64_t at = counts(p) ? place(c, p) : -1;

            if (at < 0)
                continue;
            v[at].preferred++;
            v[at].away += !on_preferred(p);
            total += !on_preferred(p);
        }
    return total;
}

static bool too_many(const struct controller *c, const struct share *s)
{
    return (double)s->away > (double)s->preferred * c->opts.cfg->leader_imbalance_per_broker_percentage / 100;
}

static bool can_move(const struct controller *c, const struct ctl_partition *p)
{
    return !on_preferred(p) && ids_have(&p->isr, p->replicas.v[0]) &&
           context_replica_online(&c->ctx, p, p->replicas.v[0]);
}

static enum step_next balance_done(struct controller *c, struct frame *f)
{
    struct elections *el = (struct elections *)f;
    size_t failed = 0;

    (void)c;
    for (size_t i = 0; i < el->n; i++)
        failed += el->v[i].error != KERR_NONE;
    if (el->n > 0)
        log_info("controller: %zu leaders have moved to their preferred brokers, %zu could not", el->n - failed,
                 failed);
    return STEP_NEXT;
}

void leaders_balance(struct controller *c)
{
    static const struct step steps[] = { { "elect", elect_preferred }, { "say so", balance_done }, { NULL, NULL } };
    struct elections *el = elections_push(c, steps);
    int64_t interval_s = c->opts.cfg->leader_imbalance_check_interval_seconds;
    struct share *v;
    size_t away;

    c->balance_at_ns = mono_ns() + (interval_s < BALANCE_MAX_S ? interval_s : BALANCE_MAX_S) * 1000000000;
    if (el == NULL)
        return;
    v = arena_array(&el->arena, c->ctx.brokers_n + 1, sizeof *v);
    away = v != NULL ? shares(c, v) : 0;
    el->v = arena_array(&el->arena, away + 1, sizeof *el->v);
    if (v == NULL || el->v == NULL) {
        out_of_memory(c);
        return;
    }
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++) {
            struct ctl_partition *p = &t->partitions[i];
            int64_t at = counts(p) ? place(c, p) : -1;

            if (at >= 0 && too_many(c, &v[at]) && can_move(c, p))
                el->v[el->n++].p = p;
        }
}
