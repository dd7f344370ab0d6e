/* broker/api/fetch_wait.c - a Fetch that waits for bytes (long poll). */
#include "broker/api/fetch_priv.h"
#include "proto/kerr.h"

/* A follower of so few gets its answer from who has appended: that costs less than to wake another thread for it. From
 * this version on records are sent as they are, whatever they are. */
#define FEW_PARTS     32
#define AS_IS_VERSION 10

/* Bytes that one partition has for the fetch by now; -1: there is something to be answered at once. */
static int64_t part_available(struct fetch *f, struct fetch_part *pt)
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
    /* A follower's high watermark comes after its leader's: who has read at the leader waits for it here. */
    if (it->offset > bound && it->offset <= now.leo && partition_standing(pt->p).role == ROLE_FOLLOWER)
        return 0;
    if (it->offset > bound || it->offset < now.start)
        return -1;
    if (fetch_is_throttled(f, pt))
        return 0;
    if (atomic_load_explicit(&pt->p->rolls, memory_order_relaxed) != pt->seen_rolls)
        return -1;
    n = pt->had_bytes + fetch_bytes_so_far(f, pt) - pt->seen_bytes;
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
        struct fetch_part *pt = &f->parts[i];

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

/* On an IO thread, or whichever has found that there is something for a follower. */
static void wait_finish(struct broker *b, struct request *r)
{
    struct fetch *f = r->state;

    (void)b;
    if (f->why == DELAYED_CLOSED) {
        fetch_abandon(&f->cx);
        fetch_drop_all(f);
        request_close(r, NULL);
        return;
    }
    for (size_t i = 0; i < f->cx.n; i++) {
        struct fetch_part *pt = &f->parts[i];

        if (pt->p != NULL && partition_standing(pt->p).role == ROLE_GONE) {
            partition_unref(&pt->p);
            fetch_find_part(f, pt);           /* deleted, and perhaps made anew */
        }
    }
    f->waited = true;
    fetch_read_all(f);
    fetch_answer(f);
}

static void wait_done(struct delayed *d, enum delayed_why why)
{
    struct fetch *f = (struct fetch *)d;

    f->why = why;
    if (why == DELAYED_READY && f->replica_id >= 0 && f->cx.n <= FEW_PARTS && f->r->version >= AS_IS_VERSION) {
        request_end_here(f->r);
        wait_finish(f->b, f->r);
    } else {
        request_resume(f->r, wait_finish);
    }
}

static void wait_closed(struct request *r, void *arg)
{
    (void)r;
    purgatory_end(arg, DELAYED_CLOSED);
}

int fetch_wait(struct fetch *f)
{
    struct watch *watches = arena_array(&f->r->arena, f->cx.n, sizeof *watches);
    size_t n = 0;

    if (watches == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->cx.n; i++)
        if (f->parts[i].p != NULL)
            watches[n++].list = f->replica_id >= 0 ? &f->parts[i].p->tails : &f->parts[i].p->fetches;
    fetch_drop_reads(f);
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
