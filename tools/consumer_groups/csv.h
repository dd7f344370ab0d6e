/* tools/consumer_groups/csv.h - the lines of --export and --from-file: fields with commas between, in quotes where
 * need be, as Apache Kafka's command writes and reads them.
 *
 * OWNER    fields lie in the arena, or point into the text.
 * LOCKS    none. FAILURE ERR_INVALID: not such a line.
 */
#ifndef TOOLS_CONSUMER_GROUPS_CSV_H
#define TOOLS_CONSUMER_GROUPS_CSV_H

#include "base/arena.h"

/* Takes the line apart; *n fields, at most `max` (ERR_LIMIT beyond). */
int  csv_read(struct str line, struct str *fields, size_t max, size_t *n, struct arena *a) must_use;
/* Prints a field, in quotes if it is long or has a character that could mean something. */
void csv_print(struct str field);

#endif
