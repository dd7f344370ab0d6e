/* broker/replica/absent.h - partitions that this broker is to host but whose log it cannot use: it is still being
 * loaded, or it is offline (its log directory has failed, or it alone could not be opened).
 *
 * What the controller has said of one that is being loaded is kept, and taken up when the log is there. What is hosted
 * comes into the replica manager's map before it goes from here, so that nobody finds it in neither.
 *
 * OWNER    one struct absents in the replica manager.
 * LOCKS    `absent` inside. Any thread may ask; who puts and takes holds `becoming`.
 */
#ifndef BROKER_REPLICA_ABSENT_H
#define BROKER_REPLICA_ABSENT_H

#include "base/bytes.h"
#include "base/lock.h"
#include "proto/gen/leader_and_isr_request.h"

#include <stdatomic.h>
#include <uthash.h>

enum absence { ABSENT_NOT, ABSENT_LOADING, ABSENT_OFFLINE };

struct absent {
    UT_hash_handle hh;
    enum absence   why;
    int32_t        controller_epoch;
    struct leader_and_isr_request_leader_and_isr_topic_state     topic;     /* name and id only */
    struct leader_and_isr_request_leader_and_isr_partition_state state;     /* ids[] are behind this */
    uint32_t       key_len;
    char          *key;                 /* index, then the topic's name; behind ids[] */
    int32_t        ids[];
};

struct absents {
    struct lock    lock;
    struct absent *map;                 /* under the lock */
    atomic_size_t  n;
};

void absents_init(struct absents *v);
void absents_fini(struct absents *v);

/* A copy is kept, in place of what was known of the partition before. */
int  absents_put(struct absents *v, enum absence why, int32_t controller_epoch,
                 const struct leader_and_isr_request_leader_and_isr_topic_state *t,
                 const struct leader_and_isr_request_leader_and_isr_partition_state *st) must_use;
/* *leader_epoch (may be NULL) is what the controller has said last; -1 when it is no absent one. */
enum absence absents_why(struct absents *v, struct str topic, int32_t index, int32_t *leader_epoch);
/* *out is a copy, to be freed; NULL: it is no absent one. */
int  absents_get(struct absents *v, struct str topic, int32_t index, struct absent **out) must_use;
struct absent *absents_take(struct absents *v, struct str topic, int32_t index);        /* NULL: none; free() it */

#endif
