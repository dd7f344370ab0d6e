/* broker/controller/ask.c - what others ask the controller, as events: one row a kind.
 *
 * An ask is answered when its event has ended, with all the frames that it pushed: what it asked for has been written
 * by then, and the requests to the brokers are on their way. If the event was not done, or was cut off half-way (the
 * session ended, another broker is the controller now), the answer is NOT_CONTROLLER, and whoever asked asks again.
 */
#include "broker/controller/ask.h"

#include "broker/controller/priv.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/gen/alter_partition_reassignments_response.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/controlled_shutdown_response.h"
#include "proto/gen/elect_leaders_response.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

/* A response that says nothing but the error. */
#define A(kind, stem)                                                                                                  \
    static void stem##_fail(void *resp, int16_t error)                                                                 \
    {                                                                                                                  \
        struct stem##_response *r = resp;                                                                              \
                                                                                                                       \
        stem##_response_init(r);                                                                                       \
        r->error_code = error;                                                                                         \
    }
CONTROLLER_ASKS(A)
#undef A

static const struct ask_def {
    void (*fail)(void *resp, int16_t error);
    void (*begin)(struct controller *c, struct controller_ask *ask);
} defs[] = {
    [ASK_ALTER_PARTITION] = { alter_partition_fail, alter_partition_asked },
    [ASK_CONTROLLED_SHUTDOWN] = { controlled_shutdown_fail, controlled_shutdown_asked },
    [ASK_ELECT_LEADERS] = { elect_leaders_fail, elections_asked },
    [ASK_ALTER_REASSIGNMENTS] = { alter_partition_reassignments_fail, reassignments_asked },
    [ASK_LIST_REASSIGNMENTS] = { list_partition_reassignments_fail, reassignments_list_asked },
    [ASK_PRODUCER_IDS] = { allocate_producer_ids_fail, producer_ids_asked },
};

void ask_end(struct controller_ask *ask, bool failed)
{
    if (failed)
        defs[ask->kind].fail(ask->resp, KERR_NOT_CONTROLLER);
    ask->rc = OK;
    ask->done(ask);
}

void ask_begin(struct controller *c)
{
    struct controller_ask *ask = c->event->ask;

    if (!atomic_load(&c->active) || defs[ask->kind].begin == NULL)
        return;
    c->event->failed = false;
    defs[ask->kind].begin(c, ask);
}

void controller_ask(struct controller *c, struct controller_ask *ask)
{
    int rc;

    if (event_ask(c, ask, &rc))
        return;
    if (rc == ERR_NOMEM) {
        ask->rc = rc;
        ask->done(ask);
    } else {
        ask_end(ask, true);                         /* the controller has stopped */
    }
}
