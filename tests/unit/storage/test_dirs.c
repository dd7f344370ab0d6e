/* tests/unit/storage/test_dirs.c - several log directories: whose they are, where logs go, and one that fails. */
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>

static struct box b;
static char       path[3][300];
static const char *dirs[3];

static void begin(void)
{
    box_init(&b);
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%.250s/%c", b.path, 'a' + i);
        dirs[i] = path[i];
    }
}

static int try_open(size_t n)
{
    int rc;

    b.o.dirs = dirs;
    b.o.dirs_n = n;
    rc = logmgr_open(&b.o, &b.m);
    if (rc == OK)
        rc = logmgr_identify(b.m, 1, CLUSTER);
    if (rc == OK)
        rc = kit_load(b.m, box_opts, &b, &b.loaded);
    return rc;
}

static void open_dirs(size_t n)
{
    ok(try_open(n));
}

static const char *in(int dir, const char *rest)
{
    static char p[2][600];
    static unsigned at;

    snprintf(p[++at % 2], sizeof p[0], "%.299s/%.250s", path[dir], rest);
    return p[at % 2];
}

static size_t logs_in(size_t dir)
{
    struct plog **v;
    size_t n, k = 0;

    ok(logmgr_list(b.m, &v, &n));
    for (size_t i = 0; i < n; i++)
        k += plog_dir_index(v[i]) == dir;
    logmgr_list_free(&v, n);
    return k;
}

static void make(const char *topic, int n)
{
    for (int i = 0; i < n; i++) {
        struct logmgr_create c = { .topic = str_of(topic), .partition = i, .is_new = true, .opts = &b.log };
        ok(logmgr_create(b.m, &c, 1));
        plog_unref(&c.log);
    }
}

START_TEST(new_logs_go_where_there_are_fewest)
{
    begin();
    open_dirs(2);
    make("t", 7);
    ck_assert_uint_eq(logs_in(0), 4);
    ck_assert_uint_eq(logs_in(1), 3);
    for (int i = 0; i < 3; i++)
        ok(logmgr_delete(b.m, STR_LIT("t"), 2 * i));
    make("u", 3);
    ck_assert_uint_eq(logs_in(0), 4);
    ck_assert_uint_eq(logs_in(1), 3);
    box_stop(&b);
    open_dirs(3);
    ck_assert_uint_eq(b.loaded.logs, 7);
    ck_assert_uint_eq(b.loaded.recovered, 0);
    make("v", 3);
    ck_assert_uint_eq(logs_in(2), 3);
    box_stop(&b);
    for (int i = 0; i < 3; i++)
        ck_assert(kit_exists(in(i, CLEAN_SHUTDOWN)));
    box_fini(&b);
}
END_TEST

START_TEST(each_directory_has_its_own_checkpoints)
{
    begin();
    open_dirs(2);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            struct logmgr_create c = { .topic = STR_LIT("t"), .partition = i, .opts = &b.log };
            ok(logmgr_create(b.m, &c, 1));
            put(c.log, (struct put){ .n = i + 1 });
            commit(c.log);
            plog_unref(&c.log);
        }
        box_stop(&b);
        for (int i = 0; i < 2; i++) {
            struct offset_checkpoint hw;
            size_t line;
            int fd;
            ok(fio_open(AT_FDCWD, path[i], O_RDONLY | O_DIRECTORY, &fd));
            ok(offset_checkpoint_read(fd, CHECKPOINT_HIGH_WATERMARK, &hw, &line));
            ck_assert_uint_eq(hw.n, 2);
            for (size_t k = 0; k < 2; k++) {
                ck_assert_int_eq(hw.v[k].partition, (int)k * 2 + i);
                ck_assert_int_eq(hw.v[k].offset, (hw.v[k].partition + 1) * (round + 1));
            }
            offset_checkpoint_free(&hw);
            fio_close(&fd);
        }
        open_dirs(2);
    }
    box_fini(&b);
}
END_TEST

static void write_meta(int dir, int id, const char *cluster)
{
    char text[200];

    (void)mkdir(path[dir], 0755);
    snprintf(text, sizeof text, "#\nversion=0\nbroker.id=%d\ncluster.id=%s\n", id, cluster);
    kit_spill(in(dir, META_PROPERTIES), text, strlen(text));
}

START_TEST(directories_that_disagree_are_refused)
{
    begin();
    write_meta(0, 1, CLUSTER);
    write_meta(1, 2, CLUSTER);
    fails(try_open(2), ERR_INVALID);
    write_meta(1, 1, "abcdefghijklmnopqrstuB");
    fails(try_open(2), ERR_INVALID);
    write_meta(0, 2, "abcdefghijklmnopqrstuB");
    write_meta(1, 2, "abcdefghijklmnopqrstuB");
    fails(try_open(2), ERR_INVALID);            /* each other's, but not ours */
    logmgr_free(&b.m);
    write_meta(0, 1, CLUSTER);
    ck_assert_int_eq(unlink(in(1, META_PROPERTIES)), 0);
    open_dirs(2);                               /* one that does not know yet learns it */
    ck_assert(kit_exists(in(1, META_PROPERTIES)));
    box_stop(&b);
    dirs[1] = path[0];
    fails(try_open(2), ERR_INVALID);            /* one directory under two names */
    ck_assert(kit_exists(in(0, CLEAN_SHUTDOWN)));
    box_fini(&b);
}
END_TEST

START_TEST(a_partition_in_two_directories_stops_the_start)
{
    begin();
    open_dirs(2);
    make("t", 2);
    box_stop(&b);
    ck_assert_int_eq(mkdir(in(0, "t-1"), 0755), 0);
    fails(try_open(2), ERR_INVALID);
    logmgr_free(&b.m);
    for (int i = 0; i < 2; i++)                 /* nothing has happened to them */
        ck_assert(kit_exists(in(i, CLEAN_SHUTDOWN)));
    ck_assert_int_eq(rmdir(in(0, "t-1")), 0);
    ck_assert_int_eq(mkdir(in(0, "nonsense"), 0755), 0);
    fails(try_open(2), ERR_INVALID);
    box_fini(&b);
}
END_TEST

START_TEST(a_directory_that_cannot_be_opened_is_offline)
{
    struct logmgr_create c = { .topic = STR_LIT("t"), .partition = 1, .opts = &b.log };
    struct logmgr_dir d;

    begin();
    open_dirs(2);
    make("t", 4);
    box_stop(&b);
    dirs[1] = "/proc/no-such-place/x";
    open_dirs(2);
    ck_assert_uint_eq(b.loaded.logs, 2);
    ok(logmgr_dir(b.m, 1, &d));
    ck_assert(d.offline);
    fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);      /* it may be there: not made anew */
    c.topic = STR_LIT("u");
    c.is_new = true;
    ok(logmgr_create(b.m, &c, 1));
    ck_assert_uint_eq(plog_dir_index(c.log), 0);
    plog_unref(&c.log);
    ok(logmgr_stop(b.m));
    logmgr_free(&b.m);
    dirs[1] = path[1];
    open_dirs(2);
    ck_assert_uint_eq(b.loaded.logs, 5);
    ck_assert_uint_eq(b.loaded.recovered, 0);
    box_stop(&b);
    dirs[0] = "/proc/no-such-place/x";                  /* the first one is not dispensable */
    ck_assert_int_ne(try_open(2), OK);
    box_fini(&b);
}
END_TEST

START_TEST(a_log_that_cannot_be_opened_is_offline_alone)
{
    struct logmgr_create c = { .topic = STR_LIT("t"), .partition = 1, .opts = &b.log };
    struct plog *l;

    begin();
    open_dirs(1);
    for (int i = 0; i < 3; i++) {
        c.partition = i;
        ok(logmgr_create(b.m, &c, 1));
        put(c.log, (struct put){ .n = 5 });
        commit(c.log);
        plog_unref(&c.log);
    }
    for (int clean = 1; clean >= 0; clean--) {
        if (clean)
            box_stop(&b);
        else
            box_crash(&b);
        kit_spill(in(0, "t-1/" PARTITION_METADATA), "nonsense", 8);
        fails(try_open(1), ERR_OFFLINE);
        ck_assert_uint_eq(b.loaded.ready, 2);
        ck_assert_uint_eq(b.loaded.failed, 1);
        fails(logmgr_find(b.m, STR_LIT("t"), 1, &l), ERR_OFFLINE);
        c.partition = 1;
        fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);
        ok(logmgr_find(b.m, STR_LIT("t"), 2, &l));
        put(l, (struct put){ .n = 5 });
        plog_unref(&l);
        ok(logmgr_stop(b.m));
        logmgr_free(&b.m);
        /* Closed cleanly before, it still is; not recovered, it must be the next time. */
        ck_assert_int_eq(kit_exists(in(0, CLEAN_SHUTDOWN)), clean);
        ck_assert_int_eq(unlink(in(0, "t-1/" PARTITION_METADATA)), 0);
        open_dirs(1);
        l = logmgr_get(b.m, STR_LIT("t"), 1);
        ck_assert_int_eq(plog_offsets(l).hw, 5);        /* kept in the checkpoint meanwhile */
        plog_unref(&l);
    }
    box_fini(&b);
}
END_TEST

/* ---- while logs load ------------------------------------------------------------------------------------------- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;       /* held: no log goes on */
static atomic_int      readies, losses;

static void gated_opts(void *arg, struct str topic, struct log_opts *out)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    box_opts(arg, topic, out);
}

static void count_ready(void *arg, struct str topic, int32_t partition, int rc)
{
    struct plog *l;

    (void)arg;
    atomic_fetch_add(rc == OK ? &readies : &losses, 1);
    ck_assert_int_eq(logmgr_find(b.m, topic, partition, &l), rc == OK ? OK : ERR_OFFLINE);
    plog_unref(&l);
}

/* Six logs of one record each, closed as told; then the loading has begun, and the gate is shut. */
static void begin_loading(bool clean)
{
    begin();
    open_dirs(2);
    for (int i = 0; i < 6; i++) {
        struct logmgr_create c = { .topic = STR_LIT("t"), .partition = i, .is_new = true, .opts = &b.log };
        ok(logmgr_create(b.m, &c, 1));
        put(c.log, (struct put){ 0 });
        commit(c.log);
        plog_unref(&c.log);
    }
    if (clean)
        box_stop(&b);
    else
        box_crash(&b);
    atomic_store(&readies, 0);
    atomic_store(&losses, 0);
    ok(logmgr_open(&b.o, &b.m));
    ok(logmgr_identify(b.m, 1, CLUSTER));
    logmgr_on_ready(b.m, count_ready, NULL);
    pthread_mutex_lock(&gate);
    ok(logmgr_load(b.m, gated_opts, &b));
}

START_TEST(logs_are_known_before_they_are_open)
{
    struct logmgr_create c = { .topic = STR_LIT("t"), .partition = 4, .is_new = true, .opts = &b.log };
    struct plog *l;

    begin_loading(true);
    ok(scheduler_new(&b.sched, 1));
    ok(logmgr_start(b.m, b.sched));
    fails(logmgr_wait_loaded(b.m, 0, &b.loaded), ERR_TIMEOUT);
    fails(logmgr_wait_loaded(b.m, 1, &b.loaded), ERR_TIMEOUT);
    ck_assert_uint_eq(b.loaded.logs, 6);
    ck_assert_uint_eq(b.loaded.ready, 0);
    fails(logmgr_find(b.m, STR_LIT("t"), 4, &l), ERR_BUSY);
    ck_assert_ptr_null(logmgr_get(b.m, STR_LIT("t"), 4));
    fails(logmgr_create(b.m, &c, 1), ERR_BUSY);
    fails(logmgr_move(b.m, STR_LIT("t"), 4, 1), ERR_BUSY);
    c.partition = 9;                            /* a new one need not wait */
    ok(logmgr_create(b.m, &c, 1));
    put(c.log, (struct put){ 0 });
    plog_unref(&c.log);
    ok(logmgr_delete(b.m, STR_LIT("t"), 4));    /* before its turn has come */
    c.partition = 4;
    ok(logmgr_create(b.m, &c, 1));
    ck_assert_int_eq(leo(c.log), 0);
    plog_unref(&c.log);
    pthread_mutex_unlock(&gate);
    ok(logmgr_wait_loaded(b.m, -1, &b.loaded));
    ck_assert_uint_eq(b.loaded.ready, 5);
    ck_assert_int_eq(atomic_load(&readies), 5);
    ck_assert_int_eq(atomic_load(&losses), 0);
    for (int i = 0; i < 6; i++) {
        ok(logmgr_find(b.m, STR_LIT("t"), i, &l));
        ck_assert_int_eq(leo(l), i != 4);
        plog_unref(&l);
    }
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* Of a directory that was clean the marker comes back; and what was not opened keeps its offsets. */
START_TEST(a_stop_does_not_wait_for_logs)
{
    for (int clean = 1; clean >= 0; clean--) {
        struct plog *l;

        begin_loading(clean);
        logmgr_end_loading(b.m);
        pthread_mutex_unlock(&gate);
        ok(logmgr_stop(b.m));
        ck_assert_int_lt(atomic_load(&readies), 6);
        logmgr_free(&b.m);
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(kit_exists(in(i, CLEAN_SHUTDOWN)), clean);
        open_dirs(2);
        ck_assert_uint_eq(b.loaded.recovered, clean ? 0 : 6);
        for (int i = 0; i < 6; i++) {
            ok(logmgr_find(b.m, STR_LIT("t"), i, &l));
            ck_assert_int_eq(leo(l), 1);
            if (clean)
                ck_assert_int_eq(plog_offsets(l).hw, 1);
            plog_unref(&l);
        }
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST

START_TEST(many_are_loaded_by_many_threads)
{
    begin();
    b.o.recovery_threads = 7;
    open_dirs(3);
    make("t", 300);
    box_crash(&b);
    for (int i = 0; i < 3; i++) {
        open_dirs(3);
        ck_assert_uint_eq(b.loaded.ready, 300);
        ck_assert_uint_eq(b.loaded.recovered, i < 2 ? 300 : 0);
        if (i == 0)
            box_crash(&b);
        else
            box_stop(&b);
    }
    box_fini(&b);
}
END_TEST

/* No log may be in two directories: it is made where a rest of that name is, and has nothing of it. */
START_TEST(a_log_is_made_where_its_rest_is)
{
    struct plog *l;

    begin();
    open_dirs(2);
    ck_assert_int_eq(mkdir(in(1, "t-0"), 0755), 0);
    kit_spill(in(1, "t-0/00000000000000000007.log"), "records of another topic", 24);
    make("t", 2);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_uint_eq(plog_dir_index(l), 1);
    plog_unref(&l);
    ck_assert(!kit_exists(in(0, "t-0")) && kit_exists(in(0, "t-1")));
    ck_assert(!kit_exists(in(1, "t-0/00000000000000000007.log")));
    box_stop(&b);
    open_dirs(2);
    ck_assert_uint_eq(b.loaded.logs, 2);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* What is none of ours is neither used nor deleted: a link may point to somebody's only copy. */
START_TEST(no_log_is_made_in_the_place_of_something_else)
{
    struct logmgr_create c = { .topic = STR_LIT("t"), .is_new = true, .opts = &b.log };

    begin();
    open_dirs(1);
    ck_assert_int_eq(mkdir(box_path(&b, "else"), 0755), 0);
    kit_spill(box_path(&b, "else/00000000000000000000.log"), "records", 7);
    ck_assert_int_eq(symlink("../else", in(0, "t-0")), 0);
    ck_assert_int_eq(symlink("../nowhere", in(0, "t-1")), 0);
    kit_spill(in(0, "t-2"), "a file", 6);
    for (c.partition = 0; c.partition < 3; c.partition++)
        fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);
    ck_assert_int_eq(mkdir(in(0, "__cluster_metadata-0"), 0755), 0);
    c.topic = STR_LIT("__cluster_metadata");
    c.partition = 0;
    fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);
    make("u", 1);                       /* the directory itself is well */
    box_stop(&b);
    ck_assert_uint_eq(kit_size(box_path(&b, "else/00000000000000000000.log")), 7);
    ck_assert(kit_exists(in(0, "__cluster_metadata-0")) && kit_size(in(0, "t-2")) == 6);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* A log that could not be made whole leaves nothing, so that the next attempt may be made elsewhere; or, where nothing
 * can be opened, what that attempt then finds. */
START_TEST(a_log_that_cannot_be_made_leaves_nothing)
{
    static const enum fio_op ops[] = { FIO_OPEN, FIO_WRITE, FIO_RENAME, FIO_MKDIR };

    for (size_t o = 0; o < sizeof ops / sizeof ops[0]; o++) {
        int failed = 0;

        for (int n = 1; n < 5; n++) {
            struct logmgr_create c = { .topic = STR_LIT("t"), .is_new = true, .topic_id = uuid_random(),
                                       .opts = &b.log };
            int rc;

            begin();
            ck_assert_int_eq(mkdir(path[0], 0755), 0);
            ck_assert_int_eq(mkdir(path[1], 0755), 0);
            open_dirs(2);
            fio_fail(ops[o], ENOSPC, n);
            rc = logmgr_create(b.m, &c, 1);
            fio_fail(ops[o], 0, 0);
            if (rc != OK) {
                failed++;
                fails(rc, ERR_NOSPACE);
                ck_assert_ptr_null(c.log);
                if (ops[o] != FIO_OPEN)
                    ck_assert(!kit_exists(in(0, "t-0")) && !kit_exists(in(1, "t-0")));
                make("u", 1);           /* from now on the other directory has fewer */
                ok(logmgr_create(b.m, &c, 1));
            }
            put(c.log, (struct put){ 0 });
            plog_unref(&c.log);
            box_stop(&b);
            open_dirs(2);
            box_stop(&b);
            box_fini(&b);
        }
        ck_assert_int_gt(failed, 0);
    }
}
END_TEST

static atomic_int told;

static void tell(void *arg, size_t dir_index, const char *failed)
{
    (void)arg;
    ck_assert_uint_eq(dir_index, 1);
    ck_assert_str_eq(failed, path[1]);
    atomic_fetch_add(&told, 1);
}

START_TEST(one_directory_fails_and_the_other_goes_on)
{
    struct logmgr_create c = { .topic = STR_LIT("u"), .is_new = true, .opts = &b.log };
    struct plog_appended out;
    struct plog *l[4];

    begin();
    open_dirs(2);
    make("t", 4);
    logmgr_on_offline(b.m, tell, NULL);
    atomic_store(&told, 0);
    for (int i = 0; i < 4; i++) {
        l[i] = logmgr_get(b.m, STR_LIT("t"), i);
        put(l[i], (struct put){ .n = 3 });
        commit(l[i]);
    }
    fio_fail(FIO_WRITE, EIO, 1);
    fails(try_put(l[1], (struct put){ 0 }, &out), ERR_OFFLINE);
    fio_fail(FIO_WRITE, 0, 0);
    ok(scheduler_new(&b.sched, 1));
    ok(logmgr_start(b.m, b.sched));
    while (atomic_load(&told) == 0)
        sched_yield();
    for (int i = 0; i < 4; i++) {
        struct plog *again;
        fails(try_put(l[i], (struct put){ 0 }, &out), i % 2 == 0 ? OK : ERR_OFFLINE);
        fails(logmgr_find(b.m, STR_LIT("t"), i, &again), i % 2 == 0 ? OK : ERR_OFFLINE);
        plog_unref(&again);
    }
    fails(logmgr_delete(b.m, STR_LIT("t"), 3), ERR_OFFLINE);
    ck_assert(kit_exists(in(1, "t-3")));
    fails(logmgr_move(b.m, STR_LIT("t"), 0, 1), ERR_OFFLINE);
    ok(logmgr_create(b.m, &c, 1));
    ck_assert_uint_eq(plog_dir_index(c.log), 0);
    plog_unref(&c.log);
    c.partition = 1;
    c.is_new = false;
    fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);
    for (int i = 0; i < 4; i++)
        plog_unref(&l[i]);
    fails(logmgr_stop(b.m), ERR_OFFLINE);
    ck_assert_int_eq(atomic_load(&told), 1);
    ck_assert(kit_exists(in(0, CLEAN_SHUTDOWN)));
    ck_assert(!kit_exists(in(1, CLEAN_SHUTDOWN)));
    scheduler_free(&b.sched);
    logmgr_free(&b.m);
    open_dirs(2);
    ck_assert_uint_eq(b.loaded.recovered, 2);
    for (int i = 0; i < 4; i++) {
        l[i] = logmgr_get(b.m, STR_LIT("t"), i);
        ck_assert_int_eq(leo(l[i]), i % 2 == 0 ? 4 : 3);
        kit_check_whole(l[i]);
        plog_unref(&l[i]);
    }
    box_stop(&b);
    box_fini(&b);
}
END_TEST
#endif

int main(void)
{
    const struct kit_test tests[] = {
        { new_logs_go_where_there_are_fewest, 0 },
        { each_directory_has_its_own_checkpoints, 0 },
        { directories_that_disagree_are_refused, 0 },
        { a_partition_in_two_directories_stops_the_start, 0 },
        { a_directory_that_cannot_be_opened_is_offline, 0 },
        { a_log_that_cannot_be_opened_is_offline_alone, 0 },
        { logs_are_known_before_they_are_open, 0 },
        { a_stop_does_not_wait_for_logs, 0 },
        { many_are_loaded_by_many_threads, 60 },
        { a_log_is_made_where_its_rest_is, 0 },
        { no_log_is_made_in_the_place_of_something_else, 0 },
#ifdef KLAMM_KILL_POINTS
        { a_log_that_cannot_be_made_leaves_nothing, 0 },
        { one_directory_fails_and_the_other_goes_on, 0 },
#endif
    };

    return kit_main("storage/dirs", tests, sizeof tests / sizeof tests[0]);
}
