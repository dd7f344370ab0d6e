"""kafka-topics.sh: the text and the exit status of every action, as Apache Kafka's (W1)."""
import re
import subprocess
import time

import pytest

from harness import BIN, BUILD, SLOW, Broker, free_ports, in_time, tool, wait_for


def failed(done, *words):
    assert done.returncode == 1, done
    for word in words:
        assert word in done.stdout + done.stderr, done
    return done


def test_create_list_describe(broker):
    made = broker.tool("kafka-topics.sh", "--create", "--topic", "t1", "--partitions", "2", "--config", "retention.ms=1000",
                       "--config", "segment.bytes = 2000000")
    assert (made.stdout, made.stderr) == ("Created topic t1.\n", "")
    made = broker.tool("kafka-topics.sh", "-create", "-topic=a_b.c", "-replication-factor", "1")
    assert made.stdout == ("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could "
                           "collide. To avoid issues it is best to use either, but not both.\nCreated topic a_b.c.\n")
    assert broker.tool("kafka-topics.sh", "--list").stdout == "a_b.c\nt1\n"
    assert broker.tool("kafka-topics.sh", "--list", "--topic", "t.*").stdout == "t1\n"
    assert broker.tool("kafka-topics.sh", "--list", "--topic", "nothing").stdout == "\n"
    lines = broker.tool("kafka-topics.sh", "--describe", "--topic", "t1").stdout.split("\n")
    head = re.fullmatch(r"Topic: t1\tTopicId: \S{22}\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: (.*)", lines[0])
    assert sorted(head.group(1).split(",")) == ["retention.ms=1000", "segment.bytes=2000000"]
    assert lines[1:] == ["\tTopic: t1\tPartition: %d\tLeader: 0\tReplicas: 0\tIsr: 0\tElr: N/A\tLastKnownElr: N/A" % p
                         for p in (0, 1)] + [""]
    everything = broker.tool("kafka-topics.sh", "--describe").stdout
    assert [line.split("\t")[0] for line in everything.splitlines() if line[0] == "T"] == ["Topic: a_b.c", "Topic: t1"]


def test_create_refusals(broker):
    broker.create_topic("t")
    create = ("kafka-topics.sh", "--create", "--topic")
    failed(broker.tool(*create, "t", check=False), "Error while executing topic command : Topic 't' already exists.\n")
    assert broker.tool(*create, "t", "--if-not-exists").stdout == ""
    failed(broker.tool(*create, "u", "--partitions", "0", check=False), "The partitions must be greater than 0")
    failed(broker.tool(*create, "u", "--replication-factor", "0", check=False),
           "The replication factor must be between 1 and 32767 inclusive")
    failed(broker.tool(*create, "u", "--replication-factor", "2", check=False), "Error while executing topic command : ")
    failed(broker.tool(*create, "u", "--partitions", "x", check=False), "Cannot parse argument 'x' of option partitions")
    failed(broker.tool(*create, "u", "--config", "a", check=False), 'all configs to be added must be in the format "key=val"')
    failed(broker.tool(*create, "u", "--config", "no.such.config=1", check=False), "no.such.config")
    failed(broker.tool(*create, "u", "--replica-assignment", "0:0", check=False), "may not contain duplicate entries: 0")
    failed(broker.tool(*create, "../u", check=False), "Error while executing topic command : ")
    assert broker.tool("kafka-topics.sh", "--list").stdout == "t\n"


def test_replica_assignment(broker):
    broker.tool("kafka-topics.sh", "--create", "--topic", "t", "--replica-assignment", "0,0")
    assert broker.tool("kafka-topics.sh", "--describe", "--topic", "t").stdout.count("Replicas: 0") == 2
    broker.tool("kafka-topics.sh", "--alter", "--topic", "t", "--partitions", "4", "--replica-assignment", "0,0,0,0")
    assert broker.tool("kafka-topics.sh", "--describe", "--topic", "t").stdout.count("Replicas: 0") == 4


def test_alter(broker):
    broker.create_topic("t", partitions=2)
    assert broker.tool("kafka-topics.sh", "--alter", "--topic", "t", "--partitions", "5").stdout == ""
    assert "PartitionCount: 5" in broker.tool("kafka-topics.sh", "--describe", "--topic", "t").stdout
    failed(broker.tool("kafka-topics.sh", "--alter", "--topic", "t", "--partitions", "3", check=False),
           "Error while executing topic command : ", "5", "3")
    failed(broker.tool("kafka-topics.sh", "--alter", "--topic", "u", "--partitions", "3", check=False),
           "Topic 'u' does not exist as expected")
    assert broker.tool("kafka-topics.sh", "--alter", "--topic", "u", "--partitions", "3", "--if-exists").stdout == ""
    failed(broker.tool("kafka-topics.sh", "--alter", "--topic", "t", check=False), 'Missing required argument "[partitions]"')


def test_delete_by_pattern(broker):
    for topic in ("t1", "t2", "other"):
        broker.create_topic(topic)
    assert broker.tool("kafka-topics.sh", "--delete", "--topic", "t[0-9]").stdout == ""
    wait_for(lambda: broker.tool("kafka-topics.sh", "--list").stdout == "other\n", what="the topics are gone")
    failed(broker.tool("kafka-topics.sh", "--delete", "--topic", "t1", check=False), "Topic 't1' does not exist as expected")
    assert broker.tool("kafka-topics.sh", "--delete", "--topic", "t1", "--if-exists").stdout == ""


def test_describe_filters(broker):
    broker.create_topic("plain", partitions=2)
    broker.create_topic("own", retention_ms="1")

    def describe(*args):
        return broker.tool("kafka-topics.sh", "--describe", *args).stdout
    assert describe("--under-replicated-partitions") == describe("--unavailable-partitions") == ""
    assert describe("--under-min-isr-partitions") == ""
    assert describe("--at-min-isr-partitions").count("\tTopic: ") == 3
    overridden = describe("--topics-with-overrides").splitlines()
    assert len(overridden) == 1 and overridden[0].startswith("Topic: own\t")
    topic_id = re.search(r"TopicId: (\S+)", describe("--topic", "own")).group(1)
    assert describe("--topic-id", topic_id) == describe("--topic", "own")
    unknown = "AAAAAAAAAAAAAAAAAAAAAQ"
    failed(broker.tool("kafka-topics.sh", "--describe", "--topic-id", unknown, check=False),
           "TopicId '%s' does not exist as expected" % unknown)
    failed(broker.tool("kafka-topics.sh", "--describe", "--topic", "no", check=False), "Topic 'no' does not exist as expected")
    assert describe("--topic", "no", "--if-exists") == ""


@pytest.mark.parametrize("args, text", [
    ([], "Create, list, describe"),
    (["--list"], "--bootstrap-server must be specified"),
    (["--list", "--create"], "Command must include exactly one action: --list, --describe, --create, --alter or --delete"),
    (["--bootstrap-server", "h:1"], "Command must include exactly one action"),
    (["--bogus"], "bogus is not a recognized option"),
    (["--bootstrap-server"], "Option bootstrap-server requires an argument"),
    (["--bootstrap-server", "h:1", "--create"], 'Missing required argument "[topic]"'),
    (["--bootstrap-server", "h:1", "--list", "--config", "a=b"], 'Option "[config]" can\'t be used with option "[list]"'),
    (["--bootstrap-server", "h:1", "--create", "--topic", "t", "--partitions", "1", "--replica-assignment", "1"],
     'Option "[replica-assignment]" can\'t be used with option "[partitions]"'),
    (["--bootstrap-server", "h:1", "--list", "--topic", "a", "--topic", "b"], "Found multiple arguments for option topic"),
    (["--bootstrap-server", "nonsense", "--list"], "Invalid url in bootstrap.servers: nonsense"),
])
def test_mistakes_on_the_command_line(args, text):
    failed(tool("kafka-topics.sh", *args, check=False), text)


def test_help_and_version():
    asked = tool("kafka-topics.sh", "--help", check=False)
    assert asked.returncode == 1 and asked.stdout == "" and "--partitions <# of partitions>" in asked.stderr
    native = subprocess.run([BUILD + "/klamm", "topics", "--help"], stdout=subprocess.PIPE, check=True, text=True)
    assert native.stdout == asked.stderr
    assert tool("kafka-topics.sh", "--version").stdout.startswith("3.9.1 ")
    commands = subprocess.run([BUILD + "/klamm", "--help"], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert "  topics " in commands and "  dump-log " in commands
    unknown = subprocess.run([BUILD + "/klamm", "no-such"], stderr=subprocess.PIPE, check=False, text=True)
    assert unknown.returncode == 1 and "there is no command 'no-such'" in unknown.stderr


def test_list_takes_milliseconds(broker):
    broker.create_topic("t", partitions=10)

    def once():
        start = time.monotonic()
        subprocess.run([BIN + "/kafka-topics.sh", "--list", "--bootstrap-server", broker.address], stdout=subprocess.DEVNULL,
                       check=True)
        return time.monotonic() - start
    in_time(0.03, once, tries=200)


def test_nobody_answers(tmp_path):
    quick = tmp_path / "client.properties"
    quick.write_text("default.api.timeout.ms=300\n")

    def said():
        return failed(tool("kafka-topics.sh", "--bootstrap-server", "127.0.0.1:%d" % free_ports(1)[0], "--list",
                           "--command-config", str(quick), check=False),
                      "Error while executing topic command : Timed out waiting for a node assignment. Call: listTopics").stderr
    wait_for(lambda: "Connection refused" in said(), what="why")       # unless it stands still until its time is over
    quick.write_text("security.protocol=SASL_SSL\n")
    failed(tool("kafka-topics.sh", "--bootstrap-server", "127.0.0.1:1", "--list", "--command-config", str(quick), check=False),
           "security.protocol=SASL_SSL")


def test_a_command_waits_for_a_broker_that_starts(brokers):
    """Container entry points start the broker and create topics at the same time."""
    broker = brokers()
    assert isinstance(broker, Broker)
    early = subprocess.Popen([BIN + "/kafka-topics.sh", "--bootstrap-server", broker.address, "--create", "--topic", "t"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "Connection refused" in early.stderr.readline()
    broker.start()
    out, _ = early.communicate(timeout=30 * SLOW)
    assert (early.returncode, out) == (0, "Created topic t.\n")
