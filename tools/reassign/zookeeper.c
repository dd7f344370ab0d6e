/* tools/reassign/zookeeper.c - kafka-reassign-partitions.sh --zookeeper, as Kafka 2.7 has it: it reads and writes the
 * tree itself. It sees only what was asked for in /admin/reassign_partitions.
 */
#include "tools/reassign/reassign.h"

#include "tools/zk.h"

#include <stdio.h>
#include <stdlib.h>

static int zk_topics(struct rp *r, const struct topic_names *names, bool must, struct rp_parts *out)
{
    size_t n = 0;
    struct znode_topic *z = arena_array(&r->a.arena, names->n + 1, sizeof *z);

    (void)must;                                     /* 2.7 passes over topics that there are not */
    *out = (struct rp_parts){ NULL, 0 };
    if (z == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < names->n; i++) {
        int32_t version;
        int rc = zk_topic(&r->a, names->v[i], &z[i], &version);

        if (rc == ERR_NOENT)
            z[i] = (struct znode_topic){ .partitions_n = 0 };
        else if (rc != OK)
            return rc;
        n += (size_t)z[i].partitions_n;
    }
    out->v = arena_array(&r->a.arena, n + 1, sizeof *out->v);
    if (out->v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < names->n; i++)
        for (int32_t k = 0; k < z[i].partitions_n; k++)
            out->v[out->n++] = (struct rp_part){
                .topic = names->v[i], .partition = z[i].partitions[k].index,
                .replicas = { z[i].partitions[k].replicas.v, z[i].partitions[k].replicas.n } };
    return OK;
}

static int zk_moving(struct rp *r, struct rp_parts *out)
{
    struct znode_list l = { NULL, 0 };
    struct bytes value;
    int32_t version;
    int rc = zk_get(&r->a, ZK_REASSIGN, &value, &version);

    if (rc == OK && znode_reassign_read(value, &r->a.arena, &l) != OK)
        l.n = 0;
    else if (rc != OK && rc != ERR_NOENT)
        return rc;
    *out = (struct rp_parts){ arena_array(&r->a.arena, l.n + 1, sizeof *out->v), l.n };
    if (out->v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < l.n; i++)
        out->v[i] = (struct rp_part){ .topic = l.v[i].topic, .partition = l.v[i].partition,
                                      .replicas = { l.v[i].replicas.v, l.v[i].replicas.n } };
    rp_sort(out);
    return OK;
}

static int zk_live(struct rp *r, struct rp_broker **out, size_t *n)
{
    struct zk_broker *v;

    TRY(zk_brokers(&r->a, &v, n));
    *out = arena_array(&r->a.arena, *n + 1, sizeof **out);
    if (*out == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < *n; i++)
        (*out)[i] = (struct rp_broker){ v[i].id, v[i].info.rack };
    return OK;
}

/* ---- settings ---- */

/* Puts in, or takes out. true: something is different now. */
static bool change(struct znode_config *c, const struct rp_setting *s)
{
    size_t at = 0;

    while (at < c->n && strcmp(c->pairs[at].name, s->key) != 0)
        at++;
    if (s->value == NULL && at == c->n)
        return false;
    if (s->value == NULL) {
        memmove(&c->pairs[at], &c->pairs[at + 1], (c->n - at - 1) * sizeof *c->pairs);
        c->n--;
        return true;
    }
    if (at < c->n && strcmp(c->pairs[at].value, s->value) == 0)
        return false;
    c->pairs[at] = (struct znode_pair){ s->key, s->value };
    if (at == c->n)
        c->n++;
    return true;
}

static int zk_settings(struct rp *r, const struct rp_setting *v, size_t n)
{
    for (size_t i = 0, k; i < n; i = k) {
        const char *entity = arena_printf(&r->a.arena, "%s/%.*s", v[i].topic ? "topics" : "brokers",
                                          STR_ARG(v[i].name));
        struct znode_config old, c;
        bool changed = false;

        if (entity == NULL)
            return rp_no_memory(r);
        TRY(zk_config(&r->a, entity, &old));
        c = (struct znode_config){ arena_array(&r->a.arena, old.n + n + 1, sizeof *c.pairs), old.n };
        if (c.pairs == NULL)
            return rp_no_memory(r);
        if (old.n > 0)
            memcpy(c.pairs, old.pairs, old.n * sizeof *c.pairs);
        for (k = i; k < n && str_eq(v[k].name, v[i].name); k++)
            changed |= change(&c, &v[k]);
        if (changed)
            TRY(zk_config_change(&r->a, entity, &c));
    }
    return OK;
}

const struct rp_backend rp_by_zookeeper = { true, zk_topics, zk_moving, zk_live, zk_settings };

/* ---- /admin/reassign_partitions ---- */

int rp_zk_check(struct rp *r, const struct rp_parts *want, const struct rp_parts *now)
{
    struct rp_broker *live;
    size_t n;

    for (size_t i = 0; i < want->n; i++)
        if (rp_find(now, want->v[i].topic, want->v[i].partition) == NULL)
            return admin_fail(&r->a, ERR_NOENT, "The proposed assignment contains non-existent partitions: "
                              "List(%.*s-%d)", STR_ARG(want->v[i].topic), want->v[i].partition);
    TRY(zk_live(r, &live, &n));
    for (size_t i = 0; i < want->n; i++)
        for (int32_t k = 0; k < want->v[i].replicas.n; k++) {
            size_t b = 0;

            while (b < n && live[b].id != want->v[i].replicas.v[k])
                b++;
            if (b == n)
                return admin_fail(&r->a, ERR_NOENT, "The proposed assignment contains non-existent brokerIDs: %d",
                                  want->v[i].replicas.v[k]);
        }
    return OK;
}

int rp_zk_running(struct rp *r, bool *yes)
{
    return zk_exists(&r->a, ZK_REASSIGN, yes);
}

int rp_zk_write(struct rp *r, const struct rp_parts *want)
{
    struct znode_list l = { arena_array(&r->a.arena, want->n + 1, sizeof *l.v), want->n };
    char *text;
    int rc;

    if (l.v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < want->n; i++)
        l.v[i] = (struct znode_named){ want->v[i].topic, want->v[i].partition,
                                       { want->v[i].replicas.v, want->v[i].replicas.n } };
    text = znode_reassign_write(&l);
    if (text == NULL)
        return rp_no_memory(r);
    rc = zk_create(&r->a, ZK_REASSIGN, text);
    free(text);
    if (rc == ERR_EXISTS)
        return admin_fail(&r->a, rc, "KeeperErrorCode = NodeExists for " ZK_REASSIGN);
    return rc;
}
