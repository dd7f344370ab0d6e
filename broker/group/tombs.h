/* broker/group/tombs.h - the tombstones that one group's session leaves in the log: gathered, and appended with acks 0
 * in batches far below what a message may be, since a group may lose any number of offsets at once.
 *
 *     tombs_init(&t, s);
 *     ... tombs_add(&t, topic, partition);
 *     tombs_end(&t);                      always
 *
 * OWNER    the caller's, on the stack. LOCKS the session's.
 * FAILURE  one line in the log: what is gone from memory comes back when the log is loaded.
 */
#ifndef BROKER_GROUP_TOMBS_H
#define BROKER_GROUP_TOMBS_H

#include "base/arena.h"

struct group_record;
struct group_session;

struct tombs {
    struct group_session *s;
    struct arena          a;
    struct group_record  *v;
    size_t                n, cap, bytes;
    size_t                lost;         /* found no memory */
    int16_t               kerr;         /* of the last append that failed */
};

void tombs_init(struct tombs *t, struct group_session *s);
void tombs_add(struct tombs *t, struct str topic, int32_t partition);
void tombs_add_group(struct tombs *t);  /* the group itself */
void tombs_end(struct tombs *t);

#endif
