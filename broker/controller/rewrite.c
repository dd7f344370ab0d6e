/* broker/controller/rewrite.c
 *
 *      +-----------------------------------------------+
 *      v                                               | somebody else has written
 *   DECIDE -> WRITE (multis, none waited for) -> READ what was refused -> SEND the batch
 */
#include "broker/controller/rewrite.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/controller/priv.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define WRITES_PER_CALL 128
#define READS_PER_CALL  256
#define RETRY_NS        ((int64_t)1000000000)

/* A call, and which items it is about. */
struct span {
    struct rewrite *rw;
    size_t          n;
    size_t          at[];
};

enum { AT_DECIDE = 1, AT_READ = 3 };    /* steps: see rewrite_push() */

static void rewrite_fini(struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;

    if (rw->fini != NULL)
        rw->fini(rw);
    arena_fini(&rw->arena);
    free(rw->v);
}

static enum step_next begin(struct controller *c, struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;

    batch_begin(c);
    for (size_t i = 0; i < rw->n; i++) {
        rw->v[i].pending = rw->v[i].p->has_leadership;
        rw->v[i].stale = rw->kind->reread;
    }
    if (rw->kind->begun != NULL)
        rw->kind->begun(c, rw);
    if (!rw->kind->reread)
        return STEP_NEXT;
    rw->again = true;
    f->at = AT_READ;
    return STEP_AGAIN;
}

/* ---- decide ------------------------------------------------------------------------------------------- */

static bool next_init(struct rewrite *rw, struct rewrite_item *it)
{
    const struct ctl_partition *p = it->p;
    size_t room = (size_t)p->isr.n + (size_t)p->replicas.n + 1;

    it->next = (struct znode_state){ .leader = p->leader, .leader_epoch = p->leader_epoch, .recovering = p->recovering,
                                     .isr = { arena_array(&rw->arena, room, sizeof(int32_t)), p->isr.n } };
    if (it->next.isr.v != NULL && p->isr.n > 0)
        memcpy(it->next.isr.v, p->isr.v, (size_t)p->isr.n * sizeof(int32_t));
    return it->next.isr.v != NULL;
}

static void settle(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    it->pending = it->write = false;
    if (rw->kind->settled != NULL)
        rw->kind->settled(c, rw, it, written);
}

static enum step_next decide(struct controller *c, struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;

    for (size_t i = 0; i < rw->n; i++) {
        struct rewrite_item *it = &rw->v[i];

        if (!it->pending)
            continue;
        it->error = KERR_NONE;
        if (!next_init(rw, it)) {
            ctl_abort(c, ERR_NOMEM, rw->kind->what);
            return STEP_END;
        }
        switch (rw->kind->decide(c, rw, it)) {
        case REWRITE_WRITE:
            it->next.controller_epoch = c->epoch;
            it->write = true;
            break;
        case REWRITE_KEEP:
            settle(c, rw, it, false);
            break;
        case REWRITE_REFUSE:
            it->pending = false;
            break;
        }
    }
    return STEP_NEXT;
}

/* ---- write -------------------------------------------------------------------------------------------- */

/* Writes that failed for a reason that may pass (disk full) are tried again: see retry_partitions(). */
static void failed(struct controller *c, struct rewrite *rw, struct rewrite_item *it, int rc)
{
    static struct log_limit limit = LOG_LIMIT(10000, 5);
    int hidden;

    it->pending = it->write = false;
    it->error = KERR_UNKNOWN_SERVER_ERROR;
    if (rc == ERR_NOENT && it->p->topic->queued)
        return;                                     /* being deleted, by hand as well */
    if (log_limit(&limit, &hidden))
        log_error("controller: %s-%d: %s: its state cannot be written: %s", it->p->topic->name, it->p->index,
                  rw->kind->what, err_text(rc));
    c->retry_at_ns = mono_ns() + RETRY_NS;
}

static void refused(struct controller *c, struct rewrite *rw, struct rewrite_item *it, int rc)
{
    it->write = false;
    it->pending = !rw->kind->once;
    if (rc == ERR_VERSION && it->pending) {
        it->stale = rw->again = true;
    } else if (rc == ERR_VERSION) {
        it->stale = true;                           /* read it all the same: what we know is wrong */
        it->error = KERR_INVALID_UPDATE_VERSION;
    } else {
        failed(c, rw, it, rc);
    }
}

/* Somebody who led without being assigned (left behind by a move whose controller ended, see returned.c) is nobody whom
 * the askers tell; it would take records with acks=1 as long as its clients do not know better. */
static void dismiss(struct controller *c, struct ctl_partition *p, int32_t former)
{
    if (former >= 0 && former != p->leader && !context_hosts(p, former))
        batch_dismiss(c, former, p);
}

static void written(struct controller *c, struct store_call *call, void *subject)
{
    const struct span *span = subject;
    struct rewrite *rw = span->rw;

    for (size_t i = 0; i < span->n; i++) {
        struct rewrite_item *it = &rw->v[span->at[i]];
        bool culprit = span->n == 1 || call->failed == 1 + i;
        int32_t former = it->p->leader;

        if (call->rc == OK && context_leadership(it->p, &it->next, call->ops[1 + i].stat.version) != OK) {
            ctl_abort(c, ERR_NOMEM, rw->kind->what);
            return;
        }
        if (call->rc == OK) {
            dismiss(c, it->p, former);
            settle(c, rw, it, true);
        }
        if (call->rc != OK && culprit)
            refused(c, rw, it, call->rc);
        if (call->rc != OK && !culprit)
            it->alone = rw->again = true;           /* nothing has been written: it is decided again */
    }
}

static struct store_call *span_new(struct controller *c, struct rewrite *rw, struct store_call *call, size_t max,
                                   struct span **out)
{
    *out = call != NULL ? arena_alloc(&call->arena, sizeof **out + max * sizeof (*out)->at[0]) : NULL;
    if (*out == NULL) {
        store_call_free(&call);
        ctl_abort(c, ERR_NOMEM, rw->kind->what);
        return NULL;
    }
    (*out)->rw = rw;
    (*out)->n = 0;
    return call;
}

static bool write_add(struct store_call *call, const struct rewrite_item *it)
{
    char *text = znode_state_write(&it->next);
    bool ok = text != NULL;

    if (ok)
        store_set(call, zpath_state(topic_str(it->p->topic), it->p->index).z,
                  (struct bytes){ (uint8_t *)text, strlen(text) }, it->p->zk_version);
    free(text);
    return ok;
}

/* Those that are to be written alone, or those that are not. */
static bool write_some(struct controller *c, struct rewrite *rw, bool alone)
{
    size_t max = alone ? 1 : WRITES_PER_CALL, i = 0;

    while (i < rw->n) {
        struct store_call *call = NULL;
        struct span *span = NULL;

        for (; i < rw->n && (span == NULL || span->n < max); i++) {
            if (!rw->v[i].write || rw->v[i].alone != alone)
                continue;
            if (call == NULL && (call = span_new(c, rw, ctl_fenced_call(c), max, &span)) == NULL)
                return false;
            if (!write_add(call, &rw->v[i])) {
                store_call_free(&call);
                ctl_abort(c, ERR_NOMEM, rw->kind->what);
                return false;
            }
            span->at[span->n++] = i;
        }
        if (call != NULL)
            ctl_ask(c, call, written, span);
    }
    return true;
}

static enum step_next write_all(struct controller *c, struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;

    rw->again = false;
    return write_some(c, rw, false) && write_some(c, rw, true) ? STEP_NEXT : STEP_END;
}

/* ---- read what somebody else has written --------------------------------------------------------------- */

static void state_read(struct controller *c, struct rewrite *rw, struct rewrite_item *it, struct store_call *call,
                       const struct store_op *op)
{
    struct znode_state now;
    int rc = op->rc;

    it->stale = false;
    if (rc == OK)
        rc = znode_state_read(op->value, &call->arena, &now);
    if (rc == OK && now.controller_epoch > c->epoch)
        ctl_abort(c, ERR_FENCED, "a partition's state has been written by a later controller");
    else if (rc == OK)
        rc = context_leadership(it->p, &now, op->stat.version);
    if (rc == ERR_NOMEM) {
        ctl_abort(c, rc, rw->kind->what);
    } else if (rc != OK) {
        it->pending = false;
        it->error = KERR_UNKNOWN_SERVER_ERROR;
        log_error("controller: %s-%d: %s: its state cannot be read: %s", it->p->topic->name, it->p->index,
                  rw->kind->what, err_text(rc));
    }
}

static void states_read(struct controller *c, struct store_call *call, void *subject)
{
    const struct span *span = subject;

    for (size_t i = 0; i < span->n && c->abort_rc == OK; i++)
        state_read(c, span->rw, &span->rw->v[span->at[i]], call, &call->ops[i]);
}

static enum step_next read_stale(struct controller *c, struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;
    size_t i = 0;

    while (i < rw->n) {
        struct store_call *call = NULL;
        struct span *span = NULL;

        for (; i < rw->n && (span == NULL || span->n < READS_PER_CALL); i++) {
            struct rewrite_item *it = &rw->v[i];

            if (!it->stale)
                continue;
            if (call == NULL && (call = span_new(c, rw, ctl_call(c), READS_PER_CALL, &span)) == NULL)
                return STEP_END;
            store_get(call, zpath_state(topic_str(it->p->topic), it->p->index).z, 0);
            span->at[span->n++] = i;
        }
        if (call != NULL)
            ctl_ask(c, call, states_read, span);
    }
    return STEP_NEXT;
}

static enum step_next repeat_or_send(struct controller *c, struct frame *f)
{
    struct rewrite *rw = (struct rewrite *)f;

    if (rw->again) {
        f->at = AT_DECIDE;
        return STEP_AGAIN;
    }
    batch_send(c);
    return STEP_NEXT;
}

void *rewrite_push(struct controller *c, const struct rewrite_kind *kind, size_t n, size_t size)
{
    static const struct step steps[] = {
        { "begin", begin },
        [AT_DECIDE] = { "decide", decide },
        { "write", write_all },
        [AT_READ] = { "read what others have written", read_stale },
        { "repeat or send", repeat_or_send },
        { NULL, NULL },
    };
    struct rewrite *rw = frame_push(c, size, steps);

    if (rw == NULL)
        return NULL;
    rw->f.fini = rewrite_fini;
    rw->kind = kind;
    arena_init(&rw->arena, SIZE_MAX / 2);
    rw->v = calloc(n + 1, sizeof *rw->v);
    if (rw->v == NULL) {
        ctl_abort(c, ERR_NOMEM, kind->what);
        return NULL;
    }
    rw->n = n;
    return rw;
}
