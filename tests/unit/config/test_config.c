/* tests/unit/config/test_config.c - whole configurations: precedence, listeners, rules between properties, problems. */
#include "tests/unit/config/config_fixture.h"

START_TEST(nothing_given)
{
    fx_accepted("");
    ck_assert_uint_eq(problems.n, 0);
    ck_assert_uint_eq(cfg->listeners_parsed_n, 1);
    ck_assert_str_eq(cfg->listeners_parsed[0].name, "PLAINTEXT");
    ck_assert_ptr_null(cfg->listeners_parsed[0].host);
    ck_assert_int_eq(cfg->listeners_parsed[0].port, 9092);
    ck_assert_int_eq(cfg->listeners_parsed[0].num_network_threads, 3);
    ck_assert_str_eq(cfg->inter_broker_listener, "PLAINTEXT");
    ck_assert_ptr_null(cfg->control_plane_listener);
    ck_assert_uint_eq(cfg->log_dirs_parsed.n, 1);
    ck_assert_str_eq(cfg->log_dirs_parsed.v[0], "/tmp/kafka-logs");
    ck_assert_int_eq(cfg->retention_ms, 604800000);
    ck_assert_int_eq(cfg->roll_ms, 604800000);
    ck_assert_int_eq(cfg->flush_interval_ms, INT64_MAX);
    fx_fini();
}
END_TEST

START_TEST(references_count)
{
    struct config *second;

    fx_accepted("");
    second = config_ref(cfg);
    config_unref(&cfg);
    ck_assert_ptr_null(cfg);
    ck_assert_int_eq(second->num_io_threads, 8);
    config_unref(&second);
    config_unref(&second);
    fx_fini();
}
END_TEST

START_TEST(units_of_time)
{
    fx_accepted("log.retention.hours=1\n");
    ck_assert_int_eq(cfg->retention_ms, 3600000);
    fx_fini();
    fx_accepted("log.retention.hours=1\nlog.retention.minutes=2\n");
    ck_assert_int_eq(cfg->retention_ms, 120000);
    fx_fini();
    fx_accepted("log.retention.hours=1\nlog.retention.minutes=2\nlog.retention.ms=3\n");
    ck_assert_int_eq(cfg->retention_ms, 3);
    fx_fini();
    fx_accepted("log.retention.hours=-5\n");
    ck_assert_int_eq(cfg->retention_ms, -1);
    fx_fini();
    fx_accepted("log.retention.hours=2147483647\n");
    ck_assert_int_eq(cfg->retention_ms, 2147483647 * (int64_t)3600000);
    fx_fini();
    fx_accepted("log.roll.hours=2\nlog.roll.jitter.hours=1\n");
    ck_assert_int_eq(cfg->roll_ms, 7200000);
    ck_assert_int_eq(cfg->roll_jitter_ms, 3600000);
    fx_fini();
    fx_accepted("log.roll.hours=2\nlog.roll.ms=5\nlog.roll.jitter.hours=1\nlog.roll.jitter.ms=0\n");
    ck_assert_int_eq(cfg->roll_ms, 5);
    ck_assert_int_eq(cfg->roll_jitter_ms, 0);
    fx_fini();
    fx_refused("log.retention.ms=0\n", "log.retention.ms");
    fx_refused("log.retention.minutes=0\n", "log.retention.minutes");
    fx_refused("log.roll.ms=0\n", "log.roll.ms");
    fx_refused("log.roll.jitter.ms=-1\n", "log.roll.jitter.ms");
}
END_TEST

START_TEST(log_directories)
{
    fx_accepted("log.dir=/a\n");
    ck_assert_str_eq(cfg->log_dirs_parsed.v[0], "/a");
    fx_fini();
    fx_accepted("log.dir=/a\nlog.dirs= /b , \n");
    ck_assert_uint_eq(cfg->log_dirs_parsed.n, 1);
    ck_assert_str_eq(cfg->log_dirs_parsed.v[0], "/b");
    fx_fini();
    fx_refused("log.dirs=\n", "log.dirs");
    fx_refused("log.dirs=/a,/a\n", "log.dirs");
    fx_accepted("log.dirs=/a, /b,/c\n");
    ck_assert_uint_eq(cfg->log_dirs_parsed.n, 3);
    ck_assert_str_eq(cfg->log_dirs_parsed.v[1], "/b");
    fx_fini();
}
END_TEST

START_TEST(broker_number)
{
    fx_accepted("broker.id=7\n");
    ck_assert_int_eq(cfg->node_id, 7);
    fx_fini();
    fx_accepted("node.id=7\n");
    ck_assert_int_eq(cfg->broker_id, 7);
    fx_fini();
    fx_accepted("");
    ck_assert_int_eq(cfg->broker_id, -1);
    fx_fini();
    fx_refused("node.id=7\nbroker.id=8\n", "node.id");
    fx_refused("broker.id=1001\n", "broker.id");
    fx_refused("broker.id=-2\n", "broker.id");
    fx_refused("broker.id.generation.enable=false\nbroker.id=-1\n", "broker.id");
    fx_accepted("broker.id.generation.enable=false\nbroker.id=5000\n");
    fx_fini();
}
END_TEST

START_TEST(several_listeners)
{
    char text[64];

    fx_accepted("listeners=PLAINTEXT://127.0.0.1:9092, internal://[::1]:9092 ,x-y://:0,Z://h_1.example:1\n"
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:plaintext, x-y : PLAINTEXT ,Z:PLAINTEXT\n"
                "inter.broker.listener.name=internal\nadvertised.listeners=INTERNAL://a.b:1,PLAINTEXT://:1\n");
    ck_assert_uint_eq(cfg->listeners_parsed_n, 4);
    ck_assert_str_eq(cfg->listeners_parsed[1].name, "INTERNAL");
    ck_assert_str_eq(cfg->listeners_parsed[1].host, "::1");
    listener_text(&cfg->listeners_parsed[1], text, sizeof text);
    ck_assert_str_eq(text, "[::1]:9092");
    listener_text(&cfg->listeners_parsed[2], text, sizeof text);
    ck_assert_str_eq(text, ":0");
    ck_assert_str_eq(cfg->listeners_parsed[3].host, "h_1.example");
    ck_assert_uint_eq(cfg->advertised_parsed_n, 2);
    ck_assert_str_eq(cfg->advertised_parsed[0].name, "INTERNAL");
    ck_assert_int_eq(cfg->advertised_parsed[0].port, 1);
    ck_assert_ptr_null(cfg->advertised_parsed[1].host);
    ck_assert_str_eq(cfg->inter_broker_listener, "INTERNAL");
    fx_fini();
    fx_accepted("listeners=PLAINTEXT://::1:9092\n");            /* without brackets, as Kafka takes it */
    ck_assert_str_eq(cfg->listeners_parsed[0].host, "::1");
    fx_fini();
}
END_TEST

START_TEST(bad_listeners)
{
    static const char *const bad[] = {
        "", "PLAINTEXT", "PLAINTEXT://", "PLAINTEXT://h", "PLAINTEXT://h:", "PLAINTEXT://h:x", "PLAINTEXT://h:65536",
        "PLAINTEXT://h:-1", "PLAINTEXT://h/:1", "://h:1", "NOBODY://h:1", "PLAINTEXT:/h:1", "PLAINTEXT://h h:1",
        "PLAINTEXT://:1,PLAINTEXT://:2",                        /* one name twice */
        "PLAINTEXT://:1,A://:1",                                /* one port twice */
        "PLAINTEXT://127.0.0.1:1,A://127.0.0.2:1", "PLAINTEXT://[::1]:1,A://[::2]:1", "PLAINTEXT://h:1,A://127.0.0.1:1",
        "PLAINTEXT://127.0.0.1:1,A://[::1]:1,B://127.0.0.1:1",
        "SSL://:9092,PLAINTEXT://:1", "SASL_PLAINTEXT://:9092,PLAINTEXT://:1", "SASL_SSL://:9092,PLAINTEXT://:1",
        "PLAINTEXT://0.0.0.0:9092", "PLAINTEXT://[::]:9092",    /* nothing that a client could be told */
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[512];

        snprintf(text, sizeof text,
                 "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,A:PLAINTEXT,B:PLAINTEXT,SSL:SSL,"
                 "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\nlisteners=%s\n", bad[i]);
        fx_refused(text, "listeners");
    }
    fx_accepted("listeners=PLAINTEXT://127.0.0.1:1,A://[::1]:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,"
                "A:PLAINTEXT\n");
    fx_fini();
    fx_refused("listener.security.protocol.map=PLAINTEXT\n", "listener.security.protocol.map");
    fx_refused("listener.security.protocol.map=PLAINTEXT:TLS\n", "listener.security.protocol.map");
}
END_TEST

START_TEST(advertised)
{
    fx_refused("listeners=PLAINTEXT://:1\nadvertised.listeners=PLAINTEXT://0.0.0.0:1\n", "advertised.listeners");
    fx_refused("listeners=PLAINTEXT://:1\nadvertised.listeners=\n", "advertised.listeners");
    fx_refused("listeners=PLAINTEXT://:1\nadvertised.listeners=PLAINTEXT://a:1,SSL://b:2\n", "advertised.listeners");
    fx_accepted("listeners=PLAINTEXT://0.0.0.0:1\nadvertised.listeners=PLAINTEXT://localhost:1\n");
    ck_assert_int_eq(fx_problem("advertised.listeners")->severity, CONFIG_WARNING);
    fx_fini();
    fx_refused("inter.broker.listener.name=X\n", "inter.broker.listener.name");
    fx_refused("inter.broker.listener.name=SSL\n", "inter.broker.listener.name");
    fx_refused("inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT\n",
               "inter.broker.listener.name");
    fx_refused("listeners=A://:1\nlistener.security.protocol.map=A:PLAINTEXT,PLAINTEXT:PLAINTEXT\n",
               "security.inter.broker.protocol");
    fx_refused("control.plane.listener.name=PLAINTEXT\n", "control.plane.listener.name");
    fx_refused("control.plane.listener.name=C\n", "control.plane.listener.name");
    fx_accepted("listeners=PLAINTEXT://:1,C://:2\nlistener.security.protocol.map=C:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
                "control.plane.listener.name=c\n");
    ck_assert_str_eq(cfg->control_plane_listener, "C");
    fx_fini();
}
END_TEST

START_TEST(names_of_2_7)
{
    fx_accepted("host.name=127.0.0.1\nport=1234\n");
    ck_assert_str_eq(cfg->listeners_parsed[0].host, "127.0.0.1");
    ck_assert_int_eq(cfg->listeners_parsed[0].port, 1234);
    ck_assert_int_eq(cfg->advertised_parsed[0].port, 1234);
    fx_fini();
    fx_accepted("host.name=::1\nadvertised.host.name=h\nadvertised.port=5\n");
    ck_assert_str_eq(cfg->listeners_parsed[0].host, "::1");
    ck_assert_str_eq(cfg->advertised_parsed[0].host, "h");
    ck_assert_int_eq(cfg->advertised_parsed[0].port, 5);
    fx_fini();
    fx_accepted("listeners=PLAINTEXT://127.0.0.1:1\nport=2\nadvertised.host.name=h\n");
    ck_assert_int_eq(cfg->listeners_parsed[0].port, 1);         /* listeners wins over port */
    ck_assert_int_eq(cfg->advertised_parsed[0].port, 2);
    fx_fini();
    fx_refused("port=70000\n", "port");
}
END_TEST

START_TEST(own_values_of_a_listener)
{
    fx_accepted("listeners=PLAINTEXT://:1,B://:2\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT\n"
                "listener.name.b.max.connections=5\nlistener.name.b.max.connection.creation.rate=6\n"
                "listener.name.plaintext.num.network.threads=7\nlistener.name.c.max.connections=1\n"
                "listener.name.b.nonsense=1\nlistener.name.b.ssl.client.auth=none\n"
                "listener.name.b.x.sasl.jaas.config=s\nlistener.name.b.num.io.threads=2\n");
    ck_assert_int_eq(cfg->listeners_parsed[0].num_network_threads, 7);
    ck_assert_int_eq(cfg->listeners_parsed[0].max_connections, INT32_MAX);
    ck_assert_int_eq(cfg->listeners_parsed[1].num_network_threads, 3);
    ck_assert_int_eq(cfg->listeners_parsed[1].max_connections, 5);
    ck_assert_int_eq(cfg->listeners_parsed[1].max_connection_creation_rate, 6);
    ck_assert_uint_eq(problems.n, 4);
    fx_problem("listener.name.c.max.connections");
    fx_problem("listener.name.b.nonsense");
    fx_problem("listener.name.b.x.sasl.jaas.config");
    fx_problem("listener.name.b.num.io.threads");
    fx_fini();
    fx_refused("listener.name.plaintext.ssl.client.auth=required\n", "listener.name.plaintext.ssl.client.auth");
    fx_refused("listener.name.plaintext.max.connections=x\n", "listener.name.plaintext.max.connections");
}
END_TEST

START_TEST(limits_by_address)
{
    fx_accepted("max.connections.per.ip.overrides=127.0.0.1:5, ::1:6 ,host-a:0\n");
    ck_assert_uint_eq(cfg->ip_limits_n, 3);
    ck_assert_str_eq(cfg->ip_limits[1].host, "::1");
    ck_assert_int_eq(cfg->ip_limits[1].max_connections, 6);
    fx_fini();
    fx_refused("max.connections.per.ip.overrides=a\n", "max.connections.per.ip.overrides");
    fx_refused("max.connections.per.ip.overrides=a:b\n", "max.connections.per.ip.overrides");
    fx_refused("max.connections.per.ip.overrides=a/b:1\n", "max.connections.per.ip.overrides");
    fx_refused("max.connections.per.ip=0\n", "max.connections.per.ip");
    fx_accepted("max.connections.per.ip=0\nmax.connections.per.ip.overrides=127.0.0.1:5\n");
    fx_fini();
}
END_TEST

START_TEST(rules_between_properties)
{
    fx_refused("replica.fetch.wait.max.ms=30001\nreplica.socket.timeout.ms=40000\n", "replica.fetch.wait.max.ms");
    fx_refused("replica.lag.time.max.ms=400\n", "replica.lag.time.max.ms");
    fx_refused("queued.max.request.bytes=5\n", "queued.max.request.bytes");
    fx_accepted("queued.max.request.bytes=-1\n");
    fx_fini();
    fx_refused("connections.max.idle.ms=100\n", "connections.max.idle.ms");
    fx_accepted("connections.max.idle.ms=-1\n");
    fx_fini();
    fx_refused("log.cleaner.dedupe.buffer.size=1048576\n", "log.cleaner.dedupe.buffer.size");
    fx_accepted("log.cleaner.threads=0\n");
    fx_fini();
    fx_refused("log.cleaner.min.compaction.lag.ms=5\nlog.cleaner.max.compaction.lag.ms=4\n",
               "log.cleaner.min.compaction.lag.ms");
    fx_refused("offsets.commit.required.acks=4\n", "offsets.commit.required.acks");
    fx_refused("offsets.commit.required.acks=-2\n", "offsets.commit.required.acks");
    fx_refused("offsets.topic.compression.codec=5\n", "offsets.topic.compression.codec");
    fx_refused("controller.listener.names=CONTROLLER\n", "controller.listener.names");
    fx_refused("inter.broker.protocol.version=0.10.2\n", "inter.broker.protocol.version");
    fx_accepted("inter.broker.protocol.version=0.10.2\nlog.message.format.version=0.10.0\n");
    fx_fini();
    fx_accepted("inter.broker.protocol.version=2.7\n");
    fx_fini();
}
END_TEST

START_TEST(promises_that_are_not_kept_yet)
{
    static const char *const refused[][2] = {
        { "zookeeper.connect", "" }, { "zookeeper.connect", "a:b" }, { "process.roles", "broker" },
        { "zookeeper.ssl.client.enable", "true" },
        { "authorizer.class.name", "kafka.security.authorizer.AclAuthorizer" }, { "zookeeper.set.acl", "true" },
        { "ssl.client.auth", "required" }, { "delegation.token.secret.key", "x" },
        { "principal.builder.class", "a.B" }, { "create.topic.policy.class.name", "a.B" },
        { "remote.log.storage.system.enable", "true" }, { "connections.max.reauth.ms", "1" },
        { "config.providers", "file" },
    };

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char text[256];

        snprintf(text, sizeof text, "%s=%s\n", refused[i][0], refused[i][1]);
        fx_refused(text, refused[i][0]);
    }
    fx_accepted("zookeeper.set.acl=false\nauthorizer.class.name=\nssl.client.auth=none\nprocess.roles=\n"
                "log.flush.interval.messages=1\nlog.flush.interval.ms=1000\n"
                "security.inter.broker.protocol=PLAINTEXT\n");
    ck_assert_uint_eq(problems.n, 0);
    fx_fini();
}
END_TEST

START_TEST(all_problems_at_once)
{
    const struct config_problem *p;

    ck_assert_int_eq(fx_load("num.io.threads=0\n\nlog.segement.bytes=1\nbroker.id=1 # the first\nnum.io.threads=-1\n"
                             "ssl.keystore.password=secret\nmy.password=secret\nretention.ms=5\nacks=1\nport=x\\u00\n"
                             "quota.producer.default=0\n"), ERR_INVALID);
    ck_assert_ptr_null(cfg);
    ck_assert_uint_eq(problems.errors_n, 4);
    ck_assert_uint_eq(problems.n, 10);
    for (size_t i = 1; i < problems.n; i++)
        ck_assert_int_ge(problems.v[i].line, problems.v[i - 1].line);
    p = fx_problem("log.segement.bytes");
    ck_assert_int_eq(p->line, 3);
    ck_assert_str_eq(p->nearest, "log.segment.bytes");
    ck_assert_str_eq(p->value, "1");
    p = fx_problem("broker.id");
    ck_assert_int_eq(p->line, 4);
    ck_assert_str_eq(p->value, "1 # the first");
    ck_assert_ptr_nonnull(strstr(p->what, "end-of-line comments"));
    ck_assert_ptr_null(fx_problem("ssl.keystore.password")->value);
    ck_assert_ptr_null(fx_problem("my.password")->value);
    ck_assert_str_eq(fx_problem("retention.ms")->nearest, "log.retention.ms");
    ck_assert_int_eq(fx_problem("acks")->severity, CONFIG_WARNING);
    ck_assert_int_eq(fx_problem("port")->severity, CONFIG_ERROR);
    ck_assert_ptr_nonnull(strstr(fx_problem("quota.producer.default")->what, "from 1 to 9223372036854775807"));
    fx_fini();
}
END_TEST

START_TEST(a_problem_is_one_line)
{
    struct config_problem p = { .severity = CONFIG_ERROR, .file = "f", .line = 3, .key = "k", .value = "a\nb\x1b",
                                .what = "is wrong", .nearest = "kk" };
    char line[256], tiny[8];

    config_problem_text(&p, line, sizeof line);
    ck_assert_str_eq(line, "f:3: error: k=a\\x0ab\\x1b: is wrong; nearest known key: kk");
    config_problem_text(&p, tiny, sizeof tiny);
    ck_assert_uint_lt(strlen(tiny), sizeof tiny);
}
END_TEST

START_TEST(a_hash_that_is_no_comment)
{
    fx_accepted("log.dir=/a#b\nsasl.jaas.config=x #y\nssl.principal.mapping.rules=RULE:^a #b$/c/\n");
    ck_assert_str_eq(cfg->log_dir, "/a#b");
    ck_assert_str_eq(cfg->sasl_jaas_config, "x #y");
    fx_fini();
    fx_refused("log.dir= # where?\n", "log.dir");
}
END_TEST

static char *const container_env[] = {
    "PATH=/bin", "KAFKA_NUM_PARTITIONS=3", "KAFKA_BROKER_ID=1", "KAFKA_LISTENERS=PLAINTEXT://:9192", "JMX_PORT=1099",
    "KAFKA_OPTS=-x", "KAFKA_HEAP_OPTS=-Xmx1G", "KAFKA_JMX_OPTS=", "KAFKA_GC_LOG_OPTS=", "KAFKA_LOG4J_OPTS=-y",
    "KAFKA_JVM_PERFORMANCE_OPTS=z", "KAFKA_HOME=/opt/kafka", "KAFKA_VERSION=3.9.1", "KAFKA_DEBUG=y",
    "KAFKA_CFG_NUM_IO_THREADS=5", "KAFKA_MY_OWN__KEY___X=1", "KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET=c",
    "KAFKA_SERVICE_HOST=10.0.0.1", "KAFKA_SERVICE_PORT=9092", "KAFKA_PORT=tcp://10.0.0.1:9092",
    "KAFKA_PORT_9092_TCP_ADDR=10.0.0.1", "KAFKA_LISTENER_NAME_PLAINTEXT_MAX_CONNECTIONS=9", "KAFKA_=x", "KAFKA_X", NULL,
};

START_TEST(environment_wins_over_the_file_and_override_over_both)
{
    static const char *const overrides[] = { "num.io.threads=6", "broker.rack=a=b" };

    ck_assert_int_eq(fx_load_from("num.partitions=2\nnum.io.threads=4\nlog.dirs=/x\n", container_env, overrides, 2),
                     OK);
    ck_assert_int_eq(cfg->num_partitions, 3);
    ck_assert_int_eq(cfg->broker_id, 1);
    ck_assert_int_eq(cfg->num_io_threads, 6);
    ck_assert_int_eq(cfg->listeners_parsed[0].port, 9192);
    ck_assert_int_eq(cfg->listeners_parsed[0].max_connections, 9);
    ck_assert_int_eq(cfg->port, 9092);
    ck_assert_str_eq(cfg->broker_rack, "a=b");
    ck_assert_str_eq(cfg->log_dirs_parsed.v[0], "/x");
    ck_assert_uint_eq(problems.n, 2);
    ck_assert_str_eq(fx_problem("my.own_key-x")->file, "environment variable KAFKA_MY_OWN__KEY___X");
    ck_assert_int_eq(fx_problem("zookeeper.clientCnxnSocket")->severity, CONFIG_WARNING);
    fx_fini();
}
END_TEST

START_TEST(bad_overrides)
{
    static const char *const overrides[] = { "novalue", "=x", "num.io.threads=0" };

    ck_assert_int_eq(fx_load_from("", NULL, overrides, 3), ERR_INVALID);
    ck_assert_uint_eq(problems.errors_n, 3);
    ck_assert_str_eq(fx_problem("num.io.threads")->file, "--override");
    fx_fini();
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    struct config_input in = { .file = "/nonexistent/server.properties" };

    ck_assert_int_eq(config_load(&cfg, &in, &problems), ERR_INVALID);
    ck_assert_uint_eq(problems.errors_n, 1);
    ck_assert_str_eq(problems.v[0].file, in.file);
    fx_fini();
    in.file = "/";
    ck_assert_int_eq(config_load(&cfg, &in, &problems), ERR_INVALID);
    ck_assert_uint_eq(problems.errors_n, 1);
    fx_fini();
}
END_TEST

/* prefix, then n times 'x' */
static void stretch(char *out, const char *prefix, size_t n)
{
    size_t len = strlen(prefix);

    memcpy(out, prefix, len);
    memset(out + len, 'x', n);
    out[len + n] = '\0';
}

START_TEST(values_of_all_lengths)
{
    for (size_t n = 1; n < 70000; n = n * 3 + 1) {
        char *text = malloc(n + 32);

        stretch(text, "broker.rack=", n);
        fx_accepted(text);
        ck_assert_uint_eq(strlen(cfg->broker_rack), n);
        fx_fini();
        stretch(text, "num.io.threads=", n);
        fx_refused(text, "num.io.threads");
        stretch(text, "", n);
        fx_accepted(text);
        fx_fini();
        free(text);
    }
}
END_TEST

/* ---- the files that guides give to users -------------------------------------------------------------------- */

static int load_user_file(const char *name)
{
    const char *shared = getenv("KLAMM_SHARED");
    char path[512], text[8192], line[512];
    size_t at = 0;
    FILE *f;
    int rc;

    snprintf(path, sizeof path, "%s/users/%s", shared != NULL ? shared : "../shared", name);
    f = fopen(path, "r");
    if (f == NULL) {
        printf("skipped: no %s here\n", path);
        return ERR_NOENT;
    }
    text[0] = '\0';
    while (fgets(line, sizeof line, f) != NULL)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", line);
    fclose(f);
    rc = fx_load(text);
    return rc;
}

START_TEST(users_files)
{
    static const struct {
        const char *name;
        int partitions;
    } good[] = { { "single.properties", 1 }, { "cluster-default.properties", 1 }, { "cluster-large.properties", 48 } };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int rc = load_user_file(good[i].name);

        if (rc == ERR_NOENT)
            return;
        ck_assert_int_eq(rc, OK);
        ck_assert_int_eq(cfg->num_partitions, good[i].partitions);
        ck_assert_ptr_nonnull(cfg->zookeeper_connect);
        fx_fini();
    }
    ck_assert_int_eq(load_user_file("cluster-large-annotated.properties"), ERR_INVALID);
    ck_assert_uint_eq(problems.n, 4);
    ck_assert_uint_eq(problems.errors_n, 4);
    for (size_t i = 0; i < problems.n; i++)
        ck_assert_ptr_nonnull(strstr(problems.v[i].what, "end-of-line comments"));
    fx_fini();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        nothing_given, references_count, units_of_time, log_directories, broker_number, several_listeners,
        bad_listeners, advertised, names_of_2_7, own_values_of_a_listener, limits_by_address, rules_between_properties,
        promises_that_are_not_kept_yet, all_problems_at_once, a_problem_is_one_line, a_hash_that_is_no_comment,
        environment_wins_over_the_file_and_override_over_both, bad_overrides, files_that_cannot_be_read,
        values_of_all_lengths, users_files,
    };
    Suite *s = suite_create("config/config");
    TCase *t = tcase_create("load");
    SRunner *r;
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
