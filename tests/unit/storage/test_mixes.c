/* tests/unit/storage/test_mixes.c - every mix of files that a cleaner, a split or a deletion can leave behind, against
 * a model that knows names only; and the same when opening is killed in the midst.
 *
 * Each mix is a partition of its own, "m-<bits>", so that one opening takes them all.
 */
#include "tests/unit/storage/kit.h"

#include <sys/wait.h>

#define BATCHES 30

static struct box b;

/* ---- contents ------------------------------------------------------------------------------------------------ */

static struct {
    uint8_t *p;
    size_t   n;
} batch[BATCHES];

/* What a .log may hold: offsets of its batches, each of one record. */
enum content { OLD_0, OLD_10, OLD_20, LONG_0, MERGED_0, SPLIT_0, SPLIT_10, NO_CONTENT };

static const char *const offsets_of[] = {
    [OLD_0] = "0123456789", [OLD_10] = "abcdefghij", [OLD_20] = "klmnopqrst", [LONG_0] = "0123456789abcdefghij",
    [MERGED_0] = "037cj", [SPLIT_0] = "0123456789", [SPLIT_10] = "abcdefghij", [NO_CONTENT] = "",
};

static size_t offset_of(char c)
{
    return (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void make_batches(void)
{
    for (int i = 0; i < BATCHES; i++) {
        batch[i].p = kit_batch((struct put){ .value = 30, .ts = kit_clock_ms + i }, &batch[i].n);
        batch_set_base_offset(batch[i].p, i);
        batch_set_leader_epoch(batch[i].p, 0);
    }
}

static void drop_batches(void)
{
    for (int i = 0; i < BATCHES; i++)
        free(batch[i].p);
}

static uint8_t *bytes_of(enum content c, size_t *n)
{
    uint8_t *p = malloc(BATCHES * 300);

    *n = 0;
    for (const char *o = offsets_of[c]; *o != '\0'; o++) {
        memcpy(p + *n, batch[offset_of(*o)].p, batch[offset_of(*o)].n);
        *n += batch[offset_of(*o)].n;
    }
    return p;
}

/* ---- mixes --------------------------------------------------------------------------------------------------- */

struct file {
    int          base;
    const char  *kind;                  /* "log", ... */
    const char  *state;                 /* "", ".cleaned", ".swap", ".deleted" */
    enum content content;
};

static const struct file cleaning[] = {
    { 0, "log", "", OLD_0 },            { 0, "index", "", NO_CONTENT },         { 0, "timeindex", "", NO_CONTENT },
    { 0, "log", ".deleted", OLD_0 },    { 0, "log", ".cleaned", MERGED_0 },     { 0, "index", ".cleaned", NO_CONTENT },
    { 0, "log", ".swap", MERGED_0 },    { 0, "index", ".swap", NO_CONTENT },    { 10, "log", "", OLD_10 },
    { 10, "index", "", NO_CONTENT },    { 10, "log", ".deleted", OLD_10 },      { 20, "log", "", OLD_20 },
};

static const struct file splitting[] = {
    { 0, "log", "", LONG_0 },           { 0, "log", ".deleted", LONG_0 },       { 0, "log", ".cleaned", SPLIT_0 },
    { 0, "log", ".swap", SPLIT_0 },     { 0, "txnindex", ".swap", NO_CONTENT }, { 10, "log", ".cleaned", SPLIT_10 },
    { 10, "log", ".swap", SPLIT_10 },   { 10, "index", ".swap", NO_CONTENT },   { 10, "log", "", SPLIT_10 },
    { 10, "timeindex", ".swap", NO_CONTENT },   { 0, "txnindex", "", NO_CONTENT },
};

struct mix {
    const struct file *v;
    unsigned           n, bits;
};

static void file_path(const struct mix *m, const struct file *f, char out[SEGMENT_PATH_MAX])
{
    snprintf(out, SEGMENT_PATH_MAX, "m-%u/%020d.%s%s", m->bits, f->base, f->kind, f->state);
}

static void lay_out(const struct mix *m)
{
    char path[SEGMENT_PATH_MAX];

    snprintf(path, sizeof path, "m-%u", m->bits);
    ck_assert_int_eq(mkdir(box_path(&b, path), 0755), 0);
    for (unsigned i = 0; i < m->n; i++) {
        uint8_t *p;
        size_t n;
        if ((m->bits >> i & 1) == 0)
            continue;
        p = bytes_of(m->v[i].content, &n);
        file_path(m, &m->v[i], path);
        kit_spill(box_path(&b, path), p, n);
        free(p);
    }
}

/* What must be the segments at 0, 10 and 20 after that; NO_CONTENT: none. */
struct outcome {
    enum content at[3];
};

static bool is(const struct file *f, const char *kind, const char *state)
{
    return strcmp(f->kind, kind) == 0 && strcmp(f->state, state) == 0;
}

/* log-directory.md, 8: the four passes, on names. */
static struct outcome model(const struct mix *m)
{
    struct outcome o = { { NO_CONTENT, NO_CONTENT, NO_CONTENT } };
    int lowest_cleaned = 100, low = 100, end = 0;

    for (unsigned i = 0; i < m->n; i++)
        if ((m->bits >> i & 1) != 0 && strcmp(m->v[i].state, ".cleaned") == 0 && m->v[i].base < lowest_cleaned)
            lowest_cleaned = m->v[i].base;
    for (unsigned i = 0; i < m->n; i++)
        if ((m->bits >> i & 1) != 0 && is(&m->v[i], "log", ".swap") && m->v[i].base < lowest_cleaned) {
            const char *last = offsets_of[m->v[i].content];
            int next = (int)offset_of(last[strlen(last) - 1]) + 1;
            low = m->v[i].base < low ? m->v[i].base : low;
            end = next > end ? next : end;
            o.at[m->v[i].base / 10] = m->v[i].content;
        }
    for (unsigned i = 0; i < m->n; i++)
        if ((m->bits >> i & 1) != 0 && is(&m->v[i], "log", "") && (m->v[i].base < low || m->v[i].base >= end))
            o.at[m->v[i].base / 10] = m->v[i].content;
    return o;
}

/* No protocol leaves these: the long segment beside one that was split off it. */
static bool impossible(const struct outcome *o)
{
    return o->at[0] == LONG_0 && o->at[1] == SPLIT_10;
}

static void check_names(const struct mix *m, const struct outcome *o)
{
    char dir[60];
    struct dirent **v;
    int n, logs = 0;

    snprintf(dir, sizeof dir, "m-%u", m->bits);
    n = scandir(box_path(&b, dir), &v, kit_not_dots, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = v[i]->d_name, *more;
        enum segment_file f;
        int64_t base;
        if (segment_name_parse(name, &base, &f, &more)) {
            ck_assert_msg(*more == '\0', "%s/%s is left", dir, name);
            logs += f == SEGMENT_LOG;
            if (f != SEGMENT_SNAPSHOT && (o->at[0] != NO_CONTENT || o->at[1] != NO_CONTENT || o->at[2] != NO_CONTENT))
                ck_assert_msg(base % 10 == 0 && base <= 20 && o->at[base / 10] != NO_CONTENT, "%s/%s", dir, name);
        }
        free(v[i]);
    }
    free(v);
    for (int i = 0; i < 3; i++)
        logs -= o->at[i] != NO_CONTENT;
    /* A log without any segment gets one. */
    ck_assert_msg(logs == 0 || (logs == 1 && o->at[0] == NO_CONTENT && o->at[1] == NO_CONTENT), "%s: %d", dir, logs);
}

static void check_mix(const struct mix *m)
{
    struct outcome o = model(m);
    struct plog *l = logmgr_get(b.m, STR_LIT("m"), (int32_t)m->bits);
    char path[SEGMENT_PATH_MAX];

    ck_assert_ptr_nonnull(l);
    check_names(m, &o);
    for (int i = 0; i < 3; i++) {
        size_t n, got;
        uint8_t *want, *p;
        if (o.at[i] == NO_CONTENT)
            continue;
        want = bytes_of(o.at[i], &n);
        snprintf(path, sizeof path, "m-%u/%020d.log", m->bits, i * 10);
        p = kit_slurp(box_path(&b, path), &got);
        ck_assert_msg(got == n && memcmp(p, want, n) == 0, "%s is not what it should be", path);
        free(p);
        free(want);
    }
    for (size_t i = 0; i < l->n; i++) {
        segment_path(&l->place, l->segs[i]->base, SEGMENT_INDEX, "", path);
        ck_assert(kit_exists(box_path(&b, path)));
        segment_path(&l->place, l->segs[i]->base, SEGMENT_TIMEINDEX, "", path);
        ck_assert(kit_exists(box_path(&b, path)));
    }
    /* Every batch is found by its offset. */
    for (int i = 0; i < 3; i++)
        for (const char *at = offsets_of[o.at[i]]; *at != '\0'; at++) {
            struct plog_read r;
            struct plog_at t;
            int64_t offset = (int64_t)offset_of(*at);
            ok(plog_read(l, offset, INT64_MAX, 1, true, &r));
            ck_assert_uint_eq(r.first_batch_bytes, batch[offset].n);
            plog_read_done(&r);
            ok(plog_offset_for_time(l, kit_clock_ms + offset, &t));
            ck_assert_int_eq(t.offset, offset);
        }
    plog_unref(&l);
}

static size_t lay_out_all(const struct file *v, unsigned n, unsigned step)
{
    size_t made = 0;

    for (unsigned bits = 0; bits < 1U << n; bits += step * KIT_THIN) {
        struct mix m = { v, n, bits };
        struct outcome o = model(&m);
        if (impossible(&o))
            continue;
        lay_out(&m);
        made++;
    }
    return made;
}

static void check_all(const struct file *v, unsigned n, unsigned step)
{
    for (unsigned bits = 0; bits < 1U << n; bits += step * KIT_THIN) {
        struct mix m = { v, n, bits };
        struct outcome o = model(&m);
        if (!impossible(&o))
            check_mix(&m);
    }
}

static void begin(void)
{
    make_batches();
    box_init(&b);
    b.log.index_interval_bytes = 100;
    b.log.segment_bytes = 1 << 20;
    b.o.recovery_threads = 2;
    box_open(&b);                       /* its meta.properties, and the marks */
    box_stop(&b);
}

static void end(void)
{
    box_fini(&b);
    drop_batches();
}

/* All of them opened after no clean stop, or after one; then again. */
static void every_mix(const struct file *v, unsigned n, bool clean)
{
    unsigned step = clean ? 3 : 1;      /* a clean stop leaves none of these, if nobody meddles */
    size_t made;

    begin();
    made = lay_out_all(v, n, step);
    if (!clean)
        ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
    for (int i = 0; i < 2; i++) {
        box_open(&b);
        ck_assert_uint_eq(b.loaded.logs, made);
        check_all(v, n, step);
        if (clean)
            box_stop(&b);
        else
            box_crash(&b);
    }
    printf("%zu mixes\n", made);
    end();
}

START_TEST(every_mix_that_a_cleaning_leaves_is_settled)
{
    every_mix(cleaning, sizeof cleaning / sizeof cleaning[0], _i == 0);
}
END_TEST

START_TEST(every_mix_that_a_split_leaves_is_settled)
{
    every_mix(splitting, sizeof splitting / sizeof splitting[0], _i == 0);
}
END_TEST

/* ---- killed in the midst ------------------------------------------------------------------------------------- */

#define STEP 37                         /* of the mixes */

/* A child's child opens them all and dies at the n-th passing of the point; in processes of their own, since kill
 * points are read from the environment once. False: there is no n-th pass. */
static bool die_at(const struct file *v, unsigned n, const char *point, int pass)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        make_batches();
        box_init(&b);
        b.log.index_interval_bytes = 100;
        b.o.recovery_threads = 1;
        (void)lay_out_all(v, n, STEP);
        pid = fork();
        if (pid == 0) {
            char at[60];
            snprintf(at, sizeof at, "%s:%d", point, pass);
            setenv("KLAMM_KILL_AT", at, 1);
            _exit(box_try_open(&b) == OK ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(status == 0 || WIFSIGNALED(status));
        box_open(&b);
        check_all(v, n, STEP);
        end();
        _exit(status == 0 ? 7 : 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7), "%s:%d", point, pass);
    return WEXITSTATUS(status) == 0;
}

static size_t deaths(const struct file *v, unsigned n, const char *point)
{
    size_t died = 0;

    for (int pass = 1; die_at(v, n, point, pass); pass += 1 + pass / 3)
        died++;
    return died;
}

START_TEST(dying_while_it_is_settled_changes_nothing)
{
#ifdef KLAMM_KILL_POINTS
    static const char *const points[] = { "swap.removed", "swap.renamed", "list.removed" };
    size_t n = 0;

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        n += deaths(cleaning, sizeof cleaning / sizeof cleaning[0], points[i]);
        n += deaths(splitting, sizeof splitting / sizeof splitting[0], points[i]);
    }
    printf("%zu deaths\n", n);
    ck_assert_uint_gt(n, 30 / KIT_THIN);
#else
    (void)deaths;
    printf("skipped: this build has no kill points (SANITIZE=address or thread has them)\n");
#endif
}
END_TEST

/* ---- what is not sound --------------------------------------------------------------------------------------- */

/* Nothing is removed for a segment that could not take the place. */
START_TEST(a_damaged_swap_file_is_refused_and_nothing_is_lost)
{
    struct mix m = { cleaning, sizeof cleaning / sizeof cleaning[0], 0xb43 };
    struct plog *l;
    uint32_t sum;
    size_t n;

    begin();
    lay_out(&m);
    n = kit_size(box_path(&b, "m-2883/00000000000000000000.log.swap"));
    ck_assert_uint_gt(n, 0);
    kit_flip(box_path(&b, "m-2883/00000000000000000000.log.swap"), n - batch[19].n + 16, 0x40);
    sum = kit_sum(box_path(&b, "m-2883"));
    fails(box_try_open(&b), ERR_OFFLINE);
    box_crash(&b);
    ck_assert_uint_eq(kit_sum(box_path(&b, "m-2883")), sum);
    ok(fio_unlink(AT_FDCWD, box_path(&b, "m-2883/00000000000000000000.log.swap")));
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("m"), 2883);
    ck_assert_int_eq(leo(l), BATCHES);
    kit_check_whole(l);
    plog_unref(&l);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("storage/mixes");
    TCase *t = tcase_create("mixes");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, every_mix_that_a_cleaning_leaves_is_settled, 0, 2);
    tcase_add_loop_test(t, every_mix_that_a_split_leaves_is_settled, 0, 2);
    tcase_add_test(t, dying_while_it_is_settled_changes_nothing);
    tcase_add_test(t, a_damaged_swap_file_is_refused_and_nothing_is_lost);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
