/* tools/elections.c */
#include "tools/elections.h"

#include "proto/gen/elect_leaders_request.h"
#include "proto/gen/elect_leaders_response.h"
#include "proto/kerr.h"
#include "tools/consumer_groups/jvm.h"

#include <jansson.h>
#include <stdio.h>

CLIENT_API(elect_leaders, API_ELECT_LEADERS);

static int no_memory(struct admin *a)
{
    return admin_fail(a, ERR_NOMEM, "out of memory");
}

/* ---- the list ---- */

static int take_list(struct admin *a, const json_t *list, const char *what, struct elections *out)
{
    json_t *e;
    size_t  i;

    *out = (struct elections){ arena_array(&a->arena, json_array_size(list) + 1, sizeof *out->v), 0 };
    if (out->v == NULL)
        return no_memory(a);
    json_array_foreach(list, i, e) {
        const json_t *topic = json_object_get(e, "topic"), *partition = json_object_get(e, "partition");
        struct election *x = &out->v[out->n++];

        if (!json_is_string(topic) || !json_is_integer(partition))
            return admin_fail(a, ERR_INVALID, "No such field exists: `%s`",
                              json_is_string(topic) ? "partition" : "topic");
        x->partition = (int32_t)json_integer_value(partition);
        if (arena_str(&a->arena, (struct str){ json_string_value(topic), json_string_length(topic) }, &x->topic) != OK)
            return no_memory(a);
        for (size_t k = 0; k + 1 < out->n; k++)
            if (out->v[k].partition == x->partition && str_eq(out->v[k].topic, x->topic))
                return admin_fail(a, ERR_INVALID, "%s contains duplicate partitions: [%.*s-%d]", what,
                                  STR_ARG(x->topic), x->partition);
    }
    return OK;
}

int elections_read(struct admin *a, const char *path, const char *what, struct elections *out)
{
    json_error_t why;
    json_t *j, *list;
    int rc;

    j = json_load_file(path, 0, &why);
    if (j == NULL && why.line < 0)
        return admin_fail(a, ERR_IO, "Unable to read file %s", path);
    if (j == NULL)
        return admin_fail(a, ERR_INVALID, "%s is empty", what);
    list = json_object_get(j, "partitions");
    rc = json_is_array(list) ? take_list(a, list, what, out)
                             : admin_fail(a, ERR_INVALID, "%s is missing \"partitions\" field", what);
    json_decref(j);
    return rc;
}

/* ---- the request ---- */

static int build(struct admin *a, const struct elections *want, struct elect_leaders_request *q)
{
    elect_leaders_request_init(q);
    q->topic_partitions = NULL;
    q->topic_partitions_n = -1;
    if (want == NULL)
        return OK;
    q->topic_partitions_n = 0;
    q->topic_partitions = arena_array(&a->arena, want->n + 1, sizeof *q->topic_partitions);
    if (q->topic_partitions == NULL)
        return no_memory(a);
    for (size_t i = 0; i < want->n; i++) {
        __typeof__(*q->topic_partitions) *t = NULL;

        for (int32_t k = 0; k < q->topic_partitions_n && t == NULL; k++)
            if (str_eq(q->topic_partitions[k].topic, want->v[i].topic))
                t = &q->topic_partitions[k];
        if (t == NULL) {
            t = &q->topic_partitions[q->topic_partitions_n++];
            elect_leaders_request_topic_partitions_init(t);
            t->topic = want->v[i].topic;
            t->partitions = arena_array(&a->arena, want->n + 1, sizeof *t->partitions);
            if (t->partitions == NULL)
                return no_memory(a);
        }
        t->partitions[t->partitions_n++] = want->v[i].partition;
    }
    return OK;
}

static uint32_t hash(const void *element)
{
    const struct election *e = element;

    return 31 * (31 + (uint32_t)e->partition) + jvm_hash(e->topic);
}

static int take_answer(struct admin *a, const struct elect_leaders_response *r, struct elections *out)
{
    size_t n = 0;

    for (int32_t i = 0; i < r->replica_election_results_n; i++)
        n += (size_t)r->replica_election_results[i].partition_result_n;
    *out = (struct elections){ arena_array(&a->arena, n + 1, sizeof *out->v), 0 };
    if (out->v == NULL)
        return no_memory(a);
    for (int32_t i = 0; i < r->replica_election_results_n; i++)
        for (int32_t k = 0; k < r->replica_election_results[i].partition_result_n; k++) {
            const __typeof__(*r->replica_election_results[i].partition_result) *p =
                &r->replica_election_results[i].partition_result[k];

            out->v[out->n++] = (struct election){ r->replica_election_results[i].topic, p->partition_id, p->error_code,
                                                  p->error_message };
        }
    if (jvm_order(out->v, out->n, sizeof *out->v, JVM_ROOM, hash, &a->arena) != OK)
        return no_memory(a);
    return OK;
}

int elections_run(struct admin *a, int8_t type, const struct elections *want, struct elections *out)
{
    struct elect_leaders_request q;
    struct elect_leaders_response r;
    int64_t deadline_ms = client_deadline(a->client);
    int16_t kerr;

    TRY(build(a, want, &q));
    q.election_type = type;
    q.timeout_ms = 30000;
    client_doing(a->client, "electLeaders");
    for (int attempt = 0;; attempt++) {
        TRY(admin_call(a, CLIENT_CONTROLLER, &client_elect_leaders, &q, &r));
        TRY(take_answer(a, &r, out));
        kerr = r.error_code;
        if (kerr == KERR_NONE && out->n > 0 && out->v[0].kerr == KERR_NOT_CONTROLLER)
            kerr = KERR_NOT_CONTROLLER;
        if (kerr != KERR_NOT_CONTROLLER || !client_backoff(a->client, attempt, deadline_ms))
            break;
        client_forget(a->client);                   /* the controller has moved */
    }
    return r.error_code == KERR_NONE ? OK : admin_fail_kafka(a, r.error_code, (struct str){ NULL, 0 });
}

/* ---- what became of it ---- */

size_t elections_count(const struct elections *e, int16_t kerr)
{
    size_t n = 0;

    for (size_t i = 0; i < e->n; i++)
        n += e->v[i].kerr == kerr;
    return n;
}

void elections_print(const struct elections *e, int16_t kerr)
{
    bool any = false;

    for (size_t i = 0; i < e->n; i++) {
        if (e->v[i].kerr != kerr)
            continue;
        printf("%s%.*s-%d", any ? ", " : "", STR_ARG(e->v[i].topic), e->v[i].partition);
        any = true;
    }
    putchar('\n');
}

void elections_print_failure(const struct election *e)
{
    char name[128];
    struct str message = e->message.p != NULL ? e->message : str_of(jvm_message(e->kerr));

    printf("%.*s-%d: %s: %.*s\n", STR_ARG(e->topic), e->partition, jvm_exception(e->kerr, name, sizeof name),
           STR_ARG(message));
}
