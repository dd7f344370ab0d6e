"""tests/system/cluster_groups.py - consumer groups while the brokers of a cluster come and go: no commit that was acknowledged
is ever lost, wherever the group's coordinator is by then.

A group of Commits commits once, so that nothing that is committed later can hide a loss. A Grouped is a consumer of librdkafka:
it goes on where its group has committed. If it begins below what it was told, the coordinator must know better: librdkafka 2.0
names no leader epoch when it fetches, and a broker that has not heard that another leads by now may have less than the group has
read; it says OFFSET_OUT_OF_RANGE then, and the consumer begins at the start, as it does with Apache Kafka.
"""
import json
import threading

from confluent_kafka import Consumer, KafkaException

from cluster_load import ANSWER_S
from harness import SLOW
from wire import Wire

OK = 0
FIND_VERSION, COMMIT_VERSION, FETCH_VERSION = 1, 7, 5      # which brokers of 2.7 know, too
# COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: another one has it, or will in a moment.
LATER = {14, 15, 16}


def coordinator(cluster, group):
    """A connection to whoever has the group by now; OSError if that cannot be said."""
    with cluster.any_wire() as wire:
        out = wire.call("FindCoordinator", FIND_VERSION, Key=group, KeyType=0)
    node = cluster.nodes.get(out["NodeId"])
    if out["ErrorCode"] != OK or node is None or not node.alive() or node.stopped:
        raise OSError("%s has no coordinator: error %d, broker %d" % (group, out["ErrorCode"], out["NodeId"]))
    return Wire(node.port, timeout=ANSWER_S)


def committed(wire, group, tp):
    """The offset, -1 if there is none; None if this one does not know."""
    out = wire.call("OffsetFetch", FETCH_VERSION, GroupId=group, Topics=[{"Name": tp[0], "PartitionIndexes": [tp[1]]}])
    part = out["Topics"][0]["Partitions"][0] if out["Topics"] else {"ErrorCode": out["ErrorCode"]}
    return part["CommittedOffset"] if out["ErrorCode"] == OK and part["ErrorCode"] == OK else None


class Commits(threading.Thread):
    """One group after the other commits an offset; check() reads all that were acknowledged. The topic must be there: the
    partition, and what is committed, are of no account."""

    def __init__(self, cluster, name, topic):
        super().__init__(daemon=True)
        self.cluster, self.name_, self.tp = cluster, name, (topic, 0)
        self.stop = threading.Event()
        self.acked, self.bad, self.number = {}, None, 0
        self.wire = None

    def run(self):
        try:
            while not self.stop.is_set():
                try:
                    self.commit()
                except (OSError, ValueError):
                    self.drop()
                    self.stop.wait(0.05)
        except Exception as e:                      # pylint: disable=broad-except
            self.bad = "commits of %s: %r" % (self.name_, e)
        self.drop()

    def drop(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def commit(self):
        """Groups belong to any coordinator: who is asked may be the wrong one, and says so."""
        self.number += 1
        group = "%s-%d" % (self.name_, self.number)
        self.drop()
        self.wire = coordinator(self.cluster, group)
        out = self.wire.call("OffsetCommit", COMMIT_VERSION, GroupId=group, GenerationIdOrMemberEpoch=-1, MemberId="", Topics=[
            {"Name": self.tp[0], "Partitions": [
                {"PartitionIndex": self.tp[1], "CommittedOffset": self.number, "CommittedMetadata": ""}]}])
        code = out["Topics"][0]["Partitions"][0]["ErrorCode"]
        if code == OK:
            self.acked[group] = self.number
        self.stop.wait(0.01 if code == OK else 0.05)

    def check(self):
        """Everything that was acknowledged is there; how many."""
        assert not self.bad, self.bad
        for group, offset in list(self.acked.items()):
            seen = []

            def known():
                try:
                    with coordinator(self.cluster, group) as wire:
                        seen[:] = [committed(wire, group, self.tp)]
                except OSError:
                    return False
                return seen[0] is not None
            self.cluster.wait(known, lambda: "the offset of %s can be read" % group)
            assert seen[0] == offset, "group %s has committed %d, and now has %d\n%s" % (
                group, offset, seen[0], self.cluster.logs())
        return len(self.acked)

    def end(self):
        self.stop.set()
        self.join(90 * SLOW)
        assert not self.is_alive(), "the commits of %s hang\n%s" % (self.name_, self.cluster.logs())


class Grouped(threading.Thread):
    """The only consumer of its group: reads, commits, and sometimes begins anew."""
    LIFE = 200                  # records

    def __init__(self, cluster, group, topic):
        super().__init__(daemon=True)
        self.cluster, self.group, self.topic = cluster, group, topic
        self.stop = threading.Event()
        self.told, self.bad, self.lives, self.records, self.abandoned, self.sent_back = {}, [], 0, 0, 0, 0

    def config(self):
        return {"bootstrap.servers": ",".join(n.address for n in self.cluster.nodes.values()), "group.id": self.group,
                "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0, "error_cb": lambda _: None,
                "session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200, "fetch.error.backoff.ms": 50, "topic.metadata.refresh.interval.ms": 500}

    def run(self):
        while not self.stop.is_set():
            consumer = Consumer(self.config())
            self.lives += 1
            try:
                consumer.subscribe([self.topic])
                self.live(consumer)
            except KafkaException as e:
                self.bad.append("consumer of %s: %s" % (self.group, e))
            finally:
                self.close(consumer)

    def close(self, consumer):
        """librdkafka 2.0 may wait for ever here when leaders and coordinators have changed, after its member has left."""
        closing = threading.Thread(target=consumer.close, daemon=True)
        closing.start()
        closing.join(10 * SLOW)
        self.abandoned += closing.is_alive()

    def live(self, consumer):
        first, left = set(), self.LIFE
        while left > 0 and not self.stop.is_set():
            messages = [m for m in consumer.consume(50, 0.1) if m.error() is None]
            for m in messages:
                p = m.partition()
                if p not in first and m.offset() < self.told.get(p, 0):
                    self.begins_below(p, m.offset())
                first.add(p)
            left -= len(messages)
            self.records += len(messages)
            if messages:
                self.commit(consumer)

    def begins_below(self, p, offset):
        """Nothing is committed meanwhile, and nothing of the topic is deleted."""
        seen = []
        if offset != 0:                 # not sent to the start: this is where it was told that its group is
            self.bad.append("%s-%d: a consumer of %s begins at %d, committed was %d" % (
                self.topic, p, self.group, offset, self.told[p]))
            return

        def stands():
            try:
                with coordinator(self.cluster, self.group) as wire:
                    seen[:] = [committed(wire, self.group, (self.topic, p))]
            except (OSError, ValueError):
                return False
            return seen[0] is not None and seen[0] >= self.told[p]
        try:
            self.cluster.wait(stands, "what %s has committed" % self.group)
            self.sent_back += 1
        except AssertionError:
            self.bad.append("%s-%d: a consumer of %s begins at %d, committed was %d, and is now %s" % (
                self.topic, p, self.group, offset, self.told[p], seen))

    def commit(self, consumer):
        try:
            for tp in consumer.commit(asynchronous=False):
                if tp.error is None and tp.offset >= 0:
                    self.told[tp.partition] = tp.offset
        except KafkaException:
            pass                                    # its coordinator is away, or the group moves: the next one does it

    def end(self):
        self.stop.set()
        self.join(90 * SLOW)
        assert not self.is_alive(), "the consumer of %s hangs\n%s" % (self.group, self.cluster.logs())
        assert not self.bad, "%s\n%s" % (self.bad[:5], self.cluster.logs())


def offsets_topic(cluster):
    """Its number of partitions."""
    data, _ = cluster.znode("/brokers/topics/__consumer_offsets")
    return len(json.loads(data)["partitions"]) if data else 0
