/* proto/types.h - the parts that generated messages are made of: how each primitive type of the protocol is read,
 * measured and written. proto/gen/ is the only user, but for struct raw_tag, which every message may hold.
 *
 * OWNER    what is read points into the cursor's bytes; arrays and raw tags lie in the arena.
 * FAILURE  reading: the cursor's rc is set (ERR_SHORT, ERR_CORRUPT, ERR_NOMEM) and zeros are given. Writing: the
 *          chain's rc is set (ERR_NOMEM; ERR_INVALID for null where null is not allowed or for raw tags out of order;
 *          ERR_TOO_LARGE for a string of more than 32,767 bytes; ERR_UNSUPPORTED).
 * LIMIT    a count is believed only when that many elements of the smallest size fit into what is left, so the
 *          arena takes no more than about 24 bytes for one of the message, at each level of nesting.
 * UNITS    bytes. `compact` selects the encoding of flexible versions: unsigned varint of length + 1, 0 for null.
 */
#ifndef PROTO_TYPES_H
#define PROTO_TYPES_H

#include "base/arena.h"
#include "base/chain.h"
#include "base/cursor.h"
#include "base/uuid.h"

#define WIRE_STR_MAX 0x7fff

/* A tagged field that our definitions do not know, kept so that it is written back. In rising order of tag. */
struct raw_tag {
    const struct raw_tag *next;
    uint32_t              tag;
    struct bytes          data;
};

/* ---- reading ---- */
struct str   wire_read_str(struct cursor *c, bool compact, bool null_ok);
struct bytes wire_read_bytes(struct cursor *c, bool compact, bool null_ok);
struct slice wire_read_records(struct cursor *c, bool compact, bool null_ok);
struct uuid  wire_read_uuid(struct cursor *c);

/* Room for an array of *n elements (given back; -1 for null), not zeroed; each takes min_size or more on the wire. When
 * the cursor fails, *n is 0. */
void *wire_read_array(struct cursor *c, struct arena *a, int32_t *n, bool compact, bool null_ok, size_t min_size,
                      size_t size);
/* Room for a struct that may be null; its marker is read first: a byte, or a varint when it is a tagged field. */
void *wire_read_nullable(struct cursor *c, struct arena *a, bool tagged, size_t size);

/* The end of a struct in a flexible version: its tagged fields. wire_read_tags() is for structs that define none;
 * others read the count, then tag and size of each, and hand unknown ones over. */
void     wire_read_tags_slow(struct cursor *c, struct arena *a, const struct raw_tag **tags);
uint32_t wire_read_tag_count(struct cursor *c);
const struct raw_tag **wire_read_unknown(struct cursor *c, struct arena *a, uint32_t tag, uint32_t size,
                                         const struct raw_tag **tail);

static inline void wire_read_tags(struct cursor *c, struct arena *a, const struct raw_tag **tags)
{
    if (c->p < c->end && *c->p == 0)
        c->p++;
    else
        wire_read_tags_slow(c, a, tags);
}

/* ---- measuring ---- */
static inline size_t wire_size_len(size_t len, bool compact, size_t classic)
{
    return compact ? uvarint_size((uint32_t)len + 1) : classic;
}

static inline size_t wire_size_str(struct str s, bool compact)
{
    return s.p == NULL ? (compact ? 1 : 2) : wire_size_len(s.len, compact, 2) + s.len;
}

static inline size_t wire_size_run(bool null, size_t len, bool compact)
{
    return null ? (compact ? 1 : 4) : wire_size_len(len, compact, 4) + len;
}

static inline size_t wire_size_array(int32_t n, bool compact)
{
    return n < 0 ? (compact ? 1 : 4) : wire_size_len((size_t)n, compact, 4);
}

/* One tagged field: tag, size, and its size bytes. */
static inline size_t wire_size_tag(uint32_t tag, size_t size)
{
    return uvarint_size(tag) + uvarint_size((uint32_t)size) + size;
}

size_t wire_size_unknown(const struct raw_tag *tags, uint32_t *n);     /* adds how many to *n */

/* ---- writing ---- */
void wire_fail(struct chain *ch, int rc);       /* the first failure stays */
void wire_write_str(struct chain *ch, struct str s, bool compact, bool null_ok);
void wire_write_bytes(struct chain *ch, struct bytes b, bool compact, bool null_ok);
void wire_write_records(struct chain *ch, struct slice s, bool compact, bool null_ok);
void wire_write_array(struct chain *ch, int32_t n, bool compact, bool null_ok);
void wire_write_uuid(struct chain *ch, struct uuid u);

uint32_t wire_count_tags(const struct raw_tag *tags);
/* Writes the raw tags below `below` and gives the first that is not. */
const struct raw_tag *wire_write_unknown(struct chain *ch, const struct raw_tag *tags, uint64_t below);
void wire_write_tag(struct chain *ch, uint32_t tag, size_t size);       /* what precedes a known tagged field */

#endif
