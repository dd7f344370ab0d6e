/* tests/unit/metadata/test_znodes.c - what our nodes say, against what Apache Kafka 3.9.1's say. */
#include "metadata/znodes.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* As seen in the tree of a running Apache Kafka 3.9.1. */
static const char broker_node[] = "{\"features\":{},\"listener_security_protocol_map\":{\"PLAINTEXT\":\"PLAINTEXT\"},"
    "\"endpoints\":[\"PLAINTEXT://127.0.0.1:9095\"],\"jmx_port\":-1,\"port\":9095,\"host\":\"127.0.0.1\",\"version\":5,"
    "\"timestamp\":\"1795223279222\"}";
static const char topic_node[] = "{\"partitions\":{\"0\":[5]},\"topic_id\":\"V7A192MXRRSTGV-rgwhajA\","
    "\"adding_replicas\":{},\"removing_replicas\":{},\"version\":3}";
static const char state_node[] = "{\"controller_epoch\":1,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}";
static const char config_node[] = "{\"version\":1,\"config\":{\"compression.type\":\"producer\",\"cleanup.policy\":"
    "\"compact\",\"segment.bytes\":\"104857600\"}}";
static const char controller_node[] = "{\"version\":2,\"brokerid\":5,\"timestamp\":\"1795223279503\","
    "\"kraftControllerEpoch\":-1}";
static const char feature_node[] = "{\"features\":{},\"version\":2,\"status\":1}";
static const struct znode_feature new = { 2, true }, v27 = { 1, true }, old = { 1, false };
static const char cluster_node[] = "{\"version\":\"1\",\"id\":\"7QODrU4NQZ6m9GiPi5U_8w\"}";

static struct arena a;

static void setup(void)
{
    arena_init(&a, (size_t)64 << 20);
}

static void teardown(void)
{
    arena_fini(&a);
}

static struct bytes bytes_of(const char *z)
{
    return (struct bytes){ (const uint8_t *)z, strlen(z) };
}

/* Equal as JSON, and as text: Kafka's own order of keys. */
static void check_text(char *got, const char *want)
{
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, want);
    free(got);
}

START_TEST(a_brokers_node)
{
    struct znode_broker b;

    ck_assert_int_eq(znode_broker_read(bytes_of(broker_node), &a, &b), OK);
    ck_assert_uint_eq(b.endpoints_n, 1);
    ck_assert(str_is(b.endpoints[0].listener, "PLAINTEXT"));
    ck_assert(str_is(b.endpoints[0].host, "127.0.0.1"));
    ck_assert_int_eq(b.endpoints[0].port, 9095);
    ck_assert_ptr_null(b.rack.p);
    ck_assert_int_eq(b.timestamp_ms, 1795223279222);
    check_text(znode_broker_write(&b), broker_node);
}
END_TEST

START_TEST(a_broker_with_racks_ipv6_and_no_plain_listener)
{
    struct znode_endpoint e[] = { { STR_LIT("SECURE"), STR_LIT("2001:db8::1"), STR_LIT("SASL_SSL"), 9093 },
                                  { STR_LIT("SSL"), STR_LIT("b.example.com"), STR_LIT("SSL"), 9094 } };
    struct znode_broker b = { .endpoints = e, .endpoints_n = 2, .rack = STR_LIT("r1"), .timestamp_ms = 7 }, back;
    char *text = znode_broker_write(&b);

    ck_assert_ptr_nonnull(strstr(text, "\"host\":null"));
    ck_assert_ptr_nonnull(strstr(text, "\"port\":-1"));
    ck_assert_ptr_nonnull(strstr(text, "\"SECURE://[2001:db8::1]:9093\""));
    ck_assert_int_eq(znode_broker_read(bytes_of(text), &a, &back), OK);
    free(text);
    ck_assert(str_is(back.rack, "r1"));
    ck_assert_uint_eq(back.endpoints_n, 2);
    ck_assert(str_is(back.endpoints[0].host, "2001:db8::1"));
    ck_assert(str_is(back.endpoints[0].protocol, "SASL_SSL"));
    ck_assert(str_is(back.endpoints[1].listener, "SSL"));
}
END_TEST

START_TEST(brokers_of_older_versions)
{
    struct znode_broker b;

    ck_assert_int_eq(znode_broker_read(bytes_of("{\"version\":1,\"host\":\"h\",\"port\":9092,\"jmx_port\":9999,"
                                                "\"timestamp\":\"1\"}"), &a, &b), OK);
    ck_assert_uint_eq(b.endpoints_n, 1);
    ck_assert(str_is(b.endpoints[0].host, "h"));
    ck_assert_int_eq(znode_broker_read(bytes_of("{\"version\":3,\"host\":null,\"port\":-1,\"rack\":\"r\",\"endpoints\":"
                                                "[\"SSL://h:1\"]}"), &a, &b), OK);
    ck_assert(str_is(b.endpoints[0].protocol, "SSL"));
    ck_assert_int_eq(znode_broker_read(bytes_of("{\"version\":0,\"endpoints\":[]}"), &a, &b), ERR_CORRUPT);
}
END_TEST

START_TEST(a_topics_node)
{
    struct znode_topic t;
    int32_t ids[] = { 1, 2, 3 };

    ck_assert_int_eq(znode_topic_read(bytes_of(topic_node), &a, &t), OK);
    ck_assert_int_eq(t.partitions_n, 1);
    ck_assert_int_eq(t.partitions[0].replicas.v[0], 5);
    check_text(znode_topic_write(&t), topic_node);
    t.partitions[0].replicas = (struct znode_replicas){ ids, 3 };
    t.partitions[0].adding = (struct znode_replicas){ ids + 2, 1 };
    t.partitions[0].removing = (struct znode_replicas){ ids, 1 };
    t.id = (struct uuid){ { 0 } };
    check_text(znode_topic_write(&t), "{\"partitions\":{\"0\":[1,2,3]},\"adding_replicas\":{\"0\":[3]},"
               "\"removing_replicas\":{\"0\":[1]},\"version\":2}");
}
END_TEST

START_TEST(topics_of_older_versions_and_in_any_order)
{
    struct znode_topic t;

    ck_assert_int_eq(znode_topic_read(bytes_of("{\"version\":1,\"partitions\":{\"10\":[1],\"9\":[2],\"0\":[3]}}"), &a,
                                      &t), OK);
    ck_assert_int_eq(t.partitions_n, 3);
    ck_assert_int_eq(t.partitions[0].index, 0);
    ck_assert_int_eq(t.partitions[1].index, 9);
    ck_assert_int_eq(t.partitions[2].replicas.v[0], 1);
    ck_assert(uuid_is_zero(t.id));
    ck_assert_int_eq(znode_topic_read(bytes_of("{\"version\":2,\"partitions\":{\"0\":[1,2]},\"adding_replicas\":"
                                               "{\"0\":[2],\"7\":[1]},\"removing_replicas\":{}}"), &a, &t), OK);
    ck_assert_int_eq(t.partitions[0].adding.n, 1);
    ck_assert_int_eq(t.partitions[0].adding.v[0], 2);
}
END_TEST

START_TEST(a_partitions_state)
{
    struct znode_state s;

    ck_assert_int_eq(znode_state_read(bytes_of(state_node), &a, &s), OK);
    ck_assert_int_eq(s.leader, 5);
    ck_assert_int_eq(s.isr.n, 1);
    check_text(znode_state_write(&s), state_node);
    s.recovering = true;
    s.leader = -1;
    check_text(znode_state_write(&s), "{\"controller_epoch\":1,\"leader\":-1,\"version\":1,\"leader_epoch\":0,"
               "\"isr\":[5],\"leader_recovery_state\":1}");
}
END_TEST

START_TEST(the_small_nodes)
{
    struct znode_config c;
    int32_t id, kraft, epoch;
    const char *cluster;
    char *text;

    ck_assert_int_eq(znode_config_read(bytes_of(config_node), &a, &c), OK);
    ck_assert_uint_eq(c.n, 3);
    ck_assert_str_eq(c.pairs[0].name, "cleanup.policy");
    ck_assert_str_eq(c.pairs[2].value, "104857600");
    ck_assert_int_eq(znode_config_read(bytes_of(""), &a, &c), OK);
    ck_assert_uint_eq(c.n, 0);
    check_text(znode_config_write(&c), "{\"version\":1,\"config\":{}}");
    check_text(znode_controller_write(5, 1795223279503), controller_node);
    ck_assert_int_eq(znode_controller_read(bytes_of(controller_node), &id, &kraft), OK);
    ck_assert_int_eq(id, 5);
    ck_assert_int_eq(kraft, -1);
    ck_assert_int_eq(znode_controller_read(bytes_of("{\"version\":1,\"brokerid\":3,\"timestamp\":\"1\"}"), &id,
                                           &kraft), OK);
    ck_assert_int_eq(id, 3);
    check_text(znode_cluster_id_write("7QODrU4NQZ6m9GiPi5U_8w"), cluster_node);
    ck_assert_int_eq(znode_cluster_id_read(bytes_of(cluster_node), &a, &cluster), OK);
    ck_assert_str_eq(cluster, "7QODrU4NQZ6m9GiPi5U_8w");
    ck_assert_int_eq(znode_epoch_read(bytes_of("7"), &epoch), OK);
    ck_assert_int_eq(epoch, 7);
    ck_assert_int_eq(znode_epoch_read(bytes_of("2147483647"), &epoch), ERR_CORRUPT);
    ck_assert_int_eq(znode_epoch_read(bytes_of("1x"), &epoch), ERR_CORRUPT);
    ck_assert_int_eq(znode_epoch_read(bytes_of(""), &epoch), ERR_CORRUPT);

    /* What a controller with inter.broker.protocol.version 3.9, 2.7 and 2.6 makes of it. */
    ck_assert_int_eq(znode_feature_update(bytes_of(""), false, &new, &text), OK);
    check_text(text, feature_node);
    ck_assert_int_eq(znode_feature_update(bytes_of(feature_node), true, &new, &text), OK);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(znode_feature_update(bytes_of("{\"version\":1,\"status\":0,\"features\":{\"f\":"
                                                   "{\"min_version_level\":1,\"max_version_level\":2}}}"), true,
                                          &new, &text), OK);
    check_text(text, feature_node);
    ck_assert_int_eq(znode_feature_update(bytes_of("{\"version\":2,\"status\":1,\"features\":{\"f\":"
                                                   "{\"max_version_level\":2}}}"), true, &v27, &text), OK);
    check_text(text, "{\"features\":{\"f\":{\"min_version_level\":1,\"max_version_level\":2}},\"version\":1,"
                     "\"status\":1}");
    ck_assert_int_eq(znode_feature_update(bytes_of(feature_node), true, &old, &text), OK);
    check_text(text, "{\"features\":{},\"version\":1,\"status\":0}");
    ck_assert_int_eq(znode_feature_update(bytes_of("{\"version\":1,\"status\":0,\"features\":{}}"), true, &old,
                                          &text), OK);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(znode_feature_update(bytes_of("{\"version\":3,\"status\":0,\"features\":{}}"), true, &new,
                                          &text), ERR_CORRUPT);
}
END_TEST

/* Kafka's readers refuse text where a number belongs, and the other way round; so do ours. */
START_TEST(broken_nodes_are_refused)
{
    static const char *const bad[] = {
        "", "null", "[]", "7", "{", "{}x", "\xff", "{\"version\":\"5\",\"endpoints\":[]}", "{\"version\":5}",
        "{\"version\":5,\"endpoints\":[7]}", "{\"version\":5,\"endpoints\":[\"nothing\"]}",
        "{\"version\":5,\"endpoints\":[\"A://h:99999\"]}", "{\"version\":5,\"endpoints\":[\"A://h:-1\"]}",
        "{\"partitions\":[]}", "{\"partitions\":{\"x\":[1]}}", "{\"partitions\":{\"0\":1}}",
        "{\"partitions\":{\"0\":[\"1\"]}}",
        "{\"partitions\":{\"0\":[-1]}}", "{\"partitions\":{\"0\":[1.0]}}", "{\"partitions\":{\"1\":[1],\"01\":[1]}}",
        "{\"partitions\":{\"99999999999\":[1]}}", "{\"partitions\":{\"0\":[1]},\"topic_id\":\"short\"}",
        "{\"leader\":\"1\",\"leader_epoch\":0,\"controller_epoch\":0,\"isr\":[]}",
        "{\"leader\":1,\"leader_epoch\":0,\"controller_epoch\":0,\"isr\":{}}",
        "{\"leader\":99999999999,\"leader_epoch\":0,\"controller_epoch\":0,\"isr\":[]}",
        "{\"version\":1,\"config\":{\"a\":1}}", "{\"version\":1,\"config\":[]}",
        "{\"version\":1,\"config\":{\"a\":\"\\u0000\"}}",
        "{\"version\":\"1\",\"id\":7}",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct znode_broker b;
        struct znode_topic t;
        struct znode_state s;
        struct znode_config c;
        const char *id;
        int32_t n, m;
        int refused = 0;

        refused += znode_broker_read(bytes_of(bad[i]), &a, &b) != OK;
        refused += znode_state_read(bytes_of(bad[i]), &a, &s) != OK;
        refused += znode_cluster_id_read(bytes_of(bad[i]), &a, &id) != OK;
        refused += znode_controller_read(bytes_of(bad[i]), &n, &m) != OK;
        ck_assert_int_eq(refused, 4);
        (void)(znode_config_read(bytes_of(bad[i]), &a, &c) == OK);
        if (strstr(bad[i], "partitions") != NULL)
            ck_assert_msg(znode_topic_read(bytes_of(bad[i]), &a, &t) == ERR_CORRUPT, "%s", bad[i]);
        if (strstr(bad[i], "config") != NULL)
            ck_assert_msg(znode_config_read(bytes_of(bad[i]), &a, &c) == ERR_CORRUPT, "%s", bad[i]);
    }
}
END_TEST

/* Every node with any one byte changed or cut off is read or refused. */
static const char change_node[] = "{\"version\":2,\"entity_path\":\"topics/t\"}";
static const char old_change_node[] = "{\"version\":1,\"entity_type\":\"topics\",\"entity_name\":\"t\"}";

static const char list_node[] =
    "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":3,\"replicas\":[1,2]}]}";

START_TEST(lists_of_partitions)
{
    struct znode_list l;

    ck_assert_int_eq(znode_reassign_read(bytes_of(list_node), &a, &l), OK);
    ck_assert_uint_eq(l.n, 1);
    ck_assert(str_is(l.v[0].topic, "t"));
    ck_assert_int_eq(l.v[0].partition, 3);
    ck_assert_int_eq(l.v[0].replicas.n, 2);
    check_text(znode_reassign_write(&l), list_node);
    ck_assert_int_eq(znode_election_read(bytes_of(list_node), &a, &l), OK);     /* read key by key */
    check_text(znode_election_write(&l), "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":3}]}");
    ck_assert_int_eq(znode_reassign_read(bytes_of("{\"version\":1,\"partitions\":[],\"x\":1}"), &a, &l), ERR_CORRUPT);
}
END_TEST

START_TEST(damaged_nodes_do_no_harm)
{
    static const char *const nodes[] = { broker_node, topic_node, state_node, config_node, controller_node,
                                         feature_node, change_node, old_change_node, list_node };

    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        for (size_t at = 0; at < strlen(nodes[i]); at++)
            for (int k = 0; k < 4; k++) {
                static const char with[] = { '"', '0', '{', '\0' };
                char text[512], *out = NULL;
                const char *entity;
                struct znode_broker b;
                struct znode_topic t;
                struct znode_state s;
                struct znode_list l;
                struct znode_config c;
                int32_t n, m;
                struct bytes in;

                snprintf(text, sizeof text, "%s", nodes[i]);
                text[at] = with[k];
                in = (struct bytes){ (const uint8_t *)text, k == 3 ? at : strlen(nodes[i]) };
                (void)(znode_broker_read(in, &a, &b) == OK && znode_topic_read(in, &a, &t) == OK &&
                       znode_state_read(in, &a, &s) == OK);
                (void)(znode_topic_read(in, &a, &t) == OK);
                (void)(znode_state_read(in, &a, &s) == OK);
                (void)(znode_config_read(in, &a, &c) == OK);
                (void)(znode_reassign_read(in, &a, &l) == OK);
                (void)(znode_election_read(in, &a, &l) == OK);
                (void)(znode_change_read(in, &a, &entity) == OK);
                (void)(znode_controller_read(in, &n, &m) == OK);
                (void)(znode_feature_update(in, true, &(struct znode_feature){ 2, true }, &out) == OK);
                free(out);
                arena_reset(&a);
            }
}
END_TEST

START_TEST(changes_of_settings)
{
    static const struct {
        const char *node, *entity;          /* NULL: refused */
    } cases[] = {
        { "{\"version\":2,\"entity_path\":\"topics/t\"}", "topics/t" },
        { "{\"entity_path\":\"users/<default>/clients/c\",\"version\":2,\"more\":[]}", "users/<default>/clients/c" },
        { "{\"version\":1,\"entity_type\":\"topics\",\"entity_name\":\"t\"}", "topics/t" },
        { "{\"version\":1,\"entity_type\":\"clients\",\"entity_name\":\"c\"}", "clients/c" },
        { "{\"version\":1,\"entity_type\":\"brokers\",\"entity_name\":\"1\"}", NULL },
        { "{\"version\":1,\"entity_type\":\"topics\"}", NULL },
        { "{\"version\":2,\"entity_path\":7}", NULL },
        { "{\"version\":3,\"entity_path\":\"topics/t\"}", NULL },
        { "{\"entity_path\":\"topics/t\"}", NULL },
        { "[]", NULL },
        { "", NULL },
    };
    char *text = znode_change_write("topics/t");
    const char *entity;

    ck_assert_str_eq(text, cases[0].node);
    free(text);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes in = { (const uint8_t *)cases[i].node, strlen(cases[i].node) };
        int rc = znode_change_read(in, &a, &entity);

        ck_assert_int_eq(rc, cases[i].entity != NULL ? OK : ERR_CORRUPT);
        if (rc == OK)
            ck_assert_str_eq(entity, cases[i].entity);
    }
}
END_TEST

START_TEST(paths)
{
    char longest[TOPIC_NAME_MAX + 1];
    struct str t = { longest, TOPIC_NAME_MAX };

    memset(longest, 'x', TOPIC_NAME_MAX);
    longest[TOPIC_NAME_MAX] = '\0';
    ck_assert_uint_le(strlen(zpath_state(t, INT32_MAX).z), STORE_PATH_MAX);
    ck_assert_str_eq(zpath_state(STR_LIT("t"), 7).z, "/brokers/topics/t/partitions/7/state");
    ck_assert_str_eq(zpath_partition(STR_LIT("t"), 7).z, "/brokers/topics/t/partitions/7");
    ck_assert_str_eq(zpath_partitions(STR_LIT("t")).z, "/brokers/topics/t/partitions");
    ck_assert_str_eq(zpath_topic(STR_LIT("t")).z, "/brokers/topics/t");
    ck_assert_str_eq(zpath_topic_config(STR_LIT("t")).z, "/config/topics/t");
    ck_assert_str_eq(zpath_delete_topic(STR_LIT("t")).z, "/admin/delete_topics/t");
    ck_assert_str_eq(zpath_config_change(STR_LIT("config_change_0000000001")).z,
                     "/config/changes/config_change_0000000001");
    ck_assert_str_eq(zpath_broker(5).z, "/brokers/ids/5");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata/znodes");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_brokers_node);
    tcase_add_test(t, a_broker_with_racks_ipv6_and_no_plain_listener);
    tcase_add_test(t, brokers_of_older_versions);
    tcase_add_test(t, a_topics_node);
    tcase_add_test(t, topics_of_older_versions_and_in_any_order);
    tcase_add_test(t, a_partitions_state);
    tcase_add_test(t, the_small_nodes);
    tcase_add_test(t, broken_nodes_are_refused);
    tcase_add_test(t, lists_of_partitions);
    tcase_add_test(t, damaged_nodes_do_no_harm);
    tcase_add_test(t, changes_of_settings);
    tcase_add_test(t, paths);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
