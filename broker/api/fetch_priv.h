/* broker/api/fetch_priv.h - one Fetch request, for the files that work on it: fetch.c (the request),
 * fetch_ask.c (what is asked for), fetch_read.c, fetch_answer.c, fetch_wait.c.
 */
#ifndef BROKER_API_FETCH_PRIV_H
#define BROKER_API_FETCH_PRIV_H

#include "broker/broker.h"
#include "broker/net/request.h"
#include "broker/replica/fetch_session.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "proto/gen/fetch_request.h"

#define DOWN_CONVERT_MAX_BYTES (1024 * 1024)

/* One partition of the request. */
struct fetch_part {
    struct fetch_item    *item;
    struct partition     *p;            /* reference; NULL: error says why */
    int16_t               error;
    int32_t               preferred;    /* the replica to ask in place of us; -1: none */
    bool                  unknown;      /* found out before any reading; such an error does not cut the wait short */
    struct partition_read io;           /* holds a file's reference while io.read.records is not null */
    struct plog_aborted  *aborted;      /* for read_committed: transactions of what was read that do not count */
    size_t                aborted_n;
    /* how things stood just before the read, and what it gave */
    int64_t               seen_bytes;
    uint32_t              seen_rolls;
    int64_t               had_bytes;
};

/* One Fetch request. In the request's arena. */
struct fetch {
    struct delayed       delayed;       /* first: done() gets this */
    struct broker       *b;
    struct request      *r;
    struct fetch_request in;
    struct metadata     *md;            /* NULL unless topics go by id and a name had to be found */
    struct fetch_context cx;
    struct fetch_part   *parts;         /* cx.n */
    size_t               interesting;   /* parts that are not unknown */
    int32_t              replica_id;    /* < 0: a consumer */
    int64_t              replica_epoch; /* its broker epoch; -1: not given */
    int64_t              came_ms;       /* mono_ms() */
    bool                 waited;        /* the partitions are read again */
    enum isolation       isolation;
    bool                 leader_only;
    bool                 hard_limit;    /* version <= 2: a batch is cut rather than given beyond the limit */
    int64_t              max_bytes, min_bytes;
    int64_t              client_max_bytes;      /* max_bytes, had we no limit of our own for conversion */
    /* of the last read */
    int64_t              bytes;
    bool                 must_answer;   /* an error, or a log that has parted */
    enum delayed_why     why;
};

/* fetch_ask.c: limits, and the partitions to fetch, by way of the session. ERR_NOMEM. */
void fetch_settle_limits(struct fetch *f);
int  fetch_ask_begin(struct fetch *f) must_use;

/* fetch_read.c */
void fetch_find_part(struct fetch *f, struct fetch_part *pt);
int  fetch_find_parts(struct fetch *f) must_use;        /* ERR_NOMEM */
void fetch_read_all(struct fetch *f);
/* Bytes that have come, for this fetch, to the partition; only the difference to an earlier number says anything. */
/* By the leader's replication quota; who is in the ISR is never throttled. */
bool fetch_is_throttled(const struct fetch *f, const struct fetch_part *pt);
int64_t fetch_bytes_so_far(const struct fetch *f, const struct fetch_part *pt);
void fetch_drop_reads(struct fetch *f);
void fetch_drop_all(struct fetch *f);                   /* and the references of the partitions */

/* fetch_answer.c: sends the answer, and gives up everything; the request is done for. */
void fetch_answer(struct fetch *f);

/* fetch_wait.c: parks the request. ERR_NOMEM. */
int  fetch_wait(struct fetch *f) must_use;

#endif
