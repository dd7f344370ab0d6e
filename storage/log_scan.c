/* storage/log_scan.c - walking over the batch headers of a .log file.
 *
 * Small batches are read many at a time, of larger ones only the header: after a batch of HEADS_FROM bytes or more the
 * next read takes no more than one header, which costs less than copying what lies between.
 */
#include "storage/log_scan.h"

#include "base/crc32c.h"
#include "storage/fio.h"

#include <stdlib.h>

#define CHECK_PIECE ((size_t)256 << 10)
#define HEADS_FROM  4096
#define CRC_FROM    21                  /* a v2 batch is summed from here on */

void log_scan_init(struct log_scan *s, int fd, int64_t pos, int64_t end, uint8_t *buf, size_t cap)
{
    *s = (struct log_scan){ .pos = pos, .fd = fd, .next = pos, .end = end, .buf = buf, .cap = cap, .at = pos };
}

/* Bytes of the header at `pos`, in buf. */
static int fill(struct log_scan *s, int64_t pos, const uint8_t **p, size_t *n)
{
    size_t want = s->head.size_bytes >= HEADS_FROM ? BATCH_HEAD_BYTES : s->cap;
    size_t left = (size_t)(s->end - pos);

    if (pos >= s->at && pos < s->at + (int64_t)s->n) {
        size_t have = s->n - (size_t)(pos - s->at);
        if (have >= BATCH_HEAD_BYTES || have == left) {
            *p = s->buf + (pos - s->at);
            *n = have;
            return OK;
        }
    }
    if (want > left)
        want = left;
    TRY(fio_pread(s->fd, s->buf, want, pos, &s->n));
    s->at = pos;
    s->read_bytes += (int64_t)s->n;
    *p = s->buf;
    *n = s->n;
    return OK;
}

bool log_scan_next(struct log_scan *s)
{
    const uint8_t *p;
    size_t n;

    if (s->rc != OK)
        return false;
    s->pos = s->next;
    if (s->pos >= s->end)
        return false;
    s->rc = fill(s, s->pos, &p, &n);
    if (s->rc == OK)
        s->rc = batch_head_read(&s->head, p, n);
    if (s->rc == OK && s->head.size_bytes > s->end - s->pos)
        s->rc = ERR_SHORT;
    if (s->rc != OK)
        return false;
    s->next = s->pos + s->head.size_bytes;
    return true;
}

int log_scan_batch(const struct log_scan *s, uint8_t **p)
{
    uint8_t *b = malloc(s->head.size_bytes);
    int rc;

    if (b == NULL)
        return ERR_NOMEM;
    rc = fio_pread_all(s->fd, b, s->head.size_bytes, s->pos);
    if (rc != OK) {
        free(b);
        return rc;
    }
    *p = b;
    return OK;
}

static int check_v2(struct log_scan *s)
{
    int64_t pos = s->pos + CRC_FROM, end = s->pos + s->head.size_bytes;
    uint32_t crc = 0;
    uint8_t *b;
    int rc;

    if (pos >= s->at && pos < s->at + (int64_t)s->n) {          /* what is in the buffer is not read again */
        int64_t have = s->at + (int64_t)s->n < end ? s->at + (int64_t)s->n : end;
        crc = crc32c(0, s->buf + (pos - s->at), (size_t)(have - pos));
        pos = have;
    }
    if (pos == end)
        return crc == s->head.crc ? OK : ERR_CORRUPT;
    b = malloc(CHECK_PIECE);
    rc = b != NULL ? OK : ERR_NOMEM;
    while (rc == OK && pos < end) {
        size_t n = end - pos < (int64_t)CHECK_PIECE ? (size_t)(end - pos) : CHECK_PIECE;
        rc = fio_pread_all(s->fd, b, n, pos);
        if (rc == OK)
            crc = crc32c(crc, b, n);
        pos += (int64_t)n;
        s->read_bytes += (int64_t)n;
    }
    free(b);
    if (rc == OK && crc != s->head.crc)
        rc = ERR_CORRUPT;
    return rc;
}

int log_scan_check(struct log_scan *s)
{
    uint8_t *b;
    int rc;

    if (s->head.magic >= 2 && s->head.size_bytes >= BATCH_HEAD_BYTES)
        return check_v2(s);
    TRY(log_scan_batch(s, &b));
    s->read_bytes += s->head.size_bytes;
    rc = batch_check(&s->head, b);
    free(b);
    return rc;
}
