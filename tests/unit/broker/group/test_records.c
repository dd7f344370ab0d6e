/* tests/unit/broker/group/test_records.c - the records of __consumer_offsets: the same bytes as Apache Kafka's, in
 * every version, and nothing but an error for bytes that are cut or wrong. */
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "broker/group/records.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/kerr.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena a;

static void setup(void)
{
    arena_init(&a, 16 << 20);
}

static void teardown(void)
{
    arena_fini(&a);
}

static void same(struct bytes got, const char *hex)
{
    char text[1024] = "";

    ck_assert_uint_lt(got.len * 2, sizeof text);
    for (size_t i = 0; i < got.len; i++)
        snprintf(text + 2 * i, 3, "%02x", got.p[i]);
    ck_assert_str_eq(text, hex);
}

static struct bytes unhex(const char *hex)
{
    size_t n = strlen(hex) / 2;
    uint8_t *p = arena_alloc(&a, n + 1);

    for (size_t i = 0; i < n; i++) {
        char two[3] = { hex[2 * i], hex[2 * i + 1], 0 };

        p[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return (struct bytes){ p, n };
}

static const struct committed some = { .offset = 258, .commit_ms = 1700000000000, .expire_ms = -1, .leader_epoch = 7,
                                       .metadata = STR_LIT("m") };

START_TEST(versions_follow_the_protocol)
{
    static const struct {
        const char *ibp;
        int16_t     group, offset;
    } cases[] = {
        { "0.10.0", 0, 1 }, { "0.10.1", 1, 1 }, { "2.0", 1, 1 }, { "2.1-IV0", 2, 2 }, { "2.1-IV1", 2, 3 },
        { "2.2", 2, 3 }, { "2.3", 3, 3 }, { "2.7", 3, 3 }, { "3.9-IV0", 3, 3 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record_versions v = record_versions_of(cases[i].ibp);

        ck_assert_msg(v.group == cases[i].group && v.offset == cases[i].offset && v.expiring == 1, "%s: %d %d",
                      cases[i].ibp, v.group, v.offset);
    }
}
END_TEST

START_TEST(offsets_have_kafkas_bytes)
{
    static const char key[] = "0001" "000167" "00027470" "00000003";
    struct record_versions v = record_versions_of("3.9");
    struct committed c = some;
    struct group_record r;

    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("tp"), 3, &c, &r), OK);
    same(r.key, key);
    same(r.value, "0003" "0000000000000102" "00000007" "00016d" "0000018bcfe56800");
    c.expire_ms = 1700000000001;
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("tp"), 3, &c, &r), OK);
    same(r.value, "0001" "0000000000000102" "00016d" "0000018bcfe56800" "0000018bcfe56801");
    v = record_versions_of("2.1-IV0");
    c.expire_ms = -1;
    c.metadata = (struct str){ NULL, 0 };
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("tp"), 3, &c, &r), OK);
    same(r.value, "0002" "0000000000000102" "0000" "0000018bcfe56800");
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("tp"), 3, NULL, &r), OK);
    same(r.key, key);
    ck_assert_ptr_null(r.value.p);
    ck_assert_int_eq(metadata_record(&a, STR_LIT("g"), (struct bytes){ NULL, 0 }, &r), OK);
    same(r.key, "0002" "000167");
    ck_assert_ptr_null(r.value.p);
}
END_TEST

START_TEST(offsets_come_back_as_they_were)
{
    static const char *const protocols[] = { "2.0", "2.1-IV0", "3.9" };

    for (size_t i = 0; i < 3; i++) {
        struct record_versions v = record_versions_of(protocols[i]);
        struct committed got = { 0 };
        struct group_record r;
        struct record_key k;

        ck_assert_int_eq(offset_record(&v, &a, STR_LIT("grp"), STR_LIT("top"), 9, &some, &r), OK);
        ck_assert_int_eq(record_key_read(r.key, &k), OK);
        ck_assert(k.kind == RECORD_OFFSET && str_is(k.group, "grp") && str_is(k.topic, "top") && k.partition == 9);
        ck_assert_int_eq(offset_value_read(r.value, &a, &got), OK);
        ck_assert_int_eq(got.offset, some.offset);
        ck_assert_int_eq(got.commit_ms, some.commit_ms);
        ck_assert_int_eq(got.expire_ms, -1);
        ck_assert_int_eq(got.leader_epoch, v.offset == 3 ? 7 : -1);
        ck_assert(str_is(got.metadata, "m"));
    }
}
END_TEST

START_TEST(what_others_write_is_read)
{
    struct committed c = { 0 };
    struct group_metadata_value m;
    struct record_key k;

    /* version 0, and the flexible version 4 */
    ck_assert_int_eq(offset_value_read(unhex("0000" "0000000000000102" "00016d" "0000018bcfe56800"), &a, &c), OK);
    ck_assert(c.offset == 258 && c.commit_ms == 1700000000000 && c.leader_epoch == -1 && str_is(c.metadata, "m"));
    ck_assert_int_eq(offset_value_read(unhex("0004" "0000000000000102" "00000007" "026d" "0000018bcfe56800" "00"), &a,
                                       &c), OK);
    ck_assert(c.offset == 258 && c.leader_epoch == 7 && str_is(c.metadata, "m"));
    ck_assert_int_eq(offset_value_read(unhex("0005" "00"), &a, &c), ERR_UNSUPPORTED);
    ck_assert_int_eq(offset_value_read(unhex("ffff" "00"), &a, &c), ERR_CORRUPT);
    /* a key of version 0; a group of version 0, whose members have no rebalance timeout of their own */
    ck_assert_int_eq(record_key_read(unhex("0000" "000167" "000174" "00000001"), &k), OK);
    ck_assert(k.kind == RECORD_OFFSET && k.partition == 1);
    ck_assert_int_eq(metadata_value_read(unhex("0000" "0001" "63" "00000005" "000172" "00016c" "00000001" "00016d"
                                               "000163" "00022f31" "00002710" "00000000" "00000000"), &a, &m), OK);
    ck_assert_int_eq(m.members_n, 1);
    ck_assert_int_eq(m.generation, 5);
    ck_assert_int_eq(m.members[0].session_timeout, 10000);
    ck_assert_int_eq(m.members[0].rebalance_timeout, 10000);
    ck_assert_int_eq(metadata_value_read(unhex("0005"), &a, &m), ERR_UNSUPPORTED);
    ck_assert_int_eq(record_key_read(unhex("0003" "000167"), &k), OK);
    ck_assert(k.kind == RECORD_UNKNOWN && k.version == 3);
}
END_TEST

START_TEST(cut_records_are_errors)
{
    static const char *const keys[] = { "0001" "000167" "00027470" "00000003", "0002" "000167" };
    static const char *const values[] = {
        "0000" "0000000000000102" "00016d" "0000018bcfe56800",
        "0001" "0000000000000102" "00016d" "0000018bcfe56800" "0000018bcfe56801",
        "0003" "0000000000000102" "00000007" "00016d" "0000018bcfe56800",
        "0004" "0000000000000102" "00000007" "026d" "0000018bcfe56800" "00",
    };
    static const char group[] = "0003" "0001" "63" "00000005" "000172" "00016c" "0000018bcfe56800" "00000001" "00016d"
                                "ffff" "000163" "00022f31" "00002710" "00002710" "00000000" "00000000";
    struct group_metadata_value m;
    struct committed c;
    struct record_key k;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (size_t n = 0; n < strlen(keys[i]) / 2; n++)
            ck_assert_int_ne(record_key_read((struct bytes){ unhex(keys[i]).p, n }, &k), OK);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        for (size_t n = 0; n < strlen(values[i]) / 2; n++)
            ck_assert_int_ne(offset_value_read((struct bytes){ unhex(values[i]).p, n }, &a, &c), OK);
    ck_assert_int_eq(metadata_value_read(unhex(group), &a, &m), OK);
    for (size_t n = 0; n < strlen(group) / 2; n++)
        ck_assert_int_ne(metadata_value_read((struct bytes){ unhex(group).p, n }, &a, &m), OK);
    ck_assert_int_eq(record_key_read(unhex("0001" "ffff" "000174" "00000001"), &k), ERR_CORRUPT);
    ck_assert_int_eq(record_key_read(unhex("fffe" "000167"), &k), ERR_CORRUPT);
    ck_assert_int_ne(record_key_read((struct bytes){ NULL, 0 }, &k), OK);
}
END_TEST

START_TEST(names_that_do_not_fit_are_refused)
{
    struct record_versions v = record_versions_of("3.9");
    struct committed c = some;
    char *big = calloc(1, 40000);
    struct group_record r;

    memset(big, 'x', 39999);
    ck_assert_int_eq(offset_record(&v, &a, str_of(big), STR_LIT("t"), 0, &c, &r), ERR_TOO_LARGE);
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), str_of(big), 0, &c, &r), ERR_TOO_LARGE);
    c.metadata = (struct str){ big, INT16_MAX + 1 };
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("t"), 0, &c, &r), ERR_TOO_LARGE);
    c.metadata.len = INT16_MAX;
    ck_assert_int_eq(offset_record(&v, &a, STR_LIT("g"), STR_LIT("t"), 0, &c, &r), OK);
    ck_assert_int_eq(metadata_record(&a, str_of(big), (struct bytes){ NULL, 0 }, &r), ERR_TOO_LARGE);
    free(big);
}
END_TEST

START_TEST(failed_appends_are_answered_as_kafka_does)
{
    ck_assert_int_eq(record_error(RECORD_GROUP, KERR_NONE), KERR_NONE);
    ck_assert_int_eq(record_error(RECORD_GROUP, KERR_REQUEST_TIMED_OUT), KERR_REBALANCE_IN_PROGRESS);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_REQUEST_TIMED_OUT), KERR_REQUEST_TIMED_OUT);
    ck_assert_int_eq(record_error(RECORD_GROUP, KERR_MESSAGE_TOO_LARGE), KERR_UNKNOWN_SERVER_ERROR);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_MESSAGE_TOO_LARGE), KERR_INVALID_COMMIT_OFFSET_SIZE);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_NOT_LEADER_OR_FOLLOWER), KERR_NOT_COORDINATOR);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_KAFKA_STORAGE_ERROR), KERR_NOT_COORDINATOR);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_NOT_ENOUGH_REPLICAS), KERR_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(record_error(RECORD_OFFSET, KERR_INVALID_REQUIRED_ACKS), KERR_INVALID_REQUIRED_ACKS);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        versions_follow_the_protocol, offsets_have_kafkas_bytes, offsets_come_back_as_they_were,
        what_others_write_is_read, cut_records_are_errors, names_that_do_not_fit_are_refused,
        failed_appends_are_answered_as_kafka_does,
    };
    Suite *s = suite_create("group records");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
