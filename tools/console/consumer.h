/* tools/console/consumer.h - inside kafka-console-consumer.sh: what the command and the consumer of before Kafka 2.0
 * share.
 *
 * OWNER    struct consumer lives in the command's run; its texts are in its arena or on the command line.
 * LOCKS    none: one thread.
 * UNITS    milliseconds.
 * FAILURE  negative ERR_* with a sentence in c->error.
 */
#ifndef TOOLS_CONSOLE_CONSUMER_H
#define TOOLS_CONSOLE_CONSUMER_H

#include "tools/command.h"
#include "tools/console/formatter.h"
#include "tools/console/subscription.h"

enum consumer_option {
    C_BLACKLIST = OPT_FIRST, C_BOOTSTRAP, C_CONSUMER_PROPERTY, C_CONSUMER_CONFIG, C_CSV, C_DELETE_OFFSETS, C_SYSTEST,
    C_FORMATTER, C_FORMATTER_CONFIG, C_FROM_BEGINNING, C_GROUP, C_INCLUDE, C_ISOLATION, C_KEY_DESERIALIZER,
    C_MAX_MESSAGES, C_METRICS_DIR, C_OFFSET, C_PARTITION, C_PROPERTY, C_SKIP, C_TIMEOUT, C_TOPIC,
    C_VALUE_DESERIALIZER, C_WHITELIST, C_ZOOKEEPER, C_N
};

struct old_consumer;
struct consumer;

/* Where the records come from. */
struct record_source {
    int                 (*open)(struct consumer *);
    int                 (*look)(struct consumer *, int64_t *next_ms);   /* what is due between records */
    rd_kafka_message_t *(*poll)(struct consumer *, int ms);
    void                (*done)(struct consumer *, const rd_kafka_message_t *);     /* the record has been printed */
    void                (*close)(struct consumer *);    /* also after a failed open */
};

struct consumer {
    const struct record_source *source;
    struct rd_member     member;
    struct subscription  sub;
    struct pattern      *include;
    bool                 commits;
    int64_t              max_messages;  /* -1: no limit */
    int64_t              timeout_ms;    /* -1: none */
    bool                 skip_errors;
    int64_t              count;
    struct formatter     formatter;
    struct arena         arena;
    struct props         props;
    struct old_consumer *old;           /* with --zookeeper */
    char                 error[512];
};

int consumer_fail(struct consumer *c, int rc, const char *text) must_use;

/* old_consumer.c */
extern const struct record_source old_consumer_source;
/* What goes with what: 0, or the exit status. */
int  old_consumer_check(const struct invocation *inv, struct options *o) must_use;
/* The properties, and what there is of the group already. */
int  old_consumer_read(struct consumer *c, const struct options *o) must_use;
void old_consumer_free(struct consumer *c);

#endif
