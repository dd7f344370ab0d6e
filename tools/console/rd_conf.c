/* tools/console/rd_conf.c - Java client properties to librdkafka's. */
#include "tools/console/rd_conf.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

#define QUIET_MS 1000                   /* connection trouble shorter than that is not worth a line */
#define REFRESH_MIN_MS INT64_C(10)
#define REFRESH_MAX_MS INT64_C(3600000)
#define KNOWN_FOR_MS   "900000"         /* in microseconds it must fit an int */

enum how {
    AS_IT_IS,                           /* same value under `to` (NULL: the same name) */
    BYTES_TO_KB,
    LOWER_CASE,                         /* Java takes any case here */
    NOTHING,                            /* means nothing outside a JVM, or the command looks at it itself */
    PEM_ONLY,                           /* a store: PEM and PKCS#12 only */
    EMPTY_IS_NONE,
    JAAS,                               /* user name and password of a login module */
    RESET,                              /* "none" is "error" there */
    ASSIGNORS,                          /* names of classes */
    CLASSIC_ONLY,                       /* the group protocol */
    REFRESH,                            /* the age at which metadata is asked for again */
};

static const struct {
    const char *java;
    int         sides;
    enum how    how;
    const char *to;
} known[] = {
#define BOTH (RD_PRODUCER | RD_CONSUMER)
    { "bootstrap.servers",                        BOTH,        AS_IT_IS,    NULL },
    { "client.id",                                BOTH,        AS_IT_IS,    NULL },
    { "client.rack",                              RD_CONSUMER, AS_IT_IS,    NULL },
    { "metadata.max.age.ms",                      BOTH,        REFRESH,     "topic.metadata.refresh.interval.ms" },
    { "reconnect.backoff.ms",                     BOTH,        AS_IT_IS,    NULL },
    { "reconnect.backoff.max.ms",                 BOTH,        AS_IT_IS,    NULL },
    { "retry.backoff.ms",                         RD_PRODUCER, AS_IT_IS,    NULL },
    { "connections.max.idle.ms",                  BOTH,        AS_IT_IS,    NULL },
    { "socket.connection.setup.timeout.ms",       BOTH,        AS_IT_IS,    NULL },
    { "send.buffer.bytes",                        BOTH,        AS_IT_IS,    "socket.send.buffer.bytes" },
    { "receive.buffer.bytes",                     BOTH,        AS_IT_IS,    "socket.receive.buffer.bytes" },
    { "acks",                                     RD_PRODUCER, AS_IT_IS,    NULL },
    { "linger.ms",                                RD_PRODUCER, AS_IT_IS,    NULL },
    { "batch.size",                               RD_PRODUCER, AS_IT_IS,    NULL },
    { "buffer.memory",                            RD_PRODUCER, BYTES_TO_KB, "queue.buffering.max.kbytes" },
    { "max.request.size",                         RD_PRODUCER, AS_IT_IS,    "message.max.bytes" },
    { "compression.type",                         RD_PRODUCER, AS_IT_IS,    NULL },
    { "request.timeout.ms",                       RD_PRODUCER, AS_IT_IS,    NULL },
    { "delivery.timeout.ms",                      RD_PRODUCER, AS_IT_IS,    NULL },
    { "retries",                                  RD_PRODUCER, AS_IT_IS,    NULL },
    { "enable.idempotence",                       RD_PRODUCER, AS_IT_IS,    NULL },
    { "max.in.flight.requests.per.connection",    RD_PRODUCER, AS_IT_IS,    NULL },
    { "max.block.ms",                             RD_PRODUCER, NOTHING,     NULL },
    { "partitioner.ignore.keys",                  RD_PRODUCER, NOTHING,     NULL },
    { "fetch.min.bytes",                          RD_CONSUMER, AS_IT_IS,    NULL },
    { "fetch.max.wait.ms",                        RD_CONSUMER, AS_IT_IS,    "fetch.wait.max.ms" },
    { "fetch.max.bytes",                          RD_CONSUMER, AS_IT_IS,    NULL },
    { "max.partition.fetch.bytes",                RD_CONSUMER, AS_IT_IS,    NULL },
    { "isolation.level",                          RD_CONSUMER, AS_IT_IS,    NULL },
    { "auto.offset.reset",                        RD_CONSUMER, RESET,       NULL },
    { "check.crcs",                               RD_CONSUMER, AS_IT_IS,    NULL },
    { "allow.auto.create.topics",                 RD_CONSUMER, AS_IT_IS,    NULL },
    { "request.timeout.ms",                       RD_CONSUMER, NOTHING,     NULL },
    { "retry.backoff.ms",                         RD_CONSUMER, NOTHING,     NULL },
    { "default.api.timeout.ms",                   BOTH,        NOTHING,     NULL },
    { "enable.auto.commit",                       RD_CONSUMER, AS_IT_IS,    NULL },
    { "auto.commit.interval.ms",                  RD_CONSUMER, AS_IT_IS,    NULL },
    { "exclude.internal.topics",                  RD_CONSUMER, NOTHING,     NULL },
    { "max.poll.records",                         RD_CONSUMER, NOTHING,     NULL },
    { "max.poll.interval.ms",                     RD_CONSUMER, AS_IT_IS,    NULL },
    { "session.timeout.ms",                       RD_CONSUMER, AS_IT_IS,    NULL },
    { "heartbeat.interval.ms",                    RD_CONSUMER, AS_IT_IS,    NULL },
    { "partition.assignment.strategy",            RD_CONSUMER, ASSIGNORS,   NULL },
    { "group.id",                                 RD_CONSUMER, AS_IT_IS,    NULL },
    { "group.instance.id",                        RD_CONSUMER, AS_IT_IS,    NULL },
    { "group.protocol",                           RD_CONSUMER, CLASSIC_ONLY, NULL },
    { "group.remote.assignor",                    RD_CONSUMER, NOTHING,     NULL },
    { "transactional.id",                         RD_PRODUCER, AS_IT_IS,    NULL },
    { "transaction.timeout.ms",                   RD_PRODUCER, AS_IT_IS,    NULL },
    { "key.serializer",                           BOTH,        NOTHING,     NULL },
    { "value.serializer",                         BOTH,        NOTHING,     NULL },
    { "key.deserializer",                         BOTH,        NOTHING,     NULL },
    { "value.deserializer",                       BOTH,        NOTHING,     NULL },
    { "metric.reporters",                         BOTH,        NOTHING,     NULL },
    { "security.protocol",                        BOTH,        LOWER_CASE,  NULL },
    { "sasl.mechanism",                           BOTH,        AS_IT_IS,    NULL },
    { "sasl.jaas.config",                         BOTH,        JAAS,        NULL },
    { "sasl.kerberos.service.name",               BOTH,        AS_IT_IS,    NULL },
    { "ssl.truststore.location",                  BOTH,        PEM_ONLY,    "ssl.ca.location" },
    { "ssl.truststore.password",                  BOTH,        NOTHING,     NULL },
    { "ssl.truststore.type",                      BOTH,        NOTHING,     NULL },
    { "ssl.truststore.certificates",              BOTH,        AS_IT_IS,    "ssl.ca.pem" },
    { "ssl.keystore.location",                    BOTH,        PEM_ONLY,    "ssl.keystore.location" },
    { "ssl.keystore.password",                    BOTH,        AS_IT_IS,    NULL },
    { "ssl.keystore.type",                        BOTH,        NOTHING,     NULL },
    { "ssl.keystore.certificate.chain",           BOTH,        AS_IT_IS,    "ssl.certificate.pem" },
    { "ssl.keystore.key",                         BOTH,        AS_IT_IS,    "ssl.key.pem" },
    { "ssl.key.password",                         BOTH,        AS_IT_IS,    NULL },
    { "ssl.endpoint.identification.algorithm",    BOTH,        EMPTY_IS_NONE, NULL },
    { "ssl.cipher.suites",                        BOTH,        AS_IT_IS,    NULL },
};
#define KNOWN_N (sizeof known / sizeof known[0])

int rd_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error, size_t error_len)
{
    return rd_kafka_conf_set(conf, name, value, error, error_len) == RD_KAFKA_CONF_OK ? OK : ERR_INVALID;
}

/* The quoted text after `word` in a JAAS line: ... username="u" ... */
static bool jaas_word(const char *line, const char *word, char *out, size_t len)
{
    const char *p = strstr(line, word);
    size_t      n;

    if (p == NULL)
        return false;
    p += strlen(word);
    p += strspn(p, " \t");
    if (*p != '=')
        return false;
    p++;
    p += strspn(p, " \t");
    if (*p != '"' && *p != '\'')
        return false;
    n = strcspn(p + 1, *p == '"' ? "\"" : "'");
    snprintf(out, len, "%.*s", (int)n, p + 1);
    return true;
}

static int apply_jaas(rd_kafka_conf_t *conf, const char *value, char *error, size_t error_len)
{
    char text[512];

    if (strstr(value, "PlainLoginModule") == NULL && strstr(value, "ScramLoginModule") == NULL) {
        snprintf(error, error_len, "sasl.jaas.config: only PlainLoginModule and ScramLoginModule can be had here");
        return ERR_INVALID;
    }
    if (jaas_word(value, "username", text, sizeof text))
        TRY(rd_conf_set(conf, "sasl.username", text, error, error_len));
    if (jaas_word(value, "password", text, sizeof text))
        TRY(rd_conf_set(conf, "sasl.password", text, error, error_len));
    return OK;
}

/* A trust store must be PEM for librdkafka, a key store PKCS#12. */
static int apply_store(rd_kafka_conf_t *conf, const struct props *p, const char *java, const char *to,
                       const char *value,
                       char *error, size_t error_len)
{
    bool        trust = strcmp(to, "ssl.ca.location") == 0;
    const char *wanted = trust ? "PEM" : "PKCS12";
    struct str  type = props_get(p, trust ? "ssl.truststore.type" : "ssl.keystore.type");

    if (type.p == NULL || type.len != strlen(wanted) || strncasecmp(type.p, wanted, type.len) != 0) {
        snprintf(error, error_len, "%s=%s: this program reads %s stores only; convert it and set %s=%s", java,
                 value, wanted,
                 trust ? "ssl.truststore.type" : "ssl.keystore.type", wanted);
        return ERR_INVALID;
    }
    return rd_conf_set(conf, to, value, error, error_len);
}

/* "[a.b.RangeAssignor, a.b.RoundRobinAssignor]" and the like. librdkafka does not offer eager and cooperative ones
 * together: of Java's usual list, which has both, the eager ones are kept, as in a group's first step over. */
static int apply_assignors(rd_kafka_conf_t *conf, char *value, char *error, size_t error_len)
{
    static const struct { const char *java, *name; } names[] = {
        { "org.apache.kafka.clients.consumer.RangeAssignor",             "range" },
        { "org.apache.kafka.clients.consumer.RoundRobinAssignor",        "roundrobin" },
        { "org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "cooperative-sticky" },
    };
    bool   wanted[3] = { false, false, false };
    char   list[64], *rest = value, *word;
    size_t n = strlen(value), i;

    if (n >= 2 && value[0] == '[' && value[n - 1] == ']') {
        value[n - 1] = '\0';
        rest++;
    }
    while ((word = strsep(&rest, ",")) != NULL) {
        word += strspn(word, " \t");
        word[strcspn(word, " \t")] = '\0';
        for (i = 0; i < 3 && strcmp(word, names[i].java) != 0; i++)
            continue;
        if (i == 3) {
            snprintf(error, error_len, "partition.assignment.strategy: no class %s here; there are RangeAssignor, "
                     "RoundRobinAssignor and CooperativeStickyAssignor of org.apache.kafka.clients.consumer", word);
            return ERR_INVALID;
        }
        wanted[i] = true;
    }
    snprintf(list, sizeof list, "%s%s%s", wanted[0] ? names[0].name : "", wanted[0] && wanted[1] ? "," : "",
             wanted[1] ? names[1].name : wanted[0] ? "" : names[2].name);
    return rd_conf_set(conf, "partition.assignment.strategy", list, error, error_len);
}

static int apply_refresh(rd_kafka_conf_t *conf, const char *to, const char *value, char *error, size_t error_len)
{
    char    text[24];
    int64_t ms;

    if (parse_i64(value, 0, INT64_MAX, &ms) != OK) {
        snprintf(error, error_len, "Invalid value %s for configuration metadata.max.age.ms", value);
        return ERR_INVALID;
    }
    snprintf(text, sizeof text, "%" PRId64, ms < REFRESH_MIN_MS ? REFRESH_MIN_MS : ms > REFRESH_MAX_MS ? REFRESH_MAX_MS
             : ms);
    TRY(rd_conf_set(conf, to, text, error, error_len));
    /* Else what it knows is forgotten after three times as long, and it joins groups only with what it knows. */
    return rd_conf_set(conf, "metadata.max.age.ms", KNOWN_FOR_MS, error, error_len);
}

static int apply_known(rd_kafka_conf_t *conf, size_t i, const struct props *p, char *value, char *error,
                       size_t error_len)
{
    const char *to = known[i].to != NULL ? known[i].to : known[i].java;
    char        text[24];
    int64_t     n;

    switch (known[i].how) {
    case BYTES_TO_KB:
        if (parse_i64(value, 0, INT64_MAX, &n) != OK) {
            snprintf(error, error_len, "Invalid value %s for configuration %s: Not a number of type LONG", value,
                     known[i].java);
            return ERR_INVALID;
        }
        snprintf(text, sizeof text, "%" PRId64, n < 1024 ? 1 : n / 1024);
        return rd_conf_set(conf, to, text, error, error_len);
    case LOWER_CASE:
        for (char *c = value; *c != '\0'; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
        return rd_conf_set(conf, to, value, error, error_len);
    case PEM_ONLY:
        return apply_store(conf, p, known[i].java, to, value, error, error_len);
    case JAAS:
        return apply_jaas(conf, value, error, error_len);
    case EMPTY_IS_NONE:
        return rd_conf_set(conf, to, value[0] == '\0' ? "none" : value, error, error_len);
    case RESET:
        return rd_conf_set(conf, to, strcmp(value, "none") == 0 ? "error" : value, error, error_len);
    case ASSIGNORS:
        return apply_assignors(conf, value, error, error_len);
    case CLASSIC_ONLY:
        if (strcasecmp(value, "classic") == 0)
            return OK;
        snprintf(error, error_len, "group.protocol=%s: there is only the classic protocol here", value);
        return ERR_INVALID;
    case REFRESH:
        return apply_refresh(conf, to, value, error, error_len);
    case NOTHING:
        return OK;
    case AS_IT_IS:
    default:
        return rd_conf_set(conf, to, value, error, error_len);
    }
}

static bool is_known(struct str name, int side, size_t *out)
{
    for (size_t i = 0; i < KNOWN_N; i++) {
        if (str_is(name, known[i].java) && (known[i].sides & side) != 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

int rd_conf_apply(rd_kafka_conf_t *conf, enum rd_side side, const struct props *p, char *error, size_t error_len)
{
    for (size_t k = 0; k < p->n; k++) {
        char   value[16384];
        size_t i;

        if (!is_known(p->v[k].name, side, &i)) {
            if (strncmp(p->v[k].name.p, "ssl.", 4) == 0 || strncmp(p->v[k].name.p, "sasl.", 5) == 0) {
                snprintf(error, error_len, "%.*s: this program does not know that property", STR_ARG(p->v[k].name));
                return ERR_INVALID;
            }
            fprintf(stderr, "WARN The configuration '%.*s' was supplied but is not used.\n", STR_ARG(p->v[k].name));
            continue;
        }
        if (p->v[k].value.len >= sizeof value) {
            snprintf(error, error_len, "%s: the value is too long", known[i].java);
            return ERR_TOO_LARGE;
        }
        snprintf(value, sizeof value, "%.*s", STR_ARG(p->v[k].value));
        TRY(apply_known(conf, i, p, value, error, error_len));
    }
    return OK;
}

/* ---- what the library has to say ---- */

static atomic_llong quiet_until_ms;     /* any thread of the library */

static void log_line(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
    (void)rk;
    /* A name often has two addresses, and the first one refused is no news if the second one answers. */
    if (strcmp(fac, "FAIL") == 0 || strcmp(fac, "ERROR") == 0) {
        int64_t now = mono_ms();
        if (now < atomic_load(&quiet_until_ms))
            return;
        atomic_store(&quiet_until_ms, now + QUIET_MS);
    }
    fprintf(stderr, "%s %s\n", level <= 3 ? "ERROR" : level == 4 ? "WARN" : "INFO", buf);
}

void rd_conf_log(rd_kafka_conf_t *conf)
{
    char error[256];

    atomic_store(&quiet_until_ms, mono_ms() + QUIET_MS);
    rd_kafka_conf_set_log_cb(conf, log_line);
    if (rd_conf_set(conf, "log_level", "5", error, sizeof error) != OK)
        fprintf(stderr, "WARN %s\n", error);
}
