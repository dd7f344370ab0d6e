/* broker/net/net_priv.h - what the files of broker/net share, and nobody else may see.
 *
 * THREADS  A connection lives in one network thread from accept to close, and only that thread touches it, but for the
 *          fields of `output`, which go with its requests. What other threads want of a network thread they put on
 *          its lists (`done`, `incoming`) or in its flags, and wake it.
 * ANSWERS  The IO thread that has run a batch sends the answers itself as far as the socket takes them, then puts the
 *          requests on `done`. When nothing is left to send and the connection is being read (so that the next bytes
 *          wake its thread anyway), nobody is woken: a request costs two thread switches less.
 * WAKE-UP  `asleep` is set before the thread looks at its lists for the last time and goes to epoll_wait(); who adds
 *          something looks at `asleep` afterwards. One of the two sees the other. Whoever turns `asleep` off writes to
 *          the eventfd, so many answers cost one write; a thread that is busy with events costs none.
 */
#ifndef BROKER_NET_NET_PRIV_H
#define BROKER_NET_NET_PRIV_H

#include "base/crew.h"
#include "base/log.h"
#include "broker/net/rbuf.h"
#include "broker/net/request.h"
#include "broker/net/server.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <pthread.h>

#define CONN_MAGIC     0x4b4e4e43U
#define REQUEST_MAGIC  0x4b4e5251U
#define LISTENER_NAME_MAX 64

#define INLINE_BODY_BYTES 1536          /* a smaller frame is copied into the request's own memory */
#define BATCH_MAX         32            /* frames that go to an IO thread together */
#define BATCH_BYTES       ((size_t)256 << 10)   /* ... and their bytes, unless there is only one */
#define SCRATCH_BYTES     ((size_t)256 << 10)   /* what one read takes from a connection that is between frames */
#define AHEAD_BYTES       4096          /* read beyond the end of a large frame, and before one that may be large */

/* ---- connections ---- */

enum stall {
    STALL_NONE,
    STALL_QUEUE,            /* the request queue was full: c->req waits to be pushed */
    STALL_MEMORY,           /* queued.max.request.bytes are in use */
};

enum sent { SENT_ALL, SENT_PART, SENT_FAILED, SENT_COLD };

struct peer {
    uint8_t  ip[16];        /* IPv4 as ::ffff:a.b.c.d */
    uint16_t port;
};

struct conn {
    struct qnode     link;              /* list of incoming connections */
    uint32_t         magic;
    int              fd;                /* -1: closed; what is left waits for req to end */
    struct nthread  *t;
    struct acceptor *l;
    struct peer      peer;
    struct conn     *prev, *next;       /* all of the thread's, the longest idle first */
    int64_t          active_ms;         /* monotonic: last frame, or last progress of an answer */
    struct event     ev_read, ev_write;
    bool             reading, writing;  /* which events are added */
    bool             eof;               /* the peer sends no more */
    bool             dead;              /* closed, but for the descriptor: until nothing is in work */
    bool             big, small;        /* what the last frame was; neither: of middle size */
    bool             greeted;           /* a whole frame has been seen */
    bool             impatient;         /* counted in the thread's `impatient` */
    bool             dirty;             /* in the list of nthread_take_done() */
    struct conn     *dirty_next;
    /* input: bytes [in_pos, in_end) of in->data are not dispatched yet */
    struct rbuf     *in;                /* own, or the thread's scratch while its bytes are looked at */
    size_t           in_pos, in_end;
    size_t           reserved;          /* of the pool's limit, for the frame at in_pos */
    struct request  *answers;           /* the batch, by batch_next, from the first that is not freed; NULL: none */
    struct request  *req;               /* the first of it that is not back; from answers to here: to be sent */
    bool             rest_waits;        /* req was not run, because the one before it was parked */
    enum stall       stall;
    struct conn     *stall_next;
    /* output: of whoever sends. The IO thread that runs the batch, while `direct`; else the network thread */
    bool             direct;            /* nothing that comes before is unsent, so the IO thread may send */
    size_t           out_i, out_off;    /* of the first unsent answer: runs sent whole, bytes sent of the next */
    size_t           out_warm;          /* the bytes of that run before here were seen in the page cache */
    struct request  *out_end;           /* PHASE_SENDING: the first that is not to be sent */
    enum sent        out_sent;          /* PHASE_SENDING: how far it came */
    /* the network thread's */
    bool             lent, returned;    /* an IO thread sends; has sent what it could */
};

void conn_adopt(struct nthread *t, struct conn *c);     /* on its thread: starts reading */
void conn_close(struct conn *c);                        /* frees c unless a request is in work */
void conn_refuse(struct conn *c, const char *fmt, ...)  /* one line in the log, then conn_close() */
    __attribute__((format(printf, 2, 3)));
void conn_ended(struct conn *c, struct request *r);     /* r comes back; then conn_go_on() */
void conn_returned(struct conn *c, struct request *r);  /* from PHASE_SENDING; then conn_go_on() */
void conn_go_on(struct conn *c);                        /* sends what was ended, starts what is next */
void conn_unstall(struct conn *c);                      /* there is room again */
void conn_look(struct conn *c);                         /* once a second while anybody is impatient */
void conn_drain(struct conn *c);                        /* no more requests; closes when the one in work is answered */
const char *address_text(const struct peer *p, char out[REQUEST_PEER_MAX]);
void peer_from_sockaddr(struct peer *p, const struct sockaddr *sa);

/* ---- answers (send.c) ---- */

/* Sends the answers from *first to before `end` (NULL: the last) as far as the socket takes them. *first moves on to
 * the first that is not sent whole; those before it are marked sent. With may_wait false (not on a disk thread) it
 * stops with SENT_COLD at what would have to be read from the disk, unless that is little. */
enum sent conn_send(struct conn *c, struct request **first, const struct request *end, bool may_wait);

/* ---- what was sent to us (sniff.c) ---- */

/* NULL, or what the first bytes on a connection look like and what to do about it. */
const char *sniff(const uint8_t *p, size_t n);

/* ---- requests (request.c) ---- */

struct request *request_new(struct nthread *t);         /* NULL: out of memory */
void            request_free(struct nthread *t, struct request *r);
uint8_t        *request_inline(struct request *r);      /* INLINE_BODY_BYTES */
bool            request_notify_close(struct request *r);    /* the connection is gone; true: somebody was told */
void            requests_trim(struct nthread *t);           /* frees the spare ones that were not needed lately */

enum request_ending { ENDING_NONE, ENDING_REPLY, ENDING_SILENT, ENDING_CLOSE };

/* SENDING: an answer whose file must be read from the disk first went to a disk thread, which sends as much as it can.
 *
 *             handler runs          returned, not ended
 *   QUEUED ----------> RUNNING --------------------> PARKED --- resume ---> QUEUED
 *                        | |                           |
 *                        | +--- resume ---> RESUMED    +--- ended ---> ENDED: the ender hands it back
 *                        +--- ended ---> ENDED: the IO thread hands it back
 */
enum request_phase { PHASE_QUEUED, PHASE_RUNNING, PHASE_PARKED, PHASE_RESUMED, PHASE_ENDED, PHASE_SENDING };

#define AFTERS_MAX 16

/* What is to be done when the requests of a batch have been run (run.c). On their thread's stack. */
struct request_afters {
    struct { void (*fn)(void *arg); void *arg; } v[AFTERS_MAX];
    size_t  n;
    int64_t since_ns;                   /* of the first */
};

/* The requests from first to before end have been ended: sends what can be sent, and hands them back (run.c). */
void answers_hand_back(struct request *first, const struct request *end);
/* Runs a batch on an IO thread (run.c). true: it has announced itself to the request queue. */
bool batch_run(struct server *s, struct request *r);
/* On a disk thread: what the others could not send without waiting for the disk, as much as the socket takes now. */
void answer_send_on(struct request *r);

/* ---- network threads (thread.c) ---- */

struct nthread {
    /* fixed */
    struct server     *server;
    struct acceptor   *listener;
    pthread_t          thread;
    bool               started;
    struct event_base *base;
    int                efd;
    /* any thread */
    struct mpsc        done;            /* requests that were ended */
    struct mpsc        incoming;        /* connections from the accepting thread */
    atomic_bool        asleep;
    atomic_int         impatient;       /* connections that must go on at once when their batch is done */
    atomic_bool        room;            /* look at the stalled ones again */
    atomic_bool        accept_again;    /* the listener may go on accepting */
    atomic_int         evict;           /* close so many of the longest idle */
    atomic_bool        send_away;       /* close all that have nothing in work */
    atomic_int         mode;            /* enum nthread_mode */
    atomic_size_t      conns_n;
    /* this thread only */
    struct event       ev_wake, ev_tick;
    struct conn       *conns;           /* utlist: the longest idle first */
    struct conn       *stalled;
    struct conn       *current;         /* whose callback runs; NULL once it is closed */
    struct rbuf       *scratch;
    struct request    *spare;           /* requests to use again, linked by link.next */
    size_t             spare_n, spare_low;
    size_t             orphans_n;       /* closed connections whose request has not ended */
    bool               draining;
    int64_t            trimmed_ms;
};

enum nthread_mode { MODE_RUN, MODE_DRAIN, MODE_STOP };

void nthread_take_done(struct nthread *t);
int  nthread_init(struct nthread *t, struct server *s, struct acceptor *l) must_use;
int  nthread_start(struct nthread *t) must_use;
void nthread_wake(struct nthread *t);
void nthread_fini(struct nthread *t);

static inline void nthread_awake(struct nthread *t)     /* at the start of every callback */
{
    atomic_store_explicit(&t->asleep, false, memory_order_relaxed);
}

/* ---- listeners (acceptor.c) and the counts of connections (limits.c) ---- */

struct rate {                           /* a bucket of permits, one second deep */
    int     per_second;                 /* 0: no limit */
    double  permits;
    int64_t at_ns;
};

struct acceptor {
    /* fixed */
    struct server  *server;
    char            name[LISTENER_NAME_MAX];
    struct str      name_str;
    bool            inter_broker;
    int             fd;
    int             port;
    struct nthread *threads;
    int             threads_n;
    /* threads[0] only */
    struct event    ev_accept, ev_retry;
    bool            accepting;
    int             turn;
    /* under limits.lock */
    int             max_connections;    /* 0: no limit of its own */
    struct rate     rate;
    int             conns_n;
    bool            waits;              /* for a connection to close */
};

int  acceptor_open(struct acceptor *l, struct server *s, const struct listen_opts *o) must_use;
void acceptor_attach(struct acceptor *l);               /* on threads[0], before it runs */
void acceptor_accept(struct acceptor *l, bool on);      /* on threads[0] */
void acceptor_close(struct acceptor *l);

/* The longest idle connection of whichever thread has most of them is closed by it: not one of `but`, nor of the
 * inter-broker listener beside others (but NULL). false: there is none. */
bool evict_one(struct server *s, const struct acceptor *but);

struct ip_count;

enum admit { ADMIT_OK, ADMIT_EVICT, ADMIT_TOO_MANY_OF_IP };

struct limits {
    struct lock      lock;
    /* under `lock` */
    int              conns_n;
    struct ip_count *ips;               /* uthash by address; with a limit of its own, or connected */
    struct rate      rate;
    int              max, max_per_ip;
};

void limits_init(struct limits *m);
/* Looks names up, without the lock. What was accepted stays, whatever the limits are now. ERR_NOMEM: all as before. */
int  limits_set(struct limits *m, struct acceptor *listeners, size_t n, const struct server_limits *o) must_use;
void limits_fini(struct limits *m);
bool limits_room(struct limits *m, struct acceptor *l); /* false: l waits; it is told when there is room */
enum admit limits_admit(struct limits *m, struct acceptor *l, const struct peer *p);   /* OK and EVICT count it */
void limits_leave(struct limits *m, struct acceptor *l, const struct peer *p);
int64_t limits_wait_ms(struct limits *m, struct acceptor *l);   /* until one more may be accepted; 0: now */

/* ---- the server ---- */

struct server {
    /* fixed */
    struct server_opts opts;            /* its arrays are not kept; limits and io_threads are those of the start */
    struct acceptor   *listeners;
    size_t             listeners_n;
    struct qnode       thin;            /* an IO thread that pops it sees whether there are too many */
    /* under `stop_lock` */
    struct lock        stop_lock;
    struct cond        stop_cond;       /* a thread has come to its end */
    struct crew        io;
    struct crew        disk;
    bool               thinning;        /* `thin` is in the queue, or will be at once */
    int                net_running, io_running;
    /* each with its own lock */
    struct rbuf_pool   pool;
    struct queue       requests;
    struct queue       cold;            /* answers that must be read from the disk first (PHASE_SENDING) */
    struct limits      limits;
};

void server_each_thread(struct server *s, void (*fn)(struct nthread *));
void server_thread_ends(struct server *s, int *running);        /* the last thing that a thread does */

#endif
