"""What each property of a topic does, set while the broker runs: seen by clients, and in the files."""
import glob
import os
import struct
import time

import pytest
from confluent_kafka import KafkaException, Producer

from alterations import set_topic, settings
from batches import batch, heads
from harness import SLOW, wait_for
from wire import Wire

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TOO_LARGE, INVALID_TIMESTAMP, UNSUPPORTED_VERSION, NOT_ENOUGH_REPLICAS = 10, 32, 35, 19


@pytest.fixture
def wire(broker):
    with Wire(broker.port) as w:
        w.create("t", configs={"retention.ms": "-1"})
        yield w


def produce(broker, values, codec="none", **conf):
    """By librdkafka. One batch, if it can be. [(offset, timestamp type, timestamp)]"""
    done = []
    p = Producer(dict({"bootstrap.servers": broker.address, "compression.type": codec, "linger.ms": 50,
                       "message.send.max.retries": 0}, **conf))
    for v in values:
        p.produce("t", v, on_delivery=lambda err, m: done.append(err or (m.offset(),) + m.timestamp()))
    assert p.flush(60 * SLOW) == 0
    return done


def fetched(wire, offset=0):
    return wire.fetch(11, "t", 0, offset, max_bytes=1 << 24)["Responses"][0]["Partitions"][0]


def batches_of(wire, offset=0):
    """[(base offset, last offset, size, attributes, magic)] of what a raw fetch gives."""
    data, pos, out = fetched(wire, offset)["Records"], 0, []
    for base, last, size in heads(data):
        out.append((base, last, size, struct.unpack_from(">h", data, pos + 21)[0], data[pos + 16]))
        pos += size
    return out


def send(wire, records, acks=1):
    return wire.produce(9, "t", 0, records, acks=acks)


TEXT = [b"value %05d " % i * 20 for i in range(200)]


@pytest.mark.parametrize("wanted", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
def test_batches_are_recompressed(broker, wire, wanted):
    set_topic(wire, "t", compression_type=wanted)
    n = 0
    for sent in ("none", "gzip", "zstd", "snappy"):         # librdkafka has no lz4 for brokers without groups
        assert [d[0] for d in produce(broker, TEXT, sent)] == list(range(n, n + len(TEXT)))
        n += len(TEXT)
    got = batches_of(wire)
    assert sum(last - base + 1 for base, last, _, _, _ in got) == n
    assert {attributes & 7 for _, _, _, attributes, _ in got} == {CODECS["none" if wanted == "uncompressed" else wanted]}
    set_topic(wire, "t", compression_type=None)             # as the producer sends them, again
    produce(broker, TEXT, "zstd")
    assert batches_of(wire, n)[0][3] & 7 == CODECS["zstd"]


@pytest.mark.parametrize("codec,weak,strong", [("gzip", "1", "9"), ("lz4", "1", "17"), ("zstd", "-50", "19")])
def test_levels(broker, wire, codec, weak, strong):
    """The same records, in one batch: a higher level makes it smaller."""
    values = [os.urandom(8).hex().encode() + b"some text that is always the same" * (i % 7) for i in range(400)]
    sizes = []
    for level in (weak, strong):
        set_topic(wire, "t", compression_type=codec, **{"compression_%s_level" % codec: level})
        answer = send(wire, batch(values))
        assert answer["ErrorCode"] == 0
        [(_, _, size, attributes, _)] = batches_of(wire, answer["BaseOffset"])
        assert attributes & 7 == CODECS[codec]
        sizes.append(size)
    assert sizes[1] < sizes[0], sizes


def test_timestamp_type(broker, wire):
    [(_, kind, stamp)] = produce(broker, [b"a"])
    assert kind == 1                                        # CreateTime
    set_topic(wire, "t", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    answer = send(wire, batch([b"b", b"c"], timestamp=5))
    assert before <= answer["LogAppendTimeMs"] <= int(time.time() * 1000)
    [(_, _, _, attributes, _)] = batches_of(wire, 1)
    assert attributes & 8
    data = fetched(wire, 1)["Records"]
    assert struct.unpack_from(">q", data, 35)[0] == answer["LogAppendTimeMs"]
    set_topic(wire, "t", message_timestamp_type="CreateTime")
    assert send(wire, batch([b"d"], timestamp=5))["LogAppendTimeMs"] == -1
    assert batches_of(wire, 3)[0][3] & 8 == 0


def test_timestamp_limits(wire):
    """before and after; where they are not given, the older difference for both."""
    now = int(time.time() * 1000)
    hour = 3600000

    def allowed():
        return [send(wire, batch([b"x"], timestamp=now + d))["ErrorCode"] in (0,) for d in (-2 * hour, -hour // 2, hour // 2,
                                                                                           2 * hour)]

    assert allowed() == [True] * 4
    set_topic(wire, "t", message_timestamp_before_max_ms=str(hour))
    assert allowed() == [False, True, True, True]
    set_topic(wire, "t", message_timestamp_after_max_ms=str(hour))
    assert allowed() == [False, True, True, False]
    set_topic(wire, "t", message_timestamp_before_max_ms=None, message_timestamp_after_max_ms=None)
    assert allowed() == [True] * 4
    set_topic(wire, "t", message_timestamp_difference_max_ms=str(hour))
    assert allowed() == [False, True, True, False]
    set_topic(wire, "t", message_timestamp_after_max_ms=str(3 * hour))
    assert allowed() == [False, True, True, True]
    assert send(wire, batch([b"x"], timestamp=now - 2 * hour))["ErrorCode"] == INVALID_TIMESTAMP


def test_the_servers_older_limit_counts_for_topics(brokers):
    """As Apache Kafka: it becomes the topics' default of both limits, and a topic's own difference is below those."""
    b = brokers({"log.message.timestamp.difference.max.ms": "3600000"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"message.timestamp.difference.max.ms": "36000000", "retention.ms": "-1"})
        old = int(time.time() * 1000) - 7200000
        assert send(w, batch([b"x"], timestamp=old))["ErrorCode"] == INVALID_TIMESTAMP
        set_topic(w, "t", message_timestamp_before_max_ms="36000000")
        assert send(w, batch([b"x"], timestamp=old))["ErrorCode"] == 0


def test_message_size(broker, wire):
    assert send(wire, batch([b"x" * 5000]))["ErrorCode"] == 0
    set_topic(wire, "t", max_message_bytes="1000")
    assert send(wire, batch([b"x" * 5000]))["ErrorCode"] == TOO_LARGE
    assert send(wire, batch([b"x" * 500]))["ErrorCode"] == 0
    p = Producer({"bootstrap.servers": broker.address})
    errors = []
    p.produce("t", b"x" * 5000, on_delivery=lambda err, _: errors.append(err))
    p.flush(60 * SLOW)
    assert errors[0] is not None and errors[0].name() == "MSG_SIZE_TOO_LARGE"
    set_topic(wire, "t", max_message_bytes=None)
    assert send(wire, batch([b"x" * 5000]))["ErrorCode"] == 0


def test_min_insync_replicas(wire):
    """Never more than there are replicas: with one, nothing is refused. The setting is kept and shown."""
    set_topic(wire, "t", min_insync_replicas="2")
    assert settings(wire, "t")["min.insync.replicas"] == "2"
    assert send(wire, batch([b"x"]), acks=-1)["ErrorCode"] == 0


def test_down_conversion(wire):
    assert send(wire, batch([b"x"]))["ErrorCode"] == 0

    def old():
        part = wire.fetch(2, "t", 0, 0)["Responses"][0]["Partitions"][0]
        return part["ErrorCode"], bool(part["Records"])

    assert old() == (0, True)
    set_topic(wire, "t", message_downconversion_enable="false")
    assert old() == (UNSUPPORTED_VERSION, False)
    assert fetched(wire)["ErrorCode"] == 0
    set_topic(wire, "t", message_downconversion_enable="true")
    assert old() == (0, True)


def logs(broker):
    return sorted(int(os.path.basename(f)[:20]) for f in glob.glob(os.path.join(broker.data, "t-0", "*.log")))


def test_segments(broker, wire):
    """Size, age and index limits of segments hold from the next append on."""
    one = batch([b"x" * 400])
    for _ in range(4):
        assert send(wire, one)["ErrorCode"] == 0
    assert logs(broker) == [0]
    set_topic(wire, "t", segment_bytes="1000")
    for _ in range(4):
        send(wire, one)
    assert logs(broker) == [0, 4, 6]
    set_topic(wire, "t", segment_bytes=None, segment_ms="1")
    send(wire, batch([b"y"], timestamp=1700000000000))
    send(wire, batch([b"y"], timestamp=1700000000005))
    assert logs(broker)[-1] == 9
    set_topic(wire, "t", segment_ms=None, segment_index_bytes="16", index_interval_bytes="0")
    for _ in range(5):
        send(wire, one)
    assert len(logs(broker)) >= 6
    set_topic(wire, "t", segment_index_bytes=None, index_interval_bytes=None)
    n = len(logs(broker))
    for _ in range(5):
        send(wire, one)
    assert len(logs(broker)) <= n + 1


def test_index_interval(broker, wire):
    def entries():
        """Of the offset index of the segment that has just been ended."""
        n = len(logs(broker))
        set_topic(wire, "t", segment_bytes="1000")
        send(wire, batch([b"x"]))
        set_topic(wire, "t", segment_bytes=None)
        wait_for(lambda: len(logs(broker)) == n + 1)
        return os.path.getsize(os.path.join(broker.data, "t-0", "%020d.index" % logs(broker)[-2])) // 8

    set_topic(wire, "t", index_interval_bytes="1000000")
    for _ in range(20):
        send(wire, batch([b"x" * 100]))
    assert entries() == 0
    set_topic(wire, "t", index_interval_bytes="0")
    for _ in range(20):
        send(wire, batch([b"x" * 100]))
    assert entries() >= 19


def test_retention(brokers):
    """By size and by time, as it is set at the moment of the run; files go file.delete.delay.ms later."""
    b = brokers({"log.retention.check.interval.ms": "100", "log.initial.task.delay.ms": "100"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1", "segment.bytes": "1000", "file.delete.delay.ms": "3600000"})
        for _ in range(10):
            assert send(w, batch([b"x" * 600]))["ErrorCode"] == 0
        assert len(logs(b)) == 10
        set_topic(w, "t", retention_bytes="2000")
        wait_for(lambda: len(logs(b)) <= 4, what="retention by size")
        assert glob.glob(os.path.join(b.data, "t-0", "*.log.deleted"))
        set_topic(w, "t", file_delete_delay_ms="0", retention_bytes=None, retention_ms="1")
        wait_for(lambda: logs(b) and logs(b)[0] >= 9, what="retention by time")
        left = fetched(w, 10)
        assert left["LogStartOffset"] >= 9
        set_topic(w, "t", retention_ms="-1", cleanup_policy="compact")
        assert send(w, batch([b"x"]))["ErrorCode"] != 0     # no key
        assert send(w, batch([b"x"], key=b"k"))["ErrorCode"] == 0


def test_a_client_sees_the_refusal(broker, wire):
    """kafka-python and the like show the text: librdkafka's admin client does."""
    from confluent_kafka.admin import AdminClient, ConfigResource
    admin = AdminClient({"bootstrap.servers": broker.address})
    [f] = admin.alter_configs([ConfigResource("topic", "t", {"retention.ms": "5", "segment.ms": "10"})]).values()
    assert f.result(20 * SLOW) is None
    assert settings(wire, "t") == {"retention.ms": "5", "segment.ms": "10"}
    [f] = admin.alter_configs([ConfigResource("topic", "t", {"retention.ms": "soon"})]).values()
    with pytest.raises(KafkaException) as e:
        f.result(20 * SLOW)
    assert e.value.args[0].name() == "INVALID_CONFIG" and "Not a number of type LONG" in e.value.args[0].str()
    assert settings(wire, "t") == {"retention.ms": "5", "segment.ms": "10"}
