/* broker/cluster/standing.h - where this broker stands in the cluster: its broker epoch, and the epoch of the latest
 * controller that it has heard of. What is addressed to an earlier incarnation of the broker, or comes from an earlier
 * controller, is refused by these two (rule R8).
 *
 * The broker epoch is the czxid of this broker's node in /brokers/ids: it is set by the registration, and again after
 * each new session. The controller's epoch only grows.
 *
 * OWNER   the daemon has one, in struct broker. Any thread; no locks.
 */
#ifndef BROKER_CLUSTER_STANDING_H
#define BROKER_CLUSTER_STANDING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct standing {
    _Atomic int64_t broker_epoch;       /* -1: not registered yet */
    _Atomic int32_t controller_epoch;   /* -1: none heard of */
};

void    standing_init(struct standing *s);

void    standing_registered(struct standing *s, int64_t broker_epoch);
int64_t standing_broker_epoch(const struct standing *s);

/* Meant for an earlier incarnation of this broker? -1 is meant for any; a later one is a registration of ours that we
 * have not heard of yet. */
bool    standing_outlived(const struct standing *s, int64_t broker_epoch);

/* Takes notice of a controller. false: a later one has been heard of. */
bool    standing_controller(struct standing *s, int32_t controller_epoch);
int32_t standing_controller_epoch(const struct standing *s);

#endif
