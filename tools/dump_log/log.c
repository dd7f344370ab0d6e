/* tools/dump_log/log.c - dumping .log files: batches, and the records in them. */
#include "tools/dump_log/dump.h"

#include "proto/compress/compress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DECOMPRESSED_MAX ((size_t)4 << 30)      /* of one batch: an honest one is far below */
#define LEGACY_HEAD      17                     /* offset, size, crc, magic of a message */

/* ---- batches ---- */

int log_file_open(struct dump *d, struct log_file *f, const char *file, int64_t max_bytes)
{
    struct stat st;

    *f = (struct log_file){ .name = file, .fd = open(file, O_RDONLY | O_CLOEXEC) };
    if (f->fd < 0)
        return dump_fail(d, err_from_errno(errno), "%s: %s", file, strerror(errno));
    if (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        log_file_close(f);
        return dump_fail(d, ERR_IO, "%s: not a file", file);
    }
    f->size = st.st_size < max_bytes ? st.st_size : max_bytes;
    return OK;
}

void log_file_close(struct log_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    free(f->buf);
    f->buf = NULL;
}

/* n bytes at pos into f->buf; fewer only when the file has become shorter. */
static int log_file_read(struct dump *d, struct log_file *f, size_t n, size_t *got)
{
    if (n > f->cap) {
        uint8_t *buf = realloc(f->buf, n + n / 2);
        if (buf == NULL)
            return dump_fail(d, ERR_NOMEM, "%s: out of memory for a batch of %zu bytes", f->name, n);
        f->buf = buf;
        f->cap = n + n / 2;
    }
    for (*got = 0; *got < n;) {
        ssize_t k = pread(f->fd, f->buf + *got, n - *got, (off_t)f->pos + (off_t)*got);
        if (k < 0 && errno != EINTR)
            return dump_fail(d, err_from_errno(errno), "%s: %s", f->name, strerror(errno));
        if (k == 0)
            break;
        *got += k > 0 ? (size_t)k : 0;
    }
    return OK;
}

int log_file_next(struct dump *d, struct log_file *f)
{
    int64_t left = f->size - f->pos;
    size_t  got, n = left < BATCH_HEAD_BYTES ? (size_t)left : BATCH_HEAD_BYTES;
    int     rc;

    if (left <= 0)
        return ERR_NOENT;
    TRY(log_file_read(d, f, n, &got));
    rc = batch_head_read(&f->head, f->buf, got);
    if (rc != OK)
        return rc == ERR_SHORT ? ERR_NOENT : rc;
    if ((int64_t)f->head.size_bytes > left)
        return ERR_NOENT;
    TRY(log_file_read(d, f, f->head.size_bytes, &got));
    if (got < f->head.size_bytes)
        return ERR_NOENT;
    f->pos += f->head.size_bytes;
    return OK;
}

static const char *timestamp_type(const struct batch_head *h)
{
    return h->magic == 0 ? "NoTimestampType" : batch_is_append_time(h) ? "LogAppendTime" : "CreateTime";
}

static const char *true_false(bool b)
{
    return b ? "true" : "false";
}

static void print_batch(const struct batch_head *h, const uint8_t *p, int64_t pos)
{
    if (h->magic >= 2) {
        printf("baseOffset: %" PRId64 " lastOffset: %" PRId64 " count: %d baseSequence: %d lastSequence: %d "
               "producerId: %" PRId64 " producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %s isControl: %s "
               "deleteHorizonMs: ", h->base_offset, h->last_offset, h->count, h->base_sequence, batch_last_sequence(h),
               h->producer_id, h->producer_epoch, h->leader_epoch, true_false(batch_is_txn(h)),
               true_false(batch_is_control(h)));
        if (batch_has_horizon(h))
            printf("OptionalLong[%" PRId64 "]", h->base_timestamp);
        else
            fputs("OptionalLong.empty", stdout);
    } else {
        printf("offset: %" PRId64, h->last_offset);
    }
    printf(" position: %" PRId64 " %s: %" PRId64 " size: %u magic: %d compresscodec: %s crc: %u isvalid: %s\n", pos,
           timestamp_type(h), h->max_timestamp, h->size_bytes, h->magic, codec_name(batch_codec(h)), h->crc,
           true_false(batch_check(h, p) == OK));
}

/* ---- records ---- */

static void print_decoded(enum dump_decoder how, struct bytes b)
{
    if (how == DECODE_LONG && b.len == 8)
        printf("%" PRId64, (int64_t)be_get64(b.p));
    else if (how == DECODE_INTEGER && b.len == 4)
        printf("%" PRId32, (int32_t)be_get32(b.p));
    else if (b.len > 0)
        fwrite(b.p, 1, b.len, stdout);
}

static void print_header_keys(const struct record *r)
{
    struct cursor c = cur_ro(r->headers.p, r->headers.len);

    fputs(" headerKeys: [", stdout);
    for (int32_t i = 0; i < r->n_headers; i++) {
        struct record_header h = record_header_next(&c);
        printf("%s%.*s", i > 0 ? "," : "", STR_ARG(h.key));
    }
    putchar(']');
}

static void print_control(const struct record *r)
{
    struct control_record c;

    if (control_record_read(r, &c) != OK)
        fputs(" controlType: UNKNOWN(-1)", stdout);
    else if (c.type == CONTROL_ABORT || c.type == CONTROL_COMMIT)
        printf(" endTxnMarker: %s coordinatorEpoch: %d", c.type == CONTROL_COMMIT ? "COMMIT" : "ABORT",
               c.coordinator_epoch);
    else
        printf(" controlType: UNKNOWN(%d)", c.type);
}

/* What magic 0 and 1 have for each message; the brace at the end is Kafka's. */
static void print_legacy_crc(const struct log_file *f, const uint32_t *crcs, size_t i)
{
    if (crcs == NULL)
        printf(" isValid: %s crc: %u}", true_false(batch_check(&f->head, f->buf) == OK), f->head.crc);
    else
        printf(" isValid: true crc: %u}", crcs[i]);
}

static void print_record(const struct dump *d, const struct log_file *f, const struct record *r, const uint32_t *crcs,
                         size_t i)
{
    const struct batch_head *h = &f->head;
    const char              *prefix = "| ";

    if (!d->skip_metadata) {
        printf("| offset: %" PRId64 " %s: %" PRId64 " keySize: %d valueSize: %d", r->offset, timestamp_type(h),
               r->timestamp, r->key.p != NULL ? (int)r->key.len : -1, r->value.p != NULL ? (int)r->value.len : -1);
        prefix = " ";
        if (h->magic >= 2) {
            printf(" sequence: %d", h->base_sequence == -1 ? -1
                   : sequence_add(h->base_sequence, (int32_t)(r->offset - h->base_offset)));
            print_header_keys(r);
        } else {
            print_legacy_crc(f, crcs, i);
        }
        if (batch_is_control(h))
            print_control(r);
    }
    if (d->topic != TOPIC_ANY && !batch_is_control(h)) {
        dump_decode(d->topic, r, prefix);
    } else if (d->print_data && !batch_is_control(h)) {
        if (r->key.p != NULL) {
            printf("%skey: ", prefix);
            print_decoded(d->key_decoder, r->key);
        }
        if (r->value.p != NULL) {
            fputs(" payload: ", stdout);
            print_decoded(d->value_decoder, r->value);
        }
    }
    putchar('\n');
}

/* The CRC fields of the messages inside a compressed one, which the record iterator checks but does not give.
 * NULL: the messages are not inside another. Whatever cannot be read shows up when the records are read. */
static uint32_t *inner_crcs(const struct log_file *f, size_t *n)
{
    const struct batch_head *h = &f->head;
    size_t                   head = h->magic == 0 ? BATCH_HEAD_V0_BYTES : BATCH_HEAD_V1_BYTES, have, cap = 0;
    struct cursor            c = cur_ro(f->buf + head, h->size_bytes - head);
    struct decomp           *z = NULL;
    uint32_t                *v = NULL;
    const uint8_t           *p;
    int32_t                  key_len;

    *n = 0;
    if (h->magic >= 2 || batch_codec(h) == CODEC_NONE)
        return NULL;
    key_len = cur_i32(&c);
    cur_take(&c, key_len > 0 ? (size_t)key_len : 0);
    (void)cur_i32(&c);
    if (c.rc != OK || decomp_open(&z, batch_codec(h), h->magic, (struct bytes){ c.p, cur_left(&c) },
                                  DECOMPRESSED_MAX) != OK)
        return calloc(1, sizeof *v);
    while (decomp_peek(z, LEGACY_HEAD, &p, &have) == OK && have >= LEGACY_HEAD) {
        size_t skip = 12 + (size_t)be_get32(p + 8), skipped;

        if (*n == cap) {
            uint32_t *more = reallocarray(v, cap * 2 + 64, sizeof *v);
            if (more == NULL)
                break;
            v = more;
            cap = cap * 2 + 64;
        }
        v[(*n)++] = be_get32(p + 12);
        if (decomp_skip(z, skip, &skipped) != OK || skipped < skip)
            break;
    }
    decomp_close(&z);
    return v != NULL ? v : calloc(1, sizeof *v);
}

static int dump_records(struct dump *d, const struct log_file *f, int64_t *last_offset)
{
    struct record_iter it;
    struct record      r;
    size_t             crcs_n, i = 0;
    uint32_t          *crcs = inner_crcs(f, &crcs_n);
    int                rc = OK;

    record_iter_init(&it, &f->head, f->buf, DECOMPRESSED_MAX);
    while (rc == OK && record_iter_next(&it, &r)) {
        if (*last_offset != -1 && r.offset != *last_offset + 1)
            rc = dump_fault_add(d, &d->gaps, f->name, *last_offset, r.offset);
        *last_offset = r.offset;
        print_record(d, f, &r, crcs, i < crcs_n ? i : 0);
        i++;
    }
    if (rc == OK && it.rc != OK) {
        fflush(stdout);
        fprintf(stderr, "%s: the records of the batch at offset %" PRId64 " cannot be read: %s\n", f->name,
                f->head.base_offset, err_text(it.rc));
    }
    record_iter_fini(&it);
    free(crcs);
    return rc;
}

int dump_log(struct dump *d, const char *file)
{
    struct log_file f;
    const char     *slash = strrchr(file, '/');
    int64_t         base, last_offset = -1;
    int             rc;

    TRY(dump_base_offset(d, file, &base));
    printf("Log starting offset: %" PRId64 "\n", base);
    TRY(log_file_open(d, &f, file, d->max_bytes));
    while ((rc = log_file_next(d, &f)) == OK) {
        print_batch(&f.head, f.buf, f.pos - f.head.size_bytes);
        if (d->deep && (rc = dump_records(d, &f, &last_offset)) != OK)
            break;
    }
    if (rc == ERR_NOENT || rc == ERR_CORRUPT) {
        if (f.size > f.pos && d->max_bytes == INT32_MAX)
            printf("Found %" PRId64 " invalid bytes at the end of %s\n", f.size - f.pos,
                   slash != NULL ? slash + 1 : file);
        rc = OK;
    }
    log_file_close(&f);
    return rc;
}
