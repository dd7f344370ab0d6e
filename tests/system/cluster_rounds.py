"""tests/system/cluster_rounds.py - what the tests of clusters share: rounds with seeds, observers, the check at a round's end.

CLUSTER_ROUNDS rounds of each test (5, or 2 under a sanitizer; `make fault` has 200), CLUSTER_SEED for the same again.
"""
import json
import os
import random
import threading
import time

from cluster_check import batch_rows, judge
from cluster_load import DUPLICATE, OK, ClusterWriter, Traffic, read_whole
from harness import SANITIZED, wait_for

ROUNDS = int(os.environ.get("CLUSTER_ROUNDS", "2" if SANITIZED else "5"))
SEED = int(os.environ.get("CLUSTER_SEED", "0")) or int.from_bytes(os.urandom(3), "big") + 1


class Observer(threading.Thread):
    """Watches the state nodes of topics, and asks the brokers who of them leads."""

    def __init__(self, cluster, topics, history):
        super().__init__(daemon=True)
        self.cluster, self.topics, self.history = cluster, topics, history
        self.stop = threading.Event()
        self.replicas = {(t, p): cluster.replicas(t, p) for t, n in topics.items() for p in range(n)}
        for t, p in self.replicas:
            self.watch(t, p)

    def watch(self, topic, partition):
        path = "%s/brokers/topics/%s/partitions/%d/state" % (self.cluster.chroot, topic, partition)

        def changed(data, stat):
            if self.stop.is_set():
                return False
            if data:
                state = json.loads(data)
                self.history.add("state", tp="%s-%d" % (topic, partition), leader=state["leader"], epoch=state["leader_epoch"],
                                 isr=state["isr"], replicas=sorted(set(self.replicas[topic, partition]) | set(state["isr"])
                                                                   & set(self.cluster.nodes)),
                                 version=stat.version, controller=state["controller_epoch"])
            return True
        self.cluster.zk.client.DataWatch(path, changed)

    def run(self):
        while not self.stop.wait(0.1):
            for number in self.cluster.live():
                try:
                    self.ask(number)
                except (OSError, ValueError, KeyError):
                    continue

    def ask(self, number):
        with self.cluster[number].connect(5) as wire:
            for t in wire.call("Metadata", 8, Topics=[{"Name": name} for name in self.topics])["Topics"]:
                for p in t["Partitions"]:
                    if p["LeaderId"] != number:
                        continue
                    got = self.cluster.ask_end(wire, t["Name"], p["PartitionIndex"], epoch=p["LeaderEpoch"])
                    if got["ErrorCode"] == OK:
                        self.history.add("leads", tp="%s-%d" % (t["Name"], p["PartitionIndex"]), broker=number,
                                         epoch=p["LeaderEpoch"])

    def end(self):
        self.stop.set()
        if self.is_alive():
            self.join(60)


class Round:
    """One round: a topic, traffic on it, and what was seen.

        with Round(cluster, seed) as r:
            r.traffic.until(20)
            ...
    At its end all must be well again: full ISRs, everything acknowledged is read, replicas are equal."""

    def __init__(self, cluster, seed, partitions=1, writers=2, readers=1, assignment=None, replicas=3,
                 timeout_ms=None, more=(), **configs):
        """more: topics that are there already, with which it is to be the same."""
        self.cluster, self.seed, self.rng = cluster, seed, random.Random(seed)
        self.topic = cluster.create("r%d" % seed, partitions, replicas, assignment, **configs)
        self.topics = {topic: cluster.created[topic] for topic in (self.topic, *more)}
        self.traffic = Traffic(cluster, self.topics, seed, writers, readers, timeout_ms)
        self.history = self.traffic.history
        self.observer = Observer(cluster, self.topics, self.history)
        self.counts = {}
        self.junks = 0

    def __enter__(self):
        self.observer.start()
        self.traffic.start()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            try:
                self.check()
            finally:
                self.observer.end()
                self.traffic.quiet()
            for topic in self.topics:
                self.cluster.delete(topic)
        else:
            self.observer.end()
            for thread in self.traffic.writings + self.traffic.readings:
                thread.stop.set()

    def check(self):
        cluster = self.cluster
        if self.traffic.writings:
            self.traffic.until(5, what="acknowledgements go on after all")
        self.traffic.end()
        cluster.wait_full(*self.topics)
        for topic, p in [(t, p) for t, n in self.topics.items() for p in range(n)]:
            hw = read_whole(cluster, self.history, topic, p)
            cluster.wait_isr(topic, cluster.replicas(topic, p), p)      # or one may have left it, and have less
            for number in cluster.replicas(topic, p):
                self.replica(number, topic, p, hw)
        self.observer.end()
        try:
            self.counts = judge(self.history)
        except AssertionError:
            self.history.save(os.path.join(cluster.folder, "history-%d" % self.seed))
            raise

    # ---- rounds that write by themselves ----

    def put(self, writer, batches=1, partition=0):
        """So many batches with acks=all, each until it is acknowledged."""
        for _ in range(batches):
            self.cluster.wait(lambda: sent(writer, (self.topic, partition)), "a batch is acknowledged")

    def writer(self, name="w"):
        return ClusterWriter(self.cluster, self.history, name, self.topics, self.seed)

    def junk(self, number, batches=1, partition=0):
        """So many batches with acks=1 to that broker, which must take them; they may be lost. A producer of its own each
        time."""
        self.junks += 1
        writer = ClusterWriter(self.cluster, self.history, "junk%d" % self.junks, self.topics, self.seed + self.junks, acks=1)
        writer.target.dark = True               # no answer counts
        writer.view.leaders[self.topic, partition] = (number, -1)
        for _ in range(batches):
            def taken():
                writer.view.leaders[self.topic, partition] = (number, -1)
                return sent(writer, (self.topic, partition))
            self.cluster.wait(taken, "broker %d takes a batch" % number)
            writer.pending.clear()
        writer.drop()

    def end_at(self, number, partition=0):
        """The end of a replica's log, by its file."""
        rows = batch_rows(self.cluster.batches(number, self.topic, partition))
        return rows[-1][1] + 1 if rows else 0

    def replica(self, number, topic, partition, hw):
        """A segment may be rolled or deleted while it is read: once more then."""
        def rows():
            try:
                return [batch_rows(self.cluster.batches(number, topic, partition))]
            except FileNotFoundError:
                return None
        got = wait_for(rows, 30, "broker %d has the files of %s-%d" % (number, topic, partition))
        self.history.add("replica", tp="%s-%d" % (topic, partition), broker=number, hw=hw, batches=got[0])


def sent(writer, tp):
    try:
        return writer.send(tp) in (OK, DUPLICATE)
    except OSError:
        return False


def rounds(play, cluster, n=None, name=""):
    """play(cluster, seed) so many times; says with which seed it failed."""
    n = n or ROUNDS
    print("CLUSTER_SEED=%d" % SEED)
    for i in range(n):
        seed, began = SEED * 1000 + i, time.monotonic()
        try:
            play(cluster, seed)
            print("%s, seed %d: %.1f s" % (name, seed, time.monotonic() - began))
        except Exception as e:
            raise AssertionError("%s, round %d of %d, CLUSTER_SEED=%d: %s: %s\n%s" % (
                name or play.__name__, i + 1, n, SEED, type(e).__name__, e, cluster.logs())) from e
    print("%s: %d rounds" % (name or play.__name__, n))
