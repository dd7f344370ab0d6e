/* tests/unit/storage/kit.h - a log manager in a directory of its own, batches to put into its logs, and what comes out.
 *
 * A `box` is opened, used, and closed in one of two ways: box_stop() as a broker stops, box_crash() as by kill -9 (what
 * was not written is forgotten; the files stay as they are).
 */
#ifndef TESTS_UNIT_STORAGE_KIT_H
#define TESTS_UNIT_STORAGE_KIT_H

#include "base/crc32c.h"
#include "base/log.h"
#include "proto/records/builder.h"
#include "storage/fio.h"
#include "storage/logmgr_impl.h"
#include "storage/plog_impl.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sweeps that one thread makes take every KIT_THIN-th case only where the thread sanitizer would learn nothing more. */
#ifdef __SANITIZE_THREAD__
#define KIT_THIN 7
#else
#define KIT_THIN 1
#endif

/* Children end in the midst of their work, with the threads that they have: no leak. */
const char *__tsan_default_options(void)
{
    return "report_thread_leaks=0";
}

#define CLUSTER "abcdefghijklmnopqrstuA"
#define ok(e) ck_assert_int_eq((e), OK)
#define fails(e, rc) ck_assert_int_eq((e), (rc))

static int64_t kit_clock_ms = INT64_C(1700000000000);

static inline int64_t kit_now(void)
{
    return kit_clock_ms;
}

struct box {
    char               path[PATH_MAX];
    struct logmgr_opts o;
    struct log_opts    log;             /* of every topic */
    struct logmgr     *m;
    struct logmgr_loaded loaded;
    struct scheduler  *sched;
};

static inline void box_init(struct box *b)
{
    const char *tmp = getenv("TMPDIR");

    /* In memory if possible: these tests sync thousands of times. */
    if (tmp == NULL)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    *b = (struct box){ 0 };
    snprintf(b->path, sizeof b->path, "%s/klamm-storage-XXXXXX", tmp);
    ck_assert_ptr_nonnull(mkdtemp(b->path));
    logmgr_opts_init(&b->o);
    b->o.now_ms = kit_now;
    log_opts_init(&b->log);
    atomic_store(&log_threshold, LOG_FATAL);
}

static inline void box_opts(void *arg, struct str topic, struct log_opts *out)
{
    const struct box *b = arg;

    (void)topic;
    *out = b->log;
}

/* Opens all logs; an error also when one could not be opened. */
static inline int kit_load(struct logmgr *m, logmgr_opts_fn *opts_of, void *arg, struct logmgr_loaded *out)
{
    int rc = logmgr_load(m, opts_of, arg);

    if (rc == OK)
        rc = logmgr_wait_loaded(m, -1, out);
    return rc == OK && out->failed > 0 ? ERR_OFFLINE : rc;
}

static inline int box_try_open(struct box *b)
{
    const char *dirs[1] = { b->path };
    int rc;

    b->o.dirs = dirs;
    b->o.dirs_n = 1;
    rc = logmgr_open(&b->o, &b->m);
    if (rc == OK)
        rc = logmgr_identify(b->m, 1, CLUSTER);
    if (rc == OK)
        rc = kit_load(b->m, box_opts, b, &b->loaded);
    return rc;
}

static inline struct logdir *box_dir(const struct box *b)
{
    return &b->m->dirs[0].d;
}

static inline void box_open(struct box *b)
{
    ok(box_try_open(b));
}

/* With the syncer's thread and the periodic jobs. */
static inline void box_start(struct box *b)
{
    box_open(b);
    ok(scheduler_new(&b->sched, 2));
    ok(logmgr_start(b->m, b->sched));
}

static inline void box_stop(struct box *b)
{
    ok(logmgr_stop(b->m));
    scheduler_free(&b->sched);
    logmgr_free(&b->m);
}

static inline void box_crash(struct box *b)
{
    scheduler_free(&b->sched);
    logmgr_free(&b->m);
}

static inline int kit_remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static inline void kit_remove(const char *path)
{
    (void)nftw(path, kit_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void box_fini(struct box *b)
{
    if (b->m != NULL)
        box_crash(b);
    kit_remove(b->path);
}

/* The log of topic `t`, made if it is not there. One reference. */
static inline struct plog *box_log(struct box *b, const char *topic)
{
    struct logmgr_create c = { .topic = str_of(topic), .opts = &b->log };

    ok(logmgr_create(b->m, &c, 1));
    return c.log;
}

/* ---- files of a box ------------------------------------------------------------------------------------------ */

static inline const char *box_path(const struct box *b, const char *rest)
{
    static char path[4][PATH_MAX + 1024];
    static unsigned at;

    snprintf(path[++at % 4], sizeof path[0], "%s/%.900s", b->path, rest);
    return path[at % 4];
}

static inline bool kit_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline uint8_t *kit_slurp(const char *path, size_t *n)
{
    uint8_t *p = NULL;

    ok(fio_read_file(AT_FDCWD, path, (size_t)1 << 30, &p, n));
    return p;
}

static inline void kit_spill(const char *path, const void *p, size_t n)
{
    int fd;

    ok(fio_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, &fd));
    ok(fio_pwrite(fd, p, n, 0));
    fio_close(&fd);
}

static inline size_t kit_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static inline void kit_flip(const char *path, size_t at, uint8_t bits)
{
    uint8_t c;
    int fd;

    ok(fio_open(AT_FDCWD, path, O_RDWR, &fd));
    ok(fio_pread_all(fd, &c, 1, (int64_t)at));
    c ^= bits;
    ok(fio_pwrite(fd, &c, 1, (int64_t)at));
    fio_close(&fd);
}

/* The last broker ran before the machine was started again: nothing past the recovery point can be trusted. */
static inline void box_reboot(struct box *b)
{
    kit_spill(box_path(b, BOOT_MARK), "another boot\n", 13);
}

static inline int kit_not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* Sums names and contents of all files in a directory of plain files. */
static inline uint32_t kit_sum(const char *path)
{
    struct dirent **v;
    int n = scandir(path, &v, kit_not_dots, alphasort);
    uint32_t crc = 0;

    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        char file[PATH_MAX + 1024];
        size_t len;
        snprintf(file, sizeof file, "%s/%s", path, v[i]->d_name);
        uint8_t *p = kit_slurp(file, &len);
        crc = crc32c(crc, v[i]->d_name, strlen(v[i]->d_name));
        crc = crc32c(crc, p, len);
        free(p);
        free(v[i]);
    }
    free(v);
    return crc;
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

struct put {
    int     n;                          /* records; 0: 1 */
    int64_t ts;                         /* of the first; the others one ms apart. 0: the clock */
    size_t  value;                      /* bytes of each value */
    int64_t pid;                        /* 0: none */
    int16_t epoch;
    int32_t seq;
    int32_t leader_epoch;
};

/* malloc'ed */
static inline uint8_t *kit_batch(struct put w, size_t *len)
{
    struct builder_opts o;
    struct builder b;
    struct arena a;
    struct bytes out;
    uint8_t *value = malloc(w.value + 1), *p;

    builder_opts_init(&o);
    if (w.pid > 0) {
        o.producer_id = w.pid;
        o.producer_epoch = w.epoch;
        o.base_sequence = w.seq;
    }
    for (size_t i = 0; i < w.value; i++)
        value[i] = (uint8_t)(i * 7 + (size_t)w.ts);
    arena_init(&a, (size_t)64 << 20);
    builder_init(&b, &o, &a);
    for (int i = 0; i < (w.n > 0 ? w.n : 1); i++) {
        struct record r = { .offset = i, .timestamp = (w.ts != 0 ? w.ts : kit_clock_ms) + i,
                            .value = { value, w.value } };
        builder_add(&b, &r);
    }
    ok(builder_finish(&b, &out));
    p = malloc(out.len);
    memcpy(p, out.p, out.len);
    *len = out.len;
    builder_fini(&b);
    arena_fini(&a);
    free(value);
    return p;
}

static inline int try_put(struct plog *l, struct put w, struct plog_appended *out)
{
    struct plog_append in = { .leader_epoch = w.leader_epoch };
    int rc;

    in.p = kit_batch(w, &in.len);
    rc = plog_append(l, &in, out);
    free(in.p);
    return rc;
}

/* Base offset of what was appended. */
static inline int64_t put(struct plog *l, struct put w)
{
    struct plog_appended out;

    ok(try_put(l, w, &out));
    return out.base_offset;
}

static inline int64_t leo(const struct plog *l)
{
    return plog_offsets(l).leo;
}

static inline void commit(struct plog *l)
{
    plog_set_hw(l, leo(l), NULL);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Everything from `offset` to the LEO, malloc'ed; every batch sound, and offsets without a gap. */
static inline uint8_t *kit_read_all(struct plog *l, int64_t offset, size_t *len)
{
    int64_t end = leo(l);
    uint8_t *all = malloc((size_t)plog_size_bytes(l) + 1);
    bool first = true;

    *len = 0;
    while (offset < end) {
        struct plog_read r;
        struct batch_iter it;
        uint8_t *p;
        ok(plog_read(l, offset, INT64_MAX, 1 << 20, true, &r));
        ck_assert(!slice_is_null(r.records));
        p = malloc(r.records.len);
        ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
        batch_iter_init(&it, (struct bytes){ p, r.records.len });
        while (batch_iter_next(&it)) {
            ok(batch_check(&it.head, it.p));
            if (first)
                ck_assert(it.head.base_offset <= offset && offset <= it.head.last_offset);
            else
                ck_assert_int_eq(it.head.base_offset, offset);
            first = false;
            offset = it.head.last_offset + 1;
        }
        ok(it.rc);
        ck_assert_uint_gt(it.pos, 0);
        memcpy(all + *len, p, it.pos);
        *len += it.pos;
        free(p);
        plog_read_done(&r);
    }
    ck_assert_int_eq(offset, end);
    return all;
}

static inline void kit_check_whole(struct plog *l)
{
    size_t n;

    free(kit_read_all(l, plog_offsets(l).start, &n));
}

/* ---- the suite ----------------------------------------------------------------------------------------------- */

struct kit_test {
    const TTest *fn;
    int          timeout_s;
};

static inline int kit_main(const char *name, const struct kit_test *v, size_t n)
{
    Suite *s = suite_create(name);
    SRunner *r = srunner_create(s);
    int failed;

    for (size_t i = 0; i < n; i++) {
        TCase *t = tcase_create(v[i].fn->name);
        tcase_set_timeout(t, v[i].timeout_s > 0 ? v[i].timeout_s : 30);
        tcase_add_test(t, v[i].fn);
        suite_add_tcase(s, t);
    }
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
