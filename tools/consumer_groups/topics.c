/* tools/consumer_groups/topics.c - the partitions that --topic names. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

int tps_add(struct cg *cg, struct tps *tps, struct tp tp)
{
    if (tps->n == tps->cap) {
        struct tp *old = tps->v;

        tps->cap = tps->cap > 0 ? 2 * tps->cap : 16;
        TRY(cg_array(cg, tps->cap, sizeof *tps->v, &tps->v));
        if (tps->n > 0)
            memcpy(tps->v, old, tps->n * sizeof *old);
    }
    tps->v[tps->n++] = tp;
    return OK;
}

int topic_parse(struct cg *cg, struct str text, struct tps *out)
{
    const char *colon = memchr(text.p, ':', text.len);
    struct str  topic = { text.p, (size_t)(colon - text.p) }, rest = { colon + 1, text.len - topic.len - 1 };

    while (rest.len > 0 && rest.p[rest.len - 1] == ':')         /* empty words at the end are none */
        rest.len--;
    if (rest.len == 0 || memchr(rest.p, ':', rest.len) != NULL)
        return cg_usage(cg, "Invalid topic arg '%.*s', expected topic name and partitions", STR_ARG(text));
    while (rest.len > 0 && rest.p[rest.len - 1] == ',')
        rest.len--;
    for (size_t i = 0; i < rest.len; i++) {
        struct str word = { rest.p + i, 0 };
        char       digits[16];
        int64_t    n;

        while (i < rest.len && rest.p[i] != ',') {
            word.len++;
            i++;
        }
        snprintf(digits, sizeof digits, "%.*s", STR_ARG(word));
        if (word.len >= sizeof digits || parse_i64(digits, INT32_MIN, INT32_MAX, &n) != OK)
            return cg_usage(cg, "Invalid partition '%.*s' specified in topic arg '%.*s''", STR_ARG(word),
                            STR_ARG(text));
        TRY(tps_add(cg, out, (struct tp){ topic, (int32_t)n }));
    }
    return OK;
}

static int partitions_of(struct cg *cg, const struct metadata_response_metadata_response_topic *t, struct tps *out)
{
    size_t first = out->n;

    for (int32_t i = 0; i < t->partitions_n; i++)
        TRY(tps_add(cg, out, (struct tp){ t->name, t->partitions[i].partition_index }));
    if (out->n - first > 1)
        qsort(out->v + first, out->n - first, sizeof *out->v, tp_compare);
    return OK;
}

int topics_partitions(struct cg *cg, const struct strs *names, struct tps *out, int16_t *kerr)
{
    struct metadata_request  q;
    struct metadata_response r;
    int64_t                  deadline_ms = client_deadline(cg->a.client);
    bool                     again = names->n > 0;

    for (int attempt = 0; again; attempt++) {
        metadata_request_init(&q);
        q.allow_auto_topic_creation = false;
        TRY(cg_array(cg, names->n, sizeof *q.topics, &q.topics));
        for (size_t i = 0; i < names->n; i++) {
            q.topics[q.topics_n++].name = names->v[i];
            kerr[i] = KERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
        client_doing(cg->a.client, "describeTopics");
        TRY(admin_metadata(&cg->a, &q, &r));
        again = false;
        for (size_t i = 0; i < names->n; i++) {
            for (int32_t k = 0; k < r.topics_n; k++) {
                if (str_eq(r.topics[k].name, names->v[i]))
                    kerr[i] = r.topics[k].error_code;
            }
            again = again || kerr[i] == KERR_LEADER_NOT_AVAILABLE;
        }
        again = again && client_backoff(cg->a.client, attempt, deadline_ms);
    }
    for (size_t i = 0; i < names->n; i++) {
        for (int32_t k = 0; k < r.topics_n && kerr[i] == KERR_NONE; k++) {
            if (str_eq(r.topics[k].name, names->v[i]))
                TRY(partitions_of(cg, &r.topics[k], out));
        }
    }
    return OK;
}
