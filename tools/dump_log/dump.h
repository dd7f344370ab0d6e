/* tools/dump_log/dump.h - inside of kafka-dump-log.sh: what it was told, what it found wrong, and one function for each
 * kind of file.
 *
 * OWNER    struct dump is the command's; the lists of faults lie in its arena.
 * LOCKS    none: one thread. The files may belong to a broker that runs: what is read is a moment's view.
 * FAILURE  ERR_* with a sentence in d->error ends the command; faults in a file's content are printed and gone past.
 */
#ifndef TOOLS_DUMP_LOG_DUMP_H
#define TOOLS_DUMP_LOG_DUMP_H

#include "base/arena.h"
#include "proto/records/records.h"

#include <stdio.h>

enum dump_topic { TOPIC_ANY, TOPIC_OFFSETS, TOPIC_TXN };        /* whose records they are */
enum dump_decoder { DECODE_STRING, DECODE_LONG, DECODE_INTEGER };

/* Two numbers about one file, for the lists that stand at the end of the output. */
struct dump_fault {
    const char        *file;            /* absolute */
    int64_t            a, b;
    struct dump_fault *next;
};

struct dump_faults {
    struct dump_fault *first, **last;
};

struct dump {
    bool               deep, print_data, sanity_only, verify_only, skip_metadata;
    int64_t            max_bytes;               /* of each .log */
    enum dump_decoder  key_decoder, value_decoder;
    enum dump_topic    topic;
    struct dump_faults index_mismatches;        /* index offset, offset found in the log */
    struct dump_faults time_mismatches;         /* index timestamp, largest timestamp in the log */
    struct dump_faults time_disorder;           /* index timestamp, the one before it */
    struct dump_faults not_found;               /* indexed offset, offset found in the log */
    struct dump_faults gaps;                    /* offset, the one that follows it */
    struct arena       arena;
    char               error[512];
};

int dump_fail(struct dump *d, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4))) must_use;
int dump_fault_add(struct dump *d, struct dump_faults *list, const char *file, int64_t a, int64_t b) must_use;
/* The base offset in a segment file's name. */
int dump_base_offset(struct dump *d, const char *file, int64_t *out) must_use;
/* The whole of a small file, in the arena. */
int dump_read_file(struct dump *d, const char *file, struct bytes *out) must_use;

int dump_log(struct dump *d, const char *file) must_use;            /* .log */
int dump_index(struct dump *d, const char *file) must_use;          /* .index */
int dump_time_index(struct dump *d, const char *file) must_use;     /* .timeindex */
int dump_txn_index(struct dump *d, const char *file) must_use;      /* .txnindex */
int dump_snapshot(struct dump *d, const char *file) must_use;       /* .snapshot */
/* Checkpoints and the other small files, by their names. ERR_NOENT: none of those. */
int dump_small_file(struct dump *d, const char *file) must_use;

/* Prints " key: ... payload: ..." of a record of an internal topic. */
void dump_decode(enum dump_topic topic, const struct record *r, const char *prefix);

/* ---- a .log file, batch by batch ---- */

struct log_file {
    const char       *name;
    int               fd;
    int64_t           size;             /* when it was opened, or max_bytes */
    int64_t           pos;              /* where the next batch begins */
    struct batch_head head;             /* of the batch that log_file_next() gave */
    uint8_t          *buf;              /* its bytes */
    size_t            cap;
};

/* max_bytes: look at no more than that. */
int  log_file_open(struct dump *d, struct log_file *f, const char *file, int64_t max_bytes) must_use;
void log_file_close(struct log_file *f);
/* ERR_NOENT at the end: f->pos is then the number of good bytes. ERR_CORRUPT: a header that makes no sense. */
int  log_file_next(struct dump *d, struct log_file *f) must_use;

#endif
