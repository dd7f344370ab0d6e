/* tests/unit/broker/cluster/test_metadata_cache.c - snapshots: what an update changes, what is shared, readers beside a
 * writer; and what topics may be called.
 */
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "proto/gen/update_metadata_request.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define UM(x) struct update_metadata_request_update_metadata_##x

static struct metadata_cache *cache;

static void setup(void)
{
    ck_assert_int_eq(metadata_cache_new(&cache), OK);
}

static void teardown(void)
{
    metadata_cache_free(&cache);
}

static int32_t five[] = { 5 }, both[] = { 5, 6 };

static UM(partition_state) part(int32_t index, int32_t leader, int32_t epoch)
{
    return (UM(partition_state)){ .partition_index = index, .leader = leader, .leader_epoch = epoch, .isr = five,
                                  .isr_n = 1, .replicas = both, .replicas_n = 2, .offline_replicas = both + 1,
                                  .offline_replicas_n = 1 };
}

static struct uuid id_of(const char *name)
{
    struct uuid u = { { 1 } };

    memcpy(u.b + 1, name, strlen(name) < 15 ? strlen(name) : 15);
    return u;
}

static void update(const char *name, struct uuid id, UM(partition_state) *v, int32_t n)
{
    UM(endpoint) e[] = { { .port = 9092, .host = STR_LIT("h"), .listener = STR_LIT("PLAINTEXT") },
                         { .port = 9093, .host = STR_LIT("h"), .listener = STR_LIT("SSL"), .security_protocol = 1 } };
    UM(broker) b[] = { { .id = 7, .endpoints = e, .endpoints_n = 1 },
                       { .id = 5, .endpoints = e, .endpoints_n = 2, .rack = STR_LIT("r") } };
    UM(topic_state) t = { .topic_name = str_of(name), .topic_id = id, .partition_states = v, .partition_states_n = n };
    struct update_metadata_request req;

    update_metadata_request_init(&req);
    req.controller_id = 5;
    req.live_brokers = b;
    req.live_brokers_n = 2;
    req.topic_states = &t;
    req.topic_states_n = name != NULL;
    ck_assert_int_eq(metadata_cache_update(cache, &req), OK);
}

START_TEST(an_update_makes_a_snapshot)
{
    UM(partition_state) v[] = { part(1, 5, 3), part(0, -1, 2) };
    struct metadata *empty = metadata_get(cache), *md;
    const struct metadata_topic *t;
    const struct metadata_broker *b;
    size_t n, pos = 0;

    ck_assert_int_eq(metadata_controller(empty), -1);
    update("t", id_of("t"), v, 2);
    md = metadata_get(cache);
    ck_assert_ptr_null(metadata_topic(empty, STR_LIT("t")));    /* what was taken stays as it was */
    metadata_put(&empty);
    t = metadata_topic(md, STR_LIT("t"));
    ck_assert_ptr_eq(metadata_topic_by_id(md, id_of("t")), t);
    ck_assert_ptr_null(metadata_topic_by_id(md, id_of("u")));
    ck_assert_int_eq(t->partitions_n, 2);
    ck_assert_int_eq(t->partitions[0].index, 0);
    ck_assert_int_eq(metadata_partition(t, 1)->leader_epoch, 3);
    ck_assert_int_eq(metadata_partition(t, 1)->replicas[1], 6);
    ck_assert_int_eq(metadata_partition(t, 1)->offline[0], 6);
    ck_assert_ptr_null(metadata_partition(t, 2));
    ck_assert_ptr_null(metadata_partition(t, -1));
    b = metadata_brokers(md, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(b[0].id, 5);
    ck_assert_int_eq(metadata_endpoint(metadata_broker(md, 5), STR_LIT("SSL"))->port, 9093);
    ck_assert_ptr_null(metadata_endpoint(metadata_broker(md, 7), STR_LIT("SSL")));
    ck_assert_ptr_null(metadata_broker(md, 6));
    ck_assert_ptr_eq(metadata_next_topic(md, &pos), t);
    ck_assert_ptr_null(metadata_next_topic(md, &pos));
    ck_assert_ptr_null(metadata_next_topic(md, &pos));
    metadata_put(&md);
}
END_TEST

START_TEST(only_what_is_named_changes)
{
    UM(partition_state) a[] = { part(0, 5, 0), part(1, 5, 0), part(7, 5, 0) }, b[] = { part(1, 6, 1), part(3, 5, 1) },
                        gone[] = { part(0, -2, 0), part(1, -2, 0) }, rest[] = { part(3, -2, 0), part(7, -2, 0) };
    struct metadata *before, *after;
    const struct metadata_topic *t;

    update("t", id_of("t"), a, 3);
    update("u", id_of("u"), a, 3);
    before = metadata_get(cache);
    update("t", id_of("t"), b, 2);
    after = metadata_get(cache);
    ck_assert_ptr_eq(metadata_topic(before, STR_LIT("u")), metadata_topic(after, STR_LIT("u")));    /* shared */
    t = metadata_topic(after, STR_LIT("t"));
    ck_assert_ptr_ne(metadata_topic(before, STR_LIT("t")), t);
    ck_assert_int_eq(t->partitions_n, 4);
    ck_assert_int_eq(metadata_partition(t, 1)->leader, 6);
    ck_assert_int_eq(metadata_partition(t, 3)->leader, 5);
    ck_assert_int_eq(metadata_partition(t, 7)->leader, 5);
    metadata_put(&before);
    metadata_put(&after);
    update(NULL, id_of(""), NULL, 0);                           /* brokers only */
    update("t", id_of("t"), gone, 2);
    after = metadata_get(cache);
    ck_assert_int_eq(metadata_topic(after, STR_LIT("t"))->partitions_n, 2);
    metadata_put(&after);
    update("t", id_of("t"), rest, 2);
    after = metadata_get(cache);
    ck_assert_ptr_null(metadata_topic(after, STR_LIT("t")));
    ck_assert_ptr_null(metadata_topic_by_id(after, id_of("t")));
    ck_assert_uint_eq(metadata_topics_n(after), 1);
    metadata_put(&after);
    update("t", id_of("t"), gone, 2);                           /* nothing to remove: nothing happens */
    after = metadata_get(cache);
    ck_assert_uint_eq(metadata_topics_n(after), 1);
    metadata_put(&after);
}
END_TEST

START_TEST(a_topic_that_comes_back_has_another_id)
{
    UM(partition_state) v = part(0, 5, 0), more[] = { part(0, 5, 7), part(1, 5, 7), part(2, 5, 7) };
    struct metadata *md;

    update("t", id_of("one"), more, 3);
    update("t", id_of("two"), &v, 1);
    md = metadata_get(cache);
    ck_assert_ptr_null(metadata_topic_by_id(md, id_of("one")));
    ck_assert_ptr_nonnull(metadata_topic_by_id(md, id_of("two")));
    ck_assert_int_eq(metadata_topic(md, STR_LIT("t"))->partitions_n, 1);        /* of the one before nothing is left */
    metadata_put(&md);
    update("t", (struct uuid){ { 0 } }, &v, 1);
    md = metadata_get(cache);
    ck_assert_ptr_null(metadata_topic_by_id(md, id_of("two")));
    ck_assert_ptr_nonnull(metadata_topic(md, STR_LIT("t")));
    metadata_put(&md);
}
END_TEST

/* A model: an array of topics, each there or not. */
START_TEST(any_sequence_of_updates_matches_the_model)
{
    enum { N = 3000 };
    static int32_t epochs[N];
    struct metadata *md;
    size_t there = 0, pos = 0, seen = 0;

    srandom(3);
    memset(epochs, -1, sizeof epochs);
    for (int i = 0; i < 20000; i++) {
        int t = (int)(random() % N);
        UM(partition_state) v = part(0, random() % 4 ? 5 : -2, i);
        char name[24];

        snprintf(name, sizeof name, "t%d", t);
        update(name, id_of(name), &v, 1);
        epochs[t] = v.leader == -2 ? -1 : i;
    }
    md = metadata_get(cache);
    for (int t = 0; t < N; t++) {
        char name[24];
        const struct metadata_topic *mt;

        snprintf(name, sizeof name, "t%d", t);
        mt = metadata_topic(md, str_of(name));
        ck_assert_ptr_eq(mt, metadata_topic_by_id(md, id_of(name)));
        ck_assert_int_eq(mt != NULL ? mt->partitions[0].leader_epoch : -1, epochs[t]);
        there += mt != NULL;
    }
    while (metadata_next_topic(md, &pos) != NULL)
        seen++;
    ck_assert_uint_eq(seen, there);
    ck_assert_uint_eq(metadata_topics_n(md), there);
    metadata_put(&md);
}
END_TEST

static atomic_bool stop;

/* A snapshot is consistent however often the writer replaces it: both partitions always have the same epoch. */
static void *reader(void *arg)
{
    size_t *looks = arg;

    while (!atomic_load(&stop) || *looks == 0) {
        struct metadata *md = metadata_get(cache);
        const struct metadata_topic *t = metadata_topic(md, STR_LIT("t"));

        if (t != NULL && t->partitions[0].leader_epoch != t->partitions[1].leader_epoch)
            abort();
        metadata_put(&md);
        ++*looks;
    }
    return NULL;
}

START_TEST(readers_beside_a_writer)
{
    pthread_t threads[3];
    size_t looks[3] = { 0 };

    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &looks[i]), 0);
    for (int32_t i = 0; i < 3000; i++) {
        UM(partition_state) v[] = { part(0, 5, i), part(1, 5, i) };

        update("t", id_of("t"), v, 2);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(names_of_topics)
{
    char buf[600], name[251];

    memset(name, 'a', 250);
    name[250] = '\0';
    ck_assert_ptr_null(topic_name_fault(STR_LIT("aZ09._-"), buf, sizeof buf));
    ck_assert_ptr_null(topic_name_fault((struct str){ name, 249 }, buf, sizeof buf));
    ck_assert_ptr_null(topic_name_fault(STR_LIT("..."), buf, sizeof buf));
    ck_assert_str_eq(topic_name_fault(STR_LIT(""), buf, sizeof buf), "the empty string is not allowed");
    ck_assert_str_eq(topic_name_fault(STR_LIT("."), buf, sizeof buf), "'.' is not allowed");
    ck_assert_str_eq(topic_name_fault(STR_LIT(".."), buf, sizeof buf), "'..' is not allowed");
    ck_assert_ptr_nonnull(strstr(topic_name_fault((struct str){ name, 250 }, buf, sizeof buf),
                                 "is longer than the max allowed length 249"));
    for (int c = 1; c < 256; c++) {
        char one[1] = { (char)c };
        bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';

        if (c != '.')
            ck_assert_int_eq(topic_name_fault((struct str){ one, 1 }, buf, sizeof buf) == NULL, legal);
    }
    ck_assert_ptr_nonnull(topic_name_fault((struct str){ "a\0b", 3 }, buf, sizeof buf));
    ck_assert(topic_name_collides(STR_LIT("a.b_c"), STR_LIT("a_b.c")));
    ck_assert(topic_name_collides(STR_LIT("a"), STR_LIT("a")));
    ck_assert(!topic_name_collides(STR_LIT("a.b"), STR_LIT("a-b")));
    ck_assert(!topic_name_collides(STR_LIT("a.b"), STR_LIT("a.bc")));
    ck_assert(topic_name_may_collide(STR_LIT("a.b")));
    ck_assert(!topic_name_may_collide(STR_LIT("a-b")));
    ck_assert(topic_name_internal(STR_LIT("__consumer_offsets")));
    ck_assert(!topic_name_internal(STR_LIT("__consumer_offset")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/cluster/metadata_cache");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, an_update_makes_a_snapshot);
    tcase_add_test(t, only_what_is_named_changes);
    tcase_add_test(t, a_topic_that_comes_back_has_another_id);
    tcase_add_test(t, any_sequence_of_updates_matches_the_model);
    tcase_add_test(t, readers_beside_a_writer);
    tcase_add_test(t, names_of_topics);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
