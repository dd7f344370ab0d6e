/* broker/controller/states.h - the states of partitions and replicas as the controller sees them; in memory
 * only.
 *
 *   partition   NONEXISTENT -> NEW -> ONLINE <-> OFFLINE -> NONEXISTENT
 *   replica     NONEXISTENT -> NEW -> ONLINE <-> OFFLINE -> DELETE_STARTED -> DELETE_DONE -> NONEXISTENT
 *                                                   ^              |
 *                                                   +-- INELIGIBLE <
 *
 * The tables below say which steps are legal; what a step does is in partitions.c and replicas.c, the only
 * files that write these states.
 */
#ifndef BROKER_CONTROLLER_STATES_H
#define BROKER_CONTROLLER_STATES_H

#include <stdbool.h>

/* S(name, text, legal predecessors) */
#define PARTITION_STATES(S)                                                                                  \
    S(PARTITION_NONEXISTENT, "NonExistent", B(PARTITION_OFFLINE))                                             \
    S(PARTITION_NEW, "New", B(PARTITION_NONEXISTENT))                                                         \
    S(PARTITION_ONLINE, "Online", B(PARTITION_NEW) | B(PARTITION_ONLINE) | B(PARTITION_OFFLINE))              \
    S(PARTITION_OFFLINE, "Offline", B(PARTITION_NEW) | B(PARTITION_ONLINE) | B(PARTITION_OFFLINE))

#define REPLICA_STATES(S)                                                                                    \
    S(REPLICA_NONEXISTENT, "NonExistent", B(REPLICA_DELETE_DONE))                                             \
    S(REPLICA_NEW, "New", B(REPLICA_NONEXISTENT))                                                             \
    S(REPLICA_ONLINE, "Online",                                                                               \
      B(REPLICA_NEW) | B(REPLICA_ONLINE) | B(REPLICA_OFFLINE) | B(REPLICA_INELIGIBLE))                        \
    S(REPLICA_OFFLINE, "Offline",                                                                             \
      B(REPLICA_NEW) | B(REPLICA_ONLINE) | B(REPLICA_OFFLINE) | B(REPLICA_INELIGIBLE))                        \
    S(REPLICA_DELETE_STARTED, "DeletionStarted", B(REPLICA_OFFLINE))                                          \
    S(REPLICA_DELETE_DONE, "DeletionSuccessful", B(REPLICA_DELETE_STARTED))                                   \
    S(REPLICA_INELIGIBLE, "DeletionIneligible", B(REPLICA_OFFLINE) | B(REPLICA_DELETE_STARTED))

#define S(name, text, from) name,
enum partition_state { PARTITION_STATES(S) PARTITION_STATE_N };
enum replica_state { REPLICA_STATES(S) REPLICA_STATE_N };
#undef S

bool partition_state_legal(enum partition_state from, enum partition_state to);
bool replica_state_legal(enum replica_state from, enum replica_state to);
const char *partition_state_name(enum partition_state s);
const char *replica_state_name(enum replica_state s);

#endif
