/* storage/open_files.c - the list of open `.log` files, in the order in which they were opened or spared. */
#include "storage/open_files.h"

#include "base/lock.h"
#include "storage/segment.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <utlist.h>

#define CLOSE_AT_ONCE 64                /* descriptors closed by one call at most */

struct open_files {
    size_t          max;
    struct lock     lock;               /* class openfiles */
    struct segment *list;               /* DL by open_prev, open_next */
    size_t          n;
};

size_t open_files_default(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
        return 512;
    return rl.rlim_cur / 2 < 1 << 20 ? (size_t)rl.rlim_cur / 2 : 1 << 20;
}

int open_files_new(struct open_files **out, size_t max)
{
    struct open_files *of = calloc(1, sizeof *of);

    if (of == NULL)
        return ERR_NOMEM;
    of->max = max > 0 ? max : 1;
    lock_init(&of->lock, LOCK_openfiles);
    *out = of;
    return OK;
}

void open_files_free(struct open_files **ofp)
{
    struct open_files *of = *ofp;

    *ofp = NULL;
    if (of == NULL)
        return;
    lock_fini(&of->lock);
    free(of);
}

/* The file that the segment gives up; NULL if it was used since the last look. */
static struct file_ref *take_from(struct segment *s)
{
    struct file_ref *f = NULL;

    lock_take(s->view);
    if (!s->log_used) {
        f = s->log;
        s->log = NULL;
    }
    s->log_used = false;
    lock_drop(s->view);
    return f;
}

/* Takes descriptors from segments until no more than `keep` have one, but not from `spare`. Under the lock. */
static size_t collect(struct open_files *of, size_t keep, const struct segment *spare,
                      struct file_ref *out[CLOSE_AT_ONCE])
{
    size_t n = 0;

    for (size_t looks = 2 * of->n; looks > 0 && of->n > keep && n < CLOSE_AT_ONCE; looks--) {
        struct segment *s = of->list;
        struct file_ref *f = s != spare ? take_from(s) : NULL;
        DL_DELETE2(of->list, s, open_prev, open_next);
        if (f == NULL) {
            DL_APPEND2(of->list, s, open_prev, open_next);
            continue;
        }
        s->listed = false;
        of->n--;
        out[n++] = f;
    }
    return n;
}

static void close_all(struct file_ref **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        file_unref(&v[i]);
}

void open_files_add(struct open_files *of, struct segment *s)
{
    struct file_ref *gone[CLOSE_AT_ONCE];
    size_t n;

    if (of == NULL)
        return;
    lock_take(&of->lock);
    if (!s->listed) {
        DL_APPEND2(of->list, s, open_prev, open_next);
        s->listed = true;
        of->n++;
    }
    n = collect(of, of->max, s, gone);
    lock_drop(&of->lock);
    close_all(gone, n);
}

void open_files_remove(struct open_files *of, struct segment *s)
{
    if (of == NULL)
        return;
    lock_take(&of->lock);
    if (s->listed) {
        DL_DELETE2(of->list, s, open_prev, open_next);
        s->listed = false;
        of->n--;
    }
    lock_drop(&of->lock);
}

void open_files_shrink(struct open_files *of, size_t n)
{
    struct file_ref *gone[CLOSE_AT_ONCE];

    if (of == NULL)
        return;
    lock_take(&of->lock);
    n = collect(of, of->n > n ? of->n - n : 0, NULL, gone);
    lock_drop(&of->lock);
    close_all(gone, n);
}

size_t open_files_count(struct open_files *of)
{
    size_t n;

    lock_take(&of->lock);
    n = of->n;
    lock_drop(&of->lock);
    return n;
}
