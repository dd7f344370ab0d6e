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

/* The logs that are asked for, counted references, sorted, each once. */
static int asked_for(struct broker *b, const struct describe_log_dirs_request *in, struct arena *a, struct plog ***out,
                     size_t *n)
{
    size_t total = 0, kept = 0;
    struct plog **v;

    for (int32_t i = 0; i < in->topics_n; i++)
        total += (size_t)in->topics[i].partitions_n;
    v = arena_array(a, total + 1, sizeof(struct plog *));
    if (v == NULL)
        return ERR_NOMEM;
    *out = v;
    for (int32_t i = 0; i < in->topics_n; i++)
        for (int32_t k = 0; k < in->topics[i].partitions_n; k++)
            if ((v[*n] = logmgr_get(b->logs, in->topics[i].topic, in->topics[i].partitions[k])) != NULL)
                (*n)++;
    qsort(v, *n, sizeof(struct plog *), by_place);
    for (size_t i = 0; i < *n; i++) {
        if (kept > 0 && v[kept - 1] == v[i])
            plog_unref(&v[i]);
        else
            v[kept++] = v[i];
    }
    *n = kept;
    return OK;
}

/* logs[]: those of the directory that are asked for, sorted. */
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

static int describe_all(struct broker *b, struct arena *a, struct plog **logs, size_t n,
                        struct describe_log_dirs_response *out)
{
    size_t dirs = logmgr_dirs(b->logs), at = 0;

    out->results = arena_array(a, dirs + 1, sizeof *out->results);
    if (out->results == NULL)
        return ERR_NOMEM;
    for (size_t d = 0; d < dirs; d++) {
        struct logmgr_dir dir;
        size_t from = at;

        while (at < n && plog_dir_index(logs[at]) == d)
            at++;
        TRY(logmgr_dir(b->logs, d, &dir));
        TRY(describe_dir(a, &dir, logs + from, at - from, &out->results[out->results_n++]));
    }
    return OK;
}

void api_describe_log_dirs(struct broker *b, struct request *r)
{
    struct describe_log_dirs_request in;
    struct describe_log_dirs_response out;
    struct plog **logs = NULL, **all = NULL;
    size_t n = 0, all_n = 0;
    int rc;

    if (!API_READ(r, describe_log_dirs_request, &in))
        return;
    describe_log_dirs_response_init(&out);
    if (in.topics_n >= 0) {
        rc = asked_for(b, &in, &r->arena, &logs, &n);
    } else if ((rc = logmgr_list(b->logs, &all, &all_n)) == OK) {
        qsort(all, all_n, sizeof(struct plog *), by_place);
        logs = all;
    }
    if (rc == OK)
        rc = describe_all(b, &r->arena, logs, all != NULL ? all_n : n, &out);
    for (size_t i = 0; i < n; i++)
        plog_unref(&logs[i]);
    logmgr_list_free(&all, all_n);
    if (rc == OK)
        API_REPLY(r, describe_log_dirs_response, &out);
    else
        request_close(r, err_text(rc));
}
