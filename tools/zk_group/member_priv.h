/* tools/zk_group/member_priv.h - inside a member: its state, and what its three files want of each other. */
#ifndef TOOLS_ZK_GROUP_MEMBER_PRIV_H
#define TOOLS_ZK_GROUP_MEMBER_PRIV_H

#include "metadata/znodes.h"
#include "tools/zk_group/member.h"
#include "tools/zk_group/tree.h"

#define SAID_MAX 64                     /* complaints that are remembered, so as not to be made twice */

/* What the tree says of the group and of the cluster; in an arena. */
struct view {
    struct group_member *members;
    size_t               members_n;
    struct group_topic  *topics;        /* that matter to us */
    size_t               topics_n;
    const char          *brokers;       /* "host:port,..."; "": none */
};

struct first_topic {
    struct str topic;
    int32_t    last;                    /* partition */
};

struct zk_member {
    struct zk_member_opts o;
    struct tree   tree;
    struct reader reader;
    struct arena  arena;                /* of the view at hand */
    struct arena  first_arena;
    struct first_topic *first;          /* topics that mattered when it began; NULL: it has not */
    size_t        first_n;
    struct zpath  registration;
    bool          registered;
    bool          changed;              /* the group has to be looked at */
    bool          settled;              /* it had its partitions once */
    bool          warned;               /* that it does not get them */
    int32_t       attempts;             /* since something changed */
    int64_t       again_ms;             /* the next attempt; INT64_MAX: when something changes */
    int64_t       start_wait_ms;
    int64_t       start_ms;             /* the next try to start what is to be read; INT64_MAX: all is */
    int64_t       commit_ms;            /* the next commit */
    int           committing;           /* 0: no; else its round */
    char         *said[SAID_MAX];
    size_t        said_n;
};

/* member.c */
struct zpath member_path(const struct zk_member *m, const char *folder, struct str topic, int32_t partition);
/* To standard error, once for each text. */
void member_say(struct zk_member *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* commit.c: what is committed is what has been dealt with. */
void commit_begin(struct zk_member *m);     /* unless one is under way */
void commit_go_on(struct zk_member *m);     /* looks for answers */
void commit_finish(struct zk_member *m, bool stopping);
void commit_all(struct zk_member *m, bool stopping);    /* now, and to the end */

/* view.c. Watches are set on all of it. ERR_CLOSED: no session. */
int  view_read(struct zk_member *m, struct view *v) must_use;
void view_fini(struct view *v);

/* rebalance.c. ERR_AGAIN: not all of what should be ours is; ERR_CLOSED: no session. */
int  member_rebalance(struct zk_member *m, char *error, size_t error_len) must_use;

#endif
