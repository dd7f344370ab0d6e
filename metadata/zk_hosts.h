/* metadata/zk_hosts.h - the connect string of ZooKeeper, and what can be said of servers that give no session. */
#ifndef METADATA_ZK_HOSTS_H
#define METADATA_ZK_HOSTS_H

#include "base/err.h"

#include <stddef.h>

#define ZK_PORT "2181"

struct zk_hosts {
    char *servers;                      /* "host:port,host:port", as the client library wants it */
    char *chroot;                       /* "/a/b", or "" */
};

/* ERR_INVALID: *why says what is wrong with it, in a constant text. */
int  zk_hosts_parse(struct zk_hosts *h, const char *connect, const char **why) must_use;
void zk_hosts_fini(struct zk_hosts *h);

/* "zk1:2181: Connection refused; zk2:2181: ...": tries each for a moment. Waits; for the start only. */
void zk_hosts_diagnose(const struct zk_hosts *h, char *text, size_t size);

#endif
