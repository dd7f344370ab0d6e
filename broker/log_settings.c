/* broker/log_settings.c - from properties to the options of the log manager. */
#include "broker/log_settings.h"

#include "base/clock.h"
#include "config/config.h"

void log_settings_of(const struct config *cfg, struct logmgr_opts *out)
{
    logmgr_opts_init(out);
    out->dirs = cfg->log_dirs_parsed.v;
    out->dirs_n = cfg->log_dirs_parsed.n;
    out->recovery_threads = cfg->num_recovery_threads_per_data_dir;
    out->producer_id_expiration_ms = cfg->producer_id_expiration_ms;
    out->producer_id_check_ms = cfg->producer_id_expiration_check_interval_ms;
    out->retention_check_ms = cfg->log_retention_check_interval_ms;
    out->initial_task_delay_ms = cfg->log_initial_task_delay_ms;
    out->hw_checkpoint_ms = cfg->replica_high_watermark_checkpoint_interval_ms;
    out->start_checkpoint_ms = cfg->log_flush_start_offset_checkpoint_interval_ms;
    out->sync_checkpoint_ms = cfg->log_flush_offset_checkpoint_interval_ms;
    out->cleaner = (struct cleaner_opts){
        .enable = cfg->log_cleaner_enable,
        .threads = cfg->log_cleaner_threads,
        .map_bytes = cfg->log_cleaner_dedupe_buffer_size,
        .map_load = cfg->log_cleaner_io_buffer_load_factor,
        .io_bytes = cfg->log_cleaner_io_buffer_size,
        .io_bytes_per_s = cfg->log_cleaner_io_max_bytes_per_second,
        .backoff_ms = cfg->log_cleaner_backoff_ms,
    };
    out->move_bytes_per_s = cfg->replica_alter_log_dirs_io_max_bytes_per_second;
    out->min_free_bytes = cfg->klamm_log_dir_min_free_bytes;
    out->now_ms = wall_ms;
}
