/* broker/cluster/broker_configs.h - settings of brokers that are changed while they run: /config/brokers/<default> over
 * what this broker was started with, and /config/brokers/<id> over both.
 *
 * broker_configs_get() gives the snapshot that holds now. Most of the daemon goes on with the one that it was started
 * with (struct broker); what takes a change up at once is listed in broker/reconfigure.c.
 *
 * OWNER   the daemon makes one; snapshots are counted (config_unref()).
 * LOCKS   class brokerconf guards the pointer to the snapshot. broker_configs_put() is called by one thread at a time.
 * FAILURE a setting in the store that cannot be is left out, with a log line that names it.
 */
#ifndef BROKER_CLUSTER_BROKER_CONFIGS_H
#define BROKER_CLUSTER_BROKER_CONFIGS_H

#include "config/config.h"
#include "metadata/znodes.h"

struct broker_configs;
struct store;
struct store_op;

#define BROKER_CONFIGS_DEFAULT "<default>"      /* the entity that all brokers share */

/* Waits for the store. */
int  broker_configs_new(struct broker_configs **out, struct store *store, const struct config *base,
                        int32_t broker_id) must_use;
void broker_configs_free(struct broker_configs **bc);                   /* NULL-safe */

struct config *broker_configs_get(struct broker_configs *bc) must_use;  /* never NULL; give it back */

/* What a node in the store holds now (node->rc is OK or ERR_NOENT); *changed: something else holds than before. */
int  broker_configs_put(struct broker_configs *bc, enum config_layer layer, const struct store_op *node,
                        struct arena *a, bool *changed) must_use;

/* May a layer's settings be these? ERR_INVALID with a sentence. */
int  broker_configs_check(struct broker_configs *bc, enum config_layer layer, const struct znode_config *z, char *why,
                          size_t why_size) must_use;

/* "/config/brokers/<default>" or "/config/brokers/3", and the entity that notifications name: "brokers/3". */
struct zpath broker_configs_path(enum config_layer layer, int32_t broker_id);
const char  *broker_configs_entity(struct zpath path[static 1]);

#endif
