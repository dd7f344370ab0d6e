/* broker/net/run.c - an IO thread at work: the requests of a batch one after the other, and their answers. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <assert.h>

/* An answer waits no longer than this for the next requests of its batch; nor do afters. */
#define HOLD_NS 200000

/* Answers that take so little time to send that an IO thread may announce itself to the queue before. */
#define QUICK_BYTES ((size_t)16 << 10)

/* Once the last request is on the list, the connection may be gone. */
void answers_hand_back(struct request *first, const struct request *end)
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

/* ---- what is done after the batch ---- */

void request_after(struct request *r, void (*fn)(void *arg), void *arg)
{
    struct request_afters *a = r->afters;

    if (a == NULL || r->batch_next == NULL || a->n == AFTERS_MAX) {
        fn(arg);
        return;
    }
    if (a->n == 0)
        a->since_ns = mono_ns();
    a->v[a->n].fn = fn;
    a->v[a->n++].arg = arg;
}

static void run_afters(struct request_afters *a)
{
    for (size_t i = 0; i < a->n; i++)
        a->v[i].fn(a->v[i].arg);
    a->n = 0;
}

/* ---- a request ---- */

enum ran { RAN, RAN_PARKED, RAN_PARKED_ALONE };

/* It is somebody else's as soon as its phase says so. */
static enum ran park(struct request *r)
{
    bool alone = r->lets_next && (r->batch_next != NULL || r->alone), was_alone = r->alone, direct = r->conn->direct;
    int running = PHASE_RUNNING;

    r->afters = NULL;
    if (alone && !was_alone) {
        r->alone = true;
        if (direct)                     /* answers that are ended meanwhile must not overtake its own */
            r->conn->direct = false;
    }
    if (atomic_compare_exchange_strong(&r->phase, &running, PHASE_PARKED))
        return alone && !was_alone ? RAN_PARKED_ALONE : RAN_PARKED;
    if (alone && !was_alone) {
        r->alone = false;
        if (direct)
            r->conn->direct = true;
    }
    return RAN;
}

/* Parked: it is somebody else's from now on; alone: but the rest of its batch is not. *held are the ended requests
 * before it that were not handed back yet. */
static enum ran run_one(struct server *s, struct request *r, struct request **held, struct request_afters *afters)
{
    enum ran ran;
    int phase;

    do {
        void (*fn)(struct broker *, struct request *) = r->resume_fn != NULL ? r->resume_fn : s->opts.handle;

        r->resume_fn = NULL;
        r->afters = r->alone ? NULL : afters;
        atomic_store(&r->phase, PHASE_RUNNING);
        fn(s->opts.broker, r);
        phase = atomic_load(&r->phase);
        if (phase == PHASE_RUNNING) {
            if (*held != NULL)          /* first, or r's answer might overtake theirs */
                answers_hand_back(*held, r);
            *held = NULL;
            ran = park(r);
            if (ran != RAN)
                return ran;
            phase = atomic_load(&r->phase);
        }
    } while (phase == PHASE_RESUMED);
    assert(phase == PHASE_ENDED);
    return RAN;
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
    struct request_afters afters;
    struct request *held = NULL, *end, *next;
    int64_t since = 0;
    enum ran ran;
    bool quick;

    afters.n = 0;
    while (r != NULL) {
        next = r->batch_next;           /* r may be gone when it is parked */
        ran = run_one(s, r, &held, &afters);
        if (ran == RAN_PARKED || (afters.n > 0 && mono_ns() - afters.since_ns > HOLD_NS))
            run_afters(&afters);
        if (ran == RAN_PARKED)
            return false;
        if (ran == RAN_PARKED_ALONE) {
            r = next;
            continue;
        }
        if (held == NULL) {
            held = r;
            since = mono_ns();
        }
        if (r->ending == ENDING_CLOSE)
            break;                      /* the rest is not run; its thread frees it */
        if (r->alone)
            break;                      /* the rest is run by who parked it */
        if (next != NULL && mono_ns() - since > HOLD_NS) {
            answers_hand_back(held, next);
            held = NULL;
        }
        r = next;
    }
    run_afters(&afters);
    if (held == NULL)
        return false;
    end = r != NULL ? r->batch_next : NULL;
    quick = is_quick(held, end);
    if (quick)
        queue_announce(&s->requests);
    answers_hand_back(held, end);
    return quick;
}
