/* broker/controller/shutdown.c - ControlledShutdown: a broker is about to stop, and asks for its leaderships to be
 * moved first.
 *
 * From the first request on it counts as shutting down: it is not elected, and no ISR takes it in. What it leads goes
 * to others in sync; what it follows it leaves (StopReplica, and out of the ISR). The answer names what it still leads,
 * because nobody else is in sync; it asks again. The mark goes with its registration.
 */
#include "broker/controller/ask.h"

#include "base/log.h"
#include "broker/controller/leaders.h"
#include "broker/controller/priv.h"
#include "proto/gen/controlled_shutdown_request.h"
#include "proto/gen/controlled_shutdown_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

struct leaving {
    struct frame           f;
    int32_t                broker;
    struct controller_ask *ask;
    struct elect_wish     *led;
    struct replica_ref    *followed;
    size_t                 led_n, followed_n;
};

static void leaving_fini(struct frame *f)
{
    free(((struct leaving *)f)->led);
    free(((struct leaving *)f)->followed);
}

static bool concerns(const struct ctl_partition *p, int32_t broker)
{
    return p->replicas.n > 1 && !p->topic->queued && ids_have(&p->replicas, broker);
}

static enum step_next survey(struct controller *c, struct frame *f)
{
    struct leaving *le = (struct leaving *)f;
    size_t n = 0;

    CONTEXT_EACH(&c->ctx, p)
        n += concerns(p, le->broker);
    le->led = calloc(n + 1, sizeof *le->led);
    le->followed = calloc(n + 1, sizeof *le->followed);
    if (le->led == NULL || le->followed == NULL) {
        ctl_abort(c, ERR_NOMEM, "a controlled shutdown");
        return STEP_END;
    }
    CONTEXT_EACH(&c->ctx, p) {
        if (!concerns(p, le->broker))
            continue;
        if (p->has_leadership && p->leader == le->broker)
            le->led[le->led_n++].p = p;
        else if (replica_state(p, le->broker) == REPLICA_ONLINE)
            le->followed[le->followed_n++] = (struct replica_ref){ p, le->broker };
    }
    if (le->led_n > 0)
        leaders_elect(c, ELECT_SHUTDOWN, le->led, le->led_n);
    return STEP_NEXT;
}

static enum step_next stop_following(struct controller *c, struct frame *f)
{
    const struct leaving *le = (struct leaving *)f;

    if (le->followed_n > 0)
        replicas_offline(c, le->followed, le->followed_n);
    return STEP_NEXT;
}

static enum step_next answer(struct controller *c, struct frame *f)
{
    const struct leaving *le = (struct leaving *)f;
    struct controlled_shutdown_response *resp = le->ask->resp;

    resp->remaining_partitions = arena_array(le->ask->arena, le->led_n + 1, sizeof *resp->remaining_partitions);
    if (resp->remaining_partitions == NULL) {
        ctl_abort(c, ERR_NOMEM, "a controlled shutdown");
        return STEP_END;
    }
    for (size_t i = 0; i < le->led_n; i++) {
        const struct ctl_partition *p = le->led[i].p;

        if (p->leader != le->broker)
            continue;
        resp->remaining_partitions[resp->remaining_partitions_n].partition_index = p->index;
        if (arena_str(le->ask->arena, topic_str(p->topic),
                      &resp->remaining_partitions[resp->remaining_partitions_n++].topic_name) != OK) {
            ctl_abort(c, ERR_NOMEM, "a controlled shutdown");
            return STEP_END;
        }
    }
    log_info("controller: broker %d shuts down: %zu leaderships moved, %d stay, %zu replicas stopped", le->broker,
             le->led_n - (size_t)resp->remaining_partitions_n, resp->remaining_partitions_n, le->followed_n);
    return STEP_NEXT;
}

void controlled_shutdown_asked(struct controller *c, struct controller_ask *ask)
{
    static const struct step steps[] = {
        { "move its leaderships", survey }, { "stop what it follows", stop_following }, { "answer", answer },
        { NULL, NULL },
    };
    const struct controlled_shutdown_request *req = ask->req;
    struct controlled_shutdown_response *resp = ask->resp;
    struct ctl_broker *b = context_broker(&c->ctx, req->broker_id);
    struct leaving *le;

    if (b == NULL || !b->live) {
        resp->error_code = KERR_BROKER_NOT_AVAILABLE;
        return;
    }
    if (req->broker_epoch >= 0 && req->broker_epoch < b->epoch) {
        resp->error_code = KERR_STALE_BROKER_EPOCH;
        return;
    }
    le = frame_push(c, sizeof *le, steps);
    if (le == NULL)
        return;
    b->shutting_down = true;
    le->f.fini = leaving_fini;
    le->broker = b->id;
    le->ask = ask;
}
