/* tools/reassign/throttles.c - how fast replicas may move: settings of the topics and brokers that take part. */
#include "tools/reassign/reassign.h"

#include <stdio.h>
#include <stdlib.h>

#define LEADER_RATE       "leader.replication.throttled.rate"
#define FOLLOWER_RATE     "follower.replication.throttled.rate"
#define DIR_RATE          "replica.alter.log.dirs.io.max.bytes.per.second"
#define LEADER_REPLICAS   "leader.replication.throttled.replicas"
#define FOLLOWER_REPLICAS "follower.replication.throttled.replicas"

static int by_id(const void *pa, const void *pb)
{
    int32_t x = *(const int32_t *)pa, y = *(const int32_t *)pb;

    return (x > y) - (x < y);
}

/* Sorted, each once. */
static void settle(struct rp_ids *ids)
{
    int32_t n = 0;

    if (ids->n > 1)
        qsort(ids->v, (size_t)ids->n, sizeof *ids->v, by_id);
    for (int32_t i = 0; i < ids->n; i++)
        if (i == 0 || ids->v[i] != ids->v[n - 1])
            ids->v[n++] = ids->v[i];
    ids->n = n;
}

static int add_ids(struct rp *r, struct rp_ids *to, const struct rp_ids *more)
{
    int32_t *v = arena_array(&r->a.arena, (size_t)to->n + (size_t)more->n + 1, sizeof *v);

    if (v == NULL)
        return rp_no_memory(r);
    if (to->n > 0)
        memcpy(v, to->v, (size_t)to->n * sizeof *v);
    if (more->n > 0)
        memcpy(v + to->n, more->v, (size_t)more->n * sizeof *v);
    *to = (struct rp_ids){ v, to->n + more->n };
    settle(to);
    return OK;
}

/* ---- who copies what from where ---- */

struct copy_of {
    struct str    topic;
    int32_t       partition;
    struct rp_ids from, to;
};

static int minus(struct rp *r, const struct rp_ids *a, const struct rp_ids *b, struct rp_ids *out)
{
    *out = (struct rp_ids){ arena_array(&r->a.arena, (size_t)a->n + 1, sizeof(int32_t)), 0 };
    if (out->v == NULL)
        return rp_no_memory(r);
    for (int32_t i = 0; i < a->n; i++)
        if (!rp_has(b, a->v[i]))
            out->v[out->n++] = a->v[i];
    return OK;
}

/* What moves already, and what shall; of a partition that is in both, the sources of the one that runs. */
static int copies(struct rp *r, const struct rp_parts *moving, const struct rp_parts *want, const struct rp_parts *now,
                  struct copy_of **out, size_t *n)
{
    struct copy_of *v = arena_array(&r->a.arena, moving->n + want->n + 1, sizeof *v);

    *n = 0;
    *out = v;
    if (v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < moving->n; i++) {
        const struct rp_part *p = &moving->v[i];
        const struct rp_part *w = rp_find(want, p->topic, p->partition);

        v[*n] = (struct copy_of){ .topic = p->topic, .partition = p->partition, .to = p->adding };
        TRY(minus(r, &p->replicas, &p->adding, &v[*n].from));
        if (w != NULL)
            TRY(minus(r, &w->replicas, &v[*n].from, &v[*n].to));
        (*n)++;
    }
    for (size_t i = 0; i < want->n; i++) {
        const struct rp_part *w = &want->v[i], *p = rp_find(now, w->topic, w->partition);

        if (rp_find(moving, w->topic, w->partition) != NULL || p == NULL)
            continue;
        v[*n] = (struct copy_of){ .topic = w->topic, .partition = w->partition, .from = p->replicas };
        TRY(minus(r, &w->replicas, &p->replicas, &v[(*n)++].to));
    }
    return OK;
}

static int by_text(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

/* "0:1,0:2,10:1": sorted as texts. */
static const char *list_of(struct rp *r, const struct copy_of *v, size_t n, struct str topic, bool from)
{
    const char **items;
    size_t total = 0, k = 0, len = 0;
    char *z;

    for (size_t i = 0; i < n; i++)
        total += (size_t)(from ? v[i].from.n : v[i].to.n);
    items = arena_array(&r->a.arena, total + 1, sizeof *items);
    for (size_t i = 0; i < n && items != NULL; i++) {
        const struct rp_ids *ids = from ? &v[i].from : &v[i].to;

        for (int32_t b = 0; b < ids->n && str_eq(v[i].topic, topic); b++)
            if ((items[k++] = arena_printf(&r->a.arena, "%d:%d", v[i].partition, ids->v[b])) == NULL)
                return NULL;
    }
    if (items == NULL)
        return NULL;
    if (k > 1)
        qsort(items, k, sizeof *items, by_text);
    for (size_t i = 0; i < k; i++)
        len += strlen(items[i]) + 1;
    z = arena_alloc(&r->a.arena, len + 1);
    if (z == NULL)
        return NULL;
    z[0] = '\0';
    for (size_t i = 0, at = 0; i < k; i++)
        at += (size_t)snprintf(z + at, len + 1 - at, "%s%s", i > 0 ? "," : "", items[i]);
    return z;
}

static struct str id_text(struct rp *r, int32_t id)
{
    return str_of(arena_printf(&r->a.arena, "%d", id));
}

static int set_topics(struct rp *r, const struct copy_of *v, size_t n)
{
    struct rp_parts parts = { arena_array(&r->a.arena, n + 1, sizeof *parts.v), n };
    struct rp_setting *s;
    struct topic_names topics;

    if (parts.v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < n; i++)
        parts.v[i].topic = v[i].topic;
    TRY(rp_topics_of(r, &parts, &topics));
    s = arena_array(&r->a.arena, topics.n * 2 + 1, sizeof *s);
    if (s == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < topics.n; i++) {
        s[2 * i] = (struct rp_setting){ true, topics.v[i], LEADER_REPLICAS, list_of(r, v, n, topics.v[i], true) };
        s[2 * i + 1] = (struct rp_setting){ true, topics.v[i], FOLLOWER_REPLICAS,
                                            list_of(r, v, n, topics.v[i], false) };
        if (s[2 * i].value == NULL || s[2 * i + 1].value == NULL)
            return rp_no_memory(r);
    }
    return r->to->set(r, s, topics.n * 2);
}

/* The same keys for every broker; value NULL: deleted. */
static int set_brokers(struct rp *r, const struct rp_ids *ids, const char *const *keys, size_t keys_n,
                       const char *value)
{
    struct rp_setting *s = arena_array(&r->a.arena, (size_t)ids->n * keys_n + 1, sizeof *s);
    size_t n = 0;

    if (s == NULL)
        return rp_no_memory(r);
    for (int32_t i = 0; i < ids->n; i++)
        for (size_t k = 0; k < keys_n; k++) {
            s[n] = (struct rp_setting){ false, id_text(r, ids->v[i]), keys[k], value };
            if (s[n++].name.p == NULL)
                return rp_no_memory(r);
        }
    return r->to->set(r, s, n);
}

int rp_throttle(struct rp *r, const struct rp_parts *moving, const struct rp_parts *want, const struct rp_parts *now,
                int64_t rate)
{
    static const char *const keys[] = { LEADER_RATE, FOLLOWER_RATE };
    const char *value = arena_printf(&r->a.arena, "%lld", (long long)rate);
    struct rp_ids brokers = { NULL, 0 };
    struct copy_of *v;
    size_t n;

    if (value == NULL)
        return rp_no_memory(r);
    TRY(copies(r, moving, want, now, &v, &n));
    TRY(set_topics(r, v, n));
    for (size_t i = 0; i < n; i++) {
        TRY(add_ids(r, &brokers, &v[i].from));
        TRY(add_ids(r, &brokers, &v[i].to));
    }
    TRY(set_brokers(r, &brokers, keys, 2, value));
    printf("The inter-broker throttle limit was set to %s B/s\n", value);
    return OK;
}

int rp_throttle_dirs(struct rp *r, const struct rp_dirs *dirs, int64_t rate)
{
    static const char *const keys[] = { DIR_RATE };
    const char *value = arena_printf(&r->a.arena, "%lld", (long long)rate);
    struct rp_ids brokers = { NULL, 0 };

    if (value == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < dirs->n; i++)
        TRY(add_ids(r, &brokers, &(struct rp_ids){ &dirs->v[i].broker, 1 }));
    TRY(set_brokers(r, &brokers, keys, 1, value));
    printf("The replica-alter-dir throttle limit was set to %s B/s\n", value);
    return OK;
}

int rp_clear_throttles(struct rp *r, const struct rp_parts *want)
{
    static const char *const keys[] = { LEADER_RATE, FOLLOWER_RATE, DIR_RATE };
    struct rp_ids brokers = { NULL, 0 };
    struct topic_names topics;
    struct rp_setting *s;
    struct rp_broker *live;
    size_t n;

    TRY(r->to->brokers(r, &live, &n));
    for (size_t i = 0; i < n; i++)
        TRY(add_ids(r, &brokers, &(struct rp_ids){ &live[i].id, 1 }));
    for (size_t i = 0; i < want->n; i++)
        TRY(add_ids(r, &brokers, &want->v[i].replicas));
    printf("Clearing broker-level throttles on broker%s ", brokers.n == 1 ? "" : "s");
    rp_print_ids(&brokers);
    putchar('\n');
    TRY(set_brokers(r, &brokers, keys, 3, NULL));

    TRY(rp_topics_of(r, want, &topics));
    TRY(rp_hash_order(r, &topics));
    printf("Clearing topic-level throttles on topic%s ", topics.n == 1 ? "" : "s");
    for (size_t i = 0; i < topics.n; i++)
        printf("%s%.*s", i > 0 ? "," : "", STR_ARG(topics.v[i]));
    putchar('\n');
    s = arena_array(&r->a.arena, topics.n * 2 + 1, sizeof *s);
    if (s == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < topics.n; i++) {
        s[2 * i] = (struct rp_setting){ true, topics.v[i], LEADER_REPLICAS, NULL };
        s[2 * i + 1] = (struct rp_setting){ true, topics.v[i], FOLLOWER_REPLICAS, NULL };
    }
    return r->to->set(r, s, topics.n * 2);
}
