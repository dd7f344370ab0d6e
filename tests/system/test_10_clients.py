"""Records through the broker by clients that are not ours: kcat, confluent-kafka (librdkafka), python-kafka."""
import json
import subprocess
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from harness import NO_GROUP, SLOW, Raw, tool, wait_for


def kcat(broker, *args, stdin=None):
    done = subprocess.run(["kcat", "-m", "60", "-b", broker.address, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_kcat_lists_the_broker(broker):
    listing = json.loads(kcat(broker, "-L", "-J"))
    assert [(n["id"], n["name"]) for n in listing["brokers"]] == [(0, broker.address)]
    assert listing["controllerid"] == 0


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_kcat_reads_back_what_it_wrote(broker, codec):
    lines = ["%d:%s" % (i, "word " * (i % 50)) for i in range(2000)]
    kcat(broker, "-P", "-t", "t", "-z", codec, stdin="\n".join(lines).encode())
    got = kcat(broker, "-C", "-t", "t", "-o", "beginning", "-e", "-q")
    assert got.decode().splitlines() == lines


@pytest.mark.parametrize("version", ["0.8.2", "0.9.0", "0.10.0", "0.10.2", "0.11.0", "2.0.0"])
def test_clients_of_old_days(broker, version):
    """Their requests carry message formats 0 and 1; the broker stores format 2 and converts on the way out."""
    old = ["-X", "api.version.request=false", "-X", "broker.version.fallback=" + version]
    lines = ["old %d" % i for i in range(200)]
    for codec in ("none", "gzip", "snappy"):
        kcat(broker, "-P", "-t", "old", "-z", codec, *old, stdin="\n".join(lines).encode())
    assert kcat(broker, "-C", "-t", "old", "-o", "beginning", "-e", "-q", *old).decode().splitlines() == lines * 3
    assert kcat(broker, "-C", "-t", "old", "-o", "beginning", "-e", "-q").decode().splitlines() == lines * 3


def test_headers_keys_nulls_and_timestamps_come_back(broker):
    broker.create_topic("t", retention_ms="-1")           # records of 2020
    p = Producer({"bootstrap.servers": broker.address})
    sent = [
        (b"k", b"v", [("h", b"1"), ("h", b"2"), ("n", None), ("", b"")], 1600000000000),
        (None, b"only a value", [], 1600000000001),
        (b"only a key", None, [], 1600000000002),
        (b"", b"", [], 1600000000003),
    ]
    for key, value, headers, ts in sent:
        p.produce("t", key=key, value=value, headers=headers, timestamp=ts)
    assert p.flush(30 * SLOW) == 0
    got = consume(broker, "t", 0, len(sent))
    assert [(m.key(), m.value(), m.headers() or [], m.timestamp()[1]) for m in got] == sent


def consume(broker, topic, partition, n, start=0):
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP, "check.crcs": True})
    c.assign([TopicPartition(topic, partition, start)])
    got = []
    end = time.monotonic() + 60 * SLOW
    while len(got) < n and time.monotonic() < end:
        got += c.consume(n - len(got), timeout=1)
    c.close()
    assert len(got) == n
    return got


def test_large_records(broker):
    broker.create_topic("big")
    p = Producer({"bootstrap.servers": broker.address, "message.max.bytes": 5000000})
    value = bytes(range(256)) * 3600
    told = []
    p.produce("big", value, on_delivery=lambda e, m: told.append(e))
    p.produce("big", value * 2, on_delivery=lambda e, m: told.append(e))
    p.flush(60 * SLOW)
    assert told[0] is None
    assert told[1].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert consume(broker, "big", 0, 1)[0].value() == value


def test_a_waiting_fetch_is_woken_by_a_produce(broker):
    broker.create_topic("t")
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP, "fetch.wait.max.ms": 5000})
    c.assign([TopicPartition("t", 0, 0)])
    got = []

    def read():
        while not got:
            got.extend(c.consume(1, timeout=0.2))
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    p = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})
    p.produce("t", b"warm")
    assert p.flush(30 * SLOW) == 0
    reader.join(60 * SLOW)
    assert got and got[0].value() == b"warm"
    c.close()


def test_admin_requests(broker):
    a = AdminClient({"bootstrap.servers": broker.address})
    for f in a.create_topics([NewTopic("a", 3, 1, config={"retention.ms": "12345"}), NewTopic("b", 1, 1)]).values():
        f.result(30 * SLOW)
    with pytest.raises(Exception, match="already exists"):
        a.create_topics([NewTopic("a", 1, 1)])["a"].result(30 * SLOW)
    a.create_partitions([NewPartitions("b", 4)])["b"].result(30 * SLOW)
    topics = a.list_topics(timeout=30 * SLOW).topics
    assert (len(topics["a"].partitions), len(topics["b"].partitions)) == (3, 4)
    topic = ConfigResource(ConfigResource.Type.TOPIC, "a")
    settings = a.describe_configs([topic])[topic].result(30 * SLOW)
    assert settings["retention.ms"].value == "12345" and not settings["retention.ms"].is_default
    assert settings["segment.bytes"].value == "1073741824"
    node = ConfigResource(ConfigResource.Type.BROKER, "0")
    assert a.describe_configs([node])[node].result(30 * SLOW)["broker.id"].value == "0"
    a.delete_topics(["a"])["a"].result(30 * SLOW)
    wait_for(lambda: "a" not in a.list_topics(timeout=30 * SLOW).topics)


def test_python_kafka(broker):
    from kafka import KafkaConsumer, KafkaProducer
    from kafka import TopicPartition as TP
    patient = {"api_version_auto_timeout_ms": 60000}        # else it takes who does not answer within 2 s for no broker
    p = KafkaProducer(bootstrap_servers=broker.address, compression_type="gzip", acks="all", **patient)
    for i in range(500):
        p.send("py", key=b"%d" % i, value=b"value %d" % i)
    p.flush(60 * SLOW)
    p.close()
    c = KafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest", consumer_timeout_ms=60000 * SLOW,
                      enable_auto_commit=False, **patient)
    c.assign([TP("py", 0)])
    c.seek_to_beginning()
    got = []
    for m in c:
        got.append(m.value)
        if len(got) == 500:
            break
    c.close()
    assert got == [b"value %d" % i for i in range(500)]


def test_offsets_by_time_and_deleted_records(brokers):
    broker = brokers({"log.initial.task.delay.ms": "300", "log.retention.check.interval.ms": "300"}).start()
    broker.create_topic("t", segment_bytes=20000)
    p = Producer({"bootstrap.servers": broker.address, "batch.num.messages": 10})
    now = int(time.time() * 1000) - 1000000
    for i in range(1000):
        p.produce("t", b"x" * 100, timestamp=now + i * 10)
        p.poll(0)
    assert p.flush(60 * SLOW) == 0
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP})
    for i in (0, 1, 499, 999):
        found = c.offsets_for_times([TopicPartition("t", 0, now + i * 10)], timeout=30 * SLOW)
        assert found[0].offset == i
    assert c.offsets_for_times([TopicPartition("t", 0, now + 100000)], timeout=30 * SLOW)[0].offset in (-1, 1000)
    c.close()
    path = broker.folder + "/delete.json"
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 700}]}, f)
    out = tool("kafka-delete-records.sh", "--bootstrap-server", broker.address, "--offset-json-file", path).stdout
    assert "700" in out
    assert broker.tool("kafka-get-offsets.sh", "--topic", "t", "--time", "-2").stdout.strip() == "t:0:700"
    assert consume(broker, "t", 0, 300, start=700)[0].offset() == 700
    wait_for(lambda: min(f for f in broker.files("t-0") if f.endswith(".log")) > "00000000000000000000.log",
             what="segments below the log start go")


def test_it_all_survives_a_restart(broker):
    lines = b"\n".join(b"line %d" % i for i in range(1000))
    kcat(broker, "-P", "-t", "t", stdin=lines)
    broker.restart()
    assert kcat(broker, "-C", "-t", "t", "-o", "beginning", "-e", "-q").rstrip(b"\n") == lines


def test_thousands_of_connections(broker):
    """W13; and an idle one costs little."""
    with Raw(broker) as c:
        c.call(18, 0, b"")
    before = broker.rss_kb()
    many = []
    try:
        for _ in range(1000):
            many.append(Raw(broker))
            many[-1].call(18, 0, b"")       # so that no more than one waits to be accepted
        if SLOW == 1:
            assert (broker.rss_kb() - before) / len(many) < 16
        assert kcat(broker, "-L")
    finally:
        for c in many:
            c.sock.close()
