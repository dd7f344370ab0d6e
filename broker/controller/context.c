/* broker/controller/context.c */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(t) ((t)->name_len = 0)
#include "broker/controller/context.h"

#include <stdlib.h>

int ids_set(struct ids *ids, const int32_t *v, int32_t n)
{
    int32_t *copy = malloc((size_t)(n > 0 ? n : 1) * sizeof *copy);

    if (copy == NULL)
        return ERR_NOMEM;
    if (n > 0)
        memcpy(copy, v, (size_t)n * sizeof *copy);
    free(ids->v);
    ids->v = copy;
    ids->n = n;
    return OK;
}

bool ids_have(const struct ids *ids, int32_t id)
{
    for (int32_t i = 0; i < ids->n; i++)
        if (ids->v[i] == id)
            return true;
    return false;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

bool replicas_repeat(struct arena *a, struct znode_replicas r)
{
    int32_t *sorted = arena_array(a, (size_t)r.n + 1, sizeof *sorted);
    bool twice = false;

    if (sorted == NULL)
        return true;                                /* hardly an honest request */
    if (r.n > 0)
        memcpy(sorted, r.v, (size_t)r.n * sizeof *sorted);
    qsort(sorted, (size_t)r.n, sizeof *sorted, by_id);
    for (int32_t i = 1; i < r.n; i++)
        twice |= sorted[i] == sorted[i - 1];
    return twice;
}

void ids_fini(struct ids *ids)
{
    free(ids->v);
    *ids = (struct ids){ NULL, 0 };
}

/* ---- topics ------------------------------------------------------------------------------------------- */

struct ctl_topic *context_topic(const struct context *x, struct str name)
{
    struct ctl_topic *t = NULL;

    HASH_FIND(hh, x->topics, name.p, name.len, t);
    return t;
}

int context_topic_add(struct context *x, struct str name, struct ctl_topic **out)
{
    struct ctl_topic *t = calloc(1, sizeof *t + name.len + 1);

    if (t == NULL)
        return ERR_NOMEM;
    memcpy(t->name, name.p, name.len);
    t->name_len = (uint32_t)name.len;
    HASH_ADD(hh, x->topics, name, (unsigned)name.len, t);
    if (t->name_len != name.len) {
        free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return OK;
}

struct ctl_topic *context_topic_by_id(const struct context *x, struct uuid id)
{
    struct ctl_topic *t = NULL;

    HASH_FIND(hh_id, x->ids, &id, sizeof id, t);
    return t;
}

int context_topic_identify(struct context *x, struct ctl_topic *t, struct uuid id)
{
    uint32_t name_len = t->name_len;

    if (uuid_is_zero(id))
        return OK;
    if (context_topic_by_id(x, id) != NULL)
        return ERR_EXISTS;
    t->id = id;
    HASH_ADD(hh_id, x->ids, id, sizeof t->id, t);
    if (t->name_len == name_len)
        return OK;
    t->name_len = name_len;                         /* the macro has set it: memory is out */
    t->id = (struct uuid){ { 0 } };
    return ERR_NOMEM;
}

void context_topic_unidentify(struct context *x, struct ctl_topic *t)
{
    if (uuid_is_zero(t->id))
        return;
    HASH_DELETE(hh_id, x->ids, t);
    t->id = (struct uuid){ { 0 } };
}

static void partition_fini(struct ctl_partition *p)
{
    ids_fini(&p->isr);
    ids_fini(&p->replicas);
    ids_fini(&p->adding);
    ids_fini(&p->removing);
    free(p->replica_state);
    free(p->lost);
}

void context_topic_drop(struct context *x, struct ctl_topic *t)
{
    HASH_DEL(x->topics, t);
    context_topic_unidentify(x, t);
    for (int32_t i = 0; i < t->partitions_n; i++)
        partition_fini(&t->partitions[i]);
    free(t->partitions);
    free(t);
}

struct ctl_partition *context_partition(const struct ctl_topic *t, int32_t index)
{
    int32_t lo = 0, hi = t->partitions_n;

    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;

        if (t->partitions[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->partitions_n && t->partitions[lo].index == index ? &t->partitions[lo] : NULL;
}

static int partition_init(struct ctl_partition *p, struct ctl_topic *t, const struct znode_partition *z)
{
    *p = (struct ctl_partition){ .topic = t, .index = z->index, .leader = -1 };
    p->replica_state = calloc((size_t)z->replicas.n + 1, 1);        /* all NonExistent */
    p->lost = calloc((size_t)z->replicas.n + 1, sizeof *p->lost);
    p->hosts_n = z->replicas.n;
    if (p->replica_state == NULL || p->lost == NULL || ids_set(&p->replicas, z->replicas.v, z->replicas.n) != OK ||
        ids_set(&p->adding, z->adding.v, z->adding.n) != OK ||
        ids_set(&p->removing, z->removing.v, z->removing.n) != OK) {
        partition_fini(p);
        return ERR_NOMEM;
    }
    p->reassigning = z->adding.n > 0 || z->removing.n > 0;
    return OK;
}

static int32_t host_index(const struct ctl_partition *p, int32_t broker)
{
    for (int32_t i = 0; i < p->hosts_n; i++)
        if (p->replicas.v[i] == broker)
            return i;
    return -1;
}

int context_assign(struct ctl_partition *p, const struct assignment *to)
{
    size_t room = (size_t)to->replicas.n + (size_t)p->hosts_n + 1;
    struct ids adding = { NULL, 0 }, removing = { NULL, 0 }, hosts = { calloc(room, sizeof *hosts.v), 0 };
    uint8_t *state = calloc(room, sizeof *state);
    bool *lost = calloc(room, sizeof *lost);

    if (hosts.v == NULL || state == NULL || lost == NULL || ids_set(&adding, to->adding.v, to->adding.n) != OK ||
        ids_set(&removing, to->removing.v, to->removing.n) != OK) {
        ids_fini(&adding);
        ids_fini(&hosts);
        free(state);
        free(lost);
        return ERR_NOMEM;
    }
    for (int32_t i = 0; i < to->replicas.n; i++)
        hosts.v[hosts.n++] = to->replicas.v[i];
    for (int32_t i = 0; i < p->hosts_n; i++)
        if (!ids_have(&hosts, p->replicas.v[i]) && p->replica_state[i] != REPLICA_NONEXISTENT)
            hosts.v[hosts.n++] = p->replicas.v[i];
    for (int32_t i = 0; i < hosts.n; i++) {
        int32_t was = host_index(p, hosts.v[i]);

        state[i] = was >= 0 ? p->replica_state[was] : REPLICA_NONEXISTENT;
        lost[i] = was >= 0 && p->lost[was];
    }
    ids_fini(&p->replicas);
    ids_fini(&p->adding);
    ids_fini(&p->removing);
    free(p->replica_state);
    free(p->lost);
    p->replicas = (struct ids){ hosts.v, to->replicas.n };
    p->adding = adding;
    p->removing = removing;
    p->hosts_n = hosts.n;
    p->replica_state = state;
    p->lost = lost;
    return OK;
}

void context_forget_host(struct ctl_partition *p, int32_t broker)
{
    int32_t at = host_index(p, broker);
    size_t behind;

    if (at < p->replicas.n)
        return;
    behind = (size_t)(p->hosts_n - at - 1);
    memmove(&p->replicas.v[at], &p->replicas.v[at + 1], behind * sizeof *p->replicas.v);
    memmove(&p->replica_state[at], &p->replica_state[at + 1], behind);
    memmove(&p->lost[at], &p->lost[at + 1], behind * sizeof *p->lost);
    p->hosts_n--;
}

/* New partitions have higher numbers than those that are there; anything else in the node is not ours to
 * follow. */
int context_topic_grow(struct ctl_topic *t, const struct znode_topic *z, int32_t *added)
{
    int32_t last = t->partitions_n > 0 ? t->partitions[t->partitions_n - 1].index : -1;
    struct ctl_partition *all;

    *added = t->partitions_n;
    all = realloc(t->partitions, ((size_t)t->partitions_n + (size_t)z->partitions_n + 1) * sizeof *all);
    if (all == NULL)
        return ERR_NOMEM;
    t->partitions = all;
    for (int32_t i = 0; i < z->partitions_n; i++) {
        if (z->partitions[i].index <= last)
            continue;
        TRY(partition_init(&t->partitions[t->partitions_n], t, &z->partitions[i]));
        t->partitions_n++;
    }
    return OK;
}

int context_leadership(struct ctl_partition *p, const struct znode_state *s, int32_t zk_version)
{
    TRY(ids_set(&p->isr, s->isr.v, s->isr.n));
    p->has_leadership = true;
    p->recovering = s->recovering;
    p->leader = s->leader;
    p->leader_epoch = s->leader_epoch;
    p->controller_epoch = s->controller_epoch;
    p->zk_version = zk_version;
    return OK;
}

/* ---- brokers ------------------------------------------------------------------------------------------ */

struct ctl_broker *context_broker(const struct context *x, int32_t id)
{
    size_t lo = 0, hi = x->brokers_n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (x->brokers[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < x->brokers_n && x->brokers[lo].id == id ? &x->brokers[lo] : NULL;
}

int context_broker_add(struct context *x, int32_t id, struct ctl_broker **out)
{
    struct ctl_broker *all = realloc(x->brokers, (x->brokers_n + 1) * sizeof *all);
    size_t at = 0;

    if (all == NULL)
        return ERR_NOMEM;
    x->brokers = all;
    while (at < x->brokers_n && all[at].id < id)
        at++;
    memmove(&all[at + 1], &all[at], (x->brokers_n - at) * sizeof *all);
    x->brokers_n++;
    all[at] = (struct ctl_broker){ .id = id };
    arena_init(&all[at].arena, BROKER_MEMORY_MAX);
    *out = &all[at];
    return OK;
}

bool context_online(const struct context *x, int32_t broker)
{
    const struct ctl_broker *b = context_broker(x, broker);

    return b != NULL && b->live && !b->shutting_down;
}

bool context_live(const struct context *x, int32_t broker)
{
    const struct ctl_broker *b = context_broker(x, broker);

    return b != NULL && b->live;
}

bool *context_lost(const struct ctl_partition *p, int32_t broker)
{
    int32_t at = host_index(p, broker);

    return at >= 0 ? &p->lost[at] : NULL;
}

bool context_hosts(const struct ctl_partition *p, int32_t broker)
{
    return host_index(p, broker) >= 0;
}

bool context_replica_online(const struct context *x, const struct ctl_partition *p, int32_t broker)
{
    const bool *lost = context_lost(p, broker);

    return context_online(x, broker) && (lost == NULL || !*lost);
}

void context_clear(struct context *x)
{
    struct ctl_topic *t, *next;

    HASH_ITER(hh, x->topics, t, next)
        context_topic_drop(x, t);
    for (size_t i = 0; i < x->brokers_n; i++) {
        arena_fini(&x->brokers[i].arena);
        free(x->brokers[i].lai);
        free(x->brokers[i].stop);
    }
    free(x->brokers);
    *x = (struct context){ .topics = NULL };
}
