/* tools/topics/change.c - kafka-topics.sh --create, --alter and --delete. */
#include "tools/topics/topics.h"

#include "proto/gen/create_partitions_request.h"
#include "proto/gen/create_partitions_response.h"
#include "proto/gen/create_topics_request.h"
#include "proto/gen/create_topics_response.h"
#include "proto/gen/delete_topics_request.h"
#include "proto/gen/delete_topics_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"

#include <ctype.h>
#include <stdio.h>

#define CONTROLLER_TIMEOUT_MS 30000     /* what the controller may take */

CLIENT_API(create_topics, API_CREATE_TOPICS);
CLIENT_API(create_partitions, API_CREATE_PARTITIONS);
CLIENT_API(delete_topics, API_DELETE_TOPICS);

/* "name=value", blanks around the '=' and at both ends dropped; exactly one '='. */
static bool config_split(struct str in, struct str *name, struct str *value)
{
    const char *eq = memchr(in.p, '=', in.len);

    if (eq == NULL || memchr(eq + 1, '=', (size_t)(in.p + in.len - eq - 1)) != NULL)
        return false;
    *name = (struct str){ in.p, (size_t)(eq - in.p) };
    *value = (struct str){ eq + 1, (size_t)(in.p + in.len - eq - 1) };
    for (int i = 0; i < 2; i++) {
        struct str *s = i == 0 ? name : value;
        while (s->len > 0 && isspace((unsigned char)s->p[0])) {
            s->p++;
            s->len--;
        }
        while (s->len > 0 && isspace((unsigned char)s->p[s->len - 1]))
            s->len--;
    }
    return value->len > 0;
}

static int wanted_configs(struct admin *a, const struct options *o, struct topics_wanted *w)
{
    const char *text;
    size_t      n = 0;

    while (options_nth(o, T_CONFIG, n) != NULL)
        n++;
    w->configs = arena_array(&a->arena, n + 1, sizeof *w->configs);
    if (w->configs == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; (text = options_nth(o, T_CONFIG, i)) != NULL; i++) {
        struct str name, value;
        int32_t    k = 0;

        if (!config_split(str_of(text), &name, &value))
            return admin_fail(a, ERR_INVALID, "requirement failed: Invalid topic config: all configs to be "
                              "added must be in the format \"key=val\".");
        while (k < w->configs_n && !str_eq(w->configs[k].name, name))
            k++;
        w->configs[k].name = name;      /* the last one given wins */
        w->configs[k].value = value;
        if (k == w->configs_n)
            w->configs_n++;
    }
    return OK;
}

int topics_wanted_read(struct admin *a, struct options *o, struct topics_wanted *w)
{
    const char *text = options_str(o, T_ASSIGNMENT);
    int         rc;

    memset(w, 0, sizeof *w);
    w->topic = str_of(options_str(o, T_TOPIC));
    w->partitions = -1;
    w->replication = -1;
    rc = options_i32(o, T_PARTITIONS, &w->partitions);
    if (rc == OK || rc == ERR_NOENT)
        rc = options_i32(o, T_REPLICATION, &w->replication);
    if (rc != OK && rc != ERR_NOENT)
        return admin_fail(a, rc, "%s", o->error);
    if (text != NULL && text[0] != '\0') {
        char why[256] = "out of memory";
        rc = assignments_parse(text, &a->arena, &w->assignments, why, sizeof why);
        if (rc != OK)
            return admin_fail(a, rc, "%s", why);
    }
    return wanted_configs(a, o, w);
}

/* Whether a controller's answer is worth asking again: it has moved. */
static bool controller_moved(struct admin *a, int16_t kerr, int attempt, int64_t deadline_ms)
{
    if (kerr != KERR_NOT_CONTROLLER)
        return false;
    client_forget(a->client);
    return client_backoff(a->client, attempt, deadline_ms);
}

/* ---- create ---- */

static int create_request_fill(struct admin *a, const struct topics_wanted *w, struct create_topics_request *q)
{
    __typeof__(q->topics) t = arena_zalloc(&a->arena, sizeof *t);

    create_topics_request_init(q);
    q->topics = t;
    q->topics_n = 1;
    q->timeout_ms = CONTROLLER_TIMEOUT_MS;
    if (t == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    t->name = w->topic;
    t->num_partitions = w->assignments.n > 0 ? -1 : w->partitions;
    t->replication_factor = (int16_t)(w->assignments.n > 0 ? -1 : w->replication);
    t->assignments_n = w->assignments.n;
    t->assignments = arena_array(&a->arena, (size_t)w->assignments.n + 1, sizeof *t->assignments);
    t->configs_n = w->configs_n;
    t->configs = arena_array(&a->arena, (size_t)w->configs_n + 1, sizeof *t->configs);
    if (t->assignments == NULL || t->configs == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < w->assignments.n; i++) {
        t->assignments[i].partition_index = i;
        t->assignments[i].broker_ids = w->assignments.v[i].brokers;
        t->assignments[i].broker_ids_n = w->assignments.v[i].n;
    }
    for (int32_t i = 0; i < w->configs_n; i++) {
        t->configs[i].name = w->configs[i].name;
        t->configs[i].value = w->configs[i].value;
    }
    return OK;
}

static int create_send(struct admin *a, const struct topics_wanted *w)
{
    struct create_topics_request  q;
    struct create_topics_response r;
    int64_t                       deadline_ms = client_deadline(a->client);

    TRY(create_request_fill(a, w, &q));
    for (int attempt = 0;; attempt++) {
        TRY(admin_call(a, CLIENT_CONTROLLER, &client_create_topics, &q, &r));
        if (r.topics_n != 1)
            return admin_fail(a, ERR_CORRUPT, "The server response did not contain a result for topic %.*s",
                              STR_ARG(w->topic));
        if (r.topics[0].error_code == KERR_NONE)
            return OK;
        if (!controller_moved(a, r.topics[0].error_code, attempt, deadline_ms))
            return admin_fail_kafka(a, r.topics[0].error_code, r.topics[0].error_message);
    }
}

void topics_warn_of_collision(struct str topic)
{
    if (memchr(topic.p, '.', topic.len) != NULL || memchr(topic.p, '_', topic.len) != NULL)
        puts("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') "
             "could collide. To avoid issues it is best to use either, but not both.");
}

int topics_create(struct admin *a, struct options *o)
{
    struct topics_wanted w;
    int           rc;

    TRY(topics_wanted_read(a, o, &w));
    topics_warn_of_collision(w.topic);
    if (options_has(o, T_REPLICATION) && (w.replication < 1 || w.replication > INT16_MAX))
        return admin_fail(a, ERR_RANGE, "The replication factor must be between 1 and %d inclusive", INT16_MAX);
    if (options_has(o, T_PARTITIONS) && w.partitions < 1)
        return admin_fail(a, ERR_RANGE, "The partitions must be greater than 0");
    rc = create_send(a, &w);
    if (rc == OK)
        printf("Created topic %.*s.\n", STR_ARG(w.topic));
    else if (a->kerr == KERR_TOPIC_ALREADY_EXISTS && options_has(o, T_IF_NOT_EXISTS))
        rc = OK;
    return rc;
}

/* ---- alter ---- */

/* How many partitions each topic has now. */
static int partitions_now(struct admin *a, const struct topic_names *names, int32_t *counts)
{
    struct metadata_request  q;
    struct metadata_response r;

    metadata_request_init(&q);
    q.allow_auto_topic_creation = false;
    q.topics_n = (int32_t)names->n;
    q.topics = arena_array(&a->arena, names->n, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < names->n; i++)
        q.topics[i].name = names->v[i];
    TRY(admin_metadata(a, &q, &r));
    for (size_t i = 0; i < names->n; i++) {
        counts[i] = 0;
        for (int32_t k = 0; k < r.topics_n; k++) {
            if (!str_eq(r.topics[k].name, names->v[i]))
                continue;
            if (r.topics[k].error_code != KERR_NONE)
                return admin_fail_kafka(a, r.topics[k].error_code, (struct str){ NULL, 0 });
            counts[i] = r.topics[k].partitions_n;
        }
    }
    return OK;
}

static int alter_request_fill(struct admin *a, const struct topics_wanted *w, const struct topic_names *names,
                              struct create_partitions_request *q)
{
    int32_t *now = arena_array(&a->arena, names->n, sizeof *now);

    create_partitions_request_init(q);
    q->timeout_ms = CONTROLLER_TIMEOUT_MS;
    q->topics_n = (int32_t)names->n;
    q->topics = arena_array(&a->arena, names->n, sizeof *q->topics);
    if (q->topics == NULL || now == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    if (w->assignments.n > 0)
        TRY(partitions_now(a, names, now));
    for (size_t i = 0; i < names->n; i++) {
        __typeof__(q->topics) t = &q->topics[i];

        t->name = names->v[i];
        t->count = w->partitions;
        t->assignments_n = -1;          /* the controller chooses */
        if (w->assignments.n == 0)
            continue;
        /* The assignment is of all partitions; those that exist are passed over. */
        t->assignments_n = w->assignments.n > now[i] ? w->assignments.n - now[i] : 0;
        t->assignments = arena_array(&a->arena, (size_t)t->assignments_n + 1, sizeof *t->assignments);
        if (t->assignments == NULL)
            return admin_fail(a, ERR_NOMEM, "out of memory");
        for (int32_t k = 0; k < t->assignments_n; k++) {
            t->assignments[k].broker_ids = w->assignments.v[now[i] + k].brokers;
            t->assignments[k].broker_ids_n = w->assignments.v[now[i] + k].n;
        }
    }
    return OK;
}

int topics_alter(struct admin *a, struct options *o)
{
    struct create_partitions_request  q;
    struct create_partitions_response r;
    struct topics_wanted                    w;
    struct topic_names                names;
    int64_t                           deadline_ms = client_deadline(a->client);

    TRY(topics_wanted_read(a, o, &w));
    TRY(topics_chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    if (names.n == 0)
        return OK;
    client_doing(a->client, "createPartitions");
    TRY(alter_request_fill(a, &w, &names, &q));
    for (int attempt = 0;; attempt++) {
        int32_t bad = 0;

        TRY(admin_call(a, CLIENT_CONTROLLER, &client_create_partitions, &q, &r));
        while (bad < r.results_n && r.results[bad].error_code == KERR_NONE)
            bad++;
        if (bad == r.results_n)
            return OK;
        if (!controller_moved(a, r.results[bad].error_code, attempt, deadline_ms))
            return admin_fail_kafka(a, r.results[bad].error_code, r.results[bad].error_message);
    }
}

/* ---- delete ---- */

static int delete_request_fill(struct admin *a, const struct topic_names *names, struct delete_topics_request *q)
{
    int16_t version;

    delete_topics_request_init(q);
    q->timeout_ms = CONTROLLER_TIMEOUT_MS;
    if (client_api_version(a->client, CLIENT_CONTROLLER, API_DELETE_TOPICS, &version) != OK)
        return admin_fail(a, ERR_UNSUPPORTED, "%s", client_error(a->client));
    if (version < 6) {
        q->topic_names = names->v;
        q->topic_names_n = (int32_t)names->n;
        return OK;
    }
    q->topics_n = (int32_t)names->n;
    q->topics = arena_array(&a->arena, names->n + 1, sizeof *q->topics);
    if (q->topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < names->n; i++)
        q->topics[i].name = names->v[i];
    return OK;
}

int topics_delete(struct admin *a, struct options *o)
{
    struct delete_topics_request  q;
    struct delete_topics_response r;
    struct topic_names            names;
    int64_t                       deadline_ms = client_deadline(a->client);

    TRY(topics_chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    if (names.n == 0)
        return OK;
    client_doing(a->client, "deleteTopics");
    TRY(delete_request_fill(a, &names, &q));
    for (int attempt = 0;; attempt++) {
        int32_t bad = 0;

        TRY(admin_call(a, CLIENT_CONTROLLER, &client_delete_topics, &q, &r));
        while (bad < r.responses_n && r.responses[bad].error_code == KERR_NONE)
            bad++;
        if (bad == r.responses_n)
            return OK;
        if (!controller_moved(a, r.responses[bad].error_code, attempt, deadline_ms))
            return admin_fail_kafka(a, r.responses[bad].error_code, r.responses[bad].error_message);
    }
}
