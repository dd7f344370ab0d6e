"""message.format.version with inter.broker.protocol.version below 3.0: messages of magic 0 and 1 in the log."""
import gzip
import struct
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import golden
from alterations import set_topic
from batches import batch, decode_sets, heads
from harness import SLOW, Broker
from wire import Wire

FORMATS = {0: "0.9.0", 1: "0.10.2", 2: "2.7"}
UNSUPPORTED_FOR_FORMAT, UNSUPPORTED_COMPRESSION = 43, 76


@pytest.fixture
def old(brokers):
    """A broker that still speaks 2.7 to others."""
    return brokers({"inter.broker.protocol.version": "2.7"}).start()


def create(wire, magic, **configs):
    configs = dict({"message.format.version": FORMATS[magic], "retention.ms": "-1"},
                   **{k.replace("_", "."): v for k, v in configs.items()})
    wire.create("t", configs=configs)


def send(wire, records):
    return wire.produce(9, "t", 0, records)


def records(wire, version=11, offset=0):
    part = wire.fetch(version, "t", 0, offset, max_bytes=1 << 24)["Responses"][0]["Partitions"][0]
    assert part["ErrorCode"] == 0
    return part["Records"]


def unwrap(data):
    """[(magic, attributes, timestamp, offset of the wrapper, messages inside)] of messages with gzip."""
    pos, out = 0, []
    while pos < len(data):
        offset, size = struct.unpack_from(">qi", data, pos)
        magic, attributes = data[pos + 16], data[pos + 17]
        at = pos + (26 if magic == 1 else 18)
        stamp = struct.unpack_from(">q", data, pos + 18)[0] if magic == 1 else -1
        out.append((magic, attributes, stamp, offset, decode_sets(gzip.decompress(data[at + 8:pos + 12 + size]))))
        pos += 12 + size
    return out


@pytest.mark.parametrize("magic", [0, 1])
def test_plain(old, magic):
    with Wire(old.port) as w:
        create(w, magic)
        assert send(w, batch([b"a", b"b"], key=b"k"))["BaseOffset"] == 0
        assert send(w, batch([b"c"]))["BaseOffset"] == 2
        got = decode_sets(records(w))
        assert [(m["offset"], m["magic"], m["key"], m["value"]) for m in got] == \
            [(0, magic, b"k", b"a"), (1, magic, b"k", b"b"), (2, magic, None, b"c")]
        for version in (0, 2, 3):                           # old clients read what they know
            old_magic = 0 if version < 2 else magic
            assert [m["magic"] for m in decode_sets(records(w, version))] == [old_magic] * 3
        listed = w.call("ListOffsets", 5, ReplicaId=-1, Topics=[{"Name": "t", "Partitions": [
            {"PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": 1}]}])["Topics"][0]["Partitions"][0]
        assert listed["ErrorCode"] == (UNSUPPORTED_FOR_FORMAT if magic == 0 else 0)


@pytest.mark.parametrize("magic", [0, 1])
def test_compressed(old, magic):
    """The offsets inside: absolute in magic 0, counted from the first in magic 1."""
    with Wire(old.port) as w:
        create(w, magic, compression_type="gzip")
        for n in (2, 3, 1):
            assert send(w, batch([b"value"] * n, timestamp=1700000000000))["ErrorCode"] == 0
        wrappers = unwrap(records(w))
        assert [(m, a, o) for m, a, _, o, _ in wrappers] == [(magic, 1, 1), (magic, 1, 4), (magic, 1, 5)]
        assert {s for _, _, s, _, _ in wrappers} == {-1 if magic == 0 else 1700000000000}
        inside = [[m["offset"] for m in messages] for _, _, _, _, messages in wrappers]
        assert inside == ([[0, 1], [2, 3, 4], [5]] if magic == 0 else [[0, 1], [0, 1, 2], [0]])
        set_topic(w, "t", message_timestamp_type="LogAppendTime")
        answer = send(w, batch([b"value"]))         # a day of long ago and today: another segment
        assert answer["ErrorCode"] == 0
        assert unwrap(records(w, offset=6))[0][:3] == (magic, 1 if magic == 0 else 9, -1 if magic == 0 else answer["LogAppendTimeMs"])


@pytest.mark.parametrize("magic", [0, 1])
def test_clients_of_today(old, magic):
    """librdkafka writes and reads back; many producers at once, with the codec that makes offsets hard."""
    with Wire(old.port) as w:
        create(w, magic, compression_type="gzip")

    def produce(number):
        p = Producer({"bootstrap.servers": old.address, "linger.ms": 1, "batch.num.messages": 7})
        for i in range(200):
            p.produce("t", b"%d-%d" % (number, i))
            p.poll(0)
        assert p.flush(30 * SLOW) == 0

    threads = [threading.Thread(target=produce, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    c = Consumer({"bootstrap.servers": old.address, "group.id": "g", "enable.auto.commit": False})
    c.assign([TopicPartition("t", 0, 0)])
    got = []
    while len(got) < 1200:
        m = c.poll(60 * SLOW)
        assert m is not None and m.error() is None, len(got)
        got.append((m.offset(), m.value()))
    c.close()
    assert [o for o, _ in got] == list(range(1200))
    for n in range(6):
        assert [v for _, v in got if v.startswith(b"%d-" % n)] == [b"%d-%d" % (n, i) for i in range(200)]
    old.restart()
    with Wire(old.port) as w:
        part = w.fetch(11, "t", 0, 1199)["Responses"][0]["Partitions"][0]
        assert part["HighWatermark"] == 1200 and unwrap(part["Records"])[-1][3] == 1199


@pytest.mark.parametrize("magic", [0, 1])
def test_what_old_messages_cannot_carry(old, magic):
    with Wire(old.port) as w:
        create(w, magic)
        assert send(w, batch([b"a"], producer_id=1, epoch=0, sequence=0))["ErrorCode"] == UNSUPPORTED_FOR_FORMAT
        set_topic(w, "t", compression_type="zstd")
        assert send(w, batch([b"a"]))["ErrorCode"] == UNSUPPORTED_COMPRESSION
        set_topic(w, "t", compression_type=None, message_format_version="2.7")
        assert send(w, batch([b"a"], producer_id=1, epoch=0, sequence=0))["ErrorCode"] == 0


def test_format_changes_at_run_time(old):
    with Wire(old.port) as w:
        create(w, 0)
        n = 0
        for magic in (0, 1, 2, 1, 0, 2):
            set_topic(w, "t", message_format_version=FORMATS[magic])
            assert send(w, batch([b"m%d" % magic]))["BaseOffset"] == n
            part = w.fetch(11, "t", 0, n)["Responses"][0]["Partitions"][0]["Records"]
            assert part[16] == magic
            n += 1
        set_topic(w, "t", message_format_version="2.8")     # above what the brokers speak: the server's holds
        assert send(w, batch([b"x"]))["ErrorCode"] == 0
        assert "message.format.version=2.8 is ignored because inter.broker.protocol.version is 2.7" in old.log()
        assert len(decode_sets(records(w, 0))) >= 6
    assert old.stop() == 0
    old.start()
    with Wire(old.port) as w:
        assert w.fetch(11, "t", 0, 0)["Responses"][0]["Partitions"][0]["HighWatermark"] == 7


def test_the_servers_format_and_a_protocol_of_today(brokers):
    b = brokers({"inter.broker.protocol.version": "2.7", "log.message.format.version": "0.10.2"}).start()
    with Wire(b.port) as w:
        w.create("t", configs={"retention.ms": "-1"})
        send(w, batch([b"a"]))
        assert records(w)[16] == 1
    assert b.stop() == 0
    b.overrides["inter.broker.protocol.version"] = "3.9"
    b.start()
    assert "log.message.format.version" in b.log(this_start=True)
    with Wire(b.port) as w:
        set_topic(w, "t", message_format_version="0.9.0")
        assert "topic t: message.format.version=0.9.0 is ignored" in b.log()
        send(w, batch([b"b"]))
        got = w.fetch(11, "t", 0, 1)["Responses"][0]["Partitions"][0]["Records"]
        assert got[16] == 2 and heads(got)[0][:2] == (1, 1)


def consume(broker, topic, end, **conf):
    """Values by offset, read by a librdkafka that believes in a broker of that age."""
    c = Consumer(dict({"bootstrap.servers": broker.address, "group.id": "g", "enable.auto.commit": False,
                       "check.crcs": True}, **conf))
    c.assign([TopicPartition(topic, 0, 0)])
    got = {}
    while max(got, default=-1) < end - 1:
        m = c.poll(60 * SLOW)
        assert m is not None, (topic, conf, len(got))
        assert m.error() is None, (topic, conf, m.error())
        got[m.offset()] = (m.key(), m.value())
    c.close()
    return got


def test_apache_kafkas_logs_of_the_old_formats(tmp_path):
    """Topics that Apache Kafka 2.7.1 wrote with message.format.version, read by clients of any age: all read the same."""
    if "2.7.1-clean" not in golden.states():
        pytest.skip("no data directories in ../shared/golden beside the checkout")
    state = golden.State("2.7.1-clean", tmp_path)
    b = Broker(tmp_path, state.properties).start()
    names = sorted({t for t, _ in state.partitions() if t.startswith(("v0-", "v1-", "upgrade"))})
    assert len(names) >= 5
    with Wire(b.port) as w:
        for t in names:
            end = w.fetch(11, t, 0, 0)["Responses"][0]["Partitions"][0]["HighWatermark"]
            new = consume(b, t, end)
            for age in ("0.9.0", "0.10.0"):
                old_client = {"api.version.request": False, "broker.version.fallback": age}
                assert consume(b, t, end, **old_client) == new, (t, age)
    assert b.stop() == 0
