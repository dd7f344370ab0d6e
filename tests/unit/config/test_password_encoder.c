/* tests/unit/config/test_password_encoder.c - what was encrypted can be had back by what stands beside it. */
#include "config/password_encoder.h"

#include <check.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET "password-encoder-secret"

static struct arena arena;

/* The value behind "name:", up to the next comma. */
static const char *field(const char *encoded, const char *name)
{
    size_t n = strlen(name);
    const char *p = encoded;

    while (strncmp(p, name, n) != 0 || p[n] != ':') {
        p = strchr(p, ',');
        ck_assert_msg(p != NULL, "no %s in %s", name, encoded);
        p++;
    }
    return arena_cstr(&arena, (struct str){ p + n + 1, strcspn(p + n + 1, ",") });
}

static int number_in(const char *encoded, const char *name)
{
    return (int)strtol(field(encoded, name), NULL, 10);
}

static size_t bytes_of(const char *encoded, const char *name, uint8_t *out)
{
    const char *text = field(encoded, name);
    size_t len = strlen(text), pad = len - strcspn(text, "=");

    ck_assert_uint_eq(len % 4, 0);
    ck_assert_int_ge(EVP_DecodeBlock(out, (const unsigned char *)text, (int)len), 0);
    return len / 4 * 3 - pad;
}

static void decode_equals(const char *encoded, const EVP_MD *md, const EVP_CIPHER *cipher, const char *password)
{
    uint8_t salt[600], iv[64], text[600], key[32], out[600];
    size_t salt_n = bytes_of(encoded, "salt", salt), n = bytes_of(encoded, "encryptedPassword", text);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool gcm = EVP_CIPHER_mode(cipher) == EVP_CIPH_GCM_MODE;
    int a = 0, b = 0;

    ck_assert_uint_eq(salt_n, 256);
    ck_assert_int_eq((int)bytes_of(encoded, "initializationVector", iv), EVP_CIPHER_iv_length(cipher));
    PKCS5_PBKDF2_HMAC(SECRET, (int)strlen(SECRET), salt, (int)salt_n, number_in(encoded, "iterations"), md,
                      number_in(encoded, "keyLength") / 8, key);
    ck_assert_int_eq(EVP_DecryptInit_ex(ctx, cipher, NULL, key, iv), 1);
    if (gcm) {
        n -= 16;
        ck_assert_str_eq(field(encoded, "authenticationTagLength"), "128");
        ck_assert_int_eq(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, 16, text + n), 1);
    }
    ck_assert_int_eq(EVP_DecryptUpdate(ctx, out, &a, text, (int)n), 1);
    ck_assert_int_eq(EVP_DecryptFinal_ex(ctx, out + a, &b), 1);
    EVP_CIPHER_CTX_free(ctx);
    ck_assert_uint_eq((size_t)(a + b), strlen(password));
    ck_assert_int_eq(memcmp(out, password, strlen(password)), 0);
}

START_TEST(what_was_encrypted_can_be_had_back)
{
    static const char *const passwords[] = { "", "x", "sixteen letters.", "p\xc3\xa4ss,w:rt=\xf0\x9f\x98\x80" };
    static const char *const lengths[] = { "0", "1", "16", "12" };      /* as Java counts */
    struct password_encoder e = { SECRET, NULL, "AES/CBC/PKCS5Padding", 128, 4096 };
    const char *encoded, *again;
    char why[300];

    for (size_t i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
        e.cipher = "AES/CBC/PKCS5Padding";
        e.key_factory = NULL;
        ck_assert_int_eq(password_encode(&e, str_of(passwords[i]), &arena, &encoded, why, sizeof why), OK);
        ck_assert_str_eq(field(encoded, "keyFactoryAlgorithm"), "PBKDF2WithHmacSHA512");
        ck_assert_str_eq(field(encoded, "cipherAlgorithm"), "AES/CBC/PKCS5Padding");
        ck_assert_str_eq(field(encoded, "passwordLength"), lengths[i]);
        decode_equals(encoded, EVP_sha512(), EVP_aes_128_cbc(), passwords[i]);
        ck_assert_int_eq(password_encode(&e, str_of(passwords[i]), &arena, &again, why, sizeof why), OK);
        ck_assert_str_ne(encoded, again);
        e.cipher = "AES/GCM/NoPadding";
        e.key_factory = "PBKDF2WithHmacSHA1";
        ck_assert_int_eq(password_encode(&e, str_of(passwords[i]), &arena, &encoded, why, sizeof why), OK);
        decode_equals(encoded, EVP_sha1(), EVP_aes_128_gcm(), passwords[i]);
    }
}
END_TEST

START_TEST(what_cannot_be_encrypted_is_refused)
{
    struct password_encoder e = { NULL, NULL, "AES/CBC/PKCS5Padding", 128, 4096 };
    const char *encoded;
    char why[300];

    ck_assert_int_eq(password_encode(&e, STR_LIT("x"), &arena, &encoded, why, sizeof why), ERR_INVALID);
    ck_assert_str_eq(why, "Password encoder secret not configured");
    e.secret = SECRET;
    e.key_length = 100;
    ck_assert_int_eq(password_encode(&e, STR_LIT("x"), &arena, &encoded, why, sizeof why), ERR_INVALID);
    e.key_length = 128;
    e.key_factory = "MD5";
    ck_assert_int_eq(password_encode(&e, STR_LIT("x"), &arena, &encoded, why, sizeof why), ERR_INVALID);
}
END_TEST

START_TEST(which_properties_are_passwords)
{
    ck_assert(password_is_kept("ssl.key.password"));
    ck_assert(password_is_kept("listener.name.x.ssl.keystore.password"));
    ck_assert(password_is_kept("listener.name.x.plain.sasl.jaas.config"));
    ck_assert(!password_is_kept("password.encoder.secret"));
    ck_assert(!password_is_kept("log.retention.ms"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { what_was_encrypted_can_be_had_back, what_cannot_be_encrypted_is_refused,
                                   which_properties_are_passwords };
    Suite *s = suite_create("config/password_encoder");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    arena_init(&arena, (size_t)1 << 20);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    arena_fini(&arena);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
