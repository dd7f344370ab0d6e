/* tools/zk_group/member.h - a member of a consumer group of before Kafka 2.0, whose members find each other in
 * ZooKeeper:
 *
 *   /consumers/GROUP/ids/MEMBER                  ephemeral: that it lives, and what it subscribes to
 *   /consumers/GROUP/owners/TOPIC/PARTITION      ephemeral: MEMBER-0, who reads it now
 *   /consumers/GROUP/offsets/TOPIC/PARTITION     the offset of the next record, in decimal
 *
 * Each member works out for itself who reads what (registration.h), gives up what is not its own any more, takes what
 * is, and waits for owners that have not gone yet. A registration that cannot be read is said once, and counts as none.
 *
 * SAFETY   A partition is read by who owns it: first its node is made, then the offset is read. It is given up the
 *          other way round: nothing more is read, the offset is written, the node goes. An offset is written only as
 *          long as the registration stands (one multi), so that a member whose session has expired does not write over
 *          the offsets of who has come after it.
 * AWAY     Without ZooKeeper it reads on, and commits when it is back. When the session has expired, it stops reading,
 *          commits nothing, and begins anew with another session.
 * OWNER    store, texts and properties are the caller's, and must outlive the member.
 * LOCKS    none: one thread.
 * UNITS    milliseconds.
 * FAILURE  a sentence in `error`, which ends the command. What may pass by itself is said on standard error.
 */
#ifndef TOOLS_ZK_GROUP_MEMBER_H
#define TOOLS_ZK_GROUP_MEMBER_H

#include "tools/zk_group/reader.h"

struct store;
struct zk_member;

struct zk_member_opts {
    struct store        *store;
    const char          *group, *id;            /* id: as below /ids */
    enum group_kind      kind;
    const char          *expression;            /* as pattern_text() has it */
    enum group_strategy  strategy;
    bool                 exclude_internal;
    bool                 from_smallest;         /* where there is no offset: else only what is new */
    bool                 commits;
    int64_t              commit_every_ms, backoff_ms;
    int32_t              retries;               /* to get its partitions, when it begins */
    const char          *protocol;              /* which endpoints of the brokers: PLAINTEXT */
    const struct props  *client;                /* Java's, without bootstrap.servers */
};

int  zk_member_new(struct zk_member **out, const struct zk_member_opts *o, char *error, size_t error_len) must_use;
/* Does what is due: to be called again and again, between records. */
int  zk_member_look(struct zk_member *m, char *error, size_t error_len) must_use;
/* It had its partitions once. Until then a failure to get them ends it. */
bool zk_member_settled(const struct zk_member *m);
void zk_member_sleep(struct zk_member *m, int ms);      /* until something happens in the tree */
/* NULL: nothing within `ms`. */
rd_kafka_message_t *zk_member_poll(struct zk_member *m, int ms);
void zk_member_done(struct zk_member *m, const rd_kafka_message_t *msg);
/* Stops reading and commits. Owners and registration go with the session, which the caller ends. NULL-safe. */
void zk_member_free(struct zk_member **m);

#endif
