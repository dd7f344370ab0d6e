/* proto/records/validate.c - checking and, where it must be, rewriting what a producer sends.
 *
 * The order of the checks is Apache Kafka's, since it decides which error a batch with several faults gets:
 *   1. each batch, shallow: base offset, size, CRC, codec
 *   2. how many batches there may be; each batch's header: counts, control bit, sequence
 *   3. each record. A broken record ends it at once; records that are well-formed but not wanted (no key, timestamp
 *      out of range) are gathered until the batch's end and reported one by one
 *   4. what the rewritten batch weighs
 */
#include "proto/records/validate.h"

#include "proto/kerr.h"
#include "proto/records/builder.h"
#include "proto/records/scan.h"

enum { REBUILD_SLACK_BYTES = 256 << 10 };       /* codecs ask for room before they know how little they need */

struct pass {
    const struct validate_opts *o;
    struct arena           *arena;
    struct validate_result *out;
    struct bytes            in;                 /* without a cut batch at the end */
    struct batch_head       first;
    const uint8_t          *first_p;
    size_t                  n_batches;
    enum codec              source, target;
    bool                    all_v2;
    int64_t                 base;               /* offset of the first record of a rebuilt batch */
    /* of the batch in work */
    const struct batch_head *batch;
    int64_t                 ts_min, ts_max;     /* within which CreateTime allows every timestamp */
    bool                    bad_timestamp;
    bool                    bad_offset;
    bool                    out_of_memory;
    size_t                  errors_cap;
    const char             *no_key;             /* one text for all such records */
};

static int fail(struct pass *v, int16_t error, const char *message)
{
    v->out->error = error;
    v->out->message = message;
    return message != NULL ? OK : ERR_NOMEM;
}

#define FAIL(v, error, ...) fail(v, error, arena_printf((v)->arena, __VA_ARGS__))

/* For a failure of scan.h or records.h. */
static int fail_rc(struct pass *v, int rc)
{
    const char *name = v->o->name;

    switch (rc) {
    case ERR_NOMEM:
        return ERR_NOMEM;
    case ERR_INVALID:
        return FAIL(v, KERR_INVALID_RECORD, "%s: the records of the batch are malformed", name);
    case ERR_CORRUPT:
        return FAIL(v, KERR_CORRUPT_MESSAGE, "%s: a message inside the batch has a wrong size or CRC", name);
    case ERR_TOO_LARGE:
        return FAIL(v, KERR_MESSAGE_TOO_LARGE, "%s: the batch decompresses to more than %zu bytes", name,
                    v->o->max_decompressed_bytes);
    case ERR_UNSUPPORTED:
        return FAIL(v, KERR_UNKNOWN_SERVER_ERROR, "%s: unknown compression codec", name);
    default:
        return FAIL(v, KERR_UNKNOWN_SERVER_ERROR, "%s: the %s payload of the batch cannot be read", name,
                    codec_name(v->source));
    }
}

/* ---- the request's own rules --------------------------------------------------------------------------------- */
static int16_t check_shape(int16_t api_version, struct batch_iter *it, struct request_check *out)
{
    if (!out->has_batch) {
        out->message = "a record set must have one batch";
        return KERR_INVALID_RECORD;
    }
    if (out->first.magic != BATCH_MAGIC_NOW) {
        out->message = "only batches of magic 2 are allowed in this version of the request";
        return KERR_INVALID_RECORD;
    }
    if (api_version < 7 && batch_codec(&out->first) == CODEC_ZSTD) {
        out->message = "zstd needs version 7 of the request";
        return KERR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    if (batch_iter_next(it)) {
        out->message = "a record set must have one batch only";
        return KERR_INVALID_RECORD;
    }
    return KERR_NONE;
}

void records_check_request(int16_t api_version, struct bytes in, struct request_check *out)
{
    struct batch_iter it;

    *out = (struct request_check){ .error = KERR_NONE };
    batch_iter_init(&it, in);
    out->has_batch = batch_iter_next(&it);
    out->first = it.head;
    if (it.rc == OK && api_version >= 3)
        out->error = check_shape(api_version, &it, out);
    if (it.rc != OK) {
        out->message = "the record set has a batch of an impossible length or an unknown magic";
        out->error = KERR_CORRUPT_MESSAGE;
    }
}

/* ---- 1. shallow ---------------------------------------------------------------------------------------------- */
static int check_shallow(struct pass *v, const struct batch_head *h, const uint8_t *p)
{
    const char *name = v->o->name;

    if (h->magic >= 2 && h->base_offset != 0)
        return FAIL(v, KERR_INVALID_RECORD, "%s: the batch must have base offset 0, not %lld", name,
                    (long long)h->base_offset);
    if (h->size_bytes > (uint32_t)v->o->max_message_bytes)
        return FAIL(v, KERR_MESSAGE_TOO_LARGE, "%s: the batch has %u bytes; at most %d are allowed", name,
                    h->size_bytes, v->o->max_message_bytes);
    if (batch_check(h, p) != OK)
        return FAIL(v, KERR_CORRUPT_MESSAGE, "%s: the batch's checksum is %08x, its bytes give %08x", name, h->crc,
                    batch_crc(h, p));
    if (batch_codec(h) >= CODEC_N)
        return FAIL(v, KERR_UNKNOWN_SERVER_ERROR, "%s: unknown compression codec %d", name, (int)batch_codec(h));
    return OK;
}

static int pass_shallow(struct pass *v)
{
    struct batch_iter it;

    v->all_v2 = true;
    batch_iter_init(&it, v->in);
    while (batch_iter_next(&it)) {
        TRY(check_shallow(v, &it.head, it.p));
        if (v->out->error != KERR_NONE)
            return OK;
        if (v->n_batches++ == 0) {
            v->first = it.head;
            v->first_p = it.p;
        }
        if (batch_codec(&it.head) != CODEC_NONE)
            v->source = batch_codec(&it.head);
        v->all_v2 = v->all_v2 && it.head.magic >= 2;
    }
    if (it.rc != OK)
        return FAIL(v, KERR_CORRUPT_MESSAGE, "%s: batch of an impossible length or unknown magic at byte %zu",
                    v->o->name, it.pos);
    v->in.len = it.pos;
    return OK;
}

/* ---- 2. headers ---------------------------------------------------------------------------------------------- */
static int check_head(struct pass *v, const struct batch_head *h)
{
    const char *name = v->o->name;
    int64_t span = (int64_t)h->last_offset_delta + 1;

    if (h->magic != v->first.magic)
        return FAIL(v, KERR_INVALID_RECORD, "%s: messages of magic %d and %d in one set", name, v->first.magic,
                    h->magic);
    if (h->magic < 2)
        return OK;
    if (span <= 0)
        return FAIL(v, KERR_INVALID_RECORD, "%s: last offset delta %d is negative", name, h->last_offset_delta);
    if (h->count <= 0)
        return FAIL(v, KERR_INVALID_RECORD, "%s: the batch claims %d records", name, h->count);
    if (span != h->count)
        return FAIL(v, KERR_INVALID_RECORD, "%s: the batch claims %d records and %lld offsets", name, h->count,
                    (long long)span);
    if (batch_is_control(h))
        return FAIL(v, KERR_INVALID_RECORD, "%s: clients may not write control records", name);
    if (h->producer_id > -1 && h->base_sequence < 0)
        return FAIL(v, KERR_INVALID_RECORD, "%s: producer id %lld with sequence number %d", name,
                    (long long)h->producer_id, h->base_sequence);
    if (v->o->magic < BATCH_MAGIC_NOW && (batch_is_txn(h) || h->producer_id > -1))
        return FAIL(v, KERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
                    "%s: transactional and idempotent records cannot be used with magic version %d", name, v->o->magic);
    return OK;
}

/* ---- 3. records ---------------------------------------------------------------------------------------------- */
static void record_error(struct pass *v, int32_t index, const char *message)
{
    struct validate_result *r = v->out;

    if (r->n_record_errors == RECORD_ERRORS_MAX)
        return;
    if (r->n_record_errors == v->errors_cap) {
        size_t cap = v->errors_cap > 0 ? v->errors_cap * 2 : 16;
        struct record_error *grown = arena_array(v->arena, cap, sizeof *grown);

        if (grown != NULL && r->n_record_errors > 0)
            memcpy(grown, r->record_errors, r->n_record_errors * sizeof *grown);
        if (grown != NULL) {
            r->record_errors = grown;
            v->errors_cap = cap;
        }
    }
    if (r->n_record_errors == v->errors_cap || message == NULL) {
        v->out_of_memory = true;
        return;
    }
    r->record_errors[r->n_record_errors++] = (struct record_error){ index, message };
}

/* Wraps around as Java does: with the default limits, which are the largest number, every timestamp is allowed. */
static bool timestamp_allowed(const struct pass *v, int64_t timestamp)
{
    uint64_t age = (uint64_t)v->o->now_ms - (uint64_t)timestamp;

    return (int64_t)age <= v->o->before_max_ms && (int64_t)(0 - age) <= v->o->after_max_ms;
}

/* True when the record is not wanted; the error is then noted. */
static bool refuse(struct pass *v, int32_t index, int64_t timestamp, bool has_key)
{
    if (v->o->compacted && !has_key) {
        if (v->no_key == NULL)
            v->no_key = arena_printf(v->arena, "%s is compacted: a record must have a key", v->o->name);
        record_error(v, index, v->no_key);
        return true;
    }
    if (!v->o->append_time && timestamp != NO_TIMESTAMP) {
        if (timestamp_allowed(v, timestamp))
            return false;
        v->bad_timestamp = true;
        record_error(v, index, v->out->n_record_errors == RECORD_ERRORS_MAX ? "" :
                     arena_printf(v->arena, "timestamp %lld is not within [%lld, %lld]", (long long)timestamp,
                                  (long long)v->ts_min, (long long)v->ts_max));
        return true;
    }
    if (batch_is_append_time(v->batch)) {
        v->bad_timestamp = true;
        record_error(v, index, "a producer may not set the timestamp type LogAppendTime");
        return true;
    }
    return false;
}

/* At the end of a batch: turns what was gathered into the answer. */
static int report(struct pass *v)
{
    if (v->out_of_memory)
        return ERR_NOMEM;
    if (v->out->n_record_errors == 0)
        return OK;
    if (v->bad_timestamp)
        return FAIL(v, KERR_INVALID_TIMESTAMP, "%s: records with an invalid timestamp in the batch", v->o->name);
    return FAIL(v, KERR_INVALID_RECORD, "%s: invalid records in the batch, the first is number %d: %s", v->o->name,
                v->out->record_errors[0].batch_index, v->out->record_errors[0].message);
}

/* Timestamps that need no closer look: the part of [now - before, now + after] that is not negative. */
static void set_range(struct pass *v)
{
    if (__builtin_sub_overflow(v->o->now_ms, v->o->before_max_ms, &v->ts_min) || v->ts_min < 0)
        v->ts_min = 0;
    if (__builtin_add_overflow(v->o->now_ms, v->o->after_max_ms, &v->ts_max))
        v->ts_max = INT64_MAX;
}

/* ---- 3a. in place: one v2 batch whose codec stays --------------------------------------------------------------- */
static void odd_record(void *arg, int32_t n, int64_t timestamp, int32_t offset, bool has_key)
{
    struct pass *v = arg;

    if (!refuse(v, n, timestamp, has_key) && offset != n && v->source != CODEC_NONE)
        v->bad_offset = true;
}

static int validate_in_place(struct pass *v)
{
    const struct validate_opts *o = v->o;
    struct validate_result *r = v->out;
    struct scan s = { .keys_needed = o->compacted, .dense = v->source != CODEC_NONE,
                      .all_odd = batch_is_append_time(&v->first), .timestamp_min = INT64_MIN,
                      .timestamp_max = INT64_MAX, .odd = odd_record, .arg = v };
    uint8_t *p = (uint8_t *)(uintptr_t)v->first_p;      /* the request's buffer, ours to write: see validate.h */
    int rc;

    TRY(check_head(v, &v->first));
    if (r->error != KERR_NONE)
        return OK;
    if (!o->append_time) {
        s.timestamp_min = v->ts_min;
        s.timestamp_max = v->ts_max;
    }
    v->batch = &v->first;
    rc = scan_batch(&s, &v->first, p, o->max_decompressed_bytes);
    if (rc != OK)
        return fail_rc(v, rc);
    TRY(report(v));
    if (r->error != KERR_NONE)
        return OK;
    /* Kafka would have to rebuild it, but has passed over the keys and values by then. */
    if (v->bad_offset)
        return FAIL(v, KERR_UNKNOWN_SERVER_ERROR, "%s: the offsets in the compressed batch are not 0, 1, 2, ...",
                    o->name);
    r->p = p;
    r->len = v->first.size_bytes;
    r->head = v->first;
    r->n_records = v->first.count;
    r->max_timestamp = o->append_time ? o->now_ms : s.max_timestamp;
    batch_set_max_timestamp(&r->head, p, o->append_time, r->max_timestamp);
    return OK;
}

/* ---- 3b. rebuilt ----------------------------------------------------------------------------------------------- */
/* One batch's records into the builder. */
static int rebuild_batch(struct pass *v, const struct batch_head *h, const uint8_t *p, struct builder *b,
                         int32_t *n_records)
{
    struct record_iter it;
    struct record r;
    int32_t index = 0;
    int rc;

    v->batch = h;
    record_iter_init(&it, h, p, v->o->max_decompressed_bytes);
    for (; record_iter_next(&it, &r); index++) {
        if (r.magic != h->magic) {
            record_error(v, index, "the message's magic is not that of the set around it");
            continue;
        }
        if (refuse(v, index, r.timestamp, r.key.p != NULL) || v->out->n_record_errors > 0)
            continue;
        r.offset = v->base + (*n_records)++;
        builder_add(b, &r);
    }
    rc = it.rc;
    record_iter_fini(&it);
    return rc != OK ? fail_rc(v, rc) : report(v);
}

/* Kafka estimates the size of a plain set of old messages before anything else, and trips over broken ones there. */
static int check_plain_messages(struct pass *v)
{
    struct batch_iter batches;
    struct record_iter it;
    struct record r;

    batch_iter_init(&batches, v->in);
    while (v->out->error == KERR_NONE && batch_iter_next(&batches)) {
        record_iter_init(&it, &batches.head, batches.p, v->o->max_decompressed_bytes);
        while (record_iter_next(&it, &r))
            ;
        record_iter_fini(&it);
        if (it.rc != OK)
            TRY(fail_rc(v, it.rc));
    }
    return OK;
}

static int rebuild_all(struct pass *v, struct builder *b, int32_t *n_records)
{
    struct batch_iter it;
    bool plain = v->source == CODEC_NONE && v->target == CODEC_NONE;

    batch_iter_init(&it, v->in);
    while (v->out->error == KERR_NONE && batch_iter_next(&it)) {
        TRY(check_head(v, &it.head));
        if (v->out->error == KERR_NONE)
            TRY(rebuild_batch(v, &it.head, it.p, b, n_records));
        if (plain && b->rc != OK)
            return OK;
    }
    return OK;
}

/* What the builder says of records that were found good. */
static int fail_builder(struct pass *v, int rc)
{
    if (rc == ERR_TOO_LARGE)
        return FAIL(v, KERR_MESSAGE_TOO_LARGE, "%s: rewritten, the batch has more than the %d bytes that are allowed",
                    v->o->name, v->o->max_message_bytes);
    if (rc == ERR_INVALID)
        return FAIL(v, KERR_UNKNOWN_SERVER_ERROR, "%s: the batch cannot be rewritten: negative timestamp or producer "
                    "epoch%s", v->o->name, v->o->magic < BATCH_MAGIC_NOW ? ", or headers" : "");
    return rc;
}

/* Magic 0 and 1: the log wants the messages' own offset fields to count from 0. Inside a wrapper of magic 0 they are
 * final already; the wrapper has that of its last. */
static void finish_messages(struct pass *v, const struct builder *b)
{
    struct validate_result *r = v->out;

    r->fixed_base = v->o->magic == 0 && v->target != CODEC_NONE;
    if (r->fixed_base && r->len > 0)
        batch_set_base_offset(r->p, b->last_offset - v->o->base_offset);
}

/* Of a plain set of the old formats each message counts by itself. */
static bool has_too_large(const struct pass *v, struct bytes made)
{
    struct batch_iter it;
    bool yes = false;

    batch_iter_init(&it, made);
    while (batch_iter_next(&it))
        yes |= it.head.size_bytes > (uint32_t)v->o->max_message_bytes;
    return yes;
}

static int rebuild_finish(struct pass *v, struct builder *b, int32_t n_records)
{
    struct validate_result *r = v->out;
    struct bytes made;
    int rc = builder_finish(b, &made);

    if (rc == OK && has_too_large(v, made))
        rc = ERR_TOO_LARGE;
    if (rc != OK)
        return fail_builder(v, rc);
    r->p = b->out->p + b->start;
    r->len = made.len;
    r->n_records = n_records;
    r->max_timestamp = v->o->append_time && v->o->magic > 0 ? v->o->now_ms : b->max_timestamp;
    r->rebuilt = true;
    if (v->o->magic < BATCH_MAGIC_NOW)
        finish_messages(v, b);
    return batch_head_read(&r->head, r->p, r->len);
}

static int validate_rebuild(struct pass *v)
{
    const struct validate_opts *o = v->o;
    struct builder_opts bo;
    struct builder b;
    int32_t n_records = 0;
    int rc;

    if (v->source == CODEC_NONE && v->target == CODEC_NONE)
        TRY(check_plain_messages(v));
    if (v->out->error != KERR_NONE)
        return OK;
    builder_opts_init(&bo);
    bo.magic = o->magic;
    bo.base_offset = v->base;
    bo.codec = v->target;
    bo.level = o->level[v->target];
    bo.append_time = o->append_time;
    bo.append_ms = o->now_ms;
    bo.producer_id = v->first.producer_id;
    bo.producer_epoch = v->first.producer_epoch;
    bo.base_sequence = v->first.base_sequence;
    bo.txn = batch_is_txn(&v->first);
    bo.size_hint = v->in.len + v->in.len / 8;
    bo.max_bytes = (size_t)o->max_message_bytes + REBUILD_SLACK_BYTES;
    if (o->magic < BATCH_MAGIC_NOW && v->target == CODEC_NONE)
        bo.max_bytes = o->max_decompressed_bytes < INT32_MAX ? o->max_decompressed_bytes : INT32_MAX;
    builder_init(&b, &bo, v->arena);
    rc = rebuild_all(v, &b, &n_records);
    if (rc == OK && v->out->error == KERR_NONE)
        rc = rebuild_finish(v, &b, n_records);
    builder_fini(&b);
    return rc;
}

/* -------------------------------------------------------------------------------------------------------------- */
int records_validate(const struct validate_opts *o, struct bytes in, struct arena *a, struct validate_result *out)
{
    struct pass v = { .o = o, .arena = a, .out = out, .in = in };

    *out = (struct validate_result){ .error = KERR_NONE, .max_timestamp = NO_TIMESTAMP,
                                     .append_time_ms = o->append_time ? o->now_ms : NO_TIMESTAMP };
    set_range(&v);
    TRY(pass_shallow(&v));
    if (out->error != KERR_NONE || v.n_batches == 0)
        return OK;
    v.target = o->codec == CODEC_PRODUCER ? v.source : (enum codec)o->codec;
    if (v.n_batches > 1 && (v.first.magic >= 2 || v.source != CODEC_NONE)) {
        return FAIL(&v, KERR_INVALID_RECORD, "%s: a set that is compressed or of magic 2 must be one batch, not %zu",
                    o->name, v.n_batches);
    }
    if (v.target == CODEC_ZSTD && o->magic < BATCH_MAGIC_NOW)
        return FAIL(&v, KERR_UNSUPPORTED_COMPRESSION_TYPE, "%s: zstd cannot be used with magic version %d", o->name,
                    o->magic);
    if (v.first.magic >= 2 && v.source == v.target && o->magic == BATCH_MAGIC_NOW)
        return validate_in_place(&v);
    if (o->magic == 0 && v.target != CODEC_NONE)
        v.base = o->base_offset;
    return validate_rebuild(&v);
}
