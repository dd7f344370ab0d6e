/* storage/log_scan.h - walking over the batch headers of a .log file, and checking whole batches in it.
 *
 *   struct log_scan s;
 *   log_scan_init(&s, fd, pos, end, buf, sizeof buf);
 *   while (log_scan_next(&s))
 *       use(&s.head, s.pos);           s.pos is where this batch begins
 *   if (s.rc != OK) ...                ERR_SHORT: a batch that begins at s.pos goes on past end
 *
 * OWNER    borrows fd and buf (at least BATCH_HEAD_BYTES).
 * LOCKS    none; bytes below `end` must be published (or the caller be the writer).
 * FAILURE  rc: ERR_SHORT, ERR_CORRUPT (what is at pos is no batch), or what fio gives.
 */
#ifndef STORAGE_LOG_SCAN_H
#define STORAGE_LOG_SCAN_H

#include "proto/records/batch.h"

struct log_scan {
    int64_t  pos;                       /* of the batch in head; after the last one: where the walk stopped */
    struct batch_head head;
    int      rc;
    int64_t  read_bytes;                /* from the file so far */
    /* inside */
    int      fd;
    int64_t  next, end;
    uint8_t *buf;
    size_t   cap;
    int64_t  at;                        /* file position of buf[0] */
    size_t   n;                         /* bytes in buf */
};

void log_scan_init(struct log_scan *s, int fd, int64_t pos, int64_t end, uint8_t *buf, size_t cap);
bool log_scan_next(struct log_scan *s);

/* Reads the whole batch that log_scan_next() found; malloc'ed. */
int log_scan_batch(const struct log_scan *s, uint8_t **p) must_use;
/* Whether its CRC is right; reads it in pieces. ERR_CORRUPT if not. */
int log_scan_check(struct log_scan *s) must_use;

#endif
