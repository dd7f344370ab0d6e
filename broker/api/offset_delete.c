/* broker/api/offset_delete.c - OffsetDelete: a group forgets offsets of topics that no member of it reads. */
#include "broker/api/asked.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/group/expiry.h"
#include "broker/group/groups.h"
#include "base/log.h"
#include "proto/gen/offset_delete_request.h"
#include "proto/gen/offset_delete_response.h"
#include "proto/kerr.h"

#define topic_in  offset_delete_request_offset_delete_request_topic
#define part_in   offset_delete_request_offset_delete_request_partition
#define topic_out offset_delete_response_offset_delete_response_topic
#define part_out  offset_delete_response_offset_delete_response_partition

struct deletion {
    struct broker                     *b;
    struct arena                      *a;
    const struct offset_delete_request *in;
    bool                              *shown;   /* topics that are answered even if nothing of them is asked */
    struct asked_partition            *asked;
    int16_t                           *error;   /* one for each of asked */
    size_t                             n;
};

/* What is asked, and whether it exists. */
static int ask(struct deletion *d)
{
    const struct offset_delete_request *in = d->in;
    struct str *names = arena_array(d->a, (size_t)in->topics_n + 1, sizeof *names);
    int32_t *at = arena_array(d->a, (size_t)in->topics_n + 1, sizeof *at);
    struct metadata *md;
    size_t n = 0;

    d->shown = arena_array(d->a, (size_t)in->topics_n + 1, sizeof *d->shown);
    if (names == NULL || at == NULL || d->shown == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < in->topics_n; i++) {
        names[i] = in->topics[i].name;
        n += (size_t)in->topics[i].partitions_n;
    }
    d->asked = arena_array(d->a, n + 1, sizeof *d->asked);
    d->error = arena_array(d->a, n + 1, sizeof *d->error);
    if (d->asked == NULL || d->error == NULL)
        return ERR_NOMEM;
    TRY(asked_topics(d->a, names, in->topics_n, at));
    md = metadata_get(d->b->metacache);
    for (int32_t i = 0; i < in->topics_n; i++) {
        const struct metadata_topic *t = metadata_topic(md, names[i]);

        d->shown[at[i]] |= t == NULL;
        for (int32_t k = 0; k < in->topics[i].partitions_n; k++, d->n++) {
            int32_t partition = in->topics[i].partitions[k].partition_index;
            bool there = t != NULL && metadata_partition(t, partition) != NULL;

            d->asked[d->n] = (struct asked_partition){ at[i], partition, false };
            d->error[d->n] = there ? KERR_NONE : KERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    metadata_put(&md);
    return asked_repeats(d->a, d->asked, d->n);
}

/* Whether the group is one of which offsets may be deleted; marks the partitions that its members read. */
static int16_t check_group(struct deletion *d, const struct group *g)
{
    if (g->state == GROUP_EMPTY)
        return KERR_NONE;
    if (!str_is(g->protocol_type, "consumer"))
        return KERR_NON_EMPTY_GROUP;
    for (size_t i = 0; i < d->n; i++)
        if (d->error[i] == KERR_NONE &&
            group_subscribes(g, d->in->topics[d->asked[i].topic].name) != GROUP_SUBSCRIBES_NO)
            d->error[i] = KERR_GROUP_SUBSCRIBED_TO_TOPIC;
    return KERR_NONE;
}

static int16_t delete_offsets(struct deletion *d)
{
    struct offset_key *v = arena_array(d->a, d->n + 1, sizeof *v);
    struct group_session s;
    size_t n = 0;
    int16_t kerr;

    if (v == NULL)
        return KERR_UNKNOWN_SERVER_ERROR;
    if (d->in->group_id.len == 0)
        return KERR_INVALID_GROUP_ID;
    kerr = groups_enter(d->b->groups, d->in->group_id, GROUPS_EXISTING, &s);
    if (kerr == KERR_NONE && s.g == NULL)
        kerr = KERR_GROUP_ID_NOT_FOUND;
    if (kerr == KERR_NONE)
        kerr = check_group(d, s.g);
    if (kerr == KERR_NONE) {
        for (size_t i = 0; i < d->n; i++)
            if (d->error[i] == KERR_NONE && !d->asked[i].again)
                v[n++] = (struct offset_key){ d->in->topics[d->asked[i].topic].name, d->asked[i].partition };
        if (n > 0) {
            size_t gone = group_forget(&s, v, n);

            log_some(LOG_INFO, "group %.*s: %zu of %zu offsets that were to be deleted were there",
                     STR_ARG(d->in->group_id), gone, n);
        }
    }
    groups_leave(&s);
    return kerr;
}

static bool is_answered(const struct deletion *d, size_t i)
{
    return d->error[i] == KERR_UNKNOWN_TOPIC_OR_PARTITION || !d->asked[i].again;
}

static int answer(const struct deletion *d, struct offset_delete_response *out)
{
    struct part_out *parts = arena_array(d->a, d->n + 1, sizeof *parts);
    struct topic_out **of = arena_array(d->a, (size_t)d->in->topics_n + 1, sizeof(struct topic_out *));
    int32_t *count = arena_array(d->a, (size_t)d->in->topics_n + 1, sizeof *count);

    out->topics = arena_array(d->a, (size_t)d->in->topics_n + 1, sizeof *out->topics);
    if (parts == NULL || of == NULL || count == NULL || out->topics == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < d->n; i++)
        count[d->asked[i].topic] += is_answered(d, i);
    for (int32_t i = 0; i < d->in->topics_n; i++)
        if (d->shown[i] || count[i] > 0) {
            of[i] = &out->topics[out->topics_n++];
            *of[i] = (struct topic_out){ .name = d->in->topics[i].name, .partitions = parts };
            parts += count[i];
        }
    for (size_t i = 0; i < d->n; i++)
        if (is_answered(d, i)) {
            struct topic_out *t = of[d->asked[i].topic];

            t->partitions[t->partitions_n++] = (struct part_out){ d->asked[i].partition, d->error[i] };
        }
    return OK;
}

void api_offset_delete(struct broker *b, struct request *r)
{
    struct offset_delete_request in;
    struct offset_delete_response out;
    struct deletion d = { .b = b, .a = &r->arena, .in = &in };
    int rc;

    if (!API_READ(r, offset_delete_request, &in))
        return;
    offset_delete_response_init(&out);
    rc = ask(&d);
    if (rc == OK) {
        out.error_code = delete_offsets(&d);
        if (out.error_code == KERR_NONE)
            rc = answer(&d, &out);
    }
    if (rc == OK)
        API_REPLY(r, offset_delete_response, &out);
    else
        request_close(r, "out of memory");
}
