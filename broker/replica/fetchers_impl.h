/* broker/replica/fetchers_impl.h - what is inside the fetchers; for the files fetchers.c and fetcher*.c only.
 *
 *              follow                      leader's answer                             forget
 *   (nothing) -------> TRUNCATE --------------------------------> FETCH <-+           any -----> (nothing)
 *              |        asks where its latest epoch ended (KIP-101)  | |  |
 *              +---------- log knows epochs, Fetch v12 ------------> + |  +-- WAIT: an error; `then`, when its time
 *                                                                      |      has come, is what it was
 *                                 OFFSET_OUT_OF_RANGE: RANGE asks where <+
 *                                 the leader's log begins and ends; so does TRUNCATE
 *                                 when nothing of ours can be the leader's
 *   FAILED: the log here cannot be used; nothing is done until it is followed anew
 *
 * LOCKS    home->lock (class fetchers) guards the set of followed partitions and all that is not said to be the
 *          thread's. While a fetcher works on a partition without the lock, `busy` points to it: only that thread may
 *          change it then, and who takes it away waits.
 * SESSION  `dirty` are those of which the next Fetch has to say something: that they are wanted, with what
 *          offset, or (in another state than FETCH) that they are not. What was taken away is in `gone` until
 *          that has been said.
 */
#ifndef BROKER_REPLICA_FETCHERS_IMPL_H
#define BROKER_REPLICA_FETCHERS_IMPL_H

#include "base/arena.h"
#include "base/lock.h"
#include "base/uuid.h"
#include "broker/cluster/ibp.h"
#include "broker/replica/fetchers.h"
#include "broker/replica/follower.h"
#include "broker/replica/partition.h"

#include <pthread.h>
#include <uthash.h>

enum follow_state { FOLLOW_TRUNCATE, FOLLOW_FETCH, FOLLOW_RANGE, FOLLOW_WAIT, FOLLOW_FAILED };

struct fetcher;

struct followed_id {
    struct uuid id;
    int32_t     index;
};

/* A partition that is followed. Under home->lock; see above. */
struct followed {
    UT_hash_handle      hh;             /* home->map, by p->key */
    UT_hash_handle      hh_id;          /* at->by_id, by `id`, if it is not zero */
    struct followed    *prev, *next;    /* at->order, or home->homeless */
    struct followed    *dirty_prev, *dirty_next;
    struct followed    *wait_prev, *wait_next;
    struct partition   *p;              /* a reference */
    struct fetcher     *at;             /* NULL: homeless */
    struct followed_id  id;             /* zeroed padding: it is a key */
    int32_t             leader, leader_epoch;
    enum follow_state   state, then;
    int64_t             wait_until_ns;  /* WAIT */
    int64_t             wait_ms;        /* the last one; 0: there was no error since */
    int64_t             refused_ns;     /* since when the leader refuses it; 0: it does not */
    int32_t             asked_epoch;    /* TRUNCATE: about which the leader was asked last; -1: not */
    bool                anew;           /* RANGE: all of ours lies above where the leader's has parted from it */
    bool                dirty;
    bool                in_session;     /* the leader's session has it */
    bool                caught_up;      /* with the high watermark, at the last answer */
    bool                told;           /* of its errors */
    /* as asked last */
    int64_t             offset, start;
    int32_t             max_bytes;      /* 0: as the properties say */
};

/* Taken away, and the session does not know yet. */
struct gone {
    struct gone *next;
    struct uuid  id;
    int32_t      index;
    size_t       len;
    char         topic[];
};

struct peer;

struct fetcher {
    /* fixed */
    struct fetchers  *home;
    struct fetcher   *next;             /* home->all; only grows */
    int32_t           source;           /* broker id */
    int32_t           index;            /* of num.replica.fetchers */
    int               bell;             /* eventfd: look again, even while the leader makes us wait */
    pthread_t         thread;
    /* under home->lock */
    char             *host;             /* of the source, as known last */
    int32_t           port;
    bool              moved;            /* ... since the peer was made */
    bool              fresh;            /* ring with fetchers_begin() */
    bool              rung;             /* the bell */
    struct followed  *order;            /* all; who was served last is last */
    struct followed  *dirty, *waiting;
    int64_t           wake_ns;          /* nobody's time to wait ends sooner */
    int64_t           complained_ns;    /* when the log was told last that a partition is refused; 0: never */
    struct followed  *by_id;
    size_t            n;
    size_t            without_id;
    size_t            fetching;         /* in state FETCH */
    size_t            asking;           /* in state TRUNCATE or RANGE */
    struct followed  *busy;
    struct gone      *gone;             /* the latest first */
    size_t            gone_n;
    bool              renew;            /* the session is begun anew with the next request */
    struct peer      *peer;             /* the thread's; others may interrupt it under the lock */
    /* the thread's */
    int32_t           session_id, session_epoch;    /* the next request's; epoch 0: a new one */
    bool              session_ids;      /* it goes by topic ids */
    int64_t           renew_ns;         /* from then on the session is begun anew; 0: need not be */
    int64_t           nudged_ns;        /* when the bell last broke off a call */
    int64_t           failed_ms;        /* backoff after the last failure of a call; 0: it worked */
    struct arena      arena;            /* of one round */
    uint8_t          *body;             /* of a request */
    size_t            body_cap;
};

struct fetchers {
    struct fetchers_opts opts;
    struct ibp           ibp;
    /* under the lock */
    struct lock          lock;
    struct cond          idle;          /* some fetcher is no longer busy with what is to be taken away */
    struct cond          flushed;
    struct followed     *map;
    struct followed     *homeless;      /* their leader's address is not known, or there was no room for a fetcher */
    bool                 lacked;        /* ... the latter, for some */
    struct fetcher      *all;
    int32_t              number;        /* num.replica.fetchers */
    size_t               leaving;       /* threads in fetchers_forget() that wait */
    atomic_bool          stopped;       /* set under the lock */
};

/* ---- fetchers.c: the states; all under home->lock ---- */
enum follow_state followed_first_state(const struct fetchers *f, const struct follower_place *at);
void followed_set(struct followed *fo, enum follow_state s);
void followed_mention(struct followed *fo);                     /* into dirty */
/* After an error; each time longer, until replica.fetch.backoff.ms. */
void followed_delay(struct followed *fo, bool long_one);
/* The throttle holds it back: it is looked at again soon. */
void followed_pause(struct followed *fo);
void followed_worked(struct followed *fo);                      /* no error */
struct followed *followed_find(struct fetcher *fe, const void *key, size_t len);
struct followed *followed_find_id(struct fetcher *fe, struct uuid id, int32_t index);
struct followed *followed_find_name(struct fetcher *fe, struct str topic, int32_t index);
void fetcher_hold(struct fetcher *fe, struct followed *fo);     /* returns without the lock */
void fetcher_release(struct fetcher *fe);                       /* ... with it */
void gone_free(struct fetcher *fe);
/* Who comes back before the leader was told that it went, and is asked for anew in this request: it must not be said as
 * well that it went, which the leader would do last. */
void forget_gone(struct fetcher *fe, const struct followed *fo);
void fetchers_ring(struct fetcher *fe);

/* ---- fetcher.c: the thread ---- */
void *fetcher_main(void *arg);
void  fetcher_hear_bell(struct fetcher *fe);     /* what it was rung for is being seen to; under home->lock */
/* A request to the source; notes failures. ERR_AGAIN: the bell has rung before an answer came. */
int   fetcher_call(struct fetcher *fe, int16_t api, int16_t version, struct chain *body, struct bytes *answer) must_use;

/* ---- fetcher_request.c: one Fetch and its session ---- */
/* At most wait_ms may it wait at the leader. ERR_AGAIN: at once, if you like. */
int  fetcher_fetch(struct fetcher *fe, int64_t wait_ms) must_use;

/* ---- fetcher_answer.c ---- */
struct fetch_response;
void fetcher_take_answer(struct fetcher *fe, const struct fetch_response *resp, int16_t version);
/* What comes of an error of the log here, or of the leader; under the lock. */
void followed_log_failed(struct fetcher *fe, struct followed *fo, int rc, const char *what);
void followed_refused(struct fetcher *fe, struct followed *fo, int16_t kerr, const char *what);

/* ---- fetcher_epochs.c: what is asked besides ---- */
int  fetcher_truncate(struct fetcher *fe) must_use;     /* those in TRUNCATE */
int  fetcher_find_range(struct fetcher *fe) must_use;   /* those in RANGE */

#endif
