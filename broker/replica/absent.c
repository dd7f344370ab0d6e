/* broker/replica/absent.c - partitions whose log cannot be used (yet). */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/absent.h"

#include "base/err.h"
#include "metadata/topic_name.h"

#include <stdlib.h>
#include <string.h>

#define KEY_MAX (sizeof(int32_t) + TOPIC_NAME_MAX)

static bool key_make(char key[KEY_MAX], struct str topic, int32_t index, uint32_t *len)
{
    if (topic.len == 0 || topic.len > TOPIC_NAME_MAX)
        return false;
    memcpy(key, &index, sizeof index);
    memcpy(key + sizeof index, topic.p, topic.len);
    *len = (uint32_t)(sizeof index + topic.len);
    return true;
}

void absents_init(struct absents *v)
{
    lock_init(&v->lock, LOCK_absent);
    v->map = NULL;
    atomic_init(&v->n, 0);
}

void absents_fini(struct absents *v)
{
    struct absent *a, *next;

    HASH_ITER(hh, v->map, a, next) {
        HASH_DEL(v->map, a);
        free(a);
    }
    lock_fini(&v->lock);
}

/* Under the lock. */
static struct absent *find(struct absents *v, struct str topic, int32_t index)
{
    struct absent *a = NULL;
    char key[KEY_MAX];
    uint32_t len;

    if (key_make(key, topic, index, &len))
        HASH_FIND(hh, v->map, key, len, a);
    return a;
}

/* Under the lock. */
static void drop(struct absents *v, struct absent *a)
{
    HASH_DEL(v->map, a);
    atomic_fetch_sub(&v->n, 1);
}

static struct absent *copy(const struct leader_and_isr_request_leader_and_isr_topic_state *t,
                           const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    size_t replicas = (size_t)(st->replicas_n > 0 ? st->replicas_n : 0), isr = (size_t)(st->isr_n > 0 ? st->isr_n : 0);
    struct absent *a = calloc(1, sizeof *a + (replicas + isr) * sizeof(int32_t) + KEY_MAX);

    if (a == NULL)
        return NULL;
    a->key = (char *)&a->ids[replicas + isr];
    if (!key_make(a->key, t->topic_name, st->partition_index, &a->key_len)) {
        free(a);
        return NULL;
    }
    a->topic.topic_name = (struct str){ a->key + sizeof(int32_t), t->topic_name.len };
    a->topic.topic_id = t->topic_id;
    a->state = *st;
    a->state.replicas = a->ids;
    a->state.isr = a->ids + replicas;
    a->state.adding_replicas = a->state.removing_replicas = NULL;
    a->state.adding_replicas_n = a->state.removing_replicas_n = 0;
    a->state.unknown_tags = NULL;
    if (replicas > 0)
        memcpy(a->state.replicas, st->replicas, replicas * sizeof(int32_t));
    if (isr > 0)
        memcpy(a->state.isr, st->isr, isr * sizeof(int32_t));
    return a;
}

int absents_put(struct absents *v, enum absence why, int32_t controller_epoch,
                const struct leader_and_isr_request_leader_and_isr_topic_state *t,
                const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    struct absent *a = copy(t, st), *old;
    bool kept;

    if (a == NULL)
        return ERR_NOMEM;
    a->why = why;
    a->controller_epoch = controller_epoch;
    lock_take(&v->lock);
    atomic_fetch_add(&v->n, 1);         /* first: who looks at it without the lock must not find none for a moment */
    old = find(v, t->topic_name, st->partition_index);
    if (old != NULL)
        drop(v, old);
    HASH_ADD_KEYPTR(hh, v->map, a->key, a->key_len, a);
    kept = a->hh.tbl != NULL;
    if (!kept)
        atomic_fetch_sub(&v->n, 1);
    lock_drop(&v->lock);
    free(old);
    if (!kept)
        free(a);
    return kept ? OK : ERR_NOMEM;
}

enum absence absents_why(struct absents *v, struct str topic, int32_t index, int32_t *leader_epoch)
{
    enum absence why = ABSENT_NOT;
    int32_t epoch = -1;
    struct absent *a;

    if (atomic_load_explicit(&v->n, memory_order_relaxed) > 0) {
        lock_take(&v->lock);
        a = find(v, topic, index);
        if (a != NULL) {
            why = a->why;
            epoch = a->state.leader_epoch;
        }
        lock_drop(&v->lock);
    }
    if (leader_epoch != NULL)
        *leader_epoch = epoch;
    return why;
}

int absents_get(struct absents *v, struct str topic, int32_t index, struct absent **out)
{
    int rc = OK;
    struct absent *a;

    *out = NULL;
    lock_take(&v->lock);
    a = find(v, topic, index);
    if (a != NULL) {
        *out = copy(&a->topic, &a->state);
        rc = *out != NULL ? OK : ERR_NOMEM;
    }
    if (*out != NULL) {
        (*out)->why = a->why;
        (*out)->controller_epoch = a->controller_epoch;
    }
    lock_drop(&v->lock);
    return rc;
}

struct absent *absents_take(struct absents *v, struct str topic, int32_t index)
{
    struct absent *a;

    lock_take(&v->lock);
    a = find(v, topic, index);
    if (a != NULL)
        drop(v, a);
    lock_drop(&v->lock);
    return a;
}
