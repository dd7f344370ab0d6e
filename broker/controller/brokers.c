/* broker/controller/brokers.c - the brokers as the controller knows them: channels to them, and what follows when some
 * start or fail. Which ones do is found out in broker_change.c.
 *
 * Start    1. all brokers learn of the new ones, the new ones of everything (UpdateMetadata)
 *          2. their replicas -> Online: LeaderAndIsr for all that they host
 *          3. partitions without a leader may have one now; what unreachable brokers lead may go to the new ones
 *          4. reassignments and deletions that waited for them go on
 * Failure  1. what they led -> Offline, and to somebody else if there is anybody
 *          2. their replicas -> Offline: out of the ISRs; those of topics that are being deleted make these wait
 *          3. nobody was concerned: UpdateMetadata to all, without partitions
 */
#include "broker/controller/brokers.h"

#include "base/log.h"
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"

#include <stdlib.h>

/* ---- channels ----------------------------------------------------------------------------------------- */

void broker_channel_open(struct controller *c, struct ctl_broker *b)
{
    int rc = OK;

    if (b->id == c->opts.broker->id)
        b->channel = c->opts.local;
    else if (c->opts.open_channel != NULL)
        rc = c->opts.open_channel(c->opts.open_channel_arg, b->id, b->epoch, &b->info, &b->channel);
    if (rc == OK)
        return;
    log_error("controller: broker %d cannot be reached as it is registered: %s; it is taken for dead", b->id,
              err_text(rc));
    b->channel = NULL;
    b->live = false;
}

void broker_channel_close(struct controller *c, struct ctl_broker *b)
{
    struct broker_channel *ch = b->channel;

    b->channel = NULL;
    if (ch != NULL && ch != c->opts.local)
        ch->close(ch);
}

void brokers_disconnect(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        broker_channel_close(c, &c->ctx.brokers[i]);
}

/* ---- who comes and goes, and their replicas ----------------------------------------------------------- */

struct sequence {
    struct frame        f;
    struct ids          who;
    struct replica_ref *refs;           /* replicas on them */
    size_t              refs_n;
};

static void sequence_fini(struct frame *f)
{
    ids_fini(&((struct sequence *)f)->who);
    free(((struct sequence *)f)->refs);
}

static struct sequence *sequence_push(struct controller *c, const struct step *steps, const int32_t *v, size_t n)
{
    struct sequence *s = frame_push(c, sizeof *s, steps);

    if (s == NULL)
        return NULL;
    s->f.fini = sequence_fini;
    if (ids_set(&s->who, v, (int32_t)n) == OK)
        return s;
    ctl_abort(c, ERR_NOMEM, steps->name);
    return NULL;
}

/* The replicas on them for which pick() says yes; what is no more assigned to them, and only to be deleted there, is
 * reassign_brokers_back()'s. false: out of memory, aborted. */
static bool pick_replicas(struct controller *c, struct sequence *s,
                          bool (*pick)(const struct ctl_partition *p, enum replica_state state))
{
    size_t n = 0;

    CONTEXT_EACH(&c->ctx, p)
        n += (size_t)p->replicas.n;
    free(s->refs);
    s->refs_n = 0;
    s->refs = calloc(n + 1, sizeof *s->refs);
    if (s->refs == NULL) {
        ctl_abort(c, ERR_NOMEM, "brokers that start or fail");
        return false;
    }
    CONTEXT_EACH(&c->ctx, p)
        for (int32_t i = 0; i < p->replicas.n; i++)
            if (ids_have(&s->who, p->replicas.v[i]) && pick(p, (enum replica_state)p->replica_state[i]))
                s->refs[s->refs_n++] = (struct replica_ref){ p, p->replicas.v[i] };
    return true;
}

/* Their logs are all there, as far as we know. */
static void forget_losses(struct controller *c, const struct ids *who)
{
    CONTEXT_EACH(&c->ctx, p)
        for (int32_t i = 0; i < p->hosts_n; i++)
            if (ids_have(who, p->replicas.v[i]))
                p->lost[i] = false;
}

/* ---- start -------------------------------------------------------------------------------------------- */

static enum step_next introduce(struct controller *c, struct frame *f)
{
    const struct sequence *s = (struct sequence *)f;

    forget_losses(c, &s->who);
    batch_begin(c);
    batch_update_brokers(c);
    batch_send(c);
    batch_begin(c);
    for (int32_t i = 0; i < s->who.n; i++)
        batch_update_all(c, s->who.v[i]);
    batch_send(c);
    return STEP_NEXT;
}

static bool can_start(const struct ctl_partition *p, enum replica_state state)
{
    (void)p;
    return replica_state_legal(state, REPLICA_ONLINE);
}

static enum step_next replicas_up(struct controller *c, struct frame *f)
{
    struct sequence *s = (struct sequence *)f;

    if (!pick_replicas(c, s, can_start))
        return STEP_END;
    replicas_to(c, s->refs, s->refs_n, REPLICA_ONLINE);
    return STEP_NEXT;
}

static enum step_next lead_again(struct controller *c, struct frame *f)
{
    (void)f;
    unreachable_retry(c);
    retry_partitions(c);
    return STEP_NEXT;
}

static enum step_next reassign_again(struct controller *c, struct frame *f)
{
    const struct sequence *s = (struct sequence *)f;

    reassign_brokers_back(c, s->who.v, (size_t)s->who.n);
    return STEP_NEXT;
}

static enum step_next delete_again(struct controller *c, struct frame *f)
{
    const struct sequence *s = (struct sequence *)f;

    deletion_brokers_back(c, s->who.v, (size_t)s->who.n);
    return STEP_NEXT;
}

void brokers_started(struct controller *c, const int32_t *v, size_t n)
{
    static const struct step steps[] = {
        { "introduce the new brokers", introduce }, { "start their replicas", replicas_up },
        { "elect leaders", lead_again },            { "go on with reassignments", reassign_again },
        { "go on with deletions", delete_again },   { NULL, NULL },
    };

    (void)sequence_push(c, steps, v, n);
}

/* ---- failure ------------------------------------------------------------------------------------------ */

static enum step_next elect_others(struct controller *c, struct frame *f)
{
    forget_losses(c, &((struct sequence *)f)->who);
    CONTEXT_EACH(&c->ctx, p)
        if (p->state == PARTITION_ONLINE && !p->topic->queued && !context_replica_online(&c->ctx, p, p->leader))
            partitions_to(c, &p, 1, PARTITION_OFFLINE);
    retry_partitions(c);
    return STEP_NEXT;
}

static bool can_fail(const struct ctl_partition *p, enum replica_state state)
{
    return !p->topic->queued && replica_state_legal(state, REPLICA_OFFLINE);
}

static enum step_next replicas_down(struct controller *c, struct frame *f)
{
    struct sequence *s = (struct sequence *)f;

    if (!pick_replicas(c, s, can_fail))
        return STEP_END;
    if (s->refs_n > 0) {
        replicas_offline(c, s->refs, s->refs_n);
        return STEP_NEXT;
    }
    batch_begin(c);
    batch_update_brokers(c);
    batch_send(c);
    return STEP_NEXT;
}

static bool of_deleted(const struct ctl_partition *p, enum replica_state state)
{
    return p->topic->queued && state != REPLICA_DELETE_DONE && state != REPLICA_NONEXISTENT &&
           state != REPLICA_INELIGIBLE;
}

/* What has to be deleted there waits for the broker. */
static enum step_next deletions_wait(struct controller *c, struct frame *f)
{
    struct sequence *s = (struct sequence *)f;

    reassign_brokers_gone(c);
    if (!pick_replicas(c, s, of_deleted))
        return STEP_END;
    if (s->refs_n == 0)
        return STEP_NEXT;
    for (size_t i = 0; i < s->refs_n; i++) {
        if (replica_state(s->refs[i].p, s->refs[i].broker) != REPLICA_DELETE_STARTED)
            replicas_to(c, &s->refs[i], 1, REPLICA_OFFLINE);
        s->refs[i].p->topic->ineligible = true;
    }
    replicas_to(c, s->refs, s->refs_n, REPLICA_INELIGIBLE);
    deletion_resume(c);
    return STEP_NEXT;
}

void brokers_failed(struct controller *c, const int32_t *v, size_t n)
{
    static const struct step steps[] = {
        { "elect leaders", elect_others },         { "take their replicas offline", replicas_down },
        { "let deletions wait", deletions_wait },  { NULL, NULL },
    };

    (void)sequence_push(c, steps, v, n);
}
