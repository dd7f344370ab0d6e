/* storage/cleaner_txn.c - what compaction must know of transactions. */
#include "storage/cleaner_txn.h"

#include "proto/records/records.h"

#include <stdlib.h>
#include <uthash.h>

struct cleaner_producer {
    int64_t id;
    const struct txn_index_entry *aborted;      /* the transaction that runs, if it will be aborted */
    bool    aborted_seen;               /* ... and one of its batches is there */
    bool    committed_seen;             /* a batch of one that will be committed is there */
    UT_hash_handle hh;
};

static int by_first_offset(const void *a, const void *b)
{
    const struct txn_index_entry *x = a, *y = b;

    return (x->first_offset > y->first_offset) - (x->first_offset < y->first_offset);
}

void cleaner_txns_init(struct cleaner_txns *t, struct txn_index_entry *v, size_t n)
{
    *t = (struct cleaner_txns){ .v = v, .n = n };
    if (n > 0)
        qsort(v, n, sizeof *v, by_first_offset);
}

void cleaner_txns_fini(struct cleaner_txns *t)
{
    struct cleaner_producer *p, *tmp;

    HASH_ITER(hh, t->producers, p, tmp) {
        HASH_DEL(t->producers, p);
        free(p);
    }
}

static struct cleaner_producer *find(const struct cleaner_txns *t, int64_t id)
{
    struct cleaner_producer *p;

    HASH_FIND(hh, t->producers, &id, sizeof id, p);
    return p;
}

static struct cleaner_producer *make(struct cleaner_txns *t, int64_t id)
{
    struct cleaner_producer *p = find(t, id);

    if (p != NULL || (p = calloc(1, sizeof *p)) == NULL)
        return p;
    p->id = id;
    HASH_ADD(hh, t->producers, id, sizeof p->id, p);
    if (p->hh.tbl == NULL) {
        free(p);
        return NULL;
    }
    return p;
}

/* Transactions that will be aborted and began at or below `offset` run now. */
static int begin_up_to(struct cleaner_txns *t, int64_t offset)
{
    for (; t->at < t->n && t->v[t->at].first_offset <= offset; t->at++) {
        struct cleaner_producer *p = make(t, t->v[t->at].producer_id);
        if (p == NULL)
            return ERR_NOMEM;
        if (p->aborted != NULL)
            continue;
        p->aborted = &t->v[t->at];
        p->aborted_seen = false;
    }
    return OK;
}

int cleaner_txns_data(struct cleaner_txns *t, const struct batch_head *h, bool *aborted)
{
    struct cleaner_producer *p;

    *aborted = false;
    TRY(begin_up_to(t, h->last_offset));
    if (!batch_is_txn(h))
        return OK;
    p = make(t, h->producer_id);
    if (p == NULL)
        return ERR_NOMEM;
    *aborted = p->aborted != NULL;
    if (*aborted)
        p->aborted_seen = true;
    else
        p->committed_seen = true;
    return OK;
}

int cleaner_txns_marker(struct cleaner_txns *t, const struct batch_head *h, const uint8_t *bytes, bool *unneeded,
                        const struct txn_index_entry **entry)
{
    struct cleaner_producer *p;
    struct control_record c;
    int rc;

    *unneeded = false;
    *entry = NULL;
    TRY(begin_up_to(t, h->last_offset));
    rc = control_batch_read(h, bytes, &c);
    *unneeded = rc == ERR_NOENT;
    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    p = find(t, h->producer_id);
    if (c.type == CONTROL_ABORT) {
        *unneeded = p == NULL || p->aborted == NULL || !p->aborted_seen;
        if (!*unneeded)
            *entry = p->aborted;
        if (p != NULL)
            p->aborted = NULL;
    } else if (c.type == CONTROL_COMMIT) {
        *unneeded = p == NULL || !p->committed_seen;
        if (p != NULL)
            p->committed_seen = false;
    }
    return OK;
}
