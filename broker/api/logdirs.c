/* broker/api/logdirs.c - DescribeLogDirs: what lies where, and how large it is. */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "proto/gen/describe_log_dirs_request.h"
#include "proto/gen/describe_log_dirs_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <stdlib.h>

#define topic_in  describe_log_dirs_request_describable_log_dir_topic
#define dir_out   describe_log_dirs_response_describe_log_dirs_result
#define topic_out describe_log_dirs_response_describe_log_dirs_topic
#define part_out  describe_log_dirs_response_describe_log_dirs_partition

/* Directory, then topic, then partition. */
static int by_place(const void *a, const void *b)
{
    const struct plog *x = *(struct plog *const *)a, *y = *(struct plog *const *)b;
    struct str s = plog_topic(x), t = plog_topic(y);
    size_t n = s.len < t.len ? s.len : t.len;
    int c;

    if (plog_dir_index(x) != plog_dir_index(y))
        return plog_dir_index(x) < plog_dir_index(y) ? -1 : 1;
    c = n > 0 ? memcmp(s.p, t.p, n) : 0;
    if (c != 0)
        return c;
    if (s.len != t.len)
        return s.len < t.len ? -1 : 1;
    return plog_partition(x) < plog_partition(y) ? -1 : plog_partition(x) > plog_partition(y);
}

static bool wanted(const struct describe_log_dirs_request *in, const struct plog *l)
{
    if (in->topics_n < 0)
        return true;                    /* null: all */
    for (int32_t i = 0; i < in->topics_n; i++) {
        const struct topic_in *t = &in->topics[i];

        if (!str_eq(t->topic, plog_topic(l)))
            continue;
        for (int32_t k = 0; k < t->partitions_n; k++)
            if (t->partitions[k] == plog_partition(l))
                return true;
    }
    return false;
}

/* logs[]: those of the directory that are wanted, sorted. */
static int describe_dir(struct arena *a, const struct logmgr_dir *dir, struct plog **logs, size_t n,
                        struct dir_out *out)
{
    struct topic_out *t = NULL;
    struct part_out *parts = arena_array(a, n + 1, sizeof *parts);

    describe_log_dirs_response_describe_log_dirs_result_init(out);
    out->log_dir = str_of(dir->path);
    if (dir->offline) {
        out->error_code = KERR_KAFKA_STORAGE_ERROR;
        return OK;
    }
    out->total_bytes = dir->total_bytes;
    out->usable_bytes = dir->usable_bytes;
    out->topics = arena_array(a, n + 1, sizeof *out->topics);
    if (parts == NULL || out->topics == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct plog_offsets o = plog_offsets(logs[i]);

        if (t == NULL || !str_eq(t->name, plog_topic(logs[i]))) {
            t = &out->topics[out->topics_n++];
            describe_log_dirs_response_describe_log_dirs_topic_init(t);
            TRY(arena_str(a, plog_topic(logs[i]), &t->name));
            t->partitions = &parts[i];
        }
        describe_log_dirs_response_describe_log_dirs_partition_init(&parts[i]);
        parts[i].partition_index = plog_partition(logs[i]);
        parts[i].partition_size = plog_size_bytes(logs[i]);
        parts[i].offset_lag = o.hw > o.leo ? o.hw - o.leo : 0;
        t->partitions_n++;
    }
    return OK;
}

static int describe_all(struct broker *b, const struct describe_log_dirs_request *in, struct arena *a,
                        struct plog **logs, size_t n, struct describe_log_dirs_response *out)
{
    struct plog **v = arena_array(a, n + 1, sizeof(struct plog *));
    size_t dirs = logmgr_dirs(b->logs), kept = 0, at = 0;

    out->results = arena_array(a, dirs + 1, sizeof *out->results);
    if (v == NULL || out->results == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (wanted(in, logs[i]))
            v[kept++] = logs[i];
    qsort(v, kept, sizeof(struct plog *), by_place);
    for (size_t d = 0; d < dirs; d++) {
        struct logmgr_dir dir;
        size_t from = at;

        while (at < kept && plog_dir_index(v[at]) == d)
            at++;
        TRY(logmgr_dir(b->logs, d, &dir));
        TRY(describe_dir(a, &dir, v + from, at - from, &out->results[out->results_n++]));
    }
    return OK;
}

void api_describe_log_dirs(struct broker *b, struct request *r)
{
    struct describe_log_dirs_request in;
    struct describe_log_dirs_response out;
    struct plog **logs = NULL;
    size_t n = 0;
    int rc;

    if (!API_READ(r, describe_log_dirs_request, &in))
        return;
    describe_log_dirs_response_init(&out);
    rc = logmgr_list(b->logs, &logs, &n);
    if (rc == OK)
        rc = describe_all(b, &in, &r->arena, logs, n, &out);
    logmgr_list_free(&logs, n);
    if (rc == OK)
        API_REPLY(r, describe_log_dirs_response, &out);
    else
        request_close(r, err_text(rc));
}
