/* broker/api/fetch_answer.c - the answer of a Fetch: ranges of segment files, and what is converted for old clients. */
#include "base/clock.h"
#include "broker/api/current_leader.h"
#include "broker/api/fetch_priv.h"
#include "broker/api/reply.h"
#include "broker/replica/quota.h"
#include "config/topic_config.h"
#include "proto/gen/fetch_response.h"
#include "proto/kerr.h"
#include "proto/records/convert.h"

#include <stdlib.h>
#include <unistd.h>

#define topic_out fetch_response_fetchable_topic_response
#define part_out  fetch_response_partition_data
#define node_out  fetch_response_node_endpoint

#define DOWN_CONVERT_DECOMPRESSED_MAX ((size_t)32 * 1024 * 1024)

static int read_file(struct slice s, uint8_t *buf)
{
    size_t at = 0;

    while (at < s.len) {
        ssize_t n = pread(s.file->fd, buf + at, s.len - at, s.pos + (off_t)at);

        if (n <= 0)
            return n == 0 ? ERR_CORRUPT : ERR_IO;
        at += (size_t)n;
    }
    return OK;
}

/* What is read is not kept until the answer is sent; what is made of it is. */
static int convert_file(const struct convert_opts *o, struct slice s, struct arena *a, struct bytes *out)
{
    uint8_t *buf = malloc(s.len);
    int rc;

    if (buf == NULL)
        return ERR_NOMEM;
    rc = read_file(s, buf);
    if (rc == OK)
        rc = records_down_convert(o, (struct bytes){ buf, s.len }, a, out);
    free(buf);
    return rc;
}

static void answer_error(struct part_out *out, int32_t partition, int16_t kerr)
{
    fetch_response_partition_data_init(out);
    out->partition_index = partition;
    out->error_code = kerr;
    out->high_watermark = -1;
    out->records = slice_mem("", 0);
}

/* Records that exist, but not for this client: no records at all, not even none. */
static void answer_unservable(struct part_out *out, int32_t partition, int16_t kerr)
{
    answer_error(out, partition, kerr);
    out->records = (struct slice){ .p = NULL };
}

/* For the clients of Fetch 0-3; and below version 10 a topic of zstd is not served at all. ERR_NOMEM. */
static int answer_for_old(struct fetch *f, struct fetch_part *pt, struct part_out *out)
{
    struct partition_conf conf;
    struct convert_opts opts;
    struct bytes converted;
    int rc;

    if (pt->p == NULL)
        return OK;
    conf = partition_conf(pt->p);
    if (conf.codec == TOPIC_CODEC_ZSTD) {
        answer_unservable(out, pt->item->partition, KERR_UNSUPPORTED_COMPRESSION_TYPE);
        return OK;
    }
    if (f->r->version > 3)
        return OK;
    if (!conf.downconversion) {
        answer_unservable(out, pt->item->partition, KERR_UNSUPPORTED_VERSION);
        return OK;
    }
    if (pt->error != KERR_NONE || pt->io.read.records.len == 0)
        return OK;
    opts = (struct convert_opts){
        .magic = f->r->version <= 1 ? 0 : 1, .first_offset = pt->item->offset, .max_bytes = DOWN_CONVERT_MAX_BYTES,
        .max_decompressed_bytes = DOWN_CONVERT_DECOMPRESSED_MAX,
    };
    rc = convert_file(&opts, pt->io.read.records, &f->r->arena, &converted);
    if (rc == ERR_NOMEM)
        return rc;
    if (rc == OK)
        out->records = slice_mem(converted.len > 0 ? (const char *)converted.p : "", converted.len);
    else
        answer_unservable(out, pt->item->partition,
                     rc == ERR_UNSUPPORTED ? KERR_UNSUPPORTED_COMPRESSION_TYPE : partition_log_error(rc));
    return OK;
}

static int answer_leader(struct fetch *f, struct fetch_part *pt, struct part_out *out, struct fetch_response *resp)
{
    struct current_leader lead;
    int32_t seen = 0;

    TRY(current_leader_of(f->b, f->r, pt->item->topic, pt->item->partition, &lead));
    out->current_leader.leader_id = lead.id;
    out->current_leader.leader_epoch = lead.epoch;
    while (seen < resp->node_endpoints_n && resp->node_endpoints[seen].node_id != lead.id)
        seen++;
    if (!lead.alive || seen < resp->node_endpoints_n)
        return OK;
    if (resp->node_endpoints == NULL) {
        resp->node_endpoints = arena_array(&f->r->arena, f->cx.n, sizeof *resp->node_endpoints);
        if (resp->node_endpoints == NULL)
            return ERR_NOMEM;
    }
    fetch_response_node_endpoint_init(&resp->node_endpoints[seen]);
    resp->node_endpoints[seen] = (struct node_out){ .node_id = lead.id, .host = lead.host, .port = lead.port,
                                                    .rack = lead.rack };
    resp->node_endpoints_n++;
    return OK;
}

/* As in Apache Kafka's answers, none is not the same as not looked for: with another isolation level or an error, when
 * a first batch that is too large was left out, and when the log has parted. */
static int answer_aborted(struct fetch *f, const struct fetch_part *pt, int16_t kerr, struct part_out *out)
{
    bool looked = kerr == KERR_NONE && f->isolation == ISOLATION_LSO && pt->io.diverging.end_offset < 0 &&
                  pt->preferred < 0 && !pt->io.left_out;

    if (pt->unknown)
        return OK;
    if (!looked) {
        out->aborted_transactions_n = -1;
        return OK;
    }
    if (pt->aborted_n == 0)
        return OK;
    out->aborted_transactions = arena_array(&f->r->arena, pt->aborted_n, sizeof *out->aborted_transactions);
    if (out->aborted_transactions == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < pt->aborted_n; i++) {
        fetch_response_aborted_transaction_init(&out->aborted_transactions[i]);
        out->aborted_transactions[i].producer_id = pt->aborted[i].producer_id;
        out->aborted_transactions[i].first_offset = pt->aborted[i].first_offset;
    }
    out->aborted_transactions_n = (int32_t)pt->aborted_n;
    return OK;
}

static int answer_part(struct fetch *f, struct fetch_part *pt, struct part_out *out, struct fetch_response *resp)
{
    int16_t kerr = pt->error;

    if (kerr == KERR_KAFKA_STORAGE_ERROR && f->r->version <= 5)
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;     /* which old clients know how to get over */
    answer_error(out, pt->item->partition, kerr);
    if (kerr == KERR_NONE) {
        out->high_watermark = pt->io.read.offsets.hw;
        out->last_stable_offset = pt->io.read.offsets.lso;
        out->log_start_offset = pt->io.read.offsets.start;
        out->preferred_read_replica = pt->preferred;
        if (!slice_is_null(pt->io.read.records))
            out->records = pt->io.read.records;
        if (pt->io.diverging.end_offset >= 0) {
            out->diverging_epoch.epoch = pt->io.diverging.epoch;
            out->diverging_epoch.end_offset = pt->io.diverging.end_offset;
        }
    }
    TRY(answer_aborted(f, pt, kerr, out));
    if (f->r->version >= 16 && (kerr == KERR_NOT_LEADER_OR_FOLLOWER || kerr == KERR_FENCED_LEADER_EPOCH))
        TRY(answer_leader(f, pt, out, resp));
    return f->r->version < 10 ? answer_for_old(f, pt, out) : OK;
}

/* The parts in the order of the answer: what could be looked at, then what is unknown. */
static struct fetch_part **answer_order(struct fetch *f)
{
    struct fetch_part **order = arena_array(&f->r->arena, f->cx.n, sizeof(struct fetch_part *));
    size_t n = 0;

    if (order == NULL)
        return NULL;
    for (int unknown = 0; unknown < 2; unknown++)
        for (size_t i = 0; i < f->cx.n; i++)
            if (f->parts[i].unknown == unknown)
                order[n++] = &f->parts[i];
    return order;
}

/* Tells the session what each partition's answer is, and learns from it which of them to send. */
static int settle_session(struct fetch *f, struct fetch_part **order)
{
    struct fetch_item **answered = arena_array(&f->r->arena, f->cx.n, sizeof(struct fetch_item *));

    if (answered == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++) {
        struct fetch_part *pt = order[i];
        struct fetch_item *it = pt->item;

        answered[i] = it;
        it->failed = pt->error != KERR_NONE;
        it->hw = it->failed ? -1 : pt->io.read.offsets.hw;
        it->log_start = it->failed ? -1 : pt->io.read.offsets.start;
        it->has_records = !it->failed && pt->io.read.records.len > 0;
        it->notable = it->has_records || pt->io.diverging.end_offset >= 0 || pt->preferred >= 0;
    }
    fetch_end(replicas_fetch_sessions(f->b->replicas), &f->cx, answered, mono_ms());
    return OK;
}

static bool same_topic(const struct topic_out *t, const struct fetch_item *it)
{
    return uuid_is_zero(t->topic_id) ? str_eq(t->topic, it->topic) : uuid_eq(t->topic_id, it->topic_id);
}

static int answer_parts(struct fetch *f, struct fetch_part **order, struct fetch_response *resp)
{
    struct topic_out *topics = arena_array(&f->r->arena, f->cx.n, sizeof *topics), *t = NULL;
    struct part_out *parts = arena_array(&f->r->arena, f->cx.n, sizeof *parts);
    size_t n = 0;

    if (topics == NULL || parts == NULL)
        return ERR_NOMEM;
    resp->responses = topics;
    for (size_t i = 0; i < f->cx.n; i++) {
        const struct fetch_item *it = order[i]->item;

        if (it->left_out)
            continue;
        if (t == NULL || !same_topic(t, it)) {
            t = &topics[resp->responses_n++];
            fetch_response_fetchable_topic_response_init(t);
            t->topic = it->topic.p != NULL ? it->topic : STR_LIT("");
            t->topic_id = it->topic_id;
            t->partitions = &parts[n];
        }
        TRY(answer_part(f, order[i], &parts[n++], resp));
        t->partitions_n++;
    }
    return OK;
}

/* What a follower gets counts against the leader's replication quota. */
static void count_replicated(struct fetch *f)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < f->cx.n; i++) {
        const struct fetch_part *pt = &f->parts[i];

        if (pt->p != NULL && pt->error == KERR_NONE &&
            atomic_load_explicit(&pt->p->leader_throttled, memory_order_relaxed))
            bytes += (int64_t)pt->io.read.records.len;
    }
    if (bytes > 0)
        repl_quota_record(replicas_leader_quota(f->b->replicas), bytes, mono_ms());
}

void fetch_answer(struct fetch *f)
{
    struct request *r = f->r;
    struct fetch_response resp;
    struct fetch_part **order = answer_order(f);
    int rc = order != NULL ? settle_session(f, order) : ERR_NOMEM;

    fetch_response_init(&resp);
    if (f->replica_id >= 0)
        count_replicated(f);
    if (rc == OK) {
        resp.session_id = f->cx.session_id;
        resp.error_code = f->cx.error;
        if (f->cx.error == KERR_NONE)
            rc = answer_parts(f, order, &resp);
    } else {
        fetch_abandon(&f->cx);
    }
    if (rc == OK) {
        struct chain out;

        chain_init(&out, &r->arena);
        rc = fetch_response_write(&out, &resp, r->version);
        fetch_drop_all(f);                    /* the chain has its own references of the files */
        reply_send(r, &out, rc);
    } else {
        fetch_drop_all(f);
        request_close(r, "out of memory");
    }
}
