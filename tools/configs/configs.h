/* tools/configs/configs.h - kafka-configs.sh: its options, and what the command line means.
 *
 * OWNER   texts are the command line's, or lie in the admin's arena.
 * LOCKS   none: one thread.
 */
#ifndef TOOLS_CONFIGS_CONFIGS_H
#define TOOLS_CONFIGS_CONFIGS_H

#include "tools/admin.h"
#include "tools/command.h"
#include "tools/props.h"

enum configs_option {
    C_ADD = OPT_FIRST, C_ADD_FILE, C_ALL, C_ALTER, C_CONTROLLER, C_BOOTSTRAP, C_BROKER, C_BROKER_DEFAULTS,
    C_BROKER_LOGGER, C_CLIENT, C_CLIENT_DEFAULTS, C_COMMAND_CONFIG, C_DELETE, C_DESCRIBE, C_ENTITY_DEFAULT,
    C_ENTITY_NAME, C_ENTITY_TYPE, C_FORCE, C_IP, C_IP_DEFAULTS, C_TOPIC, C_USER, C_USER_DEFAULTS, C_ZK_TLS, C_ZOOKEEPER,
    C_N
};

#define ENTITIES_MAX 16

/* Types and names as the options give them, in Apache Kafka's order; a name "" is the default entity. */
struct entities {
    const char *types[ENTITIES_MAX], *names[ENTITIES_MAX];
    size_t      types_n, names_n;
};

/* The kinds of entities that are a resource of DescribeConfigs and AlterConfigs; the rest are quotas. */
struct entity_kind {
    const char *type;                   /* "topics" */
    int8_t      resource;
    int8_t      own_source;             /* DescribeConfigs' source of its own settings; 0: all are shown */
    bool        to_broker;              /* the request goes to the broker that it names */
    bool        replaces;               /* --alter sends all settings, by AlterConfigs */
};

/* name NULL: every one that there is. */
int configs_describe(struct admin *a, const struct entity_kind *kind, const char *name, bool all) must_use;
/* ERR_NOENT: the sentence in a->error is all there is to say (see configs_run()). */
int configs_alter(struct admin *a, const struct entity_kind *kind, const char *name, const struct props *add,
                  const struct str *remove, size_t remove_n) must_use;

/* The same with --zookeeper: `a` is from zk_open(). */
int configs_zk_describe(struct admin *a, const struct entities *e) must_use;
int configs_zk_alter(struct admin *a, const struct entities *e, const struct props *add, const struct str *remove,
                     size_t remove_n) must_use;

/* --add-config: "k1=v1,k2=[v1,v2]". ERR_INVALID with a->error, ERR_NOMEM. */
int configs_parse_added(struct admin *a, const char *text, struct props *out) must_use;

/* "topic" of "topics" */
int configs_singular_len(const struct entity_kind *kind);

#endif
