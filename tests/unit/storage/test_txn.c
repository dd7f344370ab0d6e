/* tests/unit/storage/test_txn.c - transactions in a log: who may write what, how far records are stable, which were
 * aborted, and what becomes of it all when a broker stops, dies, or finds its files damaged.
 */
#include "tests/unit/storage/kit_txn.h"

#include <pthread.h>

static struct box b;

static struct plog *fresh(void)
{
    box_init(&b);
    b.log.segment_bytes = 1500;
    b.log.index_interval_bytes = 100;
    box_open(&b);
    return box_log(&b, "t");
}

static void done(struct plog *l)
{
    plog_unref(&l);
    box_fini(&b);
}

static int try_data(struct plog *l, struct txn w, enum append_origin origin)
{
    int64_t offset;
    size_t n;
    uint8_t *p = kit_txn_data(w, &n);

    return kit_try_append(l, p, n, origin, &offset);
}

static int try_marker(struct plog *l, int64_t pid, int16_t epoch, enum control_type type, int32_t coordinator_epoch)
{
    int64_t offset;
    size_t n;
    uint8_t *p = kit_marker(pid, epoch, type, coordinator_epoch, &n);

    return kit_try_append(l, p, n, APPEND_COORDINATOR, &offset);
}

static int64_t lso(const struct plog *l)
{
    return plog_offsets(l).lso;
}

/* ---- who may write what -------------------------------------------------------------------------------------- */

START_TEST(markers_of_older_epochs_are_refused)
{
    struct plog *l = fresh();
    struct plog_producer *v;
    struct arena a;
    size_t n;

    (void)data(l, (struct txn){ .pid = 1, .epoch = 2 });
    fails(try_marker(l, 1, 1, CONTROL_ABORT, 5), ERR_PRODUCER_EPOCH);
    ok(try_marker(l, 1, 2, CONTROL_COMMIT, 5));
    fails(try_marker(l, 1, 2, CONTROL_COMMIT, 4), ERR_FENCED);
    ok(try_marker(l, 1, 2, CONTROL_COMMIT, 5));         /* sent again: harmless */
    ok(try_marker(l, 7, 3, CONTROL_ABORT, 1));          /* no batch of its came here, but the epoch is known now */
    fails(try_data(l, (struct txn){ .pid = 7, .epoch = 2 }, APPEND_CLIENT), ERR_PRODUCER_EPOCH);
    arena_init(&a, (size_t)1 << 20);
    ok(plog_producers(l, &a, &v, &n));
    ck_assert(n == 2 && v[0].producer_id == 1 && v[0].coordinator_epoch == 5 && v[0].txn_start_offset == -1 &&
              v[0].last_sequence == 0 && v[1].coordinator_epoch == 1 && v[1].epoch == 3 && v[1].last_sequence == -1);
    arena_fini(&a);
    done(l);
}
END_TEST

START_TEST(after_a_marker_with_a_newer_epoch_sequences_begin_anew)
{
    struct plog *l = fresh();

    (void)data(l, (struct txn){ .pid = 1, .seq = 0, .n = 3 });
    fails(try_data(l, (struct txn){ .pid = 1, .seq = 3, .plain = true }, APPEND_CLIENT), ERR_TXN_STATE);
    fails(try_data(l, (struct txn){ .pid = 1, .seq = 9, .plain = true }, APPEND_CLIENT), ERR_SEQUENCE);
    ok(try_marker(l, 1, 0, CONTROL_COMMIT, 0));
    (void)data(l, (struct txn){ .pid = 1, .seq = 3, .plain = true });   /* the same epoch goes on */
    (void)data(l, (struct txn){ .pid = 1, .seq = 4 });
    ok(try_marker(l, 1, 1, CONTROL_ABORT, 0));          /* the coordinator ended it in the producer's stead */
    fails(try_data(l, (struct txn){ .pid = 1, .seq = 5 }, APPEND_CLIENT), ERR_PRODUCER_EPOCH);
    fails(try_data(l, (struct txn){ .pid = 1, .epoch = 1, .seq = 5 }, APPEND_CLIENT), ERR_SEQUENCE);
    ok(try_data(l, (struct txn){ .pid = 1, .epoch = 1, .seq = 0 }, APPEND_CLIENT));
    done(l);
}
END_TEST

START_TEST(only_coordinators_write_markers_and_need_no_sequence)
{
    struct plog *l = fresh();
    int64_t offset;
    size_t n, m;
    uint8_t *p = kit_marker(1, 0, CONTROL_ABORT, 0, &n), *q, *both;

    fails(kit_try_append(l, p, n, APPEND_CLIENT, &offset), ERR_INVALID);
    p = kit_marker(1, 0, CONTROL_ABORT, 0, &n);
    q = kit_txn_data((struct txn){ .pid = 1 }, &m);
    both = malloc(n + m);
    memcpy(both, p, n);
    memcpy(both + n, q, m);
    fails(kit_try_append(l, both, n + m, APPEND_COORDINATOR, &offset), ERR_INVALID);
    for (size_t cut = 1; cut < n; cut++) {
        both = malloc(n);
        memcpy(both, p, n);
        fails(kit_try_append(l, both, n - cut, APPEND_COORDINATOR, &offset), ERR_INVALID);
    }
    p[69] ^= 7;                         /* a KRaft type */
    fails(kit_try_append(l, p, n, APPEND_COORDINATOR, &offset), ERR_INVALID);
    free(q);
    for (int i = 0; i < 3; i++)
        ok(try_data(l, (struct txn){ .pid = 5, .epoch = 1, .seq = -1 }, APPEND_COORDINATOR));
    fails(try_data(l, (struct txn){ .pid = 5, .seq = -1 }, APPEND_COORDINATOR), ERR_PRODUCER_EPOCH);
    fails(try_data(l, (struct txn){ .pid = 5, .epoch = 1, .seq = -1, .plain = true }, APPEND_COORDINATOR),
          ERR_TXN_STATE);
    ck_assert_int_eq(leo(l), 3);
    done(l);
}
END_TEST

START_TEST(retries_are_known_inside_a_transaction)
{
    struct plog *l = fresh();

    for (int i = 0; i < 7; i++)
        (void)data(l, (struct txn){ .pid = 1, .seq = i });
    ck_assert_int_eq(data(l, (struct txn){ .pid = 1, .seq = 2 }), 2);
    fails(try_data(l, (struct txn){ .pid = 1, .seq = 1 }, APPEND_CLIENT), ERR_SEQUENCE);
    (void)end_txn(l, 1, CONTROL_ABORT);
    ck_assert_int_eq(data(l, (struct txn){ .pid = 1, .seq = 6 }), 6);   /* the answer was lost: not a new transaction */
    commit(l);
    ck_assert_int_eq(lso(l), 8);
    done(l);
}
END_TEST

/* ---- how far records are stable ------------------------------------------------------------------------------ */

START_TEST(the_stable_offset_waits_for_markers_and_for_their_replicas)
{
    struct plog *l = fresh();

    (void)data(l, (struct txn){ .pid = 9, .plain = true });     /* 0 */
    (void)data(l, (struct txn){ .pid = 1 });                    /* 1 */
    (void)data(l, (struct txn){ .pid = 2 });                    /* 2 */
    ck_assert_int_eq(lso(l), 0);
    commit(l);
    ck_assert_int_eq(lso(l), 1);
    (void)end_txn(l, 1, CONTROL_COMMIT);                        /* 3 */
    ck_assert_int_eq(lso(l), 1);                                /* the marker is not committed */
    (void)plog_set_hw(l, 3, NULL);
    ck_assert_int_eq(lso(l), 1);
    (void)plog_set_hw(l, 4, NULL);
    ck_assert_int_eq(lso(l), 2);
    (void)data(l, (struct txn){ .pid = 1, .seq = 1 });          /* 4 */
    (void)end_txn(l, 1, CONTROL_ABORT);                         /* 5 */
    (void)end_txn(l, 2, CONTROL_COMMIT);                        /* 6 */
    ck_assert_int_eq(lso(l), 2);
    (void)plog_set_hw(l, 6, NULL);
    ck_assert_int_eq(lso(l), 2);
    commit(l);
    ck_assert_int_eq(lso(l), 7);
    (void)data(l, (struct txn){ .pid = 3 });                    /* 7 */
    (void)data(l, (struct txn){ .pid = 9, .seq = 1, .plain = true });
    commit(l);
    ok(plog_set_start(l, 8));
    ck_assert_int_eq(lso(l), 8);                                /* not below the start */
    done(l);
}
END_TEST

START_TEST(an_open_transaction_is_never_forgotten)
{
    struct plog *l = fresh();

    (void)data(l, (struct txn){ .pid = 1 });
    (void)data(l, (struct txn){ .pid = 2, .plain = true });
    plog_expire_producers(l, INT64_MAX / 2, 1);
    ck_assert_uint_eq(producers_count(&l->producers), 1);
    commit(l);
    ck_assert_int_eq(lso(l), 0);
    plog_unref(&l);
    for (int i = 0; i < 2; i++) {
        box_stop(&b);
        kit_clock_ms += INT64_C(1000) * 86400 * 400;
        box_open(&b);
        l = box_log(&b, "t");
        ck_assert_uint_eq(producers_count(&l->producers), 1);
        commit(l);
        ck_assert_int_eq(lso(l), 0);
        plog_unref(&l);
    }
    l = box_log(&b, "t");
    (void)end_txn(l, 1, CONTROL_COMMIT);
    commit(l);
    ck_assert_int_eq(lso(l), 3);
    plog_expire_producers(l, INT64_MAX / 2, 1);
    ck_assert_uint_eq(producers_count(&l->producers), 0);
    done(l);
}
END_TEST

START_TEST(the_queue_of_completed_ones_keeps_the_least_offset_in_front)
{
    struct unstable u;
    struct unstable_txn all[200];

    unstable_init(&u);
    ck_assert_int_eq(unstable_first(&u), -1);
    for (int round = 0; round < 50; round++) {
        int64_t hw = 0;
        unstable_forget(&u);
        for (int i = 0; i < 200; i++) {
            int64_t least = -1;
            all[i] = (struct unstable_txn){ random() % (10 * i + 1), 10 * i + 5 };
            if (unstable_full(&u, 1)) {
                size_t cap = unstable_want(&u, 1);
                free(unstable_grow(&u, calloc(cap, sizeof all[0]), cap));
            }
            unstable_complete(&u, all[i].first, all[i].last);
            if (random() % 3 == 0) {
                hw += random() % 30;
                unstable_settle(&u, hw);
            }
            for (int k = 0; k <= i; k++)
                if (all[k].last >= hw && (least < 0 || all[k].first < least))
                    least = all[k].first;
            ck_assert_int_eq(unstable_first(&u), least);
        }
    }
    unstable_fini(&u);
}
END_TEST

/* ---- which were aborted: a model ----------------------------------------------------------------------------- */

enum { PRODUCERS = 6, TXNS_MAX = 4000 };

static struct {
    struct { int64_t pid, first, last; bool open, aborted; } v[TXNS_MAX];
    size_t  n;
    int32_t seq[PRODUCERS + 1];
    int64_t open[PRODUCERS + 1];        /* index in v; -1 */
} model;

static void model_init(void)
{
    memset(&model, 0, sizeof model);
    for (int i = 0; i <= PRODUCERS; i++)
        model.open[i] = -1;
}

static void random_step(struct plog *l)
{
    int64_t pid = 1 + random() % PRODUCERS, at = model.open[pid];

    if (random() % 8 == 0) {
        (void)put(l, (struct put){ .n = 1 + (int)(random() % 3) });
    } else if (at < 0 || random() % 3 != 0) {
        int n = 1 + (int)(random() % 3);
        int64_t offset = data(l, (struct txn){ .pid = pid, .seq = model.seq[pid], .n = n });
        model.seq[pid] += n;
        if (at < 0) {
            at = model.open[pid] = (int64_t)model.n++;
            model.v[at].pid = pid;
            model.v[at].first = offset;
            model.v[at].open = true;
        }
    } else {
        model.v[at].aborted = random() % 2 == 0;
        model.v[at].last = end_txn(l, pid, model.v[at].aborted ? CONTROL_ABORT : CONTROL_COMMIT);
        model.v[at].open = false;
        model.open[pid] = -1;
    }
    if (random() % 4 == 0)
        (void)plog_set_hw(l, plog_offsets(l).hw + random() % 12, NULL);
}

static void check_lso(struct plog *l)
{
    struct plog_offsets o = plog_offsets(l);
    int64_t want = o.hw;

    for (size_t i = 0; i < model.n; i++)
        if (model.v[i].first < want && (model.v[i].open || model.v[i].last >= o.hw))
            want = model.v[i].first;
    ck_assert_int_eq(o.lso, want > o.start ? want : o.start);
}

/* What a consumer does with the answer: leaves out what was aborted. It must leave out exactly that. */
static void check_fetch(struct plog *l, int64_t offset, size_t max)
{
    struct plog_offsets o = plog_offsets(l);
    struct plog_aborted *v;
    struct plog_read r;
    struct arena a;
    size_t n, found = 0;
    int64_t end;

    if (offset < o.start || offset > o.lso)
        return;
    arena_init(&a, (size_t)1 << 24);
    ok(plog_read(l, offset, o.lso, max, true, &r));
    ok(plog_aborted(l, offset, &r, &a, &v, &n));
    end = offset;
    if (!slice_is_null(r.records)) {
        struct batch_iter it;
        uint8_t *p = malloc(r.records.len);
        ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
        batch_iter_init(&it, (struct bytes){ p, r.records.len });
        while (batch_iter_next(&it))
            end = it.head.last_offset + 1;
        free(p);
    } else {
        ck_assert_uint_eq(n, 0);
    }
    for (size_t i = 0; i < model.n; i++) {
        bool must = end > offset && model.v[i].aborted && !model.v[i].open && model.v[i].last >= offset &&
                    model.v[i].first < end;
        bool is = false;
        for (size_t k = 0; k < n; k++)
            is |= v[k].producer_id == model.v[i].pid && v[k].first_offset == model.v[i].first;
        ck_assert_msg(!must || is, "offset %" PRId64 " .. %" PRId64 ": aborted %" PRId64 " .. %" PRId64 " lacks",
                      offset, end, model.v[i].first, model.v[i].last);
        ck_assert(!is || (model.v[i].aborted && model.v[i].last >= offset));
        found += is;
    }
    ck_assert_uint_eq(found, n);
    plog_read_done(&r);
    arena_fini(&a);
}

static void check_all(struct plog *l)
{
    check_lso(l);
    kit_check_txns(l);
    for (int i = 0; i < 40; i++)
        check_fetch(l, random() % (leo(l) + 1), (size_t)(random() % 3000));
}

/* The truncation takes back what had happened from `offset` on. */
static void model_cut(int64_t offset)
{
    for (size_t i = 0; i < model.n; i++) {
        int64_t pid = model.v[i].pid;
        if (model.v[i].first >= offset) {
            model.n = i;                /* first offsets rise */
            break;
        }
        if (model.v[i].open || model.v[i].last >= offset) {
            model.v[i].open = true;
            model.v[i].aborted = false;
            model.open[pid] = (int64_t)i;
        }
    }
    for (int i = 1; i <= PRODUCERS; i++)
        if (model.open[i] >= (int64_t)model.n || (model.open[i] >= 0 && !model.v[model.open[i]].open))
            model.open[i] = -1;
}

/* Sequences go on where the log says. */
static void model_sequences(struct plog *l)
{
    struct snapshot_entry *v;
    size_t n;

    memset(model.seq, 0, sizeof model.seq);
    ok(producers_list(&l->producers, &v, &n));
    for (size_t i = 0; i < n; i++)
        model.seq[v[i].producer_id] = v[i].last_sequence + 1;
    free(v);
}

START_TEST(any_history_is_told_as_it_was)
{
    for (unsigned seed = 1; seed <= 12; seed++) {
        struct plog *l = fresh();
        srandom(seed);
        model_init();
        for (int step = 0; step < 600; step++) {
            random_step(l);
            if (random() % 20 == 0)
                check_all(l);
            if (random() % 60 != 0)
                continue;
            if (random() % 3 == 0) {
                int64_t to = leo(l) - random() % 60;
                ok(plog_truncate(l, to > 0 ? to : 0));
                model_cut(leo(l));
                model_sequences(l);
                check_all(l);
                continue;
            }
            plog_unref(&l);
            if (random() % 2 == 0)
                box_stop(&b);
            else
                box_crash(&b);
            if (random() % 2 == 0)
                box_reboot(&b);
            box_open(&b);
            l = box_log(&b, "t");
            commit(l);                  /* of completed ones only those after the snapshot are known to be new */
            check_all(l);
        }
        ck_assert_uint_gt(l->n, 3);
        done(l);
    }
}
END_TEST

/* ---- beside each other ----------------------------------------------------------------------------------------- */

static struct {
    struct plog *log;
    atomic_bool  over;
} beside;

/* Reads as read_committed consumers do while the log grows and is cut. */
static void *reader(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct plog *l = beside.log;

    while (!atomic_load(&beside.over)) {
        struct plog_offsets o = plog_offsets(l);
        struct plog_aborted *v;
        struct plog_read r;
        struct arena a;
        size_t n;
        int rc;

        ck_assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
        arena_init(&a, (size_t)1 << 24);
        rc = plog_read(l, (int64_t)rand_r(&seed) % (o.lso + 1), o.lso, 2000, true, &r);
        if (rc == OK) {
            rc = plog_aborted(l, r.segment_base, &r, &a, &v, &n);
            ck_assert(rc == OK || rc == ERR_BUSY);
            for (size_t i = 0; rc == OK && i < n; i++)
                ck_assert(v[i].producer_id >= 1 && v[i].producer_id <= PRODUCERS && v[i].first_offset >= 0);
            plog_read_done(&r);
        } else {
            ck_assert_int_eq(rc, ERR_RANGE);
        }
        arena_fini(&a);
    }
    return NULL;
}

START_TEST(readers_see_a_log_that_grows_and_is_cut)
{
    pthread_t t[3];

    beside.log = fresh();
    srandom(3);
    model_init();
    atomic_store(&beside.over, false);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, reader, (void *)(uintptr_t)(i + 1)), 0);
    for (int step = 0; step < 1500; step++) {
        random_step(beside.log);
        if (random() % 200 == 0) {
            int64_t to = leo(beside.log) - random() % 60;
            ok(plog_truncate(beside.log, to > 0 ? to : 0));
            model_cut(leo(beside.log));
            model_sequences(beside.log);
            check_lso(beside.log);
        }
    }
    atomic_store(&beside.over, true);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(t[i], NULL), 0);
    check_all(beside.log);
    done(beside.log);
}
END_TEST

/* ---- the files ----------------------------------------------------------------------------------------------- */

static size_t count_files(const char *suffix)
{
    struct dirent **v;
    int n = scandir(box_path(&b, "t-0"), &v, kit_not_dots, alphasort);
    size_t found = 0;

    for (int i = 0; i < n; i++) {
        const char *dot = strchr(v[i]->d_name, '.');
        found += dot != NULL && strcmp(dot, suffix) == 0;
        free(v[i]);
    }
    free(v);
    return found;
}

START_TEST(segments_without_aborts_have_no_file)
{
    struct plog *l = fresh();

    for (int i = 0; i < 60; i++) {
        (void)data(l, (struct txn){ .pid = 1, .seq = i });
        (void)end_txn(l, 1, CONTROL_COMMIT);
    }
    plog_unref(&l);
    box_stop(&b);
    ck_assert_uint_eq(count_files(".txnindex"), 0);
    box_open(&b);
    l = box_log(&b, "t");
    (void)data(l, (struct txn){ .pid = 1, .seq = 60 });
    (void)end_txn(l, 1, CONTROL_ABORT);
    plog_unref(&l);
    box_stop(&b);
    ck_assert_uint_eq(count_files(".txnindex"), 1);
    box_open(&b);
    l = box_log(&b, "t");
    commit(l);
    b.log.retention_ms = 0;
    plog_set_opts(l, &b.log);
    kit_clock_ms += 1000;
    ok(plog_retain(l, kit_clock_ms, &(size_t){ 0 }));
    ck_assert_uint_eq(count_files(".txnindex"), 0);
    ck_assert_uint_eq(count_files(".txnindex.deleted"), 1);
    done(l);
}
END_TEST

START_TEST(entries_are_read_as_written_and_disorder_is_seen)
{
    struct txn_index_entry e = { 7, 20, 30, 25 }, f;
    uint8_t p[2 * TXN_INDEX_ENTRY];

    txn_index_put(p, &e);
    ck_assert_int_eq(txn_index_get(p, &f), 0);
    ck_assert_mem_eq(&e, &f, sizeof e);
    e.last_offset = 31;
    txn_index_put(p + TXN_INDEX_ENTRY, &e);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p, 0), 2);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p - 1, 0), 1);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p, 31), 0);
    e.last_offset = 30;
    txn_index_put(p + TXN_INDEX_ENTRY, &e);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p, 0), 1);
    memset(p, 0, sizeof p);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p, 0), 0);
    memset(p, 0xff, sizeof p);
    ck_assert_uint_eq(txn_index_valid(p, sizeof p, 0), 0);
}
END_TEST

/* A log with aborted transactions in several segments, closed cleanly. The path of the first index. */
static const char *stopped_with_aborts(void)
{
    struct plog *l = fresh();
    const char *path = NULL;

    srandom(5);
    model_init();
    for (int step = 0; step < 150; step++)
        random_step(l);
    for (size_t i = l->n; i-- > 1;) {
        char name[SEGMENT_PATH_MAX];
        segment_path(&l->place, l->segs[i]->base, SEGMENT_TXNINDEX, "", name);
        if (l->segs[i]->aborts.on_file > 1)
            path = box_path(&b, name);
    }
    ck_assert_ptr_nonnull(path);
    plog_unref(&l);
    box_stop(&b);
    return path;
}

static void open_and_check(bool clean)
{
    struct plog *l;

    if (!clean)
        ok(fio_unlink(AT_FDCWD, box_path(&b, ".kafka_cleanshutdown")));
    box_open(&b);
    l = box_log(&b, "t");
    commit(l);
    check_all(l);
    plog_unref(&l);
    box_stop(&b);
}

/* The file holds q when the broker starts, and p when it has stopped again. */
static void damaged(const char *path, const uint8_t *q, size_t len, const uint8_t *p, size_t n)
{
    uint8_t *again;
    size_t m;

    kit_spill(path, q, len);
    open_and_check(true);
    again = kit_slurp(path, &m);
    ck_assert_uint_eq(m, n);
    ck_assert_mem_eq(again, p, n);
    free(again);
}

START_TEST(a_damaged_index_is_made_anew)
{
    char path[PATH_MAX];
    size_t n;
    uint8_t *p, *q;

    snprintf(path, sizeof path, "%s", stopped_with_aborts());
    p = kit_slurp(path, &n);
    q = malloc(2 * n);
    for (size_t at = 0; at < 2 * n; at += 1 + (size_t)random() % 5) {     /* cut; or longer: zeros, old entries */
        memset(q, 0, 2 * n);
        memcpy(q, p, at < n ? at : n);
        damaged(path, q, at, p, n);
        memcpy(q, p, n);
        memcpy(q + n, p, n);
        damaged(path, q, at, p, n);
    }
    for (size_t at = 0; at < n; at += 1 + (size_t)random() % 3) {
        memcpy(q, p, n);
        q[at] ^= (uint8_t)(1 << random() % 8);
        damaged(path, q, n, p, n);
        q[at] = q[at] == 0 ? 1 : 0;
        damaged(path, q, n, p, n);
    }
    ok(fio_unlink(AT_FDCWD, path));
    open_and_check(true);
    free(q);
    q = kit_slurp(path, &(size_t){ 0 });
    ck_assert_mem_eq(q, p, n);
    free(q);
    free(p);
    box_fini(&b);
}
END_TEST

/* Another broker has been here: what the sums say is no news, and an index is believed as far as it is sound. */
START_TEST(sums_of_an_earlier_stop_do_not_count)
{
    char path[PATH_MAX];
    struct plog *l;
    size_t n, m;
    uint8_t *p, *q;

    snprintf(path, sizeof path, "%s", stopped_with_aborts());
    p = kit_slurp(path, &n);
    kit_spill(box_path(&b, CHECKPOINT_HIGH_WATERMARK), "0\n1\nt 0 3\n", 10);
    kit_spill(path, p, n - TXN_INDEX_ENTRY);
    box_open(&b);
    l = box_log(&b, "t");
    plog_unref(&l);
    box_stop(&b);
    q = kit_slurp(path, &m);
    ck_assert_uint_eq(m, n - TXN_INDEX_ENTRY);
    free(q);
    free(p);
    box_fini(&b);
}
END_TEST

START_TEST(indexes_of_lost_offset_indexes_are_made_anew)
{
    char path[PATH_MAX], *dot;
    size_t n, m;
    uint8_t *p, *q;

    snprintf(path, sizeof path, "%s", stopped_with_aborts());
    p = kit_slurp(path, &n);
    ok(fio_unlink(AT_FDCWD, path));
    dot = strrchr(path, '.');
    snprintf(dot, 12, ".index");
    ok(fio_unlink(AT_FDCWD, path));
    open_and_check(true);
    snprintf(dot, 12, ".txnindex");
    q = kit_slurp(path, &m);
    ck_assert(m == n && memcmp(p, q, n) == 0);
    free(p);
    free(q);
    box_fini(&b);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { markers_of_older_epochs_are_refused, 0 },
        { after_a_marker_with_a_newer_epoch_sequences_begin_anew, 0 },
        { only_coordinators_write_markers_and_need_no_sequence, 0 },
        { retries_are_known_inside_a_transaction, 0 },
        { the_stable_offset_waits_for_markers_and_for_their_replicas, 0 },
        { an_open_transaction_is_never_forgotten, 0 },
        { the_queue_of_completed_ones_keeps_the_least_offset_in_front, 0 },
        { any_history_is_told_as_it_was, 120 },
        { readers_see_a_log_that_grows_and_is_cut, 60 },
        { segments_without_aborts_have_no_file, 0 },
        { entries_are_read_as_written_and_disorder_is_seen, 0 },
        { a_damaged_index_is_made_anew, 120 },
        { sums_of_an_earlier_stop_do_not_count, 0 },
        { indexes_of_lost_offset_indexes_are_made_anew, 60 },
    };

    return kit_main("storage/txn", tests, sizeof tests / sizeof tests[0]);
}
