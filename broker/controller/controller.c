/* broker/controller/controller.c - the controller's life: its thread, its queue, what others ask it. */
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "config/version.h"

#include <stdlib.h>

/* ---- what comes from other threads -------------------------------------------------------------------- */

/* On the store's thread: which event a fired watch means. */
static void on_store_event(struct store_event *ev, void *arg)
{
    struct controller *c = arg;
    size_t topics = strlen(ZK_BROKER_TOPICS "/"), brokers = strlen(ZK_BROKER_IDS "/");
    int rc = OK;

    if (ev->kind == STORE_EV_EXPIRED)
        rc = event_post(c, EV_EXPIRED, NULL);
    else if (ev->kind == STORE_EV_SESSION)
        rc = event_post(c, EV_SESSION, NULL);
    else if (strcmp(ev->path, ZK_CONTROLLER) == 0)
        rc = event_post(c, EV_CONTROLLER, NULL);
    else if (strcmp(ev->path, ZK_BROKER_TOPICS) == 0)
        rc = event_post(c, EV_TOPICS, NULL);
    else if (strcmp(ev->path, ZK_CONFIG_CHANGES) == 0)
        rc = event_post(c, EV_CONFIGS, NULL);
    else if (strcmp(ev->path, ZK_DELETE_TOPICS) == 0)
        rc = event_post(c, EV_DELETIONS, NULL);
    else if (strcmp(ev->path, ZK_ISR_CHANGES) == 0)
        rc = event_post(c, EV_ISRS, NULL);
    else if (strcmp(ev->path, ZK_LOG_DIR_EVENTS) == 0)
        rc = event_post(c, EV_LOG_DIRS, NULL);
    else if (strcmp(ev->path, ZK_REASSIGN) == 0)
        rc = event_post(c, EV_REASSIGN, NULL);
    else if (strcmp(ev->path, ZK_PREFERRED_ELECTION) == 0)
        rc = event_post(c, EV_ELECTIONS, NULL);
    else if (strncmp(ev->path, ZK_BROKER_TOPICS "/", topics) == 0 && strchr(ev->path + topics, '/') != NULL)
        rc = ev->kind == STORE_EV_CHANGED ? event_post(c, EV_STATE, ev->path + topics) : OK;
    else if (strncmp(ev->path, ZK_BROKER_TOPICS "/", topics) == 0 && ev->kind == STORE_EV_CHANGED)
        rc = event_post(c, EV_TOPIC, ev->path + topics);
    else if (strcmp(ev->path, ZK_BROKER_IDS) == 0)
        rc = event_post(c, EV_BROKERS, NULL);
    else if (strncmp(ev->path, ZK_BROKER_IDS "/", brokers) == 0 && ev->kind == STORE_EV_CHANGED)
        rc = event_post(c, EV_BROKER, ev->path + brokers);
    if (rc != OK)
        log_error("controller: out of memory: the change of %s is lost; restart the broker", ev->path);
    free(ev);
}

static void recheck(struct loop_item *item, void *arg)
{
    struct controller *c = arg;

    (void)item;
    atomic_store(&c->recheck_posted, false);
    ops_recheck(c);
    elections_recheck(c, false);
}

/* On the thread that updates the metadata cache. */
static void on_metadata(void *arg)
{
    struct controller *c = arg;

    if (!atomic_exchange(&c->recheck_posted, true))
        loop_post(&c->loop, &c->recheck);
}

static void stop(struct loop_item *item, void *arg)
{
    struct controller *c = arg;

    (void)item;
    c->stopping = true;
    brokers_disconnect(c);
    ops_end(c);
    elections_recheck(c, true);
}

/* ---- the thread --------------------------------------------------------------------------------------- */

static void run_timers(struct controller *c)
{
    int64_t now = mono_ns();

    if (now >= c->elect_at_ns) {
        c->elect_at_ns = INT64_MAX;
        if (event_post(c, EV_ELECT, NULL) != OK)
            c->elect_at_ns = now + 1000000000;
    }
    if (now >= c->retry_at_ns) {
        c->retry_at_ns = INT64_MAX;
        if (event_post(c, EV_RETRY, NULL) != OK)
            c->retry_at_ns = now + 1000000000;
    }
    if (now >= c->balance_at_ns) {
        c->balance_at_ns = INT64_MAX;
        if (event_post(c, EV_BALANCE, NULL) != OK)
            c->balance_at_ns = now + 1000000000;
    }
    if (now >= c->register_at_ns) {
        c->register_at_ns = INT64_MAX;
        if (event_post(c, EV_SESSION, NULL) != OK)
            c->register_at_ns = now + 1000000000;
    }
    if (now >= ops_deadline(c))
        ops_recheck(c);
    if (now >= elections_deadline(c))
        elections_recheck(c, false);
}

static int64_t next_timer(const struct controller *c)
{
    int64_t at = ops_deadline(c), elections = elections_deadline(c);

    if (elections < at)
        at = elections;
    if (c->elect_at_ns < at)
        at = c->elect_at_ns;
    if (c->balance_at_ns < at)
        at = c->balance_at_ns;
    if (c->register_at_ns < at)
        at = c->register_at_ns;
    return c->retry_at_ns < at ? c->retry_at_ns : at;
}

/* Everything that was asked has been answered; only then may the memory go. */
static bool at_rest(const struct controller *c)
{
    return c->lane.waiting == 0 && c->events == NULL && c->event == NULL && c->sent == 0 && c->ops == NULL;
}

static void *controller_main(void *arg)
{
    struct controller *c = arg;

    pthread_setname_np(pthread_self(), "controller");
    while (!c->stopping || !at_rest(c)) {
        loop_turn(&c->loop, c, next_timer(c));
        if (c->stopping) {
            if (c->top != NULL)
                ctl_abort(c, ERR_CLOSED, "stopping");
            if (c->lane.waiting == 0)
                c->lane.idle(c, &c->lane);
        } else {
            run_timers(c);
        }
    }
    return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

void controller_set_ready(struct controller *c, int rc)
{
    lock_take(&c->lock);
    if (!c->ready) {
        c->ready = true;
        c->ready_rc = rc;
        cond_broadcast(&c->ready_cond);
    }
    lock_drop(&c->lock);
}

int controller_new(struct controller **out, struct controller_opts *opts)
{
    struct controller *c = calloc(1, sizeof *c);

    *out = NULL;
    if (c == NULL)
        return ERR_NOMEM;
    c->opts = *opts;
    ibp_init(&c->ibp, opts->cfg->inter_broker_protocol_version);
    loop_init(&c->loop);
    lock_init(&c->lock, LOCK_controller);
    cond_init(&c->ready_cond);
    c->recheck.run = recheck;
    c->stop.run = stop;
    c->broker_epoch = opts->broker_epoch;
    c->controller_id = c->suspect = c->deposed = -1;
    c->changes_seen = -1;
    c->events_tail = &c->events;
    c->lane.idle = engine_idle;
    c->elect_at_ns = c->retry_at_ns = c->balance_at_ns = c->register_at_ns = INT64_MAX;
    *out = c;
    return OK;
}

/* As with a new session: the one in which this broker was registered may have ended since, when nobody was told yet. */
int controller_start(struct controller *c)
{
    store_set_watcher(c->opts.store, on_store_event, c);
    metadata_cache_listen(c->opts.metacache, on_metadata, c);
    TRY(event_post(c, EV_SESSION, NULL));
    if (pthread_create(&c->thread, NULL, controller_main, c) != 0)
        return ERR_SYSTEM;
    c->started = true;
    return OK;
}

int controller_wait_ready(struct controller *c, int64_t timeout_ms)
{
    int64_t until = mono_ns() + timeout_ms * 1000000;
    int rc = ERR_TIMEOUT;

    lock_take(&c->lock);
    while (!c->ready && cond_wait_until(&c->ready_cond, &c->lock, until))
        ;
    if (c->ready)
        rc = c->ready_rc;
    lock_drop(&c->lock);
    return rc;
}

void controller_stop(struct controller *c)
{
    if (!c->started)
        return;
    store_set_watcher(c->opts.store, NULL, NULL);
    store_barrier(c->opts.store);                   /* no event is on its way any more */
    loop_post(&c->loop, &c->stop);
    pthread_join(c->thread, NULL);
    c->started = false;
    loop_close(&c->loop);                           /* what is asked from now on is answered by whoever asks */
    while (!mpsc_empty(&c->loop.items))
        loop_turn(&c->loop, c, INT64_MAX);          /* asked after the end: answered while there are connections */
}

void controller_free(struct controller **c)
{
    struct controller *x = *c;

    if (x == NULL)
        return;
    *c = NULL;
    controller_stop(x);
    metadata_cache_unlisten(x->opts.metacache, x);
    if (x->opts.local != NULL)
        x->opts.local->close(x->opts.local);
    x->stopping = true;
    while (!mpsc_empty(&x->loop.items))
        loop_turn(&x->loop, x, INT64_MAX);          /* events that came after the end */
    batch_fini(x);
    context_clear(&x->ctx);
    cond_fini(&x->ready_cond);
    lock_fini(&x->lock);
    loop_fini(&x->loop);
    free(x);
}

bool controller_active(const struct controller *c)
{
    return atomic_load(&c->active);
}
