/* config/topic_config.c - a topic's properties over the server's: copied from there, then overridden. */
#include "config/topic_config.h"

#include "config/version.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOPIC_LIMIT_BYTES = 1 << 20 };

/* Topic properties whose server value is derived from several. */
static const struct derived {
    const char *name;
    size_t      topic, server;
} derived[] = {
    { "retention.ms", offsetof(struct topic_config, retention_ms), offsetof(struct config, retention_ms) },
    { "segment.ms", offsetof(struct topic_config, segment_ms), offsetof(struct config, roll_ms) },
    { "segment.jitter.ms", offsetof(struct topic_config, segment_jitter_ms), offsetof(struct config, roll_jitter_ms) },
    { "flush.ms", offsetof(struct topic_config, flush_ms), offsetof(struct config, flush_interval_ms) },
    { "message.timestamp.before.max.ms", offsetof(struct topic_config, message_timestamp_before_max_ms),
      offsetof(struct config, timestamp_before_max_ms) },
    { "message.timestamp.after.max.ms", offsetof(struct topic_config, message_timestamp_after_max_ms),
      offsetof(struct config, timestamp_after_max_ms) },
    { "message.format.version", offsetof(struct topic_config, message_format_version),
      offsetof(struct config, message_format) },
};

static size_t size_of(enum config_type type)
{
    switch (type) {
    case CONFIG_BOOLEAN: return sizeof(bool);
    case CONFIG_INT:     return sizeof(int32_t);
    case CONFIG_SHORT:   return sizeof(int16_t);
    case CONFIG_LONG:    return sizeof(int64_t);
    case CONFIG_DOUBLE:  return sizeof(double);
    case CONFIG_LIST:    return sizeof(struct config_list);
    default:             return sizeof(const char *);
    }
}

static int set_default(struct topic_config *out, const struct param *p)
{
    const struct param *s = p->server_name != NULL ? param_find(&server_params, str_of(p->server_name)) : NULL;
    char why[256];

    for (size_t i = 0; i < sizeof derived / sizeof derived[0]; i++) {
        if (strcmp(derived[i].name, p->name) == 0) {
            memcpy((char *)out + derived[i].topic, (const char *)out->server + derived[i].server, size_of(p->type));
            return OK;
        }
    }
    if (s == NULL)
        return param_set(p, out, p->dflt, &out->arena, why, sizeof why);
    assert(s->type == p->type);
    memcpy((char *)out + p->offset, (const char *)out->server + s->offset, size_of(p->type));
    return OK;
}

bool topic_config_fault_is_of_value(const char *why)
{
    return strncmp(why, "Invalid value ", 14) == 0 || strncmp(why, "Tiered Storage ", 15) == 0;
}

const char *topic_config_server_name(const char *topic_property)
{
    const struct param *p = param_find(&topic_params, str_of(topic_property));

    return p != NULL ? p->server_name : NULL;
}

/* ---- what follows from the fields --------------------------------------------------------------------------- */

static bool has_word(struct config_list list, const char *word)
{
    for (size_t i = 0; i < list.n; i++)
        if (strcmp(list.v[i], word) == 0)
            return true;
    return false;
}

static void derive_codec(struct topic_config *tc)
{
    static const struct {
        const char *name;
        enum topic_codec codec;
    } codecs[] = {
        { "uncompressed", TOPIC_CODEC_NONE }, { "gzip", TOPIC_CODEC_GZIP }, { "snappy", TOPIC_CODEC_SNAPPY },
        { "lz4", TOPIC_CODEC_LZ4 },           { "zstd", TOPIC_CODEC_ZSTD }, { "producer", TOPIC_CODEC_PRODUCER },
    };

    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++)
        if (strcmp(codecs[i].name, tc->compression_type) == 0)
            tc->codec = codecs[i].codec;
    tc->codec_level = tc->codec == TOPIC_CODEC_GZIP ? tc->compression_gzip_level
                    : tc->codec == TOPIC_CODEC_LZ4 ? tc->compression_lz4_level
                    : tc->codec == TOPIC_CODEC_ZSTD ? tc->compression_zstd_level : 0;
}

/* What a topic wants is ignored where the server's format is, and where it is above the protocol's version. */
static void derive_magic(struct topic_config *tc)
{
    const struct config *server = tc->server;
    int allowed = version_find(server->inter_broker_protocol_version, NULL);

    tc->magic = 2;
    if (server->message_formats_ignored)
        return;
    tc->magic = (int8_t)version_magic(version_find(tc->message_format_version, NULL) <= allowed
                                          ? tc->message_format_version : server->message_format);
}

static void derive(struct topic_config *tc)
{
    int64_t older = tc->message_timestamp_difference_max_ms;

    tc->cleanup = (has_word(tc->cleanup_policy, "delete") ? CLEANUP_DELETE : 0U) |
                  (has_word(tc->cleanup_policy, "compact") ? CLEANUP_COMPACT : 0U);
    derive_magic(tc);
    derive_codec(tc);
    tc->log_append_time = strcmp(tc->message_timestamp_type, "LogAppendTime") == 0;
    tc->timestamp_before_max_ms = tc->message_timestamp_before_max_ms != INT64_MAX ? tc->message_timestamp_before_max_ms
                                                                                   : older;
    tc->timestamp_after_max_ms = tc->message_timestamp_after_max_ms != INT64_MAX ? tc->message_timestamp_after_max_ms
                                                                                 : older;
}

/* ---- the topic's own ---------------------------------------------------------------------------------------- */

static int override(struct topic_config *tc, enum topic_config_mode mode, const struct topic_property *g, char *why,
                    size_t why_size)
{
    const struct param *p = param_find(&topic_params, g->name);
    const char *text, *found = NULL;
    char reason[2048];
    int rc;

    if (p == NULL)
        return OK;
    text = arena_cstr(&tc->arena, g->value);
    if (text == NULL)
        return ERR_NOMEM;
    rc = param_set(p, tc, text, &tc->arena, reason, sizeof reason);
    if (rc == ERR_RANGE) {
        text = param_refused(p, text, &tc->arena);
        if (text == NULL)
            return ERR_NOMEM;
        snprintf(why, why_size, "Invalid value %s for configuration %s: %s", text, p->name, reason);
        return ERR_INVALID;
    }
    TRY(rc);
    if (p->effect != CONFIG_REFUSE || mode == TOPIC_CONFIG_STORED)
        return OK;
    TRY(param_text(p, tc, &tc->arena, &found));
    if (found != NULL && p->dflt != NULL && strcmp(found, p->dflt) == 0)
        return OK;
    if (p->offset == offsetof(struct topic_config, remote_storage_enable))
        snprintf(why, why_size, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured "
                 "with remote log storage.");
    else
        snprintf(why, why_size, "Invalid value %s for configuration %s: not supported by this broker yet", text,
                 p->name);
    return ERR_INVALID;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct topic_property *)a)->name, ((const struct topic_property *)b)->name);
}

static int keep_given(struct topic_config *tc, const struct topic_property *given, size_t n)
{
    struct topic_property *v = arena_array(&tc->arena, n, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (given[i].value.p == NULL)
            continue;
        TRY(arena_str(&tc->arena, given[i].name, &v[tc->given_n].name));
        TRY(arena_str(&tc->arena, given[i].value, &v[tc->given_n].value));
        tc->given_n++;
    }
    qsort(v, tc->given_n, sizeof *v, by_name);
    tc->given = v;
    return OK;
}

static int build(struct topic_config *tc, enum topic_config_mode mode, const struct topic_property *given,
                 size_t given_n, char *why, size_t why_size)
{
    for (size_t i = 0; i < topic_params.n; i++)
        TRY(set_default(tc, &topic_params.v[i]));
    for (size_t i = 0; i < given_n && mode == TOPIC_CONFIG_ASKED; i++) {    /* names are looked at before values */
        if (param_find(&topic_params, given[i].name) == NULL) {
            snprintf(why, why_size, "Unknown topic config name: %.*s", STR_ARG(given[i].name));
            return ERR_INVALID;
        }
    }
    for (size_t i = 0; i < given_n; i++)
        if (given[i].value.p != NULL)
            TRY(override(tc, mode, &given[i], why, why_size));
    if (given_n > 0)
        TRY(keep_given(tc, given, given_n));
    if (tc->min_compaction_lag_ms > tc->max_compaction_lag_ms) {
        snprintf(why, why_size,
                 "conflict topic config setting min.compaction.lag.ms (%lld) > max.compaction.lag.ms (%lld)",
                 (long long)tc->min_compaction_lag_ms, (long long)tc->max_compaction_lag_ms);
        return ERR_INVALID;
    }
    if (mode == TOPIC_CONFIG_ASKED && (tc->remote_log_copy_disable || tc->remote_log_delete_on_disable)) {
        snprintf(why, why_size, "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` "
                 "under Zookeeper's mode.");
        return ERR_INVALID;
    }
    derive(tc);
    return OK;
}

int topic_config_build(struct topic_config *out, const struct config *server, enum topic_config_mode mode,
                       const struct topic_property *given, size_t given_n, char *why, size_t why_size)
{
    int rc;

    *out = (struct topic_config){ .server = config_ref(server) };
    arena_init(&out->arena, TOPIC_LIMIT_BYTES);
    rc = build(out, mode, given, given_n, why, why_size);
    if (rc == ERR_NOMEM)
        snprintf(why, why_size, "The properties of this topic take more memory than this broker allows for them.");
    if (rc != OK)
        topic_config_fini(out);
    return rc;
}

void topic_config_fini(struct topic_config *tc)
{
    struct config *server = (struct config *)(uintptr_t)tc->server;

    config_unref(&server);
    arena_fini(&tc->arena);
    *tc = (struct topic_config){ 0 };
}
