/* tests/unit/metadata/test_store.c - the embedded metadata store: what a tree of versioned nodes promises,
 * watches, group commit, and what is left after kill -9. */
#include "metadata/lmdb_store.h"

#include "base/clock.h"
#include "base/lock.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCENES_ALONE true
#define SCENES_MANY  20000
#include "tests/unit/metadata/store_scenes.h"

static char dir[64];

static void expire(void)
{
    lmdb_store_expire(store);
}

static void open_store(void)
{
    ck_assert_int_eq(lmdb_store_open(&store, dir), OK);
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/klamm-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_store();
}

static void teardown(void)
{
    char path[128];

    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    unlink(path);
    rmdir(dir);
}

/* ---- crashes ------------------------------------------------------------------------------------------------ */

/* The child creates /n/0, /n/1, ..., each with a partner /m/i in the same multi, and reports each answered number
 * through a pipe; it is killed in the middle. Nothing answered may be missing, no multi may be torn. */
static void crash_child(int fd)
{
    struct store *s;

    if (lmdb_store_open(&s, dir) != OK)
        _exit(3);
    for (int i = 0;; i++) {
        struct store_call *c = store_call_new(NULL, NULL);
        char a[32], b[32];

        snprintf(a, sizeof a, "/n/%d", i);
        snprintf(b, sizeof b, "/m/%d", i);
        store_create(c, a, text("x"), 0);
        store_create(c, b, text("x"), i % 3 == 0 ? STORE_EPHEMERAL : 0);
        if (store_run(s, c) != OK || write(fd, &i, sizeof i) != sizeof i)
            _exit(4);
        store_call_free(&c);
    }
}

START_TEST(kill_9_loses_nothing_that_was_answered)
{
    ck_assert_int_eq(create("/n", "", 0), OK);
    ck_assert_int_eq(create("/m", "", 0), OK);
    for (int round = 0; round < 8; round++) {
        int fds[2], n, got = -1, enough = 5 + round * 17, status;
        pid_t pid;

        store_free(&store);
        ck_assert_int_eq(pipe(fds), 0);
        pid = fork();
        if (pid == 0)
            crash_child(fds[1]);
        close(fds[1]);
        while (got < enough && read(fds[0], &n, sizeof n) == sizeof n)
            got = n;
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        while (read(fds[0], &n, sizeof n) == sizeof n)
            got = n;
        close(fds[0]);
        ck_assert_int_ge(got, enough);
        open_store();
        for (int i = 0; i <= got + 1; i++) {
            char a[32], b[32];
            int one, two;

            snprintf(a, sizeof a, "/n/%d", i);
            snprintf(b, sizeof b, "/m/%d", i);
            one = del(a, STORE_ANY_VERSION);
            two = del(b, STORE_ANY_VERSION);
            if (i <= got)
                ck_assert_int_eq(one, OK);
            ck_assert_int_eq(two, i % 3 == 0 ? ERR_NOENT : one);
        }
        check_children("/n", "");
        check_children("/m", "");
    }
}
END_TEST

START_TEST(a_file_that_is_not_ours_or_is_in_use_is_refused)
{
    char path[128];
    struct store *other;
    int fd;

    ck_assert_int_eq(lmdb_store_open(&other, dir), ERR_BUSY);
    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(write(fd, "not a database, ", 16), 16);
    close(fd);
    ck_assert_int_eq(lmdb_store_open(&store, dir), ERR_CORRUPT);
    unlink(path);
    open_store();
    ck_assert_int_eq(create("/a", "", 0), OK);
}
END_TEST

/* The file may not grow: writes are refused with a reason, reads go on, and when there is room again all is well. */
START_TEST(a_full_disk_refuses_writes_only)
{
    struct rlimit was, tight;
    static char big[5000];
    int n = 0, rc;

    memset(big, 'x', sizeof big - 1);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(create("/a", "before", 0), OK);
    ck_assert_int_eq(create("/p", "", 0), OK);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = (struct rlimit){ 200 * 1024, was.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    do {
        char path[32];

        snprintf(path, sizeof path, "/p/%d", n);
        rc = create(path, big, 0);
        n += rc == OK;
    } while (rc == OK && n < 1000);
    ck_assert_int_ne(rc, OK);
    ck_assert_int_lt(n, 1000);
    check_value("/a", "before");
    ck_assert_int_eq(set("/a", "refused", 5), ERR_VERSION);
    ck_assert_int_eq(exists("/absent", 0), ERR_NOENT);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    ck_assert_int_eq(set("/a", "after", 0), OK);
    store_free(&store);
    open_store();
    check_value("/a", "after");
    ck_assert_int_eq(children("/p", 0), OK);
    ck_assert_uint_eq(last->ops[0].children_n, (size_t)n);
}
END_TEST

/* Puts /dev/full in the place of the descriptor by which LMDB writes its heads (it is the one with O_DSYNC). */
static int break_heads(void)
{
    int n = 0, full = open("/dev/full", O_WRONLY);

    for (int fd = 3; fd < 200; fd++) {
        char link[64], path[256];
        ssize_t len;

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        len = readlink(link, path, sizeof path - 1);
        path[len > 0 ? len : 0] = '\0';
        if (fd != full && strstr(path, LMDB_STORE_FILE) != NULL && strstr(path, "-lock") == NULL &&
            (fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
            ck_assert_int_eq(dup2(full, fd), fd);
            n++;
        }
    }
    close(full);
    return n;
}

START_TEST(a_failed_head_is_survived)
{
    ck_assert_int_eq(create("/a", "before", 0), OK);
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(break_heads(), 1);
    ck_assert_int_ne(create("/b", "", 0), OK);
    check_value("/a", "before");                                /* here, or by now, the file has been opened anew */
    ck_assert_int_eq(set("/a", "after", 0), OK);
    ck_assert_int_eq(exists("/e", 0), OK);                      /* the session goes on */
    store_free(&store);
    open_store();
    check_value("/a", "after");
    ck_assert_int_eq(exists("/e", 0), ERR_NOENT);
}
END_TEST

START_TEST(the_files_are_plain_files)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata/store");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
#define ADD(scene) tcase_add_test(t, scene);
    SCENES(ADD)
#undef ADD
    tcase_add_test(t, kill_9_loses_nothing_that_was_answered);
    tcase_add_test(t, a_file_that_is_not_ours_or_is_in_use_is_refused);
    tcase_add_test(t, a_full_disk_refuses_writes_only);
    tcase_add_test(t, a_failed_head_is_survived);
    tcase_add_test(t, the_files_are_plain_files);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
