/* tests/unit/broker/replica/test_replicas.c - what the controller's requests make of partitions, and what may then be
 * done to them: leadership, epochs, ISR and high watermark. The log is the real one, in a directory of its own. */
#include "broker/replica/leader.h"
#include "broker/replica/replicas_impl.h"
#include "tests/unit/broker/replica/kit.h"

#include <pthread.h>

static int16_t read_at(struct partition *p, int64_t offset, int32_t epoch, enum isolation isolation, size_t *len)
{
    struct partition_read io = { .offset = offset, .leader_epoch = epoch, .last_epoch = -1, .isolation = isolation,
                                 .leader_only = true, .at_least_one = true, .max_bytes = 1 << 20 };
    int16_t kerr = partition_read(p, &io);

    *len = io.read.records.len;
    plog_read_done(&io.read);
    return kerr;
}

START_TEST(a_leader_takes_and_gives_records)
{
    struct plog_appended done;
    struct partition *p;
    size_t len;

    ck_assert_int_eq(tell(lead(0)), KERR_NONE);
    ck_assert_uint_eq(replicas_partitions(rs), 1);
    p = find();
    ck_assert_int_eq(append(p, 3, -1, &done), KERR_NONE);
    ck_assert_int_eq(done.base_offset, 0);
    ck_assert_int_eq(done.offsets.hw, 3);
    ck_assert_int_eq(read_at(p, 0, -1, ISOLATION_HW, &len), KERR_NONE);
    ck_assert_uint_gt(len, 0);
    ck_assert_int_eq(read_at(p, 3, 0, ISOLATION_HW, &len), KERR_NONE);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(read_at(p, 4, 0, ISOLATION_HW, &len), KERR_OFFSET_OUT_OF_RANGE);
    ck_assert_int_eq(read_at(p, 0, 1, ISOLATION_HW, &len), KERR_UNKNOWN_LEADER_EPOCH);
    partition_unref(&p);
    ck_assert_int_eq(tell(lead(4)), KERR_NONE);
    p = find();
    ck_assert_int_eq(read_at(p, 0, 0, ISOLATION_HW, &len), KERR_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(partition_check(p, 4, true), KERR_NONE);
    ck_assert_int_eq(plog_epoch_end(p->log, 0).end_offset, 3);
    partition_unref(&p);
}
END_TEST

START_TEST(old_and_foreign_orders_are_refused)
{
    struct say s = lead(5);

    ck_assert_int_eq(tell(s), KERR_NONE);
    ck_assert_int_eq(tell(s), KERR_STALE_CONTROLLER_EPOCH);         /* nothing new in it */
    s.leader_epoch = 4;
    ck_assert_int_eq(tell(s), KERR_STALE_CONTROLLER_EPOCH);
    s = lead(6);
    s.controller_epoch = 0;
    ck_assert_int_eq(tell(s), KERR_STALE_CONTROLLER_EPOCH);
    s = lead(6);
    s.id = uuid_random();
    ck_assert_int_eq(tell(s), KERR_INCONSISTENT_TOPIC_ID);
    s = lead(6);
    s.replicas = s.isr = other;
    ck_assert_int_eq(tell(s), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(stop(0, 9, true), KERR_STALE_CONTROLLER_EPOCH);
    ck_assert_int_eq(stop(1, 4, true), KERR_FENCED_LEADER_EPOCH);
    ck_assert_uint_eq(replicas_partitions(rs), 1);
}
END_TEST

START_TEST(a_follower_serves_no_producer)
{
    struct plog_appended done;
    struct partition *p;
    struct say s = { 1, 2, 3, both, both, topic_id };
    size_t len;

    ck_assert_int_eq(tell(s), KERR_NONE);
    p = find();
    ck_assert_int_eq(append(p, 1, 1, &done), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(read_at(p, 0, 3, ISOLATION_HW, &len), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(partition_check(p, 3, false), KERR_NONE);
    partition_unref(&p);
}
END_TEST

/* One that waits for records to be committed. */
struct waiting {
    struct delayed    base;             /* first */
    struct watch      watch;
    struct partition *p;
    int64_t           offset;
    int               done;
};

static bool waiting_ready(struct delayed *d, const struct watch *which)
{
    struct waiting *w = (struct waiting *)d;
    bool done;

    (void)which;
    (void)partition_committed(w->p, w->offset, 0, &done);
    return done;
}

static void waiting_done(struct delayed *d, enum delayed_why why)
{
    (void)why;
    ((struct waiting *)d)->done++;
}

START_TEST(records_are_committed_when_the_isr_has_them)
{
    struct say s = { 1, SELF, 0, both, both, topic_id };
    struct waiting w = { .base = { .ready = waiting_ready, .done = waiting_done, .watches = &w.watch,
                                   .watches_n = 1 } };
    struct plog_appended done;
    struct partition *p;
    size_t len;
    bool decided;

    ck_assert_int_eq(tell(s), KERR_NONE);
    p = find();
    ck_assert_int_eq(append(p, 2, -1, &done), KERR_NONE);
    ck_assert_int_eq(done.offsets.hw, 0);                       /* the other one does not have them */
    ck_assert_int_eq(read_at(p, 0, -1, ISOLATION_HW, &len), KERR_NONE);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(read_at(p, 0, -1, ISOLATION_LEO, &len), KERR_NONE);
    ck_assert_uint_gt(len, 0);
    ck_assert_int_eq(partition_committed(p, 2, 0, &decided), KERR_NONE);
    ck_assert(!decided);
    w.p = p;
    w.offset = 2;
    w.watch.list = &p->produces;
    purgatory_init(replicas_produce_purgatory(rs), &w.base);
    purgatory_park(&w.base, 60000);
    ck_assert_int_eq(w.done, 0);
    s.isr = alone;
    s.leader_epoch = 1;
    ck_assert_int_eq(tell(s), KERR_NONE);                       /* it has left the ISR */
    ck_assert_int_eq(w.done, 1);
    ck_assert_int_eq(partition_committed(p, 2, 0, &decided), KERR_NONE);
    ck_assert(decided);
    ck_assert_int_eq(plog_offsets(p->log).hw, 2);
    partition_unref(&p);
}
END_TEST

START_TEST(a_new_leader_that_lags_does_not_tell_the_end)
{
    struct say s = { 1, SELF, 0, both, both, topic_id };
    struct partition_offset found;
    struct plog_appended done;
    struct partition *p;

    ck_assert_int_eq(tell(s), KERR_NONE);
    p = find();
    ck_assert_int_eq(append(p, 2, 1, &done), KERR_NONE);
    ck_assert_int_eq(partition_offset_for(p, -1, -1, ISOLATION_HW, true, &found), KERR_NONE);
    ck_assert_int_eq(found.offset, 0);
    s.leader_epoch = 1;                                         /* begins at 2, and HW is 0 */
    ck_assert_int_eq(tell(s), KERR_NONE);
    ck_assert_int_eq(partition_offset_for(p, -1, -1, ISOLATION_HW, true, &found), KERR_OFFSET_NOT_AVAILABLE);
    ck_assert_int_eq(partition_offset_for(p, 0, -1, ISOLATION_HW, true, &found), KERR_OFFSET_NOT_AVAILABLE);
    ck_assert_int_eq(partition_offset_for(p, -2, -1, ISOLATION_HW, true, &found), KERR_NONE);
    ck_assert_int_eq(found.offset, 0);
    ck_assert_int_eq(partition_offset_for(p, -1, -1, ISOLATION_LEO, true, &found), KERR_NONE);
    ck_assert_int_eq(found.offset, 2);
    partition_unref(&p);
}
END_TEST

START_TEST(deleted_partitions_are_gone_and_may_come_again)
{
    struct plog_appended done;
    struct partition *p, *again;
    int16_t kerr;

    ck_assert_int_eq(tell(lead(0)), KERR_NONE);
    p = find();
    ck_assert_int_eq(append(p, 2, 1, &done), KERR_NONE);
    ck_assert_int_eq(stop(1, -2, true), KERR_NONE);
    ck_assert_int_eq(append(p, 2, 1, &done), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert_ptr_null(replicas_find(rs, STR_LIT("t"), 0, &kerr));
    ck_assert_int_eq(kerr, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(stop(1, -2, true), KERR_NONE);             /* once more does no harm */
    ck_assert_uint_eq(replicas_partitions(rs), 0);
    topic_id = uuid_random();
    ck_assert_int_eq(tell(lead(0)), KERR_NONE);
    again = find();
    ck_assert_ptr_ne(again, p);
    ck_assert_int_eq(append(again, 1, 1, &done), KERR_NONE);
    ck_assert_int_eq(done.base_offset, 0);
    partition_unref(&again);
    partition_unref(&p);
}
END_TEST

START_TEST(records_are_deleted_up_to_hw)
{
    struct plog_appended done;
    struct partition *p;
    static const struct {
        int64_t offset;
        int16_t kerr;
        int64_t low;
    } cases[] = {
        { 2, KERR_NONE, 2 }, { 1, KERR_NONE, 2 }, { 5, KERR_OFFSET_OUT_OF_RANGE, 2 },
        { -2, KERR_OFFSET_OUT_OF_RANGE, 2 }, { -1, KERR_NONE, 4 },
    };

    ck_assert_int_eq(tell(lead(0)), KERR_NONE);
    p = find();
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(append(p, 1, 1, &done), KERR_NONE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t offset = cases[i].offset, low;

        ck_assert_int_eq(partition_delete_before(p, &offset), cases[i].kerr);
        ck_assert_int_eq(partition_low_watermark(p, &low), KERR_NONE);
        ck_assert_int_eq(low, cases[i].low);
    }
    partition_unref(&p);
}
END_TEST

/* ---- logs that are being loaded ---- */

/* As after LeaderAndIsr for a log that is not there yet. */
static void loads(int32_t index, int32_t epoch)
{
    struct request_topic topic;
    struct request_state state;

    leader_and_isr_request_leader_and_isr_topic_state_init(&topic);
    leader_and_isr_request_leader_and_isr_partition_state_init(&state);
    topic.topic_name = STR_LIT("t");
    topic.topic_id = topic_id;
    state.partition_index = index;
    state.leader = SELF;
    state.leader_epoch = epoch;
    state.replicas = state.isr = (int32_t *)alone;
    state.replicas_n = state.isr_n = 1;
    ck_assert_int_eq(absents_put(&rs->absents, ABSENT_LOADING, 1, &topic, &state), OK);
}

/* The log was ready, though nobody had said so yet, when the controller spoke again. */
START_TEST(a_later_order_stays_when_its_log_is_ready)
{
    struct partition *p;

    loads(0, 5);
    ck_assert(replicas_is_loading(rs, STR_LIT("t"), 0));
    ck_assert_int_eq(tell(lead(6)), KERR_NONE);
    ck_assert(!replicas_is_loading(rs, STR_LIT("t"), 0));
    replicas_log_ready(rs, STR_LIT("t"), 0, OK);
    ck_assert_uint_eq(replicas_partitions(rs), 1);
    p = find();
    ck_assert_int_eq(partition_standing(p).leader_epoch, 6);
    partition_unref(&p);
}
END_TEST

static atomic_int looked_at;            /* a partition; -1: the end */
static atomic_int seen_nowhere;

static void *look_for_it(void *arg)
{
    int32_t index;

    while ((index = atomic_load(&looked_at)) >= 0) {
        bool loading = replicas_is_loading(rs, STR_LIT("t"), index);
        struct partition *p = replicas_get(rs, STR_LIT("t"), index);

        if (!loading && p == NULL)
            atomic_fetch_add(&seen_nowhere, 1);
        partition_unref(&p);
    }
    return arg;
}

/* Or clients would be told that it is led here, and refused when they come. */
START_TEST(what_is_not_loading_any_more_is_there)
{
    pthread_t t;

    loads(0, 5);
    atomic_store(&looked_at, 0);
    ck_assert_int_eq(pthread_create(&t, NULL, look_for_it, NULL), 0);
    for (int32_t i = 0; i < 200; i++) {
        loads(i, 5);
        atomic_store(&looked_at, i);
        replicas_log_ready(rs, STR_LIT("t"), i, OK);
        ck_assert(!replicas_is_loading(rs, STR_LIT("t"), i));
    }
    atomic_store(&looked_at, -1);
    pthread_join(t, NULL);
    ck_assert_uint_eq(replicas_partitions(rs), 200);
    ck_assert_int_eq(atomic_load(&seen_nowhere), 0);
}
END_TEST

START_TEST(names_that_cannot_be_are_unknown)
{
    char name[400];
    int16_t kerr = 0;

    memset(name, 'x', sizeof name);
    ck_assert_ptr_null(replicas_find(rs, (struct str){ name, sizeof name }, 0, &kerr));
    ck_assert_int_eq(kerr, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_ptr_null(replicas_find(rs, (struct str){ "", 0 }, 0, &kerr));
    ck_assert_ptr_null(replicas_find(rs, STR_LIT("t"), -1, &kerr));
    ck_assert_ptr_null(replicas_find(rs, STR_LIT("t"), INT32_MAX, NULL));
}
END_TEST

/* Producers go on while leadership changes under them: nobody appends in an epoch that is over. */
struct producer {
    atomic_bool *stop;
    int          appended;
};

static void *produce(void *arg)
{
    struct producer *me = arg;
    struct arena a;

    arena_init(&a, 16 << 20);
    while (!atomic_load(me->stop)) {
        struct partition *p = replicas_find(rs, STR_LIT("t"), 0, NULL);
        struct builder_opts o;
        struct builder b;
        struct bytes set;
        struct plog_append in;
        struct plog_appended done;
        int16_t kerr;

        ck_assert_ptr_nonnull(p);
        builder_opts_init(&o);
        builder_init(&b, &o, &a);
        builder_add(&b, &(struct record){ .offset = 0, .timestamp = 1, .value = { (const uint8_t *)"v", 1 } });
        ck_assert_int_eq(builder_finish(&b, &set), OK);
        builder_fini(&b);
        in = (struct plog_append){ .p = (uint8_t *)set.p, .len = set.len };
        kerr = partition_append(p, &in, 1, &done);
        ck_assert(kerr == KERR_NONE || kerr == KERR_NOT_LEADER_OR_FOLLOWER);
        me->appended += kerr == KERR_NONE;
        partition_unref(&p);
        arena_reset(&a);
    }
    arena_fini(&a);
    return NULL;
}

START_TEST(leadership_changes_between_appends_only)
{
    atomic_bool over = false;
    struct producer me[2] = { { &over, 0 }, { &over, 0 } };
    struct plog_offsets now;
    struct partition *p;
    pthread_t th[2];
    int64_t end = 0;

    ck_assert_int_eq(tell(lead(0)), KERR_NONE);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&th[i], NULL, produce, &me[i]), 0);
    for (int32_t epoch = 1; epoch < 200; epoch++) {
        struct say s = lead(epoch);

        if (epoch % 2 == 1) {
            s.leader = 2;
            s.replicas = s.isr = both;
        }
        ck_assert_int_eq(tell(s), KERR_NONE);
        arena_reset(&arena);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(th[i], NULL);
    p = find();
    now = plog_offsets(p->log);
    ck_assert_int_eq(now.leo, me[0].appended + me[1].appended);
    for (int32_t epoch = 0; epoch < 198; epoch += 2) {
        struct plog_epoch_end e = plog_epoch_end(p->log, epoch);

        ck_assert_int_ge(e.end_offset, end);
        end = e.end_offset;
    }
    partition_unref(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/replica/replicas");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_leader_takes_and_gives_records);
    tcase_add_test(t, old_and_foreign_orders_are_refused);
    tcase_add_test(t, a_follower_serves_no_producer);
    tcase_add_test(t, records_are_committed_when_the_isr_has_them);
    tcase_add_test(t, a_new_leader_that_lags_does_not_tell_the_end);
    tcase_add_test(t, deleted_partitions_are_gone_and_may_come_again);
    tcase_add_test(t, records_are_deleted_up_to_hw);
    tcase_add_test(t, names_that_cannot_be_are_unknown);
    tcase_add_test(t, a_later_order_stays_when_its_log_is_ready);
    tcase_add_test(t, what_is_not_loading_any_more_is_there);
    tcase_add_test(t, leadership_changes_between_appends_only);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
