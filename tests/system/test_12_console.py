"""What a new user does: our console producer in one window, our console consumer in the other (W2, W4)."""
import subprocess
import threading

from confluent_kafka import Consumer, TopicPartition

from harness import BIN, NO_GROUP, SLOW, tool, wait_for

def test_lines_typed_here_appear_there(broker):
    """With the names and options of the guides; the topic does not exist yet, the consumer starts first."""
    consumer = subprocess.Popen([BIN + "/kafka-console-consumer.sh", "--bootstrap-server", broker.address, "--topic", "t",
                                 "--from-beginning"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    got = []
    reader = threading.Thread(target=lambda: got.extend(iter(consumer.stdout.readline, "")), daemon=True)
    reader.start()
    producer = subprocess.Popen([BIN + "/kafka-console-producer.sh", "--broker-list", broker.address, "--topic", "t"],
                                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        for i in range(5):
            producer.stdin.write("line %d\n" % i)
            producer.stdin.flush()
            wait_for(lambda i=i: len(got) > i, within=30, what="line %d appears" % i)
        assert got == ["line %d\n" % i for i in range(5)]
        producer.stdin.close()
        assert producer.wait(30 * SLOW) == 0
    finally:
        producer.kill()
        consumer.terminate()
        consumer.wait(30 * SLOW)


def test_keys_go_where_java_would_put_them(broker):
    """Murmur2 of the key, modulo partitions; the numbers were taken from Java's client."""
    broker.create_topic("t", partitions=7)
    keys = ["key%d" % i for i in range(40)]
    tool("kafka-console-producer.sh", "--bootstrap-server", broker.address, "--topic", "t", "--property", "parse.key=true",
         "--property", "key.separator=:", stdin="".join("%s:v\n" % k for k in keys))
    c = Consumer({"bootstrap.servers": broker.address, **NO_GROUP})
    c.assign([TopicPartition("t", p, 0) for p in range(7)])
    where = {}

    def all_there():
        for m in c.consume(50, timeout=0.2):
            where[m.key().decode()] = m.partition()
        return len(where) == len(keys)
    wait_for(all_there, what="every key is read back")
    c.close()
    assert where == {k: java_partition(k.encode(), 7) for k in keys}


def java_partition(key, partitions):
    """Java's murmur2 as its client uses it, written from the algorithm's definition."""
    m, mask = 0x5bd1e995, 0xffffffff
    h = 0x9747b28c ^ len(key)
    for i in range(0, len(key) - len(key) % 4, 4):
        k = int.from_bytes(key[i:i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = key[len(key) - len(key) % 4:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return (h & 0x7fffffff) % partitions


def test_consumer_options(broker):
    broker.create_topic("t", partitions=2)
    tool("kafka-console-producer.sh", "--bootstrap-server", broker.address, "--topic", "t", "--property", "parse.key=true",
         "--property", "key.separator=,", stdin="".join("k%d,v%d\n" % (i % 2, i) for i in range(10)))
    got = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--from-beginning", "--max-messages", "10",
                      "--property", "print.key=true", "--property", "key.separator=-").stdout.splitlines()
    assert sorted(got) == sorted("k%d-v%d" % (i % 2, i) for i in range(10))
    for p in (0, 1):
        ends = broker.tool("kafka-get-offsets.sh", "--topic", "t", "--partitions", str(p)).stdout.strip()
        n = int(ends.split(":")[2])
        got = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--partition", str(p), "--offset", "earliest",
                          "--max-messages", str(n)).stdout.splitlines() if n else []
        assert len(got) == n
    done = broker.tool("kafka-console-consumer.sh", "--topic", "t", "--timeout-ms", "300", check=False)
    assert done.stdout == ""


def test_topics_tool(broker):
    broker.tool("kafka-topics.sh", "--create", "--topic", "a", "--partitions", "3", "--config", "retention.ms=77")
    broker.tool("kafka-topics.sh", "--create", "--topic", "b")
    assert broker.tool("kafka-topics.sh", "--list").stdout.split() == ["a", "b"]
    text = broker.tool("kafka-topics.sh", "--describe", "--topic", "a").stdout
    assert "PartitionCount: 3" in text and "retention.ms=77" in text and "Partition: 2" in text
    broker.tool("kafka-topics.sh", "--alter", "--topic", "a", "--partitions", "4")
    assert "PartitionCount: 4" in broker.tool("kafka-topics.sh", "--describe", "--topic", "a").stdout
    assert broker.tool("kafka-topics.sh", "--alter", "--topic", "a", "--partitions", "2", check=False).returncode == 1
    assert broker.tool("kafka-topics.sh", "--create", "--topic", "a", check=False).returncode == 1
    assert broker.tool("kafka-topics.sh", "--create", "--topic", "bad name", check=False).returncode == 1
    broker.tool("kafka-topics.sh", "--delete", "--topic", "a")
    wait_for(lambda: broker.tool("kafka-topics.sh", "--list").stdout.split() == ["b"])
