/* broker/api/produce.c - Produce: each partition's records are checked in place, appended, and answered.
 *
 *   decode -> for each partition: shape of the set, partition here?, records_validate(), partition_append()
 *          -> acks 0: nothing, or the connection closes when one failed
 *             acks 1: answer      acks -1: answer when committed; else park with ids and offsets only, body given back
 *             both: where flush.messages holds an append, it is first waited for until its flush has ended
 *
 * An idempotent producer's batch that is refused for a while is remembered: broker/replica/refused.h.
 *
 * Nothing is allocated but from the request's arena, and no lock is held but for the append itself (and, for topics of
 * message format 0, from validation to append).
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/api/current_leader.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "metadata/topic_name.h"
#include "broker/replica/partition.h"
#include "broker/replica/refused.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"
#include "proto/gen/produce_request.h"
#include "proto/gen/produce_response.h"
#include "proto/kerr.h"
#include "proto/records/validate.h"

#include <stdlib.h>

/* A request with more in its arena, such as records made anew, is not kept beside others of its connection. */
#define ANSWERED_LATER_BYTES ((size_t)64 << 10)

#define topic_in       produce_request_topic_produce_data
#define part_in        produce_request_partition_produce_data
#define topic_out      produce_response_topic_produce_response
#define part_out       produce_response_partition_produce_response
#define record_err_out produce_response_batch_index_and_error_message
#define node_out       produce_response_node_endpoint

/* A successful append that is waited for. */
struct pending {
    struct partition *p;                /* reference */
    struct part_out  *out;
    int64_t           offset;           /* its end: safe, committed when the log has come here */
    int32_t           leader_epoch;     /* that it was done in */
};

enum wait_step { WAIT_SAFE, WAIT_COMMITTED, WAIT_STEPS_N };

struct wait {
    struct delayed  delayed;            /* first: ready() and done() get this */
    struct produce *pr;
};

/* One Produce request. In the request's arena. */
struct produce {
    struct broker          *b;
    struct request         *r;
    struct produce_request  in;
    struct produce_response out;
    int64_t                 now_ms;
    bool                    failed;     /* a partition has an error */
    size_t                  parts_n;    /* partitions in the request */
    struct pending         *pending;    /* room for parts_n; NULL until one is needed */
    size_t                  pending_n;
    bool                    held;       /* one of them is held for a flush */
    struct watch           *watches;    /* pending_n */
    struct wait             wait[WAIT_STEPS_N];
    enum wait_step          step;       /* that is waited in; fixed while parked */
    enum delayed_why        why;
    _Atomic(struct wait *)  waits_in;   /* the present wait, for when the connection dies */
    atomic_bool             closed;
};

enum { RACES_MAX = 10 };

static const struct str admin_client = { "__admin_client", 14 };

/* ---- one partition ----------------------------------------------------------------------------------------------- */

static void fail(struct produce *pr, struct part_out *out, int16_t kerr)
{
    out->error_code = kerr;
    out->base_offset = -1;
    out->log_append_time_ms = -1;
    pr->failed = true;
}

static struct bytes bytes_of(struct slice s)
{
    return (struct bytes){ s.p, s.len };
}

static void validate_opts_of(const struct partition *p, const struct partition_conf *conf, int64_t now_ms,
                             struct validate_opts *o)
{
    *o = (struct validate_opts){
        .name = p->name,
        .now_ms = now_ms,
        .append_time = conf->log_append_time,
        .compacted = conf->compact_policy,
        .before_max_ms = conf->timestamp_before_max_ms,
        .after_max_ms = conf->timestamp_after_max_ms,
        .max_message_bytes = conf->max_message_bytes,
        .magic = conf->magic,
        .codec = conf->codec == TOPIC_CODEC_PRODUCER ? CODEC_PRODUCER : conf->codec,
        .max_decompressed_bytes = records_decompressed_limit((size_t)conf->max_message_bytes),
    };
    for (int c = 0; c < CODEC_N; c++)
        o->level[c] = c == conf->codec ? conf->codec_level : codec_default_level((enum codec)c);
}

/* The answer for records that were found at fault, with the records. */
static int explain(struct produce *pr, const struct validate_result *v, struct part_out *out)
{
    struct record_err_out *e;

    fail(pr, out, v->error);
    if (v->n_record_errors == 0)
        return OK;
    e = arena_array(&pr->r->arena, v->n_record_errors, sizeof *e);
    if (e == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < v->n_record_errors; i++) {
        produce_response_batch_index_and_error_message_init(&e[i]);
        e[i].batch_index = v->record_errors[i].batch_index;
        e[i].batch_index_error_message = str_of(v->record_errors[i].message);
    }
    out->record_errors = e;
    out->record_errors_n = (int32_t)v->n_record_errors;
    out->error_message = str_of(v->message);
    return OK;
}

/* Apache Kafka tells the log's start with some errors and not with others. */
static bool error_tells_start(int16_t kerr)
{
    switch (kerr) {
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_MESSAGE_TOO_LARGE:
    case KERR_RECORD_LIST_TOO_LARGE:
    case KERR_CORRUPT_MESSAGE:
    case KERR_KAFKA_STORAGE_ERROR:
        return false;
    default:
        return true;
    }
}

static void wake_followers(void *arg)
{
    struct partition *p = arg;

    partition_wake_appended(p);
    partition_unref(&p);
}

static int64_t came_ms(const struct request *r)
{
    return r->received_ns / 1000000;
}

static int16_t append(struct produce *pr, struct partition *p, const struct batch_head *first,
                      const struct validate_result *v, int64_t base_offset, struct part_out *out, bool *wake)
{
    struct plog_append in = { .p = v->p, .len = v->len, .fixed_base = v->fixed_base, .base_offset = base_offset };
    struct refused *refused = replicas_refused(pr->b->replicas);
    struct plog_appended done;
    bool followers = false;
    int16_t kerr;

    if (pr->in.acks != 0 && pr->pending == NULL) {
        pr->pending = arena_array(&pr->r->arena, pr->parts_n, sizeof *pr->pending);
        if (pr->pending == NULL)
            return KERR_UNKNOWN_SERVER_ERROR;
    }
    in.refused = refused_before(refused, p->topic, p->index, first, came_ms(pr->r), &in.refused_sequence);
    kerr = wake != NULL ? partition_append_quiet(p, &in, pr->in.acks, &done, wake)
                        : partition_append_soon(p, &in, pr->in.acks, &done, &followers);
    if (followers)
        request_after(pr->r, wake_followers, partition_ref(p));
    if (kerr != KERR_NONE)
        return kerr;
    if (in.refused)
        refused_taken(refused, p->topic, p->index, first);
    out->base_offset = done.base_offset;
    out->log_append_time_ms = done.duplicate ? done.timestamp : v->append_time_ms;
    out->log_start_offset = done.offsets.start;
    if ((pr->in.acks != 0 && done.held) || (pr->in.acks == -1 && done.offsets.hw <= done.last_offset)) {
        pr->held |= done.held;
        pr->pending[pr->pending_n++] = (struct pending){ partition_ref(p), out, done.last_offset + 1, in.leader_epoch };
    }
    return KERR_NONE;
}

/* What a wrapper of message format 0 holds tells its final offsets, so the log's end must not move between validation
 * and append: such topics' appends wait for each other, and begin again where one that did not wait was faster. */
static int validate_and_append(struct produce *pr, struct partition *p, const struct partition_conf *conf,
                               const struct request_check *chk, struct bytes records, struct part_out *out,
                               int16_t *kerr)
{
    struct validate_result v;
    struct validate_opts opts;
    bool wake = false;                  /* with `oldformat` held, nobody may be woken */
    int rc;

    validate_opts_of(p, conf, pr->now_ms, &opts);
    if (conf->magic == 0)
        lock_take(&p->oldformat);
    for (int races = 0;; races++) {
        opts.base_offset = conf->magic == 0 ? partition_offsets(p).leo : 0;
        rc = records_validate(&opts, records, &pr->r->arena, &v);
        if (rc == OK && v.error == KERR_NONE && v.p != NULL)
            *kerr = append(pr, p, &chk->first, &v, opts.base_offset, out, conf->magic == 0 ? &wake : NULL);
        if (*kerr != PARTITION_RACED)
            break;
        *kerr = races < RACES_MAX ? KERR_NONE : KERR_REQUEST_TIMED_OUT;
        if (races == RACES_MAX)
            break;
    }
    if (conf->magic == 0)
        lock_drop(&p->oldformat);
    if (wake)
        partition_wake(p);
    return rc == OK && v.error != KERR_NONE ? explain(pr, &v, out) : rc;
}

/* Validates and appends. The request is done for with anything but OK. */
static int put_records(struct produce *pr, struct partition *p, const struct request_check *chk, struct bytes records,
                       struct part_out *out)
{
    struct partition_conf conf = partition_conf(p);
    int16_t kerr = partition_check(p, -1, true);

    if (kerr == KERR_NONE && pr->in.acks == -1)
        kerr = partition_isr_short(p) ? KERR_NOT_ENOUGH_REPLICAS : KERR_NONE;
    if (kerr == KERR_NONE)
        TRY(validate_and_append(pr, p, &conf, chk, records, out, &kerr));
    if (kerr != KERR_NONE)
        fail(pr, out, kerr);
    if (out->error_code != KERR_NONE && error_tells_start(out->error_code))
        out->log_start_offset = partition_offsets(p).start;
    return OK;
}

/* Only with codes after which a client sends the same batch again. */
static void note_refusal(struct produce *pr, struct str topic, const struct request_check *chk,
                         const struct part_out *out)
{
    if (chk->has_batch && kerr_retriable(out->error_code))
        refused_note(replicas_refused(pr->b->replicas), topic, out->index, &chk->first, came_ms(pr->r));
}

static int do_partition(struct produce *pr, const struct topic_in *t, const struct part_in *in, struct part_out *out)
{
    struct bytes records = bytes_of(in->records);
    struct request_check chk;
    struct partition *p;
    int16_t kerr = KERR_NONE;
    int rc = OK;

    produce_response_partition_produce_response_init(out);
    out->index = in->index;
    out->base_offset = -1;
    out->log_append_time_ms = -1;
    out->log_start_offset = -1;
    records_check_request(pr->r->version, records, &chk);
    p = replicas_find(pr->b->replicas, t->name, in->index, &kerr);
    if (p == NULL && kerr == KERR_UNKNOWN_TOPIC_OR_PARTITION) {
        fail(pr, out, kerr);
        note_refusal(pr, t->name, &chk, out);
        return OK;
    }
    if (chk.error != KERR_NONE)
        kerr = chk.error;
    else if (pr->in.acks < -1 || pr->in.acks > 1)
        kerr = KERR_INVALID_REQUIRED_ACKS;
    else if (topic_name_internal(t->name) && !str_eq(pr->r->client_id, admin_client))
        kerr = KERR_INVALID_TOPIC_EXCEPTION;
    else if (chk.has_batch && batch_is_txn(&chk.first))
        kerr = KERR_INVALID_TXN_STATE;          /* no transaction can have been begun with this broker */
    if (kerr == KERR_NONE)
        rc = put_records(pr, p, &chk, records, out);
    else
        fail(pr, out, kerr);
    note_refusal(pr, t->name, &chk, out);
    if (kerr == KERR_CORRUPT_MESSAGE && !chk.has_batch)
        out->error_message = str_of(chk.message);
    partition_unref(&p);
    return rc;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

/* From version 10 on, who asked the wrong broker is told the right one. */
static int add_leaders(struct produce *pr)
{
    struct produce_response *out = &pr->out;
    size_t nodes_cap = 0;

    for (int32_t i = 0; i < out->responses_n; i++)
        nodes_cap += (size_t)out->responses[i].partition_responses_n;
    out->node_endpoints = arena_array(&pr->r->arena, nodes_cap, sizeof *out->node_endpoints);
    if (out->node_endpoints == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < out->responses_n; i++) {
        for (int32_t k = 0; k < out->responses[i].partition_responses_n; k++) {
            struct part_out *part = &out->responses[i].partition_responses[k];
            struct current_leader lead;
            int32_t seen = 0;

            if (part->error_code != KERR_NOT_LEADER_OR_FOLLOWER)
                continue;
            TRY(current_leader_of(pr->b, pr->r, out->responses[i].name, part->index, &lead));
            part->current_leader.leader_id = lead.id;
            part->current_leader.leader_epoch = lead.epoch;
            while (seen < out->node_endpoints_n && out->node_endpoints[seen].node_id != lead.id)
                seen++;
            if (!lead.alive || seen < out->node_endpoints_n)
                continue;
            produce_response_node_endpoint_init(&out->node_endpoints[seen]);
            out->node_endpoints[seen] = (struct node_out){ .node_id = lead.id, .host = lead.host, .port = lead.port,
                                                           .rack = lead.rack };
            out->node_endpoints_n++;
        }
    }
    return OK;
}

static void finish(struct produce *pr)
{
    struct request *r = pr->r;

    if (pr->in.acks == 0) {
        if (pr->failed)
            request_close(r, "a partition failed, and with acks=0 that is the only way to say so");
        else
            request_no_reply(r);
        return;
    }
    if (pr->failed && r->version >= 10 && add_leaders(pr) != OK) {
        request_close(r, "out of memory");
        return;
    }
    API_REPLY(r, produce_response, &pr->out);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static int16_t pending_state(const struct produce *pr, const struct pending *w, bool *done)
{
    return pr->step == WAIT_SAFE ? partition_safe(w->p, w->offset, done)
                                 : partition_committed(w->p, w->offset, w->leader_epoch, done);
}

static bool wait_ready(struct delayed *d, const struct watch *which)
{
    const struct produce *pr = ((struct wait *)d)->pr;

    (void)which;
    for (size_t i = 0; i < pr->pending_n; i++) {
        bool done;

        (void)pending_state(pr, &pr->pending[i], &done);
        if (!done)
            return false;
    }
    return true;
}

/* What has failed, or has not come in time, is answered and no longer waited for. *rest: something is not committed. */
static void settle_pending(struct produce *pr, bool *rest)
{
    size_t n = 0;

    *rest = false;
    for (size_t i = 0; i < pr->pending_n; i++) {
        struct pending *w = &pr->pending[i];
        bool done;
        int16_t kerr = pending_state(pr, w, &done);

        if (!done)
            kerr = KERR_REQUEST_TIMED_OUT;
        if (kerr == KERR_NONE && pr->step == WAIT_SAFE && pr->in.acks == -1) {
            kerr = partition_committed(w->p, w->offset, w->leader_epoch, &done);
            if (!done) {
                *rest = true;
                pr->pending[n++] = *w;
                continue;
            }
        }
        if (kerr != KERR_NONE)
            fail(pr, w->out, kerr);
        partition_unref(&w->p);
    }
    pr->pending_n = n;
}

static void wait_begin(struct produce *pr, enum wait_step step);

/* What has become of each. On an IO thread, or whichever has found that all of them are committed. */
static void wait_finish(struct broker *b, struct request *r)
{
    struct produce *pr = r->state;
    bool rest;

    (void)b;
    settle_pending(pr, &rest);
    if (pr->why != DELAYED_CLOSED && pr->why != DELAYED_STOPPED && rest) {
        wait_begin(pr, WAIT_COMMITTED);
        return;
    }
    for (size_t i = 0; i < pr->pending_n; i++) {
        fail(pr, pr->pending[i].out, KERR_REQUEST_TIMED_OUT);
        partition_unref(&pr->pending[i].p);
    }
    if (pr->why == DELAYED_CLOSED)
        request_close(r, NULL);
    else
        finish(pr);
}

static void wait_done(struct delayed *d, enum delayed_why why)
{
    struct produce *pr = ((struct wait *)d)->pr;

    pr->why = why;
    if (why == DELAYED_READY && pr->step == WAIT_COMMITTED) {
        request_end_here(pr->r);        /* there is little left to do: less than to wake a thread for it */
        wait_finish(pr->b, pr->r);
    } else {
        request_resume(pr->r, wait_finish);
    }
}

/* Ends the wait that there is now; one that begins later sees that the connection is gone. */
static void wait_closed(struct request *r, void *arg)
{
    struct produce *pr = arg;
    struct wait *w;

    (void)r;
    atomic_store(&pr->closed, true);
    w = atomic_load(&pr->waits_in);
    if (w != NULL)
        purgatory_end(&w->delayed, DELAYED_CLOSED);
}

static int by_list(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct watch *)a)->list, y = (uintptr_t)((const struct watch *)b)->list;

    return x < y ? -1 : x > y;
}

/* One watch for each partition, however often the request names it. Gives how many. */
static size_t lay_out_watches(struct produce *pr)
{
    size_t n = 0;

    for (size_t i = 0; i < pr->pending_n; i++)
        pr->watches[i].list = &pr->pending[i].p->produces;
    if (pr->pending_n > 1)
        qsort(pr->watches, pr->pending_n, sizeof *pr->watches, by_list);
    for (size_t i = 0; i < pr->pending_n; i++)
        if (n == 0 || pr->watches[n - 1].list != pr->watches[i].list)
            pr->watches[n++].list = pr->watches[i].list;
    return n;
}

/* A flush ends by itself, well or not: only the wait for other replicas has the client's limit. */
static void wait_begin(struct produce *pr, enum wait_step step)
{
    struct wait *w = &pr->wait[step];

    w->pr = pr;
    w->delayed.ready = wait_ready;
    w->delayed.done = wait_done;
    w->delayed.watches = pr->watches;
    w->delayed.watches_n = lay_out_watches(pr);
    pr->step = step;
    purgatory_init(replicas_produce_purgatory(pr->b->replicas), &w->delayed);
    atomic_store(&pr->waits_in, w);
    if (atomic_load(&pr->closed))
        purgatory_end(&w->delayed, DELAYED_CLOSED);
    purgatory_park(&w->delayed, step == WAIT_SAFE ? INT32_MAX : pr->in.timeout_ms);
}

/* Parks the request. What it still needs of the body is copied, and the body goes back. */
static int wait_for_pending(struct produce *pr)
{
    struct request *r = pr->r;

    pr->watches = arena_array(&r->arena, pr->pending_n, sizeof *pr->watches);
    if (pr->watches == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < pr->out.responses_n; i++)
        TRY(arena_str(&r->arena, pr->out.responses[i].name, &pr->out.responses[i].name));
    request_release_body(r);
    r->state = pr;
    /* Followers fetch what many have appended as cheaply as what one has. Other requests wait: they may ask for what
     * this one brings about. */
    if (request_next_is_alike(r) && r->arena.taken_bytes <= ANSWERED_LATER_BYTES)
        request_let_next(r);
    if (!request_on_close(r, wait_closed, pr))
        atomic_store(&pr->closed, true);
    wait_begin(pr, pr->held ? WAIT_SAFE : WAIT_COMMITTED);
    return OK;
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static bool has_transaction(const struct produce_request *in, int16_t version)
{
    for (int32_t i = 0; i < in->topic_data_n; i++) {
        for (int32_t k = 0; k < in->topic_data[i].partition_data_n; k++) {
            struct request_check chk;

            records_check_request(version, bytes_of(in->topic_data[i].partition_data[k].records), &chk);
            if (chk.has_batch && batch_is_txn(&chk.first))
                return true;
        }
    }
    return false;
}

/* Lays out the response and works through the partitions. */
static int do_all(struct produce *pr)
{
    bool refused = pr->in.transactional_id.p == NULL && has_transaction(&pr->in, pr->r->version);
    struct arena *a = &pr->r->arena;

    for (int32_t i = 0; i < pr->in.topic_data_n; i++)
        pr->parts_n += (size_t)pr->in.topic_data[i].partition_data_n;
    pr->out.responses_n = pr->in.topic_data_n;
    pr->out.responses = arena_array(a, (size_t)pr->in.topic_data_n, sizeof *pr->out.responses);
    if (pr->out.responses == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < pr->in.topic_data_n; i++) {
        const struct topic_in *t = &pr->in.topic_data[i];
        struct topic_out *to = &pr->out.responses[i];

        produce_response_topic_produce_response_init(to);
        to->name = t->name;
        to->partition_responses_n = t->partition_data_n;
        to->partition_responses = arena_array(a, (size_t)t->partition_data_n, sizeof *to->partition_responses);
        if (to->partition_responses == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < t->partition_data_n; k++) {
            struct part_out *out = &to->partition_responses[k];

            if (!refused) {
                TRY(do_partition(pr, t, &t->partition_data[k], out));
                continue;
            }
            produce_response_partition_produce_response_init(out);
            out->index = t->partition_data[k].index;
            fail(pr, out, KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
    }
    return OK;
}

void api_produce(struct broker *b, struct request *r)
{
    struct produce *pr = arena_zalloc(&r->arena, sizeof *pr);
    int rc;

    if (pr == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, produce_request, &pr->in))
        return;
    pr->b = b;
    pr->r = r;
    pr->now_ms = wall_ms();
    produce_response_init(&pr->out);
    rc = do_all(pr);
    if (rc == OK && pr->pending_n > 0)
        rc = wait_for_pending(pr);
    else if (rc == OK)
        finish(pr);
    if (rc == OK)
        return;
    for (size_t i = 0; i < pr->pending_n; i++)
        partition_unref(&pr->pending[i].p);
    request_close(r, "out of memory");
}
