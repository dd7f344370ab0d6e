/* broker/group/write.c - appending to a group's partition of __consumer_offsets, and waiting until that is committed.
 *
 *   groups_write()  with the group locked: builds one batch, appends it quietly (its partition's fetches are woken when
 *                   the lock is dropped), and is done; or, where a flush or followers are waited for, hangs it up
 *   groups_leave()  parks what hangs there, in the purgatory of produce: nothing may be locked for that
 *   ended           the purgatory's done() puts it in `ended` and rings; the coordinator's thread looks what has become
 *                   of it, locks the group and calls done()
 */
#include "broker/group/groups_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "proto/kerr.h"
#include "proto/records/builder.h"

#include <stddef.h>
#include <stdlib.h>

/* A write that waits. */
struct group_write_state {
    struct delayed      delayed;        /* first: ready() and done() get this */
    struct watch        watch;
    struct qnode        link;           /* in `ended` */
    struct groups      *gs;
    struct group       *g;              /* reference */
    struct group_write *w;
    int64_t             base, end;      /* offsets */
    int32_t             leader_epoch;   /* that it was appended in */
    int16_t             acks;
    enum delayed_why    why;
};

/* ---- appending --------------------------------------------------------------------------------------------------- */

static enum codec codec_of(const struct groups *gs, int8_t magic)
{
    enum codec c = (enum codec)gs->o.cfg->offsets_topic_compression_codec;

    /* A wrapper of magic 0 tells final offsets, and zstd came with magic 2. */
    return magic == 0 || (magic == 1 && c == CODEC_ZSTD) ? CODEC_NONE : c;
}

static int build(const struct groups *gs, const struct partition_conf *conf, const struct group_record *v, size_t n,
                 struct arena *a, struct bytes *out)
{
    int64_t now_ms = wall_ms();
    struct builder_opts o;
    struct builder b;
    int rc;

    builder_opts_init(&o);
    o.magic = conf->magic;
    o.codec = codec_of(gs, conf->magic);
    o.level = codec_default_level(o.codec);
    o.append_time = conf->log_append_time && conf->magic > 0;
    o.append_ms = now_ms;
    o.size_hint = BATCH_HEAD_BYTES;
    for (size_t i = 0; i < n; i++)
        o.size_hint += v[i].key.len + v[i].value.len + 24;
    builder_init(&b, &o, a);
    for (size_t i = 0; i < n; i++) {
        struct record r = { .offset = (int64_t)i, .timestamp = now_ms, .key = v[i].key, .value = v[i].value };

        builder_add(&b, &r);
    }
    rc = builder_finish(&b, out);
    builder_fini(&b);
    return rc;
}

static bool wait_ready(struct delayed *d, const struct watch *which);
static void wait_done(struct delayed *d, enum delayed_why why);

/* Hangs it up in the session. false: out of memory. */
static bool hang_up(struct group_session *s, const struct plog_appended *at, int32_t leader_epoch, int16_t acks,
                    struct group_write *w)
{
    struct group_write_state *st = calloc(1, sizeof *st);

    if (st == NULL)
        return false;
    st->gs = s->gs;
    st->g = s->g;
    st->w = w;
    st->base = at->base_offset;
    st->end = at->last_offset + 1;
    st->leader_epoch = leader_epoch;
    st->acks = acks;
    st->watch.list = &s->g->log->produces;
    st->delayed.ready = wait_ready;
    st->delayed.done = wait_done;
    st->delayed.watches = &st->watch;
    st->delayed.watches_n = 1;
    atomic_fetch_add(&s->g->refs, 1);
    atomic_fetch_add(&s->gs->busy, 1);
    w->state = st;
    w->next = s->parked;
    s->parked = w;
    return true;
}

int16_t groups_write(struct group_session *s, const struct group_record *v, size_t n, int16_t acks,
                     struct group_write *w)
{
    struct partition *p = s->g->log;
    struct partition_conf conf = partition_conf(p);
    struct plog_append in = { .origin = APPEND_COORDINATOR };
    struct plog_appended at;
    int16_t kerr = KERR_NONE;
    struct arena a;
    struct bytes set;
    int rc;

    lock_assert(&s->g->lock);
    if (acks < -1 || acks > 1)
        return KERR_INVALID_REQUIRED_ACKS;
    arena_init(&a, SIZE_MAX);
    rc = build(s->gs, &conf, v, n, &a, &set);
    if (rc == ERR_TOO_LARGE || (rc == OK && set.len > (size_t)conf.max_message_bytes)) {
        kerr = KERR_MESSAGE_TOO_LARGE;
    } else if (rc != OK) {
        kerr = kerr_of(rc);
    } else {
        bool moved;

        in.p = (uint8_t *)(uintptr_t)set.p;     /* in our arena */
        in.len = set.len;
        kerr = partition_append_quiet(p, &in, acks, &at, &moved);
        s->wake |= moved;
    }
    arena_fini(&a);
    if (kerr != KERR_NONE || w == NULL || w->done == NULL)
        return kerr;
    if ((acks != 0 && at.held) || (acks == -1 && at.offsets.hw <= at.last_offset)) {
        if (hang_up(s, &at, in.leader_epoch, acks, w))
            return KERR_NONE;
        kerr = KERR_REQUEST_TIMED_OUT;  /* it is in the log, and nobody can wait for more */
    }
    w->done(w, s->g, kerr, at.base_offset);
    return KERR_NONE;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* *done: the question is decided. */
static int16_t wait_state(const struct group_write_state *st, bool *done)
{
    int16_t kerr = partition_safe(st->g->log, st->end, done);

    if (kerr == KERR_NONE && *done && st->acks == -1)
        kerr = partition_committed(st->g->log, st->end, st->leader_epoch, done);
    return kerr;
}

static bool wait_ready(struct delayed *d, const struct watch *which)
{
    bool done;

    (void)which;
    (void)wait_state((struct group_write_state *)d, &done);
    return done;
}

static void wait_done(struct delayed *d, enum delayed_why why)
{
    struct group_write_state *st = (struct group_write_state *)d;
    struct groups *gs = st->gs;

    st->why = why;
    if (mpsc_push(&gs->ended, &st->link))
        clock_ring(gs);
}

void writes_park(struct group_write *parked)
{
    struct group_write *next;

    for (struct group_write *w = parked; w != NULL; w = next) {
        struct group_write_state *st = w->state;

        next = w->next;
        purgatory_init(replicas_produce_purgatory(st->gs->o.replicas), &st->delayed);
        purgatory_park(&st->delayed, st->gs->o.cfg->offsets_commit_timeout_ms);
    }
}

void writes_ended(struct groups *gs)
{
    struct qnode *next;

    for (struct qnode *q = mpsc_take(&gs->ended); q != NULL; q = next) {
        struct group_write_state *st = (void *)((char *)q - offsetof(struct group_write_state, link));
        struct group_session s;
        bool done;
        int16_t kerr = wait_state(st, &done);

        next = q->next;
        if (!done)
            kerr = st->why == DELAYED_STOPPED ? KERR_NOT_LEADER_OR_FOLLOWER : KERR_REQUEST_TIMED_OUT;
        session_begin(gs, st->g, &s);
        st->w->done(st->w, st->g, kerr, st->base);
        groups_leave(&s);
        free(st);
        clock_done(gs);
    }
}

/* ---- what groups want written ------------------------------------------------------------------------------------ */

struct want_write {
    struct group_write w;               /* first */
    enum group_want    what;
    int32_t            generation;
};

static void want_written(struct group_write *w, struct group *g, int16_t kerr, int64_t base_offset)
{
    struct want_write *ww = (struct want_write *)w;

    (void)base_offset;
    group_written(g, ww->what, ww->generation, kerr, mono_ms());
    free(ww);
}

static int16_t write_want(struct group_session *s, enum group_want what, int32_t *generation)
{
    struct want_write *ww = calloc(1, sizeof *ww);
    struct group_record r;
    int16_t kerr = KERR_NONE;
    struct bytes value;
    struct arena a;
    int rc = OK;

    *generation = s->g->generation;
    arena_init(&a, SIZE_MAX);
    if (ww != NULL)
        rc = group_take_record(s->g, s->gs->versions.group, &a, &value, generation);
    if (ww == NULL || rc == ERR_NOMEM)
        kerr = KERR_UNKNOWN_SERVER_ERROR;
    else if (rc != OK || metadata_record(&a, s->g->id, value, &r) != OK)
        kerr = KERR_MESSAGE_TOO_LARGE;
    if (kerr == KERR_NONE) {
        ww->w.done = want_written;
        ww->what = what;
        ww->generation = *generation;
        kerr = groups_write(s, &r, 1, s->gs->o.cfg->offsets_commit_required_acks, &ww->w);
    }
    if (kerr != KERR_NONE)
        free(ww);
    arena_fini(&a);
    return kerr;
}

void writes_want(struct group_session *s)
{
    enum { WANTS_MAX = 8 };             /* what a write that fails brings about is written too, but not for ever */
    enum group_want what;

    for (int i = 0; i < WANTS_MAX && (what = group_want(s->g)) != GROUP_WANTS_NOTHING; i++) {
        int32_t generation;
        int16_t kerr = write_want(s, what, &generation);

        if (kerr != KERR_NONE) {
            static struct log_limit limit = LOG_LIMIT(10000, 20);
            int hidden;

            if (log_limit(&limit, &hidden))
                log_warn("group %.*s: generation %d cannot be written to %.*s-%d: %s", STR_ARG(s->g->id),
                         (int)generation, STR_ARG(groups_topic), (int)s->g->home->index, kerr_name(kerr));
            group_written(s->g, what, generation, kerr, mono_ms());
        }
    }
}
