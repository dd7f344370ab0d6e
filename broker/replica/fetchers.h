/* broker/replica/fetchers.h - the threads that copy partitions from their leaders: num.replica.fetchers for each
 * broker that leads something we follow.
 *
 * A partition is given to the fetcher of its leader when a LeaderAndIsr makes us a follower, after every change
 * of epoch again (rule R3), and taken away before it becomes anything else. It truncates by leader epoch (Fetch v12's
 * diverging epoch, or OffsetForLeaderEpoch for older leaders), never by high watermark (R1, R2); it appends what it
 * gets, and takes over the leader's high watermark and log start.
 *
 * OWNER   the replica manager makes one and has it until replicas_stop().
 * LOCKS   class fetchers, not while `partition` is held. fetchers_forget() returns when no answer for the
 *         partition is being worked on any more: what comes later for it is thrown away.
 * FAILURE of one partition: logged once, tried again after replica.fetch.backoff.ms or sooner; a failed log goes
 *         offline by the log manager's own way. Nothing here ends the daemon (R12).
 */
#ifndef BROKER_REPLICA_FETCHERS_H
#define BROKER_REPLICA_FETCHERS_H

#include "base/bytes.h"
#include "base/err.h"

struct config;
struct doubts;
struct fetchers;
struct metadata_cache;
struct partition;
struct repl_quota;
struct standing;

struct fetchers_opts {                  /* borrowed; they outlive the fetchers */
    const struct config   *cfg;
    int32_t                broker_id;
    const struct standing *standing;    /* our broker epoch; NULL: none */
    struct metadata_cache *metacache;   /* where brokers are */
    struct repl_quota     *quota;       /* follower side */
    struct doubts         *doubts;      /* told of leaders whose connection is cut; NULL: nobody is */
};

int  fetchers_new(struct fetchers **out, const struct fetchers_opts *o) must_use;
void fetchers_stop(struct fetchers *f);                 /* NULL-safe; ends the threads, and all that were followed */
void fetchers_free(struct fetchers **f);                /* NULL-safe */

/* The partition shall follow `leader` in `leader_epoch`, in place of what was said before; takes a reference. It
 * begins with the next fetchers_begin(), and when the leader's address is known. ERR_NOMEM. */
int  fetchers_follow(struct fetchers *f, struct partition *p, int32_t leader, int32_t leader_epoch) must_use;
void fetchers_begin(struct fetchers *f);
void fetchers_forget(struct fetchers *f, struct str topic, int32_t index);      /* p need not be followed */
/* num.replica.fetchers from now on: partitions go to other threads where that has to be; threads that have none left
 * sleep. Waits for what is being worked on. */
void fetchers_set_number(struct fetchers *f, int32_t n);
/* Brokers have come, gone or moved (metadata cache): who waited for its leader's address begins. */
void fetchers_brokers_changed(struct fetchers *f);
/* Now and then: who could not be given to a fetcher, for want of memory, descriptors or threads, may be by now. */
void fetchers_try_again(struct fetchers *f);
/* A flush of some log has ended: who waits for its own goes on. */
void fetchers_flushed(struct fetchers *f);

#endif
