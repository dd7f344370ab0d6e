/* broker/controller/topic_ops.h - between topic_ops.c, which moves a client's operation along, and the files
 * that know what creating, growing and deleting mean. All of it runs on the controller's thread.
 *
 *   check()     what can be told from the metadata snapshot alone; may ask the store (op_ask)
 *   decide()    with the answers: the rest of the checks; then the writes (op_ask)
 *   conclude()  with the answers to the writes; what it asks the store again leads back to decide()
 *   pending()   is the effect on this topic still to be seen in the metadata cache? NULL: never
 */
#ifndef BROKER_CONTROLLER_TOPIC_OPS_H
#define BROKER_CONTROLLER_TOPIC_OPS_H

#include "broker/controller/priv.h"

struct metadata;

#define OP_MESSAGE_MAX 900              /* lists in messages are cut there */

struct op_topic {                       /* what an operation finds out about one topic, beside topic_op_topic */
    struct op_state       *s;
    struct topic_op_topic *t;
    UT_hash_handle         hh;          /* controller.creating, while claimed */
    struct str             claim;
    bool                   claimed;
    bool                   marked;      /* for deletion */
    bool                   exists;
    struct znode_topic     node;        /* create: to be; grow: as it is, then as it is to be. In op->arena */
    int32_t                version;     /* of the node */
    bool                   again;       /* grow, settings: the node was changed meanwhile, read it again */
    bool                   settled;     /* grow, settings: done with */
    struct znode_config    settings;    /* as they are, then as they are to be; version -1: there is no node */
    char                  *text;        /* settings: the node's as it was written. In op->arena */
};

struct op_state {
    struct lane            lane;        /* first */
    struct op_state       *next;
    struct controller     *c;
    struct topic_op       *op;
    const struct op_kind  *kind;
    int                    stage;
    struct metadata       *md;          /* as it was when the operation arrived */
    struct op_topic       *topics;
    int32_t                controller_version;      /* of /controller; -1: there is none */
    bool                   waiting;     /* for the metadata cache */
    int64_t                deadline_ns;
};

struct op_kind {
    void (*check)(struct op_state *s);
    void (*decide)(struct op_state *s);
    void (*conclude)(struct op_state *s);
    bool (*pending)(const struct metadata *md, const struct op_topic *ot);
};
extern const struct op_kind op_create, op_grow, op_delete, op_settings;

/* message: NULL (the error's own), static or in op->arena. */
void op_fail(struct op_topic *ot, int16_t error, const char *message);
void op_failf(struct op_topic *ot, int16_t error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *op_ids_text(struct op_topic *ot, const struct znode_replicas *r);   /* "1, 2" */
bool op_leaderless(const struct metadata *md, const struct op_topic *ot);       /* some partition of ot->node */

/* Nobody else may create a topic of this name, or of one that collides with it, until op_release(). false: *holder
 * does so already (NULL: out of memory, noted). */
bool op_claim(struct op_topic *ot, const struct op_topic **holder) must_use;
void op_release(struct op_state *s);

/* For one topic; NULL: out of memory, noted. */
struct store_call *op_call(struct op_topic *ot) must_use;
void op_ask(struct op_topic *ot, struct store_call *call, answer_fn *fn);       /* subject: ot */
/* Makes ot->node.partitions[first...]: new partitions, spread over the live brokers, beginning at the broker
 * `near` (-1: anywhere). The `first` that there are stay. Fails the topic as Apache Kafka does. */
void op_assign(struct op_topic *ot, int32_t partitions, int32_t replication, int32_t first, int32_t near);

/* For each topic that has no error yet. */
#define OP_EACH(s, ot) \
    for (struct op_topic *ot = (s)->topics; ot < (s)->topics + (s)->op->topics_n; ot++) if (ot->t->error == 0)

#endif
