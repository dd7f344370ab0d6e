/* tests/record_vectors.c - holds record sets and codecs against vectors: record_vectors FILE (JSON lines).
 *
 * What a line is, is told by its fields: a record set with what Apache Kafka reads in it ("batches"), a broken one with
 * what it says to it ("iterateBatches"), or one of "murmur2", "crc32c", "varlong", "xerial", "magic2" (an lz4 frame).
 * The last line is `N passed, N failed`; each failure is printed with the id and what differs.
 */
#include "base/crc32c.h"
#include "proto/murmur2.h"
#include "proto/records/builder.h"
#include "proto/records/validate.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { VECTOR_NOW_SECONDS = 1700000000, VECTOR_BASE_OFFSET = 1000, VECTOR_EPOCH = 7, MAX_MESSAGE_BYTES = 1048588,
       KERR_TXN_ID_DENIED = 53 };

#define VECTOR_NOW_MS (INT64_C(1000) * VECTOR_NOW_SECONDS)

static unsigned n_passed, n_failed;
static const char *line_id;
static bool line_failed;
static struct arena arena;

__attribute__((format(printf, 1, 2)))
static void differ(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("%s: ", line_id);
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    line_failed = true;
}

static void same_i64(const char *what, int64_t ours, int64_t theirs)
{
    if (ours != theirs)
        differ("%s is %" PRId64 ", not %" PRId64, what, ours, theirs);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */
static int64_t get_int(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static bool has(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);

    return v != NULL && !json_is_null(v);
}

static const char *get_text(const json_t *o, const char *name)
{
    const char *z = json_string_value(json_object_get(o, name));

    return z != NULL ? z : "";
}

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

/* Writable; in the arena. */
static struct bytes get_hex(const json_t *o, const char *name)
{
    const char *z = json_string_value(json_object_get(o, name));
    size_t n = z != NULL ? strlen(z) / 2 : 0;
    uint8_t *p;

    if (z == NULL)
        return (struct bytes){ NULL, 0 };
    p = arena_alloc(&arena, n + 1);
    if (p == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(nibble(z[2 * i]) << 4 | nibble(z[2 * i + 1]));
    return (struct bytes){ p, n };
}

static const char *sha256(struct bytes v)
{
    static char text[65];
    unsigned char md[32];

    EVP_Digest(v.p, v.len, md, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < sizeof md; i++)
        snprintf(text + 2 * i, 3, "%02x", md[i]);
    return text;
}

/* A value that the vector gives in hex, or by length and hash when it is long. */
static void same_bytes(const json_t *o, const char *name, struct bytes ours)
{
    char hash_name[64], len_name[64];

    snprintf(hash_name, sizeof hash_name, "%sSha256", name);
    snprintf(len_name, sizeof len_name, "%sLen", name);
    if (has(o, hash_name)) {
        same_i64(len_name, (int64_t)ours.len, get_int(o, len_name));
        if (ours.p == NULL || strcmp(sha256(ours), get_text(o, hash_name)) != 0)
            differ("%s has another hash", name);
        return;
    }
    if (has(o, name)) {
        struct bytes theirs = get_hex(o, name);

        if (ours.p == NULL || ours.len != theirs.len || (ours.len > 0 && memcmp(ours.p, theirs.p, ours.len) != 0))
            differ("%s differs", name);
    } else if (ours.p != NULL) {
        differ("%s should be null", name);
    }
}

/* ---- record sets --------------------------------------------------------------------------------------------- */
static void same_headers(const json_t *theirs, const struct record *r)
{
    struct cursor c = cur_ro(r->headers.p, r->headers.len);

    same_i64("headers", r->n_headers, (int64_t)json_array_size(theirs));
    for (size_t i = 0; i < json_array_size(theirs) && i < (size_t)r->n_headers; i++) {
        struct record_header h = record_header_next(&c);

        same_bytes(json_array_get(theirs, i), "key", (struct bytes){ (const uint8_t *)h.key.p, h.key.len });
        same_bytes(json_array_get(theirs, i), "value", h.value);
    }
    same_i64("headers' cursor", c.rc, OK);
}

static void same_control(const json_t *theirs, const struct record *r)
{
    struct control_record c;

    if (control_record_read(r, &c) != OK) {
        differ("control record cannot be read");
        return;
    }
    if (strcmp(get_text(theirs, "controlType"), "ABORT") == 0)
        same_i64("control type", c.type, CONTROL_ABORT);
    else if (strcmp(get_text(theirs, "controlType"), "COMMIT") == 0)
        same_i64("control type", c.type, CONTROL_COMMIT);
    else if (c.type <= CONTROL_COMMIT)
        differ("control type is %d", c.type);
    if (has(theirs, "coordinatorEpoch"))
        same_i64("coordinator epoch", c.coordinator_epoch, get_int(theirs, "coordinatorEpoch"));
}

static void same_records(const json_t *theirs, const struct batch_head *h, const uint8_t *p)
{
    struct record_iter it;
    struct record r;
    size_t n = 0;

    record_iter_init(&it, h, p, SIZE_MAX);
    for (; record_iter_next(&it, &r); n++) {
        const json_t *t = json_array_get(theirs, n);

        if (t == NULL)
            continue;
        same_i64("offset", r.offset, get_int(t, "offset"));
        same_i64("timestamp", r.timestamp, get_int(t, "timestamp"));
        if (has(t, "sequence"))
            same_i64("sequence", sequence_add(h->base_sequence, (int32_t)(r.offset - h->base_offset)),
                     get_int(t, "sequence"));
        same_bytes(t, "key", r.key);
        same_bytes(t, "value", r.value);
        same_headers(json_object_get(t, "headers"), &r);
        if (has(t, "controlType"))
            same_control(t, &r);
    }
    same_i64("result of reading records", it.rc, OK);
    same_i64("number of records", (int64_t)n, (int64_t)json_array_size(theirs));
    record_iter_fini(&it);
}

static void same_v2_fields(const json_t *t, const struct batch_head *h)
{
    same_i64("baseOffset", h->base_offset, get_int(t, "baseOffset"));
    same_i64("count", h->count, get_int(t, "count"));
    if (!has(t, "deleteHorizonMs"))
        same_i64("baseTimestamp", h->base_timestamp, get_int(t, "baseTimestamp"));
    else
        same_i64("deleteHorizonMs", h->base_timestamp, get_int(t, "deleteHorizonMs"));
    same_i64("has a horizon", batch_has_horizon(h), has(t, "deleteHorizonMs"));
    same_i64("producerId", h->producer_id, get_int(t, "producerId"));
    same_i64("producerEpoch", h->producer_epoch, get_int(t, "producerEpoch"));
    same_i64("baseSequence", h->base_sequence, get_int(t, "baseSequence"));
    same_i64("lastSequence", batch_last_sequence(h), get_int(t, "lastSequence"));
    same_i64("partitionLeaderEpoch", h->leader_epoch, get_int(t, "partitionLeaderEpoch"));
    same_i64("isTransactional", batch_is_txn(h), json_is_true(json_object_get(t, "isTransactional")));
    same_i64("isControl", batch_is_control(h), json_is_true(json_object_get(t, "isControl")));
}

static void same_batch(const json_t *t, const struct batch_head *h, const uint8_t *p)
{
    same_i64("magic", h->magic, get_int(t, "magic"));
    same_i64("lastOffset", h->last_offset, get_int(t, "lastOffset"));
    same_i64("sizeInBytes", h->size_bytes, get_int(t, "sizeInBytes"));
    same_i64("crc", h->crc, get_int(t, "crc"));
    same_i64("maxTimestamp", h->max_timestamp, get_int(t, "maxTimestamp"));
    same_i64("append time", batch_is_append_time(h), strcmp(get_text(t, "timestampType"), "LogAppendTime") == 0);
    if (strcmp(codec_name(batch_codec(h)), get_text(t, "codec")) != 0)
        differ("codec is %s", codec_name(batch_codec(h)));
    if (has(t, "count"))
        same_v2_fields(t, h);
    same_i64("batch_check", batch_check(h, p), OK);
    same_records(json_object_get(t, "records"), h, p);
}

static void validate_opts_init(struct validate_opts *o)
{
    *o = (struct validate_opts){ .magic = BATCH_MAGIC_NOW,
        .name = "t-0", .now_ms = VECTOR_NOW_MS, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX,
        .max_message_bytes = MAX_MESSAGE_BYTES, .codec = CODEC_PRODUCER,
        .max_decompressed_bytes = records_decompressed_limit(MAX_MESSAGE_BYTES),
    };
    for (unsigned i = 0; i < CODEC_N; i++)
        o->level[i] = codec_default_level((enum codec)i);
}

/* Two batches that were compressed by different libraries: the same but for the payload's form. */
static void same_but_compression(struct bytes theirs, const struct validate_result *ours)
{
    struct batch_head h, o = ours->head;
    struct record_iter a, b;
    struct record ra, rb;
    bool more_a, more_b;

    if (batch_head_read(&h, theirs.p, theirs.len) != OK || batch_head_read(&o, ours->p, ours->len) != OK) {
        differ("rebuilt batch has no readable header");
        return;
    }
    o.size_bytes = h.size_bytes;
    o.crc = h.crc;
    if (memcmp(&o, &h, sizeof h) != 0)
        differ("header of the rebuilt batch differs");
    record_iter_init(&a, &h, theirs.p, SIZE_MAX);
    record_iter_init(&b, &ours->head, ours->p, SIZE_MAX);
    do {
        more_a = record_iter_next(&a, &ra);
        more_b = record_iter_next(&b, &rb);
        if (more_a && more_b &&
            (ra.key.len != rb.key.len || ra.value.len != rb.value.len || ra.timestamp != rb.timestamp ||
             (ra.key.p == NULL) != (rb.key.p == NULL) || (ra.value.p == NULL) != (rb.value.p == NULL) ||
             (ra.key.len > 0 && memcmp(ra.key.p, rb.key.p, ra.key.len) != 0) ||
             (ra.value.len > 0 && memcmp(ra.value.p, rb.value.p, ra.value.len) != 0)))
            differ("a record of the rebuilt batch differs");
    } while (more_a && more_b);
    if (more_a || more_b || a.rc != OK || b.rc != OK)
        differ("the rebuilt batch has another number of records");
    record_iter_fini(&a);
    record_iter_fini(&b);
}

static void same_appended(const json_t *theirs, const struct validate_result *r)
{
    struct bytes head = get_hex(theirs, "header"), whole = get_hex(theirs, "hex");

    batch_set_base_offset(r->p, VECTOR_BASE_OFFSET);
    batch_set_leader_epoch(r->p, VECTOR_EPOCH);
    if (r->rebuilt && batch_codec(&r->head) != CODEC_NONE) {
        if (whole.p != NULL)
            same_but_compression(whole, r);
        return;
    }
    same_i64("appended size", (int64_t)r->len, get_int(theirs, "size"));
    if (head.p != NULL && memcmp(head.p, r->p, head.len) != 0)
        differ("appended header differs");
    if (strcmp(sha256((struct bytes){ r->p, r->len }), get_text(theirs, "sha256")) != 0)
        differ("appended bytes differ");
}

static void run_append(const json_t *line, const char *name, bool append_time)
{
    struct validate_opts o;
    struct validate_result r;
    struct bytes in = get_hex(line, "hex");

    if (!has(line, name))
        return;
    validate_opts_init(&o);
    o.append_time = append_time;
    o.max_message_bytes = INT32_MAX - (1 << 20);
    if (records_validate(&o, in, &arena, &r) != OK)
        differ("%s: out of memory", name);
    else if (r.error != 0)
        differ("%s: error %d: %s", name, r.error, r.message);
    else
        same_appended(json_object_get(line, name), &r);
}

static void run_records(const json_t *line)
{
    struct bytes in = get_hex(line, "hex");
    json_t *batches = json_object_get(line, "batches");
    struct batch_iter it;
    size_t n = 0;

    batch_iter_init(&it, in);
    for (; batch_iter_next(&it); n++)
        if (n < json_array_size(batches))
            same_batch(json_array_get(batches, n), &it.head, it.p);
    same_i64("result of reading batches", it.rc, OK);
    same_i64("bytes read", (int64_t)it.pos, (int64_t)in.len);
    same_i64("number of batches", (int64_t)n, (int64_t)json_array_size(batches));
    run_append(line, "appendedCreateTime", false);
    run_append(line, "appendedLogAppendTime", true);
}

/* ---- broken record sets -------------------------------------------------------------------------------------- */
static void run_iterate(const json_t *line, struct bytes in)
{
    json_t *t = json_object_get(line, "iterateBatches"), *sound = json_object_get(line, "ensureValid");
    struct batch_iter it;
    int64_t n = 0;
    int check = OK;

    batch_iter_init(&it, in);
    for (; batch_iter_next(&it); n++)
        if (check == OK)
            check = batch_check(&it.head, it.p);
    if (has(t, "exception")) {
        same_i64("result of reading batches", it.rc, ERR_CORRUPT);
    } else {
        same_i64("result of reading batches", it.rc, OK);
        same_i64("batches", n, get_int(t, "batches"));
        same_i64("bytes", (int64_t)it.pos, get_int(t, "bytes"));
        same_i64("trailing", (int64_t)(in.len - it.pos), get_int(t, "trailing"));
    }
    if (sound != NULL)
        same_i64("batch_check", check, json_is_string(sound) ? OK : ERR_CORRUPT);
}

/* The class of Java exception that a failure corresponds to. */
static const char *exception_of(int rc)
{
    return rc == ERR_INVALID ? "InvalidRecordException" : rc == ERR_CORRUPT ? "CorruptRecordException" : "";
}

static void run_iterate_records(const json_t *line, struct bytes in)
{
    json_t *t = json_object_get(line, "iterateRecords");
    const char *theirs = get_text(t, "exception");
    struct batch_iter batches;
    struct record_iter it = { .rc = OK };
    struct record r;
    int64_t n = 0;
    bool known = strcmp(theirs, "InvalidRecordException") == 0 || strcmp(theirs, "CorruptRecordException") == 0;

    if (t == NULL)
        return;
    batch_iter_init(&batches, in);
    while (it.rc == OK && batch_iter_next(&batches)) {
        if (batches.head.magic < 2 && batch_check(&batches.head, batches.p) != OK) {
            it.rc = ERR_CORRUPT;
            break;
        }
        record_iter_init(&it, &batches.head, batches.p, SIZE_MAX);
        while (record_iter_next(&it, &r))
            n++;
        record_iter_fini(&it);
    }
    /* The fields of a plain old message are read by Java when they are asked for, by us at once. */
    if (!has(t, "exception") && it.rc == ERR_SHORT && batches.head.magic < 2)
        return;
    if (!has(t, "exception")) {
        same_i64("result of reading records", it.rc, OK);
        same_i64("records", n, get_int(t, "records"));
    } else if (it.rc == OK && get_int(line, "produceVersion") >= 3) {
        differ("records are read, but Kafka has %s", theirs);
    } else if (known && strcmp(exception_of(it.rc), theirs) != 0) {
        differ("reading records gives %s, Kafka has %s", err_name(it.rc), theirs);
    }
}

static void run_broker(const json_t *line, struct bytes in)
{
    json_t *t = json_object_get(line, "broker391"), *errors = json_object_get(t, "recordErrors");
    int64_t theirs = get_int(t, "errorCode");
    struct request_check check;
    struct validate_opts o;
    struct validate_result r = { .error = 0 };

    records_check_request((int16_t)get_int(line, "produceVersion"), in, &check);
    if (check.has_batch && batch_is_txn(&check.first))
        check.error = KERR_TXN_ID_DENIED;               /* these requests have no transactional id */
    if (check.error != 0) {
        same_i64("error of the request", check.error, theirs);
        return;
    }
    validate_opts_init(&o);
    o.compacted = json_is_true(json_object_get(line, "compactedTopic"));
    if (records_validate(&o, in, &arena, &r) != OK) {
        differ("out of memory");
        return;
    }
    if (r.error != theirs)
        differ("error is %d (%s), not %d", r.error, r.message != NULL ? r.message : "", (int)theirs);
    for (size_t i = 0; i < json_array_size(errors); i++)
        if (i >= r.n_record_errors || r.record_errors[i].batch_index != get_int(json_array_get(errors, i), "index"))
            differ("record error %zu differs", i);
    t = json_object_get(line, "logValidator");
    if (r.error == 0 && r.p != NULL && json_is_true(json_object_get(t, "accepted")) &&
        get_int(json_object_get(line, "iterateBatches"), "trailing") == 0)
        same_appended(t, &r);
}

static void run_invalid(const json_t *line)
{
    struct bytes in = get_hex(line, "hex");

    run_iterate(line, in);
    run_iterate_records(line, in);
    run_broker(line, in);
}

/* ---- single functions ---------------------------------------------------------------------------------------- */
static void run_murmur2(const json_t *line)
{
    struct bytes key = get_hex(line, "key");
    json_t *parts = json_object_get(line, "partition"), *v;
    const char *n;

    same_i64("murmur2", murmur2(key.p, key.len), get_int(line, "murmur2"));
    json_object_foreach(parts, n, v)
        same_i64(n, murmur2_partition(key.p, key.len, (int32_t)strtol(n, NULL, 10)), json_integer_value(v));
}

static void run_crc(const json_t *line)
{
    struct bytes in = get_hex(line, "hex");
    uint8_t *p;

    if (has(line, "generated")) {                       /* 1 MiB, byte i = (i * 31 + (i >> 8)) & 255 */
        in.len = (size_t)1 << 20;
        in.p = p = arena_alloc(&arena, in.len);
        for (size_t i = 0; p != NULL && i < in.len; i++)
            p[i] = (uint8_t)(i * 31 + (i >> 8));
    }
    same_i64("crc32c", crc32c(0, in.p, in.len), get_int(line, "crc32c"));
    same_i64("crc32", (int64_t)crc32_z(0, in.p, in.len), get_int(line, "crc32"));
}

static void run_varint(const json_t *line)
{
    int64_t v = get_int(line, "value");
    uint8_t b[10];
    struct bytes theirs = get_hex(line, "varlong");
    struct cursor c = cur_ro(theirs.p, theirs.len);

    same_bytes(line, "varlong", (struct bytes){ b, (size_t)(uvarlong_put(b, zigzag64(v)) - b) });
    same_i64("varlong", cur_varlong(&c), v);
    if (has(line, "unsignedVarlong"))
        same_bytes(line, "unsignedVarlong", (struct bytes){ b, (size_t)(uvarlong_put(b, (uint64_t)v) - b) });
    if (has(line, "varint"))
        same_bytes(line, "varint", (struct bytes){ b, (size_t)(uvarint_put(b, zigzag32((int32_t)v)) - b) });
}

static void same_plain(const json_t *line, const char *name, enum codec codec, int8_t magic)
{
    struct decomp *d;
    const uint8_t *p;
    size_t have;
    int rc;

    if (!has(line, name))
        return;
    if (decomp_open(&d, codec, magic, get_hex(line, name), SIZE_MAX) != OK)
        abort();
    rc = decomp_peek(d, SIZE_MAX, &p, &have);
    same_i64(name, rc, OK);
    same_i64("length", (int64_t)have, get_int(line, "length"));
    same_i64("crc32c", crc32c(0, p, have), get_int(line, "crc32c"));
    decomp_close(&d);
}

static void run_snappy(const json_t *line)
{
    same_plain(line, "xerial", CODEC_SNAPPY, 2);
    same_plain(line, "rawBlock", CODEC_SNAPPY, 2);
}

static void run_lz4(const json_t *line)
{
    same_plain(line, "magic0_brokenHeaderChecksum", CODEC_LZ4, 0);
    same_plain(line, "magic2", CODEC_LZ4, 2);
    same_plain(line, "magic2Level17", CODEC_LZ4, 2);
}

/* ---------------------------------------------------------------------------------------------------------------- */
static const struct kind {
    const char *field;
    void      (*run)(const json_t *line);
} kinds[] = {
    { "iterateBatches", run_invalid }, { "batches", run_records }, { "murmur2", run_murmur2 },
    { "varlong", run_varint }, { "xerial", run_snappy }, { "magic2", run_lz4 }, { "crc32", run_crc },
};

static void run_line(const json_t *line, unsigned number)
{
    static char number_text[32];
    size_t i = 0;

    snprintf(number_text, sizeof number_text, "line %u", number);
    line_id = has(line, "id") ? get_text(line, "id") : number_text;
    line_failed = false;
    while (i < sizeof kinds / sizeof kinds[0] && !has(line, kinds[i].field))
        i++;
    if (i < sizeof kinds / sizeof kinds[0])
        kinds[i].run(line);
    else
        differ("no known kind of vector");
    arena_reset(&arena);
    if (line_failed)
        n_failed++;
    else
        n_passed++;
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    char *text = NULL;
    size_t cap = 0;
    json_error_t why;

    if (f == NULL) {
        fprintf(stderr, "usage: record_vectors FILE (JSON lines)\n");
        return 2;
    }
    arena_init(&arena, SIZE_MAX / 2);
    for (unsigned number = 1; getline(&text, &cap, f) > 0; number++) {
        json_t *line = json_loads(text, 0, &why);

        if (line == NULL) {
            printf("line %u: %s\n", number, why.text);
            n_failed++;
            continue;
        }
        run_line(line, number);
        json_decref(line);
    }
    free(text);
    fclose(f);
    arena_fini(&arena);
    printf("%u passed, %u failed\n", n_passed, n_failed);
    return n_failed == 0 ? 0 : 1;
}
