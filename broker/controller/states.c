/* broker/controller/states.c - the tables of states.h. */
#include "broker/controller/states.h"

#define B(s) (1U << (s))

struct state_def {
    const char *name;
    unsigned    from;           /* set of legal predecessors */
};

#define S(name, text, from) [name] = { text, from },
static const struct state_def partition_defs[] = { PARTITION_STATES(S) };
static const struct state_def replica_defs[] = { REPLICA_STATES(S) };
#undef S

bool partition_state_legal(enum partition_state from, enum partition_state to)
{
    return (partition_defs[to].from & B(from)) != 0;
}

bool replica_state_legal(enum replica_state from, enum replica_state to)
{
    return (replica_defs[to].from & B(from)) != 0;
}

const char *partition_state_name(enum partition_state s)
{
    return partition_defs[s].name;
}

const char *replica_state_name(enum replica_state s)
{
    return replica_defs[s].name;
}
