"""Groups of clients that are not ours: kcat and confluent-kafka (librdkafka), python-kafka. They share partitions, take over
what a killed one had, and go on from committed offsets after the broker was killed."""
import collections
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from group_cells import PROPERTIES
from harness import SLOW, wait_for

SETTINGS = dict(PROPERTIES, **{"group.max.size": "100", "group.min.session.timeout.ms": "500"})
SESSION = {"session.timeout.ms": 3500 if SLOW == 1 else 6000, "heartbeat.interval.ms": 200, "reconnect.backoff.ms": 20,
           "reconnect.backoff.max.ms": 100, "topic.metadata.refresh.interval.ms": 500}
PARTITIONS = 6


class Shell:
    """A kcat in a group: a process of its own, which can be killed; what it read is parsed as it comes."""

    def __init__(self, broker, group, *settings):
        options = [x for k, v in {**SESSION, "auto.offset.reset": "earliest", "auto.commit.interval.ms": 100}.items()
                   for x in ("-X", "%s=%s" % (k, v))]
        self.process = subprocess.Popen(
            ["kcat", "-E", "-m", "60", "-b", broker.address, *options, *settings, "-u", "-f", "%p %o %s\n", "-G", group, "t"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.read, self.assigned, self.notes, self.rebalances = [], None, [], 0
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.follow, self.listen)]
        for t in self.threads:
            t.start()

    def follow(self):
        for line in self.process.stdout:
            p, offset, value = line.split()
            self.read.append((int(p), int(offset), int(value)))

    def listen(self):
        for line in self.process.stderr:
            self.notes.append(line)
            if "assigned:" in line:
                self.assigned = {int(x.split("[")[1].rstrip("],\n ")) for x in line.split("assigned:")[1].split(",") if "[" in x}
            elif "revoked:" in line:
                self.assigned, self.rebalances = set(), self.rebalances + 1

    def end(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait(30 * SLOW)
        for t in self.threads:
            t.join()
        self.process.stdout.close()
        self.process.stderr.close()


def shares(members):
    """Do they have all partitions, each one of them?"""
    got = [m.assigned for m in members]
    return all(got) and sorted(p for g in got for p in g) == list(range(PARTITIONS))


def produce(broker, numbers):
    p = Producer({"bootstrap.servers": broker.address, "linger.ms": 1})
    for n in numbers:
        p.produce("t", b"%d" % n, partition=n % PARTITIONS)
    assert p.flush(90 * SLOW) == 0


def have(members, numbers):
    return {value for m in members for _, _, value in m.read} >= set(numbers)


@pytest.fixture
def served(brokers):
    b = brokers(SETTINGS).start()
    b.create_topic("t", PARTITIONS)
    return b


class Stills(threading.Thread):
    """with Stills() as still: still.longest is for how many seconds this program, or its machine, stood still meanwhile."""

    def __init__(self):
        super().__init__(daemon=True)
        self.longest, self.over = 0.0, threading.Event()

    def run(self):
        while not self.over.is_set():
            looked = time.monotonic()
            self.over.wait(0.01)
            self.longest = max(self.longest, time.monotonic() - looked)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def kcat_members(served, group, first):
    """True, or None if some records were read again, but sessions may have ended that should not, for which it is enough that the
    machine stands still: who has a partition then begins where the other one committed last."""
    numbers = [range(first + n, first + n + 600) for n in (0, 600, 1200)]
    members = [Shell(served, group, "-X", "partition.assignment.strategy=range") for _ in range(3)]
    try:
        with Stills() as still:
            wait_for(lambda: shares(members), 90, "three shares")
            rebalances = [m.rebalances for m in members[1:]]
            produce(served, numbers[0])
            wait_for(lambda: have(members, numbers[0]), 90, "all records")
            members[0].end(signal.SIGKILL)
            produce(served, numbers[1])
            wait_for(lambda: have(members[1:], numbers[1]), 90, "the others take over")
            served.kill9()
            served.start()
            produce(served, numbers[2])
            wait_for(lambda: have(members[1:], numbers[2]), 90, "they go on after the broker was killed")
        again = [(p, o) for m in members[1:] for (p, o), n in collections.Counter((p, o) for p, o, _ in m.read).items() if n > 1]
        if again and (still.longest > 1 or [m.rebalances for m in members[1:]] != [n + 1 for n in rebalances]):
            return None
        assert not again, "read again: %s" % again[:5]
        return True
    finally:
        for m in members:
            if m.process.poll() is None:
                m.end()


def test_kcat_members_share_and_take_over(served):
    assert any(kcat_members(served, "g%d" % n, 1800 * n) for n in range(5)), "read again each time"


def confluent(broker, **more):
    return Consumer({"bootstrap.servers": broker.address, "group.id": "c", "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "log_level": 0, **SESSION, **more})


class Polling(threading.Thread):
    """A consumer that commits all it has read."""

    def __init__(self, broker, strategy, client_id):
        super().__init__(daemon=True)
        self.consumer = confluent(broker, **{"partition.assignment.strategy": strategy, "client.id": client_id})
        self.assigned, self.read, self.failed, self.over = set(), [], None, threading.Event()
        self.cooperative = strategy == "cooperative-sticky"
        self.consumer.subscribe(["t"], on_assign=self.given, on_revoke=self.taken)
        self.start()

    def given(self, consumer, partitions):
        self.assigned = self.assigned | {p.partition for p in partitions}
        (consumer.incremental_assign if self.cooperative else consumer.assign)(partitions)

    def taken(self, consumer, partitions):
        self.assigned = self.assigned - {p.partition for p in partitions}
        if self.cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def run(self):
        try:
            while not self.over.is_set():
                for m in self.consumer.consume(200, timeout=0.05):
                    if m.error() is None:
                        self.read.append((m.partition(), m.offset(), int(m.value())))
                        self.commit(m)
        except Exception as e:      # pylint: disable=broad-except
            self.failed = e

    def commit(self, m):
        try:
            self.consumer.commit(message=m, asynchronous=m.offset() % 50 != 0)
        except KafkaException:      # a rebalance, or the broker is away: the next one does it
            pass

    def end(self):
        self.over.set()
        self.join(30 * SLOW)
        self.consumer.close()
        assert self.failed is None, self.failed


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_confluent_members_share_and_resume(served, strategy):
    members = [Polling(served, strategy, "c%d" % i) for i in range(3)]
    try:
        wait_for(lambda: shares(members), 90, "three shares")
        produce(served, range(600))
        wait_for(lambda: have(members, range(600)), 90, "all records")
        members.pop(0).end()
        wait_for(lambda: shares(members), 90, "two shares")
        produce(served, range(600, 900))
        wait_for(lambda: have(members, range(600, 900)), 90, "the rest")
        served.kill9()
        served.start()
        produce(served, range(900, 1200))
        wait_for(lambda: have(members, range(900, 1200)), 90, "they go on")
    finally:
        for m in members:
            m.end()
    tps = [TopicPartition("t", p) for p in range(PARTITIONS)]
    c = confluent(served)
    try:
        offsets = [tp.offset for tp in c.committed(tps, timeout=30 * SLOW)]
        assert all(0 < o <= 200 for o in offsets), offsets
    finally:
        c.close()


def test_python_kafka_and_librdkafka_in_one_group(served):
    """Versions mixed: JoinGroup v2 of python-kafka, v5 of librdkafka."""
    if importlib.util.find_spec("kafka") is None:
        pytest.skip("python3-kafka is not installed")
    script = os.path.join(served.folder, "member.py")
    with open(script, "w", encoding="utf-8") as f:
        f.write("""
import sys
from kafka import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
c = KafkaConsumer('t', bootstrap_servers=sys.argv[1], group_id='mixed', auto_offset_reset='earliest', session_timeout_ms=%d,
                  heartbeat_interval_ms=200, auto_commit_interval_ms=100, partition_assignment_strategy=[RangePartitionAssignor],
                  api_version_auto_timeout_ms=60000)
for m in c:
    print(m.partition, m.offset, m.value.decode(), flush=True)
""" % SESSION["session.timeout.ms"])
    members = []
    python = subprocess.Popen([sys.executable, script, served.address], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(python.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        members = [Shell(served, "mixed", "-X", "partition.assignment.strategy=range") for _ in range(2)]
        wait_for(lambda: all(m.assigned for m in members) and sum(len(m.assigned) for m in members) == 4, 90, "shares of three")
        n = 0

        def values():
            return {value for m in members for _, _, value in m.read} | {int(x.split()[2]) for x in list(lines)}

        def each_has_read():
            return lines and all(m.read for m in members)
        while n == 0 or (not each_has_read() and n < 3000):     # sessions are short, and one may just be without its share
            produce(served, range(n, n + 300))
            n += 300
            wait_for(lambda: values() == set(range(n)), 90, "all records")
        assert each_has_read(), "each has its share"
        python.kill()
        python.wait()
        reader.join()
        wait_for(lambda: shares(members), 90, "the two take over")
        produce(served, range(n, n + 300))
        wait_for(lambda: have(members, range(n, n + 300)), 90, "what came later")
    finally:
        if python.poll() is None:
            python.kill()
            python.wait()
        python.stdout.close()
        for m in members:
            m.end()
