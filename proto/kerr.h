/* proto/kerr.h - the error codes of the protocol.
 * LOCKS none: everything here is pure, and every text is static.
 */
#ifndef PROTO_KERR_H
#define PROTO_KERR_H

#include <stdbool.h>
#include <stdint.h>

enum kerr {
#define K(code, name, retriable, text) KERR_##name = code,
#include "proto/kerr.def"
#undef K
};

const char *kerr_name(int16_t code);        /* "OFFSET_OUT_OF_RANGE"; -1 stands for codes we do not know */
const char *kerr_message(int16_t code);     /* a sentence; never NULL */
bool        kerr_retriable(int16_t code);   /* a client may simply try again */

/* The code for one of our results (base/err.h): what it means where nothing more exact is known. */
int16_t kerr_of(int rc);

#endif
