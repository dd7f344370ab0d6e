/* broker/log_settings.h - what the properties say to the log manager. */
#ifndef BROKER_LOG_SETTINGS_H
#define BROKER_LOG_SETTINGS_H

#include "storage/log_opts.h"

struct config;

void log_settings_of(const struct config *cfg, struct logmgr_opts *out);        /* strings are the configuration's */

#endif
