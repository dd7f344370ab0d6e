/* tests/wire_vectors.c - puts messages that Apache Kafka wrote through our decoders, printers and encoders.
 *
 *     wire_vectors FILE
 *
 * FILE has one JSON object a line: api, key (-1 for records), dir (request, response, or data for records), version,
 * header (the version of the header that goes with it; the header is not in the bytes), json (Kafka's JSON form) and
 * hex (the bytes). Each line passes when the bytes decode to the last one, give the same JSON, and are the same again
 * when encoded. The last line printed is "N passed, N failed"; the exit status is 1 if one failed, 2 if FILE cannot
 * be read.
 *
 * tests/data/wire.jsonl has a small one for the first and the last version of every message.
 */
#include "base/arena.h"
#include "proto/gen/apis.h"
#include "proto/gen/messages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_LIMIT ((size_t)1 << 30)

struct vector {
    const char                *api, *dir, *hex;
    json_t                    *json;
    int16_t                    version;
    json_int_t                 header;
    const struct message_info *message;
    uint8_t                   *bytes;
    size_t                     n;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *unhex(struct vector *v, struct arena *a)
{
    size_t n = strlen(v->hex);

    if (n % 2 != 0)
        return "odd number of hex digits";
    v->n = n / 2;
    v->bytes = arena_alloc(a, v->n + 1);
    if (v->bytes == NULL)
        return "out of memory";
    for (size_t i = 0; i < v->n; i++) {
        int hi = hex_digit(v->hex[2 * i]), lo = hex_digit(v->hex[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return "not a hex digit";
        v->bytes[i] = (uint8_t)(hi << 4 | lo);
    }
    return NULL;
}

static const struct message_info *message_find(const char *api, const char *dir)
{
    const char *suffix = strcmp(dir, "request") == 0 ? "Request" : strcmp(dir, "response") == 0 ? "Response" : "";
    size_t n = strlen(api);

    for (size_t i = 0; i < message_table_n; i++)
        if (strncmp(message_table[i].name, api, n) == 0 && strcmp(message_table[i].name + n, suffix) == 0)
            return &message_table[i];
    return NULL;
}

/* Each of the following gives NULL, or what is wrong. */

static const char *vector_parse(struct vector *v, const json_t *o)
{
    int version = -1, key = -1;

    *v = (struct vector){ .header = -1 };
    if (json_unpack((json_t *)(uintptr_t)o, "{s:s, s:i, s:s, s:i, s:o, s:s, s?I}", "api", &v->api, "key", &key,
                    "dir", &v->dir, "version", &version, "json", &v->json, "hex", &v->hex, "header", &v->header) != 0)
        return "a line needs api, key, dir, version, json and hex";
    v->message = message_find(v->api, v->dir);
    if (v->message == NULL)
        return "no such message";
    if (v->message->key != key)
        return "the key is another one";
    if (version < v->message->min_version || version > v->message->max_version)
        return "we do not have this version";
    v->version = (int16_t)version;
    return NULL;
}

static const char *check_header(const struct vector *v)
{
    int16_t ours = v->message->is_request ? request_header_version(v->message->key, v->version)
                                          : response_header_version(v->message->key, v->version);

    return v->header >= 0 && v->header != ours ? "the header has another version" : NULL;
}

static const char *check_json(const struct vector *v, const void *x)
{
    json_t *ours = v->message->to_json(x, v->version);
    const char *wrong = NULL;

    if (ours == NULL)
        return "cannot be printed";
    if (!json_equal(ours, v->json)) {
        char *text = json_dumps(ours, JSON_COMPACT);

        fprintf(stderr, "ours: %s\n", text != NULL ? text : "?");
        free(text);
        wrong = "the JSON differs";
    }
    json_decref(ours);
    return wrong;
}

static const char *check_bytes(const struct vector *v, const void *x, struct arena *a)
{
    struct chain ch;
    uint8_t *out = arena_alloc(a, v->n + 1);
    const char *wrong = NULL;
    int rc;

    if (v->message->size(x, v->version) != v->n)
        return "the size differs";
    chain_init(&ch, a);
    rc = v->message->write(&ch, x, v->version);
    if (rc != OK)
        wrong = err_name(rc);
    else if (out == NULL || ch.len != v->n || chain_flatten(&ch, out, v->n) != OK || memcmp(out, v->bytes, v->n) != 0)
        wrong = "the bytes differ";
    chain_fini(&ch);
    return wrong;
}

static const char *vector_check(struct vector *v, struct arena *a)
{
    const char *wrong = check_header(v);
    struct cursor c;
    void *x;
    int rc;

    if (wrong == NULL)
        wrong = unhex(v, a);
    if (wrong != NULL)
        return wrong;
    x = arena_alloc(a, v->message->bytes);
    if (x == NULL)
        return "out of memory";
    c = cur_ro(v->bytes, v->n);
    rc = v->message->read(&c, v->version, a, x);
    if (rc != OK)
        return err_name(rc);
    if (cur_left(&c) != 0)
        return "bytes are left over";
    wrong = check_json(v, x);
    return wrong != NULL ? wrong : check_bytes(v, x, a);
}

static bool line_passes(const char *line, size_t n, unsigned long number)
{
    json_error_t err;
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, &err);
    struct vector v;
    struct arena a;
    const char *wrong = o == NULL ? err.text : vector_parse(&v, o);

    arena_init(&a, ARENA_LIMIT);
    if (wrong == NULL)
        wrong = vector_check(&v, &a);
    if (wrong != NULL)
        fprintf(stderr, "line %lu: %s %s v%d: %s\n", number, o != NULL && v.api != NULL ? v.api : "?",
                o != NULL && v.dir != NULL ? v.dir : "?", o != NULL ? v.version : -1, wrong);
    arena_fini(&a);
    json_decref(o);
    return wrong == NULL;
}

int main(int argc, char **argv)
{
    unsigned long passed = 0, failed = 0, number = 0;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

    if (f == NULL) {
        if (argc == 2)
            fprintf(stderr, "wire_vectors: %s: %s\n", argv[1], strerror(errno));
        else
            fputs("usage: wire_vectors FILE\n", stderr);
        return 2;
    }
    while ((n = getline(&line, &cap, f)) > 0) {
        number++;
        if (line[strspn(line, " \t\r\n")] == '\0')
            continue;
        if (line_passes(line, (size_t)n, number))
            passed++;
        else
            failed++;
    }
    free(line);
    fclose(f);
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}
