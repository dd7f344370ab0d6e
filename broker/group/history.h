/* broker/group/history.h - what has happened in one group lately: who joined, left or was expelled, and why; when each
 * rebalance began, why, and how long it took. In memory only; a restart or a move of the group begins anew.
 *
 * BOUND    history_add() forgets the oldest until no more than `keep` events are left (at most HISTORY_MAX); texts
 *          longer than HISTORY_TEXT_MAX are cut. An event takes about 100 bytes and its texts.
 * OWNER    its group. LOCKS the group's. UNITS Unix ms; a duration in ms.
 * FAILURE  out of memory: the event is not kept. NULL is a history that keeps nothing.
 */
#ifndef BROKER_GROUP_HISTORY_H
#define BROKER_GROUP_HISTORY_H

#include "base/bytes.h"

#include <stdint.h>

#define HISTORY_MIN 64                  /* events kept of a small group */
#define HISTORY_MAX 2048
#define HISTORY_TEXT_MAX 255            /* bytes of an id, a name or a reason */

/* X(KIND, name): the name is what DescribeGroups carries. */
#define GROUP_EVENTS(X)                                                                     \
    X(JOINED,          "joined")                                                            \
    X(LEFT,            "left")                                                              \
    X(EXPELLED,        "expelled")                                                          \
    X(REBALANCE_BEGAN, "rebalance-began")                                                   \
    X(REBALANCE_ENDED, "rebalance-ended")

enum group_event_kind {
#define X(kind, name) GROUP_EVENT_##kind,
    GROUP_EVENTS(X)
#undef X
    GROUP_EVENTS_N
};

struct group_event {
    enum group_event_kind kind;
    int32_t    generation;
    int64_t    at_ms;                   /* Unix ms */
    int64_t    duration_ms;             /* of a rebalance that has ended; else -1 */
    int32_t    members_n;               /* after it */
    struct str member_id;               /* "" where it is about the whole group */
    struct str instance_id;             /* null: dynamic, or about the whole group */
    struct str client_id, client_host;
    struct str reason;                  /* a short sentence for persons; may quote the client */
};

struct group_history;

const char *group_event_name(enum group_event_kind kind);

struct group_history *history_new(void);      /* NULL: out of memory */
void history_free(struct group_history **h);  /* NULL-safe */
void history_add(struct group_history *h, const struct group_event *e, size_t keep);

/* Oldest first; *pos = NULL at first. false: no more. What is given lies in the history. */
bool   history_next(const struct group_history *h, const void **pos, struct group_event *out);
size_t history_n(const struct group_history *h);

#endif
