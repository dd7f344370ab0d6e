/* broker/net/run.c - an IO thread at work: the requests of a batch one after the other, and their answers. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <assert.h>

/* An answer waits no longer than this for the next requests of its batch. */
#define HOLD_NS 200000

/* Answers that take so little time to send that an IO thread may announce itself to the queue before. */
#define QUICK_BYTES ((size_t)16 << 10)

/* The requests from first to before end have been ended: sends what can be sent, and hands them back. Once the last
 * request is on the list, the connection may be gone. */
static void hand_back(struct request *first, const struct request *end)
{
    struct conn *c = first->conn;
    struct nthread *t = c->t;
    struct request *unsent = first, *next;
    bool wake = true;

    if (c->direct) {
        c->direct = conn_send(c, &unsent, end, false) == SENT_ALL;
        wake = !c->direct;
    }
    for (struct request *r = first; r != end; r = next) {
        next = r->batch_next;
        wake |= r->ending == ENDING_CLOSE;
        mpsc_push(&t->done, &r->link);
    }
    if (wake || atomic_load(&t->impatient) > 0)
        nthread_wake(t);
}

/* false: it is parked, and somebody else's from now on. *held are the ended requests before it that were not handed
 * back yet. */
static bool run_one(struct server *s, struct request *r, struct request **held)
{
    int phase;

    do {
        void (*fn)(struct broker *, struct request *) = r->resume_fn != NULL ? r->resume_fn : s->opts.handle;

        r->resume_fn = NULL;
        atomic_store(&r->phase, PHASE_RUNNING);
        fn(s->opts.broker, r);
        phase = atomic_load(&r->phase);
        if (phase == PHASE_RUNNING) {
            if (*held != NULL)          /* first, or r's answer might overtake theirs */
                hand_back(*held, r);
            *held = NULL;
            if (atomic_compare_exchange_strong(&r->phase, &phase, PHASE_PARKED))
                return false;
        }
    } while (phase == PHASE_RESUMED);
    assert(phase == PHASE_ENDED);
    return true;
}

void answer_send_on(struct request *r)
{
    struct conn *c = r->conn;
    struct nthread *t = c->t;
    struct request *unsent = r;

    c->out_sent = conn_send(c, &unsent, c->out_end, true);
    mpsc_push(&t->done, &r->link);
    nthread_wake(t);
}

static bool is_quick(const struct request *first, const struct request *end)
{
    size_t n = 0;

    for (const struct request *r = first; r != end && n <= QUICK_BYTES; r = r->batch_next)
        n += r->out.len;
    return n <= QUICK_BYTES;
}

bool batch_run(struct server *s, struct request *r)
{
    struct request *held = NULL, *end;
    int64_t since = 0;
    bool quick;

    while (r != NULL) {
        if (!run_one(s, r, &held))
            return false;
        if (held == NULL) {
            held = r;
            since = mono_ns();
        }
        if (r->ending == ENDING_CLOSE)
            break;                      /* the rest is not run; its thread frees it */
        if (r->batch_next != NULL && mono_ns() - since > HOLD_NS) {
            struct request *next = r->batch_next;

            hand_back(held, next);
            held = NULL;
            r = next;
            continue;
        }
        r = r->batch_next;
    }
    if (held == NULL)
        return false;
    end = r != NULL ? r->batch_next : NULL;
    quick = is_quick(held, end);
    if (quick)
        queue_announce(&s->requests);
    hand_back(held, end);
    return quick;
}
