/* tools/zk_group/ends.c - a thread that asks where logs begin or end.
 *
 * All are asked about together, one request to each broker. One partition without a leader makes that fail
 * for all of them: then each is asked about alone.
 */
#include "tools/zk_group/ends.h"

#define TOGETHER_MS 3000
#define ALONE_MS    1000
#define FAILURES    4                   /* at a time */

/* The library takes what it knows of a topic for all there is, and does not ask about a partition that is new. */
static void look_at_topic(const struct ends *e, const char *name)
{
    rd_kafka_topic_t          *topic = rd_kafka_topic_new(e->rk, name, NULL);
    const rd_kafka_metadata_t *md;

    if (topic == NULL)
        return;
    if (rd_kafka_metadata(e->rk, 0, topic, &md, ALONE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(md);
    rd_kafka_topic_destroy(topic);
}

static void ask_alone(const struct ends *e, rd_kafka_topic_partition_t *p, int64_t which)
{
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t              err;

    look_at_topic(e, p->topic);
    rd_kafka_topic_partition_list_add(one, p->topic, p->partition)->offset = which;
    err = rd_kafka_offsets_for_times(e->rk, one, ALONE_MS);
    p->offset = one->elems[0].offset;
    p->err = err != RD_KAFKA_RESP_ERR_NO_ERROR ? err : one->elems[0].err;
    rd_kafka_topic_partition_list_destroy(one);
}

/* Those that are not answered, as many as there is time for; the next time goes on where this one ended. */
static void ask_rest(struct ends *e, const rd_kafka_topic_partition_list_t *wanted)
{
    size_t n = (size_t)e->list->cnt;
    int    failures = 0;

    for (size_t i = 0; i < n && failures < FAILURES && !atomic_load(&e->stop); i++) {
        rd_kafka_topic_partition_t       *p = &e->list->elems[e->turn++ % n];
        const rd_kafka_topic_partition_t *w = rd_kafka_topic_partition_list_find(wanted, p->topic, p->partition);

        if (p->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        ask_alone(e, p, w->offset);
        failures += p->err != RD_KAFKA_RESP_ERR_NO_ERROR;
    }
}

static void *ask(void *arg)
{
    struct ends                     *e = arg;
    rd_kafka_topic_partition_list_t *wanted = rd_kafka_topic_partition_list_copy(e->list);
    rd_kafka_resp_err_t              err = rd_kafka_offsets_for_times(e->rk, e->list, TOGETHER_MS);

    for (int i = 0; err != RD_KAFKA_RESP_ERR_NO_ERROR && i < e->list->cnt; i++)
        e->list->elems[i].err = err;
    ask_rest(e, wanted);
    rd_kafka_topic_partition_list_destroy(wanted);
    atomic_store(&e->done, true);
    return NULL;
}

void ends_ask(struct ends *e, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
    e->rk = rk;
    e->list = list;
    atomic_store(&e->done, false);
    atomic_store(&e->stop, false);
    if (pthread_create(&e->thread, NULL, ask, e) == 0)
        return;
    rd_kafka_topic_partition_list_destroy(list);    /* not now: the caller asks again */
    e->list = NULL;
}

rd_kafka_topic_partition_list_t *ends_answer(struct ends *e)
{
    rd_kafka_topic_partition_list_t *list = e->list;

    if (list == NULL || !atomic_load(&e->done))
        return NULL;
    pthread_join(e->thread, NULL);
    e->list = NULL;
    return list;
}

void ends_fini(struct ends *e)
{
    if (e->list == NULL)
        return;
    atomic_store(&e->stop, true);
    pthread_join(e->thread, NULL);
    rd_kafka_topic_partition_list_destroy(e->list);
    e->list = NULL;
}
