/* tools/dump_log/index.c - dumping .index, .timeindex and .txnindex, and holding the first two against their .log. */
#include "tools/dump_log/dump.h"

#include "storage/index_file.h"
#include "storage/txn_index_file.h"

#include <inttypes.h>

/* The file beside `file` with another suffix, in the arena. */
static int sibling(struct dump *d, const char *file, const char *suffix, const char **out)
{
    const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    int         stem = (int)(name - file) + (int)strcspn(name, ".");

    *out = arena_printf(&d->arena, "%.*s%s", stem, file, suffix);
    return *out != NULL ? OK : dump_fail(d, ERR_NOMEM, "out of memory");
}

/* Bytes of an index, its base offset, and its .log opened. */
static int open_pair(struct dump *d, const char *file, int64_t *base, struct bytes *index, struct log_file *log)
{
    const char *log_name;

    TRY(dump_base_offset(d, file, base));
    TRY(dump_read_file(d, file, index));
    TRY(sibling(d, file, ".log", &log_name));
    return log_file_open(d, log, log_name, INT64_MAX);
}

static int sanity_check(struct dump *d, const char *file, bool sane)
{
    if (!sane)
        return dump_fail(d, ERR_CORRUPT, "Corrupt index found, index file (%s)", file);
    printf("%s passed sanity check.\n", file);
    return OK;
}

/* ---- .index ---- */

/* Last offset of the batch at a position, -1 when there is none. */
static int last_offset_at(struct dump *d, struct log_file *log, int64_t pos, int64_t *out)
{
    int rc;

    log->pos = pos;
    rc = log_file_next(d, log);
    *out = rc == OK ? log->head.last_offset : -1;
    return rc == ERR_NOENT || rc == ERR_CORRUPT ? OK : rc;
}

static int index_entries(struct dump *d, const char *file, int64_t base, struct bytes index, struct log_file *log)
{
    for (size_t i = 0; i < index.len / OFFSET_INDEX_ENTRY; i++) {
        struct offset_index_entry e = offset_index_get(index.p + i * OFFSET_INDEX_ENTRY, base);
        int64_t                   found;

        if (e.offset == base && i > 0)
            break;                      /* the zeros of a preallocated file */
        TRY(last_offset_at(d, log, e.pos, &found));
        if (found != e.offset)
            TRY(dump_fault_add(d, &d->index_mismatches, file, e.offset, found));
        if (!d->verify_only)
            printf("offset: %" PRId64 " position: %" PRIu32 "\n", e.offset, e.pos);
    }
    return OK;
}

int dump_index(struct dump *d, const char *file)
{
    struct log_file log;
    struct bytes    index;
    int64_t         base;
    int             rc;

    TRY(open_pair(d, file, &base, &index, &log));
    /* Kafka's index of an active segment is zeros behind its content, or zeros only. */
    if (offset_index_valid(index.p, index.len, log.size) == 0 && !d->sanity_only) {
        printf("%s is empty.\n", file);
        rc = OK;
    } else if (d->sanity_only) {
        size_t                    n = index.len / OFFSET_INDEX_ENTRY;
        struct offset_index_entry last = offset_index_get(index.p + (n - 1) * OFFSET_INDEX_ENTRY, base);
        rc = sanity_check(d, file, index.len % OFFSET_INDEX_ENTRY == 0 && last.offset >= base);
    } else {
        rc = index_entries(d, file, base, index, &log);
    }
    log_file_close(&log);
    return rc;
}

/* ---- .timeindex ---- */

/* Position where to begin to look for an offset: of the last index entry at or below it. */
static int64_t position_for(struct bytes index, int64_t base, int64_t offset)
{
    int64_t pos = 0;

    for (size_t i = 0; i < index.len / OFFSET_INDEX_ENTRY; i++) {
        struct offset_index_entry e = offset_index_get(index.p + i * OFFSET_INDEX_ENTRY, base);

        if ((e.offset == base && i > 0) || e.offset > offset)
            break;
        pos = e.pos;
    }
    return pos;
}

static int64_t max_timestamp(const struct log_file *log)
{
    struct record_iter it;
    struct record      r;
    int64_t            max = NO_TIMESTAMP;

    record_iter_init(&it, &log->head, log->buf, (size_t)4 << 30);
    while (record_iter_next(&it, &r))
        max = r.timestamp > max ? r.timestamp : max;
    record_iter_fini(&it);
    return max;
}

static int check_time_entry(struct dump *d, const char *file, struct log_file *log, struct time_index_entry e,
                            int64_t pos, int64_t before)
{
    int64_t max;
    int     rc;

    log->pos = pos;
    do
        rc = log_file_next(d, log);
    while (rc == OK && log->head.last_offset < e.offset);
    if (rc == ERR_NOENT || rc == ERR_CORRUPT)
        return dump_fault_add(d, &d->not_found, file, e.offset, -1);
    TRY(rc);
    if (log->head.last_offset != e.offset)
        return dump_fault_add(d, &d->not_found, file, e.offset, log->head.last_offset);
    max = max_timestamp(log);
    if (max != e.timestamp)
        TRY(dump_fault_add(d, &d->time_mismatches, file, e.timestamp, max));
    if (before >= e.timestamp)
        TRY(dump_fault_add(d, &d->time_disorder, file, e.timestamp, before));
    return OK;
}

static int time_entries(struct dump *d, const char *file, int64_t base, struct bytes times, struct bytes index,
                        struct log_file *log)
{
    int64_t before = NO_TIMESTAMP;

    for (size_t i = 0; i < times.len / TIME_INDEX_ENTRY; i++) {
        struct time_index_entry e = time_index_get(times.p + i * TIME_INDEX_ENTRY, base);

        if (e.offset == base && i > 0)
            break;
        TRY(check_time_entry(d, file, log, e, position_for(index, base, e.offset), before));
        if (!d->verify_only)
            printf("timestamp: %" PRId64 " offset: %" PRId64 "\n", e.timestamp, e.offset);
        before = e.timestamp;
    }
    return OK;
}

int dump_time_index(struct dump *d, const char *file)
{
    struct log_file log;
    struct bytes    times, index;
    const char     *index_name;
    int64_t         base;
    int             rc;

    TRY(open_pair(d, file, &base, &times, &log));
    rc = sibling(d, file, ".index", &index_name);
    if (rc == OK && d->sanity_only) {
        size_t                  n = times.len / TIME_INDEX_ENTRY;
        struct time_index_entry first = { 0, base }, last = first;

        if (n > 0) {
            first = time_index_get(times.p, base);
            last = time_index_get(times.p + (n - 1) * TIME_INDEX_ENTRY, base);
        }
        rc = sanity_check(d, file, times.len % TIME_INDEX_ENTRY == 0 && last.timestamp >= first.timestamp &&
                          last.offset >= base);
    } else if (rc == OK) {
        rc = dump_read_file(d, index_name, &index);
        if (rc == OK)
            rc = time_entries(d, file, base, times, index, &log);
    }
    log_file_close(&log);
    return rc;
}

/* ---- .txnindex ---- */

int dump_txn_index(struct dump *d, const char *file)
{
    struct txn_index_entry e;
    struct bytes           in;

    TRY(dump_read_file(d, file, &in));
    for (size_t at = 0; at + TXN_INDEX_ENTRY <= in.len; at += TXN_INDEX_ENTRY) {
        int16_t version = txn_index_get(in.p + at, &e);

        printf("version: %d producerId: %" PRId64 " firstOffset: %" PRId64 " lastOffset: %" PRId64
               " lastStableOffset: %" PRId64 "\n", version, e.producer_id, e.first_offset,
               e.last_offset, e.stable_offset);
    }
    return OK;
}
