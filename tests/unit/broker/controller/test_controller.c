/* tests/unit/broker/controller/test_controller.c - the controller from election to deletion: its znodes, what it tells
 * brokers, and what clients are answered.
 */
#include "tests/unit/broker/controller/kit.h"

static struct kit k;

static void setup(void)
{
    kit_new(&k);
    kit_up(&k, NULL);
}

static void teardown(void)
{
    kit_down(&k);
    kit_end(&k);
}

static void told(const char *want)
{
    lock_take(&k.fb->lock);
    ck_assert_str_eq(k.fb->log, want);
    k.fb->log[0] = '\0';
    lock_drop(&k.fb->lock);
}

START_TEST(the_first_start_writes_kafkas_tree)
{
    char want[128], *text;

    ck_assert(controller_active(k.ctl));
    kit_check_node(&k, "/controller_epoch", "1");
    kit_check_node(&k, "/feature", "{\"features\":{},\"version\":2,\"status\":1}");
    for (size_t i = 0; znode_top_level[i] != NULL; i++)
        kit_check_node(&k, znode_top_level[i], "");
    snprintf(want, sizeof want, "{\"version\":\"1\",\"id\":\"%s\"}", k.cluster_id);
    kit_check_node(&k, "/cluster/id", want);
    text = kit_node(&k, "/controller");
    ck_assert_ptr_nonnull(strstr(text, "\"brokerid\":5"));
    ck_assert_ptr_nonnull(strstr(text, "\"kraftControllerEpoch\":-1"));
    free(text);
    text = kit_node(&k, "/brokers/ids/5");
    ck_assert_ptr_nonnull(strstr(text, "\"endpoints\":[\"PLAINTEXT://127.0.0.1:9095\"]"));
    free(text);
    told("U");
}
END_TEST

START_TEST(a_topic_gets_its_nodes_and_a_leader)
{
    struct metadata *md;
    const struct metadata_topic *t;
    char *text, id[UUID_TEXT_LEN + 1], want[256];

    told("U");
    ck_assert_int_eq(kit_create(&k, "t", 2, 1), KERR_NONE);
    told("LU");
    md = metadata_get(k.cache);
    t = metadata_topic(md, STR_LIT("t"));
    ck_assert_int_eq(t->partitions_n, 2);
    ck_assert_int_eq(t->partitions[1].leader, BROKER);
    ck_assert_int_eq(t->partitions[1].isr_n, 1);
    ck_assert_ptr_eq(metadata_topic_by_id(md, t->id), t);
    uuid_text(t->id, id);
    metadata_put(&md);
    kit_check_node(&k, "/config/topics/t", "{\"version\":1,\"config\":{}}");
    snprintf(want, sizeof want, "{\"partitions\":{\"0\":[5],\"1\":[5]},\"topic_id\":\"%s\",\"adding_replicas\":{},"
             "\"removing_replicas\":{},\"version\":3}", id);
    kit_check_node(&k, "/brokers/topics/t", want);
    kit_check_node(&k, "/brokers/topics/t/partitions", "");
    kit_check_node(&k, "/brokers/topics/t/partitions/1", "");
    text = kit_node(&k, "/brokers/topics/t/partitions/1/state");
    ck_assert_str_eq(text, "{\"controller_epoch\":1,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}");
    free(text);
}
END_TEST

START_TEST(a_deleted_topic_leaves_nothing)
{
    ck_assert_int_eq(kit_create(&k, "t", 3, 1), KERR_NONE);
    told("ULU");
    ck_assert_int_eq(kit_delete(&k, "t", 20000), KERR_NONE);
    kit_wait_gone(&k, "/admin/delete_topics/t");
    told("USD");                    /* leader -2; stop; delete */
    kit_check_node(&k, "/brokers/topics/t", NULL);
    kit_check_node(&k, "/config/topics/t", NULL);
    ck_assert_uint_eq(k.fb->deleted, 3);
    ck_assert_int_eq(kit_delete(&k, "t", 20000), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    log_threshold = LOG_WARN;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_first_start_writes_kafkas_tree);
    tcase_add_test(t, a_topic_gets_its_nodes_and_a_leader);
    tcase_add_test(t, a_deleted_topic_leaves_nothing);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
