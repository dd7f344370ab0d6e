/* broker/replica/fetch_session.h - incremental fetch (KIP-227): what a client fetches again and again is kept
 * here, so that its requests name only what has changed, and so do the answers.
 *
 *   request              fetch_begin()                                      fetch_end()
 *   epoch -1             FETCH_PLAIN; the session it names is closed        everything is answered, session id 0
 *   epoch 0              FETCH_FULL; the session it names is closed         everything is answered; a new session, if
 *                                                                           there is room (else id 0)
 *   epoch of a session   FETCH_INCREMENTAL: all partitions of the session   only what has changed is answered
 *                        FETCH_PLAIN when that leaves it empty: it closes
 *                        FETCH_REFUSED: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH,
 *                        FETCH_SESSION_TOPIC_ID_ERROR
 *
 * OWNER   a context lies in the request's memory, as do its items and names; it holds a reference of its session until
 *         fetch_end() or fetch_abandon().
 * LOCKS   class fetchcache for the cache, class fetchsess for each session, inside the calls only. Any thread.
 * LIMIT   max.incremental.fetch.session.cache.slots sessions and FETCH_CACHED_MAX partitions in all of them; a request
 *         that would pass the latter gets no session, or loses the one that it has.
 */
#ifndef BROKER_REPLICA_FETCH_SESSION_H
#define BROKER_REPLICA_FETCH_SESSION_H

#include "base/arena.h"
#include "base/uuid.h"

#define FETCH_CACHED_MAX 500000
#define FETCH_EVICT_MS   120000         /* min.incremental.fetch.session.eviction.ms, which cannot be set */

struct fetch_session;
struct fetch_session_entry;
struct fetch_sessions;

/* One partition to fetch. */
struct fetch_item {
    struct str  topic;                  /* null: nobody knows the id */
    struct uuid topic_id;               /* zero: the request names topics */
    int32_t     partition;
    int32_t     max_bytes;
    int32_t     leader_epoch;           /* -1: not given */
    int32_t     last_epoch;             /* of the last record fetched; -1: not given */
    int64_t     offset;
    int64_t     follower_start;         /* where the follower's own log begins; -1: a consumer */
    /* the answer, before fetch_end() */
    int64_t     hw, log_start;
    bool        failed;                 /* an error code is set */
    bool        notable;                /* records, a diverging epoch, a preferred replica: must be answered */
    bool        has_records;
    /* by fetch_end() */
    bool        left_out;
    struct fetch_session_entry *entry;  /* fetch_session.c */
};

struct fetch_ask {
    int32_t      session_id, epoch;
    bool         by_id;                 /* version 13 and up: topics go by id */
    bool         follower;
    int64_t      now_ms;                /* monotonic */
    struct fetch_item *items;           /* of the request; borrowed until fetch_end() */
    size_t       n;
    struct fetch_item *forgotten;       /* topic, topic_id and partition count */
    size_t       forgotten_n;
    struct str (*name_of)(void *arg, struct uuid id);   /* null: nobody knows it. Asked about nameless entries */
    void        *name_arg;
};

enum fetch_kind { FETCH_REFUSED, FETCH_PLAIN, FETCH_FULL, FETCH_INCREMENTAL };

struct fetch_context {
    enum fetch_kind       kind;
    int16_t               error;        /* of the whole request, with FETCH_REFUSED and after fetch_end() */
    int32_t               session_id;   /* for the response; after fetch_end() */
    struct fetch_item    *items;        /* what to fetch, each partition once, in order */
    size_t                n;
    struct fetch_session *session;      /* FETCH_INCREMENTAL; counted */
    int32_t               epoch;        /* of the request */
    bool                  by_id, follower;
};

int  fetch_sessions_new(struct fetch_sessions **out, int32_t slots) must_use;
void fetch_sessions_free(struct fetch_sessions **fs);       /* NULL-safe; no context is under way */

int  fetch_begin(struct fetch_sessions *fs, const struct fetch_ask *ask, struct arena *a,
                 struct fetch_context *out) must_use;       /* ERR_NOMEM */

/* The items' answers are filled in; answered[] are all of them in the order of the response. Sets left_out, error and
 * session_id. With an error the response has no partitions. */
void fetch_end(struct fetch_sessions *fs, struct fetch_context *cx, struct fetch_item **answered, int64_t now_ms);
void fetch_abandon(struct fetch_context *cx);               /* in place of fetch_end(), when nobody wants the answer */

size_t fetch_sessions_count(struct fetch_sessions *fs);
size_t fetch_sessions_cached(struct fetch_sessions *fs);    /* partitions in all sessions */

#endif
