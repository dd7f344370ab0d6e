/* tools/topics/topics.h - inside of kafka-topics.sh: its options, and its five actions.
 *
 * OWNER    struct admin and struct options are the command's. LOCKS none.
 * FAILURE  negative ERR_* with a sentence in admin->error.
 */
#ifndef TOOLS_TOPICS_TOPICS_H
#define TOOLS_TOPICS_TOPICS_H

#include "tools/admin.h"
#include "tools/command.h"

enum topics_option {
    T_ALTER = OPT_FIRST, T_AT_MIN_ISR, T_BOOTSTRAP, T_COMMAND_CONFIG, T_CONFIG, T_CREATE, T_DELETE, T_DELETE_CONFIG,
    T_DESCRIBE, T_DISABLE_RACK_AWARE, T_EXCLUDE_INTERNAL, T_FORCE, T_IF_EXISTS, T_IF_NOT_EXISTS, T_LIST, T_SIZE_LIMIT,
    T_PARTITIONS, T_ASSIGNMENT, T_REPLICATION, T_TOPIC, T_TOPIC_ID, T_WITH_OVERRIDES, T_UNAVAILABLE, T_UNDER_MIN_ISR,
    T_UNDER_REPLICATED, T_ZOOKEEPER, T_N
};

int topics_create(struct admin *a, struct options *o) must_use;
int topics_alter(struct admin *a, struct options *o) must_use;
int topics_delete(struct admin *a, struct options *o) must_use;
int topics_list(struct admin *a, struct options *o) must_use;
int topics_describe(struct admin *a, struct options *o) must_use;

/* The topics that --topic and --exclude-internal choose; "does not exist as expected" unless --if-exists. */
int topics_chosen(struct admin *a, const struct options *o, bool must_exist, struct topic_names *out) must_use;

#endif
