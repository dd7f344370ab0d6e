/* broker/net/request.h - one request, from the frame read off a connection to the end of its answer.
 *
 * A network thread reads the frame into the request's body and hands the request to an IO thread, which runs the
 * handler of its API. The request is ended exactly once, from any thread, by request_reply(), request_no_reply() or
 * request_close(); after that call it must not be touched. Until then the handler's side owns it and may keep it (park
 * it) as long as it likes. The requests of a connection are run one after the other, the next when the one before has
 * been ended or lets it (request_let_next()); answers keep their order.
 *
 * Requests that came together go to the IO thread together (a batch, linked by batch_next) unless they are large: it
 * runs one after the other and sends their answers in one go, if the socket takes them; what it does not take goes to
 * the network thread, which also sends the answer of a request that was ended after its handler had returned.
 *
 * OWNER   body: the request, until request_release_body() or its end. arena: the handler's; it lives until the answer
 *         is sent, so a response may lie in it or refer to it, and to the body unless that was released.
 *         client_id and listener stay valid to the end, also without the body.
 * LOCKS   none; a request belongs to one thread at a time. Ending it hands it on to be sent; its network thread frees
 *         it. The calls below may be made with ranked locks held and never block.
 * FAILURE a connection that died keeps its request: it is ended as usual, and the answer is dropped.
 */
#ifndef BROKER_NET_REQUEST_H
#define BROKER_NET_REQUEST_H

#include "base/arena.h"
#include "base/chain.h"
#include "base/cursor.h"
#include "base/queue.h"

struct broker;
struct conn;
struct rbuf;
struct request_afters;

#define REQUEST_PEER_MAX 64             /* "[2001:db8::1]:65535" and its NUL */
#define RESPONSE_HEAD_MAX 9             /* size, correlation id, no tagged fields */

struct request {
    struct qnode   link;                /* request queue, or list of answers */
    uint32_t       magic;               /* REQUEST_MAGIC */
    /* fixed before the handler runs */
    int16_t        api_key, version;
    int16_t        response_header_version;
    int32_t        correlation_id;
    struct str     client_id;           /* null becomes ""; NUL-terminated */
    struct str     listener;            /* name, e.g. PLAINTEXT; NUL-terminated */
    int64_t        received_ns;         /* monotonic: when the last of its bytes were read */
    size_t         size_bytes;          /* of the frame without its length field */
    struct conn   *conn;                /* holds a reference */
    /* the handler's */
    struct cursor  body;                /* what follows the request header; the bytes may be written (produce does) */
    struct arena   arena;
    void          *state;               /* free for the handler's use while the request is parked */
    /* broker/net only */
    struct rbuf   *buf;                 /* large body; NULL: inline or released */
    struct request_afters *afters;      /* of the batch, while the handler runs on its thread */
    struct request *batch_next;         /* fixed before it goes to the queue */
    void         (*resume_fn)(struct broker *, struct request *);
    void         (*close_fn)(struct request *, void *arg);
    void          *close_arg;
    _Atomic int    close_state;         /* enum close_state */
    _Atomic int    phase;               /* enum request_phase */
    int            ending;              /* enum request_ending */
    bool           ended_parked;        /* after its handler had returned */
    bool           lets_next;           /* while it is parked, the next of the batch may be run */
    bool           alone;               /* it is parked, or was, and who parked it runs the rest of the batch */
    bool           sends;               /* who ends it may send its answer */
    bool           back;                /* the network thread has it again */
    bool           sent;                /* its answer is out */
    const char    *close_why;
    struct chain   out;
    uint8_t        head[RESPONSE_HEAD_MAX];
    uint8_t        head_len;
};

/* ---- ending: exactly one of these ---- */

/* Sends body, which follows the response header and lies in r->arena; its slices are moved out of *body (the struct
 * itself may be on the caller's stack). A chain with rc != OK closes the connection, with a line in the log. */
void request_reply(struct request *r, struct chain *body);

/* Nothing is sent (produce with acks=0); the connection goes on. */
void request_no_reply(struct request *r);

/* Closes the connection. why completes "<listener> <peer>: closed: <api> v<version>: ", e.g. "body cannot be
 * decoded"; it is logged (rate-limited) and must live as long as r (static, or in r->arena). NULL: no line. */
void request_close(struct request *r, const char *why);

/* ---- while it is in work ---- */

/* Gives the body's memory back early; everything decoded without a copy goes with it. */
void request_release_body(struct request *r);

/* The caller, on whatever thread, will end r, which is parked, holding no lock: then it sends the answer, too, as far
 * as the socket takes it and nothing has to come before. */
void request_end_here(struct request *r);

/* From the handler: fn(arg) is called once, without locks, when the requests that came together with r have been run,
 * or in a moment; if r is the last of them, now. For what costs as much for many of them as for one. */
void request_after(struct request *r, void (*fn)(void *arg), void *arg);

/* Before the handler returns without having ended r: the connection's next requests need not wait until r is ended. */
void request_let_next(struct request *r);
/* From the handler: is the next that came together with r of the same API? */
bool request_next_is_alike(const struct request *r) must_use;

/* fn(r, arg) is called once, on the network thread and without locks, if the connection dies before r is ended. It must
 * see to it that r is ended soon, here or elsewhere, and must cope with somebody else ending it at the same moment: r
 * and its arena are valid during the call, so arg may lie there. false: it is dead already; fn will not be called. */
bool request_on_close(struct request *r, void (*fn)(struct request *r, void *arg), void *arg) must_use;

/* Has an IO thread call fn(broker, r): for what wakes up in a thread that must not do the work. Never refused. */
void request_resume(struct request *r, void (*fn)(struct broker *, struct request *));

/* The peer's address and port as text, e.g. "127.0.0.1:41234"; gives out. */
const char *request_peer(const struct request *r, char out[REQUEST_PEER_MAX]);

#endif
