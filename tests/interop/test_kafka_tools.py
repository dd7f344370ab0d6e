"""What somebody does who has an Apache Kafka 3.9.1 distribution and points its tools at Klamm."""
import json
import os
import re

import pytest
from confluent_kafka import Producer

from harness import SLOW

TEXTS = ["plain", "", "  blanks  ", "Grüße, Привет, 你好", "x" * 5000]


def at(broker):
    return ("--bootstrap-server", broker.address)


def test_topics(broker, peer):
    peer("kafka-topics", *at(broker), "--create", "--topic", "t", "--partitions", "3", "--config", "retention.ms=12345")
    assert peer("kafka-topics", *at(broker), "--list").stdout.split() == ["t"]
    described = peer("kafka-topics", *at(broker), "--describe", "--topic", "t").stdout
    assert re.search(r"Topic: t\s+TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention.ms=12345",
                     described), described
    assert re.search(r"Partition: 2\s+Leader: 0\s+Replicas: 0\s+Isr: 0", described), described
    ours = broker.tool("kafka-topics.sh", "--describe", "--topic", "t").stdout
    assert ours.split() == described.split()
    peer("kafka-topics", *at(broker), "--alter", "--topic", "t", "--partitions", "5")
    fewer = peer("kafka-topics", *at(broker), "--alter", "--topic", "t", "--partitions", "2", check=False)
    assert fewer.returncode == 1 and "5" in fewer.stdout + fewer.stderr
    again = peer("kafka-topics", *at(broker), "--create", "--topic", "t", check=False)
    assert again.returncode == 1 and "already exists" in again.stdout + again.stderr
    peer("kafka-topics", *at(broker), "--delete", "--topic", "t")
    assert peer("kafka-topics", *at(broker), "--list").stdout.split() == []


def test_console_producer_and_consumer(broker, peer):
    """The producer of 3.9 is idempotent and zero-copy compresses nothing by default; both consumers give the lines back."""
    peer("kafka-console-producer", *at(broker), "--topic", "t", stdin="\n".join(TEXTS) + "\n")
    ours = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--max-messages", str(len(TEXTS)))
    assert ours.stdout.split("\n")[:-1] == TEXTS
    theirs = peer("kafka-console-consumer", *at(broker), "--topic", "t", "--partition", "0", "--offset", "earliest",
                  "--max-messages", str(len(TEXTS)))
    assert theirs.stdout.split("\n")[:-1] == TEXTS


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_console_producer_with_each_codec(broker, peer, codec):
    lines = ["%s %d" % (codec, i) for i in range(1000)]
    peer("kafka-console-producer", *at(broker), "--topic", "t", "--compression-codec", codec, stdin="\n".join(lines) + "\n")
    ours = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--max-messages", "1000")
    assert ours.stdout.split("\n")[:-1] == lines


def test_keys_and_headers(broker, peer):
    broker.create_topic("t", partitions=7)
    lines = ["h:v,i:w\tkey%d\tvalue %d" % (i, i) for i in range(20)]
    peer("kafka-console-producer", *at(broker), "--topic", "t", "--property", "parse.key=true",
         "--property", "parse.headers=true", stdin="\n".join(lines) + "\n")
    got = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--max-messages", "20",
                      "--property", "print.key=true", "--property", "print.headers=true",
                      "--property", "print.partition=true").stdout
    theirs = {}
    for line in got.splitlines():
        partition, headers, key, value = re.fullmatch(r"Partition:(\d+)\t(.*)\t(.*)\t(.*)", line).groups()
        theirs[key] = partition
        assert (headers, value) == ("h:v,i:w", "value " + key[3:])
    assert len(theirs) == 20
    broker.create_topic("ours", partitions=7)               # W4: where a Java producer would have put them
    broker.tool("kafka-console-producer.sh", "--topic", "ours", "--property", "parse.key=true",
                stdin="".join("key%d\tv\n" % i for i in range(20)))
    got = broker.tool("kafka-console-consumer.sh", "--topic", "ours", "--from-beginning", "--max-messages", "20",
                      "--property", "print.key=true", "--property", "print.partition=true").stdout
    ours = {}
    for line in got.splitlines():
        partition, key, _ = re.fullmatch(r"Partition:(\d+)\t(.*)\t(.*)", line).groups()
        ours[key] = partition
    assert ours == theirs


def fill(broker, topic, n):
    """Into a topic that keeps records for ever: their timestamps lie in 2023."""
    p = Producer({"bootstrap.servers": broker.address, "batch.num.messages": 10, "enable.idempotence": True})
    for i in range(n):
        p.produce(topic, b"%d" % i + b"x" * 100, partition=0, timestamp=1700000000000 + i * 1000)
    assert p.flush(20 * SLOW) == 0


def test_get_offsets(broker, peer):
    broker.create_topic("t", partitions=2, retention_ms=-1)
    fill(broker, "t", 100)
    for when, want in (("-1", 100), ("-2", 0), ("-3", 99), ("latest", 100), ("earliest", 0), ("max-timestamp", 99),
                       ("1700000050000", 50)):
        out = peer("kafka-get-offsets", *at(broker), "--topic", "t", "--partitions", "0", "--time", when).stdout
        assert out.strip() == "t:0:%d" % want, when
        assert broker.tool("kafka-get-offsets.sh", "--topic", "t", "--partitions", "0", "--time", when).stdout == out


def test_delete_records(broker, peer, tmp_path):
    broker.create_topic("t", retention_ms=-1)
    fill(broker, "t", 100)
    path = tmp_path / "delete.json"
    path.write_text(json.dumps({"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 40}]}))
    out = peer("kafka-delete-records", *at(broker), "--offset-json-file", str(path)).stdout
    assert re.search(r"partition: t-0\s+low_watermark: 40", out), out
    assert broker.tool("kafka-get-offsets.sh", "--topic", "t", "--time", "-2").stdout.strip() == "t:0:40"
    path.write_text(json.dumps({"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 1000}]}))
    out = peer("kafka-delete-records", *at(broker), "--offset-json-file", str(path), check=False)
    assert "OffsetOutOfRange" in out.stdout + out.stderr or "not within the range" in out.stdout + out.stderr, out


def test_log_dirs(broker, peer):
    broker.create_topic("t", partitions=2, retention_ms=-1)
    fill(broker, "t", 100)
    out = peer("kafka-log-dirs", *at(broker), "--describe", "--topic-list", "t").stdout
    described = json.loads(out.splitlines()[-1])
    log_dirs = described["brokers"][0]["logDirs"]
    assert [d["logDir"] for d in log_dirs] == [broker.data]
    sizes = {p["partition"]: p["size"] for p in log_dirs[0]["partitions"]}
    on_disk = sum(os.path.getsize(os.path.join(broker.data, "t-0", f)) for f in broker.files("t-0") if f.endswith(".log"))
    assert sizes == {"t-0": on_disk, "t-1": 0}


def test_broker_api_versions(broker, peer):
    theirs = peer("kafka-broker-api-versions", *at(broker)).stdout
    assert "UNKNOWN" not in theirs
    assert re.search(r"Produce\(0\): 0 to 11 \[usable: 11\]", theirs), theirs
    assert re.search(r"Fetch\(1\): 0 to 1[67] \[usable: 1[67]\]", theirs), theirs
    ours = broker.tool("kafka-broker-api-versions.sh").stdout
    want = re.findall(r"(\w+\(\d+\): \d+ to \d+)", theirs)
    assert want and re.findall(r"(\w+\(\d+\): \d+ to \d+)", ours) == want


def test_describe_configs(broker, peer):
    """Every property of the broker, with the types, sources and synonyms that the Java client understands."""
    out = peer("kafka-configs", *at(broker), "--describe", "--all", "--entity-type", "brokers", "--entity-name", "0").stdout
    values = dict(re.findall(r"^  ([a-zA-Z0-9.]+)=(\S*) sensitive=", out, re.M))
    assert len(values) > 300
    assert values["num.io.threads"] == "8" and values["log.dirs"] == broker.data and values["zookeeper.connect"] == "null"
    assert "synonyms={STATIC_BROKER_CONFIG:broker.id=0, DEFAULT_CONFIG:broker.id=-1}" in out
    assert re.search(r"sasl.jaas.config=null sensitive=true", out)
    broker.create_topic("t", retention_ms=5)
    out = peer("kafka-configs", *at(broker), "--describe", "--all", "--entity-type", "topics", "--entity-name", "t").stdout
    assert "retention.ms=5 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5" in out


def test_dump_log_reads_our_files(broker, peer):
    broker.create_topic("t", retention_ms=-1, segment_bytes=4000, index_interval_bytes=500)
    fill(broker, "t", 200)
    assert broker.stop() == 0
    folder = os.path.join(broker.data, "t-0")
    files = [os.path.join(folder, f) for f in broker.files("t-0") if f.endswith((".log", ".index", ".timeindex", ".snapshot"))]
    assert len([f for f in files if f.endswith(".log")]) > 3
    out = peer("kafka-dump-log", "--deep-iteration", "--print-data-log", "--files", ",".join(files)).stdout
    assert "Found timestamp mismatch" not in out and "Mismatches in" not in out and "isvalid: false" not in out
    assert re.findall(r"\| offset: (\d+) ", out) == [str(i) for i in range(200)]
    broker.start()


def test_producer_performance(broker, peer):
    broker.create_topic("t")
    out = peer("kafka-producer-perf-test", "--topic", "t", "--num-records", "50000", "--record-size", "200",
               "--throughput", "-1", "--producer-props", "bootstrap.servers=" + broker.address, "acks=all",
               "compression.type=lz4").stdout
    assert "50000 records sent" in out
    assert broker.tool("kafka-get-offsets.sh", "--topic", "t").stdout.strip() == "t:0:50000"
