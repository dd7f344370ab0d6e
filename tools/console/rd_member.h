/* tools/console/rd_member.h - a consumer of librdkafka as a member of a group: subscribe, poll, rebalance, leave.
 *
 * OWNER    rd_member_close() takes the handle down. Messages from rd_member_poll() are the caller's.
 * LOCKS    none: one thread. The hooks are called by it, from rd_member_poll() and rd_member_close() only.
 * UNITS    milliseconds.
 * FAILURE  a sentence in `error`.
 */
#ifndef TOOLS_CONSOLE_RD_MEMBER_H
#define TOOLS_CONSOLE_RD_MEMBER_H

#include "tools/console/rd_client.h"

/* Any may be NULL. */
struct rd_member_hooks {
    /* Partitions are given: offsets set in the list are where reading starts, else what was committed counts. */
    void (*assigned)(void *arg, rd_kafka_topic_partition_list_t *list);
    /* Partitions are about to go: the last time to commit, unless another member may have them already. */
    void (*revoked)(void *arg, const rd_kafka_topic_partition_list_t *list, bool lost);
    /* What the library counts, ten times a second. */
    void (*stats)(void *arg, const char *json, size_t len);
};

struct rd_member {
    rd_kafka_t                   *rk;       /* NULL: not open */
    const struct rd_member_hooks *hooks;
    void                         *arg;
};

/* `p` has group.id. Offsets are committed by themselves (enable.auto.commit) only up to rd_member_done(). The member
 * must stay where it is until it is closed. */
int rd_member_open(struct rd_member *m, const struct props *p, const struct rd_member_hooks *hooks, void *arg,
                   char *error, size_t error_len) must_use;
int rd_member_subscribe(struct rd_member *m, const rd_kafka_topic_partition_list_t *topics, char *error,
                        size_t error_len) must_use;
/* NULL: nothing within `ms`. What is no record is in message->err. */
rd_kafka_message_t *rd_member_poll(struct rd_member *m, int ms);
/* The record is dealt with. */
void rd_member_done(const rd_kafka_message_t *msg);
/* An error with which Java's consumer ends, where librdkafka would try again for ever. */
bool rd_member_is_fatal(rd_kafka_resp_err_t err);
/* Commits what is done, leaves the group, frees all. Without a coordinator that takes long: after a while it is left
 * undone. Any state, NULL handle included. */
void rd_member_close(struct rd_member *m);

#endif
