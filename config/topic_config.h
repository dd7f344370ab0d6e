/* config/topic_config.h - the configuration of one topic: its own properties over the server's defaults.
 *
 * One typed field for each row of config/topic_params.def (segment.bytes: tc->segment_bytes), and below them
 * what code asks for instead of comparing words.
 *
 * OWNER    the caller owns the struct; topic_config_fini() ends it. Texts and lists live in its arena or in the
 *          struct config that it was built from, of which it holds a reference. A topic without properties of its
 *          own takes nothing from the heap.
 * LOCKS    none: immutable once built. Any thread may read.
 * FAILURE  ERR_INVALID with Apache Kafka's own sentence in `why` (its wire code is INVALID_CONFIG), ERR_NOMEM.
 */
#ifndef CONFIG_TOPIC_CONFIG_H
#define CONFIG_TOPIC_CONFIG_H

#include "config/config.h"

enum { CLEANUP_DELETE = 1, CLEANUP_COMPACT = 2 };           /* bits of cleanup */

/* What a topic's batches are stored as. The first five are the codec numbers of a record batch. */
enum topic_codec {
    TOPIC_CODEC_NONE,
    TOPIC_CODEC_GZIP,
    TOPIC_CODEC_SNAPPY,
    TOPIC_CODEC_LZ4,
    TOPIC_CODEC_ZSTD,
    TOPIC_CODEC_PRODUCER,               /* as the producer sent them */
};

struct topic_property {
    struct str name, value;             /* value.p NULL: as if not given */
};

struct topic_config {
    /* one field for each row of the table */
#define P(type, field, ...) CFG_TYPE_##type field;
#include "config/topic_params.def"
#undef P

    /* derived */
    unsigned         cleanup;                   /* CLEANUP_* */
    enum topic_codec codec;
    int              codec_level;               /* for the codec above, where it has levels */
    int8_t           magic;                     /* of the batches that are stored; message.format.version */
    bool             log_append_time;           /* message.timestamp.type=LogAppendTime */
    int64_t          timestamp_before_max_ms;   /* message.timestamp.before.max.ms, or the older difference.max.ms */
    int64_t          timestamp_after_max_ms;

    /* what was given for this topic; sorted by name */
    const struct topic_property *given;
    size_t                       given_n;

    const struct config *server;                /* a reference of our own */
    struct arena         arena;
};

enum topic_config_mode {
    TOPIC_CONFIG_ASKED,         /* somebody asks for these: an unknown name is an error */
    TOPIC_CONFIG_STORED,        /* these are in the store already: unknown names are kept in `given` and do nothing */
};

/* Builds *out (no fini needed on failure). `why` is a whole sentence on ERR_INVALID and ERR_NOMEM. */
int  topic_config_build(struct topic_config *out, const struct config *server, enum topic_config_mode mode,
                        const struct topic_property *given, size_t given_n, char *why, size_t why_size) must_use;
void topic_config_fini(struct topic_config *tc);

/* `why` of ERR_INVALID: is it about one value? Where settings are changed, Apache Kafka then begins its sentence with
 * the resource. */
bool topic_config_fault_is_of_value(const char *why);

/* The server property that a topic property falls back to; NULL where there is none. */
const char *topic_config_server_name(const char *topic_property);

#endif
