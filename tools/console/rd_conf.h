/* tools/console/rd_conf.h - properties of Kafka's Java producer and consumer, put into librdkafka's words.
 *
 * OWNER    the caller's rd_kafka_conf_t is changed in place.
 * LOCKS    none.
 * FAILURE  ERR_INVALID with a sentence in `error`: a bad value, or something that only a JVM could do (a JKS
 *          key store, a login module). Properties that mean nothing here are passed over; unknown ones are
 * warned of on stderr.
 */
#ifndef TOOLS_CONSOLE_RD_CONF_H
#define TOOLS_CONSOLE_RD_CONF_H

#include "tools/props.h"

#include <librdkafka/rdkafka.h>

enum rd_side { RD_PRODUCER = 1, RD_CONSUMER = 2 };

int rd_conf_apply(rd_kafka_conf_t *conf, enum rd_side side, const struct props *p, char *error,
                  size_t error_len) must_use;
/* One of librdkafka's own. */
int rd_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error, size_t error_len) must_use;

/* Lines about connections and the like on standard error, without the noise of single refused addresses. */
void rd_conf_log(rd_kafka_conf_t *conf);

#endif
