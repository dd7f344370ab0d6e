/* metadata/zk_diagnose.h - what can be said of ZooKeeper servers that give no session. */
#ifndef METADATA_ZK_DIAGNOSE_H
#define METADATA_ZK_DIAGNOSE_H

#include "config/zk_hosts.h"

/* "zk1:2181: Connection refused; zk2:2181: ...": tries each for a moment. Waits; for the start only. */
void zk_hosts_diagnose(const struct zk_hosts *h, char *text, size_t size);

#endif
