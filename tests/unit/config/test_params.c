/* tests/unit/config/test_params.c - the tables of properties: against the reference where it is there. */
#include "tests/unit/config/config_fixture.h"

#include <jansson.h>

static const char *reference(const char *file, char *buf, size_t size)
{
    const char *shared = getenv("KLAMM_SHARED");

    snprintf(buf, size, "%s/reference/%s", shared != NULL ? shared : "../shared", file);
    return access(buf, R_OK) == 0 ? buf : NULL;
}

static json_t *reference_json(const char *file)
{
    char path[512];
    json_t *j = NULL;

    if (reference(file, path, sizeof path) == NULL)
        printf("skipped: no ../shared/reference/%s here to compare with\n", file);
    else
        ck_assert_ptr_nonnull(j = json_load_file(path, 0, NULL));
    return j;
}

static const char *text_of(const json_t *row, const char *name)
{
    const json_t *v = json_object_get(row, name);

    return json_is_string(v) ? json_string_value(v) : NULL;
}

static const char *importance_name(enum config_importance i)
{
    return i == CONFIG_HIGH ? "HIGH" : i == CONFIG_MEDIUM ? "MEDIUM" : "LOW";
}

static const char *when_name(enum config_when w)
{
    return w == CONFIG_PER_BROKER ? "per-broker" : w == CONFIG_CLUSTER_WIDE ? "cluster-wide" : NULL;
}

static void same_text(const char *name, const char *what, const char *ours, const char *theirs)
{
    ck_assert_msg((ours == NULL) == (theirs == NULL) && (ours == NULL || strcmp(ours, theirs) == 0),
                  "%s: %s is %s, Kafka's is %s", name, what, ours, theirs);
}

static void compare(const struct param_table *t, json_t *rows, bool with_when)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row) {
        const char *name = text_of(row, "name");
        const struct param *p = param_find(t, str_of(name));

        ck_assert_msg(p != NULL, "%s is missing", name);
        same_text(name, "type", param_type_name(p->type), text_of(row, "type"));
        same_text(name, "default", p->dflt, text_of(row, "default"));
        if (with_when) {
            same_text(name, "importance", importance_name(p->importance), text_of(row, "importance"));
            same_text(name, "update", when_name(p->when), text_of(row, "update"));
            ck_assert_int_eq((p->flags & PARAM_INTERNAL) != 0, json_is_true(json_object_get(row, "internal")));
        }
    }
}

/* "[1,...]" and "[0,...,1]": one step outside is refused, the border is taken. */
static void compare_range(const struct param *p, const char *valid)
{
    struct config *scratch = calloc(1, sizeof *scratch);
    struct arena a;
    char why[256], text[64];
    long long lo, hi = 0;
    int n = sscanf(valid, "[%lld,...,%lld]", &lo, &hi);

    arena_init(&a, 1 << 20);
    if (n >= 1 && p->type != CONFIG_DOUBLE && strstr(valid, "...") != NULL) {
        snprintf(text, sizeof text, "%lld", lo);
        ck_assert_int_eq(param_set(p, scratch, text, &a, why, sizeof why), OK);
        snprintf(text, sizeof text, "%lld", lo - 1);
        ck_assert_int_eq(param_set(p, scratch, text, &a, why, sizeof why), ERR_RANGE);
    }
    if (n == 2 && p->type != CONFIG_DOUBLE) {
        snprintf(text, sizeof text, "%lld", hi);
        ck_assert_int_eq(param_set(p, scratch, text, &a, why, sizeof why), OK);
        snprintf(text, sizeof text, "%lld", hi + 1);
        ck_assert_int_eq(param_set(p, scratch, text, &a, why, sizeof why), ERR_RANGE);
    }
    arena_fini(&a);
    free(scratch);
}

START_TEST(server_table_is_kafkas)
{
    json_t *rows = reference_json("kafka-3.9.1/broker-configs.json"), *row;
    size_t i, others = 0;

    if (rows == NULL)
        return;
    compare(&server_params, rows, true);
    json_array_foreach(rows, i, row) {
        const char *valid = text_of(row, "valid");

        if (valid != NULL)
            compare_range(param_find(&server_params, str_of(text_of(row, "name"))), valid);
    }
    for (size_t k = 0; k < server_params.n; k++)
        others += (server_params.v[k].flags & (PARAM_OLD | PARAM_DYNAMIC)) != 0 ||
                  strncmp(server_params.v[k].name, "klamm.", 6) == 0;
    ck_assert_uint_eq(server_params.n, json_array_size(rows) + others);
    json_decref(rows);
}
END_TEST

START_TEST(what_only_2_7_had_is_there)
{
    json_t *rows = reference_json("kafka-2.7.1/broker-configs.json"), *row;
    size_t i;

    if (rows == NULL)
        return;
    json_array_foreach(rows, i, row) {
        const struct param *p = param_find(&server_params, str_of(text_of(row, "name")));

        ck_assert_msg(p != NULL, "%s is missing", text_of(row, "name"));
        if ((p->flags & PARAM_OLD) != 0)
            same_text(p->name, "default", p->dflt, text_of(row, "default"));
    }
    json_decref(rows);
}
END_TEST

START_TEST(topic_table_is_kafkas)
{
    json_t *rows = reference_json("kafka-3.9.1/topic-configs.json");
    json_t *synonyms = reference_json("kafka-3.9.1/topic-config-synonyms.json");

    if (rows == NULL || synonyms == NULL)
        return;
    ck_assert_uint_eq(topic_params.n, json_array_size(rows));
    compare(&topic_params, rows, false);
    for (size_t i = 0; i < topic_params.n; i++)
        same_text(topic_params.v[i].name, "server's property", topic_params.v[i].server_name,
                  text_of(synonyms, topic_params.v[i].name));
    json_decref(rows);
    json_decref(synonyms);
}
END_TEST

START_TEST(defaults_come_back_as_text)
{
    ck_assert_int_eq(fx_load(""), OK);
    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];
        const char *text;

        if (strcmp(p->name, "node.id") == 0)
            continue;
        ck_assert_int_eq(param_text(p, cfg, &cfg->arena, &text), OK);
        same_text(p->name, "value", text, p->dflt);
    }
    fx_fini();
}
END_TEST

START_TEST(rows_are_sound)
{
    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];

        ck_assert_ptr_eq(param_find(&server_params, str_of(p->name)), p);       /* no name twice */
        ck_assert_str_ne(p->help, "");
        if (strcmp(p->name, "zookeeper.clientCnxnSocket") == 0)
            continue;
        ck_assert_uint_eq(strlen(p->field), strlen(p->name));
        for (size_t k = 0; p->field[k] != '\0'; k++)                            /* the field is the name */
            ck_assert(p->field[k] == p->name[k] || (p->field[k] == '_' && p->name[k] == '.'));
    }
    for (size_t i = 0; i < topic_params.n; i++)
        ck_assert(topic_params.v[i].server_name == NULL ||
                  param_find(&server_params, str_of(topic_params.v[i].server_name))->type == topic_params.v[i].type);
}
END_TEST

/* {property, text, value as it comes back; NULL: refused} */
static const struct {
    const char *name, *text, *want;
} values[] = {
    { "auto.create.topics.enable", "TRUE", "true" },   { "auto.create.topics.enable", " False ", "false" },
    { "auto.create.topics.enable", "yes", NULL },      { "auto.create.topics.enable", "", NULL },
    { "num.io.threads", " 7\t", "7" },                 { "num.io.threads", "+7", "7" },
    { "num.io.threads", "007", "7" },                  { "num.io.threads", "0", NULL },
    { "num.io.threads", "-1", NULL },                  { "num.io.threads", "7.0", NULL },
    { "num.io.threads", "7k", NULL },                  { "num.io.threads", "", NULL },
    { "num.io.threads", "2147483647", "2147483647" },  { "num.io.threads", "2147483648", NULL },
    { "broker.id", "-2147483648", "-2147483648" },     { "broker.id", "-2147483649", NULL },
    { "broker.id", "+", NULL },                        { "broker.id", "0x10", NULL },
    { "log.retention.bytes", "9223372036854775807", "9223372036854775807" },
    { "log.retention.bytes", "9223372036854775808", NULL },
    { "log.retention.bytes", "-9223372036854775808", "-9223372036854775808" },
    { "log.retention.bytes", "-9223372036854775809", NULL },
    { "offsets.topic.replication.factor", "32767", "32767" },
    { "offsets.topic.replication.factor", "32768", NULL },
    { "log.cleaner.min.cleanable.ratio", "0.25", "0.25" },  { "log.cleaner.min.cleanable.ratio", "1", "1.0" },
    { "log.cleaner.min.cleanable.ratio", "1.01", NULL },    { "log.cleaner.min.cleanable.ratio", "-0.1", NULL },
    { "log.cleaner.min.cleanable.ratio", "1e-4", "1.0E-4" }, { "log.cleaner.min.cleanable.ratio", "0.5f", "0.5" },
    { "log.cleaner.min.cleanable.ratio", "nan", NULL },     { "log.cleaner.min.cleanable.ratio", ".5.", NULL },
    { "log.cleaner.io.max.bytes.per.second", "1.7976931348623157E308", "1.7976931348623157E308" },
    { "log.cleaner.io.max.bytes.per.second", "10000000", "1.0E7" },
    { "log.cleaner.io.max.bytes.per.second", "1234567.5", "1234567.5" },
    { "log.cleaner.io.max.bytes.per.second", "0.001", "0.001" },
    { "log.cleaner.io.max.bytes.per.second", "0.1", "0.1" },
    { "log.cleaner.io.max.bytes.per.second", "100", "100.0" },
    { "log.cleaner.io.max.bytes.per.second", "0x1p4", "16.0" },
    { "log.cleaner.io.max.bytes.per.second", "0x10", NULL },
    { "log.cleaner.io.max.bytes.per.second", "Infinity", "Infinity" },
    { "log.cleaner.io.max.bytes.per.second", "inf", NULL },
    { "log.cleanup.policy", " delete , compact ", "delete,compact" },
    { "log.cleanup.policy", "Delete", NULL },          { "log.cleanup.policy", "", "" },
    { "log.cleanup.policy", "delete,", NULL },         { "metric.reporters", "a, ,b", "a,,b" },
    { "compression.type", "zstd", "zstd" },            { "compression.type", "ZSTD", NULL },
    { "compression.gzip.level", "-1", "-1" },          { "compression.gzip.level", "0", NULL },
    { "compression.gzip.level", "9", "9" },            { "compression.gzip.level", "10", NULL },
    { "group.consumer.migration.policy", "UPgrade", "UPgrade" },
    { "group.consumer.migration.policy", "up", NULL },
    { "inter.broker.protocol.version", "2.7", "2.7" }, { "inter.broker.protocol.version", "2.7.1", "2.7.1" },
    { "inter.broker.protocol.version", "2.7-IV2", "2.7-IV2" }, { "inter.broker.protocol.version", "0.10.2", "0.10.2" },
    { "inter.broker.protocol.version", "0.10", NULL }, { "inter.broker.protocol.version", "2.7-IV9", NULL },
    { "inter.broker.protocol.version", "5.0", NULL },  { "inter.broker.protocol.version", "", NULL },
    { "inter.broker.protocol.version", "2", NULL },
    { "log.dir", "  /a b/c \t", "/a b/c" },            { "principal.builder.class", "", NULL },
    { "remote.log.manager.copier.thread.pool.size", "0", NULL },
    { "remote.log.metadata.manager.class.name", "", NULL },
    { "sasl.jaas.config", " x y ", "x y" },
};

START_TEST(values_of_every_type)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const struct param *p = param_find(&server_params, str_of(values[i].name));
        struct config *scratch = calloc(1, sizeof *scratch);
        struct arena a;
        char why[2048] = "";
        const char *text = NULL;
        int rc;

        arena_init(&a, 1 << 20);
        ck_assert_ptr_nonnull(p);
        rc = param_set(p, scratch, values[i].text, &a, why, sizeof why);
        ck_assert_msg(rc == (values[i].want != NULL ? OK : ERR_RANGE), "%s=%s: %s %s", values[i].name, values[i].text,
                      err_name(rc), why);
        if (rc == OK) {
            ck_assert_int_eq(param_text(p, scratch, &a, &text), OK);
            ck_assert_str_eq(text, values[i].want);
        } else {
            ck_assert_str_ne(why, "");
        }
        arena_fini(&a);
        free(scratch);
    }
}
END_TEST

START_TEST(nearest_key)
{
    static const char *const pairs[][2] = {
        { "log.retention.hour", "log.retention.hours" },   { "num.network.thread", "num.network.threads" },
        { "listner", "listeners" },                        { "broker_id", "broker.id" },
        { "Broker.ID", "broker.id" },                      { "log.segement.bytes", "log.segment.bytes" },
        { "auto.create.topic.enable", "auto.create.topics.enable" },
        { "log.dris", "log.dirs" },                        { "xyzzy.plugh", NULL },  { "", NULL }, { "q", NULL },
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const struct param *p = param_nearest(&server_params, str_of(pairs[i][0]));

        if (pairs[i][1] == NULL)
            ck_assert_msg(p == NULL, "%s is near %s?", pairs[i][0], p != NULL ? p->name : "");
        else
            ck_assert_str_eq(p != NULL ? p->name : "nothing", pairs[i][1]);
    }
    for (size_t n = 90; n < 105; n++) {                 /* around the longest name that is looked at */
        char name[128];

        memset(name, 'a', n);
        ck_assert_ptr_null(param_nearest(&server_params, (struct str){ name, n }));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config/params");
    TCase *t = tcase_create("tables");
    SRunner *r;
    int failed;

    tcase_add_test(t, server_table_is_kafkas);
    tcase_add_test(t, what_only_2_7_had_is_there);
    tcase_add_test(t, topic_table_is_kafkas);
    tcase_add_test(t, defaults_come_back_as_text);
    tcase_add_test(t, rows_are_sound);
    tcase_add_test(t, values_of_every_type);
    tcase_add_test(t, nearest_key);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
