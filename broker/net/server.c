/* broker/net/server.c - putting listeners, network threads and IO threads together, and taking them apart. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define IO_STACK_BYTES  ((size_t)1 << 20)
#define IO_STOP_MS      30000           /* for a handler that waits for its disk: it may not outlive what it uses */
#define DISK_THREADS    2               /* at most so many answers wait for a disk at a time */

void server_each_thread(struct server *s, void (*fn)(struct nthread *))
{
    for (size_t i = 0; i < s->listeners_n; i++)
        for (int k = 0; k < s->listeners[i].threads_n; k++)
            fn(&s->listeners[i].threads[k]);
}

static void tell_room(struct nthread *t)
{
    atomic_store(&t->room, true);
    nthread_wake(t);
}

/* Called by whoever made room in the request queue or in the pool's limit. */
static void on_room(void *arg)
{
    server_each_thread(arg, tell_room);
}

/* After `thin` was popped: true, this thread is not wanted any more. It goes back into the queue until there are no
 * more than there shall be. */
static bool thin_out(struct crew_member *me)
{
    struct server *s = me->arg;
    bool leaves, more;

    lock_take(&s->stop_lock);
    leaves = crew_leave(me);
    more = s->thinning = s->io.working > s->io.wanted;
    if (leaves) {
        s->io_running--;
        cond_broadcast(&s->stop_cond);
    }
    lock_drop(&s->stop_lock);
    if (more)
        queue_push_over(&s->requests, &s->thin);
    return leaves;
}

static void *io_run(void *arg)
{
    struct crew_member *me = arg;
    struct server *s = me->arg;
    struct qnode *q = queue_pop(&s->requests);

    while (q != NULL) {
        if (q == &s->thin && thin_out(me))
            return NULL;
        if (q == &s->thin)
            q = queue_pop(&s->requests);
        else
            q = batch_run(s, (struct request *)q) ? queue_pop_announced(&s->requests) : queue_pop(&s->requests);
    }
    server_thread_ends(s, &s->io_running);
    return NULL;
}

/* Answers whose bytes are on the disk and not in memory: whoever reads old records waits here, in nobody's way. */
static void *disk_run(void *arg)
{
    struct server *s = ((struct crew_member *)arg)->arg;
    struct qnode *q;

    while ((q = queue_pop(&s->cold)) != NULL)
        answer_send_on((struct request *)q);
    server_thread_ends(s, &s->io_running);
    return NULL;
}

int server_set_io_threads(struct server *s, int n)
{
    bool thin;
    int rc, had;

    lock_take(&s->stop_lock);
    had = s->io.working;
    rc = crew_resize(&s->io, n);
    if (s->io.working > had)
        s->io_running += s->io.working - had;
    thin = s->io.working > s->io.wanted && !s->thinning;
    s->thinning |= thin;
    lock_drop(&s->stop_lock);
    if (thin)
        queue_push_over(&s->requests, &s->thin);
    return rc;
}

static int io_start(struct server *s)
{
    int rc;

    TRY(server_set_io_threads(s, s->opts.io_threads));
    lock_take(&s->stop_lock);
    rc = crew_resize(&s->disk, DISK_THREADS);
    s->io_running += s->disk.working;
    lock_drop(&s->stop_lock);
    return rc;
}

static int listeners_open(struct server *s, const struct server_opts *o)
{
    s->listeners = calloc(o->listeners_n, sizeof *s->listeners);
    if (s->listeners == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < o->listeners_n; i++) {
        s->listeners_n++;
        TRY(acceptor_open(&s->listeners[i], s, &o->listeners[i]));
    }
    return OK;
}

static int threads_start(struct server *s, const struct server_opts *o)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        struct acceptor *l = &s->listeners[i];
        int n = o->listeners[i].network_threads;

        l->threads = calloc((size_t)n, sizeof *l->threads);
        if (l->threads == NULL)
            return ERR_NOMEM;
        while (l->threads_n < n)        /* one that fails is counted, for nthread_fini() */
            TRY(nthread_init(&l->threads[l->threads_n++], s, l));
        acceptor_attach(l);
    }
    TRY(io_start(s));
    for (size_t i = 0; i < s->listeners_n; i++)
        for (int k = 0; k < s->listeners[i].threads_n; k++)
            TRY(nthread_start(&s->listeners[i].threads[k]));
    return OK;
}

int server_new(struct server **out, const struct server_opts *opts)
{
    struct server *s = calloc(1, sizeof *s);
    size_t limit = opts->queued_max_request_bytes > 0 ? (size_t)opts->queued_max_request_bytes : 0;
    int rc;

    if (s == NULL)
        return ERR_NOMEM;
    s->opts = *opts;
    s->opts.listeners = NULL;
    s->opts.limits = (struct server_limits){ .listeners = NULL };
    lock_init(&s->stop_lock, LOCK_netstop);
    cond_init(&s->stop_cond);
    rbuf_pool_init(&s->pool, limit, on_room, s);
    queue_init(&s->requests, opts->queued_max_requests, on_room, s);
    queue_init(&s->cold, SIZE_MAX, NULL, NULL);
    crew_init(&s->io, "io", io_run, s, IO_STACK_BYTES);
    crew_init(&s->disk, "disk", disk_run, s, IO_STACK_BYTES);
    limits_init(&s->limits);
    rc = listeners_open(s, opts);
    if (rc == OK)
        rc = limits_set(&s->limits, s->listeners, s->listeners_n, &opts->limits);
    if (rc == OK) {
        rc = threads_start(s, opts);
        if (rc != OK)
            log_error("the network threads cannot be started: %s", err_text(rc));
    }
    if (rc != OK) {
        server_free(&s, 0);
        return rc;
    }
    *out = s;
    return OK;
}

void server_accept(struct server *s)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        atomic_store(&s->listeners[i].threads[0].accept_again, true);
        nthread_wake(&s->listeners[i].threads[0]);
    }
}

static void set_mode(struct nthread *t, enum nthread_mode mode)
{
    atomic_store(&t->mode, mode);
    nthread_wake(t);
}

static void set_drain(struct nthread *t)
{
    set_mode(t, MODE_DRAIN);
}

void server_drain(struct server *s)
{
    server_each_thread(s, set_drain);
}

void server_send_away(struct server *s)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        struct acceptor *l = &s->listeners[i];

        for (int k = 0; k < l->threads_n && !(l->inter_broker && s->listeners_n > 1); k++) {
            atomic_store(&l->threads[k].send_away, true);
            nthread_wake(&l->threads[k]);
        }
    }
}

void server_thread_ends(struct server *s, int *running)
{
    lock_take(&s->stop_lock);
    (*running)--;                       /* below zero while the starter has not counted it yet */
    cond_broadcast(&s->stop_cond);
    lock_drop(&s->stop_lock);
}

/* Waits for threads to end; gives how many still run when the time is up. */
static int wait_ended(struct server *s, const int *running, int64_t ms)
{
    int64_t until = mono_ns() + ms * 1000000;
    int left;

    lock_take(&s->stop_lock);
    while (*running > 0 && cond_wait_until(&s->stop_cond, &s->stop_lock, until))
        continue;
    left = *running;
    lock_drop(&s->stop_lock);
    return left;
}

static void set_stop(struct nthread *t)
{
    set_mode(t, MODE_STOP);
}

static void join_thread(struct nthread *t)
{
    if (t->started)
        pthread_join(t->thread, NULL);
}

static void stop_network(struct server *s, int64_t grace_ms)
{
    if (wait_ended(s, &s->net_running, grace_ms) > 0)
        server_each_thread(s, set_stop);
    server_each_thread(s, join_thread);
}

/* false: a handler does not come to an end; nothing that it may touch can be freed. */
static bool stop_io(struct server *s)
{
    int stuck;

    queue_close(&s->requests);
    queue_close(&s->cold);
    stuck = wait_ended(s, &s->io_running, IO_STOP_MS);
    if (stuck > 0) {
        log_error("%d requests are still being worked on %d ms after the stop; they are abandoned", stuck, IO_STOP_MS);
        return false;
    }
    crew_join(&s->io);
    crew_join(&s->disk);
    while (queue_pop(&s->requests) != NULL)
        ;                               /* `thin`, if its thread put it back when the others had gone */
    return true;
}

void server_free(struct server **sp, int64_t grace_ms)
{
    struct server *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    server_drain(s);
    stop_network(s, grace_ms);
    if (!stop_io(s))
        return;
    for (size_t i = 0; i < s->listeners_n; i++) {
        struct acceptor *l = &s->listeners[i];

        if (l->threads != NULL)
            acceptor_close(l);
        else if (l->fd >= 0)
            close(l->fd);
        for (int k = 0; k < l->threads_n; k++)
            nthread_fini(&l->threads[k]);
        free(l->threads);
    }
    free(s->listeners);
    cond_fini(&s->stop_cond);
    lock_fini(&s->stop_lock);
    limits_fini(&s->limits);
    queue_fini(&s->requests);
    queue_fini(&s->cold);
    rbuf_pool_fini(&s->pool);
    free(s);
}

/* As many as are too many are closed by their threads, which have the longest idle of their own at hand. */
static void close_excess(struct server *s)
{
    int excess;

    lock_take(&s->limits.lock);
    excess = s->limits.conns_n - s->limits.max;
    lock_drop(&s->limits.lock);
    while (excess-- > 0 && evict_one(s, NULL))
        continue;
}

int server_limit(struct server *s, const struct server_limits *o)
{
    TRY(limits_set(&s->limits, s->listeners, s->listeners_n, o));
    close_excess(s);
    return OK;
}

int server_port(const struct server *s, size_t listener)
{
    return s->listeners[listener].port;
}

size_t server_connections(struct server *s)
{
    size_t n;

    lock_take(&s->limits.lock);
    n = (size_t)s->limits.conns_n;
    lock_drop(&s->limits.lock);
    return n;
}
