/* broker/cluster/metadata_cache.c - snapshots that share what has not changed.
 *
 *   snapshot -> BUCKETS buckets by name, BUCKETS by id -> topics
 *
 * 1. Buckets and topics are immutable once a snapshot that has them is published, and counted: a bucket by
 *    the snapshots that have it, a topic by the buckets that have it (one by name, one by id if it has an
 *    id).
 * 2. An update copies the table of buckets, then each bucket in which a topic changes. A bucket with a count
 *    of one belongs to the snapshot under construction alone and is changed in place.
 * 3. A topic is one block of memory: header, partitions, broker ids, name.
 */
#include "broker/cluster/metadata_cache.h"

#include "base/arena.h"
#include "base/lock.h"
#include "metadata/topic_name.h"
#include "proto/gen/update_metadata_request.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BUCKETS           1024
#define BROKERS_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define LEADER_GONE       (-2)

#define UM(x) struct update_metadata_request_update_metadata_##x

struct topic_node {
    struct metadata_topic t;            /* first: what users see */
    atomic_uint           refs;
    uint32_t              name_hash, id_hash;
};

struct bucket {
    atomic_uint        refs;
    uint32_t           n;
    struct topic_node *v[];
};

struct metadata {
    atomic_uint            refs;
    int32_t                controller_id;
    struct metadata_broker *brokers;
    size_t                 brokers_n;
    size_t                 topics_n;
    struct arena           arena;       /* brokers */
    struct bucket         *by_name[BUCKETS];
    struct bucket         *by_id[BUCKETS];
};

struct metadata_cache {
    struct {
        void *arg;
        void (*_Atomic fn)(void *arg);  /* NULL: free; set after arg */
    }                listener[METADATA_LISTENERS_MAX];
    /* under lock */
    struct lock      lock;
    struct metadata *current;           /* one reference */
};

/* ---- counting ----------------------------------------------------------------------------------------- */

static void node_unref(struct topic_node *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        free(t);
}

static void bucket_unref(struct bucket *b)
{
    if (b == NULL || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < b->n; i++)
        node_unref(b->v[i]);
    free(b);
}

static void metadata_free(struct metadata *md)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        bucket_unref(md->by_name[i]);
        bucket_unref(md->by_id[i]);
    }
    arena_fini(&md->arena);
    free(md);
}

struct metadata *metadata_get(struct metadata_cache *c)
{
    struct metadata *md;

    lock_take(&c->lock);
    md = c->current;
    atomic_fetch_add_explicit(&md->refs, 1, memory_order_relaxed);
    lock_drop(&c->lock);
    return md;
}

void metadata_put(struct metadata **md)
{
    struct metadata *x = *md;

    *md = NULL;
    if (x != NULL && atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) == 1)
        metadata_free(x);
}

/* ---- look-ups ----------------------------------------------------------------------------------------- */

static uint32_t hash_bytes(const void *p, size_t n)
{
    const uint8_t *b = p;
    uint64_t h = 0xcbf29ce484222325U;               /* FNV-1a, folded */

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3U;
    return (uint32_t)(h ^ (h >> 32));
}

static struct topic_node *find_name(const struct metadata *md, struct str name, uint32_t hash)
{
    const struct bucket *b = md->by_name[hash % BUCKETS];

    for (uint32_t i = 0; b != NULL && i < b->n; i++)
        if (b->v[i]->name_hash == hash && str_eq(b->v[i]->t.name, name))
            return b->v[i];
    return NULL;
}

const struct metadata_topic *metadata_topic(const struct metadata *md, struct str name)
{
    const struct topic_node *t = find_name(md, name, hash_bytes(name.p, name.len));

    return t != NULL ? &t->t : NULL;
}

const struct metadata_topic *metadata_topic_by_id(const struct metadata *md, struct uuid id)
{
    uint32_t hash = hash_bytes(&id, sizeof id);
    const struct bucket *b = md->by_id[hash % BUCKETS];

    for (uint32_t i = 0; b != NULL && i < b->n; i++)
        if (b->v[i]->id_hash == hash && uuid_eq(b->v[i]->t.id, id))
            return &b->v[i]->t;
    return NULL;
}

const struct metadata_partition *metadata_partition(const struct metadata_topic *t, int32_t index)
{
    int32_t lo = 0, hi = t->partitions_n;

    if (index >= 0 && index < hi && t->partitions[index].index == index)
        return &t->partitions[index];               /* the usual case: 0, 1, 2, ... */
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;

        if (t->partitions[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->partitions_n && t->partitions[lo].index == index ? &t->partitions[lo] : NULL;
}

const struct metadata_broker *metadata_broker(const struct metadata *md, int32_t id)
{
    for (size_t i = 0; i < md->brokers_n; i++)
        if (md->brokers[i].id == id)
            return &md->brokers[i];
    return NULL;
}

const struct metadata_endpoint *metadata_endpoint(const struct metadata_broker *b, struct str listener)
{
    for (size_t i = 0; i < b->endpoints_n; i++)
        if (str_eq(b->endpoints[i].listener, listener))
            return &b->endpoints[i];
    return NULL;
}

const struct metadata_broker *metadata_brokers(const struct metadata *md, size_t *n)
{
    *n = md->brokers_n;
    return md->brokers;
}

int32_t metadata_controller(const struct metadata *md)
{
    return md->controller_id;
}

size_t metadata_topics_n(const struct metadata *md)
{
    return md->topics_n;
}

/* *pos: the bucket in the upper half, the place in it in the lower. */
const struct metadata_topic *metadata_next_topic(const struct metadata *md, size_t *pos)
{
    size_t bucket = *pos >> 32, at = *pos & UINT32_MAX;

    for (; bucket < BUCKETS; bucket++, at = 0) {
        const struct bucket *b = md->by_name[bucket];

        if (b != NULL && at < b->n) {
            *pos = bucket << 32 | (at + 1);
            return &b->v[at]->t;
        }
    }
    *pos = (size_t)BUCKETS << 32;
    return NULL;
}

/* ---- building a topic --------------------------------------------------------------------------------- */

struct merged {                         /* partitions of the topic to be, by rising index; borrowed */
    struct metadata_partition *v;
    int32_t                    n;
    size_t                     ids;     /* how many broker ids they have in all */
};

static void merge_add(struct merged *m, const struct metadata_partition *p)
{
    m->v[m->n++] = *p;
    m->ids += (size_t)p->replicas_n + (size_t)p->isr_n + (size_t)p->offline_n;
}

static void merge_state(struct merged *m, const UM(partition_state) *s)
{
    struct metadata_partition p = {
        .index = s->partition_index, .leader = s->leader, .leader_epoch = s->leader_epoch,
        .controller_epoch = s->controller_epoch, .partition_epoch = s->zk_version,
        .replicas_n = s->replicas_n, .isr_n = s->isr_n, .offline_n = s->offline_replicas_n,
        .replicas = s->replicas, .isr = s->isr, .offline = s->offline_replicas,
    };

    if (s->leader != LEADER_GONE)
        merge_add(m, &p);
}

static int by_index(const void *a, const void *b)
{
    const UM(partition_state) *const *x = a, *const *y = b;

    return ((*x)->partition_index > (*y)->partition_index) - ((*x)->partition_index < (*y)->partition_index);
}

/* What the topic had, with what the request says put over it. */
static int merge(struct merged *m, const struct metadata_topic *old, const UM(topic_state) *s)
{
    size_t n = (size_t)(s->partition_states_n > 0 ? s->partition_states_n : 0);
    const UM(partition_state) **states = calloc(n + 1, sizeof *states);
    int32_t at = 0, old_n = old != NULL ? old->partitions_n : 0;

    m->v = calloc(n + (size_t)old_n + 1, sizeof *m->v);
    if (m->v == NULL || states == NULL) {
        free(states);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        states[i] = &s->partition_states[i];
    if (n > 1)
        qsort(states, n, sizeof *states, by_index);
    for (size_t i = 0; i < n; i++) {
        int32_t index = states[i]->partition_index;

        if (i + 1 < n && states[i + 1]->partition_index == index)
            continue;                               /* named twice: one of them */
        while (at < old_n && old->partitions[at].index < index)
            merge_add(m, &old->partitions[at++]);
        if (at < old_n && old->partitions[at].index == index)
            at++;
        merge_state(m, states[i]);
    }
    while (at < old_n)
        merge_add(m, &old->partitions[at++]);
    free(states);
    return OK;
}

static int32_t *put_ids(int32_t *room, const int32_t **v, int32_t n)
{
    if (n > 0)
        memcpy(room, *v, (size_t)n * sizeof *room);
    *v = room;
    return room + n;
}

static struct topic_node *node_new(const struct merged *m, struct str name, struct uuid id)
{
    size_t partitions = (size_t)m->n * sizeof(struct metadata_partition), ids = m->ids * sizeof(int32_t);
    struct topic_node *t = malloc(sizeof *t + partitions + ids + name.len + 1);
    struct metadata_partition *v;
    int32_t *room;
    char *z;

    if (t == NULL)
        return NULL;
    v = (struct metadata_partition *)(t + 1);
    room = (int32_t *)(v + m->n);
    if (m->n > 0)
        memcpy(v, m->v, partitions);
    for (int32_t i = 0; i < m->n; i++) {
        room = put_ids(room, &v[i].replicas, v[i].replicas_n);
        room = put_ids(room, &v[i].isr, v[i].isr_n);
        room = put_ids(room, &v[i].offline, v[i].offline_n);
    }
    z = (char *)room;
    memcpy(z, name.p, name.len);
    z[name.len] = '\0';
    t->t = (struct metadata_topic){ .name = { z, name.len }, .id = id, .internal = topic_name_internal(name),
                                    .partitions = v, .partitions_n = m->n };
    t->name_hash = hash_bytes(z, name.len);
    t->id_hash = hash_bytes(&id, sizeof id);
    atomic_init(&t->refs, 0);
    return t;
}

/* ---- building a snapshot ------------------------------------------------------------------------------ */

/* A bucket that only the snapshot under construction has, with room for one more. */
static struct bucket *bucket_own(struct bucket **at)
{
    struct bucket *old = *at, *b;
    uint32_t n = old != NULL ? old->n : 0;

    if (old != NULL && atomic_load(&old->refs) == 1) {
        b = realloc(old, sizeof *b + (n + 1) * sizeof b->v[0]);
        if (b != NULL)
            *at = b;
        return b;
    }
    b = malloc(sizeof *b + (n + 1) * sizeof b->v[0]);
    if (b == NULL)
        return NULL;
    atomic_init(&b->refs, 1);
    b->n = n;
    for (uint32_t i = 0; i < n; i++) {
        b->v[i] = old->v[i];
        atomic_fetch_add_explicit(&b->v[i]->refs, 1, memory_order_relaxed);
    }
    bucket_unref(old);
    *at = b;
    return b;
}

/* Puts `add` in the place of `old`; either may be NULL. */
static int bucket_swap(struct bucket **at, struct topic_node *old, struct topic_node *add)
{
    struct bucket *b = bucket_own(at);

    if (b == NULL)
        return ERR_NOMEM;
    if (add != NULL) {
        atomic_fetch_add_explicit(&add->refs, 1, memory_order_relaxed);
        b->v[b->n++] = add;
    }
    for (uint32_t i = 0; i < b->n && old != NULL; i++)
        if (b->v[i] == old) {
            b->v[i] = b->v[--b->n];
            node_unref(old);
            break;
        }
    return OK;
}

static int topic_swap(struct metadata *md, struct topic_node *old, struct topic_node *add)
{
    const struct topic_node *any = add != NULL ? add : old;
    bool old_id = old != NULL && !uuid_is_zero(old->t.id), add_id = add != NULL && !uuid_is_zero(add->t.id);
    uint32_t old_bucket = old != NULL ? old->id_hash % BUCKETS : 0;

    if (any == NULL)
        return OK;
    if (add_id)
        TRY(bucket_swap(&md->by_id[add->id_hash % BUCKETS], NULL, add));
    if (old_id)
        TRY(bucket_swap(&md->by_id[old_bucket], old, NULL));
    TRY(bucket_swap(&md->by_name[any->name_hash % BUCKETS], old, add));
    md->topics_n += (size_t)(add != NULL) - (size_t)(old != NULL);
    return OK;
}

/* Of the topic of that name that was there before, and whose deletion this broker was not told of: its session had
 * ended then. */
static bool is_another(const struct topic_node *old, struct uuid id)
{
    return old != NULL && !uuid_is_zero(old->t.id) && !uuid_is_zero(id) && !uuid_eq(old->t.id, id);
}

static int topic_apply(struct metadata *md, const UM(topic_state) *s)
{
    struct topic_node *old = find_name(md, s->topic_name, hash_bytes(s->topic_name.p, s->topic_name.len)), *t = NULL;
    struct merged m = { .v = NULL };
    int rc = merge(&m, old != NULL && !is_another(old, s->topic_id) ? &old->t : NULL, s);

    if (rc == OK && m.n > 0) {
        t = node_new(&m, s->topic_name, s->topic_id);
        if (t == NULL)
            rc = ERR_NOMEM;
        else
            atomic_fetch_add(&t->refs, 1);          /* ours, until it has its place */
    }
    if (rc == OK)
        rc = topic_swap(md, old, t);
    if (t != NULL)
        node_unref(t);
    free(m.v);
    return rc;
}

static int brokers_apply(struct metadata *md, const struct update_metadata_request *req)
{
    struct arena *a = &md->arena;

    md->brokers = arena_array(a, (size_t)req->live_brokers_n + 1, sizeof *md->brokers);
    if (md->brokers == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < req->live_brokers_n; i++) {
        const UM(broker) *from = &req->live_brokers[i];
        struct metadata_endpoint *e = arena_array(a, (size_t)from->endpoints_n + 1, sizeof *e);
        size_t at = md->brokers_n;

        if (e == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < from->endpoints_n; k++) {
            e[k].port = from->endpoints[k].port;
            e[k].security_protocol = from->endpoints[k].security_protocol;
            TRY(arena_str(a, from->endpoints[k].host, &e[k].host));
            TRY(arena_str(a, from->endpoints[k].listener, &e[k].listener));
        }
        for (; at > 0 && md->brokers[at - 1].id > from->id; at--)
            md->brokers[at] = md->brokers[at - 1];
        md->brokers[at] = (struct metadata_broker){ .id = from->id, .endpoints = e,
                                                    .endpoints_n = (size_t)from->endpoints_n };
        md->brokers_n++;
        TRY(arena_str(a, from->rack, &md->brokers[at].rack));
    }
    return OK;
}

static struct metadata *metadata_copy(const struct metadata *old)
{
    struct metadata *md = calloc(1, sizeof *md);

    if (md == NULL)
        return NULL;
    atomic_init(&md->refs, 1);
    arena_init(&md->arena, BROKERS_BYTES_MAX);
    md->controller_id = -1;
    if (old == NULL)
        return md;
    md->topics_n = old->topics_n;
    for (size_t i = 0; i < BUCKETS; i++) {
        md->by_name[i] = old->by_name[i];
        md->by_id[i] = old->by_id[i];
        if (md->by_name[i] != NULL)
            atomic_fetch_add_explicit(&md->by_name[i]->refs, 1, memory_order_relaxed);
        if (md->by_id[i] != NULL)
            atomic_fetch_add_explicit(&md->by_id[i]->refs, 1, memory_order_relaxed);
    }
    return md;
}

int metadata_cache_update(struct metadata_cache *c, const struct update_metadata_request *req)
{
    struct metadata *old = metadata_get(c), *md = metadata_copy(old);
    int rc = md != NULL ? brokers_apply(md, req) : ERR_NOMEM;

    for (int32_t i = 0; i < req->topic_states_n && rc == OK; i++)
        rc = topic_apply(md, &req->topic_states[i]);
    if (rc == OK) {
        struct metadata *was;

        md->controller_id = req->controller_id;
        lock_take(&c->lock);
        was = c->current;
        c->current = md;
        lock_drop(&c->lock);
        md = was;
    }
    metadata_put(&md);
    metadata_put(&old);
    for (int i = 0; i < METADATA_LISTENERS_MAX && rc == OK; i++) {
        void (*fn)(void *arg) = atomic_load(&c->listener[i].fn);

        if (fn != NULL)
            fn(c->listener[i].arg);
    }
    return rc;
}

bool metadata_cache_alive(struct metadata_cache *c, int32_t id)
{
    bool alive;

    lock_take(&c->lock);
    alive = metadata_broker(c->current, id) != NULL;
    lock_drop(&c->lock);
    return alive;
}

/* ---- life --------------------------------------------------------------------------------------------- */

int metadata_cache_new(struct metadata_cache **out)
{
    struct metadata_cache *c = calloc(1, sizeof *c);

    *out = NULL;
    if (c == NULL)
        return ERR_NOMEM;
    c->current = metadata_copy(NULL);
    if (c->current == NULL) {
        free(c);
        return ERR_NOMEM;
    }
    lock_init(&c->lock, LOCK_metacache);
    *out = c;
    return OK;
}

void metadata_cache_free(struct metadata_cache **c)
{
    struct metadata_cache *x = *c;

    *c = NULL;
    if (x == NULL)
        return;
    metadata_put(&x->current);
    lock_fini(&x->lock);
    free(x);
}

void metadata_cache_listen(struct metadata_cache *c, void (*fn)(void *arg), void *arg)
{
    int i = 0;

    while (i < METADATA_LISTENERS_MAX && atomic_load(&c->listener[i].fn) != NULL)
        i++;
    assert(i < METADATA_LISTENERS_MAX);
    c->listener[i].arg = arg;
    atomic_store(&c->listener[i].fn, fn);
}

void metadata_cache_unlisten(struct metadata_cache *c, const void *arg)
{
    for (int i = 0; i < METADATA_LISTENERS_MAX; i++)
        if (c->listener[i].arg == arg)
            atomic_store(&c->listener[i].fn, NULL);
}
