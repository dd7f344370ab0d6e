/* broker/cluster/registration.c */
#include "broker/cluster/registration.h"

#include "base/clock.h"
#include "base/log.h"
#include "metadata/store.h"
#include "metadata/zk_store.h"
#include "metadata/znodes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_MS 100                     /* at a node that is in the way */

/* ---- the top of the tree ------------------------------------------------------------------------------ */

struct pending {                        /* calls that are waited for by a later one */
    int rc;
};

static void top_made(struct store_call *call)
{
    struct pending *p = call->arg;

    if (call->rc != OK && call->rc != ERR_EXISTS)
        p->rc = call->rc;
    store_call_free(&call);
}

/* All creations are under way together; the read that follows comes after them. */
static int top_submit(struct store *s, struct pending *p, const char *path, struct bytes data)
{
    struct store_call *call = store_call_new(top_made, p);

    if (call == NULL)
        return ERR_NOMEM;
    store_create(call, path, data, 0);
    store_submit(s, call);
    return OK;
}

static int top_create(struct store *s, const char *proposed, struct pending *p)
{
    char id[UUID_TEXT_LEN + 1], *text;
    int rc = OK;

    for (size_t i = 0; znode_top_level[i] != NULL && rc == OK; i++)
        rc = top_submit(s, p, znode_top_level[i], (struct bytes){ NULL, 0 });
    TRY(rc);
    TRY(top_submit(s, p, "/cluster", (struct bytes){ NULL, 0 }));
    uuid_text(uuid_random(), id);
    text = znode_cluster_id_write(proposed != NULL ? proposed : id);
    if (text == NULL)
        return ERR_NOMEM;
    rc = top_submit(s, p, ZK_CLUSTER_ID, (struct bytes){ (uint8_t *)text, strlen(text) });
    free(text);
    return rc;
}

int cluster_open(struct store *s, const char *proposed, char id[UUID_TEXT_LEN + 1])
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct pending p = { OK };
    const char *found = NULL;
    int rc = call != NULL ? top_create(s, proposed, &p) : ERR_NOMEM;

    if (call == NULL)
        return rc;
    store_get(call, ZK_CLUSTER_ID, 0);
    if (store_run(s, call) != OK && rc == OK)       /* also when something failed: p must not be in use any more */
        rc = call->rc;
    if (rc == OK)
        rc = p.rc;
    if (rc == OK)
        rc = znode_cluster_id_read(call->ops[0].value, &call->arena, &found);
    if (rc == OK && strlen(found) > UUID_TEXT_LEN)
        rc = ERR_CORRUPT;
    if (rc == OK)
        memcpy(id, found, strlen(found) + 1);
    else
        log_error("metadata store: cannot make or read the top of the tree: %s", err_text(rc));
    store_call_free(&call);
    return rc;
}

int cluster_next_broker_id(struct store *s, int32_t reserved_max, int32_t *id)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    if (call == NULL)
        return ERR_NOMEM;
    store_set(call, ZK_BROKER_SEQID, (struct bytes){ NULL, 0 }, STORE_ANY_VERSION);
    rc = store_run(s, call);
    if (rc == OK)
        *id = reserved_max + call->ops[0].stat.version;
    else
        log_error(ZK_BROKER_SEQID ": cannot draw a broker id: %s", err_text(rc));
    store_call_free(&call);
    return rc;
}

/* ---- /brokers/ids/<id> -------------------------------------------------------------------------------- */

static const char *const protocols[] = { "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL" };

int registration_write(struct store_call *call, const struct broker_info *b, bool replace)
{
    struct znode_broker z = { .endpoints_n = b->endpoints_n, .rack = str_of(b->rack), .timestamp_ms = wall_ms(),
                              .version = b->payload_version };
    struct zpath path = zpath_broker(b->id);
    char *text;

    z.endpoints = calloc(b->endpoints_n + 1, sizeof *z.endpoints);
    if (z.endpoints == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < b->endpoints_n; i++)
        z.endpoints[i] = (struct znode_endpoint){
            .listener = str_of(b->endpoints[i].listener), .host = str_of(b->endpoints[i].host),
            .protocol = str_of(protocols[b->endpoints[i].security_protocol]), .port = b->endpoints[i].port,
        };
    text = znode_broker_write(&z);
    free(z.endpoints);
    if (text == NULL)
        return ERR_NOMEM;
    if (replace)
        store_delete(call, path.z, STORE_ANY_VERSION);
    store_create(call, path.z, (struct bytes){ NULL, 0 }, STORE_EPHEMERAL);
    store_set(call, path.z, (struct bytes){ (uint8_t *)text, strlen(text) }, 0);
    free(text);
    return OK;
}

/* Does another registered broker advertise one of our endpoints? One read of each; there are few. */
static int endpoints_free(struct store *s, const struct broker_info *b, const struct str *ids, size_t n)
{
    int rc = OK;

    for (size_t i = 0; i < n && rc == OK; i++) {
        struct store_call *call = store_call_new(NULL, NULL);
        struct znode_broker z;

        if (call == NULL)
            return ERR_NOMEM;
        if ((int32_t)strtol(ids[i].p, NULL, 10) == b->id) {
            store_call_free(&call);
            continue;                   /* our own place: registration_judge() */
        }
        store_get(call, zpath_broker((int32_t)strtol(ids[i].p, NULL, 10)).z, 0);
        if (store_run(s, call) == OK && znode_broker_read(call->ops[0].value, &call->arena, &z) == OK)
            for (size_t k = 0; k < z.endpoints_n * b->endpoints_n; k++) {
                const struct znode_endpoint *theirs = &z.endpoints[k / b->endpoints_n];
                const struct broker_endpoint *ours = &b->endpoints[k % b->endpoints_n];

                if (theirs->port == ours->port && str_is(theirs->host, ours->host)) {
                    log_error("broker %s advertises %s:%d already; give this broker its own advertised.listeners",
                              ids[i].p, ours->host, ours->port);
                    rc = ERR_EXISTS;
                }
            }
        store_call_free(&call);
    }
    return rc;
}

static int endpoints_check(struct store *s, const struct broker_info *b)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    if (call == NULL)
        return ERR_NOMEM;
    store_children(call, ZK_BROKER_IDS, 0);
    rc = store_run(s, call);
    if (rc == OK)
        rc = endpoints_free(s, b, call->ops[0].children, call->ops[0].children_n);
    store_call_free(&call);
    return rc;
}

void registration_read(struct store_call *call, int32_t id)
{
    store_get(call, zpath_broker(id).z, 0);
}

enum registration registration_judge(struct store *s, const struct store_call *call)
{
    int64_t owner = call->ops_n > 0 ? call->ops[0].stat.ephemeral_owner : 0;

    if (call->rc == ERR_NOENT)
        return REGISTRATION_FREE;
    if (owner != 0 && owner == store_session(s))
        return REGISTRATION_OURS;
    return owner != 0 && owner == zk_store_old_session(s) ? REGISTRATION_LEFT : REGISTRATION_TAKEN;
}

/* The last operation is the read, or the write of the data; both tell when the node was made. */
int64_t registration_epoch(const struct store_call *call)
{
    return call->ops[call->ops_n - 1].stat.czxid;
}

void registration_holder(const struct store_call *call, char *text, size_t size)
{
    const struct store_op *op = &call->ops[0];
    struct znode_broker z;
    struct arena a;

    arena_init(&a, 1 << 20);
    snprintf(text, size, "a session 0x%" PRIx64 " that is not known here", (uint64_t)op->stat.ephemeral_owner);
    if (op->stat.ephemeral_owner == 0)
        snprintf(text, size, "a node that does not end with a session; delete it if that broker is not there");
    else if (znode_broker_read(op->value, &a, &z) == OK && z.endpoints_n > 0)
        snprintf(text, size, "%.*s:%d, session 0x%" PRIx64, STR_ARG(z.endpoints[0].host), z.endpoints[0].port,
                 (uint64_t)op->stat.ephemeral_owner);
    arena_fini(&a);
}

/* Would whoever registered this have to listen where we do? */
static bool same_endpoints(const struct broker_info *b, const struct store_op *op)
{
    struct znode_broker z;
    struct arena a;
    bool same = false;

    arena_init(&a, 1 << 20);
    if (op->stat.ephemeral_owner != 0 && znode_broker_read(op->value, &a, &z) == OK) {
        same = z.endpoints_n == b->endpoints_n;
        for (size_t i = 0; same && i < b->endpoints_n; i++)
            same = z.endpoints[i].port == b->endpoints[i].port && str_is(z.endpoints[i].host, b->endpoints[i].host);
    }
    arena_fini(&a);
    return same;
}

/* OK with *epoch 0: the node is in the way, and `waits` says whether it is worth waiting. */
static int register_once(struct store *s, const struct broker_info *b, int64_t *epoch, bool last, bool *waits)
{
    struct store_call *read = store_call_new(NULL, NULL), *write = store_call_new(NULL, NULL);
    enum registration found = REGISTRATION_TAKEN;
    char holder[300];
    int rc = read != NULL && write != NULL ? OK : ERR_NOMEM;

    *epoch = 0;
    if (rc == OK) {
        registration_read(read, b->id);
        rc = store_run(s, read);
        if (rc == OK || rc == ERR_NOENT) {
            found = registration_judge(s, read);
            rc = OK;
        }
    }
    if (rc == OK && found == REGISTRATION_OURS)
        *epoch = registration_epoch(read);
    if (rc == OK && (found == REGISTRATION_FREE || found == REGISTRATION_LEFT)) {
        rc = registration_write(write, b, found == REGISTRATION_LEFT);
        if (rc == OK)
            rc = store_run(s, write);
        if (rc == OK)
            *epoch = registration_epoch(write);
        else if (rc == ERR_EXISTS || rc == ERR_NOENT || rc == ERR_VERSION)
            rc = OK;                    /* somebody was faster: look again */
    }
    if (rc == OK && found == REGISTRATION_TAKEN) {
        *waits = same_endpoints(b, &read->ops[0]);
        registration_holder(read, holder, sizeof holder);
        if (last || !*waits) {
            log_error("broker id %d is in use by another live broker (%s); give this one its own broker.id", b->id,
                      holder);
            rc = ERR_EXISTS;
        }
    }
    store_call_free(&read);
    store_call_free(&write);
    return rc;
}

int registration_register(struct store *s, const struct broker_info *b, int32_t wait_ms, int64_t *epoch)
{
    static const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
    int64_t until = mono_ms() + wait_ms;
    bool waits = false, said = false, last;
    int rc;

    *epoch = 0;
    while (true) {
        last = mono_ms() >= until;
        rc = endpoints_check(s, b);
        if (rc == OK)
            rc = register_once(s, b, epoch, last, &waits);
        if (rc == ERR_CLOSED && !last)
            rc = OK;                    /* the session has ended since the start began: with the next one */
        if (rc != OK || *epoch != 0)
            break;
        if (waits && !said)
            log_info("broker %d is still registered by its last run; waiting for that session to end", b->id);
        said |= waits;
        nanosleep(&pause, NULL);
    }
    if (rc != OK && rc != ERR_EXISTS)
        log_error("broker %d cannot be registered: %s", b->id, err_text(rc));
    return rc;
}

/* ---- logs that are lost --------------------------------------------------------------------------------- */

static void event_made(struct store_call *call)
{
    if (call->rc != OK)
        log_error(ZK_LOG_DIR_EVENTS ": the controller cannot be told that logs are offline: %s; it goes on believing "
                  "that this broker has them", err_text(call->rc));
    store_call_free(&call);
}

void registration_dir_event(struct store *s, int32_t broker_id)
{
    struct store_call *call = store_call_new(event_made, NULL);
    char *text = znode_dir_event_write(broker_id);

    if (call != NULL && text != NULL) {
        store_create(call, ZK_LOG_DIR_EVENTS "/" ZNODE_DIR_EVENT, (struct bytes){ (uint8_t *)text, strlen(text) },
                     STORE_SEQUENTIAL);
        store_submit(s, call);
    } else {
        log_error(ZK_LOG_DIR_EVENTS ": out of memory: the controller is not told that logs are offline");
        store_call_free(&call);
    }
    free(text);
}
