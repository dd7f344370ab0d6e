/* storage/plog_swap.c - opening a log: a replacement of segments that was interrupted is finished, or undone.
 *
 * Whoever replaces segments (the cleaner, and the split of one that is too long) writes new ones under names that end
 * with .cleaned; makes them durable; renames them all to .swap, the highest first and of each the .log first; renames
 * the old ones to .deleted; and takes .swap off the new names. So whatever is found tells how far that had come:
 *
 *   a .cleaned is left        not all were renamed to .swap, no old one was touched: the .cleaned and every .swap from
 *                             the lowest .cleaned on go
 *   X.log.swap                old segments are in the midst of being put away: what begins in the range of offsets of
 *                             the .swap segments goes, then they get their names
 *   X.index.swap and no       only the names of the last ones were not yet all changed: that is done
 *   X.log.swap
 *
 * Steps are ordered such that dying in between and beginning again comes to the same end: nothing is removed before
 * all .swap files were found sound, and what says that there is work goes last. Snapshots stay: the state of producers
 * before an offset does not depend on which segments hold what is below.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"

#include <fcntl.h>
#include <inttypes.h>

static const char *const endings[] = { [NAME_PLAIN] = "", [NAME_CLEANED] = ".cleaned", [NAME_SWAP] = ".swap" };

static int remove_name(struct load *ld, const struct load_name *name)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(&ld->l->place, name->base, name->kind, endings[name->state], path);
    log_info("%s/%s: removed: %s", ld->l->dir->path, path,
             name->state == NAME_PLAIN ? "a cleaned segment takes its place" : "a cleaner had not finished it");
    TRY(fio_unlink(ld->l->place.dirfd, path));
    KILL_POINT("swap.removed");
    return OK;
}

static int sync_directory(struct load *ld)
{
    return fio_sync_path(ld->l->place.dirfd, ld->l->place.dir, true);
}

/* Those of `state` from `from` on, which are then no longer in the list. */
static int remove_names(struct load *ld, enum name_state state, int64_t from)
{
    size_t kept = 0;

    for (size_t i = 0; i < ld->names_n; i++) {
        struct load_name *name = &ld->names[i];
        if (name->state == state && name->base >= from)
            TRY(remove_name(ld, name));
        else
            ld->names[kept++] = *name;
    }
    ld->names_n = kept;
    return OK;
}

static int undo_unfinished(struct load *ld)
{
    int64_t lowest = INT64_MAX;

    for (size_t i = 0; i < ld->names_n; i++)
        if (ld->names[i].state == NAME_CLEANED && ld->names[i].base < lowest)
            lowest = ld->names[i].base;
    if (lowest == INT64_MAX)
        return OK;
    TRY(remove_names(ld, NAME_SWAP, lowest));
    TRY(sync_directory(ld));
    return remove_names(ld, NAME_CLEANED, 0);
}

/* Offset after the last batch of the segment "<base>.log.swap"; base if it has none. */
static int swap_end(struct load *ld, int64_t base, int64_t *end)
{
    char path[SEGMENT_PATH_MAX];
    struct log_scan sc;
    int64_t size;
    int fd, rc;

    *end = base;
    segment_path(&ld->l->place, base, SEGMENT_LOG, ".swap", path);
    TRY(fio_size(ld->l->place.dirfd, path, &size));
    TRY(fio_open(ld->l->place.dirfd, path, O_RDONLY, &fd));
    log_scan_init(&sc, fd, 0, size, ld->buf, SCAN_BUFFER);
    while (log_scan_next(&sc))
        if (sc.head.last_offset >= *end && sc.head.last_offset <= OFFSET_LIMIT)
            *end = sc.head.last_offset + 1;
    rc = sc.rc;
    fio_close(&fd);
    ld->out->read_bytes += sc.read_bytes;
    if (!load_is_damage(rc))
        return rc;
    log_error("%s/%s: damaged at position %" PRId64 ": the segment that was to take the place of older ones is not "
              "whole, and nothing was changed; if the older ones are still there, without .deleted behind their names, "
              "remove all .swap files, else restore this one from a copy", ld->l->dir->path, path, sc.pos);
    return ERR_CORRUPT;
}

struct range {
    int64_t low, end;                   /* of all .swap segments together */
};

static int swapped_range(struct load *ld, struct range *r)
{
    *r = (struct range){ INT64_MAX, -1 };
    for (size_t i = 0; i < ld->names_n; i++) {
        const struct load_name *name = &ld->names[i];
        int64_t end;
        if (name->state != NAME_SWAP || name->kind != SEGMENT_LOG)
            continue;
        TRY(swap_end(ld, name->base, &end));
        if (end == name->base)
            end++;                      /* an empty one still takes the place of the one that begins there */
        if (name->base < r->low)
            r->low = name->base;
        if (end > r->end)
            r->end = end;
    }
    return OK;
}

static int remove_replaced(struct load *ld, const struct range *r)
{
    for (size_t i = 0; i < ld->names_n; i++) {
        const struct load_name *name = &ld->names[i];
        if (name->state == NAME_PLAIN && name->kind != SEGMENT_SNAPSHOT && name->base >= r->low && name->base < r->end)
            TRY(remove_name(ld, name));
    }
    return OK;
}

/* The .log files first: while one has .swap behind its name, index files without it count as those of old segments. */
static int take_names(struct load *ld, bool logs)
{
    for (size_t i = 0; i < ld->names_n; i++) {
        const struct load_name *name = &ld->names[i];
        char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];
        if (name->state != NAME_SWAP || (name->kind == SEGMENT_LOG) != logs)
            continue;
        segment_path(&ld->l->place, name->base, name->kind, ".swap", from);
        segment_path(&ld->l->place, name->base, name->kind, "", to);
        TRY(fio_rename(ld->l->place.dirfd, from, to));
        log_info("%s/%s: takes its name after an interrupted cleaning", ld->l->dir->path, to);
        KILL_POINT("swap.renamed");
    }
    return OK;
}

int load_settle_swaps(struct load *ld)
{
    struct range r;

    TRY(undo_unfinished(ld));
    TRY(swapped_range(ld, &r));
    TRY(remove_replaced(ld, &r));
    TRY(take_names(ld, true));
    TRY(take_names(ld, false));
    return sync_directory(ld);
}
