/* tests/unit/storage/test_kill.c - a child loads three logs and dies at one named point after the other;
 * what it was told is in them must be there, once and at its offset, and opening twice must give the same bytes.
 *
 * Only sanitizer builds have the points; elsewhere the test has nothing to do and says so.
 */
#include "storage/logmgr_impl.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit_txn.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ACKED_MAX 4096
#define PASSED_NOT 77

/* Shared with the child: what it was told. */
struct acked {
    struct {
        int64_t  base, last;
        uint32_t sum;                   /* of the batch from its attributes on */
    } v[ACKED_MAX];
    atomic_size_t n;
    atomic_bool   finished;
};

static struct acked *acked;
static struct box b;

static void put_acked(struct plog *l, int i, int32_t *seq)
{
    struct put w = { .n = 1 + i % 3, .value = 50, .ts = kit_clock_ms + i, .leader_epoch = i / 40 };
    struct plog_append in = { .leader_epoch = w.leader_epoch };
    struct plog_appended out;
    size_t k;

    if (i % 2 == 0) {
        w.pid = 6;
        w.seq = *seq;
        *seq += w.n;
    }
    in.p = kit_batch(w, &in.len);
    if (plog_append(l, &in, &out) != OK)
        _exit(3);
    k = atomic_load(&acked->n);
    acked->v[k].base = out.base_offset;
    acked->v[k].last = out.last_offset;
    acked->v[k].sum = crc32c(0, in.p + 21, in.len - 21);
    atomic_store(&acked->n, k + 1);
    free(in.p);
}

static void sync_all(void)
{
    struct plog **v;
    size_t n;

    if (logmgr_list(b.m, &v, &n) != OK || syncer_all(box_dir(&b)->syncer, v, n) != OK)
        _exit(4);
    logmgr_list_free(&v, n);
}

/* What only a leader that is gone had: nobody was told of it, and it is cut off again. */
static void put_and_cut(struct plog *l)
{
    int64_t end = leo(l);

    for (int i = 0; i < 30; i++)
        put(l, (struct put){ .n = 2, .value = 60, .leader_epoch = 2 });
    sync_all();
    if (plog_truncate(l, end) != OK || leo(l) != end)
        _exit(10);
}

/* Transactions of three producers, some aborted. */
static void txn_step(struct plog *l, int i, int32_t seq[4])
{
    int64_t pid = 1 + i % 3;

    (void)data(l, (struct txn){ .pid = pid, .seq = seq[pid], .n = 1 + i % 2 });
    seq[pid] += 1 + i % 2;
    if (i % 4 == 3)
        (void)end_txn(l, 1 + i / 4 % 3, i % 8 == 3 ? CONTROL_ABORT : CONTROL_COMMIT);
    if (i % 20 == 19)
        commit(l);
}

/* All that storage does, on one thread, so that the n-th pass of a point is always the same one. */
static void load(void)
{
    struct logmgr_create c = { .topic = STR_LIT("t"), .opts = &b.log, .topic_id = uuid_random() };
    struct plog *l, *other, *txns;
    int32_t seq = 0, txn_seq[4] = { 0 };
    size_t gone;

    if (box_try_open(&b) != OK || logmgr_create(b.m, &c, 1) != OK)
        _exit(5);
    l = c.log;
    txns = box_log(&b, "txns");
    for (int i = 0; i < 90; i++) {
        put_acked(l, i, &seq);
        txn_step(txns, i, txn_seq);
        if (i % 30 == 10)
            sync_all();
        if (i % 20 == 13 && plog_flush(l) != OK)
            _exit(12);
        if (i == 45) {
            commit(l);
            if (plog_retain(l, kit_now(), &gone) != OK)
                _exit(6);
            (void)logdir_empty_trash(box_dir(&b), true);
        }
        if (i == 70)
            put_and_cut(l);
        if (i == 60) {
            other = box_log(&b, "gone");
            put(other, (struct put){ 0 });
            plog_unref(&other);
            if (logmgr_delete(b.m, STR_LIT("gone"), 0) != OK)
                _exit(7);
            (void)logdir_empty_trash(box_dir(&b), true);
            other = box_log(&b, "gone");        /* again, before the checkpoints know */
            put(other, (struct put){ 0 });
            plog_unref(&other);
        }
    }
    if (plog_truncate(txns, leo(txns) - 20) != OK)
        _exit(11);
    plog_unref(&txns);
    plog_unref(&l);
    if (logmgr_stop(b.m) != OK)
        _exit(8);
    logmgr_free(&b.m);
    /* And the recovery of it all, as if it had not been stopped. */
    if (unlink(box_path(&b, CLEAN_SHUTDOWN)) != 0 || unlink(box_path(&b, CHECKPOINT_RECOVERY_POINT)) != 0 ||
        box_try_open(&b) != OK)
        _exit(9);
    logmgr_free(&b.m);
    atomic_store(&acked->finished, true);
    _exit(0);
}

static void check_acked(struct plog *l)
{
    size_t n, at = 0;
    struct plog_offsets o = plog_offsets(l);
    uint8_t *p = kit_read_all(l, o.start, &n);
    struct batch_iter it;

    while (at < atomic_load(&acked->n) && acked->v[at].last < o.start)
        at++;
    batch_iter_init(&it, (struct bytes){ p, n });
    while (batch_iter_next(&it) && at < atomic_load(&acked->n)) {
        ck_assert_int_eq(it.head.base_offset, acked->v[at].base);
        ck_assert_int_eq(it.head.last_offset, acked->v[at].last);
        ck_assert_uint_eq(crc32c(0, it.p + 21, it.head.size_bytes - 21), acked->v[at].sum);
        at++;
    }
    ck_assert_uint_eq(at, atomic_load(&acked->n));
    free(p);
}

static void check_after_death(bool reboot)
{
    struct plog *l;
    static const char *const names[] = { "t-0", "txns-0" };
    uint32_t sum[2] = { 0 };

    for (int i = 0; i < 2; i++) {
        if (reboot)
            box_reboot(&b);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        if (l == NULL)
            ck_assert_uint_eq(atomic_load(&acked->n), 0);
        else
            check_acked(l);
        plog_unref(&l);
        l = logmgr_get(b.m, STR_LIT("txns"), 0);
        if (l != NULL)
            kit_check_txns(l);
        plog_unref(&l);
        box_crash(&b);
        for (size_t k = 0; k < 2; k++) {
            if (!kit_exists(box_path(&b, names[k])))
                continue;
            if (i > 0)
                ck_assert_uint_eq(kit_sum(box_path(&b, names[k])), sum[k]);
            sum[k] = kit_sum(box_path(&b, names[k]));
        }
    }
    /* It goes on. */
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .n = 2 });
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
}

/* Loads, dies and checks; exits with PASSED_NOT if the child came to its end instead. */
static void die_and_check(const char *point, int pass)
{
    char at[100];
    int status;
    pid_t pid;

    box_init(&b);
    b.log.segment_bytes = 1500;
    b.log.index_interval_bytes = 100;
    b.log.retention_bytes = 3000;
    b.log.retention_ms = -1;
    b.log.file_delete_delay_ms = 0;
    snprintf(at, sizeof at, "%s:%d", point, pass);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setenv("KLAMM_KILL_AT", at, 1);
        load();
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) {
        ck_assert_msg(WEXITSTATUS(status) == 0 && atomic_load(&acked->finished), "%s: the child failed with %d", at,
                      WEXITSTATUS(status));
    } else {
        ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    }
    check_after_death(pass % 2 == 0);
    box_fini(&b);
    _exit(WIFSIGNALED(status) ? 0 : PASSED_NOT);
}

/* In a process of its own, since kill points are read from the environment once. False: there is no n-th pass. */
static bool die_at(const char *point, int pass)
{
    int status;
    pid_t pid;

    memset(acked, 0, sizeof *acked);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        die_and_check(point, pass);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == PASSED_NOT),
                  "%s:%d: what is left is not what was acknowledged", point, pass);
    return WEXITSTATUS(status) == 0;
}

START_TEST(what_was_acknowledged_survives_a_death_anywhere)
{
    static const char *const points[] = {
        "append.written", "append.published", "segment.file_created", "roll.created", "snapshot.written",
        "index.written", "delete.renamed", "delete.dir_renamed", "trash.file_removed", "create.mkdir",
        "replace.created", "replace.written", "replace.renamed", "sync.files_done", "sync.before_rename",
        "checkpoint.written", "stop.before_marker", "open.marker_removed", "recover.index_cut",
        "recover.segment_done", "truncate.checkpointed", "truncate.segment_gone", "truncate.index_cut",
        "truncate.log_cut", "flush.synced", "create.unlisted",
    };
    size_t deaths = 0;

    acked = mmap(NULL, sizeof *acked, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(acked != MAP_FAILED);
    if (die_at("append.written", 1)) {
        for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
            int pass = 1;
            ck_assert_msg(die_at(points[i], pass), "%s is never passed", points[i]);
            deaths++;
            for (pass = 2; pass < 60 && die_at(points[i], pass); pass += pass < 10 ? 1 : 5)
                deaths++;
        }
        printf("%zu deaths\n", deaths);
        ck_assert_uint_gt(deaths, 100);
    } else {
        printf("skipped: this build has no kill points (SANITIZE=address or thread has them)\n");
    }
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = { { what_was_acknowledged_survives_a_death_anywhere, 200 } };

    return kit_main("storage/kill", tests, sizeof tests / sizeof tests[0]);
}
