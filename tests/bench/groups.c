/* tests/bench/groups.c - load of consumer groups, the same for Klamm and Apache Kafka, from one cheap thread.
 *
 *   groups PORT first   PREFIX TOPIC PARTITIONS TIMES
 *                 a fresh group of one: ms from connect to its first records, p50 and max
 *   groups PORT storm   PREFIX TOPIC PARTITIONS GROUPS SIZE TIMES
 *                 all join at once: ms until all groups are stable; then they rebalance, TIMES times: ms from the last
 *                 join to the last sync, p50 and max
 *   groups PORT commit  PREFIX TOPIC PARTITIONS GROUPS SIZE RATE COUNT EACH
 *                 COUNT commits of EACH offsets, RATE a second (0: all it takes): the rate reached
 *   groups PORT offsets PREFIX TOPIC PARTITIONS GROUPS
 *                 one offset for each partition, by each of GROUPS groups without members
 *   groups PORT answers PREFIX TOPIC PARTITIONS GROUPS
 *                 ms until somebody listens, and until the offsets of all these groups are known
 *
 * Before and after what has an effect on the broker, `storm` and `commit` print a line of one word ("connected",
 * "stable", "committed") and wait for one on standard input, so that the caller can look at the broker.
 * The topic is there already; `first` wants records in partition 0.
 */
#include "base/clock.h"
#include "proto/gen/apis.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/gen/offset_commit_request.h"
#include "proto/gen/offset_commit_response.h"
#include "proto/gen/offset_fetch_request.h"
#include "proto/gen/offset_fetch_response.h"
#include "proto/kerr.h"
#include "tests/bench/group_member.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH        5              /* commits under way on a connection, as a client has requests in flight */
#define ASKED_AT_ONCE 100           /* groups in one OffsetFetch */
#define COMMITTERS   10

static void caller_looks(const char *word)
{
    char line[64];

    printf("%s\n", word);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(1);
}

static double since_ms(int64_t start_ns)
{
    return (double)(mono_ns() - start_ns) / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* "p50 max" */
static void print_times(double *ms, size_t n)
{
    qsort(ms, n, sizeof *ms, by_value);
    printf("%.1f %.1f\n", ms[n / 2], ms[n - 1]);
}

/* ---- first: OffsetFetch, ListOffsets, Fetch once the group is stable ---- */

static void ask_offset(struct crowd *c, struct member *m)
{
    struct offset_fetch_request_offset_fetch_request_topics t;
    struct offset_fetch_request_offset_fetch_request_group g;
    struct offset_fetch_request r;

    offset_fetch_request_offset_fetch_request_topics_init(&t);
    t.name = c->topic;
    t.partition_indexes = m->partitions;
    t.partition_indexes_n = m->partitions_n;
    offset_fetch_request_offset_fetch_request_group_init(&g);
    g.group_id = crowd_group(c, m->group);
    g.topics = &t;
    g.topics_n = 1;
    offset_fetch_request_init(&r);
    r.groups = &g;
    r.groups_n = 1;
    r.require_stable = true;
    CROWD_SEND(c, m, API_OFFSET_FETCH, offset_fetch_request, &r);
}

static void ask_start(struct crowd *c, struct member *m)
{
    struct list_offsets_request_list_offsets_partition *p;
    struct list_offsets_request_list_offsets_topic t;
    struct list_offsets_request r;

    p = arena_array(&c->arena, (size_t)m->partitions_n + 1, sizeof *p);
    if (p == NULL)
        die("out of memory");
    for (int32_t i = 0; i < m->partitions_n; i++) {
        list_offsets_request_list_offsets_partition_init(&p[i]);
        p[i].partition_index = m->partitions[i];
        p[i].timestamp = -2;
    }
    list_offsets_request_list_offsets_topic_init(&t);
    t.name = c->topic;
    t.partitions = p;
    t.partitions_n = m->partitions_n;
    list_offsets_request_init(&r);
    r.replica_id = -1;
    r.topics = &t;
    r.topics_n = 1;
    CROWD_SEND(c, m, API_LIST_OFFSETS, list_offsets_request, &r);
}

static void ask_records(struct crowd *c, struct member *m)
{
    struct fetch_request_fetch_partition p;
    struct fetch_request_fetch_topic t;
    struct fetch_request r;

    fetch_request_fetch_partition_init(&p);
    p.partition = 0;
    p.fetch_offset = 0;
    p.partition_max_bytes = 1 << 20;
    fetch_request_fetch_topic_init(&t);
    t.topic = c->topic;
    t.partitions = &p;
    t.partitions_n = 1;
    fetch_request_init(&r);
    r.replica_id = -1;
    r.max_wait_ms = 500;
    r.min_bytes = 1;
    r.max_bytes = 50 << 20;
    r.session_epoch = -1;
    r.topics = &t;
    r.topics_n = 1;
    CROWD_SEND(c, m, API_FETCH, fetch_request, &r);
}

static void first_answer(struct crowd *c, struct member *m, int16_t api, struct cursor *body)
{
    struct offset_fetch_response offsets;
    struct list_offsets_response starts;
    struct fetch_response records;
    bool *done = c->arg;

    switch (api) {
    case API_OFFSET_FETCH:
        if (offset_fetch_response_read(body, crowd_version(api), &c->arena, &offsets) != OK || offsets.groups_n != 1 ||
            offsets.groups[0].error_code != KERR_NONE ||
            offsets.groups[0].topics[0].partitions[0].committed_offset != -1)
            die("OffsetFetch: not the answer of a fresh group");
        ask_start(c, m);
        break;
    case API_LIST_OFFSETS:
        if (list_offsets_response_read(body, crowd_version(api), &c->arena, &starts) != OK || starts.topics_n != 1 ||
            starts.topics[0].partitions[0].error_code != KERR_NONE)
            die("ListOffsets: not the answer it should be");
        ask_records(c, m);
        break;
    case API_FETCH:
        if (fetch_response_read(body, crowd_version(api), &c->arena, &records) != OK || records.responses_n != 1 ||
            records.responses[0].partitions[0].error_code != KERR_NONE ||
            records.responses[0].partitions[0].records.len == 0)
            die("Fetch: no records");
        *done = true;
        break;
    default:
        die("answer to %d was not expected", api);
    }
}

static void first(const struct crowd *like, int times)
{
    double *ms = calloc((size_t)times + 1, sizeof *ms);
    char prefix[256];

    if (ms == NULL)
        die("out of memory");
    for (int i = 0; i <= times; i++) {
        struct crowd c = *like;
        int64_t start = mono_ns();
        bool done = false;

        snprintf(prefix, sizeof prefix, "%s-%d", like->prefix, i);
        c.prefix = prefix;
        c.answer = first_answer;
        c.arg = &done;
        crowd_init(&c);
        crowd_found(&c);
        crowd_join(&c);
        crowd_stable(&c);
        ask_offset(&c, &c.members[0]);
        while (!done)
            crowd_turn(&c, 20);
        ms[i] = since_ms(start);
        crowd_leave(&c);
        crowd_fini(&c);
    }
    print_times(ms + 1, (size_t)times);         /* the first of all may have waited for __consumer_offsets */
    free(ms);
}

/* ---- storm ---- */

static void storm(struct crowd *c, int times)
{
    double *ms = calloc((size_t)times + 1, sizeof *ms);
    int64_t start;

    if (ms == NULL)
        die("out of memory");
    crowd_init(c);
    crowd_found(c);
    caller_looks("connected");
    start = mono_ns();
    crowd_join(c);
    crowd_stable(c);
    printf("%.1f\n", since_ms(start));
    caller_looks("stable");
    for (int i = 0; i < times; i++) {
        c->round++;
        crowd_join(c);
        crowd_stable(c);
        ms[i] = (double)(c->last_sync_ns - c->last_join_ns) / 1e6;
    }
    if (times > 0)
        print_times(ms, (size_t)times);
    crowd_leave(c);
    crowd_fini(c);
    free(ms);
}

/* ---- commit: each member commits for its own partitions, in turn ---- */

/* The request ends with partition (4), offset (8), leader epoch (4), metadata "" (1) and an empty set of tags (1) for
 * each offset, and two empty sets of tags; the answer with partition (4), error code (2) and tags, and as many. */
#define ENTRY_BYTES  18
#define ANSWER_BYTES 7
#define TAGS_BYTES   2

static void make_commit(struct crowd *c, struct member *m, int32_t each)
{
    struct offset_commit_request_offset_commit_request_partition *p;
    struct offset_commit_request_offset_commit_request_topic t;
    struct offset_commit_request r;
    struct chain ch;

    p = arena_array(&c->arena, (size_t)each, sizeof *p);
    if (m->partitions_n < each || p == NULL)
        die("a member has %d partitions: give more of them", m->partitions_n);
    for (int32_t i = 0; i < each; i++) {
        offset_commit_request_offset_commit_request_partition_init(&p[i]);
        p[i].committed_leader_epoch = 0;
        p[i].committed_metadata = STR_LIT("");
    }
    offset_commit_request_offset_commit_request_topic_init(&t);
    t.name = c->topic;
    t.partitions = p;
    t.partitions_n = each;
    offset_commit_request_init(&r);
    r.group_id = crowd_group(c, m->group);
    r.generation_id_or_member_epoch = m->generation;
    r.member_id = m->id;
    r.topics = &t;
    r.topics_n = 1;
    crowd_begin(c, &ch, API_OFFSET_COMMIT);
    if (offset_commit_request_write(&ch, &r, crowd_version(API_OFFSET_COMMIT)) != OK)
        die("OffsetCommit cannot be written");
    m->frame = crowd_flatten(&ch, &m->frame_n);
    chain_fini(&ch);
    arena_reset(&c->arena);
}

struct commits {
    int64_t sent, answered;
    size_t  each;
};

static void commit_answer(struct crowd *c, struct member *m, int16_t api, struct cursor *body)
{
    struct commits *k = c->arg;
    const uint8_t *end = body->end - TAGS_BYTES;

    if (api != API_OFFSET_COMMIT || cur_left(body) < k->each * ANSWER_BYTES + TAGS_BYTES)
        die("OffsetCommit: not the answer it should be");
    for (size_t i = 1; i <= k->each; i++)
        if (be_get16(end - i * ANSWER_BYTES + 4) != KERR_NONE)
            die("OffsetCommit: error %d", (int16_t)be_get16(end - i * ANSWER_BYTES + 4));
    m->under_way--;
    k->answered++;
}

static void send_commit(struct member *m, size_t each)
{
    uint8_t *entry = m->frame + m->frame_n - TAGS_BYTES - each * ENTRY_BYTES;

    m->committed++;
    for (size_t i = 0; i < each; i++, entry += ENTRY_BYTES) {
        size_t at = ((size_t)m->committed * each + i) % (size_t)m->partitions_n;

        be_put32(entry, (uint32_t)m->partitions[at]);
        be_put64(entry + 4, (uint64_t)m->committed);
    }
    member_write(m, m->frame, m->frame_n);
    m->under_way++;
}

static void commit(struct crowd *c, int64_t rate, int64_t count, int32_t each)
{
    struct commits k = { .each = (size_t)each };
    int32_t n = c->groups * c->size, next = 0, full = 0;
    int64_t start;
    double ms;

    c->answer = commit_answer;
    c->arg = &k;
    crowd_init(c);
    crowd_found(c);
    crowd_join(c);
    crowd_stable(c);
    for (int32_t i = 0; i < n; i++) {
        make_commit(c, &c->members[i], each);
        c->members[i].due_ms = INT64_MAX;       /* a commit is as good as a heartbeat */
    }
    caller_looks("stable");
    start = mono_ns();
    while (k.answered < count) {
        int64_t due = rate > 0 ? (int64_t)((double)(mono_ns() - start) * (double)rate / 1e9) : count;

        for (full = 0; k.sent < count && k.sent < due && full < n; next = (next + 1) % n) {
            struct member *m = &c->members[next];

            full = m->under_way >= DEPTH ? full + 1 : 0;
            if (m->under_way >= DEPTH)
                continue;
            send_commit(m, k.each);
            k.sent++;
        }
        crowd_turn(c, 1);
    }
    ms = since_ms(start);
    printf("%.0f\n", (double)count / ms * 1e3);
    caller_looks("committed");
    crowd_leave(c);
    crowd_fini(c);
}

/* ---- offsets, and whether they are known again ---- */

static int64_t offset_of(int32_t group, int32_t partition)
{
    return (int64_t)group * 100000 + partition;
}

/* The coordinator is not there yet. */
static bool code_passes(int16_t code)
{
    return code == KERR_COORDINATOR_LOAD_IN_PROGRESS || code == KERR_NOT_COORDINATOR ||
           code == KERR_COORDINATOR_NOT_AVAILABLE;
}

static void commit_all(struct crowd *c, struct member *m, int32_t group)
{
    struct offset_commit_request_offset_commit_request_partition *p;
    struct offset_commit_request_offset_commit_request_topic t;
    struct offset_commit_request r;

    p = arena_array(&c->arena, (size_t)c->partitions, sizeof *p);
    if (p == NULL)
        die("out of memory");
    for (int32_t i = 0; i < c->partitions; i++) {
        offset_commit_request_offset_commit_request_partition_init(&p[i]);
        p[i].partition_index = i;
        p[i].committed_offset = offset_of(group, i);
        p[i].committed_leader_epoch = 0;
        p[i].committed_metadata = STR_LIT("");
    }
    offset_commit_request_offset_commit_request_topic_init(&t);
    t.name = c->topic;
    t.partitions = p;
    t.partitions_n = c->partitions;
    offset_commit_request_init(&r);
    r.group_id = crowd_group(c, group);
    r.generation_id_or_member_epoch = -1;
    r.topics = &t;
    r.topics_n = 1;
    m->committed = group;
    CROWD_SEND(c, m, API_OFFSET_COMMIT, offset_commit_request, &r);
}

struct shares {
    int32_t next, groups;
};

static void all_answer(struct crowd *c, struct member *m, int16_t api, struct cursor *body)
{
    struct offset_commit_response r;
    struct shares *s = c->arg;

    if (api != API_OFFSET_COMMIT || offset_commit_response_read(body, crowd_version(api), &c->arena, &r) != OK)
        die("OffsetCommit: the answer cannot be read");
    if (code_passes(r.topics[0].partitions[0].error_code)) {
        (void)poll(NULL, 0, 2);
        commit_all(c, m, (int32_t)m->committed);
        return;
    }
    for (int32_t i = 0; i < r.topics[0].partitions_n; i++)
        if (r.topics[0].partitions[i].error_code != KERR_NONE)
            die("OffsetCommit: error %d", r.topics[0].partitions[i].error_code);
    c->left++;
    if (s->next < s->groups)
        commit_all(c, m, s->next++);
}

/* The crowd are connections only: each takes the next group when it has its answer. */
static void offsets(struct crowd *c, int32_t groups)
{
    struct shares s = { 0, groups };

    c->groups = groups < COMMITTERS ? groups : COMMITTERS;
    c->answer = all_answer;
    c->arg = &s;
    crowd_init(c);
    crowd_found(c);
    for (int32_t i = 0; i < c->groups; i++)
        commit_all(c, &c->members[i], s.next++);
    while (c->left < groups)
        crowd_turn(c, 20);
    crowd_fini(c);
}

struct asked {
    bool   *known;
    int32_t known_n, groups;
    bool    under_way;
};

/* Up to ASKED_AT_ONCE groups that are not known yet, from *from on: the last partition of each. */
static void ask_known(struct crowd *c, const struct asked *a, int32_t *from)
{
    struct offset_fetch_request_offset_fetch_request_topics t;
    struct offset_fetch_request_offset_fetch_request_group g[ASKED_AT_ONCE];
    struct offset_fetch_request r;
    int32_t last = c->partitions - 1, n = 0;

    offset_fetch_request_offset_fetch_request_topics_init(&t);
    t.name = c->topic;
    t.partition_indexes = &last;
    t.partition_indexes_n = 1;
    for (int32_t i = 0; i < a->groups && n < ASKED_AT_ONCE; i++, *from = (*from + 1) % a->groups) {
        if (a->known[*from])
            continue;
        offset_fetch_request_offset_fetch_request_group_init(&g[n]);
        g[n].group_id = crowd_group(c, *from);
        g[n].topics = &t;
        g[n++].topics_n = 1;
    }
    offset_fetch_request_init(&r);
    r.groups = g;
    r.groups_n = n;
    CROWD_SEND(c, &c->members[0], API_OFFSET_FETCH, offset_fetch_request, &r);
}

static void known_answer(struct crowd *c, struct member *m, int16_t api, struct cursor *body)
{
    struct offset_fetch_response r;
    struct asked *a = c->arg;

    (void)m;
    if (api != API_OFFSET_FETCH || offset_fetch_response_read(body, crowd_version(api), &c->arena, &r) != OK)
        die("OffsetFetch: the answer cannot be read");
    a->under_way = false;
    for (int32_t i = 0; i < r.groups_n; i++) {
        const struct offset_fetch_response_offset_fetch_response_group *g = &r.groups[i];
        struct str dash = { g->group_id.p + strlen(c->prefix) + 1, g->group_id.len - strlen(c->prefix) - 1 };
        char number[16] = "";
        int32_t group;

        if (code_passes(g->error_code))
            continue;
        memcpy(number, dash.p, dash.len < 15 ? dash.len : 15);
        group = (int32_t)strtol(number, NULL, 10);
        if (g->error_code != KERR_NONE || g->topics_n != 1 || group < 0 || group >= a->groups ||
            g->topics[0].partitions[0].committed_offset != offset_of(group, c->partitions - 1))
            die("group %.*s: error %d, or another offset than was committed", STR_ARG(g->group_id), g->error_code);
        a->known_n += !a->known[group];
        a->known[group] = true;
    }
}

static void wait_for_port(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = connect(fd, (struct sockaddr *)&a, sizeof a);

        close(fd);
        if (rc == 0)
            return;
        (void)poll(NULL, 0, 2);
    }
}

/* "ms until somebody listened, ms until all groups were known", from the start of this process. */
static void answers(struct crowd *c, int32_t groups)
{
    struct asked a = { .known = calloc((size_t)groups, sizeof(bool)), .groups = groups };
    int64_t start = mono_ns();
    int32_t from = 0;
    double listens;

    if (a.known == NULL)
        die("out of memory");
    wait_for_port(c->port);
    listens = since_ms(start);
    c->groups = 1;
    c->answer = known_answer;
    c->arg = &a;
    crowd_init(c);
    while (a.known_n < groups) {
        if (!a.under_way) {
            ask_known(c, &a, &from);
            a.under_way = true;
        }
        crowd_turn(c, 20);
        if (a.known_n < groups && !a.under_way)
            (void)poll(NULL, 0, 2);
    }
    printf("%.1f %.1f\n", listens, since_ms(start));
    crowd_fini(c);
    free(a.known);
}

static int32_t number(int argc, char **argv, int i)
{
    if (i >= argc)
        die("argument %d is missing: the head of tests/bench/groups.c says which there are", i);
    return (int32_t)strtol(argv[i], NULL, 10);
}

int main(int argc, char **argv)
{
    struct crowd c = { .groups = 1, .size = 1 };
    const char *what;

    c.port = (uint16_t)number(argc, argv, 1);
    c.partitions = number(argc, argv, 5);
    what = argv[2];
    c.prefix = argv[3];
    c.topic = str_of(argv[4]);
    if (strcmp(what, "first") == 0) {
        first(&c, number(argc, argv, 6));
    } else if (strcmp(what, "offsets") == 0) {
        offsets(&c, number(argc, argv, 6));
    } else if (strcmp(what, "answers") == 0) {
        answers(&c, number(argc, argv, 6));
    } else {
        c.groups = number(argc, argv, 6);
        c.size = number(argc, argv, 7);
        if (strcmp(what, "storm") == 0)
            storm(&c, number(argc, argv, 8));
        else if (strcmp(what, "commit") == 0)
            commit(&c, number(argc, argv, 8), number(argc, argv, 9), number(argc, argv, 10));
        else
            die("%s: no such work", what);
    }
    return 0;
}
