/* broker/replica/fetch_session.c - the cache of fetch sessions.
 *
 * INVARIANTS
 *  1. A session's epoch grows with each request that it accepts. A context whose request epoch is just one behind knows
 *     that nobody has changed the entries since: only then may it follow its items' entry pointers.
 *  2. The cache counts one reference of each session in it; removing a session from the cache never waits for those
 *     who still work with it.
 *  3. `cached` is the sum of `size` over the sessions in the cache; a session's size is counted anew when a
 *     request has changed it.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/fetch_session.h"

#include "base/lock.h"
#include "proto/kerr.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <uthash.h>

enum { EPOCH_INITIAL = 0, EPOCH_FINAL = -1 };

struct fetch_session_entry {
    UT_hash_handle hh;
    int32_t        partition, max_bytes, leader_epoch, last_epoch;
    int64_t        offset, follower_start;
    int64_t        hw, log_start;       /* as last answered; hw -1: answer next time whatever happens */
    struct uuid    topic_id;
    char          *name;                /* NULL: not known; points into key[] when topics go by name */
    uint32_t       name_len;
    uint32_t       key_len;
    char           key[];
};

struct fetch_session {
    /* fixed */
    int32_t                     id;
    bool                        privileged, by_id;
    int64_t                     created_ms;
    atomic_int                  refs;
    /* under the cache's lock (class fetchcache) */
    UT_hash_handle              hh;
    bool                        in_cache;
    bool                        settled;        /* older than FETCH_EVICT_MS when last used: anybody may evict it */
    int64_t                     used_ms;
    size_t                      size;           /* entries, when last counted */
    /* under `lock` (class fetchsess) */
    struct lock                 lock;
    int32_t                     epoch;          /* that the next request must bring */
    struct fetch_session_entry *entries;        /* in the order in which they are to be served */
};

struct fetch_sessions {
    /* fixed */
    int32_t               slots;
    /* under `lock` (class fetchcache) */
    struct lock           lock;
    struct fetch_session *map;
    size_t                cached;
};

static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

#define KEY_MAX (sizeof(int32_t) + 255)

/* Length of the key, or 0 when there can be no such entry. */
static uint32_t key_make(char key[KEY_MAX], const struct fetch_item *it, bool by_id)
{
    memcpy(key, &it->partition, sizeof it->partition);
    if (by_id) {
        memcpy(key + sizeof it->partition, it->topic_id.b, sizeof it->topic_id.b);
        return (uint32_t)(sizeof it->partition + sizeof it->topic_id.b);
    }
    if (it->topic.len > KEY_MAX - sizeof it->partition)
        return 0;
    if (it->topic.len > 0)
        memcpy(key + sizeof it->partition, it->topic.p, it->topic.len);
    return (uint32_t)(sizeof it->partition + it->topic.len);
}

static struct fetch_session_entry *entry_find(struct fetch_session *s, const struct fetch_item *it)
{
    struct fetch_session_entry *e = NULL;
    char key[KEY_MAX];
    uint32_t len = key_make(key, it, s->by_id);

    if (len > 0)
        HASH_FIND(hh, s->entries, key, len, e);
    return e;
}

static void entry_free(struct fetch_session_entry *e, bool by_id)
{
    if (by_id)
        free(e->name);
    free(e);
}

static void entry_name(struct fetch_session_entry *e, struct str name)
{
    e->name = malloc(name.len + 1);
    if (e->name != NULL) {
        memcpy(e->name, name.p, name.len);
        e->name_len = (uint32_t)name.len;
    }
}

static void entry_update(struct fetch_session_entry *e, const struct fetch_item *it)
{
    e->max_bytes = it->max_bytes;
    e->leader_epoch = it->leader_epoch;
    e->last_epoch = it->last_epoch;
    e->offset = it->offset;
    e->follower_start = it->follower_start;
}

static int entry_add(struct fetch_session *s, const struct fetch_item *it, int64_t hw, int64_t log_start)
{
    struct fetch_session_entry *e;
    char key[KEY_MAX];
    uint32_t len = key_make(key, it, s->by_id);

    if (len == 0)
        return OK;                      /* no topic has such a name: it would be an error in every answer */
    e = calloc(1, sizeof *e + len + 1);
    if (e == NULL)
        return ERR_NOMEM;
    memcpy(e->key, key, len);
    e->key_len = len;
    e->partition = it->partition;
    e->topic_id = it->topic_id;
    e->hw = hw;
    e->log_start = log_start;
    entry_update(e, it);
    if (!s->by_id) {
        e->name = e->key + sizeof it->partition;
        e->name_len = (uint32_t)it->topic.len;
    } else if (it->topic.p != NULL) {
        entry_name(e, it->topic);
    }
    HASH_ADD_KEYPTR(hh, s->entries, e->key, e->key_len, e);
    if (e->hh.tbl == NULL) {
        entry_free(e, s->by_id);
        return ERR_NOMEM;
    }
    return OK;
}

static void entry_to_end(struct fetch_session *s, struct fetch_session_entry *e)
{
    if (e->hh.next == NULL)
        return;
    HASH_DELETE(hh, s->entries, e);
    HASH_ADD_KEYPTR(hh, s->entries, e->key, e->key_len, e);
    if (e->hh.tbl == NULL)              /* out of memory: the client learns it with its next request */
        entry_free(e, s->by_id);
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */

static void session_unref(struct fetch_session **sp)
{
    struct fetch_session *s = *sp;
    struct fetch_session_entry *e, *next;

    *sp = NULL;
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    HASH_ITER(hh, s->entries, e, next) {
        HASH_DELETE(hh, s->entries, e);
        entry_free(e, s->by_id);
    }
    lock_fini(&s->lock);
    free(s);
}

static struct fetch_session *cache_get(struct fetch_sessions *fs, int32_t id)
{
    struct fetch_session *s;

    lock_take(&fs->lock);
    HASH_FIND_INT(fs->map, &id, s);
    if (s != NULL)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    lock_drop(&fs->lock);
    return s;
}

/* Takes s out of the cache; the caller gives back the cache's reference after the lock is dropped. */
static void cache_take_out(struct fetch_sessions *fs, struct fetch_session *s)
{
    lock_assert(&fs->lock);
    HASH_DELETE(hh, fs->map, s);
    s->in_cache = false;
    fs->cached -= s->size;
}

static void cache_remove(struct fetch_sessions *fs, int32_t id)
{
    struct fetch_session *s;

    lock_take(&fs->lock);
    HASH_FIND_INT(fs->map, &id, s);
    if (s != NULL)
        cache_take_out(fs, s);
    lock_drop(&fs->lock);
    session_unref(&s);
}

/* The session has been used and has `size` entries now. false: that is more than the cache may hold; it is out. */
static bool cache_touch(struct fetch_sessions *fs, struct fetch_session *s, size_t size, int64_t now_ms)
{
    struct fetch_session *out = NULL;

    lock_take(&fs->lock);
    if (s->in_cache) {
        fs->cached = fs->cached - s->size + size;
        s->size = size;
        s->used_ms = now_ms;
        s->settled = now_ms - s->created_ms > FETCH_EVICT_MS;
        if (fs->cached > FETCH_CACHED_MAX) {
            cache_take_out(fs, s);
            out = s;
        }
    }
    lock_drop(&fs->lock);
    if (out == NULL)
        return true;
    session_unref(&out);
    return false;
}

static bool worth_less(const struct fetch_session *a, bool b_privileged, size_t b_size)
{
    return a->privileged != b_privileged ? !a->privileged : a->size < b_size;
}

/* Whom a new session of that worth may push out; NULL: nobody. */
static struct fetch_session *cache_victim(struct fetch_sessions *fs, bool privileged, size_t size, int64_t now_ms)
{
    struct fetch_session *oldest = NULL, *least = NULL;

    lock_assert(&fs->lock);
    for (struct fetch_session *s = fs->map; s != NULL; s = s->hh.next) {
        if (oldest == NULL || s->used_ms < oldest->used_ms)
            oldest = s;
        if ((s->settled || (privileged && !s->privileged)) &&
            (least == NULL || worth_less(s, least->privileged, least->size)))
            least = s;
    }
    if (oldest != NULL && now_ms - oldest->used_ms > FETCH_EVICT_MS)
        return oldest;
    return least != NULL && worth_less(least, privileged, size) ? least : NULL;
}

static int32_t fresh_id(struct fetch_sessions *fs)
{
    struct fetch_session *taken;
    uint32_t id;

    do {
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            return 0;
        id &= INT32_MAX;
        HASH_FIND_INT(fs->map, &id, taken);
    } while (id == 0 || taken != NULL);
    return (int32_t)id;
}

/* Puts a session that is complete but for its id into the cache, if there is room. Its id, or 0. */
static int32_t cache_admit(struct fetch_sessions *fs, struct fetch_session *s, int64_t now_ms)
{
    struct fetch_session *victim = NULL;
    int32_t id = 0;

    lock_take(&fs->lock);
    if ((int32_t)HASH_COUNT(fs->map) >= fs->slots) {
        victim = cache_victim(fs, s->privileged, s->size, now_ms);
        if (victim != NULL)
            cache_take_out(fs, victim);
    }
    if ((int32_t)HASH_COUNT(fs->map) < fs->slots && fs->cached + s->size <= FETCH_CACHED_MAX)
        id = fresh_id(fs);
    if (id != 0) {
        s->id = id;
        HASH_ADD_INT(fs->map, id, s);
        if (s->hh.tbl == NULL) {
            id = 0;
        } else {
            atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
            s->in_cache = true;
            fs->cached += s->size;
        }
    }
    lock_drop(&fs->lock);
    session_unref(&victim);
    return id;
}

/* ---- a request begins -------------------------------------------------------------------------------------------- */

/* The request's own items, each partition once: what comes later about one overrides what came before. */
static int plain_items(struct fetch_context *cx, const struct fetch_ask *ask, struct arena *a)
{
    size_t cap = 2;
    uint32_t *table;

    cx->items = ask->items;
    cx->n = ask->n;
    if (ask->n < 2)
        return OK;
    while (cap < ask->n * 2)
        cap *= 2;
    table = arena_array(a, cap, sizeof *table);         /* index + 1 */
    if (table == NULL)
        return ERR_NOMEM;
    cx->n = 0;
    for (size_t i = 0; i < ask->n; i++) {
        char key[KEY_MAX], other[KEY_MAX];
        uint32_t len = key_make(key, &ask->items[i], ask->by_id);
        unsigned hash = 0;
        size_t at;

        HASH_VALUE(key, len, hash);
        for (at = hash & (cap - 1); table[at] != 0; at = (at + 1) & (cap - 1))
            if (len != 0 && key_make(other, &cx->items[table[at] - 1], ask->by_id) == len &&
                memcmp(key, other, len) == 0)
                break;
        if (table[at] == 0)
            table[at] = (uint32_t)++cx->n;
        if (cx->items + (table[at] - 1) != &ask->items[i])
            cx->items[table[at] - 1] = ask->items[i];
    }
    return OK;
}

static int session_update(struct fetch_session *s, const struct fetch_ask *ask)
{
    lock_assert(&s->lock);
    for (size_t i = 0; i < ask->n; i++) {
        struct fetch_session_entry *e = entry_find(s, &ask->items[i]);

        if (e != NULL)
            entry_update(e, &ask->items[i]);
        else
            TRY(entry_add(s, &ask->items[i], -1, -1));
    }
    for (size_t i = 0; i < ask->forgotten_n; i++) {
        struct fetch_session_entry *e = entry_find(s, &ask->forgotten[i]);

        if (e != NULL) {
            HASH_DELETE(hh, s->entries, e);
            entry_free(e, s->by_id);
        }
    }
    return OK;
}

/* Everything in the session, with names of our own: another request may drop the entries meanwhile. */
static int session_items(struct fetch_session *s, const struct fetch_ask *ask, struct arena *a,
                         struct fetch_context *cx)
{
    struct str last = { NULL, 0 };
    size_t i = 0;

    lock_assert(&s->lock);
    cx->n = HASH_COUNT(s->entries);
    cx->items = arena_array(a, cx->n, sizeof *cx->items);
    if (cx->items == NULL)
        return ERR_NOMEM;
    for (struct fetch_session_entry *e = s->entries; e != NULL; e = e->hh.next) {
        struct str name;

        if (e->name == NULL) {
            name = ask->name_of(ask->name_arg, e->topic_id);
            if (name.p != NULL)
                entry_name(e, name);
        }
        name = (struct str){ e->name, e->name != NULL ? e->name_len : 0 };
        if (name.p != NULL && (last.p == NULL || !str_eq(name, last)))
            TRY(arena_str(a, name, &last));
        cx->items[i++] = (struct fetch_item){
            .topic = name.p != NULL ? last : name, .topic_id = e->topic_id, .partition = e->partition,
            .max_bytes = e->max_bytes, .leader_epoch = e->leader_epoch, .last_epoch = e->last_epoch,
            .offset = e->offset, .follower_start = e->follower_start, .entry = e,
        };
    }
    return OK;
}

static int begin_incremental(struct fetch_sessions *fs, const struct fetch_ask *ask, struct arena *a,
                             struct fetch_context *cx)
{
    struct fetch_session *s = cache_get(fs, ask->session_id);
    size_t size = 0;
    int rc = OK;

    cx->kind = FETCH_REFUSED;
    if (s == NULL) {
        cx->error = KERR_FETCH_SESSION_ID_NOT_FOUND;
        return OK;
    }
    lock_take(&s->lock);
    if (s->epoch != ask->epoch) {
        cx->error = KERR_INVALID_FETCH_SESSION_EPOCH;
    } else if (s->by_id != ask->by_id) {
        cx->error = KERR_FETCH_SESSION_TOPIC_ID_ERROR;
    } else {
        rc = session_update(s, ask);
        s->epoch = epoch_after(s->epoch);   /* in any case: one before this may still hold entries that are gone */
        size = HASH_COUNT(s->entries);
        cx->kind = size == 0 ? FETCH_PLAIN : FETCH_INCREMENTAL;
        if (rc == OK && size > 0)
            rc = session_items(s, ask, a, cx);
    }
    lock_drop(&s->lock);
    if (rc != OK || cx->kind == FETCH_PLAIN) {
        cache_remove(fs, ask->session_id);
        if (rc == OK)
            rc = plain_items(cx, ask, a);
    } else if (cx->kind == FETCH_INCREMENTAL && !cache_touch(fs, s, size, ask->now_ms)) {
        cx->kind = FETCH_REFUSED;
        cx->error = KERR_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (rc == OK && cx->kind == FETCH_INCREMENTAL)
        cx->session = s;
    else
        session_unref(&s);
    return rc;
}

int fetch_begin(struct fetch_sessions *fs, const struct fetch_ask *ask, struct arena *a, struct fetch_context *out)
{
    *out = (struct fetch_context){ .epoch = ask->epoch, .by_id = ask->by_id, .follower = ask->follower };
    if (ask->epoch != EPOCH_INITIAL && ask->epoch != EPOCH_FINAL)
        return begin_incremental(fs, ask, a, out);
    if (ask->session_id != 0)
        cache_remove(fs, ask->session_id);
    out->kind = ask->epoch == EPOCH_FINAL ? FETCH_PLAIN : FETCH_FULL;
    return plain_items(out, ask, a);
}

/* ---- and ends ---------------------------------------------------------------------------------------------------- */

static int32_t make_session(struct fetch_sessions *fs, const struct fetch_context *cx, struct fetch_item **answered,
                            int64_t now_ms)
{
    struct fetch_session *s;
    int32_t id = 0;
    int rc = OK;

    if (cx->n > FETCH_CACHED_MAX || fs->slots <= 0 || (s = calloc(1, sizeof *s)) == NULL)
        return 0;
    s->privileged = cx->follower;
    s->by_id = cx->by_id;
    s->created_ms = s->used_ms = now_ms;
    s->epoch = epoch_after(EPOCH_INITIAL);
    s->size = cx->n;
    atomic_init(&s->refs, 1);
    lock_init(&s->lock, LOCK_fetchsess);
    for (size_t i = 0; i < cx->n && rc == OK; i++)
        rc = entry_add(s, answered[i], answered[i]->hw, answered[i]->log_start);
    if (rc == OK)
        id = cache_admit(fs, s, now_ms);
    session_unref(&s);
    return id;
}

/* Whether the client must be told; remembers what it will know then. */
static bool entry_news(struct fetch_session_entry *e, const struct fetch_item *it)
{
    bool news = it->notable || it->failed || e->hw != it->hw || e->log_start != it->log_start;

    e->hw = it->failed ? -1 : it->hw;
    e->log_start = it->log_start;
    return news;
}

static void end_incremental(struct fetch_context *cx, struct fetch_item **answered)
{
    struct fetch_session *s = cx->session;

    lock_take(&s->lock);
    cx->session_id = s->id;
    if (s->epoch != epoch_after(cx->epoch)) {
        cx->error = KERR_INVALID_FETCH_SESSION_EPOCH;
    } else {
        for (size_t i = 0; i < cx->n; i++)
            answered[i]->left_out = !entry_news(answered[i]->entry, answered[i]);
        for (size_t i = 0; i < cx->n; i++)
            if (answered[i]->has_records)
                entry_to_end(s, answered[i]->entry);
    }
    lock_drop(&s->lock);
}

void fetch_end(struct fetch_sessions *fs, struct fetch_context *cx, struct fetch_item **answered, int64_t now_ms)
{
    if (cx->kind == FETCH_FULL)
        cx->session_id = make_session(fs, cx, answered, now_ms);
    else if (cx->kind == FETCH_INCREMENTAL)
        end_incremental(cx, answered);
    session_unref(&cx->session);
}

void fetch_abandon(struct fetch_context *cx)
{
    session_unref(&cx->session);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

int fetch_sessions_new(struct fetch_sessions **out, int32_t slots)
{
    struct fetch_sessions *fs = calloc(1, sizeof *fs);

    if (fs == NULL)
        return ERR_NOMEM;
    fs->slots = slots;
    lock_init(&fs->lock, LOCK_fetchcache);
    *out = fs;
    return OK;
}

void fetch_sessions_free(struct fetch_sessions **fsp)
{
    struct fetch_sessions *fs = *fsp;
    struct fetch_session *s, *next;

    if (fs == NULL)
        return;
    HASH_ITER(hh, fs->map, s, next) {
        HASH_DELETE(hh, fs->map, s);
        session_unref(&s);
    }
    lock_fini(&fs->lock);
    free(fs);
    *fsp = NULL;
}

size_t fetch_sessions_count(struct fetch_sessions *fs)
{
    size_t n;

    lock_take(&fs->lock);
    n = HASH_COUNT(fs->map);
    lock_drop(&fs->lock);
    return n;
}

size_t fetch_sessions_cached(struct fetch_sessions *fs)
{
    size_t n;

    lock_take(&fs->lock);
    n = fs->cached;
    lock_drop(&fs->lock);
    return n;
}
