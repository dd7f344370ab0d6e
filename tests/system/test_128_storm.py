"""B28: everything at once, for a cluster of three and its ZooKeeper. Topics, partitions, replicas, leaders, settings and
directories change all the time, while brokers are killed, stopped, stand still, are cut off and lose their sessions, and
ZooKeeper is killed and comes back. Nothing that was acknowledged is lost, be it a record or a commit, nothing comes twice, and
at the end all is as the tree in ZooKeeper says.

STORM_SECONDS makes a round longer, CLUSTER_SEED repeats the choice of deeds; CLUSTER_ROUNDS as for other tests of clusters: one
storm for five of them.
"""
import json
import os
import random
import re
import time

from cluster_groups import Commits, Grouped, offsets_topic
from cluster_rounds import ROUNDS, Round, rounds
from cluster_storm import CHURNED, DEEDS, Blows, controlled
from harness import SANITIZED, SLOW
from storm import Truth

SECONDS = float(os.environ.get("STORM_SECONDS", "40" if SANITIZED else "10"))
REPORTS = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error|lock order|assert")
PROPERTIES = {
    "zookeeper_session_timeout_ms": 2000 * SLOW, "replica_lag_time_max_ms": 1500 * SLOW, "offsets_topic_num_partitions": 3,
    "log_segment_delete_delay_ms": 100, "leader_imbalance_check_interval_seconds": 2,
    "auto_leader_rebalance_enable": "true", "num_recovery_threads_per_data_dir": 2,
}


class Storm:
    def __init__(self, cluster, r, seed):
        self.cluster, self.round, self.seed = cluster, r, seed
        self.truth, self.broker = Truth(), None
        # Topic, partitions, to how many brokers they may move: what has min.insync.replicas 2 has three.
        self.moved = [(t, n, (3,) if t == r.topic else (1, 2, 3)) for t, n in r.topics.items()]
        self.moved.append(("__consumer_offsets", PROPERTIES["offsets_topic_num_partitions"], (3,)))
        self.actors = [kind(self, kind.__name__) for kind in DEEDS]
        self.commits = [Commits(cluster, "c%d-%d" % (seed, n), r.topic) for n in range(2)]
        self.grouped = Grouped(cluster, "g%d" % seed, r.topic)

    def begin(self):
        for thread in self.actors + self.commits + [self.grouped]:
            thread.start()

    def calm(self):
        for a in self.actors:
            a.end.set()
        for a in self.actors:
            a.join(90 * SLOW)
            assert not a.is_alive(), "%s hangs" % a.name

    def no_faults(self):
        assert not self.truth.faults, "%d faults:\n%s\n%s" % (
            len(self.truth.faults), "\n".join(self.truth.faults[:20]), self.cluster.logs())


def topics_of(cluster):
    out = {}
    for topic in cluster.children("/brokers/topics"):
        data, _ = cluster.znode("/brokers/topics/" + topic)
        if data:
            out[topic] = json.loads(data)
    return out


def unfinished(cluster):
    """What is under way in the tree."""
    out = ["%s is to be deleted" % t for t in cluster.children("/admin/delete_topics")]
    for topic, z in topics_of(cluster).items():
        if z.get("adding_replicas") or z.get("removing_replicas"):
            out.append("%s moves: %s" % (topic, z))
    return out


def unled(cluster):
    """What is not led, or not by a full ISR."""
    out = []
    for topic, z in topics_of(cluster).items():
        for p, ids in z["partitions"].items():
            state = cluster.state(topic, int(p))
            if state is None or state["leader"] not in ids or sorted(state["isr"]) != sorted(ids):
                out.append("%s-%s of %s: %s" % (topic, p, ids, state))
    return out


def misplaced(cluster):
    """Replicas that a broker should have, and has not; and logs of topics that are gone: of those that did not move. Who is down
    when a replica is taken from it may keep the log."""
    out, topics = [], topics_of(cluster)
    for topic, z in topics.items():
        out += ["broker %d has no log of %s-%s" % (n, topic, p) for p, ids in z["partitions"].items() for n in ids
                if not cluster.has_files(n, topic, int(p))]
    for number, node in cluster.nodes.items():
        for d in node.dirs:
            for name in os.listdir(d):
                topic = name.rsplit("-", 1)[0]
                if re.search(r"-\d+$", name) and topic in CHURNED and topic not in topics:
                    out.append("broker %d has %s of a topic that is gone" % (number, name))
    return out


def storm(cluster, seed):
    moving = cluster.create("m%d" % seed, assignment=[[1, 2], [2, 3]], min_insync_replicas=1)
    with Round(cluster, seed, assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]], more=[moving], writers=3) as r:
        s = Storm(cluster, r, seed)
        blows = Blows(s, random.Random(seed))
        s.begin()
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                r.traffic.until(3)
                blows.strike()
                s.no_faults()
        finally:
            s.calm()
        s.no_faults()
        r.traffic.until(5)
        s.grouped.end()
        for c in s.commits:
            c.end()
        controlled(cluster, "moves and deletions end", lambda: unfinished(cluster))
        controlled(cluster, "everything is led by a full ISR", lambda: unled(cluster))
        controlled(cluster, "every log is where it belongs", lambda: misplaced(cluster))
        kept = sum(c.check() for c in s.commits)
        s.truth.count("commits", kept)
        s.truth.count("records of the group", s.grouped.records)
        s.truth.count("the group was sent back", s.grouped.sent_back)
    print({k: s.truth.counts[k] for k in sorted(s.truth.counts)}, dict(r.counts))
    for topic in CHURNED:
        cluster.delete(topic)


def test_everything_at_once_in_a_cluster(clusters):
    cluster = clusters(dirs=2, **PROPERTIES).start()
    rounds(storm, cluster, n=max(1, ROUNDS // 5), name="B28")
    assert offsets_topic(cluster) == PROPERTIES["offsets_topic_num_partitions"]
    for number, node in cluster.nodes.items():
        reports = [line for line in node.log().splitlines() if REPORTS.search(line)]
        assert not reports, "broker %d:\n%s" % (number, "\n".join(reports[:20]))
