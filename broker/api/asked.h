/* broker/api/asked.h - which topics and partitions a request names, when it may name them more than once: Apache Kafka
 * answers for each of them once.
 *
 * OWNER    the caller's arrays; what is needed meanwhile comes from the arena. LOCKS none: pure functions.
 * FAILURE  ERR_NOMEM.
 */
#ifndef BROKER_API_ASKED_H
#define BROKER_API_ASKED_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

/* at[i]: the index of the first topic that is called as the i-th is; so at[i] <= i. */
int asked_topics(struct arena *a, const struct str *names, int32_t n, int32_t *at) must_use;

struct asked_partition {
    int32_t topic;                      /* one of at[] above */
    int32_t partition;
    bool    again;                      /* a later one is the same partition; an answer of asked_repeats() */
};

int asked_repeats(struct arena *a, struct asked_partition *v, size_t n) must_use;

/* A request's topics, each with its partitions, as a message has them: sizes, and where in a topic (its name, its
 * partitions, how many) and in a partition (its number) things stand. */
struct asked_shape {
    size_t topic, name, parts, parts_n;
    size_t part, number;
};

/* Leaves each partition once, the last that names it, and no topic without partitions. topics_n is changed. */
int asked_once(struct arena *a, const struct asked_shape *s, void *topics, int32_t *topics_n) must_use;

#endif
