/* tools/dump_log/decode.c - records of the two internal topics in words: --offsets-decoder, --transaction-log-decoder.
 *
 * Formats: the records in proto/schema; a key begins with a version that is its type, a value with its own. Each record
 * has an arena of its own, so that a log of any length can be dumped.
 */
#include "tools/dump_log/dump.h"

#include "proto/gen/consumer_protocol_assignment.h"
#include "proto/gen/consumer_protocol_subscription.h"
#include "proto/gen/group_metadata_key.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/gen/json.h"
#include "proto/gen/offset_commit_key.h"
#include "proto/gen/offset_commit_value.h"
#include "proto/gen/transaction_log_key.h"
#include "proto/gen/transaction_log_value.h"

#include <inttypes.h>

#define RECORD_LIMIT ((size_t)256 << 20)
#define KEY_OFFSET_COMMIT_MAX 1         /* key versions 0 and 1 */
#define KEY_GROUP             2

/* Reads a message and gives its JSON form; NULL: it does not parse. */
typedef json_t *read_json_fn(struct cursor *c, int16_t version, struct arena *a);

#define READ_JSON(name)                                                                     \
    static json_t *read_##name(struct cursor *c, int16_t version, struct arena *a)          \
    {                                                                                       \
        struct name x;                                                                      \
        return name##_read(c, version, a, &x) == OK ? name##_to_json(&x, version) : NULL;   \
    }
READ_JSON(offset_commit_key)
READ_JSON(offset_commit_value)
READ_JSON(group_metadata_key)
READ_JSON(consumer_protocol_subscription)
READ_JSON(consumer_protocol_assignment)
#undef READ_JSON

/* ---- __consumer_offsets ---------------------------------------------------------------------------------------- */

/* A member's bytes become what they say, if they say it; else they stay as they are. */
static void replace(json_t *member, const char *field, struct bytes b, read_json_fn *read, struct arena *a)
{
    struct cursor c = cur_ro(b.p, b.len);
    int16_t       version = cur_i16(&c);
    json_t       *j = c.rc == OK && version >= 0 ? read(&c, version, a) : NULL;

    if (j != NULL)
        json_object_set_new(member, field, j);
}

static json_t *read_group_metadata_value(struct cursor *c, int16_t version, struct arena *a)
{
    struct group_metadata_value x;
    json_t                     *j, *members;

    if (group_metadata_value_read(c, version, a, &x) != OK)
        return NULL;
    j = group_metadata_value_to_json(&x, version);
    members = json_object_get(j, "members");
    if (!str_eq(x.protocol_type, STR_LIT("consumer")))
        return j;
    for (int32_t i = 0; i < x.members_n; i++) {
        json_t *m = json_array_get(members, (size_t)i);
        replace(m, "subscription", x.members[i].subscription, read_consumer_protocol_subscription, a);
        replace(m, "assignment", x.members[i].assignment, read_consumer_protocol_assignment, a);
    }
    return j;
}

/* {"type":"1","data":...}; NULL: the bytes do not parse. malloc'ed. */
static char *versioned(struct bytes b, const char *label, read_json_fn *read, struct arena *a)
{
    struct cursor c = cur_ro(b.p, b.len);
    int16_t       version = cur_i16(&c);
    json_t       *data = c.rc == OK ? read(&c, version, a) : NULL, *j;
    char         *text = NULL;

    if (data == NULL)
        return NULL;
    j = json_pack("{s:o, s:o}", label, json_sprintf("%d", version), "data", data);
    if (j != NULL)
        text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

static void decode_offsets(const struct record *r, struct arena *a, const char *prefix)
{
    struct cursor c = cur_ro(r->key.p, r->key.len);
    int16_t       type = cur_i16(&c);
    bool          group = type == KEY_GROUP;
    char         *key, *value;

    if (c.rc == OK && (type < 0 || type > KEY_GROUP)) {
        printf("%skey: Unknown record type %d at offset %" PRId64 ", skipping.", prefix, type, r->offset);
        return;
    }
    key = versioned(r->key, "type", group ? read_group_metadata_key : read_offset_commit_key, a);
    value = r->value.p != NULL && key != NULL
          ? versioned(r->value, "version", group ? read_group_metadata_value : read_offset_commit_value, a) : NULL;
    if (key == NULL || (r->value.p != NULL && value == NULL))
        printf("%skey: Error at offset %" PRId64 ", skipping. The %s does not parse.", prefix, r->offset,
               key == NULL ? "key" : "value");
    else
        printf("%skey: %s payload: %s", prefix, key, value != NULL ? value : "<DELETE>");
    free(key);
    free(value);
}

/* ---- __transaction_state --------------------------------------------------------------------------------------- */

static const char *const txn_states[] = {
    "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
};

static void print_txn(const struct transaction_log_value *x)
{
    size_t      state = (size_t)(uint8_t)x->transaction_status;
    const char *comma = "";

    printf("producerId:%" PRId64 ",producerEpoch:%d,state=%s,partitions=[", x->producer_id, x->producer_epoch,
           state < sizeof txn_states / sizeof txn_states[0] ? txn_states[state] : "unknown");
    for (int32_t i = 0; i < x->transaction_partitions_n; i++)
        for (int32_t k = 0; k < x->transaction_partitions[i].partition_ids_n; k++, comma = ",")
            printf("%s%.*s-%d", comma, STR_ARG(x->transaction_partitions[i].topic),
                   x->transaction_partitions[i].partition_ids[k]);
    printf("],txnLastUpdateTimestamp=%" PRId64 ",txnTimeoutMs=%d", x->transaction_last_update_timestamp_ms,
           x->transaction_timeout_ms);
}

static void decode_txn(const struct record *r, struct arena *a, const char *prefix)
{
    struct cursor                c = cur_ro(r->key.p, r->key.len), v = cur_ro(r->value.p, r->value.len);
    int16_t                      version = cur_i16(&c);
    struct transaction_log_key   key;
    struct transaction_log_value value;

    if (c.rc == OK && version != 0) {
        printf("%skey: unknown::version=%d", prefix, version);
        return;
    }
    if (transaction_log_key_read(&c, version, a, &key) != OK) {
        printf("%skey: Error at offset %" PRId64 ", skipping. The key does not parse.", prefix, r->offset);
        return;
    }
    printf("%skey: transaction_metadata::transactionalId=%.*s payload: ", prefix, STR_ARG(key.transactional_id));
    version = cur_i16(&v);
    if (r->value.p == NULL)
        printf("<DELETE>");
    else if (v.rc == OK && transaction_log_value_read(&v, version, a, &value) == OK)
        print_txn(&value);
    else
        printf("Error at offset %" PRId64 ": the value (version %d) does not parse.", r->offset, version);
}

/* ---- */

void dump_decode(enum dump_topic topic, const struct record *r, const char *prefix)
{
    struct arena a;

    arena_init(&a, RECORD_LIMIT);
    if (topic == TOPIC_OFFSETS)
        decode_offsets(r, &a, prefix);
    else
        decode_txn(r, &a, prefix);
    arena_fini(&a);
}
