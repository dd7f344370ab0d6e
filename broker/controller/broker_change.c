/* broker/controller/broker_change.c - /brokers/ids has changed: which brokers are new, dead, or have registered anew.
 *
 * A broker is bounced when its node has another czxid than the one that we know: it was away, if only for a moment, and
 * what it was told before is void. New ones start first, so that they may lead what the dead ones leave; a bounced one
 * fails and starts; then the dead ones fail. One whose node has other data only (listeners) was not away; but it gets
 * another channel, and what it had not answered on the old one is lost: it starts without having failed.
 *
 * Nodes with a name that is no broker id, or with data that cannot be understood, are reported and otherwise ignored;
 * when such data is mended, the watch on it tells.
 */
#include "broker/controller/brokers.h"

#include "base/log.h"
#include "broker/controller/priv.h"

#include <stdlib.h>

/* ---- one node ------------------------------------------------------------------------------------------ */

bool broker_id_of(struct str name, int32_t *id)
{
    static struct log_limit limit = LOG_LIMIT(60000, 10);
    int64_t v = 0;
    int hidden;
    bool ok = name.len > 0 && name.len <= 10 && (name.p[0] != '0' || name.len == 1);

    for (size_t i = 0; i < name.len && ok; i++) {
        ok = name.p[i] >= '0' && name.p[i] <= '9';
        v = v * 10 + (name.p[i] - '0');
    }
    *id = ok && v <= INT32_MAX ? (int32_t)v : -1;
    if (*id < 0 && log_limit(&limit, &hidden))
        log_warn(ZK_BROKER_IDS "/%.*s: is not the id of a broker; the node is ignored", STR_ARG(name));
    return *id >= 0;
}

static bool same_text(struct str a, struct str b)
{
    return (a.p == NULL) == (b.p == NULL) && str_eq(a, b);
}

static bool same_info(const struct znode_broker *a, const struct znode_broker *b)
{
    if (a->endpoints_n != b->endpoints_n || !same_text(a->rack, b->rack))
        return false;
    for (size_t i = 0; i < a->endpoints_n; i++) {
        const struct znode_endpoint *x = &a->endpoints[i], *y = &b->endpoints[i];

        if (x->port != y->port || !str_eq(x->host, y->host) || !str_eq(x->listener, y->listener) ||
            !str_eq(x->protocol, y->protocol))
            return false;
    }
    return true;
}

/* Reads the node into *info, whose memory is that of *a. */
static int parse(const struct store_op *op, struct arena *a, struct znode_broker *info)
{
    int rc = op->rc;

    arena_init(a, BROKER_MEMORY_MAX);
    if (rc == OK)
        rc = znode_broker_read(op->value, a, info);
    if (rc != OK)
        arena_fini(a);
    return rc;
}

bool broker_take(struct controller *c, int32_t id, const struct store_op *op)
{
    struct ctl_broker *b = context_broker(&c->ctx, id);
    struct znode_broker info;
    struct arena a;
    int rc = OK;

    if (b == NULL)
        rc = context_broker_add(&c->ctx, id, &b);
    if (rc == OK)
        rc = parse(op, &a, &info);
    if (rc == ERR_NOMEM) {
        ctl_abort(c, rc, "reading " ZK_BROKER_IDS);
    } else if (rc != OK) {
        log_error("%s: cannot be read: %s; the broker is %s", op->path, err_text(rc),
                  b != NULL && b->live ? "taken for what it was" : "ignored");
    }
    if (rc != OK)
        return false;
    broker_channel_close(c, b);
    arena_fini(&b->arena);
    b->arena = a;
    b->info = info;
    b->epoch = op->stat.czxid;
    b->live = true;
    b->shutting_down = b->unreachable = false;
    broker_channel_open(c, b);
    return b->live;
}

/* ---- EV_BROKERS ----------------------------------------------------------------------------------------- */

struct change {
    struct frame f;
    struct arena arena;
    int32_t     *listed;
    size_t       listed_n;
    int32_t     *fresh, *bounced, *dead;
    size_t       fresh_n, bounced_n, dead_n;
};

static void change_fini(struct frame *f)
{
    struct change *ch = (struct change *)f;

    arena_fini(&ch->arena);
}

static void ids_listed(struct controller *c, struct store_call *call, void *subject)
{
    struct change *ch = subject;
    const struct store_op *op = &call->ops[0];
    size_t room = op->children_n + c->ctx.brokers_n + 1;

    if (call->rc != OK) {
        ctl_abort(c, call->rc, "reading " ZK_BROKER_IDS);
        return;
    }
    ch->listed = arena_array(&ch->arena, room, sizeof *ch->listed);
    ch->fresh = arena_array(&ch->arena, room, sizeof *ch->fresh);
    ch->bounced = arena_array(&ch->arena, room, sizeof *ch->bounced);
    ch->dead = arena_array(&ch->arena, room, sizeof *ch->dead);
    if (ch->listed == NULL || ch->fresh == NULL || ch->bounced == NULL || ch->dead == NULL) {
        ctl_abort(c, ERR_NOMEM, "reading " ZK_BROKER_IDS);
        return;
    }
    for (size_t i = 0; i < op->children_n; i++)
        if (broker_id_of(op->children[i], &ch->listed[ch->listed_n]))
            ch->listed_n++;
}

static enum step_next list(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_BROKER_IDS, STORE_WATCH);
    ctl_ask(c, call, ids_listed, f);
    return STEP_NEXT;
}

static void nodes_read(struct controller *c, struct store_call *call, void *subject)
{
    struct change *ch = subject;

    for (size_t i = 0; i < call->ops_n; i++) {
        const struct store_op *op = &call->ops[i];
        const struct ctl_broker *b = context_broker(&c->ctx, ch->listed[i]);
        bool live = b != NULL && b->live;

        if (op->rc == ERR_NOENT) {                          /* gone since the list was read: as if not listed */
            ch->listed[i] = -1;
        } else if (live && op->rc == OK && op->stat.czxid != b->epoch) {
            ch->bounced[ch->bounced_n++] = ch->listed[i];
        } else if (!live && broker_take(c, ch->listed[i], op)) {
            ch->fresh[ch->fresh_n++] = ch->listed[i];
        }
    }
}

static void read_nodes(struct controller *c, const int32_t *v, size_t n, answer_fn *fn, void *subject)
{
    struct store_call *call = n > 0 ? ctl_call(c) : NULL;

    if (call == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        store_get(call, zpath_broker(v[i]).z, STORE_WATCH);
    ctl_ask(c, call, fn, subject);
}

static enum step_next read_listed(struct controller *c, struct frame *f)
{
    struct change *ch = (struct change *)f;

    read_nodes(c, ch->listed, ch->listed_n, nodes_read, ch);
    return STEP_NEXT;
}

static void say(const char *what, const int32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        log_info("controller: broker %d %s", v[i], what);
}

static enum step_next start_fresh(struct controller *c, struct frame *f)
{
    struct change *ch = (struct change *)f;

    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        const struct ctl_broker *b = &c->ctx.brokers[i];
        bool listed = false;

        for (size_t k = 0; k < ch->listed_n && !listed; k++)
            listed = ch->listed[k] == b->id;
        if (b->live && !listed)
            ch->dead[ch->dead_n++] = b->id;
    }
    say("has come", ch->fresh, ch->fresh_n);
    if (ch->fresh_n > 0)
        brokers_started(c, ch->fresh, ch->fresh_n);
    return STEP_NEXT;
}

static void mark_dead(struct controller *c, const int32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ctl_broker *b = context_broker(&c->ctx, v[i]);

        broker_channel_close(c, b);
        b->live = b->shutting_down = b->unreachable = false;
    }
}

static enum step_next fail_bounced(struct controller *c, struct frame *f)
{
    const struct change *ch = (struct change *)f;

    say("has registered anew", ch->bounced, ch->bounced_n);
    mark_dead(c, ch->bounced, ch->bounced_n);
    if (ch->bounced_n > 0)
        brokers_failed(c, ch->bounced, ch->bounced_n);
    return STEP_NEXT;
}

static void bounced_read(struct controller *c, struct store_call *call, void *subject)
{
    struct change *ch = subject;

    ch->fresh_n = 0;
    for (size_t i = 0; i < call->ops_n; i++)
        if (call->ops[i].rc != ERR_NOENT && broker_take(c, ch->bounced[i], &call->ops[i]))
            ch->fresh[ch->fresh_n++] = ch->bounced[i];
}

/* A second time: what they were is needed until they have failed. */
static enum step_next read_bounced(struct controller *c, struct frame *f)
{
    struct change *ch = (struct change *)f;

    ch->fresh_n = 0;
    read_nodes(c, ch->bounced, ch->bounced_n, bounced_read, ch);
    return STEP_NEXT;
}

static enum step_next start_bounced(struct controller *c, struct frame *f)
{
    const struct change *ch = (struct change *)f;

    if (ch->fresh_n > 0)
        brokers_started(c, ch->fresh, ch->fresh_n);
    return STEP_NEXT;
}

static enum step_next fail_dead(struct controller *c, struct frame *f)
{
    const struct change *ch = (struct change *)f;

    say("has gone", ch->dead, ch->dead_n);
    mark_dead(c, ch->dead, ch->dead_n);
    if (ch->dead_n > 0)
        brokers_failed(c, ch->dead, ch->dead_n);
    return STEP_NEXT;
}

void brokers_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the brokers", list },             { "read them", read_listed },
        { "start the new", start_fresh },         { "fail the bounced", fail_bounced },
        { "read the bounced", read_bounced },     { "start the bounced", start_bounced },
        { "fail the dead", fail_dead },           { NULL, NULL },
    };
    struct change *ch = frame_push(c, sizeof *ch, steps);

    if (ch == NULL)
        return;
    ch->f.fini = change_fini;
    arena_init(&ch->arena, SIZE_MAX / 2);
}

/* ---- EV_BROKER: the data of one has changed --------------------------------------------------------------- */

static void one_read(struct controller *c, struct store_call *call, void *subject)
{
    const struct store_op *op = &call->ops[0];
    struct ctl_broker *b;
    struct znode_broker info;
    struct arena a;
    int32_t id;

    (void)subject;
    if (op->rc != OK || !broker_id_of(str_of(c->event->topic), &id))
        return;                                     /* gone: the list says so, too */
    b = context_broker(&c->ctx, id);
    if (b == NULL || !b->live || b->epoch != op->stat.czxid) {
        if (event_post(c, EV_BROKERS, NULL) != OK)
            ctl_abort(c, ERR_NOMEM, "reading " ZK_BROKER_IDS);
        return;
    }
    if (parse(op, &a, &info) != OK) {
        log_error("%s: cannot be understood; broker %d is taken for what it was", op->path, id);
        return;
    }
    if (!same_info(&b->info, &info)) {
        bool down = b->shutting_down, far = b->unreachable;

        log_info("controller: broker %d has changed its listeners", id);
        if (broker_take(c, id, op)) {
            b->shutting_down = down;
            b->unreachable = far;
            brokers_started(c, &id, 1);             /* it was there, but what it had not answered is lost */
        } else {
            brokers_failed(c, &id, 1);
        }
    }
    arena_fini(&a);
}

static enum step_next read_one(struct controller *c, struct frame *f)
{
    struct store_call *call;
    int32_t id;

    (void)f;
    if (!broker_id_of(str_of(c->event->topic), &id))
        return STEP_END;
    call = ctl_call(c);
    if (call == NULL)
        return STEP_END;
    store_get(call, zpath_broker(id).z, STORE_WATCH);
    ctl_ask(c, call, one_read, NULL);
    return STEP_NEXT;
}

void broker_changed(struct controller *c)
{
    static const struct step steps[] = { { "read the broker", read_one }, { NULL, NULL } };

    (void)frame_push(c, sizeof(struct frame), steps);
}
