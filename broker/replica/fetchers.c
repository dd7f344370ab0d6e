/* broker/replica/fetchers.c - which partitions are followed, from whom, and what state each is in. */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/fetchers_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/peer/peer.h"
#include "config/config.h"
#include "metadata/topic_name.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#define WAIT_FIRST_MS 10
#define PAUSE_MS      INT64_C(100)
#define ARENA_MAX     ((size_t)256 << 20)
#define GONE_MAX      1000              /* partitions to be taken out of a session; more: it is begun anew */

/* ---- states ---------------------------------------------------------------------------------------------------- */

static void count_state(struct followed *fo, size_t by)
{
    struct fetcher *fe = fo->at;

    if (fe != NULL && fo->state == FOLLOW_FETCH)
        fe->fetching += by;
    if (fe != NULL && (fo->state == FOLLOW_TRUNCATE || fo->state == FOLLOW_RANGE))
        fe->asking += by;
}

void followed_mention(struct followed *fo)
{
    if (fo->dirty || fo->at == NULL)
        return;
    fo->dirty = true;
    DL_APPEND2(fo->at->dirty, fo, dirty_prev, dirty_next);
}

void followed_set(struct followed *fo, enum follow_state s)
{
    if (fo->state == FOLLOW_WAIT && fo->at != NULL)
        DL_DELETE2(fo->at->waiting, fo, wait_prev, wait_next);
    count_state(fo, (size_t)-1);
    fo->state = s;
    count_state(fo, 1);
    if (s == FOLLOW_WAIT && fo->at != NULL) {
        DL_APPEND2(fo->at->waiting, fo, wait_prev, wait_next);
        if (fo->wait_until_ns < fo->at->wake_ns)
            fo->at->wake_ns = fo->wait_until_ns;
    }
    if (s == FOLLOW_FETCH || fo->in_session)
        followed_mention(fo);
}

/* Thousands may be refused at about the same time. They come again together, not each with a Fetch of its own. */
static int64_t with_others(int64_t until_ns, int64_t wait_ns)
{
    int64_t grid = wait_ns / 2;

    return grid > 0 ? until_ns + grid - until_ns % grid : until_ns;
}

void followed_delay(struct followed *fo, bool long_one)
{
    int64_t most = fo->at->home->opts.cfg->replica_fetch_backoff_ms;

    if (fo->state != FOLLOW_WAIT)
        fo->then = fo->state;
    fo->wait_ms = fo->wait_ms > 0 ? fo->wait_ms * 2 : WAIT_FIRST_MS;
    if (long_one || fo->wait_ms > most)
        fo->wait_ms = most;
    fo->wait_until_ns = with_others(mono_ns() + fo->wait_ms * 1000000, fo->wait_ms * 1000000);
    followed_set(fo, FOLLOW_WAIT);
}

void followed_pause(struct followed *fo)
{
    fo->then = fo->state;
    fo->wait_until_ns = mono_ns() + PAUSE_MS * 1000000;
    followed_set(fo, FOLLOW_WAIT);
}

void followed_worked(struct followed *fo)
{
    if (fo->told)
        log_info("%s: follows broker %d again", fo->p->name, (int)fo->leader);
    fo->told = false;
    fo->wait_ms = 0;
    fo->refused_ns = 0;
}

struct followed *followed_find(struct fetcher *fe, const void *key, size_t len)
{
    struct followed *fo;

    HASH_FIND(hh, fe->home->map, key, (unsigned)len, fo);
    return fo != NULL && fo->at == fe ? fo : NULL;
}

struct followed *followed_find_name(struct fetcher *fe, struct str topic, int32_t index)
{
    char key[sizeof index + TOPIC_NAME_MAX];

    if (topic.len > sizeof key - sizeof index || topic.len == 0)
        return NULL;
    memcpy(key, &index, sizeof index);
    memcpy(key + sizeof index, topic.p, topic.len);
    return followed_find(fe, key, sizeof index + topic.len);
}

struct followed *followed_find_id(struct fetcher *fe, struct uuid id, int32_t index)
{
    struct followed_id key;
    struct followed *fo;

    memset(&key, 0, sizeof key);
    key.id = id;
    key.index = index;
    HASH_FIND(hh_id, fe->by_id, &key, sizeof key, fo);
    return fo;
}

void fetcher_hold(struct fetcher *fe, struct followed *fo)
{
    fe->busy = fo;
    lock_drop(&fe->home->lock);
}

void fetcher_release(struct fetcher *fe)
{
    lock_take(&fe->home->lock);
    fe->busy = NULL;
    if (fe->home->leaving > 0)
        cond_broadcast(&fe->home->idle);
}

/* ---- coming and going ------------------------------------------------------------------------------------------ */

void gone_free(struct fetcher *fe)
{
    struct gone *g;

    while ((g = fe->gone) != NULL) {
        fe->gone = g->next;
        free(g);
    }
    fe->gone_n = 0;
}

static void note_gone(struct fetcher *fe, const struct followed *fo)
{
    struct str topic = fo->p->topic;
    struct gone *g = fe->gone_n < GONE_MAX ? malloc(sizeof *g + topic.len) : NULL;

    if (g == NULL) {                    /* too many to be told one by one */
        gone_free(fe);
        fe->renew = true;
        return;
    }
    g->id = fo->id.id;
    g->index = fo->p->index;
    g->len = topic.len;
    memcpy(g->topic, topic.p, topic.len);
    LL_PREPEND(fe->gone, g);
    fe->gone_n++;
}

static bool is_gone(const struct gone *g, const struct followed *fo)
{
    return g->index == fo->p->index && uuid_eq(g->id, fo->id.id) &&
           str_eq((struct str){ g->topic, g->len }, fo->p->topic);
}

/* Most have gone a moment before, and are the first. */
void forget_gone(struct fetcher *fe, const struct followed *fo)
{
    for (struct gone **link = &fe->gone, *g; (g = *link) != NULL; link = &g->next)
        if (is_gone(g, fo)) {
            *link = g->next;
            fe->gone_n--;
            free(g);
            return;
        }
}

static void leave_fetcher(struct followed *fo)
{
    struct fetcher *fe = fo->at;

    if (fo->in_session)
        note_gone(fe, fo);
    if (fo->state == FOLLOW_WAIT)
        DL_DELETE2(fe->waiting, fo, wait_prev, wait_next);
    if (fo->dirty)
        DL_DELETE2(fe->dirty, fo, dirty_prev, dirty_next);
    count_state(fo, (size_t)-1);
    DL_DELETE(fe->order, fo);
    if (!uuid_is_zero(fo->id.id))
        HASH_DELETE(hh_id, fe->by_id, fo);
    else
        fe->without_id--;
    fe->n--;
    fo->in_session = fo->dirty = false;
    fo->asked_epoch = -1;
    fo->at = NULL;
}

/* Out of everything, and freed. Returns when no fetcher works on it. */
static void drop(struct fetchers *f, struct followed *fo)
{
    HASH_DELETE(hh, f->map, fo);
    f->leaving++;
    while (fo->at != NULL && fo->at->busy == fo)
        cond_wait(&f->idle, &f->lock);
    f->leaving--;
    if (fo->at != NULL)
        leave_fetcher(fo);
    else
        DL_DELETE(f->homeless, fo);
    partition_unref(&fo->p);
    free(fo);
}

/* ---- fetchers -------------------------------------------------------------------------------------------------- */

/* Where the broker is now; NULL: nobody knows. */
static char *address_of(struct fetchers *f, int32_t id, int32_t *port)
{
    struct metadata *md = metadata_get(f->opts.metacache);
    const struct metadata_broker *b = metadata_broker(md, id);
    const struct metadata_endpoint *e = NULL;
    char *host = NULL;

    if (b != NULL)
        e = metadata_endpoint(b, str_of(f->opts.cfg->inter_broker_listener));
    if (e != NULL) {
        host = strndup(e->host.p, e->host.len);
        *port = e->port;
    }
    metadata_put(&md);
    return host;
}

static int begin_fetcher(struct fetchers *f, int32_t source, int32_t index, struct fetcher **out)
{
    struct fetcher *fe = calloc(1, sizeof *fe);

    if (fe == NULL)
        return ERR_NOMEM;
    fe->home = f;
    fe->source = source;
    fe->index = index;
    fe->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    arena_init(&fe->arena, ARENA_MAX);
    fe->moved = true;
    fe->wake_ns = INT64_MAX;
    fe->host = address_of(f, source, &fe->port);
    if (fe->bell < 0 || fe->host == NULL || pthread_create(&fe->thread, NULL, fetcher_main, fe) != 0) {
        int rc = fe->bell < 0 ? err_from_errno(errno) : fe->host == NULL ? ERR_NOENT : ERR_AGAIN;

        if (fe->bell >= 0)
            close(fe->bell);
        free(fe->host);
        free(fe);
        return rc;
    }
    LL_PREPEND(f->all, fe);
    *out = fe;
    return OK;
}

static int32_t index_for(const struct fetchers *f, const struct followed *fo)
{
    unsigned hash;

    HASH_VALUE(fo->p->key, fo->p->key_len, hash);
    return f->number > 1 ? (int32_t)(hash % (unsigned)f->number) : 0;
}

/* The fetcher that has the partition as long as this broker leads it; which one is nobody's business. ERR_NOENT:
 * nobody knows where the broker is. */
static int fetcher_for(struct fetchers *f, const struct followed *fo, struct fetcher **out)
{
    int32_t index = index_for(f, fo);
    struct fetcher *fe;

    LL_FOREACH(f->all, fe)
        if (fe->source == fo->leader && fe->index == index) {
            *out = fe;
            return OK;
        }
    return begin_fetcher(f, fo->leader, index, out);
}

void fetchers_ring(struct fetcher *fe)
{
    uint64_t one = 1;

    fe->fresh = false;
    if (fe->rung)
        return;
    fe->rung = true;
    while (write(fe->bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* As Apache Kafka: where a Fetch can tell that the logs have parted, it is asked for at once; else first where they
 * part. */
enum follow_state followed_first_state(const struct fetchers *f, const struct follower_place *at)
{
    if (at->epoch >= 0)
        return ibp_has(&f->ibp, IBP_TRUNCATE_ON_FETCH) ? FOLLOW_FETCH : FOLLOW_TRUNCATE;
    return at->offsets.hw < at->offsets.leo ? FOLLOW_TRUNCATE : FOLLOW_FETCH;
}

/* Among those that the fetcher of its leader has, if there can be one; else it stays homeless. */
static void find_home(struct fetchers *f, struct followed *fo)
{
    struct follower_place at;
    struct fetcher *fe = NULL;
    int rc = fetcher_for(f, fo, &fe);

    if (rc == ERR_NOENT)
        return;
    if (rc == OK && !uuid_is_zero(fo->id.id)) {
        HASH_ADD(hh_id, fe->by_id, id, sizeof fo->id, fo);
        rc = fo->hh_id.tbl != NULL ? OK : ERR_NOMEM;
    } else if (rc == OK) {
        fe->without_id++;
    }
    if (rc != OK) {
        f->lacked = true;
        if (!fo->told)
            log_error("%s: cannot be fetched from broker %d: %s; tried again until it can", fo->p->name,
                      (int)fo->leader, err_text(rc));
        fo->told = true;
        return;
    }
    DL_DELETE(f->homeless, fo);
    fo->at = fe;
    DL_APPEND(fe->order, fo);
    fe->n++;
    fe->fresh = true;
    if (follower_place(fo->p, fo->leader_epoch, &at) == OK)
        followed_set(fo, followed_first_state(f, &at));
}

int fetchers_follow(struct fetchers *f, struct partition *p, int32_t leader, int32_t leader_epoch)
{
    struct followed *fo = calloc(1, sizeof *fo);

    if (fo == NULL)
        return ERR_NOMEM;
    fetchers_forget(f, p->topic, p->index);
    fo->p = partition_ref(p);
    fo->id.id = partition_topic_id(p);
    fo->id.index = p->index;
    fo->leader = leader;
    fo->leader_epoch = leader_epoch;
    fo->asked_epoch = -1;               /* an answer that is on its way is to what was followed before */
    fo->state = FOLLOW_FAILED;
    lock_take(&f->lock);
    if (!atomic_load(&f->stopped))
        HASH_ADD_KEYPTR(hh, f->map, p->key, p->key_len, fo);
    if (fo->hh.tbl != NULL) {
        DL_APPEND(f->homeless, fo);
        find_home(f, fo);
        fo = NULL;
    }
    lock_drop(&f->lock);
    if (fo == NULL)
        return OK;
    partition_unref(&fo->p);
    free(fo);
    return atomic_load(&f->stopped) ? OK : ERR_NOMEM;
}

void fetchers_begin(struct fetchers *f)
{
    struct fetcher *fe;

    lock_take(&f->lock);
    LL_FOREACH(f->all, fe)
        if (fe->fresh)
            fetchers_ring(fe);
    lock_drop(&f->lock);
}

void fetchers_forget(struct fetchers *f, struct str topic, int32_t index)
{
    char key[sizeof index + TOPIC_NAME_MAX];
    struct followed *fo;

    if (topic.len > sizeof key - sizeof index || topic.len == 0)
        return;
    memcpy(key, &index, sizeof index);
    memcpy(key + sizeof index, topic.p, topic.len);
    lock_take(&f->lock);
    HASH_FIND(hh, f->map, key, (unsigned)(sizeof index + topic.len), fo);
    if (fo != NULL)
        drop(f, fo);
    lock_drop(&f->lock);
}

/* Moves those that have another fetcher than they should. False: some are being worked on. Under the lock. */
static bool place_anew(struct fetchers *f)
{
    struct followed *fo, *tmp;
    bool all = true;

    HASH_ITER(hh, f->map, fo, tmp) {
        if (fo->at == NULL || fo->at->index == index_for(f, fo))
            continue;
        if (fo->at->busy == fo) {
            all = false;
            continue;
        }
        leave_fetcher(fo);
        fo->state = FOLLOW_FAILED;      /* as one that is followed anew */
        DL_APPEND(f->homeless, fo);
        find_home(f, fo);
    }
    return all;
}

void fetchers_set_number(struct fetchers *f, int32_t n)
{
    lock_take(&f->lock);
    f->number = n;
    f->leaving++;
    while (!atomic_load(&f->stopped) && !place_anew(f))
        cond_wait(&f->idle, &f->lock);
    f->leaving--;
    lock_drop(&f->lock);
    fetchers_begin(f);
}

void fetchers_flushed(struct fetchers *f)
{
    lock_take(&f->lock);
    cond_broadcast(&f->flushed);
    lock_drop(&f->lock);
}

static void look_where(struct fetchers *f, struct fetcher *fe)
{
    int32_t port = 0;
    char *host = address_of(f, fe->source, &port);

    if (host == NULL || (fe->port == port && strcmp(fe->host, host) == 0)) {
        free(host);                     /* one that is not there is still asked: it may be there before we hear of it */
        return;
    }
    free(fe->host);
    fe->host = host;
    fe->port = port;
    fe->moved = fe->fresh = true;
}

static void find_homes(struct fetchers *f)
{
    struct followed *fo, *next;

    f->lacked = false;
    DL_FOREACH_SAFE(f->homeless, fo, next)
        find_home(f, fo);
}

void fetchers_brokers_changed(struct fetchers *f)
{
    struct fetcher *fe;

    lock_take(&f->lock);
    if (!atomic_load(&f->stopped)) {
        LL_FOREACH(f->all, fe)
            look_where(f, fe);
        find_homes(f);
    }
    lock_drop(&f->lock);
    fetchers_begin(f);
}

void fetchers_try_again(struct fetchers *f)
{
    bool lacked;

    lock_take(&f->lock);
    lacked = f->lacked && !atomic_load(&f->stopped);
    if (lacked)
        find_homes(f);
    lock_drop(&f->lock);
    if (lacked)
        fetchers_begin(f);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

int fetchers_new(struct fetchers **out, const struct fetchers_opts *o)
{
    struct fetchers *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_NOMEM;
    f->opts = *o;
    f->number = o->cfg->num_replica_fetchers;
    ibp_init(&f->ibp, o->cfg->inter_broker_protocol_version);
    lock_init(&f->lock, LOCK_fetchers);
    cond_init(&f->idle);
    cond_init(&f->flushed);
    *out = f;
    return OK;
}

void fetchers_stop(struct fetchers *f)
{
    struct followed *fo;
    struct fetcher *fe;

    if (f == NULL)
        return;
    lock_take(&f->lock);
    atomic_store(&f->stopped, true);
    cond_broadcast(&f->flushed);
    cond_broadcast(&f->idle);
    LL_FOREACH(f->all, fe) {
        if (fe->peer != NULL)
            peer_interrupt(fe->peer);
        fetchers_ring(fe);
    }
    while ((fo = f->map) != NULL)
        drop(f, fo);
    lock_drop(&f->lock);
    while ((fe = f->all) != NULL) {     /* nobody adds to them any more */
        pthread_join(fe->thread, NULL);
        f->all = fe->next;
        gone_free(fe);
        arena_fini(&fe->arena);
        close(fe->bell);
        free(fe->host);
        free(fe->body);
        free(fe);
    }
}

void fetchers_free(struct fetchers **fp)
{
    struct fetchers *f = *fp;

    *fp = NULL;
    if (f == NULL)
        return;
    fetchers_stop(f);
    cond_fini(&f->flushed);
    cond_fini(&f->idle);
    lock_fini(&f->lock);
    free(f);
}
