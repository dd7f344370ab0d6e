/* broker/net/server.c - putting listeners, network threads and IO threads together, and taking them apart. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define IO_STACK_BYTES  ((size_t)1 << 20)
#define IO_STOP_MS      2000
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

static void *io_run(void *arg)
{
    struct server *s = arg;
    struct qnode *q = queue_pop(&s->requests);

    while (q != NULL)
        q = batch_run(s, (struct request *)q) ? queue_pop_announced(&s->requests) : queue_pop(&s->requests);
    server_thread_ends(s, &s->io_running);
    return NULL;
}

/* Answers whose bytes are on the disk and not in memory: whoever reads old records waits here, in nobody's way. */
static void *disk_run(void *arg)
{
    struct server *s = arg;
    struct qnode *q;

    while ((q = queue_pop(&s->cold)) != NULL)
        answer_send_on((struct request *)q);
    server_thread_ends(s, &s->io_running);
    return NULL;
}

static int start_thread(struct server *s, const pthread_attr_t *attr, const char *name, int i, void *(*fn)(void *))
{
    char text[16];
    int err = pthread_create(&s->io[s->io_n], attr, fn, s);

    if (err != 0)
        return err_from_errno(err);
    snprintf(text, sizeof text, "%s-%d", name, i);
    pthread_setname_np(s->io[s->io_n++], text);
    return OK;
}

static int io_start(struct server *s)
{
    int n = s->opts.io_threads, rc = OK;
    pthread_attr_t attr;

    s->io = calloc((size_t)n + DISK_THREADS, sizeof *s->io);
    if (s->io == NULL)
        return ERR_NOMEM;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, IO_STACK_BYTES);
    for (int i = 0; i < n && rc == OK; i++)
        rc = start_thread(s, &attr, "io", i, io_run);
    for (int i = 0; i < DISK_THREADS && rc == OK; i++)
        rc = start_thread(s, &attr, "disk", i, disk_run);
    lock_take(&s->stop_lock);
    s->io_running += s->io_n;
    lock_drop(&s->stop_lock);
    pthread_attr_destroy(&attr);
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
    s->opts.ip_limits = NULL;
    lock_init(&s->stop_lock, LOCK_netstop);
    cond_init(&s->stop_cond);
    rbuf_pool_init(&s->pool, limit, on_room, s);
    queue_init(&s->requests, opts->queued_max_requests, on_room, s);
    queue_init(&s->cold, SIZE_MAX, NULL, NULL);
    rc = limits_init(&s->limits, opts);
    if (rc == OK)
        rc = listeners_open(s, opts);
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
    for (int i = 0; i < s->io_n; i++)
        pthread_join(s->io[i], NULL);
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
    free(s->io);
    cond_fini(&s->stop_cond);
    lock_fini(&s->stop_lock);
    limits_fini(&s->limits);
    queue_fini(&s->requests);
    queue_fini(&s->cold);
    rbuf_pool_fini(&s->pool);
    free(s);
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
