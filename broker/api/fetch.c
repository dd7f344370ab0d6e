/* broker/api/fetch.c - Fetch: which partitions (sessions), what of each (limits, isolation), when (long poll).
 *
 *   decode -> fetch_begin() -> find the partitions -> read
 *          -> enough bytes, an error, nothing to wait for -----------------------------> answer
 *          -> else park on every partition's watch list -> on an IO thread read again -> answer
 *
 * Records are not touched: the answer holds ranges of segment files. Only Fetch 0-3, whose clients do not know
 * today's batches, gets them converted in memory, DOWN_CONVERT_MAX_BYTES at most in one answer (but for a larger first
 * batch): that is what a client that does not read its answer can make us hold.
 */
#include "base/clock.h"
#include "broker/api/fetch_priv.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "proto/gen/fetch_response.h"

static void refuse(struct fetch *f)
{
    struct fetch_response resp;

    fetch_response_init(&resp);
    resp.error_code = f->cx.error;
    API_REPLY(f->r, fetch_response, &resp);
}

void api_fetch(struct broker *b, struct request *r)
{
    struct fetch *f = arena_zalloc(&r->arena, sizeof *f);
    int rc;

    if (f == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, fetch_request, &f->in))
        return;
    f->b = b;
    f->r = r;
    f->came_ms = mono_ms();
    fetch_settle_limits(f);
    rc = fetch_ask_begin(f);
    if (rc == OK && f->cx.kind == FETCH_REFUSED) {
        refuse(f);
        return;
    }
    if (rc == OK)
        rc = fetch_find_parts(f);
    if (rc == OK) {
        fetch_read_all(f);
        if (f->in.max_wait_ms > 0 && f->interesting > 0 && f->bytes < f->min_bytes && !f->must_answer) {
            rc = fetch_wait(f);
        } else {
            fetch_answer(f);
        }
    }
    if (rc != OK) {
        fetch_abandon(&f->cx);
        fetch_drop_all(f);
        request_close(r, "out of memory");
    }
}
