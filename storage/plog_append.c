/* storage/plog_append.c - the leader's append and the follower's (invariants 5, 6 and 9).
 *
 * Everything that can be refused is refused, and everything that needs memory has it, before the first byte is
 * written; what follows the write cannot fail.
 */
#include "storage/plog_impl.h"

#include "base/log.h"
#include "storage/killpoint.h"

/* What the append needs to know about the bytes, found before the lock is taken. The leader's offsets count from 0 here
 * and get the log end added; a follower's are final. */
struct chunk {
    uint8_t *p;
    size_t   len;
    struct batch_head head;             /* of the first batch */
    int64_t  first;                     /* offset of the first record; -1 not known (a wrapper of magic 0 or 1) */
    int64_t  last;
    size_t   batches;
    int64_t  max_timestamp;             /* largest of the batches, -1 none, and ... */
    int64_t  max_offset;                /* ... the last record of the first batch that has it */
    bool     producers;                 /* some batch has a producer id */
    size_t   markers;                   /* control batches */
    struct control_record marker;       /* the leader's, if there is one */
};

static void chunk_init(struct chunk *c, uint8_t *p)
{
    *c = (struct chunk){ .p = p, .first = -1, .last = -1, .max_timestamp = -1 };
}

static void chunk_add(struct chunk *c, const struct batch_head *h, int64_t last)
{
    if (c->batches++ == 0) {
        c->head = *h;
        c->first = h->magic < BATCH_MAGIC_NOW ? h->base_offset : last - h->last_offset_delta;
    }
    c->len += h->size_bytes;
    c->last = last;
    c->producers |= h->producer_id >= 0;
    c->markers += batch_is_control(h);
    if (h->max_timestamp > c->max_timestamp) {
        c->max_timestamp = h->max_timestamp;
        c->max_offset = last;
    }
}

/* What a coordinator writes to end a transaction. */
static int check_marker(const struct plog_append *in, const struct batch_head *h, struct control_record *marker)
{
    int rc;

    if (in->origin != APPEND_COORDINATOR || h->size_bytes != in->len || !batch_is_txn(h) || h->producer_id < 0)
        return ERR_INVALID;
    rc = control_batch_read(h, in->p, marker);
    if (rc != OK)
        return rc == ERR_NOMEM ? rc : ERR_INVALID;
    return marker->type == CONTROL_ABORT || marker->type == CONTROL_COMMIT ? OK : ERR_INVALID;
}

/* The leader's batches: of v2 only the deltas count, v0 and v1 are numbered from 0. */
static int look_at(const struct plog_append *in, struct chunk *c)
{
    struct batch_iter it;

    chunk_init(c, in->p);
    batch_iter_init(&it, (struct bytes){ in->p, in->len });
    while (batch_iter_next(&it)) {
        const struct batch_head *h = &it.head;
        int64_t last = h->magic < BATCH_MAGIC_NOW ? h->last_offset : c->last + 1 + h->last_offset_delta;
        if (h->last_offset_delta < 0 || last <= c->last)
            return ERR_INVALID;
        chunk_add(c, h, last);
        if (c->producers && h->size_bytes != in->len)
            return ERR_INVALID;         /* a producer sends one batch at a time */
    }
    if (c->markers > 0 && it.rc == OK)
        TRY(check_marker(in, &c->head, &c->marker));
    c->first = 0;
    return it.rc != OK || it.pos != in->len || c->batches == 0 || c->last >= INT32_MAX ? ERR_INVALID : OK;
}

static void assign_offsets(struct chunk *c, int64_t base, int32_t leader_epoch)
{
    struct batch_iter it;
    int64_t next = base;

    batch_iter_init(&it, (struct bytes){ c->p, c->len });
    while (batch_iter_next(&it)) {
        uint8_t *p = c->p + (it.p - (const uint8_t *)c->p);
        if (it.head.magic < BATCH_MAGIC_NOW) {
            batch_set_base_offset(p, base + it.head.last_offset);
            continue;
        }
        batch_set_base_offset(p, next);
        batch_set_leader_epoch(p, leader_epoch);
        next += (int64_t)it.head.last_offset_delta + 1;
    }
    c->first += base;
    c->last += base;
    c->max_offset += base;
}

/* *done: the batch was there already, and out is filled in. */
static int check_producer(struct plog *l, const struct chunk *c, const struct plog_append *in,
                          struct plog_appended *out)
{
    struct producer_batch dup;

    if (in->origin == APPEND_COORDINATOR)
        return producers_check_coordinator(&l->producers, &c->head, c->markers > 0 ? &c->marker : NULL);
    if (in->refused && c->head.base_sequence > in->refused_sequence &&
        !producers_knows(&l->producers, c->head.producer_id))
        return ERR_SEQUENCE;
    TRY(producers_check(&l->producers, &c->head, &out->duplicate, &dup));
    if (!out->duplicate)
        return OK;
    out->base_offset = dup.last_offset - dup.offset_delta;
    out->last_offset = dup.last_offset;
    out->timestamp = dup.timestamp;
    return OK;
}

/* ---- what both appends do -------------------------------------------------------------------------------------- */

/* An epoch that has no entry yet begins with its first batch. Batches of the old formats have none, and with them in
 * the log the entries there were say nothing of its end any more. */
static int note_epochs(struct plog *l, const struct chunk *c)
{
    struct batch_iter it;
    int rc = OK;

    batch_iter_init(&it, (struct bytes){ c->p, c->len });
    while (rc == OK && batch_iter_next(&it)) {
        bool changed = false;
        if (it.head.magic >= BATCH_MAGIC_NOW && it.head.leader_epoch <= epochs_latest(&l->epochs))
            continue;
        lock_take(&l->view);
        if (it.head.magic >= BATCH_MAGIC_NOW)
            rc = epochs_assign(&l->epochs, it.head.leader_epoch, it.head.base_offset, &changed);
        else
            changed = epochs_truncate_end(&l->epochs, 0);
        lock_drop(&l->view);
        l->epochs_dirty |= changed;
    }
    return rc;
}

/* Room for every producer of the chunk, so that nothing can fail once the bytes are in the log. */
static int reserve_producers(struct plog *l, const struct chunk *c)
{
    struct control_record marker;
    struct batch_iter it;
    int rc = OK;

    if (!c->producers)
        return OK;
    batch_iter_init(&it, (struct bytes){ c->p, c->len });
    while (rc == OK && batch_iter_next(&it)) {
        if (it.head.producer_id < 0)
            continue;
        rc = producers_reserve(&l->producers, it.head.producer_id);
        if (rc == OK && batch_is_control(&it.head)) {
            rc = control_batch_read(&it.head, it.p, &marker);
            rc = rc == ERR_NOENT ? OK : rc;
        }
    }
    return rc;
}

/* rc OK: the batches are in the log. Else what was reserved for them is given back. */
static int settle_producers(struct plog *l, struct segment *s, const struct chunk *c, int rc)
{
    struct batch_iter it;

    if (!c->producers)
        return rc;
    batch_iter_init(&it, (struct bytes){ c->p, c->len });
    while (batch_iter_next(&it)) {
        if (it.head.producer_id >= 0 && rc == OK)
            rc = plog_txn_take(l, s, &it.head, it.p);   /* room is there, and markers were read */
        if (it.head.producer_id >= 0 && (rc != OK || batch_is_control(&it.head)))
            producers_unreserve(&l->producers, it.head.producer_id);    /* an emptied control batch tells nothing */
    }
    return rc;
}

static int write_chunk(struct plog *l, const struct chunk *c)
{
    struct plog_offsets to = OFFSETS_KEEP;
    struct segment *s = plog_active(l);
    int rc;

    TRY(segment_index_room(s));
    TRY(note_epochs(l, c));
    rc = reserve_producers(l, c);
    if (rc == OK && c->markers > 0)
        rc = plog_txn_room(l, s, c->markers);
    if (rc == OK)
        rc = segment_write(s, c->p, c->len);
    TRY(settle_producers(l, s, c, rc));
    to.leo = c->last + 1;
    lock_take(&l->view);
    segment_publish(s, (uint32_t)c->len, c->last, c->max_timestamp, c->max_offset, l->opts.index_interval_bytes);
    l->size_bytes += (int64_t)c->len;
    offsets_move(l, to);
    lock_drop(&l->view);
    KILL_POINT("append.published");
    return OK;
}

/* Where a segment that must begin before this chunk begins. The old formats do not always tell their first offset. */
static int64_t roll_base(const struct plog *l, const struct chunk *c)
{
    int64_t low = c->last - INT32_MAX;

    if (c->first >= 0)
        return c->first;
    return l->off.leo > low ? l->off.leo : low;
}

static int roll_if_due(struct plog *l, const struct chunk *c, struct plog_appended *out)
{
    bool yes;

    TRY(plog_should_roll(l, c->len, c->max_timestamp, c->last, &yes));
    out->rolled |= yes;
    return yes ? plog_roll(l, roll_base(l, c)) : OK;
}

static int append_chunk(struct plog *l, const struct chunk *c, struct plog_appended *out)
{
    TRY(roll_if_due(l, c, out));
    TRY(write_chunk(l, c));
    if (out->base_offset < 0)
        out->base_offset = c->first;
    out->last_offset = c->last;
    return OK;
}

/* ---- the leader's append --------------------------------------------------------------------------------------- */

/* Free bytes are more than the limit, but fewer than these records need. */
static void tell_no_room(const struct plog *l, size_t len)
{
    static struct log_limit limit = LOG_LIMIT(60000, 2);
    int hidden;

    if (log_limit(&limit, &hidden))
        log_error("%s: %s: %zu bytes of records were refused, the disk has no room for them (%d more refusals were not "
                  "told); delete topics or records, shorten retention, or make the disk larger", l->dir->path,
                  l->name, len, hidden);
}

static int lead(struct plog *l, const struct plog_append *in, struct chunk *c, struct plog_appended *out)
{
    int rc;

    TRY(plog_usable(l));
    if (in->len > (size_t)l->opts.segment_bytes)
        return ERR_LIMIT;
    if (in->fixed_base && in->base_offset != l->off.leo)
        return ERR_BUSY;
    if (c->producers)
        TRY(check_producer(l, c, in, out));
    if (out->duplicate)
        return OK;
    if (in->origin == APPEND_CLIENT && space_full(l->dir))
        return ERR_NOSPACE;
    assign_offsets(c, l->off.leo, in->leader_epoch);
    rc = plog_check(l, append_chunk(l, c, out), "append");
    if (rc == ERR_NOSPACE)
        tell_no_room(l, c->len);
    TRY(rc);
    plog_note_append(l);
    return OK;
}

int plog_append(struct plog *l, const struct plog_append *in, struct plog_appended *out)
{
    struct chunk c;
    int rc;

    *out = (struct plog_appended){ .base_offset = -1, .last_offset = -1, .timestamp = -1 };
    TRY(look_at(in, &c));
    lock_take(&l->lock);
    rc = lead(l, in, &c, out);
    out->offsets = plog_offsets(l);
    out->held = out->last_offset >= l->safe;
    lock_drop(&l->lock);
    return rc;
}

/* ---- the follower's append ------------------------------------------------------------------------------------- */

/* The leader's bytes are whole batches, each sound, in rising order: all this before the lock. */
static int check_copy(struct bytes in)
{
    struct batch_iter it;
    int64_t last = -1;

    batch_iter_init(&it, in);
    while (batch_iter_next(&it)) {
        const struct batch_head *h = &it.head;
        int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;
        if (first <= last || h->last_offset < first || h->last_offset - first > INT32_MAX ||
            h->last_offset > OFFSET_LIMIT)
            return ERR_INVALID;
        TRY(batch_check(h, it.p));
        last = h->last_offset;
    }
    return it.rc != OK || it.pos != in.len || last < 0 ? ERR_INVALID : OK;
}

/* The longest run of batches from *pos on that goes into one segment; at least one. */
static void next_run(const struct plog *l, struct bytes in, size_t *pos, struct chunk *c)
{
    struct batch_iter it;

    chunk_init(c, (uint8_t *)(uintptr_t)in.p + *pos);   /* read only: a copy is written as it came */
    batch_iter_init(&it, (struct bytes){ (const uint8_t *)in.p + *pos, in.len - *pos });
    while (batch_iter_next(&it)) {
        const struct batch_head *h = &it.head;
        bool fits = c->len + h->size_bytes <= (size_t)l->opts.segment_bytes &&
                    (c->first < 0 || h->last_offset - c->first <= INT32_MAX);
        if (c->batches > 0 && !fits)
            break;
        chunk_add(c, h, h->last_offset);
    }
    *pos += c->len;
}

static int follow(struct plog *l, struct bytes in, struct plog_appended *out)
{
    struct chunk c;
    int rc;

    TRY(plog_usable(l));
    if (space_full(l->dir) && (!l->opts.of_coordinators || plog_is_future(l)))
        return ERR_NOSPACE;
    rc = OK;
    for (size_t pos = 0; rc == OK && pos < in.len;) {
        next_run(l, in, &pos, &c);
        if ((c.first >= 0 ? c.first : c.last) < l->off.leo)
            rc = ERR_RANGE;
        else
            rc = plog_check(l, append_chunk(l, &c, out), "append");
    }
    if (out->last_offset >= 0)
        plog_note_append(l);            /* what came before a failure stays in the log */
    return rc;
}

int plog_append_follower(struct plog *l, struct bytes in, struct plog_appended *out)
{
    int rc;

    *out = (struct plog_appended){ .base_offset = -1, .last_offset = -1, .timestamp = -1 };
    TRY(check_copy(in));
    lock_take(&l->lock);
    rc = follow(l, in, out);
    out->offsets = plog_offsets(l);
    out->held = out->last_offset >= l->safe;
    lock_drop(&l->lock);
    return rc;
}
