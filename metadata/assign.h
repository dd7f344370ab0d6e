/* metadata/assign.h - which brokers hold which replicas of a new partition. Apache Kafka's scheme:
 * leaders go round robin over the brokers, followers follow with a shift that grows each time round; with
 * racks, over a list in which the racks alternate, and no rack twice while another has none.
 */
#ifndef METADATA_ASSIGN_H
#define METADATA_ASSIGN_H

#include "base/bytes.h"
#include "base/err.h"

struct assign_broker {
    int32_t    id;
    struct str rack;            /* null: none */
};

struct assign_want {
    const struct assign_broker *brokers;        /* by rising id */
    int32_t                     brokers_n;      /* >= replication */
    int32_t                     partitions;     /* how many new ones, >= 1 */
    int32_t                     replication;    /* >= 1 */
    int32_t                     first;          /* number of the first new partition */
    int32_t                     start;          /* place in the list and first shift; -1: random */
};

/* out has room for partitions * replication ids. ERR_INVALID: some brokers have a rack and some have none.
 * ERR_NOMEM. */
int assign_replicas(const struct assign_want *w, int32_t *out) must_use;

#endif
