/* config/param.h - what one row of a property table says, and how text becomes a value.
 *
 * config/params.def (the server's properties) and config/topic_params.def (a topic's) are the only lists of
 * properties in the tree. A row is
 *     P(TYPE, field, "name", default, VALID, WHEN, IMPORTANCE, EFFECT, "help")
 *   TYPE    BOOLEAN INT SHORT LONG DOUBLE STRING LIST CLASS PASSWORD, parsed exactly as Apache Kafka's ConfigDef does
 *   default text as it would stand in a file, or NULL for "not set"
 *   VALID   ANY, AT_LEAST(n), BETWEEN(n, m), ... (the macros in param.c)
 *   WHEN    READ_ONLY, PER_BROKER or CLUSTER_WIDE: how the property may change while the broker runs
 *           (topic_params.def has in its place the server property that the topic's falls back to, or NULL)
 *   EFFECT  EFFECT: does what it says, also when it is changed while the broker runs, if WHEN lets it
 *           LATER: the same, but such a change waits for the broker's next start
 *           NONE: accepted, does nothing yet (a warning when set)
 *           REFUSE: promises safety or security and does nothing yet, so any value but the default stops the start
 * OWNER   tables are static. Values that are text or lists live in the arena given to param_set().
 * LOCKS   none: pure functions.
 */
#ifndef CONFIG_PARAM_H
#define CONFIG_PARAM_H

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those of DescribeConfigs' ConfigType. */
enum config_type {
    CONFIG_BOOLEAN = 1,
    CONFIG_STRING,
    CONFIG_INT,
    CONFIG_SHORT,
    CONFIG_LONG,
    CONFIG_DOUBLE,
    CONFIG_LIST,
    CONFIG_CLASS,
    CONFIG_PASSWORD,
};

enum config_when { CONFIG_READ_ONLY, CONFIG_PER_BROKER, CONFIG_CLUSTER_WIDE };
enum config_importance { CONFIG_HIGH, CONFIG_MEDIUM, CONFIG_LOW };
enum config_effect { CONFIG_EFFECT, CONFIG_LATER, CONFIG_NONE, CONFIG_REFUSE };

/* Flags: INTERNAL is not listed by DescribeConfigs unless it was set; OLD exists in 2.7 but no more in 3.9; DYNAMIC can
 * be set while brokers run, by kafka-configs.sh, and in no file (not listed unless set, either). */
enum { PARAM_INTERNAL = 1, PARAM_OLD = 2, PARAM_DYNAMIC = 4 };

/* "Not set" for a number; every other type that can be unset is NULL. */
#define CONFIG_UNSET_INT  INT32_MIN
#define CONFIG_UNSET_LONG INT64_MIN

struct config_list {
    const char *const *v;       /* NULL: not set */
    size_t             n;
};

/* The C type of a field, by the TYPE column. */
#define CFG_TYPE_BOOLEAN  bool
#define CFG_TYPE_INT      int32_t
#define CFG_TYPE_SHORT    int16_t
#define CFG_TYPE_LONG     int64_t
#define CFG_TYPE_DOUBLE   double
#define CFG_TYPE_STRING   const char *
#define CFG_TYPE_LIST     struct config_list
#define CFG_TYPE_CLASS    const char *
#define CFG_TYPE_PASSWORD const char *

struct param;

/* Looks at a parsed value beyond its type; writes why not into `why` and gives ERR_RANGE. */
typedef int param_check_fn(const struct param *p, const void *value, char *why, size_t why_size);

struct param_valid {
    param_check_fn *check;      /* NULL: any value of the type */
    int64_t         min, max;
    double          fmin, fmax;
    const char     *words;      /* the words that are allowed, comma-separated */
    const char     *text;       /* what is allowed, for a person; NULL: made from the rest */
};

struct param {
    const char            *name;
    const char            *field;       /* name of the member, for messages of tests */
    enum config_type       type;
    size_t                 offset;      /* of the member in its struct */
    const char            *dflt;        /* NULL: not set */
    struct param_valid     valid;
    enum config_when       when;
    enum config_importance importance;
    enum config_effect     effect;
    unsigned               flags;
    const char            *help;
    const char            *server_name; /* topic properties: the server's that it falls back to; NULL: none */
};

struct param_table {
    const struct param *v;
    size_t              n;
};

extern const struct param_table server_params;      /* offsets into struct config */
extern const struct param_table topic_params;       /* offsets into struct topic_config */

const struct param *param_find(const struct param_table *t, struct str name);       /* NULL: no such property */

/* The known property whose name is nearest to `name` by edit distance; NULL when none is near. */
const struct param *param_nearest(const struct param_table *t, struct str name);

/* Parse `text` (NULL: "not set"), check it and store it in the struct at `base`. On ERR_RANGE (not of the type, or not
 * allowed) `why` completes "Invalid value X for configuration Y: " in Apache Kafka's words. ERR_NOMEM otherwise. */
int param_set(const struct param *p, void *base, const char *text, struct arena *a, char *why,
              size_t why_size) must_use;

/* The value held at `base` as Apache Kafka prints it (12, true, a,b, 0.5); NULL when not set. ERR_NOMEM. */
int param_text(const struct param *p, const void *base, struct arena *a, const char **out) must_use;

/* What "Invalid value X" names when `text` has been refused: of a list, the first item that is not allowed, or all of
 * them in brackets; else the text. NULL: out of memory. */
const char *param_refused(const struct param *p, const char *text, struct arena *a) must_use;

const char *param_type_name(enum config_type type);                                 /* "LONG" */
void param_allowed(const struct param *p, char *buf, size_t size);                  /* "a LONG of at least 1" */

#endif
