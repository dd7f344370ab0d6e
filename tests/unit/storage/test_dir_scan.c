/* tests/unit/storage/test_dir_scan.c - which partitions a directory holds, whatever its small files look like. */
#include "tests/unit/storage/kit.h"

#include "storage/dir_scan.h"

#define EPOCHS "0\n2\n0 0\n7 100\n"
#define META   "version: 0\ntopic_id: Qs09DABEStyWQoAiJGkoAA"

struct seen {
    size_t      n;
    char        name[300];
    struct uuid id;
    int32_t     epoch;
    int         rc;                     /* to give back */
};

static char dir[PATH_MAX];

static int visit(void *arg, const struct dir_scan_found *f)
{
    struct seen *s = arg;

    s->n++;
    snprintf(s->name, sizeof s->name, "%.*s-%d", STR_ARG(f->topic), f->partition);
    s->id = f->topic_id;
    s->epoch = f->epoch;
    return s->rc;
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof dir, "%s/klamm-scan-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void make(const char *name)
{
    char path[PATH_MAX + 300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void spill(const char *name, const void *p, size_t n)
{
    char path[PATH_MAX + 300];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    kit_spill(path, p, n);
}

static struct seen scan(bool names_only)
{
    struct dir_scan_rest rest = { 0 };
    struct seen s = { .n = 0 };

    ok(dir_scan(dir, names_only, visit, &s, &rest));
    return s;
}

START_TEST(names_say_what_is_a_partition)
{
    static const char *const others[] = { "t", "t-", "-1", "t--1x", "t-x", "t-99999999999", "lost+found",
                                          "__cluster_metadata-0", "remote-log-index-cache",
                                          "a-0.0123456789abcdef0123456789abcdef-delete",
                                          "a-1.0123456789abcdef0123456789abcdef-future",
                                          "a-2.0123456789abcdef0123456789abcdef-stray" };
    struct dir_scan_rest rest = { 0 };
    struct seen s = { .n = 0 };

    begin();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        make(others[i]);
    spill("file-0", "", 0);
    ok(dir_scan(dir, false, visit, &s, &rest));
    ck_assert_uint_eq(s.n, 0);
    ck_assert_uint_eq(rest.deletions, 1);
    ck_assert_uint_eq(rest.futures, 1);
    ck_assert_uint_eq(rest.strays, 1);
    ck_assert(rest.kraft);
    make("x-y-2147483647");
    s.rc = ERR_LIMIT;
    fails(dir_scan(dir, false, visit, &s, &rest), ERR_LIMIT);
    ck_assert_str_eq(s.name, "x-y-2147483647");
    ck_assert_int_eq(s.epoch, -1);
    kit_remove(dir);
    fails(dir_scan(dir, false, visit, &s, &rest), ERR_NOENT);
}
END_TEST

/* Whatever is cut off or changed: a value that the file has, or none. */
START_TEST(damaged_small_files)
{
    char text[64];
    struct seen s;

    begin();
    make("t-0");
    spill("t-0/leader-epoch-checkpoint", EPOCHS, sizeof EPOCHS - 1);
    spill("t-0/partition.metadata", META, sizeof META - 1);
    s = scan(false);
    ck_assert_int_eq(s.epoch, 7);
    ck_assert(!uuid_is_zero(s.id));
    s = scan(true);
    ck_assert_int_eq(s.epoch, -1);
    ck_assert(uuid_is_zero(s.id));
    for (size_t i = 0; i < 8 * (sizeof EPOCHS - 1); i++) {
        memcpy(text, EPOCHS, sizeof EPOCHS);
        text[i / 8] = (char)(text[i / 8] ^ (1 << i % 8));
        spill("t-0/leader-epoch-checkpoint", text, sizeof EPOCHS - 1);
        ck_assert_int_ge(scan(false).epoch, -1);
        spill("t-0/leader-epoch-checkpoint", EPOCHS, i / 8);
        s = scan(false);
        ck_assert(s.epoch == -1 || s.epoch == 7);       /* only the end of the last line is missing */
    }
    for (size_t i = 0; i < sizeof META - 1; i++) {
        spill("t-0/partition.metadata", META, i);
        ck_assert(uuid_is_zero(scan(false).id));
    }
    kit_remove(dir);
}
END_TEST

/* Without its file the epoch is that of the last segment's batches. */
START_TEST(the_epoch_of_batches)
{
    uint8_t log[BATCH_HEAD_BYTES] = { 0 };

    begin();
    make("t-0");
    log[11] = BATCH_HEAD_BYTES - 12;
    log[15] = 9;
    log[16] = 2;
    spill("t-0/00000000000000000000.log", log, sizeof log);
    ck_assert_int_eq(scan(false).epoch, 9);
    spill("t-0/00000000000000000005.log", log, 0);
    ck_assert_int_eq(scan(false).epoch, -1);
    for (size_t i = 0; i < sizeof log; i++) {
        spill("t-0/00000000000000000005.log", log, i);
        ck_assert_int_eq(scan(false).epoch, -1);
    }
    memset(log, 0xFF, sizeof log);
    spill("t-0/00000000000000000005.log", log, sizeof log);
    ck_assert_int_eq(scan(false).epoch, -1);
    kit_remove(dir);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { names_say_what_is_a_partition, 0 },
        { damaged_small_files, 0 },
        { the_epoch_of_batches, 0 },
    };

    return kit_main("storage/dir_scan", tests, sizeof tests / sizeof tests[0]);
}
