"""tests/interop/consumers.py - consumers of every make as members of one group, each a process of its own.

What they print is read alike: the records' values are "record 17 ", and a member has seen what stands in its output.
"""
import json
import os
import re
import subprocess
import sys

import kafka
from apache import PEER
from confluent_kafka import Producer
from groups import read_assignment
from harness import SLOW, wait_for
from wire import Wire

RECORD = re.compile(r"record (\d+) ")
SESSION_MS = 6000
STATIC_SESSION_MS = 60000           # time for a JVM to come back
COMMIT_MS = 200

CONFLUENT = """
import json, sys
from confluent_kafka import Consumer
server, group, topic, settings = sys.argv[1:]
c = Consumer(dict({"bootstrap.servers": server, "group.id": group, "reconnect.backoff.max.ms": 500}, **json.loads(settings)))
c.subscribe([topic])
while True:
    m = c.poll(0.2)
    if m is not None and m.error() is None:
        print(m.partition(), m.offset(), m.value().decode(), flush=True)
"""

KAFKA_PYTHON = """
import json, sys
from kafka import KafkaConsumer
server, group, topic, settings = sys.argv[1:]
c = KafkaConsumer(topic, bootstrap_servers=server, group_id=group, metadata_max_age_ms=2000, **{
    k.replace(".", "_"): tuple(v) if isinstance(v, list) else v for k, v in json.loads(settings).items()})
while True:
    for records in c.poll(200).values():
        for m in records:
            print(m.partition, m.offset, m.value.decode(), flush=True)
"""

# What all of them call alike.
SETTINGS = {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 500, "auto.commit.interval.ms": COMMIT_MS,
            "auto.offset.reset": "earliest"}
COOPERATIVE = {"java": "org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "librdkafka": "cooperative-sticky"}


def java(path, settings):
    """A file of properties: both tools of both versions take one."""
    with open(path, "w", encoding="ascii") as f:
        f.writelines("%s=%s\n" % pair for pair in dict(settings, **{"metadata.max.age.ms": 2000}).items())
    return path


def console(version):
    def argv(address, group, topic, path, settings):
        return [os.path.join(PEER, "tool"), version, "kafka-console-consumer", "--bootstrap-server", address, "--topic", topic,
                "--group", group, "--consumer.config", java(path, settings), "--property", "print.partition=true"]
    return "java", argv


def verifiable(version):
    def argv(address, group, topic, path, settings):
        of_its_own = {"group.instance.id": "--group-instance-id", "partition.assignment.strategy": "--assignment-strategy"}
        return [os.path.join(PEER, "tool"), version, "kafka-verifiable-consumer", "--bootstrap-server", address, "--topic", topic,
                "--group-id", group, "--consumer.config", java(path, settings), "--verbose", "--session-timeout",
                str(settings["session.timeout.ms"]), *[a for k, o in of_its_own.items() if k in settings for a in (o, settings[k])]]
    return "java", argv


def kcat(address, group, topic, _, settings):
    settings = dict(settings, **{"topic.metadata.refresh.interval.ms": 2000, "reconnect.backoff.max.ms": 500})
    return ["kcat", "-b", address, "-G", group, "-E", "-u", "-q", "-f", "%p %o %s\n",
            *[a for k, v in settings.items() for a in ("-X", "%s=%s" % (k, v))], topic]


def python(program, **more):
    def argv(address, group, topic, _, settings):
        return [sys.executable, "-c", program, address, group, topic, json.dumps(dict(settings, **more))]
    return argv


OLD = {"api.version.request": "false", "broker.version.fallback": "0.9.0.1"}
# kind: (family, arguments)
KINDS = {
    "console 3.9.1": console("3.9.1"), "verifiable 3.9.1": verifiable("3.9.1"), "console 2.7.1": console("2.7.1"),
    "verifiable 2.7.1": verifiable("2.7.1"), "kcat": ("librdkafka", kcat),
    "confluent-kafka": ("librdkafka", python(CONFLUENT)), "confluent-kafka as of 0.9": ("librdkafka", python(CONFLUENT, **OLD)),
    "kafka-python " + kafka.__version__: ("kafka-python", python(KAFKA_PYTHON)),
    "kafka-python as of 0.10": ("kafka-python", python(KAFKA_PYTHON, api_version=[0, 10])),
}
# Those that know KIP-345 and KIP-429.
NEWER = [k for k, (family, _) in KINDS.items() if family != "kafka-python" and "as of" not in k]


class Consumer:
    def __init__(self, kind, broker, group, topic, path, settings):
        self.kind, self.path = kind, path
        argv = KINDS[kind][1](broker.address, group, topic, path + ".properties", settings)
        with open(path, "wb") as out, open(path + ".err", "wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def output(self):
        with open(self.path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def seen(self):
        """Numbers of the records, one for each time."""
        return [int(n) for n in RECORD.findall(self.output())]

    def complaint(self):
        with open(self.path + ".err", encoding="utf-8", errors="replace") as f:
            return "%s (%s): %s" % (self.kind, self.process.poll(), f.read()[-1500:])

    def kill(self):
        self.process.kill()
        self.process.wait()


def describe(broker, group):
    """(state, {member id: {(topic, partition)}})"""
    with Wire(broker.port) as c:
        g = c.call("DescribeGroups", 4, Groups=[group])["Groups"][0]
    if g["ErrorCode"] != 0:
        return "error %d" % g["ErrorCode"], {}
    return g["GroupState"], {m["MemberId"]: read_assignment(m["MemberAssignment"]) if m["MemberAssignment"] else set()
                             for m in g["Members"]}


def shared_by(broker, group, count, topic, partitions):
    """Whether `count` members are stable and own each partition once."""
    try:
        state, members = describe(broker, group)
    except OSError:
        return False
    owned = sorted(p for owns in members.values() for p in owns)
    return state == "Stable" and len(members) == count and owned == [(topic, p) for p in range(partitions)]


def offsets(broker, group):
    """{(topic, partition): (offset, leader epoch, metadata)}; None while the coordinator is loading."""
    with Wire(broker.port) as c:
        got = c.call("OffsetFetch", 7, GroupId=group, Topics=None)
    if got["ErrorCode"] != 0:
        return None
    return {(t["Name"], p["PartitionIndex"]): (p["CommittedOffset"], p["CommittedLeaderEpoch"], p["Metadata"])
            for t in got["Topics"] for p in t["Partitions"]}


def ends(broker, topic, partitions):
    with Wire(broker.port) as c:
        got = c.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": topic, "Partitions": [
            {"PartitionIndex": p, "Timestamp": -1} for p in range(partitions)]}])
    return {(topic, p["PartitionIndex"]): p["Offset"] for p in got["Topics"][0]["Partitions"]}


class Group:
    """One group of many makes on one topic."""

    def __init__(self, broker, group, topic, partitions, folder, cooperative=False):
        self.broker, self.group, self.topic, self.partitions, self.folder = broker, group, topic, partitions, str(folder)
        self.cooperative = cooperative
        self.consumers, self.gone, self.made = [], [], 0

    def join(self, kind, instance=None):
        settings = dict(SETTINGS)
        if self.cooperative:
            settings["partition.assignment.strategy"] = COOPERATIVE[KINDS[kind][0]]
        if instance is not None:
            settings.update({"group.instance.id": instance, "session.timeout.ms": STATIC_SESSION_MS})
        path = os.path.join(self.folder, "%s-%d.out" % (kind.replace(" ", "-"), len(self.gone) + len(self.consumers)))
        self.consumers.append(Consumer(kind, self.broker, self.group, self.topic, path, settings))
        return self.consumers[-1]

    def kill(self, consumer):
        consumer.kill()
        self.consumers.remove(consumer)
        self.gone.append(consumer)

    def leave(self, consumer):
        """Asked to end, it tells the coordinator."""
        consumer.process.terminate()
        consumer.process.wait(20 * SLOW)
        self.consumers.remove(consumer)
        self.gone.append(consumer)

    def complaints(self):
        class Text:
            def __str__(_):
                try:
                    now = describe(self.broker, self.group)
                except OSError as e:
                    now = e
                return "%s: %s\n%s" % (self.group, now, "\n".join(c.complaint() for c in self.gone + self.consumers))
        return Text()

    def all_here(self, within=60):
        wait_for(lambda: shared_by(self.broker, self.group, len(self.consumers), self.topic, self.partitions), within,
                 self.complaints())

    def produce(self, each):
        """`each` records to every partition; their numbers."""
        producer, first = Producer({"bootstrap.servers": self.broker.address}), self.made
        for i in range(each):
            for p in range(self.partitions):
                producer.produce(self.topic, b"record %d " % self.made, partition=p)
                self.made += 1
        assert producer.flush(20 * SLOW) == 0
        return range(first, self.made)

    def seen(self):
        return [n for c in self.gone + self.consumers for n in c.seen()]

    def see(self, numbers, within=60):
        want = set(numbers)
        wait_for(lambda: want <= set(self.seen()), within, self.complaints())

    def committed(self, within=60):
        """Until the offsets are at the ends."""
        def at_ends():
            got = offsets(self.broker, self.group)
            return got is not None and {k: v[0] for k, v in got.items()} == ends(self.broker, self.topic, self.partitions)
        wait_for(at_ends, within, self.complaints())

    def end(self):
        for c in self.consumers:
            c.kill()
