/* tools/perf/payload.c - records to send. */
#include "tools/perf/payload.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define LETTERS 26

/* ---- Java's SplittableRandom, from seed 0 ---- */

static uint32_t random_32(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 33) * UINT64_C(0x62a9d9ed799705f5);
    return (uint32_t)((z ^ z >> 28) * UINT64_C(0xcb24d0a5c88c35b3) >> 32);
}

/* Each of 0 .. n-1 as likely as the other. */
static uint32_t random_below(uint64_t *state, uint32_t n)
{
    uint32_t r = random_32(state), u;

    if ((n & (n - 1)) == 0)
        return r & (n - 1);
    for (u = r >> 1; u - u % n + (n - 1) > INT32_MAX; u = random_32(state) >> 1)
        continue;
    return u % n;
}

int payload_random(struct payload *p, size_t size)
{
    p->letters = malloc(size + 1);
    p->size = size;
    return p->letters != NULL ? OK : ERR_NOMEM;
}

/* ---- a file ---- */

static int read_all(const char *path, char **out, size_t *len)
{
    FILE  *f = fopen(path, "rb");
    size_t cap = 1 << 16, n = 0, got;
    char  *buf = f != NULL ? malloc(cap) : NULL;

    while (buf != NULL && (got = fread(buf + n, 1, cap - n, f)) > 0) {
        n += got;
        if (n == cap) {
            char *more = realloc(buf, cap *= 2);
            if (more == NULL)
                free(buf);
            buf = more;
        }
    }
    if (f != NULL)
        fclose(f);
    if (buf == NULL)
        return f != NULL ? ERR_NOMEM : ERR_IO;
    *out = buf;
    *len = n;
    return OK;
}

static int add_piece(struct payload *p, size_t *cap, size_t from, size_t to)
{
    if (p->pieces_n == *cap) {
        struct bytes *v = reallocarray(p->pieces, *cap * 2 + 64, sizeof *v);

        if (v == NULL)
            return ERR_NOMEM;
        p->pieces = v;
        *cap = *cap * 2 + 64;
    }
    p->pieces[p->pieces_n++] = (struct bytes){ (const uint8_t *)p->file + from, to - from };
    return OK;
}

/* As Java splits: what is empty at the end does not count. */
static int split(struct payload *p, size_t len, pcre2_code *code)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    size_t            cap = 0, from = 0, at = 0;
    int               rc = match != NULL ? OK : ERR_NOMEM;

    while (rc == OK && pcre2_match(code, (PCRE2_SPTR)p->file, len, at, 0, match, NULL) >= 0) {
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(match);

        if (v[1] > v[0] || (v[0] > 0 && v[0] < len)) {
            rc = add_piece(p, &cap, from, v[0]);
            from = v[1];
        }
        at = v[1] > v[0] ? v[1] : v[1] + 1;
        if (at > len)
            break;
    }
    if (rc == OK)
        rc = add_piece(p, &cap, from, len);
    while (p->pieces_n > 1 && p->pieces[p->pieces_n - 1].len == 0)
        p->pieces_n--;
    if (match != NULL)
        pcre2_match_data_free(match);
    return rc;
}

int payload_file(struct payload *p, const char *path, const char *delimiter, char *error, size_t error_len)
{
    const char *text = strcmp(delimiter, "\\n") == 0 ? "\n" : delimiter;
    char       *full = realpath(path, NULL);
    size_t      len = 0;
    pcre2_code *code;
    int         rc, bad;
    PCRE2_SIZE  at;

    printf("Reading payloads from: %s\n", full != NULL ? full : path);
    free(full);
    rc = read_all(path, &p->file, &len);
    if (rc == ERR_NOMEM)
        return rc;
    if (rc != OK || len == 0) {
        snprintf(error, error_len, "File does not exist or empty file provided.");
        return ERR_INVALID;
    }
    code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &bad, &at, NULL);
    if (code == NULL) {
        snprintf(error, error_len, "--payload-delimiter %s is an invalid regex.", delimiter);
        return ERR_INVALID;
    }
    rc = split(p, len, code);
    pcre2_code_free(code);
    if (rc == OK)
        printf("Number of messages read: %zu\n", p->pieces_n);
    return rc;
}

void payload_fini(struct payload *p)
{
    free(p->letters);
    free(p->file);
    free(p->pieces);
    *p = (struct payload){ 0 };
}

struct bytes payload_next(struct payload *p, int64_t n)
{
    if (p->pieces_n > 0)
        return p->pieces[random_below(&p->random, (uint32_t)p->pieces_n)];
    if (p->letters == NULL) {
        int len = snprintf(p->number, sizeof p->number, "%" PRId64, n);
        return (struct bytes){ (const uint8_t *)p->number, (size_t)len };
    }
    for (size_t i = 0; i < p->size; i++)
        p->letters[i] = (uint8_t)('A' + random_below(&p->random, LETTERS));
    return (struct bytes){ p->letters, p->size };
}
