/* tools/zk_group/member.c - the life of a member: when what is due. */
#include "tools/zk_group/member_priv.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define VIEW_LIMIT ((size_t)1 << 30)
#define AGAIN_MS   100                  /* between two times of asking where logs begin and end; it doubles */
#define AGAIN_MAX  3000

struct zpath member_path(const struct zk_member *m, const char *folder, struct str topic, int32_t partition)
{
    struct zpath p;

    snprintf(p.z, sizeof p.z, "/consumers/%s/%s/%.*s/%" PRId32, m->o.group, folder, STR_ARG(topic), partition);
    return p;
}

void member_say(struct zk_member *m, const char *fmt, ...)
{
    char   *text;
    va_list ap;
    int     n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    for (char *z = text; *z != '\0'; z++)
        *z = *z < ' ' || *z > '~' ? '?' : *z;       /* what nodes hold may be anything, and terminals obey */
    for (size_t i = 0; i < m->said_n; i++) {
        if (strcmp(m->said[i], text) == 0) {
            free(text);
            return;
        }
    }
    for (; m->said_n == SAID_MAX; m->said_n = 0) {
        for (size_t i = 0; i < SAID_MAX; i++)
            free(m->said[i]);
    }
    m->said[m->said_n++] = text;
    fprintf(stderr, "%s\n", text);
}

int zk_member_new(struct zk_member **out, const struct zk_member_opts *o, char *error, size_t error_len)
{
    struct zk_member *m = calloc(1, sizeof *m);

    *out = NULL;
    if (m == NULL) {
        snprintf(error, error_len, "out of memory");
        return ERR_NOMEM;
    }
    m->o = *o;
    m->reader.from_smallest = o->from_smallest;
    arena_init(&m->arena, VIEW_LIMIT);
    arena_init(&m->first_arena, VIEW_LIMIT);
    tree_init(&m->tree, o->store);
    snprintf(m->registration.z, sizeof m->registration.z, "/consumers/%s/ids/%s", o->group, o->id);
    m->changed = true;
    m->start_ms = INT64_MAX;
    m->start_wait_ms = AGAIN_MS;
    m->commit_ms = mono_ms() + o->commit_every_ms;
    *out = m;
    return OK;
}

/* Others may have all of it by now. */
static void session_is_over(struct zk_member *m)
{
    for (size_t i = 0; i < m->reader.n; i++) {
        struct place *p = m->reader.v[i];

        reader_stop(&m->reader, p);
        p->owned = false;
        p->position = p->committed = -1;
    }
    m->registered = false;
    m->changed = true;
}

static bool has_any(const struct zk_member *m)
{
    for (size_t i = 0; i < m->reader.n; i++) {
        if (m->reader.v[i]->owned)
            return true;
    }
    return false;
}

static int rebalance(struct zk_member *m, int64_t now, char *error, size_t error_len)
{
    int rc = member_rebalance(m, error, error_len);

    m->settled = m->settled || rc == OK || has_any(m);
    m->again_ms = rc == OK ? INT64_MAX : now + m->o.backoff_ms;
    if (rc == ERR_NOMEM)
        snprintf(error, error_len, "out of memory");
    if (rc != ERR_AGAIN && rc != ERR_CLOSED)
        return rc;
    if (++m->attempts < m->o.retries)
        return OK;
    snprintf(error, error_len, "%s can't rebalance after %" PRId32 " retries", m->o.id, m->o.retries);
    if (!m->settled)
        return ERR_BUSY;
    m->attempts = m->o.retries;
    member_say(m, "ERROR %s", error);
    return OK;
}

static int start(struct zk_member *m, int64_t now, char *error, size_t error_len)
{
    int rc = reader_start(&m->reader, error, error_len);

    if (rc == OK || rc == ERR_BUSY) {
        m->start_wait_ms = AGAIN_MS;
        m->start_ms = rc == OK ? INT64_MAX : 0;
        if (rc == OK)
            m->commit_ms = 0;           /* who comes after us without more begins where we did */
        return OK;
    }
    if (rc != ERR_AGAIN)
        return rc;
    m->start_ms = now + m->start_wait_ms;
    if (m->start_wait_ms < AGAIN_MAX)
        m->start_wait_ms *= 2;
    member_say(m, "WARN %s; trying again", error);
    return OK;
}

int zk_member_look(struct zk_member *m, char *error, size_t error_len)
{
    unsigned news = tree_news(&m->tree);
    int64_t  now = mono_ms();

    if ((news & NEWS_EXPIRED) != 0)
        session_is_over(m);
    if (m->changed || news != 0) {
        m->changed = false;
        m->attempts = 0;
        m->again_ms = 0;
    }
    if (now >= m->again_ms && store_session(m->o.store) != 0)
        TRY(rebalance(m, now, error, error_len));
    if (now >= m->start_ms && m->reader.rk != NULL)
        TRY(start(m, now, error, error_len));
    commit_go_on(m);
    if (now >= m->commit_ms) {
        commit_begin(m);
        m->commit_ms = now + m->o.commit_every_ms;
    }
    return OK;
}

bool zk_member_settled(const struct zk_member *m)
{
    return m->settled;
}

void zk_member_sleep(struct zk_member *m, int ms)
{
    tree_sleep(&m->tree, ms);
}

rd_kafka_message_t *zk_member_poll(struct zk_member *m, int ms)
{
    if (m->reader.rk != NULL)
        return reader_poll(&m->reader, ms);
    zk_member_sleep(m, ms);
    return NULL;
}

void zk_member_done(struct zk_member *m, const rd_kafka_message_t *msg)
{
    reader_done(&m->reader, msg);
}

static void say_what_is_lost(const struct zk_member *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->reader.n; i++) {
        const struct place *p = m->reader.v[i];

        n += p->owned && p->position >= 0 && p->position != p->committed;
    }
    if (n > 0 && m->o.commits)
        fprintf(stderr, "WARN The offsets of %zu partitions are not committed: ZooKeeper does not take them\n", n);
}

void zk_member_free(struct zk_member **pm)
{
    struct zk_member *m = *pm;

    if (m == NULL)
        return;
    commit_all(m, true);
    say_what_is_lost(m);
    reader_fini(&m->reader);
    tree_fini(&m->tree);
    arena_fini(&m->arena);
    arena_fini(&m->first_arena);
    for (size_t i = 0; i < m->said_n; i++)
        free(m->said[i]);
    free(m);
    *pm = NULL;
}
