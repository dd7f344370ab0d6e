/* broker/group/group_states.h - the functions that the table of states (group.c) points at. */
#ifndef BROKER_GROUP_GROUP_STATES_H
#define BROKER_GROUP_GROUP_STATES_H

#include "broker/group/group_private.h"

/* ---- group_join.c: may one more join? m: NULL = not a member ---- */
bool room_always(const struct group *g, const struct group_member *m);
bool room_awaiting(const struct group *g, const struct group_member *m);
bool room_members(const struct group *g, const struct group_member *m);

/* ---- group_join.c: a member joins again ---- */
#define REJOIN(name)                                                                                            \
    void name(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,       \
              int64_t now_ms)
REJOIN(rejoin_nobody);
REJOIN(rejoin_preparing);
REJOIN(rejoin_completing);
REJOIN(rejoin_stable);
#undef REJOIN

/* ---- group_join.c: a static member waits under its new id; *write is taken over or left ---- */
void replaced_preparing(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms);
void replaced_completing(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms);
void replaced_stable(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms);

/* ---- group_calls.c: a member of this generation wants its assignment ---- */
#define SYNC(name)                                                                                              \
    void name(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,       \
              int64_t now_ms)
SYNC(sync_nobody);
SYNC(sync_too_early);
SYNC(sync_completing);
SYNC(sync_stable);
#undef SYNC

/* ---- group_rebalance.c: members or pending ids are gone ---- */
void shrunk_nothing(struct group *g, const char *why, int64_t now_ms);
void shrunk_preparing(struct group *g, const char *why, int64_t now_ms);
void shrunk_settled(struct group *g, const char *why, int64_t now_ms);

#endif
