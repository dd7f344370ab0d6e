/* broker/group/offsets.c - the offsets of one group: values, and the calls that others make. */
#include "broker/group/offsets_priv.h"

#include <stdlib.h>

/* ---- values ----------------------------------------------------------------------------------------------------- */

static int extra_set(struct extra **x, const struct committed *c)
{
    struct extra *e = *x;

    if (c->metadata.len == 0 && c->expire_ms == -1) {
        free(e);
        *x = NULL;
        return OK;
    }
    if (c->metadata.len > UINT32_MAX)
        return ERR_LIMIT;
    if (e == NULL || e->len != c->metadata.len) {       /* mostly as long as the one before */
        e = realloc(e, sizeof *e + c->metadata.len);
        if (e == NULL)
            return ERR_NOMEM;
        *x = e;
        e->len = (uint32_t)c->metadata.len;
    }
    e->expire_ms = c->expire_ms;
    if (c->metadata.len > 0)
        memcpy(e->text, c->metadata.p, c->metadata.len);
    return OK;
}

int offset_slot_set(struct slot *s, const struct committed *c)
{
    TRY(extra_set(&s->extra, c));
    s->offset = c->offset;
    s->commit_ms = c->commit_ms;
    s->log_offset = c->log_offset;
    s->leader_epoch = c->leader_epoch;
    return OK;
}

static struct committed slot_value(const struct slot *s)
{
    struct committed c = { s->offset, s->commit_ms, -1, s->log_offset, s->leader_epoch, { "", 0 } };

    if (s->extra != NULL) {
        c.expire_ms = s->extra->expire_ms;
        c.metadata = (struct str){ s->extra->text, s->extra->len };
    }
    return c;
}

int offset_slot_commit(struct group_offsets *o, struct slot *s, const struct committed *c)
{
    if (s->live && c->log_offset < s->log_offset)
        return OK;
    TRY(offset_slot_set(s, c));
    if (!s->live) {
        s->live = 1;
        o->live_n++;
    }
    return OK;
}

/* What begins later has a ticket that is not below the floor. */
bool offset_slot_kill(struct group_offsets *o, struct slot *s)
{
    bool was = s->live;

    s->live = 0;
    if (was)
        o->live_n--;
    s->log_offset = 0;
    return was;
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

int group_offsets_new(struct group_offsets **out)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? OK : ERR_NOMEM;
}

void group_offsets_free(struct group_offsets **o)
{
    struct group_offsets *t = *o;

    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        free(t->slots[i].extra);
    for (uint32_t i = 0; i < t->topics_n; i++)
        free(t->topics[i]);
    if (t->more != NULL) {
        offsets_pending_free(t);
        free(t->more->slots.cells);
        free(t->more->topics.cells);
        free(t->more);
    }
    free(t->slots);
    free(t->topics);
    free(t);
    *o = NULL;
}

size_t group_offsets_n(const struct group_offsets *o)
{
    return o->live_n;
}

bool group_offsets_none(const struct group_offsets *o)
{
    return o->n == 0;
}

bool group_offsets_get(const struct group_offsets *o, struct str topic, int32_t partition, struct committed *out)
{
    const struct slot *s = offsets_slot(o, topic, partition);

    if (s == NULL || !s->live)
        return false;
    *out = slot_value(s);
    return true;
}

int group_offsets_put(struct group_offsets *o, struct str topic, int32_t partition, const struct committed *c)
{
    struct slot *s;
    int rc;

    TRY(offsets_slot_get(o, topic, partition, &s));
    rc = offset_slot_commit(o, s, c);
    offsets_settle(o, s);
    return rc;
}

bool group_offsets_remove(struct group_offsets *o, struct str topic, int32_t partition)
{
    struct slot *s = offsets_slot(o, topic, partition);
    bool was = s != NULL && offset_slot_kill(o, s);

    if (s != NULL)
        offsets_settle(o, s);
    return was;
}

void group_offsets_each(const struct group_offsets *o, committed_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->slots[i].live) {
            struct committed c = slot_value(&o->slots[i]);

            fn(arg, topic_name_str(o->topics[o->slots[i].topic]), o->slots[i].partition, &c);
        }
}

void group_offsets_each_known(const struct group_offsets *o,
                              void (*fn)(void *arg, struct str topic, int32_t partition), void *arg)
{
    for (uint32_t i = 0; i < o->n; i++)
        fn(arg, topic_name_str(o->topics[o->slots[i].topic]), o->slots[i].partition);
}

/* From the end, so that what takes a removed one's place has been asked already. */
size_t group_offsets_remove_if(struct group_offsets *o, committed_goes *goes, void *arg)
{
    size_t n = 0;

    for (uint32_t i = o->n; i-- > 0;) {
        struct slot *s = &o->slots[i];
        struct committed c = slot_value(s);

        if (s->live && s->busy == 0 && goes(arg, topic_name_str(o->topics[s->topic]), s->partition, &c)) {
            offset_slot_kill(o, s);
            offsets_settle(o, s);
            n++;
        }
    }
    return n;
}

bool group_offsets_has_topic(const struct group_offsets *o, struct str topic)
{
    return o->n > 0 && offsets_topic(o, topic) != OFFSETS_NOWHERE;
}

int group_offsets_partitions(const struct group_offsets *o, struct str topic, struct arena *a, int32_t **out, size_t *n)
{
    uint32_t t = o->n > 0 ? offsets_topic(o, topic) : OFFSETS_NOWHERE;

    *n = 0;
    *out = NULL;
    if (t == OFFSETS_NOWHERE)
        return OK;
    *out = arena_array(a, o->topics[t]->refs, sizeof **out);
    if (*out == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < o->n; i++)
        if (o->slots[i].topic == t)
            (*out)[(*n)++] = o->slots[i].partition;
    return OK;
}

/* ---- copying ---------------------------------------------------------------------------------------------------- */

int group_offsets_copy(const struct group_offsets *o, struct arena *a, struct offsets_of_topic **out, size_t *n)
{
    struct offsets_of_topic *v = arena_array(a, (size_t)o->topics_n + 1, sizeof *v);
    size_t kept = 0;

    if (v == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct slot *s = &o->slots[i];
        const struct topic_name *name = o->topics[s->topic];
        struct offsets_of_topic *t = &v[s->topic];
        struct offsets_of_partition *p;

        if (!s->live)
            continue;
        if (t->v == NULL) {
            t->v = arena_array(a, name->refs, sizeof *t->v);
            if (t->v == NULL)
                return ERR_NOMEM;
            TRY(arena_str(a, topic_name_str(name), &t->name));
        }
        p = &t->v[t->n++];
        *p = (struct offsets_of_partition){ s->partition, s->busy > 0, slot_value(s) };
        TRY(arena_str(a, p->c.metadata, &p->c.metadata));
    }
    for (uint32_t i = 0; i < o->topics_n; i++)
        if (v[i].n > 0)
            v[kept++] = v[i];
    *out = v;
    *n = kept;
    return OK;
}
