/* broker/controller/topic_ops.c - what clients ask for: creating, growing, configuring and deleting topics.
 * An operation is a client's request; several are under way at a time, beside the events of the controller.
 *
 *   arrives -> check -> (store) -> decide -> (store) -> conclude -> waits for its effect -> done
 *
 * Its effect is seen in this broker's metadata cache: leaders for all partitions, or no topic any more. What
 * is not seen in time is answered REQUEST_TIMED_OUT, though it may still happen.
 */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(t) ((t)->claim.p = NULL)
#include "broker/controller/topic_ops.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "proto/kerr.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct op_kind *const kinds[] = {
    [TOPIC_OP_CREATE] = &op_create, [TOPIC_OP_GROW] = &op_grow, [TOPIC_OP_DELETE] = &op_delete,
    [TOPIC_OP_SETTINGS] = &op_settings,
};

void op_fail(struct op_topic *ot, int16_t error, const char *message)
{
    ot->t->error = error;
    ot->t->message = message;
}

void op_failf(struct op_topic *ot, int16_t error, const char *fmt, ...)
{
    char buf[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    op_fail(ot, error, arena_cstr(ot->s->op->arena, str_of(buf)));
}

const char *op_ids_text(struct op_topic *ot, const struct znode_replicas *r)
{
    const char *z = "";

    for (int32_t i = 0; i < r->n && z != NULL && strlen(z) < OP_MESSAGE_MAX; i++)
        z = arena_printf(ot->s->op->arena, "%s%s%d", z, i > 0 ? ", " : "", r->v[i]);
    return z != NULL ? z : "";
}

bool op_leaderless(const struct metadata *md, const struct op_topic *ot)
{
    const struct metadata_topic *t = metadata_topic(md, ot->t->name);

    for (int32_t i = 0; i < ot->node.partitions_n; i++) {
        const struct metadata_partition *p = t != NULL ? metadata_partition(t, ot->node.partitions[i].index) : NULL;

        if (p == NULL || p->leader < 0)
            return true;
    }
    return false;
}

struct store_call *op_call(struct op_topic *ot)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call == NULL)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    return call;
}

void op_ask(struct op_topic *ot, struct store_call *call, answer_fn *fn)
{
    if (!ctl_submit(ot->s->c, &ot->s->lane, call, fn, ot))
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
}

/* ---- names that are being created ----------------------------------------------------------------------- */

/* Keyed by the name with every '.' as '_', so that it finds what would collide as well. */
bool op_claim(struct op_topic *ot, const struct op_topic **holder)
{
    struct controller *c = ot->s->c;
    struct op_topic *there = NULL;

    if (arena_str(ot->s->op->arena, ot->t->name, &ot->claim) != OK) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return false;
    }
    for (size_t i = 0; i < ot->claim.len; i++)
        if (ot->claim.p[i] == '.')
            ((char *)(uintptr_t)ot->claim.p)[i] = '_';
    HASH_FIND(hh, c->creating, ot->claim.p, ot->claim.len, there);
    *holder = there;
    if (there != NULL)
        return false;
    HASH_ADD_KEYPTR(hh, c->creating, ot->claim.p, (unsigned)ot->claim.len, ot);
    ot->claimed = ot->claim.p != NULL;
    if (!ot->claimed)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    return ot->claimed;
}

void op_release(struct op_state *s)
{
    for (int32_t i = 0; i < s->op->topics_n; i++)
        if (s->topics[i].claimed) {
            HASH_DEL(s->c->creating, &s->topics[i]);
            s->topics[i].claimed = false;
        }
}

/* ---- the way of an operation -------------------------------------------------------------------------- */

static void op_end(struct op_state *s)
{
    struct op_state **at = &s->c->ops;
    struct topic_op *op = s->op;

    op_release(s);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    metadata_put(&s->md);
    free(s->topics);
    free(s);
    op->done(op);
}

static bool any_good(const struct op_state *s)
{
    OP_EACH(s, ot)
        return true;
    return false;
}

/* What succeeded so far, but cannot be waited for. */
static void time_out(struct op_state *s)
{
    OP_EACH(s, ot)
        op_fail(ot, KERR_REQUEST_TIMED_OUT, NULL);
}

/* true: ended. */
static bool look(struct op_state *s)
{
    struct metadata *md = metadata_get(s->c->opts.metacache);
    bool late = s->c->stopping || mono_ns() >= s->deadline_ns, pending = false;

    OP_EACH(s, ot)
        if (s->kind->pending(md, ot)) {
            pending = true;
            if (!late)
                break;
            op_fail(ot, KERR_REQUEST_TIMED_OUT, NULL);
        }
    metadata_put(&md);
    if (pending && !late)
        return false;
    op_end(s);
    return true;
}

static void advance(struct controller *c, struct lane *lane)
{
    struct op_state *s = (struct op_state *)lane;

    while (lane->waiting == 0) {
        s->stage++;
        if (s->stage == 1) {
            s->kind->decide(s);
        } else if (s->stage == 2) {
            s->kind->conclude(s);
            if (lane->waiting > 0)
                s->stage = 0;
        } else {
            if (s->op->validate_only || s->kind->pending == NULL || !any_good(s)) {
                op_end(s);
            } else if (s->op->timeout_ms <= 0) {
                time_out(s);
                op_end(s);
            } else {
                s->waiting = true;
                (void)look(s);
            }
            return;
        }
    }
    (void)c;
}

static void refuse(struct topic_op *op, int16_t kerr)
{
    for (int32_t i = 0; i < op->topics_n; i++)
        if (op->topics[i].error == 0)
            op->topics[i].error = kerr;
    op->done(op);
}

struct op_item {
    struct loop_item   item;
    struct controller *c;
    struct topic_op   *op;
};

static void op_arrived(struct loop_item *item, void *arg)
{
    struct topic_op *op = ((struct op_item *)item)->op;
    struct controller *c = arg;
    struct op_state *s = calloc(1, sizeof *s);
    struct op_topic *topics = calloc((size_t)op->topics_n + 1, sizeof *topics);

    if (s == NULL || topics == NULL || c->stopping) {
        free(s);
        free(topics);
        refuse(op, c->stopping ? KERR_NOT_CONTROLLER : KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    *s = (struct op_state){ .lane.idle = advance, .c = c, .op = op, .kind = kinds[op->kind], .topics = topics,
                            .md = metadata_get(c->opts.metacache), .controller_version = -1 };
    s->deadline_ns = mono_ns() + (int64_t)op->timeout_ms * 1000000;
    for (int32_t i = 0; i < op->topics_n; i++)
        topics[i] = (struct op_topic){ .s = s, .t = &op->topics[i] };
    s->next = c->ops;
    c->ops = s;
    s->kind->check(s);
    if (s->lane.waiting == 0)
        advance(c, &s->lane);
}

void controller_topic_op(struct controller *c, struct topic_op *op)
{
    struct op_item *it = arena_zalloc(op->arena, sizeof *it);

    if (it == NULL) {
        refuse(op, KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    *it = (struct op_item){ .item.run = op_arrived, .c = c, .op = op };
    if (!loop_offer(&c->loop, &it->item))
        refuse(op, KERR_NOT_CONTROLLER);
}

/* ---- waiting ------------------------------------------------------------------------------------------ */

void ops_recheck(struct controller *c)
{
    struct op_state *s = c->ops;

    while (s != NULL) {
        struct op_state *next = s->next;

        if (s->waiting)
            (void)look(s);
        s = next;
    }
}

int64_t ops_deadline(const struct controller *c)
{
    int64_t at = INT64_MAX;

    for (const struct op_state *s = c->ops; s != NULL; s = s->next)
        if (s->waiting && s->deadline_ns < at)
            at = s->deadline_ns;
    return at;
}

void ops_end(struct controller *c)
{
    ops_recheck(c);                                 /* stopping: every one is late */
}
