/* broker/group/offsets.c - the table of one group's offsets.
 *
 *   slots    one for each partition, dense, in no order; 48 bytes
 *   topics   names, once each, counted by the slots that have them; NULL is a hole
 *   more     what a small group does without: an index of each (above SMALL entries they are not searched in a row),
 *            producers with pending offsets, tickets
 *
 * A slot is live when it holds a committed offset. One that is not live is there because something is pending or on its
 * way (busy > 0); its log_offset is then the ticket below which commits on their way have been deleted. A slot that is
 * neither is taken out at once.
 *
 * An index is open addressing with linear probing over positions; taking out moves the followers back.
 */
#include "broker/group/offsets.h"

#include <stdlib.h>

enum { SMALL = 8, TOPIC_MAX = UINT16_MAX, BUSY_MAX = INT32_MAX };

#define NOWHERE UINT32_MAX

/* What few offsets have: metadata, or a time of their own to expire. */
struct extra {
    int64_t  expire_ms;
    uint32_t len;
    char     text[];
};

struct slot {
    int64_t       offset, commit_ms, log_offset;
    struct extra *extra;                /* NULL: no metadata, no time of its own */
    uint32_t      topic;
    int32_t       partition, leader_epoch;
    uint32_t      busy : 31, live : 1;
};

struct topic_name {
    uint32_t refs;
    uint16_t len;
    char     text[];
};

struct index {
    uint32_t *cells;                    /* position + 1; 0: free. NULL: there is none yet */
    uint32_t  mask;
};

struct producer {
    int64_t          id;
    struct slot     *v;                 /* slots' fields but busy and live */
    size_t           n, cap;
    struct producer *next;
};

struct more {
    struct index     slots, topics;
    struct producer *producers;
    uint64_t         tickets;
};

struct group_offsets {
    struct slot        *slots;
    struct topic_name **topics;
    struct more        *more;           /* NULL: not needed so far */
    uint32_t            n, cap;
    uint32_t            topics_n, topics_cap;
    uint32_t            live_n, holes;
};

/* ---- indexes ---------------------------------------------------------------------------------------------------- */

static uint32_t mix(uint64_t h)
{
    h *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static uint32_t slot_hash(uint32_t topic, int32_t partition)
{
    return mix((uint64_t)topic << 32 | (uint32_t)partition);
}

static uint32_t name_hash(struct str name)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.p[i]) * 0x100000001B3u;
    return mix(h);
}

static struct str name_of(const struct topic_name *t)
{
    return (struct str){ t->text, t->len };
}

static uint32_t hash_of_slot(const struct group_offsets *o, uint32_t at)
{
    return slot_hash(o->slots[at].topic, o->slots[at].partition);
}

static uint32_t hash_of_topic(const struct group_offsets *o, uint32_t at)
{
    return name_hash(name_of(o->topics[at]));
}

typedef uint32_t hash_fn(const struct group_offsets *o, uint32_t at);

/* The cell that holds the position. */
static uint32_t index_cell(const struct index *x, uint32_t hash, uint32_t at)
{
    uint32_t c = hash & x->mask;

    while (x->cells[c] != at + 1)
        c = (c + 1) & x->mask;
    return c;
}

static void index_put(struct index *x, uint32_t hash, uint32_t at)
{
    uint32_t c = hash & x->mask;

    while (x->cells[c] != 0)
        c = (c + 1) & x->mask;
    x->cells[c] = at + 1;
}

static void index_drop(struct index *x, const struct group_offsets *o, hash_fn *hash, uint32_t at)
{
    uint32_t hole = index_cell(x, hash(o, at), at);

    for (uint32_t c = (hole + 1) & x->mask; x->cells[c] != 0; c = (c + 1) & x->mask) {
        uint32_t home = hash(o, x->cells[c] - 1) & x->mask;

        if (((c - home) & x->mask) < ((c - hole) & x->mask))
            continue;                   /* its place is behind the hole */
        x->cells[hole] = x->cells[c];
        hole = c;
    }
    x->cells[hole] = 0;
}

static struct more *more_of(struct group_offsets *o)
{
    if (o->more == NULL)
        o->more = calloc(1, sizeof *o->more);
    return o->more;
}

/* Room for one more than `n`, the n entries that are there put in again when it grows. */
static int index_reserve(struct group_offsets *o, struct index *x, hash_fn *hash, uint32_t n, bool topics)
{
    uint32_t size = x->cells != NULL ? x->mask + 1 : 16;
    uint32_t *old = x->cells;

    if (x->cells != NULL && (uint64_t)(n + 1) * 4 <= (uint64_t)size * 3)
        return OK;
    while ((uint64_t)(n + 1) * 4 > (uint64_t)size * 3)
        size *= 2;
    x->cells = calloc(size, sizeof *x->cells);
    if (x->cells == NULL) {
        x->cells = old;
        return ERR_NOMEM;
    }
    x->mask = size - 1;
    free(old);
    for (uint32_t i = 0; i < n; i++)
        if (!topics || o->topics[i] != NULL)
            index_put(x, hash(o, i), i);
    return OK;
}

/* Grows an array for one more. */
static int reserve(void **v, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t want = n < 4 ? (n == 0 ? 1 : n * 2) : n + n / 2;
    void *p;

    if (n < *cap)
        return OK;
    if (n >= INT32_MAX / 2)
        return ERR_LIMIT;
    p = realloc(*v, want * size);
    if (p == NULL)
        return ERR_NOMEM;
    *v = p;
    *cap = want;
    return OK;
}

/* ---- topics ----------------------------------------------------------------------------------------------------- */

static uint32_t topic_find(const struct group_offsets *o, struct str name)
{
    if (o->more != NULL && o->more->topics.cells != NULL) {
        const struct index *x = &o->more->topics;

        for (uint32_t c = name_hash(name) & x->mask; x->cells[c] != 0; c = (c + 1) & x->mask)
            if (str_eq(name_of(o->topics[x->cells[c] - 1]), name))
                return x->cells[c] - 1;
        return NOWHERE;
    }
    for (uint32_t i = 0; i < o->topics_n; i++)
        if (o->topics[i] != NULL && str_eq(name_of(o->topics[i]), name))
            return i;
    return NOWHERE;
}

static uint32_t topic_hole(const struct group_offsets *o)
{
    if (o->holes > 0)
        for (uint32_t i = 0; i < o->topics_n; i++)
            if (o->topics[i] == NULL)
                return i;
    return o->topics_n;
}

/* Adds the topic with no slot yet. */
static int topic_add(struct group_offsets *o, struct str name, uint32_t *at)
{
    struct topic_name *t;
    uint32_t i = topic_hole(o);
    void *v = o->topics;

    if (name.len > TOPIC_MAX)
        return ERR_LIMIT;
    TRY(reserve(&v, i, &o->topics_cap, sizeof *o->topics));
    o->topics = v;
    if (o->topics_n >= SMALL) {
        if (more_of(o) == NULL)
            return ERR_NOMEM;
        TRY(index_reserve(o, &o->more->topics, hash_of_topic, o->topics_n, true));
    }
    t = malloc(sizeof *t + name.len);
    if (t == NULL)
        return ERR_NOMEM;
    *t = (struct topic_name){ .refs = 0, .len = (uint16_t)name.len };
    if (name.len > 0)
        memcpy(t->text, name.p, name.len);
    o->topics[i] = t;
    if (i == o->topics_n)
        o->topics_n++;
    else
        o->holes--;
    if (o->more != NULL && o->more->topics.cells != NULL)
        index_put(&o->more->topics, name_hash(name), i);
    *at = i;
    return OK;
}

static void topic_drop(struct group_offsets *o, uint32_t at)
{
    if (o->more != NULL && o->more->topics.cells != NULL)
        index_drop(&o->more->topics, o, hash_of_topic, at);
    free(o->topics[at]);
    o->topics[at] = NULL;
    o->holes++;
    while (o->topics_n > 0 && o->topics[o->topics_n - 1] == NULL) {
        o->topics_n--;
        o->holes--;
    }
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

static struct slot *slot_at(const struct group_offsets *o, uint32_t topic, int32_t partition)
{
    if (o->more != NULL && o->more->slots.cells != NULL) {
        const struct index *x = &o->more->slots;

        for (uint32_t c = slot_hash(topic, partition) & x->mask; x->cells[c] != 0; c = (c + 1) & x->mask) {
            struct slot *s = &o->slots[x->cells[c] - 1];

            if (s->topic == topic && s->partition == partition)
                return s;
        }
        return NULL;
    }
    for (uint32_t i = 0; i < o->n; i++)
        if (o->slots[i].topic == topic && o->slots[i].partition == partition)
            return &o->slots[i];
    return NULL;
}

static struct slot *slot_find(const struct group_offsets *o, struct str topic, int32_t partition)
{
    uint32_t t = o->n > 0 ? topic_find(o, topic) : NOWHERE;

    return t != NOWHERE ? slot_at(o, t, partition) : NULL;
}

static int slot_append(struct group_offsets *o, uint32_t topic, int32_t partition, struct slot **out)
{
    void *v = o->slots;

    TRY(reserve(&v, o->n, &o->cap, sizeof *o->slots));
    o->slots = v;
    if (o->n >= SMALL) {
        if (more_of(o) == NULL)
            return ERR_NOMEM;
        TRY(index_reserve(o, &o->more->slots, hash_of_slot, o->n, false));
    }
    *out = &o->slots[o->n];
    **out = (struct slot){ .log_offset = -1, .topic = topic, .partition = partition };
    if (o->more != NULL && o->more->slots.cells != NULL)
        index_put(&o->more->slots, slot_hash(topic, partition), o->n);
    o->n++;
    o->topics[topic]->refs++;
    return OK;
}

/* The partition's slot; a new one is neither live nor busy, and is the caller's to make so or to settle. */
static int slot_get(struct group_offsets *o, struct str topic, int32_t partition, struct slot **out)
{
    uint32_t t = topic_find(o, topic);
    int rc;

    if (t != NOWHERE && (*out = slot_at(o, t, partition)) != NULL)
        return OK;
    if (t == NOWHERE)
        TRY(topic_add(o, topic, &t));
    rc = slot_append(o, t, partition, out);
    if (rc != OK && o->topics[t]->refs == 0)
        topic_drop(o, t);
    return rc;
}

static void give_back(struct group_offsets *o)
{
    if (o->n == 0) {
        free(o->slots);
        free(o->topics);
        o->slots = NULL;
        o->topics = NULL;
        o->cap = o->topics_cap = o->topics_n = o->holes = 0;
        if (o->more != NULL) {
            free(o->more->slots.cells);
            free(o->more->topics.cells);
            o->more->slots = o->more->topics = (struct index){ NULL, 0 };
        }
    } else if (o->n < o->cap / 4) {
        void *p = realloc(o->slots, (size_t)(o->cap / 2) * sizeof *o->slots);

        if (p != NULL) {
            o->slots = p;
            o->cap /= 2;
        }
    }
}

/* Takes the slot out if nothing keeps it. */
static void slot_settle(struct group_offsets *o, struct slot *s)
{
    uint32_t at = (uint32_t)(s - o->slots), last = o->n - 1, topic = s->topic;
    struct index *x = o->more != NULL ? &o->more->slots : NULL;

    if (s->live || s->busy > 0)
        return;
    free(s->extra);
    if (x != NULL && x->cells != NULL) {
        index_drop(x, o, hash_of_slot, at);
        if (at != last)
            x->cells[index_cell(x, hash_of_slot(o, last), last)] = at + 1;
    }
    if (at != last)
        *s = o->slots[last];
    o->n--;
    if (--o->topics[topic]->refs == 0)
        topic_drop(o, topic);
    give_back(o);
}

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

static int slot_set(struct slot *s, const struct committed *c)
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

static int slot_commit(struct group_offsets *o, struct slot *s, const struct committed *c)
{
    if (s->live && c->log_offset < s->log_offset)
        return OK;
    TRY(slot_set(s, c));
    if (!s->live) {
        s->live = 1;
        o->live_n++;
    }
    return OK;
}

/* What begins later has a ticket that is not below the floor. */
static bool slot_kill(struct group_offsets *o, struct slot *s)
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

static void producer_free(struct producer *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].extra);
    free(p->v);
    free(p);
}

void group_offsets_free(struct group_offsets **o)
{
    struct group_offsets *t = *o;
    struct producer *next;

    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        free(t->slots[i].extra);
    for (uint32_t i = 0; i < t->topics_n; i++)
        free(t->topics[i]);
    if (t->more != NULL) {
        for (struct producer *p = t->more->producers; p != NULL; p = next) {
            next = p->next;
            producer_free(p);
        }
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
    const struct slot *s = slot_find(o, topic, partition);

    if (s == NULL || !s->live)
        return false;
    *out = slot_value(s);
    return true;
}

int group_offsets_put(struct group_offsets *o, struct str topic, int32_t partition, const struct committed *c)
{
    struct slot *s;
    int rc;

    TRY(slot_get(o, topic, partition, &s));
    rc = slot_commit(o, s, c);
    slot_settle(o, s);
    return rc;
}

bool group_offsets_remove(struct group_offsets *o, struct str topic, int32_t partition)
{
    struct slot *s = slot_find(o, topic, partition);
    bool was = s != NULL && slot_kill(o, s);

    if (s != NULL)
        slot_settle(o, s);
    return was;
}

void group_offsets_each(const struct group_offsets *o, committed_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->slots[i].live) {
            struct committed c = slot_value(&o->slots[i]);

            fn(arg, name_of(o->topics[o->slots[i].topic]), o->slots[i].partition, &c);
        }
}

void group_offsets_each_known(const struct group_offsets *o,
                              void (*fn)(void *arg, struct str topic, int32_t partition), void *arg)
{
    for (uint32_t i = 0; i < o->n; i++)
        fn(arg, name_of(o->topics[o->slots[i].topic]), o->slots[i].partition);
}

/* From the end, so that what takes a removed one's place has been asked already. */
size_t group_offsets_remove_if(struct group_offsets *o, committed_goes *goes, void *arg)
{
    size_t n = 0;

    for (uint32_t i = o->n; i-- > 0;) {
        struct slot *s = &o->slots[i];
        struct committed c = slot_value(s);

        if (s->live && s->busy == 0 && goes(arg, name_of(o->topics[s->topic]), s->partition, &c)) {
            slot_kill(o, s);
            slot_settle(o, s);
            n++;
        }
    }
    return n;
}

bool group_offsets_has_topic(const struct group_offsets *o, struct str topic)
{
    return o->n > 0 && topic_find(o, topic) != NOWHERE;
}

int group_offsets_partitions(const struct group_offsets *o, struct str topic, struct arena *a, int32_t **out, size_t *n)
{
    uint32_t t = o->n > 0 ? topic_find(o, topic) : NOWHERE;

    *n = 0;
    *out = NULL;
    if (t == NOWHERE)
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
            TRY(arena_str(a, name_of(name), &t->name));
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

/* ---- on their way ----------------------------------------------------------------------------------------------- */

static int slot_get_busy(struct group_offsets *o, struct str topic, int32_t partition, struct slot **out)
{
    if (more_of(o) == NULL)
        return ERR_NOMEM;
    TRY(slot_get(o, topic, partition, out));
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
    struct slot *s = slot_find(o, topic, partition);
    int rc = OK;

    if (s == NULL)
        return OK;
    if (s->busy > 0)
        s->busy--;
    if (s->live || ticket > (uint64_t)s->log_offset)
        rc = slot_commit(o, s, c);
    slot_settle(o, s);
    return rc;
}

void group_offsets_abandon(struct group_offsets *o, struct str topic, int32_t partition)
{
    struct slot *s = slot_find(o, topic, partition);

    if (s == NULL)
        return;
    if (s->busy > 0)
        s->busy--;
    slot_settle(o, s);
}

/* ---- of transactions -------------------------------------------------------------------------------------------- */

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
        if (more_of(o) == NULL || (p = calloc(1, sizeof *p)) == NULL)
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
    s = p->n > 0 ? slot_find(o, topic, partition) : NULL;
    w = s != NULL && s->busy > 0 ? pending_find(p, s->topic, partition) : NULL;
    if (w != NULL)
        return c->log_offset >= w->log_offset ? slot_set(w, c) : OK;
    rc = producer_reserve(p);
    if (rc == OK)
        rc = slot_get_busy(o, topic, partition, &s);
    if (rc == OK) {
        w = &p->v[p->n];
        *w = (struct slot){ .topic = s->topic, .partition = partition };
        rc = slot_set(w, c);
        if (rc == OK) {
            p->n++;
        } else {
            s->busy--;
            slot_settle(o, s);
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
        struct slot *w = &p->v[i], *s = slot_at(o, w->topic, w->partition);

        s->busy--;
        if (commit)
            pending_commit(o, s, w);
        slot_settle(o, s);
    }
    producer_drop(o, p);
}

bool group_offsets_is_pending(const struct group_offsets *o, struct str topic, int32_t partition)
{
    const struct slot *s = slot_find(o, topic, partition);

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
    struct slot *s = slot_find(o, topic, partition);
    bool was;

    if (s == NULL)
        return false;
    was = slot_kill(o, s);
    if (s->busy > 0) {
        unpend(o, s);
        was |= s->busy > 0;                             /* appended already, so the tombstone comes behind it */
        s->log_offset = (int64_t)o->more->tickets;
    }
    slot_settle(o, s);
    return was;
}
