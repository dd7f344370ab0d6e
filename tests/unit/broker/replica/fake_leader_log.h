/* tests/unit/broker/replica/fake_leader_log.h - the log that broker 2 is said to have, and its answers to Fetch,
 * truthful or not. The thread that gives them: fake_leader.h.
 *
 * LOCKS  `fl.lock` guards all of `fl`; the thread holds it while it works. Tests change things between fl_lock() and
 *        fl_unlock(), which makes the thread look again at the Fetch that waits.
 */
#ifndef TESTS_UNIT_BROKER_REPLICA_FAKE_LEADER_LOG_H
#define TESTS_UNIT_BROKER_REPLICA_FAKE_LEADER_LOG_H

#include "base/clock.h"
#include "proto/gen/apis.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/gen/offset_for_leader_epoch_request.h"
#include "proto/gen/offset_for_leader_epoch_response.h"
#include "proto/header.h"
#include "tests/unit/broker/replica/kit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

struct fl_batch {
    int64_t  base, last;
    int32_t  epoch;
    uint8_t *p;
    size_t   n;
};

/* What goes wrong with the next answer to a Fetch that has something to say; then it is FL_HONEST again. */
enum fl_trick {
    FL_HONEST, FL_CLOSE, FL_TOP_ERROR, FL_PART_ERROR, FL_GARBAGE, FL_HUGE, FL_OTHER_TOPIC, FL_HALF_BATCH, FL_FLIPPED,
    FL_LATER_EPOCH, FL_OFFSETS_BELOW, FL_OFFSETS_ABOVE, FL_TWICE, FL_DIVERGE_NOWHERE, FL_CUT_ANSWER, FL_TRICKS_N
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t  changed;            /* requests have come */
    pthread_t       thread;
    int             listen_fd, fd, bell;    /* fd: the one connection; -1 */
    int32_t         port;
    bool            stop;
    struct fl_batch v[512];
    int             n;
    int64_t         start, hw;          /* hw -1: the log end */
    int32_t         epoch;
    enum fl_trick   trick;
    int16_t         error;
    bool            sessions;
    int             max_batches;        /* in one answer */
    bool            holds_epochs;       /* the answer to OffsetForLeaderEpoch, for as long as it is set */
    /* the Fetch that waits */
    bool            parked;
    int64_t         deadline_ms;
    int16_t         version;
    int32_t         correlation;
    bool            first, news;
    /* the session */
    int32_t         session_epoch;
    bool            in_session;
    bool            second;             /* t-1 is in it, too: of that there is never any news */
    /* as asked last */
    int64_t         offset, log_start;
    int32_t         last_epoch, leader_epoch, max_bytes;
    struct uuid     id;
    bool            by_id;
    /* counts */
    int             connections, fetches, full, epochs, lists, forgotten;
} fl;

static inline void fl_lock(void)
{
    pthread_mutex_lock(&fl.lock);
}

static inline void fl_unlock(void)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(fl.bell, &one, sizeof one), (ssize_t)sizeof one);
    pthread_mutex_unlock(&fl.lock);
}

static inline int64_t fl_end(void)
{
    return fl.n > 0 ? fl.v[fl.n - 1].last + 1 : fl.start;
}

/* ---- its log; under the lock ---- */

static inline void fl_put(int32_t epoch, int records, size_t value)
{
    struct fl_batch *b = &fl.v[fl.n];
    struct builder_opts o;
    struct builder w;
    struct arena a;
    struct bytes set;
    uint8_t *bytes = calloc(1, value + 1);

    ck_assert_int_lt(fl.n, 512);
    memset(bytes, 'a' + fl.n % 20, value);
    arena_init(&a, 64 << 20);
    builder_opts_init(&o);
    builder_init(&w, &o, &a);
    for (int i = 0; i < records; i++)
        builder_add(&w, &(struct record){ .offset = i, .timestamp = 1000 + i, .value = { bytes, value } });
    ck_assert_int_eq(builder_finish(&w, &set), OK);
    b->base = fl_end();
    b->last = b->base + records - 1;
    b->epoch = epoch;
    b->n = set.len;
    b->p = malloc(set.len);
    memcpy(b->p, set.p, set.len);
    batch_set_base_offset(b->p, b->base);
    batch_set_leader_epoch(b->p, epoch);
    fl.n++;
    builder_fini(&w);
    arena_fini(&a);
    free(bytes);
}

static inline void fl_cut(int64_t end)
{
    while (fl.n > 0 && fl.v[fl.n - 1].last >= end)
        free(fl.v[--fl.n].p);
}

/* All below is gone. */
static inline void fl_begin_at(int64_t start)
{
    int k = 0;

    while (k < fl.n && fl.v[k].last < start)
        free(fl.v[k++].p);
    memmove(fl.v, fl.v + k, (size_t)(fl.n - k) * sizeof fl.v[0]);
    fl.n -= k;
    fl.start = start;
}

/* OffsetForLeaderEpoch: the latest epoch at or before, and where it ends. */
static inline void fl_epoch_end(int32_t epoch, int32_t *out_epoch, int64_t *out_end)
{
    *out_epoch = -1;
    *out_end = -1;
    for (int i = 0; i < fl.n; i++) {
        if (fl.v[i].epoch > epoch) {
            *out_end = fl.v[i].base;
            if (*out_epoch < 0)
                *out_epoch = epoch;
            return;
        }
        *out_epoch = fl.v[i].epoch;
    }
    *out_end = fl_end();
    if (*out_epoch < 0)
        *out_epoch = epoch;
}

/* ---- answers ---- */

static inline void fl_drop(void)
{
    if (fl.fd >= 0)
        close(fl.fd);
    fl.fd = -1;
    fl.parked = false;
}

static inline void fl_send_raw(const void *p, size_t n)
{
    for (size_t at = 0; at < n && fl.fd >= 0;) {
        ssize_t k = send(fl.fd, (const char *)p + at, n - at, MSG_NOSIGNAL);

        if (k < 0)
            fl_drop();
        else
            at += (size_t)k;
    }
}

static inline void fl_send(int16_t api, int16_t version, int32_t correlation, struct chain *body, size_t less)
{
    size_t head = response_header_version(api, version) > 0 ? 9 : 8, n = head + body->len;
    uint8_t *p = malloc(n);

    ck_assert_int_eq(body->rc, OK);
    be_put32(p, (uint32_t)(n - 4));
    be_put32(p + 4, (uint32_t)correlation);
    if (head > 8)
        p[8] = 0;
    ck_assert_int_eq(chain_flatten(body, p + head, body->len), OK);
    fl_send_raw(p, n - less);
    free(p);
    if (less > 0)
        fl_drop();
}

/* Whole batches from fl.offset on, one after the other. */
static inline uint8_t *fl_records(size_t *n)
{
    uint8_t *out = NULL;
    int given = 0;

    *n = 0;
    for (int i = 0; i < fl.n && given < fl.max_batches; i++) {
        if (fl.v[i].last < fl.offset || (given > 0 && *n + fl.v[i].n > (size_t)fl.max_bytes))
            continue;
        out = realloc(out, *n + fl.v[i].n);
        memcpy(out + *n, fl.v[i].p, fl.v[i].n);
        *n += fl.v[i].n;
        given++;
    }
    return out;
}

static inline void fl_play(struct fetch_response *r, struct fetch_response_fetchable_topic_response *t,
                           struct fetch_response_partition_data *part, uint8_t *p, size_t n)
{
    switch (fl.trick) {
    case FL_TOP_ERROR:
        r->error_code = fl.error;
        r->responses_n = 0;
        fl.session_epoch = 0;
        break;
    case FL_PART_ERROR:
        part->error_code = fl.error;
        part->records = slice_mem(p, 0);
        break;
    case FL_OTHER_TOPIC:
        t->topic = STR_LIT("other");
        t->topic_id = uuid_random();
        break;
    case FL_HALF_BATCH:
        part->records.len = n / 2;
        break;
    case FL_FLIPPED:
        if (n > 0)
            p[n - 1] ^= 1;
        break;
    case FL_LATER_EPOCH:
        if (n > 0)
            batch_set_leader_epoch(p, fl.leader_epoch + 1);
        break;
    case FL_OFFSETS_BELOW:
        if (n > 0)
            batch_set_base_offset(p, fl.offset - 1);
        break;
    case FL_OFFSETS_ABOVE:
        if (n > 0)
            batch_set_base_offset(p, INT64_MAX - 3);
        break;
    case FL_DIVERGE_NOWHERE:
        part->diverging_epoch.epoch = fl.last_epoch;
        part->diverging_epoch.end_offset = fl.offset + 100;
        break;
    default:
        break;
    }
}

static inline void fl_answer_fetch(void)
{
    struct fetch_response r;
    struct fetch_response_fetchable_topic_response t[2];
    struct fetch_response_partition_data part;
    struct arena a;
    struct chain ch;
    size_t n;
    uint8_t *p = fl_records(&n);
    int32_t epoch;
    int64_t end;

    arena_init(&a, 256 << 20);
    chain_init(&ch, &a);
    fetch_response_init(&r);
    fetch_response_fetchable_topic_response_init(&t[0]);
    fetch_response_partition_data_init(&part);
    t[0].topic = STR_LIT("t");
    t[0].topic_id = fl.id;
    t[0].partitions = &part;
    t[0].partitions_n = 1;
    t[1] = t[0];
    part.high_watermark = fl.hw >= 0 ? fl.hw : fl_end();
    part.log_start_offset = fl.start;
    part.records = slice_mem(p != NULL ? p : (const uint8_t *)"", n);
    fl_epoch_end(fl.last_epoch, &epoch, &end);
    if (fl.leader_epoch >= 0 && fl.leader_epoch != fl.epoch) {
        part.error_code = fl.leader_epoch < fl.epoch ? KERR_FENCED_LEADER_EPOCH : KERR_UNKNOWN_LEADER_EPOCH;
        part.records.len = 0;
    } else if (fl.version >= 12 && fl.last_epoch >= 0 && (epoch < fl.last_epoch || end < fl.offset)) {
        part.diverging_epoch.epoch = epoch;
        part.diverging_epoch.end_offset = end;
        part.records.len = 0;
    } else if (fl.offset < fl.start || fl.offset > fl_end()) {
        part.error_code = KERR_OFFSET_OUT_OF_RANGE;
        part.records.len = 0;
    }
    r.responses = t;
    r.responses_n = fl.in_session ? (fl.trick == FL_TWICE ? 2 : 1) : 0;
    r.session_id = fl.sessions ? 77 : 0;
    fl_play(&r, &t[0], &part, p, n);
    ck_assert_int_eq(fetch_response_write(&ch, &r, fl.version), OK);
    if (fl.trick == FL_CLOSE)
        fl_drop();
    else if (fl.trick == FL_GARBAGE)
        fl_send_raw("\0\0\0\x10this is no answer", 22);
    else if (fl.trick == FL_HUGE)
        fl_send_raw("\x7f\xff\xff\xff\0\0\0\0", 8);
    else
        fl_send(API_FETCH, fl.version, fl.correlation, &ch, fl.trick == FL_CUT_ANSWER ? ch.len / 2 + 1 : 0);
    fl.trick = FL_HONEST;
    fl.parked = fl.news = false;
    chain_fini(&ch);
    arena_fini(&a);
    free(p);
}

#endif
