/* storage/cleaner_read.h - reads a segment batch by batch, whole batches, many at a time.
 *
 *   struct batch_reader r;
 *   batch_reader_init(&r, buffer_bytes);
 *   rc = batch_reader_open(&r, segment, next_base);
 *   while (rc == OK && batch_reader_next(&r))
 *       use(&r.head, r.p);             r.p has r.head.size_bytes bytes, valid until the next call
 *   if (r.rc != OK) ...                ERR_CORRUPT: what is at r.pos is no sound batch
 *   batch_reader_fini(&r);
 *
 * CRCs are checked, and what they do not cover: that offsets rise and lie between the segment's base and the next one.
 *
 * OWNER    the reader owns its buffer, which grows to the largest batch, and a reference of the open file.
 * LOCKS    none; the segment is not being written to.
 * FAILURE  rc: ERR_CORRUPT, ERR_NOMEM, what fio gives, and what `pace` gives.
 */
#ifndef STORAGE_CLEANER_READ_H
#define STORAGE_CLEANER_READ_H

#include "storage/segment.h"

/* Called for all bytes that are read or written; may wait. Not OK ends the work with that result. */
typedef int cleaner_pace_fn(void *arg, size_t bytes);

struct batch_reader {
    struct batch_head head;
    const uint8_t    *p;
    int64_t           pos;              /* of the batch in the file */
    int64_t           first;            /* no record of the batch may have a lower offset */
    int               rc;
    int64_t           read_bytes;       /* so far, of all segments */
    /* inside */
    cleaner_pace_fn  *pace;             /* NULL: none */
    void             *pace_arg;
    struct file_ref  *file;
    int64_t           size;
    int64_t           low, end;         /* what offsets the next batch may have */
    uint8_t          *buf;
    size_t            cap, at, n;       /* buf[at..n) comes next */
};

int  batch_reader_init(struct batch_reader *r, size_t buffer_bytes) must_use;
int  batch_reader_open(struct batch_reader *r, struct segment *s, int64_t next_base) must_use;  /* not the last one */
bool batch_reader_next(struct batch_reader *r);
void batch_reader_fini(struct batch_reader *r);         /* may be called more than once */

#endif
