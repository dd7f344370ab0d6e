/* broker/api/logdirs.c - DescribeLogDirs: what lies where, and how large it is; AlterReplicaLogDirs: where it shall
 * lie. */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "proto/gen/alter_replica_log_dirs_request.h"
#include "proto/gen/alter_replica_log_dirs_response.h"
#include "proto/gen/describe_log_dirs_request.h"
#include "proto/gen/describe_log_dirs_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <stdlib.h>

#define topic_in  describe_log_dirs_request_describable_log_dir_topic
#define dir_out   describe_log_dirs_response_describe_log_dirs_result
#define topic_out describe_log_dirs_response_describe_log_dirs_topic
#define part_out  describe_log_dirs_response_describe_log_dirs_partition

static int by_name(const void *a, const void *b)
{
    const struct plog *x = *(struct plog *const *)a, *y = *(struct plog *const *)b;
    int d = str_cmp(plog_topic(x), plog_topic(y));

    return d != 0 ? d : (plog_partition(x) > plog_partition(y)) - (plog_partition(x) < plog_partition(y));
}

/* Directory, then topic, then partition. */
static int by_place(const void *a, const void *b)
{
    const struct plog *x = *(struct plog *const *)a, *y = *(struct plog *const *)b;

    if (plog_dir_index(x) != plog_dir_index(y))
        return plog_dir_index(x) < plog_dir_index(y) ? -1 : 1;
    return by_name(a, b);
}

/* The copy that is being made of the log; a new reference. NULL: none. futures: sorted by name. */
static struct plog *copy_of(struct plog **futures, size_t n, struct plog *l)
{
    struct plog **found = bsearch(&l, futures, n, sizeof(struct plog *), by_name);

    return found != NULL ? plog_ref(*found) : NULL;
}

/* The logs that are asked for, and copies of them that are being made: counted references, sorted, each once. */
static int asked_for(struct broker *b, const struct describe_log_dirs_request *in, struct arena *a,
                     struct plog **futures, size_t futures_n, struct plog ***out, size_t *n)
{
    size_t total = futures_n, kept = 0;
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
    qsort(futures, futures_n, sizeof(struct plog *), by_name);
    for (size_t i = 0; i < kept && futures_n > 0; i++)
        if ((v[*n] = copy_of(futures, futures_n, v[i])) != NULL)
            ++*n;
    qsort(v, *n, sizeof(struct plog *), by_place);
    return OK;
}

static int64_t lag_of(struct broker *b, struct plog *l)
{
    struct plog_offsets o = plog_offsets(l);
    struct plog *current;
    int64_t lag = o.hw > o.leo ? o.hw - o.leo : 0;

    if (!plog_is_future(l) || (current = logmgr_get(b->logs, plog_topic(l), plog_partition(l))) == NULL)
        return lag;
    lag = plog_offsets(current).leo - o.leo;
    plog_unref(&current);
    return lag > 0 ? lag : 0;
}

/* logs[]: those of the directory that are asked for, sorted. */
static int describe_dir(struct broker *b, struct arena *a, const struct logmgr_dir *dir, struct plog **logs, size_t n,
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
        if (t == NULL || !str_eq(t->name, plog_topic(logs[i]))) {
            t = &out->topics[out->topics_n++];
            describe_log_dirs_response_describe_log_dirs_topic_init(t);
            TRY(arena_str(a, plog_topic(logs[i]), &t->name));
            t->partitions = &parts[i];
        }
        describe_log_dirs_response_describe_log_dirs_partition_init(&parts[i]);
        parts[i].partition_index = plog_partition(logs[i]);
        parts[i].partition_size = plog_size_bytes(logs[i]);
        parts[i].offset_lag = lag_of(b, logs[i]);
        parts[i].is_future_key = plog_is_future(logs[i]);
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
        TRY(describe_dir(b, a, &dir, logs + from, at - from, &out->results[out->results_n++]));
    }
    return OK;
}

/* All logs, and the copies that are being made, sorted. Gives the references on: n becomes 0. */
static int all_logs(struct broker *b, struct plog **futures, size_t *futures_n, struct plog ***out, size_t *n)
{
    struct plog **v;

    TRY(logmgr_list(b->logs, out, n));
    v = realloc(*out, (*n + *futures_n + 1) * sizeof(struct plog *));
    if (v == NULL)
        return ERR_NOMEM;
    *out = v;
    while (*futures_n > 0)
        v[(*n)++] = futures[--*futures_n];
    qsort(v, *n, sizeof(struct plog *), by_place);
    return OK;
}

void api_describe_log_dirs(struct broker *b, struct request *r)
{
    struct describe_log_dirs_request in;
    struct describe_log_dirs_response out;
    struct plog **logs = NULL, **all = NULL, **futures = NULL;
    size_t n = 0, all_n = 0, futures_n = 0;
    int rc;

    if (!API_READ(r, describe_log_dirs_request, &in))
        return;
    describe_log_dirs_response_init(&out);
    rc = logmgr_list_futures(b->logs, &futures, &futures_n);
    if (rc == OK && in.topics_n >= 0)
        rc = asked_for(b, &in, &r->arena, futures, futures_n, &logs, &n);
    else if (rc == OK)
        rc = all_logs(b, futures, &futures_n, &all, &all_n);
    if (rc == OK)
        rc = describe_all(b, &r->arena, all != NULL ? all : logs, all != NULL ? all_n : n, &out);
    for (size_t i = 0; i < n; i++)
        plog_unref(&logs[i]);
    logmgr_list_free(&all, all_n);
    logmgr_list_free(&futures, futures_n);
    if (rc == OK)
        API_REPLY(r, describe_log_dirs_response, &out);
    else
        request_close(r, err_text(rc));
}

/* ---- AlterReplicaLogDirs ----------------------------------------------------------------------------------------- */

#define alter_topic alter_replica_log_dirs_response_alter_replica_log_dir_topic_result
#define alter_part  alter_replica_log_dirs_response_alter_replica_log_dir_partition_result

/* Index of the directory with this path; number of them: none. */
static size_t dir_named(struct broker *b, struct str path, struct logmgr_dir *out)
{
    size_t n = logmgr_dirs(b->logs);

    for (size_t i = 0; i < n; i++)
        if (logmgr_dir(b->logs, i, out) == OK && str_is(path, out->path))
            return i;
    return n;
}

static int16_t alter_one(struct broker *b, struct str path, struct str topic, int32_t index)
{
    struct logmgr_dir dir;
    size_t i = dir_named(b, path, &dir);
    struct partition *p;
    int16_t kerr;
    int rc;

    if (i == logmgr_dirs(b->logs))
        return KERR_LOG_DIR_NOT_FOUND;
    if (dir.offline)
        return KERR_KAFKA_STORAGE_ERROR;
    p = replicas_find(b->replicas, topic, index, &kerr);
    if (p == NULL) {
        if (kerr != KERR_KAFKA_STORAGE_ERROR)
            logmgr_prefer(b->logs, topic, index, i);    /* should it be made here later */
        return kerr == KERR_NOT_LEADER_OR_FOLLOWER ? KERR_REPLICA_NOT_AVAILABLE : kerr;
    }
    rc = logmgr_move(b->logs, topic, index, i);
    partition_unref(&p);
    if (rc == ERR_TOO_LARGE)
        return KERR_INVALID_TOPIC_EXCEPTION;
    return rc == ERR_NOENT || rc == ERR_BUSY ? KERR_REPLICA_NOT_AVAILABLE : partition_log_error(rc);
}

static int alter_topic_in(struct broker *b, struct arena *a, struct str path,
                          const struct alter_replica_log_dirs_request_alter_replica_log_dir_topic *in,
                          struct alter_replica_log_dirs_response *out)
{
    size_t n = (size_t)(in->partitions_n > 0 ? in->partitions_n : 0);
    struct alter_topic *t = &out->results[out->results_n++];
    struct alter_part *v = arena_array(a, n + 1, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    alter_replica_log_dirs_response_alter_replica_log_dir_topic_result_init(t);
    t->topic_name = in->name;
    t->partitions = v;
    for (int32_t i = 0; i < in->partitions_n; i++) {
        alter_replica_log_dirs_response_alter_replica_log_dir_partition_result_init(&v[t->partitions_n]);
        v[t->partitions_n].partition_index = in->partitions[i];
        v[t->partitions_n++].error_code = alter_one(b, path, in->name, in->partitions[i]);
    }
    return OK;
}

void api_alter_replica_log_dirs(struct broker *b, struct request *r)
{
    struct alter_replica_log_dirs_request in;
    struct alter_replica_log_dirs_response out;
    size_t topics = 0;
    int rc = OK;

    if (!API_READ(r, alter_replica_log_dirs_request, &in))
        return;
    alter_replica_log_dirs_response_init(&out);
    for (int32_t i = 0; i < in.dirs_n; i++)
        topics += (size_t)(in.dirs[i].topics_n > 0 ? in.dirs[i].topics_n : 0);
    out.results = arena_array(&r->arena, topics + 1, sizeof *out.results);
    if (out.results == NULL)
        rc = ERR_NOMEM;
    for (int32_t i = 0; i < in.dirs_n && rc == OK; i++)
        for (int32_t k = 0; k < in.dirs[i].topics_n && rc == OK; k++)
            rc = alter_topic_in(b, &r->arena, in.dirs[i].path, &in.dirs[i].topics[k], &out);
    if (rc == OK)
        API_REPLY(r, alter_replica_log_dirs_response, &out);
    else
        request_close(r, err_text(rc));
}
