/* proto/generator/emit_apis.c - the table of APIs: keys, names, versions, and which header goes with them. */
#include "proto/generator/emit.h"

#include <string.h>

static const char *api_of(const struct message *m)      /* FetchRequest -> Fetch */
{
    return xprintf("%.*s", (int)(strlen(m->name) - strlen("Request")), m->name);
}

static void emit_apis_header(const struct schema *s, const char *dir)
{
    struct out o;
    int highest = 0;

    out_open(&o, dir, "apis.h", "keys, names and versions of all APIs.");
    line(&o, "#ifndef PROTO_GEN_APIS_H");
    line(&o, "#define PROTO_GEN_APIS_H");
    blank(&o);
    line(&o, "#include <stddef.h>");
    line(&o, "#include <stdint.h>");
    blank(&o);
    line(&o, "enum api_key {");
    for (size_t i = 0; i < s->n; i++)
        if (s->messages[i]->is_request) {
            line(&o, "API_%s = %d,", upper_snake(api_of(s->messages[i])), s->messages[i]->key);
            highest = s->messages[i]->key;
        }
    line(&o, "};");
    blank(&o);
    line(&o, "#define API_KEY_MAX %d       /* the highest key; there are gaps below */", highest);
    blank(&o);
    line(&o, "struct api_info {");
    line(&o, "int16_t key;");
    line(&o, "int16_t min_version, max_version;");
    line(&o, "int16_t first_flexible;       /* version; INT16_MAX: none */");
    line(&o, "const char *name;             /* as Kafka writes it, e.g. \"LeaderAndIsr\" */");
    line(&o, "};");
    blank(&o);
    line(&o, "extern const struct api_info api_table[];     /* by rising key */");
    line(&o, "extern const size_t api_table_n;");
    blank(&o);
    line(&o, "const struct api_info *api_info(int16_t key);             /* NULL: no such key */");
    line(&o, "const char *api_name(int16_t key);                        /* \"unknown\" for no such key */");
    line(&o, "/* Any version, also one that we do not have; -1: no such key. */");
    line(&o, "int16_t request_header_version(int16_t key, int16_t version);");
    line(&o, "int16_t response_header_version(int16_t key, int16_t version);");
    blank(&o);
    line(&o, "#endif");
    out_close(&o);
}

static void emit_apis_functions(struct out *o)
{
    line(o, "const struct api_info *api_info(int16_t key)");
    line(o, "{");
    line(o, "return key >= 0 && key <= API_KEY_MAX && place[key] > 0 ? &api_table[place[key] - 1] : NULL;");
    line(o, "}");
    blank(o);
    line(o, "const char *api_name(int16_t key)");
    line(o, "{");
    line(o, "const struct api_info *a = api_info(key);");
    line(o, "return a != NULL ? a->name : \"unknown\";");
    line(o, "}");
    blank(o);
    line(o, "/* The first version of ControlledShutdown came without a client id. */");
    line(o, "int16_t request_header_version(int16_t key, int16_t version)");
    line(o, "{");
    line(o, "const struct api_info *a = api_info(key);");
    line(o, "if (a == NULL)");
    line(o, "    return -1;");
    line(o, "if (key == API_CONTROLLED_SHUTDOWN && version == 0)");
    line(o, "    return 0;");
    line(o, "return version >= a->first_flexible ? 2 : 1;");
    line(o, "}");
    blank(o);
    line(o, "/* A client must be able to read the answer to ApiVersions before it knows what we speak. */");
    line(o, "int16_t response_header_version(int16_t key, int16_t version)");
    line(o, "{");
    line(o, "const struct api_info *a = api_info(key);");
    line(o, "if (a == NULL)");
    line(o, "    return -1;");
    line(o, "return key != API_API_VERSIONS && version >= a->first_flexible ? 1 : 0;");
    line(o, "}");
}

void emit_apis(const struct schema *s, const char *dir)
{
    struct out o;
    int n = 0;

    emit_apis_header(s, dir);
    out_open(&o, dir, "apis.c", "keys, names and versions of all APIs.");
    line(&o, "#include \"proto/gen/apis.h\"");
    blank(&o);
    line(&o, "const struct api_info api_table[] = {");
    for (size_t i = 0; i < s->n; i++) {
        const struct message *m = s->messages[i];

        if (m->is_request)
            line(&o, "{ API_%s, %d, %d, %d, \"%s\" },", upper_snake(api_of(m)), m->versions.lo, m->versions.hi,
                 range_empty(m->flexible) ? INT16_MAX : m->flexible.lo, api_of(m));
    }
    line(&o, "};");
    blank(&o);
    line(&o, "const size_t api_table_n = sizeof api_table / sizeof api_table[0];");
    blank(&o);
    line(&o, "static const uint8_t place[API_KEY_MAX + 1] = {       /* in api_table, counted from 1 */");
    for (size_t i = 0; i < s->n; i++)
        if (s->messages[i]->is_request)
            line(&o, "[API_%s] = %d,", upper_snake(api_of(s->messages[i])), ++n);
    line(&o, "};");
    blank(&o);
    emit_apis_functions(&o);
    out_close(&o);
}
