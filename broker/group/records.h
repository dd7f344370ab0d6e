/* broker/group/records.h - the records of __consumer_offsets: keys and values as Apache Kafka writes and reads them.
 *
 *   key                                     value
 *   0, 1  group, topic, partition           offset commit: 0-3 (4 is read, never written)
 *   2     group                             group metadata: 0-3 (4 is read, never written)
 *   3 and up: of later brokers, skipped     null: a tombstone
 *
 * Every key and value begins with its version (int16).
 *
 * OWNER    what is made lies in the arena; what is read points into the bytes given, or into the arena.
 * LOCKS    none: pure functions.
 * FAILURE  ERR_SHORT, ERR_CORRUPT: the bytes are not what their version says. ERR_UNSUPPORTED: a value of an unknown
 *          version. ERR_NOMEM.
 */
#ifndef BROKER_GROUP_RECORDS_H
#define BROKER_GROUP_RECORDS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

struct committed;
struct group_metadata_value;
struct group_record;

/* ---- writing ---- */

struct record_versions {
    int16_t group, offset;
    int16_t expiring;                   /* of an offset whose commit says how long it is to be kept */
};

/* ibp: inter.broker.protocol.version. */
struct record_versions record_versions_of(const char *ibp);

/* c == NULL: a tombstone. */
int offset_record(const struct record_versions *v, struct arena *a, struct str group, struct str topic,
                  int32_t partition, const struct committed *c, struct group_record *out) must_use;
/* value: as group_take_record() gives it; null: a tombstone. */
int metadata_record(struct arena *a, struct str group, struct bytes value, struct group_record *out) must_use;

/* ---- reading ---- */

enum record_kind { RECORD_OFFSET, RECORD_GROUP, RECORD_UNKNOWN };

struct record_key {
    enum record_kind kind;
    int16_t          version;
    struct str       group, topic;
    int32_t          partition;
};

/* Of an unknown version only the version is given, and the result is OK. */
int record_key_read(struct bytes key, struct record_key *out) must_use;

/* log_offset is not touched. */
int offset_value_read(struct bytes value, struct arena *a, struct committed *out) must_use;
int metadata_value_read(struct bytes value, struct arena *a, struct group_metadata_value *out) must_use;

/* ---- answering ---- */

/* What a client is told when the append of such a record (RECORD_GROUP: to who joins or syncs) failed with kerr. */
int16_t record_error(enum record_kind of, int16_t kerr);

#endif
