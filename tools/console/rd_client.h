/* tools/console/rd_client.h - the life of a librdkafka client in a command: made from Java's properties, stopped by
 * signals.
 *
 * OWNER    rd_open() takes the rd_kafka_conf_t whatever happens; the handle is the caller's.
 * LOCKS    none: one thread. The signal handler only notes the signal.
 * FAILURE  ERR_INVALID with a sentence in `error`.
 */
#ifndef TOOLS_CONSOLE_RD_CLIENT_H
#define TOOLS_CONSOLE_RD_CLIENT_H

#include "tools/console/rd_conf.h"

/* In librdkafka's words; wins over the properties. */
struct rd_setting {
    const char *name, *value;
};

int rd_open(rd_kafka_t **out, enum rd_side side, rd_kafka_conf_t *conf, const struct props *p,
            const struct rd_setting *fixed, size_t fixed_n, char *error, size_t error_len) must_use;

/* What a Java client does without being told, where librdkafka does otherwise: set unless `p` has it. A producer
 * also becomes idempotent unless a property rules that out. */
int rd_props_defaults(struct props *p, enum rd_side side, const char *client_id, struct arena *a) must_use;

/* INT and TERM are noted from now on, another one a second later ends the process; PIPE is ignored. */
void rd_stop_on_signals(void);
/* The signal that came, 0: none. */
int  rd_stopped(void);

#endif
