/* tools/verifiable/event.h - the lines of the verifiable clients: one JSON object for each event, with the time and a
 * name first.
 *
 * OWNER    event_new() gives an object for event_print(), which frees it.
 * LOCKS    none: one thread.
 * FAILURE  an object that memory was missing for is NULL, and not printed.
 */
#ifndef TOOLS_VERIFIABLE_EVENT_H
#define TOOLS_VERIFIABLE_EVENT_H

#include "base/bytes.h"

#include <jansson.h>

json_t *event_new(const char *name);
/* Bytes as Java reads them into a string: what is no UTF-8 becomes U+FFFD. p NULL: null. */
json_t *event_text(struct bytes b);
void    event_print(json_t *e);

#endif
