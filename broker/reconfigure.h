/* broker/reconfigure.h - what a change of this broker's settings (broker/cluster/broker_configs.h) does at once.
 *
 * The defaults of topics' settings and the rates of replication are taken up before reconfigurer_look() returns; what
 * starts or waits for threads, or looks names up, by a background thread a moment later.
 *
 * THREADS  reconfigurer_look() is called by one thread at a time (the controller's).
 * OWNER    the daemon; it lives from when all parts stand until the controller has stopped.
 */
#ifndef BROKER_RECONFIGURE_H
#define BROKER_RECONFIGURE_H

#include "base/err.h"

#include <stdbool.h>

struct broker;
struct param;
struct reconfigurer;

/* All parts have been made with what holds. ERR_NOMEM. */
int  reconfigurer_new(struct reconfigurer **out, struct broker *b) must_use;
void reconfigurer_free(struct reconfigurer **r);                /* NULL-safe */
void reconfigurer_look(struct reconfigurer *r);                 /* something else holds now */

/* Is there anything here that gives effect to a change of this property? For tests: param.h says for which. */
bool reconfigure_knows(const struct param *p);

#endif
