/* storage/checkpoint_file.h - the text checkpoints: offsets of many logs, leader epochs of one.
 *
 *   0                       version
 *   2                       number of entries
 *   topic partition offset  one line each            |  epoch start_offset    in leader-epoch-checkpoint
 *
 * Fields are split at white space; every line ends with a newline. An empty or missing file has no entries.
 * OWNER    what is read is malloc'ed; *_free() it.
 * FAILURE  ERR_CORRUPT, with the number of the bad line (from 1) in *line: a wrong version, a malformed or
 *          negative value, a count that is not the number of lines. Also what fio gives.
 */
#ifndef STORAGE_CHECKPOINT_FILE_H
#define STORAGE_CHECKPOINT_FILE_H

#include "base/bytes.h"
#include "base/err.h"

#define CHECKPOINT_RECOVERY_POINT   "recovery-point-offset-checkpoint"
#define CHECKPOINT_LOG_START        "log-start-offset-checkpoint"
#define CHECKPOINT_HIGH_WATERMARK   "replication-offset-checkpoint"
#define CHECKPOINT_CLEANER          "cleaner-offset-checkpoint"
#define CHECKPOINT_LEADER_EPOCH     "leader-epoch-checkpoint"
#define CHECKPOINT_TXN_SUMS         ".klamm-txn-indexes"        /* ours: for each log what plog_txn_sum() says */

struct offset_entry {
    struct str topic;                   /* into text when read; borrowed when written */
    int32_t    partition;
    int64_t    offset;
};

struct offset_checkpoint {
    uint8_t             *text;          /* owned: what the topics point into */
    struct offset_entry *v;             /* sorted by topic, partition */
    size_t               n;
};

/* Takes over text, also when it fails. */
int  offset_checkpoint_parse(uint8_t *text, size_t len, struct offset_checkpoint *out, size_t *line) must_use;
int  offset_checkpoint_read(int dirfd, const char *name, struct offset_checkpoint *out, size_t *line) must_use;
void offset_checkpoint_free(struct offset_checkpoint *c);
/* -1: no entry. */
int64_t offset_checkpoint_find(const struct offset_checkpoint *c, struct str topic, int32_t partition);
/* Durable when it returns OK; otherwise the file is as it was. */
int  offset_checkpoint_write(int dirfd, const char *name, const struct offset_entry *v, size_t n) must_use;

struct epoch_entry {
    int32_t epoch;
    int64_t start;
};

/* As it is in the file, in order; the caller judges whether it makes sense. */
int  epoch_checkpoint_parse(const uint8_t *text, size_t len, struct epoch_entry **v, size_t *n, size_t *line) must_use;
/* The file's bytes, malloc'ed. */
int  epoch_checkpoint_print(const struct epoch_entry *v, size_t n, char **text, size_t *len) must_use;

#endif
