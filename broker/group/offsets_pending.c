/* broker/group/offsets_pending.c - what is not committed yet: commits on their way to the replicas, and offsets that
 * wait for their transaction's marker.
 */
#include "broker/group/offsets_priv.h"

#include <stdlib.h>

enum { BUSY_MAX = INT32_MAX };

/* ---- on their way ----------------------------------------------------------------------------------------------- */

static int slot_get_busy(struct group_offsets *o, struct str topic, int32_t partition, struct slot **out)
{
    if (offsets_more(o) == NULL)
        return ERR_NOMEM;
    TRY(offsets_slot_get(o, topic, partition, out));
    if ((*out)->busy == BUSY_MAX)
        return ERR_LIMIT;
    if (!(*out)->live && (*out)->busy == 0)
        (*out)->log_offset = 0;         /* nothing has been deleted */
    (*out)->busy++;
    return OK;
}

int group_offsets_begin(struct group_offsets *o, struct str topic, int32_t partition, uint64_t *ticket)
{
    struct slot *s;

    TRY(slot_get_busy(o, topic, partition, &s));
    *ticket = ++o->more->tickets;
    return OK;
}

int group_offsets_land(struct group_offsets *o, struct str topic, int32_t partition, const struct committed *c,
                       uint64_t ticket)
{
    struct slot *s = offsets_slot(o, topic, partition);
    int rc = OK;

    if (s == NULL)
        return OK;
    if (s->busy > 0)
        s->busy--;
    if (s->live || ticket > (uint64_t)s->log_offset)
        rc = offset_slot_commit(o, s, c);
    offsets_settle(o, s);
    return rc;
}

void group_offsets_abandon(struct group_offsets *o, struct str topic, int32_t partition)
{
    struct slot *s = offsets_slot(o, topic, partition);

    if (s == NULL)
        return;
    if (s->busy > 0)
        s->busy--;
    offsets_settle(o, s);
}

/* ---- of transactions -------------------------------------------------------------------------------------------- */

static void producer_free(struct producer *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].extra);
    free(p->v);
    free(p);
}

void offsets_pending_free(struct group_offsets *o)
{
    struct producer *next;

    for (struct producer *p = o->more->producers; p != NULL; p = next) {
        next = p->next;
        producer_free(p);
    }
    o->more->producers = NULL;
}

static struct producer *producer_find(const struct group_offsets *o, int64_t id)
{
    struct producer *p = o->more != NULL ? o->more->producers : NULL;

    while (p != NULL && p->id != id)
        p = p->next;
    return p;
}

static int producer_get(struct group_offsets *o, int64_t id, struct producer **out)
{
    struct producer *p = producer_find(o, id);

    if (p == NULL) {
        if (offsets_more(o) == NULL || (p = calloc(1, sizeof *p)) == NULL)
            return ERR_NOMEM;
        p->id = id;
        p->next = o->more->producers;
        o->more->producers = p;
    }
    *out = p;
    return OK;
}

static void producer_drop(struct group_offsets *o, struct producer *p)
{
    struct producer **at = &o->more->producers;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    producer_free(p);
}

static struct slot *pending_find(struct producer *p, uint32_t topic, int32_t partition)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].topic == topic && p->v[i].partition == partition)
            return &p->v[i];
    return NULL;
}

static int producer_reserve(struct producer *p)
{
    size_t cap = p->cap > 0 ? p->cap + p->cap / 2 + 1 : 1;
    struct slot *v;

    if (p->n < p->cap)
        return OK;
    v = realloc(p->v, cap * sizeof *v);
    if (v == NULL)
        return ERR_NOMEM;
    p->v = v;
    p->cap = cap;
    return OK;
}

int group_offsets_pend(struct group_offsets *o, int64_t producer_id, struct str topic, int32_t partition,
                       const struct committed *c)
{
    struct producer *p;
    struct slot *s, *w;
    int rc;

    TRY(producer_get(o, producer_id, &p));
    s = p->n > 0 ? offsets_slot(o, topic, partition) : NULL;
    w = s != NULL && s->busy > 0 ? pending_find(p, s->topic, partition) : NULL;
    if (w != NULL)
        return c->log_offset >= w->log_offset ? offset_slot_set(w, c) : OK;
    rc = producer_reserve(p);
    if (rc == OK)
        rc = slot_get_busy(o, topic, partition, &s);
    if (rc == OK) {
        w = &p->v[p->n];
        *w = (struct slot){ .topic = s->topic, .partition = partition };
        rc = offset_slot_set(w, c);
        if (rc == OK) {
            p->n++;
        } else {
            s->busy--;
            offsets_settle(o, s);
        }
    }
    if (p->n == 0)
        producer_drop(o, p);
    return rc;
}

/* The slot takes over what was pending, without a copy. */
static void pending_commit(struct group_offsets *o, struct slot *s, struct slot *w)
{
    if (s->live && s->log_offset >= w->log_offset)
        return;
    free(s->extra);
    s->offset = w->offset;
    s->commit_ms = w->commit_ms;
    s->log_offset = w->log_offset;
    s->leader_epoch = w->leader_epoch;
    s->extra = w->extra;
    w->extra = NULL;
    if (!s->live) {
        s->live = 1;
        o->live_n++;
    }
}

void group_offsets_complete(struct group_offsets *o, int64_t producer_id, bool commit)
{
    struct producer *p = producer_find(o, producer_id);

    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++) {
        struct slot *w = &p->v[i], *s = offsets_slot_at(o, w->topic, w->partition);

        s->busy--;
        if (commit)
            pending_commit(o, s, w);
        offsets_settle(o, s);
    }
    producer_drop(o, p);
}

bool group_offsets_is_pending(const struct group_offsets *o, struct str topic, int32_t partition)
{
    const struct slot *s = offsets_slot(o, topic, partition);

    return s != NULL && s->busy > 0;
}

size_t group_offsets_pending_n(const struct group_offsets *o)
{
    size_t n = 0;

    for (const struct producer *p = o->more != NULL ? o->more->producers : NULL; p != NULL; p = p->next)
        n++;
    return n;
}

/* Takes its pending ones away from all producers; what remains busy is on its way. */
static void unpend(struct group_offsets *o, struct slot *s)
{
    struct producer *next;

    for (struct producer *p = o->more->producers; p != NULL && s->busy > 0; p = next) {
        struct slot *w = pending_find(p, s->topic, s->partition);

        next = p->next;
        if (w == NULL)
            continue;
        free(w->extra);
        *w = p->v[--p->n];
        s->busy--;
        if (p->n == 0)
            producer_drop(o, p);
    }
}

bool group_offsets_delete(struct group_offsets *o, struct str topic, int32_t partition)
{
    struct slot *s = offsets_slot(o, topic, partition);
    bool was;

    if (s == NULL)
        return false;
    was = offset_slot_kill(o, s);
    if (s->busy > 0) {
        unpend(o, s);
        was |= s->busy > 0;                             /* appended already, so the tombstone comes behind it */
        s->log_offset = (int64_t)o->more->tickets;
    }
    offsets_settle(o, s);
    return was;
}
