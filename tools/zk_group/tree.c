/* tools/zk_group/tree.c - calls to ZooKeeper beside other work. */
#include "tools/zk_group/tree.h"

#include "base/clock.h"
#include "tools/console/rd_client.h"

#include <stdlib.h>

#define NS_PER_MS   INT64_C(1000000)
#define LOOK_MS     100                 /* how often signals are looked at */
#define PATIENCE_MS 5000                /* for a connection, when the process is to stop */

static void on_event(struct store_event *ev, void *arg)
{
    struct tree *t = arg;
    unsigned     news = ev->kind == STORE_EV_EXPIRED ? NEWS_EXPIRED
                      : ev->kind == STORE_EV_SESSION ? NEWS_SESSION : NEWS_CHANGED;

    free(ev);
    lock_take(&t->lock);
    t->news |= news;
    cond_signal(&t->cond);
    lock_drop(&t->lock);
}

static void on_done(struct store_call *call)
{
    struct tree *t = call->arg;

    call->next = NULL;
    lock_take(&t->lock);
    *t->last = call;
    t->last = &call->next;
    t->under_way--;
    cond_signal(&t->cond);
    lock_drop(&t->lock);
}

void tree_init(struct tree *t, struct store *store)
{
    *t = (struct tree){ .store = store, .last = &t->first };
    lock_init(&t->lock, LOCK_store);
    cond_init(&t->cond);
    store_set_watcher(store, on_event, t);
}

void tree_fini(struct tree *t)
{
    struct store_call *list;

    if (t->store == NULL)
        return;
    tree_wait(t, true);
    list = tree_answers(t);
    tree_answers_free(&list);
    store_hurry(t->store);              /* what is to come after is not worth waiting for */
    store_set_watcher(t->store, NULL, NULL);
    store_barrier(t->store);
    cond_fini(&t->cond);
    lock_fini(&t->lock);
    t->store = NULL;
}

int tree_submit(struct tree *t, struct store_call *call)
{
    if (call == NULL)
        return ERR_NOMEM;
    call->done = on_done;
    call->arg = t;
    lock_take(&t->lock);
    t->under_way++;
    lock_drop(&t->lock);
    store_submit(t->store, call);
    return OK;
}

bool tree_answered(struct tree *t)
{
    bool all;

    lock_take(&t->lock);
    all = t->under_way == 0;
    lock_drop(&t->lock);
    return all;
}

static void look_at_the_end(struct tree *t, bool stopping)
{
    if (!stopping && rd_stopped() == 0)
        return;
    if (t->give_up_ms == 0)
        t->give_up_ms = mono_ms() + PATIENCE_MS;
    else if (mono_ms() >= t->give_up_ms)
        store_hurry(t->store);
}

void tree_wait(struct tree *t, bool stopping)
{
    lock_take(&t->lock);
    while (t->under_way > 0) {
        cond_wait_until(&t->cond, &t->lock, mono_ns() + LOOK_MS * NS_PER_MS);
        lock_drop(&t->lock);
        look_at_the_end(t, stopping);
        lock_take(&t->lock);
    }
    lock_drop(&t->lock);
}

struct store_call *tree_answers(struct tree *t)
{
    struct store_call *list;

    lock_take(&t->lock);
    list = t->first;
    t->first = NULL;
    t->last = &t->first;
    lock_drop(&t->lock);
    return list;
}

void tree_answers_free(struct store_call **list)
{
    while (*list != NULL) {
        struct store_call *call = *list;

        *list = call->next;
        store_call_free(&call);
    }
}

struct store_call *tree_run(struct tree *t, struct store_call *call)
{
    if (tree_submit(t, call) != OK)
        return NULL;
    tree_wait(t, false);
    return tree_answers(t);
}

unsigned tree_news(struct tree *t)
{
    unsigned news;

    lock_take(&t->lock);
    news = t->news;
    t->news = 0;
    lock_drop(&t->lock);
    return news;
}

void tree_sleep(struct tree *t, int ms)
{
    int64_t until = mono_ns() + ms * NS_PER_MS;

    lock_take(&t->lock);
    while (t->news == 0 && cond_wait_until(&t->cond, &t->lock, until))
        continue;
    lock_drop(&t->lock);
}
