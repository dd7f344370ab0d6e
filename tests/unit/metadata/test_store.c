/* tests/unit/metadata/test_store.c - the embedded metadata store: what a tree of versioned nodes promises,
 * watches, group commit, and what is left after kill -9. */
#include "metadata/lmdb_store.h"

#include "base/clock.h"
#include "base/lock.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char          dir[64];
static struct store *store;

static void open_store(void)
{
    ck_assert_int_eq(lmdb_store_open(&store, dir), OK);
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/klamm-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_store();
}

static void teardown(void)
{
    char path[128];

    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    unlink(path);
    rmdir(dir);
}

/* ---- one call, waited for ----------------------------------------------------------------------------------- */

static struct store_call *last;

static struct store_call *call_new(void)
{
    store_call_free(&last);
    last = store_call_new(NULL, NULL);
    ck_assert_ptr_nonnull(last);
    return last;
}

static struct bytes text(const char *z)
{
    return (struct bytes){ (const uint8_t *)z, strlen(z) };
}

static int create(const char *path, const char *data, unsigned flags)
{
    store_create(call_new(), path, text(data), flags);
    return store_run(store, last);
}

static int set(const char *path, const char *data, int32_t version)
{
    store_set(call_new(), path, text(data), version);
    return store_run(store, last);
}

static int del(const char *path, int32_t version)
{
    store_delete(call_new(), path, version);
    return store_run(store, last);
}

static int get(const char *path, unsigned flags)
{
    store_get(call_new(), path, flags);
    return store_run(store, last);
}

static int exists(const char *path, unsigned flags)
{
    store_exists(call_new(), path, flags);
    return store_run(store, last);
}

static int children(const char *path, unsigned flags)
{
    store_children(call_new(), path, flags);
    return store_run(store, last);
}

static void check_value(const char *path, const char *value)
{
    ck_assert_int_eq(get(path, 0), OK);
    ck_assert_str_eq((const char *)last->ops[0].value.p, value);
    ck_assert_uint_eq(last->ops[0].value.len, strlen(value));
}

static void check_children(const char *path, const char *joined)
{
    char buf[4096] = "";

    ck_assert_int_eq(children(path, 0), OK);
    for (size_t i = 0; i < last->ops[0].children_n; i++)
        snprintf(buf + strlen(buf), sizeof buf - strlen(buf), "%s%s", i ? " " : "", last->ops[0].children[i].p);
    ck_assert_str_eq(buf, joined);
    ck_assert_uint_eq(last->ops[0].children_n, (size_t)last->ops[0].stat.num_children);
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

START_TEST(nodes_have_data_versions_and_transactions)
{
    struct store_stat a, b;

    ck_assert_int_eq(create("/a", "one", 0), OK);
    a = last->ops[0].stat;
    ck_assert_int_eq(a.version, 0);
    ck_assert_int_eq(a.data_length, 3);
    ck_assert_int_eq(a.ephemeral_owner, 0);
    ck_assert_int_eq(a.czxid, a.mzxid);
    ck_assert_int_ge(wall_ms(), a.ctime_ms);
    ck_assert_int_eq(set("/a", "three", 0), OK);
    b = last->ops[0].stat;
    ck_assert_int_eq(b.version, 1);
    ck_assert_int_eq(b.czxid, a.czxid);
    ck_assert_int_gt(b.mzxid, a.mzxid);
    ck_assert_int_eq(b.data_length, 5);
    check_value("/a", "three");
    ck_assert_int_eq(last->ops[0].stat.mzxid, b.mzxid);
    ck_assert_int_eq(create("/empty", "", 0), OK);
    check_value("/empty", "");
    check_children("/", "a empty");
}
END_TEST

START_TEST(refusals_say_why_and_change_nothing)
{
    char longest[STORE_PATH_MAX + 20];
    int64_t zxid;

    ck_assert_int_eq(create("/a", "x", 0), OK);
    zxid = last->ops[0].stat.czxid;
    ck_assert_int_eq(create("/a", "y", 0), ERR_EXISTS);
    ck_assert_int_eq(create("/", "y", 0), ERR_EXISTS);
    ck_assert_int_eq(create("/b/c", "", 0), ERR_NOENT);
    ck_assert_int_eq(get("/b", 0), ERR_NOENT);
    ck_assert_int_eq(exists("/b", 0), ERR_NOENT);
    ck_assert_int_eq(children("/b", 0), ERR_NOENT);
    ck_assert_int_eq(set("/b", "", STORE_ANY_VERSION), ERR_NOENT);
    ck_assert_int_eq(del("/b", STORE_ANY_VERSION), ERR_NOENT);
    ck_assert_int_eq(set("/a", "z", 1), ERR_VERSION);
    ck_assert_int_eq(del("/a", 1), ERR_VERSION);
    ck_assert_int_eq(del("/", STORE_ANY_VERSION), ERR_INVALID);
    ck_assert_int_eq(create("/a/b", "", 0), OK);
    ck_assert_int_eq(last->ops[0].stat.czxid, zxid + 1);    /* what was refused took no number */
    ck_assert_int_eq(del("/a", 0), ERR_NOTEMPTY);
    ck_assert_int_eq(create("a", "", 0), ERR_INVALID);
    ck_assert_int_eq(create("", "", 0), ERR_INVALID);
    ck_assert_int_eq(create("/a/", "", 0), ERR_INVALID);
    ck_assert_int_eq(create("//a", "", 0), ERR_INVALID);
    ck_assert_int_eq(create("/a\n", "", 0), ERR_INVALID);
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[STORE_PATH_MAX] = '\0';
    ck_assert_int_eq(create(longest, "", 0), OK);
    ck_assert_int_eq(create(longest, "", STORE_SEQUENTIAL), ERR_TOO_LARGE);
    longest[STORE_PATH_MAX] = 'x';
    longest[STORE_PATH_MAX + 1] = '\0';
    ck_assert_int_eq(create(longest, "", 0), ERR_TOO_LARGE);
    check_value("/a", "x");
}
END_TEST

START_TEST(the_parent_counts_its_children)
{
    ck_assert_int_eq(create("/p", "data of the parent", 0), OK);
    ck_assert_int_eq(create("/p/a", "", 0), OK);
    ck_assert_int_eq(create("/p/b", "", 0), OK);
    ck_assert_int_eq(create("/p/b/deep", "", 0), OK);
    ck_assert_int_eq(create("/p/b-", "", 0), OK);
    ck_assert_int_eq(create("/p.q", "", 0), OK);
    check_children("/p", "a b b-");
    ck_assert_int_eq(last->ops[0].stat.cversion, 3);
    ck_assert_int_eq(del("/p/a", 0), OK);
    check_children("/p", "b b-");
    ck_assert_int_eq(last->ops[0].stat.cversion, 4);
    ck_assert_int_eq(last->ops[0].stat.version, 0);
    check_value("/p", "data of the parent");
    ck_assert_int_gt(last->ops[0].stat.pzxid, last->ops[0].stat.mzxid);
    check_children("/", "p p.q");
}
END_TEST

START_TEST(sequential_names_never_come_twice)
{
    ck_assert_int_eq(create("/q", "", 0), OK);
    ck_assert_int_eq(create("/q/n_", "", STORE_SEQUENTIAL), OK);
    ck_assert_str_eq(last->ops[0].created, "/q/n_0000000000");
    ck_assert_int_eq(create("/q/n_", "", STORE_SEQUENTIAL), OK);
    ck_assert_str_eq(last->ops[0].created, "/q/n_0000000001");
    ck_assert_int_eq(del("/q/n_0000000001", STORE_ANY_VERSION), OK);
    ck_assert_int_eq(create("/q/other", "", 0), OK);
    ck_assert_int_eq(create("/q/n_", "", STORE_SEQUENTIAL), OK);
    ck_assert_str_eq(last->ops[0].created, "/q/n_0000000003");
}
END_TEST

START_TEST(a_multi_happens_wholly_or_not_at_all)
{
    struct store_call *c;

    ck_assert_int_eq(create("/a", "1", 0), OK);
    c = call_new();
    store_check(c, "/a", 0);
    store_create(c, "/b", text("x"), 0);
    store_set(c, "/a", text("2"), 0);
    store_create(c, "/b/c", text("y"), STORE_EPHEMERAL);
    store_set(c, "/a", text("3"), 7);
    ck_assert_int_eq(store_run(store, c), ERR_VERSION);
    ck_assert_uint_eq(c->failed, 4);
    ck_assert_int_eq(exists("/b", 0), ERR_NOENT);
    check_value("/a", "1");
    ck_assert_int_eq(last->ops[0].stat.version, 0);

    c = call_new();
    store_check(c, "/a", 0);
    store_create(c, "/b", text("x"), 0);
    store_set(c, "/b", text("xx"), 0);
    store_delete(c, "/a", 0);
    ck_assert_int_eq(store_run(store, c), OK);
    ck_assert_int_eq(c->ops[1].stat.czxid, c->ops[2].stat.mzxid);
    ck_assert_int_eq(exists("/a", 0), ERR_NOENT);
    check_value("/b", "xx");

    c = call_new();
    store_check(c, "/gone", STORE_ANY_VERSION);
    store_create(c, "/never", text(""), 0);
    ck_assert_int_eq(store_run(store, c), ERR_NOENT);
    ck_assert_uint_eq(c->failed, 0);
    c = call_new();
    store_get(c, "/b", 0);
    store_create(c, "/never", text(""), 0);
    ck_assert_int_eq(store_run(store, c), ERR_INVALID);
    ck_assert_int_eq(exists("/never", 0), ERR_NOENT);

    c = call_new();                                 /* reads are each answered for themselves */
    store_get(c, "/never", 0);
    store_get(c, "/b", 0);
    ck_assert_int_eq(store_run(store, c), ERR_NOENT);
    ck_assert_int_eq(c->ops[0].rc, ERR_NOENT);
    ck_assert_int_eq(c->ops[1].rc, OK);
    ck_assert_str_eq((const char *)c->ops[1].value.p, "xx");
}
END_TEST

START_TEST(ephemeral_nodes_go_with_the_session)
{
    int64_t session = store_session(store);

    ck_assert_int_gt(session, 0);
    ck_assert_int_eq(create("/ids", "", 0), OK);
    ck_assert_int_eq(create("/ids/1", "x", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(last->ops[0].stat.ephemeral_owner, session);
    ck_assert_int_eq(create("/ids/1/below", "", 0), ERR_INVALID);
    ck_assert_int_eq(create("/ids/n", "", STORE_EPHEMERAL | STORE_SEQUENTIAL), OK);
    ck_assert_int_eq(create("/ids/2", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(del("/ids/2", STORE_ANY_VERSION), OK);
    ck_assert_int_eq(create("/ids/2", "now persistent", 0), OK);
    check_children("/ids", "1 2 n0000000001");
    store_free(&store);
    open_store();
    ck_assert_int_gt(store_session(store), session);
    check_children("/ids", "2");
}
END_TEST

START_TEST(everything_is_there_after_reopening)
{
    struct store_stat before;

    ck_assert_int_eq(create("/a", "kept", 0), OK);
    ck_assert_int_eq(set("/a", "kept too", 0), OK);
    before = last->ops[0].stat;
    store_free(&store);
    open_store();
    check_value("/a", "kept too");
    ck_assert_mem_eq(&before, &last->ops[0].stat, sizeof before);
    ck_assert_int_eq(create("/b", "", 0), OK);
    ck_assert_int_gt(last->ops[0].stat.czxid, before.mzxid);
}
END_TEST

/* ---- watches ------------------------------------------------------------------------------------------------ */

static struct {
    struct lock lock;
    /* under lock */
    char        text[4096];
} news;

static void watcher(struct store_event *ev, void *arg)
{
    static const char *const names[] = { "created", "deleted", "changed", "children", "expired", "session" };

    (void)arg;
    lock_take(&news.lock);
    snprintf(news.text + strlen(news.text), sizeof news.text - strlen(news.text), "%s%s%s%s",
             news.text[0] ? ", " : "", names[ev->kind], ev->path[0] ? " " : "", ev->path);
    lock_drop(&news.lock);
    free(ev);
}

static void check_news(const char *want)
{
    lock_take(&news.lock);
    ck_assert_str_eq(news.text, want);
    news.text[0] = '\0';
    lock_drop(&news.lock);
}

static void watch(void)
{
    lock_init(&news.lock, LOCK_log);
    news.text[0] = '\0';
    store_set_watcher(store, watcher, NULL);
}

START_TEST(a_watch_fires_once)
{
    watch();
    ck_assert_int_eq(exists("/a", STORE_WATCH), ERR_NOENT);
    ck_assert_int_eq(get("/a", STORE_WATCH), ERR_NOENT);        /* arms nothing */
    ck_assert_int_eq(children("/", STORE_WATCH), OK);
    ck_assert_int_eq(children("/", STORE_WATCH), OK);           /* still one */
    ck_assert_int_eq(create("/a", "", 0), OK);
    check_news("created /a, children /");
    ck_assert_int_eq(set("/a", "1", 0), OK);
    ck_assert_int_eq(create("/b", "", 0), OK);
    check_news("");
    ck_assert_int_eq(get("/a", STORE_WATCH), OK);
    ck_assert_int_eq(set("/a", "2", 0), ERR_VERSION);
    ck_assert_int_eq(create("/a/below", "", 0), OK);
    check_news("");
    ck_assert_int_eq(set("/a", "2", 1), OK);
    check_news("changed /a");
    ck_assert_int_eq(del("/a/below", 0), OK);
    ck_assert_int_eq(exists("/a", STORE_WATCH), OK);
    ck_assert_int_eq(children("/a", STORE_WATCH), OK);
    ck_assert_int_eq(children("/", STORE_WATCH), OK);
    ck_assert_int_eq(del("/a", STORE_ANY_VERSION), OK);
    check_news("deleted /a, children /");                       /* one event for data and children */
}
END_TEST

START_TEST(the_news_comes_before_the_answer_and_after_the_commit)
{
    struct store_call *c;

    watch();
    ck_assert_int_eq(create("/a", "", 0), OK);
    ck_assert_int_eq(get("/a", STORE_WATCH), OK);
    c = call_new();
    store_set(c, "/a", text("1"), 0);
    store_set(c, "/a", text("2"), 9);
    ck_assert_int_eq(store_run(store, c), ERR_VERSION);
    check_news("");                                             /* what was rolled back is no news */
    c = call_new();
    store_create(c, "/a/b", text(""), 0);
    store_set(c, "/a", text("1"), 0);
    store_delete(c, "/a/b", 0);
    ck_assert_int_eq(store_run(store, c), OK);
    check_news("changed /a");
}
END_TEST

START_TEST(an_expired_session_takes_its_nodes_and_watches)
{
    int64_t session = store_session(store);

    watch();
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(exists("/e", STORE_WATCH), OK);
    lmdb_store_expire(store);
    while (store_session(store) == session)
        ck_assert_int_le(exists("/", 0), OK);                   /* each turn lets the store's thread work */
    ck_assert_int_eq(exists("/e", 0), ERR_NOENT);
    check_news("expired, session");
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(last->ops[0].stat.ephemeral_owner, store_session(store));
    check_news("");
}
END_TEST

/* ---- many calls --------------------------------------------------------------------------------------------- */

static struct {
    struct lock lock;
    struct cond cond;
    /* under lock */
    size_t      n, failed, out_of_order;
    intptr_t    last;
} tally;

static void tally_done(struct store_call *c)
{
    lock_take(&tally.lock);
    tally.n++;
    tally.failed += c->rc != OK;
    tally.out_of_order += (intptr_t)c->user <= tally.last;
    tally.last = (intptr_t)c->user;
    cond_signal(&tally.cond);
    lock_drop(&tally.lock);
    store_call_free(&c);
}

static void tally_wait(size_t n)
{
    lock_take(&tally.lock);
    while (tally.n < n)
        cond_wait(&tally.cond, &tally.lock);
    lock_drop(&tally.lock);
}

static void tally_start(void)
{
    memset(&tally, 0, sizeof tally);
    lock_init(&tally.lock, LOCK_log);
    cond_init(&tally.cond);
    tally.last = -1;
}

START_TEST(many_calls_are_answered_in_order_and_the_map_grows)
{
    enum { N = 20000 };
    static char big[2000];
    int64_t t0 = mono_ms();

    tally_start();
    memset(big, 'x', sizeof big - 1);
    ck_assert_int_eq(create("/p", "", 0), OK);
    for (int i = 0; i < N; i++) {
        struct store_call *c = store_call_new(tally_done, NULL);
        char path[32];

        snprintf(path, sizeof path, "/p/%d", i);
        c->user = (void *)(intptr_t)i;
        store_create(c, path, text(big), 0);
        store_submit(store, c);
    }
    tally_wait(N);
    ck_assert_uint_eq(tally.failed, 0);
    ck_assert_uint_eq(tally.out_of_order, 0);
    printf("%d creates of %zu bytes: %d ms\n", N, sizeof big, (int)(mono_ms() - t0));
    ck_assert_int_eq(children("/p", 0), OK);
    ck_assert_uint_eq(last->ops[0].children_n, N);
    check_value("/p/19999", big);
}
END_TEST

/* The partition nodes of a big topic, as the controller writes them. */
START_TEST(the_nodes_of_a_thousand_partitions)
{
    int64_t t0 = mono_ns();
    size_t sent = 0;

    tally_start();
    ck_assert_int_eq(create("/epoch", "1", 0), OK);
    ck_assert_int_eq(create("/t", "", 0), OK);
    for (int i = 0; i < 2000; i++) {
        struct store_call *c = store_call_new(tally_done, NULL);
        char path[32];

        snprintf(path, sizeof path, i < 1000 ? "/t/%d" : "/t/%d/state", i % 1000);
        c->user = (void *)(intptr_t)i;
        store_check(c, "/epoch", 0);
        store_create(c, path, text(i < 1000 ? "" : "{\"controller_epoch\":1,\"leader\":0,\"version\":1,"
                                                   "\"leader_epoch\":0,\"isr\":[0]}"), 0);
        store_submit(store, c);
        sent++;
    }
    tally_wait(sent);
    ck_assert_uint_eq(tally.failed, 0);
    printf("2000 checked creates: %.1f ms\n", (double)(mono_ns() - t0) / 1e6);
}
END_TEST

/* ---- against a model ---------------------------------------------------------------------------------------- */

#define NAMES 12

static const char *const names[NAMES] = { "/a", "/b", "/a/a", "/a/b", "/a-", "/a/a/a", "/a/a/b", "/b/a", "/b/a/a",
                                          "/a.b", "/b/a-", "/b/a/b" };
static struct model {
    bool    there;
    int32_t version, creates, deletes;
    int     data;
} model[NAMES];

static int model_parent(int i)
{
    char up[32];

    snprintf(up, sizeof up, "%s", names[i]);
    *strrchr(up, '/') = '\0';
    for (int k = 0; k < NAMES; k++)
        if (strcmp(names[k], up) == 0)
            return k;
    return -1;                                      /* "/" */
}

static int model_apply(struct model m[NAMES], int kind, int i, int32_t version, int data)
{
    int up = model_parent(i);

    if (kind == STORE_CREATE) {
        if (m[i].there)
            return ERR_EXISTS;
        if (up >= 0 && !m[up].there)
            return ERR_NOENT;
        m[i] = (struct model){ .there = true, .data = data };
        if (up >= 0)
            m[up].creates++;
        return OK;
    }
    if (!m[i].there)
        return ERR_NOENT;
    if (version != STORE_ANY_VERSION && version != m[i].version)
        return ERR_VERSION;
    if (kind == STORE_SET) {
        m[i].version++;
        m[i].data = data;
    } else if (kind == STORE_DELETE) {
        if (m[i].creates > m[i].deletes)
            return ERR_NOTEMPTY;
        m[i].there = false;
        if (up >= 0)
            m[up].deletes++;
    }
    return OK;
}

static void check_model(void)
{
    for (int i = 0; i < NAMES; i++) {
        char data[16];

        ck_assert_int_eq(get(names[i], 0), model[i].there ? OK : ERR_NOENT);
        if (!model[i].there)
            continue;
        snprintf(data, sizeof data, "%d", model[i].data);
        ck_assert_str_eq((const char *)last->ops[0].value.p, data);
        ck_assert_int_eq(last->ops[0].stat.version, model[i].version);
        ck_assert_int_eq(last->ops[0].stat.cversion, model[i].creates + model[i].deletes);
        ck_assert_int_eq(last->ops[0].stat.num_children, model[i].creates - model[i].deletes);
    }
}

START_TEST(any_sequence_of_multis_matches_the_model)
{
    srandom(4711);
    memset(model, 0, sizeof model);
    for (int round = 0; round < 1500; round++) {
        struct store_call *c = call_new();
        struct model next[NAMES];
        int n = 1 + (int)(random() % 4), want = OK;

        memcpy(next, model, sizeof model);
        for (int k = 0; k < n; k++) {
            static const int kinds[] = { STORE_CREATE, STORE_CREATE, STORE_SET, STORE_DELETE, STORE_CHECK };
            int kind = kinds[random() % 5], i = (int)(random() % NAMES), data = (int)(random() % 1000);
            int32_t version = random() % 3 == 0 ? next[i].version + (int32_t)(random() % 2) : STORE_ANY_VERSION;
            char buf[16];

            snprintf(buf, sizeof buf, "%d", data);
            if (kind == STORE_CREATE)
                store_create(c, names[i], text(buf), 0);
            else if (kind == STORE_SET)
                store_set(c, names[i], text(buf), version);
            else if (kind == STORE_DELETE)
                store_delete(c, names[i], version);
            else
                store_check(c, names[i], version);
            if (want == OK)
                want = model_apply(next, kind, i, version, data);
        }
        ck_assert_int_eq(store_run(store, c), want);
        if (want == OK)
            memcpy(model, next, sizeof model);
        if (round % 50 == 0)
            check_model();
        if (round % 500 == 499) {
            store_free(&store);
            open_store();
        }
    }
    check_model();
}
END_TEST

/* ---- crashes ------------------------------------------------------------------------------------------------ */

/* The child creates /n/0, /n/1, ..., each with a partner /m/i in the same multi, and reports each answered number
 * through a pipe; it is killed in the middle. Nothing answered may be missing, no multi may be torn. */
static void crash_child(int fd)
{
    struct store *s;

    if (lmdb_store_open(&s, dir) != OK)
        _exit(3);
    for (int i = 0;; i++) {
        struct store_call *c = store_call_new(NULL, NULL);
        char a[32], b[32];

        snprintf(a, sizeof a, "/n/%d", i);
        snprintf(b, sizeof b, "/m/%d", i);
        store_create(c, a, text("x"), 0);
        store_create(c, b, text("x"), i % 3 == 0 ? STORE_EPHEMERAL : 0);
        if (store_run(s, c) != OK || write(fd, &i, sizeof i) != sizeof i)
            _exit(4);
        store_call_free(&c);
    }
}

START_TEST(kill_9_loses_nothing_that_was_answered)
{
    ck_assert_int_eq(create("/n", "", 0), OK);
    ck_assert_int_eq(create("/m", "", 0), OK);
    for (int round = 0; round < 8; round++) {
        int fds[2], n, got = -1, enough = 5 + round * 17, status;
        pid_t pid;

        store_free(&store);
        ck_assert_int_eq(pipe(fds), 0);
        pid = fork();
        if (pid == 0)
            crash_child(fds[1]);
        close(fds[1]);
        while (got < enough && read(fds[0], &n, sizeof n) == sizeof n)
            got = n;
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        while (read(fds[0], &n, sizeof n) == sizeof n)
            got = n;
        close(fds[0]);
        ck_assert_int_ge(got, enough);
        open_store();
        for (int i = 0; i <= got + 1; i++) {
            char a[32], b[32];
            int one, two;

            snprintf(a, sizeof a, "/n/%d", i);
            snprintf(b, sizeof b, "/m/%d", i);
            one = del(a, STORE_ANY_VERSION);
            two = del(b, STORE_ANY_VERSION);
            if (i <= got)
                ck_assert_int_eq(one, OK);
            ck_assert_int_eq(two, i % 3 == 0 ? ERR_NOENT : one);
        }
        check_children("/n", "");
        check_children("/m", "");
    }
}
END_TEST

START_TEST(a_file_that_is_not_ours_or_is_in_use_is_refused)
{
    char path[128];
    struct store *other;
    int fd;

    ck_assert_int_eq(lmdb_store_open(&other, dir), ERR_BUSY);
    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(write(fd, "not a database, ", 16), 16);
    close(fd);
    ck_assert_int_eq(lmdb_store_open(&store, dir), ERR_CORRUPT);
    unlink(path);
    open_store();
    ck_assert_int_eq(create("/a", "", 0), OK);
}
END_TEST

/* The file may not grow: writes are refused with a reason, reads go on, and when there is room again all is well. */
START_TEST(a_full_disk_refuses_writes_only)
{
    struct rlimit was, tight;
    static char big[5000];
    int n = 0, rc;

    memset(big, 'x', sizeof big - 1);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(create("/a", "before", 0), OK);
    ck_assert_int_eq(create("/p", "", 0), OK);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = (struct rlimit){ 200 * 1024, was.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    do {
        char path[32];

        snprintf(path, sizeof path, "/p/%d", n);
        rc = create(path, big, 0);
        n += rc == OK;
    } while (rc == OK && n < 1000);
    ck_assert_int_ne(rc, OK);
    ck_assert_int_lt(n, 1000);
    check_value("/a", "before");
    ck_assert_int_eq(set("/a", "refused", 5), ERR_VERSION);
    ck_assert_int_eq(exists("/absent", 0), ERR_NOENT);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    ck_assert_int_eq(set("/a", "after", 0), OK);
    store_free(&store);
    open_store();
    check_value("/a", "after");
    ck_assert_int_eq(children("/p", 0), OK);
    ck_assert_uint_eq(last->ops[0].children_n, (size_t)n);
}
END_TEST

/* Puts /dev/full in the place of the descriptor by which LMDB writes its heads (it is the one with O_DSYNC). */
static int break_heads(void)
{
    int n = 0, full = open("/dev/full", O_WRONLY);

    for (int fd = 3; fd < 200; fd++) {
        char link[64], path[256];
        ssize_t len;

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        len = readlink(link, path, sizeof path - 1);
        path[len > 0 ? len : 0] = '\0';
        if (fd != full && strstr(path, LMDB_STORE_FILE) != NULL && strstr(path, "-lock") == NULL &&
            (fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
            ck_assert_int_eq(dup2(full, fd), fd);
            n++;
        }
    }
    close(full);
    return n;
}

START_TEST(a_failed_head_is_survived)
{
    ck_assert_int_eq(create("/a", "before", 0), OK);
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(break_heads(), 1);
    ck_assert_int_ne(create("/b", "", 0), OK);
    check_value("/a", "before");                                /* here, or by now, the file has been opened anew */
    ck_assert_int_eq(set("/a", "after", 0), OK);
    ck_assert_int_eq(exists("/e", 0), OK);                      /* the session goes on */
    store_free(&store);
    open_store();
    check_value("/a", "after");
    ck_assert_int_eq(exists("/e", 0), ERR_NOENT);
}
END_TEST

START_TEST(the_files_are_plain_files)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata/store");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, nodes_have_data_versions_and_transactions);
    tcase_add_test(t, refusals_say_why_and_change_nothing);
    tcase_add_test(t, the_parent_counts_its_children);
    tcase_add_test(t, sequential_names_never_come_twice);
    tcase_add_test(t, a_multi_happens_wholly_or_not_at_all);
    tcase_add_test(t, ephemeral_nodes_go_with_the_session);
    tcase_add_test(t, everything_is_there_after_reopening);
    tcase_add_test(t, a_watch_fires_once);
    tcase_add_test(t, the_news_comes_before_the_answer_and_after_the_commit);
    tcase_add_test(t, an_expired_session_takes_its_nodes_and_watches);
    tcase_add_test(t, many_calls_are_answered_in_order_and_the_map_grows);
    tcase_add_test(t, the_nodes_of_a_thousand_partitions);
    tcase_add_test(t, any_sequence_of_multis_matches_the_model);
    tcase_add_test(t, kill_9_loses_nothing_that_was_answered);
    tcase_add_test(t, a_file_that_is_not_ours_or_is_in_use_is_refused);
    tcase_add_test(t, a_full_disk_refuses_writes_only);
    tcase_add_test(t, a_failed_head_is_survived);
    tcase_add_test(t, the_files_are_plain_files);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
