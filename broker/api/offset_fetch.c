/* broker/api/offset_fetch.c - OffsetFetch: what groups have committed, of named partitions or of all; version 0 reads
 * the metadata store.
 *
 * Works on the form of version 8, which has groups; older requests are one group, and their answers are put back into
 * the older form. A group's own error has no topics beside it, which in versions 0 and 1 leaves nothing to carry it:
 * so it is with Apache Kafka 3.9.
 */
#include "broker/api/asked.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/api/stored_offsets.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "proto/gen/offset_fetch_request.h"
#include "proto/gen/offset_fetch_response.h"
#include "proto/kerr.h"

#include <stddef.h>

#define group_in   offset_fetch_request_offset_fetch_request_group
#define topic_in   offset_fetch_request_offset_fetch_request_topics
#define old_topic_in  offset_fetch_request_offset_fetch_request_topic
#define group_out  offset_fetch_response_offset_fetch_response_group
#define topic_out  offset_fetch_response_offset_fetch_response_topics
#define part_out   offset_fetch_response_offset_fetch_response_partitions
#define old_topic_out offset_fetch_response_offset_fetch_response_topic
#define old_part_out  offset_fetch_response_offset_fetch_response_partition

enum { FIRST_WITH_GROUPS = 8 };

static struct part_out part_none(int32_t partition, int16_t kerr)
{
    return (struct part_out){ .partition_index = partition, .committed_offset = -1, .committed_leader_epoch = -1,
                              .metadata = { "", 0 }, .error_code = kerr };
}

static struct part_out part_of(int32_t partition, const struct committed *c)
{
    return (struct part_out){ .partition_index = partition, .committed_offset = c->offset,
                              .committed_leader_epoch = c->leader_epoch, .metadata = c->metadata };
}

/* ---- what is asked ---------------------------------------------------------------------------------------------- */

/* One group's request, each partition once; topics and part[] are the answer's, to be filled in. */
struct fetch {
    struct arena           *a;
    const struct topic_in  *topics;
    struct asked_partition *asked;
    size_t                  n;
    struct topic_out       *out;
    int32_t                 out_n;
    struct part_out       **part;       /* one for each of asked; NULL: it is asked again */
};

static int ask(struct fetch *f, const struct group_in *in)
{
    struct str *names = arena_array(f->a, (size_t)in->topics_n + 1, sizeof *names);
    int32_t *at = arena_array(f->a, (size_t)in->topics_n + 1, sizeof *at);
    size_t n = 0;

    if (names == NULL || at == NULL)
        return ERR_NOMEM;
    f->topics = in->topics;
    for (int32_t i = 0; i < in->topics_n; i++) {
        names[i] = in->topics[i].name;
        n += (size_t)in->topics[i].partition_indexes_n;
    }
    f->asked = arena_array(f->a, n + 1, sizeof *f->asked);
    f->part = arena_array(f->a, n + 1, sizeof(struct part_out *));
    if (f->asked == NULL || f->part == NULL)
        return ERR_NOMEM;
    TRY(asked_topics(f->a, names, in->topics_n, at));
    for (int32_t i = 0; i < in->topics_n; i++)
        for (int32_t k = 0; k < in->topics[i].partition_indexes_n; k++)
            f->asked[f->n++] = (struct asked_partition){ at[i], in->topics[i].partition_indexes[k], false };
    return asked_repeats(f->a, f->asked, f->n);
}

/* The answer's topics, with room for their partitions. */
static int lay_out(struct fetch *f, int32_t topics_n)
{
    int32_t *count = arena_array(f->a, (size_t)topics_n + 1, sizeof *count);
    struct topic_out **of = arena_array(f->a, (size_t)topics_n + 1, sizeof(struct topic_out *));
    struct part_out *parts = arena_array(f->a, f->n + 1, sizeof *parts);

    f->out = arena_array(f->a, (size_t)topics_n + 1, sizeof *f->out);
    if (count == NULL || of == NULL || parts == NULL || f->out == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->n; i++)
        count[f->asked[i].topic] += !f->asked[i].again;
    for (int32_t i = 0; i < topics_n; i++)
        if (count[i] > 0) {
            of[i] = &f->out[f->out_n++];
            of[i]->name = f->topics[i].name;
            of[i]->partitions = parts;
            parts += count[i];
        }
    for (size_t i = 0; i < f->n; i++)
        if (!f->asked[i].again) {
            struct topic_out *t = of[f->asked[i].topic];

            f->part[i] = &t->partitions[t->partitions_n++];
        }
    return OK;
}

/* ---- out of the group ------------------------------------------------------------------------------------------- */

/* o == NULL: there is no such group. */
static int fetch_named(struct fetch *f, const struct group_offsets *o, bool stable)
{
    for (size_t i = 0; i < f->n; i++) {
        struct str topic = f->topics[f->asked[i].topic].name;
        int32_t partition = f->asked[i].partition;
        struct committed c;

        if (f->part[i] == NULL)
            continue;
        if (o != NULL && stable && group_offsets_is_pending(o, topic, partition)) {
            *f->part[i] = part_none(partition, KERR_UNSTABLE_OFFSET_COMMIT);
        } else if (o != NULL && group_offsets_get(o, topic, partition, &c)) {
            TRY(arena_str(f->a, c.metadata, &c.metadata));
            *f->part[i] = part_of(partition, &c);
        } else {
            *f->part[i] = part_none(partition, KERR_NONE);
        }
    }
    return OK;
}

static int fetch_all(struct fetch *f, const struct group_offsets *o, bool stable)
{
    struct offsets_of_topic *v = NULL;
    size_t n = 0;

    if (o != NULL)
        TRY(group_offsets_copy(o, f->a, &v, &n));
    f->out = arena_array(f->a, n + 1, sizeof *f->out);
    if (f->out == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct topic_out *t = &f->out[f->out_n++];

        t->name = v[i].name;
        t->partitions = arena_array(f->a, v[i].n, sizeof *t->partitions);
        if (t->partitions == NULL)
            return ERR_NOMEM;
        for (size_t k = 0; k < v[i].n; k++) {
            const struct offsets_of_partition *p = &v[i].v[k];

            t->partitions[t->partitions_n++] = stable && p->pending
                ? part_none(p->partition, KERR_UNSTABLE_OFFSET_COMMIT) : part_of(p->partition, &p->c);
        }
    }
    return OK;
}

static int fetch_group(struct broker *b, struct arena *a, const struct group_in *in, bool stable, struct group_out *out)
{
    struct fetch f = { .a = a };
    struct group_session s;
    int rc = OK;

    out->group_id = in->group_id;
    if (in->topics_n >= 0) {
        TRY(ask(&f, in));
        TRY(lay_out(&f, in->topics_n));
    }
    out->error_code = groups_enter(b->groups, in->group_id, GROUPS_EXISTING, &s);
    if (out->error_code == KERR_NONE) {
        const struct group_offsets *o = s.g != NULL ? s.g->offsets : NULL;

        rc = in->topics_n >= 0 ? fetch_named(&f, o, stable) : fetch_all(&f, o, stable);
        groups_leave(&s);
        out->topics = f.out;
        out->topics_n = f.out_n;
    }
    return rc;
}

/* ---- the older form --------------------------------------------------------------------------------------------- */

static int old_request(struct arena *a, const struct offset_fetch_request *in, struct group_in *out)
{
    *out = (struct group_in){ .group_id = in->group_id, .topics_n = in->topics_n };
    if (in->topics_n < 0)
        return OK;                      /* null: all of them */
    out->topics = arena_array(a, (size_t)in->topics_n + 1, sizeof *out->topics);
    if (out->topics == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < in->topics_n; i++) {
        const struct old_topic_in *t = &in->topics[i];

        out->topics[i] = (struct topic_in){ .name = t->name, .partition_indexes = t->partition_indexes,
                                            .partition_indexes_n = t->partition_indexes_n };
    }
    return OK;
}

static int old_answer(struct arena *a, const struct group_out *in, struct offset_fetch_response *out)
{
    out->error_code = in->error_code;
    out->topics = arena_array(a, (size_t)in->topics_n + 1, sizeof *out->topics);
    if (out->topics == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < in->topics_n; i++) {
        struct old_topic_out *t = &out->topics[out->topics_n++];

        t->name = in->topics[i].name;
        t->partitions = arena_array(a, (size_t)in->topics[i].partitions_n + 1, sizeof *t->partitions);
        if (t->partitions == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < in->topics[i].partitions_n; k++) {
            const struct part_out *p = &in->topics[i].partitions[k];

            t->partitions[t->partitions_n++] = (struct old_part_out){
                .partition_index = p->partition_index, .committed_offset = p->committed_offset,
                .committed_leader_epoch = p->committed_leader_epoch, .metadata = p->metadata,
                .error_code = p->error_code,
            };
        }
    }
    return OK;
}

/* ---- out of the store ------------------------------------------------------------------------------------------- */

struct stored_fetch {
    struct stored_offsets stored;       /* first */
    struct group_out      out;
    struct part_out     **part;         /* one for each of stored.v */
};

static void answer_one(struct request *r, const struct group_out *g)
{
    struct offset_fetch_response out;

    offset_fetch_response_init(&out);
    if (old_answer(&r->arena, g, &out) == OK)
        API_REPLY(r, offset_fetch_response, &out);
    else
        request_close(r, "out of memory");
}

static void fetch_stored(struct broker *b, struct request *r)
{
    struct stored_fetch *sf = r->state;

    (void)b;
    for (size_t i = 0; i < sf->stored.n; i++) {
        const struct stored_offset *v = &sf->stored.v[i];

        if (v->error != KERR_NONE || v->rc != OK)
            *sf->part[i] = part_none(v->partition, v->error != KERR_NONE ? v->error
                                                                         : KERR_UNKNOWN_TOPIC_OR_PARTITION);
        else
            *sf->part[i] = part_of(v->partition, &(struct committed){ .offset = v->offset, .leader_epoch = -1,
                                                                      .metadata = { "", 0 } });
    }
    answer_one(r, &sf->out);
}

static int fetch_from_store(struct broker *b, struct request *r, const struct group_in *in, struct stored_fetch *sf)
{
    struct fetch f = { .a = &r->arena };
    struct metadata *md;

    TRY(ask(&f, in));
    TRY(lay_out(&f, in->topics_n));
    sf->stored = (struct stored_offsets){ .b = b, .r = r, .group = in->group_id, .then = fetch_stored };
    sf->stored.v = arena_array(&r->arena, f.n + 1, sizeof *sf->stored.v);
    sf->part = arena_array(&r->arena, f.n + 1, sizeof(struct part_out *));
    sf->out = (struct group_out){ .topics = f.out, .topics_n = f.out_n };
    if (sf->stored.v == NULL || sf->part == NULL)
        return ERR_NOMEM;
    md = metadata_get(b->metacache);
    for (size_t i = 0; i < f.n; i++) {
        struct str topic = f.topics[f.asked[i].topic].name;
        int32_t partition = f.asked[i].partition;
        const struct metadata_topic *t = metadata_topic(md, topic);

        if (f.part[i] == NULL)
            continue;
        *f.part[i] = part_none(partition, KERR_UNKNOWN_TOPIC_OR_PARTITION);
        if (t == NULL || metadata_partition(t, partition) == NULL)
            continue;
        sf->part[sf->stored.n] = f.part[i];
        sf->stored.v[sf->stored.n++] = (struct stored_offset){ .topic = topic, .partition = partition };
    }
    metadata_put(&md);
    return OK;
}

/* ---- handler ---------------------------------------------------------------------------------------------------- */

static void fetch_v0(struct broker *b, struct request *r, const struct group_in *in)
{
    struct stored_fetch *sf = arena_zalloc(&r->arena, sizeof *sf);

    if (sf == NULL || fetch_from_store(b, r, in, sf) != OK) {
        request_close(r, "out of memory");
        return;
    }
    r->state = sf;
    stored_offsets_get(&sf->stored);
}

static int fetch_groups(struct broker *b, struct request *r, const struct offset_fetch_request *in,
                        struct offset_fetch_response *out)
{
    out->groups = arena_array(&r->arena, (size_t)in->groups_n + 1, sizeof *out->groups);
    if (out->groups == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < in->groups_n; i++)
        TRY(fetch_group(b, &r->arena, &in->groups[i], in->require_stable, &out->groups[out->groups_n++]));
    return OK;
}

void api_offset_fetch(struct broker *b, struct request *r)
{
    struct offset_fetch_request in;
    struct offset_fetch_response out;
    struct group_in old;
    struct group_out answer = { .error_code = KERR_NONE };
    int rc;

    if (!API_READ(r, offset_fetch_request, &in))
        return;
    offset_fetch_response_init(&out);
    rc = r->version < FIRST_WITH_GROUPS ? old_request(&r->arena, &in, &old) : fetch_groups(b, r, &in, &out);
    if (rc == OK && r->version == 0) {
        fetch_v0(b, r, &old);
        return;
    }
    if (rc == OK && r->version < FIRST_WITH_GROUPS)
        rc = fetch_group(b, &r->arena, &old, in.require_stable, &answer);
    if (rc != OK)
        request_close(r, "out of memory");
    else if (r->version < FIRST_WITH_GROUPS)
        answer_one(r, &answer);
    else
        API_REPLY(r, offset_fetch_response, &out);
}
