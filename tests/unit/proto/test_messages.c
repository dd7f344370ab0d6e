/* tests/unit/proto/test_messages.c - generated codecs: by hand, cut short, with hostile counts, with unknown tags. */
#include "proto/gen/api_versions_request.h"
#include "proto/gen/api_versions_response.h"
#include "proto/gen/consumer_group_heartbeat_response.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/gen/messages.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/produce_request.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, (size_t)16 << 20);
}

static void tear_down(void)
{
    arena_fini(&arena);
}

/* Metadata v1 for the topics "ab" and "c". */
static const uint8_t metadata_v1[] = { 0, 0, 0, 2, 0, 2, 'a', 'b', 0, 1, 'c' };

/* Produce v9 (flexible): no transactional id, acks -1, timeout 30000, topic "t", partition 7, three bytes. */
static const uint8_t produce_v9[] = { 0, 0xff, 0xff, 0, 0, 0x75, 0x30, 2, 2, 't', 2, 0, 0, 0, 7, 4, 'r', 'e', 'c', 0,
                                      0, 0 };

START_TEST(a_classic_message_by_hand)
{
    struct cursor c = cur_ro(metadata_v1, sizeof metadata_v1);
    struct metadata_request m;

    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), OK);
    ck_assert_uint_eq(cur_left(&c), 0);
    ck_assert_int_eq(m.topics_n, 2);
    ck_assert(str_is(m.topics[0].name, "ab"));
    ck_assert(str_is(m.topics[1].name, "c"));
    ck_assert_ptr_eq(m.topics[0].name.p, metadata_v1 + 6);      /* not copied */
    ck_assert(m.allow_auto_topic_creation);                     /* the default, in a version without it */
}
END_TEST

START_TEST(a_flexible_message_by_hand)
{
    struct cursor c = cur_ro(produce_v9, sizeof produce_v9);
    struct produce_request p;
    struct chain ch;
    uint8_t out[sizeof produce_v9];

    ck_assert_int_eq(produce_request_read(&c, 9, &arena, &p), OK);
    ck_assert_uint_eq(cur_left(&c), 0);
    ck_assert_ptr_null(p.transactional_id.p);
    ck_assert_int_eq(p.acks, -1);
    ck_assert_int_eq(p.timeout_ms, 30000);
    ck_assert_int_eq(p.topic_data[0].partition_data[0].index, 7);
    ck_assert_ptr_eq(p.topic_data[0].partition_data[0].records.p, produce_v9 + 16);
    ck_assert_uint_eq(p.topic_data[0].partition_data[0].records.len, 3);
    ck_assert_uint_eq(produce_request_size(&p, 9), sizeof produce_v9);
    chain_init(&ch, &arena);
    ck_assert_int_eq(produce_request_write(&ch, &p, 9), OK);
    ck_assert_uint_eq(ch.len, sizeof out);
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);
    ck_assert_mem_eq(out, produce_v9, sizeof out);
    chain_fini(&ch);
}
END_TEST

START_TEST(bytes_after_the_message_are_left_alone)
{
    uint8_t in[sizeof metadata_v1 + 3] = { 0 };
    struct cursor c = cur_ro(in, sizeof in);
    struct metadata_request m;

    memcpy(in, metadata_v1, sizeof metadata_v1);
    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), OK);
    ck_assert_uint_eq(cur_left(&c), 3);
}
END_TEST

START_TEST(unknown_versions_are_refused)
{
    struct cursor c = cur_ro(metadata_v1, sizeof metadata_v1);
    struct metadata_request m;
    struct chain ch;

    ck_assert_int_eq(metadata_request_read(&c, METADATA_REQUEST_MAX_VERSION + 1, &arena, &m), ERR_VERSION);
    ck_assert_int_eq(metadata_request_read(&c, -1, &arena, &m), ERR_VERSION);
    metadata_request_init(&m);
    chain_init(&ch, &arena);
    ck_assert_int_eq(metadata_request_write(&ch, &m, METADATA_REQUEST_MAX_VERSION + 1), ERR_VERSION);
}
END_TEST

/* ---- input that lies ---- */

/* The default struct of each message and version, encoded. */
START_TEST(every_prefix_of_every_default_message_is_short)
{
    for (size_t i = 0; i < message_table_n; i++) {
        const struct message_info *m = &message_table[i];
        void *x = malloc(m->bytes), *y = malloc(m->bytes);

        for (int16_t v = m->min_version; v <= m->max_version; v++) {
            size_t size;
            uint8_t *bytes;
            struct chain ch;

            m->init(x);
            size = m->size(x, v);
            bytes = malloc(size + 1);
            chain_init(&ch, &arena);
            if (m->write(&ch, x, v) == OK) {        /* some have no default for a field that must not be null */
                ck_assert_uint_eq(ch.len, size);
                ck_assert_int_eq(chain_flatten(&ch, bytes, size), OK);
                for (size_t n = 0; n < size; n++) {
                    struct cursor c = cur_ro(bytes, n);
                    ck_assert_int_eq(m->read(&c, v, &arena, y), ERR_SHORT);
                }
            }
            free(bytes);
        }
        free(x);
        free(y);
    }
}
END_TEST

START_TEST(every_prefix_of_a_full_message_is_short)
{
    for (size_t n = 0; n < sizeof produce_v9; n++) {
        uint8_t *exact = malloc(n + 1);
        struct cursor c = cur_ro(exact, n);
        struct produce_request p;

        memcpy(exact, produce_v9, n);
        ck_assert_int_eq(produce_request_read(&c, 9, &arena, &p), ERR_SHORT);
        free(exact);
    }
}
END_TEST

START_TEST(a_count_of_two_thousand_million_takes_no_memory)
{
    static const uint8_t classic[] = { 0x7f, 0xff, 0xff, 0xff, 0, 1, 'a' };
    static const uint8_t compact[] = { 0xff, 0xff, 0xff, 0xff, 0x0f, 2, 'a', 0 };
    struct cursor c = cur_ro(classic, sizeof classic);
    struct metadata_request m;

    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), ERR_SHORT);
    ck_assert_int_eq(m.topics_n, 0);
    c = cur_ro(compact, sizeof compact);
    ck_assert_int_eq(metadata_request_read(&c, 9, &arena, &m), ERR_SHORT);
    ck_assert_uint_eq(arena.taken_bytes, 0);
}
END_TEST

START_TEST(a_count_must_fit_even_when_its_elements_could_be_small)
{
    uint8_t in[4 + 100] = { 0, 0, 0, 51 };      /* 51 names of two bytes or more in 100 bytes */
    struct cursor c = cur_ro(in, sizeof in);
    struct metadata_request m;

    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), ERR_SHORT);
    ck_assert_uint_eq(arena.taken_bytes, 0);
    in[3] = 50;
    c = cur_ro(in, sizeof in);
    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), OK);
    ck_assert_int_eq(m.topics_n, 50);
}
END_TEST

START_TEST(memory_beyond_the_limit_is_an_error)
{
    size_t n = 4 + 2 * (size_t)100000;
    uint8_t *in = calloc(1, n);
    struct cursor c = cur_ro(in, n);
    struct metadata_request m;
    struct arena small;

    be_put32(in, 100000);
    arena_init(&small, 4096);
    ck_assert_int_eq(metadata_request_read(&c, 1, &small, &m), ERR_NOMEM);
    arena_fini(&small);
    free(in);
}
END_TEST

START_TEST(null_where_there_must_be_a_value_is_corrupt)
{
    static const uint8_t name[] = { 0, 0, 0, 1, 0xff, 0xff };
    static const uint8_t topics[] = { 0xff, 0xff, 0xff, 0xff };
    struct cursor c = cur_ro(name, sizeof name);
    struct metadata_request m;

    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), ERR_CORRUPT);
    c = cur_ro(topics, sizeof topics);
    ck_assert_int_eq(metadata_request_read(&c, 0, &arena, &m), ERR_CORRUPT);
    c = cur_ro(topics, sizeof topics);
    ck_assert_int_eq(metadata_request_read(&c, 1, &arena, &m), OK);
    ck_assert_int_eq(m.topics_n, -1);
}
END_TEST

/* ---- tagged fields ---- */

START_TEST(unknown_tags_are_written_back)
{
    /* ApiVersions v3: name "a", version "b", tags 5 (two bytes) and 300 (none) */
    static const uint8_t in[] = { 2, 'a', 2, 'b', 2, 5, 2, 0xca, 0xfe, 0xac, 2, 0 };
    struct cursor c = cur_ro(in, sizeof in);
    struct api_versions_request r;
    struct chain ch;
    uint8_t out[sizeof in];

    ck_assert_int_eq(api_versions_request_read(&c, 3, &arena, &r), OK);
    ck_assert_uint_eq(r.unknown_tags->tag, 5);
    ck_assert_uint_eq(r.unknown_tags->data.len, 2);
    ck_assert_uint_eq(r.unknown_tags->next->tag, 300);
    ck_assert_uint_eq(api_versions_request_size(&r, 3), sizeof in);
    chain_init(&ch, &arena);
    ck_assert_int_eq(api_versions_request_write(&ch, &r, 3), OK);
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);
    ck_assert_mem_eq(out, in, sizeof in);
    chain_init(&ch, &arena);
    ck_assert_int_eq(api_versions_request_write(&ch, &r, 2), ERR_UNSUPPORTED);
}
END_TEST

START_TEST(tags_out_of_order_can_be_read_but_not_written)
{
    static const uint8_t in[] = { 1, 1, 2, 7, 0, 5, 0 };
    struct cursor c = cur_ro(in, sizeof in);
    struct api_versions_request r;
    struct chain ch;

    ck_assert_int_eq(api_versions_request_read(&c, 3, &arena, &r), OK);
    chain_init(&ch, &arena);
    ck_assert_int_eq(api_versions_request_write(&ch, &r, 3), ERR_INVALID);
}
END_TEST

START_TEST(a_known_tag_lies_between_unknown_ones)
{
    struct api_versions_response r, back;
    struct raw_tag high = { .tag = 9, .data = { (const uint8_t *)"x", 1 } };
    struct chain ch;
    uint8_t out[64];
    struct cursor c;

    api_versions_response_init(&r);
    r.finalized_features_epoch = 77;            /* tag 1 */
    r.zk_migration_ready = true;                /* tag 3 */
    r.unknown_tags = &high;
    chain_init(&ch, &arena);
    ck_assert_int_eq(api_versions_response_write(&ch, &r, 3), OK);
    ck_assert_uint_eq(ch.len, api_versions_response_size(&r, 3));
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);
    c = cur_ro(out, ch.len);
    ck_assert_int_eq(api_versions_response_read(&c, 3, &arena, &back), OK);
    ck_assert_int_eq(back.finalized_features_epoch, 77);
    ck_assert(back.zk_migration_ready);
    ck_assert_uint_eq(back.unknown_tags->tag, 9);
    ck_assert_ptr_null(back.unknown_tags->next);
    ck_assert_int_eq(back.supported_features_n, 0);
}
END_TEST

/* ---- what a version cannot carry ---- */

START_TEST(a_field_that_cannot_be_carried_must_be_its_default)
{
    struct fetch_request f;
    struct chain ch;

    fetch_request_init(&f);
    ck_assert_int_eq(f.max_bytes, INT32_MAX);
    f.max_bytes = 5;                            /* ignorable */
    chain_init(&ch, &arena);
    ck_assert_int_eq(fetch_request_write(&ch, &f, 2), OK);
    f.replica_id = 3;                           /* not in 15 */
    chain_init(&ch, &arena);
    ck_assert_int_eq(fetch_request_write(&ch, &f, 15), ERR_UNSUPPORTED);
    f.replica_id = -1;
    f.replica_state.replica_id = 3;             /* not before 15 */
    chain_init(&ch, &arena);
    ck_assert_int_eq(fetch_request_write(&ch, &f, 15), OK);
    chain_init(&ch, &arena);
    ck_assert_int_eq(fetch_request_write(&ch, &f, 14), ERR_UNSUPPORTED);
}
END_TEST

START_TEST(what_may_not_be_null_is_not_written_as_null)
{
    struct metadata_request m;
    struct metadata_request_metadata_request_topic t;
    struct chain ch;

    metadata_request_init(&m);
    metadata_request_metadata_request_topic_init(&t);
    m.topics = &t;
    m.topics_n = 1;
    t.name = (struct str){ NULL, 0 };
    chain_init(&ch, &arena);
    ck_assert_int_eq(metadata_request_write(&ch, &m, 9), ERR_INVALID);
    chain_init(&ch, &arena);
    ck_assert_int_eq(metadata_request_write(&ch, &m, 12), OK);
    t.name = (struct str){ (const char *)metadata_v1, WIRE_STR_MAX + 1 };
    chain_init(&ch, &arena);
    ck_assert_int_eq(metadata_request_write(&ch, &m, 12), ERR_TOO_LARGE);
}
END_TEST

START_TEST(a_struct_may_be_null)
{
    struct consumer_group_heartbeat_response r, back;
    struct consumer_group_heartbeat_response_assignment a;
    struct chain ch;
    uint8_t out[64];
    struct cursor c;

    consumer_group_heartbeat_response_init(&r);
    ck_assert_ptr_null(r.assignment);
    for (int with = 0; with <= 1; with++) {
        consumer_group_heartbeat_response_assignment_init(&a);
        r.assignment = with ? &a : NULL;
        chain_init(&ch, &arena);
        ck_assert_int_eq(consumer_group_heartbeat_response_write(&ch, &r, 0), OK);
        ck_assert_uint_eq(ch.len, consumer_group_heartbeat_response_size(&r, 0));
        ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);
        c = cur_ro(out, ch.len);
        ck_assert_int_eq(consumer_group_heartbeat_response_read(&c, 0, &arena, &back), OK);
        ck_assert((back.assignment != NULL) == (with != 0));
    }
}
END_TEST

START_TEST(records_on_disk_become_a_range_of_the_file)
{
    struct fetch_response r;
    struct fetch_response_fetchable_topic_response t;
    struct fetch_response_partition_data p;
    struct file_ref *file = file_ref_new(dup(0));
    struct chain ch;
    size_t files = 0;

    fetch_response_init(&r);
    fetch_response_fetchable_topic_response_init(&t);
    fetch_response_partition_data_init(&p);
    r.responses = &t;
    r.responses_n = 1;
    t.topic = str_of("t");
    t.partitions = &p;
    t.partitions_n = 1;
    p.records = (struct slice){ .file = file, .pos = 1000, .len = 5000 };
    for (int16_t v = 0; v <= FETCH_RESPONSE_MAX_VERSION; v++) {
        chain_init(&ch, &arena);
        ck_assert_int_eq(fetch_response_write(&ch, &r, v), OK);
        ck_assert_uint_eq(ch.len, fetch_response_size(&r, v));
        for (size_t i = 0; i < ch.n; i++)
            if (ch.v[i].file != NULL) {
                files++;
                ck_assert_int_eq(ch.v[i].pos, 1000);
                ck_assert_uint_eq(ch.v[i].len, 5000);
            }
        chain_fini(&ch);
    }
    ck_assert_uint_eq(files, FETCH_RESPONSE_MAX_VERSION + 1);
    ck_assert_int_eq(atomic_load(&file->refs), 1);
    file_unref(&file);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/messages");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_classic_message_by_hand);
    tcase_add_test(t, a_flexible_message_by_hand);
    tcase_add_test(t, bytes_after_the_message_are_left_alone);
    tcase_add_test(t, unknown_versions_are_refused);
    tcase_add_test(t, every_prefix_of_every_default_message_is_short);
    tcase_add_test(t, every_prefix_of_a_full_message_is_short);
    tcase_add_test(t, a_count_of_two_thousand_million_takes_no_memory);
    tcase_add_test(t, a_count_must_fit_even_when_its_elements_could_be_small);
    tcase_add_test(t, memory_beyond_the_limit_is_an_error);
    tcase_add_test(t, null_where_there_must_be_a_value_is_corrupt);
    tcase_add_test(t, unknown_tags_are_written_back);
    tcase_add_test(t, tags_out_of_order_can_be_read_but_not_written);
    tcase_add_test(t, a_known_tag_lies_between_unknown_ones);
    tcase_add_test(t, a_field_that_cannot_be_carried_must_be_its_default);
    tcase_add_test(t, what_may_not_be_null_is_not_written_as_null);
    tcase_add_test(t, a_struct_may_be_null);
    tcase_add_test(t, records_on_disk_become_a_range_of_the_file);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
