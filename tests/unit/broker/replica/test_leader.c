/* tests/unit/broker/replica/test_leader.c - the leader's side of replication: what followers' fetches do to the high
 * watermark and the ISR, and what the controller's answers do. The controller is a list of questions. */
#include "base/clock.h"
#include "base/log.h"
#include "broker/replica/isr.h"
#include "broker/replica/leader.h"
#include "broker/replica/partition_priv.h"
#include "tests/unit/broker/replica/kit.h"

/* ---- the controller's side of ISR changes ------------------------------------------------------------------------ */

static struct isr_change *asked;        /* not answered yet; the latest first */
static int                asked_n;

static void on_submit(struct isr_changer *c, struct isr_change *ch)
{
    (void)c;
    ch->next = asked;
    asked = ch;
    asked_n++;
}

static struct isr_changer fake = { on_submit };

static struct isr_change *take_question(void)
{
    struct isr_change *ch = asked;

    ck_assert_ptr_nonnull(ch);
    asked = ch->next;
    asked_n--;
    return ch;
}

static void answer_with(enum isr_outcome outcome, int16_t kerr)
{
    struct isr_change *ch = take_question();

    ch->outcome = outcome;
    ch->kerr = kerr;
    ch->done(ch);
}

static void answer(enum isr_outcome outcome)
{
    answer_with(outcome, outcome == ISR_REVERT ? KERR_INELIGIBLE_REPLICA : KERR_UNKNOWN_SERVER_ERROR);
}

/* It is done as asked. */
static void grant(void)
{
    struct isr_change *ch = take_question();
    int32_t ids[16];

    for (int32_t i = 0; i < ch->isr_n; i++)
        ids[i] = ch->isr[i].id;
    ch->outcome = ISR_DONE;
    ch->got_leader = SELF;
    ch->got_leader_epoch = ch->leader_epoch;
    ch->got_partition_epoch = ch->partition_epoch + 1;
    ch->got_isr = ids;
    ch->got_isr_n = ch->isr_n;
    ch->done(ch);
}

/* ---- followers --------------------------------------------------------------------------------------------------- */

static const int32_t three[] = { SELF, 2, 3, -1 }, one_two[] = { SELF, 2, -1 }, one_three[] = { SELF, 3, -1 };

static struct follower_fetch fetch_of(int32_t id, int64_t offset)
{
    return (struct follower_fetch){ .id = id, .broker_epoch = -1, .leader_epoch = -1, .last_epoch = -1,
                                    .offset = offset, .now_ms = mono_ms() };
}

static int16_t fetch(struct partition *p, int32_t id, int64_t offset)
{
    struct follower_fetch in = fetch_of(id, offset);

    return partition_follower_fetched(p, &in);
}

static int64_t hw(struct partition *p)
{
    struct plog_offsets o = partition_offsets(p);

    ck_assert_int_le(o.start, o.lso);
    ck_assert_int_le(o.lso, o.hw);
    ck_assert_int_le(o.hw, o.leo);
    return o.hw;
}

static struct partition *lead_three(const int32_t *isr, int32_t epoch)
{
    struct say s = { 1, SELF, epoch, three, isr, topic_id };

    ck_assert_int_eq(tell(s), KERR_NONE);
    return find();
}

static void put(struct partition *p, int n)
{
    struct plog_appended done;

    ck_assert_int_eq(append(p, n, 1, &done), KERR_NONE);
}

static void setup_leader(void)
{
    static const int32_t all[] = { SELF, 2, 3 };

    asked = NULL;
    asked_n = 0;
    partition_epoch = 0;
    changer = &fake;
    setup();
    alive(all, 3);
}

static void teardown_leader(void)
{
    while (asked != NULL)
        answer(ISR_DROPPED);
    teardown();
}

/* ---- high watermark ---------------------------------------------------------------------------------------------- */

START_TEST(all_of_the_isr_must_have_it)
{
    struct partition *p = lead_three(three, 0);

    put(p, 5);
    ck_assert_int_eq(hw(p), 0);
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);                 /* 3 has told nothing yet */
    ck_assert_int_eq(fetch(p, 3, 2), KERR_NONE);
    ck_assert_int_eq(hw(p), 2);
    ck_assert_int_eq(fetch(p, 3, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);
    ck_assert_int_eq(fetch(p, 3, 1), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);                 /* never back */
    partition_unref(&p);
}
END_TEST

START_TEST(who_is_out_and_lags_does_not_count)
{
    struct partition *p = lead_three(one_two, 0);
    struct follower_fetch old;

    put(p, 5);
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);
    put(p, 5);
    old = fetch_of(3, 1);
    ck_assert_int_eq(partition_follower_fetched(p, &old), KERR_NONE);
    ck_assert_int_eq(fetch(p, 2, 10), KERR_NONE);
    ck_assert_int_eq(hw(p), 10);
    ck_assert_int_eq(asked_n, 0);               /* below the high watermark */
    partition_unref(&p);
}
END_TEST

/* Out of the ISR, but caught up a moment ago: it is waited for, or it would never come in. */
START_TEST(who_has_caught_up_and_may_join_holds_it)
{
    static const int32_t no_three[] = { SELF, 2 }, all[] = { SELF, 2, 3 };
    struct partition *p = lead_three(one_two, 0);

    alive(no_three, 2);
    put(p, 5);
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(fetch(p, 3, 5), KERR_NONE);
    ck_assert_int_eq(asked_n, 0);               /* not alive, as far as we know */
    put(p, 1);
    ck_assert_int_eq(fetch(p, 2, 6), KERR_NONE);
    ck_assert_int_eq(hw(p), 6);
    alive(all, 3);
    put(p, 1);
    ck_assert_int_eq(fetch(p, 2, 7), KERR_NONE);
    ck_assert_int_eq(hw(p), 6);                 /* it had 5 of 5 just now */
    ck_assert_int_eq(fetch(p, 3, 7), KERR_NONE);
    ck_assert_int_eq(hw(p), 7);
    ck_assert_int_eq(asked_n, 1);
    partition_unref(&p);
}
END_TEST

START_TEST(a_short_isr_holds_it)
{
    struct partition *p = lead_three(alone, 0);
    struct plog_appended done;
    bool decided;

    atomic_store(&p->min_isr, 2);
    ck_assert_int_eq(append(p, 3, -1, &done), KERR_NOT_ENOUGH_REPLICAS);
    put(p, 3);
    ck_assert_int_eq(hw(p), 0);
    ck_assert_int_eq(fetch(p, 2, 3), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);                 /* asked for, not committed */
    grant();
    ck_assert_int_eq(hw(p), 3);
    ck_assert_int_eq(append(p, 3, -1, &done), KERR_NONE);
    ck_assert_int_eq(partition_committed(p, 6, 0, &decided), KERR_NONE);
    ck_assert(!decided);
    atomic_store(&p->min_isr, 9);               /* more than there are replicas: all of them */
    ck_assert_int_eq(fetch(p, 2, 6), KERR_NONE);
    ck_assert_int_eq(hw(p), 3);
    atomic_store(&p->min_isr, 1);
    partition_recheck(p);
    ck_assert_int_eq(hw(p), 6);
    atomic_store(&p->min_isr, 3);
    ck_assert_int_eq(partition_committed(p, 6, 0, &decided), KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    ck_assert(decided);
    partition_unref(&p);
}
END_TEST

/* ---- who may fetch ----------------------------------------------------------------------------------------------- */

START_TEST(strangers_and_old_epochs_are_refused)
{
    struct partition *p = lead_three(three, 4);
    struct follower_fetch in = fetch_of(9, 0);

    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NOT_LEADER_OR_FOLLOWER);
    in.leader_epoch = 4;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_UNKNOWN_LEADER_EPOCH);
    ck_assert_int_eq(partition_follower_known(p, 9, 4), KERR_UNKNOWN_LEADER_EPOCH);
    in = fetch_of(2, 0);
    in.leader_epoch = 3;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_FENCED_LEADER_EPOCH);
    in.leader_epoch = 5;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_UNKNOWN_LEADER_EPOCH);
    in.leader_epoch = 4;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(partition_follower_known(p, 2, 4), KERR_NONE);
    ck_assert_int_eq(tell((struct say){ 1, 2, 5, three, three, topic_id }), KERR_NONE);
    in.leader_epoch = 5;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(partition_follower_known(p, 2, -1), KERR_NOT_LEADER_OR_FOLLOWER);
    partition_unref(&p);
}
END_TEST

/* R4: an offset that is not in our log, or belongs to another one, is no progress. */
START_TEST(a_log_that_has_parted_is_no_progress)
{
    struct partition *p = lead_three(both, 2);
    struct follower_fetch in;

    put(p, 4);
    in = fetch_of(2, 4);
    in.last_epoch = 1;                          /* an epoch that we do not have */
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);
    in = fetch_of(2, 5);                        /* beyond our end */
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);
    in = fetch_of(2, 4);
    in.last_epoch = 2;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(hw(p), 4);
    partition_unref(&p);
}
END_TEST

/* R6: who has registered anew begins with nothing; what its earlier self still sends is refused. */
START_TEST(another_incarnation_begins_anew)
{
    struct partition *p = lead_three(one_two, 0);
    struct follower_fetch in;

    put(p, 4);
    ck_assert_int_eq(fetch(p, 2, 4), KERR_NONE);
    put(p, 4);
    in = fetch_of(3, 8);
    in.broker_epoch = 70;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(asked_n, 1);
    ck_assert_int_eq(asked->isr_n, 3);
    ck_assert_int_eq(asked->isr[2].id, 3);
    ck_assert_int_eq(asked->isr[2].broker_epoch, 70);       /* the controller compares it */
    in = fetch_of(3, 0);                        /* with an empty disk */
    in.broker_epoch = 80;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    in = fetch_of(3, 8);                        /* from the wire, late */
    in.broker_epoch = 70;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(fetch(p, 2, 8), KERR_NONE);
    ck_assert_int_eq(hw(p), 4);                 /* 3 may be a member by now, and has nothing */
    answer(ISR_REVERT);
    ck_assert_int_eq(fetch(p, 2, 7), KERR_NONE);
    ck_assert_int_eq(fetch(p, 2, 8), KERR_NONE);
    ck_assert_int_eq(hw(p), 8);
    ck_assert_int_eq(asked_n, 0);
    partition_unref(&p);
}
END_TEST

/* ---- the ISR ----------------------------------------------------------------------------------------------------- */

START_TEST(joining_needs_hw_and_the_epochs_start)
{
    struct partition *p = lead_three(one_two, 0);

    put(p, 4);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 1, three, one_two, topic_id }), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);
    ck_assert_int_eq(fetch(p, 3, 2), KERR_NONE);
    ck_assert_int_eq(asked_n, 0);               /* at the high watermark, but what was committed may go to 4 */
    ck_assert_int_eq(fetch(p, 3, 4), KERR_NONE);
    ck_assert_int_eq(asked_n, 1);
    ck_assert_int_eq(asked->leader_epoch, 1);
    grant();
    ck_assert_int_eq(atomic_load(&p->isr_n), 3);
    ck_assert(partition_in_isr(p, 3));
    ck_assert_int_eq(p->partition_epoch, 1);
    partition_unref(&p);
}
END_TEST

START_TEST(who_lags_leaves)
{
    int64_t lag = cfg->replica_lag_time_max_ms, before = mono_ms(), now;
    struct partition *p = lead_three(three, 0);

    now = mono_ms();
    put(p, 4);
    ck_assert_int_eq(fetch(p, 2, 4), KERR_NONE);
    partition_shrink_isr(p, before + lag - 1000);
    ck_assert_int_eq(asked_n, 0);
    partition_shrink_isr(p, now + lag + 1000);  /* 2 is at our end, 3 has not come */
    ck_assert_int_eq(asked_n, 1);
    ck_assert_int_eq(asked->isr_n, 2);
    ck_assert_int_eq(asked->isr[0].id, SELF);
    ck_assert_int_eq(asked->isr[1].id, 2);
    ck_assert_int_eq(hw(p), 0);                 /* a member until it is committed */
    put(p, 1);
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 0);
    partition_shrink_isr(p, now + lag + 2000);  /* one change at a time */
    ck_assert_int_eq(asked_n, 1);
    leading_find(p->leading, 3)->caught_up_ms = FOLLOWER_NEVER;    /* as if that time had passed */
    grant();
    ck_assert_int_eq(hw(p), 5);
    ck_assert_int_eq(atomic_load(&p->isr_n), 2);
    ck_assert(!partition_in_isr(p, 3));
    partition_unref(&p);
}
END_TEST

/* Never at our end, since it moves all the time, but at where it was at the fetch before: that is in sync. */
START_TEST(always_one_fetch_behind_is_in_sync)
{
    struct partition *p = lead_three(both, 0);
    int64_t lag = cfg->replica_lag_time_max_ms, now = mono_ms();
    struct follower_fetch in = fetch_of(2, 0);

    for (int i = 0; i < 10; i++) {
        in.now_ms = now + i * lag / 2;
        put(p, 1);
        ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
        partition_shrink_isr(p, in.now_ms);
        ck_assert_int_eq(asked_n, 0);
        in.offset++;
    }
    in.now_ms += 2 * lag;
    partition_shrink_isr(p, in.now_ms);
    ck_assert_int_eq(asked_n, 1);
    partition_unref(&p);
}
END_TEST

/* What is asked for again every 50 ms is refused as often. */
START_TEST(a_refusal_that_goes_on_is_told_once)
{
    struct partition *p = lead_three(one_two, 0);
    int fd[2], lines = 0, was = atomic_load(&log_threshold);
    char text[4096];
    ssize_t n;

    ck_assert_int_eq(pipe(fd), 0);
    put(p, 4);
    ck_assert_int_eq(fetch(p, 3, 4), KERR_NONE);
    log_to_fd(fd[1]);
    atomic_store(&log_threshold, LOG_WARN);
    for (int i = 0; i < 10; i++)
        answer_with(ISR_RETRY, i < 7 ? KERR_UNKNOWN_SERVER_ERROR : KERR_NOT_CONTROLLER);
    atomic_store(&log_threshold, was);
    log_to_fd(STDOUT_FILENO);
    ck_assert_int_eq(asked_n, 1);
    close(fd[1]);
    n = read(fd[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    for (const char *at = text; (at = strstr(at, "the change of the ISR")) != NULL; at++)
        lines++;
    ck_assert_int_eq(lines, 2);         /* once for each code */
    close(fd[0]);
    answer(ISR_REVERT);
    partition_unref(&p);
}
END_TEST

/* R11: outcomes that leave it open whether the change was made. */
START_TEST(answers_are_taken_as_they_are_meant)
{
    struct partition *p = lead_three(one_two, 0);

    put(p, 4);
    ck_assert_int_eq(fetch(p, 2, 4), KERR_NONE);
    ck_assert_int_eq(fetch(p, 3, 4), KERR_NONE);
    answer(ISR_RETRY);
    ck_assert_int_eq(asked_n, 1);               /* again, the same */
    put(p, 1);
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 4);                 /* 3 counts */
    answer(ISR_WAIT);
    ck_assert_int_eq(hw(p), 4);
    ck_assert_int_eq(fetch(p, 3, 5), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);
    ck_assert_int_eq(asked_n, 0);               /* nothing more until a LeaderAndIsr */
    partition_shrink_isr(p, mono_ms() + 10 * cfg->replica_lag_time_max_ms);
    ck_assert_int_eq(asked_n, 0);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 1, three, one_two, topic_id }), KERR_NONE);
    ck_assert_int_eq(fetch(p, 3, 4), KERR_NONE);
    ck_assert_int_eq(asked_n, 0);
    ck_assert_int_eq(fetch(p, 3, 5), KERR_NONE);
    ck_assert_int_eq(asked_n, 1);
    answer(ISR_REVERT);
    ck_assert_int_eq(fetch(p, 3, 5), KERR_NONE);
    ck_assert_int_eq(asked_n, 1);               /* as of the old ISR */
    partition_unref(&p);
}
END_TEST

START_TEST(answers_of_another_time_are_thrown_away)
{
    struct partition *p = lead_three(one_two, 0);
    struct isr_change *old;

    ck_assert_int_eq(fetch(p, 3, 0), KERR_NONE);
    old = asked;
    partition_epoch = 7;
    ck_assert_int_eq(tell((struct say){ 1, SELF, 1, three, alone, topic_id }), KERR_NONE);
    ck_assert_int_eq(fetch(p, 2, 0), KERR_NONE);
    ck_assert_int_eq(asked_n, 2);
    ck_assert_ptr_eq(asked->next, old);
    asked->next = NULL;
    answer(ISR_REVERT);                         /* of the new one */
    asked = old;
    asked_n = 1;
    grant();
    ck_assert_int_eq(atomic_load(&p->isr_n), 1);
    ck_assert_int_eq(p->partition_epoch, 7);
    ck_assert(!partition_in_isr(p, 3));
    partition_epoch = 6;                        /* a node version of before */
    ck_assert_int_eq(tell((struct say){ 1, SELF, 2, three, three, topic_id }), KERR_NONE);
    ck_assert_int_eq(partition_standing(p).leader_epoch, 1);
    partition_unref(&p);
}
END_TEST

/* Epoch 1 was of another leader, of whom we never heard: 3 has followed it, and cut off what we have not committed. */
START_TEST(an_epoch_that_was_missed_is_not_believed_to_have_changed_nothing)
{
    struct partition *p = lead_three(three, 0);
    struct follower_fetch old = fetch_of(3, 10);
    bool decided;

    put(p, 10);
    old.broker_epoch = 7;
    ck_assert_int_eq(fetch(p, 2, 5), KERR_NONE);
    ck_assert_int_eq(partition_follower_fetched(p, &old), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 2, three, one_three, topic_id }), KERR_NONE);
    ck_assert_int_eq(hw(p), 5);
    ck_assert_int_eq(partition_committed(p, 10, 0, &decided), KERR_NONE);
    ck_assert(!decided);
    old.broker_epoch = 6;
    ck_assert_int_eq(partition_follower_fetched(p, &old), KERR_NOT_LEADER_OR_FOLLOWER);
    old.broker_epoch = 7;
    ck_assert_int_eq(partition_follower_fetched(p, &old), KERR_NONE);
    ck_assert_int_eq(hw(p), 10);
    put(p, 5);
    old.offset = 15;
    ck_assert_int_eq(fetch(p, 2, 15), KERR_NONE);
    ck_assert_int_eq(partition_follower_fetched(p, &old), KERR_NONE);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 3, three, one_three, topic_id }), KERR_NONE);
    put(p, 1);
    ck_assert_int_eq(hw(p), 15);                /* the next epoch: nobody was in between */
    partition_unref(&p);
}
END_TEST

/* What was appended before another led may have been cut off: that the log is committed there now says nothing. */
START_TEST(what_was_appended_before_another_led_is_not_committed)
{
    struct partition *p = lead_three(three, 0);
    bool decided;

    put(p, 10);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 1, three, three, topic_id }), KERR_NONE);
    ck_assert_int_eq(partition_committed(p, 10, 0, &decided), KERR_NONE);
    ck_assert(!decided);                        /* we lead on: it is waited for */
    ck_assert_int_eq(tell((struct say){ 1, 2, 2, three, three, topic_id }), KERR_NONE);
    ck_assert_int_eq(tell((struct say){ 1, SELF, 3, three, alone, topic_id }), KERR_NONE);
    ck_assert_int_eq(hw(p), 10);
    ck_assert_int_eq(partition_committed(p, 10, 0, &decided), KERR_NOT_LEADER_OR_FOLLOWER);
    ck_assert(decided);
    ck_assert_int_eq(partition_committed(p, 10, 3, &decided), KERR_NONE);
    ck_assert(decided);
    partition_unref(&p);
}
END_TEST

START_TEST(the_lowest_start_is_told)
{
    static const int32_t no_three[] = { SELF, 2 };
    struct partition *p = lead_three(three, 0);
    struct follower_fetch in;
    int64_t low, offset = 3;

    put(p, 4);
    ck_assert_int_eq(fetch(p, 2, 4), KERR_NONE);
    ck_assert_int_eq(fetch(p, 3, 4), KERR_NONE);
    ck_assert_int_eq(partition_delete_before(p, &offset), KERR_NONE);
    ck_assert_int_eq(partition_low_watermark(p, &low), KERR_NONE);
    ck_assert_int_eq(low, 0);
    in = fetch_of(2, 4);
    in.log_start = 3;
    ck_assert_int_eq(partition_follower_fetched(p, &in), KERR_NONE);
    ck_assert_int_eq(partition_low_watermark(p, &low), KERR_NONE);
    ck_assert_int_eq(low, 0);
    alive(no_three, 2);                         /* who is dead is not waited for */
    ck_assert_int_eq(partition_low_watermark(p, &low), KERR_NONE);
    ck_assert_int_eq(low, 3);
    partition_unref(&p);
}
END_TEST

START_TEST(views_are_of_the_isr)
{
    struct partition *p = lead_three(one_two, 0);
    struct replica_view v[4];

    put(p, 4);
    ck_assert_int_eq(partition_replica_views(p, 0, mono_ms(), v, 4), 0);
    ck_assert_int_eq(fetch(p, 2, 3), KERR_NONE);
    ck_assert_int_eq(fetch(p, 3, 1), KERR_NONE);
    ck_assert_int_eq(partition_replica_views(p, 3, mono_ms(), v, 4), 1);
    ck_assert_int_eq(v[0].id, 2);
    ck_assert_int_eq(v[0].leo, 3);
    ck_assert_int_eq(partition_replica_views(p, 4, mono_ms(), v, 4), 0);
    ck_assert_int_eq(tell((struct say){ 1, 2, 1, three, three, topic_id }), KERR_NONE);
    ck_assert_int_eq(partition_replica_views(p, 0, mono_ms(), v, 4), -1);
    partition_unref(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("leader");
    TCase *tc = tcase_create("leader");
    SRunner *sr = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(tc, setup_leader, teardown_leader);
    tcase_add_test(tc, all_of_the_isr_must_have_it);
    tcase_add_test(tc, who_is_out_and_lags_does_not_count);
    tcase_add_test(tc, who_has_caught_up_and_may_join_holds_it);
    tcase_add_test(tc, a_short_isr_holds_it);
    tcase_add_test(tc, strangers_and_old_epochs_are_refused);
    tcase_add_test(tc, a_log_that_has_parted_is_no_progress);
    tcase_add_test(tc, another_incarnation_begins_anew);
    tcase_add_test(tc, joining_needs_hw_and_the_epochs_start);
    tcase_add_test(tc, who_lags_leaves);
    tcase_add_test(tc, always_one_fetch_behind_is_in_sync);
    tcase_add_test(tc, a_refusal_that_goes_on_is_told_once);
    tcase_add_test(tc, answers_are_taken_as_they_are_meant);
    tcase_add_test(tc, answers_of_another_time_are_thrown_away);
    tcase_add_test(tc, an_epoch_that_was_missed_is_not_believed_to_have_changed_nothing);
    tcase_add_test(tc, what_was_appended_before_another_led_is_not_committed);
    tcase_add_test(tc, the_lowest_start_is_told);
    tcase_add_test(tc, views_are_of_the_isr);
    suite_add_tcase(s, tc);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
