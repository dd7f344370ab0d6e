/* proto/json.h - primitive types in Apache Kafka's JSON form; used by the generated printers only.
 * OWNER each gives a new reference, or NULL when memory is out.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "base/bytes.h"
#include "base/uuid.h"

#include <jansson.h>

json_t *json_of_str(struct str s);          /* null stays null; bytes that are not UTF-8 become U+FFFD */
json_t *json_of_bytes(struct bytes b);      /* base64 with padding */
json_t *json_of_uuid(struct uuid u);
json_t *json_of_double(double v);           /* "NaN", "Infinity", "-Infinity" as text */
json_t *json_list(int32_t n);               /* an empty array, or null for n < 0 */

#endif
