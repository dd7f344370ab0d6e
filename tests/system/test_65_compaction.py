"""Compacted topics: what a consumer reads is the last value of each key, at its offset, whatever happens to the broker.

The cleaner looks every 50 ms and segments are small, so that many cleanings run while records come in. How far a
partition is compacted is read from the broker's checkpoint.
"""
import os
import random

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness import NO_GROUP, SLOW, wait_for

TOPIC = "compacted"
OFTEN = {"log.cleaner.backoff.ms": "50", "log.cleaner.threads": "2", "log.segment.delete.delay.ms": "100"}
COMPACT = {"cleanup.policy": "compact", "segment.bytes": "20000", "min.cleanable.dirty.ratio": "0.01"}


def make_topic(broker, config=None):
    admin = AdminClient({"bootstrap.servers": broker.address})
    made = admin.create_topics([NewTopic(TOPIC, 1, 1, config=dict(COMPACT, **(config or {})))])
    made[TOPIC].result(20 * SLOW)


class Model:
    """What was acknowledged: offset -> (key, value)."""

    def __init__(self, broker, seed):
        self.broker = broker
        self.rng = random.Random(seed)
        self.at = {}
        self.newest = {}                # key -> the last number
        self.somewhere = []             # (number, key, value) of records whose offset nobody was told
        self.number = self.acknowledged = 0

    def produce(self, count, codec="none"):
        p = Producer({"bootstrap.servers": self.broker.address, "acks": "all", "compression.type": codec, "linger.ms": 1,
                      "batch.num.messages": 20, "message.timeout.ms": 300000, "reconnect.backoff.max.ms": 100,
                      "enable.idempotence": self.rng.random() < 0.5, "log_level": 0})
        for _ in range(count):
            key = b"k%d" % self.rng.randrange(50)
            value = None if self.rng.random() < 0.1 else b"%d:" % self.number + b"x" * self.rng.randrange(10, 200)
            self.newest[key] = self.number
            p.produce(TOPIC, value, key, partition=0, on_delivery=self.told(key, value, self.number))
            self.number += 1
            p.poll(0)
        return p

    def told(self, key, value, number=None):
        def delivered(err, msg):
            assert err is None, err
            self.acknowledged += 1
            if msg.offset() is None:
                self.somewhere.append((number, key, value))
            else:
                self.at[msg.offset()] = (key, value)
        return delivered

    def find(self, got):
        """Where those are that were acknowledged without an offset: librdkafka's idempotent producer reports so what was written
        by a request that it had no answer to. Such a producer keeps the order, so the last record of a key is still there."""
        for number, key, value in self.somewhere:
            if self.newest[key] == number:
                known = max((o for o, kv in self.at.items() if kv[0] == key), default=-1)
                found = [o for o, kv in got.items() if kv == (key, value) and o > known]
                assert found, "the last record of %r, acknowledged without an offset, is gone" % key
                self.at[max(found)] = (key, value)
        self.somewhere.clear()

    def expected(self, compacted_to):
        """What is left when all below that offset is compacted and no tombstone is gone."""
        last = {}
        for offset in sorted(self.at):
            if offset < compacted_to:
                last[self.at[offset][0]] = offset
        return {o: kv for o, kv in self.at.items() if o >= compacted_to or last[kv[0]] == o}


def read_all(broker):
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP, "enable.auto.commit": False, "enable.partition.eof": True,
                  "auto.offset.reset": "earliest", "check.crcs": True})
    out = {}
    try:
        c.assign([TopicPartition(TOPIC, 0, 0)])
        while True:
            msg = c.poll(60 * SLOW)
            assert msg is not None
            if msg.error() is not None:
                assert msg.error().code() == KafkaError._PARTITION_EOF, msg.error()     # pylint: disable=protected-access
                return out
            assert msg.offset() not in out
            out[msg.offset()] = (msg.key(), msg.value())
    finally:
        c.close()


def compacted_to(broker, data=None):
    try:
        with open(os.path.join(data or broker.data, "cleaner-offset-checkpoint"), encoding="ascii") as f:
            rows = [line.split() for line in f.read().splitlines()[2:]]
    except FileNotFoundError:
        return 0
    return next((int(r[2]) for r in rows if r[:2] == [TOPIC, "0"]), 0)


def last_segment(broker):
    names = [n for n in os.listdir(os.path.join(broker.data, TOPIC + "-0")) if n.endswith(".log")]
    return max(int(n[:20]) for n in names)


def wait_compacted(broker):
    """Until all that can be compacted is; the offset where that ends."""
    def done():
        return last_segment(broker) > 0 and compacted_to(broker) == last_segment(broker)
    wait_for(done, 90, "compacted")
    return compacted_to(broker)


def no_leftovers(broker):
    """Files of replaced segments go, and none of the cleaner's own stays."""
    folder = os.path.join(broker.data, TOPIC + "-0")
    wait_for(lambda: not [n for n in os.listdir(folder) if n.endswith((".deleted", ".swap", ".cleaned"))], 30, "no leftovers")


def test_the_last_value_of_each_key_is_left(brokers):
    broker = brokers(OFTEN).start()
    make_topic(broker)
    model = Model(broker, 1)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        model.produce(1500, codec).flush(60 * SLOW)
        end = wait_compacted(broker)
        assert read_all(broker) == model.expected(end)
    no_leftovers(broker)
    before = end
    assert broker.stop() == 0
    broker.start()
    assert compacted_to(broker) == before
    assert read_all(broker) == model.expected(before)


def test_tombstones_go_when_their_time_is_over(brokers):
    broker = brokers(OFTEN).start()
    make_topic(broker, {"delete.retention.ms": "0"})
    model = Model(broker, 2)
    model.produce(1500).flush(60 * SLOW)
    # Each cleaning that finds a tombstone for the second time takes it away.
    for _ in range(3):
        model.produce(300).flush(60 * SLOW)
        wait_compacted(broker)
    end = wait_compacted(broker)
    left = {o: kv for o, kv in model.expected(end).items() if kv[1] is not None or o >= end}
    got = {o: kv for o, kv in read_all(broker).items() if kv[1] is not None or o >= end}
    assert got == left
    assert len(read_all(broker)) < len(model.expected(0))


def test_a_topic_that_is_compacted_from_now_on_and_then_no_more(brokers):
    broker = brokers(OFTEN).start()
    make_topic(broker, {"cleanup.policy": "delete"})
    model = Model(broker, 3)
    model.produce(1500).flush(60 * SLOW)
    assert read_all(broker) == model.at
    admin = AdminClient({"bootstrap.servers": broker.address})
    alter(admin, "compact")
    end = wait_compacted(broker)
    assert read_all(broker) == model.expected(end)
    alter(admin, "delete")
    model.produce(1500).flush(60 * SLOW)
    assert read_all(broker) == model.expected(end)
    assert compacted_to(broker) == end


def alter(admin, policy):
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC, set_config=dict(COMPACT, **{"cleanup.policy": policy}))
    for f in admin.alter_configs([resource]).values():
        f.result(20 * SLOW)


def test_compact_and_delete(brokers):
    broker = brokers(dict(OFTEN, **{"log.retention.check.interval.ms": "100", "log.initial.task.delay.ms": "100"})).start()
    make_topic(broker, {"cleanup.policy": "compact,delete", "retention.bytes": "30000", "retention.ms": "-1"})
    model = Model(broker, 4)
    # Keys enough that what compaction leaves is still more than retention.bytes.
    p = Producer({"bootstrap.servers": broker.address, "acks": "all", "batch.num.messages": 20, "linger.ms": 1})
    for i in range(3000):
        key, value = b"key %d" % (i % 1000), b"%d " % i + b"y" * 100
        p.produce(TOPIC, value, key, partition=0, on_delivery=model.told(key, value))
        p.poll(0)
    p.flush(60 * SLOW)
    folder = os.path.join(broker.data, TOPIC + "-0")

    def sizes():
        """Of the segments, the oldest first; none if one has gone since it was listed."""
        try:
            return [os.path.getsize(os.path.join(folder, n)) for n in sorted(os.listdir(folder)) if n.endswith(".log")]
        except FileNotFoundError:
            return []

    def settled():
        """Nothing is left to do: what follows the oldest segment is less than retention.bytes."""
        found = sizes()
        return len(found) > 0 and sum(found[1:]) < 30000 and compacted_to(broker) == last_segment(broker) and found == sizes()
    wait_for(settled, 90, "retention and compaction ran")
    got = read_all(broker)
    first = min(got)
    assert first > 0
    assert got == {o: kv for o, kv in model.expected(compacted_to(broker)).items() if o >= first}


def test_kill9_in_the_midst_of_compaction(brokers):
    rounds = int(os.environ.get("KILL_ROUNDS", "8"))
    broker = brokers(dict(OFTEN, **{"log.cleaner.backoff.ms": "0"})).start()
    make_topic(broker)
    model = Model(broker, 5)
    for i in range(rounds):
        # Somewhere between the first record of this round and the end of its compaction.
        reached = model.acknowledged + model.rng.randrange(1200)
        p = model.produce(1200)
        wait_for(lambda: p.poll(0.001) is not None and model.acknowledged >= reached, 90, "acknowledged")
        if i % 2 == 1:
            p.flush(60 * SLOW)
        broker.kill9()
        broker.start()
        p.flush(60 * SLOW)
        wait_compacted(broker)
        got = read_all(broker)
        model.find(got)
        # A producer without idempotence may have written a record twice: the one that was acknowledged is the later.
        last = {kv[0]: o for o, kv in sorted(model.at.items())}
        for key, offset in last.items():
            assert got.get(offset) == model.at[offset], "round %d: the last record of %r, at %d" % (i, key, offset)
        assert [o for o in got if o in model.at and got[o] != model.at[o]] == []
    no_leftovers(broker)
