/* broker/api/fetch_read.c - the reads of a Fetch, within its limits. */
#include "base/clock.h"
#include "broker/api/fetch_priv.h"
#include "broker/replica/leader.h"
#include "broker/replica/quota.h"
#include "proto/kerr.h"

void fetch_find_part(struct fetch *f, struct fetch_part *pt)
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

int fetch_find_parts(struct fetch *f)
{
    f->parts = arena_array(&f->r->arena, f->cx.n, sizeof *f->parts);
    if (f->parts == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++) {
        f->parts[i].item = &f->cx.items[i];
        fetch_find_part(f, &f->parts[i]);
        f->interesting += !f->parts[i].unknown;
    }
    return OK;
}

/* May the follower read, and what does its asking tell? A fetch that has waited tells nothing new. */
static int16_t hear_follower(const struct fetch *f, const struct fetch_part *pt)
{
    const struct fetch_item *it = pt->item;
    struct follower_fetch in = { .id = f->replica_id, .broker_epoch = f->replica_epoch,
                                 .leader_epoch = it->leader_epoch, .last_epoch = it->last_epoch,
                                 .offset = it->offset, .log_start = it->follower_start, .now_ms = f->came_ms };

    return f->waited ? partition_follower_known(pt->p, f->replica_id, it->leader_epoch)
                     : partition_follower_fetched(pt->p, &in);
}

/* Would the client take the first batch of the answer, which only our own limit has cut? */
static bool cut_by_us(const struct fetch *f, const struct fetch_part *pt)
{
    int64_t whole = (int64_t)pt->io.read.first_batch_bytes;

    return f->hard_limit && f->bytes == 0 && pt->io.read.records.len < pt->io.read.first_batch_bytes &&
           whole <= pt->item->max_bytes && whole <= f->client_max_bytes;
}

#define READ_TRIES 8                    /* while the cleaner replaces under us what is read */

/* The error of the aborted transactions of what was read. KERR_NONE and *again: others are there now than were read. */
static int16_t find_aborted(struct fetch *f, struct fetch_part *pt, bool *again)
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
static int16_t read_whole(struct fetch *f, struct fetch_part *pt)
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

int64_t fetch_bytes_so_far(const struct fetch *f, const struct fetch_part *pt)
{
    return atomic_load_explicit(f->isolation == ISOLATION_LEO ? &pt->p->appended_bytes : &pt->p->committed_bytes,
                                memory_order_relaxed);
}

bool fetch_is_throttled(const struct fetch *f, const struct fetch_part *pt)
{
    return f->replica_id >= 0 && atomic_load_explicit(&pt->p->leader_throttled, memory_order_relaxed) &&
           repl_quota_exceeded(replicas_leader_quota(f->b->replicas), mono_ms()) &&
           !partition_in_isr(pt->p, f->replica_id);
}

/* The records stay here, but the follower learns of the offsets. */
static void hold_back(struct fetch_part *pt)
{
    struct plog_offsets offsets = pt->io.read.offsets;

    plog_read_done(&pt->io.read);
    pt->io.read = (struct plog_read){ .segment_base = -1, .offsets = offsets };
}

/* Another replica is better for this consumer: it is told so, and gets nothing here. */
static int16_t send_elsewhere(struct fetch_part *pt)
{
    int16_t kerr = partition_check(pt->p, pt->item->leader_epoch, false);

    pt->io.read = (struct plog_read){ .segment_base = -1, .offsets = partition_offsets(pt->p) };
    return kerr;
}

static int16_t read_part(struct fetch *f, struct fetch_part *pt, int64_t limit, bool at_least_one)
{
    const struct fetch_item *it = pt->item;
    struct uuid known = partition_topic_id(pt->p);
    int16_t kerr = KERR_NONE;

    if (!uuid_is_zero(it->topic_id) && !uuid_is_zero(known) && !uuid_eq(it->topic_id, known))
        return KERR_INCONSISTENT_TOPIC_ID;
    if (f->replica_id >= 0)
        kerr = hear_follower(f, pt);
    if (kerr != KERR_NONE)
        return kerr;
    pt->preferred = f->replica_id < 0 && f->r->version >= 11
                    ? replicas_preferred(f->b->replicas, pt->p, f->r->listener, f->in.rack_id, it->offset) : -1;
    if (pt->preferred >= 0)
        return send_elsewhere(pt);
    pt->seen_bytes = fetch_bytes_so_far(f, pt);
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
    if (kerr == KERR_NONE && pt->io.read.records.len > 0 && fetch_is_throttled(f, pt))
        hold_back(pt);
    return kerr;
}

void fetch_read_all(struct fetch *f)
{
    int64_t limit = f->max_bytes;
    bool at_least_one = !f->hard_limit;

    f->bytes = 0;
    f->must_answer = false;
    for (size_t i = 0; i < f->cx.n; i++) {
        struct fetch_part *pt = &f->parts[i];

        pt->io.diverging = (struct plog_epoch_end){ -1, -1 };
        pt->had_bytes = 0;
        pt->preferred = -1;
        if (pt->p != NULL)
            pt->error = read_part(f, pt, limit, at_least_one);
        if (pt->unknown)
            continue;
        if (pt->error != KERR_NONE || pt->io.diverging.end_offset >= 0 || pt->preferred >= 0)
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

void fetch_drop_reads(struct fetch *f)
{
    for (size_t i = 0; i < f->cx.n; i++)
        if (!slice_is_null(f->parts[i].io.read.records))
            plog_read_done(&f->parts[i].io.read);
}

void fetch_drop_all(struct fetch *f)
{
    if (f->parts == NULL)
        return;
    fetch_drop_reads(f);
    for (size_t i = 0; i < f->cx.n; i++)
        partition_unref(&f->parts[i].p);
}
