/* broker/controller/election.c - who is the controller: election, resignation, sessions.
 *
 * 1. /controller is there: somebody is; remember who. The watch on it is armed by the same read.
 * 2. Else: read /controller_epoch (make it with 0), then in one multi create /controller and set the epoch
 *    to one more, if its version is still the one read. Two brokers cannot both succeed, and every later
 *    write of the winner checks that version.
 * 3. The multi is refused: either another broker was faster, or our own answer was lost and this is the
 *    second try: then /controller has our id and the epoch is the one we wanted, and we have won.
 */
#include "broker/controller/priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/registration.h"
#include "broker/cluster/standing.h"

#include <stdio.h>
#include <stdlib.h>

#define REGISTER_NS ((int64_t)1000000000)       /* between tries */

struct election {
    struct frame f;
    bool         taken;                 /* /controller is there */
    bool         ours;                  /* ... of our session, though we are not active: given up half-way */
    int32_t      holder;
    bool         have_epoch;            /* else it has to be made first */
    int32_t      epoch, version;        /* of /controller_epoch */
    int32_t      wanted;
};

static void looked(struct controller *c, struct store_call *call, void *subject)
{
    struct election *e = subject;
    const struct store_op *who = &call->ops[1], *epoch = &call->ops[2];
    int32_t kraft;

    e->taken = who->rc == OK;
    e->holder = -1;
    if (e->taken && znode_controller_read(who->value, &e->holder, &kraft) != OK)
        log_error(ZK_CONTROLLER ": cannot be understood; delete it to have a controller elected");
    e->ours = e->taken && e->holder == c->opts.broker->id && who->stat.ephemeral_owner != 0 &&
              who->stat.ephemeral_owner == store_session(c->opts.store);
    e->have_epoch = epoch->rc == OK && znode_epoch_read(epoch->value, &e->epoch) == OK;
    e->version = epoch->stat.version;
    if (epoch->rc == OK && !e->have_epoch)
        ctl_abort(c, ERR_CORRUPT, ZK_CONTROLLER_EPOCH " is not a number");
}

static enum step_next look(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_exists(call, ZK_CONTROLLER, STORE_WATCH);
    store_get(call, ZK_CONTROLLER, 0);
    store_get(call, ZK_CONTROLLER_EPOCH, 0);
    ctl_ask(c, call, looked, f);
    return STEP_NEXT;
}

static void tried(struct controller *c, struct store_call *call, void *subject)
{
    (void)subject;
    if (call->rc != OK && call->rc != ERR_EXISTS && call->rc != ERR_VERSION)
        ctl_abort(c, call->rc, "cannot become controller");
}

static enum step_next try_it(struct controller *c, struct frame *f)
{
    struct election *e = (struct election *)f;
    char *node, epoch[16];
    struct store_call *call;

    e->wanted = e->epoch + 1;
    snprintf(epoch, sizeof epoch, "%d", e->wanted);
    node = znode_controller_write(c->opts.broker->id, wall_ms());
    call = node != NULL ? ctl_call(c) : NULL;
    if (call == NULL) {
        free(node);
        ctl_abort(c, ERR_NOMEM, "election");
        return STEP_END;
    }
    store_create(call, ZK_CONTROLLER, (struct bytes){ (uint8_t *)node, strlen(node) }, STORE_EPHEMERAL);
    store_set(call, ZK_CONTROLLER_EPOCH, (struct bytes){ (uint8_t *)epoch, strlen(epoch) }, e->version);
    free(node);
    ctl_ask(c, call, tried, NULL);
    return STEP_NEXT;
}

/* This broker was the controller and could not go on (see aborted() in task.c): nobody is, until the node goes. */
static enum step_next vacate(struct controller *c, const struct election *e)
{
    struct store_call *call = e->have_epoch ? ctl_call(c) : NULL;

    if (call == NULL)
        return STEP_END;
    store_delete(call, ZK_CONTROLLER, STORE_ANY_VERSION);
    store_check(call, ZK_CONTROLLER_EPOCH, e->version);
    ctl_ask(c, call, NULL, NULL);
    c->elect_at_ns = mono_ns();                     /* the others hear of it by their watch */
    return STEP_END;
}

/* Taken already: nothing to do but to know it. */
static enum step_next yield_or_claim(struct controller *c, struct frame *f)
{
    struct election *e = (struct election *)f;

    if (e->ours)
        return vacate(c, e);
    if (e->taken) {
        c->controller_id = e->holder;
        controller_set_ready(c, OK);
        return STEP_END;
    }
    if (!e->have_epoch) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_create(call, ZK_CONTROLLER_EPOCH, (struct bytes){ (const uint8_t *)"0", 1 }, 0);
        ctl_ask(c, call, NULL, NULL);               /* what follows is refused if it is there in the meantime */
        e->epoch = e->version = 0;
    }
    return try_it(c, f);
}

/* What stands tells a lost answer from a lost election; the look at it has armed the watch, too. */
static enum step_next conclude(struct controller *c, struct frame *f)
{
    struct election *e = (struct election *)f;

    if (!e->taken) {                                /* it vanished again: the watch will not tell */
        c->elect_at_ns = mono_ns();
        return STEP_END;
    }
    c->controller_id = e->holder;
    if (e->holder != c->opts.broker->id || e->epoch != e->wanted) {
        log_info("controller: broker %d is the controller", e->holder);
        controller_set_ready(c, OK);
        return STEP_END;
    }
    c->epoch = e->epoch;
    c->epoch_version = e->version;
    atomic_store(&c->active, true);
    log_debug("controller: this broker is the controller, epoch %d", c->epoch);
    failover_begin(c);
    return STEP_NEXT;
}

void election_begin(struct controller *c)
{
    static const struct step steps[] = {
        { "look at /controller", look },       { "yield or claim it", yield_or_claim },
        { "look at the outcome", look },       { "conclude", conclude },
        { NULL, NULL },
    };

    if (!atomic_load(&c->active))
        (void)frame_push(c, sizeof(struct election), steps);
}

void election_resign(struct controller *c)
{
    if (atomic_load(&c->active))
        log_info("controller: this broker is not the controller any more");
    atomic_store(&c->active, false);
    c->controller_id = -1;
    c->failed_over = false;
    c->retry_at_ns = c->balance_at_ns = INT64_MAX;
    c->isrs_posted = false;
    batch_fini(c);
    brokers_disconnect(c);
    context_clear(&c->ctx);
}

/* ---- /controller has changed -------------------------------------------------------------------------- */

struct change {
    struct frame f;
    bool         there;
    int32_t      holder;
};

static void change_seen(struct controller *c, struct store_call *call, void *subject)
{
    struct change *ch = subject;
    int32_t kraft;

    (void)c;
    ch->there = call->ops[1].rc == OK;
    if (ch->there && znode_controller_read(call->ops[1].value, &ch->holder, &kraft) != OK)
        ch->holder = -1;
}

static enum step_next change_look(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_exists(call, ZK_CONTROLLER, STORE_WATCH);
    store_get(call, ZK_CONTROLLER, 0);
    ctl_ask(c, call, change_seen, f);
    return STEP_NEXT;
}

static enum step_next change_follow(struct controller *c, struct frame *f)
{
    const struct change *ch = (struct change *)f;
    bool ours = ch->there && ch->holder == c->opts.broker->id;

    if (atomic_load(&c->active) && !ours)
        election_resign(c);
    if (ch->there)
        c->controller_id = ch->holder;
    if (!ch->there && event_post(c, EV_ELECT, NULL) != OK)
        ctl_abort(c, ERR_NOMEM, "election");
    return STEP_NEXT;
}

void controller_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "look at /controller", change_look }, { "follow", change_follow }, { NULL, NULL },
    };

    (void)frame_push(c, sizeof(struct change), steps);
}

/* ---- sessions ----------------------------------------------------------------------------------------- */

void session_expired(struct controller *c)
{
    election_resign(c);
}

struct renewal {
    struct frame      f;
    enum registration found;
};

/* At the start it mostly stands as the daemon has made it. */
static void registered_as(struct controller *c, const struct store_call *call)
{
    if (c->broker_epoch == registration_epoch(call))
        return;
    c->broker_epoch = registration_epoch(call);
    if (c->opts.standing != NULL)
        standing_registered(c->opts.standing, c->broker_epoch);
    log_info("broker %d is registered again, broker epoch %lld", c->opts.broker->id, (long long)c->broker_epoch);
}

/* It is never given up: without a registration the broker is not part of the cluster. */
static void register_later(struct controller *c, int rc, const char *why)
{
    c->register_at_ns = mono_ns() + REGISTER_NS;
    ctl_abort(c, rc, why);
}

static void registration_found(struct controller *c, struct store_call *call, void *subject)
{
    static struct log_limit limit = LOG_LIMIT(30000, 1);
    struct renewal *r = subject;
    char holder[300];
    int hidden;

    if (call->rc != OK && call->rc != ERR_NOENT) {
        register_later(c, call->rc, "cannot read this broker's registration");
        return;
    }
    r->found = registration_judge(c->opts.store, call);
    if (r->found == REGISTRATION_OURS)
        registered_as(c, call);
    if (r->found != REGISTRATION_TAKEN)
        return;
    registration_holder(call, holder, sizeof holder);
    if (log_limit(&limit, &hidden))
        log_error("broker id %d has been taken by another broker (%s) since the session of this one ended; stop one of "
                  "them and give it its own broker.id", c->opts.broker->id, holder);
    register_later(c, ERR_EXISTS, "cannot register this broker again");
}

static enum step_next registration_look(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    registration_read(call, c->opts.broker->id);
    ctl_ask(c, call, registration_found, f);
    return STEP_NEXT;
}

static void registered(struct controller *c, struct store_call *call, void *subject)
{
    (void)subject;
    if (call->rc == OK)
        registered_as(c, call);
    else
        register_later(c, call->rc, "cannot register this broker again");
}

static enum step_next session_register(struct controller *c, struct frame *f)
{
    const struct renewal *r = (struct renewal *)f;
    struct store_call *call;

    if (r->found == REGISTRATION_OURS)
        return STEP_NEXT;
    call = ctl_call(c);
    if (call == NULL)
        return STEP_END;
    if (registration_write(call, c->opts.broker, r->found == REGISTRATION_LEFT) != OK) {
        store_call_free(&call);
        ctl_abort(c, ERR_NOMEM, "registration");
        return STEP_END;
    }
    ctl_ask(c, call, registered, NULL);
    return STEP_NEXT;
}

static enum step_next session_elect(struct controller *c, struct frame *f)
{
    (void)f;
    if (event_post(c, EV_CONFIGS, NULL) != OK)      /* the watch on changes went with the old session */
        ctl_abort(c, ERR_NOMEM, "election");
    election_begin(c);
    return STEP_NEXT;
}

void session_begun(struct controller *c)
{
    static const struct step steps[] = {
        { "look at the registration", registration_look }, { "register the broker", session_register },
        { "elect", session_elect }, { NULL, NULL },
    };

    election_resign(c);
    c->register_at_ns = INT64_MAX;
    (void)frame_push(c, sizeof(struct renewal), steps);
}
