/* tests/unit/tools/test_options.c - options as Kafka's commands read them. */
#include "tools/options.h"

#include <check.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { O_LIST, O_TOPIC, O_CONFIG, O_CODEC, O_TIME, O_PROPS, O_N };

static const struct option_def defs[O_N] = {
    [O_LIST] = { "list", OPT_FLAG, NULL, "List.", NULL },
    [O_TOPIC] = { "topic", OPT_VALUE, "topic", "A topic.", NULL },
    [O_CONFIG] = { "config", OPT_MANY, "name=value", "A config.", NULL },
    [O_CODEC] = { "compression-codec", OPT_MAYBE, "codec", "A codec.", NULL },
    [O_TIME] = { "time", OPT_VALUE, "ms", "A time.", "latest" },
    [O_PROPS] = { "producer-props", OPT_LIST, "name=value", "Properties.", NULL },
};

static struct options o;
static int            parse_rc;

static void parse(const char *first, ...)
{
    char   *argv[16] = { (char *)(uintptr_t)"cmd" };
    int     argc = 1;
    va_list ap;

    va_start(ap, first);
    for (const char *w = first; w != NULL && argc < 16; w = va_arg(ap, const char *))
        argv[argc++] = (char *)(uintptr_t)w;
    va_end(ap);
    options_fini(&o);
    parse_rc = options_parse(&o, defs, O_N, argc, argv);
}

START_TEST(all_the_ways_to_write_an_option)
{
    parse("--topic", "a", NULL);
    ck_assert_str_eq(options_str(&o, O_TOPIC), "a");
    parse("--topic=a=b", NULL);
    ck_assert_str_eq(options_str(&o, O_TOPIC), "a=b");
    parse("-topic", "a", "-list", NULL);
    ck_assert_str_eq(options_str(&o, O_TOPIC), "a");
    ck_assert(options_has(&o, O_LIST));
    parse("--topic", "--list", NULL);           /* a value that looks like an option is a value */
    ck_assert_str_eq(options_str(&o, O_TOPIC), "--list");
    ck_assert(!options_has(&o, O_LIST));
    parse("--topic=", NULL);
    ck_assert_str_eq(options_str(&o, O_TOPIC), "");
    parse("word", "--list", "-", "word", NULL); /* words that are no option are passed over */
    ck_assert_int_eq(parse_rc, OK);
    ck_assert(options_has(&o, O_LIST));
    ck_assert_int_eq(o.argc, 4);
    parse("--list", "--", "--topic", NULL);
    ck_assert_int_eq(parse_rc, OK);
    ck_assert(!options_has(&o, O_TOPIC));
}
END_TEST

START_TEST(many_values_keep_their_order)
{
    parse("--config", "a=1", "--list", "--config=b=2", "--config", "c", NULL);
    ck_assert_str_eq(options_nth(&o, O_CONFIG, 0), "a=1");
    ck_assert_str_eq(options_nth(&o, O_CONFIG, 1), "b=2");
    ck_assert_str_eq(options_nth(&o, O_CONFIG, 2), "c");
    ck_assert_ptr_null(options_nth(&o, O_CONFIG, 3));
    ck_assert_ptr_null(options_nth(&o, O_TOPIC, 0));
}
END_TEST

START_TEST(a_list_takes_all_words_up_to_an_option)
{
    parse("--producer-props", "a=1", "b=2", "--topic", "t", "word", NULL);
    ck_assert_int_eq(parse_rc, OK);
    ck_assert_str_eq(options_nth(&o, O_PROPS, 0), "a=1");
    ck_assert_str_eq(options_nth(&o, O_PROPS, 1), "b=2");
    ck_assert_ptr_null(options_nth(&o, O_PROPS, 2));
    ck_assert_str_eq(options_str(&o, O_TOPIC), "t");
    parse("--producer-props", "--list", NULL);
    ck_assert_int_eq(parse_rc, ERR_INVALID);
}
END_TEST

START_TEST(a_value_may_be_left_out_where_it_may)
{
    parse("--compression-codec", "--list", NULL);
    ck_assert(options_has(&o, O_CODEC) && options_has(&o, O_LIST));
    ck_assert_ptr_null(options_str(&o, O_CODEC));
    parse("--compression-codec", "lz4", NULL);
    ck_assert_str_eq(options_str(&o, O_CODEC), "lz4");
    parse("--list", "--compression-codec", NULL);
    ck_assert_ptr_null(options_str(&o, O_CODEC));
    ck_assert(options_has(&o, O_CODEC));
}
END_TEST

static void expect_error(const char *text)
{
    ck_assert_int_eq(parse_rc, ERR_INVALID);
    ck_assert_str_eq(o.error, text);
}

START_TEST(mistakes_in_kafkas_words)
{
    parse("--bogus", NULL);
    expect_error("bogus is not a recognized option");
    parse("--lis", NULL);                       /* no abbreviations: Kafka's commands have none */
    expect_error("lis is not a recognized option");
    parse("--topic", NULL);
    expect_error("Option topic requires an argument");
    parse("--topic", "a", "--topic", "b", NULL);
    expect_error("Found multiple arguments for option topic, but you asked for only one");
    parse("--list=x", NULL);
    ck_assert_int_eq(parse_rc, ERR_INVALID);
}
END_TEST

START_TEST(numbers_are_read_when_asked_for)
{
    int64_t v = 7;
    int32_t w = 7;

    parse("--topic", "1", NULL);
    ck_assert_int_eq(options_i64(&o, O_CONFIG, &v), ERR_NOENT);
    ck_assert_int_eq(v, 7);
    ck_assert_int_eq(options_i64(&o, O_TIME, &v), ERR_INVALID);
    ck_assert_str_eq(o.error, "Cannot parse argument 'latest' of option time");
    ck_assert_int_eq(options_i32(&o, O_TOPIC, &w), OK);
    ck_assert_int_eq(w, 1);
    parse("--topic", "2147483648", NULL);
    ck_assert_int_eq(options_i32(&o, O_TOPIC, &w), ERR_INVALID);
    ck_assert_int_eq(options_i64(&o, O_TOPIC, &v), OK);
    ck_assert_int_eq(v, 2147483648);
    static const char *const bad[] = { "", " 1", "1 ", "0x10", "1e3", "--1", "9223372036854775808", "-" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(parse_i64(bad[i], INT64_MIN, INT64_MAX, &v), ERR_INVALID);
    ck_assert_int_eq(parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v), OK);
    ck_assert_int_eq(parse_i64("+5", 0, 10, &v), OK);
    ck_assert_int_eq(v, 5);
}
END_TEST

START_TEST(what_goes_with_what)
{
    static const size_t others[] = { O_CONFIG, O_LIST };

    parse("--topic", "a", "--list", NULL);
    ck_assert_int_eq(options_exclude(&o, O_TOPIC, others, 1), OK);
    ck_assert_int_eq(options_exclude(&o, O_TOPIC, others, 2), ERR_INVALID);
    ck_assert_str_eq(o.error, "Option \"[topic]\" can't be used with option \"[list]\"");
    ck_assert_int_eq(options_require(&o, O_CONFIG), ERR_INVALID);
    ck_assert_str_eq(o.error, "Missing required argument \"[config]\"");
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("options");
    TCase   *t = tcase_create("options");
    SRunner *r = srunner_create(s);
    int      failed;

    tcase_add_test(t, all_the_ways_to_write_an_option);
    tcase_add_test(t, many_values_keep_their_order);
    tcase_add_test(t, a_list_takes_all_words_up_to_an_option);
    tcase_add_test(t, a_value_may_be_left_out_where_it_may);
    tcase_add_test(t, mistakes_in_kafkas_words);
    tcase_add_test(t, numbers_are_read_when_asked_for);
    tcase_add_test(t, what_goes_with_what);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    options_fini(&o);
    return failed != 0;
}
