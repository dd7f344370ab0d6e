/* tests/unit/storage/test_cleaner_kill.c - a child compacts a log and dies at one named point after the other; what
 * must not go is there, and the next cleaning goes on from whatever was left. Also what happens when a call fails.
 *
 * Only sanitizer builds have the points; elsewhere the test has nothing to do and says so.
 */
#include "storage/syncer.h"
#include "tests/unit/storage/cleaner_kit.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define RECORDS_MAX 20000
#define PASSED_NOT  77

struct shared {
    struct model model;                 /* its arena is the child's */
    struct mrec  v[RECORDS_MAX];
};

static struct shared *shared;
static struct box b;

static void prepare(struct box *x)
{
    box_init(x);
    x->log.segment_bytes = 3000;
    x->log.index_interval_bytes = 200;
    x->log.compact_policy = true;
    x->log.delete_policy = false;
}

static void sync_all(void)
{
    struct plog **v;
    size_t n;

    if (logmgr_list(b.m, &v, &n) != OK || syncer_all(box_dir(&b)->syncer, v, n) != OK)
        _exit(4);
    logmgr_list_free(&v, n);
}

static void load(void)
{
    struct model *m = &shared->model;
    struct plog *l;

    if (box_try_open(&b) != OK)
        _exit(5);
    l = box_log(&b, "t");
    model_init(m, 3, 40);
    m->v = shared->v;
    m->cap = RECORDS_MAX;
    for (int round = 0; round < 2; round++) {
        model_fill(m, l, 100);
        sync_all();
        (void)clean(l);
    }
    _exit(0);
}

/* Whatever was compacted: the last of each key is there, and all that is there is as it was. */
static void check_survivors(struct plog *l, struct model *m)
{
    struct seen s = { .m = m };
    size_t len;

    for (size_t i = 0; i < m->n; i++)
        m->v[i].seen = false;
    free(read_compacted(l, &s, &len));
    for (int k = 0; k < m->keys; k++) {
        const struct mrec *last = NULL;
        for (size_t i = 0; i < m->n; i++)
            if (m->v[i].key == k && is_decided(&m->v[i]))
                last = &m->v[i];
        ck_assert_msg(last == NULL || last->seen, "the last record of key %d, at %" PRId64 ", is lost", k,
                      last->offset);
    }
    check_markers(m);
}

/* The child runs fn with the kill point; what became of it. */
static int run_child(const char *point, int pass, void (*fn)(void))
{
    char at[100];
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        snprintf(at, sizeof at, "%s:%d", point, pass);
        setenv("KLAMM_KILL_AT", at, 1);
        fn();
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%s:%d: the child failed", point, pass);
    return status;
}

static void open_only(void)
{
    _exit(box_try_open(&b) == OK ? 0 : 6);
}

static void check_after_death(bool reboot)
{
    struct model *m = &shared->model;
    uint32_t sum[2];
    struct plog *l;
    size_t len;

    for (int i = 0; i < 2; i++) {
        if (reboot)
            box_reboot(&b);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_ptr_nonnull(l);
        check_survivors(l, m);
        plog_unref(&l);
        box_crash(&b);
        sum[i] = kit_sum(box_path(&b, "t-0"));
    }
    ck_assert_uint_eq(sum[0], sum[1]);
    box_open(&b);
    l = box_log(&b, "t");
    commit(l);
    (void)clean(l);
    free(check_log(l, m, true, &len));
    plog_unref(&l);
    box_stop(&b);
}

static void die_and_check(const char *point, int pass, const char *again)
{
    int status;

    prepare(&b);
    status = run_child(point, pass, load);
    if (WIFSIGNALED(status) && again != NULL)
        for (int i = 1; i < 4; i++)
            (void)run_child(again, i, open_only);
    if (WIFSIGNALED(status))
        check_after_death(pass % 2 == 0);
    box_fini(&b);
    _exit(WIFSIGNALED(status) ? 0 : PASSED_NOT);
}

/* False: there is no such pass. */
static bool die_at(const char *point, int pass, const char *again)
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        die_and_check(point, pass, again);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == PASSED_NOT),
                  "%s:%d: what is left is not what it should be", point, pass);
    return WEXITSTATUS(status) == 0;
}

START_TEST(a_death_in_compaction_loses_nothing)
{
    static const char *const points[] = {
        "clean.created", "clean.log_written", "clean.index_written", "clean.before_swap", "clean.renamed",
        "clean.decided", "delete.renamed", "clean.old_gone", "clean.done",
    };
    size_t deaths = 0;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    if (!die_at("clean.created", 1, NULL)) {
        printf("skipped: this build has no kill points (SANITIZE=address or thread has them)\n");
        return;
    }
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        ck_assert_msg(die_at(points[i], 1, NULL), "%s is never passed", points[i]);
        for (int pass = 2; pass < 40 && die_at(points[i], pass, NULL); pass += pass < 12 ? 1 : 7)
            deaths++;
    }
    /* And once more while the next start puts things in order. */
    for (int pass = 1; pass < 8; pass++) {
        deaths += die_at("clean.renamed", pass, "swap.renamed");
        deaths += die_at("delete.renamed", pass, "swap.removed");
        deaths += die_at("clean.renamed", pass, "swap.removed");
    }
    printf("%zu deaths\n", deaths);
    ck_assert_uint_gt(deaths, 60);
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* The n-th call of this kind fails while a log is compacted. False: there are not that many. */
static bool fail_at(enum fio_op op, int err, int n)
{
    struct cleaner_result r;
    struct cleaner_job job;
    struct model m;
    struct plog *l;
    size_t len;
    int rc;

    prepare(&b);
    box_open(&b);
    l = box_log(&b, "t");
    model_init(&m, 4, 40);
    model_fill(&m, l, 60);
    job = job_of(l);
    fio_fail(op, err, n);
    rc = cleaner_clean(l, &job, &r);
    fio_fail(op, 0, 0);
    if (rc == OK)
        l->cleaned_to = r.end;
    else if (err == ENOSPC && op == FIO_WRITE)
        ck_assert_int_eq(rc, ERR_NOSPACE);
    if (logdir_offline(box_dir(&b))) {
        plog_unref(&l);
        box_crash(&b);
        box_open(&b);
        l = box_log(&b, "t");
        commit(l);
    } else {
        check_survivors(l, &m);
    }
    (void)clean(l);
    free(check_log(l, &m, true, &len));
    for (size_t i = 0; i < l->n; i++)
        ck_assert(!segment_replaced(l->segs[i]));
    model_fini(&m);
    plog_unref(&l);
    box_fini(&b);
    return rc != OK;
}

/* How many names of files in the log's directory end so. */
static size_t names_with(const char *end)
{
    struct dirent **v;
    int n = scandir(box_path(&b, "t-0"), &v, kit_not_dots, alphasort);
    size_t found = 0;

    for (int i = 0; i < n; i++) {
        size_t len = strlen(v[i]->d_name), k = strlen(end);
        found += len > k && strcmp(v[i]->d_name + len - k, end) == 0;
        free(v[i]);
    }
    free(v);
    return found;
}

/* Both changes of names are waited for (C2): the n-th sync fails, and what has its name by then is looked at. From one
 * group of segments to the next there is one sync more than before the first: that of the names without .swap. */
START_TEST(names_are_on_the_disk_in_their_order)
{
    int before = 0, decided = 0, between = 0, rc = ERR_IO;

    for (int n = 1; rc != OK && decided < 2; n++) {
        struct cleaner_result r;
        struct cleaner_job job;
        size_t swaps, gone;
        struct model m;
        struct plog *l;
        prepare(&b);
        box_open(&b);
        l = box_log(&b, "t");
        model_init(&m, 4, 40);
        m.txns = false;
        model_fill(&m, l, 60);
        job = job_of(l);
        fio_fail(FIO_SYNC, EIO, n);
        rc = cleaner_clean(l, &job, &r);
        fio_fail(FIO_SYNC, 0, 0);
        swaps = names_with(".swap");
        gone = names_with(".deleted");
        if (swaps > 0)
            ck_assert(gone == 0 || decided == 1);
        decided += swaps > 0;
        before += swaps == 0 && gone == 0;
        between += swaps == 0 && gone > 0;
        model_fini(&m);
        plog_unref(&l);
        box_fini(&b);
    }
    ck_assert_int_eq(decided, 2);
    ck_assert_int_eq(before, 3);        /* .log and two indexes */
    ck_assert_int_eq(between, before + 1);
}
END_TEST

START_TEST(a_call_that_fails_changes_nothing_or_takes_the_directory_offline)
{
    static const struct {
        enum fio_op op;
        int         err;
    } kinds[] = {
        { FIO_WRITE, ENOSPC }, { FIO_WRITE, EIO }, { FIO_OPEN, EMFILE }, { FIO_RENAME, EIO }, { FIO_RENAME, ENOSPC },
        { FIO_SYNC, EIO }, { FIO_READ, EIO },
    };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int n = 1; n < 60 && fail_at(kinds[i].op, kinds[i].err, n); n += n < 15 ? 1 : 7) {
        }
}
END_TEST
#else
START_TEST(a_call_that_fails_changes_nothing_or_takes_the_directory_offline)
{
    printf("skipped: this build cannot let calls fail\n");
}
END_TEST
#endif

int main(void)
{
    const struct kit_test tests[] = {
        { a_death_in_compaction_loses_nothing, 280 },
#ifdef KLAMM_KILL_POINTS
        { names_are_on_the_disk_in_their_order, 60 },
#endif
        { a_call_that_fails_changes_nothing_or_takes_the_directory_offline, 280 },
    };

    return kit_main("storage/cleaner_kill", tests, sizeof tests / sizeof tests[0]);
}
