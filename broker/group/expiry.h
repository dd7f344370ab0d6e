/* broker/group/expiry.h - offsets that go: expired ones (KIP-211, internal-topics.md 2.6), those of deleted topics, and
 * those that somebody deletes. What goes leaves a tombstone in the log, appended with acks 0: if one is lost, the
 * offset comes back when the log is loaded, and goes again.
 *
 *   group                                   an offset expires when                          unless
 *   Empty, with a protocol type             retention has passed since it became empty,     pending, on its way
 *                                           or since the commit if that is not known
 *   Stable consumers                        retention has passed since the commit           ..., or a member reads it
 *   none of the two has ever been (simple)  retention has passed since the commit           ...
 *   any other: rebalancing, other types     never
 *
 * A commit that said how long (versions 2-4) has its own time in place of retention. A group that is Empty and has no
 * offset left is removed.
 *
 * OWNER    the daemon makes one; groups and scheduler are borrowed. LOCKS those of groups_each(). UNITS Unix ms.
 */
#ifndef BROKER_GROUP_EXPIRY_H
#define BROKER_GROUP_EXPIRY_H

#include "base/bytes.h"
#include "base/err.h"

struct config;
struct group_expiry;
struct group_session;
struct groups;
struct scheduler;

int  group_expiry_new(struct group_expiry **out, struct groups *gs, const struct config *cfg,
                      struct scheduler *sched) must_use;
void group_expiry_free(struct group_expiry **e);        /* NULL-safe; it is not running any more */

/* What expires now, in all groups; how many offsets. */
size_t groups_expire(struct groups *gs, int64_t now_ms, int64_t retention_ms);

struct offset_key {
    struct str topic;
    int32_t    partition;
};

/* These go, with what is pending of them; how many of them there were. The group may be removed then: the
 * session can only be left. */
size_t group_forget(struct group_session *s, const struct offset_key *v, size_t n);

/* These partitions are deleted: so in all groups. */
void   groups_forget(struct groups *gs, const struct offset_key *v, size_t n);

#endif
