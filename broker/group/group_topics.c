/* broker/group/group_topics.c - which topics the members of a consumer group subscribe to, as far as a broker can read
 * it: the metadata of protocol type "consumer" begins, in all its versions, with the version and a list of topics.
 *
 * What was read is kept until members or their metadata change.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_private.h"

#include "base/log.h"
#include "proto/gen/consumer_protocol_subscription.h"

#include <stdlib.h>

#define SUBSCRIPTION_ARENA_BYTES (64U << 20)

void topics_forget(struct group_rebalance *r)
{
    struct subscribed *t, *next;

    HASH_ITER(hh, r->topics, t, next) {
        HASH_DELETE(hh, r->topics, t);
        free(t);
    }
    r->known = TOPICS_STALE;
}

static int add_topic(struct group_rebalance *r, struct str name)
{
    struct subscribed *t = NULL;

    HASH_FIND(hh, r->topics, name.p, (unsigned)name.len, t);
    if (t != NULL)
        return OK;
    t = calloc(1, sizeof *t + name.len + 1);
    if (t == NULL)
        return ERR_NOMEM;
    memcpy(t->name, name.p, name.len);
    HASH_ADD_KEYPTR(hh, r->topics, t->name, (unsigned)name.len, t);
    if (t->hh.tbl == NULL) {
        free(t);
        return ERR_NOMEM;
    }
    return OK;
}

static int read_member(struct group_rebalance *r, struct bytes metadata, struct arena *a)
{
    struct consumer_protocol_subscription s;
    struct cursor c = cur_ro(metadata.p, metadata.len);
    int16_t version = cur_i16(&c);

    if (c.rc != OK || version < 0)
        return ERR_CORRUPT;
    TRY(consumer_protocol_subscription_read(&c, 0, a, &s));
    for (int32_t i = 0; i < s.topics_n; i++)
        TRY(add_topic(r, s.topics[i]));
    return OK;
}

static int read_members(const struct group *g, struct arena *a)
{
    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        struct bytes metadata;

        if (!protocols_metadata(m->protocols, g->protocol, &metadata))
            return ERR_NOENT;           /* new, and does not know the protocol that was chosen before it came */
        TRY(read_member(g->rebalance, metadata, a));
        arena_reset(a);
    }
    return OK;
}

static void read_topics(const struct group *g)
{
    struct group_rebalance *r = g->rebalance;
    struct arena a;
    int rc = ERR_NOENT;

    topics_forget(r);
    arena_init(&a, SUBSCRIPTION_ARENA_BYTES);
    if (g->members_n == 0)
        rc = OK;
    else if (g->protocol.p != NULL)
        rc = read_members(g, &a);
    arena_fini(&a);
    if (rc != OK && rc != ERR_NOENT)
        log_some(LOG_WARN,
                 "group %.*s: a member's metadata for %.*s cannot be read (%s); all topics count as subscribed",
                 STR_ARG(g->id), STR_ARG(g->protocol), err_text(rc));
    r->known = rc == OK ? TOPICS_KNOWN : TOPICS_UNREADABLE;
}

enum group_subscribes group_subscribes(const struct group *g, struct str topic)
{
    struct group_rebalance *r = g->rebalance;
    struct subscribed *t = NULL;

    lock_assert(&g->lock);
    if (!str_is(g->protocol_type, "consumer"))
        return GROUP_SUBSCRIBES_UNKNOWN;
    if (r->known == TOPICS_STALE)
        read_topics(g);
    if (r->known == TOPICS_UNREADABLE)
        return GROUP_SUBSCRIBES_UNKNOWN;
    HASH_FIND(hh, r->topics, topic.p, (unsigned)topic.len, t);
    return t != NULL ? GROUP_SUBSCRIBES_YES : GROUP_SUBSCRIBES_NO;
}
