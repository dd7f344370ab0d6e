/* broker/cluster/adopt.h - taking over the partitions of Apache Kafka: a broker whose metadata store has never had a
 * topic, on log directories that hold partitions, enters them into its store.
 *
 * Topics, partitions and topic ids come from the directories; each partition gets one replica, this broker, and goes on
 * in the leader epoch that its log ended with. (So does Apache Kafka when a lone broker starts again. When it comes
 * back to the directory, it finds no epoch later than those that its ZooKeeper knows.) What cannot be known from the
 * directories is said. All of it is one transaction of the store: a start that is killed has adopted everything or
 * nothing.
 *
 * Later, topics that Apache Kafka made when it was on the directories again are left alone and said, until the user
 * asks for them.
 *
 * THREADS  These calls wait for the store; they are for the start of the daemon, before topics are read and logs
 *          loaded.
 * FAILURE  ERR_* of the store or of the directories, logged here.
 */
#ifndef BROKER_CLUSTER_ADOPT_H
#define BROKER_CLUSTER_ADOPT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct config;
struct store;

/* Whether the store is empty: there is no topic, and (unless `asked`: the user says so) never was one. The top of the
 * tree must be there: cluster_open(). */
int adopt_allowed(struct store *s, bool asked, bool *allowed) must_use;

struct adopt_opts {
    struct store        *store;
    const struct config *cfg;
    int32_t              broker_id;
    const char *const   *dirs;          /* those that work */
    size_t               dirs_n;
    const char          *configs_file;  /* adopt_configs.h; NULL: none */
    bool                 all;           /* adopt_allowed(): everything is adopted */
    bool                 asked;         /* else: the topics that the store does not have; said, if not asked */
};

int adopt_partitions(const struct adopt_opts *o) must_use;

#endif
