/* storage/cleaner_pass.h - one cleaning of one log.
 *
 * First the keys of the records from `from` on go into the map, until it is full or `uncleanable` is reached. Then all
 * segments from the first to the one where the map ends are written anew, group by group, each group as one segment;
 * each takes its place as soon as it is done. What is in the map is compacted then; the rest is the next cleaning's.
 *
 * OWNER    the caller keeps the log and the buffers of the job.
 * LOCKS    none held; takes those of the log. Appends, reads, retention and truncation go on meanwhile; the last two
 *          may end it (ERR_AGAIN).
 * UNITS    record offsets, bytes.
 * FAILURE  ERR_AGAIN     the log was cut or lost a segment meanwhile: begin anew
 *          ERR_CORRUPT   a batch is damaged; ERR_INVALID, ERR_SHORT, ...: records do not parse. result.where says it
 *          ERR_NOSPACE, ERR_NOMEM; ERR_OFFLINE, ERR_CLOSED as in plog.h
 *          Groups that were done before stay done; nothing is lost by it.
 */
#ifndef STORAGE_CLEANER_PASS_H
#define STORAGE_CLEANER_PASS_H

#include "storage/cleaner_read.h"
#include "storage/plog.h"

struct cleaner_job {
    int64_t from;                       /* the first offset that is not compacted yet */
    int64_t uncleanable;                /* base of the first segment that must not be touched */
    int64_t map_bytes;
    double  map_load;
    size_t  io_bytes;                   /* of the buffer for reading, and of that for writing */
    cleaner_pace_fn *pace;              /* may be NULL */
    void   *pace_arg;
};

struct cleaner_result {
    int64_t end;                        /* all below is compacted */
    uint32_t cuts;                      /* truncations of the log before it began */
    int64_t read_bytes, written_bytes;
    int64_t records_in, records_out;    /* of the segments that were written anew */
    size_t  keys;
    size_t  segments_in, segments_out;
    char    where[160];                 /* file and position, where reading failed; else "" */
};

int cleaner_clean(struct plog *l, const struct cleaner_job *job, struct cleaner_result *out) must_use;

#endif
