/* storage/plog_list.c - opening a log: the names in its directory, and leftovers of what was interrupted. */
#include "storage/plog_load_impl.h"

#include "storage/fio.h"
#include "storage/killpoint.h"

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

static bool is_trash(const char *name)
{
    return ends_with(name, ".deleted") || ends_with(name, ".tmp");
}

static int remove_file(struct load *ld, const char *name)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", ld->l->place.dir, name);
    TRY(fio_unlink(ld->l->place.dirfd, path));
    KILL_POINT("list.removed");
    return OK;
}

/* ---- reading the directory ------------------------------------------------------------------------------------ */

static int add_name(struct load *ld, struct load_name name)
{
    if (ld->names_n == ld->names_cap) {
        size_t cap = ld->names_cap == 0 ? 16 : ld->names_cap * 2;
        struct load_name *v = realloc(ld->names, cap * sizeof *v);
        if (v == NULL)
            return ERR_NOMEM;
        ld->names = v;
        ld->names_cap = cap;
    }
    ld->names[ld->names_n++] = name;
    return OK;
}

static int one_name(struct load *ld, const char *name)
{
    static const char *const states[] = { [NAME_PLAIN] = "", [NAME_CLEANED] = ".cleaned", [NAME_SWAP] = ".swap" };
    struct load_name found;
    const char *more;

    if (is_trash(name)) {
        ld->trash = true;
        return OK;
    }
    if (!segment_name_parse(name, &found.base, &found.kind, &more))
        return OK;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (strcmp(more, states[i]) != 0)
            continue;
        found.state = (enum name_state)i;
        ld->leftovers |= found.state != NAME_PLAIN;
        return add_name(ld, found);
    }
    return OK;                          /* nobody's business */
}

static int remove_trash(struct load *ld, const char *name)
{
    return is_trash(name) ? remove_file(ld, name) : OK;
}

static int each_name(struct load *ld, int (*fn)(struct load *ld, const char *name))
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
    while (rc == OK && (rc = fio_next_entry(dir, &e)) == OK && e != NULL)
        rc = fn(ld, e->d_name);
    (void)closedir(dir);
    return rc;
}

/* ---- what is there ------------------------------------------------------------------------------------------- */

static int collect(struct load *ld, enum segment_file kind, struct offsets_list *into)
{
    into->n = 0;
    for (size_t i = 0; i < ld->names_n; i++)
        if (ld->names[i].kind == kind)
            TRY(list_add(into, ld->names[i].base));
    if (into->n > 0)
        qsort(into->v, into->n, sizeof *into->v, rising);
    return OK;
}

/* Index files without a .log stand for nothing. */
static int remove_strays(struct load *ld)
{
    for (size_t i = 0; i < ld->names_n; i++) {
        const struct load_name *name = &ld->names[i];
        char path[SEGMENT_PATH_MAX];
        if (name->kind == SEGMENT_LOG || name->kind == SEGMENT_SNAPSHOT || list_has(&ld->logs, name->base))
            continue;
        segment_path(&ld->l->place, name->base, name->kind, "", path);
        TRY(fio_unlink(ld->l->place.dirfd, path));
        KILL_POINT("list.removed");
    }
    return OK;
}

int load_list(struct load *ld)
{
    ld->names_n = 0;
    ld->leftovers = ld->trash = false;
    TRY(each_name(ld, one_name));
    if (ld->leftovers) {
        TRY(load_settle_swaps(ld));
        ld->names_n = 0;
        TRY(each_name(ld, one_name));
    }
    /* Only now: while a replacement is being settled nothing that might be wanted goes. */
    if (ld->trash)
        TRY(each_name(ld, remove_trash));
    TRY(collect(ld, SEGMENT_LOG, &ld->logs));
    TRY(collect(ld, SEGMENT_SNAPSHOT, &ld->snapshots));
    return remove_strays(ld);
}
