/* proto/generator/main.c - makes proto/gen/ from proto/schema/.
 *
 *     generator DIR GROUPS SCHEMA.json...
 *
 * writes into DIR one header for each message, GROUPS pairs codec_N.c and json_N.c (N from 0), apis.h and apis.c,
 * json.h, messages.h and messages.c.
 */
#include "proto/generator/emit.h"

#include <stdlib.h>

static void codec_file(const struct schema *s, size_t from, size_t to, const char *dir, int group)
{
    struct out o;

    out_open(&o, dir, xprintf("codec_%d.c", group), "defaults, decoders, sizes and encoders of some messages.");
    for (size_t i = from; i < to; i++)
        line(&o, "#include \"proto/gen/%s.h\"", s->messages[i]->c_name);
    blank(&o);
    for (size_t i = from; i < to; i++) {
        const struct message *m = s->messages[i];

        line(&o, "/* ---- %s ---- */", m->name);
        blank(&o);
        for (const struct shape *k = m->structs; k != NULL; k = k->next) {
            emit_init(&o, k);
            emit_read(&o, k);
            emit_size(&o, k);
            emit_write(&o, k);
        }
        emit_entry_points(&o, m);
    }
    out_close(&o);
}

static void json_file(const struct schema *s, size_t from, size_t to, const char *dir, int group)
{
    struct out o;

    out_open(&o, dir, xprintf("json_%d.c", group), "JSON printers of some messages.");
    line(&o, "#include \"proto/gen/json.h\"");
    line(&o, "#include \"proto/json.h\"");
    for (size_t i = from; i < to; i++)
        line(&o, "#include \"proto/gen/%s.h\"", s->messages[i]->c_name);
    blank(&o);
    for (size_t i = from; i < to; i++)
        for (const struct shape *k = s->messages[i]->structs; k != NULL; k = k->next)
            emit_json(&o, k);
    out_close(&o);
}

int main(int argc, char **argv)
{
    struct schema s;
    size_t total = 0, done = 0, from = 0;
    int groups = argc > 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    const char *dir = argv[1];

    if (groups < 1)
        die("usage: generator DIR GROUPS SCHEMA.json...");
    schema_load(&s, (const char *const *)argv + 3, (size_t)argc - 3);
    for (size_t i = 0; i < s.n; i++) {
        emit_header(s.messages[i], dir);
        total += s.messages[i]->weight;
    }
    for (int g = 0; g < groups; g++) {
        size_t to = from;

        while (to < s.n && (g == groups - 1 || done * (size_t)groups < total * ((size_t)g + 1)))
            done += s.messages[to++]->weight;
        codec_file(&s, from, to, dir, g);
        json_file(&s, from, to, dir, g);
        from = to;
    }
    emit_apis(&s, dir);
    emit_registry(&s, dir);
    return 0;
}
