/* tests/fuzz/fuzz_properties.c - the properties parser, and every value parser: what a file holds becomes the value of
 * the property that its first byte chooses, and what was taken must come back as text that is taken again. */
#include "config/config.h"
#include "config/properties.h"
#include "tests/fuzz/fuzz.h"

#define ARENA_LIMIT ((size_t)16 << 20)

static void value_round_trip(const struct param *p, const char *text, struct arena *a)
{
    static struct config scratch;
    const char *once = NULL, *twice = NULL;
    char why[512];
    int rc = param_set(p, &scratch, text, a, why, sizeof why);

    FUZZ_CHECK(rc == OK || rc == ERR_RANGE);
    if (rc != OK)
        return;
    FUZZ_CHECK(param_text(p, &scratch, a, &once) == OK);
    if (once == NULL)                   /* the number that stands for "not set" */
        return;
    FUZZ_CHECK(param_set(p, &scratch, once, a, why, sizeof why) == OK);
    FUZZ_CHECK(param_text(p, &scratch, a, &twice) == OK);
    FUZZ_CHECK(str_eq(str_of(once), str_of(twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct properties ps;
    struct arena a;
    int line = 0;

    if (n < 1)
        return 0;
    arena_init(&a, ARENA_LIMIT);
    FUZZ_CHECK(properties_parse((struct str){ (const char *)data + 1, n - 1 }, &a, &ps) == OK);
    for (size_t i = 0; i < ps.n; i++) {
        FUZZ_CHECK(ps.v[i].line > line);
        line = ps.v[i].line;
        FUZZ_CHECK(strlen(ps.v[i].key) + strlen(ps.v[i].value) <= 2 * n);
        value_round_trip(&server_params.v[(data[0] + i) % server_params.n], ps.v[i].value, &a);
    }
    arena_fini(&a);
    return 0;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    static const char *const seeds[] = {
        "\1# comment\nnum.io.threads = 8\r\nlog.dirs:/a,/b\\\n  ,/c\n! x\nk\\u0041\\t\\ud83d\\ude00=\\\\v\n",
        "\x21" "a 1\nb -1\nc +2147483648\nd 9223372036854775807\ne 0.5\nf 1e308\ng true\nh 2.7-IV2\ni a, b ,c\n",
        "\x65" "listeners=PLAINTEXT://:9092\nx=NaN\ny=Infinity\nz=0x1p4f\nw=uncompressed\nv=0:1,2:3\n\\\n=\n",
    };

    if (i >= sizeof seeds / sizeof seeds[0])
        return false;
    *out = (struct bytes){ (const uint8_t *)seeds[i], strlen(seeds[i]) };
    return true;
}
