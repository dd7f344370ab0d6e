/* broker/controller/controller.h - the controller: one thread, one queue of events, everything asynchronous.
 *
 * Every broker runs one; the one whose /controller node stands is active: it makes and deletes topics'
 * partitions, chooses leaders and tells the brokers. What brokers do in the store on behalf of clients
 * (creating topics, enlarging them, changing their settings, asking for their deletion) is done on this thread as
 * well, active or not; so is what every broker does when /config/changes tells of new settings.
 *
 * OWNER   the daemon makes one. What opts names is borrowed and outlives it, except `local`, which it takes
 *         over.
 * THREADS any thread may call what is declared here. Completions (done) come on the controller's thread,
 *         with nothing locked: they must not wait.
 * ORDER   store, caches, replicas -> registration_register() -> controller_start() -> controller_wait_ready()
 *         -> listeners open. At the end: listeners closed -> controller_stop() -> replicas, store.
 * FAILURE a write that is refused because another broker has become controller makes this one resign. Kafka
 *         codes only appear in results for clients.
 */
#ifndef BROKER_CONTROLLER_CONTROLLER_H
#define BROKER_CONTROLLER_CONTROLLER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

struct broker_channel;
struct broker_configs;
struct broker_info;
struct config;
struct controller;
struct metadata_cache;
struct standing;
struct znode_broker;
struct store;
struct topic_configs;

struct controller_opts {
    const struct config      *cfg;
    const struct broker_info *broker;           /* this broker, as registered */
    int64_t                   broker_epoch;     /* from registration_register() */
    struct standing          *standing;         /* told of a registration after a new session. May be NULL */
    struct store             *store;
    struct metadata_cache    *metacache;
    struct topic_configs     *topic_configs;
    struct broker_configs    *broker_configs;   /* NULL: those of brokers are not followed */
    struct broker_channel    *local;            /* to this broker */
    /* The channel to another broker, as it is registered (info is good for the call only): opened when the active
     * controller meets it, closed when it goes, or registers anew (another epoch), or this controller resigns. NULL:
     * there are no others. Called on the controller's thread; must not wait. */
    int                     (*open_channel)(void *arg, int32_t id, int64_t epoch, const struct znode_broker *info,
                                            struct broker_channel **out);
    void                     *open_channel_arg;
    int64_t                   changes_keep_ms;  /* changes of settings are deleted at this age; 0: 15 minutes */
    /* Called on the controller's thread when topic_configs has new settings of a topic. May be NULL. */
    void                    (*configured)(void *arg, struct str topic);
    /* The same for this broker's own settings: broker_configs has new ones. May be NULL. */
    void                    (*reconfigured)(void *arg);
    void                     *configured_arg;
};

int  controller_new(struct controller **out, struct controller_opts *opts) must_use;
int  controller_start(struct controller *c) must_use;           /* starts the thread: register if need be, elect */

/* OK: a controller is known, and, if it is this broker, it has told this broker all its partitions.
 * ERR_TIMEOUT; ERR_* when the initialisation failed (logged). */
int  controller_wait_ready(struct controller *c, int64_t timeout_ms) must_use;

void controller_stop(struct controller *c);                     /* resigns, ends waiting operations, joins the thread */
void controller_free(struct controller **c);                    /* NULL-safe */
bool controller_active(const struct controller *c);

/* Any thread: a connection from this broker to `id` was reset or closed by the other side, and connecting again was
 * refused: its process has ended, as far as one can see from here. `epoch`: of the registration that the connection was
 * for; -1: not known. The active controller gives what the broker led to others; if `id` is the controller, it is
 * deposed, and another elected (see unreachable.c). May be called again and again. */
void controller_link_down(struct controller *c, int32_t id, int64_t epoch);

/* ---- what clients ask for: broker/api fills a topic_op and hands it over until done() ---- */

enum topic_op_kind { TOPIC_OP_CREATE, TOPIC_OP_DELETE, TOPIC_OP_GROW, TOPIC_OP_SETTINGS };

/* The numbers are those of IncrementalAlterConfigs. */
enum config_change { CONFIG_CHANGE_SET, CONFIG_CHANGE_DELETE, CONFIG_CHANGE_APPEND, CONFIG_CHANGE_SUBTRACT };

struct topic_op_assignment {            /* create: partition `index`; grow: the next new one */
    int32_t        index;
    const int32_t *brokers;
    int32_t        brokers_n;
};

struct topic_op_config {
    struct str name, value;             /* value null: an error, as the client gets it; settings: none to delete */
    int8_t     change;                  /* settings: enum config_change, or what the client sent in its place */
};

struct topic_op_topic {
    struct str                        name;
    bool                              broker;           /* settings: of a broker; name: its id, or "" for all */
    /* create, grow */
    int32_t                           partitions;       /* create: -1 = default; grow: the new total */
    int16_t                           replication;      /* create: -1 = default */
    const struct topic_op_assignment *assignments;      /* create: n == 0: none; grow: NULL = none */
    int32_t                           assignments_n;
    const struct topic_op_config     *configs;
    int32_t                           configs_n;
    /* result. With error != 0 set already the topic is skipped (duplicates, not authorised, ...) */
    int16_t                           error;
    const char                       *message;          /* NULL: the error's own text; memory of op->arena */
    struct uuid                       id;               /* create */
};

struct topic_op {
    struct topic_op        *next;               /* the controller's */
    enum topic_op_kind      kind;
    bool                    validate_only;
    bool                    replace;            /* settings: those that are not named are deleted, all are set */
    bool                    automatic;          /* create: nobody asked for the topic by itself */
    int32_t                 timeout_ms;         /* <= 0: do not wait for the effect: REQUEST_TIMED_OUT */
    struct topic_op_topic  *topics;
    int32_t                 topics_n;
    struct arena           *arena;              /* the controller's thread uses it until done() */
    void                  (*done)(struct topic_op *);
    void                   *arg;
    int64_t                 deadline;           /* the controller's */
};

void controller_topic_op(struct controller *c, struct topic_op *op);

#endif
