/* tests/unit/tools/test_console.c - lines to records, and records to lines. */
#include "tools/console/formatter.h"
#include "tools/console/line_reader.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- lines ---- */

START_TEST(lines_end_as_java_reads_them)
{
    static const char   text[] = "one\ntwo\r\nthree\rfour\n\n\r\nlast";
    static const char *const want[] = { "one", "two", "three", "four", "", "", "last" };
    struct lines l;
    struct str   line;
    int          fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    ck_assert_int_eq((int)write(fd[1], text, sizeof text - 1), (int)sizeof text - 1);
    close(fd[1]);
    lines_init(&l, fd[0]);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        ck_assert_int_eq(lines_next(&l, &line), OK);
        ck_assert_msg(str_is(line, want[i]), "%zu: %.*s", i, STR_ARG(line));
    }
    ck_assert_int_eq(lines_next(&l, &line), ERR_CLOSED);
    lines_fini(&l);
    close(fd[0]);
}
END_TEST

/* A line is given out as soon as its end is there, and the LF after a CR may come in the next read. */
START_TEST(lines_come_at_once)
{
    struct lines l;
    struct str   line;
    int          fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    lines_init(&l, fd[0]);
    ck_assert_int_eq((int)write(fd[1], "a\r", 2), 2);
    ck_assert_int_eq(lines_next(&l, &line), OK);
    ck_assert(str_is(line, "a"));
    ck_assert_int_eq((int)write(fd[1], "\nb\n", 3), 3);
    ck_assert_int_eq(lines_next(&l, &line), OK);
    ck_assert(str_is(line, "b"));
    close(fd[1]);
    ck_assert_int_eq(lines_next(&l, &line), ERR_CLOSED);
    lines_fini(&l);
    close(fd[0]);
}
END_TEST

START_TEST(a_long_line_is_one_line)
{
    enum { LONG = 300000 };
    struct lines l;
    struct str   line;
    char         path[] = "/tmp/klamm-lines-XXXXXX", *big = malloc(LONG);
    int          fd = mkstemp(path);

    ck_assert_ptr_nonnull(big);
    memset(big, 'x', LONG);
    unlink(path);
    ck_assert_int_eq((int)write(fd, big, LONG), LONG);
    ck_assert_int_eq((int)write(fd, "\nend", 4), 4);
    ck_assert_int_eq((int)lseek(fd, 0, SEEK_SET), 0);
    lines_init(&l, fd);
    ck_assert_int_eq(lines_next(&l, &line), OK);
    ck_assert_uint_eq(line.len, LONG);
    ck_assert_int_eq(lines_next(&l, &line), OK);
    ck_assert(str_is(line, "end"));
    lines_fini(&l);
    close(fd);
    free(big);
}
END_TEST

static struct line_format f;
static struct line_record rec;
static char               error[256];

static int parse(const char *line)
{
    return line_parse(&f, str_of(line), 3, &rec, error, sizeof error);
}

static void set(const char *name, const char *value)
{
    line_format_set(&f, str_of(name), str_of(value));
}

START_TEST(a_line_is_a_value)
{
    line_format_init(&f);
    ck_assert_int_eq(parse("a\tb"), OK);
    ck_assert_ptr_null(rec.key.p);
    ck_assert(str_is(rec.value, "a\tb"));
    ck_assert_int_eq(parse(""), OK);
    ck_assert_ptr_nonnull(rec.value.p);
    ck_assert_uint_eq(rec.value.len, 0);
}
END_TEST

START_TEST(keys)
{
    line_format_init(&f);
    set("parse.key", "TRUE ");
    ck_assert_int_eq(parse("k\tv\tw"), OK);
    ck_assert(str_is(rec.key, "k") && str_is(rec.value, "v\tw"));
    ck_assert_int_eq(parse("\tv"), OK);
    ck_assert(rec.key.p != NULL && rec.key.len == 0);
    ck_assert_int_eq(parse("v"), ERR_INVALID);
    ck_assert_str_eq(error, "No key separator found on line number 3: 'v'");
    set("ignore.error", "true");
    ck_assert_int_eq(parse("v"), OK);
    ck_assert(rec.key.p == NULL && str_is(rec.value, "v"));
    set("key.separator", "::");
    ck_assert_int_eq(parse("k::v"), OK);
    ck_assert(str_is(rec.key, "k") && str_is(rec.value, "v"));
}
END_TEST

START_TEST(headers_keys_and_nulls)
{
    line_format_init(&f);
    set("parse.key", "true");
    set("parse.headers", "true");
    set("null.marker", "NULL");
    ck_assert_int_eq(parse("h1:v1,h2:NULL,h3:\tk\tv"), OK);
    ck_assert_uint_eq(rec.headers_n, 3);
    ck_assert(str_is(rec.headers[0].key, "h1") && str_is(rec.headers[0].value, "v1"));
    ck_assert(str_is(rec.headers[1].key, "h2") && rec.headers[1].value.p == NULL);
    ck_assert(rec.headers[2].value.p != NULL && rec.headers[2].value.len == 0);
    ck_assert(str_is(rec.key, "k") && str_is(rec.value, "v"));
    ck_assert_int_eq(parse("NULL\tNULL\tNULL"), OK);
    ck_assert(rec.headers_n == 0 && rec.key.p == NULL && rec.value.p == NULL);
    ck_assert_int_eq(parse("h\tk\tv"), ERR_INVALID);
    ck_assert_str_eq(error, "No header key separator found in pair 'h' on line number 3");
    ck_assert_int_eq(parse("NULL:v\tk\tv"), ERR_INVALID);
    ck_assert_int_eq(parse("no delimiter"), ERR_INVALID);
    ck_assert_str_eq(error, "No headers delimiter found on line number 3: 'no delimiter'");
    set("ignore.error", "true");
    ck_assert_int_eq(parse("h\tk\tv"), OK);
    ck_assert(str_is(rec.headers[0].key, "h") && rec.headers[0].value.p == NULL);
}
END_TEST

START_TEST(too_many_headers_are_refused)
{
    enum { N = LINE_HEADERS_MAX + 1 };
    char *line = malloc(N * 4 + 8);

    ck_assert_ptr_nonnull(line);
    line_format_init(&f);
    set("parse.headers", "true");
    for (int i = 0; i < N; i++)
        memcpy(line + i * 4, "a:b,", 4);
    memcpy(line + N * 4 - 1, "\tv", 3);
    ck_assert_int_eq(parse(line), ERR_LIMIT);
    memcpy(line + (N - 1) * 4 - 1, "\tv", 3);
    ck_assert_int_eq(parse(line), OK);
    ck_assert_uint_eq(rec.headers_n, LINE_HEADERS_MAX);
    free(line);
}
END_TEST

START_TEST(separators_must_differ)
{
    const char *why;

    line_format_init(&f);
    ck_assert_int_eq(line_format_check(&f, &why), OK);
    set("headers.separator", ":");
    ck_assert_int_eq(line_format_check(&f, &why), ERR_INVALID);
    ck_assert_str_eq(why, "headers.separator and headers.key.separator may not be equal");
    line_format_init(&f);
    set("null.marker", "\t");
    ck_assert_int_eq(line_format_check(&f, &why), ERR_INVALID);
}
END_TEST

/* ---- records ---- */

static struct formatter fmt;

static struct bytes bytes_of(const char *text)
{
    return (struct bytes){ (const uint8_t *)text, text != NULL ? strlen(text) : 0 };
}

static void fset(const char *name, const char *value)
{
    ck_assert_int_eq(formatter_set(&fmt, str_of(name), str_of(value)), OK);
}

static void expect(const struct consumed *r, const char *want)
{
    char  *text = NULL;
    size_t n;
    FILE  *out = open_memstream(&text, &n);

    ck_assert_int_eq(formatter_write(&fmt, out, r, error, sizeof error), OK);
    fclose(out);
    ck_assert_str_eq(text, want);
    free(text);
}

static void use_default(void)
{
    ck_assert_int_eq(formatter_init(&fmt, "org.apache.kafka.tools.consumer.DefaultMessageFormatter"), OK);
}

START_TEST(every_column)
{
    const struct consumed_header h[] = { { STR_LIT("a"), bytes_of("1") }, { STR_LIT("b"), { NULL, 0 } } };
    struct consumed r = { .partition = 2, .offset = 7, .timestamp = 9, .timestamp_kind = TIMESTAMP_CREATE,
                          .key = bytes_of("k"), .value = bytes_of("v"), .headers = h, .headers_n = 2 };

    use_default();
    expect(&r, "v\n");
    fset("print.key", "true");
    expect(&r, "k\tv\n");
    fset("print.value", "false");
    expect(&r, "k\n");
    fset("print.headers", "true");
    fset("print.offset", "true");
    fset("print.partition", "true");
    fset("print.timestamp", "true");
    expect(&r, "CreateTime:9\tPartition:2\tOffset:7\ta:1,b:null\tk\n");
    r.timestamp_kind = TIMESTAMP_APPEND;
    r.headers_n = 0;
    r.key = (struct bytes){ NULL, 0 };
    fset("null.literal", "-");
    fset("key.separator", "|");
    fset("line.separator", ";");
    expect(&r, "LogAppendTime:9|Partition:2|Offset:7|NO_HEADERS|-;");
    r.timestamp_kind = TIMESTAMP_NONE;
    fset("print.key", "no");
    fset("print.headers", "no");
    expect(&r, "NO_TIMESTAMP|Partition:2|Offset:7;");
}
END_TEST

START_TEST(deserializers)
{
    static const struct { const char *name; const char *bytes; size_t n; const char *want; } cases[] = {
        { "String", "text", 4, "text\n" },
        { "Integer", "\377\377\377\376", 4, "-2\n" },
        { "Short", "\001\002", 2, "258\n" },
        { "Long", "\0\0\0\1\0\0\0\0", 8, "4294967296\n" },
        { "Double", "\100\011\041\373\124\104\055\030", 8, "3.141592653589793\n" },
        { "Double", "\077\360\0\0\0\0\0\0", 8, "1.0\n" },
        { "Double", "\0\0\0\0\0\0\0\0", 8, "0.0\n" },
        { "Double", "\102\002\240\137\040\0\0\0", 8, "1.0E10\n" },
        { "Double", "\076\260\306\367\240\265\355\215", 8, "1.0E-6\n" },
        { "Float", "\077\000\0\0", 4, "0.5\n" },
        { "Float", "\302\366\351\171", 4, "-123.456\n" },
        { "Boolean", "\1", 1, "true\n" },
        { "Bytes", "a\\\001\377", 4, "a\\x5C\\x01\\xFF\n" },
    };
    char name[128];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct consumed r = { .value = { (const uint8_t *)cases[i].bytes, cases[i].n } };
        use_default();
        snprintf(name, sizeof name, "org.apache.kafka.common.serialization.%sDeserializer", cases[i].name);
        fset("value.deserializer", name);
        expect(&r, cases[i].want);
        r.value = (struct bytes){ NULL, 0 };
        expect(&r, "null\n");
    }
    struct consumed shorter = { .value = bytes_of("abc") };
    fset("value.deserializer", "org.apache.kafka.common.serialization.IntegerDeserializer");
    ck_assert_int_eq(formatter_write(&fmt, stderr, &shorter, error, sizeof error), ERR_INVALID);
    ck_assert_str_eq(error, "Size of data received by IntegerDeserializer is not 4");
    ck_assert_int_eq(formatter_set(&fmt, STR_LIT("key.deserializer"), STR_LIT("com.example.Mine")), ERR_INVALID);
}
END_TEST

START_TEST(formatter_names)
{
    struct consumed r = { .value = bytes_of("v") };

    ck_assert_int_eq(formatter_init(&fmt, "org.apache.kafka.tools.consumer.NoOpMessageFormatter"), OK);
    expect(&r, "");
    ck_assert_int_eq(formatter_init(&fmt, "kafka.tools.DefaultMessageFormatter"), OK);
    expect(&r, "v\n");
    ck_assert_int_eq(formatter_init(&fmt, "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter"), OK);
    expect(&r, "");                         /* no key: none of its records */
    ck_assert_int_eq(formatter_init(&fmt, "com.example.Mine"), ERR_NOENT);
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("console");
    TCase   *t = tcase_create("console");
    SRunner *r = srunner_create(s);
    int      failed;

    tcase_add_test(t, lines_end_as_java_reads_them);
    tcase_add_test(t, lines_come_at_once);
    tcase_add_test(t, a_long_line_is_one_line);
    tcase_add_test(t, a_line_is_a_value);
    tcase_add_test(t, keys);
    tcase_add_test(t, headers_keys_and_nulls);
    tcase_add_test(t, too_many_headers_are_refused);
    tcase_add_test(t, separators_must_differ);
    tcase_add_test(t, every_column);
    tcase_add_test(t, deserializers);
    tcase_add_test(t, formatter_names);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
