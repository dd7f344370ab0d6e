/* tools/topics/assignment.h - --replica-assignment: "1:2,2:3" says partition 0 on brokers 1 and 2, partition 1
 * on 2 and 3.
 *
 * OWNER    the arena. LOCKS none.
 * FAILURE  ERR_INVALID with a sentence in `error`.
 */
#ifndef TOOLS_TOPICS_ASSIGNMENT_H
#define TOOLS_TOPICS_ASSIGNMENT_H

#include "base/arena.h"

struct assignment {
    int32_t *brokers;           /* replicas of one partition, the preferred leader first */
    int32_t  n;
};

struct assignments {
    struct assignment *v;       /* by partition */
    int32_t            n;
};

int assignments_parse(const char *text, struct arena *a, struct assignments *out, char *error,
                      size_t error_len) must_use;

#endif
