/* config/zk_hosts.h - the connect string of ZooKeeper: servers and chroot. */
#ifndef CONFIG_ZK_HOSTS_H
#define CONFIG_ZK_HOSTS_H

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

#endif
