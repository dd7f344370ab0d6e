/* broker/api/stored_offsets.c - reading and writing offsets in the metadata store.
 *
 * Each partition is a call of its own, since each has an answer of its own. Writing sets the nodes; those that are not
 * there are made in a second round, with the nodes above them.
 */
#include "broker/api/stored_offsets.h"

#include "base/log.h"
#include "broker/broker.h"
#include "metadata/store.h"
#include "proto/kerr.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONSUMERS  "/consumers"
#define TEXT_BYTES 24                   /* of an int64_t */

/* What ZooKeeper takes for a path: no component that is empty, or that leads elsewhere; the store checks the rest. */
static bool group_ok(struct str group)
{
    const char *p = group.p, *end = p + group.len;

    while (p < end) {
        const char *slash = memchr(p, '/', (size_t)(end - p)), *stop = slash != NULL ? slash : end;
        size_t n = (size_t)(stop - p);

        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || stop + 1 == end)
            return false;
        p = stop + 1;
    }
    return group.len > 0 && memchr(group.p, '\0', group.len) == NULL;
}

static void prepare(struct stored_offsets *s)
{
    bool ok = group_ok(s->group);

    for (size_t i = 0; i < s->n; i++) {
        struct stored_offset *v = &s->v[i];

        v->all = s;
        v->rc = ERR_INVALID;
        v->path = ok ? arena_printf(&s->r->arena, CONSUMERS "/%.*s/offsets/%.*s/%" PRId32, STR_ARG(s->group),
                                    STR_ARG(v->topic), v->partition) : NULL;
    }
    atomic_init(&s->left, 1);
}

/* One answer came, or all calls have been made: the last one goes on, in an IO thread. */
static void answered(struct stored_offsets *s)
{
    if (atomic_fetch_sub_explicit(&s->left, 1, memory_order_acq_rel) == 1)
        request_resume(s->r, s->answered);
}

static void submit(struct stored_offsets *s, struct store_call *call)
{
    atomic_fetch_add_explicit(&s->left, 1, memory_order_relaxed);
    store_submit(s->b->store, call);
}

static void set_errors(struct stored_offsets *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct stored_offset *v = &s->v[i];

        v->error = v->rc == OK || v->rc == ERR_NOENT ? KERR_NONE : KERR_UNKNOWN_SERVER_ERROR;
        if (v->error != KERR_NONE && v->rc != ERR_INVALID && v->rc != ERR_TOO_LARGE)
            log_warn("group %.*s: offset of %.*s-%d in the metadata store: %s", STR_ARG(s->group), STR_ARG(v->topic),
                     (int)v->partition, err_text(v->rc));
    }
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int parse(struct bytes text, int64_t *out)
{
    char *end;

    if (text.len == 0 || text.len >= TEXT_BYTES)
        return ERR_CORRUPT;
    errno = 0;
    *out = strtoll((const char *)text.p, &end, 10);
    return errno == 0 && end == (const char *)text.p + text.len ? OK : ERR_CORRUPT;
}

static void got(struct store_call *call)
{
    struct stored_offset *v = call->arg;

    v->rc = call->rc;
    if (v->rc == OK)
        v->rc = parse(call->ops[0].value, &v->offset);
    if (v->rc != OK)
        v->offset = -1;
    store_call_free(&call);
    answered(v->all);
}

static void get_end(struct broker *b, struct request *r)
{
    struct stored_offsets *s = r->state;

    set_errors(s);
    s->then(b, r);
}

void stored_offsets_get(struct stored_offsets *s)
{
    prepare(s);
    s->answered = get_end;
    for (size_t i = 0; i < s->n; i++) {
        struct store_call *call = s->v[i].path != NULL ? store_call_new(got, &s->v[i]) : NULL;

        s->v[i].offset = -1;
        if (call == NULL)
            continue;
        store_get(call, s->v[i].path, 0);
        submit(s, call);
    }
    answered(s);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void put(struct store_call *call)
{
    struct stored_offset *v = call->arg;

    v->rc = call->rc;
    store_call_free(&call);
    answered(v->all);
}

/* Perhaps it was there before; if it is not there now, setting the offset will say so. */
static void made(struct store_call *call)
{
    struct stored_offset *v = call->arg;

    store_call_free(&call);
    answered(v->all);
}

static void make_node(struct stored_offsets *s, struct stored_offset *v, const char *path)
{
    struct store_call *call = path != NULL ? store_call_new(made, v) : NULL;

    if (call == NULL)
        return;
    store_create(call, path, (struct bytes){ NULL, 0 }, STORE_PERSISTENT);
    submit(s, call);
}

static void set_node(struct stored_offsets *s, struct stored_offset *v)
{
    struct store_call *call = store_call_new(put, v);
    char text[TEXT_BYTES];
    int n = snprintf(text, sizeof text, "%" PRId64, v->offset);

    v->rc = ERR_NOMEM;
    if (call == NULL)
        return;
    store_set(call, v->path, (struct bytes){ (uint8_t *)text, (size_t)n }, STORE_ANY_VERSION);
    submit(s, call);
}

/* The partition's node and those above it, of which the one made before may have had some. */
static void make_path(struct stored_offsets *s, struct stored_offset *v, const char *before)
{
    const char *p = v->path + sizeof CONSUMERS;

    while ((p = strchr(p, '/')) != NULL) {
        size_t n = (size_t)(p++ - v->path);

        if (before == NULL || strncmp(before, v->path, n + 1) != 0)
            make_node(s, v, arena_printf(&s->r->arena, "%.*s", (int)n, v->path));
    }
    make_node(s, v, v->path);
}

static void put_end(struct broker *b, struct request *r)
{
    struct stored_offsets *s = r->state;

    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].rc == ERR_NOENT)
            s->v[i].rc = ERR_INVALID;   /* in a place where nothing can be */
    set_errors(s);
    s->then(b, r);
}

static void put_missing(struct broker *b, struct request *r)
{
    struct stored_offsets *s = r->state;
    const char *before = NULL;

    (void)b;
    atomic_store_explicit(&s->left, 1, memory_order_relaxed);
    s->answered = put_end;
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].rc != ERR_NOENT)
            continue;
        make_path(s, &s->v[i], before);
        before = s->v[i].path;
        set_node(s, &s->v[i]);
    }
    answered(s);
}

void stored_offsets_put(struct stored_offsets *s)
{
    prepare(s);
    s->answered = put_missing;
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].path != NULL)
            set_node(s, &s->v[i]);
    answered(s);
}
