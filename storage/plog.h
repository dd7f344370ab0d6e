/* storage/plog.h - the log of one partition.
 *
 * OWNER    struct logmgr makes and finds logs and hands out references; give each back with plog_unref(). A log that
 *          was deleted or whose directory failed stays valid memory while referenced; every call then fails.
 * LOCKS    every function may be called from any thread with no storage lock held; callers may hold `replicas`
 *          and `partition`. Appends to one log wait for each other (lock `plog`, held across the write); reads and
 *          offset queries never wait for an append (lock `plogview`, never held across a system call).
 * UNITS    off = record offset; pos = byte position in a .log; ms = Unix milliseconds. -1 is "none" as in the
 *          protocol.
 * FAILURE  ERR_OFFLINE   the log directory failed (now or before): KAFKA_STORAGE_ERROR
 *          ERR_NOSPACE   disk full: KAFKA_STORAGE_ERROR; the log is unchanged and stays writable
 *          ERR_AGAIN     out of file descriptors: KAFKA_STORAGE_ERROR; the log is unchanged and stays writable
 *          ERR_CLOSED    the log was deleted or the broker stops: NOT_LEADER_OR_FOLLOWER
 *          ERR_NOMEM     nothing was changed
 *          ERR_CORRUPT   bytes on disk below the log end do not parse; logged with file and position
 *          More where a function says so.
 */
#ifndef STORAGE_PLOG_H
#define STORAGE_PLOG_H

#include "base/arena.h"
#include "base/chain.h"
#include "base/err.h"
#include "base/uuid.h"
#include "storage/log_opts.h"

struct plog;

struct plog *plog_ref(struct plog *l);
void         plog_unref(struct plog **l);               /* NULL-safe; *l becomes NULL */

/* ---- what does not change ------------------------------------------------------------------------------------ */
const char *plog_name(const struct plog *l);            /* "topic-partition", for messages; lives as long as l */
struct str  plog_topic(const struct plog *l);
int32_t     plog_partition(const struct plog *l);
size_t      plog_dir_index(const struct plog *l);       /* in logmgr_opts.dirs */
bool        plog_is_future(const struct plog *l);       /* a copy that is being made (logmgr_move()); then it is not */

/* ---- offsets ------------------------------------------------------------------------------------------------- */

/* start <= lso <= hw <= leo. Records in [start, leo) exist; [start, hw) are committed; [start, lso) are stable. */
struct plog_offsets {
    int64_t start;
    int64_t lso;
    int64_t hw;
    int64_t leo;
};

struct plog_offsets plog_offsets(const struct plog *l);         /* one consistent snapshot; costs nanoseconds */

/* The partition says how far records are committed. Limited to what flush.messages lets be committed (below), and so to
 * the LEO; never moves back. True when it moved;
 * *now, if not NULL, is the snapshot afterwards. */
bool plog_set_hw(struct plog *l, int64_t hw, struct plog_offsets *now);

/* DeleteRecords: records below `start` are gone from now on; segments go at the next retention run.
 * ERR_RANGE if start > HW. A start at or below the present one changes nothing and is OK. */
int plog_set_start(struct plog *l, int64_t start) must_use;

/* ---- append -------------------------------------------------------------------------------------------------- */

/* Who it is from decides how a batch of a producer is checked: a client's must go on with its sequence and may have
 * come before. A coordinator of this broker may write markers: one control batch (COMMIT or ABORT). It is not refused
 * below the limit of free room. */
enum append_origin { APPEND_CLIENT, APPEND_COORDINATOR };

/* Validated bytes: whole batches back to back, nothing else; the leader's append. Offsets and leader epoch are
 * written into the headers here (they are outside the CRC), so the bytes must be writable and the caller's alone. All
 * else that the log wants to know (timestamps, producer, sequence) is read from the headers. Messages of magic 0 and 1
 * (message.format.version) are numbered from 0 in their offset fields, a wrapper having its last record's number. */
struct plog_append {
    uint8_t *p;
    size_t   len;
    int32_t  leader_epoch;
    enum append_origin origin;
    bool     fixed_base;                /* only if the log end is base_offset: what a wrapper of magic 0 holds inside */
    int64_t  base_offset;               /* counts from there */
    /* A batch of this producer was refused before, and its lowest sequence was this one: if the log does not know the
     * producer, what lies above it is out of order. */
    bool     refused;
    int32_t  refused_sequence;
};

struct plog_appended {
    int64_t base_offset;                /* of the first record; of the first time for a duplicate */
    int64_t last_offset;
    int64_t timestamp;                  /* of a duplicate: max timestamp of the batch as it was stored; else -1 */
    bool    duplicate;                  /* one of the producer's last five batches came again: nothing was written */
    bool    rolled;                     /* a new segment was begun before it: wake fetches on the older one */
    bool    held;                       /* flush.messages: it may not be answered for until plog_is_safe() */
    struct plog_offsets offsets;        /* after the append */
};

/* ERR_SEQUENCE        OUT_OF_ORDER_SEQUENCE_NUMBER; ERR_PRODUCER_EPOCH  INVALID_PRODUCER_EPOCH;
 * ERR_FENCED          a marker with an older coordinator epoch: TRANSACTION_COORDINATOR_FENCED;
 * ERR_TXN_STATE       not transactional, but the producer has an open transaction: INVALID_TXN_STATE;
 * ERR_LIMIT           more bytes than segment.bytes: RECORD_LIST_TOO_LARGE;
 * ERR_INVALID         the bytes are not whole batches, or several of which one has a producer id; or a control batch
 *                     that is no coordinator's COMMIT or ABORT;
 * ERR_BUSY            fixed_base, and another append came first.
 * Nothing is written in any of these cases. */
int plog_append(struct plog *l, const struct plog_append *in, struct plog_appended *out) must_use;

/* A copy of what the leader has: whole batches of any magic, written as they are, with their offsets and epochs. They
 * may leave offsets out, as compaction does. out->base_offset is -1 if the first batch does not tell its own.
 * ERR_INVALID  not whole batches, or their offsets do not rise or are larger than any log's; ERR_CORRUPT  a CRC is
 *              wrong: nothing was written;
 * ERR_RANGE    the first offset is below the log end: nothing was written.
 * After any other failure some of the first batches may be in the log: out says which. */
int plog_append_follower(struct plog *l, struct bytes in, struct plog_appended *out) must_use;

/* ---- truncate -------------------------------------------------------------------------------------------------- */

/* The log ends at or below `offset` from now on: a batch that has records on both sides goes as a whole. HW, recovery
 * point, epochs and producers go back with it. An offset at or above the log end only drops epochs that begin there;
 * one below the first segment is plog_truncate_all(). Waits for the disk: not for a request's thread.
 * ERR_BUSY: another truncation of this log runs. */
int plog_truncate(struct plog *l, int64_t offset) must_use;
/* Nothing is left; the log begins and ends at `offset`. ERR_INVALID: no log gets there; nothing was changed. */
int plog_truncate_all(struct plog *l, int64_t offset) must_use;

/* ---- flush.messages and flush.ms ----------------------------------------------------------------------------- */

/* With flush.messages=N at most N - 1 records that were answered for or committed are not on the disk. An append that
 * would make more starts a flush and is `held`; when the flush has ended, the function given to logmgr_on_flushed() is
 * called. Is everything below `offset` safe in that sense? *done false and OK: not yet; ERR_OFFLINE, ERR_CLOSED: it
 * will never be known to be. */
int     plog_is_safe(struct plog *l, int64_t offset, bool *done) must_use;
int64_t plog_synced(struct plog *l);            /* all below has been synced */

/* ---- read ---------------------------------------------------------------------------------------------------- */

/* Region of one segment file, beginning with the batch that contains the offset asked for. The last batch may be cut
 * by max_bytes. records is null (slice_is_null) when there is nothing to give; else it holds a reference of the file:
 * plog_read_done(). */
struct plog_read {
    struct slice records;
    size_t  first_batch_bytes;          /* size of the first whole batch, whatever max_bytes; 0 when records is null */
    int64_t segment_base;               /* base offset of the segment, for "is the fetch on an older segment" */
    uint32_t replaced;                  /* for plog_aborted() */
    bool    active_segment;             /* the region is in the segment that is being appended to */
    struct plog_offsets offsets;        /* the snapshot that the read was bounded by; filled in on ERR_RANGE too */
};

/* Bytes of [offset, upper) and at most max_bytes; with at_least_one the whole first batch even if it is larger.
 * upper is LEO, HW or LSO as the caller's isolation level says; it is limited to the LEO.
 * ERR_RANGE: offset < start or offset > LEO. offset >= upper gives OK and a null slice. */
int  plog_read(struct plog *l, int64_t offset, int64_t upper, size_t max_bytes, bool at_least_one,
               struct plog_read *out) must_use;
void plog_read_done(struct plog_read *r);               /* gives back the file reference; NULL-safe inside */

struct plog_aborted {
    int64_t producer_id;
    int64_t first_offset;
};

/* For read_committed: the aborted transactions with records in what plog_read(offset) gave, in the arena; some that
 * begin a little above it may be among them. Null records have none.
 * ERR_BUSY: the segments were cut or replaced by others since that read: read again. ERR_RANGE: they were deleted. */
int  plog_aborted(struct plog *l, int64_t offset, const struct plog_read *r, struct arena *a,
                  struct plog_aborted **out, size_t *n) must_use;

/* ---- look-ups ------------------------------------------------------------------------------------------------ */
struct plog_at {
    int64_t timestamp;                  /* -1: nothing found */
    int64_t offset;                     /* -1: nothing found */
    int32_t leader_epoch;               /* of the batch; -1 none */
};

/* First record at or above start whose timestamp is >= ts. Not bounded by HW: compare out->offset. */
int plog_offset_for_time(struct plog *l, int64_t ts, struct plog_at *out) must_use;
/* The record with the largest timestamp, which may lie before the log start. */
int plog_max_timestamp(struct plog *l, struct plog_at *out) must_use;
/* ListOffsets v0: base offsets (clamped to start) of segments last written at or before ts_ms, and the LEO,
 * descending, at most max. ts_ms -1: as of now; -2: only the earliest. *n is how many were put in out. */
int plog_segments_before(struct plog *l, int64_t ts_ms, int64_t *out, size_t max, size_t *n) must_use;

/* ---- leader epochs ------------------------------------------------------------------------------------------- */
struct plog_epoch_end {
    int32_t epoch;                      /* -1: undefined */
    int64_t end_offset;                 /* -1: undefined */
};

/* The leader begins `epoch` at the present LEO. No effect if it is not newer than the latest. */
int plog_assign_epoch(struct plog *l, int32_t epoch) must_use;
struct plog_epoch_end plog_epoch_end(const struct plog *l, int32_t epoch);      /* OffsetForLeaderEpoch */
int32_t plog_latest_epoch(const struct plog *l);                                /* -1: none */
int64_t plog_epoch_start(const struct plog *l, int32_t epoch);                  /* -1: not in the cache */
int32_t plog_earliest_epoch(const struct plog *l);      /* of the record at start, as ListOffsets -2 has it; -1 */

/* ---- producers ----------------------------------------------------------------------------------------------- */
struct plog_producer {
    int64_t producer_id;
    int64_t last_timestamp;
    int64_t txn_start_offset;           /* -1 */
    int32_t last_sequence;              /* -1 */
    int32_t coordinator_epoch;          /* -1 */
    int16_t epoch;
};

/* In the arena, in rising order of id. */
int plog_producers(struct plog *l, struct arena *a, struct plog_producer **out, size_t *n) must_use;

/* ---- size, id, options --------------------------------------------------------------------------------------- */
int64_t plog_size_bytes(const struct plog *l);          /* of all .log files */
struct uuid plog_topic_id(const struct plog *l);        /* zero: none known */

/* Sets the id of a log that has none, and writes partition.metadata; but not where a log was found without that file:
 * Apache Kafka before 2.8 made it, and a later one that comes back to the directory gives an id of its own.
 * ERR_EXISTS: it has another one (INCONSISTENT_TOPIC_ID). */
int  plog_set_topic_id(struct plog *l, struct uuid id) must_use;
void plog_set_opts(struct plog *l, const struct log_opts *o);

#endif
