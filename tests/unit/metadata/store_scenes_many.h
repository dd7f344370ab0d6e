/* tests/unit/metadata/store_scenes_many.h - the second half of store_scenes.h, which includes it: the end of a
 * session, many calls, and the tree against a model. */
#ifndef TESTS_UNIT_METADATA_STORE_SCENES_MANY_H
#define TESTS_UNIT_METADATA_STORE_SCENES_MANY_H

/* ---- the end of a session ----------------------------------------------------------------------------------- */

/* If they begin with it. */
static void drop_news(const char *first)
{
    size_t n = strlen(first);

    lock_take(&news.lock);
    if (strncmp(news.text, first, n) == 0)
        memmove(news.text, news.text + n, strlen(news.text + n) + 1);
    lock_drop(&news.lock);
}

START_TEST(an_expired_session_takes_its_nodes_and_watches)
{
    int64_t session = store_session(store);

    watch();
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
    ck_assert_int_eq(exists("/e", STORE_WATCH), OK);
    expire();
    while (store_session(store) == session)
        ck_assert_int_le(exists("/", 0), OK);                   /* each turn lets the store's thread work */
    while (exists("/", 0) == ERR_CLOSED)
        continue;
    ck_assert_int_eq(exists("/e", 0), ERR_NOENT);
    if (!scenes_are_alone)              /* who is connected when the server ends it hears first what goes with it */
        drop_news("deleted /e, ");
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
    enum { N = SCENES_MANY };
    static char big[2000];
    int64_t t0 = mono_ms();
    char name[32];

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
    snprintf(name, sizeof name, "/p/%d", N - 1);
    check_value(name, big);
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

#endif
