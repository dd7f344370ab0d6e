/* tools/zookeeper_shell/commands.c - the commands that read and write the tree, with ZooKeeper 3.8's output. */
#include "tools/zookeeper_shell/shell.h"

#include "base/clock.h"
#include "tools/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DATA_MAX (64 * 1024 * 1024)
#define PATH_ROOM 4096

/* ---- printing ------------------------------------------------------------------------------------------- */

static void print_time(const char *name, int64_t ms)
{
    time_t t = (time_t)(ms / 1000);
    char text[64];
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL || strftime(text, sizeof text, "%a %b %d %H:%M:%S %Z %Y", &tm) == 0)
        snprintf(text, sizeof text, "%" PRId64, ms);
    printf("%s = %s\n", name, text);
}

static void print_stat(const struct Stat *s)
{
    printf("cZxid = 0x%" PRIx64 "\n", (uint64_t)s->czxid);
    print_time("ctime", s->ctime);
    printf("mZxid = 0x%" PRIx64 "\n", (uint64_t)s->mzxid);
    print_time("mtime", s->mtime);
    printf("pZxid = 0x%" PRIx64 "\ncversion = %d\ndataVersion = %d\naclVersion = %d\nephemeralOwner = 0x%" PRIx64 "\n"
           "dataLength = %d\nnumChildren = %d\n", (uint64_t)s->pzxid, s->cversion, s->version, s->aversion,
           (uint64_t)s->ephemeralOwner, s->dataLength, s->numChildren);
}

static int by_name(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static void sort(struct String_vector *v)
{
    if (v->count > 1)
        qsort(v->data, (size_t)v->count, sizeof *v->data, by_name);
}

static int version_of(const struct shell_call *c, int32_t *version)
{
    int64_t v = -1;
    int status = 0;

    if (c->values['v'] != NULL && parse_i64(c->values['v'], INT32_MIN, INT32_MAX, &v) != OK)
        status = shell_fail("For input string: \"%s\"", c->values['v']);
    *version = (int32_t)v;
    return status;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static int run_get(struct shell *sh, const struct shell_call *c)
{
    char *data = malloc(DATA_MAX);
    int len = DATA_MAX, status = data == NULL;
    struct Stat stat;

    if (data != NULL)
        status = shell_answer(zoo_get(sh->zh, c->args[0], c->flags['w'], data, &len, &stat), c->args[0]);
    if (status == 0) {
        if (len < 0)
            fputs("null", stdout);
        else
            fwrite(data, 1, (size_t)len, stdout);
        putchar('\n');
        if (c->flags['s'])
            print_stat(&stat);
    }
    free(data);
    return status;
}

static int run_stat(struct shell *sh, const struct shell_call *c)
{
    struct Stat stat;

    if (shell_answer(zoo_exists(sh->zh, c->args[0], c->flags['w'], &stat), c->args[0]) != 0)
        return 1;
    print_stat(&stat);
    return 0;
}

typedef int visit_fn(struct shell *sh, const char *path, void *arg);

/* The children of a node, then what is below each. What is gone meanwhile is passed over. */
static int visit_below(struct shell *sh, const char *path, int watch, visit_fn *fn, void *arg)
{
    const char *slash = path[1] == '\0' ? "" : path;
    struct String_vector names;
    char child[PATH_ROOM];
    int zrc = zoo_get_children(sh->zh, path, watch, &names), status = 0;

    if (zrc == ZNONODE)
        return 0;
    if (shell_answer(zrc, path) != 0)
        return 1;
    sort(&names);
    for (int32_t i = 0; i < names.count && status == 0; i++)
        if ((size_t)snprintf(child, sizeof child, "%s/%s", slash, names.data[i]) < sizeof child)
            status = fn(sh, child, arg);
    for (int32_t i = 0; i < names.count && status == 0; i++)
        if ((size_t)snprintf(child, sizeof child, "%s/%s", slash, names.data[i]) < sizeof child)
            status = visit_below(sh, child, watch, fn, arg);
    deallocate_String_vector(&names);
    return status;
}

static int print_path(struct shell *sh, const char *path, void *arg)
{
    (void)sh;
    (void)arg;
    puts(path);
    return 0;
}

static int run_ls(struct shell *sh, const struct shell_call *c)
{
    struct String_vector names;
    struct Stat stat;

    if (c->flags['R']) {
        if (shell_answer(zoo_exists(sh->zh, c->args[0], c->flags['w'], &stat), c->args[0]) != 0)
            return 1;
        puts(c->args[0]);
        return visit_below(sh, c->args[0], c->flags['w'], print_path, NULL);
    }
    if (shell_answer(zoo_get_children2(sh->zh, c->args[0], c->flags['w'], &names, &stat), c->args[0]) != 0)
        return 1;
    sort(&names);
    putchar('[');
    for (int32_t i = 0; i < names.count; i++)
        printf("%s%s", i > 0 ? ", " : "", names.data[i]);
    puts("]");
    deallocate_String_vector(&names);
    if (c->flags['s'])
        print_stat(&stat);
    return 0;
}

static int count_one(struct shell *sh, const char *path, void *arg)
{
    (void)sh;
    (void)path;
    ++*(size_t *)arg;
    return 0;
}

static int run_count(struct shell *sh, const struct shell_call *c)
{
    struct Stat stat;
    size_t n = 0;

    if (shell_answer(zoo_exists(sh->zh, c->args[0], 0, &stat), c->args[0]) != 0 ||
        visit_below(sh, c->args[0], 0, count_one, &n) != 0)
        return 1;
    printf("%zu\n", n);
    return 0;
}

struct own {
    size_t n;
};

static int print_own(struct shell *sh, const char *path, void *arg)
{
    struct own *own = arg;
    struct Stat stat;

    if (zoo_exists(sh->zh, path, 0, &stat) == ZOK && stat.ephemeralOwner == zoo_client_id(sh->zh)->client_id)
        printf("%s%s", own->n++ > 0 ? ", " : "", path);
    return 0;
}

static int run_ephemerals(struct shell *sh, const struct shell_call *c)
{
    struct own own = { 0 };
    int status;

    if (c->args_n > 0 && shell_check_path(c->args[0]) != 0)
        return 1;
    putchar('[');
    status = visit_below(sh, c->args_n > 0 ? c->args[0] : "/", 0, print_own, &own);
    puts("]");
    return status;
}

/* ---- access lists --------------------------------------------------------------------------------------- */

static const struct { char letter; const int *bit; } perms[] = {
    { 'c', &ZOO_PERM_CREATE }, { 'd', &ZOO_PERM_DELETE }, { 'r', &ZOO_PERM_READ }, { 'w', &ZOO_PERM_WRITE },
    { 'a', &ZOO_PERM_ADMIN },
};
#define PERMS_N (sizeof perms / sizeof perms[0])

static int run_get_acl(struct shell *sh, const struct shell_call *c)
{
    struct ACL_vector acl;
    struct Stat stat;

    if (shell_answer(zoo_get_acl(sh->zh, c->args[0], &acl, &stat), c->args[0]) != 0)
        return 1;
    for (int32_t i = 0; i < acl.count; i++) {
        printf("'%s,'%s\n: ", acl.data[i].id.scheme, acl.data[i].id.id);
        for (size_t k = 0; k < PERMS_N; k++)
            if (acl.data[i].perms & *perms[k].bit)
                putchar(perms[k].letter);
        putchar('\n');
    }
    if (c->flags['s'])
        print_stat(&stat);
    deallocate_ACL_vector(&acl);
    return 0;
}

#define ACL_MAX 64

/* The rows point into text, which is cut up. */
struct acl_list {
    char             *text;
    struct ACL        rows[ACL_MAX];
    struct ACL_vector v;
};

static void acl_parse(struct acl_list *l, const char *text)
{
    char *save = NULL;

    l->text = strdup(text);
    l->v = (struct ACL_vector){ .count = 0, .data = l->rows };
    for (char *a = l->text != NULL ? strtok_r(l->text, ",", &save) : NULL; a != NULL && l->v.count < ACL_MAX;
         a = strtok_r(NULL, ",", &save)) {
        char *first = strchr(a, ':'), *last = strrchr(a, ':');
        struct ACL *row = &l->rows[l->v.count];

        if (first == NULL || first == last) {
            fprintf(stderr, "%s does not have the form scheme:id:perm\n", a);
            continue;
        }
        *first = *last = '\0';
        *row = (struct ACL){ .id = { a, first + 1 } };
        for (const char *p = last + 1; *p != '\0'; p++) {
            size_t k = 0;

            while (k < PERMS_N && perms[k].letter != *p)
                k++;
            if (k < PERMS_N)
                row->perms |= *perms[k].bit;
            else
                fprintf(stderr, "Unknown perm type: %c\n", *p);
        }
        l->v.count++;
    }
}

struct acl_set {
    struct acl_list list;
    int32_t         version;
};

static int set_one_acl(struct shell *sh, const char *path, void *arg)
{
    struct acl_set *set = arg;

    return shell_answer(zoo_set_acl(sh->zh, path, set->version, &set->list.v), path);
}

static int run_set_acl(struct shell *sh, const struct shell_call *c)
{
    struct acl_set set;
    struct Stat stat;
    int status = version_of(c, &set.version);

    if (status != 0)
        return status;
    acl_parse(&set.list, c->args[1]);
    status = set_one_acl(sh, c->args[0], &set);
    if (status == 0 && c->flags['R'])
        status = visit_below(sh, c->args[0], 0, set_one_acl, &set);
    if (status == 0 && c->flags['s']) {
        status = shell_answer(zoo_exists(sh->zh, c->args[0], 0, &stat), c->args[0]);
        if (status == 0)
            print_stat(&stat);
    }
    free(set.list.text);
    return status;
}

static void authenticated(int zrc, const void *arg)
{
    (void)arg;
    if (zrc != ZOK)
        fprintf(stderr, "Authentication failed: %s\n", zerror(zrc));
}

static int run_addauth(struct shell *sh, const struct shell_call *c)
{
    const char *cert = c->args_n > 1 ? c->args[1] : "";

    return shell_answer(zoo_add_auth(sh->zh, c->args[0], cert, (int)strlen(cert), authenticated, NULL), c->args[0]);
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static int create_mode(const struct shell_call *c, int64_t *ttl, int *mode)
{
    bool e = c->flags['e'], s = c->flags['s'], k = c->flags['c'], t = c->values['t'] != NULL;

    if (k && (e || s))
        return shell_fail("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.");
    if (t && parse_i64(c->values['t'], INT64_MIN, INT64_MAX, ttl) != OK)
        return shell_fail("-t argument must be a long value");
    if (t && e)
        return shell_fail("TTLs cannot be used with Ephemeral znodes");
    if (t && k)
        return shell_fail("TTLs cannot be used with Container znodes");
    *mode = e && s ? ZOO_EPHEMERAL_SEQUENTIAL : e ? ZOO_EPHEMERAL : k ? ZOO_CONTAINER
          : s ? (t ? ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL : ZOO_PERSISTENT_SEQUENTIAL)
          : t ? ZOO_PERSISTENT_WITH_TTL : ZOO_PERSISTENT;
    return 0;
}

static int run_create(struct shell *sh, const struct shell_call *c)
{
    const char *data = c->args_n > 1 ? c->args[1] : NULL;
    int len = data != NULL ? (int)strlen(data) : -1, mode = 0, status;
    struct acl_list list = { .text = NULL, .v = ZOO_OPEN_ACL_UNSAFE };
    char made[PATH_ROOM];
    int64_t ttl = -1;

    status = create_mode(c, &ttl, &mode);
    if (status != 0)
        return status;
    if (c->args_n > 2)
        acl_parse(&list, c->args[2]);
    status = shell_answer(zoo_create_ttl(sh->zh, c->args[0], data, len, &list.v, mode, ttl, made, sizeof made),
                          c->args[0]);
    if (status == 0)
        fprintf(stderr, "Created %s\n", made);
    free(list.text);
    return status;
}

static int run_set(struct shell *sh, const struct shell_call *c)
{
    int len = (int)strlen(c->args[1]);
    struct Stat stat;
    int32_t version;

    if (version_of(c, &version) != 0 ||
        shell_answer(zoo_set2(sh->zh, c->args[0], c->args[1], len, version, &stat), c->args[0]) != 0)
        return 1;
    if (c->flags['s'])
        print_stat(&stat);
    return 0;
}

static int run_delete(struct shell *sh, const struct shell_call *c)
{
    int32_t version;

    return version_of(c, &version) != 0 || shell_answer(zoo_delete(sh->zh, c->args[0], version), c->args[0]) != 0;
}

/* From below. What cannot be deleted is left, and the rest goes all the same. */
static void delete_tree(struct shell *sh, const char *path, bool *failed)
{
    const char *slash = path[1] == '\0' ? "" : path;
    struct String_vector names;
    char child[PATH_ROOM];
    int zrc = zoo_get_children(sh->zh, path, 0, &names);

    for (int32_t i = 0; zrc == ZOK && i < names.count; i++)
        if ((size_t)snprintf(child, sizeof child, "%s/%s", slash, names.data[i]) < sizeof child)
            delete_tree(sh, child, failed);
    if (zrc == ZOK) {
        deallocate_String_vector(&names);
        zrc = zoo_delete(sh->zh, path, -1);
    }
    *failed |= zrc != ZOK && zrc != ZNONODE;
}

static int run_deleteall(struct shell *sh, const struct shell_call *c)
{
    struct Stat stat;
    bool failed = false;

    if (shell_answer(zoo_exists(sh->zh, c->args[0], 0, &stat), c->args[0]) != 0)
        return 1;
    delete_tree(sh, c->args[0], &failed);
    if (failed)
        fputs("Failed to delete some node(s) in the subtree!\n", stderr);
    return 0;
}

struct waiting {
    struct lock lock;
    /* under lock */
    struct cond cond;
    bool        done;
    int         zrc;
};

static void synced(int zrc, const char *path, const void *arg)
{
    struct waiting *w = (struct waiting *)(uintptr_t)arg;

    (void)path;
    lock_take(&w->lock);
    w->zrc = zrc;
    w->done = true;
    cond_signal(&w->cond);
    lock_drop(&w->lock);
}

int shell_sync(struct shell *sh, const char *path)
{
    struct waiting w = { .done = false };
    int zrc;

    lock_init(&w.lock, LOCK_store);
    cond_init(&w.cond);
    zrc = zoo_async(sh->zh, path, synced, &w);
    lock_take(&w.lock);
    while (zrc == ZOK && !w.done)       /* the library answers, at the latest when the connection is lost */
        cond_wait(&w.cond, &w.lock);
    lock_drop(&w.lock);
    if (zrc == ZOK)
        zrc = w.zrc;
    cond_fini(&w.cond);
    lock_fini(&w.lock);
    return zrc;
}

static int run_sync(struct shell *sh, const struct shell_call *c)
{
    int zrc = shell_sync(sh, c->args[0]);

    if (zrc == ZOK)
        puts("Sync is OK");
    else
        printf("Sync has failed. rc=%d\n", zrc);
    return 0;
}

const struct shell_command shell_commands[] = {
    { "addauth", "scheme auth", "", "", 1, false, run_addauth },
    { "create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "sec", "t", 1, true, run_create },
    { "delete", "[-v version] path", "", "v", 1, true, run_delete },
    { "deleteall", "path [-b batch size]", "", "b", 1, true, run_deleteall },
    { "get", "[-s] [-w] path", "sw", "", 1, true, run_get },
    { "getAcl", "[-s] path", "s", "", 1, true, run_get_acl },
    { "getAllChildrenNumber", "path", "", "", 1, true, run_count },
    { "getEphemerals", "path", "", "", 0, false, run_ephemerals },
    { "ls", "[-s] [-w] [-R] path", "swR", "", 1, true, run_ls },
    { "set", "[-s] [-v version] path data", "s", "v", 2, true, run_set },
    { "setAcl", "[-s] [-v version] [-R] path acl", "sR", "v", 2, true, run_set_acl },
    { "stat", "[-w] path", "w", "", 1, true, run_stat },
    { "sync", "path", "", "", 1, true, run_sync },
    { NULL, NULL, NULL, NULL, 0, false, NULL },
};
