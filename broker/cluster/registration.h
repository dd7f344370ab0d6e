/* broker/cluster/registration.h - how a broker joins: the top of the tree, the cluster's id, the broker's
 * id, and /brokers/ids/<id>.
 *
 * THREADS  These calls wait for the store; they are for the start of the daemon (and the controller's own
 *          use of registration_write() after a new session).
 * FAILURE  ERR_* of the store; what a person must act upon is logged here, once.
 */
#ifndef BROKER_CLUSTER_REGISTRATION_H
#define BROKER_CLUSTER_REGISTRATION_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_call;

struct broker_endpoint {
    const char *listener;               /* name */
    const char *host;                   /* advertised; IPv6 without brackets */
    int32_t     port;
    int16_t     security_protocol;      /* 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL */
};

/* All borrowed; outlives the controller. */
struct broker_info {
    int32_t                       id;
    const char                   *rack;         /* NULL: none */
    const struct broker_endpoint *endpoints;    /* advertised */
    size_t                        endpoints_n;
    int32_t                       payload_version;  /* of the node, by inter.broker.protocol.version: 5, 4 or 2 */
};

/* Makes the top-level nodes that are missing, then reads the cluster's id, or makes one: the given one when
 * it is not NULL (that of meta.properties), else a random one. id has the winner's. */
int cluster_open(struct store *s, const char *proposed, char id[UUID_TEXT_LEN + 1]) must_use;

/* A broker id that nobody has had: reserved_max (reserved.broker.max.id) + 1 and up. */
int cluster_next_broker_id(struct store *s, int32_t reserved_max, int32_t *id) must_use;

/* Creates /brokers/ids/<id>. *epoch = the broker epoch. A node that a session of ours which is over has left is
 * replaced. One with our very endpoints, which nobody else can serve while we listen there, is of an earlier run that
 * was not known to end: it is waited for, up to wait_ms, and so is a new session if ours ends meanwhile. ERR_EXISTS:
 * another live broker has the id, or advertises one of the same endpoints. */
int registration_register(struct store *s, const struct broker_info *b, int32_t wait_ms, int64_t *epoch) must_use;

/* The same in steps, for who does not wait: read the node, judge what was read, write. */
enum registration {
    REGISTRATION_FREE,                  /* no node */
    REGISTRATION_OURS,                  /* of the session that stands: nothing to do, its czxid is the epoch */
    REGISTRATION_LEFT,                  /* of a session of ours that is over: replace it */
    REGISTRATION_TAKEN
};
void              registration_read(struct store_call *call, int32_t id);
enum registration registration_judge(struct store *s, const struct store_call *call);
/* ERR_NOMEM. After the call registration_epoch() tells the epoch. */
int               registration_write(struct store_call *call, const struct broker_info *b, bool replace) must_use;
int64_t           registration_epoch(const struct store_call *call);    /* after the read or the write */
/* Who has it, for a log line. */
void              registration_holder(const struct store_call *call, char *text, size_t size);

/* Tells the controller, by a node that it watches, that logs of this broker went offline. Does not wait. */
void registration_dir_event(struct store *s, int32_t broker_id);

#endif
