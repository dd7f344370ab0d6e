/* broker/group/offsets_priv.h - the inside of a group's table of offsets, for offsets{,_table,_pending}.c only.
 *
 *   slots    one for each partition, dense, in no order; 48 bytes
 *   topics   names, once each, counted by the slots that have them; NULL is a hole
 *   more     what a small group does without: an index of each (above some entries they are not searched in a row),
 *            producers with pending offsets, tickets
 *
 * A slot is live when it holds a committed offset. One that is not live is there because something is pending or on its
 * way (busy > 0); its log_offset is then the ticket below which commits on their way have been deleted. A slot that is
 * neither is taken out at once.
 *
 * OWNER, LOCKS, FAILURE as in offsets.h. A pointer to a slot is good until the next slot is got or settled.
 */
#ifndef BROKER_GROUP_OFFSETS_PRIV_H
#define BROKER_GROUP_OFFSETS_PRIV_H

#include "broker/group/offsets.h"

#define OFFSETS_NOWHERE UINT32_MAX

/* What few offsets have: metadata, or a time of their own to expire. */
struct extra {
    int64_t  expire_ms;
    uint32_t len;
    char     text[];
};

struct slot {
    int64_t       offset, commit_ms, log_offset;
    struct extra *extra;                /* NULL: no metadata, no time of its own */
    uint32_t      topic;
    int32_t       partition, leader_epoch;
    uint32_t      busy : 31, live : 1;
};

struct topic_name {
    uint32_t refs;
    uint16_t len;
    char     text[];
};

struct index {
    uint32_t *cells;                    /* position + 1; 0: free. NULL: there is none yet */
    uint32_t  mask;
};

struct producer {
    int64_t          id;
    struct slot     *v;                 /* slots' fields but busy and live */
    size_t           n, cap;
    struct producer *next;
};

struct more {
    struct index     slots, topics;
    struct producer *producers;
    uint64_t         tickets;
};

struct group_offsets {
    struct slot        *slots;
    struct topic_name **topics;
    struct more        *more;           /* NULL: not needed so far */
    uint32_t            n, cap;
    uint32_t            topics_n, topics_cap;
    uint32_t            live_n, holes;
};

static inline struct str topic_name_str(const struct topic_name *t)
{
    return (struct str){ t->text, t->len };
}

/* ---- offsets_table.c: finding, adding, taking out ---- */

struct more *offsets_more(struct group_offsets *o);             /* made when it is not there; NULL: out of memory */
uint32_t     offsets_topic(const struct group_offsets *o, struct str name);     /* or OFFSETS_NOWHERE */
struct slot *offsets_slot_at(const struct group_offsets *o, uint32_t topic, int32_t partition);
struct slot *offsets_slot(const struct group_offsets *o, struct str topic, int32_t partition);
/* A new one is neither live nor busy, and is the caller's to make so or to settle. */
int          offsets_slot_get(struct group_offsets *o, struct str topic, int32_t partition, struct slot **out) must_use;
void         offsets_settle(struct group_offsets *o, struct slot *s);   /* takes it out if nothing keeps it */

/* ---- offsets.c: values ---- */

int  offset_slot_set(struct slot *s, const struct committed *c) must_use;
int  offset_slot_commit(struct group_offsets *o, struct slot *s, const struct committed *c) must_use;   /* if newer */
bool offset_slot_kill(struct group_offsets *o, struct slot *s); /* not live any more; was it? */

/* ---- offsets_pending.c ---- */

void offsets_pending_free(struct group_offsets *o);

#endif
