/* tests/unit/broker/replica/fake_leader.h - broker 2 as a thread that speaks frames: of a log of batches in memory it
 * answers Fetch (with sessions), OffsetForLeaderEpoch and ListOffsets, truthfully or as a test wants it.
 */
#ifndef TESTS_UNIT_BROKER_REPLICA_FAKE_LEADER_H
#define TESTS_UNIT_BROKER_REPLICA_FAKE_LEADER_H

#include "tests/unit/broker/replica/fake_leader_log.h"

static inline bool fl_has_news(void)
{
    int32_t epoch;
    int64_t end;

    if (!fl.in_session)
        return false;
    fl_epoch_end(fl.last_epoch, &epoch, &end);
    if (fl.leader_epoch >= 0 && fl.leader_epoch != fl.epoch)
        return true;
    return fl.news || fl.offset != fl_end() || fl.trick != FL_HONEST || fl.first ||
           (fl.version >= 12 && fl.last_epoch >= 0 && epoch < fl.last_epoch);
}

static inline void fl_take_partition(const struct fetch_request_fetch_partition *part)
{
    ck_assert_int_le(part->partition, 1);
    if (part->partition == 1) {
        fl.second = true;
        return;
    }
    fl.in_session = true;
    fl.offset = part->fetch_offset;
    fl.log_start = part->log_start_offset;
    fl.last_epoch = part->last_fetched_epoch;
    fl.leader_epoch = part->current_leader_epoch;
    fl.max_bytes = part->partition_max_bytes;
}

static inline void fl_take_fetch(struct cursor *c, struct arena *a, const struct request_header *h)
{
    struct fetch_request in;

    ck_assert_int_eq(fetch_request_read(c, h->request_api_version, a, &in), OK);
    fl.fetches++;
    fl.version = h->request_api_version;
    fl.correlation = h->correlation_id;
    fl.parked = true;
    fl.deadline_ms = mono_ms() + in.max_wait_ms;
    fl.first = fl.version < 7 || in.session_epoch <= 0;
    fl.by_id = fl.version >= 13;
    if (fl.first) {
        fl.full++;
        fl.in_session = fl.second = false;
        fl.session_epoch = 0;
    } else {
        ck_assert_int_eq(in.session_id, 77);
        ck_assert_int_eq(in.session_epoch, fl.session_epoch);
    }
    fl.session_epoch++;
    ck_assert_int_le(in.topics_n, 1);
    for (int32_t i = 0; i < in.topics_n; i++) {
        if (fl.by_id)
            ck_assert(uuid_eq(in.topics[i].topic_id, topic_id));
        else
            ck_assert(str_is(in.topics[i].topic, "t"));
        fl.id = in.topics[i].topic_id;
        for (int32_t k = 0; k < in.topics[i].partitions_n; k++)
            fl_take_partition(&in.topics[i].partitions[k]);
    }
    for (int32_t i = 0; i < in.forgotten_topics_data_n; i++) {      /* the last thing that a leader looks at */
        fl.forgotten++;
        ck_assert_int_eq(in.forgotten_topics_data[i].partitions_n, 1);
        if (in.forgotten_topics_data[i].partitions[0] == 1)
            fl.second = false;
        else
            fl.in_session = false;
    }
}

static inline void fl_take_epochs(struct cursor *c, struct arena *a, const struct request_header *h)
{
    struct offset_for_leader_epoch_request in;
    struct offset_for_leader_epoch_response r;
    struct offset_for_leader_epoch_response_offset_for_leader_topic_result t;
    struct offset_for_leader_epoch_response_epoch_end_offset part;
    struct chain ch;

    ck_assert_int_eq(offset_for_leader_epoch_request_read(c, h->request_api_version, a, &in), OK);
    fl.epochs++;
    offset_for_leader_epoch_response_init(&r);
    offset_for_leader_epoch_response_offset_for_leader_topic_result_init(&t);
    offset_for_leader_epoch_response_epoch_end_offset_init(&part);
    r.topics = &t;
    r.topics_n = 1;
    t.topic = STR_LIT("t");
    t.partitions = &part;
    t.partitions_n = 1;
    fl_epoch_end(in.topics[0].partitions[0].leader_epoch, &part.leader_epoch, &part.end_offset);
    while (fl.holds_epochs && !fl.stop)
        pthread_cond_wait(&fl.changed, &fl.lock);
    chain_init(&ch, a);
    ck_assert_int_eq(offset_for_leader_epoch_response_write(&ch, &r, h->request_api_version), OK);
    fl_send(API_OFFSET_FOR_LEADER_EPOCH, h->request_api_version, h->correlation_id, &ch, 0);
    chain_fini(&ch);
}

static inline void fl_take_lists(struct cursor *c, struct arena *a, const struct request_header *h)
{
    struct list_offsets_request in;
    struct list_offsets_response r;
    struct list_offsets_response_list_offsets_topic_response t;
    struct list_offsets_response_list_offsets_partition_response part;
    struct chain ch;

    ck_assert_int_eq(list_offsets_request_read(c, h->request_api_version, a, &in), OK);
    fl.lists++;
    list_offsets_response_init(&r);
    list_offsets_response_list_offsets_topic_response_init(&t);
    list_offsets_response_list_offsets_partition_response_init(&part);
    r.topics = &t;
    r.topics_n = 1;
    t.name = STR_LIT("t");
    t.partitions = &part;
    t.partitions_n = 1;
    part.offset = in.topics[0].partitions[0].timestamp == -2 ? fl.start : fl_end();
    chain_init(&ch, a);
    ck_assert_int_eq(list_offsets_response_write(&ch, &r, h->request_api_version), OK);
    fl_send(API_LIST_OFFSETS, h->request_api_version, h->correlation_id, &ch, 0);
    chain_fini(&ch);
}

/* ---- the thread ---- */

static inline bool fl_recv(void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = recv(fl.fd, (char *)p + at, n - at, 0);

        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

static inline void fl_take_request(void)
{
    struct request_header h;
    struct arena a;
    struct cursor c;
    uint8_t size[4], *p;
    size_t n;

    if (!fl_recv(size, 4)) {
        fl_drop();
        return;
    }
    n = be_get32(size);
    p = malloc(n);
    arena_init(&a, 64 << 20);
    if (fl_recv(p, n)) {
        c = cur_ro(p, n);
        ck_assert_int_eq(header_read_request(&c, &a, &h), OK);
        if (h.request_api_key == API_FETCH)
            fl_take_fetch(&c, &a, &h);
        else if (h.request_api_key == API_OFFSET_FOR_LEADER_EPOCH)
            fl_take_epochs(&c, &a, &h);
        else
            fl_take_lists(&c, &a, &h);
        pthread_cond_broadcast(&fl.changed);
    } else {
        fl_drop();
    }
    arena_fini(&a);
    free(p);
}

static inline void *fl_main(void *arg)
{
    (void)arg;
    fl_lock();
    while (!fl.stop) {
        struct pollfd v[] = { { .fd = fl.listen_fd, .events = POLLIN }, { .fd = fl.bell, .events = POLLIN },
                              { .fd = fl.fd, .events = POLLIN } };
        int64_t left = fl.parked ? fl.deadline_ms - mono_ms() : -1;
        uint64_t n;

        pthread_mutex_unlock(&fl.lock);
        (void)poll(v, 3, fl.parked && left < 0 ? 0 : (int)left);
        fl_lock();
        if (v[1].revents != 0)
            (void)!read(fl.bell, &n, sizeof n);
        if (v[2].revents != 0 && fl.fd >= 0)
            fl_take_request();
        if (v[0].revents != 0) {
            fl_drop();
            fl.fd = accept(fl.listen_fd, NULL, NULL);
            fl.connections++;
        }
        if (fl.parked && (fl_has_news() || mono_ms() >= fl.deadline_ms)) {
            if (fl_has_news()) {
                fl_answer_fetch();
            } else {
                bool was = fl.in_session;

                fl.in_session = false;
                fl_answer_fetch();
                fl.in_session = was;
            }
        }
    }
    fl_drop();
    pthread_mutex_unlock(&fl.lock);
    return NULL;
}

static inline void fl_start(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;

    memset(&fl, 0, sizeof fl);
    pthread_mutex_init(&fl.lock, NULL);
    pthread_cond_init(&fl.changed, NULL);
    fl.fd = -1;
    fl.hw = -1;
    fl.sessions = true;
    fl.max_batches = 100;
    fl.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fl.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fl.listen_fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fl.listen_fd, 16), 0);
    ck_assert_int_eq(getsockname(fl.listen_fd, (struct sockaddr *)&at, &len), 0);
    fl.port = ntohs(at.sin_port);
    ck_assert_int_eq(pthread_create(&fl.thread, NULL, fl_main, NULL), 0);
}

static inline void fl_end_all(void)
{
    fl_lock();
    fl.stop = true;
    fl_unlock();
    pthread_join(fl.thread, NULL);
    fl_cut(-1);
    close(fl.listen_fd);
    close(fl.bell);
}

#endif
