/* broker/start.h - the daemon as a whole: its parts brought up in order, and taken down in the opposite one.
 *
 * OWNER   the caller owns the broker; the broker takes its own reference of the configuration.
 * THREADS one thread, the daemon's main thread.
 * FAILURE what could not be done, where and what to do is in the log when broker_start() returns.
 */
#ifndef BROKER_START_H
#define BROKER_START_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct config;

struct start_opts {
    const struct config *cfg;
    int64_t began_ns;                   /* when the program began (monotonic), for the ready line */
    bool    adopt;                      /* --adopt: also log directories of another broker or cluster */
    const char *adopt_configs;          /* --adopt-configs: broker/cluster/adopt_configs.h; NULL: none */
    void  (*on_ready)(void);            /* before the log says so, on the caller's thread: now it is to be stopped */
    void  (*on_dead)(void);
};

/* Serves when it returns OK. on_dead is called, on any thread, when the broker cannot go on (its last log directory has
 * failed): the caller then stops it. */
int broker_start(struct broker **out, const struct start_opts *o) must_use;

/* The clean stop: no new requests, answers what is in work, closes the logs. NULL-safe. ERR_*: not clean, the next
 * start has to recover. */
int broker_stop(struct broker **b);

#endif
