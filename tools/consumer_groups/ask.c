/* tools/consumer_groups/ask.c - finding the coordinators of groups, and asking each about its groups, again if need
 * be. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/find_coordinator_request.h"
#include "proto/gen/find_coordinator_response.h"
#include "proto/kerr.h"

#define FIND_AT_ONCE 1000
#define ASK_AT_ONCE 500

CLIENT_API(find_coordinator, API_FIND_COORDINATOR);

void group_job_answer(struct group_job *job, int16_t kerr, const char *message)
{
    job->kerr = kerr;
    job->message = message;
    job->done = kerr != KERR_COORDINATOR_LOAD_IN_PROGRESS && kerr != KERR_COORDINATOR_NOT_AVAILABLE &&
                kerr != KERR_NOT_COORDINATOR;
    if (!job->done && kerr != KERR_COORDINATOR_LOAD_IN_PROGRESS)
        job->coordinator = -1;
}

struct group_job *group_job_find(struct group_job *const *v, size_t n, struct str group)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(v[i]->group, group))
            return v[i];
    }
    return NULL;
}

static void found(struct cg *cg, struct group_job *job, int16_t kerr, int32_t node)
{
    const char *message = NULL;

    job->kerr = kerr;
    job->coordinator = kerr == KERR_NONE ? node : -1;
    job->done = kerr != KERR_NONE && kerr != KERR_COORDINATOR_NOT_AVAILABLE &&
                kerr != KERR_COORDINATOR_LOAD_IN_PROGRESS;
    if (kerr == KERR_GROUP_AUTHORIZATION_FAILED)
        message = arena_printf(&cg->a.arena, "FindCoordinator request for groupId `CoordinatorKey(idValue='%.*s', "
                               "type=GROUP)` failed due to authorization failure", STR_ARG(job->group));
    else if (job->done)
        message = arena_printf(&cg->a.arena, "FindCoordinator request for key `CoordinatorKey(idValue='%.*s', "
                               "type=GROUP)` failed due to an unexpected error", STR_ARG(job->group));
    job->message = message;
}

/* One request for v[0..n); n is 1 for a broker that knows version 3 only. */
static int find_some(struct cg *cg, struct group_job *const *v, size_t n, bool batch)
{
    struct find_coordinator_request  q;
    struct find_coordinator_response r;
    int                              rc;

    find_coordinator_request_init(&q);
    if (batch) {
        TRY(cg_array(cg, n, sizeof *q.coordinator_keys, &q.coordinator_keys));
        for (size_t i = 0; i < n; i++)
            q.coordinator_keys[q.coordinator_keys_n++] = v[i]->group;
    } else {
        q.key = v[0]->group;
    }
    rc = admin_call(&cg->a, CLIENT_ANY, &client_find_coordinator, &q, &r);
    if (rc != OK)
        return rc;
    if (!batch) {
        found(cg, v[0], r.error_code, r.node_id);
        return OK;
    }
    for (int32_t i = 0; i < r.coordinators_n; i++) {
        struct group_job *job = group_job_find(v, n, r.coordinators[i].key);

        if (job != NULL)
            found(cg, job, r.coordinators[i].error_code, r.coordinators[i].node_id);
    }
    return OK;
}

static int find_all(struct cg *cg, struct group_job *v, size_t n)
{
    struct group_job **some;
    int16_t            version;
    size_t             k = 0;

    TRY(client_api_version(cg->a.client, CLIENT_ANY, API_FIND_COORDINATOR, &version) == OK ? OK :
        admin_fail(&cg->a, ERR_TIMEOUT, "%s", client_error(cg->a.client)));
    TRY(cg_array(cg, FIND_AT_ONCE, sizeof(struct group_job *), &some));
    for (size_t i = 0; i < n; i++) {
        if (!v[i].done && v[i].coordinator < 0)
            some[k++] = &v[i];
        if (k > 0 && (k == FIND_AT_ONCE || version < 4 || i + 1 == n)) {
            TRY(find_some(cg, some, k, version >= 4));
            k = 0;
        }
    }
    return OK;
}

/* A coordinator that cannot be reached fails its own groups only. */
static int ask_one(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n, group_ask ask)
{
    int rc = ask(cg, broker, v, n);

    for (size_t i = 0; i < n && rc == ERR_TIMEOUT; i++) {
        if (v[i]->done)
            continue;
        group_job_answer(v[i], KERR_REQUEST_TIMED_OUT, arena_printf(&cg->a.arena, "%s", cg->a.error));
    }
    return rc == ERR_TIMEOUT ? OK : rc;
}

/* Each coordinator about its groups. */
static int ask_all(struct cg *cg, struct group_job *v, size_t n, group_ask ask)
{
    struct group_job **some;
    bool              *asked;

    TRY(cg_array(cg, ASK_AT_ONCE, sizeof(struct group_job *), &some));
    TRY(cg_array(cg, n, sizeof *asked, &asked));
    for (size_t first = 0; first < n; first++) {
        int32_t broker = v[first].coordinator;
        size_t  k = 0;

        if (v[first].done || broker < 0 || asked[first])
            continue;
        for (size_t i = first; i < n && k < ASK_AT_ONCE; i++) {
            if (!v[i].done && v[i].coordinator == broker && !asked[i]) {
                asked[i] = true;
                some[k++] = &v[i];
            }
        }
        TRY(ask_one(cg, broker, some, k, ask));
    }
    return OK;
}

static bool jobs_left(const struct group_job *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!v[i].done)
            return true;
    }
    return false;
}

int group_jobs_run(struct cg *cg, const char *what, struct group_job *v, size_t n, group_ask ask)
{
    int64_t     deadline_ms = client_deadline(cg->a.client);
    const char *finding = arena_printf(&cg->a.arena, "%s(api=FIND_COORDINATOR)", what);

    if (finding == NULL)
        return admin_fail(&cg->a, ERR_NOMEM, "out of memory");
    for (int attempt = 0;; attempt++) {
        client_doing(cg->a.client, finding);
        TRY(find_all(cg, v, n));
        client_doing(cg->a.client, what);
        TRY(ask_all(cg, v, n, ask));
        if (!jobs_left(v, n))
            return OK;
        if (!client_backoff(cg->a.client, attempt, deadline_ms))
            break;
    }
    for (size_t i = 0; i < n; i++) {
        if (v[i].done)
            continue;
        v[i].message = arena_printf(&cg->a.arena, "Timed out waiting for the coordinator of group '%.*s'. Call: %s. "
                                    "The last answer was: %s", STR_ARG(v[i].group), what, kerr_message(v[i].kerr));
        v[i].kerr = KERR_REQUEST_TIMED_OUT;
        v[i].done = true;
    }
    return OK;
}
