/* tests/bench/group_member.c - the members of group_member.h: one thread, one epoll, the generated messages. */
#include "tests/bench/group_member.h"

#include "base/clock.h"
#include "proto/gen/apis.h"
#include "proto/gen/consumer_protocol_assignment.h"
#include "proto/gen/consumer_protocol_subscription.h"
#include "proto/gen/find_coordinator_request.h"
#include "proto/gen/find_coordinator_response.h"
#include "proto/gen/heartbeat_request.h"
#include "proto/gen/heartbeat_response.h"
#include "proto/gen/join_group_request.h"
#include "proto/gen/join_group_response.h"
#include "proto/gen/leave_group_request.h"
#include "proto/gen/leave_group_response.h"
#include "proto/gen/sync_group_request.h"
#include "proto/gen/sync_group_response.h"
#include "proto/header.h"
#include "proto/kerr.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSION_MS   45000
#define REBALANCE_MS 300000
#define HEARTBEAT_MS 3000
#define RETRY_MS     20
#define EVENTS       512
#define NEW_AT_ONCE  32             /* below the 50 connections that Apache Kafka lets wait to be accepted */

_Noreturn void die_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* ---- requests ---- */

/* Those of the Java client of 3.9; of Fetch and ListOffsets the last with names of topics in it. */
int16_t crowd_version(int16_t api)
{
    switch (api) {
    case API_FIND_COORDINATOR: return 4;
    case API_JOIN_GROUP:       return 9;
    case API_SYNC_GROUP:       return 5;
    case API_HEARTBEAT:        return 4;
    case API_LEAVE_GROUP:      return 5;
    case API_OFFSET_COMMIT:    return 8;
    case API_OFFSET_FETCH:     return 8;
    case API_LIST_OFFSETS:     return 7;
    case API_FETCH:            return 12;
    default:                   die("no version for request %d", api);
    }
}

struct str crowd_group(struct crowd *c, int32_t group)
{
    const char *z = arena_printf(&c->arena, "%s-%d", c->prefix, (int)group);

    if (z == NULL)
        die("out of memory");
    return str_of(z);
}

/* The answer tells by its correlation id what was asked. */
void crowd_begin(struct crowd *c, struct chain *ch, int16_t api)
{
    struct request_header h;

    chain_init(ch, &c->arena);
    chain_i32(ch, 0);
    request_header_init(&h);
    h.request_api_key = api;
    h.request_api_version = crowd_version(api);
    h.correlation_id = api;
    h.client_id = STR_LIT("bench");
    if (header_write_request(ch, &h) != OK)
        die("request %d cannot be written", api);
}

uint8_t *crowd_flatten(const struct chain *ch, size_t *n)
{
    uint8_t *out = malloc(ch->len);

    if (out == NULL || chain_flatten(ch, out, ch->len) != OK)
        die("a request cannot be written");
    be_put32(out, (uint32_t)(ch->len - 4));
    *n = ch->len;
    return out;
}

void member_write(const struct member *m, const void *p, size_t n)
{
    const uint8_t *at = p;

    while (n > 0) {
        ssize_t put = send(m->fd, at, n, MSG_NOSIGNAL);

        if (put < 0)
            die("group %d: send: %s", m->group, strerror(errno));
        at += put;
        n -= (size_t)put;
    }
}

void crowd_send(struct crowd *c, struct member *m, struct chain *ch)
{
    size_t n;
    uint8_t *frame = crowd_flatten(ch, &n);

    member_write(m, frame, n);
    free(frame);
    chain_fini(ch);
    arena_reset(&c->arena);
}

static void member_find(struct crowd *c, struct member *m)
{
    struct find_coordinator_request r;
    struct str key = crowd_group(c, m->group);

    find_coordinator_request_init(&r);
    r.coordinator_keys = &key;
    r.coordinator_keys_n = 1;
    m->state = MEMBER_FINDS;
    CROWD_SEND(c, m, API_FIND_COORDINATOR, find_coordinator_request, &r);
}

/* Version and message, as they stand in protocols and assignments. */
static struct bytes embedded(struct crowd *c, struct chain *ch)
{
    uint8_t *out = arena_alloc(&c->arena, ch->len);

    if (out == NULL || chain_flatten(ch, out, ch->len) != OK)
        die("out of memory");
    return (struct bytes){ out, ch->len };
}

static struct bytes subscription(struct crowd *c)
{
    struct consumer_protocol_subscription s;
    const char *round = arena_printf(&c->arena, "%d", (int)c->round);
    struct chain ch;

    chain_init(&ch, &c->arena);
    consumer_protocol_subscription_init(&s);
    s.topics = &c->topic;
    s.topics_n = 1;
    s.user_data = (struct bytes){ (const uint8_t *)round, strlen(round) };
    chain_i16(&ch, 1);
    if (consumer_protocol_subscription_write(&ch, &s, 1) != OK)
        die("a subscription cannot be written");
    return embedded(c, &ch);
}

static void member_join(struct crowd *c, struct member *m)
{
    struct join_group_request_join_group_request_protocol protocols[2];
    struct join_group_request r;

    join_group_request_init(&r);
    for (size_t i = 0; i < 2; i++)
        join_group_request_join_group_request_protocol_init(&protocols[i]);
    protocols[0].name = STR_LIT("range");
    protocols[1].name = STR_LIT("cooperative-sticky");
    protocols[0].metadata = protocols[1].metadata = subscription(c);
    r.group_id = crowd_group(c, m->group);
    r.session_timeout_ms = SESSION_MS;
    r.rebalance_timeout_ms = REBALANCE_MS;
    r.member_id = m->id;
    r.protocol_type = STR_LIT("consumer");
    r.protocols = protocols;
    r.protocols_n = 2;
    r.reason = STR_LIT("");
    m->state = MEMBER_JOINS;
    m->due_ms = INT64_MAX;
    c->last_join_ns = mono_ns();
    CROWD_SEND(c, m, API_JOIN_GROUP, join_group_request, &r);
}

static void member_beat(struct crowd *c, struct member *m)
{
    struct heartbeat_request r;

    heartbeat_request_init(&r);
    r.group_id = crowd_group(c, m->group);
    r.generation_id = m->generation;
    r.member_id = m->id;
    m->beats++;
    m->due_ms = mono_ms() + HEARTBEAT_MS;
    CROWD_SEND(c, m, API_HEARTBEAT, heartbeat_request, &r);
}

static void member_leave(struct crowd *c, struct member *m)
{
    struct leave_group_request_member_identity identity;
    struct leave_group_request r;

    leave_group_request_init(&r);
    leave_group_request_member_identity_init(&identity);
    identity.member_id = m->id;
    r.group_id = crowd_group(c, m->group);
    r.members = &identity;
    r.members_n = 1;
    m->state = MEMBER_LEAVES;
    m->due_ms = INT64_MAX;
    CROWD_SEND(c, m, API_LEAVE_GROUP, leave_group_request, &r);
}

/* ---- the leader: partitions in equal runs, as the range assignor gives them ---- */

static struct bytes assignment(struct crowd *c, int32_t from, int32_t n)
{
    struct consumer_protocol_assignment a;
    struct consumer_protocol_assignment_topic_partition t;
    int32_t *partitions = arena_array(&c->arena, (size_t)n + 1, sizeof *partitions);
    struct chain ch;

    if (partitions == NULL)
        die("out of memory");
    for (int32_t i = 0; i < n; i++)
        partitions[i] = from + i;
    consumer_protocol_assignment_topic_partition_init(&t);
    t.topic = c->topic;
    t.partitions = partitions;
    t.partitions_n = n;
    consumer_protocol_assignment_init(&a);
    a.assigned_partitions = &t;
    a.assigned_partitions_n = 1;
    chain_init(&ch, &c->arena);
    chain_i16(&ch, 1);
    if (consumer_protocol_assignment_write(&ch, &a, 1) != OK)
        die("an assignment cannot be written");
    return embedded(c, &ch);
}

static void member_sync(struct crowd *c, struct member *m, const struct join_group_response *joined)
{
    struct sync_group_request_sync_group_request_assignment *out;
    struct sync_group_request r;
    int32_t n = joined->members_n, at = 0;

    out = arena_array(&c->arena, (size_t)n + 1, sizeof *out);
    if (out == NULL)
        die("out of memory");
    for (int32_t i = 0; i < n; i++) {
        int32_t share = c->partitions / n + (i < c->partitions % n);

        sync_group_request_sync_group_request_assignment_init(&out[i]);
        out[i].member_id = joined->members[i].member_id;
        out[i].assignment = assignment(c, at, share);
        at += share;
    }
    sync_group_request_init(&r);
    r.group_id = crowd_group(c, m->group);
    r.generation_id = m->generation;
    r.member_id = m->id;
    r.protocol_type = STR_LIT("consumer");
    r.protocol_name = joined->protocol_name;
    r.assignments = out;
    r.assignments_n = n;
    m->state = MEMBER_SYNCS;
    CROWD_SEND(c, m, API_SYNC_GROUP, sync_group_request, &r);
}

/* ---- answers ---- */

/* Join again: with no id where the group does not know it. */
static void member_again(struct crowd *c, struct member *m, int16_t code)
{
    switch (code) {
    case KERR_UNKNOWN_MEMBER_ID:
        m->id.len = 0;
        member_join(c, m);
        break;
    case KERR_REBALANCE_IN_PROGRESS:
    case KERR_ILLEGAL_GENERATION:
        member_join(c, m);
        break;
    case KERR_COORDINATOR_LOAD_IN_PROGRESS:
    case KERR_COORDINATOR_NOT_AVAILABLE:
    case KERR_NOT_COORDINATOR:
        m->due_ms = mono_ms() + RETRY_MS;
        break;
    default:
        die("group %d, state %d: error %d", m->group, m->state, code);
    }
}

static void take_find(struct crowd *c, struct member *m, struct cursor *body)
{
    struct find_coordinator_response r;

    if (find_coordinator_response_read(body, crowd_version(API_FIND_COORDINATOR), &c->arena, &r) != OK ||
        r.coordinators_n != 1)
        die("FindCoordinator: the answer cannot be read");
    if (r.coordinators[0].error_code == KERR_COORDINATOR_NOT_AVAILABLE) {
        m->due_ms = mono_ms() + RETRY_MS;
        return;
    }
    if (r.coordinators[0].error_code != KERR_NONE)
        die("FindCoordinator: error %d", r.coordinators[0].error_code);
    m->state = MEMBER_FOUND;
    m->due_ms = INT64_MAX;
    c->found++;
}

static void keep_id(struct member *m, struct str id)
{
    char *text = malloc(id.len + 1);

    if (text == NULL)
        die("out of memory");
    if (id.len > 0)
        memcpy(text, id.p, id.len);
    free(m->id_text);
    m->id_text = text;
    m->id = (struct str){ text, id.len };
}

static void take_join(struct crowd *c, struct member *m, struct cursor *body)
{
    struct join_group_response r;

    if (join_group_response_read(body, crowd_version(API_JOIN_GROUP), &c->arena, &r) != OK)
        die("JoinGroup: the answer cannot be read");
    if (r.error_code == KERR_MEMBER_ID_REQUIRED) {
        keep_id(m, r.member_id);
        member_join(c, m);
    } else if (r.error_code != KERR_NONE) {
        member_again(c, m, r.error_code);
    } else {
        keep_id(m, r.member_id);
        m->generation = r.generation_id;
        member_sync(c, m, &r);
    }
}

static void keep_assignment(struct crowd *c, struct member *m, struct bytes data)
{
    struct consumer_protocol_assignment a;
    struct cursor cur = cur_ro(data.p, data.len);
    int16_t version = cur_i16(&cur);

    if (consumer_protocol_assignment_read(&cur, version, &c->arena, &a) != OK || a.assigned_partitions_n != 1)
        die("group %d: the assignment (%zu bytes) is not the leader's", m->group, data.len);
    free(m->partitions);
    m->partitions_n = a.assigned_partitions[0].partitions_n;
    m->partitions = calloc((size_t)m->partitions_n + 1, sizeof *m->partitions);
    if (m->partitions == NULL)
        die("out of memory");
    memcpy(m->partitions, a.assigned_partitions[0].partitions, (size_t)m->partitions_n * sizeof *m->partitions);
}

static void take_sync(struct crowd *c, struct member *m, struct cursor *body)
{
    struct sync_group_response r;

    if (sync_group_response_read(body, crowd_version(API_SYNC_GROUP), &c->arena, &r) != OK)
        die("SyncGroup: the answer cannot be read");
    if (r.error_code != KERR_NONE) {
        member_again(c, m, r.error_code);
        return;
    }
    m->state = MEMBER_STABLE;
    m->due_ms = mono_ms() + HEARTBEAT_MS;
    keep_assignment(c, m, r.assignment);
    if (m->generation > c->generation[m->group]) {
        c->stable -= c->synced[m->group] == c->size;
        c->generation[m->group] = m->generation;
        c->synced[m->group] = 0;
    }
    if (m->generation == c->generation[m->group] && ++c->synced[m->group] == c->size) {
        c->stable++;
        c->last_sync_ns = mono_ns();
    }
}

static void take_beat(struct crowd *c, struct member *m, struct cursor *body)
{
    struct heartbeat_response r;

    if (heartbeat_response_read(body, crowd_version(API_HEARTBEAT), &c->arena, &r) != OK)
        die("Heartbeat: the answer cannot be read");
    m->beats--;
    if (r.error_code != KERR_NONE && m->state == MEMBER_STABLE)
        member_again(c, m, r.error_code);
}

static void take_leave(struct crowd *c, struct member *m, struct cursor *body)
{
    struct leave_group_response r;

    if (leave_group_response_read(body, crowd_version(API_LEAVE_GROUP), &c->arena, &r) != OK ||
        r.error_code != KERR_NONE)
        die("LeaveGroup: the answer cannot be read, or has an error");
    m->state = MEMBER_LEFT;
    c->left++;
}

static void take_frame(struct crowd *c, struct member *m, const uint8_t *p, size_t n)
{
    struct cursor body = cur_ro(p, n);
    struct response_header h;
    int16_t api = n >= 4 ? (int16_t)be_get32(p) : -1;

    if (n < 4 || header_read_response(&body, &c->arena, api, crowd_version(api), &h) != OK)
        die("group %d: an answer of %zu bytes cannot be read", m->group, n);
    switch (api) {
    case API_FIND_COORDINATOR: take_find(c, m, &body); break;
    case API_JOIN_GROUP:       take_join(c, m, &body); break;
    case API_SYNC_GROUP:       take_sync(c, m, &body); break;
    case API_HEARTBEAT:        take_beat(c, m, &body); break;
    case API_LEAVE_GROUP:      take_leave(c, m, &body); break;
    default:                   c->answer(c, m, api, &body); break;
    }
    arena_reset(&c->arena);
}

static void take_in(struct crowd *c, struct member *m)
{
    size_t used = 0;
    ssize_t got;

    if (m->room - m->have < 1024) {
        m->room = m->room < 1024 ? 2048 : m->room * 2;
        m->in = realloc(m->in, m->room);
        if (m->in == NULL)
            die("out of memory");
    }
    got = recv(m->fd, m->in + m->have, m->room - m->have, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("group %d: the broker closed the connection: %s", m->group, got < 0 ? strerror(errno) : "end of file");
    m->have += (size_t)got;
    while (m->have - used >= 4 && m->have - used - 4 >= be_get32(m->in + used)) {
        size_t size = be_get32(m->in + used);

        take_frame(c, m, m->in + used + 4, size);
        used += 4 + size;
    }
    memmove(m->in, m->in + used, m->have - used);
    m->have -= used;
}

static void do_due(struct crowd *c, struct member *m)
{
    m->due_ms = INT64_MAX;
    if (m->state == MEMBER_FINDS)
        member_find(c, m);
    else if (m->state == MEMBER_STABLE && m->beats == 0)
        member_beat(c, m);
    else if (m->state == MEMBER_JOINS || m->state == MEMBER_SYNCS)
        member_join(c, m);
}

void crowd_turn(struct crowd *c, int wait_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(c->epoll, ev, EVENTS, wait_ms);
    int64_t now;

    for (int i = 0; i < n; i++)
        take_in(c, ev[i].data.ptr);
    now = mono_ms();
    if (n == EVENTS)
        return;
    for (int32_t i = 0; i < c->groups * c->size; i++)
        if (c->members[i].due_ms <= now)
            do_due(c, &c->members[i]);
}

/* ---- all of them ---- */

static void member_connect(struct crowd *c, struct member *m)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(c->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = m };
    int one = 1;

    m->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->fd < 0 || connect(m->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("port %u: %s", c->port, strerror(errno));
    setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, m->fd, &ev) != 0)
        die("epoll: %s", strerror(errno));
}

void crowd_init(struct crowd *c)
{
    int32_t n = c->groups * c->size;

    arena_init(&c->arena, (size_t)1 << 30);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->members = calloc((size_t)n, sizeof *c->members);
    c->synced = calloc((size_t)c->groups, sizeof *c->synced);
    c->generation = calloc((size_t)c->groups, sizeof *c->generation);
    if (c->epoll < 0 || c->members == NULL || c->synced == NULL || c->generation == NULL)
        die("out of memory or descriptors");
    for (int32_t i = 0; i < n; i++)
        c->members[i] = (struct member){ .fd = -1, .group = i / c->size, .id = STR_LIT(""), .due_ms = INT64_MAX };
    for (int32_t i = 0; i < n; i++) {
        member_connect(c, &c->members[i]);
        member_find(c, &c->members[i]);
        while (i - c->found >= NEW_AT_ONCE)
            crowd_turn(c, RETRY_MS);
    }
}

void crowd_found(struct crowd *c)
{
    while (c->found < c->groups * c->size)
        crowd_turn(c, RETRY_MS);
}

/* One of each group at a time, as if all groups had started together. */
void crowd_join(struct crowd *c)
{
    c->stable = 0;
    memset(c->synced, 0, (size_t)c->groups * sizeof *c->synced);
    for (int32_t k = 0; k < c->size; k++)
        for (int32_t g = 0; g < c->groups; g++)
            member_join(c, &c->members[g * c->size + k]);
}

void crowd_stable(struct crowd *c)
{
    while (c->stable < c->groups)
        crowd_turn(c, RETRY_MS);
}

void crowd_leave(struct crowd *c)
{
    int32_t n = c->groups * c->size;

    for (int32_t i = 0; i < n; i++)
        member_leave(c, &c->members[i]);
    while (c->left < n)
        crowd_turn(c, RETRY_MS);
}

void crowd_fini(struct crowd *c)
{
    for (int32_t i = 0; i < c->groups * c->size; i++) {
        struct member *m = &c->members[i];

        close(m->fd);
        free(m->id_text);
        free(m->partitions);
        free(m->in);
        free(m->frame);
    }
    close(c->epoll);
    free(c->members);
    free(c->synced);
    free(c->generation);
    arena_fini(&c->arena);
}
