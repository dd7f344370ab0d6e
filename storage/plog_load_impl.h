/* storage/plog_load_impl.h - what the steps of opening a log share; for plog_load.c, plog_list.c, plog_swap.c,
 * plog_split.c, plog_index.c, plog_aborts.c, plog_epochs.c, plog_state.c, plog_recover.c and plog_truncate.c only.
 *
 * OWNER    struct load lives on the stack of plog_load(), which frees what it holds.
 * LOCKS    everything here is [load]: the log is not shared yet; its `lock` is held for the assertions' sake.
 * FAILURE  what fio gives; ERR_CORRUPT and ERR_SHORT as each function says; ERR_NOMEM.
 */
#ifndef STORAGE_PLOG_LOAD_IMPL_H
#define STORAGE_PLOG_LOAD_IMPL_H

#include "storage/log_scan.h"
#include "storage/plog_impl.h"

#define SCAN_BUFFER ((size_t)64 << 10)
#define NEAR_BUFFER ((size_t)8 << 10)   /* for a few batches behind an index entry: not to read what comes after them */

struct offsets_list {
    int64_t *v;
    size_t   n, cap;
};

/* A file that belongs to a segment, by its name. */
enum name_state { NAME_PLAIN, NAME_CLEANED, NAME_SWAP };

struct load_name {
    int64_t           base;
    enum segment_file kind;
    enum name_state   state;
};

struct load {
    struct plog        *l;
    struct load_result *out;
    struct load_name   *names;                  /* as in the directory */
    size_t   names_n, names_cap;
    bool     leftovers, trash;          /* among them some .cleaned or .swap; .deleted or .tmp, which are not listed */
    struct offsets_list logs, snapshots;        /* rising */
    int64_t  recovery_point;            /* below: trusted. INT64_MAX after a clean stop */
    int64_t  checkpoint;                /* of the recovery point, as found; -1 none */
    int64_t  start;                     /* log start by its checkpoint */
    int64_t  expect;                    /* the next batch's offset is at least this */
    struct batch_head last;             /* of the batch taken last */
    int64_t  taken;                     /* the last snapshot that recovery wrote; -1 */
    int64_t  snapshot;                  /* state of the producers is that before this offset */
    int64_t  too_long;                  /* base of a segment whose offsets reach too far for an index; -1 */
    bool     to_the_end;                /* a truncation, which cannot be broken off and done again */
    bool     as_they_are;               /* batches taken make no index entries */
    bool     epochs_lost;               /* the epoch file does not parse: take the epochs from the batches */
    uint8_t *buf;                       /* SCAN_BUFFER */
};

/* OK, or ERR_CLOSED: the broker stops or the log is deleted. Looked at between batches; what was done so far stays, the
 * next start does it again. */
static inline int load_goes_on(const struct load *ld)
{
    if (ld->to_the_end)
        return OK;
    return logdir_stopping(ld->l->dir) || atomic_load_explicit(&ld->l->closed, memory_order_relaxed) ? ERR_CLOSED : OK;
}

/* ---- plog_list.c --------------------------------------------------------------------------------------------- */
int  load_list(struct load *ld) must_use;               /* fills in logs and snapshots; removes leftovers */

/* ---- plog_swap.c --------------------------------------------------------------------------------------------- */
/* Replacements of segments that were interrupted are finished or undone; ld->names is not right after that. */
int  load_settle_swaps(struct load *ld) must_use;

/* ---- plog_index.c -------------------------------------------------------------------------------------------- */
int  load_open_segment(struct load *ld, int64_t base) must_use;         /* adds it to the log; opens no file */
/* Both indexes keep their first entries only. */
int  load_keep_entries(struct segment *s, uint32_t offsets, uint32_t times) must_use;
void load_begin_indexes(struct segment *s);             /* as of a segment without any entry */
/* The batch becomes part of the segment as if it had been appended now. */
int  load_take_batch(struct load *ld, struct segment *s, const struct log_scan *sc) must_use;
bool load_is_damage(int rc);                            /* what a walk over bytes that are no batches gives */
/* Walks over the part of s below `below` from the last index entry there that can be trusted; from the beginning if
 * none can. s->size is then where the first batch begins that is not wholly below. ERR_CORRUPT, ERR_SHORT: what is at
 * s->size is no batch, or one whose offset is out of order; ERR_RANGE: s is too long for an index. */
int  load_walk_from_index(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below) must_use;
/* The batch's offset leaves a gap, and the batch behind it lies in that gap: the offset field, which no CRC covers, was
 * damaged. */
bool load_offset_is_wrong(const struct load *ld, const struct log_scan *sc);

/* The header of the first batch that ends at or above offset; size 0: there is none, or it cannot be read, which is
 * told when somebody wants it. */
int  load_batch_at(const struct load *ld, int64_t offset, struct batch_head *h) must_use;

/* ---- plog_aborts.c ------------------------------------------------------------------------------------------- */
int  load_check_aborts(struct load *ld) must_use;       /* .txnindex files that are not what the batches say: anew */

/* ---- plog_epochs.c ------------------------------------------------------------------------------------------- */
int  load_epochs(struct load *ld) must_use;
int  load_take_epoch(struct load *ld, const struct batch_head *h) must_use;
int  load_settle_epochs(struct load *ld, int64_t start, int64_t leo) must_use;  /* the log is from start to leo */

/* ---- plog_state.c -------------------------------------------------------------------------------------------- */
/* The newest snapshot above the start, not above `to`. */
int  load_producers(struct load *ld, int64_t to) must_use;
int  load_replay(struct load *ld, int64_t to) must_use;         /* batches from that snapshot to `to` */
void load_expire(struct load *ld);                      /* producers that Apache Kafka would not take from a snapshot */
/* s: its index of aborted transactions is made anew; NULL: it is right. */
int  load_take_producer(struct load *ld, struct segment *s, const struct log_scan *sc) must_use;

/* ---- plog_split.c -------------------------------------------------------------------------------------------- */
/* s, whose offsets reach too far, becomes several segments: the log is to be opened anew. ERR_CORRUPT, and said: it
 * cannot be split. */
int  load_split(struct load *ld, struct segment *s) must_use;

/* ---- plog_recover.c ------------------------------------------------------------------------------------------ */
int  load_open_end(struct load *ld, struct segment *s) must_use;        /* after a clean stop: where does s end? */
int  load_recover(struct load *ld) must_use;            /* batches from the recovery point on */
int  load_drop_segments_from(struct load *ld, size_t k) must_use;       /* the k-th and all after it go */

#endif
