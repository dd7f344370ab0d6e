/* proto/compress/compress.h - the four codecs of record sets, framed as Apache Kafka frames them.
 *
 *   gzip    RFC 1952; several members one after the other are read as one stream
 *   snappy  written: xerial's framing (header, then length + block of at most 32 KiB); read: that, with repeated
 *           headers, or one raw block
 *   lz4     LZ4 frame of independent 64 KiB blocks. Magic 0 message sets carry a wrong header checksum (it covers the
 *           frame magic too): written so and not looked at for magic 0, right and verified for 1 and 2
 *   zstd    frames, skippable frames between them are skipped
 *
 * OWNER    decomp_open() and comp_open() give a handle that the caller closes. The handle borrows the input (or the
 *          outbuf). Contexts and buffers are kept by the thread that closes the handle and used again by its next
 *          open, so a handle costs next to nothing; what has grown beyond KEEP_MAX_BYTES is freed at close.
 * LOCKS    none: a handle belongs to one thread.
 * UNITS    bytes.
 * FAILURE  ERR_CORRUPT    the input is not what the codec writes, or ends inside it
 *          ERR_TOO_LARGE  more than max_bytes would come out (bomb)
 *          ERR_NOMEM
 *          ERR_UNSUPPORTED unknown codec
 *          After a failure only close is allowed.
 */
#ifndef PROTO_COMPRESS_COMPRESS_H
#define PROTO_COMPRESS_COMPRESS_H

#include "base/bytes.h"
#include "base/err.h"
#include "proto/compress/outbuf.h"

/* The numbers are those of the attributes' bits 0-2. */
enum codec {
    CODEC_NONE   = 0,
    CODEC_GZIP   = 1,
    CODEC_SNAPPY = 2,
    CODEC_LZ4    = 3,
    CODEC_ZSTD   = 4,
    CODEC_N
};

const char *codec_name(enum codec c);                       /* "none", "gzip", ...; never NULL */
bool        codec_parse(struct str name, enum codec *out);  /* the same names */
int         codec_default_level(enum codec c);              /* gzip -1, lz4 9, zstd 3, else 0 */
bool        codec_level_valid(enum codec c, int level);     /* gzip -1, 1..9; lz4 1..17; zstd -131072..22 */

/* ---- reading ------------------------------------------------------------------------------------------------- */
struct decomp;

/* magic is that of the record set around the payload. CODEC_NONE is not a codec here: ERR_UNSUPPORTED.
 * A broken header is noticed by the first decomp_peek(). */
int decomp_open(struct decomp **out, enum codec c, int8_t magic, struct bytes in, size_t max_bytes) must_use;

/* Makes at least `want` bytes of the stream lie contiguous, or all that are left. *have >= want unless the stream
 * ends; *p stays valid until the next call. Memory is want + one block of the codec. On failure *p and *have are what
 * lies in front of the break. */
int decomp_peek(struct decomp *d, size_t want, const uint8_t **p, size_t *have) must_use;
void decomp_drop(struct decomp *d, size_t n);               /* n <= what the last decomp_peek() gave */

/* Passes over n bytes without keeping them. *skipped < n only when the stream ends. */
int decomp_skip(struct decomp *d, size_t n, size_t *skipped) must_use;

void decomp_close(struct decomp **d);                       /* NULL-safe */

/* ---- writing ------------------------------------------------------------------------------------------------- */
struct comp;

/* Appends to *out, which must outlive the handle. CODEC_NONE passes the bytes through. */
int  comp_open(struct comp **c, enum codec codec, int level, int8_t magic, struct outbuf *out) must_use;
int  comp_write(struct comp *c, const void *p, size_t n) must_use;
int  comp_finish(struct comp *c) must_use;                  /* writes what is left and the trailer; then only close */
void comp_close(struct comp **c);                           /* NULL-safe; without comp_finish() the output is cut */

#endif
