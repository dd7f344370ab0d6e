/* broker/group/records.c - building and parsing the records of __consumer_offsets.
 *
 * Records of offsets are by far the most, so they are laid out here by hand; those of groups by the generated code.
 */
#include "broker/group/records.h"

#include "base/chain.h"
#include "base/cursor.h"
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "config/version.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/gen/offset_commit_value.h"
#include "proto/kerr.h"

enum { OFFSET_KEY = 1, GROUP_KEY = 2 };     /* the versions that are written */

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool below(const char *ibp, const char *version)
{
    return version_find(ibp, NULL) < version_find(version, NULL);
}

struct record_versions record_versions_of(const char *ibp)
{
    struct record_versions v = { .group = 3, .offset = 3, .expiring = 1 };

    if (below(ibp, "0.10.1-IV0"))
        v.group = 0;
    else if (below(ibp, "2.1-IV0"))
        v.group = 1;
    else if (below(ibp, "2.3-IV0"))
        v.group = 2;
    if (below(ibp, "2.1-IV0"))
        v.offset = 1;
    else if (below(ibp, "2.1-IV1"))
        v.offset = 2;
    return v;
}

static uint8_t *put16(uint8_t *p, int16_t v)
{
    be_put16(p, (uint16_t)v);
    return p + 2;
}

static uint8_t *put32(uint8_t *p, int32_t v)
{
    be_put32(p, (uint32_t)v);
    return p + 4;
}

static uint8_t *put64(uint8_t *p, int64_t v)
{
    be_put64(p, (uint64_t)v);
    return p + 8;
}

static uint8_t *put_str(uint8_t *p, struct str s)
{
    p = put16(p, (int16_t)s.len);
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    return p + s.len;
}

static bool fits(struct str s)
{
    return s.len <= INT16_MAX;
}

static int room(struct arena *a, size_t n, uint8_t **p, struct bytes *out)
{
    *p = arena_alloc(a, n);
    *out = (struct bytes){ *p, *p != NULL ? n : 0 };
    return *p != NULL ? OK : ERR_NOMEM;
}

int offset_record(const struct record_versions *v, struct arena *a, struct str group, struct str topic,
                  int32_t partition, const struct committed *c, struct group_record *out)
{
    int16_t version = c != NULL && c->expire_ms != -1 ? v->expiring : v->offset;
    uint8_t *p;

    *out = (struct group_record){ { NULL, 0 }, { NULL, 0 } };
    if (!fits(group) || !fits(topic) || (c != NULL && !fits(c->metadata)))
        return ERR_TOO_LARGE;
    TRY(room(a, 2 + 2 + group.len + 2 + topic.len + 4, &p, &out->key));
    p = put16(p, OFFSET_KEY);
    p = put_str(p, group);
    p = put_str(p, topic);
    put32(p, partition);
    if (c == NULL)
        return OK;
    TRY(room(a, 2 + 8 + (version >= 3 ? 4U : 0U) + 2 + c->metadata.len + 8 + (version == 1 ? 8U : 0U), &p,
             &out->value));
    p = put16(p, version);
    p = put64(p, c->offset);
    if (version >= 3)
        p = put32(p, c->leader_epoch);
    p = put_str(p, c->metadata);
    p = put64(p, c->commit_ms);
    if (version == 1)
        put64(p, c->expire_ms);
    return OK;
}

int metadata_record(struct arena *a, struct str group, struct bytes value, struct group_record *out)
{
    uint8_t *p;

    *out = (struct group_record){ { NULL, 0 }, value };
    if (!fits(group))
        return ERR_TOO_LARGE;
    TRY(room(a, 2 + 2 + group.len, &p, &out->key));
    p = put16(p, GROUP_KEY);
    put_str(p, group);
    return OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static struct str take_str(struct cursor *c)
{
    int16_t n = cur_i16(c);
    const uint8_t *p;

    if (n < 0) {
        cur_fail(c, ERR_CORRUPT);
        return (struct str){ NULL, 0 };
    }
    p = cur_take(c, (size_t)n);
    return (struct str){ (const char *)p, p != NULL ? (size_t)n : 0 };
}

int record_key_read(struct bytes key, struct record_key *out)
{
    struct cursor c = cur_ro(key.p, key.len);

    *out = (struct record_key){ .kind = RECORD_UNKNOWN, .version = cur_i16(&c), .partition = -1 };
    TRY(c.rc);
    if (out->version < 0)
        return ERR_CORRUPT;
    if (out->version <= OFFSET_KEY) {
        out->kind = RECORD_OFFSET;
        out->group = take_str(&c);
        out->topic = take_str(&c);
        out->partition = cur_i32(&c);
    } else if (out->version == GROUP_KEY) {
        out->kind = RECORD_GROUP;
        out->group = take_str(&c);
    }
    return c.rc;
}

/* Version 4 is the first with compact strings and tagged fields. */
static int offset_value_flexible(struct cursor *c, int16_t version, struct arena *a, struct committed *out)
{
    struct offset_commit_value v;

    if (version > OFFSET_COMMIT_VALUE_MAX_VERSION)
        return ERR_UNSUPPORTED;
    TRY(offset_commit_value_read(c, version, a, &v));
    out->offset = v.offset;
    out->leader_epoch = v.leader_epoch;
    out->metadata = v.metadata;
    out->commit_ms = v.commit_timestamp;
    return OK;
}

int offset_value_read(struct bytes value, struct arena *a, struct committed *out)
{
    struct cursor c = cur_ro(value.p, value.len);
    int16_t version = cur_i16(&c);

    out->leader_epoch = -1;
    out->expire_ms = -1;
    TRY(c.rc);
    if (version < 0)
        return ERR_CORRUPT;
    if (version >= 4)
        return offset_value_flexible(&c, version, a, out);
    out->offset = cur_i64(&c);
    if (version >= 3)
        out->leader_epoch = cur_i32(&c);
    out->metadata = take_str(&c);
    out->commit_ms = cur_i64(&c);
    if (version == 1)
        out->expire_ms = cur_i64(&c);
    return c.rc;
}

int metadata_value_read(struct bytes value, struct arena *a, struct group_metadata_value *out)
{
    struct cursor c = cur_ro(value.p, value.len);
    int16_t version = cur_i16(&c);

    TRY(c.rc);
    if (version < 0)
        return ERR_CORRUPT;
    if (version > GROUP_METADATA_VALUE_MAX_VERSION)
        return ERR_UNSUPPORTED;
    TRY(group_metadata_value_read(&c, version, a, out));
    for (int32_t i = 0; version == 0 && i < out->members_n; i++)
        out->members[i].rebalance_timeout = out->members[i].session_timeout;
    return OK;
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

static const struct append_error {
    int16_t of_append, of_group, of_offset;
} append_errors[] = {
    { KERR_UNKNOWN_TOPIC_OR_PARTITION, KERR_COORDINATOR_NOT_AVAILABLE, KERR_COORDINATOR_NOT_AVAILABLE },
    { KERR_NOT_ENOUGH_REPLICAS, KERR_COORDINATOR_NOT_AVAILABLE, KERR_COORDINATOR_NOT_AVAILABLE },
    { KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, KERR_COORDINATOR_NOT_AVAILABLE, KERR_COORDINATOR_NOT_AVAILABLE },
    { KERR_NOT_LEADER_OR_FOLLOWER, KERR_NOT_COORDINATOR, KERR_NOT_COORDINATOR },
    { KERR_KAFKA_STORAGE_ERROR, KERR_NOT_COORDINATOR, KERR_NOT_COORDINATOR },
    { KERR_REQUEST_TIMED_OUT, KERR_REBALANCE_IN_PROGRESS, KERR_REQUEST_TIMED_OUT },
    { KERR_MESSAGE_TOO_LARGE, KERR_UNKNOWN_SERVER_ERROR, KERR_INVALID_COMMIT_OFFSET_SIZE },
    { KERR_RECORD_LIST_TOO_LARGE, KERR_UNKNOWN_SERVER_ERROR, KERR_INVALID_COMMIT_OFFSET_SIZE },
    { KERR_INVALID_FETCH_SIZE, KERR_UNKNOWN_SERVER_ERROR, KERR_INVALID_COMMIT_OFFSET_SIZE },
};

int16_t record_error(enum record_kind of, int16_t kerr)
{
    for (size_t i = 0; i < sizeof append_errors / sizeof append_errors[0]; i++)
        if (append_errors[i].of_append == kerr)
            return of == RECORD_GROUP ? append_errors[i].of_group : append_errors[i].of_offset;
    return kerr;
}
