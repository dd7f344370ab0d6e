/* storage/plog_append.c - the leader's append (invariants 5, 6 and 9).
 *
 * Everything that can be refused is refused, and everything that needs memory has it, before the first byte is
 * written; what follows the write cannot fail.
 */
#include "storage/plog_impl.h"

#include "storage/killpoint.h"
#include "storage/syncer.h"

/* What the append needs to know about the bytes, found before the lock is taken. */
struct chunk {
    struct batch_head head;             /* of the first batch */
    int64_t offsets;                    /* that the batches take up */
    size_t  batches;
    int64_t max_timestamp;              /* largest of the batches, and the number of offsets before ... */
    int64_t max_delta;                  /* ... the last record of the first batch that has it */
};

static int look_at(const struct plog_append *in, struct chunk *c)
{
    struct batch_iter it;

    *c = (struct chunk){ .max_timestamp = -1 };
    batch_iter_init(&it, (struct bytes){ in->p, in->len });
    while (batch_iter_next(&it)) {
        if (it.head.magic != BATCH_MAGIC_NOW || it.head.last_offset_delta < 0)
            return ERR_INVALID;
        if (c->batches++ == 0)
            c->head = it.head;
        c->offsets += (int64_t)it.head.last_offset_delta + 1;
        if (it.head.max_timestamp > c->max_timestamp) {
            c->max_timestamp = it.head.max_timestamp;
            c->max_delta = c->offsets - 1;
        }
        if (it.head.producer_id >= 0 && (c->batches > 1 || it.head.size_bytes != in->len))
            return ERR_INVALID;
    }
    return it.rc != OK || it.pos != in->len || c->batches == 0 ? ERR_INVALID : OK;
}

static void assign_offsets(const struct plog_append *in, int64_t base)
{
    struct batch_iter it;

    batch_iter_init(&it, (struct bytes){ in->p, in->len });
    while (batch_iter_next(&it)) {
        uint8_t *p = in->p + (it.p - (const uint8_t *)in->p);
        batch_set_base_offset(p, base);
        batch_set_leader_epoch(p, in->leader_epoch);
        base += (int64_t)it.head.last_offset_delta + 1;
    }
}

/* *done: the batch was there already, and out is filled in. */
static int check_producer(struct plog *l, const struct chunk *c, struct plog_appended *out)
{
    struct producer_batch dup;

    TRY(producers_check(&l->producers, c->head.producer_id, c->head.producer_epoch, c->head.base_sequence,
                        batch_last_sequence(&c->head), &out->duplicate, &dup));
    if (!out->duplicate)
        return OK;
    out->base_offset = dup.last_offset - dup.offset_delta;
    out->last_offset = dup.last_offset;
    out->timestamp = dup.timestamp;
    return OK;
}

/* An epoch that has no entry yet begins with this batch. */
static int note_epoch(struct plog *l, int32_t epoch, int64_t base)
{
    bool changed = false;
    int rc = OK;

    if (epoch < 0 || epoch <= epochs_latest(&l->epochs))
        return OK;
    lock_take(&l->view);
    rc = epochs_assign(&l->epochs, epoch, base, &changed);
    lock_drop(&l->view);
    if (changed)
        l->epochs_dirty = true;
    return rc;
}

static int roll_if_due(struct plog *l, const struct plog_append *in, const struct chunk *c, struct plog_appended *out)
{
    int64_t base = l->off.leo;

    TRY(plog_should_roll(l, in->len, c->max_timestamp, base + c->offsets - 1, &out->rolled));
    return out->rolled ? plog_roll(l, base) : OK;
}

static int write_chunk(struct plog *l, const struct plog_append *in, const struct chunk *c)
{
    struct plog_offsets to = OFFSETS_KEEP;
    struct segment *s = plog_active(l);
    int64_t base = l->off.leo, last = base + c->offsets - 1;
    struct batch_head h = c->head;
    int rc;

    TRY(segment_index_room(s));
    TRY(note_epoch(l, in->leader_epoch, base));
    if (h.producer_id >= 0)
        TRY(producers_reserve(&l->producers, h.producer_id));
    assign_offsets(in, base);
    rc = segment_write(s, in->p, in->len);
    if (h.producer_id >= 0) {
        h.base_offset = base;
        h.last_offset = last;
        if (rc == OK)
            producers_apply(&l->producers, &h);
        else
            producers_unreserve(&l->producers, h.producer_id);
    }
    TRY(rc);
    to.leo = last + 1;
    lock_take(&l->view);
    segment_publish(s, (uint32_t)in->len, last, c->max_timestamp, base + c->max_delta, l->opts.index_interval_bytes);
    l->size_bytes += (int64_t)in->len;
    offsets_move(l, to);
    lock_drop(&l->view);
    KILL_POINT("append.published");
    return OK;
}

int plog_append(struct plog *l, const struct plog_append *in, struct plog_appended *out)
{
    struct chunk c;
    int rc;

    *out = (struct plog_appended){ .base_offset = -1, .last_offset = -1, .timestamp = -1 };
    TRY(look_at(in, &c));
    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && in->len > (size_t)l->opts.segment_bytes)
        rc = ERR_LIMIT;
    if (rc == OK && c.head.producer_id >= 0)
        rc = check_producer(l, &c, out);
    if (rc == OK && !out->duplicate) {
        rc = roll_if_due(l, in, &c, out);
        if (rc == OK) {
            out->base_offset = l->off.leo;
            out->last_offset = l->off.leo + c.offsets - 1;
            rc = write_chunk(l, in, &c);
        }
        rc = plog_check(l, rc, "append");
        if (rc == OK)
            syncer_note(l->dir->syncer, l, l->dir->opts.sync_checkpoint_ms, true);
    }
    out->offsets = plog_offsets(l);
    lock_drop(&l->lock);
    return rc;
}
