/* broker/broker.h - the parts of the daemon, as handlers see them.
 *
 * OWNER   broker/start.c makes the parts in the order below and takes them down in the opposite one. All pointers are
 *         fixed from before the first request until after the last.
 * LOCKS   none here; each part's header names its own.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/uuid.h"
#include "broker/cluster/ibp.h"

#include <stdint.h>

struct broker_configs;
struct config;
struct doubts;
struct controller;
struct groups;
struct logmgr;
struct metadata_cache;
struct orders;
struct producer_ids;
struct replicas;
struct scheduler;
struct server;
struct standing;
struct store;
struct timer;
struct topic_configs;

struct broker {
    const struct config   *cfg;             /* what held when the broker was started; holds a reference */
    int32_t                id;              /* broker.id */
    char                   cluster_id[UUID_TEXT_LEN + 1];
    struct ibp             ibp;             /* of inter.broker.protocol.version */
    struct standing       *standing;        /* broker/cluster: our epochs */
    struct timer          *timer;
    struct scheduler      *sched;
    struct store          *store;           /* metadata/ */
    struct logmgr         *logs;            /* storage/ */
    struct metadata_cache *metacache;
    struct doubts         *doubts;          /* broker/cluster: brokers that may have died just now */
    struct broker_configs *broker_configs;  /* what holds of this broker's settings now */
    struct topic_configs  *topic_configs;
    struct replicas       *replicas;
    struct groups         *groups;          /* broker/group: the coordinator of consumer groups */
    struct producer_ids   *producer_ids;    /* broker/txn */
    struct orders         *orders;          /* broker/controller: what controllers tell this broker */
    struct controller     *controller;
    struct server         *net;
};

#endif
