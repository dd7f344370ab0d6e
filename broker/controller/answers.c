/* broker/controller/answers.c - what brokers answer to LeaderAndIsr and StopReplica, which batch.c sends: the replicas
 * that a broker has lost or found again, and those that it has deleted.
 *
 * An answer is taken on the controller's thread as an event of its own. It may be of an earlier term of this
 * controller, or of an earlier start of the broker: each kind looks at what of that matters to it.
 */
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"

#include "base/log.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define LINES_MAX 10                    /* of one answer */

/* The generated names are long. */
#define LAI(x)       struct leader_and_isr_request_leader_and_isr_##x
#define STOP(x)      struct stop_replica_request_stop_replica_##x

/* ---- LeaderAndIsr ------------------------------------------------------------------------------------- */

/* The topic of the request with this id; those of old stores have none, and are in order. */
static const LAI(topic_state) *asked_topic(const struct leader_and_isr_request *r, struct uuid id, int32_t i)
{
    if (i < r->topic_states_n && uuid_eq(r->topic_states[i].topic_id, id))
        return &r->topic_states[i];
    for (int32_t k = 0; k < r->topic_states_n; k++)
        if (uuid_eq(r->topic_states[k].topic_id, id))
            return &r->topic_states[k];
    return NULL;
}

struct lai_result {
    struct replica_ref *lost, *found;
    size_t              lost_n, found_n, failed;
};

static void lai_partition_answered(struct controller *c, const struct control_request *req, struct str topic,
                                   int32_t index, int16_t error, struct lai_result *out)
{
    struct ctl_topic *t = context_topic(&c->ctx, topic);
    struct replica_ref ref = { t != NULL ? context_partition(t, index) : NULL, req->broker_id };
    bool *lost = ref.p != NULL ? context_lost(ref.p, ref.broker) : NULL;

    if (error == KERR_NONE && lost != NULL && *lost)
        out->found[out->found_n++] = ref;
    if (error == KERR_KAFKA_STORAGE_ERROR && lost != NULL && !*lost)
        out->lost[out->lost_n++] = ref;
    /* STALE_CONTROLLER_EPOCH is what a replica says that knows all this already. */
    if (error != KERR_NONE && error != KERR_STALE_CONTROLLER_EPOCH && (lost == NULL || !*lost) &&
        ++out->failed <= LINES_MAX)
        log_error("controller: broker %d cannot host %.*s-%d: %s", req->broker_id, STR_ARG(topic), index,
                  kerr_name(error));
}

/* Of this term, and of the start of the broker that is registered now: what an earlier one had lost says nothing. */
static bool is_present(const struct controller *c, const struct control_request *req)
{
    const struct ctl_broker *b = context_broker(&c->ctx, req->broker_id);
    const struct leader_and_isr_request *r = req->req.leader_and_isr;

    return r->controller_epoch == c->epoch && b != NULL && b->live && b->epoch == r->broker_epoch;
}

static void lai_answered(struct controller *c, const struct control_request *req)
{
    const struct leader_and_isr_response *resp = req->resp.leader_and_isr;
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct lai_result out = { .lost = NULL };
    size_t total = 0;

    if (resp->error_code == KERR_STALE_BROKER_EPOCH) {      /* it has been started again, which is seen to elsewhere */
        log_debug("controller: broker %d has been started again since it was told to lead or follow", req->broker_id);
        return;
    }
    if (resp->error_code != KERR_NONE) {
        log_error("controller: broker %d refused to lead or follow: %s", req->broker_id, kerr_name(resp->error_code));
        return;
    }
    for (int32_t i = 0; i < resp->topics_n; i++)
        total += (size_t)resp->topics[i].partition_errors_n;
    out.lost = calloc(total + 1, sizeof *out.lost);
    out.found = calloc(total + 1, sizeof *out.found);
    if (out.lost == NULL || out.found == NULL) {
        free(out.lost);
        free(out.found);
        ctl_abort(c, ERR_NOMEM, "taking a broker's answer");
        return;
    }
    for (int32_t i = 0; i < resp->topics_n; i++) {
        const LAI(topic_state) *t = asked_topic(r, resp->topics[i].topic_id, i);

        for (int32_t k = 0; k < resp->topics[i].partition_errors_n && t != NULL; k++)
            lai_partition_answered(c, req, t->topic_name, resp->topics[i].partition_errors[k].partition_index,
                                   resp->topics[i].partition_errors[k].error_code, &out);
    }
    if (out.failed > LINES_MAX)
        log_error("controller: broker %d cannot host %zu more partitions", req->broker_id, out.failed - LINES_MAX);
    if (out.found_n > 0 && is_present(c, req))
        replicas_found(c, out.found, out.found_n);
    if (out.lost_n > 0 && is_present(c, req))
        replicas_lost(c, out.lost, out.lost_n);
    free(out.lost);
    free(out.found);
}

/* ---- StopReplica -------------------------------------------------------------------------------------- */

/* Was this partition to be deleted by the request? */
static bool asked_to_delete(const struct stop_replica_request *r, struct str topic, int32_t index)
{
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        const STOP(topic_state) *t = &r->topic_states[i];
        int32_t lo = 0, hi = t->partition_states_n;

        if (!str_eq(t->topic_name, topic))
            continue;
        while (lo < hi) {                           /* by rising index, see group() in batch.c */
            int32_t mid = lo + (hi - lo) / 2;

            if (t->partition_states[mid].partition_index < index)
                lo = mid + 1;
            else
                hi = mid;
        }
        return lo < t->partition_states_n && t->partition_states[lo].partition_index == index &&
               t->partition_states[lo].delete_partition;
    }
    return false;
}

static void stop_answered(struct controller *c, const struct control_request *req)
{
    const struct stop_replica_response *resp = req->resp.stop_replica;
    bool any = false;

    for (int32_t i = 0; i < resp->partition_errors_n; i++) {
        const struct stop_replica_response_stop_replica_partition_error *e = &resp->partition_errors[i];
        struct ctl_topic *t = context_topic(&c->ctx, e->topic_name);
        struct replica_ref r = { t != NULL ? context_partition(t, e->partition_index) : NULL, req->broker_id };
        int16_t error = resp->error_code != KERR_NONE ? resp->error_code : e->error_code;

        if (r.p != NULL && asked_to_delete(req->req.stop_replica, e->topic_name, e->partition_index) &&
            reassign_stopped(c, &r, error))
            continue;
        if (r.p == NULL || !t->queued || !asked_to_delete(req->req.stop_replica, e->topic_name, e->partition_index) ||
            replica_state(r.p, r.broker) != REPLICA_DELETE_STARTED)
            continue;
        any = true;
        replicas_to(c, &r, 1, error == KERR_NONE ? REPLICA_DELETE_DONE : REPLICA_INELIGIBLE);
        if (error != KERR_NONE) {
            t->ineligible = true;
            log_error("controller: broker %d cannot delete %s-%d: %s; the topic stays marked for deletion until the "
                      "broker has been restarted", r.broker, t->name, r.p->index, kerr_name(error));
        }
    }
    if (any)
        deletion_resume(c);
}

void broker_answered(struct controller *c)
{
    const struct control_request *req = c->event->req;

    if (req->api == API_LEADER_AND_ISR)
        lai_answered(c, req);
    else if (req->req.stop_replica->controller_epoch == c->epoch)
        stop_answered(c, req);
}
