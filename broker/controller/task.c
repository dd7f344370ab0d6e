/* broker/controller/task.c - the machine that runs events, frames and steps. */
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

#define RETRY_NS ((int64_t)1000000000)

static const struct event_def {
    const char *name;
    bool        active_only;
    void      (*begin)(struct controller *c);
} event_defs[] = {
    [EV_ELECT] = { "election", false, election_begin },
    [EV_CONTROLLER] = { "change of controller", false, controller_changed },
    [EV_TOPICS] = { "change of topics", true, topics_changed },
    [EV_TOPIC] = { "change of a topic", true, topic_changed },
    [EV_DELETIONS] = { "deletion of topics", true, deletions_changed },
    [EV_LOG_DIRS] = { "loss of a log directory", true, log_dirs_changed },
    [EV_ANSWER] = { "answer of a broker", true, broker_answered },
    [EV_RETRY] = { "partitions without a leader", true, retry_partitions },
    [EV_CONFIGS] = { "change of settings", false, configs_changed },
    [EV_EXPIRED] = { "end of session", false, session_expired },
    [EV_SESSION] = { "new session", false, session_begun },
    [EV_ASK] = { "question", false, ask_begin },
    [EV_BROKERS] = { "change of brokers", true, brokers_changed },
    [EV_BROKER] = { "change of a broker", true, broker_changed },
    [EV_REACHED] = { "broker in reach again", true, broker_reached },
    [EV_ISRS] = { "ISRs written by leaders", true, isrs_changed },
    [EV_LINK] = { "broker out of reach", false, link_down },
    [EV_REASSIGN] = { "list of reassignments", true, reassign_listed },
    [EV_STATE] = { "change of an ISR", true, reassign_state_changed },
    [EV_ELECTIONS] = { "list of preferred elections", true, elections_listed },
    [EV_BALANCE] = { "balance of leaders", true, leaders_balance },
};

/* ---- store calls -------------------------------------------------------------------------------------- */

struct asked {
    struct loop_item   item;
    struct store_call *call;
    struct controller *c;
    struct lane       *lane;
    answer_fn         *fn;
    void              *subject;
};

struct store_call *ctl_call(struct controller *c)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call == NULL)
        ctl_abort(c, ERR_NOMEM, "making a store call");
    return call;
}

struct store_call *ctl_fenced_call(struct controller *c)
{
    struct store_call *call = ctl_call(c);

    if (call != NULL)
        store_check(call, ZK_CONTROLLER_EPOCH, c->epoch_version);
    return call;
}

static bool refused_epoch(const struct store_call *call)
{
    return call->ops_n > 0 && call->ops[0].kind == STORE_CHECK && call->failed == 0 &&
           strcmp(call->ops[0].path, ZK_CONTROLLER_EPOCH) == 0 && (call->rc == ERR_VERSION || call->rc == ERR_NOENT);
}

/* On the controller's thread. The call, and with it `a`, is freed before idle(). */
static void answered(struct loop_item *item, void *arg)
{
    struct asked *a = (struct asked *)item;
    struct controller *c = arg;
    struct store_call *call = a->call;
    struct lane *lane = a->lane;

    lane->waiting--;
    if (lane == &c->lane && c->abort_rc == OK) {
        if (refused_epoch(call))
            ctl_abort(c, ERR_FENCED, "another broker has become controller");
        else if (call->rc == ERR_CLOSED)
            ctl_abort(c, ERR_CLOSED, "the session of the metadata store has ended");
        else if (call->rc == ERR_NOMEM)
            ctl_abort(c, ERR_NOMEM, "reading the metadata store");
    }
    if (a->fn != NULL && (lane != &c->lane || c->abort_rc == OK))
        a->fn(c, call, a->subject);
    store_call_free(&call);
    if (lane->waiting == 0)
        lane->idle(c, lane);
}

static void on_store_thread(struct store_call *call)
{
    struct asked *a = call->arg;

    loop_post(&a->c->loop, &a->item);
}

bool ctl_submit(struct controller *c, struct lane *lane, struct store_call *call, answer_fn *fn, void *subject)
{
    struct asked *a = arena_zalloc(&call->arena, sizeof *a);

    if (a == NULL) {
        store_call_free(&call);
        return false;
    }
    *a = (struct asked){ .item.run = answered, .call = call, .c = c, .lane = lane, .fn = fn, .subject = subject };
    call->done = on_store_thread;
    call->arg = a;
    lane->waiting++;
    store_submit(c->opts.store, call);
    return true;
}

void ctl_ask(struct controller *c, struct store_call *call, answer_fn *fn, void *subject)
{
    if (call != NULL && !ctl_submit(c, &c->lane, call, fn, subject))
        ctl_abort(c, ERR_NOMEM, "making a store call");
}

/* ---- events ------------------------------------------------------------------------------------------- */

static void event_arrived(struct loop_item *item, void *arg)
{
    struct event *ev = (struct event *)item;
    struct controller *c = arg;

    ev->next = NULL;
    *c->events_tail = ev;
    c->events_tail = &ev->next;
    if (c->top == NULL && c->lane.waiting == 0)
        c->lane.idle(c, &c->lane);
}

void event_answer(struct controller *c, struct control_request *req)
{
    struct event *ev = calloc(1, sizeof *ev + 1);

    if (ev == NULL) {
        control_request_free(&req);
        ctl_abort(c, ERR_NOMEM, "taking a broker's answer");
        return;
    }
    ev->kind = EV_ANSWER;
    ev->req = req;
    event_arrived(&ev->item, c);
}

bool event_ask(struct controller *c, struct controller_ask *ask, int *rc)
{
    struct event *ev = calloc(1, sizeof *ev + 1);

    *rc = ev != NULL ? OK : ERR_NOMEM;
    if (ev == NULL)
        return false;
    ev->item.run = event_arrived;
    ev->kind = EV_ASK;
    ev->ask = ask;
    ev->failed = true;
    if (loop_offer(&c->loop, &ev->item))
        return true;
    free(ev);
    *rc = ERR_CLOSED;
    return false;
}

int event_broker(struct controller *c, enum event_kind kind, int32_t broker, int64_t epoch)
{
    struct event *ev = calloc(1, sizeof *ev + 1);

    if (ev == NULL)
        return ERR_NOMEM;
    ev->item.run = event_arrived;
    ev->kind = kind;
    ev->broker = broker;
    ev->epoch = epoch;
    if (!loop_offer(&c->loop, &ev->item))
        free(ev);
    return OK;
}

int event_post(struct controller *c, enum event_kind kind, const char *topic)
{
    size_t n = topic != NULL ? strlen(topic) + 1 : 1;
    struct event *ev = calloc(1, sizeof *ev + n);

    if (ev == NULL)
        return ERR_NOMEM;
    ev->item.run = event_arrived;
    ev->kind = kind;
    if (topic != NULL)
        memcpy(ev->topic, topic, n);
    loop_post(&c->loop, &ev->item);
    return OK;
}

void *frame_push(struct controller *c, size_t size, const struct step *steps)
{
    struct frame *f = calloc(1, size);

    if (f == NULL) {
        ctl_abort(c, ERR_NOMEM, steps->name);
        return NULL;
    }
    f->up = c->top;
    f->steps = steps;
    c->top = f;
    return f;
}

static void frame_pop(struct controller *c)
{
    struct frame *f = c->top;

    c->top = f->up;
    if (f->fini != NULL)
        f->fini(f);
    free(f);
}

void ctl_abort(struct controller *c, int rc, const char *why)
{
    if (c->abort_rc != OK)
        return;
    c->abort_rc = rc;
    if (!c->stopping)
        log_warn("controller: %s (%s)", why, err_text(rc));
}

static void event_end(struct controller *c)
{
    struct event *ev = c->event;

    c->event = NULL;
    if (ev == NULL)
        return;
    if (ev->ask != NULL)
        ask_end(ev->ask, ev->failed);
    control_request_free(&ev->req);
    free(ev);
}

/* false: nothing to do. */
static bool event_begin(struct controller *c)
{
    const struct event_def *def;

    event_end(c);
    c->event = c->events;
    if (c->event == NULL)
        return false;
    c->events = c->event->next;
    if (c->events == NULL)
        c->events_tail = &c->events;
    def = &event_defs[c->event->kind];
    if (c->stopping || (def->active_only && !atomic_load(&c->active)))
        return true;
    log_debug("controller: event: %s %s", def->name, c->event->topic);
    def->begin(c);
    return true;
}

/* An event that failed half-way leaves this broker with a picture of the cluster that may be wrong: resign,
 * and elect again from what is in the store. A lost session is followed by a new one, which does that by
 * itself. */
static void aborted(struct controller *c)
{
    int rc = c->abort_rc;

    if (c->event != NULL)
        c->event->failed = true;
    while (c->top != NULL)
        frame_pop(c);
    c->abort_rc = OK;
    election_resign(c);
    if (rc != ERR_CLOSED && rc != ERR_FENCED)
        controller_set_ready(c, rc);                /* a start that cannot succeed; after the others it will */
    if (rc != ERR_CLOSED)
        c->elect_at_ns = mono_ns() + (rc == ERR_FENCED ? 0 : RETRY_NS);
}

void engine_idle(struct controller *c, struct lane *lane)
{
    while (lane->waiting == 0) {
        struct frame *f = c->top;

        if (c->abort_rc != OK) {
            aborted(c);
        } else if (f == NULL) {
            if (!event_begin(c))
                return;
        } else if (f->steps[f->at].name == NULL) {
            frame_pop(c);
        } else {
            enum step_next next = f->steps[f->at].run(c, f);

            if (next == STEP_NEXT)
                f->at++;
            else if (next == STEP_END)
                while (f->steps[f->at].name != NULL)
                    f->at++;
        }
    }
}
