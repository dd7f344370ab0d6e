/* tools/reassign/reassign.h - inside of kafka-reassign-partitions.sh: what is to be moved, and where all this is asked
 * and written: brokers (broker.c), or ZooKeeper as Kafka 2.7 did it (zookeeper.c).
 *
 * OWNER    everything lies in the admin's arena. LOCKS none: one thread.
 * FAILURE  negative ERR_* with a sentence in a->error. a->terse: it is printed as it is, else after "Error: ".
 */
#ifndef TOOLS_REASSIGN_REASSIGN_H
#define TOOLS_REASSIGN_REASSIGN_H

#include "tools/admin.h"
#include "tools/command.h"

enum reassign_option {
    R_ADDITIONAL = OPT_FIRST, R_BOOTSTRAP, R_BROKERS, R_CANCEL, R_COMMAND_CONFIG, R_DISABLE_RACK, R_EXECUTE, R_GENERATE,
    R_LIST, R_PRESERVE, R_FILE, R_DIR_THROTTLE, R_THROTTLE, R_TIMEOUT, R_TOPICS_FILE, R_VERIFY, R_ZOOKEEPER, R_N
};

struct rp_ids {
    int32_t *v;
    int32_t  n;
};

struct rp_part {                        /* a partition and its replicas, as wished or as they are */
    struct str    topic;
    int32_t       partition;
    struct rp_ids replicas;
    struct rp_ids adding, removing;     /* of a reassignment that is under way */
};
struct rp_parts {
    struct rp_part *v;
    size_t          n;
};

struct rp_dir {                         /* a replica and the log directory where it shall be */
    struct str  topic;
    int32_t     partition, broker;
    const char *dir;
    /* as it is: */
    bool        asked;                  /* its broker knows of it */
    const char *now, *future;           /* NULL: none */
    int16_t     kerr;                   /* of an order to move */
};
struct rp_dirs {
    struct rp_dir *v;
    size_t         n;
};

struct rp_broker {
    int32_t    id;
    struct str rack;                    /* null: none */
};

struct rp {
    struct admin                a;
    struct options             *o;
    const struct rp_backend    *to;
    bool                        terse;
};

struct rp_setting {
    bool        topic;                  /* else a broker */
    struct str  name;                   /* of the topic, or the broker's id */
    const char *key;
    const char *value;                  /* NULL: to be deleted */
};

struct rp_backend {
    bool old;                           /* Kafka 2.7's words */
    /* All partitions of the topics; one that does not exist: `must`: an error, else left out. */
    int (*topics)(struct rp *r, const struct topic_names *names, bool must, struct rp_parts *out);
    int (*moving)(struct rp *r, struct rp_parts *out);                      /* all that is under way, by topic */
    int (*brokers)(struct rp *r, struct rp_broker **out, size_t *n);        /* by rising id */
    int (*set)(struct rp *r, const struct rp_setting *v, size_t n);         /* those of one entity follow each other */
};
extern const struct rp_backend rp_by_broker, rp_by_zookeeper;

int  rp_no_memory(struct rp *r) must_use;

/* plan.c: texts and lists */
int  rp_read_file(struct rp *r, const char *path, const char **text) must_use;
int  rp_parse(struct rp *r, const char *json, struct rp_parts *parts, struct rp_dirs *dirs) must_use;
/* No partition twice, no broker twice in one, something at all. */
int  rp_check(struct rp *r, const struct rp_parts *parts) must_use;
int  rp_parse_topics(struct rp *r, const char *json, struct topic_names *out) must_use;
int  rp_topics_of(struct rp *r, const struct rp_parts *parts, struct topic_names *out) must_use;   /* each once */
void rp_sort(struct rp_parts *parts);
void rp_sort_dirs(struct rp_dirs *dirs);
const struct rp_part *rp_find(const struct rp_parts *sorted, struct str topic, int32_t partition);
void rp_print_json(const struct rp_parts *sorted);
void rp_print_names(const struct rp_parts *sorted);             /* "t-0,t-1" */
void rp_print_ids(const struct rp_ids *ids);
bool rp_has(const struct rp_ids *ids, int32_t id);
/* The topics of the parts in the order of Java's hash set; the ids of brokers by rising id. */
int  rp_hash_order(struct rp *r, struct topic_names *names) must_use;

/* throttles.c */
int  rp_throttle(struct rp *r, const struct rp_parts *moving, const struct rp_parts *want, const struct rp_parts *now,
                 int64_t rate) must_use;
int  rp_throttle_dirs(struct rp *r, const struct rp_dirs *dirs, int64_t rate) must_use;
int  rp_clear_throttles(struct rp *r, const struct rp_parts *want) must_use;

/* broker.c, what only brokers do */
int  rp_alter(struct rp *r, const struct rp_parts *want, bool cancel, const char *title) must_use;
int  rp_describe_dirs(struct rp *r, struct rp_dirs *dirs) must_use;
int  rp_move_dirs(struct rp *r, struct rp_dirs *dirs) must_use; /* one order to each broker; kerr of each */
/* zookeeper.c: writes /admin/reassign_partitions; fails, tersely, when it is there. */
int  rp_zk_check(struct rp *r, const struct rp_parts *want, const struct rp_parts *now) must_use;
int  rp_zk_running(struct rp *r, bool *yes) must_use;
int  rp_zk_write(struct rp *r, const struct rp_parts *want) must_use;

/* The actions */
int  rp_generate(struct rp *r) must_use;        /* generate.c */
int  rp_execute(struct rp *r) must_use;         /* execute.c */
int  rp_verify(struct rp *r) must_use;          /* verify.c */
int  rp_cancel(struct rp *r) must_use;          /* execute.c */
int  rp_list(struct rp *r) must_use;            /* verify.c */

#endif
