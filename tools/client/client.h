/* tools/client/client.h - a small blocking Kafka client for the administrative commands: finds a broker, agrees
 * on versions, sends one request and reads its answer, tries again while that makes sense.
 *
 * OWNER    struct client owns its connections. Requests belong to the caller; answers lie in the caller's arena.
 * LOCKS    none: one thread.
 * UNITS    _ms. Broker ids as in metadata.
 * FAILURE  a negative ERR_* and a sentence by client_error(): ERR_TIMEOUT when no broker could be asked within
 *          api_timeout_ms, ERR_UNSUPPORTED when the broker does not have the API, or not in a version that can
 *          carry the request. Kafka's error codes inside an answer are the caller's to look at.
 */
#ifndef TOOLS_CLIENT_CLIENT_H
#define TOOLS_CLIENT_CLIENT_H

#include "base/arena.h"
#include "base/chain.h"
#include "base/cursor.h"
#include "proto/gen/apis.h"

struct client;

struct client_conf {
    const char *bootstrap;              /* "host:port,host:port" */
    const char *client_id;
    int32_t     request_timeout_ms;
    int32_t     api_timeout_ms;         /* of one client_call() with all its attempts */
    int32_t     retry_backoff_ms;
};
#define CLIENT_CONF_DEFAULT                                                                         \
    { .client_id = "adminclient-1", .request_timeout_ms = 30000, .api_timeout_ms = 60000, .retry_backoff_ms = 100 }

/* How one API's messages are written and read; CLIENT_API() makes one from the generated functions. */
struct client_api {
    enum api_key key;
    int        (*write)(struct chain *, const void *, int16_t);
    int        (*read)(struct cursor *, int16_t, struct arena *, void *);
};

#define CLIENT_API(name, api_key_)                                                                  \
    static int name##_write_(struct chain *ch, const void *m, int16_t v)                            \
    {                                                                                               \
        return name##_request_write(ch, m, v);                                                      \
    }                                                                                               \
    static int name##_read_(struct cursor *c, int16_t v, struct arena *a, void *m)                  \
    {                                                                                               \
        return name##_response_read(c, v, a, m);                                                    \
    }                                                                                               \
    static const struct client_api client_##name = { api_key_, name##_write_, name##_read_ }

struct client_broker {
    int32_t     id;
    const char *host;
    int32_t     port;
    const char *rack;                   /* NULL: none */
};

struct client_version {
    int16_t key, min, max;
};

enum { CLIENT_ANY = -1, CLIENT_CONTROLLER = -2 };   /* in place of a broker id */

/* The configuration is copied. Nothing is connected yet. ERR_INVALID: an address that cannot be read. */
int  client_new(struct client **out, const struct client_conf *conf, char *error, size_t error_len) must_use;
/* Changes api_timeout_ms. */
void client_limit(struct client *c, int32_t api_timeout_ms);
void client_free(struct client **c);                /* NULL-safe */
const char *client_error(const struct client *c);
/* Names what follows, for the message of a timeout: "listTopics". */
void client_doing(struct client *c, const char *what);

int  client_call(struct client *c, int32_t broker, const struct client_api *api, const void *request, struct arena *a,
                 void *response) must_use;
/* The highest version both sides have of an API, ERR_UNSUPPORTED when there is none. */
int  client_api_version(struct client *c, int32_t broker, enum api_key key, int16_t *out) must_use;
/* What a broker said in its ApiVersions answer, in its order; lives as long as the connection. Tried once only. */
int  client_broker_versions(struct client *c, int32_t broker, const struct client_version **v, size_t *n) must_use;

/* The brokers of the cluster, asked once and then again after client_forget(). In the order of the metadata
 * answer. */
int  client_brokers(struct client *c, const struct client_broker **v, size_t *n) must_use;
void client_forget(struct client *c);               /* the brokers or the controller have changed */
/* Waits one back-off step of the n-th attempt; false when `deadline_ms` (monotonic) would pass. */
bool client_backoff(const struct client *c, int attempt, int64_t deadline_ms);
int64_t client_deadline(const struct client *c);    /* now + api_timeout_ms */

#endif
