/* broker/replica/isr.c - changes of an ISR that the controller is asked for, and what its answers do. */
#include "broker/replica/isr.h"

#include "base/log.h"
#include "broker/replica/partition_priv.h"
#include "broker/replica/replicas.h"
#include "proto/kerr.h"

#include <stdio.h>
#include <stdlib.h>

/* A question that is out. It has a reference of its partition; the partition points back while it waits for it. */
struct isr_ask {
    struct isr_change ch;
    struct partition *p;
    int16_t           told;             /* the code of the refusal that the log was told last */
    struct isr_member members[];
};

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void on_answer(struct isr_change *ch);

static void describe(const int32_t *ids, int32_t n, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (int32_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%d", i > 0 ? "," : "", (int)ids[i]);
}

struct isr_ask *isr_prepare(struct partition *p, const bool *leaving, struct follower *joining)
{
    struct leading *ld = p->leading;
    struct isr_ask *ask;

    lock_assert(&p->lock);
    if (replicas_options(p->home)->isr == NULL)
        return NULL;
    ask = calloc(1, sizeof *ask + (size_t)(ld->followers_n + 1) * sizeof ask->members[0]);
    if (ask == NULL)
        return NULL;                    /* the next fetch, or the next look at the lags, comes here again */
    ask->p = partition_ref(p);
    ask->ch = (struct isr_change){
        .topic = p->topic, .topic_id = plog_topic_id(p->log), .index = p->index,
        .leader_epoch = partition_standing(p).leader_epoch, .partition_epoch = p->partition_epoch,
        .isr = ask->members, .done = on_answer, .arg = ask,
    };
    ask->members[ask->ch.isr_n++] = (struct isr_member){ replicas_options(p->home)->broker_id, -1 };
    for (int32_t i = 0; i < ld->followers_n; i++) {
        const struct follower *f = &ld->followers[i];

        if (f == joining || (f->in_isr && (leaving == NULL || !leaving[i])))
            ask->members[ask->ch.isr_n++] = (struct isr_member){ f->id, f->broker_epoch };
    }
    if (joining != NULL)
        joining->joining = true;
    ld->pending = true;
    ld->asked = ask;
    return ask;
}

void isr_send(struct isr_ask *ask)
{
    if (ask != NULL)
        isr_submit(replicas_options(ask->p->home)->isr, &ask->ch);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void settle(struct leading *ld)
{
    ld->asked = NULL;
    ld->pending = false;
    for (int32_t i = 0; i < ld->followers_n; i++)
        ld->followers[i].joining = false;
}

/* Who may not join, for it shuts down or has registered anew, is not waited for either until it fetches again. */
static void refuse_joining(struct leading *ld)
{
    for (int32_t i = 0; i < ld->followers_n; i++)
        if (ld->followers[i].joining)
            ld->followers[i].caught_up_ms = FOLLOWER_NEVER;
}

/* The ISR that is committed now. */
static void take_isr(struct partition *p, const struct isr_change *ch)
{
    struct leading *ld = p->leading;
    int32_t self = replicas_options(p->home)->broker_id;
    char text[128];

    ld->self_in_isr = false;
    for (int32_t i = 0; i < ld->followers_n; i++)
        ld->followers[i].in_isr = false;
    for (int32_t i = 0; i < ch->got_isr_n; i++) {
        struct follower *f = leading_find(ld, ch->got_isr[i]);

        if (f != NULL)
            f->in_isr = true;
        ld->self_in_isr |= ch->got_isr[i] == self;
    }
    atomic_store_explicit(&p->isr_n, ch->got_isr_n, memory_order_relaxed);
    p->partition_epoch = ch->got_partition_epoch;
    describe(ch->got_isr, ch->got_isr_n, text, sizeof text);
    log_info("%s: the ISR is %s now (partition epoch %d)", p->name, text, (int)p->partition_epoch);
}

/* It comes again with every try, of which there are many in a second. */
static void tell_retry(struct isr_ask *ask)
{
    static struct log_limit said = LOG_LIMIT(30000, 5);
    int hidden;

    if (ask->told != ask->ch.kerr && log_limit(&said, &hidden))
        log_warn("%s: the change of the ISR failed with %s; asked for again until it is done%s", ask->p->name,
                 kerr_name(ask->ch.kerr), hidden > 0 ? "; the same of others" : "");
    ask->told = ask->ch.kerr;
}

/* [partition] True: *again is to be asked once more, or the high watermark has *moved. */
static void take_answer(struct partition *p, const struct isr_change *ch, bool *again, bool *moved)
{
    static struct log_limit said = LOG_LIMIT(30000, 3);
    struct leading *ld = p->leading;
    int hidden;

    switch (ch->outcome) {
    case ISR_DONE:
        /* Of another time: what stands will come as a LeaderAndIsr. */
        if (ch->got_leader_epoch != partition_standing(p).leader_epoch ||
            ch->got_partition_epoch < p->partition_epoch) {
            ld->asked = NULL;
            return;
        }
        settle(ld);
        take_isr(p, ch);
        *moved = partition_advance_hw(p, plog_offsets(p->log).leo, NULL);
        return;
    case ISR_REVERT:
        if (log_limit(&said, &hidden))          /* who stops, or was started a moment ago, is refused again and again */
            log_info("%s: the controller refuses the change of the ISR (%s): it stays as it is%s", p->name,
                     kerr_name(ch->kerr), hidden > 0 ? "; the same of others" : "");
        refuse_joining(ld);
        settle(ld);
        *moved = partition_advance_hw(p, plog_offsets(p->log).leo, NULL);       /* who was to join held it back */
        return;
    case ISR_RETRY:
        tell_retry(ld->asked);
        *again = true;
        return;
    case ISR_WAIT:
        log_info("%s: the change of the ISR was not made (%s): waiting for the controller's LeaderAndIsr", p->name,
                 kerr_name(ch->kerr));
        ld->asked = NULL;
        return;
    case ISR_DROPPED:
        ld->asked = NULL;
        return;
    }
}

/* isr_change.done() */
static void on_answer(struct isr_change *ch)
{
    struct isr_ask *ask = ch->arg;
    struct partition *p = ask->p;
    bool again = false, moved = false;

    lock_take(&p->lock);
    if (p->leading != NULL && p->leading->asked == ask)
        take_answer(p, ch, &again, &moved);
    lock_drop(&p->lock);
    if (moved)
        partition_wake_committed(p);
    if (again) {
        isr_send(ask);
        return;
    }
    partition_unref(&ask->p);
    free(ask);
}
