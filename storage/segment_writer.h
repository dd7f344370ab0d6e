/* storage/segment_writer.h - writes a segment that is to take the place of others.
 *
 * Batches go to <base>.log.cleaned as they are given; index entries wait in memory and go to <base>.index.cleaned,
 * <base>.timeindex.cleaned and, if there are any, <base>.txnindex.cleaned at the end, so that the segment can be used
 * whatever its files are called by then.
 *
 * OWNER    the writer owns its segment until segment_writer_take(); segment_writer_fini() removes the files unless
 *          the segment was taken.
 *          The directory is reached by a descriptor that the caller lends, so that files of a log that is deleted
 *          meanwhile do not end up in a new one of the same name.
 * LOCKS    none held; the log's `plogview` is taken inside.
 * FAILURE  what fio gives; ERR_TOO_LARGE: the segment would be larger than a segment can be. After a failure only
 *          segment_writer_fini().
 */
#ifndef STORAGE_SEGMENT_WRITER_H
#define STORAGE_SEGMENT_WRITER_H

#include "storage/segment.h"

#define SEGMENT_CLEANED ".cleaned"      /* behind the names of files that are being written */
#define SEGMENT_SWAP    ".swap"         /* ... that are whole and about to replace others */

struct segment_writer {
    struct segment *seg;
    struct place at;                    /* where its files are written: lent descriptor, "." */
    int32_t  index_interval_bytes;
    uint8_t *buf;                       /* what is not in the file yet */
    size_t   n, cap;
    int64_t  written_out;               /* of the file: the system has been asked to write it */
    bool     early;                     /* ask it as the file grows; the caller sets it once it will be wanted */
};

int  segment_writer_init(struct segment_writer *w, int dirfd, const struct place *log, struct lock *view,
                         int64_t base, int32_t index_interval_bytes, size_t buf_bytes) must_use;
/* h is the header of the batch at p. Offsets rise from batch to batch. */
int  segment_writer_batch(struct segment_writer *w, const struct batch_head *h, const uint8_t *p) must_use;
/* An aborted transaction whose marker is in it, in the order of the markers. */
int  segment_writer_aborted(struct segment_writer *w, const struct txn_index_entry *e) must_use;
/* All of it is on disk, under names that end with SEGMENT_CLEANED. */
int  segment_writer_finish(struct segment_writer *w, int64_t mtime_ms) must_use;
/* From "" or SEGMENT_CLEANED or SEGMENT_SWAP to another of them, each file; the .log first. */
int  segment_writer_rename(const struct segment_writer *w, const char *from, const char *to) must_use;
struct segment *segment_writer_take(struct segment_writer *w);
void segment_writer_fini(struct segment_writer *w);     /* may be called more than once */

#endif
