/* tools/admin.h - what every administrative command has: a client made from --bootstrap-server and --command-config,
 * memory for its answers, and one error text.
 *
 * OWNER    admin_open() / admin_close() by the command. Everything in the arena lives until admin_close().
 * LOCKS    none: one thread.
 * FAILURE  negative ERR_* with a sentence in a->error, which the command prints its own way.
 */
#ifndef TOOLS_ADMIN_H
#define TOOLS_ADMIN_H

#include "tools/client/client.h"

struct store;
struct admin {
    struct client *client;             /* NULL with --zookeeper: tools/zk.h */
    struct store  *store;              /* NULL without it */
    struct arena   arena;
    int16_t        kerr;                /* Kafka's code behind the last failure, KERR_NONE when it was none */
    char           error[1024];
};

/* props_file: Java properties, NULL: none. *a must be given to admin_close() whatever the result. */
int  admin_open(struct admin *a, const char *bootstrap, const char *props_file, const char *client_id) must_use;
void admin_close(struct admin *a);

/* Sets a->error; gives rc back. */
int  admin_fail(struct admin *a, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4))) must_use;
/* The same for Kafka's error code, with the broker's own words when it sent some. ERR_INVALID. */
int  admin_fail_kafka(struct admin *a, int16_t kerr, struct str message) must_use;
/* client_call() with its text in a->error. */
int  admin_call(struct admin *a, int32_t broker, const struct client_api *api, const void *request,
                void *response) must_use;

struct metadata_request;
struct metadata_response;
/* All topics when `request` is NULL. */
int  admin_metadata(struct admin *a, const struct metadata_request *request, struct metadata_response *out) must_use;

/* Names of topics, sorted; `pattern` NULL: all. */
struct pattern;
struct topic_names {
    struct str *v;
    size_t      n;
};
int  admin_topic_names(struct admin *a, const struct pattern *pattern, bool exclude_internal,
                       struct topic_names *out) must_use;

#endif
