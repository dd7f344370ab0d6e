/* tools/console/subscription.c - finding topics, and keeping positions. */
#include "tools/console/subscription.h"

#include "base/clock.h"

#define LOOK_MISSING_MS 250             /* how often to ask for a topic that is not there yet */

static int refuse(rd_kafka_resp_err_t err, char *error, size_t error_len)
{
    snprintf(error, error_len, "%s", rd_kafka_err2str(err));
    return ERR_INVALID;
}

static int no_memory(char *error, size_t error_len)
{
    snprintf(error, error_len, "out of memory");
    return ERR_NOMEM;
}

/* ---- what there is ---- */

static void complain(struct subscription *s, const rd_kafka_metadata_topic_t *m)
{
    if (s->complained || m->err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return;
    s->complained = true;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->partition_cnt > 0)
        fprintf(stderr, "WARN Topic %s has no partition %d, only %d of them. Waiting for it.\n", m->topic,
                s->partition, m->partition_cnt);
    else
        fprintf(stderr, "WARN Topic %s: %s Waiting for it.\n", m->topic,
                m->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ? "it does not exist." : rd_kafka_err2str(m->err));
}

static bool wants(const struct subscription *s, const rd_kafka_metadata_topic_t *m)
{
    struct str name = str_of(m->topic);

    return s->topic != NULL ||
           (pattern_matches(s->include, name) && !(s->exclude_internal && topic_is_internal(name)));
}

/* The topics of an answer that are wanted and there. */
static int collect(struct subscription *s, const rd_kafka_metadata_t *md, rd_kafka_topic_partition_list_t *out,
                   char *error, size_t error_len)
{
    for (int i = 0; i < md->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *m = &md->topics[i];

        if (!wants(s, m))
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || m->err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
            return refuse(m->err, error, error_len);
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->partition_cnt > 0 && s->partition < m->partition_cnt)
            rd_kafka_topic_partition_list_add(out, m->topic, s->partition < 0 ? RD_KAFKA_PARTITION_UA : s->partition);
        else
            complain(s, m);
    }
    return OK;
}

static bool same(const rd_kafka_topic_partition_list_t *a, const rd_kafka_topic_partition_list_t *b)
{
    if (a == NULL || a->cnt != b->cnt)
        return false;
    for (int i = 0; i < a->cnt; i++) {
        if (strcmp(a->elems[i].topic, b->elems[i].topic) != 0)
            return false;
    }
    return true;
}

/* Takes the list. */
static int follow(struct subscription *s, rd_kafka_topic_partition_list_t *list, char *error, size_t error_len)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    int                 rc = OK;

    rd_kafka_topic_partition_list_sort(list, NULL, NULL);
    if (same(s->topics, list) || (s->topics == NULL && list->cnt == 0)) {
        rd_kafka_topic_partition_list_destroy(list);
        return OK;
    }
    if (s->partition >= 0) {
        list->elems[0].offset = s->offset;
        err = rd_kafka_assign(s->member->rk, list);
    } else if (list->cnt == 0) {
        err = rd_kafka_unsubscribe(s->member->rk);
    } else {
        rc = rd_member_subscribe(s->member, list, error, error_len);
    }
    if (s->topics != NULL)
        rd_kafka_topic_partition_list_destroy(s->topics);
    s->topics = list;
    return err != RD_KAFKA_RESP_ERR_NO_ERROR ? refuse(err, error, error_len) : rc;
}

int subscription_look(struct subscription *s, int64_t *next_ms, char *error, size_t error_len)
{
    const rd_kafka_metadata_t       *md;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_topic_t                *only = NULL;
    rd_kafka_resp_err_t              err;
    int                              rc;

    if (s->topic != NULL && s->topics != NULL) {
        *next_ms = INT64_MAX;                       /* the library follows a topic's partitions itself */
        return OK;
    }
    if (s->topic != NULL && (only = rd_kafka_topic_new(s->member->rk, s->topic, NULL)) == NULL)
        return refuse(rd_kafka_last_error(), error, error_len);
    err = rd_kafka_metadata(s->member->rk, only == NULL ? 1 : 0, only, &md, s->answer_ms);
    if (only != NULL)
        rd_kafka_topic_destroy(only);
    *next_ms = mono_ms() + (s->topic != NULL ? LOOK_MISSING_MS : s->look_every_ms);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *next_ms = mono_ms() + LOOK_MISSING_MS;     /* the log has said why */
        return OK;
    }
    list = rd_kafka_topic_partition_list_new(md->topic_cnt);
    rc = list == NULL ? no_memory(error, error_len) : collect(s, md, list, error, error_len);
    if (rc == OK)
        rc = follow(s, list, error, error_len);
    else if (list != NULL)
        rd_kafka_topic_partition_list_destroy(list);
    if (s->topics == NULL)
        s->later = true;
    rd_kafka_metadata_destroy(md);
    return rc;
}

void subscription_fini(struct subscription *s)
{
    if (s->topics != NULL)
        rd_kafka_topic_partition_list_destroy(s->topics);
    if (s->positions != NULL)
        rd_kafka_topic_partition_list_destroy(s->positions);
    s->topics = s->positions = NULL;
}

/* ---- positions ---- */

void subscription_assigned(struct subscription *s, rd_kafka_topic_partition_list_t *list)
{
    if (!s->remember)
        return;
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *p = &list->elems[i], *was = NULL;

        if (s->positions != NULL)
            was = rd_kafka_topic_partition_list_find(s->positions, p->topic, p->partition);
        if (was != NULL)
            p->offset = was->offset;
        else if (s->later)
            p->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    s->later = true;
}

void subscription_revoked(struct subscription *s, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *now;

    if (!s->remember)
        return;
    now = rd_kafka_topic_partition_list_copy(list);
    if (s->positions == NULL)
        s->positions = rd_kafka_topic_partition_list_new(list->cnt);
    if (rd_kafka_position(s->member->rk, now) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < now->cnt; i++) {
            const rd_kafka_topic_partition_t *p = &now->elems[i];
            rd_kafka_topic_partition_t       *was =
                rd_kafka_topic_partition_list_find(s->positions, p->topic, p->partition);

            if (was == NULL)
                was = rd_kafka_topic_partition_list_add(s->positions, p->topic, p->partition);
            /* Nothing read yet: by auto.offset.reset again. */
            was->offset = p->offset >= 0 ? p->offset : was->offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(now);
}
