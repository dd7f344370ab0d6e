/* broker/start.c - the order in which the daemon's parts come up.
 *
 * Each part has a row in `parts`: up() makes it from those above it, down() takes it away again. A failed start takes
 * down what was up, like a stop. Going down, `accept` comes first: requests in work end while everything that they
 * need still stands; what is parked is ended by its owner (controller, replicas) before the network threads go.
 */
#include "broker/start.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "base/timer.h"
#include "broker/api/api.h"
#include "broker/broker.h"
#include "broker/cluster/adopt.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/doubts.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/registration.h"
#include "broker/cluster/standing.h"
#include "broker/cluster/topic_configs.h"
#include "broker/conn_limits.h"
#include "broker/controller/controller.h"
#include "broker/controller/orders.h"
#include "broker/group/expiry.h"
#include "broker/group/groups.h"
#include "broker/log_settings.h"
#include "broker/net/server.h"
#include "broker/peer/isr_changes.h"
#include "broker/peer/leaving.h"
#include "broker/peer/producer_blocks.h"
#include "broker/peer/remote_channel.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "broker/reconfigure.h"
#include "broker/txn/producer_ids.h"
#include "config/config.h"
#include "metadata/lmdb_store.h"
#include "metadata/zk_store.h"
#include "storage/logmgr.h"

#include <limits.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GRACE_MS          2000          /* for peers that do not read their last answer; a supervisor waits 5 s */
#define CONTROLLER_MS     60000
#define LOADING_MS        500           /* logs that take longer are loaded while the others are served */
#define LOST_MS           1000
#define ROOM_MS           5000          /* between two attempts to get logs for which there was no room; it doubles */
#define ROOM_MAX_MS       300000
#define REGISTRATION_MS   5000          /* servers notice the end of a session a little late */
#define HOST_NAME_BYTES   256
#define SESSION_FILE      ".klamm-zookeeper"        /* Apache Kafka looks at directories only */

struct daemon {
    struct broker           b;          /* first: the rest is of the start and stop only */
    struct start_opts       o;
    struct broker_info      info;
    struct broker_endpoint *endpoints;
    char                    host[HOST_NAME_BYTES];      /* this machine, where no host is configured */
    int64_t                 epoch;
    struct standing         standing;
    struct remote_channels  channels;   /* the controller's to other brokers */
    struct isr_changes     *isr;        /* NULL: there are no other brokers */
    struct producer_blocks *blocks;     /* NULL: producer ids are claimed in the store */
    struct logmgr_loaded    loaded;     /* when the listeners were opened */
    atomic_bool             lost;       /* the controller is to be told that logs are offline */
    struct job             *lost_job;
    int64_t                 room_ms, room_due_ms;       /* of lost_job: how long it waits, until when */
    struct group_expiry    *expiry;
    struct reconfigurer    *reconfigurer;
    bool                    adopts, logs_run, controller_runs, ready;
    size_t                  up_n;       /* rows of `parts` that are up */
    int                     rc;         /* of going down */
};

/* ---- background ---- */

static int timer_up(struct daemon *d)
{
    return timer_new(&d->b.timer);
}

static void timer_down(struct daemon *d)
{
    timer_free(&d->b.timer);
}

static int sched_up(struct daemon *d)
{
    return scheduler_new(&d->b.sched, d->b.cfg->background_threads);
}

static void sched_down(struct daemon *d)
{
    scheduler_free(&d->b.sched);
}

/* ---- log directories, store, who we are ---- */

static int dirs_up(struct daemon *d)
{
    struct logmgr_opts o;

    log_settings_of(d->b.cfg, &o);
    return logmgr_open(&o, &d->b.logs);
}

static void dirs_down(struct daemon *d)
{
    logmgr_free(&d->b.logs);
}

/* The session is kept in the first log directory that works, for the start after a kill -9. */
static void session_path(struct daemon *d, char *path, size_t size)
{
    struct logmgr_dir dir;

    path[0] = '\0';
    for (size_t i = 0; i < logmgr_dirs(d->b.logs) && path[0] == '\0'; i++)
        if (logmgr_dir(d->b.logs, i, &dir) == OK && !dir.offline)
            snprintf(path, size, "%s/" SESSION_FILE, dir.path);
}

static bool is_given(const struct config *cfg, const char *key)
{
    for (size_t i = 0; i < cfg->given_n; i++)
        if (strcmp(cfg->given[i].key, key) == 0)
            return true;
    return false;
}

/* With Apache Kafka's 10, a controller that reads the states of 10,000 partitions waits 1,000 times for an answer.
 * Where nobody asks for a number it is one that ZooKeeper's own limit for a server (1,000) leaves room for. */
static int32_t requests_in_flight(const struct config *cfg)
{
    return is_given(cfg, "zookeeper.max.in.flight.requests") ? cfg->zookeeper_max_in_flight_requests : 200;
}

static int store_up(struct daemon *d)
{
    const struct config *cfg = d->b.cfg;
    char session[PATH_MAX];
    struct zk_store_opts o = { .connect = cfg->zookeeper_connect, .make_chroot = true, .session_file = session,
                               .session_timeout_ms = cfg->zookeeper_session_timeout_ms,
                               .connection_timeout_ms = cfg->zookeeper_session_timeout_ms,
                               .max_in_flight = requests_in_flight(cfg) };

    if (cfg->zookeeper_connect == NULL)
        return lmdb_store_open(&d->b.store, cfg->log_dirs_parsed.v[0]);
    if (cfg->zookeeper_connection_timeout_ms != CONFIG_UNSET_INT)
        o.connection_timeout_ms = cfg->zookeeper_connection_timeout_ms;
    session_path(d, session, sizeof session);
    if (session[0] == '\0')
        o.session_file = NULL;
    return zk_store_open(&d->b.store, &o);
}

static void store_down(struct daemon *d)
{
    store_free(&d->b.store);
}

static int choose_id(struct daemon *d, int32_t found)
{
    const struct config *cfg = d->b.cfg;

    d->b.id = cfg->broker_id;
    if (d->b.id >= 0)
        return OK;
    d->b.id = found;
    if (found >= 0)
        return OK;
    if (!cfg->broker_id_generation_enable) {
        log_error("broker.id is not set and broker.id.generation.enable=false; set broker.id to a number that no other "
                  "broker of the cluster has");
        return ERR_INVALID;
    }
    return cluster_next_broker_id(d->b.store, cfg->reserved_broker_max_id, &d->b.id);
}

static int identity_up(struct daemon *d)
{
    const struct logmgr_identity *found = logmgr_found_identity(d->b.logs);

    TRY(cluster_open(d->b.store, found->cluster_id[0] != '\0' ? found->cluster_id : NULL, d->b.cluster_id));
    TRY(choose_id(d, found->broker_id));
    if (d->b.cfg->zookeeper_connect == NULL)
        TRY(adopt_allowed(d->b.store, d->o.adopt, &d->adopts));
    else if (d->o.adopt || d->o.adopt_configs != NULL)
        log_warn("--adopt and --adopt-configs do nothing with zookeeper.connect: topics, their partitions and settings "
                 "are in the tree there");
    if (d->o.adopt && d->adopts)
        logmgr_take_over(d->b.logs);
    return logmgr_identify(d->b.logs, d->b.id, d->b.cluster_id);
}

static int adoption_up(struct daemon *d)
{
    struct adopt_opts o = { .store = d->b.store, .cfg = d->b.cfg, .broker_id = d->b.id,
                            .configs_file = d->o.adopt_configs, .all = d->adopts, .asked = d->o.adopt };
    size_t n = logmgr_dirs(d->b.logs);
    struct logmgr_dir dir;
    const char **paths;
    int rc;

    if (d->b.cfg->zookeeper_connect != NULL)
        return OK;
    paths = calloc(n, sizeof *paths);
    if (paths == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (logmgr_dir(d->b.logs, i, &dir) == OK && !dir.offline)
            paths[o.dirs_n++] = dir.path;
    o.dirs = paths;
    rc = adopt_partitions(&o);
    free(paths);
    return rc;
}

/* What was changed while brokers ran holds for all that follows, and for what came before: that has not begun yet. */
static int settings_up(struct daemon *d)
{
    struct config *old = (struct config *)(uintptr_t)d->b.cfg;
    struct logmgr_opts o;

    TRY(broker_configs_new(&d->b.broker_configs, d->b.store, d->b.cfg, d->b.id));
    d->b.cfg = broker_configs_get(d->b.broker_configs);
    config_unref(&old);
    log_settings_of(d->b.cfg, &o);
    TRY(logmgr_configure(d->b.logs, &o));
    return scheduler_resize(d->b.sched, d->b.cfg->background_threads);
}

static void settings_down(struct daemon *d)
{
    broker_configs_free(&d->b.broker_configs);
}

static int caches_up(struct daemon *d)
{
    TRY(metadata_cache_new(&d->b.metacache));
    TRY(doubts_new(&d->b.doubts, d->b.timer));
    TRY(topic_configs_new(&d->b.topic_configs, d->b.store, d->b.cfg));
    TRY(topic_configs_load_all(d->b.topic_configs));            /* the logs that are loaded next ask for them */
    return producer_ids_new(&d->b.producer_ids, d->b.store, d->b.id);
}

static void caches_down(struct daemon *d)
{
    producer_ids_free(&d->b.producer_ids);
    topic_configs_free(&d->b.topic_configs);
    doubts_free(&d->b.doubts);
    metadata_cache_free(&d->b.metacache);
}

/* ---- other brokers ---- */

/* The connection to another broker has gone, and it does not listen any more. */
static void on_down(void *arg, int32_t id, int64_t epoch)
{
    struct daemon *d = arg;

    doubts_note(d->b.doubts, id);
    controller_link_down(d->b.controller, id, epoch);
}

static void on_controller_down(void *arg, int32_t id)
{
    on_down(arg, id, -1);
}

static int others_up(struct daemon *d)
{
    struct isr_changes_opts o = { .cfg = d->b.cfg, .ibp = d->b.ibp, .broker_id = d->b.id, .standing = &d->standing,
                                  .metacache = d->b.metacache, .store = d->b.store, .down = on_controller_down,
                                  .arg = d };

    struct producer_blocks_opts bo = { .cfg = d->b.cfg, .ibp = d->b.ibp, .broker_id = d->b.id,
                                       .standing = &d->standing, .metacache = d->b.metacache,
                                       .ids = d->b.producer_ids };

    if (d->b.cfg->zookeeper_connect == NULL)
        return OK;
    TRY(isr_changes_new(&d->isr, &o));
    if (!ibp_has(&d->b.ibp, IBP_ALLOCATE_PRODUCER_IDS))
        return OK;
    TRY(producer_blocks_new(&d->blocks, &bo));
    producer_ids_from(d->b.producer_ids, producer_blocks_claim, d->blocks);
    return OK;
}

static void others_down(struct daemon *d)
{
    producer_blocks_free(&d->blocks);
    isr_changes_free(&d->isr);
}

/* ---- logs and replicas ---- */

static void opts_of_topic(void *arg, struct str topic, struct log_opts *out)
{
    struct topic_config_entry *e = topic_configs_get(arg, topic);

    partition_log_opts(&e->cfg, out);
    topic_config_entry_put(&e);
}

/* There was no room for logs that the controller wanted made here, and now there is some: it shall ask again. Where
 * that fails once more (what is lacking is not what we look at: inodes, a quota) it has more and more time. */
static bool room_again(struct daemon *d)
{
    int64_t now_ms = mono_ms();

    if (now_ms < d->room_due_ms || !logmgr_has_room(d->b.logs) || !replicas_lacked_room(d->b.replicas))
        return false;
    d->room_ms = d->room_ms == 0 || now_ms > d->room_due_ms + ROOM_MAX_MS ? ROOM_MS : d->room_ms * 2;
    if (d->room_ms > ROOM_MAX_MS)
        d->room_ms = ROOM_MAX_MS;
    d->room_due_ms = now_ms + d->room_ms;
    log_info("there is room for the logs that could not be made; the controller is asked to speak of them again");
    return true;
}

/* The controller, wherever it is, learns of it by a node in the store, and asks for each partition. */
static void tell_lost(void *arg)
{
    struct daemon *d = arg;
    bool lost = atomic_exchange(&d->lost, false), room = room_again(d);

    if (lost || room)
        registration_dir_event(d->b.store, d->b.id);
}

static void note_lost(void *arg)
{
    struct daemon *d = arg;

    atomic_store(&d->lost, true);
}

static void on_offline(void *arg, size_t dir_index, const char *path)
{
    struct daemon *d = arg;
    struct logmgr_dir dir;

    for (size_t i = 0; i < logmgr_dirs(d->b.logs); i++)
        if (logmgr_dir(d->b.logs, i, &dir) == OK && !dir.offline) {
            if (dir_index == 0 && d->b.cfg->zookeeper_connect == NULL)
                log_error("%s held the metadata store as well: topics cannot be made, changed or deleted until it is "
                          "mended and the broker restarted", path);
            replicas_dir_failed(d->b.replicas, dir_index);
            return;
        }
    log_fatal("%s was the last log directory that worked; the broker stops", path);
    d->o.on_dead();
}

static void on_ready(void *arg, struct str topic, int32_t partition, int rc)
{
    struct daemon *d = arg;

    replicas_log_ready(d->b.replicas, topic, partition, rc);
}

/* What is open within a moment is waited for, so that after most starts no client is told to come back. */
static int logs_up(struct daemon *d)
{
    int rc;

    logmgr_on_offline(d->b.logs, on_offline, d);
    logmgr_on_ready(d->b.logs, on_ready, d);
    TRY(logmgr_load(d->b.logs, opts_of_topic, d->b.topic_configs));
    d->logs_run = true;
    TRY(logmgr_start(d->b.logs, d->b.sched));
    TRY(scheduler_add(d->b.sched, "lost-logs", LOST_MS, LOST_MS, tell_lost, d, &d->lost_job));
    rc = logmgr_wait_loaded(d->b.logs, LOADING_MS, &d->loaded);
    return rc == ERR_TIMEOUT ? OK : rc;
}

static void logs_down(struct daemon *d)
{
    int rc = d->logs_run ? logmgr_stop(d->b.logs) : OK;     /* what was not loaded whole must not be called clean */

    job_cancel(d->b.sched, &d->lost_job);
    if (rc != OK)
        d->rc = rc;
}

static int replicas_up(struct daemon *d)
{
    struct replicas_opts o = { .broker_id = d->b.id, .cfg = d->b.cfg, .logs = d->b.logs, .sched = d->b.sched,
                               .timer = d->b.timer, .metacache = d->b.metacache,
                               .topic_configs = d->b.topic_configs,
                               .isr = d->isr != NULL ? isr_changes_changer(d->isr) : NULL,
                               .standing = &d->standing, .doubts = d->b.doubts, .on_lost = note_lost, .lost_arg = d };

    return replicas_new(&d->b.replicas, &o);
}

static void replicas_down(struct daemon *d)
{
    controller_free(&d->b.controller);          /* now that nobody can ask it for anything any more */
    orders_free(&d->b.orders);
    groups_free(&d->b.groups);                  /* which the orders tell of deleted partitions */
    replicas_free(&d->b.replicas);
}

/* ---- consumer groups ---- */

static void on_role(void *arg, struct str topic, int32_t partition, bool leads)
{
    struct daemon *d = arg;

    if (!str_eq(topic, groups_topic))
        return;
    if (leads)
        groups_leads(d->b.groups, partition);
    else
        groups_resigns(d->b.groups, partition);
}

static int groups_up(struct daemon *d)
{
    struct groups_opts o = { .cfg = d->b.cfg, .replicas = d->b.replicas, .metacache = d->b.metacache,
                             .store = d->b.store, .sched = d->b.sched, .timer = d->b.timer };

    TRY(groups_new(&d->b.groups, &o));
    TRY(group_expiry_new(&d->expiry, d->b.groups, d->b.cfg, d->b.sched));
    replicas_on_role(d->b.replicas, on_role, d);
    return OK;
}

static void groups_down(struct daemon *d)
{
    replicas_on_role(d->b.replicas, NULL, NULL);
    group_expiry_free(&d->expiry);
}

/* ---- the network ---- */

/* Apache Kafka's default of 100 KB makes a network thread wake up five times for each MB that it sends. Where nobody
 * asks for a size, the system finds a better one for each connection. */
static int send_buffer_bytes(const struct config *cfg)
{
    return is_given(cfg, "socket.send.buffer.bytes") ? cfg->socket_send_buffer_bytes : -1;
}

static int net_up(struct daemon *d)
{
    const struct config *cfg = d->b.cfg;
    size_t n = cfg->listeners_parsed_n;
    struct listen_opts *lo = calloc(n, sizeof *lo);
    struct server_opts o = { .listeners = lo, .listeners_n = n };
    struct conn_limits limits;
    int rc = conn_limits_of(&limits, cfg, cfg);

    if (lo == NULL && rc == OK)
        rc = ERR_NOMEM;
    for (size_t i = 0; i < n && rc == OK; i++) {
        const struct listener *l = &cfg->listeners_parsed[i];

        lo[i] = (struct listen_opts){ .name = l->name, .host = l->host, .port = l->port };
        lo[i].network_threads = l->num_network_threads;
        lo[i].inter_broker = strcmp(l->name, cfg->inter_broker_listener) == 0;
    }
    o.limits = limits.limits;
    o.io_threads = cfg->num_io_threads;
    o.queued_max_requests = (size_t)cfg->queued_max_requests;
    o.queued_max_request_bytes = cfg->queued_max_request_bytes;
    o.request_max_bytes = (size_t)cfg->socket_request_max_bytes;
    o.send_buffer_bytes = send_buffer_bytes(cfg);
    o.receive_buffer_bytes = cfg->socket_receive_buffer_bytes;
    o.backlog = cfg->socket_listen_backlog_size;
    o.max_idle_ms = cfg->connections_max_idle_ms;
    o.handle = api_dispatch;
    o.broker = &d->b;
    if (rc == OK)
        rc = server_new(&d->b.net, &o);
    free(lo);
    conn_limits_fini(&limits);
    return rc;
}

static void net_down(struct daemon *d)
{
    server_free(&d->b.net, GRACE_MS);
}

/* ---- in the cluster ---- */

/* What clients are told where the configuration names no host: this machine's full name, as Kafka does. */
static void find_host_name(struct daemon *d)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME }, *found = NULL;

    if (gethostname(d->host, sizeof d->host - 1) != 0 || d->host[0] == '\0')
        snprintf(d->host, sizeof d->host, "localhost");
    if (getaddrinfo(d->host, NULL, &hints, &found) == 0) {
        if (found->ai_canonname != NULL)
            snprintf(d->host, sizeof d->host, "%s", found->ai_canonname);
        freeaddrinfo(found);
        return;
    }
    log_warn("this machine's name '%s' cannot be resolved, so clients are told to connect to localhost; to let other "
             "machines in, set advertised.listeners", d->host);
    snprintf(d->host, sizeof d->host, "localhost");
}

/* The one cause of "connects, then fails" that can be seen from here: an advertised name that nobody can resolve. */
static void check_advertised(const struct broker_endpoint *e)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int err = getaddrinfo(e->host, NULL, &hints, &found);

    if (err == 0)
        freeaddrinfo(found);
    else
        log_warn("advertised.listeners: clients of %s are told to connect to '%s', which cannot be resolved here (%s); "
                 "unless they can resolve it, set a name or address that they can reach", e->listener, e->host,
                 gai_strerror(err));
}

static int32_t port_of(struct daemon *d, const struct listener *advertised)
{
    for (size_t i = 0; advertised->port == 0 && i < d->b.cfg->listeners_parsed_n; i++)
        if (strcmp(d->b.cfg->listeners_parsed[i].name, advertised->name) == 0)
            return server_port(d->b.net, i);
    return advertised->port;
}

static int register_up(struct daemon *d)
{
    const struct config *cfg = d->b.cfg;
    size_t n = cfg->advertised_parsed_n;

    d->endpoints = calloc(n, sizeof *d->endpoints);
    if (d->endpoints == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct listener *l = &cfg->advertised_parsed[i];

        if (l->host == NULL && d->host[0] == '\0')
            find_host_name(d);
        d->endpoints[i] = (struct broker_endpoint){ .listener = l->name, .host = l->host != NULL ? l->host : d->host,
                                                    .port = port_of(d, l), .security_protocol = (int16_t)l->protocol };
        if (l->host != NULL)
            check_advertised(&d->endpoints[i]);
    }
    d->info = (struct broker_info){ .id = d->b.id, .rack = cfg->broker_rack, .endpoints = d->endpoints,
                                    .endpoints_n = n,
                                    .payload_version = ibp_has(&d->b.ibp, IBP_FEATURE_VERSIONS) ? 5
                                                     : ibp_has(&d->b.ibp, IBP_REGISTRATION_V4) ? 4 : 2 };
    TRY(registration_register(d->b.store, &d->info, cfg->zookeeper_session_timeout_ms + REGISTRATION_MS, &d->epoch));
    standing_registered(&d->standing, d->epoch);
    return OK;
}

static void register_down(struct daemon *d)
{
    free(d->endpoints);
    doubts_stop(d->b.doubts);
    replicas_stop(d->b.replicas);       /* what is parked there ends, while the network can still answer */
    groups_stop(d->b.groups);
}

static void on_configured(void *arg, struct str topic)
{
    struct daemon *d = arg;

    replicas_configure(d->b.replicas, topic);
}

static void on_reconfigured(void *arg)
{
    struct daemon *d = arg;

    reconfigurer_look(d->reconfigurer);
}

static int controller_up(struct daemon *d)
{
    struct orders_opts oo = { .replicas = d->b.replicas, .metacache = d->b.metacache,
                              .topic_configs = d->b.topic_configs, .groups = d->b.groups, .standing = &d->standing,
                              .doubts = d->b.doubts };
    struct controller_opts o = { .cfg = d->b.cfg, .broker = &d->info, .broker_epoch = d->epoch, .store = d->b.store,
                                 .standing = &d->standing,
                                 .metacache = d->b.metacache, .topic_configs = d->b.topic_configs,
                                 .configured = on_configured, .reconfigured = on_reconfigured, .configured_arg = d,
                                 .broker_configs = d->b.broker_configs,
                                 .open_channel = remote_channel_open, .open_channel_arg = &d->channels };

    d->channels = (struct remote_channels){ .cfg = d->b.cfg, .ibp = d->b.ibp, .broker_id = d->b.id, .down = on_down,
                                            .arg = d };
    TRY(orders_new(&d->b.orders, &oo));
    TRY(local_channel_new(&o.local, d->b.orders));
    TRY(reconfigurer_new(&d->reconfigurer, &d->b));
    TRY(controller_new(&d->b.controller, &o));
    TRY(controller_start(d->b.controller));
    d->controller_runs = true;
    return controller_wait_ready(d->b.controller, CONTROLLER_MS);
}

static void controller_down(struct daemon *d)
{
    if (d->isr != NULL)
        isr_changes_stop(d->isr);
    if (d->blocks != NULL)
        producer_blocks_stop(d->blocks);
    if (d->controller_runs)
        controller_stop(d->b.controller);
    if (d->b.orders != NULL)
        orders_stop(d->b.orders);
    reconfigurer_free(&d->reconfigurer);
}

static int accept_up(struct daemon *d)
{
    server_accept(d->b.net);
    return OK;
}

static void accept_down(struct daemon *d)
{
    logmgr_end_loading(d->b.logs);
    server_drain(d->b.net);
}

/* Before anything is taken down: clients are still served, and learn from us who leads now. */
static void leave_down(struct daemon *d)
{
    struct leaving_opts o = { .cfg = d->b.cfg, .ibp = d->b.ibp, .broker_id = d->b.id, .standing = &d->standing,
                              .metacache = d->b.metacache, .net = d->b.net };

    if (d->b.cfg->zookeeper_connect == NULL || !d->ready)
        return;
    replicas_leave(d->b.replicas);
    doubts_note(d->b.doubts, d->b.id);  /* who asks for a leader waits until it is known who follows us */
    leave_cluster(&o);
}

/* ---- all of it ---- */

static const struct part {
    const char *what;                   /* completes "cannot start: " */
    int       (*up)(struct daemon *);
    void      (*down)(struct daemon *);
} parts[] = {
    { "the timer",                  timer_up,      timer_down },
    { "the background threads",     sched_up,      sched_down },
    { "the log directories",        dirs_up,       dirs_down },
    { "the metadata store",         store_up,      store_down },
    { "the broker's identity",      identity_up,   NULL },
    { "this broker's settings",     settings_up,   settings_down },
    { "the adoption of partitions", adoption_up,   NULL },
    { "the caches of metadata",     caches_up,     caches_down },
    { "the ways to other brokers",  others_up,     others_down },
    { "the replica manager",        replicas_up,   replicas_down },
    { "consumer groups",            groups_up,     groups_down },
    { "the logs",                   logs_up,       logs_down },
    { "the network",                net_up,        net_down },
    { "the broker's registration",  register_up,   register_down },
    { "the controller",             controller_up, controller_down },
    { "accepting",                  accept_up,     accept_down },
    { "leaving",                    NULL,          leave_down },
};
#define PARTS_N (sizeof parts / sizeof parts[0])

static void say_ready(struct daemon *d, int64_t began_ns)
{
    const struct config *cfg = d->b.cfg;
    long long ms = (mono_ns() - began_ns) / 1000000;
    char where[512] = "", text[300];
    size_t n = 0;

    for (size_t i = 0; i < cfg->listeners_parsed_n && n < sizeof where; i++) {
        struct listener l = cfg->listeners_parsed[i];
        int k;

        l.port = server_port(d->b.net, i);
        listener_text(&l, text, sizeof text);
        k = snprintf(where + n, sizeof where - n, "%s%s %s", i > 0 ? ", " : "", l.name, text);
        n += k > 0 ? (size_t)k : 0;
    }
    n = 0;
    if (logmgr_wait_loaded(d->b.logs, 0, &d->loaded) != OK)
        n = d->loaded.logs - d->loaded.ready - d->loaded.failed;
    snprintf(text, sizeof text, n > 0 ? " (%zu of them are still being loaded)" : "", n);
    log_info("ready in %lld ms: broker %d of cluster %s, %s, %zu partitions in %s%s%s", ms, d->b.id, d->b.cluster_id,
             where, d->loaded.logs, cfg->log_dirs_parsed.v[0], cfg->log_dirs_parsed.n > 1 ? ",..." : "", text);
}

static int go_down(struct daemon *d)
{
    struct config *cfg = (struct config *)(uintptr_t)d->b.cfg;
    int rc;

    while (d->up_n > 0)
        if (parts[--d->up_n].down != NULL)
            parts[d->up_n].down(d);
    config_unref(&cfg);
    rc = d->rc;
    free(d);
    return rc;
}

/* Logs and connections need far more descriptors than the usual soft limit. */
static void raise_descriptor_limit(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

int broker_start(struct broker **out, const struct start_opts *o)
{
    struct daemon *d = calloc(1, sizeof *d);
    int rc = OK;

    if (d == NULL)
        return ERR_NOMEM;
    d->b.cfg = config_ref(o->cfg);
    ibp_init(&d->b.ibp, d->b.cfg->inter_broker_protocol_version);
    standing_init(&d->standing);
    d->b.standing = &d->standing;
    d->o = *o;
    raise_descriptor_limit();
    while (d->up_n < PARTS_N && rc == OK) {
        rc = parts[d->up_n].up != NULL ? parts[d->up_n].up(d) : OK;
        if (rc != OK)
            log_fatal("cannot start %s: %s", parts[d->up_n].what, err_text(rc));
        d->up_n++;                      /* a part that came up in part is taken down too */
    }
    if (rc != OK) {
        go_down(d);
        return rc;
    }
    d->ready = true;
    if (o->on_ready != NULL)
        o->on_ready();
    say_ready(d, o->began_ns);
    *out = &d->b;
    return OK;
}

int broker_stop(struct broker **b)
{
    struct daemon *d = (struct daemon *)*b;

    *b = NULL;
    if (d == NULL)
        return OK;
    store_hurry(d->b.store);            /* a stop does not wait for ZooKeeper to come back */
    return go_down(d);
}
