/* tools/client_props.h - --command-config: the properties of Kafka's admin client, as far as our client has them.
 *
 * A property that asks for what our client cannot do (TLS, SASL) is refused; one that it does not need is
 *   passed over.
 * FAILURE  ERR_UNSUPPORTED, ERR_INVALID, ERR_IO with a sentence in `error`.
 */
#ifndef TOOLS_CLIENT_PROPS_H
#define TOOLS_CLIENT_PROPS_H

#include "tools/client/client.h"

/* Texts in *conf then lie in the arena. */
int client_props_load(struct client_conf *conf, const char *file, struct arena *a, char *error,
                      size_t error_len) must_use;

#endif
