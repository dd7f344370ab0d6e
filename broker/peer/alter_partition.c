/* broker/peer/alter_partition.c - AlterPartition: a list of changes becomes a request, its answer their outcomes.
 *
 * The list is sorted by topic and partition, so that a topic is a run of it, and an answer is found by search. From
 * version 2 on topics go by id: only if every one of them has an id. Answers are matched to what was sent: a change
 * that the answer leaves out stays, and is sent again.
 */
#include "broker/peer/isr_changes_priv.h"

#include "base/arena.h"
#include "base/chain.h"
#include "base/log.h"
#include "broker/cluster/standing.h"
#include "config/config.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/apis.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define MEMORY_MAX      ((size_t)1 << 30)
#define VERSION_NAMES   1               /* the last one that names topics by name */

#define topic_in        alter_partition_request_topic_data
#define partition_in    alter_partition_request_partition_data
#define member_in       alter_partition_request_broker_state
#define topic_out       alter_partition_response_topic_data
#define partition_out   alter_partition_response_partition_data

struct sending {
    struct arena                   arena;
    struct isr_change            **v;   /* sorted */
    size_t                         n;
    bool                          *answered;
    int16_t                        version;
    struct alter_partition_request req;
};

static const struct {
    int16_t          kerr;
    enum isr_outcome outcome;
} outcomes[] = {
    { KERR_NONE, ISR_DONE },
    { KERR_OPERATION_NOT_ATTEMPTED, ISR_REVERT },
    { KERR_INELIGIBLE_REPLICA, ISR_REVERT },
    { KERR_UNKNOWN_TOPIC_OR_PARTITION, ISR_WAIT },
    { KERR_UNKNOWN_TOPIC_ID, ISR_WAIT },
    { KERR_FENCED_LEADER_EPOCH, ISR_WAIT },
    { KERR_INVALID_UPDATE_VERSION, ISR_WAIT },
    { KERR_INVALID_REQUEST, ISR_WAIT },
    { KERR_NEW_LEADER_ELECTED, ISR_WAIT },
};

static enum isr_outcome outcome_of(int16_t kerr)
{
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        if (outcomes[i].kerr == kerr)
            return outcomes[i].outcome;
    return ISR_RETRY;
}

/* ---- the request ---- */

static int by_partition(const void *a, const void *b)
{
    const struct isr_change *x = *(struct isr_change *const *)a, *y = *(struct isr_change *const *)b;
    int d = str_cmp(x->topic, y->topic);

    return d != 0 ? d : (x->index > y->index) - (x->index < y->index);
}

static int by_age(const void *a, const void *b)
{
    const struct isr_change *x = *(struct isr_change *const *)a, *y = *(struct isr_change *const *)b;
    int d = by_partition(a, b);

    if (d == 0)
        d = (x->leader_epoch > y->leader_epoch) - (x->leader_epoch < y->leader_epoch);
    return d != 0 ? d : (x->partition_epoch > y->partition_epoch) - (x->partition_epoch < y->partition_epoch);
}

/* While a request is tried again a LeaderAndIsr may come, and the leader asks for another change: the one before is not
 * waited for any more. Two of one partition in a request, and the answers could not be told apart. */
static void drop_superseded(struct isr_changes *c, struct sending *s)
{
    struct isr_change **left = &c->doing;
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (i + 1 < s->n && by_partition(&s->v[i], &s->v[i + 1]) == 0) {
            s->v[i]->next = NULL;
            s->v[i]->outcome = ISR_DROPPED;
            s->v[i]->done(s->v[i]);
            continue;
        }
        s->v[n++] = s->v[i];
        *left = s->v[n - 1];
        left = &s->v[n - 1]->next;
    }
    *left = NULL;
    s->n = n;
}

static int sort_changes(struct isr_changes *c, struct sending *s)
{
    size_t at = 0;

    for (const struct isr_change *ch = c->doing; ch != NULL; ch = ch->next)
        s->n++;
    s->v = arena_array(&s->arena, s->n + 1, sizeof(struct isr_change *));
    s->answered = arena_array(&s->arena, s->n + 1, sizeof *s->answered);
    if (s->v == NULL || s->answered == NULL)
        return ERR_NOMEM;
    for (struct isr_change *ch = c->doing; ch != NULL; ch = ch->next)
        s->v[at++] = ch;
    qsort(s->v, s->n, sizeof(struct isr_change *), by_age);
    drop_superseded(c, s);
    s->version = ibp_version(&c->o.ibp, API_ALTER_PARTITION);
    for (size_t i = 0; i < s->n && s->version > VERSION_NAMES; i++)
        if (uuid_is_zero(s->v[i]->topic_id))
            s->version = VERSION_NAMES;
    return OK;
}

static int fill_partition(struct isr_changes *c, struct sending *s, const struct isr_change *ch,
                          struct partition_in *out)
{
    size_t n = (size_t)ch->isr_n;

    alter_partition_request_partition_data_init(out);
    out->partition_index = ch->index;
    out->leader_epoch = ch->leader_epoch;
    out->partition_epoch = ch->partition_epoch;
    if (ibp_has(&c->o.ibp, IBP_LEADER_RECOVERY))
        out->leader_recovery_state = ch->recovering;
    if (s->version < 3) {
        out->new_isr = arena_array(&s->arena, n + 1, sizeof *out->new_isr);
        if (out->new_isr == NULL)
            return ERR_NOMEM;
        for (size_t i = 0; i < n; i++)
            out->new_isr[out->new_isr_n++] = ch->isr[i].id;
        return OK;
    }
    out->new_isr_with_epochs = arena_array(&s->arena, n + 1, sizeof *out->new_isr_with_epochs);
    if (out->new_isr_with_epochs == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct member_in *m = &out->new_isr_with_epochs[out->new_isr_with_epochs_n++];

        alter_partition_request_broker_state_init(m);
        m->broker_id = ch->isr[i].id;
        m->broker_epoch = ch->isr[i].broker_epoch;
    }
    return OK;
}

static int fill(struct isr_changes *c, struct sending *s)
{
    struct topic_in *t = NULL;

    alter_partition_request_init(&s->req);
    s->req.broker_id = c->o.broker_id;
    s->req.broker_epoch = standing_broker_epoch(c->o.standing);
    s->req.topics = arena_array(&s->arena, s->n + 1, sizeof *s->req.topics);
    if (s->req.topics == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->n; i++) {
        const struct isr_change *ch = s->v[i];

        if (i == 0 || !str_eq(ch->topic, s->v[i - 1]->topic)) {
            size_t n = 1;

            while (i + n < s->n && str_eq(s->v[i + n]->topic, ch->topic))
                n++;
            t = &s->req.topics[s->req.topics_n++];
            alter_partition_request_topic_data_init(t);
            if (s->version > VERSION_NAMES)
                t->topic_id = ch->topic_id;
            else
                t->topic_name = ch->topic;
            t->partitions = arena_array(&s->arena, n, sizeof *t->partitions);
            if (t->partitions == NULL)
                return ERR_NOMEM;
        }
        TRY(fill_partition(c, s, ch, &t->partitions[t->partitions_n++]));
    }
    return OK;
}

static int encode(struct sending *s, struct bytes *body)
{
    struct chain ch;
    uint8_t *p;
    int rc;

    chain_init(&ch, &s->arena);
    rc = alter_partition_request_write(&ch, &s->req, s->version);
    p = rc == OK ? arena_alloc(&s->arena, ch.len + 1) : NULL;
    if (rc == OK)
        rc = p != NULL ? chain_flatten(&ch, p, ch.len) : ERR_NOMEM;
    *body = (struct bytes){ p, ch.len };
    chain_fini(&ch);
    return rc;
}

/* ---- the answer ---- */

/* The name of the topic that the answer speaks of; null: of none that was sent. The i-th is usually the i-th. */
static struct str name_of(const struct sending *s, const struct topic_out *t, int32_t i, const struct isr_change *first)
{
    if (s->version <= VERSION_NAMES)
        return t->topic_name;
    if (first != NULL && i < s->req.topics_n && uuid_eq(first->topic_id, t->topic_id))
        return first->topic;
    for (size_t k = 0; k < s->n; k++)
        if (uuid_eq(s->v[k]->topic_id, t->topic_id))
            return s->v[k]->topic;
    return (struct str){ NULL, 0 };
}

static void take_partition(struct isr_changes *c, struct sending *s, struct str name, const struct partition_out *p)
{
    struct isr_change key = { .topic = name, .index = p->partition_index }, *k = &key, **at;
    struct isr_change *ch;

    at = bsearch(&k, s->v, s->n, sizeof(struct isr_change *), by_partition);
    if (at == NULL || s->answered[at - s->v]) {
        log_warn("AlterPartition: the controller, broker %d, answers for %.*s-%d, which it was not asked about",
                 controller_link_to(c->link), STR_ARG(name), p->partition_index);
        return;
    }
    ch = *at;
    s->answered[at - s->v] = true;
    ch->kerr = p->error_code;
    ch->outcome = outcome_of(p->error_code);
    ch->got_leader = p->leader_id;
    ch->got_leader_epoch = p->leader_epoch;
    ch->got_partition_epoch = p->partition_epoch;
    ch->got_isr = p->isr;
    ch->got_isr_n = p->isr_n;
    ch->got_recovering = p->leader_recovery_state == 1;
}

/* Answers those that have an answer; the others stay in c->doing. ERR_AGAIN: some are to be sent once more, by us or
 * by who asked. */
static int conclude(struct isr_changes *c, struct sending *s)
{
    struct isr_change **left = &c->doing;
    int rc = OK;

    *left = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (!s->answered[i]) {
            *left = s->v[i];
            left = &s->v[i]->next;
            *left = NULL;
            rc = ERR_AGAIN;
        }
    for (size_t i = 0; i < s->n; i++)
        if (s->answered[i]) {
            if (s->v[i]->outcome == ISR_RETRY)
                rc = ERR_AGAIN;
            s->v[i]->next = NULL;
            s->v[i]->done(s->v[i]);
        }
    return rc;
}

static int take(struct isr_changes *c, struct sending *s, struct bytes answer)
{
    static struct log_limit said = LOG_LIMIT(1000, 5);
    struct cursor cur = cur_ro(answer.p, answer.len);
    struct alter_partition_response resp;
    size_t first = 0;
    int hidden;

    TRY(alter_partition_response_read(&cur, s->version, &s->arena, &resp));
    if (resp.error_code != KERR_NONE) {
        if (log_limit(&said, &hidden))
            log_info("AlterPartition: the controller, broker %d, refuses %zu changes of ISRs: %s; asked again",
                     controller_link_to(c->link), s->n, kerr_name(resp.error_code));
        return ERR_AGAIN;
    }
    for (int32_t i = 0; i < resp.topics_n; i++) {
        struct str name = name_of(s, &resp.topics[i], i, first < s->n ? s->v[first] : NULL);

        for (int32_t k = 0; k < resp.topics[i].partitions_n && name.p != NULL; k++)
            take_partition(c, s, name, &resp.topics[i].partitions[k]);
        if (i < s->req.topics_n)
            first += (size_t)s->req.topics[i].partitions_n;
    }
    return conclude(c, s);
}

int alter_partition(struct isr_changes *c)
{
    struct sending s = { .n = 0 };
    struct bytes body, answer;
    int rc;

    arena_init(&s.arena, MEMORY_MAX);
    rc = sort_changes(c, &s);
    if (rc == OK)
        rc = fill(c, &s);
    if (rc == OK)
        rc = encode(&s, &body);
    if (rc == OK)
        rc = controller_link_call(c->link, API_ALTER_PARTITION, s.version, body, 0, &answer);
    if (rc == OK)
        rc = take(c, &s, answer);
    arena_fini(&s.arena);
    return rc;
}
