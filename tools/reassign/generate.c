/* tools/reassign/generate.c - --generate: how the replicas of topics could be spread over other brokers. */
#include "tools/reassign/reassign.h"

#include "metadata/assign.h"
#include "tools/consumer_groups/jvm.h"

#include <stdio.h>
#include <stdlib.h>

/* "1,2,3" */
static int parse_brokers(struct rp *r, const char *text, struct rp_ids *out)
{
    *out = (struct rp_ids){ arena_array(&r->a.arena, strlen(text) + 1, sizeof(int32_t)), 0 };
    if (out->v == NULL)
        return rp_no_memory(r);
    for (const char *p = text; ; p++) {
        size_t n = strcspn(p, ",");
        const char *one = arena_cstr(&r->a.arena, (struct str){ p, n });
        int64_t id;

        if (one == NULL || parse_i64(one, INT32_MIN, INT32_MAX, &id) != OK)
            return admin_fail(&r->a, ERR_INVALID, "For input string: \"%s\"", one != NULL ? one : "");
        if (rp_has(out, (int32_t)id))
            return admin_fail(&r->a, ERR_INVALID, "Broker list contains duplicate entries: [%lld]", (long long)id);
        out->v[out->n++] = (int32_t)id;
        p += n;
        if (*p == '\0')
            return OK;
    }
}

/* Those of the list that live; with racks where they count. */
static int candidates(struct rp *r, const struct rp_ids *list, struct assign_broker **out, int32_t *n)
{
    bool racks = !options_has(r->o, R_DISABLE_RACK);
    struct rp_broker *live;
    size_t live_n;
    int32_t with = 0;

    TRY(r->to->brokers(r, &live, &live_n));
    *n = 0;
    *out = arena_array(&r->a.arena, live_n + 1, sizeof **out);
    if (*out == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < live_n; i++) {
        if (!rp_has(list, live[i].id))
            continue;
        (*out)[*n] = (struct assign_broker){ live[i].id, racks ? live[i].rack : (struct str){ NULL, 0 } };
        with += (*out)[(*n)++].rack.p != NULL;
    }
    if (with > 0 && with < *n)
        return admin_fail(&r->a, ERR_INVALID, "Not all brokers have rack information. Add --disable-rack-aware in "
                          "command line to make replica assignment without rack information.");
    return OK;
}

/* The partitions [from, to) of one topic. */
static int propose(struct rp *r, struct rp_part *v, size_t n, const struct assign_broker *brokers, int32_t brokers_n)
{
    struct assign_want w = { .brokers = brokers, .brokers_n = brokers_n, .partitions = (int32_t)n,
                             .replication = v[0].replicas.n, .first = 0, .start = -1 };
    int32_t *ids = arena_array(&r->a.arena, n * (size_t)w.replication + 1, sizeof *ids);

    if (ids == NULL)
        return rp_no_memory(r);
    if (w.replication > brokers_n)
        return admin_fail(&r->a, ERR_INVALID, "Replication factor: %d larger than available brokers: %d.",
                          w.replication, brokers_n);
    TRY(assign_replicas(&w, ids));
    for (size_t i = 0; i < n; i++)
        v[i].replicas = (struct rp_ids){ ids + i * (size_t)w.replication, w.replication };
    return OK;
}

static int check_topics(struct rp *r, struct topic_names *t)
{
    if (t->n > 1)
        qsort(t->v, t->n, sizeof *t->v, str_order);
    for (size_t i = 1; i < t->n; i++)
        if (str_eq(t->v[i], t->v[i - 1]))
            return admin_fail(&r->a, ERR_INVALID, "List of topics to reassign contains duplicate entries: [%.*s]",
                              STR_ARG(t->v[i]));
    return OK;
}

int rp_generate(struct rp *r)
{
    struct assign_broker *brokers;
    struct topic_names topics;
    struct rp_parts now, then;
    struct rp_ids list;
    const char *text;
    int32_t brokers_n;

    TRY(rp_read_file(r, options_str(r->o, R_TOPICS_FILE), &text));
    TRY(parse_brokers(r, options_str(r->o, R_BROKERS), &list));
    TRY(rp_parse_topics(r, text, &topics));
    TRY(check_topics(r, &topics));
    TRY(r->to->topics(r, &topics, true, &now));
    rp_sort(&now);
    TRY(candidates(r, &list, &brokers, &brokers_n));
    then = (struct rp_parts){ arena_array(&r->a.arena, now.n + 1, sizeof *then.v), now.n };
    if (then.v == NULL)
        return rp_no_memory(r);
    if (now.n > 0)
        memcpy(then.v, now.v, now.n * sizeof *then.v);
    for (size_t i = 0, n; i < then.n; i += n) {
        for (n = 1; i + n < then.n && str_eq(then.v[i].topic, then.v[i + n].topic); n++)
            ;
        TRY(propose(r, &then.v[i], n, brokers, brokers_n));
    }
    puts("Current partition replica assignment");
    rp_print_json(&now);
    puts("\n\nProposed partition reassignment configuration");
    rp_print_json(&then);
    putchar('\n');
    return OK;
}
