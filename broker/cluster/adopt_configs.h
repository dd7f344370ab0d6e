/* broker/cluster/adopt_configs.h - the settings that topics had in Apache Kafka, from a file that holds what its
 * `kafka-topics.sh --describe` printed: of each topic one line
 *
 *   Topic: t <tab> PartitionCount: 3 <tab> ReplicationFactor: 1 <tab> Configs: cleanup.policy=compact,delete,flush.ms=9
 *
 * Other lines are not looked at.
 *
 * OWNER    adopt_configs_read() gives an object that the caller frees; what it gives out lives as long.
 * LOCKS    none; one thread.
 * FAILURE  logged with file, line and what to do. ERR_INVALID: a setting is not valid, or there is no such line at all.
 */
#ifndef BROKER_CLUSTER_ADOPT_CONFIGS_H
#define BROKER_CLUSTER_ADOPT_CONFIGS_H

#include "base/bytes.h"
#include "base/err.h"
#include "metadata/znodes.h"

struct adopt_configs;
struct config;

int  adopt_configs_read(const char *path, const struct config *cfg, struct adopt_configs **out) must_use;
void adopt_configs_free(struct adopt_configs **c);                                      /* NULL-safe */

/* NULL: the file does not have the topic. c may be NULL. */
const struct znode_config *adopt_configs_of(const struct adopt_configs *c, struct str topic);

#endif
