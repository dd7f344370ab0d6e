/* tests/unit/metadata/store_scenes.h - what a tree of versioned nodes promises, as tests that any backend of the
 * metadata store must pass. The program that includes it says how its store is opened and how its session is ended.
 */
#ifndef TESTS_UNIT_METADATA_STORE_SCENES_H
#define TESTS_UNIT_METADATA_STORE_SCENES_H

#include "base/clock.h"
#include "base/lock.h"
#include "metadata/store.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct store *store;

static void open_store(void);           /* sets it; the tree is the one of the last store of this test */
static void expire(void);               /* ends the session as a server does */

/* Nobody else writes to the backend. */
static const bool scenes_are_alone = SCENES_ALONE;

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
    ck_assert_int_ge(last->ops[0].stat.czxid, zxid + 1);
    if (scenes_are_alone)
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

#include "tests/unit/metadata/store_scenes_many.h"

#define SCENES(X)                                                                                                      \
    X(nodes_have_data_versions_and_transactions) X(refusals_say_why_and_change_nothing)                                \
    X(the_parent_counts_its_children) X(sequential_names_never_come_twice) X(a_multi_happens_wholly_or_not_at_all)     \
    X(ephemeral_nodes_go_with_the_session) X(everything_is_there_after_reopening) X(a_watch_fires_once)                \
    X(the_news_comes_before_the_answer_and_after_the_commit) X(an_expired_session_takes_its_nodes_and_watches)         \
    X(many_calls_are_answered_in_order_and_the_map_grows) X(the_nodes_of_a_thousand_partitions)                        \
    X(any_sequence_of_multis_matches_the_model)

#endif
