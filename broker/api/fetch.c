/* broker/api/fetch.c - Fetch: which partitions (sessions), what of each (limits, isolation), when (long poll).
 *
 *   decode -> fetch_begin() -> find the partitions -> read
 *          -> enough bytes, an error, nothing to wait for -----------------------------> answer
 *          -> else park on every partition's watch list -> on an IO thread read again -> answer
 *
 * Records are not touched: the answer holds ranges of segment files. Only Fetch 0-3, whose clients do not know
 * today's batches, gets them converted in memory, DOWN_CONVERT_MAX_BYTES at most in one answer (but for a larger first
 * batch): that is what a client that does not read its answer can make us hold.
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/api/current_leader.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/fetch_session.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/kerr.h"
#include "proto/records/convert.h"

#include <stdlib.h>
#include <unistd.h>

#define topic_in  fetch_request_fetch_topic
#define part_in   fetch_request_fetch_partition
#define topic_out fetch_response_fetchable_topic_response
#define part_out  fetch_response_partition_data
#define node_out  fetch_response_node_endpoint

#define DOWN_CONVERT_MAX_BYTES (1024 * 1024)
#define DOWN_CONVERT_DECOMPRESSED_MAX ((size_t)32 * 1024 * 1024)

/* One partition of the request. */
struct part {
    struct fetch_item    *item;
    struct partition     *p;            /* reference; NULL: error says why */
    int16_t               error;
    bool                  unknown;      /* found out before any reading; such an error does not cut the wait short */
    struct partition_read io;           /* holds a file's reference while io.read.records is not null */
    struct plog_aborted  *aborted;      /* for read_committed: transactions of what was read that do not count */
    size_t                aborted_n;
    /* how things stood just before the read, and what it gave */
    int64_t               seen_bytes;
    uint32_t              seen_rolls;
    int64_t               had_bytes;
};

/* One Fetch request. In the request's arena. */
struct fetch {
    struct delayed       delayed;       /* first: done() gets this */
    struct broker       *b;
    struct request      *r;
    struct fetch_request in;
    struct metadata     *md;            /* NULL unless topics go by id and a name had to be found */
    struct fetch_context cx;
    struct part         *parts;         /* cx.n */
    size_t               interesting;   /* parts that are not unknown */
    int32_t              replica_id;    /* < 0: a consumer */
    enum isolation       isolation;
    bool                 leader_only;
    bool                 hard_limit;    /* version <= 2: a batch is cut rather than given beyond the limit */
    int64_t              max_bytes, min_bytes;
    int64_t              client_max_bytes;      /* max_bytes, had we no limit of our own for conversion */
    /* of the last read */
    int64_t              bytes;
    bool                 must_answer;   /* an error, or a log that has parted */
    enum delayed_why     why;
};

/* ---- what is asked for ------------------------------------------------------------------------------------------- */

static struct str name_of(void *arg, struct uuid id)
{
    struct fetch *f = arg;
    const struct metadata_topic *t;

    if (f->md == NULL)
        f->md = metadata_get(f->b->metacache);
    t = metadata_topic_by_id(f->md, id);
    return t != NULL ? t->name : (struct str){ NULL, 0 };
}

static int32_t epoch_or_none(int32_t epoch)
{
    return epoch < 0 ? -1 : epoch;
}

static int ask_items(struct fetch *f, struct fetch_ask *ask)
{
    size_t total = 0;

    for (int32_t i = 0; i < f->in.topics_n; i++)
        total += (size_t)f->in.topics[i].partitions_n;
    ask->items = arena_array(&f->r->arena, total, sizeof *ask->items);
    if (ask->items == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < f->in.topics_n; i++) {
        const struct topic_in *t = &f->in.topics[i];
        struct str topic = ask->by_id ? name_of(f, t->topic_id) : t->topic;

        if (ask->by_id)
            TRY(arena_str(&f->r->arena, topic, &topic));
        for (int32_t k = 0; k < t->partitions_n; k++) {
            const struct part_in *p = &t->partitions[k];

            ask->items[ask->n++] = (struct fetch_item){
                .topic = topic, .topic_id = t->topic_id, .partition = p->partition,
                .max_bytes = p->partition_max_bytes, .leader_epoch = epoch_or_none(p->current_leader_epoch),
                .last_epoch = epoch_or_none(p->last_fetched_epoch), .offset = p->fetch_offset,
            };
        }
    }
    return OK;
}

static int ask_forgotten(struct fetch *f, struct fetch_ask *ask)
{
    size_t total = 0;

    for (int32_t i = 0; i < f->in.forgotten_topics_data_n; i++)
        total += (size_t)f->in.forgotten_topics_data[i].partitions_n;
    ask->forgotten = arena_array(&f->r->arena, total, sizeof *ask->forgotten);
    if (ask->forgotten == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < f->in.forgotten_topics_data_n; i++)
        for (int32_t k = 0; k < f->in.forgotten_topics_data[i].partitions_n; k++)
            ask->forgotten[ask->forgotten_n++] = (struct fetch_item){
                .topic = f->in.forgotten_topics_data[i].topic,
                .topic_id = f->in.forgotten_topics_data[i].topic_id,
                .partition = f->in.forgotten_topics_data[i].partitions[k],
            };
    return OK;
}

static int begin(struct fetch *f)
{
    struct fetch_ask ask = {
        .session_id = f->in.session_id, .epoch = f->in.session_epoch, .by_id = f->r->version >= 13,
        .follower = f->replica_id >= 0, .now_ms = mono_ms(), .name_of = name_of, .name_arg = f,
    };
    int rc = ask_items(f, &ask);

    if (rc == OK)
        rc = ask_forgotten(f, &ask);
    if (rc == OK)
        rc = fetch_begin(replicas_fetch_sessions(f->b->replicas), &ask, &f->r->arena, &f->cx);
    metadata_put(&f->md);
    return rc;
}

static void settle_limits(struct fetch *f)
{
    int16_t version = f->r->version;
    int64_t max = f->b->cfg->fetch_max_bytes;

    f->replica_id = version >= 15 ? f->in.replica_state.replica_id : f->in.replica_id;
    f->isolation = f->in.isolation_level == 1 ? ISOLATION_LSO : ISOLATION_HW;
    f->leader_only = f->replica_id >= 0 || version < 11;
    f->hard_limit = version <= 2;
    f->client_max_bytes = f->in.max_bytes < max ? f->in.max_bytes : max;
    if (version <= 3 && max > DOWN_CONVERT_MAX_BYTES)
        max = DOWN_CONVERT_MAX_BYTES;
    f->max_bytes = f->in.max_bytes < max ? f->in.max_bytes : max;
    f->min_bytes = f->in.min_bytes < f->max_bytes ? f->in.min_bytes : f->max_bytes;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void find_part(struct fetch *f, struct part *pt)
{
    const struct fetch_item *it = pt->item;

    pt->error = KERR_NONE;
    pt->unknown = false;
    if (it->topic.p == NULL)
        pt->error = KERR_UNKNOWN_TOPIC_ID;
    else
        pt->p = replicas_find(f->b->replicas, it->topic, it->partition, &pt->error);
    pt->unknown = pt->error == KERR_UNKNOWN_TOPIC_ID || pt->error == KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static int find_parts(struct fetch *f)
{
    f->parts = arena_array(&f->r->arena, f->cx.n, sizeof *f->parts);
    if (f->parts == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++) {
        f->parts[i].item = &f->cx.items[i];
        find_part(f, &f->parts[i]);
        f->interesting += !f->parts[i].unknown;
    }
    return OK;
}

/* A follower that this partition does not know; there are no others before replication is there. */
static int16_t refuse_follower(const struct part *pt)
{
    int16_t kerr = partition_check(pt->p, pt->item->leader_epoch, true);

    if (kerr != KERR_NONE)
        return kerr;
    return pt->item->leader_epoch != -1 ? KERR_UNKNOWN_LEADER_EPOCH : KERR_NOT_LEADER_OR_FOLLOWER;
}

/* Would the client take the first batch of the answer, which only our own limit has cut? */
static bool cut_by_us(const struct fetch *f, const struct part *pt)
{
    int64_t whole = (int64_t)pt->io.read.first_batch_bytes;

    return f->hard_limit && f->bytes == 0 && pt->io.read.records.len < pt->io.read.first_batch_bytes &&
           whole <= pt->item->max_bytes && whole <= f->client_max_bytes;
}

#define READ_TRIES 8                    /* while the cleaner replaces under us what is read */

/* The error of the aborted transactions of what was read. KERR_NONE and *again: others are there now than were read. */
static int16_t find_aborted(struct fetch *f, struct part *pt, bool *again)
{
    int rc = partition_aborted(pt->p, &pt->io, &f->r->arena, &pt->aborted, &pt->aborted_n);

    *again = rc == ERR_BUSY;
    if (rc == OK)
        return KERR_NONE;
    plog_read_done(&pt->io.read);
    if (rc == ERR_BUSY)
        return KERR_NONE;
    return rc == ERR_CORRUPT ? KERR_UNKNOWN_SERVER_ERROR : partition_log_error(rc);
}

/* One read, and what goes with it. */
static int16_t read_whole(struct fetch *f, struct part *pt)
{
    bool again = true;
    int16_t kerr = KERR_NONE;

    pt->aborted_n = 0;
    for (int i = 0; i < READ_TRIES && again && kerr == KERR_NONE; i++) {
        again = false;
        kerr = partition_read(pt->p, &pt->io);
        if (kerr == KERR_NONE && f->isolation == ISOLATION_LSO && !slice_is_null(pt->io.read.records))
            kerr = find_aborted(f, pt, &again);
    }
    return again ? KERR_UNKNOWN_SERVER_ERROR : kerr;
}

static int16_t read_part(struct fetch *f, struct part *pt, int64_t limit, bool at_least_one)
{
    const struct fetch_item *it = pt->item;
    struct uuid known = partition_topic_id(pt->p);
    int16_t kerr;

    if (!uuid_is_zero(it->topic_id) && !uuid_is_zero(known) && !uuid_eq(it->topic_id, known))
        return KERR_INCONSISTENT_TOPIC_ID;
    if (f->replica_id >= 0)
        return refuse_follower(pt);
    pt->seen_bytes = atomic_load_explicit(&pt->p->committed_bytes, memory_order_relaxed);
    pt->seen_rolls = atomic_load_explicit(&pt->p->rolls, memory_order_relaxed);
    pt->io = (struct partition_read){
        .offset = it->offset, .leader_epoch = it->leader_epoch, .last_epoch = it->last_epoch,
        .isolation = f->isolation, .leader_only = f->leader_only, .at_least_one = at_least_one,
        .whole_first = !f->hard_limit, .max_bytes = it->max_bytes < limit ? it->max_bytes : limit,
    };
    kerr = read_whole(f, pt);
    if (kerr == KERR_NONE && cut_by_us(f, pt)) {
        pt->io.max_bytes = (int64_t)pt->io.read.first_batch_bytes;
        plog_read_done(&pt->io.read);
        kerr = read_whole(f, pt);
    }
    return kerr;
}

static void read_all(struct fetch *f)
{
    int64_t limit = f->max_bytes;
    bool at_least_one = !f->hard_limit;

    f->bytes = 0;
    f->must_answer = false;
    for (size_t i = 0; i < f->cx.n; i++) {
        struct part *pt = &f->parts[i];

        pt->io.diverging = (struct plog_epoch_end){ -1, -1 };
        pt->had_bytes = 0;
        if (pt->p != NULL)
            pt->error = read_part(f, pt, limit, at_least_one);
        if (pt->unknown)
            continue;
        if (pt->error != KERR_NONE || pt->io.diverging.end_offset >= 0)
            f->must_answer = true;
        if (pt->error == KERR_NONE && pt->io.read.records.len > 0) {
            int64_t len = (int64_t)pt->io.read.records.len;

            at_least_one = false;
            pt->had_bytes = len;
            f->bytes += len;
            limit = limit > len ? limit - len : 0;
        }
    }
}

static void drop_reads(struct fetch *f)
{
    for (size_t i = 0; i < f->cx.n; i++)
        if (!slice_is_null(f->parts[i].io.read.records))
            plog_read_done(&f->parts[i].io.read);
}

static void drop_all(struct fetch *f)
{
    if (f->parts == NULL)
        return;
    drop_reads(f);
    for (size_t i = 0; i < f->cx.n; i++)
        partition_unref(&f->parts[i].p);
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

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
static int answer_for_old(struct fetch *f, struct part *pt, struct part_out *out)
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

static int answer_leader(struct fetch *f, struct part *pt, struct part_out *out, struct fetch_response *resp)
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
static int answer_aborted(struct fetch *f, const struct part *pt, int16_t kerr, struct part_out *out)
{
    bool looked = kerr == KERR_NONE && f->isolation == ISOLATION_LSO && pt->io.diverging.end_offset < 0 &&
                  !pt->io.left_out;

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

static int answer_part(struct fetch *f, struct part *pt, struct part_out *out, struct fetch_response *resp)
{
    int16_t kerr = pt->error;

    if (kerr == KERR_KAFKA_STORAGE_ERROR && f->r->version <= 5)
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;     /* which old clients know how to get over */
    answer_error(out, pt->item->partition, kerr);
    if (kerr == KERR_NONE) {
        out->high_watermark = pt->io.read.offsets.hw;
        out->last_stable_offset = pt->io.read.offsets.lso;
        out->log_start_offset = pt->io.read.offsets.start;
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
static struct part **answer_order(struct fetch *f)
{
    struct part **order = arena_array(&f->r->arena, f->cx.n, sizeof(struct part *));
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
static int settle_session(struct fetch *f, struct part **order)
{
    struct fetch_item **answered = arena_array(&f->r->arena, f->cx.n, sizeof(struct fetch_item *));

    if (answered == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++) {
        struct part *pt = order[i];
        struct fetch_item *it = pt->item;

        answered[i] = it;
        it->failed = pt->error != KERR_NONE;
        it->hw = it->failed ? -1 : pt->io.read.offsets.hw;
        it->log_start = it->failed ? -1 : pt->io.read.offsets.start;
        it->has_records = !it->failed && pt->io.read.records.len > 0;
        it->notable = it->has_records || pt->io.diverging.end_offset >= 0;
    }
    fetch_end(replicas_fetch_sessions(f->b->replicas), &f->cx, answered, mono_ms());
    return OK;
}

static bool same_topic(const struct topic_out *t, const struct fetch_item *it)
{
    return uuid_is_zero(t->topic_id) ? str_eq(t->topic, it->topic) : uuid_eq(t->topic_id, it->topic_id);
}

static int answer_parts(struct fetch *f, struct part **order, struct fetch_response *resp)
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

static void answer(struct fetch *f)
{
    struct request *r = f->r;
    struct fetch_response resp;
    struct part **order = answer_order(f);
    int rc = order != NULL ? settle_session(f, order) : ERR_NOMEM;

    fetch_response_init(&resp);
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
        drop_all(f);                    /* the chain has its own references of the files */
        reply_send(r, &out, rc);
    } else {
        drop_all(f);
        request_close(r, "out of memory");
    }
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Bytes that one partition has for the fetch by now; -1: there is something to be answered at once. */
static int64_t part_available(struct fetch *f, struct part *pt)
{
    const struct fetch_item *it = pt->item;
    struct plog_offsets now;
    int64_t bound, n;

    if (partition_check(pt->p, it->leader_epoch, f->leader_only) != KERR_NONE)
        return -1;
    now = partition_offsets(pt->p);
    bound = offsets_bound(&now, f->isolation);
    if (it->offset == bound)
        return 0;
    if (it->offset > bound || it->offset < now.start ||
        atomic_load_explicit(&pt->p->rolls, memory_order_relaxed) != pt->seen_rolls)
        return -1;
    n = pt->had_bytes + atomic_load_explicit(&pt->p->committed_bytes, memory_order_relaxed) - pt->seen_bytes;
    if (n < 1)
        n = 1;
    return n < it->max_bytes ? n : it->max_bytes;
}

static bool wait_ready(struct delayed *d, const struct watch *which)
{
    struct fetch *f = (struct fetch *)d;
    int64_t sum = 0, n;
    size_t w = 0;

    for (size_t i = 0; i < f->cx.n; i++) {
        struct part *pt = &f->parts[i];

        if (pt->p == NULL)
            continue;
        /* With few bytes wanted the partition that has changed decides alone. */
        if (which == NULL || f->min_bytes > 1 || which == &d->watches[w]) {
            n = part_available(f, pt);
            sum += n;
            if (n < 0 || sum >= f->min_bytes)
                return true;
        }
        w++;
    }
    return false;
}

/* On an IO thread. */
static void wait_finish(struct broker *b, struct request *r)
{
    struct fetch *f = r->state;

    (void)b;
    if (f->why == DELAYED_CLOSED) {
        fetch_abandon(&f->cx);
        drop_all(f);
        request_close(r, NULL);
        return;
    }
    for (size_t i = 0; i < f->cx.n; i++) {
        struct part *pt = &f->parts[i];

        if (pt->p != NULL && partition_standing(pt->p).role == ROLE_GONE) {
            partition_unref(&pt->p);
            find_part(f, pt);           /* deleted, and perhaps made anew */
        }
    }
    read_all(f);
    answer(f);
}

static void wait_done(struct delayed *d, enum delayed_why why)
{
    struct fetch *f = (struct fetch *)d;

    f->why = why;
    request_resume(f->r, wait_finish);
}

static void wait_closed(struct request *r, void *arg)
{
    (void)r;
    purgatory_end(arg, DELAYED_CLOSED);
}

static int wait_for_bytes(struct fetch *f)
{
    struct watch *watches = arena_array(&f->r->arena, f->cx.n, sizeof *watches);
    size_t n = 0;

    if (watches == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++)
        if (f->parts[i].p != NULL)
            watches[n++].list = &f->parts[i].p->fetches;
    drop_reads(f);
    f->delayed.watches = watches;
    f->delayed.watches_n = n;
    f->delayed.ready = wait_ready;
    f->delayed.done = wait_done;
    f->r->state = f;
    purgatory_init(replicas_fetch_purgatory(f->b->replicas), &f->delayed);
    if (!request_on_close(f->r, wait_closed, &f->delayed))
        purgatory_end(&f->delayed, DELAYED_CLOSED);
    purgatory_park(&f->delayed, f->in.max_wait_ms);
    return OK;
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static void refuse(struct fetch *f)
{
    struct fetch_response resp;

    fetch_response_init(&resp);
    resp.error_code = f->cx.error;
    API_REPLY(f->r, fetch_response, &resp);
}

void api_fetch(struct broker *b, struct request *r)
{
    struct fetch *f = arena_zalloc(&r->arena, sizeof *f);
    int rc;

    if (f == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, fetch_request, &f->in))
        return;
    f->b = b;
    f->r = r;
    settle_limits(f);
    rc = begin(f);
    if (rc == OK && f->cx.kind == FETCH_REFUSED) {
        refuse(f);
        return;
    }
    if (rc == OK)
        rc = find_parts(f);
    if (rc == OK) {
        read_all(f);
        if (f->in.max_wait_ms > 0 && f->interesting > 0 && f->bytes < f->min_bytes && !f->must_answer) {
            rc = wait_for_bytes(f);
        } else {
            answer(f);
        }
    }
    if (rc != OK) {
        fetch_abandon(&f->cx);
        drop_all(f);
        request_close(r, "out of memory");
    }
}
