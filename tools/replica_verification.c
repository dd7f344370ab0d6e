/* tools/replica_verification.c - kafka-replica-verification.sh: do all replicas of the partitions hold the same,
 * batch by batch, up to the high watermark? Runs until it is ended, or until offsets differ.
 *
 * Round by round each broker is asked for its replicas' next bytes (as Kafka's debugging replica, so that followers
 * answer too), and they are compared batch by batch, as far as every replica has come. A broker that does not answer
 * holds back its partitions, which shows as lag.
 */
#include "tools/admin.h"
#include "tools/command.h"
#include "tools/list_offsets.h"
#include "tools/pattern.h"

#include "base/clock.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"
#include "proto/records/batch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define DEBUGGING_REPLICA (-2)
#define ROUND_BYTES       ((size_t)1 << 30)

enum verification_option {
    V_BROKERS = OPT_FIRST, V_FETCH_SIZE, V_MAX_WAIT, V_REPORT, V_TIME, V_WHITE_LIST, V_INCLUDE, V_N
};

static const struct option_def verification_options[V_N] = {
    OPTIONS_COMMON,
    [V_BROKERS] = { "broker-list", OPT_VALUE, "hostname:port,...,hostname:port",
        "REQUIRED: some brokers of the cluster.", NULL },
    [V_FETCH_SIZE] = { "fetch-size", OPT_VALUE, "bytes",
        "How much of each partition is asked for at a time.", "1048576" },
    [V_MAX_WAIT] = { "max-wait-ms", OPT_VALUE, "ms",
        "How long a broker may wait for something new.", "1000" },
    [V_REPORT] = { "report-interval-ms", OPT_VALUE, "ms",
        "How often the largest lag is printed.", "30000" },
    [V_TIME] = { "time", OPT_VALUE, "timestamp/-1(latest)/-2(earliest)",
        "Where to begin.", "-1" },
    [V_WHITE_LIST] = { "topic-white-list", OPT_VALUE, "Java regex (String)",
        "The older name of --topics-include, which counts if both are given.", ".*" },
    [V_INCLUDE] = { "topics-include", OPT_VALUE, "Java regex (String)",
        "The topics to be looked at.", ".*" },
};

CLIENT_API(fetch, API_FETCH);

#define meta_topic metadata_response_metadata_response_topic
#define data_part  fetch_response_partition_data

struct replica {                        /* of one partition, in one round */
    int32_t      broker;
    struct bytes rest;                  /* not compared yet */
    int64_t      hw;
};

struct watched {
    struct str      topic;
    struct uuid     id;
    int32_t         partition;
    int64_t         offset;             /* all replicas are equal below */
    struct replica *replicas;
    int32_t         replicas_n;
};

struct verification {
    struct admin    a;
    struct watched *v;
    size_t          n;
    int32_t        *brokers;
    size_t          brokers_n;
    int32_t         fetch_size, max_wait_ms;
    int64_t         report_ms, reported_at_ms;
};

static void print_time(void)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s,%03ld: ", text, now.tv_nsec / 1000000);
}

/* ---- what is there to be looked at ---- */

static void note_broker(struct verification *vf, int32_t id)
{
    for (size_t i = 0; i < vf->brokers_n; i++)
        if (vf->brokers[i] == id)
            return;
    vf->brokers[vf->brokers_n++] = id;
}

static int watch_topic(struct verification *vf, const struct meta_topic *t)
{
    for (int32_t i = 0; i < t->partitions_n; i++) {
        const __typeof__(*t->partitions) *p = &t->partitions[i];
        struct watched *w = &vf->v[vf->n++];

        *w = (struct watched){ .topic = t->name, .id = t->topic_id, .partition = p->partition_index };
        w->replicas = arena_array(&vf->a.arena, (size_t)p->replica_nodes_n + 1, sizeof *w->replicas);
        if (w->replicas == NULL)
            return admin_fail(&vf->a, ERR_NOMEM, "out of memory");
        for (int32_t k = 0; k < p->replica_nodes_n; k++) {
            w->replicas[w->replicas_n++].broker = p->replica_nodes[k];
            note_broker(vf, p->replica_nodes[k]);
        }
    }
    return OK;
}

static int watch_all(struct verification *vf, const struct pattern *pattern)
{
    struct metadata_response r;
    size_t partitions = 0, replicas = 0;

    TRY(admin_metadata(&vf->a, NULL, &r));
    for (int32_t i = 0; i < r.topics_n; i++)
        for (int32_t k = 0; k < r.topics[i].partitions_n; k++) {
            partitions++;
            replicas += (size_t)r.topics[i].partitions[k].replica_nodes_n;
        }
    vf->v = arena_array(&vf->a.arena, partitions + 1, sizeof *vf->v);
    vf->brokers = arena_array(&vf->a.arena, replicas + 1, sizeof *vf->brokers);
    if (vf->v == NULL || vf->brokers == NULL)
        return admin_fail(&vf->a, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r.topics_n; i++)
        if (r.topics[i].error_code == KERR_NONE && pattern_matches(pattern, r.topics[i].name))
            TRY(watch_topic(vf, &r.topics[i]));
    if (vf->n == 0)
        return admin_fail(&vf->a, ERR_NOENT, "No topics found: there are none, or --topics-include leaves out all.");
    return OK;
}

static int find_offsets(struct verification *vf, int64_t when)
{
    struct partition_job *jobs = arena_array(&vf->a.arena, vf->n + 1, sizeof *jobs);

    if (jobs == NULL)
        return admin_fail(&vf->a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < vf->n; i++)
        jobs[i] = (struct partition_job){ .topic = vf->v[i].topic, .partition = vf->v[i].partition, .in = when };
    TRY(partition_jobs_run(&vf->a, jobs, vf->n, list_offsets_ask));
    for (size_t i = 0; i < vf->n; i++) {
        if (jobs[i].kerr != KERR_NONE)
            return admin_fail_kafka(&vf->a, jobs[i].kerr, (struct str){ NULL, 0 });
        vf->v[i].offset = jobs[i].out;
    }
    return OK;
}

/* ---- a round: ask ---- */

static struct replica *replica_at(struct watched *w, int32_t broker)
{
    for (int32_t i = 0; i < w->replicas_n; i++)
        if (w->replicas[i].broker == broker)
            return &w->replicas[i];
    return NULL;
}

static bool ask_fill(struct verification *vf, int32_t broker, int16_t version, struct arena *a, struct fetch_request *q)
{
    fetch_request_init(q);
    if (version >= 15)
        q->replica_state.replica_id = DEBUGGING_REPLICA;
    else
        q->replica_id = DEBUGGING_REPLICA;
    q->max_wait_ms = broker == vf->brokers[0] ? vf->max_wait_ms : 0;    /* what is new is then everywhere, or lags */
    q->min_bytes = 1;
    q->session_epoch = -1;
    q->topics = arena_array(a, vf->n + 1, sizeof *q->topics);
    for (size_t i = 0; i < vf->n && q->topics != NULL; i++) {
        __typeof__(q->topics) t = &q->topics[q->topics_n];

        if (replica_at(&vf->v[i], broker) == NULL)
            continue;
        fetch_request_fetch_topic_init(t);
        t->topic = vf->v[i].topic;
        t->topic_id = vf->v[i].id;
        t->partitions = arena_array(a, 1, sizeof *t->partitions);
        if (t->partitions == NULL)
            return false;
        fetch_request_fetch_partition_init(&t->partitions[0]);
        t->partitions[0].partition = vf->v[i].partition;
        t->partitions[0].fetch_offset = vf->v[i].offset;
        t->partitions[0].partition_max_bytes = vf->fetch_size;
        t->partitions_n = 1;
        q->topics_n++;
    }
    return q->topics != NULL;
}

static void take(struct verification *vf, int32_t broker, struct str topic, struct uuid id, const struct data_part *p)
{
    for (size_t i = 0; i < vf->n; i++) {
        struct watched *w = &vf->v[i];
        struct replica *r = replica_at(w, broker);

        if (r == NULL || w->partition != p->partition_index ||
            !(topic.len > 0 ? str_eq(w->topic, topic) : uuid_eq(w->id, id)))
            continue;
        if (p->error_code != KERR_NONE)
            return;
        r->hw = p->high_watermark;
        r->rest = (struct bytes){ p->records.p, p->records.len };
    }
}

/* A broker that cannot be asked has nothing this time. */
static void ask(struct verification *vf, int32_t broker, struct arena *a)
{
    struct fetch_request q;
    struct fetch_response r;
    int16_t version;

    for (size_t i = 0; i < vf->n; i++) {
        struct replica *rep = replica_at(&vf->v[i], broker);

        if (rep != NULL)
            *rep = (struct replica){ .broker = broker, .hw = -1 };
    }
    if (client_api_version(vf->a.client, broker, API_FETCH, &version) != OK ||
        !ask_fill(vf, broker, version, a, &q) || client_call(vf->a.client, broker, &client_fetch, &q, a, &r) != OK ||
        r.error_code != KERR_NONE)
        return;
    for (int32_t i = 0; i < r.responses_n; i++)
        for (int32_t k = 0; k < r.responses[i].partitions_n; k++)
            take(vf, broker, r.responses[i].topic, r.responses[i].topic_id, &r.responses[i].partitions[k]);
}

/* ---- a round: compare ---- */

/* The replica's next batch, whole and below its high watermark. */
static bool next_batch(const struct replica *r, struct batch_head *h)
{
    return batch_head_read(h, r->rest.p, r->rest.len) == OK && h->size_bytes <= r->rest.len && h->last_offset < r->hw;
}

/* One batch of every replica. *same: they have one offset; *more: all had one. */
static void compare_batch(struct watched *w, bool *more, bool *same)
{
    struct batch_head first = { 0 }, h;

    *more = w->replicas_n > 0;
    *same = true;
    for (int32_t i = 0; i < w->replicas_n && *more; i++)
        *more = next_batch(&w->replicas[i], &h);
    for (int32_t i = 0; i < w->replicas_n && *more; i++) {
        struct replica *r = &w->replicas[i];

        (void)next_batch(r, &h);
        if (i == 0)
            first = h;
        if (h.last_offset != first.last_offset) {
            print_time();
            printf("partition %.*s-%d: replica %d's offset %" PRId64 " doesn't match replica %d's offset %" PRId64 "\n",
                   STR_ARG(w->topic), w->partition, w->replicas[0].broker, first.last_offset, r->broker,
                   h.last_offset);
            *same = false;
            return;
        }
        if (h.crc != first.crc) {
            print_time();
            printf("partition %.*s-%d has unmatched checksum at offset %" PRId64 "; replica %d's checksum %" PRIu32
                   "; replica %d's checksum %" PRIu32 "\n", STR_ARG(w->topic), w->partition, first.last_offset,
                   w->replicas[0].broker, first.crc, r->broker, h.crc);
        }
        r->rest.p += h.size_bytes;
        r->rest.len -= h.size_bytes;
        w->offset = first.last_offset + 1;
    }
}

/* false: offsets differ. */
static bool compare(struct verification *vf)
{
    const struct watched *worst = NULL;
    int64_t max_lag = -1, worst_offset = -1;

    for (size_t i = 0; i < vf->n; i++) {
        struct watched *w = &vf->v[i];
        int64_t hw = -1;
        bool more = true, same = true;

        for (int32_t k = 0; k < w->replicas_n; k++)
            hw = w->replicas[k].hw > hw ? w->replicas[k].hw : hw;
        while (more && same)
            compare_batch(w, &more, &same);
        if (!same)
            return false;
        if (hw - w->offset > max_lag) {
            max_lag = hw - w->offset;
            worst = w;
            worst_offset = w->offset;
        }
    }
    if (mono_ms() - vf->reported_at_ms <= vf->report_ms)
        return true;
    print_time();
    if (worst != NULL)
        printf("max lag is %" PRId64 " for partition %.*s-%d at offset %" PRId64 " among %zu partitions\n", max_lag,
               STR_ARG(worst->topic), worst->partition, worst_offset, vf->n);
    else
        printf("max lag is %" PRId64 " for partition null at offset %" PRId64 " among %zu partitions\n", max_lag,
               worst_offset, vf->n);
    vf->reported_at_ms = mono_ms();
    return true;
}

/* ---- the command ---- */

static int verify(struct verification *vf)
{
    struct arena round;
    bool same = true;

    print_time();
    puts("verification process is started");
    fflush(stdout);
    vf->reported_at_ms = mono_ms();
    client_limit(vf->a.client, vf->max_wait_ms + 10000);
    arena_init(&round, ROUND_BYTES);
    while (same) {
        for (size_t i = 0; i < vf->brokers_n; i++)
            ask(vf, vf->brokers[i], &round);
        same = compare(vf);
        arena_reset(&round);
        if (fflush(stdout) != 0)
            break;                      /* nobody reads it any more */
    }
    arena_fini(&round);
    return same ? OK : admin_fail(&vf->a, ERR_CORRUPT, "the replicas differ");
}

static int begin(struct verification *vf, struct options *o)
{
    const char *regex = options_str(o, options_has(o, V_INCLUDE) ? V_INCLUDE : V_WHITE_LIST);
    struct pattern *p = NULL;
    int64_t when;
    int rc;

    if (options_i32(o, V_FETCH_SIZE, &vf->fetch_size) != OK || options_i32(o, V_MAX_WAIT, &vf->max_wait_ms) != OK ||
        options_i64(o, V_TIME, &when) != OK || options_i64(o, V_REPORT, &vf->report_ms) != OK)
        return admin_fail(&vf->a, ERR_INVALID, "%s", o->error);
    rc = pattern_new(&p, str_of(regex));
    if (rc != OK)
        return admin_fail(&vf->a, rc, "%s is an invalid regex", regex);
    rc = watch_all(vf, p);
    pattern_free(&p);
    TRY(rc);
    return find_offsets(vf, when);
}

static int verification_run(const struct invocation *inv, struct options *o)
{
    struct verification vf = { .n = 0 };
    int rc;

    if (options_require(o, V_BROKERS) != OK)
        return command_usage(inv, o->error);
    rc = admin_open(&vf.a, options_str(o, V_BROKERS), NULL, "replicaVerificationTool");
    if (rc == OK)
        rc = begin(&vf, o);
    if (rc == OK)
        rc = verify(&vf);
    if (rc != OK)
        fprintf(stderr, "%s\n", vf.a.error);
    admin_close(&vf.a);
    return rc == OK ? 0 : 1;
}

const struct command command_replica_verification = {
    .name = "replica-verification",
    .summary = "Check that all replicas of partitions hold the same records.",
    .defs = verification_options,
    .defs_n = V_N,
    .run = verification_run,
};
