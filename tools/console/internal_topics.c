/* tools/console/internal_topics.c - the internal topics in words.
 *
 * A key begins with a version that is also its type (0 and 1: a committed offset, 2: a group), a value with a version
 * of its own. Formats: the records in proto/schema. Each record has an arena of its own.
 */
#include "tools/console/internal_topics.h"

#include "proto/gen/group_metadata_key.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/gen/json.h"
#include "proto/gen/offset_commit_key.h"
#include "proto/gen/offset_commit_value.h"
#include "proto/gen/transaction_log_key.h"
#include "proto/gen/transaction_log_value.h"

#include <inttypes.h>
#include <stdlib.h>

#define RECORD_LIMIT ((size_t)64 << 20)

/* *out NULL: a record of another kind. */
typedef int read_json_fn(struct cursor *c, int16_t version, struct arena *a, json_t **out);

static int unparsed(const struct consumed *r, const char *what, char *error, size_t error_len)
{
    snprintf(error, error_len, "partition %" PRId32 ", offset %" PRId64 ": the %s does not parse", r->partition,
             r->offset, what);
    return ERR_INVALID;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

#define READ_JSON(name, NAME)                                                                                 \
    static int read_##name(struct cursor *c, int16_t version, struct arena *a, json_t **out)                  \
    {                                                                                                         \
        struct name x;                                                                                        \
        if (version < NAME##_MIN_VERSION || version > NAME##_MAX_VERSION) {                                   \
            *out = json_string("unknown");                                                                    \
            return OK;                                                                                        \
        }                                                                                                     \
        TRY(name##_read(c, version, a, &x));                                                                  \
        *out = name##_to_json(&x, version);                                                                   \
        return *out != NULL ? OK : ERR_INVALID;                                                               \
    }
READ_JSON(offset_commit_key, OFFSET_COMMIT_KEY)
READ_JSON(offset_commit_value, OFFSET_COMMIT_VALUE)
READ_JSON(group_metadata_key, GROUP_METADATA_KEY)
READ_JSON(group_metadata_value, GROUP_METADATA_VALUE)
READ_JSON(transaction_log_key, TRANSACTION_LOG_KEY)
READ_JSON(transaction_log_value, TRANSACTION_LOG_VALUE)
#undef READ_JSON

static bool is_group_key(int16_t version)
{
    return version >= GROUP_METADATA_KEY_MIN_VERSION && version <= GROUP_METADATA_KEY_MAX_VERSION;
}

static bool is_offset_key(int16_t version)
{
    return version >= OFFSET_COMMIT_KEY_MIN_VERSION && version <= OFFSET_COMMIT_KEY_MAX_VERSION;
}

static int read_offsets_key(struct cursor *c, int16_t version, struct arena *a, json_t **out)
{
    *out = NULL;
    return is_group_key(version) ? OK : read_offset_commit_key(c, version, a, out);
}

static int read_groups_key(struct cursor *c, int16_t version, struct arena *a, json_t **out)
{
    *out = NULL;
    return is_offset_key(version) ? OK : read_group_metadata_key(c, version, a, out);
}

/* {"version":1,"data":...}, or null. */
static int versioned(struct bytes b, read_json_fn *read, struct arena *a, json_t **out)
{
    struct cursor c = cur_ro(b.p, b.len);
    int16_t       version = b.p != NULL ? cur_i16(&c) : 0;
    json_t       *data = NULL;

    *out = NULL;
    if (b.p == NULL) {
        *out = json_null();
        return OK;
    }
    TRY(c.rc);
    TRY(read(&c, version, a, &data));
    if (data != NULL)
        *out = json_pack("{s:i, s:o}", "version", version, "data", data);
    return OK;
}

static int write_json(FILE *out, const struct consumed *r, read_json_fn *read_key, read_json_fn *read_value,
                      char *error, size_t error_len)
{
    json_t      *key = NULL, *value = NULL, *both;
    struct arena a;
    int          rc;

    arena_init(&a, RECORD_LIMIT);
    rc = versioned(r->key, read_key, &a, &key);
    if (rc != OK)
        rc = unparsed(r, "key", error, error_len);
    if (rc == OK && key != NULL && versioned(r->value, read_value, &a, &value) != OK)
        rc = unparsed(r, "value", error, error_len);
    if (rc == OK && key != NULL) {
        both = json_pack("{s:O, s:O}", "key", key, "value", value);
        if (both != NULL)
            json_dumpf(both, out, JSON_COMPACT);
        json_decref(both);
    }
    json_decref(key);
    json_decref(value);
    arena_fini(&a);
    return rc;
}

int offsets_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_json(out, r, read_offsets_key, read_offset_commit_value, error, error_len);
}

int groups_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_json(out, r, read_groups_key, read_group_metadata_value, error, error_len);
}

int txns_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_json(out, r, read_transaction_log_key, read_transaction_log_value, error, error_len);
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

/* Java's and Scala's ways to say null, and that something is or is not there. */
static void put_text(FILE *out, struct str s)
{
    fprintf(out, "%.*s", s.p != NULL ? (int)s.len : 4, s.p != NULL ? s.p : "null");
}

static void put_option(FILE *out, struct str s)
{
    if (s.p == NULL)
        fputs("None", out);
    else
        fprintf(out, "Some(%.*s)", STR_ARG(s));
}

static int put_offset(FILE *out, struct cursor *c, struct arena *a)
{
    int16_t                    version = cur_i16(c);
    struct offset_commit_value v;

    TRY(c->rc);
    TRY(offset_commit_value_read(c, version, a, &v));
    fprintf(out, "OffsetAndMetadata(offset=%" PRId64 ", leaderEpoch=", v.offset);
    if (v.leader_epoch < 0)
        fputs("Optional.empty", out);
    else
        fprintf(out, "Optional[%" PRId32 "]", v.leader_epoch);
    fprintf(out, ", metadata=%.*s, commitTimestamp=%" PRId64 ", expireTimestamp=", STR_ARG(v.metadata),
            v.commit_timestamp);
    if (v.expire_timestamp == -1)
        fputs("None)", out);
    else
        fprintf(out, "Some(%" PRId64 "))", v.expire_timestamp);
    return OK;
}

static void put_member(FILE *out, const struct group_metadata_value *g, size_t i, int16_t version)
{
    const struct group_metadata_value_member_metadata *m = &g->members[i];

    fprintf(out, "%s%.*s -> MemberMetadata(memberId=%.*s, groupInstanceId=", i > 0 ? ", " : "",
            STR_ARG(m->member_id), STR_ARG(m->member_id));
    put_option(out, m->group_instance_id);
    fprintf(out, ", clientId=%.*s, clientHost=%.*s, sessionTimeoutMs=%" PRId32 ", rebalanceTimeoutMs=%" PRId32
            ", supportedProtocols=List(", STR_ARG(m->client_id), STR_ARG(m->client_host), m->session_timeout,
            version == 0 ? m->session_timeout : m->rebalance_timeout);
    put_text(out, g->protocol);
    fputs("))", out);
}

static int put_group(FILE *out, struct str group, struct cursor *c, struct arena *a)
{
    int16_t                     version = cur_i16(c);
    struct group_metadata_value g;

    TRY(c->rc);
    TRY(group_metadata_value_read(c, version, a, &g));
    fprintf(out, "GroupMetadata(groupId=%.*s, generation=%" PRId32 ", protocolType=", STR_ARG(group), g.generation);
    put_option(out, g.protocol_type.len > 0 ? g.protocol_type : (struct str){ NULL, 0 });
    fprintf(out, ", currentState=%s, members=HashMap(", g.members_n > 0 ? "Stable" : "Empty");
    for (int32_t i = 0; i < g.members_n; i++)
        put_member(out, &g, (size_t)i, version);
    fputs("))", out);
    return OK;
}

static const char *const txn_states[] = {
    "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
};

static int put_txn(FILE *out, struct str id, struct cursor *c, struct arena *a)
{
    int16_t                      version = cur_i16(c);
    struct transaction_log_value v;
    size_t                       state;
    const char                  *comma = "";

    TRY(c->rc);
    TRY(transaction_log_value_read(c, version, a, &v));
    state = (size_t)(uint8_t)v.transaction_status;
    if (state >= sizeof txn_states / sizeof txn_states[0])
        return ERR_INVALID;
    fprintf(out, "TransactionMetadata(transactionalId=%.*s, producerId=%" PRId64 ", producerEpoch=%d, txnTimeoutMs=%"
            PRId32 ", state=%s, pendingState=None, topicPartitions=HashSet(", STR_ARG(id), v.producer_id,
            v.producer_epoch, v.transaction_timeout_ms, txn_states[state]);
    for (int32_t i = 0; i < v.transaction_partitions_n; i++) {
        const struct transaction_log_value_partitions_schema *t = &v.transaction_partitions[i];

        for (int32_t k = 0; k < t->partition_ids_n; k++, comma = ", ")
            fprintf(out, "%s%.*s-%" PRId32, comma, STR_ARG(t->topic), t->partition_ids[k]);
    }
    fprintf(out, "), txnStartTimestamp=%" PRId64 ", txnLastUpdateTimestamp=%" PRId64 ")",
            v.transaction_start_timestamp_ms, v.transaction_last_update_timestamp_ms);
    return OK;
}

/* A key that has been read: what stands before "::", and the name that the value's text needs. */
struct text_key {
    bool       mine;
    int16_t    version;
    struct str name, topic;
    int32_t    partition;
};

enum text_kind { TEXT_OFFSETS, TEXT_GROUPS, TEXT_TXNS };

static int read_key(enum text_kind kind, struct bytes b, struct arena *a, struct text_key *k)
{
    struct cursor              c = cur_ro(b.p, b.len);
    struct offset_commit_key   offset;
    struct group_metadata_key  group;
    struct transaction_log_key txn;

    *k = (struct text_key){ .version = cur_i16(&c) };
    TRY(c.rc);
    if (kind == TEXT_OFFSETS && is_offset_key(k->version)) {
        TRY(offset_commit_key_read(&c, k->version, a, &offset));
        *k = (struct text_key){ true, k->version, offset.group, offset.topic, offset.partition };
    } else if (kind == TEXT_GROUPS && is_group_key(k->version)) {
        TRY(group_metadata_key_read(&c, k->version, a, &group));
        *k = (struct text_key){ true, k->version, group.group, { NULL, 0 }, -1 };
    } else if (kind == TEXT_TXNS && k->version == TRANSACTION_LOG_KEY_MAX_VERSION) {
        TRY(transaction_log_key_read(&c, k->version, a, &txn));
        *k = (struct text_key){ true, k->version, txn.transactional_id, { NULL, 0 }, -1 };
    }
    return OK;
}

static int put_value(enum text_kind kind, FILE *out, const struct text_key *k, struct bytes b, struct arena *a)
{
    struct cursor c = cur_ro(b.p, b.len);

    if (b.p == NULL)
        return fputs("NULL", out) < 0 ? ERR_IO : OK;
    return kind == TEXT_OFFSETS ? put_offset(out, &c, a) : kind == TEXT_GROUPS ? put_group(out, k->name, &c, a)
                                                                               : put_txn(out, k->name, &c, a);
}

/* In memory first: of a record that does not parse nothing is printed. */
static int put_line(enum text_kind kind, FILE *out, const struct text_key *k, struct bytes value, struct arena *a)
{
    char  *text = NULL;
    size_t len = 0;
    FILE  *line = open_memstream(&text, &len);
    int    rc;

    if (line == NULL)
        return ERR_NOMEM;
    if (kind == TEXT_OFFSETS)
        fprintf(line, "[%.*s,%.*s,%" PRId32 "]", STR_ARG(k->name), STR_ARG(k->topic), k->partition);
    else
        put_text(line, k->name);
    fputs("::", line);
    rc = put_value(kind, line, k, value, a);
    fputc('\n', line);
    fclose(line);
    if (rc == OK)
        fwrite(text, 1, len, out);
    free(text);
    return rc;
}

static int write_text(enum text_kind kind, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    struct text_key k;
    struct arena    a;
    int             rc;

    if (r->key.p == NULL)
        return OK;
    arena_init(&a, RECORD_LIMIT);
    rc = read_key(kind, r->key, &a, &k);
    if (rc != OK)
        rc = unparsed(r, "key", error, error_len);
    else if (!k.mine && kind == TEXT_TXNS)
        fprintf(out, "unknown::version=%d\n", k.version);
    else if (k.mine && put_line(kind, out, &k, r->value, &a) != OK)
        rc = unparsed(r, "value", error, error_len);
    arena_fini(&a);
    return rc;
}

int offsets_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_text(TEXT_OFFSETS, out, r, error, error_len);
}

int groups_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_text(TEXT_GROUPS, out, r, error, error_len);
}

int txns_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    (void)f;
    return write_text(TEXT_TXNS, out, r, error, error_len);
}
