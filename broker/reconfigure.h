/* broker/reconfigure.h - what a change of this broker's settings (broker/cluster/broker_configs.h) does at once.
 *
 * THREADS  one at a time: the start of the daemon, then the controller's thread.
 */
#ifndef BROKER_RECONFIGURE_H
#define BROKER_RECONFIGURE_H

#include <stdbool.h>

struct broker;

/* Compares what holds now with what held at the last call. starting: all parts have been made with what holds. */
void reconfigure(struct broker *b, bool starting);

#endif
