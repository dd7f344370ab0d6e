/* broker/cluster/topic_configs.h - the settings of topics as this broker sees them: /config/topics/<T> over
 * the server's defaults.
 *
 * A topic's settings are read from the store before the topic's first partition is made
 * (topic_configs_load()); from then on topic_configs_get() gives them without waiting. A topic that has
 * none, or that was never loaded, gets the server's defaults. The controller's thread brings what changes later
 * (topic_configs_put(), see broker/controller/config_changes.c); loading never replaces what is there.
 *
 * OWNER   entries are immutable and counted: topic_configs_get() / topic_config_entry_put().
 * LOCKS   class topicconf guards the map; held for a look-up only. Any thread.
 */
#ifndef BROKER_CLUSTER_TOPIC_CONFIGS_H
#define BROKER_CLUSTER_TOPIC_CONFIGS_H

#include "base/bytes.h"
#include "base/err.h"
#include "config/topic_config.h"

#include <stdatomic.h>

struct config;
struct store;
struct store_op;
struct topic_configs;

struct topic_config_entry {
    atomic_int          refs;           /* topic_configs' and the readers' */
    struct topic_config cfg;            /* typed; cfg.given: as stored */
};

int  topic_configs_new(struct topic_configs **out, struct store *store, const struct config *cfg) must_use;
void topic_configs_free(struct topic_configs **tc);                     /* NULL-safe */

/* Never NULL; give it back. */
struct topic_config_entry *topic_configs_get(struct topic_configs *tc, struct str topic) must_use;
void topic_config_entry_put(struct topic_config_entry **e);             /* NULL-safe */

/* Reads the settings of those of the topics that are not loaded yet; waits for the store. A topic whose
 * settings cannot be read or are not valid gets the defaults and one log line. ERR_NOMEM. */
int  topic_configs_load(struct topic_configs *tc, const struct str *topics, size_t n) must_use;
int  topic_configs_load_all(struct topic_configs *tc) must_use;         /* of every topic; at start */
/* What the topic's node in the store holds now: node->rc is OK (with a value) or ERR_NOENT. *changed: the settings
 * are others than before. ERR_NOMEM. ERR_INVALID: settings that are not valid; the defaults replace them (logged). */
int  topic_configs_put(struct topic_configs *tc, struct str topic, const struct store_op *node, struct arena *a,
                       bool *changed) must_use;
/* Other defaults of the server from now on, under the settings that the topics have of their own. ERR_NOMEM: some
 * topics keep the old ones; ERR_INVALID: they all do (logged). */
int  topic_configs_rebase(struct topic_configs *tc, const struct config *cfg) must_use;
void topic_configs_forget(struct topic_configs *tc, struct str topic);  /* the topic has been deleted */

#endif
