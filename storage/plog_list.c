/* storage/plog_list.c - opening a log: the names in its directory, and leftovers of what was interrupted. */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int list_add(struct offsets_list *o, int64_t offset)
{
    if (o->n == o->cap) {
        size_t cap = o->cap == 0 ? 8 : o->cap * 2;
        int64_t *v = realloc(o->v, cap * sizeof *v);
        if (v == NULL)
            return ERR_NOMEM;
        o->v = v;
        o->cap = cap;
    }
    o->v[o->n++] = offset;
    return OK;
}

static int rising(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static bool list_has(const struct offsets_list *o, int64_t offset)
{
    return o->n > 0 && bsearch(&offset, o->v, o->n, sizeof *o->v, rising) != NULL;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n >= e && strcmp(name + n - e, end) == 0;
}

/* "<20 digits>.<suffix>" exactly. */
static bool numbered(const char *name, const char *suffix, int64_t *offset)
{
    int64_t v = 0;

    for (int i = 0; i < 20; i++) {
        int d = name[i] - '0';
        if (d < 0 || d > 9 || v > (INT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *offset = v;
    return name[20] == '.' && strcmp(name + 21, suffix) == 0;
}

static int remove_file(struct load *ld, const char *name)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", ld->l->place.dir, name);
    return fio_unlink(ld->l->place.dirfd, path);
}

static int one_name(struct load *ld, const char *name)
{
    int64_t offset;

    if (ends_with(name, ".deleted") || ends_with(name, ".tmp"))
        return remove_file(ld, name);
    if (ends_with(name, ".swap") || ends_with(name, ".cleaned")) {
        log_error("%s/%s/%s: left behind by a log cleaner that was interrupted; start and stop the broker that ran it "
                  "once more, so that it finishes", ld->l->dir->path, ld->l->name, name);
        return ERR_UNSUPPORTED;
    }
    if (numbered(name, "log", &offset))
        return list_add(&ld->logs, offset);
    return numbered(name, "snapshot", &offset) ? list_add(&ld->snapshots, offset) : OK;
}

static int remove_strays(struct load *ld, DIR *dir)
{
    static const char *const kinds[] = { "index", "timeindex", "txnindex" };
    struct dirent *e;
    int64_t offset;

    rewinddir(dir);
    while ((e = readdir(dir)) != NULL)
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (numbered(e->d_name, kinds[i], &offset) && !list_has(&ld->logs, offset))
                TRY(remove_file(ld, e->d_name));
    return OK;
}

int load_list(struct load *ld)
{
    struct dirent *e;
    DIR *dir;
    int fd, rc = OK;

    TRY(fio_open(ld->l->place.dirfd, ld->l->place.dir, O_RDONLY | O_DIRECTORY, &fd));
    dir = fdopendir(fd);
    if (dir == NULL) {
        fio_close(&fd);
        return ERR_NOMEM;
    }
    while (rc == OK && (e = readdir(dir)) != NULL)
        rc = one_name(ld, e->d_name);
    if (ld->logs.n > 0)
        qsort(ld->logs.v, ld->logs.n, sizeof *ld->logs.v, rising);
    if (ld->snapshots.n > 0)
        qsort(ld->snapshots.v, ld->snapshots.n, sizeof *ld->snapshots.v, rising);
    if (rc == OK)
        rc = remove_strays(ld, dir);
    (void)closedir(dir);
    return rc;
}
