/* broker/controller/task.h - how the controller does long work without waiting: events, frames, steps.
 *
 * Events (a watch fired, a broker answered, ...) are done one after the other. An event is a frame: a list
 * of steps. A step asks the store for something (ctl_submit) and ends; the next step runs when all the
 * answers have come. A step may put another frame on top, which is then done first. Meanwhile the thread
 * serves what is not part of an event (topic_ops.c).
 *
 * OWNER   frames are on the heap and belong to the stack; fini() frees what a frame holds.
 * FAILURE ctl_abort() ends the running event once its answers are in: no further step of it runs, its frames
 *         are freed, and the controller resigns (see election.c). A step that meets ERR_NOMEM, a refused
 *         epoch or a lost session does that; what concerns one topic or partition only is logged and left
 *         out.
 */
#ifndef BROKER_CONTROLLER_TASK_H
#define BROKER_CONTROLLER_TASK_H

#include "base/err.h"
#include "broker/controller/loop.h"
#include "metadata/store.h"

struct controller;
struct frame;

enum step_next { STEP_NEXT, STEP_AGAIN, STEP_END };

struct step {
    const char     *name;       /* NULL: the end of the list */
    enum step_next (*run)(struct controller *c, struct frame *f);
};

struct frame {
    struct frame      *up;
    const struct step *steps;
    size_t             at;
    void             (*fini)(struct frame *f);      /* may be NULL */
};

/* Calls whose answers are waited for together; idle() runs when the last has come. */
struct lane {
    size_t waiting;
    void (*idle)(struct controller *c, struct lane *lane);
};

typedef void answer_fn(struct controller *c, struct store_call *call, void *subject);

/* A call for ctl_submit(); NULL: out of memory, and the event has been aborted. */
struct store_call *ctl_call(struct controller *c) must_use;
/* The same, with the check that this is still the active controller as its first operation. */
struct store_call *ctl_fenced_call(struct controller *c) must_use;

/* fn gets the answer on the controller's thread, before the lane's idle(); the call is freed after it. fn
 * may be NULL. In the lane of events: fn is not called any more when the event was aborted, and a refused
 * epoch check or a lost session aborts it. */
bool ctl_submit(struct controller *c, struct lane *lane, struct store_call *call, answer_fn *fn, void *subject)
    must_use;                                       /* false: out of memory, the call has been freed */
void ctl_ask(struct controller *c, struct store_call *call, answer_fn *fn, void *subject);      /* lane of events */

/* A frame of `size` bytes, zeroed, on top of the stack. NULL: out of memory, aborted. */
void *frame_push(struct controller *c, size_t size, const struct step *steps);
void  ctl_abort(struct controller *c, int rc, const char *why);
void  engine_idle(struct controller *c, struct lane *lane);               /* the idle() of the lane of events */

enum event_kind {
    EV_ELECT, EV_CONTROLLER, EV_TOPICS, EV_TOPIC, EV_DELETIONS, EV_LOG_DIRS, EV_ANSWER, EV_RETRY, EV_CONFIGS,
    EV_EXPIRED, EV_SESSION, EV_ASK, EV_LINK, EV_BROKERS, EV_BROKER, EV_REACHED, EV_ISRS,
    EV_REASSIGN, EV_STATE, EV_ELECTIONS, EV_BALANCE
};

struct control_request;
struct controller_ask;
struct event {
    struct loop_item        item;
    struct event           *next;
    enum event_kind         kind;
    struct control_request *req;        /* EV_ANSWER */
    struct controller_ask  *ask;        /* EV_ASK: answered when the event has ended */
    bool                    failed;     /* EV_ASK: it was not done, or not to the end */
    int32_t                 broker;     /* EV_LINK, EV_REACHED */
    int64_t                 epoch;      /* the same */
    char                    topic[];    /* EV_TOPIC; EV_STATE: with what follows in the path; EV_BROKER: its id */
};

void event_answer(struct controller *c, struct control_request *req);   /* the controller's thread; takes req */
/* false: it has not been taken, rc says why */
bool event_ask(struct controller *c, struct controller_ask *ask, int *rc) must_use;     /* any thread */
/* Any thread. kind: EV_LINK, EV_REACHED. */
int  event_broker(struct controller *c, enum event_kind kind, int32_t broker, int64_t epoch) must_use;
/* Any thread. name: of the topic, or broker, that the event is about; NULL: none. */
int  event_post(struct controller *c, enum event_kind kind, const char *name) must_use;

#endif
