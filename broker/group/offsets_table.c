/* broker/group/offsets_table.c - slots and topics of a group's table, and their indexes.
 *
 * An index is open addressing with linear probing over positions; taking out moves the followers back.
 */
#include "broker/group/offsets_priv.h"

#include <stdlib.h>

enum { SMALL = 8, TOPIC_MAX = UINT16_MAX };

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

static uint32_t hash_of_slot(const struct group_offsets *o, uint32_t at)
{
    return slot_hash(o->slots[at].topic, o->slots[at].partition);
}

static uint32_t hash_of_topic(const struct group_offsets *o, uint32_t at)
{
    return name_hash(topic_name_str(o->topics[at]));
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

struct more *offsets_more(struct group_offsets *o)
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

uint32_t offsets_topic(const struct group_offsets *o, struct str name)
{
    if (o->more != NULL && o->more->topics.cells != NULL) {
        const struct index *x = &o->more->topics;

        for (uint32_t c = name_hash(name) & x->mask; x->cells[c] != 0; c = (c + 1) & x->mask)
            if (str_eq(topic_name_str(o->topics[x->cells[c] - 1]), name))
                return x->cells[c] - 1;
        return OFFSETS_NOWHERE;
    }
    for (uint32_t i = 0; i < o->topics_n; i++)
        if (o->topics[i] != NULL && str_eq(topic_name_str(o->topics[i]), name))
            return i;
    return OFFSETS_NOWHERE;
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
        if (offsets_more(o) == NULL)
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

struct slot *offsets_slot_at(const struct group_offsets *o, uint32_t topic, int32_t partition)
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

struct slot *offsets_slot(const struct group_offsets *o, struct str topic, int32_t partition)
{
    uint32_t t = o->n > 0 ? offsets_topic(o, topic) : OFFSETS_NOWHERE;

    return t != OFFSETS_NOWHERE ? offsets_slot_at(o, t, partition) : NULL;
}

static int slot_append(struct group_offsets *o, uint32_t topic, int32_t partition, struct slot **out)
{
    void *v = o->slots;

    TRY(reserve(&v, o->n, &o->cap, sizeof *o->slots));
    o->slots = v;
    if (o->n >= SMALL) {
        if (offsets_more(o) == NULL)
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
int offsets_slot_get(struct group_offsets *o, struct str topic, int32_t partition, struct slot **out)
{
    uint32_t t = offsets_topic(o, topic);
    int rc;

    if (t != OFFSETS_NOWHERE && (*out = offsets_slot_at(o, t, partition)) != NULL)
        return OK;
    if (t == OFFSETS_NOWHERE)
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
void offsets_settle(struct group_offsets *o, struct slot *s)
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
