/* broker/peer/isr_writes.c - ISRs changed as before inter.broker.protocol.version 2.7-IV2: by the leader itself.
 *
 * A change reads the partition's state node and writes it again with the new ISR, if its version is still that of the
 * change. If it is another, what the node holds decides (rule R10: a leader that goes on with an old version would
 * never get further): as long as it names this broker as leader in the same epoch, that is what stands, and the outcome
 * is ISR_DONE with it; so is a write of ours whose answer was lost. Else a LeaderAndIsr is on its way.
 *
 * The controller learns of it by /isr_change_notification/isr_change_<n>, a list of partitions, which is written when
 * nothing has changed for 5 s, or nothing was told for 60 s, looked at every 2.5 s, as Apache Kafka does.
 */
#include "broker/peer/isr_changes_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "metadata/znodes.h"

#include <stdlib.h>

#define LOOK_MS     2500
#define LINGER_MS   5000
#define DELAY_MS    60000
#define MEMORY_MAX  ((size_t)1 << 30)

/* ---- telling ---- */

static void note_told(struct isr_changes *c, const struct isr_change *ch)
{
    struct isr_told *t;

    c->told_change_ms = mono_ms();
    for (t = c->told; t != NULL; t = t->next)
        if (t->index == ch->index && str_eq((struct str){ t->topic, t->topic_len }, ch->topic))
            return;
    t = malloc(sizeof *t + ch->topic.len);
    if (t == NULL) {
        log_error("%.*s-%d: out of memory: the controller is not told of the new ISR", STR_ARG(ch->topic), ch->index);
        return;
    }
    t->index = ch->index;
    t->topic_len = (uint32_t)ch->topic.len;
    memcpy(t->topic, ch->topic.p, ch->topic.len);
    t->next = c->told;
    c->told = t;
}

void isr_told_free(struct isr_changes *c)
{
    struct isr_told *t;

    while ((t = c->told) != NULL) {
        c->told = t->next;
        free(t);
    }
}

static int tell(struct isr_changes *c)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct znode_list list = { .n = 0 };
    char *text = NULL;
    int rc = ERR_NOMEM;

    for (const struct isr_told *t = c->told; t != NULL; t = t->next)
        list.n++;
    list.v = calloc(list.n, sizeof *list.v);
    list.n = 0;
    for (const struct isr_told *t = c->told; t != NULL && list.v != NULL; t = t->next)
        list.v[list.n++] = (struct znode_named){ .topic = { t->topic, t->topic_len }, .partition = t->index };
    if (list.v != NULL)
        text = znode_election_write(&list);
    if (call != NULL && text != NULL) {
        store_create(call, ZK_ISR_CHANGES "/isr_change_", (struct bytes){ (uint8_t *)text, strlen(text) },
                     STORE_SEQUENTIAL);
        rc = store_run(c->o.store, call);
    }
    if (rc != OK)
        log_error("the controller cannot be told of changed ISRs (" ZK_ISR_CHANGES "): %s", err_text(rc));
    free(text);
    free(list.v);
    store_call_free(&call);
    return rc;
}

int64_t isr_tell(struct isr_changes *c)
{
    int64_t now = mono_ms();

    if (c->told == NULL)
        return -1;
    if ((now - c->told_change_ms >= LINGER_MS || now - c->told_sent_ms >= DELAY_MS) && tell(c) == OK) {
        isr_told_free(c);
        c->told_sent_ms = now;
        return -1;
    }
    return LOOK_MS;
}

/* ---- writing ---- */

/* What the node holds now is the outcome. */
static enum isr_outcome settle(struct isr_changes *c, struct isr_change *ch, const struct znode_state *s,
                               int32_t version)
{
    if (s->leader != c->o.broker_id || s->leader_epoch != ch->leader_epoch)
        return ISR_WAIT;
    ch->got_leader = s->leader;
    ch->got_leader_epoch = s->leader_epoch;
    ch->got_partition_epoch = version;
    ch->got_isr = s->isr.v;
    ch->got_isr_n = s->isr.n;
    ch->got_recovering = s->recovering;
    return ISR_DONE;
}

static int write_state(struct isr_changes *c, struct isr_change *ch, struct znode_state *s, struct arena *a,
                       int32_t *version)
{
    struct zpath path = zpath_state(ch->topic, ch->index);
    struct store_call *call;
    char *text;
    int rc = ERR_NOMEM;

    s->isr = (struct znode_replicas){ arena_array(a, (size_t)ch->isr_n + 1, sizeof(int32_t)), 0 };
    if (s->isr.v == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < ch->isr_n; i++)
        s->isr.v[s->isr.n++] = ch->isr[i].id;
    s->recovering = ch->recovering;
    text = znode_state_write(s);
    call = store_call_new(NULL, NULL);
    if (text != NULL && call != NULL) {
        store_set(call, path.z, (struct bytes){ (uint8_t *)text, strlen(text) }, ch->partition_epoch);
        rc = store_run(c->o.store, call);
        *version = call->ops_n > 0 ? call->ops[0].stat.version : -1;
    }
    store_call_free(&call);
    free(text);
    return rc;
}

static int read_state(struct isr_changes *c, const struct isr_change *ch, struct arena *a, struct znode_state *s,
                      int32_t *version)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    if (call == NULL)
        return ERR_NOMEM;
    store_get(call, zpath_state(ch->topic, ch->index).z, 0);
    rc = store_run(c->o.store, call);
    if (rc == OK) {
        *version = call->ops[0].stat.version;
        rc = znode_state_read(call->ops[0].value, a, s);
    }
    store_call_free(&call);
    return rc;
}

/* ERR_VERSION: it has changed between reading and writing. */
static int change_one(struct isr_changes *c, struct isr_change *ch, struct arena *a, enum isr_outcome *outcome)
{
    struct znode_state s;
    int32_t version;

    TRY(read_state(c, ch, a, &s, &version));
    if (version == ch->partition_epoch && s.leader == c->o.broker_id && s.leader_epoch == ch->leader_epoch)
        TRY(write_state(c, ch, &s, a, &version));
    *outcome = settle(c, ch, &s, version);
    if (*outcome == ISR_DONE)
        note_told(c, ch);               /* also of another version: of a write of ours, maybe, whose answer was lost */
    return OK;
}

int isr_write(struct isr_changes *c)
{
    struct arena a;
    int rc = OK;

    arena_init(&a, MEMORY_MAX);
    while (c->doing != NULL) {
        enum isr_outcome outcome = ISR_WAIT;

        rc = change_one(c, c->doing, &a, &outcome);
        if (rc == ERR_VERSION)
            continue;
        if (rc == ERR_CLOSED || rc == ERR_NOMEM)            /* no session, for a moment */
            break;
        if (rc != OK && rc != ERR_NOENT)                    /* a deleted topic has no node */
            log_error("%.*s-%d: the ISR cannot be changed in the store: %s", STR_ARG(c->doing->topic),
                      c->doing->index, err_text(rc));
        isr_answer(&c->doing, outcome);
        rc = OK;
        arena_reset(&a);
    }
    arena_fini(&a);
    return rc;
}
