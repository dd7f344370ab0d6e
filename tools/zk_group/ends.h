/* tools/zk_group/ends.h - asking where logs begin or end, while others are read: a broker may be far, or away.
 *
 * OWNER    struct ends is the caller's. A list given to ends_ask() comes back by ends_answer(), or goes by ends_fini().
 * LOCKS    none: the thread that asks has the list until it is done.
 * THREADS  the functions are for one thread; a second one asks.
 * FAILURE  `err` of each partition in the list.
 */
#ifndef TOOLS_ZK_GROUP_ENDS_H
#define TOOLS_ZK_GROUP_ENDS_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ends {
    rd_kafka_t                      *rk;
    rd_kafka_topic_partition_list_t *list;      /* under way; NULL: nothing is */
    pthread_t                        thread;
    size_t                           turn;      /* which one is asked about alone next */
    atomic_bool                      done, stop;
};

/* Nothing may be under way. Takes the list: each `offset` is RD_KAFKA_OFFSET_BEGINNING or _END. */
void ends_ask(struct ends *e, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list);
/* The list with offsets and errors, the caller's; NULL: not yet. */
rd_kafka_topic_partition_list_t *ends_answer(struct ends *e);
void ends_fini(struct ends *e);                 /* waits for what is under way, a moment */

#endif
