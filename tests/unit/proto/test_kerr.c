/* tests/unit/proto/test_kerr.c - error codes, the table of APIs, and headers. */
#include "base/err.h"
#include "proto/header.h"
#include "proto/kerr.h"

#include <check.h>
#include <stdlib.h>

START_TEST(codes_have_names_and_texts)
{
    ck_assert_str_eq(kerr_name(KERR_NONE), "NONE");
    ck_assert_str_eq(kerr_name(-1), "UNKNOWN_SERVER_ERROR");
    ck_assert_str_eq(kerr_name(87), "INVALID_RECORD");
    ck_assert_str_eq(kerr_name(127), "VOTER_NOT_FOUND");
    ck_assert(kerr_retriable(KERR_NOT_LEADER_OR_FOLLOWER));
    ck_assert(!kerr_retriable(KERR_OFFSET_OUT_OF_RANGE));
    for (int16_t code = -1; code <= 127; code++)
        ck_assert_uint_gt(strlen(kerr_message(code)), 5);
}
END_TEST

START_TEST(codes_that_we_do_not_know_are_no_trap)
{
    static const int16_t odd[] = { -2, 128, INT16_MIN, INT16_MAX };

    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        ck_assert_str_eq(kerr_name(odd[i]), "UNKNOWN_SERVER_ERROR");
        ck_assert_ptr_nonnull(kerr_message(odd[i]));
        ck_assert(!kerr_retriable(odd[i]));
    }
}
END_TEST

START_TEST(our_results_become_codes)
{
    ck_assert_int_eq(kerr_of(OK), KERR_NONE);
    ck_assert_int_eq(kerr_of(ERR_NOSPACE), KERR_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(kerr_of(ERR_CORRUPT), KERR_CORRUPT_MESSAGE);
    ck_assert_int_eq(kerr_of(ERR_NOMEM), KERR_UNKNOWN_SERVER_ERROR);
    ck_assert_int_eq(kerr_of(12345), KERR_UNKNOWN_SERVER_ERROR);
}
END_TEST

START_TEST(apis_are_found_by_key)
{
    ck_assert_str_eq(api_name(API_LEADER_AND_ISR), "LeaderAndIsr");
    ck_assert_int_eq(api_info(API_FETCH)->max_version, 17);
    ck_assert_int_eq(api_info(API_FETCH)->first_flexible, 12);
    ck_assert_ptr_null(api_info(-1));
    ck_assert_ptr_null(api_info(52));               /* Vote: not ours */
    ck_assert_ptr_null(api_info(INT16_MAX));
    ck_assert_str_eq(api_name(INT16_MIN), "unknown");
    for (size_t i = 0; i < api_table_n; i++)
        ck_assert_ptr_eq(api_info(api_table[i].key), &api_table[i]);
}
END_TEST

START_TEST(header_versions_follow_the_api)
{
    ck_assert_int_eq(request_header_version(API_FETCH, 11), 1);
    ck_assert_int_eq(request_header_version(API_FETCH, 12), 2);
    ck_assert_int_eq(response_header_version(API_FETCH, 11), 0);
    ck_assert_int_eq(response_header_version(API_FETCH, 12), 1);
    ck_assert_int_eq(request_header_version(API_CONTROLLED_SHUTDOWN, 0), 0);
    ck_assert_int_eq(request_header_version(API_CONTROLLED_SHUTDOWN, 1), 1);
    ck_assert_int_eq(request_header_version(API_API_VERSIONS, 99), 2);
    ck_assert_int_eq(response_header_version(API_API_VERSIONS, 99), 0);
    ck_assert_int_eq(request_header_version(API_SASL_HANDSHAKE, 1), 1);
    ck_assert_int_eq(request_header_version(99, 0), -1);
}
END_TEST

static int read_header(const uint8_t *p, size_t n, struct request_header *h, size_t *left)
{
    struct cursor c = cur_ro(p, n);
    struct arena a;
    int rc;

    arena_init(&a, 4096);
    rc = header_read_request(&c, &a, h);
    *left = cur_left(&c);
    arena_fini(&a);
    return rc;
}

START_TEST(request_headers_of_all_versions)
{
    static const uint8_t v0[] = { 0, 7, 0, 0, 0, 0, 0, 9, 'b' };
    static const uint8_t v1[] = { 0, 1, 0, 11, 0, 0, 0, 9, 0, 2, 'i', 'd', 'b' };
    static const uint8_t v2[] = { 0, 1, 0, 12, 0, 0, 0, 9, 0, 2, 'i', 'd', 0, 'b' };
    static const uint8_t no_id[] = { 0, 1, 0, 12, 0, 0, 0, 9, 0xff, 0xff, 0, 'b' };
    static const uint8_t strange[] = { 0, 99, 0, 12, 0, 0, 0, 9 };
    struct request_header h;
    size_t left;

    ck_assert_int_eq(read_header(v0, sizeof v0, &h, &left), OK);
    ck_assert_int_eq(h.correlation_id, 9);
    ck_assert_uint_eq(left, 1);
    ck_assert_int_eq(read_header(v1, sizeof v1, &h, &left), OK);
    ck_assert(str_is(h.client_id, "id"));
    ck_assert_uint_eq(left, 1);
    ck_assert_int_eq(read_header(v2, sizeof v2, &h, &left), OK);
    ck_assert(str_is(h.client_id, "id"));
    ck_assert_uint_eq(left, 1);
    ck_assert_int_eq(read_header(no_id, sizeof no_id, &h, &left), OK);
    ck_assert_ptr_null(h.client_id.p);
    ck_assert_uint_eq(left, 1);
    ck_assert_int_eq(read_header(strange, sizeof strange, &h, &left), ERR_UNSUPPORTED);
    ck_assert_int_eq(h.request_api_key, 99);
    ck_assert_int_eq(h.correlation_id, 9);
    for (size_t n = 0; n < sizeof v2 - 1; n++)
        ck_assert_int_eq(read_header(v2, n, &h, &left), ERR_SHORT);
}
END_TEST

START_TEST(headers_are_written_as_they_are_read)
{
    struct request_header h, back;
    struct response_header r;
    struct arena a;
    struct chain ch;
    struct cursor c;
    uint8_t out[32];

    arena_init(&a, 65536);
    request_header_init(&h);
    h.request_api_key = API_PRODUCE;
    h.request_api_version = 9;
    h.correlation_id = 5;
    h.client_id = str_of("me");
    chain_init(&ch, &a);
    ck_assert_int_eq(header_write_request(&ch, &h), OK);
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);
    c = cur_ro(out, ch.len);
    ck_assert_int_eq(header_read_request(&c, &a, &back), OK);
    ck_assert(str_is(back.client_id, "me"));
    ck_assert_uint_eq(cur_left(&c), 0);
    c = cur_ro("\0\0\0\5\0", 5);
    ck_assert_int_eq(header_read_response(&c, &a, API_PRODUCE, 9, &r), OK);
    ck_assert_int_eq(r.correlation_id, 5);
    ck_assert_uint_eq(cur_left(&c), 0);
    arena_fini(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/kerr");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, codes_have_names_and_texts);
    tcase_add_test(t, codes_that_we_do_not_know_are_no_trap);
    tcase_add_test(t, our_results_become_codes);
    tcase_add_test(t, apis_are_found_by_key);
    tcase_add_test(t, header_versions_follow_the_api);
    tcase_add_test(t, request_headers_of_all_versions);
    tcase_add_test(t, headers_are_written_as_they_are_read);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
