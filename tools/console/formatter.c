/* tools/console/formatter.c - printing records. */
#include "tools/console/formatter.h"

#include "tools/console/internal_topics.h"
#include "tools/props.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct deserializer {
    const char *name;               /* org.apache.kafka.common.serialization.<name>Deserializer */
    size_t      bytes;              /* that it needs; 0: any number */
    void      (*print)(FILE *, struct bytes);
};

/* ---- deserializers ---- */

static void print_bytes(FILE *f, struct bytes b)
{
    if (b.len > 0)
        fwrite(b.p, 1, b.len, f);
}

static void print_short(FILE *f, struct bytes b)
{
    fprintf(f, "%d", (int16_t)be_get16(b.p));
}

static void print_integer(FILE *f, struct bytes b)
{
    fprintf(f, "%" PRId32, (int32_t)be_get32(b.p));
}

static void print_long(FILE *f, struct bytes b)
{
    fprintf(f, "%" PRId64, (int64_t)be_get64(b.p));
}

/* As Java prints it: the fewest digits that give the same number, at least one behind the point, and an
 * exponent below 0.001 and from 10,000,000 on. */
static void print_real(FILE *f, double v, int most, bool single)
{
    char   text[64], *e;
    int    digits = 1, exponent;
    size_t n;

    if (isnan(v) || isinf(v) || v == 0) {
        fputs(isnan(v) ? "NaN" : v == 0 ? signbit(v) ? "-0.0" : "0.0" : v < 0 ? "-Infinity" : "Infinity", f);
        return;
    }
    do
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
    while (digits++ < most && (single ? (double)strtof(text, NULL) : strtod(text, NULL)) != v);
    e = strchr(text, 'e');
    exponent = (int)strtol(e + 1, NULL, 10);
    *e = '\0';
    n = strspn(text, "-0123456789.");
    if (exponent < -3 || exponent >= 7) {
        fprintf(f, "%s%sE%d", text, memchr(text, '.', n) != NULL ? "" : ".0", exponent);
        return;
    }
    digits = (int)n - (text[0] == '-') - (memchr(text, '.', n) != NULL);
    fprintf(f, "%.*f", digits - 1 - exponent > 1 ? digits - 1 - exponent : 1, v);
}

static void print_float(FILE *f, struct bytes b)
{
    uint32_t bits = be_get32(b.p);
    float    v;

    memcpy(&v, &bits, sizeof v);
    print_real(f, (double)v, 9, true);
}

static void print_double(FILE *f, struct bytes b)
{
    uint64_t bits = be_get64(b.p);
    double   v;

    memcpy(&v, &bits, sizeof v);
    print_real(f, v, 17, false);
}

static void print_boolean(FILE *f, struct bytes b)
{
    fputs(b.p[0] != 0 ? "true" : "false", f);
}

/* Kafka's Bytes.toString(): printable ASCII but for the backslash, the rest as \xNN. */
static void print_escaped(FILE *f, struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (b.p[i] >= ' ' && b.p[i] <= '~' && b.p[i] != '\\')
            fputc(b.p[i], f);
        else
            fprintf(f, "\\x%02X", b.p[i]);
    }
}

static const struct deserializer deserializers[] = {
    { "String",    0, print_bytes },
    { "UUID",      0, print_bytes },
    { "ByteArray", 0, print_bytes },
    { "Bytes",     0, print_escaped },
    { "Short",     2, print_short },
    { "Integer",   4, print_integer },
    { "Long",      8, print_long },
    { "Float",     4, print_float },
    { "Double",    8, print_double },
    { "Boolean",   1, print_boolean },
};

static const struct deserializer *deserializer_find(struct str name)
{
    static const char prefix[] = "org.apache.kafka.common.serialization.", suffix[] = "Deserializer";

    for (size_t i = 0; i < sizeof deserializers / sizeof deserializers[0]; i++) {
        char full[128];
        snprintf(full, sizeof full, "%s%s%s", prefix, deserializers[i].name, suffix);
        if (str_is(name, full))
            return &deserializers[i];
    }
    return NULL;
}

/* ---- printing ---- */

static void put(FILE *f, struct str s)
{
    print_bytes(f, (struct bytes){ (const uint8_t *)s.p, s.len });
}

static int put_value(const struct formatter *f, FILE *out, const struct deserializer *d, struct bytes b, char *error,
                     size_t error_len)
{
    if (b.p == NULL) {
        put(out, f->null_literal);
    } else if (d == NULL) {
        print_bytes(out, b);
    } else if (d->bytes != 0 && d->bytes != b.len) {
        snprintf(error, error_len, "Size of data received by %sDeserializer is not %zu", d->name, d->bytes);
        return ERR_INVALID;
    } else {
        d->print(out, b);
    }
    return OK;
}

static int put_headers(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    if (r->headers_n == 0)
        fputs("NO_HEADERS", out);
    for (size_t i = 0; i < r->headers_n; i++) {
        if (i > 0)
            put(out, f->headers_separator);
        put(out, r->headers[i].key);
        fputc(':', out);
        TRY(put_value(f, out, f->header, r->headers[i].value, error, error_len));
    }
    return OK;
}

static void put_timestamp(FILE *out, const struct consumed *r)
{
    if (r->timestamp_kind == TIMESTAMP_NONE)
        fputs("NO_TIMESTAMP", out);
    else
        fprintf(out, "%s:%" PRId64, r->timestamp_kind == TIMESTAMP_CREATE ? "CreateTime" : "LogAppendTime",
                r->timestamp);
}

static int write_default(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                         size_t error_len)
{
    const struct str tab = f->key_separator, end = f->line_separator;
    bool             after_headers = f->print_key || f->print_value;
    bool             after_offset = after_headers || f->print_headers;
    bool             after_partition = after_offset || f->print_offset;

    if (f->print_timestamp) {
        put_timestamp(out, r);
        put(out, after_partition || f->print_partition ? tab : end);
    }
    if (f->print_partition) {
        fprintf(out, "Partition:%" PRId32, r->partition);
        put(out, after_partition ? tab : end);
    }
    if (f->print_offset) {
        fprintf(out, "Offset:%" PRId64, r->offset);
        put(out, after_offset ? tab : end);
    }
    if (f->print_headers) {
        TRY(put_headers(f, out, r, error, error_len));
        put(out, after_headers ? tab : end);
    }
    if (f->print_key) {
        TRY(put_value(f, out, f->key, r->key, error, error_len));
        put(out, f->print_value ? tab : end);
    }
    if (f->print_value) {
        TRY(put_value(f, out, f->value, r->value, error, error_len));
        put(out, end);
    }
    return OK;
}

static int write_nothing(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                         size_t error_len)
{
    (void)f, (void)out, (void)r, (void)error, (void)error_len;
    return OK;
}

/* ---- which formatter ---- */

/* The logging one also writes to Kafka's log, at a level that its commands do not show. Those of the internal topics
 * print otherwise under their old names. */
static const struct {
    const char         *name;               /* org.apache.kafka.tools.consumer.<name> */
    const char         *old_name;
    formatter_write_fn *write, *write_old;
} classes[] = {
    { "DefaultMessageFormatter", "kafka.tools.DefaultMessageFormatter", write_default, write_default },
    { "LoggingMessageFormatter", "kafka.tools.LoggingMessageFormatter", write_default, write_default },
    { "NoOpMessageFormatter", "kafka.tools.NoOpMessageFormatter", write_nothing, write_nothing },
    { "OffsetsMessageFormatter", "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter",
      offsets_write_json, offsets_write_text },
    { "GroupMetadataMessageFormatter",
      "kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter",
      groups_write_json, groups_write_text },
    { "TransactionLogMessageFormatter", "kafka.coordinator.transaction.TransactionLog$TransactionLogMessageFormatter",
      txns_write_json, txns_write_text },
};

int formatter_init(struct formatter *f, const char *class_name)
{
    static const char package[] = "org.apache.kafka.tools.consumer.";

    *f = (struct formatter){ .print_value = true, .key_separator = STR_LIT("\t"), .line_separator = STR_LIT("\n"),
                             .headers_separator = STR_LIT(","), .null_literal = STR_LIT("null") };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        bool old = strcmp(class_name, classes[i].old_name) == 0;

        if (!old && (strncmp(class_name, package, sizeof package - 1) != 0 ||
                     strcmp(class_name + sizeof package - 1, classes[i].name) != 0))
            continue;
        if (old)
            fprintf(stderr, "WARNING: %s is deprecated and will be removed in the next major release. Please "
                    "use %s%s instead\n", class_name, package, classes[i].name);
        f->write = old ? classes[i].write_old : classes[i].write;
        return OK;
    }
    return ERR_NOENT;
}

int formatter_set(struct formatter *f, struct str name, struct str value)
{
    const struct { const char *name; bool *flag; struct str *text; const struct deserializer **how; } known[] = {
        { "print.timestamp", &f->print_timestamp, NULL, NULL },
        { "print.key", &f->print_key, NULL, NULL },
        { "print.offset", &f->print_offset, NULL, NULL },
        { "print.partition", &f->print_partition, NULL, NULL },
        { "print.headers", &f->print_headers, NULL, NULL },
        { "print.value", &f->print_value, NULL, NULL },
        { "key.separator", NULL, &f->key_separator, NULL },
        { "line.separator", NULL, &f->line_separator, NULL },
        { "headers.separator", NULL, &f->headers_separator, NULL },
        { "null.literal", NULL, &f->null_literal, NULL },
        { "key.deserializer", NULL, NULL, &f->key },
        { "value.deserializer", NULL, NULL, &f->value },
        { "headers.deserializer", NULL, NULL, &f->header },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!str_is(name, known[i].name))
            continue;
        if (known[i].flag != NULL)
            *known[i].flag = prop_is_true(value);
        else if (known[i].text != NULL)
            *known[i].text = value;
        else if ((*known[i].how = deserializer_find(value)) == NULL)
            return ERR_INVALID;
    }
    return OK;
}

int formatter_write(const struct formatter *f, FILE *out, const struct consumed *r, char *error, size_t error_len)
{
    return f->write(f, out, r, error, error_len);
}
