/* broker/api/group_members.c - JoinGroup, SyncGroup, Heartbeat, LeaveGroup: from the request to the group and back.
 *
 * Join and Sync wait in the group, with a waiter in the request's arena. The group calls it under its lock, perhaps
 * before the call that took it returns, perhaps much later in another thread; the answer is encoded there, copying what
 * is the group's. So long as the lock is held here, whether it was answered is known, and only then may the request
 * be touched.
 */
#include "base/clock.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/group/groups.h"
#include "config/config.h"
#include "config/version.h"
#include "proto/gen/heartbeat_request.h"
#include "proto/gen/heartbeat_response.h"
#include "proto/gen/join_group_request.h"
#include "proto/gen/join_group_response.h"
#include "proto/gen/leave_group_request.h"
#include "proto/gen/leave_group_response.h"
#include "proto/gen/sync_group_request.h"
#include "proto/gen/sync_group_response.h"
#include "proto/kerr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define join_member  join_group_response_join_group_response_member
#define leave_member leave_group_response_member_response

/* ---- what they share ---- */

/* Brokers of before 2.3 do not keep group.instance.id, and would turn static members into others. */
static bool static_refused(const struct broker *b, struct str instance_id)
{
    return instance_id.p != NULL && version_find(b->cfg->inter_broker_protocol_version, NULL) <
                                        version_find("2.3-IV0", NULL);
}

/* All but offsets need a group id. */
static int16_t enter(struct broker *b, struct str group_id, enum groups_how how, struct group_session *s)
{
    return group_id.len == 0 ? KERR_INVALID_GROUP_ID : groups_enter(b->groups, group_id, how, s);
}

/* As Java's InetAddress is written, which is what the records of a group hold: "/10.0.0.1", "/2001:db8:0:0:0:0:0:1". */
static struct str client_host(struct request *r)
{
    char peer[REQUEST_PEER_MAX], text[REQUEST_PEER_MAX];
    uint8_t ip[16];
    char *end;
    int n = 0;

    (void)request_peer(r, peer);
    if (peer[0] != '[') {
        end = strrchr(peer, ':');
        if (end != NULL)
            *end = '\0';
        return str_of(arena_printf(&r->arena, "/%s", peer));
    }
    end = strchr(peer, ']');
    if (end != NULL)
        *end = '\0';
    if (inet_pton(AF_INET6, peer + 1, ip) != 1)
        return str_of(arena_printf(&r->arena, "/%s", peer + 1));
    for (size_t i = 0; i < sizeof ip; i += 2)
        n += snprintf(text + n, sizeof text - (size_t)n, "%c%x", i > 0 ? ':' : '/', ip[i] << 8 | ip[i + 1]);
    return str_of(arena_printf(&r->arena, "%s", text));
}

/* ---- JoinGroup ---- */

struct join {                           /* in the request's arena */
    struct join_waiter waiter;          /* first */
    struct request    *r;
    bool               answered;        /* under the group's lock */
};

static struct str no_protocol(const struct request *r)
{
    return r->version >= 7 ? (struct str){ NULL, 0 } : STR_LIT("");
}

static void join_error(struct request *r, int16_t kerr, struct str member_id)
{
    struct join_group_response out;

    join_group_response_init(&out);
    out.error_code = kerr;
    out.member_id = member_id;
    out.protocol_name = no_protocol(r);
    API_REPLY_COPY(r, join_group_response, &out);
}

static bool join_members(struct request *r, const struct group *g, struct join_group_response *out)
{
    const struct group_member *pos = NULL;
    struct group_member_view m;

    out->members = arena_array(&r->arena, g->members_n + 1, sizeof *out->members);
    if (out->members == NULL)
        return false;
    while ((size_t)out->members_n < g->members_n && group_next_member(g, &pos, &m)) {
        struct join_member *to = &out->members[out->members_n++];

        join_group_response_join_group_response_member_init(to);
        to->member_id = m.member_id;
        to->group_instance_id = m.instance_id;
        to->metadata = m.metadata;
    }
    return true;
}

static void joined(struct join_waiter *w, const struct join_result *res)
{
    struct join *j = (struct join *)w;
    struct request *r = j->r;
    struct join_group_response out;

    j->answered = true;
    join_group_response_init(&out);
    out.error_code = res->error;
    out.generation_id = res->generation;
    out.protocol_type = res->protocol_type;
    out.protocol_name = res->protocol;
    if (res->protocol.len == 0)
        out.protocol_name = no_protocol(r);
    out.leader = res->leader.p != NULL ? res->leader : STR_LIT("");
    out.member_id = res->member_id.p != NULL ? res->member_id : STR_LIT("");
    out.skip_assignment = res->skip_assignment && r->version >= 9;
    if (res->members == NULL || join_members(r, res->members, &out))
        API_REPLY_COPY(r, join_group_response, &out);
    else
        request_close(r, "out of memory");
}

static bool join_args(struct request *r, const struct join_group_request *in, struct join_args *out)
{
    struct group_protocol *v = arena_array(&r->arena, (size_t)in->protocols_n + 1, sizeof *v);

    *out = (struct join_args){
        .member_id = in->member_id, .instance_id = in->group_instance_id, .client_id = r->client_id,
        .client_host = client_host(r), .protocol_type = in->protocol_type, .protocols = v,
        .protocols_n = in->protocols_n, .session_timeout_ms = in->session_timeout_ms,
        .rebalance_timeout_ms = r->version == 0 ? in->session_timeout_ms : in->rebalance_timeout_ms,
        .needs_member_id = r->version >= 4 && in->group_instance_id.p == NULL,
        .can_skip_assignment = r->version >= 9, .reason = in->reason,
    };
    for (int32_t i = 0; i < in->protocols_n && v != NULL; i++)
        v[i] = (struct group_protocol){ in->protocols[i].name, in->protocols[i].metadata };
    return v != NULL && out->client_host.p != NULL;
}

void api_join_group(struct broker *b, struct request *r)
{
    struct join_group_request in;
    struct group_session s;
    struct join_args args;
    struct join *j;
    bool timeout_ok;
    int16_t kerr;

    if (!API_READ(r, join_group_request, &in))
        return;
    if (static_refused(b, in.group_instance_id)) {
        join_error(r, KERR_UNSUPPORTED_VERSION, STR_LIT(""));
        return;
    }
    j = arena_zalloc(&r->arena, sizeof *j);
    if (j == NULL || !join_args(r, &in, &args)) {
        request_close(r, "out of memory");
        return;
    }
    j->waiter.done = joined;
    j->r = r;
    timeout_ok = in.session_timeout_ms >= b->cfg->group_min_session_timeout_ms &&
                 in.session_timeout_ms <= b->cfg->group_max_session_timeout_ms;
    /* Only who has no member id yet may begin a group. */
    kerr = enter(b, in.group_id, timeout_ok && in.member_id.len == 0 ? GROUPS_OR_NEW : GROUPS_EXISTING, &s);
    if (kerr != KERR_NONE) {
        join_error(r, kerr, in.member_id);
        return;
    }
    if (!timeout_ok) {
        join_error(r, KERR_INVALID_SESSION_TIMEOUT, in.member_id);
    } else if (s.g == NULL) {
        join_error(r, KERR_UNKNOWN_MEMBER_ID, in.member_id);
    } else {
        group_join(s.g, &args, &j->waiter, mono_ms());
        if (!j->answered)
            request_release_body(r);
    }
    groups_leave(&s);
}

/* ---- SyncGroup ---- */

struct sync {                           /* in the request's arena */
    struct sync_waiter waiter;          /* first */
    struct request    *r;
    bool               answered;        /* under the group's lock */
};

static void synced(struct sync_waiter *w, const struct sync_result *res)
{
    struct sync *y = (struct sync *)w;
    struct sync_group_response out;

    y->answered = true;
    sync_group_response_init(&out);
    out.error_code = res->error;
    out.protocol_type = res->protocol_type;
    out.protocol_name = res->protocol;
    if (res->assignment.p != NULL)
        out.assignment = res->assignment;
    API_REPLY_COPY(y->r, sync_group_response, &out);
}

static void sync_error(struct request *r, int16_t kerr)
{
    struct sync_group_response out;

    sync_group_response_init(&out);
    out.error_code = kerr;
    API_REPLY(r, sync_group_response, &out);
}

static bool sync_args(struct request *r, const struct sync_group_request *in, struct sync_args *out)
{
    struct sync_assignment *v = arena_array(&r->arena, (size_t)in->assignments_n + 1, sizeof *v);

    *out = (struct sync_args){
        .member_id = in->member_id, .instance_id = in->group_instance_id, .generation = in->generation_id,
        .protocol_type = in->protocol_type, .protocol = in->protocol_name,
        .assignments = v, .assignments_n = in->assignments_n,
    };
    for (int32_t i = 0; i < in->assignments_n && v != NULL; i++)
        v[i] = (struct sync_assignment){ in->assignments[i].member_id, in->assignments[i].assignment };
    return v != NULL;
}

/* What can be told without looking at the group. While its log is read, the rebalance it was in is lost: old clients
 * know REBALANCE_IN_PROGRESS and join again, but not the code for loading. */
static int16_t sync_refused(struct broker *b, const struct request *r, const struct sync_group_request *in)
{
    if (static_refused(b, in->group_instance_id))
        return KERR_UNSUPPORTED_VERSION;
    if (r->version >= 5 && (in->protocol_type.p == NULL || in->protocol_name.p == NULL))
        return KERR_INCONSISTENT_GROUP_PROTOCOL;
    return KERR_NONE;
}

void api_sync_group(struct broker *b, struct request *r)
{
    struct sync_group_request in;
    struct group_session s;
    struct sync_args args;
    struct sync *y;
    int16_t kerr;

    if (!API_READ(r, sync_group_request, &in))
        return;
    y = arena_zalloc(&r->arena, sizeof *y);
    if (y == NULL || !sync_args(r, &in, &args)) {
        request_close(r, "out of memory");
        return;
    }
    y->waiter.done = synced;
    y->r = r;
    kerr = sync_refused(b, r, &in);
    if (kerr == KERR_NONE)
        kerr = enter(b, in.group_id, GROUPS_EXISTING, &s);
    if (kerr != KERR_NONE) {
        sync_error(r, kerr == KERR_COORDINATOR_LOAD_IN_PROGRESS ? KERR_REBALANCE_IN_PROGRESS : kerr);
        return;
    }
    if (s.g == NULL) {
        sync_error(r, KERR_UNKNOWN_MEMBER_ID);
    } else {
        group_sync(s.g, &args, &y->waiter, mono_ms());
        if (!y->answered)
            request_release_body(r);
    }
    groups_leave(&s);
}

/* ---- Heartbeat ---- */

static int16_t heartbeat(struct broker *b, const struct heartbeat_request *in)
{
    struct group_session s;
    int16_t kerr;

    if (static_refused(b, in->group_instance_id))
        return KERR_UNSUPPORTED_VERSION;
    kerr = enter(b, in->group_id, GROUPS_EXISTING, &s);
    if (kerr == KERR_COORDINATOR_LOAD_IN_PROGRESS)
        return KERR_NONE;               /* its session begins anew when the log is read */
    if (kerr != KERR_NONE)
        return kerr;
    kerr = KERR_UNKNOWN_MEMBER_ID;
    if (s.g != NULL)
        kerr = group_heartbeat(s.g, in->member_id, in->group_instance_id, in->generation_id, mono_ms());
    groups_leave(&s);
    return kerr;
}

void api_heartbeat(struct broker *b, struct request *r)
{
    struct heartbeat_request in;
    struct heartbeat_response out;

    if (!API_READ(r, heartbeat_request, &in))
        return;
    heartbeat_response_init(&out);
    out.error_code = heartbeat(b, &in);
    API_REPLY(r, heartbeat_response, &out);
}

/* ---- LeaveGroup ---- */

/* One member's; below v3 that is all there is. */
static void leave_one(const struct group_session *s, const struct leave_group_request_member_identity *m,
                      struct leave_member *out)
{
    leave_group_response_member_response_init(out);
    out->member_id = m->member_id;
    out->group_instance_id = m->group_instance_id;
    out->error_code = s->g == NULL ? KERR_UNKNOWN_MEMBER_ID
                                   : group_leave(s->g, m->member_id, m->group_instance_id, m->reason, mono_ms());
}

void api_leave_group(struct broker *b, struct request *r)
{
    struct leave_group_request_member_identity single;
    struct leave_group_response out;
    struct leave_group_request in;
    struct group_session s;

    if (!API_READ(r, leave_group_request, &in))
        return;
    leave_group_response_init(&out);
    if (r->version < 3) {
        leave_group_request_member_identity_init(&single);
        single.member_id = in.member_id;
        in.members = &single;
        in.members_n = 1;
    }
    out.members = arena_array(&r->arena, (size_t)in.members_n + 1, sizeof *out.members);
    if (out.members == NULL) {
        request_close(r, "out of memory");
        return;
    }
    out.error_code = enter(b, in.group_id, GROUPS_EXISTING, &s);
    if (out.error_code == KERR_NONE) {
        if (s.g != NULL && s.g->state == GROUP_DEAD)
            out.error_code = KERR_COORDINATOR_NOT_AVAILABLE;
        for (int32_t i = 0; i < in.members_n && out.error_code == KERR_NONE; i++)
            leave_one(&s, &in.members[i], &out.members[out.members_n++]);
        groups_leave(&s);
    }
    if (r->version < 3) {
        if (out.error_code == KERR_NONE)
            out.error_code = out.members[0].error_code;
        out.members_n = 0;
    }
    API_REPLY(r, leave_group_response, &out);
}
