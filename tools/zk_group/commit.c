/* tools/zk_group/commit.c - writing offsets while records are read.
 *
 * In two rounds: offsets are set; those whose node is not there yet are made, with the nodes above them. Nothing waits
 * for the answers, unless somebody asks for the end of it.
 */
#include "tools/zk_group/member_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define SET  1
#define MAKE 2

/* One multi with the registration, which must be there. */
static struct store_call *write_call(struct zk_member *m, struct place *p, bool make)
{
    struct zpath       path = member_path(m, "offsets", str_of(p->topic), p->partition);
    struct store_call *call = store_call_new(NULL, NULL);
    char               text[24];
    int                n = snprintf(text, sizeof text, "%" PRId64, p->committing);
    struct bytes       data = { (const uint8_t *)text, (size_t)n };

    if (call == NULL)
        return NULL;
    call->user = p;
    store_check(call, m->registration.z, STORE_ANY_VERSION);
    if (make)
        store_create(call, path.z, data, STORE_PERSISTENT);
    else
        store_set(call, path.z, data, STORE_ANY_VERSION);
    return call;
}

static void submit(struct zk_member *m, struct store_call *call)
{
    if (tree_submit(&m->tree, call) != OK)
        member_say(m, "WARN Offsets are not committed: out of memory");
}

/* What is there already is refused, and that is well. */
static void make_folder(struct zk_member *m, const char *path)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call != NULL)
        store_create(call, path, (struct bytes){ NULL, 0 }, STORE_PERSISTENT);
    submit(m, call);
}

static void make_node(struct zk_member *m, struct place *p)
{
    struct zpath folder;

    snprintf(folder.z, sizeof folder.z, "/consumers/%s/offsets", m->o.group);
    make_folder(m, folder.z);
    snprintf(folder.z, sizeof folder.z, "/consumers/%s/offsets/%s", m->o.group, p->topic);
    make_folder(m, folder.z);
    submit(m, write_call(m, p, true));
}

void commit_begin(struct zk_member *m)
{
    if (!m->o.commits || m->committing != 0)
        return;
    for (size_t i = 0; i < m->reader.n; i++) {
        struct place *p = m->reader.v[i];

        if (!p->owned || p->position < 0 || p->position == p->committed)
            continue;
        p->committing = p->position;
        submit(m, write_call(m, p, false));
        m->committing = SET;
    }
}

/* Gives whether there is more to do. */
static bool take_answer(struct zk_member *m, const struct store_call *call, int round)
{
    struct place *p = call->user;

    if (p == NULL)
        return false;
    if (call->rc == OK)
        p->committed = p->committing;
    else if (call->rc == ERR_NOENT && call->failed == 1 && round == SET)
        make_node(m, p);
    else if (call->rc == ERR_NOENT && call->failed == 0)
        m->changed = true;              /* the registration has gone: it is made again, and then all is */
    else if (call->rc != ERR_CLOSED)
        member_say(m, "WARN The offset of %s-%" PRId32 " cannot be committed: %s", p->topic, p->partition,
                   err_text(call->rc));
    return call->rc == ERR_NOENT && call->failed == 1 && round == SET;
}

void commit_go_on(struct zk_member *m)
{
    struct store_call *list;
    int                round = m->committing;
    bool               more = false;

    if (round == 0 || !tree_answered(&m->tree))
        return;
    list = tree_answers(&m->tree);
    for (const struct store_call *call = list; call != NULL; call = call->next)
        more |= take_answer(m, call, round);
    tree_answers_free(&list);
    m->committing = more ? MAKE : 0;
}

void commit_finish(struct zk_member *m, bool stopping)
{
    while (m->committing != 0) {
        tree_wait(&m->tree, stopping);
        commit_go_on(m);
    }
}

void commit_all(struct zk_member *m, bool stopping)
{
    commit_finish(m, stopping);
    commit_begin(m);
    commit_finish(m, stopping);
}
