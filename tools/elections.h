/* tools/elections.h - what the two commands share that have leaders elected: lists of partitions, the request to the
 * controller, and what became of it.
 *
 * OWNER    everything lies in the admin's arena. LOCKS none: one thread.
 * FAILURE  negative ERR_* with a sentence in a->error.
 */
#ifndef TOOLS_ELECTIONS_H
#define TOOLS_ELECTIONS_H

#include "tools/admin.h"

struct election {
    struct str topic;
    int32_t    partition;
    int16_t    kerr;                    /* result */
    struct str message;                 /* null: none */
};
struct elections {
    struct election *v;
    size_t           n;
};

enum { ELECTION_PREFERRED = 0, ELECTION_UNCLEAN = 1 };

/* {"partitions":[{"topic":"foo","partition":1}]}. `what` begins the sentences: "Replica election data". */
int elections_read(struct admin *a, const char *path, const char *what, struct elections *out) must_use;

/* want NULL: all partitions; then those that need no election are not in the answer. In the order of Java's maps. */
int elections_run(struct admin *a, int8_t type, const struct elections *want, struct elections *out) must_use;

/* "t-0, t-1" of those with kerr (those without an error: KERR_NONE); how many there are. */
size_t elections_count(const struct elections *e, int16_t kerr);
void   elections_print(const struct elections *e, int16_t kerr);
/* "org.apache.kafka.common.errors.XException: message" */
void   elections_print_failure(const struct election *e);

#endif
