/* tests/unit/storage/test_damage.c - each byte of each file of a log flipped, and each file cut, zeroed and made
 * longer: what is read is what was written, or it is refused; nothing is ever wrong without anybody seeing it.
 *
 * A log with all kinds of files is made once. Each damage is a partition of its own, "m-<n>", that has a copy; many of
 * them are opened at once.
 */
#include "tests/unit/storage/kit.h"

#include "proto/records/records.h"

#define AT_ONCE    400
#define FILES_MAX  40
#define BATCH_MAX  64

/* How the broker ended: closed; the machine fell down after everything was synced (which is much the same: every third
 * damage); or before anything was. */
enum mode { CLEAN, DURABLE, LOST, MODES };

static struct box b;

/* ---- the log as it was --------------------------------------------------------------------------------------- */

struct file {
    char     name[80];
    uint8_t *p;
    size_t   n;
};

static struct file file[FILES_MAX];
static size_t files_n;
static struct {
    uint8_t *p;
    size_t   n;
    int64_t  base, last;
} batch[BATCH_MAX];
static size_t batches_n;

static struct txn_index_entry aborted[4];
static size_t aborted_n;

/* What can be asked of a log, apart from its records. */
struct answers {
    struct plog_offsets off;
    struct plog_at      at[16], max;
    struct plog_producer producer[8];
    size_t              producers_n;
    struct epoch_entry  epoch[8];
    size_t              epochs_n;
};

static struct answers model;

static void put_txn(struct plog *l, int64_t pid, int32_t seq, int leader_epoch, int end)
{
    static const uint8_t value[] = { 7, 8, 9 };
    struct plog_append in = { .leader_epoch = leader_epoch };
    struct plog_appended out;
    struct builder_opts o;
    struct builder bl;
    struct arena a;
    struct bytes bytes;

    builder_opts_init(&o);
    o.producer_id = pid;
    o.producer_epoch = 0;
    o.txn = true;
    arena_init(&a, 1 << 20);
    if (end >= 0) {
        in.origin = APPEND_COORDINATOR;
        ok(control_batch_build(&o, (enum control_type)end, 3, kit_clock_ms, &a, &bytes));
    } else {
        struct record r = { .timestamp = kit_clock_ms, .value = { value, sizeof value } };
        o.base_sequence = seq;
        builder_init(&bl, &o, &a);
        builder_add(&bl, &r);
        ok(builder_finish(&bl, &bytes));
    }
    in.p = malloc(bytes.len);
    in.len = bytes.len;
    memcpy(in.p, bytes.p, bytes.len);
    if (end < 0)
        builder_fini(&bl);
    ok(plog_append(l, &in, &out));
    free(in.p);
    arena_fini(&a);
}

/* Three segments, four producers, two of them in transactions, three epochs, timestamps that go up and down. */
static void fill(struct plog *l)
{
    static const int64_t ts[] = { 10, 30, 20, 30, 5, 40, 41, 41, 39, 60, 70, 70 };

    put_txn(l, 21, 0, 0, -1);
    for (int i = 0; i < 12; i++) {
        struct put w = { .n = 1 + i % 2, .value = 4, .ts = kit_clock_ms + ts[i] * 10, .leader_epoch = i / 4 };
        if (i % 3 == 0) {
            w.pid = 11 + i % 2;
            w.seq = i / 6 * w.n;
        }
        put(l, w);
        if (i == 3)
            put_txn(l, 22, 0, 0, -1);
        if (i == 6)
            put_txn(l, 21, -1, 1, CONTROL_ABORT);
        if (i == 8)
            put_txn(l, 22, -1, 2, CONTROL_ABORT);
        if (i == 9)
            put_txn(l, 21, 1, 2, -1);
    }
    put_txn(l, 21, -1, 2, CONTROL_COMMIT);
    ck_assert_uint_ge(l->n, 3);
    ck_assert_uint_ge(plog_active(l)->size, 200);
    commit(l);
}

static void ask(struct plog *l, struct answers *out)
{
    struct plog_producer *producers;
    struct arena a;

    memset(out, 0, sizeof *out);
    out->off = plog_offsets(l);
    for (int i = 0; i < 16; i++)
        ok(plog_offset_for_time(l, kit_clock_ms + i * 50 + 1, &out->at[i]));
    ok(plog_max_timestamp(l, &out->max));
    arena_init(&a, 1 << 20);
    ok(plog_producers(l, &a, &producers, &out->producers_n));
    ck_assert_uint_le(out->producers_n, 8);
    memcpy(out->producer, producers, out->producers_n * sizeof *producers);
    arena_fini(&a);
    out->epochs_n = l->epochs.n;
    memcpy(out->epoch, l->epochs.v, l->epochs.n * sizeof *l->epochs.v);
}

static void remember_files(void)
{
    struct dirent **v;
    int n = scandir(box_path(&b, "t-0"), &v, kit_not_dots, alphasort);

    files_n = aborted_n = 0;
    for (int i = 0; i < n; i++) {
        char path[300];
        struct file *f = &file[files_n++];
        ck_assert_uint_lt(files_n, FILES_MAX);
        snprintf(f->name, sizeof f->name, "%.70s", v[i]->d_name);
        snprintf(path, sizeof path, "t-0/%.70s", v[i]->d_name);
        f->p = kit_slurp(box_path(&b, path), &f->n);
        for (size_t k = 0; strstr(path, ".txnindex") != NULL && k < f->n; k += TXN_INDEX_ENTRY)
            (void)txn_index_get(f->p + k, &aborted[aborted_n++]);
        free(v[i]);
    }
    free(v);
}

static void remember_batches(struct plog *l)
{
    struct batch_iter it;
    size_t n;
    uint8_t *p = kit_read_all(l, 0, &n);

    batches_n = 0;
    batch_iter_init(&it, (struct bytes){ p, n });
    while (batch_iter_next(&it)) {
        ck_assert_uint_lt(batches_n, BATCH_MAX);
        batch[batches_n].p = malloc(it.head.size_bytes);
        memcpy(batch[batches_n].p, it.p, it.head.size_bytes);
        batch[batches_n].n = it.head.size_bytes;
        batch[batches_n].base = it.head.base_offset;
        batch[batches_n++].last = it.head.last_offset;
    }
    free(p);
}

static void begin(void)
{
    struct plog *l;

    box_init(&b);
    b.log.segment_bytes = 600;
    b.log.index_interval_bytes = 100;
    box_open(&b);
    l = box_log(&b, "t");
    ok(plog_set_topic_id(l, (struct uuid){ { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } }));
    fill(l);
    remember_batches(l);
    plog_unref(&l);
    box_stop(&b);
    remember_files();
    /* A broker that was started asks: producers are as a snapshot has them. */
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ask(l, &model);
    ck_assert_uint_eq(model.producers_n, 4);
    ck_assert_uint_eq(aborted_n, 2);
    ck_assert_uint_eq(model.epochs_n, 3);
    plog_unref(&l);
    box_stop(&b);
    kit_remove(box_path(&b, "t-0"));
}

static void end(void)
{
    for (size_t i = 0; i < files_n; i++)
        free(file[i].p);
    for (size_t i = 0; i < batches_n; i++)
        free(batch[i].p);
    box_fini(&b);
}

/* ---- damages ------------------------------------------------------------------------------------------------- */

enum how { FLIP_LOW, FLIP_HIGH, CUT, ZERO_REST, ZERO_SOME, LONGER_ZEROS, LONGER_JUNK, REMOVED, HOWS };

struct damage {
    size_t   file;
    enum how how;
    size_t   at;
};

/* The next one; false: that was the last. */
static bool next_damage(struct damage *d)
{
    bool log = strstr(file[d->file].name, ".log") != NULL;
    size_t step = d->how < CUT ? 1 : d->how == REMOVED || d->how == LONGER_ZEROS || d->how == LONGER_JUNK ? 1000000
                : d->how == ZERO_SOME ? 8 : log ? 5 : 1;

    d->at += step * KIT_THIN;
    if (d->at < file[d->file].n)
        return true;
    d->at = 0;
    if (++d->how < HOWS)
        return true;
    d->how = 0;
    do
        d->file++;
    while (d->file < files_n && file[d->file].n == 0);
    return d->file < files_n;
}

/* Nothing but zeros is there already, say. */
static bool changes_nothing(const struct damage *d)
{
    const struct file *f = &file[d->file];
    size_t to = d->how == ZERO_SOME && d->at + 16 < f->n ? d->at + 16 : f->n;

    if (d->how != ZERO_REST && d->how != ZERO_SOME)
        return false;
    for (size_t i = d->at; i < to; i++)
        if (f->p[i] != 0)
            return false;
    return true;
}

static void spill_damaged(const char *path, const struct damage *d)
{
    const struct file *f = &file[d->file];
    size_t n = f->n, more = d->how == LONGER_ZEROS || d->how == LONGER_JUNK ? 240 : 0;
    uint8_t *p = calloc(1, n + more);

    memcpy(p, f->p, n);
    switch (d->how) {
    case FLIP_LOW:     p[d->at] ^= (uint8_t)(1 << d->at % 7); break;
    case FLIP_HIGH:    p[d->at] ^= 0x80; break;
    case CUT:          n = d->at; break;
    case ZERO_REST:    memset(p + d->at, 0, n - d->at); break;
    case ZERO_SOME:    memset(p + d->at, 0, n - d->at < 16 ? n - d->at : 16); break;
    case LONGER_JUNK:  memset(p + n, 0xa5, more); break;
    case LONGER_ZEROS: case REMOVED: case HOWS: break;
    }
    if (d->how != REMOVED)
        kit_spill(path, p, n + more);
    free(p);
}

static void lay_out(int partition, const struct damage *d)
{
    char path[200];

    snprintf(path, sizeof path, "m-%d", partition);
    ck_assert_int_eq(mkdir(box_path(&b, path), 0755), 0);
    for (size_t i = 0; i < files_n; i++) {
        snprintf(path, sizeof path, "m-%d/%.80s", partition, file[i].name);
        if (i == d->file)
            spill_damaged(box_path(&b, path), d);
        else
            kit_spill(box_path(&b, path), file[i].p, file[i].n);
    }
}

/* ---- what may come of them ----------------------------------------------------------------------------------- */

static char what[300];                  /* the damage that is looked at */
static bool log_is_whole;               /* it is not in a .log, so the aborted transactions are all known */

#define same(cond) ck_assert_msg(cond, "%s: %s", what, #cond)

static void check_answers(struct plog *l)
{
    static struct answers got;

    ask(l, &got);
    same(memcmp(&got.off, &model.off, sizeof got.off) == 0);
    for (int i = 0; i < 16; i++)
        same(got.at[i].offset == model.at[i].offset && got.at[i].timestamp == model.at[i].timestamp);
    same(got.max.offset == model.max.offset && got.max.timestamp == model.max.timestamp);
    same(got.producers_n == model.producers_n);
    for (size_t i = 0; i < got.producers_n; i++) {
        same(got.producer[i].producer_id == model.producer[i].producer_id);
        same(got.producer[i].last_sequence == model.producer[i].last_sequence);
        same(got.producer[i].txn_start_offset == model.producer[i].txn_start_offset);
        same(got.producer[i].coordinator_epoch == model.producer[i].coordinator_epoch);
    }
    same(got.epochs_n == model.epochs_n);
    for (size_t i = 0; i < got.epochs_n; i++)
        same(got.epoch[i].epoch == model.epoch[i].epoch && got.epoch[i].start == model.epoch[i].start);
}

static bool has_aborted(const struct plog_aborted *v, size_t n, const struct txn_index_entry *e)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].producer_id == e->producer_id && v[i].first_offset == e->first_offset)
            return true;
    return false;
}

/* All aborted transactions with records in [offset, end) are told, and nothing else. */
static void check_aborted(struct plog *l, int64_t offset, int64_t read_end, const struct plog_read *r)
{
    struct plog_aborted *v;
    struct arena a;
    size_t n, known = 0;

    arena_init(&a, 1 << 20);
    ok(plog_aborted(l, offset, r, &a, &v, &n));
    for (size_t i = 0; i < aborted_n; i++) {
        bool has = has_aborted(v, n, &aborted[i]);
        known += has;
        same(has || aborted[i].last_offset < offset || aborted[i].last_offset >= leo(l) ||
             aborted[i].first_offset >= read_end);
    }
    same(known == n);
    arena_fini(&a);
}

/* The batches that are given for `offset`; *next: after the last that is sound. A CRC that is wrong, or an error, says
 * that something is. False: so it was. */
static bool read_from(struct plog *l, int64_t offset, size_t max, bool any_head, int64_t *next)
{
    struct plog_read r;
    struct batch_iter it;
    bool good = true;
    uint8_t *p;

    if (plog_read(l, offset, INT64_MAX, max, true, &r) != OK)
        return false;
    if (slice_is_null(r.records))
        return false;
    p = malloc(r.records.len);
    ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
    batch_iter_init(&it, (struct bytes){ p, r.records.len });
    while (good && batch_iter_next(&it)) {
        size_t k = 0;
        if (batch_check(&it.head, it.p) != OK) {
            good = false;
            break;
        }
        while (k < batches_n && batch[k].base != it.head.base_offset)
            k++;
        if (!any_head)
            same(k < batches_n && batch[k].n == it.head.size_bytes && memcmp(batch[k].p, it.p, batch[k].n) == 0);
        if (it.head.last_offset < offset)
            good = false;
        else
            *next = it.head.last_offset + 1;
    }
    good = good && it.rc == OK && it.pos > 0;
    if (good && log_is_whole)
        check_aborted(l, offset, *next, &r);
    plog_read_done(&r);
    free(p);
    return good;
}

/* Everything that is read is what was written, up to where an error is seen. */
static bool check_records(struct plog *l, bool any_head)
{
    struct plog_offsets o = plog_offsets(l);

    for (int64_t at = o.start; at < o.leo;) {
        int64_t next = at;
        if (!read_from(l, at, 200, any_head, &next))
            return false;
        same(next > at);
        at = next;
    }
    return true;
}

/* The damage is in what no CRC covers: offset, length or leader epoch of a batch. */
static bool in_bare_head(const struct damage *d)
{
    const struct file *f = &file[d->file];
    size_t at = 0;

    if (d->how > FLIP_HIGH && d->how != ZERO_SOME)
        return false;
    while (at < f->n) {
        uint32_t size = be_get32(f->p + at + 8) + BATCH_OVERHEAD;
        if (d->at + 16 >= at && d->at < at + 16)
            return true;
        at += size;
    }
    return false;
}

static void check_log_damage(struct plog *l, const struct damage *d, enum mode mode)
{
    bool bare = in_bare_head(d);

    if (l == NULL) {
        same(mode != LOST);             /* nothing was durable: what is bad is cut off */
        return;
    }
    same(plog_offsets(l).leo <= model.off.leo || bare);
    if (check_records(l, bare) && !bare && mode != LOST && d->how != CUT && d->how != REMOVED)
        check_answers(l);
}

static void check_one(const struct damage *d, int partition, enum mode mode)
{
    static const char *const modes[] = { "clean", "durable", "lost" };
    const char *name = file[d->file].name;
    struct plog *l = logmgr_get(b.m, STR_LIT("m"), partition);
    int64_t before;

    snprintf(what, sizeof what, "%s, %s: damage %d at %zu", modes[mode], name, (int)d->how, d->at);
    /* What an entry of this file said leaves no trace: see plog_aborts.c. */
    log_is_whole = mode == LOST || strstr(name, ".txnindex") == NULL ||
                   !(d->how == REMOVED || (d->how == CUT && d->at > 0 && d->at % TXN_INDEX_ENTRY == 0));
    if (strstr(name, ".log") != NULL) {
        log_is_whole = false;
        check_log_damage(l, d, mode);
    } else if (strcmp(name, "partition.metadata") == 0) {
        if (l != NULL)
            check_answers(l);
    } else {
        same(l != NULL);
        same(check_records(l, false));
        check_answers(l);
        lock_take(&l->lock);
        ok(plog_mend(l));
        lock_drop(&l->lock);
        same(check_records(l, false));
        check_answers(l);
        for (size_t i = 0; i < l->n; i++)
            same(atomic_load(&l->segs[i]->suspect) == 0);
    }
    if (l != NULL && partition % 16 == 0) {
        int64_t next;
        before = leo(l);
        same(put(l, (struct put){ .n = 2, .leader_epoch = 9 }) == before && leo(l) == before + 2);
        same(plog_usable(l) == OK && read_from(l, before, 1 << 20, true, &next) && next == before + 2);
    }
    plog_unref(&l);
}

static void checkpoint(const char *name, int n, int64_t offset)
{
    FILE *f = fopen(box_path(&b, name), "w");

    ck_assert_ptr_nonnull(f);
    fprintf(f, "0\n%d\n", n);
    for (int i = 0; i < n; i++)
        fprintf(f, "m %d %" PRId64 "\n", i, offset);
    fclose(f);
}

static void check_many(const struct damage *v, int n, enum mode mode)
{
    char dir[40];

    for (int i = 0; i < n; i++)
        lay_out(i, &v[i]);
    checkpoint(CHECKPOINT_HIGH_WATERMARK, n, model.off.leo);
    checkpoint(CHECKPOINT_RECOVERY_POINT, mode == LOST ? 0 : n, model.off.leo);
    if (mode == CLEAN)
        kit_spill(box_path(&b, CLEAN_SHUTDOWN), "", 0);
    else
        box_reboot(&b);
    (void)box_try_open(&b);
    ck_assert_uint_eq(b.loaded.logs, (size_t)n);
    for (int i = 0; i < n; i++)
        check_one(&v[i], i, mode);
    box_crash(&b);
    for (int i = 0; i < n; i++) {
        snprintf(dir, sizeof dir, "m-%d", i);
        kit_remove(box_path(&b, dir));
    }
}

START_TEST(no_damage_to_any_byte_of_a_log_goes_unseen)
{
    struct damage v[AT_ONCE], d = { 0 };
    size_t total = 0;
    bool more = true;
    int n = 0;

    begin();
    while (more) {
        if (!changes_nothing(&d) && (_i != DURABLE || d.at % 3 == 0))
            v[n++] = d;
        more = next_damage(&d);
        if (n == AT_ONCE || (!more && n > 0)) {
            check_many(v, n, (enum mode)_i);
            total += (size_t)n;
            n = 0;
        }
    }
    printf("%zu damages\n", total);
    ck_assert_uint_gt(total, 2000 / KIT_THIN);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("storage/damage");
    TCase *t = tcase_create("damage");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 200);
    tcase_add_loop_test(t, no_damage_to_any_byte_of_a_log_goes_unseen, 0, MODES);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
