"""kafka-console-producer.sh and kafka-console-consumer.sh: fields, places to start, limits, mistakes, signals."""
import os
import signal
import subprocess
import threading

import pytest

from harness import BIN, SLOW, tool, wait_for


def produce(broker, topic, text, *args):
    return tool("kafka-console-producer.sh", "--broker-list", broker.address, "--topic", topic, *args, stdin=text)


def consume(broker, topic, *args, check=True):
    return broker.tool("kafka-console-consumer.sh", "--topic", topic, *args, check=check)


class Consumer:
    """A consumer in the background, and the lines it has printed so far."""

    def __init__(self, broker, *args):
        self.process = subprocess.Popen([BIN + "/kafka-console-consumer.sh", "--bootstrap-server", broker.address, *args],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


def test_fields_of_a_record(broker):
    broker.create_topic("t")
    produce(broker, "t", "h1:v1,h2:NULL\tk\tv\nNULL\tNULL\tNULL\n\t\t\n".replace("\n\t\t", "\na:\t\t"), "--property",
            "parse.key=true", "--property", "parse.headers=true", "--property", "null.marker=NULL")
    got = consume(broker, "t", "--from-beginning", "--max-messages", "3", "--property", "print.key=true", "--property",
                  "print.headers=true", "--property", "print.offset=true", "--property", "print.partition=true")
    assert got.stdout.split("\n") == [
        "Partition:0\tOffset:0\th1:v1,h2:null\tk\tv",
        "Partition:0\tOffset:1\tNO_HEADERS\tnull\tnull",
        "Partition:0\tOffset:2\ta:\t\t",
        ""]
    assert got.stderr == "Processed a total of 3 messages\n"
    stamped = consume(broker, "t", "--from-beginning", "--max-messages", "1", "--property", "print.timestamp=true")
    assert stamped.stdout.startswith("CreateTime:1") and stamped.stdout.endswith("\tv\n")


def test_where_to_start_and_where_to_stop(broker):
    broker.create_topic("t", partitions=2)
    produce(broker, "t", "".join("k:%d\n" % i for i in range(10)), "--property", "parse.key=true", "--property",
            "key.separator=:")
    ends = broker.tool("kafka-get-offsets.sh", "--topic", "t").stdout.split()
    partition = next(end.split(":")[1] for end in ends if not end.endswith(":0"))
    at = ("t", "--partition", partition)
    assert consume(broker, *at, "--offset", "7", "--max-messages", "3").stdout == "7\n8\n9\n"
    assert consume(broker, *at, "--offset", "0", "--max-messages", "2").stdout == "0\n1\n"
    assert consume(broker, *at, "--from-beginning", "--max-messages", "1").stdout == "0\n"
    silent = consume(broker, *at, "--timeout-ms", "300")
    assert silent.stdout == "" and "Processed a total of 0 messages" in silent.stderr
    assert consume(broker, *at, "--offset", "99", "--consumer-property", "auto.offset.reset=earliest", "--max-messages",
                   "1").stdout == "0\n"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd", None])
def test_codecs(broker, codec):
    lines = "".join("%d %s\n" % (i, "words " * 20) for i in range(500))
    produce(broker, "t", lines, "--compression-codec", *([codec] if codec else []))
    assert consume(broker, "t", "--from-beginning", "--max-messages", "500").stdout == lines


def test_sync_and_acks(broker):
    for args in (["--sync"], ["--request-required-acks", "1"], ["--producer-property", "acks=0"],
                 ["--message-send-max-retries", "0"]):
        assert produce(broker, "t", "line\n", *args).returncode == 0
    assert consume(broker, "t", "--from-beginning", "--max-messages", "4").stdout == "line\n" * 4


def test_a_line_without_its_key_ends_the_producer(broker):
    done = tool("kafka-console-producer.sh", "--broker-list", broker.address, "--topic", "t", "--property", "parse.key=true",
                stdin="k\tv\nnothing\nk\tw\n", check=False)
    assert done.returncode == 1
    assert "No key separator found on line number 2: 'nothing'" in done.stderr
    assert consume(broker, "t", "--from-beginning", "--max-messages", "1").stdout == "v\n"
    assert broker.tool("kafka-get-offsets.sh", "--topic", "t").stdout.strip() == "t:0:1"


def test_new_partitions_and_topics_are_followed(broker):
    broker.create_topic("t")
    with Consumer(broker, "--include", "t.*", "--consumer-property", "metadata.max.age.ms=100") as c:
        def lines_of(topic, text):
            produce(broker, topic, text)
            return lambda: text in c.lines
        wait_for(lambda: produce(broker, "t", "x\n") and "x\n" in c.lines, what="the consumer has begun")
        broker.tool("kafka-topics.sh", "--alter", "--topic", "t", "--partitions", "8")
        produce(broker, "t", "".join("k%d\tv%d\n" % (i, i) for i in range(50)), "--property", "parse.key=true")
        wait_for(lambda: {"v%d\n" % i for i in range(50)} <= set(c.lines), what="records of the new partitions")
        wait_for(lines_of("t2", "later\n"), what="records of the new topic")


def test_a_topic_that_does_not_exist_yet(broker):
    with Consumer(broker, "--topic", "new") as c:
        wait_for(lambda: "new" in broker.tool("kafka-topics.sh", "--list").stdout.split(), what="asking for it makes it")
        # It begins at the end that the topic has when it is given the partition, which cannot be seen from here.
        wait_for(lambda: produce(broker, "new", "line\n") and "line\n" in c.lines, what="a line of it")


@pytest.mark.parametrize("sig, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_consumer(broker, sig, status):
    produce(broker, "t", "x\n")
    with Consumer(broker, "--topic", "t", "--from-beginning", "--enable-systest-events") as c:
        wait_for(lambda: c.lines == ["x\n"])
        c.process.send_signal(sig)
        assert c.process.wait(30 * SLOW) == status
        assert c.process.stderr.read() == "Processed a total of 1 messages\n"
        wait_for(lambda: c.lines == ["x\n", "shutdown_complete\n"])


def test_nobody_reads_the_output(broker):
    produce(broker, "t", "x\n" * 1000)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([BIN + "/kafka-console-consumer.sh", "--bootstrap-server", broker.address, "--topic", "t",
                           "--from-beginning"], stdout=write, stderr=subprocess.PIPE, timeout=30 * SLOW, check=False, text=True)
    os.close(write)
    assert done.returncode == 0
    assert "Unable to write to standard out, closing consumer." in done.stderr


def test_deserializers_and_bad_records(broker):
    produce(broker, "t", "abcd\nabc\nefgh\n")
    integer = ("--value-deserializer", "org.apache.kafka.common.serialization.IntegerDeserializer")
    done = consume(broker, "t", "--from-beginning", "--max-messages", "3", *integer, check=False)
    assert done.returncode == 1 and done.stdout == "1633837924\n"
    assert "Size of data received by IntegerDeserializer is not 4" in done.stderr
    done = consume(broker, "t", "--from-beginning", "--max-messages", "3", *integer, "--skip-message-on-error")
    assert done.stdout == "1633837924\n1701209960\n"


@pytest.mark.parametrize("args, text", [
    ([], "Print the records of topics."),
    (["--bootstrap-server", "h:1"], "Exactly one of --include/--topic is required."),
    (["--topic", "t"], 'Missing required argument "[bootstrap-server]"'),
    (["--bootstrap-server", "h:1", "--topic", "t", "--offset", "1"], "The partition is required when offset is specified."),
    (["--bootstrap-server", "h:1", "--include", "t", "--partition", "0"],
     "The topic is required when partition is specified."),
    (["--bootstrap-server", "h:1", "--topic", "t", "--partition", "0", "--offset", "x"],
     "The provided offset value 'x' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."),
    (["--bootstrap-server", "h:1", "--topic", "t", "--group", "g", "--partition", "0"],
     "Options group and partition cannot be specified together."),
    (["--bootstrap-server", "h:1", "--topic", "t", "--group", "g", "--consumer-property", "group.id=h"],
     "via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: 'g', 'h'"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--from-beginning", "--consumer-property", "auto.offset.reset=latest"],
     "Can't simultaneously specify --from-beginning and 'auto.offset.reset=latest', please remove one option"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--formatter", "com.example.Mine"], "com.example.Mine"),
    (["--zookeeper", "h:2181"], "Exactly one of whitelist/blacklist/topic is required."),
    (["--bootstrap-server", "h:1", "--topic", "t", "--isolation-level", "x"], "isolation.level"),
    (["--bootstrap-server", "h:1", "--include", "("], "( is an invalid regex."),
])
def test_mistakes_of_the_consumer(args, text):
    done = tool("kafka-console-consumer.sh", *args, check=False)
    assert done.returncode == 1 and text in done.stderr, done


@pytest.mark.parametrize("args, text", [
    (["--topic", "t"], "Missing required option(s) [bootstrap-server]"),
    (["--bootstrap-server", "h:1"], 'Missing required argument "[topic]"'),
    (["--bootstrap-server", "h", "--topic", "t"], "Please provide valid host:port like host1:9091,host2:9092"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--property", "null.marker=,"],
     "null.marker and headers.separator may not be equal"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--compression-codec", "rar"], "rar"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--line-reader", "com.example.Mine"], "no JVM"),
    (["--bootstrap-server", "h:1", "--topic", "t", "--producer-property", "ssl.truststore.location=/x"], "PEM"),
])
def test_mistakes_of_the_producer(args, text):
    done = tool("kafka-console-producer.sh", *args, stdin="", check=False)
    assert done.returncode == 1 and text in done.stderr, done
