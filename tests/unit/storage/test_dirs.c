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

int main(void)
{
    const struct kit_test tests[] = {
        { new_logs_go_where_there_are_fewest, 0 },
        { each_directory_has_its_own_checkpoints, 0 },
        { directories_that_disagree_are_refused, 0 },
        { a_partition_in_two_directories_stops_the_start, 0 },
        { a_directory_that_cannot_be_opened_is_offline, 0 },
        { a_log_that_cannot_be_opened_is_offline_alone, 0 },
    };

    return kit_main("storage/dirs", tests, sizeof tests / sizeof tests[0]);
}
