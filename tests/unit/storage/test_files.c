/* tests/unit/storage/test_files.c - the small files, leader epochs and producers, each on its own. */
#include "storage/epochs.h"
#include "storage/producers.h"
#include "tests/unit/storage/kit.h"

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

static int parse(const char *text, struct offset_checkpoint *out, size_t *line)
{
    return offset_checkpoint_parse((uint8_t *)strdup(text), strlen(text), out, line);
}

START_TEST(a_checkpoint_is_read_and_searched)
{
    struct offset_checkpoint c;
    size_t line;

    ok(parse("0\n3\nb 0 7\na.b-c 12 9223372036854775807\na 1\t5\n", &c, &line));
    ck_assert_uint_eq(c.n, 3);
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("b"), 0), 7);
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("a.b-c"), 12), INT64_MAX);
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("a"), 1), 5);
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("a"), 2), -1);
    offset_checkpoint_free(&c);
    ok(parse("", &c, &line));
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("a"), 2), -1);
    offset_checkpoint_free(&c);
    ok(parse("0\r\n1\r\nb 0 7", &c, &line));
    ck_assert_uint_eq(c.n, 1);
    offset_checkpoint_free(&c);
}
END_TEST

START_TEST(a_bad_checkpoint_says_in_which_line)
{
    static const struct {
        const char *text;
        size_t      line;
    } bad[] = {
        { "1\n0\n", 1 }, { "x\n", 1 }, { "0\n", 1 }, { "0\n-1\n", 2 }, { "0\n2\na 0 1\n", 3 },
        { "0\n1\na 0 1\nb 0 1\n", 4 },
        { "0\n1\na 0\n", 3 }, { "0\n1\na 0 1 2\n", 3 }, { "0\n1\na -1 1\n", 3 }, { "0\n1\na 0 -1\n", 3 },
        { "0\n1\na 2147483648 1\n", 3 }, { "0\n1\na 0 9223372036854775808\n", 3 }, { "0\n1\n\n", 2 },
        { "0\n2147483647\na 0 1\n", 2 }, { "\n", 1 }, { "0 0\n0\n", 1 },
    };
    struct offset_checkpoint c;
    size_t line;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(parse(bad[i].text, &c, &line) == ERR_CORRUPT, "%zu", i);
        ck_assert_uint_eq(line, bad[i].line);
    }
}
END_TEST

START_TEST(a_checkpoint_cut_anywhere_is_empty_bad_or_whole)
{
    const char whole[] = "0\n2\ntopic 0 12\ntopic 1 345\n";
    size_t n = strlen(whole);

    for (size_t cut = 0; cut <= n; cut++) {
        struct offset_checkpoint c;
        size_t line;
        char text[64];
        memcpy(text, whole, cut);
        text[cut] = '\0';
        int rc = parse(text, &c, &line);
        ck_assert(rc == OK || rc == ERR_CORRUPT);
        if (rc == OK)
            ck_assert(cut == 0 || c.n == 2);
        offset_checkpoint_free(&c);
    }
}
END_TEST

START_TEST(a_checkpoint_is_written_whole)
{
    struct offset_entry v[] = { { STR_LIT("t"), 3, 77 }, { STR_LIT("s"), 0, 0 } };
    struct offset_checkpoint c;
    struct box b;
    size_t line, n;
    uint8_t *p;
    int fd;

    box_init(&b);
    ok(fio_open(AT_FDCWD, b.path, O_RDONLY | O_DIRECTORY, &fd));
    ok(offset_checkpoint_write(fd, "cp", v, 2));
    p = kit_slurp(box_path(&b, "cp"), &n);
    ck_assert_str_eq((char *)p, "0\n2\nt 3 77\ns 0 0\n");
    free(p);
    ck_assert(!kit_exists(box_path(&b, "cp.tmp")));
    ok(offset_checkpoint_read(fd, "cp", &c, &line));
    ck_assert_int_eq(offset_checkpoint_find(&c, STR_LIT("t"), 3), 77);
    offset_checkpoint_free(&c);
    ok(offset_checkpoint_read(fd, "none", &c, &line));
    ck_assert_uint_eq(c.n, 0);
    fio_close(&fd);
    box_fini(&b);
}
END_TEST

/* ---- meta files ---------------------------------------------------------------------------------------------- */

START_TEST(meta_properties_in_javas_ways)
{
    const char text[] = "#\n#Sat Nov 21\r\n! x\n version = 0\nbroker.id: 17\ncluster.id=ab\\=c\\:d\nunknown=1\n"
                        "directory.id dir\n";
    struct meta_properties m;

    ok(meta_properties_parse(text, sizeof text - 1, &m));
    ck_assert(m.version == 0 && m.broker_id == 17);
    ck_assert_str_eq(m.cluster_id, "ab=c:d");
    ck_assert_str_eq(m.directory_id, "dir");
    ok(meta_properties_parse("", 0, &m));
    ck_assert(m.version == 0 && m.broker_id == -1 && m.cluster_id[0] == '\0');
    fails(meta_properties_parse("broker.id=x\n", 12, &m), ERR_CORRUPT);
    fails(meta_properties_parse("version=99999999999\n", 20, &m), ERR_CORRUPT);
    for (size_t n = 0; n < sizeof text; n++)
        (void)!meta_properties_parse(text, n, &m);
}
END_TEST

START_TEST(partition_metadata_round_trip_and_garbage)
{
    static const char *const bad[] = { "version: x\ntopic_id: abcdefghijklmnopqrstuA",
                                       "topic_id: abcdefghijklmnopqrstuA", "version: 0\n",
                                       "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
                                       "version: 0\ntopic_id: short" };
    struct uuid id = uuid_random(), got;
    struct box b;
    int fd;

    box_init(&b);
    ok(fio_open(AT_FDCWD, b.path, O_RDONLY | O_DIRECTORY, &fd));
    fails(partition_metadata_read(fd, ".", &got), ERR_NOENT);
    ok(partition_metadata_write(fd, ".", id));
    ok(partition_metadata_read(fd, ".", &got));
    ck_assert(uuid_eq(id, got));
    kit_spill(box_path(&b, PARTITION_METADATA), "", 0);
    fails(partition_metadata_read(fd, ".", &got), ERR_NOENT);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fails(partition_metadata_parse(bad[i], strlen(bad[i]), &got), ERR_CORRUPT);
    fio_close(&fd);
    box_fini(&b);
}
END_TEST

/* ---- index files --------------------------------------------------------------------------------------------- */

START_TEST(index_entries_end_where_the_order_breaks)
{
    uint8_t p[20 * TIME_INDEX_ENTRY] = { 0 };

    ck_assert_uint_eq(offset_index_valid(p, 0, 1000), 0);
    ck_assert_uint_eq(offset_index_valid(p, 160, 1000), 0);     /* a preallocated tail */
    for (int i = 0; i < 10; i++)
        offset_index_put(p + i * OFFSET_INDEX_ENTRY, 100, (struct offset_index_entry){ 110 + i, 50 + (uint32_t)i });
    ck_assert_int_eq(offset_index_get(p + 8, 100).offset, 111);
    ck_assert_uint_eq(offset_index_valid(p, 160, 1000), 10);
    ck_assert_uint_eq(offset_index_valid(p, 83, 1000), 10);
    ck_assert_uint_eq(offset_index_valid(p, 79, 1000), 9);
    ck_assert_uint_eq(offset_index_valid(p, 160, 55), 5);       /* what does not lie in the log */
    memset(p, 0, sizeof p);
    ck_assert_uint_eq(time_index_valid(p, 240), 0);
    time_index_put(p, 100, (struct time_index_entry){ 0, 100 });
    ck_assert_uint_eq(time_index_valid(p, 12), 1);              /* the only timestamp is 0 */
    for (int i = 0; i < 10; i++)
        time_index_put(p + i * TIME_INDEX_ENTRY, 100, (struct time_index_entry){ 1000 + i, 105 + i / 2 });
    ck_assert_uint_eq(time_index_valid(p, 240), 10);
    time_index_put(p + 5 * TIME_INDEX_ENTRY, 100, (struct time_index_entry){ 1004, 120 });
    ck_assert_uint_eq(time_index_valid(p, 240), 5);
    time_index_put(p + 5 * TIME_INDEX_ENTRY, 100, (struct time_index_entry){ 1005, 101 });
    ck_assert_uint_eq(time_index_valid(p, 240), 5);
}
END_TEST

/* ---- epochs -------------------------------------------------------------------------------------------------- */

START_TEST(epochs_follow_the_rules)
{
    struct epochs e = { 0 };
    int32_t epoch;
    int64_t end;
    bool changed;

    epochs_end(&e, 0, 10, &epoch, &end);
    ck_assert(epoch == -1 && end == -1);
    ok(epochs_assign(&e, 2, 10, &changed));
    ok(epochs_assign(&e, 2, 12, &changed));
    ck_assert(!changed && e.n == 1);
    ok(epochs_assign(&e, 4, 20, &changed));
    ok(epochs_assign(&e, 6, 30, &changed));
    epochs_end(&e, 0, 40, &epoch, &end);
    ck_assert(epoch == 0 && end == 10);
    epochs_end(&e, 2, 40, &epoch, &end);
    ck_assert(epoch == 2 && end == 20);
    epochs_end(&e, 5, 40, &epoch, &end);
    ck_assert(epoch == 4 && end == 30);
    epochs_end(&e, 6, 40, &epoch, &end);
    ck_assert(epoch == 6 && end == 40);
    epochs_end(&e, 7, 40, &epoch, &end);
    ck_assert(epoch == -1 && end == -1);
    epochs_end(&e, -1, 40, &epoch, &end);
    ck_assert(epoch == -1);
    ck_assert(!epochs_truncate_start(&e, 10));
    ck_assert(epochs_truncate_start(&e, 25));
    ck_assert(e.n == 2 && e.v[0].epoch == 4 && e.v[0].start == 25);
    ck_assert(!epochs_truncate_start(&e, 3));
    ok(epochs_assign(&e, 5, 27, &changed));     /* takes the place of epoch 6 */
    ck_assert(e.n == 2 && e.v[1].epoch == 5);
    ck_assert(epochs_truncate_end(&e, 27) && e.n == 1);
    ck_assert(!epochs_truncate_end(&e, 26));
    epochs_fini(&e);
    ok(epochs_load(&e, (struct epoch_entry[]){ { 3, 10 }, { 1, 20 }, { 5, 15 } }, 3));
    ck_assert(e.n == 1 && e.v[0].epoch == 5);
    epochs_fini(&e);
}
END_TEST

/* ---- producers and snapshots --------------------------------------------------------------------------------- */

static struct batch_head head(int64_t id, int16_t epoch, int32_t seq, int32_t n, int64_t base, int64_t ts)
{
    return (struct batch_head){ .magic = 2, .producer_id = id, .producer_epoch = epoch, .base_sequence = seq,
                                .last_offset_delta = n - 1, .base_offset = base, .last_offset = base + n - 1,
                                .max_timestamp = ts, .count = n };
}

static void note(struct producers *ps, int64_t id, int16_t epoch, int32_t seq, int32_t n, int64_t base, int64_t ts)
{
    struct batch_head h = head(id, epoch, seq, n, base, ts);
    struct txn_done done;

    ok(producers_reserve(ps, id));
    ok(producers_replay(ps, &h, NULL, &done));
}

static int ask(struct producers *ps, int64_t id, int16_t epoch, int32_t seq, int32_t n, bool *dup)
{
    struct batch_head h = head(id, epoch, seq, n, -1, -1);
    struct producer_batch d;

    return producers_check(ps, &h, dup, &d);
}

START_TEST(sequences_wrap_after_the_largest)
{
    struct producers ps = { 0 };
    bool dup;

    note(&ps, 1, 0, INT32_MAX - 4, 3, 0, 1);
    ok(ask(&ps, 1, 0, INT32_MAX - 1, 5, &dup));
    note(&ps, 1, 0, INT32_MAX - 1, 5, 3, 1);            /* .. 2147483647, 0, 1, 2 */
    ok(ask(&ps, 1, 0, INT32_MAX - 1, 5, &dup));
    ck_assert(dup);
    ok(ask(&ps, 1, 0, 3, 1, &dup));
    ck_assert(!dup);
    fails(ask(&ps, 1, 0, 2, 1, &dup), ERR_SEQUENCE);
    fails(ask(&ps, 1, 0, 4, 1, &dup), ERR_SEQUENCE);
    note(&ps, 2, 0, INT32_MAX, 1, 8, 1);
    ok(ask(&ps, 2, 0, 0, 1, &dup));
    ck_assert(!dup);
    fails(ask(&ps, 2, 0, 1, 1, &dup), ERR_SEQUENCE);
    producers_fini(&ps);
}
END_TEST

START_TEST(producers_expire_and_survive_in_snapshots)
{
    struct producers ps = { 0 }, back = { 0 };
    struct snapshot_entry *v;
    uint8_t *p;
    size_t len, n;
    bool dup;

    note(&ps, 1, 0, 0, 2, 0, 1000);
    note(&ps, 2, 3, 7, 1, 2, 2000);
    note(&ps, 2, 3, 8, 4, 3, 2500);
    producers_expire(&ps, 2000, 1001);
    ck_assert_uint_eq(producers_count(&ps), 2);
    producers_expire(&ps, 2000, 1000);
    ck_assert_uint_eq(producers_count(&ps), 1);
    ok(producers_reserve(&ps, 9));
    producers_unreserve(&ps, 9);
    ck_assert_uint_eq(producers_count(&ps), 1);
    ok(producers_snapshot(&ps, &p, &len));
    ck_assert_uint_eq(len, SNAPSHOT_HEAD + SNAPSHOT_ENTRY);
    ok(snapshot_parse(p, len, &v, &n));
    ck_assert(n == 1 && v[0].producer_id == 2 && v[0].epoch == 3 && v[0].last_sequence == 11 && v[0].last_offset == 6 &&
              v[0].offset_delta == 3 && v[0].timestamp == 2500 && v[0].coordinator_epoch == -1 &&
              v[0].txn_first_offset == -1);
    ok(producers_load(&back, v, n));
    ok(ask(&back, 2, 3, 8, 4, &dup));
    ck_assert(dup);
    fails(ask(&back, 2, 3, 7, 1, &dup), ERR_SEQUENCE);          /* only the last batch is kept */
    ok(ask(&back, 2, 3, 12, 1, &dup));
    free(v);
    for (size_t i = 0; i < len; i++) {          /* every cut, every flipped bit */
        ck_assert_int_ne(snapshot_parse(p, i, &v, &n), OK);
        p[i] ^= 1;
        ck_assert_int_ne(snapshot_parse(p, len, &v, &n), OK);
        p[i] ^= 1;
    }
    free(p);
    producers_fini(&ps);
    producers_fini(&back);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { a_checkpoint_is_read_and_searched, 0 },
        { a_bad_checkpoint_says_in_which_line, 0 },
        { a_checkpoint_cut_anywhere_is_empty_bad_or_whole, 0 },
        { a_checkpoint_is_written_whole, 0 },
        { meta_properties_in_javas_ways, 0 },
        { partition_metadata_round_trip_and_garbage, 0 },
        { index_entries_end_where_the_order_breaks, 0 },
        { epochs_follow_the_rules, 0 },
        { sequences_wrap_after_the_largest, 0 },
        { producers_expire_and_survive_in_snapshots, 0 },
    };

    return kit_main("storage/files", tests, sizeof tests / sizeof tests[0]);
}
