/* config/password_encoder.h - passwords as Apache Kafka keeps them in the metadata store (password.encoder.*).
 *
 * A key is made of password.encoder.secret (PBKDF2), the password encrypted with it, and all that is needed to find it
 * again but the secret written beside it, in any order:
 *     cipherAlgorithm:AES/CBC/PKCS5Padding,keyFactoryAlgorithm:PBKDF2WithHmacSHA512,keyLength:128,iterations:4096,
 *     salt:<base64>,initializationVector:<base64>,encryptedPassword:<base64>,passwordLength:13
 *
 * LOCKS   none. It takes milliseconds of computing.
 * FAILURE ERR_INVALID with a sentence in `why`; ERR_NOMEM.
 */
#ifndef CONFIG_PASSWORD_ENCODER_H
#define CONFIG_PASSWORD_ENCODER_H

#include "config/config.h"

/* Is it a property (also behind listener.name.<name>.) whose value, set while brokers run, is kept like this? */
bool password_is_kept(const char *key);

struct password_encoder {               /* the properties; texts are the caller's */
    const char *secret;                 /* NULL: there is none */
    const char *key_factory;            /* NULL: Apache Kafka's choice */
    const char *cipher;
    int32_t     key_length;             /* bits */
    int32_t     iterations;
};

void password_encoder_of(struct password_encoder *e, const struct config *cfg);

/* *out: in the arena. ERR_INVALID also when there is no secret, in Apache Kafka's words. */
int password_encode(const struct password_encoder *e, struct str password, struct arena *a, const char **out, char *why,
                    size_t why_size) must_use;

#endif
