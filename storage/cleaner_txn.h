/* storage/cleaner_txn.h - what compaction must know of transactions while it reads a log from front to back.
 *
 * Which data batches belong to aborted transactions, and which markers still have batches of their transaction in
 * the log: those markers must stay, and so must the entry of an abort in the transaction index.
 *
 * OWNER    the cleaner's thread; borrows the entries.
 * LOCKS    none: one thread.
 * FAILURE  ERR_NOMEM; ERR_CORRUPT: a control batch that does not parse.
 */
#ifndef STORAGE_CLEANER_TXN_H
#define STORAGE_CLEANER_TXN_H

#include "proto/records/batch.h"
#include "storage/txn_index_file.h"

struct cleaner_producer;                /* one id's transaction; laid out in cleaner_txn.c */

struct cleaner_txns {
    struct txn_index_entry  *v;         /* aborted transactions by first offset */
    size_t                   n, at;     /* all before `at` have begun */
    struct cleaner_producer *producers; /* uthash by producer id */
};

/* v: the aborted transactions of the stretch that will be read, in any order; sorted here. */
void cleaner_txns_init(struct cleaner_txns *t, struct txn_index_entry *v, size_t n);
void cleaner_txns_fini(struct cleaner_txns *t);         /* may be called more than once */

/* The next data batch; *aborted: nobody may see its records. */
int cleaner_txns_data(struct cleaner_txns *t, const struct batch_head *h, bool *aborted) must_use;
/* The next control batch, p its bytes. *unneeded: no batch of its transaction was there, or it is empty. *entry: that
 * of an abort whose marker stays; else NULL. */
int cleaner_txns_marker(struct cleaner_txns *t, const struct batch_head *h, const uint8_t *p, bool *unneeded,
                        const struct txn_index_entry **entry) must_use;

#endif
