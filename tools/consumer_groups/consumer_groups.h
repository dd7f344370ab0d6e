/* tools/consumer_groups/consumer_groups.h - what the parts of kafka-consumer-groups.sh share.
 *
 * Output is that of Apache Kafka 3.9.1's command to the byte when it is called by its name (that command writes some
 * tables without a line break at the end, or between rows, and ends with 0 after a failure that it has printed).
 * Called as `klamm consumer-groups`, lines are ended, and a failure gives exit status 1.
 *
 * OWNER    struct cg lives in the command's run(). Everything found lies in its arena.
 * LOCKS    none: one thread.
 * FAILURE  ERR_* with a sentence in cg->a.error. cg->usage: the options are at fault, so that the help text follows.
 */
#ifndef TOOLS_CONSUMER_GROUPS_CONSUMER_GROUPS_H
#define TOOLS_CONSUMER_GROUPS_CONSUMER_GROUPS_H

#include "tools/admin.h"
#include "tools/command.h"
#include "tools/consumer_groups/jvm.h"
#include "tools/partition_jobs.h"

enum groups_option {
    CG_ALL_GROUPS = OPT_FIRST, CG_ALL_TOPICS, CG_BOOTSTRAP, CG_BY_DURATION, CG_COMMAND_CONFIG, CG_DELETE,
    CG_DELETE_OFFSETS, CG_DESCRIBE, CG_DRY_RUN, CG_EXECUTE, CG_EXPORT, CG_FROM_FILE, CG_GROUP, CG_HISTORY, CG_LIST,
    CG_MEMBERS, CG_OFFSETS, CG_RESET, CG_SHIFT_BY, CG_STATE, CG_TIMEOUT, CG_TO_CURRENT, CG_TO_DATETIME,
    CG_TO_EARLIEST, CG_TO_LATEST, CG_TO_OFFSET, CG_TOPIC, CG_TYPE, CG_VERBOSE, CG_N
};

struct cg {
    struct admin    a;
    struct options *o;
    bool            as_kafka;           /* by the name of Apache Kafka's command */
    bool            usage;              /* the failure is one of options: the help text follows, status 1 */
    bool            told;               /* a failure has been printed, and the command goes on */
};

struct strs {
    struct str *v;
    size_t      n;
};

struct tp {
    struct str topic;
    int32_t    partition;
};

/* Memory of cg's arena, zeroed; ERR_NOMEM with its sentence. */
int  cg_array(struct cg *cg, size_t n, size_t size, void *out) must_use;
/* jvm_order() in cg's arena. */
int  cg_order(struct cg *cg, void *v, size_t n, size_t size, size_t room, jvm_hash_of hash) must_use;
/* Fails because of what the user gave; the help text follows. */
int  cg_usage(struct cg *cg, const char *fmt, ...) __attribute__((format(printf, 2, 3))) must_use;
/* Fails with a code and, if not NULL, words for it. `wraps`: 1 where Apache Kafka's command shows the
 * exception inside another one, else 0. */
int  cg_fail_kafka(struct cg *cg, int wraps, int16_t kerr, const char *message) must_use;
/* Fails with what admin_call() or its like has left in cg->a.error. */
int  cg_fail_call(struct cg *cg, int wraps, int rc) must_use;
/* Prints "\nError: ..." to standard output, and goes on. */
void cg_print_error(struct cg *cg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line to standard error, after what standard output holds. */
void cg_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Ends the last line of a table that Apache Kafka's command leaves open. */
void cg_end_table(const struct cg *cg);

int      tp_compare(const void *a, const void *b);          /* by topic, then partition */
uint32_t tp_hash(const void *tp);
uint32_t str_hash(const void *str);

/* ---- list.c ---- */
/* Ids of all groups of consumers, in hash order. */
int groups_names(struct cg *cg, struct strs *out) must_use;
/* --all-groups, or every --group once, in hash order. */
int groups_chosen(struct cg *cg, struct strs *out) must_use;
int groups_list(struct cg *cg) must_use;                    /* --list */

/* ---- ask.c: something asked of the coordinator of each of several groups ---- */
struct group_job {
    struct str group;
    int32_t    coordinator;     /* -1: to be found; kept for the next thing that is asked */
    int16_t    kerr;            /* when done */
    const char *message;        /* of kerr, NULL: the usual one */
    bool       done;
    void      *of;              /* the asker's */
};

/* Asks one coordinator for the jobs v[0..n), and calls group_job_answer() for each; those without an answer are
 * asked again. */
typedef int (*group_ask)(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n);

/* `what` names the operation as Apache Kafka's client does. A group's trouble is its job's; fails only when nobody
 * can be asked. */
int  group_jobs_run(struct cg *cg, const char *what, struct group_job *v, size_t n, group_ask ask) must_use;
void group_job_answer(struct group_job *job, int16_t kerr, const char *message);
struct group_job *group_job_find(struct group_job *const *v, size_t n, struct str group);

/* ---- state.c: groups, their members, their committed offsets ---- */
enum group_state {
    GS_UNKNOWN, GS_PREPARING, GS_COMPLETING, GS_STABLE, GS_DEAD, GS_EMPTY, GS_ASSIGNING, GS_RECONCILING, GS_N
};
const char      *gs_name(enum group_state s);
enum group_state group_state_parse(struct str name);        /* in upper or lower case */

struct group_member {
    struct str id, instance, client, host;      /* instance.p NULL: a dynamic member */
    struct tp *assigned;                        /* in hash order */
    size_t     assigned_n;
};

struct committed {
    struct tp tp;
    int64_t   offset;                           /* -1: none */
};

struct group_info {
    struct str           name;
    enum group_state     state;
    struct str           assignor;
    struct group_member *members;
    size_t               members_n;
    struct committed    *committed;             /* by tp_compare() */
    struct committed    *committed_in_order;    /* in hash order */
    size_t               committed_n;
    bool                 classic;               /* it is for DescribeGroups to say */
    const struct describe_groups_response_described_group *answer;              /* one of the two */
    const struct consumer_group_describe_response_described_group *newer;
    struct group_job    *job;
};

/* Asks for state and members of groups, in the order of `names`. group_read() then takes each group's answer apart,
 * and fails if there is none. */
int groups_describe(struct cg *cg, const struct strs *names, int wraps, struct group_info **out) must_use;
int group_read(struct cg *cg, struct group_info *g, int wraps) must_use;
/* Their committed offsets. */
int groups_committed(struct cg *cg, struct group_info *v, size_t n) must_use;
const struct committed *group_committed(const struct group_info *g, const struct tp *tp);   /* NULL: none */

/* ---- offsets.c: offsets of partitions ---- */
struct found_offset {
    struct tp tp;               /* first: tp_hash() */
    int64_t   offset;
};

/* ListOffsets at `timestamp` (-1 end, -2 start) of each of v[0..n), of which none may be there twice. Fails when one
 * of them does. */
int offsets_find(struct cg *cg, struct found_offset *v, size_t n, int64_t timestamp) must_use;

/* ---- topics.c: --topic ---- */
struct tps {
    struct tp *v;
    size_t     n, cap;
};
int tps_add(struct cg *cg, struct tps *tps, struct tp tp) must_use;
/* "topic:0,1,2" */
int topic_parse(struct cg *cg, struct str text, struct tps *out) must_use;
/* The partitions of each topic in `names`; kerr[i] says why topic i has none. */
int topics_partitions(struct cg *cg, const struct strs *names, struct tps *out, int16_t *kerr) must_use;

/* ---- plan.c: --from-file ---- */
struct plan_row {
    struct str group;
    struct tp  tp;
    int64_t    offset;
};
struct plan {
    struct plan_row *v;
    size_t           n;
};
int plan_read(struct cg *cg, const char *file, struct plan *out) must_use;
/* The rows of one group; of two for one partition the later counts. */
int plan_of_group(struct cg *cg, const struct plan *plan, struct str group, struct found_offset **out,
                  size_t *n) must_use;

/* ---- the actions ---- */
int groups_show_history(struct cg *cg, const struct group_info *v, size_t n) must_use;      /* history.c */
int groups_show(struct cg *cg) must_use;                    /* --describe: describe.c */
int groups_reset(struct cg *cg) must_use;                   /* --reset-offsets: reset.c */
int groups_delete(struct cg *cg) must_use;                  /* --delete: delete.c */
int groups_delete_offsets(struct cg *cg) must_use;          /* --delete-offsets: delete.c */

#endif
