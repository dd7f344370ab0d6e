/* tests/unit/metadata/test_zk_store.c - the store on ZooKeeper: connect strings, the file of the session, no server
 * there; and, where KLAMM_TEST_ZOOKEEPER names a server (test_121_zookeeper.py does), the scenes of every backend. */
#include "config/zk_hosts.h"
#include "metadata/zk_diagnose.h"
#include "metadata/zk_session.h"
#include "metadata/zk_store.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCENES_ALONE false
#define SCENES_MANY  2000
#include "tests/unit/metadata/store_scenes.h"

static char dir[64], file[128], connect_to[256];
static int  scene_n;

static void setup_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/klamm-zk-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/session", dir);
}

static void teardown_dir(void)
{
    unlink(file);
    ck_assert_int_eq(rmdir(dir), 0);                    /* nothing else was left */
}

/* ---- connect strings ---------------------------------------------------------------------------------------- */

START_TEST(connect_strings)
{
    static const struct {
        const char *text, *servers, *chroot;
    } good[] = {
        { "a", "a:2181", "" },
        { "a:1", "a:1", "" },
        { " a:1 , b ,c:65535/x/y ", "a:1,b:2181,c:65535", "/x/y" },
        { "a:1,b:2/", "a:1,b:2", "" },
        { "[::1]:7,[fe80::1]/k", "::1:7,fe80::1:2181", "/k" },
        { "10.0.0.1:02181", "10.0.0.1:2181", "" },
    };
    static const char *const bad[] = { "", " ", "/", "/x", ",", "a,", ",a", "a,,b", "a:", ":1", "a:0", "a:65536", "a:x",
                                       "a:-1", "a:1x", "a:123456789012345678901", "[::1", "[::1]x", "[]:1", "a/x//y",
                                       "a/x/", "a/x y", "a/\001" };
    struct zk_hosts h;
    const char *why;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_int_eq(zk_hosts_parse(&h, good[i].text, &why), OK);
        ck_assert_str_eq(h.servers, good[i].servers);
        ck_assert_str_eq(h.chroot, good[i].chroot);
        zk_hosts_fini(&h);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        why = NULL;
        ck_assert_msg(zk_hosts_parse(&h, bad[i], &why) == ERR_INVALID, "'%s' was accepted", bad[i]);
        ck_assert_ptr_nonnull(why);
    }
}
END_TEST

START_TEST(every_length_of_a_connect_string)
{
    char text[1400];
    struct zk_hosts h;
    const char *why;

    for (size_t n = 1; n < sizeof text; n++) {
        memset(text, n % 3 == 0 ? ',' : n % 3 == 1 ? 'a' : '[', n);
        for (size_t i = 0; i < n; i += 7)
            text[i] = 'b';
        text[n] = '\0';
        if (zk_hosts_parse(&h, text, &why) == OK)
            zk_hosts_fini(&h);
    }
}
END_TEST

START_TEST(nobody_there)
{
    struct zk_store_opts o = { .connect = "127.0.0.1:1,no-such-host.invalid:2/x", .session_timeout_ms = 4000,
                               .connection_timeout_ms = 300, .max_in_flight = 10, .session_file = file };
    struct zk_hosts h;
    const char *why;
    char text[1024];
    int64_t t0 = mono_ms();

    ck_assert_int_eq(zk_store_open(&store, &o), ERR_TIMEOUT);
    ck_assert_ptr_null(store);
    ck_assert_int_ge(mono_ms() - t0, 300);
    ck_assert_int_eq(zk_hosts_parse(&h, o.connect, &why), OK);
    zk_hosts_diagnose(&h, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "127.0.0.1:1: Connection refused; no-such-host.invalid:2: "));
    zk_hosts_diagnose(&h, text, 20);                    /* cut, not more */
    ck_assert_uint_eq(strlen(text), 19);
    zk_hosts_fini(&h);
    o.connect = "a:b";
    ck_assert_int_eq(zk_store_open(&store, &o), ERR_INVALID);
}
END_TEST

/* ---- the file of the session -------------------------------------------------------------------------------- */

static void put_file(const char *text, size_t len)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

START_TEST(a_session_is_kept)
{
    struct zk_session s = { .id = 0x100023601430008, .password = { 0, 1, 254, 255, 16 } }, back;
    struct stat st;
    char text[512], other[512];
    size_t len;
    FILE *f;

    ck_assert_int_eq(zk_session_read(file, &back), ERR_NOENT);
    ck_assert_int_eq(zk_session_write(file, &s), OK);
    ck_assert_int_eq(zk_session_write(file, &s), OK);   /* over the other */
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(zk_session_read(file, &back), OK);
    ck_assert_mem_eq(&s, &back, sizeof s);
    f = fopen(file, "r");
    len = fread(text, 1, sizeof text - 1, f);
    text[len] = '\0';
    fclose(f);
    for (size_t n = 0; n + 1 < len; n++) {              /* without its newline it still is whole */
        put_file(text, n);
        ck_assert_int_eq(zk_session_read(file, &back) == OK, false);
    }
    for (size_t i = 0; i < len; i++) {
        memcpy(other, text, len);
        other[i] = 'g';
        put_file(other, len);
        if (i != len - 1)
            ck_assert_int_ne(zk_session_read(file, &back), OK);
    }
    snprintf(other, sizeof other, "klamm-zookeeper-session 1 another-machine %s", strrchr(text, ' ') - 16);
    put_file(other, strlen(other));
    ck_assert_int_eq(zk_session_read(file, &back), ERR_NOENT);
    memset(other, 'x', sizeof other);
    put_file(other, sizeof other);
    ck_assert_int_eq(zk_session_read(file, &back), ERR_CORRUPT);
    zk_session_remove(file);
    zk_session_remove(file);
    ck_assert_int_eq(mkfifo(file, 0600), 0);            /* is not waited for */
    ck_assert_int_ne(zk_session_read(file, &back), OK);
    ck_assert_int_eq(zk_session_write("/nowhere/x", &s), ERR_NOENT);
}
END_TEST

/* ---- with a server ------------------------------------------------------------------------------------------ */

/* No session ends because the machine stands still: expire() ends them. */
static void open_store(void)
{
    struct zk_store_opts o = { .connect = connect_to, .session_timeout_ms = 20000, .connection_timeout_ms = 60000,
                               .max_in_flight = 10, .make_chroot = true, .session_file = file };

    ck_assert_int_eq(zk_store_open(&store, &o), OK);
}

static void setup(void)
{
    setup_dir();
    snprintf(connect_to, sizeof connect_to, "%s/scenes/of-%d/%d", getenv("KLAMM_TEST_ZOOKEEPER"), (int)getpid(),
             scene_n++);
    open_store();
}

static void teardown(void)
{
    store_free(&store);
    ck_assert_int_ne(access(file, F_OK), 0);            /* the end was clean */
    rmdir(dir);
}

/* Where the line breaks the end may not have been heard of; then the next process ends the session of the file. */
static void teardown_breaking(void)
{
    store_free(&store);
    unlink(file);
    rmdir(dir);
}

static bool read_all(int fd, uint8_t *to, size_t n)
{
    for (size_t got = 0; got < n; ) {
        ssize_t k = read(fd, to + got, n - got);

        if (k <= 0)
            return false;                               /* closed by the server, or not answered */
        got += (size_t)k;
    }
    return true;
}

static void put(uint8_t **p, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        *(*p)++ = (uint8_t)(v >> (8 * i));
}

/* A second client with the same id and password ends the session. By hand, since the library is not made for two
 * handles whose threads log at once. 0: the session was over. */
static int take_over_and_close(const struct zk_session *s, const char *servers)
{
    uint8_t out[64], in[41] = { 0 }, *p = out;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval second = { .tv_sec = 1 };            /* one whose session has moved away is not answered */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t got = 0;
    bool answered;

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second), 0);
    to.sin_port = htons((uint16_t)strtol(strrchr(servers, ':') + 1, NULL, 10));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    put(&p, 45, 4);                                     /* length, version, zxid, timeout, session, password */
    put(&p, 0, 4);
    put(&p, 0, 8);
    put(&p, 10000, 4);
    put(&p, (uint64_t)s->id, 8);
    put(&p, 16, 4);
    memcpy(p, s->password, 16);
    p += 16;
    put(&p, 0, 1);                                      /* not read-only */
    ck_assert_int_eq(write(fd, out, (size_t)(p - out)), p - out);
    answered = read_all(fd, in, sizeof in);             /* length, version, timeout, session, password, read-only */
    for (int i = 12; i < 20; i++)
        got = got << 8 | in[i];
    p = out;
    put(&p, 8, 4);
    put(&p, 1, 4);
    put(&p, (uint32_t)-11, 4);                          /* close */
    if (got == (uint64_t)s->id && write(fd, out, 12) == 12)
        (void)read_all(fd, in, 20);
    close(fd);
    return answered && got != (uint64_t)s->id ? 0 : 1;
}

/* The store may be faster, and have its session back before it is closed: then once more. */
static void expire(void)
{
    struct zk_session s;
    struct zk_hosts h;
    const char *why;

    ck_assert_int_eq(zk_session_read(file, &s), OK);
    ck_assert_int_eq(s.id, store_session(store));
    ck_assert_int_eq(zk_hosts_parse(&h, connect_to, &why), OK);
    while (take_over_and_close(&s, h.servers) != 0)
        continue;
    zk_hosts_fini(&h);
}

/* Every call is answered OK exactly as if no connection had ever been lost; the versions tell whether anything was done
 * twice. The test that runs this breaks the connection again and again. Nodes are deleted long after they were made: of
 * a node that is made and deleted while the connection is lost nothing tells that it was there. */
#define LATER 30

static void send_step(int i)
{
    struct store_call *c = store_call_new(tally_done, NULL);
    char path[32], old[32], data[32];

    snprintf(path, sizeof path, "/n/%d", i / 4);
    snprintf(old, sizeof old, "/n/%d", i / 4 - LATER);
    snprintf(data, sizeof data, "%d", i);
    c->user = (void *)(intptr_t)i;
    if (i % 4 == 0) {
        store_create(c, path, text(data), i % 8 == 0 ? STORE_EPHEMERAL : 0);
    } else if (i % 4 == 1) {
        store_set(c, path, text(data), 0);
    } else if (i % 4 == 2) {
        store_check(c, "/e", i / 4);
        store_set(c, "/e", text(data), i / 4);
        store_set(c, path, text(data), 1);
    } else if (i / 4 >= LATER && i / 4 % 3 == 0) {
        store_delete(c, old, 2);
    } else {
        store_get(c, path, 0);
    }
    store_submit(store, c);
}

START_TEST(nothing_is_lost_or_done_twice)
{
    enum { N = 120 };
    size_t gone = 0;

    tally_start();
    ck_assert_int_eq(create("/n", "", 0), OK);
    ck_assert_int_eq(create("/e", "0", 0), OK);
    for (int i = 0; i < 4 * N; i++)
        send_step(i);
    tally_wait(4 * N);
    ck_assert_uint_eq(tally.failed, 0);
    ck_assert_uint_eq(tally.out_of_order, 0);
    ck_assert_int_eq(get("/e", 0), OK);
    ck_assert_int_eq(last->ops[0].stat.version, N);
    for (int i = 0; i < N; i++) {
        bool deleted = i % 3 == 0 && i < N - LATER;
        char path[32];

        snprintf(path, sizeof path, "/n/%d", i);
        ck_assert_int_eq(exists(path, 0), deleted ? ERR_NOENT : OK);
        gone += deleted;
        if (!deleted)
            ck_assert_int_eq(last->ops[0].stat.version, 2);
    }
    ck_assert_int_eq(children("/n", 0), OK);
    ck_assert_uint_eq(last->ops[0].children_n, N - gone);
}
END_TEST

static void killed_child(int fd)
{
    open_store();
    if (create("/e", "", STORE_EPHEMERAL) != OK || write(fd, "x", 1) != 1)
        _exit(1);
    pause();
}

START_TEST(a_killed_session_is_ended_by_the_next)
{
    struct zk_session s;
    int fds[2], status;
    char x;
    pid_t pid;

    store_free(&store);
    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0)
        killed_child(fds[1]);
    close(fds[1]);
    ck_assert_int_eq(read(fds[0], &x, 1), 1);
    close(fds[0]);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(zk_session_read(file, &s), OK);
    open_store();
    ck_assert_int_eq(zk_store_old_session(store), s.id);
    ck_assert_int_ne(store_session(store), s.id);
    ck_assert_int_eq(exists("/e", 0), ERR_NOENT);
    ck_assert_int_eq(create("/e", "", STORE_EPHEMERAL), OK);
}
END_TEST

/* Beyond what the server reads: it drops the connection. What comes after is not held up for ever. */
START_TEST(too_large_for_the_server)
{
    static char big[3000000];
    struct store_call *c;

    memset(big, 'x', sizeof big - 1);
    ck_assert_int_eq(create("/a", "", 0), OK);
    ck_assert_int_eq(set("/a", big, STORE_ANY_VERSION), ERR_TOO_LARGE);
    ck_assert_int_eq(create("/b", big, 0), ERR_TOO_LARGE);
    c = call_new();
    store_check(c, "/a", 0);
    store_create(c, "/b", text(big), 0);
    ck_assert_int_eq(store_run(store, c), ERR_TOO_LARGE);
    check_value("/a", "");
    big[500000] = '\0';
    ck_assert_int_eq(set("/a", big, 0), OK);
    check_value("/a", big);
}
END_TEST

/* As a network does it. */
static void cut_the_line(void)
{
    struct sockaddr_in there;
    struct zk_hosts h;
    const char *why;
    int port;

    ck_assert_int_eq(zk_hosts_parse(&h, connect_to, &why), OK);
    port = (int)strtol(strrchr(h.servers, ':') + 1, NULL, 10);
    zk_hosts_fini(&h);
    for (int fd = 0; fd < 256; fd++) {
        socklen_t len = sizeof there;

        if (getpeername(fd, (struct sockaddr *)&there, &len) == 0 && there.sin_family == AF_INET &&
            ntohs(there.sin_port) == port)
            (void)shutdown(fd, SHUT_RDWR);
    }
}

/* To set all its watches again takes more than a server reads: it would close each connection for ever. */
START_TEST(more_watches_than_can_be_set_again)
{
    enum { N = 6000 };
    int64_t was = store_session(store);

    watch();
    tally_start();
    for (int i = 1; i <= N; i++) {
        struct store_call *c = store_call_new(tally_done, NULL);
        char path[256];

        snprintf(path, sizeof path, "/%0220d", i);
        c->user = (void *)(intptr_t)i;
        store_exists(c, path, STORE_WATCH);
        store_submit(store, c);
    }
    tally_wait(N);
    cut_the_line();
    while (store_session(store) == was || store_session(store) == 0)
        (void)exists("/", 0);
    (void)exists("/", 0);                               /* after the news of the session */
    lock_take(&news.lock);
    ck_assert_int_eq(strncmp(news.text, "expired, session", strlen("expired, session")), 0);
    lock_drop(&news.lock);
    cut_the_line();                                     /* the new one has no watches */
    while (exists("/", 0) != OK)
        continue;
}
END_TEST

/* Calls that come at the moment in which the session ends are answered after those that were under way. */
enum { UNDER_WAY = 100000, SESSIONS = 4 };

static void *submit_without_end(void *arg)
{
    atomic_bool *over = arg;
    intptr_t n = 0;
    bool full;

    while (!atomic_load(over)) {
        struct store_call *c = store_call_new(tally_done, NULL);

        c->user = (void *)n++;
        store_exists(c, "/", 0);
        store_submit(store, c);
        do {
            lock_take(&tally.lock);
            full = (size_t)n > tally.n + UNDER_WAY;
            lock_drop(&tally.lock);
        } while (full && sched_yield() == 0);
    }
    return (void *)n;
}

START_TEST(the_end_of_a_session_keeps_the_order)
{
    atomic_bool over = false;
    struct zk_session s;
    pthread_t t;
    void *sent;

    tally_start();
    ck_assert_int_eq(pthread_create(&t, NULL, submit_without_end, &over), 0);
    for (int i = 0; i < SESSIONS; i++) {
        int64_t was = store_session(store);

        expire();
        while (store_session(store) == was || store_session(store) == 0 || zk_session_read(file, &s) != OK ||
               s.id != store_session(store))
            (void)sched_yield();
    }
    atomic_store(&over, true);
    pthread_join(t, &sent);
    tally_wait((size_t)(intptr_t)sent);
    ck_assert_uint_eq(tally.out_of_order, 0);
    ck_assert_uint_gt(tally.failed, 0);
}
END_TEST

/* A stop without a server: calls end, and so does the store. */
START_TEST(calls_that_are_ended)
{
    struct store_call *c = store_call_new(tally_done, NULL);

    tally_start();
    c->user = (void *)1;
    store_hurry(store);
    store_create(c, "/still-works", text(""), 0);
    store_submit(store, c);
    tally_wait(1);
    ck_assert_uint_eq(tally.failed, 0);
}
END_TEST

/* With a server, which tests/system starts. */
static void add_scenes(Suite *s)
{
    TCase *z = tcase_create("server"), *b = tcase_create("breaking");

    tcase_add_checked_fixture(z, setup, teardown);
    tcase_set_timeout(z, 300);
#define ADD(scene) tcase_add_test(z, scene);
    SCENES(ADD)
#undef ADD
    tcase_add_test(z, a_killed_session_is_ended_by_the_next);
    tcase_add_test(z, too_large_for_the_server);
    tcase_add_test(z, more_watches_than_can_be_set_again);
    tcase_add_test(z, calls_that_are_ended);
    tcase_add_test(z, the_end_of_a_session_keeps_the_order);
    tcase_add_checked_fixture(b, setup, teardown_breaking);
    tcase_set_timeout(b, 300);
    tcase_add_test(b, nothing_is_lost_or_done_twice);
    suite_add_tcase(s, z);
    suite_add_tcase(s, b);
}

int main(void)
{
    Suite *s = suite_create("metadata/zk_store");
    TCase *t = tcase_create("alone");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup_dir, teardown_dir);
    tcase_add_test(t, connect_strings);
    tcase_add_test(t, every_length_of_a_connect_string);
    tcase_add_test(t, nobody_there);
    tcase_add_test(t, a_session_is_kept);
    suite_add_tcase(s, t);
    if (getenv("KLAMM_TEST_ZOOKEEPER") != NULL)
        add_scenes(s);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
