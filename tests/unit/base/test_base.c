/* tests/unit/base/test_base.c - error names, arena, chain, ids, checksum, rate limit of log lines. */
#include "base/arena.h"
#include "base/chain.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/uuid.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

START_TEST(every_error_has_a_name_and_a_text)
{
    ck_assert_str_eq(err_name(OK), "OK");
    ck_assert_str_eq(err_name(ERR_SHORT), "ERR_SHORT");
    ck_assert_str_eq(err_name(ERR_SYSTEM), "ERR_SYSTEM");
    ck_assert_str_eq(err_name(-1000), "ERR_?");
    ck_assert_str_eq(err_name(1), "ERR_?");
    ck_assert_str_eq(err_text(ERR_NOSPACE), "no space left on the device");
    ck_assert_int_eq(err_from_errno(ENOSPC), ERR_NOSPACE);
    ck_assert_int_eq(err_from_errno(0), ERR_SYSTEM);        /* never OK */
}
END_TEST

START_TEST(an_arena_never_takes_more_than_its_limit)
{
    struct arena a;
    size_t got = 0;

    arena_init(&a, 100000);
    while (arena_alloc(&a, 1000) != NULL)
        got += 1000;
    ck_assert_uint_ge(got, 50000);
    ck_assert_uint_le(got, 100000);
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 3));
    ck_assert_ptr_null(arena_array(&a, SIZE_MAX / 2, 3));
    arena_reset(&a);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1000));
    ck_assert_uint_le(a.taken_bytes, 70000);
    arena_fini(&a);
    ck_assert_uint_eq(a.taken_bytes, 0);
}
END_TEST

START_TEST(arena_memory_is_aligned_and_separate)
{
    struct arena a;
    uint8_t *p[64];

    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < 64; i++) {
        p[i] = arena_alloc(&a, i + 1);
        ck_assert_uint_eq((uintptr_t)p[i] % 8, 0);
        memset(p[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < 64; i++)
        for (size_t k = 0; k <= i; k++)
            ck_assert_uint_eq(p[i][k], i);
    ck_assert_str_eq(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    struct str s;
    ck_assert_int_eq(arena_str(&a, (struct str){ NULL, 0 }, &s), OK);
    ck_assert_ptr_null(s.p);
    ck_assert_int_eq(arena_str(&a, STR_LIT("abc"), &s), OK);
    ck_assert(str_is(s, "abc"));
    arena_fini(&a);
}
END_TEST

/* Bytes are unsigned, and the shorter of two that begin alike comes first. */
START_TEST(texts_have_an_order)
{
    struct str v[] = { STR_LIT("b"), STR_LIT("a\xc3\xa9"), STR_LIT("ab"), STR_LIT("a"), { NULL, 0 }, STR_LIT("ab") };
    static const char *const want[] = { "", "a", "ab", "ab", "a\xc3\xa9", "b" };

    qsort(v, 6, sizeof *v, str_order);
    for (size_t i = 0; i < 6; i++)
        ck_assert(v[i].len == strlen(want[i]) && (v[i].len == 0 || str_is(v[i], want[i])));
    ck_assert_int_eq(str_cmp(STR_LIT("ab"), STR_LIT("ab")), 0);
    ck_assert_int_eq(str_cmp((struct str){ NULL, 0 }, STR_LIT("")), 0);
}
END_TEST

START_TEST(a_chain_keeps_the_order_of_what_is_put_in)
{
    static const uint8_t big[1000] = { 1, 2, 3 };
    struct arena a;
    struct chain ch;
    uint8_t out[4096], *room;

    arena_init(&a, 1 << 20);
    chain_init(&ch, &a);
    room = chain_room(&ch, 4);                  /* filled in at the end, as a length would be */
    chain_i16(&ch, -2);
    chain_ref(&ch, big, sizeof big);
    chain_uvarint(&ch, 300);
    chain_copy(&ch, "xyz", 3);
    chain_ref(&ch, "small", 5);
    chain_f64(&ch, 1.0);
    be_put32(room, 0xabcdef01);
    ck_assert_int_eq(ch.rc, OK);
    ck_assert_uint_eq(ch.len, 4 + 2 + 1000 + 2 + 3 + 5 + 8);
    ck_assert_int_eq(chain_flatten(&ch, out, ch.len - 1), ERR_TOO_LARGE);
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), OK);

    struct cursor c = cur_ro(out, ch.len);
    ck_assert_uint_eq(cur_u32(&c), 0xabcdef01);
    ck_assert_int_eq(cur_i16(&c), -2);
    ck_assert_int_eq(memcmp(cur_take(&c, sizeof big), big, sizeof big), 0);
    ck_assert_uint_eq(cur_uvarint(&c), 300);
    ck_assert_int_eq(memcmp(cur_take(&c, 8), "xyzsmall", 8), 0);
    ck_assert(cur_f64(&c) == 1.0);
    ck_assert_uint_eq(cur_left(&c), 0);
    ck_assert_int_eq(c.rc, OK);
    chain_fini(&ch);
    arena_fini(&a);
}
END_TEST

START_TEST(a_chain_without_memory_says_so_once_and_stays_harmless)
{
    struct arena a;
    struct chain ch;

    arena_init(&a, 2000);
    chain_init(&ch, &a);
    for (int i = 0; i < 1000; i++)
        chain_i64(&ch, i);
    ck_assert_int_eq(ch.rc, ERR_NOMEM);
    chain_i8(&ch, 1);
    chain_uvarint(&ch, 1);
    ck_assert_ptr_null(chain_room(&ch, 3));
    chain_fini(&ch);
    arena_fini(&a);
}
END_TEST

START_TEST(a_chain_holds_the_files_it_mentions)
{
    struct arena a;
    struct chain ch;
    int fd = open("/dev/null", O_RDONLY);
    struct file_ref *f = file_ref_new(fd);
    uint8_t out[16];

    arena_init(&a, 1 << 16);
    chain_init(&ch, &a);
    chain_i32(&ch, 1);
    chain_slice(&ch, (struct slice){ .file = f, .pos = 10, .len = 5 });
    chain_i32(&ch, 2);
    ck_assert_uint_eq(ch.n, 3);
    ck_assert_uint_eq(ch.len, 13);
    ck_assert_int_eq(chain_flatten(&ch, out, sizeof out), ERR_INVALID);
    file_unref(&f);
    ck_assert_ptr_null(f);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);    /* the chain's reference keeps it open */
    chain_fini(&ch);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    arena_fini(&a);
}
END_TEST

START_TEST(ids_have_kafkas_text_form)
{
    static const struct uuid one = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };
    char text[UUID_TEXT_LEN + 1];
    struct uuid back;

    uuid_text(one, text);
    ck_assert_str_eq(text, "AAAAAAAAAAAAAAAAAAAAAQ");
    for (int i = 0; i < 1000; i++) {
        struct uuid u = uuid_random();
        uuid_text(u, text);
        ck_assert_int_ne(text[0], '-');
        ck_assert_int_eq(uuid_parse(str_of(text), &back), OK);
        ck_assert(uuid_eq(u, back));
    }
    ck_assert_int_eq(uuid_parse(STR_LIT("short"), &back), ERR_INVALID);
    ck_assert_int_eq(uuid_parse(STR_LIT("AAAAAAAAAAAAAAAAAAAA+Q"), &back), ERR_INVALID);
}
END_TEST

START_TEST(crc32c_is_castagnolis_and_can_go_on)
{
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    ck_assert_uint_eq(crc32c(0, "", 0), 0);
}
END_TEST

START_TEST(lines_that_can_be_provoked_are_limited)
{
    struct log_limit l = LOG_LIMIT(60000, 3);
    int hidden = -1, written = 0;

    for (int i = 0; i < 100; i++)
        written += log_limit(&l, &hidden);
    ck_assert_int_eq(written, 3);
    ck_assert_int_eq(hidden, 0);
    atomic_store(&l.window_ms, atomic_load(&l.window_ms) - 60001);
    ck_assert(log_limit(&l, &hidden));
    ck_assert_int_eq(hidden, 97);
}
END_TEST

START_TEST(a_log_line_stays_one_line)
{
    int fd[2];
    char got[4096];
    ssize_t n;

    ck_assert_int_eq(pipe(fd), 0);
    log_to_fd(fd[1]);
    log_info("a\nb\rc %0*d", 3000, 1);
    log_debug("below the threshold");
    log_to_fd(STDOUT_FILENO);
    close(fd[1]);
    n = read(fd[0], got, sizeof got);
    ck_assert_int_gt(n, 0);
    ck_assert_int_le(n, 2048);
    ck_assert_ptr_eq(memchr(got, '\n', (size_t)n), got + n - 1);
    ck_assert_ptr_nonnull(memmem(got, (size_t)n, "INFO  a b c 000", 15));
    close(fd[0]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, every_error_has_a_name_and_a_text);
    tcase_add_test(t, an_arena_never_takes_more_than_its_limit);
    tcase_add_test(t, arena_memory_is_aligned_and_separate);
    tcase_add_test(t, texts_have_an_order);
    tcase_add_test(t, a_chain_keeps_the_order_of_what_is_put_in);
    tcase_add_test(t, a_chain_without_memory_says_so_once_and_stays_harmless);
    tcase_add_test(t, a_chain_holds_the_files_it_mentions);
    tcase_add_test(t, ids_have_kafkas_text_form);
    tcase_add_test(t, crc32c_is_castagnolis_and_can_go_on);
    tcase_add_test(t, lines_that_can_be_provoked_are_limited);
    tcase_add_test(t, a_log_line_stays_one_line);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
