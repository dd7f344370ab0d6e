/* tools/admin.c - the common beginnings of administrative commands. */
#include "tools/admin.h"

#include "metadata/store.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"
#include "tools/client_props.h"
#include "tools/pattern.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWERS_LIMIT ((size_t)2 << 30)

CLIENT_API(metadata, API_METADATA);

int admin_fail(struct admin *a, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(a->error, sizeof a->error, fmt, ap);
    va_end(ap);
    a->kerr = KERR_NONE;
    return rc;
}

int admin_fail_kafka(struct admin *a, int16_t kerr, struct str message)
{
    if (message.p != NULL && message.len > 0)
        snprintf(a->error, sizeof a->error, "%.*s", STR_ARG(message));
    else
        snprintf(a->error, sizeof a->error, "%s", kerr_message(kerr));
    a->kerr = kerr;
    return ERR_INVALID;
}

int admin_open(struct admin *a, const char *bootstrap, const char *props_file, const char *client_id)
{
    struct client_conf conf = CLIENT_CONF_DEFAULT;
    int                rc;

    memset(a, 0, sizeof *a);
    arena_init(&a->arena, ANSWERS_LIMIT);
    conf.bootstrap = bootstrap;
    if (props_file != NULL)
        TRY(client_props_load(&conf, props_file, &a->arena, a->error, sizeof a->error));
    if (client_id != NULL)
        conf.client_id = client_id;
    rc = client_new(&a->client, &conf, a->error, sizeof a->error);
    if (rc == ERR_NOMEM)
        return admin_fail(a, rc, "out of memory");
    return rc;
}

void admin_close(struct admin *a)
{
    client_free(&a->client);
    store_free(&a->store);
    arena_fini(&a->arena);
}

int admin_call(struct admin *a, int32_t broker, const struct client_api *api, const void *request, void *response)
{
    int rc = client_call(a->client, broker, api, request, &a->arena, response);

    if (rc != OK)
        return admin_fail(a, rc, "%s", client_error(a->client));
    return OK;
}

int admin_metadata(struct admin *a, const struct metadata_request *request, struct metadata_response *out)
{
    struct metadata_request all;

    if (request == NULL) {
        metadata_request_init(&all);
        all.topics = NULL;
        all.topics_n = -1;
        all.allow_auto_topic_creation = true;   /* means nothing for "all", and old versions cannot say no */
        request = &all;
    }
    return admin_call(a, CLIENT_ANY, &client_metadata, request, out);
}

int admin_topic_names(struct admin *a, const struct pattern *pattern, bool exclude_internal, struct topic_names *out)
{
    struct metadata_response r;

    client_doing(a->client, "listTopics");
    TRY(admin_metadata(a, NULL, &r));
    out->n = 0;
    out->v = arena_array(&a->arena, (size_t)(r.topics_n > 0 ? r.topics_n : 1), sizeof *out->v);
    if (out->v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r.topics_n; i++) {
        const struct metadata_response_metadata_response_topic *t = &r.topics[i];
        bool internal = t->is_internal || topic_is_internal(t->name);

        if (!(internal && exclude_internal) && (pattern == NULL || pattern_matches(pattern, t->name)))
            out->v[out->n++] = t->name;
    }
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, str_order);
    return OK;
}
