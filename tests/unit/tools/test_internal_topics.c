/* tests/unit/tools/test_internal_topics.c - formatters of the internal topics: whole records, torn ones, and noise. */
#include "tools/console/formatter.h"


#include <check.h>
#include <stdlib.h>

static const char *const classes[] = {
    "org.apache.kafka.tools.consumer.OffsetsMessageFormatter",
    "org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter",
    "org.apache.kafka.tools.consumer.TransactionLogMessageFormatter",
    "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter",
    "kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter",
    "kafka.coordinator.transaction.TransactionLog$TransactionLogMessageFormatter",
};
#define CLASSES_N (sizeof classes / sizeof classes[0])

static struct formatter formatters[CLASSES_N];

/* Version 1 of a key: group "g", topic "t", partition 7. Version 3 of a value: offset 5, no epoch, metadata "m", time
 * 9. */
static const uint8_t offset_key[] = { 0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 7 };
static const uint8_t offset_value[] = { 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 255, 255, 255, 255, 0, 1, 'm',
                                         0, 0, 0, 0, 0, 0, 0, 9 };
/* Version 2 of a key: group "g". Version 3 of a value: an empty group. */
static const uint8_t group_key[] = { 0, 2, 0, 1, 'g' };
static const uint8_t group_value[] = { 0, 3, 0, 1, 'c', 0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0,
                                        0 };

static char *print(size_t cls, struct bytes key, struct bytes value, int *rc)
{
    struct consumed r = { .key = key, .value = value };
    char           *text = NULL, error[256];
    size_t          n;
    FILE           *out = open_memstream(&text, &n);

    *rc = formatter_write(&formatters[cls], out, &r, error, sizeof error);
    fclose(out);
    return text;
}

static void expect(size_t cls, struct bytes key, struct bytes value, const char *want)
{
    int   rc;
    char *text = print(cls, key, value, &rc);

    ck_assert_int_eq(rc, OK);
    ck_assert_str_eq(text, want);
    free(text);
}

#define BYTES(a) ((struct bytes){ (a), sizeof(a) })
#define NONE     ((struct bytes){ NULL, 0 })

START_TEST(records_of_both_kinds)
{
    expect(0, BYTES(offset_key), BYTES(offset_value),
           "{\"key\":{\"version\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":7}},"
           "\"value\":{\"version\":3,\"data\":{\"offset\":5,\"leaderEpoch\":-1,\"metadata\":\"m\","
           "\"commitTimestamp\":9}}}");
    expect(0, BYTES(offset_key), NONE,
           "{\"key\":{\"version\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":7}},\"value\":null}");
    expect(3, BYTES(offset_key), BYTES(offset_value),
           "[g,t,7]::OffsetAndMetadata(offset=5, leaderEpoch=Optional.empty, metadata=m, commitTimestamp=9, "
           "expireTimestamp=None)\n");
    expect(3, BYTES(offset_key), NONE, "[g,t,7]::NULL\n");
    expect(1, BYTES(group_key), BYTES(group_value),
           "{\"key\":{\"version\":2,\"data\":{\"group\":\"g\"}},\"value\":{\"version\":3,"
           "\"data\":{\"protocolType\":\"c\",\"generation\":2,\"protocol\":null,\"leader\":null,"
           "\"currentStateTimestamp\":9,\"members\":[]}}}");
    expect(4, BYTES(group_key), BYTES(group_value),
           "g::GroupMetadata(groupId=g, generation=2, protocolType=Some(c), currentState=Empty, members=HashMap())\n");
}
END_TEST

START_TEST(records_of_the_other_kind_are_passed_over)
{
    expect(0, BYTES(group_key), BYTES(group_value), "");
    expect(1, BYTES(offset_key), BYTES(offset_value), "");
    expect(3, BYTES(group_key), BYTES(group_value), "");
    expect(4, BYTES(offset_key), BYTES(offset_value), "");
    expect(5, BYTES(offset_key), BYTES(offset_value), "unknown::version=1\n");
    expect(0, NONE, BYTES(offset_value),
           "{\"key\":null,\"value\":{\"version\":3,\"data\":{\"offset\":5,\"leaderEpoch\":-1,\"metadata\":\"m\","
           "\"commitTimestamp\":9}}}");
}
END_TEST

/* Copied to the heap, so that one byte too many is seen. */
static void try_all(const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len)
{
    uint8_t *k = malloc(key_len + 1), *v = malloc(value_len + 1);
    int      rc;

    memcpy(k + 1, key, key_len);
    memcpy(v + 1, value, value_len);
    for (size_t cls = 0; cls < CLASSES_N; cls++)
        free(print(cls, (struct bytes){ k + 1, key_len }, (struct bytes){ v + 1, value_len }, &rc));
    free(k);
    free(v);
}

START_TEST(torn_and_damaged_records)
{
    uint8_t  damaged[64];
    uint32_t seed = 1;
    int      rc;

    for (size_t n = 0; n < sizeof offset_value; n++) {
        free(print(0, BYTES(offset_key), (struct bytes){ offset_value, n }, &rc));
        ck_assert_int_eq(rc, ERR_INVALID);
        try_all(offset_key, n < sizeof offset_key ? n : sizeof offset_key, offset_value, n);
        try_all(group_key, n < sizeof group_key ? n : sizeof group_key, group_value, n);
    }
    for (int i = 0; i < 20000; i++) {
        memcpy(damaged, group_value, sizeof group_value);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245 + 12345;
            damaged[(seed >> 16) % sizeof group_value] = (uint8_t)(seed >> 8);
        }
        damaged[1] = (uint8_t)(i % 5);
        try_all(group_key, sizeof group_key, damaged, sizeof group_value);
        try_all(offset_key, sizeof offset_key, damaged, sizeof group_value);
    }
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("internal topics");
    TCase   *t = tcase_create("internal topics");
    SRunner *r = srunner_create(s);
    int      failed;

    for (size_t i = 0; i < CLASSES_N; i++) {
        if (formatter_init(&formatters[i], classes[i]) != OK)
            return 1;
    }
    tcase_set_timeout(t, 60);
    tcase_add_test(t, records_of_both_kinds);
    tcase_add_test(t, records_of_the_other_kind_are_passed_over);
    tcase_add_test(t, torn_and_damaged_records);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
