/* broker/api/offset_commit.c - OffsetCommit: a group's offsets into __consumer_offsets; version 0 into the metadata
 * store.
 *
 *   partitions that are not in the metadata are answered at once;
 *   the group is asked whether this member may commit;
 *   what remains is one batch, a record for each partition, and becomes visible when that is committed;
 *   what has been deleted from the metadata meanwhile is forgotten again: whoever deletes a topic changes the metadata
 *   first and goes through the groups then, and may have passed this one before.
 *
 * Everything lies in the request's arena and body; while the write waits the request is parked.
 */
#include "broker/api/asked.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/api/stored_offsets.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/group/expiry.h"
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "broker/group/records.h"
#include "base/clock.h"
#include "config/config.h"
#include "proto/gen/offset_commit_request.h"
#include "proto/gen/offset_commit_response.h"
#include "proto/kerr.h"

#include <stddef.h>

#define topic_in  offset_commit_request_offset_commit_request_topic
#define part_in   offset_commit_request_offset_commit_request_partition
#define topic_out offset_commit_response_offset_commit_response_topic
#define part_out  offset_commit_response_offset_commit_response_partition

enum { STATIC_MEMBERS_VERSION = 3 };    /* of group metadata records: what has no static members cannot keep them */

struct commit {
    struct group_write            w;            /* first */
    struct broker                *b;
    struct request               *r;
    struct offset_commit_request  in;
    /* one for each of in.topics */
    int32_t                      *topic;        /* asked_topics() */
    bool                         *shown;        /* in the answer, even if nothing of it is asked */
    /* one for each partition of the request, in its order */
    struct asked_partition       *asked;
    const struct part_in        **part;
    int16_t                      *error;        /* not NONE: it is not written */
    size_t                        n, known;     /* known: those that exist */
    int64_t                       now_ms;
    uint64_t                      ticket;       /* of group_offsets_begin(); 0: there is none */
    bool                          ended;
    atomic_int                    holds;        /* the handler's and the write's; the last one answers */
    int16_t                       kerr;         /* of the write, for all that had no error before */
    struct stored_offsets         stored;
};

/* ---- answering -------------------------------------------------------------------------------------------------- */

static bool is_answered(const struct commit *c, size_t i)
{
    return c->error[i] == KERR_UNKNOWN_TOPIC_OR_PARTITION || !c->asked[i].again;
}

/* A topic that is named twice is answered once. */
static int answer(const struct commit *c, struct arena *a, struct offset_commit_response *out)
{
    struct part_out *parts = arena_array(a, c->n + 1, sizeof *parts);
    struct topic_out **of = arena_array(a, (size_t)c->in.topics_n + 1, sizeof(struct topic_out *));
    int32_t *count = arena_array(a, (size_t)c->in.topics_n + 1, sizeof *count);

    out->topics = arena_array(a, (size_t)c->in.topics_n + 1, sizeof *out->topics);
    if (parts == NULL || of == NULL || count == NULL || out->topics == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->n; i++)
        count[c->asked[i].topic] += is_answered(c, i);
    for (int32_t i = 0; i < c->in.topics_n; i++)
        if (c->shown[i] || count[i] > 0) {
            of[i] = &out->topics[out->topics_n++];
            of[i]->name = c->in.topics[i].name;
            of[i]->partitions = parts;
            parts += count[i];
        }
    for (size_t i = 0; i < c->n; i++)
        if (is_answered(c, i)) {
            struct topic_out *t = of[c->asked[i].topic];

            t->partitions[t->partitions_n++] = (struct part_out){
                .partition_index = c->asked[i].partition,
                .error_code = c->error[i] != KERR_NONE ? c->error[i] : c->kerr,
            };
        }
    return OK;
}

static void commit_reply(struct commit *c)
{
    struct offset_commit_response out;

    offset_commit_response_init(&out);
    if (answer(c, &c->r->arena, &out) == OK)
        API_REPLY(c->r, offset_commit_response, &out);
    else
        request_close(c->r, "out of memory");
}

/* ---- what is asked ---------------------------------------------------------------------------------------------- */

static int ask_topics(struct commit *c, struct arena *a)
{
    struct str *names = arena_array(a, (size_t)c->in.topics_n + 1, sizeof *names);
    size_t n = 0;

    c->topic = arena_array(a, (size_t)c->in.topics_n + 1, sizeof *c->topic);
    c->shown = arena_array(a, (size_t)c->in.topics_n + 1, sizeof *c->shown);
    if (names == NULL || c->topic == NULL || c->shown == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < c->in.topics_n; i++) {
        names[i] = c->in.topics[i].name;
        n += (size_t)c->in.topics[i].partitions_n;
    }
    c->asked = arena_array(a, n + 1, sizeof *c->asked);
    c->part = arena_array(a, n + 1, sizeof(const struct part_in *));
    c->error = arena_array(a, n + 1, sizeof *c->error);
    if (c->asked == NULL || c->part == NULL || c->error == NULL)
        return ERR_NOMEM;
    return asked_topics(a, names, c->in.topics_n, c->topic);
}

/* Fills the arrays, and finds out what exists. */
static int ask(struct commit *c, const struct metadata *md)
{
    struct arena *a = &c->r->arena;

    TRY(ask_topics(c, a));
    for (int32_t i = 0; i < c->in.topics_n; i++) {
        const struct topic_in *in = &c->in.topics[i];
        const struct metadata_topic *t = metadata_topic(md, in->name);

        c->shown[c->topic[i]] |= t == NULL;
        for (int32_t k = 0; k < in->partitions_n; k++, c->n++) {
            bool there = t != NULL && metadata_partition(t, in->partitions[k].partition_index) != NULL;

            c->asked[c->n] = (struct asked_partition){ c->topic[i], in->partitions[k].partition_index, false };
            c->part[c->n] = &in->partitions[k];
            c->error[c->n] = there ? KERR_NONE : KERR_UNKNOWN_TOPIC_OR_PARTITION;
            c->known += there;
        }
    }
    return c->r->version > 0 ? asked_repeats(a, c->asked, c->n) : OK;
}

/* Java counts UTF-16 units. */
static bool metadata_fits(const struct commit *c, struct str text)
{
    size_t units = text.len, max = c->b->cfg->offset_metadata_max_bytes > 0
                                   ? (size_t)c->b->cfg->offset_metadata_max_bytes : 0;

    if (units <= max)
        return true;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t b = (uint8_t)text.p[i];

        units -= (b & 0xc0) == 0x80;    /* not the first byte of its character */
        units += b >= 0xf0;             /* a pair of surrogates */
    }
    return units <= max;
}

/* Gives each partition that is to be written its last check; how many are left. */
static size_t check_metadata(struct commit *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (c->error[i] == KERR_NONE && !c->asked[i].again && !metadata_fits(c, c->part[i]->committed_metadata))
            c->error[i] = KERR_OFFSET_METADATA_TOO_LARGE;
        n += c->error[i] == KERR_NONE && !c->asked[i].again;
    }
    return n;
}

/* ---- into the log ----------------------------------------------------------------------------------------------- */

static bool is_written(const struct commit *c, size_t i)
{
    return c->error[i] == KERR_NONE && !c->asked[i].again;
}

static struct str topic_of(const struct commit *c, size_t i)
{
    return c->in.topics[c->asked[i].topic].name;
}

static struct committed value_of(const struct commit *c, size_t i)
{
    const struct part_in *p = c->part[i];
    struct committed v = { .offset = p->committed_offset, .commit_ms = c->now_ms, .expire_ms = -1, .log_offset = -1,
                           .leader_epoch = p->committed_leader_epoch, .metadata = p->committed_metadata };

    if (p->commit_timestamp != -1)
        v.commit_ms = p->commit_timestamp;
    if (c->in.retention_time_ms != -1)  /* wraps around as Java's sum does */
        v.expire_ms = (int64_t)((uint64_t)c->now_ms + (uint64_t)c->in.retention_time_ms);
    if (v.metadata.p == NULL)
        v.metadata = STR_LIT("");
    return v;
}

static int16_t visible(const struct commit *c, struct group_offsets *o, int64_t log_offset)
{
    int rc = OK;

    for (size_t i = 0; i < c->n && rc == OK; i++) {
        struct committed v;

        if (!is_written(c, i))
            continue;
        v = value_of(c, i);
        v.log_offset = log_offset;
        rc = c->ticket != 0 ? group_offsets_land(o, topic_of(c, i), c->asked[i].partition, &v, c->ticket)
                            : group_offsets_put(o, topic_of(c, i), c->asked[i].partition, &v);
    }
    return rc == OK ? KERR_NONE : KERR_UNKNOWN_SERVER_ERROR;
}

static void abandon(const struct commit *c, struct group_offsets *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_written(c, i))
            group_offsets_abandon(o, topic_of(c, i), c->asked[i].partition);
}

static void release(struct commit *c)
{
    if (atomic_fetch_sub_explicit(&c->holds, 1, memory_order_acq_rel) == 1)
        commit_reply(c);
}

/* With the group locked, perhaps while groups_write() still runs. */
static void written(struct group_write *w, struct group *g, int16_t kerr, int64_t base_offset)
{
    struct commit *c = (struct commit *)w;

    c->kerr = record_error(RECORD_OFFSET, kerr);
    if (g->state != GROUP_DEAD && kerr == KERR_NONE)
        c->kerr = visible(c, g->offsets, base_offset);
    else if (g->state != GROUP_DEAD && c->ticket != 0)
        abandon(c, g->offsets, c->n);
    c->ended = true;
    release(c);
}

/* The write waits: until it ends, what it changes is unstable. All of it began under one lock, so one ticket does. */
static void wait_for_it(struct commit *c, struct group_offsets *o)
{
    int rc = OK;

    for (size_t i = 0; i < c->n; i++) {
        if (!is_written(c, i))
            continue;
        rc = group_offsets_begin(o, topic_of(c, i), c->asked[i].partition, &c->ticket);
        if (rc != OK) {                 /* so it does without */
            abandon(c, o, i);
            c->ticket = 0;
            break;
        }
    }
}

static int16_t write_records(struct commit *c, struct group_session *s)
{
    size_t n = check_metadata(c), at = 0;
    struct group_record *v;
    int16_t kerr;
    int rc = OK;

    if (n == 0)
        return KERR_NONE;
    v = arena_array(&c->r->arena, n, sizeof *v);
    if (v == NULL)
        return KERR_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; i < c->n && rc == OK; i++) {
        struct committed value;

        if (!is_written(c, i))
            continue;
        value = value_of(c, i);
        rc = offset_record(groups_versions(s->gs), &c->r->arena, c->in.group_id, topic_of(c, i),
                           c->asked[i].partition, &value, &v[at++]);
    }
    if (rc != OK)
        return KERR_UNKNOWN_SERVER_ERROR;
    c->w.done = written;
    atomic_fetch_add_explicit(&c->holds, 1, memory_order_relaxed);
    kerr = groups_write(s, v, n, c->b->cfg->offsets_commit_required_acks, &c->w);
    if (kerr != KERR_NONE)
        atomic_fetch_sub_explicit(&c->holds, 1, memory_order_relaxed);
    else if (!c->ended)
        wait_for_it(c, s->g->offsets);
    return record_error(RECORD_OFFSET, kerr);
}

/* What was deleted since the partitions were looked up in `before`. */
static void forget_deleted(struct commit *c, const struct metadata *before)
{
    struct metadata *md = metadata_get(c->b->metacache);
    struct offset_key *v = md != before ? arena_array(&c->r->arena, c->n + 1, sizeof *v) : NULL;
    struct group_session s;
    size_t n = 0;

    for (size_t i = 0; i < c->n && v != NULL; i++) {
        const struct metadata_topic *t = is_written(c, i) ? metadata_topic(md, topic_of(c, i)) : NULL;

        if (is_written(c, i) && (t == NULL || metadata_partition(t, c->asked[i].partition) == NULL))
            v[n++] = (struct offset_key){ topic_of(c, i), c->asked[i].partition };
    }
    metadata_put(&md);
    if (n > 0 && groups_enter(c->b->groups, c->in.group_id, GROUPS_EXISTING, &s) == KERR_NONE) {
        if (s.g != NULL)
            group_forget(&s, v, n);
        groups_leave(&s);
    }
}

static void commit_to_group(struct commit *c, const struct metadata *md)
{
    const struct offset_commit_request *in = &c->in;
    int32_t generation = in->generation_id_or_member_epoch;
    struct group_session s;
    int16_t kerr = groups_enter(c->b->groups, in->group_id, generation < 0 ? GROUPS_OR_NEW : GROUPS_EXISTING, &s);

    atomic_init(&c->holds, 1);
    if (kerr == KERR_NONE && s.g == NULL)
        kerr = KERR_ILLEGAL_GENERATION;
    if (kerr == KERR_NONE)
        kerr = group_may_commit(s.g, in->member_id, in->group_instance_id, generation, false, mono_ms());
    if (kerr == KERR_NONE)
        kerr = write_records(c, &s);
    if (kerr != KERR_NONE)
        c->kerr = kerr;
    groups_leave(&s);
    forget_deleted(c, md);
    release(c);
}

/* ---- into the store --------------------------------------------------------------------------------------------- */

static void commit_stored(struct broker *b, struct request *r)
{
    struct commit *c = (struct commit *)((char *)r->state - offsetof(struct commit, stored));
    size_t at = 0;

    (void)b;
    for (size_t i = 0; i < c->n; i++)
        if (c->error[i] == KERR_NONE)
            c->error[i] = c->stored.v[at++].error;
    commit_reply(c);
}

static void commit_to_store(struct commit *c)
{
    struct stored_offsets *s = &c->stored;
    size_t n = check_metadata(c);

    s->b = c->b;
    s->r = c->r;
    s->group = c->in.group_id;
    s->then = commit_stored;
    s->v = arena_array(&c->r->arena, n + 1, sizeof *s->v);
    if (s->v == NULL) {
        request_close(c->r, "out of memory");
        return;
    }
    for (size_t i = 0; i < c->n; i++)
        if (c->error[i] == KERR_NONE)
            s->v[s->n++] = (struct stored_offset){ .topic = topic_of(c, i), .partition = c->asked[i].partition,
                                                   .offset = c->part[i]->committed_offset };
    c->r->state = s;
    stored_offsets_put(s);
}

static void refuse_all(struct commit *c, int16_t kerr)
{
    for (size_t i = 0; i < c->n; i++)
        c->error[i] = kerr;
    commit_reply(c);
}

void api_offset_commit(struct broker *b, struct request *r)
{
    struct commit *c = arena_zalloc(&r->arena, sizeof *c);
    struct metadata *md;

    if (c == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, offset_commit_request, &c->in))
        return;
    c->b = b;
    c->r = r;
    c->now_ms = wall_ms();
    md = metadata_get(b->metacache);
    if (ask(c, md) != OK)
        request_close(r, "out of memory");
    else if (c->in.group_instance_id.p != NULL && groups_versions(b->groups)->group < STATIC_MEMBERS_VERSION)
        refuse_all(c, KERR_UNSUPPORTED_VERSION);
    else if (c->known == 0)
        commit_reply(c);
    else if (r->version == 0)
        commit_to_store(c);
    else
        commit_to_group(c, md);
    metadata_put(&md);
}
