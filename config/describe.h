/* config/describe.h - every property of a broker or a topic with its value and where that comes from (DescribeConfigs).
 *
 * OWNER  the list and its texts live in the caller's arena or in the configuration described; keep a reference of that.
 * LOCKS  none.
 */
#ifndef CONFIG_DESCRIBE_H
#define CONFIG_DESCRIBE_H

#include "config/config.h"
#include "config/topic_config.h"

/* The numbers are those of DescribeConfigs' ConfigSource. */
enum config_source {
    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_DYNAMIC_BROKER = 2,
    CONFIG_SOURCE_DYNAMIC_CLUSTER = 3,
    CONFIG_SOURCE_STATIC_BROKER = 4,
    CONFIG_SOURCE_DEFAULT = 5,
};

struct config_synonym {
    const char        *name, *value;    /* value NULL: sensitive */
    enum config_source source;
};

enum { CONFIG_SYNONYMS_MAX = 16 };

struct config_entry {
    const char           *name;
    const char           *value;        /* NULL: not set, or sensitive */
    enum config_source    source;
    int                   type;         /* enum config_type; 0: a key that nobody knows */
    bool                  read_only, sensitive;
    const char           *doc;          /* NULL: none */
    struct config_synonym synonyms[CONFIG_SYNONYMS_MAX];    /* the one in force first */
    size_t                synonyms_n;
};

/* Sorted by name. ERR_NOMEM. */
int config_describe(const struct config *cfg, struct arena *a, struct config_entry **out, size_t *n) must_use;
/* Only what was set for all brokers, while they run. */
int config_describe_cluster(const struct config *cfg, struct arena *a, struct config_entry **out, size_t *n) must_use;
int topic_config_describe(const struct topic_config *tc, struct arena *a, struct config_entry **out,
                          size_t *n) must_use;

#endif
