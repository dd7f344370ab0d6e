/* tools/console/subscription.h - what a console consumer reads: a topic or all that match, through its group; or one
 * partition.
 *
 * A topic is subscribed to when it is there; until then the cluster is asked for it. Patterns are matched here, since
 * Java's expressions are not librdkafka's, and the subscription follows as topics come and go.
 *
 * OWNER    the texts, pattern and member are the caller's; subscription_fini() frees the rest, and comes before the
 *          member is closed or after.
 * LOCKS    none: one thread.
 * UNITS    milliseconds of the monotonic clock.
 * FAILURE  a sentence in `error`.
 */
#ifndef TOOLS_CONSOLE_SUBSCRIPTION_H
#define TOOLS_CONSOLE_SUBSCRIPTION_H

#include "tools/console/rd_member.h"
#include "tools/pattern.h"

struct subscription {
    /* fixed */
    struct rd_member     *member;
    const char           *topic;            /* NULL: by pattern */
    const struct pattern *include;
    bool                  exclude_internal;
    int32_t               partition;        /* -1: all, through the group */
    int64_t               offset;           /* where to start in `partition`: an offset or RD_KAFKA_OFFSET_* */
    int64_t               look_every_ms;
    int                   answer_ms;        /* the longest wait for an answer */
    bool                  remember;         /* nobody else is in the group, and it commits nothing: see below */
    /* state */
    rd_kafka_topic_partition_list_t *topics;        /* subscribed to; NULL: nothing yet */
    rd_kafka_topic_partition_list_t *positions;     /* of partitions that were ours */
    bool                             later;         /* partitions that appear from now on are newer than the command */
    bool                             complained;    /* about a missing topic */
};

/* Asks the cluster, and subscribes to what is new. *next_ms: when to look again. */
int  subscription_look(struct subscription *s, int64_t *next_ms, char *error, size_t error_len) must_use;
void subscription_fini(struct subscription *s);

/* For the hooks of a member that commits nothing (remember): a partition that comes back is read on from where it was
 * left, and one that appears later from its beginning, as all of it is newer than the command. (Java's consumer goes by
 * auto.offset.reset each time, and so shows records twice or never when partitions are added.) */
void subscription_assigned(struct subscription *s, rd_kafka_topic_partition_list_t *list);
void subscription_revoked(struct subscription *s, const rd_kafka_topic_partition_list_t *list);

#endif
