/* metadata/zk_session.h - the small file in which a broker keeps the id and password of its ZooKeeper session, for the
 * process that comes after a kill -9.
 *
 * FORMAT  one line of text, mode 0600:  klamm-zookeeper-session 1 <machine> <id> <password>\n
 *         machine: the kernel's boot id; id: 16 hex digits; password: 32 hex digits
 * FAILURE a file that is not there, not whole, or from another machine is no session: the server's timeout ends that.
 *         Not synced: what a crash of the machine does to it is one of these.
 */
#ifndef METADATA_ZK_SESSION_H
#define METADATA_ZK_SESSION_H

#include "base/err.h"

#include <stdint.h>

struct zk_session {
    int64_t id;
    uint8_t password[16];
};

/* ERR_NOENT, also of another machine's; ERR_CORRUPT, ERR_DENIED, ERR_IO */
int  zk_session_read(const char *path, struct zk_session *out) must_use;
int  zk_session_write(const char *path, const struct zk_session *s) must_use;
void zk_session_remove(const char *path);

#endif
