/* tests/unit/broker/replica/test_leader_threads.c - the leader's state under everything at once: producers, two
 * followers that come back with less than they had, a controller that answers late and refuses, leaderships that come
 * and go, brokers that go and come, and who looks. Meant for SANITIZE=thread.
 *
 * Whoever looks sees start <= LSO <= HW <= LEO and a high watermark that never goes back; with min.insync.replicas of
 * all replicas it is never above what both followers have once told. At the end all is well again.
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/replica/isr.h"
#include "broker/replica/leader.h"
#include "tests/unit/broker/replica/kit.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

enum { FIRST = 2, FOLLOWERS = 2, ELSEWHERE = 9, TERMS = 60, LAG_MS = 20 };

static struct partition *p;
static atomic_bool       over;
static _Atomic int64_t   best[FOLLOWERS];       /* the farthest that each follower has told, or is about to */
static atomic_int        committed, granted;

/* What the state node holds, and the questions to who keeps it. */
static pthread_mutex_t    node = PTHREAD_MUTEX_INITIALIZER;
static int32_t            isr[FOLLOWERS + 2], leader_epoch, version;
static struct isr_change *questions;

static unsigned dice(unsigned *seed, unsigned n)
{
    *seed = *seed * 1103515245U + 12345U;
    return (*seed >> 16) % n;
}

/* ---- the controller ---------------------------------------------------------------------------------------------- */

static void on_submit(struct isr_changer *c, struct isr_change *ch)
{
    (void)c;
    pthread_mutex_lock(&node);
    ch->next = questions;
    questions = ch;
    pthread_mutex_unlock(&node);
}

static struct isr_changer asked = { on_submit };

static void decide(struct isr_change *ch, int32_t *got, unsigned *seed)
{
    unsigned how = dice(seed, 8);

    pthread_mutex_lock(&node);
    if (ch->leader_epoch != leader_epoch || ch->partition_epoch != version) {
        ch->outcome = ISR_WAIT;
        ch->kerr = KERR_INVALID_UPDATE_VERSION;
    } else if (how < 2 && !atomic_load(&over)) {
        ch->outcome = how == 0 ? ISR_REVERT : ISR_RETRY;
        ch->kerr = how == 0 ? KERR_INELIGIBLE_REPLICA : KERR_UNKNOWN_SERVER_ERROR;
    } else {
        for (int32_t i = 0; i < ch->isr_n; i++)
            got[i] = isr[i] = ch->isr[i].id;
        isr[ch->isr_n] = -1;
        ch->outcome = ISR_DONE;
        ch->got_leader = SELF;
        ch->got_leader_epoch = leader_epoch;
        ch->got_partition_epoch = ++version;
        ch->got_isr = got;
        ch->got_isr_n = ch->isr_n;
        atomic_fetch_add(&granted, 1);
    }
    pthread_mutex_unlock(&node);
}

static bool answer_one(unsigned *seed)
{
    int32_t got[FOLLOWERS + 1];
    struct isr_change *ch;

    pthread_mutex_lock(&node);
    ch = questions;
    if (ch != NULL)
        questions = ch->next;
    pthread_mutex_unlock(&node);
    if (ch == NULL)
        return false;
    decide(ch, got, seed);
    ch->done(ch);
    return true;
}

static void *controller(void *arg)
{
    unsigned seed = 1;

    (void)arg;
    while (!atomic_load(&over))
        if (!answer_one(&seed))
            (void)poll(NULL, 0, 1);
    return NULL;
}

/* One term after the other; in every third somebody else leads. */
static void new_term(bool leads)
{
    static const int32_t replicas[] = { SELF, 2, 3, -1 };
    int32_t members[FOLLOWERS + 2];
    struct say s = { 1, leads ? SELF : ELSEWHERE, 0, replicas, members, topic_id };

    pthread_mutex_lock(&node);
    s.leader_epoch = ++leader_epoch;
    partition_epoch = ++version;
    memcpy(members, isr, sizeof members);
    pthread_mutex_unlock(&node);
    ck_assert_int_eq(tell(s), KERR_NONE);
    arena_reset(&arena);
}

/* ---- producers --------------------------------------------------------------------------------------------------- */

static void await_committed(int64_t end, int32_t epoch)
{
    bool done = false;
    int16_t kerr = KERR_NONE;

    while (!done && !atomic_load(&over)) {
        kerr = partition_committed(p, end, epoch, &done);
        if (!done)
            sched_yield();
    }
    if (!done || kerr != KERR_NONE)
        return;
    ck_assert_int_ge(partition_offsets(p).hw, end);
    atomic_fetch_add(&committed, 1);
}

static void *produce(void *arg)
{
    struct plog_appended out;
    struct arena mine;
    unsigned seed = *(const unsigned *)arg;

    arena_init(&mine, 1 << 20);
    while (!atomic_load(&over)) {
        struct bytes set = one_batch(1 + (int)dice(&seed, 4), &mine);
        struct plog_append in = { .p = (uint8_t *)set.p, .len = set.len };
        int16_t acks = dice(&seed, 3) == 0 ? -1 : 1;
        int16_t kerr = partition_append(p, &in, acks, &out);

        if (kerr == KERR_NONE && acks == -1)
            await_committed(out.last_offset + 1, in.leader_epoch);
        else if (kerr != KERR_NONE)
            sched_yield();
        arena_reset(&mine);
    }
    arena_fini(&mine);
    return NULL;
}

/* ---- followers --------------------------------------------------------------------------------------------------- */

static int16_t fetch(int32_t id, int64_t offset, int64_t epoch)
{
    struct follower_fetch in = { .id = id, .broker_epoch = epoch, .leader_epoch = -1, .last_epoch = -1,
                                 .offset = offset, .log_start = 0, .now_ms = mono_ms() };
    _Atomic int64_t *b = &best[id - FIRST];

    if (atomic_load(b) < offset)
        atomic_store(b, offset);
    return partition_follower_fetched(p, &in);
}

static void *follow(void *arg)
{
    unsigned seed = *(const unsigned *)arg;
    int32_t id = (int32_t)seed;
    int64_t mine = 0, epoch = 1;

    while (!atomic_load(&over)) {
        int64_t leo = partition_offsets(p).leo;

        if (dice(&seed, 200) == 0) {            /* it has been started anew, with half of it */
            epoch++;
            mine /= 2;
        } else if (dice(&seed, 100) == 0) {
            (void)poll(NULL, 0, 2 * LAG_MS);
        } else if (mine < leo) {
            mine += 1 + dice(&seed, 2) * (leo - mine - 1);
        }
        if (fetch(id, mine, epoch) != KERR_NONE)
            sched_yield();
    }
    return NULL;
}

/* ---- who looks --------------------------------------------------------------------------------------------------- */

static void *watch(void *arg)
{
    bool all = *(const bool *)arg;
    int64_t last = 0, low;

    while (!atomic_load(&over)) {
        struct plog_offsets o = partition_offsets(p);
        struct replica_view v[FOLLOWERS];

        ck_assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
        ck_assert_int_ge(o.hw, last);
        last = o.hw;
        for (int i = 0; i < FOLLOWERS && all; i++)
            ck_assert_int_le(o.hw, atomic_load(&best[i]));
        partition_shrink_isr(p, mono_ms());
        partition_recheck(p);
        (void)partition_replica_views(p, o.hw, mono_ms(), v, FOLLOWERS);
        (void)partition_low_watermark(p, &low);
        (void)partition_in_isr(p, FIRST);
        sched_yield();
    }
    return NULL;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static void short_lag(struct config *c)
{
    c->replica_lag_time_max_ms = LAG_MS;
}

static void setup_threads(void)
{
    static const int32_t all[] = { SELF, 2, 3, -1 };

    memcpy(isr, all, sizeof isr);
    leader_epoch = version = 0;
    questions = NULL;
    atomic_store(&over, false);
    atomic_store(&committed, 0);
    atomic_store(&granted, 0);
    for (int i = 0; i < FOLLOWERS; i++)
        atomic_store(&best[i], 0);
    atomic_store(&log_threshold, LOG_FATAL);
    changer = &asked;
    adjust = short_lag;
    setup();
    alive(all, 3);
    new_term(true);
    p = find();
}

static void drop_questions(void)
{
    while (questions != NULL) {
        struct isr_change *ch = questions;

        questions = ch->next;
        ch->outcome = ISR_DROPPED;
        ch->done(ch);
    }
}

/* Both followers have it all, and the controller says yes. */
static void mend(void)
{
    unsigned seed = 1;

    new_term(true);
    while (partition_offsets(p).hw < partition_offsets(p).leo || atomic_load(&p->isr_n) != FOLLOWERS + 1) {
        for (int32_t id = FIRST; id < FIRST + FOLLOWERS; id++)
            ck_assert_int_eq(fetch(id, partition_offsets(p).leo, INT32_MAX), KERR_NONE);
        while (answer_one(&seed))
            ;
    }
}

static void play(int32_t min_isr)
{
    static const int32_t without_3[] = { SELF, 2 }, all[] = { SELF, 2, 3 };
    bool strict = min_isr > FOLLOWERS;
    unsigned seeds[] = { 2, 3, 40, 50 };
    pthread_t t[6];
    int n = 0;

    atomic_store(&p->min_isr, min_isr);
    pthread_create(&t[n++], NULL, controller, NULL);
    pthread_create(&t[n++], NULL, follow, &seeds[0]);
    pthread_create(&t[n++], NULL, follow, &seeds[1]);
    pthread_create(&t[n++], NULL, produce, &seeds[2]);
    pthread_create(&t[n++], NULL, produce, &seeds[3]);
    pthread_create(&t[n++], NULL, watch, &strict);
    for (int i = 1; i <= TERMS; i++) {
        int before = atomic_load(&committed);

        if (i % 5 == 0)
            alive(i % 10 == 0 ? all : without_3, i % 10 == 0 ? 3 : 2);
        new_term(i % 3 != 0);
        if (i % 3 == 1 && (i % 10 < 5 || !strict))      /* a term in which something can come of it, and does */
            while (atomic_load(&committed) == before)
                (void)poll(NULL, 0, 1);
    }
    atomic_store(&over, true);
    while (n > 0)
        pthread_join(t[--n], NULL);
    ck_assert_int_gt(atomic_load(&granted), 0);
    alive(all, 3);
    mend();
    drop_questions();
    partition_unref(&p);
}

START_TEST(some_must_have_it)
{
    play(1);
}
END_TEST

START_TEST(all_must_have_it)
{
    play(FOLLOWERS + 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/replica/leader_threads");
    TCase *tc = tcase_create("threads");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(tc, setup_threads, teardown);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, some_must_have_it);
    tcase_add_test(tc, all_must_have_it);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
