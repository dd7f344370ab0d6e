/* tools/zk_group/reader.h - reading partitions that somebody else has chosen, from given offsets: librdkafka without a
 * group, and so without a coordinator.
 *
 * OWNER    reader_fini() takes all down. Messages from reader_poll() are the caller's. A place lives until
 *          reader_set() leaves it out.
 * LOCKS    none: one thread.
 * UNITS    milliseconds.
 * FAILURE  a sentence in `error`.
 */
#ifndef TOOLS_ZK_GROUP_READER_H
#define TOOLS_ZK_GROUP_READER_H

#include "tools/console/rd_client.h"
#include "tools/zk_group/ends.h"
#include "tools/zk_group/registration.h"

struct place {                      /* a partition */
    char             *topic;
    int32_t           partition;
    bool              owned;        /* it is ours to read */
    bool              later;        /* made after the command began: without an offset it is read from its beginning */
    bool              started;
    int64_t           position;     /* the next record to be dealt with; -1: not known yet */
    int64_t           committed;    /* as it is in the tree; -1: none there, or not known */
    int64_t           committing;
    rd_kafka_topic_t *rkt;          /* NULL: not started yet */
    bool              wanted, kept; /* of one walk through them */
};

struct reader {
    rd_kafka_t       *rk;           /* NULL: no broker is known yet */
    rd_kafka_queue_t *queue;
    struct place    **v;            /* by topic and partition */
    struct place     *last;         /* of the record before; NULL: none */
    size_t            n;
    bool              from_smallest;
    struct ends       ends;
};

/* `p` without bootstrap.servers, which `brokers` is: "host:port,...". */
int  reader_open(struct reader *r, const struct props *p, const char *brokers, char *error, size_t error_len) must_use;
void reader_more_brokers(struct reader *r, const char *brokers);
void reader_fini(struct reader *r);

/* The places from now on: those that were there stay as they are, others are new. What goes has been stopped. */
int  reader_set(struct reader *r, const struct group_share *shares, size_t n) must_use;
struct place *reader_find(struct reader *r, struct str topic, int32_t partition);

/* Places that are owned and not started: from their position, or from where the brokers say that the log begins or
 * ends. ERR_BUSY: they are asked, and the next call may know more. ERR_AGAIN: not all have answered. */
int  reader_start(struct reader *r, char *error, size_t error_len) must_use;
void reader_stop(struct reader *r, struct place *p);    /* no record of it is given from now on */
rd_kafka_message_t *reader_poll(struct reader *r, int ms);
void reader_done(struct reader *r, const rd_kafka_message_t *m);        /* the record is dealt with */

#endif
