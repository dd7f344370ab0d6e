/* broker/controller/log_dirs.c - replicas whose log is offline on a broker that lives.
 *
 * A broker that loses a log directory, or a single log, puts a node under /log_dir_event_notification (notices.c). It
 * is then sent LeaderAndIsr for all that it hosts; what it answers with KAFKA_STORAGE_ERROR is offline: somebody else
 * leads, and it leaves the ISR. Any later LeaderAndIsr may be answered so as well. A replica comes back with its
 * broker's next start; one for whose log there was no room comes back when there is some: the broker puts a node there
 * once more, and takes the LeaderAndIsr.
 */
#include "broker/controller/priv.h"

#include "base/log.h"

#include <stdlib.h>

/* ---- what a broker's answer says -------------------------------------------------------------------------- */

struct losses {
    struct frame           f;
    struct replica_ref    *refs;
    struct ctl_partition **led;         /* those that the broker led */
    size_t                 n, led_n;
};

static void losses_fini(struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    free(lo->refs);
    free(lo->led);
}

static enum step_next elect_others(struct controller *c, struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    if (lo->led_n == 0)
        return STEP_NEXT;
    partitions_to(c, lo->led, lo->led_n, PARTITION_OFFLINE);
    partitions_online(c, lo->led, lo->led_n);
    return STEP_NEXT;
}

static enum step_next take_offline(struct controller *c, struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    replicas_offline(c, lo->refs, lo->n);
    return STEP_NEXT;
}

void replicas_lost(struct controller *c, const struct replica_ref *v, size_t n)
{
    static const struct step steps[] = {
        { "elect other leaders", elect_others }, { "take the replicas offline", take_offline }, { NULL, NULL },
    };
    struct losses *lo = frame_push(c, sizeof *lo, steps);

    if (lo == NULL)
        return;
    lo->f.fini = losses_fini;
    lo->refs = calloc(n + 1, sizeof *lo->refs);
    lo->led = calloc(n + 1, sizeof(struct ctl_partition *));
    if (lo->refs == NULL || lo->led == NULL) {
        ctl_abort(c, ERR_NOMEM, "replicas whose log is offline");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        bool *lost = context_lost(v[i].p, v[i].broker);

        if (lost == NULL || *lost)
            continue;
        *lost = true;
        if (!replica_state_legal(replica_state(v[i].p, v[i].broker), REPLICA_OFFLINE))
            continue;                   /* it is being deleted, and perhaps was already */
        lo->refs[lo->n++] = v[i];
        if (v[i].p->leader == v[i].broker && !v[i].p->topic->queued)
            lo->led[lo->led_n++] = v[i].p;
    }
    if (lo->n > 0)
        log_warn("controller: broker %d has lost %zu replicas with their log directory", v[0].broker, lo->n);
}

void replicas_found(struct controller *c, const struct replica_ref *v, size_t n)
{
    struct replica_ref *up = calloc(n + 1, sizeof *up);
    size_t up_n = 0;

    if (up == NULL) {
        ctl_abort(c, ERR_NOMEM, "replicas whose log has come back");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        *context_lost(v[i].p, v[i].broker) = false;
        if (!v[i].p->topic->queued && replica_state(v[i].p, v[i].broker) == REPLICA_OFFLINE)
            up[up_n++] = v[i];
    }
    log_info("controller: broker %d has %zu replicas again that it had lost", v[0].broker, n);
    if (up_n > 0)
        replicas_to(c, up, up_n, REPLICA_ONLINE);
    free(up);
    retry_partitions(c);
}
