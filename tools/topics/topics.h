/* tools/topics/topics.h - inside of kafka-topics.sh: its options, and its five actions.
 *
 * OWNER    struct admin and struct options are the command's. LOCKS none.
 * FAILURE  negative ERR_* with a sentence in admin->error.
 */
#ifndef TOOLS_TOPICS_TOPICS_H
#define TOOLS_TOPICS_TOPICS_H

#include "tools/admin.h"
#include "tools/command.h"
#include "tools/topics/assignment.h"

enum topics_option {
    T_ALTER = OPT_FIRST, T_AT_MIN_ISR, T_BOOTSTRAP, T_COMMAND_CONFIG, T_CONFIG, T_CREATE, T_DELETE, T_DELETE_CONFIG,
    T_DESCRIBE, T_DISABLE_RACK_AWARE, T_EXCLUDE_INTERNAL, T_FORCE, T_IF_EXISTS, T_IF_NOT_EXISTS, T_LIST, T_SIZE_LIMIT,
    T_PARTITIONS, T_ASSIGNMENT, T_REPLICATION, T_TOPIC, T_TOPIC_ID, T_WITH_OVERRIDES, T_UNAVAILABLE, T_UNDER_MIN_ISR,
    T_UNDER_REPLICATED, T_ZOOKEEPER, T_N
};

/* What --topic, --partitions, --replication-factor, --replica-assignment and --config say. */
struct topics_wanted {
    struct str         topic;
    int32_t            partitions;      /* -1: not given */
    int32_t            replication;     /* -1: not given */
    struct assignments assignments;     /* n == 0: none given */
    struct { struct str name, value; } *configs;
    int32_t            configs_n;
};

int  topics_wanted_read(struct admin *a, struct options *o, struct topics_wanted *w) must_use;
void topics_warn_of_collision(struct str topic);

int topics_create(struct admin *a, struct options *o) must_use;
int topics_alter(struct admin *a, struct options *o) must_use;
int topics_delete(struct admin *a, struct options *o) must_use;
int topics_list(struct admin *a, struct options *o) must_use;
int topics_describe(struct admin *a, struct options *o) must_use;

/* The same with --zookeeper: `a` is from zk_open(). */
int topics_zk_create(struct admin *a, struct options *o) must_use;
int topics_zk_alter(struct admin *a, struct options *o) must_use;
int topics_zk_delete(struct admin *a, struct options *o) must_use;
int topics_zk_list(struct admin *a, struct options *o) must_use;
int topics_zk_describe(struct admin *a, struct options *o) must_use;

/* The topics that --topic and --exclude-internal choose; "does not exist as expected" unless --if-exists. */
int topics_chosen(struct admin *a, const struct options *o, bool must_exist, struct topic_names *out) must_use;

#endif
