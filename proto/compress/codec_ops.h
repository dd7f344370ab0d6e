/* proto/compress/codec_ops.h - what one codec provides to compress.c; private to this folder.
 *
 * OWNER  `state` belongs to the codec: made by its first open of a handle, kept while the handle is in the thread's
 *        cache, freed by its _free.
 */
#ifndef PROTO_COMPRESS_CODEC_OPS_H
#define PROTO_COMPRESS_CODEC_OPS_H

#include "base/cursor.h"
#include "proto/compress/compress.h"

/* A stream codec (gzip, zstd) gives out pieces of this size; Kafka's readers do so too, which decides whether a broken
 * stream is noticed before or after the records in front of the break. */
#define STREAM_CHUNK_BYTES ((size_t)16384)

struct decomp {
    enum codec    codec;
    int8_t        magic;
    struct cursor in;               /* compressed bytes not yet used */
    size_t        max_bytes;
    size_t        total_bytes;      /* that came out so far */
    uint8_t      *buf;              /* [pos, len) is decompressed and not yet dropped */
    size_t        cap, pos, len;
    bool          eof;
    int           rc;
    void         *state;
};

struct comp {
    enum codec     codec;
    int8_t         magic;
    int            level;
    struct outbuf *out;
    void          *state;
};

struct codec_ops {
    /* Begins a stream. state is NULL the first time. */
    int  (*in_open)(struct decomp *d);
    /* How much room the next piece needs; eof is set when there is none. */
    int  (*in_next)(struct decomp *d, size_t *room);
    /* Writes the next piece: *n bytes, at most room. 0 is a piece without bytes, not the end. */
    int  (*in_fill)(struct decomp *d, uint8_t *dst, size_t room, size_t *n);
    void (*in_free)(void *state);
    size_t (*in_bytes)(const void *state);      /* memory that state holds */

    int  (*out_open)(struct comp *c);
    int  (*out_write)(struct comp *c, const uint8_t *p, size_t n);
    int  (*out_finish)(struct comp *c);
    void (*out_free)(void *state);
    size_t (*out_bytes)(const void *state);
};

extern const struct codec_ops codec_gzip, codec_snappy, codec_lz4, codec_zstd;

/* ---- blocks: snappy and lz4 gather what is written into blocks of a fixed size --------------------------------- */
struct block_writer {
    uint8_t *p;
    size_t   len, size;
};

/* Calls put() for each full block, straight from the source where that is possible. */
int block_write(struct comp *c, struct block_writer *w, const uint8_t *p, size_t n,
                int (*put)(struct comp *, const uint8_t *, size_t)) must_use;
int block_flush(struct comp *c, struct block_writer *w, int (*put)(struct comp *, const uint8_t *, size_t)) must_use;

#endif
