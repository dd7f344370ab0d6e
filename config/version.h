/* config/version.h - the versions of Apache Kafka that message formats and protocols are called by.
 *
 * OWNER  texts are static.
 * LOCKS  none: pure functions.
 */
#ifndef CONFIG_VERSION_H
#define CONFIG_VERSION_H

#include "base/bytes.h"

/* In their order, with commas. */
extern const char config_versions[];

/* Which of them `text` means: its place, and its full name ("2.7" is 2.7-IV2, the last of its release; of longer
 * numbers only the beginning counts: 2.7.1 is 2.7). -1: none. full may be NULL. */
int version_find(const char *text, struct str *full);

/* The format of records as of that version: 0 before 0.10.0, 1 before 0.11.0, 2 since then. */
int version_magic(const char *text);

#endif
