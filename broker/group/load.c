/* broker/group/load.c - reads a partition of __consumer_offsets from its start to its end, and makes its groups of it.
 *
 * Nobody sees the groups before the end: they are gathered in a table of the loader's own, without locks, and put into
 * the map when all is read. Of a group's own records only the last one counts, so that is kept as bytes and taken up at
 * the end; offsets are put as they come, later ones over earlier ones.
 *
 * What cannot be read is passed over: a record, the rest of a batch whose records break off; where there is no sound
 * batch, the next offset is searched for at which there is one. Each step goes on to a higher offset or is the last, so
 * a load always ends.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/groups_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/group/offsets.h"
#include "broker/replica/partition.h"
#include "config/config.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/kerr.h"
#include "proto/records/records.h"
#include "storage/fio.h"

#include <stdio.h>
#include <stdlib.h>

static const char unsound[] = "there is no sound batch of records";

enum { LINES_MAX = 10 };                /* of what was passed over, for one load; the rest is only counted */

/* A group that is being gathered. */
struct load_group {
    struct group  *g;                   /* reference */
    uint8_t       *meta;                /* value of its last record; NULL: none, or a tombstone */
    size_t         meta_len;
    UT_hash_handle hh;                  /* by g->id */
};

/* Which groups have offsets of a producer whose marker has not come yet. */
struct load_txn {
    int64_t             producer_id;
    struct load_group **v;
    size_t              n, cap;
    UT_hash_handle      hh;
};

struct load {
    struct groups          *gs;
    struct group_partition *part;
    const char             *name;       /* of the partition */
    struct load_group      *groups;
    struct load_group      *last;       /* of the record before: most records of a group lie together */
    struct load_txn        *txns;
    struct arena            scratch;
    uint8_t                *buf;
    size_t                  cap;
    int64_t                 pos;        /* all below has been read */
    size_t                  records, skipped;
    int                     rc;         /* ERR_NOMEM ends it */
    bool                    again;      /* the log cannot be read now: what was gathered is dropped */
};

/* ---- what is passed over ----------------------------------------------------------------------------------------- */

static void skip(struct load *l, int64_t offset, const char *why)
{
    if (l->skipped++ < LINES_MAX)
        log_warn("%s: offset %lld passed over: %s", l->name, (long long)offset, why);
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static struct load_group *group_of(struct load *l, struct str id, bool make)
{
    struct load_group *lg = l->last;

    if (lg != NULL && str_eq(lg->g->id, id))
        return lg;
    HASH_FIND(hh, l->groups, id.p, id.len, lg);
    if (lg == NULL && make) {
        lg = calloc(1, sizeof *lg);
        if (lg == NULL || group_make(&lg->g, l->part, id) != OK) {
            free(lg);
            l->rc = ERR_NOMEM;
            return NULL;
        }
        HASH_ADD_KEYPTR(hh, l->groups, lg->g->id.p, lg->g->id.len, lg);
        if (lg->hh.tbl == NULL) {
            group_unref(lg->g);
            free(lg);
            l->rc = ERR_NOMEM;
            return NULL;
        }
    }
    if (lg != NULL)
        l->last = lg;
    return lg;
}

static void txn_note(struct load *l, int64_t producer_id, struct load_group *lg)
{
    struct load_txn *t;

    HASH_FIND(hh, l->txns, &producer_id, sizeof producer_id, t);
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        if (t == NULL) {
            l->rc = ERR_NOMEM;
            return;
        }
        t->producer_id = producer_id;
        HASH_ADD(hh, l->txns, producer_id, sizeof producer_id, t);
        if (t->hh.tbl == NULL) {
            free(t);
            l->rc = ERR_NOMEM;
            return;
        }
    }
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i] == lg)
            return;
    if (t->n == t->cap) {
        size_t cap = t->cap > 0 ? t->cap * 2 : 4;
        struct load_group **v = realloc(t->v, cap * sizeof(struct load_group *));

        if (v == NULL) {
            l->rc = ERR_NOMEM;
            return;
        }
        t->v = v;
        t->cap = cap;
    }
    t->v[t->n++] = lg;
}

static void txn_free(struct load *l, struct load_txn *t)
{
    HASH_DEL(l->txns, t);
    free(t->v);
    free(t);
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static void take_offset(struct load *l, const struct batch_head *h, const struct record *r, const struct record_key *k)
{
    struct committed c = { .log_offset = h->base_offset >= 0 ? h->base_offset : h->last_offset };
    struct load_group *lg = group_of(l, k->group, r->value.p != NULL);
    int rc = OK;

    if (lg == NULL)
        return;
    if (r->value.p == NULL) {
        if (!batch_is_txn(h))           /* nobody deletes within a transaction */
            group_offsets_remove(lg->g->offsets, k->topic, k->partition);
        return;
    }
    rc = offset_value_read(r->value, &l->scratch, &c);
    if (rc == OK && batch_is_txn(h)) {
        rc = group_offsets_pend(lg->g->offsets, h->producer_id, k->topic, k->partition, &c);
        if (rc == OK)
            txn_note(l, h->producer_id, lg);
    } else if (rc == OK) {
        rc = group_offsets_put(lg->g->offsets, k->topic, k->partition, &c);
    }
    if (rc == ERR_NOMEM)
        l->rc = rc;
    else if (rc != OK)
        skip(l, r->offset, rc == ERR_UNSUPPORTED ? "a committed offset of an unknown version"
                                                 : "no committed offset can be read from its value");
}

static void take_group(struct load *l, const struct record *r, const struct record_key *k)
{
    struct load_group *lg = group_of(l, k->group, r->value.p != NULL);
    struct group_metadata_value v;
    uint8_t *copy;
    int rc;

    if (lg == NULL)
        return;
    if (r->value.p == NULL) {
        free(lg->meta);
        lg->meta = NULL;
        return;
    }
    rc = metadata_value_read(r->value, &l->scratch, &v);
    if (rc != OK && rc != ERR_NOMEM) {
        skip(l, r->offset, rc == ERR_UNSUPPORTED ? "a group of an unknown version"
                                                 : "no group can be read from its value");
        return;
    }
    copy = rc == OK ? malloc(r->value.len) : NULL;
    if (copy == NULL) {
        l->rc = ERR_NOMEM;
        return;
    }
    memcpy(copy, r->value.p, r->value.len);
    free(lg->meta);
    lg->meta = copy;
    lg->meta_len = r->value.len;
}

static void take_record(struct load *l, const struct batch_head *h, const struct record *r)
{
    struct record_key k;

    l->records++;
    if (r->key.p == NULL) {
        skip(l, r->offset, "it has no key");
    } else if (record_key_read(r->key, &k) != OK) {
        skip(l, r->offset, "its key is cut short");
    } else if (k.kind == RECORD_UNKNOWN) {
        char why[64];

        snprintf(why, sizeof why, "its key is of version %d, of a later broker", (int)k.version);
        skip(l, r->offset, why);
    } else if (k.kind == RECORD_OFFSET) {
        take_offset(l, h, r, &k);
    } else {
        take_group(l, r, &k);
    }
}

/* The end of a producer's transaction. */
static void take_marker(struct load *l, const struct batch_head *h, const uint8_t *p)
{
    struct control_record c;
    struct load_txn *t;
    int rc = control_batch_read(h, p, &c);

    if (rc == ERR_NOENT)
        return;
    if (rc != OK || (c.type != CONTROL_COMMIT && c.type != CONTROL_ABORT)) {
        skip(l, h->base_offset, "a control record that is no end of a transaction");
        return;
    }
    HASH_FIND(hh, l->txns, &h->producer_id, sizeof h->producer_id, t);
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        group_offsets_complete(t->v[i]->g->offsets, h->producer_id, c.type == CONTROL_COMMIT);
    txn_free(l, t);
}

static void take_batch(struct load *l, const struct batch_head *h, const uint8_t *p)
{
    struct record_iter it;
    struct record r;

    if (batch_is_control(h)) {
        take_marker(l, h, p);
        return;
    }
    record_iter_init(&it, h, p, INT32_MAX);
    while (l->rc == OK && record_iter_next(&it, &r)) {
        if (r.offset >= l->pos)
            take_record(l, h, &r);
        arena_reset(&l->scratch);
    }
    if (it.rc != OK)
        skip(l, h->last_offset, "the rest of its batch cannot be read");
    record_iter_fini(&it);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool wanted(const struct load *l)
{
    return l->rc == OK && !l->again && !atomic_load_explicit(&l->gs->stopping, memory_order_relaxed) &&
           atomic_load_explicit(&l->part->state, memory_order_relaxed) == PART_LOADING;
}

/* Bytes from `offset` on, into buf; of the first batch all. ERR_NOENT: there are none. */
static int read_at(struct load *l, int64_t offset, int64_t max_bytes, struct bytes *out)
{
    struct partition_read io = { .offset = offset, .leader_epoch = -1, .last_epoch = -1, .isolation = ISOLATION_LEO,
                                 .leader_only = true, .at_least_one = true, .max_bytes = max_bytes };
    int16_t kerr = partition_read(l->part->log, &io);
    struct slice s = io.read.records;
    int rc = OK;

    *out = (struct bytes){ NULL, 0 };
    l->again |= kerr == KERR_KAFKA_STORAGE_ERROR;       /* no descriptors; of a lost directory we are told that it is */
    if (kerr != KERR_NONE)
        return kerr == KERR_NOT_LEADER_OR_FOLLOWER ? ERR_CLOSED : kerr == KERR_OFFSET_OUT_OF_RANGE ? ERR_RANGE
               : kerr == KERR_CORRUPT_MESSAGE ? ERR_CORRUPT : ERR_IO;
    if (slice_is_null(s) || s.file == NULL)
        rc = ERR_NOENT;
    if (rc == OK && s.len > l->cap) {
        uint8_t *p = realloc(l->buf, s.len);

        rc = p != NULL ? OK : ERR_NOMEM;
        if (p != NULL) {
            l->buf = p;
            l->cap = s.len;
        }
    }
    if (rc == OK)
        rc = fio_pread_all(s.file->fd, l->buf, s.len, (int64_t)s.pos);
    if (rc == OK)
        *out = (struct bytes){ l->buf, s.len };
    plog_read_done(&io.read);
    return rc;
}

/* A whole one, between the offsets where it must lie. Its own offset is outside its checksum. */
static bool sound(const struct batch_head *h, const uint8_t *p, int64_t from, int64_t leo)
{
    return h->last_offset >= from && h->last_offset < leo && batch_check(h, p) == OK;
}

static bool readable(struct load *l, int64_t offset, int64_t leo)
{
    struct bytes in;
    struct batch_iter it;

    if (read_at(l, offset, 1, &in) != OK)
        return false;
    batch_iter_init(&it, in);
    return batch_iter_next(&it) && sound(&it.head, it.p, offset, leo);
}

/* At pos there is no sound batch. The nearest offset above it where there is one, by steps that double and then halve;
 * -1: none is found. */
static int64_t search(struct load *l, int64_t leo)
{
    int64_t bad = l->pos, good = -1;

    for (int64_t step = 1; good < 0 && bad + step < leo; step *= 2) {
        if (readable(l, bad + step, leo))
            good = bad + step;
        else
            bad += step;
    }
    while (good >= 0 && good - bad > 1) {
        int64_t mid = bad + (good - bad) / 2;

        if (readable(l, mid, leo))
            good = mid;
        else
            bad = mid;
    }
    return good;
}

/* Takes up what is there at pos, and moves pos behind it. A batch that is not sound is passed over if one follows that
 * is; else ERR_CORRUPT. */
static int step(struct load *l, int64_t leo)
{
    struct batch_iter it;
    struct bytes in;
    bool bad = false;

    TRY(read_at(l, l->pos, l->gs->o.cfg->offsets_load_buffer_size, &in));
    batch_iter_init(&it, in);
    while (wanted(l) && batch_iter_next(&it)) {
        if (!sound(&it.head, it.p, l->pos, leo)) {
            bad = true;
            continue;
        }
        if (bad)
            skip(l, l->pos, unsound);
        bad = false;
        take_batch(l, &it.head, it.p);
        l->pos = it.head.last_offset + 1;
    }
    return bad ? ERR_CORRUPT : it.rc;
}

static void read_all(struct load *l)
{
    while (wanted(l)) {
        struct plog_offsets now = partition_offsets(l->part->log);
        int64_t before, next;
        int rc;

        if (l->pos < now.start)
            l->pos = now.start;
        before = l->pos;
        if (l->pos >= now.leo)
            return;
        rc = step(l, now.leo);
        if (l->pos > before)
            continue;
        if (l->again)
            return;
        if (rc == ERR_RANGE && partition_offsets(l->part->log).start > l->pos)
            continue;                   /* its beginning went away meanwhile */
        if (rc != OK && rc != ERR_CORRUPT && rc != ERR_NOENT) {
            if (rc != ERR_CLOSED)
                log_error("%s: loading ends at offset %lld of %lld: %s", l->name, (long long)l->pos,
                          (long long)now.leo, err_text(rc));
            return;
        }
        next = search(l, now.leo);
        if (l->again)
            return;
        if (rc != ERR_NOENT || next >= 0)       /* else all up to the end was compacted away */
            skip(l, l->pos, unsound);
        if (next < 0)
            return;
        l->pos = next;
    }
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Makes the group what its last record says. */
static void restore(struct load *l, struct load_group *lg)
{
    struct group_metadata_value v;
    int rc = metadata_value_read((struct bytes){ lg->meta, lg->meta_len }, &l->scratch, &v);

    if (rc == OK)
        rc = group_restore(lg->g, &v, mono_ms());
    if (rc != OK)
        log_error("%s: group %.*s: its members cannot be taken up: %s", l->name, STR_ARG(lg->g->id), err_text(rc));
    arena_reset(&l->scratch);
}

/* Puts it where requests find it, with its timer set. */
static bool publish(struct load *l, struct load_group *lg)
{
    struct group_session s;
    int rc = OK;

    if (lg->meta == NULL && group_offsets_none(lg->g->offsets))
        return false;
    atomic_fetch_add(&lg->g->refs, 1);
    session_begin(l->gs, lg->g, &s);
    if (lg->meta != NULL)
        restore(l, lg);
    lock_drop(&lg->g->lock);            /* the map comes before the group */
    rc = map_put(l->gs, lg->g, PART_LOADING);
    if (rc == OK) {
        lock_take(&lg->g->lock);
        groups_leave(&s);
        return true;
    }
    if (wanted(l))
        log_error("%s: group %.*s is not taken up: %s", l->name, STR_ARG(lg->g->id), rc == ERR_EXISTS
                  ? "it was loaded from another partition already" : err_text(rc));
    group_unref(lg->g);
    return false;
}

static void finish(struct load *l, int64_t began_ms, struct load_sum *sum)
{
    struct load_group *lg, *next_lg;
    struct load_txn *t, *next_t;
    size_t groups = 0, offsets = 0;

    HASH_ITER(hh, l->txns, t, next_t)
        txn_free(l, t);
    HASH_ITER(hh, l->groups, lg, next_lg) {
        size_t n = group_offsets_n(lg->g->offsets);

        HASH_DEL(l->groups, lg);
        if (wanted(l) && publish(l, lg)) {
            groups++;
            offsets += n;
        }
        group_unref(lg->g);
        free(lg->meta);
        free(lg);
    }
    if (l->rc != OK)
        log_error("%s: loading ended at offset %lld: %s; the groups of this partition are not what they were",
                  l->name, (long long)l->pos, err_text(l->rc));
    if (l->skipped > 0)
        log_warn("%s: %zu groups with %zu committed offsets loaded from %zu records in %lld ms; %zu places passed over",
                 l->name, groups, offsets, l->records, (long long)(mono_ms() - began_ms), l->skipped);
    else if (groups > 0)
        *sum = (struct load_sum){ 1, groups, offsets, l->records };
}

int load_partition(struct group_partition *part, struct load_sum *sum)
{
    static struct log_limit limit = LOG_LIMIT(60000, 2);
    struct load l = { .gs = part->gs, .part = part, .name = part->log->name };
    int64_t began_ms = mono_ms();
    bool again;
    int hidden;

    arena_init(&l.scratch, SIZE_MAX);
    read_all(&l);
    finish(&l, began_ms, sum);
    arena_fini(&l.scratch);
    free(l.buf);
    again = l.again;
    l.again = false;
    again &= wanted(&l);
    if (again && log_limit(&limit, &hidden))
        log_warn("%s: cannot be read at offset %lld to load its groups; it is tried again", l.name, (long long)l.pos);
    return again ? ERR_AGAIN : OK;
}
