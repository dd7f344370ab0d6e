/* config/config.h - the broker's configuration: one immutable snapshot of every server property.
 *
 * struct config has one typed field for each property of config/params.def; the field is the property's name with
 * '.' as '_' (log.segment.bytes: cfg->log_segment_bytes). Below them stand the values derived from several properties;
 * code reads those, never the raw ones they come from (log.retention.hours, listeners, log.dirs, ...).
 *
 * OWNER    config_load() gives the caller one reference; config_ref() and config_unref() count. Every pointer inside
 *          lives as long as the snapshot.
 * LOCKS    none: immutable once config_load() has returned. Any thread may read.
 * UNITS    in the property's name (_ms, _bytes, ...). CONFIG_UNSET_INT / CONFIG_UNSET_LONG: not set.
 * FAILURE  config_load() finds all problems of all sources before it gives up; it logs nothing.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/err.h"
#include "config/param.h"

#include <stdatomic.h>
#include <stdio.h>

/* The numbers go over the wire and into the metadata store. */
enum security_protocol { SECURITY_PLAINTEXT, SECURITY_SSL, SECURITY_SASL_PLAINTEXT, SECURITY_SASL_SSL };

struct listener {
    const char            *name;        /* in upper case, as given otherwise: "PLAINTEXT", "INTERNAL" */
    const char            *host;        /* without brackets; NULL: every address (listeners), this host (advertised) */
    int32_t                port;        /* 0 in listeners: any free one */
    enum security_protocol protocol;
    /* listener.name.<name>.* where given, else the broker-wide value; meaningful in listeners_parsed only */
    int32_t                num_network_threads;
    int32_t                max_connections;                 /* INT32_MAX: no limit of its own */
    int32_t                max_connection_creation_rate;    /* INT32_MAX: no limit of its own */
};

struct ip_limit {                       /* one entry of max.connections.per.ip.overrides */
    const char *host;                   /* a name or an address, as given */
    int32_t     max_connections;
};

/* One property as it was given, by the source that won. */
struct config_given {
    const char         *key, *value;    /* value untrimmed */
    const struct param *param;          /* NULL: not a known property */
    const char         *file;           /* file name, "environment", "--override" */
    int                 line;           /* 0: not from a file */
};

/* Settings that were changed while brokers run: of one broker, or of all, which are weaker. Both are stronger than what
 * the broker was started with. */
enum config_layer { CONFIG_LAYER_CLUSTER, CONFIG_LAYER_BROKER };

struct config_dynamic {
    const char       *key, *value;
    enum config_layer layer;
};

struct config {
    /* one field for each row of the table */
#define P(type, field, ...) CFG_TYPE_##type field;
#include "config/params.def"
#undef P

    /* derived */
    const struct listener *listeners_parsed;
    size_t                 listeners_parsed_n;
    const struct listener *advertised_parsed;       /* names are a subset of those of listeners_parsed */
    size_t                 advertised_parsed_n;
    const char            *inter_broker_listener;   /* a name in advertised_parsed */
    const char            *control_plane_listener;  /* a name in listeners_parsed; NULL: none */
    struct config_list     log_dirs_parsed;         /* log.dirs, else log.dir; at least one */
    int64_t                retention_ms;            /* log.retention.ms, .minutes, .hours; -1: for ever */
    int64_t                roll_ms;                 /* log.roll.ms, .hours */
    int64_t                roll_jitter_ms;          /* log.roll.jitter.ms, .hours */
    int64_t                flush_interval_ms;       /* log.flush.interval.ms, else log.flush.scheduler.interval.ms */
    int64_t                timestamp_before_max_ms;     /* log.message.timestamp.before.max.ms, or .difference.max.ms */
    int64_t                timestamp_after_max_ms;
    const char            *message_format;          /* log.message.format.version in full; 3.0-IV1 where ignored */
    bool                   message_formats_ignored; /* inter.broker.protocol.version is 3.0 or higher */
    const struct ip_limit *ip_limits;               /* max.connections.per.ip.overrides */
    size_t                 ip_limits_n;

    /* what was given, in the order of the keys; config/describe.c and log lines at start read it */
    const struct config_given *given;
    size_t                     given_n;
    const struct config_dynamic *dynamic;           /* what was laid over it: config_overlay() */
    size_t                     dynamic_n;

    struct arena           arena;
    _Atomic unsigned       refs;
};

enum config_severity { CONFIG_WARNING, CONFIG_ERROR };

struct config_problem {
    enum config_severity severity;
    const char          *file;          /* file name, "environment" or "--override"; NULL: nowhere in particular */
    int                  line;          /* 0: none */
    const char          *key;           /* NULL: the problem is not one of a key */
    const char          *value;         /* as found; NULL: none, or not to be shown (passwords) */
    const char          *what;          /* one sentence: what is wrong and what is allowed */
    const char          *nearest;       /* nearest known key, for an unknown one; NULL: none */
};

struct config_problems {
    struct config_problem *v;           /* errors and warnings in the order of file and line */
    size_t                 n;
    size_t                 errors_n;
    struct arena           arena;
};

struct config_input {
    const char        *file;            /* properties file; NULL: none, all defaults */
    const char *const *overrides;       /* "key=value"; win over everything */
    size_t             overrides_n;
    char *const       *env;             /* environ; KAFKA_* win over the file. NULL: none */
};

/* OK: *out is ready, *problems holds warnings at most. ERR_INVALID: *problems holds at least one error and *out is
 * NULL. *problems is initialised here and ended by config_problems_fini() in both cases. ERR_NOMEM: as ERR_INVALID. */
int  config_load(struct config **out, const struct config_input *in, struct config_problems *problems) must_use;
void config_problems_fini(struct config_problems *problems);

/* A new snapshot: what `base` was started with, and these over it. ERR_INVALID: one of the values, or all of them
 * together, cannot be; `why` says it in Apache Kafka's words where it has any. ERR_NOMEM. */
int  config_overlay(struct config **out, const struct config *base, const struct config_dynamic *v, size_t n, char *why,
                    size_t why_size) must_use;

struct config *config_ref(const struct config *cfg);
void           config_unref(struct config **cfg);                                   /* NULL-safe */

/* One line for a person, without its newline: "server.properties:3: error: num.io.threads=0: must be at least 1". */
void config_problem_text(const struct config_problem *p, char *buf, size_t size);

/* klammd --check-config: print every problem to `out`, then one line with their number. Exit status: 0 when a broker
 * would start with it (warnings or not), 1 when there are errors. */
int config_check_print(FILE *out, const struct config_input *in);

/* The server property behind listener.name.<listener>.<property> or listener.name.<listener>.<mechanism>.sasl.<rest>;
 * NULL when the key is neither. */
#define LISTENER_PREFIX "listener.name."
const struct param *listener_base_param(const char *key);

/* Host and port as in a listener: "h:9092", "[::1]:9092", ":9092". */
void listener_text(const struct listener *l, char *buf, size_t size);
const char *security_protocol_name(enum security_protocol p);                       /* "SASL_SSL" */

#endif
