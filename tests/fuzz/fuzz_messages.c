/* tests/fuzz/fuzz_messages.c - every decoder of a message: two bytes choose the message, one the version, the rest is
 * the message.
 *
 * What decodes must be printable, must encode to exactly the size announced, and must decode again to the same; what
 * does not must fail with one of the results that callers know. Memory is bounded by the input.
 */
#include "proto/gen/messages.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_LIMIT    ((size_t)64 << 20)
#define ARENA_PER_BYTE 128              /* 24 for the worst array, and nesting, and room left in blocks */

/* Encodes x, decodes that, and compares. Raw tags that came out of order cannot be written (nor can Java). */
static void round_trip(const struct message_info *m, int16_t v, const void *x, struct arena *a)
{
    struct chain ch;
    size_t size = m->size(x, v);
    uint8_t *bytes = malloc(size + 1);
    void *again = malloc(m->bytes);
    json_t *before, *after;
    struct cursor c;
    int rc;

    FUZZ_CHECK(bytes != NULL && again != NULL);
    chain_init(&ch, a);
    rc = m->write(&ch, x, v);
    if (rc == OK) {
        FUZZ_CHECK(ch.len == size);
        FUZZ_CHECK(chain_flatten(&ch, bytes, size) == OK);
        c = cur_ro(bytes, size);
        FUZZ_CHECK(m->read(&c, v, a, again) == OK);
        FUZZ_CHECK(cur_left(&c) == 0);
        FUZZ_CHECK(m->size(again, v) == size);
        before = m->to_json(x, v);
        after = m->to_json(again, v);
        FUZZ_CHECK(before != NULL && json_equal(before, after));
        json_decref(before);
        json_decref(after);
    } else {
        FUZZ_CHECK(rc == ERR_INVALID || rc == ERR_NOMEM);
    }
    chain_fini(&ch);
    free(bytes);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct message_info *m;
    struct arena a;
    struct cursor c;
    int16_t v;
    void *x;
    int rc;

    if (n < 3)
        return 0;
    m = &message_table[be_get16(data) % message_table_n];
    v = (int16_t)(m->min_version + data[2] % (m->max_version - m->min_version + 2));    /* one too high as well */
    x = malloc(m->bytes);
    FUZZ_CHECK(x != NULL);
    arena_init(&a, ARENA_LIMIT);
    c = cur_ro(data + 3, n - 3);
    rc = m->read(&c, v, &a, x);
    FUZZ_CHECK(a.taken_bytes <= 4096 + ARENA_PER_BYTE * n);
    if (rc == OK)
        round_trip(m, v, x, &a);
    else
        FUZZ_CHECK(rc == ERR_SHORT || rc == ERR_CORRUPT || rc == (v > m->max_version ? ERR_VERSION : ERR_CORRUPT));
    arena_fini(&a);
    free(x);
    return 0;
}

/* ---- seeds: the vectors of tests/data ---- */

#define SEED_MAX 4096

static size_t message_index(const char *api, const char *dir)
{
    char name[100];

    snprintf(name, sizeof name, "%s%s", api,
             strcmp(dir, "request") == 0 ? "Request" : strcmp(dir, "response") == 0 ? "Response" : "");
    for (size_t i = 0; i < message_table_n; i++)
        if (strcmp(message_table[i].name, name) == 0)
            return i;
    return message_table_n;
}

static bool seed_parse(const char *line, size_t len, uint8_t *out, size_t *n)
{
    json_t *o = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
    const char *api, *dir, *hex;
    size_t index;
    int version;
    bool good = false;

    if (o != NULL && json_unpack(o, "{s:s, s:s, s:i, s:s}", "api", &api, "dir", &dir, "version", &version, "hex",
                                 &hex) == 0) {
        index = message_index(api, dir);
        good = index < message_table_n && strlen(hex) / 2 + 3 <= SEED_MAX;
    }
    if (good) {
        be_put16(out, (uint16_t)index);
        out[2] = (uint8_t)(version - message_table[index].min_version);
        for (*n = 3; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
            char two[3] = { hex[0], hex[1], '\0' };
            out[(*n)++] = (uint8_t)strtoul(two, NULL, 16);
        }
    }
    json_decref(o);
    return good;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    static FILE *f;
    static char *line;
    static size_t cap;
    static uint8_t seed[1000][SEED_MAX];
    static size_t n[1000];
    ssize_t len;

    if (f == NULL)
        f = fopen("tests/data/wire.jsonl", "r");
    if (f == NULL || i >= 1000)
        return false;
    while ((len = getline(&line, &cap, f)) > 0)
        if (seed_parse(line, (size_t)len, seed[i], &n[i])) {
            *out = (struct bytes){ seed[i], n[i] };
            return true;
        }
    fclose(f);
    f = NULL;
    free(line);
    line = NULL;
    cap = 0;
    return false;
}
