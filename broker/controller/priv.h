/* broker/controller/priv.h - struct controller, for the files of this folder. */
#ifndef BROKER_CONTROLLER_PRIV_H
#define BROKER_CONTROLLER_PRIV_H

#include "base/lock.h"
#include "broker/cluster/ibp.h"
#include "broker/cluster/registration.h"
#include "broker/controller/brokers.h"
#include "broker/controller/channel.h"
#include "broker/controller/context.h"
#include "broker/controller/controller.h"
#include "broker/controller/task.h"
#include "config/config.h"

struct op_state;
struct op_topic;

struct batch {                          /* requests to brokers under construction; see batch.c */
    uint32_t               number;
    bool                   open;
    struct ctl_partition **update;      /* partitions of the UpdateMetadata */
    size_t                 update_n, update_cap;
};

struct controller {
    /* fixed */
    struct controller_opts opts;
    pthread_t              thread;
    bool                   started;
    struct ibp             ibp;                 /* what the brokers of the cluster share */
    struct loop            loop;
    /* under lock */
    struct lock            lock;
    struct cond            ready_cond;
    bool                   ready;
    int                    ready_rc;
    /* any thread */
    atomic_bool            active;
    atomic_bool            recheck_posted;
    struct loop_item       recheck;     /* in the loop while recheck_posted */
    struct loop_item       stop;
    /* the controller's thread only */
    bool                   stopping;
    int64_t                broker_epoch;
    int32_t                controller_id;       /* -1: none known */
    int32_t                suspect;             /* a controller whose links broke; -1: none. See unreachable.c */
    int64_t                suspect_epoch;       /* its broker epoch then */
    int64_t                suspect_until_ns;    /* if it is registered still it was no more than a moment */
    int32_t                deposed;             /* whom this broker removed last, and when it may do so again */
    int64_t                depose_again_ns;
    int32_t                epoch;               /* ours, while active */
    int32_t                epoch_version;       /* version of /controller_epoch */
    struct context         ctx;
    struct batch           batch;
    struct event          *events, **events_tail, *event;   /* waiting; running */
    struct frame          *top;
    struct lane            lane;                /* of the running event */
    int                    abort_rc;
    struct op_state       *ops;                 /* topic_ops.c */
    struct op_topic       *creating;            /* uthash: names of topics on their way into the store */
    size_t                 sent;                /* requests to brokers without an answer */
    size_t                 sent_here;           /* of them: to the broker of this process */
    int64_t                changes_seen;        /* counter of the last change of settings that was followed */
    bool                   failed_over;         /* ready as soon as they are answered */
    int64_t                elect_at_ns;         /* elections and writes to try again; INT64_MAX: none */
    int64_t                retry_at_ns;
    struct elections_wait *elections;           /* answers to ElectLeaders that wait for the metadata cache */
    bool                   isrs_posted;         /* an EV_STATE for all partitions is on its way */
    int64_t                balance_at_ns;       /* the balance of leaders is looked at; INT64_MAX: never */
    int64_t                register_at_ns;      /* the registration is to be tried again; INT64_MAX: no */
};

/* controller.c */
void controller_set_ready(struct controller *c, int rc);

/* What begins an event: pushes its frame. */
void election_begin(struct controller *c);              /* election.c */
void controller_changed(struct controller *c);
void session_expired(struct controller *c);
void session_begun(struct controller *c);
void topics_changed(struct controller *c);              /* topics.c */
void topic_changed(struct controller *c);
void deletions_changed(struct controller *c);           /* deletion.c */
void broker_answered(struct controller *c);             /* answers.c */
void retry_partitions(struct controller *c);            /* partitions.c */
void brokers_changed(struct controller *c);             /* broker_change.c */
void broker_changed(struct controller *c);
void log_dirs_changed(struct controller *c);            /* notices.c */
void isrs_changed(struct controller *c);
void configs_changed(struct controller *c);             /* config_changes.c */
void ask_begin(struct controller *c);                   /* ask.c */
void link_down(struct controller *c);                   /* unreachable.c */
void broker_reached(struct controller *c);

/* What is asked of the active controller; each answers into ask->resp, and may push frames. */
void alter_partition_asked(struct controller *c, struct controller_ask *ask);   /* alter_partition.c */
void controlled_shutdown_asked(struct controller *c, struct controller_ask *ask);       /* shutdown.c */
void producer_ids_asked(struct controller *c, struct controller_ask *ask);      /* producer_blocks.c */
void reassignments_asked(struct controller *c, struct controller_ask *ask);     /* reassign_ask.c */
void reassignments_list_asked(struct controller *c, struct controller_ask *ask);
void elections_asked(struct controller *c, struct controller_ask *ask);         /* preferred.c */

/* ask.c: done() is called */
void ask_end(struct controller_ask *ask, bool failed);

/* election.c */
void election_resign(struct controller *c);

/* failover.c: becoming the controller, from the moment that /controller is ours; pushes */
void failover_begin(struct controller *c);

/* vanished.c: UpdateMetadata to all brokers, with nothing but what they are to forget since the tree has it no more */
void vanished_tell(struct controller *c);

/* deletion.c; all push */
void deletion_init(struct controller *c, const struct str *topics, size_t n);   /* what is there at the start */
void deletion_resume(struct controller *c);                                     /* all that can be done now */
void deletion_brokers_back(struct controller *c, const int32_t *ids, size_t n); /* what waited for them goes on */

/* partitions.c. The list is copied. */
void partitions_start(struct controller *c, struct ctl_partition **v, size_t n);    /* at the start of a term */
void partitions_to(struct controller *c, struct ctl_partition **v, size_t n, enum partition_state to);
void partition_elected(struct ctl_partition *p);                                        /* -> Online */
void partitions_online(struct controller *c, struct ctl_partition **v, size_t n);       /* pushes */

/* returned.c: at the start of a term, before anybody is told of these partitions; pushes */
void returned_start(struct controller *c, struct ctl_partition **v, size_t n);

/* replicas.c */
struct replica_ref {
    struct ctl_partition *p;
    int32_t               broker;
};
enum replica_state replica_state(const struct ctl_partition *p, int32_t broker);
void replicas_start(struct controller *c, struct ctl_partition **v, size_t n);
void replicas_to(struct controller *c, const struct replica_ref *v, size_t n, enum replica_state to);
void replicas_offline(struct controller *c, const struct replica_ref *v, size_t n);     /* pushes */
/* Out of the ISR, unless they lead; their brokers are told, as if they were alive. Pushes. */
void replicas_suspend(struct controller *c, const struct replica_ref *v, size_t n);

/* notices.c */
void notices_init(struct controller *c);                /* at the start of a term; pushes */

/* log_dirs.c */
void replicas_lost(struct controller *c, const struct replica_ref *v, size_t n);        /* of one broker; pushes */
void replicas_found(struct controller *c, const struct replica_ref *v, size_t n);       /* that were lost; pushes */

/* batch.c: begin, add, send */
void batch_begin(struct controller *c);
void batch_leader_and_isr(struct controller *c, int32_t broker, struct ctl_partition *p, bool is_new);
/* A broker that led without being assigned: it follows the new leader, and stops. Its log stays. */
void batch_dismiss(struct controller *c, int32_t broker, struct ctl_partition *p);
void batch_update(struct controller *c, struct ctl_partition *p);       /* to every live broker */
void batch_update_all(struct controller *c, int32_t broker);            /* every partition, to this one */
void batch_update_brokers(struct controller *c);                        /* without partitions, to every live broker */
void batch_stop(struct controller *c, int32_t broker, struct ctl_partition *p, bool delete_it);
void batch_send(struct controller *c);
void batch_fini(struct controller *c);

/* config_changes.c: the node holds this now. What cannot be read or understood is logged. Partitions that wait for a
 * leader are looked at again when the new settings, or that they can be understood now, may give them one. */
void broker_config_apply(struct controller *c, enum config_layer layer, const struct store_op *node, struct arena *a);
void config_apply(struct controller *c, struct str topic, const struct store_op *node, struct arena *a);

/* topic_ops.c */
void ops_recheck(struct controller *c);                 /* the metadata cache has changed, or a deadline has come */
int64_t ops_deadline(const struct controller *c);       /* monotonic ns; INT64_MAX: none */
void ops_end(struct controller *c);                     /* every operation is answered */

#endif
