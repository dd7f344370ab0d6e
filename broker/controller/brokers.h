/* broker/controller/brokers.h - brokers that come and go. All of it on the controller's thread. */
#ifndef BROKER_CONTROLLER_BROKERS_H
#define BROKER_CONTROLLER_BROKERS_H

#include "broker/controller/context.h"

struct controller;
struct store_call;
struct store_op;

/* brokers.c: the channel to a broker that lives, and its end. One that cannot be reached is not live. */
void broker_channel_open(struct controller *c, struct ctl_broker *b);
void broker_channel_close(struct controller *c, struct ctl_broker *b);
void brokers_disconnect(struct controller *c);          /* all of them */

/* What follows when brokers are known to live, with channels, or are not live any more. Both push. */
void brokers_started(struct controller *c, const int32_t *v, size_t n);
void brokers_failed(struct controller *c, const int32_t *v, size_t n);

/* broker_change.c: the name of a child of /brokers/ids; false: it is none of a broker (said once, here). */
bool broker_id_of(struct str name, int32_t *id);
/* The broker as its node, which has been read by `op`, says; false: it cannot be understood (logged), and the broker
 * stays as it was. Opens its channel. */
bool broker_take(struct controller *c, int32_t id, const struct store_op *op);

/* unreachable.c: what unreachable brokers lead may go to somebody else now; pushes */
void unreachable_retry(struct controller *c);
/* At the start of a term, when the brokers are known: the controller before, if its links were seen to break, is out of
 * reach. What follows from that: unreachable_retry(). */
void suspect_mark(struct controller *c);
/* The broker has answered. */
void unreachable_answered(struct controller *c, int32_t id, int64_t epoch);

#endif
