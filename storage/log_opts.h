/* storage/log_opts.h - the options that storage is given; the broker fills them in from properties.
 *
 * OWNER  plain values, copied by whoever is given them; strings in struct logmgr_opts are copied at open.
 * UNITS  _ms milliseconds, _bytes bytes. -1 means "no limit" where the comment says so.
 */
#ifndef STORAGE_LOG_OPTS_H
#define STORAGE_LOG_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For each topic. log_opts_init() gives Kafka's defaults. */
struct log_opts {
    int32_t segment_bytes;              /* segment.bytes */
    int32_t segment_index_bytes;        /* segment.index.bytes */
    int32_t index_interval_bytes;       /* index.interval.bytes */
    int64_t segment_ms;                 /* segment.ms */
    int64_t segment_jitter_ms;          /* segment.jitter.ms */
    int64_t retention_ms;               /* retention.ms; -1: no limit */
    int64_t retention_bytes;            /* retention.bytes; -1: no limit */
    int64_t file_delete_delay_ms;       /* file.delete.delay.ms */
    int64_t flush_messages;             /* flush.messages: with n, at most n - 1 records below HW are not synced */
    int64_t flush_ms;                   /* flush.ms: age at which an appended record is synced */
    bool    of_coordinators;            /* what they write is taken below the limit of free room, on each replica */
    bool    delete_policy;              /* cleanup.policy contains "delete": retention by time and size */
    bool    compact_policy;             /* cleanup.policy contains "compact" */
    /* where compact_policy is set */
    int64_t delete_retention_ms;        /* delete.retention.ms: how long tombstones and markers stay once seen */
    int64_t min_compaction_lag_ms;      /* min.compaction.lag.ms */
    int64_t max_compaction_lag_ms;      /* max.compaction.lag.ms; INT64_MAX: no limit */
    double  min_cleanable_ratio;        /* min.cleanable.dirty.ratio */
    int     codec, codec_level;         /* compression.type and its level, for batches of that codec that are written
                                         * anew; codec -1: the producer's, at its usual level */
};

void log_opts_init(struct log_opts *o);

/* For the log cleaner. */
struct cleaner_opts {
    bool    enable;                     /* log.cleaner.enable */
    int     threads;                    /* log.cleaner.threads */
    int64_t map_bytes;                  /* log.cleaner.dedupe.buffer.size: of all threads */
    double  map_load;                   /* log.cleaner.io.buffer.load.factor */
    int64_t io_bytes;                   /* log.cleaner.io.buffer.size: of all threads */
    double  io_bytes_per_s;             /* log.cleaner.io.max.bytes.per.second */
    int64_t backoff_ms;                 /* log.cleaner.backoff.ms */
};

/* For the whole log manager. logmgr_opts_init() gives Kafka's defaults; dirs must be set. */
struct logmgr_opts {
    const char *const *dirs;                    /* log.dirs */
    size_t  dirs_n;                             /* more than one is refused until placement over several exists */
    int     recovery_threads;                   /* num.recovery.threads.per.data.dir */
    int64_t producer_id_expiration_ms;          /* producer.id.expiration.ms */
    int64_t producer_id_check_ms;               /* producer.id.expiration.check.interval.ms */
    int64_t retention_check_ms;                 /* log.retention.check.interval.ms */
    int64_t initial_task_delay_ms;              /* log.initial.task.delay.ms */
    int64_t hw_checkpoint_ms;                   /* replica.high.watermark.checkpoint.interval.ms */
    int64_t start_checkpoint_ms;                /* log.flush.start.offset.checkpoint.interval.ms */
    int64_t sync_checkpoint_ms;                 /* log.flush.offset.checkpoint.interval.ms: age at which appended
                                                 * bytes are synced and the recovery point moves up */
    struct cleaner_opts cleaner;
    int64_t move_bytes_per_s;                   /* replica.alter.log.dirs.io.max.bytes.per.second; INT64_MAX: none */
    size_t  open_files_max;                     /* .log files open at a time; half of what the process may open */
    int64_t min_free_bytes;                     /* klamm.log.dir.min.free.bytes; -1: by the size of the volume */
    int64_t (*now_ms)(void);                    /* wall clock; tests put their own */
};

void logmgr_opts_init(struct logmgr_opts *o);

#endif
