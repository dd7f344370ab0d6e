/* broker/group/tombs.c - tombstones of one group, in batches. */
#include "broker/group/tombs.h"

#include "base/log.h"
#include "broker/group/groups.h"
#include "broker/group/records.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define BATCH_BYTES (128 * 1024)

enum { RECORD_BYTES = 32 };             /* what a record has besides its key, at most */

void tombs_init(struct tombs *t, struct group_session *s)
{
    *t = (struct tombs){ .s = s, .kerr = KERR_NONE };
    arena_init(&t->a, SIZE_MAX);
}

static void append(struct tombs *t)
{
    int16_t kerr = t->n > 0 ? groups_write(t->s, t->v, t->n, 0, NULL) : KERR_NONE;

    if (kerr != KERR_NONE) {
        t->lost += t->n;
        t->kerr = kerr;
    }
    t->n = t->bytes = 0;
    arena_reset(&t->a);
}

static struct group_record *room(struct tombs *t)
{
    size_t cap = t->cap > 0 ? t->cap * 2 : 4;
    struct group_record *v;

    if (t->n < t->cap)
        return &t->v[t->n];
    v = realloc(t->v, cap * sizeof *v);
    if (v == NULL)
        return NULL;
    t->v = v;
    t->cap = cap;
    return &t->v[t->n];
}

static void added(struct tombs *t, int rc)
{
    if (rc != OK) {
        t->lost++;
        t->kerr = KERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    t->bytes += t->v[t->n++].key.len + RECORD_BYTES;
    if (t->bytes >= BATCH_BYTES)
        append(t);
}

void tombs_add(struct tombs *t, struct str topic, int32_t partition)
{
    struct group_record *r = room(t);

    added(t, r == NULL ? ERR_NOMEM
                       : offset_record(groups_versions(t->s->gs), &t->a, t->s->g->id, topic, partition, NULL, r));
}

void tombs_add_group(struct tombs *t)
{
    struct group_record *r = room(t);

    added(t, r == NULL ? ERR_NOMEM : metadata_record(&t->a, t->s->g->id, (struct bytes){ NULL, 0 }, r));
}

void tombs_end(struct tombs *t)
{
    append(t);
    if (t->lost > 0)
        log_some(LOG_WARN,
                 "group %.*s: %zu deletions are not in %.*s, so what they deleted may come back when it is loaded: %s",
                 STR_ARG(t->s->g->id), t->lost, STR_ARG(groups_topic), kerr_name(t->kerr));
    arena_fini(&t->a);
    free(t->v);
}
