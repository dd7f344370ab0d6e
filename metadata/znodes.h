/* metadata/znodes.h - the paths of the tree and the JSON in its nodes, as Apache Kafka 3.9 writes them.
 *
 * Writers give a string on the heap (compact JSON; the caller frees it), or NULL when memory is out. Readers
 * take a node's bytes, ignore what they do not know, and copy what they give into the arena.
 * FAILURE  ERR_CORRUPT: not JSON, a field that must be there is missing or of another type, or a number is
 *          out of range; ERR_NOMEM. Readers log nothing: the caller knows the path.
 * UNITS    times in ms.
 */
#ifndef METADATA_ZNODES_H
#define METADATA_ZNODES_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"
#include "metadata/store.h"
#include "metadata/topic_name.h"

#define ZK_BROKER_IDS         "/brokers/ids"
#define ZK_BROKER_SEQID       "/brokers/seqid"
#define ZK_BROKER_TOPICS      "/brokers/topics"
#define ZK_CLUSTER_ID         "/cluster/id"
#define ZK_CONFIG_CHANGES     "/config/changes"
#define ZK_CONFIG_TOPICS      "/config/topics"
#define ZK_CONTROLLER         "/controller"
#define ZK_CONTROLLER_EPOCH   "/controller_epoch"
#define ZK_DELETE_TOPICS      "/admin/delete_topics"
#define ZK_FEATURE            "/feature"
#define ZK_ISR_CHANGES        "/isr_change_notification"
#define ZK_LOG_DIR_EVENTS     "/log_dir_event_notification"
#define ZK_PREFERRED_ELECTION "/admin/preferred_replica_election"
#define ZK_REASSIGN           "/admin/reassign_partitions"

/* Every persistent path that a broker makes at its start, parents first; ends with NULL. */
extern const char *const znode_top_level[];

/* Paths of a topic or broker; a name longer than TOPIC_NAME_MAX gives a path that the store refuses. */
struct zpath {
    char z[STORE_PATH_MAX + 2];
};
struct zpath zpath_broker(int32_t id);
struct zpath zpath_topic(struct str topic);
struct zpath zpath_partitions(struct str topic);
struct zpath zpath_partition(struct str topic, int32_t partition);
struct zpath zpath_state(struct str topic, int32_t partition);
struct zpath zpath_topic_config(struct str topic);
struct zpath zpath_config_change(struct str name);
struct zpath zpath_delete_topic(struct str topic);

/* ---- /brokers/ids/<id>, version 5 ---- */
struct znode_endpoint {
    struct str listener, host, protocol;        /* protocol: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL */
    int32_t    port;
};
struct znode_broker {
    struct znode_endpoint *endpoints;
    size_t                 endpoints_n;
    struct str             rack;                /* null: none */
    int64_t                timestamp_ms;
    int32_t                version;             /* to write: 5, 4 (without features) or 2 (nor protocols); 0: 5 */
};
char *znode_broker_write(const struct znode_broker *b) must_use;
int   znode_broker_read(struct bytes in, struct arena *a, struct znode_broker *b) must_use;   /* versions 1-5 */

/* ---- /brokers/topics/<T>, version 3; version 2 without an id ---- */
struct znode_replicas {
    int32_t *v;
    int32_t  n;
};
struct znode_partition {
    int32_t               index;
    struct znode_replicas replicas, adding, removing;
};
struct znode_topic {
    struct uuid             id;                 /* zero: not written */
    struct znode_partition *partitions;         /* by rising index */
    int32_t                 partitions_n;
};
char *znode_topic_write(const struct znode_topic *t) must_use;
int   znode_topic_read(struct bytes in, struct arena *a, struct znode_topic *t) must_use;     /* versions 1-3 */

/* ---- /brokers/topics/<T>/partitions/<P>/state ---- */
struct znode_state {
    int32_t               leader, leader_epoch, controller_epoch;
    struct znode_replicas isr;
    bool                  recovering;
};
char *znode_state_write(const struct znode_state *s) must_use;
int   znode_state_read(struct bytes in, struct arena *a, struct znode_state *s) must_use;

/* ---- /config/<type>/<entity> ---- */
struct znode_pair {
    const char *name, *value;
};
struct znode_config {
    struct znode_pair *pairs;                   /* by rising name */
    size_t             n;
};
void  znode_config_sort(struct znode_config *c);         /* pairs that were put together in any order */
char *znode_config_write(const struct znode_config *c) must_use;
int   znode_config_read(struct bytes in, struct arena *a, struct znode_config *c) must_use;   /* empty: no pairs */

/* ---- /config/changes/config_change_<seq>, version 2 ---- */
#define ZK_CONFIG_CHANGE "config_change_"               /* how its name begins; the counter follows */
char *znode_change_write(const char *entity) must_use;  /* entity: path below /config, "topics/T" */
int   znode_change_read(struct bytes in, struct arena *a, const char **entity) must_use;    /* versions 1 and 2 */

/* ---- lists of partitions: /admin/reassign_partitions (with replicas; Kafka's reader knows no other fields than these,
 * and refuses what has them), /admin/preferred_replica_election and isr_change_<seq> (without) ---- */
struct znode_named {
    struct str            topic;
    int32_t               partition;
    struct znode_replicas replicas;
};
struct znode_list {
    struct znode_named *v;
    size_t              n;
};
char *znode_reassign_write(const struct znode_list *l) must_use;
int   znode_reassign_read(struct bytes in, struct arena *a, struct znode_list *l) must_use;
char *znode_election_write(const struct znode_list *l) must_use;
int   znode_election_read(struct bytes in, struct arena *a, struct znode_list *l) must_use;

/* ---- the small ones ---- */
char *znode_controller_write(int32_t broker_id, int64_t timestamp_ms) must_use;
int   znode_controller_read(struct bytes in, int32_t *broker_id, int32_t *kraft_epoch) must_use;
char *znode_cluster_id_write(const char *id) must_use;
int   znode_cluster_id_read(struct bytes in, struct arena *a, const char **id) must_use;
#define ZNODE_DIR_EVENT "log_dir_event_"        /* below /log_dir_event_notification, with a counter behind it */
char *znode_dir_event_write(int32_t broker_id) must_use;
int   znode_dir_event_read(struct bytes in, int32_t *broker_id) must_use;
int   znode_epoch_read(struct bytes in, int32_t *epoch) must_use;       /* /controller_epoch: decimal text */

/* ---- /feature: what a controller of 3.9 makes of it. *out: the new text; NULL: it stays as it is. What was finalised
 * stays if it was enabled and is to be. ---- */
struct znode_feature {
    int32_t version;                    /* 1; 2 since inter.broker.protocol.version 3.3-IV0 */
    bool    enabled;                    /* since 2.7-IV0 */
};
int   znode_feature_update(struct bytes in, bool there, const struct znode_feature *want, char **out) must_use;

#endif
