/* tests/unit/storage/test_golden.c - data directories that Apache Kafka 3.9.1 wrote, opened by us. Needs golden data
 * (KLAMM_SHARED, or shared beside the checkout); without it the tests say that they are skipped.
 */
#include "tests/unit/storage/kit.h"

#include <jansson.h>
#include <sys/wait.h>

static struct box b;

static const char *shared_file(const char *name)
{
    static char path[4096];
    const char *shared = getenv("KLAMM_SHARED");

    snprintf(path, sizeof path, "%s/golden/%s", shared != NULL ? shared : "../shared", name);
    if (kit_exists(path))
        return path;
    printf("skipped: no %s\n", path);
    return NULL;
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

/* The broker's data in b.path/data becomes b.path; what is expected lies in b.path-expected. */
static bool unpack_state(const char *state)
{
    char name[100], expected[PATH_MAX + 20];
    const char *tar;

    box_init(&b);
    snprintf(name, sizeof name, "datadir-3.9.1-%s.tar.xz", state);
    tar = shared_file(name);
    if (tar == NULL)
        return false;
    unpack(tar, b.path);
    snprintf(expected, sizeof expected, "%s-expected", b.path);
    ck_assert_int_eq(mkdir(expected, 0755), 0);
    tar = shared_file("expected-3.9.1.tar.xz");
    ck_assert_ptr_nonnull(tar);
    unpack(tar, expected);
    b.log.segment_bytes = 32768;
    b.log.index_interval_bytes = 512;
    b.log.retention_ms = -1;
    return true;
}

/* As box_try_open(), with the ids that the directory has. */
static void open_data(void)
{
    static char data[PATH_MAX + 8];
    const char *dirs[1] = { data };
    const struct logmgr_identity *id;

    snprintf(data, sizeof data, "%s/data", b.path);
    b.o.dirs = dirs;
    b.o.dirs_n = 1;
    ok(logmgr_open(&b.o, &b.m));
    id = logmgr_found_identity(b.m);
    ck_assert_int_eq(id->broker_id, 0);
    ok(logmgr_identify(b.m, 0, id->cluster_id));
    ok(kit_load(b.m, box_opts, &b, &b.loaded));
}

static struct plog *log_of(const char *dir)
{
    const char *dash = strrchr(dir, '-');
    struct plog *l = logmgr_get(b.m, (struct str){ dir, (size_t)(dash - dir) }, (int32_t)strtol(dash + 1, NULL, 10));

    ck_assert_msg(l != NULL, "%s is not there", dir);
    return l;
}

static int64_t int_of(json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

/* One line of batches.jsonl: the batch must be found by its offset, where it was. */
static bool check_batch(json_t *o)
{
    const char *dir = json_string_value(json_object_get(o, "dir"));
    int64_t base = int_of(o, "baseOffset"), last = int_of(o, "lastOffset"), ask;
    struct plog *l;
    struct plog_read r;
    struct batch_head h;
    uint8_t *p;

    if (strstr(dir, "-delete") != NULL)
        return false;
    l = log_of(dir);
    ask = base > plog_offsets(l).start ? base : plog_offsets(l).start;
    if (ask > last) {
        plog_unref(&l);
        return false;
    }
    ok(plog_read(l, ask, INT64_MAX, 0, true, &r));
    ck_assert_msg(!slice_is_null(r.records), "%s %" PRId64, dir, base);
    p = malloc(r.records.len);
    ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
    ok(batch_head_read(&h, p, r.records.len));
    ok(batch_check(&h, p));
    ck_assert_int_eq(h.base_offset, base);
    ck_assert_int_eq(h.last_offset, last);
    ck_assert_int_eq(h.crc, int_of(o, "crc"));
    ck_assert_int_eq(h.size_bytes, int_of(o, "size"));
    ck_assert_int_eq(h.producer_id, int_of(o, "producerId"));
    ck_assert_int_eq(r.records.pos, int_of(o, "position"));
    ck_assert_int_eq(r.segment_base, strtol(json_string_value(json_object_get(o, "file")), NULL, 10));
    free(p);
    plog_read_done(&r);
    plog_unref(&l);
    return true;
}

static void check_batches(const char *state)
{
    char path[PATH_MAX + 100], *line = NULL;
    size_t cap = 0, n = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s-expected/expected-3.9.1/%s/batches.jsonl", b.path, state);
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (getline(&line, &cap, f) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        n += check_batch(o);
        json_decref(o);
    }
    ck_assert_uint_gt(n, 1000);
    printf("%s: %zu batches found by their offsets\n", state, n);
    free(line);
    fclose(f);
}

static void clean_up(void)
{
    char expected[PATH_MAX + 20];

    snprintf(expected, sizeof expected, "%s-expected", b.path);
    kit_remove(expected);
    box_fini(&b);
}

START_TEST(every_batch_of_a_directory_closed_cleanly_is_found)
{
    if (unpack_state("clean")) {
        for (int i = 0; i < 2; i++) {
            open_data();
            ck_assert_uint_eq(b.loaded.recovered, 0);
            ck_assert_uint_gt(b.loaded.logs, 80);
            check_batches("clean");
            box_stop(&b);
        }
    }
    clean_up();
}
END_TEST

START_TEST(every_batch_of_a_directory_after_kill_9_is_found)
{
    if (unpack_state("kill9")) {
        for (int i = 0; i < 2; i++) {
            open_data();
            ck_assert_uint_eq(b.loaded.recovered, b.loaded.logs);
            check_batches("kill9");
            box_crash(&b);
        }
    }
    clean_up();
}
END_TEST

/* ---- indexes from the batches -------------------------------------------------------------------------------- */

struct kept {
    char     path[600];
    uint8_t *p;
    size_t   n;
    bool     last;                      /* of the active segment: Kafka counted from its restarts there */
};

static size_t keep_indexes(const char *dir, struct kept *v, size_t max)
{
    char folder[300];
    struct dirent **names;
    int n, last = -1;
    size_t kept = 0;

    snprintf(folder, sizeof folder, "data/%s", dir);
    n = scandir(box_path(&b, folder), &names, kit_not_dots, alphasort);
    ck_assert_int_gt(n, 0);
    for (int i = 0; i < n; i++)
        if (strstr(names[i]->d_name, ".log") != NULL)
            last = i;
    for (int i = 0; i < n; i++) {
        if (strstr(names[i]->d_name, "index") != NULL && kept < max) {
            struct kept *k = &v[kept++];
            snprintf(k->path, sizeof k->path, "%s/%s", folder, names[i]->d_name);
            k->p = kit_slurp(box_path(&b, k->path), &k->n);
            k->last = strncmp(names[i]->d_name, names[last]->d_name, 20) == 0;
            ok(fio_unlink(AT_FDCWD, box_path(&b, k->path)));
        }
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return kept;
}

START_TEST(indexes_made_anew_are_those_that_kafka_wrote)
{
    static const char *const dirs[] = { "plain-v2-0", "plain-v2-1", "codec-gzip-0", "codec-gzip-1", "codec-lz4-0",
                                        "codec-snappy-2", "codec-zstd-3", "codec-mixed-0", "idem-0", "idem-1" };
    static struct kept v[200];
    size_t n = 0, same = 0, other = 0;

    if (unpack_state("clean")) {
        for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
            n += keep_indexes(dirs[i], v + n, 200 - n);
        open_data();
        box_stop(&b);
        for (size_t i = 0; i < n; i++) {
            size_t m;
            uint8_t *p = kit_slurp(box_path(&b, v[i].path), &m);
            bool equal = m == v[i].n && memcmp(p, v[i].p, m) == 0;
            ck_assert_msg(equal || v[i].last, "%s differs: %zu bytes, Kafka's has %zu", v[i].path, m, v[i].n);
            same += equal;
            other += !equal;
            free(p);
            free(v[i].p);
        }
        printf("%zu index files equal Kafka's, %zu of active segments do not\n", same, other);
        ck_assert_uint_gt(same, 10);
    }
    clean_up();
}
END_TEST

START_TEST(aborted_transactions_found_anew_are_those_that_kafka_wrote)
{
    static const char *const dirs[] = { "__consumer_offsets-1", "__consumer_offsets-4", "txn-0", "txn-1", "txn-multi-0",
                                        "txn-multi-1", "txn-multi-2", "txn-fenced-0", "txn-open-0", "load-txn-0" };
    static struct kept v[200];
    size_t n = 0, same = 0;

    if (unpack_state("clean")) {
        for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
            char folder[300];
            snprintf(folder, sizeof folder, "data/%s", dirs[i]);
            if (kit_exists(box_path(&b, folder)))
                n += keep_indexes(dirs[i], v + n, 200 - n);
        }
        open_data();
        box_stop(&b);
        for (size_t i = 0; i < n; i++) {
            size_t m = 0;
            if (strstr(v[i].path, ".txnindex") != NULL) {
                uint8_t *p = kit_slurp(box_path(&b, v[i].path), &m);
                ck_assert_msg(m == v[i].n && memcmp(p, v[i].p, m) == 0, "%s differs", v[i].path);
                free(p);
                same++;
            }
            free(v[i].p);
        }
        printf("%zu indexes of aborted transactions equal Kafka's\n", same);
        ck_assert_uint_gt(same, 5);
    }
    clean_up();
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { every_batch_of_a_directory_closed_cleanly_is_found, 60 },
        { every_batch_of_a_directory_after_kill_9_is_found, 60 },
        { indexes_made_anew_are_those_that_kafka_wrote, 60 },
        { aborted_transactions_found_anew_are_those_that_kafka_wrote, 60 },
    };

    return kit_main("storage/golden", tests, sizeof tests / sizeof tests[0]);
}
