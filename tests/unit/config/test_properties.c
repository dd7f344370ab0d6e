/* tests/unit/config/test_properties.c - the syntax of Java's properties files, rule by rule. */
#include "config/properties.h"

#include <check.h>
#include <stdlib.h>

static struct arena arena;
static struct properties ps;

static void parse_n(const char *text, size_t n)
{
    ck_assert_int_eq(properties_parse((struct str){ text, n }, &arena, &ps), OK);
}

static void parse(const char *text)
{
    parse_n(text, strlen(text));
}

static void setup(void)
{
    arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
    arena_fini(&arena);
}

static void expect(size_t i, int line, const char *key, const char *value)
{
    ck_assert_uint_lt(i, ps.n);
    ck_assert_str_eq(ps.v[i].key, key);
    ck_assert_str_eq(ps.v[i].value, value);
    ck_assert_int_eq(ps.v[i].line, line);
    ck_assert_ptr_null(ps.v[i].broken);
}

START_TEST(every_separator)
{
    parse("a=1\nb:2\nc 3\nd\t4\ne = 5\nf : 6\ng  \t =  7\nh\fi\nj\nk=\nl==x\nm= :y\nn :=z\n=empty key\n");
    static const char *const want[][2] = {
        { "a", "1" }, { "b", "2" }, { "c", "3" }, { "d", "4" }, { "e", "5" },  { "f", "6" },   { "g", "7" },
        { "h", "i" }, { "j", "" },  { "k", "" },  { "l", "=x" }, { "m", ":y" }, { "n", "=z" }, { "", "empty key" },
    };
    ck_assert_uint_eq(ps.n, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < ps.n; i++)
        expect(i, (int)i + 1, want[i][0], want[i][1]);
}
END_TEST

START_TEST(every_line_end)
{
    parse("a=1\rb=2\r\nc=3\n\r\n\nd=4");
    ck_assert_uint_eq(ps.n, 4);
    expect(0, 1, "a", "1");
    expect(1, 2, "b", "2");
    expect(2, 3, "c", "3");
    expect(3, 6, "d", "4");
}
END_TEST

START_TEST(comments_and_blank_lines)
{
    parse("# c\n  ! d=1\n\t\f#x\\\na=1 # kept\n   \nb=2\\\n#c\n");
    ck_assert_uint_eq(ps.n, 2);
    expect(0, 4, "a", "1 # kept");
    expect(1, 6, "b", "2#c");               /* what continues a line is no comment */
}
END_TEST

START_TEST(continuation)
{
    parse("a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y\\\\\\\n  z\n\\\n  d=4\ne\\\n  =5\nf=6\\");
    ck_assert_uint_eq(ps.n, 6);
    expect(0, 1, "a", "1,2,3");
    expect(1, 4, "b", "x\\");               /* an even number of backslashes does not continue */
    expect(2, 5, "c", "y\\z");
    expect(3, 7, "d", "4");
    expect(4, 9, "e", "5");
    expect(5, 11, "f", "6");                /* a backslash at the very end is dropped */
}
END_TEST

START_TEST(every_escape)
{
    parse("a=\\t\\n\\r\\f\\\\\\=\\:\\#\\!\\ \\q\\\"\nb\\ c\\=d\\:e=1\n\\#f=2\ng=\\u0041\\u00e9\\u20AC\\ud83d\\uDE00"
          "\\ud83dx\nh=\\\\u0041\n\\u0069=3\n");
    ck_assert_uint_eq(ps.n, 6);
    expect(0, 1, "a", "\t\n\r\f\\=:#! q\"");
    expect(1, 2, "b c=d:e", "1");
    expect(2, 3, "#f", "2");
    expect(3, 4, "g", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80?x");
    expect(4, 5, "h", "\\u0041");
    expect(5, 6, "i", "3");
}
END_TEST

START_TEST(bytes_are_latin_1)
{
    parse("a=caf\xe9\n");
    expect(0, 1, "a", "caf\xc3\xa9");
}
END_TEST

START_TEST(blanks_at_the_end_are_kept)
{
    parse("a=1 \t\n");
    expect(0, 1, "a", "1 \t");
}
END_TEST

START_TEST(a_broken_entry_spoils_only_itself)
{
    parse("a=\\u00g1\nb=2\nc=\\u12\nd=\\u");
    ck_assert_uint_eq(ps.n, 4);
    ck_assert_ptr_nonnull(ps.v[0].broken);
    expect(1, 2, "b", "2");
    ck_assert_ptr_nonnull(ps.v[2].broken);
    ck_assert_ptr_nonnull(ps.v[3].broken);
    parse_n("a=1\0002\nb=2", 9);
    ck_assert_ptr_nonnull(ps.v[0].broken);
    expect(1, 2, "b", "2");
    parse("a=\\u0000");
    ck_assert_ptr_nonnull(ps.v[0].broken);
}
END_TEST

START_TEST(empty_and_every_prefix)
{
    static const char text[] = "! c\nk\\u0041 \\\n  : v\\\\\\\r\n w\\t\n\\";

    parse("");
    ck_assert_uint_eq(ps.n, 0);
    for (size_t n = 0; n < sizeof text; n++) {
        char *copy = malloc(n + 1);          /* exact size, so that a sanitizer sees every step past the end */

        memcpy(copy, text, n);
        ck_assert_int_eq(properties_parse((struct str){ copy, n }, &arena, &ps), OK);
        ck_assert_uint_le(ps.n, 2);
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config/properties");
    TCase *t = tcase_create("syntax");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_separator);
    tcase_add_test(t, every_line_end);
    tcase_add_test(t, comments_and_blank_lines);
    tcase_add_test(t, continuation);
    tcase_add_test(t, every_escape);
    tcase_add_test(t, bytes_are_latin_1);
    tcase_add_test(t, blanks_at_the_end_are_kept);
    tcase_add_test(t, a_broken_entry_spoils_only_itself);
    tcase_add_test(t, empty_and_every_prefix);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
