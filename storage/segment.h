/* storage/segment.h - one segment of a log: <base>.log with its .index and .timeindex, and .txnindex (segment_txn.h).
 *
 * OWNER    the log's array of segments holds one reference; readers borrow with segment_ref() and give back with
 *          segment_unref(). The last one closes the .log and frees the memory; files are unlinked by the log.
 * LOCKS    [log]  the caller holds the log's `plog` lock, or the segment is not shared yet
 *          [any]  the caller holds a reference; takes `plogview` inside, never across a system call
 *          [view] the caller holds `plogview`
 * UNITS    offset = record offset; pos = byte position in .log.
 * FILES    .log is opened when it is used and stays open until others need its descriptor (open_files.h); index files
 *          are opened for each use. Index entries wait in memory (encoded as in the file) and are written in groups:
 *          invariants 7 and 8.
 * FAILURE  what fio gives, ERR_CORRUPT. ERR_NOENT from [any]: the files went away meanwhile; look the segment up
 *          again.
 */
#ifndef STORAGE_SEGMENT_H
#define STORAGE_SEGMENT_H

#include "base/chain.h"
#include "base/lock.h"
#include "proto/records/batch.h"
#include "storage/index_file.h"
#include "storage/txn_index_file.h"

#include <stdatomic.h>

/* Where a log's files are. Lives as long as the log. */
struct place {
    int         dirfd;                  /* of the log directory */
    const char *dir;                    /* "topic-partition", below it */
    struct open_files *files;           /* counts what is open; NULL: nobody does */
};

enum segment_file {
    SEGMENT_LOG, SEGMENT_INDEX, SEGMENT_TIMEINDEX, SEGMENT_TXNINDEX, SEGMENT_SNAPSHOT, SEGMENT_FILES_N
};

#define OFFSET_LIMIT (INT64_MAX >> 1)   /* no log gets there; of offsets above, sums would not fit */

#define SEGMENT_PATH_MAX 320            /* directory (255) / 20 digits . suffix .deleted */

/* "dir/00000000000000000012.log", with `more` (".deleted" or "") behind. */
void segment_path(const struct place *p, int64_t base, enum segment_file f, const char *more,
                  char out[SEGMENT_PATH_MAX]);
/* The other way round, of a name without its directory: *more points at what follows the suffix, "" or ".deleted".
 * False: not such a name. */
bool segment_name_parse(const char *name, int64_t *base, enum segment_file *f, const char **more);

/* One of the three indexes: on_file entries in the file, then n in memory. */
struct index {
    uint32_t on_file;
    uint32_t n, cap;
    uint8_t *tail;
};

/* What the entries of a .txnindex reach over, so that most look-ups need not read it. */
struct txn_span {
    int64_t first;                      /* least first offset; INT64_MAX none */
    int64_t last;                       /* last offset of the last entry; -1 none */
    int64_t stable;                     /* greatest stable offset; -1 none */
};

/* An index that was found to be wrong; look-ups do without it. */
enum suspicion { SUSPECT_OFFSETS = 1, SUSPECT_TIMES = 2 };

struct segment {
    atomic_int          refs;
    atomic_bool         replaced;       /* other files may have its names: what was found by them may be another's */
    atomic_uint         suspect;        /* enum suspicion */
    atomic_bool         rebuilt;        /* that was tried once */
    /* fixed */
    const struct place *place;
    struct lock        *view;           /* of the log */
    int64_t             base;
    /* changed under plog and plogview, read under either */
    struct file_ref    *log;            /* NULL: not open (set by readers too, under plogview) */
    bool                log_used;       /* since open_files last looked; under plogview */
    uint32_t            size;           /* published bytes of .log */
    struct index        offsets;
    struct index        times;
    struct index        aborts;         /* .txnindex; the file is there only if it has entries */
    struct txn_span     span;           /* of all its entries */
    bool                aborts_lost;    /* while it is opened: the indexes are not those of this .log */
    bool                max_known;      /* max is right; else it is not known yet */
    struct time_index_entry max;        /* largest timestamp and the last offset of the first batch that has it; -1 */
    /* under plog */
    uint32_t            since_index;    /* bytes appended since the last index entry */
    int64_t             last_indexed;   /* offset of the last entry of .index, or base - 1 */
    struct time_index_entry last_time;  /* last entry of .timeindex, or -1, base */
    int64_t             first_timestamp;        /* max timestamp of the first batch; -1 none */
    bool                first_known;
    int64_t             created_ms;
    int64_t             jitter_ms;
    bool                told_times;     /* that its timestamps make no sense for retention */
    /* under `openfiles` */
    bool                listed;
    struct segment     *open_prev, *open_next;
};

struct segment *segment_new(const struct place *p, struct lock *view, int64_t base) must_use;
struct segment *segment_ref(struct segment *s);
void            segment_unref(struct segment **s);                      /* NULL-safe */

int segment_create_files(struct segment *s) must_use;                   /* [log] empty ones, replacing empty ones */
/* [log] The same in two steps: empty files under other names, which get theirs when old ones have gone. The first finds
 * out a full disk, or a process without descriptors, and leaves nothing then. The next start removes
 * what a kill leaves. */
int segment_prepare_files(struct segment *s) must_use;
int segment_place_files(struct segment *s) must_use;
int segment_file(struct segment *s, struct file_ref **out) must_use;    /* [any] a new reference of the open .log */

/* Bytes at the end of .log, not yet visible. On failure nothing remains of them; ERR_IO: that failed too. */
int segment_write(struct segment *s, const void *p, size_t n) must_use;                                 /* [log] */

/* Makes sure that the next segment_index() cannot fail for want of memory; writes a full tail out first. */
int segment_index_room(struct segment *s) must_use;                                                     /* [log] */
/* [view and log] a chunk of n bytes at s->size becomes visible; max_timestamp at max_offset is its largest. */
void segment_publish(struct segment *s, uint32_t n, int64_t last_offset, int64_t max_timestamp, int64_t max_offset,
                     int32_t index_interval_bytes);
/* For a segment that is not shared yet: room in memory for the next segment_publish(), however many there were;
 * and the last time entry, as segment_flush_indexes() makes it. */
int segment_index_grow(struct segment *s) must_use;
int segment_index_end(struct segment *s) must_use;
/* [log] All entries are in the files: somebody else has written them there. */
void segment_index_written(struct segment *s);
/* Room for n more entries in memory; all entries in memory to the file. */
int segment_tail_room(struct segment *s, struct index *x, size_t entry, uint32_t n) must_use;           /* [log] */
int segment_tail_flush(struct segment *s, struct index *x, size_t entry, enum segment_file f) must_use; /* [log] */
int segment_flush_indexes(struct segment *s, bool final) must_use;      /* [log] final: with the last time entry */

/* [any] What was found in it by opening its files does not count if this is true afterwards: look it up again. */
static inline bool segment_replaced(const struct segment *s)
{
    return atomic_load(&s->replaced);
}

/* [any] First batch below end (a published size) whose last offset is >= offset. ERR_RANGE with *pos = end: none
 * has. */
int segment_locate(struct segment *s, int64_t offset, uint32_t end, uint32_t *pos, struct batch_head *h) must_use;
/* [any] Where a walk for the first batch with a timestamp >= ts and a last offset >= offset begins; ERR_RANGE: the
 * offset is above all below end. */
int segment_locate_time(struct segment *s, int64_t ts, int64_t offset, uint32_t end, uint32_t *pos) must_use;
/* [any] Whether `last` may be the last time entry of what lies before `upto`: its batch, which begins before `end`, has
 * that timestamp, and none from there to `upto` has a larger one; { -1 }: none has any. */
int segment_check_last_time(struct segment *s, struct time_index_entry last, uint32_t end, uint32_t upto,
                            bool *right) must_use;
/* [any] Whether a chunk that holds e.offset begins at e.pos; if not, the index is suspect from now on. */
int segment_check_entry(struct segment *s, struct offset_index_entry e, bool *right) must_use;
int segment_max(struct segment *s, struct time_index_entry *out) must_use;                              /* [any] */
int segment_first_timestamp(struct segment *s, int64_t *out) must_use;  /* [log] max timestamp of the first batch; -1 */

bool segment_wants_rebuild(struct segment *s);                          /* [any] an index of it is suspect */

/* segment_rebuild.c. [log] Both indexes anew from all of .log, with the last time entry if final. *damage: the position
 * where no whole batch begins, -1 none; what follows is not indexed. ERR_RANGE: it holds an offset that is too far from
 * its base for an index. */
int segment_rebuild_indexes(struct segment *s, int32_t interval_bytes, bool final, int64_t *damage) must_use;
int segment_cut_index(struct segment *s, enum segment_file f, int64_t bytes) must_use;  /* made if it is not there */

/* Whether the offset of an index entry is one of this batch, which follows one that ends with `before` (-1: unknown).
 * After compaction it may be less than the batch's last. */
static inline bool segment_holds(const struct batch_head *h, int64_t before, int64_t offset)
{
    if (offset > h->last_offset)
        return false;
    if (h->base_offset >= 0)
        return h->base_offset <= offset;
    return before >= 0 ? before < offset : h->last_offset == offset;
}

static inline bool segment_fits(const struct segment *s, const struct batch_head *h)
{
    return h->last_offset >= s->base && h->last_offset - s->base <= INT32_MAX;
}

int segment_mtime_ms(const struct segment *s, int64_t *out) must_use;   /* [any] */

/* Cuts .log and then nothing else: the caller rebuilds the indexes. */
int segment_truncate(struct segment *s, uint32_t size) must_use;        /* [log] */

#endif
