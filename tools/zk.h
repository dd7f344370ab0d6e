/* tools/zk.h - administrative commands that go to ZooKeeper themselves (--zookeeper, as Kafka's up to 2.7 did): a
 * session in place of a client, and the few shapes in which they read and write the tree.
 *
 * OWNER    struct admin has the session; admin_close() ends it. What is read lies in the admin's arena.
 * LOCKS    none: one thread, which waits for each answer.
 * FAILURE  negative ERR_* with a sentence in a->error; ERR_NOENT and ERR_EXISTS of single nodes without one.
 */
#ifndef TOOLS_ZK_H
#define TOOLS_ZK_H

#include "metadata/znodes.h"
#include "tools/admin.h"

/* connect: "host:port,host:port/chroot". The chroot must be there. *a must be given to admin_close() whatever the
 * result. */
int zk_open(struct admin *a, const char *connect) must_use;
/* With other times than the tools' 30 s. */
int zk_open_timed(struct admin *a, const char *connect, int32_t session_ms, int32_t connection_ms) must_use;

int zk_get(struct admin *a, const char *path, struct bytes *value, int32_t *version) must_use;  /* ERR_NOENT */
int zk_exists(struct admin *a, const char *path, bool *there) must_use;
int zk_create(struct admin *a, const char *path, const char *value) must_use;           /* ERR_EXISTS */
/* Writes whatever is there; makes the node, and those above it, when it is not. */
int zk_put(struct admin *a, const char *path, const char *value) must_use;
int zk_set(struct admin *a, const char *path, const char *value, int32_t version) must_use;     /* ERR_VERSION */
int zk_delete_tree(struct admin *a, const char *path) must_use;     /* from below; well when it is not there */
/* Names in byte order; none when the node is not there. */
int zk_children(struct admin *a, const char *path, struct topic_names *out) must_use;

struct zk_broker {
    int32_t             id;
    struct znode_broker info;
};
/* The live brokers by rising id. A registration that cannot be read is an error. */
int zk_brokers(struct admin *a, struct zk_broker **out, size_t *n) must_use;

/* The topic as it is in the tree; ERR_NOENT without a sentence. */
int zk_topic(struct admin *a, struct str topic, struct znode_topic *out, int32_t *version) must_use;
/* The settings of an entity ("topics/t", "brokers/1"); none when it has none. */
int zk_config(struct admin *a, const char *entity, struct znode_config *out) must_use;
/* Are they a topic's, with values that it can have? The server's own settings are not known here: Kafka's defaults. */
int zk_topic_config_check(struct admin *a, const struct znode_config *c) must_use;
/* Writes them, and the notification that brokers watch for. */
int zk_config_change(struct admin *a, const char *entity, const struct znode_config *c) must_use;

#endif
