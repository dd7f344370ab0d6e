/* tools/zk_group/registration.h - what a consumer of before Kafka 2.0 says of itself under /consumers/GROUP/ids, and
 * how the members of a group share partitions. Pure.
 *
 * An example: {"version":1,"subscription":{"clicks|views":1},"pattern":"white_list","timestamp":"1416241520000"}
 * The subscription maps topics (static), or the one expression that the pattern is about, to how many threads read it.
 *
 * OWNER    what is read lies in the arena, but for the expression: group_registration_fini().
 * FAILURE  ERR_CORRUPT: a registration that is none, and everything of it is 0; ERR_NOMEM.
 */
#ifndef TOOLS_ZK_GROUP_REGISTRATION_H
#define TOOLS_ZK_GROUP_REGISTRATION_H

#include "base/arena.h"
#include "tools/pattern.h"

#define GROUP_STREAMS_MAX 1000      /* threads of one member; more is no consumer's registration */

enum group_kind { GROUP_STATIC, GROUP_WHITE_LIST, GROUP_BLACK_LIST };

struct group_count {
    struct str topic;               /* or the expression */
    int32_t    streams;
};

struct group_registration {
    enum group_kind     kind;
    struct group_count *counts;
    size_t              counts_n;
    struct pattern     *pattern;    /* of the two lists */
};

/* The JSON of a member with one thread; on the heap. NULL: out of memory. The expression as pattern_text() has it. */
char *group_registration_write(enum group_kind kind, const char *expression, int64_t now_ms) must_use;
int   group_registration_read(struct bytes in, struct arena *a, struct group_registration *r) must_use;
void  group_registration_fini(struct group_registration *r);

/* How many of the member's threads want the topic. */
int32_t group_streams(const struct group_registration *r, struct str topic);

/* The decimal text of /consumers/GROUP/offsets/TOPIC/PARTITION. */
int   group_offset_read(struct bytes in, int64_t *out) must_use;

/* ---- who reads what ---- */

enum group_strategy { GROUP_RANGE, GROUP_ROUND_ROBIN };

struct group_member {
    struct str                id;
    struct group_registration registration;
};

struct group_topic {
    struct str     name;
    const int32_t *partitions;      /* rising */
    size_t         n;
};

struct group_share {                /* a partition, and the thread that reads it */
    struct str topic;
    int32_t    partition, thread;
};

/* What falls to `me`, by topic and partition; topics by rising name. For round robin all topics that any member reads
 * must be there, with all partitions. */
int   group_assign(enum group_strategy strategy, const struct group_member *members, size_t members_n,
                   const struct group_topic *topics, size_t topics_n, struct str me, struct arena *a,
                   struct group_share **out, size_t *out_n) must_use;

#endif
