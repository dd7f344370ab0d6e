/* config/password_encoder.c - encrypting passwords in Apache Kafka's way, with the ciphers of AES that it names. */
#include "config/password_encoder.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define SALT_BYTES 256
#define KEY_MAX    32
#define IV_MAX     16
#define TAG_BYTES  16                   /* of GCM */

static const struct key_factory {
    const char *name;
    const EVP_MD *(*digest)(void);
} key_factories[] = {
    { "PBKDF2WithHmacSHA512", EVP_sha512 },     /* where none is named */
    { "PBKDF2WithHmacSHA384", EVP_sha384 }, { "PBKDF2WithHmacSHA256", EVP_sha256 },
    { "PBKDF2WithHmacSHA224", EVP_sha224 }, { "PBKDF2WithHmacSHA1", EVP_sha1 },
};

static const struct cipher {
    const char *name;
    int         key_bits;
    int         iv_bytes;
    bool        gcm;
    const EVP_CIPHER *(*evp)(void);
} ciphers[] = {
    { "AES/CBC/PKCS5Padding", 128, 16, false, EVP_aes_128_cbc },
    { "AES/CBC/PKCS5Padding", 192, 16, false, EVP_aes_192_cbc },
    { "AES/CBC/PKCS5Padding", 256, 16, false, EVP_aes_256_cbc },
    { "AES/GCM/NoPadding", 128, 12, true, EVP_aes_128_gcm },
    { "AES/GCM/NoPadding", 192, 12, true, EVP_aes_192_gcm },
    { "AES/GCM/NoPadding", 256, 12, true, EVP_aes_256_gcm },
};

bool password_is_kept(const char *key)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];
        size_t n = strlen(p->name);

        if (p->type == CONFIG_PASSWORD && p->when != CONFIG_READ_ONLY && n <= len &&
            strcmp(key + len - n, p->name) == 0)
            return true;
    }
    return false;
}

static const struct key_factory *find_factory(const char *name)
{
    for (size_t i = 0; i < sizeof key_factories / sizeof key_factories[0]; i++)
        if (name == NULL || strcmp(name, key_factories[i].name) == 0)
            return &key_factories[i];
    return NULL;
}

static const struct cipher *find_cipher(const char *name, int key_bits)
{
    for (size_t i = 0; i < sizeof ciphers / sizeof ciphers[0]; i++)
        if (strcmp(name, ciphers[i].name) == 0 && key_bits == ciphers[i].key_bits)
            return &ciphers[i];
    return NULL;
}

static const char *base64(struct arena *a, const uint8_t *p, size_t n)
{
    char *text = arena_alloc(a, (n + 2) / 3 * 4 + 1);

    if (text != NULL)
        EVP_EncodeBlock((unsigned char *)text, p, (int)n);
    return text;
}

/* As Java counts: what is beyond the first plane of Unicode is two. */
static size_t java_length(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.p[i];

        n += (c & 0xC0) != 0x80;
        n += c >= 0xF0;
    }
    return n;
}

/* Gives the length, or -1. `out` has room for the password, a block and a tag. */
static int encrypt(const struct cipher *c, const uint8_t *key, const uint8_t *iv, struct str password, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, rest = 0;
    bool ok = ctx != NULL && EVP_EncryptInit_ex(ctx, c->evp(), NULL, key, iv) == 1 &&
              EVP_EncryptUpdate(ctx, out, &n, (const uint8_t *)password.p, (int)password.len) == 1 &&
              EVP_EncryptFinal_ex(ctx, out + n, &rest) == 1;

    n += rest;
    if (ok && c->gcm) {
        ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + n) == 1;
        n += TAG_BYTES;
    }
    EVP_CIPHER_CTX_free(ctx);
    return ok ? n : -1;
}

static int write_out(const struct password_encoder *e, const struct cipher *c, const struct key_factory *f,
                     struct str password, struct arena *a, const char **out)
{
    uint8_t salt[SALT_BYTES], iv[IV_MAX], key[KEY_MAX], *text = arena_alloc(a, password.len + IV_MAX + TAG_BYTES);
    const char *salt64, *iv64, *text64;
    int n;

    if (text == NULL)
        return ERR_NOMEM;
    if (RAND_bytes(salt, SALT_BYTES) != 1 || RAND_bytes(iv, c->iv_bytes) != 1 ||
        PKCS5_PBKDF2_HMAC(e->secret, (int)strlen(e->secret), salt, SALT_BYTES, e->iterations, f->digest(),
                          c->key_bits / 8, key) != 1)
        return ERR_SYSTEM;
    n = encrypt(c, key, iv, password, text);
    OPENSSL_cleanse(key, sizeof key);
    if (n < 0)
        return ERR_SYSTEM;
    salt64 = base64(a, salt, SALT_BYTES);
    iv64 = base64(a, iv, (size_t)c->iv_bytes);
    text64 = base64(a, text, (size_t)n);
    if (salt64 == NULL || iv64 == NULL || text64 == NULL)
        return ERR_NOMEM;
    *out = arena_printf(a, "cipherAlgorithm:%s,keyFactoryAlgorithm:%s,keyLength:%d,iterations:%d,salt:%s,"
                        "initializationVector:%s,encryptedPassword:%s,passwordLength:%zu%s", c->name, f->name,
                        c->key_bits, e->iterations, salt64, iv64, text64, java_length(password),
                        c->gcm ? ",authenticationTagLength:128" : "");
    return *out != NULL ? OK : ERR_NOMEM;
}

void password_encoder_of(struct password_encoder *e, const struct config *cfg)
{
    *e = (struct password_encoder){
        .secret = cfg->password_encoder_secret, .key_factory = cfg->password_encoder_keyfactory_algorithm,
        .cipher = cfg->password_encoder_cipher_algorithm, .key_length = cfg->password_encoder_key_length,
        .iterations = cfg->password_encoder_iterations,
    };
}

int password_encode(const struct password_encoder *e, struct str password, struct arena *a, const char **out, char *why,
                    size_t why_size)
{
    const struct cipher *c = find_cipher(e->cipher, e->key_length);
    const struct key_factory *f = find_factory(e->key_factory);

    *out = NULL;
    if (e->secret == NULL)
        snprintf(why, why_size, "Password encoder secret not configured");
    else if (f == NULL)
        snprintf(why, why_size, "%s SecretKeyFactory not available", e->key_factory);
    else if (c == NULL)
        snprintf(why, why_size, "no cipher for password.encoder.cipher.algorithm=%s with password.encoder.key.length=%d"
                 "; there are AES/CBC/PKCS5Padding and AES/GCM/NoPadding with 128, 192 and 256", e->cipher,
                 e->key_length);
    else if (password.len > (size_t)1 << 20)
        snprintf(why, why_size, "it is longer than 1 MiB");
    else
        return write_out(e, c, f, password, a, out);
    return ERR_INVALID;
}
