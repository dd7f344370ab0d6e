/* storage/plog_state.c - opening a log: producers, from their snapshots and from batches. */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int load_take_producer(struct load *ld, struct segment *s, const struct log_scan *sc)
{
    uint8_t *p = NULL;
    int rc = OK;

    if (sc->head.producer_id < 0 || sc->head.base_offset < ld->snapshot)
        return OK;
    if (batch_is_control(&sc->head))
        TRY(log_scan_batch(sc, &p));
    rc = plog_txn_replay(ld->l, s, &sc->head, p);
    free(p);
    return rc;
}

static int load_snapshot(struct load *ld, int64_t offset)
{
    struct plog *l = ld->l;
    char path[SEGMENT_PATH_MAX];
    int rc = plog_read_snapshot(l, offset, &l->producers);

    if (rc == ERR_CORRUPT || rc == ERR_VERSION) {
        segment_path(&l->place, offset, SEGMENT_SNAPSHOT, "", path);
        log_warn("%s/%s: %s; removed, an older one is used", l->dir->path, path, err_text(rc));
        TRY(fio_unlink(l->place.dirfd, path));
        return ERR_CORRUPT;
    }
    TRY(rc);
    load_expire(ld);
    return OK;
}

void load_expire(struct load *ld)
{
    producers_expire(&ld->l->producers, ld->l->dir->opts.now_ms(), ld->l->dir->producer_expiry_ms);
}

int load_producers(struct load *ld, int64_t to)
{
    ld->snapshot = ld->start;
    if (ld->snapshots.n == 0 && ld->recovery_point == INT64_MAX)
        ld->snapshot = INT64_MAX;       /* nobody has taken one: there were no producers to remember */
    for (size_t i = ld->snapshots.n; i-- > 0;) {
        int64_t offset = ld->snapshots.v[i];
        int rc;
        if (offset > to || offset <= ld->start)
            continue;
        rc = load_snapshot(ld, offset);
        if (rc == ERR_CORRUPT)
            continue;
        if (rc == OK)
            ld->snapshot = offset;
        return rc;
    }
    return OK;
}

/* ---- replay: trusted batches in [from, to) --------------------------------------------------------------------- */

static int replay_segment(struct load *ld, struct segment *s, uint32_t size, int64_t from, int64_t to)
{
    struct batch_head h;
    struct file_ref *f;
    struct log_scan sc;
    uint32_t pos = 0;
    int rc = OK;

    if (from > s->base)
        rc = segment_locate(s, from, size, &pos, &h);
    if (rc == ERR_RANGE)
        return OK;
    TRY(rc);
    TRY(segment_file(s, &f));
    log_scan_init(&sc, f->fd, pos, size, ld->buf, pos > 0 ? NEAR_BUFFER : SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc) && sc.head.last_offset < to)
        rc = load_take_producer(ld, NULL, &sc);
    ld->out->read_bytes += sc.read_bytes;
    file_unref(&f);
    if (rc == OK && !load_is_damage(sc.rc))  /* damage is found again, and told, by who reads it */
        rc = sc.rc;
    return rc;
}

int load_replay(struct load *ld, int64_t to)
{
    int64_t from = ld->snapshot;

    for (size_t i = 0; i < ld->l->n && from < to; i++) {
        struct segment *s = ld->l->segs[i];
        if (s->base >= to)
            break;
        if (i + 1 == ld->l->n || ld->l->segs[i + 1]->base > from)
            TRY(replay_segment(ld, s, s->size, from, to));
    }
    return OK;
}
