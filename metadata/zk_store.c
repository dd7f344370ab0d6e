/* metadata/zk_store.c - the store's thread on ZooKeeper: handles, sessions, and what comes through the inbox.
 *
 * 1. A handle of the library is one session. It reconnects by itself, backing off, for as long as the session lasts.
 *    When the session has expired (only a server can say so) the handle is closed and another opened.
 * 2. With the session of a killed process in the file, the first handle resumes that session, only to close it: the
 *    server then deletes its ephemeral nodes at once. A session that has expired meanwhile needs no more than that.
 * 3. Between EXPIRED and SESSION there is no session, and calls are answered ERR_CLOSED at once.
 * 4. With each new connection of a session the library sets all its watches again, in one request. Servers close the
 *    connection when that is beyond their jute.maxbuffer, as that of a controller of many thousand topics is: then it
 *    comes and goes for ever, and keeps the session alive by that. So a session with many watches is given up, and
 *    begins anew without them, when some connections in a row have ended at once and brought no answer.
 */
#include "metadata/zk_store.h"

#include "base/clock.h"
#include "base/log.h"
#include "metadata/zk_diagnose.h"
#include "metadata/zk_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define REOPEN_MS   1000                /* between handles */
#define END_MS      5000                /* at the end, since the last sign of life, for calls that wait */
#define LEAVE_MS    1500                /* the same without a connection; to connect again takes a third of a second */
#define POLL_MS     100                 /* how often these are looked at */
#define COMEBACKS   3                   /* connections that count as signs of life, without an answer */
#define BRIEF_MS    1000                /* a connection that lives no longer, without an answer */
#define BRIEF_MAX   5
#define SAY_MS      1000                /* somebody may be watching the start */
#define NS_PER_MS   1000000LL
#define SERVER_MAX  256

struct state_item {
    struct zk_item item;
    int            state;
};

struct node_item {
    struct zk_item      item;
    struct store_event *ev;
};

static struct zk_store *self(struct store *s)
{
    return (struct zk_store *)s;
}

/* ---- into the inbox ------------------------------------------------------------------------------------- */

void zk_post(struct zk_store *z, struct zk_item *item)
{
    item->next = NULL;
    lock_take(&z->lock);
    *z->inbox_tail = item;
    z->inbox_tail = &item->next;
    cond_signal(&z->cond);
    lock_drop(&z->lock);
}

static void post_state(struct zk_store *z, int state)
{
    struct state_item *it = calloc(1, sizeof *it);

    if (it == NULL)
        abort();                        /* a store that does not know of its session is worse */
    it->item.kind = ZK_ITEM_STATE;
    it->state = state;
    zk_post(z, &it->item);
}

static struct store_event *event_new(enum store_event_kind kind, const char *path)
{
    size_t len = strlen(path);
    struct store_event *ev = malloc(sizeof *ev + len + 1);

    if (ev == NULL)
        return NULL;
    *ev = (struct store_event){ .kind = kind };
    memcpy(ev->path, path, len + 1);
    return ev;
}

static void post_node(struct zk_store *z, int type, const char *path)
{
    size_t root = strlen(z->hosts.chroot);
    struct node_item *it = calloc(1, sizeof *it);
    enum store_event_kind kind = type == ZOO_CREATED_EVENT ? STORE_EV_CREATED
                               : type == ZOO_DELETED_EVENT ? STORE_EV_DELETED
                               : type == ZOO_CHANGED_EVENT ? STORE_EV_CHANGED : STORE_EV_CHILDREN;

    if (it == NULL)
        abort();                        /* a change that nobody hears of: the same */
    it->item.kind = ZK_ITEM_NODE;
    it->ev = event_new(kind, strlen(path) > root ? path + root : "/");
    if (it->ev == NULL)
        abort();
    zk_post(z, &it->item);
}

/* The library's completion thread. */
static void on_event(zhandle_t *zh, int type, int state, const char *path, void *arg)
{
    (void)zh;
    if (type == ZOO_SESSION_EVENT)
        post_state(arg, state);
    else if (type == ZOO_CREATED_EVENT || type == ZOO_DELETED_EVENT || type == ZOO_CHANGED_EVENT ||
             type == ZOO_CHILD_EVENT)
        post_node(arg, type, path);
}

static void event_out(struct zk_store *z, struct store_event *ev)
{
    store_watcher_fn *fn;
    void *arg;

    lock_take(&z->lock);
    fn = z->watcher;
    arg = z->watcher_arg;
    lock_drop(&z->lock);
    if (fn != NULL)
        fn(ev, arg);
    else
        free(ev);
}

static void session_event(struct zk_store *z, enum store_event_kind kind)
{
    struct store_event *ev = event_new(kind, "");

    if (ev == NULL)
        abort();
    event_out(z, ev);
}

/* ---- handles -------------------------------------------------------------------------------------------- */

/* Under line, since the library's threads may run before this knows the handle. The library would look up the names of
 * the servers before each wait for the socket, which costs more than the requests do; to connect it does so anyway. */
static void handle_open(struct zk_store *z, const struct zk_session *resume)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    clientid_t id;
    int hidden;

    if (resume != NULL) {
        id.client_id = resume->id;
        memcpy(id.passwd, resume->password, sizeof id.passwd);
    }
    lock_take(&z->line);
    zk_in_library = true;
    z->ups = z->breaks = 0;
    z->zh = zookeeper_init2(z->hosts.servers, on_event, z->session_timeout_ms, resume != NULL ? &id : NULL, z,
                            ZOO_NO_LOG_CLIENTENV, zk_log_callback(z));
    if (z->zh != NULL)
        (void)zoo_set_servers_resolution_delay(z->zh, -1);
    zk_in_library = false;
    lock_drop(&z->line);
    z->brief = 0;
    z->watched = 0;
    z->reopen_at_ns = INT64_MAX;
    z->opened_at_ns = mono_ns();
    if (z->zh == NULL) {
        if (log_limit(&limit, &hidden))
            log_warn("ZooKeeper %s: no server can be found (%s); trying again", z->hosts.servers,
                     strerrordesc_np(errno));
        z->reopen_at_ns = z->opened_at_ns + REOPEN_MS * NS_PER_MS;
    }
}

/* Ends the session if there is a connection. After it nothing comes from this handle; what lies in the inbox is its. */
static void handle_close(struct zk_store *z)
{
    zhandle_t *zh = z->zh;
    struct zk_item *it;

    if (zh == NULL)
        return;
    zk_in_library = true;
    zookeeper_close(zh);
    zk_in_library = false;
    lock_take(&z->line);
    z->zh = NULL;
    lock_drop(&z->line);
    lock_take(&z->lock);
    it = z->inbox;
    z->inbox = NULL;
    z->inbox_tail = &z->inbox;
    lock_drop(&z->lock);
    while (it != NULL) {
        struct zk_item *next = it->next;

        if (it->kind == ZK_ITEM_NODE)
            free(((struct node_item *)it)->ev);
        if (it->kind != ZK_ITEM_ANSWER)
            free(it);
        it = next;
    }
    zk_calls_lost(z);
}

static void session_keep(struct zk_store *z, const clientid_t *id)
{
    struct zk_session s = { .id = id->client_id };
    int rc;

    if (z->session_file == NULL)
        return;
    memcpy(s.password, id->passwd, sizeof s.password);
    rc = zk_session_write(z->session_file, &s);
    if (rc != OK)
        log_warn("%s: the session with ZooKeeper cannot be kept there: %s; after a kill -9 the broker's registration "
                 "has to time out before it can start again", z->session_file, err_text(rc));
}

/* (The library's own function for this writes into memory that its io thread writes into as well.) */
static void server_name(struct zk_store *z, char *text, size_t size)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";

    if (zookeeper_get_connected_host(z->zh, (struct sockaddr *)&addr, &len) != NULL &&
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(text, size, "%s:%s", host, port);
    else
        snprintf(text, size, "%s", z->hosts.servers);
}

static void session_stands(struct zk_store *z)
{
    const clientid_t *id = zoo_client_id(z->zh);
    char server[SERVER_MAX];
    bool again;

    session_keep(z, id);
    server_name(z, server, sizeof server);
    log_info("session 0x%" PRIx64 " with ZooKeeper %s%s, timeout %d ms", (uint64_t)id->client_id, server,
             z->hosts.chroot, zoo_recv_timeout(z->zh));
    atomic_store(&z->session, id->client_id);
    lock_take(&z->lock);
    again = z->first;
    z->first = true;
    cond_signal(&z->opened);
    lock_drop(&z->lock);
    if (again)
        session_event(z, STORE_EV_SESSION);
}

static void on_connected(struct zk_store *z)
{
    char server[SERVER_MAX];

    lock_take(&z->line);
    z->ups++;
    lock_drop(&z->line);
    z->came_at_ns = mono_ns();
    if (z->comebacks++ < COMEBACKS)     /* one that only comes and goes does not count */
        z->answers++;
    if (z->ending_old) {
        log_info("the broker's last run did not end its session 0x%" PRIx64 " with ZooKeeper; it is ended now",
                 (uint64_t)atomic_load(&z->old_session));
        z->stale = true;
        return;
    }
    if (atomic_load(&z->session) == 0) {
        session_stands(z);
    } else if (z->down_since_ns != 0) {
        server_name(z, server, sizeof server);
        log_info("connected to ZooKeeper %s again after %lld ms", server,
                 (long long)((mono_ns() - z->down_since_ns) / NS_PER_MS));
    }
    z->down_since_ns = 0;
}

static void on_expired(struct zk_store *z, const char *how)
{
    int64_t was = atomic_load(&z->session);

    z->stale = true;
    if (was == 0)
        return;
    log_warn("the session 0x%" PRIx64 " with ZooKeeper %s; a new one begins", (uint64_t)was, how);
    atomic_store(&z->old_session, was);
    atomic_store(&z->session, 0);
    session_event(z, STORE_EV_EXPIRED);
}

static void on_lost(struct zk_store *z)
{
    z->down_since_ns = mono_ns();
    if (!z->ending_old)
        log_warn("the connection to ZooKeeper %s is lost; what is known goes on being used, and it connects again",
                 z->hosts.servers);
    z->brief = z->down_since_ns - z->came_at_ns < BRIEF_MS * NS_PER_MS ? z->brief + 1 : 0;
    if (z->brief >= BRIEF_MAX && z->watched >= ZK_BIG_BYTES)
        on_expired(z, "is given up: the servers close its connections at once, as they do when setting all its watches "
                   "again takes more than their jute.maxbuffer (raise it there)");
}

static void on_state(struct zk_store *z, int state)
{
    if (z->stale)                       /* given up: what else the handle tells is of no use */
        return;
    if (state == ZOO_CONNECTED_STATE)
        on_connected(z);
    else if (state == ZOO_EXPIRED_SESSION_STATE)
        on_expired(z, "has expired");
    else if (state == ZOO_AUTH_FAILED_STATE)
        on_expired(z, "was refused: the server wants authentication, which this client does not have");
    else if (state == ZOO_CONNECTING_STATE)
        on_lost(z);
}

/* The handle's session is over: another one, at once unless that has just been tried. What was under way is answered
 * only now, when no answer can come any more. over: no other, since it was given up in a stop. */
static void handle_renew(struct zk_store *z, bool over)
{
    int64_t now = mono_ns(), soonest = z->opened_at_ns + REOPEN_MS * NS_PER_MS;

    handle_close(z);
    zk_calls_end(z, ERR_CLOSED);
    atomic_store(&z->session, 0);
    z->stale = false;
    z->reopen_at_ns = over ? INT64_MAX : z->ending_old || soonest < now ? now : soonest;
    z->ending_old = false;
}

/* ---- the store's thread --------------------------------------------------------------------------------- */

static void unwatched(struct zk_store *z, const struct store_event *ev)
{
    size_t n = strlen(z->chroot) + strlen(ev->path);

    z->watched -= n < z->watched ? n : z->watched;
}

static void inbox_do(struct zk_store *z, struct zk_item *it)
{
    while (it != NULL) {
        struct zk_item *next = it->next;

        if (it->kind == ZK_ITEM_ANSWER) {
            if (((struct zk_req *)it)->state == ZK_SENT)
                zk_call_answered(z, (struct zk_req *)it);
            zk_answer_heads(z);         /* before the event that follows it; what is sent next goes together */
        } else if (it->kind == ZK_ITEM_NODE) {
            unwatched(z, ((struct node_item *)it)->ev);
            event_out(z, ((struct node_item *)it)->ev);
            free(it);
        } else {
            on_state(z, ((struct state_item *)it)->state);
            free(it);
        }
        it = next;
    }
}

/* Without a session they are answered at once, but not before those that were under way when it ended. */
static void submitted_do(struct zk_store *z, struct store_call *call)
{
    bool none = atomic_load(&z->session) == 0 && z->queue == NULL;

    while (call != NULL) {
        struct store_call *next = call->next;

        if (none)
            zk_answer(call, ERR_CLOSED);
        else
            zk_call_take(z, call);
        call = next;
    }
}

static bool line_stands(struct zk_store *z)
{
    bool stands;

    lock_take(&z->line);
    stands = z->zh != NULL && z->ups == z->breaks + 1;
    lock_drop(&z->line);
    return stands;
}

/* Whoever is stopping does not wait for a server that is away, nor for one that does not answer. */
static void give_up(struct zk_store *z, int64_t now)
{
    int64_t at = now + (line_stands(z) ? END_MS : LEAVE_MS) * NS_PER_MS;

    if (z->answers != z->answers_seen || at < z->give_up_at_ns) {
        z->give_up_at_ns = at;
        z->overdue = false;
    } else if (now >= z->give_up_at_ns) {
        z->stale |= z->overdue;         /* ends the calls, and what could still write into them */
        z->overdue = true;              /* but if this machine has stood still, the answer is about to be read */
    }
    z->answers_seen = z->answers;
}

struct turn {
    struct zk_item    *items;
    struct store_call *calls;
    bool               hurried, stopping;
};

static void turn_take(struct zk_store *z, struct turn *t)
{
    lock_take(&z->lock);
    while (z->inbox == NULL && z->submitted == NULL && !(z->stopping && z->queue == NULL)) {
        int64_t at = z->reopen_at_ns;

        if ((z->stopping || z->hurried) && z->queue != NULL)
            at = mono_ns() + POLL_MS * NS_PER_MS;
        if (at == INT64_MAX)
            cond_wait(&z->cond, &z->lock);
        else if (!cond_wait_until(&z->cond, &z->lock, at))
            break;
    }
    *t = (struct turn){ z->inbox, z->submitted, z->hurried, z->stopping };
    z->inbox = NULL;
    z->inbox_tail = &z->inbox;
    z->submitted = NULL;
    z->submitted_tail = &z->submitted;
    lock_drop(&z->lock);
}

static void *zk_main(void *arg)
{
    struct zk_store *z = arg;
    struct turn t;

    pthread_setname_np(pthread_self(), "store");
    for (;;) {
        turn_take(z, &t);
        inbox_do(z, t.items);
        submitted_do(z, t.calls);
        zk_pump(z);
        if ((t.stopping || t.hurried) && z->queue != NULL)
            give_up(z, mono_ns());
        else
            z->give_up_at_ns = INT64_MAX;
        if (t.stopping && z->queue == NULL && t.calls == NULL)
            break;
        if (z->stale)
            handle_renew(z, z->give_up_at_ns != INT64_MAX);
        if (mono_ns() >= z->reopen_at_ns)
            handle_open(z, z->ending_old ? &z->old : NULL);
    }
    return NULL;
}

/* ---- calls of others ------------------------------------------------------------------------------------ */

static void zk_submit(struct store *s, struct store_call *call)
{
    struct zk_store *z = self(s);

    call->next = NULL;
    lock_take(&z->lock);
    *z->submitted_tail = call;
    z->submitted_tail = &call->next;
    cond_signal(&z->cond);
    lock_drop(&z->lock);
}

static void zk_watcher(struct store *s, store_watcher_fn *fn, void *arg)
{
    struct zk_store *z = self(s);

    lock_take(&z->lock);
    z->watcher = fn;
    z->watcher_arg = arg;
    lock_drop(&z->lock);
}

static int64_t zk_session_id(struct store *s)
{
    return atomic_load(&self(s)->session);
}

static void zk_hurry(struct store *s)
{
    struct zk_store *z = self(s);

    lock_take(&z->lock);
    z->hurried = true;
    cond_signal(&z->cond);
    lock_drop(&z->lock);
}

static void zk_free(struct store *s)
{
    struct zk_store *z = self(s);
    bool ended;

    lock_take(&z->lock);
    z->stopping = true;
    cond_signal(&z->cond);
    lock_drop(&z->lock);
    pthread_join(z->thread, NULL);
    ended = line_stands(z);
    handle_close(z);
    if (z->session_file != NULL && ended)
        zk_session_remove(z->session_file);
    zk_log_slot_give(z);
    lock_fini(&z->line);
    cond_fini(&z->cond);
    cond_fini(&z->opened);
    lock_fini(&z->lock);
    zk_hosts_fini(&z->hosts);
    free(z->session_file);
    free(z);
}

static const struct store_backend zk_backend = {
    .submit = zk_submit, .watcher = zk_watcher, .session = zk_session_id, .hurry = zk_hurry, .free = zk_free,
};

int64_t zk_store_old_session(struct store *s)
{
    return s->backend == &zk_backend ? atomic_load(&self(s)->old_session) : 0;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static int zk_new(struct zk_store **out, const struct zk_store_opts *o)
{
    struct zk_store *z = calloc(1, sizeof *z);
    const char *why;
    int rc;

    if (z == NULL)
        return ERR_NOMEM;
    rc = zk_hosts_parse(&z->hosts, o->connect, &why);
    if (rc != OK)
        log_error("zookeeper.connect: '%s': %s", o->connect, why);
    if (rc == OK && o->session_file != NULL && (z->session_file = strdup(o->session_file)) == NULL)
        rc = ERR_NOMEM;
    if (rc == OK && !zk_log_slot_take(z))
        rc = ERR_LIMIT;
    if (rc != OK) {
        zk_hosts_fini(&z->hosts);
        free(z->session_file);
        free(z);
        return rc;
    }
    z->base.backend = &zk_backend;
    z->chroot = z->hosts.chroot;
    z->session_timeout_ms = o->session_timeout_ms;
    z->max_in_flight = o->max_in_flight > 0 ? o->max_in_flight : 1;
    z->inbox_tail = &z->inbox;
    z->submitted_tail = &z->submitted;
    z->queue_tail = &z->queue;
    z->reopen_at_ns = z->give_up_at_ns = INT64_MAX;
    lock_init(&z->line, LOCK_zkline);
    lock_init(&z->lock, LOCK_store);
    cond_init(&z->cond);
    cond_init(&z->opened);
    *out = z;
    return OK;
}

/* The thread opens it. */
static void first_handle(struct zk_store *z)
{
    struct zk_session old;
    int rc = z->session_file != NULL ? zk_session_read(z->session_file, &old) : ERR_NOENT;

    if (rc == ERR_CORRUPT)
        log_warn("%s cannot be understood and is not used", z->session_file);
    if (rc == OK) {
        z->ending_old = true;
        z->old = old;
        atomic_store(&z->old_session, old.id);
    }
    z->reopen_at_ns = 0;
}

static bool wait_until(struct zk_store *z, int64_t until)
{
    bool first;

    lock_take(&z->lock);
    while (!z->first && cond_wait_until(&z->opened, &z->lock, until))
        continue;
    first = z->first;
    lock_drop(&z->lock);
    return first;
}

static bool wait_first(struct zk_store *z, int32_t timeout_ms)
{
    int64_t now = mono_ns(), until = now + timeout_ms * NS_PER_MS;

    if (timeout_ms > SAY_MS && wait_until(z, now + SAY_MS * NS_PER_MS))
        return true;
    if (timeout_ms > SAY_MS)
        log_info("waiting for ZooKeeper %s, for up to %d ms", z->hosts.servers, timeout_ms);
    return wait_until(z, until);
}

/* Each node of the chroot; the store's paths are whole paths for so long. */
static int make_chroot(struct zk_store *z)
{
    struct store_call *call;
    const char *chroot = z->chroot;
    char path[STORE_PATH_MAX + 1];
    int rc = OK;

    if (strlen(chroot) > STORE_PATH_MAX / 2)
        return ERR_TOO_LARGE;
    z->chroot = "";
    for (const char *p = chroot; *p != '\0' && rc == OK; ) {
        p += 1 + strcspn(p + 1, "/");
        snprintf(path, sizeof path, "%.*s", (int)(p - chroot), chroot);
        call = store_call_new(NULL, NULL);
        if (call == NULL)
            return ERR_NOMEM;
        store_create(call, path, (struct bytes){ NULL, 0 }, STORE_PERSISTENT);
        rc = store_run(&z->base, call);
        if (rc == ERR_EXISTS)
            rc = OK;
        store_call_free(&call);
    }
    z->chroot = chroot;
    if (rc != OK)
        log_error("zookeeper.connect: the chroot %s cannot be made: %s", chroot, err_text(rc));
    return rc;
}

int zk_store_open(struct store **out, const struct zk_store_opts *o)
{
    struct zk_store *z = NULL;
    char why[1024];
    int rc;

    *out = NULL;
    TRY(zk_new(&z, o));
    zoo_set_debug_level(ZOO_LOG_LEVEL_INFO);
    first_handle(z);
    if (pthread_create(&z->thread, NULL, zk_main, z) != 0)
        abort();
    if (!wait_first(z, o->connection_timeout_ms)) {
        zk_hosts_diagnose(&z->hosts, why, sizeof why);
        log_error("zookeeper.connect: no session with ZooKeeper within zookeeper.connection.timeout.ms=%d: %s",
                  o->connection_timeout_ms, why);
        rc = ERR_TIMEOUT;
    } else {
        rc = o->make_chroot && z->chroot[0] != '\0' ? make_chroot(z) : OK;
    }
    if (rc == OK) {
        *out = &z->base;
        return OK;
    }
    zk_free(&z->base);
    return rc;
}
