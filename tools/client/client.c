/* tools/client/client.c - finding a broker, version negotiation, one request at a time. */
#include "tools/client/client.h"

#include "base/clock.h"
#include "proto/gen/api_versions_request.h"
#include "proto/gen/api_versions_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/header.h"
#include "proto/kerr.h"
#include "tools/client/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SCRATCH_LIMIT (64U << 20)       /* for requests and the client's own answers */
#define BACKOFF_MAX_MS 1000

struct peer {
    char                   host[256];
    uint16_t               port;
    bool                   bootstrap;
    bool                   complained;          /* one warning each */
    struct link            conn;
    struct client_version *versions;            /* while connected */
    size_t                 versions_n;
};

struct client {
    struct client_conf    conf;
    char                 *client_id;
    struct peer          *peers;                /* the bootstrap addresses first */
    size_t                peers_n;
    struct client_broker *brokers;              /* from metadata_arena; NULL: not asked yet */
    size_t                brokers_n;
    int32_t               controller;           /* -1: unknown */
    int32_t               correlation_id;
    const char           *doing;
    struct arena          metadata_arena, scratch;
    char                  error[512];
};

CLIENT_API(api_versions, API_API_VERSIONS);
CLIENT_API(metadata, API_METADATA);

static int __attribute__((format(printf, 3, 4))) client_fail(struct client *c, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    return rc;
}

const char *client_error(const struct client *c)
{
    return c->error;
}

void client_doing(struct client *c, const char *what)
{
    c->doing = what;
}

/* ---- peers ---- */

static struct peer *peer_add(struct client *c)
{
    struct peer *v = reallocarray(c->peers, c->peers_n + 1, sizeof *v);

    if (v == NULL)
        return NULL;
    c->peers = v;
    memset(&v[c->peers_n], 0, sizeof *v);
    link_init(&v[c->peers_n].conn);
    return &v[c->peers_n++];
}

static void peer_close(struct peer *p)
{
    link_close(&p->conn);
    free(p->versions);
    p->versions = NULL;
    p->versions_n = 0;
}

static int peers_of_bootstrap(struct client *c, const char *list, char *error, size_t error_len)
{
    while (*list != '\0') {
        size_t       n = strcspn(list, ",");
        struct str   s = { list, n };
        struct peer *p;

        list += n + (list[n] == ',');
        while (s.len > 0 && s.p[0] == ' ') {
            s.p++;
            s.len--;
        }
        while (s.len > 0 && s.p[s.len - 1] == ' ')
            s.len--;
        if (s.len == 0)
            continue;
        if ((p = peer_add(c)) == NULL)
            return ERR_NOMEM;
        p->bootstrap = true;
        if (link_parse_address(s, p->host, sizeof p->host, &p->port) != OK) {
            snprintf(error, error_len, "Invalid url in bootstrap.servers: %.*s", STR_ARG(s));
            return ERR_INVALID;
        }
    }
    if (c->peers_n > 0)
        return OK;
    snprintf(error, error_len, "No bootstrap urls given in bootstrap.servers");
    return ERR_INVALID;
}

int client_new(struct client **out, const struct client_conf *conf, char *error, size_t error_len)
{
    struct client *c = calloc(1, sizeof *c);
    int            rc = ERR_NOMEM;

    if (c == NULL)
        return ERR_NOMEM;
    c->conf = *conf;
    c->controller = -1;
    c->doing = "request";
    arena_init(&c->metadata_arena, SCRATCH_LIMIT);
    arena_init(&c->scratch, SCRATCH_LIMIT);
    c->client_id = strdup(conf->client_id);
    if (c->client_id != NULL)
        rc = peers_of_bootstrap(c, conf->bootstrap, error, error_len);
    if (rc != OK)
        client_free(&c);
    *out = c;
    return rc;
}

void client_limit(struct client *c, int32_t api_timeout_ms)
{
    c->conf.api_timeout_ms = api_timeout_ms;
}

void client_free(struct client **cp)
{
    struct client *c = *cp;

    if (c == NULL)
        return;
    for (size_t i = 0; i < c->peers_n; i++)
        peer_close(&c->peers[i]);
    free(c->peers);
    free(c->client_id);
    arena_fini(&c->metadata_arena);
    arena_fini(&c->scratch);
    free(c);
    *cp = NULL;
}

/* ---- one exchange ---- */

static int peer_lost(struct client *c, struct peer *p, int rc)
{
    client_fail(c, rc, "%s:%u: %s", p->host, p->port, p->conn.error);
    peer_close(p);
    return rc;
}

static int peer_exchange(struct client *c, struct peer *p, const struct client_api *api, int16_t version,
                         const void *request, struct arena *a, void *response, int64_t deadline_ms)
{
    struct request_header  h;
    struct response_header rh;
    struct chain           ch;
    struct bytes           frame;
    struct cursor          cur;
    int                    rc;

    arena_reset(&c->scratch);
    chain_init(&ch, &c->scratch);
    request_header_init(&h);
    h.request_api_key = (int16_t)api->key;
    h.request_api_version = version;
    h.correlation_id = ++c->correlation_id;
    h.client_id = str_of(c->client_id);
    rc = header_write_request(&ch, &h);
    if (rc == OK)
        rc = api->write(&ch, request, version);
    if (rc == OK)
        rc = ch.rc;
    if (rc != OK) {
        client_fail(c, rc, "The node does not support %s in a version that can carry this request (it has %d): %s",
                    api_name((int16_t)api->key), version, err_text(rc));
    } else {
        rc = link_send(&p->conn, &ch, deadline_ms);
        if (rc == OK)
            rc = link_receive(&p->conn, a, &frame, deadline_ms);
        if (rc != OK)
            peer_lost(c, p, rc);
    }
    chain_fini(&ch);
    TRY(rc);
    cur = cur_ro(frame.p, frame.len);
    rc = header_read_response(&cur, a, (int16_t)api->key, version, &rh);
    if (rc == OK && rh.correlation_id != h.correlation_id)
        rc = ERR_CORRUPT;
    if (rc == OK)
        rc = api->read(&cur, version, a, response);
    if (rc != OK) {
        snprintf(p->conn.error, sizeof p->conn.error, "the answer to %s version %d cannot be read (%s)",
                 api_name((int16_t)api->key), version, err_text(rc));
        peer_lost(c, p, rc);
    }
    return rc;
}

static int versions_keep(struct client *c, struct peer *p, const struct api_versions_response *r)
{
    p->versions = calloc((size_t)(r->api_keys_n > 0 ? r->api_keys_n : 1), sizeof *p->versions);
    if (p->versions == NULL)
        return client_fail(c, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r->api_keys_n; i++)
        p->versions[p->versions_n++] = (struct client_version){ r->api_keys[i].api_key, r->api_keys[i].min_version,
                                                                r->api_keys[i].max_version };
    return OK;
}

static const struct client_version *version_of(const struct peer *p, enum api_key key)
{
    for (size_t i = 0; i < p->versions_n; i++) {
        if (p->versions[i].key == (int16_t)key)
            return &p->versions[i];
    }
    return NULL;
}

/* Asks for the API versions. A broker that does not know our version of this request answers in version 0. */
static int peer_greet(struct client *c, struct peer *p, int64_t deadline_ms)
{
    struct arena                 a;
    struct api_versions_request  q;
    struct api_versions_response r;
    int16_t                      version = api_info(API_API_VERSIONS)->max_version;
    int                          rc;

    arena_init(&a, SCRATCH_LIMIT);
    api_versions_request_init(&q);
    q.client_software_name = STR_LIT("klamm");
    q.client_software_version = STR_LIT("3.9.1");
    rc = peer_exchange(c, p, &client_api_versions, version, &q, &a, &r, deadline_ms);
    if (rc != OK && rc != ERR_TIMEOUT && rc != ERR_CLOSED && version > 0) {
        rc = link_open(&p->conn, p->host, p->port, deadline_ms);
        if (rc == OK)
            rc = peer_exchange(c, p, &client_api_versions, 0, &q, &a, &r, deadline_ms);
        else
            peer_lost(c, p, rc);
    }
    if (rc == OK && r.error_code != KERR_NONE) {
        snprintf(p->conn.error, sizeof p->conn.error, "ApiVersions: %s", kerr_message(r.error_code));
        rc = peer_lost(c, p, ERR_UNSUPPORTED);
    }
    if (rc == OK)
        rc = versions_keep(c, p, &r);
    arena_fini(&a);
    return rc;
}

static int peer_ready(struct client *c, struct peer *p, int64_t deadline_ms)
{
    int rc;

    if (p->conn.fd >= 0)
        return OK;
    peer_close(p);
    rc = link_open(&p->conn, p->host, p->port, deadline_ms);
    if (rc == OK)
        return peer_greet(c, p, deadline_ms);
    peer_lost(c, p, rc);
    if (!p->complained && rc != ERR_NOENT) {
        fprintf(stderr, "WARN Connection to %s:%u could not be established (%s). Broker may not be available; trying "
                "again for up to %d s.\n", p->host, p->port, p->conn.error, c->conf.api_timeout_ms / 1000);
        p->complained = true;
    }
    return rc;
}

/* ---- which peer ---- */

/* A connected one, else the first bootstrap address that answers. */
static int peer_any(struct client *c, struct peer **out, int64_t deadline_ms)
{
    int rc = ERR_CLOSED, worst = ERR_NOENT;

    for (size_t i = 0; i < c->peers_n; i++) {
        if (c->peers[i].conn.fd >= 0) {
            *out = &c->peers[i];
            return OK;
        }
    }
    for (size_t i = 0; i < c->peers_n; i++) {
        *out = &c->peers[i];
        rc = peer_ready(c, *out, deadline_ms);
        if (rc == OK)
            return OK;
        if (rc != ERR_NOENT)
            worst = rc;
    }
    if (worst == ERR_NOENT)
        return client_fail(c, ERR_NOENT, "No resolvable bootstrap urls given in bootstrap.servers");
    return worst;
}

static struct peer *peer_at(struct client *c, const char *host, uint16_t port)
{
    struct peer *p;

    for (size_t i = 0; i < c->peers_n; i++) {
        if (c->peers[i].port == port && strcmp(c->peers[i].host, host) == 0)
            return &c->peers[i];
    }
    p = peer_add(c);
    if (p != NULL) {
        snprintf(p->host, sizeof p->host, "%s", host);
        p->port = port;
    }
    return p;
}

static int version_choose(struct client *c, const struct peer *p, enum api_key key, int16_t *out)
{
    const struct api_info       *ours = api_info((int16_t)key);
    const struct client_version *v = version_of(p, key);

    if (v == NULL)
        return client_fail(c, ERR_UNSUPPORTED, "The node does not support %s", api_name((int16_t)key));
    *out = v->max < ours->max_version ? v->max : ours->max_version;
    if (*out < v->min || *out < ours->min_version)
        return client_fail(c, ERR_UNSUPPORTED, "The node does not support %s with version in range [%d,%d]. "
                           "The supported range is [%d,%d].", api_name((int16_t)key), ours->min_version,
                           ours->max_version, v->min,
                           v->max);
    return OK;
}

static int brokers_keep(struct client *c, const struct metadata_response *r)
{
    struct client_broker *v = arena_array(&c->metadata_arena, (size_t)r->brokers_n + 1, sizeof *v);

    if (v == NULL)
        return client_fail(c, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r->brokers_n; i++) {
        const struct metadata_response_metadata_response_broker *b = &r->brokers[i];
        v[i].id = b->node_id;
        v[i].port = b->port;
        v[i].host = arena_cstr(&c->metadata_arena, b->host);
        v[i].rack = b->rack.p != NULL ? arena_cstr(&c->metadata_arena, b->rack) : NULL;
        if (v[i].host == NULL)
            return client_fail(c, ERR_NOMEM, "out of memory");
    }
    c->brokers = v;
    c->brokers_n = (size_t)r->brokers_n;
    c->controller = r->controller_id;
    return OK;
}

static int brokers_ask(struct client *c, int64_t deadline_ms)
{
    struct metadata_request  q;
    struct metadata_response r;
    struct peer             *p = NULL;
    int16_t                  version;

    TRY(peer_any(c, &p, deadline_ms));
    TRY(version_choose(c, p, API_METADATA, &version));
    client_forget(c);
    arena_reset(&c->metadata_arena);
    metadata_request_init(&q);
    q.topics_n = 0;                     /* none (version 0 reads it as all, which does no harm) */
    q.allow_auto_topic_creation = true; /* versions before 4 cannot say no */
    TRY(peer_exchange(c, p, &client_metadata, version, &q, &c->metadata_arena, &r, deadline_ms));
    return brokers_keep(c, &r);
}

void client_forget(struct client *c)
{
    c->brokers = NULL;
    c->brokers_n = 0;
    c->controller = -1;
}

static int peer_of_broker(struct client *c, int32_t id, struct peer **out, int64_t deadline_ms)
{
    if (c->brokers == NULL || (id == CLIENT_CONTROLLER && c->controller < 0))
        TRY(brokers_ask(c, deadline_ms));
    if (id == CLIENT_CONTROLLER)
        id = c->controller;
    for (size_t i = 0; i < c->brokers_n; i++) {
        if (c->brokers[i].id == id && c->brokers[i].port > 0 && c->brokers[i].port <= UINT16_MAX) {
            *out = peer_at(c, c->brokers[i].host, (uint16_t)c->brokers[i].port);
            return *out != NULL ? peer_ready(c, *out, deadline_ms) : client_fail(c, ERR_NOMEM, "out of memory");
        }
    }
    client_forget(c);
    if (id < 0)
        return client_fail(c, ERR_AGAIN, "the cluster has no controller at the moment");
    return client_fail(c, ERR_AGAIN, "broker %d is not available", id);
}

static int peer_find(struct client *c, int32_t broker, struct peer **out, int64_t deadline_ms)
{
    return broker == CLIENT_ANY ? peer_any(c, out, deadline_ms) : peer_of_broker(c, broker, out, deadline_ms);
}

/* ---- calls ---- */

int64_t client_deadline(const struct client *c)
{
    return mono_ms() + c->conf.api_timeout_ms;
}

bool client_backoff(const struct client *c, int attempt, int64_t deadline_ms)
{
    int64_t wait = (int64_t)c->conf.retry_backoff_ms << (attempt < 6 ? attempt : 6);

    if (wait > BACKOFF_MAX_MS)
        wait = BACKOFF_MAX_MS;
    if (mono_ms() + wait >= deadline_ms)
        return false;
    nanosleep(&(struct timespec){ wait / 1000, wait % 1000 * 1000000 }, NULL);
    return true;
}

static bool worth_another_try(int rc)
{
    return rc == ERR_CLOSED || rc == ERR_TIMEOUT || rc == ERR_AGAIN;
}

/* Repeats find and, when api is given, the exchange, until it works, fails for good, or time is up. */
static int client_try(struct client *c, int32_t broker, const struct client_api *api, const void *request,
                      struct arena *a, void *response, struct peer **peer)
{
    int64_t deadline_ms = client_deadline(c);
    int     rc;

    for (int attempt = 0;; attempt++) {
        int64_t limit = mono_ms() + c->conf.request_timeout_ms;
        int16_t version;

        if (limit > deadline_ms)
            limit = deadline_ms;
        rc = peer_find(c, broker, peer, limit);
        if (rc == OK && api != NULL)
            rc = version_choose(c, *peer, api->key, &version);
        if (rc == OK && api != NULL)
            rc = peer_exchange(c, *peer, api, version, request, a, response, limit);
        if (!worth_another_try(rc))
            return rc;
        if (broker != CLIENT_ANY)
            client_forget(c);
        if (!client_backoff(c, attempt, deadline_ms))
            break;
    }
    return client_fail(c, ERR_TIMEOUT, "Timed out waiting for a node assignment. Call: %s", c->doing);
}

int client_call(struct client *c, int32_t broker, const struct client_api *api, const void *request, struct arena *a,
                void *response)
{
    struct peer *p;

    return client_try(c, broker, api, request, a, response, &p);
}

int client_api_version(struct client *c, int32_t broker, enum api_key key, int16_t *out)
{
    struct peer *p;

    TRY(client_try(c, broker, NULL, NULL, NULL, NULL, &p));
    return version_choose(c, p, key, out);
}

int client_broker_versions(struct client *c, int32_t broker, const struct client_version **v, size_t *n)
{
    struct peer *p;

    TRY(peer_find(c, broker, &p, mono_ms() + c->conf.request_timeout_ms));
    *v = p->versions;
    *n = p->versions_n;
    return OK;
}

int client_brokers(struct client *c, const struct client_broker **v, size_t *n)
{
    struct peer *p;

    for (int attempt = 0, rc; c->brokers == NULL; attempt++) {
        TRY(client_try(c, CLIENT_ANY, NULL, NULL, NULL, NULL, &p));
        rc = brokers_ask(c, client_deadline(c));
        if (rc != OK && (!worth_another_try(rc) || attempt > 8))
            return rc;
    }
    *v = c->brokers;
    *n = c->brokers_n;
    return OK;
}
