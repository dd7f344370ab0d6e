/* tests/unit/storage/test_moves.c - logs that move between directories: under appends, cuts and deaths. */
#include "base/clock.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct box  b;
static char        path[2][300];
static const char *dirs[2];

static void begin(void)
{
    box_init(&b);
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%.250s/%c", b.path, 'a' + i);
        dirs[i] = path[i];
    }
}

static void open_dirs(void)
{
    b.o.dirs = dirs;
    b.o.dirs_n = 2;
    ok(logmgr_open(&b.o, &b.m));
    ok(logmgr_identify(b.m, 1, CLUSTER));
    ok(kit_load(b.m, box_opts, &b, &b.loaded));
}

static void start(void)
{
    ok(scheduler_new(&b.sched, 2));
    ok(logmgr_start(b.m, b.sched));
}

static const char *in(int dir, const char *rest)
{
    static char p[2][600];
    static unsigned at;

    snprintf(p[++at % 2], sizeof p[0], "%.299s/%.250s", path[dir], rest);
    return p[at % 2];
}

static struct plog *log_in(size_t dir)
{
    struct plog *l = logmgr_get(b.m, STR_LIT("t"), 0);

    ck_assert_ptr_nonnull(l);
    ck_assert_uint_eq(plog_dir_index(l), dir);
    return l;
}

/* Is there a directory whose name ends so? Its name. */
static const char *find(int dir, const char *end)
{
    static char name[300];
    struct dirent *e;
    DIR *d = opendir(path[dir]);

    name[0] = '\0';
    while (d != NULL && (e = readdir(d)) != NULL) {
        size_t n = strlen(e->d_name), k = strlen(end);
        if (n > k && strcmp(e->d_name + n - k, end) == 0)
            snprintf(name, sizeof name, "%.250s", e->d_name);
    }
    closedir(d);
    return name[0] != '\0' ? name : NULL;
}

static size_t count_names(const char *folder, const char *end)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    size_t n = 0, k = strlen(end);

    ck_assert_ptr_nonnull(d);
    while ((e = readdir(d)) != NULL)
        n += strlen(e->d_name) > k && strcmp(e->d_name + strlen(e->d_name) - k, end) == 0;
    closedir(d);
    return n;
}

static bool no_moves(void)
{
    bool none;

    lock_take(&b.m->lock);
    none = b.m->moves == NULL;
    lock_drop(&b.m->lock);
    return none;
}

static void wait_moved(size_t dir)
{
    bool there = false;

    while (!there) {
        struct plog *l = logmgr_get(b.m, STR_LIT("t"), 0);
        there = plog_dir_index(l) == dir && no_moves();
        plog_unref(&l);
        sched_yield();
    }
}

static int32_t seq;

/* With a producer that counts. */
static void put_some(struct plog *l, int n, int32_t leader_epoch)
{
    for (int i = 0; i < n; i++) {
        put(l, (struct put){ .n = 2, .value = 60, .pid = 7, .seq = seq, .leader_epoch = leader_epoch });
        seq += 2;
    }
}

START_TEST(a_log_moves_with_all_it_has)
{
    struct plog_appended out;
    struct plog *l, *old;
    struct uuid id = uuid_random();
    uint8_t *before, *after;
    size_t n, k;

    begin();
    b.log.segment_bytes = 5000;
    b.log.file_delete_delay_ms = 0;
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    ok(plog_set_topic_id(l, id));
    put_some(l, 100, 3);
    put_some(l, 50, 5);
    commit(l);
    ok(plog_set_start(l, 21));          /* in the midst of a batch */
    before = kit_read_all(l, 21, &n);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    wait_moved(1);
    fails(try_put(l, (struct put){ 0 }, &out), ERR_CLOSED);
    old = l;
    l = log_in(1);
    ck_assert_int_eq(plog_offsets(l).start, 21);
    ck_assert_int_eq(plog_offsets(l).hw, 300);
    ck_assert_int_eq(leo(l), 300);
    ck_assert_int_eq(plog_latest_epoch(l), 5);
    ck_assert_int_eq(plog_epoch_start(l, 5), 200);
    ck_assert(uuid_eq(plog_topic_id(l), id));
    after = kit_read_all(l, 21, &k);
    ck_assert_uint_eq(n, k);
    ck_assert_int_eq(memcmp(before, after, n), 0);
    ok(try_put(l, (struct put){ .n = 2, .value = 60, .pid = 7, .seq = seq - 2, .leader_epoch = 5 }, &out));
    ck_assert(out.duplicate);
    put_some(l, 10, 5);
    plog_unref(&l);
    plog_unref(&old);
    ck_assert(!kit_exists(in(0, "t-0")));
    while (find(0, "-delete") != NULL)
        sched_yield();
    box_stop(&b);
    open_dirs();
    ck_assert_uint_eq(b.loaded.recovered, 0);
    l = log_in(1);
    ck_assert_int_eq(leo(l), 320);
    ck_assert_int_eq(plog_offsets(l).start, 21);
    kit_check_whole(l);
    plog_unref(&l);
    free(before);
    free(after);
    box_fini(&b);
}
END_TEST

START_TEST(an_epoch_without_batches_moves_as_well)
{
    struct plog_epoch_end e;
    struct plog *l;

    begin();
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    put_some(l, 10, 5);
    commit(l);
    ok(plog_assign_epoch(l, 7));        /* it leads, and nothing has been appended yet */
    plog_unref(&l);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    wait_moved(1);
    l = log_in(1);
    ck_assert_int_eq(plog_latest_epoch(l), 7);
    e = plog_epoch_end(l, 6);
    ck_assert_int_eq(e.epoch, 5);
    ck_assert_int_eq(e.end_offset, 20);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(a_move_goes_no_faster_than_it_may)
{
    int64_t began;
    struct plog *l;

    begin();
    b.o.move_bytes_per_s = 1;
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    for (int i = 0; i < 1500; i++)
        put(l, (struct put){ .n = 1, .value = 2000 });
    commit(l);
    plog_unref(&l);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    while (find(1, "-future") == NULL)
        sched_yield();
    began = mono_ms();                  /* the second of three chunks must wait for days */
    while (mono_ms() - began < 200) {
        ck_assert(!no_moves());
        (void)poll(NULL, 0, 10);
    }
    b.o.move_bytes_per_s = INT64_MAX;
    ok(logmgr_configure(b.m, &b.o));
    wait_moved(1);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* The first segment of the copy goes at once, since the log begins later: by a name that is then another. */
START_TEST(what_a_copy_throws_away_goes_after_the_move)
{
    struct logdir *to;
    struct plog *l;
    size_t thrown;

    begin();
    b.log.segment_bytes = 5000;
    b.log.file_delete_delay_ms = 3600000;
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    put_some(l, 100, 1);
    commit(l);
    ok(plog_set_start(l, 150));
    plog_unref(&l);
    to = &b.m->dirs[1].d;
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    wait_moved(1);
    thrown = count_names(in(1, "t-0"), ".deleted");
    ck_assert_uint_gt(thrown, 0);
    ck_assert_int_gt(logdir_empty_trash(to, false), 0);
    ck_assert_uint_eq(count_names(in(1, "t-0"), ".deleted"), thrown);
    (void)logdir_empty_trash(to, true);
    ck_assert_uint_eq(count_names(in(1, "t-0"), ".deleted"), 0);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* However long the old log could have waited for its next flush: its files would keep their place on the disk. */
START_TEST(nobody_keeps_the_files_of_the_old_log)
{
    struct plog *l;

    begin();
    b.log.flush_ms = 3600000;
    open_dirs();
    seq = 0;
    start();
    l = box_log(&b, "t");
    put_some(l, 100, 1);
    commit(l);
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    wait_moved(1);
    while (atomic_load(&l->refs) > 1)
        sched_yield();
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

static atomic_bool writer_stop;

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;        /* as a partition's lock: held by who appends */

static void *gated_writer(void *arg)
{
    int64_t *next = arg;

    while (!atomic_load(&writer_stop)) {
        struct plog_appended out;
        struct plog *l;
        pthread_mutex_lock(&gate);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ok(try_put(l, (struct put){ .value = 200 }, &out));
        ck_assert_int_eq(out.base_offset, *next);
        ++*next;
        plog_set_hw(l, *next, NULL);
        plog_unref(&l);
        pthread_mutex_unlock(&gate);
    }
    return NULL;
}

static int swap_gated(void *arg, struct log_move *mv, struct str topic, int32_t partition)
{
    struct plog *l = logmgr_get(b.m, topic, partition), *now;
    int rc;

    (void)arg;
    pthread_mutex_lock(&gate);
    rc = logmgr_swap(mv, l, &now);
    pthread_mutex_unlock(&gate);
    plog_unref(&l);
    plog_unref(&now);
    return rc;
}

START_TEST(appends_go_on_and_none_is_lost)
{
    int64_t next = 0;
    pthread_t t;
    struct plog *l;

    begin();
    b.log.segment_bytes = 50000;
    open_dirs();
    l = box_log(&b, "t");
    plog_unref(&l);
    logmgr_on_swap(b.m, swap_gated, NULL);
    start();
    atomic_store(&writer_stop, false);
    ck_assert_int_eq(pthread_create(&t, NULL, gated_writer, &next), 0);
    for (size_t i = 0; i < 6; i++) {
        ok(logmgr_move(b.m, STR_LIT("t"), 0, (i + 1) % 2));
        wait_moved((i + 1) % 2);
    }
    atomic_store(&writer_stop, true);
    pthread_join(t, NULL);
    l = log_in(0);
    ck_assert_int_eq(leo(l), next);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(a_move_is_given_up)
{
    struct plog *l;

    begin();
    open_dirs();
    l = box_log(&b, "t");
    put_some(l, 20, 1);
    plog_unref(&l);
    fails(logmgr_move(b.m, STR_LIT("u"), 0, 1), ERR_NOENT);
    fails(logmgr_move(b.m, STR_LIT("t"), 0, 2), ERR_RANGE);
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 0));
    ck_assert_ptr_null(b.m->moves);
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));           /* nobody works at it yet */
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 0));
    start();
    while (!no_moves())
        sched_yield();
    l = log_in(0);
    plog_unref(&l);
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    for (int i = 0; i < 2; i++) {
        while (find(i, "-future") != NULL)
            sched_yield();
        ck_assert(!kit_exists(in(i, "t-0")));
    }
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* No room for the file with the topic's id: the directory of the copy is there by then. */
START_TEST(a_copy_that_cannot_be_made_leaves_nothing)
{
    struct plog *l;

    begin();
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    ok(plog_set_topic_id(l, uuid_random()));
    put_some(l, 20, 1);
    plog_unref(&l);
    fio_fail(FIO_WRITE, ENOSPC, 1);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    while (atomic_load(&b.m->dirs[1].deletions) == 0)
        sched_yield();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 0));
    fio_fail(FIO_OPEN, 0, 0);
    while (!no_moves())
        sched_yield();
    ck_assert_ptr_null(find(1, "-future"));
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* No descriptors are left when it has been swapped. */
static int swap_and_fail(void *arg, struct log_move *mv, struct str topic, int32_t partition)
{
    struct plog *now = NULL;
    int rc;

    (void)topic, (void)partition;
    rc = logmgr_swap(mv, mv->from, &now);
    plog_unref(&now);
    if (rc == OK && !atomic_exchange((atomic_bool *)arg, true))
        fio_fail(FIO_OPEN, EMFILE, 1);
    return rc;
}

START_TEST(an_old_directory_that_stayed_goes_before_the_next_move)
{
    static atomic_bool failed;
    struct plog *l;

    for (int deleted = 0; deleted < 2; deleted++) {
        begin();
        open_dirs();
        seq = 0;
        l = box_log(&b, "t");
        put_some(l, 20, 1);
        plog_unref(&l);
        atomic_store(&failed, false);
        logmgr_on_swap(b.m, swap_and_fail, &failed);
        start();
        ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
        wait_moved(1);
        fio_fail(FIO_OPEN, 0, 0);
        ck_assert(kit_exists(in(0, "t-0")));
        if (deleted == 1) {
            ok(logmgr_delete(b.m, STR_LIT("t"), 0));
            ck_assert(!kit_exists(in(0, "t-0")));
        } else {
            ok(logmgr_move(b.m, STR_LIT("t"), 0, 0));
            wait_moved(0);
            ck_assert(!kit_exists(in(1, "t-0")));
        }
        box_stop(&b);
        open_dirs();
        if (deleted == 0) {
            l = log_in(0);
            ck_assert_int_eq(leo(l), 40);
            plog_unref(&l);
        }
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST
#endif

static atomic_int  swaps_asked;
static atomic_bool may_swap;

/* What swaps is set before the manager starts, and not while its threads look at it. */
static int swap_if_it_may(void *arg, struct log_move *mv, struct str topic, int32_t partition)
{
    struct plog *now = NULL;
    int rc = ERR_AGAIN;

    (void)arg, (void)topic, (void)partition;
    atomic_fetch_add(&swaps_asked, 1);
    if (atomic_load(&may_swap))
        rc = logmgr_swap(mv, mv->from, &now);
    plog_unref(&now);
    return rc;
}

/* Everything is copied, and the broker ends before the swap. */
static void copy_without_swap(void)
{
    struct plog *l;

    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    put_some(l, 200, 1);
    commit(l);
    plog_unref(&l);
    atomic_store(&swaps_asked, 0);
    atomic_store(&may_swap, false);
    logmgr_on_swap(b.m, swap_if_it_may, NULL);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    while (atomic_load(&swaps_asked) == 0)
        sched_yield();
}

START_TEST(a_move_goes_on_after_a_restart)
{
    for (int clean = 1; clean >= 0; clean--) {
        struct plog **v, *l;
        char name[300];
        size_t n;

        begin();
        copy_without_swap();
        ok(logmgr_list_futures(b.m, &v, &n));
        ck_assert_uint_eq(n, 1);
        ck_assert(plog_is_future(v[0]));
        ck_assert_int_eq(leo(v[0]), 400);
        logmgr_list_free(&v, n);
        snprintf(name, sizeof name, "%s", find(1, "-future"));
        ck_assert(kit_exists(in(0, "t-0/" MOVED_MARK)));
        if (clean)
            box_stop(&b);
        else
            box_crash(&b);
        open_dirs();
        ck_assert(!kit_exists(in(0, "t-0/" MOVED_MARK)));
        ck_assert(kit_exists(in(1, name)));
        l = log_in(0);
        put_some(l, 10, 2);
        commit(l);
        plog_unref(&l);
        start();
        wait_moved(1);
        ck_assert(!kit_exists(in(1, name)));
        l = log_in(1);
        ck_assert_int_eq(leo(l), 420);
        kit_check_whole(l);
        plog_unref(&l);
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST

/* The answer is given before the mover has looked at it. Twice: nobody works at it after the first restart either. */
START_TEST(a_move_that_was_only_asked_for_goes_on_after_a_restart)
{
    for (int clean = 1; clean >= 0; clean--) {
        struct uuid id = uuid_random();
        struct plog *l;

        begin();
        open_dirs();
        seq = 0;
        l = box_log(&b, "t");
        ok(plog_set_topic_id(l, id));
        put_some(l, 20, 1);
        commit(l);
        plog_unref(&l);
        ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
        for (int i = 0; i < 2; i++) {
            if (clean)
                box_stop(&b);
            else
                box_crash(&b);
            open_dirs();
            l = log_in(0);
            plog_unref(&l);
            ck_assert_ptr_nonnull(b.m->moves);
        }
        start();
        wait_moved(1);
        l = log_in(1);
        ck_assert_int_eq(leo(l), 40);
        kit_check_whole(l);
        plog_unref(&l);
        ck_assert_ptr_null(find(1, "-future"));
        box_stop(&b);
        open_dirs();
        l = log_in(1);
        ck_assert(uuid_eq(plog_topic_id(l), id));       /* it is in the new directory, too */
        plog_unref(&l);
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST

/* As long as may be asked for; the directory that says so still names all of it. */
START_TEST(a_move_of_a_long_name_goes_on_after_a_restart)
{
    struct str topic = { (char[213]){ 0 }, 213 };
    struct logmgr_create c = { .topic = topic, .is_new = true };
    struct plog *l;

    begin();
    open_dirs();
    c.opts = &b.log;
    memset((char *)(uintptr_t)topic.p, 'n', topic.len);
    ok(logmgr_create(b.m, &c, 1));
    plog_unref(&c.log);
    ok(logmgr_move(b.m, topic, 0, 1));
    box_stop(&b);
    open_dirs();
    start();
    while (!no_moves())
        sched_yield();
    l = logmgr_get(b.m, topic, 0);
    ck_assert_uint_eq(plog_dir_index(l), 1);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(a_copy_that_went_astray_is_cut)
{
    struct plog *l;

    begin();
    copy_without_swap();
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    /* What a follower does when its leader has changed. */
    put_some(l, 5, 2);
    ok(plog_truncate(l, 390));
    seq = 390;
    put_some(l, 20, 3);
    commit(l);
    atomic_store(&may_swap, true);
    plog_unref(&l);
    wait_moved(1);
    l = log_in(1);
    ck_assert_int_eq(leo(l), 430);
    ck_assert_int_eq(plog_epoch_start(l, 2), -1);
    ck_assert_int_eq(plog_epoch_start(l, 3), 390);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* No descriptors are left in the midst of that: what is left of the copy is of no use, but the move goes on. */
START_TEST(a_copy_that_cannot_be_cut_is_made_anew)
{
    int64_t copied = 0;
    char name[300];
    struct plog *l;

    begin();
    copy_without_swap();
    snprintf(name, sizeof name, "%s", find(1, "-future"));
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    put_some(l, 5, 2);
    while (copied < 410) {
        lock_take(&b.m->lock);
        copied = leo(b.m->moves->log);
        lock_drop(&b.m->lock);
        sched_yield();
    }
    lock_take(&b.m->lock);              /* the mover waits for it at the end of its turn */
    ok(plog_truncate(l, 390));
    seq = 390;
    put_some(l, 20, 3);
    fio_fail(FIO_TRUNCATE, EMFILE, 1);
    lock_drop(&b.m->lock);
    commit(l);
    while (kit_exists(in(1, name)))
        sched_yield();
    fio_fail(FIO_TRUNCATE, 0, 0);
    atomic_store(&may_swap, true);
    plog_unref(&l);
    wait_moved(1);
    l = log_in(1);
    ck_assert_int_eq(leo(l), 430);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST
#endif

/* The log of a follower whose leader changed twice: the new one's older epoch reaches further than the whole copy. */
START_TEST(a_copy_with_an_epoch_that_the_log_never_had_is_cut)
{
    struct uuid id = uuid_random();
    int64_t copied = 0;
    struct plog *l;

    begin();
    copy_without_swap();
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    put_some(l, 5, 5);
    while (copied < 410) {
        lock_take(&b.m->lock);
        copied = leo(b.m->moves->log);
        lock_drop(&b.m->lock);
        sched_yield();
    }
    lock_take(&b.m->lock);              /* the mover waits for it at the end of its turn */
    ok(plog_truncate(l, 400));
    seq = 400;
    put_some(l, 20, 3);
    put_some(l, 5, 7);
    ok(plog_set_topic_id(l, id));       /* the copy has been made without it */
    lock_drop(&b.m->lock);
    commit(l);
    atomic_store(&may_swap, true);
    plog_unref(&l);
    wait_moved(1);
    l = log_in(1);
    ck_assert_int_eq(leo(l), 450);
    ck_assert_int_eq(plog_epoch_start(l, 3), 400);
    ck_assert_int_eq(plog_epoch_start(l, 5), -1);
    ck_assert_int_eq(plog_epoch_start(l, 7), 440);
    ck_assert(uuid_eq(plog_topic_id(l), id));
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* Compaction took the last records below an active segment that is empty. */
START_TEST(a_log_moves_without_the_records_at_its_end)
{
    struct plog *l;

    begin();
    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    put_some(l, 10, 1);
    ok(plog_skip_to(l, 27));
    commit(l);
    plog_unref(&l);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    wait_moved(1);
    l = log_in(1);
    ck_assert_int_eq(leo(l), 27);
    ck_assert_int_eq(plog_offsets(l).hw, 27);
    ck_assert_int_eq(put(l, (struct put){ .n = 2 }), 27);
    plog_unref(&l);
    box_stop(&b);
    open_dirs();
    l = log_in(1);
    ck_assert_int_eq(leo(l), 29);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* The state after the swap, before the old directory is gone: both have the plain name. */
static void died_after_the_swap(bool lose_tail)
{
    char name[300], to[700];
    struct plog *l;

    copy_without_swap();
    if (lose_tail) {                    /* what was copied last is not on the disk of the new one */
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        put_some(l, 30, 1);
        plog_unref(&l);
    }
    snprintf(name, sizeof name, "%s", find(1, "-future"));
    box_crash(&b);
    snprintf(to, sizeof to, "%s", in(1, "t-0"));
    ck_assert_int_eq(rename(in(1, name), to), 0);
}

START_TEST(dead_between_the_swap_and_its_end)
{
    for (int reboot = 0; reboot < 2; reboot++) {
        struct plog *l;

        begin();
        died_after_the_swap(reboot == 1);
        if (kit_exists(in(0, "t-0")) && reboot == 1)
            for (int i = 0; i < 2; i++)
                kit_spill(in(i, BOOT_MARK), "another boot\n", 13);
        open_dirs();
        l = log_in(1);
        ck_assert_int_eq(leo(l), reboot == 1 ? 460 : 400);
        kit_check_whole(l);
        plog_unref(&l);
        ck_assert(!kit_exists(in(0, "t-0")));
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST

#ifdef KLAMM_KILL_POINTS
START_TEST(a_rest_that_cannot_be_removed_at_the_start_goes_later)
{
    for (int deleted = 0; deleted < 2; deleted++) {
        begin();
        died_after_the_swap(false);
        fio_fail(FIO_RENAME, ENOSPC, 1);
        open_dirs();
        fio_fail(FIO_RENAME, 0, 0);
        ck_assert(kit_exists(in(0, "t-0")));
        if (deleted) {
            ok(logmgr_delete(b.m, STR_LIT("t"), 0));
            ck_assert(!kit_exists(in(1, "t-0")));
        } else {
            start();
            ok(logmgr_move(b.m, STR_LIT("t"), 0, 0));
            wait_moved(0);
            ck_assert(!kit_exists(in(1, "t-0")));
        }
        ck_assert(kit_exists(in(0, "t-0")) == !deleted);
        box_stop(&b);
        open_dirs();
        ck_assert_uint_eq(b.loaded.logs, !deleted);
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST
#endif

static void opts_at_the_gate(void *arg, struct str topic, struct log_opts *o)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    box_opts(arg, topic, o);
}

START_TEST(a_rest_goes_with_a_log_that_is_deleted_before_it_is_opened)
{
    begin();
    died_after_the_swap(false);
    ok(logmgr_open(&b.o, &b.m));
    ok(logmgr_identify(b.m, 1, CLUSTER));
    pthread_mutex_lock(&gate);
    ok(logmgr_load(b.m, opts_at_the_gate, &b));
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    pthread_mutex_unlock(&gate);
    ok(logmgr_wait_loaded(b.m, -1, &b.loaded));
    for (int i = 0; i < 2; i++)
        ck_assert(!kit_exists(in(i, "t-0")));
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(marked_and_the_other_directory_is_away)
{
    struct plog *l;

    begin();
    copy_without_swap();
    box_stop(&b);
    dirs[1] = "/proc/no-such-place/x";
    b.o.dirs_n = 2;
    /* The mark names what log.dirs calls the directory. */
    kit_spill(in(0, "t-0/" MOVED_MARK), dirs[1], strlen(dirs[1]));
    ok(logmgr_open(&b.o, &b.m));
    ok(logmgr_identify(b.m, 1, CLUSTER));
    fails(kit_load(b.m, box_opts, &b, &b.loaded), ERR_OFFLINE);
    fails(logmgr_find(b.m, STR_LIT("t"), 0, &l), ERR_OFFLINE);
    ok(logmgr_stop(b.m));
    box_fini(&b);
}
END_TEST

START_TEST(a_wish_is_granted_once)
{
    struct plog *l;

    begin();
    open_dirs();
    logmgr_prefer(b.m, STR_LIT("t"), 0, 1);
    logmgr_prefer(b.m, STR_LIT("t"), 0, 9);
    logmgr_prefer(b.m, STR_LIT("never"), 0, 1);
    l = box_log(&b, "t");
    ck_assert_uint_eq(plog_dir_index(l), 1);
    plog_unref(&l);
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    l = box_log(&b, "t");
    ck_assert_uint_eq(plog_dir_index(l), 0);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* ---- deaths ------------------------------------------------------------------------------------------------------ */

static _Atomic int64_t *told;           /* shared with the child: the offset that it has appended last */

static void child(void)
{
    struct plog *l;
    bool there = false;

    open_dirs();
    seq = 0;
    l = box_log(&b, "t");
    put_some(l, 100, 1);
    commit(l);
    atomic_store(told, leo(l));
    plog_unref(&l);
    logmgr_on_swap(b.m, swap_gated, NULL);
    start();
    ok(logmgr_move(b.m, STR_LIT("t"), 0, 1));
    for (int i = 0; i < 2000 && !there; i++) {
        pthread_mutex_lock(&gate);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        put_some(l, 1, 2);
        commit(l);
        atomic_store(told, leo(l));
        there = plog_dir_index(l) == 1 && no_moves();
        plog_unref(&l);
        pthread_mutex_unlock(&gate);
    }
    wait_moved(1);
    _exit(0);
}

/* In a process of its own: it has passed no kill point yet. */
static void die_and_check(const char *point, int pass, bool reboot)
{
    char at[64];
    struct plog *l;
    int status;
    pid_t pid;

    begin();
    snprintf(at, sizeof at, "%s:%d", point, pass);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setenv("KLAMM_KILL_AT", at, 1);
        child();
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    for (int i = 0; i < 2 && reboot; i++)
        kit_spill(in(i, BOOT_MARK), "another boot\n", 13);
    open_dirs();
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    if (l == NULL) {                    /* it had not come to be */
        ck_assert_int_eq(atomic_load(told), 0);
        box_fini(&b);
        _exit(0);
    }
    ck_assert_int_ge(leo(l), atomic_load(told));
    ck_assert(kit_exists(in(0, "t-0")) != kit_exists(in(1, "t-0")));
    kit_check_whole(l);
    plog_unref(&l);
    start();
    while (!no_moves())
        sched_yield();
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_ge(leo(l), atomic_load(told));
    ck_assert(kit_exists(in(0, "t-0")) != kit_exists(in(1, "t-0")));
    ck_assert_ptr_null(find(0, "-future"));
    ck_assert_ptr_null(find(1, "-future"));
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
    _exit(WIFSIGNALED(status) ? 0 : 77);
}

static bool dies(const char *point, int pass, bool reboot)
{
    int status;
    pid_t pid;

    atomic_store(told, 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        die_and_check(point, pass, reboot);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77),
                  "%s:%d: what is left is not what was acknowledged", point, pass);
    return WEXITSTATUS(status) == 0;
}

START_TEST(dead_anywhere_in_a_move)
{
    static const char *const points[] = {
        "move.asked", "move.copied", "move.marked", "move.renamed", "move.synced", "replace.created", "replace.renamed",
        "checkpoint.written", "create.mkdir", "segment.file_created", "append.written", "sync.files_done",
        "trash.file_removed",
    };
    size_t deaths = 0;

    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(told != MAP_FAILED);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int pass = 1; pass < 14 && dies(points[i], pass, pass % 3 == 0); pass += pass < 6 ? 1 : 4)
            deaths++;
    ck_assert(dies("move.asked", 1, true));
    ck_assert(dies("move.renamed", 1, true));
    ck_assert(dies("move.synced", 1, true));
    printf("%zu deaths\n", deaths);
    ck_assert_uint_gt(deaths, 20);
}
END_TEST
#endif

int main(void)
{
    const struct kit_test tests[] = {
        { a_log_moves_with_all_it_has, 60 }, { an_epoch_without_batches_moves_as_well, 60 },
        { a_move_goes_no_faster_than_it_may, 60 },
        { what_a_copy_throws_away_goes_after_the_move, 60 },
        { nobody_keeps_the_files_of_the_old_log, 20 },
        { appends_go_on_and_none_is_lost, 120 },
        { a_move_is_given_up, 60 },
#ifdef KLAMM_KILL_POINTS
        { a_copy_that_cannot_be_made_leaves_nothing, 20 },
        { an_old_directory_that_stayed_goes_before_the_next_move, 20 },
#endif
        { a_move_goes_on_after_a_restart, 60 },
        { a_move_that_was_only_asked_for_goes_on_after_a_restart, 60 },
        { a_move_of_a_long_name_goes_on_after_a_restart, 20 },
        { a_copy_with_an_epoch_that_the_log_never_had_is_cut, 0 },
        { a_log_moves_without_the_records_at_its_end, 0 },
        { a_copy_that_went_astray_is_cut, 60 },
#ifdef KLAMM_KILL_POINTS
        { a_copy_that_cannot_be_cut_is_made_anew, 60 },
#endif
        { dead_between_the_swap_and_its_end, 60 },
#ifdef KLAMM_KILL_POINTS
        { a_rest_that_cannot_be_removed_at_the_start_goes_later, 60 },
#endif
        { a_rest_goes_with_a_log_that_is_deleted_before_it_is_opened, 20 },
        { marked_and_the_other_directory_is_away, 0 },
        { a_wish_is_granted_once, 0 },
#ifdef KLAMM_KILL_POINTS
        { dead_anywhere_in_a_move, 200 },
#endif
    };

    return kit_main("storage/moves", tests, sizeof tests / sizeof tests[0]);
}
