/* tests/unit/storage/test_golden_clean.c - every partition that Apache Kafka wrote, compacted by us: the last record of
 * each key that is not of an aborted transaction stays as it was, all else goes, whatever the format. Needs golden data
 * (KLAMM_SHARED, or shared beside the checkout); without it the tests say that they are skipped.
 */
#include "base/crc32c.h"
#include "storage/cleaner_pass.h"
#include "tests/unit/storage/kit.h"

#include <sys/wait.h>

static struct box b;

struct rec {
    int64_t offset, pid;
    struct bytes key;                   /* malloc'ed; p NULL: null */
    uint32_t sum;                       /* of key, value, headers and timestamp */
    bool    txn, aborted, marker, abort, tombstone;
};

struct recs {
    struct rec *v;
    size_t      n, cap;
};

static void add(struct recs *rs, const struct batch_head *h, const struct record *r)
{
    struct control_record c = { 0 };
    struct rec e = { .offset = r->offset, .pid = h->producer_id, .txn = batch_is_txn(h), .marker = batch_is_control(h),
                     .tombstone = r->value.p == NULL };
    uint8_t t[8];

    if (e.marker && control_record_read(r, &c) == OK)
        e.abort = c.type == CONTROL_ABORT;
    if (r->key.p != NULL) {
        uint8_t *key = malloc(r->key.len + 1);
        memcpy(key, r->key.p, r->key.len);
        e.key = (struct bytes){ key, r->key.len };
    }
    be_put64(t, (uint64_t)r->timestamp);
    e.sum = crc32c(crc32c(crc32c(crc32c(7, r->key.p, r->key.len), r->value.p, r->value.len), r->headers.p,
                          r->headers.len), t, sizeof t);
    if (rs->n == rs->cap) {
        rs->cap = rs->cap == 0 ? 1024 : rs->cap * 2;
        rs->v = realloc(rs->v, rs->cap * sizeof *rs->v);
    }
    rs->v[rs->n++] = e;
}

static void free_recs(struct recs *rs)
{
    for (size_t i = 0; i < rs->n; i++)
        free((void *)(uintptr_t)rs->v[i].key.p);
    free(rs->v);
}

/* All records, by segment, below the log's start too. */
static void read_records(struct plog *l, struct recs *out)
{
    *out = (struct recs){ 0 };
    for (size_t i = 0; i < l->n; i++) {
        struct batch_reader r;
        ok(batch_reader_init(&r, 1 << 16));
        ok(batch_reader_open(&r, l->segs[i], i + 1 < l->n ? l->segs[i + 1]->base : leo(l)));
        while (batch_reader_next(&r)) {
            struct record_iter it;
            struct record rec;
            record_iter_init(&it, &r.head, r.p, (size_t)1 << 30);
            while (record_iter_next(&it, &rec))
                add(out, &r.head, &rec);
            ok(it.rc);
            record_iter_fini(&it);
        }
        ok(r.rc);
        batch_reader_fini(&r);
    }
    for (size_t i = 0; i < out->n; i++)
        for (size_t k = i + 1; out->v[i].txn && !out->v[i].marker && k < out->n; k++)
            if (out->v[k].marker && out->v[k].pid == out->v[i].pid) {
                out->v[i].aborted = out->v[k].abort;
                break;
            }
}

static const struct rec *find(const struct recs *rs, int64_t offset)
{
    for (size_t i = 0; i < rs->n; i++)
        if (rs->v[i].offset == offset)
            return &rs->v[i];
    return NULL;
}

static bool is_last(const struct recs *rs, size_t i, int64_t end)
{
    for (size_t k = i + 1; k < rs->n && rs->v[k].offset < end; k++)
        if (!rs->v[k].marker && !rs->v[k].aborted && rs->v[k].key.p != NULL && rs->v[k].key.len == rs->v[i].key.len &&
            memcmp(rs->v[k].key.p, rs->v[i].key.p, rs->v[i].key.len) == 0)
            return false;
    return true;
}

static void compare(const char *name, const struct recs *was, const struct recs *is, int64_t end)
{
    size_t left = 0;

    for (size_t i = 0; i < was->n; i++) {
        const struct rec *e = &was->v[i], *now = find(is, e->offset);
        bool stays = e->offset >= end || (e->key.p != NULL && !e->aborted && is_last(was, i, end));
        left += now != NULL;
        if (now != NULL)
            ck_assert_msg(now->sum == e->sum, "%s: offset %" PRId64 " is another now", name, e->offset);
        if (!e->marker)
            ck_assert_msg(stays == (now != NULL), "%s: offset %" PRId64 " %s", name, e->offset,
                          stays ? "is lost" : "should be gone");
    }
    ck_assert_uint_eq(left, is->n);
}

/* All of it but what is behind an open transaction; true if something was there to be compacted. */
static bool clean_log(struct plog *l)
{
    struct cleaner_job job = { .from = plog_offsets(l).start, .map_bytes = 1 << 22, .map_load = 0.9,
                               .io_bytes = 65536 };
    struct cleaner_result r;
    struct recs was, is, again;
    int64_t limit;
    int rc = OK;

    commit(l);
    limit = plog_offsets(l).lso;
    lock_take(&l->lock);
    if (plog_active(l)->size > 0)
        rc = plog_roll(l, leo(l));
    lock_drop(&l->lock);
    ok(rc);
    for (size_t i = 0; i < l->n && l->segs[i]->base <= limit; i++)
        job.uncleanable = l->segs[i]->base;
    if (job.uncleanable <= job.from)
        return false;
    read_records(l, &was);
    rc = cleaner_clean(l, &job, &r);
    ck_assert_msg(rc == OK, "%s: %s in %s", plog_name(l), err_text(rc), r.where);
    read_records(l, &is);
    compare(plog_name(l), &was, &is, job.uncleanable);
    /* A second time nothing is different but markers. */
    ok(cleaner_clean(l, &job, &r));
    read_records(l, &again);
    compare(plog_name(l), &was, &again, job.uncleanable);
    free_recs(&was);
    free_recs(&is);
    free_recs(&again);
    return true;
}

static void unpack(const char *tar, const char *into)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execlp("tar", "tar", "-xJf", tar, "-C", into, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void clean_state(const char *state)
{
    static char data[PATH_MAX + 8];
    const char *shared = getenv("KLAMM_SHARED"), *dirs[1] = { data };
    const struct logmgr_identity *id;
    struct plog **logs;
    char tar[4096];
    size_t n, cleaned = 0;

    snprintf(tar, sizeof tar, "%s/golden/datadir-%s.tar.xz", shared != NULL ? shared : "../shared", state);
    if (!kit_exists(tar)) {
        printf("skipped: no %s\n", tar);
        return;
    }
    box_init(&b);
    unpack(tar, b.path);
    b.log.retention_ms = -1;
    snprintf(data, sizeof data, "%s/data", b.path);
    b.o.dirs = dirs;
    b.o.dirs_n = 1;
    ok(logmgr_open(&b.o, &b.m));
    id = logmgr_found_identity(b.m);
    ok(logmgr_identify(b.m, id->broker_id, id->cluster_id));
    ok(kit_load(b.m, box_opts, &b, &b.loaded));
    ok(logmgr_list(b.m, &logs, &n));
    for (size_t i = 0; i < n; i++)
        cleaned += clean_log(logs[i]);
    logmgr_list_free(&logs, n);
    printf("%s: %zu of %zu logs compacted\n", state, cleaned, n);
    ck_assert_uint_gt(cleaned, 50);
    ok(logmgr_stop(b.m));
    logmgr_free(&b.m);
    /* And opened again. */
    ok(logmgr_open(&b.o, &b.m));
    ok(logmgr_identify(b.m, logmgr_found_identity(b.m)->broker_id, logmgr_found_identity(b.m)->cluster_id));
    ok(kit_load(b.m, box_opts, &b, &b.loaded));
    box_fini(&b);
}

START_TEST(logs_of_3_9_are_compacted)
{
    clean_state("3.9.1-clean");
}
END_TEST

START_TEST(logs_of_2_7_are_compacted)
{
    clean_state("2.7.1-clean");
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = { { logs_of_3_9_are_compacted, 200 }, { logs_of_2_7_are_compacted, 200 } };

    return kit_main("storage/golden_clean", tests, sizeof tests / sizeof tests[0]);
}
