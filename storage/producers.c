/* storage/producers.c - idempotent and transactional producers of one log. */
#define HASH_NONFATAL_OOM 1
#include "storage/producers.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

struct producer {
    int64_t id;
    int64_t last_timestamp;
    int64_t txn_first_offset;           /* -1: no open transaction */
    int32_t coordinator_epoch;          /* -1: no marker seen */
    int16_t epoch;                      /* -1: nothing recorded yet */
    uint8_t n;                          /* batches in b */
    bool    resting;
    struct producer_batch b[PRODUCER_WINDOW];       /* oldest first */
    struct producer *prev, *next;       /* in producers.open */
    UT_hash_handle hh;
};

static struct producer *find(const struct producers *ps, int64_t id)
{
    struct producer *p;

    HASH_FIND(hh, ps->table, &id, sizeof id, p);
    return p;
}

static void open_txn(struct producers *ps, struct producer *p, int64_t first_offset)
{
    struct producer *after = ps->open != NULL ? ps->open->prev : NULL;      /* the last */

    p->txn_first_offset = first_offset;
    if (after == NULL || after->txn_first_offset <= first_offset) {
        DL_APPEND(ps->open, p);
        return;
    }
    while (after != ps->open && after->prev->txn_first_offset > first_offset)
        after = after->prev;
    DL_PREPEND_ELEM(ps->open, after, p);
}

static void close_txn(struct producers *ps, struct producer *p)
{
    if (p->txn_first_offset < 0)
        return;
    p->txn_first_offset = -1;
    DL_DELETE(ps->open, p);
}

static void forget(struct producers *ps, struct producer *p)
{
    close_txn(ps, p);
    HASH_DELETE(hh, ps->table, p);
    free(p);
}

void producers_fini(struct producers *ps)
{
    struct producer *p, *tmp;

    HASH_ITER(hh, ps->table, p, tmp)
        forget(ps, p);
}

size_t producers_count(const struct producers *ps)
{
    return HASH_COUNT(ps->table);
}

int64_t producers_first_open(const struct producers *ps)
{
    return ps->open != NULL ? ps->open->txn_first_offset : -1;
}

static int32_t first_sequence(const struct producer_batch *b)
{
    int64_t s = (int64_t)b->last_sequence - b->offset_delta;

    return (int32_t)(s >= 0 ? s : s + INT32_MAX + 1);
}

static bool find_duplicate(const struct producer *p, int32_t base_sequence, int32_t last_sequence,
                           struct producer_batch *dup)
{
    for (unsigned i = 0; i < p->n; i++) {
        if (p->b[i].last_sequence != last_sequence || first_sequence(&p->b[i]) != base_sequence)
            continue;
        *dup = p->b[i];
        return true;
    }
    return false;
}

/* What every data batch must be: of no older epoch, and of the transaction if one is open. */
static int check_data(const struct producer *p, const struct batch_head *h)
{
    if (h->producer_epoch < p->epoch)
        return ERR_PRODUCER_EPOCH;
    return p->txn_first_offset >= 0 && !batch_is_txn(h) ? ERR_TXN_STATE : OK;
}

static int check_sequence(const struct producer *p, const struct batch_head *h)
{
    int32_t last, next;

    if (h->producer_epoch > p->epoch)
        return h->base_sequence == 0 ? OK : ERR_SEQUENCE;
    last = p->n > 0 ? p->b[p->n - 1].last_sequence : -1;
    next = last == INT32_MAX ? 0 : last + 1;
    return h->base_sequence == next ? OK : ERR_SEQUENCE;
}

bool producers_knows(const struct producers *ps, int64_t id)
{
    const struct producer *p = find(ps, id);

    return p != NULL && p->epoch >= 0;
}

int producers_check(const struct producers *ps, const struct batch_head *h, bool *is_dup, struct producer_batch *dup)
{
    const struct producer *p = find(ps, h->producer_id);
    int rc;

    *is_dup = false;
    if (p == NULL || p->epoch < 0)
        return OK;                      /* not known, or forgotten: it may begin anywhere */
    if (h->producer_epoch == p->epoch && find_duplicate(p, h->base_sequence, batch_last_sequence(h), dup)) {
        *is_dup = true;
        return OK;
    }
    rc = check_data(p, h);
    if (rc == ERR_PRODUCER_EPOCH)
        return rc;
    TRY(check_sequence(p, h));          /* is told before the state of the transaction */
    return rc;
}

int producers_check_coordinator(const struct producers *ps, const struct batch_head *h,
                                const struct control_record *marker)
{
    const struct producer *p = find(ps, h->producer_id);

    if (p == NULL || p->epoch < 0)
        return OK;
    if (marker == NULL)
        return check_data(p, h);
    if (h->producer_epoch < p->epoch)
        return ERR_PRODUCER_EPOCH;
    return marker->coordinator_epoch < p->coordinator_epoch ? ERR_FENCED : OK;
}

static struct producer *make(struct producers *ps, int64_t id)
{
    struct producer *p = find(ps, id);

    if (p != NULL || (p = calloc(1, sizeof *p)) == NULL)
        return p;
    p->id = id;
    p->epoch = -1;
    p->coordinator_epoch = -1;
    p->txn_first_offset = -1;
    p->last_timestamp = -1;
    HASH_ADD(hh, ps->table, id, sizeof p->id, p);
    if (p->hh.tbl == NULL) {
        free(p);
        return NULL;
    }
    return p;
}

int producers_reserve(struct producers *ps, int64_t id)
{
    return make(ps, id) != NULL ? OK : ERR_NOMEM;
}

void producers_unreserve(struct producers *ps, int64_t id)
{
    struct producer *p = find(ps, id);

    if (p != NULL && p->epoch < 0)
        forget(ps, p);
}

static void set_epoch(struct producer *p, int16_t epoch)
{
    if (p->epoch == epoch)
        return;
    p->epoch = epoch;
    p->n = 0;
}

static void data_batch(struct producers *ps, struct producer *p, const struct batch_head *h)
{
    set_epoch(p, h->producer_epoch);
    if (p->n == PRODUCER_WINDOW)
        memmove(p->b, p->b + 1, --p->n * sizeof p->b[0]);
    p->b[p->n++] = (struct producer_batch){
        .last_offset = h->last_offset,
        .timestamp = h->max_timestamp,
        .last_sequence = batch_last_sequence(h),
        .offset_delta = h->last_offset_delta,
    };
    p->last_timestamp = h->max_timestamp;
    p->resting = false;
    if (batch_is_txn(h) && p->txn_first_offset < 0)
        open_txn(ps, p, h->base_offset);
}

static void complete_txn(struct producers *ps, struct producer *p, const struct batch_head *h,
                         const struct control_record *marker, struct txn_done *done)
{
    const struct producer *other = ps->open == p ? p->next : ps->open;

    *done = (struct txn_done){
        .producer_id = p->id,
        .first_offset = p->txn_first_offset,
        .last_offset = h->base_offset,
        .stable_offset = other != NULL ? other->txn_first_offset : h->base_offset + 1,
        .aborted = marker->type == CONTROL_ABORT,
    };
    close_txn(ps, p);
}

/* A marker without a transaction changes the epochs all the same. */
static void marker_batch(struct producers *ps, struct producer *p, const struct batch_head *h,
                         const struct control_record *marker, struct txn_done *done)
{
    if (p->txn_first_offset >= 0)
        complete_txn(ps, p, h, marker, done);
    set_epoch(p, h->producer_epoch);
    p->coordinator_epoch = marker->coordinator_epoch;
    p->last_timestamp = marker->timestamp;
    p->resting = false;
}

static bool ends_txn(const struct control_record *c)
{
    return c->type == CONTROL_ABORT || c->type == CONTROL_COMMIT;
}

int producers_replay(struct producers *ps, const struct batch_head *h, const uint8_t *bytes, struct txn_done *done)
{
    struct control_record c;
    bool control = batch_is_control(h);
    struct producer *p;

    done->producer_id = -1;
    if (h->producer_id < 0)
        return OK;
    if (control) {
        int rc = control_batch_read(h, bytes, &c);
        if (rc == ERR_NOENT)
            return OK;                  /* compaction took the whole transaction */
        TRY(rc);
        if (!ends_txn(&c))
            return OK;
    }
    if ((p = make(ps, h->producer_id)) == NULL)
        return ERR_NOMEM;
    if (control)
        marker_batch(ps, p, h, &c, done);
    else
        data_batch(ps, p, h);
    return OK;
}

static bool expired(int64_t now_ms, int64_t timestamp, int64_t txn_first_offset, int64_t expiration_ms)
{
    return txn_first_offset < 0 && now_ms - timestamp >= expiration_ms;
}

void producers_expire(struct producers *ps, int64_t now_ms, int64_t expiration_ms)
{
    struct producer *p, *tmp;

    HASH_ITER(hh, ps->table, p, tmp)
        if (expired(now_ms, p->last_timestamp, p->txn_first_offset, expiration_ms))
            forget(ps, p);
}

void producers_rest(struct producers *ps, int64_t now_ms, int64_t expiration_ms)
{
    for (struct producer *p = ps->table; p != NULL; p = p->hh.next)
        p->resting = expired(now_ms, p->last_timestamp, p->txn_first_offset, expiration_ms);
}

int producers_load(struct producers *ps, const struct snapshot_entry *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct producer *p = make(ps, v[i].producer_id);
        if (p == NULL)
            return ERR_NOMEM;
        p->epoch = v[i].epoch;
        p->coordinator_epoch = v[i].coordinator_epoch;
        close_txn(ps, p);
        if (v[i].txn_first_offset >= 0)
            open_txn(ps, p, v[i].txn_first_offset);
        p->last_timestamp = v[i].timestamp;
        p->n = 0;
        if (v[i].last_offset < 0)
            continue;
        p->n = 1;
        p->b[0] = (struct producer_batch){ v[i].last_offset, v[i].timestamp, v[i].last_sequence, v[i].offset_delta };
    }
    return OK;
}

static struct snapshot_entry entry_of(const struct producer *p)
{
    const struct producer_batch *b = p->n > 0 ? &p->b[p->n - 1] : NULL;

    return (struct snapshot_entry){
        .producer_id = p->id,
        .epoch = p->epoch,
        .last_sequence = b != NULL ? b->last_sequence : -1,
        .last_offset = b != NULL ? b->last_offset : -1,
        .offset_delta = b != NULL ? b->offset_delta : 0,
        .timestamp = p->last_timestamp,
        .coordinator_epoch = p->coordinator_epoch,
        .txn_first_offset = p->txn_first_offset,
    };
}

static int by_id(const void *a, const void *b)
{
    const struct snapshot_entry *x = a, *y = b;

    return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

int producers_list(const struct producers *ps, struct snapshot_entry **v, size_t *n)
{
    *n = 0;
    *v = calloc(HASH_COUNT(ps->table) + 1, sizeof **v);
    if (*v == NULL)
        return ERR_NOMEM;
    for (const struct producer *p = ps->table; p != NULL; p = p->hh.next)
        if (!p->resting)
            (*v)[(*n)++] = entry_of(p);
    qsort(*v, *n, sizeof **v, by_id);
    return OK;
}

/* In rising order of id, as Apache Kafka's hash table has them while they are few. */
int producers_snapshot(const struct producers *ps, uint8_t **out, size_t *len)
{
    struct snapshot_entry *v;
    uint8_t *b = NULL;
    size_t n;

    TRY(producers_list(ps, &v, &n));
    b = malloc(SNAPSHOT_HEAD + n * SNAPSHOT_ENTRY);
    for (size_t i = 0; i < n && b != NULL; i++)
        snapshot_put_entry(b, i, &v[i]);
    free(v);
    if (b == NULL)
        return ERR_NOMEM;
    snapshot_put_head(b, n);
    *out = b;
    *len = SNAPSHOT_HEAD + n * SNAPSHOT_ENTRY;
    return OK;
}
