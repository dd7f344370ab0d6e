/* broker/controller/partitions.c - the only code that writes ctl_partition.state.
 *
 *   New -> Online                 the first live replica leads, all live ones are in sync, epoch 0: the state is made
 *   Online, Offline -> Online     an election (leaders.c)
 *   any -> Offline, NonExistent   memory only
 *
 * The nodes of new partitions are made in multis of many, each with the check of the controller's epoch. Such a multi
 * is refused when a node is there already (an earlier try of ours whose answer was lost; the rest of a deletion): then
 * these partitions' nodes are made one by one, and a state that is found is taken as it is.
 */
#include "broker/controller/priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/controller/leaders.h"

#include <stdlib.h>

#define RETRY_NS        ((int64_t)1000000000)
#define CREATES_PER_CALL 64                 /* partitions in one multi: two nodes each */

static bool step_ok(const struct ctl_partition *p, enum partition_state to)
{
    if (partition_state_legal(p->state, to))
        return true;
    log_error("controller: %s-%d cannot go from %s to %s", p->topic->name, p->index, partition_state_name(p->state),
              partition_state_name(to));
    return false;
}

void partitions_start(struct controller *c, struct ctl_partition **v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ctl_partition *p = v[i];

        if (!p->has_leadership)
            p->state = PARTITION_NEW;
        else
            p->state = context_replica_online(&c->ctx, p, p->leader) ? PARTITION_ONLINE : PARTITION_OFFLINE;
    }
}

void partitions_to(struct controller *c, struct ctl_partition **v, size_t n, enum partition_state to)
{
    (void)c;
    for (size_t i = 0; i < n; i++)
        if (step_ok(v[i], to))
            v[i]->state = to;
}

void partition_elected(struct ctl_partition *p)
{
    if (step_ok(p, PARTITION_ONLINE))
        p->state = PARTITION_ONLINE;
}

/* ---- to Online ---------------------------------------------------------------------------------------- */

struct creation {
    struct ctl_partition *p;
    struct znode_state    next;         /* isr.v in the frame's arena */
    bool                  alone;        /* its multi was refused: its nodes are made one by one */
    bool                  found;        /* its state is there already, and has to be read */
};

struct online {
    struct frame       f;
    struct arena       arena;
    struct creation   *fresh;           /* by topic */
    size_t             fresh_n;
    struct elect_wish *old;             /* those that have leadership */
    size_t             old_n;
};

static void online_fini(struct frame *f)
{
    arena_fini(&((struct online *)f)->arena);
}

/* Writes that failed for a reason that may pass (disk full) are tried again. */
static void state_failed(struct controller *c, const struct ctl_partition *p, int rc)
{
    static struct log_limit limit = LOG_LIMIT(10000, 5);
    int hidden;

    if (log_limit(&limit, &hidden))
        log_error("controller: the state of %s-%d cannot be written or read: %s; it has no leader until that works",
                  p->topic->name, p->index, err_text(rc));
    c->retry_at_ns = mono_ns() + RETRY_NS;
}

/* The replicas that are online, without those whose broker is out of reach. */
static void add_in_sync(const struct controller *c, struct creation *cr, bool unreachable)
{
    const struct ids *r = &cr->p->replicas;

    for (int32_t i = 0; i < r->n; i++)
        if (context_replica_online(&c->ctx, cr->p, r->v[i]) &&
            context_broker(&c->ctx, r->v[i])->unreachable == unreachable)
            cr->next.isr.v[cr->next.isr.n++] = r->v[i];
}

/* The live replicas lead and follow, in the order of the assignment. */
static bool creation_init(struct controller *c, struct online *o, struct creation *cr)
{
    const struct ids *r = &cr->p->replicas;

    cr->next = (struct znode_state){ .leader = -1, .controller_epoch = c->epoch,
                                     .isr = { arena_array(&o->arena, (size_t)r->n + 1, sizeof(int32_t)), 0 } };
    if (cr->next.isr.v == NULL)
        return false;
    add_in_sync(c, cr, false);
    if (cr->next.isr.n == 0)
        add_in_sync(c, cr, true);
    if (cr->next.isr.n > 0)
        cr->next.leader = cr->next.isr.v[0];
    return true;
}

static void created(struct controller *c, struct creation *cr, int32_t version)
{
    if (context_leadership(cr->p, &cr->next, version) != OK) {
        ctl_abort(c, ERR_NOMEM, "new partitions");
        return;
    }
    partition_elected(cr->p);
    for (int32_t i = 0; i < cr->p->replicas.n; i++)
        batch_leader_and_isr(c, cr->p->replicas.v[i], cr->p, true);
}

/* One multi for fresh[first .. first + n - 1]. */
struct span {
    struct online *o;
    size_t         first, n;
};

static void many_made(struct controller *c, struct store_call *call, void *subject)
{
    const struct span *span = subject;

    for (size_t i = 0; i < span->n; i++) {
        struct creation *cr = &span->o->fresh[span->first + i];

        if (cr->next.leader < 0)
            continue;
        if (call->rc == OK)
            created(c, cr, 0);
        else
            cr->alone = true;
    }
}

static bool state_create(struct store_call *call, const struct creation *cr)
{
    char *text = znode_state_write(&cr->next);
    bool ok = text != NULL;

    if (ok)
        store_create(call, zpath_state(topic_str(cr->p->topic), cr->p->index).z,
                     (struct bytes){ (uint8_t *)text, strlen(text) }, 0);
    free(text);
    return ok;
}

/* The node above all partitions is new with the first of them; when that is not so, the multi is refused. */
static bool many_add(struct store_call *call, struct span *span, size_t i)
{
    const struct creation *cr = &span->o->fresh[span->first + i];
    struct str topic = topic_str(cr->p->topic);

    if (cr->next.leader < 0)
        return true;
    if (cr->p == &cr->p->topic->partitions[0])
        store_create(call, zpath_partitions(topic).z, (struct bytes){ NULL, 0 }, 0);
    store_create(call, zpath_partition(topic, cr->p->index).z, (struct bytes){ NULL, 0 }, 0);
    return state_create(call, cr);
}

static enum step_next create_many(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;
    size_t lonely = 0;

    batch_begin(c);
    for (size_t i = 0; i < o->fresh_n; i++) {
        if (!creation_init(c, o, &o->fresh[i])) {
            ctl_abort(c, ERR_NOMEM, "new partitions");
            return STEP_END;
        }
        if (o->fresh[i].next.leader < 0 && lonely++ < 10)
            log_warn("controller: %s-%d: none of its replicas is alive; it has no leader", o->fresh[i].p->topic->name,
                     o->fresh[i].p->index);
    }
    for (size_t i = 0; i < o->fresh_n; i += CREATES_PER_CALL) {
        struct store_call *call = ctl_fenced_call(c);
        struct span *span = call != NULL ? arena_zalloc(&call->arena, sizeof *span) : NULL;
        bool ok = span != NULL;

        if (ok)
            *span = (struct span){ .o = o, .first = i };
        for (; ok && span->n < CREATES_PER_CALL && i + span->n < o->fresh_n; span->n++)
            ok = many_add(call, span, span->n);
        if (!ok) {
            store_call_free(&call);
            ctl_abort(c, ERR_NOMEM, "new partitions");
            return STEP_END;
        }
        if (call->ops_n > 1)
            ctl_ask(c, call, many_made, span);
        else
            store_call_free(&call);
    }
    return STEP_NEXT;
}

/* ---- one by one --------------------------------------------------------------------------------------- */

static void parent_made(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_EXISTS)
        log_error("%s: cannot be created: %s", call->ops[call->ops_n - 1].path, err_text(call->rc));
}

static void state_made(struct controller *c, struct store_call *call, void *subject)
{
    struct creation *cr = subject;

    cr->found = call->rc == ERR_EXISTS;
    if (call->rc == OK)
        created(c, cr, 0);
    else if (!cr->found)
        state_failed(c, cr->p, call->rc);
}

static void make_parent(struct controller *c, const char *path)
{
    struct store_call *call = ctl_fenced_call(c);

    if (call == NULL)
        return;
    store_create(call, path, (struct bytes){ NULL, 0 }, 0);
    ctl_ask(c, call, parent_made, NULL);
}

/* One after the other in the store, none waited for. */
static enum step_next create_alone(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    for (size_t i = 0; i < o->fresh_n; i++) {
        struct creation *cr = &o->fresh[i];
        struct str topic = topic_str(cr->p->topic);
        struct store_call *call;

        if (!cr->alone)
            continue;
        make_parent(c, zpath_partitions(topic).z);
        make_parent(c, zpath_partition(topic, cr->p->index).z);
        call = ctl_fenced_call(c);
        if (call == NULL)
            return STEP_END;
        if (!state_create(call, cr)) {
            store_call_free(&call);
            ctl_abort(c, ERR_NOMEM, "new partitions");
            return STEP_END;
        }
        ctl_ask(c, call, state_made, cr);
    }
    return STEP_NEXT;
}

static void found_read(struct controller *c, struct store_call *call, void *subject)
{
    struct creation *cr = subject;
    struct online *o = (struct online *)c->top;
    struct znode_state now;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_state_read(call->ops[0].value, &call->arena, &now);
    if (rc == OK)
        rc = context_leadership(cr->p, &now, call->ops[0].stat.version);
    if (rc == OK)
        o->old[o->old_n++] = (struct elect_wish){ .p = cr->p };
    else
        state_failed(c, cr->p, rc);
}

static enum step_next read_found(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    for (size_t i = 0; i < o->fresh_n; i++) {
        struct store_call *call = o->fresh[i].found ? ctl_call(c) : NULL;

        if (call == NULL)
            continue;
        store_get(call, zpath_state(topic_str(o->fresh[i].p->topic), o->fresh[i].p->index).z, 0);
        ctl_ask(c, call, found_read, &o->fresh[i]);
    }
    return STEP_NEXT;
}

static enum step_next send_and_elect(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    batch_send(c);
    if (o->old_n > 0)
        leaders_elect(c, ELECT_OFFLINE, o->old, o->old_n);
    return STEP_NEXT;
}

void partitions_online(struct controller *c, struct ctl_partition **v, size_t n)
{
    static const struct step steps[] = {
        { "create states", create_many },          { "create what is left", create_alone },
        { "read what was there", read_found },     { "send, and elect", send_and_elect },
        { NULL, NULL },
    };
    struct online *o = frame_push(c, sizeof *o, steps);

    if (o == NULL)
        return;
    o->f.fini = online_fini;
    arena_init(&o->arena, SIZE_MAX / 2);
    o->fresh = arena_array(&o->arena, n + 1, sizeof *o->fresh);
    o->old = arena_array(&o->arena, n + 1, sizeof *o->old);
    if (o->fresh == NULL || o->old == NULL) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (!step_ok(v[i], PARTITION_ONLINE))
            continue;
        if (v[i]->state == PARTITION_NEW)
            o->fresh[o->fresh_n++].p = v[i];
        else
            o->old[o->old_n++].p = v[i];
    }
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
