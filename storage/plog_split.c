/* storage/plog_split.c - opening a log: a segment whose offsets reach too far from its base for an index is made into
 * several (KAFKA-6264: compaction by brokers before 1.1 left such).
 *
 * The parts are written as *.cleaned and become *.swap, the highest first; then the log is opened anew from the
 * names, and plog_swap.c puts them in the place of the long one. Dying anywhere in between costs nothing.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/segment_writer.h"
#include "storage/txn_index_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#define PARTS_MAX       1000
#define PART_BUFFER     ((size_t)16 << 10)
#define TXN_INDEX_BYTES ((size_t)1 << 30)

struct split {
    struct load           *ld;
    struct segment        *from;
    int                    dirfd;
    struct segment_writer *part;        /* PARTS_MAX */
    size_t                 n;
    uint8_t               *aborted;     /* entries of the old .txnindex */
    size_t                 aborted_n, aborted_at;
};

static int read_aborted(struct split *sp)
{
    char path[SEGMENT_PATH_MAX];
    size_t len;
    int rc;

    segment_path(sp->from->place, sp->from->base, SEGMENT_TXNINDEX, "", path);
    rc = fio_read_file(sp->from->place->dirfd, path, TXN_INDEX_BYTES, &sp->aborted, &len);
    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    sp->aborted_n = txn_index_valid(sp->aborted, len, sp->from->base);
    return OK;
}

/* A part that begins with this batch. The old formats do not always tell a batch's first offset. */
static int begin_part(struct split *sp, const struct batch_head *h)
{
    const struct plog *l = sp->ld->l;
    int64_t base = h->base_offset;

    if (base < 0)
        base = h->last_offset - INT32_MAX > sp->ld->expect ? h->last_offset - INT32_MAX : sp->ld->expect;
    if (sp->n == 0)
        base = sp->from->base;
    if (sp->n == PARTS_MAX)
        return ERR_LIMIT;
    return segment_writer_init(&sp->part[sp->n++], sp->dirfd, &l->place, sp->from->view, base,
                               l->opts.index_interval_bytes, PART_BUFFER);
}

static int take_batch(struct split *sp, const struct log_scan *sc)
{
    const struct batch_head *h = &sc->head;
    struct segment_writer *w;
    struct txn_index_entry e;
    uint8_t *p;
    int rc;

    if (sp->n == 0 || !segment_fits(sp->part[sp->n - 1].seg, h))
        TRY(begin_part(sp, h));
    w = &sp->part[sp->n - 1];
    if (!segment_fits(w->seg, h))
        return ERR_LIMIT;               /* the very first one */
    TRY(log_scan_batch(sc, &p));
    rc = segment_writer_batch(w, h, p);
    free(p);
    for (; rc == OK && sp->aborted_at < sp->aborted_n; sp->aborted_at++) {
        (void)txn_index_get(sp->aborted + sp->aborted_at * TXN_INDEX_ENTRY, &e);
        if (e.last_offset > h->last_offset)
            break;
        rc = segment_writer_aborted(w, &e);
    }
    sp->ld->expect = h->last_offset + 1;
    return rc;
}

static int write_parts(struct split *sp, int64_t *pos)
{
    struct load *ld = sp->ld;
    struct file_ref *f;
    struct log_scan sc;
    int64_t size, mtime;
    char path[SEGMENT_PATH_MAX];
    int rc = OK;

    segment_path(sp->from->place, sp->from->base, SEGMENT_LOG, "", path);
    TRY(fio_size(sp->from->place->dirfd, path, &size));
    TRY(segment_mtime_ms(sp->from, &mtime));
    TRY(segment_file(sp->from, &f));
    ld->expect = sp->from->base;
    log_scan_init(&sc, f->fd, 0, size, ld->buf, SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc))
        rc = sc.head.last_offset >= ld->expect ? take_batch(sp, &sc) : ERR_CORRUPT;
    ld->out->read_bytes += sc.read_bytes;
    *pos = sc.pos;
    if (rc == OK)
        rc = sc.rc;
    for (size_t i = 0; i < sp->n && rc == OK; i++)
        rc = segment_writer_finish(&sp->part[i], mtime);
    file_unref(&f);
    return rc;
}

/* From here on they are what counts. */
static int put_in_place(struct split *sp)
{
    TRY(fio_sync_dir(sp->dirfd));
    for (size_t i = sp->n; i-- > 0;)
        TRY(segment_writer_rename(&sp->part[i], SEGMENT_CLEANED, SEGMENT_SWAP));
    TRY(fio_sync_dir(sp->dirfd));
    for (size_t i = 0; i < sp->n; i++) {
        struct segment *s = segment_writer_take(&sp->part[i]);
        segment_unref(&s);
    }
    return OK;
}

static int refuse(const struct split *sp, int rc, int64_t pos)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(sp->from->place, sp->from->base, SEGMENT_LOG, "", path);
    log_error("%s/%s: its offsets reach too far from the first one for an index (KAFKA-6264), and it cannot be split "
              "at position %" PRId64 " (%s); nothing was changed, the partition stays offline: restore the file from "
              "a copy", sp->ld->l->dir->path, path, pos, err_text(rc));
    return ERR_CORRUPT;
}

int load_split(struct load *ld, struct segment *s)
{
    struct split sp = { .ld = ld, .from = s, .dirfd = -1 };
    const struct place *at = &ld->l->place;
    int64_t pos = 0;
    int rc;

    log_warn("%s: offsets in segment %" PRId64 " reach too far from its base for an index; it is split", ld->l->name,
             s->base);
    sp.part = calloc(PARTS_MAX, sizeof *sp.part);
    rc = sp.part != NULL ? fio_open(at->dirfd, at->dir, O_RDONLY | O_DIRECTORY, &sp.dirfd) : ERR_NOMEM;
    if (rc == OK)
        rc = read_aborted(&sp);
    if (rc == OK)
        rc = write_parts(&sp, &pos);
    if (load_is_damage(rc) || rc == ERR_LIMIT || rc == ERR_TOO_LARGE)
        rc = refuse(&sp, rc, pos);
    if (rc == OK)
        rc = put_in_place(&sp);
    for (size_t i = 0; i < sp.n; i++)
        segment_writer_fini(&sp.part[i]);
    fio_close(&sp.dirfd);
    free(sp.aborted);
    free(sp.part);
    return rc;
}
