/* tools/zk_group/reader.c - librdkafka's consumer of single partitions. */
#include "tools/zk_group/reader.h"

#include <stdlib.h>

static int fail(char *error, size_t error_len, const char *what, const char *why)
{
    snprintf(error, error_len, "%s: %s", what, why);
    return ERR_INVALID;
}

int reader_open(struct reader *r, const struct props *p, const char *brokers, char *error, size_t error_len)
{
    const struct rd_setting fixed[] = {
        { "bootstrap.servers", brokers },
        { "enable.auto.commit", "false" },
        { "enable.auto.offset.store", "false" },
        { "fetch.error.backoff.ms", "100" },
    };

    TRY(rd_open(&r->rk, RD_CONSUMER, rd_kafka_conf_new(), p, fixed, sizeof fixed / sizeof fixed[0], error,
                error_len));
    r->queue = rd_kafka_queue_new(r->rk);
    return OK;
}

void reader_more_brokers(struct reader *r, const char *brokers)
{
    rd_kafka_brokers_add(r->rk, brokers);           /* those that it knows are passed over */
}

/* ---- places ---- */

static int compare(const struct place *p, struct str topic, int32_t partition)
{
    int c = str_cmp(str_of(p->topic), topic);

    return c != 0 ? c : (p->partition > partition) - (p->partition < partition);
}

struct place *reader_find(struct reader *r, struct str topic, int32_t partition)
{
    size_t from = 0, to = r->n;

    while (from < to) {
        size_t at = from + (to - from) / 2;
        int    c = compare(r->v[at], topic, partition);

        if (c == 0)
            return r->v[at];
        if (c < 0)
            from = at + 1;
        else
            to = at;
    }
    return NULL;
}

static void place_free(struct place *p)
{
    if (p == NULL)
        return;
    if (p->rkt != NULL)
        rd_kafka_topic_destroy(p->rkt);
    free(p->topic);
    free(p);
}

static struct place *place_new(const struct group_share *s)
{
    struct place *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    *p = (struct place){ .topic = strndup(s->topic.p, s->topic.len), .partition = s->partition, .position = -1,
                         .committed = -1 };
    if (p->topic != NULL)
        return p;
    place_free(p);
    return NULL;
}

int reader_set(struct reader *r, const struct group_share *shares, size_t n)
{
    struct place **v = calloc(n + 1, sizeof *v), **old = r->v;
    size_t         old_n = r->n;
    bool           ok = v != NULL;

    for (size_t i = 0; i < old_n; i++)
        old[i]->kept = false;
    for (size_t i = 0; ok && i < n; i++) {
        struct place *was = reader_find(r, shares[i].topic, shares[i].partition);

        v[i] = was != NULL ? was : place_new(&shares[i]);
        ok = v[i] != NULL;
        if (ok)
            v[i]->kept = was != NULL;
    }
    if (!ok) {
        for (size_t i = 0; v != NULL && i < n; i++) {
            if (v[i] != NULL && !v[i]->kept)
                place_free(v[i]);
        }
        free(v);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < old_n; i++) {
        if (!old[i]->kept)
            place_free(old[i]);
    }
    free(old);
    r->v = v;
    r->n = n;
    r->last = NULL;
    return OK;
}

/* ---- reading ---- */

static int open_topic(struct reader *r, struct place *p, char *error, size_t error_len)
{
    if (p->rkt == NULL)
        p->rkt = rd_kafka_topic_new(r->rk, p->topic, NULL);
    return p->rkt != NULL ? OK : fail(error, error_len, p->topic, rd_kafka_err2str(rd_kafka_last_error()));
}

static bool is_unknown(const struct place *p)
{
    return p->owned && p->position < 0;
}

static int ask(struct reader *r)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    for (size_t i = 0; i < r->n; i++) {
        const struct place *p = r->v[i];

        if (is_unknown(p))
            rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset =
                r->from_smallest || p->later ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
    }
    if (list->cnt == 0) {
        rd_kafka_topic_partition_list_destroy(list);
        return OK;
    }
    ends_ask(&r->ends, r->rk, list);
    return ERR_BUSY;
}

/* The first failure. */
static rd_kafka_resp_err_t take_answer(struct reader *r, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        struct place                     *p = reader_find(r, str_of(e->topic), e->partition);

        if (e->err != RD_KAFKA_RESP_ERR_NO_ERROR || e->offset < 0)
            err = err == RD_KAFKA_RESP_ERR_NO_ERROR ? e->err : err;
        else if (p != NULL && is_unknown(p))
            p->position = e->offset;
    }
    return err;
}

static int find_positions(struct reader *r, char *error, size_t error_len)
{
    rd_kafka_topic_partition_list_t *list = ends_answer(&r->ends);
    rd_kafka_resp_err_t              err;

    if (list == NULL)
        return r->ends.list != NULL ? ERR_BUSY : ask(r);
    err = take_answer(r, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return ask(r);                  /* what is new since */
    (void)fail(error, error_len, "where logs begin or end", rd_kafka_err2str(err));
    return ERR_AGAIN;
}

int reader_start(struct reader *r, char *error, size_t error_len)
{
    int rc;

    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i]->owned)
            TRY(open_topic(r, r->v[i], error, error_len));
    }
    rc = find_positions(r, error, error_len);
    for (size_t i = 0; i < r->n; i++) {
        struct place *p = r->v[i];

        if (!p->owned || p->started || p->position < 0)
            continue;
        if (rd_kafka_consume_start_queue(p->rkt, p->partition, p->position, r->queue) != 0)
            return fail(error, error_len, p->topic, rd_kafka_err2str(rd_kafka_last_error()));
        p->started = true;
    }
    return rc;
}

void reader_stop(struct reader *r, struct place *p)
{
    (void)r;
    if (p->started)
        rd_kafka_consume_stop(p->rkt, p->partition);
    p->started = false;
}

/* The place that a message is of; NULL: it was left meanwhile. */
static struct place *place_of(struct reader *r, const rd_kafka_message_t *m)
{
    const char *topic = m->rkt != NULL ? rd_kafka_topic_name(m->rkt) : NULL;

    if (topic == NULL)
        return NULL;
    if (r->last == NULL || r->last->partition != m->partition || strcmp(r->last->topic, topic) != 0)
        r->last = reader_find(r, str_of(topic), m->partition);
    return r->last != NULL && r->last->started ? r->last : NULL;
}

rd_kafka_message_t *reader_poll(struct reader *r, int ms)
{
    rd_kafka_message_t *m;

    rd_kafka_poll(r->rk, 0);                        /* what it has to say of itself */
    while ((m = rd_kafka_consume_queue(r->queue, ms)) != NULL && m->rkt != NULL && place_of(r, m) == NULL)
        rd_kafka_message_destroy(m);
    return m;
}

void reader_done(struct reader *r, const rd_kafka_message_t *m)
{
    struct place *p = place_of(r, m);

    if (p != NULL)
        p->position = m->offset + 1;
}

void reader_fini(struct reader *r)
{
    ends_fini(&r->ends);
    for (size_t i = 0; i < r->n; i++) {
        reader_stop(r, r->v[i]);
        place_free(r->v[i]);
    }
    free(r->v);
    r->v = NULL;
    r->n = 0;
    if (r->rk == NULL)
        return;
    rd_kafka_queue_destroy(r->queue);
    rd_kafka_destroy(r->rk);
    r->rk = NULL;
}
