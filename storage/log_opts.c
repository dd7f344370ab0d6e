/* storage/log_opts.c - Kafka's defaults of the options. */
#include "storage/log_opts.h"

#include "base/clock.h"
#include "storage/open_files.h"

#include <float.h>

void log_opts_init(struct log_opts *o)
{
    *o = (struct log_opts){
        .segment_bytes = 1073741824,
        .segment_index_bytes = 10485760,
        .index_interval_bytes = 4096,
        .segment_ms = 7LL * 24 * 3600 * 1000,
        .segment_jitter_ms = 0,
        .retention_ms = 7LL * 24 * 3600 * 1000,
        .retention_bytes = -1,
        .file_delete_delay_ms = 60000,
        .flush_messages = INT64_MAX,
        .flush_ms = INT64_MAX,
        .delete_policy = true,
        .delete_retention_ms = 24LL * 3600 * 1000,
        .max_compaction_lag_ms = INT64_MAX,
        .min_cleanable_ratio = 0.5,
        .codec = -1,
    };
}

void logmgr_opts_init(struct logmgr_opts *o)
{
    *o = (struct logmgr_opts){
        .recovery_threads = 1,
        .producer_id_expiration_ms = 86400000,
        .producer_id_check_ms = 600000,
        .retention_check_ms = 300000,
        .initial_task_delay_ms = 30000,
        .hw_checkpoint_ms = 5000,
        .start_checkpoint_ms = 60000,
        .sync_checkpoint_ms = 60000,
        .cleaner = {
            .enable = true,
            .threads = 1,
            .map_bytes = 128 << 20,
            .map_load = 0.9,
            .io_bytes = 512 << 10,
            .io_bytes_per_s = DBL_MAX,
            .backoff_ms = 15000,
        },
        .move_bytes_per_s = INT64_MAX,
        .open_files_max = open_files_default(),
        .min_free_bytes = -1,
        .now_ms = wall_ms,
    };
}
